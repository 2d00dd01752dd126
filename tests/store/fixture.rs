//! Stores for the rules, and the words that the rules are written in.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use cvxc::adapters::faulty::{Faults, Faulty};
use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::model::filter::{Field, Filter};
use cvxc::model::schema::Collection;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::{
    Body, Change, Cursor, Direction, Document, Durability, Feed, Key, Query, Rev, Store,
    StoreError, UpdateWhere, Watch, Write,
};
use futures::StreamExt;
use futures::future::BoxFuture;
use serde_json::Value;

pub type Opener = Box<dyn Fn() -> BoxFuture<'static, Arc<dyn Store>> + Send + Sync>;

/// A fresh, empty store, and a way to open it again beside itself.
pub struct Fixture {
    store: Arc<dyn Store>,
    again: Opener,
    /// How late changes of another opener may come.
    pub others: Duration,
    _kept: Box<dyn Any + Send + Sync>,
}

impl Deref for Fixture {
    type Target = dyn Store;
    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl Fixture {
    pub fn new(
        store: Arc<dyn Store>,
        again: Opener,
        others: Duration,
        kept: Box<dyn Any + Send + Sync>,
    ) -> Self {
        Self { store, again, others, _kept: kept }
    }

    /// The same store opened once more, as another process would.
    pub async fn again(&self) -> Arc<dyn Store> {
        (self.again)().await
    }

    /// To be moved into a task.
    pub fn shared(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

pub async fn sqlite() -> Fixture {
    faulty_or_not(None).await
}

/// The embedded store behind a decorator that does as `faults` says.
pub async fn faulty(faults: Arc<Faults>) -> Fixture {
    faulty_or_not(Some(faults)).await
}

async fn faulty_or_not(faults: Option<Arc<Faults>>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let again: Opener = Box::new(move || {
        let (options, faults) = (SqliteOptions::new(&path), faults.clone());
        Box::pin(async move {
            let store = SqliteStore::open(options, SystemClock::shared()).unwrap();
            match faults {
                None => store as Arc<dyn Store>,
                Some(faults) => Faulty::new(store, faults),
            }
        })
    });
    let others = Duration::from_millis(150);
    Fixture { store: again().await, again, others, _kept: Box::new(folder) }
}

/// `json!({…})` as a body.
pub fn body(value: Value) -> Body {
    let Value::Object(body) = value else { panic!("a body is an object: {value}") };
    body
}

pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub fn insert(collection: Collection, at: &str, value: Value) -> Write {
    Write::Insert { collection, key: key(at), body: body(value) }
}

pub fn replace(collection: Collection, at: &str, rev: &Rev, value: Value) -> Write {
    Write::Replace { collection, key: key(at), rev: rev.clone(), body: body(value) }
}

pub fn put(collection: Collection, at: &str, value: Value) -> Write {
    Write::Put { collection, key: key(at), body: body(value) }
}

pub fn merge(collection: Collection, at: &str, create: bool, value: Value) -> Write {
    Write::Merge { collection, key: key(at), fields: body(value), create }
}

pub fn remove(collection: Collection, at: &str, rev: Option<&Rev>) -> Write {
    Write::Remove { collection, key: key(at), rev: rev.cloned() }
}

pub fn check(collection: Collection, at: &str, rev: Option<&Rev>) -> Write {
    Write::Check { collection, key: key(at), rev: rev.cloned() }
}

/// Does one write, durably, and gives its revision.
pub async fn write(store: &dyn Store, write: Write) -> Result<Option<Rev>, StoreError> {
    let mut revs = store.transact(vec![write], Durability::Durable).await?;
    assert_eq!(revs.len(), 1, "one write, one answer");
    Ok(revs.remove(0))
}

/// The same for a write that must work and leave a document.
pub async fn written(store: &dyn Store, one: Write) -> Rev {
    write(store, one).await.unwrap().expect("the write leaves a document")
}

pub async fn write_all(store: &dyn Store, writes: Vec<Write>) {
    store.transact(writes, Durability::Relaxed).await.unwrap();
}

pub async fn get(store: &dyn Store, collection: Collection, at: &str) -> Document {
    store.get(collection, &key(at)).await.unwrap()
}

pub async fn is_there(store: &dyn Store, collection: Collection, at: &str) -> bool {
    match store.get(collection, &key(at)).await {
        Ok(_) => true,
        Err(StoreError::NotFound { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

pub fn up(fields: &[&'static str]) -> Vec<(Field, Direction)> {
    fields.iter().map(|field| (Field::from(*field), Direction::Ascending)).collect()
}

pub fn down(field: &'static str) -> Vec<(Field, Direction)> {
    vec![(field.into(), Direction::Descending)]
}

/// The keys of one page.
pub async fn keys(store: &dyn Store, query: Query) -> Vec<String> {
    let page = store.query(query).await.unwrap();
    page.documents.into_iter().map(|document| document.key.to_string()).collect()
}

/// The keys of all that matches, by key.
pub async fn matching(store: &dyn Store, collection: Collection, filter: Filter) -> Vec<String> {
    keys(store, Query { limit: 10_000, ..Query::new(collection, filter) }).await
}

/// An update that sets nothing yet.
pub fn update(collection: Collection, filter: Filter) -> UpdateWhere {
    UpdateWhere {
        collection,
        filter,
        sort: Vec::new(),
        limit: 100,
        set: Vec::new(),
        add: Vec::new(),
        guard: None,
        durability: Durability::Durable,
    }
}

pub fn watch(collections: &[Collection]) -> Watch {
    Watch { collections: collections.to_vec(), topic: None, bodies: false }
}

/// What a change is about, and whether it is a removal.
pub fn about(change: &Change) -> (String, bool) {
    match change {
        Change::Put { key, .. } => (key.to_string(), false),
        Change::Removed { key, .. } => (key.to_string(), true),
        Change::Resync { .. } => panic!("no gap was made"),
    }
}

pub fn cursor_of(change: &Change) -> Cursor {
    match change {
        Change::Put { cursor, .. } | Change::Removed { cursor, .. } | Change::Resync { cursor } => {
            cursor.clone()
        }
    }
}

/// Reads on until `done` says that enough has come.
pub async fn read_until(feed: &mut Feed, done: impl Fn(&[Change]) -> bool) -> Vec<Change> {
    let mut read = Vec::new();
    let reading = async {
        while !done(&read) {
            let batch = feed.next().await.expect("a feed does not just end").unwrap();
            assert!(!batch.is_empty(), "an empty batch wakes for nothing");
            read.extend(batch);
        }
    };
    let finished = tokio::time::timeout(Duration::from_secs(20), reading).await;
    assert!(finished.is_ok(), "after 20 s only {} changes had come: {read:?}", read.len());
    read
}
