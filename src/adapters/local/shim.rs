//! The process between the engine and one agent: `cvxc agent-shim --dir DIR`. It holds the lock that lets an agent run
//! once, owns its output, ends it when asked, and writes down how it went. It outlives the engine and never talks to
//! the store. One thread and no runtime, so that a thousand of them cost little.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::launch;
use super::log_write::{Lines, Log, Stream};
use super::process::{self, Process};
use super::record::{End, Home, Spec, Stage, Status};
use crate::model::quantity::Bytes;
use crate::model::time::span;
use crate::ports::clock::{Clock, SystemClock};

/// The hidden verb that starts a shim.
pub const VERB: &str = "agent-shim";

/// Runs `cvxc agent-shim ARGS…`; `args` are those after the verb: `--dir DIR`, and for the last step before a program of
/// the agent `--launch PARENT`, `--exec PARENT PROGRAM ARGS…` or `--terminal PARENT TERMINAL PROGRAM ARGS…` with the parent's process id.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    match args.as_slice() {
        [dir_flag, dir] if dir_flag == "--dir" => shim_main(Path::new(dir)),
        [dir_flag, dir, flag, parent, command @ ..] if dir_flag == "--dir" => {
            let (home, parent) = (Home::new(dir), parent.to_str().and_then(|pid| pid.parse().ok()));
            match (flag.to_str(), parent, command) {
                (Some("--launch"), Some(parent), []) => launch::launch(&home, parent),
                (Some("--terminal"), Some(parent), [terminal, program, args @ ..]) => {
                    launch::on_terminal(&home, parent, Path::new(terminal), (program, args))
                }
                (Some("--exec"), Some(parent), [program, args @ ..]) => {
                    launch::exec(&home, parent, program, args)
                }
                _ => ExitCode::from(2),
            }
        }
        _ => ExitCode::from(2),
    }
}

/// Runs the agent of `dir` to its end, unless another shim already does or did.
pub fn shim_main(dir: &Path) -> ExitCode {
    match run(&Home::new(dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // standard error is a file of the agent's folder: the last resort when the status cannot be written
            let _ = rustix::io::write(rustix::stdio::stderr(), message.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run(home: &Home) -> Result<(), String> {
    let Some((_lock, spec)) = take_turn(home)? else { return Ok(()) };
    let signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
    // what the agent leaves behind becomes our child, so that nothing escapes by forking twice
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| format!("becoming the reaper: {error}"))?;
    if let Some(before) = home.status() {
        end_strangers(&before);
    }
    let mut shim = Shim::new(home, spec, signals)?;
    shim.say(Stage::Starting, "")?;
    if let Some(stop) = home.stop().filter(|stop| stop.incarnation >= shim.spec.incarnation) {
        shim.status.grace = stop.grace;
        shim.status.end = Some(End::Unknown);
        return shim.say_end("asked to end before it was started");
    }
    match shim.start() {
        Ok(()) => shim.tend(),
        Err(message) => {
            shim.status.end = Some(End::Unknown);
            shim.say_end(&message)
        }
    }
}

/// Waits until no other shim runs this agent, and returns the lock if there is still something to run. Of shims for the
/// same incarnation the first takes the lock and the others leave; one for a later incarnation waits for the earlier to end.
fn take_turn(home: &Home) -> Result<Option<(File, Spec)>, String> {
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(home.lock());
    let lock = lock.map_err(|error| format!("the lock cannot be opened: {error}"))?;
    loop {
        let spec = home.spec().ok_or("what shall run cannot be read")?;
        let ran = |status: Status| status.incarnation >= spec.incarnation;
        match lock.try_lock() {
            Ok(()) if home.status().is_some_and(ran) => return Ok(None),
            Ok(()) => return Ok(home.spec().map(|spec| (lock, spec))),
            Err(TryLockError::WouldBlock) if home.status().is_some_and(ran) => return Ok(None),
            Err(TryLockError::WouldBlock) => pause(Duration::from_millis(20)),
            Err(TryLockError::Error(error)) => return Err(format!("the lock: {error}")),
        }
    }
}

/// Ends what an earlier shim of this agent, killed itself, could not.
fn end_strangers(before: &Status) {
    let mut left = before.session();
    while !left.is_empty() {
        for process in &left {
            process.signal(Signal::KILL);
        }
        pause(Duration::from_millis(10));
        left = before.session();
    }
}

/// Waits without a thread's sleep: for nothing, with a time limit.
fn pause(span: Duration) {
    let _ = poll(&mut [], Some(&timespec(span)));
}

fn timespec(span: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(span.subsec_nanos()),
    }
}

struct Signals {
    wake: UnixStream,
    end: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let (wake, ring) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let end = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&end))?;
        }
        // a hang-up must not end us: the terminal that the engine ran in is none of our business
        for signal in [SIGTERM, SIGINT, SIGCHLD, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, ring.try_clone()?)?;
        }
        Ok(Self { wake, end })
    }

    fn clear(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(1..)) {}
    }
}

struct Shim {
    home: Home,
    spec: Spec,
    status: Status,
    signals: Signals,
    clock: SystemClock,
    log: Log,
    out: Pipe<ChildStdout>,
    err: Pipe<ChildStderr>,
    /// Open until the agent's program has started.
    report: Option<io::PipeReader>,
    /// When what is left of the agent is killed.
    kill_at: Option<Instant>,
    killed: bool,
    /// Why the agent's program did not start.
    refused: String,
    /// The status on disk is older than ours, because the disk did not take it.
    unsaid: bool,
}

struct Pipe<R> {
    source: Option<R>,
    lines: Lines,
}

impl<R: Read + AsFd> Pipe<R> {
    /// Reads once; at the end of the stream lets it go.
    fn pass_on(&mut self, clock: SystemClock, log: &mut Log) {
        let Some(source) = &mut self.source else { return };
        let mut bytes = [0; 16 * 1024];
        match source.read(&mut bytes) {
            Ok(n @ 1..) => self.lines.feed(&bytes[..n], clock.now(), log),
            Err(error) if is_for_later(&error) => {}
            Ok(0) | Err(_) => {
                self.source = None;
                self.lines.finish(clock.now(), log);
            }
        }
    }

    /// Reads what is there, then ends the stream whoever may still hold its other end.
    fn drain(&mut self, clock: SystemClock, log: &mut Log) {
        let mut bytes = [0; 16 * 1024];
        while let Some(Ok(n @ 1..)) = self.source.as_mut().map(|source| source.read(&mut bytes)) {
            self.lines.feed(&bytes[..n], clock.now(), log);
        }
        self.source = None;
        self.lines.finish(clock.now(), log);
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

impl Shim {
    fn new(home: &Home, spec: Spec, signals: Signals) -> Result<Self, String> {
        let shim = Process::current().ok_or("/proc is not there")?;
        let status = Status {
            incarnation: spec.incarnation,
            boot: process::boot_id().to_owned(),
            shim,
            agent: None,
            stage: Stage::Starting,
            end: None,
            message: String::new(),
            started_at: None,
            ended_at: None,
            grace: spec.grace,
        };
        Ok(Self {
            home: home.clone(),
            log: Log::begin(&home.logs(), spec.incarnation),
            spec,
            status,
            signals,
            clock: SystemClock,
            out: Pipe { source: None, lines: Lines::new(Stream::Out) },
            err: Pipe { source: None, lines: Lines::new(Stream::Err) },
            report: None,
            kill_at: None,
            killed: false,
            refused: String::new(),
            unsaid: false,
        })
    }

    fn say(&mut self, stage: Stage, message: &str) -> Result<(), String> {
        self.status.stage = stage;
        message.clone_into(&mut self.status.message);
        self.home
            .write_status(&self.status)
            .map_err(|error| format!("its status cannot be written: {error}"))
    }

    /// The last word matters most, so a full disk gets a while to be cleared; a folder that was removed does not come back.
    fn say_end(&mut self, message: &str) -> Result<(), String> {
        self.status.ended_at = Some(self.clock.now());
        let mut tries = 0;
        loop {
            match self.say(Stage::Exited, message) {
                Err(_) if tries < 60 && self.home.path().is_dir() => pause(Duration::from_secs(1)),
                done => return done,
            }
            tries += 1;
        }
    }

    fn start(&mut self) -> Result<(), String> {
        let no = |error: io::Error| format!("the agent's process could not be made: {error}");
        let (report, told) = io::pipe().map_err(no)?;
        let mut child = Command::new("/proc/self/exe") // still ours after an upgrade replaced the file
            .arg0("cvxc")
            .arg(VERB)
            .arg("--dir")
            .arg(self.home.path())
            .args(["--launch", &std::process::id().to_string()])
            .env_clear()
            .envs(&self.spec.env)
            .stdin(Stdio::from(told))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(no)?;
        for end in [child.stdout.as_ref().map(AsFd::as_fd), child.stderr.as_ref().map(AsFd::as_fd)]
            .into_iter()
            .chain([Some(report.as_fd())])
            .flatten()
        {
            rustix::io::ioctl_fionbio(end, true).map_err(|error| no(error.into()))?;
        }
        self.out.source = child.stdout.take();
        self.err.source = child.stderr.take();
        self.report = Some(report);
        self.status.agent = Process::of_pid(child.id()); // not collected yet, so the number is still its own
        self.status.started_at = Some(self.clock.now());
        Ok(())
    }

    /// Passes output on, answers signals, and ends with the agent.
    fn tend(&mut self) -> Result<(), String> {
        let agent = self.status.agent.ok_or("/proc is not there")?;
        loop {
            self.wait();
            self.signals.clear();
            self.out.pass_on(self.clock, &mut self.log);
            self.err.pass_on(self.clock, &mut self.log);
            self.hear_report();
            if let Some(how) = self.collect(agent) {
                return self.finish(how);
            }
            if self.signals.end.swap(false, Ordering::SeqCst) {
                self.end_agent(agent);
            }
            if self.kill_at.is_some_and(|at| at <= self.clock.instant()) {
                self.kill_at = None;
                self.killed = true;
                self.kill_family();
            }
        }
    }

    /// Until there is something to do.
    fn wait(&self) {
        let mut fds = vec![PollFd::new(&self.signals.wake, PollFlags::IN)];
        fds.extend(self.out.source.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(self.err.source.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(self.report.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let kill = self.kill_at.map(|at| at.saturating_duration_since(self.clock.instant()));
        let say = self.unsaid.then_some(Duration::from_secs(1));
        let limit = kill.into_iter().chain(say).min().map(timespec);
        let _ = poll(&mut fds, limit.as_ref()); // an interrupted wait is a wake too
    }

    /// Says it now if the disk takes it, and otherwise again later: a full disk must not end the agent.
    fn try_say(&mut self, stage: Stage, message: &str) {
        self.unsaid = self.say(stage, message).is_err();
    }

    fn hear_report(&mut self) {
        let mut bytes = [0; 1024];
        loop {
            match self.report.as_mut().map(|report| report.read(&mut bytes)) {
                Some(Ok(n @ 1..)) => self.refused.push_str(&String::from_utf8_lossy(&bytes[..n])),
                Some(Err(error)) if is_for_later(&error) => break,
                Some(Ok(0) | Err(_)) => {
                    self.report = None;
                    if self.refused.is_empty() && self.status.stage == Stage::Starting {
                        self.try_say(Stage::Running, "");
                    }
                }
                None => break,
            }
        }
        if self.unsaid {
            let message = self.status.message.clone();
            self.try_say(self.status.stage, &message);
        }
    }

    /// Collects every child that has ended; returns how the agent did, if it is among them.
    fn collect(&mut self, agent: Process) -> Option<WaitStatus> {
        let mut how = None;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if u32::try_from(pid.as_raw_pid()) == Ok(agent.pid) {
                how = Some(status);
            }
        }
        how
    }

    /// Asks the agent's process group to end and sets the time of the kill; asked again, it only comes earlier.
    fn end_agent(&mut self, agent: Process) {
        let asked = self.home.stop().filter(|stop| stop.incarnation >= self.spec.incarnation);
        let grace = asked.map_or(self.spec.grace, |stop| stop.grace);
        let now = self.clock.instant();
        let at = now.checked_add(grace).unwrap_or(now);
        if !self.killed && self.kill_at.is_none_or(|before| at < before) {
            self.kill_at = Some(at);
            self.status.grace = grace;
        }
        let group = i32::try_from(agent.pid).ok().and_then(Pid::from_raw);
        let told = group.map(|group| rustix::process::kill_process_group(group, Signal::TERM));
        if !matches!(told, Some(Ok(()))) {
            agent.signal(Signal::TERM); // it has no group of its own yet
        }
        self.try_say(Stage::Ending, "asked to end");
    }

    /// Kills everything that descends from this shim.
    fn kill_family(&self) {
        let me = self.status.shim;
        for stat in process::families(&process::scan(), &[me]).into_values().flatten() {
            if stat.pid != me.pid {
                Process { pid: stat.pid, start: stat.start }.signal(Signal::KILL);
            }
        }
    }

    fn finish(&mut self, how: WaitStatus) -> Result<(), String> {
        // until the kernel says that no child is left; what the agent started ends with it
        let mut span = Duration::from_millis(5);
        while rustix::process::wait(WaitOptions::NOHANG).is_ok() {
            self.kill_family();
            pause(span);
            span = (span * 2).min(Duration::from_secs(1));
        }
        self.out.drain(self.clock, &mut self.log);
        self.err.drain(self.clock, &mut self.log);
        self.hear_report();
        let (end, message) = self.words(how);
        self.status.end = Some(end);
        self.say_end(&message)
    }

    /// How it ended, and what that alone does not say.
    fn words(&self, how: WaitStatus) -> (End, String) {
        if !self.refused.is_empty() {
            return (End::Code(i32::from(launch::NOT_STARTED)), self.refused.clone());
        }
        let end = match (how.exit_status(), how.terminating_signal()) {
            (Some(code), _) => End::Code(code),
            (None, Some(signal)) => End::Signal(signal),
            (None, None) => End::Unknown,
        };
        let message = if self.killed {
            format!("killed after its grace of {}", span::format(self.status.grace))
        } else if self.status.stage == Stage::Ending {
            "asked to end".to_owned()
        } else {
            // a program that is refused memory mostly aborts; the kernel's own rescue kills
            let memory = self.spec.memory.filter(|_| matches!(end, End::Signal(_)));
            memory.map_or_else(String::new, |bytes| {
                let limit = Bytes(bytes);
                format!("it may have run out of the memory it is limited to ({limit})")
            })
        };
        (end, message)
    }
}
