//! What an operator may want of an agent, and what wanting it changes in its document. Pure: moves between phases
//! are made later by the reconcile loop; here only `desired` and its companions change.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::{Agent, AgentConfig, Desired, Phase};
use crate::model::id::{PoolId, TemplateId};
use crate::model::plan::Goal;
use crate::model::time::Time;

/// One wish for one agent. The text form is the `action` of a planned step.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    EnumIter,
    EnumString,
    IntoStaticStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Intent {
    Start,
    Pause,
    Resume,
    /// Stop, but with a deadline of its own for the work in hand.
    Drain,
    Stop,
    Restart,
    /// Drain, end, keep a tombstone.
    Delete,
}

/// Why a wish has no meaning for an agent as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{agent} is deleted: undo the deletion or deploy a new agent")]
    Deleted { agent: String },
    #[error("{agent} is being deleted: undo the deletion first")]
    Deleting { agent: String },
    #[error("{agent} is {phase}, and only a running agent can be paused: start it first")]
    NotRunning { agent: String, phase: Phase },
    #[error("{agent} is not paused, it is {phase}: start it instead")]
    NotPaused { agent: String, phase: Phase },
    #[error("{agent} is being stopped: wait for it, then start it")]
    Stopping { agent: String },
    #[error("{agent} is paused: resume it instead")]
    Paused { agent: String },
    #[error("{agent} has never been started: wait for its first start")]
    NeverStarted { agent: String },
    #[error(
        "{agent} is one of the pods that its pool's Deployment makes: scale or update the pool instead"
    )]
    OfCrew { agent: String },
    #[error("{agent} is not deleted: there is nothing to restore")]
    NotDeleted { agent: String },
}

impl Intent {
    /// The step's action: `pause`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it ends an agent for good or until somebody starts it again (a restart does not).
    pub fn ends(self) -> bool {
        match self {
            Self::Drain | Self::Stop | Self::Delete => true,
            Self::Start | Self::Pause | Self::Resume | Self::Restart => false,
        }
    }

    /// What this wish changes: the agent as it should be recorded, or `None` when it is already wished for.
    ///
    /// `deadline` is how long a drained agent may finish its work (its own grace period if none is given).
    ///
    /// # Errors
    /// [`Refusal`] when the wish has no meaning for the agent as it is.
    pub fn apply(
        self,
        agent: &Agent,
        deadline: Option<Duration>,
        now: Time,
    ) -> Result<Option<Agent>, Refusal> {
        let name = || agent.name.clone();
        match (agent.phase, agent.desired) {
            (Phase::Deleted, _) if self == Self::Delete => return Ok(None),
            (Phase::Deleted, _) => return Err(Refusal::Deleted { agent: name() }),
            (_, Desired::Deleted) if self == Self::Delete => return Ok(None),
            (_, Desired::Deleted) => return Err(Refusal::Deleting { agent: name() }),
            (_, Desired::Running | Desired::Paused | Desired::Stopped) => {}
        }
        let mut next = agent.clone();
        match self {
            Self::Start => start(&mut next)?,
            Self::Pause => pause(&mut next)?,
            Self::Resume => resume(&mut next)?,
            Self::Stop => next.desired = Desired::Stopped,
            Self::Drain if agent.desired == Desired::Stopped => {} // twice is no error
            Self::Drain => {
                next.desired = Desired::Stopped;
                next.drain_deadline = Some(now.plus(deadline.unwrap_or(agent.config.grace)));
            }
            Self::Restart => restart(&mut next)?,
            Self::Delete => next.desired = Desired::Deleted,
        }
        if next == *agent {
            return Ok(None);
        }
        next.generation += 1;
        next.updated_at = now;
        Ok(Some(next))
    }

    /// When a step that carries this wish out for `agent` (as it was before) is done.
    pub fn goal(self, agent: &Agent) -> Goal {
        let at = |phase, incarnation| Goal::Agent { phase, incarnation };
        let next_run = agent.incarnation + 1;
        match self {
            Self::Start if is_over(agent.phase) => at(Phase::Running, next_run),
            Self::Start | Self::Resume => at(Phase::Running, agent.incarnation),
            Self::Pause => at(Phase::Paused, agent.incarnation),
            Self::Drain | Self::Stop => at(Phase::Stopped, agent.incarnation),
            Self::Restart => at(Phase::Running, next_run),
            Self::Delete => Goal::AgentGone,
        }
    }
}

fn start(agent: &mut Agent) -> Result<(), Refusal> {
    if agent.desired == Desired::Paused {
        return Err(Refusal::Paused { agent: agent.name.clone() });
    }
    if agent.phase == Phase::Failed && agent.desired == Desired::Running {
        forgive(agent);
        agent.wanted_incarnation = agent.incarnation + 1;
    }
    if agent.desired == Desired::Stopped {
        agent.desired = Desired::Running;
        agent.drain_deadline = None;
        forgive(agent);
        // an agent that is still running simply goes on; one on its way out comes back as its next run
        if is_over(agent.phase) {
            agent.wanted_incarnation = agent.incarnation + 1;
        }
    }
    Ok(())
}

fn pause(agent: &mut Agent) -> Result<(), Refusal> {
    match agent.phase {
        Phase::Pending | Phase::Deploying | Phase::Running | Phase::Paused => {}
        Phase::Draining | Phase::Stopped | Phase::Failed | Phase::Deleted => {
            return Err(Refusal::NotRunning { agent: agent.name.clone(), phase: agent.phase });
        }
    }
    if agent.desired == Desired::Stopped {
        return Err(Refusal::Stopping { agent: agent.name.clone() });
    }
    agent.desired = Desired::Paused;
    Ok(())
}

fn resume(agent: &mut Agent) -> Result<(), Refusal> {
    if agent.desired == Desired::Stopped {
        return Err(Refusal::NotPaused { agent: agent.name.clone(), phase: agent.phase });
    }
    agent.desired = Desired::Running;
    Ok(())
}

fn restart(agent: &mut Agent) -> Result<(), Refusal> {
    if agent.incarnation == 0 {
        return Err(Refusal::NeverStarted { agent: agent.name.clone() });
    }
    agent.desired = Desired::Running;
    agent.wanted_incarnation = agent.incarnation + 1;
    agent.drain_deadline = None;
    forgive(agent);
    Ok(())
}

/// An operator's start does not wait for the back-off of earlier failures.
fn forgive(agent: &mut Agent) {
    agent.failures = 0;
    agent.retry_at = None;
}

/// Whether the run in this phase has ended or is on its way out, so that only the next run can be alive.
fn is_over(phase: Phase) -> bool {
    match phase {
        Phase::Draining | Phase::Stopped | Phase::Failed | Phase::Deleted => true,
        Phase::Pending | Phase::Deploying | Phase::Running | Phase::Paused => false,
    }
}

/// Takes a deletion back: the agent as wanted before (`to`), from its tombstone if it has come to that.
///
/// `deleted` leads nowhere, so a tombstone is recorded anew under the same id: `pending`, or `stopped` if that was wanted.
///
/// # Errors
/// [`Refusal::NotDeleted`] when nobody wants it deleted.
pub fn restore(agent: &Agent, to: Desired, now: Time) -> Result<Agent, Refusal> {
    if agent.desired != Desired::Deleted {
        return Err(Refusal::NotDeleted { agent: agent.name.clone() });
    }
    let mut next = wanted_back(agent, to, now);
    if agent.phase == Phase::Deleted {
        next.phase = if to == Desired::Stopped { Phase::Stopped } else { Phase::Pending };
        next.phase_since = now;
        next.reason = "restored".to_owned();
        next.purge_at = None;
    }
    next.live_name = Some(agent.name.clone());
    Ok(next)
}

/// Takes back a change of what is wanted of an agent: wanted as before, whatever its phase by now. The reconcile loop
/// brings it there from wherever it is.
pub fn wanted_back(agent: &Agent, to: Desired, now: Time) -> Agent {
    let mut next = agent.clone();
    next.desired = to;
    next.drain_deadline = None;
    if matches!(to, Desired::Running | Desired::Paused) && is_over(agent.phase) {
        next.wanted_incarnation = agent.incarnation + 1;
        forgive(&mut next);
    }
    next.generation += 1;
    next.updated_at = now;
    next
}

/// When an agent is back, as [`restore`] or [`wanted_back`] wants it.
pub fn restored_goal(agent: &Agent) -> Goal {
    let run = agent.wanted_incarnation.min(agent.incarnation + 1);
    let (phase, incarnation) = match agent.desired {
        Desired::Running => (Phase::Running, run),
        Desired::Paused => (Phase::Paused, run),
        Desired::Stopped => (Phase::Stopped, agent.incarnation),
        Desired::Deleted => return Goal::AgentGone,
    };
    Goal::Agent { phase, incarnation }
}

/// What a new agent is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub name: String,
    pub kind: String,
    pub tenant: String,
    pub pool_id: Option<PoolId>,
    pub template_id: Option<TemplateId>,
    pub template_version: String,
    pub labels: BTreeMap<String, String>,
    pub desired: Desired,
    pub config: AgentConfig,
    pub created_by: String,
}

impl Draft {
    /// The agent as it is first recorded: `pending`, not yet started once, wanted at its first run.
    pub fn record(self, now: Time) -> Agent {
        Agent {
            live_name: Some(self.name.clone()),
            name: self.name,
            kind: self.kind,
            tenant: self.tenant,
            pool_id: self.pool_id,
            template_id: self.template_id,
            template_version: self.template_version,
            labels: self.labels,
            desired: self.desired,
            phase: Phase::Pending,
            phase_since: now,
            config: self.config,
            incarnation: 0,
            wanted_incarnation: 1,
            generation: 1,
            created_at: now,
            updated_at: now,
            created_by: self.created_by,
            ..Agent::default()
        }
    }
}

#[cfg(test)]
mod tests;
