//! Published events, newest first: which topic, by whom, of what type.

use std::sync::Arc;

use ratatui::style::Style;

use super::papers::PaperRow;
use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, flex, wide};
use super::words;
use crate::engine::fields::{PUBLICATION_FIELDS, Paper, PaperKind};
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
    scope: Scope::Publications,
    columns: &[
        column("time", "TIME", Width::Fixed(8), LEFT),
        column("name", "EVENT", flex(20, 3), LEFT),
        column("from", "PUBLISHER", flex(12, 2), LEFT),
        column("type", "TYPE", flex(10, 1), LEFT),
        wide("seq", "SEQ", 10, RIGHT),
        wide("age", "AGE", 4, RIGHT),
        wide("id", "ID", 37, LEFT),
    ],
    fields: PUBLICATION_FIELDS,
    sort: ("time", true),
    hints: &[
        (Action::Open, "look into"),
        (Action::ToggleFollow, "freeze"),
        (Action::Owner, "publisher"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "nothing was published yet: agents do, or `cvxc publish AGENT EVENT`",
};

pub struct Publications<'a> {
    rows: &'a [Arc<PaperRow>],
    now: Time,
}

impl<'a> Publications<'a> {
    pub fn new(rows: &'a [Arc<PaperRow>], now: Time) -> Self {
        Self { rows, now }
    }
}

impl Rows for Publications<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, row: usize) -> &str {
        self.rows[row].document.key.as_str()
    }

    fn name(&self, row: usize) -> &Safe {
        &self.rows[row].name
    }

    fn target(&self, row: usize) -> Option<TargetRef> {
        let id = self.rows[row].document.key.as_str().to_owned();
        Some(TargetRef { noun: Noun::Publication, name: id.clone(), id })
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let row = self.rows[row].as_ref();
        match column.key {
            "time" => {
                if let Some(at) = row.at {
                    out.put(format_args!("{}", words::clock(at))).style(look.theme.muted);
                }
            }
            "name" => drop(out.safe(&row.name)),
            "from" => drop(out.safe(&row.from)),
            "type" => drop(out.safe(&row.kind)),
            "seq" => drop(out.put(format_args!("{}", row.order))),
            "age" => {
                if let Some(at) = row.at {
                    words::age(out, at, self.now);
                }
            }
            "id" => drop(out.put(format_args!("{}", row.document.key))),
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let row = self.rows[row].as_ref();
        match column {
            "name" => (&row.name).into(),
            "from" => (&row.from).into(),
            "type" => (&row.kind).into(),
            "age" => row.at.map(|at| words::age_key(self.now, at)).into(),
            "id" => row.document.key.as_str().into(),
            _ => SortKey::Number(row.order),
        }
    }

    fn is_fault(&self, _row: usize) -> bool {
        false
    }

    fn matches(&self, row: usize, query: &RowQuery) -> bool {
        let row = self.rows[row].as_ref();
        let paper = Paper::new(PaperKind::Publication, &row.document, self.now);
        query.matches(&paper.named(row.from.as_str(), ""))
    }

    fn seen(&self, row: usize, act: &mut dyn FnMut(&dyn Row)) {
        act(&Paper::new(PaperKind::Publication, &self.rows[row].document, self.now)
            .named(self.rows[row].from.as_str(), ""));
    }

    fn document(&self, row: usize) -> Option<&serde_json::Map<String, serde_json::Value>> {
        Some(&self.rows[row].document.body)
    }

    fn is_within(&self, row: usize, owner: &TargetRef) -> bool {
        let body = &self.rows[row].document.body;
        let by = body.get("publisher_agent_id").and_then(|it| it.as_str());
        owner.noun == Noun::Agent && by == Some(&owner.id)
    }

    fn style(&self, _row: usize, _look: Look<'_>) -> Option<Style> {
        None
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        let row = self.rows[row].as_ref();
        let mut lines = words::Lines::new(look);
        lines.text("event", &row.name);
        lines.text("by", &row.from);
        lines.text("type", &row.kind);
        if let Some(at) = row.at {
            lines.named("said", format_args!("{} ago", words::exact(self.now.since(at))));
        }
        lines.named("seq", format_args!("{}", row.order));
        lines.named("id", format_args!("{}", row.document.key));
        if let Some(payload) = row.document.body.get("payload") {
            lines.add().word("payload", look.theme.header_label);
            for line in words::json_lines(payload, 40) {
                lines.add().safe(&line, look.theme.text);
            }
        }
        lines.done()
    }
}
