//! Commands and the plans made of them: what would happen, to whom, in which batches, how it is confirmed and undone.

pub mod victims;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::agent::Phase;
use super::message::NewMessage;
use super::time::span;

/// What an operator, an API client or a loop asks for. Targets are named by id or by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verb")]
pub enum Command {
    /// Create or change templates, pools and agents from manifests, all or nothing.
    Apply {
        manifests: Vec<Manifest>,
    },
    /// Change one template, pool or agent from what was read of it to what somebody made of that. Only what differs is
    /// written, and only where nobody else changed it since.
    Edit {
        noun: Noun,
        name: String,
        base: Map<String, Value>,
        fields: Map<String, Value>,
    },
    /// Create one agent of a template, with parts of its configuration overridden.
    Deploy {
        template: String,
        #[serde(default)]
        version: Option<String>,
        name: String,
        #[serde(default)]
        pool: Option<String>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        #[serde(default)]
        overrides: Map<String, Value>,
    },
    /// Set a pool's wanted count; `hold` keeps the autoscaler away for 10 minutes.
    Scale {
        pool: String,
        to: u32,
        hold: bool,
    },
    /// Set several pools to the same count.
    ScalePools {
        pools: Vec<String>,
        to: u32,
        hold: bool,
    },
    /// End and start again with the next incarnation, in batches of the pool's `max_unavailable`.
    Restart {
        targets: Targets,
    },
    Pause {
        targets: Targets,
    },
    Resume {
        targets: Targets,
    },
    /// Take no new work, finish what is held until `deadline`, then stop.
    Drain {
        targets: Targets,
        #[serde(default, with = "span::option")]
        deadline: Option<Duration>,
    },
    Stop {
        targets: Targets,
    },
    Start {
        targets: Targets,
    },
    /// Drain, end, keep a tombstone for 24 h. A pool takes its agents along; a template must be unused.
    Delete {
        targets: Targets,
    },
    CloneTemplate {
        template: String,
        name: String,
    },
    /// Bring a pool's agents to a template version by a rolling update (none: the newest).
    SetTemplate {
        pool: String,
        version: Option<String>,
    },
    /// Bring a pool back to the version before its last update.
    Rollback {
        pool: String,
    },
    Send {
        message: NewMessage,
    },
    Publish {
        publisher: String,
        event: String,
        #[serde(rename = "type")]
        kind: String,
        payload: Map<String, Value>,
        #[serde(with = "span")]
        ttl: Duration,
    },
    Subscribe {
        subscriber: String,
        pattern: String,
        #[serde(default)]
        publisher: Option<String>,
        #[serde(default)]
        conditions: Map<String, Value>,
    },
    Unsubscribe {
        subscription: String,
    },
    /// Make dead or failed messages pending again, with their ids kept.
    Requeue {
        messages: Vec<String>,
    },
    /// Send copies with new ids.
    Replay {
        messages: Vec<String>,
    },
    /// Put messages away for 24 h, then remove them.
    Purge {
        messages: Vec<String>,
    },
    /// Rewrite documents of other programs into our shape.
    Migrate,
    /// Close a host to new agents, or open it again.
    Cordon {
        host: String,
        closed: bool,
    },
    /// Close a host and evict its agents, as what protects them allows.
    DrainHost {
        host: String,
    },
    /// Take workloads without a record into the registry, or end them; none named: all.
    Adopt {
        workloads: Vec<String>,
        end: bool,
    },
    /// Reverse an operation as far as that is possible.
    Undo {
        operation: String,
    },
}

impl Command {
    /// The verb as typed on the command line: `scale`, `set-template`.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::Edit { .. } => "edit",
            Self::Deploy { .. } => "deploy",
            Self::Scale { .. } | Self::ScalePools { .. } => "scale",
            Self::Restart { .. } => "restart",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Drain { .. } => "drain",
            Self::Stop { .. } => "stop",
            Self::Start { .. } => "start",
            Self::Delete { .. } => "delete",
            Self::CloneTemplate { .. } => "clone-template",
            Self::SetTemplate { .. } => "set-template",
            Self::Rollback { .. } => "rollback",
            Self::Send { .. } => "send",
            Self::Publish { .. } => "publish",
            Self::Subscribe { .. } => "subscribe",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Requeue { .. } => "requeue",
            Self::Replay { .. } => "replay",
            Self::Purge { .. } => "purge",
            Self::Migrate => "migrate",
            Self::Cordon { closed: true, .. } => "cordon",
            Self::Cordon { closed: false, .. } => "uncordon",
            Self::DrainHost { .. } => "drain-host",
            Self::Adopt { .. } => "adopt",
            Self::Undo { .. } => "undo",
        }
    }
}

/// What kind of thing a target is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::Display,
    strum::EnumIter,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Noun {
    Agent,
    Pool,
    Template,
    Message,
    Subscription,
    Publication,
    Operation,
}

/// Things of one kind, by id or name. For a pool, agent verbs mean all of its agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    pub noun: Noun,
    pub names: Vec<String>,
}

impl Targets {
    pub fn agents(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { noun: Noun::Agent, names: names.into_iter().map(Into::into).collect() }
    }

    pub fn pool(name: impl Into<String>) -> Self {
        Self { noun: Noun::Pool, names: vec![name.into()] }
    }
}

/// One document of a manifest file: `kind: Template|Pool|Agent` and its fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub noun: Noun,
    pub name: String,
    /// Everything of the document but `kind` and `name`.
    pub fields: Map<String, Value>,
    /// Where it was read, for error messages: `demo.yaml:12`.
    pub source: String,
}

/// How much it takes to confirm (`console.md` §2), gentlest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Tier {
    /// Reads only.
    Zero,
    /// One plan line and `y`.
    One,
    /// The whole plan, Cancel focused.
    Two,
    /// The whole plan and a typed word.
    Three,
    /// Refused.
    Four,
}

impl From<Tier> for u8 {
    fn from(tier: Tier) -> u8 {
        tier as u8
    }
}

impl TryFrom<u8> for Tier {
    type Error = String;
    fn try_from(number: u8) -> Result<Self, String> {
        [Self::Zero, Self::One, Self::Two, Self::Three, Self::Four]
            .get(usize::from(number))
            .copied()
            .ok_or_else(|| format!("expected a tier from 0 to 4, got {number}"))
    }
}

/// What a command would do, shown before it runs. The same plan is made for `--dry-run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub command: Command,
    /// `Scale pool triage 12 → 19`.
    pub title: String,
    pub tier: Tier,
    /// Named facts in the order shown: `current`, `limit`, `why`, `in flight`, …
    pub facts: Vec<Fact>,
    pub steps: Vec<PlannedStep>,
    pub warnings: Vec<String>,
    /// What `undo` would do; `Err` says why nothing can be undone.
    pub undo: Result<String, String>,
    /// What must be typed at tier 3.
    pub confirm_word: Option<String>,
    /// Hash over the command and everything of the targets that the plan relied on. A plan is carried out only if
    /// planning again gives the same one.
    pub fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub name: String,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Batches run one after another; a failed one stops those after it.
    pub batch: u32,
    /// `create`, `drain`, `stop`, `start`, `restart`, `delete`, `update`, `write`.
    pub action: String,
    pub target: TargetRef,
    pub goal: Goal,
    /// What changes or why, in words.
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetRef {
    pub noun: Noun,
    pub id: String,
    pub name: String,
}

/// When a step counts as done; judged by looking at the fleet, never by having written something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "until")]
pub enum Goal {
    /// Done with the transaction that confirmed it.
    Written,
    /// The runtime was asked and did it; whoever asks says so.
    Asked,
    /// The agent is in `phase` with at least this incarnation.
    Agent {
        phase: Phase,
        incarnation: u64,
    },
    /// The agent is deleted or gone.
    AgentGone,
    /// The pool has `ready` agents ready and no more than that.
    PoolReady {
        ready: u32,
    },
    /// Every agent of the pool runs this template version.
    PoolUpdated {
        version: String,
    },
    PoolGone,
}
