//! A store in memory for engine tests: it keeps the port's promises without a thread or a file, so that tests under
//! the paused clock see no real time pass. It can be lost, lie about the feed, and be counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::watch;

use crate::model::filter::{Field, Filter};
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::*;

type Kept = BTreeMap<Key, (Rev, Body)>;

#[derive(Debug, Default)]
struct Inner {
    collections: BTreeMap<Collection, Kept>,
    log: Vec<Change>,
    rev: u64,
    seq: u64,
    /// Cursors below this meet a gap.
    floor: usize,
    mute: bool,
    lost: bool,
    hangs: bool,
    /// So many calls more, and it is lost.
    left: Option<u64>,
    /// Transactions change nothing and nobody knows.
    unsure: bool,
    /// How long each call takes.
    slow: Duration,
    /// How long a count of everything takes.
    counting: Duration,
    bulk_updates: u64,
}

/// Clones are the same store, seen through the same wire.
#[derive(Debug, Clone)]
pub struct MemoryStore(Arc<Shared>, Arc<AtomicBool>);

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Moves whenever a feed has something to look at.
    moved: watch::Sender<u64>,
    calls: AtomicU64,
    rows: AtomicU64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    pub fn new() -> Self {
        Self(
            Arc::new(Shared {
                inner: Mutex::default(),
                moved: watch::Sender::new(0),
                calls: AtomicU64::new(0),
                rows: AtomicU64::new(0),
            }),
            Arc::default(),
        )
    }

    /// The same store as another process sees it: cutting one off leaves the other.
    pub fn apart(&self) -> Self {
        Self(self.0.clone(), Arc::default())
    }

    /// Like [`MemoryStore::set_lost`], for this process alone.
    pub fn set_cut(&self, cut: bool) {
        self.1.store(cut, SeqCst);
        self.0.moved.send_modify(|n| *n += 1);
    }

    /// From now on every call fails with `Unavailable`, and feeds end with it; until `set_lost(false)`.
    pub fn set_lost(&self, lost: bool) {
        self.inner().lost = lost;
        self.0.moved.send_modify(|n| *n += 1);
    }

    /// From now on calls do not return (and change nothing), until `set_hanging(false)`.
    pub fn set_hanging(&self, hangs: bool) {
        self.inner().hangs = hangs;
        self.0.moved.send_modify(|n| *n += 1);
    }

    /// The store is lost after so many calls more.
    pub fn lose_after(&self, calls: u64) {
        self.inner().left = Some(calls);
    }

    /// As it was before it was lost.
    pub fn find_again(&self) {
        let mut inner = self.inner();
        (inner.left, inner.lost) = (None, false);
    }

    /// From now on transactions write nothing and end with `OutcomeUnknown`, until `set_unsure(false)`.
    pub fn set_unsure(&self, unsure: bool) {
        self.inner().unsure = unsure;
    }

    /// From now on each call takes so long.
    pub fn set_slow(&self, takes: Duration) {
        self.inner().slow = takes;
    }

    /// From now on a tally of a whole collection takes so long.
    pub fn set_counting(&self, takes: Duration) {
        self.inner().counting = takes;
    }

    /// While muted, writes reach no feed.
    pub fn set_mute(&self, mute: bool) {
        self.inner().mute = mute;
    }

    /// Every feed, open or opened later from an older cursor, meets `Resync`.
    pub fn make_gap(&self) {
        {
            let mut inner = self.inner();
            let (key, cursor) = (Key::new("gap").unwrap(), Cursor(String::new()));
            inner.log.push(Change::Removed { collection: Collection::Configs, key, cursor });
            inner.floor = inner.log.len();
        }
        self.0.moved.send_modify(|n| *n += 1);
    }

    /// How many updates of all that matches were made so far.
    pub fn bulk_updates(&self) -> u64 {
        self.inner().bulk_updates
    }

    /// How many documents queries have given so far.
    pub fn rows(&self) -> u64 {
        self.0.rows.load(SeqCst)
    }

    /// How many calls were made so far.
    pub fn calls(&self) -> u64 {
        self.0.calls.load(SeqCst)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap()
    }

    async fn begin(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        self.0.calls.fetch_add(1, SeqCst);
        tokio::task::yield_now().await; // as a real store would
        let slow = self.inner().slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        let mut moved = self.0.moved.subscribe();
        while self.inner().hangs {
            let _ = moved.changed().await;
        }
        let mut inner = self.inner();
        if let Some(left) = inner.left {
            inner.left = left.checked_sub(1);
            inner.lost |= left == 0;
        }
        if inner.lost || self.1.load(SeqCst) { Err(gone()) } else { Ok(inner) }
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("lost on purpose".into())
}

fn at<'a>(body: &'a Body, path: &str) -> &'a Value {
    let mut steps = path.split('.');
    let first = steps.next().and_then(|step| body.get(step)).unwrap_or(&Value::Null);
    steps.fold(first, |value, step| value.get(step).unwrap_or(&Value::Null))
}

fn order(a: &Value, b: &Value) -> std::cmp::Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(std::cmp::Ordering::Equal)
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

impl Inner {
    fn docs(&mut self, collection: Collection) -> &mut Kept {
        self.collections.entry(collection).or_default()
    }

    fn found(&self, collection: Collection, key: &Key) -> Option<&(Rev, Body)> {
        self.collections.get(&collection)?.get(key)
    }

    fn put(&mut self, collection: Collection, key: Key, mut body: Body) -> Result<Rev, StoreError> {
        for index in collection.indexes().iter().filter(|index| index.unique) {
            let values = |body: &Body| -> Vec<Value> {
                index.fields.iter().map(|field| at(body, field).clone()).collect()
            };
            let mine = values(&body);
            if index.sparse && mine.iter().any(Value::is_null) {
                continue;
            }
            let stamped = collection.is_sequenced() && index.fields == ["seq"];
            let taken =
                self.docs(collection).iter().find(|(k, (_, b))| **k != key && values(b) == mine);
            if let (Some((other, _)), false) = (taken, stamped) {
                let key = other.clone();
                return Err(StoreError::Exists { collection, key, what: index.fields.join(", ") });
            }
        }
        self.rev += 1;
        let rev = Rev(self.rev.to_string().into());
        if collection.is_sequenced() && self.found(collection, &key).is_none() {
            self.seq += 1;
            body.insert("seq".into(), self.seq.into());
        }
        let topic =
            collection.topic_field().and_then(|field| body.get(field)?.as_str().map(str::to_owned));
        if !self.mute {
            let cursor = Cursor((self.log.len() + 1).to_string());
            let body = Some(Arc::new(body.clone()));
            let (key, rev) = (key.clone(), rev.clone());
            self.log.push(Change::Put { collection, key, rev, body, topic, cursor });
        }
        self.docs(collection).insert(key, (rev.clone(), body));
        Ok(rev)
    }

    fn remove(&mut self, collection: Collection, key: Key) {
        self.docs(collection).remove(&key);
        if !self.mute {
            let cursor = Cursor((self.log.len() + 1).to_string());
            self.log.push(Change::Removed { collection, key, cursor });
        }
    }

    fn expect(&self, collection: Collection, key: &Key, rev: &Rev) -> Result<(), StoreError> {
        match self.found(collection, key) {
            None => Err(StoreError::NotFound { collection, key: key.clone() }),
            Some((found, _)) if found == rev => Ok(()),
            Some(_) => Err(StoreError::Conflict { collection, key: key.clone() }),
        }
    }

    fn write(&mut self, write: Write) -> Result<Option<Rev>, StoreError> {
        match write {
            Write::Insert { collection, key, body } => {
                if self.found(collection, &key).is_some() {
                    return Err(StoreError::Exists { collection, key, what: "_key".into() });
                }
                self.put(collection, key, body).map(Some)
            }
            Write::Replace { collection, key, rev, body } => {
                self.expect(collection, &key, &rev)?;
                self.put(collection, key, body).map(Some)
            }
            Write::Put { collection, key, body } => self.put(collection, key, body).map(Some),
            Write::Merge { collection, key, fields, create } => {
                let mut body = match self.found(collection, &key) {
                    Some((_, body)) => body.clone(),
                    None if create => Body::new(),
                    None => return Err(StoreError::NotFound { collection, key }),
                };
                for (name, value) in fields {
                    if value.is_null() {
                        body.remove(&name);
                    } else {
                        body.insert(name, value);
                    }
                }
                self.put(collection, key, body).map(Some)
            }
            Write::Remove { collection, key, rev } => {
                if let Some(rev) = rev {
                    self.expect(collection, &key, &rev)?;
                } else if self.found(collection, &key).is_none() {
                    return Err(StoreError::NotFound { collection, key });
                }
                self.remove(collection, key);
                Ok(None)
            }
            Write::Check { collection, key, rev } => {
                let found = self.found(collection, &key).map(|(rev, _)| rev.clone());
                if found == rev { Ok(None) } else { Err(StoreError::Conflict { collection, key }) }
            }
        }
    }

    fn select(
        &self,
        collection: Collection,
        filter: &Filter,
        sort: &[(Field, Direction)],
    ) -> Vec<Document> {
        let mut found: Vec<Document> = self
            .collections
            .get(&collection)
            .into_iter()
            .flatten()
            .filter(|(_, (_, body))| filter.matches(body))
            .map(|(key, (rev, body))| Document {
                key: key.clone(),
                rev: rev.clone(),
                body: body.clone(),
            })
            .collect();
        found.sort_by(|a, b| compare(sort, &a.body, &b.body).then_with(|| a.key.cmp(&b.key)));
        found
    }
}

fn compare(sort: &[(Field, Direction)], a: &Body, b: &Body) -> std::cmp::Ordering {
    let mut all = sort.iter().map(|(field, direction)| {
        let order = order(at(a, field.as_str()), at(b, field.as_str()));
        if *direction == Direction::Descending { order.reverse() } else { order }
    });
    all.find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, collection: Collection, key: &Key) -> Result<Document, StoreError> {
        let inner = self.begin().await?;
        let Some((rev, body)) = inner.found(collection, key) else {
            return Err(StoreError::NotFound { collection, key: key.clone() });
        };
        Ok(Document { key: key.clone(), rev: rev.clone(), body: body.clone() })
    }

    async fn get_many(
        &self,
        collection: Collection,
        keys: &[Key],
    ) -> Result<Vec<Document>, StoreError> {
        let inner = self.begin().await?;
        let all = inner.select(collection, &Filter::All, &[]);
        Ok(all.into_iter().filter(|document| keys.contains(&document.key)).collect())
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        let inner = self.begin().await?;
        let mut found = inner.select(query.collection, &query.filter, &query.sort);
        if let Some(after) = &query.after {
            let mut last = Body::new();
            for ((field, _), value) in query.sort.iter().zip(&after.values) {
                last.insert(field.as_str().to_owned(), value.clone());
            }
            found.retain(|document| {
                compare(&query.sort, &document.body, &last)
                    .then_with(|| document.key.cmp(&after.key))
                    .is_gt()
            });
        }
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        self.0.rows.fetch_add(found.len() as u64, SeqCst);
        let next = found.last().filter(|_| more).map(|document| Bookmark {
            values: query
                .sort
                .iter()
                .map(|(f, _)| at(&document.body, f.as_str()).clone())
                .collect(),
            key: document.key.clone(),
        });
        Ok(Page { documents: found, next })
    }

    async fn count(&self, collection: Collection, filter: Filter) -> Result<u64, StoreError> {
        Ok(self.begin().await?.select(collection, &filter, &[]).len() as u64)
    }

    async fn tally(
        &self,
        collection: Collection,
        filter: Filter,
        by: &[Field],
        least: Option<&Field>,
    ) -> Result<Vec<Tally>, StoreError> {
        let takes = self.inner().counting;
        if matches!(filter, Filter::All) && !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let inner = self.begin().await?;
        let mut tallies: Vec<Tally> = Vec::new();
        for document in inner.select(collection, &filter, &[]) {
            let values: Vec<Value> =
                by.iter().map(|field| at(&document.body, field.as_str()).clone()).collect();
            let least = least.map_or(Value::Null, |f| at(&document.body, f.as_str()).clone());
            match tallies.iter_mut().find(|tally| tally.values == values) {
                None => tallies.push(Tally { values, count: 1, least }),
                Some(tally) => {
                    tally.count += 1;
                    if order(&least, &tally.least).is_lt() {
                        tally.least = least;
                    }
                }
            }
        }
        Ok(tallies)
    }

    async fn revisions(
        &self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Rev)>, StoreError> {
        let inner = self.begin().await?;
        let all = inner.collections.get(&collection).into_iter().flatten();
        let rest = all.filter(|(key, _)| after.is_none_or(|after| *key > after));
        Ok(rest.take(limit).map(|(key, (rev, _))| (key.clone(), rev.clone())).collect())
    }

    async fn transact(
        &self,
        writes: Vec<Write>,
        _durability: Durability,
    ) -> Result<Vec<Option<Rev>>, StoreError> {
        let unsure = self.inner().unsure;
        if unsure {
            drop(self.begin().await?);
            tokio::time::sleep(Duration::from_millis(1)).await; // so that time passes for whoever asks again at once
            return Err(StoreError::OutcomeUnknown("on purpose".into()));
        }
        let done = {
            let mut inner = self.begin().await?;
            let before = (inner.collections.clone(), inner.log.len(), inner.seq);
            let done: Result<Vec<_>, _> =
                writes.into_iter().map(|write| inner.write(write)).collect();
            if done.is_err() {
                inner.collections = before.0;
                inner.log.truncate(before.1);
                inner.seq = before.2;
            }
            done
        };
        self.0.moved.send_modify(|n| *n += 1);
        done
    }

    async fn update_where(&self, update: UpdateWhere) -> Result<Vec<Document>, StoreError> {
        let changed = {
            let mut inner = self.begin().await?;
            inner.bulk_updates += 1;
            if let Some(guard) = &update.guard {
                let found = inner.found(guard.collection, &guard.key);
                if !found.is_some_and(|(_, body)| guard.filter.matches(body)) {
                    return Ok(Vec::new());
                }
            }
            let mut found = inner.select(update.collection, &update.filter, &update.sort);
            found.truncate(update.limit);
            for document in &mut found {
                for (field, value) in &update.set {
                    set(&mut document.body, field.as_str(), value.clone());
                }
                for (field, plus) in &update.add {
                    let sum = at(&document.body, field.as_str()).as_i64().unwrap_or(0) + plus;
                    set(&mut document.body, field.as_str(), sum.into());
                }
                document.rev =
                    inner.put(update.collection, document.key.clone(), document.body.clone())?;
            }
            found
        };
        self.0.moved.send_modify(|n| *n += 1);
        Ok(changed)
    }

    async fn traverse(&self, _traversal: Traversal) -> Result<Vec<Hop>, StoreError> {
        Err(StoreError::Invalid { message: "the store in memory does not walk edges".into() })
    }

    async fn cursor(&self) -> Result<Cursor, StoreError> {
        Ok(Cursor(self.begin().await?.log.len().to_string()))
    }

    async fn changes(&self, since: Cursor, watch: Watch) -> Result<Feed, StoreError> {
        drop(self.begin().await?);
        let from: usize = since.0.parse().map_err(|_| StoreError::Invalid {
            message: "a cursor of the store in memory is a number".into(),
        })?;
        let state = (self.clone(), self.0.moved.subscribe(), from, watch);
        Ok(futures::stream::unfold(state, |(store, mut moved, from, watch)| async move {
            loop {
                moved.borrow_and_update();
                let batch = {
                    let inner = store.inner();
                    if inner.lost || store.1.load(SeqCst) {
                        Some((Err(gone()), from))
                    } else if from < inner.floor {
                        let next = inner.log.len();
                        Some((Ok(vec![Change::Resync { cursor: Cursor(next.to_string()) }]), next))
                    } else {
                        let new = inner.log[from..].iter().filter_map(|c| seen(c, &watch));
                        let new: Vec<Change> = new.collect();
                        let none = new.is_empty();
                        (!none).then(|| (Ok(new), inner.log.len()))
                    }
                };
                match batch {
                    Some((batch, next)) => return Some((batch, (store, moved, next, watch))),
                    None => moved.changed().await.ok()?,
                }
            }
        })
        .boxed())
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        drop(self.begin().await?);
        Ok(StoreInfo {
            kind: "memory",
            version: "1".into(),
            place: "here".into(),
            latency: Duration::from_micros(20),
            details: Vec::new(),
        })
    }

    async fn maintain(&self, _now: Time) -> Result<(), StoreError> {
        self.begin().await.map(drop)
    }

    async fn close(&self) {
        self.set_cut(true);
    }
}

fn set(body: &mut Body, path: &str, value: Value) {
    match path.split_once('.') {
        None if value.is_null() => drop(body.remove(path)),
        None => drop(body.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = body.entry(first).or_insert_with(|| Value::Object(Body::new()));
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn seen(change: &Change, watch: &Watch) -> Option<Change> {
    let mut change = change.clone();
    match &mut change {
        Change::Put { collection, topic, body, .. } => {
            let ours = watch.topic.is_none() || watch.topic == *topic;
            if !watch.collections.contains(collection) || !ours {
                return None;
            }
            if !watch.bodies {
                *body = None;
            }
        }
        Change::Removed { collection, .. } => {
            if !watch.collections.contains(collection) {
                return None;
            }
        }
        Change::Resync { .. } => {}
    }
    Some(change)
}
