//! Reading: every question of the port as statements on one connection. Runs on the readers' threads; [`select`] also
//! serves the writer.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, Row, params, params_from_iter};
use serde_json::Value;

use crate::model::filter::{Field, Filter};
use crate::model::schema::Collection;
use crate::ports::store::{
    Body, Bookmark, Direction, Document, Hop, Key, Page, Query, RawDocument, Rev, StoreError,
    Tally, Traversal, Way,
};

use super::fault::{self, invalid};
use super::order;
use super::sql::{self, Sql};

/// Statements longer than this are not kept ready: they hardly come twice, and would fill the memory.
const LONG: usize = 32_768;

/// A connection, and the filters that the statement under way asks about by place.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) connection: Connection,
    judged: Arc<Mutex<Vec<Filter>>>,
}

impl Lane {
    pub(super) fn new(connection: Connection) -> Result<Self, StoreError> {
        let judged: Arc<Mutex<Vec<Filter>>> = Arc::default();
        let known = judged.clone();
        let judge = move |context: &rusqlite::functions::Context<'_>| {
            let place: i64 = context.get(0)?;
            let body: Body = serde_json::from_str(context.get_raw(1).as_str()?)
                .map_err(|error| rusqlite::Error::UserFunctionError(error.into()))?;
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let filter = usize::try_from(place).ok().and_then(|place| known.get(place));
            Ok(filter.is_some_and(|filter| filter.matches(&body)))
        };
        connection
            .create_scalar_function("cvxc_matches", 2, FunctionFlags::SQLITE_UTF8, judge)
            .map_err(fault::of)?;
        connection.set_prepared_statement_cache_capacity(256);
        Ok(Self { connection, judged })
    }

    /// Runs a SELECT and turns each row into a `T`.
    pub(super) fn rows<T>(
        &self,
        sql: &Sql,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        if !sql.judged.is_empty() {
            let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
            judged.clone_from(&sql.judged);
        }
        if sql.text.len() > LONG {
            let mut statement = self.connection.prepare(&sql.text).map_err(fault::of)?;
            return collect(&mut statement, sql, &mut read);
        }
        let mut statement = self.connection.prepare_cached(&sql.text).map_err(fault::of)?;
        collect(&mut statement, sql, &mut read)
    }
}

fn collect<T>(
    statement: &mut rusqlite::Statement<'_>,
    sql: &Sql,
    read: &mut impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = statement.query(params_from_iter(sql.bound.iter())).map_err(fault::of)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(fault::of)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// A document from columns `key, rev, body` beginning at `first`.
pub(super) fn document(row: &Row<'_>, first: usize) -> Result<Document, StoreError> {
    let key: String = row.get(first).map_err(fault::of)?;
    let rev: i64 = row.get(first + 1).map_err(fault::of)?;
    let body = row.get_ref(first + 2).map_err(fault::of)?;
    let body = body.as_str().map_err(|error| damaged(&key, &error))?;
    let body = serde_json::from_str(body).map_err(|error| damaged(&key, &error))?;
    Ok(Document { key: known_key(&key)?, rev: revision(rev), body })
}

fn damaged(key: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt { message: format!("the document {key} cannot be read: {error}") }
}

/// A key out of the file; somebody else may have written it.
pub(super) fn known_key(key: &str) -> Result<Key, StoreError> {
    Key::new(key).map_err(|error| StoreError::Corrupt { message: error.to_string() })
}

pub(super) fn revision(rev: i64) -> Rev {
    Rev(rev.to_string().into())
}

pub(super) fn get(lane: &Lane, collection: Collection, key: &Key) -> Result<Document, StoreError> {
    let mut sql = Sql::new(format!("SELECT key,rev,body FROM {} WHERE key=", collection.name()));
    sql.bind(Bound::Text(key.as_str().to_owned()));
    let found = lane.rows(&sql, |row| document(row, 0))?.pop();
    found.ok_or_else(|| StoreError::NotFound { collection, key: key.clone() })
}

pub(super) fn get_many(
    lane: &Lane,
    collection: Collection,
    keys: &[Key],
) -> Result<Vec<Document>, StoreError> {
    let keys: Vec<&str> = keys.iter().map(Key::as_str).collect();
    let mut sql = Sql::new(format!(
        "SELECT key,rev,body FROM {} WHERE key IN (SELECT value FROM json_each(",
        collection.name()
    ));
    sql.bind(Bound::Text(Value::from(keys).to_string()));
    sql.push("))");
    lane.rows(&sql, |row| document(row, 0))
}

/// `SELECT columns FROM … WHERE filter AND extra ORDER BY sort LIMIT limit`.
pub(super) fn select(
    columns: &str,
    collection: Collection,
    filter: &Filter,
    extra: &Sql,
    sort: &[(Field, Direction)],
    limit: usize,
) -> Result<Sql, StoreError> {
    let mut sql = Sql::new(format!("SELECT {columns} FROM {} WHERE ", collection.name()));
    sql::filter(&mut sql, filter, 0)?;
    order::hint_sparse(&mut sql, collection, filter);
    sql.push(" AND ");
    sql.push(&extra.text);
    sql.bound.extend(extra.bound.iter().cloned());
    order::order_by(&mut sql, collection, filter, sort);
    sql.push(" LIMIT ");
    sql.bind(Bound::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    Ok(sql)
}

/// The statements of one page, in the order in which they are to be run.
pub(super) fn page_statements(query: &Query) -> Result<Vec<Sql>, StoreError> {
    limited(query.limit)?;
    order::sorted_by(&query.sort)?;
    let parts = order::after(&query.sort, query.after.as_ref())?;
    let select = |extra: &Sql| {
        let (collection, filter, sort) = (query.collection, &query.filter, &query.sort);
        select("key,rev,body", collection, filter, extra, sort, query.limit + 1)
    };
    parts.iter().map(select).collect()
}

pub(super) fn limited(limit: usize) -> Result<(), StoreError> {
    if !(1..=10_000).contains(&limit) {
        return Err(invalid(format!("the limit is {limit}: expected 1 to 10000")));
    }
    Ok(())
}

pub(super) fn query(lane: &Lane, query: &Query) -> Result<Page, StoreError> {
    let statements = page_statements(query)?;
    let mut documents = Vec::new();
    // Two statements must see one state of the store, or a row could move from the second part into the first and be
    // missed.
    let together = (statements.len() > 1).then(|| lane.connection.unchecked_transaction());
    let together = together.transpose().map_err(fault::of)?;
    for sql in &statements {
        documents.extend(lane.rows(sql, |row| document(row, 0))?);
        if documents.len() > query.limit {
            break;
        }
    }
    drop(together);
    let more = documents.len() > query.limit;
    documents.truncate(query.limit);
    let last = documents.last().filter(|_| more);
    let next = last.map(|last| bookmark(last, &query.sort));
    Ok(Page { documents, next })
}

fn bookmark(last: &Document, sort: &[(Field, Direction)]) -> Bookmark {
    let value = |field: &Field| match field.as_str() {
        "_key" => Value::from(last.key.as_str()),
        _ => field.of_document(&last.body).clone(),
    };
    let values = sort.iter().map(|(field, _)| value(field)).collect();
    Bookmark { values, key: last.key.clone() }
}

pub(super) fn count(
    lane: &Lane,
    collection: Collection,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let mut sql = Sql::new(format!("SELECT count(*) FROM {} WHERE ", collection.name()));
    sql::filter(&mut sql, filter, 0)?;
    order::hint_sparse(&mut sql, collection, filter);
    let counts = lane.rows(&sql, |row| row.get::<_, i64>(0).map_err(fault::of))?;
    Ok(counts.first().map_or(0, |count| count.unsigned_abs()))
}

pub(super) fn tally(
    lane: &Lane,
    collection: Collection,
    filter: &Filter,
    by: &[Field],
    least: Option<&Field>,
) -> Result<Vec<Tally>, StoreError> {
    if !(1..=3).contains(&by.len()) {
        return Err(invalid("a tally counts by 1 to 3 fields"));
    }
    let groups: Vec<String> = by.iter().map(sql::checked).collect::<Result<_, _>>()?;
    let groups = groups.join(",");
    let least = least.map(sql::checked).transpose()?;
    let least = least.map_or_else(|| "NULL".to_owned(), |least| format!("min({least})"));
    let mut sql =
        Sql::new(format!("SELECT count(*),{least},{groups} FROM {} WHERE ", collection.name()));
    sql::filter(&mut sql, filter, 0)?;
    order::hint_sparse(&mut sql, collection, filter);
    sql.push(" GROUP BY ");
    sql.push(&groups);
    sql.push(" ORDER BY ");
    sql.push(&groups);
    lane.rows(&sql, |row| {
        let value = |place: usize| row.get::<_, Bound>(place).map(sql::decode).map_err(fault::of);
        let count: i64 = row.get(0).map_err(fault::of)?;
        Ok(Tally {
            values: (0..by.len()).map(|place| value(place + 2)).collect::<Result<_, _>>()?,
            count: count.unsigned_abs(),
            least: value(1)?,
        })
    })
}

pub(super) fn scan(
    lane: &Lane,
    collection: Collection,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<RawDocument>, StoreError> {
    limited(limit)?;
    let mut sql = Sql::new(format!("SELECT key,rev,body FROM {} WHERE key>", collection.name()));
    sql.bind(Bound::Text(after.map_or_else(String::new, |key| key.as_str().to_owned())));
    sql.push(" ORDER BY key LIMIT ");
    sql.bind(Bound::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    lane.rows(&sql, |row| {
        let key = row.get_ref(0).map_err(fault::of)?;
        let key = key.as_str().map_err(|error| damaged("?", &error))?;
        let json = row.get_ref(2).map_err(fault::of)?;
        let json = json.as_str().map_err(|error| damaged(key, &error))?.to_owned();
        let rev = revision(row.get(1).map_err(fault::of)?);
        Ok(RawDocument { key: known_key(key)?, rev, json })
    })
}

pub(super) fn revisions(
    lane: &Lane,
    collection: Collection,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<(Key, Rev)>, StoreError> {
    limited(limit)?;
    let mut sql = Sql::new(format!("SELECT key,rev FROM {} WHERE key>", collection.name()));
    sql.bind(Bound::Text(after.map_or_else(String::new, |key| key.as_str().to_owned())));
    sql.push(" ORDER BY key LIMIT ");
    sql.bind(Bound::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    lane.rows(&sql, |row| {
        let key: String = row.get(0).map_err(fault::of)?;
        Ok((known_key(&key)?, revision(row.get(1).map_err(fault::of)?)))
    })
}

pub(super) fn traverse(lane: &Lane, walk: &Traversal) -> Result<Vec<Hop>, StoreError> {
    if !walk.edges.is_edge() {
        return Err(invalid(format!("{} holds no edges", walk.edges)));
    }
    if !(1..=10).contains(&walk.depth) {
        return Err(invalid(format!("the depth is {}: expected 1 to 10", walk.depth)));
    }
    limited(walk.limit)?;
    let together = lane.connection.unchecked_transaction().map_err(fault::of)?;
    let mut met: HashSet<String> = HashSet::from([walk.start.clone()]);
    let mut hops: Vec<Hop> = Vec::new();
    let mut front = vec![walk.start.clone()];
    for depth in 1..=walk.depth {
        let mut next = Vec::new();
        for vertex in front {
            for (other, edge) in edges(lane, walk, &vertex)? {
                if !met.insert(other.clone()) {
                    continue;
                }
                hops.push(Hop { vertex: other.clone(), depth, edge });
                if hops.len() == walk.limit {
                    return Ok(hops);
                }
                next.push(other);
            }
        }
        front = next;
    }
    drop(together);
    Ok(hops)
}

/// The edges at `vertex` that the walk may take, each with the vertex at its other end, by edge key.
fn edges(
    lane: &Lane,
    walk: &Traversal,
    vertex: &str,
) -> Result<Vec<(String, Document)>, StoreError> {
    let ends: &[(&str, &str)] = match walk.way {
        Way::Outbound => &[("_from", "_to")],
        Way::Inbound => &[("_to", "_from")],
        Way::Any => &[("_from", "_to"), ("_to", "_from")],
    };
    let mut found = Vec::new();
    for (here, there) in ends {
        let mut sql = Sql::new(format!(
            "SELECT key,rev,body FROM {} WHERE {}=",
            walk.edges.name(),
            sql::compared(here)
        ));
        sql.bind(Bound::Text(vertex.to_owned()));
        for edge in lane.rows(&sql, |row| document(row, 0))? {
            if let Some(other) = edge.body.get(*there).and_then(Value::as_str) {
                found.push((other.to_owned(), edge));
            }
        }
    }
    found.sort_by(|a, b| a.1.key.cmp(&b.1.key));
    Ok(found)
}

/// The last change that was ever made: where the feed stands.
pub(super) fn head(connection: &Connection) -> Result<i64, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT coalesce(max(seq),0) FROM changes").map_err(fault::of)?;
    statement.query_row(params![], |row| row.get(0)).map_err(fault::of)
}
