//! Every page and dialog at both sizes in every theme. One snapshot each: the words, which all themes share, then which cells
//! are styled alike, and how each theme styles them.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use rstest::rstest;

use super::effect::{Effect, Fetch};
use super::event::{Event, Reply};
use super::testing::{busy, draw, messages, now, open, press, symbols, ui};
use super::theme::load::{SHIPPED, load};
use super::ui::Ui;
use super::update::update;
use crate::engine::handle::{Description, Section};
use crate::engine::view::FleetView;
use crate::model::plan::{Command, Fact, Goal, Noun, Plan, PlannedStep, TargetRef, Tier};
use crate::ports::runtime::LogLine;

/// How each theme styles one cell, in the order of [`SHIPPED`].
type Dress = Vec<(Color, Color, Modifier)>;

fn dress(pictures: &[Buffer], x: u16, y: u16) -> Dress {
    let style = |cell: &Cell| (cell.fg, cell.bg, cell.modifier);
    pictures.iter().map(|picture| style(&picture[(x, y)])).collect()
}

/// `a`, `b`, … `z`, `A`, … ; a picture has far fewer than 52 styles.
fn letter(at: usize) -> char {
    ('a'..='z').chain('A'..='Z').nth(at).expect("a picture has fewer styles")
}

/// The words, then a letter for every run of cells that are styled alike, and what the letters mean in each theme.
fn in_every_theme(ui: &mut Ui, view: &FleetView, (width, height): (u16, u16)) -> String {
    let pictures: Vec<Buffer> = SHIPPED
        .iter()
        .map(|(name, _)| {
            ui.wear(load(name, None).0);
            draw(ui, view, width, height)
        })
        .collect();
    let mut out = symbols(&pictures[0]);
    for ((name, _), picture) in SHIPPED.iter().zip(&pictures) {
        assert_eq!(symbols(picture), symbols(&pictures[0]), "{name} says the same words");
    }
    let mut known: Vec<Dress> = Vec::new();
    let mut last = String::new();
    out.push_str("--- column and style of each run; a line like the one before is left out\n");
    for y in 0..height {
        let mut runs = String::new();
        let mut x = 0;
        while x < width {
            let (begin, this) = (x, dress(&pictures, x, y));
            while x < width && dress(&pictures, x, y) == this {
                x += 1;
            }
            if this.iter().all(|it| *it == (Color::Reset, Color::Reset, Modifier::empty())) {
                continue;
            }
            let at = known.iter().position(|it| *it == this).unwrap_or_else(|| {
                known.push(this);
                known.len() - 1
            });
            write!(runs, " {begin}-{}{}", x - 1, letter(at)).unwrap();
        }
        if runs != last {
            writeln!(out, "{y}{runs}").unwrap();
        }
        last = runs;
    }
    for (at, dress) in known.iter().enumerate() {
        write!(out, "{}", letter(at)).unwrap();
        for ((name, _), (fg, bg, modifier)) in SHIPPED.iter().zip(dress) {
            write!(out, " | {name} {fg}/{bg} {modifier:?}").unwrap();
        }
        out.push('\n');
    }
    out
}

/// Answers what was asked for as a small fleet would.
fn answer(ui: &mut Ui, view: &FleetView, effects: Vec<Effect>) {
    for effect in effects {
        let event = match effect {
            Effect::Fetch(id, Fetch::Document(..)) => {
                Event::Done(id, Ok(Reply::Document(Box::new(messages().remove(0)))))
            }
            Effect::Fetch(id, Fetch::Describe(_, name)) => {
                Event::Done(id, Ok(Reply::Described(description(name))))
            }
            Effect::Plan(id, command) => Event::Done(id, Ok(Reply::Plan(Box::new(plan(command))))),
            Effect::Follow(id, ..) => Event::Lines(id, log().into()),
            _ => continue,
        };
        update(ui, view, event);
    }
}

fn description(name: String) -> Description {
    let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let section = |title: &str, lines| Section { title: title.to_owned(), lines };
    let sections = vec![
        section("Agent", vec![line("name", &name), line("phase", "● running for 2m")]),
        section("Health", vec![line("status", "◐ degraded"), line("why", "3 of 5 probes failed")]),
    ];
    Description { title: name, sections }
}

fn plan(command: Command) -> Plan {
    let fact = |name: &str, value: &str| Fact { name: name.into(), value: value.into() };
    let step = |batch: u32, name: &str| PlannedStep {
        batch,
        action: "restart".into(),
        target: TargetRef { noun: Noun::Agent, id: format!("agent-{name}"), name: name.into() },
        goal: Goal::Written,
        note: "idle; drained first".into(),
    };
    Plan {
        command,
        title: "Restart 2 agents".into(),
        tier: Tier::Three,
        facts: vec![fact("targets", "2 agents of 1 pool"), fact("queue", "318 waiting")],
        steps: vec![step(0, "ocr-1"), step(1, "ocr-2")],
        warnings: vec!["the pool goes below its minimum for a while".into()],
        undo: Err("a restart cannot be taken back".into()),
        confirm_word: Some("restart 2".into()),
        fingerprint: String::new(),
    }
}

fn log() -> Vec<LogLine> {
    let line = |stderr: bool, text: &str| LogLine {
        at: now(),
        stderr,
        text: text.to_owned(),
        skipped: u64::from(stderr) * 3,
    };
    vec![
        line(false, "claimed 3 messages"),
        line(true, "error: payload has no field \"order\""),
        line(false, r#"{"level":"warn","msg":"slow answer","ms":1200}"#),
    ]
}

#[rstest]
fn a_page_in_every_theme(
    #[values(
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
        "xray",
        "help",
        "aliases",
        "can-i",
        "notices"
    )]
    page: &str,
    #[values((80, 24), (200, 50))] size: (u16, u16),
) {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, page);
    let name = format!("{page}_{}x{}", size.0, size.1);
    insta::assert_snapshot!(name, in_every_theme(&mut ui, &view, size));
}

#[rstest]
#[case("describe", "agents", "d")]
#[case("yaml", "agents", "y")]
#[case("logs", "agents", "l")]
#[case("restart", "agents", "r")]
#[case("delete", "agents", "ctrl-d")]
#[case("scale", "pools", "s")]
#[case("deploy", "templates", "a")]
#[case("send", "agents", "m")]
#[case("commands", "agents", ":")]
#[case("filter", "agents", "/")]
#[case("faults", "agents", "ctrl-z")]
#[case("detail", "agents", "|")]
#[case("marked", "agents", "space j space")]
fn a_text_or_dialog_in_every_theme(
    #[case] what: &str,
    #[case] page: &str,
    #[case] keys: &str,
    #[values((80, 24), (200, 50))] size: (u16, u16),
) {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, page);
    let effects = press(&mut ui, &view, keys);
    answer(&mut ui, &view, effects);
    let name = format!("{what}_{}x{}", size.0, size.1);
    insta::assert_snapshot!(name, in_every_theme(&mut ui, &view, size));
}
