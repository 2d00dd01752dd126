//! Retention: once a minute the store removes what has passed its expiry, tombstones go once their day is over, and old
//! operations and events once nobody needs them any more.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::fenced::{Fault, Fenced, Pace};
use crate::engine::journal::{Change, Fence};
use crate::model::agent::Phase;
use crate::model::filter::{Field, Filter};
use crate::model::id::AgentId;
use crate::model::operation::OperationStatus;
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{BoxError, Direction, Document, Key, Query, StoreError, Write, chain};

const NAME: &str = "retention";
const PERIOD: Duration = Duration::from_secs(60);
/// How long events and finished operations are kept (`engine.md` §11).
const KEEP: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Documents in one transaction, and transactions of one kind in one turn: what is left is the next turn's.
const BATCH: usize = 500;
const BATCHES: usize = 20;
/// The newest events tell how large one is.
const SAMPLE: usize = 200;

pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let broom = Broom { pen: Fenced::new(ctx.clone(), fence, "loop:retention") };
    let mut pace = Pace::default();
    let mut pause = PERIOD;
    while stop.run_until_cancelled(sleep(pause)).await.is_some() {
        let began = ctx.clock.instant();
        let outcome = broom.turn(&stop).await;
        pause = pace.turned(&ctx, NAME, began, outcome)?.unwrap_or(PERIOD);
    }
    Ok(())
}

struct Broom {
    pen: Fenced,
}

/// Removes what is kept beside the records of agents that went without a tombstone: their health, whom they listened to.
pub(super) async fn tidy(pen: &Fenced, agents: &[Key]) -> Result<(), Fault> {
    Broom { pen: pen.clone() }.tidy(agents).await
}

impl Broom {
    async fn turn(&self, stop: &CancellationToken) -> Result<(), Fault> {
        let (ctx, now) = (&self.pen.ctx, self.pen.ctx.clock.now());
        ctx.store.maintain(now).await?;
        self.agents(now, stop).await?;
        self.pools(now, stop).await?;
        let old = now.minus(KEEP);
        self.operations(old, stop).await?;
        self.events(old, stop).await?;
        self.audit(old, stop).await
    }

    /// Tombstones whose day is over, with what was kept beside them.
    async fn agents(&self, now: Time, stop: &CancellationToken) -> Result<(), Fault> {
        let over = Filter::And(vec![
            Filter::Eq(field("phase")?, Phase::Deleted.name().into()),
            Filter::Lte(field("purge_at")?, now.to_string().into()),
        ]);
        let mut batches = Batches::of(Collection::Agents, over);
        while let Some(documents) = batches.next(&self.pen.ctx, stop).await? {
            let keys: Vec<Key> = documents.iter().map(|document| document.key.clone()).collect();
            let stayed = self.purge(Collection::Agents, "agent.purged", documents).await?;
            let gone: Vec<Key> = keys.into_iter().filter(|key| !stayed.contains(key)).collect();
            self.forget(&gone).await?;
        }
        Ok(())
    }

    async fn forget(&self, keys: &[Key]) -> Result<(), Fault> {
        self.tidy(keys).await?;
        let ctx = &self.pen.ctx;
        for key in keys {
            let Ok(id) = AgentId::new(key.as_str()) else { continue };
            // its files may stay behind; the record is gone, so the next orphan sweep forgets them
            if let Err(error) = ctx.runtime.forget(&id).await {
                tracing::warn!(agent = %id, error = chain(&error), "the workload was not forgotten");
            }
        }
        Ok(())
    }

    /// What is kept beside the records of agents that are gone.
    async fn tidy(&self, keys: &[Key]) -> Result<(), Fault> {
        let ctx = &self.pen.ctx;
        let health = ctx.store.get_many(Collection::AgentHealth, keys).await?;
        let health = health.into_iter().map(|document| Write::Remove {
            collection: Collection::AgentHealth,
            key: document.key,
            rev: None,
        });
        self.sweep(health.collect()).await?;
        self.unsubscribe(keys).await
    }

    /// Nobody listens for who is gone.
    async fn unsubscribe(&self, agents: &[Key]) -> Result<(), Fault> {
        let agents: Vec<Value> = agents.iter().map(|key| key.as_str().into()).collect();
        if agents.is_empty() {
            return Ok(());
        }
        let theirs = Filter::In(field("subscriber_agent_id")?, agents);
        let collection = Collection::AgentSubscriptions;
        let mut query = Query { limit: BATCH, ..Query::new(collection, theirs) };
        loop {
            let page = self.pen.ctx.store.query(query.clone()).await?;
            let ids = page.documents.into_iter().map(|document| document.key);
            let remove = |key| Write::Remove { collection, key, rev: None };
            self.sweep(ids.map(remove).collect()).await?;
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn pools(&self, now: Time, stop: &CancellationToken) -> Result<(), Fault> {
        let over = Filter::Lte(field("purge_at")?, now.to_string().into());
        let mut batches = Batches::of(Collection::AgentPools, over);
        while let Some(documents) = batches.next(&self.pen.ctx, stop).await? {
            self.purge(Collection::AgentPools, "pool.purged", documents).await?;
        }
        Ok(())
    }

    /// Removes tombstones, each with its event: undo ends here. One that was restored this very moment stays.
    async fn purge(
        &self,
        collection: Collection,
        kind: &'static str,
        documents: Vec<Document>,
    ) -> Result<Vec<Key>, Fault> {
        let changes = documents.into_iter().map(|document| Change {
            collection,
            key: document.key.clone(),
            subject: document.body.get("name").and_then(Value::as_str).unwrap_or("").to_owned(),
            before: Some(document),
            after: None,
            kind,
            evidence: Value::Null,
        });
        self.pen.commit_each("its time for undo is over", changes.collect()).await
    }

    /// Finished operations. Their events outlive them by nothing: both go after the same time, so neither is journalled.
    async fn operations(&self, old: Time, stop: &CancellationToken) -> Result<(), Fault> {
        let over = Filter::And(vec![
            Filter::Lt(field("created_at")?, old.to_string().into()),
            Filter::Ne(field("status")?, OperationStatus::Running.name().into()),
        ]);
        let mut batches = Batches::of(Collection::Operations, over);
        while let Some(documents) = batches.next(&self.pen.ctx, stop).await? {
            self.sweep(removals(Collection::Operations, &documents)).await?;
        }
        Ok(())
    }

    /// Events from the oldest on: those that are too old, and those for which there is no room. The newest stays whatever
    /// its age: the next one takes its number and hash from it.
    async fn events(&self, old: Time, stop: &CancellationToken) -> Result<(), Fault> {
        let newest = Query {
            sort: vec![(field("seq")?, Direction::Descending)],
            limit: SAMPLE,
            ..Query::new(Collection::Events, Filter::All)
        };
        let newest = self.pen.ctx.store.query(newest).await?.documents;
        let Some(seq) = newest.first().and_then(|event| event.body.get("seq")?.as_u64()) else {
            return Ok(());
        };
        let most = self.pen.ctx.settings.events_most / mean_size(&newest).max(1);
        let below = |seq: u64| Ok::<_, StoreError>(Filter::Lt(field("seq")?, seq.into()));
        let too_old =
            Filter::And(vec![Filter::Lt(field("at")?, old.to_string().into()), below(seq)?]);
        let too_many = below(seq.saturating_sub(most.saturating_sub(1)).min(seq))?;
        // each in the order of the index that finds it
        for (over, order) in [(too_old, "at"), (too_many, "seq")] {
            let mut batches = Batches::of(Collection::Events, over).by(field(order)?);
            while let Some(documents) = batches.next(&self.pen.ctx, stop).await? {
                self.sweep(removals(Collection::Events, &documents)).await?;
            }
        }
        Ok(())
    }

    /// Who did what is kept as long as what came of it.
    async fn audit(&self, old: Time, stop: &CancellationToken) -> Result<(), Fault> {
        let over = Filter::Lt(field("at")?, old.to_string().into());
        let mut batches = Batches::of(Collection::AuditLog, over).by(field("at")?);
        while let Some(documents) = batches.next(&self.pen.ctx, stop).await? {
            self.sweep(removals(Collection::AuditLog, &documents)).await?;
        }
        Ok(())
    }

    /// Removes what needs no event. One that is gone already, or was changed meanwhile, keeps none of the others.
    async fn sweep(&self, writes: Vec<Write>) -> Result<(), Fault> {
        if writes.is_empty() {
            return Ok(());
        }
        match self.pen.sample(writes.clone()).await {
            Err(Fault::Store(StoreError::NotFound { .. } | StoreError::Conflict { .. })) => {}
            other => return other,
        }
        for write in writes {
            match self.pen.sample(vec![write]).await {
                Ok(())
                | Err(Fault::Store(StoreError::NotFound { .. } | StoreError::Conflict { .. })) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}

/// What matches, in key order unless it is said otherwise, a batch at a time.
struct Batches {
    query: Option<Query>,
    left: usize,
}

impl Batches {
    fn of(collection: Collection, filter: Filter) -> Self {
        let query = Query { limit: BATCH, ..Query::new(collection, filter) };
        Self { query: Some(query), left: BATCHES }
    }

    fn by(mut self, order: Field) -> Self {
        if let Some(query) = &mut self.query {
            query.sort = vec![(order, Direction::Ascending)];
        }
        self
    }

    /// The next batch; `None` at the end, and when this turn has done enough.
    async fn next(
        &mut self,
        ctx: &Context,
        stop: &CancellationToken,
    ) -> Result<Option<Vec<Document>>, StoreError> {
        let Some(query) = self.query.take().filter(|_| self.left > 0 && !stop.is_cancelled())
        else {
            return Ok(None);
        };
        self.left -= 1;
        let page = ctx.store.query(query.clone()).await?;
        self.query = page.next.map(|next| Query { after: Some(next), ..query });
        Ok((!page.documents.is_empty()).then_some(page.documents))
    }
}

/// Bytes of one document as JSON, on average.
fn mean_size(documents: &[Document]) -> u64 {
    let length =
        |document: &Document| serde_json::to_vec(&document.body).map_or(0, |text| text.len());
    let sum: usize = documents.iter().map(length).sum();
    (sum / documents.len().max(1)) as u64
}

fn removals(collection: Collection, documents: &[Document]) -> Vec<Write> {
    let remove = |document: &Document| Write::Remove {
        collection,
        key: document.key.clone(),
        rev: Some(document.rev.clone()),
    };
    documents.iter().map(remove).collect()
}

fn field(name: &str) -> Result<Field, StoreError> {
    Field::new(name).map_err(|error| StoreError::Invalid { message: error.to_string() })
}
