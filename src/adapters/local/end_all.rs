//! The end of a whole folder of agents at once: the teardown of a demo.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tokio_stream::StreamExt;

use super::process::{self, Process};
use super::{Inner, LocalRuntime};
use crate::model::id::AgentId;
use crate::ports::runtime::{Runtime, RuntimeError, Sight, State};

/// How long a shim gets, after the grace, to kill what is left and write how it went.
const SHIM_GRACE: Duration = Duration::from_millis(1500);
/// How long the kernel gets to take away what was killed.
const KILL_GRACE: Duration = Duration::from_millis(1500);

impl LocalRuntime {
    /// Ends every agent of this folder: asks all at once, kills what is left after `grace`, and returns how many of their
    /// processes and shims still run then. Takes at most `grace` and 3 s. Files stay.
    ///
    /// # Errors
    /// `Unavailable` when a wish to end cannot be written; what could be asked was asked.
    pub async fn end_all(&self, grace: Duration) -> Result<usize, RuntimeError> {
        let asked = self
            .blocking(move |inner| {
                let agents = inner.seen.agents();
                let asked = agents.iter().map(|agent| inner.remove(agent, grace));
                asked.fold(Ok(()), Result::and)
            })
            .await;
        // whether or not all ended in time, what is left is killed and counted below
        let waited = tokio::time::timeout(grace + SHIM_GRACE, self.all_exited()).await;
        if !matches!(waited, Ok(Ok(()))) {
            self.blocking(|inner| {
                inner.kill_all();
                Ok(())
            })
            .await?;
        }
        let left = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            loop {
                tick.tick().await;
                let left = self.blocking(|inner| Ok(inner.left().len())).await;
                if !matches!(left, Ok(1..)) {
                    return left;
                }
            }
        };
        let left = match tokio::time::timeout(KILL_GRACE, left).await {
            Ok(left) => left?,
            Err(_) => self.blocking(|inner| Ok(inner.left().len())).await?,
        };
        asked.map(|()| left)
    }

    async fn all_exited(&self) -> Result<(), RuntimeError> {
        loop {
            let mut watch = self.watch().await?;
            let mut running: HashSet<AgentId> = self
                .list()
                .await?
                .into_iter()
                .filter(|seen| seen.state != State::Exited)
                .map(|seen| seen.agent)
                .collect();
            while !running.is_empty() {
                match watch.next().await {
                    Some(Sight::Changed(seen)) if seen.state == State::Exited => {
                        running.remove(&seen.agent);
                    }
                    Some(Sight::Changed(_)) => {}
                    Some(Sight::Gone(agent)) => drop(running.remove(&agent)),
                    Some(Sight::Resync) | None => break,
                }
            }
            if running.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Inner {
    fn kill_all(&self) {
        for process in self.left() {
            process.signal(Signal::KILL);
        }
    }

    /// Living shims of this folder, and every process that carries the id of one of its agents, whoever its parent is now.
    fn left(&self) -> Vec<Process> {
        let agents = self.seen.agents();
        let shims = agents
            .iter()
            .filter_map(|agent| self.seen.home(agent).status())
            .filter(super::record::Status::shim_lives)
            .map(|status| status.shim);
        let names: HashSet<&str> = agents.iter().map(AgentId::as_str).collect();
        let carriers = process::scan()
            .into_iter()
            .filter(|stat| !stat.ended && carried(stat.pid).is_some_and(|id| names.contains(&*id)))
            .map(|stat| Process { pid: stat.pid, start: stat.start });
        shims.chain(carriers).collect()
    }
}

/// The agent id in the environment that the process was started with.
fn carried(pid: u32) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value =
        environ.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(b"CVXC_AGENT_ID="))?;
    String::from_utf8(value.to_vec()).ok()
}
