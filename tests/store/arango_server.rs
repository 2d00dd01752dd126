//! A server of a test's own, started from the folder that `CVXC_TEST_ARANGO_RUN` names.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cvxc::adapters::arango::ArangoStore;
use cvxc::adapters::arango::options::{ArangoOptions, Secret};
use cvxc::ports::clock::SystemClock;
use serde_json::Value;
use url::Url;

/// A server; killed when dropped.
pub struct Server {
    child: Child,
    pub url: Url,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub fn folder() -> PathBuf {
    let folder = std::env::var("CVXC_TEST_ARANGO_RUN");
    folder.expect("CVXC_TEST_ARANGO_RUN names the folder of the server").into()
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        let mut command = Command::new(folder().join("run"));
        let port = if args.contains(&"--port") { &[][..] } else { &["--port", "0"][..] };
        command.args(port).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().expect("the server says where it listens").unwrap();
        let at = line.find("http").unwrap();
        let url = line[at..].split_whitespace().next().unwrap().parse().unwrap();
        Self { child, url }
    }

    pub fn port(&self) -> u16 {
        self.url.port().unwrap()
    }

    pub fn options(&self) -> ArangoOptions {
        let password = Secret::new("");
        let mut options =
            ArangoOptions::new(vec![self.url.clone()], "fleet", "root", password).unwrap();
        options.connect_timeout = Duration::from_secs(2);
        options.patience = Duration::from_secs(20);
        options
    }

    pub async fn store(&self) -> Arc<ArangoStore> {
        ArangoStore::open(self.options(), SystemClock::shared()).await.unwrap()
    }

    pub async fn control(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.request(method, self.url.join(path).unwrap());
        let request = request.basic_auth("root", Some("")).body(body.to_string());
        let answer = request.send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default()
    }

    pub async fn drop_index(&self, collection: &str, name: &str) {
        let listed = format!("/_db/fleet/_api/index?collection={collection}");
        let listed = self.control(reqwest::Method::GET, &listed, Value::Null).await;
        let mut indexes = listed["indexes"].as_array().unwrap().iter();
        let found = indexes.find(|one| one["name"] == name).unwrap();
        let path = format!("/_db/fleet/_api/index/{}", found["id"].as_str().unwrap());
        self.control(reqwest::Method::DELETE, &path, Value::Null).await;
    }

    pub async fn faults(&self, faults: Value) {
        self.control(reqwest::Method::PUT, "/_sim/faults", faults).await;
    }
}
