//! What a runtime says of the site that it runs on: its hosts, its namespaces, what we may do there, a terminal beside an
//! agent, and connections to an agent's ports. All of it is read when somebody looks, never for every agent.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::model::time::Time;

/// How much there is, or is taken, of what agents use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    /// How many workloads a host takes, where it counts them.
    pub slots: Option<u64>,
}

/// A machine that agents run on. Its words are hostile text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub name: String,
    /// Why it cannot run agents; empty while it can.
    pub trouble: String,
    /// It takes no new ones.
    pub cordoned: bool,
    pub roles: Vec<String>,
    pub version: String,
    /// Where it stands, as far as it is known: a zone.
    pub zone: String,
    pub since: Option<Time>,
    pub capacity: Room,
    /// The part of it that agents may have.
    pub allocatable: Room,
    /// What is in use just now, by everything that runs there; missing is not zero.
    pub used: Option<Room>,
    /// What it says of itself: `MemoryPressure`, `True: low on memory`.
    pub conditions: Vec<(String, String)>,
}

/// A part of the site that a fleet may live in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    pub name: String,
    /// Ours.
    pub active: bool,
    pub phase: String,
    pub since: Option<Time>,
}

/// The namespaces that there are, or only ours and why the others cannot be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    pub known: Vec<Namespace>,
    pub denied: Option<String>,
    /// There are no others than `known`.
    #[serde(default)]
    pub complete: bool,
}

/// What a console action needs of the runtime's own rights.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Use {
    /// Without it no agent can be run.
    Run,
    Logs,
    /// Exec and shell.
    Shell,
    PortForward,
    Usage,
    Hosts,
    HostsManage,
    Namespaces,
    Pools,
    Events,
    Plans,
}

/// One thing that we may or may not do, as the runtime itself says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    pub verb: String,
    /// `pods/exec`, `deployments.apps`.
    pub resource: String,
    pub need: Use,
    /// What it is needed for, in a few words.
    pub purpose: String,
    /// Everything else works without it.
    pub optional: bool,
    /// `None`: the runtime would not say.
    pub allowed: Option<bool>,
    /// Why not, in the runtime's words.
    pub reason: String,
}

/// What can be asked of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Hosts,
    /// Everything about one host.
    Host(String),
    Namespaces,
    Allowances,
    /// The objects behind an agent as they are now.
    Live(crate::model::id::AgentId),
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Hosts(Vec<Host>),
    Host(Vec<(String, String)>),
    Namespaces(Namespaces),
    Allowances(Vec<Allowance>),
    /// Each object with what it is: `Deployment agent-x`.
    Live(Vec<(String, Value)>),
}

impl Answer {
    /// About how many bytes it takes to keep.
    pub fn weight(&self) -> usize {
        const HOST: usize = 1_000;
        const LINE: usize = 200;
        match self {
            Self::Hosts(hosts) => hosts.len() * HOST,
            Self::Host(lines) => lines.len() * LINE,
            Self::Namespaces(found) => found.known.len() * LINE,
            Self::Allowances(allowances) => allowances.len() * LINE,
            Self::Live(objects) => {
                objects.iter().map(|(what, object)| what.len() + object.to_string().len()).sum()
            }
        }
    }
}

/// How large a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    pub columns: u16,
    pub rows: u16,
}

/// How a program on a terminal ended: its exit code, or why that is not known.
pub type ShellEnd = BoxFuture<'static, Result<i32, super::runtime::RuntimeError>>;

/// A program on a terminal of its own, beside an agent. Dropping it hangs the terminal up.
pub struct Shell {
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// What it writes, raw: for a terminal, and for nothing else.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    pub resize: Arc<dyn Fn(TerminalSize) + Send + Sync>,
    pub end: ShellEnd,
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shell")
    }
}

/// Bytes to and from a port of an agent.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection to a port of an agent.
pub type Connection = Box<dyn Bytes>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_weighs_by_what_it_holds() {
        let hosts = |count| Answer::Hosts(vec![Host::default(); count]);
        assert!(hosts(5_000).weight() > 1_000 * hosts(5).weight() / 2);
        let live = |text: &str| Answer::Live(vec![("Pod a".into(), Value::from(text))]);
        assert!(live(&"x".repeat(100_000)).weight() >= 100_000);
    }
}
