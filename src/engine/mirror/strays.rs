//! Workloads that run without a record, as rows for people. One that is new is held back for a moment, and one whose record
//! has just gone for longer: what is being deployed or taken away is nobody's stray. Costs nothing while there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use super::Mirror;
use super::fleet::Fleet;
use super::intern::Interner;
use super::table::Table;
use crate::engine::view::{AgentRow, FleetView, Queue};
use crate::model::agent::{Desired, Heartbeat, Phase};
use crate::model::health::HealthStatus;
use crate::model::id::{AgentId, PoolId, TemplateId};
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::runtime::{Glimpse, Glimpsed, Observed, Runtime, State};
use crate::ports::store::{Body, Key};

/// What is said of one that runs and of which the runtime says nothing worse.
pub const REASON: &str = "runs without a record";
/// How long a record may be behind its workload.
const GRACE: Duration = Duration::from_secs(3);
/// How long a workload may be behind its record that has gone.
const LEAVING: Duration = Duration::from_secs(10);
/// Sights taken in at once.
const AT_ONCE: usize = 1_000;

type Rows = Arc<[Arc<AgentRow>]>;

#[derive(Debug)]
struct Waiting {
    row: AgentRow,
    until: Instant,
}

#[derive(Default)]
pub struct Strays {
    feed: Option<BoxStream<'static, Glimpse>>,
    /// The runtime says nothing of such workloads.
    never: bool,
    whole: bool,
    rows: Table<AgentRow>,
    waiting: BTreeMap<AgentId, Waiting>,
    /// Whose record went, and when.
    freed: BTreeMap<AgentId, Instant>,
    /// When to look at all of them again, because records went.
    look_at: Option<Instant>,
    known: Interner,
    /// The agents as they were shown last: recorded ones, strays, and both.
    shown: [Rows; 3],
}

impl std::fmt::Debug for Strays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Strays").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Strays {
    /// Begins to look; only once the first list of records is whole does a missing one mean anything.
    pub fn open(&mut self, runtime: &dyn Runtime) {
        if self.feed.is_none() && !self.never {
            self.feed = runtime.glimpse();
            self.never = self.feed.is_none();
        }
    }

    /// The next sights, as many as are there; for ever pending while there is nothing to look at. Cancel-safe.
    pub async fn next(&mut self) -> Vec<Glimpse> {
        let Some(feed) = &mut self.feed else { return std::future::pending().await };
        let Some(first) = feed.next().await else {
            self.feed = None;
            return std::future::pending().await;
        };
        let mut sights = vec![first];
        while sights.len() < AT_ONCE
            && let Some(Some(more)) = feed.next().now_or_never()
        {
            sights.push(more);
        }
        sights
    }

    /// Whether the runtime has told of everything.
    pub fn is_whole(&self) -> bool {
        self.never || self.whole
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn is_dirty(&self) -> bool {
        self.rows.is_dirty()
    }

    pub fn take(&mut self, sights: Vec<Glimpse>, fleet: &Fleet, now: Instant, wall: Time) {
        for sight in sights {
            match sight {
                Glimpse::All { seen, whole } => {
                    self.whole |= whole;
                    let there: BTreeSet<&AgentId> = seen.iter().map(|it| &it.seen.agent).collect();
                    self.rows.retain(|id| there.contains(id));
                    self.waiting.retain(|id, _| there.contains(id));
                    self.freed.retain(|id, at| there.contains(id) || *at + LEAVING > now);
                    for glimpsed in seen {
                        self.saw(glimpsed, fleet, now, wall);
                    }
                }
                Glimpse::Changed(glimpsed) => self.saw(glimpsed, fleet, now, wall),
                Glimpse::Gone(id) => {
                    self.forget(&id);
                    self.freed.remove(&id);
                }
            }
        }
    }

    fn saw(&mut self, glimpsed: Glimpsed, fleet: &Fleet, now: Instant, wall: Time) {
        let Glimpsed { seen, since } = glimpsed;
        let id = seen.agent.clone();
        if fleet.agents.get(&id).is_some() {
            return;
        }
        // what was asked to end and has ended does not run
        if seen.state == State::Exited && !id.is_of_crew() {
            return self.forget(&id);
        }
        let mut row = self.row(&seen, since.unwrap_or(wall), fleet);
        if let Some(before) = self.rows.get(&id) {
            row.created_at = since.unwrap_or(before.created_at);
            if row.phase == before.phase {
                row.phase_since = row.phase_since.min(before.phase_since);
            }
            self.rows.put(0, row);
            return;
        }
        // it has been there for so long, and its record has not; a pool that is known will have one made
        let expected = row.pool.as_ref().is_some_and(|pool| fleet.pools.get(pool).is_some());
        let age = since.filter(|_| !expected).map_or(Duration::ZERO, |since| wall.since(since));
        let mut until = now + GRACE.saturating_sub(age);
        if let Some(waiting) = self.waiting.get(&id) {
            until = until.min(waiting.until);
        }
        if let Some(freed) = self.freed.get(&id) {
            until = until.max(*freed + LEAVING);
        }
        self.waiting.insert(id, Waiting { row, until });
    }

    fn forget(&mut self, id: &AgentId) {
        self.rows.remove(id);
        self.waiting.remove(id);
    }

    /// There is a record of it.
    pub fn recorded(&mut self, id: &str) {
        let none = self.rows.is_empty() && self.waiting.is_empty() && self.freed.is_empty();
        if !none && let Ok(id) = AgentId::new(id) {
            self.forget(&id);
            self.freed.remove(&id);
        }
    }

    /// Its record has gone.
    pub fn unrecorded(&mut self, id: &str, now: Instant) {
        if !self.never
            && let Ok(id) = AgentId::new(id)
        {
            self.freed.insert(id, now);
            self.look_at.get_or_insert(now + LEAVING);
        }
    }

    /// When there is something to do.
    pub fn due(&self) -> Option<Instant> {
        let waiting = self.waiting.values().map(|waiting| waiting.until).min();
        [waiting, self.look_at].into_iter().flatten().min()
    }

    /// Shows those that have waited, and looks at all of them anew where records went.
    pub fn tick(&mut self, now: Instant, runtime: &dyn Runtime) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        let ripe: Vec<AgentId> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ripe {
            let Some(mut waiting) = self.waiting.remove(&id) else { continue };
            // it goes as its record did, only more slowly
            if waiting.row.phase == Phase::Draining && self.freed.contains_key(&id) {
                waiting.until = now + LEAVING;
                self.waiting.insert(id, waiting);
            } else {
                self.freed.remove(&id);
                self.rows.put(0, waiting.row);
            }
        }
        if self.look_at.take_if(|at| *at <= now).is_some() {
            self.feed = None;
            self.open(runtime);
        }
    }

    /// The view as people get it: recorded agents and strays, in the order of their ids.
    pub fn beside(&mut self, view: &Arc<FleetView>) -> Arc<FleetView> {
        let strays = self.rows.slice();
        if strays.is_empty() {
            self.shown = Default::default();
            return view.clone();
        }
        let [were_recorded, were_strays, both] = &self.shown;
        let agents = if view.agents.is_empty() {
            strays
        } else if Arc::ptr_eq(were_recorded, &view.agents) && Arc::ptr_eq(were_strays, &strays) {
            both.clone()
        } else {
            let mut rows: Vec<_> = view.agents.iter().chain(strays.iter()).cloned().collect();
            rows.sort_by(|a, b| a.id.cmp(&b.id)); // two runs in order: one pass
            let both: Rows = rows.into();
            self.shown = [view.agents.clone(), strays, both.clone()];
            both
        };
        let mut totals = view.totals.clone();
        for row in self.rows.rows() {
            *totals.strays.entry(row.phase).or_default() += 1;
            let unwell = matches!(row.health, HealthStatus::Degraded | HealthStatus::Unhealthy);
            totals.strays_unwell += u64::from(unwell && row.phase != Phase::Failed);
            // as recorded ones are counted
            totals.strained += u64::from(row.is_strained());
        }
        Arc::new(FleetView { agents, totals, ..FleetView::clone(view) })
    }

    fn row(&mut self, seen: &Observed, since: Time, fleet: &Fleet) -> AgentRow {
        let known = &mut self.known;
        let copy = seen.copy_of.as_deref();
        let pool = copy.and_then(|copy| known.pool(&copy.pool));
        let (template, version) =
            copy.and_then(|copy| copy.template.split_once('@')).unwrap_or_default();
        let template = known.template(template);
        let pool_row = pool.as_ref().and_then(|id| fleet.pools.get(id));
        let template_row = template.as_ref().and_then(|id| fleet.templates.get(id));
        let named = |id: Option<&str>| id.map(Safe::new).unwrap_or_default();
        let (phase, health) = stands(seen);
        let stands_since = seen.started_at.filter(|_| phase == Phase::Running).unwrap_or(since);
        AgentRow {
            id: seen.agent.clone(),
            name: match seen.workload.as_str() {
                "" => Safe::new(seen.agent.as_str()),
                workload => Safe::new(workload),
            },
            kind: Safe::default(),
            tenant: Safe::default(),
            pool_name: pool_row
                .map_or_else(|| named(pool.as_ref().map(PoolId::as_str)), |row| row.name.clone()),
            template_name: template_row.map_or_else(
                || named(template.as_ref().map(TemplateId::as_str)),
                |row| row.name.clone(),
            ),
            pool,
            template,
            template_version: known.text(version),
            labels: Arc::default(),
            desired: Desired::Running,
            phase,
            phase_since: stands_since,
            reason: match said(seen).as_str() {
                "" => known.text(REASON),
                said => known.text(&format!("{said}; {REASON}")),
            },
            health,
            health_since: stands_since,
            health_message: Safe::default(),
            incarnation: seen.incarnation,
            wanted_incarnation: seen.incarnation,
            generation: 0,
            failures: 0,
            restarts_in_place: seen.restarts,
            retry_at: None,
            drain_deadline: None,
            purge_at: None,
            pinned: false,
            node: known.text(&seen.node),
            pid: seen.pid,
            created_at: since,
            heartbeat: None,
            heartbeat_interval: Heartbeat::default().interval,
            heartbeat_required: false,
            usage: None,
            cpu_request: None,
            cpu_limit: None,
            memory_limit: None,
            queue: Queue::default(),
            recorded: false,
        }
    }
}

impl Mirror {
    pub(super) fn put(&mut self, collection: Collection, key: &Key, mark: u64, body: &Body) {
        self.wanted |= self.fleet.put(collection, key, mark, body);
        if collection == Collection::Agents {
            self.strays.recorded(key.as_str());
        }
    }

    pub(super) fn remove(&mut self, collection: Collection, key: &str) {
        self.wanted |= self.fleet.remove(collection, key);
        if collection == Collection::Agents {
            self.strays.unrecorded(key, self.ctx.clock.instant());
        }
    }

    pub(super) fn glimpsed(&mut self, sights: Vec<Glimpse>) {
        let (none, whole) = (self.strays.is_empty(), self.strays.is_whole());
        let (now, wall) = (self.ctx.clock.instant(), self.ctx.clock.now());
        self.strays.take(sights, &self.fleet, now, wall);
        self.strays.tick(now, &*self.ctx.runtime);
        self.news |= whole != self.strays.is_whole();
        if none && !self.strays.is_empty() {
            self.published = None; // the first rows wait for nothing
        }
    }
}

/// What the runtime says of it, if it says anything.
fn said(seen: &Observed) -> String {
    if seen.state == State::Exited { seen.end() } else { seen.message.clone() }
}

/// Phase and health that the runtime alone can know.
fn stands(seen: &Observed) -> (Phase, HealthStatus) {
    let quiet = seen.message.is_empty();
    match seen.state {
        State::Running if quiet => (Phase::Running, HealthStatus::Healthy),
        State::Running => (Phase::Running, HealthStatus::Degraded),
        State::Lost => (Phase::Running, HealthStatus::Unhealthy),
        State::Starting if quiet => (Phase::Deploying, HealthStatus::Unknown),
        State::Starting => (Phase::Deploying, HealthStatus::Degraded),
        State::Parked => (Phase::Paused, HealthStatus::Unknown),
        State::Ending => (Phase::Draining, HealthStatus::Unknown),
        State::Exited => (Phase::Failed, HealthStatus::Unhealthy),
    }
}

#[cfg(test)]
mod tests;
