//! What somebody who knows only k9s met in the first half hour, so that nobody meets it again.

use super::*;
use crate::model::plan::{Command, Fact, Plan, Targets, Tier};
use crate::tui::testing::{draw, fleet, open, press, symbols, type_text, ui};

#[test]
fn a_page_takes_a_scope_by_its_bare_name_and_as_kubectl_writes_it() {
    let (mut ui, view) = (ui(), fleet());
    let tenant = view.agents[0].tenant.clone();
    for line in
        [format!("pods {tenant}"), format!("pods -n {tenant}"), format!("pods -l a=b -n {tenant}")]
    {
        open(&mut ui, &view, &line);
        assert_eq!(ui.scope.as_ref(), Some(&tenant), "{line}");
        let filtered = ui.page().line().contains('/');
        assert_eq!(filtered, line.contains("-l"), "{line}: {}", ui.page().line());
        open(&mut ui, &view, "pods -A");
        assert_eq!(ui.scope, None, "{line}");
    }
}

#[test]
fn a_fleet_at_rest_shows_the_page_of_the_command_line_in_the_first_frame() {
    let (mut ui, view) = (ui(), fleet());
    ui.first_line = Some("agents /triage".into());
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("triage-2"), "{shown}");
}

#[test]
fn what_was_said_to_a_key_goes_with_the_next_one_that_does_something_and_is_not_counted() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 80, 24);
    press(&mut ui, &view, "%");
    assert!(symbols(&draw(&mut ui, &view, 80, 24)).contains("% does nothing here"));
    press(&mut ui, &view, "j");
    assert!(!symbols(&draw(&mut ui, &view, 80, 24)).contains("does nothing here"));
    assert_eq!(ui.notices.unseen(), 0, "it answered a key");
    ui.notices.say(ui.now, Weight::Alarm, Safe::new("the store cannot be reached"));
    press(&mut ui, &view, "j");
    let shown = symbols(&draw(&mut ui, &view, 120, 24));
    assert!(shown.contains("the store cannot be reached"), "{shown}");
    assert_eq!(ui.notices.unseen(), 1);
}

#[test]
fn a_plan_that_would_change_nothing_is_no_dialog() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    let effects = press(&mut ui, &view, "r");
    let Some(Effect::Plan(id, command)) = effects.last() else { panic!("{effects:?}") };
    let plan = Plan {
        command: command.clone(),
        title: "Restart 0 agents".into(),
        tier: Tier::Two,
        facts: vec![Fact { name: "unchanged".into(), value: "1 agent already so".into() }],
        steps: Vec::new(),
        warnings: Vec::new(),
        undo: Err("nothing is changed".into()),
        confirm_word: None,
        fingerprint: "f".into(),
    };
    update(&mut ui, &view, Event::Done(*id, Ok(Reply::Plan(Box::new(plan)))));
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("nothing to do: 1 agent already so"), "{shown}");
    assert!(matches!(ui.layers.last(), Some(Layer::Page(_))), "the dialog is closed");
    assert_eq!(command, &Command::Restart { targets: Targets::agents(["agent-ocr-1"]) });
}

#[test]
fn a_tree_says_that_it_keeps_its_order() {
    let (mut ui, view) = (ui(), fleet());
    open(&mut ui, &view, "xray");
    let before = ui.page().line();
    press(&mut ui, &view, "N");
    let shown = symbols(&draw(&mut ui, &view, 160, 30));
    assert!(shown.contains("a tree has its own order") && !shown.contains("NAME▲"), "{shown}");
    assert_eq!(ui.page().line(), before);
}

#[test]
fn an_agent_that_is_degraded_is_counted_once() {
    let (mut ui, view) = (ui(), crate::tui::testing::busy());
    let shown = symbols(&draw(&mut ui, &view, 200, 50));
    let line = shown.lines().find(|line| line.contains(" agents ")).unwrap();
    let number = |text: &str| text.replace('\u{a0}', "").parse::<u64>().ok();
    let all = line.split_whitespace().nth(1).and_then(number).unwrap();
    let parts: u64 = line
        .split_whitespace()
        .skip(2)
        .map_while(|word| number(word.trim_start_matches(|c: char| !c.is_ascii_digit())))
        .sum();
    assert_eq!(parts, all, "{line}");
}

#[test]
fn the_words_of_k9s_are_offered_with_the_page_they_open() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    press(&mut ui, &view, ":");
    type_text(&mut ui, &view, "dp");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    let first = shown.lines().find(|line| line.contains("dp  pools"));
    assert!(first.is_some(), "{shown}");
    press(&mut ui, &view, "enter");
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains(" pools("));
}
