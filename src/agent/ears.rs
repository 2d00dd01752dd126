//! Hearing of changes for as long as an agent lives: opens the store's feed, and opens it again when it was lost.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use crate::ports::store::{Change, Cursor, Feed, Store, StoreError, Watch, chain};

/// What was heard.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Changes(Vec<Change>),
    /// The feed was opened anew, or has a gap: look for yourself.
    Lost,
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A feed that never ends.
pub struct Ears {
    store: Arc<dyn Store>,
    watch: Watch,
    /// Where the feed stood when it was last heard; none before it was first opened, and after a gap.
    cursor: Option<Cursor>,
    feed: Option<Feed>,
    retry: Option<(Instant, Duration)>,
}

impl Ears {
    pub fn new(store: Arc<dyn Store>, watch: Watch) -> Self {
        Self { store, watch, cursor: None, feed: None, retry: None }
    }

    /// The next thing heard; waits for it, and for the store to come back. May be dropped half-way without loss.
    pub async fn hear(&mut self) -> Heard {
        loop {
            let Some(feed) = &mut self.feed else {
                if let Some((at, _)) = self.retry {
                    sleep_until(at).await;
                }
                match self.open().await {
                    Ok(()) => return Heard::Lost,
                    Err(error) => self.lost(&error),
                }
                continue;
            };
            match feed.next().await {
                Some(Ok(changes)) => {
                    self.retry = None;
                    let gap = changes.iter().any(|change| matches!(change, Change::Resync { .. }));
                    if let Some(last) = changes.last() {
                        self.cursor = Some(place(last));
                    }
                    return if gap { Heard::Lost } else { Heard::Changes(changes) };
                }
                Some(Err(error)) => self.lost(&error),
                None => self.lost(&StoreError::Unavailable("the feed ended".into())),
            }
        }
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        let since = match &self.cursor {
            Some(cursor) => cursor.clone(),
            None => self.store.cursor().await?,
        };
        self.feed = Some(self.store.changes(since.clone(), self.watch.clone()).await?);
        self.cursor = Some(since);
        Ok(())
    }

    fn lost(&mut self, error: &StoreError) {
        let pause = self.retry.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
        tracing::warn!(error = chain(error), ?pause, "the feed of changes is lost; trying again");
        self.feed = None;
        self.retry = Some((Instant::now() + pause, pause));
    }
}

fn place(change: &Change) -> Cursor {
    match change {
        Change::Put { cursor, .. } | Change::Removed { cursor, .. } | Change::Resync { cursor } => {
            cursor.clone()
        }
    }
}
