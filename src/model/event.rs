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
        let value = serde_json::to_value(self).unwrap_or_default();
        match value {
            Value::Object(fields) => digest_of(&fields),
            other => digest(&other),
        }
    }

    /// Sets the hash of the event as it is now, and returns it as it is stored; `None` when it is no JSON.
    pub fn sealed(&mut self) -> Option<Map<String, Value>> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(&*self) else { return None };
        self.hash = digest_of(&fields);
        fields.insert("hash".to_owned(), self.hash.clone().into());
        Some(fields)
    }
}

fn digest_of(event: &Map<String, Value>) -> String {
    let mut text = String::new();
    canonical_fields(event.iter().filter(|(name, _)| *name != "hash"), &mut text);
    hex_of(&text)
}

/// SHA-256 in hex of `value` in canonical JSON: keys sorted at every level, no white space.
pub fn digest(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    hex_of(&text)
}

fn hex_of(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write;
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
        hex
    })
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => canonical_fields(fields.iter(), out),
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

fn canonical_fields<'a>(fields: impl Iterator<Item = (&'a String, &'a Value)>, out: &mut String) {
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by_key(|(name, _)| *name);
    out.push('{');
    for (i, (name, value)) in fields.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(name.as_str()).to_string());
        out.push(':');
        canonical(value, out);
    }
    out.push('}');
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

    #[test]
    fn what_is_stored_carries_the_hash_that_it_has_when_it_is_read_back() {
        let mut event = Event { seq: 7, kind: "pool.scaled".into(), ..Event::default() };
        event.patch = json!([{"op": "add", "path": "/b", "value": {"z": 1.5, "a": "\u{7}é"}}]);
        let stored = event.sealed().unwrap();
        let read: Event = serde_json::from_value(Value::Object(stored)).unwrap();
        assert_eq!(read, event);
        assert_eq!(read.hash, read.digest());
    }
}
