//! The input thread: reads the terminal's bytes, turns them into keys and pastes, and queues those for the console.
//! Key presses only; the queue is bounded (a full one leaves the rest in the terminal's own buffer); mouse reports and
//! late answers of the terminal are never taken for keys. It draws nothing and knows no binding.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use self::parse::{Input, Parser};

pub mod parse;

/// Keys that may wait for the console.
const QUEUE: usize = 256;
/// How long a lone ESC may still become the beginning of a sequence. Terminals write a sequence at once, so that only a
/// packet that ends within one needs this wait; tmux takes the same since 3.5 (`escape-time`).
const ESCAPE_MILLIS: i64 = 10;

/// The thread that reads the terminal; dropping it stops the thread.
#[derive(Debug)]
pub struct InputThread {
    /// Closing it wakes the thread out of its wait.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl InputThread {
    /// Starts reading `from`. The receiver ends when the terminal is gone.
    ///
    /// # Errors
    /// When the system gives no pipe or no thread.
    pub fn start(from: OwnedFd) -> io::Result<(Self, mpsc::Receiver<Input>)> {
        let (inputs, receiver) = mpsc::channel(QUEUE);
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let thread = std::thread::Builder::new()
            .name("console-input".into())
            .spawn(move || read(&from, &stopped, &inputs))?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, receiver))
    }
}

impl Drop for InputThread {
    /// The receiver must be gone by now: a full queue would hold the thread for ever.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn read(from: &OwnedFd, stopped: &OwnedFd, inputs: &mpsc::Sender<Input>) {
    let mut parser = Parser::default();
    let mut parsed = Vec::new();
    let mut bytes = [0; 4096];
    let patience = Timespec { tv_sec: 0, tv_nsec: ESCAPE_MILLIS * 1_000_000 };
    loop {
        let mut wait = [
            PollFd::new(from, PollFlags::IN),
            PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN),
        ];
        match poll(&mut wait, parser.is_waiting().then_some(&patience)) {
            Ok(0) => parser.flush(&mut parsed),
            Ok(_) => {
                if !wait[1].revents().is_empty() {
                    return;
                }
                match rustix::io::read(from, &mut bytes) {
                    Ok(0) => return,
                    Ok(count) => parser.feed(&bytes[..count], &mut parsed),
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Err(_) => return,
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        for input in parsed.drain(..) {
            if inputs.blocking_send(input).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::tui::keys;

    fn key(text: &str) -> Input {
        Input::Key(keys::parse(text).unwrap())
    }

    async fn next(inputs: &mut mpsc::Receiver<Input>) -> Option<Input> {
        timeout(Duration::from_secs(5), inputs.recv()).await.unwrap()
    }

    #[tokio::test]
    async fn keys_arrive_in_order_and_the_end_of_the_terminal_ends_them() {
        let (from, to) = rustix::pipe::pipe().unwrap();
        let (thread, mut inputs) = InputThread::start(from).unwrap();
        rustix::io::write(&to, b"a\x1b[A").unwrap();
        assert_eq!(next(&mut inputs).await, Some(key("a")));
        assert_eq!(next(&mut inputs).await, Some(key("up")));
        rustix::io::write(&to, b"\x1b").unwrap();
        assert_eq!(next(&mut inputs).await, Some(key("esc")), "a lone ESC is a key after a while");
        drop(to);
        assert_eq!(next(&mut inputs).await, None);
        drop(thread);
    }

    #[tokio::test]
    async fn the_thread_stops_while_it_waits_and_while_its_queue_is_full() {
        for typed in [0, 2 * QUEUE] {
            let (from, to) = rustix::pipe::pipe().unwrap();
            let (thread, inputs) = InputThread::start(from).unwrap();
            rustix::io::write(&to, &vec![b'x'; typed]).unwrap();
            drop(inputs);
            drop(thread);
        }
    }
}
