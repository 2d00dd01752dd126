//! Deployments that are made, and how what was made becomes what was applied: the API server keeps these apart, and a field
//! that an apply leaves out only goes if it had been applied before.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::client::silent;
use super::fault::{self, Kind};
use super::objects::{Deployed, DeploymentSeen};
use super::{Inner, MANAGER, manifest};
use crate::model::id::AgentId;
use crate::ports::runtime::RuntimeError;

/// How putting a Deployment came to nothing.
pub enum Put {
    /// It is another than was known; it may be tried again on what it is now.
    Moved(RuntimeError),
    Failed(RuntimeError),
}

impl Put {
    /// What the API server said; `None`: nothing.
    pub fn of(error: Option<kube::Error>) -> Self {
        match error {
            Some(kube::Error::Api(status))
                if status.code == 409 && !fault::is_field_conflict(&status) =>
            {
                Self::Moved(fault::refusal(&status))
            }
            Some(error) => Self::Failed(fault::of(error, Kind::Write)),
            None => Self::Failed(silent(Kind::Write)),
        }
    }
}

/// Makes a Deployment that is not there.
///
/// # Errors
/// `Moved` when it is there after all.
pub async fn make(inner: &Inner, agent: &AgentId, made: &Deployment) -> Result<(), Put> {
    let api: Api<Deployment> = inner.deployments();
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let body = serde_json::to_vec(made)
        .map_err(|error| Put::Failed(super::manifest::reject("the manifest", error)))?;
    let request = kube::core::Request::new(api.resource_url()).create(&params, body);
    let request =
        request.map_err(|error| Put::Failed(super::manifest::reject("the manifest", error)))?;
    let answer = inner.cluster.client.request::<DeploymentSeen>(request);
    let now = inner.cluster.try_ask(answer).await.map_err(Put::of)?;
    inner.table.deployed(agent, now.shorten());
    Ok(())
}

/// Turns what we set when it was made into what we applied; returns the version after that. Once in a Deployment's life,
/// before its first change.
///
/// # Errors
/// `Moved` when it is not as known any more.
pub async fn own(inner: &Inner, agent: &AgentId, known: &Deployed) -> Result<u64, Put> {
    let api = inner.deployments::<Deployment>();
    let there = inner.cluster.ask(Kind::Read, api.get_metadata(&known.name));
    let there = there.await.map_err(Put::Failed)?.metadata;
    let mut owners = there.managed_fields.unwrap_or_default();
    applied(&mut owners);
    // another version by now is a conflict
    let version = known.version.to_string();
    let patch = json!({"metadata": {"managedFields": owners, "resourceVersion": version}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(&patch);
    let api = inner.deployments::<DeploymentSeen>();
    let request = api.patch(&known.name, &params, &patch);
    let now = inner.cluster.try_ask(request).await.map_err(Put::of)?.shorten();
    let version = now.version;
    inner.table.deployed(agent, now);
    Ok(version)
}

/// Our own entry for what was made, renamed; one of something applied before keeps its place, and ours goes into it with
/// the next apply.
fn applied(owners: &mut Vec<ManagedFieldsEntry>) {
    let ours = |it: &ManagedFieldsEntry, operation: &str| {
        it.manager.as_deref() == Some(MANAGER)
            && it.operation.as_deref() == Some(operation)
            && it.subresource.as_deref().unwrap_or_default().is_empty()
    };
    if owners.iter().any(|it| ours(it, "Apply")) {
        owners.retain(|it| !ours(it, "Update"));
    }
    for owner in owners.iter_mut().filter(|it| ours(it, "Update")) {
        owner.operation = Some("Apply".to_owned());
    }
}

impl Inner {
    /// Asks for the Deployment as it is now, where the watch may be behind.
    pub(super) async fn reload(&self, agent: &AgentId) -> Result<(), RuntimeError> {
        let name = manifest::name(agent);
        let api = self.deployments::<DeploymentSeen>();
        if let Some(live) = self.cluster.ask(Kind::Read, api.get_opt(&name)).await? {
            self.table.deployed(agent, live.shorten());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_made_is_turned_into_what_we_applied_and_nobody_elses_is_touched() {
        let owner = |manager: &str, operation: &str, part: Option<&str>| ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            subresource: part.map(str::to_owned),
            ..ManagedFieldsEntry::default()
        };
        let others = [owner("kubectl", "Update", None), owner("cvxc", "Update", Some("scale"))];
        let mut owners = vec![owner("cvxc", "Update", None)];
        owners.extend(others.clone());
        applied(&mut owners);
        assert_eq!(owners[0], owner("cvxc", "Apply", None));
        assert_eq!(owners[1..], others);
        // two entries of one owner are none that a server takes
        let mut both = vec![owner("cvxc", "Apply", None), owner("cvxc", "Update", None)];
        applied(&mut both);
        assert_eq!(both, [owner("cvxc", "Apply", None)]);
    }
}
