//! Several writes: all or none, in order, and one winner among writers that saw the same.

use std::collections::HashSet;

use cvxc::model::schema::Collection::{Agents, Alerts, Configs, Events};
use cvxc::ports::store::{Durability, Rev, StoreError, Write};
use serde_json::json;

use super::fixture::*;

/// Two good writes around one that fails: nothing may be left of either, nor anything come into the feed.
async fn nothing_is_left_of(store: &Fixture, bad: Write) -> StoreError {
    let standing = written(&**store, insert(Agents, "standing", json!({"n": 1}))).await;
    let cursor = store.cursor().await.unwrap();
    let writes = vec![
        insert(Agents, "first", json!({})),
        put(Agents, "standing", json!({"n": 2})),
        bad,
        insert(Events, "last", json!({})),
    ];
    let refused = store.transact(writes, Durability::Durable).await.unwrap_err();
    assert!(!is_there(&**store, Agents, "first").await);
    assert!(!is_there(&**store, Events, "last").await);
    let read = get(&**store, Agents, "standing").await;
    assert_eq!((read.rev, &read.body["n"]), (standing, &json!(1)));
    let mut feed = store.changes(cursor, watch(&[Agents, Alerts, Configs, Events])).await.unwrap();
    written(&**store, insert(Configs, "mark", json!({}))).await;
    let read = read_until(&mut feed, |read| !read.is_empty()).await;
    assert_eq!(about(&read[0]).0, "mark", "what was undone is not in the feed");
    refused
}

macro_rules! undone {
    ($rule:ident, $before:expr, $bad:expr, $error:pat) => {
        pub async fn $rule(store: &Fixture) {
            let before: Option<Write> = $before;
            let mut rev = Rev("17".into());
            if let Some(before) = before {
                rev = written(&**store, before).await;
                // what was seen is stale by now
                written(&**store, put(Configs, "c", json!({"n": 9}))).await;
            }
            let refused = nothing_is_left_of(store, ($bad)(&rev)).await;
            assert!(matches!(refused, $error), "{refused:?}");
        }
    };
}

undone!(
    a_failed_insert_undoes_all,
    Some(insert(Configs, "c", json!({}))),
    |_: &Rev| insert(Configs, "c", json!({})),
    StoreError::Exists { collection: Configs, .. }
);
undone!(
    a_failed_replace_undoes_all,
    Some(insert(Configs, "c", json!({}))),
    |rev: &Rev| replace(Configs, "c", rev, json!({})),
    StoreError::Conflict { collection: Configs, .. }
);
undone!(
    a_replace_of_nothing_undoes_all,
    None,
    |rev: &Rev| replace(Configs, "c", rev, json!({})),
    StoreError::NotFound { collection: Configs, .. }
);
undone!(
    a_failed_merge_undoes_all,
    None,
    |_: &Rev| merge(Configs, "c", false, json!({})),
    StoreError::NotFound { collection: Configs, .. }
);
undone!(
    a_failed_removal_undoes_all,
    Some(insert(Configs, "c", json!({}))),
    |rev: &Rev| remove(Configs, "c", Some(rev)),
    StoreError::Conflict { collection: Configs, .. }
);
undone!(
    a_failed_check_undoes_all,
    Some(insert(Configs, "c", json!({}))),
    |rev: &Rev| check(Configs, "c", Some(rev)),
    StoreError::Conflict { collection: Configs, .. }
);
undone!(
    a_check_that_something_is_missing_undoes_all,
    Some(insert(Configs, "c", json!({}))),
    |_: &Rev| check(Configs, "c", None),
    StoreError::Conflict { collection: Configs, .. }
);
undone!(
    a_taken_unique_index_undoes_all,
    Some(insert(Alerts, "taken", json!({"fingerprint": "f"}))),
    |_: &Rev| insert(Alerts, "standing", json!({"fingerprint": "f"})),
    StoreError::Exists { collection: Alerts, .. }
);

pub async fn a_check_that_holds_lets_the_rest_through(store: &Fixture) {
    let rev = written(&**store, insert(Agents, "a", json!({}))).await;
    let writes = vec![
        check(Agents, "a", Some(&rev)),
        check(Agents, "b", None),
        insert(Agents, "b", json!({})),
        remove(Agents, "a", Some(&rev)),
    ];
    let revs = store.transact(writes, Durability::Durable).await.unwrap();
    let has: Vec<bool> = revs.iter().map(Option::is_some).collect();
    assert_eq!(has, [false, false, true, false], "removals and checks leave no revision");
    assert_eq!(get(&**store, Agents, "b").await.rev, revs[2].clone().unwrap());
}

pub async fn writes_of_one_transaction_see_each_other(store: &Fixture) {
    let writes = vec![
        insert(Agents, "a", json!({"n": 1})),
        merge(Agents, "a", false, json!({"m": 2})),
        insert(Agents, "b", json!({})),
        remove(Agents, "b", None),
        insert(Agents, "b", json!({"second": true})),
    ];
    let revs = store.transact(writes, Durability::Durable).await.unwrap();
    let a = get(&**store, Agents, "a").await;
    assert_eq!((&a.body["n"], &a.body["m"]), (&json!(1), &json!(2)));
    assert_eq!(Some(a.rev), revs[1]);
    assert_eq!(get(&**store, Agents, "b").await.body["second"], true);
}

pub async fn a_transaction_of_nothing_does_nothing(store: &Fixture) {
    assert_eq!(store.transact(Vec::new(), Durability::Durable).await.unwrap(), vec![]);
}

pub async fn the_first_write_that_fails_is_named(store: &Fixture) {
    let writes = vec![
        merge(Agents, "fine", true, json!({})),
        merge(Agents, "first-bad", false, json!({})),
        merge(Agents, "second-bad", false, json!({})),
    ];
    let refused = store.transact(writes, Durability::Durable).await.unwrap_err();
    assert!(matches!(&refused, StoreError::NotFound { key, .. } if key.as_str() == "first-bad"));
}

pub async fn a_transaction_without_end_is_refused(store: &Fixture) {
    let writes = (0..10_001).map(|n| insert(Agents, &format!("k{n}"), json!({}))).collect();
    let refused = store.transact(writes, Durability::Relaxed).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid { .. }), "{refused}");
    assert!(!is_there(&**store, Agents, "k0").await);
}

pub async fn of_many_writers_with_one_revision_one_wins(store: &Fixture) {
    let seen = written(&**store, insert(Agents, "a", json!({"by": "nobody"}))).await;
    let tries = (0..16).map(|n| {
        let (store, seen) = (store.shared(), seen.clone());
        async move { (n, write(&*store, replace(Agents, "a", &seen, json!({"by": n}))).await) }
    });
    let ends = futures::future::join_all(tries).await;
    let won: Vec<_> = ends.iter().filter(|(_, end)| end.is_ok()).collect();
    assert_eq!(won.len(), 1, "{ends:?}");
    assert_eq!(get(&**store, Agents, "a").await.body["by"], won[0].0);
    let lost = ends.iter().filter(|(_, end)| matches!(end, Err(StoreError::Conflict { .. })));
    assert_eq!(lost.count(), 15);
}

pub async fn of_many_inserts_of_one_key_one_wins_across_openers(store: &Fixture) {
    let other = store.again().await;
    let tries = (0..16).map(|n| {
        let store = if n % 2 == 0 { store.shared() } else { other.clone() };
        async move { write(&*store, insert(Agents, "a", json!({"by": n}))).await.is_ok() }
    });
    let won = futures::future::join_all(tries).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    other.close().await;
}

pub async fn merges_of_many_writers_all_arrive(store: &Fixture) {
    written(&**store, insert(Agents, "a", json!({}))).await;
    let tries = (0..32).map(|n| {
        let store = store.shared();
        async move { write(&*store, merge(Agents, "a", false, json!({format!("f{n}"): n}))).await }
    });
    let revs: HashSet<_> = futures::future::join_all(tries)
        .await
        .into_iter()
        .map(|end| end.unwrap().unwrap())
        .collect();
    assert_eq!(revs.len(), 32);
    assert_eq!(get(&**store, Agents, "a").await.body.len(), 32);
}

pub async fn a_failed_neighbour_does_not_touch_other_transactions(store: &Fixture) {
    // many at once land in one commit where a store batches; each still stands or falls alone
    let tries = (0..60).map(|n| {
        let store = store.shared();
        async move {
            let good = insert(Agents, &format!("a{n}"), json!({}));
            let bad = (n % 3 == 0).then(|| merge(Agents, "nobody", false, json!({})));
            let writes = std::iter::once(good).chain(bad).collect();
            (n, store.transact(writes, Durability::Durable).await.is_ok())
        }
    });
    for (n, done) in futures::future::join_all(tries).await {
        assert_eq!(done, n % 3 != 0);
        assert_eq!(is_there(&**store, Agents, &format!("a{n}")).await, done, "a{n}");
    }
}

pub async fn own_writes_are_read_at_once(store: &Fixture) {
    for n in 0..50 {
        let at = format!("a{n}");
        let durability = if n % 2 == 0 { Durability::Durable } else { Durability::Relaxed };
        let one = insert(Agents, &at, json!({"n": n}));
        store.transact(vec![one], durability).await.unwrap();
        assert_eq!(get(&**store, Agents, &at).await.body["n"], n);
    }
}

pub async fn what_one_opener_wrote_another_reads(store: &Fixture) {
    let other = store.again().await;
    for n in 0..20 {
        let at = format!("a{n}");
        let (writer, reader) = if n % 2 == 0 { (&**store, &*other) } else { (&*other, &**store) };
        let rev = written(writer, insert(Agents, &at, json!({"n": n}))).await;
        let read = get(reader, Agents, &at).await;
        assert_eq!((read.rev, &read.body["n"]), (rev, &json!(n)));
    }
    other.close().await;
}
