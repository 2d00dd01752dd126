//! What the cluster would say: the Deployment and one of its pods sent as dry runs, since quotas, limit ranges and pod
//! security act on pods, and quotas counted for as many as are wanted. Nothing is made.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};

use super::fault::Kind;
use super::usage::billionths;
use super::{Inner, MANAGER, manifest};
use crate::ports::runtime::{RuntimeError, Workload};

/// How a webhook says that it cannot take part.
const NO_DRY_RUN: &str = "does not support dry run";

/// # Errors
/// `Rejected` in the cluster's words when it would refuse even one.
pub async fn rehearse(
    inner: &Inner,
    workload: &Workload,
    count: u32,
) -> Result<Vec<String>, RuntimeError> {
    let made = manifest::deployment(workload, &inner.options.defaults)?;
    let mut told = Vec::new();
    let api = inner.deployments::<Deployment>();
    let params = PatchParams::apply(MANAGER).dry_run();
    let name = manifest::name(&workload.agent);
    let patch = Patch::Apply(&made);
    let request = api.patch(&name, &params, &patch);
    checked("Deployment", inner.cluster.ask(Kind::Read, request).await, &mut told)?;
    let Some(template) = made.spec.map(|spec| spec.template) else { return Ok(told) };
    let meta = template.metadata.unwrap_or_default();
    let meta = ObjectMeta { generate_name: Some(format!("{name}-")), ..meta };
    let pod = Pod { metadata: meta, spec: template.spec, status: None };
    let pods: Api<Pod> = Api::namespaced(inner.cluster.client.clone(), &inner.cluster.namespace);
    let params = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
    let request = pods.create(&params, &pod);
    let pod =
        checked("pod", inner.cluster.ask(Kind::Read, request).await, &mut told)?.unwrap_or(pod);
    let api: Api<ResourceQuota> =
        Api::namespaced(inner.cluster.client.clone(), &inner.cluster.namespace);
    let all = ListParams::default();
    let quotas = api.list(&all);
    if let Some(quotas) = checked("quota", inner.cluster.ask(Kind::Read, quotas).await, &mut told)?
    {
        let needs = needs(&pod);
        told.extend(quotas.items.iter().filter_map(|quota| short(quota, &needs, count)));
    }
    Ok(told)
}

/// What could not be checked is no refusal.
fn checked<T>(
    what: &str,
    answer: Result<T, RuntimeError>,
    told: &mut Vec<String>,
) -> Result<Option<T>, RuntimeError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(RuntimeError::Rejected { message }) if message.contains(NO_DRY_RUN) => {
            told.push(format!("{what} not checked: {message}"));
            Ok(None)
        }
        Err(RuntimeError::Forbidden { message }) if what != "Deployment" => {
            told.push(format!("{what} not checked: {message}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What one agent takes of each thing that a quota may count, in billionths.
fn needs(pod: &Pod) -> BTreeMap<String, u128> {
    const ONE: u128 = 1_000_000_000;
    let mut needs: BTreeMap<String, u128> =
        ["pods", "count/pods", "count/deployments.apps", "count/replicasets.apps"]
            .map(|name| (name.to_owned(), ONE))
            .into();
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut add = |name: String, amount: &Quantity| {
        *needs.entry(name).or_default() += billionths(&amount.0).unwrap_or(0);
    };
    for Container { resources, .. } in containers {
        let Some(resources) = resources else { continue };
        for (name, amount) in resources.requests.iter().flatten() {
            add(format!("requests.{name}"), amount);
            add(name.clone(), amount);
        }
        for (name, amount) in resources.limits.iter().flatten() {
            add(format!("limits.{name}"), amount);
        }
    }
    needs
}

/// How many of `count` a quota would refuse, if any, and over what.
fn short(quota: &ResourceQuota, needs: &BTreeMap<String, u128>, count: u32) -> Option<String> {
    // a scope is about some pods only; which ones, the dry run has said
    if quota.spec.as_ref().is_some_and(|it| it.scopes.is_some() || it.scope_selector.is_some()) {
        return None;
    }
    let status = quota.status.as_ref()?;
    let used = |name: &str| status.used.as_ref()?.get(name);
    let room = |name: &str, hard: &Quantity| {
        let taken = used(name).and_then(|it| billionths(&it.0)).unwrap_or(0);
        Some(billionths(&hard.0)?.saturating_sub(taken))
    };
    let fits = |(name, hard): (&String, &Quantity)| {
        let need = needs.get(name).copied().filter(|need| *need > 0)?;
        let fits = u32::try_from(room(name, hard)? / need).unwrap_or(u32::MAX);
        let used = used(name).map_or("0", |it| it.0.as_str()).to_owned();
        Some((fits, format!("{name}: {used} of {} used", hard.0)))
    };
    let (fits, over) = status.hard.iter().flatten().filter_map(fits).min()?;
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    (fits < count)
        .then(|| format!("quota {name} would refuse {} of {count} ({over})", count - fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_quota_says_how_many_it_would_refuse_and_over_what() {
        let pod = json!({"spec": {"containers": [
            {"name": "agent", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}},
            {"name": "side", "resources": {"requests": {"cpu": "50m"}}},
        ]}});
        let needs = needs(&serde_json::from_value(pod).unwrap());
        let quota = |hard: serde_json::Value, used: serde_json::Value| -> ResourceQuota {
            serde_json::from_value(
                json!({"metadata": {"name": "small"}, "status": {"hard": hard, "used": used}}),
            )
            .unwrap()
        };
        let cpu = quota(json!({"requests.cpu": "2"}), json!({"requests.cpu": "800m"}));
        assert_eq!(
            short(&cpu, &needs, 7).unwrap(),
            "quota small would refuse 3 of 7 (requests.cpu: 800m of 2 used)"
        );
        assert_eq!(short(&cpu, &needs, 4), None);
        let pods = quota(json!({"pods": "10", "requests.cpu": "100"}), json!({"pods": "10"}));
        assert_eq!(
            short(&pods, &needs, 1).unwrap(),
            "quota small would refuse 1 of 1 (pods: 10 of 10 used)"
        );
        assert_eq!(short(&quota(json!({"services": "0"}), json!({})), &needs, 9), None);
    }
}
