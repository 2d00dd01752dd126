//! The writer thread: the only part of the console that ever waits for the terminal. It takes the latest frame from a
//! one-slot mailbox, turns what changed since the frame that it wrote itself into bytes, and writes them at one go.
//!
//! It never draws and never reads a key; a stalled terminal (Ctrl-S, slow ssh) stalls this thread and nothing else. Behind
//! a slow terminal a frame is held until the bytes before it are through (`drain`), so that the newest one is seen.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use tokio::sync::Notify;

use self::drain::{Drain, SLOW};
use self::encode::Encoder;
use self::tape::Tape;

mod drain;
pub mod encode;
mod scroll;
pub(crate) mod sgr;
pub mod tape;

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

/// What the writer has done since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Frames that changed anything, and those that a newer one replaced before they were written.
    pub frames: u64,
    pub replaced: u64,
    pub bytes: u64,
    /// Of the last write: its bytes, and how long the terminal took them.
    pub last_bytes: u64,
    pub last: Duration,
}

/// How the writer does; read by the console between frames.
#[derive(Debug)]
pub struct Pace {
    halvings: AtomicU8,
    began: Instant,
    /// Microseconds after `began` when the write under way was begun, and one; 0 while there is none.
    busy: AtomicU64,
    frames: AtomicU64,
    replaced: AtomicU64,
    bytes: AtomicU64,
    last_bytes: AtomicU64,
    last_micros: AtomicU64,
    gone: AtomicBool,
    /// Woken once, when the terminal is gone.
    lost: Notify,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            halvings: AtomicU8::new(0),
            began: Instant::now(),
            busy: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last_bytes: AtomicU64::new(0),
            last_micros: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            lost: Notify::new(),
        }
    }
}

impl Pace {
    /// How often the frame rate should be halved for this terminal: what its writes were like, and how long the one under
    /// way has been waiting.
    pub fn halvings(&self) -> u8 {
        let waiting = match self.busy.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.began.elapsed().saturating_sub(Duration::from_micros(since)),
        };
        let doublings = (0..MOST_HALVINGS).filter(|n| waiting > SLOW * (1 << n)).count();
        let now = u8::try_from(doublings).unwrap_or(MOST_HALVINGS);
        self.halvings.load(Ordering::Relaxed).max(now)
    }

    pub fn figures(&self) -> Figures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Figures {
            frames: read(&self.frames),
            replaced: read(&self.replaced),
            bytes: read(&self.bytes),
            last_bytes: read(&self.last_bytes),
            last: Duration::from_micros(read(&self.last_micros)),
        }
    }

    fn begins(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_micros();
        self.busy.store(u64::try_from(since).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    fn ends(&self, bytes: usize, took: Duration) {
        self.busy.store(0, Ordering::Relaxed);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_bytes.store(bytes, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.last_micros.store(micros, Ordering::Relaxed);
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
    tape: Arc<Mutex<Tape>>,
}

impl Writer {
    /// Starts the thread that owns `out`; `greeting` is written first.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start<W: Write + Send + 'static>(out: W, greeting: Vec<u8>) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let pace = Arc::new(Pace::default());
        let tape = Arc::<Mutex<Tape>>::default();
        let writer = Self { mailbox: mailbox.clone(), pace: pace.clone(), tape: tape.clone() };
        std::thread::Builder::new().name("console-writer".into()).spawn(move || {
            let thread = Thread { out, mailbox: mailbox.clone(), pace: pace.clone(), tape };
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

    /// What was written lately.
    pub fn tape(&self) -> Tape {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hands over a frame; one not yet begun is replaced. Returns a buffer to draw the next one into.
    pub fn post(&self, frame: Frame) -> Buffer {
        let mut slot = self.mailbox.lock();
        let replaced = slot.frame.replace(frame).map(|frame| frame.buffer);
        if replaced.is_some() {
            self.pace.replaced.fetch_add(1, Ordering::Relaxed);
        }
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
    tape: Arc<Mutex<Tape>>,
}

impl<W: Write> Thread<W> {
    fn run(mut self, greeting: Vec<u8>) -> io::Result<()> {
        let mut encoder = Encoder::default();
        let mut bytes = greeting;
        bytes.reserve(64 * 1024);
        let mut quick = 0;
        let mut drain = Drain::default();
        loop {
            if !bytes.is_empty() {
                let begin = Instant::now();
                self.pace.begins(begin);
                self.out.write_all(&bytes)?;
                self.out.flush()?;
                let end = Instant::now();
                self.pace.ends(bytes.len(), end - begin);
                self.pace.drained(end - begin, &mut quick);
                drain.wrote(bytes.len(), begin, end);
                if let Some(shown) = encoder.shown() {
                    let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
                    tape.wrote(end, &bytes, shown);
                }
                bytes.clear();
            }
            let Some(frame) = self.next(&drain, &mut encoder, &mut bytes) else {
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
    fn next(
        &self,
        drain: &Drain,
        encoder: &mut Encoder,
        bytes: &mut Vec<u8>,
    ) -> Option<Option<Frame>> {
        let mut slot = self
            .mailbox
            .changed
            .wait_while(self.mailbox.lock(), |slot| {
                slot.frame.is_none() && slot.orders.is_empty() && slot.farewell.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        let hold = drain.hold(Instant::now());
        if !hold.is_zero() {
            // newer frames take the place of this one meanwhile
            slot = self
                .mailbox
                .changed
                .wait_timeout_while(slot, hold, |slot| slot.farewell.is_none())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
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
    fn a_write_that_waits_slows_the_frames_before_it_comes_back() {
        let (writer, let_through, written) = gate();
        let deadline = Instant::now() + Duration::from_secs(20);
        while writer.pace().halvings() < MOST_HALVINGS {
            assert!(Instant::now() < deadline, "the write under way has waited for long");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        drop(writer.post(frame("old")));
        drop(writer.post(frame("new")));
        assert_eq!(writer.pace().figures().replaced, 1);
        drop(let_through);
        drop(written);
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
