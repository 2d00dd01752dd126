//! Amounts as manifests write them: cpu in thousandths of a core (`250m`), memory in bytes (`1.5Gi`),
//! and the short forms in which a table shows sizes and ages. Never floating point: what is read is
//! what is written back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Thousandths of a core. Written `250m`, `2`, `1.5`; a JSON number is read as cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(pub u64);

/// Bytes. Written `512Mi`, `1.5Gi`, `128M`, `1024`; a JSON number is read as bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Why a text is no amount. The message names what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {text:?}{why}")]
pub struct BadQuantity {
    expected: &'static str,
    text: String,
    why: &'static str,
}

const CPU: &str = "an amount of cpu such as \"250m\", \"1\" or \"0.5\"";
const BYTES: &str = "an amount of memory such as \"512Mi\", \"1.5Gi\", \"128M\" or \"1024\"";

const NEGATIVE: &str = ": it is negative";
const TOO_LARGE: &str = ": it is too large";
const NOT_A_NUMBER: &str = "";

/// Suffixes of [`Bytes`], as Kubernetes has them, largest first.
const UNITS: [(&str, u64); 12] = [
    ("Ei", 1 << 60),
    ("E", 1_000_000_000_000_000_000),
    ("Pi", 1 << 50),
    ("P", 1_000_000_000_000_000),
    ("Ti", 1 << 40),
    ("T", 1_000_000_000_000),
    ("Gi", 1 << 30),
    ("G", 1_000_000_000),
    ("Mi", 1 << 20),
    ("M", 1_000_000),
    ("Ki", 1 << 10),
    ("k", 1_000),
];

impl FromStr for Cpu {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let fail = |why| BadQuantity { expected: CPU, text: text.chars().take(40).collect(), why };
        let (digits, unit) = match text.strip_suffix('m') {
            Some(digits) => (digits, 1),
            None => (text, 1000),
        };
        match scaled(digits, unit).map_err(fail)? {
            (millis, true) => Ok(Self(millis)),
            (_, false) => Err(fail(": it is finer than a thousandth of a core, \"1m\"")),
        }
    }
}

impl FromStr for Bytes {
    type Err = BadQuantity;

    /// A fraction of a byte is rounded up, as Kubernetes does with `1.1Gi`.
    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let fail =
            |why| BadQuantity { expected: BYTES, text: text.chars().take(40).collect(), why };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match &text[digits.len()..] {
            "" => 1,
            "K" => return Err(fail(": write \"k\" for 1000 or \"Ki\" for 1024")),
            "m" => return Err(fail(": write \"M\" for a million or \"Mi\" for 1024 times 1024")),
            suffix => match UNITS.iter().find(|(name, _)| *name == suffix) {
                Some((_, factor)) => *factor,
                None => return Err(fail(": the suffixes are Ki Mi Gi Ti Pi Ei and k M G T P E")),
            },
        };
        let (whole, exact) = scaled(digits, factor).map_err(fail)?;
        let bytes = whole.checked_add(u64::from(!exact)).ok_or_else(|| fail(TOO_LARGE))?;
        Ok(Self(bytes))
    }
}

/// `digits` (`12`, `0.5`, `.5`, `1.`) times `factor`, rounded down, and whether that was exact.
fn scaled(digits: &str, factor: u64) -> Result<(u64, bool), &'static str> {
    if let Some(rest) = digits.strip_prefix('-') {
        return Err(if rest.starts_with(|c: char| c.is_ascii_digit()) {
            NEGATIVE
        } else {
            NOT_A_NUMBER
        });
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !numeric(whole) || !numeric(fraction) {
        return Err(NOT_A_NUMBER);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 18 {
        return Err(": it has more than 18 decimals");
    }
    let parse = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>() };
    let whole = parse(whole).map_err(|_| TOO_LARGE)?;
    let parts = u128::from(parse(fraction).map_err(|_| TOO_LARGE)?) * u128::from(factor);
    let scale = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let total = u128::from(whole) * u128::from(factor) + parts / scale;
    let total = u64::try_from(total).map_err(|_| TOO_LARGE)?;
    Ok((total, parts.is_multiple_of(scale)))
}

/// `amount / unit` in decimals if at most three say it exactly.
fn decimal(amount: u64, unit: u64) -> Option<String> {
    let (whole, rest) = (amount / unit, u128::from(amount % unit) * 1000);
    if !rest.is_multiple_of(u128::from(unit)) {
        return None;
    }
    let thousandths = rest / u128::from(unit);
    let text = format!("{whole}.{thousandths:03}");
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// Less than a core in thousandths (`250m`), more in cores (`2`, `1.5`).
impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            millis @ 1..1000 => f.pad(&format!("{millis}m")),
            millis => f.pad(&decimal(millis, 1000).unwrap_or_default()),
        }
    }
}

/// The shortest text that says it exactly; of two as short, the one without a point.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_unit = UNITS
            .iter()
            .filter(|(_, factor)| self.0 >= *factor)
            .filter_map(|(suffix, factor)| decimal(self.0, *factor).map(|number| number + suffix));
        let texts = std::iter::once(self.0.to_string()).chain(with_unit);
        let shortest = texts.min_by_key(|text| (text.len(), text.contains('.')));
        f.pad(&shortest.unwrap_or_default())
    }
}

macro_rules! written_as_text {
    ($($name:ident $expected:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        self.visit_str(&number.to_string())
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        self.visit_str(&number.to_string())
                    }
                    // Display of a float never uses an exponent, so 0.5 is "0.5" here.
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$name, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                from.deserialize_any(Visitor)
            }
        }

        impl std::ops::Add for $name {
            type Output = Self;
            /// Stays at the largest amount instead of overflowing.
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
                amounts.fold(Self(0), std::ops::Add::add)
            }
        }
    )*};
}

written_as_text!(Cpu CPU, Bytes BYTES);

/// A size in at most three digits for a table: `999`, `1.2Ki`, `512Mi`. Rounded, so for eyes only.
pub fn human_bytes(bytes: u64) -> String {
    const SUFFIXES: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if bytes < 1000 {
        return bytes.to_string();
    }
    // 1000 to 1023 of a unit would need four digits, so they count as the next one, and so does what rounds to them.
    let (mut unit, mut at) = (1024u128, 0);
    while (u128::from(bytes) + unit / 2) / unit >= 1000 && at + 1 < SUFFIXES.len() {
        (unit, at) = (unit * 1024, at + 1);
    }
    let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
    let suffix = SUFFIXES[at];
    if tenths < 100 {
        format!("{}.{}{suffix}", tenths / 10, tenths % 10)
    } else {
        format!("{}{suffix}", (u128::from(bytes) + unit / 2) / unit)
    }
}

/// An age as the AGE column shows it: `<1m`, whole minutes up to an hour, whole hours up to a day,
/// then days. It changes once a minute at most, so an idle screen stays still.
pub fn human_age(age: Duration) -> String {
    match age.as_secs() / 60 {
        0 => "<1m".to_owned(),
        minutes @ 1..60 => format!("{minutes}m"),
        minutes @ 60..1440 => format!("{}h", minutes / 60),
        minutes => format!("{}d", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("250m", 250, "250m")]
    #[case("1", 1000, "1")]
    #[case("0.5", 500, "500m")]
    #[case(".5", 500, "500m")]
    #[case("1500m", 1500, "1.5")]
    #[case("1.250", 1250, "1.25")]
    #[case("0", 0, "0")]
    #[case("2.", 2000, "2")]
    fn cpu_is_read_and_written_short(#[case] text: &str, #[case] millis: u64, #[case] short: &str) {
        assert_eq!(text.parse(), Ok(Cpu(millis)));
        assert_eq!(Cpu(millis).to_string(), short);
    }

    #[rstest]
    #[case("1024", 1024, "1Ki")]
    #[case("512Mi", 512 << 20, "512Mi")]
    #[case("1.5Gi", 3 << 29, "1.5Gi")]
    #[case("128M", 128_000_000, "128M")]
    #[case("1500", 1500, "1500")]
    #[case("1k", 1000, "1k")]
    #[case("0", 0, "0")]
    #[case("15Ei", 15 << 60, "15Ei")]
    #[case("0.1Ki", 103, "103")]
    fn bytes_are_read_and_written_short(
        #[case] text: &str,
        #[case] bytes: u64,
        #[case] short: &str,
    ) {
        assert_eq!(text.parse(), Ok(Bytes(bytes)));
        assert_eq!(Bytes(bytes).to_string(), short);
    }

    #[rstest]
    #[case("1e3", "such as \"250m\"")]
    #[case("", "expected an amount of cpu")]
    #[case("-1", "negative")]
    #[case("0.0005", "finer than a thousandth")]
    #[case("0.5m", "finer than a thousandth")]
    #[case("18446744073709551616m", "too large")]
    #[case("18446744073709552", "too large")]
    #[case("1 ", "such as")]
    #[case("NaN", "such as")]
    #[case("1.2.3", "such as")]
    fn bad_cpu_is_refused_in_words(#[case] text: &str, #[case] says: &str) {
        let error = text.parse::<Cpu>().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[rstest]
    #[case("128m", "write \"M\"")]
    #[case("128K", "write \"k\"")]
    #[case("1GB", "the suffixes are")]
    #[case("16Ei", "too large")]
    #[case("-5Mi", "negative")]
    #[case("Mi", "expected an amount of memory")]
    #[case("1e3", "expected an amount of memory")]
    fn bad_bytes_are_refused_in_words(#[case] text: &str, #[case] says: &str) {
        let error = text.parse::<Bytes>().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_json_number_is_read_and_text_is_written() {
        let read = |json: &str| serde_json::from_str::<(Cpu, Bytes)>(json);
        assert_eq!(read("[0.5, 1024]").unwrap(), (Cpu(500), Bytes(1024)));
        assert_eq!(read("[2, \"1Ki\"]").unwrap(), (Cpu(2000), Bytes(1024)));
        assert!(read("[-1, 0]").unwrap_err().to_string().contains("negative"));
        assert!(read("[true, 0]").unwrap_err().to_string().contains("an amount of cpu"));
        let written = serde_json::to_string(&(Cpu(250), Bytes(1 << 20))).unwrap();
        assert_eq!(written, "[\"250m\",\"1Mi\"]");
    }

    #[test]
    fn sizes_and_ages_are_short() {
        let sizes = [0, 999, 1000, 1024, 1229, 10_240, 511 << 20, 1_023_488, 1023 << 20, u64::MAX];
        let shown: Vec<String> = sizes.into_iter().map(human_bytes).collect();
        assert_eq!(
            shown,
            ["0", "999", "1.0Ki", "1.0Ki", "1.2Ki", "10Ki", "511Mi", "1.0Mi", "1.0Gi", "16Ei"]
        );
        let ages = [0, 59, 60, 3599, 3600, 86_399, 86_400, 864_000];
        let shown: Vec<String> = ages.map(|s| human_age(Duration::from_secs(s))).into();
        assert_eq!(shown, ["<1m", "<1m", "1m", "59m", "1h", "23h", "1d", "10d"]);
    }

    proptest! {
        #[test]
        fn every_amount_reads_back(amount in any::<u64>(), shift in 0u32..64) {
            for amount in [amount, amount >> shift, (amount >> shift) << (shift / 2)] {
                prop_assert_eq!(Cpu(amount).to_string().parse(), Ok(Cpu(amount)));
                prop_assert_eq!(Bytes(amount).to_string().parse(), Ok(Bytes(amount)));
                prop_assert!(Bytes(amount).to_string().len() <= amount.to_string().len());
                prop_assert!(human_bytes(amount).len() <= 5);
            }
        }

        #[test]
        fn no_text_makes_the_parsers_stumble(text in "[-+.0-9a-zA-Z ]{0,24}") {
            if let Ok(cpu) = text.parse::<Cpu>() {
                prop_assert_eq!(cpu.to_string().parse(), Ok(cpu));
            }
            if let Ok(bytes) = text.parse::<Bytes>() {
                prop_assert_eq!(bytes.to_string().parse(), Ok(bytes));
            }
        }
    }
}
