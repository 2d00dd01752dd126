//! Runs the binary on folders of its own, and looks at processes as an operator would.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program as it was built with the tests, or another build of it that is to be measured.
pub fn program() -> OsString {
    std::env::var_os("CVXC_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_cvxc").into())
}

/// The program, with nothing of the caller's settings in its environment.
pub fn cvxc(dir: &Path) -> Command {
    let mut command = Command::new(program());
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("CVXC_") || name == "NO_COLOR")
    {
        command.env_remove(name);
    }
    command.env("CVXC_DATA_DIR", dir).env("USER", "tester").stdin(Stdio::null());
    command
}

/// Runs a verb to its end.
pub fn run(dir: &Path, args: &[&str]) -> Output {
    cvxc(dir).args(args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a verb that must succeed and returns what it printed.
pub fn good(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(
        output.status.success(),
        "{args:?}: {}\n{}",
        text(&output.stderr),
        text(&output.stdout)
    );
    text(&output.stdout)
}

pub fn json(dir: &Path, args: &[&str]) -> Value {
    let printed = good(dir, args);
    serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{args:?} printed no JSON ({error}): {printed}"))
}

/// Waits until `what` gives a value; fails with the last word after `limit`.
pub fn eventually<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) if Instant::now() >= deadline => panic!("{what}: not within {limit:?}: {why}"),
            Err(_) => std::thread::park_timeout(Duration::from_millis(50)),
        }
    }
}

/// A process that is killed when the test ends, however it ends.
pub struct Running(pub Child);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn kill9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self, limit: Duration) -> std::process::ExitStatus {
        signal(self.pid(), rustix::process::Signal::TERM);
        eventually(limit, "end after SIGTERM", || {
            self.0.try_wait().unwrap().ok_or_else(|| "still running".to_owned())
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Starts a daemon on a free port.
pub fn daemon(dir: &Path, ttl: &str) -> Running {
    let mut command = cvxc(dir);
    command.args(["daemon", "--listen", "127.0.0.1:0"]).env("CVXC_LEADER_TTL", ttl);
    for (name, value) in [
        ("CVXC_HEALTH_INTERVAL", "1s"),
        ("CVXC_RECOVERY_BACKOFF_FIRST", "500ms"),
        ("CVXC_AUTOSCALE_INTERVAL", "2s"),
    ] {
        command.env(name, value);
    }
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(dir.join("daemon.err")).unwrap();
    Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

/// The database that the fleet in `dir` meets in, where that is no file there.
pub fn shared_store(dir: &Path) -> Option<String> {
    std::fs::read_to_string(dir.join("shared-store")).ok()
}

/// The agents' own processes of the fleet in `dir`, by agent id: how many carry it.
pub fn agents(dir: &Path) -> BTreeMap<String, Vec<u32>> {
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let here = dir.display().to_string();
    let shared = shared_store(dir);
    // names of databases are drawn anew for each fleet
    let database = shared.as_deref().and_then(|url| url.rsplit('/').next());
    let ours = |store: &str| match database {
        Some(database) => store.contains(database),
        None => store.starts_with(&here),
    };
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(environ) = std::fs::read(entry.path().join("environ")) else { continue };
        let all = text(&environ);
        let value = |name: &str| {
            all.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        if let (Some(id), Some(store)) = (value("CVXC_AGENT_ID"), value("CVXC_STORE"))
            && ours(store)
        {
            found.entry(id.to_owned()).or_default().push(pid);
        }
    }
    found
}

/// A folder whose agents are all ended with it.
pub struct Fleet {
    pub dir: PathBuf,
    _keep: tempfile::TempDir,
}

impl Fleet {
    pub fn new() -> Self {
        let keep = tempfile::Builder::new().prefix("cvxc-test-").tempdir().unwrap();
        Self { dir: keep.path().to_owned(), _keep: keep }
    }

    /// A fleet in a new database of the ArangoDB server at `host:port`, whose root has no password.
    pub fn in_arango(server: &str) -> Self {
        let fleet = Self::new();
        let (host, port) = server.rsplit_once(':').unwrap();
        let database = format!("t{:016x}", rand::random::<u64>());
        let settings = format!(
            "[database]\ntype = \"arangodb\"\nhost = \"{host}\"\nport = {port}\ndatabase = \"{database}\"\nusername = \"root\"\n"
        );
        std::fs::write(fleet.dir.join("config.toml"), settings).unwrap();
        let url = format!("arangodb://root@{server}/{database}");
        std::fs::write(fleet.dir.join("shared-store"), url).unwrap();
        fleet
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // shims first: they would note the end of their agents, which is fine, but must not outlive the folder
        let here = self.dir.display().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let line = text(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
            if line.contains("agent-shim") && line.contains(&here) {
                let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        for pid in agents(&self.dir).into_values().flatten() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
}

/// A small fleet of reference agents: two pools, six agents.
pub const SMALL: &str = "\
kind: Template
name: worker
type: worker
configuration:
  command: [cvxc, agent, run, --role, worker]
  heartbeat: {interval: 1s, required: true}
  resources: {limits: {cpu: 500m, memory: 256Mi}}
---
kind: Pool
name: alpha
template: worker
desired: 3
min: 0
max: 10
---
kind: Pool
name: beta
template: worker
desired: 3
min: 0
max: 10
";

/// Writes a manifest beside the store and applies it.
pub fn apply(dir: &Path, manifest: &str) -> String {
    let file = dir.join("manifest.yaml");
    std::fs::write(&file, manifest).unwrap();
    good(dir, &["apply", "-f", file.to_str().unwrap()])
}

/// Waits until so many agents run.
pub fn running(dir: &Path, count: u64, limit: Duration) -> Value {
    eventually(limit, &format!("{count} agents running"), || {
        let status = json(dir, &["status", "-o", "json"]);
        if status["agents"]["running"] == count {
            Ok(status)
        } else {
            Err(status["agents"].to_string())
        }
    })
}
