//! The operator's filter language, as typed after `/` and given to `--filter`: words are regular
//! expressions over a row's text, `!word` those that must not match, `"a phrase"` plain text, `-f txt`
//! a fuzzy search, `-l tier=gold` labels, and `queue>100 age<2h state=failed from~^ocr` typed terms.
//! All of them must hold. It sees rows through [`Row`] and knows nothing of agents or pools.

mod parse;
mod suggest;
mod term;

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use nucleo_matcher::pattern::Pattern as Fuzzy;
use nucleo_matcher::{Matcher, Utf32Str};
use regex::Regex;
use unicode_segmentation::UnicodeSegmentation;

use super::{Filter, Selector};
use crate::model::quantity::{Bytes, Cpu};

pub use suggest::closest;
use term::Term;

/// What can be filtered: a line of a table and the values behind it.
pub trait Row {
    /// Appends the row as it is searched: its cells with a space between them, the name first.
    fn text(&self, out: &mut String);

    /// What a fuzzy search looks at; the whole text if there is no name.
    fn name(&self) -> Option<&str> {
        None
    }

    fn label(&self, key: &str) -> Option<&str>;

    /// The value of a field of the page, by its name in [`FieldSpec`]; None if this row has none.
    fn field(&self, name: &str) -> Option<FieldValue<'_>>;
}

/// A value behind a cell, in the kind that the page's [`FieldSpec`] announced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue<'a> {
    Text(&'a str),
    Number(f64),
    Cpu(Cpu),
    Size(Bytes),
    Duration(Duration),
    /// 100 is all.
    Percent(f64),
}

/// How a field's values are written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// `= != ~ !~ in notin`; equal without regard to case unless the wanted text has capitals.
    Text,
    /// `100`, `1.5`, `2k`, `3M`
    Number,
    /// `500m`, `0.5`
    Cpu,
    /// `1Gi`, `500M`
    Size,
    /// `30s`, `5m`, `2h`, `3d`, `1h30m`
    Duration,
    /// `2`, `2%`
    Percent,
    /// A text or a number, as the row has it.
    Any,
}

/// A field that a page's rows can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// Lower case. One that ends with `*`, such as `payload.*`, stands for all that begin so.
    pub name: &'static str,
    pub kind: FieldKind,
    /// The path at which documents keep the same value in the same unit, a text always in lower case;
    /// None where a row's value is worked out or written in another way.
    pub store: Option<&'static str>,
}

impl FieldSpec {
    pub const fn new(name: &'static str, kind: FieldKind) -> Self {
        Self { name, kind, store: None }
    }

    #[must_use]
    pub const fn stored(self, path: &'static str) -> Self {
        Self { store: Some(path), ..self }
    }
}

/// What is wrong with a filter, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// Bytes before the place, for an underline; always at a character's boundary.
    pub at: usize,
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl FilterError {
    pub(super) fn new(at: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

impl std::error::Error for FilterError {}

/// A compiled filter. Matching allocates nothing per row.
#[derive(Debug, Clone, Default)]
pub struct RowQuery {
    labels: Selector,
    terms: Vec<Term>,
    words: Vec<Word>,
    fuzzy: Option<Fuzzy>,
}

#[derive(Debug, Clone)]
struct Word {
    regex: Regex,
    /// Whether it must not match.
    inverse: bool,
}

/// Buffers that live as long as their thread, so that a row costs no allocation.
#[derive(Default)]
struct Scratch {
    text: String,
    chars: Vec<char>,
    matcher: Matcher,
}

thread_local! {
    // Taken out while in use: a row that filters others inside its own `text` gets a new one.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

fn with_scratch<T>(act: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = act(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

impl RowQuery {
    /// Compiles what was typed after `/` for a page with these fields. Nothing but spaces matches all.
    ///
    /// # Errors
    /// [`FilterError`] for a regular expression, selector, field or value that is wrong, with its place.
    pub fn parse(text: &str, fields: &[FieldSpec]) -> Result<Self, FilterError> {
        parse::query(text, fields)
    }

    /// Whether every row matches.
    pub fn is_empty(&self) -> bool {
        let Self { labels, terms, words, fuzzy } = self;
        labels.is_empty() && terms.is_empty() && words.is_empty() && fuzzy.is_none()
    }

    /// Cheap questions first; the row's text is written only if somebody asks for it.
    pub fn matches(&self, row: &impl Row) -> bool {
        self.labels.matches_with(|key| row.label(key))
            && self.terms.iter().all(|term| term.holds(row))
            && self.matches_text(row)
    }

    fn matches_text(&self, row: &impl Row) -> bool {
        if self.words.is_empty() && self.fuzzy.is_none() {
            return true;
        }
        with_scratch(|Scratch { text, chars, matcher }| {
            text.clear();
            let name = row.name();
            if !self.words.is_empty() || name.is_none() {
                row.text(text);
            }
            self.words.iter().all(|word| word.regex.is_match(text) != word.inverse)
                && self.fuzzy.as_ref().is_none_or(|fuzzy| {
                    let hay = Utf32Str::new(name.unwrap_or(text), chars);
                    fuzzy.score(hay, matcher).is_some()
                })
        })
    }

    /// The byte ranges of `text` (a cell, or the row) that words and the fuzzy search match: in order,
    /// not empty, not overlapping.
    pub fn highlight(&self, text: &str) -> Vec<Range<usize>> {
        let words = self.words.iter().filter(|word| !word.inverse);
        let found = words.flat_map(|word| word.regex.find_iter(text).map(|found| found.range()));
        let mut ranges: Vec<_> = found.chain(self.fuzzy_ranges(text)).collect();
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, kept| {
            let joined = next.start <= kept.end;
            if joined {
                kept.end = kept.end.max(next.end);
            }
            joined
        });
        ranges
    }

    fn fuzzy_ranges(&self, text: &str) -> Vec<Range<usize>> {
        let Some(fuzzy) = &self.fuzzy else { return Vec::new() };
        let mut indices = Vec::new();
        let found = with_scratch(|Scratch { chars, matcher, .. }| {
            fuzzy.indices(Utf32Str::new(text, chars), matcher, &mut indices).is_some()
        });
        if !found {
            return Vec::new();
        }
        indices.sort_unstable();
        indices.dedup();
        // The matcher counts grapheme clusters.
        let clusters: Vec<_> = text.grapheme_indices(true).collect();
        let at = |index: &u32| clusters.get(usize::try_from(*index).ok()?);
        indices.iter().filter_map(at).map(|(at, cluster)| *at..*at + cluster.len()).collect()
    }

    /// The part of it that the store can answer, for documents that keep labels in `labels`; and
    /// whether something is left over, so that the documents found must still pass
    /// [`RowQuery::matches`]. The filter never leaves out what would match.
    pub fn to_store(&self) -> (Filter, bool) {
        let (mut filter, mut residual) = self.labels.to_store();
        for term in &self.terms {
            match term.to_store() {
                Some(part) => filter = filter.and(part),
                None => residual = true,
            }
        }
        (filter, residual || !self.words.is_empty() || self.fuzzy.is_some())
    }
}

#[cfg(test)]
mod tests;
