//! How long a receiver waits before it asks again when nothing wakes it: additive increase, multiplicative decrease inside
//! the bounds of its poll class.

use std::time::Duration;

use crate::model::agent::PollClass;

/// The pause between two polls of one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    class: PollClass,
    pause: Duration,
}

impl Pace {
    /// Begins eagerly, at the class's shortest pause.
    pub fn new(class: PollClass) -> Self {
        Self { class, pause: class.bounds().0 }
    }

    pub fn class(&self) -> PollClass {
        self.class
    }

    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Learns from a claim of at most `limit` that gave `got`: half the pause after a full batch, a quarter more after an
    /// empty one.
    pub fn learn(&mut self, got: usize, limit: usize) {
        let (shortest, longest) = self.class.bounds();
        if got >= limit {
            self.pause /= 2;
        } else if got == 0 {
            self.pause += self.pause / 4;
        }
        self.pause = self.pause.clamp(shortest, longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn classes() -> impl Strategy<Value = PollClass> {
        prop_oneof![Just(PollClass::High), Just(PollClass::Normal), Just(PollClass::Background)]
    }

    proptest! {
        #[test]
        fn a_pause_stays_in_its_class_whatever_the_batches(
            class in classes(), batches in prop::collection::vec((0usize..=100, 1usize..=100), 0..60)
        ) {
            let mut pace = Pace::new(class);
            let (shortest, longest) = class.bounds();
            for (got, limit) in batches {
                let before = pace.pause();
                pace.learn(got.min(limit), limit);
                prop_assert!((shortest..=longest).contains(&pace.pause()));
                if got >= limit { prop_assert!(pace.pause() <= before); }
                if got == 0 { prop_assert!(pace.pause() >= before); }
            }
        }
    }

    #[test]
    fn empty_polls_slow_down_by_a_quarter_and_a_full_one_halves() {
        let mut pace = Pace::new(PollClass::Background);
        pace.learn(0, 100);
        assert_eq!(pace.pause(), Duration::from_millis(12_500));
        for _ in 0..10 {
            pace.learn(0, 100);
        }
        assert_eq!(pace.pause(), Duration::from_secs(30));
        pace.learn(100, 100);
        assert_eq!(pace.pause(), Duration::from_secs(15));
        pace.learn(3, 100);
        assert_eq!(pace.pause(), Duration::from_secs(15));
    }
}
