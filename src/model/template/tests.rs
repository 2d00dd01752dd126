use proptest::prelude::*;
use serde_json::json;

use super::*;

fn template(value: Value) -> Template {
    serde_json::from_value(value).unwrap()
}

fn good() -> Value {
    json!({
        "name": "worker", "type": "worker", "version": "1.2.3", "tags": ["gold"],
        "configuration": {
            "command": ["cvxc", "agent", "run"],
            "env": {"LOG_LEVEL": "info"},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        },
    })
}

#[test]
fn every_text_of_the_contract_is_reached_and_all_are_listed_at_once() {
    assert_eq!(template(good()).validate(), []);
    let said: Vec<String> =
        template(json!({"type": "x"})).validate().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "/name: template name is required",
            "/configuration: template configuration is required: a command, an image, or both",
            "/configuration/resources: resource requirements are required: requests, limits, or both",
        ]
    );
    let mut bad = good();
    bad["configuration"]["env"] = json!({"API_KEY": "x"});
    bad["configuration"]["resources"]["limits"] = json!({"cpu": "50m"});
    bad["configuration"]["security"] = json!({"privileged": true});
    let bad = template(bad);
    let mut said: Vec<String> = bad.validate().iter().map(ToString::to_string).collect();
    said.extend(bad.configuration.privileges("/configuration").iter().map(ToString::to_string));
    for validator in ["resource_requirements", "security_settings", "environment_variables"] {
        let wanted = format!("validation failed for {validator}");
        assert!(said.iter().any(|line| line.contains(&wanted)), "{validator}: {said:?}");
    }
}

#[test]
fn the_version_says_how_far_a_change_reaches() {
    let before = template(good());
    let change = |pointer: &str, value: Value| {
        let mut after = good();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        after.pointer_mut(parent).unwrap()[name] = value;
        before.bump(&template(after)).map(|bump| next_version(&before.version, bump))
    };
    assert_eq!(change("/name", json!("worker")), None);
    assert_eq!(change("/version", json!("9.9.9")), None);
    assert_eq!(change("/description", json!("d")).as_deref(), Some("1.2.4"));
    assert_eq!(change("/tags", json!([])).as_deref(), Some("1.2.4"));
    assert_eq!(change("/configuration/env", json!({"X": "1"})).as_deref(), Some("1.2.4"));
    assert_eq!(change("/configuration/args", json!(["-v"])).as_deref(), Some("1.3.0"));
    assert_eq!(change("/configuration/image", json!("i:1")).as_deref(), Some("1.3.0"));
    assert_eq!(change("/configuration/poll_class", json!("high")).as_deref(), Some("1.3.0"));
    assert_eq!(
        change("/configuration/security", json!({"run_as_user": 7})).as_deref(),
        Some("2.0.0")
    );
    assert_eq!(
        change("/configuration/resources/limits", json!({"cpu": "1"})).as_deref(),
        Some("2.0.0")
    );
}

#[test]
fn a_clone_of_a_clone_has_one_tag_and_its_own_author() {
    let now = Time::from_millis(5_000);
    let first = template(good()).cloned("b", "ann", now);
    let second = first.cloned("c", "bob", now);
    assert_eq!(second.tags, ["cloned", "gold"]);
    assert_eq!((second.description.as_str(), second.created_by.as_str()), ("Cloned from b", "bob"));
    assert_eq!(second.version, FIRST_VERSION);
    assert_eq!(second.configuration, template(good()).configuration);
}

#[test]
fn a_version_key_is_a_document_key() {
    assert_eq!(version_key("template-1", "1.20.3"), "template-1-v1-20-3");
    assert_eq!(version_key("template-1", "../X"), "template-1-v---x");
}

proptest! {
    #[test]
    fn a_raised_version_is_always_later(
        major in 0u64..99, minor in 0u64..99, patch in 0u64..99, which in 0usize..3
    ) {
        let bump = [Bump::Patch, Bump::Minor, Bump::Major][which];
        let next = next_version(&format!("{major}.{minor}.{patch}"), bump);
        let parts: Vec<u64> = next.split('.').map(|part| part.parse().unwrap()).collect();
        prop_assert!(parts > vec![major, minor, patch]);
    }

    #[test]
    fn what_others_wrote_as_a_version_breaks_nothing(text in ".*") {
        let next = next_version(&text, Bump::Patch);
        prop_assert_eq!(next.split('.').count(), 3);
        prop_assert!(version_key("t", &text).bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
    }
}
