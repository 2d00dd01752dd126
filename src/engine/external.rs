//! Changes that other programs made to what is wanted of the fleet: the mirror tells of documents that the journal did not
//! write as they stand, and the leader gives each change its event. The documents are left as they are.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::fenced::{Fault, Pace};
use crate::engine::journal::seal::{self, SEALED};
use crate::engine::journal::{Fence, Suspect};
use crate::model::schema::Collection;
use crate::ports::store::{Body, BoxError, Document, Key, StoreError};

const NAME: &str = "external";
/// Between hearing of a change and looking: writes of one program come together.
const SETTLE: Duration = Duration::from_millis(200);
/// Documents read in one go, and events written in one transaction.
const PAGE: usize = 500;
const BATCH: usize = 50;
/// More suspects than this, and everything is looked through instead.
const MOST: usize = 10_000;

/// Documents that somebody else may have changed. Empty, and free, where nobody leads.
#[derive(Debug, Default)]
pub struct Suspects {
    wanted: AtomicBool,
    bell: Notify,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    keys: BTreeSet<(Collection, Key)>,
    /// Some may have been missed: look through everything.
    all: bool,
}

impl Suspects {
    /// Takes note of a change that the feed told of, unless the journal made it.
    pub fn saw(&self, collection: Collection, key: &Key, body: Option<&Body>) {
        if !seal::covers(collection)
            || !self.wanted.load(Relaxed)
            || body.is_some_and(seal::is_intact)
        {
            return;
        }
        let mut list = self.list();
        if list.keys.len() < MOST {
            list.keys.insert((collection, key.clone()));
        } else {
            list.all = true;
        }
        drop(list);
        self.bell.notify_one();
    }

    /// The feed has a gap.
    pub fn missed(&self) {
        if self.wanted.load(Relaxed) {
            self.list().all = true;
            self.bell.notify_one();
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Suspects are gathered as long as this lives.
struct Gathering<'a>(&'a Suspects);

impl<'a> Gathering<'a> {
    fn begin(suspects: &'a Suspects) -> Self {
        // what changed while nobody looked is found by looking through everything once
        suspects.list().all = true;
        suspects.wanted.store(true, Relaxed);
        Self(suspects)
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.0.wanted.store(false, Relaxed);
        *self.0.list() = List::default();
    }
}

/// The leader's loop.
///
/// # Errors
/// Another leader has begun.
pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let _gathering = Gathering::begin(&ctx.suspects);
    let mut pace = Pace::default();
    let mut pause = SETTLE;
    while stop.run_until_cancelled(sleep(pause)).await.is_some() {
        let began = ctx.clock.instant();
        let outcome = turn(&ctx, &fence, &stop).await;
        pause = pace.turned(&ctx, NAME, began, outcome)?.unwrap_or(SETTLE);
        if pause == SETTLE && stop.run_until_cancelled(ctx.suspects.bell.notified()).await.is_none()
        {
            break;
        }
    }
    Ok(())
}

/// Clears up what is suspect by now. What the store does not let through is suspect again.
async fn turn(ctx: &Context, fence: &Fence, stop: &CancellationToken) -> Result<(), Fault> {
    let list = std::mem::take(&mut *ctx.suspects.list());
    let outcome = clear_up(ctx, fence, &list, stop).await;
    if outcome.is_err() {
        let mut back = ctx.suspects.list();
        back.all |= list.all;
        back.keys.extend(list.keys);
    }
    outcome
}

async fn clear_up(
    ctx: &Context,
    fence: &Fence,
    list: &List,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    if list.all {
        for collection in SEALED {
            look_through(ctx, fence, collection, stop).await?;
        }
    }
    let mut keys = list.keys.iter().peekable();
    while keys.peek().is_some() && !stop.is_cancelled() {
        let mut suspects = Vec::with_capacity(BATCH);
        for (collection, key) in keys.by_ref().take(BATCH) {
            let found = match ctx.store.get(*collection, key).await {
                Ok(document) => Some(document),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            // written by the journal since: then it has told already
            if !found.as_ref().is_some_and(|document| seal::is_intact(&document.body)) {
                suspects.push((*collection, key.clone(), found));
            }
        }
        note(ctx, fence, suspects).await?;
    }
    Ok(())
}

async fn look_through(
    ctx: &Context,
    fence: &Fence,
    collection: Collection,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let mut after: Option<Key> = None;
    while !stop.is_cancelled() {
        let page = ctx.store.scan(collection, after.as_ref(), PAGE).await?;
        let full = page.len() == PAGE;
        after = page.last().map(|document| document.key.clone());
        let suspects: Vec<Suspect> = page
            .into_iter()
            .filter_map(|raw| {
                let body: Body = serde_json::from_str(&raw.json).ok()?;
                let document = Document { key: raw.key, rev: raw.rev, body };
                let fine = seal::is_intact(&document.body);
                (!fine).then(|| (collection, document.key.clone(), Some(document)))
            })
            .collect();
        for some in suspects.chunks(BATCH) {
            note(ctx, fence, some.to_vec()).await?;
        }
        if !full {
            break;
        }
    }
    Ok(())
}

/// Gives each suspect its event. One that changes this very moment stays suspect: its change is told by the feed.
async fn note(ctx: &Context, fence: &Fence, suspects: Vec<Suspect>) -> Result<(), Fault> {
    if suspects.is_empty() {
        return Ok(());
    }
    if tell(ctx, fence, &suspects).await? && suspects.len() > 1 {
        for one in suspects {
            tell(ctx, fence, &[one]).await?;
        }
    }
    Ok(())
}

/// Whether one of them moved, and nothing was written.
async fn tell(ctx: &Context, fence: &Fence, suspects: &[Suspect]) -> Result<bool, Fault> {
    match ctx.journal.note_strangers(fence, suspects).await.map_err(Fault::from) {
        Ok(0) => Ok(false),
        Ok(count) => {
            tracing::info!(count, "another program changed documents");
            Ok(false)
        }
        Err(Fault::Store(
            StoreError::Conflict { .. } | StoreError::NotFound { .. } | StoreError::Exists { .. },
        )) => Ok(true),
        Err(fault) => Err(fault),
    }
}
