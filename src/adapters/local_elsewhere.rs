//! Stands for the local runtime on systems other than Linux: it says clearly that it cannot run agents there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::model::health::Usage;
use crate::model::id::AgentId;
use crate::ports::clock::Clock;
use crate::ports::runtime::{
    ExecResult, LogLine, LogOptions, Observed, Runtime, RuntimeError, RuntimeInfo, Sight, Workload,
};

fn refused<T>() -> Result<T, RuntimeError> {
    Err(RuntimeError::Rejected {
        message: "the local runtime needs Linux; use --runtime kubernetes, or demo --simulated"
            .to_owned(),
    })
}

pub mod shim {
    //! No shim is ever started here.
    use std::ffi::OsString;
    use std::process::ExitCode;

    pub const VERB: &str = "agent-shim";

    pub fn main(_args: impl Iterator<Item = OsString>) -> ExitCode {
        ExitCode::from(2)
    }
}

#[derive(Debug, Clone)]
pub struct LocalOptions {
    pub dir: PathBuf,
    pub exe: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub keep_logs: Duration,
}

impl LocalOptions {
    pub fn new(dir: impl Into<PathBuf>, exe: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self { dir: dir.into(), exe: exe.into(), clock, keep_logs: Duration::ZERO }
    }
}

/// Cannot be made.
#[derive(Debug, Clone)]
pub struct LocalRuntime(std::convert::Infallible);

impl LocalRuntime {
    /// # Errors
    /// Always `Rejected`.
    pub fn new(_options: LocalOptions) -> Result<Self, RuntimeError> {
        refused()
    }

    /// # Errors
    /// Never called: there is no such runtime.
    pub async fn end_all(&self, _grace: Duration) -> Result<usize, RuntimeError> {
        match self.0 {}
    }
}

#[async_trait]
impl Runtime for LocalRuntime {
    async fn apply(&self, _workload: Workload) -> Result<(), RuntimeError> {
        match self.0 {}
    }

    async fn remove(&self, _agent: &AgentId, _grace: Duration) -> Result<(), RuntimeError> {
        match self.0 {}
    }

    async fn forget(&self, _agent: &AgentId) -> Result<(), RuntimeError> {
        match self.0 {}
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        match self.0 {}
    }

    async fn watch(&self) -> Result<BoxStream<'static, Sight>, RuntimeError> {
        match self.0 {}
    }

    async fn usage(&self, _agents: &[AgentId]) -> Result<Vec<(AgentId, Usage)>, RuntimeError> {
        match self.0 {}
    }

    async fn logs(
        &self,
        _agent: &AgentId,
        _options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        match self.0 {}
    }

    async fn exec(
        &self,
        _agent: &AgentId,
        _command: &[String],
        _timeout: Duration,
    ) -> Result<ExecResult, RuntimeError> {
        match self.0 {}
    }

    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        match self.0 {}
    }
}
