//! What is read of an object's metadata. Who owns which field is often the larger half of an object; of that only what is
//! asked for is looked at, the rest is skipped while it is read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as Stamp;
use kube::api::ObjectMeta;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// `M`: how the owners are read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MetaSeen<M> {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Stamp>,
    deletion_timestamp: Option<Stamp>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    pub managed_fields: M,
}

/// Who set the fields of a Deployment that matter here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerSeen {
    pub manager: String,
    pub operation: String,
    pub fields_v1: FieldsSeen,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FieldsSeen {
    #[serde(rename = "f:spec")]
    pub spec: SpecFieldsSeen,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SpecFieldsSeen {
    #[serde(rename = "f:replicas")]
    pub replicas: Option<IgnoredAny>,
    #[serde(rename = "f:template")]
    pub template: Option<IgnoredAny>,
}

impl<M> MetaSeen<M> {
    pub fn split(self) -> (ObjectMeta, M) {
        let meta = ObjectMeta {
            name: self.name,
            uid: self.uid,
            resource_version: self.resource_version,
            generation: self.generation,
            creation_timestamp: self.creation_timestamp,
            deletion_timestamp: self.deletion_timestamp,
            deletion_grace_period_seconds: self.deletion_grace_period_seconds,
            labels: self.labels,
            annotations: self.annotations,
            ..ObjectMeta::default()
        };
        (meta, self.managed_fields)
    }
}

/// Metadata without its owners.
///
/// # Errors
/// The deserializer's.
pub fn without_owners<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    let (meta, IgnoredAny) = MetaSeen::<IgnoredAny>::deserialize(from)?.split();
    Ok(meta)
}
