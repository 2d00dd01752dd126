//! From one agent's Deployment and pods to what the engine sees of its workload. Pure.

use super::objects::{Deployed, Host, PodPhase, Podded};
use super::table::Entry;
use crate::model::id::AgentId;
use crate::ports::runtime::{Exit, Observed, State};

/// What is said of a workload that ended because it was asked to. How its processes ended is known to those who watched.
const ENDED: &str = "ended as asked";
/// A kubelet kills what it has asked to end only then.
const KILLED: &str = "did not end within its grace and was killed";
const SIGKILL: i32 = 9;

/// The pod that counts.
pub fn newest(entry: &Entry) -> Option<&Podded> {
    entry.pods.values().max_by_key(|pod| (pod.incarnation, !pod.ending, pod.created, &pod.name))
}

/// The pods that no longer count, the newest first.
pub fn earlier(entry: &Entry) -> Vec<&Podded> {
    let counts = newest(entry).map(|pod| &pod.name);
    let mut rest: Vec<&Podded> =
        entry.pods.values().filter(|pod| Some(&pod.name) != counts).collect();
    rest.sort_by_key(|pod| std::cmp::Reverse(pod.created));
    rest
}

/// What an earlier pod has come to, for `describe`.
pub fn fate(pod: &Podded) -> String {
    let name = &pod.name;
    match (pod.ending, pod.why.as_str()) {
        (true, _) => format!("{name}: asked to end, and still there"),
        (false, "") => format!("{name}: {:?}", pod.phase).to_lowercase(),
        (false, why) => format!("{name}: {why}"),
    }
}

/// `None`: there is nothing of it. `host` is the node of the pod that counts.
pub fn observe(agent: &AgentId, entry: &Entry, host: Option<&Host>) -> Option<Observed> {
    let newest = newest(entry);
    let Some(deployed) = &entry.deployed else {
        if agent.is_of_crew() {
            return newest.map(|pod| copy(agent, pod, host));
        }
        // its Deployment went; what is left of it goes too, or was left behind on purpose
        let pod = newest?;
        let state = if pod.ending { State::Ending } else { State::Running };
        let message = "its Deployment is gone";
        return Some(seen(agent, pod.incarnation, state, &pod.name, Some(pod), message));
    };
    let of = |state, pod, message: &str| {
        Some(seen(agent, deployed.incarnation, state, &deployed.name, pod, message))
    };
    if deployed.going {
        return of(State::Ending, newest, "its Deployment is being deleted");
    }
    if deployed.ended.is_some_and(|ended| ended >= deployed.incarnation) {
        return match newest {
            // before its controller knows, it may still be making one
            None if deployed.empty => {
                let last = entry.last.filter(|(of, _)| *of == deployed.incarnation);
                let exit = last.map_or(Exit::Unknown, |(_, exit)| exit);
                let message = if exit == Exit::Signal(SIGKILL) { KILLED } else { ENDED };
                of(State::Exited, None, message).map(|seen| Observed { exit: Some(exit), ..seen })
            }
            None => of(State::Ending, None, ""),
            Some(pod) => of(State::Ending, Some(pod), ""),
        };
    }
    if deployed.parked {
        return of(State::Parked, newest, "paused: kept at 0 replicas");
    }
    let mine = newest.filter(|pod| pod.incarnation == deployed.incarnation);
    let Some(pod) = mine else { return of(State::Starting, None, waits(deployed, newest)) };
    if pod.ending {
        return of(State::Starting, None, &format!("its pod is being deleted: {}", pod.name));
    }
    // what is said of a pod whose node does not speak is old
    if let Some(host) = host.filter(|host| !host.trouble.is_empty()) {
        return of(State::Lost, Some(pod), &host.trouble);
    }
    match pod.phase {
        PodPhase::Running if pod.ready => {
            let earlier = earlier(entry);
            let ending = earlier.iter().find(|pod| pod.ending);
            let said = ending.map(|pod| format!("an earlier pod is still ending: {}", pod.name));
            let failed =
                |it: &&&Podded| it.incarnation == pod.incarnation && it.phase == PodPhase::Failed;
            // each was replaced, as a container that fails is started again
            let replaced = u32::try_from(earlier.iter().filter(failed).count()).unwrap_or(u32::MAX);
            of(State::Running, Some(pod), &said.unwrap_or_default())
                .map(|seen| Observed { restarts: seen.restarts.saturating_add(replaced), ..seen })
        }
        // it has failed, and why no other comes in its place is news
        PodPhase::Failed if !deployed.refusal.is_empty() => {
            of(State::Starting, Some(pod), &deployed.refusal)
        }
        PodPhase::Unknown => of(State::Lost, Some(pod), "its node does not answer"),
        PodPhase::Succeeded if pod.why.is_empty() => {
            of(State::Starting, Some(pod), "its program ended by itself")
        }
        PodPhase::Running | PodPhase::Pending | PodPhase::Succeeded | PodPhase::Failed => {
            of(State::Starting, Some(pod), &pod.why)
        }
    }
}

/// One pod of a pool's workload: what it is, its agent is.
fn copy(agent: &AgentId, pod: &Podded, host: Option<&Host>) -> Observed {
    let of = |state, message: &str| Observed {
        exit: None,
        ..seen(agent, pod.incarnation, state, &pod.name, Some(pod), message)
    };
    if pod.ending {
        return of(State::Ending, "");
    }
    match pod.phase {
        PodPhase::Failed | PodPhase::Succeeded => Observed {
            exit: Some(pod.exit.unwrap_or(Exit::Unknown)),
            ..of(State::Exited, &pod.why)
        },
        PodPhase::Running | PodPhase::Pending | PodPhase::Unknown => match host {
            Some(host) if !host.trouble.is_empty() => of(State::Lost, &host.trouble),
            _ if pod.phase == PodPhase::Unknown => of(State::Lost, "its node does not answer"),
            _ if pod.phase == PodPhase::Running && pod.ready => of(State::Running, ""),
            _ => of(State::Starting, &pod.why),
        },
    }
}

/// Why there is no pod of its incarnation yet.
fn waits<'a>(deployed: &'a Deployed, newest: Option<&Podded>) -> &'a str {
    if !deployed.refusal.is_empty() {
        &deployed.refusal
    } else if deployed.replicas == 0 {
        "scaled to 0 by somebody else"
    } else if newest.is_some() {
        "waits for its earlier pod to end"
    } else {
        ""
    }
}

fn seen(
    agent: &AgentId,
    incarnation: u64,
    state: State,
    workload: &str,
    pod: Option<&Podded>,
    message: &str,
) -> Observed {
    Observed {
        agent: agent.clone(),
        incarnation,
        state,
        pid: None,
        node: pod.map(|pod| pod.node.clone()).unwrap_or_default(),
        workload: workload.to_owned(),
        restarts: pod.map_or(0, |pod| pod.restarts),
        message: message.to_owned(),
        exit: (state == State::Exited).then_some(Exit::Unknown),
        started_at: pod.and_then(|pod| pod.started_at),
        copy_of: pod.and_then(|pod| pod.copy_of.clone()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::time::Time;

    fn agent() -> AgentId {
        AgentId::new("a").unwrap()
    }

    fn deployed() -> Deployed {
        Deployed {
            unapplied: false,
            name: "agent-a".to_owned(),
            uid: "u".to_owned(),
            version: 1,
            incarnation: 2,
            ended: None,
            replicas: 1,
            parked: false,
            empty: false,
            going: false,
            refusal: String::new(),
        }
    }

    pub fn pod(name: &str, incarnation: u64, created: i64) -> Podded {
        Podded {
            copy_of: None,
            name: name.to_owned(),
            uid: name.to_owned(),
            version: 1,
            incarnation,
            created: Time::from_millis(created),
            ending: false,
            grace: 30,
            node: "node-1".to_owned(),
            phase: PodPhase::Running,
            ready: true,
            restarts: 0,
            started_at: Some(Time::from_millis(created)),
            why: String::new(),
            exit: None,
        }
    }

    fn observed(deployed: Option<Deployed>, pods: Vec<Podded>) -> Option<Observed> {
        let pods = pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect();
        observe(&agent(), &Entry { deployed, pods, ..Entry::default() }, None)
    }

    fn state(deployed: Deployed, pods: Vec<Podded>) -> (State, String) {
        let seen = observed(Some(deployed), pods).unwrap();
        (seen.state, seen.message)
    }

    #[test]
    fn the_newest_pod_of_the_wanted_incarnation_counts() {
        let crashed = Podded { ready: false, why: "CrashLoopBackOff".to_owned(), ..pod("a", 2, 5) };
        assert_eq!(state(deployed(), vec![crashed.clone(), pod("b", 2, 9)]).0, State::Running);
        let (seen, why) = state(deployed(), vec![crashed, pod("b", 2, 1)]);
        assert_eq!((seen, why.as_str()), (State::Starting, "CrashLoopBackOff"));
        let (seen, why) = state(deployed(), vec![pod("old", 1, 9)]);
        assert_eq!((seen, why.as_str()), (State::Starting, "waits for its earlier pod to end"));
    }

    #[test]
    fn earlier_pods_that_stay_are_told_and_those_that_failed_were_starts() {
        let why = "Evicted: low on memory".to_owned();
        let evicted = Podded { phase: PodPhase::Failed, ready: false, why, ..pod("a", 2, 5) };
        let seen = observed(Some(deployed()), vec![evicted.clone(), pod("b", 2, 9)]).unwrap();
        assert_eq!((seen.state, seen.restarts, seen.message.as_str()), (State::Running, 1, ""));
        assert_eq!(fate(&evicted), "a: Evicted: low on memory");
        let stuck = Podded { ending: true, ..pod("a", 2, 5) };
        let (seen, why) = state(deployed(), vec![stuck.clone(), pod("b", 2, 9)]);
        assert_eq!((seen, why.as_str()), (State::Running, "an earlier pod is still ending: a"));
        assert_eq!(fate(&stuck), "a: asked to end, and still there");
        // a quota that lets no other come is what matters
        let refused = Deployed { refusal: "exceeded quota: few".to_owned(), ..deployed() };
        assert_eq!(state(refused, vec![evicted]), (State::Starting, "exceeded quota: few".into()));
    }

    #[test]
    fn what_was_asked_to_end_ends_when_its_last_pod_is_gone() {
        let asked = Deployed { ended: Some(2), replicas: 0, empty: true, ..deployed() };
        let going = Podded { ending: true, ..pod("a", 2, 1) };
        assert_eq!(state(asked.clone(), vec![going]).0, State::Ending);
        let seen = observed(Some(asked), vec![]).unwrap();
        assert_eq!((seen.state, seen.exit), (State::Exited, Some(Exit::Unknown)));
        let unknown = Deployed { ended: Some(2), replicas: 0, ..deployed() };
        assert_eq!(state(unknown, vec![]).0, State::Ending, "its controller may be making one");
        // a mark of an earlier incarnation means nothing
        let again = Deployed { ended: Some(1), ..deployed() };
        assert_eq!(state(again, vec![pod("a", 2, 1)]).0, State::Running);
    }

    #[test]
    fn what_is_paused_is_kept_until_it_goes_on_or_is_asked_to_end() {
        let parked = Deployed { parked: true, replicas: 0, empty: true, ..deployed() };
        assert_eq!(state(parked.clone(), vec![]).0, State::Parked);
        let ended = Deployed { ended: Some(2), ..parked };
        assert_eq!(state(ended, vec![]).0, State::Exited);
    }

    #[test]
    fn how_its_program_ended_is_told_to_whoever_saw_it() {
        let asked = Deployed { ended: Some(2), replicas: 0, empty: true, ..deployed() };
        let of = |last| {
            let entry = Entry { deployed: Some(asked.clone()), last, ..Entry::default() };
            observe(&agent(), &entry, None).unwrap().end()
        };
        assert_eq!(of(Some((2, Exit::Code(5)))), "exited with code 5: ended as asked");
        assert!(of(Some((2, Exit::Signal(9)))).ends_with("within its grace and was killed"));
        assert_eq!(of(Some((1, Exit::Code(5)))), of(None), "another incarnation's end");
    }

    #[test]
    fn a_deployment_that_went_leaves_its_pods_and_then_nothing() {
        let seen = observed(None, vec![pod("a", 2, 1)]).unwrap();
        assert_eq!((seen.state, seen.incarnation), (State::Running, 2));
        let seen = observed(None, vec![Podded { ending: true, ..pod("a", 2, 1) }]).unwrap();
        assert_eq!(seen.state, State::Ending);
        assert_eq!(observed(None, vec![]), None);
    }

    #[test]
    fn a_pod_of_a_pools_workload_is_its_own_agent() {
        let id = AgentId::new("agent-pool-p-7d-x").unwrap();
        let of = |pod: Podded| {
            let pods = [(pod.name.clone(), pod)].into();
            observe(&id, &Entry { pods, ..Entry::default() }, None).unwrap()
        };
        assert_eq!(of(pod("agent-pool-p-7d-x", 1, 1)).state, State::Running);
        let evicted = Podded {
            phase: PodPhase::Failed,
            why: "Evicted".to_owned(),
            ..pod("agent-pool-p-7d-x", 1, 1)
        };
        let seen = of(evicted);
        assert_eq!((seen.state, seen.message.as_str()), (State::Exited, "Evicted"));
        let ending = Podded { ending: true, ..pod("agent-pool-p-7d-x", 1, 1) };
        assert_eq!(of(ending).state, State::Ending);
    }

    #[test]
    fn why_no_pod_can_be_made_is_told() {
        let refused = Deployed { refusal: "exceeded quota: small".to_owned(), ..deployed() };
        assert_eq!(state(refused, vec![]), (State::Starting, "exceeded quota: small".to_owned()));
        let scaled = Deployed { replicas: 0, ..deployed() };
        assert_eq!(state(scaled, vec![]).1, "scaled to 0 by somebody else");
    }

    #[test]
    fn an_agent_on_a_node_that_does_not_answer_is_lost_and_not_ended() {
        let room = crate::ports::runtime::Node {
            name: "node-1".to_owned(),
            cpu_millis: 1,
            memory_bytes: 1,
        };
        let mut host = Host { room, trouble: "node node-1 is not ready".to_owned() };
        let pods = [("a".to_owned(), pod("a", 2, 1))].into();
        let entry = Entry { deployed: Some(deployed()), pods, ..Entry::default() };
        let seen = observe(&agent(), &entry, Some(&host)).unwrap();
        assert_eq!((seen.state, seen.message.as_str()), (State::Lost, "node node-1 is not ready"));
        assert!(seen.is_alive());
        host.trouble.clear();
        assert_eq!(observe(&agent(), &entry, Some(&host)).unwrap().state, State::Running);
    }
}
