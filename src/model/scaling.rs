//! Provisional shape until the algorithms land; whoever merges takes the other side.
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScalingSpec {
    pub hold_until: Option<super::time::Time>,
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl ScalingSpec {
    pub fn validate(&self) -> Vec<super::template::FieldError> {
        Vec::new()
    }
}
