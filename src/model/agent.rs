//! Agents: the document, the phases of their lives, and which moves between phases are legal.

pub mod intent;
pub mod rules;
pub mod shapes;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::health::HealthStatus;
use super::id::{PoolId, TemplateId};
use super::quantity::{Bytes, Cpu};
use super::time::{Time, span};

pub mod lifecycle;

/// What an agent is doing.
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
pub enum Phase {
    /// Recorded, nothing started yet.
    #[default]
    Pending,
    /// Its workload was asked for and has not yet reported healthy.
    Deploying,
    Running,
    /// Alive, but claims no messages.
    Paused,
    /// Takes no new work; ends after its grace period.
    Draining,
    Stopped,
    Failed,
    /// A tombstone, kept 24 h for undo.
    Deleted,
}

/// A move between phases that no rule allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an agent cannot go from {from} to {to}; from {from} it can go to {}", allowed(*from))]
pub struct IllegalMove {
    pub from: Phase,
    pub to: Phase,
}

fn allowed(from: Phase) -> String {
    let next = from.next();
    if next.is_empty() {
        return "nowhere".to_owned();
    }
    next.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Phase {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The phases that may follow this one (`engine.md` §3).
    pub fn next(self) -> &'static [Phase] {
        match self {
            Self::Pending => &[Self::Deploying, Self::Failed, Self::Deleted],
            Self::Deploying => &[Self::Running, Self::Failed, Self::Draining],
            Self::Running => &[Self::Paused, Self::Draining, Self::Failed],
            Self::Paused => &[Self::Running, Self::Draining, Self::Failed],
            Self::Draining => &[Self::Stopped, Self::Failed],
            Self::Stopped => &[Self::Deploying, Self::Deleted],
            Self::Failed => &[Self::Deploying, Self::Draining, Self::Deleted],
            Self::Deleted => &[],
        }
    }

    /// # Errors
    /// [`IllegalMove`] naming both phases; staying in the same phase is no move and is refused too.
    pub fn go(self, to: Phase) -> Result<Phase, IllegalMove> {
        if self.next().contains(&to) { Ok(to) } else { Err(IllegalMove { from: self, to }) }
    }

    /// Whether a workload may exist in the runtime while in this phase.
    pub fn has_workload(self) -> bool {
        matches!(self, Self::Deploying | Self::Running | Self::Paused | Self::Draining)
    }
}

/// What the operator wants an agent to be.
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
pub enum Desired {
    #[default]
    Running,
    Paused,
    Stopped,
    Deleted,
}

/// The registry document, collection `agents`, keyed by the agent's id. Fields that we do not know are kept in `extra`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agent {
    pub name: String,
    /// `name` until the agent is deleted, then absent: unique per tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_name: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    pub tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<PoolId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<TemplateId>,
    pub template_version: String,
    pub labels: BTreeMap<String, String>,
    /// Never chosen when its pool shrinks.
    pub pinned: bool,
    pub desired: Desired,
    pub phase: Phase,
    /// Why it is in this phase, in words; the runtime's own message when that failed.
    pub reason: String,
    pub phase_since: Time,
    pub health: HealthNote,
    pub config: AgentConfig,
    pub deployment: Deployment,
    /// Which run of this agent the workload is: 0 before the first start, then +1 each time it becomes `deploying`.
    pub incarnation: u64,
    /// The lowest incarnation that the operator wants to see; a restart raises it.
    pub wanted_incarnation: u64,
    /// +1 whenever somebody changes what is wanted of the agent (desired, config, template, labels, `wanted_incarnation`).
    pub generation: u64,
    /// When the present incarnation first reported healthy; absent until it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Time>,
    /// Failures since the last clean run of 10 minutes; drives the restart back-off.
    pub failures: u32,
    /// Not started again before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_deadline: Option<Time>,
    /// When the tombstone may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<Time>,
    pub created_at: Time,
    pub updated_at: Time,
    pub created_by: String,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The last health verdict, kept on the agent because queries and rows need it; evidence is in `agent_health`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthNote {
    pub status: HealthStatus,
    pub message: String,
    pub since: Time,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What to run and within which limits. A template gives it; an agent may override parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentConfig {
    /// Container image; the local runtime shows it and runs `command`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Program and its first arguments. `["cvxc", …]` names this very program wherever it is installed.
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub resources: Resources,
    #[serde(skip_serializing_if = "Security::is_default")]
    pub security: Security,
    #[serde(skip_serializing_if = "is_null")]
    pub probes: Value,
    pub poll_class: PollClass,
    pub heartbeat: Heartbeat,
    /// Time between being asked to end and being killed.
    #[serde(with = "span")]
    pub grace: Duration,
    /// Time from start to the first healthy report before the start counts as failed.
    #[serde(with = "span")]
    pub start_timeout: Duration,
    #[serde(skip_serializing_if = "is_null")]
    pub pod: Value,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            image: String::new(),
            command: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            resources: Resources::default(),
            security: Security::default(),
            probes: Value::Null,
            poll_class: PollClass::default(),
            heartbeat: Heartbeat::default(),
            grace: Duration::from_secs(10),
            start_timeout: Duration::from_secs(60),
            pod: Value::Null,
            extra: Map::new(),
        }
    }
}

fn is_null(value: &Value) -> bool {
    value.is_null()
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub requests: ResourceList,
    pub limits: ResourceList,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<u32>,
    pub read_only_root: bool,
    pub privileged: bool,
}

impl Security {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How eagerly an agent asks for messages (`engine.md` §6).
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PollClass {
    High,
    #[default]
    Normal,
    Background,
}

impl PollClass {
    /// The shortest and longest pause between two polls of this class.
    pub fn bounds(self) -> (Duration, Duration) {
        let seconds = Duration::from_secs;
        match self {
            Self::High => (seconds(1), seconds(2)),
            Self::Normal => (Duration::from_millis(2_500), seconds(5)),
            Self::Background => (seconds(10), seconds(30)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    #[serde(with = "span")]
    pub interval: Duration,
    /// Without it, an agent that has never sent a heartbeat is judged by its workload alone.
    pub required: bool,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), required: false }
    }
}

/// Where the workload is, as the runtime reported it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deployment {
    pub runtime: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub workload: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
    pub node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    pub restarts: u32,
    #[serde(skip_serializing_if = "is_null")]
    pub location: Value,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strum::IntoEnumIterator;

    #[test]
    fn the_moves_are_those_of_the_contract() {
        let table: Vec<String> = Phase::iter()
            .map(|from| {
                format!(
                    "{from} → {}",
                    from.next().iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
                )
            })
            .collect();
        assert_eq!(
            table,
            [
                "pending → deploying|failed|deleted",
                "deploying → running|failed|draining",
                "running → paused|draining|failed",
                "paused → running|draining|failed",
                "draining → stopped|failed",
                "stopped → deploying|deleted",
                "failed → deploying|draining|deleted",
                "deleted → ",
            ]
        );
    }

    proptest! {
        #[test]
        fn a_move_is_allowed_or_an_error_that_names_both(a in 0usize..8, b in 0usize..8) {
            let all: Vec<Phase> = Phase::iter().collect();
            match all[a].go(all[b]) {
                Ok(to) => prop_assert!(to == all[b] && all[a].next().contains(&to)),
                Err(refused) => {
                    prop_assert!(!all[a].next().contains(&all[b]));
                    let said = refused.to_string();
                    prop_assert!(said.contains(all[a].name()) && said.contains(all[b].name()));
                }
            }
        }
    }

    #[test]
    fn unknown_fields_survive_a_round_trip() {
        let text = r#"{"name":"a","type":"worker","phase":"running","somebody_elses":{"x":[1,2]},"config":{"theirs":true}}"#;
        let agent: Agent = serde_json::from_str(text).unwrap();
        let back = serde_json::to_value(&agent).unwrap();
        assert_eq!(back["somebody_elses"]["x"][1], 2);
        assert_eq!(back["config"]["theirs"], true);
    }
}
