//! For tests: a site with hosts, namespaces and rights, some of them in trouble.

use std::net::SocketAddr;

use serde_json::json;

use super::{ago, now};
use crate::engine::forward::Forwarded;
use crate::model::id::AgentId;
use crate::ports::site::{Allowance, Answer, Ask, Host, Namespace, Namespaces, Room, Use};

fn host(name: &str) -> Host {
    let gib = |n: u64| n << 30;
    Host {
        name: name.to_owned(),
        roles: vec!["worker".to_owned()],
        version: "v1.36.0".to_owned(),
        zone: "zone-1".to_owned(),
        since: Some(ago(now(), 3_000)),
        capacity: Room { cpu_millis: 32_000, memory_bytes: gib(256), slots: Some(110) },
        allocatable: Room { cpu_millis: 31_500, memory_bytes: gib(250), slots: Some(110) },
        used: Some(Room { cpu_millis: 23_100, memory_bytes: gib(230), slots: None }),
        conditions: vec![("Ready".into(), "True  KubeletReady".into())],
        ..Host::default()
    }
}

/// A host that has agents, one that takes none, one that is silent, one that is short of memory.
pub fn hosts() -> Vec<Host> {
    vec![
        host("host-1"),
        Host { cordoned: true, used: None, ..host("host-2") },
        Host { trouble: "not ready: NodeStatusUnknown: silent".into(), ..host("host-3") },
        Host {
            conditions: vec![("MemoryPressure".into(), "True  low on memory".into())],
            ..host("host-4")
        },
    ]
}

pub fn allowances() -> Vec<Allowance> {
    let may = |verb: &str, resource: &str, need, purpose: &str, allowed: Option<bool>| Allowance {
        verb: verb.into(),
        resource: resource.into(),
        need,
        purpose: purpose.into(),
        optional: need == Use::Hosts,
        allowed,
        reason: String::new(),
    };
    vec![
        may("get", "pods/log", Use::Logs, "logs of agents", Some(true)),
        may("get", "pods/exec", Use::Shell, "exec and shell", Some(true)),
        may("create", "pods/exec", Use::Shell, "exec and shell", Some(false)),
        may("list", "nodes", Use::Hosts, "hosts", Some(false)),
        may("create", "pods/portforward", Use::PortForward, "port-forward", None),
    ]
}

/// What the site answers.
pub fn answer(ask: &Ask) -> Answer {
    let space = |name: &str, active: bool| Namespace {
        name: name.into(),
        active,
        phase: "Active".into(),
        since: Some(ago(now(), 90)),
    };
    match ask {
        Ask::Hosts => Answer::Hosts(hosts()),
        Ask::Host(_) => Answer::Host(vec![
            ("InternalIP".into(), "10.0.0.7".into()),
            ("taint".into(), "gpu:NoSchedule".into()),
        ]),
        Ask::Namespaces => Answer::Namespaces(Namespaces {
            known: vec![space("agents", true), space("kube-system", false)],
            denied: None,
            complete: true,
        }),
        Ask::Allowances => Answer::Allowances(allowances()),
        Ask::Live(agent) => Answer::Live(vec![(
            format!("Deployment {agent}"),
            json!({"kind": "Deployment", "spec": {"replicas": 1}}),
        )]),
    }
}

/// The same with `poison` in place of every word.
pub fn poisoned(ask: &Ask, poison: &str) -> Answer {
    let text = || poison.to_owned();
    match answer(ask) {
        Answer::Hosts(mut hosts) => {
            for host in &mut hosts {
                (host.name, host.trouble, host.version, host.zone) =
                    (text(), text(), text(), text());
                (host.roles, host.conditions) = (vec![text()], vec![(text(), text())]);
            }
            Answer::Hosts(hosts)
        }
        Answer::Host(_) => Answer::Host(vec![(text(), text())]),
        Answer::Namespaces(mut found) => {
            for space in &mut found.known {
                (space.name, space.phase) = (text(), text());
            }
            found.denied = Some(text());
            Answer::Namespaces(found)
        }
        Answer::Allowances(mut all) => {
            all.iter_mut().for_each(|it| it.reason = text());
            Answer::Allowances(all)
        }
        Answer::Live(_) => Answer::Live(vec![(text(), json!({ poison: [poison] }))]),
    }
}

/// One port in use, and one whose agent is away.
pub fn forwards() -> Vec<Forwarded> {
    let port = |number: u64, name: &str, open: u32, trouble: &str| Forwarded {
        number,
        agent: AgentId::new(&format!("agent-{name}")).unwrap(),
        name: name.to_owned(),
        local: SocketAddr::from(([127, 0, 0, 1], 8080 + u16::try_from(number).unwrap())),
        port: 8080,
        since: ago(now(), 7),
        open,
        all: 12,
        trouble: trouble.to_owned(),
    };
    vec![port(1, "ocr-1", 2, ""), port(2, "triage-2", 0, "agent triage-2 has no workload here")]
}
