use serde_json::json;

use super::*;

fn said(value: Value) -> Vec<String> {
    let pool: Pool = serde_json::from_value(value).unwrap();
    pool.validate().iter().map(ToString::to_string).collect()
}

#[test]
fn every_fault_of_a_pool_is_listed() {
    assert_eq!(
        said(
            json!({"name": "triage", "template_id": "template-1", "desired": 2, "min": 1, "max": 3})
        ),
        [""; 0]
    );
    assert_eq!(
        said(
            json!({"desired": 7, "min": 1, "max": 3, "update": {"max_surge": 0, "max_unavailable": 0}})
        ),
        [
            "/name: pool name is required",
            "/template: pool template is required",
            "/desired: expected 1 to 3, got 7",
            "/update: expected max_surge or max_unavailable to be at least 1: an update could never begin",
        ]
    );
    assert_eq!(
        said(json!({"name": "a", "template_id": "t", "min": 4, "max": 1_000_000_000})),
        [
            "/max: expected at most 100000, got 1000000000",
            "/desired: expected 4 to 1000000000, got 0"
        ]
    );
    assert_eq!(
        said(json!({"name": "a", "template_id": "t", "min": 4, "max": 3, "desired": 3})),
        ["/min: expected at most max 3, got 4"]
    );
}
