//! What sending costs on ArangoDB beside raw inserts of the same documents by the same means: same server, indexes, batch
//! size, concurrency and `waitForSync`; and how soon a receiver has claimed what was acknowledged. Ratios and round trips,
//! since the server's own speed is not ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cvxc::adapters::arango::ArangoStore;
use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::AgentMessages;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::{Durability, Store, UpdateWhere, Watch};
use futures::StreamExt;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::arango::{admin, options};
use super::fixture::*;

const BATCH: usize = 100;
const ROUNDS: usize = 16;
/// How many batches each sender sends in a round, one after the other.
const EACH: usize = 4;

fn message(n: usize) -> Value {
    json!({
        "from_agent_id": "a", "to_agent_id": "b", "status": "pending", "rank": 5, "attempts": 0,
        "message_type": "task", "payload": {"n": n, "text": "x".repeat(100)}, "max_attempts": 5,
        "created_at": "2026-01-01T00:00:00.000Z", "expires_at": "2026-01-01T01:00:00.000Z",
    })
}

async fn sends(store: &Arc<ArangoStore>, senders: usize, round: usize) -> Duration {
    let name = |n, sender, turn| format!("m{round}-{senders}-{sender}-{turn}-{n}");
    let batch = |sender, turn| {
        (0..BATCH).map(|n| insert(AgentMessages, &name(n, sender, turn), message(n))).collect()
    };
    let all: Vec<Vec<Vec<_>>> =
        (0..senders).map(|sender| (0..EACH).map(|turn| batch(sender, turn)).collect()).collect();
    let start = Instant::now();
    let all = all.into_iter().map(|batches| async move {
        for batch in batches {
            store.transact(batch, Durability::Durable).await.unwrap();
        }
    });
    join_all(all).await;
    start.elapsed()
}

async fn raw(client: &reqwest::Client, url: &str, senders: usize, round: usize) -> Duration {
    let batch = |sender: usize, turn: usize| -> Value {
        let place = ((round * 10 + senders) * 10 + sender) * EACH + turn;
        let one = |n: usize| {
            let mut one = message(n);
            one["_key"] = format!("r{round}-{senders}-{sender}-{turn}-{n}").into();
            one["seq"] = (place * BATCH + n).into();
            one
        };
        (0..BATCH).map(one).collect()
    };
    let all: Vec<Vec<Value>> =
        (0..senders).map(|sender| (0..EACH).map(|turn| batch(sender, turn)).collect()).collect();
    let start = Instant::now();
    let all = all.into_iter().map(|batches| async move {
        for batch in batches {
            let request = client.post(url).basic_auth("root", Some(""));
            let answer = request.body(batch.to_string()).send().await.unwrap();
            assert!(answer.status().is_success());
            let said: Vec<Value> = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            assert!(said.len() == BATCH && said.iter().all(|one| one["_rev"].is_string()));
        }
    });
    join_all(all).await;
    start.elapsed()
}

/// The middle one, and the lowest and highest quarter.
fn spread<T: Copy>(mut of: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> (T, T, T) {
    of.sort_by(order);
    (of[of.len() / 2], of[of.len() / 4], of[of.len() * 3 / 4])
}

/// From the acknowledgement of a send to the end of the claim of one who waits for it at `receiver`.
async fn deliveries(
    sender: &Arc<ArangoStore>,
    receiver: &Arc<ArangoStore>,
    to: &str,
) -> Vec<Duration> {
    let watch = Watch { topic: Some(to.to_owned()), ..watch(&[AgentMessages]) };
    let cursor = receiver.cursor().await.unwrap();
    let mut feed = receiver.changes(cursor, watch).await.unwrap();
    let (claimed, mut claims) = mpsc::channel(1);
    let (store, name) = (receiver.clone(), to.to_owned());
    let receiving = async move {
        loop {
            feed.next().await.unwrap().unwrap();
            let set = vec![("status".into(), json!("leased"))];
            let mine =
                Filter::eq("to_agent_id", name.as_str()).and(Filter::eq("status", "pending"));
            let claim =
                UpdateWhere { set, durability: Durability::Relaxed, ..update(AgentMessages, mine) };
            if !store.update_where(claim).await.unwrap().is_empty() {
                claimed.send(Instant::now()).await.unwrap();
            }
        }
    };
    let sending = async {
        let mut waits = Vec::new();
        for n in 0..60 {
            let one = json!({"to_agent_id": to, "status": "pending"});
            written(&**sender, insert(AgentMessages, &format!("{to}-{n}"), one)).await;
            let acknowledged = Instant::now();
            waits.push(claims.recv().await.unwrap().saturating_duration_since(acknowledged));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        waits
    };
    tokio::select! {
        () = receiving => unreachable!("it receives for ever"),
        waits = sending => waits,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an ArangoDB server, named by CVXC_TEST_ARANGO_URL"]
async fn sending_in_batches_costs_little_beside_raw_inserts() {
    let name = format!("t{:016x}", rand::random::<u64>());
    let options = options(&name).await;
    let url =
        options.endpoints[0].join(&format!("/_db/{name}/_api/document/agent_messages")).unwrap();
    let url = format!("{url}?waitForSync=true");
    let store = ArangoStore::open(options.clone(), SystemClock::shared()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    sends(&store, 4, ROUNDS).await;
    raw(&client, &url, 4, ROUNDS).await;
    for senders in [4, 1] {
        let (mut ratios, mut rates) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // by turns, so that both meet the same neighbours
            let (ours, theirs) = if round % 2 == 0 {
                let ours = sends(&store, senders, round).await;
                (ours, raw(&client, &url, senders, round).await)
            } else {
                let theirs = raw(&client, &url, senders, round).await;
                (sends(&store, senders, round).await, theirs)
            };
            ratios.push(theirs.as_secs_f64() / ours.as_secs_f64());
            rates.push((senders * EACH * BATCH) as f64 / ours.as_secs_f64());
        }
        let (ratio, low, high) = spread(ratios, f64::total_cmp);
        let (rate, ..) = spread(rates, f64::total_cmp);
        println!(
            "{senders} senders: {rate:.0} sends/s, {ratio:.2} of raw inserts ({low:.2} to {high:.2})"
        );
        assert!(ratio > 0.3, "sending takes {:.1} times as long as raw inserts", 1.0 / ratio);
    }
    let other = ArangoStore::open(options, SystemClock::shared()).await.unwrap();
    let mut trips = Vec::new();
    for _ in 0..60 {
        trips.push(store.info().await.unwrap().latency);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (trip, ..) = spread(trips, Duration::cmp);
    for (place, receiver) in [("here", &store), ("elsewhere", &other)] {
        let waits = deliveries(&store, receiver, place).await;
        let (wait, low, high) = spread(waits, Duration::cmp);
        println!(
            "acknowledgement to claim {place}: {wait:?} ({low:?} to {high:?}), a round trip is {trip:?}"
        );
    }
    store.close().await;
    other.close().await;
    admin(Method::DELETE, &format!("/_api/database/{name}"), Value::Null).await;
}
