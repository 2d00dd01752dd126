//! Running statements: over cursors that are always closed, inside a transaction or outside.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::schema::Collection;
use crate::ports::store::{Document, Key, Rev, StoreError};

use super::aql::Aql;
use super::fault::{Failure, known_key, number};
use super::http::{Again, Ask, Http, segment};
use super::odd;
use http::Method;

/// How many rows come with one answer.
pub(super) const BATCH: usize = 2_000;
/// How long the server keeps a cursor that nobody asks, in seconds.
const CURSOR_LIFE: u32 = 30;

/// A stream transaction, on the server that holds it.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub(super) id: String,
    pub(super) endpoint: usize,
}

/// What a cursor is asked for. Borrowed: what is written may be large.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked<'a, B> {
    query: &'a str,
    bind_vars: B,
    batch_size: usize,
    ttl: u32,
}

impl<'a, B> Asked<'a, B> {
    pub(super) fn new(query: &'a str, bind_vars: B) -> Self {
        Self { query, bind_vars, batch_size: BATCH, ttl: CURSOR_LIFE }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch<T> {
    result: Vec<T>,
    #[serde(default)]
    has_more: bool,
    id: Option<String>,
}

/// All rows of a statement that only reads.
pub(super) async fn read<T: DeserializeOwned>(http: &Http, aql: &Aql) -> Result<Vec<T>, Failure> {
    let mut tries = 0;
    loop {
        match run(http, aql, None, Again::Harmless).await {
            // a server that went away took the cursor with it
            Err(Failure::Silent(_)) if tries < 2 => tries += 1,
            other => return other,
        }
    }
}

/// All rows of a statement.
pub(super) async fn run<T: DeserializeOwned>(
    http: &Http,
    aql: &Aql,
    transaction: Option<&Transaction>,
    again: Again,
) -> Result<Vec<T>, Failure> {
    ask(http, &Asked::new(&aql.text, &aql.bind), transaction, again).await
}

/// The same of a statement whose values are written as they are.
pub(super) async fn ask<T: DeserializeOwned>(
    http: &Http,
    asked: &Asked<'_, impl Serialize>,
    transaction: Option<&Transaction>,
    again: Again,
) -> Result<Vec<T>, Failure> {
    let body = serde_json::to_string(asked).map_err(|error| {
        Failure::Strange(format!("a statement could not be written as JSON: {error}"))
    })?;
    let mut ask = Ask { body, ..Ask::new(Method::POST, "/_api/cursor", again) };
    ask.transaction = transaction.map(|transaction| transaction.id.clone());
    ask.pin = transaction.map(|transaction| transaction.endpoint);
    let answer = http.send(&ask).await?;
    let endpoint = answer.endpoint;
    let mut batch: Batch<T> = answer.json()?;
    let mut rows = std::mem::take(&mut batch.result);
    while batch.has_more {
        let Some(id) = batch.id.clone() else {
            return Err(Failure::Strange("ArangoDB has more rows and no cursor".to_owned()));
        };
        let path = format!("/_api/cursor/{}", segment(&id));
        let mut next = Ask::new(Method::POST, path.clone(), Again::Unbegun);
        next.transaction.clone_from(&ask.transaction);
        next.pin = Some(endpoint);
        let more = match http.send(&next).await {
            Ok(answer) => answer.json::<Batch<T>>(),
            Err(failure) => Err(failure),
        };
        match more {
            Ok(more) => batch = more,
            Err(failure) => {
                let close = Ask { method: Method::DELETE, ..next };
                drop(http.send(&close).await); // it ends by itself soon
                return Err(match failure {
                    // rows are missing, but nothing can have been written by asking for them
                    Failure::Refused(text) => Failure::Silent(text),
                    other => other,
                });
            }
        }
        rows.append(&mut batch.result);
    }
    Ok(rows)
}

/// One document by its key.
pub(super) async fn get(
    http: &Http,
    collection: Collection,
    key: &Key,
) -> Result<Document, StoreError> {
    let path = format!("/_api/document/{}/{}", collection.name(), segment(key.as_str()));
    match http.send(&Ask::get(path)).await {
        Ok(answer) => {
            let body = answer.json().map_err(Failure::nothing_written)?;
            document(collection, body)
        }
        Err(failure) if failure.is(number::DOCUMENT_NOT_FOUND) => {
            Err(StoreError::NotFound { collection, key: key.clone() })
        }
        Err(failure) => Err(failure.nothing_written()),
    }
}

/// A document as the port has it, out of one as the server gives it.
pub(super) fn document(
    collection: Collection,
    mut body: Map<String, Value>,
) -> Result<Document, StoreError> {
    let key = text(&body, "_key").map(str::to_owned);
    let rev = text(&body, "_rev").map(|rev| Rev(rev.into()));
    let (Some(key), Some(rev)) = (key, rev) else {
        return Err(super::fault::unavailable(format!(
            "ArangoDB gave a document of {collection} without key or revision"
        )));
    };
    for name in ["_key", "_rev", "_id"] {
        body.shift_remove(name);
    }
    odd::show(&mut body);
    Ok(Document { key: known_key(collection, &key)?, rev, body })
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

/// Documents as a list; those of other programs with keys that ours never have are passed over.
pub(super) fn documents(
    collection: Collection,
    rows: Vec<Map<String, Value>>,
) -> Result<Vec<Document>, StoreError> {
    let made = rows.into_iter().map(|row| document(collection, row));
    let kept = made.filter(|made| !matches!(made, Err(StoreError::Corrupt { .. })));
    kept.collect()
}
