//! A pool as one Deployment with an autoscaler of its own: its pods are its agents, and how many there are is whoever's
//! decision the cluster's books (`managedFields`) say it is. What another has set is never forced.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::silent;
use super::fault::{self, Kind};
use super::objects::{AGENT_ID, APP, CREW, DeploymentSeen, POOL};
use super::{Inner, MANAGER, manifest};
use crate::model::id::{AgentId, PoolId};
use crate::ports::runtime::{Crew, CrewSeen, RuntimeError, Workload};

/// What was applied last, so that the same is not applied again.
pub const APPLIED: &str = "cvxc/applied";
/// Stands in for the agents that the pods are; it is in nothing that is sent.
const NOBODY: &str = "crew";
/// Fields that are not known by their owners' names yet.
const TRIES: usize = 3;

/// A pool's Deployment, as far as it matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Crewed {
    pub uid: String,
    pub version: u64,
    pub replicas: u32,
    /// Who else has set the number of replicas.
    pub scaled_by: Option<String>,
    pub applied: String,
    pub going: bool,
    pub refusal: String,
}

pub fn name(pool: &str) -> String {
    format!("{}{pool}", AgentId::OF_CREWS)
}

/// Who, other than we, has set `spec.replicas`.
pub fn scaled_by(meta: &ObjectMeta) -> Option<String> {
    let sets = |fields: &Value| fields.pointer("/f:spec/f:replicas").is_some();
    let others = meta.managed_fields.iter().flatten().filter(|entry| {
        entry.manager.as_deref() != Some(MANAGER)
            && entry.fields_v1.as_ref().is_some_and(|fields| sets(&fields.0))
    });
    others.filter_map(|entry| entry.manager.clone()).next_back()
}

/// The Deployment without its replicas, and the autoscaler if it has one.
fn manifests(inner: &Inner, crew: &Crew) -> Result<(Value, Option<Value>), RuntimeError> {
    let nobody = AgentId::new(NOBODY).map_err(|error| manifest::reject("pool", error))?;
    let like = Workload { agent: nobody, incarnation: 1, ..crew.like.clone() };
    let made = manifest::deployment(&like, &inner.options.defaults)?;
    let mut made =
        serde_json::to_value(made).map_err(|error| manifest::reject("the manifest", error))?;
    let name = name(crew.pool.as_str());
    let mark = |labels: &mut Value| {
        if let Some(labels) = labels.as_object_mut() {
            labels.remove(AGENT_ID);
            labels.insert(CREW.to_owned(), crew.pool.as_str().into());
            labels.insert(POOL.to_owned(), crew.pool.as_str().into());
        }
    };
    mark(&mut made["metadata"]["labels"]);
    mark(&mut made["spec"]["template"]["metadata"]["labels"]);
    made["metadata"]["name"] = name.as_str().into();
    made["metadata"]["annotations"] = json!({"cvxc/name": crew.like.name});
    for (note, value) in &crew.like.notes {
        made["metadata"]["annotations"][format!("cvxc/{note}")] = value.as_str().into();
    }
    made["spec"]["selector"]["matchLabels"] = json!({CREW: crew.pool.as_str()});
    made["spec"]["strategy"] = json!({
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": crew.surge, "maxUnavailable": crew.unavailable},
    });
    if let Some(spec) = made["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    // who an agent is, is its pod's name
    for variable in made["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter(|it| it["name"] == "CVXC_AGENT_ID" || it["name"] == "CVXC_AGENT_NAME")
    {
        let whose = json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}});
        *variable = json!({"name": variable["name"], "valueFrom": whose});
    }
    let scaler = crew.scaler.as_ref().map(|scaler| {
        json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "labels": {APP.0: APP.1, CREW: crew.pool.as_str()}},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": scaler.min.max(1),
                "maxReplicas": scaler.max.max(1),
                "metrics": [{"type": "Resource", "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": scaler.cpu_percent},
                }}],
            },
        })
    });
    Ok((made, scaler))
}

fn digest(of: &impl serde::Serialize) -> String {
    let text = serde_json::to_vec(of).unwrap_or_default();
    Sha256::digest(text).iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// Brings the Deployment and its autoscaler to what is wanted; what is so already costs no request.
///
/// # Errors
/// Those of the API server.
pub async fn keep(inner: &Inner, crew: &Crew) -> Result<CrewSeen, RuntimeError> {
    let (mut made, scaler) = manifests(inner, crew)?;
    let applied = digest(&(&made, &scaler));
    made["metadata"]["annotations"][APPLIED] = applied.as_str().into();
    let pool = crew.pool.as_str();
    inner.whole().await?;
    let known = inner.table.crew(pool);
    if let Some(known) = &known {
        if known.going {
            let why = format!("{} is still being deleted", name(pool));
            return Err(RuntimeError::Unavailable(why.into()));
        }
        let numbered = known.scaled_by.is_some() || known.replicas == crew.replicas;
        if known.applied == applied && numbered {
            return Ok(seen(&crew.pool, known));
        }
    }
    // before the Deployment, which keeps what was applied last: whatever fails here is tried again at the next look
    scale(inner, crew, scaler.as_ref()).await?;
    let mut others = known.as_ref().and_then(|known| known.scaled_by.clone());
    let api: Api<DeploymentSeen> = inner.deployments();
    let (name, mut force) = (name(pool), false);
    for _ in 0..TRIES {
        let mut params = PatchParams::apply(MANAGER);
        params.force = force;
        let mut sent = made.clone();
        // left out only while somebody else owns it: when its last owner leaves it out, it becomes 1
        if others.is_none() {
            sent["spec"]["replicas"] = crew.replicas.into();
        }
        let patch = Patch::Apply(&sent);
        let request = api.patch(&name, &params, &patch);
        match inner.cluster.try_ask(request).await {
            Ok(now) => {
                inner.table.crewed(pool, now.crew());
                return inner
                    .table
                    .crew(pool)
                    .map(|known| seen(&crew.pool, &known))
                    .ok_or_else(|| silent(Kind::Write));
            }
            Err(Some(kube::Error::Api(status))) if fault::is_field_conflict(&status) => {
                let owners = fault::owners(&status);
                match owners.iter().find(|owner| *owner != MANAGER) {
                    Some(owner) if fault::is_only_over(&status, ".spec.replicas") => {
                        others = Some(owner.clone());
                    }
                    Some(_) => return Err(fault::refusal(&status)),
                    // what we had changed by other means than applying is ours all the same
                    None => force = true,
                }
            }
            Err(Some(error)) => return Err(fault::of(error, Kind::Write)),
            Err(None) => return Err(silent(Kind::Write)),
        }
    }
    Err(silent(Kind::Write))
}

/// The autoscaler of the same name, or none. One that somebody else made is theirs: it is left as it is, and in the way of ours.
async fn scale(inner: &Inner, crew: &Crew, scaler: Option<&Value>) -> Result<(), RuntimeError> {
    let api: Api<HorizontalPodAutoscaler> = inner.deployments();
    let name = name(crew.pool.as_str());
    let there = inner.cluster.ask(Kind::Read, api.get_metadata_opt(&name)).await?;
    let ours = there.as_ref().is_none_or(|there| is_of(&there.metadata, &crew.pool));
    let Some(scaler) = scaler else {
        return match there {
            Some(there) if ours => gone(inner, api.delete(&name, &just(&there.metadata))).await,
            Some(_) | None => Ok(()),
        };
    };
    if !ours {
        let message = format!(
            "there is a HorizontalPodAutoscaler {name} that cvxc did not make: delete it, or take the cpu metric from the pool"
        );
        return Err(RuntimeError::Rejected { message });
    }
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(scaler);
    inner.cluster.ask(Kind::Write, api.patch(&name, &params, &patch)).await?;
    Ok(())
}

/// Whether it carries the pool's mark.
fn is_of(meta: &ObjectMeta, pool: &PoolId) -> bool {
    let mark = meta.labels.as_ref().and_then(|labels| labels.get(CREW));
    mark.is_some_and(|mark| mark == pool.as_str())
}

/// Deletes this very object, and nothing that has come in its place.
fn just(meta: &ObjectMeta) -> DeleteParams {
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

async fn gone<T>(
    inner: &Inner,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<(), RuntimeError> {
    match inner.cluster.try_ask(request).await {
        Ok(_) => Ok(()),
        Err(Some(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
        Err(Some(error)) => Err(fault::of(error, Kind::Write)),
        Err(None) => Err(silent(Kind::Write)),
    }
}

/// Deletes the autoscaler and the Deployment; its pods end with their grace.
///
/// # Errors
/// Those of the API server.
pub async fn end(inner: &Inner, pool: &PoolId) -> Result<(), RuntimeError> {
    let name = name(pool.as_str());
    let scalers: Api<HorizontalPodAutoscaler> = inner.deployments();
    let scaler = inner.cluster.ask(Kind::Read, scalers.get_metadata_opt(&name)).await?;
    if let Some(scaler) = scaler.filter(|it| is_of(&it.metadata, pool)) {
        gone(inner, scalers.delete(&name, &just(&scaler.metadata))).await?;
    }
    let api: Api<Deployment> = inner.deployments();
    let there = inner.cluster.ask(Kind::Read, api.get_metadata_opt(&name)).await?;
    let Some(there) = there.filter(|it| is_of(&it.metadata, pool)) else { return Ok(()) };
    let propagation_policy = Some(PropagationPolicy::Background);
    let params = DeleteParams { propagation_policy, ..just(&there.metadata) };
    gone(inner, api.delete(&name, &params)).await
}

pub fn seen(pool: &PoolId, known: &Crewed) -> CrewSeen {
    CrewSeen {
        pool: pool.clone(),
        replicas: known.replicas,
        scaled_by: known.scaled_by.clone(),
        trouble: known.refusal.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_other_writer_of_replicas_is_named_and_our_own_entry_is_none() {
        let entry = |manager: &str, fields: Value| json!({"manager": manager, "operation": "Update", "fieldsV1": fields});
        let of = |entries: Vec<Value>| -> Option<String> {
            let meta = json!({"managedFields": entries});
            scaled_by(&serde_json::from_value(meta).unwrap())
        };
        let replicas = || json!({"f:spec": {"f:replicas": {}}});
        assert_eq!(of(vec![entry("cvxc", replicas())]), None);
        let paused = entry("kubectl", json!({"f:spec": {"f:paused": {}}}));
        assert_eq!(of(vec![entry("cvxc", replicas()), paused]), None);
        let hpa = entry("kube-controller-manager", replicas());
        assert_eq!(of(vec![entry("cvxc", json!({})), hpa]).unwrap(), "kube-controller-manager");
    }
}
