//! The Kubernetes runtime: every agent is a Deployment of one pod, applied from the server's side under our own field
//! manager and followed by watches. The cluster is the only memory: any engine carries on where another was killed.
//!
//! An agent that is asked to end keeps its Deployment at 0 replicas, marked with the incarnation that ended, until it is
//! forgotten; so an end is seen by everybody, and an incarnation that has begun is never begun again.

mod causes;
pub mod client;
mod crew;
mod dial;
mod exec;
mod explain;
mod fault;
mod fleet;
mod follow;
mod glimpse;
mod greet;
mod hosts;
mod judge;
mod logs;
pub mod manifest;
mod objects;
mod put;
mod rehearse;
mod rest;
mod rights;
mod shell;
mod site;
mod table;
mod usage;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::BroadcastStream;

use self::client::{ANSWER, Cluster, Target, silent};
use self::fault::Kind;
use self::manifest::Defaults;
use self::objects::{Deployed, DeploymentSeen, PodPhase, Podded};
use self::put::Put;
use self::table::{Source, Table};
use self::usage::Meter;
use crate::model::health::Usage;
use crate::model::id::{AgentId, PoolId};
use crate::ports::clock::Clock;
use crate::ports::runtime::{
    Crew, CrewSeen, ExecResult, Glimpse, LogLine, LogOptions, Observed, Relic, Runtime,
    RuntimeError, RuntimeInfo, Sight, State, Workload,
};
use crate::ports::site::{self as site_of, Connection, Shell, TerminalSize};

/// Under this name the fields that we set are ours.
const MANAGER: &str = "cvxc";
/// How long a controller may take to end a pod that is to end sooner than its own grace.
const LET_GO: Duration = Duration::from_secs(5);
/// Pods that no longer count, as many as are told.
const EARLIER: usize = 3;
/// How often an apply is repeated on a Deployment that somebody else changed meanwhile.
const TRIES: usize = 3;

#[derive(Debug, Clone)]
pub struct KubernetesOptions {
    pub target: Target,
    pub defaults: Defaults,
    pub clock: Arc<dyn Clock>,
}

/// Agents as Deployments of one namespace. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct KubernetesRuntime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cluster: Arc<Cluster>,
    table: Arc<Table>,
    meter: Meter,
    options: KubernetesOptions,
    /// The watches; they end with the runtime.
    _watches: Mutex<JoinSet<()>>,
}

impl KubernetesRuntime {
    /// Reads the configuration and begins to watch; a cluster that does not answer yet is waited for by whoever asks.
    ///
    /// # Errors
    /// `Rejected` when the configuration cannot be used.
    pub async fn open(options: KubernetesOptions) -> Result<Self, RuntimeError> {
        let cluster = Arc::new(Cluster::reach(&options.target).await?);
        let table = Arc::new(Table::default());
        let mut watches = JoinSet::new();
        let deployments = follow::Deployments(table.clone());
        watches.spawn(follow::follow(cluster.clone(), table.clone(), deployments));
        let pods = follow::Pods::new(table.clone());
        watches.spawn(follow::follow(cluster.clone(), table.clone(), pods));
        let nodes = follow::Nodes::new(table.clone());
        watches.spawn(follow::follow(cluster.clone(), table.clone(), nodes));
        Ok(Self(Arc::new(Inner {
            cluster,
            table,
            meter: Meter::default(),
            options,
            _watches: Mutex::new(watches),
        })))
    }
}

impl Inner {
    fn deployments<T>(&self) -> Api<T>
    where
        T: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    /// Waits until both watches have told everything once.
    async fn whole(&self) -> Result<(), RuntimeError> {
        self.told(Source::Deployments).await?;
        self.told(Source::Pods).await
    }

    async fn told(&self, source: Source) -> Result<(), RuntimeError> {
        let mut standing = self.table.standing(source).subscribe();
        let told = standing.wait_for(|it| it.whole || it.trouble.is_some());
        let told = timeout(ANSWER, told).await.map_err(|_| silent(Kind::Read))?;
        // the sender lives in the table, as long as this does
        let standing = told.map_err(|error| RuntimeError::Unavailable(Box::new(error)))?;
        if let (false, Some(trouble)) = (standing.whole, &standing.trouble) {
            return Err(RuntimeError::Unavailable(trouble.clone().into()));
        }
        Ok(())
    }

    /// What is wrong with the watches, if anything is.
    fn trouble(&self) -> Option<String> {
        let of = |source| self.table.standing(source).borrow().trouble.clone();
        of(Source::Deployments).or_else(|| of(Source::Pods))
    }

    fn deployed(&self, agent: &AgentId) -> Option<Deployed> {
        self.table.look(agent, |entry| entry?.deployed.clone())
    }

    /// The pod that counts: the newest.
    fn pod(&self, agent: &AgentId) -> Option<Podded> {
        self.table.look(agent, |entry| judge::newest(entry?).cloned())
    }

    /// The same, if it runs.
    async fn living(&self, agent: &AgentId) -> Result<Podded, RuntimeError> {
        self.whole().await?;
        let runs = |pod: &Podded| pod.phase == PodPhase::Running && !pod.ending;
        let gone = || RuntimeError::Gone { agent: agent.clone() };
        self.pod(agent).filter(runs).ok_or_else(gone)
    }

    async fn apply(&self, workload: &Workload) -> Result<(), RuntimeError> {
        let made = manifest::deployment(workload, &self.options.defaults)?;
        self.whole().await?;
        let mut last = None;
        for _ in 0..TRIES {
            let known = self.deployed(&workload.agent);
            if let Some(known) = &known {
                if known.incarnation > workload.incarnation {
                    let message = format!(
                        "incarnation {} is older than {}, which this cluster has already been given",
                        workload.incarnation, known.incarnation
                    );
                    return Err(RuntimeError::Rejected { message });
                }
                if known.incarnation == workload.incarnation {
                    return Ok(());
                }
                if known.going {
                    let why = format!("{} is still being deleted", known.name);
                    return Err(RuntimeError::Unavailable(why.into()));
                }
            }
            match self.put(&workload.agent, &made, known.as_ref()).await {
                Err(Put::Moved(error)) => {
                    last = Some(error);
                    self.reload(&workload.agent).await?;
                }
                Err(Put::Failed(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        Err(last.unwrap_or_else(|| silent(Kind::Write)))
    }

    /// Makes the Deployment, which costs the API server half of what applying it does, or applies it to the one that is
    /// known, if that is still as known: a leader that was away must not undo what its successor did.
    async fn put(
        &self,
        agent: &AgentId,
        made: &Deployment,
        known: Option<&Deployed>,
    ) -> Result<(), Put> {
        let Some(known) = known else { return put::make(self, agent, made).await };
        let version = match known.unapplied {
            true => put::own(self, agent, known).await?,
            false => known.version,
        };
        let mut manifest = serde_json::to_value(made)
            .map_err(|error| Put::Failed(manifest::reject("the manifest", error)))?;
        manifest["metadata"]["resourceVersion"] = Value::from(version.to_string());
        let name = manifest::name(agent);
        let api = self.deployments::<DeploymentSeen>();
        let mut params = PatchParams::apply(MANAGER);
        loop {
            let patch = Patch::Apply(&manifest);
            let request = api.patch(&name, &params, &patch);
            match self.cluster.try_ask(request).await {
                Ok(applied) => {
                    self.table.deployed(agent, applied.shorten());
                    return Ok(());
                }
                // what we had changed by other means than applying is ours all the same
                Err(Some(kube::Error::Api(status)))
                    if !params.force && fault::owners(&status) == [MANAGER] =>
                {
                    params = params.force();
                }
                Err(error) => return Err(Put::of(error)),
            }
        }
    }

    async fn remove(&self, agent: &AgentId, grace: Duration) -> Result<(), RuntimeError> {
        self.whole().await?;
        if let Some(known) = self.deployed(agent)
            && !known.going
            && known.ended.is_none_or(|ended| ended < known.incarnation)
        {
            self.end(agent, &known).await?;
        }
        // 0 would take a pod off the books while its processes still run
        let seconds = u32::try_from(grace.as_secs()).unwrap_or(u32::MAX).max(1);
        if self.deployed(agent).is_some() {
            // a pod that is taken from a controller which still wants it is made again: it has to let go first
            let let_go = |pod: &Podded| pod.ending || pod.grace <= i64::from(seconds);
            drop(timeout(LET_GO, self.table.pods_like(agent, let_go)).await);
        }
        let pods = self.table.look(agent, |entry| {
            entry.map(|entry| entry.pods.values().cloned().collect::<Vec<Podded>>())
        });
        let orphaned = self.deployed(agent).is_none();
        for pod in pods.into_iter().flatten() {
            if i64::from(seconds) < pod.grace || (orphaned && !pod.ending) {
                self.end_pod(&pod, seconds).await?;
            }
        }
        Ok(())
    }

    async fn end_pod(&self, pod: &Podded, seconds: u32) -> Result<(), RuntimeError> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let uid = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let params = DeleteParams {
            grace_period_seconds: Some(seconds),
            preconditions: Some(uid),
            ..DeleteParams::default()
        };
        match self.cluster.try_ask(api.delete(&pod.name, &params)).await {
            Ok(_) => Ok(()),
            // gone, or another one of the same name
            Err(Some(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
            Err(Some(error)) => Err(fault::of(error, Kind::Write)),
            Err(None) => Err(silent(Kind::Write)),
        }
    }

    async fn forget(&self, agent: &AgentId) -> Result<(), RuntimeError> {
        self.whole().await?;
        let Some(seen) = self.table.observed(agent) else { return Ok(()) };
        let known = self.deployed(agent).filter(|_| seen.state == State::Exited);
        let Some(known) = known else {
            let message = format!("agent {agent} still runs as {}; remove it first", seen.workload);
            return Err(RuntimeError::Rejected { message });
        };
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: Some(known.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let api = self.deployments::<Deployment>();
        match self.cluster.try_ask(api.delete(&known.name, &params)).await {
            Ok(_) => {}
            Err(Some(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {}
            Err(Some(error)) => return Err(fault::of(error, Kind::Write)),
            Err(None) => return Err(silent(Kind::Write)),
        }
        self.table.buried(agent, &known.uid);
        Ok(())
    }
}

#[async_trait]
impl Runtime for KubernetesRuntime {
    async fn apply(&self, workload: Workload) -> Result<(), RuntimeError> {
        self.0.apply(&workload).await
    }

    async fn remove(&self, agent: &AgentId, grace: Duration) -> Result<(), RuntimeError> {
        self.0.remove(agent, grace).await
    }

    async fn forget(&self, agent: &AgentId) -> Result<(), RuntimeError> {
        self.0.forget(agent).await
    }

    async fn park(&self, agent: &AgentId, parked: bool) -> Result<(), RuntimeError> {
        self.0.park(agent, parked).await
    }

    fn parks(&self) -> bool {
        true
    }

    fn has_hosts(&self) -> bool {
        true
    }

    async fn cordon(&self, host: &str, closed: bool) -> Result<(), RuntimeError> {
        hosts::cordon(&self.0, host, closed).await
    }

    async fn evict(
        &self,
        agent: &AgentId,
        host: &str,
        rehearsed: bool,
    ) -> Result<(), RuntimeError> {
        hosts::evict(&self.0, agent, host, rehearsed).await
    }

    async fn recall(&self, agent: &AgentId) -> Result<Option<Relic>, RuntimeError> {
        let api = self.0.deployments::<DeploymentSeen>();
        let name = manifest::name(agent);
        let found = self.0.cluster.ask(Kind::Read, api.get_opt(&name)).await?;
        Ok(found.map(DeploymentSeen::relic))
    }

    fn has_crews(&self) -> bool {
        true
    }

    async fn keep_crew(&self, crew: Crew) -> Result<CrewSeen, RuntimeError> {
        crew::keep(&self.0, &crew).await
    }

    async fn end_crew(&self, pool: &PoolId) -> Result<(), RuntimeError> {
        crew::end(&self.0, pool).await
    }

    async fn crews(&self) -> Result<Vec<CrewSeen>, RuntimeError> {
        self.0.whole().await?;
        let crew =
            |(pool, crew): (String, _)| Some(crew::seen(&self.0, &PoolId::new(&pool).ok()?, &crew));
        Ok(self.0.table.crews().into_iter().filter_map(crew).collect())
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        self.0.whole().await?;
        match self.0.trouble() {
            // an old list would be taken for what is there now
            Some(trouble) => Err(RuntimeError::Unavailable(trouble.into())),
            None => Ok(self.0.table.survey().0),
        }
    }

    async fn watch(&self) -> Result<BoxStream<'static, Sight>, RuntimeError> {
        self.0.whole().await?;
        let (seen, changes) = self.0.table.survey();
        let first = stream::iter(seen.into_iter().map(Sight::Changed));
        let changes = BroadcastStream::new(changes).map(|sight| sight.unwrap_or(Sight::Resync));
        Ok(first.chain(changes).boxed())
    }

    fn glimpse(&self) -> Option<BoxStream<'static, Glimpse>> {
        Some(glimpse::stream(self.0.table.clone()))
    }

    async fn usage(&self, agents: &[AgentId]) -> Result<Vec<(AgentId, Usage)>, RuntimeError> {
        self.0.whole().await?;
        let pod = |agent: &AgentId| Some((agent.clone(), self.0.pod(agent)?.name));
        let (agents, pods): (Vec<AgentId>, Vec<String>) = agents.iter().filter_map(pod).unzip();
        if pods.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.0.options.clock.instant();
        let samples = self.0.meter.of(&self.0.cluster, now, &pods).await?;
        let sample = |(agent, sample): (AgentId, Option<Usage>)| Some((agent, sample?));
        Ok(agents.into_iter().zip(samples).filter_map(sample).collect())
    }

    async fn logs(
        &self,
        agent: &AgentId,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        self.0.whole().await?;
        let gone = || RuntimeError::Gone { agent: agent.clone() };
        let pod = self.0.pod(agent).ok_or_else(gone)?;
        logs::open(&self.0.cluster, &pod.name, &options).await
    }

    async fn exec(
        &self,
        agent: &AgentId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, RuntimeError> {
        let pod = self.0.living(agent).await?;
        exec::run(&self.0.cluster, &pod.name, command, timeout).await
    }

    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let Inner { cluster, table, meter, options, .. } = &*self.0;
        let asked = options.clock.instant();
        let version = greet::greet(cluster).await?;
        let latency = options.clock.instant().saturating_duration_since(asked);
        if let Some(trouble) = self.0.trouble() {
            return Err(RuntimeError::Unavailable(trouble.into()));
        }
        // who may not look at nodes does without them
        drop(self.0.told(Source::Nodes).await);
        let nodes = table.rooms();
        let place = match meter.is_absent().await {
            true => format!("{}, no metrics API", cluster.place),
            false => cluster.place.clone(),
        };
        Ok(RuntimeInfo { kind: "kubernetes", version, place, latency, nodes })
    }

    async fn rehearse(&self, workload: &Workload, count: u32) -> Result<Vec<String>, RuntimeError> {
        rehearse::rehearse(&self.0, workload, count).await
    }

    async fn explain(&self, agent: &AgentId) -> Result<Vec<(String, String)>, RuntimeError> {
        self.0.whole().await?;
        match self.0.pod(agent) {
            Some(pod) => {
                let mut lines = explain::explain(&self.0.cluster, &pod.name).await?;
                lines.extend(self.0.table.look(agent, |entry| {
                    let earlier = entry.map(judge::earlier).unwrap_or_default();
                    let line = |pod: &&Podded| ("earlier pod".to_owned(), judge::fate(pod));
                    earlier.iter().take(EARLIER).map(line).collect::<Vec<_>>()
                }));
                Ok(lines)
            }
            None => Ok(Vec::new()),
        }
    }

    async fn shell(
        &self,
        agent: &AgentId,
        command: &[String],
        size: TerminalSize,
    ) -> Result<Shell, RuntimeError> {
        let pod = self.0.living(agent).await?;
        shell::open(&self.0.cluster, &pod.name, command, size).await
    }

    async fn dial(&self, agent: &AgentId, port: u16) -> Result<Connection, RuntimeError> {
        let pod = self.0.living(agent).await?;
        dial::open(&self.0.cluster, &pod.name, port).await
    }

    async fn site(&self, ask: site_of::Ask) -> Result<site_of::Answer, RuntimeError> {
        site::answer(&self.0, ask).await
    }

    /// A namespace may be shared, and a store may have been set back to an earlier day.
    fn is_ours_alone(&self) -> bool {
        false
    }
}
