//! A page of rows: how it is filtered, sorted and marked, and which rows that leaves in which order. The cursor, the
//! marks and what is acted on are ids; a row that goes takes nobody else's place.

mod stands;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::TableKind;
use super::deltas::Deltas;
use super::fetched::Fetched;
use super::row::{RIGHT, Rows, SortKey, Spec, sort_key};
use super::words;
use super::xray::{Folds, Root, Seed, Tree};
use crate::engine::view::{AgentRow, FleetView, OperationRow, PoolRow, TemplateRow};
use crate::model::filter::query::RowQuery;
use crate::model::plan::TargetRef;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::views::Layout;
use crate::tui::widgets::table::{Column, TableState};

/// The filter of a page: what was typed, and the last line that made sense.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub line: String,
    pub query: RowQuery,
    /// Why the line typed is not the one in force.
    pub error: Option<Safe>,
}

impl Filter {
    /// Takes `line` if it makes sense; else keeps the last good one and says why.
    pub fn set(&mut self, line: &str, spec: &Spec) {
        line.clone_into(&mut self.line);
        match RowQuery::parse(line, spec.fields) {
            Ok(query) => {
                self.query = query;
                self.error = None;
            }
            Err(error) => self.error = Some(Safe::new(&error.to_string())),
        }
    }
}

/// Which column rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    pub column: &'static str,
    pub descending: bool,
}

/// The rows left after filtering, in order.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Places in the [`Rows`] of the view it was made from.
    pub rows: Vec<u32>,
    /// How many there are without the filter.
    pub total: usize,
    /// The view it was made from, and the settings of the page.
    stamp: Option<Stamp>,
}

/// What a listing was made from; while it is the same, so is the listing.
#[derive(Debug, Clone)]
struct Stamp {
    slice: Slice,
    settings: u64,
    /// Ages and waits in filters change with the minute.
    minute: i64,
    loaded: bool,
}

/// The part of a view that a kind of row is made from. Kept, so that it is never mistaken for a later one.
#[derive(Debug, Clone)]
pub(super) enum Slice {
    Agents(Arc<[Arc<AgentRow>]>),
    Pools(Arc<[Arc<PoolRow>]>),
    Templates(Arc<[Arc<TemplateRow>]>),
    Operations(Arc<[Arc<OperationRow>]>),
    /// Made from several parts: the whole view with this version.
    Whole(u64),
    /// Read from the store: the settings tell when there is more.
    Fetched,
}

impl Slice {
    pub(super) fn of(kind: TableKind, view: &FleetView) -> Self {
        match kind {
            TableKind::Agents | TableKind::Queues => Self::Agents(view.agents.clone()),
            TableKind::Pools => Self::Pools(view.pools.clone()),
            TableKind::Templates => Self::Templates(view.templates.clone()),
            TableKind::Operations => Self::Operations(view.operations.clone()),
            TableKind::Subscriptions | TableKind::Health | TableKind::Xray | TableKind::Hosts => {
                Self::Whole(view.version)
            }
            TableKind::Messages
            | TableKind::Publications
            | TableKind::Events
            | TableKind::Namespaces
            | TableKind::Contexts
            | TableKind::Forwards => Self::Fetched,
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Agents(a), Self::Agents(b)) => Arc::ptr_eq(a, b),
            (Self::Pools(a), Self::Pools(b)) => Arc::ptr_eq(a, b),
            (Self::Templates(a), Self::Templates(b)) => Arc::ptr_eq(a, b),
            (Self::Operations(a), Self::Operations(b)) => Arc::ptr_eq(a, b),
            (Self::Whole(a), Self::Whole(b)) => a == b,
            (Self::Fetched, Self::Fetched) => true,
            _ => false,
        }
    }
}

impl Stamp {
    fn is(&self, other: &Self) -> bool {
        self.slice.is(&other.slice)
            && (self.settings, self.minute, self.loaded)
                == (other.settings, other.minute, other.loaded)
    }
}

/// What came of listing the rows again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prepared {
    /// So many marked rows are gone.
    pub gone: usize,
    /// Figures in sight have changed, and say so for a while.
    pub changed: bool,
}

#[derive(Debug, Clone)]
pub struct TablePage {
    pub kind: TableKind,
    /// Only rows that belong to this: a pool's agents, an agent's events.
    pub owner: Option<TargetRef>,
    /// Only rows of this tenant, where rows have one.
    pub scope: Option<Safe>,
    /// What stands at the root of a tree, and what of it was opened or folded.
    pub root: Root,
    pub folds: Folds,
    /// Columns of the user's file.
    layout: Option<Arc<Layout>>,
    pub state: TableState,
    pub filter: Filter,
    pub sort: Sort,
    pub wide: bool,
    pub faults: bool,
    /// The order at the moment it was frozen.
    frozen: Option<HashMap<Arc<str>, usize>>,
    pub listing: Listing,
    /// Rows that the view does not carry.
    pub fetched: Fetched,
    /// Figures that have just changed.
    pub deltas: Deltas,
    /// A row to go to by name as soon as it is there.
    pub goal: Option<String>,
    /// Grows with every change of filter, sort and the like.
    settings: u64,
}

impl TablePage {
    pub fn new(kind: TableKind) -> Self {
        let (column, descending) = kind.spec().sort;
        Self {
            kind,
            owner: None,
            scope: None,
            root: Root::default(),
            folds: Folds::new(),
            layout: None,
            state: TableState::default(),
            filter: Filter::default(),
            sort: Sort { column, descending },
            wide: false,
            faults: false,
            frozen: None,
            listing: Listing::default(),
            fetched: Fetched::default(),
            deltas: Deltas::default(),
            goal: None,
            settings: 0,
        }
    }

    /// Everything but the rows.
    #[must_use]
    pub fn memo(&self) -> Self {
        let (listing, fetched, deltas) = <(Listing, Fetched, Deltas)>::default();
        Self { listing, fetched, deltas, ..self.clone() }
    }

    /// The columns shown. Among faults the reason stands near the front, or a narrow screen would hide it.
    pub fn columns(&self) -> Vec<&'static Column> {
        let mut columns = self.known_columns();
        columns.retain(|column| self.wide || !column.wide);
        let reason = columns.iter().position(|column| column.key == "reason");
        if let Some(reason) = reason.filter(|_| self.faults) {
            let state = columns.iter().position(|column| column.key == "state").unwrap_or(0);
            let column = columns.remove(reason);
            columns.insert((state + 1).min(columns.len()), column);
        }
        columns
    }

    /// Shows only what belongs to this tenant, or everything.
    pub fn narrow(&mut self, scope: Option<&Safe>) {
        if self.scope.as_ref() != scope {
            self.scope = scope.cloned();
            self.touch();
        }
    }

    /// The order in force; a tree has its own.
    fn order(&self) -> Sort {
        let grown = self.kind == TableKind::Xray;
        if grown { Sort { column: "name", descending: false } } else { self.sort }
    }

    /// Every column that the table may show: its own, or those that the user's file names.
    fn known_columns(&self) -> Vec<&'static Column> {
        match &self.layout {
            Some(layout) => layout.columns.clone(),
            None => self.kind.spec().columns.iter().collect(),
        }
    }

    /// Takes the columns that the user's file names for it, or its own.
    pub fn dress(&mut self, layout: Option<&Arc<Layout>>) {
        if self.layout.as_ref() == layout {
            return;
        }
        let (column, descending) = self.kind.spec().sort;
        let untouched = self.sort == Sort { column, descending };
        if let Some((column, descending)) = layout.and_then(|layout| layout.sort)
            && untouched
        {
            self.sort = Sort { column, descending };
        }
        self.layout = layout.cloned();
        (self.state.scrolled, self.state.picked) = (0, 0);
        self.touch();
    }

    /// Filter, sort or scope has changed: the rows are listed anew at the next frame.
    pub fn touch(&mut self) {
        self.settings += 1;
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    pub fn set_filter(&mut self, line: &str) {
        self.filter.set(line, self.kind.spec());
        self.touch();
    }

    /// Sorts by `column`; again by the same one turns the order round. `false` when there is no such column.
    pub fn sort_by(&mut self, column: &str) -> bool {
        let own = self.kind.spec().columns.iter();
        let mut known = own.chain(self.layout.iter().flat_map(|it| it.columns.iter().copied()));
        let Some(column) = known.find(|known| known.key == column) else {
            return false;
        };
        if column.key.starts_with('/') && self.kind.stored().is_some() {
            return false; // it is known of the rows in sight alone
        }
        let again = self.sort.column == column.key;
        // of a figure the largest is looked for first, of an age the youngest
        let figure = column.align == RIGHT && column.key != "age";
        let descending = if again { !self.sort.descending } else { figure };
        self.sort = Sort { column: column.key, descending };
        self.frozen = None;
        self.touch();
        true
    }

    /// Freezes the order of the rows in sight, or lets it go.
    pub fn toggle_freeze(&mut self, rows: &dyn Rows) {
        self.frozen = match self.frozen {
            Some(_) => None,
            None => {
                let order = self.listing.rows.iter().enumerate();
                Some(order.map(|(at, row)| (Arc::from(rows.id(place(*row))), at)).collect())
            }
        };
        self.touch();
    }

    /// Lists the rows of `view` again if they or the settings changed.
    pub fn prepare(&mut self, view: &FleetView, height: u16, now: Time) -> Prepared {
        if self.fetched.take_in() {
            self.touch();
        }
        let stamp = Stamp {
            slice: Slice::of(self.kind, view),
            settings: self.settings,
            minute: now.millis() / 60_000,
            loaded: view.loaded,
        };
        if self.listing.stamp.as_ref().is_some_and(|before| before.is(&stamp)) {
            return Prepared::default();
        }
        let before = self.listing.stamp.as_ref();
        let stands = before.is_some_and(|before| self.stands(before, &stamp, view, now));
        if self.kind == TableKind::Xray {
            let unfolded = self.faults || !self.filter.query.is_empty();
            let scope = self.scope.as_ref().map(Safe::as_str);
            let (owner, folds) = (self.owner.as_ref(), &self.folds);
            let seed = Seed { root: self.root, owner, scope, folds, unfolded };
            self.fetched.tree = Tree::grow(view, &seed);
        }
        if self.kind == TableKind::Hosts {
            self.fetched.count_beside(view);
        }
        // Lent for the while: the rows read must not be copied for each frame.
        let fetched = std::mem::take(&mut self.fetched);
        let rows = self.kind.rows(view, &fetched, now);
        let gone = if stands {
            self.listing.stamp = Some(stamp);
            0
        } else {
            self.list(rows.as_ref(), stamp)
        };
        let changed = self.kind != TableKind::Xray && self.compare(rows.as_ref(), height, now);
        drop(rows);
        self.fetched = fetched;
        Prepared { gone, changed }
    }

    /// Notes which figures of the rows in sight have changed.
    fn compare(&mut self, rows: &dyn Rows, height: u16, now: Time) -> bool {
        // Before the first frame nobody knows how many there is room for.
        let height = if height == 0 { 64 } else { usize::from(height) };
        let first = self.state.first(self.listing.rows.len(), height);
        let in_sight = self.listing.rows.iter().skip(first).take(height).map(|row| place(*row));
        let columns = self.columns();
        let mut deltas = std::mem::take(&mut self.deltas);
        let changed = deltas.compare(rows, in_sight, &columns, now);
        self.deltas = deltas;
        changed
    }

    fn list(&mut self, rows: &dyn Rows, stamp: Stamp) -> usize {
        let loaded = stamp.loaded;
        let mut chosen: Vec<u32> = Vec::with_capacity(rows.len());
        let mut total = 0;
        for row in 0..rows.len() {
            let (counts, shown) = self.verdict(rows, row);
            total += usize::from(counts);
            if shown {
                chosen.push(u32::try_from(row).unwrap_or(u32::MAX));
            }
        }
        let mut chosen = stands::as_before(chosen, &self.listing.rows, rows.len());
        order(&mut chosen, rows, self.order(), self.frozen.as_ref());
        self.listing = Listing { rows: chosen, total, stamp: Some(stamp) };
        let gone = self.forget_marks(rows, loaded);
        self.find_cursor(rows);
        gone
    }

    /// Takes marks off rows that no longer exist.
    fn forget_marks(&mut self, rows: &dyn Rows, loaded: bool) -> usize {
        if self.state.marks.is_empty() || !loaded {
            return 0;
        }
        let before = self.state.marks.len();
        let alive = (0..rows.len()).filter_map(|row| self.state.marks.get(rows.id(row)).cloned());
        self.state.marks = alive.collect();
        before - self.state.marks.len()
    }

    /// Puts the cursor where its id is now; if that is gone, the row in its place is selected.
    fn find_cursor(&mut self, rows: &dyn Rows) {
        if let Some(goal) = &self.goal {
            let found = self.listing.rows.iter().position(|row| {
                rows.name(place(*row)).as_str() == goal || rows.id(place(*row)) == goal
            });
            if let Some(found) = found {
                self.goal = None;
                self.state.position = found;
                return self.hold(rows);
            }
        }
        let chosen = self.state.selected.as_ref().filter(|_| !self.follows());
        let found = chosen.and_then(|id| {
            self.listing.rows.iter().position(|row| rows.id(place(*row)) == id.as_ref())
        });
        if let Some(found) = found {
            self.state.position = found;
        } else {
            self.state.position =
                self.state.position.min(self.listing.rows.len().saturating_sub(1));
            // Until the cursor is moved it stays at the top, whatever comes in there.
            if self.state.selected.is_some() {
                self.hold(rows);
            }
        }
    }

    /// Remembers the id under the cursor.
    pub fn hold(&mut self, rows: &dyn Rows) {
        self.state.selected = self.selected_row().map(|row| Arc::from(rows.id(row)));
    }

    /// The place in [`Rows`] of the row under the cursor.
    pub fn selected_row(&self) -> Option<usize> {
        self.listing.rows.get(self.state.position).map(|row| place(*row))
    }

    /// What acts are about: the marked things, or the one under the cursor.
    pub fn targets(&self, rows: &dyn Rows) -> Vec<TargetRef> {
        if self.state.marks.is_empty() {
            return self.selected_row().and_then(|row| rows.target(row)).into_iter().collect();
        }
        let marked = |row: &usize| self.state.marks.contains(rows.id(*row));
        let all = (0..rows.len()).filter(marked).filter_map(|row| rows.target(row));
        // Several lines of a tree are about one thing.
        let mut seen = BTreeSet::new();
        all.filter(|target| seen.insert((target.noun, target.id.clone()))).collect()
    }

    pub fn line(&self) -> String {
        let mut line = self.kind.name().to_owned();
        if self.root != Root::default() {
            line.push_str(&format!(" {}", self.root.name()));
        }
        if let Some(owner) = &self.owner {
            line.push_str(&format!(" in:{}/{}", owner.noun, words::plain(&owner.name)));
        }
        if let Some(scope) = &self.scope {
            line.push_str(&format!(" ns:{scope}"));
        }
        if !self.filter.line.is_empty() {
            line.push_str(" /");
            line.push_str(&self.filter.line);
        }
        let (column, descending) = self.kind.spec().sort;
        if self.sort != (Sort { column, descending }) {
            let way = if self.sort.descending { "desc" } else { "asc" };
            line.push_str(&format!(" sort:{}:{way}", self.sort.column));
        }
        for (on, word) in [(self.faults, " faults"), (self.wide, " wide")] {
            if on {
                line.push_str(word);
            }
        }
        line
    }

    pub fn crumb(&self) -> String {
        match &self.owner {
            Some(owner) => words::plain(&owner.name),
            None => self.kind.name().to_owned(),
        }
    }
}

/// A place in [`Rows`]; there are never more rows than 32 bits count.
pub fn place(row: u32) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}

fn order(
    chosen: &mut Vec<u32>,
    rows: &dyn Rows,
    sort: Sort,
    frozen: Option<&HashMap<Arc<str>, usize>>,
) {
    // Keys are taken once a row, not once a comparison. Equal keys stay in the order of the ids.
    let mut keyed: Vec<(SortKey<'_>, u32)> =
        chosen.iter().map(|row| (sort_key(rows, place(*row), sort.column), *row)).collect();
    if sort.descending {
        keyed.sort_by(|(a, x), (b, y)| b.cmp(a).then(x.cmp(y)));
    } else {
        keyed.sort_by(|(a, x), (b, y)| a.cmp(b).then(x.cmp(y)));
    }
    chosen.clear();
    chosen.extend(keyed.into_iter().map(|(_, row)| row));
    if let Some(frozen) = frozen {
        // What came later stands at the end.
        chosen.sort_by_key(|row| frozen.get(rows.id(place(*row))).copied().unwrap_or(usize::MAX));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tui::testing::{many, now};

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_the_one_before(
            before in proptest::collection::vec(0_u32..60, 0..80),
            queues in proptest::collection::vec(0_u64..9, 40),
            descending: bool,
        ) {
            let mut view = many(40);
            let rows = view.agents.iter().zip(queues).map(|(row, pending)| {
                let mut row = row.as_ref().clone();
                row.queue.pending = pending;
                Arc::new(row)
            });
            view.agents = rows.collect();
            let sorted = |before: Vec<u32>| {
                let mut page = TablePage::new(TableKind::Agents);
                page.sort_by("queue");
                page.sort.descending = descending;
                page.listing.rows = before;
                page.prepare(&view, 40, now());
                page.listing.rows
            };
            let fresh = sorted(Vec::new());
            prop_assert_eq!(fresh.len(), 40);
            prop_assert_eq!(sorted(before), fresh);
        }
    }
}
