//! Values that thousands of rows share are kept once: pool names, versions, reasons, labels.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::paper::Paper;
use crate::model::id::{PoolId, TemplateId};
use crate::model::text::Safe;
use crate::model::time::span;

/// Beyond so many values of one kind they are not worth keeping: all are forgotten, and rows keep what they hold.
const MOST: usize = 10_000;

pub type Labels = Arc<BTreeMap<String, String>>;

#[derive(Debug, Default)]
pub struct Interner {
    texts: HashMap<Box<str>, Safe>,
    pools: HashMap<Box<str>, Option<PoolId>>,
    templates: HashMap<Box<str>, Option<TemplateId>>,
    spans: HashMap<Box<str>, Option<Duration>>,
    labels: HashSet<Labels>,
}

fn lookup<V: Clone>(map: &mut HashMap<Box<str>, V>, text: &str, make: impl FnOnce() -> V) -> V {
    if let Some(known) = map.get(text) {
        return known.clone();
    }
    trim(map.len(), || map.clear());
    let value = make();
    map.insert(text.into(), value.clone());
    value
}

fn trim(len: usize, clear: impl FnOnce()) {
    if len >= MOST {
        clear();
    }
}

impl Interner {
    pub fn text(&mut self, text: &str) -> Safe {
        lookup(&mut self.texts, text, || Safe::new(text))
    }

    pub fn pool(&mut self, text: &str) -> Option<PoolId> {
        lookup(&mut self.pools, text, || PoolId::new(text).ok())
    }

    pub fn template(&mut self, text: &str) -> Option<TemplateId> {
        lookup(&mut self.templates, text, || TemplateId::new(text).ok())
    }

    /// A span of time as documents write it.
    pub fn span(&mut self, text: &str) -> Option<Duration> {
        lookup(&mut self.spans, text, || span::parse(text).ok())
    }

    pub fn labels(&mut self, paper: Option<&impl Paper>) -> Labels {
        let words = paper.into_iter().flat_map(Paper::words);
        let pairs = words.map(|(key, value)| (key.to_owned(), value.to_owned()));
        shared(&mut self.labels, pairs.collect())
    }
}

fn shared<T: Hash + Eq>(known: &mut HashSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(same) = known.get(&value) {
        return same.clone();
    }
    trim(known.len(), || known.clear());
    let value = Arc::new(value);
    known.insert(value.clone());
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_values_are_one() {
        let mut interner = Interner::default();
        let (a, b) = (interner.text("ocr"), interner.text("ocr"));
        assert!(std::ptr::eq(a.as_str(), b.as_str()));
        let labels = json!({"tier": "gold", "odd": 7});
        let (a, b) = (interner.labels(labels.as_object()), interner.labels(labels.as_object()));
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(a.get("tier").map(String::as_str), Some("gold"));
        assert!(!a.contains_key("odd"));
    }

    #[test]
    fn a_flood_of_different_values_is_forgotten() {
        let mut interner = Interner::default();
        for n in 0..3 * MOST {
            interner.text(&n.to_string());
        }
        assert!(interner.texts.len() <= MOST);
    }
}
