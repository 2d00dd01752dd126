//! Direct messages: the document, its states, and the rules a message must meet before it is stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::id::{AgentId, MessageId};
use super::time::{Time, span};

pub mod moves;
pub mod rules;

#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumIter,
    EnumString,
    IntoStaticStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum MessageStatus {
    #[default]
    Pending,
    /// Held by one receiver until `lease_until`.
    Leased,
    /// Acknowledged.
    Delivered,
    /// Attempts used up.
    Dead,
    Expired,
    Cancelled,
    Purged,
    /// Written only by agents that know the five seed fields; read as dead.
    Failed,
}

impl MessageStatus {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// No state follows but `purged` and, by undo, the one before.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Leased)
    }
}

/// Collection `agent_messages`, keyed by the message's id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    pub from_agent_id: String,
    pub to_agent_id: String,
    pub message_type: String,
    pub payload: Map<String, Value>,
    /// 1 to 10, 10 first.
    pub priority: u8,
    /// `10 − priority`, so that an ascending index serves the most urgent first.
    pub rank: u8,
    pub status: MessageStatus,
    pub attempts: u32,
    pub max_attempts: u32,
    pub available_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    pub created_at: Time,
    /// When it was last handed to a receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acked_at: Option<Time>,
    pub expires_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_before: Option<MessageStatus>,
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

/// What a sender gives; the engine fills in the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewMessage {
    pub from: AgentId,
    pub to: AgentId,
    pub message_type: String,
    #[serde(default)]
    pub payload: Map<String, Value>,
    #[serde(default = "default_priority")]
    pub priority: i64,
    #[serde(default = "default_ttl", with = "span")]
    pub ttl: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The message that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// A second message of the same sender with the same key, within 24 h, is the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    #[serde(default = "default_attempts")]
    pub max_attempts: u32,
}

impl NewMessage {
    /// A message with the defaults of the contract: priority 5, one hour to live, five attempts.
    pub fn new(from: AgentId, to: AgentId, message_type: impl Into<String>) -> Self {
        Self {
            from,
            to,
            message_type: message_type.into(),
            payload: Map::new(),
            priority: DEFAULT_PRIORITY,
            ttl: DEFAULT_TTL,
            correlation_id: None,
            reply_to: None,
            idempotency_key: None,
            max_attempts: DEFAULT_ATTEMPTS,
        }
    }
}

fn default_priority() -> i64 {
    DEFAULT_PRIORITY
}

fn default_ttl() -> Duration {
    DEFAULT_TTL
}

fn default_attempts() -> u32 {
    DEFAULT_ATTEMPTS
}

/// Largest payload, in bytes of its JSON text.
pub const MAX_PAYLOAD: usize = 256 * 1024;
/// Deepest nesting of a payload; the payload itself is the first level.
pub const MAX_DEPTH: usize = 32;
pub const DEFAULT_TTL: Duration = Duration::from_secs(3_600);
pub const MAX_TTL: Duration = Duration::from_secs(365 * 24 * 3_600);
pub const DEFAULT_PRIORITY: i64 = 5;
pub const DEFAULT_ATTEMPTS: u32 = 5;
/// Most attempts that a sender may ask for.
pub const MAX_ATTEMPTS: u32 = 100;
/// How long a message stays after reaching a final status.
pub const KEEP_FINAL: Duration = Duration::from_secs(24 * 3_600);
/// How long a sender's idempotency key is remembered.
pub const KEEP_KEY: Duration = Duration::from_secs(24 * 3_600);
/// Most messages that one claim hands out.
pub const MAX_CLAIM: usize = 100;
/// Longest correlation id or idempotency key, in bytes.
pub const MAX_TAG: usize = 256;
