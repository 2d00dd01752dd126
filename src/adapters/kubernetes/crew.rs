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
use super::objects::{AGENT_ID, APP, CREW, DeploymentSeen, OwnerSeen, POOL, TEMPLATE};
use super::{Inner, MANAGER, manifest};
use crate::model::id::{AgentId, PoolId};
use crate::ports::runtime::{Crew, CrewScaler, CrewSeen, RuntimeError, Workload};

/// What was applied last, so that the same is not applied again.
pub const APPLIED: &str = "cvxc/applied";
/// Ends it where an autoscaler went with it.
const SCALED: &str = ".hpa";
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
    /// The number is ours, if not ours alone.
    pub numbered: bool,
    pub applied: String,
    pub going: bool,
    pub refusal: String,
    /// In its controller's words: what was applied last has not come up within its time.
    pub stuck: Option<String>,
}

pub fn name(pool: &str) -> String {
    format!("{}{pool}", AgentId::OF_CREWS)
}

/// Who, other than we, has set `spec.replicas`. Whoever changes a field takes it from all others: as long as it is ours as
/// well, nobody has.
pub fn scaled_by(owners: &[OwnerSeen]) -> Option<String> {
    let of_replicas = |it: &&OwnerSeen| it.fields_v1.spec.replicas.is_some();
    let last = owners.iter().rfind(of_replicas)?;
    (!numbered(owners)).then(|| last.manager.clone())
}

/// Whether `spec.replicas` is ours, if not ours alone.
pub fn numbered(owners: &[OwnerSeen]) -> bool {
    owners.iter().any(|it| it.manager == MANAGER && it.fields_v1.spec.replicas.is_some())
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
    // its pods say what they were made of: while an update is on its way there are two kinds
    if let Some(template) = made["metadata"]["annotations"].get(TEMPLATE).cloned() {
        made["spec"]["template"]["metadata"]["annotations"][TEMPLATE] = template;
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

/// What the pool wants, in short, and whether it has an autoscaler. Not what a leader adds of its own settings or writes
/// otherwise in another version: leaders that differ must not roll the pool at each takeover. That goes out with the next
/// change of the pool itself.
fn wish(crew: &Crew) -> String {
    let Crew { like, surge, unavailable, scaler, .. } = crew;
    let Workload { name, kind, labels, config, notes, .. } = like;
    let scaler = scaler.map(|it| [it.min, it.max, it.cpu_percent]);
    let wanted = json!([name, kind, labels, config, notes, surge, unavailable, scaler]);
    let digest = Sha256::digest(wanted.to_string());
    let short: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    if scaler.is_some() { short + SCALED } else { short }
}

/// Brings the Deployment and its autoscaler to what is wanted. What is so already costs no request, but for the one that
/// looks at the autoscaler of a pool that has one: no watch tells of it.
///
/// # Errors
/// Those of the API server.
pub async fn keep(inner: &Inner, crew: &Crew) -> Result<CrewSeen, RuntimeError> {
    let (mut made, scaler) = manifests(inner, crew)?;
    let applied = wish(crew);
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
            if let (Some(wanted), Some(scaler)) = (&crew.scaler, &scaler)
                && !is_scaled(inner, pool, wanted).await.or_else(silence)?
            {
                scale(inner, crew, Some(scaler)).await?;
            }
            return Ok(seen(inner, &crew.pool, known));
        }
    }
    // before the Deployment, which keeps what was applied last: whatever fails here is tried again at the next look
    scale(inner, crew, scaler.as_ref()).await?;
    let mut others = known.as_ref().and_then(|known| known.scaled_by.clone());
    let (mut replicas, mut taken) = (crew.replicas, None);
    let was_scaled = |it: &&Crewed| scaler.is_none() && it.applied.ends_with(SCALED);
    if let Some(known) = known.as_ref().filter(was_scaled) {
        // our autoscaler has gone, and the books name its controller for ever: the number it left is ours from here on
        (taken, replicas) = (others.take(), known.replicas);
    }
    let api: Api<DeploymentSeen> = inner.deployments();
    let (name, mut force) = (name(pool), false);
    for _ in 0..TRIES {
        let mut params = PatchParams::apply(MANAGER);
        params.force = force;
        let mut sent = made.clone();
        // left out only while somebody else owns it: when its last owner leaves it out, it becomes 1
        if others.is_none() {
            sent["spec"]["replicas"] = replicas.into();
        }
        let patch = Patch::Apply(&sent);
        let request = api.patch(&name, &params, &patch);
        match inner.cluster.try_ask(request).await {
            Ok(now) => {
                inner.table.crewed(pool, now.crew());
                let now = inner.table.crew(pool).ok_or_else(|| silent(Kind::Write))?;
                let mut seen = seen(inner, &crew.pool, &now);
                if taken.is_some() {
                    // said once more, so that the number it left is the number wanted
                    seen.scaled_by = taken;
                }
                return Ok(seen);
            }
            Err(Some(kube::Error::Api(status))) if fault::is_field_conflict(&status) => {
                let owners = fault::owners(&status);
                match owners.iter().find(|owner| *owner != MANAGER) {
                    Some(owner) if fault::is_only_over(&status, ".spec.replicas") => {
                        // theirs as well, and unchanged since: ours to set
                        if let Some(known) = known.as_ref().filter(|it| it.numbered)
                            && number(inner, &name, known, replicas).await?
                        {
                            continue;
                        }
                        (others, taken) = (Some(owner.clone()), None);
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

/// What cannot be looked at for a moment is as it was: the next look finds out.
fn silence(error: RuntimeError) -> Result<bool, RuntimeError> {
    match error {
        RuntimeError::Unavailable(_) => Ok(true),
        other => Err(other),
    }
}

/// Whether the autoscaler is there and has its bounds and its target: somebody may have deleted or changed it since.
async fn is_scaled(inner: &Inner, pool: &str, wanted: &CrewScaler) -> Result<bool, RuntimeError> {
    let api: Api<HorizontalPodAutoscaler> = inner.deployments();
    let there = inner.cluster.ask(Kind::Read, api.get_opt(&name(pool))).await?;
    let wanted = CrewScaler { min: wanted.min.max(1), max: wanted.max.max(1), ..*wanted };
    Ok(there.as_ref().and_then(bounds) == Some(wanted))
}

/// What an autoscaler by cpu alone is told; nothing where it is another.
fn bounds(there: &HorizontalPodAutoscaler) -> Option<CrewScaler> {
    let spec = there.spec.as_ref()?;
    let [metric] = spec.metrics.as_deref()? else { return None };
    let cpu = metric.resource.as_ref().filter(|it| it.name == "cpu")?;
    Some(CrewScaler {
        min: spec.min_replicas?.try_into().ok()?,
        max: spec.max_replicas.try_into().ok()?,
        cpu_percent: cpu.target.average_utilization?.try_into().ok()?,
    })
}

/// Sets the number of replicas by itself, which takes it from whoever had set it before; false where that is another by now.
async fn number(
    inner: &Inner,
    name: &str,
    known: &Crewed,
    replicas: u32,
) -> Result<bool, RuntimeError> {
    let version = known.version.to_string();
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let api: Api<DeploymentSeen> = inner.deployments();
    match inner.cluster.try_ask(api.patch(name, &params, &Patch::Merge(&patch))).await {
        Ok(_) => Ok(true),
        Err(Some(kube::Error::Api(status))) if status.code == 409 => Ok(false),
        Err(Some(error)) => Err(fault::of(error, Kind::Write)),
        Err(None) => Err(silent(Kind::Write)),
    }
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

pub fn seen(inner: &Inner, pool: &PoolId, known: &Crewed) -> CrewSeen {
    let stuck = known.stuck.as_ref().map(|late| match inner.table.ailing(pool.as_str()) {
        Some((copy, why)) => format!("{copy}: {why}"),
        None => late.clone(),
    });
    CrewSeen {
        pool: pool.clone(),
        replicas: known.replicas,
        scaled_by: known.scaled_by.clone(),
        trouble: known.refusal.clone(),
        stuck,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::agent::AgentConfig;

    #[test]
    fn the_last_other_writer_of_replicas_is_named_and_our_own_entry_is_none() {
        let entry = |manager: &str, fields: Value| json!({"manager": manager, "operation": "Update", "fieldsV1": fields});
        let of = |entries: Vec<Value>| -> Option<String> {
            let meta = json!({"metadata": {"managedFields": entries}});
            scaled_by(&serde_json::from_value::<DeploymentSeen>(meta).unwrap().owners)
        };
        let replicas = || json!({"f:spec": {"f:replicas": {}}});
        assert_eq!(of(vec![entry("cvxc", replicas())]), None);
        let paused = entry("kubectl", json!({"f:spec": {"f:paused": {}}}));
        assert_eq!(of(vec![entry("cvxc", replicas()), paused]), None);
        let hpa = entry("kube-controller-manager", replicas());
        assert_eq!(of(vec![entry("cvxc", json!({})), hpa]).unwrap(), "kube-controller-manager");
        // whoever sets another number takes it from us: what is ours as well has been taken over
        let both = vec![entry("cvxc", replicas()), entry("kube-controller-manager", replicas())];
        assert_eq!(of(both), None);
    }

    #[test]
    fn leaders_with_other_settings_want_the_same_of_a_pool_and_a_changed_pool_is_another_wish() {
        let workload = || Workload {
            agent: AgentId::new(NOBODY).unwrap(),
            name: "web".to_owned(),
            kind: "worker".to_owned(),
            pool: Some("web".to_owned()),
            labels: BTreeMap::new(),
            incarnation: 1,
            config: AgentConfig { image: "kit/agent:1".to_owned(), ..AgentConfig::default() },
            env: BTreeMap::new(),
            notes: [("template".to_owned(), "worker@1.0.0".to_owned())].into(),
        };
        let crew = || Crew {
            pool: PoolId::new("web").unwrap(),
            like: workload(),
            replicas: 3,
            surge: 1,
            unavailable: 0,
            scaler: None,
        };
        let mut told = crew();
        told.like.env.insert("CVXC_STORE".to_owned(), "arangodb://elsewhere".to_owned());
        told.replicas = 9;
        assert_eq!(wish(&told), wish(&crew()));
        let mut image = crew();
        image.like.config.image = "kit/agent:2".to_owned();
        let mut scaled = crew();
        scaled.scaler = Some(CrewScaler { min: 1, max: 5, cpu_percent: 70 });
        let wishes = [wish(&crew()), wish(&image), wish(&scaled)];
        assert!(wishes[0] != wishes[1] && wishes[0] != wishes[2], "{wishes:?}");
        assert!(wishes[2].ends_with(SCALED) && !wishes[0].ends_with(SCALED));
    }
}
