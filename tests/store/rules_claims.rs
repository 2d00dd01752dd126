//! `update_where`: one atomic statement, so that no two claimers ever hold the same document.

use std::collections::HashSet;

use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::{AgentMessages, Agents, Configs};
use cvxc::ports::store::{Document, Guard, StoreError, UpdateWhere, Write};
use serde_json::{Value, json};

use super::fixture::*;

fn message(at: &str, rank: i64, created: &str) -> Write {
    let value = json!({"to_agent_id": "b", "status": "pending", "rank": rank, "created_at": created, "x": {"kept": true}});
    insert(AgentMessages, at, value)
}

fn claim(owner: &str, limit: usize) -> UpdateWhere {
    UpdateWhere {
        sort: up(&["rank", "created_at"]),
        limit,
        set: vec![("status".into(), json!("leased")), ("lease_owner".into(), json!(owner))],
        add: vec![("attempts".into(), 1)],
        ..update(AgentMessages, Filter::eq("to_agent_id", "b").and(Filter::eq("status", "pending")))
    }
}

fn names(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| document.key.as_str()).collect()
}

pub async fn eight_claimers_share_the_messages_without_overlap(store: &Fixture) {
    let sent: HashSet<String> = (0..400).map(|n| format!("m{n:03}")).collect();
    write_all(&**store, sent.iter().map(|at| message(at, 5, "2026")).collect()).await;
    let other = store.again().await;
    let claimers = (0..8).map(|n| {
        let store = if n % 2 == 0 { store.shared() } else { other.clone() };
        async move {
            let mut mine = Vec::new();
            loop {
                let batch = store.update_where(claim(&format!("c{n}"), 7)).await.unwrap();
                if batch.is_empty() {
                    return (n, mine);
                }
                mine.extend(batch.iter().map(|document| document.key.to_string()));
            }
        }
    });
    let mut held = HashSet::new();
    for (n, mine) in futures::future::join_all(claimers).await {
        for at in mine {
            let read = get(&**store, AgentMessages, &at).await;
            assert_eq!(read.body["lease_owner"], format!("c{n}"));
            assert_eq!(read.body["attempts"], 1, "{at} was claimed twice");
            assert!(held.insert(at), "two claimers got the same message");
        }
    }
    assert_eq!(held, sent);
    other.close().await;
}

pub async fn a_claim_takes_the_first_in_order_up_to_its_limit(store: &Fixture) {
    let writes = vec![
        message("late", 1, "2026-02"),
        message("low", 9, "2026-01"),
        message("early", 1, "2026-01"),
        message("early-too", 1, "2026-01"),
    ];
    write_all(&**store, writes).await;
    let first = store.update_where(claim("c", 3)).await.unwrap();
    assert_eq!(names(&first), ["early", "early-too", "late"]);
    assert_eq!(names(&store.update_where(claim("c", 3)).await.unwrap()), ["low"]);
    assert_eq!(store.update_where(claim("c", 3)).await.unwrap(), vec![]);
}

pub async fn an_update_returns_documents_as_they_are_now(store: &Fixture) {
    write_all(&**store, vec![message("m", 5, "2026")]).await;
    let claimed = store.update_where(claim("c", 10)).await.unwrap().remove(0);
    assert_eq!(claimed, get(&**store, AgentMessages, "m").await);
    assert_eq!(claimed.body["status"], "leased");
    assert_eq!(claimed.body["x"], json!({"kept": true}), "unknown fields stay");
    // and at a revision that the next write may name
    let body = Value::Object(claimed.body);
    written(&**store, replace(AgentMessages, "m", &claimed.rev, body)).await;
}

pub async fn a_guard_that_does_not_hold_stops_the_update(store: &Fixture) {
    write_all(&**store, vec![message("m", 5, "2026")]).await;
    let guarded = || UpdateWhere {
        guard: Some(Guard {
            collection: Agents,
            key: key("b"),
            filter: Filter::eq("phase", "running"),
        }),
        ..claim("c", 10)
    };
    assert_eq!(store.update_where(guarded()).await.unwrap(), vec![], "there is no such agent");
    written(&**store, put(Agents, "b", json!({"phase": "paused"}))).await;
    assert_eq!(store.update_where(guarded()).await.unwrap(), vec![], "it is paused");
    assert_eq!(get(&**store, AgentMessages, "m").await.body["status"], "pending");
    written(&**store, put(Agents, "b", json!({"phase": "running"}))).await;
    assert_eq!(names(&store.update_where(guarded()).await.unwrap()), ["m"]);
}

pub async fn set_reaches_inside_and_null_removes(store: &Fixture) {
    let before = json!({"a": {"b": 1, "c": 2}, "text": "t", "gone": {"x": 1, "y": 2}});
    written(&**store, insert(Configs, "k", before)).await;
    let set = vec![
        ("a.b".into(), json!([1])),
        ("new.deep.er".into(), json!("made")),
        ("gone.x".into(), Value::Null),
        ("never.there".into(), Value::Null),
        ("text.under".into(), json!(1)),
    ];
    store.update_where(UpdateWhere { set, ..update(Configs, Filter::All) }).await.unwrap();
    assert_eq!(
        Value::Object(get(&**store, Configs, "k").await.body),
        json!({"a": {"b": [1], "c": 2}, "text": {"under": 1}, "gone": {"y": 2}, "new": {"deep": {"er": "made"}}})
    );
}

pub async fn add_counts_missing_as_zero_and_refuses_what_is_no_number(store: &Fixture) {
    written(&**store, insert(Configs, "k", json!({"n": 5, "half": 0.5}))).await;
    let add = vec![("n".into(), -7), ("new.count".into(), 3), ("half".into(), 1)];
    store.update_where(UpdateWhere { add, ..update(Configs, Filter::All) }).await.unwrap();
    let read = get(&**store, Configs, "k").await;
    assert_eq!(Value::Object(read.body), json!({"n": -2, "half": 1.5, "new": {"count": 3}}));
    written(&**store, insert(Configs, "l", json!({"n": "five"}))).await;
    let add = vec![("n".into(), 1)];
    let refused = store.update_where(UpdateWhere { add, ..update(Configs, Filter::All) }).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    assert_eq!(get(&**store, Configs, "k").await.body["n"], -2, "all or nothing");
}

pub async fn the_stores_own_fields_cannot_be_set(store: &Fixture) {
    for field in ["_key", "_rev"] {
        let set = vec![(field.into(), json!("forged"))];
        let refused = store.update_where(UpdateWhere { set, ..update(Agents, Filter::All) }).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{field}: {refused:?}");
    }
}

pub async fn an_update_minds_its_limits(store: &Fixture) {
    for limit in [0, 10_001] {
        let refused = store.update_where(UpdateWhere { limit, ..claim("c", 1) }).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{limit}: {refused:?}");
    }
}

pub async fn an_update_comes_through_the_feed(store: &Fixture) {
    write_all(&**store, vec![message("m", 5, "2026"), message("n", 6, "2026")]).await;
    let cursor = store.cursor().await.unwrap();
    store.update_where(claim("c", 1)).await.unwrap();
    let mut feed = store.changes(cursor, watch(&[AgentMessages])).await.unwrap();
    let read = read_until(&mut feed, |read| !read.is_empty()).await;
    assert_eq!(read.iter().map(about).collect::<Vec<_>>(), [("m".to_owned(), false)]);
}

pub async fn counters_of_many_updaters_add_up(store: &Fixture) {
    written(&**store, insert(Configs, "k", json!({}))).await;
    let tries = (0..40).map(|_| {
        let store = store.shared();
        let add = vec![("n".into(), 1)];
        async move { store.update_where(UpdateWhere { add, ..update(Configs, Filter::All) }).await }
    });
    for end in futures::future::join_all(tries).await {
        assert_eq!(end.unwrap().len(), 1);
    }
    assert_eq!(get(&**store, Configs, "k").await.body["n"], 40);
}
