//! Writing: each write of the port as statements inside the writer's transaction, with its row in `changes`.

use std::cell::Cell;

use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use crate::model::filter::Field;
use crate::model::schema::{Collection, Index, IndexKind};
use crate::model::time::Time;
use crate::ports::store::{Body, Document, Key, Rev, StoreError, UpdateWhere, Write};

use super::fault::{self, invalid};
use super::order;
use super::read::{self, Lane, revision};
use super::sql::{self, Sql};

/// The largest body, in bytes of JSON.
const MAX_BODY: usize = 8 << 20;
/// How deep a body may nest; what reads JSON back stops at 128.
const MAX_NESTING: usize = 100;
/// How many writes one transaction may have.
const MAX_WRITES: usize = 10_000;

/// What a change did; kept as a number in `changes.op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Put = 1,
    Removed = 2,
}

/// The writer's transaction. Every change takes the next number of one counter, which is the document's revision, the
/// place in the feed and, where the collection is sequenced, the `seq` of a new document.
pub(super) struct Tx<'a> {
    pub(super) lane: &'a Lane,
    pub(super) now: Time,
    last: Cell<i64>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(lane: &'a Lane, now: Time) -> Result<Self, StoreError> {
        let last = Cell::new(read::head(&lane.connection)?);
        Ok(Self { lane, now, last })
    }

    /// The last number given out.
    pub(super) fn last(&self) -> i64 {
        self.last.get()
    }

    fn next(&self) -> i64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    pub(super) fn execute(
        &self,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> rusqlite::Result<usize> {
        self.lane.connection.prepare_cached(sql)?.execute(values)
    }

    fn record(
        &self,
        seq: i64,
        collection: Collection,
        key: &str,
        op: Op,
        topic: Option<&str>,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO changes(seq,collection,key,op,topic,at) VALUES(?1,?2,?3,?4,?5,?6)";
        let (name, op, at) = (collection.name(), op as i64, self.now.millis());
        self.execute(SQL, params![seq, name, key, op, topic, at]).map(drop).map_err(fault::of)
    }

    /// The revision and, in a sequenced collection, the `seq` of the document, if it is there.
    fn standing(&self, collection: Collection, key: &Key) -> Result<Option<Standing>, StoreError> {
        let seq = if collection.is_sequenced() { "json_extract(body,'$.seq')" } else { "NULL" };
        let sql = format!("SELECT rev,{seq} FROM {} WHERE key=?1", collection.name());
        let mut statement = self.lane.connection.prepare_cached(&sql).map_err(fault::of)?;
        statement
            .query_row([key.as_str()], |row| Ok(Standing { rev: row.get(0)?, seq: row.get(1)? }))
            .optional()
            .map_err(fault::of)
    }

    fn insert(&self, collection: Collection, key: &Key, text: &Text) -> Result<i64, StoreError> {
        let rev = self.next();
        let sql = format!("INSERT INTO {}(key,rev,body) VALUES(?1,?2,?3)", collection.name());
        let body = text.stamped(collection, rev);
        self.execute(&sql, params![key.as_str(), rev, body])
            .map_err(|error| refused(error, collection, key))?;
        self.record(rev, collection, key.as_str(), Op::Put, text.topic.as_deref())?;
        Ok(rev)
    }

    fn overwrite(
        &self,
        collection: Collection,
        key: &Key,
        standing: &Standing,
        text: &Text,
    ) -> Result<i64, StoreError> {
        let rev = self.next();
        let sql = format!("UPDATE {} SET rev=?2,body=?3 WHERE key=?1", collection.name());
        let body = text.stamped(collection, standing.seq.unwrap_or(rev));
        self.execute(&sql, params![key.as_str(), rev, body])
            .map_err(|error| refused(error, collection, key))?;
        self.record(rev, collection, key.as_str(), Op::Put, text.topic.as_deref())?;
        Ok(rev)
    }

    pub(super) fn remove(&self, collection: Collection, key: &str) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE key=?1", collection.name());
        self.execute(&sql, params![key]).map_err(fault::of)?;
        self.record(self.next(), collection, key, Op::Removed, None)
    }
}

struct Standing {
    rev: i64,
    seq: Option<i64>,
}

/// A statement's error: a taken key or unique index is the caller's, the rest is the file's.
fn refused(error: rusqlite::Error, collection: Collection, key: &Key) -> StoreError {
    let Some(name) = fault::taken(&error) else { return fault::of(error) };
    let index = collection.indexes().iter().find(|index| index_name(collection, index) == name);
    let what = index.map_or(name, |index| index.fields.join(", "));
    StoreError::Exists { collection, key: key.clone(), what }
}

/// What an index is called in the file: from all that it is, so that another definition has another name.
pub(super) fn index_name(collection: Collection, index: &Index) -> String {
    let kind = match (index.unique, index.sparse, index.kind) {
        (_, _, IndexKind::Expiry) => "expiry",
        (true, true, _) => "unique_sparse",
        (true, false, _) => "unique",
        (false, true, _) => "sparse",
        (false, false, _) => "by",
    };
    format!("{}_{kind}_{}", collection.name(), index.fields.join("_").replace('.', "_"))
}

/// A body as it goes into the file, made on the caller's side so that the writer is spared the work.
#[derive(Debug)]
pub(super) struct Text {
    json: String,
    topic: Option<String>,
}

impl Text {
    /// # Errors
    /// `Invalid` for what could not be read back, or is too large.
    pub(super) fn new(collection: Collection, mut body: Body) -> Result<Self, StoreError> {
        for reserved in ["_key", "_rev", "_id"] {
            if body.contains_key(reserved) {
                return Err(invalid(format!("a body must not hold {reserved}")));
            }
        }
        if collection.is_sequenced() {
            body.shift_remove("seq"); // the store's own stamp
        }
        if body.values().any(|value| !is_within(value, MAX_NESTING)) {
            return Err(invalid(format!("the document nests deeper than {MAX_NESTING} levels")));
        }
        let topic = collection.topic_field().and_then(|field| body.get(field));
        let topic = topic.and_then(Value::as_str).map(str::to_owned);
        let json = serde_json::to_string(&body)
            .map_err(|error| invalid(format!("the document is no JSON: {error}")))?;
        if json.len() > MAX_BODY {
            return Err(invalid(format!(
                "the document has {} bytes: at most {MAX_BODY} are taken",
                json.len()
            )));
        }
        Ok(Self { json, topic })
    }

    /// The JSON with the `seq` of a sequenced collection as its last field.
    fn stamped(&self, collection: Collection, seq: i64) -> std::borrow::Cow<'_, str> {
        if !collection.is_sequenced() {
            return self.json.as_str().into();
        }
        let open = self.json.strip_suffix('}').unwrap_or(&self.json);
        let comma = if open == "{" { "" } else { "," };
        format!("{open}{comma}\"seq\":{seq}}}").into()
    }
}

fn is_within(value: &Value, levels: usize) -> bool {
    if levels == 0 {
        return false;
    }
    match value {
        Value::Array(list) => list.iter().all(|value| is_within(value, levels - 1)),
        Value::Object(map) => map.values().all(|value| is_within(value, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// A write of the port, made ready.
#[derive(Debug)]
pub(super) enum Ready {
    Insert(Collection, Key, Text),
    Replace(Collection, Key, Rev, Text),
    Put(Collection, Key, Text),
    Merge { collection: Collection, key: Key, fields: Body, create: bool },
    Remove(Collection, Key, Option<Rev>),
    Check(Collection, Key, Option<Rev>),
}

/// # Errors
/// `Invalid`, naming the write.
pub(super) fn make_ready(writes: Vec<Write>) -> Result<Vec<Ready>, StoreError> {
    if writes.len() > MAX_WRITES {
        return Err(invalid(format!(
            "the transaction has {} writes: at most {MAX_WRITES} are taken",
            writes.len()
        )));
    }
    writes.into_iter().map(ready).collect()
}

fn ready(write: Write) -> Result<Ready, StoreError> {
    let named = |collection: Collection, key: &Key, body| {
        Text::new(collection, body).map_err(|error| invalid(format!("{collection}/{key}: {error}")))
    };
    Ok(match write {
        Write::Insert { collection, key, body } => {
            let text = named(collection, &key, body)?;
            Ready::Insert(collection, key, text)
        }
        Write::Replace { collection, key, rev, body } => {
            let text = named(collection, &key, body)?;
            Ready::Replace(collection, key, rev, text)
        }
        Write::Put { collection, key, body } => {
            let text = named(collection, &key, body)?;
            Ready::Put(collection, key, text)
        }
        Write::Merge { collection, key, fields, create } => {
            named(collection, &key, fields.clone())?;
            Ready::Merge { collection, key, fields, create }
        }
        Write::Remove { collection, key, rev } => Ready::Remove(collection, key, rev),
        Write::Check { collection, key, rev } => Ready::Check(collection, key, rev),
    })
}

/// Does one write; the new revision where there is one.
pub(super) fn apply(tx: &Tx<'_>, write: &Ready) -> Result<Option<Rev>, StoreError> {
    match write {
        Ready::Insert(collection, key, text) => {
            tx.insert(*collection, key, text).map(|rev| Some(revision(rev)))
        }
        Ready::Replace(collection, key, rev, text) => {
            let standing = at(tx, *collection, key, rev)?;
            tx.overwrite(*collection, key, &standing, text).map(|rev| Some(revision(rev)))
        }
        Ready::Put(collection, key, text) => match tx.standing(*collection, key)? {
            Some(standing) => tx.overwrite(*collection, key, &standing, text),
            None => tx.insert(*collection, key, text),
        }
        .map(|rev| Some(revision(rev))),
        Ready::Merge { collection, key, fields, create } => {
            merge(tx, *collection, key, fields, *create).map(|rev| Some(revision(rev)))
        }
        Ready::Remove(collection, key, rev) => {
            match rev {
                Some(rev) => {
                    at(tx, *collection, key, rev)?;
                }
                None if tx.standing(*collection, key)?.is_some() => {}
                None => {
                    return Err(StoreError::NotFound { collection: *collection, key: key.clone() });
                }
            }
            tx.remove(*collection, key.as_str()).map(|()| None)
        }
        Ready::Check(collection, key, rev) => {
            let found = tx.standing(*collection, key)?.map(|standing| revision(standing.rev));
            if found == *rev {
                return Ok(None);
            }
            Err(StoreError::Conflict { collection: *collection, key: key.clone() })
        }
    }
}

/// The document, which must be at `rev`.
fn at(tx: &Tx<'_>, collection: Collection, key: &Key, rev: &Rev) -> Result<Standing, StoreError> {
    let standing = tx.standing(collection, key)?;
    let standing = standing.ok_or_else(|| StoreError::NotFound { collection, key: key.clone() })?;
    if revision(standing.rev) == *rev {
        Ok(standing)
    } else {
        Err(StoreError::Conflict { collection, key: key.clone() })
    }
}

fn merge(
    tx: &Tx<'_>,
    collection: Collection,
    key: &Key,
    fields: &Body,
    create: bool,
) -> Result<i64, StoreError> {
    let found = match read::get(tx.lane, collection, key) {
        Ok(found) => Some(found),
        Err(StoreError::NotFound { .. }) if create => None,
        Err(error) => return Err(error),
    };
    let mut body = found.as_ref().map(|found| found.body.clone()).unwrap_or_default();
    for (field, value) in fields {
        if value.is_null() {
            body.shift_remove(field);
        } else {
            body.insert(field.clone(), value.clone());
        }
    }
    let text = Text::new(collection, body)?;
    match tx.standing(collection, key)? {
        Some(standing) => tx.overwrite(collection, key, &standing, &text),
        None => tx.insert(collection, key, &text),
    }
}

/// # Errors
/// `Invalid` for what no state of the store could make right.
pub(super) fn check_update(update: &UpdateWhere) -> Result<(), StoreError> {
    read::limited(update.limit)?;
    let changed = update.set.iter().map(|(field, _)| field);
    for field in changed.chain(update.add.iter().map(|(field, _)| field)) {
        sql::checked(field)?;
        let first = field.segments().next().unwrap_or_default();
        let stamped = update.collection.is_sequenced() && first == "seq";
        if stamped || matches!(first, "_key" | "_rev" | "_id") {
            return Err(invalid(format!("{field} is the store's own field and cannot be set")));
        }
    }
    // the statements are made once here, so that what is wrong with them is told before anything is queued
    select(update)?;
    if let Some(guard) = &update.guard {
        sql::filter(&mut Sql::default(), &guard.filter, 0)?;
    }
    Ok(())
}

fn select(update: &UpdateWhere) -> Result<Sql, StoreError> {
    order::sorted_by(&update.sort)?;
    let (collection, filter) = (update.collection, &update.filter);
    read::select("key,rev,body", collection, filter, &Sql::new("1"), &update.sort, update.limit)
}

pub(super) fn update(tx: &Tx<'_>, update: &UpdateWhere) -> Result<Vec<Document>, StoreError> {
    if let Some(guard) = &update.guard {
        let mut sql = Sql::new(format!("SELECT 1 FROM {} WHERE key=", guard.collection.name()));
        sql.bind(guard.key.as_str().to_owned().into());
        sql.push(" AND ");
        sql::filter(&mut sql, &guard.filter, 0)?;
        if tx.lane.rows(&sql, |_| Ok(()))?.is_empty() {
            return Ok(Vec::new());
        }
    }
    let mut documents = tx.lane.rows(&select(update)?, |row| read::document(row, 0))?;
    for document in &mut documents {
        for (field, value) in &update.set {
            set(&mut document.body, field, value.clone());
        }
        for (field, more) in &update.add {
            let sum = sum(field.of_document(&document.body), *more)
                .ok_or_else(|| invalid(format!("{field} of {} is no number", document.key)))?;
            set(&mut document.body, field, sum);
        }
        // the seq is taken out for the text and comes back with it: it stays in what the caller gets
        let text = Text::new(update.collection, document.body.clone())?;
        let seq = document.body.get("seq").and_then(Value::as_i64);
        let standing = Standing { rev: 0, seq };
        let rev = tx.overwrite(update.collection, &document.key, &standing, &text)?;
        document.rev = revision(rev);
    }
    Ok(documents)
}

fn sum(value: &Value, more: i64) -> Option<Value> {
    match value {
        Value::Null => Some(more.into()),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Some(whole.saturating_add(more).into()),
            None => number.as_f64().map(|real| Value::from(real + more as f64)),
        },
        Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Sets what is at a dotted path; objects on the way are made, null removes.
fn set(body: &mut Body, field: &Field, value: Value) {
    let segments: Vec<&str> = field.segments().collect();
    let Some((last, way)) = segments.split_last() else { return };
    let mut here = body;
    for segment in way {
        if value.is_null() && !here.get(*segment).is_some_and(Value::is_object) {
            return; // there is nothing to remove
        }
        let next = here.entry(*segment).or_insert_with(|| Value::Object(Body::new()));
        if !next.is_object() {
            *next = Value::Object(Body::new());
        }
        let Value::Object(map) = next else { return };
        here = map;
    }
    if value.is_null() {
        here.shift_remove(*last);
    } else {
        here.insert((*last).to_owned(), value);
    }
}
