//! The front door: what every surface (console, command line, gateway) may ask of the engine. Cheap to clone.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use tokio::sync::{broadcast, watch};

use crate::engine::forward::Forwarded;
use crate::engine::view::FleetView;
use crate::model::access::Actor;
use crate::model::event::Event;
use crate::model::filter::Filter;
use crate::model::id::{AgentId, OperationId};
use crate::model::operation::Operation;
use crate::model::plan::{Command, Noun, Plan};
use crate::model::schema::Collection;
use crate::model::template::FieldError;
use crate::ports::runtime::{ExecResult, LogLine, LogOptions, RuntimeError};
use crate::ports::site::{self, Shell, TerminalSize};
use crate::ports::store::{Bookmark, Document, StoreError};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A rule said no; the message says which and what to do.
    #[error("{message}")]
    Refused { message: String },
    /// The request itself is wrong; every fault is listed.
    #[error("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid { errors: Vec<FieldError> },
    #[error("no {noun} is called {name:?}{hint}")]
    NotFound { noun: Noun, name: String, hint: String },
    #[error("{who} ({role}) may not {verb}: {why}")]
    Denied { who: String, role: String, verb: String, why: String },
    /// The fleet moved between plan and confirmation; here is the plan as it would be now.
    #[error("the plan no longer fits: its targets have changed; look at it again")]
    PlanChanged { plan: Box<Plan> },
    /// Tier 3 without the right word.
    #[error("type {word:?} to confirm")]
    NotConfirmed { word: String },
    /// The store cannot be reached; nothing is changed while the picture is old.
    #[error("the store cannot be reached: nothing is changed until it is back")]
    Stale,
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the runtime failed")]
    Runtime(#[source] RuntimeError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What the runtime refuses is a refusal like any other: nothing has failed.
impl From<RuntimeError> for CommandError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Rejected { message } => Self::Refused { message },
            other => Self::Runtime(other),
        }
    }
}

/// What confirms a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consent {
    /// What was typed, for plans of tier 3.
    pub typed: Option<String>,
    /// Why, in the operator's words.
    pub reason: String,
}

/// A page of documents for tables and exports.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    pub collection: Collection,
    pub filter: Filter,
    /// Newest first by `created_at` (events: by `seq`).
    pub limit: usize,
    pub after: Option<Bookmark>,
}

/// Everything worth knowing of one thing, as titled sections of lines `name: value`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    pub title: String,
    pub sections: Vec<Section>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    pub title: String,
    pub lines: Vec<(String, String)>,
}

/// What the engine promises its surfaces. Implemented by the engine; a trait so that surfaces are tested without one.
#[async_trait::async_trait]
pub trait Engine: std::fmt::Debug + Send + Sync {
    fn views(&self) -> watch::Receiver<Arc<FleetView>>;
    /// Journal entries as they happen, of every process. On `Lagged`, read the gap by [`Engine::list`].
    fn events(&self) -> broadcast::Receiver<Arc<Event>>;
    /// Makes the plan of `command`; changes nothing.
    async fn plan(&self, actor: &Actor, command: Command) -> Result<Plan, CommandError>;
    /// Plans again, and if that gives the plan with this fingerprint, writes the operation and what is wanted in one transaction.
    async fn confirm(
        &self,
        actor: &Actor,
        plan: &Plan,
        consent: Consent,
    ) -> Result<OperationId, CommandError>;
    /// Asks a running operation to stop after its current batch.
    async fn cancel(&self, actor: &Actor, operation: &OperationId) -> Result<(), CommandError>;
    async fn operation(&self, operation: &OperationId) -> Result<Operation, CommandError>;
    /// Waits until the operation is over, at most `timeout` (then [`CommandError::Timeout`]).
    async fn follow(
        &self,
        operation: &OperationId,
        timeout: Duration,
    ) -> Result<Operation, CommandError>;
    /// The document of a thing, by id or name.
    async fn document(
        &self,
        actor: &Actor,
        noun: Noun,
        name: &str,
    ) -> Result<Document, CommandError>;
    /// The same with the secrets that somebody wrote out in it. It is written into the audit log first.
    async fn reveal(&self, actor: &Actor, noun: Noun, name: &str)
    -> Result<Document, CommandError>;
    async fn describe(
        &self,
        actor: &Actor,
        noun: Noun,
        name: &str,
    ) -> Result<Description, CommandError>;
    async fn list(
        &self,
        actor: &Actor,
        listing: Listing,
    ) -> Result<(Vec<Document>, Option<Bookmark>), CommandError>;
    async fn logs(
        &self,
        actor: &Actor,
        agent: &AgentId,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, CommandError>;
    async fn exec(
        &self,
        actor: &Actor,
        agent: &AgentId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, CommandError>;
    /// What the runtime says of its site.
    async fn site(&self, actor: &Actor, ask: site::Ask) -> Result<site::Answer, CommandError>;
    /// A program on a terminal beside an agent; written into the audit log first.
    async fn shell(
        &self,
        actor: &Actor,
        agent: &AgentId,
        command: &[String],
        size: TerminalSize,
    ) -> Result<Shell, CommandError>;
    /// Makes a port of an agent reachable on this machine until it is ended, or this process ends; written into the audit
    /// log first.
    async fn forward(
        &self,
        actor: &Actor,
        agent: &AgentId,
        local: Option<u16>,
        port: u16,
    ) -> Result<Forwarded, CommandError>;
    /// Ends a forwarded port by its number.
    async fn unforward(&self, actor: &Actor, number: u64) -> Result<Forwarded, CommandError>;
    /// The forwarded ports of this process.
    fn forwards(&self) -> Vec<Forwarded>;
}

/// The cloneable front door that every surface holds.
pub type Handle = Arc<dyn Engine>;
