//! Templates: named, versioned descriptions of agents; validation that lists every fault at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::agent::AgentConfig;
use super::time::Time;

/// One fault in a document: where (JSON pointer) and what was expected instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    pub path: String,
    pub message: String,
}

impl FieldError {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// Collection `agent_templates` (current version) and `template_versions` (every version, keyed `<id>-v<version with dashes>`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Template {
    pub name: String,
    /// In `template_versions` only: the template this is a version of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    pub description: String,
    /// `major.minor.patch`, set by us: patch for env, description and tags, minor for configuration, major for security and resources.
    pub version: String,
    /// The `type` that its agents get.
    #[serde(rename = "type")]
    pub kind: String,
    /// Image, command, args, env, resources, security, probes, … of its agents.
    pub configuration: AgentConfig,
    pub labels: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub created_at: Time,
    pub updated_at: Time,
    pub created_by: String,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
