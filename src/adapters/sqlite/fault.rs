//! What SQLite answers, put into the port's words: each error says what happened and what helps.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::ports::store::{BoxError, StoreError, chain};

/// A cause in words of ours, with SQLite's own behind it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Cause {
    text: String,
    #[source]
    source: Option<rusqlite::Error>,
}

/// `Unavailable` for a reason of our own.
pub(super) fn unavailable(text: impl Into<String>) -> StoreError {
    StoreError::Unavailable(Box::new(Cause { text: text.into(), source: None }))
}

pub(super) fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::Invalid { message: message.into() }
}

pub(super) fn closed() -> StoreError {
    unavailable("the store was closed by this process")
}

/// The error of a statement inside a transaction that is rolled back, or of a read.
pub(super) fn of(error: rusqlite::Error) -> StoreError {
    let Some(code) = error.sqlite_error_code() else {
        return StoreError::Unavailable(Box::new(error));
    };
    let say = |text: &str, error: rusqlite::Error| {
        StoreError::Unavailable(Box::new(Cause { text: text.to_owned(), source: Some(error) }))
    };
    match code {
        ErrorCode::DiskFull => say(
            "the disk, or the store's own size limit, is full; nothing was written: free some space and try again",
            error,
        ),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            say("another program holds the store's lock; nothing was written", error)
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt {
            message: format!(
                "the store's file is damaged ({error}); nothing was written: restore a backup, or move the file away"
            ),
        },
        ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::AuthorizationForStatementDenied => {
            StoreError::Denied { message: format!("the store's file cannot be written ({error})") }
        }
        ErrorCode::CannotOpen => say("the store's file cannot be opened", error),
        ErrorCode::SystemIoFailure => say("the disk under the store failed", error),
        ErrorCode::OutOfMemory => say("SQLite is out of memory", error),
        ErrorCode::TooBig => {
            StoreError::Invalid { message: "the document is larger than SQLite takes".to_owned() }
        }
        _ => StoreError::Unavailable(Box::new(error)),
    }
}

/// The error of a commit: after a failed disk nobody knows whether the pages got there.
pub(super) fn of_commit(error: rusqlite::Error) -> StoreError {
    if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
        return StoreError::OutcomeUnknown(Box::new(Cause {
            text: "the disk under the store failed during the commit".to_owned(),
            source: Some(error),
        }));
    }
    of(error)
}

/// The name of the unique index (or `key`) that refused a row, when that is what `error` says.
pub(super) fn taken(error: &rusqlite::Error) -> Option<String> {
    let rusqlite::Error::SqliteFailure(code, message) = error else { return None };
    if code.extended_code != ffi::SQLITE_CONSTRAINT_UNIQUE
        && code.extended_code != ffi::SQLITE_CONSTRAINT_PRIMARYKEY
    {
        return None;
    }
    // "UNIQUE constraint failed: agents.key" or "UNIQUE constraint failed: index 'agents_u_…'"
    let text = message.as_deref().unwrap_or_default();
    let name = text.rsplit_once('\'').and_then(|(head, _)| head.rsplit_once('\''));
    Some(name.map_or_else(|| "key".to_owned(), |(_, index)| index.to_owned()))
}

/// The same error again, with its causes as words: causes cannot be copied.
pub(super) fn copy(error: &StoreError) -> StoreError {
    let source = || -> BoxError {
        let cause = std::error::Error::source(error).map_or_else(String::new, chain);
        Box::new(Cause { text: cause, source: None })
    };
    match error {
        StoreError::NotFound { collection, key } => {
            StoreError::NotFound { collection: *collection, key: key.clone() }
        }
        StoreError::Exists { collection, key, what } => {
            let (collection, key, what) = (*collection, key.clone(), what.clone());
            StoreError::Exists { collection, key, what }
        }
        StoreError::Conflict { collection, key } => {
            StoreError::Conflict { collection: *collection, key: key.clone() }
        }
        StoreError::Invalid { message } => StoreError::Invalid { message: message.clone() },
        StoreError::Denied { message } => StoreError::Denied { message: message.clone() },
        StoreError::Corrupt { message } => StoreError::Corrupt { message: message.clone() },
        StoreError::Unavailable(_) => StoreError::Unavailable(source()),
        StoreError::OutcomeUnknown(_) => StoreError::OutcomeUnknown(source()),
    }
}
