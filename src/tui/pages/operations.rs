//! The operations: what was asked for, by whom and why, how far it has come, and what became of it. Newest first.

use std::sync::Arc;

use ratatui::style::Style;

use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, flex, wide};
use super::words;
use crate::engine::fields::{OPERATION_FIELDS, Seen};
use crate::engine::view::{FleetView, OperationRow};
use crate::model::filter::query::{Row, RowQuery};
use crate::model::operation::OperationStatus;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::Pieces;

pub const SPEC: Spec = Spec {
    scope: Scope::Operations,
    columns: &[
        column("title", "OPERATION", flex(20, 3), LEFT),
        column("state", "STATUS", Width::Fixed(13), LEFT),
        column("progress", "PROGRESS", Width::Fixed(16), LEFT),
        column("age", "AGE", Width::Fixed(4), RIGHT),
        column("actor", "BY", flex(8, 1), LEFT),
        wide("took", "TOOK", 8, RIGHT),
        wide("failed", "FAILED", 6, RIGHT),
        wide("tier", "TIER", 4, RIGHT),
        wide("undo", "UNDO", 4, LEFT),
        wide("why", "WHY", 24, LEFT),
        wide("id", "ID", 36, LEFT),
        column("reason", "OUTCOME", flex(12, 3), LEFT),
    ],
    fields: OPERATION_FIELDS,
    sort: ("age", false),
    hints: &[
        (Action::Open, "steps"),
        (Action::Undo, "undo"),
        (Action::CancelOrQuit, "cancel"),
        (Action::Yaml, "yaml"),
        (Action::Events, "events"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "no operations yet: every change of the fleet is one",
};

pub struct Operations<'a> {
    rows: &'a [Arc<OperationRow>],
    now: Time,
}

impl<'a> Operations<'a> {
    pub fn new(view: &'a FleetView, now: Time) -> Self {
        Self { rows: &view.operations, now }
    }
}

/// The sign and the style of an operation's status.
pub fn sign(status: OperationStatus, look: Look<'_>) -> (&'static str, Style) {
    let Look { theme, glyphs } = look;
    match status {
        OperationStatus::Running => (glyphs.busy, theme.busy),
        OperationStatus::Succeeded => (glyphs.done, theme.ok),
        OperationStatus::Failed => (glyphs.failed, theme.alarm),
        OperationStatus::RolledBack => (glyphs.degraded, theme.warn),
        OperationStatus::Cancelled => (glyphs.stopped, theme.muted),
    }
}

/// How pressing a status is, worst first.
fn urgency(status: OperationStatus) -> u32 {
    match status {
        OperationStatus::Failed => 0,
        OperationStatus::RolledBack => 1,
        OperationStatus::Running => 2,
        OperationStatus::Cancelled => 3,
        OperationStatus::Succeeded => 4,
    }
}

/// Per mille of its steps that are over.
fn progress(row: &OperationRow) -> u32 {
    let over = u64::from(row.done) + u64::from(row.failed);
    u32::try_from(over * 1_000 / u64::from(row.total.max(1))).unwrap_or(1_000)
}

impl Operations<'_> {
    fn took(&self, row: &OperationRow) -> std::time::Duration {
        row.finished_at.unwrap_or(self.now).since(row.created_at)
    }
}

impl Rows for Operations<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, row: usize) -> &str {
        self.rows[row].id.as_str()
    }

    fn name(&self, row: usize) -> &Safe {
        &self.rows[row].title
    }

    fn target(&self, row: usize) -> Option<TargetRef> {
        let row = &self.rows[row];
        let (id, name) = (row.id.to_string(), row.title.as_str().to_owned());
        Some(TargetRef { noun: Noun::Operation, id, name })
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let row = self.rows[row].as_ref();
        match column.key {
            "title" => drop(out.safe(&row.title)),
            "state" => {
                let (sign, style) = sign(row.status, look);
                out.word(sign).word(" ").word(row.status.name()).style(style);
            }
            "progress" => {
                let over = row.done.saturating_add(row.failed);
                words::bar(out, over, row.total, 8, look);
                out.put(format_args!(" {}/{}", row.done, row.total));
                if row.failed > 0 {
                    out.style(look.theme.warn);
                } else if !row.status.is_over() {
                    out.style(look.theme.busy);
                }
            }
            "age" => words::age(out, row.created_at, self.now),
            "actor" => drop(out.safe(&row.actor)),
            "took" => drop(out.put(format_args!("{}", words::exact(self.took(row))))),
            "failed" => drop(out.put(format_args!("{}", row.failed))),
            "tier" => drop(out.put(format_args!("{}", u8::from(row.tier)))),
            "undo" => drop(out.word(if row.can_undo { "yes" } else { "no" })),
            "why" => drop(out.safe(&row.reason)),
            "id" => drop(out.put(format_args!("{}", row.id))),
            "reason" => drop(out.safe(&row.message).style(look.theme.muted)),
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let row = self.rows[row].as_ref();
        match column {
            "title" => (&row.title).into(),
            "state" => urgency(row.status).into(),
            "progress" => progress(row).into(),
            "actor" => (&row.actor).into(),
            "took" => SortKey::from(u64::try_from(self.took(row).as_millis()).unwrap_or(u64::MAX)),
            "failed" => row.failed.into(),
            "tier" => u32::from(u8::from(row.tier)).into(),
            "undo" => u32::from(row.can_undo).into(),
            "why" => (&row.reason).into(),
            "id" => row.id.as_str().into(),
            "reason" => (&row.message).into(),
            _ => words::age_key(self.now, row.created_at).into(),
        }
    }

    fn is_fault(&self, row: usize) -> bool {
        let row = &self.rows[row];
        row.failed > 0
            || matches!(row.status, OperationStatus::Failed | OperationStatus::RolledBack)
    }

    fn matches(&self, row: usize, query: &RowQuery) -> bool {
        query.matches(&Seen::new(self.rows[row].as_ref(), self.now))
    }

    fn seen(&self, row: usize, act: &mut dyn FnMut(&dyn Row)) {
        act(&Seen::new(self.rows[row].as_ref(), self.now));
    }

    fn is_within(&self, row: usize, owner: &TargetRef) -> bool {
        owner.noun == Noun::Operation && self.rows[row].id.as_str() == owner.id
    }

    fn style(&self, _row: usize, _look: Look<'_>) -> Option<Style> {
        None
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        let row = self.rows[row].as_ref();
        let mut lines = words::Lines::new(look);
        let (sign, style) = sign(row.status, look);
        lines.add().word(sign, style).word(" ", style).word(row.status.name(), style);
        lines.text("outcome", &row.message);
        let waiting = row.total.saturating_sub(row.done).saturating_sub(row.failed);
        lines.named(
            "steps",
            format_args!(
                "{} done, {} failed, {waiting} to go, of {}",
                row.done, row.failed, row.total
            ),
        );
        lines.text("by", &row.actor);
        if row.reason != row.message {
            lines.text("why", &row.reason);
        }
        lines.text("verb", &row.kind);
        lines.named("tier", format_args!("{}", u8::from(row.tier)));
        lines.named(
            "undo",
            format_args!("{}", if row.can_undo { "possible" } else { "not possible" }),
        );
        lines.named("began", format_args!("{} ago", words::exact(self.now.since(row.created_at))));
        if row.finished_at.is_some() {
            lines.named("took", format_args!("{}", words::exact(self.took(row))));
        }
        lines.named("id", format_args!("{}", row.id));
        lines.done()
    }
}
