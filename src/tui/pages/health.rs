//! The health of the system: store, runtime, leadership, every loop and task, and the agents that are not well, each
//! with what the verdict rests on.

use std::sync::Arc;

use ratatui::style::Style;

mod parts;

use self::parts::{Kind, Part, PartSeen};
use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, flex, wide};
use super::words;
use crate::engine::fields::Seen;
use crate::engine::view::{AgentRow, FleetView, System};
use crate::model::agent::Phase;
use crate::model::filter::query::{FieldKind, FieldSpec, FieldValue, Row, RowQuery};
use crate::model::health::HealthStatus;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::Pieces;

pub use self::parts::{parts, verdict};

pub const SPEC: Spec = Spec {
    scope: Scope::Health,
    columns: &[
        column("name", "NAME", flex(16, 2), LEFT),
        column("kind", "KIND", Width::Fixed(8), LEFT),
        column("state", "STATE", Width::Fixed(12), LEFT),
        column("last", "LAST", Width::Fixed(5), RIGHT),
        column("took", "TOOK", Width::Fixed(7), RIGHT),
        wide("runs", "RUNS", 9, RIGHT),
        column("reason", "EVIDENCE", flex(20, 4), LEFT),
    ],
    fields: FIELDS,
    sort: ("kind", false),
    hints: &[
        (Action::Describe, "describe"),
        (Action::Logs, "logs"),
        (Action::Restart, "restart"),
        (Action::Events, "events"),
        (Action::Owner, "pool"),
        (Action::ToggleFaults, "faults only"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "nothing is known yet: the engine has not looked",
};

const FIELDS: &[FieldSpec] = &[
    FieldSpec::new("name", FieldKind::Text),
    FieldSpec::new("kind", FieldKind::Text),
    FieldSpec::new("state", FieldKind::Text),
    FieldSpec::new("reason", FieldKind::Text),
    FieldSpec::new("runs", FieldKind::Number),
    FieldSpec::new("last", FieldKind::Duration),
    FieldSpec::new("took", FieldKind::Duration),
];

pub struct Health<'a> {
    parts: Vec<Part>,
    agents: &'a [Arc<AgentRow>],
    system: &'a System,
    now: Time,
}

impl<'a> Health<'a> {
    pub fn new(view: &'a FleetView, now: Time) -> Self {
        Self { parts: parts(view), agents: &view.agents, system: &view.system, now }
    }

    fn agent(&self, row: usize) -> Option<&'a AgentRow> {
        let place = row.checked_sub(self.parts.len())?;
        self.agents.get(place).map(AsRef::as_ref)
    }

    /// The row as a part: an agent is told as one.
    fn evidence(&self, row: usize) -> &Safe {
        match self.agent(row) {
            Some(agent) => evidence(agent),
            None => &self.parts[row].evidence,
        }
    }
}

/// Whether an agent belongs to what is not well.
pub fn is_sick(row: &AgentRow) -> bool {
    row.phase == Phase::Failed
        || (row.phase != Phase::Deleted
            && matches!(row.health, HealthStatus::Unhealthy | HealthStatus::Degraded))
}

/// What the verdict on an agent rests on.
fn evidence(row: &AgentRow) -> &Safe {
    let failed = row.phase == Phase::Failed && !row.reason.as_str().is_empty();
    if failed || row.health_message.as_str().is_empty() { &row.reason } else { &row.health_message }
}

/// An agent's state in a word: failed, or what its health is.
fn agent_word(row: &AgentRow, look: Look<'_>) -> (&'static str, &'static str, Style) {
    if row.phase == Phase::Failed {
        let (sign, style) = words::phase(row.phase, look);
        return (sign, row.phase.name(), style);
    }
    let (sign, style) = words::health(row.health, look);
    (sign, row.health.into(), style)
}

/// An agent among the parts: by the fields of this page, else by its own.
struct Sick<'a>(Seen<'a, AgentRow>);

impl Row for Sick<'_> {
    fn text(&self, out: &mut String) {
        self.0.text(out);
        out.push_str(" agent");
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.0.label(key)
    }

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        match name {
            "kind" => Some(FieldValue::Text("agent")),
            "state" if self.0.row.phase != Phase::Failed => self.0.field("health"),
            "reason" => Some(FieldValue::Text(evidence(self.0.row).as_str())),
            "last" => self.0.field("heartbeat"),
            other => self.0.field(other),
        }
    }
}

impl Rows for Health<'_> {
    fn len(&self) -> usize {
        self.parts.len() + self.agents.len()
    }

    fn id(&self, row: usize) -> &str {
        match self.agent(row) {
            Some(agent) => agent.id.as_str(),
            None => &self.parts[row].id,
        }
    }

    fn name(&self, row: usize) -> &Safe {
        match self.agent(row) {
            Some(agent) => &agent.name,
            None => &self.parts[row].name,
        }
    }

    fn target(&self, row: usize) -> Option<TargetRef> {
        let agent = self.agent(row)?;
        let (id, name) = (agent.id.to_string(), agent.name.as_str().to_owned());
        Some(TargetRef { noun: Noun::Agent, id, name })
    }

    fn is_listed(&self, row: usize) -> bool {
        self.agent(row).is_none_or(is_sick)
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let Some(agent) = self.agent(row) else { return self.part_cell(row, column, look, out) };
        match column.key {
            "name" => drop(out.safe(&agent.name)),
            "kind" => drop(out.word(Kind::Agent.into())),
            "state" => {
                let (sign, word, style) = agent_word(agent, look);
                out.word(sign).word(" ").word(word).style(style);
            }
            "last" => {
                if let Some(beat) = agent.heartbeat {
                    words::age(out, beat, self.now);
                }
            }
            "runs" => drop(out.put(format_args!("{}", agent.incarnation))),
            "reason" => drop(out.safe(evidence(agent))),
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let Some(agent) = self.agent(row) else {
            let part = &self.parts[row];
            return match column {
                "kind" => SortKey::Number(part.kind as i64),
                "state" | "health" => SortKey::Number(-i64::from(words::severity(part.health))),
                "last" | "age" => part.last.map(|at| words::age_key(self.now, at)).into(),
                "took" => {
                    part.took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)).into()
                }
                "runs" => part.runs.into(),
                "reason" => (&part.evidence).into(),
                _ => (&part.name).into(),
            };
        };
        match column {
            "kind" => SortKey::Number(Kind::Agent as i64),
            "state" | "health" => {
                let severity =
                    if agent.phase == Phase::Failed { 4 } else { words::severity(agent.health) };
                SortKey::Number(-i64::from(severity))
            }
            "last" | "age" => agent.heartbeat.map(|at| words::age_key(self.now, at)).into(),
            "pool" => (&agent.pool_name).into(),
            "runs" => agent.incarnation.into(),
            "reason" => evidence(agent).into(),
            _ => (&agent.name).into(),
        }
    }

    fn is_fault(&self, row: usize) -> bool {
        match self.agent(row) {
            Some(agent) => is_sick(agent),
            None => {
                matches!(self.parts[row].health, HealthStatus::Unhealthy | HealthStatus::Degraded)
            }
        }
    }

    fn matches(&self, row: usize, query: &RowQuery) -> bool {
        match self.agent(row) {
            Some(agent) => query.matches(&Sick(Seen::new(agent, self.now))),
            None => query.matches(&PartSeen { part: &self.parts[row], now: self.now }),
        }
    }

    fn is_within(&self, row: usize, owner: &TargetRef) -> bool {
        let Some(agent) = self.agent(row) else { return false };
        match owner.noun {
            Noun::Pool => agent.pool.as_ref().is_some_and(|pool| pool.as_str() == owner.id),
            Noun::Template => agent.template.as_ref().is_some_and(|it| it.as_str() == owner.id),
            Noun::Agent => agent.id.as_str() == owner.id,
            Noun::Message | Noun::Subscription | Noun::Publication | Noun::Operation => false,
        }
    }

    fn is_of(&self, row: usize, tenant: &Safe) -> bool {
        self.agent(row).is_none_or(|agent| agent.tenant == *tenant)
    }

    fn style(&self, _row: usize, _look: Look<'_>) -> Option<Style> {
        None
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        let Some(agent) = self.agent(row) else { return self.part_detail(row, look) };
        let mut lines = words::Lines::new(look);
        let (sign, word, style) = agent_word(agent, look);
        lines.add().word(sign, style).word(" ", style).word(word, style);
        lines.text("evidence", evidence(agent));
        if evidence(agent) != &agent.reason {
            lines.text("reason", &agent.reason);
        }
        if let Some(beat) = agent.heartbeat {
            let every = agent.heartbeat_interval.as_secs();
            lines.named(
                "heartbeat",
                format_args!("{} ago, every {every}s", words::exact(self.now.since(beat))),
            );
        }
        lines.named("failures", format_args!("{}", agent.failures));
        if let Some(retry) = agent.retry_at.filter(|retry| *retry > self.now) {
            lines.named("back-off", format_args!("{}", words::exact(retry.since(self.now))));
        }
        lines.text("pool", &agent.pool_name);
        lines.done()
    }
}

impl Health<'_> {
    fn part_cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let part = &self.parts[row];
        match column.key {
            "name" => drop(out.safe(&part.name)),
            "kind" => drop(out.word(part.kind.into()).style(look.theme.muted)),
            "state" => {
                let (sign, style) = words::health(part.health, look);
                out.word(sign).word(" ").word(part.word).style(style);
            }
            "last" => {
                if let Some(last) = part.last {
                    words::age(out, last, self.now);
                }
            }
            "took" => {
                if let Some(took) = part.took {
                    out.put(format_args!("{}", words::latency(took)));
                }
            }
            "runs" => {
                if let Some(runs) = part.runs {
                    out.put(format_args!("{runs}"));
                }
            }
            "reason" => {
                out.safe(self.evidence(row));
                if part.health == HealthStatus::Healthy {
                    out.style(look.theme.muted);
                }
            }
            _ => {}
        }
    }

    fn part_detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        let part = &self.parts[row];
        let mut lines = words::Lines::new(look);
        let (sign, style) = words::health(part.health, look);
        lines.add().word(sign, style).word(" ", style).word(part.word, style);
        lines.text("evidence", &part.evidence);
        if let Some(last) = part.last {
            lines.named("last", format_args!("{} ago", words::exact(self.now.since(last))));
        }
        if let Some(took) = part.took {
            lines.named("took", format_args!("{}", words::latency(took)));
        }
        let status = match part.kind {
            Kind::Store => &self.system.store,
            Kind::Runtime => &self.system.runtime,
            Kind::Leader | Kind::Brake | Kind::Loop | Kind::Task | Kind::Agent => {
                if let Some(runs) = part.runs {
                    lines.named(
                        if part.kind == Kind::Leader { "epoch" } else { "runs" },
                        format_args!("{runs}"),
                    );
                }
                return lines.done();
            }
        };
        lines.text("version", &status.version);
        lines.text("place", &status.place);
        for (name, value) in &status.details {
            let label = look.theme.header_label;
            lines.add().safe(name, label).word("  ", label).safe(value, look.theme.text);
        }
        lines.done()
    }
}
