//! Whose turn it is to write, among all processes on one file.
//!
//! SQLite's own busy handler lets the quick starve the unlucky, so writers queue on two lock files, a gate and the
//! turn itself: who waits for the turn holds the gate, and everybody else queues at the gate. Who has just written must
//! pass the gate again, so nobody can write twice while another waits. Locks end with their process, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::ports::store::StoreError;

use super::fault::unavailable;

/// The two lock files of one store.
#[derive(Debug)]
pub(super) struct Turnstile {
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Debug)]
struct Shared {
    gate: File,
    turn: File,
    state: Mutex<State>,
    moved: Condvar,
}

/// Where the waiting thread, which alone may block on a lock, stands.
#[derive(Debug, Default)]
struct State {
    /// Somebody waits for the turn; else a turn that comes is given back at once.
    wanted: bool,
    waiting: bool,
    answer: Option<io::Result<()>>,
}

/// The right to write, until dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    shared: &'a Shared,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.shared.turn.unlock() {
            tracing::error!(error = %error, "the store's write lock could not be given back");
        }
    }
}

impl Turn<'_> {
    /// Touches the turn's file, which the feeds of other processes watch.
    pub(super) fn ring(&self, seq: i64) {
        // A bell that cannot be rung costs the others up to one poll of latency; it is no reason to fail a commit.
        #[cfg(unix)]
        let rung = std::os::unix::fs::FileExt::write_at(&self.shared.turn, &seq.to_le_bytes(), 0);
        #[cfg(not(unix))]
        let rung = Ok::<_, io::Error>(usize::from(seq == 0));
        drop(rung);
    }
}

impl Turnstile {
    /// Opens (or makes) `<store>.gate` and `<store>.turn`.
    pub(super) fn open(store: &Path, patience: Duration) -> Result<Self, StoreError> {
        let open = |ending: &str| {
            let path = beside(store, ending);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(&path).map_err(|error| StoreError::Denied {
                message: format!("the lock file {} cannot be opened: {error}", path.display()),
            })
        };
        let (gate, turn) = (open("gate")?, open("turn")?);
        let shared = Shared { gate, turn, state: Mutex::default(), moved: Condvar::new() };
        Ok(Self { shared: Arc::new(shared), patience })
    }

    /// Waits for the turn, up to the patience this was opened with.
    ///
    /// # Errors
    /// `Unavailable`: another process held it all the while.
    pub(super) fn take(&self) -> Result<Turn<'_>, StoreError> {
        self.take_with(|shared| {
            let waiter = thread::Builder::new().name("store-lock".into());
            waiter.spawn(move || shared.wait()).map(drop)
        })
    }

    /// `send` gets somebody to wait for the turn.
    fn take_with(
        &self,
        send: impl FnOnce(Arc<Shared>) -> io::Result<()>,
    ) -> Result<Turn<'_>, StoreError> {
        let shared = &*self.shared;
        let mut state = shared.state();
        if !state.waiting {
            if shared.try_take().map_err(|error| failed(&error))? {
                return Ok(Turn { shared });
            }
            send(self.shared.clone()).map_err(|error| failed(&error))?;
            // only now: where nobody could be sent, nobody waits
            state.waiting = true;
        }
        state.wanted = true;
        let until = |state: &mut State| state.answer.is_none();
        let (mut state, _) = shared
            .moved
            .wait_timeout_while(state, self.patience, until)
            .unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        match state.answer.take() {
            Some(Ok(())) => Ok(Turn { shared }),
            Some(Err(error)) => Err(failed(&error)),
            None => Err(unavailable(format!(
                "another process has held the store's write lock for {:?}; nothing was written",
                self.patience
            ))),
        }
    }
}

fn failed(error: &io::Error) -> StoreError {
    unavailable(format!("the store's write lock cannot be taken: {error}"))
}

/// `fleet.db` and `turn` give `fleet.db.turn`.
pub(super) fn beside(store: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn if nobody has it or waits for it.
    fn try_take(&self) -> io::Result<bool> {
        let free = |taken| match taken {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        };
        if !free(self.gate.try_lock())? {
            return Ok(false);
        }
        let taken = free(self.turn.try_lock());
        self.gate.unlock()?;
        taken
    }

    /// Blocks until the turn comes and hands it over, or back when nobody wants it any more.
    fn wait(&self) {
        let taken = self.gate.lock().and_then(|()| {
            let taken = self.turn.lock();
            self.gate.unlock().and(taken)
        });
        let mut state = self.state();
        state.waiting = false;
        if state.wanted {
            state.answer = Some(taken);
            self.moved.notify_one();
        } else if taken.is_ok()
            && let Err(error) = self.turn.unlock()
        {
            tracing::error!(error = %error, "the store's write lock is stuck");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_could_be_sent_to_wait_the_next_write_waits_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("fleet.db");
        let open = || Turnstile::open(&store, Duration::from_secs(5)).unwrap();
        let (other, mine) = (open(), open());
        let theirs = other.take().unwrap();
        let refused = mine.take_with(|_| Err(io::Error::other("no more threads")));
        assert!(refused.unwrap_err().to_string().contains("not available"));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| mine.take().map(drop));
            drop(theirs);
            waiting.join().unwrap().unwrap();
        });
        mine.take().unwrap();
    }
}
