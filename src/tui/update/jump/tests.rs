//! Scopes, bookmarks and jumps, by their keys.

use std::sync::Arc;

use crate::model::text::Safe;
use crate::tui::effect::Effect;
use crate::tui::pages::Page;
use crate::tui::testing::{busy, draw, fleet, open, press, symbols, type_text, ui};
use crate::tui::ui::Ui;

/// Two tenants: the agents of pool triage belong to acme.
fn shared() -> crate::engine::view::FleetView {
    let mut view = fleet();
    let rows = view.agents.iter().map(|row| {
        let mut row = row.as_ref().clone();
        if row.pool_name == "triage" {
            row.tenant = Safe::new("acme");
        }
        Arc::new(row)
    });
    view.agents = rows.collect();
    view
}

fn line(ui: &Ui) -> String {
    ui.page().line()
}

fn count(ui: &Ui) -> usize {
    let Page::Table(page) = ui.page() else { panic!("a table is in sight") };
    page.listing.rows.len()
}

#[test]
fn digits_choose_a_scope_and_0_shows_all_again() {
    let (mut ui, view) = (ui(), shared());
    draw(&mut ui, &view, 120, 30);
    press(&mut ui, &view, "1");
    assert_eq!((line(&ui).as_str(), count(&ui)), ("agents ns:acme", 3));
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("agents(acme)"));
    press(&mut ui, &view, "2");
    assert_eq!((line(&ui).as_str(), count(&ui)), ("agents ns:default", 2));
    press(&mut ui, &view, "9");
    assert_eq!(count(&ui), 2, "there is no ninth scope");
    press(&mut ui, &view, "0");
    assert_eq!((line(&ui).as_str(), count(&ui)), ("agents", 5));
}

#[test]
fn a_scope_holds_on_the_next_page_and_comes_back_with_the_history() {
    let (mut ui, view) = (ui(), shared());
    open(&mut ui, &view, "agents ns:acme");
    open(&mut ui, &view, "mq");
    assert_eq!((line(&ui).as_str(), count(&ui)), ("mq ns:acme", 3));
    press(&mut ui, &view, "0");
    open(&mut ui, &view, "pools");
    assert_eq!(line(&ui), "pools");
    press(&mut ui, &view, "[ [");
    assert_eq!(line(&ui), "agents ns:acme");
    assert_eq!(ui.scope, Some(Safe::new("acme")));
}

#[test]
fn n_lists_the_scopes_and_w_takes_the_one_of_the_row() {
    let (mut ui, view) = (ui(), shared());
    draw(&mut ui, &view, 120, 30);
    press(&mut ui, &view, "n");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("acme") && shown.contains("default"), "{shown}");
    type_text(&mut ui, &view, "ac");
    press(&mut ui, &view, "tab enter");
    assert_eq!(line(&ui), "agents ns:acme");
    press(&mut ui, &view, "0 G w");
    assert_eq!(line(&ui), "agents ns:acme");
    open(&mut ui, &view, "ns nobody");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(
        shown.contains("there is no scope \"nobody\": there are all, acme, default"),
        "{shown}"
    );
}

#[test]
fn a_view_kept_under_a_name_is_come_back_to_with_its_filter_and_order() {
    let (mut ui, view) = (ui(), fleet());
    open(&mut ui, &view, "agents /triage sort:queue:desc faults");
    press(&mut ui, &view, "b");
    type_text(&mut ui, &view, "trouble");
    let effects = press(&mut ui, &view, "enter");
    let kept = effects.iter().find_map(|effect| match effect {
        Effect::KeepBookmarks(kept) => kept.get("trouble").cloned(),
        _ => None,
    });
    assert_eq!(kept.as_deref(), Some("agents /triage sort:queue:desc faults"));
    open(&mut ui, &view, "pools");
    type_text(&mut ui, &view, ":troub");
    press(&mut ui, &view, "down enter");
    assert_eq!(line(&ui), "agents /triage sort:queue:desc faults");
    open(&mut ui, &view, "forget trouble");
    assert!(ui.bookmarks.is_empty());
    open(&mut ui, &view, "go trouble");
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("there is no bookmark"), "{shown}");
}

#[test]
fn in_a_protected_context_every_change_wants_its_name_and_so_does_allowing_them() {
    use crate::model::plan::Tier;
    use crate::tui::event::{Event, Reply};
    use crate::tui::ui::Context;
    use crate::tui::update::update;

    let (mut ui, view) = (ui(), fleet());
    ui.context = Context { name: Safe::new("prod-eu"), protected: true, cluster: None };
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("ctx prod-eu  PROTECTED"));
    let effects = press(&mut ui, &view, "r");
    let Some(Effect::Plan(id, command)) = effects.last() else { panic!("{effects:?}") };
    let plan = crate::model::plan::Plan {
        command: command.clone(),
        title: "Restart 1 agent".into(),
        tier: Tier::Two,
        facts: Vec::new(),
        steps: Vec::new(),
        warnings: Vec::new(),
        undo: Err("no".into()),
        confirm_word: None,
        fingerprint: "f".into(),
    };
    update(&mut ui, &view, Event::Done(*id, Ok(Reply::Plan(Box::new(plan)))));
    assert_eq!(press(&mut ui, &view, "y"), [], "y alone is not enough");
    type_text(&mut ui, &view, "prod-eu");
    let effects = press(&mut ui, &view, "shift-tab enter");
    assert!(matches!(effects[..], [Effect::Confirm(..)]), "{effects:?}");
    ui.layers.truncate(1);
    press(&mut ui, &view, "ctrl-o ctrl-o");
    assert!(ui.readonly, "the name is asked for");
    type_text(&mut ui, &view, "prod-us");
    press(&mut ui, &view, "enter");
    assert!(ui.readonly, "another name allows nothing");
    press(&mut ui, &view, "ctrl-u");
    type_text(&mut ui, &view, "unlock prod-eu");
    press(&mut ui, &view, "enter");
    assert!(!ui.readonly);
}

#[test]
fn another_context_is_asked_for_by_name_with_a_line_to_open_there() {
    let (mut ui, view) = (ui(), fleet());
    ui.contexts = vec![("prod".into(), "protected".into()), ("lab".into(), String::new())];
    ui.context.name = Safe::new("lab");
    draw(&mut ui, &view, 120, 30);
    let go = |ui: &mut Ui, line: &str| {
        press(ui, &view, ":");
        type_text(ui, &view, line);
        press(ui, &view, "enter")
    };
    let there = Effect::Switch("prod".into(), Some("pools faults".into()));
    assert_eq!(go(&mut ui, "pools @prod faults"), [there]);
    assert_eq!(go(&mut ui, "ctx prod"), [Effect::Switch("prod".into(), None)]);
    go(&mut ui, "pools @lab");
    assert_eq!(line(&ui), "pools", "where one is already, the line is carried out");
    assert_eq!(go(&mut ui, "ctx nowhere"), []);
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("there are prod, lab"));
}

#[test]
fn jumps_lead_to_the_host_the_users_and_the_messages_of_a_row() {
    let (mut ui, view) = (ui(), busy());
    draw(&mut ui, &view, 120, 30);
    press(&mut ui, &view, "j o");
    assert_eq!(line(&ui), "agents /node=\"host-1\"");
    let Page::Table(page) = ui.page() else { panic!("a table is in sight") };
    assert_eq!(
        page.state.selected.as_deref(),
        Some("agent-ocr-2"),
        "the row stays under the cursor"
    );
    press(&mut ui, &view, "f");
    assert_eq!(line(&ui), "messages in:agent/ocr-2");
    press(&mut ui, &view, "esc u");
    assert_eq!(line(&ui), "subscriptions in:agent/ocr-2");
    open(&mut ui, &view, "templates");
    press(&mut ui, &view, "u");
    assert_eq!(line(&ui), "pools in:template/worker");
}
