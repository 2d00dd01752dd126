//! Plans about pools: bring to a template version, roll back, delete.

use serde_json::{Value, json};

use super::apply::difference::note;
use super::draft::{AT_ONCE, Draft, count, target};
use super::planner::Planner;
use super::resolve::{Found, refused};
use super::reversal::{FieldChange, Reversal, differences};
use crate::engine::documents::{body, overlay};
use crate::engine::handle::CommandError;
use crate::engine::journal::Change;
use crate::model::agent::intent::Intent;
use crate::model::operation::UndoInfo;
use crate::model::plan::{Goal, Noun, Targets, Tier};
use crate::model::pool::Pool;
use crate::model::schema::Collection;
use crate::model::template::Template;

impl Planner<'_> {
    /// Puts the pool's change into the draft, and returns its way back.
    pub(super) fn change_pool(
        &self,
        draft: &mut Draft,
        pool: &Found<Pool>,
        mut after: Pool,
        kind: &'static str,
    ) -> Value {
        after.generation = pool.value.generation + 1;
        after.updated_at = self.now;
        let written = overlay(&pool.document.body, &pool.value, &after);
        let fields = differences(&pool.document.body, &written);
        draft.changes.push(Change {
            collection: Collection::AgentPools,
            key: pool.document.key.clone(),
            before: Some(pool.document.clone()),
            after: Some(written),
            kind,
            subject: after.name,
            evidence: Value::Null,
        });
        self.fields(pool, fields)
    }

    fn fields(&self, pool: &Found<Pool>, fields: Vec<FieldChange>) -> Value {
        let collection = Collection::AgentPools.name().to_owned();
        let (id, name) = (pool.id().to_owned(), pool.value.name.clone());
        Reversal::Fields { collection, id, name, fields }.written()
    }

    pub(super) async fn living_pool(&self, name: &str) -> Result<Found<Pool>, CommandError> {
        let pool: Found<Pool> = self.resolver.one(Noun::Pool, name).await?;
        if pool.value.deleting || pool.value.purge_at.is_some() {
            return Err(refused(format!(
                "pool {} is deleted: undo the deletion first",
                pool.value.name
            )));
        }
        Ok(pool)
    }

    pub(super) async fn set_template(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Draft, CommandError> {
        let pool = self.living_pool(name).await?;
        let template = self.template_of(&pool).await?;
        let version = version.unwrap_or(&template.value.version).to_owned();
        self.template_version(&template, &version).await?;
        let versions = self.versions(template.id()).await?;
        if version == pool.value.template_version {
            let others: Vec<String> = versions.into_iter().filter(|it| *it != version).collect();
            return Err(refused(format!(
                "pool {} is on version {version} of {} already; {}",
                pool.value.name,
                template.value.name,
                match &others[..] {
                    [] => "there is no other".to_owned(),
                    some => format!("there are also {}", listed(some)),
                }
            )));
        }
        let title =
            format!("Update pool {} {} → {version}", pool.value.name, pool.value.template_version);
        let mut draft =
            self.roll(&pool, &template, version, title, "pool.template_changed").await?;
        draft.fact("versions", listed(&versions));
        Ok(draft)
    }

    pub(super) async fn rollback(&self, name: &str) -> Result<Draft, CommandError> {
        let pool = self.living_pool(name).await?;
        let template = self.template_of(&pool).await?;
        let version = pool.value.previous_version.clone();
        if version.is_empty() {
            return Err(refused(format!(
                "pool {} has had no version before {}: there is nothing to go back to",
                pool.value.name, pool.value.template_version
            )));
        }
        self.template_version(&template, &version).await?;
        let title = format!(
            "Roll pool {} back {} → {version}",
            pool.value.name, pool.value.template_version
        );
        self.roll(&pool, &template, version, title, "pool.rolled_back").await
    }

    async fn roll(
        &self,
        pool: &Found<Pool>,
        template: &Found<Template>,
        version: String,
        title: String,
        kind: &'static str,
    ) -> Result<Draft, CommandError> {
        let it = &pool.value;
        let mut draft = Draft::new(title, Tier::Two);
        draft.rely_on_pool(pool.id(), it);
        draft.rely(json!({ "template": template.id(), "wanted": version }));
        let members = self.members(pool.id()).await?;
        let behind = members.iter().filter(|found| found.value.template_version != version).count();
        draft.fact("template", &template.value.name);
        draft.fact("agents", format!("{behind} of {} to be replaced", members.len()));
        draft.fact(
            "pace",
            format!(
                "at most {} more and {} fewer than {} at a time",
                it.update.max_surge, it.update.max_unavailable, it.desired
            ),
        );
        draft.fact("on failure", "the update halts after the first failed batch");
        let mut after = it.clone();
        after.previous_version = it.template_version.clone();
        after.template_version.clone_from(&version);
        after.status.halted = false;
        let reversal = self.change_pool(&mut draft, pool, after, kind);
        let what = target(Noun::Pool, pool.id(), it.name.clone());
        let goal = Goal::PoolUpdated { version: version.clone() };
        let words = format!("{} → {version}", it.template_version);
        let changes = self.template_changes(template, &it.template_version, &version, &words);
        draft.step(0, "update", what, goal, changes.await?);
        draft.undo = UndoInfo::Restore {
            documents: vec![reversal],
            note: format!("back to {} by another rolling update", it.template_version),
        };
        Ok(draft)
    }

    /// `words`, and below them what the agents' configuration gains and loses from one version to the other.
    async fn template_changes(
        &self,
        template: &Found<Template>,
        from: &str,
        to: &str,
        words: &str,
    ) -> Result<String, CommandError> {
        let after = body(&self.template_version(template, to).await?)?;
        match self.template_version(template, from).await {
            Ok(before) => Ok(note(words, Some(&body(&before)?), &after)),
            // what is not known cannot be compared; the update goes on all the same
            Err(CommandError::Refused { message }) => Ok(format!("{words}: {message}")),
            Err(error) => Err(error),
        }
    }

    /// Deleting a pool takes its agents along.
    pub(super) async fn delete_pools(&self, targets: &Targets) -> Result<Draft, CommandError> {
        let pools: Vec<Found<Pool>> = self.resolver.many(Noun::Pool, &targets.names).await?;
        let mut draft = Draft::new(String::new(), Tier::Three);
        let (mut names, mut documents, mut ended) = (Vec::new(), Vec::new(), 0);
        for pool in &pools {
            let it = &pool.value;
            draft.rely_on_pool(pool.id(), it);
            if it.deleting || it.purge_at.is_some() {
                draft.warnings.push(format!("pool {} is deleted already", it.name));
                continue;
            }
            let members = self.members(pool.id()).await?;
            ended += members.len();
            names.push(it.name.as_str());
            let mut after = it.clone();
            after.deleting = true;
            self.change_pool(&mut draft, pool, after, "pool.delete_requested");
            let (id, name) = (pool.id().to_owned(), it.name.clone());
            documents.push(Reversal::PoolDeleted { id, name: name.clone() }.written());
            let what = target(Noun::Pool, pool.id(), name);
            draft.step(0, "delete", what, Goal::PoolGone, "a tombstone stays 24 h");
            if ended > AT_ONCE {
                // the leader drains them as it comes to them; undone, the pool makes as many anew
                draft.warnings.push("after an undo, its agents would be new ones".to_owned());
                continue;
            }
            for found in members {
                let (id, name) = (found.id().to_owned(), found.value.name.clone());
                draft.rely_on_agent(&id, &found.value);
                draft.wishes(0, Intent::Delete, &found, None, self.now, "drained first");
                let desired = found.value.desired;
                documents.push(Reversal::Deleted { id, name, desired }.written());
            }
        }
        let (word, what) = match &names[..] {
            [one] => ((*one).to_owned(), format!("pool {one}")),
            many => (format!("delete {}", many.len()), count(many.len(), "pool")),
        };
        draft.title = format!("Delete {what} and its {}", count(ended, "agent"));
        draft.confirm_word = Some(word);
        draft.fact("ends", count(ended, "agent"));
        if !documents.is_empty() {
            let note = format!("restore {what} with its agents, within 24 h");
            draft.undo = UndoInfo::Restore { documents, note };
        }
        Ok(draft)
    }
}

/// The first few, and how many more there are.
fn listed(versions: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = versions[..versions.len().min(SHOWN)].join(", ");
    if versions.len() > SHOWN {
        text.push_str(&format!(" and {} older", versions.len() - SHOWN));
    }
    text
}
