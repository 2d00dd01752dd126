//! The journal, newest first: every change of the fleet, who made it and why, with the patch behind it.

use std::sync::Arc;

use ratatui::style::Style;

use super::papers::PaperRow;
use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, flex, wide};
use super::words;
use crate::engine::fields::{EVENT_FIELDS, Paper, PaperKind};
use crate::model::filter::query::{Row, RowQuery};
use crate::model::plan::{Noun, TargetRef};
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::Pieces;

pub const SPEC: Spec = Spec {
    scope: Scope::Events,
    columns: &[
        column("time", "TIME", Width::Fixed(8), LEFT),
        column("type", "EVENT", flex(16, 1), LEFT),
        column("subject", "SUBJECT", flex(14, 2), LEFT),
        column("actor", "BY", flex(12, 1), LEFT),
        wide("seq", "SEQ", 9, RIGHT),
        wide("age", "AGE", 4, RIGHT),
        wide("kind", "KIND", 16, LEFT),
        wide("epoch", "EPOCH", 6, RIGHT),
        wide("operation", "OPERATION", 36, LEFT),
        wide("id", "ID", 38, LEFT),
        column("reason", "REASON", flex(16, 3), LEFT),
    ],
    fields: EVENT_FIELDS,
    sort: ("time", true),
    hints: &[
        (Action::Open, "patch"),
        (Action::ToggleFollow, "freeze"),
        (Action::Owner, "subject"),
        (Action::Refresh, "read again"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "the journal is empty: nothing was ever changed",
};

pub struct Events<'a> {
    rows: &'a [Arc<PaperRow>],
    now: Time,
}

impl<'a> Events<'a> {
    pub fn new(rows: &'a [Arc<PaperRow>], now: Time) -> Self {
        Self { rows, now }
    }
}

fn text<'a>(row: &'a PaperRow, field: &str) -> Option<&'a str> {
    row.document.body.get(field)?.as_str()
}

/// The collection that a kind of thing is kept in, as the journal names it.
pub fn aggregate(noun: Noun) -> Collection {
    match noun {
        Noun::Agent => Collection::Agents,
        Noun::Pool => Collection::AgentPools,
        Noun::Template => Collection::AgentTemplates,
        Noun::Message => Collection::AgentMessages,
        Noun::Subscription => Collection::AgentSubscriptions,
        Noun::Publication => Collection::AgentPublications,
        Noun::Operation => Collection::Operations,
    }
}

/// What an event is about, where that is something with a page.
fn subject(row: &PaperRow) -> Option<TargetRef> {
    let kind = row.kind.as_str();
    let noun = match kind {
        // health is kept apart from the agent, under the agent's id
        "agent_health" => Noun::Agent,
        _ => <Noun as strum::IntoEnumIterator>::iter()
            .find(|noun| aggregate(*noun).name() == kind)?,
    };
    let (id, name) =
        (text(row, "aggregate_id")?.to_owned(), text(row, "subject").unwrap_or_default());
    let name = if name.is_empty() { id.clone() } else { name.to_owned() };
    Some(TargetRef { noun, id, name })
}

/// How much an event wants to be seen, by the last word of its type.
fn style_of(kind: &str, look: Look<'_>) -> Style {
    let word = kind.rsplit('.').next().unwrap_or_default();
    match word {
        "failed" | "dead" | "crashed" | "lost" | "rejected" => look.theme.alarm,
        "unhealthy" | "degraded" | "deleted" | "expired" | "cancelled" | "rolled_back"
        | "restarted" => look.theme.warn,
        _ => look.theme.text,
    }
}

impl Rows for Events<'_> {
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
        subject(&self.rows[row])
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let row = self.rows[row].as_ref();
        match column.key {
            "time" => {
                if let Some(at) = row.at {
                    out.put(format_args!("{}", words::clock(at))).style(look.theme.muted);
                }
            }
            "type" => drop(out.safe(&row.name).style(style_of(row.name.as_str(), look))),
            "subject" => drop(out.safe(&row.from)),
            "actor" => drop(out.safe(&row.by)),
            "seq" => drop(out.put(format_args!("{}", row.order))),
            "age" => {
                if let Some(at) = row.at {
                    words::age(out, at, self.now);
                }
            }
            "kind" => drop(out.safe(&row.kind)),
            "epoch" => {
                if let Some(epoch) =
                    row.document.body.get("epoch").and_then(serde_json::Value::as_u64)
                {
                    out.put(format_args!("{epoch}"));
                }
            }
            "operation" => {
                if let Some(operation) = text(row, "operation_id") {
                    out.safe(&Safe::new(operation));
                }
            }
            "id" => drop(out.safe(&row.to)),
            "reason" => drop(out.safe(&row.note).style(look.theme.muted)),
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let row = self.rows[row].as_ref();
        match column {
            "type" | "name" => (&row.name).into(),
            "subject" => (&row.from).into(),
            "actor" => (&row.by).into(),
            "age" => row.at.map(|at| words::age_key(self.now, at)).into(),
            "kind" => (&row.kind).into(),
            "epoch" => row.document.body.get("epoch").and_then(serde_json::Value::as_u64).into(),
            "operation" => text(row, "operation_id").into(),
            "id" => (&row.to).into(),
            "reason" => (&row.note).into(),
            _ => SortKey::Number(row.order),
        }
    }

    fn is_fault(&self, row: usize) -> bool {
        let kind = self.rows[row].name.as_str();
        ["failed", "dead", "unhealthy", "crashed", "lost", "rejected"]
            .iter()
            .any(|word| kind.ends_with(word))
    }

    fn matches(&self, row: usize, query: &RowQuery) -> bool {
        query.matches(&Paper::new(PaperKind::Event, &self.rows[row].document, self.now))
    }

    fn seen(&self, row: usize, act: &mut dyn FnMut(&dyn Row)) {
        act(&Paper::new(PaperKind::Event, &self.rows[row].document, self.now));
    }

    fn document(&self, row: usize) -> Option<&serde_json::Map<String, serde_json::Value>> {
        Some(&self.rows[row].document.body)
    }

    fn is_within(&self, row: usize, owner: &TargetRef) -> bool {
        let row = self.rows[row].as_ref();
        let is = |field: &str| text(row, field) == Some(&owner.id);
        match owner.noun {
            Noun::Operation => is("operation_id") || is("aggregate_id"),
            Noun::Agent
            | Noun::Pool
            | Noun::Template
            | Noun::Message
            | Noun::Subscription
            | Noun::Publication => is("aggregate_id"),
        }
    }

    fn style(&self, _row: usize, _look: Look<'_>) -> Option<Style> {
        None
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        let row = self.rows[row].as_ref();
        let mut lines = words::Lines::new(look);
        lines.add().safe(&row.name, style_of(row.name.as_str(), look));
        lines.text("reason", &row.note);
        lines.text("subject", &row.from);
        lines.text("by", &row.by);
        if let Some(at) = row.at {
            lines.named("when", format_args!("{} ago", words::exact(self.now.since(at))));
        }
        lines.named("seq", format_args!("{}", row.order));
        lines.text("id", &row.to);
        if let Some(operation) = text(row, "operation_id") {
            lines.text("operation", &Safe::new(operation));
        }
        for field in ["patch", "evidence"] {
            let Some(value) = row.document.body.get(field).filter(|value| !value.is_null()) else {
                continue;
            };
            lines.add().put(format_args!("{field}"), look.theme.header_label);
            for line in words::json_lines(value, 40) {
                lines.add().safe(&line, look.theme.text);
            }
        }
        lines.done()
    }
}
