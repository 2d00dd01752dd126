//! Serving messages: claim, handle, acknowledge, with a bound on how many at once.
//!
//! A receiver is woken by the feed when a message for it is written; its poll class's timer is there for what the feed
//! does not say (a pause that is over, a store that came back). Whatever ends badly is tried again by the store's rules.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{Fuse, FusedFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ears::{Ears, Heard};
use super::{Client, PAUSES};
use crate::engine::messaging::pace::Pace;
use crate::engine::messaging::{Claimed, MessagingError};
use crate::model::agent::Phase;
use crate::model::message::{MAX_CLAIM, Message};
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::ports::store::{Change, Key, StoreError, Watch, chain};

/// A message in the hands of its receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub key: Key,
    pub message: Message,
}

impl Delivery {
    /// What ties this message and its answers together: the sender's word for it, or its id.
    pub fn correlation(&self) -> String {
        self.message.correlation_id.clone().unwrap_or_else(|| self.key.to_string())
    }
}

/// How an agent serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// How many messages are handled at once: 1 to 100.
    pub concurrency: usize,
    /// How long a message is held without a sign of life; renewed at a third of it while it is handled.
    pub lease: Duration,
}

impl Default for Serving {
    fn default() -> Self {
        Self { concurrency: 1, lease: Duration::from_secs(30) }
    }
}

/// What is used of the agent's grace before the rest is given back.
const SHARE_OF_GRACE: f64 = 0.8;
/// For agents whose document names no grace.
const GRACE: Duration = Duration::from_secs(5);
/// How long the echo of a finished message is expected in the feed.
const ECHO: Duration = Duration::from_secs(2);

/// How one message ended for this receiver.
struct End {
    key: Key,
    /// When it is due again, if it is.
    due: Option<Instant>,
}

/// Which changes are the echo of what this receiver did itself.
#[derive(Default)]
struct Mine {
    held: HashMap<Key, Claimed>,
    past: VecDeque<(Instant, Key)>,
}

impl Mine {
    fn finished(&mut self, key: Key) {
        self.held.remove(&key);
        let now = Instant::now();
        self.past.push_back((now, key));
        while self.past.front().is_some_and(|(at, _)| now - *at > ECHO) {
            self.past.pop_front();
        }
    }

    fn knows(&self, key: &Key) -> bool {
        self.held.contains_key(key) || self.past.iter().any(|(_, past)| past == key)
    }
}

impl Client {
    /// Serves until `stop` fires, then finishes or gives back what is in hand.
    pub(super) async fn serve<H, F>(&self, serving: Serving, handle: H, stop: &CancellationToken)
    where
        H: Fn(Delivery) -> F,
        F: Future<Output = Result<(), String>>,
    {
        let most = serving.concurrency.clamp(1, MAX_CLAIM);
        let watch = Watch {
            collections: vec![Collection::AgentMessages],
            topic: Some(self.id().to_string()),
            bodies: false,
        };
        let mut ears = Ears::new(self.store.clone(), watch);
        let mut own = self.own();
        let mut pace = Pace::new(own.borrow_and_update().poll_class);
        let mut mine = Mine::default();
        let mut running = FuturesUnordered::new();
        let mut claiming = pin!(Fuse::terminated());
        let mut extending = pin!(Fuse::terminated());
        // keys heard of while a claim is under way: whether they are in it shows when it is back
        let mut heard_meanwhile: Vec<Key> = Vec::new();
        let mut asked = 0;
        let mut pause = PAUSES.0;
        let mut poll_at = Instant::now();
        let mut extend_at = Instant::now();
        let mut due: Vec<Instant> = Vec::new();
        // the feed is open before the first claim, so that nothing falls between the two
        let mut wanted = false;

        while !stop.is_cancelled() {
            let free = most - running.len();
            let may = own.borrow().phase == Phase::Running;
            if wanted && may && free > 0 && claiming.is_terminated() {
                wanted = false;
                asked = free;
                let claim = self.messaging.claim(&self.receiver, free, serving.lease);
                claiming.set(claim.fuse());
            }
            if running.is_empty() {
                extend_at = Instant::now() + serving.lease / 3;
            }
            let next_look = due.iter().copied().chain([poll_at]).min().unwrap_or(poll_at);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                claimed = &mut claiming, if !claiming.is_terminated() => {
                    match claimed {
                        Ok(claimed) => {
                            pause = PAUSES.0;
                            pace.learn(claimed.len(), asked);
                            poll_at = Instant::now() + pace.pause();
                            wanted |= claimed.len() >= asked;
                            for claimed in claimed {
                                mine.held.insert(claimed.key.clone(), claimed.clone());
                                running.push(self.one(claimed, serving.lease, &handle));
                            }
                        }
                        Err(error) => {
                            self.sigh(&error, "messages could not be claimed");
                            poll_at = Instant::now() + pause;
                            pause = (pause * 2).min(PAUSES.1);
                        }
                    }
                    wanted |= heard_meanwhile.drain(..).any(|key| !mine.knows(&key));
                }
                Some(end) = running.next(), if !running.is_empty() => {
                    mine.finished(end.key);
                    due.extend(end.due);
                }
                heard = ears.hear() => match heard {
                    Heard::Lost => wanted = true,
                    Heard::Changes(changes) => {
                        let keys = changes.into_iter().filter_map(|change| match change {
                            Change::Put { key, .. } => Some(key),
                            Change::Removed { .. } | Change::Resync { .. } => None,
                        });
                        let strange = keys.filter(|key| !mine.knows(key));
                        if claiming.is_terminated() {
                            wanted |= strange.count() > 0;
                        } else {
                            heard_meanwhile.extend(strange);
                        }
                    }
                },
                changed = own.changed() => {
                    if changed.is_err() {
                        break; // cannot happen while `self` lives
                    }
                    let now = own.borrow_and_update().clone();
                    wanted |= now.phase == Phase::Running;
                    if pace.class() != now.poll_class {
                        pace = Pace::new(now.poll_class);
                    }
                }
                () = sleep_until(next_look), if claiming.is_terminated() => {
                    let now = Instant::now();
                    due.retain(|at| *at > now);
                    wanted = true;
                    poll_at = now + pace.pause();
                }
                extended = &mut extending, if !extending.is_terminated() => {
                    self.extended(extended);
                }
                () = sleep_until(extend_at), if !running.is_empty() => {
                    extend_at = Instant::now() + serving.lease / 3;
                    if extending.is_terminated() {
                        let extend = self.messaging.extend(&self.receiver, serving.lease);
                        extending.set(extend.fuse());
                    }
                }
            }
        }

        // a claim under way may have taken messages: they go back unharmed
        if !claiming.is_terminated()
            && let Ok(claimed) = claiming.await
        {
            for claimed in claimed {
                if let Err(error) = self.messaging.release(&self.receiver, &claimed).await {
                    self.sigh(&error, "a message could not be given back");
                }
            }
        }
        let grace = own.borrow().grace;
        let grace = if grace.is_zero() { GRACE } else { grace }.mul_f64(SHARE_OF_GRACE);
        let deadline = Instant::now() + grace;
        let mut extend_at = Instant::now() + serving.lease / 3;
        while !running.is_empty() {
            tokio::select! {
                Some(end) = running.next() => drop(mine.held.remove(&end.key)),
                () = sleep_until(deadline) => break,
                () = sleep_until(extend_at) => {
                    extend_at = Instant::now() + serving.lease / 3;
                    self.extended(self.messaging.extend(&self.receiver, serving.lease).await);
                }
            }
        }
        drop(running);
        for claimed in mine.held.into_values() {
            let why = "the agent was stopped before it was done";
            if let Err(error) = self.messaging.nack(&self.receiver, &claimed, why).await {
                self.sigh(&error, "an unfinished message could not be given back");
            }
            self.report.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Handles one message and settles it.
    async fn one<H, F>(&self, claimed: Claimed, lease: Duration, handle: &H) -> End
    where
        H: Fn(Delivery) -> F,
        F: Future<Output = Result<(), String>>,
    {
        self.report.in_flight.fetch_add(1, Ordering::Relaxed);
        let delivery = Delivery { key: claimed.key.clone(), message: claimed.message.clone() };
        let answer = handle(delivery).await;
        let count = if answer.is_ok() { &self.report.handled } else { &self.report.failed };
        count.fetch_add(1, Ordering::Relaxed);
        let due = self.settle(&claimed, lease, answer).await;
        self.report.in_flight.fetch_sub(1, Ordering::Relaxed);
        End { key: claimed.key, due }
    }

    /// Says how it ended, again and again while the store is away and the lease lasts.
    async fn settle(
        &self,
        claimed: &Claimed,
        lease: Duration,
        answer: Result<(), String>,
    ) -> Option<Instant> {
        let mut pause = Duration::from_millis(100);
        let until = Instant::now() + lease;
        loop {
            let said = match &answer {
                Ok(()) => self.messaging.ack(&self.receiver, claimed).await.map(|()| None),
                Err(why) => self.messaging.nack(&self.receiver, claimed, why).await,
            };
            let error = match said {
                Ok(due) => {
                    let wait = due.map(|due| due.since(self.clock.now()));
                    return wait.map(|wait| Instant::now() + wait);
                }
                Err(error) => error,
            };
            let again = matches!(
                error,
                MessagingError::Store(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))
            );
            if !again || Instant::now() + pause >= until {
                let key = &claimed.key;
                tracing::warn!(%key, error = chain(&error), "a message could not be settled");
                return None;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    fn extended(&self, answer: Result<usize, MessagingError>) {
        if let Err(error) = answer {
            self.sigh(&error, "leases could not be lengthened");
        }
    }

    fn sigh(&self, error: &MessagingError, what: &str) {
        tracing::warn!(error = Safe::new(&chain(error)).as_str(), "{what}");
    }
}
