//! The reference sense of the store filter, case by case.

use super::*;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

fn document() -> Map<String, Value> {
    serde_json::from_value(json!({
        "_key": "agent-1", "phase": "running", "count": 3, "ratio": 3.0, "void": null, "tags": ["a", 1, null],
        "health": {"status": "healthy"}, "labels": {"app": "ocr", "team/x": "y"}, "big": u64::MAX, "on": true,
    }))
    .unwrap()
}

#[rstest]
#[case(Filter::All, true)]
#[case(Filter::eq("_key", "agent-1"), true)]
#[case(Filter::eq("health.status", "healthy"), true)]
#[case(Filter::eq("labels.team/x", "y"), true)]
#[case(Filter::eq("count", 3.0), true)]
#[case(Filter::eq("ratio", 3), true)]
#[case(Filter::eq("count", "3"), false)]
#[case(Filter::eq("on", 1), false)]
#[case(Filter::eq("void", Value::Null), true)]
#[case(Filter::eq("missing", Value::Null), true)]
#[case(Filter::eq("phase.deeper", Value::Null), true)]
#[case(Filter::eq("tags", json!(["a", 1, null])), false)]
#[case(Filter::ne("missing", "x"), true)]
#[case(Filter::ne("phase", "running"), false)]
#[case(Filter::Lt("count".into(), json!(3.5)), true)]
#[case(Filter::Lte("count".into(), json!(3)), true)]
#[case(Filter::Gt("count".into(), json!("2")), false)]
#[case(Filter::Gt("missing".into(), json!(0)), false)]
#[case(Filter::Gte("phase".into(), json!("running")), true)]
#[case(Filter::Lt("phase".into(), json!("s")), true)]
#[case(Filter::Gt("big".into(), json!(i64::MAX)), true)]
#[case(Filter::any_of("phase", ["paused", "running"]), true)]
#[case(Filter::In("missing".into(), vec![]), false)]
#[case(Filter::In("missing".into(), vec![Value::Null]), true)]
#[case(Filter::Contains("tags".into(), json!(1.0)), true)]
#[case(Filter::Contains("tags".into(), json!("b")), false)]
#[case(Filter::Contains("phase".into(), json!("running")), false)]
#[case(Filter::Exists("void".into()), false)]
#[case(Filter::Exists("labels".into()), true)]
#[case(Filter::Prefix("phase".into(), "run".to_owned()), true)]
#[case(Filter::Prefix("count".into(), String::new()), false)]
#[case(Filter::And(vec![]), true)]
#[case(Filter::Or(vec![]), false)]
#[case(Filter::Not(Box::new(Filter::Gt("missing".into(), json!(0)))), true)]
fn filters_mean_what_the_contract_says(#[case] filter: Filter, #[case] yes: bool) {
    assert_eq!(filter.matches(&document()), yes, "{filter:?}");
}

#[test]
fn only_plain_paths_are_fields() {
    for good in ["a", "_key", "_from", "labels.app", "a.b-c/d.e_1", "config.resources.limits"] {
        assert_eq!(Field::new(good).unwrap().as_str(), good);
    }
    let long = "a".repeat(MAX_PATH + 1);
    for bad in [
        "", ".", "a.", ".a", "a..b", "1a", "a b", "a'b", "a\"", "a[0]", "ä", "-a", "a.-b", "a;--",
        &long,
    ] {
        assert!(Field::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn filters_join_flat() {
    let (a, b, c) = (Filter::eq("a", 1), Filter::eq("b", 1), Filter::eq("c", 1));
    let joined = Filter::All.and(a.clone()).and(b.clone()).and(Filter::All).and(c.clone());
    assert_eq!(joined, Filter::And(vec![a, b, c]));
}

proptest! {
    #[test]
    fn every_order_agrees_with_equality(a in -3i64..3, b in -3i64..3, whole in any::<bool>()) {
        let right = if whole { json!(b) } else { json!(b as f64) };
        let document: Map<String, Value> = serde_json::from_value(json!({"x": a})).unwrap();
        let holds = |filter: Filter| filter.matches(&document);
        prop_assert_eq!(holds(Filter::Eq("x".into(), right.clone())), a == b);
        prop_assert_eq!(holds(Filter::Lt("x".into(), right.clone())), a < b);
        prop_assert_eq!(holds(Filter::Lte("x".into(), right.clone())), a <= b);
        prop_assert_eq!(holds(Filter::Gt("x".into(), right.clone())), a > b);
        prop_assert_eq!(holds(Filter::Gte("x".into(), right.clone())), a >= b);
        prop_assert_eq!(holds(Filter::Ne("x".into(), right)), a != b);
    }
}
