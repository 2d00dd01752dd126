//! What an agent is made of: the client kit that any agent may use, and the reference agent built on it.
//!
//! An agent is a process of its own. It reaches the fleet through the store alone: it beats, claims its messages, answers,
//! publishes, and reads in its own document whether it is paused. The kit never starts a task; everything runs inside the
//! future of [`Client::run`], so one thread is enough.

pub mod ears;
pub mod listen;
pub mod reference;
pub mod serve;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::agent::ears::{Ears, Heard};
use crate::engine::messaging::{Messaging, MessagingError, Receiver};
use crate::engine::pubsub::PubSub;
use crate::model::agent::{Agent, Phase, PollClass};
use crate::model::id::{AgentId, MessageId, PublicationId, SubscriptionId};
use crate::model::message::NewMessage;
use crate::model::pubsub::{NewPublication, NewSubscription};
use crate::model::schema::Collection;
use crate::ports::clock::Clock;
use crate::ports::ids::Ids;
use crate::ports::store::{Body, Change, Durability, Key, Store, StoreError, Watch, Write, chain};

pub use serve::{Delivery, Serving};

/// Why an agent cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    #[error("{name} {why}")]
    Environment { name: &'static str, why: String },
    #[error("there is no agent {0} in this store")]
    Unknown(AgentId),
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Who this process is, as the engine told it through its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub agent: AgentId,
    /// Which run of the agent this is.
    pub incarnation: u64,
    /// Where the store is: a path or a URL. Opening it is the caller's business.
    pub store: String,
}

impl Identity {
    /// Reads `CVXC_AGENT_ID`, `CVXC_STORE` and, if it is there, `CVXC_INCARNATION`.
    ///
    /// # Errors
    /// `Environment`, naming the variable.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, KitError> {
        let wrong = |name, why: String| KitError::Environment { name, why };
        let needed = |name: &'static str| {
            let why = "is not set: the engine sets it for the agents that it starts";
            get(name).filter(|text| !text.is_empty()).ok_or_else(|| wrong(name, why.into()))
        };
        let agent = AgentId::new(&needed("CVXC_AGENT_ID")?)
            .map_err(|bad| wrong("CVXC_AGENT_ID", bad.to_string()))?;
        let incarnation = match get("CVXC_INCARNATION") {
            None => 1,
            Some(text) => text.parse().map_err(|_| {
                wrong("CVXC_INCARNATION", format!("expected a whole number, got {text:?}"))
            })?,
        };
        Ok(Self { agent, incarnation, store: needed("CVXC_STORE")? })
    }
}

/// What the agent's own document says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub phase: Phase,
    pub kind: String,
    pub poll_class: PollClass,
    pub heartbeat: Duration,
    /// From being asked to end to being killed.
    pub grace: Duration,
}

impl Own {
    fn read(body: Body) -> Result<Self, StoreError> {
        let agent: Agent = serde_json::from_value(Value::Object(body)).map_err(|error| {
            StoreError::Corrupt { message: format!("the agent's document cannot be read: {error}") }
        })?;
        let Agent { phase, kind, config, .. } = agent;
        Ok(Self {
            phase,
            kind,
            poll_class: config.poll_class,
            heartbeat: config.heartbeat.interval.max(Duration::from_millis(100)),
            grace: config.grace,
        })
    }
}

/// What the agent says of itself with its heartbeat.
#[derive(Debug, Default)]
struct Report {
    in_flight: AtomicU64,
    handled: AtomicU64,
    failed: AtomicU64,
    /// Sent of its own accord: requests, forwards, replies.
    sent: AtomicU64,
}

/// An agent's connection to its fleet.
#[derive(Debug)]
pub struct Client {
    identity: Identity,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    messaging: Messaging,
    pubsub: PubSub,
    receiver: Receiver,
    own: watch::Sender<Own>,
    report: Report,
}

/// How often the agent's own document is read even if no change was heard of.
const REREAD: Duration = Duration::from_secs(30);
/// First and longest pause before a store that is gone is asked again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

impl Client {
    /// Reads the agent's own document and sends the first heartbeat. A store that is away for the moment is waited for.
    ///
    /// # Errors
    /// `Unknown` when the store has no such agent; `Store` when trying again cannot help.
    pub async fn connect(
        identity: Identity,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Arc<Self>, KitError> {
        let key = Key::new(identity.agent.as_str())?;
        let mut pause = PAUSES.0;
        let own = loop {
            match store.get(Collection::Agents, &key).await {
                Ok(document) => break Own::read(document.body)?,
                Err(StoreError::NotFound { .. }) => return Err(KitError::Unknown(identity.agent)),
                Err(error @ StoreError::Unavailable(_)) => {
                    tracing::warn!(error = chain(&error), "the store is away; waiting for it");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(error) => return Err(error.into()),
            }
        };
        let client = Arc::new(Self {
            messaging: Messaging::new(store.clone(), clock.clone(), ids.clone()),
            pubsub: PubSub::new(store.clone(), clock.clone(), ids.clone()),
            receiver: Receiver::new(identity.agent.clone(), &*ids),
            own: watch::Sender::new(own),
            report: Report::default(),
            identity,
            store,
            clock,
        });
        if let Err(error) = client.beat_once().await {
            tracing::warn!(error = chain(&error), "the first heartbeat could not be written");
        }
        Ok(client)
    }

    pub fn id(&self) -> &AgentId {
        &self.identity.agent
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub fn messaging(&self) -> &Messaging {
        &self.messaging
    }

    pub fn pubsub(&self) -> &PubSub {
        &self.pubsub
    }

    /// What the agent's own document says, now and as it changes.
    pub fn own(&self) -> watch::Receiver<Own> {
        self.own.subscribe()
    }

    pub fn is_running(&self) -> bool {
        self.own.borrow().phase == Phase::Running
    }

    /// Messages done and failed since this process began.
    pub fn handled(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.report.handled), read(&self.report.failed))
    }

    /// Sends a message; counted in the heartbeat's report.
    ///
    /// # Errors
    /// Those of [`Messaging::send`].
    pub async fn send(&self, new: &NewMessage) -> Result<MessageId, MessagingError> {
        let id = self.messaging.send(new).await?;
        self.report.sent.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    /// Answers a message: to its sender, with its correlation id. Answering the same delivery again, even after a crash,
    /// sends nothing new.
    ///
    /// # Errors
    /// Those of [`Messaging::send`]; a sender that is no agent cannot be answered.
    pub async fn reply(
        &self,
        to: &Delivery,
        message_type: &str,
        payload: Map<String, Value>,
    ) -> Result<MessageId, MessagingError> {
        let sender = AgentId::new(&to.message.from_agent_id)
            .map_err(|bad| StoreError::Invalid { message: bad.to_string() })?;
        let mut new = NewMessage::new(self.id().clone(), sender, message_type);
        new.payload = payload;
        new.priority = i64::from(to.message.priority.clamp(1, 10));
        new.correlation_id = Some(to.correlation());
        new.reply_to = MessageId::new(to.key.as_str()).ok();
        new.idempotency_key = Some(format!("reply {message_type} {}", to.key));
        self.send(&new).await
    }

    /// # Errors
    /// Those of [`PubSub::publish`].
    pub async fn publish(
        &self,
        event: &str,
        payload: Map<String, Value>,
    ) -> Result<PublicationId, MessagingError> {
        let mut new = NewPublication::new(self.id().clone(), event);
        new.publisher_type = self.own.borrow().kind.clone();
        new.payload = payload;
        self.pubsub.publish(&new).await
    }

    /// # Errors
    /// Those of [`PubSub::subscribe`].
    pub async fn subscribe(&self, pattern: &str) -> Result<SubscriptionId, MessagingError> {
        self.pubsub.subscribe(&NewSubscription::new(self.id().clone(), pattern)).await
    }

    /// Beats, watches the agent's own document and serves its messages until `stop` fires; then finishes what is in hand
    /// within the agent's grace and gives the rest back.
    pub async fn run<H, F>(&self, serving: Serving, handle: H, stop: CancellationToken)
    where
        H: Fn(Delivery) -> F,
        F: Future<Output = Result<(), String>>,
    {
        let over = CancellationToken::new();
        let serve = async {
            self.serve(serving, handle, &stop).await;
            over.cancel();
        };
        tokio::join!(serve, self.beat(&over), self.follow(&over));
        if let Err(error) = self.beat_once().await {
            tracing::debug!(error = chain(&error), "the last heartbeat could not be written");
        }
    }

    async fn beat(&self, over: &CancellationToken) {
        let mut own = self.own();
        let mut away = false;
        loop {
            let interval = own.borrow_and_update().heartbeat;
            let pause = tokio::time::sleep(interval);
            tokio::select! {
                () = over.cancelled() => return,
                () = pause => {}
                // a new interval counts from now on
                _ = own.changed() => if own.borrow().heartbeat != interval { continue },
            }
            match self.beat_once().await {
                Ok(()) => away = false,
                Err(error) if away => tracing::debug!(error = chain(&error), "no heartbeat"),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the heartbeat could not be written");
                    away = true;
                }
            }
        }
    }

    /// Not waited for on disk: the next one follows.
    async fn beat_once(&self) -> Result<(), StoreError> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let fields = json!({
            "agent_id": self.identity.agent,
            "last_heartbeat": self.clock.now(),
            "incarnation": self.identity.incarnation,
            "pid": std::process::id(),
            "report": {
                "in_flight": read(&self.report.in_flight),
                "handled": read(&self.report.handled),
                "failed": read(&self.report.failed),
                "sent": read(&self.report.sent),
            },
        });
        let write = Write::Merge {
            collection: Collection::AgentHealth,
            key: Key::new(self.identity.agent.as_str())?,
            fields: fields.as_object().cloned().unwrap_or_default(),
            create: true,
        };
        self.store.transact(vec![write], Durability::Relaxed).await.map(drop)
    }

    /// Keeps [`Client::own`] as the agent's document is.
    async fn follow(&self, over: &CancellationToken) {
        let watch = Watch { collections: vec![Collection::Agents], topic: None, bodies: false };
        let mut ears = Ears::new(self.store.clone(), watch);
        let mine = |change: &Change| match change {
            Change::Put { key, .. } | Change::Removed { key, .. } => {
                key.as_str() == self.identity.agent.as_str()
            }
            Change::Resync { .. } => true,
        };
        let mut reread_at = Instant::now() + REREAD;
        loop {
            tokio::select! {
                () = over.cancelled() => return,
                () = sleep_until(reread_at) => {}
                heard = ears.hear() => match heard {
                    Heard::Lost => {}
                    Heard::Changes(changes) => if !changes.iter().any(mine) { continue },
                },
            }
            reread_at = Instant::now() + REREAD;
            if let Err(error) = self.reread().await {
                tracing::warn!(error = chain(&error), "the agent's own document could not be read");
            }
        }
    }

    async fn reread(&self) -> Result<(), StoreError> {
        let key = Key::new(self.identity.agent.as_str())?;
        let own = match self.store.get(Collection::Agents, &key).await {
            Ok(document) => Own::read(document.body)?,
            // gone: no more work, until whoever removed it ends this process
            Err(StoreError::NotFound { .. }) => {
                Own { phase: Phase::Deleted, ..self.own.borrow().clone() }
            }
            Err(error) => return Err(error),
        };
        self.own.send_if_modified(|known| {
            let changed = *known != own;
            if known.phase != own.phase {
                tracing::info!(from = %known.phase, to = %own.phase, "phase changed");
            }
            *known = own;
            changed
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
