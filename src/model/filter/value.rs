//! How two JSON values compare in filters and conditions. Only scalars do: lists and objects equal
//! nothing and stand in no order, because stores do not agree on them.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Whether two scalars are equal: numbers by their value, texts byte by byte.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => numbers(a, b) == Some(Ordering::Equal),
        (Value::String(a), Value::String(b)) => a == b,
        _ => false,
    }
}

/// The order of two numbers or two texts (byte by byte); none between anything else.
pub fn in_order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => numbers(a, b),
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        _ => None,
    }
}

/// Whole numbers exactly, others as doubles. Beyond 2^53 a whole number beside a fraction may be off
/// by the rounding of doubles, here as in every store.
fn numbers(a: &Number, b: &Number) -> Option<Ordering> {
    let whole = |number: &Number| {
        number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
    };
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Equality of texts without regard to case.
pub fn same_text_ignoring_case(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}
