//! Carries out what `update` asked of the engine, on the engine's own threads. Each has a deadline, a panic is an answer,
//! and what nobody waits for any more is dropped.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::engine::handle::{CommandError, Handle};
use crate::model::access::Actor;
use crate::model::id::AgentId;
use crate::ports::runtime::LogOptions;
use crate::tui::effect::{Effect, EffectId, Fetch};
use crate::tui::event::{Event, Fault, Reply};

/// How long the engine may take for one answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// Answers that may wait for the console; a followed log waits when it is full.
const QUEUE: usize = 64;
/// Lines of a log that go to the console at once.
const BATCH: usize = 512;

pub struct Effects {
    engine: tokio::runtime::Handle,
    handle: Handle,
    actor: Actor,
    running: HashMap<EffectId, AbortHandle>,
    events: mpsc::Sender<Event>,
    answers: mpsc::Receiver<Event>,
}

impl Effects {
    pub fn new(engine: tokio::runtime::Handle, handle: Handle, actor: Actor) -> Self {
        let (events, answers) = mpsc::channel(QUEUE);
        Self { engine, handle, actor, running: HashMap::new(), events, answers }
    }

    /// Returns the next answer. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        // `self` keeps a sender, so the channel never ends.
        match self.answers.recv().await {
            Some(event) => {
                if let Event::Done(id, _) = &event {
                    self.running.remove(id);
                }
                event
            }
            None => std::future::pending().await,
        }
    }

    /// Whether no answer is on its way.
    pub fn idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Answers that wait for the console, and questions that have none yet.
    pub fn waiting(&self) -> (usize, usize) {
        (self.answers.len(), self.running.len())
    }

    /// Does work that waits for files where that holds up nobody.
    pub fn aside(
        &mut self,
        id: EffectId,
        work: impl FnOnce() -> Result<Reply, Fault> + Send + 'static,
    ) {
        let engine = self.engine.clone();
        self.answer(id, async move {
            engine.spawn_blocking(work).await.unwrap_or(Err(Fault::Panicked))
        });
    }

    /// Begins `effect`; those that are the console's own business do nothing here.
    pub fn start(&mut self, effect: Effect) {
        let (handle, actor) = (self.handle.clone(), self.actor.clone());
        match effect {
            Effect::Plan(id, command) => self.answer(id, async move {
                Ok(Reply::Plan(Box::new(handle.plan(&actor, command).await?)))
            }),
            Effect::Confirm(id, plan, consent) => self.answer(id, async move {
                Ok(Reply::Confirmed(handle.confirm(&actor, &plan, consent).await?))
            }),
            Effect::Cancel(id, operation) => self.answer(id, async move {
                handle.cancel(&actor, &operation).await?;
                Ok(Reply::Cancelled)
            }),
            Effect::Fetch(id, fetch) => self.answer(id, read(handle, actor, fetch)),
            Effect::Follow(id, agent, options) => self.follow(id, agent, options),
            Effect::Forget(id) => {
                if let Some(task) = self.running.remove(&id) {
                    task.abort();
                }
            }
            Effect::Discard(file) => {
                // one that is gone already is as good
                self.engine.spawn(async move { tokio::fs::remove_file(file).await.ok() });
            }
            Effect::Wake(..)
            | Effect::Edit(_)
            | Effect::Copy(_)
            | Effect::Dump(_)
            | Effect::Repaint
            | Effect::LoadTheme(_)
            | Effect::LoadKeymap(_)
            | Effect::Quit => {}
        }
    }

    fn answer(
        &mut self,
        id: EffectId,
        work: impl Future<Output = Result<Reply, Fault>> + Send + 'static,
    ) {
        let events = self.events.clone();
        let task = self.engine.spawn(async move {
            let work = AssertUnwindSafe(timeout(DEADLINE, work)).catch_unwind();
            let answer = match work.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(Fault::Timeout(DEADLINE)),
                Err(_) => Err(Fault::Panicked),
            };
            // The console is gone when nobody listens.
            events.send(Event::Done(id, answer)).await.ok();
        });
        self.running.insert(id, task.abort_handle());
    }

    fn follow(&mut self, id: EffectId, agent: AgentId, options: LogOptions) {
        let (handle, actor, events) =
            (self.handle.clone(), self.actor.clone(), self.events.clone());
        let task = self.engine.spawn(async move {
            let work =
                AssertUnwindSafe(lines(handle, actor, agent, options, id, &events)).catch_unwind();
            let answer = work.await.unwrap_or(Err(Fault::Panicked));
            events.send(Event::Done(id, answer)).await.ok();
        });
        self.running.insert(id, task.abort_handle());
    }
}

impl Drop for Effects {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

async fn read(handle: Handle, actor: Actor, fetch: Fetch) -> Result<Reply, Fault> {
    Ok(match fetch {
        Fetch::Document(noun, name) => {
            Reply::Document(Box::new(handle.document(&actor, noun, &name).await?))
        }
        Fetch::Describe(noun, name) => {
            Reply::Described(handle.describe(&actor, noun, &name).await?)
        }
        Fetch::List(listing) => {
            let (documents, more) = handle.list(&actor, listing).await?;
            Reply::Listed(documents, more)
        }
    })
}

async fn lines(
    handle: Handle,
    actor: Actor,
    agent: AgentId,
    options: LogOptions,
    id: EffectId,
    events: &mpsc::Sender<Event>,
) -> Result<Reply, Fault> {
    let stream = timeout(DEADLINE, handle.logs(&actor, &agent, options)).await;
    let stream = stream.map_err(|_| Fault::Timeout(DEADLINE))??;
    let mut batches = stream.ready_chunks(BATCH);
    while let Some(batch) = batches.next().await {
        let mut lines = Vec::with_capacity(batch.len());
        let mut failed = None;
        for line in batch {
            match line {
                Ok(line) => lines.push(line),
                Err(error) => failed = Some(error),
            }
        }
        if !lines.is_empty() && events.send(Event::Lines(id, lines)).await.is_err() {
            break;
        }
        if let Some(error) = failed {
            return Err(CommandError::Runtime(error).into());
        }
    }
    Ok(Reply::LogEnded)
}
