//! Pools: how many agents of which template, how they are updated, and how they scale.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::agent::rules;
use super::id::TemplateId;
use super::scaling::{Mode, ScalingSpec};
use super::template::FieldError;
use super::time::Time;

pub mod members;

/// Collection `agent_pools`, keyed by the pool's id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    pub name: String,
    /// `name` until the pool is deleted, then absent: unique per tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_name: Option<String>,
    pub description: String,
    pub tenant: String,
    pub labels: BTreeMap<String, String>,
    pub desired: u32,
    pub min: u32,
    pub max: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<TemplateId>,
    /// The version its agents are brought to.
    pub template_version: String,
    /// The version before the last template update: what a rollback goes to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub previous_version: String,
    pub update: UpdatePolicy,
    pub scaling: ScalingSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_ref: Option<String>,
    /// Members claim no messages while set.
    pub paused: bool,
    /// Set when the pool is being deleted: members are drained first.
    pub deleting: bool,
    pub status: PoolStatus,
    pub generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<Time>,
    pub created_at: Time,
    pub updated_at: Time,
    pub created_by: String,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How far a rolling update may go at once, as counts of agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdatePolicy {
    pub max_surge: u32,
    pub max_unavailable: u32,
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self { max_surge: 1, max_unavailable: 1 }
    }
}

/// Written by the leader.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolStatus {
    /// Running and not unhealthy.
    pub ready: u32,
    /// On the wanted template version.
    pub updated: u32,
    pub unhealthy: u32,
    pub pending: u32,
    pub total: u32,
    /// Why the pool is not where it should be, in words; empty when it is.
    pub reason: String,
    /// A rolling update stopped after a failed batch.
    pub halted: bool,
    /// The autoscaler's last decision, as stored in its event.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub last_decision: Value,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The most agents that one pool may have.
pub const MAX_AGENTS: u32 = 100_000;

impl Pool {
    /// Its agents are the copies of one workload that the runtime scales.
    pub fn is_of_copies(&self) -> bool {
        self.scaling.mode == Mode::Hpa && !self.deleting
    }

    /// Every fault of what an operator may set.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        rules::name(&mut faults, "pool", &self.name);
        rules::labels(&mut faults, &self.labels);
        rules::long_text(&mut faults, "/description", &self.description);
        if self.template_id.is_none() {
            faults.push(FieldError::new("/template", "pool template is required"));
        }
        if self.max > MAX_AGENTS {
            let message = format!("expected at most {MAX_AGENTS}, got {}", self.max);
            faults.push(FieldError::new("/max", message));
        }
        if self.min > self.max {
            let message = format!("expected at most max {}, got {}", self.max, self.min);
            faults.push(FieldError::new("/min", message));
        } else if !(self.min..=self.max).contains(&self.desired) {
            let message = format!("expected {} to {}, got {}", self.min, self.max, self.desired);
            faults.push(FieldError::new("/desired", message));
        }
        if self.update.max_surge == 0 && self.update.max_unavailable == 0 {
            let message = "expected max_surge or max_unavailable to be at least 1: an update could never begin";
            faults.push(FieldError::new("/update", message));
        }
        let scaling = self.scaling.validate().into_iter();
        faults.extend(
            scaling.map(|fault| FieldError::new(format!("/scaling{}", fault.path), fault.message)),
        );
        faults
    }
}

#[cfg(test)]
mod tests;
