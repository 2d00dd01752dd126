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
    let mut view = view;
    let mut row = view.agents[0].as_ref().clone();
    row.name = crate::model::text::Safe::new("世界-é-1");
    view.agents = view.agents.iter().skip(1).cloned().chain([std::sync::Arc::new(row)]).collect();
    press(&mut ui, &view, "|");
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

#[test]
fn what_a_runtime_that_is_lost_had_told_is_marked_as_old_in_header_and_rows() {
    let (mut ui, mut view) = (ui(), fleet());
    let before = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(!before.contains("STALE") && !before.contains("last seen"), "{before}");
    let lost = Some(ui.now.minus(std::time::Duration::from_secs(90)));
    let with = |lost_since| {
        let mut system = (*view.system).clone();
        system.runtime.lost_since = lost_since;
        std::sync::Arc::new(system)
    };
    let (gone, back) = (with(lost), with(None));
    view.system = gone;
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("RUNTIME STALE 1m 30s"), "{shown}");
    let unsure = format!("{} running", ui.look().glyphs.unknown);
    assert!(shown.contains(&unsure) && shown.contains("last seen "), "{shown}");
    view.system = back;
    assert_eq!(symbols(&draw(&mut ui, &view, 120, 30)), before);
}

/// What agents, payloads and other tools may write into any text.
const HOSTILE: &str = "\u{1b}]52;c;eA==\u{7}\u{1b}[2J\u{9b}31m\u{202e}evil\u{200b}\u{feff}\u{e0041}\u{1b}_x\u{1b}\\\r\n\t世";

/// Fails if anything but printable text of ours is on the screen, or in the bytes that paint it.
fn is_harmless(buf: &Buffer, what: &str) {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{200b}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    for cell in &buf.content {
        assert!(!cell.symbol().chars().any(hostile), "{what}: {:?}", cell.symbol());
    }
    let mut bytes = Vec::new();
    let frame = crate::tui::writer::Frame { buffer: buf.clone(), cursor: None };
    crate::tui::writer::encode::Encoder::default().frame(frame, &mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        !text.contains("\u{1b}]") && !text.contains("\u{1b}_") && !text.contains('\u{7}'),
        "{what}"
    );
}

#[test]
fn hostile_text_reaches_no_cell_of_any_page() {
    use std::sync::Arc;

    use strum::IntoEnumIterator;

    use crate::engine::view::{AgentRow, OperationRow, PoolRow, SubscriptionRow, TemplateRow};
    use crate::model::text::Safe;
    use crate::ports::store::{Document, Key, Rev};
    use crate::tui::pages::{TableKind, papers};

    let evil = || Safe::new(HOSTILE);
    let mut view = fleet();
    let agents = view.agents.iter().map(|row| {
        let labels = [(HOSTILE.to_owned(), HOSTILE.to_owned())].into();
        let row = row.as_ref().clone();
        Arc::new(AgentRow {
            name: evil(),
            kind: evil(),
            pool_name: evil(),
            reason: evil(),
            health_message: evil(),
            node: evil(),
            template_name: evil(),
            template_version: evil(),
            tenant: evil(),
            labels: Arc::new(labels),
            ..row
        })
    });
    view.agents = agents.collect();
    let pools = view.pools.iter().map(|row| {
        let row = row.as_ref().clone();
        Arc::new(PoolRow {
            name: evil(),
            description: evil(),
            reason: evil(),
            last_decision: evil(),
            template_name: evil(),
            ..row
        })
    });
    view.pools = pools.collect();
    let template = view.templates[0].as_ref().clone();
    let tags = vec![evil()];
    view.templates = [Arc::new(TemplateRow {
        name: evil(),
        description: evil(),
        image: evil(),
        command: evil(),
        tags,
        created_by: evil(),
        ..template
    })]
    .into();
    view.operations = [Arc::new(OperationRow {
        id: crate::model::id::OperationId::new("op-1").unwrap(),
        kind: evil(),
        title: evil(),
        tier: crate::model::plan::Tier::Two,
        status: Default::default(),
        actor: evil(),
        reason: evil(),
        message: evil(),
        total: 3,
        done: 1,
        failed: 0,
        can_undo: false,
        doing: crate::engine::view::Doing { words: evil(), ..Default::default() },
        created_at: view.at,
        finished_at: None,
    })]
    .into();
    view.subscriptions = [Arc::new(SubscriptionRow {
        id: crate::model::id::SubscriptionId::new("sub-1").unwrap(),
        subscriber: evil(),
        pattern: evil(),
        active: true,
        cursor: 0,
        matched: 0,
        created_at: view.at,
        last_matched_at: None,
    })]
    .into();
    let fields = [
        "type",
        "subject",
        "aggregate",
        "aggregate_id",
        "actor",
        "reason",
        "status",
        "message_type",
        "last_error",
        "from_agent_id",
        "to_agent_id",
        "event_name",
        "publisher_agent_id",
        "publication_type",
        "correlation_id",
    ];
    let mut body: serde_json::Map<String, serde_json::Value> =
        fields.map(|field| (field.to_owned(), HOSTILE.into())).into_iter().collect();
    body.insert("payload".into(), serde_json::json!({ HOSTILE: [HOSTILE] }));
    body.insert(
        "patch".into(),
        serde_json::json!([{ "op": HOSTILE, "path": HOSTILE, "value": HOSTILE }]),
    );
    let document = Document { key: Key::new("msg-1").unwrap(), rev: Rev(Arc::from("1")), body };
    for kind in TableKind::iter() {
        let mut ui = ui();
        ui.detail = true;
        let mut page = TablePage::new(kind);
        page.wide = true;
        if let Some(paper) = kind.papers() {
            page.fetched.papers.replace(vec![papers::row(paper, document.clone(), |_: &str| None)]);
        }
        ui.layers = vec![Layer::Page(Page::Table(Box::new(page)))];
        for (width, height) in [(80, 24), (200, 50)] {
            let buf = draw(&mut ui, &view, width, height);
            let shown = symbols(&buf);
            // Parts of the system, queues of those who have one, and what the runtime has not answered yet.
            let may_lack = matches!(
                kind,
                TableKind::Queues
                    | TableKind::Health
                    | TableKind::Hosts
                    | TableKind::Namespaces
                    | TableKind::Contexts
                    | TableKind::Forwards
            );
            assert!(may_lack || shown.contains("evil"), "{}: {shown}", kind.name());
            is_harmless(&buf, kind.name());
        }
        press(&mut ui, &view, "r");
        is_harmless(&draw(&mut ui, &view, 100, 30), kind.name());
    }
}

#[test]
fn hostile_text_reaches_no_cell_of_a_plan_a_prompt_or_a_notice() {
    use crate::model::plan::{Fact, Plan, PlannedStep, TargetRef, Tier};
    use crate::tui::effect::Effect;
    use crate::tui::event::{Event, Reply};
    use crate::tui::update::update;

    let (mut ui, view) = (ui(), fleet());
    draw(&mut ui, &view, 100, 30);
    let effects = press(&mut ui, &view, "r");
    let Some(Effect::Plan(id, command)) = effects.last() else { panic!("{effects:?}") };
    let target =
        TargetRef { noun: crate::model::plan::Noun::Agent, id: "a".into(), name: HOSTILE.into() };
    let plan = Plan {
        command: command.clone(),
        title: HOSTILE.into(),
        tier: Tier::Three,
        facts: vec![Fact { name: HOSTILE.into(), value: HOSTILE.into() }],
        steps: vec![PlannedStep {
            batch: 0,
            action: HOSTILE.into(),
            target,
            goal: crate::model::plan::Goal::Written,
            note: HOSTILE.into(),
        }],
        warnings: vec![HOSTILE.into()],
        undo: Err(HOSTILE.into()),
        confirm_word: Some(HOSTILE.into()),
        fingerprint: "f".into(),
    };
    update(&mut ui, &view, Event::Done(*id, Ok(Reply::Plan(Box::new(plan)))));
    is_harmless(&draw(&mut ui, &view, 100, 30), "plan");
    press(&mut ui, &view, "esc :");
    update(&mut ui, &view, Event::Paste(HOSTILE.into()));
    is_harmless(&draw(&mut ui, &view, 100, 30), "prompt");
    press(&mut ui, &view, "enter");
    is_harmless(&draw(&mut ui, &view, 100, 30), "error");
}

#[test]
fn what_an_operation_is_at_stays_in_sight_on_every_page_and_leaves_with_its_end() {
    let mut view = crate::tui::testing::busy();
    for (width, height) in [(80, 24), (200, 50)] {
        let mut ui = ui();
        type_text(&mut ui, &view, ":pools");
        press(&mut ui, &view, "enter");
        let shown = symbols(&draw(&mut ui, &view, width, height));
        let line = shown.lines().rev().nth(1).unwrap();
        assert!(line.contains("Restart pool triage") && line.contains("5/12  4m 0s"), "{shown}");
        assert!(width < 100 || line.contains("batch 2/4  restart triage-5"), "{line}");
        insta::assert_snapshot!(format!("a_running_operation_at_{width}x{height}"), line);
        press(&mut ui, &view, "r");
        assert!(
            symbols(&draw(&mut ui, &view, width, height)).contains("5/12"),
            "under a dialog too"
        );
    }
    let mut ui = ui();
    let mut rows: Vec<_> = view.operations.iter().map(|row| row.as_ref().clone()).collect();
    rows[0].status = crate::model::operation::OperationStatus::Succeeded;
    view.operations = rows.into_iter().map(std::sync::Arc::new).collect();
    assert!(!symbols(&draw(&mut ui, &view, 80, 24)).contains("5/12"));
}
