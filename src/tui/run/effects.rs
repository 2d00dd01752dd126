//! Carries out what `update` asked of the engine, on the engine's own threads. Each has a deadline, a panic is an answer,
//! and what nobody waits for any more is dropped.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::engine::handle::Handle;
use crate::model::access::Actor;
use crate::model::id::AgentId;
use crate::model::text::Safe;
use crate::ports::site::{Shell, TerminalSize};
use crate::tui::effect::{Effect, EffectId, Fetch, FollowLog};
use crate::tui::event::{Event, Fault, Reply};
use crate::tui::run::follow;

/// How long the engine may take for one answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(15);
/// Answers that may wait for the console; a followed log waits when it is full.
const QUEUE: usize = 64;

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
            Effect::Forward(id, agent, local, port) => self.answer(id, async move {
                let made = handle.forward(&actor, &agent, local, port).await?;
                Ok(Reply::Forwarded(Box::new(made)))
            }),
            Effect::Unforward(id, number) => self.answer(id, async move {
                Ok(Reply::Unforwarded(Box::new(handle.unforward(&actor, number).await?)))
            }),
            Effect::Fetch(id, fetch) => self.answer(id, read(handle, actor, fetch)),
            Effect::Follow(id, wanted) => self.follow(id, wanted),
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
            | Effect::Shell(_)
            | Effect::Copy(_)
            | Effect::Dump(_)
            | Effect::Repaint
            | Effect::LoadTheme(_)
            | Effect::LoadKeymap(_)
            | Effect::KeepBookmarks(_)
            | Effect::Switch(..)
            | Effect::Save { .. }
            | Effect::Quit => {}
        }
    }

    /// A program on a terminal beside an agent, opened on the engine's threads.
    pub fn shell(
        &self,
        agent: AgentId,
        command: Vec<String>,
        size: TerminalSize,
    ) -> impl Future<Output = Result<Shell, Fault>> + use<> {
        let (handle, actor) = (self.handle.clone(), self.actor.clone());
        let opened =
            self.engine.spawn(async move { handle.shell(&actor, &agent, &command, size).await });
        async move { Ok(opened.await.map_err(|_| Fault::Panicked)??) }
    }

    /// Writes a file of the user's on a thread that may wait; what goes wrong is told.
    pub fn write(&self, file: PathBuf, text: String) {
        let events = self.events.clone();
        self.engine.spawn(async move {
            if let Err(error) = replace(&file, &text).await {
                let said = format!("{}: cannot be written: {error}", file.display());
                events.send(Event::Trouble(Safe::new(&said))).await.ok();
            }
        });
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

    fn follow(&mut self, id: EffectId, wanted: FollowLog) {
        let (handle, actor, events) =
            (self.handle.clone(), self.actor.clone(), self.events.clone());
        let task = self.engine.spawn(async move {
            let work =
                AssertUnwindSafe(follow::lines(handle, actor, wanted, id, &events)).catch_unwind();
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

/// Puts `text` in the place of a file at once, so that nobody ever reads half of it.
async fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let new = file.with_extension("new");
    tokio::fs::write(&new, text).await?;
    tokio::fs::rename(&new, file).await
}

async fn read(handle: Handle, actor: Actor, fetch: Fetch) -> Result<Reply, Fault> {
    Ok(match fetch {
        Fetch::Document(noun, name) => {
            Reply::Document(Box::new(handle.document(&actor, noun, &name).await?))
        }
        Fetch::Reveal(noun, name) => {
            Reply::Revealed(Box::new(handle.reveal(&actor, noun, &name).await?))
        }
        Fetch::Describe(noun, name) => {
            Reply::Described(handle.describe(&actor, noun, &name).await?)
        }
        Fetch::List(listing) => {
            let (documents, more) = handle.list(&actor, listing).await?;
            Reply::Listed(documents, more)
        }
        Fetch::Forwards => Reply::Forwards(handle.forwards()),
        Fetch::Site(ask) => Reply::Site(Box::new(handle.site(&actor, ask).await?)),
    })
}
