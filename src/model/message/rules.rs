//! What a message must be like to be stored. Every fault is listed, so that a sender mends them all at once.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    MAX_ATTEMPTS, MAX_DEPTH, MAX_PAYLOAD, MAX_TAG, MAX_TTL, Message, MessageStatus, NewMessage,
};
use crate::model::template::FieldError;
use crate::model::time::Time;

impl NewMessage {
    /// Checks everything that can be checked without the store.
    ///
    /// # Errors
    /// Every fault, each with a JSON pointer into the message and what was expected instead.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        kind(&mut faults, "/message_type", &self.message_type);
        payload(&mut faults, "/payload", &self.payload);
        ttl(&mut faults, "/ttl", self.ttl);
        if !(1..=10).contains(&self.priority) {
            let got = self.priority;
            faults.push(FieldError::new(
                "/priority",
                format!("expected 1 to 10 (10 goes first), got {got}"),
            ));
        }
        if !(1..=MAX_ATTEMPTS).contains(&self.max_attempts) {
            let got = self.max_attempts;
            faults.push(FieldError::new(
                "/max_attempts",
                format!("expected 1 to {MAX_ATTEMPTS}, got {got}"),
            ));
        }
        for (path, text) in
            [("/correlation_id", &self.correlation_id), ("/idempotency_key", &self.idempotency_key)]
        {
            if let Some(text) = text {
                tag(&mut faults, path, text);
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The document to store for this message, sent at `now`. Call [`NewMessage::check`] first.
    pub fn compose(&self, now: Time) -> Message {
        let priority = u8::try_from(self.priority.clamp(1, 10)).unwrap_or(5);
        Message {
            from_agent_id: self.from.to_string(),
            to_agent_id: self.to.to_string(),
            message_type: self.message_type.clone(),
            payload: self.payload.clone(),
            priority,
            rank: 10 - priority,
            status: MessageStatus::Pending,
            max_attempts: self.max_attempts,
            available_at: now,
            correlation_id: self.correlation_id.clone(),
            reply_to: self.reply_to.as_ref().map(ToString::to_string),
            idempotency_key: self.idempotency_key.clone(),
            created_at: now,
            expires_at: now.plus(self.ttl),
            ..Message::default()
        }
    }
}

/// Types of messages and publications: `[a-z][a-z0-9_]{0,63}`.
pub fn is_kind(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.len() <= 64
        && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && text.bytes().all(fine)
}

pub(in crate::model) fn kind(faults: &mut Vec<FieldError>, path: &str, text: &str) {
    if !is_kind(text) {
        let shown: String = text.chars().take(80).collect();
        faults.push(FieldError::new(
            path,
            format!(
                "expected 1 to 64 characters of a-z, 0-9 and '_', starting with a letter, got {shown:?}"
            ),
        ));
    }
}

pub(in crate::model) fn payload(
    faults: &mut Vec<FieldError>,
    path: &str,
    payload: &Map<String, Value>,
) {
    let deep = depth(payload.values());
    if deep > MAX_DEPTH {
        faults.push(FieldError::new(
            path,
            format!("expected at most {MAX_DEPTH} levels of nesting, got more"),
        ));
        return; // its size is not worth knowing, and writing it out would nest as deep
    }
    let bytes = weight(payload);
    if bytes > MAX_PAYLOAD {
        faults.push(FieldError::new(
            path,
            format!("expected at most {MAX_PAYLOAD} bytes of JSON, got {bytes}"),
        ));
    }
}

pub(in crate::model) fn ttl(faults: &mut Vec<FieldError>, path: &str, ttl: Duration) {
    if ttl.is_zero() || ttl > MAX_TTL {
        let got = crate::model::time::span::format(ttl);
        faults.push(FieldError::new(
            path,
            format!("expected a time to live above zero and of at most a year, got {got}"),
        ));
    }
}

fn tag(faults: &mut Vec<FieldError>, path: &str, text: &str) {
    if text.is_empty() || text.len() > MAX_TAG || text.chars().any(char::is_control) {
        faults.push(FieldError::new(
            path,
            format!("expected 1 to {MAX_TAG} bytes of text without control characters"),
        ));
    }
}

/// Bytes of the payload's JSON text, counted without building it.
fn weight(payload: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, payload) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

/// Levels of nesting, this one included; stops counting one past [`MAX_DEPTH`], so hostile depth costs no stack.
fn depth<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    let mut level: Vec<&Value> = values.collect();
    let mut deep = 1;
    while deep <= MAX_DEPTH {
        let next: Vec<&Value> = level
            .iter()
            .filter(|value| value.is_object() || value.is_array())
            .flat_map(|value| match value {
                Value::Object(map) => map.values().collect::<Vec<_>>(),
                Value::Array(list) => list.iter().collect(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
            })
            .collect();
        if !level.iter().any(|value| value.is_object() || value.is_array()) {
            return deep;
        }
        deep += 1;
        level = next;
    }
    deep
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::AgentId;

    fn fine() -> NewMessage {
        NewMessage::new(AgentId::new("a").unwrap(), AgentId::new("b").unwrap(), "task_request")
    }

    fn nested(levels: usize) -> Map<String, Value> {
        let mut value = Value::from(1);
        for _ in 1..levels {
            value = Value::Array(vec![value]);
        }
        Map::from_iter([("x".to_owned(), value)])
    }

    #[test]
    fn every_fault_is_listed_at_once() {
        let mut new = fine();
        new.message_type = "Task Request".into();
        new.priority = 11;
        new.ttl = Duration::ZERO;
        new.max_attempts = 0;
        new.idempotency_key = Some(String::new());
        new.payload = nested(33);
        let paths: Vec<String> =
            new.check().unwrap_err().into_iter().map(|fault| fault.path).collect();
        assert_eq!(
            paths,
            ["/message_type", "/payload", "/ttl", "/priority", "/max_attempts", "/idempotency_key"]
        );
    }

    #[test]
    fn the_limits_themselves_are_allowed_and_one_past_them_is_not() {
        let with = |change: fn(&mut NewMessage)| {
            let mut new = fine();
            change(&mut new);
            new.check().is_ok()
        };
        assert!(with(|new| new.payload = nested(32)));
        assert!(!with(|new| new.payload = nested(33)));
        assert!(with(|new| new.priority = 1) && with(|new| new.priority = 10));
        assert!(!with(|new| new.priority = 0) && !with(|new| new.priority = -1));
        assert!(with(|new| new.ttl = MAX_TTL));
        assert!(!with(|new| new.ttl = MAX_TTL + Duration::from_millis(1)));
        assert!(with(|new| new.message_type = format!("a{}", "0".repeat(63))));
        assert!(!with(|new| new.message_type = "a".repeat(65)));
        // {"x":"…"} is eight bytes around its text
        let filled = |bytes: usize| {
            let mut new = fine();
            new.payload.insert("x".into(), "y".repeat(bytes - 8).into());
            new.check().is_ok()
        };
        assert!(filled(MAX_PAYLOAD));
        assert!(!filled(MAX_PAYLOAD + 1));
    }

    #[test]
    fn a_very_deep_payload_is_refused_without_using_up_the_stack() {
        let mut new = fine();
        new.payload = nested(50_000);
        let refused = new.check().is_err();
        // dropping such a value would itself recurse as deep: leak it
        std::mem::forget(new);
        assert!(refused);
    }

    #[test]
    fn rank_turns_priority_round() {
        let mut new = fine();
        new.priority = 10;
        let message = new.compose(Time::from_millis(1_000));
        assert_eq!((message.priority, message.rank), (10, 0));
        assert_eq!(message.expires_at, Time::from_millis(3_601_000));
    }
}
