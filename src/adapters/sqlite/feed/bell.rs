//! What wakes the feed's thread: a knock of this process, the turn's file, which other processes touch once they have
//! committed, and the log of the database, which programs write that know of no bell.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, Watcher};

use super::super::SqliteOptions;
use super::super::turn::beside;

/// Who rings once it has committed does so well within this time after its last write into the log.
const COMMITTED: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct Knock {
    rung: bool,
    stirred: bool,
    stopped: bool,
    /// How often it was rung.
    times: u64,
}

/// Wakes the feed's thread.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Bell(Arc<(Mutex<Knock>, Condvar)>);

/// Why the thread was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// Somebody has committed.
    Rung,
    /// The log was written, and nobody has said that it was a commit: it may be one by and by.
    Stirred,
    /// Nothing has happened.
    Not,
}

impl Bell {
    pub(in super::super) fn ring(&self) {
        let mut knock = self.knock();
        (knock.rung, knock.times) = (true, knock.times + 1);
        self.0.1.notify_all();
    }

    pub(super) fn stop(&self) {
        self.knock().stopped = true;
        self.0.1.notify_all();
    }

    /// Waits for a knock or for `limit`; none when the thread is to end.
    pub(super) fn wait(&self, limit: Duration) -> Option<Woken> {
        let idle = |knock: &mut Knock| !knock.rung && !knock.stirred && !knock.stopped;
        let (mut knock, _) = self
            .0
            .1
            .wait_timeout_while(self.knock(), limit, idle)
            .unwrap_or_else(PoisonError::into_inner);
        let (rung, stirred) = (knock.rung, knock.stirred);
        (knock.rung, knock.stirred) = (false, false);
        (!knock.stopped).then_some(match (rung, stirred) {
            (true, _) => Woken::Rung,
            (false, true) => Woken::Stirred,
            (false, false) => Woken::Not,
        })
    }

    /// The log was written: stirs the thread if no ring follows, which it does for all that our own processes write.
    fn written(&self) {
        let knock = self.knock();
        let times = knock.times;
        let silent = |knock: &mut Knock| knock.times == times && !knock.stopped;
        let (mut knock, waited) = self
            .0
            .1
            .wait_timeout_while(knock, COMMITTED, silent)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            knock.stirred = true;
            self.0.1.notify_all();
        }
    }

    fn knock(&self) -> MutexGuard<'_, Knock> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two watchers; each has a thread, for one waits at times and the other must never.
#[derive(Debug)]
pub(super) struct Watchers {
    _turn: RecommendedWatcher,
    _log: Option<RecommendedWatcher>,
    /// The log's watcher has told of something: there are systems where one is made and never does.
    told: Arc<AtomicBool>,
}

impl Watchers {
    /// # Errors
    /// When the turn's file cannot be watched.
    pub(super) fn start(options: &SqliteOptions, bell: &Bell) -> notify::Result<Self> {
        let (ring, stir) = (bell.clone(), bell.clone());
        let _turn = watch(&beside(&options.path, "turn"), move || ring.ring())?;
        let told = Arc::new(AtomicBool::new(false));
        let tells = told.clone();
        let log = || {
            watch(&log_of(&options.path), move || {
                tells.store(true, Ordering::Relaxed);
                stir.written();
            })
        };
        let log = options.watch_log.then(log);
        if let Some(Err(error)) = &log {
            tracing::debug!(error = %error, "the store's log cannot be watched; asking more often");
        }
        Ok(Self { _turn, _log: log.and_then(Result::ok), told })
    }

    pub(super) fn log_is_watched(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }
}

fn watch(path: &Path, each: impl Fn() + Send + 'static) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| event.kind.is_modify() || event.need_rescan()) {
            each();
        }
    })?;
    watcher.watch(path, notify::RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// SQLite keeps the log beside the file that a link leads to.
fn log_of(database: &Path) -> PathBuf {
    let real = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let mut name = real.into_os_string();
    name.push("-wal");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn files() -> (tempfile::TempDir, SqliteOptions) {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("a.db"));
        for path in [&options.path, &beside(&options.path, "turn"), &log_of(&options.path)] {
            std::fs::write(path, "").unwrap();
        }
        (dir, options)
    }

    #[test]
    fn a_log_that_somebody_writes_without_ringing_stirs() {
        let (_dir, options) = files();
        let bell = Bell::default();
        let watchers = Watchers::start(&options, &bell).unwrap();
        assert!(!watchers.log_is_watched(), "until it has told of something");
        std::fs::write(log_of(&options.path), "a page").unwrap();
        assert_eq!(bell.wait(LONG), Some(Woken::Stirred));
        assert!(watchers.log_is_watched());
        std::fs::write(beside(&options.path, "turn"), "1").unwrap();
        // one write into the log may have been told as two
        let mut woken = std::iter::repeat_with(|| bell.wait(LONG).unwrap());
        assert_eq!(woken.find(|it| *it != Woken::Stirred), Some(Woken::Rung));
    }

    #[test]
    fn without_a_log_or_by_wish_the_turn_alone_is_watched() {
        let (_dir, options) = files();
        let by_wish = SqliteOptions { watch_log: false, ..options.clone() };
        assert!(!Watchers::start(&by_wish, &Bell::default()).unwrap().log_is_watched());
        std::fs::remove_file(log_of(&options.path)).unwrap();
        let bell = Bell::default();
        let watchers = Watchers::start(&options, &bell).unwrap();
        assert!(!watchers.log_is_watched());
        std::fs::write(beside(&options.path, "turn"), "1").unwrap();
        assert_eq!(bell.wait(LONG), Some(Woken::Rung));
    }

    #[test]
    fn a_bell_that_is_stopped_wakes_everybody() {
        let bell = Bell::default();
        let waiting = bell.clone();
        let waits = std::thread::spawn(move || waiting.wait(LONG));
        bell.stop();
        assert_eq!(waits.join().unwrap(), None);
        bell.written();
        assert_eq!(bell.wait(LONG), None);
    }
}
