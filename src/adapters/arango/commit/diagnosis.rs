//! Which write of a transaction could not be done: each is held against what stands in the store, in order.

use std::collections::HashMap;

use crate::model::schema::Collection;
use crate::ports::store::{Key, StoreError};

use super::super::aql::{self, Kind};
use super::super::desk;
use super::super::fault::Failure;
use super::super::http::Http;
use super::super::write::Step;
use super::Trouble;

type Standing<'a> = HashMap<(Collection, &'a Key), String>;

/// What is wrong with `steps`; `taken` names the fields of a unique index that refused one.
pub(super) async fn of(http: &Http, steps: &[Step], taken: Option<&str>) -> Trouble {
    let standing = match standing(http, steps).await {
        Ok(standing) => standing,
        Err(failure) => return Trouble::Wrong(failure.nothing_written()),
    };
    if let Some(error) = first_wrong(steps, standing) {
        return Trouble::Wrong(error);
    }
    let refused = taken.filter(|what| *what != "key").and_then(|what| {
        let step = steps.iter().find(|step| may_be_refused(step, what))?;
        Some((step, what))
    });
    match refused {
        Some((step, what)) => Trouble::Wrong(StoreError::Exists {
            collection: step.collection,
            key: step.key.clone(),
            what: what.to_owned(),
        }),
        // by now everything is as it should be
        None => Trouble::Met(Failure::Strange(aql::UNMET.to_owned())),
    }
}

async fn standing<'a>(http: &Http, steps: &'a [Step]) -> Result<Standing<'a>, Failure> {
    let mut keys: HashMap<Collection, Vec<&'a Key>> = HashMap::new();
    for step in steps {
        keys.entry(step.collection).or_default().push(&step.key);
    }
    let mut standing = HashMap::new();
    for (collection, keys) in keys {
        let names: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        let aql = aql::many_revisions(collection, &names);
        let rows: Vec<(String, String)> = desk::read(http, &aql).await?;
        let revs: HashMap<String, String> = rows.into_iter().collect();
        for key in keys {
            if let Some(rev) = revs.get(key.as_str()) {
                standing.insert((collection, key), rev.clone());
            }
        }
    }
    Ok(standing)
}

/// The first step that what stands there, and the steps before it, do not allow.
fn first_wrong<'a>(steps: &'a [Step], mut standing: Standing<'a>) -> Option<StoreError> {
    // what an earlier step leaves has a revision that no step can name
    let fresh = String::new;
    for step in steps {
        let (collection, key) = (step.collection, step.key.clone());
        let found = standing.get(&(collection, &step.key)).map(String::as_str);
        let missing = || StoreError::NotFound { collection, key: key.clone() };
        let conflict = || StoreError::Conflict { collection, key: key.clone() };
        let named = step.rev();
        let wrong = match (step.kind, found) {
            (Kind::Insert, Some(_)) => {
                Some(StoreError::Exists { collection, key: key.clone(), what: "key".to_owned() })
            }
            (Kind::Replace | Kind::Merge | Kind::Remove, None) => Some(missing()),
            (Kind::Replace, found) if found != named => Some(conflict()),
            (Kind::Remove, found) if named.is_some() && found != named => Some(conflict()),
            (Kind::Check, found) if found != named => Some(conflict()),
            _ => None,
        };
        if wrong.is_some() {
            return wrong;
        }
        match step.kind {
            Kind::Check => {}
            Kind::Remove => drop(standing.remove(&(collection, &step.key))),
            Kind::Insert | Kind::Replace | Kind::Put | Kind::Merge | Kind::MergeOrMake => {
                standing.insert((collection, &step.key), fresh());
            }
        }
    }
    None
}

/// Whether the step writes into a collection with a unique index over these fields, separated by commas.
fn may_be_refused(step: &Step, fields: &str) -> bool {
    let writes = !matches!(step.kind, Kind::Check | Kind::Remove);
    let fields: Vec<&str> = fields.split(',').map(str::trim).collect();
    let over = |index: &&crate::model::schema::Index| index.unique && index.fields == fields;
    writes && step.collection.indexes().iter().any(|index| over(&index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::arango::write::steps;
    use crate::ports::store::{Body, Rev, Write};

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn wrong(writes: Vec<Write>, there: &[(&str, &str)]) -> Option<String> {
        let steps = steps(writes).unwrap();
        let keys: Vec<(Key, String)> =
            there.iter().map(|(at, rev)| (key(at), (*rev).to_owned())).collect();
        let standing =
            keys.iter().map(|(at, rev)| ((Collection::Agents, at), rev.clone())).collect();
        first_wrong(&steps, standing).map(|error| error.to_string())
    }

    fn insert(at: &str) -> Write {
        Write::Insert { collection: Collection::Agents, key: key(at), body: Body::new() }
    }

    fn remove(at: &str, rev: Option<&str>) -> Write {
        let rev = rev.map(|rev| Rev(rev.into()));
        Write::Remove { collection: Collection::Agents, key: key(at), rev }
    }

    #[test]
    fn the_first_write_that_cannot_be_done_is_named() {
        let said = wrong(vec![insert("a"), insert("b"), insert("c")], &[("b", "1"), ("c", "1")]);
        assert!(said.unwrap().contains("agents/b already exists"));
        assert_eq!(wrong(vec![insert("a")], &[]), None);
        assert!(wrong(vec![insert("a"), insert("a")], &[]).unwrap().contains("already exists"));
        let again = vec![remove("a", Some("1")), insert("a")];
        assert_eq!(wrong(again.clone(), &[("a", "1")]), None);
        assert!(wrong(again.clone(), &[("a", "2")]).unwrap().contains("changed by somebody else"));
        assert!(wrong(again, &[]).unwrap().contains("does not exist"));
    }
}
