//! Pools whose agents are the copies of one workload that the runtime scales (`hpa`): the workload is kept, and a record is
//! made when a copy is seen and taken away when it has gone. A pool comes to this and leaves it without fewer agents than
//! wanted: what comes is up before what goes is ended.

mod copies;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::diff;
use super::pools::Mould;
use super::sights::Sights;
use super::workload;
use crate::engine::context::Context;
use crate::engine::documents::{overlay, read};
use crate::engine::fenced::{Fault, Fenced, Pace};
use crate::engine::journal::{Change, Fence};
use crate::engine::row_watch::RowWatch;
use crate::engine::view::{FleetView, PoolRow};
use crate::model::agent::{Desired, Phase};
use crate::model::health::HealthStatus;
use crate::model::id::{AgentId, PoolId};
use crate::model::pool::{Pool, members};
use crate::model::scaling::{Metric, Mode};
use crate::model::schema::Collection;
use crate::ports::runtime::{Crew, CrewScaler, CrewSeen, RuntimeError};
use crate::ports::store::{BoxError, Document, Key, StoreError, chain};

const NAME: &str = "crews";
/// Everything is looked at again after this long, whatever was missed.
const FULL_LOOK: Duration = Duration::from_secs(10);
const GATHER: Duration = Duration::from_millis(50);
/// First pause after the runtime did not take a pool's workload, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Records in one transaction.
const BATCH: usize = 200;
/// The agent that a workload's copies are made after.
const NOBODY: &str = "crew";

struct Crews {
    keeper: Keeper,
    sights: Sights,
    /// Copies to compare with their records.
    due: BTreeSet<AgentId>,
    pools: Arc<[Arc<PoolRow>]>,
    full_look: Instant,
}

/// What writes, and asks the runtime.
struct Keeper {
    pen: Fenced,
    /// Pools whose workload the runtime did not take, how often in a row, and until when they are left alone.
    held: BTreeMap<PoolId, (u32, Instant)>,
}

/// # Errors
/// When another leader has begun.
pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    if !ctx.runtime.has_crews() {
        stop.cancelled().await;
        return Ok(());
    }
    let mut changes = RowWatch::of(&ctx);
    let mut crews = Crews {
        sights: Sights::new(ctx.runtime.clone()),
        due: BTreeSet::new(),
        pools: Arc::default(),
        full_look: ctx.clock.instant(),
        keeper: Keeper {
            pen: Fenced::new(ctx.clone(), fence, "loop:reconcile"),
            held: BTreeMap::new(),
        },
    };
    let mut pace = Pace::of_sights();
    while !stop.is_cancelled() {
        let began = ctx.clock.instant();
        let outcome = crews.turn().await;
        if let Some(pause) = pace.turned(&ctx, NAME, began, outcome)? {
            stop.run_until_cancelled(sleep(pause)).await;
            continue;
        }
        let until = match crews.due.is_empty() {
            true => crews.full_look.saturating_duration_since(ctx.clock.instant()),
            false => Duration::ZERO,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            changed = crews.sights.next() => crews.mark(changed),
            changed = changes.changed() => if changed.is_err() { break },
            () = sleep(until) => if !until.is_zero() { continue },
        }
        stop.run_until_cancelled(sleep(GATHER)).await;
    }
    Ok(())
}

impl Crews {
    fn mark(&mut self, agents: impl IntoIterator<Item = AgentId>) {
        self.due.extend(agents.into_iter().filter(AgentId::is_of_crew));
    }

    async fn turn(&mut self) -> Result<(), Fault> {
        let view = self.keeper.pen.ctx.view();
        if !view.loaded || view.stale_since.is_some() {
            return Ok(());
        }
        if !self.sights.is_known() {
            let changed = self.sights.open().await?;
            self.mark(changed);
        }
        let now = self.keeper.pen.ctx.clock.instant();
        let full = now >= self.full_look;
        if full {
            self.full_look = now + FULL_LOOK;
            // thousands whose rows are as they are seen: none of their documents is read
            let odd = |id: &AgentId| {
                let known = view.agent(id).zip(self.sights.of(id));
                !known.is_some_and(|(row, seen)| copies::is_as_seen(row, seen))
            };
            let listed = view.agents.iter().map(|row| &row.id).filter(|id| odd(id)).cloned();
            let listed: Vec<AgentId> = listed.collect();
            let seen = self.sights.agents().into_iter().filter(odd).collect::<Vec<_>>();
            self.mark(listed);
            self.mark(seen);
        }
        if full || !Arc::ptr_eq(&self.pools, &view.pools) {
            let due = if full { view.pools.to_vec() } else { changed(&self.pools, &view.pools) };
            self.keeper.keep_all(&due, &view, now).await?;
            self.pools = view.pools.clone();
        }
        self.compare(&view).await
    }
}

impl Keeper {
    /// The workload of each of `due` as its pool wants it. One that cannot be brought there says so, holds up no other, and
    /// is tried again after a pause that doubles.
    async fn keep_all(
        &mut self,
        due: &[Arc<PoolRow>],
        view: &FleetView,
        now: Instant,
    ) -> Result<(), Fault> {
        let waits = |row: &Arc<PoolRow>| self.held.get(&row.id).is_some_and(|(_, at)| now < *at);
        let due: Vec<Arc<PoolRow>> = due.iter().filter(|row| !waits(row)).cloned().collect();
        if due.is_empty() {
            return Ok(());
        }
        let crews = self.pen.ctx.runtime.crews().await?;
        let crews: BTreeMap<PoolId, CrewSeen> =
            crews.into_iter().map(|seen| (seen.pool.clone(), seen)).collect();
        for row in &due {
            let there = crews.get(&row.id);
            if row.scaling.mode != Mode::Hpa && there.is_none() {
                continue;
            }
            match self.keep(row, there, view).await {
                Ok(()) => drop(self.held.remove(&row.id)),
                Err(fault @ Fault::Deposed) => return Err(fault),
                Err(fault) => {
                    let (failures, until) = self.held.entry(row.id.clone()).or_insert((0, now));
                    *until = now + FIRST_PAUSE.saturating_mul(1 << *failures).min(LONGEST_PAUSE);
                    *failures = (*failures + 1).min(10);
                    tracing::warn!(pool = %row.id, fault = chain(&fault), "a pool's workload is not as wanted");
                    self.say(&row.id, &chain(&fault)).await?;
                }
            }
        }
        Ok(())
    }

    async fn keep(
        &self,
        row: &PoolRow,
        there: Option<&CrewSeen>,
        view: &FleetView,
    ) -> Result<(), Fault> {
        let ctx = &self.pen.ctx;
        let Some((document, pool)) = self.pool(&row.id).await? else { return Ok(()) };
        let gone = pool.deleting || pool.purge_at.is_some();
        if gone || pool.scaling.mode != Mode::Hpa {
            if there.is_some() && (gone || is_replaced(&row.id, &pool, view)) {
                ctx.runtime.end_crew(&row.id).await?;
                let mut after = pool.clone();
                after.status.last_decision = Value::Null;
                self.write(&document, &pool, &after, "its own workload has gone").await?;
            }
            return Ok(());
        }
        let mould = match Mould::of(ctx, &row.id, &pool).await? {
            Ok(mould) => mould,
            Err(message) => return Err(RuntimeError::Rejected { message }.into()),
        };
        let Ok(nobody) = AgentId::new(NOBODY) else { return Ok(()) };
        let crew = Crew {
            pool: row.id.clone(),
            like: workload::of(ctx, &nobody, &mould.sample(ctx.clock.now())),
            replicas: pool.desired,
            surge: pool.update.max_surge,
            unavailable: pool.update.max_unavailable,
            scaler: scaler(&pool),
        };
        let seen = ctx.runtime.keep_crew(crew).await?;
        self.note(&document, &pool, &seen).await
    }

    async fn pool(&self, id: &PoolId) -> Result<Option<(Document, Pool)>, Fault> {
        match self.pen.ctx.store.get(Collection::AgentPools, &Key::new(id.as_str())?).await {
            Ok(document) => {
                let pool = read(&document)?;
                Ok(Some((document, pool)))
            }
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Who decides how many there are, and how many that is: what others set is what is wanted.
    async fn note(&self, document: &Document, pool: &Pool, seen: &CrewSeen) -> Result<(), Fault> {
        let mut after = pool.clone();
        let said = match &seen.scaled_by {
            Some(who) => {
                after.desired = seen.replicas;
                format!("{who} sets the number of replicas; the engine does not")
            }
            None => "nobody else sets the number of replicas: the engine keeps it".to_owned(),
        };
        let said = if seen.trouble.is_empty() { said } else { seen.trouble.clone() };
        after.status.last_decision = json!({"reason": "hpa", "summary": said});
        members::halt(&mut after, seen.stuck.as_deref());
        self.write(document, pool, &after, &said).await
    }

    async fn say(&self, id: &PoolId, trouble: &str) -> Result<(), Fault> {
        let Some((document, pool)) = self.pool(id).await? else { return Ok(()) };
        let mut after = pool.clone();
        after.status.last_decision = json!({"reason": "hpa", "summary": trouble});
        self.write(&document, &pool, &after, trouble).await
    }

    async fn write(
        &self,
        document: &Document,
        pool: &Pool,
        after: &Pool,
        reason: &str,
    ) -> Result<(), Fault> {
        if after == pool {
            return Ok(());
        }
        let scaled = after.desired != pool.desired;
        let change = Change {
            collection: Collection::AgentPools,
            key: document.key.clone(),
            before: Some(document.clone()),
            after: Some(overlay(&document.body, pool, after)),
            kind: if scaled { "pool.scaled" } else { "pool.status" },
            subject: pool.name.clone(),
            evidence: Value::Null,
        };
        // who was faster is met again at the next look
        self.pen.commit_each(reason, vec![change]).await?;
        Ok(())
    }
}

/// The pools whose row says anything else than before that a workload is made of, or left by.
fn changed(before: &[Arc<PoolRow>], after: &[Arc<PoolRow>]) -> Vec<Arc<PoolRow>> {
    let mut due = Vec::new();
    diff::each(
        before,
        after,
        |row| &row.id,
        |was, is| {
            let same = was.zip(is).is_some_and(|(was, is)| essence(was) == essence(is));
            if let Some(is) = is.filter(|_| !same) {
                due.push(Arc::new(is.clone()));
            }
        },
    );
    due
}

/// What of a row matters here. A pool that goes back to agents of its own is left by its workload as these come up.
fn essence(row: &PoolRow) -> impl PartialEq + use<'_> {
    let numbers = [row.desired, row.min, row.max, row.max_surge, row.max_unavailable];
    let made_of = (&row.name, &row.labels, &row.template, &row.template_version);
    let up = (row.scaling.mode != Mode::Hpa).then_some(row.ready);
    (numbers, made_of, &row.scaling, row.deleting, row.purge_at, up)
}

/// Whether the pool's own agents have taken over.
fn is_replaced(id: &PoolId, pool: &Pool, view: &FleetView) -> bool {
    let up = view.agents.iter().filter(|row| {
        row.pool.as_ref() == Some(id)
            && !row.id.is_of_crew()
            && row.phase == Phase::Running
            // one that is on its way out replaces nothing
            && row.desired == Desired::Running
            && row.health != HealthStatus::Unhealthy
    });
    u32::try_from(up.count()).is_ok_and(|up| up >= pool.desired)
}

/// What an autoscaler of the cluster can be told; the other metrics are the engine's alone.
fn scaler(pool: &Pool) -> Option<CrewScaler> {
    pool.scaling.metrics.iter().find_map(|metric| match metric {
        Metric::Cpu { target } => Some(CrewScaler {
            min: pool.min,
            max: pool.max,
            cpu_percent: target.round().clamp(1.0, 1_000.0) as u32,
        }),
        Metric::QueuePerAgent { .. } | Metric::BacklogDrain { .. } | Metric::Custom { .. } => None,
    })
}
