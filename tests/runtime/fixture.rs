//! What a rule needs of an adapter: a runtime, a second engine on the same place, and workloads that behave as told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cvxc::model::agent::AgentConfig;
use cvxc::model::id::AgentId;
use cvxc::ports::runtime::{
    LogLine, LogOptions, Observed, Runtime, RuntimeError, Sight, State, Workload,
};
use futures::StreamExt;

/// How long a state may take to come about on a busy machine before the test says that it does not.
pub const LIMIT: Duration = Duration::from_secs(20);

/// What the program of a workload does. What only a real program can do is a shell script.
#[derive(Debug, Clone)]
pub enum Does {
    /// Runs until it is asked to end, then ends at once.
    Run,
    /// `/bin/sh -c SCRIPT`, where there are real programs.
    Script(String),
}

#[async_trait]
pub trait Fixture: Send + Sync + Sized {
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// The runtime as another engine on the same place has it.
    fn another(&self) -> Arc<dyn Runtime>;

    fn config(&self, does: Does) -> AgentConfig;

    /// A command's exit code as this runtime can tell it.
    fn ended_with(&self, told: Result<i32, RuntimeError>, code: i32) {
        assert_eq!(told.ok(), Some(code));
    }

    /// Ends everything and fails if anything is left.
    async fn end(self);

    fn workload(&self, does: Does) -> Workload {
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        let number = DRAWN.fetch_add(1, Ordering::Relaxed);
        let id = format!("agent-{}-{number}", std::process::id());
        Workload {
            agent: AgentId::new(&id).unwrap(),
            name: format!("test-{number}"),
            kind: "worker".to_owned(),
            pool: None,
            labels: BTreeMap::new(),
            incarnation: 1,
            config: self.config(does),
            env: BTreeMap::from([("CVXC_STORE".to_owned(), "/nowhere".to_owned())]),
            notes: BTreeMap::new(),
        }
    }

    fn script(&self, text: &str) -> Workload {
        self.workload(Does::Script(text.to_owned()))
    }

    /// Applies and waits until it runs.
    async fn running(&self, workload: &Workload) -> Observed {
        let runtime = self.runtime();
        runtime.apply(workload.clone()).await.unwrap();
        let incarnation = workload.incarnation;
        seen(&*runtime, &workload.agent, |seen| {
            seen.incarnation == incarnation && seen.state == State::Running
        })
        .await
    }

    /// Applies and waits until the script has said `ready`.
    async fn ready(&self, workload: &Workload) -> Observed {
        let seen = self.running(workload).await;
        said_ready(&*self.runtime(), &workload.agent).await;
        seen
    }

    /// Applies and waits until it has ended.
    async fn ended(&self, workload: &Workload) -> Observed {
        let runtime = self.runtime();
        runtime.apply(workload.clone()).await.unwrap();
        exited(&*runtime, &workload.agent).await
    }
}

/// Waits until the script has said `ready`.
pub async fn said_ready(runtime: &dyn Runtime, agent: &AgentId) {
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let mut lines = runtime.logs(agent, follow).await.unwrap();
    let ready = async { while lines.next().await.unwrap().unwrap().text != "ready" {} };
    tokio::time::timeout(LIMIT, ready).await.expect("the script says that it is ready");
}

/// Waits until the watch shows the agent as `like` wants it.
pub async fn seen(
    runtime: &dyn Runtime,
    agent: &AgentId,
    like: impl Fn(&Observed) -> bool + Send,
) -> Observed {
    let mut last = None;
    let wait = async {
        loop {
            let mut watch = runtime.watch().await.unwrap();
            while let Some(sight) = watch.next().await {
                match sight {
                    Sight::Changed(seen) if seen.agent == *agent && like(&seen) => return seen,
                    Sight::Changed(seen) if seen.agent == *agent => last = Some(seen),
                    Sight::Changed(_) | Sight::Gone(_) => {}
                    Sight::Resync => break,
                }
            }
        }
    };
    match tokio::time::timeout(LIMIT, wait).await {
        Ok(seen) => seen,
        Err(_) => panic!("{agent} never came to be so; last seen as {last:?}"),
    }
}

pub async fn exited(runtime: &dyn Runtime, agent: &AgentId) -> Observed {
    seen(runtime, agent, |seen| seen.state == State::Exited).await
}

pub async fn listed(runtime: &dyn Runtime, agent: &AgentId) -> Option<Observed> {
    runtime.list().await.unwrap().into_iter().find(|seen| seen.agent == *agent)
}

/// The log as it is now.
pub async fn log(runtime: &dyn Runtime, agent: &AgentId, options: LogOptions) -> Vec<LogLine> {
    runtime.logs(agent, options).await.unwrap().map(Result::unwrap).collect().await
}

pub fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}
