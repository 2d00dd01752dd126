//! The simulated runtime: plays agents without a single process, for measuring, training and trying the console at size.
//! Seeded: with the same seed and the same calls at the same times, the same things happen in the same order.
//!
//! It owns no thread. Whoever reads its watch, lists, or samples usage moves its time on; in between nothing happens.

mod dice;
mod talk;
mod world;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio::sync::broadcast::{self, error::RecvError};

use self::world::World;
use crate::model::health::Usage;
use crate::model::id::AgentId;
use crate::ports::clock::Clock;
use crate::ports::runtime::{
    ExecResult, LogLine, LogOptions, Node, Observed, Runtime, RuntimeError, RuntimeInfo, Sight,
    State, Workload,
};

/// How often a reader of the watch moves time on.
const TICK: Duration = Duration::from_millis(20);
/// How often a follower of a log looks whether its agent has more to say.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub struct SimOptions {
    /// How many agents to make room for; more may come.
    pub agents: usize,
    /// Usage samples a second over all agents; every hundredth is a change of status instead.
    pub updates_per_second: u32,
    pub seed: u64,
    pub clock: Arc<dyn Clock>,
}

/// Agents as numbers. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct SimulatedRuntime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: SimOptions,
    world: Mutex<World>,
    changes: broadcast::Sender<Sight>,
}

impl SimulatedRuntime {
    pub fn new(options: SimOptions) -> Self {
        let world = World::new(&options);
        // when a whole fleet starts at once, a slow reader lags behind this and lists again
        let changes = broadcast::Sender::new(4096);
        Self(Arc::new(Inner { world: Mutex::new(world), changes, options }))
    }

    /// Takes over agents that a reopened store says are up, at their incarnation: they run at once. Those already known
    /// stay as they are.
    pub fn adopt(&self, agents: impl IntoIterator<Item = (AgentId, u64)>) {
        let mut world = self.0.on();
        for (agent, incarnation) in agents {
            world.adopt(&agent, incarnation);
        }
        self.0.tell(&mut world);
    }

    /// Long lists are made where they hold up nobody.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.map_err(|error| RuntimeError::Unavailable(Box::new(error)))
    }
}

impl Inner {
    /// The world, moved on to now.
    fn on(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.options.clock.instant());
        world
    }

    /// Tells what has happened; under the world's lock, so that the order holds.
    fn tell(&self, world: &mut World) {
        for sight in world.take_sights() {
            drop(self.changes.send(sight)); // nobody listening is fine
        }
    }

    fn advance(&self) {
        let mut world = self.on();
        self.tell(&mut world);
    }

    fn survey(&self) -> (Vec<Observed>, broadcast::Receiver<Sight>) {
        let mut world = self.on();
        self.tell(&mut world);
        (world.list(), self.changes.subscribe())
    }
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    async fn apply(&self, workload: Workload) -> Result<(), RuntimeError> {
        let mut world = self.0.on();
        let done = world.apply(&workload);
        self.0.tell(&mut world);
        done
    }

    async fn remove(&self, agent: &AgentId, grace: Duration) -> Result<(), RuntimeError> {
        let mut world = self.0.on();
        world.remove(agent, grace);
        self.0.tell(&mut world);
        Ok(())
    }

    async fn forget(&self, agent: &AgentId) -> Result<(), RuntimeError> {
        let mut world = self.0.on();
        let done = world.forget(agent);
        self.0.tell(&mut world);
        done
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        self.aside(|inner| inner.survey().0).await
    }

    async fn watch(&self) -> Result<BoxStream<'static, Sight>, RuntimeError> {
        let (seen, changes) = self.aside(Inner::survey).await?;
        let first = stream::iter(seen.into_iter().map(Sight::Changed));
        let inner = Arc::clone(&self.0);
        let changes = stream::unfold((inner, changes), |(inner, mut changes)| async move {
            loop {
                let next = match changes.recv().now_or_never() {
                    Some(next) => next,
                    None => tokio::select! {
                        next = changes.recv() => next,
                        () = tokio::time::sleep(TICK) => {
                            inner.advance();
                            continue;
                        }
                    },
                };
                return match next {
                    Ok(sight) => Some((sight, (inner, changes))),
                    Err(RecvError::Lagged(_)) => Some((Sight::Resync, (inner, changes))),
                    Err(RecvError::Closed) => None,
                };
            }
        });
        Ok(first.chain(changes).boxed())
    }

    async fn usage(&self, agents: &[AgentId]) -> Result<Vec<(AgentId, Usage)>, RuntimeError> {
        let agents = agents.to_vec();
        self.aside(move |inner| {
            let mut world = inner.on();
            inner.tell(&mut world);
            world.usage(&agents)
        })
        .await
    }

    async fn logs(
        &self,
        agent: &AgentId,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        let gone = || RuntimeError::Gone { agent: agent.clone() };
        let story = self.0.on().story(agent).ok_or_else(gone)?;
        if options.previous {
            let before = story.before().ok_or_else(|| RuntimeError::Rejected {
                message: "there is no log of an incarnation before this one".to_owned(),
            })?;
            return Ok(stream::iter(before.lines(&options).into_iter().map(Ok)).boxed());
        }
        let lines = story.lines(&options);
        if !options.follow {
            return Ok(stream::iter(lines.into_iter().map(Ok)).boxed());
        }
        let state = (Arc::clone(&self.0), agent.clone(), story, VecDeque::from(lines));
        let told = stream::unfold(state, |(inner, agent, mut story, mut ready)| async move {
            loop {
                if let Some(line) = ready.pop_front() {
                    return Some((Ok(line), (inner, agent, story, ready)));
                }
                tokio::time::sleep(LOOK).await;
                let now = inner.on().story(&agent)?;
                ready = now.lines_after(&story).into();
                story = now;
            }
        });
        Ok(told.boxed())
    }

    async fn exec(
        &self,
        agent: &AgentId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, RuntimeError> {
        if self.0.on().state(agent) != Some(State::Running) {
            return Err(RuntimeError::Gone { agent: agent.clone() });
        }
        talk::exec(command, timeout).await
    }

    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let SimOptions { updates_per_second, seed, .. } = &self.0.options;
        let world = self.0.on();
        let node = |number| Node {
            name: world::node_name(number),
            cpu_millis: 32_000,
            memory_bytes: 128 << 30,
        };
        Ok(RuntimeInfo {
            kind: "simulated",
            version: format!("seed {seed}"),
            place: format!("{} agents, {updates_per_second} updates/s", world.len()),
            latency: Duration::ZERO,
            nodes: (0..world.nodes()).map(node).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
