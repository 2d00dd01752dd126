//! Hosts, namespaces, contexts and rights: how they look, where their keys lead.

use rstest::rstest;

use crate::engine::view::FleetView;
use crate::model::text::Safe;
use crate::ports::site::Answer;
use crate::tui::effect::{Effect, Fetch};
use crate::tui::event::{Alarm, Event, Reply};
use crate::tui::pages::Page;
use crate::tui::testing::{busy, draw, open, press, styled, symbols, ui};
use crate::tui::ui::Ui;
use crate::tui::update::update;

fn known(ui: &mut Ui) {
    ui.contexts = vec![
        ("default".into(), "embedded store".into()),
        ("prod".into(), "embedded store, protected".into()),
        ("kube/kit".into(), "cluster kit, as admin, namespace agents".into()),
        ("kube/lab".into(), "cluster lab, as me, namespace default".into()),
    ];
    ui.context.name = Safe::new("kube/kit");
    ui.context.cluster = Some(("kit".into(), "agents".into()));
}

fn line(ui: &Ui) -> String {
    ui.page().line()
}

#[rstest]
#[case("hosts")]
#[case("ns")]
#[case("ctx")]
#[case("can-i")]
#[case("pf")]
fn a_page_in_both_sizes(#[case] name: &str) {
    let (mut ui, view) = (ui(), busy());
    known(&mut ui);
    open(&mut ui, &view, name);
    insta::assert_snapshot!(format!("{name}_80x24"), styled(&draw(&mut ui, &view, 80, 24)));
    press(&mut ui, &view, "ctrl-w |");
    insta::assert_snapshot!(format!("{name}_200x50"), symbols(&draw(&mut ui, &view, 200, 50)));
}

#[test]
fn a_host_leads_to_its_agents_and_is_described_with_them() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "nodes");
    assert_eq!(line(&ui), "hosts");
    let effects = press(&mut ui, &view, "d");
    let Some(Effect::Fetch(id, Fetch::Site(ask))) = effects.first() else { panic!("{effects:?}") };
    let answer = crate::tui::testing::site::answer(ask);
    let reply = crate::tui::event::Reply::Site(Box::new(answer));
    update(&mut ui, &view, Event::Done(*id, Ok(reply)));
    insta::assert_snapshot!("a_host_described", symbols(&draw(&mut ui, &view, 100, 40)));
    press(&mut ui, &view, "esc enter");
    assert_eq!(line(&ui), "agents /node=\"host-1\"");
}

#[test]
fn faults_are_hosts_that_take_no_agents_or_say_something_against_themselves() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "hosts faults");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(!shown.contains("host-1") && shown.contains("MemoryPressure"), "{shown}");
    open(&mut ui, &view, "hosts /agents>2");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("host-1") && !shown.contains("host-2"), "{shown}");
}

#[test]
fn hosts_are_read_again_while_they_are_in_sight_and_one_refusal_is_told_in_their_place() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "hosts");
    assert_eq!(press(&mut ui, &view, "j"), [], "not at once");
    update(&mut ui, &view, Event::Alarm(Alarm::Reread));
    let effects = crate::tui::update::prepare(&mut ui, &view);
    let Some(Effect::Fetch(id, Fetch::Site(_))) = effects.first() else { panic!("{effects:?}") };
    let denied =
        crate::ports::runtime::RuntimeError::Forbidden { message: "nodes is forbidden".into() };
    let fault = crate::engine::handle::CommandError::Runtime(denied).into();
    update(&mut ui, &view, Event::Done(*id, Err(fault)));
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("nodes is forbidden") && !shown.contains("host-1"), "{shown}");
    open(&mut ui, &view, "agents");
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("triage-1"), "the rest goes on");
}

/// What comes of the cluster's answer to what was asked last: its namespaces, or that it does not tell them.
fn told(ui: &mut Ui, view: &FleetView, asked: &[Effect], denied: bool) -> Vec<Effect> {
    let fetch = |effect: &Effect| match effect {
        Effect::Fetch(id, Fetch::Site(ask)) => Some((*id, ask.clone())),
        _ => None,
    };
    let Some((id, ask)) = asked.iter().find_map(fetch) else { panic!("{asked:?}") };
    let mut answer = crate::tui::testing::site::answer(&ask);
    if let Answer::Namespaces(found) = &mut answer
        && denied
    {
        (found.denied, found.complete) = (Some("forbidden".into()), false);
    }
    update(ui, view, Event::Done(id, Ok(Reply::Site(Box::new(answer)))))
}

#[test]
fn a_mistyped_namespace_is_told_and_nothing_is_left_for_it() {
    let (mut ui, view) = (ui(), busy());
    known(&mut ui);
    let go = |ui: &mut Ui| {
        press(ui, &view, ":");
        crate::tui::testing::type_text(ui, &view, "ns kube-sytem");
        press(ui, &view, "enter")
    };
    let left = |effects: &[Effect]| effects.iter().any(|it| matches!(it, Effect::Switch(..)));
    let asked = go(&mut ui);
    assert!(!left(&asked), "{asked:?}");
    let answered = told(&mut ui, &view, &asked, false);
    assert!(!left(&answered), "{answered:?}");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("the cluster has no namespace \"kube-sytem\""), "{shown}");
    // who may not list them may still live in one
    let asked = go(&mut ui);
    assert!(left(&told(&mut ui, &view, &asked, true)));
}

#[test]
fn a_read_that_failed_leaves_the_hosts_that_were_read_before_and_says_that_they_are_old() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "hosts");
    let reread = |ui: &mut Ui| {
        update(ui, &view, Event::Alarm(Alarm::Reread));
        crate::tui::update::prepare(ui, &view)
    };
    let asked = reread(&mut ui);
    let Some(Effect::Fetch(id, Fetch::Site(_))) = asked.first() else { panic!("{asked:?}") };
    let busy = crate::ports::runtime::RuntimeError::Unavailable("too many requests".into());
    let fault = crate::engine::handle::CommandError::Runtime(busy).into();
    update(&mut ui, &view, Event::Done(*id, Err(fault)));
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("host-1") && shown.contains("hosts(all, old)"), "{shown}");
    assert!(shown.contains("too many requests"), "{shown}");
    let asked = reread(&mut ui);
    told(&mut ui, &view, &asked, false);
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("hosts(all)"), "{shown}");
}

#[test]
fn a_namespace_and_a_context_of_the_cluster_are_gone_over_to() {
    let (mut ui, view) = (ui(), busy());
    known(&mut ui);
    let go = |ui: &mut Ui, line: &str| {
        press(ui, &view, ":");
        crate::tui::testing::type_text(ui, &view, line);
        press(ui, &view, "enter")
    };
    let to = |place: &str| [Effect::Switch(place.into(), None)];
    let asked = go(&mut ui, "ns kube-system");
    assert_eq!(told(&mut ui, &view, &asked, false), to("kube/kit/kube-system"));
    assert_eq!(go(&mut ui, "ctx lab"), to("kube/lab"));
    assert_eq!(go(&mut ui, "ns default"), [], "a tenant of this name comes first");
    assert_eq!(ui.scope.as_ref().map(Safe::as_str), Some("default"));
    open(&mut ui, &view, "ns /kube");
    assert_eq!(press(&mut ui, &view, "enter"), to("kube/kit/kube-system"));
    open(&mut ui, &view, "ctx /lab");
    assert_eq!(press(&mut ui, &view, "enter"), to("kube/lab"));
    ui.context.cluster = None;
    open(&mut ui, &view, "ns nowhere");
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("there is no scope"));
}

#[test]
fn an_agents_objects_are_shown_as_the_cluster_has_them() {
    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "live ocr-1");
    let shown = symbols(&draw(&mut ui, &view, 80, 24));
    assert!(shown.contains("Deployment agent-ocr-1") && shown.contains("replicas: 1"), "{shown}");
    assert!(matches!(ui.page(), Page::Text(_)));
}

#[test]
fn a_host_is_closed_opened_again_and_emptied_by_plan() {
    use crate::model::plan::Command;

    let (mut ui, view) = (ui(), busy());
    open(&mut ui, &view, "hosts");
    let command = |effects: Vec<Effect>| match effects.last() {
        Some(Effect::Plan(_, command)) => command.clone(),
        other => panic!("{other:?}"),
    };
    let closing = Command::Cordon { host: "host-1".into(), closed: true };
    assert_eq!(command(press(&mut ui, &view, "z")), closing);
    press(&mut ui, &view, "esc j");
    let opening = Command::Cordon { host: "host-2".into(), closed: false };
    assert_eq!(command(press(&mut ui, &view, "z")), opening);
    press(&mut ui, &view, "esc");
    let emptying = Command::DrainHost { host: "host-2".into() };
    assert_eq!(command(press(&mut ui, &view, "D")), emptying);
}
