//! From what the metrics ask for to the number of agents: the largest wish, held back by what was
//! wished lately, by how fast the pool may change, and by its bounds (`horizontal.go`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metric::{self, MetricResult, QueueSample, Sample, Trigger};
use super::{HOUR, Mode, Policy, PolicyKind, ScalingSpec, Select};
use crate::model::time::{Time, span};

/// What is true of a pool now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inputs {
    pub now: Time,
    /// How many agents the pool should have so far.
    pub current: u32,
    pub min: u32,
    pub max: u32,
    pub agents: Vec<Sample>,
    /// None while the queue could not be read.
    pub queue: Option<QueueSample>,
}

/// What was wished and done lately. Kept with the pool, so that a new leader is no less careful.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// What the metrics asked for, before anything held it back; oldest first.
    pub wishes: Vec<(Time, u32)>,
    /// Agents added (above 0) and removed (below); oldest first.
    pub changes: Vec<(Time, i64)>,
    /// When messages were last seen waiting or worked on.
    pub last_active: Option<Time>,
}

/// Why the number is what it is. Names that Kubernetes knows are spelled as there.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::IntoStaticStr,
)]
pub enum ReasonCode {
    /// The mode is not `engine`.
    Disabled,
    /// Somebody scaled by hand a while ago.
    Held,
    /// Too much of the fleet changed at once: nothing is taken away meanwhile.
    Braked,
    /// No metric is configured.
    NoMetrics,
    /// No metric could be judged.
    MetricsUnavailable,
    /// Some metric could not be judged, and the others ask for fewer.
    SomeMetricsUnavailable,
    /// More agents than `max`, now or as wished.
    TooManyReplicas,
    /// Fewer agents than `min`, now or as wished.
    TooFewReplicas,
    /// From zero, because something waits.
    Activated,
    /// To zero, because nothing has waited for long enough.
    Deactivated,
    ScaleUpStabilized,
    ScaleDownStabilized,
    ScaleUpLimit,
    ScaleDownLimit,
    /// Nothing held the wish back.
    DesiredWithinRange,
}

/// How many agents the pool should have, and everything one needs to see why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub at: Time,
    pub current: u32,
    pub min: u32,
    pub max: u32,
    /// What the metrics ask for together.
    pub want: u32,
    /// What the pool gets.
    pub target: u32,
    /// The last thing that held the wish back.
    pub reason: ReasonCode,
    /// All that did, in order.
    pub limits: Vec<ReasonCode>,
    /// One line for each step, with its numbers.
    pub why: Vec<String>,
    pub metrics: Vec<MetricResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueSample>,
    /// Whether something waits or is worked on.
    pub active: bool,
    /// Whether `want` rests on data, so that it may hold back later wishes.
    pub reliable: bool,
}

impl Decision {
    pub fn changes(&self) -> bool {
        self.target != self.current
    }

    fn limit(&mut self, target: u32, reason: ReasonCode, why: String) {
        (self.target, self.reason) = (target, reason);
        self.limits.push(reason);
        self.why.push(why);
    }
}

impl History {
    /// Remembers a decision that was carried out, and forgets what no rule can ask for any more.
    pub fn record(&mut self, decision: &Decision) {
        let Decision { at, current, target, .. } = *decision;
        if decision.reliable {
            if self.wishes.is_empty() {
                self.wishes.push((at, current));
            }
            self.wishes.push((at, decision.want));
        }
        if target != current {
            self.changes.push((at, i64::from(target) - i64::from(current)));
        }
        // Without a memory the wait for idleness begins at the first look, never before.
        if decision.active || self.last_active.is_none() {
            self.last_active = Some(at);
        }
        let oldest = at.minus(HOUR);
        self.wishes.retain(|(at, _)| *at >= oldest);
        self.changes.retain(|(at, _)| *at >= oldest);
    }

    fn wished_since(&self, from: Time) -> impl Iterator<Item = u32> {
        self.wishes.iter().filter(move |(at, _)| *at > from).map(|(_, want)| *want)
    }

    /// What the number was when the period began, as far as this autoscaler changed it.
    fn base(&self, current: u32, now: Time, period: Duration) -> i64 {
        let from = now.minus(period);
        let recent = self.changes.iter().filter(|(at, _)| *at > from);
        i64::from(current) - recent.map(|(_, change)| *change).sum::<i64>()
    }
}

/// Decides how many agents a pool should have. Never outside `min..=max` unless it changes nothing
/// because the mode is another or the pool is held; never fewer for want of data.
pub fn decide(spec: &ScalingSpec, inputs: &Inputs, history: &History) -> Decision {
    let (min, max) = (inputs.min, inputs.max.max(inputs.min));
    let current = inputs.current;
    let triggers: Vec<Trigger> =
        spec.metrics.iter().map(|metric| metric::trigger(metric, inputs)).collect();
    let mut decision = Decision {
        at: inputs.now,
        current,
        min,
        max,
        want: current,
        target: current,
        reason: ReasonCode::DesiredWithinRange,
        limits: Vec::new(),
        why: Vec::new(),
        metrics: spec.metrics.iter().map(|metric| metric::evaluate(metric, inputs)).collect(),
        queue: inputs.queue,
        active: triggers.contains(&Trigger::Active),
        reliable: false,
    };
    if spec.mode != Mode::Engine {
        decision.limit(current, ReasonCode::Disabled, format!("mode is {}", spec.mode));
        return decision;
    }
    decision.why.extend(decision.metrics.iter().map(|result| result.why.clone()));
    steps(spec, inputs, history, &triggers, &mut decision);
    if let Some(until) = spec.hold_until.filter(|until| *until > inputs.now) {
        let why = format!("held until {until}: somebody scaled by hand; keep {current}");
        decision.limit(current, ReasonCode::Held, why);
    }
    decision
}

fn steps(
    spec: &ScalingSpec,
    inputs: &Inputs,
    history: &History,
    triggers: &[Trigger],
    decision: &mut Decision,
) {
    let Decision { current, min, max, .. } = *decision;
    if current > max {
        return decision.limit(max, ReasonCode::TooManyReplicas, format!("{current} > max {max}"));
    }
    if current < min {
        return decision.limit(min, ReasonCode::TooFewReplicas, format!("{current} < min {min}"));
    }
    if max == 0 {
        return decision.limit(0, ReasonCode::TooManyReplicas, "max is 0".to_owned());
    }
    if current == 0 {
        if decision.active {
            decision.want = 1;
            let why = "messages wait at zero → 1".to_owned();
            decision.limit(1, ReasonCode::Activated, why);
        }
        return;
    }
    if !combine(decision) {
        return;
    }
    if min == 0 && decision.want <= current && may_sleep(spec, inputs, history, triggers) {
        decision.want = 0;
        let idle = span::format(spec.zero_after());
        let why = format!("nothing waited for {idle} → 0");
        return decision.limit(0, ReasonCode::Deactivated, why);
    }
    stabilise(spec, history, decision);
    limit_rate(spec, history, decision);
    let floor = min.max(1);
    if decision.target < floor {
        let why = match min {
            0 => format!(
                "one stays until nothing waited for {} → 1",
                span::format(spec.zero_after())
            ),
            _ => format!("{} < min {min} → {min}", decision.target),
        };
        decision.limit(floor, ReasonCode::TooFewReplicas, why);
    }
    if decision.target > max {
        let why = format!("{} > max {max} → {max}", decision.target);
        decision.limit(max, ReasonCode::TooManyReplicas, why);
    }
}

/// The largest wish. False if there is none to follow.
fn combine(decision: &mut Decision) -> bool {
    let current = decision.current;
    if decision.metrics.is_empty() {
        decision.limit(current, ReasonCode::NoMetrics, "no metric is configured".to_owned());
        return false;
    }
    let Some(want) = decision.metrics.iter().filter_map(|result| result.want).max() else {
        let why = format!("no metric could be judged → keep {current}");
        decision.limit(current, ReasonCode::MetricsUnavailable, why);
        return false;
    };
    let blind = decision.metrics.iter().any(|result| result.want.is_none());
    if blind && want < current {
        let why = format!("a metric is missing, so not down to {want} → keep {current}");
        decision.limit(current, ReasonCode::SomeMetricsUnavailable, why);
        return false;
    }
    if decision.metrics.len() > 1 {
        decision.why.push(format!("max wins → {want}"));
    }
    (decision.want, decision.target, decision.reliable) = (want, want, true);
    true
}

/// Whether every metric that can wake the pool has been quiet for long enough.
fn may_sleep(spec: &ScalingSpec, inputs: &Inputs, history: &History, triggers: &[Trigger]) -> bool {
    let mut waking = triggers.iter().filter(|trigger| **trigger != Trigger::None).peekable();
    waking.peek().is_some()
        && waking.all(|trigger| *trigger == Trigger::Idle)
        && history.last_active.is_some_and(|at| inputs.now.since(at) >= spec.zero_after())
}

/// Up only as far as the smallest wish of the window, down only as far as the largest.
fn stabilise(spec: &ScalingSpec, history: &History, decision: &mut Decision) {
    let Decision { at: now, current, want, .. } = *decision;
    let (up, down) = (spec.up_stabilisation(), spec.down_stabilisation());
    let lowest = history.wished_since(now.minus(up)).fold(want, u32::min);
    let mut highest = history.wished_since(now.minus(down)).fold(want, u32::max);
    if history.wishes.is_empty() && !down.is_zero() {
        // A first look counts the present number as a wish, so it never starts with a drop.
        highest = highest.max(current);
    }
    let stable = current.clamp(lowest, highest); // lowest <= want <= highest
    if stable < want {
        let why = format!("lowest wish in {} is {lowest} → {stable}", span::format(up));
        decision.limit(stable, ReasonCode::ScaleUpStabilized, why);
    } else if stable > want {
        let why = format!("highest wish in {} is {highest} → {stable}", span::format(down));
        decision.limit(stable, ReasonCode::ScaleDownStabilized, why);
    }
}

/// No faster than the policies allow, counting what was changed in their periods.
fn limit_rate(spec: &ScalingSpec, history: &History, decision: &mut Decision) {
    let Decision { at: now, current, target, .. } = *decision;
    let allowed = |policies: &[Policy], proposal: fn(&Policy, i64) -> i64| {
        let limits: Vec<i64> = policies
            .iter()
            .map(|policy| proposal(policy, history.base(current, now, policy.period)))
            .collect();
        (limits.iter().copied().min(), limits.iter().copied().max())
    };
    if target > current {
        let (least, most) = allowed(spec.up_policies(), up_to);
        let limit = choose(spec.up.select, most, least, current).max(current);
        if target > limit {
            let why = format!("at most {limit} for now (rate up) → {limit}");
            decision.limit(limit, ReasonCode::ScaleUpLimit, why);
        }
    } else if target < current {
        let (least, most) = allowed(spec.down_policies(), down_to);
        let limit = choose(spec.down.select, least, most, current).min(current);
        if target < limit {
            let why = format!("at least {limit} for now (rate down) → {limit}");
            decision.limit(limit, ReasonCode::ScaleDownLimit, why);
        }
    }
}

/// How far the rules let the autoscaler go for now in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    pub to: u32,
    /// The rule with its numbers: `≤ max(12+4, 12+100%) = 24 in 15s`.
    pub words: String,
}

/// How far `current` may go up for now, and how far down.
pub fn reach(spec: &ScalingSpec, history: &History, current: u32, now: Time) -> (Reach, Reach) {
    let (up, down) = (spec.up_policies(), spec.down_policies());
    let bound = |policies: &[Policy], select: Select, rises: bool| {
        let propose = if rises { up_to } else { down_to };
        let base = |policy: &Policy| history.base(current, now, policy.period);
        let limits: Vec<i64> =
            policies.iter().map(|policy| propose(policy, base(policy))).collect();
        let (least, most) = (limits.iter().copied().min(), limits.iter().copied().max());
        let (bold, timid) = if rises { (most, least) } else { (least, most) };
        let to = choose(select, bold, timid, current);
        let to = if rises { to.max(current) } else { to.min(current) };
        if select == Select::Disabled {
            return Reach { to, words: "never".to_owned() };
        }
        let sign = if rises { '+' } else { '-' };
        let term = |policy: &Policy| {
            let unit = if policy.kind == PolicyKind::Percent { "%" } else { "" };
            format!("{}{sign}{}{unit}", base(policy), policy.value)
        };
        let terms: Vec<String> = policies.iter().map(term).collect();
        let (relation, widest) = if rises { ("≤", "max") } else { ("≥", "min") };
        let timid = if widest == "max" { "min" } else { "max" };
        let rule = match (&terms[..], select) {
            ([one], _) => one.clone(),
            (several, Select::Min) => format!("{timid}({})", several.join(", ")),
            (several, _) => format!("{widest}({})", several.join(", ")),
        };
        let period = policies.iter().map(|policy| policy.period).max().unwrap_or_default();
        Reach { to, words: format!("{relation} {rule} = {to} in {}", span::format(period)) }
    };
    (bound(up, spec.up.select, true), bound(down, spec.down.select, false))
}

fn choose(select: Select, bold: Option<i64>, timid: Option<i64>, current: u32) -> u32 {
    let limit = match select {
        Select::Max => bold,
        Select::Min => timid,
        Select::Disabled => None,
    };
    limit.map_or(current, |limit| u32::try_from(limit.max(0)).unwrap_or(u32::MAX))
}

fn up_to(policy: &Policy, base: i64) -> i64 {
    let value = i64::from(policy.value);
    match policy.kind {
        PolicyKind::Pods => base + value,
        // Rounded up, in whole numbers: ceil(base · (1 + value/100)).
        PolicyKind::Percent => base.saturating_mul(100 + value).saturating_add(99).div_euclid(100),
    }
}

fn down_to(policy: &Policy, base: i64) -> i64 {
    let value = i64::from(policy.value);
    match policy.kind {
        PolicyKind::Pods => base - value,
        PolicyKind::Percent => base.saturating_mul((100 - value).max(0)).div_euclid(100),
    }
}
