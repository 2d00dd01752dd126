//! A document as lines of YAML or JSON, with parts folded away. What it shows is a copy made safe, line by line.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Look;
use super::text::{Lines, Pieces};
use crate::model::text::Safe;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Yaml,
    Json,
}

/// More lines than this are not made of one document.
const MOST_LINES: usize = 20_000;

/// One line of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
struct JsonLine {
    depth: usize,
    /// `name:` or `- `, or nothing.
    key: Safe,
    value: Safe,
    kind: Kind,
    /// Where it is in the document; what folding remembers.
    path: String,
    /// It holds others.
    nested: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Word,
    Sign,
}

/// A document in lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JsonLines {
    lines: Vec<JsonLine>,
}

impl JsonLines {
    /// Lays `value` out, without what is inside the paths in `folded`.
    pub fn new(value: &Value, format: Format, folded: &BTreeSet<String>) -> Self {
        let mut layout = Layout { format, folded, lines: Vec::new() };
        layout.value(0, String::new(), "", value, true);
        Self { lines: layout.lines }
    }

    /// Where the line at `index` is in the document.
    pub fn path(&self, index: usize) -> &str {
        self.lines.get(index).map_or("", |line| line.path.as_str())
    }

    /// The path that folding the line at `index` closes or opens; `None` when it holds nothing.
    pub fn fold_path(&self, index: usize) -> Option<&str> {
        self.lines.get(index).filter(|line| line.nested).map(|line| line.path.as_str())
    }
}

struct Layout<'a> {
    format: Format,
    folded: &'a BTreeSet<String>,
    lines: Vec<JsonLine>,
}

impl Layout<'_> {
    fn value(&mut self, depth: usize, path: String, key: &str, value: &Value, last: bool) {
        if self.lines.len() >= MOST_LINES {
            if self.lines.len() == MOST_LINES {
                self.push(depth, path, "", "… (longer than can be shown)", Kind::Sign, false);
            }
            return;
        }
        let comma = if last || self.format == Format::Yaml { "" } else { "," };
        let brackets = match value {
            Value::Object(_) => ["{", "}"],
            Value::Array(_) => ["[", "]"],
            scalar => {
                let (text, kind) = self.scalar(scalar);
                self.push(depth, path, key, &format!("{text}{comma}"), kind, false);
                return;
            }
        };
        let children: Vec<(String, &Value)> = match value {
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), value)).collect()
            }
            Value::Array(items) => {
                items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect()
            }
            _ => Vec::new(),
        };
        let [open, close] = brackets;
        if children.is_empty() {
            return self.push(
                depth,
                path,
                key,
                &format!("{open}{close}{comma}"),
                Kind::Sign,
                false,
            );
        }
        if self.folded.contains(&path) {
            let count = children.len();
            let shown = format!("{open} … {count} {close}{comma}");
            return self.push(depth, path, key, &shown, Kind::Sign, true);
        }
        let is_root = path.is_empty() && self.format == Format::Yaml;
        let head = if self.format == Format::Yaml { "" } else { open };
        if !is_root {
            self.push(depth, path.clone(), key, head, Kind::Sign, true);
        }
        let deeper = if is_root { depth } else { depth + 1 };
        let count = children.len();
        for (index, (name, child)) in children.into_iter().enumerate() {
            let key = match (self.format, value) {
                (Format::Yaml, Value::Array(_)) => "- ".to_owned(),
                (Format::Yaml, _) => format!("{}: ", plain_or_quoted(&name)),
                (Format::Json, Value::Array(_)) => String::new(),
                (Format::Json, _) => format!("{}: ", Value::from(name.as_str())),
            };
            self.value(deeper, format!("{path}/{name}"), &key, child, index + 1 == count);
        }
        if self.format == Format::Json {
            self.push(depth, String::new(), "", &format!("{close}{comma}"), Kind::Sign, false);
        }
    }

    fn scalar(&self, value: &Value) -> (String, Kind) {
        match value {
            Value::String(text) if self.format == Format::Yaml => {
                (plain_or_quoted(text), Kind::Text)
            }
            Value::String(_) => (value.to_string(), Kind::Text),
            Value::Number(_) => (value.to_string(), Kind::Number),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                (value.to_string(), Kind::Word)
            }
        }
    }

    fn push(
        &mut self,
        depth: usize,
        path: String,
        key: &str,
        value: &str,
        kind: Kind,
        nested: bool,
    ) {
        let (key, value) = (Safe::new(key), Safe::new(value));
        self.lines.push(JsonLine { depth, key, value, kind, path, nested });
    }
}

/// A text as YAML writes it: quoted only where it would otherwise be read as something else.
fn plain_or_quoted(text: &str) -> String {
    let first = text.chars().next();
    let safe = |c: char| {
        c.is_alphanumeric()
            || matches!(
                c,
                ' ' | '-'
                    | '_'
                    | '.'
                    | '/'
                    | '('
                    | ')'
                    | '+'
                    | '='
                    | '@'
                    | '%'
                    | ';'
                    | '<'
                    | '>'
                    | '$'
                    | '~'
                    | '\''
                    | ':'
            )
    };
    let reads_as_other = matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "~"
    ) || text.parse::<f64>().is_ok();
    let plain = first.is_some_and(|c| {
        c.is_alphabetic() || c == '/' || c == '_' || (c.is_ascii_digit() && !reads_as_other)
    }) && text.chars().all(safe)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !reads_as_other;
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

impl Lines for JsonLines {
    fn count(&self) -> usize {
        self.lines.len()
    }

    fn line(&self, index: usize, look: Look<'_>, out: &mut Pieces) {
        let Some(line) = self.lines.get(index) else { return };
        for _ in 0..line.depth {
            out.word("  ", look.theme.text);
        }
        out.safe(&line.key, look.theme.json_key);
        let style = match line.kind {
            Kind::Text => look.theme.json_string,
            Kind::Number => look.theme.json_number,
            Kind::Word => look.theme.json_word,
            Kind::Sign => look.theme.muted,
        };
        out.safe(&line.value, style);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tui::testing::plain_look;

    fn laid(value: &Value, format: Format, folded: &[&str]) -> String {
        let folded = folded.iter().map(|path| (*path).to_owned()).collect();
        let lines = JsonLines::new(value, format, &folded);
        let mut out = String::new();
        let mut pieces = Pieces::default();
        for index in 0..lines.count() {
            pieces.clear();
            lines.line(index, plain_look(), &mut pieces);
            out.push_str(pieces.as_str().trim_end());
            out.push('\n');
        }
        out
    }

    fn document() -> Value {
        json!({"name": "triage", "min": 3, "labels": {"tier": "gold", "on": "yes"}, "command": ["cvxc", "agent run"],
            "note": "\u{1b}]52;c;eA==\u{7}", "empty": {}, "version": "1.0", "gone": null})
    }

    #[test]
    fn a_document_is_laid_out_as_yaml_that_reads_back() {
        let text = laid(&document(), Format::Yaml, &[]);
        insta::assert_snapshot!(text);
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read["labels"], document()["labels"]);
        assert_eq!(read["version"], "1.0");
        assert_eq!(read["gone"], Value::Null);
    }

    #[test]
    fn a_document_is_laid_out_as_json_that_reads_back() {
        let text = laid(&document(), Format::Json, &[]);
        insta::assert_snapshot!(text);
        assert!(serde_json::from_str::<Value>(&text).is_ok());
    }

    #[test]
    fn what_is_folded_is_counted() {
        let text = laid(&document(), Format::Yaml, &["/labels", "/command"]);
        assert!(text.contains("labels: { … 2 }\ncommand: [ … 2 ]\n"), "{text}");
    }

    #[test]
    fn no_control_character_comes_through() {
        for format in [Format::Yaml, Format::Json] {
            let text = laid(&json!({"a\u{1b}[2J": "b\u{202e}\u{9b}c\u{7}"}), format, &[]);
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            assert!(!text.contains('\u{202e}'), "{text:?}");
        }
    }

    #[test]
    fn a_huge_document_is_cut() {
        let value = json!((0..MOST_LINES + 50).collect::<Vec<_>>());
        let lines = JsonLines::new(&value, Format::Json, &BTreeSet::new());
        assert!(lines.count() <= MOST_LINES + 2);
    }
}
