//! The parts of the system as rows of one kind: store, runtime, leadership, the brake, loops and tasks, each with a
//! verdict and what it rests on.

use std::time::Duration;

use crate::engine::supervise;
use crate::engine::view::{FleetView, LoopStatus, PartStatus, System};
use crate::model::filter::query::{FieldValue, Row};
use crate::model::health::HealthStatus;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::pages::words;

/// What a row is about; in the order shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    Store,
    Runtime,
    Leader,
    Brake,
    Loop,
    Task,
    Agent,
}

/// A part of the system, told alike for all kinds.
#[derive(Debug)]
pub struct Part {
    pub id: String,
    pub name: Safe,
    pub kind: Kind,
    pub health: HealthStatus,
    /// What it is doing, in a word of our own.
    pub word: &'static str,
    pub last: Option<Time>,
    pub took: Option<Duration>,
    pub runs: Option<u64>,
    pub evidence: Safe,
}

/// The verdict on the whole system: as bad as its worst part, agents left aside.
pub fn verdict(view: &FleetView) -> HealthStatus {
    let parts = parts(view);
    let worst = parts.iter().map(|part| part.health).max_by_key(|health| words::severity(*health));
    worst.unwrap_or_default()
}

/// Every part, the ones that all others rest on first.
pub fn parts(view: &FleetView) -> Vec<Part> {
    let system = view.system.as_ref();
    let mut parts = vec![part(Kind::Store, &system.store, view.stale_since.is_some())];
    parts.extend(troubles(Kind::Store, &system.store));
    parts.push(part(Kind::Runtime, &system.runtime, false));
    parts.push(leader(system));
    if let Some(why) = &system.brake {
        parts.push(Part {
            id: "brake".into(),
            name: Safe::new("blast-radius brake"),
            kind: Kind::Brake,
            health: HealthStatus::Degraded,
            word: "on",
            last: None,
            took: None,
            runs: None,
            evidence: why.clone(),
        });
    }
    parts.extend(system.loops.iter().map(a_loop));
    parts.extend(system.tasks.iter().map(|(name, health)| task(name, health)));
    parts
}

/// Details that are more than details, the gravest first: what they are called, how bad they are, the word for it.
const NAMED: [(&str, HealthStatus, &str); 3] = [
    ("broken", HealthStatus::Unhealthy, "broken"),
    ("danger", HealthStatus::Unhealthy, "exposed"),
    ("fault", HealthStatus::Degraded, "met"),
];

fn part(kind: Kind, status: &PartStatus, stale: bool) -> Part {
    let known = status.checked_at != Time::EPOCH;
    let (health, word) = match (known, status.ok && !stale) {
        (false, _) => (HealthStatus::Unknown, "unknown"),
        (true, true) => (HealthStatus::Healthy, "ok"),
        (true, false) => (HealthStatus::Unhealthy, "failing"),
    };
    let evidence = if status.error.as_str().is_empty() { &status.place } else { &status.error };
    let name = if status.kind.as_str().is_empty() { kind.into() } else { status.kind.as_str() };
    Part {
        id: format!("part/{}", <&str>::from(kind)),
        name: Safe::new(name),
        kind,
        health,
        word,
        last: known.then_some(status.checked_at),
        took: status.latency,
        runs: None,
        evidence: evidence.clone(),
    }
}

/// A row for each thing that is wrong with it, the gravest first: none hides another.
fn troubles(kind: Kind, status: &PartStatus) -> impl Iterator<Item = Part> {
    let of = move |(name, health, word)| {
        status.told(name).enumerate().map(move |(n, line)| Part {
            id: format!("part/{}/{name}/{n}", <&str>::from(kind)),
            name: Safe::new(name),
            kind,
            health,
            word,
            last: None,
            took: None,
            runs: None,
            evidence: line.clone(),
        })
    };
    NAMED.into_iter().flat_map(of)
}

fn leader(system: &System) -> Part {
    let leader = &system.leader;
    let nobody = leader.holder.as_str().is_empty() && !leader.me;
    let (health, word) = match (nobody, leader.late, leader.me) {
        (true, ..) if leader.contends => (HealthStatus::Degraded, "waiting"),
        (true, ..) => (HealthStatus::Unhealthy, "nobody"),
        (false, true, _) => (HealthStatus::Degraded, "late"),
        (false, false, true) => (HealthStatus::Healthy, "this one"),
        (false, false, false) => (HealthStatus::Healthy, "another"),
    };
    let evidence = if nobody {
        Safe::new(
            "nobody leads: nothing is started, healed or scaled until `cvxc` or `cvxc --daemon` does",
        )
    } else {
        let place = match leader.host.as_str() {
            "" => String::new(),
            host => format!("pid {} on {host}, ", leader.pid),
        };
        Safe::new(&format!("{place}epoch {}", leader.epoch))
    };
    Part {
        id: "part/leader".into(),
        name: if leader.holder.as_str().is_empty() {
            Safe::new("leader")
        } else {
            leader.holder.clone()
        },
        kind: Kind::Leader,
        health,
        word,
        last: leader.renewed_at,
        took: None,
        runs: Some(leader.epoch),
        evidence,
    }
}

fn a_loop(status: &LoopStatus) -> Part {
    let (health, word) = match (status.last_run, status.error.as_str().is_empty()) {
        (_, false) => (HealthStatus::Unhealthy, "failed"),
        (None, true) => (HealthStatus::Unknown, "not yet"),
        (Some(_), true) => (HealthStatus::Healthy, "ok"),
    };
    Part {
        id: format!("loop/{}", status.name),
        name: status.name.clone(),
        kind: Kind::Loop,
        health,
        word,
        last: status.last_run,
        took: status.last_run.map(|_| status.duration),
        runs: Some(status.runs),
        evidence: status.error.clone(),
    }
}

fn task(name: &str, health: &supervise::Health) -> Part {
    let (status, word, fault) = match health {
        supervise::Health::Running => (HealthStatus::Healthy, "running", ""),
        supervise::Health::Waiting { fault } => (HealthStatus::Degraded, "waiting", fault.as_str()),
        supervise::Health::Stopped => (HealthStatus::Unknown, "stopped", ""),
        supervise::Health::Dead { fault } => (HealthStatus::Unhealthy, "dead", fault.as_str()),
    };
    Part {
        id: format!("task/{name}"),
        name: Safe::new(name),
        kind: Kind::Task,
        health: status,
        word,
        last: None,
        took: None,
        runs: None,
        evidence: Safe::new(fault),
    }
}

/// A part at a moment: `last` counts up to `now`.
pub struct PartSeen<'a> {
    pub part: &'a Part,
    pub now: Time,
}

impl Row for PartSeen<'_> {
    fn text(&self, out: &mut String) {
        let part = self.part;
        for word in [part.name.as_str(), part.kind.into(), part.word, part.evidence.as_str()] {
            out.push_str(word);
            out.push(' ');
        }
    }

    fn label(&self, _key: &str) -> Option<&str> {
        None
    }

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let part = self.part;
        Some(match name {
            "name" => FieldValue::Text(part.name.as_str()),
            "kind" => FieldValue::Text(part.kind.into()),
            "state" => FieldValue::Text(part.word),
            "reason" => FieldValue::Text(part.evidence.as_str()),
            "took" => FieldValue::Duration(part.took?),
            "last" => FieldValue::Duration(self.now.since(part.last?)),
            #[expect(clippy::cast_precision_loss, reason = "runs stay far below 2^53")]
            "runs" => FieldValue::Number(part.runs? as f64),
            _ => return None,
        })
    }
}
