//! The newest operations, newest first: older ones are read from the store when somebody asks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::engine::view::OperationRow;
use crate::model::id::OperationId;

/// How many are kept.
pub const NEWEST: usize = 500;

#[derive(Debug, Default)]
pub struct Recent {
    rows: BTreeMap<OperationId, Arc<OperationRow>>,
    shown: Arc<[Arc<OperationRow>]>,
    dirty: bool,
}

impl Recent {
    /// Puts an operation as it now is; true when it is new or changed.
    pub fn put(&mut self, row: OperationRow) -> bool {
        if self.rows.get(&row.id).is_some_and(|old| **old == row) {
            return false;
        }
        self.rows.insert(row.id.clone(), Arc::new(row));
        self.dirty = true;
        if self.rows.len() > NEWEST * 2 {
            let kept: HashSet<OperationId> =
                self.newest().into_iter().take(NEWEST).map(|row| row.id.clone()).collect();
            let old = std::mem::take(&mut self.rows);
            self.rows = old.into_iter().filter(|(id, _)| kept.contains(id)).collect();
        }
        true
    }

    pub fn remove(&mut self, id: &OperationId) -> bool {
        let gone = self.rows.remove(id).is_some();
        self.dirty |= gone;
        gone
    }

    /// Keeps only these: what a new list of the newest found.
    pub fn retain(&mut self, listed: impl Fn(&OperationId) -> bool) {
        let before = self.rows.len();
        self.rows.retain(|id, _| listed(id));
        self.dirty |= self.rows.len() != before;
    }

    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub fn slice(&mut self) -> Arc<[Arc<OperationRow>]> {
        if self.dirty {
            self.dirty = false;
            self.shown = self.newest().into_iter().take(NEWEST).collect();
        }
        self.shown.clone()
    }

    fn newest(&self) -> Vec<Arc<OperationRow>> {
        let mut rows: Vec<_> = self.rows.values().cloned().collect();
        rows.sort_by_key(|row| Reverse((row.created_at, row.id.clone())));
        rows
    }
}
