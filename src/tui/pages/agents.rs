//! The agents: one row each, with what it does, how it is, what waits for it and what it uses.

use std::sync::Arc;

use ratatui::style::Style;

use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, wide};
use super::stored::Stored;
use super::words;
use crate::engine::fields::{AGENT_FIELDS, Seen};
use crate::engine::view::{AgentRow, FleetView};
use crate::model::agent::{Desired, Phase};
use crate::model::filter::query::{Row, RowQuery};
use crate::model::health::HealthStatus;
use crate::model::plan::{Noun, TargetRef};
use crate::model::quantity::{Cpu, human_bytes};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::Pieces;

pub mod figures;

pub const SPEC: Spec = Spec {
    scope: Scope::Agents,
    columns: &[
        column("name", "NAME", Width::Flex { min: 20, weight: 3 }, LEFT),
        column("pool", "POOL", Width::Flex { min: 9, weight: 1 }, LEFT),
        column("state", "STATE", Width::Fixed(11), LEFT),
        column("restarts", "RST", Width::Fixed(4), RIGHT),
        column("queue", "QUEUE", Width::Fixed(6), RIGHT),
        column("cpu", "CPU", Width::Fixed(5), RIGHT),
        column("mem", "MEM", Width::Fixed(6), RIGHT),
        column("age", "AGE", Width::Fixed(4), RIGHT),
        wide("health", "HEALTH", 11, LEFT),
        wide("inflight", "INFLT", 6, RIGHT),
        wide("dead", "DEAD", 5, RIGHT),
        wide("errors", "ERR%", 5, RIGHT),
        wide("oldest", "OLDEST", 6, RIGHT),
        wide("heartbeat", "BEAT", 5, RIGHT),
        wide("type", "TYPE", 12, LEFT),
        wide("template", "TEMPLATE", 16, LEFT),
        wide("version", "VERSION", 8, LEFT),
        wide("node", "NODE", 12, LEFT),
        wide("pid", "PID", 8, RIGHT),
        wide("tenant", "TENANT", 8, LEFT),
        column("reason", "REASON", Width::Flex { min: 16, weight: 3 }, LEFT),
    ],
    fields: AGENT_FIELDS,
    sort: ("name", false),
    hints: &[
        (Action::Describe, "describe"),
        (Action::Logs, "logs"),
        (Action::Restart, "restart"),
        (Action::Pause, "pause"),
        (Action::Drain, "drain"),
        (Action::Delete, "delete"),
        (Action::SendMessage, "message"),
        (Action::Yaml, "yaml"),
        (Action::Events, "events"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "no agents: try `cvxc demo`, or `cvxc apply -f FILE` with templates and pools",
};

pub struct Agents<'a> {
    rows: &'a [Arc<AgentRow>],
    now: Time,
    stored: Option<&'a Stored>,
    /// Since when nothing more is heard of the workloads.
    lost_since: Option<Time>,
}

impl<'a> Agents<'a> {
    pub fn new(view: &'a FleetView, now: Time) -> Self {
        let lost_since = view.system.runtime.lost_since;
        Self { rows: &view.agents, now, stored: None, lost_since }
    }

    /// With the documents behind those in sight.
    #[must_use]
    pub fn over(self, stored: &'a Stored) -> Self {
        Self { stored: Some(stored), ..self }
    }
}

/// How pressing an agent's state is, worst first: what `sort:state` sorts by.
pub fn urgency(row: &AgentRow) -> u32 {
    match (row.phase, row.health) {
        (Phase::Failed, _) => 0,
        (Phase::Running, HealthStatus::Unhealthy) => 1,
        (Phase::Running, HealthStatus::Degraded) => 2,
        (Phase::Draining, _) => 3,
        (Phase::Deploying, _) => 4,
        (Phase::Pending, _) => 5,
        (Phase::Paused, _) => 6,
        (Phase::Running, HealthStatus::Unknown) => 7,
        (Phase::Running, HealthStatus::Healthy) => 8,
        (Phase::Stopped, _) => 9,
        (Phase::Deleted, _) => 10,
    }
}

/// One word for both phase and health: a running agent is as it fares.
pub fn state(row: &AgentRow, look: Look<'_>) -> (&'static str, &'static str, Style) {
    match (row.phase, row.health) {
        (Phase::Running, HealthStatus::Healthy) => {
            let (sign, style) = words::phase(row.phase, look);
            (sign, row.phase.name(), style)
        }
        (Phase::Running, health) => {
            let (sign, style) = words::health(health, look);
            (sign, health.into(), style)
        }
        (phase, _) => {
            let (sign, style) = words::phase(phase, look);
            (sign, phase.name(), style)
        }
    }
}

/// Why it is as it is: its own reason, or what health says of it.
pub fn reason(row: &AgentRow) -> &Safe {
    if row.reason.as_str().is_empty() && row.health != HealthStatus::Healthy {
        &row.health_message
    } else {
        &row.reason
    }
}

/// Whether something is wrong with it.
pub fn is_fault(row: &AgentRow) -> bool {
    match row.phase {
        Phase::Failed => true,
        Phase::Deleted | Phase::Stopped => row.desired == Desired::Running,
        Phase::Pending | Phase::Deploying | Phase::Running | Phase::Paused | Phase::Draining => {
            row.failures > 0
                || row.queue.dead > 0
                || matches!(row.health, HealthStatus::Unhealthy | HealthStatus::Degraded)
        }
    }
}

impl Rows for Agents<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, row: usize) -> &str {
        self.rows[row].id.as_str()
    }

    fn name(&self, row: usize) -> &Safe {
        &self.rows[row].name
    }

    fn target(&self, row: usize) -> Option<TargetRef> {
        let row = &self.rows[row];
        let (id, name) = (row.id.to_string(), row.name.as_str().to_owned());
        Some(TargetRef { noun: Noun::Agent, id, name })
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let row = self.rows[row].as_ref();
        match column.key {
            "name" => {
                out.safe(&row.name);
            }
            "pool" => {
                out.safe(&row.pool_name);
            }
            "state" => {
                let (sign, word, style) = match self.lost_since {
                    // what it was last, and nobody knows whether it still is
                    Some(_) if row.phase.has_workload() => {
                        let (sign, style) = words::health(HealthStatus::Unknown, look);
                        (sign, state(row, look).1, style)
                    }
                    Some(_) | None => state(row, look),
                };
                out.word(sign).word(" ").word(word).style(style);
            }
            "health" => {
                let (sign, style) = words::health(row.health, look);
                out.word(sign).word(" ").word(row.health.into()).style(style);
            }
            "restarts" => {
                let restarts = row.restarts();
                out.put(format_args!("{restarts}"));
                words::judge(out, figures::restarts(row, look), column, look);
            }
            "queue" => {
                out.put(format_args!("{}", row.queue.pending));
                words::judge(out, figures::queue(row, look), column, look);
            }
            "inflight" => {
                out.put(format_args!("{}", row.queue.leased));
            }
            "dead" => {
                out.put(format_args!("{}", row.queue.dead));
                words::judge(out, figures::dead(row, look), column, look);
            }
            "errors" => {
                if let Some(percent) = row.queue.error_percent() {
                    out.put(format_args!("{percent}"));
                    words::judge(out, figures::errors(row, look), column, look);
                }
            }
            "oldest" => {
                if let Some(oldest) = row.queue.oldest {
                    words::age(out, oldest, self.now);
                    let limit = look.theme.limits.oldest.or_label(&row.labels, "threshold.oldest");
                    let how = limit.judge(self.now.since(oldest).as_secs());
                    words::judge(out, how, column, look);
                }
            }
            "heartbeat" => {
                if let Some(heartbeat) = row.heartbeat {
                    words::age(out, heartbeat, self.now);
                }
            }
            "cpu" => {
                if let Some(usage) = row.usage {
                    out.put(format_args!("{}m", usage.cpu_millis));
                    words::judge(out, figures::cpu(row, look), column, look);
                }
            }
            "mem" => {
                if let Some(usage) = row.usage {
                    out.put(format_args!("{}", human_bytes(usage.memory_bytes)));
                    words::judge(out, figures::mem(row, look), column, look);
                }
            }
            "age" => words::age(out, row.created_at, self.now),
            "type" => {
                out.safe(&row.kind);
            }
            "template" => {
                out.safe(&row.template_name);
            }
            "version" => {
                out.safe(&row.template_version);
            }
            "node" => {
                out.safe(&row.node);
            }
            "tenant" => {
                out.safe(&row.tenant);
            }
            "pid" => {
                if let Some(pid) = row.pid {
                    out.put(format_args!("{pid}"));
                }
            }
            "reason"
                if let Some(since) =
                    self.lost_since.filter(|_| reason(row).as_str().is_empty()) =>
            {
                let at = since.to_jiff().strftime("%H:%M:%SZ");
                out.put(format_args!("last seen {at}")).style(look.theme.muted);
            }
            "reason" if reason(row).as_str().is_empty() => figures::worst(row, look, out),
            "reason" => {
                out.safe(reason(row)).style(look.theme.muted);
            }
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let row = self.rows[row].as_ref();
        match column {
            "pool" => (&row.pool_name).into(),
            "state" => urgency(row).into(),
            "health" => SortKey::Number(-i64::from(words::severity(row.health))),
            "restarts" => row.restarts().into(),
            "queue" => row.queue.pending.into(),
            "inflight" => row.queue.leased.into(),
            "dead" => row.queue.dead.into(),
            "errors" => row.queue.error_percent().unwrap_or(0).into(),
            "oldest" => row.queue.oldest.map(|at| words::age_key(self.now, at)).into(),
            "heartbeat" => row.heartbeat.map(|at| words::age_key(self.now, at)).into(),
            "cpu" => row.usage.map(|usage| usage.cpu_millis).into(),
            "mem" => row.usage.map(|usage| usage.memory_bytes).into(),
            "age" => words::age_key(self.now, row.created_at).into(),
            "type" => (&row.kind).into(),
            "template" => (&row.template_name).into(),
            "version" => (&row.template_version).into(),
            "node" => (&row.node).into(),
            "tenant" => (&row.tenant).into(),
            "pid" => row.pid.into(),
            "reason" => reason(row).into(),
            _ => (&row.name).into(),
        }
    }

    fn is_fault(&self, row: usize) -> bool {
        is_fault(&self.rows[row])
    }

    fn matches(&self, row: usize, query: &RowQuery) -> bool {
        query.matches(&Seen::new(self.rows[row].as_ref(), self.now))
    }

    fn seen(&self, row: usize, act: &mut dyn FnMut(&dyn Row)) {
        act(&Seen::new(self.rows[row].as_ref(), self.now));
    }

    fn document(&self, row: usize) -> Option<&serde_json::Map<String, serde_json::Value>> {
        self.stored?.body(self.rows[row].id.as_str())
    }

    fn is_within(&self, row: usize, owner: &TargetRef) -> bool {
        let row = &self.rows[row];
        match owner.noun {
            Noun::Pool => row.pool.as_ref().is_some_and(|pool| pool.as_str() == owner.id),
            Noun::Template => row.template.as_ref().is_some_and(|it| it.as_str() == owner.id),
            Noun::Agent => row.id.as_str() == owner.id,
            Noun::Message | Noun::Subscription | Noun::Publication | Noun::Operation => false,
        }
    }

    fn is_of(&self, row: usize, tenant: &Safe) -> bool {
        self.rows[row].tenant == *tenant
    }

    fn style(&self, row: usize, look: Look<'_>) -> Option<Style> {
        (self.rows[row].phase == Phase::Deleted).then_some(look.theme.row_gone)
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        details(&self.rows[row], self.now, look)
    }
}

/// What the side pane says of an agent.
pub fn details(row: &AgentRow, now: Time, look: Look<'_>) -> Vec<Pieces> {
    let mut lines = words::Lines::new(look);
    let (sign, word, style) = state(row, look);
    let since = words::exact(now.since(row.phase_since));
    lines
        .add()
        .word(sign, style)
        .word(" ", style)
        .word(word, style)
        .put(format_args!(" for {since}"), look.theme.muted);
    if !reason(row).as_str().is_empty() {
        lines.add().safe(reason(row), look.theme.text);
    }
    if !row.recorded {
        lines.named("record", format_args!("none: :adopt takes it in, :delete ends it"));
    }
    if let Some(retry) = row.retry_at.filter(|retry| *retry > now) {
        let wait = words::exact(retry.since(now));
        lines.named("back-off", format_args!("next start in {wait}, {} failures", row.failures));
    }
    let (sign, style) = words::health(row.health, look);
    let health: &'static str = row.health.into();
    let line = lines.label("health");
    line.word(sign, style).word(" ", style).word(health, style);
    if let Some(beat) = row.heartbeat {
        let ago = words::exact(now.since(beat));
        lines.named(
            "heartbeat",
            format_args!("{ago} ago, every {}s", row.heartbeat_interval.as_secs()),
        );
    }
    lines.text("pool", &row.pool_name);
    lines.text("template", &row.template_name);
    lines.text("version", &row.template_version);
    lines.text("type", &row.kind);
    let queue = row.queue;
    lines.named(
        "queue",
        format_args!(
            "{} waiting, {} held, {} dead, {} done",
            queue.pending, queue.leased, queue.dead, queue.delivered
        ),
    );
    let mut said = CellText::default();
    figures::worst(row, look, &mut said);
    if !said.as_str().is_empty() {
        let style = said.own_style().unwrap_or(look.theme.warn);
        lines.label("limits").put(format_args!("{}", said.as_str()), style);
    }
    if let Some(usage) = row.usage {
        let limit =
            |limit: Option<String>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
        let cpu = limit(row.cpu_limit.map(|limit| Cpu(limit).to_string()));
        let memory = limit(row.memory_limit.map(human_bytes));
        lines.named("cpu", format_args!("{}{cpu}", Cpu(usage.cpu_millis)));
        lines.named("memory", format_args!("{}{memory}", human_bytes(usage.memory_bytes)));
    }
    lines.text("node", &row.node);
    if let Some(pid) = row.pid {
        lines.named("pid", format_args!("{pid}"));
    }
    lines.named("restarts", format_args!("{}", row.restarts()));
    for (key, value) in row.labels.iter() {
        lines.named("label", format_args!("{key}={value}"));
    }
    lines.named("id", format_args!("{}", row.id));
    lines.done()
}
