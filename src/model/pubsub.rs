//! Published events and subscriptions: one insert a publication, one cursor a subscription.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::time::Time;

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
