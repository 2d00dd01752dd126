//! Who is to be looked at, and when: the work queue of the agents' part, with what it remembers of its own acts.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::super::diff;
use super::Done;
use crate::engine::view::AgentRow;
use crate::model::agent::lifecycle::{Act, FORBIDS, SHOWN_WITHIN, Tried};
use crate::model::agent::{Desired, Phase};
use crate::model::id::AgentId;
use crate::model::time::Time;
use crate::ports::runtime::{Observed, RuntimeError, State};

/// Everything is looked at again after this long, should anything have been missed.
const FULL_LOOK: Duration = Duration::from_secs(30);
/// First pause after a call to the runtime that failed, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Track {
    tried: Tried,
    /// A call to the runtime is queued or under way; its end is a reason to look again.
    busy: bool,
    failures: u32,
    held_until: Option<Time>,
    /// Starts in place that its document knows of.
    restarts: u32,
    start: Option<Start>,
}

/// What the runtime was asked to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub incarnation: u64,
    /// Of the wish that the time was taken from.
    pub generation: u64,
    /// When it counts as late.
    pub late: Time,
}

#[derive(Debug)]
pub struct Book {
    due: BTreeSet<AgentId>,
    timers: BinaryHeap<Reverse<(Time, AgentId)>>,
    tracks: HashMap<AgentId, Track>,
    rows: Arc<[Arc<AgentRow>]>,
    full_look_at: Time,
    nothing: Tried,
}

impl Book {
    pub fn new(now: Time) -> Self {
        Self {
            due: BTreeSet::new(),
            timers: BinaryHeap::new(),
            tracks: HashMap::new(),
            rows: Arc::default(),
            full_look_at: now.plus(FULL_LOOK),
            nothing: Tried::default(),
        }
    }

    pub fn mark(&mut self, agents: impl IntoIterator<Item = AgentId>) {
        self.due.extend(agents);
    }

    /// Marks those whose row changed in anything that matters here.
    pub fn compare(&mut self, rows: &Arc<[Arc<AgentRow>]>) {
        if Arc::ptr_eq(rows, &self.rows) {
            return;
        }
        let before = std::mem::replace(&mut self.rows, rows.clone());
        diff::each(
            &before,
            rows,
            |row| &row.id,
            |was, is| match (was, is) {
                (Some(was), Some(is)) if essence(was) == essence(is) => {}
                (was, is) => self.due.extend(is.or(was).map(|row| row.id.clone())),
            },
        );
    }

    /// Marks those whose time has come. Now and then that is everybody who is not plainly as it should be, which
    /// `is_quiet` says of a row: of a fleet at rest none is even put into the queue.
    pub fn wake(&mut self, now: Time, is_quiet: impl Fn(&AgentRow) -> bool) {
        if now >= self.full_look_at || self.full_look_at.since(now) > FULL_LOOK {
            self.full_look_at = now.plus(FULL_LOOK);
            let tracked = |row: &AgentRow| self.tracks.contains_key(&row.id);
            let stirring = self.rows.iter().filter(|row| tracked(row) || !is_quiet(row));
            self.due.extend(stirring.map(|row| row.id.clone()));
        }
        while self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            self.due.extend(self.timers.pop().map(|Reverse((_, agent))| agent));
        }
    }

    /// The next to look at; one with a call under way is looked at when that has ended.
    pub fn pop(&mut self) -> Option<AgentId> {
        loop {
            let agent = self.due.pop_first()?;
            if !self.tracks.get(&agent).is_some_and(|track| track.busy) {
                return Some(agent);
            }
        }
    }

    pub fn wake_at(&mut self, agent: &AgentId, at: Time) {
        self.timers.push(Reverse((at, agent.clone())));
    }

    /// Leaves it alone until then; what is tried after that is tried anew.
    pub fn hold(&mut self, agent: &AgentId, until: Time) {
        let track = self.tracks.entry(agent.clone()).or_default();
        (track.held_until, track.tried.forgotten) = (Some(until), false);
        self.wake_at(agent, until);
    }

    /// Until when this agent is left alone: the runtime did not answer for it, or its document cannot be read.
    pub fn held(&self, agent: &AgentId, now: Time) -> Option<Time> {
        self.tracks.get(agent)?.held_until.filter(|until| *until > now)
    }

    pub fn tried(&self, agent: &AgentId) -> &Tried {
        self.tracks.get(agent).map_or(&self.nothing, |track| &track.tried)
    }

    pub fn begin(&mut self, agent: &AgentId) {
        self.tracks.entry(agent.clone()).or_default().busy = true;
    }

    pub fn begin_start(&mut self, agent: &AgentId, start: Start) {
        self.begin(agent);
        self.tracks.entry(agent.clone()).or_default().start = Some(start);
    }

    /// Until when one that was asked for and is on its way needs no look at its document: a thousand that start would be
    /// read over and over. `None`: something else is to be decided.
    pub fn starts_until(&self, row: &AgentRow, seen: Option<&Observed>) -> Option<Time> {
        let Track { tried, start, .. } = self.tracks.get(&row.id)?;
        let (Start { incarnation, generation, late }, (applied, _, last)) =
            ((*start)?, tried.applied?);
        let wanted = matches!(row.desired, Desired::Running | Desired::Paused)
            && row.wanted_incarnation <= incarnation
            && row.generation == generation;
        let held_back = row.reason.as_str().starts_with(FORBIDS)
            || tried.refused.as_ref().is_some_and(|(of, _)| *of == incarnation)
            || tried.forbidden.as_ref().is_some_and(|(of, ..)| *of == incarnation);
        let asked_for = row.phase == Phase::Deploying
            && row.incarnation == incarnation
            && applied == incarnation;
        if !wanted || !asked_for || held_back {
            return None;
        }
        match seen {
            None => Some(late.min(last.plus(SHOWN_WITHIN))),
            Some(seen) if seen.incarnation != incarnation => None,
            Some(seen) => match seen.state {
                State::Starting | State::Lost | State::Ending => Some(late),
                State::Running | State::Parked | State::Exited => None,
            },
        }
    }

    /// Whether the runtime has started it in place more often than its document says, as far as is known here.
    pub fn has_restarted(&self, agent: &AgentId, seen: Option<&Observed>) -> bool {
        let known = self.tracks.get(agent).map_or(0, |track| track.restarts);
        seen.is_some_and(|seen| seen.state == State::Running && seen.restarts != known)
    }

    /// Its document has been compared with what the runtime sees.
    pub fn compared(&mut self, agent: &AgentId, seen: Option<&Observed>) {
        let restarts = seen.map_or(0, |seen| seen.restarts);
        if restarts > 0 || self.tracks.contains_key(agent) {
            self.tracks.entry(agent.clone()).or_default().restarts = restarts;
        }
    }

    /// It is as it should be: what was tried to bring it there is of no use any more.
    pub fn settle(&mut self, agent: &AgentId) {
        if self.tracks.get(agent).is_some_and(|track| !track.busy && track.restarts == 0) {
            self.tracks.remove(agent);
        }
    }

    pub fn drop(&mut self, agent: &AgentId) {
        self.tracks.remove(agent);
    }

    /// Notes how a call ended and marks its agent.
    pub fn end(&mut self, done: Done, now: Time) {
        let Done { agent, incarnation, act, outcome } = done;
        let track = self.tracks.entry(agent.clone()).or_default();
        track.busy = false;
        self.due.insert(agent);
        let tried = &mut track.tried;
        match outcome {
            Ok(()) | Err(RuntimeError::Gone { .. }) => {
                (track.failures, track.held_until) = (0, None);
                tried.forbidden = None;
                match act {
                    Act::Apply => {
                        let first = match tried.applied {
                            Some((of, first, _)) if of == incarnation => first,
                            Some(_) | None => now,
                        };
                        tried.applied = Some((incarnation, first, now));
                        tried.forgotten = false;
                    }
                    Act::Remove { incarnation, .. } => tried.removed = Some((incarnation, now)),
                    Act::Forget => tried.forgotten = true,
                    Act::Park { .. } | Act::Write { .. } | Act::Wait(_) => {}
                }
            }
            Err(RuntimeError::Rejected { message }) if act == Act::Apply => {
                tried.refused = Some((incarnation, message));
            }
            Err(error @ RuntimeError::Forbidden { .. }) if act == Act::Apply => {
                tried.forbidden = Some((incarnation, error.to_string(), now));
            }
            Err(
                RuntimeError::Rejected { .. }
                | RuntimeError::Forbidden { .. }
                | RuntimeError::Unavailable(_)
                | RuntimeError::OutcomeUnknown(_),
            ) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << track.failures.min(5));
                track.failures += 1;
                track.held_until = Some(now.plus(pause.min(LONGEST_PAUSE)));
            }
        }
    }

    /// How long nothing is due.
    pub fn next_due(&self, now: Time) -> Duration {
        if !self.due.is_empty() {
            return Duration::ZERO;
        }
        let next = self.timers.peek().map_or(self.full_look_at, |Reverse((at, _))| *at);
        next.min(self.full_look_at).since(now).min(FULL_LOOK)
    }
}

/// What of a row matters here.
fn essence(row: &AgentRow) -> impl PartialEq {
    let start = (row.phase == Phase::Deploying)
        .then(|| (row.heartbeat, row.generation, row.reason.clone()));
    let held = (row.phase == Phase::Draining).then_some(row.queue.leased);
    let want: (Desired, u64, u64) = (row.desired, row.incarnation, row.wanted_incarnation);
    (row.phase, want, row.retry_at, row.drain_deadline, start, held)
}
