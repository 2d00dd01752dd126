//! Plans about agents that exist: start, pause, resume, drain, stop, restart, delete, one by one or a whole pool.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::draft::{AT_ONCE, Draft, count, target};
use super::planner::Planner;
use super::resolve::{Found, refused};
use super::reversal::Reversal;
use crate::engine::handle::CommandError;
use crate::model::agent::intent::{Intent, Refusal};
use crate::model::agent::{Agent, Desired, Phase};
use crate::model::filter::Filter;
use crate::model::id::{AgentId, PoolId};
use crate::model::operation::UndoInfo;
use crate::model::plan::{Goal, Noun, Targets, Tier};
use crate::model::pool::Pool;
use crate::model::scaling::Mode;
use crate::model::schema::Collection;
use crate::model::template::FieldError;
use crate::model::text::capital;
use crate::model::time::span;

/// Ending no more agents than this never takes a typed word (`console.md` §2, tier 3).
const FEW: usize = 10;

/// The agents that a command is about, and the pools that these belong to.
#[derive(Debug)]
pub(super) struct Crowd {
    pub agents: Vec<Found<Agent>>,
    pub pools: BTreeMap<String, Pool>,
    /// How many agents the pools have in all, and how many of the agents have no pool.
    pub among: usize,
}

impl Crowd {
    /// How many may be ended before it takes a typed word.
    pub(super) fn few(&self) -> usize {
        FEW.max(self.among / 10)
    }
}

impl Planner<'_> {
    /// The members of a pool that are not on their way out.
    pub(super) async fn members(&self, pool: &str) -> Result<Vec<Found<Agent>>, CommandError> {
        let documents = self.resolver.all(Collection::Agents, Filter::eq("pool_id", pool)).await?;
        let mut members: Vec<Found<Agent>> = super::resolve::typed(documents)?;
        members
            .retain(|it| it.value.desired != Desired::Deleted && it.value.phase != Phase::Deleted);
        Ok(members)
    }

    pub(super) async fn crowd(&self, targets: &Targets) -> Result<Crowd, CommandError> {
        if targets.names.is_empty() {
            let fault =
                FieldError::new("/targets", format!("expected at least one {}", targets.noun));
            return Err(CommandError::Invalid { errors: vec![fault] });
        }
        let mut crowd = Crowd { agents: Vec::new(), pools: BTreeMap::new(), among: 0 };
        match targets.noun {
            Noun::Agent => {
                crowd.agents = self.resolver.many(Noun::Agent, &targets.names).await?;
                let pools: Vec<String> = crowd
                    .agents
                    .iter()
                    .filter_map(|it| it.value.pool_id.as_ref().map(ToString::to_string))
                    .collect();
                self.add_pools(&mut crowd, pools).await?;
            }
            Noun::Pool => {
                for pool in self.resolver.many::<Pool>(Noun::Pool, &targets.names).await? {
                    let members = self.members(pool.id()).await?;
                    crowd.among += members.len();
                    crowd.agents.extend(members);
                    crowd.pools.insert(pool.id().to_owned(), pool.value);
                }
            }
            Noun::Template
            | Noun::Message
            | Noun::Subscription
            | Noun::Publication
            | Noun::Operation => {
                return Err(refused(format!(
                    "this is for agents and pools; a {} cannot be asked for it",
                    targets.noun
                )));
            }
        }
        Ok(crowd)
    }

    /// Reads the pools that agents named one by one belong to, and counts what they are among.
    async fn add_pools(&self, crowd: &mut Crowd, pools: Vec<String>) -> Result<(), CommandError> {
        crowd.among = crowd.agents.iter().filter(|it| it.value.pool_id.is_none()).count();
        let keys: std::collections::BTreeSet<String> = pools.into_iter().collect();
        let keys: Vec<_> =
            keys.iter().map(|id| crate::ports::store::Key::new(id)).collect::<Result<_, _>>()?;
        for keys in keys.chunks(1_000) {
            for document in self.ctx.store.get_many(Collection::AgentPools, keys).await? {
                let alive = Filter::And(vec![
                    Filter::eq("pool_id", document.key.as_str()),
                    Filter::ne("desired", "deleted"),
                ]);
                let members = self.ctx.store.count(Collection::Agents, alive).await?;
                crowd.among += usize::try_from(members).unwrap_or(usize::MAX);
                crowd
                    .pools
                    .insert(document.key.to_string(), crate::engine::documents::read(&document)?);
            }
        }
        Ok(())
    }

    /// The plan of one wish for many agents.
    pub(super) async fn wish(
        &self,
        intent: Intent,
        targets: &Targets,
        deadline: Option<Duration>,
    ) -> Result<Draft, CommandError> {
        let crowd = self.crowd(targets).await?;
        let mut draft = Draft::new(String::new(), tier(intent));
        let mut wished: Vec<&Found<Agent>> = Vec::new();
        let mut refusals: Vec<Refusal> = Vec::new();
        let mut already = 0;
        for found in &crowd.agents {
            draft.rely_on_agent(found.id(), &found.value);
            if found.id().starts_with(AgentId::OF_CREWS) {
                refusals.push(Refusal::OfCrew { agent: found.value.name.clone() });
                continue;
            }
            match intent.apply(&found.value, deadline, self.now) {
                Ok(Some(_)) => wished.push(found),
                Ok(None) => already += 1,
                Err(refusal) => refusals.push(refusal),
            }
        }
        let flags = self.pool_flag(intent, targets, &mut draft).await?;
        if wished.is_empty()
            && already == 0
            && flags.is_empty()
            && let Some(first) = refusals.first()
        {
            let more = refusals.len() - 1;
            let rest = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            return Err(refused(format!("{first}{rest}")));
        }
        draft.title = title(intent, targets, &crowd, &wished);
        draft.warnings.extend(refusals.iter().take(5).map(|it| format!("left out: {it}")));
        if refusals.len() > 5 {
            draft.warnings.push(format!("left out: {} more", refusals.len() - 5));
        }
        if already > 0 {
            draft.fact("unchanged", format!("{} already so", count(already, "agent")));
        }
        if intent.ends() {
            self.judge_ending(intent, targets, &crowd, &wished, &mut draft);
        }
        let batches = batches(intent, draft.tier, &crowd, &wished);
        for (found, batch) in wished.iter().zip(&batches) {
            let note = self.note(intent, &found.value, deadline);
            draft.wishes(*batch, intent, found, deadline, self.now, note);
        }
        let last = batches.iter().max().copied().unwrap_or(0);
        if last > 0 {
            draft.fact("batches", format!("{}, each waits for the one before", last + 1));
        }
        if intent == Intent::Delete {
            warn_of_replacement(&crowd, &wished, &mut draft);
        }
        self.add_load(&wished, &mut draft);
        draft.undo = undo(intent, &wished, flags);
        Ok(draft)
    }

    /// Pausing or resuming a pool also marks the pool, so that agents it gets later follow.
    async fn pool_flag(
        &self,
        intent: Intent,
        targets: &Targets,
        draft: &mut Draft,
    ) -> Result<Vec<Value>, CommandError> {
        let paused = match (intent, targets.noun) {
            (Intent::Pause, Noun::Pool) => true,
            (Intent::Resume, Noun::Pool) => false,
            _ => return Ok(Vec::new()),
        };
        let pools: Vec<Found<Pool>> = self.resolver.many(Noun::Pool, &targets.names).await?;
        let mut reversals = Vec::new();
        for pool in pools {
            draft.rely_on_pool(pool.id(), &pool.value);
            if paused && pool.value.scaling.mode == Mode::Hpa {
                return Err(refused(format!(
                    "pool {} cannot be paused: its autoscaler needs at least one agent; set its scaling mode to manual first",
                    pool.value.name
                )));
            }
            if pool.value.paused != paused {
                let mut after = pool.value.clone();
                after.paused = paused;
                let reversal = self.change_pool(draft, &pool, after, "pool.pause_requested");
                let what = target(Noun::Pool, pool.id(), pool.value.name.clone());
                draft.step(0, intent.name(), what, Goal::Written, "agents it gets later follow");
                reversals.push(reversal);
            }
        }
        Ok(reversals)
    }

    /// Ending more than a few takes a typed word, and goes in batches no larger than what needs none.
    fn judge_ending(
        &self,
        intent: Intent,
        targets: &Targets,
        crowd: &Crowd,
        wished: &[&Found<Agent>],
        draft: &mut Draft,
    ) {
        if wished.len() <= crowd.few() {
            return;
        }
        draft.at_least(Tier::Three);
        draft.confirm_word = Some(match (targets.noun, targets.names.len()) {
            (Noun::Pool, 1) => {
                crowd.pools.values().next().map_or_else(String::new, |it| it.name.clone())
            }
            _ => format!("{intent} {}", wished.len()),
        });
    }

    fn note(&self, intent: Intent, agent: &Agent, deadline: Option<Duration>) -> String {
        let grace = || span::format(deadline.unwrap_or(agent.config.grace));
        match intent {
            Intent::Restart => format!("run {} → {}", agent.incarnation, agent.incarnation + 1),
            Intent::Drain => format!("takes no new work, at most {} for the work in hand", grace()),
            Intent::Start | Intent::Pause | Intent::Resume | Intent::Stop => {
                format!("{} → {}", agent.phase, becomes(intent))
            }
            Intent::Delete => "drained first; a tombstone stays 24 h".to_owned(),
        }
    }

    /// What the agents have in hand and in their queues, if the picture is complete.
    fn add_load(&self, wished: &[&Found<Agent>], draft: &mut Draft) {
        let view = self.ctx.view();
        if !view.loaded {
            return;
        }
        let rows = wished.iter().filter_map(|found| {
            let at = view.agents.binary_search_by(|row| row.id.as_str().cmp(found.id())).ok()?;
            Some(view.agents[at].queue)
        });
        let (leased, pending) =
            rows.fold((0, 0), |sum, queue| (sum.0 + queue.leased, sum.1 + queue.pending));
        draft.fact("in flight", count(usize::try_from(leased).unwrap_or(usize::MAX), "message"));
        draft.fact("queued", count(usize::try_from(pending).unwrap_or(usize::MAX), "message"));
    }
}

/// A pool keeps its number: who deletes a member gets another.
fn warn_of_replacement(crowd: &Crowd, wished: &[&Found<Agent>], draft: &mut Draft) {
    for (id, pool) in crowd.pools.iter().filter(|(_, pool)| !pool.deleting) {
        let of =
            |it: &&&Found<Agent>| it.value.pool_id.as_ref().is_some_and(|own| own.as_str() == id);
        let gone = count(wished.iter().filter(of).count(), "agent");
        let name = &pool.name;
        draft.warnings.push(format!("pool {name} replaces the {gone}: scale it to have fewer"));
    }
}

fn becomes(intent: Intent) -> Phase {
    match intent {
        Intent::Start | Intent::Resume | Intent::Restart => Phase::Running,
        Intent::Pause => Phase::Paused,
        Intent::Drain | Intent::Stop => Phase::Stopped,
        Intent::Delete => Phase::Deleted,
    }
}

fn tier(intent: Intent) -> Tier {
    match intent {
        Intent::Start | Intent::Pause | Intent::Resume => Tier::One,
        Intent::Drain | Intent::Stop | Intent::Restart | Intent::Delete => Tier::Two,
    }
}

fn title(intent: Intent, targets: &Targets, crowd: &Crowd, wished: &[&Found<Agent>]) -> String {
    let verb = capital(intent.name());
    match (targets.noun, wished) {
        (Noun::Pool, _) => {
            let names: Vec<&str> = crowd.pools.values().map(|pool| pool.name.as_str()).collect();
            let n = count(wished.len(), "agent");
            format!("{verb} {n} of pool {}", names.join(", "))
        }
        (_, [one]) => format!("{verb} agent {}", one.value.name),
        (_, many) => format!("{verb} {}", count(many.len(), "agent")),
    }
}

/// The batch of each agent, in order. Restarts go by their pool's `max_unavailable`; endings that need a typed word by
/// what would need none; everything else at once, as far as a transaction goes.
fn batches(intent: Intent, tier: Tier, crowd: &Crowd, wished: &[&Found<Agent>]) -> Vec<u32> {
    let mut taken: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let size = |pool: Option<&str>| -> usize {
        if intent == Intent::Restart {
            let pool = pool.and_then(|pool| crowd.pools.get(pool));
            return pool.map_or(AT_ONCE, |pool| pool.update.max_unavailable.max(1) as usize);
        }
        if intent.ends() && tier == Tier::Three { crowd.few() } else { AT_ONCE }
    };
    let numbers = wished.iter().map(|found| {
        let pool = found.value.pool_id.as_ref().map(PoolId::as_str);
        let lane = if intent == Intent::Restart { pool } else { None };
        let at = taken.entry(lane).or_insert(0);
        *at += 1;
        u32::try_from((*at - 1) / size(pool)).unwrap_or(u32::MAX)
    });
    fitted(&numbers.collect::<Vec<_>>())
}

/// The batches renumbered, so that none is larger than a transaction takes.
fn fitted(batches: &[u32]) -> Vec<u32> {
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    for batch in batches {
        *sizes.entry(*batch).or_default() += 1;
    }
    let mut next = 0;
    let starts: BTreeMap<u32, usize> = sizes
        .iter()
        .map(|(batch, size)| {
            let start = next;
            next += size.div_ceil(AT_ONCE);
            (*batch, start)
        })
        .collect();
    let mut met: BTreeMap<u32, usize> = BTreeMap::new();
    let renumber = |batch: &u32| {
        let at = met.entry(*batch).or_default();
        *at += 1;
        let start = starts.get(batch).copied().unwrap_or_default();
        u32::try_from(start + (*at - 1) / AT_ONCE).unwrap_or(u32::MAX)
    };
    batches.iter().map(renumber).collect()
}

fn undo(intent: Intent, wished: &[&Found<Agent>], mut documents: Vec<Value>) -> UndoInfo {
    let all = count(wished.len(), "agent");
    let (now, note) = match intent {
        Intent::Pause => (Desired::Paused, format!("resume {all}")),
        Intent::Resume => (Desired::Running, format!("pause {all} again")),
        Intent::Stop => (Desired::Stopped, format!("start {all} again")),
        Intent::Start => (Desired::Running, format!("stop {all} again")),
        Intent::Delete => (Desired::Deleted, format!("restore {all}, within 24 h")),
        Intent::Restart => {
            let why = "a run that has ended cannot be continued".to_owned();
            return UndoInfo::Never { why };
        }
        Intent::Drain => {
            let why = "work that was finished or given back stays so; start the agents instead";
            return UndoInfo::Never { why: why.to_owned() };
        }
    };
    // a failed agent that is only tried again at once was wanted running before too
    let changed = wished.iter().filter(|found| found.value.desired != now);
    documents.extend(changed.map(|found| {
        let (id, name) = (found.id().to_owned(), found.value.name.clone());
        let was = found.value.desired;
        match now {
            Desired::Deleted => Reversal::Deleted { id, name, desired: was },
            Desired::Running | Desired::Paused | Desired::Stopped => {
                Reversal::Desired { id, name, was, now }
            }
        }
        .written()
    }));
    if documents.is_empty() {
        return UndoInfo::Never { why: "nothing that is wanted changes".to_owned() };
    }
    UndoInfo::Restore { documents, note }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::{Body, Document, Key, Rev};
    use proptest::prelude::*;

    fn found(i: usize, pool: Option<&str>) -> Found<Agent> {
        let value = Agent {
            pool_id: pool.map(|id| crate::model::id::PoolId::new(id).unwrap()),
            ..Agent::default()
        };
        let key = Key::new(&format!("a{i}")).unwrap();
        Found { document: Document { key, rev: Rev("1".into()), body: Body::new() }, value }
    }

    proptest! {
        #[test]
        fn no_batch_is_larger_than_a_transaction_takes_and_their_order_stays(
            sizes in proptest::collection::vec(0usize..9_000, 0..5)
        ) {
            let before: Vec<u32> = sizes
                .iter()
                .zip(0..)
                .flat_map(|(size, batch)| std::iter::repeat_n(batch, *size))
                .collect();
            let after = fitted(&before);
            prop_assert!(after.is_sorted());
            let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
            for batch in &after {
                *counts.entry(*batch).or_default() += 1;
            }
            prop_assert!(counts.values().all(|size| *size <= AT_ONCE));
            prop_assert!(counts.keys().zip(0..).all(|(batch, at)| *batch == at), "none is empty");
        }

        #[test]
        fn no_batch_restarts_more_of_a_pool_than_may_be_away(
            members in proptest::collection::vec(0usize..3, 0..40), away in 0u32..4
        ) {
            let agents: Vec<Found<Agent>> = members
                .iter()
                .enumerate()
                .map(|(i, pool)| found(i, [None, Some("p1"), Some("p2")][*pool]))
                .collect();
            let mut pool = Pool::default();
            pool.update.max_unavailable = away;
            let pools = [("p1".to_owned(), pool.clone()), ("p2".to_owned(), pool)].into();
            let crowd = Crowd { agents: Vec::new(), pools, among: agents.len() };
            let wished: Vec<&Found<Agent>> = agents.iter().collect();
            let batches = batches(Intent::Restart, Tier::Two, &crowd, &wished);
            let mut sizes: BTreeMap<(usize, u32), u32> = BTreeMap::new();
            for (pool, batch) in members.iter().zip(&batches) {
                *sizes.entry((*pool, *batch)).or_default() += 1;
            }
            for ((pool, batch), size) in sizes {
                if pool == 0 {
                    prop_assert_eq!(batch, 0);
                } else {
                    prop_assert!(size <= away.max(1));
                }
            }
        }
    }
}
