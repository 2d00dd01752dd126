//! Conditions of a subscription over a publication's payload: a JSON map of path → wanted value or
//! operators. Checked when read, so that a typing error is found at subscribe time and not by silence.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::model::filter::{in_order, same, same_text_ignoring_case};

/// All of them must hold. `{"tier": "gold", "order.total": {"$gte": 100, "$lt": 500}}`
///
/// A path is looked up as one key first, then segment by segment. A plain value asks for equality
/// (texts without regard to case, numbers by their value, lists and objects in full); an object whose
/// keys begin with `$` holds operators, all of which must hold: `$ne` (true for a missing value),
/// `$in`, `$exists` (there and not null), and `$gt $gte $lt $lte` between two numbers or two texts.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    source: Map<String, Value>,
    terms: Vec<(String, Vec<Test>)>,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(Value),
    Unequal(Value),
    Ordered(fn(Ordering) -> bool, Value),
    In(Vec<Value>),
    Exists(bool),
}

/// Why a map holds no conditions: which entry, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("condition on {path:?}: {what}")]
pub struct BadCondition {
    pub path: String,
    pub what: String,
}

impl Conditions {
    /// # Errors
    /// [`BadCondition`] naming the path for an unknown operator, operators mixed with plain keys, and
    /// an operand of the wrong kind.
    pub fn new(source: &Map<String, Value>) -> Result<Self, BadCondition> {
        let terms = source.iter().map(|(path, wanted)| {
            let bad = |what| BadCondition { path: path.chars().take(80).collect(), what };
            if path.is_empty() {
                return Err(bad("a path is expected as the key".to_owned()));
            }
            Ok((path.clone(), tests(wanted).map_err(bad)?))
        });
        Ok(Self { terms: terms.collect::<Result<_, _>>()?, source: source.clone() })
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn matches(&self, payload: &Map<String, Value>) -> bool {
        self.terms.iter().all(|(path, tests)| {
            let value = look_up(payload, path);
            tests.iter().all(|test| test.holds(value))
        })
    }
}

fn tests(wanted: &Value) -> Result<Vec<Test>, String> {
    let Value::Object(operators) = wanted else { return Ok(vec![Test::Equal(wanted.clone())]) };
    if !operators.keys().any(|key| key.starts_with('$')) {
        return Ok(vec![Test::Equal(wanted.clone())]);
    }
    operators.iter().map(|(name, operand)| test(name, operand)).collect()
}

fn test(name: &str, operand: &Value) -> Result<Test, String> {
    let ordered = |holds: fn(Ordering) -> bool| match operand {
        Value::Number(_) | Value::String(_) => Ok(Test::Ordered(holds, operand.clone())),
        _ => Err(format!("{name} expects a number or a text")),
    };
    match name {
        "$gt" => ordered(Ordering::is_gt),
        "$gte" => ordered(Ordering::is_ge),
        "$lt" => ordered(Ordering::is_lt),
        "$lte" => ordered(Ordering::is_le),
        "$ne" => Ok(Test::Unequal(operand.clone())),
        "$in" => match operand {
            Value::Array(values) => Ok(Test::In(values.clone())),
            _ => Err("$in expects a list".to_owned()),
        },
        "$exists" => match operand {
            Value::Bool(wanted) => Ok(Test::Exists(*wanted)),
            _ => Err("$exists expects true or false".to_owned()),
        },
        other => Err(format!(
            "unknown operator {:?}; the operators are $gt $gte $lt $lte $ne $in $exists",
            other.chars().take(80).collect::<String>()
        )),
    }
}

fn look_up<'a>(payload: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = payload.get(path) {
        return Some(value);
    }
    let mut segments = path.split('.');
    let first = payload.get(segments.next()?)?;
    segments.try_fold(first, |value, segment| value.get(segment))
}

impl Test {
    fn holds(&self, value: Option<&Value>) -> bool {
        let value = value.unwrap_or(&Value::Null);
        match self {
            Self::Equal(wanted) => alike(value, wanted),
            Self::Unequal(unwanted) => !alike(value, unwanted),
            Self::Ordered(holds, bound) => in_order(value, bound).is_some_and(holds),
            Self::In(wanted) => wanted.iter().any(|wanted| alike(value, wanted)),
            Self::Exists(wanted) => value.is_null() != *wanted,
        }
    }
}

/// Equality as subscribers mean it: texts without regard to case, at any depth.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => same_text_ignoring_case(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        _ => same(a, b),
    }
}

/// Made from the same map, so they ask for the same.
impl PartialEq for Conditions {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Conditions {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(&Map::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({"tier": "GOLD"}), true)]
    #[case(json!({"tier": "silver"}), false)]
    #[case(json!({"city": "STRAẞE"}), true)]
    #[case(json!({"order.total": 100.0}), true)]
    #[case(json!({"order.total": {"$gte": 100, "$lt": 101}}), true)]
    #[case(json!({"order.total": {"$gt": 100}}), false)]
    #[case(json!({"order.total": {"$lte": "100"}}), false)]
    #[case(json!({"missing": {"$gt": 0}}), false)]
    #[case(json!({"missing": {"$ne": "x"}}), true)]
    #[case(json!({"missing": {"$exists": false}}), true)]
    #[case(json!({"void": {"$exists": true}}), false)]
    #[case(json!({"void": null, "missing": null}), true)]
    #[case(json!({"tier": {"$in": ["silver", "Gold"]}}), true)]
    #[case(json!({"tier": {"$in": []}}), false)]
    #[case(json!({"a.b": 1}), true)]
    #[case(json!({"order": {"total": 100, "tags": ["A"]}}), true)]
    #[case(json!({"order": {"total": 100}}), false)]
    #[case(json!({"tier.deeper": 1}), false)]
    #[case(json!({"tier": "gold", "order.total": 1}), false)]
    fn conditions_hold_as_the_contract_says(#[case] conditions: Value, #[case] yes: bool) {
        let payload = map(json!({
            "tier": "gold", "city": "straße", "void": null, "a.b": 1,
            "order": {"total": 100, "tags": ["a"]},
        }));
        assert_eq!(Conditions::new(&map(conditions)).unwrap().matches(&payload), yes);
    }

    #[rstest]
    #[case(json!({"a": {"$near": 1}}), "unknown operator \"$near\"")]
    #[case(json!({"a": {"$gt": 1, "b": 2}}), "unknown operator \"b\"")]
    #[case(json!({"a": {"$gt": true}}), "$gt expects a number or a text")]
    #[case(json!({"a": {"$in": "x"}}), "$in expects a list")]
    #[case(json!({"a": {"$exists": 1}}), "$exists expects true or false")]
    #[case(json!({"": 1}), "a path is expected")]
    fn a_bad_condition_is_named(#[case] conditions: Value, #[case] says: &str) {
        let error = Conditions::new(&map(conditions)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn conditions_are_written_as_they_were_read() {
        let text = r#"{"b":{"$gt":1},"a":"X"}"#;
        let conditions: Conditions = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&conditions).unwrap(), text);
        assert!(serde_json::from_str::<Conditions>(r#"{"a":{"$x":1}}"#).is_err());
    }
}
