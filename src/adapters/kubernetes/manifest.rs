//! One agent's Deployment, made from its workload. Pure, and the same for the same workload byte for byte: what is applied
//! twice changes nothing. What Kubernetes would not take is refused here when it can be known, naming the field.

mod pod;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, EnvVarSource, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;

use super::objects::{AGENT_ID, APP, ENDED, INCARNATION, PARKED, POOL};
use crate::model::agent::rules::SECRET_PREFIX;
use crate::model::agent::{AgentConfig, ResourceList, Security};
use crate::model::id::AgentId;
use crate::ports::runtime::{RuntimeError, Workload};

/// The agent's container in its pod; others may stand beside it.
pub const CONTAINER: &str = "agent";
/// The key of a secret that is named without one: `secret://db-password`.
const SECRET_KEY: &str = "value";
/// Whose names the Deployments of pools have: `agent-pool-<id>`.
const OF_POOLS: &str = "pool-";
/// Old ReplicaSets kept for looking back.
const HISTORY: i32 = 2;
/// Kubernetes' own limit on a name that is also a label of a pod.
const LONGEST_LABEL: usize = 63;

/// What a manifest depends on besides the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// For workloads that name a command and no image.
    pub image: String,
}

/// The Deployment's name.
pub fn name(agent: &AgentId) -> String {
    format!("agent-{agent}")
}

pub fn reject(field: &str, what: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Rejected { message: format!("{field} {what}") }
}

/// The Deployment of `workload`, as it is applied.
///
/// # Errors
/// `Rejected`, naming the first field that Kubernetes would not take.
pub fn deployment(workload: &Workload, defaults: &Defaults) -> Result<Deployment, RuntimeError> {
    let Workload { agent, config, .. } = workload;
    if agent.as_str().starts_with(OF_POOLS) {
        let why =
            format!("{agent:?} begins with {OF_POOLS:?}: agent-{agent} would be a pool's workload");
        return Err(reject("agent id", why));
    }
    if config.image.is_empty() && config.command.is_empty() {
        return Err(reject(
            "command",
            "and image are both empty; expected an image, a command, or both",
        ));
    }
    if config.image.is_empty() && defaults.image.is_empty() {
        let why = "is empty, and the setting kubernetes.image names none for agents without one";
        return Err(reject("image", why));
    }
    let labels = labels(workload);
    let incarnation = (INCARNATION.to_owned(), workload.incarnation.to_string());
    let mut notes: BTreeMap<String, String> = workload
        .notes
        .iter()
        .map(|(name, value)| (format!("cvxc/{name}"), value.clone()))
        .collect();
    notes.insert("cvxc/name".to_owned(), workload.name.clone());
    notes.extend([
        incarnation.clone(),
        (ENDED.to_owned(), String::new()),
        (PARKED.to_owned(), String::new()),
    ]);
    let extras = pod::extras(&config.pod)?;
    let mut on_pod = extras.annotations.clone();
    on_pod.extend([incarnation]);
    Ok(Deployment {
        metadata: ObjectMeta {
            name: Some(name(agent)),
            labels: Some(labels.clone()),
            annotations: Some(notes),
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            selector: LabelSelector {
                match_labels: Some([(AGENT_ID.to_owned(), agent.to_string())].into()),
                ..LabelSelector::default()
            },
            // never two of one agent at once
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(HISTORY),
            progress_deadline_seconds: Some(seconds(config.start_timeout).max(1)),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(on_pod),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(workload, defaults, extras)?),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    })
}

fn seconds(span: std::time::Duration) -> i32 {
    i32::try_from(span.as_millis().div_ceil(1_000)).unwrap_or(i32::MAX)
}

/// The agent's own labels under ours, on Deployment and pod alike.
fn labels(workload: &Workload) -> BTreeMap<String, String> {
    let mut labels = workload.labels.clone();
    labels.insert(APP.0.to_owned(), APP.1.to_owned());
    labels.insert(AGENT_ID.to_owned(), workload.agent.to_string());
    if is_label(&workload.kind) {
        labels.insert("agent-type".to_owned(), workload.kind.clone());
    }
    match &workload.pool {
        Some(pool) => labels.insert(POOL.to_owned(), pool.clone()),
        // a label of the agent's own must not put it into a pool
        None => labels.remove(POOL),
    };
    labels
}

fn is_label(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LONGEST_LABEL && ends(text.bytes().next()) && ends(text.bytes().last())
}

fn pod_spec(
    workload: &Workload,
    defaults: &Defaults,
    extras: pod::Extras,
) -> Result<PodSpec, RuntimeError> {
    let config = &workload.config;
    let security = &config.security;
    let probes = pod::probes(&config.probes)?;
    let (mut volumes, mut mounts) = (extras.volumes, extras.mounts);
    if security.read_only_root && mounts.iter().all(|it| it.mount_path != "/tmp") {
        let (volume, mount) = pod::scratch();
        volumes.push(volume);
        mounts.push(mount);
    }
    let image = if config.image.is_empty() { &defaults.image } else { &config.image };
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let container = Container {
        name: CONTAINER.to_owned(),
        image: Some(image.clone()),
        command: some(&config.command),
        args: some(&config.args),
        env: Some(env(workload)?),
        resources: resources(config),
        liveness_probe: probes.liveness,
        readiness_probe: probes.readiness,
        startup_probe: probes.startup,
        lifecycle: extras.lifecycle,
        security_context: Some(container_security(security)),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        ..Container::default()
    };
    Ok(PodSpec {
        containers: vec![container],
        // an agent reaches the store, never the cluster, unless its template gives it an account
        automount_service_account_token: Some(extras.service_account.is_some()),
        service_account_name: extras.service_account,
        enable_service_links: Some(false),
        restart_policy: Some("Always".to_owned()),
        termination_grace_period_seconds: Some(i64::from(seconds(config.grace))),
        security_context: Some(pod_security(security)),
        node_selector: extras.node_selector,
        tolerations: extras.tolerations,
        image_pull_secrets: extras.image_pull_secrets,
        priority_class_name: extras.priority_class,
        volumes: (!volumes.is_empty()).then_some(volumes),
        ..PodSpec::default()
    })
}

/// Sorted by name, ours over the template's; what a secret holds is named, never written.
fn env(workload: &Workload) -> Result<Vec<EnvVar>, RuntimeError> {
    let mut env = workload.config.env.clone();
    env.extend(workload.env.clone());
    env.insert("CVXC_AGENT_ID".to_owned(), workload.agent.to_string());
    let mut list = Vec::with_capacity(env.len());
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(reject("env", format!("{name:?} cannot be the name of a variable")));
        }
        let variable = match value.strip_prefix(SECRET_PREFIX) {
            None => EnvVar { name, value: Some(value), value_from: None },
            Some(path) => {
                let (secret, key) = path.split_once('/').unwrap_or((path, SECRET_KEY));
                if !is_object_name(secret) || key.is_empty() || key.contains('/') {
                    let expected =
                        format!("expected {SECRET_PREFIX}NAME or {SECRET_PREFIX}NAME/KEY");
                    return Err(reject(
                        &format!("env.{name}"),
                        format!("names no secret; {expected}"),
                    ));
                }
                let key_ref = SecretKeySelector {
                    name: secret.to_owned(),
                    key: key.to_owned(),
                    optional: None,
                };
                let source =
                    EnvVarSource { secret_key_ref: Some(key_ref), ..EnvVarSource::default() };
                EnvVar { name, value: None, value_from: Some(source) }
            }
        };
        list.push(variable);
    }
    Ok(list)
}

/// A DNS subdomain, as objects are named.
fn is_object_name(text: &str) -> bool {
    let fine = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    };
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 253
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(fine)
}

fn resources(config: &AgentConfig) -> Option<ResourceRequirements> {
    let list = |of: &ResourceList| {
        let cpu = of.cpu.map(|cpu| ("cpu".to_owned(), Quantity(cpu.to_string())));
        let memory = of.memory.map(|bytes| ("memory".to_owned(), Quantity(bytes.to_string())));
        let all: BTreeMap<String, Quantity> = cpu.into_iter().chain(memory).collect();
        (!all.is_empty()).then_some(all)
    };
    let (requests, limits) = (list(&config.resources.requests), list(&config.resources.limits));
    (requests.is_some() || limits.is_some()).then_some(ResourceRequirements {
        requests,
        limits,
        claims: None,
    })
}

fn pod_security(security: &Security) -> PodSecurityContext {
    let group = security.run_as_group.map(i64::from);
    PodSecurityContext {
        run_as_non_root: Some(security.run_as_user != Some(0) && !security.privileged),
        run_as_user: Some(security.run_as_user.map_or(1_000, i64::from)),
        run_as_group: Some(group.unwrap_or(2_000)),
        fs_group: Some(group.unwrap_or(2_000)),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

/// The Pod Security profile `restricted`, but for what the template was allowed to ask for.
fn container_security(security: &Security) -> SecurityContext {
    let drop = Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None };
    SecurityContext {
        privileged: Some(security.privileged),
        allow_privilege_escalation: Some(security.privileged),
        read_only_root_filesystem: Some(security.read_only_root),
        capabilities: (!security.privileged).then_some(drop),
        ..SecurityContext::default()
    }
}

#[cfg(test)]
mod tests;
