//! Connections through forwarded ports to an agent that comes, goes and is replaced.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::model::health::Usage;
use crate::ports::clock::SystemClock;
use crate::ports::runtime::{
    ExecResult, LogLine, LogOptions, Observed, RuntimeInfo, Sight, Workload,
};

/// Answers every line with the number of the agent's life.
#[derive(Debug, Default)]
struct Echo {
    life: AtomicUsize,
    /// The next so many tries find no agent.
    gone: AtomicUsize,
    refuses: bool,
}

#[async_trait]
impl Runtime for Echo {
    async fn apply(&self, _: Workload) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn remove(&self, _: &AgentId, _: Duration) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn forget(&self, _: &AgentId) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn watch(&self) -> Result<BoxStream<'static, Sight>, RuntimeError> {
        Ok(futures::stream::empty().boxed())
    }
    async fn usage(&self, _: &[AgentId]) -> Result<Vec<(AgentId, Usage)>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn logs(
        &self,
        agent: &AgentId,
        _: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        Err(RuntimeError::Gone { agent: agent.clone() })
    }
    async fn exec(
        &self,
        agent: &AgentId,
        _: &[String],
        _: Duration,
    ) -> Result<ExecResult, RuntimeError> {
        Err(RuntimeError::Gone { agent: agent.clone() })
    }
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        Err(RuntimeError::Rejected { message: "no".into() })
    }
    async fn dial(&self, agent: &AgentId, _: u16) -> Result<Connection, RuntimeError> {
        if self.refuses {
            return Err(RuntimeError::Forbidden { message: "create pods/portforward".into() });
        }
        let left = self.gone.load(Ordering::SeqCst);
        if left > 0 {
            self.gone.store(left - 1, Ordering::SeqCst);
            return Err(RuntimeError::Gone { agent: agent.clone() });
        }
        let life = self.life.load(Ordering::SeqCst);
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut byte = [0; 1];
            while theirs.read_exact(&mut byte).await.is_ok() {
                if theirs.write_all(format!("life {life}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        tasks.detach_all();
        Ok(Box::new(ours))
    }
}

async fn ask(at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(b"?").await.unwrap();
    let mut said = [0; 7];
    stream.read_exact(&mut said).await.unwrap();
    String::from_utf8_lossy(&said).trim_end().to_owned()
}

fn agent() -> (AgentId, String) {
    (AgentId::new("agent-1").unwrap(), "one".to_owned())
}

#[tokio::test]
async fn every_connection_reaches_the_agent_as_it_runs_then() {
    let (forwards, runtime) = (Forwards::default(), Arc::new(Echo::default()));
    let made = forwards.begin(runtime.clone(), &SystemClock, agent(), None, 8080).await.unwrap();
    assert!(made.local.ip().is_loopback() && made.local.port() > 0);
    assert_eq!(ask(made.local).await, "life 0");
    // the pod is replaced: for a moment there is none
    runtime.life.store(1, Ordering::SeqCst);
    runtime.gone.store(2, Ordering::SeqCst);
    assert_eq!(ask(made.local).await, "life 1", "the connection waited for the new one");
    let listed = forwards.list();
    assert_eq!((listed.len(), listed[0].all, listed[0].trouble.as_str()), (1, 2, ""));
    assert!(forwards.end(made.number).is_some() && forwards.list().is_empty());
    assert!(forwards.end(made.number).is_none());
    // the listener goes with its task
    let gone = async {
        while TcpStream::connect(made.local).await.is_ok() {
            sleep(AGAIN / 50).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("nobody listens any more");
}

#[tokio::test]
async fn what_is_refused_for_good_and_a_port_that_is_taken_are_told_at_once() {
    let forwards = Forwards::default();
    let refusing = Arc::new(Echo { refuses: true, ..Echo::default() });
    let error = forwards.begin(refusing, &SystemClock, agent(), None, 80).await.unwrap_err();
    assert!(matches!(error, CommandError::Runtime(RuntimeError::Forbidden { .. })), "{error:?}");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let runtime = Arc::new(Echo::default());
    let error = forwards.begin(runtime, &SystemClock, agent(), Some(port), 80).await.unwrap_err();
    assert!(error.to_string().contains("cannot be listened on"), "{error}");
    assert!(forwards.list().is_empty());
}

#[tokio::test]
async fn an_agent_that_is_not_up_yet_is_forwarded_to_all_the_same_and_says_why_it_waits() {
    let (forwards, runtime) = (Forwards::default(), Arc::new(Echo::default()));
    runtime.gone.store(1, Ordering::SeqCst);
    let made = forwards.begin(runtime, &SystemClock, agent(), None, 80).await.unwrap();
    assert!(made.trouble.contains("has no workload"), "{}", made.trouble);
    assert_eq!(ask(made.local).await, "life 0");
    assert_eq!(forwards.list()[0].trouble, "");
}
