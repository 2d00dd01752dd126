//! The one writer: a thread that drains its queue, runs every job inside one transaction, commits, and only then
//! answers. Fifty senders share one flush of the disk; none is answered before its write is there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::ports::clock::Clock;
use crate::ports::store::{Durability, StoreError};

use super::fault::{self, closed, unavailable};
use super::home::Home;
use super::migrate;
use super::read::Lane;
use super::turn::Turnstile;
use super::write::Tx;

/// How many jobs may wait; senders beyond that wait for a place.
const QUEUE: usize = 1_024;
/// How many jobs one commit takes at most.
const BATCH: usize = 256;
/// How long one transaction may take jobs in, so that other processes get their turn.
const SPAN: Duration = Duration::from_millis(10);

/// Something to be done in a transaction. It may be run again when a batch is begun anew.
pub(super) trait Job: Send {
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), StoreError>;
    /// Whether it is one write that SQLite undoes by itself when it fails.
    fn is_single(&self) -> bool;
    fn durability(&self) -> Durability;
    /// Called once, after the commit or instead of it.
    fn done(self: Box<Self>, end: Result<(), StoreError>);
}

struct Task<T, F> {
    run: F,
    single: bool,
    durability: Durability,
    outcome: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.outcome = Some((self.run)(tx)?);
        Ok(())
    }

    fn is_single(&self) -> bool {
        self.single
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn done(self: Box<Self>, end: Result<(), StoreError>) {
        let Self { outcome, answer, .. } = *self;
        let answered =
            end.and_then(|()| outcome.ok_or_else(|| unavailable("the write was not run")));
        drop(answer.send(answered)); // the caller may have gone away; the write stands
    }
}

/// Figures of the writer since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) commits: AtomicU64,
    pub(super) jobs: AtomicU64,
}

/// Queues jobs for the writer's thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    pub(super) figures: Arc<Figures>,
}

impl std::fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Writer {
    /// Starts the thread. `committed` is called after each commit that changed something. The thread ends after the
    /// `others`, whose connections can only read: the last to close the file must be able to put its log away.
    pub(super) fn start(
        lane: Lane,
        turnstile: Turnstile,
        home: Home,
        clock: Arc<dyn Clock>,
        committed: impl Fn() + Send + 'static,
        others: Vec<oneshot::Receiver<()>>,
    ) -> Result<(Self, oneshot::Receiver<()>), StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (ended, end) = oneshot::channel();
        let figures = Arc::<Figures>::default();
        let desk = Desk {
            lane,
            turnstile,
            home,
            clock,
            committed: Box::new(committed),
            flushing: None,
            outdated: AtomicBool::new(false),
            figures: figures.clone(),
        };
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                desk.work(jobs, others);
                drop(ended); // which is what tells the closer
            })
            .map_err(|error| unavailable(format!("no thread for the store's writer: {error}")))?;
        Ok((Self { queue: Mutex::new(Some(queue)), figures }, end))
    }

    /// Runs `run` in a transaction and answers after the commit.
    pub(super) async fn run<T, F>(
        &self,
        durability: Durability,
        single: bool,
        run: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let task = Task { run, single, durability, outcome: None, answer };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queue.ok_or_else(closed)?.send(Box::new(task)).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::OutcomeUnknown("the store's writer ended before it answered".into()))
        })
    }

    /// Takes no more jobs; the thread ends after those that wait.
    pub(super) fn stop(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// What the writer's thread holds.
struct Desk {
    lane: Lane,
    turnstile: Turnstile,
    home: Home,
    clock: Arc<dyn Clock>,
    committed: Box<dyn Fn() + Send>,
    /// What `synchronous` was last set for.
    flushing: Option<Durability>,
    outdated: AtomicBool,
    figures: Arc<Figures>,
}

impl Desk {
    fn work(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>, others: Vec<oneshot::Receiver<()>>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut waiting = vec![first];
            while !waiting.is_empty() {
                while waiting.len() < BATCH
                    && let Ok(job) = jobs.try_recv()
                {
                    waiting.push(job);
                }
                waiting = self.commit(waiting);
            }
        }
        for other in others {
            drop(other.blocking_recv()); // an error, since ending is all that it says
        }
    }

    /// Runs and commits as many of `waiting` as fit into one transaction; returns the others.
    fn commit(&mut self, mut waiting: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        let turnstile = &self.turnstile;
        let turn = match turnstile.take() {
            Ok(turn) => turn,
            Err(error) => {
                all_fail(waiting, &error);
                return Vec::new();
            }
        };
        let durable = waiting.iter().any(|job| job.durability() == Durability::Durable);
        let durability = if durable { Durability::Durable } else { Durability::Relaxed };
        let begun = set_flushing(&self.lane, &mut self.flushing, durability);
        let begun = begun.and_then(|()| self.begin());
        let tx = match begun {
            Ok(tx) => tx,
            Err(error) => {
                all_fail(waiting, &error);
                return Vec::new();
            }
        };
        let start = Instant::now();
        let head = tx.last();
        let mut tried: Vec<(Box<dyn Job>, Result<(), StoreError>)> = Vec::new();
        let mut rest = waiting.split_off(0).into_iter();
        for mut job in rest.by_ref() {
            let end = self.run(&tx, &mut *job);
            if self.lane.connection.is_autocommit() {
                // SQLite gave up the whole transaction (a full or failing disk): this job gets the blame, the others,
                // refused or not, another transaction
                drop(turn);
                job.done(end.and_then(|()| Err(unavailable("SQLite gave the transaction up"))));
                return tried.into_iter().map(|(job, _)| job).chain(rest).collect();
            }
            tried.push((job, end));
            if start.elapsed() > SPAN {
                break;
            }
        }
        let rest = rest.collect();
        let last = tx.last();
        if let Err(error) = self.execute("COMMIT") {
            if !self.lane.connection.is_autocommit() {
                drop(self.execute("ROLLBACK"));
            }
            drop(turn);
            all_fail(tried.into_iter().map(|(job, _)| job), &fault::of_commit(error));
            return rest;
        }
        if last > head {
            turn.ring(last);
        }
        drop(turn);
        self.figures.commits.fetch_add(1, Ordering::Relaxed);
        self.figures.jobs.fetch_add(tried.len() as u64, Ordering::Relaxed);
        if last > head {
            (self.committed)();
        }
        for (job, end) in tried {
            job.done(end);
        }
        rest
    }

    fn begin(&self) -> Result<Tx<'_>, StoreError> {
        if self.outdated.load(Ordering::Relaxed) {
            return Err(migrate::outdated());
        }
        self.home.check()?;
        self.execute("BEGIN IMMEDIATE").map_err(fault::of)?;
        let tx = migrate::still_ours(&self.lane.connection).and_then(|ours| {
            if !ours {
                self.outdated.store(true, Ordering::Relaxed);
                return Err(migrate::outdated());
            }
            Tx::new(&self.lane, self.clock.now())
        });
        if tx.is_err() {
            drop(self.execute("ROLLBACK"));
        }
        tx
    }

    /// Runs one job; what it did is undone when it fails, if need be with the whole transaction.
    fn run(&self, tx: &Tx<'_>, job: &mut dyn Job) -> Result<(), StoreError> {
        if job.is_single() {
            let end = job.run(tx);
            // the row may be in and its change not, when the disk is full or fails
            if end.as_ref().is_err_and(is_the_files) && !self.lane.connection.is_autocommit() {
                drop(self.execute("ROLLBACK"));
            }
            return end;
        }
        self.execute("SAVEPOINT job").map_err(fault::of)?;
        let end = job.run(tx);
        if end.is_err() && !self.lane.connection.is_autocommit() {
            let undone = self.execute("ROLLBACK TO job").and_then(|()| self.execute("RELEASE job"));
            if undone.is_err() && !self.lane.connection.is_autocommit() {
                drop(self.execute("ROLLBACK"));
            }
            return end;
        }
        end.and_then(|()| self.execute("RELEASE job").map_err(fault::of))
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.lane.connection.prepare_cached(sql)?.execute([]).map(drop)
    }
}

/// Sets what a commit flushes, where that differs from the commit before.
fn set_flushing(
    lane: &Lane,
    flushing: &mut Option<Durability>,
    durability: Durability,
) -> Result<(), StoreError> {
    if *flushing == Some(durability) {
        return Ok(());
    }
    let level = match durability {
        Durability::Durable => "FULL",
        Durability::Relaxed => "NORMAL",
    };
    lane.connection.pragma_update(None, "synchronous", level).map_err(fault::of)?;
    *flushing = Some(durability);
    Ok(())
}

/// Whether the error is the file's, not the request's.
fn is_the_files(error: &StoreError) -> bool {
    match error {
        StoreError::NotFound { .. }
        | StoreError::Exists { .. }
        | StoreError::Conflict { .. }
        | StoreError::Invalid { .. } => false,
        StoreError::Denied { .. }
        | StoreError::Unavailable(_)
        | StoreError::OutcomeUnknown(_)
        | StoreError::Corrupt { .. } => true,
    }
}

/// Tells every job the same.
fn all_fail(jobs: impl IntoIterator<Item = Box<dyn Job>>, error: &StoreError) {
    for job in jobs {
        job.done(Err(fault::copy(error)));
    }
}
