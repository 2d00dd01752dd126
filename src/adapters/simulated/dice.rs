//! Numbers that look random and are the same for the same seed and question, in whatever order they are asked for.

use std::time::Duration;

/// SplitMix64's finaliser (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One throw: a seed and what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)))
    }

    /// The throw about something more: another number, another throw.
    pub fn about(self, what: u64) -> Self {
        Self(mix(self.0 ^ what.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1)))
    }

    pub fn about_text(self, text: &str) -> Self {
        self.about(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
        }))
    }

    /// One of `from..to`; `from` when that is empty.
    pub fn range(self, from: u64, to: u64) -> u64 {
        from + self.0 % to.saturating_sub(from).max(1)
    }

    pub fn span(self, from: Duration, to: Duration) -> Duration {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.range(millis(from), millis(to)))
    }

    pub fn one_in(self, n: u64) -> bool {
        self.0.is_multiple_of(n)
    }

    pub fn pick<T: Copy>(self, of: &[T]) -> Option<T> {
        of.get(usize::try_from(self.0 % of.len().max(1) as u64).ok()?).copied()
    }
}
