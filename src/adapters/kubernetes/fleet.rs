//! A fleet that is to leave nothing behind: its namespace, made if need be, and everything in it ended.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, PropagationPolicy};

use super::KubernetesRuntime;
use super::fault::Kind;
use super::objects::APP;
use crate::ports::runtime::RuntimeError;

impl KubernetesRuntime {
    /// Makes the namespace if it is not there; says whether it did.
    ///
    /// # Errors
    /// `Rejected` when the namespace holds agents already; else those of the API server.
    pub async fn settle(&self) -> Result<bool, RuntimeError> {
        let cluster = &self.0.cluster;
        let api: Api<Namespace> = Api::all(cluster.client.clone());
        let name = &cluster.namespace;
        if let Some(found) = cluster.ask(Kind::Read, api.get_metadata_opt(name)).await? {
            if found.metadata.deletion_timestamp.is_some() {
                let message =
                    format!("namespace {name} is still being deleted; try again in a moment");
                return Err(RuntimeError::Rejected { message });
            }
            self.0.whole().await?;
            if self.0.table.survey().0.is_empty() && self.0.table.crews().is_empty() {
                return Ok(false);
            }
            let message =
                format!("namespace {name} holds agents already; name another one with --namespace");
            return Err(RuntimeError::Rejected { message });
        }
        let meta = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let made = Namespace { metadata: meta, ..Namespace::default() };
        cluster.ask(Kind::Write, api.create(&PostParams::default(), &made)).await?;
        Ok(true)
    }

    /// Deletes every agent's Deployment, waits until their pods are gone, and deletes the namespace if it is to go too.
    /// Returns how many agents were still there at `limit`.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn end_all(
        &self,
        namespace_too: bool,
        limit: Duration,
    ) -> Result<usize, RuntimeError> {
        let cluster = &self.0.cluster;
        let ours = ListParams::default().labels(&format!("{}={}", APP.0, APP.1));
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let api = self.0.deployments::<Deployment>();
        cluster.ask(Kind::Write, api.delete_collection(&params, &ours)).await?;
        let scalers = self.0.deployments::<HorizontalPodAutoscaler>();
        let params = DeleteParams::default();
        let request = scalers.delete_collection(&params, &ours);
        match cluster.ask(Kind::Write, request).await {
            // who may not have had any has none
            Ok(_) | Err(RuntimeError::Forbidden { .. }) => {}
            Err(error) => return Err(error),
        }
        let gone = async {
            loop {
                let (left, mut changes) = self.0.table.survey();
                if left.is_empty() {
                    return;
                }
                // whatever it is, it is a reason to look again
                drop(changes.recv().await);
            }
        };
        drop(tokio::time::timeout(limit, gone).await);
        let left = self.0.table.survey().0.len();
        if namespace_too {
            let api: Api<Namespace> = Api::all(cluster.client.clone());
            cluster
                .ask(Kind::Write, api.delete(&cluster.namespace, &DeleteParams::default()))
                .await?;
        }
        Ok(left)
    }
}
