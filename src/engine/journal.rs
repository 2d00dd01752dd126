//! The one place that changes documents: each change and its event in one transaction, chained by hashes, without gaps.
//! Where somebody else changed a document since, that is told first, by an event of its own.

pub mod seal;
pub mod stranger;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;

use crate::model::event::Event;
use crate::model::filter::{Field, Filter};
use crate::model::schema::Collection;
use crate::ports::clock::Clock;
use crate::ports::store::{
    Body, Direction, Document, Durability, Key, Query, Rev, Store, StoreError, Write,
};

/// Why something changes, and by whom.
#[derive(Debug, Clone, Default)]
pub struct Cause {
    pub actor: String,
    pub operation: Option<String>,
    pub reason: String,
    /// Set by loops: the write fails with `Conflict` on the fence's document once another leader has begun.
    pub fence: Option<Fence>,
}

/// Proof of leadership: the epoch and the revision of the document that only a change of leader rewrites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub epoch: u64,
    pub rev: Rev,
}

/// Key of the document in `leases` that is rewritten at each change of leader and never by a renewal.
pub const FENCE_KEY: &str = "engine-epoch";

impl Cause {
    pub fn new(actor: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { actor: actor.into(), reason: reason.into(), operation: None, fence: None }
    }
}

/// One document's change. `before: None` inserts, `after: None` removes, both replace at the revision of `before`.
#[derive(Debug, Clone)]
pub struct Change {
    pub collection: Collection,
    pub key: Key,
    pub before: Option<Document>,
    pub after: Option<Body>,
    /// The event's type: `agent.registered`.
    pub kind: &'static str,
    /// What the document is called.
    pub subject: String,
    pub evidence: Value,
}

/// Writes changes with their events. One a process; callers may commit at once from many tasks.
#[derive(Debug)]
pub struct Journal {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Number and hash of the last event, as far as this process knows.
    head: Mutex<Option<(u64, String)>>,
}

/// Other processes may take the next number first; each try reads the head anew.
const TRIES: u32 = 50;

impl Journal {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, head: Mutex::new(None) }
    }

    /// Writes `changes`, an event for each that changes anything, and `extra` (not journalled), all or nothing.
    ///
    /// A change whose `after` equals its `before` writes nothing and only checks the revision.
    ///
    /// # Errors
    /// Those of [`Store::transact`]; `Conflict` on [`FENCE_KEY`] means that another leader has begun.
    pub async fn commit(
        &self,
        cause: &Cause,
        changes: Vec<Change>,
        extra: Vec<Write>,
    ) -> Result<Vec<Event>, StoreError> {
        let drafts: Vec<Event> =
            changes.iter().filter_map(|change| self.draft(cause, change)).collect();
        let suspects: Vec<Suspect> = changes.iter().filter_map(suspect).collect();
        let mut base: Vec<Write> = guard(cause.fence.as_ref())?.into_iter().collect();
        base.extend(changes.into_iter().map(write));
        base.extend(extra);
        self.append(base, &suspects, drafts).await
    }

    /// Writes an event for each of `suspects` that is not as its events left it; returns how many there were. Asked again,
    /// it finds nothing.
    ///
    /// # Errors
    /// Those of the store; `Conflict` on [`FENCE_KEY`] means that another leader has begun, on a suspect that it was
    /// changed this very moment.
    pub async fn note_strangers(
        &self,
        fence: &Fence,
        suspects: &[Suspect],
    ) -> Result<usize, StoreError> {
        let mut writes: Vec<Write> = guard(Some(fence))?.into_iter().collect();
        writes.extend(suspects.iter().map(|(collection, key, found)| Write::Check {
            collection: *collection,
            key: key.clone(),
            rev: found.as_ref().map(|document| document.rev.clone()),
        }));
        if self.strangers(suspects).await?.is_empty() {
            return Ok(0);
        }
        Ok(self.append(writes, suspects, Vec::new()).await?.len())
    }

    /// What the journal does not know of `suspects`.
    async fn strangers(&self, suspects: &[Suspect]) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        for (collection, key, found) in suspects {
            events.extend(stranger::event(&*self.store, *collection, key, found.as_ref()).await?);
        }
        Ok(events)
    }

    /// Writes `base` with an event for each draft, after those of what strangers did to `suspects`.
    async fn append(
        &self,
        base: Vec<Write>,
        suspects: &[Suspect],
        drafts: Vec<Event>,
    ) -> Result<Vec<Event>, StoreError> {
        if drafts.is_empty() && suspects.is_empty() {
            self.store.transact(base, Durability::Durable).await?;
            return Ok(Vec::new());
        }
        let mut head = self.head.lock().await;
        for _ in 0..TRIES {
            let (mut seq, mut hash) = match head.take() {
                Some(known) => known,
                None => self.read_head().await?,
            };
            // after the head was read: an event that somebody writes about them meanwhile takes our number
            let strangers = self.strangers(suspects).await?;
            let at = self.clock.now();
            let mut writes = base.clone();
            let mut events = Vec::with_capacity(strangers.len() + drafts.len());
            for draft in strangers.iter().chain(&drafts) {
                seq += 1;
                let mut event = Event { seq, at, prev_hash: hash, ..draft.clone() };
                event.hash = event.digest();
                hash = event.hash.clone();
                let Ok(Value::Object(body)) = serde_json::to_value(&event) else {
                    return Err(StoreError::Invalid {
                        message: "an event could not be written as JSON".into(),
                    });
                };
                writes.push(Write::Insert {
                    collection: Collection::Events,
                    key: Key::new(&Event::key(seq))?,
                    body,
                });
                events.push(event);
            }
            match self.store.transact(writes, Durability::Durable).await {
                Ok(_) => {
                    *head = Some((seq, hash));
                    return Ok(events);
                }
                // somebody else wrote that number: read the head again
                Err(StoreError::Exists { collection: Collection::Events, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unavailable("the journal's head kept moving".into()))
    }

    fn draft(&self, cause: &Cause, change: &Change) -> Option<Event> {
        let before =
            change.before.as_ref().map_or(Value::Null, |document| seal::bare(&document.body));
        let after = change.after.as_ref().map_or(Value::Null, seal::bare);
        if before == after {
            return None;
        }
        let patch = |from: &Value, to: &Value| {
            serde_json::to_value(json_patch::diff(from, to)).unwrap_or_default()
        };
        let version =
            change.after.as_ref().or(change.before.as_ref().map(|document| &document.body));
        Some(Event {
            kind: change.kind.to_owned(),
            aggregate: change.collection.name().to_owned(),
            aggregate_id: change.key.to_string(),
            subject: change.subject.clone(),
            version: version
                .and_then(|body| body.get("generation"))
                .and_then(Value::as_u64)
                .unwrap_or_default(),
            actor: cause.actor.clone(),
            operation_id: cause.operation.clone(),
            epoch: cause.fence.as_ref().map(|fence| fence.epoch),
            patch: patch(&before, &after),
            inverse: patch(&after, &before),
            reason: cause.reason.clone(),
            evidence: change.evidence.clone(),
            ..Event::default()
        })
    }

    async fn read_head(&self) -> Result<(u64, String), StoreError> {
        let seq = Field::new("seq")
            .map_err(|error| StoreError::Invalid { message: error.to_string() })?;
        let last = Query {
            sort: vec![(seq, Direction::Descending)],
            limit: 1,
            ..Query::new(Collection::Events, Filter::All)
        };
        let page = self.store.query(last).await?;
        let Some(document) = page.documents.into_iter().next() else {
            return Ok((0, String::new()));
        };
        let event: Event =
            serde_json::from_value(Value::Object(document.body)).map_err(|error| {
                StoreError::Corrupt { message: format!("the last event cannot be read: {error}") }
            })?;
        Ok((event.seq, event.hash))
    }
}

/// A document that somebody else may have changed, as it was read; none when it was not there.
pub type Suspect = (Collection, Key, Option<Document>);

fn suspect(change: &Change) -> Option<Suspect> {
    let before = change.before.as_ref()?;
    let fine = !seal::covers(change.collection) || seal::is_intact(&before.body);
    (!fine).then(|| (change.collection, change.key.clone(), Some(before.clone())))
}

/// The write that fails once another leader has begun.
fn guard(fence: Option<&Fence>) -> Result<Option<Write>, StoreError> {
    let Some(fence) = fence else { return Ok(None) };
    let (collection, key) = (Collection::Leases, Key::new(FENCE_KEY)?);
    Ok(Some(Write::Check { collection, key, rev: Some(fence.rev.clone()) }))
}

fn write(change: Change) -> Write {
    let Change { collection, key, before, after, .. } = change;
    let sealed = |mut body: Body| {
        if seal::covers(collection) {
            seal::seal(&mut body);
        }
        body
    };
    match (before, after) {
        (None, Some(body)) => Write::Insert { collection, key, body: sealed(body) },
        (Some(before), Some(body)) if before.body == body => {
            Write::Check { collection, key, rev: Some(before.rev) }
        }
        (Some(before), Some(body)) => {
            Write::Replace { collection, key, rev: before.rev, body: sealed(body) }
        }
        (Some(before), None) => Write::Remove { collection, key, rev: Some(before.rev) },
        (None, None) => Write::Check { collection, key, rev: None },
    }
}
