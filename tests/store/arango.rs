//! A fresh database on the ArangoDB server that `CVXC_TEST_ARANGO_URL` names (`http://127.0.0.1:8529`, user root without
//! a password). With `CVXC_TEST_ARANGO_USER` the store is opened by a user who has rights on that database alone.

use std::sync::Arc;
use std::time::Duration;

use cvxc::adapters::arango::ArangoStore;
use cvxc::adapters::arango::options::{ArangoOptions, Secret};
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::Store;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use super::fixture::{Fixture, Opener};

/// The server of these tests.
pub fn server() -> Url {
    let url = std::env::var("CVXC_TEST_ARANGO_URL");
    let url = url.expect("CVXC_TEST_ARANGO_URL names an ArangoDB server");
    url.parse().expect("CVXC_TEST_ARANGO_URL is a URL")
}

/// Asks the server as root.
pub async fn admin(method: Method, path: &str, body: Value) -> Value {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method, server().join(path).unwrap());
    let answer = request.basic_auth("root", Some("")).body(body.to_string()).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

/// Dropped when the test is over, whatever its end.
struct Database(String);

impl Drop for Database {
    fn drop(&mut self) {
        let path = format!("/_api/database/{}", self.0);
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(admin(Method::DELETE, &path, Value::Null));
        });
        drop(gone.join());
    }
}

/// How a new database of this name is opened.
pub async fn options(name: &str) -> ArangoOptions {
    let user = std::env::var("CVXC_TEST_ARANGO_USER").ok();
    if let Some(user) = &user {
        let body = json!({"name": name, "options": {"sharding": "single"}});
        admin(Method::POST, "/_api/database", body).await;
        let grant = format!("/_api/user/{user}/database/{name}");
        admin(Method::PUT, &grant, json!({"grant": "rw"})).await;
    }
    let (user, password) = match &user {
        Some(user) => (user.as_str(), "one database"),
        None => ("root", ""),
    };
    ArangoOptions::new(vec![server()], name, user, Secret::new(password)).unwrap()
}

pub async fn arango() -> Fixture {
    let name = format!("t{:016x}", rand::random::<u64>());
    let options = options(&name).await;
    let again: Opener = Box::new(move || {
        let options = options.clone();
        Box::pin(async move {
            ArangoStore::open(options, SystemClock::shared()).await.unwrap() as Arc<dyn Store>
        })
    });
    let store = again().await;
    let feed = store.info().await.unwrap().details;
    let tailed = feed.iter().any(|(name, value)| name == "feed" && value == "write-ahead log");
    let others = Duration::from_millis(if tailed { 250 } else { 1_200 });
    Fixture::new(store, again, others, Box::new(Database(name)))
}
