use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::model::agent::Resources;

fn workload() -> Workload {
    Workload {
        agent: AgentId::new("planner-1").unwrap(),
        name: "planner".to_owned(),
        kind: "worker".to_owned(),
        pool: Some("pool-7".to_owned()),
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        incarnation: 3,
        config: AgentConfig {
            image: "registry.example/agents/worker:1.4".to_owned(),
            command: vec!["cvxc".to_owned(), "agent".to_owned(), "run".to_owned()],
            env: [("ZONE", "a"), ("API_KEY", "secret://keys/api"), ("DB_PASSWORD", "secret://db")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            resources: Resources {
                requests: ResourceList { cpu: "250m".parse().ok(), memory: "128Mi".parse().ok() },
                limits: ResourceList { cpu: "1".parse().ok(), memory: None },
            },
            grace: Duration::from_millis(7_500),
            ..AgentConfig::default()
        },
        env: [("CVXC_STORE".to_owned(), "arango://db:8529/fleet".to_owned())].into(),
        notes: [("template".to_owned(), "worker@1.4.0".to_owned())].into(),
    }
}

fn made(workload: &Workload) -> Value {
    let defaults = Defaults { image: "cvxc:test".to_owned() };
    serde_json::to_value(deployment(workload, &defaults).unwrap()).unwrap()
}

fn refused(change: impl FnOnce(&mut Workload)) -> String {
    let mut workload = workload();
    change(&mut workload);
    let defaults = Defaults { image: String::new() };
    match deployment(&workload, &defaults).unwrap_err() {
        RuntimeError::Rejected { message } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deployment_is_named_and_labelled_as_the_contract_says() {
    let made = made(&workload());
    assert_eq!(made["apiVersion"], "apps/v1");
    assert_eq!(made["kind"], "Deployment");
    assert_eq!(made["metadata"]["name"], "agent-planner-1");
    let labels = json!({"app": "codevaldcortex-agent", "agent-id": "planner-1", "pool": "pool-7", "agent-type": "worker", "tier": "gold"});
    assert_eq!(made["metadata"]["labels"], labels);
    assert_eq!(made["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(made["spec"]["selector"]["matchLabels"], json!({"agent-id": "planner-1"}));
    assert_eq!(made["spec"]["replicas"], 1);
    assert_eq!(made["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(made["metadata"]["annotations"]["cvxc/incarnation"], "3");
    assert_eq!(made["metadata"]["annotations"]["cvxc/ended"], "");
    assert_eq!(made["metadata"]["annotations"]["cvxc/template"], "worker@1.4.0");
    assert_eq!(made["spec"]["template"]["metadata"]["annotations"]["cvxc/incarnation"], "3");
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["name"], "agent");
}

#[test]
fn variables_are_sorted_and_secrets_are_named_never_written() {
    let made = made(&workload());
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["env"],
        json!([
            {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}},
            {"name": "CVXC_AGENT_ID", "value": "planner-1"},
            {"name": "CVXC_STORE", "value": "arango://db:8529/fleet"},
            {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "value"}}},
            {"name": "ZONE", "value": "a"},
        ])
    );
}

#[test]
fn a_forged_agent_id_does_not_get_through() {
    let mut workload = workload();
    workload.config.env.insert("CVXC_AGENT_ID".to_owned(), "somebody-else".to_owned());
    let made = made(&workload).to_string();
    assert!(!made.contains("somebody-else"), "{made}");
}

#[test]
fn amounts_are_written_as_kubernetes_reads_them() {
    let made = made(&workload());
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["resources"],
        json!({"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"cpu": "1"}})
    );
    assert_eq!(made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 8);
}

#[test]
fn an_agent_is_neither_root_nor_privileged_unless_it_may_be() {
    let spec = &made(&workload())["spec"]["template"]["spec"];
    assert_eq!(
        spec["securityContext"],
        json!({"runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 2000, "seccompProfile": {"type": "RuntimeDefault"}})
    );
    assert_eq!(
        spec["containers"][0]["securityContext"],
        json!({"privileged": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": false, "capabilities": {"drop": ["ALL"]}})
    );
    assert_eq!(spec["automountServiceAccountToken"], false);
    let mut root = workload();
    root.config.security =
        Security { run_as_user: Some(0), privileged: true, ..Security::default() };
    let spec = &made(&root)["spec"]["template"]["spec"];
    assert_eq!(spec["securityContext"]["runAsNonRoot"], false);
    assert_eq!(spec["containers"][0]["securityContext"]["privileged"], true);
}

#[test]
fn a_root_that_cannot_be_written_leaves_a_place_to_write() {
    let mut workload = workload();
    workload.config.security.read_only_root = true;
    let spec = &made(&workload)["spec"]["template"]["spec"];
    assert_eq!(
        spec["containers"][0]["volumeMounts"],
        json!([{"name": "scratch", "mountPath": "/tmp"}])
    );
    assert_eq!(spec["volumes"], json!([{"name": "scratch", "emptyDir": {}}]));
}

#[test]
fn probes_and_pod_fields_are_taken_in_either_spelling() {
    let mut workload = workload();
    workload.config.probes = json!({
        "readiness": {"http_get": {"path": "/ready", "port": 8080}, "initial_delay_seconds": 2},
        "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 5},
    });
    workload.config.pod = json!({
        "annotations": {"sim.cvxc/start_delay": "5s"},
        "node_selector": {"zone_name": "a"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "image_pull_secrets": ["registry"],
        "service_account": "planner",
        "priority_class": "high",
        "pre_stop": {"sleep": {"seconds": 2}},
        "volumes": [{"name": "data", "mount_path": "/data", "config_map": {"name": "settings"}}],
    });
    let made = made(&workload);
    let spec = &made["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/ready", "port": 8080}));
    assert_eq!(container["readinessProbe"]["initialDelaySeconds"], 2);
    assert_eq!(container["livenessProbe"]["periodSeconds"], 5);
    assert_eq!(container["lifecycle"]["preStop"], json!({"sleep": {"seconds": 2}}));
    assert_eq!(container["volumeMounts"], json!([{"name": "data", "mountPath": "/data"}]));
    assert_eq!(spec["volumes"], json!([{"name": "data", "configMap": {"name": "settings"}}]));
    assert_eq!(spec["nodeSelector"], json!({"zone_name": "a"}));
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(
        (&spec["serviceAccountName"], &spec["priorityClassName"]),
        (&json!("planner"), &json!("high"))
    );
    assert_eq!(spec["automountServiceAccountToken"], true);
    assert_eq!(made["spec"]["template"]["metadata"]["annotations"]["sim.cvxc/start_delay"], "5s");
}

#[test]
fn what_kubernetes_would_not_take_is_refused_naming_the_field() {
    assert!(refused(|it| it.agent = AgentId::new("pool-x").unwrap()).contains("pool's workload"));
    assert!(
        refused(|it| {
            it.config.image.clear();
            it.config.command.clear();
        })
        .starts_with("command and image")
    );
    assert!(refused(|it| it.config.image.clear()).contains("kubernetes.image"));
    assert!(refused(|it| it.config.probes = json!({"lively": {}})).contains("\"lively\""));
    assert!(refused(|it| it.config.pod = json!({"host_network": true})).contains("host_network"));
    let port = json!({"readiness": {"http_get": {"path": 7, "port": 1}}});
    assert!(refused(|it| it.config.probes = port).starts_with("probes.readiness"));
    let volume = json!({"volumes": [{"name": "data", "empty_dir": {}}]});
    assert!(refused(|it| it.config.pod = volume).starts_with("pod.volumes[0].mount_path"));
    for secret in ["secret://", "secret://UPPER", "secret://a/b/c", "secret://../x"] {
        let said = refused(|it| drop(it.config.env.insert("API_KEY".into(), secret.into())));
        assert!(said.starts_with("env.API_KEY names no secret"), "{said}");
    }
}

#[test]
fn the_same_workload_makes_the_same_manifest() {
    let text = |workload: &Workload| made(workload).to_string();
    assert_eq!(text(&workload()), text(&workload()));
    let mut next = workload();
    next.incarnation = 4;
    assert_ne!(text(&workload()), text(&next));
}

#[test]
fn a_label_of_the_agents_own_cannot_pose_as_one_of_ours() {
    let mut workload = workload();
    workload.pool = None;
    workload.labels = [("app", "other"), ("agent-id", "other"), ("pool", "other")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let made = made(&workload);
    assert_eq!(
        made["metadata"]["labels"],
        json!({"app": "codevaldcortex-agent", "agent-id": "planner-1", "agent-type": "worker"})
    );
}
