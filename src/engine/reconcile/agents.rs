//! Agents: from what is wanted and what runs to the next act for each, many at once and each after its own. Documents are
//! written in batches before the runtime is asked; a slow call to the runtime holds up nobody else.

mod blind;
mod book;
mod glance;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::blind::Blind;
use self::book::{Book, Start};
use self::glance::Glance;
use super::sights::Sights;
use super::workload;
use crate::engine::context::Context;
use crate::engine::crash;
use crate::engine::documents::{self, overlay, read};
use crate::engine::fenced::{Fault, Fenced, Pace};
use crate::engine::journal::{Change, Fence};
use crate::engine::row_watch::RowWatch;
use crate::model::agent::lifecycle::{self, Act, Facts, RestartPolicy};
use crate::model::agent::{Agent, Phase};
use crate::model::filter::{Field, Filter};
use crate::model::health::AgentHealth;
use crate::model::health::verdict::DEAD;
use crate::model::id::AgentId;
use crate::model::message::MessageStatus;
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::runtime::{Observed, RuntimeError};
use crate::ports::store::{BoxError, Document, Key, StoreError, Tally, chain};

const NAME: &str = "reconcile";
/// Calls to the runtime at once.
const ACTS_AT_ONCE: usize = 32;
/// Documents decided on and written at once: not more, so that their calls begin before the rest is decided on.
const BATCH: usize = 4 * ACTS_AT_ONCE;
/// Calls that wait for their turn at most: they were decided on what was true then.
const QUEUE: usize = 300;
/// With no more than so many calls waiting for their turn the next are decided on: they last for as long as that takes.
const FEW: usize = 4 * ACTS_AT_ONCE;
/// Turns are at least this far apart, and as far as the last one took, up to the longest: what changes fast is looked at
/// once for several changes, and the runtime has its share of the machine.
const GATHER: Duration = Duration::from_millis(10);
const LONGEST_GATHER: Duration = Duration::from_millis(100);
/// With more waiting, what changes is gathered until few are left, but no longer than this: what is told meanwhile takes
/// nothing from what is being done.
const LONGEST_BURST: Duration = Duration::from_millis(500);
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// How long calls under way may take when the loop stops.
const FINISH: Duration = Duration::from_secs(5);
/// An agent that fails this soon after the leader began fell while nobody led, and says nothing about the present.
const SETTLING: Duration = Duration::from_secs(5);
const ORPHAN_GRACE: Duration = Duration::from_secs(10);
/// How long an agent is left alone whose document cannot be read.
const UNREADABLE: Duration = Duration::from_secs(10);

/// What a call to the runtime came to.
struct Done {
    agent: AgentId,
    incarnation: u64,
    act: Act,
    outcome: Result<(), RuntimeError>,
}

struct Job {
    id: AgentId,
    agent: Agent,
    act: Act,
}

struct Agents {
    pen: Fenced,
    sights: Sights,
    blind: Blind,
    book: Book,
    /// Calls to the runtime, under way or waiting for their turn. They go on while the loop decides and writes; none is
    /// begun once `calls` is closed.
    acts: JoinSet<Option<Done>>,
    calls: Arc<Semaphore>,
    leading_since: Time,
    policy: RestartPolicy,
}

pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let mut changes = RowWatch::of(&ctx);
    let mut agents = Agents::new(ctx.clone(), fence);
    let mut pace = Pace::of_sights();
    while !stop.is_cancelled() {
        let began = ctx.clock.instant();
        let outcome = agents.turn().await;
        let took = ctx.clock.instant().saturating_duration_since(began);
        if let Some(pause) = pace.turned(&ctx, NAME, began, outcome)? {
            stop.run_until_cancelled(sleep(pause)).await;
            continue;
        }
        let until = agents.due_in();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(until) => {}
            changed = changes.changed() => if changed.is_err() { break },
            () = ctx.wanted.notified() => {}
            changed = agents.sights.next() => agents.book.mark(changed),
            Some(done) = agents.acts.join_next() => agents.note(done),
        }
        let moment = took.clamp(GATHER, LONGEST_GATHER);
        stop.run_until_cancelled(agents.linger(moment)).await;
        changes.caught_up();
    }
    agents.finish().await;
    Ok(())
}

impl Agents {
    fn new(ctx: Arc<Context>, fence: Fence) -> Self {
        let settings = &ctx.settings;
        Self {
            sights: Sights::new(ctx.runtime.clone()),
            blind: Blind::default(),
            book: Book::new(ctx.clock.now()),
            acts: JoinSet::new(),
            calls: Arc::new(Semaphore::new(ACTS_AT_ONCE)),
            leading_since: ctx.clock.now(),
            policy: RestartPolicy {
                first: settings.backoff_first,
                longest: settings.backoff_longest,
                ..RestartPolicy::default()
            },
            pen: Fenced::new(ctx, fence, "loop:reconcile"),
        }
    }

    /// How long the next turn may wait if nothing happens.
    fn due_in(&self) -> Duration {
        if self.queued() >= QUEUE {
            CALL_LIMIT
        } else {
            self.book.next_due(self.pen.ctx.clock.now())
        }
    }

    /// Takes what comes within a moment, so that a burst of changes is one turn.
    async fn linger(&mut self, moment: Duration) {
        let (moment, burst) = (sleep(moment), sleep(LONGEST_BURST));
        tokio::pin!(moment, burst);
        loop {
            tokio::select! {
                () = &mut moment, if self.queued() <= FEW => return,
                () = &mut burst => return,
                changed = self.sights.next() => self.book.mark(changed),
                Some(done) = self.acts.join_next() => self.note(done),
            }
        }
    }

    /// One look at whoever needs one, at most a batch of them; the rest is due at once.
    async fn turn(&mut self) -> Result<(), Fault> {
        let view = self.pen.ctx.view();
        if !view.loaded || view.stale_since.is_some() {
            return Ok(()); // nothing is decided on an old picture
        }
        if !self.sights.is_known() {
            match self.sights.open().await {
                Ok(changed) => {
                    self.blind = Blind::default();
                    self.book.mark(changed);
                }
                Err(error) => return Err(self.blind.tell(&self.pen, &view, error).await),
            }
        }
        let now = self.pen.ctx.clock.now();
        self.book.compare(&view.agents);
        let parks = self.pen.ctx.runtime.parks();
        let sights = &self.sights;
        self.book.wake(now, |row| {
            let seen = sights.of(&row.id);
            let restarted = seen.is_some_and(|seen| seen.restarts > 0);
            !restarted && glance::at(Some(row), seen, parks, now) == Glance::Quiet
        });
        let room = QUEUE.saturating_sub(self.queued()).min(BATCH);
        let mut batch = Vec::new();
        while batch.len() < room
            && let Some(id) = self.book.pop()
        {
            // what the runtime makes of a pool's own workload is not ours to start or end one by one
            if id.is_of_crew() {
                self.book.settle(&id);
                continue;
            }
            if let Some(until) = self.book.held(&id, now) {
                self.book.wake_at(&id, until);
                continue;
            }
            let (row, seen) = (view.agent(&id).map(AsRef::as_ref), self.sights.of(&id));
            if let Some(until) = row.and_then(|row| self.book.starts_until(row, seen))
                && until > now
            {
                self.book.wake_at(&id, until);
                continue;
            }
            match glance::at(row, seen, parks, now) {
                Glance::Quiet if self.book.has_restarted(&id, seen) => batch.push(id),
                Glance::Quiet => self.book.settle(&id),
                Glance::Until(at) => self.book.wake_at(&id, at),
                Glance::Look => batch.push(id),
            }
        }
        let outcome = self.decide(&batch, now).await;
        if outcome.is_err() {
            self.book.mark(batch);
        }
        outcome
    }

    /// Decides for each of `batch` on its document as it is now, writes what is to be written, queues what is to be done.
    async fn decide(&mut self, batch: &[AgentId], now: Time) -> Result<(), Fault> {
        if batch.is_empty() {
            return Ok(());
        }
        let look = Look::at(&self.pen.ctx, batch).await?;
        let mut writes: BTreeMap<String, Vec<Change>> = BTreeMap::new();
        let mut written: HashMap<Key, (AgentId, Agent)> = HashMap::new();
        for id in batch {
            let Some((document, agent)) = look.agents.found.get(id) else {
                if look.agents.unreadable.contains(id) {
                    self.book.hold(id, now.plus(UNREADABLE));
                } else {
                    self.orphan(id, now);
                }
                continue;
            };
            self.book.compared(id, self.sights.of(id));
            match self.next(id, agent, &look, now) {
                Act::Write { agent: after, kind } => {
                    let change = change(document, agent, &after, kind, self.sights.of(id));
                    written.insert(change.key.clone(), (id.clone(), *after.clone()));
                    writes.entry(after.reason).or_default().push(change);
                }
                act => self.take_up(id, agent, act),
            }
        }
        for (reason, changes) in writes {
            let failed = changes.iter().filter(|change| change.kind == "agent.failed");
            let failed: Vec<Key> = failed.map(|change| change.key.clone()).collect();
            let keys: Vec<Key> = changes.iter().map(|change| change.key.clone()).collect();
            let moved = self.pen.commit_each(&reason, changes).await?;
            for key in moved {
                if let Some((id, _)) = written.remove(&key) {
                    self.book.compared(&id, None);
                    self.book.mark([id]);
                }
            }
            for key in failed {
                if let Some((id, _)) = written.get(&key)
                    && now.since(self.leading_since) > SETTLING
                {
                    self.pen.ctx.blast.note(id, self.pen.ctx.clock.instant());
                }
            }
            for key in keys {
                let Some((id, agent)) = written.remove(&key) else { continue };
                match self.next(&id, &agent, &look, now) {
                    // begun at once, since its document is known
                    act @ Act::Apply => self.take_up(&id, &agent, act),
                    // anything else depends on what was not looked up for it
                    Act::Write { .. }
                    | Act::Remove { .. }
                    | Act::Park { .. }
                    | Act::Forget
                    | Act::Wait(_) => {
                        self.book.mark([id]);
                    }
                }
            }
        }
        Ok(())
    }

    fn next(&self, id: &AgentId, agent: &Agent, look: &Look, now: Time) -> Act {
        let ctx = &self.pen.ctx;
        let heartbeat = look.beats.get(id).copied();
        let own =
            heartbeat.filter(|(_, run)| *run == agent.incarnation && !ctx.runtime.shows_all());
        lifecycle::next(&Facts {
            id: id.as_str(),
            agent,
            seen: self.sights.of(id),
            heartbeat,
            // until it counts as dead
            vouched: own.map(|(at, _)| at.plus(agent.config.heartbeat.interval * DEAD)),
            in_flight: look.in_flight.get(id.as_str()).copied().unwrap_or(0),
            tried: self.book.tried(id),
            leading_since: self.leading_since,
            braked: ctx.brake.borrow().is_some()
                || ctx.blast.holds(ctx.clock.instant(), || ctx.view().agents.len()).is_some(),
            parks: ctx.runtime.parks(),
            policy: self.policy,
            now,
        })
    }

    fn take_up(&mut self, id: &AgentId, agent: &Agent, act: Act) {
        match act {
            Act::Wait(None) => {}
            Act::Wait(Some(at)) => self.book.wake_at(id, at),
            Act::Apply | Act::Remove { .. } | Act::Park { .. } | Act::Forget => {
                if act == Act::Apply {
                    let since = agent.phase_since.max(self.leading_since);
                    let Agent { incarnation, generation, .. } = *agent;
                    let late = since.plus(agent.config.start_timeout);
                    self.book.begin_start(id, Start { incarnation, generation, late });
                } else {
                    self.book.begin(id);
                }
                let job = Job { id: id.clone(), agent: agent.clone(), act };
                let (ctx, calls) = (self.pen.ctx.clone(), self.calls.clone());
                self.acts.spawn(async move {
                    let _turn = calls.acquire().await.ok()?;
                    Some(perform(ctx, job).await)
                });
            }
            Act::Write { .. } => self.book.mark([id.clone()]),
        }
    }

    /// A workload without a record ends and is forgotten, unless it may be another fleet's.
    fn orphan(&mut self, id: &AgentId, now: Time) {
        if !self.pen.ctx.runtime.is_ours_alone() {
            return self.book.drop(id);
        }
        let Some(seen) = self.sights.of(id) else { return self.book.drop(id) };
        let tried = self.book.tried(id);
        let act = if seen.is_alive() {
            lifecycle::removal(tried, seen.incarnation, ORPHAN_GRACE, now)
        } else if tried.forgotten {
            // the runtime shows it a moment longer; if it stays, it is forgotten once more
            return self.book.hold(id, now.plus(lifecycle::REMOVED_WITHIN));
        } else {
            Act::Forget
        };
        if matches!(act, Act::Remove { .. }) {
            tracing::warn!(agent = %id, "a workload without a record is removed");
        }
        self.take_up(id, &Agent::default(), act);
    }

    /// Calls that wait for their turn.
    fn queued(&self) -> usize {
        self.acts.len().saturating_sub(ACTS_AT_ONCE)
    }

    fn note(&mut self, done: Result<Option<Done>, JoinError>) {
        let done = match done {
            Ok(Some(done)) => done,
            Ok(None) => return, // it was never begun
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic), // the supervisor's to tell
                Err(_) => return,
            },
        };
        if let Err(error) = &done.outcome {
            tracing::warn!(agent = %done.agent, error = chain(error), "the runtime did not do it");
        }
        self.book.end(done, self.pen.ctx.clock.now());
    }

    /// Calls under way get a moment to end; what was queued is done by the next leader.
    async fn finish(mut self) {
        self.calls.close();
        let rest = async { while self.acts.join_next().await.is_some() {} };
        if timeout(FINISH, rest).await.is_err() {
            tracing::warn!(calls = self.acts.len(), "calls to the runtime were left unfinished");
        }
    }
}

async fn perform(ctx: Arc<Context>, job: Job) -> Done {
    let Job { id, agent, act } = job;
    let step = match &act {
        Act::Apply => "apply",
        Act::Remove { .. } => "remove",
        Act::Park { .. } => "park",
        Act::Forget => "forget",
        Act::Write { .. } | Act::Wait(_) => "nothing",
    };
    crash::point("before", step);
    let call = async {
        match &act {
            Act::Apply => ctx.runtime.apply(workload::of(&ctx, &id, &agent)).await,
            Act::Remove { grace, .. } => ctx.runtime.remove(&id, *grace).await,
            Act::Park { parked } => ctx.runtime.park(&id, *parked).await,
            Act::Forget => ctx.runtime.forget(&id).await,
            Act::Write { .. } | Act::Wait(_) => Ok(()),
        }
    };
    let silent = |_| Err(RuntimeError::OutcomeUnknown("no answer in time".into()));
    let outcome = timeout(CALL_LIMIT, call).await.unwrap_or_else(silent);
    crash::point("after", step);
    if let (Act::Apply, Err(RuntimeError::Rejected { .. })) = (&act, &outcome) {
        // whatever it had begun of it; the refusal itself is what counts
        let _ = ctx.runtime.remove(&id, Duration::ZERO).await;
    }
    Done { agent: id, incarnation: agent.incarnation, act, outcome }
}

/// The documents that a batch is decided on.
#[derive(Default)]
struct Look {
    agents: documents::Agents,
    /// When the last heartbeat came, and from which incarnation; of those that are deployed or should run.
    beats: HashMap<AgentId, (Time, u64)>,
    /// Messages held, by those that are draining.
    in_flight: HashMap<String, u64>,
}

impl Look {
    async fn at(ctx: &Context, batch: &[AgentId]) -> Result<Self, StoreError> {
        let keys = |ids: &[AgentId]| -> Result<Vec<Key>, StoreError> {
            ids.iter().map(|id| Key::new(id.as_str())).collect()
        };
        let mut look = Self::default();
        look.agents.extend(ctx.store.get_many(Collection::Agents, &keys(batch)?).await?);
        let within = |phases: &[Phase]| -> Vec<AgentId> {
            let found =
                look.agents.found.iter().filter(|(_, (_, agent))| phases.contains(&agent.phase));
            found.map(|(id, _)| id.clone()).collect()
        };
        let beating = match ctx.runtime.shows_all() {
            true => within(&[Phase::Deploying]),
            false => within(&[Phase::Deploying, Phase::Running, Phase::Paused]),
        };
        let draining = within(&[Phase::Draining]);
        if !beating.is_empty() {
            for document in ctx.store.get_many(Collection::AgentHealth, &keys(&beating)?).await? {
                let id = AgentId::new(document.key.as_str());
                match (id, read::<AgentHealth>(&document)) {
                    (Ok(id), Ok(health)) => {
                        let beat = health.last_heartbeat.map(|at| (at, health.incarnation));
                        look.beats.extend(beat.map(|beat| (id, beat)));
                    }
                    // agents write this themselves: what cannot be read is no heartbeat
                    (_, Err(error)) => {
                        tracing::warn!(error = chain(&error), "a heartbeat is passed over");
                    }
                    (Err(_), Ok(_)) => {}
                }
            }
        }
        if !draining.is_empty() {
            look.in_flight = held(ctx, &draining).await?;
        }
        Ok(look)
    }
}

/// How many messages each of `agents` holds.
async fn held(ctx: &Context, agents: &[AgentId]) -> Result<HashMap<String, u64>, StoreError> {
    let field = |name| {
        Field::new(name).map_err(|message| StoreError::Invalid { message: message.to_string() })
    };
    let receiver = field("to_agent_id")?;
    let ids = agents.iter().map(|id| Value::from(id.as_str())).collect();
    let filter = Filter::And(vec![
        Filter::In(receiver.clone(), ids),
        Filter::Eq(field("status")?, MessageStatus::Leased.name().into()),
        Filter::Gt(field("lease_until")?, ctx.clock.now().to_string().into()),
    ]);
    let tallies = ctx.store.tally(Collection::AgentMessages, filter, &[receiver], None).await?;
    let count = |tally: Tally| Some((tally.values.first()?.as_str()?.to_owned(), tally.count));
    Ok(tallies.into_iter().filter_map(count).collect())
}

fn change(
    document: &Document,
    before: &Agent,
    after: &Agent,
    kind: &'static str,
    seen: Option<&Observed>,
) -> Change {
    let evidence = match (kind, seen) {
        ("agent.failed", Some(seen)) => json!({
            "incarnation": seen.incarnation,
            "state": format!("{:?}", seen.state).to_lowercase(),
            "exit": seen.exit.map(|exit| exit.to_string()),
            "message": seen.message,
            "pid": seen.pid,
            "node": seen.node,
        }),
        _ => Value::Null,
    };
    Change {
        collection: Collection::Agents,
        key: document.key.clone(),
        before: Some(document.clone()),
        after: Some(overlay(&document.body, before, after)),
        kind,
        subject: after.name.clone(),
        evidence,
    }
}
