//! The feed of changes. Every write leaves a row in `changes`; one thread notices new rows, from this process by a
//! knock, from others by watching the turn's file and the database's log, and hands them to all readers.
//!
//! A reader that is slow, or new, reads from the table itself until it has caught up: nothing is lost and nothing piles
//! up, and a reader that comes back after its changes were removed is told to list everything again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use rusqlite::types::Value as Bound;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};

use crate::model::schema::Collection;
use crate::ports::store::{Change, Cursor, Document, Feed, Key, StoreError, Watch};

use super::SqliteOptions;
use super::fault::{self, closed, invalid, unavailable};
use super::read::{self, Lane, known_key, revision};
use super::readers::Readers;
use super::sql::Sql;
use super::write::Op;

mod bell;

pub(super) use bell::Bell;
use bell::{Watchers, Woken};

/// How many batches wait for a reader before it has to read from the table.
const BATCHES: usize = 64;
/// How many rows are read at a time.
const ROWS: usize = 1_000;
/// How often SQLite is asked whether anything was written, should nothing knock: what a watcher has missed.
const POLL_SELDOM: Duration = Duration::from_secs(5);
/// A log that was written and shows no commit is looked at again after this, then after four times as long, and so on.
const AGAIN: Duration = Duration::from_millis(50);
/// As [`POLL_SELDOM`] where the log cannot be watched, and so the latency of programs that write without ringing, which
/// ours do not.
const POLL: Duration = Duration::from_millis(500);
/// The same where the bell's file cannot be watched.
const POLL_ALONE: Duration = Duration::from_millis(50);
/// While nobody listens.
const FOR_EVER: Duration = Duration::from_secs(24 * 3_600);
/// After so many failed reads in a row the readers are told.
const FAILURES: u32 = 20;

/// One row of `changes`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    seq: i64,
    collection: Collection,
    key: Key,
    op: Op,
    topic: Option<Arc<str>>,
}

/// What the feed's thread hands out.
#[derive(Debug, Clone)]
enum News {
    /// All rows after `after`, up to `last`.
    Rows {
        after: i64,
        last: i64,
        rows: Arc<[Row]>,
    },
    Failed(Arc<str>),
}

/// The feed of one open store.
#[derive(Debug)]
pub(super) struct Hub {
    bell: Bell,
    news: broadcast::WeakSender<News>,
    store: Arc<str>,
}

impl Hub {
    /// Starts the thread.
    pub(super) fn start(
        lane: Lane,
        options: &SqliteOptions,
    ) -> Result<(Self, oneshot::Receiver<()>), StoreError> {
        let store: Arc<str> = meta(&lane, "store_id")?.into();
        let (news, _) = broadcast::channel(BATCHES);
        let (ended, end) = oneshot::channel();
        let hub = Self { bell: Bell::default(), news: news.downgrade(), store };
        let (bell, options) = (hub.bell.clone(), options.clone());
        std::thread::Builder::new()
            .name("store-feed".into())
            .spawn(move || {
                follow(&lane, &bell, &news, &options);
                drop((news, lane));
                drop(ended); // which is what tells the closer
            })
            .map_err(|error| unavailable(format!("no thread for the store's feed: {error}")))?;
        Ok((hub, end))
    }

    pub(super) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    pub(super) fn stop(&self) {
        self.bell.stop();
    }
}

/// Hands out new rows until the bell is stopped. While nobody listens it only waits for the knock of who begins to.
fn follow(lane: &Lane, bell: &Bell, news: &broadcast::Sender<News>, options: &SqliteOptions) {
    let mut place = Place::default();
    let mut watchers = None;
    let mut failures = 0;
    // while the log was written and no commit seen: the next look
    let mut again = None;
    loop {
        let listened = news.receiver_count() > 0;
        if listened && watchers.is_none() {
            let begun = Watchers::start(options, bell);
            if let Err(error) = &begun {
                tracing::debug!(error = %error, "the store's bell cannot be watched; asking more often");
            }
            watchers = Some(begun);
        }
        let limit = match &watchers {
            _ if !listened => FOR_EVER,
            Some(Ok(watchers)) if watchers.log_is_watched() => again.unwrap_or(POLL_SELDOM),
            Some(Ok(_)) => POLL,
            Some(Err(_)) | None => POLL_ALONE,
        };
        let Some(woken) = bell.wait(limit) else { return };
        match hand_out(lane, news, &mut place) {
            Ok(came) => {
                failures = 0;
                again = match (woken, again) {
                    _ if came => None,
                    (Woken::Stirred, _) => Some(AGAIN),
                    (Woken::Rung | Woken::Not, Some(last)) => Some(last * 4),
                    (Woken::Rung | Woken::Not, None) => None,
                }
                .filter(|next| *next < POLL_SELDOM);
            }
            Err(error) => {
                failures += 1;
                place.version = None; // whatever was read, look again
                again = Some(POLL);
                let error = crate::ports::store::chain(&error);
                tracing::warn!(error, "the store's feed could not be read");
                if failures >= FAILURES {
                    drop(news.send(News::Failed(error.into())));
                    failures = 0;
                }
            }
        }
    }
}

/// Where the thread stands.
#[derive(Debug, Default)]
struct Place {
    /// The last row that was handed out; none while nobody listens.
    last: Option<i64>,
    /// What SQLite called the state of the file then.
    version: Option<i64>,
}

/// Says whether anything was written since it was last asked.
fn hand_out(
    lane: &Lane,
    news: &broadcast::Sender<News>,
    place: &mut Place,
) -> Result<bool, StoreError> {
    if news.receiver_count() == 0 {
        *place = Place::default();
        return Ok(false);
    }
    let mut statement = lane.connection.prepare_cached("PRAGMA data_version").map_err(fault::of)?;
    let version: i64 = statement.query_row([], |row| row.get(0)).map_err(fault::of)?;
    let mut last = match place.last {
        Some(_) if place.version == Some(version) => return Ok(false),
        Some(last) => last,
        None => {
            // From here on there is news. Who stands before this place hears so, and reads up to it from the table.
            let head = read::head(&lane.connection)?;
            drop(news.send(News::Rows { after: head, last: head, rows: Arc::new([]) }));
            head
        }
    };
    loop {
        let slice = rows(lane, last)?;
        if slice.last > last {
            let rows = slice.rows.into();
            drop(news.send(News::Rows { after: last, last: slice.last, rows }));
            last = slice.last;
        }
        place.last = Some(last);
        if !slice.more {
            break;
        }
    }
    place.version = Some(version);
    Ok(true)
}

/// A run of rows.
struct Slice {
    rows: Vec<Row>,
    /// The number of the last row, also if it was left out.
    last: i64,
    more: bool,
}

/// Some rows after `after`. Those of collections that only a newer program knows are left out.
fn rows(lane: &Lane, after: i64) -> Result<Slice, StoreError> {
    let mut sql = Sql::new("SELECT seq,collection,key,op,topic FROM changes WHERE seq>");
    sql.bind(Bound::Integer(after));
    sql.push(&format!(" ORDER BY seq LIMIT {ROWS}"));
    let mut last = after;
    let found = lane.rows(&sql, |row| {
        last = row.get(0).map_err(fault::of)?;
        let collection: String = row.get(1).map_err(fault::of)?;
        let key: String = row.get(2).map_err(fault::of)?;
        let op: i64 = row.get(3).map_err(fault::of)?;
        let topic: Option<String> = row.get(4).map_err(fault::of)?;
        let Ok(collection) = collection.parse() else { return Ok(None) };
        let op = if op == Op::Removed as i64 { Op::Removed } else { Op::Put };
        let topic = topic.map(Into::into);
        Ok(Some(Row { seq: last, collection, key: known_key(&key)?, op, topic }))
    })?;
    let more = found.len() == ROWS;
    Ok(Slice { rows: found.into_iter().flatten().collect(), last, more })
}

fn meta(lane: &Lane, name: &str) -> Result<String, StoreError> {
    let mut sql = Sql::new("SELECT value FROM meta WHERE name=");
    sql.bind(Bound::Text(name.to_owned()));
    let found = lane.rows(&sql, |row| row.get(0).map_err(fault::of))?.pop();
    found.ok_or_else(|| StoreError::Corrupt {
        message: format!("the store's file is damaged: it does not say its {name}"),
    })
}

fn floor(lane: &Lane) -> Result<i64, StoreError> {
    meta(lane, "feed_floor").map(|floor| floor.parse().unwrap_or(i64::MAX))
}

fn written(store: &str, seq: i64) -> Cursor {
    Cursor(format!("{store}:{seq}"))
}

/// Where the feed stands.
pub(super) fn cursor(lane: &Lane) -> Result<Cursor, StoreError> {
    Ok(written(&meta(lane, "store_id")?, read::head(&lane.connection)?))
}

/// Figures of the file and the feed for the health page.
pub(super) fn figures(lane: &Lane) -> Result<Vec<(String, String)>, StoreError> {
    let ask = |sql: &str| {
        let answer = lane.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        answer.map_err(fault::of)
    };
    let size = ask("PRAGMA page_count")? * ask("PRAGMA page_size")?;
    let kept = read::head(&lane.connection)? - floor(lane)?;
    Ok(vec![
        ("size_bytes".into(), size.to_string()),
        ("schema_version".into(), ask("PRAGMA user_version")?.to_string()),
        ("changes_kept".into(), kept.to_string()),
    ])
}

/// One reader's place.
struct Reader {
    readers: Readers,
    watch: Arc<Watch>,
    store: Arc<str>,
    news: broadcast::Receiver<News>,
    place: i64,
    /// Whether there may be rows in the table that no news will bring.
    behind: bool,
    ended: bool,
}

/// Opens a feed after `since`.
pub(super) async fn open(
    hub: &Hub,
    readers: &Readers,
    since: Cursor,
    watch: Watch,
) -> Result<Feed, StoreError> {
    let wrong = || invalid(format!("{:?} is no place in a feed", since.0));
    let (store, seq) = since.0.rsplit_once(':').ok_or_else(wrong)?;
    let place: i64 = seq.parse().map_err(|_| wrong())?;
    // listen first: what is written from here on is either news or already in the table
    let news = hub.news.upgrade().ok_or_else(closed)?.subscribe();
    hub.bell.ring();
    let foreign = *store != *hub.store;
    let reader = Reader {
        readers: readers.clone(),
        watch: Arc::new(watch),
        store: hub.store.clone(),
        news,
        place: if foreign { -1 } else { place },
        behind: true,
        ended: false,
    };
    let steps = stream::unfold(reader, |mut reader| async move {
        if reader.ended {
            return None;
        }
        let batch = reader.next().await;
        reader.ended = batch.is_err();
        Some((batch, reader))
    });
    Ok(steps.boxed())
}

impl Reader {
    /// The next batch that has anything in it.
    async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        loop {
            let batch = if self.behind { self.catch_up().await? } else { self.hear().await? };
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// Reads from the table.
    async fn catch_up(&mut self) -> Result<Vec<Change>, StoreError> {
        let (place, watch, store) = (self.place, self.watch.clone(), self.store.clone());
        let step = self.readers.ask(move |lane| catch_up(lane, place, &watch, &store)).await?;
        self.place = step.place;
        self.behind = step.more;
        Ok(step.changes)
    }

    /// Takes the next news.
    async fn hear(&mut self) -> Result<Vec<Change>, StoreError> {
        let rows = match self.news.recv().await {
            Ok(News::Rows { last, .. }) if last <= self.place => return Ok(Vec::new()),
            Ok(News::Rows { after, last, rows }) if after <= self.place => {
                let place = std::mem::replace(&mut self.place, last);
                wanted(rows.iter().filter(|row| row.seq > place), &self.watch)
            }
            Ok(News::Rows { .. }) | Err(RecvError::Lagged(_)) => {
                self.behind = true;
                return Ok(Vec::new());
            }
            Ok(News::Failed(text)) => return Err(unavailable(&*text)),
            Err(RecvError::Closed) => return Err(closed()),
        };
        if rows.is_empty() || !self.watch.bodies {
            return Ok(changes(rows, None, &self.store));
        }
        let store = self.store.clone();
        self.readers
            .ask(move |lane| {
                let bodies = bodies(lane, &rows)?;
                Ok(changes(rows, Some(bodies), &store))
            })
            .await
    }
}

struct Step {
    changes: Vec<Change>,
    place: i64,
    more: bool,
}

fn catch_up(lane: &Lane, place: i64, watch: &Watch, store: &Arc<str>) -> Result<Step, StoreError> {
    let together = lane.connection.unchecked_transaction().map_err(fault::of)?;
    let head = read::head(&lane.connection)?;
    if place < floor(lane)? || place > head {
        let changes = vec![Change::Resync { cursor: written(store, head) }];
        return Ok(Step { changes, place: head, more: true });
    }
    let Slice { rows, last, more } = rows(lane, place)?;
    let rows = wanted(rows.iter(), watch);
    let changes = if watch.bodies {
        let bodies = bodies(lane, &rows)?;
        changes(rows, Some(bodies), store)
    } else {
        changes(rows, None, store)
    };
    drop(together);
    Ok(Step { changes, place: last, more })
}

/// The rows that `watch` asks for, the last of each document only.
fn wanted<'a>(rows: impl DoubleEndedIterator<Item = &'a Row>, watch: &Watch) -> Vec<Row> {
    let asked = |row: &&Row| {
        let fits = watch.topic.is_none() || row.topic.as_deref() == watch.topic.as_deref();
        watch.collections.contains(&row.collection) && (fits || row.op == Op::Removed)
    };
    let mut met = std::collections::HashSet::new();
    let mut last: Vec<Row> = rows
        .rev()
        .filter(asked)
        .filter(|row| met.insert((row.collection, row.key.clone())))
        .cloned()
        .collect();
    last.reverse();
    last
}

type Bodies = HashMap<(Collection, Key), Document>;

fn bodies(lane: &Lane, rows: &[Row]) -> Result<Bodies, StoreError> {
    let mut keys: HashMap<Collection, Vec<Key>> = HashMap::new();
    for row in rows.iter().filter(|row| row.op == Op::Put) {
        keys.entry(row.collection).or_default().push(row.key.clone());
    }
    let mut found = Bodies::new();
    for (collection, keys) in keys {
        for document in read::get_many(lane, collection, &keys)? {
            found.insert((collection, document.key.clone()), document);
        }
    }
    Ok(found)
}

/// The port's changes. A document that is gone by now is left out where bodies are wanted: its removal follows.
fn changes(rows: Vec<Row>, mut bodies: Option<Bodies>, store: &str) -> Vec<Change> {
    let change = |row: Row| {
        let cursor = written(store, row.seq);
        let Row { collection, key, topic, .. } = row;
        if row.op == Op::Removed {
            return Some(Change::Removed { collection, key, cursor });
        }
        let (rev, body) = match &mut bodies {
            None => (revision(row.seq), None),
            Some(bodies) => {
                // `wanted` left one row of each document
                let document = bodies.remove(&(collection, key.clone()))?;
                (document.rev, Some(Arc::new(document.body)))
            }
        };
        let topic = topic.as_deref().map(str::to_owned);
        Some(Change::Put { collection, key, rev, body, topic, cursor })
    };
    rows.into_iter().filter_map(change).collect()
}
