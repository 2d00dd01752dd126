//! What somebody else did to a document, told from the journal's own history of it: the document as its events left it,
//! against the document as it stands.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::seal::{bare, substance, sum};
use crate::model::event::Event;
use crate::model::filter::{Field, Filter};
use crate::model::schema::Collection;
use crate::ports::store::{Direction, Document, Key, Query, Store, StoreError};

/// The event's type, and whom it names.
pub const KIND: &str = "external.changed";
pub const ACTOR: &str = "external";

/// Events of one document that are read in one go, and how many such pages are read at most.
const PAGE: usize = 1_000;
const PAGES: usize = 20;

/// The event of what the journal does not know of the document, unnumbered; none when it knows everything. `found` is
/// the document as it stands, none when it is gone.
///
/// # Errors
/// Those of reading.
pub(super) async fn event(
    store: &dyn Store,
    collection: Collection,
    key: &Key,
    found: Option<&Document>,
) -> Result<Option<Event>, StoreError> {
    let now = found.map(|document| sum(&document.body));
    let last = page(store, collection, key, None, 1).await?.pop();
    if now.is_some()
        && last.as_ref().and_then(|last| last.evidence.get("sum")).and_then(Value::as_str)
            == now.as_deref()
    {
        return Ok(None);
    }
    // the usual removal: our own
    if found.is_none() && last.as_ref().is_none_or(is_removal) {
        return Ok(None);
    }
    let before = match last {
        Some(_) => history(store, collection, key).await?,
        None => Some(Value::Null),
    };
    let after = found.map_or(Value::Null, |document| bare(&document.body));
    if before.as_ref().is_some_and(|before| substance(before) == substance(&after)) {
        return Ok(None);
    }
    let what = match (&before, found) {
        (Some(Value::Null), Some(_)) => "inserted",
        (_, Some(_)) => "changed",
        (_, None) => "removed",
    };
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).map(|text| text.chars().take(200).collect())
    };
    let known = before.clone().unwrap_or_default();
    let subject: String =
        text(&after, "name").or_else(|| text(&known, "name")).unwrap_or_else(|| key.to_string());
    let patch = |from: &Value, to: &Value| {
        serde_json::to_value(json_patch::diff(from, to)).unwrap_or_default()
    };
    let mut evidence = json!({
        "what": what,
        "revision": found.map(|document| document.rev.to_string()),
        "sum": now,
        "fields": fields(&known, &after),
    });
    if before.is_none() {
        evidence["before"] = "not known: the journal does not reach back to it".into();
    }
    Ok(Some(Event {
        kind: KIND.to_owned(),
        aggregate: collection.name().to_owned(),
        aggregate_id: key.to_string(),
        subject,
        version: after.get("generation").and_then(Value::as_u64).unwrap_or_default(),
        actor: ACTOR.to_owned(),
        patch: patch(&known, &after),
        inverse: before.map_or(Value::Null, |before| patch(&after, &before)),
        reason: format!("{what} by another program"),
        evidence,
        ..Event::default()
    }))
}

fn is_removal(event: &Event) -> bool {
    let Some([only]) = event.patch.as_array().map(Vec::as_slice) else { return false };
    only.get("path") == Some(&"".into()) && only.get("value") == Some(&Value::Null)
}

/// Names of the top-level fields that differ.
fn fields(before: &Value, after: &Value) -> Vec<String> {
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default()
    };
    let (before, after) = (substance(before), substance(after));
    let all: BTreeSet<String> = names(&before).union(&names(&after)).cloned().collect();
    all.into_iter().filter(|name| before.get(name) != after.get(name)).collect()
}

/// The document as its events left it, null when they removed it; none when they do not reach back to its beginning, or
/// somebody's change in between was never told.
async fn history(
    store: &dyn Store,
    collection: Collection,
    key: &Key,
) -> Result<Option<Value>, StoreError> {
    let mut document: Option<Value> = None;
    let mut after = None;
    for _ in 0..PAGES {
        let events = page(store, collection, key, after, PAGE).await?;
        let full = events.len() == PAGE;
        after = events.last().map(|event| event.seq);
        for event in events {
            document = replayed(document, &event);
        }
        if !full {
            return Ok(document);
        }
    }
    Ok(None)
}

fn replayed(document: Option<Value>, event: &Event) -> Option<Value> {
    let patch: json_patch::Patch = serde_json::from_value(event.patch.clone()).ok()?;
    let whole = |operation: &json_patch::PatchOperation| matches!(operation, json_patch::PatchOperation::Replace(it) if it.path.as_str().is_empty());
    let mut value = match document {
        Some(value) => value,
        None if patch.0.first().is_some_and(whole) => Value::Null,
        None => return None,
    };
    json_patch::patch(&mut value, &patch).ok()?;
    Some(value)
}

/// Events of one document: the newest, or the oldest after a number.
async fn page(
    store: &dyn Store,
    collection: Collection,
    key: &Key,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    let field = |name: &str| {
        Field::new(name).map_err(|error| StoreError::Invalid { message: error.to_string() })
    };
    let mut of_document =
        vec![Filter::eq("aggregate", collection.name()), Filter::eq("aggregate_id", key.as_str())];
    if let Some(after) = after {
        of_document.push(Filter::Gt(field("seq")?, after.into()));
    }
    let way = if limit == 1 { Direction::Descending } else { Direction::Ascending };
    let found = store
        .query(Query {
            sort: vec![(field("seq")?, way)],
            limit,
            ..Query::new(Collection::Events, Filter::And(of_document))
        })
        .await?;
    let read = |document: Document| {
        serde_json::from_value(Value::Object(document.body)).map_err(|error| StoreError::Corrupt {
            message: format!("an event cannot be read: {error}"),
        })
    };
    found.documents.into_iter().map(read).collect()
}
