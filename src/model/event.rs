//! The journal's entries: every change with its patch, its inverse, who made it and why, chained by hashes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::time::Time;

/// Collection `events`, keyed by `seq` in 20 digits: append only, without gaps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    pub seq: u64,
    pub at: Time,
    /// `agent.registered`, `pool.scaled`, `health.changed`, `op.confirmed`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The collection of the document that changed.
    pub aggregate: String,
    pub aggregate_id: String,
    /// What the document is called, for people.
    pub subject: String,
    pub version: u64,
    /// `user@host`, `loop:autoscale`, `agent:<id>`, `external`.
    pub actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// The leader's epoch when a loop caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// RFC 6902, from before to after.
    pub patch: Value,
    /// RFC 6902, from after to before.
    pub inverse: Value,
    pub reason: String,
    /// What a decision was based on: inputs, formula, clamps.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub evidence: Value,
    pub hash: String,
    pub prev_hash: String,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Event {
    /// The key of the event numbered `seq`.
    pub fn key(seq: u64) -> String {
        format!("{seq:020}")
    }

    /// SHA-256 in hex over every field but `hash`, in canonical JSON (keys sorted), `prev_hash` included.
    pub fn digest(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(fields) = &mut value {
            fields.remove("hash");
        }
        digest(&value)
    }
}

/// SHA-256 in hex of `value` in canonical JSON: keys sorted at every level, no white space.
pub fn digest(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write;
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        hex
    })
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            out.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(&fields[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys() {
        assert_eq!(
            digest(&json!({"a": 1, "b": {"c": [1, {"x": 1, "y": 2}]}})),
            digest(&json!({"b": {"c": [1, {"y": 2, "x": 1}]}, "a": 1}))
        );
        assert_ne!(digest(&json!({"a": 1})), digest(&json!({"a": 2})));
    }

    #[test]
    fn changing_any_field_changes_the_hash() {
        let event = Event { seq: 7, kind: "pool.scaled".into(), ..Event::default() };
        let other = Event { reason: "because".into(), ..event.clone() };
        assert_ne!(event.digest(), other.digest());
        assert_eq!(event.digest(), Event { hash: "anything".into(), ..event.clone() }.digest());
    }
}
