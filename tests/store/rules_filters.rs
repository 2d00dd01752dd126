//! Filters mean what `Filter::matches` says, whatever the documents hold.

use cvxc::model::filter::{Field, Filter};
use cvxc::model::schema::Collection::{Agents, Configs};
use cvxc::ports::store::{Body, Query, StoreError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::fixture::*;

/// Few fields and few values, so that documents and filters meet.
const FIELDS: &[&str] =
    &["phase", "type", "pool_id", "health.status", "health", "tags", "n", "x-y", "a/b.c"];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        3 => any::<bool>().prop_map(Value::from),
        6 => (-2_i64..3).prop_map(Value::from),
        2 => (-3_i64..4).prop_map(|n| json!(n as f64)),
        2 => (-6_i64..7).prop_map(|n| json!(n as f64 / 2.0)),
        1 => prop_oneof![
            Just(i64::MAX),
            Just(i64::MIN),
            Just(1 << 53),
            Just((1 << 53) + 1),
            Just(1_i64 << 62)
        ]
        .prop_map(Value::from),
        1 => prop_oneof![Just(u64::MAX), Just(u64::MAX - 1), Just(1 << 63)].prop_map(Value::from),
        1 => prop_oneof![Just(9_007_199_254_740_993.0_f64), Just(1e300), Just(-1e300), Just(1.8e19)]
            .prop_map(Value::from),
        6 => "[ab]{0,2}".prop_map(Value::from),
        1 => prop_oneof![
            Just(""),
            Just("0"),
            Just("1"),
            Just("true"),
            Just("null"),
            Just("[]"),
            Just("{}"),
            Just("[1]"),
            Just("ä"),
            Just("a\u{0}"),
            Just("\u{10ffff}"),
            Just("\u{d7ff}"),
            Just("\u{e000}"),
            Just("%"),
            Just("A"),
            Just("'"),
            Just("2026-01-01T00:00:00.000Z")
        ]
        .prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => scalar(),
        1 => prop::collection::vec(scalar(), 0..4).prop_map(Value::from),
        1 => prop::collection::vec(scalar(), 0..2).prop_map(|list| json!([list])),
        1 => scalar().prop_map(|inner| json!({"status": inner, "c": 1})),
    ]
}

fn document() -> impl Strategy<Value = Body> {
    const NAMES: &[&str] = &["phase", "type", "pool_id", "health", "tags", "n", "x-y", "a/b"];
    prop::collection::vec((prop::sample::select(NAMES), value()), 3..14).prop_map(|fields| {
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    })
}

fn field() -> impl Strategy<Value = Field> {
    prop::sample::select(FIELDS).prop_map(Field::of)
}

fn filter() -> impl Strategy<Value = Filter> {
    let text = prop_oneof!["[ab]{0,2}", Just("\u{d7ff}".to_owned()), Just("\u{10ffff}".to_owned())];
    let leaf = prop_oneof![
        1 => Just(Filter::All),
        4 => (field(), value()).prop_map(|(f, v)| Filter::Eq(f, v)),
        2 => (field(), value()).prop_map(|(f, v)| Filter::Ne(f, v)),
        2 => (field(), value()).prop_map(|(f, v)| Filter::Lt(f, v)),
        2 => (field(), value()).prop_map(|(f, v)| Filter::Lte(f, v)),
        2 => (field(), value()).prop_map(|(f, v)| Filter::Gt(f, v)),
        2 => (field(), value()).prop_map(|(f, v)| Filter::Gte(f, v)),
        2 => (field(), prop::collection::vec(value(), 0..4)).prop_map(|(f, v)| Filter::In(f, v)),
        3 => (field(), value()).prop_map(|(f, v)| Filter::Contains(f, v)),
        1 => field().prop_map(Filter::Exists),
        2 => (field(), text).prop_map(|(f, p)| Filter::Prefix(f, p)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

pub async fn a_query_finds_exactly_what_the_filter_matches(store: &Fixture) {
    let mut runner = TestRunner::deterministic();
    let mut documents: Vec<(String, Body)> = Vec::new();
    let mut writes = Vec::new();
    for n in 0..150 {
        let body = document().new_tree(&mut runner).unwrap().current();
        let at = format!("k{n:03}");
        writes.push(insert(Agents, &at, Value::Object(body.clone())));
        documents.push((at, body));
    }
    write_all(&**store, writes).await;
    let mut found_any = 0;
    for _ in 0..600 {
        let filter = filter().new_tree(&mut runner).unwrap().current();
        let expected: Vec<&String> =
            documents.iter().filter(|(_, body)| filter.matches(body)).map(|(at, _)| at).collect();
        let found = matching(&**store, Agents, filter.clone()).await;
        let strangers: Vec<_> = documents
            .iter()
            .filter(|(at, _)| found.contains(at) != expected.contains(&at))
            .collect();
        assert!(strangers.is_empty(), "{filter:?}\nis judged differently for\n{strangers:#?}");
        let count = store.count(Agents, filter).await.unwrap();
        assert_eq!(count, expected.len() as u64);
        found_any += usize::from(!found.is_empty() && found.len() < documents.len());
    }
    assert!(
        found_any > 150,
        "only {found_any} of 600 filters told documents apart: that shows little"
    );
}

pub async fn a_missing_field_is_null(store: &Fixture) {
    write_all(
        &**store,
        vec![
            insert(Agents, "a", json!({})),
            insert(Agents, "b", json!({"pool_id": null})),
            insert(Agents, "c", json!({"pool_id": "p"})),
        ],
    )
    .await;
    let with = |filter| matching(&**store, Agents, filter);
    assert_eq!(with(Filter::eq("pool_id", Value::Null)).await, ["a", "b"]);
    assert_eq!(with(Filter::ne("pool_id", "p")).await, ["a", "b"]);
    assert_eq!(with(Filter::Exists("pool_id".into())).await, ["c"]);
    assert_eq!(with(Filter::Not(Box::new(Filter::eq("pool_id", "q")))).await, ["a", "b", "c"]);
    assert_eq!(with(Filter::any_of("pool_id", [Value::Null, json!("p")])).await, ["a", "b", "c"]);
}

pub async fn a_filter_may_ask_for_the_key(store: &Fixture) {
    write_all(&**store, ["a", "b", "c"].map(|at| insert(Agents, at, json!({}))).into()).await;
    assert_eq!(matching(&**store, Agents, Filter::eq("_key", "b")).await, ["b"]);
    let above = Filter::Gt("_key".into(), json!("a"));
    let query = Query { sort: down("_key"), ..Query::new(Agents, above) };
    assert_eq!(keys(&**store, query).await, ["c", "b"]);
}

pub async fn hostile_values_are_only_values(store: &Fixture) {
    let hostile =
        ["' OR 1=1 --", "\"", "'; DROP TABLE agents; --", "?1", "%", "_", "\\", "$.phase", "\u{0}"];
    for (n, text) in hostile.iter().enumerate() {
        written(&**store, insert(Agents, &format!("k{n}"), json!({"phase": text, "tags": [text]})))
            .await;
    }
    for (n, text) in hostile.iter().enumerate() {
        let only = [format!("k{n}")];
        assert_eq!(matching(&**store, Agents, Filter::eq("phase", *text)).await, only, "{text:?}");
        let prefix = Filter::Prefix("phase".into(), (*text).to_owned());
        assert!(matching(&**store, Agents, prefix).await.contains(&only[0]), "{text:?}");
        let holds = Filter::Contains("tags".into(), json!(text));
        assert_eq!(matching(&**store, Agents, holds).await, only, "{text:?}");
    }
    for path in ["a'b", "a\"b", "a b", "", ".", "a..b", "a[0]", "a)", "$"] {
        assert!(Field::new(path).is_err(), "{path:?}");
    }
}

pub async fn a_filter_without_end_is_refused_or_answered(store: &Fixture) {
    let mut deep = Filter::All;
    for _ in 0..2_000 {
        deep = Filter::Not(Box::new(deep));
    }
    let wide = Filter::any_of("phase", (0..200_000).map(|n| n.to_string()));
    for filter in [deep, wide] {
        match store.query(Query::new(Configs, filter)).await {
            Ok(page) => assert_eq!(page.documents, vec![]),
            Err(error) => assert!(matches!(error, StoreError::Invalid { .. }), "{error}"),
        }
    }
    // what people really ask still works
    let one_of = |n: usize| Filter::eq("phase", n.to_string());
    for many in [
        Filter::Or((0..3_000).map(one_of).collect()),
        Filter::And((0..3_000).map(one_of).collect()),
    ] {
        assert_eq!(store.count(Configs, many).await.unwrap(), 0);
    }
    let fair = Filter::any_of("phase", (0..2_000).map(|n| n.to_string()));
    assert_eq!(store.count(Configs, fair).await.unwrap(), 0);
}

pub async fn a_tally_counts_by_value_and_type(store: &Fixture) {
    write_all(
        &**store,
        vec![
            insert(Agents, "a", json!({"type": "w", "phase": "running", "created_at": "2026-03"})),
            insert(Agents, "b", json!({"type": "w", "phase": "running", "created_at": "2026-01"})),
            insert(Agents, "c", json!({"type": "w", "phase": "failed"})),
            insert(Agents, "d", json!({"type": 1, "phase": "failed", "created_at": "2026-02"})),
            insert(Agents, "e", json!({"type": true, "phase": "failed"})),
            insert(Agents, "f", json!({"phase": "failed"})),
        ],
    )
    .await;
    let by = ["type".into(), "phase".into()];
    let least = Field::from("created_at");
    let mut tallies = store.tally(Agents, Filter::All, &by, Some(&least)).await.unwrap();
    tallies.sort_by_key(|tally| json!(tally.values).to_string());
    let shown: Vec<_> =
        tallies.into_iter().map(|tally| (json!(tally.values), tally.count, tally.least)).collect();
    assert_eq!(
        shown,
        [
            (json!(["w", "failed"]), 1, Value::Null),
            (json!(["w", "running"]), 2, json!("2026-01")),
            (json!([1, "failed"]), 1, json!("2026-02")),
            (json!([null, "failed"]), 1, Value::Null),
            (json!([true, "failed"]), 1, Value::Null),
        ]
    );
    let running = Filter::eq("phase", "running");
    let tallies = store.tally(Agents, running, &by[1..], None).await.unwrap();
    assert_eq!((tallies.len(), tallies[0].count), (1, 2));
    assert!(store.tally(Agents, Filter::All, &[], None).await.is_err());
    let four: Vec<Field> = ["a", "b", "c", "d"].map(Field::from).into();
    assert!(store.tally(Agents, Filter::All, &four, None).await.is_err());
}
