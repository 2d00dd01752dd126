//! Direct messages: sent durably, claimed under a lease, acknowledged by their holder, tried again or put aside.
//!
//! Used by the engine and by agents in their own processes alike; all it needs is the store. At least once: a receiver
//! that dies before its acknowledgement gets the message again. Never decides what a message means.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::model::agent::Phase;
use crate::model::filter::{Field, Filter};
use crate::model::id::{AgentId, MessageId};
use crate::model::message::moves::{self, Fields, MessageRefusal};
use crate::model::message::{MAX_CLAIM, Message, MessageStatus, NewMessage};
use crate::model::schema::Collection;
use crate::model::template::FieldError;
use crate::model::time::Time;
use crate::ports::clock::Clock;
use crate::ports::ids::Ids;
use crate::ports::store::{
    Direction, Document, Durability, Guard, Key, Rev, Store, StoreError, UpdateWhere, Write,
};

pub mod operator;
pub mod pace;
pub mod sweep;

use self::operator::{remembered, with_tag};
pub use operator::{
    Prepared, cancel, prepare, purge, relocate, replay, requeue, restore, sent_before,
};
pub use sweep::run;

/// Why a message was not sent, or not moved on.
#[derive(Debug, thiserror::Error)]
pub enum MessagingError {
    /// The message itself is wrong; every fault is listed.
    #[error("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid { errors: Vec<FieldError> },
    /// Its lease ran out and it went on without this holder. What was done for it may be done again.
    #[error("message {key} is not held under this lease any more")]
    NotHeld { key: Key },
    #[error(transparent)]
    Refused(#[from] MessageRefusal),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Who claims: the agent, and the name under which this very process holds its leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    pub agent: AgentId,
    pub owner: Arc<str>,
}

impl Receiver {
    /// A holder of its own: two receivers of one agent never acknowledge each other's messages.
    pub fn new(agent: AgentId, ids: &dyn Ids) -> Self {
        let owner = format!("{agent}/{}", ids.draw().simple()).into();
        Self { agent, owner }
    }
}

/// A message under a receiver's lease, as [`Messaging::claim`] handed it out; nobody else can make one.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub key: Key,
    pub message: Message,
    rev: Rev,
    /// With the number of the attempt, the proof of the lease.
    owner: Arc<str>,
}

/// Shortest and longest lease.
const LEASES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3_600));
/// How often a write is decided anew when somebody else changed the message in between.
const TRIES: u32 = 5;

/// How long a receiver that was found is taken to be there still: one read less for each message of a busy sender. A
/// message to an agent deleted within this time is accepted and expires, as if it had been sent just before.
const KNOWN: Duration = Duration::from_secs(1);
const MOST_KNOWN: usize = 10_000;

/// Sends and settles messages. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Messaging {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// When each receiver was last seen to exist.
    known: Arc<Mutex<HashMap<AgentId, Instant>>>,
}

impl Messaging {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { store, clock, ids, known: Arc::default() }
    }

    /// Stores the message durably and returns its id; a repeated idempotency key returns the first id instead.
    ///
    /// # Errors
    /// `Invalid` with every fault (an unknown receiver is one): nothing was written. `Store`: it was not sent, except for
    /// `OutcomeUnknown` — send again with an idempotency key.
    pub async fn send(&self, new: &NewMessage) -> Result<MessageId, MessagingError> {
        let sent = self.send_many(std::slice::from_ref(new)).await?;
        sent.into_iter()
            .next()
            .ok_or_else(|| StoreError::Invalid { message: "nothing was sent".into() }.into())
    }

    /// All of them in one transaction or none; ids in the same order.
    ///
    /// # Errors
    /// Those of [`Messaging::send`]; a fault's path begins with the message's place when there are several.
    pub async fn send_many(&self, news: &[NewMessage]) -> Result<Vec<MessageId>, MessagingError> {
        let now = self.clock.now();
        let known = |id: &AgentId| self.is_known(id);
        let prepared = operator::prepare_many(&*self.store, &*self.ids, now, news, known).await?;
        self.now_known(news);
        // which messages are not written, because an earlier one of the same sender and key stands for them
        let mut same: HashMap<usize, MessageId> = HashMap::new();
        let mut seen: HashMap<(&AgentId, &str), usize> = HashMap::new();
        for (at, new) in news.iter().enumerate() {
            if let Some(tag) = &new.idempotency_key {
                let first = *seen.entry((&new.from, tag)).or_insert(at);
                if first != at {
                    same.insert(at, prepared[first].id.clone());
                }
            }
        }
        let firsts: HashSet<usize> = seen.into_values().collect();
        for _ in 0..=news.len() {
            let writes: Vec<Write> = prepared
                .iter()
                .enumerate()
                .filter(|(at, _)| !same.contains_key(at))
                .map(|(_, prepared)| prepared.write())
                .collect();
            if writes.is_empty() {
                return Ok(answers(prepared, same));
            }
            let taken = match self.store.transact(writes, Durability::Durable).await {
                Ok(_) => return Ok(answers(prepared, same)),
                Err(StoreError::OutcomeUnknown(why)) => {
                    return self.read_back(prepared, same, StoreError::OutcomeUnknown(why)).await;
                }
                Err(error @ StoreError::Exists { .. }) => error,
                Err(error) => return Err(error.into()),
            };
            let mut tagged = false;
            for (at, new) in news.iter().enumerate().filter(|(at, _)| firsts.contains(at)) {
                let Some(tag) = new.idempotency_key.as_deref() else { continue };
                tagged = true;
                if let Some(first) = self.first_with(&new.from, tag, now).await? {
                    for id in same.values_mut().filter(|id| **id == prepared[at].id) {
                        *id = first.clone();
                    }
                    same.insert(at, first);
                }
            }
            if !tagged {
                return Err(taken.into());
            }
        }
        Err(StoreError::Unavailable("idempotency keys kept changing hands".into()).into())
    }

    fn is_known(&self, id: &AgentId) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.instant();
        known.get(id).is_some_and(|seen| now.saturating_duration_since(*seen) < KNOWN)
    }

    /// Receivers whose entry is still fresh keep its time, so that a deleted one is noticed under any load.
    fn now_known(&self, news: &[NewMessage]) {
        let now = self.clock.instant();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MOST_KNOWN {
            known.clear();
        }
        for new in news {
            let seen = known.entry(new.to.clone()).or_insert(now);
            if now.saturating_duration_since(*seen) >= KNOWN {
                *seen = now;
            }
        }
    }

    /// Whether a transaction whose outcome is unknown did happen.
    async fn read_back(
        &self,
        prepared: Vec<Prepared>,
        same: HashMap<usize, MessageId>,
        unknown: StoreError,
    ) -> Result<Vec<MessageId>, MessagingError> {
        let written = prepared.iter().enumerate().find(|(at, _)| !same.contains_key(at));
        let Some((_, one)) = written else { return Ok(answers(prepared, same)) };
        match self.store.get(Collection::AgentMessages, &one.key).await {
            Ok(_) => Ok(answers(prepared, same)),
            Err(_) => Err(unknown.into()),
        }
    }

    /// The id under which `from` used this key within 24 h. An older use gives the key up.
    async fn first_with(
        &self,
        from: &AgentId,
        tag: &str,
        now: Time,
    ) -> Result<Option<MessageId>, MessagingError> {
        let Some(found) = with_tag(&*self.store, from, tag).await? else {
            return Ok(None); // gone meanwhile
        };
        if let Some(id) = remembered(&found, now) {
            return Ok(Some(id));
        }
        let gone = Fields::from_iter([("idempotency_key".to_owned(), Value::Null)]);
        match self.store.transact(at_rev(&found.key, &found.rev, gone), Durability::Durable).await {
            Ok(_) | Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes up to `limit` (1 to 100) due messages, most urgent first, then oldest, under a lease of `lease`.
    ///
    /// One atomic statement: two receivers never hold the same message, and nothing is taken unless the agent's phase is
    /// `running`. Not waited for on disk: a claim lost in a power cut is only delivered again.
    ///
    /// # Errors
    /// `Store`. When the outcome is unknown, what was claimed comes back when its lease runs out.
    pub async fn claim(
        &self,
        receiver: &Receiver,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Claimed>, MessagingError> {
        let now = self.clock.now();
        let at = || Value::String(now.to_string());
        let until = now.plus(lease.clamp(LEASES.0, LEASES.1));
        let guard = Guard {
            collection: Collection::Agents,
            key: Key::new(receiver.agent.as_str())?,
            filter: Filter::eq("phase", Phase::Running.name()),
        };
        // agents that know only the seed fields write neither `available_at` nor, always, `expires_at`
        let unless = |name: &'static str| Filter::Not(Box::new(Filter::Exists(name.into())));
        let update = UpdateWhere {
            collection: Collection::AgentMessages,
            filter: Filter::And(vec![
                Filter::eq("to_agent_id", receiver.agent.as_str()),
                Filter::eq("status", MessageStatus::Pending.name()),
                Filter::Or(vec![
                    Filter::Lte(Field::of("available_at"), at()),
                    unless("available_at"),
                ]),
                Filter::Or(vec![Filter::Gt(Field::of("expires_at"), at()), unless("expires_at")]),
            ]),
            sort: vec![
                (Field::of("rank"), Direction::Ascending),
                (Field::of("created_at"), Direction::Ascending),
            ],
            limit: limit.clamp(1, MAX_CLAIM),
            set: vec![
                (Field::of("status"), MessageStatus::Leased.name().into()),
                (Field::of("lease_owner"), (*receiver.owner).into()),
                (Field::of("lease_until"), Value::String(until.to_string())),
                (Field::of("delivered_at"), at()),
            ],
            add: vec![(Field::of("attempts"), 1)],
            guard: Some(guard),
            durability: Durability::Relaxed,
        };
        let documents = self.store.update_where(update).await?;
        let mut claimed = Vec::with_capacity(documents.len());
        for document in documents {
            match read(&document) {
                Ok(message) => {
                    let Document { key, rev, .. } = document;
                    claimed.push(Claimed { key, message, rev, owner: receiver.owner.clone() });
                }
                Err(error) => self.bury(&document, &error, now).await?,
            }
        }
        Ok(claimed)
    }

    /// A document that is no message would come back for ever: it goes to the dead letters with the reason.
    async fn bury(
        &self,
        document: &Document,
        error: &StoreError,
        now: Time,
    ) -> Result<(), MessagingError> {
        let spent = Message { attempts: u32::MAX, ..Message::default() };
        let set = moves::failed(&spent, &error.to_string(), now, 0.0);
        let writes = at_rev(&document.key, &document.rev, set);
        match self.store.transact(writes, Durability::Relaxed).await {
            Ok(_) | Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lengthens the leases of everything that `receiver` holds to `lease` from now; returns how many.
    ///
    /// # Errors
    /// `Store`; the leases stand as they were.
    pub async fn extend(
        &self,
        receiver: &Receiver,
        lease: Duration,
    ) -> Result<usize, MessagingError> {
        let until = self.clock.now().plus(lease.clamp(LEASES.0, LEASES.1));
        let update = UpdateWhere {
            collection: Collection::AgentMessages,
            filter: Filter::And(vec![
                Filter::eq("to_agent_id", receiver.agent.as_str()),
                Filter::eq("status", MessageStatus::Leased.name()),
                Filter::eq("lease_owner", &*receiver.owner),
            ]),
            sort: Vec::new(),
            limit: 10_000,
            set: vec![(Field::of("lease_until"), Value::String(until.to_string()))],
            add: Vec::new(),
            guard: None,
            durability: Durability::Relaxed,
        };
        Ok(self.store.update_where(update).await?.len())
    }

    /// The work is done. Only the holder of the lease may say so; saying it twice is no error.
    ///
    /// Not waited for on disk: what is lost in a power cut is delivered once more, which at-least-once allows.
    ///
    /// # Errors
    /// `NotHeld`; `Store`: try again while the lease lasts.
    pub async fn ack(&self, receiver: &Receiver, claimed: &Claimed) -> Result<(), MessagingError> {
        let set = moves::acked(self.clock.now());
        self.settle(receiver, claimed, MessageStatus::Delivered, set).await
    }

    /// The work failed: due again after a pause, or dead when that was its last attempt. Returns when it is due again.
    ///
    /// # Errors
    /// As [`Messaging::ack`].
    pub async fn nack(
        &self,
        receiver: &Receiver,
        claimed: &Claimed,
        error: &str,
    ) -> Result<Option<Time>, MessagingError> {
        let set = moves::failed(&claimed.message, error, self.clock.now(), rand::random());
        let due = set.get("available_at").and_then(Value::as_str).and_then(|at| at.parse().ok());
        let to = if due.is_some() { MessageStatus::Pending } else { MessageStatus::Dead };
        self.settle(receiver, claimed, to, set).await?;
        Ok(due)
    }

    /// Gives back a message that was never begun: due at once, and the attempt does not count.
    ///
    /// # Errors
    /// As [`Messaging::ack`].
    pub async fn release(
        &self,
        receiver: &Receiver,
        claimed: &Claimed,
    ) -> Result<(), MessagingError> {
        let set = moves::released(&claimed.message, self.clock.now());
        self.settle(receiver, claimed, MessageStatus::Pending, set).await
    }

    /// Writes `set` if the lease still stands, whatever else changed in the document.
    async fn settle(
        &self,
        receiver: &Receiver,
        claimed: &Claimed,
        to: MessageStatus,
        set: Fields,
    ) -> Result<(), MessagingError> {
        let not_held = || MessagingError::NotHeld { key: claimed.key.clone() };
        if claimed.owner != receiver.owner {
            return Err(not_held());
        }
        let mut rev = claimed.rev.clone();
        for _ in 0..TRIES {
            let writes = at_rev(&claimed.key, &rev, set.clone());
            match self.store.transact(writes, Durability::Relaxed).await {
                Ok(_) => return Ok(()),
                Err(StoreError::NotFound { .. }) => return Err(not_held()),
                Err(StoreError::Conflict { .. } | StoreError::OutcomeUnknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let now = match self.store.get(Collection::AgentMessages, &claimed.key).await {
                Ok(document) => document,
                Err(StoreError::NotFound { .. }) => return Err(not_held()),
                Err(error) => return Err(error.into()),
            };
            let found = read(&now)?;
            let same_attempt = found.attempts == claimed.message.attempts;
            let held = found.status == MessageStatus::Leased
                && found.lease_owner.as_deref() == Some(&*receiver.owner);
            if !held {
                // our own write whose answer was lost, or a second call: it stands
                let done = to == MessageStatus::Delivered && found.status == to && same_attempt;
                return if done { Ok(()) } else { Err(not_held()) };
            }
            if !same_attempt {
                return Err(not_held());
            }
            rev = now.rev;
        }
        Err(StoreError::Unavailable("the message kept changing".into()).into())
    }
}

/// Writes that set `fields` of a message that is at `rev`.
fn at_rev(key: &Key, rev: &Rev, fields: Fields) -> Vec<Write> {
    let collection = Collection::AgentMessages;
    vec![
        Write::Check { collection, key: key.clone(), rev: Some(rev.clone()) },
        Write::Merge { collection, key: key.clone(), fields, create: false },
    ]
}

fn answers(prepared: Vec<Prepared>, mut same: HashMap<usize, MessageId>) -> Vec<MessageId> {
    let pick = |(at, prepared): (usize, Prepared)| same.remove(&at).unwrap_or(prepared.id);
    prepared.into_iter().enumerate().map(pick).collect()
}

/// The message in a document.
///
/// # Errors
/// `Corrupt`, saying why it is none.
pub fn read(document: &Document) -> Result<Message, StoreError> {
    serde_json::from_value(Value::Object(document.body.clone())).map_err(|error| {
        StoreError::Corrupt { message: format!("{} is no message: {error}", document.key) }
    })
}

/// Whether messages may be sent to the agent in this document; says why not.
fn addressable(document: &Document) -> Result<(), String> {
    let phase: Phase = document
        .body
        .get("phase")
        .and_then(|phase| serde_json::from_value(phase.clone()).ok())
        .unwrap_or_default();
    match phase {
        Phase::Deleted => Err(format!("agent {} is deleted", document.key)),
        Phase::Pending
        | Phase::Deploying
        | Phase::Running
        | Phase::Paused
        | Phase::Draining
        | Phase::Stopped
        | Phase::Failed => Ok(()),
    }
}

#[cfg(test)]
mod tests;
