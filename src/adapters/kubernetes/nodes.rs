//! The cluster itself: whether it answers, whether our namespace is there, and its nodes with what they hold.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Node as ClusterNode};
use kube::Api;
use kube::api::ListParams;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::client::Cluster;
use super::fault::Kind;
use crate::model::quantity::{Bytes, Cpu};
use crate::ports::runtime::{Node, RuntimeError};

/// Nodes come and go slowly, and each is described at length.
const FRESH: Duration = Duration::from_secs(30);
/// Whoever asks how the cluster is wants to know soon that it is not.
const PATIENCE: Duration = Duration::from_secs(4);

/// Asks for the version and for our namespace.
///
/// # Errors
/// `Unavailable` when the cluster does not answer, does not accept us, or has no such namespace.
pub async fn greet(cluster: &Cluster) -> Result<String, RuntimeError> {
    let silent = |_| {
        let what = format!("the cluster did not answer within {} s", PATIENCE.as_secs());
        RuntimeError::Unavailable(what.into())
    };
    let ask = async {
        let version = cluster.ask(Kind::Read, cluster.client.apiserver_version()).await?;
        let api: Api<Namespace> = Api::all(cluster.client.clone());
        match cluster.ask(Kind::Read, api.get_metadata_opt(&cluster.namespace)).await {
            Ok(Some(found)) if found.metadata.deletion_timestamp.is_some() => {
                let what = format!("namespace {} is being deleted", cluster.namespace);
                Err(RuntimeError::Unavailable(what.into()))
            }
            // who may not look at namespaces may still live in one
            Ok(Some(_)) | Err(RuntimeError::Forbidden { .. }) => Ok(version.git_version),
            Ok(None) => {
                let what = format!("namespace {} does not exist", cluster.namespace);
                Err(RuntimeError::Unavailable(what.into()))
            }
            Err(error) => Err(error),
        }
    };
    timeout(PATIENCE, ask).await.map_err(silent)?
}

#[derive(Debug, Default)]
pub struct Census(Mutex<Option<(Instant, Vec<Node>)>>);

impl Census {
    /// The nodes as they were a moment ago; none for whoever may not look at them.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn of(&self, cluster: &Cluster, now: Instant) -> Result<Vec<Node>, RuntimeError> {
        let mut last = self.0.lock().await;
        if let Some((at, nodes)) = &*last
            && now.saturating_duration_since(*at) < FRESH
        {
            return Ok(nodes.clone());
        }
        let api: Api<ClusterNode> = Api::all(cluster.client.clone());
        let nodes = match cluster.ask(Kind::Read, api.list(&ListParams::default())).await {
            Ok(list) => list.items.into_iter().filter_map(node).collect(),
            Err(RuntimeError::Forbidden { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let (_, nodes) = last.insert((now, nodes));
        Ok(nodes.clone())
    }
}

fn node(node: ClusterNode) -> Option<Node> {
    let room = node.status?.allocatable?;
    let cpu: Option<Cpu> = room.get("cpu").and_then(|it| it.0.parse().ok());
    let memory: Option<Bytes> = room.get("memory").and_then(|it| it.0.parse().ok());
    Some(Node {
        name: node.metadata.name?,
        cpu_millis: cpu.map_or(0, |cpu| cpu.0),
        memory_bytes: memory.map_or(0, |memory| memory.0),
    })
}
