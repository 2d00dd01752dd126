//! What a pool does next with its members: create, replace, let go. Pure. Rolling updates keep within the pool's
//! `max_surge` and `max_unavailable` and halt on the first replacement that does not come up.

use super::{Pool, PoolStatus};
use crate::model::agent::{Agent, Desired, Phase};
use crate::model::health::HealthStatus;
use crate::model::id::AgentId;
use crate::model::plan::victims::{Candidate, choose_victims};
use crate::model::time::Time;

/// What the decision looks at in one agent of the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub id: AgentId,
    pub name: String,
    pub version: String,
    pub desired: Desired,
    pub phase: Phase,
    pub health: HealthStatus,
    /// Messages that wait for it or that it holds.
    pub busy: u64,
    pub pinned: bool,
    pub created_at: Time,
    pub failures: u32,
    /// The incarnation that is or was last there has reported healthy.
    pub ran: bool,
    pub reason: String,
}

impl Member {
    /// From the document; `busy` is not in it.
    pub fn of(id: AgentId, agent: Agent, busy: u64) -> Self {
        Self {
            id,
            version: agent.template_version,
            desired: agent.desired,
            phase: agent.phase,
            health: agent.health.status,
            busy,
            pinned: agent.pinned,
            created_at: agent.created_at,
            failures: agent.failures,
            ran: agent.running_since.is_some(),
            name: agent.name,
            reason: agent.reason,
        }
    }

    /// Not on its way out.
    fn is_kept(&self) -> bool {
        self.desired != Desired::Deleted && self.phase != Phase::Deleted
    }

    /// Up, or down because somebody wants it so: taking it away would be missed.
    fn is_available(&self) -> bool {
        match self.phase {
            Phase::Running => self.health != HealthStatus::Unhealthy,
            Phase::Paused => self.desired == Desired::Paused,
            Phase::Pending
            | Phase::Deploying
            | Phase::Draining
            | Phase::Stopped
            | Phase::Failed
            | Phase::Deleted => false,
        }
    }

    fn is_ready(&self) -> bool {
        self.is_kept() && self.phase == Phase::Running && self.health != HealthStatus::Unhealthy
    }

    /// A replacement that does not come up: it failed before it ever ran, or again and again.
    fn is_broken(&self) -> bool {
        self.phase == Phase::Failed && (!self.ran || self.failures >= BROKEN_AFTER)
    }

    fn candidate(&self, pinned: bool) -> Candidate {
        Candidate {
            id: self.id.clone(),
            pinned,
            phase: self.phase,
            health: self.health,
            busy: self.busy,
            created_at: self.created_at,
        }
    }
}

/// Failures in a row after which a replacement that did run counts as broken.
const BROKEN_AFTER: u32 = 3;
/// Where the version is kept for which an update was halted: another version is a new attempt.
const HALTED_VERSION: &str = "halted_version";

/// What to do now; nothing of it waits for anything but the next look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steps {
    pub create: u32,
    pub delete: Vec<AgentId>,
    /// Why, for the journal.
    pub reason: String,
    /// The update stops here, until the operator acts.
    pub halt: Option<String>,
    /// All members are gone and the pool may go too.
    pub finished: bool,
}

impl Steps {
    pub fn is_none(&self) -> bool {
        self.create == 0 && self.delete.is_empty() && self.halt.is_none() && !self.finished
    }
}

/// Decides what to do next for `pool`. `members` are all agents of the pool but the tombstones.
pub fn next(pool: &Pool, members: &[Member]) -> Steps {
    // the copies of the pool's own workload are the runtime's to make and to end
    let (copies, kept): (Vec<&Member>, Vec<&Member>) =
        members.iter().filter(|member| member.is_kept()).partition(|it| it.id.is_of_crew());
    if pool.purge_at.is_some() {
        return Steps::default();
    }
    if pool.is_of_copies() {
        let up = count(copies.iter().filter(|it| it.is_ready()).count());
        let replaced = up >= pool.desired;
        return Steps {
            delete: kept.iter().filter(|_| replaced).map(|member| member.id.clone()).collect(),
            reason: format!("pool {} has {up} copies of its own workload", pool.name),
            ..Steps::default()
        };
    }
    if pool.deleting {
        return Steps {
            delete: kept.iter().map(|member| member.id.clone()).collect(),
            reason: format!("pool {} is being deleted", pool.name),
            finished: members.is_empty(),
            ..Steps::default()
        };
    }
    let (new, old): (Vec<&Member>, Vec<&Member>) =
        kept.iter().partition(|member| member.version == pool.template_version);
    if old.is_empty() { resize(pool, &kept) } else { roll(pool, &kept, &new, &old) }
}

fn resize(pool: &Pool, kept: &[&Member]) -> Steps {
    let (want, have) = (pool.desired, count(kept.len()));
    let reason = format!("pool {} wants {want} and has {have}", pool.name);
    let delete = match have.saturating_sub(want) {
        0 => Vec::new(),
        over => {
            let each = kept.iter().map(|it| it.candidate(it.pinned));
            choose_victims(&each.collect::<Vec<Candidate>>(), over as usize)
        }
    };
    Steps { create: want.saturating_sub(have), delete, reason, ..Steps::default() }
}

fn roll(pool: &Pool, kept: &[&Member], new: &[&Member], old: &[&Member]) -> Steps {
    let version = &pool.template_version;
    if is_halted(pool) {
        return Steps::default();
    }
    if let Some(broken) = new.iter().find(|member| member.is_broken()) {
        let why = format!("{} on version {version}: {}", broken.name, broken.reason);
        return Steps { halt: Some(why), ..Steps::default() };
    }
    let want = pool.desired;
    let (surge, mut unavailable) = (pool.update.max_surge, pool.update.max_unavailable);
    if surge == 0 {
        unavailable = unavailable.max(1); // else an update could never begin
    }
    let missing = want.saturating_sub(count(new.len()));
    let room = want.saturating_add(surge).saturating_sub(count(kept.len()));
    let up = count(kept.iter().filter(|member| member.is_available()).count());
    let spare = up.saturating_sub(want.saturating_sub(unavailable));
    let (up, down): (Vec<&Member>, Vec<&Member>) =
        old.iter().partition(|member| member.is_available());
    let mut delete: Vec<AgentId> = down.iter().map(|member| member.id.clone()).collect();
    let candidates: Vec<Candidate> = up.iter().map(|member| member.candidate(false)).collect();
    delete.extend(choose_victims(&candidates, spare as usize));
    Steps {
        create: missing.min(room),
        delete,
        reason: format!("pool {} is brought to version {version}", pool.name),
        ..Steps::default()
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// Whether the update to the version that is wanted now was halted.
fn is_halted(pool: &Pool) -> bool {
    let of = pool.status.extra.get(HALTED_VERSION).and_then(|version| version.as_str());
    pool.status.halted && of.is_none_or(|of| of == pool.template_version)
}

/// The pool's status as its members are; `trouble` is what keeps it from going on, if something does.
pub fn status(pool: &Pool, members: &[Member], steps: &Steps, trouble: Option<&str>) -> PoolStatus {
    let kept = || members.iter().filter(|member| member.is_kept());
    let counted = |wanted: fn(&Member) -> bool| count(kept().filter(|it| wanted(it)).count());
    let mut status = pool.status.clone();
    status.total = count(members.len());
    status.ready = counted(Member::is_ready);
    status.unhealthy = counted(|it| it.health == HealthStatus::Unhealthy);
    status.pending = counted(|it| matches!(it.phase, Phase::Pending | Phase::Deploying));
    status.updated = count(kept().filter(|it| it.version == pool.template_version).count());
    status.halted = steps.halt.is_some() || is_halted(pool);
    status.extra.remove(HALTED_VERSION);
    if status.halted {
        let version = pool.template_version.as_str();
        status.extra.insert(HALTED_VERSION.to_owned(), version.into());
    }
    status.reason = match (&steps.halt, trouble) {
        (Some(why), _) => format!("update halted: {why}"),
        (None, _) if status.halted => pool.status.reason.clone(),
        (None, Some(trouble)) => trouble.to_owned(),
        (None, None) => explain(pool, members, &status),
    };
    status
}

/// Notes that a pool's own workload does not come up in its version, or that it does after all: unlike agents that are
/// replaced one by one, it goes on by itself.
pub fn halt(pool: &mut Pool, why: Option<&str>) {
    pool.status.halted = why.is_some();
    match why {
        Some(why) => {
            let version = pool.template_version.as_str();
            pool.status.extra.insert(HALTED_VERSION.to_owned(), version.into());
            pool.status.reason = format!("update halted: {why}");
        }
        None => drop(pool.status.extra.remove(HALTED_VERSION)),
    }
}

/// Why the pool is not where it should be; empty when it is.
fn explain(pool: &Pool, members: &[Member], status: &PoolStatus) -> String {
    if pool.purge_at.is_some() {
        return String::new();
    }
    if pool.deleting {
        return format!("being deleted: {} agents left", status.total);
    }
    let kept = || members.iter().filter(|member| member.is_kept());
    let have = count(kept().count());
    let ailing = kept().find(|member| member.phase == Phase::Failed);
    if let Some(failed) = ailing {
        return format!("{} failed: {}", failed.name, failed.reason);
    }
    if status.updated < have {
        return format!(
            "updating to {}: {} of {} done",
            pool.template_version, status.updated, pool.desired
        );
    }
    if status.ready < pool.desired && !pool.paused {
        return format!("{} of {} ready", status.ready, pool.desired);
    }
    let going = count(members.len()) - have;
    if going > 0 { format!("{going} on their way out") } else { String::new() }
}

#[cfg(test)]
mod tests;
