//! Workloads that the runtime starts again in place (a container that crashed, an image that cannot be pulled): alive for the
//! reconcile loop, not well for health. Only these are kept, so ten thousand that run cost nothing.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, future};
use tokio::task::coop::unconstrained;

use crate::model::id::AgentId;
use crate::ports::runtime::{Observed, Runtime, RuntimeError, Sight, State};

pub struct Restarts {
    runtime: Arc<dyn Runtime>,
    feed: Option<BoxStream<'static, Sight>>,
    /// Who is being started or cannot be seen, and the runtime's words about it.
    starting: HashMap<AgentId, (State, String)>,
    known: bool,
}

impl Restarts {
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, feed: None, starting: HashMap::new(), known: false }
    }

    /// The runtime's words about one that it starts again in place.
    pub fn of(&self, agent: &AgentId) -> Option<&str> {
        self.said(agent, State::Starting)
    }

    /// The runtime's words about one whose host does not answer.
    pub fn lost(&self, agent: &AgentId) -> Option<&str> {
        self.said(agent, State::Lost)
    }

    /// The runtime's words against one that runs all the same.
    pub fn beside(&self, agent: &AgentId) -> Option<&str> {
        self.said(agent, State::Running)
    }

    fn said(&self, agent: &AgentId, of: State) -> Option<&str> {
        self.starting.get(agent).filter(|(state, _)| *state == of).map(|(_, said)| said.as_str())
    }

    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Opens the watch and lists everything; returns whose state may have changed.
    ///
    /// # Errors
    /// The runtime's. Nobody is judged by what is not known.
    pub async fn open(&mut self) -> Result<Vec<AgentId>, RuntimeError> {
        if self.feed.is_none() {
            self.feed = Some(self.runtime.watch().await?);
        }
        let listed = self.runtime.list().await?;
        let mut touched: Vec<AgentId> = self.starting.drain().map(|(agent, _)| agent).collect();
        touched.extend(listed.into_iter().filter_map(|seen| self.note(seen)));
        self.known = true;
        Ok(touched)
    }

    /// Waits for the next sights and takes all that are there; returns whose state changed. Cancel-safe.
    pub async fn next(&mut self) -> Vec<AgentId> {
        let Some(feed) = &mut self.feed else { return future::pending().await };
        let mut sights = Vec::new();
        let mut sight = feed.next().await;
        loop {
            match sight {
                Some(Sight::Resync) => self.known = false,
                Some(sight) => sights.push(sight),
                None => {
                    (self.feed, self.known) = (None, false);
                    break;
                }
            }
            match self.feed.as_mut().and_then(|feed| feed.next().now_or_never()) {
                Some(more) => sight = more,
                None => break,
            }
        }
        let touch = |sight| match sight {
            Sight::Changed(seen) => self.note(seen),
            Sight::Gone(agent) => self.starting.remove(&agent).map(|_| agent),
            Sight::Resync => None,
        };
        sights.into_iter().filter_map(touch).collect()
    }

    /// What [`Restarts::next`] would give at once; `None` when there is nothing.
    pub fn ready(&mut self) -> Option<Vec<AgentId>> {
        // not held back by the scheduler's budget: a sight that is left would be an older truth
        self.feed.as_ref()?;
        unconstrained(self.next()).now_or_never()
    }

    fn note(&mut self, seen: Observed) -> Option<AgentId> {
        match seen.state {
            State::Starting | State::Lost => self.hold(seen),
            State::Running if !seen.message.is_empty() => self.hold(seen),
            State::Running | State::Parked | State::Ending | State::Exited => {
                self.starting.remove(&seen.agent).map(|_| seen.agent)
            }
        }
    }

    fn hold(&mut self, seen: Observed) -> Option<AgentId> {
        let now = (seen.state, seen.message);
        let before = self.starting.insert(seen.agent.clone(), now.clone());
        (before != Some(now)).then_some(seen.agent)
    }
}
