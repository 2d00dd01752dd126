//! The subscriptions: who listens to which events, how many matched, and which have heard nothing for long.

use std::sync::Arc;

use ratatui::style::Style;

use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, flex, wide};
use super::words;
use crate::engine::fields::{SUBSCRIPTION_FIELDS, Seen};
use crate::engine::view::{FleetView, SubscriptionRow};
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
    scope: Scope::Subscriptions,
    columns: &[
        column("pattern", "PATTERN", flex(16, 2), LEFT),
        column("subscriber", "SUBSCRIBER", flex(12, 2), LEFT),
        column("state", "STATE", Width::Fixed(9), LEFT),
        column("matched", "MATCHED", Width::Fixed(8), RIGHT),
        column("idle", "LAST", Width::Fixed(5), RIGHT),
        column("age", "AGE", Width::Fixed(4), RIGHT),
        wide("cursor", "CURSOR", 8, RIGHT),
        wide("id", "ID", 40, LEFT),
    ],
    fields: SUBSCRIPTION_FIELDS,
    sort: ("pattern", false),
    hints: &[
        (Action::Yaml, "yaml"),
        (Action::Owner, "subscriber"),
        (Action::Delete, "unsubscribe"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "no subscriptions: `cvxc subscribe AGENT PATTERN` makes one",
};

pub struct Subscriptions<'a> {
    rows: &'a [Arc<SubscriptionRow>],
    now: Time,
}

impl<'a> Subscriptions<'a> {
    pub fn new(view: &'a FleetView, now: Time) -> Self {
        Self { rows: &view.subscriptions, now }
    }
}

/// A subscription's state, and how pressing it is.
fn state(row: &SubscriptionRow, look: Look<'_>) -> (&'static str, &'static str, Style) {
    let Look { theme, glyphs } = look;
    match (row.active, row.last_matched_at) {
        (false, _) => (glyphs.stopped, "off", theme.muted),
        (true, None) => (glyphs.unknown, "unheard", theme.unknown),
        (true, Some(_)) => (glyphs.ok, "active", theme.ok),
    }
}

impl Rows for Subscriptions<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, row: usize) -> &str {
        self.rows[row].id.as_str()
    }

    fn name(&self, row: usize) -> &Safe {
        &self.rows[row].pattern
    }

    fn target(&self, row: usize) -> Option<TargetRef> {
        let row = &self.rows[row];
        let (id, name) = (row.id.to_string(), row.id.to_string());
        Some(TargetRef { noun: Noun::Subscription, id, name })
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let row = self.rows[row].as_ref();
        match column.key {
            "pattern" => drop(out.safe(&row.pattern)),
            "subscriber" => drop(out.safe(&row.subscriber)),
            "state" => {
                let (sign, word, style) = state(row, look);
                out.word(sign).word(" ").word(word).style(style);
            }
            "matched" => drop(out.put(format_args!("{}", row.matched))),
            "idle" => match row.last_matched_at {
                Some(last) => words::age(out, last, self.now),
                None => drop(out.word("never")),
            },
            "age" => words::age(out, row.created_at, self.now),
            "cursor" => drop(out.put(format_args!("{}", row.cursor))),
            "id" => drop(out.put(format_args!("{}", row.id))),
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let row = self.rows[row].as_ref();
        match column {
            "subscriber" => (&row.subscriber).into(),
            "state" => {
                SortKey::Number(i64::from(row.active) + i64::from(row.last_matched_at.is_some()))
            }
            "matched" => row.matched.into(),
            "idle" => row.last_matched_at.map(|at| words::age_key(self.now, at)).into(),
            "age" => words::age_key(self.now, row.created_at).into(),
            "cursor" => row.cursor.into(),
            "id" => row.id.as_str().into(),
            _ => (&row.pattern).into(),
        }
    }

    /// One that never heard anything may be misspelt.
    fn is_fault(&self, row: usize) -> bool {
        self.rows[row].active && self.rows[row].last_matched_at.is_none()
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
            Noun::Agent => row.subscriber == *owner.name || row.subscriber == *owner.id,
            Noun::Subscription => row.id.as_str() == owner.id,
            Noun::Pool | Noun::Template | Noun::Message | Noun::Publication | Noun::Operation => {
                false
            }
        }
    }

    fn style(&self, row: usize, look: Look<'_>) -> Option<Style> {
        (!self.rows[row].active).then_some(look.theme.row_gone)
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        let row = self.rows[row].as_ref();
        let mut lines = words::Lines::new(look);
        let (sign, word, style) = state(row, look);
        lines.add().word(sign, style).word(" ", style).word(word, style);
        lines.text("pattern", &row.pattern);
        lines.text("subscriber", &row.subscriber);
        lines.named("matched", format_args!("{}", row.matched));
        if let Some(last) = row.last_matched_at {
            lines.named("last", format_args!("{} ago", words::exact(self.now.since(last))));
        }
        lines.named("cursor", format_args!("{}", row.cursor));
        lines.named("made", format_args!("{} ago", words::exact(self.now.since(row.created_at))));
        lines.named("id", format_args!("{}", row.id));
        lines.done()
    }
}
