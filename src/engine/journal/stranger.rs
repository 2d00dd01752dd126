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

/// Events of one document that are read back in one go, at first and of long histories, and how many are read in all.
const FIRST: usize = 100;
const PAGE: usize = 1_000;
const MOST: usize = 20_000;
/// After so many events a stranger's change keeps the whole document, so that the next one is told from there.
const WHOLE: usize = 100;
/// Where it is kept.
const DOCUMENT: &str = "document";

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
    let (before, read) = match last {
        Some(last) => history(store, collection, key, last).await?,
        None => (Some(Value::Null), 0),
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
    if read >= WHOLE && found.is_some() {
        evidence[DOCUMENT] = after.clone();
    }
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

/// The document as its events up to `last` left it, null when they removed it; none when they do not reach back to a
/// beginning, or somebody's change in between was never told. Also how many events it was put together from.
async fn history(
    store: &dyn Store,
    collection: Collection,
    key: &Key,
    last: Event,
) -> Result<(Option<Value>, usize), StoreError> {
    let mut back = vec![last];
    let mut limit = FIRST;
    while let Some(oldest) = back.last().filter(|oldest| !begins(oldest)) {
        let events = page(store, collection, key, Some(oldest.seq), limit).await?;
        let full = events.len() == limit;
        let beginning = events.iter().position(begins);
        back.extend(events.into_iter().take(beginning.map_or(limit, |at| at + 1)));
        if !full || back.len() >= MOST {
            break;
        }
        limit = if back.len() <= 2 * FIRST { FIRST } else { PAGE };
    }
    let document = back.iter().rev().fold(None, replayed);
    Ok((document, back.len()))
}

/// Whether it says all that the document holds after it.
fn begins(event: &Event) -> bool {
    let first = event.patch.as_array().and_then(|operations| operations.first());
    let replaces = first.is_some_and(|first| {
        first.get("path") == Some(&"".into()) && first.get("op") == Some(&"replace".into())
    });
    replaces || kept(event).is_some()
}

fn kept(event: &Event) -> Option<&Value> {
    event.evidence.get(DOCUMENT).filter(|_| event.kind == KIND)
}

fn replayed(document: Option<Value>, event: &Event) -> Option<Value> {
    if let Some(kept) = kept(event) {
        return Some(kept.clone());
    }
    let patch: json_patch::Patch = serde_json::from_value(event.patch.clone()).ok()?;
    let mut value = match document {
        Some(value) => value,
        None if begins(event) => Value::Null,
        None => return None,
    };
    json_patch::patch(&mut value, &patch).ok()?;
    Some(value)
}

/// Events of one document, the newest first, before a number or all.
async fn page(
    store: &dyn Store,
    collection: Collection,
    key: &Key,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    let field = |name: &str| {
        Field::new(name).map_err(|error| StoreError::Invalid { message: error.to_string() })
    };
    let mut of_document =
        vec![Filter::eq("aggregate", collection.name()), Filter::eq("aggregate_id", key.as_str())];
    if let Some(before) = before {
        of_document.push(Filter::Lt(field("seq")?, before.into()));
    }
    let found = store
        .query(Query {
            sort: vec![(field("seq")?, Direction::Descending)],
            limit,
            ..Query::new(Collection::Events, Filter::And(of_document))
        })
        .await?;
    found.documents.into_iter().map(read).collect()
}

/// One of `keys` that an event after `since` is about; any of them where there are too many events to look through.
pub(super) async fn told_since(
    store: &dyn Store,
    since: u64,
    keys: Vec<(Collection, Key)>,
) -> Result<Option<(Collection, Key)>, StoreError> {
    let seq =
        Field::new("seq").map_err(|error| StoreError::Invalid { message: error.to_string() })?;
    let newer = Query {
        sort: vec![(seq.clone(), Direction::Ascending)],
        limit: PAGE,
        ..Query::new(Collection::Events, Filter::Gt(seq, since.into()))
    };
    let found = store.query(newer).await?.documents;
    let told = |(collection, key): &(Collection, Key)| {
        found.iter().any(|event| {
            let is =
                |name: &str, text: &str| event.body.get(name).and_then(Value::as_str) == Some(text);
            is("aggregate", collection.name()) && is("aggregate_id", key.as_str())
        })
    };
    let many = found.len() == PAGE;
    Ok(keys.into_iter().find(|key| many || told(key)))
}

fn read(document: Document) -> Result<Event, StoreError> {
    serde_json::from_value(Value::Object(document.body)).map_err(|error| StoreError::Corrupt {
        message: format!("an event cannot be read: {error}"),
    })
}
