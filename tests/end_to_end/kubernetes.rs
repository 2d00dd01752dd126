//! The binary on a real control plane, whose kubeconfig `CVXC_TEST_KUBECONFIG` names: a namespace and a folder for each test.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json as value;
use tokio::runtime::Runtime;

use super::support::{Fleet, Running, cvxc, eventually, good, json, text};

pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub fleet: Fleet,
    pub kubeconfig: PathBuf,
    pub namespace: String,
    pub client: Client,
    pub tokio: Runtime,
}

impl Cluster {
    pub fn open() -> Self {
        let kubeconfig = std::env::var("CVXC_TEST_KUBECONFIG")
            .expect("CVXC_TEST_KUBECONFIG names the kubeconfig of a cluster for tests");
        let tokio = Runtime::new().unwrap();
        drop(rustls::crypto::ring::default_provider().install_default());
        let (client, namespace) = tokio.block_on(async {
            let read = Kubeconfig::read_from(&kubeconfig).unwrap();
            let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
            let client = Client::try_from(config.unwrap()).unwrap();
            let meta =
                ObjectMeta { generate_name: Some("cvxc-e2e-".to_owned()), ..ObjectMeta::default() };
            let made = Namespace { metadata: meta, ..Namespace::default() };
            let all: Api<Namespace> = Api::all(client.clone());
            (client, all.create(&PostParams::default(), &made).await.unwrap().name_any())
        });
        Self { fleet: Fleet::new(), kubeconfig: kubeconfig.into(), namespace, client, tokio }
    }

    /// What every verb and the daemon need to find the cluster.
    fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("CVXC_RUNTIME_KIND", "kubernetes".to_owned()),
            ("CVXC_KUBERNETES_KUBECONFIG", self.kubeconfig.display().to_string()),
            ("CVXC_KUBERNETES_NAMESPACE", self.namespace.clone()),
        ]
    }

    pub fn daemon(&self, crash_at: Option<&str>) -> Running {
        let mut command = cvxc(&self.fleet.dir);
        command.args(["daemon", "--listen", "127.0.0.1:0"]).envs(self.environment());
        for (name, value) in [
            ("CVXC_LEADER_TTL", "2s"),
            ("CVXC_HEALTH_INTERVAL", "1s"),
            ("CVXC_RECOVERY_BACKOFF_FIRST", "500ms"),
        ] {
            command.env(name, value);
        }
        command.envs(crash_at.map(|at| ("CVXC_TEST_CRASH_AT", at)));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.fleet.dir.join("daemon.err"))
            .unwrap();
        Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    pub fn verb(&self, args: &[&str]) -> std::process::Output {
        let mut command: Command = cvxc(&self.fleet.dir);
        command.envs(self.environment()).args(args).output().unwrap()
    }

    pub fn good(&self, args: &[&str]) -> String {
        let output = self.verb(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{args:?}: {err}\n{out}");
        out
    }

    pub fn apply(&self, manifest: &str) {
        let file = self.fleet.dir.join("manifest.yaml");
        std::fs::write(&file, manifest).unwrap();
        self.good(&["apply", "-f", file.to_str().unwrap()]);
    }

    fn pool(&self, name: &str) -> serde_json::Value {
        json(&self.fleet.dir, &["get", "pools", name, "-o", "json"])[0].clone()
    }

    pub fn running(&self, count: u64) {
        eventually(LIMIT, &format!("{count} agents running"), || {
            let status = json(&self.fleet.dir, &["status", "-o", "json"]);
            let agents = &status["agents"];
            let log = || std::fs::read_to_string(self.fleet.dir.join("daemon.err"));
            if agents["running"] == count { Ok(()) } else { Err(format!("{agents} {:?}", log())) }
        });
    }

    pub fn all<T>(&self) -> Vec<T>
    where
        T: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<T> = Api::namespaced(self.client.clone(), &self.namespace);
        self.tokio.block_on(api.list(&ListParams::default())).unwrap().items
    }

    /// Pods that serve: ready, and not asked to end.
    fn ready(&self) -> Vec<Pod> {
        self.all::<Pod>().into_iter().filter(is_ready).collect()
    }

    /// Counts serving pods as fast as the API server answers, until it is dropped; the fewest are told.
    fn watch(&self) -> Watching {
        let stop = Arc::new(AtomicBool::new(false));
        let (over, client, namespace) = (stop.clone(), self.client.clone(), self.namespace.clone());
        let task = self.tokio.spawn(async move {
            let pods: Api<Pod> = Api::namespaced(client, &namespace);
            let (mut fewest, mut most, mut looks) = (usize::MAX, 0, 0);
            while !over.load(Ordering::SeqCst) {
                let all = pods.list(&ListParams::default()).await.unwrap().items;
                let ready = all.iter().filter(|pod| is_ready(pod)).count();
                (fewest, most, looks) = (fewest.min(ready), most.max(all.len()), looks + 1);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (fewest, most, looks)
        });
        Watching { stop, task }
    }

    fn told(&self, watching: Watching) -> (usize, usize, usize) {
        watching.stop.store(true, Ordering::SeqCst);
        self.tokio.block_on(watching.task).unwrap()
    }
}

struct Watching {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(usize, usize, usize)>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let all: Api<Namespace> = Api::all(self.client.clone());
        drop(self.tokio.block_on(all.delete(&self.namespace, &DeleteParams::default())));
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

pub fn template(image: &str, env: &str) -> String {
    format!(
        "kind: Template\nname: worker\ntype: worker\nconfiguration:\n  image: {image}\n  command: [play]\n  grace: 1s\n  start_timeout: 8s\n  env: {{LEVEL: {env}}}\n  resources: {{requests: {{cpu: 100m, memory: 64Mi}}}}\n"
    )
}

pub fn pool(name: &str, desired: u32, rest: &str) -> String {
    format!(
        "---\nkind: Pool\nname: {name}\ntemplate: worker\ndesired: {desired}\nmin: 0\nmax: 40\n{rest}\n"
    )
}

fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().unwrap().replicas.unwrap()
}

/// The values of LEVEL in the serving pods.
fn levels(pods: &[Pod]) -> BTreeSet<String> {
    let env =
        pods.iter().flat_map(|pod| pod.spec.as_ref().unwrap().containers[0].env.iter().flatten());
    env.filter(|it| it.name == "LEVEL").filter_map(|it| it.value.clone()).collect()
}

#[test]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
fn on_kubernetes_a_paused_pool_is_kept_at_no_replicas_and_resumes() {
    let cluster = Cluster::open();
    let _daemon = cluster.daemon(None);
    cluster.apply(&(template("kit/agent:1", "one") + &pool("alpha", 3, "")));
    cluster.running(3);
    let before: BTreeSet<String> =
        cluster.all::<Deployment>().iter().map(ResourceExt::name_any).collect();
    cluster.good(&["pause", "pool/alpha", "--wait=40s"]);
    eventually(LIMIT, "no pods", || {
        let pods = cluster.all::<Pod>();
        if pods.is_empty() { Ok(()) } else { Err(format!("{} pods", pods.len())) }
    });
    let kept = cluster.all::<Deployment>();
    assert!(kept.iter().all(|it| replicas(it) == 0), "{kept:?}");
    cluster.good(&["resume", "pool/alpha", "--wait=40s"]);
    cluster.running(3);
    let after = cluster.all::<Deployment>();
    assert_eq!(
        after.iter().map(ResourceExt::name_any).collect::<BTreeSet<_>>(),
        before,
        "kept, not made anew"
    );
    assert!(after.iter().all(|it| replicas(it) == 1));
    assert_eq!(cluster.ready().len(), 3);
}

#[test]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
fn on_kubernetes_an_update_keeps_its_pace_halts_on_a_bad_image_and_is_rolled_back() {
    let cluster = Cluster::open();
    let _daemon = cluster.daemon(None);
    let pace = "update: {max_surge: 1, max_unavailable: 1}";
    cluster.apply(&(template("kit/agent:1", "one") + &pool("alpha", 4, pace)));
    cluster.running(4);
    let watching = cluster.watch();
    cluster.apply(&template("kit/agent:1", "two"));
    cluster.good(&["set-template", "alpha", "--wait=60s"]);
    let (fewest, most, looks) = cluster.told(watching);
    println!("rolling update: {fewest} to {most} pods in {looks} looks");
    assert!(fewest >= 3, "{fewest} served at the least");
    assert_eq!(levels(&cluster.ready()), BTreeSet::from(["two".to_owned()]));
    cluster.running(4);

    let watching = cluster.watch();
    cluster.apply(&template("kit/agent:missing", "three"));
    let halted = cluster.verb(&["set-template", "alpha", "--wait=60s"]);
    assert!(!halted.status.success(), "{}", text(&halted.stdout));
    let pool = cluster.pool("alpha");
    assert_eq!(pool["status"]["halted"], true, "{pool}");
    assert!(pool["status"]["reason"].as_str().unwrap().contains("ImagePull"), "{pool}");
    assert_eq!(levels(&cluster.ready()), BTreeSet::from(["two".to_owned()]));
    cluster.good(&["rollback", "alpha", "--wait=60s"]);
    let (fewest, _, _) = cluster.told(watching);
    assert!(fewest >= 3, "{fewest} served at the least");
    eventually(LIMIT, "four of the version before", || {
        let ready = cluster.ready();
        let deployments = cluster.all::<Deployment>().len();
        match (ready.len(), deployments) {
            (4, 4) => {
                assert_eq!(levels(&ready), BTreeSet::from(["two".to_owned()]));
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
fn on_kubernetes_a_pool_of_twenty_goes_to_an_autoscaler_and_back_without_fewer_than_twenty() {
    let cluster = Cluster::open();
    let _daemon = cluster.daemon(None);
    let of = |mode: &str| {
        let scaling = format!("scaling:\n  mode: {mode}\n  metrics: [{{type: cpu, target: 70}}]\n");
        pool("alpha", 20, "").replace("min: 0", "min: 20") + &scaling
    };
    // without a request there is no share of it either: the cluster's autoscaler stands there and never acts, so that who
    // scales here is this test alone
    let template = |env: &str| template("kit/agent:1", env).replace("cpu: 100m, ", "");
    cluster.apply(&(template("one") + &of("manual")));
    cluster.running(20);
    let watching = cluster.watch();
    cluster.apply(&of("hpa"));
    eventually(LIMIT * 2, "one Deployment of twenty", || {
        let deployments = cluster.all::<Deployment>();
        let names: Vec<String> = deployments.iter().map(ResourceExt::name_any).collect();
        let agents = json(&cluster.fleet.dir, &["status", "-o", "json"])["agents"].clone();
        match &deployments[..] {
            [one] if replicas(one) == 20 && agents["running"] == 20 => Ok(()),
            _ => Err(format!("{} Deployments {:?}, {agents}", names.len(), names.first())),
        }
    });
    let scalers = cluster.all::<HorizontalPodAutoscaler>();
    let spec = scalers[0].spec.as_ref().unwrap();
    assert_eq!((spec.min_replicas, spec.max_replicas), (Some(20), 40));
    let agents = json(&cluster.fleet.dir, &["get", "agents", "-o", "json"]);
    let ids: BTreeSet<&str> = agents
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["phase"] == "running")
        .map(|it| it["_key"].as_str().unwrap())
        .collect();
    let pods = cluster.ready();
    assert_eq!(
        ids,
        pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect(),
        "agents are its pods"
    );
    let one = cluster.verb(&["restart", ids.iter().next().unwrap()]);
    assert!(text(&one.stderr).contains("pool's Deployment"), "{}", text(&one.stderr));

    // somebody else scales it: the engine follows, says who, and scales no more
    let name = cluster.all::<Deployment>()[0].name_any();
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params =
        PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(value!({"spec": {"replicas": 23}}));
    cluster.tokio.block_on(api.patch(&name, &params, &patch)).unwrap();
    eventually(LIMIT, "23 wanted", || {
        let pool = cluster.pool("alpha");
        match pool["desired"].as_u64() {
            Some(23) => Ok(()),
            _ => Err(pool.to_string()),
        }
    });
    let said = cluster.pool("alpha")["status"]["last_decision"]["summary"].clone();
    assert!(said.as_str().unwrap().contains("somebody"), "{said}");
    let refused = cluster.verb(&["scale", "alpha", "--to", "25"]);
    assert!(text(&refused.stderr).contains("somebody"), "{}", text(&refused.stderr));
    // applied anew, the number stays theirs
    cluster.apply(&template("two"));
    cluster.good(&["set-template", "alpha", "--wait=180s"]);
    assert_eq!(replicas(&cluster.all::<Deployment>()[0]), 23);
    assert_eq!(levels(&cluster.ready()), BTreeSet::from(["two".to_owned()]));

    // its autoscaler taken away: the number that is there stays, and is ours to change again
    cluster.apply(&of("hpa").replace("type: cpu, target: 70", "type: queue_per_agent, target: 5"));
    eventually(LIMIT, "no autoscaler, and whoever scaled before is no hindrance", || {
        let scalers = cluster.all::<HorizontalPodAutoscaler>().len();
        let planned = cluster.verb(&["scale", "alpha", "--to", "22", "--dry-run"]);
        let now = replicas(&cluster.all::<Deployment>()[0]);
        match (scalers, now, planned.status.success()) {
            (0, 23, true) => Ok(()),
            _ => Err(format!("{scalers} scalers, {now}: {}", text(&planned.stderr))),
        }
    });
    cluster.good(&["scale", "alpha", "--to", "22", "--wait=60s"]);
    assert_eq!(replicas(&cluster.all::<Deployment>()[0]), 22);

    // as its manifest says, and by hand again
    cluster.apply(&of("manual"));
    eventually(LIMIT * 2, "a Deployment for each", || {
        let deployments = cluster.all::<Deployment>();
        let agents = json(&cluster.fleet.dir, &["status", "-o", "json"])["agents"].clone();
        let alone = deployments.len() == 20 && deployments.iter().all(|it| replicas(it) == 1);
        if alone && agents["running"] == 20 && cluster.all::<Pod>().len() == 20 {
            Ok(())
        } else {
            Err(format!("{} Deployments, {agents}", deployments.len()))
        }
    });
    let (fewest, most, looks) = cluster.told(watching);
    println!("there and back: {fewest} to {most} pods in {looks} looks");
    assert!(fewest >= 20, "{fewest} served at the least");
    assert!(cluster.all::<HorizontalPodAutoscaler>().is_empty());
}

/// Kinds of events and acts between which a leader may be killed while it deploys, scales and deletes.
const POINTS: [&str; 9] = [
    "agent.registered",
    "agent.deploying",
    "apply",
    "agent.running",
    "agent.draining",
    "remove",
    "agent.stopped",
    "agent.deleted",
    "forget",
];

#[test]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
fn on_kubernetes_a_leader_killed_between_any_two_steps_leaves_what_was_wanted() {
    let points: Vec<String> = ["before", "after"]
        .iter()
        .flat_map(|when| POINTS.map(|at| format!("{when} {at}")))
        .collect();
    // each has its own fleet and namespace; a few at a time
    let left = std::sync::Mutex::new(points);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(point) = left.lock().unwrap().pop() else { return };
                    killed_at(&point);
                }
            });
        }
    });
}

fn killed_at(point: &str) {
    let cluster = Cluster::open();
    let mut first = cluster.daemon(Some(point));
    let mut second = None;
    let mut takeover = |second: &mut Option<Running>| {
        if second.is_none() && first.0.try_wait().unwrap().is_some() {
            *second = Some(cluster.daemon(None));
        }
    };
    cluster.apply(&(template("kit/agent:1", "one") + &pool("alpha", 2, "")));
    let until = |what: &str,
                 count: usize,
                 second: &mut Option<Running>,
                 takeover: &mut dyn FnMut(&mut Option<Running>)| {
        eventually(LIMIT, &format!("{point}: {what}"), || {
            takeover(second);
            let agents = json(&cluster.fleet.dir, &["status", "-o", "json"])["agents"].clone();
            let records = json(&cluster.fleet.dir, &["get", "agents", "-o", "json"]);
            let alive = |it: &&serde_json::Value| it["phase"] == "running";
            let records: BTreeSet<String> = records
                .as_array()
                .unwrap()
                .iter()
                .filter(alive)
                .map(|it| format!("agent-{}", it["_key"].as_str().unwrap()))
                .collect();
            let deployments: BTreeSet<String> =
                cluster.all::<Deployment>().iter().map(ResourceExt::name_any).collect();
            let pods = cluster.all::<Pod>().len();
            if agents["running"] == count
                && records.len() == count
                && records == deployments
                && pods == count
            {
                Ok(())
            } else {
                Err(format!("{agents} {records:?} {deployments:?} {pods} pods"))
            }
        });
    };
    until("two agents", 2, &mut second, &mut takeover);
    good(&cluster.fleet.dir, &["scale", "alpha", "--to", "1"]);
    until("one agent, and nothing else", 1, &mut second, &mut takeover);
    eventually(LIMIT, &format!("{point}: the leader comes to it"), || {
        takeover(&mut second);
        if second.is_some() { Ok(()) } else { Err("it lives".to_owned()) }
    });
    eventually(LIMIT, &format!("{point}: every operation has an end"), || {
        let operations = json(&cluster.fleet.dir, &["get", "operations", "-o", "json"]);
        // the first may say that the second overtook it
        let running = operations.as_array().unwrap().iter().any(|it| it["status"] == "running");
        let scaled = operations[0]["type"] == "scale" && operations[0]["status"] == "succeeded";
        if scaled && !running { Ok(()) } else { Err(operations.to_string()) }
    });
    println!("{point}: taken over, as wanted");
}
