//! A program on a pseudo-terminal beside an agent: same environment, folder, user and limits, a session of its own that is
//! hung up when nobody holds the terminal any more.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::record::{Home, Spec};
use super::{accept, shim};
use crate::ports::runtime::RuntimeError;
use crate::ports::site::{Shell, TerminalSize};

/// Why a terminal cannot be had.
fn no(error: impl Into<io::Error>) -> RuntimeError {
    RuntimeError::Unavailable(Box::new(error.into()))
}

fn winsize(size: TerminalSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Starts `command`. To be called inside the runtime that reads what it writes.
///
/// # Errors
/// - `Rejected`: no such program.
/// - `Unavailable`: there is no terminal to be had, or no process.
pub fn open(
    home: &Home,
    spec: &Spec,
    exe: &Path,
    command: &[String],
    size: TerminalSize,
) -> Result<Shell, RuntimeError> {
    let rejected = |message: String| RuntimeError::Rejected { message };
    let (program, args) =
        command.split_first().ok_or_else(|| rejected("command: is empty".to_owned()))?;
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(rejected("command: holds a zero byte, which no argument can".to_owned()));
    }
    let path = spec.env.get("PATH").map_or(accept::PATH, String::as_str);
    let found = match program.as_str() {
        "cvxc" => exe.to_owned(),
        program => accept::find("command[0]", program, path)?,
    };
    let master =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(no)?;
    grantpt(&master).and_then(|()| unlockpt(&master)).map_err(no)?;
    let name = ptsname(&master, Vec::new()).map_err(no)?;
    rustix::termios::tcsetwinsize(&master, winsize(size)).map_err(no)?;
    rustix::io::ioctl_fionbio(&master, true).map_err(no)?;
    let (report, told) = io::pipe().map_err(no)?;
    let mut starts = Command::new(exe);
    starts
        .arg0("cvxc")
        .arg(shim::VERB)
        .arg("--dir")
        .arg(home.path())
        .arg("--terminal")
        .arg(std::process::id().to_string())
        .arg(OsStr::from_bytes(name.as_bytes()))
        .arg(found)
        .args(args)
        .env_clear()
        .envs(&spec.env)
        .env("TERM", std::env::var_os("TERM").unwrap_or_else(|| "xterm".into()))
        .stdin(Stdio::from(told))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let copy = || master.try_clone().map_err(no);
    let (read, write, sized) = (Terminal::new(copy()?)?, Terminal::new(copy()?)?, copy()?);
    let (ended, end) = oneshot::channel();
    // the program is tied to the thread that started it, so that one waits for its end
    let waits = std::thread::Builder::new().name("agent-terminal".into());
    waits
        .spawn(move || {
            let outcome = starts.spawn().map_err(no).and_then(|child| {
                drop(starts); // and with it our end of the pipe
                wait(child, report)
            });
            drop(ended.send(outcome)); // nobody may be waiting any more
        })
        .map_err(no)?;
    // what is held here must not keep the terminal up once the streams are gone
    drop(master);
    let sized = Arc::new(sized);
    let weak = Arc::downgrade(&sized);
    let resize = move |size: TerminalSize| {
        if let Some(terminal) = weak.upgrade() {
            let _ = rustix::termios::tcsetwinsize(&*terminal, winsize(size)); // a terminal that is gone has no size
        }
    };
    let end = async move {
        let _held = sized; // until the end is known
        end.await
            .unwrap_or_else(|_| Err(RuntimeError::OutcomeUnknown("its end was not told".into())))
    };
    Ok(Shell {
        input: Box::new(write),
        output: Box::new(read),
        resize: Arc::new(resize),
        end: end.boxed(),
    })
}

fn wait(mut child: Child, mut report: io::PipeReader) -> Result<i32, RuntimeError> {
    let mut refused = Vec::new();
    // ends when the program has taken over
    io::Read::read_to_end(&mut report, &mut refused).map_err(no)?;
    let status = child.wait().map_err(no)?;
    if !refused.is_empty() {
        let message = format!("command[0]: {}", String::from_utf8_lossy(&refused));
        return Err(RuntimeError::Rejected { message });
    }
    // as a shell says it: 128 and the signal
    Ok(status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(-1))
}

/// Our end of a pseudo-terminal, or a terminal of our own: read and written without a thread.
#[derive(Debug)]
pub struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    /// `fd` must not block.
    ///
    /// # Errors
    /// When it cannot be waited for.
    fn new(fd: OwnedFd) -> Result<Self, RuntimeError> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe; this descriptor is owned, which is all it asks"
        )]
        let waited_for = AsyncFd::new(fd);
        waited_for.map(Self).map_err(no)
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let read = ready.try_io(|fd| {
                let room = buf.initialize_unfilled();
                rustix::io::read(fd, room).map_err(io::Error::from)
            });
            match read {
                Ok(Ok(count)) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // nobody is left on the other end
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            // what would block is waited for again
            if let Ok(written) =
                ready.try_io(|fd| rustix::io::write(fd, bytes).map_err(io::Error::from))
            {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Takes the terminal `name` for the calling process, which leads a session by now, as its three standard streams.
///
/// # Errors
/// Says what the system refused.
pub(super) fn take(terminal: &File) -> Result<(), String> {
    let said = |what: &'static str| move |error: Errno| format!("{what}: {error}");
    rustix::process::ioctl_tiocsctty(terminal).map_err(said("its terminal"))?;
    rustix::stdio::dup2_stdin(terminal).map_err(said("its standard input"))?;
    rustix::stdio::dup2_stdout(terminal).map_err(said("its standard output"))?;
    rustix::stdio::dup2_stderr(terminal).map_err(said("its standard error"))
}
