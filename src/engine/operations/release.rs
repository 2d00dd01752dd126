//! Releases one batch of an operation: what its steps want of their agents, as changes for the journal. The first batch is
//! written when the operation is confirmed; the leader releases each one after that.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::engine::context::Context;
use crate::engine::journal::Change;
use crate::model::agent::intent::{Intent, restore, wanted_back};
use crate::model::agent::{Agent, Desired, Phase};
use crate::model::filter::Filter;
use crate::model::operation::{Operation, Step};
use crate::model::plan::{Command, Goal, Noun};
use crate::model::pool::Pool;
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{Document, Key, StoreError};

use super::scale::HOLD;
use crate::engine::documents::{overlay, read};

/// The action of a step that wants of an agent what was wanted before.
pub(super) const RESTORE: &str = "restore";
/// The action of a step that sets a pool's wanted number.
pub(super) const SCALE: &str = "scale";

/// What releasing a batch comes to.
#[derive(Debug, Default)]
pub struct Released {
    /// To be committed under the operation's id, with the operation's own change.
    pub changes: Vec<Change>,
    /// Steps (by their place in `operation.steps`) that have no meaning any more, and why: they have failed.
    pub refused: Vec<(usize, String)>,
}

/// What the steps of `batch` want of their agents as these are now, and the next number of a pool that is scaled. Steps
/// about anything else have been written with the operation itself, so a batch of those releases nothing.
///
/// # Errors
/// Those of [`crate::ports::store::Store::get_many`].
pub async fn release(
    ctx: &Context,
    operation: &Operation,
    batch: u32,
) -> Result<Released, StoreError> {
    let steps: Vec<(usize, &Step, Key)> = operation
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.batch == batch && step.target.noun == Noun::Agent)
        .map(|(at, step)| Ok((at, step, Key::new(&step.target.id)?)))
        .collect::<Result<_, StoreError>>()?;
    let mut found: BTreeMap<Key, Document> = BTreeMap::new();
    let keys: Vec<Key> = steps.iter().map(|(_, _, key)| key.clone()).collect();
    for keys in keys.chunks(1_000) {
        let documents = ctx.store.get_many(Collection::Agents, keys).await?;
        found.extend(documents.into_iter().map(|document| (document.key.clone(), document)));
    }
    let deadline = match serde_json::from_value(operation.command.clone()) {
        Ok(Command::Drain { deadline, .. }) => deadline,
        _ => None,
    };
    let now = ctx.clock.now();
    let mut released = Released::default();
    match scaled_on(ctx, operation, batch, now).await? {
        Ok(changes) => released.changes = changes,
        // the agents of this batch go with their pool's number, or not at all
        Err(why) => {
            let all = operation.steps.iter().enumerate().filter(|(_, step)| step.batch == batch);
            released.refused = all.map(|(at, _)| (at, why.clone())).collect();
            return Ok(released);
        }
    }
    let mut names = HashSet::new();
    for (at, step, key) in steps {
        let Some(document) = found.remove(&key) else {
            released.refused.push((at, "it is gone".to_owned()));
            continue;
        };
        let change = match step.action.parse::<Intent>() {
            Ok(intent) => intend(&document, intent, deadline, now),
            Err(_) if step.action == RESTORE => take_back(ctx, &document, &step.goal, now).await?,
            Err(_) => continue, // written with the operation itself
        };
        match change {
            // two that had one name cannot both have it back, and one transaction with both would never be taken
            Ok(Some(change)) if step.action == RESTORE && !names.insert(name_of(&change)) => {
                released.refused.push((at, "another that comes back has its name".to_owned()));
            }
            Ok(Some(change)) => released.changes.push(change),
            Ok(None) => {}
            Err(why) => released.refused.push((at, why)),
        }
    }
    Ok(released)
}

/// The tenant and the name that an agent will have.
fn name_of(change: &Change) -> (Option<Value>, Option<Value>) {
    let field = |name| change.after.as_ref().and_then(|body| body.get(name)).cloned();
    (field("tenant"), field("live_name"))
}

/// The next numbers of the pools that this operation scales batch by batch, or why one has none: somebody wants another
/// number by now.
async fn scaled_on(
    ctx: &Context,
    operation: &Operation,
    batch: u32,
    now: Time,
) -> Result<Result<Vec<Change>, String>, StoreError> {
    let mut changes = Vec::new();
    let scales = |step: &&Step| step.action == SCALE && step.target.noun == Noun::Pool;
    for step in operation.steps.iter().filter(scales).filter(|step| step.batch == batch) {
        let Goal::PoolReady { ready } = step.goal else { continue };
        let earlier = operation.steps.iter().filter(scales).filter(|it| it.target == step.target);
        let was = earlier.filter(|it| it.batch < batch).max_by_key(|it| it.batch);
        let Some(Goal::PoolReady { ready: was }) = was.map(|it| &it.goal) else { continue };
        let key = Key::new(&step.target.id)?;
        let document = match ctx.store.get(Collection::AgentPools, &key).await {
            Ok(document) => document,
            Err(StoreError::NotFound { .. }) => return Ok(Err("it is gone".to_owned())),
            Err(error) => return Err(error),
        };
        let before: Pool = match read(&document) {
            Ok(pool) => pool,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if before.deleting || before.purge_at.is_some() {
            return Ok(Err("it was deleted meanwhile".to_owned()));
        }
        if before.desired != *was {
            return Ok(Err(format!("overtaken: {} agents are wanted now", before.desired)));
        }
        let mut after = before.clone();
        after.desired = ready;
        after.generation += 1;
        after.updated_at = now;
        if holds(operation) {
            after.scaling.hold_until = Some(now.plus(HOLD));
        }
        changes.push(Change {
            collection: Collection::AgentPools,
            key,
            after: Some(overlay(&document.body, &before, &after)),
            before: Some(document),
            kind: "pool.scaled",
            subject: before.name,
            evidence: Value::Null,
        });
    }
    Ok(Ok(changes))
}

/// Whether the autoscaler is to leave the pools alone for a while after each batch.
fn holds(operation: &Operation) -> bool {
    match serde_json::from_value(operation.command.clone()) {
        Ok(Command::Scale { hold, .. } | Command::ScalePools { hold, .. }) => hold,
        Ok(_) | Err(_) => false,
    }
}

/// The number that this operation has left each of its pools with, as far as it has come.
pub(super) fn left_at(operation: &Operation) -> BTreeMap<String, u32> {
    let mut left = BTreeMap::new();
    if let Ok(Command::Scale { to, .. }) = serde_json::from_value(operation.command.clone()) {
        left.insert(operation.target.clone(), to);
    }
    let scales = |step: &&Step| step.action == SCALE && step.target.noun == Noun::Pool;
    let begun = operation.steps.iter().filter(scales).filter(|step| step.began_at.is_some());
    for step in begun {
        if let Goal::PoolReady { ready } = step.goal {
            left.insert(step.target.id.clone(), ready); // batches are in order
        }
    }
    left
}

/// One agent's change for `intent`; `None` when it is already wished for.
fn intend(
    document: &Document,
    intent: Intent,
    deadline: Option<std::time::Duration>,
    now: Time,
) -> Result<Option<Change>, String> {
    let before: Agent = read(document).map_err(|error| error.to_string())?;
    let after = match intent.apply(&before, deadline, now) {
        Ok(Some(after)) => after,
        Ok(None) => return Ok(None),
        Err(refusal) => return Err(refusal.to_string()),
    };
    Ok(Some(wished(document, intent, &before, after)))
}

/// The change that a wish makes of an agent's document.
pub(super) fn wished(document: &Document, intent: Intent, before: &Agent, after: Agent) -> Change {
    Change {
        collection: Collection::Agents,
        key: document.key.clone(),
        after: Some(overlay(&document.body, before, &after)),
        before: Some(document.clone()),
        kind: kind(intent),
        subject: after.name,
        evidence: Value::Null,
    }
}

/// The change that takes a wish back.
pub(super) fn restored(document: &Document, before: &Agent, after: Agent) -> Change {
    let kind = match before.desired {
        Desired::Deleted => "agent.restored",
        Desired::Running | Desired::Paused | Desired::Stopped => "agent.wanted_back",
    };
    Change {
        collection: Collection::Agents,
        key: document.key.clone(),
        after: Some(overlay(&document.body, before, &after)),
        before: Some(document.clone()),
        kind,
        subject: after.name,
        evidence: Value::Null,
    }
}

/// Wants of an agent what its step's goal says, unless its name is another's by now.
async fn take_back(
    ctx: &Context,
    document: &Document,
    goal: &Goal,
    now: Time,
) -> Result<Result<Option<Change>, String>, StoreError> {
    let to = match goal {
        Goal::Agent { phase: Phase::Running, .. } => Desired::Running,
        Goal::Agent { phase: Phase::Paused, .. } => Desired::Paused,
        Goal::Agent { phase: Phase::Stopped, .. } => Desired::Stopped,
        other => return Ok(Err(format!("{other:?} cannot be restored"))),
    };
    let before: Agent = match read(document) {
        Ok(agent) => agent,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if before.desired == to {
        return Ok(Ok(None));
    }
    if before.desired != Desired::Deleted {
        return Ok(Ok(Some(restored(document, &before, wanted_back(&before, to, now)))));
    }
    if before.phase == Phase::Deleted {
        let taken = Filter::And(vec![
            Filter::eq("tenant", before.tenant.as_str()),
            Filter::eq("live_name", before.name.as_str()),
        ]);
        if ctx.store.count(Collection::Agents, taken).await? > 0 {
            return Ok(Err(format!("the name {} is taken by now", before.name)));
        }
    }
    Ok(match restore(&before, to, now) {
        Ok(after) => Ok(Some(restored(document, &before, after))),
        Err(refusal) => Err(refusal.to_string()),
    })
}

/// The type of the event that a wish leaves in the journal.
fn kind(intent: Intent) -> &'static str {
    match intent {
        Intent::Start => "agent.start_requested",
        Intent::Pause => "agent.pause_requested",
        Intent::Resume => "agent.resume_requested",
        Intent::Drain => "agent.drain_requested",
        Intent::Stop => "agent.stop_requested",
        Intent::Restart => "agent.restart_requested",
        Intent::Delete => "agent.delete_requested",
    }
}
