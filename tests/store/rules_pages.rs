//! Pages: in order, without a row twice or left out, also while others write.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::{Agents, Configs};
use cvxc::ports::store::{Bookmark, Direction, Document, Query, Store, StoreError};
use serde_json::{Value, json};

use super::fixture::*;

/// Every page of a query, one after another.
async fn pages(store: &dyn Store, mut query: Query) -> Vec<Document> {
    let mut found = Vec::new();
    loop {
        let page = store.query(query.clone()).await.unwrap();
        assert!(page.documents.len() <= query.limit);
        found.extend(page.documents);
        let Some(next) = page.next else { return found };
        query.after = Some(next);
    }
}

fn names(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| document.key.as_str()).collect()
}

pub async fn without_a_sort_pages_go_by_key(store: &Fixture) {
    let at = ["a", "a-b", "a0", "a_b", "b"];
    write_all(&**store, at.iter().rev().map(|at| insert(Agents, at, json!({}))).collect()).await;
    let query = Query { limit: 2, ..Query::new(Agents, Filter::All) };
    assert_eq!(names(&pages(&**store, query).await), at, "byte by byte");
}

pub async fn the_last_page_says_that_nothing_follows(store: &Fixture) {
    write_all(&**store, (0..4).map(|n| insert(Agents, &format!("k{n}"), json!({}))).collect())
        .await;
    let page = |limit| store.query(Query { limit, ..Query::new(Agents, Filter::All) });
    assert_eq!(page(4).await.unwrap().next, None, "four of four");
    assert_eq!(page(5).await.unwrap().next, None);
    assert!(page(3).await.unwrap().next.is_some());
    let none = store.query(Query::new(Configs, Filter::All)).await.unwrap();
    assert_eq!((none.documents, none.next), (vec![], None));
}

pub async fn a_sort_orders_all_types_and_breaks_ties_by_key(store: &Fixture) {
    let groups = [
        vec![None, Some(Value::Null)],
        vec![Some(json!(false))],
        vec![Some(json!(true))],
        vec![Some(json!(-1.5))],
        vec![Some(json!(0)), Some(json!(0.0))],
        vec![Some(json!(10))],
        vec![Some(json!(""))],
        vec![Some(json!("10"))],
        vec![Some(json!("9")), Some(json!("9"))],
        vec![Some(json!("a"))],
        vec![Some(json!("ä"))],
        vec![Some(json!([1]))],
        vec![Some(json!({"a": 1}))],
    ];
    let mut writes = Vec::new();
    let mut groups_of_keys: Vec<Vec<String>> = Vec::new();
    for (n, group) in groups.iter().enumerate() {
        let mut at: Vec<String> = Vec::new();
        for (m, value) in group.iter().enumerate() {
            // keys run against the order of values, so that they alone would sort otherwise
            let key = format!("k{}-{m}", 90 - n);
            let body = value.as_ref().map_or_else(|| json!({}), |value| json!({"n": value}));
            writes.push(insert(Configs, &key, body));
            at.push(key);
        }
        groups_of_keys.push(at);
    }
    write_all(&**store, writes).await;
    for limit in [1, 2, 3, 100] {
        let query = |direction| Query {
            sort: vec![("n".into(), direction)],
            limit,
            ..Query::new(Configs, Filter::All)
        };
        let up = pages(&**store, query(Direction::Ascending)).await;
        assert_eq!(names(&up), groups_of_keys.concat(), "ascending by {limit}");
        let down = pages(&**store, query(Direction::Descending)).await;
        let expected: Vec<String> = groups_of_keys.iter().rev().flatten().cloned().collect();
        assert_eq!(names(&down), expected, "descending by {limit}: ties stay ascending");
    }
}

pub async fn a_sort_by_several_fields_goes_both_ways(store: &Fixture) {
    let mut expected = Vec::new();
    let mut writes = Vec::new();
    for (a, rank) in [(json!(2), 0), (json!(1), 1), (Value::Null, 2)] {
        for (b, place) in [(Value::Null, 0), (json!("x"), 1), (json!("y"), 2)] {
            for tie in 0..2 {
                let at = format!("k{}", 17 - writes.len());
                expected.push((rank, place, at.clone()));
                writes.push(insert(Configs, &at, json!({"a": a, "b": b, "tie": tie})));
            }
        }
    }
    expected.sort();
    write_all(&**store, writes).await;
    let sort = vec![("a".into(), Direction::Descending), ("b".into(), Direction::Ascending)];
    for limit in [1, 4, 5, 100] {
        let query = Query { sort: sort.clone(), limit, ..Query::new(Configs, Filter::All) };
        let found = pages(&**store, query).await;
        let expected: Vec<_> = expected.iter().map(|(_, _, at)| at.as_str()).collect();
        assert_eq!(names(&found), expected, "by {limit}");
    }
}

pub async fn unchanged_rows_are_met_once_while_others_change(store: &Fixture) {
    let still: Vec<String> = (0..200).map(|n| format!("still-{n:03}")).collect();
    let mut writes = Vec::new();
    for (n, at) in still.iter().enumerate() {
        writes.push(insert(
            Agents,
            at,
            json!({"created_at": format!("2026-{:03}", n * 7 % 200), "still": true}),
        ));
    }
    for n in 0..50 {
        writes.push(insert(
            Agents,
            &format!("moving-{n}"),
            json!({"created_at": format!("2026-{n:03}")}),
        ));
    }
    write_all(&**store, writes).await;
    let mut moves = 0;
    for sort in [up(&["created_at"]), down("created_at"), Vec::new()] {
        let mut query = Query { sort, limit: 7, ..Query::new(Agents, Filter::All) };
        let mut met = Vec::new();
        loop {
            let page = store.query(query.clone()).await.unwrap();
            let names = page.documents.iter().map(|document| document.key.to_string());
            met.extend(names.filter(|at| at.starts_with("still")));
            let Some(next) = page.next else { break };
            query.after = Some(next);
            // between two pages rows move before and behind the bookmark, and new ones come
            let changes = (0..6).map(|_| {
                moves += 1;
                let value = json!({"created_at": format!("2026-{:03}", moves * 31 % 300)});
                match moves % 2 {
                    0 => put(Agents, &format!("moving-{}", moves % 50), value),
                    _ => insert(Agents, &format!("new-{moves}"), value),
                }
            });
            write_all(&**store, changes.collect()).await;
            assert!(moves < 6_000, "paging never comes to an end");
        }
        let once: HashSet<&String> = met.iter().collect();
        assert_eq!(once.len(), met.len(), "a row was met twice");
        assert_eq!(once.len(), still.len(), "a row was left out");
    }
}

pub async fn limits_and_bookmarks_are_checked(store: &Fixture) {
    for limit in [0, 10_001] {
        let refused = store.query(Query { limit, ..Query::new(Agents, Filter::All) }).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{limit}: {refused:?}");
    }
    let foreign = Query {
        sort: up(&["phase"]),
        after: Some(Bookmark { values: vec![], key: key("a") }),
        ..Query::new(Agents, Filter::All)
    };
    let refused = store.query(foreign).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}

pub async fn a_page_reads_one_state_of_the_store(store: &Fixture) {
    // two documents that always change together are never seen apart
    let pair = |n: u64| {
        vec![put(Configs, "left", json!({"n": n})), put(Configs, "right", json!({"n": n}))]
    };
    write_all(&**store, pair(0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (writer, stopped) = (store.shared(), stop.clone());
    let writing = async move {
        let mut n = 0;
        while !stopped.load(Ordering::Relaxed) {
            n += 1;
            write_all(&*writer, pair(n)).await;
        }
    };
    let reading = async {
        for _ in 0..100 {
            let page = store.query(Query::new(Configs, Filter::All)).await.unwrap();
            assert_eq!(page.documents[0].body["n"], page.documents[1].body["n"]);
        }
        stop.store(true, Ordering::Relaxed);
    };
    futures::join!(writing, reading);
}
