//! What the server, or the way to it, answers when something is wrong, put into the port's words. Texts of the server are
//! somebody else's: they pass `Safe` before they get anywhere.

use serde_json::Value;

use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::ports::store::{Key, StoreError};

/// ArangoDB's own numbers for what went wrong, as far as they mean something to us.
pub(super) mod number {
    pub(crate) const FORBIDDEN: u64 = 11;
    pub(crate) const LOCK_TIMEOUT: u64 = 18;
    pub(crate) const READ_ONLY: u64 = 1004;
    pub(crate) const CONFLICT: u64 = 1200;
    pub(crate) const DOCUMENT_NOT_FOUND: u64 = 1202;
    pub(crate) const COLLECTION_NOT_FOUND: u64 = 1203;
    pub(crate) const DUPLICATE_NAME: u64 = 1207;
    pub(crate) const UNIQUE: u64 = 1210;
    pub(crate) const DATABASE_NOT_FOUND: u64 = 1228;
    pub(crate) const TIMEOUT: u64 = 1457;
    pub(crate) const ASSERT: u64 = 1593;
    pub(crate) const TRANSACTION_ABORTED: u64 = 1653;
    pub(crate) const TRANSACTION_NOT_FOUND: u64 = 1655;
    pub(crate) const GRAPH_DUPLICATE: u64 = 1925;
}

/// Why a request has no good answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// It never reached a server: nothing was done.
    #[error("{0}")]
    Refused(String),
    /// It was sent and nothing came back: it may have been done.
    #[error("{0}")]
    Silent(String),
    /// The server said no.
    #[error("ArangoDB answered {status}/{number}: {message}")]
    Answered { status: u16, number: u64, message: String },
    /// The server answered something that no ArangoDB answers.
    #[error("{0}")]
    Strange(String),
    /// The store was closed by this process.
    #[error("the store was closed by this process")]
    Closed,
}

impl Failure {
    /// What an answer of 400 and above says.
    pub(super) fn answered(status: u16, body: &[u8]) -> Self {
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let number = parsed.get("errorNum").and_then(Value::as_u64).unwrap_or_default();
        let message = parsed.get("errorMessage").and_then(Value::as_str);
        let message = message.map_or_else(
            || String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
            |message| message.chars().take(1_000).collect(),
        );
        Self::Answered { status, number, message: Safe::new(&message).to_string() }
    }

    pub(super) fn is(&self, wanted: u64) -> bool {
        matches!(self, Self::Answered { number, .. } if *number == wanted)
    }

    /// Two writers met; nothing was written by this one, and the same again may work.
    pub(super) fn is_conflict(&self) -> bool {
        self.is(number::CONFLICT) || self.is(number::LOCK_TIMEOUT)
    }

    /// The server is not ready for anything; it did not begin with this request.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Answered { status: 503, number, .. } if *number != number::TIMEOUT)
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            Self::Refused(_) | Self::Silent(_) | Self::Strange(_) | Self::Closed => None,
        }
    }

    /// The fields of the unique index that refused a document (`key` for the key itself), when that is what happened.
    pub(super) fn taken(&self) -> Option<String> {
        let Self::Answered { number: number::UNIQUE, message, .. } = self else { return None };
        let fields = message.split_once("over '").and_then(|(_, rest)| rest.split_once('\''));
        Some(match fields {
            Some(("_key", _)) => "key".to_owned(),
            Some((fields, _)) => fields.to_owned(),
            None => "key".to_owned(),
        })
    }

    /// The port's error of something that only reads, or that surely wrote nothing.
    pub(super) fn nothing_written(self) -> StoreError {
        match &self {
            Self::Answered { status, number, message } => match (*status, *number) {
                (_, number::READ_ONLY) => StoreError::Denied {
                    message: "the ArangoDB server is in read-only mode, or the user may only read; nothing was written"
                        .to_owned(),
                },
                (401, _) => StoreError::Denied {
                    message: "ArangoDB does not know this user and password (401)".to_owned(),
                },
                (403, _) | (_, number::FORBIDDEN) => {
                    StoreError::Denied { message: format!("ArangoDB: {message} ({status}/{number})") }
                }
                (_, number::COLLECTION_NOT_FOUND) => StoreError::Corrupt {
                    message: format!(
                        "a collection is missing on the server ({message}); it is made again, empty, when a console or daemon starts: restore a backup first"
                    ),
                },
                (_, number::DATABASE_NOT_FOUND) => StoreError::Corrupt {
                    message: format!("the database is missing on the server ({message})"),
                },
                (_, number::ASSERT) => StoreError::Invalid { message: message.clone() },
                (400, _) => {
                    StoreError::Invalid { message: format!("ArangoDB: {message} ({status}/{number})") }
                }
                _ => StoreError::Unavailable(Box::new(self)),
            },
            Self::Refused(_) | Self::Silent(_) | Self::Strange(_) | Self::Closed => {
                StoreError::Unavailable(Box::new(self))
            }
        }
    }

    /// The port's error of a write whose answer this is.
    pub(super) fn of_write(self) -> StoreError {
        match &self {
            Self::Silent(_) | Self::Strange(_) => StoreError::OutcomeUnknown(Box::new(self)),
            Self::Answered { status: 500.., number, .. }
                if !self.is_busy() && *number != number::CONFLICT =>
            {
                StoreError::OutcomeUnknown(Box::new(self))
            }
            Self::Refused(_) | Self::Answered { .. } | Self::Closed => self.nothing_written(),
        }
    }
}

pub(super) fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::Invalid { message: message.into() }
}

pub(super) fn closed() -> StoreError {
    StoreError::Unavailable(Box::new(Failure::Closed))
}

pub(super) fn unavailable(text: impl Into<String>) -> StoreError {
    StoreError::Unavailable(Box::new(Failure::Strange(text.into())))
}

/// A key that the server holds; somebody else may have written it in a form that ours never have.
pub(super) fn known_key(collection: Collection, key: &str) -> Result<Key, StoreError> {
    Key::new(key).map_err(|error| StoreError::Corrupt {
        message: format!("{collection} holds a document of another program: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, number: u64, message: &str) -> Failure {
        let body = serde_json::json!({"error": true, "code": status, "errorNum": number, "errorMessage": message});
        Failure::answered(status, body.to_string().as_bytes())
    }

    #[test]
    fn a_taken_index_is_named_by_its_fields() {
        let over = |what: &str| {
            let text = format!(
                "unique constraint violated - in index idx_1 of type persistent over '{what}'; conflicting key: x"
            );
            answered(409, 1210, &text).taken()
        };
        assert_eq!(over("template_id, version").as_deref(), Some("template_id, version"));
        assert_eq!(over("_key").as_deref(), Some("key"));
        assert_eq!(answered(409, 1200, "write-write conflict").taken(), None);
    }

    #[test]
    fn each_answer_becomes_the_error_that_tells_what_to_do() {
        use StoreError::{Corrupt, Denied, Invalid, OutcomeUnknown, Unavailable};
        assert!(matches!(answered(401, 11, "no").nothing_written(), Denied { .. }));
        assert!(matches!(answered(403, 1004, "read only").of_write(), Denied { .. }));
        assert!(matches!(answered(404, 1203, "x").of_write(), Corrupt { .. }));
        assert!(matches!(answered(400, 1501, "syntax error").nothing_written(), Invalid { .. }));
        assert!(matches!(answered(503, 503, "").of_write(), Unavailable(_)));
        assert!(matches!(answered(503, 1457, "timeout").of_write(), OutcomeUnknown(_)));
        assert!(matches!(answered(500, 4, "internal").of_write(), OutcomeUnknown(_)));
        assert!(matches!(answered(500, 4, "internal").nothing_written(), Unavailable(_)));
        assert!(matches!(Failure::Silent("s".into()).of_write(), OutcomeUnknown(_)));
        assert!(matches!(Failure::Silent("s".into()).nothing_written(), Unavailable(_)));
        assert!(matches!(Failure::Refused("r".into()).of_write(), Unavailable(_)));
    }

    #[test]
    fn a_strange_answer_is_an_error_with_its_text_made_harmless() {
        let odd = Failure::answered(502, b"<html>\x1b[2Jbad gateway");
        assert!(
            matches!(&odd, Failure::Answered { status: 502, number: 0, message } if !message.contains('\u{1b}'))
        );
    }

    /// Bodies as servers of ArangoDB's own have sent them (its documentation and its users' reports), for errors that are
    /// rarely met: what is to be asked again, what was surely not done, what must be looked up.
    #[test]
    fn what_real_servers_have_said_is_understood() {
        use StoreError::{Corrupt, Denied, OutcomeUnknown, Unavailable};
        let recorded = |status: u16, body: &str| Failure::answered(status, body.as_bytes());
        let starting = recorded(
            503,
            r#"{"error":true,"errorNum":503,"errorMessage":"service unavailable due to startup or maintenance mode","code":503}"#,
        );
        let follower = recorded(
            503,
            r#"{"error":true,"errorNum":1496,"errorMessage":"not a leader","code":503}"#,
        );
        let full = recorded(
            503,
            r#"{"error":true,"errorNum":21003,"errorMessage":"queue is full","code":503}"#,
        );
        for busy in [starting, follower, full] {
            assert!(busy.is_busy(), "it did not begin, so it may be asked again: {busy}");
            assert!(matches!(busy.of_write(), Unavailable(_)));
        }
        let unknown = recorded(
            401,
            r#"{"code":401,"error":true,"errorNum":11,"errorMessage":"not authorized to execute this request"}"#,
        );
        assert!(matches!(unknown.of_write(), Denied { message } if message.contains("password")));
        let killed = recorded(
            410,
            r#"{"error":true,"errorNum":1500,"errorMessage":"query killed","code":410}"#,
        );
        assert!(matches!(killed.of_write(), Unavailable(_)), "a killed statement wrote nothing");
        let late = recorded(
            412,
            r#"{"error":true,"errorNum":21004,"errorMessage":"queue time violated","code":412}"#,
        );
        assert!(!late.is_conflict() && matches!(late.of_write(), Unavailable(_)));
        let cluster = recorded(
            503,
            r#"{"error":true,"errorNum":1457,"errorMessage":"timeout in cluster operation","code":503}"#,
        );
        assert!(!cluster.is_busy(), "another server may have done it");
        assert!(matches!(cluster.of_write(), OutcomeUnknown(_)));
        let proxy = recorded(502, "<html><head><title>502 Bad Gateway</title></head></html>");
        assert!(
            matches!(proxy.of_write(), OutcomeUnknown(_)),
            "what stands in between says nothing"
        );
        let gone = recorded(
            404,
            r#"{"error":true,"errorMessage":"collection or view not found: agents","code":404,"errorNum":1203}"#,
        );
        assert!(matches!(gone.nothing_written(), Corrupt { .. }));
        let timeout = recorded(
            409,
            r#"{"error":true,"errorNum":18,"errorMessage":"timeout waiting to lock key","code":409}"#,
        );
        assert!(timeout.is_conflict());
    }
}
