//! Messages on their way to ArangoDB: what is sent at once goes together, and each of it stands or falls by itself.
//! Receivers in the sender's process hear of it at once.

use std::collections::BTreeSet;
use std::time::Duration;

use cvxc::adapters::arango::ArangoStore;
use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::{AgentMessages, AgentPublications};
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::{Change, Durability, Query, Store, StoreError, Watch, Write};
use futures::StreamExt;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::arango_server::Server;
use super::fixture::*;

fn message(at: &str) -> Write {
    insert(AgentMessages, at, json!({"to_agent_id": "b", "status": "pending", "n": at.len()}))
}

/// The numbers of all messages, and their keys.
async fn numbers(store: &dyn Store) -> (Vec<u64>, BTreeSet<String>) {
    let all = Query { limit: 10_000, ..Query::new(AgentMessages, Filter::All) };
    let documents = store.query(all).await.unwrap().documents;
    let mut seqs: Vec<u64> = documents.iter().map(|d| d.body["seq"].as_u64().unwrap()).collect();
    seqs.sort_unstable();
    (seqs, documents.into_iter().map(|document| document.key.to_string()).collect())
}

/// How many statements have written messages.
async fn statements(server: &Server) -> usize {
    let path = "/_sim/log?count=0&body=true&path=_api/cursor";
    let log = server.control(Method::GET, path, Value::Null).await;
    let asked = log["entries"].as_array().unwrap().iter();
    asked.filter(|entry| entry["body"].as_str().is_some_and(|body| body.contains("INSERT"))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn messages_sent_at_once_go_together_and_are_numbered_without_a_gap() {
    let server = Server::start(&[]);
    let store = server.store().await;
    let statement = json!({"pathRegex": "/_api/cursor"});
    server.faults(json!({"latencyMs": 100, "only": statement})).await;
    let sends = (0..30).map(|n| {
        let store = store.clone();
        async move {
            let pair = vec![message(&format!("a{n}")), message(&format!("b{n}"))];
            let revs = store.transact(pair, Durability::Durable).await.unwrap();
            (n, revs)
        }
    });
    let sent = join_all(sends).await;
    server.faults(json!({})).await;
    let asked = statements(&server).await;
    assert!(asked < 30, "30 sends took {asked} statements");
    for (n, revs) in sent {
        for (at, rev) in [format!("a{n}"), format!("b{n}")].iter().zip(revs) {
            assert_eq!(Some(get(&*store, AgentMessages, at).await.rev), rev, "{at}");
        }
    }
    assert_eq!(numbers(&*store).await.0, (1..=60).collect::<Vec<_>>());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn one_that_cannot_be_sent_does_not_keep_the_others_back() {
    let server = Server::start(&[]);
    let store = server.store().await;
    written(&*store, message("taken")).await;
    server.faults(json!({"latencyMs": 200, "only": {"pathRegex": "/_api/cursor"}})).await;
    let sends = (0..12).map(|n| {
        let store = store.clone();
        async move {
            let at = format!("m{n}");
            let more = if n % 4 == 3 { "taken".to_owned() } else { format!("{at}-more") };
            let both = vec![message(&at), message(&more)];
            (n, store.transact(both, Durability::Durable).await)
        }
    });
    for (n, end) in join_all(sends).await {
        match end {
            Ok(_) => assert_ne!(n % 4, 3),
            Err(StoreError::Exists { key, .. }) => assert_eq!((n % 4, key.as_str()), (3, "taken")),
            Err(other) => panic!("{other:?}"),
        }
    }
    server.faults(json!({})).await;
    let (seqs, keys) = numbers(&*store).await;
    assert_eq!(seqs, (1..=19).collect::<Vec<_>>(), "what was refused took no numbers");
    for n in 0..12 {
        assert_eq!(keys.contains(&format!("m{n}")), n % 4 != 3, "m{n}: all or nothing");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_message_whose_answer_was_lost_is_there_once_and_acknowledged() {
    let server = Server::start(&[]);
    let store = server.store().await;
    let statement = json!({"pathRegex": "/_api/cursor", "bodyRegex": "INSERT"});
    for kind in ["dropAfter", "dropBefore", "conflict", "503"] {
        let next = json!([{"kind": kind, "count": 1, "match": statement}]);
        server.faults(json!({"next": next, "latencyMs": 100})).await;
        let sends = (0..6).map(|n| {
            let (store, at) = (store.clone(), format!("{}-{n}", kind.to_lowercase()));
            async move { written(&*store, message(&at)).await }
        });
        join_all(sends).await;
    }
    server.faults(json!({})).await;
    assert_eq!(numbers(&*store).await.0, (1..=24).collect::<Vec<_>>());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn messages_of_several_processes_are_numbered_in_the_order_in_which_they_were_sent() {
    let server = Server::start(&[]);
    let (one, other) = (server.store().await, server.store().await);
    let mut sent = Vec::new();
    for n in 0..6 {
        for (store, name) in [(&one, "one"), (&other, "other")] {
            let at = format!("{name}-{n}");
            let pair = vec![message(&at), message(&format!("{at}-b"))];
            store.transact(pair, Durability::Durable).await.unwrap();
            sent.extend([at.clone(), format!("{at}-b")]);
            // another kind of write gives numbers in its own way
            let at = format!("{name}-{n}-put");
            written(&**store, put(AgentMessages, &at, json!({"to_agent_id": "b"}))).await;
            sent.push(at);
        }
    }
    let by_number =
        Query { sort: up(&["seq"]), limit: 100, ..Query::new(AgentMessages, Filter::All) };
    assert_eq!(keys(&*one, by_number).await, sent);
    assert_eq!(numbers(&*one).await.0, (1..=sent.len() as u64).collect::<Vec<_>>());
    let many = (0..10).map(|n| {
        let store = if n % 2 == 0 { &one } else { &other };
        let event = insert(AgentPublications, &format!("p{n}"), json!({"event_name": "e"}));
        async move { written(&**store, event).await }
    });
    join_all(many).await;
    let seqs = Query { limit: 100, ..Query::new(AgentPublications, Filter::All) };
    let seqs = one.query(seqs).await.unwrap().documents;
    let seqs: BTreeSet<u64> = seqs.iter().map(|d| d.body["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=10).collect());
    one.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_receiver_beside_the_sender_hears_of_a_message_before_the_servers_log_tells_of_it() {
    let server = Server::start(&[]);
    let store = server.store().await;
    let other = server.store().await;
    let topic = Watch { topic: Some("b".to_owned()), ..watch(&[AgentMessages]) };
    let cursor = store.cursor().await.unwrap();
    let mut feed = store.changes(cursor, topic).await.unwrap();
    written(&*store, message("first")).await;
    let read = read_until(&mut feed, |read| !read.is_empty()).await;
    assert_eq!(about(&read[0]).0, "first");
    // the log is out of reach, and the message comes all the same
    let log = json!({"pathRegex": "/_api/wal/"});
    server.faults(json!({"p503": 1.0, "only": log})).await;
    let ours = written(&*store, message("early")).await;
    let read = read_until(&mut feed, |read| !read.is_empty()).await;
    assert!(matches!(&read[..], [Change::Put { rev, .. }] if *rev == ours), "{read:?}");
    // what others do meanwhile comes with the log, once, and is the last word
    let body = json!({"to_agent_id": "b", "status": "done"});
    let theirs = written(&*other, put(AgentMessages, "early", body)).await;
    written(&*store, message("last")).await;
    server.faults(json!({})).await;
    let read = read_until(&mut feed, |read| {
        let met =
            |rev: &_| read.iter().any(|c| matches!(c, Change::Put { rev: r, .. } if r == rev));
        met(&theirs) && read.iter().any(|change| about(change).0 == "last")
    })
    .await;
    let of = |at: &str| read.iter().filter(|change| about(change).0 == at).count();
    assert_eq!((of("early"), of("last")), (1, 1), "{read:?}");
    // and a feed that is opened where this one stands misses nothing
    let cursor = cursor_of(read.last().unwrap());
    let mut again = store.changes(cursor, watch(&[AgentMessages])).await.unwrap();
    written(&*other, message("more")).await;
    let read = read_until(&mut again, |read| read.iter().any(|c| about(c).0 == "more")).await;
    assert!(read.iter().all(|change| about(change).0 != "first"), "{read:?}");
    drop((feed, again));
    store.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn receivers_hear_each_message_once_and_in_order_however_busy_the_log_is() {
    let server = Server::start(&[]);
    let store = server.store().await;
    let other = ArangoStore::open(server.options(), SystemClock::shared()).await.unwrap();
    let topic = Watch { topic: Some("b".to_owned()), ..watch(&[AgentMessages]) };
    let mut feed = store.changes(store.cursor().await.unwrap(), topic).await.unwrap();
    let sending = async {
        for n in 0..150 {
            written(&*store, message(&format!("own-{n:03}"))).await;
            if n % 3 == 0 {
                written(&*other, message(&format!("other-{n:03}"))).await;
            }
            tokio::time::sleep(Duration::from_millis(n % 4)).await;
        }
    };
    let hearing = async {
        let mut heard: Vec<String> = Vec::new();
        while heard.len() < 200 {
            let batch = feed.next().await.unwrap().unwrap();
            heard.extend(batch.iter().map(|change| about(change).0));
        }
        heard
    };
    let hearing = tokio::time::timeout(Duration::from_secs(60), hearing);
    let ((), heard) = futures::join!(sending, hearing);
    let heard = heard.expect("all of it comes");
    assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), 200, "each once");
    let own = |name: &&String| name.starts_with("own");
    assert!(heard.iter().filter(own).is_sorted(), "{heard:?}");
    drop(feed);
    store.close().await;
    other.close().await;
}
