//! Plans that take an operation back. Undo is an operation like any other: planned, confirmed, journalled, and itself
//! undone where that is possible.

mod restore;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::draft::{AT_ONCE, Draft, count, target};
use super::messages::replace;
use super::planner::Planner;
use super::release::left_at;
use super::resolve::{Found, refused};
use super::reversal::{Reversal, put_back};
use crate::engine::documents::read;
use crate::engine::handle::CommandError;
use crate::engine::messaging;
use crate::engine::view::UNDO_WITHIN;
use crate::model::agent::intent::wanted_back;
use crate::model::agent::{Agent, Desired, Phase};
use crate::model::operation::{Operation, UndoInfo};
use crate::model::plan::{Command, Goal, Noun, Targets, Tier};
use crate::model::pool::Pool;
use crate::model::schema::Collection;
use crate::ports::store::{Document, Key, StoreError};

/// What a way back comes to, as it is put together.
pub(super) struct Undoing {
    pub(super) draft: Draft,
    /// Things that are as they should be, or gone for good.
    left_out: Vec<String>,
    /// Fields that somebody changed since: with one of these nothing is taken back.
    pub(super) moved: Vec<String>,
    reversals: Vec<Value>,
    /// Pools and agents to delete, together at the end: their own plan knows how.
    agents: Vec<String>,
    pools: Vec<String>,
    templates: Vec<String>,
    /// Agents restored so far, and how many of each pool.
    restored: usize,
    back: BTreeMap<String, u32>,
}

impl Undoing {
    /// The batch of the next agent to be restored.
    fn batch(&mut self) -> u32 {
        self.restored += 1;
        u32::try_from((self.restored - 1) / AT_ONCE).unwrap_or(u32::MAX)
    }
}

impl Planner<'_> {
    pub(super) async fn undo(&self, operation: &str) -> Result<Draft, CommandError> {
        let found: Found<Operation> = self.resolver.one(Noun::Operation, operation).await?;
        let it = &found.value;
        if let Some(by) = &it.undone_by {
            return Err(refused(format!("{:?} is undone already, by {by}", it.title)));
        }
        if self.now.since(it.created_at) > UNDO_WITHIN {
            return Err(refused(format!("{:?} is too long ago: undo works for 24 h", it.title)));
        }
        let mut draft = match &it.undo {
            UndoInfo::Never { why } => {
                return Err(refused(format!("{:?} cannot be undone: {why}", it.title)));
            }
            UndoInfo::By { commands, .. } => {
                self.still_so(it).await?;
                self.undo_by(commands).await?
            }
            UndoInfo::Restore { documents, .. } => self.undo_restore(documents).await?,
        };
        draft.title = format!("Undo: {}", it.title);
        draft.rely(json!({ "operation": found.id(), "undone_by": it.undone_by }));
        let at = it.created_at.in_words();
        draft.fact("undoes", format!("{} of {at} by {}", it.kind, it.actor));
        Ok(draft)
    }

    /// Refuses to take back a number that somebody has set anew since.
    async fn still_so(&self, operation: &Operation) -> Result<(), CommandError> {
        for (id, left) in left_at(operation) {
            let Some(document) = self.get(Collection::AgentPools, &id).await? else { continue };
            let pool: Pool = read(&document)?;
            if pool.desired != left {
                return Err(refused(format!(
                    "somebody changed it since: pool {} wants {} agents, no longer {left}: scale it instead",
                    pool.name, pool.desired
                )));
            }
        }
        Ok(())
    }

    async fn undo_by(&self, commands: &[Value]) -> Result<Draft, CommandError> {
        let mut whole = Draft::new(String::new(), Tier::One);
        let mut ways = Vec::new();
        for command in commands {
            let command: Command = serde_json::from_value(command.clone())
                .map_err(|error| refused(format!("what undoes it cannot be read: {error}")))?;
            let draft = Box::pin(self.draft(&command)).await?;
            ways.push(draft.undo.clone());
            whole.absorb(draft);
        }
        if let [one] = &ways[..] {
            whole.undo = one.clone();
        }
        Ok(whole)
    }

    async fn undo_restore(&self, documents: &[Value]) -> Result<Draft, CommandError> {
        let mut undoing = Undoing {
            draft: Draft::new(String::new(), Tier::Two),
            left_out: Vec::new(),
            moved: Vec::new(),
            reversals: Vec::new(),
            agents: Vec::new(),
            pools: Vec::new(),
            templates: Vec::new(),
            restored: 0,
            back: BTreeMap::new(),
        };
        for document in documents {
            let reversal: Reversal = serde_json::from_value(document.clone())
                .map_err(|error| refused(format!("what undoes it cannot be read: {error}")))?;
            self.reverse(&mut undoing, reversal).await?;
        }
        self.make_room(&mut undoing).await?;
        let Undoing { mut draft, left_out, moved, reversals, agents, pools, templates, .. } =
            undoing;
        if !moved.is_empty() {
            return Err(refused(format!("somebody changed it since: {}", moved.join("; "))));
        }
        let mut ways = reversals;
        for (noun, names) in
            [(Noun::Agent, agents), (Noun::Pool, pools), (Noun::Template, templates)]
        {
            if names.is_empty() {
                continue;
            }
            // a pool's agents go with it, so that its template is free only later
            let ended = Command::Delete { targets: Targets { noun, names } };
            let deletion = Box::pin(self.draft(&ended)).await?;
            if let UndoInfo::Restore { documents, .. } = &deletion.undo {
                ways.extend(documents.iter().cloned());
            }
            draft.absorb(deletion);
        }
        if draft.steps.is_empty() {
            return Err(refused(match &left_out[..] {
                [] => "there is nothing left to take back".to_owned(),
                some => some.join("; "),
            }));
        }
        draft.warnings.extend(left_out.iter().take(5).map(|it| format!("left out: {it}")));
        draft.fact("takes back", count(draft.steps.len(), "step"));
        draft.undo = if ways.is_empty() {
            UndoInfo::Never { why: "run the command again instead".to_owned() }
        } else {
            UndoInfo::Restore { documents: ways, note: "as it was before this undo".to_owned() }
        };
        Ok(draft)
    }

    pub(super) async fn get(
        &self,
        collection: Collection,
        id: &str,
    ) -> Result<Option<Document>, CommandError> {
        match self.ctx.store.get(collection, &Key::new(id)?).await {
            Ok(document) => Ok(Some(document)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn reverse(&self, to: &mut Undoing, reversal: Reversal) -> Result<(), CommandError> {
        match reversal {
            Reversal::Desired { id, name, was, now } => {
                self.want_back(to, &id, &name, was, now).await
            }
            Reversal::Deleted { id, name, desired } => {
                self.restore_agent(to, &id, &name, desired).await
            }
            Reversal::PoolDeleted { id, name } => self.restore_pool(to, &id, &name).await,
            Reversal::Fields { collection, id, name, fields } => {
                let Ok(collection) = collection.parse::<Collection>() else {
                    return Err(refused(format!("there is no collection {collection}")));
                };
                let Some(document) = self.get(collection, &id).await? else {
                    to.moved.push(format!("{name} is gone"));
                    return Ok(());
                };
                match put_back(&document.body, &fields) {
                    Err(moved) => {
                        to.moved.extend(moved.iter().map(|it| format!("{name}: {it}")));
                        Ok(())
                    }
                    Ok(body) => self.put_fields_back(to, collection, document, body, &name),
                }
            }
            Reversal::Created { collection, id, name } => {
                self.uncreate(to, &collection, &id, &name).await
            }
            Reversal::Removed { collection, id, name, body } => {
                self.reinsert(to, &collection, &id, &name, body).await
            }
            Reversal::Shape(way) => self.shape_back(to, way).await,
            Reversal::Message { id } => self.restore_message(to, &id).await,
        }
    }

    /// Wants of an agent what was wanted before, unless somebody wants something else by now.
    async fn want_back(
        &self,
        to: &mut Undoing,
        id: &str,
        name: &str,
        was: Desired,
        now: Desired,
    ) -> Result<(), CommandError> {
        let Some(document) = self.get(Collection::Agents, id).await? else {
            to.left_out.push(format!("{name} is gone"));
            return Ok(());
        };
        let agent: Agent = read(&document)?;
        to.draft.rely_on_agent(id, &agent);
        if agent.desired != now || agent.phase == Phase::Deleted {
            to.left_out.push(format!("{name} is wanted {} by now", agent.desired));
            return Ok(());
        }
        let after = wanted_back(&agent, was, self.now);
        let (note, batch) = (format!("wanted {was} again; it is {}", agent.phase), to.batch());
        to.draft.restores(batch, &Found { document, value: agent }, after, note);
        let (id, name) = (id.to_owned(), name.to_owned());
        to.reversals.push(Reversal::Desired { id, name, was: now, now: was }.written());
        Ok(())
    }

    async fn restore_message(&self, to: &mut Undoing, id: &str) -> Result<(), CommandError> {
        let Some(document) = self.get(Collection::AgentMessages, id).await? else {
            to.left_out.push(format!("{id} is gone for good"));
            return Ok(());
        };
        let message = messaging::read(&document)?;
        to.draft.rely(json!({ "message": id, "status": message.status }));
        match messaging::restore(&document, self.now) {
            Ok(body) => {
                to.draft.extra.push(replace(Collection::AgentMessages, &document, body));
                let what = target(Noun::Message, id, message.message_type);
                to.draft.step(
                    0,
                    "restore",
                    what,
                    Goal::Written,
                    format!("from {}", message.status),
                );
            }
            Err(error) => to.left_out.push(format!("{id}: {error}")),
        }
        Ok(())
    }
}
