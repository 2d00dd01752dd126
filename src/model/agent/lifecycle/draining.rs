//! On the way out: an agent that takes no new work finishes what it holds, is asked to end, and says so if it does not.

use std::time::Duration;

use super::{Act, Facts};
use crate::model::agent::{Desired, Phase};
use crate::model::workload::Observed;

/// How the reason of one begins that has not ended in its time.
const STAYS: &str = "asked to end and still there";

/// How often an agent that still holds messages is looked at while it drains.
const DRAIN_POLL: Duration = Duration::from_millis(500);
/// What does not end in its grace is killed; that is done, and seen, within this.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

impl Facts<'_> {
    /// From now on it takes no new work.
    pub(super) fn drain(&self) -> Act {
        let agent = self.go(Phase::Draining, self.why_drained()).map(|mut agent| {
            let given = agent.drain_deadline.filter(|at| *at > self.now);
            agent.drain_deadline = Some(given.unwrap_or(self.now.plus(agent.config.grace)));
            agent
        });
        Self::write(agent, "agent.draining")
    }

    fn why_drained(&self) -> &'static str {
        match self.agent.desired {
            Desired::Deleted => "being deleted",
            Desired::Stopped => "being stopped",
            Desired::Running | Desired::Paused => "restarting",
        }
    }

    pub(super) fn draining(&self) -> Act {
        let agent = self.agent;
        if let Some(seen) = self.seen.filter(|seen| seen.is_alive()) {
            let deadline = agent.drain_deadline.unwrap_or(agent.phase_since);
            if self.in_flight > 0 && self.now < deadline {
                return Act::Wait(Some(deadline.min(self.now.plus(DRAIN_POLL))));
            }
            return self.unending(seen).unwrap_or_else(|| self.remove(seen.incarnation));
        }
        // an end that nobody saw: it may have been asked for and not shown yet
        let removed = self.tried.removed.is_some_and(|(removed, _)| removed >= agent.incarnation);
        if self.mine().is_none() && !removed {
            return self.remove(agent.incarnation);
        }
        let reason = match self.in_flight {
            0 => String::new(),
            held => format!("ended while it held {held} messages; they will be redelivered"),
        };
        let agent = self.go(Phase::Stopped, reason).map(|mut agent| {
            agent.drain_deadline = None;
            agent.deployment.pid = None;
            agent
        });
        Self::write(agent, "agent.stopped")
    }

    /// What to do for one whose grace is over, unless it is to be asked once more.
    fn unending(&self, seen: &Observed) -> Option<Act> {
        let (_, at) = self.tried.removed.filter(|(removed, _)| *removed == seen.incarnation)?;
        let agent = self.agent;
        if agent.reason.starts_with(STAYS) {
            return None;
        }
        let over = at.plus(agent.config.grace).plus(KILLED_WITHIN);
        if self.now < over {
            return Some(Act::Wait(Some(over)));
        }
        let mut after = agent.clone();
        after.reason = match seen.message.as_str() {
            "" => STAYS.to_owned(),
            said => format!("{STAYS}: {said}"),
        };
        after.updated_at = self.now;
        Some(Act::Write { agent: Box::new(after), kind: "agent.waiting" })
    }
}
