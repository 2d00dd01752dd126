//! Documents as rows read them: a few fields by name. Two kinds of paper: the map that the feed brings, and the text of a
//! list's page, which is read without making a map of it, since a first list is long and most of it is not shown.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::ports::store::Body;

/// An object with fields. A field of another kind than asked for counts as missing.
pub trait Paper {
    fn word(&self, field: &str) -> Option<&str>;
    fn whole(&self, field: &str) -> Option<u64>;
    fn flag(&self, field: &str) -> Option<bool>;
    fn part(&self, field: &str) -> Option<&Self>;
    /// A text or a number, as it is.
    fn leaf(&self, field: &str) -> Option<Value>;
    /// Every field that is a text.
    fn words(&self) -> impl Iterator<Item = (&str, &str)>;
}

impl Paper for Body {
    fn word(&self, field: &str) -> Option<&str> {
        self.get(field)?.as_str()
    }

    fn whole(&self, field: &str) -> Option<u64> {
        self.get(field)?.as_u64()
    }

    fn flag(&self, field: &str) -> Option<bool> {
        self.get(field)?.as_bool()
    }

    fn part(&self, field: &str) -> Option<&Self> {
        self.get(field)?.as_object()
    }

    fn leaf(&self, field: &str) -> Option<Value> {
        self.get(field).filter(|value| value.is_string() || value.is_number()).cloned()
    }

    fn words(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|(field, value)| Some((field.as_str(), value.as_str()?)))
    }
}

/// An object read from text, its words still in that text.
#[derive(Debug, Default, PartialEq)]
pub struct Sheet<'a>(Vec<(Cow<'a, str>, Entry<'a>)>);

#[derive(Debug, PartialEq)]
enum Entry<'a> {
    Word(Cow<'a, str>),
    Whole(u64),
    Real(f64),
    Flag(bool),
    Part(Sheet<'a>),
    /// Lists and nothing: no row shows them.
    Other,
}

impl<'a> Sheet<'a> {
    /// # Errors
    /// When the text is no JSON object.
    pub fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Of a field that is there twice the last counts, as everywhere.
    fn get(&self, field: &str) -> Option<&Entry<'a>> {
        self.0.iter().rev().find(|(name, _)| name == field).map(|(_, entry)| entry)
    }
}

impl Paper for Sheet<'_> {
    fn word(&self, field: &str) -> Option<&str> {
        match self.get(field)? {
            Entry::Word(text) => Some(text),
            _ => None,
        }
    }

    fn whole(&self, field: &str) -> Option<u64> {
        match self.get(field)? {
            Entry::Whole(number) => Some(*number),
            _ => None,
        }
    }

    fn flag(&self, field: &str) -> Option<bool> {
        match self.get(field)? {
            Entry::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    fn part(&self, field: &str) -> Option<&Self> {
        match self.get(field)? {
            Entry::Part(sheet) => Some(sheet),
            _ => None,
        }
    }

    fn leaf(&self, field: &str) -> Option<Value> {
        match self.get(field)? {
            Entry::Word(text) => Some(Value::from(&**text)),
            Entry::Whole(number) => Some(Value::from(*number)),
            Entry::Real(number) => Some(Value::from(*number)),
            Entry::Flag(_) | Entry::Part(_) | Entry::Other => None,
        }
    }

    fn words(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(field, entry)| match entry {
            Entry::Word(text) => Some((&**field, &**text)),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for Sheet<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader).and_then(|entry| match entry {
            Entry::Part(sheet) => Ok(sheet),
            _ => Err(serde::de::Error::custom("expected an object")),
        })
    }
}

impl<'de> Deserialize<'de> for Entry<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

/// A field's name.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.deserialize_str(Reader)? {
            Entry::Word(name) => Ok(Self(name)),
            _ => Err(serde::de::Error::custom("expected a name")),
        }
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Entry<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Entry<'de>, E> {
        Ok(Entry::Word(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Entry<'de>, E> {
        Ok(Entry::Word(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Entry<'de>, E> {
        Ok(Entry::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Entry<'de>, E> {
        Ok(Entry::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Entry<'de>, E> {
        Ok(u64::try_from(number).map_or(Entry::Real(number as f64), Entry::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Entry<'de>, E> {
        Ok(Entry::Real(number))
    }

    fn visit_unit<E>(self) -> Result<Entry<'de>, E> {
        Ok(Entry::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entry<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Entry::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry<'de>, A::Error> {
        let mut fields = Vec::with_capacity(4);
        while let Some((Name(name), entry)) = map.next_entry()? {
            fields.push((name, entry));
        }
        Ok(Entry::Part(Sheet(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9f64..1e9).prop_map(Value::from),
            "[a-c\\\\\"\u{1b}é]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"é]{0,2}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Both kinds of paper answer every question alike.
    fn alike(map: &Body, sheet: &Sheet<'_>) {
        assert!(map.words().eq(sheet.words()));
        for field in map.keys().map(String::as_str).chain(["missing"]) {
            assert_eq!(map.word(field), sheet.word(field));
            assert_eq!(map.whole(field), sheet.whole(field));
            assert_eq!(map.flag(field), sheet.flag(field));
            let number = |leaf: Option<Value>| leaf.and_then(|leaf| leaf.as_f64());
            assert_eq!(number(map.leaf(field)), number(sheet.leaf(field)));
            assert_eq!(map.leaf(field).is_some(), sheet.leaf(field).is_some());
            match (map.part(field), sheet.part(field)) {
                (Some(map), Some(sheet)) => alike(map, sheet),
                (map, sheet) => assert!(map.is_none() && sheet.is_none()),
            }
        }
    }

    proptest! {
        #[test]
        fn a_text_answers_as_its_map_does(value in json()) {
            let text = value.to_string();
            match (&value, Sheet::read(&text)) {
                (Value::Object(map), Ok(sheet)) => alike(map, &sheet),
                (Value::Object(_), Err(error)) => panic!("{error}"),
                (_, read) => prop_assert!(read.is_err()),
            }
        }
    }
}
