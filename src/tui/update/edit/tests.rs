//! From the key to the editor and back to a plan, without an editor.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::engine::handle::CommandError;
use crate::engine::view::FleetView;
use crate::model::id::OperationId;
use crate::model::plan::{Plan, Tier};
use crate::ports::store::{Document, Key, Rev};
use crate::tui::effect::EffectId;
use crate::tui::event::Event;
use crate::tui::testing::{draw, fleet, press, symbols, type_text, ui};
use crate::tui::ui::Ui;
use crate::tui::update::update;

/// The console with an order for the editor: pool triage as it is stored.
fn ordered() -> (Ui, FleetView, EditOrder) {
    let (mut ui, view) = (ui(), fleet());
    type_text(&mut ui, &view, ":pools triage");
    press(&mut ui, &view, "enter");
    let effects = press(&mut ui, &view, "e");
    let Some(Effect::Fetch(id, Fetch::Document(Noun::Pool, name))) = effects.last() else {
        panic!("{effects:?}");
    };
    assert_eq!(name, "pool-triage");
    let Value::Object(body) = json!({
        "name": "triage", "live_name": "triage", "desired": 3, "min": 1, "max": 10,
        "status": {"ready": 3}, "scaling": {"mode": "manual", "hold_until": "2026-11-21T00:00:00.000Z"},
    }) else {
        unreachable!("it is an object");
    };
    let document = Document { key: Key::new("pool-triage").unwrap(), rev: Rev("1".into()), body };
    let answer = Event::Done(*id, Ok(Reply::Document(Box::new(document))));
    let mut effects = update(&mut ui, &view, answer);
    let Some(Effect::Edit(order)) = effects.pop() else { panic!("{effects:?}") };
    (ui, view, *order)
}

fn back(order: &EditOrder, text: &str) -> Event {
    let file = PathBuf::from("/tmp/cvxc-edit-1.yaml");
    Event::Edited(Box::new(order.clone()), Ok(Edited { text: text.to_owned(), file }))
}

fn planned(effects: &[Effect]) -> (EffectId, Command) {
    match effects {
        [.., Effect::Plan(id, command)] => (*id, command.clone()),
        other => panic!("no plan was asked for: {other:?}"),
    }
}

#[test]
fn the_editor_gets_what_an_operator_may_set_and_nothing_else() {
    let (_, _, order) = ordered();
    assert!(order.text.starts_with("# pool triage: "), "{}", order.text);
    assert!(order.text.contains("desired: 3") && order.text.contains("max: 10"), "{}", order.text);
    for ours in ["status", "live_name", "hold_until"] {
        assert!(!order.text.contains(ours), "{}", order.text);
    }
}

#[test]
fn what_comes_back_is_planned_and_its_file_goes_once_it_is_written() {
    let (mut ui, view, order) = ordered();
    let changed = order.text.replace("max: 10", "max: 12");
    let effects = update(&mut ui, &view, back(&order, &changed));
    let (id, command) = planned(&effects);
    let Command::Edit { name, base, fields, .. } = &command else { panic!("{command:?}") };
    assert_eq!(
        (name.as_str(), &base["max"], &fields["max"]),
        ("pool-triage", &json!(10), &json!(12))
    );
    let plan = Plan {
        command,
        title: "Edit pool triage".into(),
        tier: Tier::Two,
        facts: Vec::new(),
        steps: Vec::new(),
        warnings: Vec::new(),
        undo: Ok("put back".into()),
        confirm_word: None,
        fingerprint: "f".into(),
    };
    update(&mut ui, &view, Event::Done(id, Ok(Reply::Plan(Box::new(plan)))));
    let effects = press(&mut ui, &view, "y");
    let [Effect::Confirm(id, ..)] = &effects[..] else { panic!("{effects:?}") };
    let operation = OperationId::new("op-1").unwrap();
    let effects = update(&mut ui, &view, Event::Done(*id, Ok(Reply::Confirmed(operation))));
    let file = Path::new("/tmp/cvxc-edit-1.yaml");
    assert!(effects.iter().any(|it| matches!(it, Effect::Discard(gone) if gone == file)));
}

#[test]
fn a_conflict_a_fault_and_a_change_of_mind_keep_the_edit_and_say_where() {
    let kept = "your edit is kept in /tmp/cvxc-edit-1.yaml";
    let (mut ui, view, order) = ordered();
    let changed = order.text.replace("max: 10", "max: 12");
    let (id, _) = planned(&update(&mut ui, &view, back(&order, &changed)));
    let message = "somebody changed pool triage since: /max is 50, no longer 10".to_owned();
    let fault = Fault::Command(CommandError::Refused { message });
    update(&mut ui, &view, Event::Done(id, Err(fault)));
    for (width, height) in [(80, 24), (200, 50)] {
        let shown = symbols(&draw(&mut ui, &view, width, height));
        assert!(
            shown.contains("somebody changed pool triage since") && shown.contains(kept),
            "{shown}"
        );
    }
    press(&mut ui, &view, "esc");
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains(kept));
    let effects = update(&mut ui, &view, back(&order, "max: [1"));
    assert!(!effects.iter().any(|it| matches!(it, Effect::Plan(..) | Effect::Discard(_))));
    assert!(symbols(&draw(&mut ui, &view, 200, 50)).contains("not valid YAML"));
    update(&mut ui, &view, back(&order, "just words"));
    assert!(symbols(&draw(&mut ui, &view, 200, 50)).contains("no mapping"));
}

#[test]
fn an_edit_that_changed_nothing_or_was_given_up_asks_for_nothing() {
    let (mut ui, view, order) = ordered();
    let effects = update(&mut ui, &view, back(&order, &order.text));
    assert!(effects.iter().any(|it| matches!(it, Effect::Discard(_))), "{effects:?}");
    assert_eq!(ui.layers.len(), 1);
    let gave_up = Event::Edited(Box::new(order), Err(Safe::new("vi gave up")));
    update(&mut ui, &view, gave_up);
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("vi gave up"));
    press(&mut ui, &view, "* e");
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("one thing at a time"));
    press(&mut ui, &view, "ctrl-o");
    let effects = press(&mut ui, &view, "esc e");
    assert!(!effects.iter().any(|it| matches!(it, Effect::Fetch(..))), "read-only: {effects:?}");
}
