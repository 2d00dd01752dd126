//! What surfaces read beyond the view: documents, pages of them, descriptions, and operations until they are over. Each
//! answer holds only what the asker may see.

mod describe;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::engine::authorize::beyond_tenants;
use crate::engine::context::Context;
use crate::engine::documents::read;
use crate::engine::handle::{CommandError, Listing};
use crate::engine::journal::seal;
use crate::engine::operations::resolve::{Resolver, collection};
use crate::model::access::{Actor, Right};
use crate::model::agent::rules::{SECRET_PREFIX, is_secret};
use crate::model::filter::{Field, Filter};
use crate::model::id::OperationId;
use crate::model::operation::Operation;
use crate::model::plan::Noun;
use crate::model::schema::Collection;
use crate::ports::store::{
    Body, Bookmark, Change, Direction, Document, Key, Query, StoreError, Watch,
};

/// Most documents of one page.
const LONGEST_PAGE: usize = 10_000;

/// Reads for one actor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    ctx: &'a Context,
    actor: &'a Actor,
    resolver: Resolver<'a>,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(ctx: &'a Context, actor: &'a Actor) -> Self {
        Self { ctx, actor, resolver: Resolver { ctx, actor } }
    }

    pub(crate) async fn document(&self, noun: Noun, name: &str) -> Result<Document, CommandError> {
        let mut document = self.with_secrets(noun, name).await?;
        self.mask_secrets(&mut document.body);
        Ok(document)
    }

    /// The document as it is stored, but for payloads that the actor may not see.
    pub(crate) async fn with_secrets(
        &self,
        noun: Noun,
        name: &str,
    ) -> Result<Document, CommandError> {
        let mut document = self.resolver.document(noun, name).await?;
        if let Some(own) = &self.actor.tenant
            && let Some(agent) = agent_of(collection(noun), &document)
        {
            let theirs = self.agents_of(own, std::slice::from_ref(&agent)).await?;
            if !theirs.contains(&agent) {
                let (name, hint) = (name.to_owned(), String::new());
                return Err(CommandError::NotFound { noun, name, hint });
            }
        }
        self.mask_payload(&mut document.body);
        Ok(document)
    }

    pub(crate) async fn list(
        &self,
        listing: Listing,
    ) -> Result<(Vec<Document>, Option<Bookmark>), CommandError> {
        let Listing { collection, filter, limit, after } = listing;
        let scope = scope(collection);
        let filter = match (&self.actor.tenant, &scope) {
            (None, _) | (Some(_), Scope::Shared | Scope::Agent) => filter,
            (Some(own), Scope::Tenant) => {
                Filter::And(vec![Filter::eq("tenant", own.as_str()), filter])
            }
            (Some(_), Scope::Platform) => {
                beyond_tenants(self.actor, &format!("list {collection}"))?;
                filter
            }
        };
        let sort = vec![(newest(collection), Direction::Descending)];
        let limit = limit.clamp(1, LONGEST_PAGE);
        let page = self.ctx.store.query(Query { collection, filter, sort, limit, after }).await?;
        let mut documents = page.documents;
        if let (Some(own), Scope::Agent) = (&self.actor.tenant, scope) {
            let named: Vec<String> =
                documents.iter().filter_map(|it| agent_of(collection, it)).collect();
            let theirs = self.agents_of(own, &named).await?;
            documents.retain(|it| agent_of(collection, it).is_some_and(|id| theirs.contains(&id)));
        }
        for document in &mut documents {
            self.mask(&mut document.body);
        }
        Ok((documents, page.next))
    }

    /// Which of these agents belong to the tenant.
    async fn agents_of(&self, own: &str, ids: &[String]) -> Result<BTreeSet<String>, StoreError> {
        let mut keys: Vec<Key> = ids.iter().filter_map(|id| Key::new(id).ok()).collect();
        keys.sort();
        keys.dedup();
        let mut theirs = BTreeSet::new();
        for keys in keys.chunks(1_000) {
            for document in self.ctx.store.get_many(Collection::Agents, keys).await? {
                if document.body.get("tenant").and_then(Value::as_str) == Some(own) {
                    theirs.insert(document.key.to_string());
                }
            }
        }
        Ok(theirs)
    }

    /// Hides what the actor may not see, and secrets that somebody wrote out all the same.
    pub(crate) fn mask(&self, body: &mut Body) {
        self.mask_payload(body);
        self.mask_secrets(body);
    }

    /// Hides what the actor may not see, and the journal's own mark.
    fn mask_payload(&self, body: &mut Body) {
        body.shift_remove(seal::FIELD);
        if !self.actor.role.may(Right::ViewPayloads)
            && let Some(payload) = body.get_mut("payload")
        {
            *payload = json!({ "masked": format!("{} may not see payloads", self.actor.role) });
        }
    }

    /// Hides secrets that somebody wrote out all the same.
    fn mask_secrets(&self, body: &mut Body) {
        for config in ["config", "configuration"] {
            let env = body.get_mut(config).and_then(|config| config.get_mut("env"));
            for (name, value) in env.and_then(Value::as_object_mut).into_iter().flatten() {
                let literal = value
                    .as_str()
                    .is_some_and(|it| !it.is_empty() && !it.starts_with(SECRET_PREFIX));
                if literal && is_secret(name) {
                    *value = "(masked)".into();
                }
            }
        }
    }
}

/// To whom a collection's documents belong.
enum Scope {
    /// Each names its tenant.
    Tenant,
    /// To the tenant of the agent that they are about.
    Agent,
    /// To everybody.
    Shared,
    /// To those who see all tenants.
    Platform,
}

fn scope(collection: Collection) -> Scope {
    match collection {
        Collection::Agents
        | Collection::AgentPools
        | Collection::Operations
        | Collection::AuditLog => Scope::Tenant,
        Collection::AgentMessages
        | Collection::AgentPublications
        | Collection::AgentSubscriptions
        | Collection::AgentHealth
        | Collection::AgentStates
        | Collection::StateConflicts => Scope::Agent,
        Collection::AgentTemplates
        | Collection::TemplateVersions
        | Collection::ResourceProfiles => Scope::Shared,
        Collection::AgentCommunications
        | Collection::Dependencies
        | Collection::Events
        | Collection::Workflows
        | Collection::WorkflowExecutions
        | Collection::Tasks
        | Collection::CoordinationContexts
        | Collection::Alerts
        | Collection::Configs
        | Collection::Leases
        | Collection::Principals
        | Collection::ApiKeys => Scope::Platform,
    }
}

/// The agent that a document is about, where that says whose it is.
fn agent_of(collection: Collection, document: &Document) -> Option<String> {
    let field = match collection {
        Collection::AgentMessages => "to_agent_id",
        Collection::AgentPublications => "publisher_agent_id",
        Collection::AgentSubscriptions => "subscriber_agent_id",
        Collection::StateConflicts => "agent_id",
        Collection::AgentHealth | Collection::AgentStates => return Some(document.key.to_string()),
        _ => return None,
    };
    Some(document.body.get(field).and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// The field by which the newest of a collection come first.
fn newest(collection: Collection) -> Field {
    match collection {
        Collection::Events => Field::of("seq"),
        Collection::AgentPublications => Field::of("published_at"),
        Collection::AgentHealth => Field::of("checked_at"),
        Collection::AuditLog => Field::of("at"),
        Collection::AgentStates => Field::of("updated_at"),
        Collection::AgentCommunications => Field::of("timestamp"),
        Collection::WorkflowExecutions => Field::of("start_time"),
        Collection::Agents
        | Collection::AgentPools
        | Collection::AgentTemplates
        | Collection::TemplateVersions
        | Collection::StateConflicts
        | Collection::AgentMessages
        | Collection::AgentSubscriptions
        | Collection::Dependencies
        | Collection::Operations
        | Collection::Workflows
        | Collection::Tasks
        | Collection::CoordinationContexts
        | Collection::ResourceProfiles
        | Collection::Alerts
        | Collection::Configs
        | Collection::Leases
        | Collection::Principals
        | Collection::ApiKeys => Field::of("created_at"),
    }
}

pub(crate) async fn operation(ctx: &Context, id: &OperationId) -> Result<Operation, CommandError> {
    match ctx.store.get(Collection::Operations, &Key::new(id.as_str())?).await {
        Ok(document) => Ok(read(&document)?),
        Err(StoreError::NotFound { .. }) => Err(CommandError::NotFound {
            noun: Noun::Operation,
            name: id.to_string(),
            hint: String::new(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the operation is over. Woken by the store's own feed, so that it works without a mirror too.
pub(crate) async fn follow(
    ctx: &Context,
    id: &OperationId,
    timeout: Duration,
) -> Result<Operation, CommandError> {
    match tokio::time::timeout(timeout, over(ctx, id)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(CommandError::Timeout(timeout)),
    }
}

async fn over(ctx: &Context, id: &OperationId) -> Result<Operation, CommandError> {
    let watch = Watch { collections: vec![Collection::Operations], topic: None, bodies: false };
    loop {
        // the cursor comes first: what happens after it shows in the feed, what was before in the document
        let cursor = ctx.store.cursor().await?;
        let mut feed = ctx.store.changes(cursor, watch.clone()).await?;
        let found = operation(ctx, id).await?;
        if found.status.is_over() {
            return Ok(found);
        }
        loop {
            let Some(batch) = feed.next().await else { break };
            let concerns = |change: &Change| match change {
                Change::Put { key, .. } | Change::Removed { key, .. } => {
                    key.as_str() == id.as_str()
                }
                Change::Resync { .. } => true,
            };
            if batch?.iter().any(concerns) {
                let found = operation(ctx, id).await?;
                if found.status.is_over() {
                    return Ok(found);
                }
            }
        }
    }
}
