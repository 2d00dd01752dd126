//! Published events and subscriptions: one insert a publication, one cursor a subscription.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::id::{AgentId, SubscriptionId};
use super::message::rules;
use super::pattern::{BadCondition, BadPattern, Conditions, Pattern};
use super::template::FieldError;
use super::time::{Time, span};

/// Collection `agent_publications`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Publication {
    pub publisher_agent_id: String,
    pub publisher_agent_type: String,
    pub publication_type: String,
    pub event_name: String,
    pub payload: Map<String, Value>,
    pub published_at: Time,
    pub ttl_seconds: u64,
    pub expires_at: Time,
    /// Stamped by the store.
    #[serde(skip_serializing_if = "is_zero")]
    pub seq: u64,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(seq: &u64) -> bool {
    *seq == 0
}

/// Collection `agent_subscriptions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subscription {
    pub subscriber_agent_id: String,
    pub event_pattern: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_agent_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publication_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_conditions: Option<Map<String, Value>>,
    pub active: bool,
    /// The `seq` of the last publication that was acknowledged; moved only by ack.
    pub cursor: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Time>,
    pub matched: u64,
    pub created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_matched_at: Option<Time>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a publisher gives; the engine fills in the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewPublication {
    pub publisher: AgentId,
    /// The publisher's type, by which subscriptions may choose; empty if unknown.
    #[serde(default)]
    pub publisher_type: String,
    /// `task.completed`: dotted by custom, matched as one text.
    pub event: String,
    #[serde(rename = "type", default = "default_type")]
    pub kind: String,
    #[serde(default)]
    pub payload: Map<String, Value>,
    #[serde(default = "default_ttl", with = "span")]
    pub ttl: Duration,
}

/// Longest event name, in bytes.
pub const MAX_NAME: usize = 200;
pub const DEFAULT_TYPE: &str = "event";
pub const DEFAULT_TTL: Duration = Duration::from_secs(3_600);

fn default_type() -> String {
    DEFAULT_TYPE.to_owned()
}

fn default_ttl() -> Duration {
    DEFAULT_TTL
}

impl NewPublication {
    pub fn new(publisher: AgentId, event: impl Into<String>) -> Self {
        Self {
            publisher,
            publisher_type: String::new(),
            event: event.into(),
            kind: default_type(),
            payload: Map::new(),
            ttl: DEFAULT_TTL,
        }
    }

    /// # Errors
    /// Every fault, each with a JSON pointer and what was expected instead.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        name(&mut faults, "/event", &self.event);
        rules::kind(&mut faults, "/type", &self.kind);
        rules::payload(&mut faults, "/payload", &self.payload);
        rules::ttl(&mut faults, "/ttl", self.ttl);
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The document to store. Call [`NewPublication::check`] first.
    pub fn compose(&self, now: Time) -> Publication {
        Publication {
            publisher_agent_id: self.publisher.to_string(),
            publisher_agent_type: self.publisher_type.clone(),
            publication_type: self.kind.clone(),
            event_name: self.event.clone(),
            payload: self.payload.clone(),
            published_at: now,
            // a time to live of less than a second is one second to those that read seconds
            ttl_seconds: self.ttl.as_secs().max(1),
            expires_at: now.plus(self.ttl),
            ..Publication::default()
        }
    }
}

fn name(faults: &mut Vec<FieldError>, path: &str, text: &str) {
    let odd = |c: char| c.is_control() || c.is_whitespace();
    if text.is_empty() || text.len() > MAX_NAME || text.chars().any(odd) {
        faults.push(FieldError::new(
            path,
            format!("expected 1 to {MAX_NAME} bytes without spaces, such as task.completed"),
        ));
    }
}

/// What a subscriber asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewSubscription {
    pub subscriber: AgentId,
    pub pattern: String,
    #[serde(default)]
    pub publisher: Option<String>,
    #[serde(default)]
    pub publisher_type: Option<String>,
    /// None of them: all types.
    #[serde(default)]
    pub types: Vec<String>,
    #[serde(default)]
    pub conditions: Map<String, Value>,
}

impl NewSubscription {
    pub fn new(subscriber: AgentId, pattern: impl Into<String>) -> Self {
        Self {
            subscriber,
            pattern: pattern.into(),
            publisher: None,
            publisher_type: None,
            types: Vec::new(),
            conditions: Map::new(),
        }
    }

    /// # Errors
    /// Every fault, each with a JSON pointer and what was expected instead.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        if let Err(bad) = Pattern::new(&self.pattern) {
            faults.push(FieldError::new("/pattern", bad.to_string()));
        }
        if let Some(Err(bad)) = self.publisher.as_deref().map(AgentId::new) {
            faults.push(FieldError::new("/publisher", bad.to_string()));
        }
        if let Some(kind) = &self.publisher_type
            && (kind.is_empty() || kind.len() > MAX_NAME)
        {
            let what = format!("expected 1 to {MAX_NAME} bytes");
            faults.push(FieldError::new("/publisher_type", what));
        }
        for (at, kind) in self.types.iter().enumerate() {
            rules::kind(&mut faults, &format!("/types/{at}"), kind);
        }
        rules::payload(&mut faults, "/conditions", &self.conditions);
        if let Err(bad) = Conditions::new(&self.conditions) {
            faults.push(FieldError::new("/conditions", bad.to_string()));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The same wishes of the same subscriber have the same id, so that asking twice subscribes once.
    pub fn id(&self) -> SubscriptionId {
        let mut types = self.types.clone();
        types.sort();
        types.dedup();
        let wishes = serde_json::json!([
            self.subscriber,
            self.pattern,
            self.publisher,
            self.publisher_type,
            types,
            sorted(&Value::Object(self.conditions.clone())),
        ]);
        let digest = Sha256::digest(wishes.to_string());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        SubscriptionId::mint(uuid::Uuid::from_bytes(bytes))
    }

    /// The document to store; `cursor` is the last publication that it does not ask for.
    pub fn compose(&self, cursor: u64, now: Time) -> Subscription {
        let types = (!self.types.is_empty()).then(|| self.types.clone());
        let conditions = (!self.conditions.is_empty()).then(|| self.conditions.clone());
        Subscription {
            subscriber_agent_id: self.subscriber.to_string(),
            event_pattern: self.pattern.clone(),
            publisher_agent_id: self.publisher.clone(),
            publisher_agent_type: self.publisher_type.clone(),
            publication_types: types,
            filter_conditions: conditions,
            active: true,
            cursor,
            created_at: now,
            ..Subscription::default()
        }
    }
}

/// The value with the keys of every object in order: what is written differently but means the same, becomes the same.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            entries.into_iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Why a stored subscription matches nothing: somebody else wrote what we would have refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSubscription {
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    #[error(transparent)]
    Condition(#[from] BadCondition),
}

/// A subscription's wishes, ready to be held against publications.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub pattern: Pattern,
    publisher: Option<String>,
    publisher_type: Option<String>,
    types: Option<Vec<String>>,
    conditions: Conditions,
}

impl Matcher {
    /// # Errors
    /// [`BadSubscription`] when its pattern or conditions break their rules.
    pub fn new(subscription: &Subscription) -> Result<Self, BadSubscription> {
        let none = Map::new();
        let conditions = subscription.filter_conditions.as_ref().unwrap_or(&none);
        Ok(Self {
            pattern: Pattern::new(&subscription.event_pattern)?,
            publisher: subscription.publisher_agent_id.clone(),
            publisher_type: subscription.publisher_agent_type.clone(),
            types: subscription.publication_types.clone().filter(|types| !types.is_empty()),
            conditions: Conditions::new(conditions)?,
        })
    }

    /// All wishes must hold.
    pub fn matches(&self, publication: &Publication) -> bool {
        self.publisher.as_ref().is_none_or(|id| *id == publication.publisher_agent_id)
            && self
                .publisher_type
                .as_ref()
                .is_none_or(|kind| *kind == publication.publisher_agent_type)
            && self.types.as_ref().is_none_or(|types| types.contains(&publication.publication_type))
            && self.pattern.matches(&publication.event_name)
            && self.conditions.matches(&publication.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wishes(pattern: &str) -> NewSubscription {
        NewSubscription::new(AgentId::new("s").unwrap(), pattern)
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_same_wishes_have_the_same_id_however_they_are_written() {
        let mut a = wishes("task.*");
        a.types = vec!["event".into(), "alert".into()];
        a.conditions = object(json!({"a": 1, "b": {"$gt": 1, "$lt": 5}}));
        let mut b = a.clone();
        b.types.reverse();
        b.conditions = object(json!({"b": {"$lt": 5, "$gt": 1}, "a": 1}));
        assert_eq!(a.id(), b.id());
        b.pattern = "task.?".into();
        assert_ne!(a.id(), b.id());
        b = a.clone();
        b.subscriber = AgentId::new("t").unwrap();
        assert_ne!(a.id(), b.id());
    }

    #[test]
    fn a_subscription_lists_all_its_faults() {
        let mut bad = wishes("state.[a");
        bad.publisher = Some("NO".into());
        bad.types = vec!["fine".into(), "Not Fine".into()];
        bad.conditions = object(json!({"a": {"$like": "x"}}));
        let paths: Vec<String> =
            bad.check().unwrap_err().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["/pattern", "/publisher", "/types/1", "/conditions"]);
        assert_eq!(wishes("*").check(), Ok(()));
    }

    #[test]
    fn every_wish_must_hold() {
        let mut new = NewPublication::new(AgentId::new("p").unwrap(), "task.triage.completed");
        new.publisher_type = "worker".into();
        new.payload = object(json!({"tier": "Gold", "ms": 12}));
        let publication = new.compose(Time::EPOCH);
        let mut asked = wishes("task.*.completed");
        asked.publisher = Some("p".into());
        asked.publisher_type = Some("worker".into());
        asked.types = vec!["event".into()];
        asked.conditions = object(json!({"tier": "gold", "ms": {"$gte": 12}}));
        let matches = |asked: &NewSubscription| {
            Matcher::new(&asked.compose(0, Time::EPOCH)).unwrap().matches(&publication)
        };
        assert!(matches(&asked));
        let other = |change: fn(&mut NewSubscription)| {
            let mut asked = asked.clone();
            change(&mut asked);
            matches(&asked)
        };
        assert!(!other(|asked| asked.pattern = "state.*".into()));
        assert!(!other(|asked| asked.publisher = Some("q".into())));
        assert!(!other(|asked| asked.publisher_type = Some("router".into())));
        assert!(!other(|asked| asked.types = vec!["alert".into()]));
        assert!(!other(|asked| asked.conditions["ms"] = json!({"$gt": 12})));
    }

    #[test]
    fn a_publication_lists_all_its_faults() {
        let mut bad = NewPublication::new(AgentId::new("p").unwrap(), "task done\n");
        bad.kind = "No".into();
        bad.ttl = Duration::ZERO;
        let paths: Vec<String> =
            bad.check().unwrap_err().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["/event", "/type", "/ttl"]);
    }
}
