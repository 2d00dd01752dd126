//! Listening to a subscription: reads publications in order, hands each to its handler, and moves the cursor on.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ears::{Ears, Heard};
use super::{Client, PAUSES};
use crate::engine::pubsub::{Batch, PubSubError};
use crate::model::id::SubscriptionId;
use crate::model::pattern::Pattern;
use crate::model::pubsub::Publication;
use crate::model::schema::Collection;
use crate::ports::store::{Change, Watch, chain};

/// Most publications taken at once.
const LIMIT: usize = 100;
const LEASE: Duration = Duration::from_secs(30);
/// Looked at without a change having been heard of.
const REREAD: Duration = Duration::from_secs(15);
/// So many publications that did not match are worth moving the cursor for.
const WORTH: u64 = 500;

impl Client {
    /// Hands every matching publication to `handle`, in order, until `stop` fires. What was handled and not yet
    /// acknowledged when the process ends comes again.
    ///
    /// # Errors
    /// The subscription is gone, ended, or cannot match anything.
    pub async fn listen<H, F>(
        &self,
        id: &SubscriptionId,
        pattern: &str,
        handle: H,
        stop: &CancellationToken,
    ) -> Result<(), PubSubError>
    where
        H: Fn(Publication) -> F,
        F: Future<Output = ()>,
    {
        let end = self.hear_out(id, pattern, handle, stop).await;
        // whoever reads on need not wait for the lease to end
        if let Err(error) = self.pubsub.release(id, &self.receiver.owner).await {
            tracing::debug!(error = chain(&error), "the subscription was not given back");
        }
        end
    }

    async fn hear_out<H, F>(
        &self,
        id: &SubscriptionId,
        pattern: &str,
        handle: H,
        stop: &CancellationToken,
    ) -> Result<(), PubSubError>
    where
        H: Fn(Publication) -> F,
        F: Future<Output = ()>,
    {
        let pattern = Pattern::new(pattern)
            .map_err(|bad| PubSubError::Bad { id: id.clone(), why: bad.to_string() })?;
        let watch =
            Watch { collections: vec![Collection::AgentPublications], topic: None, bodies: false };
        let mut ears = Ears::new(self.store.clone(), watch);
        let (mut from, mut acked) = (0, 0);
        let mut pause = PAUSES.0;
        while !stop.is_cancelled() {
            match self.pubsub.fetch(id, &self.receiver.owner, from, LIMIT, LEASE).await {
                Ok(batch) => {
                    pause = PAUSES.0;
                    from = batch.upto;
                    let more = batch.more;
                    self.take_in(id, batch, &mut acked, &handle).await?;
                    if more {
                        continue;
                    }
                }
                Err(PubSubError::Store(error)) => {
                    tracing::warn!(error = chain(&error), "publications could not be read");
                    stop.run_until_cancelled(sleep(pause)).await;
                    pause = (pause * 2).min(PAUSES.1);
                    continue;
                }
                // the process before this one died with the lease, or lives on: wait for it to end
                Err(PubSubError::Busy { until, .. }) => {
                    let wait = until.since(self.clock.now()).clamp(PAUSES.0, LEASE);
                    stop.run_until_cancelled(sleep(wait)).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let reread = Instant::now() + REREAD;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = sleep_until(reread) => break,
                    heard = ears.hear() => match heard {
                        Heard::Lost => break,
                        Heard::Changes(changes) => {
                            let fits = |change: &Change| match change {
                                Change::Put { topic, .. } => {
                                    topic.as_deref().is_none_or(|name| pattern.matches(name))
                                }
                                Change::Removed { .. } => false,
                                Change::Resync { .. } => true,
                            };
                            if changes.iter().any(fits) { break }
                        }
                    },
                }
            }
        }
        Ok(())
    }

    async fn take_in<H, F>(
        &self,
        id: &SubscriptionId,
        batch: Batch,
        acked: &mut u64,
        handle: &H,
    ) -> Result<(), PubSubError>
    where
        H: Fn(Publication) -> F,
        F: Future<Output = ()>,
    {
        let matched = batch.publications.len() as u64;
        for (_, publication) in batch.publications {
            handle(publication).await;
        }
        if matched == 0 && batch.upto.saturating_sub(*acked) < WORTH {
            return Ok(());
        }
        match self.pubsub.ack(id, &self.receiver.owner, batch.upto, matched).await {
            Ok(()) => *acked = batch.upto,
            // the next batch's acknowledgement covers this one; what is no longer kept was handled all the same
            Err(error @ (PubSubError::Store(_) | PubSubError::Ahead { .. })) => {
                tracing::warn!(error = chain(&error), "publications could not be acknowledged");
            }
            // the lease went to another process, which reads on from the cursor: what was handled comes there again
            Err(PubSubError::Busy { .. }) => {}
            Err(
                error @ (PubSubError::Unknown(_)
                | PubSubError::Inactive(_)
                | PubSubError::Bad { .. }),
            ) => return Err(error),
        }
        Ok(())
    }
}
