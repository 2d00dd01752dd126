//! One reader of the feed: what was seen lately comes from the log in memory, what came before from the server.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::sync::broadcast;
use tokio::sync::watch::Receiver;

use crate::model::schema::Collection;
use crate::ports::store::{Change, Document, Feed, Key, Rev, StoreError, Watch};

use super::fault::{Failure, closed, unavailable};
use super::feed::{Early, Hub, Source, locked};
use super::log::{Found, Put, Row};
use super::read;

/// How many changes are given at a time.
const ROWS: usize = 1_000;

#[derive(Debug)]
pub(super) struct Reader {
    hub: Arc<Hub>,
    news: Receiver<()>,
    watch: Watch,
    /// From where the server is asked to come to what follows `place`.
    base: u64,
    place: u64,
    epoch: u64,
    /// What the process itself has written, where the server's log is waited for and only a topic is.
    own: Option<broadcast::Receiver<Arc<Early>>>,
    /// The next of them, once the log has nothing more.
    early: Option<Arc<Early>>,
    /// What was told before the server's log did, and is not told again.
    told: HashMap<(Collection, Key), Option<Rev>>,
    ended: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.hub.left(&self.watch);
    }
}

impl Reader {
    pub(super) fn new(
        hub: Arc<Hub>,
        news: Receiver<()>,
        watch: Watch,
        (base, place): (u64, u64),
        epoch: u64,
    ) -> Self {
        let waits = watch.topic.is_some() && !watch.bodies && matches!(hub.source, Source::Tail);
        let own = waits.then(|| hub.early.subscribe());
        let told = HashMap::new();
        Self { hub, news, watch, base, place, epoch, own, early: None, told, ended: false }
    }

    pub(super) fn stream(self) -> Feed {
        let steps = stream::unfold(self, |mut reader| async move {
            if reader.ended {
                return None;
            }
            let batch = reader.next().await;
            reader.ended = batch.is_err();
            Some((batch, reader))
        });
        steps.boxed()
    }

    /// The next batch that has anything in it.
    async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        loop {
            if self.hub.stop.is_cancelled() {
                return Err(closed());
            }
            self.news.borrow_and_update();
            let (found, trouble) = {
                let log = locked(&self.hub.log);
                (log.after(self.place, self.epoch, ROWS), log.trouble.clone())
            };
            let rows: Vec<Arc<Row>> = match found {
                Found::Rows(rows) => {
                    if let Some(last) = rows.last() {
                        (self.base, self.place) = (last.base, last.place);
                    }
                    rows
                }
                Found::Behind if matches!(self.hub.source, Source::Tail) => {
                    match self.catch_up().await? {
                        Some(rows) => rows,
                        None => return self.resync().await,
                    }
                }
                Found::Behind | Found::Gap => return self.resync().await,
                Found::Nothing => {
                    if let Some(text) = trouble {
                        return Err(unavailable(text));
                    }
                    if let Some(early) = self.early.take() {
                        match self.before_the_log(&early) {
                            Some(change) => return Ok(vec![change]),
                            None => continue,
                        }
                    }
                    let stop = self.hub.stop.clone();
                    // whichever it was, the log is looked at again
                    tokio::select! {
                        early = heard(&mut self.own) => self.early = early,
                        _ = stop.run_until_cancelled(self.news.changed()) => {}
                    }
                    continue;
                }
            };
            let rows = self.not_told(rows);
            let batch = self.changes(wanted(&rows, &self.watch)).await?;
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// Reads from the server's log; none when it no longer has what follows.
    async fn catch_up(&mut self) -> Result<Option<Vec<Arc<Row>>>, StoreError> {
        let slice = self.hub.tail.read(self.base).await.map_err(Failure::nothing_written)?;
        if slice.gap {
            return Ok(None);
        }
        let place = self.place;
        let rows = slice.rows.into_iter().filter(|row| row.place > place).map(Arc::new).collect();
        self.base = slice.next;
        self.place = self.place.max(slice.next);
        Ok(Some(rows))
    }

    async fn resync(&mut self) -> Result<Vec<Change>, StoreError> {
        let head = self.hub.head().await.map_err(Failure::nothing_written)?;
        (self.base, self.place) = (head, head);
        self.told.clear();
        self.early = None;
        self.epoch = locked(&self.hub.log).epoch;
        Ok(vec![Change::Resync { cursor: self.hub.written(head, head) }])
    }

    /// A write of this process as a change; a feed that is opened at its cursor tells it again. None if it may have been
    /// told, or is not asked for.
    fn before_the_log(&mut self, early: &Early) -> Option<Change> {
        if self.place > early.head {
            return None; // the log was read on meanwhile
        }
        let (collection, key, put) = &early.own;
        let fits = put.as_ref().is_none_or(|(_, topic)| *topic == self.watch.topic);
        if !fits || !self.watch.collections.contains(collection) || self.told.len() >= ROWS {
            return None;
        }
        let (collection, key) = (*collection, key.clone());
        let cursor = self.hub.written(self.base, self.place);
        self.told.insert((collection, key.clone()), put.as_ref().map(|(rev, _)| rev.clone()));
        Some(match put.clone() {
            None => Change::Removed { collection, key, cursor },
            Some((rev, topic)) => Change::Put { collection, key, rev, body: None, topic, cursor },
        })
    }

    /// Without what was told before, and what is older than that.
    fn not_told(&mut self, mut rows: Vec<Arc<Row>>) -> Vec<Arc<Row>> {
        if !self.told.is_empty() {
            rows.retain(|row| {
                // another write of the same document is the last word on it until the log comes to ours
                let told = self.told.remove(&(row.collection, row.key.clone()));
                told.is_none_or(|rev| rev.as_ref() != row.put.as_ref().map(|put| &put.rev))
            });
        }
        rows
    }

    async fn changes(&self, rows: Vec<Arc<Row>>) -> Result<Vec<Change>, StoreError> {
        let bodies = if self.watch.bodies { self.bodies(&rows).await? } else { HashMap::new() };
        let change = |row: Arc<Row>| {
            let (collection, key) = (row.collection, row.key.clone());
            let cursor = self.hub.written(row.base, row.place);
            let Some(put) = &row.put else {
                return Some(Change::Removed { collection, key, cursor });
            };
            let Put { rev, topic, body, .. } = put.clone();
            let (rev, body) = match (self.watch.bodies, body) {
                (false, _) => (rev, None),
                (true, Some(body)) => (rev, Some(body)),
                // a document that is gone by now is left out: its removal follows
                (true, None) => {
                    let document = bodies.get(&(collection, key.clone()))?;
                    (document.rev.clone(), Some(Arc::new(document.body.clone())))
                }
            };
            Some(Change::Put { collection, key, rev, body, topic, cursor })
        };
        Ok(rows.into_iter().filter_map(change).collect())
    }

    /// The bodies that did not come with the changes.
    async fn bodies(
        &self,
        rows: &[Arc<Row>],
    ) -> Result<HashMap<(Collection, Key), Document>, StoreError> {
        let mut keys: HashMap<Collection, Vec<Key>> = HashMap::new();
        for row in rows.iter().filter(|row| row.put.as_ref().is_some_and(|p| p.body.is_none())) {
            keys.entry(row.collection).or_default().push(row.key.clone());
        }
        let mut found = HashMap::new();
        for (collection, keys) in keys {
            for document in read::get_many(&self.hub.http, collection, &keys).await? {
                found.insert((collection, document.key.clone()), document);
            }
        }
        Ok(found)
    }
}

/// The next write of this process; never where they are not waited for.
async fn heard(own: &mut Option<broadcast::Receiver<Arc<Early>>>) -> Option<Arc<Early>> {
    match own {
        // one that was missed for slowness comes with the log
        Some(own) => own.recv().await.ok(),
        None => std::future::pending().await,
    }
}

/// The rows that `watch` asks for, the last of each document only.
fn wanted(rows: &[Arc<Row>], watch: &Watch) -> Vec<Arc<Row>> {
    let fits = |row: &Row| match &row.put {
        None => true,
        Some(put) => watch.topic.is_none() || put.topic == watch.topic,
    };
    let mut met = HashSet::new();
    let mut last: Vec<Arc<Row>> = rows
        .iter()
        .rev()
        .filter(|row| watch.collections.contains(&row.collection) && fits(row))
        .filter(|row| met.insert((row.collection, row.key.clone())))
        .cloned()
        .collect();
    last.reverse();
    last
}
