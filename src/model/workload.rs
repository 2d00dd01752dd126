//! What a runtime sees of one agent's workload: how far it is, where, and how it ended.

use std::fmt;
use std::sync::Arc;

use super::id::AgentId;
use super::time::Time;

/// How far a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Asked for, not up yet; `Observed::message` says why when that is known.
    Starting,
    Running,
    /// It ran when it was last heard of; its host does not answer, and nobody can tell whether it goes on.
    Lost,
    /// Kept without anything of it running, because its agent is paused.
    Parked,
    /// Asked to end, not gone yet.
    Ending,
    /// Over; `Observed::exit` says how.
    Exited,
}

/// What the runtime sees of one agent's workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    pub agent: AgentId,
    pub incarnation: u64,
    pub state: State,
    /// The agent's own process, not its shim.
    pub pid: Option<u32>,
    pub node: String,
    /// The workload's name in the runtime.
    pub workload: String,
    pub restarts: u32,
    /// The runtime's own words: waiting reason, exit code, signal, out of memory.
    pub message: String,
    pub exit: Option<Exit>,
    pub started_at: Option<Time>,
    /// Whose copy it is, where a pool is one workload.
    pub copy_of: Option<Arc<CopyOf>>,
}

/// What a copy of a pool's own workload says of where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOf {
    pub pool: String,
    /// `id@version`, as it was when the copy was made; empty when nothing says so.
    pub template: String,
}

/// How a workload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Ended without anybody seeing how (power cut, the shim was killed too).
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by signal {signal} ({name})"),
                None => write!(f, "killed by signal {signal}"),
            },
            Self::Unknown => f.write_str("ended without anybody seeing how"),
        }
    }
}

/// The names that Linux gives to the signals that end processes.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

impl Observed {
    /// Whether it is there: something of it may still run, or it is kept to run again.
    pub fn is_alive(&self) -> bool {
        match self.state {
            State::Starting | State::Running | State::Lost | State::Parked | State::Ending => true,
            State::Exited => false,
        }
    }

    /// How it ended, in words: the exit, and what the runtime says of it.
    pub fn end(&self) -> String {
        let exit = self.exit.unwrap_or(Exit::Unknown);
        if self.message.is_empty() { exit.to_string() } else { format!("{exit}: {}", self.message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_words_that_name_code_and_signal() {
        assert_eq!(Exit::Code(137).to_string(), "exited with code 137");
        assert_eq!(Exit::Signal(9).to_string(), "killed by signal 9 (SIGKILL)");
        assert_eq!(Exit::Signal(60).to_string(), "killed by signal 60");
        assert_eq!(Exit::Unknown.to_string(), "ended without anybody seeing how");
    }
}
