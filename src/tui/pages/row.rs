//! What a kind of row must be able to say, so that one table shows, sorts, filters and describes them all.

use std::borrow::Cow;

use ratatui::style::Style;
use serde_json::{Map, Value};

use crate::model::filter::query::{FieldSpec, FieldValue, Row, RowQuery};
use crate::model::plan::TargetRef;
use crate::model::quantity::{human_age, human_bytes};
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
    /// Whether it belongs to a tenant; what has none belongs to all.
    fn is_of(&self, _row: usize, _tenant: &Safe) -> bool {
        true
    }
    /// Whether it is a row of this page at all.
    fn is_listed(&self, _row: usize) -> bool {
        true
    }
    /// Shows the row to `act` as the filter sees it, where it can be seen so.
    fn seen(&self, _row: usize, _act: &mut dyn FnMut(&dyn Row)) {}
    /// The stored document behind it, where that is at hand.
    fn document(&self, _row: usize) -> Option<&Map<String, Value>> {
        None
    }
    /// A style under the whole row.
    fn style(&self, row: usize, look: Look<'_>) -> Option<Style>;
    /// The side pane's lines about it.
    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces>;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether a column takes its values from a place that a user's file names: `label.tier`, `field.node`, `/payload/id`.
pub fn is_custom(key: &str) -> bool {
    key.starts_with("label.") || key.starts_with("field.") || key.starts_with('/')
}

/// One cell, of the table's own columns or of a user's.
pub fn cell(rows: &dyn Rows, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
    if !is_custom(column.key) {
        return rows.cell(row, column, look, out);
    }
    if let Some((text, _)) = custom(rows, row, column.key) {
        out.safe(&Safe::new(&text));
    }
}

/// What a row is sorted by, in any column.
pub fn sort_key<'a>(rows: &'a dyn Rows, row: usize, column: &str) -> SortKey<'a> {
    if !is_custom(column) {
        return rows.sort_key(row, column);
    }
    match custom(rows, row, column) {
        Some((_, Some(number))) => SortKey::Number(number),
        Some((text, None)) => SortKey::Text(Cow::Owned(text)),
        None => SortKey::Nothing,
    }
}

/// A value from a place of the user's, as text and, if it is one, as a number to sort by.
fn custom(rows: &dyn Rows, row: usize, place: &str) -> Option<(String, Option<i64>)> {
    if let Some(path) = place.strip_prefix('/') {
        let (first, _) = path.split_once('/').unwrap_or((path, ""));
        let top = rows.document(row)?.get(first)?;
        let value = top.pointer(&path[first.len()..])?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return Some((text, value.as_f64().map(thousandths)));
    }
    let mut found = None;
    rows.seen(row, &mut |row| {
        found = if let Some(label) = place.strip_prefix("label.") {
            row.label(label).map(|text| (text.to_owned(), None))
        } else {
            place.strip_prefix("field.").and_then(|field| row.field(field)).map(told)
        };
    });
    found
}

fn told(value: FieldValue<'_>) -> (String, Option<i64>) {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    match value {
        FieldValue::Text(text) => (text.to_owned(), None),
        FieldValue::Number(number) if number.fract() == 0.0 => {
            (format!("{number:.0}"), Some(thousandths(number)))
        }
        FieldValue::Number(number) => (format!("{number:.1}"), Some(thousandths(number))),
        FieldValue::Cpu(cpu) => (cpu.to_string(), Some(whole(cpu.0))),
        FieldValue::Size(bytes) => (human_bytes(bytes.0), Some(whole(bytes.0))),
        FieldValue::Duration(span) => {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            (human_age(span), Some(whole(millis)))
        }
        FieldValue::Percent(share) => (format!("{share:.0}%"), Some(thousandths(share))),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "only an order is made of it, and the cast keeps that"
)]
fn thousandths(number: f64) -> i64 {
    (number * 1_000.0) as i64
}
