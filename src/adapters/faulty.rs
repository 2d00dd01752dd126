//! A store that misbehaves as told, around one that does not: it delays, refuses, loses answers, loses writes, cuts
//! feeds. For tests of everything above the port; it decides nothing by chance.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tokio::sync::watch;

use crate::model::filter::{Field, Filter};
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{
    Cursor, Document, Durability, Feed, Hop, Key, Page, Query, RawDocument, Rev, Store, StoreError,
    StoreInfo, Tally, Traversal, UpdateWhere, Watch, Write,
};

/// The kinds of calls that a fault can be meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Everything that only reads, `info` and `cursor` included.
    Read,
    /// `transact`, `update_where` and `maintain`.
    Write,
    /// `changes`.
    Feed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is made after this long.
    Delay(Duration),
    /// `Unavailable`; nothing is done.
    Fail,
    /// The call is made, and then answered with `OutcomeUnknown` (a read with `Unavailable`).
    LoseAnswer,
    /// A write is answered as if it had been done. Everything else fails. What no honest store does: for showing that a
    /// test notices.
    LoseWrite,
}

#[derive(Debug)]
struct Standing {
    call: Call,
    every: u64,
    seen: u64,
    fault: Fault,
}

#[derive(Debug, Default)]
struct Plan {
    next: VecDeque<(Call, Fault)>,
    standing: Vec<Standing>,
}

/// What shall go wrong. Shared between the test and the store; without orders nothing does.
#[derive(Debug)]
pub struct Faults {
    plan: Mutex<Plan>,
    cut: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { plan: Mutex::default(), cut: watch::Sender::new(0) }
    }
}

impl Faults {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call of this kind that no earlier order takes fails so, once.
    pub fn once(&self, call: Call, fault: Fault) {
        self.plan().next.push_back((call, fault));
    }

    /// Every `n`th call of this kind fails so; 1 is all of them.
    pub fn every(&self, n: u64, call: Call, fault: Fault) {
        self.plan().standing.push(Standing { call, every: n.max(1), seen: 0, fault });
    }

    /// Everything is well again.
    pub fn clear(&self) {
        *self.plan() = Plan::default();
    }

    /// Ends every open feed with `Unavailable`.
    pub fn cut_feeds(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    fn take(&self, call: Call) -> Option<Fault> {
        let mut plan = self.plan();
        if let Some(place) = plan.next.iter().position(|(of, _)| *of == call) {
            return plan.next.remove(place).map(|(_, fault)| fault);
        }
        let mut found = None;
        for standing in plan.standing.iter_mut().filter(|standing| standing.call == call) {
            standing.seen += 1;
            if standing.seen % standing.every == 0 {
                found = found.or(Some(standing.fault));
            }
        }
        found
    }
}

/// The store that misbehaves.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
}

fn failed() -> StoreError {
    StoreError::Unavailable("a fault was ordered".into())
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>, faults: Arc<Faults>) -> Arc<Self> {
        Arc::new(Self { inner, faults })
    }

    async fn reading<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.faults.take(Call::Read) {
            None => read.await,
            Some(Fault::Delay(span)) => {
                tokio::time::sleep(span).await;
                read.await
            }
            Some(Fault::LoseAnswer) => read.await.and_then(|_| Err(failed())),
            Some(Fault::Fail | Fault::LoseWrite) => Err(failed()),
        }
    }

    async fn writing<T>(
        &self,
        write: impl Future<Output = Result<T, StoreError>>,
        pretend: impl FnOnce() -> T,
    ) -> Result<T, StoreError> {
        match self.faults.take(Call::Write) {
            None => write.await,
            Some(Fault::Delay(span)) => {
                tokio::time::sleep(span).await;
                write.await
            }
            Some(Fault::LoseAnswer) => {
                drop(write.await?);
                Err(StoreError::OutcomeUnknown("the answer was lost, as ordered".into()))
            }
            Some(Fault::LoseWrite) => Ok(pretend()),
            Some(Fault::Fail) => Err(failed()),
        }
    }
}

/// Revisions as a store would give them.
fn pretended(writes: &[Write]) -> Vec<Option<Rev>> {
    let rev = |write: &Write| match write {
        Write::Insert { .. } | Write::Replace { .. } | Write::Put { .. } | Write::Merge { .. } => {
            Some(Rev("lost".into()))
        }
        Write::Remove { .. } | Write::Check { .. } => None,
    };
    writes.iter().map(rev).collect()
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, collection: Collection, key: &Key) -> Result<Document, StoreError> {
        self.reading(self.inner.get(collection, key)).await
    }

    async fn get_many(
        &self,
        collection: Collection,
        keys: &[Key],
    ) -> Result<Vec<Document>, StoreError> {
        self.reading(self.inner.get_many(collection, keys)).await
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        self.reading(self.inner.query(query)).await
    }

    async fn count(&self, collection: Collection, filter: Filter) -> Result<u64, StoreError> {
        self.reading(self.inner.count(collection, filter)).await
    }

    async fn tally(
        &self,
        collection: Collection,
        filter: Filter,
        by: &[Field],
        least: Option<&Field>,
    ) -> Result<Vec<Tally>, StoreError> {
        self.reading(self.inner.tally(collection, filter, by, least)).await
    }

    async fn revisions(
        &self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Rev)>, StoreError> {
        self.reading(self.inner.revisions(collection, after, limit)).await
    }

    async fn scan(
        &self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<RawDocument>, StoreError> {
        self.reading(self.inner.scan(collection, after, limit)).await
    }

    async fn transact(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<Vec<Option<Rev>>, StoreError> {
        let revs = pretended(&writes);
        self.writing(self.inner.transact(writes, durability), || revs).await
    }

    async fn update_where(&self, update: UpdateWhere) -> Result<Vec<Document>, StoreError> {
        self.writing(self.inner.update_where(update), Vec::new).await
    }

    async fn traverse(&self, traversal: Traversal) -> Result<Vec<Hop>, StoreError> {
        self.reading(self.inner.traverse(traversal)).await
    }

    async fn cursor(&self) -> Result<Cursor, StoreError> {
        self.reading(self.inner.cursor()).await
    }

    async fn changes(&self, since: Cursor, watch: Watch) -> Result<Feed, StoreError> {
        match self.faults.take(Call::Feed) {
            None => {}
            Some(Fault::Delay(span)) => tokio::time::sleep(span).await,
            Some(Fault::Fail | Fault::LoseAnswer | Fault::LoseWrite) => return Err(failed()),
        }
        let mut cut = self.faults.cut.subscribe();
        let cut = async move {
            match cut.changed().await {
                Ok(()) => {}
                Err(_) => std::future::pending().await, // nobody is left who could order it
            }
        };
        let feed = self.inner.changes(since, watch).await?;
        let last = stream::once(async { Err(failed()) });
        let until_error = |ended: &mut bool, batch: Result<_, StoreError>| {
            let next = (!*ended).then_some(batch);
            *ended |= next.as_ref().is_some_and(Result::is_err);
            std::future::ready(next)
        };
        Ok(feed.take_until(cut).chain(last).scan(false, until_error).boxed())
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        self.reading(self.inner.info()).await
    }

    async fn maintain(&self, now: Time) -> Result<(), StoreError> {
        self.writing(self.inner.maintain(now), || ()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
