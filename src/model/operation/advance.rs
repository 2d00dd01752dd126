//! How an operation goes on: steps are judged, a batch that is done lets the next begin, a failed one stops those after it.
//! Pure; what a step's verdict is, and how a batch is released, is the engine's.

use super::{Operation, OperationStatus, Step, StepStatus};
use crate::model::time::Time;

/// How a running step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Pending,
    Done,
    Failed(String),
}

/// What is to be done for an operation once its steps are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onward {
    /// Steps of the current batch are still under way, or it is all over.
    Wait,
    /// This batch may begin.
    Release(u32),
}

/// Puts `judge`'s verdicts into the running steps, and finishes the operation if nothing more will happen.
pub fn advance(operation: &mut Operation, now: Time, judge: impl Fn(&Step) -> Verdict) -> Onward {
    if operation.status.is_over() {
        return Onward::Wait;
    }
    for step in operation.steps.iter_mut().filter(|step| step.status == StepStatus::Running) {
        match judge(step) {
            Verdict::Pending => {}
            Verdict::Done => end(step, StepStatus::Done, "", now),
            Verdict::Failed(why) => end(step, StepStatus::Failed, &why, now),
        }
    }
    count(operation);
    if operation.steps.iter().any(|step| step.status == StepStatus::Running) {
        return Onward::Wait;
    }
    let waiting = operation.steps.iter().filter(|step| step.status == StepStatus::Waiting);
    let next = waiting.map(|step| step.batch).min();
    match next {
        Some(batch) if operation.failed == 0 && !operation.cancel_requested => {
            return Onward::Release(batch);
        }
        Some(_) => skip(operation, now),
        None => {}
    }
    finish(operation, next.is_some(), now);
    Onward::Wait
}

/// Marks `batch` as begun, but for the steps that have no meaning any more.
pub fn begin(operation: &mut Operation, batch: u32, refused: &[(usize, String)], now: Time) {
    for (at, step) in operation.steps.iter_mut().enumerate() {
        if step.batch != batch || step.status != StepStatus::Waiting {
            continue;
        }
        step.began_at = Some(now);
        match refused.iter().find(|(refused, _)| *refused == at) {
            Some((_, why)) => end(step, StepStatus::Failed, why, now),
            None => step.status = StepStatus::Running,
        }
    }
    count(operation);
}

fn end(step: &mut Step, status: StepStatus, message: &str, now: Time) {
    step.status = status;
    message.clone_into(&mut step.message);
    step.finished_at = Some(now);
}

fn count(operation: &mut Operation) {
    let counted = |status| {
        let found = operation.steps.iter().filter(|step| step.status == status).count();
        u32::try_from(found).unwrap_or(u32::MAX)
    };
    (operation.done, operation.failed) = (counted(StepStatus::Done), counted(StepStatus::Failed));
}

fn skip(operation: &mut Operation, now: Time) {
    let why = if operation.failed > 0 { "an earlier batch failed" } else { "cancelled" };
    for step in operation.steps.iter_mut().filter(|step| step.status == StepStatus::Waiting) {
        end(step, StepStatus::Skipped, why, now);
    }
}

fn finish(operation: &mut Operation, skipped: bool, now: Time) {
    let total = operation.steps.len();
    let failure = operation.steps.iter().find(|step| step.status == StepStatus::Failed);
    let failure = failure.map(|step| format!("{}: {}", step.target.name, step.message));
    operation.finished_at = Some(now);
    (operation.status, operation.message) = match failure {
        // what was taken back on the way did not fail, whatever its steps had still to reach
        _ if operation.undone_by.is_some() => {
            let done = operation.done;
            (OperationStatus::Cancelled, format!("taken back after {done} of {total} steps"))
        }
        // a deployment that was refused leaves no workload behind
        Some(why) if operation.kind == "deploy" => (OperationStatus::RolledBack, why),
        Some(why) => (OperationStatus::Failed, why),
        None if skipped => {
            let done = operation.done;
            (OperationStatus::Cancelled, format!("cancelled after {done} of {total} steps"))
        }
        None => (OperationStatus::Succeeded, format!("{total} of {total} steps done")),
    };
}

#[cfg(test)]
mod tests;
