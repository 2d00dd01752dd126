//! The queues: what waits for each receiver, the deepest first. One row for every agent that anything was sent to.

use std::sync::Arc;

use ratatui::style::Style;

use super::agents::figures;
use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, flex, wide};
use super::words;
use crate::engine::fields::{AGENT_FIELDS, Seen};
use crate::engine::view::{AgentRow, FleetView, Queue};
use crate::model::agent::Phase;
use crate::model::filter::query::{Row, RowQuery};
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::Pieces;

pub const SPEC: Spec = Spec {
    scope: Scope::Queues,
    columns: &[
        column("name", "RECEIVER", flex(16, 2), LEFT),
        column("queue", "READY", Width::Fixed(7), RIGHT),
        column("inflight", "INFLT", Width::Fixed(6), RIGHT),
        column("oldest", "OLDEST", Width::Fixed(6), RIGHT),
        column("dead", "DEAD", Width::Fixed(6), RIGHT),
        column("done", "DONE", Width::Fixed(8), RIGHT),
        column("depth", "DEPTH", Width::Fixed(10), LEFT),
        column("state", "CONSUMER", Width::Fixed(11), LEFT),
        column("pool", "POOL", flex(9, 1), LEFT),
        wide("type", "TYPE", 14, LEFT),
        wide("template", "TEMPLATE", 18, LEFT),
    ],
    fields: AGENT_FIELDS,
    sort: ("queue", true),
    hints: &[
        (Action::Open, "messages"),
        (Action::Owner, "agent"),
        (Action::SendMessage, "send"),
        (Action::Describe, "describe"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "no message was ever sent",
};

pub struct Queues<'a> {
    rows: &'a [Arc<AgentRow>],
    now: Time,
    /// The most that waits for anyone, as far as the sum of all tells.
    most: u64,
}

impl<'a> Queues<'a> {
    pub fn new(view: &'a FleetView, now: Time) -> Self {
        let waiting = view.totals.messages(crate::model::message::MessageStatus::Pending);
        Self { rows: &view.agents, now, most: waiting }
    }
}

/// Whether anything was ever sent there.
pub fn is_used(queue: Queue) -> bool {
    queue.pending > 0 || queue.leased > 0 || queue.dead > 0 || queue.delivered > 0
}

impl Rows for Queues<'_> {
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

    fn is_listed(&self, row: usize) -> bool {
        is_used(self.rows[row].queue)
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let row = self.rows[row].as_ref();
        let queue = row.queue;
        match column.key {
            "name" => drop(out.safe(&row.name)),
            "queue" => {
                out.put(format_args!("{}", queue.pending));
                words::judge(out, figures::queue(row, look), column, look);
            }
            "inflight" => drop(out.put(format_args!("{}", queue.leased))),
            "oldest" => {
                if let Some(oldest) = queue.oldest {
                    words::age(out, oldest, self.now);
                    words::judge(out, words::waiting(self.now.since(oldest), look), column, look);
                }
            }
            "dead" => {
                out.put(format_args!("{}", queue.dead));
                words::judge(out, figures::dead(row, look), column, look);
            }
            "done" => drop(out.put(format_args!("{}", queue.delivered))),
            "depth" => {
                let cut = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
                words::bar(out, cut(queue.pending), cut(self.most), 10, look);
                out.style(look.theme.spark);
            }
            "state" => {
                let (sign, style) = words::phase(row.phase, look);
                out.word(sign).word(" ").word(row.phase.name()).style(style);
            }
            "pool" => drop(out.safe(&row.pool_name)),
            "type" => drop(out.safe(&row.kind)),
            "template" => drop(out.safe(&row.template_name)),
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let row = self.rows[row].as_ref();
        match column {
            "queue" | "depth" => row.queue.pending.into(),
            "inflight" => row.queue.leased.into(),
            "oldest" => row.queue.oldest.map(|at| words::age_key(self.now, at)).into(),
            "dead" => row.queue.dead.into(),
            "done" => row.queue.delivered.into(),
            "state" => row.phase.name().into(),
            "pool" => (&row.pool_name).into(),
            "type" => (&row.kind).into(),
            "template" => (&row.template_name).into(),
            _ => (&row.name).into(),
        }
    }

    /// Dead letters, or a queue that nobody works off.
    fn is_fault(&self, row: usize) -> bool {
        let row = &self.rows[row];
        row.queue.dead > 0 || (row.queue.pending > 0 && row.phase != Phase::Running)
    }

    fn matches(&self, row: usize, query: &RowQuery) -> bool {
        query.matches(&Seen::new(self.rows[row].as_ref(), self.now))
    }

    fn seen(&self, row: usize, act: &mut dyn FnMut(&dyn Row)) {
        act(&Seen::new(self.rows[row].as_ref(), self.now));
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
        let row = self.rows[row].as_ref();
        let queue = row.queue;
        let mut lines = words::Lines::new(look);
        lines.named("ready", format_args!("{}", queue.pending));
        lines.named("in flight", format_args!("{}", queue.leased));
        if let Some(oldest) = queue.oldest {
            lines.named("oldest", format_args!("{}", words::exact(self.now.since(oldest))));
        }
        lines.named("dead", format_args!("{}", queue.dead));
        lines.named("done", format_args!("{}", queue.delivered));
        let (sign, style) = words::phase(row.phase, look);
        let line = lines.label("consumer");
        line.word(sign, style).word(" ", style).word(row.phase.name(), style);
        lines.text("why", &row.reason);
        lines.text("pool", &row.pool_name);
        lines.text("template", &row.template_name);
        lines.named("id", format_args!("{}", row.id));
        lines.done()
    }
}
