//! Plans about pools: scale, bring to a template version, roll back, delete.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::agents::Crowd;
use super::draft::{AT_ONCE, Draft, count, target};
use super::planner::Planner;
use super::resolve::{Found, refused};
use super::reversal::{FieldChange, Reversal, differences};
use crate::engine::documents::overlay;
use crate::engine::handle::CommandError;
use crate::engine::journal::Change;
use crate::engine::view::{FleetView, PoolRow};
use crate::model::agent::intent::Intent;
use crate::model::agent::{Agent, Phase};
use crate::model::id::AgentId;
use crate::model::operation::UndoInfo;
use crate::model::plan::victims::{Candidate, choose_victims};
use crate::model::plan::{Command, Goal, Noun, Targets, Tier};
use crate::model::pool::Pool;
use crate::model::schema::Collection;
use crate::model::template::Template;
use crate::model::time::{Time, span};

/// How long the autoscaler leaves a pool alone that somebody scaled by hand.
const HOLD: Duration = Duration::from_secs(600);

impl Planner<'_> {
    /// Puts the pool's change into the draft, and returns its way back.
    pub(super) fn change_pool(
        &self,
        draft: &mut Draft,
        pool: &Found<Pool>,
        mut after: Pool,
        kind: &'static str,
    ) -> Value {
        after.generation = pool.value.generation + 1;
        after.updated_at = self.now;
        let written = overlay(&pool.document.body, &pool.value, &after);
        let fields = differences(&pool.document.body, &written);
        draft.changes.push(Change {
            collection: Collection::AgentPools,
            key: pool.document.key.clone(),
            before: Some(pool.document.clone()),
            after: Some(written),
            kind,
            subject: after.name,
            evidence: Value::Null,
        });
        self.fields(pool, fields)
    }

    fn fields(&self, pool: &Found<Pool>, fields: Vec<FieldChange>) -> Value {
        let collection = Collection::AgentPools.name().to_owned();
        let (id, name) = (pool.id().to_owned(), pool.value.name.clone());
        Reversal::Fields { collection, id, name, fields }.written()
    }

    async fn living_pool(&self, name: &str) -> Result<Found<Pool>, CommandError> {
        let pool: Found<Pool> = self.resolver.one(Noun::Pool, name).await?;
        if pool.value.deleting || pool.value.purge_at.is_some() {
            return Err(refused(format!(
                "pool {} is deleted: undo the deletion first",
                pool.value.name
            )));
        }
        Ok(pool)
    }

    pub(super) async fn scale(
        &self,
        name: &str,
        to: u32,
        hold: bool,
    ) -> Result<Draft, CommandError> {
        let pool = self.living_pool(name).await?;
        let it = &pool.value;
        if !(it.min..=it.max).contains(&to) {
            return Err(refused(format!(
                "pool {} takes {} to {} agents, not {to}: apply the pool with another min or max first",
                it.name, it.min, it.max
            )));
        }
        let members = self.members(pool.id()).await?;
        let view = self.ctx.view();
        let row = row(&view, pool.id());
        let title = format!("Scale pool {} {} → {to}", it.name, it.desired);
        let mut draft = Draft::new(title, scale_tier(it.desired, to));
        draft.rely_on_pool(pool.id(), it);
        let victims = self.victims(&members, to, &view)?;
        for (found, _) in victims.iter().filter(|_| victims.len() <= AT_ONCE) {
            draft.rely_on_agent(found.id(), &found.value);
        }
        let few = Crowd { agents: Vec::new(), pools: BTreeMap::new(), among: members.len() }.few();
        if victims.len() > few || (to == 0 && it.desired > 0) {
            draft.at_least(Tier::Three);
            draft.confirm_word = Some(it.name.clone());
        }
        scale_facts(&mut draft, self.now, it, row, to, &members, victims.len());
        let held = "the autoscaler leaves the pool alone for 10 minutes";
        draft.fact("hold", if hold { held } else { "no" });
        let mut after = it.clone();
        after.desired = to;
        if hold {
            after.scaling.hold_until = Some(self.now.plus(HOLD));
        }
        if to == it.desired && victims.is_empty() {
            draft.warnings.push(format!("pool {} already wants {to} agents", it.name));
        }
        if to != it.desired || hold {
            self.change_pool(&mut draft, &pool, after, "pool.scaled");
        }
        let what = target(Noun::Pool, pool.id(), it.name.clone());
        let goal = if it.paused { Goal::Written } else { Goal::PoolReady { ready: to } };
        draft.step(0, "scale", what, goal, format!("{} → {to} agents", it.desired));
        // of very many, the leader chooses by the same rule, as far as it comes with each turn
        for (found, why) in victims.iter().filter(|_| victims.len() <= AT_ONCE) {
            draft.wishes(0, Intent::Delete, found, None, self.now, why.clone());
        }
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
        Ok(draft)
    }

    /// Who goes, and why: those of the plan that is being confirmed if they still can, else the idlest and newest.
    fn victims<'m>(
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

    pub(super) async fn set_template(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Draft, CommandError> {
        let pool = self.living_pool(name).await?;
        let template = self.template_of(&pool).await?;
        let version = version.unwrap_or(&template.value.version).to_owned();
        self.template_version(&template, &version).await?;
        if version == pool.value.template_version {
            return Err(refused(format!(
                "pool {} is on version {version} of {} already",
                pool.value.name, template.value.name
            )));
        }
        let title =
            format!("Update pool {} {} → {version}", pool.value.name, pool.value.template_version);
        self.roll(&pool, &template, version, title, "pool.template_changed").await
    }

    pub(super) async fn rollback(&self, name: &str) -> Result<Draft, CommandError> {
        let pool = self.living_pool(name).await?;
        let template = self.template_of(&pool).await?;
        let version = pool.value.previous_version.clone();
        if version.is_empty() {
            return Err(refused(format!(
                "pool {} has had no version before {}: there is nothing to go back to",
                pool.value.name, pool.value.template_version
            )));
        }
        self.template_version(&template, &version).await?;
        let title = format!(
            "Roll pool {} back {} → {version}",
            pool.value.name, pool.value.template_version
        );
        self.roll(&pool, &template, version, title, "pool.rolled_back").await
    }

    async fn roll(
        &self,
        pool: &Found<Pool>,
        template: &Found<Template>,
        version: String,
        title: String,
        kind: &'static str,
    ) -> Result<Draft, CommandError> {
        let it = &pool.value;
        let mut draft = Draft::new(title, Tier::Two);
        draft.rely_on_pool(pool.id(), it);
        draft.rely(json!({ "template": template.id(), "wanted": version }));
        let members = self.members(pool.id()).await?;
        let behind = members.iter().filter(|found| found.value.template_version != version).count();
        draft.fact("template", &template.value.name);
        draft.fact("agents", format!("{behind} of {} to be replaced", members.len()));
        draft.fact(
            "pace",
            format!(
                "at most {} more and {} fewer than {} at a time",
                it.update.max_surge, it.update.max_unavailable, it.desired
            ),
        );
        draft.fact("on failure", "the update halts after the first failed batch");
        let mut after = it.clone();
        after.previous_version = it.template_version.clone();
        after.template_version.clone_from(&version);
        after.status.halted = false;
        let reversal = self.change_pool(&mut draft, pool, after, kind);
        let what = target(Noun::Pool, pool.id(), it.name.clone());
        let goal = Goal::PoolUpdated { version: version.clone() };
        draft.step(0, "update", what, goal, format!("{} → {version}", it.template_version));
        draft.undo = UndoInfo::Restore {
            documents: vec![reversal],
            note: format!("back to {} by another rolling update", it.template_version),
        };
        Ok(draft)
    }

    /// Deleting a pool takes its agents along.
    pub(super) async fn delete_pools(&self, targets: &Targets) -> Result<Draft, CommandError> {
        let pools: Vec<Found<Pool>> = self.resolver.many(Noun::Pool, &targets.names).await?;
        let mut draft = Draft::new(String::new(), Tier::Three);
        let (mut names, mut documents, mut ended) = (Vec::new(), Vec::new(), 0);
        for pool in &pools {
            let it = &pool.value;
            draft.rely_on_pool(pool.id(), it);
            if it.deleting || it.purge_at.is_some() {
                draft.warnings.push(format!("pool {} is deleted already", it.name));
                continue;
            }
            let members = self.members(pool.id()).await?;
            ended += members.len();
            names.push(it.name.as_str());
            let mut after = it.clone();
            after.deleting = true;
            self.change_pool(&mut draft, pool, after, "pool.delete_requested");
            let (id, name) = (pool.id().to_owned(), it.name.clone());
            documents.push(Reversal::PoolDeleted { id, name: name.clone() }.written());
            let what = target(Noun::Pool, pool.id(), name);
            draft.step(0, "delete", what, Goal::PoolGone, "a tombstone stays 24 h");
            if ended > AT_ONCE {
                // the leader drains them as it comes to them; undone, the pool makes as many anew
                draft.warnings.push("after an undo, its agents would be new ones".to_owned());
                continue;
            }
            for found in members {
                let (id, name) = (found.id().to_owned(), found.value.name.clone());
                draft.rely_on_agent(&id, &found.value);
                draft.wishes(0, Intent::Delete, &found, None, self.now, "drained first");
                let desired = found.value.desired;
                documents.push(Reversal::Deleted { id, name, desired }.written());
            }
        }
        let (word, what) = match &names[..] {
            [one] => ((*one).to_owned(), format!("pool {one}")),
            many => (format!("delete {}", many.len()), count(many.len(), "pool")),
        };
        draft.title = format!("Delete {what} and its {}", count(ended, "agent"));
        draft.confirm_word = Some(word);
        draft.fact("ends", count(ended, "agent"));
        if !documents.is_empty() {
            let note = format!("restore {what} with its agents, within 24 h");
            draft.undo = UndoInfo::Restore { documents, note };
        }
        Ok(draft)
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

fn scale_facts(
    draft: &mut Draft,
    now: Time,
    pool: &Pool,
    row: Option<&PoolRow>,
    to: u32,
    members: &[Found<Agent>],
    victims: usize,
) {
    let ready = members.iter().filter(|found| found.value.phase == Phase::Running).count();
    draft.fact("current", format!("{} ({ready} running)", pool.desired));
    draft.fact("min", pool.min);
    draft.fact("max", pool.max);
    draft.fact("desired", to);
    if let Some(row) = row {
        let age = |oldest| Duration::from_secs(now.since(oldest).as_secs());
        let oldest = row.queue.oldest.map(|it| format!(", oldest {}", span::format(age(it))));
        let oldest = oldest.unwrap_or_default();
        let (pending, leased) = (row.queue.pending, row.queue.leased);
        draft.fact("queue", format!("{pending} waiting, {leased} in flight{oldest}"));
        if !row.last_decision.as_str().is_empty() {
            draft.fact("autoscaler", row.last_decision.as_str());
        }
    }
    let wanted = usize::try_from(to).unwrap_or(usize::MAX);
    if wanted > members.len() {
        draft.fact("creates", count(wanted - members.len(), "agent"));
    }
    if victims > 0 {
        draft.fact("ends", format!("{}, the idle and the newest first", count(victims, "agent")));
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
}
