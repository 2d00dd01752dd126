use rstest::rstest;
use serde_json::json;

use super::*;
use crate::model::quantity::{Bytes, Cpu};

fn config(value: Value) -> AgentConfig {
    serde_json::from_value(value).unwrap()
}

fn said(value: Value) -> Vec<String> {
    let mut faults = Vec::new();
    config(value).validate(&mut faults, "/config");
    faults.iter().map(ToString::to_string).collect()
}

#[rstest]
#[case("API_KEY", true)]
#[case("DB_PASSWORD", true)]
#[case("github_token", true)]
#[case("AWS_SECRET_ACCESS_KEY", true)]
#[case("PARTITION_KEY", false)]
#[case("MAX_TOKENS", false)]
#[case("LOG_LEVEL", false)]
#[case("KEYBOARD", false)]
fn a_secret_is_known_by_the_words_of_its_name(#[case] name: &str, #[case] secret: bool) {
    assert_eq!(is_secret(name), secret);
}

#[test]
fn a_secret_written_out_is_refused_without_repeating_it() {
    let said =
        said(json!({"env": {"API_KEY": "hunter2", "DB_PASSWORD": "secret://db", "PASSWORD": ""}}));
    assert_eq!(
        said,
        [
            "/config/env/API_KEY: validation failed for environment_variables: API_KEY looks like a secret and its value is written out: refer to it, such as secret://api-key"
        ]
    );
}

#[test]
fn every_fault_of_a_configuration_is_listed() {
    let said = said(json!({
        "command": ["", "a\u{0}b"],
        "image": "has space",
        "env": {"1X": "y", "CVXC_STORE": "elsewhere", "A": "\u{0}"},
        "resources": {"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "grace": "2h",
        "heartbeat": {"interval": "10ms"},
    }));
    let paths: Vec<&str> = said.iter().map(|it| it.split(": ").next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/config/command/1",
            "/config/command/0",
            "/config/image",
            "/config/env/1X",
            "/config/env/A",
            "/config/env/CVXC_STORE",
            "/config/resources/requests/cpu",
            "/config/resources/requests/memory",
            "/config/grace",
            "/config/heartbeat/interval",
        ]
    );
}

#[test]
fn what_needs_an_administrator_is_told_apart() {
    let config = config(json!({
        "security": {"run_as_user": 0, "run_as_group": 0, "privileged": true},
        "pod": {"volumes": [{"name": "ok"}, {"name": "bad", "hostPath": {"path": "/"}}]},
    }));
    let mut faults = Vec::new();
    config.validate(&mut faults, "");
    assert_eq!(faults, []);
    let paths: Vec<String> = config.privileges("/config").into_iter().map(|it| it.path).collect();
    assert_eq!(
        paths,
        [
            "/config/security/privileged",
            "/config/security/run_as_user",
            "/config/security/run_as_group",
            "/config/pod/volumes/1",
        ]
    );
}

#[test]
fn hostile_names_and_labels_are_refused() {
    for bad in ["", "-a", "a b", "a/b", "\u{1b}[2J", "ä", &"x".repeat(64)] {
        assert!(!is_name(bad), "{bad:?}");
    }
    for good in ["a", "Worker_1.2-b", "0", &"x".repeat(63)] {
        assert!(is_name(good), "{good:?}");
    }
    let mut faults = Vec::new();
    let pairs = [("tier", "gold"), ("team/x", ""), ("bad key", "v"), ("k", "bad value")];
    labels(&mut faults, &pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    let paths: Vec<&str> = faults.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["/labels/bad key", "/labels/k"]);
    let mut faults = Vec::new();
    labels(&mut faults, &(0..10_000).map(|i| (format!("l{i}"), String::new())).collect());
    assert_eq!(faults.len(), 1);
}

#[rstest]
#[case("", false)]
#[case("registry:5000/x", true)]
#[case("registry:5000/x:1.2", false)]
#[case("x:latest", true)]
#[case("x@sha256:00", false)]
fn an_image_without_a_fixed_tag_is_doubted(#[case] image: &str, #[case] doubted: bool) {
    assert_eq!(config(json!({ "image": image })).doubts().len(), usize::from(doubted));
}

#[test]
fn amounts_of_nothing_and_beyond_all_machines_are_refused() {
    let mut of = Resources::default();
    of.limits.cpu = Some(Cpu(0));
    of.limits.memory = Some(Bytes(u64::MAX));
    let mut faults = Vec::new();
    resources(&mut faults, "", &of);
    assert_eq!(faults.len(), 2);
}
