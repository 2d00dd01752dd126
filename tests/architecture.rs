//! Holds the house's rules: which module may look at which, how long a file may be, and what the model must not know.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise and may print"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Room → rooms it may look into (its own is always allowed).
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("ports", &["model"]),
    ("engine", &["model", "ports"]),
    ("adapters", &["model", "ports"]),
    ("agent", &["model", "ports", "engine"]),
    ("gateway", &["model", "ports", "engine", "settings", "telemetry"]),
    ("tui", &["model", "ports", "engine", "settings", "telemetry"]),
    ("settings", &["model", "ports"]),
    ("telemetry", &["model", "ports", "settings"]),
    (
        "cli",
        &["model", "ports", "engine", "agent", "gateway", "tui", "settings", "telemetry", "boot"],
    ),
    (
        "boot",
        &[
            "model",
            "ports",
            "engine",
            "agent",
            "adapters",
            "gateway",
            "tui",
            "settings",
            "telemetry",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Adapters may not look at each other, nor widgets at anything that knows the domain.
const INSIDE: &[(&str, &[&str])] = &[
    ("src/adapters/arango", &["crate::adapters::arango", "crate::model", "crate::ports"]),
    ("src/adapters/sqlite", &["crate::adapters::sqlite", "crate::model", "crate::ports"]),
    ("src/adapters/kubernetes", &["crate::adapters::kubernetes", "crate::model", "crate::ports"]),
    ("src/adapters/local", &["crate::adapters::local", "crate::model", "crate::ports"]),
    ("src/adapters/simulated", &["crate::adapters::simulated", "crate::model", "crate::ports"]),
    (
        "src/tui/widgets",
        &[
            "crate::tui::widgets",
            "crate::tui::theme",
            "crate::tui::keys",
            "crate::tui::writer",
            "crate::model::text",
        ],
    ),
];

const LONGEST_FILE: usize = 500;

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}

fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    sources(&root.join("src"), &mut paths);
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Whether a file is nothing but tests or their support.
fn is_test(file: &str) -> bool {
    ["/tests.rs", "/testing.rs"].iter().any(|end| file.ends_with(end))
        || ["/tests/", "/testing/"].iter().any(|part| file.contains(part))
}

/// The file without its tests: what the rules speak of.
fn code<'a>(file: &str, text: &'a str) -> &'a str {
    if is_test(file) {
        return "";
    }
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

fn room(file: &str) -> &str {
    let inside = file.trim_start_matches("src/");
    inside.split(['/', '.']).next().unwrap()
}

/// Every `crate::…` path of a file, without comments, `use crate::{a, b}` taken apart.
fn looks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let word = |rest: &str| {
        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    for (at, _) in lines.match_indices("crate::") {
        if lines[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &lines[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (i, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if c.is_whitespace() => {}
                    _ if start && depth == 0 => {
                        found.push(format!("crate::{}", word(&list[i..])));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            let path: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                .collect();
            found.push(format!("crate::{}", path.trim_end_matches(':')));
        }
    }
    found
}

#[test]
fn no_module_looks_where_it_may_not() {
    let mut wrong = Vec::new();
    for (file, text) in all() {
        let here = room(&file);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == here) else {
            wrong.push(format!("{file}: room {here} is not in the table"));
            continue;
        };
        for path in looks(code(&file, &text)) {
            let there = path.split("::").nth(1).unwrap_or_default();
            if !there.is_empty() && there != here && !allowed.contains(&there) {
                wrong.push(format!("{file} looks at {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not in the table:\n{}", wrong.join("\n"));
}

#[test]
fn adapters_and_widgets_keep_to_themselves() {
    let mut wrong = Vec::new();
    for (file, text) in all() {
        let Some((_, allowed)) = INSIDE.iter().find(|(dir, _)| file.starts_with(dir)) else {
            continue;
        };
        for path in looks(code(&file, &text)) {
            if !allowed.iter().any(|good| path.starts_with(good)) {
                wrong.push(format!("{file} looks at {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_the_cap() {
    let long: Vec<String> = all()
        .iter()
        .map(|(file, text)| (file, code(file, text).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines without tests:\n{}", long.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for_and_none_is_called_mod() {
    for (file, text) in all() {
        assert!(!file.ends_with("/mod.rs"), "{file}: name it after its folder instead");
        if is_test(&file) {
            continue;
        }
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("//! ") && first.len() > 12,
            "{file}: the first line must say what it is for"
        );
    }
}

#[test]
fn the_model_is_pure() {
    for (file, text) in all().iter().filter(|(file, _)| file.starts_with("src/model")) {
        let lines = code(file, text).lines().filter(|line| !line.trim_start().starts_with("//"));
        let code: String = lines.map(|line| format!("{line}\n")).collect();
        for word in [
            "async ",
            "tokio::",
            "tracing::",
            "Timestamp::now",
            "SystemTime",
            "Instant::now",
            "std::fs",
            "std::net",
        ] {
            assert!(!code.contains(word), "{file} contains {word:?}");
        }
    }
}

#[test]
fn the_rule_on_arrows_can_fail() {
    let list = looks("use crate::{engine::x, tui, model::{a, b}};");
    assert_eq!(list, ["crate::engine", "crate::tui", "crate::model"]);
    assert_eq!(
        looks("let a = crate::adapters::sqlite::open();"),
        ["crate::adapters::sqlite::open"]
    );
    assert!(looks("// use crate::engine;\nmy_crate::engine").is_empty());
}
