//! Turns fields, filters and sorts into SQL. Every value is bound; paths come only from validated fields.
//!
//! A field is compared by one expression that keeps the types of JSON apart, in the port's order: null (and missing),
//! false, true, numbers, texts, lists, objects. SQLite orders NULL, numbers, texts, blobs; so booleans become the two
//! lowest numbers, and lists and objects become blobs (`[` sorts before `{`). The indexes are made over the very same
//! expression, which is what lets SQLite use them.

use rusqlite::types::Value as Bound;
use serde_json::Value;

use crate::model::filter::{Field, Filter};
use crate::ports::store::StoreError;

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

    pub(super) fn op(&mut self, field: &Field, op: &str, value: Bound) {
        self.push(&compared(field.as_str()));
        self.push(op);
        self.bind(value);
    }

    pub(super) fn is_null(&mut self, field: &Field) {
        self.push(&compared(field.as_str()));
        self.push(" IS NULL");
    }

    pub(super) fn is_something(&mut self, field: &Field) {
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
        if !part.is_empty()
            && part.chars().all(plain)
            && !part.starts_with(|c: char| c.is_ascii_digit())
        {
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
    if field == "_key" {
        return "key".to_owned();
    }
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
pub(super) fn check(field: &Field) -> Result<(), StoreError> {
    let text = field.as_str();
    let odd = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\' | '[' | ']');
    if text.is_empty()
        || text.len() > 256
        || text.split('.').any(str::is_empty)
        || text.contains(odd)
    {
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
        Filter::Eq(field, value) => equal(sql, field, value)?,
        Filter::Ne(field, value) => {
            sql.push("((");
            equal(sql, field, value)?;
            sql.push(") IS NOT TRUE)");
        }
        Filter::Lt(field, value) => ordered(sql, filter, field, "<", value)?,
        Filter::Lte(field, value) => ordered(sql, filter, field, "<=", value)?,
        Filter::Gt(field, value) => ordered(sql, filter, field, ">", value)?,
        Filter::Gte(field, value) => ordered(sql, filter, field, ">=", value)?,
        Filter::In(field, values) => among(sql, field, values)?,
        Filter::Contains(field, value) => element(sql, filter, field, value)?,
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

/// Joins `filters` by halves: SQLite counts how deep an expression nests, and a row of a thousand ANDs is that deep.
fn joined(
    sql: &mut Sql,
    filters: &[Filter],
    word: &str,
    empty: &str,
    depth: usize,
) -> Result<(), StoreError> {
    match filters {
        [] => sql.push(empty),
        [only] => filter(sql, only, depth + 1)?,
        _ => {
            let (left, right) = filters.split_at(filters.len() / 2);
            sql.push("(");
            joined(sql, left, word, empty, depth)?;
            sql.push(word);
            joined(sql, right, word, empty, depth)?;
            sql.push(")");
        }
    }
    Ok(())
}

/// Whether `value` is so large that SQLite and [`Filter::matches`] would not round alike beside numbers of its size.
fn is_rounded(value: &Value) -> bool {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: up to here doubles hold every whole number
    match value {
        Value::Number(number) => number.as_f64().is_none_or(|real| real.abs() >= EXACT),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            false
        }
    }
}

fn equal(sql: &mut Sql, field: &Field, value: &Value) -> Result<(), StoreError> {
    check(field)?;
    match value {
        Value::Null => sql.is_null(field),
        Value::Array(_) | Value::Object(_) => sql.push("0"),
        _ if is_rounded(value) => sql.judge(&Filter::Eq(field.clone(), value.clone())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => sql.op(field, "=", encode(value)),
    }
    Ok(())
}

/// A comparison, which holds only between two numbers or two texts.
fn ordered(
    sql: &mut Sql,
    whole: &Filter,
    field: &Field,
    op: &str,
    value: &Value,
) -> Result<(), StoreError> {
    check(field)?;
    let upward = op.starts_with('>');
    let edge = match value {
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            sql.push("0");
            return Ok(());
        }
        Value::Number(_) if is_rounded(value) => {
            sql.judge(whole);
            return Ok(());
        }
        // the other end of what has the same type
        Value::Number(_) if upward => "<''",
        Value::Number(_) => ">-1.7976931348623157e308",
        Value::String(_) if upward => "<x''",
        Value::String(_) => ">=''",
    };
    sql.push("(");
    sql.op(field, op, encode(value));
    sql.push(" AND ");
    sql.push(&compared(field.as_str()));
    sql.push(edge);
    sql.push(")");
    Ok(())
}

fn among(sql: &mut Sql, field: &Field, values: &[Value]) -> Result<(), StoreError> {
    check(field)?;
    let plain = |value: &&Value| {
        matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_)) && !is_rounded(value)
    };
    sql.push("(");
    if values.iter().any(|value| plain(&value)) {
        sql.push(&compared(field.as_str()));
        sql.push(" IN (");
        for value in values.iter().filter(plain) {
            sql.bind(encode(value));
            sql.push(",");
        }
        sql.text.pop();
        sql.push(")");
    } else {
        sql.push("0");
    }
    if values.iter().any(Value::is_null) {
        sql.push(" OR ");
        sql.is_null(field);
    }
    for value in values.iter().filter(|value| is_rounded(value)) {
        sql.push(" OR ");
        sql.judge(&Filter::Eq(field.clone(), value.clone()));
    }
    sql.push(")");
    Ok(())
}

/// Whether the list in `field` holds `value`.
fn element(sql: &mut Sql, whole: &Filter, field: &Field, value: &Value) -> Result<(), StoreError> {
    check(field)?;
    let kind = match value {
        Value::Null => "type='null'",
        Value::Bool(true) => "type='true'",
        Value::Bool(false) => "type='false'",
        Value::String(_) => "type='text' AND value=",
        Value::Number(_) if is_rounded(value) => {
            sql.judge(whole);
            return Ok(());
        }
        Value::Number(_) => "type IN ('integer','real') AND value=",
        Value::Array(_) | Value::Object(_) => {
            sql.push("0");
            return Ok(());
        }
    };
    let at = format!("body,'{}'", path(field.as_str()));
    sql.push(&format!(
        "(json_type({at})='array' AND EXISTS(SELECT 1 FROM json_each({at}) WHERE {kind}"
    ));
    if matches!(value, Value::Number(_) | Value::String(_)) {
        sql.bind(encode(value));
    }
    sql.push("))");
    Ok(())
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

/// The expression of a field out of a request.
pub(super) fn checked(field: &Field) -> Result<String, StoreError> {
    check(field)?;
    Ok(compared(field.as_str()))
}
