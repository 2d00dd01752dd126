//! The runtime: where agents' workloads run. Local processes, Kubernetes, or a simulation.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::site::{self, Connection, Shell, TerminalSize};
use super::store::{Advice, BoxError};
use crate::model::agent::AgentConfig;
use crate::model::health::Usage;
use crate::model::id::{AgentId, PoolId};
use crate::model::time::Time;
pub use crate::model::workload::{CopyOf, Exit, Observed, State};

/// What shall run for one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    pub agent: AgentId,
    pub name: String,
    pub kind: String,
    pub pool: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub incarnation: u64,
    pub config: AgentConfig,
    /// Added to the template's environment by the engine: `CVXC_AGENT_ID`, `CVXC_STORE`, …
    pub env: BTreeMap<String, String>,
    /// For people who meet the workload in its runtime: the template it was made of. Runtimes that cannot keep notes
    /// leave them out.
    pub notes: BTreeMap<String, String>,
}

/// A pool as one workload, whose copies are its agents: the runtime makes, ends and counts them.
#[derive(Debug, Clone, PartialEq)]
pub struct Crew {
    pub pool: PoolId,
    /// What each of them runs; its agent stands for all.
    pub like: Workload,
    /// How many, as long as nobody else has set a number.
    pub replicas: u32,
    pub surge: u32,
    pub unavailable: u32,
    /// An autoscaler of the runtime's that is to count for us.
    pub scaler: Option<CrewScaler>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrewScaler {
    pub min: u32,
    pub max: u32,
    /// Of what is requested, on average.
    pub cpu_percent: u32,
}

/// What the runtime says of a pool's workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrewSeen {
    pub pool: PoolId,
    pub replicas: u32,
    /// Who else has set that number, in the runtime's words.
    pub scaled_by: Option<String>,
    /// Why it has fewer than it should; empty when nothing is wrong.
    pub trouble: String,
    /// Why what was applied last does not come up: it goes on no further.
    pub stuck: Option<String>,
}

/// What a workload says of its agent, for one that has no record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relic {
    pub name: String,
    pub kind: String,
    pub pool: Option<String>,
    /// `id@version`; empty when nothing says so.
    pub template: String,
}

/// A workload changed, went, or all must be listed again.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    Changed(Observed),
    Gone(AgentId),
    Resync,
}

/// What somebody sees who cannot wait for the whole list.
#[derive(Debug, Clone, PartialEq)]
pub enum Glimpse {
    /// Everything known by now: what was told before and is not in it has gone. The first word, and told again once the
    /// list is whole and after a reader lagged.
    All {
        seen: Vec<Glimpsed>,
        whole: bool,
    },
    Changed(Glimpsed),
    Gone(AgentId),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Glimpsed {
    pub seen: Observed,
    /// When what runs of it was made.
    pub since: Option<Time>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    /// The last so many lines; `None` is all there is.
    pub tail: Option<usize>,
    pub since: Option<Time>,
    /// Of the incarnation before.
    pub previous: bool,
}

/// One line as the agent wrote it: hostile, at most 64 KiB (longer ones are cut and say so).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub at: Time,
    pub stderr: bool,
    pub text: String,
    /// Lines lost before this one.
    pub skipped: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeInfo {
    /// `local`, `kubernetes`, `simulated`.
    pub kind: &'static str,
    pub version: String,
    pub place: String,
    pub latency: Duration,
    /// Hosts with their capacity.
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub name: String,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

impl From<Node> for site::Host {
    fn from(node: Node) -> Self {
        let Node { name, cpu_millis, memory_bytes } = node;
        let room = site::Room { cpu_millis, memory_bytes, slots: None };
        Self { name, capacity: room, allocatable: room, ..Self::default() }
    }
}

/// Runs workloads. Shared as `Arc<dyn Runtime>`. Names of workloads derive from the agent's id, so every method may be
/// repeated safely.
#[async_trait]
pub trait Runtime: fmt::Debug + Send + Sync {
    /// Brings the workload about: starts it if it is not there at this incarnation. Returns once it was accepted; the watch
    /// tells how it goes. Twice with the same incarnation starts it once, from however many processes.
    ///
    /// # Errors
    /// - `Rejected`: the runtime refused the workload itself (no such program, bad limits); the message is for the operator.
    /// - `Unavailable`, `OutcomeUnknown`: apply again later.
    async fn apply(&self, workload: Workload) -> Result<(), RuntimeError>;

    /// Asks the workload to end and kills it after `grace`. Returns once that was begun; gone is no error.
    async fn remove(&self, agent: &AgentId, grace: Duration) -> Result<(), RuntimeError>;

    /// Forgets an ended workload: its record and, after the log's keeping time, its files.
    async fn forget(&self, agent: &AgentId) -> Result<(), RuntimeError>;

    /// Ends what runs of the workload and keeps the rest (`parked`), or lets it run again. Only where [`Runtime::parks`].
    ///
    /// # Errors
    /// `Gone` when there is no such workload; `Unavailable`, `OutcomeUnknown`: ask again later.
    async fn park(&self, agent: &AgentId, _parked: bool) -> Result<(), RuntimeError> {
        Err(RuntimeError::Gone { agent: agent.clone() })
    }

    /// Whether a paused agent's workload is kept without running. Else it goes on, and claims no messages.
    fn parks(&self) -> bool {
        false
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError>;

    /// Everything once, then changes as they happen. A lagging reader gets `Resync` and lists again.
    async fn watch(&self) -> Result<BoxStream<'static, Sight>, RuntimeError>;

    /// What is seen by now, and what changes: for those who show workloads, never for those who decide about them. `None`
    /// where nothing runs for long without a record, because whatever does is ended.
    fn glimpse(&self) -> Option<BoxStream<'static, Glimpse>> {
        None
    }

    /// One fresh sample for each of these that has one; missing is not zero.
    async fn usage(&self, agents: &[AgentId]) -> Result<Vec<(AgentId, Usage)>, RuntimeError>;

    async fn logs(
        &self,
        agent: &AgentId,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError>;

    /// Runs a command beside the agent, with its environment, and waits for its end.
    async fn exec(
        &self,
        agent: &AgentId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, RuntimeError>;

    async fn info(&self) -> Result<RuntimeInfo, RuntimeError>;

    /// What the runtime would say of `count` workloads like this one, without making any: doubts, and what could not be
    /// checked. Nothing where nothing can be told beforehand.
    ///
    /// # Errors
    /// `Rejected` when it would refuse even one.
    async fn rehearse(&self, _: &Workload, _: u32) -> Result<Vec<String>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Everything else that the runtime knows of one agent's workload, as names and values: hostile text. Asked for when
    /// somebody looks, never for all.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be asked.
    async fn explain(&self, _: &AgentId) -> Result<Vec<(String, String)>, RuntimeError> {
        Ok(Vec::new())
    }

    /// What is asked of the site that agents run on. A runtime that knows nothing more than [`Runtime::info`] says that.
    ///
    /// # Errors
    /// `Forbidden` when we may not know; `Unavailable` when it cannot be asked.
    async fn site(&self, ask: site::Ask) -> Result<site::Answer, RuntimeError> {
        Ok(match ask {
            site::Ask::Hosts => {
                let RuntimeInfo { version, nodes, .. } = self.info().await?;
                let host = |node: Node| site::Host { version: version.clone(), ..node.into() };
                site::Answer::Hosts(nodes.into_iter().map(host).collect())
            }
            site::Ask::Host(_) => site::Answer::Host(Vec::new()),
            site::Ask::Namespaces => site::Answer::Namespaces(site::Namespaces::default()),
            site::Ask::Allowances => site::Answer::Allowances(Vec::new()),
            site::Ask::Live(_) => site::Answer::Live(Vec::new()),
        })
    }

    /// Starts a program on a terminal beside the agent, with its environment.
    ///
    /// # Errors
    /// `Gone` when the agent does not run; `Rejected` when there is no such program, or no terminal to be had here.
    async fn shell(
        &self,
        _: &AgentId,
        _command: &[String],
        _: TerminalSize,
    ) -> Result<Shell, RuntimeError> {
        Err(RuntimeError::Rejected { message: "this runtime has no shells".to_owned() })
    }

    /// A connection to a port of the agent as it runs now.
    ///
    /// # Errors
    /// `Gone` when the agent does not run; `Rejected` where its ports can be reached without us.
    async fn dial(&self, _: &AgentId, _port: u16) -> Result<Connection, RuntimeError> {
        let message = "agents run on this machine: their ports are reached at 127.0.0.1 already";
        Err(RuntimeError::Rejected { message: message.to_owned() })
    }

    /// Whether a pool can be one workload that the runtime scales.
    fn has_crews(&self) -> bool {
        false
    }

    /// Brings a pool's workload about as it is wanted; its number is left to whoever else has set it. What is so already
    /// is not written again.
    ///
    /// # Errors
    /// As [`Runtime::apply`].
    async fn keep_crew(&self, crew: Crew) -> Result<CrewSeen, RuntimeError> {
        let message = format!("pool {} cannot be one workload of this runtime", crew.pool);
        Err(RuntimeError::Rejected { message })
    }

    /// Asks a pool's workload and its copies to end; gone is no error.
    async fn end_crew(&self, _: &PoolId) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn crews(&self) -> Result<Vec<CrewSeen>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Whether it has hosts that can be closed and emptied.
    fn has_hosts(&self) -> bool {
        false
    }

    /// Whether new workloads may be put onto a host.
    ///
    /// # Errors
    /// `Rejected` when there is no such host.
    async fn cordon(&self, host: &str, _closed: bool) -> Result<(), RuntimeError> {
        Err(RuntimeError::Rejected { message: format!("there is no host {host:?} to close") })
    }

    /// Asks what runs of the agent on `host` to end there, so that it comes up elsewhere. `rehearsed`: only says what the
    /// answer would be.
    ///
    /// # Errors
    /// `Rejected` naming what protects it: it may be asked again later.
    async fn evict(
        &self,
        agent: &AgentId,
        _host: &str,
        _rehearsed: bool,
    ) -> Result<(), RuntimeError> {
        Err(RuntimeError::Gone { agent: agent.clone() })
    }

    /// What a workload says of its agent; `None` when there is no such workload, or it says nothing.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be asked.
    async fn recall(&self, _: &AgentId) -> Result<Option<Relic>, RuntimeError> {
        Ok(None)
    }

    /// Whether everything here is this fleet's, so that a workload without a record may be ended. Not where others may
    /// have started it.
    fn is_ours_alone(&self) -> bool {
        true
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{message}")]
    Rejected { message: String },
    #[error("agent {agent} has no workload here")]
    Gone { agent: AgentId },
    #[error("the runtime forbids it: {message}")]
    Forbidden { message: String },
    #[error("the runtime is not available")]
    Unavailable(#[source] BoxError),
    #[error("the runtime went silent; it may have happened")]
    OutcomeUnknown(#[source] BoxError),
}

impl RuntimeError {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Rejected { .. } | Self::Forbidden { .. } => Advice::Stop,
            Self::Gone { .. } => Advice::Reload,
            Self::Unavailable(_) => Advice::RetryLater,
            Self::OutcomeUnknown(_) => Advice::ReadBack,
        }
    }
}
