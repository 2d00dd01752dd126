//! Why a pod does not do what it should, in words an operator can act on. Pure; what the cluster says is quoted, and it is
//! hostile text like any other.
//!
//! The words hold no counters and no times: the same trouble reads the same, so that it is told once.

use super::objects::{ContainerSeen, PodSeen, TerminatedSeen};

/// What is in the way of this pod; empty when nothing is, or when it has only just begun.
pub fn of(pod: &PodSeen) -> String {
    let status = &pod.status;
    if status.phase == "Failed" {
        let words = [status.reason.as_str(), status.message.as_str()];
        let said = join(words);
        return if said.is_empty() { ended_pod(pod) } else { said };
    }
    let containers = || status.init_container_statuses.iter().chain(&status.container_statuses);
    if let Some(why) = containers().find_map(waiting) {
        return why;
    }
    if let Some(why) = containers().find_map(stopped) {
        return why;
    }
    let unmet =
        |kind: &str| status.conditions.iter().find(|c| c.kind == kind && c.status == "False");
    if status.phase == "Pending" {
        return match unmet("PodScheduled") {
            Some(condition) => join([condition.reason.as_str(), condition.message.as_str()]),
            None => String::new(),
        };
    }
    let Some(condition) = unmet("Ready") else { return String::new() };
    let crashed = containers().find_map(|it| it.last_state.terminated.as_ref());
    match crashed {
        Some(end) if containers().any(|it| !it.ready) => format!("crashed: {}", ending(end)),
        Some(_) | None => join(["not ready", condition.message.as_str()]),
    }
}

fn join<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(": ")
}

/// A container that the kubelet holds back.
fn waiting(container: &ContainerSeen) -> Option<String> {
    let waiting = container.state.waiting.as_ref()?;
    // part of any start
    if matches!(waiting.reason.as_str(), "ContainerCreating" | "PodInitializing" | "") {
        return None;
    }
    let cause = match &container.last_state.terminated {
        Some(end) => format!("{}: {}", waiting.reason, ending(end)),
        None => join([waiting.reason.as_str(), waiting.message.as_str()]),
    };
    Some(cause)
}

/// A container that has ended and was not started again (yet).
fn stopped(container: &ContainerSeen) -> Option<String> {
    let end = container.state.terminated.as_ref()?;
    // an init container is meant to end
    (end.exit_code != 0 || end.reason != "Completed").then(|| ending(end))
}

/// `OOMKilled: exited with code 137: …`
fn ending(end: &TerminatedSeen) -> String {
    let how = match end.signal {
        Some(signal) if signal != 0 => format!("killed by signal {signal}"),
        Some(_) | None => format!("exited with code {}", end.exit_code),
    };
    // "Error" says no more than the code does
    let reason = if end.reason == "Error" { "" } else { end.reason.as_str() };
    join([reason, how.as_str(), end.message.as_str()])
}

fn ended_pod(pod: &PodSeen) -> String {
    let ends = pod.status.container_statuses.iter().filter_map(|it| it.state.terminated.as_ref());
    ends.map(ending).next().unwrap_or_else(|| "the pod failed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(status: Value) -> String {
        let pod = json!({"spec": {"nodeName": "node-1"}, "status": status});
        of(&serde_json::from_value(pod).unwrap())
    }

    fn waits(reason: &str, message: &str, last: Value) -> Value {
        json!({"phase": "Running", "containerStatuses": [{
            "name": "agent", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": reason, "message": message}}, "lastState": last,
        }]})
    }

    #[test]
    fn a_crash_loop_names_how_the_last_run_ended() {
        let last = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
        let status = waits("CrashLoopBackOff", "back-off 10s restarting", last);
        assert_eq!(said(status), "CrashLoopBackOff: exited with code 1");
        let last = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let status = waits("CrashLoopBackOff", "back-off 20s restarting", last);
        assert_eq!(said(status), "CrashLoopBackOff: OOMKilled: exited with code 137");
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let status = waits("ImagePullBackOff", "Back-off pulling image \"x:missing\"", json!({}));
        assert_eq!(said(status), "ImagePullBackOff: Back-off pulling image \"x:missing\"");
    }

    #[test]
    fn a_pod_that_no_node_takes_says_why() {
        let status = json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/5 nodes are available: 5 Insufficient cpu.",
        }]});
        assert_eq!(said(status), "Unschedulable: 0/5 nodes are available: 5 Insufficient cpu.");
    }

    #[test]
    fn an_evicted_pod_says_what_its_node_lacked() {
        let status = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
        assert_eq!(said(status), "Evicted: The node was low on resource: memory.");
    }

    #[test]
    fn a_readiness_that_fails_is_told_and_a_crash_before_it_comes_first() {
        let unready = json!([{"type": "Ready", "status": "False", "message": "containers with unready status: [agent]"}]);
        let mut status = json!({"phase": "Running", "conditions": unready, "containerStatuses": [
            {"name": "agent", "ready": false, "state": {"running": {}}}]});
        assert_eq!(said(status.clone()), "not ready: containers with unready status: [agent]");
        status["containerStatuses"][0]["lastState"] =
            json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        assert_eq!(said(status), "crashed: OOMKilled: exited with code 137");
    }

    #[test]
    fn a_pod_that_is_well_or_has_only_just_begun_gives_no_cause() {
        assert_eq!(
            said(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})),
            ""
        );
        assert_eq!(said(json!({"phase": "Pending"})), "");
        assert_eq!(said(waits("ContainerCreating", "", json!({}))), "");
    }
}
