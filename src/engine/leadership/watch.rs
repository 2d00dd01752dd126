//! Hears of the lease through the change feed, so that a release is answered at once. Only a hint: whoever decides
//! reads the lease or compares revisions.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use super::lease::LEASE_KEY;
use crate::engine::context::Context;
use crate::model::schema::Collection;
use crate::ports::store::{Change, Document, Feed, StoreError, Watch};

/// Pause before a feed that failed is opened again; meanwhile the reader goes by its own timers.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct LeaseWatch {
    ctx: Arc<Context>,
    feed: Option<Feed>,
    /// After a failure: not opened again before this.
    wait: Option<Instant>,
}

impl std::fmt::Debug for LeaseWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseWatch").field("open", &self.feed.is_some()).finish()
    }
}

impl LeaseWatch {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, feed: None, wait: None }
    }

    /// Waits for the next sign of a change: the lease as it is now, or `None` when it must be read. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Document> {
        loop {
            if let Some(until) = self.wait {
                sleep_until(until).await;
                self.wait = None;
            }
            let Some(feed) = &mut self.feed else {
                match open(&self.ctx).await {
                    // what happened before it was open is not in the feed
                    Ok(feed) => {
                        self.feed = Some(feed);
                        return None;
                    }
                    Err(_) => self.wait = Some(Instant::now() + PAUSE),
                }
                continue;
            };
            match feed.next().await {
                Some(Ok(batch)) => {
                    if let Some(news) = batch.into_iter().filter_map(about_the_lease).next_back() {
                        return news;
                    }
                }
                Some(Err(_)) | None => {
                    self.feed = None;
                    self.wait = Some(Instant::now() + PAUSE);
                }
            }
        }
    }
}

// not a method: borrowing the whole watch, feed and all, would need a feed that threads may share
async fn open(ctx: &Context) -> Result<Feed, StoreError> {
    let watch = Watch { collections: vec![Collection::Leases], topic: None, bodies: true };
    let cursor = ctx.store.cursor().await?;
    ctx.store.changes(cursor, watch).await
}

#[expect(
    clippy::option_option,
    reason = "outside: is it about the lease; inside: is it told or must it be read"
)]
fn about_the_lease(change: Change) -> Option<Option<Document>> {
    match change {
        Change::Put { key, rev, body, .. } if key.as_str() == LEASE_KEY => {
            Some(body.map(|body| Document { key, rev, body: Arc::unwrap_or_clone(body) }))
        }
        Change::Removed { key, .. } if key.as_str() == LEASE_KEY => Some(None),
        Change::Resync { .. } => Some(None),
        Change::Put { .. } | Change::Removed { .. } => None,
    }
}
