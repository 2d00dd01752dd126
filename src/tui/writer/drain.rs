//! How fast the terminal takes bytes, as far as writing tells. Between us and a slow terminal lies a buffer of the system:
//! what is written into it is seen only when all before it was. So where the rate is known to be low, the next frame is held
//! until the buffer has nearly run dry, and is then the newest one. Pure: time comes in.

use std::time::{Duration, Instant};

/// A write that takes longer had to wait for the terminal.
pub(super) const SLOW: Duration = Duration::from_millis(50);
/// One that takes longer met a terminal that had stopped, which says nothing about its speed.
const STOPPED: Duration = Duration::from_secs(5);
/// What may lie between us and the terminal: a pseudo-terminal's own buffer and its line discipline's.
const BUFFER: f64 = 12_288.0;
/// The buffer counts as dry from here on.
const DRY: f64 = 512.0;
/// No frame is held longer, whatever the guess.
const LONGEST: Duration = Duration::from_secs(2);
/// Frames take this part of what the terminal takes, so that the buffer runs dry in between.
const PART: f64 = 0.8;
/// A single write that takes long may be a machine that was busy elsewhere; so many in a row are a terminal that is slow.
const CERTAIN: u8 = 3;
/// A write into a buffer with some room left waits for a part of its bytes only: the guess is too high, so it goes down by
/// this at least each time.
const LOWER: f64 = 0.7;
/// While no write waits the guess doubles in so many seconds; beyond that rate nothing is held any more. Guessing too high
/// fills the buffer again until a write waits, so this is slow.
const DOUBLES: f64 = 120.0;
const FAST: f64 = 64_000.0;

/// What is known of the way to the terminal.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// Bytes a second; `None` while nothing ever had to wait.
    rate: Option<f64>,
    /// Bytes that were in the buffer at that moment.
    owed: Option<(f64, Instant)>,
    /// Slow writes in a row.
    slow: u8,
}

impl Drain {
    /// Takes in that writing `bytes` took from `began` to `ended`.
    pub(super) fn wrote(&mut self, bytes: usize, began: Instant, ended: Instant) {
        let took = ended.saturating_duration_since(began);
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        if took > STOPPED {
            *self = Self::default();
        } else if took > SLOW {
            self.slow = self.slow.saturating_add(1);
            if self.slow >= CERTAIN || self.rate.is_some() {
                let lower = self.rate.map_or(f64::INFINITY, |rate| rate * LOWER);
                let seen = bytes / took.as_secs_f64();
                self.rate = Some(seen.min(lower)).filter(|rate| *rate < FAST);
                self.owed = Some((BUFFER, ended));
            }
            return;
        } else if let Some(rate) = self.rate {
            let (left, quiet) = (self.left(rate, ended), self.since(ended));
            self.owed = Some(((left + bytes).min(BUFFER), ended));
            let higher = rate * (quiet.as_secs_f64() / DOUBLES).exp2();
            self.rate = Some(higher).filter(|rate| *rate < FAST);
        }
        self.slow = 0;
    }

    /// How long the next frame is to be held.
    pub(super) fn hold(&self, now: Instant) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let over = (self.left(rate, now) - DRY).max(0.0);
        Duration::try_from_secs_f64(over / (rate * PART)).unwrap_or(LONGEST).min(LONGEST)
    }

    /// What is still in the buffer.
    fn left(&self, rate: f64, now: Instant) -> f64 {
        let owed = self.owed.map_or(0.0, |(owed, _)| owed);
        (owed - rate * PART * self.since(now).as_secs_f64()).max(0.0)
    }

    /// How long ago the last write ended.
    fn since(&self, now: Instant) -> Duration {
        self.owed.map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: usize = 450;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_quick_terminal_is_never_waited_for() {
        let (mut drain, now) = (Drain::default(), Instant::now());
        for n in 0..100 {
            let began = now + millis(n);
            assert_eq!(drain.hold(began), Duration::ZERO);
            drain.wrote(12_000, began, began + millis(1));
        }
    }

    /// A terminal behind a buffer, as the system keeps it.
    struct Slow {
        rate: f64,
        filled: f64,
        at: Instant,
    }

    impl Slow {
        /// Writes; returns when the write came back.
        fn write(&mut self, bytes: usize, now: Instant) -> Instant {
            let passed = now.duration_since(self.at).as_secs_f64();
            self.filled = (self.filled - passed * self.rate).max(0.0) + bytes as f64;
            let over = (self.filled - BUFFER).max(0.0);
            self.filled -= over;
            self.at = now + Duration::from_secs_f64(over / self.rate);
            self.at
        }
    }

    #[test]
    fn behind_a_slow_terminal_a_key_is_seen_soon_and_not_after_all_frames_before_it() {
        let begin = Instant::now();
        let mut terminal = Slow { rate: 4_000.0, filled: 0.0, at: begin };
        let (mut drain, mut now) = (Drain::default(), begin);
        let mut waits = Vec::new();
        // a key that is held down: a frame is always ready
        while now - begin < millis(120_000) {
            let from = now + drain.hold(now);
            now = terminal.write(KEY, from).max(from + millis(1));
            drain.wrote(KEY, from, now);
            if now - begin > millis(15_000) {
                waits.push(terminal.filled / terminal.rate);
            }
        }
        waits.sort_by(f64::total_cmp);
        // without holding, the buffer would always be full, and each key seen after three seconds
        let median = waits[waits.len() / 2];
        assert!(median < 0.5, "seen after {median} s");
        assert!(
            waits.len() > 700,
            "{} frames in 105 s: nearly as many as the line takes",
            waits.len()
        );
    }

    #[test]
    fn one_write_that_takes_long_holds_nothing() {
        let (mut drain, mut now) = (Drain::default(), Instant::now());
        for _ in 0..20 {
            drain.wrote(KEY, now, now + millis(80));
            now += millis(80);
            assert_eq!(drain.hold(now), Duration::ZERO);
            drain.wrote(KEY, now, now + millis(1));
        }
    }

    #[test]
    fn a_terminal_that_was_stopped_and_goes_on_is_not_taken_for_a_slow_one() {
        let (mut drain, now) = (Drain::default(), Instant::now());
        drain.wrote(4_000, now, now + millis(30_000));
        assert_eq!(drain.hold(now + millis(30_001)), Duration::ZERO);
    }

    #[test]
    fn a_terminal_that_gets_faster_is_believed_in_the_end() {
        let (mut drain, mut now) = (Drain::default(), Instant::now());
        for _ in 0..CERTAIN {
            drain.wrote(8_000, now, now + millis(2_000));
            now += millis(2_000);
        }
        assert!(drain.hold(now) > millis(500), "4 KB/s");
        for _ in 0..1_000 {
            now += drain.hold(now) + millis(1_000);
            drain.wrote(KEY, now, now + millis(1));
        }
        assert_eq!(drain.hold(now), Duration::ZERO);
    }
}
