//! Nodes: closed to new pods, and emptied by evictions, which disruption budgets may refuse.

use k8s_openapi::api::core::v1::{Node as ClusterNode, Pod};
use kube::Api;
use kube::api::{DeleteParams, EvictParams, PostParams, Preconditions};

use super::client::silent;
use super::fault::{self, Kind};
use super::objects::Podded;
use super::{Inner, MANAGER};
use crate::model::id::AgentId;
use crate::ports::runtime::RuntimeError;

/// # Errors
/// Those of the API server.
pub async fn cordon(inner: &Inner, host: &str, closed: bool) -> Result<(), RuntimeError> {
    let nodes: Api<ClusterNode> = Api::all(inner.cluster.client.clone());
    let done = match closed {
        true => inner.cluster.ask(Kind::Write, nodes.cordon(host)).await,
        false => inner.cluster.ask(Kind::Write, nodes.uncordon(host)).await,
    };
    done.map(drop)
}

/// Evicts the agent's pods that are on `host`; one that is elsewhere by now has been.
///
/// # Errors
/// `Rejected` naming the disruption budget that refuses; else those of the API server.
pub async fn evict(
    inner: &Inner,
    agent: &AgentId,
    host: &str,
    rehearsed: bool,
) -> Result<(), RuntimeError> {
    inner.whole().await?;
    let there = |pod: &&Podded| pod.node == host && !pod.ending;
    let pods: Vec<Podded> = inner.table.look(agent, |entry| {
        entry.map(|entry| entry.pods.values().filter(there).cloned().collect()).unwrap_or_default()
    });
    // a refusal is an answer: nothing is gained by asking again at once
    let api: Api<Pod> = Api::namespaced(inner.cluster.blunt.clone(), &inner.cluster.namespace);
    for pod in pods {
        let uid = Preconditions { uid: Some(pod.uid), resource_version: None };
        let options = DeleteParams {
            preconditions: Some(uid),
            dry_run: rehearsed,
            ..DeleteParams::default()
        };
        let params = EvictParams {
            delete_options: Some(options),
            post_options: PostParams {
                dry_run: rehearsed,
                field_manager: Some(MANAGER.to_owned()),
            },
        };
        match inner.cluster.try_ask(api.evict(&pod.name, &params)).await {
            Ok(_) => {}
            // gone, or another one of the same name
            Err(Some(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {}
            Err(Some(kube::Error::Api(status))) if fault::budget(&status).is_some() => {
                let message = fault::budget(&status).unwrap_or_default();
                return Err(RuntimeError::Rejected { message });
            }
            Err(Some(error)) => return Err(fault::of(error, Kind::Write)),
            Err(None) => return Err(silent(Kind::Write)),
        }
    }
    Ok(())
}
