//! What surfaces read beyond the view: documents, pages of them, descriptions, and operations until they are over. Each
//! answer holds only what the asker may see.

mod describe;

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::engine::context::Context;
use crate::engine::documents::read;
use crate::engine::handle::{CommandError, Listing};
use crate::engine::operations::resolve::Resolver;
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
        let mut document = self.resolver.document(noun, name).await?;
        self.mask(&mut document.body);
        Ok(document)
    }

    pub(crate) async fn list(
        &self,
        listing: Listing,
    ) -> Result<(Vec<Document>, Option<Bookmark>), CommandError> {
        let Listing { collection, filter, limit, after } = listing;
        let filter = match (&self.actor.tenant, tenant_field(collection)) {
            (Some(own), Some(field)) => {
                Filter::And(vec![Filter::Eq(field, own.as_str().into()), filter])
            }
            (Some(_), None) | (None, _) => filter,
        };
        let sort = vec![(newest(collection), Direction::Descending)];
        let limit = limit.clamp(1, LONGEST_PAGE);
        let page = self.ctx.store.query(Query { collection, filter, sort, limit, after }).await?;
        let mut documents = page.documents;
        for document in &mut documents {
            self.mask(&mut document.body);
        }
        Ok((documents, page.next))
    }

    /// Hides what the actor may not see, and secrets that somebody wrote out all the same.
    fn mask(&self, body: &mut Body) {
        if !self.actor.role.may(Right::ViewPayloads)
            && let Some(payload) = body.get_mut("payload")
        {
            *payload = json!({ "masked": format!("{} may not see payloads", self.actor.role) });
        }
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

/// Where a collection's documents carry their tenant.
fn tenant_field(collection: Collection) -> Option<Field> {
    matches!(collection, Collection::Agents | Collection::AgentPools | Collection::AuditLog)
        .then(|| Field::of("tenant"))
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
