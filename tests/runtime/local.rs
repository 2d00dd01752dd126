//! The local runtime under test: shell scripts as agents in a folder of their own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cvxc::adapters::local::{LocalOptions, LocalRuntime};
use cvxc::model::agent::AgentConfig;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::runtime::Runtime;

use crate::fixture::{Does, Fixture};

pub struct Local {
    pub dir: tempfile::TempDir,
    pub runtime: LocalRuntime,
}

pub fn open(dir: &std::path::Path) -> LocalRuntime {
    let exe = env!("CARGO_BIN_EXE_cvxc");
    LocalRuntime::new(LocalOptions::new(dir.join("agents"), exe, SystemClock::shared())).unwrap()
}

impl Local {
    pub fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { runtime: open(dir.path()), dir }
    }
}

#[async_trait]
impl Fixture for Local {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.runtime.clone())
    }

    fn another(&self) -> Arc<dyn Runtime> {
        Arc::new(open(self.dir.path()))
    }

    fn config(&self, does: Does) -> AgentConfig {
        let script = match does {
            Does::Run => "exec sleep 600".to_owned(),
            Does::Script(text) => text,
        };
        AgentConfig {
            command: vec!["/bin/sh".to_owned(), "-c".to_owned()],
            args: vec![script],
            grace: Duration::from_secs(5),
            ..AgentConfig::default()
        }
    }

    async fn end(self) {
        assert_eq!(self.runtime.end_all(Duration::from_millis(300)).await.unwrap(), 0);
    }
}
