//! The fleet as readers see it: immutable, cheap to share, made anew by the mirror whenever something changed.
//! Each kind of row is its own slice, rebuilt only when that kind changed. Rows are in the order of their ids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::supervise::Board;
use crate::model::agent::{Desired, Phase};
use crate::model::health::HealthStatus;
use crate::model::id::{AgentId, OperationId, PoolId, SubscriptionId, TemplateId};
use crate::model::message::MessageStatus;
use crate::model::operation::OperationStatus;
use crate::model::plan::Tier;
use crate::model::scaling::ScalingSpec;
use crate::model::text::Safe;
use crate::model::time::Time;

/// How long an operation can be taken back.
pub const UNDO_WITHIN: Duration = Duration::from_secs(24 * 3_600);
/// How many operations `undo` goes back without naming one.
const UNDO_DEPTH: usize = 20;

#[derive(Debug, Clone, Default)]
pub struct FleetView {
    /// Grows by one with each view.
    pub version: u64,
    pub at: Time,
    pub agents: Arc<[Arc<AgentRow>]>,
    pub pools: Arc<[Arc<PoolRow>]>,
    pub templates: Arc<[Arc<TemplateRow>]>,
    pub subscriptions: Arc<[Arc<SubscriptionRow>]>,
    /// Newest first, the last 500.
    pub operations: Arc<[Arc<OperationRow>]>,
    pub totals: Totals,
    pub system: Arc<System>,
    /// Since when the picture is old, because the store cannot be reached.
    pub stale_since: Option<Time>,
    /// False until the first list is complete.
    pub loaded: bool,
    /// The runtime has told of everything that runs: workloads without a record are among the agents.
    pub sighted: bool,
}

impl FleetView {
    /// The agent with this id, by binary search.
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<AgentRow>> {
        self.agents.binary_search_by(|row| row.id.cmp(id)).ok().map(|at| &self.agents[at])
    }

    pub fn pool(&self, id: &PoolId) -> Option<&Arc<PoolRow>> {
        self.pools.binary_search_by(|row| row.id.cmp(id)).ok().map(|at| &self.pools[at])
    }

    /// What `actor` may take back by `undo` without naming it, newest first: their last 20 acts of the last 24 hours. An
    /// undo is not among them, so that one after another goes further back; it is taken back by its own id.
    pub fn undoable<'a>(
        &'a self,
        actor: &'a str,
        now: Time,
    ) -> impl Iterator<Item = &'a Arc<OperationRow>> {
        let mine = move |row: &&Arc<OperationRow>| {
            row.can_undo
                && row.actor == *actor
                && row.kind != "undo"
                && now.since(row.created_at) <= UNDO_WITHIN
        };
        self.operations.iter().filter(mine).take(UNDO_DEPTH)
    }

    pub fn template(&self, id: &TemplateId) -> Option<&Arc<TemplateRow>> {
        self.templates.binary_search_by(|row| row.id.cmp(id)).ok().map(|at| &self.templates[at])
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRow {
    pub id: AgentId,
    pub name: Safe,
    pub kind: Safe,
    pub tenant: Safe,
    pub pool: Option<PoolId>,
    pub pool_name: Safe,
    pub template: Option<TemplateId>,
    pub template_name: Safe,
    pub template_version: Safe,
    pub labels: Arc<BTreeMap<String, String>>,
    pub desired: Desired,
    pub phase: Phase,
    pub phase_since: Time,
    pub reason: Safe,
    pub health: HealthStatus,
    #[serde(default)]
    pub health_since: Time,
    pub health_message: Safe,
    pub incarnation: u64,
    pub wanted_incarnation: u64,
    pub generation: u64,
    pub failures: u32,
    /// How often the runtime started this incarnation again by itself.
    #[serde(default)]
    pub restarts_in_place: u32,
    pub retry_at: Option<Time>,
    pub drain_deadline: Option<Time>,
    pub purge_at: Option<Time>,
    pub pinned: bool,
    pub node: Safe,
    pub pid: Option<u32>,
    pub created_at: Time,
    pub heartbeat: Option<Time>,
    pub heartbeat_interval: Duration,
    pub heartbeat_required: bool,
    pub usage: Option<UsageNote>,
    pub cpu_request: Option<u64>,
    pub cpu_limit: Option<u64>,
    pub memory_limit: Option<u64>,
    pub queue: Queue,
    /// False for a workload that runs without a record: a row for people, which nothing in the engine decides on.
    #[serde(default = "yes")]
    pub recorded: bool,
}

fn yes() -> bool {
    true
}

impl AgentRow {
    /// Whether something of it is on `host`.
    pub fn is_on(&self, host: &str) -> bool {
        self.phase.has_workload() && self.node.as_str() == host
    }

    /// It runs and is degraded.
    pub fn is_strained(&self) -> bool {
        (self.phase, self.health) == (Phase::Running, HealthStatus::Degraded)
    }

    /// How often it was started again, by us or by the runtime.
    pub fn restarts(&self) -> u64 {
        self.incarnation.saturating_sub(1).saturating_add(self.restarts_in_place.into())
    }
}

/// A usage sample as a row shows it: millicores and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UsageNote {
    pub at: Time,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

/// What waits for one agent (or, summed up, for a pool).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    pub pending: u64,
    pub leased: u64,
    pub dead: u64,
    pub delivered: u64,
    /// When the oldest pending message was made.
    pub oldest: Option<Time>,
}

impl Queue {
    /// Per cent of what ended that ended as a dead letter; `None` while nothing has ended.
    pub fn error_percent(&self) -> Option<u64> {
        let ended = self.dead.saturating_add(self.delivered);
        self.dead.saturating_mul(100).checked_div(ended)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolRow {
    pub id: PoolId,
    pub name: Safe,
    pub description: Safe,
    pub tenant: Safe,
    pub labels: Arc<BTreeMap<String, String>>,
    pub template: Option<TemplateId>,
    pub template_name: Safe,
    pub template_version: Safe,
    pub previous_version: Safe,
    pub desired: u32,
    pub min: u32,
    pub max: u32,
    pub max_surge: u32,
    pub max_unavailable: u32,
    pub ready: u32,
    pub updated: u32,
    pub unhealthy: u32,
    pub pending: u32,
    pub total: u32,
    pub reason: Safe,
    pub halted: bool,
    pub paused: bool,
    pub deleting: bool,
    pub purge_at: Option<Time>,
    pub scaling: Arc<ScalingSpec>,
    /// The autoscaler's last word, in one line.
    pub last_decision: Safe,
    pub generation: u64,
    pub created_at: Time,
    pub queue: Queue,
    /// Sum over its agents.
    pub usage: Option<UsageNote>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplateRow {
    pub id: TemplateId,
    pub name: Safe,
    pub version: Safe,
    pub kind: Safe,
    pub description: Safe,
    pub image: Safe,
    pub command: Safe,
    pub tags: Vec<Safe>,
    pub created_by: Safe,
    pub created_at: Time,
    pub updated_at: Time,
    /// How many agents and pools use it, in any version.
    pub agents: u32,
    pub pools: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionRow {
    pub id: SubscriptionId,
    pub subscriber: Safe,
    pub pattern: Safe,
    pub active: bool,
    pub cursor: u64,
    pub matched: u64,
    pub created_at: Time,
    pub last_matched_at: Option<Time>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRow {
    pub id: OperationId,
    pub kind: Safe,
    pub title: Safe,
    pub tier: Tier,
    pub status: OperationStatus,
    pub actor: Safe,
    pub reason: Safe,
    pub message: Safe,
    pub total: u32,
    pub done: u32,
    pub failed: u32,
    pub can_undo: bool,
    /// What it is at; nothing once it is over.
    pub doing: Doing,
    pub created_at: Time,
    pub finished_at: Option<Time>,
}

/// Where a running operation stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Doing {
    /// The batch under way, the first is 1; of how many.
    pub batch: u32,
    pub batches: u32,
    /// The steps under way in a few words: `restart triage-3, triage-4 and 2 more`.
    pub words: Safe,
    /// The pool whose agents tell how far a step about it has come.
    pub pool: Option<(PoolId, PoolAim)>,
}

/// What a pool is being brought to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PoolAim {
    Ready(u32),
    Version(Safe),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub phases: BTreeMap<Phase, u64>,
    pub health: BTreeMap<HealthStatus, u64>,
    /// Those that run and are degraded: they are among both counts above.
    #[serde(default)]
    pub strained: u64,
    /// Workloads that run without a record: in none of the counts above but `strained`.
    #[serde(default)]
    pub strays: BTreeMap<Phase, u64>,
    /// Those of them that are unwell without having failed.
    #[serde(default)]
    pub strays_unwell: u64,
    pub messages: BTreeMap<MessageStatus, u64>,
    /// What waits has been counted; until then nothing is known of it.
    #[serde(default)]
    pub counted: bool,
    /// Messages sent and delivered a second, over the last 10 seconds; one value for each full second of the last
    /// minute, oldest first.
    pub sent_rate: f64,
    pub delivered_rate: f64,
    pub sent_history: Vec<u32>,
    pub delivered_history: Vec<u32>,
    pub oldest: Option<Time>,
    pub publications: u64,
    pub events: u64,
}

impl Totals {
    pub fn phase(&self, phase: Phase) -> u64 {
        self.phases.get(&phase).copied().unwrap_or(0)
    }

    /// How many run without a record.
    pub fn unrecorded(&self) -> u64 {
        self.strays.values().sum()
    }

    /// The same as people count: with what runs without a record.
    pub fn in_sight(&self, phase: Phase) -> u64 {
        self.phase(phase) + self.strays.get(&phase).copied().unwrap_or(0)
    }

    pub fn messages(&self, status: MessageStatus) -> u64 {
        self.messages.get(&status).copied().unwrap_or(0)
    }
}

/// The parts of the system itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct System {
    pub store: PartStatus,
    pub runtime: PartStatus,
    pub leader: Leader,
    /// Those of whoever leads, as of its last renewal.
    pub loops: Vec<LoopStatus>,
    /// Those of this process; a recording leaves them out.
    #[serde(skip)]
    pub tasks: Board,
    /// True while restarts and scale-downs are held back because too much changed at once (`console.md` §5, blast radius).
    pub brake: Option<Safe>,
    /// Every change of this fleet from here asks for a typed word.
    #[serde(default)]
    pub protected: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PartStatus {
    pub kind: Safe,
    pub version: Safe,
    pub place: Safe,
    pub ok: bool,
    pub latency: Option<Duration>,
    pub error: Safe,
    pub details: Vec<(Safe, Safe)>,
    pub checked_at: Time,
    /// Since when it has not been well: what it told before is that old.
    #[serde(default)]
    pub lost_since: Option<Time>,
}

impl PartStatus {
    /// The details of this name: `broken`, `danger` and `fault` are what is wrong with it, a line each.
    pub fn told<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Safe> {
        let named = self.details.iter().filter(move |(found, _)| found.as_str() == name);
        named.map(|(_, line)| line)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Leader {
    /// Empty when nobody leads.
    pub holder: Safe,
    pub host: Safe,
    pub pid: u32,
    pub epoch: u64,
    /// As of this view; renewals alone make no new view, so judge lateness by `late`.
    pub renewed_at: Option<Time>,
    /// No renewal was seen for longer than the lease lives.
    pub late: bool,
    /// This process leads.
    pub me: bool,
    /// This process would lead if it could.
    pub contends: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoopStatus {
    pub name: Safe,
    pub last_run: Option<Time>,
    pub duration: Duration,
    pub error: Safe,
    pub runs: u64,
}
