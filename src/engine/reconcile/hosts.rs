//! Operations on hosts: what was confirmed is asked of the runtime, step by step, and each step says what came of it. A
//! refusal that may pass (a disruption budget) is asked again for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::progress;
use crate::engine::context::Context;
use crate::engine::documents::{overlay, read};
use crate::engine::fenced::{Fault, Fenced, Pace};
use crate::engine::journal::{Change, Fence};
use crate::engine::operations::{CORDON, EVICT, UNCORDON};
use crate::engine::view::OperationRow;
use crate::model::id::AgentId;
use crate::model::operation::{Operation, Step, StepStatus};
use crate::model::plan::Goal;
use crate::model::schema::Collection;
use crate::ports::runtime::RuntimeError;
use crate::ports::store::{BoxError, Key, StoreError, chain};

const NAME: &str = "hosts";
/// Between two tries of what was refused.
const AGAIN: Duration = Duration::from_secs(2);
const FULL_LOOK: Duration = Duration::from_secs(10);
/// What is still refused after this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of asking.
enum Came {
    Done,
    /// Not now; why.
    Later(String),
    Failed(String),
}

/// # Errors
/// When another leader has begun.
pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    if !ctx.runtime.has_hosts() {
        stop.cancelled().await;
        return Ok(());
    }
    let mut views = ctx.views.subscribe();
    let pen = Fenced::new(ctx.clone(), fence, "loop:hosts");
    let mut rows: Arc<[Arc<OperationRow>]> = Arc::default();
    let mut running: BTreeMap<Key, Operation> = BTreeMap::new();
    let mut pace = Pace::default();
    let mut look_at = ctx.clock.instant();
    while !stop.is_cancelled() {
        let began = ctx.clock.instant();
        let operations = ctx.view().operations.clone();
        let outcome = if began >= look_at || !Arc::ptr_eq(&rows, &operations) {
            rows = operations;
            look_at = began + FULL_LOOK;
            turn(&pen, &mut running).await
        } else {
            Ok(())
        };
        if let Some(pause) = pace.turned(&ctx, NAME, began, outcome)? {
            stop.run_until_cancelled(sleep(pause)).await;
            continue;
        }
        if !running.is_empty() {
            look_at = look_at.min(ctx.clock.instant() + AGAIN);
        }
        let until = look_at.saturating_duration_since(ctx.clock.instant());
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(until) => {}
            changed = views.changed() => if changed.is_err() { break },
        }
    }
    Ok(())
}

async fn turn(pen: &Fenced, running: &mut BTreeMap<Key, Operation>) -> Result<(), Fault> {
    *running = progress::running(&pen.ctx).await?;
    running.retain(|_, operation| {
        operation.steps.iter().any(|it| it.goal == Goal::Asked && it.status == StepStatus::Running)
    });
    for (key, operation) in running.iter() {
        carry_on(pen, key, operation).await?;
    }
    Ok(())
}

/// Asks for every step that is under way; the host is closed before anybody is asked to leave it.
async fn carry_on(pen: &Fenced, key: &Key, operation: &Operation) -> Result<(), Fault> {
    let mut came: Vec<(usize, Came)> = Vec::new();
    for (at, step) in operation.steps.iter().enumerate() {
        if step.goal != Goal::Asked || step.status != StepStatus::Running {
            continue;
        }
        let result = ask(&pen.ctx, operation, step).await;
        let closed = matches!(result, Came::Done);
        came.push((at, result));
        if step.action == CORDON && !closed {
            break;
        }
    }
    let document = match pen.ctx.store.get(Collection::Operations, key).await {
        Ok(document) => document,
        Err(StoreError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let before: Operation = read(&document)?;
    let (mut after, now) = (before.clone(), pen.ctx.clock.now());
    for (at, came) in came {
        let Some(step) = after.steps.get_mut(at) else { continue };
        if step.status != StepStatus::Running {
            continue;
        }
        let late = step.began_at.is_none_or(|began| now.since(began) >= PATIENCE);
        match came {
            Came::Done => (step.status, step.message) = (StepStatus::Done, String::new()),
            Came::Failed(why) => (step.status, step.message) = (StepStatus::Failed, why),
            Came::Later(why) if late => (step.status, step.message) = (StepStatus::Failed, why),
            Came::Later(why) => step.message = why,
        }
        if step.status != StepStatus::Running {
            step.finished_at = Some(now);
        }
    }
    if after == before {
        return Ok(());
    }
    let change = Change {
        collection: Collection::Operations,
        key: key.clone(),
        after: Some(overlay(&document.body, &before, &after)),
        before: Some(document),
        kind: "op.progress",
        subject: after.title.clone(),
        evidence: Value::Null,
    };
    // who was faster is met again: asking twice does no more than asking once
    pen.commit_each("", vec![change]).await?;
    Ok(())
}

async fn ask(ctx: &Context, operation: &Operation, step: &Step) -> Came {
    let host = operation.command.get("host").and_then(Value::as_str).unwrap_or_default();
    let asked = match step.action.as_str() {
        CORDON => ctx.runtime.cordon(host, true).await,
        UNCORDON => ctx.runtime.cordon(host, false).await,
        EVICT => match AgentId::new(&step.target.id) {
            Ok(agent) => ctx.runtime.evict(&agent, host, false).await,
            Err(error) => return Came::Failed(error.to_string()),
        },
        other => return Came::Failed(format!("{other:?} is nothing that can be asked of a host")),
    };
    match asked {
        Ok(()) | Err(RuntimeError::Gone { .. }) => Came::Done,
        Err(RuntimeError::Rejected { message }) if step.action == EVICT => Came::Later(message),
        Err(RuntimeError::Rejected { message } | RuntimeError::Forbidden { message }) => {
            Came::Failed(message)
        }
        Err(error) => Came::Later(chain(&error)),
    }
}
