//! Who may do what. Every command passes here before it is planned and again before it is carried out; what was refused
//! and what was carried out is kept in `audit_log`.

use serde_json::{Value, json};

use crate::engine::context::Context;
use crate::engine::handle::CommandError;
use crate::model::access::{Actor, Right};
use crate::model::id::OperationId;
use crate::model::operation::Operation;
use crate::model::plan::{Command, Noun, Plan};
use crate::model::schema::Collection;
use crate::ports::store::{Document, Durability, Key, StoreError, Write, chain};

/// What it takes to give this command (`mission.md` §6). An undo takes what the undone command took.
pub fn right(command: &Command) -> Right {
    match command {
        Command::Apply { manifests } => {
            // a pool's manifest sets its size and its policies
            let manages = manifests.iter().any(|manifest| manifest.noun == Noun::Pool);
            if manages { Right::Manage } else { Right::Operate }
        }
        Command::Edit { noun: Noun::Pool, .. } => Right::Manage,
        Command::Edit { .. }
        | Command::Deploy { .. }
        | Command::Restart { .. }
        | Command::Pause { .. }
        | Command::Resume { .. }
        | Command::Drain { .. }
        | Command::Stop { .. }
        | Command::Start { .. }
        | Command::CloneTemplate { .. }
        | Command::SetTemplate { .. }
        | Command::Rollback { .. }
        | Command::Send { .. }
        | Command::Publish { .. }
        | Command::Subscribe { .. }
        | Command::Unsubscribe { .. }
        | Command::Undo { .. } => Right::Operate,
        Command::Cordon { .. }
        | Command::DrainHost { .. }
        | Command::Adopt { .. }
        | Command::Scale { .. }
        | Command::ScalePools { .. }
        | Command::Delete { .. }
        | Command::Requeue { .. }
        | Command::Replay { .. }
        | Command::Purge { .. } => Right::Manage,
        // it reaches into every tenant
        Command::Migrate => Right::Administer,
    }
}

/// # Errors
/// `Denied`, which has been written to the audit log; `Store` when the operation to undo cannot be read.
pub(crate) async fn permit(
    ctx: &Context,
    actor: &Actor,
    command: &Command,
) -> Result<(), CommandError> {
    if let Command::Undo { operation } = command
        && let Ok(key) = Key::new(operation)
    {
        return match ctx.store.get(Collection::Operations, &key).await {
            Ok(document) => {
                let undone = crate::engine::documents::read(&document)?;
                permit_undoing(ctx, actor, "undo", &undone).await
            }
            // that there is no such operation is for the plan to say
            Err(StoreError::NotFound { .. }) => allow(ctx, actor, "undo", Right::Operate).await,
            Err(error) => Err(error.into()),
        };
    }
    allow(ctx, actor, command.verb(), right(command)).await
}

/// Whether the actor may take back or stop what this operation does.
///
/// # Errors
/// `Denied`, which has been written to the audit log.
pub(crate) async fn permit_undoing(
    ctx: &Context,
    actor: &Actor,
    verb: &str,
    operation: &Operation,
) -> Result<(), CommandError> {
    let needed = serde_json::from_value::<Command>(operation.command.clone())
        .map_or(Right::Manage, |command| right(&command));
    allow(ctx, actor, verb, needed).await
}

/// Whether the actor may see what belongs to every tenant.
///
/// # Errors
/// `Denied` for whoever belongs to one.
pub(crate) fn beyond_tenants(actor: &Actor, verb: &str) -> Result<(), CommandError> {
    match &actor.tenant {
        None => Ok(()),
        Some(_) => Err(CommandError::Denied {
            who: actor.name.clone(),
            role: actor.role.to_string(),
            verb: verb.to_owned(),
            why: "it holds what belongs to every tenant".to_owned(),
        }),
    }
}

/// Whether the actor has the right.
///
/// # Errors
/// `Denied`, which has been written to the audit log.
pub(crate) async fn allow(
    ctx: &Context,
    actor: &Actor,
    verb: &str,
    needed: Right,
) -> Result<(), CommandError> {
    if actor.role.may(needed) {
        return Ok(());
    }
    let why = format!("it takes the right to {needed}");
    let entry = entry(ctx, actor, verb, json!({ "allowed": false, "why": why }));
    let written = match entry {
        Ok(write) => ctx.store.transact(vec![write], Durability::Durable).await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        // the refusal stands all the same
        tracing::error!(error = chain(&error), "a refusal could not be written to the audit log");
    }
    Err(CommandError::Denied {
        who: actor.name.clone(),
        role: actor.role.to_string(),
        verb: verb.to_owned(),
        why,
    })
}

/// The audit log's entry for a command that is carried out, for the transaction that does it.
pub(crate) fn accepted(
    ctx: &Context,
    actor: &Actor,
    plan: &Plan,
    operation: &OperationId,
) -> Result<Write, StoreError> {
    let targets: Vec<&str> =
        plan.steps.iter().take(20).map(|step| step.target.name.as_str()).collect();
    let what = json!({
        "allowed": true, "title": plan.title, "targets": targets, "steps": plan.steps.len(),
        "tier": plan.tier, "fingerprint": plan.fingerprint, "operation_id": operation,
    });
    entry(ctx, actor, plan.command.verb(), what)
}

/// Writes down something that is done at once and leaves no operation, before it is done.
///
/// # Errors
/// Those of the store: what cannot be written down is not done.
pub(crate) async fn noted(
    ctx: &Context,
    actor: &Actor,
    action: &str,
    target: &Document,
    words: &[String],
) -> Result<(), StoreError> {
    let words: Vec<String> =
        words.iter().take(64).map(|it| it.chars().take(256).collect()).collect();
    let what = json!({
        "allowed": true, "targets": [target.key.as_str()], "command": words,
    });
    let entry = entry(ctx, actor, action, what)?;
    ctx.store.transact(vec![entry], Durability::Durable).await.map(drop)
}

fn entry(ctx: &Context, actor: &Actor, action: &str, what: Value) -> Result<Write, StoreError> {
    let mut body = json!({
        "at": ctx.clock.now(), "actor": actor.name, "role": actor.role, "tenant": actor.tenant,
        "action": action,
    });
    if let (Some(body), Value::Object(what)) = (body.as_object_mut(), what) {
        body.extend(what);
    }
    let key = Key::new(&format!("audit-{}", ctx.ids.draw().simple()))?;
    let body = body.as_object().cloned().unwrap_or_default();
    Ok(Write::Insert { collection: Collection::AuditLog, key, body })
}
