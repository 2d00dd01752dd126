//! Stored documents as the filter language sees them: what is not in the view (messages, publications, journal entries)
//! is read from the store and filtered by the same fields in the console and on the command line.

use serde_json::{Map, Value};

use super::{NUMBER, SPAN, TEXT};
use crate::model::filter::query::{FieldKind, FieldSpec, FieldValue, Row};
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::Document;

pub const MESSAGE_FIELDS: &[FieldSpec] = &[
    FieldSpec::new("id", TEXT),
    FieldSpec::new("from", TEXT),
    FieldSpec::new("to", TEXT),
    FieldSpec::new("type", TEXT).stored("message_type"),
    FieldSpec::new("status", TEXT).stored("status"),
    FieldSpec::new("error", TEXT),
    FieldSpec::new("correlation", TEXT),
    FieldSpec::new("priority", NUMBER).stored("priority"),
    FieldSpec::new("attempts", NUMBER).stored("attempts"),
    FieldSpec::new("seq", NUMBER).stored("seq"),
    FieldSpec::new("age", SPAN),
    FieldSpec::new("payload.*", FieldKind::Any),
];

pub const PUBLICATION_FIELDS: &[FieldSpec] = &[
    FieldSpec::new("id", TEXT),
    FieldSpec::new("event", TEXT),
    FieldSpec::new("from", TEXT),
    FieldSpec::new("type", TEXT).stored("publication_type"),
    FieldSpec::new("seq", NUMBER).stored("seq"),
    FieldSpec::new("age", SPAN),
    FieldSpec::new("payload.*", FieldKind::Any),
];

pub const EVENT_FIELDS: &[FieldSpec] = &[
    FieldSpec::new("seq", NUMBER).stored("seq"),
    FieldSpec::new("type", TEXT).stored("type"),
    FieldSpec::new("kind", TEXT).stored("aggregate"),
    FieldSpec::new("subject", TEXT),
    FieldSpec::new("id", TEXT),
    FieldSpec::new("actor", TEXT),
    FieldSpec::new("reason", TEXT),
    FieldSpec::new("operation", TEXT),
    FieldSpec::new("epoch", NUMBER).stored("epoch"),
    FieldSpec::new("age", SPAN),
];

/// Of which kind a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaperKind {
    Message,
    Publication,
    Event,
}

impl PaperKind {
    pub fn fields(self) -> &'static [FieldSpec] {
        match self {
            Self::Message => MESSAGE_FIELDS,
            Self::Publication => PUBLICATION_FIELDS,
            Self::Event => EVENT_FIELDS,
        }
    }

    pub fn collection(self) -> Collection {
        match self {
            Self::Message => Collection::AgentMessages,
            Self::Publication => Collection::AgentPublications,
            Self::Event => Collection::Events,
        }
    }

    /// Where a document keeps the field of this name; `id` of messages and publications is the key.
    fn path(self, name: &str) -> Option<&'static str> {
        Some(match (self, name) {
            (Self::Message, "from") => "from_agent_id",
            (Self::Message, "to") => "to_agent_id",
            (Self::Message, "type") => "message_type",
            (Self::Message, "status") => "status",
            (Self::Message, "error") => "last_error",
            (Self::Message, "correlation") => "correlation_id",
            (Self::Message, "priority") => "priority",
            (Self::Message, "attempts") => "attempts",
            (Self::Publication, "event") => "event_name",
            (Self::Publication, "from") => "publisher_agent_id",
            (Self::Publication, "type") => "publication_type",
            (Self::Event, "type") => "type",
            (Self::Event, "kind") => "aggregate",
            (Self::Event, "subject") => "subject",
            (Self::Event, "id") => "aggregate_id",
            (Self::Event, "actor") => "actor",
            (Self::Event, "reason") => "reason",
            (Self::Event, "operation") => "operation_id",
            (Self::Event, "epoch") => "epoch",
            (_, "seq") => "seq",
            _ => return None,
        })
    }

    /// Where it says when it came to be.
    fn time(self) -> &'static str {
        match self {
            Self::Message => "created_at",
            Self::Publication => "published_at",
            Self::Event => "at",
        }
    }

    /// The fields that a search for words looks at, in the order of a table's columns.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Message => &["from", "to", "type", "status", "error", "correlation"],
            Self::Publication => &["event", "from", "type"],
            Self::Event => &["type", "subject", "id", "actor", "reason", "operation"],
        }
    }
}

/// A stored document seen as a row at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Paper<'a> {
    kind: PaperKind,
    key: &'a str,
    body: &'a Map<String, Value>,
    now: Time,
    /// What the sender and the receiver are called, where that is known.
    names: [&'a str; 2],
}

impl<'a> Paper<'a> {
    pub fn new(kind: PaperKind, document: &'a Document, now: Time) -> Self {
        Self { kind, key: document.key.as_str(), body: &document.body, now, names: ["", ""] }
    }

    /// The same with the names of sender and receiver, which then stand for their ids.
    #[must_use]
    pub fn named(self, from: &'a str, to: &'a str) -> Self {
        Self { names: [from, to], ..self }
    }

    fn own(&self, path: &str) -> Option<FieldValue<'a>> {
        value(self.body.get(path)?)
    }
}

fn value(value: &Value) -> Option<FieldValue<'_>> {
    match value {
        Value::String(text) => Some(FieldValue::Text(text)),
        Value::Number(number) => Some(FieldValue::Number(number.as_f64()?)),
        Value::Bool(true) => Some(FieldValue::Text("true")),
        Value::Bool(false) => Some(FieldValue::Text("false")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Row for Paper<'_> {
    fn text(&self, out: &mut String) {
        out.push_str(self.key);
        let words = self.kind.words().iter().filter_map(|name| self.kind.path(name));
        for path in words {
            if let Some(FieldValue::Text(text)) = self.own(path) {
                out.push(' ');
                out.push_str(text);
            }
        }
        for name in self.names.iter().filter(|name| !name.is_empty()) {
            out.push(' ');
            out.push_str(name);
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.body.get("labels")?.get(key)?.as_str()
    }

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let [from, to] = self.names;
        match name {
            "from" if !from.is_empty() => return Some(FieldValue::Text(from)),
            "to" if !to.is_empty() => return Some(FieldValue::Text(to)),
            "id" if self.kind != PaperKind::Event => return Some(FieldValue::Text(self.key)),
            "age" => {
                let since: Time = self.body.get(self.kind.time())?.as_str()?.parse().ok()?;
                return Some(FieldValue::Duration(self.now.since(since)));
            }
            _ => {}
        }
        if let Some(path) = name.strip_prefix("payload.") {
            let payload = self.body.get("payload")?;
            return value(path.split('.').try_fold(payload, |value, part| value.get(part))?);
        }
        self.own(self.kind.path(name)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::filter::Filter;
    use crate::model::filter::query::RowQuery;
    use crate::ports::store::{Key, Rev};

    fn document(key: &str, body: Value) -> Document {
        let Value::Object(body) = body else { unreachable!("a document is an object") };
        Document { key: Key::new(key).unwrap(), rev: Rev("1".into()), body }
    }

    fn message() -> Document {
        document(
            "msg-1",
            json!({"from_agent_id": "agent-1", "to_agent_id": "agent-2", "message_type": "task_request",
                "status": "dead", "priority": 7, "attempts": 5, "last_error": "no room",
                "created_at": "1970-01-01T00:01:00.000Z", "payload": {"order": {"id": "A1"}, "total": 41.5, "rush": true}}),
        )
    }

    fn matches(line: &str, document: &Document) -> bool {
        let query = RowQuery::parse(line, PaperKind::Message.fields()).unwrap();
        let now = Time::from_millis(90_000);
        query.matches(&Paper::new(PaperKind::Message, document, now).named("router-0", "ocr-3"))
    }

    #[test]
    fn a_message_is_found_by_every_field_of_the_language() {
        let message = message();
        for line in [
            "type=task_request",
            "status=dead priority>=7 attempts>4",
            "from~^router to=ocr-3",
            "age>20s age<40s",
            "error~room",
            "payload.order.id=A1 payload.total>41 payload.rush=true",
            "router task_request",
            "id=msg-1",
        ] {
            assert!(matches(line, &message), "{line}");
        }
        for line in ["type=other", "age>40s", "from=agent-1", "payload.order=x", "!dead"] {
            assert!(!matches(line, &message), "{line}");
        }
    }

    #[test]
    fn an_event_is_found_by_what_it_is_about() {
        let event = document(
            "00000000000000000007",
            json!({"seq": 7, "type": "pool.scaled", "aggregate": "agent_pools", "aggregate_id": "pool-1",
                "subject": "triage", "actor": "loop:autoscale", "at": "1970-01-01T00:00:00.000Z", "reason": "queue"}),
        );
        let paper = Paper::new(PaperKind::Event, &event, Time::from_millis(1_000));
        let holds = |line| RowQuery::parse(line, EVENT_FIELDS).unwrap().matches(&paper);
        for line in [
            "type=pool.scaled",
            "seq=7",
            "id=pool-1",
            "kind=agent_pools age<2s",
            "triage autoscale",
        ] {
            assert!(holds(line), "{line}");
        }
        assert!(!holds("actor~user"));
    }

    #[test]
    fn what_the_store_can_answer_it_is_asked() {
        let query = RowQuery::parse("status=dead age>1h", MESSAGE_FIELDS).unwrap();
        let (filter, rest) = query.to_store();
        assert_eq!(filter, Filter::eq(crate::model::filter::Field::of("status"), "dead"));
        assert!(rest);
    }
}
