//! Workloads at rest: kept at no replicas because their agent is paused, or because this incarnation of it is over.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::client::silent;
use super::fault::{self, Kind};
use super::objects::{Deployed, DeploymentSeen, ENDED, PARKED};
use super::{Inner, MANAGER};
use crate::model::id::AgentId;
use crate::ports::runtime::RuntimeError;

impl Inner {
    /// No replicas, and the mark that this incarnation is over.
    pub(super) async fn end(&self, agent: &AgentId, known: &Deployed) -> Result<(), RuntimeError> {
        self.mark(agent, known, ENDED, known.incarnation.to_string(), 0).await
    }

    pub(super) async fn park(&self, agent: &AgentId, parked: bool) -> Result<(), RuntimeError> {
        self.whole().await?;
        let gone = || RuntimeError::Gone { agent: agent.clone() };
        let known = self.deployed(agent).filter(|known| !known.going).ok_or_else(gone)?;
        let ended = known.ended.is_some_and(|ended| ended >= known.incarnation);
        if known.parked == parked || ended {
            return Ok(());
        }
        let (mark, replicas) =
            if parked { (known.incarnation.to_string(), 0) } else { (String::new(), 1) };
        self.mark(agent, &known, PARKED, mark, replicas).await
    }

    /// Sets replicas and an annotation, on this very Deployment or not at all.
    async fn mark(
        &self,
        agent: &AgentId,
        known: &Deployed,
        name: &str,
        value: String,
        replicas: i32,
    ) -> Result<(), RuntimeError> {
        let patch = json!({
            "metadata": {"annotations": {name: value}, "uid": known.uid},
            "spec": {"replicas": replicas},
        });
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.deployments::<DeploymentSeen>();
        let patch = Patch::Merge(&patch);
        let request = api.patch(&known.name, &params, &patch);
        match self.cluster.try_ask(request).await {
            Ok(now) => self.table.deployed(agent, now.shorten()),
            Err(Some(kube::Error::Api(status))) if status.is_not_found() => {}
            Err(Some(error)) => return Err(fault::of(error, Kind::Write)),
            Err(None) => return Err(silent(Kind::Write)),
        }
        Ok(())
    }
}
