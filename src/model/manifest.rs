//! Manifests: what `apply` is given, read strictly into what it wants of a document. Lists every fault, never only the
//! first, each with a JSON pointer; knows nothing of what is stored.

mod reader;

use serde_json::{Map, Value};

use super::agent::{Desired, PollClass};
use super::plan::{Manifest, Noun};
use super::quantity::{Bytes, Cpu};
use super::scaling::ScalingSpec;
use super::template::FieldError;
use super::time::span;
use reader::Reader;

/// What one manifest wants. `set` holds only the fields that it names, in their canonical form, as the document has them;
/// null asks for the default.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub noun: Noun,
    pub name: String,
    pub tenant: Option<String>,
    pub set: Map<String, Value>,
    /// Pools and agents: the template's name or id.
    pub template: Option<String>,
    /// Pools and agents: the template's version; the newest when it is not named.
    pub version: Option<String>,
}

/// A span of time that is written as text: its own type, so that [`Reader::of`] can check it.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
struct Span(#[serde(with = "span")] std::time::Duration);

impl Manifest {
    /// Reads the manifest's fields.
    ///
    /// # Errors
    /// Every fault. Paths are JSON pointers into the manifest, after its source if that is known: `demo.yaml:12#/min`.
    pub fn read(&self) -> Result<Spec, Vec<FieldError>> {
        let mut reader = Reader::new("", &self.fields);
        let mut spec = Spec {
            noun: self.noun,
            name: self.name.clone(),
            tenant: None,
            set: Map::new(),
            template: None,
            version: None,
        };
        match self.noun {
            Noun::Template => template(&mut reader),
            Noun::Pool => pool(&mut reader, &mut spec),
            Noun::Agent => agent(&mut reader, &mut spec),
            Noun::Message | Noun::Subscription | Noun::Publication | Noun::Operation => {
                let fault = FieldError::new(
                    "/kind",
                    format!("expected Template, Pool or Agent, got {}", self.noun),
                );
                return Err(vec![self.locate(fault)]);
            }
        }
        let (set, errors) = reader.finish();
        if !errors.is_empty() {
            return Err(errors.into_iter().map(|error| self.locate(error)).collect());
        }
        spec.set = set;
        Ok(spec)
    }

    /// The fault with the manifest's source before its path.
    pub fn locate(&self, fault: FieldError) -> FieldError {
        if self.source.is_empty() {
            return fault;
        }
        FieldError::new(format!("{}#{}", self.source, fault.path), fault.message)
    }
}

fn template(reader: &mut Reader<'_>) {
    reader.text("description");
    reader.text("type");
    reader.pairs("labels");
    reader.texts("tags");
    reader.object("configuration", config);
}

fn pool(reader: &mut Reader<'_>, spec: &mut Spec) {
    spec.tenant = reader.reference("tenant");
    spec.template = reader.reference("template");
    spec.version = reader.reference("version");
    reader.text("description");
    reader.pairs("labels");
    for name in ["desired", "min", "max"] {
        // a count that was left empty by mistake must not scale a pool to nothing
        if reader.is_null(name) {
            reader.fault(name, "expected a number of agents such as 3, got nothing");
            reader.value(name);
        } else {
            reader.of::<u32>(name, "a number of agents such as 3");
        }
    }
    reader.object("update", |update| {
        update.of::<u32>("max_surge", "a number of agents such as 1");
        update.of::<u32>("max_unavailable", "a number of agents such as 1");
    });
    scaling(reader);
    reader.text("quota_ref");
    reader.flag("paused");
}

/// The fields of a scaling rule are checked by its own type.
fn scaling(reader: &mut Reader<'_>) {
    let Some(value) = reader.value("scaling") else { return };
    match serde_json::from_value::<ScalingSpec>(value.clone()) {
        Err(error) => reader.fault("scaling", error.to_string()),
        Ok(read) => {
            if value.get("hold_until").is_some() {
                reader.fault("scaling", "hold_until is set by scaling by hand, not by a manifest");
            }
            let unknown = read.extra.keys().map(|name| {
                FieldError::new(format!("/{}", reader::segment(name)), "unknown field".to_owned())
            });
            let unknown: Vec<FieldError> = unknown.collect();
            reader.faults("scaling", unknown);
            match serde_json::to_value(&read) {
                Ok(value) => reader.keep("scaling", value),
                Err(error) => reader.fault("scaling", error.to_string()),
            }
        }
    }
}

fn agent(reader: &mut Reader<'_>, spec: &mut Spec) {
    spec.tenant = reader.reference("tenant");
    spec.template = reader.reference("template");
    spec.version = reader.reference("version");
    reader.text("type");
    reader.pairs("labels");
    reader.flag("pinned");
    reader.of::<Desired>("desired", "running, paused or stopped");
    if reader.value("desired") == Some(&Value::from("deleted")) {
        reader.fault("desired", "expected running, paused or stopped (delete deletes)");
    }
    reader.object("config", config);
}

/// What a template's `configuration` and an agent's `config` may say.
fn config(reader: &mut Reader<'_>) {
    reader.text("image");
    reader.texts("command");
    reader.texts("args");
    reader.pairs("env");
    reader.object("resources", |resources| {
        for name in ["requests", "limits"] {
            resources.object(name, |list| {
                list.of::<Cpu>("cpu", "an amount of cpu such as \"250m\"");
                list.of::<Bytes>("memory", "an amount of memory such as \"512Mi\"");
            });
        }
    });
    reader.object("security", |security| {
        security.of::<u32>("run_as_user", "a user id such as 1000");
        security.of::<u32>("run_as_group", "a group id such as 1000");
        security.flag("read_only_root");
        security.flag("privileged");
    });
    reader.open("probes");
    reader.of::<PollClass>("poll_class", "high, normal or background");
    reader.object("heartbeat", |heartbeat| {
        heartbeat.of::<Span>("interval", "a span of time such as \"10s\"");
        heartbeat.flag("required");
    });
    reader.of::<Span>("grace", "a span of time such as \"10s\"");
    reader.of::<Span>("start_timeout", "a span of time such as \"60s\"");
    reader.object("pod", |pod| {
        pod.pairs("annotations");
        pod.pairs("node_selector");
        pod.list("tolerations");
        pod.texts("image_pull_secrets");
        pod.text("service_account");
        pod.text("priority_class");
        pod.list("volumes");
    });
}

/// What of a document an operator may edit, as a manifest would say it. `None` for what no manifest describes. Which
/// template something is of has an act of its own, so it is not among them.
pub fn editable(noun: Noun, body: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut picked = body.clone();
    for name in ["template", "version", "tenant"] {
        picked.shift_remove(name);
    }
    if let Some(Value::Object(scaling)) = picked.get_mut("scaling") {
        scaling.shift_remove("hold_until");
    }
    let mut reader = Reader::new("", &picked);
    let mut spec = Spec {
        noun,
        name: String::new(),
        tenant: None,
        set: Map::new(),
        template: None,
        version: None,
    };
    match noun {
        Noun::Template => template(&mut reader),
        Noun::Pool => pool(&mut reader, &mut spec),
        Noun::Agent => agent(&mut reader, &mut spec),
        Noun::Message | Noun::Subscription | Noun::Publication | Noun::Operation => return None,
    }
    // fields of the document that no manifest knows are no faults here
    Some(reader.finish().0)
}

/// What an agent's configuration may override, read as a manifest's `config` is: for `deploy --set`.
///
/// # Errors
/// Every fault, under `/overrides`.
pub fn overrides(fields: &Map<String, Value>) -> Result<Map<String, Value>, Vec<FieldError>> {
    let mut reader = Reader::new("/overrides", fields);
    config(&mut reader);
    let (set, errors) = reader.finish();
    if errors.is_empty() { Ok(set) } else { Err(errors) }
}

/// Puts what a manifest sets into a document's fields: each field it names is replaced, null removes; `configuration`
/// and `config` are gone into, so that a manifest may name only some of their parts.
pub fn merge(body: &mut Map<String, Value>, set: &Map<String, Value>) {
    for (name, value) in set {
        match (value, name.as_str()) {
            (Value::Null, _) => drop(body.shift_remove(name)),
            (Value::Object(inner), "configuration" | "config") => {
                let place = body.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(place) = place {
                    merge(place, inner);
                } else {
                    *place = value.clone();
                }
            }
            (value, _) => drop(body.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
