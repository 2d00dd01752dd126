//! How the leader's loops write: under their term's fence, in their own name, with what somebody else changed meanwhile
//! set aside for a second look. Also how they pace themselves after a failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::context::Context;
use crate::engine::crash;
use crate::engine::journal::{Cause, Change, FENCE_KEY, Fence};
use crate::model::event::Event;
use crate::model::schema::Collection;
use crate::ports::runtime::RuntimeError;
use crate::ports::store::{Durability, Key, StoreError, Write, chain};

/// Why a loop's turn did not go through.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The loop must end: nothing it writes counts any more.
    #[error("another leader has begun")]
    Deposed,
    #[error("the store failed")]
    Store(#[source] StoreError),
    #[error("the runtime failed")]
    Runtime(#[from] RuntimeError),
}

impl Fault {
    /// Whether it would have met any other work of the loop as well. Anything else concerns one thing alone, which is
    /// passed over so that what comes after it has its turn.
    pub fn is_general(&self) -> bool {
        match self {
            Self::Deposed | Self::Runtime(_) => true,
            Self::Store(error) => match error {
                StoreError::Unavailable(_)
                | StoreError::OutcomeUnknown(_)
                | StoreError::Denied { .. } => true,
                StoreError::NotFound { .. }
                | StoreError::Exists { .. }
                | StoreError::Conflict { .. }
                | StoreError::Invalid { .. }
                | StoreError::Corrupt { .. } => false,
            },
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { collection: Collection::Leases, key }
                if key.as_str() == FENCE_KEY =>
            {
                Self::Deposed
            }
            other => Self::Store(other),
        }
    }
}

/// One loop's pen.
#[derive(Debug, Clone)]
pub struct Fenced {
    pub ctx: Arc<Context>,
    fence: Fence,
    /// `loop:reconcile`, as the journal names it.
    actor: &'static str,
}

impl Fenced {
    pub fn new(ctx: Arc<Context>, fence: Fence, actor: &'static str) -> Self {
        Self { ctx, fence, actor }
    }

    fn cause(&self, reason: &str, operation: Option<&str>) -> Cause {
        Cause {
            actor: self.actor.to_owned(),
            operation: operation.map(str::to_owned),
            reason: reason.to_owned(),
            fence: Some(self.fence.clone()),
        }
    }

    /// Writes all of `changes` and `extra`, or nothing.
    ///
    /// # Errors
    /// [`Fault::Deposed`], or the store's: reload and decide again, or wait, as its advice says.
    pub async fn commit(
        &self,
        reason: &str,
        operation: Option<&str>,
        changes: &[Change],
        extra: &[Write],
    ) -> Result<Vec<Event>, Fault> {
        changes.iter().for_each(|change| crash::point("before", change.kind));
        let written =
            self.ctx.journal.commit(&self.cause(reason, operation), changes, extra).await?;
        changes.iter().for_each(|change| crash::point("after", change.kind));
        Ok(written)
    }

    /// Writes those of `changes` that still fit; returns the keys of those that somebody else was faster at.
    ///
    /// # Errors
    /// [`Fault::Deposed`], or what the store says of anything but such a race.
    pub async fn commit_each(&self, reason: &str, changes: Vec<Change>) -> Result<Vec<Key>, Fault> {
        let (mut changes, mut moved) = (changes, Vec::new());
        while !changes.is_empty() {
            match self.commit(reason, None, &changes, &[]).await {
                Ok(_) => break,
                Err(Fault::Store(
                    StoreError::Conflict { collection, key }
                    | StoreError::NotFound { collection, key }
                    | StoreError::Exists { collection, key, .. },
                )) => {
                    let before = changes.len();
                    changes.retain(|it| it.collection != collection || it.key != key);
                    if changes.len() == before {
                        // not one of ours by key (a unique index names the other document): one at a time
                        moved.extend(self.commit_one_by_one(reason, changes).await?);
                        break;
                    }
                    moved.push(key);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(moved)
    }

    async fn commit_one_by_one(
        &self,
        reason: &str,
        changes: Vec<Change>,
    ) -> Result<Vec<Key>, Fault> {
        let mut moved = Vec::new();
        for change in changes {
            let key = change.key.clone();
            match self.commit(reason, None, &[change], &[]).await {
                Ok(_) => {}
                Err(Fault::Store(
                    StoreError::Conflict { .. }
                    | StoreError::NotFound { .. }
                    | StoreError::Exists { .. },
                )) => moved.push(key),
                Err(fault) => return Err(fault),
            }
        }
        Ok(moved)
    }

    /// Writes samples: not journalled, may be lost in a power cut, under the fence all the same.
    ///
    /// # Errors
    /// As [`Fenced::commit`].
    pub async fn sample(&self, writes: Vec<Write>) -> Result<(), Fault> {
        let key = Key::new(FENCE_KEY)?;
        let rev = Some(self.fence.rev.clone());
        let check = Write::Check { collection: Collection::Leases, key, rev };
        let writes = std::iter::once(check).chain(writes).collect();
        self.ctx.store.transact(writes, Durability::Relaxed).await?;
        Ok(())
    }
}

/// How long a loop pauses after a turn that failed: half a second, twice as long each time, up to half a minute.
#[derive(Debug, Default)]
pub struct Pace {
    failures: u32,
    /// What was last said of it.
    said: String,
    /// The runtime tells by itself how it is: asking costs it nothing, and people wait for what it says.
    cheap_runtime: bool,
}

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_FOR_RUNTIME: Duration = Duration::from_millis(1_500);

impl Pace {
    /// Of a loop that asks the runtime for nothing but what that has been told anyway.
    pub fn of_sights() -> Self {
        Self { cheap_runtime: true, ..Self::default() }
    }

    /// Notes on the board how a turn went, and says how long to wait before the next if it failed.
    ///
    /// # Errors
    /// [`Fault::Deposed`] is handed back: the loop must end.
    pub fn turned<T>(
        &mut self,
        ctx: &Context,
        name: &'static str,
        began: Instant,
        outcome: Result<T, Fault>,
    ) -> Result<Option<Duration>, Fault> {
        let took = ctx.clock.instant().saturating_duration_since(began);
        let (fault, longest) = match outcome {
            Ok(_) => {
                (self.failures, self.said) = (0, String::new());
                ctx.loops.ran(name, ctx.clock.now(), took, None);
                return Ok(None);
            }
            Err(Fault::Deposed) => return Err(Fault::Deposed),
            Err(fault @ Fault::Runtime(_)) if self.cheap_runtime => {
                (chain(&fault), LONGEST_FOR_RUNTIME)
            }
            Err(fault) => (chain(&fault), LONGEST_PAUSE),
        };
        // once is enough for as long as it stays the same
        if fault == self.said {
            tracing::debug!(task = name, fault, "turn failed again");
        } else {
            tracing::warn!(task = name, fault, "turn failed");
        }
        ctx.loops.ran(name, ctx.clock.now(), took, Some(&fault));
        self.said = fault;
        let pause = Duration::from_millis(500).saturating_mul(1 << self.failures.min(6));
        self.failures += 1;
        Ok(Some(pause.min(longest).mul_f64(rand::random_range(0.8..1.2))))
    }
}
