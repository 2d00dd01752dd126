//! Messages and publications on the embedded store, with real clocks, many tasks, and more than one process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise and may print"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::agent::{Client, Identity, Serving};
use cvxc::engine::messaging::{Messaging, MessagingError, Receiver, read};
use cvxc::engine::pubsub::PubSub;
use cvxc::model::filter::Filter;
use cvxc::model::id::{AgentId, MessageId};
use cvxc::model::message::{Message, MessageStatus, NewMessage};
use cvxc::model::pubsub::{NewPublication, NewSubscription};
use cvxc::model::schema::Collection;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::ids::RandomIds;
use cvxc::ports::store::{Durability, Key, Query, Store, Write};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

struct Post {
    store: Arc<SqliteStore>,
    messaging: Messaging,
    dir: tempfile::TempDir,
}

fn open(path: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(SqliteOptions::new(path), SystemClock::shared()).unwrap()
}

fn messaging(store: &Arc<SqliteStore>) -> Messaging {
    Messaging::new(store.clone(), SystemClock::shared(), RandomIds::shared())
}

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn task(to: &str) -> NewMessage {
    NewMessage::new(id("a"), id(to), "task_request")
}

fn receiver() -> Receiver {
    Receiver::new(id("b"), &RandomIds)
}

async fn agent(store: &dyn Store, key: &str, phase: &str) {
    let body = json!({
        "name": key, "live_name": key, "type": "worker", "tenant": "default",
        "phase": phase, "desired": "running", "config": {"grace": "5s"},
    });
    let write = Write::Put {
        collection: Collection::Agents,
        key: Key::new(key).unwrap(),
        body: body.as_object().unwrap().clone(),
    };
    store.transact(vec![write], Durability::Durable).await.unwrap();
}

impl Post {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("fleet.db"));
        for key in ["a", "b"] {
            agent(&*store, key, "running").await;
        }
        Self { messaging: messaging(&store), store, dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("fleet.db")
    }

    async fn look(&self, id: &MessageId) -> Message {
        let key = Key::new(id.as_str()).unwrap();
        read(&self.store.get(Collection::AgentMessages, &key).await.unwrap()).unwrap()
    }

    /// Waits until the message is in `status`.
    async fn until(&self, id: &MessageId, status: MessageStatus) -> Message {
        let there = async {
            loop {
                let message = self.look(id).await;
                if message.status == status {
                    return message;
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        match timeout(LIMIT, there).await {
            Ok(message) => message,
            Err(_) => panic!("never {status}: {:#?}", self.look(id).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_claimers_at_once_share_a_queue_without_taking_anything_twice() {
    let post = Post::new().await;
    let news: Vec<NewMessage> = (0..400).map(|_| task("b")).collect();
    let sent = post.messaging.send_many(&news).await.unwrap();
    let mut claimers = JoinSet::new();
    for _ in 0..8 {
        let (messaging, receiver) = (post.messaging.clone(), receiver());
        claimers.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let claimed = messaging.claim(&receiver, 7, LIMIT).await.unwrap();
                if claimed.is_empty() {
                    return taken;
                }
                for one in claimed {
                    messaging.ack(&receiver, &one).await.unwrap();
                    taken.push(one.key.to_string());
                }
            }
        });
    }
    let mut all: Vec<String> = claimers.join_all().await.concat();
    all.sort();
    let mut wanted: Vec<String> = sent.iter().map(ToString::to_string).collect();
    wanted.sort();
    assert_eq!(all, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_by_priority_then_time() {
    let post = Post::new().await;
    let mut sent = Vec::new();
    for priority in [5, 1, 10, 5, 10] {
        let mut new = task("b");
        new.priority = priority;
        sent.push(post.messaging.send(&new).await.unwrap().to_string());
        let now = post.look(&MessageId::new(sent.last().unwrap()).unwrap()).await.created_at;
        while SystemClock::shared().now() == now {
            tokio::task::yield_now().await; // the next one is of a later millisecond
        }
    }
    let claimed = post.messaging.claim(&receiver(), 10, LIMIT).await.unwrap();
    let place = |key: &Key| sent.iter().position(|id| id == key.as_str()).unwrap();
    let order: Vec<usize> = claimed.iter().map(|one| place(&one.key)).collect();
    assert_eq!(order, [2, 4, 0, 3, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_holder_acknowledges_and_only_a_running_receiver_claims() {
    let post = Post::new().await;
    let sent = post.messaging.send(&task("b")).await.unwrap();
    let (mine, other) = (receiver(), receiver());
    agent(&*post.store, "b", "paused").await;
    assert!(post.messaging.claim(&mine, 1, LIMIT).await.unwrap().is_empty());
    agent(&*post.store, "b", "running").await;
    let claimed = post.messaging.claim(&mine, 1, LIMIT).await.unwrap().remove(0);
    let mut forged = claimed.clone();
    forged.message.lease_owner = Some(other.owner.to_string());
    for (who, what) in [(&other, &claimed), (&other, &forged)] {
        let refused = post.messaging.ack(who, what).await;
        let stands = post.look(&sent).await.status == MessageStatus::Leased;
        assert!(stands && matches!(refused, Err(MessagingError::NotHeld { .. })), "{refused:?}");
    }
    post.messaging.ack(&mine, &claimed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_idempotency_key_from_many_senders_at_once_is_one_message() {
    let post = Post::new().await;
    let mut senders = JoinSet::new();
    for n in 0..12 {
        let messaging = post.messaging.clone();
        senders.spawn(async move {
            let mut new = task("b");
            new.idempotency_key = Some("order-7".into());
            if n % 2 == 0 {
                return messaging.send(&new).await.unwrap();
            }
            let many = [task("b"), new, task("b")];
            messaging.send_many(&many).await.unwrap().remove(1)
        });
    }
    let ids = senders.join_all().await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let all = post.store.count(Collection::AgentMessages, Filter::All).await.unwrap();
    assert_eq!(all, 1 + 6 * 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_was_refused_has_written_nothing() {
    let post = Post::new().await;
    let mut bad = task("nobody");
    bad.priority = 11;
    bad.payload.insert("x".into(), "y".repeat(300_000).into());
    let Err(MessagingError::Invalid { errors }) = post.messaging.send(&bad).await else {
        panic!("it was sent");
    };
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["/to", "/payload", "/priority"]);
    assert_eq!(post.store.count(Collection::AgentMessages, Filter::All).await.unwrap(), 0);
}

/// Holders that dawdle past their leases, fail, or die; a sweeper; senders beside them. Whatever happens, each message
/// comes to one end, and of each at most one holder is told that its acknowledgement counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_settled_twice_in_a_crowd_of_unreliable_receivers() {
    let post = Post::new().await;
    let over = CancellationToken::new();
    let settled: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let lease = Duration::from_millis(100);
    let mut receivers = JoinSet::new();
    for n in 0..6u32 {
        let (messaging, over, settled) = (post.messaging.clone(), over.clone(), settled.clone());
        receivers.spawn(async move {
            let receiver = receiver();
            let mut turn = n;
            while !over.is_cancelled() {
                let claimed = messaging.claim(&receiver, 3, lease).await.unwrap();
                if claimed.is_empty() {
                    sleep(Duration::from_millis(5)).await;
                }
                for one in claimed {
                    turn += 1;
                    match turn % 7 {
                        0 => drop(messaging.nack(&receiver, &one, "no").await),
                        1 => {} // died with it
                        other => {
                            if other == 2 {
                                sleep(lease * 2).await; // too late: swept meanwhile, or just in time
                            }
                            if messaging.ack(&receiver, &one).await.is_ok() {
                                *settled.lock().unwrap().entry(one.key.to_string()).or_default() +=
                                    1;
                            }
                        }
                    }
                }
            }
        });
    }
    let sweeper = {
        let (messaging, over) = (post.messaging.clone(), over.clone());
        async move {
            while !over.is_cancelled() {
                messaging.sweep(SystemClock::shared().now()).await.unwrap();
                sleep(Duration::from_millis(20)).await;
            }
        }
    };
    receivers.spawn(sweeper);
    let mut sent = Vec::new();
    for _ in 0..10 {
        let news: Vec<NewMessage> =
            (0..10).map(|_| NewMessage { max_attempts: 3, ..task("b") }).collect();
        sent.extend(post.messaging.send_many(&news).await.unwrap());
        sent.push(post.messaging.send(&task("b")).await.unwrap());
    }
    let finals = async {
        loop {
            let open = Filter::any_of("status", ["pending", "leased"]);
            if post.store.count(Collection::AgentMessages, open).await.unwrap() == 0 {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT * 2, finals).await.expect("every message comes to an end");
    over.cancel();
    receivers.join_all().await;
    let settled = settled.lock().unwrap().clone();
    assert!(settled.values().all(|count| *count == 1), "{settled:?}");
    let (mut delivered, mut dead) = (0, 0);
    for id in &sent {
        match post.look(id).await.status {
            MessageStatus::Delivered => {
                delivered += 1;
                assert!(settled.contains_key(id.as_str()), "{id} was delivered to nobody");
            }
            MessageStatus::Dead => dead += 1,
            other => panic!("{id} ended {other}"),
        }
    }
    assert_eq!((delivered + dead, delivered), (sent.len(), settled.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_misses_nothing_while_its_subscriber_and_its_store_are_away() {
    let post = Post::new().await;
    let desk = |store: &Arc<SqliteStore>| {
        PubSub::new(store.clone(), SystemClock::shared(), RandomIds::shared())
    };
    let (lease, path) = (Duration::from_millis(200), post.path());
    let first = desk(&post.store);
    let wishes = NewSubscription::new(id("b"), "task.*");
    let subscription = first.subscribe(&wishes).await.unwrap();
    let publish = async |desk: &PubSub, name: &str| {
        desk.publish(&NewPublication::new(id("a"), name)).await.unwrap();
    };
    publish(&first, "task.1").await;
    let batch = first.fetch(&subscription, "one", 0, 10, lease).await.unwrap();
    assert_eq!(batch.publications.len(), 1);
    first.ack(&subscription, "one", batch.upto, 1).await.unwrap();
    publish(&first, "task.2").await;
    let batch = first.fetch(&subscription, "one", 0, 10, lease).await.unwrap();
    assert_eq!(batch.publications.len(), 1); // and dies before it says so
    post.store.close().await;

    let elsewhere = open(&path);
    publish(&desk(&elsewhere), "task.3").await;
    publish(&desk(&elsewhere), "other").await;
    elsewhere.close().await;
    drop(elsewhere);

    let store = open(&path);
    let again = desk(&store);
    assert_eq!(again.subscribe(&wishes).await.unwrap(), subscription);
    let batch = timeout(LIMIT, async {
        loop {
            match again.fetch(&subscription, "two", 0, 10, lease).await {
                Ok(batch) => return batch,
                Err(_) => sleep(lease / 4).await, // the first reader's lease runs out
            }
        }
    });
    let names: Vec<String> =
        batch.await.unwrap().publications.into_iter().map(|(_, one)| one.event_name).collect();
    assert_eq!(names, ["task.2", "task.3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_receiver_of_the_same_process_is_woken_within_milliseconds() {
    let post = Post::new().await;
    let identity = Identity { agent: id("b"), incarnation: 1, store: String::new() };
    let (clock, ids) = (SystemClock::shared(), RandomIds::shared());
    let client = Client::connect(identity, post.store.clone(), clock, ids).await.unwrap();
    let stop = CancellationToken::new();
    let script = async {
        let mut waits = Vec::new();
        for _ in 0..40 {
            let began = Instant::now();
            let sent = post.messaging.send(&task("b")).await.unwrap();
            post.until(&sent, MessageStatus::Delivered).await;
            waits.push(began.elapsed());
        }
        stop.cancel();
        waits.sort();
        waits
    };
    let serve = client.run(Serving::default(), |_| async { Ok(()) }, stop.clone());
    let ((), waits) = timeout(LIMIT, async { tokio::join!(serve, script) }).await.unwrap();
    // generous for loaded machines, and far below the shortest poll of 2.5 s
    assert!(waits[20] < Duration::from_millis(250), "{waits:?}");
}

/// The other process of the two-process tests: this test program, told by its environment to be an agent.
fn agent_process(store: &Path, mode: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["the_agent_of_another_process", "--exact", "--nocapture", "--test-threads=1"])
        .env("CVXC_TEST_AGENT", mode)
        .env("CVXC_AGENT_ID", "b")
        .env("CVXC_STORE", store)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Does nothing in an ordinary run; `agent_process` runs it with an environment.
#[tokio::test]
async fn the_agent_of_another_process() {
    let Ok(mode) = std::env::var("CVXC_TEST_AGENT") else { return };
    let identity = Identity::from_env(|name| std::env::var(name).ok()).unwrap();
    let store = open(Path::new(&identity.store));
    let (clock, ids) = (SystemClock::shared(), RandomIds::shared());
    let client = Client::connect(identity, store, clock, ids).await.unwrap();
    let handle = async |_| {
        if mode == "hold" {
            std::future::pending::<()>().await;
        }
        Ok(())
    };
    let lease = Duration::from_secs(2);
    let serving = Serving { concurrency: 5, lease };
    let never = CancellationToken::new(); // its parent ends it
    client.run(serving, handle, never).await;
}

struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_sent_here_is_delivered_in_another_process() {
    let post = Post::new().await;
    let _agent = Kept(agent_process(&post.path(), "serve"));
    for _ in 0..10 {
        let sent = post.messaging.send(&task("b")).await.unwrap();
        let done = post.until(&sent, MessageStatus::Delivered).await;
        assert_eq!(done.attempts, 1);
    }
    let key = Key::new("b").unwrap();
    let health = post.store.get(Collection::AgentHealth, &key).await.unwrap();
    assert_ne!(health.body["pid"], json!(std::process::id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_held_is_delivered_by_the_next_one() {
    let post = Post::new().await;
    let mut holder = Kept(agent_process(&post.path(), "hold"));
    let news: Vec<NewMessage> = (0..5).map(|_| task("b")).collect();
    let sent = post.messaging.send_many(&news).await.unwrap();
    for id in &sent {
        post.until(id, MessageStatus::Leased).await;
    }
    holder.0.kill().unwrap();
    holder.0.wait().unwrap();
    let _next = Kept(agent_process(&post.path(), "serve"));
    let over = CancellationToken::new();
    let sweeping = async {
        while !over.is_cancelled() {
            post.messaging.sweep(SystemClock::shared().now()).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    };
    let script = async {
        for id in &sent {
            let done = post.until(id, MessageStatus::Delivered).await;
            assert_eq!(done.attempts, 2);
            assert!(done.last_error.unwrap().contains("ran out"));
        }
        over.cancel();
    };
    tokio::join!(sweeping, script);
    let query = Query::new(Collection::AgentMessages, Filter::All);
    assert_eq!(post.store.query(query).await.unwrap().documents.len(), 5);
}
