//! How a message goes from one status to another: each move is the fields that it sets, so that whatever else others put
//! into the document stays. Null removes a field.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{DEFAULT_ATTEMPTS, DEFAULT_TTL, KEEP_FINAL, Message, MessageStatus};
use crate::model::id::AgentId;
use crate::model::time::Time;

/// Top-level fields to set; null removes.
pub type Fields = Map<String, Value>;

/// A move that no rule allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {from} message cannot be {verb}: {why}")]
pub struct MessageRefusal {
    pub from: MessageStatus,
    /// `requeued`, `purged`, …
    pub verb: &'static str,
    pub why: &'static str,
}

/// Longest text kept of what a receiver said went wrong, in bytes.
const MAX_ERROR: usize = 2_048;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a message waits after its `attempts`-th attempt (from 1) failed: 1 s, 2 s, 4 s … ±20 %, at most 60 s.
///
/// `roll` is a random number from 0 to 1 that spreads the pauses, so that messages that failed together do not come
/// back together.
pub fn backoff(attempts: u32, roll: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(6));
    let spread = 0.8 + 0.4 * roll.clamp(0.0, 1.0);
    doubled.min(LONGEST_PAUSE).mul_f64(spread).min(LONGEST_PAUSE)
}

/// The receiver did its work.
pub fn acked(now: Time) -> Fields {
    fields(json!({
        "status": MessageStatus::Delivered,
        "acked_at": now,
        "purge_at": now.plus(KEEP_FINAL),
        "lease_owner": null,
        "lease_until": null,
    }))
}

/// Lets go of a message that was never begun: due at once, and the attempt does not count.
pub fn released(message: &Message, now: Time) -> Fields {
    fields(json!({
        "status": MessageStatus::Pending,
        "attempts": message.attempts.saturating_sub(1),
        "available_at": now,
        "lease_owner": null,
        "lease_until": null,
    }))
}

/// The attempt failed, or its lease ran out: due again after a pause, or dead when no attempt is left.
pub fn failed(message: &Message, error: &str, now: Time, roll: f64) -> Fields {
    let mut set = fields(json!({
        "last_error": clip(error),
        "lease_owner": null,
        "lease_until": null,
    }));
    if message.attempts >= message.attempts_allowed() {
        set.extend(fields(json!({
            "status": MessageStatus::Dead,
            "dead_at": now,
            "purge_at": now.plus(KEEP_FINAL),
        })));
    } else {
        set.extend(fields(json!({
            "status": MessageStatus::Pending,
            "available_at": now.plus(backoff(message.attempts, roll)),
        })));
    }
    set
}

/// Nobody took it in time.
pub fn expired(now: Time) -> Fields {
    fields(json!({ "status": MessageStatus::Expired, "purge_at": now.plus(KEEP_FINAL) }))
}

impl Message {
    /// The sender's limit, or the default for messages that do not carry one.
    pub fn attempts_allowed(&self) -> u32 {
        if self.max_attempts == 0 { DEFAULT_ATTEMPTS } else { self.max_attempts }
    }

    /// How long the sender gave it to live.
    pub fn ttl(&self) -> Duration {
        let ttl = self.expires_at.since(self.created_at);
        if ttl.is_zero() { DEFAULT_TTL } else { ttl }
    }

    /// Pending again, with all its attempts and its whole time to live.
    ///
    /// # Errors
    /// When it is under way, was delivered (replay it) or was purged (undo that).
    pub fn requeued(&self, now: Time) -> Result<Fields, MessageRefusal> {
        let refuse = |why| Err(MessageRefusal { from: self.status, verb: "requeued", why });
        match self.status {
            MessageStatus::Dead
            | MessageStatus::Failed
            | MessageStatus::Expired
            | MessageStatus::Cancelled => Ok(fields(json!({
                "status": MessageStatus::Pending,
                "attempts": 0,
                "available_at": now,
                "expires_at": now.plus(self.ttl()),
                "dead_at": null,
                "purge_at": null,
                "lease_owner": null,
                "lease_until": null,
                "status_before": self.status,
            }))),
            MessageStatus::Pending => refuse("it is waiting already"),
            MessageStatus::Leased => refuse("a receiver holds it"),
            MessageStatus::Delivered => refuse("it has been handled; replay sends a copy"),
            MessageStatus::Purged => refuse("undo the purge first"),
        }
    }

    /// A copy to be sent anew, under an id of its own; `id` is this one's.
    pub fn replayed(&self, id: &str, now: Time) -> Message {
        Message {
            status: MessageStatus::Pending,
            attempts: 0,
            available_at: now,
            lease_owner: None,
            lease_until: None,
            replay_of: Some(id.to_owned()),
            idempotency_key: None,
            last_error: None,
            created_at: now,
            delivered_at: None,
            acked_at: None,
            expires_at: now.plus(self.ttl()),
            dead_at: None,
            purge_at: None,
            status_before: None,
            seq: 0,
            ..self.clone()
        }
    }

    /// Put away for 24 h, then removed; [`Message::restored`] takes it back.
    ///
    /// # Errors
    /// When a receiver holds it, or when it is purged already.
    pub fn purged(&self, now: Time) -> Result<Fields, MessageRefusal> {
        self.put_away(MessageStatus::Purged, "purged", now)
    }

    /// Never to be delivered; [`Message::restored`] takes it back.
    ///
    /// # Errors
    /// When it is not pending.
    pub fn cancelled(&self, now: Time) -> Result<Fields, MessageRefusal> {
        if self.status.is_final() {
            let why = "only what waits can be cancelled";
            return Err(MessageRefusal { from: self.status, verb: "cancelled", why });
        }
        self.put_away(MessageStatus::Cancelled, "cancelled", now)
    }

    fn put_away(
        &self,
        to: MessageStatus,
        verb: &'static str,
        now: Time,
    ) -> Result<Fields, MessageRefusal> {
        let refuse = |why| Err(MessageRefusal { from: self.status, verb, why });
        match self.status {
            MessageStatus::Leased => refuse("a receiver holds it"),
            MessageStatus::Purged => refuse("it is purged already"),
            MessageStatus::Pending
            | MessageStatus::Delivered
            | MessageStatus::Dead
            | MessageStatus::Expired
            | MessageStatus::Cancelled
            | MessageStatus::Failed => Ok(fields(json!({
                "status": to,
                "status_before": self.status,
                "purge_at": now.plus(KEEP_FINAL),
            }))),
        }
    }

    /// Undoes a purge, a cancellation or a requeue: the status before.
    ///
    /// # Errors
    /// When nothing is remembered, or a receiver has taken it meanwhile.
    pub fn restored(&self, now: Time) -> Result<Fields, MessageRefusal> {
        let refuse = |why| Err(MessageRefusal { from: self.status, verb: "restored", why });
        let Some(before) = self.status_before else {
            return refuse("no status before this one is remembered");
        };
        match self.status {
            MessageStatus::Leased => return refuse("a receiver holds it"),
            MessageStatus::Delivered => return refuse("it has been handled meanwhile"),
            MessageStatus::Pending
            | MessageStatus::Dead
            | MessageStatus::Expired
            | MessageStatus::Cancelled
            | MessageStatus::Purged
            | MessageStatus::Failed => {}
        }
        let purge_at = if before.is_final() { json!(now.plus(KEEP_FINAL)) } else { Value::Null };
        let dead_at = if before == MessageStatus::Dead { json!(now) } else { Value::Null };
        Ok(fields(json!({
            "status": before,
            "status_before": null,
            "purge_at": purge_at,
            "dead_at": dead_at,
        })))
    }

    /// To another receiver's queue, as if sent there first.
    ///
    /// # Errors
    /// When it is not waiting: requeue or replay it instead.
    pub fn moved(&self, to: &AgentId, now: Time) -> Result<Fields, MessageRefusal> {
        if self.status != MessageStatus::Pending {
            let why = "only what waits can be moved";
            return Err(MessageRefusal { from: self.status, verb: "moved", why });
        }
        Ok(fields(json!({ "to_agent_id": to, "attempts": 0, "available_at": now })))
    }
}

/// `body` with `set` written over it; null removes.
pub fn apply(body: &mut Map<String, Value>, set: Fields) {
    for (name, value) in set {
        if value.is_null() {
            body.shift_remove(&name);
        } else {
            body.insert(name, value);
        }
    }
}

fn fields(value: Value) -> Fields {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Fields::new()
        }
    }
}

/// At most [`MAX_ERROR`] bytes, cut between characters.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ERROR)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strum::IntoEnumIterator;

    fn message(status: MessageStatus) -> Message {
        Message {
            status,
            attempts: 1,
            max_attempts: 5,
            created_at: Time::from_millis(1_000),
            expires_at: Time::from_millis(61_000),
            ..Message::default()
        }
    }

    fn after(message: &Message, set: Fields) -> Message {
        let Ok(Value::Object(mut body)) = serde_json::to_value(message) else {
            panic!("a message is an object")
        };
        apply(&mut body, set);
        serde_json::from_value(Value::Object(body)).unwrap()
    }

    proptest! {
        #[test]
        fn a_pause_doubles_within_a_fifth_and_never_passes_a_minute(
            attempts in 1u32..200, roll in 0.0f64..1.0
        ) {
            let pause = backoff(attempts, roll).as_secs_f64();
            let middle = 2f64.powi(i32::try_from(attempts).unwrap() - 1);
            prop_assert!(pause <= 60.0);
            prop_assert!(pause >= (middle * 0.8).min(48.0) - 1e-9);
            prop_assert!(pause <= middle * 1.2 + 1e-9);
        }

        #[test]
        fn a_failed_attempt_leaves_no_lease_and_ends_dead_exactly_when_none_is_left(
            attempts in 1u32..9, allowed in 1u32..9, roll in 0.0f64..1.0
        ) {
            let now = Time::from_millis(5_000);
            let mut held = message(MessageStatus::Leased);
            (held.attempts, held.max_attempts) = (attempts, allowed);
            (held.lease_owner, held.lease_until) = (Some("me".into()), Some(now));
            let then = after(&held, failed(&held, "broke", now, roll));
            prop_assert_eq!(then.lease_owner, None);
            prop_assert_eq!(then.lease_until, None);
            prop_assert_eq!(then.last_error.as_deref(), Some("broke"));
            prop_assert_eq!(then.status == MessageStatus::Dead, attempts >= allowed);
            prop_assert_eq!(then.dead_at.is_some(), attempts >= allowed);
            prop_assert_eq!(then.purge_at.is_some(), attempts >= allowed);
        }
    }

    #[test]
    fn what_may_be_requeued_purged_cancelled_and_moved() {
        let now = Time::from_millis(9_000);
        let other = AgentId::new("b").unwrap();
        let mut table = Vec::new();
        for status in MessageStatus::iter() {
            let message = message(status);
            let mut may = Vec::new();
            for (verb, answer) in [
                ("requeue", message.requeued(now)),
                ("purge", message.purged(now)),
                ("cancel", message.cancelled(now)),
                ("move", message.moved(&other, now)),
            ] {
                match answer {
                    Ok(_) => may.push(verb),
                    Err(refused) => assert!(refused.to_string().contains(status.name())),
                }
            }
            table.push(format!("{status}: {}", may.join(" ")));
        }
        assert_eq!(
            table,
            [
                "pending: purge cancel move",
                "leased: ",
                "delivered: purge",
                "dead: requeue purge",
                "expired: requeue purge",
                "cancelled: requeue purge",
                "purged: ",
                "failed: requeue purge",
            ]
        );
    }

    #[test]
    fn undoing_a_purge_gives_the_status_before() {
        let now = Time::from_millis(9_000);
        for status in [MessageStatus::Pending, MessageStatus::Dead, MessageStatus::Delivered] {
            let first = message(status);
            let purged = after(&first, first.purged(now).unwrap());
            assert_eq!(purged.status, MessageStatus::Purged);
            let back = after(&purged, purged.restored(now).unwrap());
            assert_eq!(back.status, status);
            assert_eq!(back.status_before, None);
            assert_eq!(back.purge_at.is_some(), status.is_final());
        }
        assert!(message(MessageStatus::Pending).restored(now).is_err());
    }

    #[test]
    fn a_replay_is_a_new_message_that_names_the_old_one() {
        let mut first = message(MessageStatus::Delivered);
        first.idempotency_key = Some("once".into());
        first.acked_at = Some(Time::from_millis(2_000));
        let copy = first.replayed("msg-1", Time::from_millis(9_000));
        assert_eq!(copy.replay_of.as_deref(), Some("msg-1"));
        assert_eq!((copy.status, copy.attempts), (MessageStatus::Pending, 0));
        assert_eq!((copy.idempotency_key, copy.acked_at), (None, None));
        assert_eq!(copy.expires_at, Time::from_millis(69_000));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let long = "ä".repeat(MAX_ERROR);
        assert_eq!(clip(&long).len(), MAX_ERROR);
        assert_eq!(clip(&"xä".repeat(MAX_ERROR)).len(), MAX_ERROR - 1);
    }

    #[test]
    fn fields_of_others_survive_a_move() {
        let mut body = Map::from_iter([("theirs".to_owned(), json!({"x": 1}))]);
        apply(&mut body, acked(Time::EPOCH));
        assert_eq!(body["theirs"]["x"], 1);
        assert!(!body.contains_key("lease_owner"));
    }
}
