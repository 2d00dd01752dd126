//! The parts of Kubernetes' objects that are looked at. What else an object holds is skipped while it is read, so that a
//! page of five hundred costs little, and nothing of it is kept.

mod meta;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node as ClusterNode, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as Stamp;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;

pub use self::meta::OwnerSeen;
use self::meta::{MetaSeen, without_owners};
use super::MANAGER;
use super::crew::{APPLIED, Crewed, numbered, scaled_by};
use crate::model::id::AgentId;
use crate::model::quantity::{Bytes, Cpu};
use crate::model::time::Time;
use crate::ports::runtime::{CopyOf, Exit, Node, Relic};

/// What every object of ours is found by.
pub const APP: (&str, &str) = ("app", "codevaldcortex-agent");
pub const AGENT_ID: &str = "agent-id";
pub const POOL: &str = "pool";
/// The pool whose workload it is part of.
pub const CREW: &str = "cvxc/crew";
/// The template it was made of: `id@version`.
pub const TEMPLATE: &str = "cvxc/template";
/// Which start of the agent an object belongs to.
pub const INCARNATION: &str = "cvxc/incarnation";
/// The incarnation that was asked to end; empty while none was.
pub const ENDED: &str = "cvxc/ended";

/// The incarnation that is paused: no replicas, and kept. Empty while none is.
pub const PARKED: &str = "cvxc/parked";

/// Kubernetes' own.
const DEFAULT_GRACE: i64 = 30;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "DeploymentRead")]
pub struct DeploymentSeen {
    pub metadata: ObjectMeta,
    pub owners: Vec<OwnerSeen>,
    pub spec: DeploymentSpecSeen,
    pub status: DeploymentStatusSeen,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DeploymentRead {
    metadata: MetaSeen<Vec<OwnerSeen>>,
    spec: DeploymentSpecSeen,
    status: DeploymentStatusSeen,
}

impl From<DeploymentRead> for DeploymentSeen {
    fn from(read: DeploymentRead) -> Self {
        let DeploymentRead { metadata, spec, status } = read;
        let (metadata, owners) = metadata.split();
        Self { metadata, owners, spec, status }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentSpecSeen {
    pub replicas: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStatusSeen {
    pub observed_generation: i64,
    pub replicas: i32,
    pub conditions: Vec<ConditionSeen>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConditionSeen {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSeen {
    #[serde(deserialize_with = "without_owners")]
    pub metadata: ObjectMeta,
    pub spec: PodSpecSeen,
    pub status: PodStatusSeen,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpecSeen {
    pub node_name: String,
    pub termination_grace_period_seconds: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatusSeen {
    pub phase: String,
    pub reason: String,
    pub message: String,
    pub conditions: Vec<ConditionSeen>,
    pub container_statuses: Vec<ContainerSeen>,
    pub init_container_statuses: Vec<ContainerSeen>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerSeen {
    pub name: String,
    pub ready: bool,
    pub restart_count: u32,
    #[serde(rename = "imageID")]
    pub image_id: String,
    pub state: ContainerStateSeen,
    pub last_state: ContainerStateSeen,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStateSeen {
    pub waiting: Option<WaitingSeen>,
    pub running: Option<RunningSeen>,
    pub terminated: Option<TerminatedSeen>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WaitingSeen {
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RunningSeen {
    pub started_at: Option<Stamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TerminatedSeen {
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSeen {
    #[serde(deserialize_with = "without_owners")]
    pub metadata: ObjectMeta,
    pub status: NodeStatusSeen,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatusSeen {
    pub allocatable: BTreeMap<String, String>,
    pub conditions: Vec<ConditionSeen>,
}

macro_rules! seen_as {
    ($seen:ty, $whole:ty) => {
        impl Resource for $seen {
            type DynamicType = ();
            type Scope = <$whole as Resource>::Scope;

            fn kind(_: &()) -> Cow<'_, str> {
                <$whole as Resource>::kind(&())
            }

            fn group(_: &()) -> Cow<'_, str> {
                <$whole as Resource>::group(&())
            }

            fn version(_: &()) -> Cow<'_, str> {
                <$whole as Resource>::version(&())
            }

            fn plural(_: &()) -> Cow<'_, str> {
                <$whole as Resource>::plural(&())
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

seen_as!(DeploymentSeen, Deployment);
seen_as!(PodSeen, Pod);
seen_as!(NodeSeen, ClusterNode);

/// One agent's Deployment, as far as it matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployed {
    pub name: String,
    pub uid: String,
    pub version: u64,
    pub incarnation: u64,
    /// The incarnation that was asked to end.
    pub ended: Option<u64>,
    /// Its agent is paused.
    pub parked: bool,
    pub replicas: i32,
    /// Its controller knows what is wanted now, and counts no pods.
    pub empty: bool,
    /// Asked to go altogether.
    pub going: bool,
    /// Why no pod can be made for it.
    pub refusal: String,
    /// Made by us, and never applied since: its fields are ours, but not yet as what was applied.
    pub unapplied: bool,
}

/// One pod of an agent, as far as it matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Podded {
    pub name: String,
    pub uid: String,
    pub version: u64,
    pub incarnation: u64,
    pub created: Time,
    /// Asked to end.
    pub ending: bool,
    /// Seconds it is given to end, or was given when it was asked to.
    pub grace: i64,
    pub node: String,
    pub phase: PodPhase,
    pub ready: bool,
    pub restarts: u32,
    pub started_at: Option<Time>,
    /// Why it does not run or is not ready, in the cluster's words.
    pub why: String,
    /// How its program ended, once it has.
    pub exit: Option<Exit>,
    /// The pool whose workload it is part of, and the template it was made of.
    pub copy_of: Option<Arc<CopyOf>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

pub fn time(stamp: &Stamp) -> Time {
    Time::from_millis(stamp.0.as_millisecond())
}

/// Resource versions grow, and are numbers wherever this was ever run (and by contract since 1.35); where one is not,
/// nothing is known of the order.
fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn number(of: Option<&BTreeMap<String, String>>, name: &str) -> Option<u64> {
    of?.get(name)?.parse().ok()
}

/// Whose object it is, by its label. A pod of a pool's workload is its own agent.
pub fn owner(meta: &ObjectMeta) -> Option<AgentId> {
    let labels = meta.labels.as_ref()?;
    let id = if labels.contains_key(CREW) { meta.name.as_ref()? } else { labels.get(AGENT_ID)? };
    AgentId::new(id).ok()
}

/// Whether it is what we set when we made a Deployment, as against what we apply.
fn is_creation(owner: &OwnerSeen) -> bool {
    let spec = &owner.fields_v1.spec;
    owner.manager == MANAGER && owner.operation == "Update" && spec.template.is_some()
}

/// The pool that a Deployment is the workload of.
pub fn crew_of(meta: &ObjectMeta) -> Option<&str> {
    meta.labels.as_ref()?.get(CREW).map(String::as_str)
}

/// Container runtimes tell a signal as 128 and its number.
fn exit(end: &TerminatedSeen) -> Exit {
    match (end.signal, end.exit_code) {
        (Some(signal), _) if signal != 0 => Exit::Signal(signal),
        (_, code @ 129..=192) => Exit::Signal(code - 128),
        (_, code) => Exit::Code(code),
    }
}

/// A node, as far as it matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    pub room: Node,
    /// Why it is not ready; empty while it is.
    pub trouble: String,
}

impl NodeSeen {
    pub fn shorten(self) -> Option<Host> {
        let Self { metadata: meta, status } = self;
        let name = meta.name?;
        let room = |of: &str| status.allocatable.get(of);
        let cpu: Option<Cpu> = room("cpu").and_then(|it| it.parse().ok());
        let memory: Option<Bytes> = room("memory").and_then(|it| it.parse().ok());
        let ready = status.conditions.iter().find(|it| it.kind == "Ready");
        let trouble = match ready {
            Some(ready) if ready.status == "True" => String::new(),
            Some(ready) => {
                let words = [ready.reason.as_str(), ready.message.as_str()];
                let words = words.into_iter().filter(|word| !word.is_empty());
                words.fold(format!("node {name} is not ready"), |text, word| text + ": " + word)
            }
            None => format!("node {name} has never said that it is ready"),
        };
        let room = Node {
            name,
            cpu_millis: cpu.map_or(0, |cpu| cpu.0),
            memory_bytes: memory.map_or(0, |memory| memory.0),
        };
        Some(Host { room, trouble })
    }
}

impl DeploymentSeen {
    /// What it says of its agent.
    pub fn relic(self) -> Relic {
        let of = |fields: Option<&BTreeMap<String, String>>, name: &str| {
            fields.and_then(|fields| fields.get(name)).cloned()
        };
        let (notes, labels) = (self.metadata.annotations.as_ref(), self.metadata.labels.as_ref());
        Relic {
            name: of(notes, "cvxc/name").unwrap_or_default(),
            template: of(notes, TEMPLATE).unwrap_or_default(),
            kind: of(labels, "agent-type").unwrap_or_default(),
            pool: of(labels, POOL),
        }
    }

    /// As the workload of a pool.
    pub fn crew(self) -> Crewed {
        let notes = self.metadata.annotations.as_ref();
        let applied = notes.and_then(|notes| notes.get(APPLIED)).cloned().unwrap_or_default();
        let replicas = self.spec.replicas.unwrap_or(1);
        let late = |it: &&ConditionSeen| {
            it.kind == "Progressing"
                && it.status == "False"
                && it.reason == "ProgressDeadlineExceeded"
        };
        // what its controller said of what was wanted before is old
        let judged =
            self.status.observed_generation >= self.metadata.generation.unwrap_or_default();
        let stuck = self.status.conditions.iter().find(late).filter(|_| judged);
        Crewed {
            stuck: stuck.map(|it| it.message.clone()),
            uid: self.metadata.uid.clone().unwrap_or_default(),
            version: version(&self.metadata),
            replicas: u32::try_from(replicas).unwrap_or(0),
            scaled_by: scaled_by(&self.owners),
            numbered: numbered(&self.owners),
            applied,
            going: self.metadata.deletion_timestamp.is_some(),
            refusal: self.shorten().refusal,
        }
    }

    pub fn shorten(self) -> Deployed {
        let Self { metadata: meta, owners, spec, status } = self;
        let notes = meta.annotations.as_ref();
        let refusal = status
            .conditions
            .into_iter()
            .find(|it| it.kind == "ReplicaFailure" && it.status == "True")
            .map(|it| if it.message.is_empty() { it.reason } else { cause(it.message) });
        let incarnation = number(notes, INCARNATION).unwrap_or(0);
        Deployed {
            version: version(&meta),
            incarnation,
            parked: number(notes, PARKED) == Some(incarnation),
            ended: number(notes, ENDED),
            replicas: spec.replicas.unwrap_or(1),
            empty: status.replicas == 0
                && status.observed_generation >= meta.generation.unwrap_or_default(),
            going: meta.deletion_timestamp.is_some(),
            unapplied: owners.iter().any(is_creation),
            refusal: refusal.unwrap_or_default(),
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
        }
    }
}

impl PodSeen {
    pub fn shorten(self) -> Podded {
        let why = super::causes::of(&self);
        let Self { metadata: meta, spec, status } = self;
        let is =
            |kind: &str| status.conditions.iter().any(|c| c.kind == kind && c.status == "True");
        let agent =
            status.container_statuses.iter().find(|it| it.name == super::manifest::CONTAINER);
        let running = agent.and_then(|it| it.state.running.as_ref());
        let copy = |pool: &str| {
            let template = meta.annotations.as_ref().and_then(|notes| notes.get(TEMPLATE)).cloned();
            Arc::new(CopyOf { pool: pool.to_owned(), template: template.unwrap_or_default() })
        };
        Podded {
            copy_of: crew_of(&meta).map(copy),
            version: version(&meta),
            incarnation: number(meta.annotations.as_ref(), INCARNATION).unwrap_or(0),
            created: meta.creation_timestamp.as_ref().map(time).unwrap_or_default(),
            ending: meta.deletion_timestamp.is_some(),
            grace: meta
                .deletion_grace_period_seconds
                .or(spec.termination_grace_period_seconds)
                .unwrap_or(DEFAULT_GRACE),
            phase: match status.phase.as_str() {
                "Running" => PodPhase::Running,
                "Succeeded" => PodPhase::Succeeded,
                "Failed" => PodPhase::Failed,
                "Unknown" => PodPhase::Unknown,
                _ => PodPhase::Pending,
            },
            ready: is("Ready"),
            restarts: agent.map_or(0, |it| it.restart_count),
            exit: agent.and_then(|it| it.state.terminated.as_ref()).map(exit),
            started_at: running.and_then(|it| it.started_at.as_ref()).map(time),
            why,
            node: spec.node_name,
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
        }
    }
}

/// `pods "agent-agent-01…" is forbidden: exceeded quota: …` without what is the same for all and longer than a row has room.
fn cause(message: String) -> String {
    match message.split_once("\" is forbidden: ") {
        Some((what, why)) if what.starts_with("pods \"") => why.to_owned(),
        _ => message,
    }
}
