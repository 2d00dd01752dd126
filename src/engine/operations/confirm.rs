//! Carries plans out: planned again, compared, permitted, and written with the operation in one transaction.

use serde_json::Value;

use super::draft::Draft;
use super::planner::Planner;
use super::resolve::refused;
use crate::engine::authorize;
use crate::engine::context::Context;
use crate::engine::documents::{body, overlay, read};
use crate::engine::handle::{CommandError, Consent};
use crate::engine::journal::{Cause, Change};
use crate::model::access::Actor;
use crate::model::id::OperationId;
use crate::model::operation::{Operation, OperationStatus};
use crate::model::plan::{Command, Goal, Plan, Tier};
use crate::model::schema::Collection;
use crate::model::template::FieldError;
use crate::ports::store::{Document, Key, StoreError};

/// How often a plan is made anew when somebody else writes the same documents without changing what it relies on.
const TRIES: u32 = 8;

/// The plan of `command` as things are now.
pub(crate) async fn plan(
    ctx: &Context,
    actor: &Actor,
    command: Command,
) -> Result<Plan, CommandError> {
    authorize::permit(ctx, actor, &command).await?;
    let draft = drafted(ctx, actor, &command, None).await?;
    Ok(draft.plan(command))
}

/// What `command` comes to, and what of it the settings ask for.
async fn drafted(
    ctx: &Context,
    actor: &Actor,
    command: &Command,
    prefer: Option<&Plan>,
) -> Result<Draft, CommandError> {
    let mut draft = Planner::new(ctx, actor, prefer).draft(command).await?;
    if ctx.settings.protected {
        draft.protect(command.verb());
    }
    Ok(draft)
}

/// A reason is a sentence for the journal, not a document.
const LONGEST_REASON: usize = 1_000;

/// Writes the operation of `plan`, if planning again gives the same plan and the consent is enough for it.
pub(crate) async fn confirm(
    ctx: &Context,
    actor: &Actor,
    plan: &Plan,
    consent: &Consent,
) -> Result<OperationId, CommandError> {
    authorize::permit(ctx, actor, &plan.command).await?;
    if ctx.view().stale_since.is_some() {
        return Err(CommandError::Stale);
    }
    if consent.reason.chars().count() > LONGEST_REASON {
        let what = format!("expected at most {LONGEST_REASON} characters");
        return Err(CommandError::Invalid { errors: vec![FieldError::new("/reason", what)] });
    }
    let id = OperationId::mint(ctx.ids.draw());
    let mut last = None;
    for _ in 0..TRIES {
        let draft = drafted(ctx, actor, &plan.command, Some(plan)).await?;
        let fresh = draft.plan(plan.command.clone());
        if fresh.fingerprint != plan.fingerprint {
            return Err(CommandError::PlanChanged { plan: Box::new(fresh) });
        }
        agreed(&fresh, consent)?;
        match write(ctx, actor, &fresh, draft, consent, &id).await {
            Ok(()) => {
                ctx.wanted.notify_one();
                ctx.sent.notify_waiters();
                return Ok(id);
            }
            // whether it was written shows in whether the operation is there
            Err(error @ StoreError::OutcomeUnknown(_)) => {
                return match ctx.store.get(Collection::Operations, &Key::new(id.as_str())?).await {
                    Ok(_) => Ok(id),
                    Err(_) => Err(error.into()),
                };
            }
            Err(
                error @ (StoreError::Conflict { .. }
                | StoreError::Exists { .. }
                | StoreError::NotFound { .. }),
            ) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.map_or_else(|| refused("it kept changing: look again"), CommandError::Store))
}

/// Whether what was typed is enough for the plan's tier.
fn agreed(plan: &Plan, consent: &Consent) -> Result<(), CommandError> {
    match plan.tier {
        Tier::Zero | Tier::One | Tier::Two => Ok(()),
        Tier::Three => match &plan.confirm_word {
            Some(word) if consent.typed.as_deref().map(str::trim) == Some(word) => Ok(()),
            Some(word) => Err(CommandError::NotConfirmed { word: word.clone() }),
            None => Ok(()),
        },
        Tier::Four => Err(refused(format!("{} is not allowed here", plan.title))),
    }
}

async fn write(
    ctx: &Context,
    actor: &Actor,
    plan: &Plan,
    draft: Draft,
    consent: &Consent,
    id: &OperationId,
) -> Result<(), StoreError> {
    let now = ctx.clock.now();
    let steps = draft.begin(now);
    let done = steps.iter().filter(|step| step.batch == 0 && step.goal == Goal::Written).count();
    let over = done == steps.len();
    let operation = Operation {
        kind: plan.command.verb().to_owned(),
        title: plan.title.clone(),
        command: serde_json::to_value(&plan.command).unwrap_or_default(),
        tier: plan.tier,
        fingerprint: plan.fingerprint.clone(),
        status: if over { OperationStatus::Succeeded } else { OperationStatus::Running },
        actor: actor.name.clone(),
        reason: consent.reason.clone(),
        target: steps.first().map(|step| step.target.id.clone()).unwrap_or_default(),
        done: u32::try_from(done).unwrap_or(u32::MAX),
        failed: 0,
        message: if steps.is_empty() { "there was nothing to do".into() } else { String::new() },
        undo: draft.undo,
        undone_by: None,
        cancel_requested: false,
        created_at: now,
        finished_at: over.then_some(now),
        extra: actor.tenant.iter().map(|own| ("tenant".to_owned(), own.as_str().into())).collect(),
        steps,
    };
    let cause = Cause {
        actor: actor.name.clone(),
        operation: Some(id.to_string()),
        reason: consent.reason.clone(),
        fence: None,
    };
    let mut changes = vec![Change {
        collection: Collection::Operations,
        key: Key::new(id.as_str())?,
        before: None,
        after: Some(body(&operation)?),
        kind: if over { "op.succeeded" } else { "op.confirmed" },
        subject: plan.title.clone(),
        evidence: Value::Null,
    }];
    if let Command::Undo { operation } = &plan.command {
        changes.push(undone(ctx, operation, id).await?);
    }
    changes.extend(draft.changes);
    let mut extra = draft.extra;
    extra.push(authorize::accepted(ctx, actor, plan, id)?);
    ctx.journal.commit(&cause, &changes, &extra).await?;
    Ok(())
}

/// Marks the operation that is undone; what it still had to do is called off.
async fn undone(ctx: &Context, operation: &str, by: &OperationId) -> Result<Change, StoreError> {
    let document = ctx.store.get(Collection::Operations, &Key::new(operation)?).await?;
    change(document, "op.undone", |operation| {
        operation.undone_by = Some(by.to_string());
        operation.cancel_requested |= !operation.status.is_over();
    })
}

fn change(
    document: Document,
    kind: &'static str,
    how: impl FnOnce(&mut Operation),
) -> Result<Change, StoreError> {
    let before: Operation = read(&document)?;
    let mut after = before.clone();
    how(&mut after);
    Ok(Change {
        collection: Collection::Operations,
        key: document.key.clone(),
        after: Some(overlay(&document.body, &before, &after)),
        before: Some(document),
        kind,
        subject: before.title,
        evidence: Value::Null,
    })
}

/// Asks a running operation to stop after its current batch.
pub(crate) async fn cancel(
    ctx: &Context,
    actor: &Actor,
    id: &OperationId,
) -> Result<(), CommandError> {
    for _ in 0..TRIES {
        let planner = Planner::new(ctx, actor, None);
        let document =
            planner.resolver.document(crate::model::plan::Noun::Operation, id.as_str()).await?;
        let operation: Operation = read(&document)?;
        authorize::permit_undoing(ctx, actor, "cancel", &operation).await?;
        if operation.status.is_over() {
            let (title, status) = (&operation.title, operation.status);
            return Err(refused(format!("{title:?} is over already: {status}")));
        }
        if operation.cancel_requested {
            return Ok(());
        }
        let asked = change(document, "op.cancel_requested", |it| it.cancel_requested = true)?;
        let cause = Cause {
            operation: Some(id.to_string()),
            ..Cause::new(actor.name.clone(), "cancelled by its operator")
        };
        match ctx.journal.commit(&cause, &[asked], &[]).await {
            Ok(_) => {
                ctx.wanted.notify_one();
                return Ok(());
            }
            Err(StoreError::Conflict { .. }) => {} // its progress was written in between
            Err(error) => return Err(error.into()),
        }
    }
    Err(refused("the operation kept changing: try again"))
}
