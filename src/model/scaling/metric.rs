//! What one metric asks for. The rules for agents that are not ready or not measured are those of
//! Kubernetes (`replica_calculator.go`): who is not measured counts as idle where the others ask for
//! more and as busy where they ask for fewer, so that a gap never moves the number by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decide::Inputs;
use super::{FIVE_MINUTES, Metric};
use crate::model::quantity::Cpu;
use crate::model::time::Time;

/// A ratio this near to 1 changes nothing.
const TOLERANCE: f64 = 0.10;
/// An agent that stopped being ready this soon after its start has never been ready.
const FIRST_READINESS: Duration = Duration::from_secs(30);

/// One agent of the pool as it was last seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    pub state: SampleState,
    pub ready: bool,
    pub started: Option<Time>,
    /// When `ready` last changed.
    pub ready_changed: Option<Time>,
    pub cpu_requested: Option<Cpu>,
    pub cpu: Option<CpuUse>,
    /// What it reports about itself. A value that is negative or no number counts as missing.
    pub custom: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SampleState {
    /// Failed, stopped, draining or deleted: not counted at all.
    Leaving,
    /// Not yet running.
    #[default]
    Pending,
    Running,
}

/// Cpu used on average over `window` up to `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuUse {
    pub at: Time,
    pub window: Duration,
    pub used: Cpu,
}

/// The messages of the whole pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueSample {
    /// Due and not leased.
    pub waiting: u64,
    /// Leased and not yet acknowledged.
    pub in_flight: u64,
    /// Messages a second.
    pub arrivals: f64,
    /// Mean seconds of work on one message; unknown until one was acknowledged.
    pub service: Option<f64>,
}

/// One metric's answer, with the numbers it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricResult {
    pub metric: String,
    /// None if the metric could not be judged; then `why` says what was missing.
    pub want: Option<u32>,
    /// Measured over target, after the rules for missing agents; 1 is just right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Agents that count as ready, as not ready, and as not measured (cpu and custom only).
    pub ready: u32,
    pub unready: u32,
    pub missing: u32,
    /// One line for people: `queue 1840/100 per agent → 19`.
    pub why: String,
}

/// What a metric says of the pool's being needed at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// Cannot tell: cpu, or a custom metric, which nobody reports at zero.
    None,
    Active,
    Idle,
    Unknown,
}

pub(super) fn evaluate(metric: &Metric, inputs: &Inputs) -> MetricResult {
    match metric {
        Metric::Cpu { target } => cpu(*target, inputs),
        Metric::Custom { name, target } => custom(name, *target, inputs),
        Metric::QueuePerAgent { target, .. } => queue(*target, inputs),
        Metric::BacklogDrain { within, concurrency } => drain(*within, *concurrency, inputs),
    }
}

pub(super) fn trigger(metric: &Metric, inputs: &Inputs) -> Trigger {
    let asleep_below = match metric {
        Metric::Cpu { .. } | Metric::Custom { .. } => return Trigger::None,
        Metric::QueuePerAgent { activation, .. } => *activation,
        Metric::BacklogDrain { .. } => 0.0,
    };
    match inputs.queue {
        None => Trigger::Unknown,
        Some(queue) if queue.in_flight > 0 || queue.waiting as f64 > asleep_below => {
            Trigger::Active
        }
        Some(_) => Trigger::Idle,
    }
}

fn queue(target: f64, inputs: &Inputs) -> MetricResult {
    let Some(queue) = inputs.queue else {
        return invalid("queue", "the queue's length is unknown");
    };
    let needed = queue.waiting as f64 / target;
    let formula = format!("queue {}/{} per agent", queue.waiting, short(target));
    from_total("queue", &formula, needed, inputs.current)
}

fn drain(within: Duration, concurrency: u32, inputs: &Inputs) -> MetricResult {
    let Some(queue) = inputs.queue else {
        return invalid("drain", "the queue's length is unknown");
    };
    let quiet = queue.waiting == 0 && queue.arrivals == 0.0;
    let Some(service) = queue.service.or(quiet.then_some(0.0)) else {
        return invalid("drain", "no message was finished yet, so its time is not known");
    };
    let rate = queue.arrivals + queue.waiting as f64 / within.as_secs_f64();
    let formula = format!(
        "drain ({}/s+{}/{}s)·{}s/{concurrency}",
        short(queue.arrivals),
        queue.waiting,
        short(within.as_secs_f64()),
        short(service),
    );
    from_total("drain", &formula, rate * service / f64::from(concurrency), inputs.current)
}

/// For metrics of the whole pool: `needed` agents would be just right.
fn from_total(metric: &str, formula: &str, needed: f64, current: u32) -> MetricResult {
    if !(needed.is_finite() && needed >= 0.0) {
        return invalid(metric, "its numbers make no sense");
    }
    let ratio = (current > 0).then(|| needed / f64::from(current));
    let keep = ratio.is_some_and(near_one);
    let want = if keep { current } else { round_up(needed) };
    let why = format!("{formula} → {}", kept_or(want, keep));
    let (ready, unready, missing) = (0, 0, 0);
    MetricResult { metric: metric.into(), want: Some(want), ratio, ready, unready, missing, why }
}

/// What one agent adds to a mean: what it used of what it should.
struct Share {
    used: f64,
    full: f64,
}

#[derive(Default)]
struct Groups {
    ready: Vec<Share>,
    /// What each could use at most, as far as it matters.
    unready: Vec<f64>,
    missing: Vec<f64>,
}

fn cpu(target: f64, inputs: &Inputs) -> MetricResult {
    let mut groups = Groups::default();
    let counted = inputs.agents.iter().filter(|agent| agent.state != SampleState::Leaving);
    for agent in counted {
        let Some(requested) = agent.cpu_requested.filter(|cpu| cpu.0 > 0) else {
            return invalid("cpu", "an agent requests no cpu, so a share of it means nothing");
        };
        let full = requested.0 as f64;
        match agent.cpu {
            _ if agent.state == SampleState::Pending => groups.unready.push(full),
            None => groups.missing.push(full),
            Some(measured) if is_cold(agent, measured, inputs.now) => groups.unready.push(full),
            Some(measured) => groups.ready.push(Share { used: measured.used.0 as f64, full }),
        }
    }
    // Who is missing counts as using all it asked for, or what the target allows if that is more.
    judge("cpu", "%", target, 100.0 / target, target.max(100.0) / 100.0, groups, inputs.current)
}

fn custom(name: &str, target: f64, inputs: &Inputs) -> MetricResult {
    let mut groups = Groups::default();
    for agent in &inputs.agents {
        let value = agent.custom.get(name).filter(|value| value.is_finite() && **value >= 0.0);
        match (agent.state, value) {
            (SampleState::Leaving, _) => {}
            (SampleState::Pending, _) => groups.unready.push(1.0),
            (SampleState::Running, None) => groups.missing.push(1.0),
            (SampleState::Running, Some(value)) => {
                groups.ready.push(Share { used: *value, full: 1.0 });
            }
        }
    }
    judge(name, "", target, 1.0 / target, target, groups, inputs.current)
}

/// Whether a cpu sample says nothing yet: the agent is still warming up, or has never been ready.
fn is_cold(agent: &Sample, measured: CpuUse, now: Time) -> bool {
    let (Some(started), Some(changed)) = (agent.started, agent.ready_changed) else { return true };
    if started.plus(FIVE_MINUTES) > now {
        !agent.ready || measured.at < changed.plus(measured.window)
    } else {
        !agent.ready && started.plus(FIRST_READINESS) > changed
    }
}

/// The rule for means over agents. `scale` turns used/full into a ratio to the target; who is missing
/// while the others ask for fewer counts as `busy` times its full share.
fn judge(
    metric: &str,
    unit: &str,
    target: f64,
    scale: f64,
    busy: f64,
    groups: Groups,
    current: u32,
) -> MetricResult {
    let Groups { ready, unready, missing } = groups;
    let count = |list: usize| u32::try_from(list).unwrap_or(u32::MAX);
    let counts = (count(ready.len()), count(unready.len()), count(missing.len()));
    let (used, full) = sum(ready.iter().map(|share| (share.used, share.full)));
    let measured = used / full * scale;
    let answer = |want: u32, ratio: f64, keep: bool| MetricResult {
        metric: metric.into(),
        want: Some(want),
        ratio: Some(ratio),
        ready: counts.0,
        unready: counts.1,
        missing: counts.2,
        why: format!(
            "{metric} {}/{}{unit}{} → {}",
            short(measured * target),
            short(target),
            gaps(counts.1, counts.2),
            kept_or(want, keep)
        ),
    };
    if ready.is_empty() {
        let mut result = invalid(metric, "no ready agent was measured");
        (result.ready, result.unready, result.missing) = counts;
        return result;
    }
    if !measured.is_finite() {
        return invalid(metric, "its numbers make no sense");
    }
    let assume_idle = measured > 1.0;
    if missing.is_empty() && (unready.is_empty() || !assume_idle) {
        let want = round_up(measured * ready.len() as f64);
        // Not in Kubernetes: where failed agents are left out of the mean, the rest being too busy
        // must not end in fewer agents.
        let against = (measured > 1.0 && want < current) || (measured < 1.0 && want > current);
        let keep = near_one(measured) || against;
        return answer(if keep { current } else { want }, measured, keep);
    }
    let assumed = if assume_idle { 0.0 } else { busy };
    let gaps = missing.iter().map(|full| (full * assumed, *full));
    let cold = unready.iter().filter(|_| assume_idle).map(|full| (0.0, *full));
    let all = ready.iter().map(|share| (share.used, share.full)).chain(gaps).chain(cold);
    let number = all.clone().count();
    // At exactly 1 Kubernetes adds nobody: the mean is what it was.
    let (used, full) = if measured == 1.0 { (used, full) } else { sum(all) };
    let ratio = used / full * scale;
    let want = round_up(ratio * number as f64);
    let crossed = (measured < 1.0 && ratio > 1.0) || (measured > 1.0 && ratio < 1.0);
    let against = (ratio < 1.0 && want > current) || (ratio > 1.0 && want < current);
    let keep = near_one(ratio) || crossed || against;
    answer(if keep { current } else { want }, ratio, keep)
}

fn sum(shares: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    shares.fold((0.0, 0.0), |(used, full), share| (used + share.0, full + share.1))
}

fn near_one(ratio: f64) -> bool {
    (1.0 - ratio).abs() <= TOLERANCE + 1e-9
}

/// Up to the next whole number; a rounding error of doubles is no reason for one agent more.
fn round_up(number: f64) -> u32 {
    (number - 1e-9).ceil().max(0.0) as u32
}

fn invalid(metric: &str, problem: &str) -> MetricResult {
    MetricResult {
        metric: metric.into(),
        want: None,
        ratio: None,
        ready: 0,
        unready: 0,
        missing: 0,
        why: format!("{metric} unknown: {problem}"),
    }
}

fn gaps(unready: u32, missing: u32) -> String {
    match (unready, missing) {
        (0, 0) => String::new(),
        (unready, 0) => format!(" ({unready} not ready)"),
        (0, missing) => format!(" ({missing} not measured)"),
        (unready, missing) => format!(" ({unready} not ready, {missing} not measured)"),
    }
}

fn kept_or(want: u32, keep: bool) -> String {
    if keep { format!("keep {want}") } else { want.to_string() }
}

/// A number with at most two decimals.
pub(super) fn short(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
