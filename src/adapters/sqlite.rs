//! The embedded store: one SQLite file that every process of the fleet opens. It never decides anything: it keeps the
//! promises of `ports::store` and nothing more.
//!
//! One thread writes (`writer`), a few read (`readers`), one follows the changes (`feed`); other processes are met at
//! the lock files (`turn`) and in the file itself.

mod fault;
mod feed;
mod home;
mod migrate;
mod open;
mod order;
mod read;
mod readers;
mod sql;
mod sweep;
#[cfg(test)]
mod tests;
mod turn;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use strum::IntoEnumIterator;
use tokio::sync::oneshot;

use crate::model::filter::{Field, Filter};
use crate::model::schema::{Collection, IndexKind};
use crate::model::time::Time;
use crate::ports::clock::Clock;
use crate::ports::store::{
    Cursor, Document, Durability, Feed, Hop, Key, Page, Query, RawDocument, Rev, Store, StoreError,
    StoreInfo, Tally, Traversal, UpdateWhere, Watch, Write,
};

use fault::invalid;
use home::Home;
use readers::Readers;
use writer::Writer;

/// How long changes are kept for feeds that fell behind.
const CHANGES_KEPT: Duration = Duration::from_secs(3_600);
/// How many documents one transaction of [`Store::maintain`] removes, so that senders wait for none long.
const SWEEP: usize = 300;
/// How many changes it removes: they have no indexes and go faster.
const TRIM: usize = 3_000;
/// How many such transactions one call makes for one collection.
const SWEEPS: usize = 400;

/// Where the store is and how it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    pub path: PathBuf,
    /// Every write is refused, and nothing is made that is not there.
    pub read_only: bool,
    /// The file grows to at most this many pages of 4 KiB.
    pub max_page_count: Option<u32>,
    /// How long a write waits for other processes before it fails.
    pub patience: Duration,
    /// How many threads answer reads: 1 to 32.
    pub readers: usize,
    /// Whether the feed watches the database's log too, and so hears at once of programs that write without ringing.
    /// Else it asks twice a second: agents do, for users have few watchers and each process takes another.
    pub watch_log: bool,
}

impl SqliteOptions {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            read_only: false,
            max_page_count: None,
            patience: Duration::from_secs(10),
            readers: 3,
            watch_log: true,
        }
    }
}

/// A store in one file. Cheap to share; its threads end with [`Store::close`] or with the last owner.
#[derive(Debug)]
pub struct SqliteStore {
    options: SqliteOptions,
    clock: Arc<dyn Clock>,
    readers: Readers,
    /// None when opened for reading only.
    writer: Option<Writer>,
    feed: feed::Hub,
    home: Home,
    ends: Mutex<Vec<oneshot::Receiver<()>>>,
}

impl SqliteStore {
    /// Opens the store, making or bringing forward what is there. Blocks for milliseconds; longer while another process
    /// brings the schema forward.
    ///
    /// # Errors
    /// - `Corrupt`: damaged, newer, or no store of ours; the file was not touched.
    /// - `Denied`: rights are missing, or the folder is on a network file system.
    /// - `Unavailable`: locked, or the disk is full; later may work.
    pub fn open(options: SqliteOptions, clock: Arc<dyn Clock>) -> Result<Arc<Self>, StoreError> {
        let path = options.path.clone();
        Self::start(options, clock).map(Arc::new).map_err(|error| open::named(&path, error))
    }

    fn start(options: SqliteOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let desk = if options.read_only {
            open::read_only(&options)?;
            None
        } else {
            Some(open::writer(&options)?)
        };
        let home = Home::of(&options.path)?;
        let count = options.readers.clamp(1, 32);
        let lanes = (0..count).map(|_| open::reader(&options)).collect::<Result<_, _>>()?;
        let (feed, feed_end) = feed::Hub::start(open::reader(&options)?, &options)?;
        let (readers, mut ends) = Readers::start(lanes)?;
        ends.push(feed_end);
        let mut writer = None;
        if let Some((lane, turnstile)) = desk {
            let bell = feed.bell();
            let ring = move || bell.ring();
            let (started, end) =
                Writer::start(lane, turnstile, home.clone(), clock.clone(), ring, ends)?;
            (writer, ends) = (Some(started), vec![end]);
        }
        Ok(Self { options, clock, readers, writer, feed, home, ends: Mutex::new(ends) })
    }

    /// Writes a consistent copy of the whole store to `to`, replacing it when the copy is complete. The copy is a store of
    /// its own: feeds that were read from this one must list everything again there.
    ///
    /// # Errors
    /// `Unavailable`: the copy could not be written; `to` is as it was.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_owned();
        let options = self.options.clone();
        self.readers
            .ask(move |_| {
                // readers may only query, and copying is not a query to SQLite
                let source = open::source(&options)?;
                migrate::copy_into(&source, &to)?;
                open::rename_store(&to)
            })
            .await
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or_else(|| StoreError::Denied {
            message: format!("{} was opened for reading only", self.options.path.display()),
        })
    }

    fn stop(&self) {
        if let Some(writer) = &self.writer {
            writer.stop();
        }
        self.readers.stop();
        self.feed.stop();
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, collection: Collection, key: &Key) -> Result<Document, StoreError> {
        let key = key.clone();
        self.readers.ask(move |lane| read::get(lane, collection, &key)).await
    }

    async fn get_many(
        &self,
        collection: Collection,
        keys: &[Key],
    ) -> Result<Vec<Document>, StoreError> {
        if keys.len() > 1_000 {
            return Err(invalid(format!("{} keys were asked for: at most 1000", keys.len())));
        }
        let keys = keys.to_vec();
        self.readers.ask(move |lane| read::get_many(lane, collection, &keys)).await
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        self.readers.ask(move |lane| read::query(lane, &query)).await
    }

    async fn count(&self, collection: Collection, filter: Filter) -> Result<u64, StoreError> {
        self.readers.ask(move |lane| read::count(lane, collection, &filter)).await
    }

    async fn tally(
        &self,
        collection: Collection,
        filter: Filter,
        by: &[Field],
        least: Option<&Field>,
    ) -> Result<Vec<Tally>, StoreError> {
        let (by, least) = (by.to_vec(), least.cloned());
        self.readers
            .ask(move |lane| read::tally(lane, collection, &filter, &by, least.as_ref()))
            .await
    }

    async fn revisions(
        &self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Rev)>, StoreError> {
        let after = after.cloned();
        self.readers.ask(move |lane| read::revisions(lane, collection, after.as_ref(), limit)).await
    }

    async fn scan(
        &self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<RawDocument>, StoreError> {
        let after = after.cloned();
        self.readers.ask(move |lane| read::scan(lane, collection, after.as_ref(), limit)).await
    }

    async fn transact(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<Vec<Option<Rev>>, StoreError> {
        let writer = self.writer()?;
        let writes = write::make_ready(writes)?;
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let single = writes.len() == 1;
        let apply = move |tx: &write::Tx<'_>| {
            writes.iter().map(|write| write::apply(tx, write)).collect::<Result<Vec<_>, _>>()
        };
        writer.run(durability, single, apply).await
    }

    async fn update_where(&self, update: UpdateWhere) -> Result<Vec<Document>, StoreError> {
        let writer = self.writer()?;
        write::check_update(&update)?;
        let durability = update.durability;
        writer.run(durability, false, move |tx| write::update(tx, &update)).await
    }

    async fn traverse(&self, traversal: Traversal) -> Result<Vec<Hop>, StoreError> {
        self.readers.ask(move |lane| read::traverse(lane, &traversal)).await
    }

    async fn cursor(&self) -> Result<Cursor, StoreError> {
        self.readers.ask(feed::cursor).await
    }

    async fn changes(&self, since: Cursor, watch: Watch) -> Result<Feed, StoreError> {
        feed::open(&self.feed, &self.readers, since, watch).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let start = self.clock.instant();
        let home = self.home.clone();
        let figures = move |lane: &read::Lane| {
            home.check()?;
            feed::figures(lane)
        };
        let mut details = self.readers.ask(figures).await?;
        let latency = self.clock.instant().saturating_duration_since(start);
        if let Some(writer) = &self.writer {
            let figure = |name: &str, count: &AtomicU64| {
                (name.to_owned(), count.load(Ordering::Relaxed).to_string())
            };
            details.push(figure("commits", &writer.figures.commits));
            details.push(figure("writes", &writer.figures.jobs));
        }
        Ok(StoreInfo {
            kind: "sqlite",
            version: rusqlite::version().to_owned(),
            place: self.options.path.display().to_string(),
            latency,
            details,
        })
    }

    async fn maintain(&self, now: Time) -> Result<(), StoreError> {
        let writer = self.writer()?;
        for collection in Collection::iter() {
            for index in collection.indexes().iter().filter(|i| i.kind == IndexKind::Expiry) {
                clear(writer, SWEEP, move |tx| sweep::expire(tx, collection, index, now, SWEEP))
                    .await?;
            }
        }
        let before = now.minus(CHANGES_KEPT);
        clear(writer, TRIM, move |tx| sweep::trim(tx, before, TRIM)).await
    }

    async fn close(&self) {
        self.stop();
        let ends = std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        for end in ends {
            drop(end.await); // a thread that is gone already has ended
        }
    }
}

/// Runs `step` until it removes less than `full`, a bounded number of times.
async fn clear<F>(writer: &Writer, full: usize, step: F) -> Result<(), StoreError>
where
    F: Fn(&write::Tx<'_>) -> Result<usize, StoreError> + Clone + Send + 'static,
{
    for _ in 0..SWEEPS {
        if writer.run(Durability::Relaxed, false, step.clone()).await? < full {
            break;
        }
    }
    Ok(())
}
