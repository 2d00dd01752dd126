//! The reference agent, `cvxc agent run`: a real agent with behaviour to choose, for demos, tests and as an example of the
//! kit. Everything it does is done: time passes, cores burn, memory is touched, messages travel, processes end.

pub mod load;
pub mod options;
pub mod source;
pub mod targets;

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use self::load::Load;
pub use self::options::{Balance, Lines, Options, Role};
use self::targets::Targets;
use super::{Client, Delivery, Identity, KitError, Serving};
use crate::engine::messaging::MessagingError;
use crate::model::id::{AgentId, MessageId};
use crate::model::message::NewMessage;
use crate::model::text::Safe;
use crate::ports::clock::Clock;
use crate::ports::ids::Ids;
use crate::ports::store::{Store, chain};

/// How a reference agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop and did.
    Stopped,
    /// It broke, as its options told it to: end the process at once, without tidying up.
    Crashed,
}

impl Ended {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Crashed => 3,
        }
    }
}

/// Runs as a whole process: identity from the environment, log lines to standard output, until SIGTERM or Ctrl-C.
///
/// `open` gets what `CVXC_STORE` says. Meant for a current-thread runtime.
///
/// # Errors
/// The environment is wrong, the store cannot be opened, or it does not know the agent.
pub async fn main<O, F>(
    open: O,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    options: Options,
) -> Result<Ended, KitError>
where
    O: FnOnce(String) -> F,
    F: Future<Output = Result<Arc<dyn Store>, crate::ports::store::StoreError>>,
{
    options.lines.install();
    let identity = Identity::from_env(|name| std::env::var(name).ok())?;
    let store = open(identity.store.clone()).await?;
    let stop = CancellationToken::new();
    let asked = async {
        asked_to_end().await;
        tracing::info!("asked to end");
        stop.cancel();
        std::future::pending().await
    };
    tokio::select! {
        ended = run(identity, store.clone(), clock, ids, options, stop.clone()) => {
            if matches!(ended, Ok(Ended::Stopped)) {
                store.close().await;
            }
            ended
        }
        never = asked => never,
    }
}

async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut term) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = term.recv() => return,
                Ok(()) = tokio::signal::ctrl_c() => return,
            }
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Runs until `stop` fires or the agent crashes.
///
/// # Errors
/// The store does not know the agent, or cannot be used.
pub async fn run(
    identity: Identity,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    options: Options,
    stop: CancellationToken,
) -> Result<Ended, KitError> {
    let incarnation = identity.incarnation;
    let load = Load::hold(options.memory.map_or(0, |bytes| bytes.0), options.cpu);
    let client = Client::connect(identity, store, clock, ids).await?;
    let role: &str = options.role.into();
    tracing::info!(agent = %client.id(), role, incarnation, "registered");
    let worker = Worker::new(client.clone(), options.settled(), load, incarnation);
    let serving = Serving { concurrency: worker.options.concurrency, ..Serving::default() };
    let serve = client.run(serving, |delivery| worker.handle(delivery), stop.clone());
    let aside = async {
        tokio::join!(worker.listen(&stop), source::run(&worker, &stop));
        std::future::pending().await
    };
    tokio::select! {
        () = serve => {
            let (handled, failed) = client.handled();
            tracing::info!(handled, failed, "stopped");
            Ok(Ended::Stopped)
        }
        () = worker.crashed.cancelled() => {
            tracing::error!("crashing");
            Ok(Ended::Crashed)
        }
        never = aside => never,
    }
}

/// One reference agent at work.
struct Worker {
    client: Arc<Client>,
    options: Options,
    load: Load,
    targets: Targets,
    random: RefCell<StdRng>,
    incarnation: u64,
    /// Messages begun since the process started.
    begun: Cell<u64>,
    crashed: CancellationToken,
}

impl Worker {
    fn new(client: Arc<Client>, options: Options, load: Load, incarnation: u64) -> Self {
        // members of a pool share their options: the agent's id keeps their dice apart
        let mut hasher = DefaultHasher::new();
        (client.id().as_str(), incarnation).hash(&mut hasher);
        let random = match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed ^ hasher.finish()),
            None => StdRng::from_os_rng(),
        };
        Self {
            targets: Targets::new(client.clone(), options.targets.clone(), options.balance),
            client,
            options,
            load,
            random: RefCell::new(random),
            incarnation,
            begun: Cell::new(0),
            crashed: CancellationToken::new(),
        }
    }

    fn roll(&self) -> f64 {
        self.random.borrow_mut().random()
    }

    async fn handle(&self, delivery: Delivery) -> Result<(), String> {
        let id = delivery.key.clone();
        let from = Safe::new(&delivery.message.from_agent_id);
        let kind = Safe::new(&delivery.message.message_type);
        let answer = match self.options.role {
            Role::Source => Ok(()), // what comes to a source are answers: taken note of
            Role::Worker | Role::Slow | Role::Flaky | Role::Echo | Role::Router => {
                self.work(&delivery).await
            }
        };
        let attempt = delivery.message.attempts;
        match &answer {
            Ok(()) => {
                tracing::info!(id = %id, from = from.as_str(), kind = kind.as_str(), attempt, "handled");
            }
            Err(why) => {
                tracing::warn!(id = %id, from = from.as_str(), attempt, why, "failed");
            }
        }
        answer
    }

    async fn work(&self, delivery: &Delivery) -> Result<(), String> {
        let begun = self.begun.get() + 1;
        self.begun.set(begun);
        let span = self.options.work.map_or(Duration::ZERO, |range| range.at(self.roll()));
        let due = self.options.crash_every.is_some_and(|every| begun > every);
        if due || self.roll() < self.options.crash_rate {
            self.load.work(span / 2).await;
            self.crashed.cancel();
            return std::future::pending().await; // the process ends while this is in hand
        }
        self.load.work(span).await;
        if self.roll() < self.options.fail_rate {
            return Err("the dice said no (fail-rate)".to_owned());
        }
        let result = match self.options.role {
            Role::Router => self.forward(delivery).await.map(drop),
            Role::Echo => self.answer(delivery, delivery.message.payload.clone()).await,
            Role::Worker | Role::Slow | Role::Flaky | Role::Source => {
                let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                self.finish(delivery, millis).await
            }
        };
        result.map_err(|error| chain(&error))
    }

    async fn finish(&self, delivery: &Delivery, millis: u64) -> Result<(), MessagingError> {
        let result = json!({ "task": delivery.correlation(), "ms": millis });
        let Value::Object(result) = result else { return Ok(()) };
        if let Some(event) = &self.options.publish {
            self.client.publish(event, result.clone()).await?;
        }
        if self.options.reply { self.answer(delivery, result).await } else { Ok(()) }
    }

    /// Replies to whoever can be replied to.
    async fn answer(
        &self,
        delivery: &Delivery,
        payload: Map<String, Value>,
    ) -> Result<(), MessagingError> {
        match self.client.reply(delivery, "task_result", payload).await {
            Ok(_) => Ok(()),
            // the sender is gone, or was an operator and never an agent: the work is done all the same
            Err(MessagingError::Invalid { errors }) => {
                tracing::debug!(why = %errors.first().map(ToString::to_string).unwrap_or_default(), "no reply");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Hands the message on to one of the targets; under its key, so that a second delivery forwards nothing new.
    async fn forward(&self, delivery: &Delivery) -> Result<MessageId, MessagingError> {
        let message = &delivery.message;
        let to = self.targets.choose().await?;
        let mut new = NewMessage::new(self.client.id().clone(), to, message.message_type.clone());
        new.payload = message.payload.clone();
        new.priority = i64::from(message.priority.clamp(1, 10));
        new.correlation_id = Some(delivery.correlation());
        new.ttl = message.expires_at.since(self.client.clock().now()).max(Duration::from_secs(1));
        new.idempotency_key = Some(format!("forward {}", delivery.key));
        self.client.send(&new).await
    }

    /// Subscribes to what the options name and logs what comes, until `stop` fires.
    async fn listen(&self, stop: &CancellationToken) {
        let each = self.options.subscribe.iter().map(|pattern| self.listen_to(pattern, stop));
        futures::future::join_all(each).await;
    }

    async fn listen_to(&self, pattern: &str, stop: &CancellationToken) {
        let heard = async {
            let id = self.client.subscribe(pattern).await.map_err(|error| chain(&error))?;
            let note = |publication: crate::model::pubsub::Publication| async move {
                let event = Safe::new(&publication.event_name);
                let from = Safe::new(&publication.publisher_agent_id);
                tracing::info!(event = event.as_str(), from = from.as_str(), "heard");
            };
            self.client.listen(&id, pattern, note, stop).await.map_err(|error| chain(&error))
        };
        if let Err(error) = heard.await {
            tracing::error!(pattern, error, "the subscription ended");
        }
    }

    fn agent(&self) -> &AgentId {
        self.client.id()
    }
}

#[cfg(test)]
mod tests;
