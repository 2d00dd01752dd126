//! Templates: named, versioned descriptions of agents; validation that lists every fault at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::agent::{AgentConfig, Resources, rules};
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

/// The version that a new template begins with.
pub const FIRST_VERSION: &str = "1.0.0";
const MAX_TAGS: usize = 32;

/// How far a change reaches: which part of the version it raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Bump {
    /// Environment, description, labels, tags.
    Patch,
    /// What runs, and how it is watched.
    Minor,
    /// What it may do and use: security and resources.
    Major,
}

impl Template {
    /// Every fault of what an operator may set (`mission.md` M-080 names the texts).
    pub fn validate(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        rules::name(&mut faults, "template", &self.name);
        if self.kind != self.name {
            rules::kind(&mut faults, &self.kind); // else the name's own fault says it
        }
        rules::labels(&mut faults, &self.labels);
        rules::long_text(&mut faults, "/description", &self.description);
        if self.tags.len() > MAX_TAGS {
            let message = format!("expected at most {MAX_TAGS}, got {}", self.tags.len());
            faults.push(FieldError::new("/tags", message));
        }
        for (i, tag) in self.tags.iter().enumerate().filter(|(_, tag)| !rules::is_name(tag)) {
            let message = format!("expected a tag such as gold, got {:?}", rules::shown(tag));
            faults.push(FieldError::new(format!("/tags/{i}"), message));
        }
        let config = &self.configuration;
        if config.command.is_empty() && config.image.is_empty() {
            let message = "template configuration is required: a command, an image, or both";
            faults.push(FieldError::new("/configuration", message));
        }
        if config.resources == Resources::default() {
            let message = "resource requirements are required: requests, limits, or both";
            faults.push(FieldError::new("/configuration/resources", message));
        }
        config.validate(&mut faults, "/configuration");
        faults
    }

    /// How far the change from `self` to `after` reaches; `None` when nothing that agents or people see has changed.
    pub fn bump(&self, after: &Template) -> Option<Bump> {
        let (old, new) = (&self.configuration, &after.configuration);
        if (&old.security, old.resources.clone()) != (&new.security, new.resources.clone()) {
            return Some(Bump::Major);
        }
        let rest = |config: &AgentConfig| AgentConfig { env: BTreeMap::new(), ..config.clone() };
        if rest(old) != rest(new) || self.kind != after.kind {
            return Some(Bump::Minor);
        }
        let words = |of: &Template| {
            let (name, description) = (of.name.clone(), of.description.clone());
            (name, description, of.labels.clone(), of.tags.clone(), of.configuration.env.clone())
        };
        (words(self) != words(after)).then_some(Bump::Patch)
    }

    /// The template under a new name, by `author`, tagged `cloned` once; ids and version are the caller's.
    #[must_use]
    pub fn cloned(&self, name: &str, author: &str, now: Time) -> Template {
        let mut tags = vec!["cloned".to_owned()];
        tags.extend(self.tags.iter().filter(|tag| *tag != "cloned").cloned());
        tags.truncate(MAX_TAGS);
        Template {
            name: name.to_owned(),
            description: format!("Cloned from {}", self.name),
            version: FIRST_VERSION.to_owned(),
            tags,
            created_at: now,
            updated_at: now,
            created_by: author.to_owned(),
            ..self.clone()
        }
    }
}

/// The version after `version`. What is no `major.minor.patch` (others wrote it) is taken as the first version.
pub fn next_version(version: &str, bump: Bump) -> String {
    let mut parts = version.splitn(3, '.').map(str::parse::<u64>);
    let parts = (parts.next(), parts.next(), parts.next());
    let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) = parts else {
        return next_version(FIRST_VERSION, bump);
    };
    match bump {
        Bump::Major => format!("{}.0.0", major.saturating_add(1)),
        Bump::Minor => format!("{major}.{}.0", minor.saturating_add(1)),
        Bump::Patch => format!("{major}.{minor}.{}", patch.saturating_add(1)),
    }
}

/// The key of a version in `template_versions`: `<id>-v1-0-0`.
pub fn version_key(id: &str, version: &str) -> String {
    let dashed = version
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    format!("{id}-v{}", dashed.collect::<String>())
}

#[cfg(test)]
mod tests;
