//! Changes that other programs made to what is wanted of the fleet: the mirror tells of documents that the journal did not
//! write as they stand, and the leader gives each change its event. The documents are left as they are, but for the mark
//! that a new leader writes into those whose change is told already, so that the next one need not look into them again.

mod patience;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::fenced::{Fault, Pace};
use crate::engine::journal::seal::{self, SEALED};
use crate::engine::journal::{Fence, Suspect};
use crate::model::schema::Collection;
use crate::ports::store::{Body, BoxError, Document, Key, StoreError};

use self::patience::{Name, Patience};

const NAME: &str = "external";
/// Between hearing of a change and looking: writes of one program come together.
const SETTLE: Duration = Duration::from_millis(200);
/// Documents read in one go, and events written in one transaction.
const PAGE: usize = 500;
const BATCH: usize = 50;
/// Keys read in one go.
const KEYS: usize = 5_000;
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
    let mut patience = Patience::default();
    let mut pause = SETTLE;
    while stop.run_until_cancelled(sleep(pause)).await.is_some() {
        let began = ctx.clock.instant();
        let outcome = turn(&ctx, &fence, &stop, &mut patience).await;
        pause = pace.turned(&ctx, NAME, began, outcome)?.unwrap_or(SETTLE);
        if pause == SETTLE {
            let rung = ctx.suspects.bell.notified();
            let due = patience.next(ctx.clock.instant());
            // those that wait for their time come back without a bell
            let woken = async { drop(timeout(due.unwrap_or(Duration::MAX), rung).await) };
            if stop.run_until_cancelled(woken).await.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Clears up what is suspect by now. What the store does not let through is suspect again.
async fn turn(
    ctx: &Context,
    fence: &Fence,
    stop: &CancellationToken,
    patience: &mut Patience,
) -> Result<(), Fault> {
    let list = {
        let mut all = ctx.suspects.list();
        let mut list = std::mem::take(&mut *all);
        all.keys = patience.not_yet(&mut list.keys, ctx.clock.instant());
        list
    };
    let outcome = clear_up(ctx, fence, &list, stop, patience).await;
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
    patience: &mut Patience,
) -> Result<(), Fault> {
    let mut keys = list.keys.clone();
    if list.all {
        for collection in SEALED {
            look_through(ctx, fence, collection, stop).await?;
        }
        keys.extend(gone(ctx).await?);
    }
    let mut keys = keys.iter().peekable();
    while keys.peek().is_some() && !stop.is_cancelled() {
        let reached = ctx.journal.reached().await?;
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
        let told = note(ctx, fence, reached, suspects, false).await?;
        patience.told(told, ctx.clock.instant());
    }
    Ok(())
}

/// Agents that were looked after once and are not there any more: somebody may have removed them while nobody led.
async fn gone(ctx: &Context) -> Result<Vec<Name>, StoreError> {
    let looked_after = keys(ctx, Collection::AgentHealth).await?;
    let there = keys(ctx, Collection::Agents).await?;
    Ok(looked_after.difference(&there).map(|key| (Collection::Agents, key.clone())).collect())
}

async fn keys(ctx: &Context, collection: Collection) -> Result<BTreeSet<Key>, StoreError> {
    let (mut keys, mut after) = (BTreeSet::new(), None);
    loop {
        let page = ctx.store.revisions(collection, after.as_ref(), KEYS).await?;
        let full = page.len() == KEYS;
        after = page.last().map(|(key, _)| key.clone());
        keys.extend(page.into_iter().map(|(key, _)| key));
        if !full {
            return Ok(keys);
        }
    }
}

async fn look_through(
    ctx: &Context,
    fence: &Fence,
    collection: Collection,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let mut after: Option<Key> = None;
    while !stop.is_cancelled() {
        let reached = ctx.journal.reached().await?;
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
            note(ctx, fence, reached, some.to_vec(), true).await?;
        }
        if !full {
            break;
        }
    }
    Ok(())
}

/// Gives each suspect its event, and returns which had one. One that the journal tells of this very moment is passed over:
/// whoever changes a document past it tells of what was there before.
async fn note(
    ctx: &Context,
    fence: &Fence,
    reached: u64,
    suspects: Vec<Suspect>,
    seals: bool,
) -> Result<Vec<Name>, Fault> {
    let mut told = Vec::new();
    if suspects.is_empty() {
        return Ok(told);
    }
    match tell(ctx, fence, reached, &suspects, seals).await? {
        Some(all) => told = all,
        None if suspects.len() > 1 => {
            for one in suspects {
                told.extend(tell(ctx, fence, reached, &[one], seals).await?.unwrap_or_default());
            }
        }
        None => {}
    }
    Ok(told)
}

/// Which had an event; none when one of them was told of meanwhile, and nothing was written.
async fn tell(
    ctx: &Context,
    fence: &Fence,
    reached: u64,
    suspects: &[Suspect],
    seals: bool,
) -> Result<Option<Vec<Name>>, Fault> {
    match ctx.journal.note_strangers(fence, reached, suspects, seals).await.map_err(Fault::from) {
        Ok(events) => {
            if !events.is_empty() {
                tracing::info!(count = events.len(), "another program changed documents");
            }
            let had = |(of, key, _): &&Suspect| {
                events.iter().any(|it| it.aggregate == of.name() && it.aggregate_id == key.as_str())
            };
            let told = suspects.iter().filter(had).map(|(of, key, _)| (*of, key.clone()));
            Ok(Some(told.collect()))
        }
        Err(Fault::Store(
            StoreError::Conflict { .. } | StoreError::NotFound { .. } | StoreError::Exists { .. },
        )) => Ok(None),
        Err(fault) => Err(fault),
    }
}
