//! Changes without a log to read: what stands in the collections is compared with what stood there, every second. What
//! this process wrote itself is known at once.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use strum::IntoEnumIterator;

use crate::model::schema::Collection;
use crate::ports::store::{Key, Rev};

use super::aql;
use super::desk;
use super::fault::Failure;
use super::http::Http;
use super::log::Put;

/// How often a collection is compared.
const OFTEN: Duration = Duration::from_secs(1);
/// The same with more than so many documents.
const MANY: usize = 10_000;
const SELDOM: Duration = Duration::from_secs(5);
/// Collections that mostly grow are read on from their last number each second, and compared as a whole this often.
const WHOLE: Duration = Duration::from_secs(60);

/// A change as far as it is known: none for a removal.
pub(super) type Seen = (Collection, Key, Option<Put>);

#[derive(Debug, Default)]
struct Known {
    revs: HashMap<Key, Rev>,
    /// Written by this process since the comparison under way began.
    touched: HashSet<Key>,
    last: u64,
    whole_at: Option<Instant>,
}

/// What stands in the collections, as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Picture {
    known: HashMap<Collection, Known>,
}

/// A collection as the server has it.
#[derive(Debug)]
pub(super) struct Listing {
    collection: Collection,
    /// Everything, or only what came after a number.
    whole: bool,
    rows: Vec<(String, String, Value, Value)>,
}

fn grows(collection: Collection) -> bool {
    collection.is_sequenced() || collection == Collection::Events
}

impl Picture {
    pub(super) fn is_complete(&self) -> bool {
        let looked = |known: &Known| known.whole_at.is_some();
        Collection::iter().all(|collection| self.known.get(&collection).is_some_and(looked))
    }

    /// What is to be asked for now: each collection that is due, from which number on where that is enough.
    pub(super) fn due(
        &mut self,
        now: Instant,
        asked: impl Fn(Collection) -> bool,
    ) -> Vec<(Collection, Option<u64>)> {
        let mut due = Vec::new();
        for collection in Collection::iter().filter(|collection| asked(*collection)) {
            let known = self.known.entry(collection).or_default();
            known.touched.clear();
            let pause = match known.revs.len() {
                _ if grows(collection) => WHOLE,
                many if many > MANY => SELDOM,
                // a little less, since the comparison itself takes time too
                _ => OFTEN / 2,
            };
            let whole = known.whole_at.is_none_or(|at| now.duration_since(at) >= pause);
            if whole {
                due.push((collection, None));
            } else if grows(collection) {
                due.push((collection, Some(known.last)));
            }
        }
        due
    }

    /// Takes note of a write of this process; false when it, or a later one, is known already: a comparison may have
    /// seen it before its answer came.
    pub(super) fn own(&mut self, collection: Collection, key: &Key, rev: Option<&Rev>) -> bool {
        let known = self.known.entry(collection).or_default();
        known.touched.insert(key.clone());
        match rev {
            Some(rev) => {
                if known.revs.get(key).is_some_and(|old| order(old) >= order(rev)) {
                    return false;
                }
                known.revs.insert(key.clone(), rev.clone());
            }
            // told even if it is not known here: a reader may have listed it since
            None => drop(known.revs.remove(key)),
        }
        true
    }

    /// What `listings` have that was not known, in the order of the revisions; removals come last.
    pub(super) fn compare(&mut self, listings: Vec<Listing>, now: Instant) -> Vec<Seen> {
        let (mut puts, mut gone) = (Vec::new(), Vec::new());
        for Listing { collection, whole, rows } in listings {
            let known = self.known.entry(collection).or_default();
            let first = whole && known.whole_at.is_none();
            let mut met: HashSet<Key> = HashSet::new();
            for (key, rev, topic, seq) in rows {
                known.last = known.last.max(seq.as_u64().unwrap_or_default());
                let Ok(key) = Key::new(&key) else { continue };
                if whole {
                    met.insert(key.clone());
                }
                let rev = Rev(rev.into());
                if known.touched.contains(&key) || known.revs.get(&key) == Some(&rev) {
                    continue;
                }
                known.revs.insert(key.clone(), rev.clone());
                if !first {
                    let topic = topic.as_str().map(str::to_owned);
                    let put = Put { rev, topic, body: None, bytes: 0 };
                    puts.push((collection, key, put));
                }
            }
            if whole {
                let missing = known
                    .revs
                    .keys()
                    .filter(|key| !met.contains(*key) && !known.touched.contains(*key));
                let missing: Vec<Key> = missing.cloned().collect();
                for key in missing {
                    known.revs.remove(&key);
                    gone.push((collection, key, None));
                }
                known.whole_at = Some(now);
            }
        }
        puts.sort_by_key(|(_, _, put)| order(&put.rev));
        let puts = puts.into_iter().map(|(collection, key, put)| (collection, key, Some(put)));
        puts.chain(gone).collect()
    }
}

/// Asks for what is due.
pub(super) async fn list(
    http: &Http,
    due: Vec<(Collection, Option<u64>)>,
) -> Result<Vec<Listing>, Failure> {
    let asked = due.into_iter().map(|(collection, from)| async move {
        let rows = desk::read(http, &aql::standing(collection, from)).await?;
        Ok(Listing { collection, whole: from.is_none(), rows })
    });
    futures::future::try_join_all(asked).await
}

/// Revisions are stamps of the server's clock, written in its own digits.
fn order(rev: &Rev) -> u64 {
    const DIGITS: &[u8; 64] = b"-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    rev.0.bytes().fold(0, |stamp: u64, byte| {
        let digit = DIGITS.iter().position(|digit| *digit == byte).unwrap_or_default();
        stamp << 6 | digit as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Collection::Agents;

    fn listing(rows: &[(&str, &str)]) -> Vec<Listing> {
        let rows =
            rows.iter().map(|(key, rev)| ((*key).into(), (*rev).into(), Value::Null, Value::Null));
        vec![Listing { collection: Agents, whole: true, rows: rows.collect() }]
    }

    fn seen(picture: &mut Picture, rows: &[(&str, &str)]) -> Vec<(String, bool)> {
        let seen = picture.compare(listing(rows), Instant::now());
        seen.into_iter().map(|(_, key, put)| (key.to_string(), put.is_some())).collect()
    }

    #[test]
    fn what_came_changed_or_went_is_seen_in_the_order_of_writing() {
        let mut picture = Picture::default();
        assert_eq!(seen(&mut picture, &[("a", "_A"), ("b", "_B")]), [], "the first look");
        assert_eq!(seen(&mut picture, &[("a", "_A"), ("b", "_B")]), []);
        let found = seen(&mut picture, &[("c", "_F"), ("b", "_E")]);
        assert_eq!(found, [("b".into(), true), ("c".into(), true), ("a".into(), false)]);
    }

    #[test]
    fn own_writes_are_not_seen_again_and_not_undone_by_an_old_look() {
        let mut picture = Picture::default();
        seen(&mut picture, &[("a", "_A")]);
        let key = Key::new("a").unwrap();
        picture.due(Instant::now(), |_| true);
        assert!(picture.own(Agents, &key, Some(&Rev("_C".into()))));
        assert!(!picture.own(Agents, &key, Some(&Rev("_B".into()))), "an answer that came late");
        assert_eq!(seen(&mut picture, &[("a", "_A")]), [], "the look began before the write");
        picture.due(Instant::now(), |_| true);
        assert_eq!(seen(&mut picture, &[("a", "_C")]), []);
        assert_eq!(seen(&mut picture, &[]), [("a".into(), false)]);
    }

    #[test]
    fn own_writes_that_were_seen_before_their_answer_came_are_not_told_again() {
        let mut picture = Picture::default();
        seen(&mut picture, &[("a", "_A")]);
        picture.due(Instant::now(), |_| true);
        assert_eq!(seen(&mut picture, &[("a", "_B")]), [("a".into(), true)]);
        assert!(!picture.own(Agents, &Key::new("a").unwrap(), Some(&Rev("_B".into()))));
    }
}
