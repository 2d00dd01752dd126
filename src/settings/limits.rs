//! What values settings may have beyond their types, and how a settings file is read.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::Settings;
use crate::model::time::span;

/// Larger settings files are no settings files.
const LARGEST: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The first setting that is out of its bounds, and what was expected.
pub(super) fn fault(settings: &Settings) -> Option<(&'static str, String)> {
    let second = Duration::from_secs(1);
    let moment = Duration::from_millis(100);
    let spans = [
        ("leader.ttl", settings.leader.ttl, 2 * second, 3_600 * second),
        ("health.interval", settings.health.interval, moment, DAY),
        ("health.usage-interval", settings.health.usage_interval, moment, DAY),
        ("autoscale.interval", settings.autoscale.interval, moment, DAY),
        ("recovery.backoff-first", settings.recovery.backoff_first, Duration::ZERO, DAY),
        ("recovery.backoff-longest", settings.recovery.backoff_longest, Duration::ZERO, DAY),
    ];
    for (key, given, least, most) in spans {
        if given < least || given > most {
            let (least, most) = (span::format(least), span::format(most));
            return Some((key, format!("expected {least} to {most}, got {}", span::format(given))));
        }
    }
    if settings.recovery.backoff_first > settings.recovery.backoff_longest {
        let longest = span::format(settings.recovery.backoff_longest);
        let what = format!("expected at most recovery.backoff-longest ({longest})");
        return Some(("recovery.backoff-first", what));
    }
    let counts = [
        ("health.failure-threshold", settings.health.failure_threshold),
        ("health.success-threshold", settings.health.success_threshold),
    ];
    let zero = counts.into_iter().find(|(_, count)| *count == 0);
    zero.map(|(key, _)| (key, "expected at least 1, got 0".to_owned()))
}

/// Reads a settings file; a pipe or a device is none.
///
/// # Errors
/// `NotFound` when there is none; else why it cannot be read.
pub(super) fn read(path: &Path) -> io::Result<String> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::load;

    #[test]
    fn values_that_would_break_the_engine_are_refused_with_their_bounds() {
        let said = |name: &str, text: &str| {
            let environment = BTreeMap::from([(name.to_owned(), text.to_owned())]);
            load(None, &environment, &[]).unwrap_err().to_string()
        };
        let ttl = said("CVXC_LEADER_TTL", "99999999h");
        assert!(ttl.contains("leader.ttl: expected 2s to 1h"), "{ttl}");
        let zero = said("CVXC_HEALTH_FAILURE_THRESHOLD", "0");
        assert!(zero.contains("health.failure-threshold: expected at least 1"), "{zero}");
        let first = said("CVXC_RECOVERY_BACKOFF_FIRST", "23h");
        assert!(first.contains("recovery.backoff-first: expected at most"), "{first}");
    }
}
