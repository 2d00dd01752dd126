//! Label selectors, as kubectl reads them: `a=b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`, with commas between.

use std::collections::BTreeMap;

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelTerm {
    In { key: String, values: Vec<String> },
    NotIn { key: String, values: Vec<String> },
    Exists { key: String },
    Missing { key: String },
}

impl LabelTerm {
    /// A missing label is in no set, so `NotIn` holds for it.
    pub fn holds(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let get = |key: &str| labels.and_then(|labels| labels.get(key));
        match self {
            Self::In { key, values } => get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn { key, values } => get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists { key } => get(key).is_some(),
            Self::Missing { key } => get(key).is_none(),
        }
    }
}

pub(super) fn holds(terms: &[LabelTerm], labels: Option<&BTreeMap<String, String>>) -> bool {
    terms.iter().all(|term| term.holds(labels))
}

/// Reads a selector.
///
/// # Errors
/// Says which part is wrong.
pub fn parse_selector(text: &str) -> Result<Vec<LabelTerm>, String> {
    let mut terms = Vec::new();
    let mut depth = 0_usize;
    let parts = text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim) {
        if part.is_empty() {
            return Err("a label is missing".into());
        }
        terms.push(parse_one(part)?);
    }
    Ok(terms)
}

fn parse_one(part: &str) -> Result<LabelTerm, String> {
    if let Some(set) = part.strip_suffix(')') {
        let wrong = || format!("{part:?} is no set of labels");
        let (head, values) = set.split_once('(').ok_or_else(wrong)?;
        let (key, word) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(wrong)?;
        let key = label(key.trim())?;
        let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match word {
            "in" => Ok(LabelTerm::In { key, values }),
            "notin" => Ok(LabelTerm::NotIn { key, values }),
            _ => Err(wrong()),
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(LabelTerm::NotIn { key: label(key)?, values: vec![value.trim().to_owned()] });
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(LabelTerm::In { key: label(key)?, values: vec![value.trim().to_owned()] });
    }
    match part.strip_prefix('!') {
        Some(key) => Ok(LabelTerm::Missing { key: label(key)? }),
        None => Ok(LabelTerm::Exists { key: label(part)? }),
    }
}

fn label(key: &str) -> Result<String, String> {
    let key = key.trim();
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if !key.is_empty() && key.chars().all(good) {
        Ok(key.to_owned())
    } else {
        Err(format!("{key:?} is no label"))
    }
}
