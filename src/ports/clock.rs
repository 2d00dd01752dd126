//! The clock: what time documents are stamped with, and the steady one that leases and pauses are measured by.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::model::time::Time;

/// Tells the time. Shared by every task as `Arc<dyn Clock>`.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The wall clock: for stamps in documents, never for measuring.
    fn now(&self) -> Time;
    /// The steady clock: for measuring, never stored.
    fn instant(&self) -> Instant;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    fn now(&self) -> Time {
        Time::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    fn instant(&self) -> Instant {
        // tokio's instant follows the paused clock of tests
        tokio::time::Instant::now().into_std()
    }
}
