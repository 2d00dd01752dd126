//! What to do next for one agent, from its document, what the runtime sees of it and what was tried already.
//!
//! Pure, and one act at a time: do it, look again, ask again. Asking twice gives the same answer, so a crash between two
//! acts costs nothing: the document is always written before the runtime is asked.

mod draining;
mod unlet;

pub use unlet::FORBIDS;

use std::time::Duration;

use super::{Agent, Desired, Phase};
use crate::model::time::Time;
use crate::model::workload::{Observed, State};

/// When a failed agent is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The pause before the second restart; the first is immediate.
    pub first: Duration,
    /// No pause is longer, jitter aside.
    pub longest: Duration,
    /// A run of this length forgets the failures before it.
    pub clean_run: Duration,
}

impl Default for RestartPolicy {
    /// KEP-4603 as it is today (`console.md` §5).
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            longest: Duration::from_secs(300),
            clean_run: Duration::from_secs(600),
        }
    }
}

impl RestartPolicy {
    /// The pause after failure number `failures` (1 for the first): none, then `first·2^(n−2)` up to `longest`, ±10 %.
    /// `seed` spreads agents that failed together; the same seed gives the same pause.
    pub fn pause(&self, failures: u32, seed: &str) -> Duration {
        if failures <= 1 {
            return Duration::ZERO;
        }
        let doubled = self.first.saturating_mul(1 << (failures - 2).min(20));
        doubled.min(self.longest).mul_f64(1.0 + 0.1 * spread(seed, failures))
    }
}

/// A number from −1 to 1 that depends on `seed` and `n` alone (FNV-1a).
fn spread(seed: &str, n: u32) -> f64 {
    let bytes = seed.bytes().chain(n.to_le_bytes());
    let hash = bytes
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    f64::from(hash) / f64::from(u32::MAX) * 2.0 - 1.0
}

/// What the leader remembers of its own acts for one agent; lost with it, and nothing depends on that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// The incarnation last applied with success, when first and when last.
    pub applied: Option<(u64, Time, Time)>,
    /// The incarnation last removed, and when.
    pub removed: Option<(u64, Time)>,
    /// The incarnation that the runtime refused, and its words.
    pub refused: Option<(u64, String)>,
    /// The incarnation that we may not bring about, the runtime's words, and when it was last asked.
    pub forbidden: Option<(u64, String, Time)>,
    /// The tombstone's workload was forgotten.
    pub forgotten: bool,
}

/// Everything that the decision depends on.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    pub id: &'a str,
    pub agent: &'a Agent,
    /// `None`: the runtime has nothing of it. Ask only once the runtime's whole list is known.
    pub seen: Option<&'a Observed>,
    /// When the last heartbeat came, and from which incarnation.
    pub heartbeat: Option<(Time, u64)>,
    /// Until when that speaks for a workload which this runtime does not show, because it may run elsewhere.
    pub vouched: Option<Time>,
    /// Messages that it holds.
    pub in_flight: u64,
    pub tried: &'a Tried,
    /// Since when this leader leads: what happened before gets its time anew.
    pub leading_since: Time,
    /// Automatic restarts are held back.
    pub braked: bool,
    /// The runtime keeps a paused agent's workload without running it.
    pub parks: bool,
    pub policy: RestartPolicy,
    pub now: Time,
}

/// The one next thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Replace the document; `kind` is the event's type.
    Write { agent: Box<Agent>, kind: &'static str },
    /// Ask the runtime for the document's incarnation.
    Apply,
    /// End the incarnation that is there.
    Remove { incarnation: u64, grace: Duration },
    /// End what runs of it and keep the rest, or let it run again.
    Park { parked: bool },
    /// Let the runtime forget what has ended.
    Forget,
    /// Nothing until something changes, or until then.
    Wait(Option<Time>),
}

/// How long the runtime may take to show what it accepted, before it is asked again.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// What is added to the grace period before a removal is asked for again.
pub const REMOVED_WITHIN: Duration = Duration::from_secs(10);
/// How often a brake is looked at.
const BRAKE_POLL: Duration = Duration::from_secs(2);
/// How long a tombstone is kept for undo.
pub const KEEP_TOMBSTONE: Duration = Duration::from_secs(24 * 3_600);

/// Decides what to do next. Every [`Act::Write`] is a legal move of [`Phase`] or stays in the phase.
pub fn next(facts: &Facts<'_>) -> Act {
    // A workload of another incarnation belongs to nobody: it ends before anything else is begun.
    if let Some(seen) = facts.seen
        && seen.incarnation != facts.agent.incarnation
        && seen.is_alive()
    {
        return facts.remove(seen.incarnation);
    }
    match facts.agent.phase {
        Phase::Pending => facts.pending(),
        Phase::Deploying => facts.deploying(),
        Phase::Running | Phase::Paused => facts.alive(),
        Phase::Draining => facts.draining(),
        Phase::Stopped => facts.stopped(),
        Phase::Failed => facts.failed(),
        Phase::Deleted => facts.deleted(),
    }
}

impl Facts<'_> {
    /// The workload of the document's own incarnation.
    fn mine(&self) -> Option<&Observed> {
        self.seen.filter(|seen| seen.incarnation == self.agent.incarnation)
    }

    fn is_alive(&self) -> bool {
        self.seen.is_some_and(Observed::is_alive)
    }

    /// What runs is not, or not in this incarnation, what is wanted.
    fn is_unwanted(&self) -> bool {
        matches!(self.agent.desired, Desired::Stopped | Desired::Deleted)
            || self.agent.wanted_incarnation > self.agent.incarnation
    }

    fn go(&self, to: Phase, reason: impl Into<String>) -> Option<Box<Agent>> {
        let mut agent = Box::new(self.agent.clone());
        agent.phase = agent.phase.go(to).ok()?;
        agent.phase_since = self.now;
        agent.updated_at = self.now;
        agent.reason = reason.into();
        Some(agent)
    }

    fn write(agent: Option<Box<Agent>>, kind: &'static str) -> Act {
        agent.map_or(Act::Wait(None), |agent| Act::Write { agent, kind })
    }

    fn pending(&self) -> Act {
        match self.agent.desired {
            _ if self.is_alive() => self.remove(self.agent.incarnation),
            Desired::Deleted => self.delete(),
            // wanted stopped: the legal way there leads through deploying and draining, with nothing started
            Desired::Running | Desired::Paused | Desired::Stopped => self.deploy(0),
        }
    }

    /// A fresh incarnation, in the document first.
    fn deploy(&self, failures: u32) -> Act {
        let reason = if failures == 0 {
            String::new()
        } else {
            format!("started again after: {}", self.agent.reason)
        };
        let agent = self.go(Phase::Deploying, reason).map(|mut agent| {
            agent.incarnation = (agent.incarnation + 1).max(agent.wanted_incarnation);
            agent.failures = failures;
            agent.running_since = None;
            agent.retry_at = None;
            agent.drain_deadline = None;
            agent.deployment.pid = None;
            agent
        });
        Self::write(agent, "agent.deploying")
    }

    fn deploying(&self) -> Act {
        let agent = self.agent;
        if self.is_unwanted() {
            return self.drain();
        }
        if let Some((incarnation, message)) = &self.tried.refused
            && *incarnation == agent.incarnation
        {
            return self.fail(message.clone());
        }
        if let Some(act) = self.unlet() {
            return act;
        }
        let Some(seen) = self.mine() else {
            return match self.tried.applied {
                Some((incarnation, first, last)) if incarnation == agent.incarnation => {
                    let (again, late) =
                        (last.plus(SHOWN_WITHIN), first.plus(agent.config.start_timeout));
                    if self.now >= late {
                        self.fail("the runtime accepted it, but nothing was ever seen of it")
                    } else if self.now >= again {
                        Act::Apply
                    } else {
                        Act::Wait(Some(again.min(late)))
                    }
                }
                Some(_) | None if self.vouched > Some(self.now) => self.run(None),
                Some(_) | None => Act::Apply,
            };
        };
        let late = agent.phase_since.max(self.leading_since).plus(agent.config.start_timeout);
        let report = match seen.state {
            State::Exited => return self.fail(seen.end()),
            State::Parked => return Act::Park { parked: false },
            State::Running => self.report(),
            State::Starting | State::Lost | State::Ending => Report::NotBefore(late),
        };
        match report {
            Report::Healthy => self.run(Some(seen)),
            Report::NotBefore(_) if self.now >= late => self.fail(self.late(seen)),
            Report::NotBefore(at) => Act::Wait(Some(at.min(late))),
        }
    }

    /// Whether what runs has reported healthy: by a heartbeat if it sends them, else by running.
    fn report(&self) -> Report {
        let (agent, heartbeat) = (self.agent, &self.agent.config.heartbeat);
        match self.heartbeat {
            Some((_, incarnation)) if incarnation >= agent.incarnation => Report::Healthy,
            _ if heartbeat.required => Report::NotBefore(
                agent.phase_since.max(self.leading_since).plus(agent.config.start_timeout),
            ),
            // an earlier run sent heartbeats: this one gets an interval for its first
            Some(_) => {
                let until = agent.phase_since.plus(heartbeat.interval);
                if self.now >= until { Report::Healthy } else { Report::NotBefore(until) }
            }
            None => Report::Healthy,
        }
    }

    fn late(&self, seen: &Observed) -> String {
        let waited = crate::model::time::span::format(self.agent.config.start_timeout);
        match seen.state {
            State::Running => format!("ran, but sent no heartbeat within {waited}"),
            State::Starting | State::Lost | State::Parked | State::Ending | State::Exited => {
                match seen.message.as_str() {
                    "" => format!("did not start within {waited}"),
                    said => format!("did not start within {waited}: {said}"),
                }
            }
        }
    }

    fn run(&self, seen: Option<&Observed>) -> Act {
        let recovered = self.agent.failures > 0;
        let reason = if recovered { self.agent.reason.clone() } else { String::new() };
        let agent = self.go(Phase::Running, reason).map(|mut agent| {
            agent.running_since = Some(self.now);
            seen.into_iter().for_each(|seen| place(&mut agent, seen));
            agent
        });
        Self::write(agent, if recovered { "agent.recovered" } else { "agent.running" })
    }

    fn alive(&self) -> Act {
        if self.is_unwanted() {
            return self.drain();
        }
        let seen = match self.mine() {
            None if self.vouched > Some(self.now) => return Act::Wait(self.vouched),
            None => return self.fail("its workload is gone from the runtime"),
            Some(seen) if !seen.is_alive() => return self.fail(seen.end()),
            Some(seen) => seen,
        };
        match (self.agent.phase, self.agent.desired) {
            (Phase::Running, Desired::Paused) => {
                Self::write(self.go(Phase::Paused, ""), "agent.paused")
            }
            (Phase::Paused, Desired::Paused) if self.parks && seen.state != State::Parked => {
                Act::Park { parked: true }
            }
            (_, Desired::Running) if seen.state == State::Parked => Act::Park { parked: false },
            (Phase::Paused, Desired::Running) if self.parks && seen.state != State::Running => {
                // as long as a first start: when it was asked to go on is when it was written last
                let since = self.agent.updated_at.max(self.leading_since);
                match since.plus(self.agent.config.start_timeout) {
                    late if self.now >= late => self.fail(self.late(seen)),
                    late => Act::Wait(Some(late)),
                }
            }
            (Phase::Paused, Desired::Running) => {
                Self::write(self.go(Phase::Running, ""), "agent.resumed")
            }
            _ if has_moved(self.agent, seen) => {
                let mut agent = Box::new(self.agent.clone());
                agent.updated_at = self.now;
                place(&mut agent, seen);
                Act::Write { agent, kind: "agent.placed" }
            }
            _ => Act::Wait(None),
        }
    }

    fn stopped(&self) -> Act {
        match self.agent.desired {
            _ if self.is_alive() => self.remove(self.agent.incarnation),
            Desired::Deleted => self.delete(),
            Desired::Running | Desired::Paused => self.deploy(0),
            Desired::Stopped => Act::Wait(None),
        }
    }

    fn failed(&self) -> Act {
        let agent = self.agent;
        if self.is_alive() {
            return self.remove(agent.incarnation);
        }
        match agent.desired {
            Desired::Deleted => self.delete(),
            Desired::Stopped => self.drain(),
            // the operator asked for a new incarnation: what failed before does not count
            Desired::Running | Desired::Paused if agent.wanted_incarnation > agent.incarnation => {
                self.deploy(0)
            }
            Desired::Running | Desired::Paused if self.braked => {
                Act::Wait(Some(self.now.plus(BRAKE_POLL)))
            }
            Desired::Running | Desired::Paused => match agent.retry_at {
                Some(at) if at > self.now => Act::Wait(Some(at)),
                Some(_) | None => self.deploy(agent.failures.max(1)),
            },
        }
    }

    fn fail(&self, reason: impl Into<String>) -> Act {
        let refused = self.tried.refused.as_ref().map(|(incarnation, _)| *incarnation);
        let patience = refused == Some(self.agent.incarnation);
        let agent = failed(self.id, self.agent, reason, patience, self.policy, self.now);
        Self::write(agent.map(Box::new), "agent.failed")
    }

    fn delete(&self) -> Act {
        let agent = self.go(Phase::Deleted, "").map(|mut agent| {
            agent.live_name = None;
            agent.purge_at = Some(self.now.plus(KEEP_TOMBSTONE));
            agent.retry_at = None;
            agent.drain_deadline = None;
            agent.deployment.pid = None;
            agent
        });
        Self::write(agent, "agent.deleted")
    }

    fn deleted(&self) -> Act {
        match self.seen {
            Some(seen) if seen.is_alive() => self.remove(seen.incarnation),
            Some(_) if !self.tried.forgotten => Act::Forget,
            Some(_) | None => Act::Wait(None),
        }
    }

    /// Ends `incarnation`, unless that was asked for and still has its time.
    fn remove(&self, incarnation: u64) -> Act {
        removal(self.tried, incarnation, self.agent.config.grace, self.now)
    }
}

/// Ends `incarnation`: once with its grace, and without any if it is still there after that.
pub fn removal(tried: &Tried, incarnation: u64, grace: Duration, now: Time) -> Act {
    match tried.removed {
        Some((removed, at)) if removed == incarnation => {
            let again = at.plus(grace).plus(REMOVED_WITHIN);
            if now < again {
                Act::Wait(Some(again))
            } else {
                Act::Remove { incarnation, grace: Duration::ZERO }
            }
        }
        Some(_) | None => Act::Remove { incarnation, grace },
    }
}

enum Report {
    Healthy,
    NotBefore(Time),
}

/// Whether what runs is no longer where [`place`] noted it, or was started again there.
pub fn has_moved(agent: &Agent, seen: &Observed) -> bool {
    let at = &agent.deployment;
    // a runtime that cannot say where it is for a moment has moved nothing
    let elsewhere = !seen.node.is_empty() && at.node != seen.node;
    seen.state == State::Running
        && (at.pid != seen.pid || elsewhere || at.restarts != seen.restarts)
}

/// Notes where its workload is.
pub fn place(agent: &mut Agent, seen: &Observed) {
    let at = &mut agent.deployment;
    at.pid = seen.pid;
    if !seen.node.is_empty() {
        at.node.clone_from(&seen.node);
    }
    at.workload.clone_from(&seen.workload);
    at.restarts = seen.restarts;
    at.image.clone_from(&agent.config.image);
}

/// `agent` as failed for `reason`, with its next try planned; `None` if it cannot fail from its phase.
///
/// The health loop uses it too, for what lives but does not answer. `patience`: no immediate restart, since the same
/// would be refused again.
pub fn failed(
    id: &str,
    agent: &Agent,
    reason: impl Into<String>,
    patience: bool,
    policy: RestartPolicy,
    now: Time,
) -> Option<Agent> {
    let mut agent = agent.clone();
    agent.phase = agent.phase.go(Phase::Failed).ok()?;
    let clean = agent.running_since.is_some_and(|since| now.since(since) >= policy.clean_run);
    agent.failures = if clean { 1 } else { agent.failures.saturating_add(1) };
    let counted = if patience { agent.failures.saturating_add(1) } else { agent.failures };
    agent.retry_at = Some(now.plus(policy.pause(counted, id)));
    agent.reason = reason.into();
    agent.phase_since = now;
    agent.updated_at = now;
    agent.drain_deadline = None;
    agent.deployment.pid = None;
    Some(agent)
}

#[cfg(test)]
mod tests;
