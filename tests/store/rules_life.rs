//! The store as a whole: what lasts, what is cleared away, what it says of itself, and its end.

use std::time::Duration;

use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::{AgentMessages, AgentPublications, Agents};
use cvxc::ports::clock::{Clock, SystemClock};
use cvxc::ports::store::{Advice, Durability, Query, StoreError};
use serde_json::json;

use super::fixture::*;

pub async fn what_was_acknowledged_is_there_after_opening_again(store: &Fixture) {
    let rev = written(&**store, insert(Agents, "durable", json!({"n": 1}))).await;
    write_all(&**store, vec![insert(Agents, "relaxed", json!({"n": 2}))]).await;
    store.close().await;
    let again = store.again().await;
    let durable = get(&*again, Agents, "durable").await;
    assert_eq!((durable.rev, &durable.body["n"]), (rev.clone(), &json!(1)));
    assert_eq!(get(&*again, Agents, "relaxed").await.body["n"], 2);
    // and revisions go on
    let next = written(&*again, replace(Agents, "durable", &rev, json!({"n": 3}))).await;
    assert_ne!(next, rev);
    again.close().await;
}

pub async fn what_has_expired_is_cleared_away_and_nothing_else(store: &Fixture) {
    let now = SystemClock.now();
    let (past, future) = (now.minus(Duration::from_secs(1)), now.plus(Duration::from_secs(60)));
    write_all(
        &**store,
        vec![
            insert(AgentMessages, "gone", json!({"purge_at": past})),
            insert(AgentMessages, "later", json!({"purge_at": future})),
            insert(AgentMessages, "never", json!({"purge_at": null, "expires_at": past})),
            insert(AgentMessages, "odd", json!({"purge_at": 5})),
            insert(AgentPublications, "gone-too", json!({"expires_at": past})),
            insert(AgentPublications, "stays", json!({})),
        ],
    )
    .await;
    store.maintain(now).await.unwrap();
    assert_eq!(matching(&**store, AgentMessages, Filter::All).await, ["later", "never", "odd"]);
    assert_eq!(matching(&**store, AgentPublications, Filter::All).await, ["stays"]);
}

pub async fn clearing_away_much_is_finished_in_a_few_calls(store: &Fixture) {
    let past = SystemClock.now().minus(Duration::from_secs(1));
    for batch in 0..3 {
        let write = |n| insert(AgentMessages, &format!("m{batch}-{n}"), json!({"purge_at": past}));
        write_all(&**store, (0..1_000).map(write).collect()).await;
    }
    for _ in 0..10 {
        store.maintain(SystemClock.now()).await.unwrap();
        if store.count(AgentMessages, Filter::All).await.unwrap() == 0 {
            return;
        }
    }
    panic!("ten calls did not clear 3,000 documents away");
}

pub async fn the_store_says_what_it_is(store: &Fixture) {
    let info = store.info().await.unwrap();
    assert!(["sqlite", "arangodb"].contains(&info.kind), "{info:?}");
    assert!(!info.version.is_empty() && !info.place.is_empty(), "{info:?}");
    assert!(info.latency < Duration::from_secs(5), "{info:?}");
}

pub async fn a_closed_store_answers_that_it_is_not_available(store: &Fixture) {
    written(&**store, insert(Agents, "a", json!({}))).await;
    store.close().await;
    store.close().await; // twice is no error
    let write = write(&**store, put(Agents, "a", json!({}))).await.unwrap_err();
    let read = store.get(Agents, &key("a")).await.unwrap_err();
    let query = store.query(Query::new(Agents, Filter::All)).await.unwrap_err();
    let feed = store.cursor().await.unwrap_err();
    for error in [write, read, query, feed] {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert_eq!(error.advice(), Advice::RetryLater);
    }
}

pub async fn what_is_under_way_is_finished_before_closing(store: &Fixture) {
    let sends = (0..100).map(|n| {
        let store = store.shared();
        async move {
            let one = insert(Agents, &format!("a{n}"), json!({}));
            (n, store.transact(vec![one], Durability::Durable).await)
        }
    });
    let sending = futures::future::join_all(sends);
    let (ends, ()) = futures::join!(sending, store.close());
    let again = store.again().await;
    for (n, end) in ends {
        match end {
            Ok(_) => assert!(is_there(&*again, Agents, &format!("a{n}")).await, "a{n}"),
            Err(StoreError::Unavailable(_)) => {
                assert!(!is_there(&*again, Agents, &format!("a{n}")).await, "a{n}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    again.close().await;
}

pub async fn a_dropped_call_leaves_the_store_well(store: &Fixture) {
    for n in 0..50 {
        let one = insert(Agents, &format!("a{n}"), json!({}));
        let call = store.transact(vec![one], Durability::Durable);
        drop(tokio::time::timeout(Duration::from_micros(n * 20), call).await);
        drop(
            tokio::time::timeout(Duration::from_micros(n * 5), store.get(Agents, &key("a0"))).await,
        );
    }
    written(&**store, insert(Agents, "end", json!({}))).await;
    assert!(is_there(&**store, Agents, "end").await);
}
