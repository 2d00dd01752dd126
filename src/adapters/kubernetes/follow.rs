//! Follows the fleet's Deployments and pods: lists in pages, then watches from there with bookmarks. A watch that breaks
//! goes on where it was; when the cluster has forgotten that place (410), everything is listed again.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::client::{ANSWER, Cluster, silent};
use super::fault::{self, Kind};
use super::objects::{APP, DeploymentSeen, Host, NodeSeen, PodSeen, Podded, crew_of, owner};
use super::table::{Source, Table};
use crate::model::id::AgentId;
use crate::ports::runtime::RuntimeError;
use crate::ports::store::chain;

/// What a list holds at most at a time.
const PAGE: u32 = 500;
/// The first page of pods is small, so that somebody sees the first of them early.
const FIRST_PAGE: u32 = 100;
/// A watch is ended by the server after about this long, in seconds; one that says nothing for longer is dead.
const WATCH: u32 = 290;
const SILENCE: Duration = Duration::from_secs(WATCH as u64 + 10);
/// Pauses after a failure; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pause before asking again for what we may not look at: people give rights and look at the screen. What can be done
/// without is asked for now and then.
const NOT_ALLOWED: Duration = Duration::from_secs(2);
const NOT_NEEDED: Duration = Duration::from_secs(30);
/// The place that was watched from is forgotten.
const GONE: u16 = 410;

/// What a watch fills.
pub trait Sink: Send {
    type Object: Resource<DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;

    const SOURCE: Source;
    /// Only what carries our label.
    const OURS: bool = true;
    /// Without it nothing can be done.
    const NEEDED: bool = true;

    fn api(cluster: &Cluster) -> Api<Self::Object>;
    /// Nothing has been listed in whole yet, and what is listed is shown at once.
    fn is_first(&self) -> bool {
        false
    }
    fn begin(&mut self);
    fn listed(&mut self, object: Self::Object);
    fn end(&mut self);
    fn changed(&mut self, object: Self::Object);
    fn gone(&mut self, object: Self::Object);
}

/// Why a watch ended.
enum End {
    /// As they do; it goes on from the last version.
    Over,
    /// Everything must be listed again.
    Forgotten,
    Broken(RuntimeError),
}

/// Runs until it is dropped.
pub async fn follow<S: Sink>(cluster: Arc<Cluster>, table: Arc<Table>, mut sink: S) {
    let api = S::api(&cluster);
    let mut pause = Pause::default();
    loop {
        let mut version = match list(&cluster, &api, &mut sink).await {
            Ok(version) => version,
            Err(error) => {
                table.broke(S::SOURCE, chain(&error));
                match error {
                    // rights are given by people
                    RuntimeError::Forbidden { .. } => {
                        sleep(if S::NEEDED { NOT_ALLOWED } else { NOT_NEEDED }).await;
                    }
                    _ => pause.wait().await,
                }
                continue;
            }
        };
        loop {
            match watch(&api, &table, &mut sink, &mut version, &mut pause).await {
                End::Over => {}
                End::Forgotten => {
                    tracing::info!(what = ?S::SOURCE, "the cluster forgot where a watch was: listing again");
                    break;
                }
                End::Broken(error) => {
                    table.broke(S::SOURCE, chain(&error));
                    pause.wait().await;
                }
            }
        }
    }
}

fn selector<S: Sink>() -> Option<String> {
    S::OURS.then(|| format!("{}={}", APP.0, APP.1))
}

/// Lists everything; returns the version to watch from.
async fn list<S: Sink>(
    cluster: &Cluster,
    api: &Api<S::Object>,
    sink: &mut S,
) -> Result<String, RuntimeError> {
    let first = if sink.is_first() { FIRST_PAGE } else { PAGE };
    let mut params =
        ListParams { label_selector: selector::<S>(), ..ListParams::default() }.limit(first);
    sink.begin();
    loop {
        let page = cluster.ask(Kind::Read, api.list(&params)).await?;
        for object in page.items {
            sink.listed(object);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.limit(PAGE).continue_token(&token),
            None => {
                sink.end();
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
    }
}

async fn watch<S: Sink>(
    api: &Api<S::Object>,
    table: &Table,
    sink: &mut S,
    version: &mut String,
    pause: &mut Pause,
) -> End {
    let params = WatchParams { label_selector: selector::<S>(), ..WatchParams::default() };
    let params = params.timeout(WATCH);
    let Ok(begun) = timeout(ANSWER, api.watch(&params, version)).await else {
        return End::Broken(silent(Kind::Read));
    };
    let mut events = match begun {
        Ok(events) => events.map_err(|error| fault::of(error, Kind::Read)).boxed(),
        Err(kube::Error::Api(status)) if status.code == GONE => return End::Forgotten,
        Err(error) => return End::Broken(fault::of(error, Kind::Read)),
    };
    table.stands(S::SOURCE);
    *pause = Pause::default();
    loop {
        let event = match timeout(SILENCE, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => return End::Broken(error),
            Ok(None) | Err(_) => return End::Over,
        };
        let mut at = |object: &S::Object| {
            if let Some(newer) = &object.meta().resource_version {
                version.clone_from(newer);
            }
        };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                at(&object);
                sink.changed(object);
            }
            WatchEvent::Deleted(object) => {
                at(&object);
                sink.gone(object);
            }
            WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) if status.code == GONE => return End::Forgotten,
            WatchEvent::Error(status) => return End::Broken(fault::refusal(&status)),
        }
    }
}

#[derive(Debug)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    /// Longer each time, and not the same for everybody who lost the same server.
    async fn wait(&mut self) {
        sleep(self.0.mul_f64(rand::random_range(0.5..1.0))).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

pub struct Deployments(pub Arc<Table>);

impl Sink for Deployments {
    type Object = DeploymentSeen;
    const SOURCE: Source = Source::Deployments;

    fn api(cluster: &Cluster) -> Api<DeploymentSeen> {
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    }

    fn begin(&mut self) {
        self.0.begin_deployments();
    }

    fn listed(&mut self, object: DeploymentSeen) {
        self.changed(object);
    }

    fn end(&mut self) {
        self.0.end_deployments();
    }

    fn changed(&mut self, object: DeploymentSeen) {
        if let Some(pool) = crew_of(&object.metadata) {
            let pool = pool.to_owned();
            return self.0.crewed(&pool, object.crew());
        }
        if let Some(agent) = owner(&object.metadata) {
            self.0.deployed(&agent, object.shorten());
        }
    }

    fn gone(&mut self, object: DeploymentSeen) {
        if let Some(pool) = crew_of(&object.metadata) {
            return self.0.uncrewed(pool, object.metadata.uid.as_deref().unwrap_or_default());
        }
        if let Some(agent) = owner(&object.metadata) {
            self.0.undeployed(&agent, &object.shorten().uid);
        }
    }
}

pub struct Pods {
    table: Arc<Table>,
    listed: HashMap<AgentId, BTreeMap<String, Podded>>,
    first: bool,
}

impl Pods {
    pub fn new(table: Arc<Table>) -> Self {
        Self { table, listed: HashMap::new(), first: true }
    }
}

impl Sink for Pods {
    type Object = PodSeen;
    const SOURCE: Source = Source::Pods;

    fn api(cluster: &Cluster) -> Api<PodSeen> {
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    }

    fn is_first(&self) -> bool {
        self.first
    }

    fn begin(&mut self) {
        self.listed.clear();
    }

    fn listed(&mut self, object: PodSeen) {
        if let Some(agent) = owner(&object.metadata) {
            let pod = object.shorten();
            if self.first {
                self.table.podded(&agent, pod.clone());
            }
            self.listed.entry(agent).or_default().insert(pod.name.clone(), pod);
        }
    }

    fn end(&mut self) {
        self.first = false;
        self.table.replace_pods(std::mem::take(&mut self.listed));
    }

    fn changed(&mut self, object: PodSeen) {
        if let Some(agent) = owner(&object.metadata) {
            self.table.podded(&agent, object.shorten());
        }
    }

    fn gone(&mut self, object: PodSeen) {
        if let Some(agent) = owner(&object.metadata)
            && let Some(name) = &object.metadata.name
        {
            self.table.unpodded(&agent, name);
        }
    }
}

/// Nodes: where there is room, and whose agents cannot be seen. Who may not look at nodes does without.
pub struct Nodes {
    table: Arc<Table>,
    listed: BTreeMap<String, Host>,
}

impl Nodes {
    pub fn new(table: Arc<Table>) -> Self {
        Self { table, listed: BTreeMap::new() }
    }
}

impl Sink for Nodes {
    type Object = NodeSeen;
    const SOURCE: Source = Source::Nodes;
    const OURS: bool = false;
    const NEEDED: bool = false;

    fn api(cluster: &Cluster) -> Api<NodeSeen> {
        Api::all(cluster.client.clone())
    }

    fn begin(&mut self) {
        self.listed.clear();
    }

    fn listed(&mut self, object: NodeSeen) {
        if let Some(host) = object.shorten() {
            self.listed.insert(host.room.name.clone(), host);
        }
    }

    fn end(&mut self) {
        self.table.replace_hosts(std::mem::take(&mut self.listed));
    }

    fn changed(&mut self, object: NodeSeen) {
        if let Some(host) = object.shorten() {
            self.table.host(host);
        }
    }

    fn gone(&mut self, object: NodeSeen) {
        if let Some(name) = &object.metadata.name {
            self.table.unhost(name);
        }
    }
}

#[cfg(test)]
mod tests;
