//! What stands in the tree, in which order, and what the keys fold.

use crate::tui::pages::Page;
use crate::tui::testing::{draw, fleet, many, open, press, symbols, ui};
use crate::tui::ui::Ui;

fn ids(ui: &Ui) -> Vec<String> {
    let Page::Table(page) = ui.page() else { panic!("a table is in sight") };
    let rows = page.listing.rows.iter();
    rows.map(|row| page.fetched.tree.lines[*row as usize].id.to_string()).collect()
}

#[test]
fn what_is_sick_stands_open_and_first_and_what_is_well_is_a_count() {
    let (mut ui, view) = (ui(), fleet());
    open(&mut ui, &view, "xray");
    assert_eq!(
        ids(&ui),
        [
            "pool-triage",
            "agent-triage-2",
            "agent-triage-2/process",
            "agent-triage-2/health",
            "agent-triage-2/queue",
            "agent-triage-3",
            "agent-triage-3/process",
            "agent-triage-3/health",
            "agent-triage-3/queue",
            "pool-triage/well",
            "pool-ocr",
        ]
    );
    insta::assert_snapshot!("xray_80x24", symbols(&draw(&mut ui, &view, 80, 24)));
    press(&mut ui, &view, "|");
    insta::assert_snapshot!("xray_200x50", symbols(&draw(&mut ui, &view, 200, 50)));
}

#[test]
fn ten_thousand_agents_that_are_well_are_one_line() {
    let (mut ui, mut view) = (ui(), many(10_000));
    view.agents = view.agents.iter().filter(|row| !super::agents::is_fault(row)).cloned().collect();
    open(&mut ui, &view, "xray");
    assert!(ids(&ui).len() < 5, "{:?}", ids(&ui));
    press(&mut ui, &view, "l");
    let shown = symbols(&draw(&mut ui, &view, 100, 30));
    assert!(shown.contains("9 000 well, folded"), "{shown}");
}

#[test]
fn l_opens_and_steps_in_and_h_folds_and_steps_out() {
    let (mut ui, view) = (ui(), fleet());
    open(&mut ui, &view, "xray");
    press(&mut ui, &view, "h");
    assert_eq!(ids(&ui), ["pool-triage", "pool-ocr"]);
    press(&mut ui, &view, "l l");
    let Page::Table(page) = ui.page() else { panic!("a table is in sight") };
    assert_eq!(page.state.selected.as_deref(), Some("agent-triage-2"), "the first below");
    press(&mut ui, &view, "j");
    press(&mut ui, &view, "h");
    let Page::Table(page) = ui.page() else { panic!("a table is in sight") };
    assert_eq!(page.state.selected.as_deref(), Some("agent-triage-2"), "a leaf leads to its stem");
}

#[test]
fn x_on_an_agent_shows_what_it_stands_on_and_a_filter_finds_what_was_folded() {
    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 120, 30);
    press(&mut ui, &view, "x");
    assert_eq!(ui.page().line(), "xray agent in:agent/ocr-1");
    assert_eq!(ids(&ui)[0], "agent-ocr-1");
    assert_eq!(ids(&ui).len(), 4);
    open(&mut ui, &view, "xray /triage-1");
    assert_eq!(ids(&ui)[..3], ["pool-triage", "pool-triage/well", "agent-triage-1"]);
}

#[test]
fn an_act_on_a_line_is_about_the_agent_it_belongs_to() {
    use crate::model::plan::{Command, Targets};
    use crate::tui::effect::Effect;

    let (mut ui, view) = (ui(), fleet());
    open(&mut ui, &view, "xray");
    press(&mut ui, &view, "j j");
    press(&mut ui, &view, "space space space");
    let effects = press(&mut ui, &view, "r");
    let asked = effects.iter().find_map(|effect| match effect {
        Effect::Plan(_, command) => Some(command.clone()),
        _ => None,
    });
    let once = Command::Restart { targets: Targets::agents(["agent-triage-2"]) };
    assert_eq!(asked, Some(once), "three lines of one agent are one target");
}
