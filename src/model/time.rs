//! Points in time as the store keeps them: UTC, RFC 3339, exactly three decimals, so that texts sort as times do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z. Written `2026-11-21T03:04:05.678Z`; any RFC 3339 text is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// The last millisecond of the year 9999 and the first of year 0: beyond them RFC 3339 has no text.
const LATEST: i64 = 253_402_300_799_999;
const EARLIEST: i64 = -62_167_219_200_000;

impl Time {
    pub const EPOCH: Time = Time(0);

    /// The time `millis` after the epoch, held inside the years 0 to 9999.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(EARLIEST, LATEST))
    }

    pub fn millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self::from_millis(
            self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self::from_millis(
            self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The same point as a `jiff` timestamp, for formatting in a time zone.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_jiff().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let at: jiff::Timestamp = text.parse().map_err(|_| {
            format!("expected an RFC 3339 time such as 2026-11-21T03:04:05.678Z, got {text:?}")
        })?;
        Ok(Self::from_millis(at.as_millisecond()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Durations in documents and settings: `"1500ms"`, `"90s"`, `"10m"`, `"1h 30m"`; read and written as text.
pub mod span {
    use super::{Deserialize, Deserializer, Duration, Serializer, de};

    /// Reads `"90s"`, `"1h30m"`, `"1500ms"`.
    ///
    /// # Errors
    /// Says what was expected when the text is no such span or is negative.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let wrong = || format!("expected a span of time such as \"90s\" or \"10m\", got {text:?}");
        let span: jiff::SignedDuration = text.trim().parse().map_err(|_| wrong())?;
        Duration::try_from(span).map_err(|_| wrong())
    }

    /// Writes the shortest text that [`parse`] reads back: `1m 30s`.
    pub fn format(span: Duration) -> String {
        jiff::SignedDuration::try_from(span)
            .map_or_else(|_| "forever".to_owned(), |span| format!("{span:#}"))
    }

    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format(*span))
    }

    /// # Errors
    /// Says what was expected when the text is no span of time.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }

    /// The same for a span that may be missing.
    pub mod option {
        use super::{Deserialize, Deserializer, Duration, Serializer, de, format, parse};

        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
            match span {
                Some(span) => to.serialize_some(&format(*span)),
                None => to.serialize_none(),
            }
        }

        /// # Errors
        /// Says what was expected when the text is no span of time.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Duration>, D::Error> {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| parse(&text)).transpose().map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_time_reads_back_and_sorts_as_its_text(a in EARLIEST..LATEST, b in EARLIEST..LATEST) {
            let (a, b) = (Time::from_millis(a), Time::from_millis(b));
            prop_assert_eq!(a.to_string().parse::<Time>(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn a_span_reads_back(millis in 0u64..u64::from(u32::MAX)) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(span::parse(&span::format(span)), Ok(span));
        }
    }

    #[test]
    fn other_zones_and_finer_fractions_are_read() {
        assert_eq!(
            "2026-11-21T04:00:00.5+01:00".parse::<Time>().unwrap().to_string(),
            "2026-11-21T03:00:00.500Z"
        );
        assert!("yesterday".parse::<Time>().is_err());
    }
}
