//! Delays that `update` asked for. No tick: with nothing asked for, nothing wakes.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::tui::event::Alarm;

/// More than a handful at once never happens.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    /// The earliest last.
    waiting: Vec<(Instant, Alarm)>,
}

impl Alarms {
    /// Rings `alarm` after `delay`. One of the same kind and number that still waits is replaced.
    pub(super) fn add(&mut self, alarm: Alarm, delay: Duration) {
        self.waiting.retain(|(_, waiting)| *waiting != alarm);
        self.waiting.push((Instant::now() + delay, alarm));
        self.waiting.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    /// Returns the next one when its time has come. Cancel-safe.
    pub(super) async fn next(&mut self) -> Alarm {
        match self.waiting.last().copied() {
            Some((at, alarm)) => {
                sleep_until(at).await;
                self.waiting.pop();
                alarm
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn alarms_ring_in_order_and_a_repeated_one_only_once() {
        let mut alarms = Alarms::default();
        alarms.add(Alarm::Minute, Duration::from_secs(60));
        alarms.add(Alarm::Toast(1), Duration::from_secs(6));
        alarms.add(Alarm::Minute, Duration::from_secs(30));
        assert_eq!(alarms.next().await, Alarm::Toast(1));
        assert_eq!(alarms.next().await, Alarm::Minute);
        let none = tokio::time::timeout(Duration::from_secs(3600), alarms.next()).await;
        assert!(none.is_err(), "nothing rings twice");
    }
}
