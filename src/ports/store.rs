//! The store: where every process of a fleet meets. Documents in collections, compare-and-swap by revision,
//! all-or-nothing transactions, and a feed of changes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::{Map, Value};

use crate::model::filter::{Field, Filter};
use crate::model::schema::Collection;

pub type Body = Map<String, Value>;
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A document's key inside its collection: `[a-z0-9_-]`, at most 254 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// # Errors
    /// [`StoreError::Invalid`] when `text` is empty, too long or has another character than `a-z 0-9 _ -`.
    pub fn new(text: &str) -> Result<Self, StoreError> {
        let fine = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        if text.is_empty() || text.len() > 254 || !text.bytes().all(fine) {
            let shown: String = text.chars().take(80).collect();
            return Err(StoreError::Invalid {
                message: format!(
                    "{shown:?} is no document key: expected 1 to 254 characters of a-z, 0-9, '-' and '_'"
                ),
            });
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A document's revision: opaque, different after every write of it, never reused for that key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rev(pub Arc<str>);

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A document as it was read. `body` holds neither `_key` nor `_rev`; edges hold `_from` and `_to` in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub key: Key,
    pub rev: Rev,
    pub body: Body,
}

/// A document whose body is still the text of a JSON object.
#[derive(Debug, Clone, PartialEq)]
pub struct RawDocument {
    pub key: Key,
    pub rev: Rev,
    pub json: String,
}

/// Where a feed stands; opaque, kept by the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub String);

/// How sure a write must be before its call returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// May be lost in a power cut (never in a crash of the process), consistently: what is lost is a suffix of such writes.
    Relaxed,
    /// On disk.
    #[default]
    Durable,
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// `Exists` if the key or a unique index is taken.
    Insert {
        collection: Collection,
        key: Key,
        body: Body,
    },
    /// `Conflict` unless the document is at `rev`; `NotFound` if it is gone.
    Replace {
        collection: Collection,
        key: Key,
        rev: Rev,
        body: Body,
    },
    /// Writes whatever is there, or nothing. For documents with one writer, such as health samples.
    Put {
        collection: Collection,
        key: Key,
        body: Body,
    },
    /// Sets top-level fields (null removes) of a document that exists, whatever its revision; creates it when `create`.
    Merge {
        collection: Collection,
        key: Key,
        fields: Body,
        create: bool,
    },
    Remove {
        collection: Collection,
        key: Key,
        rev: Option<Rev>,
    },
    /// Fails the transaction with `Conflict` unless the document is at `rev` (`None`: unless it is missing).
    Check {
        collection: Collection,
        key: Key,
        rev: Option<Rev>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// Documents that match, in order, a page at a time. Ties are broken by `_key`, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub collection: Collection,
    pub filter: Filter,
    pub sort: Vec<(Field, Direction)>,
    /// 1 to 10,000.
    pub limit: usize,
    /// Where the page before ended; the sort must be the same. Rows written meanwhile are met at most once, and
    /// rows that did not change are met exactly once.
    pub after: Option<Bookmark>,
}

impl Query {
    /// Everything of `collection` that matches, by key, in pages of 1,000.
    pub fn new(collection: Collection, filter: Filter) -> Self {
        Self { collection, filter, sort: Vec::new(), limit: 1_000, after: None }
    }
}

/// Where a page ended: the sort values and key of its last row.
#[derive(Debug, Clone, PartialEq)]
pub struct Bookmark {
    pub values: Vec<Value>,
    pub key: Key,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub documents: Vec<Document>,
    /// `None` when there is nothing after this page.
    pub next: Option<Bookmark>,
}

/// One atomic statement: claims, sweeps. Of two at once, no document is changed by both unless it matches both times.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateWhere {
    pub collection: Collection,
    pub filter: Filter,
    pub sort: Vec<(Field, Direction)>,
    /// 1 to 10,000.
    pub limit: usize,
    /// Fields set (null removes). Dotted paths reach inside.
    pub set: Vec<(Field, Value)>,
    /// Numbers added to (missing counts as 0).
    pub add: Vec<(Field, i64)>,
    /// Nothing is changed unless this document exists and matches.
    pub guard: Option<Guard>,
    pub durability: Durability,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    pub collection: Collection,
    pub key: Key,
    pub filter: Filter,
}

/// A walk over edges from one vertex, each vertex met once, nearest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Traversal {
    pub edges: Collection,
    /// `agents/<id>`
    pub start: String,
    pub way: Way,
    /// 1 to 10.
    pub depth: usize,
    /// At most this many hops.
    pub limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Outbound,
    Inbound,
    Any,
}

/// One vertex that a traversal met, and the edge that led there.
#[derive(Debug, Clone, PartialEq)]
pub struct Hop {
    pub vertex: String,
    pub depth: usize,
    pub edge: Document,
}

/// How many documents share the values of some fields, and the smallest value of another among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    pub values: Vec<Value>,
    pub count: u64,
    pub least: Value,
}

/// What a feed shall carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    pub collections: Vec<Collection>,
    /// Only changes whose topic is this (`Collection::topic_field`); removals always come.
    pub topic: Option<String>,
    /// Whether changes carry the document's body.
    pub bodies: bool,
}

/// One change, or a gap.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The document is now (at least) at `rev`; several writes may have come together as one.
    Put {
        collection: Collection,
        key: Key,
        rev: Rev,
        body: Option<Arc<Body>>,
        topic: Option<String>,
        cursor: Cursor,
    },
    Removed {
        collection: Collection,
        key: Key,
        cursor: Cursor,
    },
    /// Changes were lost (compacted, restored): list everything again, then go on from `cursor`.
    Resync {
        cursor: Cursor,
    },
}

/// Batches of changes, in order. Ends only with an error; then open it again from the last cursor.
pub type Feed = BoxStream<'static, Result<Vec<Change>, StoreError>>;

#[derive(Debug, Clone, PartialEq)]
pub struct StoreInfo {
    /// `sqlite`, `arangodb`.
    pub kind: &'static str,
    pub version: String,
    /// Where it is, without secrets.
    pub place: String,
    /// Time of one small read.
    pub latency: Duration,
    /// Named figures for the health page: size, feed lag, …
    pub details: Vec<(String, String)>,
}

/// Keeps documents. Shared by every task of the process as `Arc<dyn Store>`.
///
/// Every method may be called from many tasks at once. Dropping the future of a write may still write: treat it as
/// [`StoreError::OutcomeUnknown`]. Unknown fields of a document are kept as they are.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// # Errors
    /// `NotFound`; `Unavailable`: later may work.
    async fn get(&self, collection: Collection, key: &Key) -> Result<Document, StoreError>;

    /// Those of `keys` that exist, in no order. At most 1,000 keys.
    async fn get_many(
        &self,
        collection: Collection,
        keys: &[Key],
    ) -> Result<Vec<Document>, StoreError>;

    /// One page. # Errors: `Invalid` for a limit or field out of range; `Unavailable`.
    async fn query(&self, query: Query) -> Result<Page, StoreError>;

    async fn count(&self, collection: Collection, filter: Filter) -> Result<u64, StoreError>;

    /// Counts of matching documents by the values of `by` (1 to 3 fields), with the least value of `least`.
    async fn tally(
        &self,
        collection: Collection,
        filter: Filter,
        by: &[Field],
        least: Option<&Field>,
    ) -> Result<Vec<Tally>, StoreError>;

    /// Keys and revisions of a whole collection in key order, `limit` at a time, after `after`.
    async fn revisions(
        &self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Rev)>, StoreError>;

    /// A whole collection in key order, `limit` (1 to 10,000) at a time, after `after`, bodies as text: for readers that
    /// want few fields of many documents. Shorter than `limit` at the end alone.
    async fn scan(
        &self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<RawDocument>, StoreError> {
        let after = after.map(|key| Bookmark { values: Vec::new(), key: key.clone() });
        let query = Query { limit, after, ..Query::new(collection, Filter::All) };
        let raw = |document: Document| RawDocument {
            key: document.key,
            rev: document.rev,
            json: Value::Object(document.body).to_string(),
        };
        Ok(self.query(query).await?.documents.into_iter().map(raw).collect())
    }

    /// All writes or none, in order; returns the new revision of each (`None` for removals and checks).
    ///
    /// Once it returns, every later read of this process sees it.
    ///
    /// # Errors
    /// - `Conflict`, `Exists`, `NotFound`, `Invalid`: nothing was written; the error names the first write that failed.
    /// - `Unavailable`: nothing was written; later may work.
    /// - `OutcomeUnknown`: it may have been written. Read back before trying again.
    async fn transact(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<Vec<Option<Rev>>, StoreError>;

    /// Changes up to `limit` matching documents in one atomic statement and returns them as they are now, in sort order.
    async fn update_where(&self, update: UpdateWhere) -> Result<Vec<Document>, StoreError>;

    async fn traverse(&self, traversal: Traversal) -> Result<Vec<Hop>, StoreError>;

    /// Where the feed stands now: changes after this moment come after this cursor.
    async fn cursor(&self) -> Result<Cursor, StoreError>;

    /// Changes after `since`, as they happen: own writes at once, other processes' within 150 ms (embedded) or as the adapter says.
    async fn changes(&self, since: Cursor, watch: Watch) -> Result<Feed, StoreError>;

    async fn info(&self) -> Result<StoreInfo, StoreError>;

    /// Removes what has passed its expiry index and what the feed no longer needs; called by the leader now and then.
    async fn maintain(&self, now: crate::model::time::Time) -> Result<(), StoreError>;

    /// Finishes what is under way and lets go of files and connections. Later calls answer `Unavailable`.
    async fn close(&self);
}

/// What went wrong; each tells the caller what to do ([`StoreError::advice`]).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{collection}/{key} does not exist")]
    NotFound { collection: Collection, key: Key },
    #[error("{collection}/{key} already exists ({what} is taken)")]
    Exists { collection: Collection, key: Key, what: String },
    #[error("{collection}/{key} was changed by somebody else")]
    Conflict { collection: Collection, key: Key },
    #[error("{message}")]
    Invalid { message: String },
    #[error("the store refused: {message}")]
    Denied { message: String },
    #[error("the store is not available")]
    Unavailable(#[source] BoxError),
    #[error("the store went silent; the write may have happened")]
    OutcomeUnknown(#[source] BoxError),
    #[error("the store cannot be used: {message}")]
    Corrupt { message: String },
}

/// What the caller should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Give up; the request itself is wrong.
    Stop,
    /// Read again, decide again, write again.
    Reload,
    RetryLater,
    ReadBack,
}

impl StoreError {
    pub fn advice(&self) -> Advice {
        match self {
            Self::NotFound { .. } | Self::Conflict { .. } | Self::Exists { .. } => Advice::Reload,
            Self::Invalid { .. } | Self::Denied { .. } | Self::Corrupt { .. } => Advice::Stop,
            Self::Unavailable(_) => Advice::RetryLater,
            Self::OutcomeUnknown(_) => Advice::ReadBack,
        }
    }
}

/// Writes an error and its causes on one line, outermost first: `a: b: c`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
