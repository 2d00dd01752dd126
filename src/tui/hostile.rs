//! Hostile names, payloads, log lines and error texts, fed through every page, dialog and toast: nothing that steers a
//! terminal, turns a line round or hides in it reaches a picture, a byte written, or the clipboard.

use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use serde_json::{Value, json};

use super::effect::{Effect, EffectId, Fetch};
use super::event::{Event, Fault, Reply};
use super::testing::{busy, draw, journal_entry, messages, press, publications, ui};
use super::ui::Ui;
use super::update::update;
use super::writer::Frame;
use super::writer::encode::Encoder;
use crate::engine::handle::{CommandError, Description, Section};
use crate::engine::supervise;
use crate::engine::view::FleetView;
use crate::model::event::Event as Entry;
use crate::model::plan::{Command, Fact, Goal, Noun, Plan, PlannedStep, TargetRef, Targets, Tier};
use crate::model::schema::Collection;
use crate::model::text::{Safe, is_hostile};
use crate::ports::runtime::LogLine;
use crate::ports::store::{Document, StoreError};

/// What others may write where a name, a payload or an error is expected.
fn poisons() -> Vec<String> {
    vec![
        "\u{1b}]52;c;ZXZpbA==\u{7}".to_owned(),
        "\u{1b}[2J\u{1b}[1;1H\u{1b}[31mred".to_owned(),
        "\u{9b}31m \u{9d}0;title\u{9c} \u{90}q\u{9c}".to_owned(),
        "\u{202e}gpj.exe \u{2066}x\u{2069} \u{200f}".to_owned(),
        "zero\u{200b}width\u{feff}\u{2060}\u{ad}".to_owned(),
        "two\nlines\r\nand\ttabs\u{8}\u{7f}\0".to_owned(),
        format!("a{}", "\u{301}".repeat(200)),
        "\u{e0041}\u{e0042} \u{e000} \u{115f}".to_owned(),
        format!("\u{1b}]8;;http://x\u{1b}\\{}", "x".repeat(1 << 20)),
    ]
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);

/// Draws `ui`, and holds the picture and the bytes of it against the rules.
fn inspect(ui: &mut Ui, view: &FleetView, (width, height): (u16, u16), what: &str) {
    let buffer = draw(ui, view, width, height);
    for (index, cell) in buffer.content.iter().enumerate() {
        let bad = cell.symbol().chars().find(|c| is_hostile(*c));
        let (x, y) = (index % usize::from(width), index / usize::from(width));
        assert_eq!(bad, None, "{what}: at column {x}, line {y} of {width}×{height}");
        let marks = cell.symbol().chars().count();
        assert!(marks <= 12, "{what}: {marks} characters in one cell");
    }
    assert_only_ours(&bytes(buffer), what);
}

/// What the writer would send for a first picture.
fn bytes(buffer: Buffer) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::default().frame(Frame { buffer, cursor: None }, &mut out);
    out
}

/// Every escape sequence is one that the encoder writes, and nothing else steers.
fn assert_only_ours(bytes: &[u8], what: &str) {
    let text = std::str::from_utf8(bytes).expect("the writer writes UTF-8");
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            // The picture has none of them, so a carriage return or a line feed is the encoder's own way to move.
            assert!(!is_hostile(c) || matches!(c, '\r' | '\n'), "{what}: {c:?} is written");
            continue;
        }
        assert_eq!(rest.next(), Some('['), "{what}: only CSI sequences are ours");
        let end = rest.find(|c| ('@'..='~').contains(c));
        assert!(
            matches!(
                end,
                Some(
                    'm' | 'H' | 'J' | 'K' | 'h' | 'l' | 'r' | 'A'
                        ..='D' | 'S' | 'T' | 'X' | 'd' | 'G'
                )
            ),
            "{what}: CSI … {end:?}"
        );
    }
}

/// A fleet in which everything that others name is `poison`.
fn poisoned(poison: &str) -> FleetView {
    let mut view = busy();
    let safe = Safe::new(poison);
    let safe = || safe.clone();
    view.agents = view
        .agents
        .iter()
        .map(|row| {
            let mut row = row.as_ref().clone();
            (row.name, row.kind, row.tenant, row.pool_name) = (safe(), safe(), safe(), safe());
            (row.template_name, row.template_version, row.reason) = (safe(), safe(), safe());
            (row.health_message, row.node) = (safe(), safe());
            row.labels = Arc::new([(poison.to_owned(), poison.to_owned())].into());
            Arc::new(row)
        })
        .collect();
    view.pools = view
        .pools
        .iter()
        .map(|row| {
            let mut row = row.as_ref().clone();
            (row.name, row.description, row.tenant, row.reason) = (safe(), safe(), safe(), safe());
            (row.template_name, row.template_version, row.last_decision) = (safe(), safe(), safe());
            row.labels = Arc::new([(poison.to_owned(), poison.to_owned())].into());
            Arc::new(row)
        })
        .collect();
    view.templates = view
        .templates
        .iter()
        .map(|row| {
            let mut row = row.as_ref().clone();
            (row.name, row.version, row.kind, row.description) = (safe(), safe(), safe(), safe());
            (row.image, row.command, row.created_by, row.tags) =
                (safe(), safe(), safe(), vec![safe()]);
            Arc::new(row)
        })
        .collect();
    view.subscriptions = view
        .subscriptions
        .iter()
        .map(|row| {
            let mut row = row.as_ref().clone();
            (row.subscriber, row.pattern) = (safe(), safe());
            Arc::new(row)
        })
        .collect();
    view.operations = view
        .operations
        .iter()
        .map(|row| {
            let mut row = row.as_ref().clone();
            (row.kind, row.title, row.actor, row.reason, row.message) =
                (safe(), safe(), safe(), safe(), safe());
            Arc::new(row)
        })
        .collect();
    let mut system = view.system.as_ref().clone();
    for part in [&mut system.store, &mut system.runtime] {
        (part.kind, part.version, part.place, part.error) = (safe(), safe(), safe(), safe());
        (part.ok, part.details) = (false, vec![(safe(), safe())]);
    }
    (system.leader.holder, system.leader.host, system.leader.me) = (safe(), safe(), false);
    system.brake = Some(safe());
    for status in &mut system.loops {
        (status.name, status.error) = (safe(), safe());
    }
    system.tasks = [("mirror", supervise::Health::Dead { fault: poison.to_owned() })].into();
    view.system = Arc::new(system);
    view
}

/// Every text in `value`, and every key, becomes `poison`; what the engine writes itself keeps its form.
fn spoil(value: &mut Value, poison: &str) {
    match value {
        Value::String(text) if text.parse::<crate::model::time::Time>().is_err() => {
            poison.clone_into(text);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, poison)),
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(_, value)| spoil(value, poison));
            if fields.contains_key("order") {
                fields.insert(poison.to_owned(), json!({poison: [poison]}));
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn spoiled(mut document: Document, poison: &str) -> Document {
    for value in document.body.values_mut() {
        spoil(value, poison);
    }
    document
}

fn entry(poison: &str) -> Entry {
    Entry {
        kind: poison.into(),
        subject: poison.into(),
        actor: poison.into(),
        reason: poison.into(),
        operation_id: Some(poison.into()),
        patch: json!([{ "op": poison, poison: poison }]),
        evidence: json!({ poison: poison }),
        ..journal_entry(490)
    }
}

/// Answers every read with poisoned things.
fn answer(ui: &mut Ui, view: &FleetView, effects: &[Effect], poison: &str) {
    for effect in effects {
        let (id, reply) = match effect {
            Effect::Fetch(id, Fetch::List(listing)) => {
                let documents = match listing.collection {
                    Collection::AgentMessages => messages(),
                    Collection::AgentPublications => publications(),
                    _ => super::testing::journal(),
                };
                let documents = documents.into_iter().map(|it| spoiled(it, poison)).collect();
                (id, Reply::Listed(documents, None))
            }
            Effect::Fetch(id, Fetch::Document(..)) => {
                (id, Reply::Document(Box::new(spoiled(messages().remove(0), poison))))
            }
            Effect::Fetch(id, Fetch::Describe(..)) => (id, Reply::Described(description(poison))),
            Effect::Plan(id, command) => (id, Reply::Plan(Box::new(plan(command.clone(), poison)))),
            Effect::Follow(id, ..) => {
                let line = |stderr| LogLine {
                    at: super::testing::now(),
                    stderr,
                    text: poison.to_owned(),
                    skipped: 3,
                };
                let json = LogLine { text: json!({ "level": poison }).to_string(), ..line(false) };
                update(ui, view, Event::Lines(*id, vec![line(false), line(true), json].into()));
                continue;
            }
            Effect::Fetch(id, Fetch::Forwards) => {
                let mut ports = super::testing::site::forwards();
                for port in &mut ports {
                    (port.name, port.trouble) = (poison.to_owned(), poison.to_owned());
                }
                (id, Reply::Forwards(ports))
            }
            Effect::Fetch(id, Fetch::Site(ask)) => {
                (id, Reply::Site(Box::new(super::testing::site::poisoned(ask, poison))))
            }
            _ => continue,
        };
        update(ui, view, Event::Done(*id, Ok(reply)));
    }
}

fn description(poison: &str) -> Description {
    let lines =
        vec![(poison.to_owned(), poison.to_owned()), ("two".into(), format!("a\n{poison}\nb"))];
    Description { title: poison.into(), sections: vec![Section { title: poison.into(), lines }] }
}

fn plan(command: Command, poison: &str) -> Plan {
    Plan {
        command,
        title: poison.into(),
        tier: Tier::Three,
        facts: vec![Fact { name: poison.into(), value: poison.into() }],
        steps: vec![PlannedStep {
            batch: 0,
            action: poison.into(),
            target: TargetRef { noun: Noun::Agent, id: poison.into(), name: poison.into() },
            goal: Goal::Written,
            note: poison.into(),
        }],
        warnings: vec![poison.into()],
        undo: Ok(poison.into()),
        confirm_word: Some(poison.into()),
        fingerprint: String::new(),
    }
}

/// Types a line after `:`; returns what it asks for. No frame is drawn between the keys.
fn typed(ui: &mut Ui, view: &FleetView, line: &str) -> Vec<Effect> {
    let mut effects = key(ui, view, ":");
    update(ui, view, Event::Paste(line.to_owned()));
    effects.extend(key(ui, view, "enter"));
    effects
}

fn key(ui: &mut Ui, view: &FleetView, name: &str) -> Vec<Effect> {
    update(ui, view, Event::Key(super::keys::parse(name).expect("the test names a key")))
}

/// Goes to what `line` names, and answers what it asks for.
fn go(ui: &mut Ui, view: &FleetView, line: &str, poison: &str) {
    let effects = typed(ui, view, line);
    answer(ui, view, &effects, poison);
}

#[test]
fn no_page_shows_what_would_steer_a_terminal() {
    for poison in poisons() {
        let view = poisoned(&poison);
        for page in [
            "agents",
            "pools",
            "templates",
            "messages",
            "mq",
            "subscriptions",
            "publications",
            "health",
            "events",
            "operations",
            "pulse",
            "hosts",
            "ns",
            "ctx",
            "pf",
            "can-i",
            "help",
            "aliases",
        ] {
            let mut ui = ui();
            go(&mut ui, &view, page, &poison);
            update(&mut ui, &view, Event::Journal(Arc::new(entry(&poison))));
            inspect(&mut ui, &view, SMALL, page);
            // The wide table with its side pane, and every part of the page below the cursor.
            key(&mut ui, &view, "ctrl-w");
            key(&mut ui, &view, "|");
            inspect(&mut ui, &view, LARGE, page);
            key(&mut ui, &view, "G");
            inspect(&mut ui, &view, SMALL, page);
        }
    }
}

#[test]
fn no_text_shows_what_would_steer_a_terminal() {
    for poison in poisons() {
        let view = poisoned(&poison);
        for (page, open) in [
            ("agents", "d"),
            ("agents", "y"),
            ("agents", "l"),
            ("messages", "enter"),
            ("events", "enter"),
            ("operations", "enter"),
            ("pools", "d"),
            ("hosts", "d"),
        ] {
            let mut ui = ui();
            go(&mut ui, &view, page, &poison);
            draw(&mut ui, &view, 120, 30);
            let effects = key(&mut ui, &view, open);
            answer(&mut ui, &view, &effects, &poison);
            let what = format!("{open} on {page}");
            inspect(&mut ui, &view, SMALL, &what);
            // YAML to JSON, logs spread out; then wrapped.
            for change in ["y", "P", "w"] {
                key(&mut ui, &view, change);
            }
            inspect(&mut ui, &view, LARGE, &what);
        }
    }
}

#[test]
fn no_dialog_or_toast_shows_what_would_steer_a_terminal() {
    for poison in poisons() {
        let view = poisoned(&poison);
        for (page, key) in [
            ("agents", "r"),
            ("pools", "s"),
            ("templates", "a"),
            ("messages", "P"),
            ("agents", "m"),
            ("agents", "s"),
            ("agents", "F"),
        ] {
            let mut ui = ui();
            go(&mut ui, &view, page, &poison);
            draw(&mut ui, &view, 120, 30);
            let effects = press(&mut ui, &view, key);
            answer(&mut ui, &view, &effects, &poison);
            let what = format!("{key} on {page}");
            inspect(&mut ui, &view, SMALL, &what);
            update(&mut ui, &view, Event::Paste(poison.clone()));
            press(&mut ui, &view, "tab");
            update(&mut ui, &view, Event::Paste(poison.clone()));
            inspect(&mut ui, &view, SMALL, &what);
        }
        for error in errors(&poison) {
            let what = format!("{error:?}");
            let mut ui = ui();
            let id = ui.next_effect();
            update(&mut ui, &view, Event::Done(id, Err(Fault::Command(error))));
            inspect(&mut ui, &view, SMALL, &what);
            go(&mut ui, &view, "notices", &poison);
            inspect(&mut ui, &view, SMALL, &what);
        }
    }
}

fn errors(poison: &str) -> Vec<CommandError> {
    vec![
        CommandError::Refused { message: poison.into() },
        CommandError::NotFound { noun: Noun::Pool, name: poison.into(), hint: poison.into() },
        CommandError::Denied {
            who: poison.into(),
            role: poison.into(),
            verb: poison.into(),
            why: poison.into(),
        },
        CommandError::Store(StoreError::Corrupt { message: poison.into() }),
        CommandError::PlanChanged {
            plan: Box::new(plan(Command::Restart { targets: Targets::agents(["a"]) }, poison)),
        },
    ]
}

#[test]
fn a_failed_read_of_a_page_is_told_safely() {
    for poison in poisons() {
        let view = poisoned(&poison);
        for line in ["events", "messages", "describe agent agent-ocr-1", "logs agent agent-ocr-1"] {
            let mut ui = ui();
            let effects = typed(&mut ui, &view, line);
            let asked = effects.iter().find_map(|effect| match effect {
                Effect::Fetch(id, _) | Effect::Follow(id, ..) => Some(*id),
                _ => None,
            });
            let id: EffectId = asked.expect("the page reads something");
            let error = CommandError::Refused { message: poison.clone() };
            update(&mut ui, &view, Event::Done(id, Err(Fault::Command(error))));
            inspect(&mut ui, &view, SMALL, line);
        }
    }
}

#[test]
fn what_is_pasted_into_a_prompt_or_a_filter_is_shown_safely() {
    for poison in poisons() {
        let view = poisoned(&poison);
        for prompt in [":", "/"] {
            let mut ui = ui();
            press(&mut ui, &view, prompt);
            update(&mut ui, &view, Event::Paste(poison.clone()));
            inspect(&mut ui, &view, SMALL, prompt);
            press(&mut ui, &view, "enter");
            inspect(&mut ui, &view, SMALL, prompt);
        }
    }
}

#[test]
fn what_is_copied_is_what_is_shown() {
    for poison in poisons() {
        let view = poisoned(&poison);
        for keys in ["c", "Y"] {
            let mut ui = ui();
            draw(&mut ui, &view, 120, 30);
            let effects = press(&mut ui, &view, keys);
            let copied = effects.iter().find_map(|effect| match effect {
                Effect::Copy(lines) => Some(lines.clone()),
                _ => None,
            });
            let lines = copied.expect("there is a row to copy from");
            assert!(!lines.iter().any(|line| line.as_str().chars().any(is_hostile)), "{lines:?}");
        }
    }
}

#[test]
fn a_line_of_a_megabyte_costs_no_more_than_the_screen() {
    let poison = "x".repeat(1 << 20);
    let view = poisoned(&poison);
    let mut ui = ui();
    let buffer = draw(&mut ui, &view, 200, 50);
    assert_eq!(buffer.area, Rect::new(0, 0, 200, 50));
    assert!(bytes(buffer).len() < 40_000);
}
