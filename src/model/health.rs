//! Health: the verdict on one agent, the inputs it was judged by, and the thresholds that keep it from flapping.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::time::Time;

pub mod flap;
pub mod verdict;

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
pub enum HealthStatus {
    Healthy,
    Degraded,
    Unhealthy,
    #[default]
    Unknown,
}

/// Collection `agent_health`, keyed by the agent's id: written often and in batches, journalled only when the status changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentHealth {
    pub agent_id: String,
    pub status: HealthStatus,
    pub message: String,
    /// Written by the agent itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heartbeat: Option<Time>,
    /// The incarnation and process that sent the heartbeat.
    pub incarnation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What the agent says of itself with its heartbeat (in-flight work, handled, failed, …).
    pub report: Map<String, Value>,
    /// Sampled from the runtime by the leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    pub checked_at: Time,
    /// Checks in a row that disagreed with `status`.
    pub streak: u32,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One sample of what a workload uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub at: Time,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}
