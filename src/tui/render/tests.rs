//! Pages as they look, with their styles.

use super::*;
use crate::tui::testing::{draw, fleet, press, styled, symbols, type_text, ui};

#[test]
fn the_agents_at_80_by_24() {
    let (mut ui, view) = (ui(), fleet());
    insta::assert_snapshot!(styled(&draw(&mut ui, &view, 80, 24)));
}

#[test]
fn the_agents_at_200_by_50_wide_with_their_detail() {
    let (mut ui, view) = (ui(), fleet());
    press(&mut ui, &view, "ctrl-w | S");
    insta::assert_snapshot!(symbols(&draw(&mut ui, &view, 200, 50)));
}

#[test]
fn the_faults_with_their_reasons() {
    let (mut ui, view) = (ui(), fleet());
    press(&mut ui, &view, "ctrl-z");
    insta::assert_snapshot!(symbols(&draw(&mut ui, &view, 80, 24)));
}

#[test]
fn the_pools_at_80_by_24() {
    let (mut ui, view) = (ui(), fleet());
    type_text(&mut ui, &view, ":pools triage");
    press(&mut ui, &view, "enter");
    insta::assert_snapshot!(symbols(&draw(&mut ui, &view, 80, 24)));
}

#[test]
fn the_command_bar_with_its_suggestions() {
    let (mut ui, view) = (ui(), fleet());
    type_text(&mut ui, &view, ":ag");
    insta::assert_snapshot!(symbols(&draw(&mut ui, &view, 80, 24)));
}

#[test]
fn an_empty_fleet_says_how_to_begin() {
    let mut ui = ui();
    let mut view = FleetView::default();
    assert!(symbols(&draw(&mut ui, &view, 80, 24)).contains("reading the fleet"));
    (view.loaded, view.version) = (true, 1);
    let shown = symbols(&draw(&mut ui, &view, 80, 24));
    assert!(shown.contains("cvxc demo") && shown.contains("cvxc apply -f"), "{shown}");
}

#[test]
fn the_smallest_screen_shows_a_table_and_a_smaller_one_says_so() {
    let (mut ui, view) = (ui(), fleet());
    let shown = symbols(&draw(&mut ui, &view, 40, 10));
    assert!(shown.contains("ocr-1") && shown.contains("NAME"), "{shown}");
    let shown = symbols(&draw(&mut ui, &view, 39, 10));
    assert!(shown.contains("too small"), "{shown}");
}

#[test]
fn every_theme_draws_the_same_words() {
    let (mut ui, view) = (ui(), fleet());
    let words = symbols(&draw(&mut ui, &view, 100, 30));
    for (name, _) in crate::tui::theme::load::SHIPPED {
        ui.wear(crate::tui::theme::load::load(name, None).0);
        assert_eq!(symbols(&draw(&mut ui, &view, 100, 30)), words, "{name}");
    }
}

#[test]
fn ascii_glyphs_leave_nothing_else_on_the_screen() {
    let (mut ui, view) = (ui(), fleet());
    ui.glyphs = crate::tui::theme::Glyphs::ASCII;
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.is_ascii(), "{shown}");
}

#[test]
fn the_picture_being_old_is_said_in_the_header() {
    let (mut ui, mut view) = (ui(), fleet());
    view.stale_since = Some(ui.now.minus(std::time::Duration::from_secs(90)));
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("STALE 1m 30s"), "{shown}");
}
