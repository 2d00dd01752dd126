//! Hands the terminal of this process to a program that runs elsewhere, and takes it back however that ends. Bytes go
//! through as they are: what a program on a terminal writes is for that terminal, and whoever asked for it was told whose
//! it is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, QueueSelector, Termios};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::ports::runtime::RuntimeError;
use crate::ports::site::{Shell, TerminalSize};

/// How long the end of a program that writes no more is waited for.
const LAST_WORD: Duration = Duration::from_secs(3);
/// Takes back what a program may have left set: styles, the alternate screen, mouse reports, pasting, a hidden cursor.
const TIDY: &[u8] =
    b"\x1b\\\x1b[m\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?7h\x1b[?25h\r\n";

/// How it came to an end.
#[derive(Debug)]
pub enum Ended {
    /// With this exit code, or it is not known how.
    Program(Result<i32, RuntimeError>),
    /// This process was asked to end, or its terminal is gone.
    HungUp,
}

/// The size of the terminal on standard input; 80×24 where it has none.
pub fn size() -> TerminalSize {
    match rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            TerminalSize { columns: size.ws_col, rows: size.ws_row }
        }
        Ok(_) | Err(_) => TerminalSize { columns: 80, rows: 24 },
    }
}

/// The terminal in raw mode; dropping it puts the modes back.
struct Raw {
    tty: AsyncFd<File>,
    before: Termios,
}

impl Raw {
    fn take() -> io::Result<Self> {
        // opened anew: what must not block here must go on to block for whoever shares our standard input
        let name = rustix::termios::ttyname(rustix::stdio::stdin(), Vec::new())?;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let tty = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(std::ffi::OsStr::new(name.to_string_lossy().as_ref()))?;
        let before = rustix::termios::tcgetattr(&tty)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&tty, OptionalActions::Now, &raw)?;
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe; this descriptor is owned, which is all it asks"
        )]
        let tty = AsyncFd::new(tty)?;
        Ok(Self { tty, before })
    }

    async fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = |tty: &File| Ok(rustix::io::read(tty, &mut *bytes)?);
        self.tty.async_io(Interest::READABLE, read).await
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = |tty: &File| Ok(rustix::io::write(tty, bytes)?);
            let written = self.tty.async_io(Interest::WRITABLE, write).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let tty = self.tty.get_ref();
        // what the terminal still answers to the program must not become our own input
        let _ = rustix::termios::tcflush(tty.as_fd(), QueueSelector::IFlush);
        let _ = rustix::termios::tcsetattr(tty.as_fd(), OptionalActions::Now, &self.before);
    }
}

/// Passes everything between the terminal and `shell` until the program ends, this process is asked to, or the terminal
/// is gone.
///
/// # Errors
/// When the terminal cannot be used.
pub async fn run(shell: Shell) -> io::Result<Ended> {
    let Shell { mut input, mut output, resize, mut end } = shell;
    let mut resized = signal(SignalKind::window_change())?;
    let (mut terminate, mut hang_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let raw = Raw::take()?;
    resize(size());
    let typed = async {
        let mut bytes = [0; 4096];
        loop {
            match raw.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let sent = async {
                        input.write_all(&bytes[..count]).await?;
                        input.flush().await
                    };
                    if sent.await.is_err() {
                        // it reads no more; what it still has to say is read until its end
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    };
    let shown = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            match output.read(&mut bytes).await {
                Ok(0) | Err(_) => return Ok(()),
                Ok(count) => raw.write(&bytes[..count]).await?,
            }
        }
    };
    let sized = async {
        while resized.recv().await.is_some() {
            resize(size());
        }
        std::future::pending::<()>().await;
    };
    tokio::pin!(typed, shown, sized);
    let mut code = None;
    loop {
        let over: io::Result<()> = tokio::select! {
            biased;
            _ = terminate.recv() => return Ok(Ended::HungUp),
            _ = hang_up.recv() => return Ok(Ended::HungUp),
            over = &mut shown => over,
            ended = &mut end, if code.is_none() => {
                code = Some(ended);
                continue; // what it wrote last may still be on its way
            }
            () = &mut typed => return Ok(Ended::HungUp),
            () = &mut sized => continue,
        };
        over?;
        break;
    }
    drop(raw.write(TIDY).await);
    let code = match code {
        Some(code) => code,
        None => timeout(LAST_WORD, end).await.unwrap_or_else(|_| {
            Err(RuntimeError::OutcomeUnknown("it closed its terminal and goes on".into()))
        }),
    };
    Ok(Ended::Program(code))
}
