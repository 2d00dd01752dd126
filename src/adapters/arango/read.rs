//! Reading: every question of the port as statements.

use serde_json::{Map, Value};

use crate::model::filter::{Field, Filter};
use crate::model::schema::Collection;
use crate::ports::store::{
    Bookmark, Direction, Document, Hop, Key, Page, Query, RawDocument, Rev, StoreError, Tally,
    Traversal,
};

use super::aql::{self, condition};
use super::desk::{self, documents};
use super::fault::{Failure, invalid, known_key, unavailable};
use super::http::Http;
use super::odd;

pub(super) fn limited(limit: usize) -> Result<(), StoreError> {
    if (1..=10_000).contains(&limit) {
        return Ok(());
    }
    Err(invalid(format!("the limit is {limit}: expected 1 to 10000")))
}

pub(super) fn check_sort(sort: &[(Field, Direction)]) -> Result<(), StoreError> {
    if sort.len() > 8 {
        return Err(invalid("a sort has at most 8 fields"));
    }
    Ok(())
}

async fn rows(http: &Http, aql: &aql::Aql) -> Result<Vec<Map<String, Value>>, StoreError> {
    desk::read(http, aql).await.map_err(Failure::nothing_written)
}

pub(super) async fn get_many(
    http: &Http,
    collection: Collection,
    keys: &[Key],
) -> Result<Vec<Document>, StoreError> {
    if keys.len() > 1_000 {
        return Err(invalid(format!("{} keys were asked for: at most 1000", keys.len())));
    }
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&str> = keys.iter().map(Key::as_str).collect();
    documents(collection, rows(http, &aql::many(collection, &keys)).await?)
}

pub(super) async fn query(http: &Http, mut query: Query) -> Result<Page, StoreError> {
    limited(query.limit)?;
    check_sort(&query.sort)?;
    condition::check_depth(&query.filter, 0)?;
    if query.after.as_ref().is_some_and(|after| after.values.len() != query.sort.len()) {
        return Err(invalid("the bookmark is of another sort than the query"));
    }
    let judged = condition::is_judged(&query.filter);
    let mut found: Vec<Document> = Vec::new();
    loop {
        let rows = rows(http, &aql::page(&query, !judged)).await?;
        let more = rows.len() > query.limit;
        let mut page = documents(query.collection, rows)?;
        if more {
            page.truncate(query.limit);
        }
        let last = page.last().map(|last| bookmark(last, &query.sort));
        if judged {
            page.retain(|document| query.filter.matches(&document.body));
        }
        found.append(&mut page);
        let full = found.len() > query.limit || !judged;
        if full || !more || last.is_none() {
            let more = more || found.len() > query.limit;
            found.truncate(query.limit);
            let next = found.last().filter(|_| more).map(|last| bookmark(last, &query.sort));
            return Ok(Page { documents: found, next });
        }
        query.after = last;
    }
}

fn bookmark(last: &Document, sort: &[(Field, Direction)]) -> Bookmark {
    let value = |field: &Field| match field.as_str() {
        "_key" => Value::from(last.key.as_str()),
        _ => field.of_document(&last.body).clone(),
    };
    let values = sort.iter().map(|(field, _)| value(field)).collect();
    Bookmark { values, key: last.key.clone() }
}

pub(super) async fn count(
    http: &Http,
    collection: Collection,
    filter: Filter,
) -> Result<u64, StoreError> {
    condition::check_depth(&filter, 0)?;
    if condition::is_judged(&filter) {
        let mut all = Query { limit: 10_000, ..Query::new(collection, filter) };
        let mut count = 0;
        loop {
            let page = query(http, all.clone()).await?;
            count += page.documents.len() as u64;
            let Some(next) = page.next else { return Ok(count) };
            all.after = Some(next);
        }
    }
    let counts: Vec<u64> = desk::read(http, &aql::count(collection, &filter))
        .await
        .map_err(Failure::nothing_written)?;
    counts.first().copied().ok_or_else(|| unavailable("ArangoDB did not count"))
}

pub(super) async fn tally(
    http: &Http,
    collection: Collection,
    filter: Filter,
    by: &[Field],
    least: Option<&Field>,
) -> Result<Vec<Tally>, StoreError> {
    if !(1..=3).contains(&by.len()) {
        return Err(invalid("a tally counts by 1 to 3 fields"));
    }
    condition::check_depth(&filter, 0)?;
    if condition::is_judged(&filter) {
        return Err(invalid("numbers of 2^53 and above cannot be compared in a tally"));
    }
    let rows: Vec<(u64, Value, Vec<Value>)> =
        desk::read(http, &aql::tally(collection, &filter, by, least))
            .await
            .map_err(Failure::nothing_written)?;
    let tally = |(count, least, values)| Tally { values, count, least };
    Ok(rows.into_iter().map(tally).collect())
}

pub(super) async fn revisions(
    http: &Http,
    collection: Collection,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<(Key, Rev)>, StoreError> {
    limited(limit)?;
    let aql = aql::revisions(collection, after.map(Key::as_str), limit);
    let rows: Vec<(String, String)> =
        desk::read(http, &aql).await.map_err(Failure::nothing_written)?;
    rows.into_iter().map(|(key, rev)| Ok((known_key(collection, &key)?, Rev(rev.into())))).collect()
}

pub(super) async fn scan(
    http: &Http,
    collection: Collection,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<RawDocument>, StoreError> {
    limited(limit)?;
    let aql = aql::scan(collection, after.map(Key::as_str), limit);
    let rows: Vec<(String, String, String)> =
        desk::read(http, &aql).await.map_err(Failure::nothing_written)?;
    rows.into_iter()
        .map(|(key, rev, mut json)| {
            if json.contains(odd::NOTE)
                && let Ok(mut body) = serde_json::from_str(&json)
            {
                odd::show(&mut body);
                json = Value::Object(body).to_string();
            }
            Ok(RawDocument { key: known_key(collection, &key)?, rev: Rev(rev.into()), json })
        })
        .collect()
}

/// The ends of the edges of a path, in its order, and its last edge.
type Path = (Vec<(String, String)>, Map<String, Value>);

pub(super) async fn traverse(http: &Http, walk: &Traversal) -> Result<Vec<Hop>, StoreError> {
    if !walk.edges.is_edge() {
        return Err(invalid(format!("{} holds no edges", walk.edges)));
    }
    if !(1..=10).contains(&walk.depth) {
        return Err(invalid(format!("the depth is {}: expected 1 to 10", walk.depth)));
    }
    limited(walk.limit)?;
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/');
    if walk.start.matches('/').count() != 1 || !walk.start.chars().all(fine) {
        return Err(invalid("a walk starts at collection/key"));
    }
    let aql = aql::walk(walk.edges, walk.way, &walk.start, walk.depth, walk.limit);
    let paths: Vec<Path> = desk::read(http, &aql).await.map_err(Failure::nothing_written)?;
    paths.into_iter().map(|(ends, edge)| hop(walk, &ends, edge)).collect()
}

fn hop(
    walk: &Traversal,
    ends: &[(String, String)],
    edge: Map<String, Value>,
) -> Result<Hop, StoreError> {
    // vertices may be missing as documents, so the ends of the edges say where the walk has come
    let step = |here: &str, (from, to): &(String, String)| {
        if from == here { to.clone() } else { from.clone() }
    };
    let vertex = ends.iter().fold(walk.start.clone(), |here, ends| step(&here, ends));
    Ok(Hop { vertex, depth: ends.len(), edge: desk::document(walk.edges, edge)? })
}
