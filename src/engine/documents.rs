//! Between stored documents and the model's types: reading one, and writing a change back without touching what is not ours.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::agent::Agent;
use crate::model::agent::shapes::{self, Rewritten};
use crate::model::id::AgentId;
use crate::ports::store::{Body, Document, StoreError, chain};

/// The document as the model's type.
///
/// # Errors
/// [`StoreError::Corrupt`] naming the document and what is wrong with it.
pub fn read<T: DeserializeOwned>(document: &Document) -> Result<T, StoreError> {
    serde_json::from_value(Value::Object(document.body.clone())).map_err(|error| {
        StoreError::Corrupt { message: format!("{} cannot be read: {error}", document.key) }
    })
}

/// The agent in a document, whichever program's shape it is written in.
///
/// # Errors
/// As [`read`].
pub fn agent(document: &Document) -> Result<Agent, StoreError> {
    match shapes::ours(document.key.as_str(), &document.body) {
        Ok(Some(Rewritten { body, .. })) => read(&Document { body, ..document.clone() }),
        Ok(None) | Err(_) => read(document),
    }
}

/// Agents as they are in the store. One whose document cannot be read is there all the same: whoever wrote it may mend it,
/// and until then it is neither missing nor nobody's.
#[derive(Debug, Default)]
pub struct Agents {
    pub found: BTreeMap<AgentId, (Document, Agent)>,
    pub unreadable: BTreeSet<AgentId>,
}

impl Extend<Document> for Agents {
    fn extend<I: IntoIterator<Item = Document>>(&mut self, documents: I) {
        for document in documents {
            let id = match AgentId::new(document.key.as_str()) {
                Ok(id) => id,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "no agent's key");
                    continue;
                }
            };
            // run by another program until it is migrated: nothing is started, ended or judged here
            if shapes::is_foreign(&document.body) {
                self.unreadable.insert(id);
                continue;
            }
            match read::<Agent>(&document) {
                Ok(agent) => drop(self.found.insert(id, (document, agent))),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "an agent is left alone");
                    self.unreadable.insert(id);
                }
            }
        }
    }
}

/// The body of a new document.
///
/// # Errors
/// [`StoreError::Invalid`] when the value has no JSON form (a key that is no text).
pub fn body<T: Serialize>(value: &T) -> Result<Body, StoreError> {
    match serde_json::to_value(value) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(StoreError::Invalid { message: "a document must be an object".to_owned() }),
        Err(error) => Err(StoreError::Invalid { message: error.to_string() }),
    }
}

/// `body` with what differs between `before` and `after` put in: fields that did not change keep the form that others
/// gave them, down to the leaves.
pub fn overlay<T: Serialize>(body: &Body, before: &T, after: &T) -> Body {
    let value = |of: &T| serde_json::to_value(of).unwrap_or_default();
    let mut out = Value::Object(body.clone());
    lay(&mut out, &value(before), &value(after));
    match out {
        Value::Object(out) => out,
        _ => body.clone(),
    }
}

fn lay(out: &mut Value, before: &Value, after: &Value) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        *out = after.clone();
        return;
    };
    if !out.is_object() {
        *out = Value::Object(Body::new());
    }
    let Value::Object(fields) = out else { return };
    for (name, value) in new {
        match old.get(name) {
            Some(was) if was == value => {}
            Some(was) => lay(fields.entry(name.clone()).or_insert(Value::Null), was, value),
            None => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::agent::{Agent, Desired};
    use serde_json::json;

    #[test]
    fn only_what_changed_is_written_and_strange_fields_stay() {
        let Value::Object(stored) =
            json!({"name": "a", "theirs": {"x": 1}, "config": {"image": "i", "odd": [1]}})
        else {
            unreachable!()
        };
        let before: Agent = serde_json::from_value(Value::Object(stored.clone())).unwrap();
        let mut after = before.clone();
        after.desired = Desired::Paused;
        after.config.image = "j".into();
        after.live_name = Some("a".into());
        let written = Value::Object(overlay(&stored, &before, &after));
        assert_eq!(
            written,
            json!({"name": "a", "theirs": {"x": 1}, "config": {"image": "j", "odd": [1]},
                   "desired": "paused", "live_name": "a"})
        );
        let back: Agent = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(back, after);
        let Value::Object(written) = written else { unreachable!() };
        assert_eq!(overlay(&written, &after, &before).get("live_name"), None);
    }
}
