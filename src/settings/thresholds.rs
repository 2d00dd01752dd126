//! From when on a figure is worth a warning, and from when on an alarm: the same for every page, and for one pool by a
//! label such as `threshold.queue: 50/200` on it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::time::span;

/// Two steps of one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub warn: u64,
    pub critical: u64,
}

/// How far a figure has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Fine,
    Warn,
    Critical,
}

impl Limit {
    pub const fn new(warn: u64, critical: u64) -> Self {
        Self { warn, critical }
    }

    pub fn judge(self, value: u64) -> Level {
        if value >= self.critical {
            Level::Critical
        } else if value >= self.warn {
            Level::Warn
        } else {
            Level::Fine
        }
    }

    /// Reads `70/90`, or spans such as `1m/10m`, which count seconds.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected two steps such as 70/90 or 1m/10m, got {text:?}");
        let (warn, critical) = text.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| {
            let text = text.trim();
            let seconds = || span::parse(text).ok().map(|span: Duration| span.as_secs());
            text.parse::<u64>().ok().or_else(seconds)
        };
        let (warn, critical) = number(warn).zip(number(critical)).ok_or_else(wrong)?;
        if warn > critical {
            return Err(format!("the warning ({warn}) comes after the alarm ({critical})"));
        }
        Ok(Self { warn, critical })
    }

    /// That of a pool or an agent, where its labels set one.
    #[must_use]
    pub fn or_label(self, labels: &BTreeMap<String, String>, name: &str) -> Self {
        let own = || labels.get(name).and_then(|text| Self::parse(text).ok());
        if labels.is_empty() { self } else { own().unwrap_or(self) }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// `[thresholds]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Thresholds {
    /// Per cent of an agent's limit.
    pub cpu: Limit,
    pub mem: Limit,
    /// Messages that wait for one receiver.
    pub queue: Limit,
    /// Seconds that the oldest of them has waited.
    pub oldest: Limit,
    pub restarts: Limit,
    /// Dead letters.
    pub dead: Limit,
    /// Per cent of what ended that ended as one.
    pub errors: Limit,
}

/// Those of a context: what it says nothing of stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SomeThresholds {
    cpu: Option<Limit>,
    mem: Option<Limit>,
    queue: Option<Limit>,
    oldest: Option<Limit>,
    restarts: Option<Limit>,
    dead: Option<Limit>,
    errors: Option<Limit>,
}

impl SomeThresholds {
    /// Each that is set, by the name of its setting.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, Limit)> {
        let all = [
            ("thresholds.cpu", self.cpu),
            ("thresholds.mem", self.mem),
            ("thresholds.queue", self.queue),
            ("thresholds.oldest", self.oldest),
            ("thresholds.restarts", self.restarts),
            ("thresholds.dead", self.dead),
            ("thresholds.errors", self.errors),
        ];
        all.into_iter().filter_map(|(name, limit)| Some((name, limit?)))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.warn, self.critical)
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            cpu: Limit::new(70, 90),
            mem: Limit::new(70, 90),
            queue: Limit::new(100, 1_000),
            oldest: Limit::new(60, 600),
            restarts: Limit::new(3, 10),
            dead: Limit::new(1, 100),
            errors: Limit::new(5, 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_are_read_as_numbers_or_spans_and_in_their_order() {
        assert_eq!(Limit::parse("70/90"), Ok(Limit::new(70, 90)));
        assert_eq!(Limit::parse("1m/10m"), Ok(Limit::new(60, 600)));
        for bad in ["", "70", "a/b", "90/70"] {
            assert!(Limit::parse(bad).is_err(), "{bad}");
        }
        let limit = Limit::new(70, 90);
        let levels = [69, 70, 89, 90].map(|value| limit.judge(value));
        assert_eq!(levels, [Level::Fine, Level::Warn, Level::Warn, Level::Critical]);
    }

    #[test]
    fn a_label_sets_another_limit_for_its_pool_and_a_broken_one_none() {
        let labels = |text: &str| [("threshold.queue".to_owned(), text.to_owned())].into();
        let general = Limit::new(100, 1_000);
        assert_eq!(general.or_label(&labels("5/9"), "threshold.queue"), Limit::new(5, 9));
        assert_eq!(general.or_label(&labels("much"), "threshold.queue"), general);
        assert_eq!(general.or_label(&BTreeMap::new(), "threshold.queue"), general);
    }

    #[test]
    fn the_shipped_file_says_what_holds_without_it() {
        let loaded = crate::settings::load(None, &BTreeMap::new(), &[]).unwrap();
        assert_eq!(loaded.settings.thresholds, Thresholds::default());
    }
}
