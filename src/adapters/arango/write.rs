//! The writes of the port, checked and put into the form that the statements take.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Value, json};

use crate::model::schema::Collection;
use crate::ports::store::{Body, Key, Rev, StoreError, UpdateWhere, Write};

use super::aql::Kind;
use super::aql::condition::check_depth;
use super::fault::invalid;
use super::odd;

/// The largest body, in bytes of JSON.
const MAX_BODY: usize = 8 << 20;
/// How deep a body may nest.
const MAX_NESTING: usize = 100;
/// How many writes one transaction may have.
const MAX_WRITES: usize = 10_000;

/// One write, ready for its statement.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) collection: Collection,
    pub(super) key: Key,
    /// As the statement of its kind takes it.
    pub(super) value: Value,
    /// How large what it writes is, about.
    pub(super) bytes: usize,
}

impl Step {
    /// The revision that the document must be at; none where it does not matter (or, for a check, must be missing).
    pub(super) fn rev(&self) -> Option<&str> {
        self.value.get("_rev").and_then(Value::as_str)
    }

    /// The whole body, where the write gives one.
    pub(super) fn body(&self) -> Option<Body> {
        let body = match self.kind {
            Kind::Insert => &self.value,
            Kind::Replace | Kind::Put => self.value.get("body")?,
            Kind::Merge | Kind::MergeOrMake | Kind::Remove | Kind::Check => return None,
        };
        let mut body = body.as_object()?.clone();
        body.shift_remove("_key");
        odd::show(&mut body);
        Some(body)
    }
}

/// # Errors
/// `Invalid`, naming the write.
pub(super) fn steps(writes: Vec<Write>) -> Result<Vec<Step>, StoreError> {
    if writes.len() > MAX_WRITES {
        return Err(invalid(format!(
            "the transaction has {} writes: at most {MAX_WRITES} are taken",
            writes.len()
        )));
    }
    writes.into_iter().map(step).collect()
}

fn step(write: Write) -> Result<Step, StoreError> {
    let mut bytes = 0;
    let mut checked = |collection: Collection, key: &Key, body: Body| {
        let (body, size) = self::checked(collection, body)
            .map_err(|error| invalid(format!("{collection}/{key}: {error}")))?;
        bytes += size;
        Ok::<Body, StoreError>(body)
    };
    let at = |rev: &Option<Rev>| rev.as_ref().map(|rev| rev.0.to_string());
    let (kind, collection, key, value) = match write {
        Write::Insert { collection, key, body } => {
            let mut body = checked(collection, &key, body)?;
            body.insert("_key".to_owned(), key.as_str().into());
            (Kind::Insert, collection, key, Value::Object(body))
        }
        Write::Replace { collection, key, rev, body } => {
            let body = checked(collection, &key, body)?;
            let value = json!({"_key": key.as_str(), "_rev": &*rev.0, "body": body});
            (Kind::Replace, collection, key, value)
        }
        Write::Put { collection, key, body } => {
            let body = checked(collection, &key, body)?;
            let value = json!({"_key": key.as_str(), "body": body});
            (Kind::Put, collection, key, value)
        }
        Write::Merge { collection, key, fields, create } => {
            let fields = checked(collection, &key, fields)?;
            let names: Vec<&String> = fields.keys().collect();
            let set: Body = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let value = json!({"_key": key.as_str(), "names": names, "set": set});
            let kind = if create { Kind::MergeOrMake } else { Kind::Merge };
            (kind, collection, key, value)
        }
        Write::Remove { collection, key, rev } => {
            let value = json!({"_key": key.as_str(), "_rev": at(&rev)});
            (Kind::Remove, collection, key, value)
        }
        Write::Check { collection, key, rev } => {
            let value = json!({"_key": key.as_str(), "_rev": at(&rev)});
            (Kind::Check, collection, key, value)
        }
    };
    Ok(Step { kind, collection, key, value, bytes })
}

/// The body as the server keeps it, and how large it is.
///
/// # Errors
/// `Invalid` for what could not be read back, or is too large.
fn checked(collection: Collection, mut body: Body) -> Result<(Body, usize), StoreError> {
    for reserved in ["_key", "_rev", "_id", odd::NOTE] {
        if body.contains_key(reserved) {
            return Err(invalid(format!("a body must not hold {reserved}")));
        }
    }
    if collection.is_sequenced() {
        body.shift_remove("seq"); // the store's own stamp
    }
    if body.values().any(|value| !is_within(value, MAX_NESTING)) {
        return Err(invalid(format!("the document nests deeper than {MAX_NESTING} levels")));
    }
    let mut size = Count(0);
    serde_json::to_writer(&mut size, &body)
        .map_err(|error| invalid(format!("the document is no JSON: {error}")))?;
    let Count(size) = size;
    if size > MAX_BODY {
        return Err(invalid(format!(
            "the document has {size} bytes: at most {MAX_BODY} are taken"
        )));
    }
    Ok((odd::hide(body), size))
}

/// Counts what is written into it.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        self.0 += more.len();
        Ok(more.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn is_within(value: &Value, levels: usize) -> bool {
    if levels == 0 {
        return false;
    }
    match value {
        Value::Array(list) => list.iter().all(|value| is_within(value, levels - 1)),
        Value::Object(map) => map.values().all(|value| is_within(value, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Runs of steps that one statement can do: of one kind and collection, no key twice.
pub(super) fn groups(steps: &[Step]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut keys: HashSet<&Key> = HashSet::new();
    for (at, step) in steps.iter().enumerate() {
        let joins = at
            .checked_sub(1)
            .and_then(|before| steps.get(before))
            .is_some_and(|before| before.kind == step.kind && before.collection == step.collection);
        if joins
            && keys.insert(&step.key)
            && let Some(last) = groups.last_mut()
        {
            last.end = at + 1;
        } else {
            groups.push(at..at + 1);
            keys.clear();
            keys.insert(&step.key);
        }
    }
    groups
}

/// # Errors
/// `Invalid` for what no state of the store could make right.
pub(super) fn check_update(update: &UpdateWhere) -> Result<(), StoreError> {
    super::read::limited(update.limit)?;
    super::read::check_sort(&update.sort)?;
    let changed = update.set.iter().map(|(field, _)| field);
    for field in changed.chain(update.add.iter().map(|(field, _)| field)) {
        let first = field.segments().next().unwrap_or_default();
        let stamped = update.collection.is_sequenced() && first == "seq";
        if stamped || matches!(first, "_key" | "_rev" | "_id") {
            return Err(invalid(format!("{field} is the store's own field and cannot be set")));
        }
    }
    for filter in std::iter::once(&update.filter).chain(update.guard.as_ref().map(|g| &g.filter)) {
        check_depth(filter, 0)?;
        if super::aql::condition::is_judged(filter) {
            return Err(invalid("numbers of 2^53 and above cannot be compared in an update"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(collection: Collection, key: &str) -> Write {
        Write::Insert { collection, key: Key::new(key).unwrap(), body: Body::new() }
    }

    #[test]
    fn writes_of_one_kind_go_together_unless_a_key_comes_twice() {
        let writes = vec![
            insert(Collection::Agents, "a"),
            insert(Collection::Agents, "b"),
            insert(Collection::Agents, "a"),
            insert(Collection::Events, "a"),
        ];
        let steps = steps(writes).unwrap();
        assert_eq!(groups(&steps), [0..2, 2..3, 3..4]);
    }
}
