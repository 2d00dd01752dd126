//! Health: judges every agent whose inputs changed or whose deadline fell due, writes what changed with its evidence, restarts
//! what runs but does not answer, and holds the blast-radius brake. Usage is sampled beside it.

mod restarts;
#[cfg(test)]
mod tests;
mod usage;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::restarts::Restarts;
use crate::engine::context::Context;
use crate::engine::documents::{self, body, overlay};
use crate::engine::fenced::{Fault, Fenced, Pace};
use crate::engine::journal::{Change, Fence};
use crate::engine::reconcile::diff;
use crate::engine::row_watch::RowWatch;
use crate::engine::view::{AgentRow, FleetView};
use crate::model::agent::lifecycle::{self, RestartPolicy};
use crate::model::agent::{Agent, Desired, Phase};
use crate::model::health::verdict::{Check, Inputs, Thresholds, Watched, is_turn_for_the_worse};
use crate::model::health::{HealthStatus, Usage};
use crate::model::id::AgentId;
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::store::{BoxError, Document, Key, Write};

const NAME: &str = "health";
const ACTOR: &str = "loop:health";
/// Changes are taken together for a moment, so that a burst of samples is one turn.
const GATHER: Duration = Duration::from_millis(100);
/// While the brake holds, a turn is never further off than this: it has to let go in time.
const LOOK: Duration = Duration::from_secs(2);
/// The same while nothing is the matter; well below [`DEAF`].
const REST: Duration = Duration::from_secs(5);
/// A gap of this length between two turns was a stall or a suspended machine: nobody could listen.
const DEAF: Duration = Duration::from_secs(20);
/// What has turned bad this soon after the leader began did so while nobody led.
const SETTLING: Duration = Duration::from_secs(5);
const BATCH: usize = 200;

struct Monitor {
    pen: Fenced,
    thresholds: Thresholds,
    policy: RestartPolicy,
    rows: Arc<[Arc<AgentRow>]>,
    restarts: Restarts,
    watched: HashMap<AgentId, Watched>,
    due: BTreeSet<AgentId>,
    timers: BinaryHeap<Reverse<(Time, AgentId)>>,
    leading_since: Time,
    /// Silence from before this counts against nobody.
    listening_since: Time,
    last_turn: Time,
}

/// A settled change, as it is to be written.
struct News {
    id: AgentId,
    check: Check,
    after: Watched,
    evidence: Value,
}

/// Judges and samples until `stop` fires.
///
/// # Errors
/// When another leader has begun.
pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let judging = judge(ctx.clone(), fence.clone(), stop.clone());
    tokio::try_join!(judging, usage::run(ctx, fence, stop))?;
    Ok(())
}

async fn judge(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let mut changes = RowWatch::of(&ctx);
    let mut monitor = Monitor::new(ctx.clone(), fence);
    let mut pace = Pace::default();
    while !stop.is_cancelled() {
        let began = ctx.clock.instant();
        let outcome = monitor.turn().await;
        if let Some(pause) = pace.turned(&ctx, NAME, began, outcome)? {
            stop.run_until_cancelled(sleep(pause)).await;
            continue;
        }
        let due = monitor.next_due();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // where deadlines are close to one another they are taken together too
            () = sleep(due) => if due >= LOOK { continue },
            changed = changes.changed() => if changed.is_err() { break },
            touched = monitor.restarts.next() => monitor.due.extend(touched),
        }
        stop.run_until_cancelled(sleep(GATHER)).await;
    }
    // the brake is this term's; the next leader makes up its own mind
    ctx.brake.send_if_modified(|brake| brake.take().is_some());
    Ok(())
}

impl Monitor {
    fn new(ctx: Arc<Context>, fence: Fence) -> Self {
        let (settings, now) = (&ctx.settings, ctx.clock.now());
        Self {
            thresholds: Thresholds {
                failure: settings.failure_threshold,
                success: settings.success_threshold,
                interval: settings.health_interval,
            },
            policy: RestartPolicy {
                first: settings.backoff_first,
                longest: settings.backoff_longest,
                ..RestartPolicy::default()
            },
            rows: Arc::default(),
            restarts: Restarts::new(ctx.runtime.clone()),
            watched: HashMap::new(),
            due: BTreeSet::new(),
            timers: BinaryHeap::new(),
            leading_since: now,
            listening_since: now,
            last_turn: now,
            pen: Fenced::new(ctx, fence, ACTOR),
        }
    }

    async fn turn(&mut self) -> Result<(), Fault> {
        let (view, now) = (self.pen.ctx.view(), self.pen.ctx.clock.now());
        let deaf = now.since(self.last_turn) > DEAF || self.last_turn.since(now) > DEAF;
        self.last_turn = now;
        if !view.loaded || view.stale_since.is_some() || deaf {
            self.listening_since = now;
        }
        if !view.loaded || view.stale_since.is_some() {
            return Ok(());
        }
        // without the runtime, heartbeats and samples are still judged
        let opened = self.open().await;
        self.compare(&view);
        while self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((at, agent))) = self.timers.pop() else { break };
            // an older deadline of one that was looked at since means nothing
            if self.watched.get(&agent).is_some_and(|watched| watched.due == Some(at)) {
                self.due.insert(agent);
            }
        }
        let mut news = Vec::new();
        let mut silent = Vec::new();
        for id in std::mem::take(&mut self.due) {
            let Some(row) = view.agent(&id) else { continue };
            self.check(row, now, &mut news, &mut silent);
        }
        let outcome = self.tell(news, now).await;
        self.brake(&view);
        outcome?;
        if !silent.is_empty() && self.pen.ctx.brake.borrow().is_none() {
            self.restart(silent, now).await?;
        }
        opened
    }

    async fn open(&mut self) -> Result<(), Fault> {
        if !self.restarts.is_known() {
            let touched = self.restarts.open().await?;
            self.due.extend(touched);
        }
        // a view that already shows an agent up must not meet an older sight of it
        while let Some(touched) = self.restarts.ready() {
            self.due.extend(touched);
        }
        Ok(())
    }

    /// Marks those whose inputs changed.
    fn compare(&mut self, view: &FleetView) {
        if Arc::ptr_eq(&self.rows, &view.agents) {
            return;
        }
        diff::each(
            &self.rows,
            &view.agents,
            |row| &row.id,
            |was, is| match (was, is) {
                (Some(was), Some(is)) if essence(was) == essence(is) => {}
                (_, Some(is)) => drop(self.due.insert(is.id.clone())),
                (Some(was), None) => drop(self.watched.remove(&was.id)),
                (None, None) => {}
            },
        );
        self.rows = view.agents.clone();
    }

    fn check(
        &mut self,
        row: &AgentRow,
        now: Time,
        news: &mut Vec<News>,
        silent: &mut Vec<AgentId>,
    ) {
        let said = Said {
            restarting: self.restarts.of(&row.id),
            lost: self.restarts.lost(&row.id),
            beside: self.restarts.beside(&row.id),
        };
        let parks = self.pen.ctx.runtime.parks();
        let inputs = inputs(row, said, parks, self.listening_since, now);
        let known = self.watched.get(&row.id).copied();
        let mut after = known.unwrap_or_else(|| Watched::new(row.health));
        let before = after;
        let check = after.check(&inputs, self.thresholds);
        if let Some(due) = after.due {
            self.timers.push(Reverse((due, row.id.clone())));
        }
        if check.verdict.silent
            && after.status == HealthStatus::Unhealthy
            && !after.flap.is_flapping()
            && is_wanted_up(row)
            && !row.id.is_of_crew()
        {
            silent.push(row.id.clone());
        }
        if check.changed || check.reworded || check.flapping.is_some() {
            let evidence = evidence(&inputs, &before, &after);
            // counted as settled only once it is written
            self.watched.insert(row.id.clone(), before);
            news.push(News { id: row.id.clone(), check, after, evidence });
        } else {
            self.watched.insert(row.id.clone(), after);
        }
    }

    /// Writes settled changes on the documents as they are now; who was changed meanwhile is judged again.
    async fn tell(&mut self, news: Vec<News>, now: Time) -> Result<(), Fault> {
        let mut left = news.into_iter().peekable();
        while left.peek().is_some() {
            let batch: Vec<News> = left.by_ref().take(BATCH).collect();
            if let Err(fault) = self.tell_batch(&batch, now).await {
                let untold = batch.into_iter().chain(left).map(|news| news.id);
                self.due.extend(untold);
                return Err(fault);
            }
        }
        Ok(())
    }

    async fn tell_batch(&mut self, batch: &[News], now: Time) -> Result<(), Fault> {
        let mut found = agents(&self.pen.ctx, batch.iter().map(|news| &news.id)).await?.found;
        // the journal takes one reason a commit: what is said alike goes together
        let mut alike: HashMap<&str, Vec<(&News, Change)>> = HashMap::new();
        for news in batch {
            let Some((document, agent)) = found.remove(&news.id) else { continue };
            let change = change(&document, &agent, news, now);
            // who leads anew has not heard what its predecessor told
            if !news.check.changed && change.after.as_ref() == Some(&document.body) {
                self.settle(news, now)?;
                continue;
            }
            alike.entry(news.check.verdict.message.as_str()).or_default().push((news, change));
        }
        for (reason, said) in alike {
            let (told, changes): (Vec<&News>, Vec<Change>) = said.into_iter().unzip();
            let moved = self.pen.commit_each(reason, changes).await?;
            let moved: BTreeSet<&str> = moved.iter().map(Key::as_str).collect();
            let mut notes = Vec::new();
            for news in told {
                if moved.contains(news.id.as_str()) {
                    self.due.insert(news.id.clone());
                    continue;
                }
                notes.push(self.settle(news, now)?);
            }
            self.pen.sample(notes).await?;
        }
        Ok(())
    }

    /// What is written is settled; returns the note for `agent_health`.
    fn settle(&mut self, news: &News, now: Time) -> Result<Write, Fault> {
        let before = self.watched.insert(news.id.clone(), news.after);
        let from = before.map_or(HealthStatus::Unknown, |before| before.status);
        if is_turn_for_the_worse(from, news.after.status)
            && now.since(self.leading_since) > SETTLING
        {
            self.pen.ctx.blast.note(&news.id, self.pen.ctx.clock.instant());
        }
        let fields = body(&json!({
            "agent_id": news.id.as_str(),
            "status": news.after.status,
            "message": news.check.verdict.message,
            "checked_at": now,
            "streak": news.after.streak,
        }))?;
        let key = Key::new(news.id.as_str())?;
        Ok(Write::Merge { collection: Collection::AgentHealth, key, fields, create: true })
    }

    /// What runs and does not answer fails like what has crashed; the reconcile loop ends it and starts it again.
    async fn restart(&mut self, silent: Vec<AgentId>, now: Time) -> Result<(), Fault> {
        for (document, agent) in agents(&self.pen.ctx, silent.iter()).await?.found.into_values() {
            let up = matches!(agent.phase, Phase::Running | Phase::Paused);
            if !up || agent.health.status != HealthStatus::Unhealthy {
                continue;
            }
            let id = document.key.as_str();
            let reason = format!("unhealthy: {}", agent.health.message);
            let failed = lifecycle::failed(id, &agent, reason.clone(), false, self.policy, now);
            let Some(after) = failed else { continue };
            let change = Change {
                collection: Collection::Agents,
                key: document.key.clone(),
                after: Some(overlay(&document.body, &agent, &after)),
                before: Some(document.clone()),
                kind: "agent.failed",
                subject: agent.name.clone(),
                evidence: json!({"incarnation": agent.incarnation, "health": agent.health}),
            };
            self.pen.commit_each(&reason, vec![change]).await?;
        }
        Ok(())
    }

    /// Shows the brake for as long as it holds.
    fn brake(&self, view: &FleetView) {
        let counted = || view.agents.iter().filter(|row| is_wanted_up(row)).count();
        let holds = self.pen.ctx.blast.holds(self.pen.ctx.clock.instant(), counted);
        self.pen.ctx.brake.send_if_modified(|shown| {
            if shown.is_some() == holds.is_some() {
                return false;
            }
            match &holds {
                Some(why) => tracing::warn!(why, "the brake holds"),
                None => tracing::info!("the brake lets go"),
            }
            *shown = holds.as_deref().map(Safe::new);
            true
        });
    }

    fn next_due(&self) -> Duration {
        if !self.due.is_empty() {
            return Duration::ZERO;
        }
        let longest = if self.pen.ctx.brake.borrow().is_some() { LOOK } else { REST };
        let now = self.pen.ctx.clock.now();
        self.timers.peek().map_or(longest, |Reverse((at, _))| at.since(now)).min(longest)
    }
}

/// The agents as they are now.
async fn agents(
    ctx: &Context,
    ids: impl Iterator<Item = &AgentId>,
) -> Result<documents::Agents, Fault> {
    let keys: Vec<Key> = ids.map(|id| Key::new(id.as_str())).collect::<Result<_, _>>()?;
    let mut agents = documents::Agents::default();
    for keys in keys.chunks(1_000) {
        agents.extend(ctx.store.get_many(Collection::Agents, keys).await?);
    }
    Ok(agents)
}

fn is_wanted_up(row: &AgentRow) -> bool {
    matches!(row.desired, Desired::Running | Desired::Paused)
}

/// What the runtime says of an agent.
struct Said<'a> {
    restarting: Option<&'a str>,
    lost: Option<&'a str>,
    beside: Option<&'a str>,
}

fn inputs<'a>(
    row: &'a AgentRow,
    said: Said<'a>,
    parked: bool,
    listening_since: Time,
    now: Time,
) -> Inputs<'a> {
    let Said { restarting, lost, beside } = said;
    Inputs {
        restarting,
        lost,
        beside,
        parked,
        phase: row.phase,
        phase_since: row.phase_since,
        reason: row.reason.as_str(),
        failures: row.failures,
        usage: row.usage.map(|usage| Usage {
            at: usage.at,
            cpu_millis: usage.cpu_millis,
            memory_bytes: usage.memory_bytes,
        }),
        cpu_limit: row.cpu_limit,
        memory_limit: row.memory_limit,
        heartbeat: row.heartbeat,
        interval: row.heartbeat_interval,
        required: row.heartbeat_required,
        oldest: row.queue.oldest,
        listening_since,
        now,
    }
}

/// What of a row is an input. The oldest message is looked at when its deadline falls due.
fn essence(row: &AgentRow) -> impl PartialEq + use<> {
    let life: (Phase, Time, u32, Desired) = (row.phase, row.phase_since, row.failures, row.desired);
    (life, row.heartbeat, row.usage.map(|usage| usage.at), row.queue.oldest.is_some())
}

/// What the verdict rests on.
fn evidence(inputs: &Inputs<'_>, before: &Watched, after: &Watched) -> Value {
    json!({
        "from": before.status,
        "to": after.status,
        "phase": inputs.phase,
        "restarting": inputs.restarting,
        "lost": inputs.lost,
        "beside": inputs.beside,
        "heartbeat": inputs.heartbeat,
        "heartbeat_interval_ms": u64::try_from(inputs.interval.as_millis()).unwrap_or(u64::MAX),
        "usage": inputs.usage,
        "limits": {"cpu_millis": inputs.cpu_limit, "memory_bytes": inputs.memory_limit},
        "oldest_message": inputs.oldest,
        "checks": before.streak + 1,
        "flap_score": (after.flap.score() * 10.0).round() / 10.0,
    })
}

fn change(document: &Document, agent: &Agent, news: &News, now: Time) -> Change {
    let mut after = agent.clone();
    if agent.health.status != news.after.status || agent.health.since == Time::default() {
        after.health.since = now;
    }
    after.health.status = news.after.status;
    after.health.message.clone_from(&news.check.verdict.message);
    if news.after.flap.is_flapping() {
        after.health.extra.insert("flapping".to_owned(), true.into());
    } else {
        after.health.extra.remove("flapping");
    }
    let kind = match news.check.flapping {
        Some(true) => "health.flapping",
        Some(false) if !news.check.changed => "health.steady",
        Some(false) | None => "health.changed",
    };
    Change {
        collection: Collection::Agents,
        key: document.key.clone(),
        before: Some(document.clone()),
        after: Some(overlay(&document.body, agent, &after)),
        kind,
        subject: agent.name.clone(),
        evidence: news.evidence.clone(),
    }
}
