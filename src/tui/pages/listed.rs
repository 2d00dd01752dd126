//! Rows that are asked for as a whole and held in memory while a page shows them: hosts, namespaces, contexts, forwarded
//! ports. One table for all of them; what each is made of stands in `site`.

use std::borrow::Cow;
use std::collections::HashMap;

use ratatui::style::Style;

use super::row::{Rows, SortKey};
use super::words;
use crate::model::filter::query::{FieldKind, FieldSpec, FieldValue, Row, RowQuery};
use crate::model::plan::TargetRef;
use crate::model::quantity::{Bytes, Cpu, human_bytes};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::settings::thresholds::Level;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column};
use crate::tui::widgets::text::Pieces;

/// How a row, or a word in it, is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    Plain,
    Busy,
    Wary,
    Sick,
}

impl Mood {
    fn sign(self, look: Look<'_>) -> (&'static str, Style) {
        let Look { theme, glyphs } = look;
        match self {
            Self::Well => (glyphs.ok, theme.ok),
            Self::Plain => (" ", theme.text),
            Self::Busy => (glyphs.busy, theme.busy),
            Self::Wary => (glyphs.paused, theme.warn),
            Self::Sick => (glyphs.failed, theme.alarm),
        }
    }
}

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(Safe),
    State(Mood, Safe),
    Count(u64),
    Cpu(u64),
    Size(u64),
    /// Per cent, coloured by how far it has gone.
    Share(u64),
    Since(Time),
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub id: String,
    pub name: Safe,
    /// Something is wrong with it.
    pub fault: bool,
    pub cells: Vec<(&'static str, Value)>,
    /// More about it, for the side pane.
    pub notes: Vec<(Safe, Safe)>,
}

impl Entry {
    pub fn new(id: &str) -> Self {
        let name = Safe::new(id);
        Self { id: id.to_owned(), name, fault: false, cells: Vec::new(), notes: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, key: &'static str, value: Value) -> Self {
        self.cells.push((key, value));
        self
    }

    #[must_use]
    pub fn text(self, key: &'static str, text: &str) -> Self {
        if text.is_empty() { self } else { self.with(key, Value::Text(Safe::new(text))) }
    }

    pub fn value(&self, key: &str) -> Option<&Value> {
        self.cells.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    pub fn note(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.notes.push((Safe::new(name), Safe::new(text)));
        }
    }
}

/// How many agents are on each row, by its id.
pub type Beside = HashMap<String, u32>;

/// The rows, and how many agents are on each.
pub struct Listed<'a> {
    entries: &'a [Entry],
    agents: Option<&'a Beside>,
    now: Time,
}

impl<'a> Listed<'a> {
    pub fn new(entries: &'a [Entry], now: Time) -> Self {
        Self { entries, agents: None, now }
    }

    /// With the agents beside each.
    #[must_use]
    pub fn beside(self, agents: &'a Beside) -> Self {
        Self { agents: Some(agents), ..self }
    }

    fn agents(&self, row: usize) -> u32 {
        let counted = self.agents.and_then(|agents| agents.get(&self.entries[row].id));
        counted.copied().unwrap_or(0)
    }

    fn value(&self, row: usize, key: &str) -> Option<Cow<'a, Value>> {
        let entry = &self.entries[row];
        if key == "agents" {
            return Some(Cow::Owned(Value::Count(u64::from(self.agents(row)))));
        }
        entry.value(key).map(Cow::Borrowed)
    }
}

impl Rows for Listed<'_> {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn id(&self, row: usize) -> &str {
        &self.entries[row].id
    }

    fn name(&self, row: usize) -> &Safe {
        &self.entries[row].name
    }

    fn target(&self, _row: usize) -> Option<TargetRef> {
        None
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        if column.key == "name" {
            out.safe(&self.entries[row].name);
            return;
        }
        let Some(value) = self.value(row, column.key) else {
            out.word("-").style(look.theme.muted);
            return;
        };
        match value.as_ref() {
            Value::Text(text) => drop(out.safe(text)),
            Value::State(mood, text) => {
                let (sign, style) = mood.sign(look);
                out.word(sign).word(" ").safe(text).style(style);
            }
            Value::Count(count) => drop(out.put(format_args!("{count}"))),
            Value::Cpu(millis) => drop(out.put(format_args!("{}", Cpu(*millis)))),
            Value::Size(bytes) => drop(out.put(format_args!("{}", human_bytes(*bytes)))),
            Value::Share(share) => {
                out.put(format_args!("{share}%"));
                let level = match share {
                    0..70 => Level::Fine,
                    70..90 => Level::Warn,
                    _ => Level::Critical,
                };
                words::judge(out, level, column, look);
            }
            Value::Since(at) => words::age(out, *at, self.now),
        }
    }

    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_> {
        if column == "name" {
            return (&self.entries[row].name).into();
        }
        match self.value(row, column) {
            None => SortKey::Nothing,
            Some(value) => match value.as_ref() {
                Value::Text(text) | Value::State(_, text) => {
                    SortKey::Text(Cow::Owned(text.as_str().to_owned()))
                }
                Value::Count(n) | Value::Cpu(n) | Value::Size(n) | Value::Share(n) => (*n).into(),
                Value::Since(at) => words::age_key(self.now, *at).into(),
            },
        }
    }

    fn is_fault(&self, row: usize) -> bool {
        self.entries[row].fault
    }

    fn matches(&self, row: usize, query: &RowQuery) -> bool {
        query.matches(&Seen { rows: self, row })
    }

    fn seen(&self, row: usize, act: &mut dyn FnMut(&dyn Row)) {
        act(&Seen { rows: self, row });
    }

    fn is_within(&self, _row: usize, _owner: &TargetRef) -> bool {
        true
    }

    fn style(&self, _row: usize, _look: Look<'_>) -> Option<Style> {
        None
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        let entry = &self.entries[row];
        let mut lines = words::Lines::new(look);
        for (name, text) in &entry.notes {
            let line = lines.add();
            line.safe(name, look.theme.header_label).word("  ", look.theme.text);
            line.safe(text, look.theme.text);
        }
        lines.done()
    }
}

/// A row as the filter sees it.
struct Seen<'a> {
    rows: &'a Listed<'a>,
    row: usize,
}

impl Row for Seen<'_> {
    fn text(&self, out: &mut String) {
        let entry = &self.rows.entries[self.row];
        out.push_str(entry.name.as_str());
        for (_, value) in &entry.cells {
            if let Value::Text(text) | Value::State(_, text) = value {
                out.push(' ');
                out.push_str(text.as_str());
            }
        }
    }

    fn name(&self) -> Option<&str> {
        Some(self.rows.entries[self.row].name.as_str())
    }

    fn label(&self, _key: &str) -> Option<&str> {
        None
    }

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let entry = &self.rows.entries[self.row];
        if name == "name" {
            return Some(FieldValue::Text(entry.name.as_str()));
        }
        if name == "agents" {
            return Some(FieldValue::Number(f64::from(self.rows.agents(self.row))));
        }
        Some(match entry.value(name)? {
            Value::Text(text) | Value::State(_, text) => FieldValue::Text(text.as_str()),
            Value::Count(count) => number(*count),
            Value::Cpu(millis) => FieldValue::Cpu(Cpu(*millis)),
            Value::Size(bytes) => FieldValue::Size(Bytes(*bytes)),
            Value::Share(share) => match number(*share) {
                FieldValue::Number(share) => FieldValue::Percent(share),
                other => other,
            },
            Value::Since(at) => FieldValue::Duration(self.rows.now.since(*at)),
        })
    }
}

fn number(count: u64) -> FieldValue<'static> {
    FieldValue::Number(f64::from(u32::try_from(count).unwrap_or(u32::MAX)))
}

/// The terms of a filter over these rows.
pub const fn field(name: &'static str, kind: FieldKind) -> FieldSpec {
    FieldSpec::new(name, kind)
}
