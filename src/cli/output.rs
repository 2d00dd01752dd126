//! What verbs print: tables, JSON, YAML. Everything that others wrote passes [`Safe`]; a closed pipe ends the program quietly.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::fail::Fail;
use crate::model::text::Safe;

/// Prints one line.
///
/// # Errors
/// When standard output is closed or full.
pub fn line(text: &str) -> Result<(), Fail> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").map_err(|error| closed(&error))
}

/// Says something beside what is printed, on standard error, if anybody listens there.
pub fn aside(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Prints what this program made itself, as it is.
///
/// # Errors
/// As [`line`].
pub fn raw(bytes: &[u8]) -> Result<(), Fail> {
    io::stdout().lock().write_all(bytes).map_err(|error| closed(&error))
}

/// Prints text that others wrote, made safe line by line.
///
/// # Errors
/// As [`line`].
pub fn safe_lines(text: &str) -> Result<(), Fail> {
    Safe::lines(text).iter().try_for_each(|safe| line(safe.as_str()))
}

/// Prints JSON. Its strings cannot hurt a terminal: control characters are escaped, C1 and bidi ones too.
///
/// # Errors
/// As [`line`].
pub fn json(value: &impl Serialize) -> Result<(), Fail> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Fail::failed(error.to_string()))?;
    line(&escape(&text))
}

/// Prints YAML, escaped like JSON where needed.
///
/// # Errors
/// As [`line`].
pub fn yaml(value: &impl Serialize) -> Result<(), Fail> {
    let text = serde_saphyr::to_string(value).map_err(|error| Fail::failed(error.to_string()))?;
    Safe::lines(text.trim_end()).iter().try_for_each(|safe| line(safe.as_str()))
}

/// JSON escapes control characters below 0x20 only; terminals obey others too.
fn escape(text: &str) -> String {
    let risky = |c: char| {
        matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
            || ('\u{e0000}'..='\u{e007f}').contains(&c)
    };
    if !text.contains(risky) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if risky(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Prints rows under a header, as kubectl does: no borders, two spaces between columns.
///
/// # Errors
/// As [`line`].
pub fn table(header: &[&str], rows: &[Vec<Safe>]) -> Result<(), Fail> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(Safe::as_str).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for text in table.lines() {
        line(text.trim_end())?;
    }
    Ok(())
}

/// A document's body with its key, as `get -o json` shows it.
pub fn with_key(key: &str, rev: &str, body: serde_json::Map<String, Value>) -> Value {
    let mut whole = serde_json::Map::with_capacity(body.len() + 2);
    whole.insert("_key".into(), key.into());
    whole.insert("_rev".into(), rev.into());
    whole.extend(body);
    Value::Object(whole)
}

fn closed(error: &io::Error) -> Fail {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Fail { code: 0, message: String::new() };
    }
    Fail::failed(format!("standard output: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_carries_no_character_that_a_terminal_obeys() {
        let text = serde_json::to_string(
            &serde_json::json!({"a": "\u{9b}2J\u{202e}x\u{7f}\u{1b}]52;c;x\u{7}\u{e0041}"}),
        )
        .unwrap();
        let safe = escape(&text);
        assert!(
            safe.chars().all(|c| !c.is_control() && c != '\u{202e}' && c != '\u{e0041}'),
            "{safe}"
        );
        assert_eq!(
            serde_json::from_str::<Value>(&safe).unwrap(),
            serde_json::from_str::<Value>(&text).unwrap()
        );
    }
}
