//! A kubelet for programs: a node of its own on the cluster under test, whose pods are real processes of this machine.
//! What they write is their log, how they exit is in their status, and they are given their grace. The cluster's played
//! nodes leave these pods alone: they are told to wait a day before they start or end one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// On a pod: the played kubelets are to leave it alone.
const ALONE: [(&str, &str); 2] = [("sim.cvxc/start-delay", "24h"), ("sim.cvxc/stop-delay", "24h")];
const TAINT: &str = "cvxc/programs";

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<Vec<u8>>>,
    /// How many lines there are, and whether that is all.
    told: watch::Sender<(usize, bool)>,
}

impl Log {
    fn add(&self, line: &[u8]) {
        let mut stamped = jiff::Timestamp::now().to_string().into_bytes();
        stamped.push(b' ');
        stamped.extend_from_slice(line);
        let mut lines = self.lines.lock().unwrap();
        lines.push(stamped);
        self.told.send_modify(|told| told.0 = lines.len());
    }

    async fn read(self: Arc<Self>, stream: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await.unwrap_or(0) > 0 {
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            self.add(&line);
            line.clear();
        }
    }
}

#[derive(Debug)]
struct Run {
    log: Arc<Log>,
    /// When it is to be killed, once it was asked to end.
    deadline: watch::Sender<Option<jiff::Timestamp>>,
}

pub struct Kubelet {
    client: Client,
    node: String,
    runs: Arc<Mutex<HashMap<String, Run>>>,
    tasks: JoinSet<()>,
}

impl Kubelet {
    /// A node whose kubelet answers with the certificate in `pki`.
    pub async fn start(client: &Client, pki: &Path, node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let room = json!({"cpu": "8", "memory": "8Gi", "pods": "50"});
        let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "runs programs"});
        let made = json!({
            "metadata": {"name": node, "labels": {"kubernetes.io/hostname": node}},
            "spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]},
            "status": {
                "allocatable": room, "capacity": room, "conditions": [ready],
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            },
        });
        let made: Node = serde_json::from_value(made).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &made).await.unwrap();
        let runs = Arc::<Mutex<HashMap<String, Run>>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(listener, acceptor(pki), runs.clone()));
        tasks.spawn(play(client.clone(), node.to_owned(), runs.clone()));
        Self { client: client.clone(), node: node.to_owned(), runs, tasks }
    }

    /// What a pod's template needs to come here.
    pub fn pod(&self) -> Value {
        json!({
            "annotations": BTreeMap::from(ALONE),
            "node_selector": {"kubernetes.io/hostname": self.node},
            "tolerations": [{"key": TAINT, "operator": "Exists"}],
        })
    }

    /// Waits until the program of the only pod whose name begins so has ended.
    pub async fn ended(&self, pod: &str) {
        let log = loop {
            let found =
                |(name, run): (&String, &Run)| name.starts_with(pod).then(|| run.log.clone());
            let log = self.runs.lock().unwrap().iter().find_map(found);
            if let Some(log) = log {
                break log;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        log.told.subscribe().wait_for(|told| told.1).await.unwrap();
    }

    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.delete(&self.node, &DeleteParams::default()).await.unwrap();
    }
}

fn acceptor(pki: &Path) -> TlsAcceptor {
    let certificates = CertificateDer::pem_file_iter(pki.join("apiserver.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(pki.join("apiserver.key")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(certificates.map(Result::unwrap).collect(), key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// Runs every pod of the node until it is dropped.
async fn play(client: Client, node: String, runs: Arc<Mutex<HashMap<String, Run>>>) {
    let all: Api<Pod> = Api::all(client.clone());
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut pods = watcher(all, mine).default_backoff().touched_objects().boxed();
    let mut tasks = JoinSet::new();
    let mut wishes: HashMap<String, (jiff::Timestamp, i64)> = HashMap::new();
    while let Some(pod) = pods.next().await {
        let Ok(pod) = pod else { continue };
        let ending = pod.metadata.deletion_timestamp.as_ref().map(|at| at.0);
        let ending = ending.zip(pod.metadata.deletion_grace_period_seconds);
        let mut known = runs.lock().unwrap();
        match known.get(&pod.name_any()) {
            // counted from when it is heard of, as a kubelet does: the time in the object has whole seconds only
            Some(run) => {
                if let Some((at, grace)) = ending
                    && wishes.insert(pod.name_any(), (at, grace)) != Some((at, grace))
                {
                    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
                    run.deadline.send_replace(Some(until));
                }
            }
            None if ending.is_none() => {
                let (log, deadline) = (Arc::<Log>::default(), watch::Sender::new(None));
                let asked = deadline.subscribe();
                known.insert(pod.name_any(), Run { log: log.clone(), deadline });
                tasks.spawn(run(client.clone(), pod, log, asked));
            }
            None => {}
        }
    }
}

async fn run(
    client: Client,
    pod: Pod,
    log: Arc<Log>,
    mut asked: watch::Receiver<Option<jiff::Timestamp>>,
) {
    let pods: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap());
    let name = pod.name_any();
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let words = container.command.iter().chain(&container.args).flatten();
    let words: Vec<&String> = words.collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let env = container.env.iter().flatten();
    command.envs(env.map(|it| (it.name.clone(), it.value.clone().unwrap_or_default())));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut reading = JoinSet::new();
    reading.spawn(log.clone().read(child.stdout.take().unwrap()));
    reading.spawn(log.clone().read(child.stderr.take().unwrap()));
    let now = || jiff::Timestamp::now().strftime("%FT%TZ").to_string();
    let state = json!({"running": {"startedAt": now()}});
    write(&pods, &pod, "Running", true, state).await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    let (mut told, mut killed) = (false, false);
    let status = loop {
        let deadline = *asked.borrow_and_update();
        let left = deadline.map(|at| at.duration_since(jiff::Timestamp::now()));
        let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
        if left.is_some() && !told {
            told = true;
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        tokio::select! {
            status = child.wait() => break status.unwrap(),
            changed = asked.changed() => changed.unwrap(),
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() && !killed => {
                killed = true;
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    };
    while reading.join_next().await.is_some() {}
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
    let reason = if code == 0 { "Completed" } else { "Error" };
    let end = json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": now()}});
    write(&pods, &pod, if told { "Failed" } else { "Running" }, false, end).await;
    log.told.send_modify(|told| told.1 = true);
    // what ended by itself is held back for longer than any rule lasts
    asked.wait_for(Option::is_some).await.unwrap();
    pods.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
}

async fn write(pods: &Api<Pod>, pod: &Pod, phase: &str, ready: bool, state: Value) {
    let is = if ready { "True" } else { "False" };
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let status = json!({"status": {
        "phase": phase,
        "conditions": [{"type": "Ready", "status": is}, {"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{
            "name": container.name, "ready": ready, "restartCount": 0, "state": state,
            "image": container.image, "imageID": "",
        }],
    }});
    let params = PatchParams::default();
    pods.patch_status(&pod.name_any(), &params, &Patch::Merge(&status)).await.unwrap();
}

/// Gives logs to whoever asks.
async fn answer(listener: TcpListener, tls: TlsAcceptor, runs: Arc<Mutex<HashMap<String, Run>>>) {
    let mut tasks = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, runs) = (tls.clone(), runs.clone());
        tasks.spawn(async move {
            let Ok(mut stream) = tls.accept(stream).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let asked = head.split(' ').nth(1).unwrap();
            let asked = url::Url::parse(&format!("https://kubelet{asked}")).unwrap();
            let pod = asked.path_segments().unwrap().nth(2).unwrap_or_default().to_owned();
            let log = runs.lock().unwrap().get(&pod).map(|run| run.log.clone());
            let Some(log) = log else {
                let none = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
                return drop(stream.write_all(none).await);
            };
            let begin = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
            if stream.write_all(begin).await.is_ok() {
                // a reader that went away ends it
                drop(tell(&mut stream, &log, &asked).await);
                drop(stream.shutdown().await);
            }
        });
    }
}

async fn tell(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    log: &Log,
    asked: &url::Url,
) -> std::io::Result<()> {
    let asked: HashMap<_, _> = asked.query_pairs().into_owned().collect();
    let since: Option<jiff::Timestamp> = asked.get("sinceTime").map(|at| at.parse().unwrap());
    let stamp = |line: &Vec<u8>| {
        let end = line.iter().position(|byte| *byte == b' ').unwrap();
        std::str::from_utf8(&line[..end]).unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    let wanted = |line: &&Vec<u8>| since.is_none_or(|since| stamp(line) >= since);
    let mut told = log.told.subscribe();
    let (mut from, mut over) = *told.borrow_and_update();
    let first: Vec<Vec<u8>> =
        log.lines.lock().unwrap()[..from].iter().filter(wanted).cloned().collect();
    let tail = asked.get("tailLines").map_or(first.len(), |tail| tail.parse().unwrap());
    for line in &first[first.len().saturating_sub(tail)..] {
        stream.write_all(line).await?;
    }
    stream.flush().await?;
    while asked.get("follow").is_some_and(|it| it == "true") && !over {
        told.changed().await.map_err(std::io::Error::other)?;
        let (until, is_over) = *told.borrow_and_update();
        let new: Vec<Vec<u8>> = log.lines.lock().unwrap()[from..until].to_vec();
        for line in &new {
            stream.write_all(line).await?;
        }
        stream.flush().await?;
        (from, over) = (until, is_over);
    }
    Ok(())
}
