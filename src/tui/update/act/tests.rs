//! Acts as they are asked for and shown: which fields a dialog has, and how it looks at both sizes.

use super::*;
use crate::engine::view::FleetView;
use crate::model::plan::{Fact, Goal, Plan, PlannedStep, Tier};
use crate::tui::effect::{Effect, EffectId};
use crate::tui::event::{Event, Reply};
use crate::tui::testing::{busy, draw, fleet, press, symbols, type_text, ui};
use crate::tui::ui::Ui;
use crate::tui::update::update;

/// The plan that was asked for last, with its id.
fn asked(effects: &[Effect]) -> (EffectId, Command) {
    let found = effects.iter().rev().find_map(|effect| match effect {
        Effect::Plan(id, command) => Some((*id, command.clone())),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no plan was asked for: {effects:?}"))
}

/// The console at the pools, all of which the autoscaler scales, with the cursor on triage.
fn at_pools() -> (Ui, FleetView) {
    let (mut ui, mut view) = (ui(), fleet());
    let scaled = view.pools.iter().map(|row| {
        let mut row = row.as_ref().clone();
        let scaling =
            serde_json::json!({"mode": "engine", "metrics": [{"type": "cpu", "target": 70}]});
        row.scaling = serde_json::from_value(scaling).unwrap();
        std::sync::Arc::new(row)
    });
    view.pools = scaled.collect();
    type_text(&mut ui, &view, ":pools triage");
    press(&mut ui, &view, "enter");
    (ui, view)
}

fn fact(name: &str, value: &str) -> Fact {
    Fact { name: name.into(), value: value.into() }
}

/// What the engine answers to scaling triage from 12 to 19.
fn scaling(command: Command) -> Plan {
    let target = TargetRef { noun: Noun::Pool, id: "pool-triage".into(), name: "triage".into() };
    Plan {
        command,
        title: "Scale pool triage 12 → 19".into(),
        tier: Tier::Two,
        facts: vec![
            fact("current", "12 (11 ready)"),
            fact("min", "3"),
            fact("max", "40"),
            fact("desired", "19"),
            fact("autoscaler", "would choose 19"),
            fact(
                "why",
                "queue 1840/100 per agent → 19; drain (22/s+1840/120s)·0.5s/1 → 19; cpu 63/70% → keep 12; max wins → 19",
            ),
            fact("limit", "up ≤ max(12+4, 12+100%) = 24 in 15s: ok"),
            fact("hold", "the autoscaler leaves the pool alone for 10 minutes"),
            fact("queue", "1840 waiting, 41 in flight, oldest 38s"),
            fact("creates", "7 agents"),
        ],
        steps: vec![PlannedStep {
            batch: 0,
            action: "scale".into(),
            target,
            goal: Goal::PoolReady { ready: 19 },
            note: "12 → 19 agents".into(),
        }],
        warnings: Vec::new(),
        undo: Ok("back to 12".into()),
        confirm_word: None,
        fingerprint: "f".into(),
    }
}

fn answer(ui: &mut Ui, view: &FleetView, id: EffectId, plan: Plan) -> Vec<Effect> {
    update(ui, view, Event::Done(id, Ok(Reply::Plan(Box::new(plan)))))
}

#[test]
fn the_scale_dialog_at_both_sizes() {
    for (width, height) in [(80, 24), (200, 50)] {
        let (mut ui, view) = at_pools();
        press(&mut ui, &view, "s");
        let (id, command) = asked(&type_text(&mut ui, &view, "19"));
        answer(&mut ui, &view, id, scaling(command));
        let shown = symbols(&draw(&mut ui, &view, width, height));
        insta::assert_snapshot!(format!("the_scale_dialog_at_{width}x{height}"), shown);
    }
}

#[test]
fn the_box_decides_whether_the_autoscaler_is_held() {
    let (mut ui, view) = at_pools();
    let (_, command) = asked(&press(&mut ui, &view, "s"));
    assert_eq!(command, Command::Scale { pool: "pool-triage".into(), to: 3, hold: true });
    let (_, command) = asked(&press(&mut ui, &view, "shift-tab shift-tab space"));
    assert_eq!(command, Command::Scale { pool: "pool-triage".into(), to: 3, hold: false });
}

#[test]
fn a_dry_run_asks_once_more_and_carries_nothing_out() {
    let (mut ui, view) = at_pools();
    let (id, command) = asked(&press(&mut ui, &view, "s"));
    answer(&mut ui, &view, id, scaling(command.clone()));
    let layer = ui.plan_mut().unwrap();
    let at = layer.state.fields.iter().position(|field| field.label == DRY_RUN).unwrap();
    layer.state.fields[at].toggle();
    let effects = press(&mut ui, &view, "y");
    let (id, again) = asked(&effects);
    assert_eq!(again, command);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Confirm(..))), "{effects:?}");
    answer(&mut ui, &view, id, scaling(command));
    let shown = symbols(&draw(&mut ui, &view, 120, 30));
    assert!(shown.contains("dry run ok") && shown.contains("nothing was changed"), "{shown}");
    let effects = press(&mut ui, &view, "y");
    assert!(matches!(&effects[..], [Effect::Confirm(..)]), "the box is cleared: {effects:?}");
}

#[test]
fn several_pools_are_never_given_a_number_by_themselves() {
    let (mut ui, view) = at_pools();
    let effects = press(&mut ui, &view, "* s");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Plan(..))), "{effects:?}");
    let shown = symbols(&draw(&mut ui, &view, 80, 24));
    insta::assert_snapshot!("several_pools_wait_for_their_number", shown);
    assert_eq!(press(&mut ui, &view, "y"), [], "there is nothing to agree to");
    let (_, command) = asked(&type_text(&mut ui, &view, "4"));
    let pools = vec!["pool-ocr".to_owned(), "pool-triage".to_owned()];
    assert_eq!(command, Command::ScalePools { pools, to: 4, hold: true });
}

#[test]
fn a_drain_takes_a_deadline_and_says_what_is_wrong_with_it() {
    let (mut ui, view) = at_pools();
    let (_, command) = asked(&press(&mut ui, &view, "D"));
    let targets = Targets { noun: Noun::Pool, names: vec!["pool-triage".into()] };
    assert_eq!(command, Command::Drain { targets: targets.clone(), deadline: None });
    press(&mut ui, &view, "shift-tab");
    let (_, command) = asked(&type_text(&mut ui, &view, "90s"));
    let deadline = Some(Duration::from_secs(90));
    assert_eq!(command, Command::Drain { targets, deadline });
    type_text(&mut ui, &view, "?");
    assert!(symbols(&draw(&mut ui, &view, 80, 24)).contains("deadline: "));
}

#[test]
fn one_undo_after_another_goes_further_back_and_never_undoes_the_undo() {
    let (mut ui, mut view) = (ui(), busy());
    let row = |id: &str, kind: &str, can_undo: bool, actor: &str, minutes: u64| {
        let mut row = view.operations[0].as_ref().clone();
        row.id = crate::model::id::OperationId::new(id).unwrap();
        (row.kind, row.actor) = (Safe::new(kind), Safe::new(actor));
        row.can_undo = can_undo;
        row.created_at = view.at.minus(Duration::from_secs(60 * minutes));
        std::sync::Arc::new(row)
    };
    let rows = [
        row("op-6", "undo", true, "ops@host", 0),
        row("op-5", "scale", false, "ops@host", 1),
        row("op-4", "scale", true, "loop:autoscale", 2),
        row("op-3", "pause", true, "ops@host", 3),
        row("op-2", "scale", true, "ops@host", 25 * 60),
    ];
    view.operations = rows.into();
    let (_, command) = asked(&press(&mut ui, &view, "U"));
    assert_eq!(command, Command::Undo { operation: "op-3".into() });
    press(&mut ui, &view, "esc");
    let none: Vec<_> =
        view.operations.iter().filter(|row| row.id.as_str() != "op-3").cloned().collect();
    view.operations = none.into();
    press(&mut ui, &view, "U");
    assert!(symbols(&draw(&mut ui, &view, 120, 30)).contains("nothing that can be taken back"));
}

fn step(batch: u32, action: &str, name: &str, note: &str) -> PlannedStep {
    let target = TargetRef { noun: Noun::Agent, id: format!("agent-{name}"), name: name.into() };
    PlannedStep { batch, action: action.into(), target, goal: Goal::Written, note: note.into() }
}

/// Plans as the engine makes them, one of each kind that has a dialog of its own look.
fn plans() -> Vec<(&'static str, Plan)> {
    let plan = |title: &str, tier, steps: Vec<PlannedStep>, undo: Result<&str, &str>| Plan {
        command: Command::Rollback { pool: String::new() },
        title: title.into(),
        tier,
        facts: Vec::new(),
        steps,
        warnings: Vec::new(),
        undo: undo.map(str::to_owned).map_err(str::to_owned),
        confirm_word: None,
        fingerprint: "f".into(),
    };
    let load = || vec![fact("in flight", "41 messages"), fact("queued", "318 messages")];
    let restart = (0..7).map(|n| step(n / 3, "restart", &format!("triage-{n}"), "run 1 → 2"));
    let drain = (0..3).map(|n| {
        let note = "takes no new work, at most 90s for the work in hand";
        step(0, "drain", &format!("triage-{n}"), note)
    });
    let delete = (0..137).map(|n| {
        step(n / 13, "delete", &format!("ocr-{n:03}"), "drained first; a tombstone stays 24 h")
    });
    let diff = "1.1.0 → 1.2.0\n@@ -3,5 +3,5 @@\n   image: worker:1\n-  args: [--slow]\n+  args: [--fast]\n   env:";
    let never = Err("a run that has ended cannot be continued");
    vec![
        (
            "restart",
            Plan {
                facts: [vec![fact("batches", "3, each waits for the one before")], load()].concat(),
                ..plan("Restart 7 agents of pool triage", Tier::Two, restart.collect(), never)
            },
        ),
        (
            "drain",
            Plan {
                facts: load(),
                ..plan(
                    "Drain 3 agents of pool triage",
                    Tier::Two,
                    drain.collect(),
                    Err("work that was finished or given back stays so; start the agents instead"),
                )
            },
        ),
        (
            "delete",
            Plan {
                facts: load(),
                confirm_word: Some("delete 137".into()),
                warnings: vec!["pool ocr replaces the 137 agents: scale it to have fewer".into()],
                ..plan(
                    "Delete 137 agents",
                    Tier::Three,
                    delete.collect(),
                    Ok("restore 137 agents, within 24 h"),
                )
            },
        ),
        (
            "rollout",
            Plan {
                facts: vec![
                    fact("template", "worker"),
                    fact("agents", "3 of 3 to be replaced"),
                    fact("pace", "at most 1 more and 1 fewer than 3 at a time"),
                    fact("on failure", "the update halts after the first failed batch"),
                    fact("versions", "1.2.0, 1.1.0, 1.0.0"),
                ],
                ..plan(
                    "Update pool triage 1.1.0 → 1.2.0",
                    Tier::Two,
                    vec![step(0, "update", "triage", diff)],
                    Ok("back to 1.1.0 by another rolling update"),
                )
            },
        ),
        (
            "undo",
            Plan {
                facts: vec![
                    fact("takes back", "2 steps"),
                    fact("undoes", "pause of 2026-11-21T13:58:00.000Z by ops@host"),
                ],
                warnings: vec!["left out: triage-3 is gone".into()],
                ..plan(
                    "Undo: Pause 3 agents",
                    Tier::Two,
                    vec![
                        step(0, "restore", "triage-1", "wanted running again; it is paused"),
                        step(0, "restore", "triage-2", "wanted running again; it is paused"),
                    ],
                    Ok("as it was before this undo"),
                )
            },
        ),
    ]
}

#[test]
fn every_dialog_at_both_sizes() {
    for (name, plan) in plans() {
        for (width, height) in [(80, 24), (200, 50)] {
            let (mut ui, view) = at_pools();
            // the drain has a field of its own, the others have none
            let (id, _) = asked(&press(&mut ui, &view, if name == "drain" { "D" } else { "r" }));
            answer(&mut ui, &view, id, plan.clone());
            let shown = symbols(&draw(&mut ui, &view, width, height));
            insta::assert_snapshot!(format!("{name}_at_{width}x{height}"), shown);
        }
    }
}

#[test]
fn what_has_no_record_is_adopted_by_its_key_and_ended_by_the_one_that_deletes() {
    let (mut ui, mut view) = (ui(), fleet());
    let strays = view.agents.iter().map(|row| {
        let mut row = row.as_ref().clone();
        row.recorded = row.name != "triage-1";
        std::sync::Arc::new(row)
    });
    view.agents = strays.collect();
    let id = view.agents.iter().find(|row| !row.recorded).unwrap().id.to_string();
    type_text(&mut ui, &view, ":agents triage-1");
    press(&mut ui, &view, "enter");
    let workloads = vec![id];
    let (_, command) = asked(&press(&mut ui, &view, "i"));
    assert_eq!(command, Command::Adopt { workloads: workloads.clone(), end: false });
    press(&mut ui, &view, "esc");
    let (_, command) = asked(&press(&mut ui, &view, "ctrl-d"));
    assert_eq!(command, Command::Adopt { workloads, end: true });
    press(&mut ui, &view, "esc");
    type_text(&mut ui, &view, ":adopt");
    let (_, command) = asked(&press(&mut ui, &view, "enter"));
    assert_eq!(command, Command::Adopt { workloads: Vec::new(), end: false });
    press(&mut ui, &view, "esc");
    type_text(&mut ui, &view, ":agents triage-2");
    press(&mut ui, &view, "enter");
    let effects = press(&mut ui, &view, "i");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Plan(..))), "{effects:?}");
}
