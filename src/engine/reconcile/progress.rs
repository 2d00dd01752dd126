//! Progress of operations: their steps are judged by the fleet as it is, batches released one after another, and the outcome
//! written for whoever follows.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::documents::{overlay, read};
use crate::engine::fenced::{Fault, Fenced, Pace};
use crate::engine::journal::{Change, Fence};
use crate::engine::operations::{StepVerdict, judge, release};
use crate::engine::row_watch::RowWatch;
use crate::engine::view::{FleetView, OperationRow};
use crate::model::filter::{Field, Filter};
use crate::model::operation::advance::{Onward, Verdict, advance, begin};
use crate::model::operation::{Operation, OperationStatus, Step};
use crate::model::schema::Collection;
use crate::ports::store::{BoxError, Document, Key, Query, StoreError, chain};

const NAME: &str = "operations";
/// All running operations are read again after this long, whatever was missed.
const FULL_LOOK: Duration = Duration::from_secs(15);
/// One that could not go on is left alone for so long.
const HELD: Duration = Duration::from_secs(5);
/// A step's progress is written at most this often for one operation; its end and a batch's begin at once.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
const GATHER: Duration = Duration::from_millis(30);

struct Progress {
    pen: Fenced,
    rows: Arc<[Arc<OperationRow>]>,
    /// The running ones as they were read last.
    running: BTreeMap<Key, Operation>,
    written: BTreeMap<Key, Instant>,
    /// Those that could not go on, and until when they are left alone.
    held: BTreeMap<Key, Instant>,
    full_look: Instant,
}

pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let mut changes = RowWatch::of(&ctx);
    let mut progress = Progress {
        rows: Arc::default(),
        running: BTreeMap::new(),
        written: BTreeMap::new(),
        held: BTreeMap::new(),
        full_look: ctx.clock.instant(),
        pen: Fenced::new(ctx.clone(), fence, "loop:operations"),
    };
    let mut pace = Pace::default();
    while !stop.is_cancelled() {
        let began = ctx.clock.instant();
        let outcome = progress.turn().await;
        if let Some(pause) = pace.turned(&ctx, NAME, began, outcome)? {
            stop.run_until_cancelled(sleep(pause)).await;
            continue;
        }
        // progress that was held back is written without another reason
        let due = if progress.running.is_empty() { FULL_LOOK } else { PROGRESS_EVERY };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(due) => continue,
            changed = changes.changed() => if changed.is_err() { break },
        }
        stop.run_until_cancelled(sleep(GATHER)).await;
    }
    Ok(())
}

impl Progress {
    async fn turn(&mut self) -> Result<(), Fault> {
        let view = self.pen.ctx.view();
        if !view.loaded || view.stale_since.is_some() {
            return Ok(());
        }
        let now = self.pen.ctx.clock.instant();
        if now >= self.full_look || !Arc::ptr_eq(&self.rows, &view.operations) {
            self.running = running(&self.pen.ctx).await?;
            self.written.retain(|key, _| self.running.contains_key(key));
            self.rows = view.operations.clone();
            self.full_look = now + FULL_LOOK;
        }
        let keys: Vec<Key> = self.running.keys().cloned().collect();
        for key in keys {
            if !self.is_due(&key, &view, now) {
                continue;
            }
            match self.go_on(&key, &view).await {
                Ok(()) => {}
                Err(fault) if fault.is_general() => return Err(fault),
                Err(fault) => {
                    tracing::warn!(operation = %key, fault = chain(&fault), "an operation is passed over");
                    self.held.insert(key, now + HELD);
                }
            }
        }
        self.held.retain(|_, until| *until > now);
        Ok(())
    }

    /// Whether anything would be written for it now.
    fn is_due(&self, key: &Key, view: &FleetView, now: Instant) -> bool {
        let Some(operation) = self.running.get(key) else { return false };
        if self.held.get(key).is_some_and(|until| *until > now) {
            return false;
        }
        let mut after = operation.clone();
        let onward = advance(&mut after, self.pen.ctx.clock.now(), |step| verdict(step, view));
        if onward != Onward::Wait || after.status != OperationStatus::Running {
            return true;
        }
        let late = self.written.get(key).is_none_or(|at| now >= *at + PROGRESS_EVERY);
        late && after != *operation
    }

    /// Judges and writes one operation, on its document as it is now.
    async fn go_on(&mut self, key: &Key, view: &FleetView) -> Result<(), Fault> {
        let ctx = self.pen.ctx.clone();
        let document = match ctx.store.get(Collection::Operations, key).await {
            Ok(document) => document,
            Err(StoreError::NotFound { .. }) => {
                self.running.remove(key);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let before: Operation = match read(&document) {
            Ok(operation) => operation,
            Err(error) => {
                tracing::warn!(operation = %key, error = chain(&error), "an operation is skipped");
                self.running.remove(key);
                return Ok(());
            }
        };
        let (mut after, now) = (before.clone(), ctx.clock.now());
        let mut changes = Vec::new();
        if let Onward::Release(batch) = advance(&mut after, now, |step| verdict(step, view)) {
            let released = release(&ctx, &after, batch).await?;
            begin(&mut after, batch, &released.refused, now);
            changes = released.changes;
        }
        if after == before {
            self.running.insert(key.clone(), after);
            return Ok(());
        }
        changes.push(Change {
            collection: Collection::Operations,
            key: key.clone(),
            after: Some(overlay(&document.body, &before, &after)),
            before: Some(document),
            kind: kind(after.status),
            subject: after.title.clone(),
            evidence: Value::Null,
        });
        match self.pen.commit(&after.message, Some(key.as_str()), &changes, &[]).await {
            Ok(_) if after.status.is_over() => drop(self.running.remove(key)),
            Ok(_) => drop(self.running.insert(key.clone(), after)),
            // somebody was faster with one of the documents: judged again at the next turn
            Err(Fault::Store(StoreError::Conflict { .. } | StoreError::NotFound { .. })) => {
                self.running.insert(key.clone(), before);
            }
            Err(fault) => return Err(fault),
        }
        self.written.insert(key.clone(), ctx.clock.instant());
        Ok(())
    }
}

fn verdict(step: &Step, view: &FleetView) -> Verdict {
    let since = step.began_at.unwrap_or_default();
    match judge(&step.goal, &step.target, since, view) {
        StepVerdict::Pending => Verdict::Pending,
        StepVerdict::Done => Verdict::Done,
        StepVerdict::Failed(why) => Verdict::Failed(why),
    }
}

fn kind(status: OperationStatus) -> &'static str {
    match status {
        OperationStatus::Running => "op.progress",
        OperationStatus::Succeeded => "op.succeeded",
        OperationStatus::Failed => "op.failed",
        OperationStatus::RolledBack => "op.rolled_back",
        OperationStatus::Cancelled => "op.cancelled",
    }
}

/// Every running operation; one that cannot be read is left to whoever wrote it.
pub(super) async fn running(ctx: &Context) -> Result<BTreeMap<Key, Operation>, StoreError> {
    let status =
        Field::new("status").map_err(|error| StoreError::Invalid { message: error.to_string() })?;
    let filter = Filter::Eq(status, OperationStatus::Running.name().into());
    let mut query = Query::new(Collection::Operations, filter);
    let mut found = BTreeMap::new();
    loop {
        let page = ctx.store.query(query.clone()).await?;
        found.extend(page.documents.iter().filter_map(readable));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(found),
        }
    }
}

fn readable(document: &Document) -> Option<(Key, Operation)> {
    match read(document) {
        Ok(operation) => Some((document.key.clone(), operation)),
        Err(error) => {
            tracing::warn!(error = chain(&error), "an operation is skipped");
            None
        }
    }
}
