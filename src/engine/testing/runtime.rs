//! A runtime for engine tests: workloads are lines in a table, and the test says what becomes of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::model::health::Usage;
use crate::model::id::AgentId;
use crate::ports::runtime::*;

#[derive(Debug, Default)]
struct Inner {
    workloads: BTreeMap<AgentId, Observed>,
    usage: BTreeMap<AgentId, Usage>,
    applied: Vec<Workload>,
    removed: Vec<AgentId>,
    refusal: Option<String>,
    /// What may not be done, in the words of whoever forbids it.
    forbidden: Option<String>,
    lost: bool,
    /// Applied workloads stay in `Starting` until the test says otherwise.
    slow: bool,
    /// Removed workloads go on until the test ends them.
    stubborn: bool,
    /// Others run theirs here too.
    shared: bool,
    pids: u32,
}

/// Clones are the same runtime. Workloads run as soon as they are applied and end as soon as they are removed.
#[derive(Debug, Clone)]
pub struct FakeRuntime {
    inner: Arc<Mutex<Inner>>,
    sights: broadcast::Sender<Sight>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRuntime {
    pub fn new() -> Self {
        Self { inner: Arc::default(), sights: broadcast::Sender::new(100_000) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Refuses every workload with this message from now on (`None`: accepts again).
    pub fn refuse(&self, message: Option<&str>) {
        self.inner().refusal = message.map(str::to_owned);
    }

    /// Forbids every workload with this message from now on (`None`: allows them again).
    pub fn forbid(&self, message: Option<&str>) {
        self.inner().forbidden = message.map(str::to_owned);
    }

    /// Every call fails with `Unavailable` while lost.
    pub fn set_lost(&self, lost: bool) {
        self.inner().lost = lost;
    }

    /// While slow, applied workloads stay in `Starting`; see [`FakeRuntime::come_up`].
    pub fn set_slow(&self, slow: bool) {
        self.inner().slow = slow;
    }

    /// While stubborn, removed workloads go on; see [`FakeRuntime::exit`].
    pub fn set_stubborn(&self, stubborn: bool) {
        self.inner().stubborn = stubborn;
    }

    /// From now on others may run theirs here too, so that what has no record stays.
    pub fn share(&self) {
        self.inner().shared = true;
    }

    pub fn come_up(&self, agent: &AgentId) {
        self.change(agent, |seen| seen.state = State::Running);
    }

    /// A workload that somebody else began, as it is seen; or how it has become.
    pub fn show(&self, seen: Observed) {
        let _ = self.sights.send(Sight::Changed(seen.clone()));
        self.inner().workloads.insert(seen.agent.clone(), seen);
    }

    /// The runtime starts the workload again by itself, as a cluster does with a container that crashed.
    pub fn restart_in_place(&self, agent: &AgentId) {
        self.change(agent, |seen| seen.state = State::Starting);
        self.change(agent, |seen| {
            (seen.state, seen.restarts) = (State::Running, seen.restarts + 1);
        });
    }

    /// It runs on another node, as after an eviction.
    pub fn move_to(&self, agent: &AgentId, node: &str) {
        self.change(agent, |seen| node.clone_into(&mut seen.node));
    }

    /// The workload ends by itself.
    pub fn exit(&self, agent: &AgentId, exit: Exit) {
        self.change(agent, |seen| {
            seen.state = State::Exited;
            seen.exit = Some(exit);
            seen.message = format!("{exit:?}");
        });
    }

    pub fn set_usage(&self, agent: &AgentId, usage: Usage) {
        self.inner().usage.insert(agent.clone(), usage);
    }

    /// Every workload that was accepted, in order, repetitions included.
    pub fn applied(&self) -> Vec<Workload> {
        self.inner().applied.clone()
    }

    pub fn removed(&self) -> Vec<AgentId> {
        self.inner().removed.clone()
    }

    pub fn seen(&self, agent: &AgentId) -> Option<Observed> {
        self.inner().workloads.get(agent).cloned()
    }

    fn change(&self, agent: &AgentId, how: impl FnOnce(&mut Observed)) {
        let mut inner = self.inner();
        let seen = inner.workloads.get_mut(agent).expect("a workload of this agent");
        how(seen);
        let _ = self.sights.send(Sight::Changed(seen.clone()));
    }

    fn begin(&self) -> Result<MutexGuard<'_, Inner>, RuntimeError> {
        let inner = self.inner();
        if inner.lost {
            Err(RuntimeError::Unavailable("lost on purpose".into()))
        } else {
            Ok(inner)
        }
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn apply(&self, workload: Workload) -> Result<(), RuntimeError> {
        let mut inner = self.begin()?;
        if let Some(message) = inner.refusal.clone() {
            return Err(RuntimeError::Rejected { message });
        }
        if let Some(message) = inner.forbidden.clone() {
            return Err(RuntimeError::Forbidden { message });
        }
        inner.applied.push(workload.clone());
        let known = inner.workloads.get(&workload.agent);
        if known.is_some_and(|seen| seen.incarnation >= workload.incarnation) {
            return Ok(());
        }
        inner.pids += 1;
        let observed = Observed {
            agent: workload.agent.clone(),
            incarnation: workload.incarnation,
            state: if inner.slow { State::Starting } else { State::Running },
            pid: Some(inner.pids),
            node: "here".into(),
            workload: format!("agent-{}", workload.agent),
            restarts: 0,
            message: String::new(),
            exit: None,
            started_at: None,
            copy_of: None,
        };
        inner.workloads.insert(workload.agent, observed.clone());
        let _ = self.sights.send(Sight::Changed(observed));
        Ok(())
    }

    async fn remove(&self, agent: &AgentId, _grace: Duration) -> Result<(), RuntimeError> {
        let mut inner = self.begin()?;
        inner.removed.push(agent.clone());
        if inner.stubborn {
            return Ok(());
        }
        if let Some(seen) = inner.workloads.get_mut(agent).filter(|s| s.state != State::Exited) {
            seen.state = State::Exited;
            seen.exit = Some(Exit::Code(0));
            let _ = self.sights.send(Sight::Changed(seen.clone()));
        }
        Ok(())
    }

    async fn forget(&self, agent: &AgentId) -> Result<(), RuntimeError> {
        if self.begin()?.workloads.remove(agent).is_some() {
            let _ = self.sights.send(Sight::Gone(agent.clone()));
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        Ok(self.begin()?.workloads.values().cloned().collect())
    }

    async fn watch(&self) -> Result<BoxStream<'static, Sight>, RuntimeError> {
        let inner = self.begin()?;
        let later = BroadcastStream::new(self.sights.subscribe())
            .map(|sight| sight.unwrap_or(Sight::Resync));
        let now: Vec<Sight> = inner.workloads.values().cloned().map(Sight::Changed).collect();
        Ok(futures::stream::iter(now).chain(later).boxed())
    }

    fn is_ours_alone(&self) -> bool {
        !self.inner().shared
    }

    fn glimpse(&self) -> Option<BoxStream<'static, Glimpse>> {
        let inner = self.inner();
        let glimpsed = |seen: &Observed| Glimpsed { since: seen.started_at, seen: seen.clone() };
        let seen = inner.workloads.values().map(glimpsed).collect();
        let later = BroadcastStream::new(self.sights.subscribe()).map(move |sight| match sight {
            Ok(Sight::Changed(seen)) => Glimpse::Changed(glimpsed(&seen)),
            Ok(Sight::Gone(agent)) => Glimpse::Gone(agent),
            Ok(Sight::Resync) | Err(_) => Glimpse::All { seen: Vec::new(), whole: false },
        });
        let first = futures::stream::iter([Glimpse::All { seen, whole: true }]);
        inner.shared.then(|| first.chain(later).boxed())
    }

    async fn usage(&self, agents: &[AgentId]) -> Result<Vec<(AgentId, Usage)>, RuntimeError> {
        let inner = self.begin()?;
        let sample = |agent: &AgentId| Some((agent.clone(), *inner.usage.get(agent)?));
        Ok(agents.iter().filter_map(sample).collect())
    }

    async fn logs(
        &self,
        agent: &AgentId,
        _options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        Err(RuntimeError::Gone { agent: agent.clone() })
    }

    async fn exec(
        &self,
        agent: &AgentId,
        _command: &[String],
        _timeout: Duration,
    ) -> Result<ExecResult, RuntimeError> {
        Err(RuntimeError::Gone { agent: agent.clone() })
    }

    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        drop(self.begin()?);
        Ok(RuntimeInfo {
            kind: "fake",
            version: "1".into(),
            place: "here".into(),
            latency: Duration::from_micros(5),
            nodes: Vec::new(),
        })
    }
}
