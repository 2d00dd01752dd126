//! The Kubernetes runtime under test, on a real API server whose kubeconfig `CVXC_TEST_KUBECONFIG` names: a namespace for
//! each rule. Its nodes may be played ones: what a program uses is told to them by annotations, and programs that print,
//! hang or end are run by a kubelet of the test's own (`kubelet.rs`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cvxc::adapters::kubernetes::client::Target;
use cvxc::adapters::kubernetes::manifest::Defaults;
use cvxc::adapters::kubernetes::{KubernetesOptions, KubernetesRuntime};
use cvxc::model::agent::AgentConfig;
use cvxc::model::id::PoolId;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::runtime::{Crew, CrewScaler, Observed, Runtime, State, Workload};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::fixture::{Does, Fixture, LIMIT, exited, said_ready, seen};
use crate::kubelet::Kubelet;

/// How long metrics may take to tell of a new pod.
const MEASURED: Duration = Duration::from_secs(60);

pub struct OnKubernetes {
    runtime: KubernetesRuntime,
    options: KubernetesOptions,
    client: Client,
    namespace: String,
    measured: bool,
    /// Runs scripts, where a rule needs them run.
    kubelet: Option<Kubelet>,
}

impl OnKubernetes {
    pub async fn open() -> Self {
        Self::with(false, false).await
    }

    /// What runs counts as running once its usage is known.
    pub async fn measured() -> Self {
        Self::with(true, false).await
    }

    /// Scripts are run.
    pub async fn programs() -> Self {
        Self::with(false, true).await
    }

    async fn with(measured: bool, programs: bool) -> Self {
        let kubeconfig = std::env::var("CVXC_TEST_KUBECONFIG")
            .expect("CVXC_TEST_KUBECONFIG names the kubeconfig of a cluster for tests");
        let kubeconfig = PathBuf::from(kubeconfig);
        drop(rustls::crypto::ring::default_provider().install_default());
        let read = Kubeconfig::read_from(&kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.unwrap()).unwrap();
        let namespace = namespace(&client).await;
        let kubelet = match kubeconfig.parent() {
            Some(kit) if programs => {
                Some(Kubelet::start(&client, &kit.join("pki"), &namespace).await)
            }
            Some(_) | None => None,
        };
        let options = KubernetesOptions {
            target: Target {
                kubeconfig: Some(kubeconfig),
                context: None,
                namespace: Some(namespace.clone()),
            },
            defaults: Defaults { image: "kit/agent:1".to_owned() },
            clock: SystemClock::shared(),
        };
        let runtime = KubernetesRuntime::open(options.clone()).await.unwrap();
        Self { runtime, options, client, namespace, measured, kubelet }
    }

    async fn wait_for_usage(&self, workload: &Workload) {
        let known = async {
            while self
                .runtime
                .usage(std::slice::from_ref(&workload.agent))
                .await
                .unwrap()
                .is_empty()
            {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(MEASURED, known).await.expect("metrics tell of the pod");
    }
}

/// A fresh one, with the account that its pods need.
async fn namespace(client: &Client) -> String {
    let all: Api<Namespace> = Api::all(client.clone());
    let meta = ObjectMeta { generate_name: Some("cvxc-test-".to_owned()), ..ObjectMeta::default() };
    let made = Namespace { metadata: meta, ..Namespace::default() };
    let made = all.create(&PostParams::default(), &made).await.unwrap();
    let name = made.metadata.name.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    let there = async {
        while accounts.get_opt("default").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(MEASURED, there).await.expect("the namespace gets its account");
    name
}

#[async_trait]
impl Fixture for OnKubernetes {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.runtime.clone())
    }

    fn another(&self) -> Arc<dyn Runtime> {
        let open = KubernetesRuntime::open(self.options.clone());
        let inside = tokio::runtime::Handle::current();
        let opened = tokio::task::block_in_place(|| inside.block_on(open));
        Arc::new(opened.unwrap())
    }

    fn config(&self, does: Does) -> AgentConfig {
        if let (Does::Script(script), Some(kubelet)) = (&does, &self.kubelet) {
            return AgentConfig {
                command: vec!["/bin/sh".to_owned(), "-c".to_owned()],
                args: vec![script.clone()],
                pod: kubelet.pod(),
                ..AgentConfig::default()
            };
        }
        let usage = match does {
            Does::Run => "1m",
            Does::Script(script) if script.ends_with("while :; do :; done") => "500m",
            Does::Script(script) => panic!("nothing here runs {script:?}"),
        };
        AgentConfig {
            command: vec!["play".to_owned()],
            pod: json!({"annotations": {"kwok.x-k8s.io/usage-cpu": usage}}),
            ..AgentConfig::default()
        }
    }

    async fn running(&self, workload: &Workload) -> Observed {
        self.runtime.apply(workload.clone()).await.unwrap();
        let incarnation = workload.incarnation;
        let running =
            |seen: &Observed| seen.incarnation == incarnation && seen.state == State::Running;
        let seen = seen(&self.runtime, &workload.agent, running).await;
        if self.measured {
            self.wait_for_usage(workload).await;
        }
        seen
    }

    async fn ready(&self, workload: &Workload) -> Observed {
        let seen = self.running(workload).await;
        if self.kubelet.is_some() {
            said_ready(&self.runtime, &workload.agent).await;
        }
        seen
    }

    /// A program that ends by itself is begun again there; what counts is that it has ended once.
    async fn ended(&self, workload: &Workload) -> Observed {
        self.runtime.apply(workload.clone()).await.unwrap();
        let pod = format!("agent-{}-", workload.agent);
        let over = self.kubelet.as_ref().unwrap().ended(&pod);
        tokio::time::timeout(LIMIT, over).await.expect("the program ends");
        let restarts = |seen: &Observed| seen.state == State::Starting && !seen.message.is_empty();
        seen(&self.runtime, &workload.agent, restarts).await
    }

    async fn end(self) {
        for seen in self.runtime.list().await.unwrap() {
            self.runtime.remove(&seen.agent, Duration::ZERO).await.unwrap();
            exited(&self.runtime, &seen.agent).await;
            self.runtime.forget(&seen.agent).await.unwrap();
        }
        assert_eq!(self.runtime.list().await.unwrap(), []);
        let all = ListParams::default();
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        assert!(deployments.list(&all).await.unwrap().items.is_empty(), "a Deployment is left");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        // of a Deployment that went before it had any, a controller may still make one, which goes by itself
        let gone = async {
            while !pods.list(&all).await.unwrap().items.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(3 * LIMIT, gone).await.expect("no pod is left");
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
        if let Some(kubelet) = self.kubelet {
            kubelet.stop().await;
        }
    }
}

impl OnKubernetes {
    /// Ends the fixture of a pool's own workload.
    async fn end_pool(self, pool: &PoolId) {
        self.runtime.end_crew(pool).await.unwrap();
        let gone = async {
            while !self.runtime.list().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect("its pods go");
        self.end().await;
    }
}

/// The names of the variables of a Deployment's container.
fn variables(deployment: &Deployment) -> Vec<String> {
    let pod = deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    pod.containers[0].env.iter().flatten().map(|it| it.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
async fn on_kubernetes_what_a_later_incarnation_leaves_out_goes_and_what_others_set_stays() {
    let fixture = OnKubernetes::open().await;
    let api: Api<Deployment> = Api::namespaced(fixture.client.clone(), &fixture.namespace);
    let mut workload = fixture.workload(Does::Run);
    workload.config.env.insert("OLD".to_owned(), "1".to_owned());
    fixture.running(&workload).await;
    let name = format!("agent-{}", workload.agent);
    let theirs = json!({"metadata": {"annotations": {"theirs": "kept"}}});
    let params =
        PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    api.patch(&name, &params, &Patch::Merge(&theirs)).await.unwrap();
    for incarnation in 2..4 {
        workload.incarnation = incarnation;
        workload.config.env.remove("OLD");
        workload.config.env.insert(format!("NEW_{incarnation}"), "1".to_owned());
        fixture.running(&workload).await;
        let now = api.get(&name).await.unwrap();
        let variables = variables(&now);
        assert!(!variables.contains(&"OLD".to_owned()), "{variables:?}");
        assert!(variables.contains(&format!("NEW_{incarnation}")), "{variables:?}");
        assert_eq!(now.metadata.annotations.unwrap()["theirs"], "kept");
        let owners = now.metadata.managed_fields.unwrap();
        let ours = |operation: &str| {
            let is = |it: &&_| -> bool {
                let it: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry = it;
                it.manager.as_deref() == Some("cvxc") && it.operation.as_deref() == Some(operation)
            };
            owners.iter().filter(is).count()
        };
        assert_eq!((ours("Apply"), ours("Update")), (1, 0), "{owners:?}");
        workload.config.env.remove(&format!("NEW_{incarnation}"));
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
async fn on_kubernetes_a_leader_with_other_settings_leaves_a_pool_as_it_is() {
    let fixture = OnKubernetes::open().await;
    let api: Api<Deployment> = Api::namespaced(fixture.client.clone(), &fixture.namespace);
    let crew = Crew {
        pool: PoolId::new("web").unwrap(),
        like: fixture.workload(Does::Run),
        replicas: 2,
        surge: 1,
        unavailable: 0,
        scaler: Some(CrewScaler { min: 1, max: 5, cpu_percent: 70 }),
    };
    fixture.runtime.keep_crew(crew.clone()).await.unwrap();
    let made = api.get("agent-pool-web").await.unwrap().metadata.generation;
    let mut other = crew.clone();
    other.like.env.insert("CVXC_STORE".to_owned(), "elsewhere".to_owned());
    fixture.another().keep_crew(other.clone()).await.unwrap();
    let now = api.get("agent-pool-web").await.unwrap();
    assert_eq!(now.metadata.generation, made, "it was rolled");
    // with a change of the pool's own it goes out too
    other.like.config.env.insert("LEVEL".to_owned(), "two".to_owned());
    fixture.another().keep_crew(other).await.unwrap();
    assert!(variables(&api.get("agent-pool-web").await.unwrap()).contains(&"LEVEL".to_owned()));
    fixture.end_pool(&crew.pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
async fn on_kubernetes_an_autoscaler_that_somebody_deleted_or_changed_is_brought_back() {
    let fixture = OnKubernetes::open().await;
    let scalers: Api<HorizontalPodAutoscaler> =
        Api::namespaced(fixture.client.clone(), &fixture.namespace);
    let crew = Crew {
        pool: PoolId::new("web").unwrap(),
        like: fixture.workload(Does::Run),
        replicas: 1,
        surge: 1,
        unavailable: 0,
        scaler: Some(CrewScaler { min: 0, max: 5, cpu_percent: 70 }),
    };
    let bounds = async || {
        let spec = scalers.get("agent-pool-web").await.unwrap().spec.unwrap();
        (spec.min_replicas, spec.max_replicas)
    };
    fixture.runtime.keep_crew(crew.clone()).await.unwrap();
    scalers.delete("agent-pool-web", &DeleteParams::default()).await.unwrap();
    fixture.runtime.keep_crew(crew.clone()).await.unwrap();
    assert_eq!(bounds().await, (Some(1), 5));
    let patch = Patch::Merge(json!({"spec": {"maxReplicas": 50}}));
    scalers.patch("agent-pool-web", &PatchParams::default(), &patch).await.unwrap();
    fixture.runtime.keep_crew(crew.clone()).await.unwrap();
    assert_eq!(bounds().await, (Some(1), 5));
    fixture.end_pool(&crew.pool).await;
}
