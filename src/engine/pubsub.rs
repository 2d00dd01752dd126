//! Publish and subscribe: publishing is one insert however many listen; each subscription reads on from its own cursor.
//!
//! The cursor moves only by acknowledgement, so a subscriber that was down misses nothing that is still within its time to
//! live. Never pushes anything to anybody: whoever listens asks, and is woken by the feed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::messaging::MessagingError;
use crate::model::filter::{Field, Filter};
use crate::model::id::{PublicationId, SubscriptionId};
use crate::model::message::moves::Fields;
use crate::model::pubsub::{Matcher, NewPublication, NewSubscription, Publication, Subscription};
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::clock::Clock;
use crate::ports::ids::Ids;
use crate::ports::store::{
    Body, Direction, Document, Durability, Key, Page, Query, Rev, Store, StoreError, Write,
};

/// Why a subscription could not be read or moved on.
#[derive(Debug, thiserror::Error)]
pub enum PubSubError {
    #[error("there is no subscription {0}")]
    Unknown(SubscriptionId),
    #[error("subscription {0} is not active")]
    Inactive(SubscriptionId),
    /// Another reader has it until its lease ends.
    #[error("subscription {id} is being read by {holder} until {until}")]
    Busy { id: SubscriptionId, holder: String, until: Time },
    /// An acknowledgement of what was never published.
    #[error("publication {seq} does not exist: the last one is {last}")]
    Ahead { seq: u64, last: u64 },
    #[error("subscription {id} cannot match anything: {why}")]
    Bad { id: SubscriptionId, why: String },
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Publications that a subscription asked for, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub publications: Vec<(PublicationId, Publication)>,
    /// Everything up to this number was looked at: acknowledge it once the batch is handled.
    pub upto: u64,
    /// There may be more at once.
    pub more: bool,
}

/// How many publications are looked at in one go for those that match.
const PAGE: usize = 500;
/// How many pages one fetch looks at before it returns with what it has.
const PAGES: usize = 20;
const TRIES: u32 = 5;

#[derive(Debug, Clone)]
pub struct PubSub {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

/// A document fit to be inserted, under its id.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<I> {
    pub id: I,
    pub write: Write,
}

impl PubSub {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { store, clock, ids }
    }

    /// Stores the publication durably.
    ///
    /// # Errors
    /// `Invalid` with every fault; `Store`.
    pub async fn publish(&self, new: &NewPublication) -> Result<PublicationId, MessagingError> {
        let draft = draft_publication(&*self.ids, self.clock.now(), new)?;
        self.store.transact(vec![draft.write], Durability::Durable).await?;
        Ok(draft.id)
    }

    /// From now on, what matches waits for the subscriber. The same wishes again are the same subscription: an active one
    /// keeps its cursor, one that was ended begins anew from now.
    ///
    /// # Errors
    /// `Invalid` with every fault; `Store`.
    pub async fn subscribe(&self, new: &NewSubscription) -> Result<SubscriptionId, MessagingError> {
        for _ in 0..TRIES {
            let (id, writes) = draft_subscription(&*self.store, self.clock.now(), new).await?;
            if writes.is_empty() {
                return Ok(id);
            }
            match self.store.transact(writes, Durability::Durable).await {
                Ok(_) => return Ok(id),
                Err(StoreError::Exists { .. } | StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("the subscription kept changing".into()).into())
    }

    /// Nothing waits for this subscription any more. Twice is no error.
    ///
    /// # Errors
    /// `Unknown`; `Store`.
    pub async fn unsubscribe(&self, id: &SubscriptionId) -> Result<(), PubSubError> {
        let write = Write::Merge {
            collection: Collection::AgentSubscriptions,
            key: Key::new(id.as_str())?,
            fields: ended(),
            create: false,
        };
        match self.store.transact(vec![write], Durability::Durable).await {
            Ok(_) => Ok(()),
            Err(StoreError::NotFound { .. }) => Err(PubSubError::Unknown(id.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// The next publications for a subscription, up to `limit`, after its cursor or after `from` if that is further.
    ///
    /// `reader` holds the subscription for `lease`, so that of two processes of one agent only one handles a publication.
    /// A reader that dies leaves the cursor where it was. Pass [`Batch::upto`] as `from` to read on before acknowledging.
    ///
    /// # Errors
    /// `Unknown`, `Inactive`, `Bad`; `Busy`: try again when the other's lease is over; `Store`.
    pub async fn fetch(
        &self,
        id: &SubscriptionId,
        reader: &str,
        from: u64,
        limit: usize,
        lease: Duration,
    ) -> Result<Batch, PubSubError> {
        let now = self.clock.now();
        let subscription = self.take(id, reader, now, lease).await?;
        let matcher = Matcher::new(&subscription)
            .map_err(|bad| PubSubError::Bad { id: id.clone(), why: bad.to_string() })?;
        let mut batch = Batch { upto: subscription.cursor.max(from), ..Batch::default() };
        for _ in 0..PAGES {
            let page = self.after(batch.upto, &matcher, now).await?;
            for document in &page.documents {
                let Some((id, publication)) = read_publication(document) else { continue };
                batch.upto = publication.seq;
                if matcher.matches(&publication) {
                    batch.publications.push((id, publication));
                }
                if batch.publications.len() >= limit {
                    batch.more = true;
                    return Ok(batch);
                }
            }
            if page.next.is_none() {
                return Ok(batch);
            }
        }
        batch.more = true;
        Ok(batch)
    }

    async fn after(&self, seq: u64, matcher: &Matcher, now: Time) -> Result<Page, StoreError> {
        let mut all = vec![
            Filter::Gt(Field::of("seq"), seq.into()),
            Filter::Gt(Field::of("expires_at"), json!(now)),
        ];
        // one event name is looked up through its own index; a glob reads on in order and matches here
        if matcher.pattern.is_exact() {
            all.push(Filter::eq("event_name", matcher.pattern.prefix()));
        }
        let query = Query {
            sort: vec![(Field::of("seq"), Direction::Ascending)],
            limit: PAGE,
            ..Query::new(Collection::AgentPublications, Filter::And(all))
        };
        self.store.query(query).await
    }

    /// Makes `reader` the one that reads, if nobody else does.
    async fn take(
        &self,
        id: &SubscriptionId,
        reader: &str,
        now: Time,
        lease: Duration,
    ) -> Result<Subscription, PubSubError> {
        let key = Key::new(id.as_str())?;
        for _ in 0..TRIES {
            let (rev, subscription) = self.read(id, &key).await?;
            if !subscription.active {
                return Err(PubSubError::Inactive(id.clone()));
            }
            let until = subscription.lease_until.unwrap_or_default();
            match &subscription.lease_owner {
                Some(holder) if holder != reader && until > now => {
                    return Err(PubSubError::Busy {
                        id: id.clone(),
                        holder: holder.clone(),
                        until,
                    });
                }
                // most of the lease is left: no need to write
                Some(holder) if holder == reader && until.since(now) > lease / 2 => {
                    return Ok(subscription);
                }
                _ => {}
            }
            let fields = json!({ "lease_owner": reader, "lease_until": now.plus(lease) });
            let writes = at_rev(&key, &rev, fields);
            match self.store.transact(writes, Durability::Relaxed).await {
                Ok(_) => return Ok(subscription),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("the subscription kept changing".into()).into())
    }

    /// Everything up to `seq` is handled: the cursor moves there, never back. `matched` is how many of it were handed out.
    ///
    /// # Errors
    /// `Busy` unless `reader` still holds the subscription; `Ahead` of everything published; `Unknown`; `Store`.
    pub async fn ack(
        &self,
        id: &SubscriptionId,
        reader: &str,
        seq: u64,
        matched: u64,
    ) -> Result<(), PubSubError> {
        let key = Key::new(id.as_str())?;
        for _ in 0..TRIES {
            let (rev, subscription) = self.read(id, &key).await?;
            if let Some(holder) = subscription.lease_owner.filter(|holder| holder != reader) {
                let until = subscription.lease_until.unwrap_or_default();
                return Err(PubSubError::Busy { id: id.clone(), holder, until });
            }
            if seq <= subscription.cursor {
                return Ok(());
            }
            let last = self.last().await?;
            // everything may have passed its time meanwhile, so that nothing is left to compare with
            if seq > last && last != 0 {
                return Err(PubSubError::Ahead { seq, last });
            }
            let mut fields = json!({ "cursor": seq });
            if matched > 0 {
                fields["matched"] = json!(subscription.matched + matched);
                fields["last_matched_at"] = json!(self.clock.now());
            }
            // not waited for on disk: an acknowledgement lost in a power cut hands the same publications out again
            match self.store.transact(at_rev(&key, &rev, fields), Durability::Relaxed).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("the subscription kept changing".into()).into())
    }

    /// `reader` reads no further for now: another may at once. Nothing happens if it is not the one that reads.
    ///
    /// # Errors
    /// `Unknown`; `Bad`; `Store`.
    pub async fn release(&self, id: &SubscriptionId, reader: &str) -> Result<(), PubSubError> {
        let key = Key::new(id.as_str())?;
        for _ in 0..TRIES {
            let (rev, subscription) = self.read(id, &key).await?;
            if subscription.lease_owner.as_deref() != Some(reader) {
                return Ok(());
            }
            let fields = json!({ "lease_owner": null, "lease_until": null });
            match self.store.transact(at_rev(&key, &rev, fields), Durability::Relaxed).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("the subscription kept changing".into()).into())
    }

    async fn read(
        &self,
        id: &SubscriptionId,
        key: &Key,
    ) -> Result<(Rev, Subscription), PubSubError> {
        match self.store.get(Collection::AgentSubscriptions, key).await {
            Ok(document) => {
                let rev = document.rev.clone();
                let read = serde_json::from_value(Value::Object(document.body));
                let read = read
                    .map_err(|error| PubSubError::Bad { id: id.clone(), why: error.to_string() })?;
                Ok((rev, read))
            }
            Err(StoreError::NotFound { .. }) => Err(PubSubError::Unknown(id.clone())),
            Err(error) => Err(error.into()),
        }
    }

    async fn last(&self) -> Result<u64, StoreError> {
        last(&*self.store).await
    }
}

/// The number of the newest publication that is still kept; 0 when there is none.
async fn last(store: &dyn Store) -> Result<u64, StoreError> {
    let newest = Query {
        sort: vec![(Field::of("seq"), Direction::Descending)],
        limit: 1,
        ..Query::new(Collection::AgentPublications, Filter::All)
    };
    let page = store.query(newest).await?;
    let seq = page.documents.first().and_then(|document| document.body.get("seq"));
    Ok(seq.and_then(Value::as_u64).unwrap_or(0))
}

fn at_rev(key: &Key, rev: &Rev, fields: Value) -> Vec<Write> {
    let collection = Collection::AgentSubscriptions;
    let fields = fields.as_object().cloned().unwrap_or_default();
    vec![
        Write::Check { collection, key: key.clone(), rev: Some(rev.clone()) },
        Write::Merge { collection, key: key.clone(), fields, create: false },
    ]
}

/// A publication that cannot be read is nobody's: it is passed over.
fn read_publication(document: &Document) -> Option<(PublicationId, Publication)> {
    let id = PublicationId::new(document.key.as_str()).ok()?;
    Some((id, serde_json::from_value(Value::Object(document.body.clone())).ok()?))
}

/// The insert that publishes `new`, for a transaction of the caller's.
///
/// # Errors
/// `Invalid` with every fault.
pub fn draft_publication(
    ids: &dyn Ids,
    now: Time,
    new: &NewPublication,
) -> Result<Draft<PublicationId>, MessagingError> {
    new.check().map_err(|errors| MessagingError::Invalid { errors })?;
    let id = PublicationId::mint(ids.draw());
    let (collection, key) = (Collection::AgentPublications, Key::new(id.as_str())?);
    let body = body(&new.compose(now))?;
    Ok(Draft { id, write: Write::Insert { collection, key, body } })
}

/// The writes that subscribe `new`, for a transaction of the caller's; none when it is subscribed already.
///
/// # Errors
/// `Invalid` with every fault; `Store`.
pub async fn draft_subscription(
    store: &dyn Store,
    now: Time,
    new: &NewSubscription,
) -> Result<(SubscriptionId, Vec<Write>), MessagingError> {
    new.check().map_err(|errors| MessagingError::Invalid { errors })?;
    let id = new.id();
    let (collection, key) = (Collection::AgentSubscriptions, Key::new(id.as_str())?);
    let cursor = last(store).await?;
    let document = match store.get(collection, &key).await {
        Ok(document) => document,
        Err(StoreError::NotFound { .. }) => {
            let body = body(&new.compose(cursor, now))?;
            return Ok((id, vec![Write::Insert { collection, key, body }]));
        }
        Err(error) => return Err(error.into()),
    };
    if document.body.get("active").and_then(Value::as_bool) == Some(true) {
        return Ok((id, Vec::new()));
    }
    let again = json!({
        "active": true, "cursor": cursor, "lease_owner": null, "lease_until": null,
    });
    Ok((id, at_rev(&key, &document.rev, again)))
}

/// The fields that end a subscription.
pub fn ended() -> Fields {
    let fields = json!({ "active": false, "lease_owner": null, "lease_until": null });
    fields.as_object().cloned().unwrap_or_default()
}

fn body(document: &impl serde::Serialize) -> Result<Body, StoreError> {
    match serde_json::to_value(document) {
        Ok(Value::Object(body)) => Ok(body),
        _ => Err(StoreError::Invalid { message: "it could not be written as JSON".into() }),
    }
}

#[cfg(test)]
mod tests;
