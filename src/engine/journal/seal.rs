//! How a document says that its last writer was the journal: a sum over its fields, written with it. Whoever changes the
//! document past the journal leaves a sum that no longer fits, and is noticed without any history being read.

use serde_json::{Number, Value};

use crate::model::schema::Collection;
use crate::ports::store::Body;

/// The field that holds the sum.
pub const FIELD: &str = "journal_sum";

/// What may change without a word: the pulse that programs in other languages write into their own documents, and marks
/// that a transaction leaves on a document to hold it.
const PULSE: [&str; 7] = [
    "last_heartbeat",
    "lastHeartbeat",
    "LastHeartbeat",
    "updated_at",
    "updatedAt",
    "UpdatedAt",
    "referenced_at",
];

/// Whether every change of the collection's documents is journalled, so that one without an event is somebody else's.
pub fn covers(collection: Collection) -> bool {
    SEALED.contains(&collection)
}

/// What is wanted of the fleet, and by whom.
pub const SEALED: [Collection; 3] =
    [Collection::Agents, Collection::AgentPools, Collection::AgentTemplates];

/// Writes the sum into a document that the journal is about to write.
pub fn seal(body: &mut Body) {
    let sum = sum(body);
    body.insert(FIELD.to_owned(), sum.into());
}

/// Whether the journal wrote the document as it stands.
pub fn is_intact(body: &Body) -> bool {
    body.get(FIELD).and_then(Value::as_str).is_some_and(|found| found == sum(body))
}

/// The sum of a document's fields but for the pulse: 16 hex digits, whatever the order of the fields.
pub fn sum(body: &Body) -> String {
    let fields = body.iter().filter(|(name, _)| *name != FIELD && !PULSE.contains(&name.as_str()));
    format!("{:016x}", of_fields(fields))
}

/// The document without the sum.
pub fn bare(body: &Body) -> Value {
    let mut body = body.clone();
    body.shift_remove(FIELD);
    Value::Object(body)
}

/// The document without the sum and the pulse.
pub fn substance(value: &Value) -> Value {
    let Value::Object(body) = value else { return value.clone() };
    let told = |name: &str| name != FIELD && !PULSE.contains(&name);
    let fields = body.iter().filter(|(name, _)| told(name));
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// FNV-1a, 64 bits. It guards against oversight, not against forgery: who writes the store may write the journal too.
fn mix(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

const BEGIN: u64 = 0xcbf2_9ce4_8422_2325;

fn of_fields<'a>(fields: impl Iterator<Item = (&'a String, &'a Value)>) -> u64 {
    // fields have no order, so their sums are added up
    let sums = fields.map(|(name, value)| {
        let named = mix(mix(BEGIN, name.as_bytes()), &[0xff]);
        mix(named, &of_value(value).to_le_bytes())
    });
    sums.fold(1, u64::wrapping_add)
}

fn of_value(value: &Value) -> u64 {
    match value {
        Value::Null => 2,
        Value::Bool(is) => 3 + u64::from(*is),
        Value::Number(number) => of_number(number),
        Value::String(text) => mix(mix(BEGIN, b"s"), text.as_bytes()),
        Value::Array(items) => {
            items.iter().fold(mix(BEGIN, b"a"), |sum, item| mix(sum, &of_value(item).to_le_bytes()))
        }
        Value::Object(fields) => mix(mix(BEGIN, b"o"), &of_fields(fields.iter()).to_le_bytes()),
    }
}

/// A whole number is the same whether a store keeps it as `2` or `2.0`.
fn of_number(number: &Number) -> u64 {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let begin = mix(BEGIN, b"n");
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    let whole = whole.or_else(|| {
        let real = number.as_f64().filter(|real| real.fract() == 0.0 && real.abs() <= EXACT)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is a whole number and not that large"
        )]
        Some(real as i128)
    });
    match whole {
        Some(whole) => mix(begin, &whole.to_le_bytes()),
        None => mix(begin, &number.as_f64().unwrap_or_default().to_bits().to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(value: Value) -> Body {
        let Value::Object(body) = value else { panic!("an object") };
        body
    }

    #[test]
    fn the_sum_knows_neither_order_nor_the_form_of_whole_numbers_nor_the_pulse() {
        let one = body(json!({"a": 1, "b": {"c": 2.0, "d": [1, 2]}, "last_heartbeat": "x"}));
        let same = body(json!({"b": {"d": [1, 2.0], "c": 2}, "a": 1.0, "updated_at": "y"}));
        assert_eq!(sum(&one), sum(&same));
        assert_eq!(sum(&body(json!({"a": -0.0}))), sum(&body(json!({"a": 0}))));
    }

    #[test]
    fn every_other_difference_changes_the_sum() {
        let all = [
            json!({"a": 1}),
            json!({"a": "1"}),
            json!({"a": 2}),
            json!({"a": 1.5}),
            json!({"a": null}),
            json!({"a": true}),
            json!({"a": false}),
            json!({"a": [1]}),
            json!({"a": {}}),
            json!({"a": []}),
            json!({"b": 1}),
            json!({"a": 1, "b": 1}),
            json!({"a": [1, 2]}),
            json!({"a": [2, 1]}),
            json!({"a": {"b": 1}, "c": 2}),
            json!({"a": {"b": 2}, "c": 1}),
            json!({}),
        ];
        let sums: std::collections::BTreeSet<String> =
            all.iter().map(|value| sum(&body(value.clone()))).collect();
        assert_eq!(sums.len(), all.len());
    }

    #[test]
    fn a_sealed_document_is_intact_until_somebody_changes_it() {
        let mut written = body(json!({"name": "a", "desired": 2}));
        assert!(!is_intact(&written));
        seal(&mut written);
        assert!(is_intact(&written));
        seal(&mut written);
        assert!(is_intact(&written), "sealing again takes the old sum out first");
        written.insert("referenced_at".into(), json!("now"));
        assert!(is_intact(&written));
        written.insert("desired".into(), json!(3));
        assert!(!is_intact(&written));
    }
}
