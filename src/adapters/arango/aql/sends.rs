//! Inserts into a collection whose documents are numbered, as one statement.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::model::schema::Collection;

use super::{META, counter};
use crate::adapters::arango::desk::Asked;
use crate::adapters::arango::write::Step;

/// Gives numbers and writes the documents; the last number before them, and the revisions. Whoever sends can mostly know the
/// numbers, and gives them to the documents: the server changes documents only when another process has sent meanwhile.
const TEXT: &str = "\
    LET last = FIRST(FOR s IN @@meta FILTER s._key == @counter \
    UPDATE s WITH { last: s.last + LENGTH(@writes) } IN @@meta OPTIONS { exclusive: true } RETURN OLD.last) \
    FILTER ASSERT(last != null, \"the counter of this collection is missing in the store\") \
    LET more = last - @guess \
    LET revs = (FOR w IN (more == 0 ? @writes : @writes[* RETURN MERGE(CURRENT, { seq: CURRENT.seq + more })]) \
    INSERT w INTO @@c OPTIONS { waitForSync: true } RETURN NEW._rev) \
    RETURN [last, revs]";

/// Inserts into `collection`, after what is thought to be its last number.
#[derive(Debug, Clone, Copy)]
pub(in crate::adapters::arango) struct Numbered<'a> {
    pub(in crate::adapters::arango) collection: Collection,
    pub(in crate::adapters::arango) last: u64,
    pub(in crate::adapters::arango) steps: &'a [&'a Step],
}

#[derive(Debug, Serialize)]
pub(in crate::adapters::arango) struct Bound<'a> {
    #[serde(rename = "@meta")]
    meta: &'static str,
    #[serde(rename = "@c")]
    collection: &'static str,
    counter: String,
    guess: u64,
    #[serde(serialize_with = "stamped")]
    writes: Numbered<'a>,
}

impl<'a> Numbered<'a> {
    pub(in crate::adapters::arango) fn statement(self) -> Asked<'a, Bound<'a>> {
        Asked::new(
            TEXT,
            Bound {
                meta: META,
                collection: self.collection.name(),
                counter: counter(self.collection),
                guess: self.last,
                writes: self,
            },
        )
    }
}

fn stamped<S: Serializer>(numbered: &Numbered<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let numbers = numbered.last + 1..;
    serializer.collect_seq(
        numbers.zip(numbered.steps).map(|(number, step)| Stamped { body: &step.value, number }),
    )
}

struct Stamped<'a> {
    body: &'a Value,
    number: u64,
}

impl Serialize for Stamped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.body.as_object();
        let mut map = serializer.serialize_map(fields.map(|fields| fields.len() + 1))?;
        for (name, value) in fields.into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("seq", &self.number)?;
        map.end()
    }
}
