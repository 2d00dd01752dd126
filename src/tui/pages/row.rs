//! What a kind of row must be able to say, so that one table shows, sorts, filters and describes them all.

use std::borrow::Cow;

use ratatui::style::Style;

use crate::model::filter::query::{FieldSpec, RowQuery};
use crate::model::plan::TargetRef;
use crate::model::text::{Align, Safe};
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::Pieces;

/// What is the same for every page of a kind.
#[derive(Debug)]
pub struct Spec {
    pub scope: Scope,
    pub columns: &'static [Column],
    /// The typed terms of its filter.
    pub fields: &'static [FieldSpec],
    /// The column it is sorted by at first, and whether that descends.
    pub sort: (&'static str, bool),
    /// What its keys do, in a word, for the bottom line; the most used first.
    pub hints: &'static [(Action, &'static str)],
    /// What stands there when there are no rows at all.
    pub empty: &'static str,
}

/// A column that every view of its table shows.
pub const fn column(key: &'static str, title: &'static str, width: Width, align: Align) -> Column {
    Column { key, title, width, align, wide: false }
}

/// A column of the wide view alone.
pub const fn wide(key: &'static str, title: &'static str, width: u16, align: Align) -> Column {
    Column { key, title, width: Width::Fixed(width), align, wide: true }
}

/// A column that takes its share of what is left over.
pub const fn flex(min: u16, weight: u16) -> Width {
    Width::Flex { min, weight }
}

pub const LEFT: Align = Align::Left;
pub const RIGHT: Align = Align::Right;

/// What rows are sorted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortKey<'a> {
    /// Comes first: what is not known.
    Nothing,
    Number(i64),
    Text(Cow<'a, str>),
}

impl From<u64> for SortKey<'_> {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for SortKey<'_> {
    fn from(number: u32) -> Self {
        Self::Number(i64::from(number))
    }
}

impl<'a> From<&'a Safe> for SortKey<'a> {
    fn from(text: &'a Safe) -> Self {
        Self::Text(Cow::Borrowed(text.as_str()))
    }
}

impl<'a> From<&'a str> for SortKey<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a, T: Into<SortKey<'a>>> From<Option<T>> for SortKey<'a> {
    fn from(key: Option<T>) -> Self {
        key.map_or(Self::Nothing, Into::into)
    }
}

/// The rows of one kind, as they are in one view.
pub trait Rows {
    fn len(&self) -> usize;
    /// The row's id, for ever.
    fn id(&self, row: usize) -> &str;
    /// What it is called, for people.
    fn name(&self, row: usize) -> &Safe;
    /// The thing that acts on this row are about; `None` when there is nothing to act on.
    fn target(&self, row: usize) -> Option<TargetRef>;
    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText);
    fn sort_key(&self, row: usize, column: &str) -> SortKey<'_>;
    /// Whether something is wrong with it.
    fn is_fault(&self, row: usize) -> bool;
    fn matches(&self, row: usize, query: &RowQuery) -> bool;
    /// Whether it belongs to the thing that the page was opened for.
    fn is_within(&self, row: usize, owner: &TargetRef) -> bool;
    /// Whether it is a row of this page at all.
    fn is_listed(&self, _row: usize) -> bool {
        true
    }
    /// A style under the whole row.
    fn style(&self, row: usize, look: Look<'_>) -> Option<Style>;
    /// The side pane's lines about it.
    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces>;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
