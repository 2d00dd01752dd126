//! Rows of one kind, and the slice of them that views share. Changing few of many rows costs little: two slices take
//! turns, and the one that no view holds any more is brought up to date in place.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use crate::ports::store::Rev;

/// Something with an id by which it is kept and found.
pub trait Keyed: PartialEq + Clone + fmt::Debug {
    type Id: Ord + Clone + fmt::Debug;
    fn id(&self) -> &Self::Id;
}

/// A revision in 8 bytes: enough to see that a document is another one, and much less than the text.
pub fn mark(rev: &Rev) -> u64 {
    let mut hasher = DefaultHasher::new();
    rev.hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug)]
struct Kept<R> {
    mark: u64,
    row: Arc<R>,
}

#[derive(Debug)]
pub struct Table<R: Keyed> {
    rows: BTreeMap<R::Id, Kept<R>>,
    /// The slice that the last view holds.
    shown: Arc<[Arc<R>]>,
    /// The slice before it: the same rows but for `behind`.
    spare: Option<Arc<[Arc<R>]>>,
    behind: BTreeSet<R::Id>,
    /// What changed since `shown` was made.
    changed: BTreeSet<R::Id>,
    /// Rows came or went since then.
    reshaped: bool,
}

impl<R: Keyed> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            shown: Arc::default(),
            spare: None,
            behind: BTreeSet::new(),
            changed: BTreeSet::new(),
            reshaped: false,
        }
    }
}

impl<R: Keyed> Table<R> {
    pub fn get(&self, id: &R::Id) -> Option<&Arc<R>> {
        self.rows.get(id).map(|kept| &kept.row)
    }

    pub fn rows(&self) -> impl Iterator<Item = &Arc<R>> {
        self.rows.values().map(|kept| &kept.row)
    }

    /// Puts a row as its document now gives it; returns the row before when anything that can be seen has changed.
    pub fn put(&mut self, mark: u64, row: R) -> Option<Option<Arc<R>>> {
        let id = row.id().clone();
        match self.rows.get_mut(&id) {
            Some(kept) => {
                kept.mark = mark;
                if *kept.row == row {
                    return None;
                }
                let before = std::mem::replace(&mut kept.row, Arc::new(row));
                self.changed.insert(id);
                Some(Some(before))
            }
            None => {
                self.rows.insert(id, Kept { mark, row: Arc::new(row) });
                self.reshaped = true;
                Some(None)
            }
        }
    }

    /// Changes a row that stays; the caller knows that this makes a difference.
    pub fn edit(&mut self, id: &R::Id, change: impl FnOnce(&mut R)) {
        if let Some(kept) = self.rows.get_mut(id) {
            change(Arc::make_mut(&mut kept.row));
            if !self.changed.contains(id) {
                self.changed.insert(id.clone());
            }
        }
    }

    pub fn remove(&mut self, id: &R::Id) -> Option<Arc<R>> {
        let kept = self.rows.remove(id)?;
        self.changed.remove(id);
        self.reshaped = true;
        Some(kept.row)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Keeps only those.
    pub fn retain(&mut self, keep: impl Fn(&R::Id) -> bool) {
        let gone: Vec<R::Id> = self.rows.keys().filter(|id| !keep(id)).cloned().collect();
        for id in gone {
            self.remove(&id);
        }
    }

    pub fn is_dirty(&self) -> bool {
        self.reshaped || !self.changed.is_empty()
    }

    /// The rows in the order of their ids, as they are now.
    pub fn slice(&mut self) -> Arc<[Arc<R>]> {
        if self.reshaped {
            self.reshaped = false;
            self.changed.clear();
            self.behind.clear();
            self.spare = None;
            self.shown = self.rows().cloned().collect();
        } else if !self.changed.is_empty() {
            let mut next = self.writable();
            let slots = Arc::get_mut(&mut next).expect("a slice that nobody else holds");
            for id in self.behind.iter().chain(&self.changed) {
                let at = slots.binary_search_by(|row| row.id().cmp(id));
                if let (Ok(at), Some(kept)) = (at, self.rows.get(id)) {
                    slots[at] = kept.row.clone();
                }
            }
            self.behind = std::mem::take(&mut self.changed);
            self.spare = Some(std::mem::replace(&mut self.shown, next));
        }
        self.shown.clone()
    }

    /// A slice with the rows of `shown` except for `behind`, held by nobody else.
    fn writable(&mut self) -> Arc<[Arc<R>]> {
        if let Some(mut spare) = self.spare.take()
            && Arc::get_mut(&mut spare).is_some()
        {
            return spare;
        }
        self.behind.clear();
        self.shown.iter().cloned().collect()
    }
}

impl<R: Keyed> Table<R>
where
    R::Id: Borrow<str>,
{
    /// The ids in this range, in order.
    pub fn ids(&self, range: (Bound<&str>, Bound<&str>)) -> impl Iterator<Item = &str> {
        self.rows.range::<str, _>(range).map(|(id, _)| id.borrow())
    }

    /// Whether the row was made of the document at this very revision.
    pub fn has(&self, id: &str, mark: u64) -> bool {
        self.rows.get(id).is_some_and(|kept| kept.mark == mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Line(&'static str, u32);

    impl Keyed for Line {
        type Id = &'static str;
        fn id(&self) -> &&'static str {
            &self.0
        }
    }

    const IDS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

    proptest! {
        /// Whatever happens between views, and whichever old views are still held, each view shows what is there.
        #[test]
        fn every_slice_shows_the_rows_as_they_are(
            steps in proptest::collection::vec((0u8..4, 0usize..12, any::<u32>(), any::<bool>()), 0..200)
        ) {
            let (mut table, mut wanted) = (Table::<Line>::default(), BTreeMap::new());
            let mut held = Vec::new();
            for (what, id, value, hold) in steps {
                let id = IDS[id];
                match what {
                    0 | 1 => {
                        table.put(u64::from(value), Line(id, value));
                        wanted.insert(id, value);
                    }
                    2 => if let Some(old) = wanted.get_mut(&id) {
                        *old = value;
                        table.edit(&id, |line| line.1 = value);
                    },
                    _ => {
                        let gone = table.remove(&id).map(|line| line.1);
                        prop_assert_eq!(gone, wanted.remove(&id));
                    }
                }
                let slice = table.slice();
                let seen: Vec<(&str, u32)> = slice.iter().map(|line| (line.0, line.1)).collect();
                let now: Vec<(&str, u32)> = wanted.iter().map(|(id, value)| (*id, *value)).collect();
                prop_assert_eq!(&seen, &now);
                prop_assert!(!table.is_dirty());
                if hold {
                    held.push((slice, seen));
                }
                for (slice, seen) in &held {
                    let now: Vec<_> = slice.iter().map(|line| (line.0, line.1)).collect();
                    prop_assert_eq!(&now, seen, "a view that somebody holds never changes");
                }
            }
        }
    }

    #[test]
    fn a_change_of_one_row_takes_turns_between_two_slices() {
        let mut table = Table::default();
        for id in IDS {
            table.put(0, Line(id, 0));
        }
        let mut shown = table.slice();
        let mut places = BTreeSet::new();
        for value in 1..20 {
            table.edit(&"h", |line| line.1 = value);
            shown = table.slice();
            places.insert(shown.as_ptr() as usize);
        }
        assert_eq!(shown[7].1, 19);
        assert!(places.len() <= 3, "no new slice for each view: {}", places.len());
    }

    #[test]
    fn a_row_that_did_not_change_makes_no_new_slice() {
        let mut table = Table::default();
        table.put(1, Line("a", 1));
        table.slice();
        assert_eq!(table.put(2, Line("a", 1)), None);
        assert!(!table.is_dirty() && table.has("a", 2));
    }
}
