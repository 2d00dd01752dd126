//! The changes that were seen lately, in the order in which readers shall meet them. Bounded; whoever falls behind it has
//! to ask the server, or to list everything again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{Body, Key, Rev};

/// How many changes are kept, and how many bytes of bodies at most.
const KEPT: usize = 20_000;
const KEPT_BYTES: usize = 32 << 20;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Grows from change to change.
    pub(super) place: u64,
    /// From where the server is asked again to come to what follows this change.
    pub(super) base: u64,
    pub(super) collection: Collection,
    pub(super) key: Key,
    /// None for a removal.
    pub(super) put: Option<Put>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Put {
    pub(super) rev: Rev,
    pub(super) topic: Option<String>,
    /// Where the server told it along with the change.
    pub(super) body: Option<Arc<Body>>,
    pub(super) bytes: usize,
}

impl Row {
    fn bytes(&self) -> usize {
        self.put.as_ref().map_or(0, |put| put.bytes)
    }
}

/// A document and its revision, none where it was removed.
pub(super) type Written<'a> = (Collection, &'a Key, Option<&'a Rev>);

/// What a reader at some place finds.
#[derive(Debug)]
pub(super) enum Found {
    Rows(Vec<Arc<Row>>),
    Nothing,
    /// What follows its place is no longer here.
    Behind,
    /// It has to list everything again.
    Gap,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    rows: VecDeque<Arc<Row>>,
    bytes: usize,
    /// Everything after this is here.
    floor: u64,
    head: u64,
    /// Whoever stands before this was away too long.
    forgotten: u64,
    /// Grows whenever changes were lost.
    pub(super) epoch: u64,
    /// When the head was where, for forgetting by time.
    marks: VecDeque<(Time, u64)>,
    /// Why no changes come at present.
    pub(super) trouble: Option<String>,
}

impl Log {
    /// Begins anew at `head`.
    pub(super) fn reset(&mut self, head: u64) {
        self.rows.clear();
        self.bytes = 0;
        (self.floor, self.head) = (head, head);
    }

    /// The same after changes were lost: every reader is told.
    pub(super) fn lost(&mut self, head: u64) {
        self.reset(head);
        self.forgotten = 0;
        self.marks.clear();
        self.epoch += 1;
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    pub(super) fn append(&mut self, row: Row) {
        self.head = self.head.max(row.place);
        self.bytes += row.bytes();
        self.rows.push_back(Arc::new(row));
        while self.rows.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(gone) = self.rows.pop_front() else { break };
            self.bytes -= gone.bytes();
            self.floor = gone.place;
        }
    }

    /// There is nothing up to here that is not in the log.
    pub(super) fn advance(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    /// Up to `limit` changes after `place`.
    pub(super) fn after(&self, place: u64, epoch: u64, limit: usize) -> Found {
        if epoch != self.epoch || place < self.forgotten {
            return Found::Gap;
        }
        if place < self.floor {
            return Found::Behind;
        }
        let first = self.rows.partition_point(|row| row.place <= place);
        if first == self.rows.len() {
            return Found::Nothing;
        }
        Found::Rows(self.rows.iter().skip(first).take(limit).cloned().collect())
    }

    /// What was written after `place`, as far as it was read; none when that is no longer here.
    pub(super) fn revisions_after(&self, place: u64) -> Option<HashSet<Written<'_>>> {
        if place < self.floor {
            return None;
        }
        let first = self.rows.partition_point(|row| row.place <= place);
        let mut written = HashSet::new();
        for row in self.rows.iter().skip(first) {
            written.insert((row.collection, &row.key, row.put.as_ref().map(|put| &put.rev)));
        }
        Some(written)
    }

    /// Remembers that the head is at `head` now, and forgets what is older than `before`.
    pub(super) fn mark(&mut self, now: Time, head: u64, before: Time) {
        self.marks.push_back((now, head));
        while let Some((_, place)) = self.marks.front().copied().filter(|(at, _)| *at < before) {
            self.forgotten = self.forgotten.max(place);
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(place: u64) -> Row {
        let key = Key::new("a").unwrap();
        Row { place, base: place, collection: Collection::Agents, key, put: None }
    }

    fn places(found: Found) -> Vec<u64> {
        match found {
            Found::Rows(rows) => rows.iter().map(|row| row.place).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn readers_get_what_follows_their_place() {
        let mut log = Log::default();
        log.reset(10);
        assert!(matches!(log.after(10, 0, 9), Found::Nothing));
        assert!(matches!(log.after(9, 0, 9), Found::Behind));
        for place in [12, 15, 16] {
            log.append(row(place));
        }
        assert_eq!(places(log.after(10, 0, 2)), [12, 15]);
        assert_eq!(places(log.after(15, 0, 9)), [16]);
        assert!(matches!(log.after(16, 0, 9), Found::Nothing));
    }

    #[test]
    fn the_oldest_go_first_and_readers_there_are_behind() {
        let mut log = Log::default();
        for place in 1..=KEPT as u64 + 5 {
            log.append(row(place));
        }
        assert!(matches!(log.after(4, 0, 1), Found::Behind));
        assert_eq!(places(log.after(5, 0, 1)), [6]);
    }

    #[test]
    fn lost_changes_and_long_absence_are_gaps() {
        let mut log = Log::default();
        log.append(row(1));
        log.mark(Time::from_millis(1_000), 1, Time::from_millis(1_000));
        assert_eq!(places(log.after(0, 0, 1)), [1], "young");
        log.mark(Time::from_millis(2_000), 1, Time::from_millis(1_001));
        assert!(matches!(log.after(0, 0, 1), Found::Gap));
        assert!(matches!(log.after(1, 0, 1), Found::Nothing));
        log.lost(7);
        assert!(matches!(log.after(7, 0, 1), Found::Gap));
        assert!(matches!(log.after(7, 1, 1), Found::Nothing));
    }
}
