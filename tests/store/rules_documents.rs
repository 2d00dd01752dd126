//! One document at a time: what is written reads back, and revisions tell writers apart.

use cvxc::model::schema::Collection::{Agents, Alerts, Configs};
use cvxc::ports::store::{Advice, Key, StoreError};
use serde_json::{Value, json};

use super::fixture::*;

pub async fn a_document_reads_back_as_it_was_written(store: &Fixture) {
    let mut deep = json!("bottom");
    for _ in 0..45 {
        deep = json!({ "d": [deep] });
    }
    let odd = json!({
        "zulu": 1, "alpha": 2, "": "empty name", "a.b": "dotted name", "quo\"te": 'x',
        "texts": ["", "\u{0}", "\u{7f}", "ä\u{301}", "👩‍🚀", "\u{202e}abc", "line\nline\r\n", "'; DROP TABLE agents; --", "$.a", "\\u0041"],
        "numbers": [0, -0.0, 1, -1, i64::MIN, i64::MAX, u64::MAX, 0.1, 1e-300, 1.5e300, 123456789.123456],
        "rest": [true, false, null, [], {}, [[[]]]],
        "deep": deep,
        "huge": "x".repeat(1_000_000),
    });
    let rev = written(&**store, insert(Configs, "odd", odd.clone())).await;
    let read = get(&**store, Configs, "odd").await;
    assert_eq!(read.rev, rev);
    assert_eq!(read.key, key("odd"));
    assert_eq!(Value::Object(read.body.clone()), odd);
    let names: Vec<_> = read.body.keys().map(String::as_str).collect();
    let order: Vec<_> = odd.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, order, "fields keep their order");
}

pub async fn an_empty_document_is_one(store: &Fixture) {
    written(&**store, insert(Configs, "empty", json!({}))).await;
    assert_eq!(get(&**store, Configs, "empty").await.body.len(), 0);
}

pub async fn what_is_not_there_is_not_found(store: &Fixture) {
    let missing = store.get(Agents, &key("nobody")).await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound { collection: Agents, .. }), "{missing}");
    assert_eq!(missing.advice(), Advice::Reload);
}

pub async fn one_key_in_two_collections_is_two_documents(store: &Fixture) {
    written(&**store, insert(Agents, "same", json!({"of": "agents"}))).await;
    written(&**store, insert(Alerts, "same", json!({"of": "alerts"}))).await;
    assert_eq!(get(&**store, Agents, "same").await.body["of"], "agents");
    assert_eq!(get(&**store, Alerts, "same").await.body["of"], "alerts");
}

pub async fn unknown_fields_survive_a_merge(store: &Fixture) {
    let strange = json!({"phase": "running", "x-strange": {"kept": [1, null]}});
    written(&**store, insert(Agents, "a", strange)).await;
    written(&**store, merge(Agents, "a", false, json!({"phase": "paused"}))).await;
    let read = get(&**store, Agents, "a").await;
    assert_eq!(
        Value::Object(read.body),
        json!({"phase": "paused", "x-strange": {"kept": [1, null]}})
    );
}

pub async fn every_write_gives_a_revision_never_seen_before(store: &Fixture) {
    let mut seen = Vec::new();
    seen.push(written(&**store, insert(Agents, "a", json!({}))).await);
    seen.push(written(&**store, replace(Agents, "a", &seen[0], json!({}))).await);
    seen.push(written(&**store, put(Agents, "a", json!({}))).await);
    seen.push(written(&**store, merge(Agents, "a", false, json!({}))).await);
    write(&**store, remove(Agents, "a", None)).await.unwrap();
    seen.push(written(&**store, insert(Agents, "a", json!({}))).await);
    let different: std::collections::HashSet<_> = seen.iter().collect();
    assert_eq!(different.len(), seen.len(), "{seen:?}");
    assert_eq!(get(&**store, Agents, "a").await.rev, seen[4]);
}

pub async fn a_stale_replace_is_a_conflict_and_writes_nothing(store: &Fixture) {
    let old = written(&**store, insert(Agents, "a", json!({"n": 1}))).await;
    let new = written(&**store, replace(Agents, "a", &old, json!({"n": 2}))).await;
    let refused = write(&**store, replace(Agents, "a", &old, json!({"n": 3}))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { collection: Agents, .. }), "{refused}");
    let read = get(&**store, Agents, "a").await;
    assert_eq!((read.rev, &read.body["n"]), (new, &json!(2)));
}

pub async fn a_replace_leaves_nothing_of_the_old_body(store: &Fixture) {
    let rev = written(&**store, insert(Agents, "a", json!({"old": 1, "both": 1}))).await;
    written(&**store, replace(Agents, "a", &rev, json!({"both": 2}))).await;
    assert_eq!(Value::Object(get(&**store, Agents, "a").await.body), json!({"both": 2}));
}

pub async fn a_replace_of_what_is_gone_is_not_found(store: &Fixture) {
    let rev = written(&**store, insert(Agents, "a", json!({}))).await;
    write(&**store, remove(Agents, "a", Some(&rev))).await.unwrap();
    let refused = write(&**store, replace(Agents, "a", &rev, json!({}))).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotFound { .. }), "{refused}");
    assert!(!is_there(&**store, Agents, "a").await);
}

pub async fn an_insert_of_a_taken_key_is_refused_and_changes_nothing(store: &Fixture) {
    let rev = written(&**store, insert(Agents, "a", json!({"n": 1}))).await;
    let refused = write(&**store, insert(Agents, "a", json!({"n": 2}))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { collection: Agents, .. }), "{refused}");
    let read = get(&**store, Agents, "a").await;
    assert_eq!((read.rev, &read.body["n"]), (rev, &json!(1)));
}

pub async fn a_put_writes_over_whatever_is_there_or_nothing(store: &Fixture) {
    written(&**store, put(Agents, "a", json!({"n": 1, "old": true}))).await;
    written(&**store, put(Agents, "a", json!({"n": 2}))).await;
    assert_eq!(Value::Object(get(&**store, Agents, "a").await.body), json!({"n": 2}));
}

pub async fn a_merge_sets_whole_fields_and_null_removes(store: &Fixture) {
    let before = json!({"kept": 1, "whole": {"x": 1}, "gone": 1});
    written(&**store, insert(Agents, "a", before)).await;
    let fields = json!({"whole": {"y": 2}, "gone": null, "never": null, "new": [1]});
    written(&**store, merge(Agents, "a", false, fields)).await;
    assert_eq!(
        Value::Object(get(&**store, Agents, "a").await.body),
        json!({"kept": 1, "whole": {"y": 2}, "new": [1]})
    );
}

pub async fn a_merge_makes_a_document_only_when_asked(store: &Fixture) {
    let refused = write(&**store, merge(Agents, "a", false, json!({"n": 1}))).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotFound { .. }), "{refused}");
    assert!(!is_there(&**store, Agents, "a").await);
    written(&**store, merge(Agents, "a", true, json!({"n": 1, "none": null}))).await;
    assert_eq!(Value::Object(get(&**store, Agents, "a").await.body), json!({"n": 1}));
}

pub async fn a_removal_minds_the_revision_when_given(store: &Fixture) {
    let old = written(&**store, insert(Agents, "a", json!({}))).await;
    let new = written(&**store, put(Agents, "a", json!({}))).await;
    let refused = write(&**store, remove(Agents, "a", Some(&old))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }), "{refused}");
    assert!(is_there(&**store, Agents, "a").await);
    assert_eq!(write(&**store, remove(Agents, "a", Some(&new))).await.unwrap(), None);
    assert!(!is_there(&**store, Agents, "a").await);
    let refused = write(&**store, remove(Agents, "a", None)).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotFound { .. }), "{refused}");
}

pub async fn many_keys_at_once_give_those_that_exist(store: &Fixture) {
    write_all(&**store, ["a", "b", "c"].map(|at| insert(Agents, at, json!({"k": at}))).into())
        .await;
    let asked = [key("c"), key("x"), key("a")];
    let mut found = store.get_many(Agents, &asked).await.unwrap();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let keys: Vec<_> = found.iter().map(|document| document.key.as_str()).collect();
    assert_eq!(keys, ["a", "c"]);
    assert!(found.iter().all(|document| document.body["k"] == document.key.as_str()));
    assert_eq!(store.get_many(Agents, &[]).await.unwrap(), vec![]);
    let too_many: Vec<Key> = (0..1_001).map(|n| key(&format!("k{n}"))).collect();
    let refused = store.get_many(Agents, &too_many).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid { .. }), "{refused}");
    assert_eq!(store.get_many(Agents, &too_many[..1_000]).await.unwrap(), vec![]);
}

pub async fn hostile_keys_never_reach_the_store(store: &Fixture) {
    let long = "k".repeat(255);
    let hostile = [
        "", "A", "a b", "a/b", "../x", "//host/x", "a'b", "a\"b", "a\0", "ä", "%2e", "a.b", "a:b",
        &*long,
    ];
    for text in hostile {
        let refused = Key::new(text).unwrap_err();
        assert!(matches!(refused, StoreError::Invalid { .. }), "{text:?}: {refused}");
    }
    let longest = "k".repeat(254);
    for text in [longest.as_str(), "0", "-", "_", "__proto__", "null", "a--b", "agents"] {
        written(&**store, insert(Configs, text, json!({"k": text}))).await;
        assert_eq!(get(&**store, Configs, text).await.body["k"], text);
    }
}

pub async fn what_is_too_deep_or_too_large_is_refused(store: &Fixture) {
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let huge = "x".repeat(40 << 20);
    for value in [json!({ "v": deep }), json!({ "v": huge })] {
        let refused = write(&**store, insert(Configs, "v", value)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Invalid { .. }), "{refused}");
        assert!(!is_there(&**store, Configs, "v").await);
    }
}

pub async fn the_names_of_key_and_revision_are_reserved(store: &Fixture) {
    for name in ["_key", "_rev", "_id"] {
        let mut named = body(json!({}));
        named.insert(name.to_owned(), json!("forged"));
        let one = insert(Configs, "k", Value::Object(named));
        let refused = write(&**store, one).await.unwrap_err();
        assert!(matches!(refused, StoreError::Invalid { .. }), "{name}: {refused}");
    }
}

pub async fn revisions_list_a_whole_collection_by_key(store: &Fixture) {
    let names: Vec<String> = (0..25).map(|n| format!("k{n:02}")).collect();
    write_all(&**store, names.iter().map(|at| insert(Agents, at, json!({}))).collect()).await;
    let mut found = Vec::new();
    let mut last: Option<Key> = None;
    loop {
        let page = store.revisions(Agents, last.as_ref(), 10).await.unwrap();
        assert!(page.len() <= 10);
        let Some((key, _)) = page.last() else { break };
        last = Some(key.clone());
        found.extend(page);
    }
    let keys: Vec<String> = found.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, names);
    for (key, rev) in found {
        assert_eq!(store.get(Agents, &key).await.unwrap().rev, rev);
    }
    for limit in [0, 10_001] {
        assert!(store.revisions(Agents, None, limit).await.is_err(), "{limit}");
    }
}

pub async fn a_scan_gives_a_whole_collection_as_text_by_key(store: &Fixture) {
    let names: Vec<String> = (0..25).map(|n| format!("k{n:02}")).collect();
    let strange = json!({"text": "a\"\\\u{1b}é", "list": [1, null], "inner": {"n": 1.5}});
    let all = names.iter().map(|at| insert(Agents, at, strange.clone())).collect();
    write_all(&**store, all).await;
    let mut found = Vec::new();
    let mut last: Option<Key> = None;
    loop {
        let page = store.scan(Agents, last.as_ref(), 10).await.unwrap();
        found.extend(page.iter().map(|raw| raw.key.to_string()));
        for raw in &page {
            let document = store.get(Agents, &raw.key).await.unwrap();
            assert_eq!(document.rev, raw.rev);
            let read: Value = serde_json::from_str(&raw.json).unwrap();
            assert_eq!(read, Value::Object(document.body));
        }
        last = page.last().map(|raw| raw.key.clone());
        if page.len() < 10 {
            break;
        }
    }
    assert_eq!(found, names);
    for limit in [0, 10_001] {
        assert!(store.scan(Agents, None, limit).await.is_err(), "{limit}");
    }
}
