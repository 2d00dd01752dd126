//! Typed terms: `queue>100`, `age<2h`, `memory>=512Mi`, `state=failed,paused`, `name~^ocr`, `err%>2`.

use std::borrow::Cow;

use regex::Regex;

use super::{BadQuery, parse_age, smart_regex};
use crate::model::quantity::{Bytes, Cpu};
use crate::model::time::Time;

/// What a field holds, and so how the value beside it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    Text,
    /// A plain number, also a percentage.
    Number,
    /// Thousandths of a core.
    Cpu,
    Bytes,
    /// How long ago: the row gives the moment.
    Age,
}

/// A field that typed terms may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    pub kind: FieldKind,
}

/// What a row has in a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Found<'a> {
    Text(Cow<'a, str>),
    Number(f64),
    /// The moment from which an age counts.
    Since(Time),
    /// Nothing: no comparison holds but `!=`.
    Absent,
}

impl<'a> From<&'a str> for Found<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<u64> for Found<'_> {
    #[expect(clippy::cast_precision_loss, reason = "compared with what somebody typed")]
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<u32> for Found<'_> {
    fn from(number: u32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<Option<u64>> for Found<'_> {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::Absent, Self::from)
    }
}

impl From<Time> for Found<'_> {
    fn from(time: Time) -> Self {
        Self::Since(time)
    }
}

impl From<Option<Time>> for Found<'_> {
    fn from(time: Option<Time>) -> Self {
        time.map_or(Self::Absent, Self::Since)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    Like,
}

/// The longer ones first: `>=` is not `>`.
const OPERATORS: [(&str, Operator); 8] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("!=", Operator::Unequal),
    ("==", Operator::Equal),
    ("=", Operator::Equal),
    (">", Operator::More),
    ("<", Operator::Less),
    ("~", Operator::Like),
];

/// One condition.
#[derive(Debug, Clone)]
pub struct Term {
    /// As its [`FieldSpec`] names it.
    pub field: &'static str,
    operator: Operator,
    wanted: Wanted,
}

#[derive(Debug, Clone)]
enum Wanted {
    /// Any of these, without regard to case.
    Texts(Vec<String>),
    Regex(Regex),
    /// A number in the field's own unit; an age in milliseconds.
    Number(f64),
}

/// Reads one word; `None` when it is no term but part of a regex.
pub(super) fn parse(word: &str, fields: &[FieldSpec], at: usize) -> Result<Option<Term>, BadQuery> {
    let name_end =
        word.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '%' | '-')));
    let Some(name_end) = name_end.filter(|end| *end > 0) else { return Ok(None) };
    let (name, rest) = word.split_at(name_end);
    let Some((sign, operator)) = OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign))
    else {
        return Ok(None);
    };
    let lower = name.to_ascii_lowercase();
    let known = |spec: &&FieldSpec| spec.name == lower || spec.aliases.contains(&lower.as_str());
    let Some(spec) = fields.iter().find(known) else {
        // `timeout=30` may well be looked for in the text; `sate=failed` is a slip of the finger.
        let near = fields.iter().find(|spec| is_slip(&lower, spec.name));
        return match near {
            Some(spec) => Err(BadQuery {
                what: format!("there is no field {name:?}"),
                hint: format!("did you mean {}?", spec.name),
                at: at..at + name_end,
            }),
            None => Ok(None),
        };
    };
    let value = rest[sign.len()..].replace('"', "");
    let wrong = |what: String| BadQuery { what, hint: String::new(), at: at..at + word.len() };
    let wanted = wanted(spec, operator, &value).map_err(wrong)?;
    Ok(Some(Term { field: spec.name, operator, wanted }))
}

fn wanted(spec: &FieldSpec, operator: Operator, value: &str) -> Result<Wanted, String> {
    let FieldSpec { name, kind, .. } = spec;
    if value.is_empty() {
        return Err(format!("{name} needs a value"));
    }
    if operator == Operator::Like {
        return smart_regex(value).map(Wanted::Regex);
    }
    let number = match kind {
        FieldKind::Text => {
            if !matches!(operator, Operator::Equal | Operator::Unequal) {
                return Err(format!("{name} is text: use =, != or ~"));
            }
            return Ok(Wanted::Texts(value.split(',').map(str::to_lowercase).collect()));
        }
        FieldKind::Number => value.trim_end_matches('%').parse().ok(),
        FieldKind::Cpu => value.parse().ok().and_then(|Cpu(millis)| as_number(millis)),
        FieldKind::Bytes => value.parse().ok().and_then(|Bytes(bytes)| as_number(bytes)),
        FieldKind::Age => parse_age(value).map(|age| age.as_secs_f64() * 1000.0),
    };
    let expected = match kind {
        FieldKind::Text | FieldKind::Number => "a number",
        FieldKind::Cpu => "cpu such as 500m or 1.5",
        FieldKind::Bytes => "a size such as 512Mi",
        FieldKind::Age => "a span such as 90s, 5m, 2h or 1d",
    };
    number
        .filter(|number: &f64| number.is_finite())
        .map(Wanted::Number)
        .ok_or_else(|| format!("{name}: expected {expected}, got {value:?}"))
}

fn as_number(n: u64) -> Option<f64> {
    match Found::from(n) {
        Found::Number(number) => Some(number),
        Found::Text(_) | Found::Since(_) | Found::Absent => None,
    }
}

/// One letter too many, too few, wrong, or two swapped.
fn is_slip(typed: &str, meant: &str) -> bool {
    let (a, b) = (typed.as_bytes(), meant.as_bytes());
    if a.len().abs_diff(b.len()) > 1 || a.len() < 3 {
        return false;
    }
    let front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[front..], &b[front..]);
    let back = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[..a.len() - back], &b[..b.len() - back]);
    matches!((a, b), ([], [_]) | ([_], [] | [_]))
        || matches!((a, b), ([x, y], [z, w]) if x == w && y == z)
}

impl Term {
    pub(super) fn holds(&self, found: &Found<'_>, now: Time) -> bool {
        let unequal = self.operator == Operator::Unequal;
        match (&self.wanted, found) {
            (_, Found::Absent) => unequal,
            (Wanted::Texts(texts), Found::Text(text)) => {
                texts.iter().any(|wanted| {
                    wanted.eq_ignore_ascii_case(text) || *wanted == text.to_lowercase()
                }) != unequal
            }
            (Wanted::Regex(regex), Found::Text(text)) => regex.is_match(text),
            (Wanted::Regex(regex), Found::Number(number)) => regex.is_match(&number.to_string()),
            (Wanted::Number(wanted), Found::Number(number)) => self.compare(*number, *wanted),
            (Wanted::Number(wanted), Found::Since(since)) => {
                self.compare(now.since(*since).as_secs_f64() * 1000.0, *wanted)
            }
            (Wanted::Texts(_), Found::Number(_) | Found::Since(_))
            | (Wanted::Number(_), Found::Text(_))
            | (Wanted::Regex(_), Found::Since(_)) => unequal,
        }
    }

    #[expect(clippy::float_cmp, reason = "both came from the same decimal text or count")]
    fn compare(&self, found: f64, wanted: f64) -> bool {
        match self.operator {
            Operator::Equal => found == wanted,
            Operator::Unequal => found != wanted,
            Operator::Less => found < wanted,
            Operator::AtMost => found <= wanted,
            Operator::More => found > wanted,
            Operator::AtLeast => found >= wanted,
            Operator::Like => false,
        }
    }
}
