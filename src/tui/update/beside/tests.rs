//! Shells and forwarded ports from the console: asked about, refused, begun and told.

use crate::model::access::Role;
use crate::model::text::Safe;
use crate::tui::effect::{Effect, Fetch};
use crate::tui::event::{Event, Reply};
use crate::tui::testing::{busy, draw, open, press, site, styled, symbols, type_text, ui};
use crate::tui::update::{prepare, update};

/// Nothing was asked for but that a word fades.
fn only_said(effects: &[Effect]) -> bool {
    effects.iter().all(|effect| matches!(effect, Effect::Wake(..)))
}

#[test]
fn a_shell_is_asked_about_with_cancel_focused_and_then_gets_the_terminal() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "agents ocr-1");
    assert_eq!(press(&mut ui, &view, "s"), [], "no plan is made of it");
    insta::assert_snapshot!("shell_at_80x24", styled(&draw(&mut ui, &view, 80, 24)));
    assert_eq!(press(&mut ui, &view, "enter"), [], "enter presses Cancel");
    press(&mut ui, &view, "s");
    let effects = press(&mut ui, &view, "y");
    let [Effect::Shell(order)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((order.agent.as_str(), order.name.as_str()), ("agent-ocr-1", "ocr-1"));
    update(&mut ui, &view, Event::Shelled(order.clone(), Ok(3)));
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("the shell beside ocr-1 ended with 3"), "{shown}");
    update(&mut ui, &view, Event::Shelled(order.clone(), Err(Safe::new("no such pod"))));
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("no such pod"));
}

#[test]
fn read_only_a_lesser_role_and_a_missing_right_each_refuse_a_shell_with_the_reason() {
    let view = busy();
    let refused = |ui: &mut crate::tui::ui::Ui, why: &str| {
        assert!(only_said(&press(ui, &view, "s")));
        let shown = symbols(&draw(ui, &view, 140, 30));
        assert!(shown.contains(why), "{why}: {shown}");
        assert!(!shown.contains("Shell beside"), "{shown}");
    };
    let fresh = || {
        let mut ui = ui();
        open(&mut ui, &view, "agents ocr-1");
        ui
    };
    let mut reading = fresh();
    reading.readonly = true;
    refused(&mut reading, "read-only");
    let mut observer = fresh();
    observer.actor.role = Role::Observer;
    refused(&mut observer, "observer may not shell");
    let mut limited = fresh();
    limited.allowances = site::allowances();
    refused(&mut limited, "no right to create pods/exec");
    press(&mut limited, &view, "F");
    let shown = symbols(&draw(&mut limited, &view, 140, 30));
    assert!(shown.contains("Forward a port"), "what is not known is not refused: {shown}");
}

#[test]
fn in_a_protected_context_a_shell_wants_its_name() {
    let (mut ui, view) = (ui(), busy());
    (ui.context.name, ui.context.protected) = (Safe::new("prod"), true);
    open(&mut ui, &view, "agents ocr-1");
    press(&mut ui, &view, "s");
    assert_eq!(press(&mut ui, &view, "y"), []);
    type_text(&mut ui, &view, "prod");
    let effects = press(&mut ui, &view, "shift-tab enter");
    assert!(matches!(effects[..], [Effect::Shell(_)]), "{effects:?}");
}

#[test]
fn the_cluster_is_asked_once_what_it_lets_us_do() {
    let (mut ui, mut view) = (ui(), busy());
    let mut system = view.system.as_ref().clone();
    system.runtime.kind = Safe::new("kubernetes");
    view.system = std::sync::Arc::new(system);
    let effects = prepare(&mut ui, &view);
    let [Effect::Fetch(id, Fetch::Site(ask))] = &effects[..] else { panic!("{effects:?}") };
    let reply = Reply::Site(Box::new(site::answer(ask)));
    update(&mut ui, &view, Event::Done(*id, Ok(reply)));
    assert_eq!(ui.allowances.len(), 5);
    assert_eq!(prepare(&mut ui, &view), []);
    open(&mut ui, &view, "agents ocr-1");
    press(&mut ui, &view, "?");
    let shown = symbols(&draw(&mut ui, &view, 140, 200));
    let line = shown.lines().find(|line| line.contains("Open a shell")).unwrap_or_default();
    assert!(line.contains("no right to create pods/exec"), "{shown}");
}

#[test]
fn a_port_is_forwarded_by_its_dialog_listed_and_ended() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "agents triage-1");
    press(&mut ui, &view, "F");
    insta::assert_snapshot!("forward_at_80x24", styled(&draw(&mut ui, &view, 80, 24)));
    type_text(&mut ui, &view, "99999");
    assert!(only_said(&press(&mut ui, &view, "y")));
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("is no port"));
    press(&mut ui, &view, "ctrl-u");
    type_text(&mut ui, &view, "9090");
    let effects = press(&mut ui, &view, "y");
    let [Effect::Forward(id, agent, ours, theirs)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((agent.as_str(), *ours, *theirs), ("agent-triage-1", Some(8080), 9090));
    let made = site::forwards().remove(0);
    update(&mut ui, &view, Event::Done(*id, Ok(Reply::Forwarded(Box::new(made)))));
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("127.0.0.1:8081 leads to ocr-1:8080"));
    open(&mut ui, &view, "pf");
    let effects = press(&mut ui, &view, "j ctrl-d");
    assert!(matches!(effects[..], [Effect::Unforward(_, 2)]), "{effects:?}");
    ui.readonly = true;
    assert!(only_said(&press(&mut ui, &view, "ctrl-d")), "read-only");
}
