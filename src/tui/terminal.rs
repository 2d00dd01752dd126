//! The screen guard: takes the terminal (raw mode, alternate screen, bracketed paste) and gives it back on every way
//! out: return, `?`, panic of the console's thread. It draws nothing.
//!
//! A panic of any other thread is no reason to give the screen back, since the supervisor restarts the task; its
//! message goes to the log, because anything printed would land in the middle of a frame.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use ratatui::layout::Size;
use rustix::termios::{OptionalActions, Termios};
use tokio::sync::mpsc;

use super::input::InputThread;
use super::input::parse::Input;
use super::writer::Writer;

/// How long restoring the screen is tried, before a terminal that takes nothing is left as it is.
const PATIENCE: Duration = Duration::from_millis(500);

/// Alternate screen; no wrapping at the last column; cursor hidden; pastes bracketed.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?7l\x1b[?25l\x1b[?2004h";
/// What the terminal can do: background, kitty keys, synchronized updates; DA1 last, since every terminal answers it.
const PROBE: &[u8] = b"\x1b]11;?\x1b\\\x1b[?u\x1b[?2026$p\x1b[c";
/// Asks a terminal with the kitty protocol to tell ESC from the beginning of a sequence.
const KITTY: &[u8] = b"\x1b[>1u";
/// Everything that [`ENTER`], [`KITTY`] and a frame cut short may have set, taken back.
const LEAVE: &[u8] = b"\x1b\\\x1b[?2026l\x1b[<u\x1b[m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What there is to restore, shared with the panic hook.
#[derive(Debug)]
struct Held {
    console: ThreadId,
    writer: Writer,
    /// The terminal's modes before ours.
    before: Termios,
    tty: OwnedFd,
}

/// The one screen that this process may hold.
static HELD: Mutex<Option<Arc<Held>>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The terminal, taken. Dropping it gives the terminal back.
#[derive(Debug)]
pub struct Screen {
    held: Arc<Held>,
    /// Before `input` in the order of dropping: a full queue would keep the thread from stopping.
    inputs: Option<mpsc::Receiver<Input>>,
    input: Option<InputThread>,
}

impl Screen {
    /// Takes the terminal for the calling thread, which from now on is the console's.
    ///
    /// # Errors
    /// When standard input or output is no terminal, or it cannot be set up; it is then left as it was.
    pub fn enter() -> io::Result<Self> {
        let (held, inputs, input) = take()?;
        Ok(Self { held, inputs: Some(inputs), input: Some(input) })
    }

    /// Gives the terminal to another program for a while. Returns whether it took what restores its screen.
    pub fn lend(&mut self) -> bool {
        self.inputs = None;
        self.input = None;
        self.held.restore()
    }

    /// Takes the terminal again after [`Screen::lend`].
    ///
    /// # Errors
    /// As [`Screen::enter`].
    pub fn take_back(&mut self) -> io::Result<()> {
        let (held, inputs, input) = take()?;
        (self.held, self.inputs, self.input) = (held, Some(inputs), Some(input));
        Ok(())
    }

    pub fn writer(&self) -> &Writer {
        &self.held.writer
    }

    /// The keys, pastes and answers of the terminal; ends when the terminal is gone.
    pub async fn next_input(&mut self) -> Option<Input> {
        match &mut self.inputs {
            Some(inputs) => inputs.recv().await,
            None => None,
        }
    }

    /// Keys and pastes that wait for the console.
    pub fn waiting(&self) -> usize {
        self.inputs.as_ref().map_or(0, mpsc::Receiver::len)
    }

    /// The terminal's size; 80×24 where it does not know.
    pub fn size(&self) -> Size {
        match rustix::termios::tcgetwinsize(&self.held.tty) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size::new(size.ws_col, size.ws_row),
            Ok(_) | Err(_) => Size::new(80, 24),
        }
    }

    /// Speaks the kitty keyboard protocol from now on, once the terminal has offered it.
    pub fn use_kitty_keys(&self) {
        self.held.writer.order(KITTY);
    }

    /// After the process was stopped and continued, the shell has left the terminal in its own modes.
    pub fn resume(&self) {
        if set_raw(&self.held.tty, &self.held.before).is_ok() {
            self.held.writer.order(ENTER);
            self.held.writer.repaint();
        }
    }
}

/// The terminal in our modes, with a thread that reads it and one that writes it.
fn take() -> io::Result<(Arc<Held>, mpsc::Receiver<Input>, InputThread)> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    if !stdin.is_terminal() || !stdout.is_terminal() {
        return Err(io::Error::other("the console needs a terminal on standard input and output"));
    }
    let tty = stdin.as_fd().try_clone_to_owned()?;
    let out = File::from(stdout.as_fd().try_clone_to_owned()?);
    let before = rustix::termios::tcgetattr(&tty)?;
    install_hook();
    let (input, inputs) = InputThread::start(tty.try_clone()?)?;
    set_raw(&tty, &before)?;
    let greeting = [ENTER, PROBE].concat();
    let writer = match Writer::start(out, greeting) {
        Ok(writer) => writer,
        Err(error) => {
            rustix::termios::tcsetattr(&tty, OptionalActions::Now, &before)?;
            return Err(error);
        }
    };
    let console = std::thread::current().id();
    let held = Arc::new(Held { console, writer, before, tty });
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(held.clone());
    Ok((held, inputs, input))
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.inputs = None;
        self.input = None;
        self.held.restore();
        *HELD.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Held {
    /// Gives the terminal back. May be called twice: after a panic the guard is dropped too.
    /// Returns whether the screen was restored.
    fn restore(&self) -> bool {
        let written = self.writer.finish(LEAVE, PATIENCE);
        if !written {
            tracing::warn!("the terminal took no bytes, so its screen was not restored");
        }
        // Flush: what the terminal still answers must not become input of the shell.
        let flushed = rustix::termios::tcflush(&self.tty, rustix::termios::QueueSelector::IFlush);
        let restored = rustix::termios::tcsetattr(&self.tty, OptionalActions::Now, &self.before);
        if let Err(error) = flushed.and(restored) {
            tracing::warn!(%error, "the terminal's modes were not restored");
        }
        written
    }
}

fn set_raw(tty: &OwnedFd, before: &Termios) -> io::Result<()> {
    let mut raw = before.clone();
    raw.make_raw();
    Ok(rustix::termios::tcsetattr(tty, OptionalActions::Now, &raw)?)
}

/// Wraps the process's panic hook once; without a screen it does nothing of its own.
fn install_hook() {
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match held {
                None => previous(panic),
                Some(held) if held.console == std::thread::current().id() => {
                    held.restore();
                    previous(panic);
                }
                Some(_) => {
                    let thread = std::thread::current();
                    let place = panic.location().map(ToString::to_string).unwrap_or_default();
                    let message = panic.payload_as_str().unwrap_or("no message");
                    let thread = thread.name().unwrap_or("unnamed");
                    tracing::error!(thread, place, message, "a background thread panicked");
                }
            }
        }));
    });
}
