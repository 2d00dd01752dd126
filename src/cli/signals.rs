//! Signals that end a verb which has something to put away first.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::fail::Fail;

/// Hears every signal that asks the program to end; from its making on, none of them ends it by itself.
pub struct Ending {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Ending {
    /// Must be called inside a runtime.
    ///
    /// # Errors
    /// When signals cannot be heard.
    pub fn listen() -> Result<Self, Fail> {
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    /// Waits for the first; says which.
    pub async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

/// # Errors
/// When signals cannot be heard.
pub fn on(kind: SignalKind) -> Result<Signal, Fail> {
    signal(kind).map_err(|error| Fail::failed(format!("signals cannot be heard: {error}")))
}
