//! `seq`: stamped by the store in the order in which new documents become visible.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::{AgentMessages, AgentPublications, Agents};
use cvxc::ports::store::{Query, Store, StoreError, UpdateWhere};
use serde_json::json;

use super::fixture::*;

async fn seq(store: &dyn Store, at: &str) -> u64 {
    get(store, AgentMessages, at).await.body["seq"].as_u64().expect("a whole number")
}

pub async fn new_documents_are_stamped_in_order(store: &Fixture) {
    let mut last = 0;
    for n in 0..5 {
        let at = format!("m{n}");
        let one = json!({"status": "pending"});
        match n % 3 {
            0 => written(&**store, insert(AgentMessages, &at, one)).await,
            1 => written(&**store, put(AgentMessages, &at, one)).await,
            _ => written(&**store, merge(AgentMessages, &at, true, one)).await,
        };
        let seq = seq(&**store, &at).await;
        assert!(seq > last, "{seq} after {last}");
        last = seq;
    }
    written(&**store, insert(Agents, "a", json!({}))).await;
    assert_eq!(
        get(&**store, Agents, "a").await.body.get("seq"),
        None,
        "agents are not in sequence"
    );
}

pub async fn a_document_keeps_its_stamp_for_life(store: &Fixture) {
    let rev = written(&**store, insert(AgentMessages, "m", json!({"status": "pending"}))).await;
    let first = seq(&**store, "m").await;
    written(&**store, replace(AgentMessages, "m", &rev, json!({"status": "leased"}))).await;
    assert_eq!(seq(&**store, "m").await, first);
    written(&**store, put(AgentMessages, "m", json!({}))).await;
    assert_eq!(seq(&**store, "m").await, first);
    written(&**store, merge(AgentMessages, "m", false, json!({"n": 1}))).await;
    assert_eq!(seq(&**store, "m").await, first);
    let set = vec![("n".into(), json!(2))];
    let all = UpdateWhere { set, ..update(AgentMessages, Filter::All) };
    let now = store.update_where(all).await.unwrap().remove(0);
    assert_eq!(now.body["seq"], first);
    assert_eq!(seq(&**store, "m").await, first);
}

pub async fn nobody_forges_a_stamp(store: &Fixture) {
    written(&**store, insert(AgentMessages, "m", json!({"seq": 999_999_999}))).await;
    let first = seq(&**store, "m").await;
    assert_ne!(first, 999_999_999);
    written(&**store, put(AgentMessages, "m", json!({"seq": 1_000_000_000}))).await;
    written(&**store, merge(AgentMessages, "m", false, json!({"seq": null}))).await;
    assert_eq!(seq(&**store, "m").await, first);
    let set = vec![("seq".into(), json!(5))];
    let refused =
        store.update_where(UpdateWhere { set, ..update(AgentMessages, Filter::All) }).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    let add = vec![("seq".into(), 5)];
    let refused =
        store.update_where(UpdateWhere { add, ..update(AgentMessages, Filter::All) }).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}

pub async fn a_reader_that_saw_a_stamp_never_meets_a_lower_new_one(store: &Fixture) {
    let other = store.again().await;
    let done = Arc::new(AtomicBool::new(false));
    let writers = (0..6).map(|w| {
        let store = if w % 2 == 0 { store.shared() } else { other.clone() };
        async move {
            for n in 0..40 {
                let at = format!("p{w}-{n}");
                written(&*store, insert(AgentPublications, &at, json!({"event_name": "e"}))).await;
            }
        }
    });
    let writing = async {
        futures::future::join_all(writers).await;
        done.store(true, Ordering::SeqCst);
    };
    let reading = async {
        let (mut last, mut met) = (0, 0);
        loop {
            let finished = done.load(Ordering::SeqCst);
            let after = Filter::Gt("seq".into(), json!(last));
            let query = Query { sort: up(&["seq"]), ..Query::new(AgentPublications, after) };
            let page = store.query(query).await.unwrap();
            met += page.documents.len();
            if let Some(document) = page.documents.last() {
                last = document.body["seq"].as_u64().unwrap();
            }
            if finished {
                return met;
            }
        }
    };
    let ((), met) = futures::join!(writing, reading);
    assert_eq!(met, 240, "whoever reads on from the last stamp meets every document");
    other.close().await;
}
