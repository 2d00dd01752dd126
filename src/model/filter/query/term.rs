//! One typed term, `queue>100`: a field, a comparison, and the value in the field's own unit. A field
//! that a row lacks is unequal to everything and in no order, as in the store's filter.

use std::cmp::Ordering;
use std::time::Duration;

use regex::Regex;
use serde_json::{Number, Value};

use super::{FieldKind, FieldValue, Row};
use crate::model::filter::value::same_text_ignoring_case;
use crate::model::filter::{Field, Filter};
use crate::model::quantity::{Bytes, Cpu};

#[derive(Debug, Clone)]
pub(super) struct Term {
    pub(super) field: String,
    pub(super) inverse: bool,
    pub(super) test: Test,
    pub(super) store: Option<Field>,
}

#[derive(Debug, Clone)]
pub(super) enum Test {
    /// One of these is equal.
    AnyOf(Vec<Wanted>),
    Order(Compare, Wanted),
    Regex(Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value to compare with, in the unit of its field: cores in thousandths, bytes, seconds, percent.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Text(String),
    Amount(f64),
    /// For a field of any kind: its text, and the number if it is one.
    Either(String, Option<f64>),
}

impl Term {
    pub(super) fn holds(&self, row: &impl Row) -> bool {
        let own = row.field(&self.field);
        let found = match &self.test {
            Test::AnyOf(wanted) => wanted.iter().any(|wanted| wanted.equals(own)),
            Test::Order(compare, wanted) => {
                own.and_then(|own| wanted.order_of(own)).is_some_and(|order| compare.holds(order))
            }
            Test::Regex(regex) => match own {
                Some(FieldValue::Text(text)) => regex.is_match(text),
                Some(FieldValue::Number(number)) => regex.is_match(&number.to_string()),
                _ => false,
            },
        };
        found != self.inverse
    }

    pub(super) fn to_store(&self) -> Option<Filter> {
        let field = self.store.clone()?;
        let filter = match &self.test {
            Test::Regex(_) => return None,
            Test::AnyOf(wanted) => {
                let values = wanted.iter().map(Wanted::to_json).collect::<Option<Vec<_>>>()?;
                match <[Value; 1]>::try_from(values) {
                    Ok([value]) => Filter::Eq(field, value),
                    Err(values) => Filter::In(field, values),
                }
            }
            Test::Order(compare, wanted) => {
                let value = wanted.to_json()?;
                match compare {
                    Compare::Less => Filter::Lt(field, value),
                    Compare::LessOrEqual => Filter::Lte(field, value),
                    Compare::Greater => Filter::Gt(field, value),
                    Compare::GreaterOrEqual => Filter::Gte(field, value),
                }
            }
        };
        Some(if self.inverse { Filter::Not(Box::new(filter)) } else { filter })
    }
}

impl Compare {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Wanted {
    /// Reads `text` in the unit of `kind`; the error says what was expected.
    pub(super) fn read(text: &str, kind: FieldKind) -> Result<Self, String> {
        let amount = |amount| Ok(Self::Amount(amount));
        match kind {
            FieldKind::Text => Ok(Self::Text(text.to_owned())),
            FieldKind::Any => Ok(Self::Either(text.to_owned(), number(text))),
            FieldKind::Number => {
                number(text).map_or_else(|| Err(bad("a number such as 100 or 2k", text)), amount)
            }
            FieldKind::Percent => number(text.strip_suffix('%').unwrap_or(text))
                .map_or_else(|| Err(bad("a percentage such as 2 or 2%", text)), amount),
            FieldKind::Cpu => {
                let cpu: Cpu = text.parse().map_err(|error| format!("{error}"))?;
                amount(cpu.0 as f64)
            }
            FieldKind::Size => {
                let bytes: Bytes = text.parse().map_err(|error| format!("{error}"))?;
                amount(bytes.0 as f64)
            }
            FieldKind::Duration => match span(text) {
                Some(span) => amount(span.as_secs_f64()),
                None => Err(bad("a span of time such as 30s, 5m, 2h or 3d", text)),
            },
        }
    }

    fn equals(&self, own: Option<FieldValue<'_>>) -> bool {
        match (self, own) {
            // An empty wish is how one asks for rows without the value.
            (Self::Text(text) | Self::Either(text, _), None) => text.is_empty(),
            (Self::Text(text) | Self::Either(text, _), Some(FieldValue::Text(own))) => {
                if text.chars().any(char::is_uppercase) {
                    text == own
                } else {
                    same_text_ignoring_case(text, own)
                }
            }
            (wanted, Some(own)) => wanted.order_of(own) == Some(Ordering::Equal),
            (Self::Amount(_), None) => false,
        }
    }

    fn order_of(&self, own: FieldValue<'_>) -> Option<Ordering> {
        match (self, own) {
            (Self::Either(_, Some(wanted)), FieldValue::Text(own)) => {
                number(own)?.partial_cmp(wanted)
            }
            (Self::Text(wanted) | Self::Either(wanted, None), FieldValue::Text(own)) => {
                Some(own.as_bytes().cmp(wanted.as_bytes()))
            }
            (Self::Amount(wanted) | Self::Either(_, Some(wanted)), own) => {
                own.amount()?.partial_cmp(wanted)
            }
            (Self::Text(_) | Self::Either(_, None), _) => None,
        }
    }

    /// None where the store may judge differently than a row does.
    fn to_json(&self) -> Option<Value> {
        match self {
            Self::Text(text) if text.is_empty() => None,
            Self::Text(text) => Some(Value::from(text.as_str())),
            Self::Amount(amount) if amount.fract() == 0.0 && amount.abs() < 9e15 => {
                Some(Value::from(*amount as i64))
            }
            Self::Amount(amount) => Number::from_f64(*amount).map(Value::Number),
            Self::Either(..) => None,
        }
    }
}

impl FieldValue<'_> {
    fn amount(self) -> Option<f64> {
        match self {
            Self::Text(_) => None,
            Self::Number(number) | Self::Percent(number) => Some(number),
            Self::Cpu(cpu) => Some(cpu.0 as f64),
            Self::Size(bytes) => Some(bytes.0 as f64),
            Self::Duration(span) => Some(span.as_secs_f64()),
        }
    }
}

fn bad(expected: &str, text: &str) -> String {
    format!("expected {expected}, got {text:?}")
}

fn number(text: &str) -> Option<f64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    // The parser would also take "nan", "inf" and exponents.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    digits.parse::<f64>().ok().filter(|_| plain).map(|number| number * factor)
}

/// `90s`, `1h30m`, `2d`: numbers with their units, added up.
fn span(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            "w" => Duration::from_secs(604_800),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(amount)?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}
