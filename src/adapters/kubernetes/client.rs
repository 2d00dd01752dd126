//! Reaching a cluster: which one (kubeconfig, context, or the one around us), and requests that are bounded in number and
//! in time. Retries of 429 and 503 with `Retry-After` are `kube`'s own; what they do not mend is the caller's to judge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::fault::{self, Kind};
use crate::ports::runtime::RuntimeError;

/// Requests under way at once; watches, logs and commands are not counted.
const AT_ONCE: usize = 32;
/// An API server that has not answered by then is not answering.
pub const ANSWER: Duration = Duration::from_secs(20);

/// Which cluster, and where in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Empty: `$KUBECONFIG`, `~/.kube/config`, or the cluster around us, in that order.
    pub kubeconfig: Option<PathBuf>,
    /// Empty: the kubeconfig's current one.
    pub context: Option<String>,
    /// Empty: the context's own.
    pub namespace: Option<String>,
}

/// A context of a kubeconfig.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubeContext {
    pub name: String,
    pub cluster: String,
    pub user: String,
    /// Its own; empty where it names none.
    pub namespace: String,
}

/// What a kubeconfig names, and which of it the target means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub contexts: Vec<KubeContext>,
    pub context: String,
    pub namespace: String,
}

/// The contexts of the kubeconfig that `target` means; none without one. Runs nothing and asks no cluster.
///
/// # Errors
/// `Rejected` when a kubeconfig that was named cannot be read.
pub fn known(target: &Target) -> Result<Known, RuntimeError> {
    let read = match &target.kubeconfig {
        Some(path) => read(path)?,
        None => match Kubeconfig::read() {
            Ok(read) => read,
            Err(_) => return Ok(around(target)),
        },
    };
    let context = |it: kube::config::NamedContext| {
        let inner = it.context.unwrap_or_default();
        KubeContext {
            name: it.name,
            cluster: inner.cluster,
            user: inner.user.unwrap_or_default(),
            namespace: inner.namespace.unwrap_or_default(),
        }
    };
    let contexts: Vec<KubeContext> = read.contexts.into_iter().map(context).collect();
    let active = target.context.clone().or(read.current_context).unwrap_or_default();
    let own = contexts.iter().find(|it| it.name == active).map(|it| it.namespace.clone());
    let own = own.filter(|it| !it.is_empty()).unwrap_or_else(|| "default".to_owned());
    let namespace = target.namespace.clone().unwrap_or(own);
    Ok(Known { contexts, context: active, namespace })
}

/// Without a kubeconfig: no contexts, but a namespace all the same, the pod's own where we run in one.
fn around(target: &Target) -> Known {
    let own =
        || Config::incluster().map_or_else(|_| "default".to_owned(), |it| it.default_namespace);
    let namespace = target.namespace.clone().unwrap_or_else(own);
    Known { namespace, ..Known::default() }
}

/// A cluster and the namespace that the fleet lives in.
pub struct Cluster {
    pub client: Client,
    /// The same without retries, for what a refusal answers.
    pub blunt: Client,
    pub namespace: String,
    /// Shown to operators: the context, or that it is the cluster around us.
    pub place: String,
    requests: Semaphore,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("place", &self.place).finish_non_exhaustive()
    }
}

fn unusable(what: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Rejected { message: format!("kubeconfig: {what}") }
}

impl Cluster {
    /// Reads the configuration and makes a client; nothing is asked of the cluster yet.
    ///
    /// # Errors
    /// `Rejected` when the kubeconfig cannot be read or names no such context.
    pub async fn reach(target: &Target) -> Result<Self, RuntimeError> {
        let (config, context) = configuration(target).await?;
        let namespace =
            target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let host = config.cluster_url.host().unwrap_or_default();
        let place = format!("{context} ({host}), namespace {namespace}");
        // a credential plug-in is a program that is run here and waited for
        let runtime = tokio::runtime::Handle::current();
        let made = tokio::task::spawn_blocking(move || {
            let _inside = runtime.enter();
            // only the first provider of a process counts, and there is only this one
            drop(rustls::crypto::ring::default_provider().install_default());
            let mut blunt = config.clone();
            blunt.default_retry = false;
            Ok::<_, kube::Error>((Client::try_from(config)?, Client::try_from(blunt)?))
        });
        let (client, blunt) = made.await.map_err(unusable)?.map_err(unusable)?;
        Ok(Self { client, blunt, namespace, place, requests: Semaphore::new(AT_ONCE) })
    }

    /// Waits for its turn, asks, and waits for the answer at most [`ANSWER`].
    ///
    /// # Errors
    /// Those of the request; silence to a write is `OutcomeUnknown`.
    pub async fn ask<T>(
        &self,
        kind: Kind,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, RuntimeError> {
        self.try_ask(request).await.map_err(|error| match error {
            Some(error) => fault::of(error, kind),
            None => silent(kind),
        })
    }

    /// The same with the answer as it was given; `None` when there was none.
    pub async fn try_ask<T>(
        &self,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Option<kube::Error>> {
        // never closed, so there is always a turn
        let _turn = self.requests.acquire().await.ok();
        match timeout(ANSWER, request).await {
            Ok(answer) => answer.map_err(Some),
            Err(_) => Err(None),
        }
    }
}

pub fn silent(kind: Kind) -> RuntimeError {
    let what = format!("the cluster did not answer within {} s", ANSWER.as_secs());
    match kind {
        Kind::Read => RuntimeError::Unavailable(what.into()),
        Kind::Write => RuntimeError::OutcomeUnknown(what.into()),
    }
}

async fn configuration(target: &Target) -> Result<(Config, String), RuntimeError> {
    let options =
        KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
    let read = match &target.kubeconfig {
        Some(path) => Some(read(path)?),
        None => match Kubeconfig::read() {
            Ok(read) => Some(read),
            // a pod has none
            Err(error) if target.context.is_none() => {
                tracing::debug!(error = crate::ports::store::chain(&error), "no kubeconfig");
                None
            }
            Err(error) => return Err(unusable(crate::ports::store::chain(&error))),
        },
    };
    match read {
        Some(read) => {
            let context = target.context.clone().or_else(|| read.current_context.clone());
            let config = Config::from_custom_kubeconfig(read, &options).await;
            let config = config.map_err(|error| unusable(crate::ports::store::chain(&error)))?;
            Ok((config, context.unwrap_or_default()))
        }
        None => {
            let config = Config::incluster().map_err(|_| {
                unusable(
                    "there is none, and this is no pod of a cluster: name one with --kubeconfig",
                )
            })?;
            Ok((config, "in-cluster".to_owned()))
        }
    }
}

fn read(path: &Path) -> Result<Kubeconfig, RuntimeError> {
    Kubeconfig::read_from(path).map_err(|error| {
        unusable(format!("{}: {}", path.display(), crate::ports::store::chain(&error)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_kubeconfig_there_is_a_namespace_all_the_same() {
        let target = Target { namespace: Some("blue".to_owned()), ..Target::default() };
        assert_eq!(around(&target), Known { namespace: "blue".to_owned(), ..Known::default() });
        assert!(!around(&Target::default()).namespace.is_empty());
    }
}
