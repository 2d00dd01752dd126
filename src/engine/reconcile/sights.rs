//! What the runtime runs, kept by its watch: the one place where "there is no such workload" may be concluded, and only
//! once the whole list is known.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, future};

use crate::model::id::AgentId;
use crate::ports::runtime::{Observed, Runtime, RuntimeError, Sight};

pub struct Sights {
    runtime: Arc<dyn Runtime>,
    feed: Option<BoxStream<'static, Sight>>,
    seen: HashMap<AgentId, Observed>,
    known: bool,
}

impl Sights {
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, feed: None, seen: HashMap::new(), known: false }
    }

    /// Whether the whole list is known: only then does a missing workload mean anything.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Everybody of whom there is a workload.
    pub fn agents(&self) -> Vec<AgentId> {
        self.seen.keys().cloned().collect()
    }

    pub fn of(&self, agent: &AgentId) -> Option<&Observed> {
        self.seen.get(agent)
    }

    /// Opens the watch and lists everything. Returns who differs from what was known.
    ///
    /// # Errors
    /// The runtime's; nothing is known until it works.
    pub async fn open(&mut self) -> Result<Vec<AgentId>, RuntimeError> {
        if self.feed.is_none() {
            self.feed = Some(self.runtime.watch().await?); // first the watch, so that nothing falls between
        }
        let listed = self.runtime.list().await?;
        let listed: HashMap<AgentId, Observed> =
            listed.into_iter().map(|seen| (seen.agent.clone(), seen)).collect();
        let gone = self.seen.keys().filter(|agent| !listed.contains_key(*agent)).cloned();
        let new = listed.iter().filter(|(agent, now)| self.seen.get(*agent) != Some(*now));
        let changed = gone.chain(new.map(|(agent, _)| agent.clone())).collect();
        self.seen = listed;
        self.known = true;
        Ok(changed)
    }

    /// Waits for the next sights and takes all that are there: deciding on the first of several would be deciding on the
    /// past. Returns whose they are; for ever pending without a watch. Cancel-safe.
    pub async fn next(&mut self) -> Vec<AgentId> {
        let Some(feed) = &mut self.feed else { return future::pending().await };
        let mut changed = Vec::new();
        let mut sight = feed.next().await;
        loop {
            match sight {
                Some(Sight::Changed(seen)) => {
                    if self.seen.get(&seen.agent) != Some(&seen) {
                        changed.push(seen.agent.clone());
                        self.seen.insert(seen.agent.clone(), seen);
                    }
                }
                Some(Sight::Gone(agent)) => {
                    self.seen.remove(&agent);
                    changed.push(agent);
                }
                Some(Sight::Resync) => self.known = false,
                None => {
                    (self.feed, self.known) = (None, false);
                    return changed;
                }
            }
            match feed.next().now_or_never() {
                Some(more) => sight = more,
                None => return changed,
            }
        }
    }
}
