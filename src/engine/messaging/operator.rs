//! What operators do to messages, as writes and document transforms for the operations to put into their transactions.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::{MessagingError, addressable, read};
use crate::model::filter::Filter;
use crate::model::id::{AgentId, MessageId};
use crate::model::message::moves::{self, Fields, MessageRefusal};
use crate::model::message::{KEEP_KEY, Message, NewMessage};
use crate::model::schema::Collection;
use crate::model::template::FieldError;
use crate::model::time::Time;
use crate::ports::ids::Ids;
use crate::ports::store::{Body, Document, Key, Query, Store, StoreError, Write};

/// A message that is fit to be stored, under its new id.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub id: MessageId,
    pub key: Key,
    pub body: Body,
}

impl Prepared {
    pub fn write(&self) -> Write {
        Write::Insert {
            collection: Collection::AgentMessages,
            key: self.key.clone(),
            body: self.body.clone(),
        }
    }

    fn new(ids: &dyn Ids, message: &Message) -> Result<Self, StoreError> {
        let id = MessageId::mint(ids.draw());
        let key = Key::new(id.as_str())?;
        match serde_json::to_value(message) {
            Ok(Value::Object(body)) => Ok(Self { id, key, body }),
            _ => Err(StoreError::Invalid {
                message: "a message could not be written as JSON".into(),
            }),
        }
    }
}

/// Checks `new`, its receiver included, and makes the document to insert. Writes nothing.
///
/// Whether its idempotency key was used before shows only when it is inserted: `Exists`.
///
/// # Errors
/// `Invalid` with every fault; `Store`.
pub async fn prepare(
    store: &dyn Store,
    ids: &dyn Ids,
    now: Time,
    new: &NewMessage,
) -> Result<Prepared, MessagingError> {
    let mut one = prepare_many(store, ids, now, std::slice::from_ref(new), |_| false).await?;
    one.pop().ok_or_else(|| StoreError::Invalid { message: "nothing to send".into() }.into())
}

/// The message that stands for `new`: its sender used its idempotency key within 24 h.
///
/// # Errors
/// The store's.
pub async fn sent_before(
    store: &dyn Store,
    now: Time,
    new: &NewMessage,
) -> Result<Option<MessageId>, StoreError> {
    let Some(tag) = &new.idempotency_key else { return Ok(None) };
    let found = with_tag(store, &new.from, tag).await?;
    Ok(found.and_then(|found| remembered(&found, now)))
}

/// What `from` sent under this idempotency key, however long ago.
pub(super) async fn with_tag(
    store: &dyn Store,
    from: &AgentId,
    tag: &str,
) -> Result<Option<Document>, StoreError> {
    let filter = Filter::And(vec![
        Filter::eq("from_agent_id", from.as_str()),
        Filter::eq("idempotency_key", tag),
    ]);
    let query = Query { limit: 1, ..Query::new(Collection::AgentMessages, filter) };
    Ok(store.query(query).await?.documents.into_iter().next())
}

/// Its id, while its idempotency key is still remembered.
pub(super) fn remembered(found: &Document, now: Time) -> Option<MessageId> {
    let created = found.body.get("created_at").and_then(Value::as_str).unwrap_or_default();
    let fresh = created.parse::<Time>().is_ok_and(|at| now.since(at) < KEEP_KEY);
    MessageId::new(found.key.as_str()).ok().filter(|_| fresh)
}

/// As [`prepare`] for several; receivers that are `known` are not looked up.
pub(super) async fn prepare_many(
    store: &dyn Store,
    ids: &dyn Ids,
    now: Time,
    news: &[NewMessage],
    known: impl Fn(&AgentId) -> bool,
) -> Result<Vec<Prepared>, MessagingError> {
    let wanted = news.iter().map(|new| &new.to).filter(|id| !known(id)).collect();
    let receivers = receivers(store, wanted).await?;
    let mut errors = Vec::new();
    for (at, new) in news.iter().enumerate() {
        let mut faults = new.check().err().unwrap_or_default();
        if let Some(Err(why)) = receivers.get(&new.to) {
            faults.insert(0, FieldError::new("/to", why.clone()));
        }
        if news.len() > 1 {
            for fault in &mut faults {
                fault.path.insert_str(0, &format!("/{at}"));
            }
        }
        errors.extend(faults);
    }
    if !errors.is_empty() {
        return Err(MessagingError::Invalid { errors });
    }
    let prepared = news.iter().map(|new| Prepared::new(ids, &new.compose(now)));
    Ok(prepared.collect::<Result<_, _>>()?)
}

/// For each receiver, whether it can be sent to.
async fn receivers(
    store: &dyn Store,
    wanted: BTreeSet<&AgentId>,
) -> Result<HashMap<AgentId, Result<(), String>>, StoreError> {
    let mut answers: HashMap<AgentId, Result<(), String>> =
        wanted.iter().map(|id| ((*id).clone(), Err(format!("there is no agent {id}")))).collect();
    let keys: Vec<Key> = wanted.iter().map(|id| Key::new(id.as_str())).collect::<Result<_, _>>()?;
    for some in keys.chunks(1_000) {
        let found = match some {
            [one] => match store.get(Collection::Agents, one).await {
                Ok(document) => vec![document],
                Err(StoreError::NotFound { .. }) => Vec::new(),
                Err(error) => return Err(error),
            },
            many => store.get_many(Collection::Agents, many).await?,
        };
        for document in found {
            if let Some(answer) = answers.get_mut(document.key.as_str()) {
                *answer = addressable(&document);
            }
        }
    }
    Ok(answers)
}

/// Pending again, with all its attempts and its time to live anew, under the same id.
///
/// # Errors
/// `Refused` unless it is dead, failed, expired or cancelled.
pub fn requeue(document: &Document, now: Time) -> Result<Body, MessagingError> {
    changed(document, |message| message.requeued(now))
}

/// Put away for 24 h; [`restore`] takes it back.
///
/// # Errors
/// `Refused` while a receiver holds it.
pub fn purge(document: &Document, now: Time) -> Result<Body, MessagingError> {
    changed(document, |message| message.purged(now))
}

/// Never to be delivered; [`restore`] takes it back.
///
/// # Errors
/// `Refused` unless it waits.
pub fn cancel(document: &Document, now: Time) -> Result<Body, MessagingError> {
    changed(document, |message| message.cancelled(now))
}

/// Undoes a purge, a cancellation or a requeue.
///
/// # Errors
/// `Refused` when a receiver took it meanwhile or nothing is remembered.
pub fn restore(document: &Document, now: Time) -> Result<Body, MessagingError> {
    changed(document, |message| message.restored(now))
}

/// Into another receiver's queue. That the receiver exists is for the caller to check.
///
/// # Errors
/// `Refused` unless it waits.
pub fn relocate(document: &Document, to: &AgentId, now: Time) -> Result<Body, MessagingError> {
    changed(document, |message| message.moved(to, now))
}

/// A copy to be sent anew, under an id of its own.
///
/// # Errors
/// `Store` when the document is no message.
pub fn replay(document: &Document, ids: &dyn Ids, now: Time) -> Result<Prepared, MessagingError> {
    let copy = read(document)?.replayed(document.key.as_str(), now);
    Ok(Prepared::new(ids, &copy)?)
}

fn changed(
    document: &Document,
    how: impl FnOnce(&Message) -> Result<Fields, MessageRefusal>,
) -> Result<Body, MessagingError> {
    let set = how(&read(document)?)?;
    let mut body = document.body.clone();
    moves::apply(&mut body, set);
    Ok(body)
}
