//! The small files of one agent's folder: what shall run (`spec.json`), what runs (`status.json`), when to end
//! (`stop.json`), and the wish to be forgotten. Every write replaces the file whole; a file that cannot be read counts
//! as missing, because a power cut may leave it empty.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::process::{self, Process};
use crate::model::id::AgentId;
use crate::model::time::{Time, span};
use crate::ports::runtime::Exit;

/// What the shim shall run. Holds the environment, secrets included, so it is 0600 and never an argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub agent: AgentId,
    pub name: String,
    pub incarnation: u64,
    /// An absolute path.
    pub program: PathBuf,
    /// What the program is told that it is called.
    pub arg0: String,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Bytes of private writable memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    #[serde(with = "span")]
    pub grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Starting,
    Running,
    Ending,
    Exited,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Code(i32),
    Signal(i32),
    Unknown,
}

impl From<End> for Exit {
    fn from(end: End) -> Self {
        match end {
            End::Code(code) => Self::Code(code),
            End::Signal(signal) => Self::Signal(signal),
            End::Unknown => Self::Unknown,
        }
    }
}

/// What the shim did, in its own words. Only the holder of the lock writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub incarnation: u64,
    /// Process ids mean nothing after another boot.
    pub boot: String,
    pub shim: Process,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Process>,
    pub stage: Stage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    #[serde(default)]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    #[serde(with = "span")]
    pub grace: Duration,
}

impl Status {
    /// Whether the shim that wrote this still runs: same boot, same pid, same start time.
    pub fn shim_lives(&self) -> bool {
        process::boot_id() == self.boot && self.shim.lives()
    }

    /// The agent's own process, if it still runs.
    pub fn living_agent(&self) -> Option<Process> {
        self.agent.filter(|agent| process::boot_id() == self.boot && agent.lives())
    }

    /// Processes that the agent left in its session, itself included.
    pub fn session(&self) -> Vec<Process> {
        match self.agent {
            Some(agent) if process::boot_id() == self.boot => process::session_of(agent),
            Some(_) | None => Vec::new(),
        }
    }
}

/// A wish to end: holds for this incarnation and all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub incarnation: u64,
    #[serde(with = "span")]
    pub grace: Duration,
}

/// The operator is done with this agent; its files may go once its log has been kept long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    pub at: Time,
}

/// One agent's folder.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    pub fn logs(&self) -> PathBuf {
        self.0.join("log")
    }

    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// What the shim says when it cannot even write its status.
    pub fn complaint(&self) -> PathBuf {
        self.0.join("shim.err")
    }

    /// # Errors
    /// When the folders cannot be made.
    pub fn create(&self) -> io::Result<()> {
        for dir in [self.0.clone(), self.work(), self.logs()] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        Ok(())
    }

    pub fn spec(&self) -> Option<Spec> {
        self.read("spec.json")
    }

    pub fn status(&self) -> Option<Status> {
        self.read("status.json")
    }

    pub fn stop(&self) -> Option<Stop> {
        self.read("stop.json")
    }

    pub fn forgotten(&self) -> Option<Forgotten> {
        self.read("forgotten.json")
    }

    /// # Errors
    /// Those of the file system.
    pub fn write_spec(&self, spec: &Spec) -> io::Result<()> {
        self.write("spec.json", spec)
    }

    /// # Errors
    /// Those of the file system.
    pub fn write_status(&self, status: &Status) -> io::Result<()> {
        self.write("status.json", status)
    }

    /// Never takes back a wish for a later incarnation.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_stop(&self, stop: Stop) -> io::Result<()> {
        if self.stop().is_some_and(|said| said.incarnation > stop.incarnation) {
            return Ok(());
        }
        self.write("stop.json", &stop)
    }

    /// # Errors
    /// Those of the file system.
    pub fn forget(&self, at: Time) -> io::Result<()> {
        self.write("forgotten.json", &Forgotten { at })
    }

    /// # Errors
    /// Those of the file system; nothing to take back is no error.
    pub fn remember(&self) -> io::Result<()> {
        match fs::remove_file(self.0.join("forgotten.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.0.join(name)).ok()?).ok()
    }

    fn write<T: Serialize>(&self, name: &str, what: &T) -> io::Result<()> {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let text = serde_json::to_vec(what).map_err(io::Error::other)?;
        let turn = DRAWN.fetch_add(1, Ordering::Relaxed);
        let draft = self.0.join(format!(".{name}.{}.{turn}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&draft, self.0.join(name)));
        if written.is_err() {
            drop(fs::remove_file(&draft)); // what failed is told; a left draft harms nobody
        }
        written
    }
}
