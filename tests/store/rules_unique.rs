//! Unique indexes: nothing gets past them, by whichever write.

use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::{Agents, Alerts, TemplateVersions};
use cvxc::ports::store::{StoreError, UpdateWhere, Write};
use serde_json::json;

use super::fixture::*;

fn is_taken(end: Result<impl std::fmt::Debug, StoreError>) -> String {
    match end {
        Err(StoreError::Exists { what, .. }) => what,
        other => panic!("expected Exists, got {other:?}"),
    }
}

pub async fn a_taken_unique_index_refuses_and_names_its_fields(store: &Fixture) {
    let version =
        |at: &str, n: u64| insert(TemplateVersions, at, json!({"template_id": "t", "version": n}));
    written(&**store, version("v1", 1)).await;
    written(&**store, version("v2", 2)).await;
    let what = is_taken(write(&**store, version("v3", 2)).await);
    assert!(what.contains("template_id") && what.contains("version"), "{what}");
    assert!(!is_there(&**store, TemplateVersions, "v3").await);
}

pub async fn missing_and_null_repeat_in_a_sparse_unique_index(store: &Fixture) {
    write_all(
        &**store,
        vec![
            insert(Agents, "a", json!({"tenant": "t"})),
            insert(Agents, "b", json!({"tenant": "t"})),
            insert(Agents, "c", json!({"tenant": "t", "live_name": null})),
            insert(Agents, "d", json!({"tenant": null, "live_name": "n"})),
            insert(Agents, "e", json!({"live_name": "n"})),
            insert(Agents, "f", json!({"tenant": "t", "live_name": "n"})),
            insert(Agents, "g", json!({"tenant": "u", "live_name": "n"})),
        ],
    )
    .await;
    is_taken(write(&**store, insert(Agents, "h", json!({"tenant": "t", "live_name": "n"}))).await);
}

pub async fn no_kind_of_write_gets_past_a_unique_index(store: &Fixture) {
    let alert = |at: &str, print: &str| insert(Alerts, at, json!({"fingerprint": print}));
    written(&**store, alert("a", "x")).await;
    let rev = written(&**store, alert("b", "y")).await;
    let same = json!({"fingerprint": "x"});
    is_taken(write(&**store, replace(Alerts, "b", &rev, same.clone())).await);
    is_taken(write(&**store, put(Alerts, "b", same.clone())).await);
    is_taken(write(&**store, put(Alerts, "c", same.clone())).await);
    is_taken(write(&**store, merge(Alerts, "b", false, same.clone())).await);
    is_taken(write(&**store, merge(Alerts, "d", true, same.clone())).await);
    let set = vec![("fingerprint".into(), json!("x"))];
    let all = UpdateWhere { set, ..update(Alerts, Filter::eq("fingerprint", "y")) };
    is_taken(store.update_where(all).await);
    assert_eq!(get(&**store, Alerts, "b").await.rev, rev);
    assert_eq!(matching(&**store, Alerts, Filter::All).await, ["a", "b"]);
}

pub async fn two_of_one_transaction_cannot_share_a_unique_value(store: &Fixture) {
    let writes: Vec<Write> =
        ["a", "b"].map(|at| insert(Alerts, at, json!({"fingerprint": "x"}))).into();
    is_taken(store.transact(writes, Default::default()).await);
    assert!(!is_there(&**store, Alerts, "a").await);
}

pub async fn a_unique_value_is_free_again_when_its_document_lets_go(store: &Fixture) {
    let alert = |at: &str| insert(Alerts, at, json!({"fingerprint": "x"}));
    written(&**store, alert("a")).await;
    written(&**store, merge(Alerts, "a", false, json!({"fingerprint": null}))).await;
    written(&**store, alert("b")).await;
    write(&**store, remove(Alerts, "b", None)).await.unwrap();
    written(&**store, alert("c")).await;
    // handing over inside one transaction works as well
    let handed = vec![remove(Alerts, "c", None), alert("d")];
    store.transact(handed, Default::default()).await.unwrap();
}

pub async fn a_document_may_be_written_again_with_its_own_unique_value(store: &Fixture) {
    let rev = written(&**store, insert(Alerts, "a", json!({"fingerprint": "x"}))).await;
    written(&**store, replace(Alerts, "a", &rev, json!({"fingerprint": "x", "n": 2}))).await;
    written(&**store, put(Alerts, "a", json!({"fingerprint": "x", "n": 3}))).await;
}

pub async fn values_of_different_types_are_different(store: &Fixture) {
    for (n, value) in [json!("1"), json!(1), json!(true), json!("true"), json!(0), json!(false)]
        .into_iter()
        .enumerate()
    {
        written(&**store, insert(Alerts, &format!("a{n}"), json!({"fingerprint": value}))).await;
    }
    is_taken(write(&**store, insert(Alerts, "b", json!({"fingerprint": 1.0}))).await);
    is_taken(write(&**store, insert(Alerts, "c", json!({"fingerprint": true}))).await);
}

pub async fn of_many_claims_of_a_unique_value_one_wins(store: &Fixture) {
    let tries = (0..16).map(|n| {
        let store = store.shared();
        async move {
            write(&*store, insert(Alerts, &format!("a{n}"), json!({"fingerprint": "x"})))
                .await
                .is_ok()
        }
    });
    let won = futures::future::join_all(tries).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}
