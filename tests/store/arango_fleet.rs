//! Engines on ArangoDB, with another program at work on the same documents.

use std::sync::Arc;
use std::time::Duration;

use cvxc::adapters::simulated::{SimOptions, SimulatedRuntime};
use cvxc::engine::context::{Context, EngineSettings};
use cvxc::engine::journal::{Cause, Change};
use cvxc::engine::run;
use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::{Agents, Events};
use cvxc::ports::clock::SystemClock;
use cvxc::ports::ids::RandomIds;
use cvxc::ports::store::{Query, Store};
use serde_json::{Value, json};

use super::arango_server::Server;
use super::fixture::*;

async fn told(store: &dyn Store) -> Vec<Value> {
    let external = Filter::eq("type", "external.changed");
    let page = store.query(Query::new(Events, external)).await.unwrap();
    page.documents.into_iter().map(|document| Value::Object(document.body)).collect()
}

async fn one_event_for_a_strangers_change(role: &str) {
    let server = Server::start(&["--role", role]);
    let store = server.store().await;
    let clock = SystemClock::shared();
    let sim = SimOptions { agents: 0, updates_per_second: 0, seed: 1, clock: clock.clone() };
    let runtime = Arc::new(SimulatedRuntime::new(sim));
    let settings =
        EngineSettings { lease_ttl: Duration::from_secs(2), ..EngineSettings::default() };
    let ctx = Context::new(store.clone(), runtime, clock, RandomIds::shared(), settings);
    let body = json!({
        "name": "a", "type": "worker", "tenant": "default", "desired": "stopped", "phase": "stopped",
        "incarnation": 1, "generation": 1, "share": 0.1, "whole": 2.0, "zero": -0.0,
    });
    let Value::Object(body) = body else { unreachable!() };
    let change = Change {
        collection: Agents,
        key: key("a"),
        before: None,
        after: Some(body),
        kind: "agent.registered",
        subject: "a".into(),
        evidence: Value::Null,
    };
    ctx.journal.commit(&Cause::new("me", "because"), &[change], &[]).await.unwrap();
    let running = run::start(ctx.clone());
    let mut views = ctx.views.subscribe();
    let led = views.wait_for(|view| view.loaded && view.system.leader.me);
    drop(tokio::time::timeout(Duration::from_secs(30), led).await.expect("it leads").unwrap());
    // an idle turn or two of every loop
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(told(&*store).await, [Value::Null; 0], "our own writes are nobody else's");
    let mut events = ctx.events.subscribe();
    let labels = json!({"labels": {"team": "red"}});
    let path = "/_db/fleet/_api/document/agents/a";
    server.control(reqwest::Method::PATCH, path, labels).await;
    let told_of = async { while events.recv().await.unwrap().kind != "external.changed" {} };
    tokio::time::timeout(Duration::from_secs(20), told_of).await.expect("it is journalled");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let found = told(&*store).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["actor"], "external");
    assert_eq!(found[0]["evidence"]["fields"], json!(["labels"]));
    let patch = json!([{"op": "add", "path": "/labels", "value": {"team": "red"}}]);
    assert_eq!(found[0]["patch"], patch);
    assert!(running.stop(Duration::from_secs(5)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_strangers_change_is_one_event_on_a_single_server() {
    one_event_for_a_strangers_change("SINGLE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_strangers_change_is_one_event_on_a_coordinator() {
    one_event_for_a_strangers_change("COORDINATOR").await;
}
