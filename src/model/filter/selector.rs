//! Label selectors as kubectl writes them: `tier=gold,env!=dev,zone in (a,b),app notin (x),gpu,!spot`.
//! Requirements are joined by AND. They look at labels only, never at a document's other fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::{Field, Filter, FilterError};

/// A parsed selector. The empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

/// `NotIn` holds where the label is missing, as in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
}

const HINT: &str = "labels are chosen like tier=gold,env!=dev,zone in (a,b),gpu,!spot";

impl Selector {
    /// # Errors
    /// [`FilterError`] with the place where something else was expected.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let (selector, end) = Self::parse_prefix(text)?;
        match text[end..].trim_start() {
            "" => Ok(selector),
            rest => {
                Err(FilterError::new(text.len() - rest.len(), "expected \",\" or the end", HINT))
            }
        }
    }

    /// Parses what is a selector at the beginning of `text`; returns it and where it ends.
    pub(super) fn parse_prefix(text: &str) -> Result<(Self, usize), FilterError> {
        let mut scanner = Scanner { text, at: 0 };
        let mut requirements = Vec::new();
        loop {
            requirements.push(scanner.requirement()?);
            let end = scanner.at;
            if !scanner.take(",") {
                return Ok((Self { requirements }, end));
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Asks for what `other` asks, too.
    pub fn join(&mut self, other: Self) {
        self.requirements.extend(other.requirements);
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// The same for labels kept in another way.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|Requirement { key, test }| match (test, label(key)) {
            (Test::In(values), Some(value)) => values.contains(value),
            (Test::NotIn(values), Some(value)) => !values.contains(value),
            (Test::Exists, value) => value.is_some(),
            (Test::Absent | Test::NotIn(_), None) => true,
            (Test::Absent, Some(_)) | (Test::In(_), None) => false,
        })
    }

    /// The same as a filter over documents with a `labels` object, and whether something is left over
    /// (a key with a dot has no path), so that the rows found must still be asked.
    pub fn to_store(&self) -> (Filter, bool) {
        let (mut filter, mut residual) = (Filter::All, false);
        for Requirement { key, test } in &self.requirements {
            let path = (!key.contains('.')).then(|| Field::new(&format!("labels.{key}")).ok());
            let Some(field) = path.flatten() else {
                residual = true;
                continue;
            };
            let list =
                |values: &BTreeSet<String>| values.iter().cloned().map(Value::from).collect();
            filter = filter.and(match test {
                Test::In(values) => Filter::In(field, list(values)),
                Test::NotIn(values) => Filter::Not(Box::new(Filter::In(field, list(values)))),
                Test::Exists => Filter::Exists(field),
                Test::Absent => Filter::Not(Box::new(Filter::Exists(field))),
            });
        }
        (filter, residual)
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn requirement(&mut self) -> Result<Requirement, FilterError> {
        if self.take("!") {
            return Ok(Requirement { key: self.key()?, test: Test::Absent });
        }
        let key = self.key()?;
        let one = |value| BTreeSet::from([value]);
        let test = if self.take("!=") {
            Test::NotIn(one(self.word()))
        } else if self.take("==") || self.take("=") {
            Test::In(one(self.word()))
        } else if self.take_list_word("notin") {
            Test::NotIn(self.values()?)
        } else if self.take_list_word("in") {
            Test::In(self.values()?)
        } else {
            Test::Exists
        };
        Ok(Requirement { key, test })
    }

    fn key(&mut self) -> Result<String, FilterError> {
        let key = self.word();
        if key.is_empty() { Err(self.expected("a label's name")) } else { Ok(key) }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, FilterError> {
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.word());
            match (self.take(","), self.take(")")) {
                (true, false) => {}
                (false, true) => return Ok(values),
                _ => return Err(self.expected("\",\" or \")\"")),
            }
        }
    }

    /// What stands next up to a space or a sign of the grammar; possibly nothing.
    fn word(&mut self) -> String {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        let sign = |c: char| c.is_whitespace() || ",()=!<>\"".contains(c);
        let word = &rest[..rest.find(sign).unwrap_or(rest.len())];
        self.at += word.len();
        word.to_owned()
    }

    fn take(&mut self, sign: &str) -> bool {
        let start = self.at;
        self.skip_spaces();
        let found = self.text[self.at..].starts_with(sign);
        self.at = if found { self.at + sign.len() } else { start };
        found
    }

    /// `in (`: without the bracket, "in" is no part of the selector.
    fn take_list_word(&mut self, word: &str) -> bool {
        let start = self.at;
        let found = self.text[start..].starts_with(char::is_whitespace)
            && self.take(word)
            && self.take("(");
        self.at = if found { self.at } else { start };
        found
    }

    fn skip_spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn expected(&self, what: &str) -> FilterError {
        FilterError::new(self.at, format!("expected {what}"), HINT)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Requirement { key, test }) in self.requirements.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let list = |values: &BTreeSet<String>| {
                values.iter().map(String::as_str).collect::<Vec<_>>().join(",")
            };
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{comma}{key}={}", list(values)),
                Test::NotIn(values) if values.len() == 1 => {
                    write!(f, "{comma}{key}!={}", list(values))
                }
                Test::In(values) => write!(f, "{comma}{key} in ({})", list(values)),
                Test::NotIn(values) => write!(f, "{comma}{key} notin ({})", list(values)),
                Test::Exists => write!(f, "{comma}{key}"),
                Test::Absent => write!(f, "{comma}!{key}"),
            }?;
        }
        Ok(())
    }
}

impl FromStr for Selector {
    type Err = FilterError;
    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    fn labels() -> BTreeMap<String, String> {
        let pairs =
            [("tier", "gold"), ("env", "prod"), ("zone", "b"), ("k8s.io/app", "x"), ("e", "")];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    #[rstest]
    #[case("", true)]
    #[case("tier=gold,env!=dev", true)]
    #[case("tier==gold , env != prod", false)]
    #[case("zone in (a, b)", true)]
    #[case("zone notin (a,b)", false)]
    #[case("missing notin (a,b),missing!=x", true)]
    #[case("missing in (a)", false)]
    #[case("tier,!missing,!spot", true)]
    #[case("!tier", false)]
    #[case("k8s.io/app=x", true)]
    #[case("e=", true)]
    #[case("tier=Gold", false)]
    fn selectors_choose_as_kubectl_does(#[case] text: &str, #[case] yes: bool) {
        let selector = Selector::parse(text).unwrap();
        assert_eq!(selector.matches(&labels()), yes);
        let (filter, residual) = selector.to_store();
        let document = serde_json::from_value(json!({ "labels": labels() })).unwrap();
        assert!(filter.matches(&document) == yes || residual, "{filter:?}");
    }

    #[rstest]
    #[case("tier=gold,", 10, "a label's name")]
    #[case("=x", 0, "a label's name")]
    #[case("tier=gold env=dev", 10, "\",\" or the end")]
    #[case("zone in (a,b", 12, "\",\" or \")\"")]
    #[case("zone in a", 5, "\",\" or the end")]
    #[case("tier>3", 4, "\",\" or the end")]
    fn a_bad_selector_says_where(#[case] text: &str, #[case] at: usize, #[case] says: &str) {
        let error = Selector::parse(text).unwrap_err();
        assert!(error.at == at && error.message.contains(says), "{error:?}");
    }

    proptest! {
        #[test]
        fn selectors_read_back(text in "[ab=!,() in]{0,16}") {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
