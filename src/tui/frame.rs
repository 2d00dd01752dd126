//! When a frame may be drawn. Draws nothing itself and knows nothing of what is on it.
//!
//! A frame that a key or an answer asked for is due 2 ms after the last one, one that only newer data asked for 33 ms
//! (100 ms over SSH); the earlier wish wins. While nobody asked, none is due: an idle console sleeps.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Between two frames when a person waits for the second.
const QUICK: Duration = Duration::from_millis(2);
/// Between two frames that only newer data asks for: 30 a second.
const LOCAL: Duration = Duration::from_millis(33);
/// The same where each byte crosses a network: 10 a second.
const REMOTE: Duration = Duration::from_millis(100);
/// However slow the terminal, two frames a second are still drawn.
const SLOWEST: Duration = Duration::from_millis(500);

/// At most one frame per gap; none while nothing changed.
#[derive(Debug)]
pub struct FrameClock {
    data_gap: Duration,
    /// How often the writer has halved the rate; see `writer::Pace`.
    halvings: u8,
    last: Instant,
    wanted: Option<Wish>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Quick,
    Data,
}

impl FrameClock {
    /// A clock whose first frame is wanted at once. `remote`: the terminal is at the other end of an SSH connection.
    pub fn new(remote: bool) -> Self {
        let data_gap = if remote { REMOTE } else { LOCAL };
        let now = Instant::now();
        let last = now.checked_sub(SLOWEST).unwrap_or(now);
        Self { data_gap, halvings: 0, last, wanted: Some(Wish::Quick) }
    }

    /// A person waits: a key, an answer, a resize.
    pub fn want_quick(&mut self) {
        self.wanted = Some(Wish::Quick);
    }

    /// Newer data is there to be shown.
    pub fn want_data(&mut self) {
        self.wanted = Some(self.wanted.map_or(Wish::Data, |wish| wish.min(Wish::Data)));
    }

    /// Slows down to what the terminal can drain: every step halves the rate, down to two frames a second.
    pub fn pace(&mut self, halvings: u8) {
        self.halvings = halvings;
    }

    fn gap(&self, wish: Wish) -> Duration {
        let gap = match wish {
            Wish::Quick => QUICK,
            Wish::Data => self.data_gap,
        };
        gap.saturating_mul(1_u32 << self.halvings.min(8)).min(SLOWEST)
    }

    /// Returns when a frame may be drawn. Cancel-safe: changes nothing until it returns.
    pub async fn due(&mut self) {
        let Some(wish) = self.wanted else { return pending().await };
        let at = self.last + self.gap(wish);
        // Tokio's timer rounds up to its next millisecond, which a person waiting for a key would pay.
        if at > Instant::now() {
            sleep_until(at).await;
        }
        (self.wanted, self.last) = (None, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::{mpsc, watch};
    use tokio::time::{Instant, interval, sleep, timeout};

    use super::*;

    /// Draws like the console's loop for `span`; returns the times of the frames.
    async fn frames(
        clock: &mut FrameClock,
        mut views: watch::Receiver<u64>,
        mut keys: mpsc::Receiver<()>,
        span: Duration,
    ) -> Vec<Instant> {
        let mut drawn = Vec::new();
        let end = Instant::now() + span;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => return drawn,
                () = clock.due() => drawn.push(Instant::now()),
                Some(()) = keys.recv() => clock.want_quick(),
                Ok(()) = views.changed() => clock.want_data(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_views_in_a_second_give_thirty_frames() {
        let mut clock = FrameClock::new(false);
        let (view, views) = watch::channel(0);
        let (key, keys) = mpsc::channel(1);
        let producer = async {
            let mut tick = interval(Duration::from_millis(1));
            loop {
                tick.tick().await;
                view.send_modify(|n| *n += 1);
            }
        };
        let drawn = tokio::select! {
            drawn = frames(&mut clock, views, keys, Duration::from_secs(1)) => drawn,
            () = producer => unreachable!(),
        };
        drop(key);
        assert!((29..=32).contains(&drawn.len()), "{}", drawn.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_hour_draws_one_frame() {
        let mut clock = FrameClock::new(false);
        let (_view, views) = watch::channel(0);
        let (_key, keys) = mpsc::channel(1);
        let drawn = frames(&mut clock, views, keys, Duration::from_secs(3600)).await;
        assert_eq!(drawn.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_does_not_wait_for_the_gap_of_the_data() {
        let mut clock = FrameClock::new(true);
        clock.due().await;
        let begin = Instant::now();
        clock.want_data();
        assert!(
            timeout(Duration::from_millis(50), clock.due()).await.is_err(),
            "data waits 100 ms"
        );
        clock.want_quick();
        clock.want_data();
        clock.due().await;
        assert_eq!(begin.elapsed(), Duration::from_millis(50), "the earlier wish wins");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_keys_starves_neither_the_screen_nor_the_quit_key() {
        let mut clock = FrameClock::new(false);
        let (_view, views) = watch::channel(0);
        let (key, keys) = mpsc::channel(256);
        let flood = async move {
            loop {
                key.send(()).await.unwrap();
                if key.capacity() == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
        };
        let drawn = tokio::select! {
            drawn = frames(&mut clock, views, keys, Duration::from_secs(1)) => drawn,
            () = flood => unreachable!("it never ends"),
        };
        assert!(drawn.len() > 200, "{}", drawn.len());
        let close = drawn.windows(2).filter(|pair| pair[1] - pair[0] < QUICK).count();
        assert_eq!(close, 0, "two frames closer than the gap");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_terminal_halves_the_rate_but_never_below_two_a_second() {
        let mut clock = FrameClock::new(false);
        clock.due().await;
        for (halvings, gap) in [(0, 33), (1, 66), (3, 264), (4, 500), (200, 500)] {
            clock.pace(halvings);
            let begin = Instant::now();
            clock.want_data();
            clock.due().await;
            assert_eq!(begin.elapsed(), Duration::from_millis(gap), "{halvings} halvings");
        }
    }
}
