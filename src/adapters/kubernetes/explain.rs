//! Everything that the cluster knows of one agent's pod, asked for when somebody looks: too much to be kept for all.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Event, Pod};
use kube::Api;
use kube::api::ListParams;

use super::client::Cluster;
use super::fault::Kind;
use super::objects::time;
use crate::ports::runtime::RuntimeError;

/// The newest events that are told.
const EVENTS: usize = 6;
/// Events that are asked for: the server gives them in no order of time.
const ASKED: u32 = 100;

/// Lines of name and value.
///
/// # Errors
/// Those of the API server.
pub async fn explain(cluster: &Cluster, pod: &str) -> Result<Vec<(String, String)>, RuntimeError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let Some(found) = cluster.ask(Kind::Read, pods.get_opt(pod)).await? else {
        return Ok(vec![("pod".to_owned(), format!("{pod} is gone"))]);
    };
    let mut lines = of(&found);
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let about = ListParams::default()
        .fields(&format!("involvedObject.kind=Pod,involvedObject.name={pod}"))
        .limit(ASKED);
    match cluster.ask(Kind::Read, events.list(&about)).await {
        Ok(found) => lines.extend(told(found.items)),
        Err(error) => lines.push(("events".to_owned(), error.to_string())),
    }
    Ok(lines)
}

fn of(pod: &Pod) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push((name.to_owned(), value));
        }
    };
    let status = pod.status.clone().unwrap_or_default();
    add("pod", pod.metadata.name.clone());
    add("pod phase", joined([status.phase, status.reason, status.message]));
    let ending = pod.metadata.deletion_timestamp.as_ref();
    add("ending", ending.map(|at| format!("asked to end by {}, and still there", at.0)));
    add("address", status.pod_ip);
    add("node", pod.spec.as_ref().and_then(|spec| spec.node_name.clone()));
    for condition in status.conditions.into_iter().flatten().filter(|it| it.status != "True") {
        let what = format!("not {}", condition.type_);
        add(&what, joined([condition.reason, condition.message]).or(Some(condition.status)));
    }
    for container in status.container_statuses.into_iter().flatten() {
        let ContainerStatus { name, image, image_id, restart_count, state, last_state, .. } =
            container;
        add(&format!("{name} image"), joined([Some(image), Some(image_id)]));
        add(&format!("{name} state"), state.and_then(|it| words(&it)));
        add(&format!("{name} last run"), last_state.and_then(|it| words(&it)));
        add(&format!("{name} restarts"), Some(restart_count.to_string()));
    }
    lines
}

fn joined<const N: usize>(words: [Option<String>; N]) -> Option<String> {
    let words: Vec<String> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join(": "))
}

fn words(state: &ContainerState) -> Option<String> {
    if let Some(it) = &state.waiting {
        return joined([Some("waiting".to_owned()), it.reason.clone(), it.message.clone()]);
    }
    if let Some(it) = &state.terminated {
        let code = format!("exited with code {}", it.exit_code);
        let at = it.finished_at.as_ref().map(|at| format!("at {}", time(at)));
        return joined([it.reason.clone(), Some(code), it.message.clone(), at]);
    }
    let running = state.running.as_ref()?;
    let since = running.started_at.as_ref().map(|at| format!("since {}", time(at)));
    joined([Some("running".to_owned()), since])
}

pub(super) fn told(mut events: Vec<Event>) -> Vec<(String, String)> {
    let at = |event: &Event| {
        let micro = event.event_time.as_ref().map(|at| at.0);
        let at = event.last_timestamp.as_ref().map(|at| at.0).or(micro);
        at.or(event.metadata.creation_timestamp.as_ref().map(|at| at.0))
    };
    events.sort_by_key(|event| std::cmp::Reverse(at(event)));
    let line = |event: Event| {
        let at = at(&event).map(|at| at.strftime("%H:%M:%S").to_string()).unwrap_or_default();
        let times = event.count.filter(|count| *count > 1).map(|count| format!(" (×{count})"));
        let what = joined([event.reason, event.message]).unwrap_or_default();
        (format!("event {at}"), format!("{what}{}", times.unwrap_or_default()))
    };
    events.into_iter().take(EVENTS).map(line).collect()
}
