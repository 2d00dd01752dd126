//! Everything that can wake the console. A closed enum: what is not here cannot happen.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::effect::{EditOrder, EffectId, ShellOrder};
use super::keys::Key;
use super::theme::Background;
use crate::engine::forward::Forwarded;
use crate::engine::handle::{CommandError, Description};
use crate::model::id::OperationId;
use crate::model::plan::Plan;
use crate::model::text::Safe;
use crate::ports::runtime::{LogLine, RuntimeError};
use crate::ports::site;
use crate::ports::store::{Bookmark, Document, StoreError};

#[derive(Debug)]
pub enum Event {
    Key(Key),
    Paste(String),
    Resize,
    /// The terminal said what its background is.
    Background(Background),
    /// The engine published a newer view.
    View,
    /// Something was written into the journal, by whatever process.
    Journal(Arc<crate::model::event::Event>),
    /// Journal entries were missed; what shows them reads again.
    JournalGap,
    /// More lines of followed logs.
    Lines(EffectId, LogBatch),
    /// An effect came back, or failed, or panicked.
    Done(EffectId, Result<Reply, Fault>),
    /// Something of the console's own went wrong behind it.
    Trouble(Safe),
    /// A delay that `update` asked for has passed.
    Alarm(Alarm),
    /// The editor has ended: what was to be edited, and what became of it.
    Edited(Box<EditOrder>, Result<Edited, Safe>),
    /// The shell has ended, with this exit code or for this reason.
    Shelled(Box<ShellOrder>, Result<i32, Safe>),
}

/// What an editor left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    pub text: String,
    /// Where it is kept until it is written or thrown away.
    pub file: PathBuf,
}

/// Lines that came together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogBatch {
    /// Each with the place of its source among those asked for.
    pub lines: Vec<(u16, LogLine)>,
    /// How many the filter left out.
    pub left_out: u64,
}

impl From<Vec<LogLine>> for LogBatch {
    /// Lines of the only source.
    fn from(lines: Vec<LogLine>) -> Self {
        Self { lines: lines.into_iter().map(|line| (0, line)).collect(), left_out: 0 }
    }
}

/// What an effect brought.
#[derive(Debug)]
pub enum Reply {
    Plan(Box<Plan>),
    /// The operation that brings the plan about.
    Confirmed(OperationId),
    /// A running operation will stop after its batch.
    Cancelled,
    Document(Box<Document>),
    /// With its secrets: to be kept out of every file.
    Revealed(Box<Document>),
    Described(Description),
    Listed(Vec<Document>, Option<Bookmark>),
    Site(Box<site::Answer>),
    Forwards(Vec<Forwarded>),
    /// A port is reachable from now on, or no longer is.
    Forwarded(Box<Forwarded>),
    Unforwarded(Box<Forwarded>),
    /// A followed log has no more lines.
    LogEnded,
    /// What was recorded is in files that begin with this path.
    Dumped(String),
}

/// Why an effect brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the task that asked the engine panicked; the log has more")]
    Panicked,
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("nothing was written: {0}")]
    Dump(String),
}

impl Fault {
    /// It was understood and answered with no: asking again brings the same.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Command(error) => matches!(
                error,
                CommandError::Denied { .. }
                    | CommandError::Refused { .. }
                    | CommandError::Runtime(RuntimeError::Forbidden { .. })
            ),
            Self::Timeout(_) | Self::Panicked | Self::Dump(_) => false,
        }
    }

    /// What was asked for may have been done all the same.
    pub fn leaves_open(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Panicked => true,
            Self::Command(error) => matches!(
                error,
                CommandError::Timeout(_)
                    | CommandError::Store(StoreError::OutcomeUnknown(_))
                    | CommandError::Runtime(RuntimeError::OutcomeUnknown(_))
            ),
            Self::Dump(_) => false,
        }
    }
}

/// A delay that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alarm {
    /// The toast with this number has been seen long enough.
    Toast(u64),
    /// The operator's files are to be looked at again.
    Files,
    /// What changed has been shown long enough.
    Fade,
    /// Rows were read not long ago; now they may be read again.
    Reread,
    /// A minute is over: ages show another number.
    Minute,
}
