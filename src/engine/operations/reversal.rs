//! What taking an operation back comes to, document by document, as it is stored with the operation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::migrate::Shape;
use crate::model::agent::Desired;
use crate::model::schema::Collection;
use crate::ports::store::Document;

/// One document's way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub(crate) enum Reversal {
    /// Want of the agent what was wanted before, unless something else is wanted of it by now.
    Desired { id: String, name: String, was: Desired, now: Desired },
    /// Restore a deleted agent.
    Deleted { id: String, name: String, desired: Desired },
    /// Restore a deleted pool; its agents have entries of their own.
    PoolDeleted { id: String, name: String },
    /// Put fields back that nobody has changed since.
    Fields { collection: String, id: String, name: String, fields: Vec<FieldChange> },
    /// Delete what was created.
    Created { collection: String, id: String, name: String },
    /// Insert what was removed.
    Removed { collection: String, id: String, name: String, body: Map<String, Value> },
    /// Give a document back the shape in which another program wrote it.
    Shape(Shape),
    /// Give a message its former status.
    Message { id: String },
}

/// One leaf of a document, before and after. A list is one leaf; `None` is a missing field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FieldChange {
    /// JSON pointer.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
}

impl Reversal {
    /// The way back of a changed document, as it is stored.
    pub(crate) fn of(
        collection: Collection,
        before: &Document,
        after: &Map<String, Value>,
        name: &str,
    ) -> Value {
        let fields = differences(&before.body, after);
        let (collection, id) = (collection.name().to_owned(), before.key.to_string());
        Self::Fields { collection, id, name: name.to_owned(), fields }.written()
    }

    pub(crate) fn written(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Fields that change with every write and mean nothing to an operator.
const INCIDENTAL: [&str; 9] = [
    "/generation",
    "/updated_at",
    "/status",
    "/referenced_at",
    "/wanted_incarnation",
    "/drain_deadline",
    "/failures",
    "/retry_at",
    "/previous_version",
];

/// The leaves in which two documents differ, in order, but for what changes with every write.
pub(crate) fn differences(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found.retain(|it| {
        !INCIDENTAL.iter().any(|skip| {
            it.path.strip_prefix(skip).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    });
    found
}

fn compare(
    at: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<FieldChange>,
) {
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        let path = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        match (before.get(name), after.get(name)) {
            (was, now) if was == now => {}
            (Some(Value::Object(was)), Some(Value::Object(now))) => compare(&path, was, now, found),
            (was, now) => {
                found.push(FieldChange { path, was: was.cloned(), now: now.cloned() });
            }
        }
    }
}

/// Puts the fields back.
///
/// # Errors
/// One line for each field that is no longer what the change made of it.
pub(crate) fn put_back(
    body: &Map<String, Value>,
    fields: &[FieldChange],
) -> Result<Map<String, Value>, Vec<String>> {
    let mut out = Value::Object(body.clone());
    let mut moved = Vec::new();
    for field in fields {
        let now = out.pointer(&field.path);
        if now != field.now.as_ref() {
            let words =
                |value: Option<&Value>| value.map_or("missing".to_owned(), Value::to_string);
            moved.push(format!(
                "{} is {}, no longer {}",
                field.path,
                words(now),
                words(field.now.as_ref())
            ));
            continue;
        }
        set(&mut out, &field.path, field.was.clone());
    }
    match out {
        Value::Object(out) if moved.is_empty() => Ok(out),
        _ => Err(moved),
    }
}

/// Sets or removes the leaf at `path`, making the objects on the way.
pub(super) fn set(out: &mut Value, path: &str, value: Option<Value>) {
    let Some((parent, name)) = path.rsplit_once('/') else { return };
    let name = name.replace("~1", "/").replace("~0", "~");
    let mut place = out;
    for segment in parent.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        let Value::Object(fields) = place else { return };
        place = fields.entry(segment).or_insert_with(|| Value::Object(Map::new()));
    }
    let Value::Object(fields) = place else { return };
    match value {
        Some(value) => drop(fields.insert(name, value)),
        None => drop(fields.shift_remove(&name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn a_field_that_somebody_changed_since_is_named_and_nothing_is_put_back() {
        let before = object(json!({"desired": 3, "labels": {"a": "1"}, "generation": 1}));
        let after = object(json!({"desired": 5, "labels": {"a": "2", "b": "3"}, "generation": 2}));
        let fields = differences(&before, &after);
        assert_eq!(fields.len(), 3);
        let mut later = after.clone();
        later.insert("desired".into(), json!(7));
        assert_eq!(put_back(&later, &fields), Err(vec!["/desired is 7, no longer 5".to_owned()]));
        // a change elsewhere does not matter
        let mut elsewhere = after.clone();
        elsewhere.insert("max".into(), json!(9));
        let back = put_back(&elsewhere, &fields).unwrap();
        assert_eq!(
            Value::Object(back),
            json!({"desired": 3, "labels": {"a": "1"}, "generation": 2, "max": 9})
        );
    }

    fn any_object() -> impl Strategy<Value = Map<String, Value>> {
        let leaf = prop_oneof![
            any::<i8>().prop_map(Value::from),
            "[a-z]{0,2}".prop_map(Value::from),
            proptest::collection::vec(any::<i8>(), 0..3).prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            proptest::collection::vec(("[a-c~/]{1,2}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
        });
        proptest::collection::vec(("[a-c~/]{1,2}", value), 0..5)
            .prop_map(|pairs| pairs.into_iter().collect())
    }

    proptest! {
        #[test]
        fn putting_the_differences_back_gives_the_document_before(
            before in any_object(), after in any_object()
        ) {
            let fields = differences(&before, &after);
            let back = put_back(&after, &fields).unwrap();
            prop_assert_eq!(back, before);
        }
    }
}
