//! Every page as it looks, and what its keys ask for.

use std::sync::Arc;

use crate::engine::handle::Listing;
use crate::model::filter::Filter;
use crate::model::schema::Collection;
use crate::ports::runtime::LogLine;
use crate::ports::store::{Bookmark, Key};
use crate::tui::effect::{Effect, Fetch};
use crate::tui::event::{Alarm, Event, LogBatch, Reply};
use crate::tui::pages::Page;
use crate::tui::pages::table::TablePage;
use crate::tui::testing::{
    agent, busy, draw, journal, journal_entry, messages, open, press, styled, symbols, ui,
};
use crate::tui::ui::Ui;
use crate::tui::update::update;

fn table(ui: &Ui) -> &TablePage {
    match ui.page() {
        Page::Table(page) => page,
        Page::Text(_) | Page::Pulse(_) => panic!("a table is in sight"),
    }
}

fn lists(effects: &[Effect]) -> Vec<&Listing> {
    let list = |effect| match effect {
        &Effect::Fetch(_, Fetch::List(ref listing)) => Some(listing),
        _ => None,
    };
    effects.iter().filter_map(list).collect()
}

#[test]
fn messages_are_read_with_what_the_store_can_answer_of_the_filter() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "messages /status=dead payload.order.id=A5");
    assert_eq!(table(&ui).listing.rows.len(), 1);
    let effects = press(&mut ui, &view, "ctrl-r");
    let [listing] = lists(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(listing.collection, Collection::AgentMessages);
    assert_eq!(listing.filter, Filter::eq(crate::model::filter::Field::of("status"), "dead"));
}

#[test]
fn messages_are_read_again_when_the_view_counts_others_and_not_before() {
    let (mut ui, mut view) = (ui(), busy());
    open(&mut ui, &view, "messages");
    update(&mut ui, &view, Event::Alarm(Alarm::Reread));
    view.version += 1;
    assert_eq!(lists(&crate::tui::update::prepare(&mut ui, &view)), Vec::<&Listing>::new());
    view.version += 1;
    *view.totals.messages.entry(crate::model::message::MessageStatus::Delivered).or_default() += 1;
    let effects = crate::tui::update::prepare(&mut ui, &view);
    assert_eq!(lists(&effects).len(), 1, "{effects:?}");
    view.version += 1;
    *view.totals.messages.entry(crate::model::message::MessageStatus::Delivered).or_default() += 1;
    let effects = crate::tui::update::prepare(&mut ui, &view);
    assert_eq!(lists(&effects).len(), 0, "one read at a time, and a rest after it: {effects:?}");
}

#[test]
fn where_new_ones_come_all_the_time_a_filter_still_reaches_the_older_ones() {
    let (mut ui, mut view) = (ui(), busy());
    open(&mut ui, &view, "messages /no-such-word");
    let more = || Some(Bookmark { values: Vec::new(), key: Key::new("m1").unwrap() });
    let mut older = 0;
    for _ in 0..6 {
        let status = crate::model::message::MessageStatus::Delivered;
        *view.totals.messages.entry(status).or_default() += 1;
        view.version += 1;
        update(&mut ui, &view, Event::Alarm(Alarm::Reread));
        for effect in crate::tui::update::prepare(&mut ui, &view) {
            let Effect::Fetch(id, Fetch::List(listing)) = effect else { continue };
            older += usize::from(listing.after.is_some());
            update(&mut ui, &view, Event::Done(id, Ok(Reply::Listed(messages(), more()))));
        }
    }
    assert!(older >= 2, "{older} of six reads went back");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("older ones are being read"), "{shown}");
}

#[test]
fn journal_entries_come_in_on_top_and_the_newest_stays_under_the_cursor() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "events");
    update(&mut ui, &view, Event::Journal(Arc::new(journal_entry(432))));
    draw(&mut ui, &view, 120, 30);
    assert_eq!(table(&ui).fetched.papers.rows[0].order, 432);
    assert_eq!(table(&ui).state.position, 0);
    press(&mut ui, &view, "j");
    let chosen = table(&ui).state.selected.clone();
    update(&mut ui, &view, Event::Journal(Arc::new(journal_entry(433))));
    draw(&mut ui, &view, 120, 30);
    assert_eq!((table(&ui).state.selected.clone(), table(&ui).state.position), (chosen, 2));
}

#[test]
fn a_key_means_the_rows_on_the_screen_whatever_came_since() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "events");
    press(&mut ui, &view, "j");
    update(&mut ui, &view, Event::Journal(Arc::new(journal_entry(432))));
    // No frame between: the second row on the screen is entry 430.
    let key = crate::tui::keys::parse("enter").unwrap();
    let effects = update(&mut ui, &view, Event::Key(key));
    let [listing] = lists(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(listing.filter, Filter::eq(crate::model::filter::Field::of("seq"), 430));
}

#[test]
fn a_frozen_journal_counts_what_comes_and_shows_it_when_let_go() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "events");
    press(&mut ui, &view, "s");
    for seq in 432..435 {
        update(&mut ui, &view, Event::Journal(Arc::new(journal_entry(seq))));
    }
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("FROZEN  +3 new"), "{shown}");
    assert_eq!(table(&ui).listing.rows.len(), 3);
    press(&mut ui, &view, "s");
    assert_eq!(table(&ui).listing.rows.len(), 6);
}

#[test]
fn enter_on_an_event_shows_its_patch() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "events");
    let effects = press(&mut ui, &view, "enter");
    let Some(Effect::Fetch(id, _)) = effects.iter().find(|it| matches!(it, Effect::Fetch(..)))
    else {
        panic!("{effects:?}")
    };
    update(&mut ui, &view, Event::Done(*id, Ok(Reply::Listed(journal()[..1].to_vec(), None))));
    let shown = symbols(&draw(&mut ui, &view, 120, 60));
    assert!(shown.contains("\"path\": \"/desired\""), "{shown}");
}

#[test]
fn enter_on_a_message_shows_it_as_json_and_requeue_purge_and_replay_ask_for_plans() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "messages");
    let effects = press(&mut ui, &view, "enter");
    let Some(Effect::Fetch(id, _)) = effects.iter().find(|it| matches!(it, Effect::Fetch(..)))
    else {
        panic!("{effects:?}")
    };
    let document = Box::new(messages().remove(0));
    update(&mut ui, &view, Event::Done(*id, Ok(Reply::Document(document))));
    let shown = symbols(&draw(&mut ui, &view, 120, 40));
    assert!(shown.contains("\"id\": \"A1\""), "{shown}");
    press(&mut ui, &view, "esc");
    for (key, verb) in [("R", "requeue"), ("P", "purge"), ("r", "replay")] {
        let effects = press(&mut ui, &view, key);
        let plan = effects.iter().find_map(|effect| match effect {
            Effect::Plan(_, command) => Some(command.verb()),
            _ => None,
        });
        assert_eq!(plan, Some(verb), "{effects:?}");
        press(&mut ui, &view, "esc");
    }
}

#[test]
fn a_receiver_leads_to_its_messages_and_tab_from_pane_to_pane() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "mq");
    assert_eq!(table(&ui).kind.name(), "mq");
    let effects = press(&mut ui, &view, "enter");
    let [listing] = lists(&effects)[..] else { panic!("{effects:?}") };
    assert!(matches!(&listing.filter, Filter::Or(either) if either.len() == 2), "{listing:?}");
    assert_eq!(table(&ui).line(), "messages in:agent/triage-2");
    press(&mut ui, &view, "tab");
    assert_eq!(table(&ui).line(), "mq in:agent/triage-2");
    press(&mut ui, &view, "shift-tab");
    assert_eq!(table(&ui).line(), "messages in:agent/triage-2");
}

#[test]
fn ctrl_c_on_a_running_operation_cancels_it_and_u_takes_a_finished_one_back() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "operations");
    let effects = press(&mut ui, &view, "ctrl-c");
    assert!(
        matches!(&effects[..], [Effect::Cancel(_, operation)] if operation.as_str() == "op-3"),
        "{effects:?}"
    );
    press(&mut ui, &view, "G");
    let effects = press(&mut ui, &view, "U");
    let undone = effects.iter().find_map(|effect| match effect {
        Effect::Plan(_, crate::model::plan::Command::Undo { operation }) => {
            Some(operation.as_str())
        }
        _ => None,
    });
    assert_eq!(undone, Some("op-1"), "{effects:?}");
}

#[test]
fn the_steps_of_an_operation_are_read_again_as_it_goes_on() {
    let (mut ui, mut view) = (ui(), busy());
    open(&mut ui, &view, "operations");
    let effects = press(&mut ui, &view, "enter");
    let Some(Effect::Fetch(id, Fetch::Document(..))) =
        effects.iter().find(|it| matches!(it, Effect::Fetch(..)))
    else {
        panic!("{effects:?}")
    };
    update(&mut ui, &view, Event::Done(*id, Ok(Reply::Document(Box::new(messages().remove(0))))));
    update(&mut ui, &view, Event::Alarm(Alarm::Reread));
    assert_eq!(crate::tui::update::prepare(&mut ui, &view), []);
    let mut row = view.operations[0].as_ref().clone();
    row.done += 1;
    view.operations = [Arc::new(row)].into();
    let effects = crate::tui::update::prepare(&mut ui, &view);
    assert!(
        effects.iter().any(|it| matches!(it, Effect::Fetch(_, Fetch::Document(..)))),
        "{effects:?}"
    );
}

#[test]
fn a_log_is_followed_stopped_filtered_and_asked_for_anew() {
    use crate::model::agent::Phase;
    use crate::model::health::HealthStatus;

    let (mut ui, mut view) = (ui(), busy());
    view.agents =
        [agent("ocr-1", "ocr", Phase::Running, HealthStatus::Healthy)].map(Arc::new).into();
    draw(&mut ui, &view, 120, 30);
    let effects = press(&mut ui, &view, "l");
    let Some(Effect::Follow(id, wanted)) =
        effects.iter().find(|it| matches!(it, Effect::Follow(..)))
    else {
        panic!("{effects:?}")
    };
    assert_eq!((wanted.sources[0].as_str(), wanted.options.follow), ("agent-ocr-1", true));
    let first = *id;
    let lines = |from: u64, to: u64| -> LogBatch {
        (from..to)
            .map(|n| LogLine {
                at: crate::tui::testing::now(),
                stderr: n % 2 == 1,
                text: format!("line {n}"),
                skipped: 0,
            })
            .collect::<Vec<_>>()
            .into()
    };
    update(&mut ui, &view, Event::Lines(*id, lines(0, 100)));
    let shown = symbols(&draw(&mut ui, &view, 80, 24));
    assert!(shown.contains("line 99") && shown.contains("LIVE"), "{shown}");
    press(&mut ui, &view, "s g");
    update(&mut ui, &view, Event::Lines(*id, lines(100, 120)));
    let shown = symbols(&draw(&mut ui, &view, 80, 24));
    assert!(shown.contains("line 0") && !shown.contains("line 119"), "{shown}");
    press(&mut ui, &view, "&");
    crate::tui::testing::type_text(&mut ui, &view, "line .*9$");
    let shown = symbols(&draw(&mut ui, &view, 80, 24));
    assert!(
        shown.contains("line 119") && !shown.contains("line 118"),
        "while it is typed: {shown}"
    );
    let effects = press(&mut ui, &view, "enter");
    let [Effect::Forget(before), Effect::Follow(id, wanted)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        before, &first,
        "what was kept may lack matches: it is read anew, through the filter"
    );
    let filter = wanted.filter.as_ref().map(|filter| filter.0.as_str());
    assert_eq!((filter, wanted.options.tail), (Some("line .*9$"), None));
    update(&mut ui, &view, Event::Lines(*id, LogBatch { left_out: 90, ..lines(129, 130) }));
    let shown = symbols(&draw(&mut ui, &view, 80, 24));
    assert!(shown.contains("line 129") && shown.contains("90 left out"), "{shown}");
    let effects = press(&mut ui, &view, "3");
    let [Effect::Forget(before), Effect::Follow(_, wanted)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((before, wanted.options.since.is_some()), (id, true));
    let effects = press(&mut ui, &view, "esc");
    let [Effect::Forget(_), Effect::Follow(_, wanted)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(wanted.filter, None);
}

#[test]
fn a_pools_log_has_all_its_agents_and_x_stops_reading() {
    let (mut ui, view) = (ui(), busy());
    draw(&mut ui, &view, 120, 30);
    open(&mut ui, &view, "pools triage");
    let effects = press(&mut ui, &view, "l");
    let Some(Effect::Follow(id, wanted)) =
        effects.iter().find(|it| matches!(it, Effect::Follow(..)))
    else {
        panic!("{effects:?}")
    };
    let sources: Vec<&str> = wanted.sources.iter().map(crate::model::id::AgentId::as_str).collect();
    assert_eq!(sources, ["agent-triage-1", "agent-triage-2", "agent-triage-3"]);
    let line = |text: &str| LogLine {
        at: crate::tui::testing::now(),
        stderr: false,
        text: text.to_owned(),
        skipped: 0,
    };
    let lines = vec![(0, line("one")), (2, line("WARN three"))];
    update(&mut ui, &view, Event::Lines(*id, LogBatch { lines, left_out: 0 }));
    insta::assert_snapshot!("logs_of_a_pool", styled(&draw(&mut ui, &view, 80, 12)));
    assert_eq!(press(&mut ui, &view, "x"), [Effect::Forget(*id)]);
    assert!(symbols(&draw(&mut ui, &view, 80, 24)).contains("STOPPED"));
    let effects = press(&mut ui, &view, "x");
    let [Effect::Follow(_, wanted)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(wanted.options.since, Some(crate::tui::testing::now()), "it goes on where it was");
    press(&mut ui, &view, "esc");
    open(&mut ui, &view, "agents triage-1");
    press(&mut ui, &view, "l");
    let effects = press(&mut ui, &view, "a");
    let Some(Effect::Follow(_, wanted)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(wanted.sources.len(), 3, "all sources");
}
