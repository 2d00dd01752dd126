//! The filter line that operators type, in the console after `/` and on the command line after `--filter`:
//! a regex (smart-case over the whole row), `!regex`, `-f fuzzy`, `-l tier=gold,env!=dev`, and typed terms such as
//! `queue>100 age<2h state=failed,paused name~^ocr`, all of which must hold. It never asks a store.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

mod selector;
mod term;

pub use selector::{LabelTerm, parse_selector};
pub use term::{FieldKind, FieldSpec, Found, Term};

/// A regex's compiled size stays below this, so that no line typed eats the memory.
const LARGEST_REGEX: usize = 1 << 20;

/// A row that a line can be held against.
pub trait Row {
    /// Appends what a person sees of the row, with blanks between the columns.
    fn text(&self, out: &mut String);
    /// The value of the field called `name`, one of the [`FieldSpec`]s that the line was parsed with.
    fn field(&self, name: &str) -> Found<'_>;
    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        None
    }
}

/// A line, understood.
#[derive(Debug, Clone, Default)]
pub struct Query {
    terms: Vec<Term>,
    labels: Vec<LabelTerm>,
    pattern: Option<Pattern>,
}

#[derive(Debug, Clone)]
enum Pattern {
    Regex { regex: Regex, inverse: bool },
    Fuzzy(Vec<char>),
}

/// What is wrong with a line, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", if hint.is_empty() { String::new() } else { format!(" ({hint})") })]
pub struct BadQuery {
    pub what: String,
    pub hint: String,
    /// The bytes of the line that are meant.
    pub at: Range<usize>,
}

impl Query {
    /// Reads `line`; `fields` are the typed terms that the rows know.
    ///
    /// # Errors
    /// [`BadQuery`] when the regex, a term's value or the selector is wrong, or a field is misspelt.
    pub fn parse(line: &str, fields: &[FieldSpec]) -> Result<Self, BadQuery> {
        let mut query = Self::default();
        let mut free: Vec<Range<usize>> = Vec::new();
        let mut words = words(line).peekable();
        while let Some(word) = words.next() {
            let text = &line[word.clone()];
            match text {
                "-l" | "-f" => {
                    let begin = words.peek().map_or(line.len(), |next| next.start);
                    while words
                        .next_if(|next| !matches!(&line[next.clone()], "-l" | "-f"))
                        .is_some()
                    {}
                    let end = words.peek().map_or(line.len(), |next| next.start);
                    let rest = line[begin..end].trim();
                    if text == "-l" {
                        query.labels.extend(parse_selector(rest).map_err(|what| BadQuery {
                            what,
                            hint: "write tier=gold,env!=dev,!old,zone in (a,b)".into(),
                            at: begin..end,
                        })?);
                    } else if !rest.is_empty() {
                        query.pattern = Some(Pattern::Fuzzy(rest.to_lowercase().chars().collect()));
                    }
                }
                _ => match term::parse(text, fields, word.start)? {
                    Some(term) => query.terms.push(term),
                    None => free.push(word),
                },
            }
        }
        if let (Some(first), Some(last)) = (free.first(), free.last()) {
            // Terms may stand between the words of a regex; without any, its blanks are kept as typed.
            let whole = first.start..last.end;
            let between = query.terms.is_empty() && query.labels.is_empty();
            let text: Cow<'_, str> = if between && query.pattern.is_none() {
                Cow::Borrowed(&line[whole.clone()])
            } else {
                Cow::Owned(
                    free.iter().map(|word| &line[word.clone()]).collect::<Vec<_>>().join(" "),
                )
            };
            query.pattern = Some(pattern(&text, whole)?);
        }
        Ok(query)
    }

    /// Whether it holds for every row.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.labels.is_empty() && self.pattern.is_none()
    }

    /// Whether it holds for `row`. `scratch` is only there to be used again from row to row.
    pub fn matches(
        &self,
        row: &impl Row,
        now: crate::model::time::Time,
        scratch: &mut String,
    ) -> bool {
        self.terms.iter().all(|term| term.holds(&row.field(term.field), now))
            && (self.labels.is_empty() || selector::holds(&self.labels, row.labels()))
            && match &self.pattern {
                None => true,
                Some(pattern) => {
                    scratch.clear();
                    row.text(scratch);
                    pattern.holds(scratch)
                }
            }
    }

    /// Which parts of a cell's text the regex is about, for highlighting.
    pub fn hits(&self, cell: &str) -> Vec<Range<usize>> {
        match &self.pattern {
            Some(Pattern::Regex { regex, inverse: false }) => {
                regex.find_iter(cell).map(|hit| hit.range()).filter(|hit| !hit.is_empty()).collect()
            }
            Some(Pattern::Regex { .. } | Pattern::Fuzzy(_)) | None => Vec::new(),
        }
    }
}

impl Pattern {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Regex { regex, inverse } => regex.is_match(text) != *inverse,
            // In the letters of one word, or every row with enough text would do.
            Self::Fuzzy(wanted) => text.split_ascii_whitespace().any(|word| {
                let mut typed = wanted.iter().peekable();
                word.chars().flat_map(char::to_lowercase).for_each(|c| {
                    typed.next_if(|wanted| **wanted == c);
                });
                typed.peek().is_none()
            }),
        }
    }
}

fn pattern(text: &str, at: Range<usize>) -> Result<Pattern, BadQuery> {
    let (text, inverse) = match text.strip_prefix('!') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let regex = smart_regex(text).map_err(|what| BadQuery { what, hint: String::new(), at })?;
    Ok(Pattern::Regex { regex, inverse })
}

/// Compiles a regex that heeds case only when it has an upper-case letter.
///
/// # Errors
/// Says in one line what is wrong with it.
pub fn smart_regex(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .case_insensitive(!text.chars().any(char::is_uppercase))
        .size_limit(LARGEST_REGEX)
        .build();
    built.map_err(|error| {
        let said = error.to_string();
        let line = said.lines().rev().find(|line| line.starts_with("error: "));
        let why = line.map_or(said.as_str(), |line| &line["error: ".len()..]);
        format!("no regex: {}", why.lines().next().unwrap_or_default())
    })
}

/// The words of a line; a part in quotes belongs to its word.
fn words(line: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let begin = at + line[at..].find(|c: char| !c.is_whitespace())?;
        let mut quoted = false;
        let end = line[begin..].find(|c: char| {
            quoted ^= c == '"';
            c.is_whitespace() && !quoted
        });
        at = end.map_or(line.len(), |end| begin + end);
        Some(begin..at)
    })
}

/// Reads a span of time as a table shows it: `90s`, `5m`, `2h`, `1d`, `1h30m`.
pub(crate) fn parse_age(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [
            ("ms", 0.001),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
            ("d", 86400.0),
            ("w", 604_800.0),
        ];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| {
            rest.strip_prefix(unit).is_some_and(|after| !after.starts_with(char::is_alphabetic))
        })?;
        rest = &rest[unit.len()..];
        #[expect(clippy::cast_precision_loss, reason = "a filter needs no more than 15 digits")]
        let span = Duration::try_from_secs_f64(number as f64 * seconds).ok()?;
        total = total.checked_add(span)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests;
