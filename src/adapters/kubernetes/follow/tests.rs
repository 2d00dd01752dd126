//! An API server that says what a test wants it to: lists in pages, and watches that are refused or forget their place.

use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::adapters::kubernetes::client::Target;
use crate::adapters::kubernetes::manifest::Defaults;
use crate::adapters::kubernetes::{KubernetesOptions, KubernetesRuntime};
use crate::ports::clock::SystemClock;
use crate::ports::runtime::Runtime;

use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn deployment(agent: &str) -> Value {
    json!({
        "metadata": {"name": format!("agent-{agent}"), "uid": agent, "resourceVersion": "5",
            "labels": {"app": "codevaldcortex-agent", "agent-id": agent},
            "annotations": {"cvxc/incarnation": "1"}},
        "spec": {"replicas": 1},
    })
}

fn list(items: &[Value], version: &str, more: &str) -> String {
    json!({"kind": "List", "apiVersion": "v1", "items": items,
        "metadata": {"resourceVersion": version, "continue": more}})
    .to_string()
}

/// The answer to a request for Deployments; `None` keeps a watch open and silent.
fn answer(path: &str) -> Option<String> {
    let has = |part: &str| path.contains(part);
    if !has("/deployments?") {
        // no pods, no nodes, and nothing happens to them
        return (!has("watch=true")).then(|| list(&[], "1", ""));
    }
    if has("watch=true") {
        let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1",
            "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
            "message": "too old resource version: 10 (15)"}});
        // forgotten the first time, and kept open from the second list on
        return has("resourceVersion=10").then(|| gone.to_string() + "\n");
    }
    Some(String::new())
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let Some(mut body) = answer(&path) else {
            let begin = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(begin).await.unwrap();
            return std::future::pending().await;
        };
        if body.is_empty() {
            let mut asked = asked.lock().unwrap();
            let before = asked.iter().filter(|path| !path.contains("continue=")).count();
            body = match (path.contains("continue=more"), before) {
                (true, _) => list(&[deployment("b")], "10", ""),
                (false, 0) => list(&[deployment("a")], "10", "more"),
                (false, _) => list(&[deployment("a"), deployment("c")], "20", ""),
            };
            asked.push(path);
        }
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_whose_place_is_forgotten_lists_everything_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let mut serving = JoinSet::new();
    let noted = asked.clone();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream, noted.clone()));
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let config = json!({
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
        "current-context": "x",
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let target = Target { kubeconfig: Some(kubeconfig), ..Target::default() };
    let defaults = Defaults { image: String::new() };
    let options = KubernetesOptions { target, defaults, clock: SystemClock::shared() };
    let runtime = KubernetesRuntime::open(options).await.unwrap();
    let again = async {
        loop {
            let mut seen: Vec<String> =
                runtime.list().await.unwrap().iter().map(|it| it.agent.to_string()).collect();
            seen.sort();
            if seen == ["a", "c"] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let came = tokio::time::timeout(LIMIT, again).await;
    let asked = asked.lock().unwrap().clone();
    came.unwrap_or_else(|_| panic!("b stayed or c never came: {asked:#?}"));
    assert_eq!(asked.len(), 3, "two pages, and one list after the watch forgot: {asked:#?}");
    assert!(asked.iter().all(|path| path.contains("limit=500")));
}
