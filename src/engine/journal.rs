//! The one place that changes documents: each change and its event in one transaction, chained by hashes, without gaps.
//! Where somebody else changed a document since, that is told first, by an event of its own.

pub mod seal;
pub mod stranger;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::try_join_all;
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
/// Histories that are read at a time.
const AT_ONCE: usize = 8;

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
        changes: &[Change],
        extra: &[Write],
    ) -> Result<Vec<Event>, StoreError> {
        let drafts: Vec<Event> =
            changes.iter().filter_map(|change| self.draft(cause, change)).collect();
        let suspects: Vec<Suspect> = changes.iter().filter_map(suspect).collect();
        let guard = guard(cause.fence.as_ref())?;
        let base = || {
            let written = changes.iter().map(write);
            guard.iter().cloned().chain(written).chain(extra.iter().cloned()).collect()
        };
        // the changes mind the revisions of what they change, so it does not matter when that was read
        let reached = if suspects.is_empty() { 0 } else { self.reached().await? };
        let strangers = self.strangers(&suspects, reached).await?;
        self.append(base, strangers, drafts).await
    }

    /// How far the journal had come, at least: to be asked before suspects are read.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn reached(&self) -> Result<u64, StoreError> {
        let mut head = self.head.lock().await;
        let known = match head.take() {
            Some(known) => known,
            None => self.read_head().await?,
        };
        Ok(head.insert(known).0)
    }

    /// Writes an event for each of `suspects` that is not as its events left it, and returns them; asked again, it finds
    /// nothing. The suspects were read after the journal had `reached` that number, and may have changed since: that is
    /// another event. With `seals`, those that the journal knows as they stand are marked so, and are no suspects any more.
    ///
    /// # Errors
    /// Those of the store; `Conflict` on [`FENCE_KEY`] means that another leader has begun, on a suspect that the journal
    /// told of it meanwhile, or that it was to be marked and has changed.
    pub async fn note_strangers(
        &self,
        fence: &Fence,
        reached: u64,
        suspects: &[Suspect],
        seals: bool,
    ) -> Result<Vec<Event>, StoreError> {
        let strangers = self.strangers(suspects, reached).await?;
        let mut writes = Vec::from_iter(guard(Some(fence))?);
        for (collection, key, found) in strangers.known.iter().filter_map(|at| suspects.get(*at)) {
            if let (true, Some(Document { rev, body, .. })) = (seals, found) {
                let (rev, mut body) = (rev.clone(), body.clone());
                seal::seal(&mut body);
                let (collection, key) = (*collection, key.clone());
                writes.push(Write::Replace { collection, key, rev, body });
            }
        }
        if strangers.events.is_empty() && writes.len() < 2 {
            return Ok(Vec::new());
        }
        self.append(|| writes.clone(), strangers, Vec::new()).await
    }

    /// What the journal does not know of `suspects`.
    async fn strangers<'a>(
        &self,
        suspects: &'a [Suspect],
        seq: u64,
    ) -> Result<Strangers<'a>, StoreError> {
        let mut found = Vec::with_capacity(suspects.len());
        for some in suspects.chunks(AT_ONCE) {
            let asked = some.iter().map(|(collection, key, found)| {
                stranger::event(&*self.store, *collection, key, found.as_ref())
            });
            found.extend(try_join_all(asked).await?);
        }
        let known = found.iter().enumerate().filter(|(_, event)| event.is_none());
        let known = known.map(|(at, _)| at).collect();
        Ok(Strangers { suspects, seq, known, events: found.into_iter().flatten().collect() })
    }

    /// Writes what `base` makes, anew for each try, with an event for each draft, after those of what strangers did.
    async fn append(
        &self,
        base: impl Fn() -> Vec<Write> + Send + Sync,
        mut strangers: Strangers<'_>,
        mut drafts: Vec<Event>,
    ) -> Result<Vec<Event>, StoreError> {
        if drafts.is_empty() && strangers.suspects.is_empty() {
            self.store.transact(base(), Durability::Durable).await?;
            return Ok(Vec::new());
        }
        // made before others wait for us
        let mut first = Some(base());
        let mut head = self.head.lock().await;
        for _ in 0..TRIES {
            let (mut seq, mut hash) = match head.take() {
                Some(known) => known,
                None => self.read_head().await?,
            };
            // somebody may have told of them by now; one who does so from here on takes our number
            if let Some((collection, key)) = self.overtaken(&strangers, seq).await? {
                *head = Some((seq, hash));
                if drafts.is_empty() {
                    return Err(StoreError::Conflict { collection, key });
                }
                // histories may be long: others write meanwhile
                drop(head);
                strangers = self.strangers(strangers.suspects, seq).await?;
                head = self.head.lock().await;
                continue;
            }
            strangers.seq = seq;
            let at = self.clock.now();
            let mut writes = first.take().unwrap_or_else(&base);
            for event in strangers.events.iter_mut().chain(&mut drafts) {
                seq += 1;
                (event.seq, event.at, event.prev_hash) = (seq, at, hash);
                let body = event.sealed().ok_or_else(|| StoreError::Invalid {
                    message: "an event could not be written as JSON".into(),
                })?;
                hash = event.hash.clone();
                let (collection, key) = (Collection::Events, Key::new(&Event::key(seq))?);
                writes.push(Write::Insert { collection, key, body });
            }
            match self.store.transact(writes, Durability::Durable).await {
                Ok(_) => {
                    *head = Some((seq, hash));
                    strangers.events.append(&mut drafts);
                    return Ok(strangers.events);
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

    /// A suspect that an event up to `seq` may be about that is not known yet.
    async fn overtaken(
        &self,
        strangers: &Strangers<'_>,
        seq: u64,
    ) -> Result<Option<(Collection, Key)>, StoreError> {
        if strangers.suspects.is_empty() || seq <= strangers.seq {
            return Ok(None);
        }
        let keys = strangers.suspects.iter().map(|(of, key, _)| (*of, key.clone())).collect();
        stranger::told_since(&*self.store, strangers.seq, keys).await
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

/// What the journal did not know of `suspects` when its head was at `seq`.
#[derive(Debug)]
struct Strangers<'a> {
    suspects: &'a [Suspect],
    seq: u64,
    /// Places in `suspects` of those that the journal knows as they stand.
    known: BTreeSet<usize>,
    events: Vec<Event>,
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

fn write(change: &Change) -> Write {
    let (collection, key) = (change.collection, change.key.clone());
    let sealed = |body: &Body| {
        let mut body = body.clone();
        if seal::covers(collection) {
            seal::seal(&mut body);
        }
        body
    };
    match (&change.before, &change.after) {
        (None, Some(body)) => Write::Insert { collection, key, body: sealed(body) },
        (Some(before), Some(body)) if before.body == *body => {
            Write::Check { collection, key, rev: Some(before.rev.clone()) }
        }
        (Some(before), Some(body)) => {
            Write::Replace { collection, key, rev: before.rev.clone(), body: sealed(body) }
        }
        (Some(before), None) => Write::Remove { collection, key, rev: Some(before.rev.clone()) },
        (None, None) => Write::Check { collection, key, rev: None },
    }
}
