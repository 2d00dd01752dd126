use proptest::prelude::*;
use serde_json::json;

use super::*;

fn manifest(noun: Noun, fields: Value) -> Manifest {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    Manifest { noun, name: "m".into(), fields, source: "demo.yaml:12".into() }
}

fn faults(noun: Noun, fields: Value) -> Vec<String> {
    let read = manifest(noun, fields).read();
    read.unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn every_fault_of_a_manifest_is_listed_with_its_place() {
    assert_eq!(
        faults(
            Noun::Template,
            json!({
                "descripton": "typo",
                "type": 7,
                "tags": ["ok", 1],
                "configuration": {
                    "command": "not a list",
                    "env": {"PORT": 8080, "a/b": true},
                    "resources": {"requests": {"cpu": "fast", "memory": "-1Gi"}, "limit": {}},
                    "poll_class": "urgent",
                    "heartbeat": {"interval": "soon", "required": "yes"},
                    "grace": 10,
                },
            })
        ),
        [
            "demo.yaml:12#/type: expected a text, got a number",
            "demo.yaml:12#/tags/1: expected a text, got a number (put it in quotes)",
            "demo.yaml:12#/configuration/command: expected a list of texts, got a text",
            "demo.yaml:12#/configuration/env/PORT: expected a text, got a number (put it in quotes)",
            "demo.yaml:12#/configuration/env/a~1b: expected a text, got true or false (put it in quotes)",
            "demo.yaml:12#/configuration/resources/requests/cpu: expected an amount of cpu such as \"250m\", \"1\" or \"0.5\", got \"fast\"",
            "demo.yaml:12#/configuration/resources/requests/memory: expected an amount of memory such as \"512Mi\", \"1.5Gi\", \"128M\" or \"1024\", got \"-1Gi\": it is negative",
            "demo.yaml:12#/configuration/resources/limit: unknown field: did you mean limits?",
            "demo.yaml:12#/configuration/poll_class: unknown variant `urgent`, expected one of `high`, `normal`, `background`",
            "demo.yaml:12#/configuration/heartbeat/interval: expected a span of time such as \"90s\" or \"10m\", got \"soon\"",
            "demo.yaml:12#/configuration/heartbeat/required: expected true or false, got a text",
            "demo.yaml:12#/configuration/grace: expected a span of time such as \"10s\", got 10",
            "demo.yaml:12#/descripton: unknown field: did you mean description?",
        ]
    );
}

#[test]
fn a_pool_is_read_into_what_it_sets_and_what_it_refers_to() {
    let spec = manifest(
        Noun::Pool,
        json!({"template": "worker", "version": "1.0.0", "desired": 3, "max": 9, "description": null,
               "update": {"max_surge": 2}, "labels": {"tier": "gold"}}),
    )
    .read()
    .unwrap();
    assert_eq!(spec.template.as_deref(), Some("worker"));
    assert_eq!(spec.version.as_deref(), Some("1.0.0"));
    assert_eq!(
        Value::Object(spec.set),
        json!({"desired": 3, "max": 9, "description": null, "update": {"max_surge": 2}, "labels": {"tier": "gold"}})
    );
    assert_eq!(
        faults(Noun::Pool, json!({"desired": -1, "min": "two", "max": 1e10, "hold": true})),
        [
            "demo.yaml:12#/desired: expected a number of agents such as 3, got -1",
            "demo.yaml:12#/min: expected a number of agents such as 3, got \"two\"",
            "demo.yaml:12#/max: expected a number of agents such as 3, got 10000000000.0",
            "demo.yaml:12#/hold: unknown field: expected one of tenant, template, version, description, labels, desired, min, max, update, scaling, quota_ref, paused",
        ]
    );
}

#[test]
fn an_agent_cannot_be_applied_as_deleted() {
    assert_eq!(
        faults(Noun::Agent, json!({"template": "t", "desired": "deleted"})),
        ["demo.yaml:12#/desired: expected running, paused or stopped (delete deletes)"]
    );
    assert_eq!(
        faults(Noun::Message, json!({})),
        ["demo.yaml:12#/kind: expected Template, Pool or Agent, got message"]
    );
}

#[test]
fn merging_replaces_what_is_named_and_keeps_the_rest() {
    let Value::Object(mut stored) = json!({
        "description": "old", "theirs": [1], "labels": {"a": "1"},
        "configuration": {"image": "i:1", "env": {"A": "1"}, "odd": true},
    }) else {
        unreachable!()
    };
    let Value::Object(set) =
        json!({"description": null, "labels": {"b": "2"}, "configuration": {"env": {"B": "2"}}})
    else {
        unreachable!()
    };
    merge(&mut stored, &set);
    assert_eq!(
        Value::Object(stored),
        json!({"theirs": [1], "labels": {"b": "2"},
               "configuration": {"image": "i:1", "env": {"B": "2"}, "odd": true}})
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let name = prop_oneof![
            Just("configuration".to_owned()),
            Just("config".to_owned()),
            Just("env".to_owned()),
            Just("resources".to_owned()),
            Just("scaling".to_owned()),
            Just("update".to_owned()),
            Just("labels".to_owned()),
            ".{0,6}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name, inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_manifest_is_read_or_refused_with_places(which in 0usize..3, fields in any_json()) {
        let Value::Object(fields) = fields else { return Ok(()) };
        let noun = [Noun::Template, Noun::Pool, Noun::Agent][which];
        let known = Manifest { noun, name: "m".into(), fields, source: String::new() };
        match known.read() {
            Ok(spec) => {
                // reading what was read changes nothing more
                let again = Manifest { fields: spec.set.clone(), ..known };
                prop_assert_eq!(again.read().unwrap().set, spec.set);
            }
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                prop_assert!(faults.iter().all(|fault| fault.path.starts_with('/')));
            }
        }
    }
}
