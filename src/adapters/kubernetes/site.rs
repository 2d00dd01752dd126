//! What the cluster says of itself when somebody looks: nodes and what they use, namespaces, the objects behind an agent.

use std::collections::HashMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace as ClusterNamespace, Node, NodeSpec, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ListParams, ObjectMeta};
use kube::core::Request;
use kube::{Api, ResourceExt};
use serde::Deserialize;
use serde_json::Value;

use super::client::Cluster;
use super::explain::told;
use super::fault::Kind;
use super::objects::time;
use super::usage::{Amounts, billionths};
use super::{Inner, manifest, rights};
use crate::model::agent::rules::is_secret;
use crate::model::id::AgentId;
use crate::model::quantity::{Bytes, Cpu};
use crate::ports::runtime::RuntimeError;
use crate::ports::site::{Answer, Ask, Host, Namespace, Namespaces, Room};

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1/nodes";
const ROLE: &str = "node-role.kubernetes.io/";
const ZONE: &str = "topology.kubernetes.io/zone";
/// More are not told of in one answer.
const MOST: u32 = 5_000;

pub async fn answer(inner: &Inner, ask: Ask) -> Result<Answer, RuntimeError> {
    let cluster = &inner.cluster;
    Ok(match ask {
        Ask::Hosts => Answer::Hosts(hosts(cluster).await?),
        Ask::Host(name) => Answer::Host(host(cluster, &name).await?),
        Ask::Namespaces => Answer::Namespaces(namespaces(cluster).await?),
        Ask::Allowances => Answer::Allowances(rights::allowances(cluster).await?),
        Ask::Live(agent) => Answer::Live(live(inner, &agent).await?),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Used {
    items: Vec<UsedNode>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UsedNode {
    metadata: ObjectMeta,
    usage: Amounts,
}

async fn hosts(cluster: &Cluster) -> Result<Vec<Host>, RuntimeError> {
    let api: Api<Node> = Api::all(cluster.client.clone());
    let params = ListParams::default().limit(MOST);
    let (nodes, used) = tokio::join!(cluster.ask(Kind::Read, api.list(&params)), used(cluster));
    let of = |node: Node| {
        let used = used.get(&node.name_any()).copied();
        Host { used, ..shorten(node) }
    };
    Ok(nodes?.items.into_iter().map(of).collect())
}

/// What each node uses; nothing where nobody measures, or where we may not know.
async fn used(cluster: &Cluster) -> HashMap<String, Room> {
    let Ok(request) = Request::new(METRICS).list(&ListParams::default()) else {
        return HashMap::new();
    };
    let list = cluster.ask(Kind::Read, cluster.client.request::<Used>(request)).await;
    let of = |node: UsedNode| Some((node.metadata.name?, in_use(&node.usage)?));
    list.map(|list| list.items.into_iter().filter_map(of).collect()).unwrap_or_default()
}

/// Metrics are finer than what an agent may ask for.
fn in_use(usage: &Amounts) -> Option<Room> {
    if usage.cpu.is_empty() || usage.memory.is_empty() {
        return None;
    }
    let cpu = billionths(&usage.cpu)? / 1_000_000;
    let memory = billionths(&usage.memory)? / 1_000_000_000;
    Some(Room {
        cpu_millis: u64::try_from(cpu).ok()?,
        memory_bytes: u64::try_from(memory).ok()?,
        slots: None,
    })
}

fn room(of: Option<&std::collections::BTreeMap<String, Quantity>>) -> Room {
    let text = |name: &str| of.and_then(|of| of.get(name)).map(|it| it.0.as_str());
    let cpu: Option<Cpu> = text("cpu").and_then(|it| it.parse().ok());
    let memory: Option<Bytes> = text("memory").and_then(|it| it.parse().ok());
    Room {
        cpu_millis: cpu.map_or(0, |it| it.0),
        memory_bytes: memory.map_or(0, |it| it.0),
        slots: text("pods").and_then(|it| it.parse().ok()),
    }
}

fn shorten(node: Node) -> Host {
    let spec: NodeSpec = node.spec.unwrap_or_default();
    let status = node.status.unwrap_or_default();
    let labels = node.metadata.labels.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let said = |reason: &Option<String>, message: &Option<String>| {
        let words = [reason, message].into_iter().flatten().filter(|it| !it.is_empty());
        words.cloned().collect::<Vec<_>>().join(": ")
    };
    let ready = conditions.iter().find(|it| it.type_ == "Ready");
    let trouble = match ready {
        Some(it) if it.status == "True" => String::new(),
        Some(it) => format!("not ready: {}", said(&it.reason, &it.message)),
        None => "has never said that it is ready".to_owned(),
    };
    Host {
        name: node.metadata.name.unwrap_or_default(),
        trouble,
        cordoned: spec.unschedulable.unwrap_or(false),
        roles: labels.keys().filter_map(|it| it.strip_prefix(ROLE)).map(str::to_owned).collect(),
        version: status.node_info.map(|it| it.kubelet_version).unwrap_or_default(),
        zone: labels.get(ZONE).cloned().unwrap_or_default(),
        since: node.metadata.creation_timestamp.as_ref().map(time),
        capacity: room(status.capacity.as_ref()),
        allocatable: room(status.allocatable.as_ref()),
        used: None,
        conditions: conditions
            .iter()
            .map(|it| {
                (it.type_.clone(), format!("{}  {}", it.status, said(&it.reason, &it.message)))
            })
            .collect(),
    }
}

/// What a table has no room for: addresses, taints, labels, the newest events.
async fn host(cluster: &Cluster, name: &str) -> Result<Vec<(String, String)>, RuntimeError> {
    let api: Api<Node> = Api::all(cluster.client.clone());
    let Some(node) = cluster.ask(Kind::Read, api.get_opt(name)).await? else {
        return Ok(vec![("host".to_owned(), format!("{name} is gone"))]);
    };
    let mut lines = Vec::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push((name.to_owned(), value));
        }
    };
    let status = node.status.clone().unwrap_or_default();
    for address in status.addresses.into_iter().flatten() {
        add(&address.type_, address.address);
    }
    if let Some(info) = status.node_info {
        add("system", format!("{} ({})", info.os_image, info.architecture));
        add("kernel", info.kernel_version);
        add("runs containers by", info.container_runtime_version);
    }
    for taint in node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()) {
        let value = taint.value.as_deref().map(|it| format!("={it}")).unwrap_or_default();
        add("taint", format!("{}{value}:{}", taint.key, taint.effect));
    }
    for (label, value) in node.metadata.labels.iter().flatten() {
        add("label", format!("{label}={value}"));
    }
    let events: Api<Event> = Api::all(cluster.client.clone());
    let about = ListParams::default()
        .fields(&format!("involvedObject.kind=Node,involvedObject.name={name}"))
        .limit(100);
    match cluster.ask(Kind::Read, events.list(&about)).await {
        Ok(found) => lines.extend(told(found.items)),
        Err(error) => lines.push(("events".to_owned(), error.to_string())),
    }
    Ok(lines)
}

async fn namespaces(cluster: &Cluster) -> Result<Namespaces, RuntimeError> {
    let api: Api<ClusterNamespace> = Api::all(cluster.client.clone());
    let params = ListParams::default().limit(MOST);
    let of = |found: ClusterNamespace| {
        let name = found.metadata.name.unwrap_or_default();
        Namespace {
            active: name == cluster.namespace,
            name,
            phase: found.status.and_then(|it| it.phase).unwrap_or_default(),
            since: found.metadata.creation_timestamp.as_ref().map(time),
        }
    };
    let ours =
        || Namespace { name: cluster.namespace.clone(), active: true, ..Namespace::default() };
    match cluster.ask(Kind::Read, api.list(&params)).await {
        Ok(found) => {
            let complete = found.metadata.continue_.as_deref().unwrap_or_default().is_empty();
            let mut known: Vec<Namespace> = found.items.into_iter().map(of).collect();
            if !known.iter().any(|it| it.active) {
                known.push(Namespace { phase: "does not exist".to_owned(), ..ours() });
            }
            Ok(Namespaces { known, denied: None, complete })
        }
        // who may not list them still lives in one, and may go to another by its name
        Err(RuntimeError::Forbidden { message }) => {
            Ok(Namespaces { known: vec![ours()], denied: Some(message), complete: false })
        }
        Err(error) => Err(error),
    }
}

/// The Deployment and the pod that counts, as the API server has them.
async fn live(inner: &Inner, agent: &AgentId) -> Result<Vec<(String, Value)>, RuntimeError> {
    inner.whole().await?;
    let cluster = &inner.cluster;
    let mut found = Vec::new();
    let name = manifest::name(agent);
    let deployments: Api<Deployment> = inner.deployments();
    if let Some(it) = cluster.ask(Kind::Read, deployments.get_opt(&name)).await? {
        found.push((format!("Deployment {name}"), laid_open(&it)?));
    }
    if let Some(pod) = inner.pod(agent) {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        if let Some(it) = cluster.ask(Kind::Read, pods.get_opt(&pod.name)).await? {
            found.push((format!("Pod {}", pod.name), laid_open(&it)?));
        }
    }
    match found.is_empty() {
        true => Err(RuntimeError::Gone { agent: agent.clone() }),
        false => Ok(found),
    }
}

/// The object as it is, without who set which field, and without the values of secrets that somebody wrote out.
fn laid_open(object: &impl serde::Serialize) -> Result<Value, RuntimeError> {
    let mut value =
        serde_json::to_value(object).map_err(|error| manifest::reject("the object", error))?;
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    mask(&mut value);
    Ok(value)
}

/// What `kubectl apply` keeps of what it was given: the same values once more, wherever they stood.
const COPY: &str = "kubectl.kubernetes.io/last-applied-configuration";
const A_COPY: &str = "(not shown: a copy of the manifest)";
const MASKED: &str = "(masked)";

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let named = fields.get("name").and_then(Value::as_str).is_some_and(is_secret);
            if named && let Some(secret @ Value::String(_)) = fields.get_mut("value") {
                *secret = MASKED.into();
            }
            if let Some(copy) = fields.get_mut(COPY) {
                *copy = A_COPY.into();
            }
            fields.values_mut().for_each(mask);
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::String(text) if text.starts_with('{') && text.contains("\"env\"") => {
            *text = A_COPY.to_owned(); // other tools' copies
        }
        Value::String(text) => {
            if let Some(masked) = without_credentials(text) {
                *text = masked;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text with what stands before the `@` of each address in it masked; `None` where nothing does.
fn without_credentials(text: &str) -> Option<String> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends =
            |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>');
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        rest = match authority.rfind('@') {
            Some(host) => {
                shown.push_str(MASKED);
                &after[host..]
            }
            None => after,
        };
    }
    if shown.contains(MASKED) { Some(shown + rest) } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(value: Value) -> Host {
        shorten(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_node_is_told_with_its_room_its_roles_and_why_it_is_not_ready() {
        let seen = node(json!({
            "metadata": {"name": "node-1", "labels": {"node-role.kubernetes.io/worker": "", ZONE: "zone-2"}},
            "spec": {"unschedulable": true},
            "status": {
                "capacity": {"cpu": "32", "memory": "256Gi", "pods": "110"},
                "allocatable": {"cpu": "31500m", "memory": "250Gi", "pods": "100"},
                "conditions": [
                    {"type": "MemoryPressure", "status": "False", "reason": "Enough"},
                    {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "silent"},
                ],
            },
        }));
        assert!(seen.cordoned);
        assert_eq!((seen.roles, seen.zone.as_str()), (vec!["worker".to_owned()], "zone-2"));
        assert_eq!(seen.trouble, "not ready: NodeStatusUnknown: silent");
        assert_eq!((seen.capacity.cpu_millis, seen.allocatable.cpu_millis), (32_000, 31_500));
        assert_eq!(seen.allocatable.slots, Some(100));
        assert_eq!(seen.conditions[0], ("MemoryPressure".to_owned(), "False  Enough".to_owned()));
    }

    #[test]
    fn what_a_node_uses_is_read_in_the_fine_units_of_metrics() {
        let usage = Amounts { cpu: "3996957n".into(), memory: "4Mi".into() };
        let room = in_use(&usage).unwrap();
        assert_eq!((room.cpu_millis, room.memory_bytes), (3, 4 << 20));
        assert_eq!(in_use(&Amounts::default()), None, "missing is not zero");
    }

    #[test]
    fn a_live_object_is_shown_without_secrets_that_were_written_out() {
        let shown = laid_open(&json!({
            "metadata": {"managedFields": [1], "annotations": {
                "last": "{\"env\":[\"hunter2\"]}",
                COPY: "{\"args\":[\"--token=hunter2\"]}",
            }},
            "spec": {"containers": [{"env": [
                {"name": "API_TOKEN", "value": "hunter2"},
                {"name": "LOG_LEVEL", "value": "debug"},
                {"name": "CVXC_STORE", "value": "arangodb://cvxc:hunter2@db:8529/fleet"},
            ]}]},
        }))
        .unwrap();
        let text = shown.to_string();
        assert!(!text.contains("hunter2") && !text.contains("managedFields"), "{text}");
        assert!(text.contains("debug") && text.contains("@db:8529/fleet"), "{text}");
    }

    #[test]
    fn what_stands_before_the_at_sign_of_an_address_is_masked_and_nothing_else() {
        for (text, shown) in [
            ("amqp://u:p@a,http://b/c@d", Some("amqp://(masked)@a,http://b/c@d")),
            (
                "-u x --to=https://me:p@ss@h:1?q=a@b ok",
                Some("-u x --to=https://(masked)@h:1?q=a@b ok"),
            ),
            ("https://h/path@1", None),
            ("mail me@here", None),
            ("://@", Some("://(masked)@")),
        ] {
            assert_eq!(without_credentials(text).as_deref(), shown, "{text}");
        }
    }
}
