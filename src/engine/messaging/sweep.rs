//! What time does to messages: leases run out, messages expire, idempotency keys are forgotten. Run by the leader; every
//! step is a compare-and-swap that may be repeated, so a second sweeper does no harm.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Messaging, MessagingError, at_rev, read};
use crate::engine::context::Context;
use crate::engine::journal::{FENCE_KEY, Fence};
use crate::model::filter::{Field, Filter};
use crate::model::message::{KEEP_FINAL, KEEP_KEY, MessageStatus, moves};
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{
    BoxError, Direction, Document, Durability, Key, Query, StoreError, UpdateWhere, Write, chain,
};

/// What one sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leases that ran out and whose messages wait again.
    pub returned: u64,
    /// Messages whose last attempt's lease ran out.
    pub dead: u64,
    pub expired: u64,
    /// Idempotency keys forgotten.
    pub forgotten: u64,
    /// Messages finished by agents that set no date for their removal, dated now.
    pub dated: u64,
    /// Up to which time to live finished messages have been looked through for undated ones.
    pub dated_to: Time,
    /// When the next lease or message runs out, as far as is known.
    pub next: Option<Time>,
}

const BATCH: usize = 500;
/// Writes under way at once; the store commits them in groups.
const AT_ONCE: usize = 32;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
/// Between two rounds over what is not urgent.
const SELDOM: Duration = Duration::from_secs(60);
/// Pages of finished messages that one look for undated ones reads; the rest is the next look's.
const PAGES: usize = 20;
/// The document in `leases` that says up to when finished messages have been looked through, for the next leader.
const DATED_KEY: &str = "messages-dated";
/// It is written when it is this old. The next leader looks once more at what came since.
const NOTE_EVERY: Duration = Duration::from_secs(600);

impl Messaging {
    /// One sweep over what is due: expired leases, expired messages.
    ///
    /// # Errors
    /// `Store`; what was done before stands.
    pub async fn sweep(&self, now: Time) -> Result<Swept, MessagingError> {
        let mut swept = Swept::default();
        self.leases_run_out(now, &mut swept).await?;
        swept.expired = self.messages_expire(now).await?;
        swept.next = self.next_deadline(now).await?;
        Ok(swept)
    }

    /// What can wait a minute: keys older than 24 h, and messages that other agents finished between the two times
    /// without a date for their removal.
    ///
    /// # Errors
    /// `Store`; what was done before stands.
    pub async fn sweep_seldom(&self, since: Time, now: Time) -> Result<Swept, MessagingError> {
        let forgotten = self.keys_are_forgotten(now).await?;
        let (dated, dated_to) = self.strangers_are_dated(since, now).await?;
        Ok(Swept { forgotten, dated, dated_to, ..Swept::default() })
    }

    async fn leases_run_out(&self, now: Time, swept: &mut Swept) -> Result<(), MessagingError> {
        let due = Query {
            filter: Filter::And(vec![
                Filter::eq("status", MessageStatus::Leased.name()),
                Filter::Lte(Field::of("lease_until"), stamp(now)),
            ]),
            sort: vec![(Field::of("lease_until"), Direction::Ascending)],
            limit: BATCH,
            ..Query::new(Collection::AgentMessages, Filter::All)
        };
        loop {
            let page = self.store.query(due.clone()).await?;
            let full = page.documents.len() == BATCH;
            let ends = stream::iter(page.documents)
                .map(|document| self.lease_ran_out(document, now))
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>()
                .await;
            let mut moved = 0;
            for end in ends {
                match end? {
                    Some(MessageStatus::Dead) => (swept.dead, moved) = (swept.dead + 1, moved + 1),
                    Some(_) => (swept.returned, moved) = (swept.returned + 1, moved + 1),
                    None => {}
                }
            }
            // a page in which everything was changed by others is theirs to finish
            if !full || moved == 0 {
                return Ok(());
            }
        }
    }

    /// The new status; `None` when its holder or another sweeper was faster.
    async fn lease_ran_out(
        &self,
        document: Document,
        now: Time,
    ) -> Result<Option<MessageStatus>, MessagingError> {
        let message = match read(&document) {
            Ok(message) => message,
            Err(error) => {
                self.bury(&document, &error, now).await?;
                return Ok(Some(MessageStatus::Dead));
            }
        };
        let holder = message.lease_owner.as_deref().unwrap_or("its receiver");
        let why = format!("the lease of {holder} ran out");
        let set = moves::failed(&message, &why, now, rand::random());
        let dead = set.get("dead_at").is_some();
        let writes = at_rev(&document.key, &document.rev, set);
        match self.store.transact(writes, Durability::Relaxed).await {
            Ok(_) if dead => Ok(Some(MessageStatus::Dead)),
            Ok(_) => Ok(Some(MessageStatus::Pending)),
            Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn messages_expire(&self, now: Time) -> Result<u64, MessagingError> {
        let set = moves::expired(now);
        let set = set.into_iter().map(|(name, value)| {
            let name = Field::new(&name);
            name.map(|name| (name, value))
                .map_err(|error| StoreError::Invalid { message: error.to_string() })
        });
        self.update_all(UpdateWhere {
            collection: Collection::AgentMessages,
            filter: Filter::And(vec![
                Filter::eq("status", MessageStatus::Pending.name()),
                Filter::Lte(Field::of("expires_at"), stamp(now)),
            ]),
            // an index's order, so that a batch costs no more than itself
            sort: vec![(Field::of("expires_at"), Direction::Ascending)],
            limit: BATCH,
            set: set.collect::<Result<_, _>>()?,
            add: Vec::new(),
            guard: None,
            durability: Durability::Relaxed,
        })
        .await
    }

    async fn keys_are_forgotten(&self, now: Time) -> Result<u64, MessagingError> {
        self.update_all(UpdateWhere {
            collection: Collection::AgentMessages,
            filter: Filter::And(vec![
                Filter::Exists(Field::of("idempotency_key")),
                Filter::Lte(Field::of("created_at"), stamp(now.minus(KEEP_KEY))),
            ]),
            sort: vec![(Field::of("created_at"), Direction::Ascending)],
            limit: BATCH,
            set: vec![(Field::of("idempotency_key"), Value::Null)],
            add: Vec::new(),
            guard: None,
            durability: Durability::Relaxed,
        })
        .await
    }

    /// Agents that know only the seed fields write `pending → delivered` and no more; such messages would stay for ever.
    /// They are found once their time to live has passed, in the window since the last look. Nearly all that is in it is
    /// dated already, so it is read in pages and only what is not dated is written. Returns how many that were, and how
    /// far it came: not to the end when there is too much for one look.
    async fn strangers_are_dated(
        &self,
        since: Time,
        now: Time,
    ) -> Result<(u64, Time), MessagingError> {
        let (mut dated, mut upto) = (0, now);
        for status in [MessageStatus::Delivered, MessageStatus::Failed] {
            let expires_at = Field::of("expires_at");
            let mut pages = Query {
                filter: Filter::And(vec![
                    Filter::eq("status", status.name()),
                    Filter::Gte(expires_at.clone(), stamp(since)),
                    Filter::Lte(expires_at.clone(), stamp(now)),
                ]),
                sort: vec![(expires_at.clone(), Direction::Ascending)],
                limit: BATCH,
                ..Query::new(Collection::AgentMessages, Filter::All)
            };
            for read in 1.. {
                let page = self.store.query(pages.clone()).await?;
                let last = page.documents.last();
                let last = last.and_then(|last| expires_at.of_document(&last.body).as_str());
                let last: Option<Time> = last.and_then(|at| at.parse().ok());
                dated += self.date(page.documents, now).await?;
                pages.after = page.next;
                if pages.after.is_none() {
                    break;
                }
                // however many have the same time, the next look must begin later than this one
                if read >= PAGES
                    && let Some(last) = last.filter(|last| *last > since)
                {
                    upto = upto.min(last);
                    break;
                }
            }
        }
        Ok((dated, upto))
    }

    /// Dates those of `documents` that have no date; who was faster with one of them has done it.
    async fn date(&self, documents: Vec<Document>, now: Time) -> Result<u64, MessagingError> {
        let purge_at = Field::of("purge_at");
        let undated =
            documents.into_iter().filter(|document| purge_at.of_document(&document.body).is_null());
        let ends = stream::iter(undated)
            .map(|document| async move {
                let fields = json!({"purge_at": now.plus(KEEP_FINAL)});
                let fields = fields.as_object().cloned().unwrap_or_default();
                let writes = at_rev(&document.key, &document.rev, fields);
                match self.store.transact(writes, Durability::Relaxed).await {
                    Ok(_) => Ok(1),
                    Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => Ok(0),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let mut dated = 0;
        for end in ends {
            dated += end?;
        }
        Ok(dated)
    }

    /// Up to which time to live the leaders so far have looked through.
    async fn dated_to(&self) -> Result<Time, StoreError> {
        match self.store.get(Collection::Leases, &Key::new(DATED_KEY)?).await {
            Ok(document) => {
                let at = document.body.get("dated_to").and_then(Value::as_str);
                Ok(at.and_then(|at| at.parse().ok()).unwrap_or(Time::EPOCH))
            }
            Err(StoreError::NotFound { .. }) => Ok(Time::EPOCH),
            Err(error) => Err(error),
        }
    }

    async fn note_dated_to(&self, at: Time) -> Result<(), StoreError> {
        let fields = json!({"dated_to": at}).as_object().cloned().unwrap_or_default();
        let (collection, key) = (Collection::Leases, Key::new(DATED_KEY)?);
        let write = Write::Merge { collection, key, fields, create: true };
        self.store.transact(vec![write], Durability::Relaxed).await.map(drop)
    }

    async fn update_all(&self, update: UpdateWhere) -> Result<u64, MessagingError> {
        let mut all = 0;
        loop {
            let some = self.store.update_where(update.clone()).await?.len();
            all += some as u64;
            if some < update.limit {
                return Ok(all);
            }
        }
    }

    async fn next_deadline(&self, now: Time) -> Result<Option<Time>, MessagingError> {
        let mut next = None;
        for (status, name) in [
            (MessageStatus::Leased, Field::of("lease_until")),
            (MessageStatus::Pending, Field::of("expires_at")),
        ] {
            let first = Query {
                filter: Filter::And(vec![
                    Filter::eq("status", status.name()),
                    Filter::Gt(name.clone(), stamp(now)),
                ]),
                sort: vec![(name.clone(), Direction::Ascending)],
                limit: 1,
                ..Query::new(Collection::AgentMessages, Filter::All)
            };
            let page = self.store.query(first).await?;
            let at = page
                .documents
                .first()
                .and_then(|document| name.of_document(&document.body).as_str());
            let at: Option<Time> = at.and_then(|at| at.parse().ok());
            next = [next, at].into_iter().flatten().min();
        }
        Ok(next)
    }
}

fn stamp(at: Time) -> Value {
    json!(at)
}

/// The name of this loop on the board.
pub const LOOP: &str = "messages";

/// Sweeps at each deadline, at the latest every 5 s, until `stop` fires. A sweep once begun is finished.
///
/// # Errors
/// When another leader has begun. What goes wrong in a sweep is shown on the board and tried again.
pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let messaging = Messaging::new(ctx.store.clone(), ctx.clock.clone(), ctx.ids.clone());
    let fence_key = Key::new(FENCE_KEY)?;
    let mut seldom = ctx.clock.instant();
    // what was looked through for undated messages: by this leader, and as far as the next one is told
    let (mut since, mut noted): (Option<Time>, Time) = (None, Time::EPOCH);
    while !stop.is_cancelled() {
        let (began, now) = (ctx.clock.instant(), ctx.clock.now());
        let sweep = async {
            if ctx.store.get(Collection::Leases, &fence_key).await?.rev != fence.rev {
                return Ok(None);
            }
            let mut swept = messaging.sweep(now).await?;
            let from = match since {
                Some(since) => since,
                None => {
                    noted = messaging.dated_to().await?.min(now);
                    noted.minus(SELDOM) // clocks differ
                }
            };
            let behind = now.since(from) > SELDOM * 2;
            if since.is_none() || behind || began.duration_since(seldom) >= SELDOM {
                let more = messaging.sweep_seldom(from, now).await?;
                (swept.forgotten, swept.dated) = (more.forgotten, more.dated);
                (seldom, since) = (began, Some(more.dated_to));
                if more.dated_to.since(noted) >= NOTE_EVERY {
                    messaging.note_dated_to(more.dated_to).await?;
                    noted = more.dated_to;
                }
            }
            Ok::<_, MessagingError>(Some(swept))
        };
        let answer = sweep.await;
        let took = ctx.clock.instant().duration_since(began);
        let pause = match answer {
            Ok(None) => return Err("another leader has begun".into()),
            Ok(Some(swept)) => {
                ctx.loops.ran(LOOP, now, took, None);
                note(&swept);
                let next = swept.next.map_or(LONGEST_PAUSE, |next| next.since(now));
                next.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "messages could not be swept");
                ctx.loops.ran(LOOP, now, took, Some(&error));
                LONGEST_PAUSE
            }
        };
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    Ok(())
}

fn note(swept: &Swept) {
    let Swept { returned, dead, expired, forgotten, dated, dated_to: _, next: _ } = *swept;
    if returned + dead + expired > 0 {
        tracing::info!(returned, dead, expired, "messages ran out of time");
    }
    if forgotten + dated > 0 {
        tracing::debug!(forgotten, dated, "messages tidied");
    }
}
