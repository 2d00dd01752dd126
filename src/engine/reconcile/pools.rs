//! Pools: members are created, replaced and let go until each pool is what is wanted of it, and its status says how far
//! that has come. The view only says which pools need a look; what is done is decided on the documents.

mod create;
mod known;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(crate) use self::create::Mould;
use self::known::{agents_of, essence, glimpse, sketch, unreadable};
use super::diff;
use crate::engine::context::Context;
use crate::engine::documents::{Agents, overlay, read};
use crate::engine::fenced::{Fault, Fenced, Pace};
use crate::engine::journal::{Change, Fence};
use crate::engine::row_watch::RowWatch;
use crate::engine::view::{AgentRow, FleetView, PoolRow};
use crate::model::agent::Phase;
use crate::model::agent::intent::Intent;
use crate::model::agent::lifecycle::KEEP_TOMBSTONE;
use crate::model::id::{AgentId, PoolId};
use crate::model::pool::members::{self, Member, Steps};
use crate::model::pool::{Pool, PoolStatus};
use crate::model::schema::Collection;
use crate::ports::store::{BoxError, Document, Key, StoreError, Write, chain};

const NAME: &str = "pools";
/// Every pool is looked at again after this long, whatever was missed.
const FULL_LOOK: Duration = Duration::from_secs(60);
/// A pool's status is written at most this often, unless there is something to do.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// A pool whose turn failed is left alone for so long.
const AFTER_FAULT: Duration = Duration::from_secs(5);
/// Turns are at least this far apart, so that a burst of changes is one; the first after a calm begins at once.
const GATHER: Duration = Duration::from_millis(50);
/// A look through a large fleet takes so many times its own length until the next, up to a limit: a fiftieth of a core.
const SHARE: u32 = 50;
const LONGEST_GATHER: Duration = Duration::from_millis(500);
/// Documents in one transaction: others write meanwhile, and wait for it.
const BATCH: usize = 100;
/// The first of many: a few, so that their start begins while the rest is still written.
const FIRST: usize = 40;
/// How long a member that is let go may finish what it holds (`console.md` §5).
const DRAIN: Duration = Duration::from_secs(60);

struct Pools {
    pen: Fenced,
    rows: Arc<[Arc<AgentRow>]>,
    pools: Arc<[Arc<PoolRow>]>,
    /// Pools to look at, and not before when.
    due: BTreeMap<PoolId, Instant>,
    written: HashMap<PoolId, Instant>,
    full_look: Instant,
    /// What the last look through all rows took.
    cost: Duration,
}

pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let mut changes = RowWatch::of(&ctx);
    let mut pools = Pools {
        rows: Arc::default(),
        pools: Arc::default(),
        due: BTreeMap::new(),
        written: HashMap::new(),
        full_look: ctx.clock.instant() + FULL_LOOK,
        cost: Duration::ZERO,
        pen: Fenced::new(ctx.clone(), fence, "loop:reconcile"),
    };
    let mut pace = Pace::default();
    while !stop.is_cancelled() {
        let began = ctx.clock.instant();
        let outcome = pools.turn().await;
        if let Some(pause) = pace.turned(&ctx, NAME, began, outcome)? {
            stop.run_until_cancelled(sleep(pause)).await;
            continue;
        }
        let next = pools.due.values().min().map_or(pools.full_look, |at| *at);
        let turned = ctx.clock.instant();
        let until = next.min(pools.full_look).saturating_duration_since(turned);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(until) => {}
            changed = changes.changed() => if changed.is_err() { break },
        }
        let gather = (pools.cost * SHARE).clamp(GATHER, LONGEST_GATHER);
        let rested = ctx.clock.instant().saturating_duration_since(turned);
        stop.run_until_cancelled(sleep(gather.saturating_sub(rested))).await;
    }
    Ok(())
}

impl Pools {
    async fn turn(&mut self) -> Result<(), Fault> {
        let view = self.pen.ctx.view();
        if !view.loaded || view.stale_since.is_some() {
            return Ok(());
        }
        let now = self.pen.ctx.clock.instant();
        self.compare(&view, now);
        let due: Vec<PoolId> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        let mut rows: HashMap<&PoolId, Vec<Member>> =
            due.iter().map(|pool| (pool, Vec::new())).collect();
        for row in view.agents.iter().filter(|row| row.phase != Phase::Deleted) {
            if let Some(members) = row.pool.as_ref().and_then(|pool| rows.get_mut(pool)) {
                members.push(glimpse(row));
            }
        }
        self.cost = self.pen.ctx.clock.instant().saturating_duration_since(now);
        for id in &due {
            let members = rows.get(id).map_or(&[] as &[Member], Vec::as_slice);
            let needs = match view.pool(id) {
                Some(row) => self.needs(row, members, now),
                None => Needs::Nothing,
            };
            match needs {
                Needs::Nothing => {}
                Needs::Later(at) => {
                    self.due.insert(id.clone(), at);
                    continue;
                }
                Needs::Count | Needs::Look => {
                    let done = match needs {
                        Needs::Count => self.count(id, members, &view).await,
                        Needs::Nothing | Needs::Later(_) | Needs::Look => {
                            self.bring(id, &view).await
                        }
                    };
                    match done {
                        Ok(()) => {}
                        Err(fault) if fault.is_general() => return Err(fault),
                        Err(fault) => {
                            tracing::warn!(pool = %id, fault = chain(&fault), "a pool is passed over");
                            self.due.insert(id.clone(), now + AFTER_FAULT);
                            continue;
                        }
                    }
                }
            }
            // only now: a look that failed stays due
            self.due.remove(id);
        }
        Ok(())
    }

    /// Marks the pools whose row, or one of whose members, changed in anything that matters here.
    fn compare(&mut self, view: &FleetView, now: Instant) {
        if now >= self.full_look {
            self.full_look = now + FULL_LOOK;
            self.due.extend(view.pools.iter().map(|row| (row.id.clone(), now)));
        }
        let mut touched: Vec<PoolId> = Vec::new();
        if !Arc::ptr_eq(&self.rows, &view.agents) {
            diff::each(
                &self.rows,
                &view.agents,
                |row| &row.id,
                |was, is| match (was, is) {
                    (Some(was), Some(is)) if essence(was) == essence(is) => {}
                    (was, is) => {
                        let pools =
                            [was, is].into_iter().flatten().filter_map(|row| row.pool.clone());
                        touched.extend(pools);
                    }
                },
            );
            self.rows = view.agents.clone();
        }
        if !Arc::ptr_eq(&self.pools, &view.pools) {
            diff::each(
                &self.pools,
                &view.pools,
                |row| &row.id,
                |_, is| {
                    touched.extend(is.map(|row| row.id.clone()));
                },
            );
            self.pools = view.pools.clone();
        }
        for pool in touched {
            self.due.entry(pool).or_insert(now);
        }
    }

    /// What to do for a pool. One whose agents are copies that the runtime scales is left alone where there is no such
    /// runtime: what is known of the copies is another leader's, and old.
    fn next(&self, pool: &Pool, members: &[Member]) -> Steps {
        if pool.is_of_copies() && !self.pen.ctx.runtime.has_crews() {
            return Steps::default();
        }
        members::next(pool, members)
    }

    /// Whether the documents must be looked at, as far as the rows tell.
    fn needs(&self, row: &PoolRow, members: &[Member], now: Instant) -> Needs {
        let pool = sketch(row);
        let steps = self.next(&pool, members);
        if !steps.is_none() {
            return Needs::Look;
        }
        let said = members::status(&pool, members, &steps, None);
        let counted = |status: &PoolStatus| {
            [status.ready, status.updated, status.unhealthy, status.pending, status.total]
        };
        // the row's reason is made safe for the screen, so it is compared in that form
        let reason = crate::model::text::Safe::new(&said.reason);
        if counted(&said) == counted(&pool.status)
            && said.halted == pool.status.halted
            && reason == row.reason
        {
            return Needs::Nothing;
        }
        match self.written.get(&row.id).map(|at| *at + STATUS_EVERY) {
            Some(at) if at > now => Needs::Later(at),
            Some(_) | None => Needs::Count,
        }
    }

    /// Writes what the rows tell of a pool in which there is nothing to do: its members' documents, a thousand or more,
    /// need not be read for that.
    async fn count(
        &mut self,
        id: &PoolId,
        members: &[Member],
        view: &FleetView,
    ) -> Result<(), Fault> {
        let Some((document, pool)) = self.document(id).await? else { return Ok(()) };
        let steps = self.next(&pool, members);
        if !steps.is_none() {
            return self.bring(id, view).await; // the pool is wanted otherwise than the row says
        }
        self.conclude(&document, &pool, members, &steps, None).await?;
        self.written.insert(id.clone(), self.pen.ctx.clock.instant());
        Ok(())
    }

    /// The pool as the store has it; `None` when it is gone or cannot be read.
    async fn document(&self, id: &PoolId) -> Result<Option<(Document, Pool)>, Fault> {
        let key = Key::new(id.as_str())?;
        let document = match self.pen.ctx.store.get(Collection::AgentPools, &key).await {
            Ok(document) => document,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match read(&document) {
            Ok(pool) => Ok(Some((document, pool))),
            Err(error) => {
                tracing::warn!(pool = %id, error = chain(&error), "a pool is skipped");
                Ok(None)
            }
        }
    }

    /// Does the next things for one pool, decided on the documents as they are now.
    async fn bring(&mut self, id: &PoolId, view: &FleetView) -> Result<(), Fault> {
        let ctx = self.pen.ctx.clone();
        let Some((document, pool)) = self.document(id).await? else { return Ok(()) };
        let waiting = |row: &&Arc<AgentRow>| row.pool.as_ref() == Some(id);
        let queue = |row: &Arc<AgentRow>| (row.id.clone(), row.queue.pending + row.queue.leased);
        let busy: HashMap<AgentId, u64> = view.agents.iter().filter(waiting).map(queue).collect();
        let agents = agents_of(&ctx, id).await?;
        let mut members: Vec<Member> = agents
            .found
            .iter()
            .map(|(agent_id, (_, agent))| {
                let waiting = busy.get(agent_id).copied().unwrap_or(0);
                Member::of(agent_id.clone(), agent.clone(), waiting)
            })
            .collect();
        members.extend(agents.unreadable.iter().map(|agent| unreadable(&ctx, agent, &pool)));
        let steps = self.next(&pool, &members);
        let mut trouble = None;
        if steps.create > 0 {
            match Mould::of(&ctx, id, &pool).await? {
                Ok(mould) => match self.create(&document, &mould, &steps).await {
                    Err(fault) if !fault.is_general() => trouble = Some(chain(&fault)),
                    // the newcomers are the next look's reason, and only then does the status count them
                    done => return done,
                },
                Err(why) => trouble = Some(why),
            }
        }
        if !steps.delete.is_empty() {
            self.let_go(&document, &agents, &steps).await?;
        }
        self.conclude(&document, &pool, &members, &steps, trouble.as_deref()).await?;
        self.written.insert(id.clone(), ctx.clock.instant());
        Ok(())
    }

    /// Creates what is missing, as long as the pool stays as it was decided on.
    async fn create(&self, pool: &Document, mould: &Mould, steps: &Steps) -> Result<(), Fault> {
        let check = [unchanged(pool)];
        let (mut left, mut batch) = (steps.create as usize, FIRST);
        while left > 0 {
            let now = left.min(batch);
            batch = BATCH;
            for _ in 0..10 {
                let changes = mould.cast(&self.pen.ctx, now)?;
                match self.pen.commit(&steps.reason, None, &changes, &check).await {
                    Ok(_) => break,
                    // a name was taken: draw again
                    Err(Fault::Store(StoreError::Exists {
                        collection: Collection::Agents,
                        ..
                    })) => {}
                    // the pool is wanted otherwise now: the next look decides
                    Err(Fault::Store(
                        StoreError::Conflict { .. } | StoreError::NotFound { .. },
                    )) => {
                        return Ok(());
                    }
                    Err(fault) => return Err(fault),
                }
            }
            left -= now;
        }
        Ok(())
    }

    /// Wishes members deleted; they drain first.
    async fn let_go(&self, pool: &Document, agents: &Agents, steps: &Steps) -> Result<(), Fault> {
        let now = self.pen.ctx.clock.now();
        let leaving = steps.delete.iter().filter_map(|id| agents.found.get(id));
        let changes: Vec<Change> = leaving
            .filter_map(|(document, agent)| {
                let mut after = Intent::Delete.apply(agent, None, now).ok().flatten()?;
                after.drain_deadline = Some(now.plus(DRAIN));
                Some(Change {
                    collection: Collection::Agents,
                    key: document.key.clone(),
                    before: Some(document.clone()),
                    after: Some(overlay(&document.body, agent, &after)),
                    kind: "agent.delete_requested",
                    subject: agent.name.clone(),
                    evidence: Value::Null,
                })
            })
            .collect();
        for chunk in changes.chunks(BATCH) {
            let check = unchanged(pool);
            match self.pen.commit(&steps.reason, None, chunk, &[check]).await {
                Ok(_) => {}
                // somebody else was faster with one of them, or with the pool: the next look decides
                Err(Fault::Store(StoreError::Conflict { .. } | StoreError::NotFound { .. })) => {
                    return Ok(());
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Writes the status if it changed, and the pool's own end.
    async fn conclude(
        &self,
        document: &Document,
        pool: &Pool,
        members: &[Member],
        steps: &Steps,
        trouble: Option<&str>,
    ) -> Result<(), Fault> {
        let now = self.pen.ctx.clock.now();
        let mut after = pool.clone();
        after.status = members::status(pool, members, steps, trouble);
        let mut kind = "pool.status";
        if steps.halt.is_some() {
            kind = "pool.update_halted";
        }
        if steps.finished {
            kind = "pool.deleted";
            after.live_name = None;
            after.purge_at = Some(now.plus(KEEP_TOMBSTONE));
            after.status.reason = String::new();
        }
        if after == *pool {
            return Ok(());
        }
        let reason = after.status.reason.clone();
        let change = Change {
            collection: Collection::AgentPools,
            key: document.key.clone(),
            before: Some(document.clone()),
            after: Some(overlay(&document.body, pool, &after)),
            kind,
            subject: pool.name.clone(),
            evidence: Value::Null,
        };
        self.pen.commit_each(&reason, vec![change]).await?;
        Ok(())
    }
}

enum Needs {
    Nothing,
    /// The status alone.
    Count,
    /// The same, and it was written a moment ago.
    Later(Instant),
    Look,
}

/// Fails the transaction if the pool is no longer as it was decided on.
fn unchanged(pool: &Document) -> Write {
    let (key, rev) = (pool.key.clone(), Some(pool.rev.clone()));
    Write::Check { collection: Collection::AgentPools, key, rev }
}
