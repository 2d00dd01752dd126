//! The last step before an agent's own program: a process of ours takes the agent's place (session, limits, user), then
//! becomes the agent. So limits fall on the agent alone, and its process id is known before it runs.
//!
//! Its standard input is a pipe to the shim: what is written there is why the program could not be started; nothing and
//! the end mean that it was.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid};

use super::record::{Home, Spec};
use super::terminal;

/// Open files an agent may have, unless this process itself may have fewer.
const FILES: u64 = 8192;

pub const NOT_STARTED: u8 = 127;

/// Becomes the agent of `home`. Comes back only when that failed.
pub fn launch(home: &Home, parent: u32) -> ExitCode {
    become_program(home, parent, None, |spec| {
        let mut command = Command::new(&spec.program);
        command.arg0(&spec.arg0).args(&spec.args);
        command
    })
}

/// Becomes a command beside the agent of `home`. Comes back only when that failed.
pub fn exec(home: &Home, parent: u32, program: &OsStr, args: &[OsString]) -> ExitCode {
    become_program(home, parent, None, |_| {
        let mut command = Command::new(program);
        command.args(args);
        command
    })
}

/// Becomes a command beside the agent of `home`, on a terminal of its own. Comes back only when that failed.
pub fn on_terminal(
    home: &Home,
    parent: u32,
    terminal: &Path,
    (program, args): (&OsStr, &[OsString]),
) -> ExitCode {
    become_program(home, parent, Some(terminal), |_| {
        let mut command = Command::new(program);
        command.args(args);
        command
    })
}

fn become_program(
    home: &Home,
    parent: u32,
    terminal: Option<&Path>,
    what: impl Fn(&Spec) -> Command,
) -> ExitCode {
    // a copy that closes when the program starts; the program itself gets an empty standard input
    let report = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map(File::from);
    let message = match prepare(home, parent, terminal) {
        Ok(spec) => {
            let mut command = what(&spec);
            let kind = std::env::var_os("TERM").filter(|_| terminal.is_some());
            command.env_clear().envs(&spec.env).envs(kind.map(|kind| ("TERM", kind)));
            let error = command.exec();
            format!("{} could not be started: {error}", command.get_program().display())
        }
        Err(message) => message,
    };
    if let Ok(mut report) = report {
        drop(report.write_all(message.as_bytes())); // the parent also sees the exit code
    }
    ExitCode::from(NOT_STARTED)
}

fn prepare(home: &Home, parent: u32, terminal: Option<&Path>) -> Result<Spec, String> {
    let spec = home.spec().ok_or("what shall run cannot be read")?;
    let said = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    let null = File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    rustix::stdio::dup2_stdin(null).map_err(said("its standard input"))?;
    rustix::process::setsid().map_err(said("a session of its own"))?;
    if let Some(path) = terminal {
        // while we still may: it is the operator's
        let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
        let opened = File::options().read(true).write(true).custom_flags(flags).open(path);
        terminal::take(&opened.map_err(|error| format!("its terminal: {error}"))?)?;
    }
    // while we still may: another user cannot pass through the operator's folders
    std::env::set_current_dir(home.work()).map_err(|error| format!("its work folder: {error}"))?;
    limit(&spec)?;
    become_user(&spec)?;
    // changing the user takes this back, so it comes after
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(said("the tie to its parent"))?;
    if Pid::as_raw(rustix::process::getppid()) != i32::try_from(parent).unwrap_or(0) {
        return Err("its parent ended before it could start".to_owned());
    }
    Ok(spec)
}

/// Memory is limited by `RLIMIT_DATA`: private writable memory, touched or not. `RLIMIT_AS` would count mapped files and
/// the reserved address space of every thread's heap, which fails programs far below their limit.
/// A processor limit has no such means without control groups: it is what health and autoscaling judge usage against.
fn limit(spec: &Spec) -> Result<(), String> {
    let set = |resource: Resource, value: u64, what: &str| {
        let most = rustix::process::getrlimit(resource).maximum;
        let value = Some(most.map_or(value, |most| value.min(most)));
        rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
            .map_err(|error| format!("the limit on {what} could not be set: {error}"))
    };
    if let Some(bytes) = spec.memory {
        set(Resource::Data, bytes, "memory")?;
    }
    set(Resource::Core, 0, "core dumps")?;
    set(Resource::Nofile, FILES, "open files")?;
    // when the machine runs out of memory, an agent goes before the engine and the shims; a wish, not a must
    drop(fs::write("/proc/self/oom_score_adj", "500"));
    Ok(())
}

/// This process has one thread, so what is set for the thread is set for the process. Without a group, the one with the
/// user's own number, so that nothing of the operator's groups is kept.
fn become_user(spec: &Spec) -> Result<(), String> {
    let Some(group) = spec.group.or(spec.user) else { return Ok(()) };
    let no = |error: rustix::io::Errno| format!("its user could not be set: {error}");
    std::os::unix::fs::chown(".", spec.user, Some(group))
        .map_err(|error| format!("its work folder could not be given to it: {error}"))?;
    let group = Gid::from_raw(group);
    rustix::thread::set_thread_groups(&[group]).map_err(no)?;
    rustix::thread::set_thread_res_gid(group, group, group).map_err(no)?;
    if let Some(user) = spec.user.map(Uid::from_raw) {
        rustix::thread::set_thread_res_uid(user, user, user).map_err(no)?;
    }
    Ok(())
}
