//! What there is to read on a page of text, and how it becomes lines.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::TextKind;
use crate::engine::handle::Description;
use crate::model::text::{Align, Safe};
use crate::ports::store::Document;
use crate::tui::pages::logs::LogText;
use crate::tui::theme::Theme;
use crate::tui::widgets::Look;
use crate::tui::widgets::json::{Format, JsonLines};
use crate::tui::widgets::text::{Lines, Pieces};

/// What there is to read.
#[derive(Debug, Clone, Default)]
pub enum Content {
    /// It is on its way.
    #[default]
    Waiting,
    Failed(Safe),
    Plain(Vec<PlainLine>),
    Document(Box<DocumentText>),
    Log(Box<LogText>),
}

/// A stored document, laid out anew when it is folded or the format changes.
#[derive(Debug, Clone)]
pub struct DocumentText {
    pub value: Value,
    pub format: Format,
    pub folded: BTreeSet<String>,
    pub lines: JsonLines,
    /// What has just changed, by its place, with what it was before.
    pub changed: BTreeMap<String, Safe>,
}

impl DocumentText {
    pub fn new(value: Value, format: Format, folded: BTreeSet<String>) -> Self {
        let lines = JsonLines::new(&value, format, &folded);
        Self { value, format, folded, lines, changed: BTreeMap::new() }
    }

    /// Marks what differs from the document as it was.
    pub fn compare(&mut self, before: &Value) {
        differences(before, &self.value, &mut String::new(), &mut self.changed);
    }

    pub fn lay_out(&mut self) {
        self.lines = JsonLines::new(&self.value, self.format, &self.folded);
    }
}

/// A line of words in styles that do not depend on the theme of the moment.
pub type PlainLine = Vec<(Safe, Ink)>;

/// A meaning that a word in a text may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    Text,
    Muted,
    Title,
    Key,
    Ok,
    Warn,
    Alarm,
}

impl Ink {
    pub fn style(self, theme: &Theme) -> ratatui::style::Style {
        match self {
            Self::Text => theme.text,
            Self::Muted => theme.muted,
            Self::Title => theme.title,
            Self::Key => theme.hint_key,
            Self::Ok => theme.ok,
            Self::Warn => theme.warn,
            Self::Alarm => theme.alarm,
        }
    }
}

impl Content {
    pub(super) fn empty(kind: TextKind) -> Self {
        if kind == TextKind::Logs {
            Self::Log(Box::new(LogText::new(false)))
        } else {
            Self::Waiting
        }
    }
}

impl Content {
    /// Whether the line at `index` passes a line filter. Of a log it sees what the agent wrote, as at the source.
    pub(super) fn passes(
        &self,
        index: usize,
        filter: &Regex,
        look: Look<'_>,
        pieces: &mut Pieces,
    ) -> bool {
        if let Self::Log(log) = self {
            return log.passes(index, filter);
        }
        pieces.clear();
        self.line(index, look, pieces);
        filter.is_match(pieces.as_str())
    }
}

impl Lines for Content {
    fn count(&self) -> usize {
        match self {
            Self::Waiting | Self::Failed(_) => 1,
            Self::Plain(lines) => lines.len(),
            Self::Document(document) => document.lines.count(),
            Self::Log(log) => log.count(),
        }
    }

    fn line(&self, index: usize, look: Look<'_>, out: &mut Pieces) {
        match self {
            Self::Waiting => {
                out.word("reading", look.theme.muted).word(look.glyphs.ellipsis, look.theme.muted);
            }
            Self::Failed(why) => {
                out.word(look.glyphs.failed, look.theme.alarm).word(" ", look.theme.alarm);
                out.safe(why, look.theme.alarm);
            }
            Self::Plain(lines) => {
                for (text, ink) in lines.get(index).into_iter().flatten() {
                    out.safe(text, ink.style(look.theme));
                }
            }
            Self::Document(document) => {
                document.lines.line(index, look, out);
                if let Some(was) = document.changed.get(document.lines.path(index)) {
                    let style = look.theme.changed;
                    out.word("   ", style).word(look.glyphs.marked, style);
                    out.word(" was ", style).safe(was, style);
                }
            }
            Self::Log(log) => log.line(index, look, out),
        }
    }

    fn anchor(&self, index: usize) -> usize {
        match self {
            Self::Log(log) => log.anchor(index),
            Self::Waiting | Self::Failed(_) | Self::Plain(_) | Self::Document(_) => 0,
        }
    }
}

/// The document with its key and revision, as the store has it.
pub(super) fn whole(document: Document) -> Value {
    let mut fields = serde_json::Map::new();
    fields.insert("_key".into(), Value::from(document.key.as_str()));
    fields.insert("_rev".into(), Value::from(document.rev.to_string()));
    fields.extend(document.body);
    Value::Object(fields)
}

/// Titled sections of `name: value`, the values in one column.
pub(super) fn described(description: &Description) -> Vec<PlainLine> {
    let mut lines = vec![vec![(Safe::new(&description.title), Ink::Title)]];
    for section in &description.sections {
        lines.push(Vec::new());
        lines.push(vec![(Safe::new(&section.title), Ink::Title)]);
        let names: Vec<Safe> = section.lines.iter().map(|(name, _)| Safe::new(name)).collect();
        let width = names.iter().map(Safe::width).max().unwrap_or(0).min(24);
        for (name, (_, value)) in names.iter().zip(&section.lines) {
            let mut rest = Safe::lines(value).into_iter();
            let head = Safe::new(&format!("  {}  ", name.fit(width, Align::Left)));
            lines.push(vec![(head, Ink::Muted), (rest.next().unwrap_or_default(), Ink::Text)]);
            let indent = Safe::new(&" ".repeat(width + 4));
            lines.extend(rest.map(|line| vec![(indent.clone(), Ink::Text), (line, Ink::Text)]));
        }
    }
    lines
}

/// More changes than this are not marked: everything is new then.
const MOST: usize = 500;

/// The scalars that differ, by their path, with what they were.
fn differences(before: &Value, now: &Value, path: &mut String, out: &mut BTreeMap<String, Safe>) {
    if out.len() >= MOST {
        return;
    }
    let mut deeper = |name: &str, before: Option<&Value>, now: &Value| {
        let length = path.len();
        path.push('/');
        path.push_str(name);
        differences(before.unwrap_or(&Value::Null), now, path, out);
        path.truncate(length);
    };
    match now {
        Value::Object(fields) => {
            for (name, value) in fields {
                deeper(name, before.get(name), value);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                deeper(&at.to_string(), before.get(at), item);
            }
        }
        scalar if scalar != before => {
            let was = match before {
                Value::Null => Safe::new("nothing"),
                Value::Array(_) | Value::Object(_) => Safe::new("something else"),
                other => Safe::new(Safe::new(&other.to_string()).cut(40).as_ref()),
            };
            out.insert(path.clone(), was);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_marked_with_what_it_was() {
        let (before, now) = (
            json!({"desired": 2, "labels": {"tier": "gold"}, "list": [1, 2], "same": true}),
            json!({"desired": 3, "labels": {"tier": "gold", "new": "x"}, "list": [1, 5], "same": true}),
        );
        let mut document = DocumentText::new(now, Format::Yaml, BTreeSet::new());
        document.compare(&before);
        let changed: Vec<(&str, &str)> =
            document.changed.iter().map(|(path, was)| (path.as_str(), was.as_str())).collect();
        assert_eq!(changed, [("/desired", "2"), ("/labels/new", "nothing"), ("/list/1", "2")]);
    }
}
