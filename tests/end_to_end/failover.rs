//! A leader that is killed outright: its agents go on, the console leads, nothing runs twice, no acknowledged message is lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cvxc::adapters::arango::ArangoStore;
use cvxc::adapters::arango::options::{ArangoOptions, Secret};
use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::engine::messaging::Messaging;
use cvxc::model::id::AgentId;
use cvxc::model::message::{DEFAULT_ATTEMPTS, DEFAULT_TTL, NewMessage};
use cvxc::model::schema::Collection;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::ids::RandomIds;
use cvxc::ports::store::{Key, Store};
use serde_json::{Value, json};

use super::support::{
    Fleet, SMALL, agents, apply, daemon, eventually, json, running, shared_store,
};
use super::terminal::Console;

/// The fleet's store, opened once more.
fn store(runtime: &tokio::runtime::Runtime, dir: &Path) -> Arc<dyn Store> {
    let clock = SystemClock::shared();
    let Some(url) = shared_store(dir) else {
        return SqliteStore::open(SqliteOptions::new(dir.join("fleet.db")), clock).unwrap();
    };
    let place = url.strip_prefix("arangodb://root@").unwrap();
    let (server, database) = place.split_once('/').unwrap();
    let endpoint = format!("http://{server}").parse().unwrap();
    let options = ArangoOptions::new(vec![endpoint], database, "root", Secret::new("")).unwrap();
    runtime.block_on(ArangoStore::open(options, clock)).unwrap()
}

/// Sends without pause from another process than engine and agents, and remembers each id that was acknowledged.
fn sender(fleet: &Fleet, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<String>> {
    let dir = fleet.dir.clone();
    let all = json(&fleet.dir, &["get", "agents", "-o", "json"]);
    let ids: Vec<AgentId> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| AgentId::new(agent["_key"].as_str().unwrap()).unwrap())
        .collect();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = store(&runtime, &dir);
        let messaging = Messaging::new(store, SystemClock::shared(), RandomIds::shared());
        let mut sent = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let message = NewMessage {
                from: ids[sent.len() % ids.len()].clone(),
                to: ids[(sent.len() + 1) % ids.len()].clone(),
                message_type: "task_request".into(),
                payload: json!({"n": sent.len()}).as_object().unwrap().clone(),
                priority: 5,
                ttl: DEFAULT_TTL,
                correlation_id: None,
                reply_to: None,
                idempotency_key: None,
                max_attempts: DEFAULT_ATTEMPTS,
            };
            if let Ok(id) = runtime.block_on(messaging.send(&message)) {
                sent.push(id.to_string());
            }
        }
        sent
    })
}

fn leader(fleet: &Fleet) -> Value {
    json(&fleet.dir, &["status", "-o", "json"])["leader"].clone()
}

fn nothing_twice(fleet: &Fleet) -> BTreeSet<String> {
    let found = agents(&fleet.dir);
    assert!(!found.is_empty(), "no agent is found");
    for (agent, pids) in &found {
        assert_eq!(pids.len(), 1, "{agent} runs {} times: {pids:?}", pids.len());
    }
    found.into_keys().collect()
}

fn rounds(fleet: &Fleet, count: usize, ttl: &str) {
    let first = daemon(&fleet.dir, ttl);
    apply(&fleet.dir, SMALL);
    running(&fleet.dir, 6, Duration::from_secs(40));
    let stop = Arc::new(AtomicBool::new(false));
    let sending = sender(fleet, stop.clone());
    let console =
        Console::open(&fleet.dir, &["--theme", "mono"], &[("CVXC_LEADER_TTL", ttl)], (50, 200));
    console.wait_for("agents", Duration::from_secs(10));
    let mut daemon_now = Some(first);
    for round in 0..count {
        let mut running_daemon = daemon_now.take().unwrap_or_else(|| daemon(&fleet.dir, ttl));
        let daemon_pid = running_daemon.pid();
        eventually(Duration::from_secs(40), "the daemon leads", || {
            let leader = leader(fleet);
            if leader["pid"] == daemon_pid {
                Ok(())
            } else {
                Err(format!("round {round}: {leader}"))
            }
        });
        let before = agents(&fleet.dir);
        running_daemon.kill9();
        let began = Instant::now();
        let after = agents(&fleet.dir);
        assert_eq!(after, before, "round {round}: agents ended with their leader");
        eventually(Duration::from_secs(20), "the console leads", || {
            let leader = leader(fleet);
            if leader["pid"] == console.pid() {
                Ok(())
            } else {
                Err(format!("round {round}: {leader}"))
            }
        });
        let took = began.elapsed();
        println!("round {round}: the console leads after {took:?}");
        nothing_twice(fleet);
    }
    stop.store(true, Ordering::SeqCst);
    let sent = sending.join().unwrap();
    assert!(!sent.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = store(&runtime, &fleet.dir);
    let mut lost = Vec::new();
    for chunk in sent.chunks(500) {
        let keys: Vec<Key> = chunk.iter().map(|id| Key::new(id).unwrap()).collect();
        let found = runtime.block_on(store.get_many(Collection::AgentMessages, &keys)).unwrap();
        let found: BTreeSet<String> =
            found.iter().map(|document| document.key.to_string()).collect();
        lost.extend(chunk.iter().filter(|id| !found.contains(*id)).cloned());
    }
    println!("{} messages acknowledged, {} lost", sent.len(), lost.len());
    assert!(lost.is_empty(), "{} of {} acknowledged messages are gone", lost.len(), sent.len());
    running(&fleet.dir, 6, Duration::from_secs(30));
    assert_eq!(nothing_twice(fleet).len(), 6);
}

/// `CVXC_TEST_ROUNDS` asks for more.
fn asked_rounds(else_: usize) -> usize {
    std::env::var("CVXC_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(else_)
}

#[test]
fn a_killed_leader_is_replaced_and_nothing_is_lost_or_doubled() {
    rounds(&Fleet::new(), asked_rounds(10), "2s");
}

#[test]
fn a_killed_leader_is_replaced_at_the_default_lease() {
    rounds(&Fleet::new(), 1, "15s");
}

#[test]
#[ignore = "needs an ArangoDB server, named by CVXC_TEST_ARANGO_URL"]
fn on_arangodb_a_killed_leader_is_replaced_and_nothing_is_lost_or_doubled() {
    let url = std::env::var("CVXC_TEST_ARANGO_URL").unwrap();
    let server = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    rounds(&Fleet::in_arango(server), asked_rounds(20), "2s");
}
