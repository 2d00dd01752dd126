//! The pools: how many agents each wants and has, what waits for them, and what the autoscaler said last.

use std::sync::Arc;

use ratatui::style::Style;

use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, wide};
use super::stored::Stored;
use super::words;
use crate::engine::fields::{POOL_FIELDS, Seen};
use crate::engine::view::{FleetView, PoolRow};
use crate::model::filter::query::{Row, RowQuery};
use crate::model::plan::{Noun, TargetRef};
use crate::model::quantity::{Cpu, human_bytes};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::Pieces;

pub const SPEC: Spec = Spec {
    scope: Scope::Pools,
    columns: &[
        column("name", "NAME", Width::Flex { min: 12, weight: 1 }, LEFT),
        column("state", "STATE", Width::Fixed(10), LEFT),
        column("ready", "READY", Width::Fixed(7), RIGHT),
        column("desired", "WANT", Width::Fixed(5), RIGHT),
        column("limits", "MIN-MAX", Width::Fixed(7), RIGHT),
        column("queue", "QUEUE", Width::Fixed(6), RIGHT),
        column("oldest", "OLDEST", Width::Fixed(6), RIGHT),
        column("age", "AGE", Width::Fixed(4), RIGHT),
        wide("unhealthy", "SICK", 5, RIGHT),
        wide("updated", "UPDATED", 7, RIGHT),
        wide("inflight", "INFLT", 6, RIGHT),
        wide("dead", "DEAD", 5, RIGHT),
        wide("errors", "ERR%", 5, RIGHT),
        wide("cpu", "CPU", 6, RIGHT),
        wide("mem", "MEM", 6, RIGHT),
        wide("template", "TEMPLATE", 16, LEFT),
        wide("version", "VERSION", 8, LEFT),
        wide("tenant", "TENANT", 8, LEFT),
        column("reason", "REASON", Width::Flex { min: 16, weight: 4 }, LEFT),
    ],
    fields: POOL_FIELDS,
    sort: ("name", false),
    hints: &[
        (Action::Open, "agents"),
        (Action::Scale, "scale"),
        (Action::Restart, "restart"),
        (Action::Describe, "describe"),
        (Action::Pause, "pause"),
        (Action::Drain, "drain"),
        (Action::SetTemplate, "version"),
        (Action::Rollback, "roll back"),
        (Action::Delete, "delete"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "no pools: `cvxc apply -f FILE` makes them from manifests",
};

pub struct Pools<'a> {
    rows: &'a [Arc<PoolRow>],
    now: Time,
    stored: Option<&'a Stored>,
}

impl<'a> Pools<'a> {
    pub fn new(view: &'a FleetView, now: Time) -> Self {
        Self { rows: &view.pools, now, stored: None }
    }

    /// With the documents behind those in sight.
    #[must_use]
    pub fn over(self, stored: &'a Stored) -> Self {
        Self { stored: Some(stored), ..self }
    }
}

/// How a pool stands, the most pressing first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Halted,
    Degraded,
    Scaling,
    Deleting,
    Paused,
    Updating,
    Ready,
    Deleted,
}

pub fn standing(row: &PoolRow) -> Standing {
    if row.purge_at.is_some() {
        Standing::Deleted
    } else if row.deleting {
        Standing::Deleting
    } else if row.halted {
        Standing::Halted
    } else if row.paused {
        Standing::Paused
    } else if row.unhealthy > 0 {
        Standing::Degraded
    } else if row.ready != row.desired || row.total != row.desired {
        Standing::Scaling
    } else if row.updated < row.total {
        Standing::Updating
    } else {
        Standing::Ready
    }
}

pub fn state(row: &PoolRow, look: Look<'_>) -> (&'static str, &'static str, Style) {
    let Look { theme, glyphs } = look;
    match standing(row) {
        Standing::Halted => (glyphs.failed, "halted", theme.alarm),
        Standing::Degraded => (glyphs.degraded, "degraded", theme.warn),
        Standing::Scaling => (glyphs.busy, "scaling", theme.busy),
        Standing::Deleting => (glyphs.down, "deleting", theme.warn),
        Standing::Paused => (glyphs.paused, "paused", theme.warn),
        Standing::Updating => (glyphs.busy, "updating", theme.busy),
        Standing::Ready => (glyphs.ok, "ready", theme.ok),
        Standing::Deleted => (glyphs.stopped, "deleted", theme.row_gone),
    }
}

/// Why it is as it is, else what the autoscaler said last.
pub fn reason(row: &PoolRow) -> &Safe {
    if row.reason.as_str().is_empty() { &row.last_decision } else { &row.reason }
}

/// Whether something is wrong with it.
pub fn is_fault(row: &PoolRow) -> bool {
    row.purge_at.is_none()
        && (row.halted || row.unhealthy > 0 || row.ready < row.desired || row.queue.dead > 0)
}

impl Rows for Pools<'_> {
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
        Some(TargetRef { noun: Noun::Pool, id, name })
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let row = self.rows[row].as_ref();
        match column.key {
            "name" => {
                out.safe(&row.name);
            }
            "state" => {
                let (sign, word, style) = state(row, look);
                out.word(sign).word(" ").word(word).style(style);
            }
            "ready" => {
                out.put(format_args!("{}/{}", row.ready, row.total));
                if row.ready < row.desired {
                    out.style(look.theme.warn);
                }
            }
            "desired" => {
                out.put(format_args!("{}", row.desired));
            }
            "limits" => {
                out.put(format_args!("{}-{}", row.min, row.max));
                if row.desired >= row.max && row.max > 0 {
                    out.style(look.theme.warn);
                }
            }
            "queue" => {
                out.put(format_args!("{}", row.queue.pending));
                // The limit is for one receiver.
                let each = row.queue.pending / u64::from(row.ready.max(1));
                let limit = look.theme.limits.queue.or_label(&row.labels, "threshold.queue");
                words::judge(out, limit.judge(each), column, look);
            }
            "errors" => {
                if let Some(percent) = row.queue.error_percent() {
                    out.put(format_args!("{percent}"));
                    let limit = look.theme.limits.errors.or_label(&row.labels, "threshold.errors");
                    words::judge(out, limit.judge(percent), column, look);
                }
            }
            "oldest" => {
                if let Some(oldest) = row.queue.oldest {
                    words::age(out, oldest, self.now);
                    let limit = look.theme.limits.oldest.or_label(&row.labels, "threshold.oldest");
                    words::judge(out, limit.judge(self.now.since(oldest).as_secs()), column, look);
                }
            }
            "age" => words::age(out, row.created_at, self.now),
            "unhealthy" => {
                out.put(format_args!("{}", row.unhealthy));
                if row.unhealthy > 0 {
                    out.style(look.theme.warn);
                }
            }
            "updated" => {
                out.put(format_args!("{}/{}", row.updated, row.total));
            }
            "inflight" => {
                out.put(format_args!("{}", row.queue.leased));
            }
            "dead" => {
                out.put(format_args!("{}", row.queue.dead));
                let limit = look.theme.limits.dead.or_label(&row.labels, "threshold.dead");
                words::judge(out, limit.judge(row.queue.dead), column, look);
            }
            "cpu" => {
                if let Some(usage) = row.usage {
                    out.put(format_args!("{}m", usage.cpu_millis));
                }
            }
            "mem" => {
                if let Some(usage) = row.usage {
                    out.put(format_args!("{}", human_bytes(usage.memory_bytes)));
                }
            }
            "template" => {
                out.safe(&row.template_name);
            }
            "version" => {
                out.safe(&row.template_version);
            }
            "tenant" => {
                out.safe(&row.tenant);
            }
            "reason" => {
                out.safe(reason(row)).style(look.theme.muted);
            }
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let row = self.rows[row].as_ref();
        match column {
            "state" => SortKey::Number(standing(row) as i64),
            "ready" => row.ready.into(),
            "desired" => row.desired.into(),
            "limits" => row.max.into(),
            "queue" => row.queue.pending.into(),
            "oldest" => row.queue.oldest.map(|at| words::age_key(self.now, at)).into(),
            "age" => words::age_key(self.now, row.created_at).into(),
            "unhealthy" => row.unhealthy.into(),
            "updated" => row.updated.into(),
            "inflight" => row.queue.leased.into(),
            "dead" => row.queue.dead.into(),
            "errors" => row.queue.error_percent().unwrap_or(0).into(),
            "cpu" => row.usage.map(|usage| usage.cpu_millis).into(),
            "mem" => row.usage.map(|usage| usage.memory_bytes).into(),
            "template" => (&row.template_name).into(),
            "version" => (&row.template_version).into(),
            "tenant" => (&row.tenant).into(),
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
            Noun::Pool => row.id.as_str() == owner.id,
            Noun::Template => row.template.as_ref().is_some_and(|it| it.as_str() == owner.id),
            Noun::Agent
            | Noun::Message
            | Noun::Subscription
            | Noun::Publication
            | Noun::Operation => false,
        }
    }

    fn is_of(&self, row: usize, tenant: &Safe) -> bool {
        self.rows[row].tenant == *tenant
    }

    fn style(&self, row: usize, look: Look<'_>) -> Option<Style> {
        self.rows[row].purge_at.is_some().then_some(look.theme.row_gone)
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        details(&self.rows[row], self.now, look)
    }
}

/// What the side pane says of a pool.
pub fn details(row: &PoolRow, now: Time, look: Look<'_>) -> Vec<Pieces> {
    let mut lines = words::Lines::new(look);
    let (sign, word, style) = state(row, look);
    lines.add().word(sign, style).word(" ", style).word(word, style);
    if !row.reason.as_str().is_empty() {
        lines.add().safe(&row.reason, look.theme.text);
    }
    lines.named(
        "agents",
        format_args!(
            "{} wanted, {} ready, {} pending, {} unhealthy",
            row.desired, row.ready, row.pending, row.unhealthy
        ),
    );
    lines.named("limits", format_args!("{} to {}", row.min, row.max));
    lines.text("autoscale", &row.last_decision);
    if let Some(hold) = row.scaling.hold_until.filter(|hold| *hold > now) {
        lines.named("held", format_args!("for {} more", words::exact(hold.since(now))));
    }
    lines.text("template", &row.template_name);
    lines.named(
        "version",
        format_args!("{}, {} of {} updated", row.template_version, row.updated, row.total),
    );
    lines.text("before", &row.previous_version);
    lines.named(
        "rollout",
        format_args!("surge {}, unavailable {}", row.max_surge, row.max_unavailable),
    );
    let queue = row.queue;
    lines.named(
        "queue",
        format_args!(
            "{} waiting, {} held, {} dead, {} done",
            queue.pending, queue.leased, queue.dead, queue.delivered
        ),
    );
    if let Some(usage) = row.usage {
        lines.named("cpu", format_args!("{}", Cpu(usage.cpu_millis)));
        lines.named("memory", format_args!("{}", human_bytes(usage.memory_bytes)));
    }
    lines.text("about", &row.description);
    for (key, value) in row.labels.iter() {
        lines.named("label", format_args!("{key}={value}"));
    }
    lines.named("id", format_args!("{}", row.id));
    lines.done()
}
