//! Ports of agents on this machine: each forwarded port listens on 127.0.0.1, and every connection to it is carried to the
//! agent as it runs at that moment, so that a pod that was replaced is found again. All of them end with this process.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use crate::engine::handle::CommandError;
use crate::model::id::AgentId;
use crate::model::time::Time;
use crate::ports::clock::Clock;
use crate::ports::runtime::{Runtime, RuntimeError};
use crate::ports::site::Connection;
use crate::ports::store::chain;

/// A connection waits so long for an agent that is being replaced.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to reach it.
const AGAIN: Duration = Duration::from_millis(500);
/// Connections of one port at once; more wait in the system's queue.
const MOST: usize = 256;

/// A forwarded port as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    pub number: u64,
    pub agent: AgentId,
    /// The agent's name when it began.
    pub name: String,
    /// 127.0.0.1 and the port that is listened on.
    pub local: SocketAddr,
    /// The agent's own.
    pub port: u16,
    pub since: Time,
    /// Connections open now, and all that there ever were.
    pub open: u32,
    pub all: u64,
    /// Why the agent cannot be reached just now; empty while it can, as far as was tried.
    pub trouble: String,
}

#[derive(Debug)]
struct Port {
    shown: Arc<Mutex<Forwarded>>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Inner {
    ports: BTreeMap<u64, Port>,
    tasks: JoinSet<()>,
    last: u64,
}

/// The forwarded ports of one process.
#[derive(Debug, Default)]
pub struct Forwards(Mutex<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Forwards {
    /// Listens on `local` (any free port where none is given) for connections to the agent's `port`.
    ///
    /// # Errors
    /// When the runtime refuses for good, or the port on this machine is taken.
    pub async fn begin(
        &self,
        runtime: Arc<dyn Runtime>,
        clock: &dyn Clock,
        (agent, name): (AgentId, String),
        local: Option<u16>,
        port: u16,
    ) -> Result<Forwarded, CommandError> {
        // an agent that is not up yet is waited for; a runtime that never will is told at once
        let trouble = match runtime.dial(&agent, port).await {
            Ok(_) => String::new(),
            Err(error @ (RuntimeError::Rejected { .. } | RuntimeError::Forbidden { .. })) => {
                return Err(error.into());
            }
            Err(error) => chain(&error),
        };
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, local.unwrap_or(0)));
        let refused = |error: std::io::Error| CommandError::Refused {
            message: format!("127.0.0.1:{}: cannot be listened on: {error}", wanted.port()),
        };
        let listener = TcpListener::bind(wanted).await.map_err(refused)?;
        let local = listener.local_addr().map_err(refused)?;
        let mut inner = lock(&self.0);
        inner.last += 1;
        let number = inner.last;
        let since = clock.now();
        let made = Forwarded { number, agent, name, local, port, since, open: 0, all: 0, trouble };
        let shown = Arc::new(Mutex::new(made.clone()));
        let task = inner.tasks.spawn(listen(listener, runtime, shown.clone()));
        inner.ports.insert(number, Port { shown, task });
        Ok(made)
    }

    /// Ends a port and its connections; returns what it was.
    pub fn end(&self, number: u64) -> Option<Forwarded> {
        let mut inner = lock(&self.0);
        let port = inner.ports.remove(&number)?;
        port.task.abort();
        // tasks that have ended are let go here, since nobody waits for them
        while inner.tasks.try_join_next().is_some() {}
        let shown = lock(&port.shown).clone();
        Some(shown)
    }

    pub fn list(&self) -> Vec<Forwarded> {
        lock(&self.0).ports.values().map(|port| lock(&port.shown).clone()).collect()
    }
}

async fn listen(listener: TcpListener, runtime: Arc<dyn Runtime>, shown: Arc<Mutex<Forwarded>>) {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST => match accepted {
                Ok((stream, _)) => {
                    let mut now = lock(&shown);
                    (now.open, now.all) = (now.open + 1, now.all + 1);
                    drop(now);
                    connections.push(carry(stream, runtime.clone(), shown.clone()));
                }
                // too many files are open: it passes, and must not be asked about in a circle
                Err(error) => {
                    lock(&shown).trouble = error.to_string();
                    sleep(AGAIN).await;
                }
            },
            Some(()) = connections.next() => lock(&shown).open -= 1,
        }
    }
}

/// One connection, from its beginning to its end.
async fn carry(mut stream: TcpStream, runtime: Arc<dyn Runtime>, shown: Arc<Mutex<Forwarded>>) {
    let (agent, port) = {
        let now = lock(&shown);
        (now.agent.clone(), now.port)
    };
    let Some(mut there) = reach(&*runtime, &agent, port, &shown).await else { return };
    // either side may end it at any time
    drop(tokio::io::copy_bidirectional(&mut stream, &mut there).await);
}

/// A connection to the agent as it is now, or as it will be within a while.
async fn reach(
    runtime: &dyn Runtime,
    agent: &AgentId,
    port: u16,
    shown: &Mutex<Forwarded>,
) -> Option<Connection> {
    let until = Instant::now() + PATIENCE;
    loop {
        match timeout_at(until, runtime.dial(agent, port)).await {
            Ok(Ok(connection)) => {
                lock(shown).trouble.clear();
                return Some(connection);
            }
            Ok(Err(error)) => {
                lock(shown).trouble = chain(&error);
                let gives_up = Instant::now() + AGAIN >= until;
                let for_good =
                    matches!(error, RuntimeError::Rejected { .. } | RuntimeError::Forbidden { .. });
                if gives_up || for_good {
                    return None;
                }
            }
            Err(_) => {
                "the runtime did not answer".clone_into(&mut lock(shown).trouble);
                return None;
            }
        }
        sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests;
