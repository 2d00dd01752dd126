//! The templates: what agents and pools are made of, in their newest version, and how many use them.

use std::sync::Arc;

use ratatui::style::Style;

use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, flex, wide};
use super::stored::Stored;
use super::words;
use crate::engine::fields::{Seen, TEMPLATE_FIELDS};
use crate::engine::view::{FleetView, TemplateRow};
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
    scope: Scope::Templates,
    columns: &[
        column("name", "NAME", flex(14, 1), LEFT),
        column("version", "VERSION", Width::Fixed(9), LEFT),
        column("type", "TYPE", flex(9, 1), LEFT),
        column("agents", "AGENTS", Width::Fixed(6), RIGHT),
        column("pools", "POOLS", Width::Fixed(5), RIGHT),
        column("changed", "CHANGED", Width::Fixed(7), RIGHT),
        wide("age", "AGE", 5, RIGHT),
        wide("author", "AUTHOR", 16, LEFT),
        wide("tags", "TAGS", 20, LEFT),
        wide("command", "COMMAND", 30, LEFT),
        wide("image", "IMAGE", 24, LEFT),
        column("about", "ABOUT", flex(16, 4), LEFT),
    ],
    fields: TEMPLATE_FIELDS,
    sort: ("name", false),
    hints: &[
        (Action::Open, "agents"),
        (Action::Deploy, "deploy"),
        (Action::Describe, "describe"),
        (Action::Yaml, "yaml"),
        (Action::Delete, "delete"),
        (Action::Events, "events"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "no templates: `cvxc apply -f FILE` makes them from manifests",
};

pub struct Templates<'a> {
    rows: &'a [Arc<TemplateRow>],
    now: Time,
    stored: Option<&'a Stored>,
}

impl<'a> Templates<'a> {
    pub fn new(view: &'a FleetView, now: Time) -> Self {
        Self { rows: &view.templates, now, stored: None }
    }

    /// With the documents behind those in sight.
    #[must_use]
    pub fn over(self, stored: &'a Stored) -> Self {
        Self { stored: Some(stored), ..self }
    }
}

impl Rows for Templates<'_> {
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
        Some(TargetRef { noun: Noun::Template, id, name })
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let row = self.rows[row].as_ref();
        match column.key {
            "name" => drop(out.safe(&row.name)),
            "version" => drop(out.safe(&row.version)),
            "type" => drop(out.safe(&row.kind)),
            "agents" => drop(out.put(format_args!("{}", row.agents))),
            "pools" => drop(out.put(format_args!("{}", row.pools))),
            "changed" => words::age(out, row.updated_at, self.now),
            "age" => words::age(out, row.created_at, self.now),
            "author" => drop(out.safe(&row.created_by)),
            "tags" => {
                for (at, tag) in row.tags.iter().enumerate() {
                    out.word(if at == 0 { "" } else { "," }).safe(tag);
                }
            }
            "command" => drop(out.safe(&row.command)),
            "image" => drop(out.safe(&row.image)),
            "about" => drop(out.safe(&row.description).style(look.theme.muted)),
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let row = self.rows[row].as_ref();
        match column {
            "version" => (&row.version).into(),
            "type" => (&row.kind).into(),
            "agents" => row.agents.into(),
            "pools" => row.pools.into(),
            "changed" => words::age_key(self.now, row.updated_at).into(),
            "age" => words::age_key(self.now, row.created_at).into(),
            "author" => (&row.created_by).into(),
            "tags" => row.tags.first().into(),
            "command" => (&row.command).into(),
            "image" => (&row.image).into(),
            "about" => (&row.description).into(),
            _ => (&row.name).into(),
        }
    }

    /// A template that nothing is made of is no fault, only spare.
    fn is_fault(&self, _row: usize) -> bool {
        false
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
        owner.noun == Noun::Template && self.rows[row].id.as_str() == owner.id
    }

    fn style(&self, _row: usize, _look: Look<'_>) -> Option<Style> {
        None
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        let row = self.rows[row].as_ref();
        let mut lines = words::Lines::new(look);
        lines.text("about", &row.description);
        lines.text("version", &row.version);
        lines.text("type", &row.kind);
        lines.text("image", &row.image);
        lines.text("command", &row.command);
        lines.named("used by", format_args!("{} agents, {} pools", row.agents, row.pools));
        for tag in &row.tags {
            lines.text("tag", tag);
        }
        lines.text("author", &row.created_by);
        lines
            .named("changed", format_args!("{} ago", words::exact(self.now.since(row.updated_at))));
        lines.named("made", format_args!("{} ago", words::exact(self.now.since(row.created_at))));
        lines.named("id", format_args!("{}", row.id));
        lines.done()
    }
}
