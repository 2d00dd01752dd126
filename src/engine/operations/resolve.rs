//! From what was typed to the document meant: by id, then by exact name; near misses are named, doubles are refused.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::engine::context::Context;
use crate::engine::documents::read;
use crate::engine::handle::CommandError;
use crate::engine::view::AgentRow;
use crate::model::access::Actor;
use crate::model::agent::shapes;
use crate::model::filter::query::closest;
use crate::model::filter::{Field, Filter};
use crate::model::id::AgentId;
use crate::model::plan::Noun;
use crate::model::schema::Collection;
use crate::ports::store::{Document, Key, Query, StoreError};

/// A document with its typed form.
#[derive(Debug, Clone)]
pub(crate) struct Found<T> {
    pub document: Document,
    pub value: T,
}

impl<T> Found<T> {
    pub(crate) fn id(&self) -> &str {
        self.document.key.as_str()
    }
}

/// Looks things up for one actor, who sees only what is theirs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolver<'a> {
    pub ctx: &'a Context,
    pub actor: &'a Actor,
}

/// How long somebody who names what is not recorded waits for what the runtime knows.
const SIGHTED: Duration = Duration::from_secs(2);
const TENANT: Field = Field::of("tenant");
/// Names of one query; a filter grows with them.
const NAMES_AT_ONCE: usize = 200;
/// How many names are looked through for a near miss.
const NEAR_AMONG: usize = 10_000;

pub(crate) fn collection(noun: Noun) -> Collection {
    match noun {
        Noun::Agent => Collection::Agents,
        Noun::Pool => Collection::AgentPools,
        Noun::Template => Collection::AgentTemplates,
        Noun::Message => Collection::AgentMessages,
        Noun::Subscription => Collection::AgentSubscriptions,
        Noun::Publication => Collection::AgentPublications,
        Noun::Operation => Collection::Operations,
    }
}

/// The field that holds a thing's name; `None` where only ids name it.
fn name_field(noun: Noun) -> Option<Field> {
    match noun {
        Noun::Agent | Noun::Pool => Some(Field::of("live_name")),
        Noun::Template => Some(Field::of("name")),
        Noun::Message | Noun::Subscription | Noun::Publication | Noun::Operation => None,
    }
}

impl Resolver<'_> {
    /// Whether this actor may know of the document.
    fn sees(&self, noun: Noun, document: &Document) -> bool {
        let Some(own) = &self.actor.tenant else { return true };
        match noun {
            Noun::Agent | Noun::Pool | Noun::Operation => {
                document.body.get("tenant").and_then(Value::as_str) == Some(own)
            }
            // these carry no tenant; what they belong to is checked where it matters
            Noun::Template | Noun::Message | Noun::Subscription | Noun::Publication => true,
        }
    }

    /// The document that `name` means.
    pub(crate) async fn document(&self, noun: Noun, name: &str) -> Result<Document, CommandError> {
        let mut found = self.documents(noun, &[name.to_owned()]).await?;
        found.pop().ok_or_else(|| not_found(noun, name, None))
    }

    pub(crate) async fn one<T: DeserializeOwned>(
        &self,
        noun: Noun,
        name: &str,
    ) -> Result<Found<T>, CommandError> {
        let document = self.document(noun, name).await?;
        of_ours(noun, &document)?;
        Ok(Found { value: read(&document)?, document })
    }

    pub(crate) async fn many<T: DeserializeOwned>(
        &self,
        noun: Noun,
        names: &[String],
    ) -> Result<Vec<Found<T>>, CommandError> {
        let documents = self.documents(noun, names).await?;
        for document in &documents {
            of_ours(noun, document)?;
        }
        typed(documents)
    }

    /// The documents that `names` mean, in that order, each once.
    pub(crate) async fn documents(
        &self,
        noun: Noun,
        names: &[String],
    ) -> Result<Vec<Document>, CommandError> {
        let mut by_id = self.by_id(noun, names).await?;
        by_id.retain(|_, document| self.sees(noun, document));
        let rest: Vec<&String> = names.iter().filter(|name| !by_id.contains_key(*name)).collect();
        let mut by_name = self.by_name(noun, &rest).await?;
        let mut found: Vec<Document> = Vec::with_capacity(names.len());
        let mut met: HashSet<Key> = HashSet::new();
        for name in names {
            let meant = match by_id.remove(name) {
                Some(document) => vec![document],
                None => by_name.remove(name).unwrap_or_default(),
            };
            match meant.len() {
                // named twice, by id or name: once is enough
                0 if found
                    .iter()
                    .any(|it| it.key.as_str() == name || is_called(noun, it, name)) => {}
                0 => return Err(self.missing(noun, name).await?),
                1 => {
                    found.extend(meant.into_iter().filter(|it| met.insert(it.key.clone())));
                }
                _ => return Err(ambiguous(noun, name, &meant)),
            }
        }
        Ok(found)
    }

    async fn by_id(
        &self,
        noun: Noun,
        names: &[String],
    ) -> Result<BTreeMap<String, Document>, StoreError> {
        let keys: Vec<Key> = names.iter().filter_map(|name| Key::new(name).ok()).collect();
        let mut found = BTreeMap::new();
        for keys in keys.chunks(1_000) {
            for document in self.ctx.store.get_many(collection(noun), keys).await? {
                found.insert(document.key.to_string(), document);
            }
        }
        Ok(found)
    }

    async fn by_name(
        &self,
        noun: Noun,
        names: &[&String],
    ) -> Result<BTreeMap<String, Vec<Document>>, StoreError> {
        let mut found: BTreeMap<String, Vec<Document>> = BTreeMap::new();
        let Some(field) = name_field(noun) else { return Ok(found) };
        for names in names.chunks(NAMES_AT_ONCE) {
            let values = names.iter().map(|name| Value::from(name.as_str())).collect();
            let filter = Filter::In(field.clone(), values);
            for document in self.all(collection(noun), filter).await? {
                let name = field.of_document(&document.body).as_str().unwrap_or_default();
                if self.sees(noun, &document) {
                    found.entry(name.to_owned()).or_default().push(document);
                }
            }
        }
        Ok(found)
    }

    /// Every document that matches, page by page.
    pub(crate) async fn all(
        &self,
        collection: Collection,
        filter: Filter,
    ) -> Result<Vec<Document>, StoreError> {
        let mut query = Query::new(collection, filter);
        let mut found = Vec::new();
        loop {
            let page = self.ctx.store.query(query.clone()).await?;
            found.extend(page.documents);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// The one that has this name in this tenant (templates have none), whoever asks.
    pub(crate) async fn named(
        &self,
        noun: Noun,
        name: &str,
        tenant: &str,
    ) -> Result<Option<Document>, StoreError> {
        let Some(field) = name_field(noun) else { return Ok(None) };
        let mut filter = vec![Filter::Eq(field, name.into())];
        if noun != Noun::Template {
            filter.push(Filter::Eq(TENANT, tenant.into()));
        }
        let query = Query { limit: 1, ..Query::new(collection(noun), Filter::And(filter)) };
        Ok(self.ctx.store.query(query).await?.documents.pop())
    }

    async fn missing(&self, noun: Noun, name: &str) -> Result<CommandError, StoreError> {
        if noun == Noun::Agent {
            sighted(self.ctx).await;
            if let Some(row) = stray(self.ctx, self.actor, name) {
                return Ok(refused(no_record(&row)));
            }
        }
        let Some(field) = name_field(noun) else { return Ok(not_found(noun, name, None)) };
        let mut filter = vec![Filter::Exists(field.clone())];
        if let (Some(own), Noun::Agent | Noun::Pool) = (&self.actor.tenant, noun) {
            filter.push(Filter::Eq(TENANT, own.as_str().into()));
        }
        let query =
            Query { limit: NEAR_AMONG, ..Query::new(collection(noun), Filter::And(filter)) };
        let page = self.ctx.store.query(query).await?;
        let names: Vec<&str> = page
            .documents
            .iter()
            .filter_map(|document| field.of_document(&document.body).as_str())
            .collect();
        Ok(not_found(noun, name, closest(name, names.iter().copied())))
    }
}

/// Waits a moment until the runtime has told of everything: a process that has just begun knows nothing of it yet.
async fn sighted(ctx: &Context) {
    if !ctx.runtime.is_ours_alone() {
        let mut views = ctx.shown.subscribe();
        drop(timeout(SIGHTED, views.wait_for(|view| view.sighted)).await);
    }
}

/// The workload without a record that goes by this id or name; those who see one tenant only see none.
pub(crate) fn stray(ctx: &Context, actor: &Actor, name: &str) -> Option<Arc<AgentRow>> {
    let view = ctx.shown.borrow().clone();
    if view.totals.strays.is_empty() || actor.tenant.is_some() {
        return None;
    }
    let is_meant =
        |row: &&Arc<AgentRow>| !row.recorded && (row.id.as_str() == name || row.name == *name);
    view.agents.iter().find(is_meant).cloned()
}

/// Why nothing but adopting or ending can be done with it.
pub(crate) fn no_record(row: &AgentRow) -> String {
    match &row.pool {
        Some(pool) if row.id.is_of_crew() => crew_without_record(row.name.as_str(), pool.as_str()),
        _ => format!(
            "{} runs without a record: adopt it (:adopt, cvxc adopt) or end it (:delete, cvxc adopt --end)",
            row.name
        ),
    }
}

/// The same of a copy of a pool's own workload, which its cluster makes anew when it is ended.
pub(crate) fn crew_without_record(name: &str, pool: &str) -> String {
    format!(
        "{name} is a copy of pool {pool}'s own workload, and the pool has no record here: bring that back (cvxc apply, restore), or delete the Deployment {}{pool}",
        AgentId::OF_CREWS
    )
}

fn is_called(noun: Noun, document: &Document, name: &str) -> bool {
    name_field(noun).is_some_and(|field| field.of_document(&document.body) == name)
}

pub(crate) fn typed<T: DeserializeOwned>(
    documents: Vec<Document>,
) -> Result<Vec<Found<T>>, CommandError> {
    let typed = documents
        .into_iter()
        .map(|document| Ok(Found { value: read(&document)?, document }))
        .collect::<Result<_, StoreError>>()?;
    Ok(typed)
}

/// What another program runs is not acted upon before it is migrated.
fn of_ours(noun: Noun, document: &Document) -> Result<(), CommandError> {
    if noun == Noun::Agent && shapes::is_foreign(&document.body) {
        return Err(refused(format!(
            "agent {} is written in another program's shape: see cvxc migrate --dry-run",
            document.key
        )));
    }
    Ok(())
}

fn not_found(noun: Noun, name: &str, near: Option<&str>) -> CommandError {
    let hint = near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
    CommandError::NotFound { noun, name: name.chars().take(80).collect(), hint }
}

fn ambiguous(noun: Noun, name: &str, meant: &[Document]) -> CommandError {
    let each: Vec<String> = meant
        .iter()
        .map(|document| {
            let tenant = document.body.get("tenant").and_then(Value::as_str).unwrap_or_default();
            format!("{} in tenant {tenant}", document.key)
        })
        .collect();
    refused(format!("{name:?} names more than one {noun}: {}; give the id", each.join(" and ")))
}

pub(crate) fn refused(message: impl Into<String>) -> CommandError {
    CommandError::Refused { message: message.into() }
}
