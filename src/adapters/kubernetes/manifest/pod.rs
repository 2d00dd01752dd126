//! What a template says of the pod around its agent (`probes`, `pod`): read into Kubernetes' own types, so that a slip is
//! named before anything is sent. Names are taken as Kubernetes writes them or in snake case.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, Lifecycle, LifecycleHandler, LocalObjectReference, Probe, Toleration,
    Volume, VolumeMount,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::reject;
use crate::ports::runtime::RuntimeError;

#[derive(Debug, Default)]
pub struct Probes {
    pub liveness: Option<Probe>,
    pub readiness: Option<Probe>,
    pub startup: Option<Probe>,
}

#[derive(Debug, Default)]
pub struct Extras {
    pub annotations: BTreeMap<String, String>,
    pub node_selector: Option<BTreeMap<String, String>>,
    pub tolerations: Option<Vec<Toleration>>,
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    pub service_account: Option<String>,
    pub priority_class: Option<String>,
    pub lifecycle: Option<Lifecycle>,
    pub volumes: Vec<Volume>,
    pub mounts: Vec<VolumeMount>,
}

/// # Errors
/// `Rejected` naming the probe.
pub fn probes(of: &Value) -> Result<Probes, RuntimeError> {
    let mut probes = Probes::default();
    for (name, value) in fields("probes", of)? {
        let slot = match camel_name(&name).trim_end_matches("Probe") {
            "liveness" => &mut probes.liveness,
            "readiness" => &mut probes.readiness,
            "startup" => &mut probes.startup,
            _ => return Err(unknown("probes", &name, "liveness, readiness or startup")),
        };
        *slot = Some(read(&format!("probes.{name}"), camel(value))?);
    }
    Ok(probes)
}

/// # Errors
/// `Rejected` naming the field.
pub fn extras(of: &Value) -> Result<Extras, RuntimeError> {
    let mut extras = Extras::default();
    for (name, value) in fields("pod", of)? {
        let at = format!("pod.{name}");
        match camel_name(&name).as_str() {
            "annotations" => extras.annotations = read(&at, value)?,
            "nodeSelector" => extras.node_selector = Some(read(&at, value)?),
            "tolerations" => extras.tolerations = Some(read(&at, camel(value))?),
            "imagePullSecrets" => extras.image_pull_secrets = Some(read(&at, named(value))?),
            "serviceAccount" | "serviceAccountName" => {
                extras.service_account = Some(read(&at, value)?);
            }
            "priorityClass" | "priorityClassName" => {
                extras.priority_class = Some(read(&at, value)?);
            }
            "preStop" => {
                let handler: LifecycleHandler = read(&at, camel(value))?;
                extras.lifecycle =
                    Some(Lifecycle { pre_stop: Some(handler), ..Lifecycle::default() });
            }
            "volumes" => volumes(&at, value, &mut extras)?,
            _ => {
                let expected = "annotations, node_selector, tolerations, image_pull_secrets, service_account, priority_class, pre_stop or volumes";
                return Err(unknown("pod", &name, expected));
            }
        }
    }
    Ok(extras)
}

/// A place to write where the root cannot be written.
pub fn scratch() -> (Volume, VolumeMount) {
    let name = "scratch".to_owned();
    let empty_dir = Some(EmptyDirVolumeSource::default());
    let mount =
        VolumeMount { name: name.clone(), mount_path: "/tmp".to_owned(), ..VolumeMount::default() };
    (Volume { name, empty_dir, ..Volume::default() }, mount)
}

/// A volume with the place it is mounted at: `{name, mount_path, read_only, sub_path, config_map: {…}}`.
fn volumes(at: &str, list: Value, extras: &mut Extras) -> Result<(), RuntimeError> {
    let list: Vec<Value> = read(at, list)?;
    for (i, volume) in list.into_iter().enumerate() {
        let at = format!("{at}[{i}]");
        let Value::Object(mut volume) = camel(volume) else {
            return Err(reject(&at, "is no volume; expected name, mount_path and a source"));
        };
        let mut take = |name: &str| volume.remove(name).unwrap_or(Value::Null);
        let (path, read_only, sub_path) = (take("mountPath"), take("readOnly"), take("subPath"));
        let volume: Volume = read(&at, Value::Object(volume))?;
        if volume.name.is_empty() {
            return Err(reject(&at, "has no name"));
        }
        extras.mounts.push(VolumeMount {
            name: volume.name.clone(),
            mount_path: read(&format!("{at}.mount_path"), path)?,
            read_only: read(&format!("{at}.read_only"), read_only)?,
            sub_path: read(&format!("{at}.sub_path"), sub_path)?,
            ..VolumeMount::default()
        });
        extras.volumes.push(volume);
    }
    Ok(())
}

fn fields(at: &str, of: &Value) -> Result<Map<String, Value>, RuntimeError> {
    match of {
        Value::Null => Ok(Map::new()),
        Value::Object(fields) => Ok(fields.clone()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(reject(at, "is no mapping"))
        }
    }
}

fn unknown(at: &str, name: &str, expected: &str) -> RuntimeError {
    let name: String = name.chars().take(40).collect();
    reject(at, format!("knows no {name:?}; expected {expected}"))
}

fn read<T: DeserializeOwned>(at: &str, value: Value) -> Result<T, RuntimeError> {
    serde_json::from_value(value).map_err(|error| reject(at, format!("cannot be read: {error}")))
}

/// `["a"]` for `[{"name": "a"}]`, which may be written out too.
fn named(list: Value) -> Value {
    let Value::Array(list) = list else { return list };
    let one = |it: Value| match it {
        Value::String(name) => serde_json::json!({ "name": name }),
        other => other,
    };
    Value::Array(list.into_iter().map(one).collect())
}

fn camel_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut text, word| {
        let mut letters = word.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text.push_str(letters.as_str());
        text
    })
}

/// `initial_delay_seconds` → `initialDelaySeconds`, all the way down.
fn camel(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (camel_name(&name), camel(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(camel).collect(),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}
