//! The local runtime under test: shell scripts as agents in a folder of their own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cvxc::adapters::local::process::{self, Process};
use cvxc::adapters::local::record::{Home, Status};
use cvxc::adapters::local::{LocalOptions, LocalRuntime};
use cvxc::model::agent::AgentConfig;
use cvxc::model::id::AgentId;
use cvxc::model::quantity::{Bytes, Cpu};
use cvxc::ports::clock::SystemClock;
use cvxc::ports::runtime::{Exit, LogOptions, Runtime, RuntimeError, State, Workload};
use rustix::process::Signal;

use crate::fixture::{Does, Fixture, LIMIT, exited, listed, log, seen, texts};

pub struct Local {
    pub dir: tempfile::TempDir,
    pub runtime: LocalRuntime,
}

pub fn open(dir: &Path) -> LocalRuntime {
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

/// What the shim wrote; the tests below look at it as an operator with `cat` would.
fn status(fixture: &Local, agent: &AgentId) -> Status {
    home(fixture, agent).status().unwrap()
}

fn home(fixture: &Local, agent: &AgentId) -> Home {
    Home::new(fixture.dir.path().join("agents").join(agent.as_str()))
}

fn processes_of(agent: &AgentId) -> Vec<Process> {
    let mark = format!("CVXC_AGENT_ID={agent}");
    let carries = |stat: &process::Stat| {
        let environ = std::fs::read(format!("/proc/{}/environ", stat.pid)).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
    };
    let all = process::scan().into_iter().filter(|stat| !stat.ended && carries(stat));
    all.map(|stat| Process { pid: stat.pid, start: stat.start }).collect()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let wait = async {
        while !is_so() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// One test each, with a fixture that is ended and checked for leftovers.
macro_rules! local_tests {
    ($(async fn $name:ident($fixture:ident: &Local) $body:block)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let fixture = Local::open();
            {
                let $fixture = &fixture;
                $body
            }
            fixture.end().await;
        }
    )*};
}

local_tests! {
    async fn an_agent_killed_from_outside_is_seen_within_200_ms(fixture: &Local) {
        let mut times = Vec::new();
        for _ in 0..5 {
            let workload = fixture.workload(Does::Run);
            let running = fixture.running(&workload).await;
            let began = Instant::now();
            let agent = status(fixture, &workload.agent).agent.unwrap();
            assert_eq!(running.pid, Some(agent.pid));
            assert!(agent.signal(Signal::KILL));
            let ended = exited(&fixture.runtime, &workload.agent).await;
            times.push(began.elapsed());
            assert_eq!(ended.exit, Some(Exit::Signal(9)));
            assert_eq!(ended.end(), "killed by signal 9 (SIGKILL)");
        }
        times.sort_unstable();
        // the middle one, so that one hiccup of a busy machine does not fail it
        assert!(times[2] < Duration::from_millis(200), "{times:?}");
    }

    async fn when_its_shim_is_killed_an_agent_ends_and_how_is_unknown(fixture: &Local) {
        let mut workload = fixture.script("sleep 600 & echo ready; wait");
        fixture.ready(&workload).await;
        let before = status(fixture, &workload.agent);
        assert_eq!(processes_of(&workload.agent).len(), 2);
        assert!(before.shim.signal(Signal::KILL));
        let ended = exited(&fixture.runtime, &workload.agent).await;
        assert_eq!((ended.exit, ended.pid), (Some(Exit::Unknown), None));
        until("the agent ends with its shim", || !before.agent.unwrap().lives()).await;
        // the next start clears away what the agent had started
        workload.incarnation = 2;
        workload.config.args = vec!["exec sleep 600".to_owned()];
        fixture.running(&workload).await;
        assert_eq!(processes_of(&workload.agent).len(), 1);
    }

    async fn removing_an_agent_whose_shim_was_killed_ends_what_it_left(fixture: &Local) {
        let workload = fixture.script("sleep 600 & echo ready; wait");
        fixture.ready(&workload).await;
        assert!(status(fixture, &workload.agent).shim.signal(Signal::KILL));
        exited(&fixture.runtime, &workload.agent).await;
        fixture.runtime.remove(&workload.agent, LIMIT).await.unwrap();
        until("nothing of it is left", || processes_of(&workload.agent).is_empty()).await;
        fixture.runtime.forget(&workload.agent).await.unwrap();
    }

    async fn what_an_agent_started_ends_with_it_even_in_another_session(fixture: &Local) {
        let workload = fixture.script("sleep 600 & setsid sleep 600 & (setsid sleep 600 &) ; echo ready; read x < /dev/zero; wait");
        fixture.ready(&workload).await;
        until("all are started", || processes_of(&workload.agent).len() >= 4).await;
        assert!(status(fixture, &workload.agent).agent.unwrap().signal(Signal::KILL));
        exited(&fixture.runtime, &workload.agent).await;
        assert_eq!(processes_of(&workload.agent), []);
    }

    async fn a_process_with_the_pid_but_another_start_is_not_adopted(fixture: &Local) {
        let workload = fixture.workload(Does::Run);
        fixture.running(&workload).await;
        fixture.runtime.remove(&workload.agent, Duration::ZERO).await.unwrap();
        exited(&fixture.runtime, &workload.agent).await;
        let mut forged = status(fixture, &workload.agent);
        until("its shim has left", || !forged.shim_lives()).await;
        // as if this test's own process had got the numbers of both
        let me = Process::current().unwrap();
        let other = Process { start: me.start + 1, ..me };
        forged.stage = cvxc::adapters::local::record::Stage::Running;
        forged.end = None;
        (forged.shim, forged.agent) = (other, Some(other));
        home(fixture, &workload.agent).write_status(&forged).unwrap();
        let seen = seen(&fixture.runtime, &workload.agent, |seen| seen.exit == Some(Exit::Unknown)).await;
        assert_eq!((seen.state, seen.pid), (State::Exited, None));
        // removing it must not hit the stranger that has the number now
        fixture.runtime.remove(&workload.agent, Duration::ZERO).await.unwrap();
        // the same numbers of another boot mean nothing either
        (forged.shim, forged.agent) = (me, Some(me));
        forged.boot = "another".to_owned();
        home(fixture, &workload.agent).write_status(&forged).unwrap();
        assert_eq!(listed(&fixture.runtime, &workload.agent).await.unwrap().exit, Some(Exit::Unknown));
    }

    async fn a_second_shim_leaves_at_once(fixture: &Local) {
        let workload = fixture.workload(Does::Run);
        let running = fixture.running(&workload).await;
        let began = Instant::now();
        let second = std::process::Command::new(env!("CARGO_BIN_EXE_cvxc"))
            .args(["agent-shim", "--dir"])
            .arg(home(fixture, &workload.agent).path())
            .status()
            .unwrap();
        assert!(second.success() && began.elapsed() < LIMIT / 4, "{second} {:?}", began.elapsed());
        assert_eq!(listed(&fixture.runtime, &workload.agent).await, Some(running));
        assert_eq!(processes_of(&workload.agent).len(), 1, "only the agent carries its id, not the shim");
    }

    async fn a_wish_to_end_that_comes_before_the_start_is_heard(fixture: &Local) {
        for _ in 0..10 {
            let workload = fixture.workload(Does::Run);
            let runtime = &fixture.runtime;
            runtime.apply(workload.clone()).await.unwrap();
            runtime.remove(&workload.agent, Duration::ZERO).await.unwrap();
            exited(runtime, &workload.agent).await;
            assert_eq!(processes_of(&workload.agent), []);
        }
    }

    async fn a_refusal_names_the_field(fixture: &Local) {
        let text = dir_with_a_plain_file(fixture);
        type Spoil = Box<dyn Fn(&mut AgentConfig) + Send>;
        let cases: Vec<(&str, Spoil)> = vec![
            ("config.command[0]", Box::new(|c| c.command[0] = "no-such-program".to_owned())),
            ("config.command[0]", Box::new(|c| c.command[0] = "/no/such/program".to_owned())),
            ("config.command[0]", Box::new(|c| c.command[0] = "../bin/sh".to_owned())),
            ("config.command[0]", Box::new(|c| c.command[0] = "/tmp".to_owned())),
            ("config.command[0]", Box::new(move |c| c.command[0].clone_from(&text))),
            ("config.command[0]", Box::new(|c| c.command[0] = String::new())),
            ("config.command[1]", Box::new(|c| c.command[1] = "a\0b".to_owned())),
            ("config.args[0]", Box::new(|c| c.args[0] = "a\0b".to_owned())),
            ("config.env", Box::new(|c| drop(c.env.insert("A=B".to_owned(), String::new())))),
            ("config.env.X", Box::new(|c| drop(c.env.insert("X".to_owned(), "\0".to_owned())))),
            ("config.resources.limits.memory", Box::new(|c| c.resources.limits.memory = Some(Bytes(1000)))),
            ("config.resources.limits.memory", Box::new(|c| {
                c.resources.limits.memory = Some(Bytes(32 << 20));
                c.resources.requests.memory = Some(Bytes(64 << 20));
            })),
            ("config.resources.limits.cpu", Box::new(|c| c.resources.limits.cpu = Some(Cpu(0)))),
            ("config.security.read_only_root", Box::new(|c| c.security.read_only_root = true)),
            ("config.security.privileged", Box::new(|c| c.security.privileged = true)),
        ];
        for (field, spoil) in cases {
            let mut workload = fixture.workload(Does::Run);
            spoil(&mut workload.config);
            let refused = fixture.runtime.apply(workload.clone()).await.unwrap_err();
            assert!(matches!(refused, RuntimeError::Rejected { .. }), "{refused:?}");
            assert!(refused.to_string().starts_with(&format!("{field}: ")), "{field}: {refused}");
            assert!(!home(fixture, &workload.agent).path().exists(), "nothing was written");
        }
    }

    async fn a_program_that_cannot_be_loaded_is_seen_with_the_systems_own_words(fixture: &Local) {
        let path = fixture.dir.path().join("script");
        std::fs::write(&path, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut workload = fixture.workload(Does::Run);
        workload.config.command = vec![path.display().to_string()];
        let ended = fixture.ended(&workload).await;
        assert_eq!(ended.exit, Some(Exit::Code(127)));
        assert!(ended.message.contains("could not be started: No such file"), "{}", ended.message);
    }

    async fn a_program_that_runs_out_of_its_memory_is_seen_with_the_limit(fixture: &Local) {
        // dash aborts nothing by itself, so it plays the program that does
        let mut workload = fixture.script("ulimit -d; kill -ABRT $$");
        workload.config.resources.limits.memory = Some(Bytes(64 << 20));
        let ended = fixture.ended(&workload).await;
        assert_eq!(ended.exit, Some(Exit::Signal(6)));
        assert!(ended.end().contains("memory it is limited to (64Mi)"), "{}", ended.end());
    }

    async fn root_can_run_an_agent_as_another_user(fixture: &Local) {
        if !rustix::process::geteuid().is_root() {
            let mut workload = fixture.workload(Does::Run);
            workload.config.security.run_as_user = Some(65_533);
            let refused = fixture.runtime.apply(workload).await.unwrap_err();
            assert!(refused.to_string().starts_with("config.security.run_as_user: "), "{refused}");
            return;
        }
        let mut workload = fixture.script("id -u; id -G; echo mine > file; echo ready; exec sleep 600");
        workload.config.security.run_as_user = Some(65_533);
        fixture.ready(&workload).await;
        let lines = log(&fixture.runtime, &workload.agent, LogOptions::default()).await;
        assert_eq!(texts(&lines), ["65533", "65533", "ready"]);
        let id = ["id".to_owned(), "-u".to_owned()];
        let done = fixture.runtime.exec(&workload.agent, &id, LIMIT).await.unwrap();
        assert_eq!(done.stdout, b"65533\n");
        // tied to its shim all the same
        let agent = status(fixture, &workload.agent).agent.unwrap();
        assert!(status(fixture, &workload.agent).shim.signal(Signal::KILL));
        until("it ends with its shim", || !agent.lives()).await;
    }

    async fn limits_are_the_agents_and_not_the_shims(fixture: &Local) {
        let mut workload = fixture.script("ulimit -d; ulimit -c; echo ready; exec sleep 600");
        workload.config.resources.limits.memory = Some(Bytes(64 << 20));
        fixture.ready(&workload).await;
        let lines = log(&fixture.runtime, &workload.agent, LogOptions::default()).await;
        assert_eq!(texts(&lines)[..2], ["65536", "0"]);
        let shim = status(fixture, &workload.agent).shim;
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", shim.pid)).unwrap();
        let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        assert!(own.lines().any(|line| line == data), "{data}");
    }

    async fn a_shim_stays_small_and_knows_nothing_of_the_agents_environment(fixture: &Local) {
        let mut workload = fixture.script("head -c 4000000 /dev/zero; echo; echo ready; exec sleep 600");
        workload.config.env = [("SECRET".to_owned(), "hush".to_owned())].into();
        fixture.ready(&workload).await;
        let shim = status(fixture, &workload.agent).shim;
        let proc = format!("/proc/{}", shim.pid);
        assert_eq!(std::fs::read_to_string(format!("{proc}/environ")).unwrap(), "");
        assert!(!std::fs::read_to_string(format!("{proc}/cmdline")).unwrap().contains("hush"));
        assert_eq!(std::fs::read_dir(format!("{proc}/task")).unwrap().count(), 1, "one thread");
        let text = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        let own = process::kib(&text, "RssAnon:").unwrap();
        assert!(own < 4 << 20, "{own} bytes of its own");
        let spec = home(fixture, &workload.agent).path().join("spec.json");
        assert_eq!(std::fs::metadata(spec).unwrap().permissions().mode() & 0o777, 0o600);
    }

    async fn a_log_that_outgrows_its_segments_keeps_the_newest(fixture: &Local) {
        let workload = fixture.script("yes 0123456789012345678901234567890123456789 | head -n 700000; echo last");
        fixture.ended(&workload).await;
        let on_disk: u64 = std::fs::read_dir(home(fixture, &workload.agent).logs())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(on_disk < 36 << 20, "{on_disk}");
        let tail = LogOptions { tail: Some(2), ..LogOptions::default() };
        let lines = log(&fixture.runtime, &workload.agent, tail).await;
        assert_eq!(texts(&lines), ["0123456789012345678901234567890123456789", "last"]);
        let lines = log(&fixture.runtime, &workload.agent, LogOptions::default()).await;
        assert_eq!(lines[0].skipped + lines.len() as u64, 700_001, "what is gone is counted");
    }

    async fn a_command_has_the_agents_environment_and_leaves_nothing_behind(fixture: &Local) {
        let mut workload = fixture.workload(Does::Run);
        workload.config.env = [("OURS".to_owned(), "yes".to_owned())].into();
        fixture.running(&workload).await;
        let sh = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
        let runtime = &fixture.runtime;
        let done = runtime.exec(&workload.agent, &sh("echo $OURS; pwd; echo no >&2; exit 7"), LIMIT).await.unwrap();
        let work = home(fixture, &workload.agent).work();
        assert_eq!(String::from_utf8(done.stdout).unwrap(), format!("yes\n{}\n", work.display()));
        assert_eq!((done.code, &*done.stderr), (7, &b"no\n"[..]));
        let done = runtime.exec(&workload.agent, &sh("kill -TERM $$"), LIMIT).await.unwrap();
        assert_eq!(done.code, 128 + 15);
        let done = runtime.exec(&workload.agent, &sh("head -c 3000000 /dev/zero"), LIMIT).await.unwrap();
        assert!(done.stdout.len() < 1_100_000 && done.stdout.ends_with(b"bytes more)\n"));
        let none = runtime.exec(&workload.agent, &["no-such-program".to_owned()], LIMIT).await.unwrap_err();
        assert!(none.to_string().contains("command[0]"), "{none}");
        // its time is over: what it started goes too
        let slow = sh("sleep 600 & sleep 600 & wait");
        runtime.exec(&workload.agent, &slow, Duration::from_millis(300)).await.unwrap_err();
        until("only the agent is left", || processes_of(&workload.agent).len() == 1).await;
        // nobody waits for it any more
        drop(tokio::time::timeout(Duration::from_millis(300), runtime.exec(&workload.agent, &slow, LIMIT * 100)).await);
        until("only the agent is left", || processes_of(&workload.agent).len() == 1).await;
    }

    async fn the_end_of_all_leaves_nobody(fixture: &Local) {
        let script = "trap '' TERM; setsid sleep 600 & echo ready; while :; do sleep 0.05; done";
        let workloads: Vec<Workload> = (0..10).map(|_| fixture.script(script)).collect();
        for workload in &workloads {
            fixture.ready(workload).await;
        }
        let began = Instant::now();
        assert_eq!(fixture.runtime.end_all(Duration::from_secs(1)).await.unwrap(), 0);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        for workload in &workloads {
            assert_eq!(processes_of(&workload.agent), []);
        }
    }

    async fn files_of_the_forgotten_go_when_their_time_is_over(fixture: &Local) {
        let workload = fixture.script("echo last words");
        fixture.ended(&workload).await;
        fixture.runtime.forget(&workload.agent).await.unwrap();
        let lines = log(&fixture.runtime, &workload.agent, LogOptions::default()).await;
        assert_eq!(texts(&lines), ["last words"], "kept for a while");
        let mut options = LocalOptions::new(fixture.dir.path().join("agents"), "/no", SystemClock::shared());
        options.keep_logs = Duration::ZERO;
        LocalRuntime::new(options).unwrap().forget(&workload.agent).await.unwrap();
        assert!(!home(fixture, &workload.agent).path().exists());
    }

    async fn agents_outlive_an_engine_that_is_killed(fixture: &Local) {
        let mut engine = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "local::an_engine_in_a_process_of_its_own", "--nocapture"])
            .env(ENGINE, fixture.dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let all = ["engine-1", "engine-2", "engine-3"].map(|id| AgentId::new(id).unwrap());
        let mut pids = Vec::new();
        for agent in &all {
            pids.push(seen(&fixture.runtime, agent, |seen| seen.state == State::Running).await.pid);
        }
        engine.kill().unwrap();
        engine.wait().unwrap();
        let after = open(fixture.dir.path());
        for (agent, pid) in all.iter().zip(pids) {
            let seen = listed(&after, agent).await.unwrap();
            assert_eq!((seen.state, seen.pid), (State::Running, pid), "it went on");
            let mut workload = fixture.workload(Does::Run);
            workload.agent = agent.clone();
            after.apply(workload).await.unwrap();
            assert_eq!(processes_of(agent).len(), 1, "adopted, not started again");
        }
    }
}

const ENGINE: &str = "CVXC_TEST_ENGINE_DIR";

/// Not a test by itself: the test above runs it as a process that can be killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_in_a_process_of_its_own() {
    let Some(dir) = std::env::var_os(ENGINE) else { return };
    let runtime = open(Path::new(&dir));
    let fixture = Local { dir: tempfile::tempdir().unwrap(), runtime };
    for number in 1..=3 {
        let mut workload = fixture.workload(Does::Run);
        workload.agent = AgentId::new(&format!("engine-{number}")).unwrap();
        fixture.runtime.apply(workload).await.unwrap();
    }
    std::future::pending::<()>().await;
}

fn dir_with_a_plain_file(fixture: &Local) -> String {
    let path = fixture.dir.path().join("plain");
    std::fs::write(&path, "text").unwrap();
    path.display().to_string()
}
