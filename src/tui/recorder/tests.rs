//! A session that was recorded plays again, and one that cannot says so.

use super::replay::{Outcome, replay};
use super::*;
use crate::model::agent::Phase;
use crate::model::health::HealthStatus;
use crate::ports::runtime::LogLine;
use crate::tui::effect::{Effect, EffectId};
use crate::tui::event::Fault;
use crate::tui::keys;
use crate::tui::render::render;
use crate::tui::testing::{agent, busy, journal, journal_entry, many, messages, ui};
use crate::tui::update::{prepare, update};
use ratatui::layout::Rect;
use std::time::Duration;

/// A console whose loop is the test.
struct Table {
    ui: Ui,
    shown: Arc<FleetView>,
    next: Arc<FleetView>,
    recorder: Recorder,
    size: (u16, u16),
}

impl Table {
    fn new(view: FleetView) -> Self {
        let ui = ui();
        let recorder = Recorder::new(&ui, "default");
        let next = Arc::new(view);
        Self { ui, shown: Arc::default(), next, recorder, size: (120, 30) }
    }

    fn happen(&mut self, event: Event) -> Vec<Effect> {
        self.recorder.event(self.ui.now, &event);
        let effects = update(&mut self.ui, &self.shown, event);
        for effect in &effects {
            if let Effect::LoadTheme(name) = effect {
                self.ui.wear(crate::tui::theme::load::load(name, None).0);
            }
        }
        self.draw();
        effects
    }

    fn draw(&mut self) {
        self.shown = self.next.clone();
        self.ui.now = self.ui.now.plus(Duration::from_millis(40));
        self.recorder.view(self.ui.now, &self.shown);
        prepare(&mut self.ui, &self.shown);
        let mut buffer = Buffer::empty(Rect::new(0, 0, self.size.0, self.size.1));
        let hits = render(&self.ui, &self.shown, &mut buffer).0;
        self.ui.seen(hits);
        self.recorder.frame(self.ui.now, &buffer);
    }

    fn keys(&mut self, typed: &str) -> Vec<Effect> {
        let keys = typed.split(' ').filter(|key| !key.is_empty());
        keys.flat_map(|key| self.happen(Event::Key(keys::parse(key).unwrap()))).collect()
    }

    fn command(&mut self, line: &str) -> Vec<Effect> {
        let mut effects = self.keys(":");
        for c in line.chars() {
            let key = if c == ' ' { "space".to_owned() } else { c.to_string() };
            effects.extend(self.keys(&key));
        }
        effects.extend(self.keys("enter"));
        effects
    }

    fn change(&mut self, change: impl FnOnce(&mut FleetView)) {
        let mut view = self.next.as_ref().clone();
        view.version += 1;
        change(&mut view);
        self.next = Arc::new(view);
        self.draw();
    }

    fn text(&self) -> String {
        self.recorder.session().lines().unwrap()
    }
}

fn asked(effects: &[Effect]) -> EffectId {
    let id = effects.iter().find_map(|effect| match effect {
        Effect::Fetch(id, _) | Effect::Follow(id, ..) | Effect::Plan(id, _) => Some(*id),
        _ => None,
    });
    id.expect("something was asked for")
}

/// A session in which much happens: rows that change, come and go, pages, filters, answers, a log, another size.
fn session() -> Table {
    let mut table = Table::new(busy());
    table.draw();
    table.keys("j j space / t r i enter");
    table.change(|view| {
        let mut rows = view.agents.to_vec();
        let row = Arc::make_mut(&mut rows[3]);
        (row.phase, row.health) = (Phase::Running, HealthStatus::Healthy);
        view.agents = rows.into();
    });
    table.size = (80, 24);
    table.happen(Event::Resize);
    table.change(|view| {
        let mut rows = view.agents.to_vec();
        rows.push(Arc::new(agent("zeta-1", "ocr", Phase::Pending, HealthStatus::Unknown)));
        view.agents = rows.into();
        let mut system = view.system.as_ref().clone();
        system.leader.me = false;
        view.system = Arc::new(system);
    });
    let effects = table.command("events");
    table.happen(Event::Done(asked(&effects), Ok(Reply::Listed(journal(), None))));
    table.happen(Event::Journal(Arc::new(journal_entry(432))));
    let effects = table.command("messages");
    table.happen(Event::Done(asked(&effects), Ok(Reply::Listed(messages(), None))));
    table.command("pools");
    table.command("theme light");
    table.command("agents");
    let effects = table.keys("l");
    let line = |n: u64| LogLine {
        at: table.ui.now,
        stderr: n % 2 == 0,
        text: format!("{{\"n\": {n}}} \u{1b}[31mred"),
        skipped: n / 9,
    };
    let lines = (0..40).map(line).collect::<Vec<_>>().into();
    table.happen(Event::Lines(asked(&effects), lines));
    table.keys("P / r e d enter n");
    table.happen(Event::Paste("pasted".into()));
    table.happen(Event::Alarm(Alarm::Minute));
    table
}

#[test]
fn a_recorded_session_played_again_gives_the_same_pictures() {
    let table = session();
    let text = table.text();
    let outcome = replay(&text).unwrap();
    assert_eq!(outcome.differ, Vec::<usize>::new(), "of {} pictures", outcome.pictures);
    assert!(outcome.pictures > 40 && outcome.events > 40, "{outcome:?}");
}

#[test]
fn another_key_gives_other_pictures() {
    // what shows that the test above can fail
    let text = session().text();
    let key = r#""what":"key","key":"j""#;
    assert!(text.contains(key), "{text}");
    let other = text.replacen(key, r#""what":"key","key":"k""#, 1);
    assert_ne!(replay(&other).unwrap().differ, Vec::<usize>::new());
}

#[test]
fn a_long_session_keeps_its_end_and_says_that_it_cannot_be_played() {
    let mut table = Table::new(busy());
    for _ in 0..KEPT {
        table.keys("j");
    }
    assert!(!table.recorder.is_whole());
    let session = table.recorder.session();
    assert!(session.moments.len() <= KEPT);
    let error = replay(&session.lines().unwrap()).unwrap_err();
    assert!(error.contains("can be read, not played"), "{error}");
}

#[test]
fn a_recording_stays_small_whatever_is_pasted_or_logged() {
    let mut table = Table::new(busy());
    for _ in 0..40 {
        table.happen(Event::Paste("x".repeat(1 << 20)));
    }
    assert!(table.recorder.weight <= BYTES);
    assert!(table.text().len() < 2 * BYTES);
}

#[test]
fn the_rows_of_a_large_fleet_are_not_held_twice() {
    let mut table = Table::new(many(ROWS + 1));
    table.keys("j");
    assert!(!table.recorder.is_whole());
    assert_eq!(table.recorder.seen.agents.len(), 0);
}

#[test]
fn an_answer_that_no_file_can_hold_ends_what_can_be_played() {
    let mut table = Table::new(busy());
    table.draw();
    let effects = table.keys("d");
    let fault = Fault::Timeout(Duration::from_secs(15));
    table.happen(Event::Done(asked(&effects), Err(fault)));
    assert!(replay(&table.text()).is_err());
}

#[test]
fn what_is_no_recording_is_refused_with_its_line() {
    assert_eq!(replay("").unwrap_err(), "the recording is empty");
    let whole = session().text();
    let broken = format!("{whole}{{\"what\":\"nothing\"}}\n");
    let line = whole.lines().count() + 1;
    assert!(replay(&broken).unwrap_err().starts_with(&format!("line {line}: ")));
    assert_ne!(replay(&whole).unwrap(), Outcome::default());
}
