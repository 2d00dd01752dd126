//! The signals that a console heeds: those that end it, a resized terminal, and going on after a stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that a console heeds.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    interrupt: Signal,
    pub(super) hang_up: Signal,
    resize: Signal,
    resume: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            resize: signal(SignalKind::window_change())?,
            resume: signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
        })
    }

    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::Stop,
            _ = self.interrupt.recv() => Heard::Stop,
            _ = self.hang_up.recv() => Heard::Stop,
            _ = self.resize.recv() => Heard::Resize,
            _ = self.resume.recv() => Heard::Resume,
        }
    }
}

/// What a signal asks for.
pub(super) enum Heard {
    Stop,
    Resize,
    /// The process was stopped and goes on.
    Resume,
}
