//! Flapping: a status that changes too often to be worth an alarm each time. The score is Nagios' (`flapping.c`).

use super::HealthStatus;

/// Checks that the score looks back on.
const CHECKS: usize = 21;
/// Flapping begins at this score and ends at the other; between them it stays as it was.
pub const HIGH: f64 = 30.0;
pub const LOW: f64 = 20.0;

/// The statuses of the last 21 checks, and whether they flap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flap {
    /// Oldest first.
    checks: [HealthStatus; CHECKS],
    flapping: bool,
}

impl Flap {
    /// One whose status has always been `status`.
    pub fn steady(status: HealthStatus) -> Self {
        Self { checks: [status; CHECKS], flapping: false }
    }

    pub fn is_flapping(&self) -> bool {
        self.flapping
    }

    /// Notes that `times` checks (at least one counts) gave `status`. Unknown is no state of health, so it is left out.
    pub fn note(&mut self, status: HealthStatus, times: usize) {
        if status == HealthStatus::Unknown {
            return;
        }
        // what was unknown until now has no past that could have flapped
        if self.checks.iter().all(|check| *check == HealthStatus::Unknown) {
            self.checks = [status; CHECKS];
        }
        let times = times.clamp(1, CHECKS);
        self.checks.rotate_left(times);
        self.checks[CHECKS - times..].fill(status);
        let score = self.score();
        self.flapping = score >= HIGH || (self.flapping && score > LOW);
    }

    /// 0 to 100: the share of checks that changed the status, later ones weighing more (0.75 to 1.25).
    pub fn score(&self) -> f64 {
        let changes = self.checks.windows(2).map(|pair| pair[0] != pair[1]).enumerate();
        let weigh = |at: usize| 0.75 + 0.5 * at as f64 / (CHECKS - 2) as f64;
        let changed = changes.filter(|(_, changed)| *changed);
        let sum = changed.fold(0.0, |sum, (at, _)| sum + weigh(at));
        100.0 / (CHECKS - 1) as f64 * sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use HealthStatus::{Degraded, Healthy, Unhealthy, Unknown};

    #[test]
    fn the_score_is_that_of_nagios() {
        let mut flap = Flap::steady(Healthy);
        assert_eq!(flap.score(), 0.0);
        flap.note(Unhealthy, 1);
        assert!(
            (flap.score() - 6.25).abs() < 1e-9,
            "the newest change weighs 1.25: {}",
            flap.score()
        );
        flap.note(Unhealthy, 19);
        assert!((flap.score() - 3.75).abs() < 1e-9, "the oldest 0.75: {}", flap.score());
        for n in 0..20 {
            flap.note(if n % 2 == 0 { Healthy } else { Unhealthy }, 1);
        }
        assert!((flap.score() - 100.0).abs() < 1e-9, "a change at each check: {}", flap.score());
    }

    #[test]
    fn it_begins_at_thirty_and_ends_at_twenty() {
        let mut flap = Flap::steady(Healthy);
        let mut began = 0.0;
        for n in 0..20 {
            flap.note(if n % 2 == 0 { Unhealthy } else { Healthy }, 1);
            if flap.is_flapping() {
                began = flap.score();
                break;
            }
        }
        assert!((HIGH..HIGH + 6.5).contains(&began), "{began}");
        while flap.is_flapping() {
            flap.note(Healthy, 1);
        }
        assert!(flap.score() <= LOW);
    }

    #[test]
    fn unknown_is_no_state() {
        let mut flap = Flap::steady(Unknown);
        flap.note(Healthy, 1);
        flap.note(Unknown, 1);
        flap.note(Healthy, 1);
        assert_eq!(flap.score(), 0.0);
    }

    proptest! {
        #[test]
        fn the_score_is_a_percentage_and_calm_always_ends_it(
            checks in prop::collection::vec((0usize..3, 1usize..40), 0..60)
        ) {
            let mut flap = Flap::steady(Healthy);
            for (status, times) in checks {
                flap.note([Healthy, Degraded, Unhealthy][status], times);
                prop_assert!((0.0..=100.0 + 1e-9).contains(&flap.score()));
                prop_assert!(flap.score() < HIGH || flap.is_flapping());
                prop_assert!(flap.score() > LOW || !flap.is_flapping());
            }
            flap.note(Healthy, 21);
            prop_assert!(!flap.is_flapping() && flap.score() == 0.0);
        }
    }
}
