//! Sorting and paging: the order of rows, where a page goes on, and what tells SQLite that an index serves.

use rusqlite::types::Value as Bound;
use serde_json::Value;

use crate::model::filter::{Field, Filter};
use crate::model::schema::{Collection, Index, IndexKind};
use crate::ports::store::{Bookmark, Direction, StoreError};

use super::fault::invalid;
use super::sql::{Sql, check, compared, encode};

/// The fields of `sort`, checked.
pub(super) fn sorted_by(sort: &[(Field, Direction)]) -> Result<(), StoreError> {
    if sort.len() > 8 {
        return Err(invalid("a sort has at most 8 fields"));
    }
    sort.iter().try_for_each(|(field, _)| check(field))
}

/// `ORDER BY …`, ties by key. Where `filter` already makes the order total through a unique index, the key is left
/// out, so that the index alone gives the order.
pub(super) fn order_by(
    sql: &mut Sql,
    collection: Collection,
    filter: &Filter,
    sort: &[(Field, Direction)],
) {
    sql.push(" ORDER BY ");
    for (field, direction) in sort {
        sql.push(&compared(field.as_str()));
        sql.push(match direction {
            Direction::Ascending => ",",
            Direction::Descending => " DESC,",
        });
    }
    if is_total(collection, filter, sort) {
        sql.text.pop();
    } else {
        sql.push("key");
    }
}

/// Whether no two documents that match can tie: some unique index's fields are all sorted by or fixed, and not null.
fn is_total(collection: Collection, filter: &Filter, sort: &[(Field, Direction)]) -> bool {
    let unique = |index: &&Index| index.unique && index.kind == IndexKind::Sorted;
    let fixed = |field: &str| requires(filter, field, true);
    let sorted = |field: &str| {
        sort.iter().any(|(by, _)| by.as_str() == field) && requires(filter, field, false)
    };
    !sort.is_empty()
        && collection
            .indexes()
            .iter()
            .filter(unique)
            .any(|index| index.fields.iter().all(|field| fixed(field) || sorted(field)))
}

/// Whether `filter` leaves out every document without `field` (or, when `fixed`, with more than one value of it).
fn requires(filter: &Filter, field: &str, fixed: bool) -> bool {
    match filter {
        Filter::Eq(by, value) => by.as_str() == field && !value.is_null(),
        // a comparison holds for numbers and texts only
        Filter::Gt(by, _)
        | Filter::Gte(by, _)
        | Filter::Lt(by, _)
        | Filter::Lte(by, _)
        | Filter::Exists(by)
        | Filter::Prefix(by, _) => !fixed && by.as_str() == field,
        Filter::And(all) => all.iter().any(|part| requires(part, field, fixed)),
        Filter::All
        | Filter::Ne(..)
        | Filter::In(..)
        | Filter::Contains(..)
        | Filter::Or(..)
        | Filter::Not(..) => false,
    }
}

/// Adds `AND field IS NOT NULL` for the fields of sparse indexes that `filter` fixes, so that SQLite sees that the
/// partial index holds all that is asked for.
pub(super) fn hint_sparse(sql: &mut Sql, collection: Collection, filter: &Filter) {
    let sparse = collection.indexes().iter().filter(|index| index.sparse);
    let mut hinted: Vec<&str> = Vec::new();
    for index in sparse.filter(|index| matches!(index.kind, IndexKind::Sorted | IndexKind::Expiry))
    {
        if index.fields.iter().all(|field| requires(filter, field, false)) {
            for field in index.fields {
                if !hinted.contains(field) {
                    hinted.push(field);
                    sql.push(&format!(" AND {} IS NOT NULL", compared(field)));
                }
            }
        }
    }
}

/// The conditions of what comes after a bookmark, in order: each is to be run until the page is full.
///
/// One condition does when the first field ascends. When it descends, the documents without the field come last and
/// get a condition of their own, since one range of the index cannot hold both.
pub(super) fn after(
    sort: &[(Field, Direction)],
    bookmark: Option<&Bookmark>,
) -> Result<Vec<Sql>, StoreError> {
    let Some(bookmark) = bookmark else { return Ok(vec![Sql::new("1")]) };
    if bookmark.values.len() != sort.len() {
        return Err(invalid("the bookmark is of another sort than the query"));
    }
    let Some(((first, direction), value)) = sort.first().zip(bookmark.values.first()) else {
        let mut sql = Sql::new("key>");
        sql.bind(Bound::Text(bookmark.key.as_str().to_owned()));
        return Ok(vec![sql]);
    };
    let mut main = Sql::default();
    let mut rest = Vec::new();
    match (direction, value) {
        (Direction::Ascending, Value::Null) => main.push("1"),
        (Direction::Ascending, value) => main.op(first, ">=", encode(value)),
        (Direction::Descending, Value::Null) => main.is_null(first),
        (Direction::Descending, value) => {
            main.op(first, "<=", encode(value));
            let mut nulls = Sql::default();
            nulls.is_null(first);
            rest.push(nulls);
        }
    }
    main.push(" AND (");
    beyond(&mut main, sort, &bookmark.values, bookmark);
    main.push(")");
    Ok(std::iter::once(main).chain(rest).collect())
}

/// `(a > ?) OR (a IS ? AND ((b > ?) OR …))`, the key last.
fn beyond(sql: &mut Sql, sort: &[(Field, Direction)], values: &[Value], bookmark: &Bookmark) {
    let Some((((field, direction), more), (value, values))) =
        sort.split_first().zip(values.split_first())
    else {
        sql.push("key>");
        sql.bind(Bound::Text(bookmark.key.as_str().to_owned()));
        return;
    };
    match (direction, value) {
        (Direction::Ascending, Value::Null) => sql.is_something(field),
        (Direction::Ascending, value) => sql.op(field, ">", encode(value)),
        (Direction::Descending, Value::Null) => sql.push("0"),
        (Direction::Descending, value) => {
            sql.push("(");
            sql.op(field, "<", encode(value));
            sql.push(" OR ");
            sql.is_null(field);
            sql.push(")");
        }
    }
    sql.push(" OR (");
    sql.op(field, " IS ", encode(value));
    sql.push(" AND (");
    beyond(sql, more, values, bookmark);
    sql.push("))");
}
