//! Whether a listing still holds though some rows have changed: the same rows would be chosen, and in the same order. Asked
//! of the changed rows alone, so that a thousand usage samples a second sort nothing anew.

use std::sync::Arc;

use super::{Slice, Stamp, TablePage, place};
use crate::engine::view::{AgentRow, FleetView};
use crate::model::time::Time;
use crate::tui::pages::row::{Rows, sort_key};

/// Of more changed rows than this it is not asked: listing anew costs no more.
const MOST: usize = 2_000;

impl TablePage {
    /// Whether the listing made from `before` is also that of `view`, whose stamp is `now_is`.
    pub(super) fn stands(
        &self,
        before: &Stamp,
        now_is: &Stamp,
        view: &FleetView,
        now: Time,
    ) -> bool {
        let same = (before.settings, before.minute, before.loaded)
            == (now_is.settings, now_is.minute, now_is.loaded);
        let (Slice::Agents(old), Slice::Agents(new)) = (&before.slice, &now_is.slice) else {
            return false;
        };
        let Some(changed) = same.then(|| changed(old, new)).flatten() else { return false };
        let old_view = FleetView { agents: old.clone(), ..view.clone() };
        let (was, is) = (
            self.kind.rows(&old_view, &self.fetched, now),
            self.kind.rows(view, &self.fetched, now),
        );
        let column = self.order().column;
        changed.into_iter().all(|row| {
            self.verdict(was.as_ref(), row) == self.verdict(is.as_ref(), row)
                && sort_key(was.as_ref(), row, column) == sort_key(is.as_ref(), row, column)
        })
    }

    /// Whether a row counts, and whether it is shown.
    pub(super) fn verdict(&self, rows: &dyn Rows, row: usize) -> (bool, bool) {
        let elsewhere = self.owner.as_ref().is_some_and(|owner| !rows.is_within(row, owner))
            || self.scope.as_ref().is_some_and(|scope| !rows.is_of(row, scope));
        if elsewhere || !rows.is_listed(row) {
            return (false, false);
        }
        let query = &self.filter.query;
        let faults = !self.faults || rows.is_fault(row);
        (true, faults && (query.is_empty() || rows.matches(row, query)))
    }
}

/// The places of the rows that differ; `None` when there are many, or when rows came or went.
fn changed(old: &[Arc<AgentRow>], new: &[Arc<AgentRow>]) -> Option<Vec<usize>> {
    if old.len() != new.len() {
        return None;
    }
    let mut places = Vec::new();
    for (place, (old, new)) in old.iter().zip(new).enumerate() {
        if Arc::ptr_eq(old, new) {
            continue;
        }
        if old.id != new.id || places.len() == MOST {
            return None;
        }
        places.push(place);
    }
    Some(places)
}

/// The rows chosen, in the order they were shown in before as far as they were: sorting what is nearly sorted takes hardly
/// longer than looking at it, and that is what happens thirty times a second.
pub(super) fn as_before(chosen: Vec<u32>, before: &[u32], count: usize) -> Vec<u32> {
    let mut waiting = vec![false; count];
    for row in &chosen {
        if let Some(waiting) = waiting.get_mut(place(*row)) {
            *waiting = true;
        }
    }
    let mut ordered = Vec::with_capacity(chosen.len());
    for row in before.iter().chain(&chosen) {
        if waiting.get_mut(place(*row)).is_some_and(std::mem::take) {
            ordered.push(*row);
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::agent::Phase;
    use crate::tui::pages::TableKind;
    use crate::tui::testing::{many, now};

    /// What may happen to a row between two views.
    #[derive(Debug, Clone, Copy)]
    enum Blow {
        Queue(usize, u64),
        Usage(usize, u64),
        Fails(usize),
        Goes(usize),
    }

    fn blows() -> impl Strategy<Value = Blow> {
        let place = 0_usize..40;
        prop_oneof![
            (place.clone(), 0_u64..9).prop_map(|(at, n)| Blow::Queue(at, n)),
            (place.clone(), 0_u64..900).prop_map(|(at, n)| Blow::Usage(at, n)),
            place.clone().prop_map(Blow::Fails),
            place.prop_map(Blow::Goes),
        ]
    }

    fn struck(view: &FleetView, blow: Blow) -> FleetView {
        let mut rows = view.agents.to_vec();
        let (Blow::Queue(at, _) | Blow::Usage(at, _) | Blow::Fails(at) | Blow::Goes(at)) = blow;
        let at = at % rows.len();
        match blow {
            Blow::Queue(_, n) => Arc::make_mut(&mut rows[at]).queue.pending = n,
            Blow::Usage(_, n) => {
                Arc::make_mut(&mut rows[at]).usage.iter_mut().for_each(|it| it.cpu_millis = n);
            }
            Blow::Fails(_) => Arc::make_mut(&mut rows[at]).phase = Phase::Failed,
            Blow::Goes(_) if rows.len() > 1 => drop(rows.remove(at)),
            Blow::Goes(_) => {}
        }
        FleetView { version: view.version + 1, agents: rows.into(), ..view.clone() }
    }

    proptest! {
        #[test]
        fn a_listing_kept_over_many_views_is_the_one_made_anew(
            blows in proptest::collection::vec(blows(), 1..60),
            filter in prop::sample::select(vec!["", "queue>4", "state=failed", "cpu>400m"]),
            sort in prop::sample::select(vec!["name", "queue", "cpu", "state"]),
            faults: bool,
        ) {
            let mut view = many(40);
            let page = |filter: &str| {
                let mut page = TablePage::new(TableKind::Agents);
                page.set_filter(filter);
                page.sort_by(sort);
                page.faults = faults;
                page
            };
            let mut kept = page(filter);
            for blow in blows {
                view = struck(&view, blow);
                kept.prepare(&view, 30, now());
                let mut fresh = page(filter);
                fresh.prepare(&view, 30, now());
                prop_assert_eq!(&kept.listing.rows, &fresh.listing.rows);
                prop_assert_eq!(kept.listing.total, fresh.listing.total);
            }
        }
    }

    #[test]
    fn a_sample_of_usage_lists_nothing_anew_unless_it_is_what_rows_are_sorted_by() {
        let (old, page) = (many(40), TablePage::new(TableKind::Agents));
        let new = struck(&old, Blow::Usage(7, 777));
        let stamp = |view: &FleetView| Stamp {
            slice: Slice::of(TableKind::Agents, view),
            settings: 0,
            minute: 0,
            loaded: true,
        };
        assert!(page.stands(&stamp(&old), &stamp(&new), &new, now()));
        let mut by_cpu = page;
        by_cpu.sort_by("cpu");
        assert!(!by_cpu.stands(&stamp(&old), &stamp(&new), &new, now()));
    }
}
