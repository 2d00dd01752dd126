//! The parts of the system as views show them: store, runtime, leader, loops, tasks. Tells news from noise: a latency
//! that wavers and a loop that ran again as it should are shown with the next view and make none of their own.

use std::time::{Duration, Instant};

use crate::engine::leadership::lease::Lease;
use crate::engine::supervise::Board;
use crate::engine::view::{Leader, LoopStatus, PartStatus, System};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::runtime::{RuntimeError, RuntimeInfo};
use crate::ports::store::{Body, StoreInfo, chain};

/// A loop's times alone make a new view this often at most.
const TIMES_PERIOD: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
enum Which {
    Store,
    Runtime,
}

#[derive(Debug, Default)]
pub struct Status {
    system: System,
    /// Means of the last few latencies of store and runtime: one slow answer is no news.
    latencies: [Option<Duration>; 2],
    /// When the lease was last seen to change, and how long it lives.
    lease: Option<(Instant, Duration)>,
    loud: bool,
    quiet: bool,
    /// A loop has run since its times were shown, and when that was.
    ran: bool,
    times_shown: Option<Instant>,
}

impl Status {
    pub fn new(contends: bool, protected: bool) -> Self {
        let leader = Leader { contends, ..Leader::default() };
        Self { system: System { leader, protected, ..System::default() }, ..Self::default() }
    }

    pub fn store(&mut self, info: &StoreInfo, now: Time) {
        let part = PartStatus {
            kind: Safe::new(info.kind),
            version: Safe::new(&info.version),
            place: Safe::new(&info.place),
            ok: true,
            latency: Some(info.latency),
            error: Safe::default(),
            details: info
                .details
                .iter()
                .map(|(name, value)| (Safe::new(name), Safe::new(value)))
                .collect(),
            checked_at: now,
            lost_since: None,
        };
        self.note(Which::Store, part);
    }

    pub fn store_failed(&mut self, error: &(dyn std::error::Error + 'static), now: Time) {
        let error = Safe::new(&chain(error));
        let part = PartStatus { ok: false, error, checked_at: now, ..self.system.store.clone() };
        self.note(Which::Store, part);
    }

    pub fn runtime(&mut self, info: Result<RuntimeInfo, RuntimeError>, now: Time) {
        let part = match info {
            Ok(info) => PartStatus {
                kind: Safe::new(info.kind),
                version: Safe::new(&info.version),
                place: Safe::new(&info.place),
                ok: true,
                latency: Some(info.latency),
                error: Safe::default(),
                details: info
                    .nodes
                    .iter()
                    .map(|node| {
                        let gib = node.memory_bytes as f64 / f64::from(1 << 30);
                        let size = format!("{} m cpu, {gib:.1} GiB", node.cpu_millis);
                        (Safe::new(&node.name), Safe::new(&size))
                    })
                    .collect(),
                checked_at: now,
                lost_since: None,
            },
            Err(error) => {
                let error = Safe::new(&chain(&error));
                PartStatus { ok: false, error, checked_at: now, ..self.system.runtime.clone() }
            }
        };
        self.note(Which::Runtime, part);
    }

    fn note(&mut self, which: Which, mut part: PartStatus) {
        let mean = &mut self.latencies[which as usize];
        *mean = match (*mean, part.latency.filter(|_| part.ok)) {
            (Some(mean), Some(latency)) => Some((mean * 3 + latency) / 4),
            (None, latency) => latency,
            (mean, None) => mean,
        };
        let shown = match which {
            Which::Store => &mut self.system.store,
            Which::Runtime => &mut self.system.runtime,
        };
        let moved = differs(shown.latency, *mean);
        part.latency = if moved { *mean } else { shown.latency };
        let last = if shown.ok { shown.checked_at } else { part.checked_at };
        part.lost_since = if part.ok { None } else { shown.lost_since.or(Some(last)) };
        self.loud |= moved
            || (&shown.kind, &shown.version, &shown.place, shown.ok, &shown.error)
                != (&part.kind, &part.version, &part.place, part.ok, &part.error)
            || troubled(shown, &part);
        self.quiet = true;
        *shown = part;
    }

    /// Takes in the lease document, or that there is none.
    pub fn lease(&mut self, body: Option<&Body>, now: Instant) {
        let lease = body.map(Lease::read).unwrap_or_default();
        self.lease = lease.is_held().then(|| (now, lease.ttl()));
        let shown = &self.system.leader;
        let leader = Leader {
            holder: Safe::new(&lease.holder),
            host: Safe::new(if lease.is_held() { &lease.host } else { "" }),
            pid: if lease.is_held() { lease.pid } else { 0 },
            epoch: lease.epoch,
            renewed_at: lease.is_held().then_some(lease.renewed_at),
            late: false,
            me: shown.me,
            contends: shown.contends,
        };
        self.loud |= Leader { renewed_at: shown.renewed_at, ..leader.clone() } != *shown;
        self.quiet = true;
        self.system.leader = leader;
        self.loops(lease.loops.iter().map(LoopStatus::from).collect(), now);
        self.brake(lease.brake.as_deref().map(Safe::new));
    }

    fn loops(&mut self, loops: Vec<LoopStatus>, now: Instant) {
        self.times_shown.get_or_insert(now);
        let of = |loops: &[LoopStatus]| -> Vec<(Safe, Safe)> {
            loops.iter().map(|status| (status.name.clone(), status.error.clone())).collect()
        };
        self.loud |= of(&loops) != of(&self.system.loops);
        self.ran |= loops != self.system.loops;
        self.system.loops = loops;
    }

    fn brake(&mut self, why: Option<Safe>) {
        self.loud |= why != self.system.brake;
        self.system.brake = why;
    }

    /// Whether this process leads.
    pub fn leading(&mut self, me: bool) {
        self.loud |= std::mem::replace(&mut self.system.leader.me, me) != me;
    }

    pub fn tasks(&mut self, board: &Board) {
        if self.system.tasks != *board {
            self.system.tasks.clone_from(board);
            self.loud = true;
        }
    }

    /// When the lease will be late, unless it is renewed before.
    pub fn late_at(&self) -> Option<Instant> {
        let (since, ttl) = self.lease.filter(|_| !self.system.leader.late)?;
        Some(since + ttl)
    }

    /// When times that are noise alone are worth a view.
    pub fn times_due(&self, now: Instant) -> Option<Instant> {
        let last = self.times_shown.unwrap_or(now);
        (self.ran && !self.loud).then_some(last + TIMES_PERIOD)
    }

    /// Looks at the time: is the lease late, are times due?
    pub fn tick(&mut self, now: Instant) {
        if self.late_at().is_some_and(|late| now >= late) {
            self.system.leader.late = true;
            self.loud = true;
        }
        self.loud |= self.times_due(now).is_some_and(|due| now >= due);
    }

    /// There is something worth a view of its own.
    pub fn is_dirty(&self) -> bool {
        self.loud
    }

    /// The system as it now is, if anything about it changed since it was last taken.
    pub fn take(&mut self, now: Instant) -> Option<System> {
        let any = self.loud || self.quiet || self.ran;
        if self.ran {
            self.times_shown = Some(now);
        }
        (self.loud, self.quiet, self.ran) = (false, false, false);
        any.then(|| self.system.clone())
    }
}

/// Two latencies differ for a reader when one is twice the other, and by a millisecond at least.
fn differs(shown: Option<Duration>, now: Option<Duration>) -> bool {
    match (shown, now) {
        (Some(shown), Some(now)) => {
            let (low, high) = (shown.min(now), shown.max(now));
            high >= low * 2 && high - low >= Duration::from_millis(1)
        }
        (shown, now) => shown.is_some() != now.is_some(),
    }
}

/// Whether other things are wrong with it than were shown. That a fault grows older is no news.
fn troubled(shown: &PartStatus, now: &PartStatus) -> bool {
    let other = |name| !shown.told(name).eq(now.told(name));
    other("broken") || other("danger") || shown.told("fault").count() != now.told("fault").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_breaks_is_shown_at_once_and_a_fault_that_only_grows_older_is_not() {
        let mut status = Status::new(true, false);
        let mut shows = |details: &[(&str, &str)]| {
            let told = |(name, line): &(&str, &str)| ((*name).to_owned(), (*line).to_owned());
            let info = StoreInfo {
                kind: "fake",
                version: String::new(),
                place: String::new(),
                latency: Duration::from_millis(1),
                details: details.iter().map(told).collect(),
            };
            status.store(&info, Time::from_millis(1_000));
            let shown = status.is_dirty();
            status.take(Instant::now());
            shown
        };
        assert!(shows(&[]), "it was not known");
        assert!(!shows(&[]));
        assert!(shows(&[("fault", "1 answer of 503; the last 0 s ago")]));
        assert!(!shows(&[("fault", "1 answer of 503; the last 5 s ago")]));
        let broken = [("broken", "agents is missing"), ("fault", "the last 9 s ago")];
        assert!(shows(&broken));
        assert!(!shows(&broken));
        assert!(shows(&[]));
    }

    #[test]
    fn a_runtime_that_fails_is_lost_since_it_was_last_well_and_no_longer_once_it_is() {
        let mut status = Status::new(true, false);
        let at = |second: i64| Time::from_millis(second * 1_000);
        let well = || RuntimeInfo {
            kind: "fake",
            version: String::new(),
            place: String::new(),
            latency: Duration::from_millis(1),
            nodes: Vec::new(),
        };
        let lost = || Err(RuntimeError::Unavailable("gone".into()));
        let mut since = |info, second| {
            status.runtime(info, at(second));
            status.system.runtime.lost_since
        };
        assert_eq!(since(lost(), 3), Some(at(3)), "it never was well");
        assert_eq!(since(Ok(well()), 5), None);
        assert_eq!(since(lost(), 10), Some(at(5)));
        assert_eq!(since(lost(), 15), Some(at(5)));
        assert_eq!(since(Ok(well()), 20), None);
    }
}
