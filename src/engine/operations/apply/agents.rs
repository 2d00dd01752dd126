//! Single agents: deployed from a template with overrides, or applied from a manifest.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Apply, Reference, insertion, merged};
use crate::engine::documents::{body, overlay};
use crate::engine::handle::CommandError;
use crate::engine::journal::Change;
use crate::engine::operations::draft::{Draft, target};
use crate::engine::operations::planner::Planner;
use crate::engine::operations::resolve::{Found, refused};
use crate::engine::operations::reversal::Reversal;
use crate::engine::templates;
use crate::model::agent::intent::{Draft as NewAgent, Intent};
use crate::model::agent::{Agent, AgentConfig, Desired, Phase};
use crate::model::id::{AgentId, PoolId};
use crate::model::manifest::{Spec, merge, overrides};
use crate::model::operation::UndoInfo;
use crate::model::plan::{Goal, Manifest, Noun, Tier};
use crate::model::pool::Pool;
use crate::model::schema::Collection;
use crate::model::template::{FieldError, Template};
use crate::ports::store::{Key, StoreError};

use super::difference::note;

/// What `deploy` was given.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine::operations) struct Wanted<'a> {
    pub template: &'a str,
    pub version: &'a Option<String>,
    pub name: &'a str,
    pub pool: &'a Option<String>,
    pub labels: &'a BTreeMap<String, String>,
    pub overrides: &'a Map<String, Value>,
}

impl Planner<'_> {
    pub(in crate::engine::operations) async fn deploy(
        &self,
        wanted: Wanted<'_>,
    ) -> Result<Draft, CommandError> {
        let stored: Found<Template> = self.resolver.one(Noun::Template, wanted.template).await?;
        let template = match wanted.version {
            Some(version) => self.template_version(&stored, version).await?,
            None => stored.value.clone(),
        };
        let pool: Option<Found<Pool>> = match wanted.pool {
            Some(name) => Some(self.pool_with_room(name, &stored).await?),
            None => None,
        };
        let tenant = match &pool {
            Some(pool) => pool.value.tenant.clone(),
            None => self.tenant(None),
        };
        self.must_be_free(Noun::Agent, wanted.name, &tenant).await?;
        let mut faults = Vec::new();
        let overrides = overrides(wanted.overrides).unwrap_or_else(|found| {
            faults.extend(found);
            Map::new()
        });
        let mut labels = template.labels.clone();
        labels.extend(wanted.labels.clone());
        let record = NewAgent {
            name: wanted.name.to_owned(),
            kind: template.kind.clone(),
            tenant,
            pool_id: pool.as_ref().map(pool_id).transpose()?,
            template_id: Some(super::template_id(&stored)?),
            template_version: template.version.clone(),
            labels,
            desired: Desired::Running,
            config: configured(&template.configuration, &overrides)?,
            created_by: self.actor.name.clone(),
        };
        let agent = record.record(self.now);
        let mut draft = Draft::new(format!("Deploy agent {}", wanted.name), Tier::One);
        faults.extend(agent.validate());
        if agent.config.command.is_empty() && agent.config.image.is_empty() {
            let message = "nothing would run: expected a command, an image, or both";
            faults.push(FieldError::new("/config/command", message));
        }
        self.judge_privileges(&agent.config, "/config", &mut draft, &mut faults);
        if !faults.is_empty() {
            return Err(CommandError::Invalid { errors: faults });
        }
        draft.warnings.extend(self.rehearse(&agent, 1).await);
        draft.rely(json!({ "template": stored.id(), "version": stored.value.version }));
        draft.rely(json!({ "new": ["agent", agent.tenant, wanted.name] }));
        draft.fact("template", format!("{} {}", stored.value.name, template.version));
        draft.fact("runs", words(&agent.config));
        let id = self.mint()?;
        let mut documents = vec![templates::created(Noun::Agent, id.as_str(), wanted.name)];
        if let Some(pool) = &pool {
            draft.rely_on_pool(pool.id(), &pool.value);
            let mut after = pool.value.clone();
            after.desired += 1;
            documents.push(self.change_pool(&mut draft, pool, after, "pool.scaled"));
            draft.fact(
                "pool",
                format!("{} {} → {}", pool.value.name, pool.value.desired, pool.value.desired + 1),
            );
        }
        let note = format!("of {} {}", stored.value.name, template.version);
        self.insert(&mut draft, &id, &agent, &note)?;
        draft.undo = UndoInfo::Restore { documents, note: format!("delete agent {}", wanted.name) };
        Ok(draft)
    }

    /// A pool that the agent can join: of the same template, with room for one more.
    async fn pool_with_room(
        &self,
        name: &str,
        template: &Found<Template>,
    ) -> Result<Found<Pool>, CommandError> {
        let pool: Found<Pool> = self.resolver.one(Noun::Pool, name).await?;
        let it = &pool.value;
        if it.deleting || it.purge_at.is_some() {
            return Err(refused(format!("pool {} is deleted", it.name)));
        }
        if it.template_id.as_ref().is_none_or(|id| id.as_str() != template.id()) {
            return Err(refused(format!(
                "pool {} is of another template than {}: its update would replace the agent",
                it.name, template.value.name
            )));
        }
        if it.desired >= it.max {
            return Err(refused(format!(
                "pool {} has its most agents already ({})",
                it.name, it.max
            )));
        }
        Ok(pool)
    }

    /// Ids that begin with `pool-` would be taken for a pool's own workload; ours never do.
    fn mint(&self) -> Result<AgentId, StoreError> {
        Ok(AgentId::mint(self.ctx.ids.draw()))
    }

    fn insert(
        &self,
        draft: &mut Draft,
        id: &AgentId,
        agent: &Agent,
        note: &str,
    ) -> Result<(), StoreError> {
        let phase = match agent.desired {
            Desired::Running | Desired::Deleted => Phase::Running,
            Desired::Paused => Phase::Paused,
            Desired::Stopped => Phase::Stopped,
        };
        let goal = Goal::Agent { phase, incarnation: 1 };
        draft.creates(target(Noun::Agent, id.as_str(), agent.name.clone()), goal, note);
        if let Some(template) = &agent.template_id {
            draft.extra.push(templates::hold(&Key::new(template.as_str())?, self.now));
        }
        let change = insertion(
            Collection::Agents,
            id.as_str(),
            body(agent)?,
            "agent.registered",
            &agent.name,
        )?;
        draft.changes.push(change);
        Ok(())
    }

    pub(super) async fn apply_agent(
        &self,
        apply: &mut Apply,
        manifest: &Manifest,
        spec: &Spec,
    ) -> Result<(), CommandError> {
        let tenant = self.tenant_of(apply, manifest, spec);
        let reference = match &spec.template {
            Some(name) => self.referred(apply, manifest, name, spec.version.as_deref()).await?,
            None => None,
        };
        if spec.template.is_some() && reference.is_none() {
            return Ok(());
        }
        match self.stored::<Agent>(Noun::Agent, &spec.name, &tenant).await? {
            Some(found) => self.change_agent(apply, manifest, spec, &found, reference.as_ref()),
            None => self.create_agent(apply, manifest, spec, tenant, reference.as_ref()),
        }
    }

    fn create_agent(
        &self,
        apply: &mut Apply,
        manifest: &Manifest,
        spec: &Spec,
        tenant: String,
        reference: Option<&Reference>,
    ) -> Result<(), CommandError> {
        let record = NewAgent {
            name: spec.name.clone(),
            kind: reference.map(|it| it.template.kind.clone()).unwrap_or_default(),
            tenant,
            pool_id: None,
            template_id: reference.map(|it| it.id.clone()),
            template_version: reference
                .as_ref()
                .map(|it| it.template.version.clone())
                .unwrap_or_default(),
            labels: reference.map(|it| it.template.labels.clone()).unwrap_or_default(),
            desired: Desired::Running,
            config: reference
                .as_ref()
                .map(|it| it.template.configuration.clone())
                .unwrap_or_default(),
            created_by: self.actor.name.clone(),
        };
        let agent: Agent = merged(body(&record.record(self.now))?, spec)?;
        let mut faults = agent.validate();
        if agent.config.command.is_empty() && agent.config.image.is_empty() {
            let message = "expected a template, or a config with a command or an image";
            faults.push(FieldError::new("/template", message));
        }
        self.judge_privileges(&agent.config, "/config", &mut apply.draft, &mut faults);
        apply.faults_of(manifest, faults);
        let id = self.mint()?;
        apply.draft.rely(json!({ "new": ["agent", agent.tenant, spec.name] }));
        let words = note(&words(&agent.config), None, &body(&agent)?);
        self.insert(&mut apply.draft, &id, &agent, &words)?;
        apply.reversals.push(templates::created(Noun::Agent, id.as_str(), &spec.name));
        apply.created += 1;
        Ok(())
    }

    fn change_agent(
        &self,
        apply: &mut Apply,
        manifest: &Manifest,
        spec: &Spec,
        found: &Found<Agent>,
        reference: Option<&Reference>,
    ) -> Result<(), CommandError> {
        let before = &found.value;
        apply.draft.rely_on_agent(found.id(), before);
        if before.desired == Desired::Deleted {
            let message = format!("agent {} is being deleted", spec.name);
            apply.faults_of(manifest, [FieldError::new("/name", message)]);
            return Ok(());
        }
        let mut set = spec.clone();
        let desired = set.set.shift_remove("desired");
        let mut start = found.document.body.clone();
        if let Some(reference) = reference {
            self.rebase(&mut start, before, reference, spec)?;
        }
        let mut after: Agent = merged(start, &set)?;
        let mut faults = after.validate();
        self.judge_privileges(&after.config, "/config", &mut apply.draft, &mut faults);
        let mut goal = Goal::Written;
        if after.config != before.config
            && before.incarnation > 0
            && before.desired == Desired::Running
        {
            // what runs changes by its next run
            after.wanted_incarnation = before.incarnation + 1;
            goal = Goal::Agent { phase: Phase::Running, incarnation: before.incarnation + 1 };
        }
        if let Some(intent) = desired.as_ref().and_then(|it| wish(it, before.desired)) {
            match intent.apply(&after, None, self.now) {
                Ok(Some(wished)) => {
                    goal = intent.goal(before);
                    after = wished;
                }
                Ok(None) => {}
                Err(refusal) => faults.push(FieldError::new("/desired", refusal.to_string())),
            }
        }
        apply.faults_of(manifest, faults);
        if after == *before {
            apply.unchanged();
            return Ok(());
        }
        after.generation = before.generation + 1;
        after.updated_at = self.now;
        let written = overlay(&found.document.body, before, &after);
        if let (true, Some(id)) = (after.template_id != before.template_id, &after.template_id) {
            apply.draft.extra.push(templates::hold(&Key::new(id.as_str())?, self.now));
        }
        let words = if matches!(goal, Goal::Written) { "changed" } else { "changed, runs anew" };
        let note = note(words, Some(&found.document.body), &written);
        apply.draft.step(0, "update", target(Noun::Agent, found.id(), &*spec.name), goal, note);
        apply.reversals.push(Reversal::of(
            Collection::Agents,
            &found.document,
            &written,
            &spec.name,
        ));
        apply.draft.changes.push(Change {
            collection: Collection::Agents,
            key: found.document.key.clone(),
            before: Some(found.document.clone()),
            after: Some(written),
            kind: "agent.updated",
            subject: spec.name.clone(),
            evidence: Value::Null,
        });
        apply.changed += 1;
        Ok(())
    }

    /// Another template, or another version of it, gives the configuration that the manifest's parts are put into.
    fn rebase(
        &self,
        start: &mut Map<String, Value>,
        before: &Agent,
        reference: &Reference,
        spec: &Spec,
    ) -> Result<(), StoreError> {
        let same = before.template_id.as_ref() == Some(&reference.id);
        if same && (spec.version.is_none() || before.template_version == reference.template.version)
        {
            return Ok(());
        }
        start.insert("template_id".to_owned(), json!(reference.id));
        start.insert("template_version".to_owned(), json!(reference.template.version));
        start.insert("config".to_owned(), Value::Object(body(&reference.template.configuration)?));
        Ok(())
    }
}

/// The wish by which an agent gets from one desired state to another.
fn wish(desired: &Value, from: Desired) -> Option<Intent> {
    let to: Desired = serde_json::from_value(desired.clone()).ok()?;
    match to {
        Desired::Running if from == Desired::Paused => Some(Intent::Resume),
        Desired::Running => Some(Intent::Start),
        Desired::Paused => Some(Intent::Pause),
        Desired::Stopped => Some(Intent::Stop),
        Desired::Deleted => None,
    }
}

fn pool_id(pool: &Found<Pool>) -> Result<PoolId, StoreError> {
    PoolId::new(pool.id()).map_err(|error| StoreError::Invalid { message: error.to_string() })
}

/// The template's configuration with an agent's own parts put in.
fn configured(base: &AgentConfig, set: &Map<String, Value>) -> Result<AgentConfig, StoreError> {
    let mut config = body(base)?;
    merge(&mut config, set);
    serde_json::from_value(Value::Object(config))
        .map_err(|error| StoreError::Invalid { message: error.to_string() })
}

/// What an agent runs, in one line.
fn words(config: &AgentConfig) -> String {
    let command = config.command.join(" ");
    match (config.image.as_str(), command.as_str()) {
        ("", command) => command.to_owned(),
        (image, "") => image.to_owned(),
        (image, command) => format!("{image}: {command}"),
    }
}
