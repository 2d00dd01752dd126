//! Questions to store and runtime that the mirror has under way, so that the feed is read while they are answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::timeout;

use super::flow::by_receiver_and_status;
use super::recent::NEWEST;
use crate::engine::context::Context;
use crate::engine::leadership::lease::LEASE_KEY;
use crate::model::filter::{Field, Filter};
use crate::model::message::MessageStatus;
use crate::model::schema::Collection;
use crate::ports::runtime::{RuntimeError, RuntimeInfo};
use crate::ports::store::{
    Bookmark, Direction, Document, Key, Page, Query, RawDocument, Rev, StoreError, StoreInfo, Tally,
};

/// A store that says nothing for so long counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Counting may take long where there is much to count, and says nothing of whether the store is there: other questions
/// find that out. Only so that one that is never answered does not end all counting.
const COUNT_PATIENCE: Duration = Duration::from_secs(120);
/// Documents, or keys and revisions, asked for at once.
const PAGE: usize = 1_000;
/// The first page of agents is small, so that the first rows are on the screen early.
const FIRST_PAGE: usize = 200;

pub enum Answer {
    Listed(Collection, Page),
    /// A page of agents or of their health, as text; the list ends with one that is not full.
    Scanned {
        collection: Collection,
        page: Vec<RawDocument>,
        last: bool,
    },
    Newest(Vec<Document>),
    /// Keys and revisions after a key; the list ends with a page that is not full.
    Revisions {
        collection: Collection,
        after: Option<Key>,
        page: Vec<(Key, Rev)>,
        last: bool,
    },
    Bodies {
        collection: Collection,
        asked: Vec<Key>,
        found: Vec<Document>,
    },
    Lease(Option<Document>),
    /// Journal entries after the last one known, oldest first; with `false`, only the newest there is.
    Events(Vec<Document>, bool),
    Counted {
        counted: Counted,
        began: Instant,
        tallies: Vec<Tally>,
    },
    Publications {
        began: Instant,
        count: u64,
    },
    /// The count was not answered in time.
    Uncounted(Counted, Instant),
    Store(StoreInfo),
    Runtime(Result<RuntimeInfo, RuntimeError>),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// All messages there are.
    Messages,
    /// Those that wait or are under way.
    Open,
    Publications,
}

pub struct Jobs {
    ctx: Arc<Context>,
    running: FuturesUnordered<BoxFuture<'static, Result<Answer, StoreError>>>,
}

impl Jobs {
    pub fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, running: FuturesUnordered::new() }
    }

    /// The next answer; waits for ever while nothing is under way. Cancel-safe.
    pub async fn next(&mut self) -> Result<Answer, StoreError> {
        match self.running.next().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    fn ask<F>(&mut self, question: impl FnOnce(Arc<Context>) -> F)
    where
        F: Future<Output = Result<Answer, StoreError>> + Send + 'static,
    {
        let question = question(self.ctx.clone());
        self.running.push(Box::pin(async {
            let silent = |_| Err(StoreError::Unavailable("no answer in time".into()));
            timeout(PATIENCE, question).await.unwrap_or_else(silent)
        }));
    }

    fn count<F>(
        &mut self,
        counted: Counted,
        question: impl FnOnce(Arc<Context>, Instant) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<Answer, StoreError>> + Send + 'static,
    {
        let began = self.ctx.clock.instant();
        let question = question(self.ctx.clone(), began);
        self.running.push(Box::pin(async move {
            let silent = |_| Ok(Answer::Uncounted(counted, began));
            timeout(COUNT_PATIENCE, question).await.unwrap_or_else(silent)
        }));
    }

    /// A page of a collection with few documents.
    pub fn list(&mut self, collection: Collection, after: Option<Bookmark>) {
        self.ask(move |ctx| async move {
            let query = Query { limit: PAGE, after, ..Query::new(collection, Filter::All) };
            ctx.store.query(query).await.map(|page| Answer::Listed(collection, page))
        });
    }

    /// A page of a collection with many.
    pub fn scan(&mut self, collection: Collection, after: Option<Key>) {
        let limit = if after.is_none() { FIRST_PAGE } else { PAGE };
        self.ask(move |ctx| async move {
            let page = ctx.store.scan(collection, after.as_ref(), limit).await?;
            let last = page.len() < limit;
            Ok(Answer::Scanned { collection, page, last })
        });
    }

    pub fn newest_operations(&mut self) {
        self.ask(|ctx| async move {
            let query = Query {
                sort: vec![(Field::of("created_at"), Direction::Descending)],
                limit: NEWEST,
                ..Query::new(Collection::Operations, Filter::All)
            };
            ctx.store.query(query).await.map(|page| Answer::Newest(page.documents))
        });
    }

    pub fn revisions(&mut self, collection: Collection, after: Option<Key>) {
        self.ask(move |ctx| async move {
            let page = ctx.store.revisions(collection, after.as_ref(), PAGE).await?;
            let last = page.len() < PAGE;
            Ok(Answer::Revisions { collection, after, page, last })
        });
    }

    pub fn bodies(&mut self, collection: Collection, asked: Vec<Key>) {
        self.ask(move |ctx| async move {
            let found = ctx.store.get_many(collection, &asked).await?;
            Ok(Answer::Bodies { collection, asked, found })
        });
    }

    pub fn lease(&mut self) {
        self.ask(|ctx| async move {
            match ctx.store.get(Collection::Leases, &Key::new(LEASE_KEY)?).await {
                Ok(document) => Ok(Answer::Lease(Some(document))),
                Err(StoreError::NotFound { .. }) => Ok(Answer::Lease(None)),
                Err(error) => Err(error),
            }
        });
    }

    /// Journal entries after `seq`; without one only the last there is.
    pub fn events(&mut self, after: Option<u64>) {
        self.ask(move |ctx| async move {
            let seq = Field::of("seq");
            let (filter, direction, limit) = match after {
                Some(after) => (Filter::Gt(seq.clone(), after.into()), Direction::Ascending, PAGE),
                None => (Filter::All, Direction::Descending, 1),
            };
            let sort = vec![(seq, direction)];
            let query = Query { sort, limit, ..Query::new(Collection::Events, filter) };
            let page = ctx.store.query(query).await?;
            Ok(Answer::Events(page.documents, after.is_some()))
        });
    }

    pub fn count_messages(&mut self) {
        self.tally(Counted::Messages, Filter::All);
    }

    /// Counts what waits or is under way, which is little where there is much to count in all.
    pub fn count_open_messages(&mut self) {
        let open = [MessageStatus::Pending, MessageStatus::Leased];
        let open = open.iter().map(|status| status.name().into()).collect();
        self.tally(Counted::Open, Filter::In(Field::of("status"), open));
    }

    fn tally(&mut self, counted: Counted, filter: Filter) {
        self.count(counted, move |ctx, began| async move {
            let (by, least) = (by_receiver_and_status(), Field::of("created_at"));
            let messages = Collection::AgentMessages;
            let tallies = ctx.store.tally(messages, filter, &by, Some(&least)).await?;
            Ok(Answer::Counted { counted, began, tallies })
        });
    }

    pub fn count_publications(&mut self) {
        self.count(Counted::Publications, |ctx, began| async move {
            let count = ctx.store.count(Collection::AgentPublications, Filter::All).await?;
            Ok(Answer::Publications { began, count })
        });
    }

    pub fn store_info(&mut self) {
        self.ask(|ctx| async move { ctx.store.info().await.map(Answer::Store) });
    }

    pub fn runtime_info(&mut self) {
        self.ask(|ctx| async move {
            let silent = |_| Err(RuntimeError::Unavailable("no answer in time".into()));
            let info = timeout(PATIENCE / 2, ctx.runtime.info()).await.unwrap_or_else(silent);
            Ok(Answer::Runtime(info))
        });
    }
}
