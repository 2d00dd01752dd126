//! The local runtime: every agent is a real process of this machine, in a session of its own under a small shim that
//! outlives the engine. Engines meet in the agents' folders; nothing is kept in memory that the disk does not know, so
//! any engine can carry on where another was killed.
//!
//! `apply` writes what shall run and starts a shim; the shim's lock decides that it runs once. An incarnation that has
//! begun is never begun again. Never touches the store.

pub mod accept;
pub mod end_all;
pub mod exec;
pub mod launch;
pub mod log_read;
pub mod log_write;
pub mod observe;
pub mod process;
pub mod record;
pub mod shim;
pub mod terminal;
pub mod usage;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use process_wrap::std::{CommandWrap, ProcessSession};
use rustix::process::{Resource, Rlimit, Signal};
use tokio_stream::wrappers::BroadcastStream;

use self::log_read::Reader;
use self::observe::{Observatory, Start};
use self::record::{Home, Spec, Stage, Stop};
use self::usage::Sampler;
use crate::model::health::Usage;
use crate::model::id::AgentId;
use crate::ports::clock::Clock;
use crate::ports::runtime::{
    ExecResult, LogLine, LogOptions, Node, Observed, Runtime, RuntimeError, RuntimeInfo, Sight,
    Workload,
};
use crate::ports::site::{Shell, TerminalSize};

/// How long the files of a forgotten agent are kept, so that its log can still be read.
const KEEP_LOGS: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The folder of agents, made if missing: `agents` under the data folder.
    pub dir: PathBuf,
    /// This program: it becomes the shims, and what `command: ["cvxc", …]` runs.
    pub exe: PathBuf,
    pub clock: Arc<dyn Clock>,
    /// How long the files of forgotten agents stay.
    pub keep_logs: Duration,
}

impl LocalOptions {
    pub fn new(dir: impl Into<PathBuf>, exe: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self { dir: dir.into(), exe: exe.into(), clock, keep_logs: KEEP_LOGS }
    }
}

/// Agents as processes of this machine. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct LocalRuntime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: LocalOptions,
    seen: Arc<Observatory>,
    sampler: Mutex<Sampler>,
    /// Held while an agent of its share is being started, so that two tasks do not start two shims for nothing.
    turns: [Mutex<()>; 16],
}

fn unavailable(what: &'static str) -> impl Fn(io::Error) -> RuntimeError {
    move |error| RuntimeError::Unavailable(format!("{what}: {error}").into())
}

/// Every agent costs the engine a descriptor or two, and 1024 is the customary limit. A wish: without it, agents beyond the
/// limit are looked at by their files alone.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if limit.current != limit.maximum {
        let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    }
}

impl LocalRuntime {
    /// Opens the folder of agents; what runs there already is adopted.
    ///
    /// # Errors
    /// `Unavailable` when the folder cannot be made or the kernel gives no descriptors or no /proc.
    pub fn new(mut options: LocalOptions) -> Result<Self, RuntimeError> {
        if process::Process::current().is_none() {
            return Err(RuntimeError::Unavailable("/proc is not there".into()));
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&options.dir)
            .and_then(|()| fs::canonicalize(&options.dir))
            .map(|dir| options.dir = dir)
            .map_err(unavailable("the folder of agents"))?;
        raise_open_files();
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let seen = Observatory::open(&options.dir, node, Arc::clone(&options.clock))
            .map_err(unavailable("watching the agents"))?;
        Ok(Self(Arc::new(Inner {
            options,
            seen,
            sampler: Mutex::default(),
            turns: Default::default(),
        })))
    }

    /// Runs what may block where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => done,
            Err(error) => Err(RuntimeError::OutcomeUnknown(Box::new(error))),
        }
    }
}

impl Inner {
    /// The folder of an agent that lives, and what it was started with.
    fn living(&self, agent: AgentId) -> Result<(Home, Spec), RuntimeError> {
        let home = self.seen.home(&agent);
        let lives = home.status().is_some_and(|status| status.living_agent().is_some());
        let spec = home.spec().filter(|_| lives).ok_or(RuntimeError::Gone { agent })?;
        Ok((home, spec))
    }

    fn apply(&self, workload: &Workload) -> Result<(), RuntimeError> {
        let spec = accept::accept(workload, &self.options.exe)?;
        let agent = &spec.agent;
        let share = agent.as_str().bytes().fold(0_usize, |sum, byte| sum.wrapping_add(byte.into()));
        let _turn =
            self.turns[share % self.turns.len()].lock().unwrap_or_else(PoisonError::into_inner);
        let home = self.seen.home(agent);
        home.create().map_err(unavailable("the agent's folder"))?;
        let starting = self.seen.starting(agent).unwrap_or(0);
        let status = home.status();
        let known = status.as_ref().map_or(0, |status| status.incarnation).max(starting);
        if known > spec.incarnation {
            return Err(RuntimeError::Rejected {
                message: format!(
                    "incarnation {} is older than {known}, which this machine has already started",
                    spec.incarnation
                ),
            });
        }
        home.remember().map_err(unavailable("the agent's folder"))?;
        if known == spec.incarnation && known > 0 {
            self.seen.look(agent);
            return Ok(());
        }
        home.write_spec(&spec).map_err(unavailable("what shall run"))?;
        if let Some(before) = status.filter(|status| status.stage != Stage::Exited) {
            self.end(&home, before.incarnation, before.grace)?;
        }
        self.start_shim(&home, agent, spec.incarnation)
    }

    fn start_shim(
        &self,
        home: &Home,
        agent: &AgentId,
        incarnation: u64,
    ) -> Result<(), RuntimeError> {
        let no = unavailable("the agent's shim could not be started");
        let complaint = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(home.complaint())
            .map_err(&no)?;
        let mut command = Command::new(&self.options.exe);
        // its own environment stays empty: only the agent carries the agent's
        command.arg(shim::VERB).arg("--dir").arg(home.path()).env_clear().current_dir(home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaint);
        // a session of its own from its first moment: Ctrl-C and a hang-up of our terminal are not for it
        let child = CommandWrap::from(command).wrap(ProcessSession).spawn().map_err(&no)?;
        let at = self.options.clock.now();
        self.seen.started(agent, Start { incarnation, child, at });
        Ok(())
    }

    fn remove(&self, agent: &AgentId, grace: Duration) -> Result<(), RuntimeError> {
        let home = self.seen.home(agent);
        let wanted = home.spec().map(|spec| spec.incarnation);
        let begun = home.status().map(|status| status.incarnation);
        match wanted.max(begun) {
            Some(newest) => self.end(&home, newest, grace),
            None => Ok(()),
        }?;
        self.seen.look(agent);
        Ok(())
    }

    /// Asks everything up to `incarnation` to end. The wish is written before we look who runs, and a shim looks for it
    /// after it has said that it runs: whichever comes first, it is seen.
    fn end(&self, home: &Home, incarnation: u64, grace: Duration) -> Result<(), RuntimeError> {
        home.write_stop(Stop { incarnation, grace }).map_err(unavailable("the wish to end"))?;
        let Some(status) = home.status().filter(|status| status.stage != Stage::Exited) else {
            return Ok(());
        };
        if status.shim_lives() {
            status.shim.signal(Signal::TERM);
        } else {
            // nobody is left to wait out a grace
            for process in status.session() {
                process.signal(Signal::KILL);
            }
        }
        Ok(())
    }

    fn sample(&self, agents: &[AgentId]) -> (Vec<(AgentId, Usage)>, Vec<AgentId>) {
        let living = agents.iter().filter_map(|agent| {
            let process = self.seen.home(agent).status()?.living_agent()?;
            Some((agent.clone(), process))
        });
        let living: Vec<_> = living.collect();
        let clock = &self.options.clock;
        let mut sampler = self.sampler.lock().unwrap_or_else(PoisonError::into_inner);
        sampler.sample(&living, clock.instant(), clock.now())
    }

    fn forget(&self, agent: &AgentId) -> Result<(), RuntimeError> {
        self.sampler.lock().unwrap_or_else(PoisonError::into_inner).forget(agent);
        let home = self.seen.home(agent);
        if !home.path().is_dir() {
            return Ok(());
        }
        let runs = home.status().is_some_and(|status| {
            status.stage != Stage::Exited && (status.shim_lives() || !status.session().is_empty())
        });
        if runs || self.seen.starting(agent).is_some() {
            return Err(RuntimeError::Rejected {
                message: format!("agent {agent} still runs; remove it before it is forgotten"),
            });
        }
        let now = self.options.clock.now();
        home.forget(now).map_err(unavailable("forgetting"))?;
        self.seen.look(agent);
        for agent in self.seen.agents() {
            let home = self.seen.home(&agent);
            if home.forgotten().is_some_and(|f| now.since(f.at) >= self.options.keep_logs) {
                fs::remove_dir_all(home.path()).map_err(unavailable("removing the files"))?;
                self.seen.look(&agent);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Runtime for LocalRuntime {
    /// Another folder, or another machine, on the same store has processes of its own.
    fn shows_all(&self) -> bool {
        false
    }

    async fn apply(&self, workload: Workload) -> Result<(), RuntimeError> {
        self.blocking(move |inner| inner.apply(&workload)).await
    }

    async fn remove(&self, agent: &AgentId, grace: Duration) -> Result<(), RuntimeError> {
        let agent = agent.clone();
        self.blocking(move |inner| inner.remove(&agent, grace)).await
    }

    async fn forget(&self, agent: &AgentId) -> Result<(), RuntimeError> {
        let agent = agent.clone();
        self.blocking(move |inner| inner.forget(&agent)).await
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        self.blocking(|inner| Ok(inner.seen.survey().0)).await
    }

    async fn watch(&self) -> Result<BoxStream<'static, Sight>, RuntimeError> {
        let (seen, changes) = self.blocking(|inner| Ok(inner.seen.survey())).await?;
        let owner = self.clone();
        let changes = BroadcastStream::new(changes).map(move |sight| {
            let _watched = &owner; // the watching thread lives as long as anybody watches
            sight.unwrap_or(Sight::Resync)
        });
        Ok(stream::iter(seen.into_iter().map(Sight::Changed)).chain(changes).boxed())
    }

    async fn usage(&self, agents: &[AgentId]) -> Result<Vec<(AgentId, Usage)>, RuntimeError> {
        let agents = agents.to_vec();
        let (mut samples, again) = self.blocking(move |inner| Ok(inner.sample(&agents))).await?;
        if !again.is_empty() {
            tokio::time::sleep(usage::APART).await; // the span that the sample is about
            samples.extend(self.blocking(move |inner| Ok(inner.sample(&again).0)).await?);
        }
        Ok(samples)
    }

    async fn logs(
        &self,
        agent: &AgentId,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        let agent = agent.clone();
        self.blocking(move |inner| {
            let home = inner.seen.home(&agent);
            if !home.logs().is_dir() {
                return Err(RuntimeError::Gone { agent });
            }
            let reader = Reader::open(&home, &options)?;
            Ok(log_read::lines(home, reader, options.follow && !options.previous))
        })
        .await
    }

    async fn exec(
        &self,
        agent: &AgentId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, RuntimeError> {
        let (agent, command) = (agent.clone(), command.to_vec());
        let (_waiting, asker) = UnixStream::pair().map_err(unavailable("the command"))?;
        // `_waiting` closes if this future is dropped, and then the command is ended
        self.blocking(move |inner| {
            let (home, spec) = inner.living(agent)?;
            let LocalOptions { exe, clock, .. } = &inner.options;
            exec::exec(&home, &spec, exe, &command, timeout, &asker, &**clock)
        })
        .await
    }

    async fn shell(
        &self,
        agent: &AgentId,
        command: &[String],
        size: TerminalSize,
    ) -> Result<Shell, RuntimeError> {
        let (seen, agent) = (self.clone(), agent.clone());
        let (home, spec) = seen.blocking(move |inner| inner.living(agent)).await?;
        terminal::open(&home, &spec, &self.0.options.exe, command, size)
    }

    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        self.blocking(|inner| {
            let began = inner.options.clock.instant();
            let uname = rustix::system::uname();
            let memory =
                fs::read_to_string("/proc/meminfo").map_err(unavailable("/proc/meminfo"))?;
            let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            Ok(RuntimeInfo {
                kind: "local",
                version: format!(
                    "{} {}",
                    uname.sysname().to_string_lossy(),
                    uname.release().to_string_lossy()
                ),
                place: inner.options.dir.display().to_string(),
                latency: inner.options.clock.instant().saturating_duration_since(began),
                nodes: vec![Node {
                    name: uname.nodename().to_string_lossy().into_owned(),
                    cpu_millis: cpus as u64 * 1000,
                    memory_bytes: process::kib(&memory, "MemTotal:").unwrap_or(0),
                }],
            })
        })
        .await
    }
}
