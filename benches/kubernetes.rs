//! Creating a thousand agents on a cluster against a bare client that makes the same Deployments with as many requests at
//! once, and what a thousand unchanged ones cost. Needs `CVXC_TEST_KUBECONFIG`; `CVXC_BENCH_AGENTS` for another number.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement stops at the first surprise and prints"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};

/// As many as the runtime allows itself.
const AT_ONCE: usize = 32;

/// Ours and the bare client's in turn: what else the machine does hits both.
const ROUNDS: usize = 4;

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Bench {
    kubeconfig: String,
    client: Client,
    agents: usize,
}

impl Bench {
    async fn namespace(&self) -> String {
        let meta =
            ObjectMeta { generate_name: Some("cvxc-bench-".to_owned()), ..ObjectMeta::default() };
        let made = Namespace { metadata: meta, ..Namespace::default() };
        let all: Api<Namespace> = Api::all(self.client.clone());
        all.create(&PostParams::default(), &made).await.unwrap().name_any()
    }

    fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn cvxc(&self, dir: &Path, namespace: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cvxc"));
        command
            .env("CVXC_DATA_DIR", dir)
            .env("CVXC_RUNTIME_KIND", "kubernetes")
            .env("CVXC_KUBERNETES_KUBECONFIG", &self.kubeconfig)
            .env("CVXC_KUBERNETES_NAMESPACE", namespace)
            .stdin(Stdio::null());
        command
    }

    fn daemon(&self, dir: &Path, namespace: &str) -> Daemon {
        let mut command = self.cvxc(dir, namespace);
        command.args(["daemon", "--listen", "127.0.0.1:0"]).env("CVXC_LEADER_TTL", "5s");
        Daemon(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Deletes the namespace and waits until its pods are gone, so that the next part has the cluster to itself.
    async fn clear(&self, namespace: &str) {
        let all: Api<Namespace> = Api::all(self.client.clone());
        let gone = self.deployments(namespace);
        drop(gone.delete_collection(&DeleteParams::background(), &ListParams::default()).await);
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.client.clone(), namespace);
        while !pods.list_metadata(&ListParams::default().limit(1)).await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        drop(all.delete(namespace, &DeleteParams::default()).await);
    }

    /// The same Deployments by a bare client.
    async fn bare(&self, made: &[Deployment]) -> f64 {
        let namespace = self.namespace().await;
        let api = self.deployments(&namespace);
        let began = jiff::Timestamp::now();
        let create = |deployment: Deployment| {
            let api = api.clone();
            async move { drop(api.create(&PostParams::default(), &deployment).await.unwrap()) }
        };
        let created = futures::stream::iter(made.to_vec())
            .map(create)
            .buffer_unordered(AT_ONCE)
            .collect::<()>();
        // counted as ours are: who counts takes a share of the machine too
        let ((), over) = tokio::join!(created, self.until(&api, made.len()));
        let rate = made.len() as f64 / over.duration_since(began).as_secs_f64();
        println!("bare client: {rate:.0}/s");
        self.clear(&namespace).await;
        rate
    }

    /// When there are as many Deployments: counted, since another watch of them all would take its share of the machine.
    async fn until(&self, api: &Api<Deployment>, many: usize) -> jiff::Timestamp {
        loop {
            let page = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
            let rest = page.metadata.remaining_item_count.unwrap_or(0);
            let count = page.items.len() + usize::try_from(rest).unwrap();
            if count >= many {
                return jiff::Timestamp::now();
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Applies a pool and waits for its Deployments; returns the rate from the confirmation on, and what was made.
    async fn ours(&self, dir: &Path, namespace: &str) -> (f64, Vec<Deployment>) {
        let manifest = dir.join("fleet.yaml");
        let text = format!(
            "kind: Template\nname: worker\ntype: worker\nconfiguration:\n  image: kit/agent:1\n  command: [play]\n  resources: {{requests: {{cpu: 10m, memory: 16Mi}}}}\n  start_timeout: 10m\n---\nkind: Pool\nname: crowd\ntemplate: worker\ndesired: {0}\nmin: 0\nmax: {0}\n",
            self.agents
        );
        std::fs::write(&manifest, text).unwrap();
        let api = self.deployments(namespace);
        let applied = self
            .cvxc(dir, namespace)
            .args(["apply", "-f", manifest.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        let first = self.until(&api, 1).await;
        let over = self.until(&api, self.agents).await;
        // asked only now: another process that starts meanwhile would take its share of the machine
        let listed =
            self.cvxc(dir, namespace).args(["get", "operations", "-o", "json"]).output().unwrap();
        let operations: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        let confirmed: jiff::Timestamp =
            operations[0]["created_at"].as_str().unwrap().parse().unwrap();
        let took = over.duration_since(confirmed).as_secs_f64();
        let rate = self.agents as f64 / took;
        let begun = first.duration_since(confirmed).as_secs_f64();
        println!(
            "cvxc: {rate:.0}/s ({took:.2} s from the confirmation, the first after {begun:.2} s)"
        );
        let mut made = api.list(&ListParams::default()).await.unwrap().items;
        for deployment in &mut made {
            let ObjectMeta { name, labels, annotations, .. } =
                std::mem::take(&mut deployment.metadata);
            deployment.metadata = ObjectMeta { name, labels, annotations, ..ObjectMeta::default() };
            deployment.status = None;
        }
        (rate, made)
    }

    /// Requests that wrote Deployments, whoever sent them.
    async fn writes(&self) -> f64 {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let text = self.client.request_text(request).await.unwrap();
        let counts = text.lines().filter(|line| {
            line.starts_with("apiserver_request_total{")
                && line.contains("resource=\"deployments\"")
                && line.contains("subresource=\"\"")
                && ["APPLY", "PATCH", "PUT", "POST"]
                    .iter()
                    .any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        });
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    async fn running(&self, dir: &Path, namespace: &str) {
        loop {
            let told = self.cvxc(dir, namespace).args(["status", "-o", "json"]).output().unwrap();
            let status: serde_json::Value =
                serde_json::from_slice(&told.stdout).unwrap_or_default();
            if status["agents"]["running"] == self.agents && status["leader"]["live"] != false {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// A new leader meets everybody as they should be.
    async fn unchanged(&self, dir: &Path, namespace: &str) {
        let before = self.writes().await;
        let daemon = self.daemon(dir, namespace);
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (start, _) = cost(daemon.0.id());
        println!(
            "a new leader over {} unchanged agents: {start:.2} CPU-s in its first 20 s",
            self.agents
        );
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (after, rss) = cost(daemon.0.id());
        let wrote = self.writes().await - before;
        println!(
            "six passes in the minute after: {:.2} CPU-s; {wrote} writes of Deployments in all; RSS {rss:.0} MB",
            after - start
        );
    }
}

/// CPU seconds and resident megabytes of a process.
fn cost(pid: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let rss: f64 = rss.split_whitespace().next().unwrap().parse().unwrap();
    (ticks / 100.0, rss / 1024.0)
}

#[tokio::main]
async fn main() {
    let Ok(kubeconfig) = std::env::var("CVXC_TEST_KUBECONFIG") else {
        println!("not run: CVXC_TEST_KUBECONFIG names no cluster");
        return;
    };
    drop(rustls::crypto::ring::default_provider().install_default());
    let read = Kubeconfig::read_from(&kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let agents =
        std::env::var("CVXC_BENCH_AGENTS").ok().and_then(|it| it.parse().ok()).unwrap_or(1_000);
    let bench = Bench { kubeconfig, client, agents };
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let namespace = bench.namespace().await;
        let daemon = bench.daemon(dir.path(), &namespace);
        tokio::time::sleep(Duration::from_secs(3)).await; // leads
        let (rate, made) = bench.ours(dir.path(), &namespace).await;
        ours.push(rate);
        if round == 0 {
            bench.running(dir.path(), &namespace).await;
        }
        drop(daemon);
        if round == 0 {
            tokio::time::sleep(Duration::from_secs(6)).await; // its lease runs out
            bench.unchanged(dir.path(), &namespace).await;
        }
        bench.clear(&namespace).await;
        bare.push(bench.bare(&made).await);
    }
    let best = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
    let mean = |of: &[f64]| of.len() as f64 / of.iter().map(|rate| 1.0 / rate).sum::<f64>();
    println!(
        "cvxc to bare client: {:.2} by the best round of each, {:.2} by the time of all",
        best(&ours) / best(&bare),
        mean(&ours) / mean(&bare)
    );
}
