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
use crate::model::schema::Collection;
use crate::ports::runtime::{RuntimeError, RuntimeInfo};
use crate::ports::store::{
    Bookmark, Direction, Document, Key, Page, Query, RawDocument, Rev, StoreError, StoreInfo, Tally,
};

/// A store that says nothing for so long counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
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
        began: Instant,
        tallies: Vec<Tally>,
    },
    Publications {
        began: Instant,
        count: u64,
    },
    Store(StoreInfo),
    Runtime(Result<RuntimeInfo, RuntimeError>),
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
        self.ask(|ctx| async move {
            let began = ctx.clock.instant();
            let (by, least) = (by_receiver_and_status(), Field::of("created_at"));
            let all = Filter::All;
            let tallies =
                ctx.store.tally(Collection::AgentMessages, all, &by, Some(&least)).await?;
            Ok(Answer::Counted { began, tallies })
        });
    }

    pub fn count_publications(&mut self) {
        self.ask(|ctx| async move {
            let began = ctx.clock.instant();
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
