//! When a step is done: judged by looking at the fleet, never by having written something. Pure.

use std::time::Duration;

use crate::engine::view::{AgentRow, FleetView, PoolRow};
use crate::model::agent::{Desired, Phase};
use crate::model::plan::{Goal, TargetRef};
use crate::model::time::Time;

/// How a released step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepVerdict {
    Pending,
    Done,
    /// Why it will not come about, in words for the operator.
    Failed(String),
}

/// A step whose target has not moved for this long has failed (Kubernetes' `progressDeadlineSeconds`).
pub const PROGRESS_DEADLINE: Duration = Duration::from_secs(600);

/// How far a view may lag behind what was written: only then does a contrary wish count as somebody else's.
const SETTLE: Duration = Duration::from_secs(10);

/// Whether `goal` is met for `target`, released at `since`, in the fleet as `view` shows it.
pub fn judge(goal: &Goal, target: &TargetRef, since: Time, view: &FleetView) -> StepVerdict {
    if *goal == Goal::Written {
        return StepVerdict::Done;
    }
    if !view.loaded || view.stale_since.is_some() {
        return StepVerdict::Pending; // an old picture proves nothing
    }
    match goal {
        Goal::Written => StepVerdict::Done,
        // whoever asks writes down what came of it
        Goal::Asked => StepVerdict::Pending,
        Goal::Agent { phase, incarnation } => {
            agent_reaches(*phase, *incarnation, agent(target, view), since, view)
        }
        Goal::AgentGone => agent_goes(agent(target, view), since, view),
        Goal::PoolReady { ready } => pool_is_ready(*ready, pool(target, view), since, view),
        Goal::PoolUpdated { version } => pool_is_updated(version, pool(target, view), since, view),
        Goal::PoolGone => match pool(target, view) {
            None => StepVerdict::Done,
            Some(row) if row.purge_at.is_some() => StepVerdict::Done,
            Some(row) if !row.deleting && settled(since, view) => {
                StepVerdict::Failed("it was restored meanwhile".to_owned())
            }
            Some(row) => in_time(row, since, view),
        },
    }
}

fn agent<'a>(target: &TargetRef, view: &'a FleetView) -> Option<&'a AgentRow> {
    let found = view.agents.binary_search_by(|row| row.id.as_str().cmp(target.id.as_str()));
    found.ok().map(|at| &*view.agents[at])
}

fn pool<'a>(target: &TargetRef, view: &'a FleetView) -> Option<&'a PoolRow> {
    let found = view.pools.binary_search_by(|row| row.id.as_str().cmp(target.id.as_str()));
    found.ok().map(|at| &*view.pools[at])
}

fn settled(since: Time, view: &FleetView) -> bool {
    view.at.since(since) > SETTLE
}

fn agent_reaches(
    phase: Phase,
    incarnation: u64,
    row: Option<&AgentRow>,
    since: Time,
    view: &FleetView,
) -> StepVerdict {
    let Some(row) = row else {
        return if settled(since, view) {
            StepVerdict::Failed("it is gone".to_owned())
        } else {
            StepVerdict::Pending
        };
    };
    if row.phase == phase && row.incarnation >= incarnation {
        return StepVerdict::Done;
    }
    let wanted = match phase {
        Phase::Running => Desired::Running,
        Phase::Paused => Desired::Paused,
        Phase::Stopped => Desired::Stopped,
        Phase::Deleted => Desired::Deleted,
        Phase::Pending | Phase::Deploying | Phase::Draining | Phase::Failed => row.desired,
    };
    if row.phase == Phase::Deleted {
        // a tombstone from before this step is what a restoration begins with
        return if row.phase_since >= since || settled(since, view) {
            StepVerdict::Failed("it was deleted meanwhile".to_owned())
        } else {
            StepVerdict::Pending
        };
    }
    if row.desired != wanted && settled(since, view) {
        return StepVerdict::Failed(format!("overtaken: it is now wanted {}", row.desired));
    }
    // a failure from before this step is what a restart is there to mend; one on the way to a stop is passed through
    let fresh = row.phase_since >= since && row.incarnation >= incarnation;
    if row.phase == Phase::Failed && wanted != Desired::Stopped && fresh {
        return StepVerdict::Failed(reason(row));
    }
    let moved = [Some(row.phase_since), row.drain_deadline, row.retry_at];
    let moved = moved.into_iter().flatten().fold(since, Time::max);
    if view.at.since(moved) > PROGRESS_DEADLINE {
        return StepVerdict::Failed(format!("no progress for 10 minutes: {}", reason(row)));
    }
    StepVerdict::Pending
}

fn agent_goes(row: Option<&AgentRow>, since: Time, view: &FleetView) -> StepVerdict {
    let Some(row) = row else { return StepVerdict::Done };
    if row.phase == Phase::Deleted {
        return StepVerdict::Done;
    }
    if row.desired != Desired::Deleted && settled(since, view) {
        return StepVerdict::Failed("it was restored meanwhile".to_owned());
    }
    let moved = row.phase_since.max(since).max(row.drain_deadline.unwrap_or(since));
    if view.at.since(moved) > PROGRESS_DEADLINE {
        return StepVerdict::Failed(format!("no progress for 10 minutes: {}", reason(row)));
    }
    StepVerdict::Pending
}

fn pool_is_ready(ready: u32, row: Option<&PoolRow>, since: Time, view: &FleetView) -> StepVerdict {
    let Some(row) = row else { return missing_pool(since, view) };
    if row.desired == ready && row.ready == ready && row.total == ready {
        return StepVerdict::Done;
    }
    if row.desired != ready && settled(since, view) {
        return StepVerdict::Failed(format!("overtaken: {} agents are wanted now", row.desired));
    }
    in_time(row, since, view)
}

fn pool_is_updated(
    version: &str,
    row: Option<&PoolRow>,
    since: Time,
    view: &FleetView,
) -> StepVerdict {
    let Some(row) = row else { return missing_pool(since, view) };
    if row.template_version.as_str() != version {
        return if settled(since, view) {
            StepVerdict::Failed(format!(
                "overtaken: version {} is wanted now",
                row.template_version
            ))
        } else {
            StepVerdict::Pending
        };
    }
    if row.halted && settled(since, view) {
        return StepVerdict::Failed(format!("the update was halted: {}", row.reason));
    }
    if row.total == row.desired && members(row, view).all(|it| current(it, version, row.paused)) {
        return StepVerdict::Done;
    }
    in_time(row, since, view)
}

/// Whether a member is on `version` and up, or down because somebody wants it so.
fn current(row: &AgentRow, version: &str, paused: bool) -> bool {
    let up = match row.phase {
        Phase::Running => true,
        Phase::Paused => paused || row.desired == Desired::Paused,
        Phase::Stopped => row.desired == Desired::Stopped,
        Phase::Pending | Phase::Deploying | Phase::Draining | Phase::Failed | Phase::Deleted => {
            false
        }
    };
    up && row.template_version.as_str() == version
}

/// The pool's agents, those not yet deleted.
fn members<'a>(pool: &'a PoolRow, view: &'a FleetView) -> impl Iterator<Item = &'a AgentRow> {
    let mine = |row: &&AgentRow| row.pool.as_ref() == Some(&pool.id) && row.phase != Phase::Deleted;
    view.agents.iter().map(AsRef::as_ref).filter(mine)
}

fn missing_pool(since: Time, view: &FleetView) -> StepVerdict {
    if settled(since, view) {
        StepVerdict::Failed("it is gone".to_owned())
    } else {
        StepVerdict::Pending
    }
}

/// A pool makes progress as long as one of its agents moves.
fn in_time(pool: &PoolRow, since: Time, view: &FleetView) -> StepVerdict {
    let moved = members(pool, view)
        .flat_map(|row| [Some(row.phase_since), row.drain_deadline, row.retry_at])
        .flatten()
        .fold(since, Time::max);
    if view.at.since(moved) <= PROGRESS_DEADLINE {
        return StepVerdict::Pending;
    }
    let why = match pool.reason.as_str() {
        "" => format!("{} of {} ready", pool.ready, pool.desired),
        said => said.to_owned(),
    };
    StepVerdict::Failed(format!("no progress for 10 minutes: {why}"))
}

fn reason(row: &AgentRow) -> String {
    match row.reason.as_str() {
        "" => format!("it is {}", row.phase),
        said => said.to_owned(),
    }
}

#[cfg(test)]
mod tests;
