//! What stands on the server before anything can be kept there: made once whoever comes first, watched afterwards.

use std::time::{Duration, Instant};

use cvxc::adapters::arango::ArangoStore;
use cvxc::adapters::arango::options::{ArangoOptions, Makes};
use cvxc::model::schema::Collection::{Agents, Alerts, Configs, Events};
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::{Change, Durability, Store, StoreError};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use super::arango_server::Server;
use super::fixture::*;

async fn details(store: &dyn Store, name: &str) -> Vec<String> {
    let details = store.info().await.unwrap().details;
    details.into_iter().filter(|(found, _)| found == name).map(|(_, line)| line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn of_several_that_start_at_once_one_makes_the_schema() {
    let server = Server::start(&["--log-size", "100000"]);
    let all = futures::future::join_all((0..4).map(|_| server.store())).await;
    let log = server.control(Method::GET, "/_sim/log?count=0&body=true", Value::Null).await;
    let mut made = std::collections::BTreeMap::<String, u32>::new();
    for request in log["entries"].as_array().unwrap() {
        let path = request["path"].as_str().unwrap();
        let makes = ["/_api/collection", "/_api/index", "/_api/gharial"];
        if request["method"] == "POST"
            && makes.iter().any(|what| path.split('?').next() == Some(&format!("/_db/fleet{what}")))
        {
            *made.entry(format!("{path} {}", request["body"])).or_default() += 1;
        }
    }
    assert!(made.len() > 20, "{made:#?}");
    let twice: Vec<_> =
        made.iter().filter(|(what, n)| **n > 1 && !what.contains("cvxc_meta")).collect();
    assert!(twice.is_empty(), "{twice:#?}");
    for store in all {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn the_lock_of_a_maker_that_died_is_taken_over() {
    let server = Server::start(&[]);
    server.store().await.close().await;
    server.control(Method::DELETE, "/_db/fleet/_api/collection/alerts", Value::Null).await;
    let dead = json!({"_key": "schema-lock", "token": "of the dead", "life_ms": 2_000});
    server.control(Method::POST, "/_db/fleet/_api/document/cvxc_meta", dead).await;
    let start = Instant::now();
    let store = server.store().await;
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    written(&*store, insert(Alerts, "a", json!({}))).await;
    let path = "/_db/fleet/_api/document/cvxc_meta/schema-lock";
    let left = server.control(Method::GET, path, Value::Null).await;
    assert_eq!(left["errorNum"], 1202, "it is released: {left}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn who_only_passes_by_makes_nothing_anew_and_no_fleet_to_look_at() {
    let server = Server::start(&[]);
    let opened = async |makes| {
        let options = ArangoOptions { makes, ..server.options() };
        ArangoStore::open(options, SystemClock::shared()).await
    };
    let error = opened(Makes::Nothing).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_) | StoreError::Corrupt { .. }), "{error}");
    opened(Makes::NewFleets).await.unwrap().close().await;
    server.control(Method::DELETE, "/_db/fleet/_api/collection/alerts", Value::Null).await;
    for makes in [Makes::Nothing, Makes::NewFleets] {
        opened(makes).await.unwrap().close().await;
        let path = "/_db/fleet/_api/collection/alerts";
        let found = server.control(Method::GET, path, Value::Null).await;
        assert_eq!(found["errorNum"], 1203, "{makes:?} made it: {found}");
    }
    opened(Makes::WhatIsMissing).await.unwrap().close().await;
    let found = server.control(Method::GET, "/_db/fleet/_api/collection/alerts", Value::Null).await;
    assert_eq!(found["name"], "alerts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn who_comes_for_one_write_knows_of_a_lost_index_before_it() {
    let server = Server::start(&[]);
    server.store().await.close().await;
    server.drop_index("configs", "unique_name").await;
    let options = ArangoOptions { makes: Makes::NewFleets, ..server.options() };
    let store = ArangoStore::open(options, SystemClock::shared()).await.unwrap();
    let refused = write(&*store, insert(Configs, "a", json!({"name": "n"}))).await;
    assert!(matches!(refused, Err(StoreError::Denied { .. })), "{refused:?}");
    written(&*store, insert(Events, "e", json!({"seq": 1}))).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn without_its_unique_index_or_itself_a_collection_takes_nothing_and_says_so() {
    let server = Server::start(&[]);
    let store = server.store().await;
    written(&*store, insert(Configs, "before", json!({"name": "n"}))).await;
    assert_eq!(details(&*store, "broken").await, [""; 0]);
    server.drop_index("configs", "unique_name").await;
    server.control(Method::DELETE, "/_db/fleet/_api/collection/alerts", Value::Null).await;
    let start = Instant::now();
    while details(&*store, "broken").await.len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(15), "nobody noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let lines = details(&*store, "broken").await;
    assert!(lines.iter().any(|line| line.contains("unique index configs(name)")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("collection alerts is missing")), "{lines:?}");
    for collection in [Configs, Alerts] {
        let refused = write(&*store, insert(collection, "x", json!({"name": "n"}))).await;
        assert!(matches!(&refused, Err(StoreError::Denied { .. })), "{refused:?}");
    }
    // others go on, and what is there can be read and removed
    written(&*store, insert(Agents, "a", json!({}))).await;
    assert!(is_there(&*store, Configs, "before").await);
    let kept = server.control(Method::GET, "/_db/fleet/_api/collection/alerts", Value::Null).await;
    assert_eq!(kept["errorNum"], 1203, "it was not made again on the way: {kept}");
    // whoever opens the store makes what is missing, and the first one notices
    let again = server.store().await;
    let start = Instant::now();
    while !details(&*store, "broken").await.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(15), "it is still refused");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    written(&*store, insert(Configs, "after", json!({"name": "m"}))).await;
    again.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_transaction_whose_begin_was_lost_does_not_hold_others_up_for_long() {
    let server = Server::start(&[]);
    let store = server.store().await;
    let begins = json!({"methods": ["POST"], "pathRegex": "/_api/transaction/begin"});
    server.faults(json!({"next": [{"kind": "dropAfter", "count": 1, "match": begins}]})).await;
    let start = Instant::now();
    let check = cvxc::ports::store::Write::Check { collection: Alerts, key: key("a"), rev: None };
    // groups that no single statement can do
    let all = vec![
        check.clone(),
        insert(Alerts, "a", json!({})),
        insert(Configs, "c", json!({})),
        insert(Alerts, "b", json!({})),
    ];
    let done = store.transact(all, Durability::Durable).await;
    done.unwrap_or_else(|error| panic!("{error:?} after {:?}", start.elapsed()));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let left = server.control(Method::GET, "/_db/fleet/_api/transaction", Value::Null).await;
    assert_eq!(left["transactions"], json!([]), "nothing holds locks any more");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_fresh_server_on_the_same_port_is_a_gap_and_then_followed() {
    let server = Server::start(&[]);
    let port = server.port().to_string();
    let store = server.store().await;
    let cursor = store.cursor().await.unwrap();
    let mut feed = store.changes(cursor.clone(), watch(&[Agents])).await.unwrap();
    written(&*store, insert(Agents, "old", json!({}))).await;
    assert_eq!(about(&read_until(&mut feed, |read| !read.is_empty()).await[0]).0, "old");
    drop(server);
    let fresh = Server::start(&["--port", &port]);
    let second = fresh.store().await; // makes the database anew
    // a reader opens its feed again where it was, as often as it ends
    let told = async {
        let mut gaps = 0;
        loop {
            match feed.next().await {
                Some(Ok(batch)) => {
                    for change in &batch {
                        match change {
                            // each gap covers what was written before it, so that something new follows each
                            Change::Resync { .. } => {
                                gaps += 1;
                                let key = format!("new-{gaps}");
                                written(&*second, insert(Agents, &key, json!({}))).await;
                            }
                            put => {
                                assert!(gaps > 0, "{put:?}");
                                return about(put).0;
                            }
                        }
                    }
                }
                Some(Err(_)) | None => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if let Ok(again) = store.changes(cursor.clone(), watch(&[Agents])).await {
                        feed = again;
                    }
                }
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), told).await;
    let told = told.expect("the gap is told, and what comes after it");
    assert!(told.starts_with("new-"), "{told}");
    second.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn each_fault_has_its_own_line_on_the_health_page() {
    let server = Server::start(&[]);
    let mut options = server.options();
    options.request_timeout = Duration::from_millis(400);
    options.patience = Duration::from_secs(2);
    let open = || ArangoStore::open(options.clone(), SystemClock::shared());
    let written_to = json!({"methods": ["POST"], "pathRegex": "/_api/cursor"});
    let faults = [
        (json!({"p503": 1, "only": written_to}), "answers of 503"),
        (json!({"pDropBefore": 1, "only": written_to}), "got no answer"),
        (json!({"pDropAfter": 1, "only": written_to}), "got no answer"),
        (json!({"pConflict": 1, "only": written_to}), "met other writers"),
        (json!({"latencyMs": 900, "only": written_to}), "no answer in time"),
        (json!({"readOnly": true}), "read-only mode"),
    ];
    for (fault, line) in faults {
        let store = open().await.unwrap();
        assert_eq!(details(&*store, "fault").await, [""; 0], "{line}");
        server.faults(fault).await;
        for n in 0..4 {
            let one = write(&*store, insert(Configs, &format!("k{n}"), json!({}))).await;
            assert!(one.is_err(), "{line}");
        }
        server.faults(json!({})).await;
        let lines = details(&*store, "fault").await;
        assert!(lines.iter().any(|it| it.contains(line)), "{line}: {lines:?}");
        store.close().await;
    }
}
