//! New members of a pool, cast from its template's version.

use std::collections::HashSet;

use serde_json::Value;

use crate::engine::context::Context;
use crate::engine::documents::{body, read};
use crate::engine::journal::Change;
use crate::model::agent::intent::Draft;
use crate::model::agent::{Agent, Desired};
use crate::model::id::{AgentId, PoolId};
use crate::model::pool::Pool;
use crate::model::schema::Collection;
use crate::model::template::{Template, version_key};
use crate::model::time::Time;
use crate::ports::store::{Key, StoreError};

/// Letters and digits that follow a pool's name in its members' names.
const SUFFIX: usize = 4;
const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Draws of taken names before one is used all the same.
const MISSES: usize = 10_000;
/// Names are as long as ids at most.
const LONGEST: usize = 63;

/// What every new member of one pool has in common.
pub struct Mould {
    draft: Draft,
    /// Names that the view knows, so that few draws meet a taken one.
    taken: HashSet<String>,
}

impl Mould {
    /// The mould of `pool`, or why it has none, in words.
    pub async fn of(
        ctx: &Context,
        id: &PoolId,
        pool: &Pool,
    ) -> Result<Result<Self, String>, StoreError> {
        let Some(template_id) = &pool.template_id else {
            return Ok(Err("the pool has no template".to_owned()));
        };
        let key = Key::new(&version_key(template_id.as_str(), &pool.template_version))?;
        let template: Template = match ctx.store.get(Collection::TemplateVersions, &key).await {
            Ok(document) => match read(&document) {
                Ok(template) => template,
                // a newer program's, perhaps
                Err(error) => return Ok(Err(error.to_string())),
            },
            Err(StoreError::NotFound { .. }) => {
                let version = &pool.template_version;
                return Ok(Err(format!("template {template_id} has no version {version:?}")));
            }
            Err(error) => return Err(error),
        };
        let mut labels = template.labels;
        labels.extend(pool.labels.clone());
        let draft = Draft {
            name: pool.name.clone(),
            kind: template.kind,
            tenant: pool.tenant.clone(),
            pool_id: Some(id.clone()),
            template_id: Some(template_id.clone()),
            template_version: pool.template_version.clone(),
            labels,
            desired: if pool.paused { Desired::Paused } else { Desired::Running },
            config: template.configuration,
            created_by: "loop:reconcile".to_owned(),
        };
        let taken = ctx.view().agents.iter().map(|row| row.name.as_str().to_owned()).collect();
        Ok(Ok(Self { draft, taken }))
    }

    /// What a new member is like.
    pub fn sample(&self, now: Time) -> Agent {
        self.draft.clone().record(now)
    }

    /// `count` new members with names of their own.
    ///
    /// # Errors
    /// `Invalid` when a document cannot be written as JSON.
    pub fn cast(&self, ctx: &Context, count: usize) -> Result<Vec<Change>, StoreError> {
        let now = ctx.clock.now();
        let mut drawn = HashSet::new();
        let mut changes = Vec::with_capacity(count);
        let mut misses = 0;
        while changes.len() < count {
            let name = self.name();
            // where nearly all names are taken, the store refuses instead
            if misses < MISSES && (self.taken.contains(&name) || drawn.contains(&name)) {
                misses += 1;
                continue;
            }
            let id = AgentId::mint(ctx.ids.draw());
            drawn.insert(name.clone());
            let agent = Draft { name, ..self.draft.clone() }.record(now);
            changes.push(Change {
                collection: Collection::Agents,
                key: Key::new(id.as_str())?,
                before: None,
                subject: agent.name.clone(),
                after: Some(body(&agent)?),
                kind: "agent.registered",
                evidence: Value::Null,
            });
        }
        Ok(changes)
    }

    fn name(&self) -> String {
        let stem: String = self.draft.name.chars().take(LONGEST - SUFFIX - 1).collect();
        let letter = |_| char::from(LETTERS[rand::random_range(0..LETTERS.len())]);
        let suffix: String = (0..SUFFIX).map(letter).collect();
        format!("{}-{suffix}", stem.trim_end_matches('-'))
    }
}
