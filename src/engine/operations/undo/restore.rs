//! The way back of one document after another: restored, put back field by field, taken away again.

use serde_json::{Value, json};

use super::Undoing;
use crate::engine::documents::{overlay, read};
use crate::engine::handle::CommandError;
use crate::engine::journal::Change;
use crate::engine::messaging;
use crate::engine::operations::draft::target;
use crate::engine::operations::messages::replace;
use crate::engine::operations::planner::Planner;
use crate::engine::operations::resolve::{Found, refused};
use crate::engine::operations::reversal::Reversal;
use crate::engine::pubsub::ended;
use crate::engine::templates;
use crate::model::agent::intent::restore;
use crate::model::agent::{Agent, Desired, Phase};
use crate::model::message::moves::apply;
use crate::model::operation::UndoInfo;
use crate::model::plan::{Command, Goal, Noun, Targets};
use crate::model::pool::Pool;
use crate::model::scaling::Mode;
use crate::model::schema::Collection;
use crate::model::template::Template;
use crate::ports::store::{Body, Document, Key, StoreError};

impl Planner<'_> {
    pub(super) async fn restore_agent(
        &self,
        to: &mut Undoing,
        id: &str,
        name: &str,
        desired: Desired,
    ) -> Result<(), CommandError> {
        let Some(document) = self.get(Collection::Agents, id).await? else {
            to.left_out.push(format!("{name} is gone for good"));
            return Ok(());
        };
        let agent: Agent = read(&document)?;
        to.draft.rely_on_agent(id, &agent);
        let after = match restore(&agent, desired, self.now) {
            Ok(after) => after,
            Err(refusal) => {
                to.left_out.push(refusal.to_string());
                return Ok(());
            }
        };
        if agent.phase == Phase::Deleted
            && let Some(taken) = self.resolver.named(Noun::Agent, name, &agent.tenant).await?
        {
            to.left_out.push(format!("the name {name} is taken by agent {} by now", taken.key));
            return Ok(());
        }
        if let Some(template) = &agent.template_id {
            self.hold_again(to, template.as_str()).await?;
        }
        if let Some(pool) = &agent.pool_id {
            *to.back.entry(pool.to_string()).or_default() += 1;
        }
        let note = if agent.phase == Phase::Deleted { "from its tombstone" } else { "it goes on" };
        let batch = to.batch();
        to.draft.restores(batch, &Found { document, value: agent }, after, note);
        Ok(())
    }

    /// A pool that has replaced what comes back would end that as one too many: its own choice goes instead, and the plan
    /// says who. A pool whose number comes back too has room.
    pub(super) async fn make_room(&self, to: &mut Undoing) -> Result<(), CommandError> {
        let view = self.ctx.view();
        for (id, back) in std::mem::take(&mut to.back) {
            if to.draft.steps.iter().any(|it| it.step.target.id == id) {
                continue;
            }
            let Some(document) = self.get(Collection::AgentPools, &id).await? else { continue };
            let pool: Pool = read(&document)?;
            if pool.deleting || pool.purge_at.is_some() || pool.scaling.mode == Mode::Hpa {
                continue;
            }
            let members = self.members(&id).await?;
            let surplus = self.victims(&members, pool.desired.saturating_sub(back), &view)?;
            let names: Vec<String> = surplus.iter().map(|(it, _)| it.id().to_owned()).collect();
            if names.is_empty() {
                continue;
            }
            let said: Vec<&str> = surplus.iter().map(|(it, _)| it.value.name.as_str()).collect();
            let note = format!("pool {} has a replacement: {} goes", pool.name, said.join(", "));
            let ended = Command::Delete { targets: Targets { noun: Noun::Agent, names } };
            let mut deletion = Box::pin(self.draft(&ended)).await?;
            deletion.warnings = vec![note]; // it would say that the pool replaces them
            if let UndoInfo::Restore { documents, .. } = &deletion.undo {
                to.reversals.extend(documents.iter().cloned());
            }
            to.draft.absorb(deletion);
        }
        Ok(())
    }

    /// What refers to a template again must hold it again, if it is still there.
    async fn hold_again(&self, to: &mut Undoing, template: &str) -> Result<(), CommandError> {
        let key = Key::new(template)?;
        let write = templates::hold(&key, self.now);
        if to.draft.extra.contains(&write) {
            return Ok(());
        }
        match self.get(Collection::AgentTemplates, template).await? {
            Some(_) => to.draft.extra.push(write),
            None => to.draft.warnings.push(format!("its template {template} is gone by now")),
        }
        Ok(())
    }

    pub(super) async fn restore_pool(
        &self,
        to: &mut Undoing,
        id: &str,
        name: &str,
    ) -> Result<(), CommandError> {
        let Some(document) = self.get(Collection::AgentPools, id).await? else {
            return Err(refused(format!("pool {name} is gone for good")));
        };
        let pool: Pool = read(&document)?;
        to.draft.rely_on_pool(id, &pool);
        if !pool.deleting && pool.purge_at.is_none() {
            to.left_out.push(format!("pool {name} is not deleted"));
            return Ok(());
        }
        if pool.live_name.is_none() {
            let taken = self.resolver.named(Noun::Pool, name, &pool.tenant).await?;
            if let Some(taken) = taken {
                return Err(refused(format!(
                    "the name {name} is taken by pool {} by now",
                    taken.key
                )));
            }
        }
        if let Some(template) = &pool.template_id {
            self.hold_again(to, template.as_str()).await?;
        }
        let mut after = pool.clone();
        after.deleting = false;
        after.purge_at = None;
        after.live_name = Some(pool.name.clone());
        let goal = if pool.paused || pool.desired == 0 {
            Goal::Written
        } else {
            Goal::PoolReady { ready: pool.desired }
        };
        let found = Found { document, value: pool };
        self.change_pool(&mut to.draft, &found, after, "pool.restored");
        to.draft.step(0, "restore", target(Noun::Pool, id, name), goal, "with its agents");
        Ok(())
    }

    pub(super) fn put_fields_back(
        &self,
        to: &mut Undoing,
        collection: Collection,
        document: Document,
        body: Body,
        name: &str,
    ) -> Result<(), CommandError> {
        let id = document.key.to_string();
        match collection {
            Collection::AgentPools => {
                let (before, after): (Pool, Pool) = (read(&document)?, typed(&body, name)?);
                to.draft.rely_on_pool(&id, &before);
                let found = Found { document, value: before };
                let goal = pool_goal(&found.value, &after);
                let mut after = after;
                if after.template_version != found.value.template_version {
                    after.previous_version.clone_from(&found.value.template_version);
                }
                let way = self.change_pool(&mut to.draft, &found, after, "pool.restored");
                to.reversals.push(way);
                to.draft.step(0, "restore", target(Noun::Pool, id, name), goal, "as it was");
            }
            Collection::AgentTemplates => {
                let (before, after): (Template, Template) = (read(&document)?, typed(&body, name)?);
                to.draft.rely(json!({ "template": id, "version": before.version }));
                let found = Found { document, value: before };
                let Some((after, changes, way)) = templates::update(&found, after, self.now)?
                else {
                    to.left_out.push(format!("template {name} is as it was"));
                    return Ok(());
                };
                to.draft.changes.extend(changes);
                to.reversals.push(way.written());
                let note = format!("as it was, under version {}", after.version);
                to.draft.step(0, "restore", target(Noun::Template, id, name), Goal::Written, note);
            }
            Collection::Agents => self.put_agent_back(to, document, &body, name)?,
            Collection::AgentSubscriptions => {
                to.draft.rely(json!({ "subscription": id }));
                let what = target(Noun::Subscription, id, name);
                to.draft.step(0, "restore", what, Goal::Written, "goes on where it was");
                to.draft.extra.push(replace(collection, &document, body));
            }
            other => return Err(refused(format!("{other} cannot be put back"))),
        }
        Ok(())
    }

    fn put_agent_back(
        &self,
        to: &mut Undoing,
        document: Document,
        body: &Body,
        name: &str,
    ) -> Result<(), CommandError> {
        let id = document.key.to_string();
        let (before, mut after): (Agent, Agent) = (read(&document)?, typed(body, name)?);
        to.draft.rely_on_agent(&id, &before);
        let mut goal = Goal::Written;
        if after.config != before.config
            && before.incarnation > 0
            && after.desired == Desired::Running
        {
            after.wanted_incarnation = before.incarnation + 1;
            goal = Goal::Agent { phase: Phase::Running, incarnation: before.incarnation + 1 };
        }
        after.generation = before.generation + 1;
        after.updated_at = self.now;
        let written = overlay(&document.body, &before, &after);
        to.reversals.push(Reversal::of(Collection::Agents, &document, &written, name));
        to.draft.step(0, "update", target(Noun::Agent, id, name), goal, "as it was");
        to.draft.changes.push(Change {
            collection: Collection::Agents,
            key: document.key.clone(),
            before: Some(document),
            after: Some(written),
            kind: "agent.restored",
            subject: name.to_owned(),
            evidence: Value::Null,
        });
        Ok(())
    }

    pub(super) async fn uncreate(
        &self,
        to: &mut Undoing,
        collection: &str,
        id: &str,
        name: &str,
    ) -> Result<(), CommandError> {
        let Ok(collection) = collection.parse::<Collection>() else {
            return Err(refused(format!("there is no collection {collection}")));
        };
        let Some(document) = self.get(collection, id).await? else {
            to.left_out.push(format!("{name} is gone already"));
            return Ok(());
        };
        match collection {
            Collection::Agents => to.agents.push(id.to_owned()),
            Collection::AgentPools => to.pools.push(id.to_owned()),
            Collection::AgentTemplates => match self.resolver.template_users(id).await? {
                (_, 0) => to.templates.push(id.to_owned()),
                // pools and agents that go with this undo need it until they are gone
                (users, _) => to.left_out.push(format!(
                    "template {name} is still used by {}: delete it when they are gone",
                    users.join(", ")
                )),
            },
            Collection::AgentMessages => {
                let status = document.body.get("status").cloned();
                to.draft.rely(json!({ "message": id, "status": status }));
                match messaging::cancel(&document, self.now) {
                    Ok(body) => {
                        to.draft.extra.push(replace(collection, &document, body));
                        let what = target(Noun::Message, id, name);
                        to.draft.step(0, "cancel", what, Goal::Written, "not yet taken");
                        to.reversals.push(Reversal::Message { id: id.to_owned() }.written());
                    }
                    Err(error) => to.left_out.push(format!("{name}: {error}")),
                }
            }
            Collection::AgentSubscriptions => {
                let mut body = document.body.clone();
                apply(&mut body, ended());
                to.draft.rely(json!({ "subscription": id }));
                to.reversals.push(Reversal::of(collection, &document, &body, name));
                to.draft.extra.push(replace(collection, &document, body));
                let what = target(Noun::Subscription, id, name);
                to.draft.step(0, "end", what, Goal::Written, "it was made by this operation");
            }
            other => return Err(refused(format!("{other} cannot be taken back"))),
        }
        Ok(())
    }

    pub(super) async fn reinsert(
        &self,
        to: &mut Undoing,
        collection: &str,
        id: &str,
        name: &str,
        body: Body,
    ) -> Result<(), CommandError> {
        if collection != Collection::AgentTemplates.name() {
            return Err(refused(format!("{collection} cannot be put back")));
        }
        if self.get(Collection::AgentTemplates, id).await?.is_some() {
            to.left_out.push(format!("template {name} is there already"));
            return Ok(());
        }
        self.must_be_free(Noun::Template, name, "").await?;
        to.draft.rely(json!({ "new": ["template", id] }));
        to.draft.changes.push(Change {
            collection: Collection::AgentTemplates,
            key: Key::new(id)?,
            before: None,
            after: Some(body),
            kind: "template.restored",
            subject: name.to_owned(),
            evidence: Value::Null,
        });
        to.reversals.push(templates::created(Noun::Template, id, name));
        let what = target(Noun::Template, id, name);
        to.draft.step(0, "restore", what, Goal::Written, "as it was");
        Ok(())
    }
}

fn pool_goal(before: &Pool, after: &Pool) -> Goal {
    if after.template_version != before.template_version {
        Goal::PoolUpdated { version: after.template_version.clone() }
    } else if after.desired != before.desired && !after.paused {
        Goal::PoolReady { ready: after.desired }
    } else {
        Goal::Written
    }
}

fn typed<T: serde::de::DeserializeOwned>(body: &Body, name: &str) -> Result<T, StoreError> {
    serde_json::from_value(Value::Object(body.clone()))
        .map_err(|error| StoreError::Invalid { message: format!("{name}: {error}") })
}
