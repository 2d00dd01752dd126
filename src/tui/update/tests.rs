//! Keys in, effects and layers out.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use strum::IntoEnumIterator;

use super::*;
use crate::engine::handle::{CommandError, Consent};
use crate::model::agent::Phase;
use crate::model::health::HealthStatus;
use crate::model::id::OperationId;
use crate::model::plan::{Command, Fact, Plan, Targets, Tier};
use crate::tui::effect::Fetch;
use crate::tui::testing::{agent, draw, fleet, many, open, press, symbols, type_text, ui};
use crate::tui::ui::Ask;
use crate::tui::widgets::plan::PlanFocus;

fn plan(command: Command, tier: Tier) -> Plan {
    Plan {
        command,
        title: "Restart 1 agent".into(),
        tier,
        facts: vec![Fact { name: "in flight".into(), value: "1 message".into() }],
        steps: Vec::new(),
        warnings: Vec::new(),
        undo: Err("a restart cannot be taken back".into()),
        confirm_word: (tier == Tier::Three).then(|| "triage".into()),
        fingerprint: "f1".into(),
    }
}

/// The plan that was asked for last, with its id.
fn asked(effects: &[Effect]) -> (EffectId, Command) {
    let found = effects.iter().rev().find_map(|effect| match effect {
        Effect::Plan(id, command) => Some((*id, command.clone())),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no plan was asked for: {effects:?}"))
}

fn answer(ui: &mut Ui, view: &FleetView, id: EffectId, plan: Plan) -> Vec<Effect> {
    update(ui, view, Event::Done(id, Ok(Reply::Plan(Box::new(plan)))))
}

fn selected(ui: &Ui) -> String {
    match ui.page() {
        Page::Table(page) => page.state.selected.as_deref().unwrap_or_default().to_owned(),
        Page::Text(_) | Page::Pulse(_) => String::new(),
    }
}

#[test]
fn a_key_becomes_a_plan_and_one_y_carries_it_out() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    let effects = press(&mut ui, &view, "j r");
    let (id, command) = asked(&effects);
    let wanted = Command::Restart { targets: Targets::agents(["agent-ocr-2"]) };
    assert_eq!(command, wanted);
    answer(&mut ui, &view, id, plan(command.clone(), Tier::Two));
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("Restart 1 agent"));
    assert_eq!(
        press(&mut ui, &view, "enter"),
        [Effect::Forget(EffectId(0))][1..],
        "Cancel has the focus"
    );
    let effects = press(&mut ui, &view, "r");
    let (id, _) = asked(&effects);
    answer(&mut ui, &view, id, plan(command.clone(), Tier::Two));
    let effects = press(&mut ui, &view, "y");
    let [Effect::Confirm(id, confirmed, consent)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((&confirmed.command, consent), (&command, &Consent::default()));
    let operation = OperationId::new("op-1").unwrap();
    update(&mut ui, &view, Event::Done(*id, Ok(Reply::Confirmed(operation.clone()))));
    assert_eq!(ui.layers.len(), 1, "the dialog is closed");
    assert_eq!(ui.watched[0].operation, operation);
}

#[test]
fn tier_3_takes_the_word_and_y_is_text_inside_its_field() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    let (id, command) = asked(&press(&mut ui, &view, "ctrl-d"));
    answer(&mut ui, &view, id, plan(command, Tier::Three));
    assert_eq!(press(&mut ui, &view, "y"), [], "not without the word");
    let effects = type_text(&mut ui, &view, "triage");
    assert_eq!(effects, []);
    let layer = ui.plan_mut().unwrap();
    assert_eq!((layer.state.focus, layer.state.word.text()), (PlanFocus::Word, "triage"));
    let effects = press(&mut ui, &view, "shift-tab enter");
    let [Effect::Confirm(_, _, consent)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(consent.typed.as_deref(), Some("triage"));
}

#[test]
fn the_word_of_tier_3_is_typed_straight_away_and_enter_agrees_to_nothing_before_it_is_right() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    let (id, command) = asked(&press(&mut ui, &view, "ctrl-d"));
    answer(&mut ui, &view, id, plan(command, Tier::Three));
    assert_eq!(ui.plan_mut().unwrap().state.focus, PlanFocus::Cancel);
    type_text(&mut ui, &view, "triag");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    let foot = shown.lines().last().unwrap();
    assert!(foot.contains("esc cancel") && !foot.contains("q cancel"), "{foot}");
    assert_eq!(press(&mut ui, &view, "enter"), []);
    assert_eq!(ui.plan_mut().unwrap().state.focus, PlanFocus::Word, "it is not right yet");
    type_text(&mut ui, &view, "e");
    assert_eq!(press(&mut ui, &view, "enter"), [], "the first Enter only leaves the field");
    let effects = press(&mut ui, &view, "enter");
    let [Effect::Confirm(_, _, consent)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(consent.typed.as_deref(), Some("triage"));
}

#[test]
fn enter_behind_a_number_leads_to_the_buttons_where_y_agrees() {
    let (mut ui, view) = (ui(), fleet());
    type_text(&mut ui, &view, ":pools triage");
    press(&mut ui, &view, "enter s");
    let effects = type_text(&mut ui, &view, "4");
    let (id, command) = asked(&effects);
    press(&mut ui, &view, "enter");
    assert_eq!(ui.plan_mut().unwrap().state.focus, PlanFocus::Cancel);
    press(&mut ui, &view, "y");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("the plan is still being made"), "{shown}");
    answer(&mut ui, &view, id, plan(command, Tier::Two));
    let effects = press(&mut ui, &view, "y");
    let [Effect::Confirm(_, _, consent)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(consent.reason, "");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("waiting for the store"), "{shown}");
}

#[test]
fn while_a_text_is_written_the_footer_names_only_keys_that_are_no_text() {
    let (mut ui, view) = (ui(), fleet());
    type_text(&mut ui, &view, ":pools triage");
    let (id, _) = asked(&press(&mut ui, &view, "enter i"));
    for refused in [false, true] {
        if refused {
            let message = "there is no such version".to_owned();
            let fault = Fault::Command(CommandError::Refused { message });
            update(&mut ui, &view, Event::Done(id, Err(fault)));
        }
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        let foot = shown.lines().last().unwrap();
        assert!(foot.contains("tab next") && foot.contains("esc cancel"), "{foot}");
        assert!(!foot.contains("q c") && !foot.contains("y apply"), "{foot}");
    }
}

#[test]
fn what_may_have_been_done_is_not_called_refused() {
    let after = |confirming: bool, fault: Fault| {
        let (mut ui, view) = (ui(), fleet());
        draw(&mut ui, &view, 120, 30);
        let (mut id, command) = asked(&press(&mut ui, &view, "r"));
        if confirming {
            answer(&mut ui, &view, id, plan(command, Tier::Two));
            let effects = press(&mut ui, &view, "y");
            let [Effect::Confirm(confirmed, ..)] = &effects[..] else { panic!("{effects:?}") };
            id = *confirmed;
        }
        update(&mut ui, &view, Event::Done(id, Err(fault)));
        symbols(&draw(&mut ui, &view, 120, 30))
    };
    let silent = || Fault::Timeout(Duration::from_secs(10));
    let shown = after(false, silent());
    assert!(shown.contains("Restart: no plan"), "{shown}");
    let shown = after(true, silent());
    assert!(shown.contains("Restart: may be done, see :operations"), "{shown}");
    let shown = after(true, Fault::Command(CommandError::Stale));
    assert!(shown.contains("Restart: not done"), "{shown}");
}

#[test]
fn a_refused_plan_says_so_in_its_title_and_to_any_key_how_to_leave() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    let (id, _) = asked(&press(&mut ui, &view, "r"));
    let fault = Fault::Command(CommandError::Refused { message: "it is gone".into() });
    update(&mut ui, &view, Event::Done(id, Err(fault)));
    for key in ["y", "x"] {
        press(&mut ui, &view, key);
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(shown.contains("Restart: refused") && shown.contains("esc closes"), "{shown}");
    }
}

#[test]
fn a_colon_behind_a_line_that_was_refused_begins_anew() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    type_text(&mut ui, &view, ":agetns");
    press(&mut ui, &view, "enter");
    type_text(&mut ui, &view, ":pods");
    assert_eq!(ui.prompt_mut().unwrap().edit.text(), "pods");
}

#[test]
fn a_filter_that_leaves_nothing_says_what_of_it_may_be_meant_otherwise() {
    let (mut ui, view) = (ui(), fleet());
    for (line, said) in [
        ("agents /Triage-2", "A capital letter makes case count"),
        ("agents -l pool=x", "pool is a field, no label"),
        ("agents cpu>300", "300m are thousandths"),
    ] {
        open(&mut ui, &view, line);
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(shown.contains(said), "{line}: {shown}");
    }
}

#[test]
fn a_plan_that_no_longer_fits_is_shown_anew_and_must_be_agreed_to_again() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    let (id, command) = asked(&press(&mut ui, &view, "r"));
    answer(&mut ui, &view, id, plan(command.clone(), Tier::Two));
    let effects = press(&mut ui, &view, "y");
    let [Effect::Confirm(id, ..)] = &effects[..] else { panic!("{effects:?}") };
    let changed = Plan {
        title: "Restart 2 agents".into(),
        fingerprint: "f2".into(),
        ..plan(command, Tier::Two)
    };
    let fault = Fault::Command(CommandError::PlanChanged { plan: Box::new(changed) });
    update(&mut ui, &view, Event::Done(*id, Err(fault)));
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(
        shown.contains("Restart 2 agents") && shown.contains("the fleet has moved since"),
        "{shown}"
    );
    let effects = press(&mut ui, &view, "y");
    let [Effect::Confirm(_, plan, _)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(plan.fingerprint, "f2");
}

#[test]
fn digits_reach_the_number_while_cancel_has_the_focus_and_each_change_asks_for_a_new_plan() {
    let (mut ui, view) = (ui(), fleet());
    type_text(&mut ui, &view, ":pools triage");
    press(&mut ui, &view, "enter");
    let (first, command) = asked(&press(&mut ui, &view, "s"));
    assert_eq!(command, Command::Scale { pool: "pool-triage".into(), to: 3, hold: true });
    let effects = type_text(&mut ui, &view, "19");
    let (last, command) = asked(&effects);
    assert_eq!(command, Command::Scale { pool: "pool-triage".into(), to: 19, hold: true });
    assert!(effects.contains(&Effect::Forget(first)));
    // The answer to the first is stale.
    answer(&mut ui, &view, first, plan(command.clone(), Tier::Two));
    assert!(ui.plan_mut().unwrap().plan.is_none());
    answer(&mut ui, &view, last, plan(command, Tier::Two));
    assert!(ui.plan_mut().unwrap().plan.is_some());
    type_text(&mut ui, &view, "x");
    assert_eq!(ui.plan_mut().unwrap().state.fields[0].edit.text(), "19", "no letter belongs there");
    let effects = press(&mut ui, &view, "y");
    assert!(matches!(&effects[..], [Effect::Confirm(..)]), "{effects:?}");
}

#[test]
fn a_deploy_proposes_a_name_that_can_be_agreed_to_at_once() {
    let (mut ui, view) = (ui(), fleet());
    type_text(&mut ui, &view, ":templates");
    press(&mut ui, &view, "enter");
    let (id, command) = asked(&press(&mut ui, &view, "a"));
    let Command::Deploy { name, .. } = &command else { panic!("{command:?}") };
    let proposed = name.clone();
    assert_eq!(ui.plan_mut().unwrap().state.focus, PlanFocus::Cancel);
    answer(&mut ui, &view, id, plan(command, Tier::One));
    type_text(&mut ui, &view, "2");
    assert_eq!(ui.plan_mut().unwrap().state.fields[0].edit.text(), proposed);
    let effects = press(&mut ui, &view, "y");
    assert!(matches!(&effects[..], [Effect::Confirm(..)]), "{effects:?}");
}

#[test]
fn a_screen_that_shows_nothing_takes_no_key_but_the_way_out() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    draw(&mut ui, &view, 30, 8);
    assert_eq!(press(&mut ui, &view, "r"), []);
    assert_eq!(ui.layers.len(), 1, "no dialog behind the curtain");
    assert_eq!(press(&mut ui, &view, "ctrl-c"), [Effect::Quit]);
    draw(&mut ui, &view, 120, 30);
    asked(&press(&mut ui, &view, "r"));
}

#[test]
fn read_only_and_an_old_picture_refuse_every_change_and_say_why() {
    let (mut ui, mut view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    press(&mut ui, &view, "ctrl-o r");
    assert_eq!(ui.layers.len(), 1);
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("read-only (^o allows changes)"));
    press(&mut ui, &view, "ctrl-o");
    view.stale_since = Some(view.at);
    press(&mut ui, &view, "r");
    assert_eq!(ui.layers.len(), 1);
    let said = ui.notices.toast().unwrap().text.clone();
    assert!(said.as_str().contains("the store cannot be reached"), "{said}");
}

#[test]
fn the_cursor_stays_on_its_agent_when_rows_come_and_go() {
    let (mut ui, mut view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    press(&mut ui, &view, "j j");
    assert_eq!(selected(&ui), "agent-triage-1");
    let mut rows: Vec<_> = view.agents.to_vec();
    rows.insert(0, Arc::new(agent("aaa", "ocr", Phase::Running, HealthStatus::Healthy)));
    rows.retain(|row| row.name != *"ocr-1");
    (view.agents, view.version) = (rows.into(), 2);
    draw(&mut ui, &view, 120, 30);
    assert_eq!(selected(&ui), "agent-triage-1");
    let (_, command) = asked(&press(&mut ui, &view, "r"));
    assert_eq!(command, Command::Restart { targets: Targets::agents(["agent-triage-1"]) });
}

#[test]
fn marks_are_ids_and_a_vanished_one_is_told() {
    let (mut ui, mut view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    press(&mut ui, &view, "space space G ctrl-space");
    let Page::Table(page) = ui.page() else { panic!("no table") };
    assert_eq!(page.state.marks.len(), 5, "from the last mark to the end, with those before");
    view.agents = view.agents.iter().filter(|row| row.name != *"ocr-1").cloned().collect();
    view.version = 2;
    draw(&mut ui, &view, 120, 30);
    assert_eq!(ui.notices.toast().unwrap().text, "1 marked row is gone");
    let (_, command) = asked(&press(&mut ui, &view, "D"));
    let Command::Drain { targets, .. } = command else { panic!("{command:?}") };
    assert_eq!(targets.names.len(), 4);
    assert!(!targets.names.contains(&"agent-ocr-1".to_owned()));
}

#[test]
fn a_filter_acts_while_it_is_typed_and_a_bad_one_keeps_the_last_good() {
    let (mut ui, view) = (ui(), fleet());
    let count = |ui: &Ui| match ui.page() {
        Page::Table(page) => page.listing.rows.len(),
        Page::Text(_) | Page::Pulse(_) => 0,
    };
    type_text(&mut ui, &view, "/triage");
    assert_eq!(count(&ui), 3);
    type_text(&mut ui, &view, "(");
    assert_eq!(count(&ui), 3);
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.lines().nth(2).unwrap().starts_with(" /triage(  "), "{shown}");
    press(&mut ui, &view, "backspace enter");
    assert_eq!((count(&ui), ui.layers.len()), (3, 1));
    type_text(&mut ui, &view, "/");
    press(&mut ui, &view, "ctrl-u");
    assert_eq!(count(&ui), 5);
    press(&mut ui, &view, "esc");
    assert_eq!(count(&ui), 3, "leaving the prompt brings the filter before back");
    press(&mut ui, &view, "esc");
    assert_eq!(count(&ui), 5, "esc clears the filter");
    for (line, left) in [
        ("/!triage", 2),
        ("/queue>100", 1),
        ("/state=failed", 1),
        ("/-l tier=gold", 5),
        ("/-f tr3", 1),
    ] {
        type_text(&mut ui, &view, line);
        press(&mut ui, &view, "enter");
        assert_eq!(count(&ui), left, "{line}");
        press(&mut ui, &view, "esc");
    }
}

#[test]
fn history_brings_views_back_with_filter_and_sort() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    type_text(&mut ui, &view, "/triage");
    press(&mut ui, &view, "enter Q");
    type_text(&mut ui, &view, ":pools");
    press(&mut ui, &view, "enter");
    assert_eq!(ui.page().line(), "pools");
    press(&mut ui, &view, "[");
    assert_eq!(ui.page().line(), "agents /triage sort:queue:desc");
    press(&mut ui, &view, "]");
    assert_eq!(ui.page().line(), "pools");
    press(&mut ui, &view, "-");
    assert_eq!(ui.page().line(), "agents /triage sort:queue:desc");
    press(&mut ui, &view, "-");
    assert_eq!(ui.page().line(), "pools");
}

#[test]
fn esc_goes_to_the_page_below_and_from_the_first_one_back_in_the_history() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    type_text(&mut ui, &view, ":pools triage");
    press(&mut ui, &view, "enter enter d");
    let crumbs: Vec<String> = ui.pages().map(Page::crumb).collect();
    assert_eq!(crumbs, ["pools", "triage", "describe"], "a command begins a new way");
    let mut seen = Vec::new();
    for _ in 0..5 {
        press(&mut ui, &view, "esc");
        seen.push(ui.page().line());
    }
    assert_eq!(seen, ["agents in:pool/triage", "pools", "agents", "agents", "agents"]);
    press(&mut ui, &view, "]");
    assert_eq!(ui.page().line(), "pools", "what was left lies ahead");
}

#[test]
fn enter_goes_from_a_pool_to_its_agents_and_esc_back() {
    let (mut ui, view) = (ui(), fleet());
    type_text(&mut ui, &view, ":pools triage");
    press(&mut ui, &view, "enter enter");
    assert_eq!(ui.page().line(), "agents in:pool/triage");
    assert!(!symbols(&draw(&mut ui, &view, 120, 30)).contains("ocr-1"));
    press(&mut ui, &view, "J");
    assert_eq!((ui.page().line().as_str(), selected(&ui).as_str()), ("pools", "pool-triage"));
}

#[test]
fn describe_reads_and_shows_what_came_and_a_late_answer_is_dropped() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    let effects = press(&mut ui, &view, "d");
    let [Effect::Fetch(id, Fetch::Describe(_, name))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(name, "agent-ocr-1");
    let description = || crate::engine::handle::Description {
        title: "agent \u{1b}[31mocr-1".into(),
        sections: vec![crate::engine::handle::Section {
            title: "Spec".into(),
            lines: vec![("image".into(), "cvxc\u{7}".into())],
        }],
    };
    update(&mut ui, &view, Event::Done(*id, Ok(Reply::Described(description()))));
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("agent ␛[31mocr-1") && shown.contains("image  cvxc␇"), "{shown}");
    press(&mut ui, &view, "esc");
    let effects = press(&mut ui, &view, "d esc");
    let [Effect::Fetch(id, _), Effect::Forget(gone)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(id, gone);
    assert_eq!(update(&mut ui, &view, Event::Done(*id, Ok(Reply::Described(description())))), []);
}

#[test]
fn a_paste_on_a_page_is_no_keys() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    assert_eq!(update(&mut ui, &view, Event::Paste("r y".into())), []);
    assert_eq!(ui.layers.len(), 1);
    type_text(&mut ui, &view, "/");
    update(&mut ui, &view, Event::Paste("tri\nage".into()));
    assert_eq!(ui.prompt_mut().unwrap().edit.text(), "tri age");
}

#[test]
fn verbs_in_the_command_bar_open_the_same_plan() {
    let (mut ui, view) = (ui(), fleet());
    type_text(&mut ui, &view, ":scale triage 7");
    let (_, command) = asked(&press(&mut ui, &view, "enter"));
    assert_eq!(command, Command::Scale { pool: "pool-triage".into(), to: 7, hold: true });
    press(&mut ui, &view, "esc");
    type_text(&mut ui, &view, ":restart triage-1 ocr-1");
    let (_, command) = asked(&press(&mut ui, &view, "enter"));
    assert_eq!(
        command,
        Command::Restart { targets: Targets::agents(["agent-triage-1", "agent-ocr-1"]) }
    );
    press(&mut ui, &view, "esc");
    type_text(&mut ui, &view, ":restart nobody");
    press(&mut ui, &view, "enter");
    assert_eq!(ui.prompt_mut().unwrap().error.as_ref().unwrap(), &"nothing is called \"nobody\"");
}

#[test]
fn quitting_from_the_first_page_asks_and_ctrl_c_cancels_before_it_quits() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    assert_eq!(press(&mut ui, &view, "q"), []);
    assert_eq!(ui.plan_mut().unwrap().ask, Ask::Quit);
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("5 agents go on, and nobody leads"));
    assert_eq!(press(&mut ui, &view, "enter"), [], "Cancel has the focus");
    assert_eq!(press(&mut ui, &view, "q y"), [Effect::Quit]);
    press(&mut ui, &view, "esc");
    let operation = OperationId::new("op-1").unwrap();
    ui.watched.push(Watched { operation: operation.clone(), title: Safe::new("scale") });
    let effects = press(&mut ui, &view, "ctrl-c");
    assert!(
        matches!(&effects[..], [Effect::Cancel(_, cancelled)] if *cancelled == operation),
        "{effects:?}"
    );
    assert_eq!(press(&mut ui, &view, "ctrl-c"), [Effect::Quit]);
}

#[test]
fn the_side_pane_takes_the_keys_that_move_once_it_has_the_focus() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 80, 16);
    press(&mut ui, &view, "tab");
    assert_eq!(ui.notices.toast().unwrap().text, "there is one pane only");
    press(&mut ui, &view, "| tab j j");
    assert_eq!((selected(&ui).as_str(), ui.side.top > 0), ("", true), "the table stands still");
    press(&mut ui, &view, "tab j");
    assert_eq!((selected(&ui).as_str(), ui.side.top), ("agent-ocr-2", 0));
}

#[test]
fn the_order_is_stable_and_can_be_frozen() {
    let (mut ui, mut view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    press(&mut ui, &view, "Q");
    let order = |ui: &Ui, view: &FleetView| -> Vec<String> {
        let Page::Table(page) = ui.page() else { return Vec::new() };
        page.listing
            .rows
            .iter()
            .map(|row| view.agents[*row as usize].name.as_str().to_owned())
            .collect()
    };
    assert_eq!(order(&ui, &view)[0], "triage-2", "the longest queue");
    press(&mut ui, &view, "Z");
    let before = order(&ui, &view);
    let rows = view.agents.iter().map(|row| {
        let mut row = row.as_ref().clone();
        row.queue.pending = 1000 - row.queue.pending;
        Arc::new(row)
    });
    (view.agents, view.version) = (rows.collect(), 2);
    draw(&mut ui, &view, 120, 30);
    assert_eq!(order(&ui, &view), before);
    press(&mut ui, &view, "Z");
    assert_ne!(order(&ui, &view), before);
}

#[test]
fn what_the_terminal_says_of_its_background_only_changes_a_theme_that_nobody_chose() {
    let (mut ui, view) = (ui(), fleet());
    let light = || Event::Background(crate::tui::theme::Background::Light);
    assert_eq!(update(&mut ui, &view, light()), [Effect::LoadTheme("light".into())]);
    ui.theme_chosen = true;
    assert_eq!(update(&mut ui, &view, light()), []);
}

#[derive(Debug, Clone)]
enum Step {
    Act(Action),
    Key(&'static str),
    Text(String),
    Resize(u16, u16),
    Rows(usize),
    Answer(u8),
}

fn steps() -> impl Strategy<Value = Step> {
    let actions: Vec<Action> = Action::iter().filter(|action| *action != Action::Quit).collect();
    prop_oneof![
        6 => prop::sample::select(actions).prop_map(Step::Act),
        4 => prop::sample::select(vec!["enter", "esc", "tab", "j", "G", "space", "/", ":", "y", "r", "s", "1", "ctrl-d",
            "backspace", "right", "down"]).prop_map(Step::Key),
        2 => "[a-z0-9:/ =>!(é世-]{0,12}".prop_map(Step::Text),
        2 => (0_u16..220, 0_u16..60).prop_map(|(width, height)| Step::Resize(width, height)),
        1 => (0_usize..40).prop_map(Step::Rows),
        2 => (0_u8..6).prop_map(Step::Answer),
    ]
}

/// An answer of some kind to whatever is waited for.
fn any_answer(kind: u8) -> Result<Reply, Fault> {
    let command = Command::Restart { targets: Targets::agents(["agent-ocr-1"]) };
    match kind {
        0 => Ok(Reply::Plan(Box::new(plan(command, Tier::Three)))),
        1 => Ok(Reply::Confirmed(OperationId::new("op-1").unwrap())),
        2 => Err(Fault::Panicked),
        3 => Err(Fault::Command(CommandError::PlanChanged {
            plan: Box::new(plan(command, Tier::Two)),
        })),
        4 => Ok(Reply::Described(Default::default())),
        _ => Ok(Reply::Listed(Vec::new(), None)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_action_key_size_or_answer_breaks_the_console(steps in proptest::collection::vec(steps(), 1..40)) {
        let (mut ui, mut view) = (ui(), fleet());
        let (mut width, mut height) = (120, 30);
        draw(&mut ui, &view, width, height);
        for step in steps {
            match step {
                Step::Act(action) => {
                    let mut turn = Turn { ui: &mut ui, view: &view, effects: Vec::new() };
                    turn.act(action, None);
                }
                Step::Key(key) => {
                    update(&mut ui, &view, Event::Key(crate::tui::keys::parse(key).unwrap()));
                }
                Step::Text(text) => {
                    update(&mut ui, &view, Event::Paste(text.clone()));
                    if ui.prompt_mut().is_some() {
                        type_text(&mut ui, &view, &text);
                    }
                }
                Step::Resize(w, h) => {
                    (width, height) = (w, h);
                    update(&mut ui, &view, Event::Resize);
                }
                Step::Rows(count) => {
                    let version = view.version + 1;
                    view = FleetView { version, ..many(count) };
                }
                Step::Answer(kind) => {
                    if let Some(id) = ui.waiting.iter().next().copied() {
                        update(&mut ui, &view, Event::Done(id, any_answer(kind)));
                    }
                }
            }
            draw(&mut ui, &view, width, height);
        }
    }
}
