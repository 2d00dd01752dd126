//! How a verb fails: what is said on stderr and with which exit code.

use crate::engine::handle::CommandError;
use crate::model::text::Safe;
use crate::ports::store::{Advice, StoreError, chain};

/// A failure with its exit code: 1 failed, 2 usage or validation, 3 store unreachable, 4 conflict or precondition.
#[derive(Debug)]
pub struct Fail {
    pub code: u8,
    /// Already safe to print; may have several lines.
    pub message: String,
}

impl Fail {
    pub fn failed(message: impl AsRef<str>) -> Self {
        Self::with(1, message)
    }

    pub fn usage(message: impl AsRef<str>) -> Self {
        Self::with(2, message)
    }

    pub fn with(code: u8, message: impl AsRef<str>) -> Self {
        let lines = Safe::lines(message.as_ref());
        Self { code, message: lines.iter().map(Safe::as_str).collect::<Vec<_>>().join("\n") }
    }
}

impl From<CommandError> for Fail {
    fn from(error: CommandError) -> Self {
        let code = match &error {
            CommandError::Invalid { .. } | CommandError::NotFound { .. } => 2,
            CommandError::Refused { .. }
            | CommandError::PlanChanged { .. }
            | CommandError::NotConfirmed { .. }
            | CommandError::Denied { .. } => 4,
            CommandError::Stale => 3,
            CommandError::Store(store) => return Self::from_store(store),
            CommandError::Runtime(_) | CommandError::Timeout(_) => 1,
        };
        if let CommandError::Invalid { errors } = &error {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Self::with(2, format!("invalid:\n  {}", lines.join("\n  ")));
        }
        Self::with(code, chain(&error))
    }
}

impl Fail {
    pub fn from_store(error: &StoreError) -> Self {
        let code = match error {
            StoreError::Invalid { .. } => 2,
            StoreError::Conflict { .. } | StoreError::Exists { .. } => 4,
            StoreError::NotFound { .. } => 1,
            StoreError::Denied { .. }
            | StoreError::Unavailable(_)
            | StoreError::OutcomeUnknown(_)
            | StoreError::Corrupt { .. } => 3,
        };
        let hint = match error.advice() {
            Advice::RetryLater => " (try again; `cvxc doctor` looks for the cause)",
            Advice::Stop | Advice::Reload | Advice::ReadBack => "",
        };
        Self::with(code, format!("{}{hint}", chain(error)))
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::from_store(&error)
    }
}

impl From<std::io::Error> for Fail {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
