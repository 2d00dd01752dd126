//! Manifest files: YAML, several documents a file, each with `kind` and `name`.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::fail::Fail;
use crate::model::plan::{Manifest, Noun};

/// Larger files are refused before they are parsed.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Reads every document of every file; `-` is standard input.
///
/// # Errors
/// Exit code 2, naming file, document and what was expected; nothing has been sent anywhere.
pub fn read(files: &[PathBuf]) -> Result<Vec<Manifest>, Fail> {
    let mut all = Vec::new();
    for file in files {
        let name = if file == Path::new("-") {
            "standard input".to_owned()
        } else {
            file.display().to_string()
        };
        let text = text_of(file, &name)?;
        all.extend(parse(&name, &text)?);
    }
    if all.is_empty() {
        return Err(Fail::usage(
            "no documents found: expected YAML with `kind: Template|Pool|Agent` and `name:`",
        ));
    }
    Ok(all)
}

fn text_of(file: &Path, name: &str) -> Result<String, Fail> {
    let cannot = |error: std::io::Error| Fail::usage(format!("{name}: cannot be read: {error}"));
    let mut text = String::new();
    let mut source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(cannot)?)
    };
    source.by_ref().take(LARGEST + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > LARGEST {
        return Err(Fail::usage(format!("{name}: larger than 16 MiB: split it")));
    }
    Ok(text)
}

/// Reads the documents of one text; `name` says where it came from.
///
/// # Errors
/// As [`read`].
pub fn parse(name: &str, text: &str) -> Result<Vec<Manifest>, Fail> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let line = error.location().map_or(String::new(), |at| format!(":{}", at.line()));
        let said = error.to_string();
        let first =
            said.lines().find(|line| !line.trim().is_empty()).unwrap_or("not YAML").to_owned();
        Fail::usage(format!("{name}{line}: not valid YAML: {first}"))
    })?;
    let starts = starts(text);
    let documents = documents.into_iter().filter(|document| !document.is_null());
    documents
        .enumerate()
        .map(|(at, document)| {
            let source = format!("{name}:{}", starts.get(at).copied().unwrap_or(1));
            manifest(document, source)
        })
        .collect()
}

/// The line on which each document that holds anything begins.
fn starts(text: &str) -> Vec<usize> {
    let (mut starts, mut fresh) = (Vec::new(), true);
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("---") {
            fresh = true;
        } else if fresh && !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            starts.push(at + 1);
            fresh = false;
        }
    }
    starts
}

fn manifest(document: Value, source: String) -> Result<Manifest, Fail> {
    let Value::Object(mut fields) = document else {
        return Err(Fail::usage(format!("{source}: expected a mapping with `kind` and `name`")));
    };
    let kind = word(&mut fields, "kind", &source)?;
    let noun = match kind.to_lowercase().as_str() {
        "template" | "agenttemplate" => Noun::Template,
        "pool" | "agentpool" => Noun::Pool,
        "agent" => Noun::Agent,
        _ => {
            return Err(Fail::usage(format!(
                "{source}: kind: expected Template, Pool or Agent, got {kind:?}"
            )));
        }
    };
    let name = word(&mut fields, "name", &source)?;
    Ok(Manifest { noun, name, fields, source })
}

fn word(fields: &mut Map<String, Value>, field: &str, source: &str) -> Result<String, Fail> {
    match fields.shift_remove(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(other) => Err(Fail::usage(format!("{source}: {field}: expected a word, got {other}"))),
        None => Err(Fail::usage(format!("{source}: {field}: is missing"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_documents_are_read_in_order_with_their_lines() {
        let all =
            parse("f", "# c\nkind: Template\nname: a\n---\n---\nkind: pool\nname: b\ndesired: 2\n")
                .unwrap();
        let seen: Vec<_> =
            all.iter().map(|m| (m.noun, m.name.as_str(), m.source.as_str())).collect();
        assert_eq!(seen, [(Noun::Template, "a", "f:2"), (Noun::Pool, "b", "f:6")]);
        assert_eq!(all[1].fields["desired"], 2);
    }

    #[test]
    fn faults_name_file_line_and_field() {
        let said = |text: &str| parse("f", text).unwrap_err().message;
        assert_eq!(
            said("kind: Robot\nname: a"),
            "f:1: kind: expected Template, Pool or Agent, got \"Robot\""
        );
        assert_eq!(said("kind: Pool"), "f:1: name: is missing");
        assert_eq!(said("kind: Pool\nname: 7"), "f:1: name: expected a word, got 7");
        assert_eq!(said("- a"), "f:1: expected a mapping with `kind` and `name`");
        assert!(said("kind: [").starts_with("f:"));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert_eq!(parse("f", &text).unwrap_err().code, 2);
    }
}
