//! A command beside an agent: same environment, folder, user and limits, a session of its own, ended with everything it
//! started when its time is over or nobody waits for it any more.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::process::{self, Process};
use super::record::{Home, Spec};
use super::{accept, shim};
use crate::ports::clock::Clock;
use crate::ports::runtime::{ExecResult, RuntimeError};

/// The most that is kept of each stream; what is more is read, counted and dropped.
const OUTPUT: usize = 1 << 20;

/// Runs `command` and waits for its end, at most `timeout`. `asker` closes when nobody waits any more.
///
/// # Errors
/// - `Rejected`: no such program.
/// - `OutcomeUnknown`: it was killed because its time was over; it may have done part of its work.
/// - `Unavailable`: it could not be started.
pub fn exec(
    home: &Home,
    spec: &Spec,
    exe: &Path,
    command: &[String],
    timeout: Duration,
    asker: &UnixStream,
    clock: &dyn Clock,
) -> Result<ExecResult, RuntimeError> {
    let rejected = |message: String| RuntimeError::Rejected { message };
    let (program, args) =
        command.split_first().ok_or_else(|| rejected("command: is empty".to_owned()))?;
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(rejected("command: holds a zero byte, which no argument can".to_owned()));
    }
    let found = if program == "cvxc" {
        exe.to_owned()
    } else {
        let path = spec.env.get("PATH").map_or(accept::PATH, String::as_str);
        accept::find("command[0]", program, path)?
    };
    let no = |error: io::Error| RuntimeError::Unavailable(Box::new(error));
    let (report, told) = io::pipe().map_err(no)?;
    let child = Command::new(exe)
        .arg0("cvxc")
        .arg(shim::VERB)
        .arg("--dir")
        .arg(home.path())
        .arg("--exec")
        .arg(std::process::id().to_string())
        .arg(found)
        .args(args)
        .env_clear()
        .envs(&spec.env)
        .stdin(Stdio::from(told))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no)?;
    let running = Running::new(child, report).map_err(no)?;
    let deadline = clock.instant().checked_add(timeout);
    running.wait(deadline, timeout, asker, clock)
}

#[derive(Debug, Default)]
struct Output {
    kept: Vec<u8>,
    dropped: usize,
}

impl Output {
    fn take(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min(OUTPUT - self.kept.len());
        self.kept.extend_from_slice(&bytes[..fits]);
        self.dropped += bytes.len() - fits;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.dropped > 0 {
            let mark = format!("\n… (cut; {} bytes more)\n", self.dropped);
            self.kept.extend_from_slice(mark.as_bytes());
        }
        self.kept
    }
}

/// One stream of the command, until its end.
struct Source<R> {
    from: Option<R>,
    output: Output,
}

impl<R: Read + AsFd> Source<R> {
    fn new(from: Option<R>) -> io::Result<Self> {
        if let Some(from) = &from {
            rustix::io::ioctl_fionbio(from, true)?;
        }
        Ok(Self { from, output: Output::default() })
    }

    /// Reads what is there.
    fn drain(&mut self) {
        let mut bytes = [0; 16 * 1024];
        while let Some(from) = &mut self.from {
            match from.read(&mut bytes) {
                Ok(n @ 1..) => self.output.take(&bytes[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => self.from = None,
            }
        }
    }
}

struct Running {
    child: Child,
    process: Option<Process>,
    out: Source<std::process::ChildStdout>,
    err: Source<std::process::ChildStderr>,
    report: Source<PipeReader>,
}

impl Running {
    fn new(mut child: Child, report: PipeReader) -> io::Result<Self> {
        Ok(Self {
            process: Process::of_pid(child.id()),
            out: Source::new(child.stdout.take())?,
            err: Source::new(child.stderr.take())?,
            report: Source::new(Some(report))?,
            child,
        })
    }

    fn wait(
        mut self,
        deadline: Option<Instant>,
        timeout: Duration,
        asker: &UnixStream,
        clock: &dyn Clock,
    ) -> Result<ExecResult, RuntimeError> {
        let end = self.process.and_then(Process::open);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return self.finish(status);
            }
            let left = deadline.map(|at| at.saturating_duration_since(clock.instant()));
            if left == Some(Duration::ZERO) || asker_left(asker) {
                self.kill();
                let why = format!("the command did not end within {timeout:?} and was killed");
                return Err(RuntimeError::OutcomeUnknown(why.into()));
            }
            // without a descriptor for its end, look for it often
            let most = Duration::from_millis(if end.is_some() { 1000 } else { 20 });
            let most = left.map_or(most, |left| left.min(most));
            let most = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_nanos()) };
            let mut fds = vec![PollFd::new(asker, PollFlags::IN)];
            fds.extend(self.out.from.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            fds.extend(self.err.from.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            fds.extend(end.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            let _ = poll(&mut fds, Some(&most));
            self.out.drain();
            self.err.drain();
        }
    }

    /// The command is over; what it left running keeps running, but we read no more of it.
    fn finish(mut self, status: std::process::ExitStatus) -> Result<ExecResult, RuntimeError> {
        self.out.drain();
        self.err.drain();
        self.report.drain();
        let refused = self.report.output.finish();
        if !refused.is_empty() {
            let message = format!("command[0]: {}", String::from_utf8_lossy(&refused));
            return Err(RuntimeError::Rejected { message });
        }
        // as a shell says it: 128 and the signal
        let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(-1);
        Ok(ExecResult { code, stdout: self.out.output.finish(), stderr: self.err.output.finish() })
    }

    fn kill(&mut self) {
        if let Some(root) = self.process {
            for stat in process::families(&process::scan(), &[root]).into_values().flatten() {
                Process { pid: stat.pid, start: stat.start }.signal(Signal::KILL);
            }
        }
        // it is our child and was killed, so this ends at once
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The other end is only ever closed, never written to.
fn asker_left(asker: &UnixStream) -> bool {
    let mut fds = [PollFd::new(asker, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
}
