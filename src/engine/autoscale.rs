//! Autoscaling: for each pool that the engine scales, gathers what is true of it, asks the model's algorithm, and carries the
//! answer out as an operation of its own, with everything that led to it. Missing data never shrinks a pool.

mod forecast;
mod gather;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::documents::{body, overlay, read};
use crate::engine::fenced::{Fault, Fenced, Pace};
use crate::engine::journal::{Change, Fence};
use crate::engine::view::{FleetView, PoolRow};
use crate::model::id::{OperationId, PoolId};
use crate::model::operation::{Operation, OperationStatus, Step, StepStatus, UndoInfo};
use crate::model::plan::{Command, Goal, Noun, TargetRef, Tier};
use crate::model::pool::Pool;
use crate::model::scaling::{Decision, History, Metric, Mode, ReasonCode, decide};
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{BoxError, Document, Key, StoreError, chain};

pub use forecast::{Forecast, forecast};

const NAME: &str = "autoscale";
const ACTOR: &str = "loop:autoscale";
/// A queue that outgrows its pool is answered before the next round, but no more often than this.
const EAGER_EVERY: Duration = Duration::from_secs(1);
/// A queue this much over its target is worth an early look (the algorithm's own tolerance).
const OUTGROWN: f64 = 1.1;
/// Where a pool's status keeps what the autoscaler did lately, for the next leader.
const CHANGES: &str = "scaling_changes";
const TRIES: usize = 3;

struct Scaler {
    pen: Fenced,
    histories: BTreeMap<PoolId, History>,
    next_round: Instant,
    eager_after: Instant,
    /// When to look at the pools again if no view comes.
    next_look: Instant,
}

pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let mut views = ctx.views.subscribe();
    let mut scaler = Scaler {
        histories: BTreeMap::new(),
        next_round: ctx.clock.instant(),
        eager_after: ctx.clock.instant(),
        next_look: ctx.clock.instant(),
        pen: Fenced::new(ctx.clone(), fence, ACTOR),
    };
    let mut pace = Pace::default();
    while !stop.is_cancelled() {
        let began = ctx.clock.instant();
        if let Some(pools) = scaler.due(&ctx.view(), began) {
            let outcome = scaler.round(&pools).await;
            if let Some(pause) = pace.turned(&ctx, NAME, began, outcome)? {
                stop.run_until_cancelled(sleep(pause)).await;
                continue;
            }
        }
        let until = scaler.next_look.saturating_duration_since(ctx.clock.instant());
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(until) => {}
            changed = views.changed() => if changed.is_err() { break },
        }
    }
    Ok(())
}

impl Scaler {
    /// The pools to look at now, if it is time for any.
    fn due(&mut self, view: &FleetView, now: Instant) -> Option<Vec<PoolId>> {
        if !view.loaded || view.stale_since.is_some() {
            self.next_look = now + EAGER_EVERY;
            return None;
        }
        let scaled = view.pools.iter().filter(|row| is_ours(row));
        self.next_look = self.next_round;
        if now >= self.next_round {
            let interval = self.pen.ctx.settings.autoscale_interval;
            // spread by a tenth, so that many engines do not ask their stores at the same moment
            self.next_round = now + interval.mul_f64(rand::random_range(0.95..1.05));
            self.next_look = now + EAGER_EVERY; // one that has outgrown its pool by then is met again
            self.eager_after = self.next_look;
            return Some(scaled.map(|row| row.id.clone()).collect());
        }
        let outgrown: Vec<PoolId> =
            scaled.filter(|row| has_outgrown(row)).map(|row| row.id.clone()).collect();
        if outgrown.is_empty() {
            return None;
        }
        if now < self.eager_after {
            self.next_look = self.eager_after;
            return None;
        }
        self.eager_after = now + EAGER_EVERY;
        self.next_look = self.eager_after;
        Some(outgrown)
    }

    async fn round(&mut self, pools: &[PoolId]) -> Result<(), Fault> {
        for pool in pools {
            for _ in 0..TRIES {
                match self.judge(pool).await {
                    // the pool changed meanwhile: judged again as it is now
                    Err(Fault::Store(StoreError::Conflict { .. })) => {}
                    other => {
                        other?;
                        break;
                    }
                }
            }
        }
        let view = self.pen.ctx.view();
        self.histories.retain(|pool, _| view.pool(pool).is_some());
        Ok(())
    }

    async fn judge(&mut self, id: &PoolId) -> Result<(), Fault> {
        let ctx = self.pen.ctx.clone();
        let document = match ctx.store.get(Collection::AgentPools, &Key::new(id.as_str())?).await {
            Ok(document) => document,
            Err(StoreError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let pool: Pool = match read(&document) {
            Ok(pool) => pool,
            Err(error) => {
                tracing::warn!(pool = %id, error = chain(&error), "a pool is skipped");
                return Ok(());
            }
        };
        if pool.scaling.mode != Mode::Engine || is_excused(&pool) {
            return Ok(());
        }
        let inputs = gather::inputs(&ctx, id, &pool).await?;
        let history = self.histories.entry(id.clone()).or_insert_with(|| remembered(&pool));
        let mut decision = decide(&pool.scaling, &inputs, history);
        if let Some(why) = ctx.brake.borrow().as_ref()
            && decision.target < decision.current
        {
            decision.target = decision.current;
            decision.reason = ReasonCode::Braked;
            decision.limits.push(ReasonCode::Braked);
            decision.why.push(format!("{} → keep {}", why.as_str(), decision.current));
        }
        let mut after = history.clone();
        after.record(&decision);
        if decision.changes() {
            self.scale(id, &document, &pool, &decision, &after).await?;
        } else if said(&pool) != Some(decision.reason.into()) {
            self.hold(&document, &pool, &decision, &after).await?;
        }
        self.histories.insert(id.clone(), after);
        Ok(())
    }

    /// Sets the wanted number, with an operation that shows it among all others.
    async fn scale(
        &self,
        id: &PoolId,
        document: &Document,
        pool: &Pool,
        decision: &Decision,
        history: &History,
    ) -> Result<(), Fault> {
        let now = self.pen.ctx.clock.now();
        let mut after = noted(pool, decision, history);
        after.desired = decision.target;
        after.generation += 1;
        after.updated_at = now;
        let operation_id = OperationId::mint(self.pen.ctx.ids.draw());
        let operation = operation(id, pool, decision, now);
        let title = operation.title.clone();
        let changes = vec![
            Change {
                collection: Collection::Operations,
                key: Key::new(operation_id.as_str())?,
                before: None,
                after: Some(body(&operation)?),
                kind: "op.succeeded",
                subject: title.clone(),
                evidence: Value::Null,
            },
            change(document, pool, &after, "pool.scaled", decision),
        ];
        let reason = summary(decision);
        self.pen.commit(&reason, Some(operation_id.as_str()), &changes, &[]).await?;
        tracing::info!(pool = %id, from = decision.current, to = decision.target, reason, "pool scaled");
        Ok(())
    }

    /// Notes why nothing is done, once for each reason.
    async fn hold(
        &self,
        document: &Document,
        pool: &Pool,
        decision: &Decision,
        history: &History,
    ) -> Result<(), Fault> {
        let after = noted(pool, decision, history);
        let change = change(document, pool, &after, "pool.scale.held", decision);
        self.pen.commit(&summary(decision), None, &[change], &[]).await?;
        Ok(())
    }
}

/// Whether the engine scales this pool, and may.
fn is_ours(row: &PoolRow) -> bool {
    row.scaling.mode == Mode::Engine
        && !row.deleting
        && !row.paused
        && !row.halted
        && row.purge_at.is_none()
}

/// Whether the autoscaler keeps its hands off for now.
fn is_excused(pool: &Pool) -> bool {
    pool.deleting || pool.paused || pool.status.halted || pool.purge_at.is_some()
}

/// Whether more waits than the pool's agents are meant to have, so that the next round may be too late.
fn has_outgrown(row: &PoolRow) -> bool {
    let target = row.scaling.metrics.iter().find_map(|metric| match metric {
        Metric::QueuePerAgent { target, .. } => Some(*target),
        Metric::Cpu { .. } | Metric::BacklogDrain { .. } | Metric::Custom { .. } => None,
    });
    row.desired < row.max
        && target.is_some_and(|target| {
            row.queue.pending as f64 > target * f64::from(row.desired) * OUTGROWN
        })
}

/// The reason of the last decision that was written down.
fn said(pool: &Pool) -> Option<&str> {
    pool.status.last_decision.get("reason")?.as_str()
}

/// What an earlier leader's autoscaler left in the pool. How long nothing has waited is not in it: that wait begins anew.
fn remembered(pool: &Pool) -> History {
    let changes = pool.status.extra.get(CHANGES).cloned().unwrap_or_default();
    History { changes: serde_json::from_value(changes).unwrap_or_default(), ..History::default() }
}

/// The pool with the decision noted in its status.
fn noted(pool: &Pool, decision: &Decision, history: &History) -> Pool {
    let mut after = pool.clone();
    let mut last = serde_json::to_value(decision).unwrap_or_default();
    if let Value::Object(fields) = &mut last {
        fields.insert("summary".to_owned(), summary(decision).into());
    }
    after.status.last_decision = last;
    after.status.extra.insert(CHANGES.to_owned(), json!(history.changes));
    after
}

/// The decision in one line: `2 → 4: queue 30/10 per agent → 3; …`. One that changes nothing is written once and then stands
/// for as long as the same holds it back, so that it names that and no figures.
fn summary(decision: &Decision) -> String {
    let why = decision.why.join("; ");
    match decision.changes() {
        true if why.is_empty() => {
            format!("{} → {}: {}", decision.current, decision.target, decision.reason)
        }
        true => format!("{} → {}: {why}", decision.current, decision.target),
        false => format!("keep {}: {}", decision.current, held_by(decision)),
    }
}

/// Why nothing changes.
fn held_by(decision: &Decision) -> String {
    match decision.reason {
        ReasonCode::Disabled => "no autoscaling".into(),
        ReasonCode::Held => "scaled by hand a while ago".into(),
        ReasonCode::Braked => "fewer would do, but the brake holds".into(),
        ReasonCode::NoMetrics => "no metric is given".into(),
        ReasonCode::MetricsUnavailable => "no metric can be judged".into(),
        ReasonCode::SomeMetricsUnavailable => {
            "fewer would do, but not every metric can be judged".into()
        }
        ReasonCode::TooManyReplicas => format!("more are wished, {} is the most", decision.max),
        ReasonCode::TooFewReplicas => format!("fewer would do, {} is the least", decision.min),
        ReasonCode::ScaleUpStabilized => "more only if the wish lasts".into(),
        ReasonCode::ScaleDownStabilized => "fewer only if the calm lasts".into(),
        ReasonCode::ScaleUpLimit | ReasonCode::ScaleDownLimit => {
            "it changed as much as its policies allow for now".into()
        }
        ReasonCode::Activated | ReasonCode::Deactivated | ReasonCode::DesiredWithinRange => {
            "as many as its metrics ask for".into()
        }
    }
}

fn change(
    document: &Document,
    before: &Pool,
    after: &Pool,
    kind: &'static str,
    decision: &Decision,
) -> Change {
    Change {
        collection: Collection::AgentPools,
        key: document.key.clone(),
        before: Some(document.clone()),
        after: Some(overlay(&document.body, before, after)),
        kind,
        subject: before.name.clone(),
        evidence: serde_json::to_value(decision).unwrap_or_default(),
    }
}

/// The wish is set with the transaction, so the operation is over with it; the pool's status shows how far it has come.
fn operation(id: &PoolId, pool: &Pool, decision: &Decision, now: Time) -> Operation {
    let scale = |to| Command::Scale { pool: id.to_string(), to, hold: true };
    let command = Command::Scale { pool: id.to_string(), to: decision.target, hold: false };
    let back = serde_json::to_value(scale(decision.current)).unwrap_or_default();
    Operation {
        kind: "scale".to_owned(),
        title: format!("Scale pool {} {} → {}", pool.name, decision.current, decision.target),
        command: serde_json::to_value(command).unwrap_or_default(),
        tier: Tier::One,
        fingerprint: String::new(),
        status: OperationStatus::Succeeded,
        actor: ACTOR.to_owned(),
        reason: summary(decision),
        target: id.to_string(),
        steps: vec![Step {
            batch: 0,
            action: "write".to_owned(),
            target: TargetRef { noun: Noun::Pool, id: id.to_string(), name: pool.name.clone() },
            goal: Goal::Written,
            status: StepStatus::Done,
            message: String::new(),
            began_at: Some(now),
            finished_at: Some(now),
        }],
        done: 1,
        failed: 0,
        message: summary(decision),
        undo: UndoInfo::By {
            commands: vec![back],
            note: format!("back to {}, and the autoscaler waits", decision.current),
        },
        undone_by: None,
        cancel_requested: false,
        created_at: now,
        finished_at: Some(now),
        extra: serde_json::Map::new(),
    }
}
