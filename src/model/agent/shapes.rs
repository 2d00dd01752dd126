//! Agents as other programs write them: camelCase with `resourceLimits`, snake_case with `state`, and PascalCase inside
//! `config` with durations in nanoseconds. Each is turned into our own shape, field by field, so that it can be shown as
//! it is and rewritten on request. What has no place in our shape is kept under its own name.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Desired, Phase};
use crate::model::time::{Time, span};

type Body = Map<String, Value>;

/// A document in our shape, and what was done to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    pub body: Body,
    /// One line for each field that moved or changed: `status: "running" → phase: "running"`.
    pub rewrites: Vec<String>,
}

const STATES: [&str; 4] = ["status", "state", "Status", "State"];
const CONFIGS: [&str; 3] = ["configuration", "config", "Config"];

/// Whether an agent's document was written by a program that does not know our shape.
pub fn is_foreign(body: &Body) -> bool {
    !body.contains_key("phase")
        && STATES.iter().any(|name| body.get(*name).is_some_and(Value::is_string))
}

/// The phase that one of the other vocabularies means.
fn phase(word: &str) -> Option<Phase> {
    let word = word.trim().to_ascii_lowercase();
    let word =
        ["agentstatus", "agentstate"].iter().find_map(|it| word.strip_prefix(it)).unwrap_or(&word);
    Some(match word.trim_start_matches(['_', '-']) {
        "created" | "pending" | "registered" | "scheduled" => Phase::Pending,
        "deploying" | "starting" => Phase::Deploying,
        "running" | "active" | "healthy" | "degraded" => Phase::Running,
        "paused" => Phase::Paused,
        "draining" => Phase::Draining,
        "inactive" | "stopped" => Phase::Stopped,
        "failed" | "error" | "unhealthy" => Phase::Failed,
        "deleted" | "retired" => Phase::Deleted,
        _ => return None,
    })
}

/// The document in our shape; none when it is in it.
///
/// # Errors
/// In words, when nobody can tell what it means.
pub fn ours(key: &str, body: &Body) -> Result<Option<Rewritten>, String> {
    if !is_foreign(body) {
        return Ok(None);
    }
    let mut pen = Pen { left: body.clone(), out: Body::new(), rewrites: Vec::new() };
    let name =
        pen.take(&["name", "Name"]).map_or(("name", Value::from(key)), |(_, name)| ("name", name));
    pen.out.insert("name".to_owned(), name.1.clone());
    pen.moved(&["type", "Type"], "type");
    let state = STATES.iter().copied().find(|name| body.get(*name).is_some_and(Value::is_string));
    let state = state.unwrap_or_default();
    let word = body.get(state).and_then(Value::as_str).unwrap_or_default();
    let phase = phase(word).ok_or_else(|| format!("{state} {word:?} is none that is known"))?;
    pen.left.shift_remove(state);
    pen.put("phase", json!(phase), &format!("{state}: {word:?}"));
    pen.config();
    let startable = pen.out.get("config").is_some_and(|config| {
        let some = |name: &str| config.get(name).is_some_and(|it| it != "" && it != &json!([]));
        some("command") || some("image")
    });
    let desired = match phase {
        Phase::Paused => Desired::Paused,
        Phase::Stopped | Phase::Failed => Desired::Stopped,
        Phase::Deleted => Desired::Deleted,
        _ if !startable => Desired::Stopped,
        Phase::Pending | Phase::Deploying | Phase::Running | Phase::Draining => Desired::Running,
    };
    let why = if startable { "phase" } else { "no command and no image" };
    if !body.contains_key("desired") {
        pen.put("desired", json!(desired), why);
    }
    if phase != Phase::Deleted && !body.contains_key("live_name") {
        pen.out.insert("live_name".to_owned(), name.1);
    }
    if !body.contains_key("tenant") {
        pen.out.insert("tenant".to_owned(), "default".into());
    }
    if let Some((from, healthy)) = pen.take(&["is_healthy", "isHealthy", "IsHealthy"]) {
        let status = if healthy == Value::Bool(true) { "healthy" } else { "unhealthy" };
        let health =
            json!({"status": status, "message": format!("as its own program said ({from})")});
        pen.put("health", health, &format!("{from}: {healthy}"));
    }
    for (aliases, own) in [
        (&["created_at", "createdAt", "CreatedAt"], "created_at"),
        (&["updated_at", "updatedAt", "UpdatedAt"], "updated_at"),
    ] {
        pen.time(aliases, own);
    }
    pen.labels();
    pen.deployment();
    let Pen { left, mut out, rewrites } = pen;
    for (name, value) in left {
        out.entry(name).or_insert(value);
    }
    Ok(Some(Rewritten { body: out, rewrites }))
}

/// Fields of runs of workflows that others write in camelCase; `[]` goes into each item of a list.
pub const EXECUTION: [(&str, &str); 10] = [
    ("workflowId", "workflow_id"),
    ("startTime", "start_time"),
    ("endTime", "end_time"),
    ("tasks[].agentId", "agent_id"),
    ("tasks[].startTime", "start_time"),
    ("tasks[].endTime", "end_time"),
    ("metrics.totalTasks", "total_tasks"),
    ("metrics.completedTasks", "completed_tasks"),
    ("metrics.failedTasks", "failed_tasks"),
    ("metrics.totalAgents", "total_agents"),
];

/// The same for who talked to whom.
pub const COMMUNICATION: [(&str, &str); 2] =
    [("messageType", "message_type"), ("deliveryTime", "delivery_time")];

/// The document with fields renamed, where it has any of them.
pub fn renamed(body: &Body, names: &[(&str, &str)]) -> Option<Rewritten> {
    let (mut body, mut rewrites) = (body.clone(), Vec::new());
    for (path, own) in names {
        let (place, old) = path.rsplit_once('.').unwrap_or(("", path));
        let mut met = false;
        match place.strip_suffix("[]") {
            Some(list) => {
                for item in body.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    met |= item.as_object_mut().is_some_and(|item| rename(item, old, own));
                }
            }
            None if place.is_empty() => met = rename(&mut body, old, own),
            None => {
                let inner = body.get_mut(place).and_then(Value::as_object_mut);
                met = inner.is_some_and(|inner| rename(inner, old, own));
            }
        }
        if met {
            rewrites.push(format!("{path} → {own}"));
        }
    }
    (!rewrites.is_empty()).then_some(Rewritten { body, rewrites })
}

/// Renames a field where its own name is free.
fn rename(body: &mut Body, old: &str, own: &str) -> bool {
    if body.contains_key(own) {
        return false;
    }
    let Some(value) = body.shift_remove(old) else { return false };
    body.insert(own.to_owned(), value);
    true
}

struct Pen {
    left: Body,
    out: Body,
    rewrites: Vec<String>,
}

impl Pen {
    fn take(&mut self, aliases: &[&'static str]) -> Option<(&'static str, Value)> {
        aliases.iter().find_map(|name| self.left.shift_remove(*name).map(|value| (*name, value)))
    }

    fn put(&mut self, own: &str, value: Value, from: &str) {
        self.rewrites.push(format!("{from} → {own}: {value}"));
        self.out.insert(own.to_owned(), value);
    }

    fn moved(&mut self, aliases: &[&'static str], own: &str) {
        let Some((from, value)) = self.take(aliases) else { return };
        if from == own {
            self.out.insert(own.to_owned(), value);
        } else {
            self.put(own, value, from);
        }
    }

    /// Times in any zone and with any number of digits become ours.
    fn time(&mut self, aliases: &[&'static str], own: &str) {
        let Some((from, value)) = self.take(aliases) else { return };
        let read = value.as_str().and_then(|text| text.parse::<Time>().ok());
        let own_form = read.map_or_else(|| value.clone(), |time| time.to_string().into());
        if from == own && own_form == value {
            self.out.insert(own.to_owned(), value);
        } else {
            self.put(own, own_form, &format!("{from}: {value}"));
        }
    }

    /// Metadata is labels where all of it is texts.
    fn labels(&mut self) {
        let texts =
            |value: &Value| value.as_object().is_some_and(|it| it.values().all(Value::is_string));
        if self.left.contains_key("labels") {
            return;
        }
        if let Some((from, value)) = self.take(&["metadata", "Metadata"]) {
            if texts(&value) {
                self.put("labels", value, from);
            } else {
                self.left.insert(from.to_owned(), value);
            }
        }
    }

    fn deployment(&mut self) {
        let Some((from, value)) = self.take(&["deployment", "Deployment"]) else { return };
        let Value::Object(fields) = value else {
            self.left.insert(from.to_owned(), value);
            return;
        };
        let mut own = Body::new();
        for (name, value) in fields {
            let snake = snake(&name);
            if snake != name {
                self.rewrites.push(format!("{from}.{name} → deployment.{snake}"));
            }
            own.insert(snake, value);
        }
        self.out.insert("deployment".to_owned(), Value::Object(own));
    }

    fn config(&mut self) {
        let found = self.take(&CONFIGS);
        let (from, fields) = match found {
            Some((from, Value::Object(fields))) => (from, fields),
            Some((from, other)) => {
                self.left.insert(from.to_owned(), other);
                return;
            }
            None => ("config", Body::new()),
        };
        let mut config = Body::new();
        for (name, value) in fields {
            let (own, value) = field(&snake(&name), value);
            let (old, new) = (format!("{from}.{name}"), format!("config.{own}"));
            if old != new {
                self.rewrites.push(format!("{old} → {new}: {value}"));
            }
            set(&mut config, &own, value);
        }
        let image = self.left.get("deployment").or_else(|| self.left.get("Deployment"));
        let image = image.and_then(|it| it.get("image").or_else(|| it.get("Image"))).cloned();
        if let Some(image) = image.filter(|_| !config.contains_key("image")) {
            self.rewrites.push(format!("deployment.image → config.image: {image}"));
            config.insert("image".to_owned(), image);
        }
        self.out.insert("config".to_owned(), Value::Object(config));
    }
}

/// Where a configuration's field has its place, as a dotted path, and its value there.
fn field(name: &str, value: Value) -> (String, Value) {
    let inside = |value: Value| match value {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (snake(&name), value)).collect())
        }
        other => other,
    };
    let own = match name {
        "resource_limits" | "limits" => return ("resources.limits".into(), inside(value)),
        "resource_requests" | "requests" => return ("resources.requests".into(), inside(value)),
        "cpu_limit" => "resources.limits.cpu",
        "memory_limit" => "resources.limits.memory",
        "cpu_request" => "resources.requests.cpu",
        "memory_request" => "resources.requests.memory",
        "environment_variables" | "environment" => "env",
        "container_image" => "image",
        "security_context" => {
            let Value::Object(fields) = inside(value) else {
                return ("security_context".into(), Value::Null);
            };
            let renamed = fields.into_iter().map(|(name, value)| {
                let own = if name == "read_only_root_filesystem" {
                    "read_only_root".into()
                } else {
                    name
                };
                (own, value)
            });
            return ("security".into(), Value::Object(renamed.collect()));
        }
        "heartbeat_interval" => return ("heartbeat.interval".into(), duration(value)),
        "shutdown_timeout" | "grace_period" => return ("grace".into(), duration(value)),
        "startup_timeout" => return ("start_timeout".into(), duration(value)),
        // other durations keep their name, and say their unit
        other if other.ends_with("_timeout") || other.ends_with("_interval") => {
            return (other.to_owned(), duration(value));
        }
        other => other,
    };
    (own.to_owned(), value)
}

/// Nanoseconds, as Go writes durations, in our words.
fn duration(value: Value) -> Value {
    match value.as_u64() {
        Some(nanos) => span::format(Duration::from_nanos(nanos)).into(),
        None => value,
    }
}

fn set(into: &mut Body, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(into.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = into.entry(first.to_owned()).or_insert_with(|| json!({}));
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// `cpuUsage`, `CPULimit`, `MaxTasks` in snake_case.
pub fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 4);
    for (at, letter) in letters.iter().enumerate() {
        if letter.is_ascii_uppercase() {
            let after_lower =
                at > 0 && !letters[at - 1].is_ascii_uppercase() && letters[at - 1] != '_';
            let before_lower = at > 0
                && letters[at - 1].is_ascii_uppercase()
                && letters.get(at + 1).is_some_and(char::is_ascii_lowercase);
            if after_lower || before_lower {
                out.push('_');
            }
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::agent::Agent;
    use crate::model::health::HealthStatus;

    fn rewritten(value: Value) -> (Value, Vec<String>) {
        let Value::Object(body) = value else { panic!("an object") };
        let done = ours("agent-1", &body).unwrap().expect("it is foreign");
        (Value::Object(done.body), done.rewrites)
    }

    #[test]
    fn camel_case_becomes_ours_and_what_is_unknown_stays() {
        let (body, rewrites) = rewritten(json!({
            "name": "ocr-1", "type": "ocr", "status": "running",
            "configuration": {
                "resourceLimits": {"cpu": "500m", "memory": "512Mi"},
                "environmentVariables": {"LOG": "debug"},
                "securityContext": {"runAsUser": 1000, "readOnlyRootFilesystem": true},
            },
            "deployment": {"clusterId": "c1", "namespace": "agents", "podName": "p-1", "image": "ocr:2"},
            "metrics": {"cpuUsage": 0.65}, "state": {"page": 3},
            "createdAt": "2025-11-11T10:00:00.5+01:00", "updatedAt": "2025-11-11T10:00:00Z",
        }));
        let agent: Agent = serde_json::from_value(body.clone()).unwrap();
        assert_eq!((agent.name.as_str(), agent.kind.as_str()), ("ocr-1", "ocr"));
        assert_eq!((agent.phase, agent.desired), (Phase::Running, Desired::Running));
        assert_eq!(agent.config.image, "ocr:2");
        assert_eq!(agent.config.env["LOG"], "debug");
        assert_eq!(agent.config.security.run_as_user, Some(1000));
        assert!(agent.config.security.read_only_root);
        assert_eq!(body["config"]["resources"]["limits"]["memory"], "512Mi");
        assert_eq!(body["deployment"]["pod_name"], "p-1");
        assert_eq!(agent.created_at.to_string(), "2025-11-11T09:00:00.500Z");
        assert_eq!(
            (&body["metrics"]["cpuUsage"], &body["state"]["page"]),
            (&json!(0.65), &json!(3))
        );
        assert!(body.get("status").is_none() && body.get("configuration").is_none());
        assert!(
            rewrites.contains(&"status: \"running\" → phase: \"running\"".to_owned()),
            "{rewrites:#?}"
        );
        let again = body.as_object().unwrap();
        assert_eq!(ours("agent-1", again), Ok(None), "it is ours by now");
    }

    #[test]
    fn snake_case_with_a_pascal_case_config_and_nanoseconds_becomes_ours() {
        let (body, _) = rewritten(json!({
            "id": "a", "name": "a", "type": "worker", "state": "paused", "metadata": {"team": "red"},
            "config": {
                "HeartbeatInterval": 5_000_000_000_u64, "CPULimit": "1", "TaskTimeout": 1_500_000_000,
                "MaxConcurrentTasks": 4, "Command": ["worker"],
            },
            "is_healthy": false, "created_at": "2025-11-11T10:00:00Z",
        }));
        let agent: Agent = serde_json::from_value(body.clone()).unwrap();
        assert_eq!((agent.phase, agent.desired), (Phase::Paused, Desired::Paused));
        assert_eq!(agent.config.heartbeat.interval, Duration::from_secs(5));
        let timeout = span::format(Duration::from_millis(1_500));
        assert_eq!(body["config"]["task_timeout"], timeout);
        assert_eq!(body["config"]["max_concurrent_tasks"], 4);
        assert_eq!(body["config"]["resources"]["limits"]["cpu"], "1");
        assert_eq!(agent.config.command, ["worker"]);
        assert_eq!(agent.health.status, HealthStatus::Unhealthy);
        assert_eq!(agent.labels["team"], "red");
        assert_eq!(body["id"], "a");
    }

    #[test]
    fn what_could_not_be_started_here_is_wanted_stopped() {
        let (body, _) = rewritten(json!({"name": "a", "type": "x", "state": "Running"}));
        assert_eq!((&body["phase"], &body["desired"]), (&json!("running"), &json!("stopped")));
    }

    #[test]
    fn ours_is_left_alone_and_a_strange_word_is_said() {
        let body = |value: Value| value.as_object().unwrap().clone();
        assert_eq!(
            ours("a", &body(json!({"name": "a", "phase": "running", "status": "x"}))),
            Ok(None)
        );
        assert_eq!(ours("a", &body(json!({"name": "a"}))), Ok(None));
        let said = ours("a", &body(json!({"name": "a", "status": "levitating"}))).unwrap_err();
        assert!(said.contains("levitating"), "{said}");
    }

    #[test]
    fn runs_and_communications_keep_what_is_inside_them() {
        let body = json!({
            "workflowId": "w", "status": "running", "context": {"inputData": 1},
            "tasks": [{"id": "t", "agentId": "a", "result": {"recordsProcessed": 3}}, "odd"],
            "metrics": {"totalTasks": 2},
        });
        let done = renamed(body.as_object().unwrap(), &EXECUTION).unwrap();
        let body = Value::Object(done.body);
        assert_eq!(
            (&body["workflow_id"], &body["tasks"][0]["agent_id"]),
            (&json!("w"), &json!("a"))
        );
        assert_eq!(body["tasks"][0]["result"]["recordsProcessed"], 3);
        assert_eq!(
            (&body["metrics"]["total_tasks"], &body["context"]["inputData"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(done.rewrites.len(), 3);
        assert_eq!(renamed(body.as_object().unwrap(), &EXECUTION), None);
    }

    #[test]
    fn names_are_put_into_snake_case() {
        for (name, snaked) in [
            ("cpuUsage", "cpu_usage"),
            ("CPULimit", "cpu_limit"),
            ("MaxTasks", "max_tasks"),
            ("already_snake", "already_snake"),
            ("ID", "id"),
            ("podName", "pod_name"),
            ("", ""),
        ] {
            assert_eq!(snake(name), snaked);
        }
    }
}
