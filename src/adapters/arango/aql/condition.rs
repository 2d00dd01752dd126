//! Filters as conditions of AQL. Names of fields come only from validated [`Field`]s and stand in backticks.
//!
//! AQL orders texts as people do, the port byte by byte: where the difference shows, texts are compared by the
//! hexadecimal digits of their bytes, behind a condition that an index can serve.

use serde_json::Value;

use crate::model::filter::{Field, Filter};
use crate::ports::store::StoreError;

use super::super::fault::invalid;
use super::Aql;

/// How many values one list may have.
const MAX_VALUES: usize = 10_000;
/// How deep `And`, `Or` and `Not` may nest.
const MAX_DEPTH: usize = 64;

pub(in super::super) fn hex(text: &str) -> Value {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// `d.a.b` of a field, checked once more whatever checks came before.
pub(in super::super) fn at(var: &str, field: &Field) -> String {
    let mut out = var.to_owned();
    for part in field.segments() {
        out.push_str(".`");
        out.extend(part.chars().filter(|c| *c != '`' && *c != '\\'));
        out.push('`');
    }
    out
}

/// Whether `value` is so large that doubles no longer hold every whole number of its size: there the server and
/// [`Filter::matches`] do not round alike.
fn is_rounded(value: &Value) -> bool {
    matches!(value, Value::Number(number) if number.as_f64().is_none_or(|real| real.abs() >= 9_007_199_254_740_992.0))
}

/// Whether only [`Filter::matches`] can judge `filter`.
pub(in super::super) fn is_judged(filter: &Filter) -> bool {
    match filter {
        Filter::All | Filter::Exists(_) | Filter::Prefix(..) => false,
        Filter::Eq(_, value)
        | Filter::Ne(_, value)
        | Filter::Lt(_, value)
        | Filter::Lte(_, value)
        | Filter::Gt(_, value)
        | Filter::Gte(_, value)
        | Filter::Contains(_, value) => is_rounded(value),
        Filter::In(_, values) => values.iter().any(is_rounded),
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(is_judged),
        Filter::Not(inner) => is_judged(inner),
    }
}

/// # Errors
/// `Invalid` for a filter that nests too deep.
pub(in super::super) fn check_depth(filter: &Filter, depth: usize) -> Result<(), StoreError> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("the filter nests deeper than {MAX_DEPTH} levels")));
    }
    match filter {
        Filter::And(parts) | Filter::Or(parts) => {
            parts.iter().try_for_each(|part| check_depth(part, depth + 1))
        }
        Filter::Not(inner) => check_depth(inner, depth + 1),
        Filter::In(field, values) if values.len() > MAX_VALUES => {
            Err(invalid(format!("{field} is compared with more than {MAX_VALUES} values")))
        }
        _ => Ok(()),
    }
}

/// Adds `filter` over the variable `var` as one condition. The depth was checked.
pub(in super::super) fn filter(aql: &mut Aql, var: &str, filter: &Filter) {
    match filter {
        Filter::All => aql.push("true"),
        Filter::Eq(field, value) => equal(aql, var, field, value),
        Filter::Ne(field, value) => {
            aql.push("NOT (");
            equal(aql, var, field, value);
            aql.push(")");
        }
        Filter::Lt(field, value) => ordered(aql, var, field, "<", value),
        Filter::Lte(field, value) => ordered(aql, var, field, "<=", value),
        Filter::Gt(field, value) => ordered(aql, var, field, ">", value),
        Filter::Gte(field, value) => ordered(aql, var, field, ">=", value),
        Filter::In(field, values) => {
            let plain = |value: &&Value| !value.is_array() && !value.is_object();
            let values: Vec<Value> = values.iter().filter(plain).cloned().collect();
            aql.push(&format!("{} IN ", at(var, field)));
            aql.value(values.into());
        }
        Filter::Contains(_, Value::Array(_) | Value::Object(_)) => aql.push("false"),
        Filter::Contains(field, value) => {
            aql.value(value.clone());
            aql.push(&format!(" IN {}[*]", at(var, field)));
        }
        Filter::Exists(field) => aql.push(&format!("{} != null", at(var, field))),
        Filter::Prefix(field, prefix) => {
            let at = at(var, field);
            aql.push(&format!("(IS_STRING({at}) AND STARTS_WITH({at}, "));
            aql.value(prefix.clone().into());
            aql.push("))");
        }
        Filter::And(parts) => joined(aql, var, parts, " AND ", "true"),
        Filter::Or(parts) => joined(aql, var, parts, " OR ", "false"),
        Filter::Not(inner) => {
            aql.push("NOT (");
            self::filter(aql, var, inner);
            aql.push(")");
        }
    }
}

/// Joins by halves, so that a row of a thousand is not nested a thousand deep.
fn joined(aql: &mut Aql, var: &str, parts: &[Filter], word: &str, empty: &str) {
    match parts {
        [] => aql.push(empty),
        [only] => filter(aql, var, only),
        _ => {
            let (left, right) = parts.split_at(parts.len() / 2);
            aql.push("(");
            joined(aql, var, left, word, empty);
            aql.push(word);
            joined(aql, var, right, word, empty);
            aql.push(")");
        }
    }
}

fn equal(aql: &mut Aql, var: &str, field: &Field, value: &Value) {
    if value.is_array() || value.is_object() {
        return aql.push("false");
    }
    aql.push(&format!("{} == ", at(var, field)));
    aql.value(value.clone());
}

/// A comparison, which holds only between two numbers or two texts.
fn ordered(aql: &mut Aql, var: &str, field: &Field, op: &str, value: &Value) {
    let at = at(var, field);
    match value {
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => aql.push("false"),
        Value::Number(_) => {
            aql.push(&format!("(IS_NUMBER({at}) AND {at} {op} "));
            aql.value(value.clone());
            aql.push(")");
        }
        Value::String(text) => {
            aql.push("(");
            if is_time(text) {
                // what sorts around times byte by byte does so for the server too, but for texts that begin with signs
                aql.push(&format!("({at} {}= ", &op[..1]));
                aql.value(value.clone());
                aql.push(if op.starts_with('>') { " OR " } else { ") AND " });
                if op.starts_with('>') {
                    aql.push(&format!("{at} < \"0\") AND "));
                }
            }
            aql.push(&format!("IS_STRING({at}) AND TO_HEX({at}) {op} "));
            aql.value(hex(text));
            aql.push(")");
        }
    }
}

/// Whether a text is a time as we write it.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 24 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[23] == b'Z'
}
