//! Direct messages, newest first: from whom, to whom, what became of them. Looking at them leases, acknowledges and
//! counts nothing.

use std::sync::Arc;

use ratatui::style::Style;

use super::papers::PaperRow;
use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, flex, wide};
use super::words;
use crate::engine::fields::{MESSAGE_FIELDS, Paper, PaperKind};
use crate::model::filter::query::{Row, RowQuery};
use crate::model::message::MessageStatus;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::Pieces;

pub const SPEC: Spec = Spec {
    scope: Scope::Messages,
    columns: &[
        column("time", "TIME", Width::Fixed(8), LEFT),
        column("from", "FROM", flex(12, 1), LEFT),
        column("to", "TO", flex(12, 1), LEFT),
        column("type", "TYPE", flex(12, 1), LEFT),
        column("priority", "P", Width::Fixed(2), RIGHT),
        column("state", "STATUS", Width::Fixed(11), LEFT),
        column("attempts", "TRY", Width::Fixed(4), RIGHT),
        wide("age", "AGE", 4, RIGHT),
        wide("wait", "WAIT", 8, RIGHT),
        wide("service", "SERVICE", 8, RIGHT),
        wide("correlation", "CORRELATION", 16, LEFT),
        wide("id", "ID", 37, LEFT),
        column("reason", "ERROR", flex(6, 3), LEFT),
    ],
    fields: MESSAGE_FIELDS,
    sort: ("time", true),
    hints: &[
        (Action::Open, "look into"),
        (Action::Requeue, "requeue"),
        (Action::Replay, "replay"),
        (Action::Purge, "purge"),
        (Action::ToggleFollow, "freeze"),
        (Action::NextPane, "queues"),
        (Action::Owner, "receiver"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "no messages: agents send them, or `cvxc send FROM TO TYPE`",
};

pub struct Messages<'a> {
    rows: &'a [Arc<PaperRow>],
    now: Time,
}

impl<'a> Messages<'a> {
    pub fn new(rows: &'a [Arc<PaperRow>], now: Time) -> Self {
        Self { rows, now }
    }
}

/// What the document says its status is; one that we do not know is no status of ours.
fn status(row: &PaperRow) -> Option<MessageStatus> {
    row.by.as_str().parse().ok()
}

/// The sign and the style of a status.
pub fn sign(status: Option<MessageStatus>, look: Look<'_>) -> (&'static str, Style) {
    let Look { theme, glyphs } = look;
    match status {
        Some(MessageStatus::Pending) => (glyphs.busy, theme.busy),
        Some(MessageStatus::Leased) => (glyphs.degraded, theme.busy),
        Some(MessageStatus::Delivered) => (glyphs.ok, theme.ok),
        Some(MessageStatus::Dead | MessageStatus::Failed) => (glyphs.failed, theme.alarm),
        Some(MessageStatus::Expired) => (glyphs.stopped, theme.warn),
        Some(MessageStatus::Cancelled | MessageStatus::Purged) => (glyphs.stopped, theme.muted),
        None => (glyphs.unknown, theme.unknown),
    }
}

fn number(row: &PaperRow, field: &str) -> Option<u64> {
    row.document.body.get(field)?.as_u64()
}

fn time(row: &PaperRow, field: &str) -> Option<Time> {
    row.document.body.get(field)?.as_str()?.parse().ok()
}

/// How long it waited before it was last handed out.
fn wait(row: &PaperRow) -> Option<std::time::Duration> {
    Some(time(row, "delivered_at")?.since(row.at?))
}

/// How long its receiver took.
fn service(row: &PaperRow) -> Option<std::time::Duration> {
    Some(time(row, "acked_at")?.since(time(row, "delivered_at")?))
}

impl Rows for Messages<'_> {
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
        Some(TargetRef { noun: Noun::Message, name: id.clone(), id })
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let row = self.rows[row].as_ref();
        match column.key {
            "time" => {
                if let Some(at) = row.at {
                    out.put(format_args!("{}", words::clock(at))).style(look.theme.muted);
                }
            }
            "from" => drop(out.safe(&row.from)),
            "to" => drop(out.safe(&row.to)),
            "type" => drop(out.safe(&row.kind)),
            "priority" => {
                if let Some(priority) = number(row, "priority") {
                    out.put(format_args!("{priority}"));
                }
            }
            "state" => {
                let (sign, style) = sign(status(row), look);
                out.word(sign).word(" ").safe(&row.by).style(style);
            }
            "attempts" => {
                let tried = number(row, "attempts").unwrap_or(0);
                out.put(format_args!("{tried}/{}", number(row, "max_attempts").unwrap_or(0)));
                if tried > 1 {
                    out.style(look.theme.warn);
                }
            }
            "age" => {
                if let Some(at) = row.at {
                    words::age(out, at, self.now);
                }
            }
            "wait" | "service" => {
                let span = if column.key == "wait" { wait(row) } else { service(row) };
                if let Some(span) = span {
                    out.put(format_args!("{}", words::latency(span)));
                }
            }
            "correlation" => {
                if let Some(text) =
                    row.document.body.get("correlation_id").and_then(|it| it.as_str())
                {
                    out.safe(&Safe::new(text));
                }
            }
            "id" => drop(out.safe(&row.name)),
            "reason" => drop(out.safe(&row.note).style(look.theme.warn)),
            _ => {}
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        let row = self.rows[row].as_ref();
        let micros = |span: Option<std::time::Duration>| {
            span.map(|span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
        };
        match column {
            "from" => (&row.from).into(),
            "to" => (&row.to).into(),
            "type" => (&row.kind).into(),
            "priority" => number(row, "priority").into(),
            "state" => (&row.by).into(),
            "attempts" => number(row, "attempts").into(),
            "age" => row.at.map(|at| words::age_key(self.now, at)).into(),
            "wait" => micros(wait(row)).into(),
            "service" => micros(service(row)).into(),
            "correlation" => {
                row.document.body.get("correlation_id").and_then(|it| it.as_str()).into()
            }
            "id" | "name" => (&row.name).into(),
            "reason" => (&row.note).into(),
            _ => SortKey::Number(row.order),
        }
    }

    fn is_fault(&self, row: usize) -> bool {
        match status(&self.rows[row]) {
            Some(MessageStatus::Dead | MessageStatus::Failed | MessageStatus::Expired) => true,
            Some(
                MessageStatus::Pending
                | MessageStatus::Leased
                | MessageStatus::Delivered
                | MessageStatus::Cancelled
                | MessageStatus::Purged,
            )
            | None => number(&self.rows[row], "attempts").is_some_and(|tried| tried > 1),
        }
    }

    fn matches(&self, row: usize, query: &RowQuery) -> bool {
        let row = self.rows[row].as_ref();
        let paper = Paper::new(PaperKind::Message, &row.document, self.now);
        query.matches(&paper.named(row.from.as_str(), row.to.as_str()))
    }

    fn seen(&self, row: usize, act: &mut dyn FnMut(&dyn Row)) {
        act(&Paper::new(PaperKind::Message, &self.rows[row].document, self.now)
            .named(self.rows[row].from.as_str(), self.rows[row].to.as_str()));
    }

    fn document(&self, row: usize) -> Option<&serde_json::Map<String, serde_json::Value>> {
        Some(&self.rows[row].document.body)
    }

    fn is_within(&self, row: usize, owner: &TargetRef) -> bool {
        let body = &self.rows[row].document.body;
        let is = |field: &str| body.get(field).and_then(|it| it.as_str()) == Some(&owner.id);
        match owner.noun {
            Noun::Agent => is("to_agent_id") || is("from_agent_id"),
            Noun::Message => self.id(row) == owner.id || is("reply_to") || is("replay_of"),
            Noun::Pool
            | Noun::Template
            | Noun::Subscription
            | Noun::Publication
            | Noun::Operation => false,
        }
    }

    fn style(&self, row: usize, look: Look<'_>) -> Option<Style> {
        let away = matches!(
            status(&self.rows[row]),
            Some(MessageStatus::Purged | MessageStatus::Cancelled)
        );
        away.then_some(look.theme.row_gone)
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        let row = self.rows[row].as_ref();
        let mut lines = words::Lines::new(look);
        let (sign, style) = sign(status(row), look);
        lines.add().word(sign, style).word(" ", style).safe(&row.by, style);
        lines.text("error", &row.note);
        lines.text("from", &row.from);
        lines.text("to", &row.to);
        lines.text("type", &row.kind);
        if let Some(priority) = number(row, "priority") {
            lines.named("priority", format_args!("{priority}"));
        }
        let (tried, most) =
            (number(row, "attempts").unwrap_or(0), number(row, "max_attempts").unwrap_or(0));
        lines.named("attempts", format_args!("{tried} of {most}"));
        if let Some(at) = row.at {
            lines.named("sent", format_args!("{} ago", words::exact(self.now.since(at))));
        }
        for (name, span) in [("wait", wait(row)), ("service", service(row))] {
            if let Some(span) = span {
                lines.named(name, format_args!("{}", words::latency(span)));
            }
        }
        lines.text("id", &row.name);
        if let Some(payload) = row.document.body.get("payload") {
            lines.add().word("payload", look.theme.header_label);
            for line in words::json_lines(payload, 40) {
                lines.add().safe(&line, look.theme.text);
            }
        }
        lines.done()
    }
}
