//! The verdict on one agent: from its inputs to a status in words, settled by thresholds so that one odd check is no alarm.
//! Pure and small: a full pass over ten thousand agents is a matter of milliseconds.

use std::time::Duration;

use super::flap::Flap;
use super::{HealthStatus, Usage};
use crate::model::agent::Phase;
use crate::model::time::{Time, span};

/// Everything that a verdict depends on.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub phase: Phase,
    pub phase_since: Time,
    /// Why it is in that phase.
    pub reason: &'a str,
    /// Failures since its last clean run.
    pub failures: u32,
    /// The runtime starts it again in place, and what it says of that.
    pub restarting: Option<&'a str>,
    /// It is paused, and nothing of it runs.
    pub parked: bool,
    /// Its host does not answer, and what the runtime says of that.
    pub lost: Option<&'a str>,
    /// It runs, and what the runtime says against it all the same.
    pub beside: Option<&'a str>,
    pub usage: Option<Usage>,
    /// Millicores.
    pub cpu_limit: Option<u64>,
    /// Bytes.
    pub memory_limit: Option<u64>,
    pub heartbeat: Option<Time>,
    pub interval: Duration,
    /// Silence counts even if it has never sent one.
    pub required: bool,
    /// When the oldest message that waits for it was sent.
    pub oldest: Option<Time>,
    /// Silence from before this is nobody's fault: nobody listened, or the store was away.
    pub listening_since: Time,
    pub now: Time,
}

/// How many checks in a row it takes to change a status, and how far they are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    pub failure: u32,
    pub success: u32,
    pub interval: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { failure: 3, success: 1, interval: Duration::from_secs(10) }
    }
}

/// Above this share of its limit for [`SAMPLES`] samples in a row, an agent is degraded.
const CPU_SHARE: f64 = 0.90;
const MEMORY_SHARE: f64 = 0.85;
const SAMPLES: u32 = 3;
/// Heartbeat intervals of silence.
const STALE: u32 = 3;
pub const DEAD: u32 = 6;
/// A message that waits for longer shows that its receiver does not keep up.
const WAITS_TOO_LONG: Duration = Duration::from_secs(300);
/// A start in place that takes longer than this has failed.
const DOWN_TOO_LONG: Duration = Duration::from_secs(30);

/// What one look at the inputs says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub status: HealthStatus,
    pub message: String,
    /// Beyond doubt: no threshold has to be waited for.
    pub hard: bool,
    /// It runs and does not answer: a restart may mend it.
    pub silent: bool,
    /// When time alone may change the verdict.
    pub due: Option<Time>,
}

impl Verdict {
    fn hard(status: HealthStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hard: true, silent: false, due: None }
    }
}

/// What has lasted for a while: samples in a row over their limit, and a start in place that does not come up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Over {
    cpu: u32,
    memory: u32,
    counted: Time,
    down_since: Option<Time>,
}

impl Over {
    fn count(&mut self, inputs: &Inputs<'_>) {
        let down = inputs.restarting.is_some();
        self.down_since = down.then(|| self.down_since.unwrap_or(inputs.now));
        let Some(usage) = inputs.usage.filter(|usage| usage.at > self.counted) else { return };
        self.counted = usage.at;
        let over = |used: u64, limit: Option<u64>, share: f64| {
            limit.is_some_and(|limit| limit > 0 && used as f64 > share * limit as f64)
        };
        let next = |count: u32, over: bool| if over { count.saturating_add(1) } else { 0 };
        self.cpu = next(self.cpu, over(usage.cpu_millis, inputs.cpu_limit, CPU_SHARE));
        self.memory =
            next(self.memory, over(usage.memory_bytes, inputs.memory_limit, MEMORY_SHARE));
    }
}

/// Judges `inputs`; the order of the rules is that of `engine.md` §5.
pub fn judge(inputs: &Inputs<'_>, over: &Over) -> Verdict {
    let reason = inputs.reason;
    match inputs.phase {
        Phase::Failed => {
            return Verdict::hard(HealthStatus::Unhealthy, format!("not running: {reason}"));
        }
        Phase::Pending | Phase::Deploying if inputs.failures > 0 => {
            return Verdict::hard(HealthStatus::Unhealthy, reason);
        }
        Phase::Pending | Phase::Deploying => {
            // a start that is in trouble says so before its time is up
            return match inputs.restarting {
                Some("") | None => Verdict::hard(HealthStatus::Unknown, "starting"),
                Some(said) => Verdict::hard(HealthStatus::Degraded, format!("starting: {said}")),
            };
        }
        Phase::Paused if inputs.parked => return Verdict::hard(HealthStatus::Unknown, "paused"),
        Phase::Stopped => return Verdict::hard(HealthStatus::Unknown, "stopped"),
        Phase::Deleted => return Verdict::hard(HealthStatus::Unknown, "deleted"),
        Phase::Running | Phase::Paused | Phase::Draining => {}
    }
    if let Some(said) = inputs.lost {
        return Verdict::hard(HealthStatus::Unknown, said);
    }
    if let Some(said) = inputs.restarting {
        return restarting(said, inputs, over);
    }
    let silence = Silence::of(inputs);
    if let Some(silence) = silence.filter(|silence| inputs.now >= silence.dead_at) {
        return Verdict {
            status: HealthStatus::Unhealthy,
            message: format!("no heartbeat for {}", whole(inputs.now.since(silence.since))),
            hard: false,
            silent: inputs.phase != Phase::Draining,
            due: None,
        };
    }
    if let Some(said) = inputs.beside {
        let due = silence.map(|silence| silence.dead_at);
        return Verdict { due, ..Verdict::hard(HealthStatus::Degraded, said) };
    }
    if let Some(message) = strained(inputs, over) {
        let due = silence.map(|silence| silence.dead_at);
        return Verdict { due, ..Verdict::hard(HealthStatus::Degraded, message) };
    }
    let soft =
        |status, message: String, due| Verdict { status, message, hard: false, silent: false, due };
    if let Some(silence) = silence.filter(|silence| inputs.now >= silence.stale_at) {
        let late = whole(inputs.now.since(silence.since));
        let message = format!("late: no heartbeat for {late}");
        return soft(HealthStatus::Degraded, message, Some(silence.dead_at));
    }
    let overdue = inputs.oldest.map(|oldest| oldest.plus(WAITS_TOO_LONG));
    if overdue.is_some_and(|at| inputs.now >= at) && inputs.phase == Phase::Running {
        let oldest = inputs.oldest.unwrap_or(inputs.now);
        let message = format!("a message has waited for {}", whole(inputs.now.since(oldest)));
        return soft(HealthStatus::Degraded, message, silence.map(|silence| silence.stale_at));
    }
    let overdue = overdue.filter(|_| inputs.phase == Phase::Running);
    let due = [silence.map(|silence| silence.stale_at), overdue].into_iter().flatten().min();
    soft(HealthStatus::Healthy, "healthy".to_owned(), due)
}

/// Degraded at once, unhealthy when it takes long.
fn restarting(said: &str, inputs: &Inputs<'_>, over: &Over) -> Verdict {
    let since = over.down_since.unwrap_or(inputs.now);
    let given_up = since.plus(DOWN_TOO_LONG);
    let message = match said {
        "" => "restarting".to_owned(),
        // it runs: nothing is started again
        said if said.starts_with("not ready") => said.to_owned(),
        said => format!("restarting: {said}"),
    };
    if inputs.now >= given_up {
        return Verdict::hard(HealthStatus::Unhealthy, message);
    }
    Verdict { due: Some(given_up), ..Verdict::hard(HealthStatus::Degraded, message) }
}

/// When an agent that sends heartbeats is late, and when it counts as dead.
#[derive(Debug, Clone, Copy)]
struct Silence {
    since: Time,
    stale_at: Time,
    dead_at: Time,
}

impl Silence {
    fn of(inputs: &Inputs<'_>) -> Option<Self> {
        if inputs.heartbeat.is_none() && !inputs.required {
            return None;
        }
        // a run that has just begun, and a leader that has just begun to listen, get their time
        let since = inputs.heartbeat.unwrap_or(inputs.phase_since);
        let counted = since.max(inputs.phase_since).max(inputs.listening_since);
        let after = |intervals: u32| counted.plus(inputs.interval.saturating_mul(intervals));
        Some(Self { since: counted, stale_at: after(STALE), dead_at: after(DEAD) })
    }
}

fn strained(inputs: &Inputs<'_>, over: &Over) -> Option<String> {
    let usage = inputs.usage?;
    let percent = |used: u64, limit: u64| (used as f64 / limit as f64 * 100.0).round();
    match (inputs.cpu_limit, inputs.memory_limit) {
        (Some(limit), _) if over.cpu >= SAMPLES => {
            Some(format!("high cpu: {}% of its limit", percent(usage.cpu_millis, limit)))
        }
        (_, Some(limit)) if over.memory >= SAMPLES => {
            Some(format!("high memory: {}% of its limit", percent(usage.memory_bytes, limit)))
        }
        _ => None,
    }
}

/// To whole seconds: what is shown does not jitter.
fn whole(of: Duration) -> String {
    span::format(Duration::from_secs(of.as_secs()))
}

/// One agent under watch: its settled status, and what speaks against it so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    pub status: HealthStatus,
    /// Checks in a row that disagreed with `status`, each at least the check interval after the one before.
    pub streak: u32,
    counted: Option<Time>,
    pub flap: Flap,
    over: Over,
    checked: Option<Time>,
    /// When to look again if no input changes.
    pub due: Option<Time>,
    /// The cause that was told last, by its hash: the runtime's words about one that it starts again or cannot reach.
    said: Option<u64>,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub verdict: Verdict,
    /// The settled status is another one now.
    pub changed: bool,
    /// The status is the same, and the runtime gives another cause for it.
    pub reworded: bool,
    /// It began (true) or ceased (false) to flap.
    pub flapping: Option<bool>,
}

impl Watched {
    /// Goes on from the status that was recorded last.
    pub fn new(status: HealthStatus) -> Self {
        Self {
            status,
            streak: 0,
            counted: None,
            flap: Flap::steady(status),
            over: Over::default(),
            checked: None,
            due: None,
            said: None,
        }
    }

    /// Judges `inputs` and settles the status by the thresholds. Checking more often than the interval counts only once.
    pub fn check(&mut self, inputs: &Inputs<'_>, thresholds: Thresholds) -> Check {
        self.over.count(inputs);
        let verdict = judge(inputs, &self.over);
        let agrees = verdict.status == self.status;
        let was_flapping = self.flap.is_flapping();
        if agrees {
            (self.streak, self.counted) = (0, None);
        } else if self.counted.is_none_or(|at| inputs.now.since(at) >= thresholds.interval) {
            self.streak += 1;
            self.counted = Some(inputs.now);
        }
        let needed = if is_worse(verdict.status, self.status) {
            thresholds.failure
        } else {
            thresholds.success
        };
        let changed = !agrees && (verdict.hard || self.streak >= needed);
        self.remember(inputs.now, thresholds.interval);
        if changed {
            (self.status, self.streak, self.counted) = (verdict.status, 0, None);
            self.flap.note(self.status, 1);
        }
        // these words hold no counters and no times; others would be told again and again
        let causes = [inputs.restarting, inputs.lost, inputs.beside];
        // that a start takes its time is no cause, and its phase says it
        let cause = match inputs.phase {
            Phase::Pending | Phase::Deploying => inputs.restarting.is_some_and(|it| !it.is_empty()),
            _ => causes.iter().any(Option::is_some),
        };
        let said = (cause && (agrees || changed)).then(|| hash(&verdict.message));
        let reworded = !changed && said.is_some() && said != self.said;
        self.said = said;
        let again = (!changed && !agrees) || self.flap.is_flapping();
        let soon = again.then(|| inputs.now.plus(thresholds.interval));
        self.due = [soon, verdict.due].into_iter().flatten().min();
        let flapping = self.flap.is_flapping();
        Check {
            verdict,
            changed,
            reworded,
            flapping: (flapping != was_flapping).then_some(flapping),
        }
    }

    /// The checks that were not made, because nothing had changed, gave what the last one gave.
    fn remember(&mut self, now: Time, interval: Duration) {
        let Some(last) = self.checked else {
            self.checked = Some(now);
            return;
        };
        let missed = now.since(last).as_millis() / interval.as_millis().max(1);
        if missed > 0 {
            self.flap.note(self.status, usize::try_from(missed).unwrap_or(usize::MAX));
            self.checked = Some(now);
        }
    }
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn is_worse(status: HealthStatus, than: HealthStatus) -> bool {
    badness(status) > badness(than)
}

/// How bad a status is; not known is as good as well.
fn badness(status: HealthStatus) -> u8 {
    match status {
        HealthStatus::Healthy | HealthStatus::Unknown => 0,
        HealthStatus::Degraded => 1,
        HealthStatus::Unhealthy => 2,
    }
}

/// Whether going from one status to the other is a turn for the worse, as the blast-radius brake counts them.
pub fn is_turn_for_the_worse(from: HealthStatus, to: HealthStatus) -> bool {
    is_worse(to, from)
}

#[cfg(test)]
mod tests;
