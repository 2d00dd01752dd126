//! The cluster itself: whether it answers, and whether our namespace is there.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use tokio::time::timeout;

use super::client::Cluster;
use super::fault::Kind;
use crate::ports::runtime::RuntimeError;

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
