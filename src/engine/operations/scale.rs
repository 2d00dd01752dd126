//! Plans that set how many agents a pool has: who goes and why, in which batches, what the autoscaler would choose, and
//! how fast it may go. The wanted number moves batch by batch, so that a batch that fails stops the rest.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::agents::Crowd;
use super::draft::{AT_ONCE, Draft, count, target};
use super::planner::Planner;
use super::release::SCALE;
use super::resolve::{Found, refused};
use crate::engine::autoscale::{Forecast, forecast};
use crate::engine::handle::CommandError;
use crate::engine::view::{FleetView, PoolRow};
use crate::model::agent::intent::Intent;
use crate::model::agent::{Agent, Phase};
use crate::model::id::{AgentId, PoolId};
use crate::model::operation::UndoInfo;
use crate::model::plan::victims::{Candidate, choose_victims};
use crate::model::plan::{Command, Goal, Noun, Tier};
use crate::model::pool::Pool;
use crate::model::scaling::Mode;
use crate::model::time::{Time, span};

/// How long the autoscaler leaves a pool alone that somebody scaled by hand.
pub(super) const HOLD: Duration = Duration::from_secs(600);
/// So many agents come up at once; a pool that has more may double.
const COME: u32 = 50;

/// One pool's part of a plan, and the numbers that its line needs.
struct Part {
    draft: Draft,
    name: String,
    line: String,
    ends: usize,
}

impl Planner<'_> {
    pub(super) async fn scale(
        &self,
        name: &str,
        to: u32,
        hold: bool,
    ) -> Result<Draft, CommandError> {
        Ok(self.part(name, to, hold).await?.draft)
    }

    /// The same number for several pools; each is its own target.
    pub(super) async fn scale_pools(
        &self,
        names: &[String],
        to: u32,
        hold: bool,
    ) -> Result<Draft, CommandError> {
        if let [one] = names {
            return self.scale(one, to, hold).await;
        }
        let title = format!("Scale {} to {to}", count(names.len(), "pool"));
        let mut whole = Draft::new(title, Tier::Two);
        let (mut commands, mut ends, mut typed) = (Vec::new(), 0, false);
        for name in names {
            let Part { mut draft, name, line, ends: gone } = self.part(name, to, hold).await?;
            ends += gone;
            typed |= draft.confirm_word.take().is_some();
            draft.facts.clear();
            if let UndoInfo::By { commands: back, .. } = &draft.undo {
                commands.extend(back.iter().cloned());
            }
            whole.absorb(draft);
            whole.fact(&name, line);
        }
        if names.is_empty() {
            return Err(refused("expected at least one pool"));
        }
        if typed {
            whole.confirm_word = Some(format!("scale {}", names.len()));
        }
        if ends > 0 {
            whole.fact("ends", format!("{}, the idle and the newest first", count(ends, "agent")));
        }
        if !commands.is_empty() {
            let note = format!("{} back to the number before", count(commands.len(), "pool"));
            whole.undo = UndoInfo::By { commands, note };
        }
        Ok(whole)
    }

    async fn part(&self, name: &str, to: u32, hold: bool) -> Result<Part, CommandError> {
        let pool = self.living_pool(name).await?;
        let it = &pool.value;
        if !(it.min..=it.max).contains(&to) {
            return Err(refused(format!(
                "pool {} takes {} to {} agents, not {to}: apply the pool with another min or max first",
                it.name, it.min, it.max
            )));
        }
        let mut members = self.members(pool.id()).await?;
        if it.scaling.mode == Mode::Hpa {
            self.is_ours_to_scale(&pool).await?;
            // the runtime chooses
            members.clear();
        }
        let view = self.ctx.view();
        let title = format!("Scale pool {} {} → {to}", it.name, it.desired);
        let mut draft = Draft::new(title, scale_tier(it.desired, to));
        draft.rely_on_pool(pool.id(), it);
        let victims = self.victims(&members, to, &view)?;
        let listed = victims.len() <= AT_ONCE;
        for (found, _) in victims.iter().filter(|_| listed) {
            draft.rely_on_agent(found.id(), &found.value);
        }
        let few = Crowd { agents: Vec::new(), pools: BTreeMap::new(), among: members.len() }.few();
        if victims.len() > few || (to == 0 && it.desired > 0) {
            draft.at_least(Tier::Three);
            draft.confirm_word = Some(it.name.clone());
        }
        let stages = match it.paused {
            true => vec![to],
            false => stages(it.desired, to, u32::try_from(few.min(AT_ONCE)).unwrap_or(u32::MAX)),
        };
        let facts = Facts {
            now: self.now,
            pool: it,
            row: row(&view, pool.id()),
            to,
            hold,
            members: &members,
            ends: victims.len(),
            stages: &stages,
            forecast: self.forecast(&pool, &view).await?,
        };
        facts.tell(&mut draft);
        let mut after = it.clone();
        after.desired = stages.first().copied().unwrap_or(to);
        if hold {
            after.scaling.hold_until = Some(self.now.plus(HOLD));
        }
        if to == it.desired && victims.is_empty() {
            draft.warnings.push(format!("pool {} already wants {to} agents", it.name));
        }
        if to != it.desired || hold {
            self.change_pool(&mut draft, &pool, after, "pool.scaled");
        }
        let (mut from, mut gone) = (it.desired, 0);
        for (stage, batch) in stages.iter().zip(0..) {
            let what = target(Noun::Pool, pool.id(), it.name.clone());
            let goal = if it.paused { Goal::Written } else { Goal::PoolReady { ready: *stage } };
            draft.step(batch, SCALE, what, goal, format!("{from} → {stage} agents"));
            from = *stage;
            // of very many, the leader chooses by the same rule, as far as it comes with each turn
            let until = members.len().saturating_sub(*stage as usize).min(victims.len());
            for (found, why) in victims[gone..until].iter().filter(|_| listed) {
                draft.wishes(batch, Intent::Delete, found, None, self.now, why.clone());
            }
            gone = until;
        }
        draft.warnings.extend(self.rehearse_pool(&pool, to.saturating_sub(it.desired)).await?);
        if it.paused {
            draft.warnings.push("the pool is paused: new agents begin paused".to_owned());
        }
        draft.undo = if to == it.desired {
            UndoInfo::Never { why: "the number does not change".to_owned() }
        } else {
            by(
                Command::Scale { pool: pool.id().to_owned(), to: it.desired, hold: false },
                format!("back to {}", it.desired),
            )
        };
        let line = format!("{} → {to}, min {} max {}", it.desired, it.min, it.max);
        Ok(Part { draft, name: it.name.clone(), line, ends: victims.len() })
    }

    /// Who else has set the number of a pool's own workload keeps it.
    async fn is_ours_to_scale(&self, pool: &Found<Pool>) -> Result<(), CommandError> {
        let crews = self.ctx.runtime.crews().await?;
        let seen = crews.into_iter().find(|seen| seen.pool.as_str() == pool.id());
        match seen.and_then(|seen| seen.scaled_by) {
            None => Ok(()),
            Some(who) => Err(refused(format!(
                "pool {} is not ours to scale: {who} sets its number of replicas; change its min and max, or its scaling mode",
                pool.value.name
            ))),
        }
    }

    /// What the autoscaler would choose now; nothing while the picture is not complete.
    async fn forecast(
        &self,
        pool: &Found<Pool>,
        view: &FleetView,
    ) -> Result<Option<Forecast>, CommandError> {
        match PoolId::new(pool.id()) {
            Ok(id) if view.loaded => Ok(forecast(self.ctx, &id, &pool.value).await?),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Who goes, and why: those of the plan that is being confirmed if they still can, else the idlest and newest.
    pub(super) fn victims<'m>(
        &self,
        members: &'m [Found<Agent>],
        to: u32,
        view: &FleetView,
    ) -> Result<Vec<(&'m Found<Agent>, String)>, CommandError> {
        let surplus = members.len().saturating_sub(usize::try_from(to).unwrap_or(usize::MAX));
        if surplus == 0 {
            return Ok(Vec::new());
        }
        let candidates: Vec<Candidate> = members
            .iter()
            .filter_map(|found| {
                let id = AgentId::new(found.id()).ok()?;
                let row = view.agent(&id);
                let it = &found.value;
                Some(Candidate {
                    pinned: it.pinned,
                    phase: it.phase,
                    health: it.health.status,
                    busy: row.map_or(0, |row| row.queue.pending + row.queue.leased),
                    created_at: it.created_at,
                    id,
                })
            })
            .collect();
        // a plan that is being confirmed has named its victims: what they do by now changes nothing
        let steps = self.prefer.iter().flat_map(|plan| &plan.steps);
        let shown: HashSet<&str> = steps
            .filter(|step| step.target.noun == Noun::Agent)
            .map(|step| step.target.id.as_str())
            .collect();
        let (named, rest): (Vec<Candidate>, Vec<Candidate>) =
            candidates.into_iter().partition(|it| shown.contains(it.id.as_str()));
        let mut chosen = choose_victims(&named, surplus);
        chosen.extend(choose_victims(&rest, surplus - chosen.len()));
        if chosen.len() < surplus {
            let pinned = members.iter().filter(|found| found.value.pinned).count();
            return Err(refused(format!(
                "{} of the pool cannot be ended, being pinned: unpin some or scale to {pinned}",
                count(pinned, "agent")
            )));
        }
        let chosen: HashSet<&str> = chosen.iter().map(AgentId::as_str).collect();
        let victims = members.iter().filter(|found| chosen.contains(found.id()));
        Ok(victims.map(|found| (found, why(found, view))).collect())
    }
}

/// Why this one goes rather than another.
fn why(found: &Found<Agent>, view: &FleetView) -> String {
    if found.value.phase != Phase::Running {
        return format!("it is {}", found.value.phase);
    }
    let row = AgentId::new(found.id()).ok().and_then(|id| view.agent(&id).cloned());
    match row.map(|row| row.queue.pending + row.queue.leased) {
        Some(0) => "idle; drained first".to_owned(),
        Some(n) => format!("{n} messages in hand or waiting; drained first"),
        None => "drained first".to_owned(),
    }
}

fn by(command: Command, note: String) -> UndoInfo {
    match serde_json::to_value(command) {
        Ok(command) => UndoInfo::By { commands: vec![command], note },
        Err(error) => UndoInfo::Never { why: error.to_string() },
    }
}

fn row<'v>(view: &'v FleetView, id: &str) -> Option<&'v PoolRow> {
    let at = view.pools.binary_search_by(|row| row.id.as_str().cmp(id)).ok()?;
    view.loaded.then(|| &*view.pools[at])
}

/// Within a quarter of what was wanted it takes a word, beyond that a look.
fn scale_tier(from: u32, to: u32) -> Tier {
    let change = u64::from(from.abs_diff(to));
    if change * 4 <= u64::from(from) { Tier::One } else { Tier::Two }
}

/// The numbers that a pool is brought to, one batch after another; the last is `to`. Going down ends no more at once than
/// takes no typed word; going up at most doubles.
fn stages(from: u32, to: u32, few: u32) -> Vec<u32> {
    let (mut at, mut stages) = (from, Vec::new());
    while at < to {
        at = at.saturating_add(at.max(COME)).min(to);
        stages.push(at);
    }
    while at > to {
        at = at.saturating_sub(few.max(1)).max(to);
        stages.push(at);
    }
    if stages.is_empty() {
        stages.push(to);
    }
    stages
}

/// What a plan to scale says of its pool, each with its source.
struct Facts<'a> {
    now: Time,
    pool: &'a Pool,
    row: Option<&'a PoolRow>,
    to: u32,
    hold: bool,
    members: &'a [Found<Agent>],
    ends: usize,
    stages: &'a [u32],
    forecast: Option<Forecast>,
}

impl Facts<'_> {
    fn tell(&self, draft: &mut Draft) {
        let Self { pool, to, .. } = *self;
        let up = match self.row {
            Some(row) => format!("{} ready", row.ready),
            None => {
                let running = |found: &&Found<Agent>| found.value.phase == Phase::Running;
                format!("{} running", self.members.iter().filter(running).count())
            }
        };
        draft.fact("current", format!("{} ({up})", pool.desired));
        draft.fact("min", pool.min);
        draft.fact("max", pool.max);
        draft.fact("desired", to);
        self.autoscaler(draft);
        if self.hold && pool.scaling.mode == Mode::Engine {
            draft.fact("hold", "the autoscaler leaves the pool alone for 10 minutes");
        }
        if let Some(row) = self.row {
            let age = |oldest| Duration::from_secs(self.now.since(oldest).as_secs());
            let oldest = row.queue.oldest.map(|it| format!(", oldest {}", span::format(age(it))));
            let (pending, leased) = (row.queue.pending, row.queue.leased);
            let oldest = oldest.unwrap_or_default();
            draft.fact("queue", format!("{pending} waiting, {leased} in flight{oldest}"));
        }
        let wanted = usize::try_from(to).unwrap_or(usize::MAX);
        if wanted > self.members.len() {
            draft.fact("creates", count(wanted - self.members.len(), "agent"));
        }
        if self.ends > 0 {
            let agents = count(self.ends, "agent");
            draft.fact("ends", format!("{agents}, the idle and the newest first"));
        }
        if self.stages.len() > 1 {
            let numbers: Vec<String> = self.stages.iter().map(ToString::to_string).collect();
            let (batches, numbers) = (self.stages.len(), numbers.join(", "));
            let rule = "each waits until its agents are ready, the first that fails stops the rest";
            draft.fact("batches", format!("{batches}, to {numbers}: {rule}"));
        }
    }

    fn autoscaler(&self, draft: &mut Draft) {
        let scaling = &self.pool.scaling;
        let Some(Forecast { decision, up, down }) = &self.forecast else {
            if scaling.mode == Mode::Hpa {
                draft.fact("autoscaler", "a HorizontalPodAutoscaler decides");
            }
            return;
        };
        let held = scaling.hold_until.filter(|until| *until > self.now);
        let left = held.map(|until| Duration::from_secs(until.since(self.now).as_secs()));
        let mut said = format!("would choose {}", decision.target);
        if scaling.mode != Mode::Engine {
            said = format!("off (mode is {}), {said}", scaling.mode);
        }
        if let Some(left) = left {
            said.push_str(&format!(", is held for {} more", span::format(left)));
        }
        draft.fact("autoscaler", said);
        draft.fact("why", decision.why.join("; "));
        let (way, reach) = if self.to < self.pool.desired { ("down", down) } else { ("up", up) };
        let beyond = match way {
            "down" => self.to < reach.to,
            _ => self.to > reach.to,
        };
        let verdict = if beyond { "beyond it, as a hand may go" } else { "ok" };
        draft.fact("limit", format!("{way} {}: {verdict}", reach.words));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_more_or_less_takes_one_word() {
        for (from, to, tier) in [
            (12, 15, Tier::One),
            (12, 9, Tier::One),
            (12, 16, Tier::Two),
            (4, 5, Tier::One),
            (3, 4, Tier::Two),
            (0, 1, Tier::Two),
            (5, 5, Tier::One),
        ] {
            assert_eq!(scale_tier(from, to), tier, "{from} → {to}");
        }
    }

    #[test]
    fn a_number_is_reached_in_steps_that_at_most_double_or_end_few() {
        assert_eq!(stages(12, 19, 10), [19]);
        assert_eq!(stages(0, 200, 10), [50, 100, 200]);
        assert_eq!(stages(60, 200, 10), [120, 200]);
        assert_eq!(stages(35, 5, 10), [25, 15, 5]);
        assert_eq!(stages(3, 0, 10), [0]);
        assert_eq!(stages(4, 4, 10), [4]);
        assert_eq!(stages(u32::MAX - 1, u32::MAX, 0), [u32::MAX]);
    }
}
