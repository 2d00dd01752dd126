//! Real load: a core kept busy, memory held and touched.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// What this process burns.
#[derive(Debug)]
pub struct Load {
    held: Vec<u8>,
    cpu: f64,
}

const PAGE: usize = 4_096;
/// Short enough that heartbeats and other messages of the same thread are hardly held up.
const SLICE: Duration = Duration::from_millis(10);

impl Load {
    /// Takes `bytes` of memory and writes to every page of it, so that it is really there.
    pub fn hold(bytes: u64, cpu: f64) -> Self {
        let mut held = vec![0u8; usize::try_from(bytes).unwrap_or(0)];
        for page in held.iter_mut().step_by(PAGE) {
            *page = 1;
        }
        Self { held: black_box(held), cpu: cpu.clamp(0.0, 1.0) }
    }

    /// Works for `span`: of every 10 ms, the wanted share computing and the rest asleep.
    pub async fn work(&self, span: Duration) {
        if self.cpu == 0.0 {
            if !span.is_zero() {
                sleep(span).await;
            }
            return;
        }
        let end = Instant::now() + span;
        let mut sum = 0u64;
        loop {
            let began = Instant::now();
            if began >= end {
                break;
            }
            let busy = SLICE.min(end - began).mul_f64(self.cpu);
            let spin = std::time::Instant::now();
            while spin.elapsed() < busy {
                for step in 0..2_000u64 {
                    sum = black_box(sum.wrapping_mul(31).wrapping_add(step));
                }
            }
            let rest = SLICE.saturating_sub(began.elapsed()).min(end - began);
            // all of a core wanted: the others still get a look in
            if rest.is_zero() { tokio::task::yield_now().await } else { sleep(rest).await }
        }
        black_box(sum);
        if let Some(first) = self.held.first() {
            black_box(*first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nanoseconds that this thread has spent on a core.
    #[cfg(target_os = "linux")]
    fn spent() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn work_takes_its_time_and_about_its_share_of_a_core() {
        let load = Load::hold(1 << 20, 0.2);
        let (began, before) = (std::time::Instant::now(), spent());
        load.work(Duration::from_millis(300)).await;
        let millis = (spent() - before) / 1_000_000;
        assert!(began.elapsed() >= Duration::from_millis(300));
        // a loaded machine gives it less than it asks for, never more
        assert!((5..=100).contains(&millis), "{millis} ms of CPU in 300 ms at a fifth");
    }
}
