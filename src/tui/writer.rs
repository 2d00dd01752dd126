//! The writer thread: the only part of the console that ever waits for the terminal. It takes the latest frame from a
//! one-slot mailbox, turns what changed since the frame that it wrote itself into bytes, and writes them at one go.
//!
//! It never draws and never reads a key; a stalled terminal (Ctrl-S, slow ssh) stalls this thread and nothing else.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use tokio::sync::Notify;

use self::encode::Encoder;

pub mod encode;
mod scroll;
pub(crate) mod sgr;

/// A frame that takes longer than this to drain halves the rate.
const SLOW: Duration = Duration::from_millis(50);
/// After so many quick frames in a row the rate doubles again.
const RECOVERED: u8 = 8;
/// Four halvings of 33 ms are the floor of two frames a second; one more serves SSH no purpose.
const MOST_HALVINGS: u8 = 4;

/// One finished picture.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub buffer: Buffer,
    /// Where the cursor shows; `None` hides it.
    pub cursor: Option<Position>,
}

/// How the writer does; read by the console between frames.
#[derive(Debug, Default)]
pub struct Pace {
    halvings: AtomicU8,
    gone: AtomicBool,
    /// Woken once, when the terminal is gone.
    lost: Notify,
}

impl Pace {
    /// How often the frame rate should be halved for this terminal.
    pub fn halvings(&self) -> u8 {
        self.halvings.load(Ordering::Relaxed)
    }

    /// Returns when the terminal is gone: a write failed (EPIPE, EIO, hang-up).
    pub async fn lost(&self) {
        let notified = self.lost.notified();
        if !self.gone.load(Ordering::Acquire) {
            notified.await;
        }
    }

    fn drained(&self, took: Duration, quick: &mut u8) {
        let halvings = self.halvings();
        if took > SLOW {
            *quick = 0;
            self.halvings.store((halvings + 1).min(MOST_HALVINGS), Ordering::Relaxed);
        } else if halvings > 0 {
            *quick += 1;
            if *quick >= RECOVERED {
                *quick = 0;
                self.halvings.store(halvings - 1, Ordering::Relaxed);
            }
        }
    }

    fn give_up(&self) {
        self.gone.store(true, Ordering::Release);
        self.lost.notify_waiters();
        self.lost.notify_one();
    }
}

/// What waits for the thread. Everything in it is bounded: one frame, and bytes of rare, small orders.
#[derive(Debug, Default)]
struct Slot {
    frame: Option<Frame>,
    spare: Option<Buffer>,
    /// Bytes that belong before the next frame: the clipboard, the bell.
    orders: Vec<u8>,
    repaint: bool,
    synchronized: Option<bool>,
    farewell: Option<Vec<u8>>,
    finished: bool,
}

#[derive(Debug, Default)]
struct Mailbox {
    slot: Mutex<Slot>,
    changed: Condvar,
}

impl Mailbox {
    /// A panic while the lock was held left plain data behind: it is still good for restoring the screen.
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The console's end of the mailbox. Clones share it.
#[derive(Debug, Clone)]
pub struct Writer {
    mailbox: Arc<Mailbox>,
    pace: Arc<Pace>,
}

impl Writer {
    /// Starts the thread that owns `out`; `greeting` is written first.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start<W: Write + Send + 'static>(out: W, greeting: Vec<u8>) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let pace = Arc::new(Pace::default());
        let writer = Self { mailbox: mailbox.clone(), pace: pace.clone() };
        std::thread::Builder::new().name("console-writer".into()).spawn(move || {
            let thread = Thread { out, mailbox: mailbox.clone(), pace: pace.clone() };
            if thread.run(greeting).is_err() {
                pace.give_up();
            }
            mailbox.lock().finished = true;
            mailbox.changed.notify_all();
        })?;
        Ok(writer)
    }

    pub fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    /// Hands over a frame; one not yet begun is replaced. Returns a buffer to draw the next one into.
    pub fn post(&self, frame: Frame) -> Buffer {
        let mut slot = self.mailbox.lock();
        let replaced = slot.frame.replace(frame).map(|frame| frame.buffer);
        let spare = replaced.or_else(|| slot.spare.take()).unwrap_or_default();
        drop(slot);
        self.mailbox.changed.notify_all();
        spare
    }

    /// Sends bytes that are no picture, such as an OSC 52; the caller vouches for them.
    pub fn order(&self, bytes: &[u8]) {
        self.mailbox.lock().orders.extend_from_slice(bytes);
        self.mailbox.changed.notify_all();
    }

    /// Forgets what is on the screen: the next frame is painted in full.
    pub fn repaint(&self) {
        self.mailbox.lock().repaint = true;
    }

    /// Wraps each frame in a synchronized update from now on, or no longer does.
    pub fn synchronize(&self, on: bool) {
        self.mailbox.lock().synchronized = Some(on);
    }

    /// Asks the thread to write `farewell` and end, and waits at most `patience` for it.
    ///
    /// Returns whether it did. May be called twice; the second call has nothing to say and only waits.
    pub fn finish(&self, farewell: &[u8], patience: Duration) -> bool {
        let mut slot = self.mailbox.lock();
        if slot.farewell.is_none() {
            slot.farewell = Some(farewell.to_vec());
            self.mailbox.changed.notify_all();
        }
        let (slot, _) = self
            .mailbox
            .changed
            .wait_timeout_while(slot, patience, |slot| !slot.finished)
            .unwrap_or_else(PoisonError::into_inner);
        slot.finished
    }
}

struct Thread<W> {
    out: W,
    mailbox: Arc<Mailbox>,
    pace: Arc<Pace>,
}

impl<W: Write> Thread<W> {
    fn run(mut self, greeting: Vec<u8>) -> io::Result<()> {
        let mut encoder = Encoder::default();
        let mut bytes = greeting;
        bytes.reserve(64 * 1024);
        let mut quick = 0;
        loop {
            if !bytes.is_empty() {
                let begin = Instant::now();
                self.out.write_all(&bytes)?;
                self.out.flush()?;
                self.pace.drained(begin.elapsed(), &mut quick);
                bytes.clear();
            }
            let Some(frame) = self.next(&mut encoder, &mut bytes) else {
                self.out.write_all(&bytes)?;
                return self.out.flush();
            };
            if let Some(frame) = frame
                && let Some(spare) = encoder.frame(frame, &mut bytes)
            {
                self.mailbox.lock().spare = Some(spare);
            }
        }
    }

    /// Waits for something to write; `None` once the farewell is in `bytes`.
    fn next(&self, encoder: &mut Encoder, bytes: &mut Vec<u8>) -> Option<Option<Frame>> {
        let mut slot = self
            .mailbox
            .changed
            .wait_while(self.mailbox.lock(), |slot| {
                slot.frame.is_none() && slot.orders.is_empty() && slot.farewell.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        bytes.append(&mut slot.orders);
        if let Some(on) = slot.synchronized.take() {
            encoder.synchronized = on;
        }
        if std::mem::take(&mut slot.repaint) {
            encoder.forget();
        }
        if let Some(farewell) = &slot.farewell {
            bytes.extend_from_slice(farewell);
            return None;
        }
        Some(slot.frame.take())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use ratatui::layout::Rect;

    use super::*;

    /// A terminal that takes a write only when the test lets it.
    struct Gate {
        open: mpsc::Receiver<()>,
        seen: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.seen.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Writer, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
        let (let_through, open) = mpsc::channel();
        let (seen, written) = mpsc::channel();
        let writer = Writer::start(Gate { open, seen }, b"hello".to_vec()).unwrap();
        (writer, let_through, written)
    }

    fn frame(text: &str) -> Frame {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 10, 1));
        buffer.set_string(0, 0, text, ratatui::style::Style::new());
        Frame { buffer, cursor: None }
    }

    #[test]
    fn a_stalled_terminal_gets_only_the_latest_frame_and_each_in_one_write() {
        let (writer, let_through, written) = gate();
        for n in 0..100 {
            drop(writer.post(frame(&format!("frame {n}"))));
        }
        let_through.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), b"hello");
        let_through.send(()).unwrap();
        let bytes = String::from_utf8(written.recv().unwrap()).unwrap();
        assert!(bytes.contains("frame 99") && !bytes.contains("frame 98"), "{bytes:?}");
        let_through.send(()).unwrap();
        assert!(writer.finish(b"bye", Duration::from_secs(5)));
        assert_eq!(written.recv().unwrap(), b"bye", "nothing was left to write but the farewell");
    }

    #[test]
    fn leaving_gives_up_on_a_terminal_that_takes_nothing() {
        let (writer, let_through, _written) = gate();
        drop(writer.post(frame("x")));
        assert!(!writer.finish(b"bye", Duration::from_millis(20)));
        drop(let_through);
    }

    #[tokio::test]
    async fn a_terminal_that_is_gone_is_noticed() {
        let (writer, let_through, _written) = gate();
        drop(let_through);
        tokio::time::timeout(Duration::from_secs(5), writer.pace().lost()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), writer.pace().lost()).await.unwrap();
    }

    #[test]
    fn slow_frames_halve_the_rate_and_quick_ones_bring_it_back() {
        let pace = Pace::default();
        let mut quick = 0;
        pace.drained(Duration::from_millis(51), &mut quick);
        pace.drained(Duration::from_millis(900), &mut quick);
        assert_eq!(pace.halvings(), 2);
        for _ in 0..RECOVERED {
            pace.drained(Duration::from_millis(1), &mut quick);
        }
        assert_eq!(pace.halvings(), 1);
        for _ in 0..100 {
            pace.drained(Duration::from_secs(1), &mut quick);
        }
        assert_eq!(pace.halvings(), MOST_HALVINGS);
    }
}
