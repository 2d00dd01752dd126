//! Operations: every act of an operator, client or loop as a unit of work with progress, result and undo.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::plan::{Goal, TargetRef, Tier};
use super::time::Time;

pub mod advance;

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
pub enum OperationStatus {
    /// Confirmed; the leader is bringing it about.
    #[default]
    Running,
    Succeeded,
    Failed,
    /// It failed and what it had begun was taken back.
    RolledBack,
    /// Stopped by the operator after the current batch.
    Cancelled,
}

impl OperationStatus {
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub fn is_over(self) -> bool {
        self != Self::Running
    }
}

/// Collection `operations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// The verb: `scale`, `restart`, …
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub command: Value,
    pub tier: Tier,
    pub fingerprint: String,
    #[serde(default)]
    pub status: OperationStatus,
    pub actor: String,
    #[serde(default)]
    pub reason: String,
    /// The first target's id; `targets` are in the steps.
    #[serde(default)]
    pub target: String,
    pub steps: Vec<Step>,
    #[serde(default)]
    pub done: u32,
    #[serde(default)]
    pub failed: u32,
    /// The outcome in words; the first failure's own message.
    #[serde(default)]
    pub message: String,
    /// The command that takes this back, or why there is none.
    pub undo: UndoInfo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_by: Option<String>,
    #[serde(default)]
    pub cancel_requested: bool,
    pub created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoInfo {
    /// Commands to run, in order.
    By {
        commands: Vec<Value>,
        note: String,
    },
    /// Put these documents back to what they were, field by field, if nobody changed those fields since.
    Restore {
        documents: Vec<Value>,
        note: String,
    },
    Never {
        why: String,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum StepStatus {
    /// Its batch has not begun.
    #[default]
    Waiting,
    Running,
    Done,
    Failed,
    /// Never begun, because an earlier batch failed or the operation was cancelled.
    Skipped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub batch: u32,
    pub action: String,
    pub target: TargetRef,
    pub goal: Goal,
    #[serde(default)]
    pub status: StepStatus,
    #[serde(default)]
    pub message: String,
    /// When its batch was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}
