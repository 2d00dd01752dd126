//! Which documents are meant: the typed filter that the store port takes, with the one evaluation
//! that every adapter must agree with; and what operators write, the filter language ([`query`]) and
//! label selectors ([`selector`]), which are partly made into it. It never speaks SQL or AQL.

pub mod query;
pub mod selector;

mod value;

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

pub use query::{FieldKind, FieldSpec, FieldValue, FilterError, Row, RowQuery};
pub use selector::Selector;
pub use value::{in_order, same, same_text_ignoring_case};

/// A dotted path into a document: `phase`, `health.status`, `labels.app`, `_key`. Each segment is
/// `[A-Za-z_][A-Za-z0-9_\-/]*`, so a path can be part of a statement in any store's language.
///
/// A key that itself has a dot or another character cannot be reached by a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(Cow<'static, str>);

/// Why a text is no [`Field`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a dotted path such as health.status, of letters, digits, '_', '-' and '/', got {text:?}"
)]
pub struct BadField {
    text: String,
}

/// Longest path in bytes.
const MAX_PATH: usize = 256;

impl Field {
    /// # Errors
    /// [`BadField`] when a segment is empty or has a character beyond the rule above.
    pub fn new(path: &str) -> Result<Self, BadField> {
        if is_path(path) {
            Ok(Self(Cow::Owned(path.to_owned())))
        } else {
            Err(BadField { text: path.chars().take(80).collect() })
        }
    }

    /// The field of a path written in our own code, best as a constant.
    ///
    /// # Panics
    /// When the path breaks the rule of [`Field::new`]: in a constant that stops the build.
    pub const fn of(path: &'static str) -> Self {
        assert!(is_path(path), "a path in the code must be a valid field");
        Self(Cow::Borrowed(path))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// What the document has there: null if anything on the way is missing or no object.
    pub fn of_document<'a>(&self, document: &'a Map<String, Value>) -> &'a Value {
        const NOTHING: &Value = &Value::Null;
        let mut segments = self.segments();
        let first = segments.next().and_then(|segment| document.get(segment));
        let found =
            segments.try_fold(first.unwrap_or(NOTHING), |value, segment| value.get(segment));
        found.unwrap_or(NOTHING)
    }
}

const fn is_path(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_PATH {
        return false;
    }
    let (mut at, mut first) = (0, true);
    while at < bytes.len() {
        let byte = bytes[at];
        let fits = byte.is_ascii_alphabetic()
            || byte == b'_'
            || (!first && (byte.is_ascii_digit() || matches!(byte, b'-' | b'/')));
        if !first && byte == b'.' {
            first = true;
        } else if fits {
            first = false;
        } else {
            return false;
        }
        at += 1;
    }
    !first
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For paths written in our own code; see [`Field::of`].
impl From<&'static str> for Field {
    fn from(path: &'static str) -> Self {
        Self::of(path)
    }
}

/// Which documents of a collection are meant.
///
/// The exact sense, on which every adapter agrees with [`Filter::matches`]:
/// - A missing field, and a path through something that is no object, is null.
/// - `Eq` and `In` compare as JSON: numbers by their value (1 equals 1.0), texts byte by byte, null
///   equals null (and so a missing field). A list or an object equals nothing. No conversions.
/// - `Ne` is exactly not `Eq`: a missing field is unequal to every text.
/// - `Lt`, `Lte`, `Gt`, `Gte` hold only where both sides are numbers, or both are texts (compared byte
///   by byte, so times as we write them compare as times); else they are false.
/// - `Contains` holds where the field is a list with an element that is `Eq` to the value.
/// - `Exists` holds where the field is there and not null. `Prefix` holds for texts only.
/// - `Not` is plain negation: there is no third truth value. `And` of nothing holds, `Or` of nothing
///   does not.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Filter {
    #[default]
    All,
    Eq(Field, Value),
    Ne(Field, Value),
    Lt(Field, Value),
    Lte(Field, Value),
    Gt(Field, Value),
    Gte(Field, Value),
    In(Field, Vec<Value>),
    Contains(Field, Value),
    Exists(Field),
    Prefix(Field, String),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
}

impl Filter {
    /// `field` equals `value`, for a path written in our own code.
    pub fn eq(field: impl Into<Field>, value: impl Into<Value>) -> Self {
        Self::Eq(field.into(), value.into())
    }

    pub fn ne(field: impl Into<Field>, value: impl Into<Value>) -> Self {
        Self::Ne(field.into(), value.into())
    }

    pub fn any_of<V: Into<Value>>(
        field: impl Into<Field>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self::In(field.into(), values.into_iter().map(Into::into).collect())
    }

    /// Both; [`Filter::All`] adds nothing.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, one) | (one, Self::All) => one,
            (Self::And(mut all), Self::And(more)) => {
                all.extend(more);
                Self::And(all)
            }
            (Self::And(mut all), one) => {
                all.push(one);
                Self::And(all)
            }
            (one, other) => Self::And(vec![one, other]),
        }
    }

    /// Whether `document` is meant: the reference that adapters are tested against.
    pub fn matches(&self, document: &Map<String, Value>) -> bool {
        use std::cmp::Ordering;
        let order = |field: &Field, value| in_order(field.of_document(document), value);
        match self {
            Self::All => true,
            Self::Eq(field, value) => same(field.of_document(document), value),
            Self::Ne(field, value) => !same(field.of_document(document), value),
            Self::Lt(field, value) => order(field, value).is_some_and(Ordering::is_lt),
            Self::Lte(field, value) => order(field, value).is_some_and(Ordering::is_le),
            Self::Gt(field, value) => order(field, value).is_some_and(Ordering::is_gt),
            Self::Gte(field, value) => order(field, value).is_some_and(Ordering::is_ge),
            Self::In(field, values) => {
                let own = field.of_document(document);
                values.iter().any(|value| same(own, value))
            }
            Self::Contains(field, value) => match field.of_document(document) {
                Value::Array(elements) => elements.iter().any(|element| same(element, value)),
                _ => false,
            },
            Self::Exists(field) => !field.of_document(document).is_null(),
            Self::Prefix(field, prefix) => {
                field.of_document(document).as_str().is_some_and(|text| text.starts_with(prefix))
            }
            Self::And(filters) => filters.iter().all(|filter| filter.matches(document)),
            Self::Or(filters) => filters.iter().any(|filter| filter.matches(document)),
            Self::Not(filter) => !filter.matches(document),
        }
    }
}

#[cfg(test)]
mod tests;
