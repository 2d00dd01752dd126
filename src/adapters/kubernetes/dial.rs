//! Connections to a port of the agent's pod, over the API.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::time::timeout;

use super::client::{ANSWER, Cluster, silent};
use super::fault::{self, Kind};
use crate::ports::runtime::RuntimeError;
use crate::ports::site::Connection;

/// # Errors
/// Those of the API server.
pub async fn open(cluster: &Cluster, pod: &str, port: u16) -> Result<Connection, RuntimeError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let opened = timeout(ANSWER, api.portforward(pod, &[port])).await;
    let mut opened =
        opened.map_err(|_| silent(Kind::Read))?.map_err(|error| fault::of(error, Kind::Read))?;
    let stream = opened.take_stream(port);
    let stream =
        stream.ok_or_else(|| RuntimeError::Unavailable("the cluster gave no connection".into()))?;
    Ok(Box::new(stream))
}
