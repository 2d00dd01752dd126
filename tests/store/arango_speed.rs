//! What sending costs on ArangoDB beside raw inserts of the same documents by the same means: same server, indexes, batch
//! size, concurrency and `waitForSync`. A ratio, since the server's own speed is not ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cvxc::adapters::arango::ArangoStore;
use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::AgentMessages;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::{Durability, Store, UpdateWhere};
use reqwest::Method;
use serde_json::{Value, json};

use super::arango::{admin, options};
use super::fixture::*;

const BATCH: usize = 100;
const SENDERS: usize = 4;
const ROUNDS: usize = 10;

fn message(n: usize) -> Value {
    json!({
        "from_agent_id": "a", "to_agent_id": "b", "status": "pending", "rank": 5, "attempts": 0,
        "message_type": "task", "payload": {"n": n, "text": "x".repeat(100)}, "max_attempts": 5,
        "created_at": "2026-01-01T00:00:00.000Z", "expires_at": "2026-01-01T01:00:00.000Z",
    })
}

async fn sends(store: &Arc<ArangoStore>, round: usize) -> Duration {
    let start = Instant::now();
    let all = (0..SENDERS).map(|sender| async move {
        let at = |n| format!("m{round}-{sender}-{n}");
        let batch = (0..BATCH).map(|n| insert(AgentMessages, &at(n), message(n))).collect();
        store.transact(batch, Durability::Durable).await.unwrap();
    });
    futures::future::join_all(all).await;
    start.elapsed()
}

async fn raw(client: &reqwest::Client, url: &str, round: usize) -> Duration {
    let start = Instant::now();
    let all = (0..SENDERS).map(|sender| async move {
        let one = |n: usize| {
            let mut one = message(n);
            one["_key"] = format!("r{round}-{sender}-{n}").into();
            one["seq"] = ((round * SENDERS + sender) * BATCH + n).into();
            one
        };
        let body: Value = (0..BATCH).map(one).collect();
        let sent = client.post(url).basic_auth("root", Some("")).body(body.to_string()).send();
        let answer = sent.await.unwrap();
        assert!(answer.status().is_success());
        drop(answer.bytes().await.unwrap());
    });
    futures::future::join_all(all).await;
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an ArangoDB server, named by CVXC_TEST_ARANGO_URL"]
async fn sending_in_batches_costs_little_beside_raw_inserts() {
    let name = format!("t{:016x}", rand::random::<u64>());
    let options = options(&name).await;
    let url =
        options.endpoints[0].join(&format!("/_db/{name}/_api/document/agent_messages")).unwrap();
    let url = format!("{url}?waitForSync=true");
    let store = ArangoStore::open(options, SystemClock::shared()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    sends(&store, ROUNDS).await;
    raw(&client, &url, ROUNDS).await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // by turns, so that both meet the same neighbours
        ours.push(sends(&store, round).await);
        theirs.push(raw(&client, &url, round).await);
    }
    ours.sort();
    theirs.sort();
    let ratio = theirs[ROUNDS / 2].as_secs_f64() / ours[ROUNDS / 2].as_secs_f64();
    let rate = (SENDERS * BATCH) as f64 / ours[ROUNDS / 2].as_secs_f64();
    let mut waits = Vec::new();
    for n in 0..50 {
        let to = format!("c{n}");
        let one = json!({"to_agent_id": to, "status": "pending"});
        written(&*store, insert(AgentMessages, &format!("one{n}"), one)).await;
        let start = Instant::now();
        let set = vec![("status".into(), json!("leased"))];
        let claim = UpdateWhere { set, ..update(AgentMessages, Filter::eq("to_agent_id", to)) };
        assert_eq!(store.update_where(claim).await.unwrap().len(), 1);
        waits.push(start.elapsed());
    }
    waits.sort();
    println!(
        "{rate:.0} sends/s, {ratio:.2} of raw inserts; acknowledgement to claim p50 {:?}",
        waits[25]
    );
    assert!(ratio > 0.3, "sending takes {:.1} times as long as raw inserts", 1.0 / ratio);
    store.close().await;
    admin(Method::DELETE, &format!("/_api/database/{name}"), Value::Null).await;
}
