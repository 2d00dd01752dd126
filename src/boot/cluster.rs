//! The cluster that agents run in: which one the settings name, and what it means for the store.

use std::path::PathBuf;
use std::sync::Arc;

use super::BootError;
use crate::adapters::kubernetes::client::{self, Target};
pub use crate::adapters::kubernetes::client::{Known, KubeContext};
use crate::adapters::kubernetes::manifest::Defaults;
use crate::adapters::kubernetes::{KubernetesOptions, KubernetesRuntime};
use crate::ports::clock::Clock;
use crate::ports::store::chain;
use crate::settings::{Loaded, Settings};

/// What an operator is told whose agents cannot reach the store.
pub const UNREACHABLE: &str = "the embedded store is a file of this machine: agents in the cluster cannot talk to it, and are judged by their pods alone; give a store that they can reach with --store, or its address as they see it with agents.store-url";

/// Opens the runtime of the cluster that the settings name.
///
/// # Errors
/// When the kubeconfig cannot be used, or when a pod would keep the fleet in a file that goes with it.
pub async fn open(loaded: &Loaded, clock: Arc<dyn Clock>) -> Result<KubernetesRuntime, BootError> {
    let settings = &loaded.settings;
    let cluster = &settings.kubernetes;
    if is_embedded(loaded) {
        if cluster.kubeconfig.is_empty() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            let what = "inside a cluster the fleet cannot be kept in a file of this pod: name a store with --store";
            return Err(BootError::Usage(what.into()));
        }
        if settings.agents.store_url.is_empty() {
            tracing::warn!("{UNREACHABLE}");
        }
    }
    let options = KubernetesOptions {
        target: target(settings),
        defaults: Defaults { image: cluster.image.clone() },
        clock,
    };
    let opened = KubernetesRuntime::open(options).await;
    opened.map_err(|error| BootError::Runtime(chain(&error)))
}

fn target(settings: &Settings) -> Target {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let cluster = &settings.kubernetes;
    Target {
        kubeconfig: some(&cluster.kubeconfig).map(PathBuf::from),
        context: some(&cluster.context),
        namespace: some(&cluster.namespace),
    }
}

/// What the kubeconfig names, and which of it the settings mean; nothing where there is none that can be read.
pub fn known(settings: &Settings) -> Known {
    client::known(&target(settings)).unwrap_or_default()
}

/// The store's address as agents in the cluster see it; empty when they cannot reach it.
pub fn agent_store(loaded: &Loaded) -> String {
    let settings = &loaded.settings;
    match (settings.agents.store_url.as_str(), is_embedded(loaded)) {
        ("", true) => String::new(),
        ("", false) if settings.store.url.is_empty() => {
            let target = settings.database.target().ok();
            target.and_then(|it| it.url(None, &settings.database)).unwrap_or_default()
        }
        ("", false) => settings.store.url.clone(),
        (given, _) => given.to_owned(),
    }
}

/// Whether the fleet is kept in a file.
pub fn is_embedded(loaded: &Loaded) -> bool {
    match loaded.settings.store.url.as_str() {
        "" => !loaded.wants_database(),
        url => !super::store::is_database(url),
    }
}
