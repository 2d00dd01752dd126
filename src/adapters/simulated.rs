//! The simulated runtime: plays agents without a single process, for measuring, training and trying the console at size.
//! Seeded: with the same seed and the same calls at the same times, the same things happen in the same order.
//!
//! It owns no thread. Whoever reads its watch, lists, or samples usage moves its time on; in between nothing happens, and
//! while nothing is due nobody wakes.

mod dice;
mod talk;
mod world;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Notify, OnceCell};

use self::world::World;
use crate::model::health::Usage;
use crate::model::id::AgentId;
use crate::ports::clock::Clock;
use crate::ports::runtime::{
    ExecResult, LogLine, LogOptions, Node, Observed, Runtime, RuntimeError, RuntimeInfo, Sight,
    State, Workload,
};
use crate::ports::store::BoxError;

/// A reader of the watch moves time on this often at most, and not at all while nothing can happen.
const TICK: Duration = Duration::from_millis(20);
/// Agents that are looked at in one go; others get their turn in between, and no long list is made twice.
const CHUNK: usize = 500;
/// What is further off than this is looked for again.
const LONGEST: Duration = Duration::from_secs(1);
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

/// Reads which agents are up, and at which incarnation, from where that is kept.
pub type Census =
    Box<dyn Fn() -> BoxFuture<'static, Result<Vec<(AgentId, u64)>, BoxError>> + Send + Sync>;

/// Agents as numbers. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct SimulatedRuntime(Arc<Inner>);

struct Inner {
    options: SimOptions,
    world: Mutex<World>,
    changes: broadcast::Sender<Sight>,
    /// Somebody was asked to do something: what is due next may be sooner than it was.
    stirred: Notify,
    census: Option<Census>,
    /// Set once the agents of the census are here.
    peopled: OnceCell<()>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("options", &self.options).finish_non_exhaustive()
    }
}

impl SimulatedRuntime {
    pub fn new(options: SimOptions) -> Self {
        Self::with(options, None)
    }

    /// The same with agents that are up already. `census` is asked when the agents are first needed, so that opening a
    /// large fleet waits for nothing, and again should it fail.
    pub fn peopled_by(options: SimOptions, census: Census) -> Self {
        Self::with(options, Some(census))
    }

    fn with(options: SimOptions, census: Option<Census>) -> Self {
        let world = World::new(&options);
        // when a whole fleet starts at once, a slow reader lags behind this and lists again
        let changes = broadcast::Sender::new(4096);
        Self(Arc::new(Inner {
            world: Mutex::new(world),
            changes,
            options,
            stirred: Notify::new(),
            census,
            peopled: OnceCell::new(),
        }))
    }

    /// Waits until the agents of the census are here.
    async fn peopled(&self) -> Result<(), RuntimeError> {
        let Some(census) = &self.0.census else { return Ok(()) };
        let ask = || async {
            let agents = census().await.map_err(RuntimeError::Unavailable)?;
            for some in agents.chunks(CHUNK) {
                self.0.adopt(some.iter().cloned());
                tokio::task::yield_now().await;
            }
            Ok(())
        };
        self.0.peopled.get_or_try_init(ask).await.copied()
    }

    /// Takes over agents that a reopened store says are up, at their incarnation: they run at once. Those already known
    /// stay as they are.
    pub fn adopt(&self, agents: impl IntoIterator<Item = (AgentId, u64)>) {
        self.0.adopt(agents);
    }
}

/// Sleeps for so long, or for ever.
async fn pause(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

impl Inner {
    /// Does something to the world and tells what came of it.
    fn act<T>(&self, deed: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.on();
        let done = deed(&mut world);
        self.tell(&mut world);
        drop(world);
        self.stirred.notify_waiters();
        done
    }

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

    fn adopt(&self, agents: impl IntoIterator<Item = (AgentId, u64)>) {
        let mut world = self.on();
        for (agent, incarnation) in agents {
            world.adopt(&agent, incarnation);
        }
        self.tell(&mut world);
        drop(world);
        self.stirred.notify_waiters();
    }

    fn advance(&self) {
        let mut world = self.on();
        self.tell(&mut world);
    }

    /// How long a reader of the watch may rest; for ever while nothing is going to happen by itself.
    fn rest(&self) -> Option<Duration> {
        let due = self.world.lock().unwrap_or_else(PoisonError::into_inner).next_due()?;
        let wait = due.saturating_duration_since(self.options.clock.instant());
        Some(wait.clamp(TICK, LONGEST))
    }

    /// Some agents from that slot on, and the slot after them if there are more.
    fn some(&self, from: usize) -> (Vec<Observed>, Option<usize>) {
        let mut world = self.on();
        self.tell(&mut world);
        world.some(from, CHUNK)
    }
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    async fn apply(&self, workload: Workload) -> Result<(), RuntimeError> {
        self.peopled().await?;
        self.0.act(|world| world.apply(&workload))
    }

    async fn remove(&self, agent: &AgentId, grace: Duration) -> Result<(), RuntimeError> {
        self.peopled().await?;
        self.0.act(|world| world.remove(agent, grace));
        Ok(())
    }

    async fn forget(&self, agent: &AgentId) -> Result<(), RuntimeError> {
        self.peopled().await?;
        self.0.act(|world| world.forget(agent))
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        self.peopled().await?;
        let (mut all, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let (some, more) = self.0.some(from);
            all.extend(some);
            next = more;
            tokio::task::yield_now().await;
        }
        Ok(all)
    }

    async fn watch(&self) -> Result<BoxStream<'static, Sight>, RuntimeError> {
        self.peopled().await?;
        // first listen, then list: what changes meanwhile is told once more
        let changes = self.0.changes.subscribe();
        let inner = Arc::clone(&self.0);
        let first = stream::unfold((inner.clone(), Some(0)), |(inner, next)| async move {
            let (some, more) = inner.some(next?);
            Some((stream::iter(some.into_iter().map(Sight::Changed)), (inner, more)))
        });
        let first = first.flatten();
        let changes = stream::unfold((inner, changes), |(inner, mut changes)| async move {
            loop {
                let next = match changes.recv().now_or_never() {
                    Some(next) => next,
                    None => {
                        let stirred = inner.stirred.notified();
                        tokio::pin!(stirred);
                        stirred.as_mut().enable(); // before looking when to wake, so that nothing falls between
                        let rest = inner.rest();
                        tokio::select! {
                            next = changes.recv() => next,
                            () = stirred => continue,
                            () = pause(rest) => {
                                inner.advance();
                                continue;
                            }
                        }
                    }
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
        self.peopled().await?;
        let mut world = self.0.on();
        self.0.tell(&mut world);
        Ok(world.usage(agents))
    }

    async fn logs(
        &self,
        agent: &AgentId,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        self.peopled().await?;
        let gone = || RuntimeError::Gone { agent: agent.clone() };
        let story = self.0.on().story(agent).ok_or_else(gone)?;
        if options.previous {
            let before = story.before().ok_or_else(|| RuntimeError::Rejected {
                message: "it has run once only: there is no log of a run before this one"
                    .to_owned(),
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
        self.peopled().await?;
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
