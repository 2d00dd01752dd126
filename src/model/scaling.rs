//! How many agents a pool should have: the document that says how to judge it ([`ScalingSpec`]), and
//! the judgement itself ([`decide`]), which is the algorithm of Kubernetes' HPA version 2 with queue
//! metrics beside cpu and KEDA's steps from and to zero. It reads no clock and changes nothing: what
//! it needs comes in, and a [`Decision`] with its reasons comes out.

mod decide;
mod metric;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::template::FieldError;
use super::time::{Time, span};

pub use decide::{Decision, History, Inputs, Reach, ReasonCode, decide, reach};
pub use metric::{CpuUse, MetricResult, QueueSample, Sample, SampleState};

/// A pool's `scaling`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScalingSpec {
    pub mode: Mode,
    /// Each asks for a number of agents; the largest wins.
    pub metrics: Vec<Metric>,
    pub up: Rules,
    pub down: Rules,
    /// How long nothing must have waited before the last agent goes; only where `min` is 0. 300 s if
    /// absent.
    #[serde(with = "span::option", skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Duration>,
    /// Until then the autoscaler leaves the pool alone: somebody has just scaled it by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Time>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Who sets the number of agents.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Mode {
    /// Operators alone.
    #[default]
    Manual,
    /// The leader, by [`decide`].
    Engine,
    /// A HorizontalPodAutoscaler that the leader keeps (Kubernetes only).
    Hpa,
}

/// What a pool is measured by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Metric {
    /// Cpu used as a share of cpu requested, over the pool's ready agents.
    Cpu {
        /// Percent, such as 70.
        target: f64,
    },
    /// Waiting messages for each agent.
    QueuePerAgent {
        target: f64,
        /// More than this many waiting messages wake a pool from zero.
        #[serde(default, skip_serializing_if = "is_zero")]
        activation: f64,
    },
    /// Agents enough to serve what arrives and to work off what waits within a time:
    /// `ceil((arrivals/s + waiting/within) · mean service time / concurrency)`.
    BacklogDrain {
        #[serde(with = "span", default = "two_minutes")]
        within: Duration,
        /// Messages that one agent works on at a time.
        #[serde(default = "one")]
        concurrency: u32,
    },
    /// A number that the agents report, on average over them.
    Custom { name: String, target: f64 },
}

/// How fast the number may move in one direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// The most careful wish of this long counts. 0 up and 300 s down if absent; at most an hour.
    #[serde(
        with = "span::option",
        alias = "stabilization",
        skip_serializing_if = "Option::is_none"
    )]
    pub stabilisation: Option<Duration>,
    /// If empty: up 4 pods or 100 percent in 15 s, down 100 percent in 15 s.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Policy>,
    pub select: Select,
}

/// At most so much change in so long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    #[serde(rename = "type")]
    pub kind: PolicyKind,
    pub value: u32,
    #[serde(with = "span")]
    pub period: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    Pods,
    Percent,
}

/// Which of several policies holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The one that allows the most change.
    #[default]
    Max,
    /// The one that allows the least.
    Min,
    /// No change in this direction at all.
    Disabled,
}

const SYNC: Duration = Duration::from_secs(15);
const UP_POLICIES: [Policy; 2] = [
    Policy { kind: PolicyKind::Pods, value: 4, period: SYNC },
    Policy { kind: PolicyKind::Percent, value: 100, period: SYNC },
];
const DOWN_POLICIES: [Policy; 1] = [Policy { kind: PolicyKind::Percent, value: 100, period: SYNC }];
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);

impl ScalingSpec {
    /// What is wrong with it, every fault at once. Paths are JSON pointers from the spec on.
    pub fn validate(&self) -> Vec<FieldError> {
        let mut faults = Faults(Vec::new());
        if self.mode != Mode::Manual && self.metrics.is_empty() {
            faults.add("/metrics", "expected at least one metric unless mode is manual");
        }
        for (at, metric) in self.metrics.iter().enumerate() {
            metric.validate(&format!("/metrics/{at}"), &mut faults);
            if self.metrics[..at].iter().any(|other| other.label() == metric.label()) {
                faults.add(format!("/metrics/{at}"), "this metric is listed twice");
            }
        }
        self.up.validate("/up", &mut faults);
        self.down.validate("/down", &mut faults);
        if self.cooldown.is_some_and(|cooldown| cooldown > HOUR) {
            faults.add("/cooldown", "expected at most 1h");
        }
        faults.0
    }

    pub(super) fn up_stabilisation(&self) -> Duration {
        self.up.stabilisation.unwrap_or(Duration::ZERO)
    }

    pub(super) fn down_stabilisation(&self) -> Duration {
        self.down.stabilisation.unwrap_or(FIVE_MINUTES)
    }

    pub(super) fn up_policies(&self) -> &[Policy] {
        if self.up.policies.is_empty() { &UP_POLICIES } else { &self.up.policies }
    }

    pub(super) fn down_policies(&self) -> &[Policy] {
        if self.down.policies.is_empty() { &DOWN_POLICIES } else { &self.down.policies }
    }

    pub(super) fn zero_after(&self) -> Duration {
        self.cooldown.unwrap_or(FIVE_MINUTES)
    }
}

impl Metric {
    /// Its name in reasons and events: `cpu`, `queue`, `drain`, or the custom metric's own.
    pub fn label(&self) -> &str {
        match self {
            Self::Cpu { .. } => "cpu",
            Self::QueuePerAgent { .. } => "queue",
            Self::BacklogDrain { .. } => "drain",
            Self::Custom { name, .. } => name,
        }
    }

    fn validate(&self, path: &str, faults: &mut Faults) {
        let mut target = |target: f64, most: f64, expected: &str| {
            if !(target.is_finite() && target > 0.0 && target <= most) {
                faults.add(format!("{path}/target"), expected);
            }
        };
        match self {
            Self::Cpu { target: percent } => {
                target(
                    *percent,
                    1000.0,
                    "expected percent of the cpu requested, above 0 up to 1000",
                );
            }
            Self::QueuePerAgent { target: messages, activation } => {
                target(*messages, f64::MAX, "expected messages for each agent, above 0");
                if !(activation.is_finite() && *activation >= 0.0) {
                    faults.add(format!("{path}/activation"), "expected 0 or more messages");
                }
            }
            Self::BacklogDrain { within, concurrency } => {
                if within.is_zero() {
                    faults.add(format!("{path}/within"), "expected a span of time above 0");
                }
                if *concurrency == 0 {
                    faults.add(format!("{path}/concurrency"), "expected 1 or more");
                }
            }
            Self::Custom { name, target: average } => {
                target(*average, f64::MAX, "expected an average for each agent, above 0");
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
                let taken = ["cpu", "queue", "drain"].contains(&name.as_str());
                if !(1..=63).contains(&name.len()) || !name.bytes().all(plain) || taken {
                    let expected = "expected 1 to 63 letters, digits or '_', '.', '-', '/', \
                                    not cpu, queue or drain";
                    faults.add(format!("{path}/name"), expected);
                }
            }
        }
    }
}

impl Rules {
    fn validate(&self, path: &str, faults: &mut Faults) {
        if self.stabilisation.is_some_and(|window| window > HOUR) {
            faults.add(format!("{path}/stabilisation"), "expected at most 1h");
        }
        for (at, policy) in self.policies.iter().enumerate() {
            if policy.value == 0 {
                let expected = "expected 1 or more (to forbid the direction, set select: disabled)";
                faults.add(format!("{path}/policies/{at}/value"), expected);
            }
            if policy.period < Duration::from_secs(1) || policy.period > HOUR / 2 {
                faults.add(format!("{path}/policies/{at}/period"), "expected 1s to 30m");
            }
        }
    }
}

struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, message: &str) {
        self.0.push(FieldError::new(path, message));
    }
}

fn two_minutes() -> Duration {
    Duration::from_secs(120)
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

#[cfg(test)]
mod tests;
