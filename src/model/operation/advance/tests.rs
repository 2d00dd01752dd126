use proptest::prelude::*;

use super::*;
use crate::model::operation::UndoInfo;
use crate::model::plan::{Goal, Noun, TargetRef, Tier};

fn operation(kind: &str, batches: &[u32]) -> Operation {
    let step = |(n, batch): (usize, &u32)| Step {
        batch: *batch,
        action: "restart".into(),
        target: TargetRef { noun: Noun::Agent, id: format!("a{n}"), name: format!("a{n}") },
        goal: Goal::AgentGone,
        status: if *batch == 0 { StepStatus::Running } else { StepStatus::Waiting },
        message: String::new(),
        began_at: None,
        finished_at: None,
    };
    Operation {
        kind: kind.into(),
        title: String::new(),
        command: serde_json::Value::Null,
        tier: Tier::One,
        fingerprint: String::new(),
        status: OperationStatus::Running,
        actor: String::new(),
        reason: String::new(),
        target: String::new(),
        steps: batches.iter().enumerate().map(step).collect(),
        done: 0,
        failed: 0,
        message: String::new(),
        undo: UndoInfo::Never { why: String::new() },
        undone_by: None,
        cancel_requested: false,
        created_at: Time::EPOCH,
        finished_at: None,
        extra: serde_json::Map::new(),
    }
}

const NOW: Time = Time::EPOCH;

#[test]
fn a_batch_waits_for_the_one_before_it() {
    let mut op = operation("restart", &[0, 0, 1]);
    let first = |step: &Step| if step.target.id == "a0" { Verdict::Done } else { Verdict::Pending };
    assert_eq!(advance(&mut op, NOW, first), Onward::Wait);
    assert_eq!((op.done, op.status), (1, OperationStatus::Running));
    assert_eq!(advance(&mut op, NOW, |_| Verdict::Done), Onward::Release(1));
    begin(&mut op, 1, &[], NOW);
    assert_eq!(op.steps[2].status, StepStatus::Running);
    assert_eq!(advance(&mut op, NOW, |_| Verdict::Done), Onward::Wait);
    assert_eq!((op.status, op.message.as_str()), (OperationStatus::Succeeded, "3 of 3 steps done"));
}

#[test]
fn a_failed_batch_stops_those_after_it_once_it_is_over() {
    let mut op = operation("restart", &[0, 0, 1]);
    let bad = |step: &Step| {
        if step.target.id == "a0" {
            Verdict::Failed("exited with code 1".into())
        } else {
            Verdict::Pending
        }
    };
    assert_eq!(advance(&mut op, NOW, bad), Onward::Wait);
    assert_eq!(op.status, OperationStatus::Running, "its other steps go on");
    assert_eq!(advance(&mut op, NOW, |_| Verdict::Done), Onward::Wait);
    assert_eq!(
        (op.status, op.message.as_str()),
        (OperationStatus::Failed, "a0: exited with code 1")
    );
    assert_eq!(op.steps[2].status, StepStatus::Skipped);
    assert_eq!((op.done, op.failed), (1, 1));
}

#[test]
fn a_refused_deployment_is_rolled_back_and_a_refused_step_fails() {
    let mut op = operation("deploy", &[0]);
    let refused = |_: &Step| Verdict::Failed("no such program".into());
    advance(&mut op, NOW, refused);
    assert_eq!(op.status, OperationStatus::RolledBack);
    let mut op = operation("restart", &[0, 1]);
    advance(&mut op, NOW, |_| Verdict::Done);
    begin(&mut op, 1, &[(1, "it is gone".into())], NOW);
    advance(&mut op, NOW, |_| Verdict::Pending);
    assert_eq!((op.status, op.message.as_str()), (OperationStatus::Failed, "a1: it is gone"));
}

#[test]
fn a_cancelled_operation_ends_after_its_batch() {
    let mut op = operation("restart", &[0, 1, 2]);
    op.cancel_requested = true;
    assert_eq!(advance(&mut op, NOW, |_| Verdict::Pending), Onward::Wait);
    assert_eq!(op.status, OperationStatus::Running);
    advance(&mut op, NOW, |_| Verdict::Done);
    assert_eq!(
        (op.status, op.message.as_str()),
        (OperationStatus::Cancelled, "cancelled after 1 of 3 steps")
    );
    let mut last = operation("restart", &[0]);
    last.cancel_requested = true;
    advance(&mut last, NOW, |_| Verdict::Done);
    assert_eq!(last.status, OperationStatus::Succeeded, "there was nothing left to cancel");
}

#[test]
fn one_without_steps_is_over_at_once() {
    let mut op = operation("apply", &[]);
    advance(&mut op, NOW, |_| Verdict::Pending);
    assert_eq!(op.status, OperationStatus::Succeeded);
}

proptest! {
    #[test]
    fn it_always_ends_and_no_step_runs_before_its_batch(
        batches in prop::collection::vec(0u32..4, 0..12), fails in prop::collection::vec(any::<bool>(), 12),
    ) {
        let mut op = operation("restart", &batches);
        let verdict = |step: &Step| {
            let n: usize = step.target.id[1..].parse().unwrap();
            if fails[n] { Verdict::Failed("no".into()) } else { Verdict::Done }
        };
        for _ in 0..8 {
            match advance(&mut op, NOW, verdict) {
                Onward::Release(batch) => {
                    prop_assert!(op.steps.iter().all(|it| it.batch >= batch || it.status == StepStatus::Done));
                    begin(&mut op, batch, &[], NOW);
                }
                Onward::Wait => {}
            }
        }
        prop_assert!(op.status.is_over());
        prop_assert!(op.steps.iter().all(|it| it.finished_at.is_some()));
        let before = op.clone();
        advance(&mut op, NOW, |_| Verdict::Failed("late".into()));
        prop_assert_eq!(op, before, "what is over stays as it is");
    }
}

#[test]
fn what_was_taken_back_on_its_way_did_not_fail() {
    let mut op = operation("scale", &[0, 1]);
    op.undone_by = Some("op-2".into());
    op.cancel_requested = true;
    advance(&mut op, NOW, |_| Verdict::Failed("overtaken".into()));
    assert_eq!(op.status, OperationStatus::Cancelled);
    assert_eq!(op.message, "taken back after 0 of 2 steps");
}
