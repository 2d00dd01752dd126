//! Turns fields, filters and sorts into SQL. Every value is bound; paths come only from validated fields.
//!
//! A field is compared by one expression that keeps the types of JSON apart, in the port's order: null (and missing),
//! false, true, numbers, texts, lists, objects. SQLite orders NULL, numbers, texts, blobs; so booleans become the two
//! lowest numbers, and lists and objects become blobs (`[` sorts before `{`). The indexes are made over the very same
//! expression, which is what lets SQLite use them.

use rusqlite::types::Value as Bound;
use serde_json::Value;

use crate::model::filter::{Field, Filter};
use crate::model::schema::{Collection, Index, IndexKind};
use crate::ports::store::{Bookmark, Direction, StoreError};

use super::fault::invalid;

/// How many values one statement may bind.
const MAX_BOUND: usize = 10_000;
/// How deep `And`, `Or` and `Not` may nest.
const MAX_DEPTH: usize = 64;

/// A statement, or a piece of one, with its values.
#[derive(Debug, Default)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) bound: Vec<Bound>,
    /// Filters that only [`Filter::matches`] can judge; `cvxc_matches(n, body)` refers to them by place.
    pub(super) judged: Vec<Filter>,
}

impl Sql {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn bind(&mut self, value: Bound) {
        self.text.push('?');
        self.bound.push(value);
    }

    fn op(&mut self, field: &Field, op: &str, value: Bound) {
        self.push(&compared(field.as_str()));
        self.push(op);
        self.bind(value);
    }

    fn is_null(&mut self, field: &Field) {
        self.push(&compared(field.as_str()));
        self.push(" IS NULL");
    }

    fn is_something(&mut self, field: &Field) {
        self.push(&compared(field.as_str()));
        self.push(" IS NOT NULL");
    }

    fn judge(&mut self, filter: &Filter) {
        let place = self.judged.len();
        self.judged.push(filter.clone());
        self.push(&format!("cvxc_matches({place},body)"));
    }
}

/// `a.b` as a path of SQLite's JSON functions.
fn path(field: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut path = String::from("$");
    for part in field.split('.') {
        if !part.is_empty() && part.chars().all(plain) && !part.starts_with(|c: char| c.is_ascii_digit()) {
            path.push('.');
            path.push_str(part);
        } else {
            path.push_str(".\"");
            path.push_str(part);
            path.push('"');
        }
    }
    path.replace('\'', "''")
}

/// The expression by which a field is compared, sorted and indexed.
pub(super) fn compared(field: &str) -> String {
    let at = format!("body,'{}'", path(field));
    format!(
        "CASE json_type({at}) WHEN 'text' THEN json_extract({at}) \
         WHEN 'true' THEN -1.7976931348623157e308 WHEN 'false' THEN -9e999 \
         WHEN 'array' THEN CAST(json_extract({at}) AS BLOB) WHEN 'object' THEN CAST(json_extract({at}) AS BLOB) \
         ELSE json_extract({at}) END"
    )
}

/// A value as [`compared`] gives it.
pub(super) fn encode(value: &Value) -> Bound {
    match value {
        Value::Null => Bound::Null,
        Value::Bool(false) => Bound::Real(f64::NEG_INFINITY),
        Value::Bool(true) => Bound::Real(-f64::MAX),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Bound::Real(number.as_f64().unwrap_or(f64::MAX)), Bound::Integer),
        Value::String(text) => Bound::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => Bound::Blob(value.to_string().into_bytes()),
    }
}

/// The other way round: what [`compared`] gave, as a value.
pub(super) fn decode(bound: Bound) -> Value {
    match bound {
        Bound::Null => Value::Null,
        Bound::Real(real) if real == f64::NEG_INFINITY => Value::Bool(false),
        Bound::Real(real) if real == -f64::MAX => Value::Bool(true),
        Bound::Real(real) => Value::from(real),
        Bound::Integer(whole) => Value::from(whole),
        Bound::Text(text) => Value::String(text),
        Bound::Blob(text) => serde_json::from_slice(&text).unwrap_or(Value::Null),
    }
}

/// Refuses a field that could not be written safely into a path, whatever checks came before.
fn check(field: &Field) -> Result<(), StoreError> {
    let text = field.as_str();
    let odd = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\' | '[' | ']');
    if text.is_empty() || text.len() > 256 || text.split('.').any(str::is_empty) || text.contains(odd) {
        return Err(invalid(format!("{text:?} is no field: expected names joined by dots")));
    }
    Ok(())
}

/// Adds `filter` as one condition. It may come out NULL, which a WHERE takes for false.
pub(super) fn filter(sql: &mut Sql, filter: &Filter, depth: usize) -> Result<(), StoreError> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("the filter nests deeper than {MAX_DEPTH} levels")));
    }
    match filter {
        Filter::All => sql.push("1"),
        Filter::Eq(field, value) => equal(sql, field, value, filter)?,
        Filter::Ne(field, value) => {
            sql.push("((");
            equal(sql, field, value, filter)?;
            sql.push(") IS NOT TRUE)");
        }
        Filter::Lt(field, value) | Filter::Lte(field, value) => {
            check(field)?;
            let or_equal = matches!(filter, Filter::Lte(..));
            match value {
                Value::Null if or_equal => sql.is_null(field),
                Value::Null => sql.push("0"),
                Value::Array(_) | Value::Object(_) => sql.judge(filter),
                _ => {
                    sql.push("(");
                    sql.op(field, if or_equal { "<=" } else { "<" }, encode(value));
                    sql.push(" OR ");
                    sql.is_null(field);
                    sql.push(")");
                }
            }
        }
        Filter::Gt(field, value) | Filter::Gte(field, value) => {
            check(field)?;
            let or_equal = matches!(filter, Filter::Gte(..));
            match value {
                Value::Null if or_equal => sql.push("1"),
                Value::Null => sql.is_something(field),
                Value::Array(_) | Value::Object(_) => sql.judge(filter),
                _ => sql.op(field, if or_equal { ">=" } else { ">" }, encode(value)),
            }
        }
        Filter::In(field, values) => among(sql, field, values, filter)?,
        Filter::Contains(field, value) => {
            check(field)?;
            if matches!(value, Value::Array(_) | Value::Object(_)) {
                sql.judge(filter);
            } else {
                element(sql, field, value);
            }
        }
        Filter::Exists(field) => {
            check(field)?;
            sql.is_something(field);
        }
        Filter::Prefix(field, prefix) => {
            check(field)?;
            sql.push("(");
            sql.op(field, ">=", Bound::Text(prefix.clone()));
            sql.push(" AND ");
            sql.op(field, "<", above(prefix));
            sql.push(")");
        }
        Filter::And(all) => joined(sql, all, " AND ", "1", depth)?,
        Filter::Or(any) => joined(sql, any, " OR ", "0", depth)?,
        Filter::Not(inner) => {
            sql.push("((");
            self::filter(sql, inner, depth + 1)?;
            sql.push(") IS NOT TRUE)");
        }
    }
    if sql.bound.len() > MAX_BOUND {
        return Err(invalid(format!("the filter names more than {MAX_BOUND} values")));
    }
    Ok(())
}

fn joined(
    sql: &mut Sql,
    filters: &[Filter],
    word: &str,
    empty: &str,
    depth: usize,
) -> Result<(), StoreError> {
    if filters.is_empty() {
        sql.push(empty);
        return Ok(());
    }
    sql.push("(");
    for (place, part) in filters.iter().enumerate() {
        if place > 0 {
            sql.push(word);
        }
        filter(sql, part, depth + 1)?;
    }
    sql.push(")");
    Ok(())
}

fn equal(sql: &mut Sql, field: &Field, value: &Value, whole: &Filter) -> Result<(), StoreError> {
    check(field)?;
    match value {
        Value::Null => sql.is_null(field),
        // two spellings of one object are equal, but their texts are not; `Ne` is judged as the negation around this
        Value::Array(_) | Value::Object(_) => match whole {
            Filter::Ne(field, value) => sql.judge(&Filter::Eq(field.clone(), value.clone())),
            _ => sql.judge(whole),
        },
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            sql.op(field, "=", encode(value));
        }
    }
    Ok(())
}

fn among(sql: &mut Sql, field: &Field, values: &[Value], whole: &Filter) -> Result<(), StoreError> {
    check(field)?;
    if values.iter().any(|value| matches!(value, Value::Array(_) | Value::Object(_))) {
        sql.judge(whole);
        return Ok(());
    }
    let (nulls, rest): (Vec<_>, Vec<_>) = values.iter().partition(|value| value.is_null());
    sql.push("(");
    if rest.is_empty() {
        sql.push("0");
    } else {
        sql.push(&compared(field.as_str()));
        sql.push(" IN (");
        for (place, value) in rest.into_iter().enumerate() {
            if place > 0 {
                sql.push(",");
            }
            sql.bind(encode(value));
        }
        sql.push(")");
    }
    if !nulls.is_empty() {
        sql.push(" OR ");
        sql.is_null(field);
    }
    sql.push(")");
    Ok(())
}

/// Whether the list in `field` holds `value`, a scalar.
fn element(sql: &mut Sql, field: &Field, value: &Value) {
    let at = format!("body,'{}'", path(field.as_str()));
    sql.push(&format!(
        "(json_type({at})='array' AND EXISTS(SELECT 1 FROM json_each({at}) WHERE "
    ));
    match value {
        Value::Null => sql.push("type='null'"),
        Value::Bool(true) => sql.push("type='true'"),
        Value::Bool(false) => sql.push("type='false'"),
        Value::String(_) => {
            sql.push("type='text' AND value=");
            sql.bind(encode(value));
        }
        Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            sql.push("type IN ('integer','real') AND value=");
            sql.bind(encode(value));
        }
    }
    sql.push("))");
}

/// The least value above every text that begins with `prefix`.
fn above(prefix: &str) -> Bound {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            _ => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Bound::Text(chars.into_iter().collect());
        }
    }
    Bound::Blob(Vec::new()) // the least blob stands above every text
}

/// The fields of `sort`, checked.
pub(super) fn sorted_by(sort: &[(Field, Direction)]) -> Result<(), StoreError> {
    if sort.len() > 8 {
        return Err(invalid("a sort has at most 8 fields"));
    }
    sort.iter().try_for_each(|(field, _)| check(field))
}

pub(super) fn checked(field: &Field) -> Result<String, StoreError> {
    check(field)?;
    Ok(compared(field.as_str()))
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
        Filter::Gt(by, _) | Filter::Exists(by) | Filter::Prefix(by, _) => {
            !fixed && by.as_str() == field
        }
        Filter::Gte(by, value) => !fixed && by.as_str() == field && !value.is_null(),
        Filter::And(all) => all.iter().any(|part| requires(part, field, fixed)),
        Filter::All
        | Filter::Ne(..)
        | Filter::Lt(..)
        | Filter::Lte(..)
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
    for index in sparse.filter(|index| matches!(index.kind, IndexKind::Sorted | IndexKind::Expiry)) {
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
