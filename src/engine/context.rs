//! What every part of the engine works with: the ports, the journal, the latest view, and the settings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};

use crate::engine::brake::Blast;
use crate::engine::external::Suspects;
use crate::engine::journal::{Fence, Journal};
use crate::engine::supervise::Board;
use crate::engine::view::{FleetView, LoopStatus};
use crate::model::event::Event;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::clock::Clock;
use crate::ports::ids::Ids;
use crate::ports::runtime::Runtime;
use crate::ports::store::Store;

/// How the engine behaves; every field has a setting of the same name.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Who acts, as the journal names them: `user@host`.
    pub actor: String,
    pub host: String,
    /// Whether this process leads when nobody else does.
    pub contend: bool,
    /// A daemon that takes over politely from a console.
    pub priority: bool,
    /// Every change asks for a typed word (`console.md` §2: a protected context).
    pub protected: bool,
    /// How long a lease lives without renewal; renewed at a third of it. At least 2 s.
    pub lease_ttl: Duration,
    pub health_interval: Duration,
    /// Time between two usage samples of one agent.
    pub usage_interval: Duration,
    pub autoscale_interval: Duration,
    pub failure_threshold: u32,
    pub success_threshold: u32,
    /// How the store is reached from an agent's process: `CVXC_STORE`.
    pub agent_store: String,
    /// Where an agent's password for the store is kept, as its runtime names secrets: `NAME/KEY`.
    pub agent_secret: String,
    /// Restart back-off: first pause and longest.
    pub backoff_first: Duration,
    pub backoff_longest: Duration,
    /// How much of the journal is kept at most, in bytes of its documents as JSON.
    pub events_most: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            actor: "operator".into(),
            host: "localhost".into(),
            contend: true,
            priority: false,
            protected: false,
            lease_ttl: Duration::from_secs(15),
            health_interval: Duration::from_secs(10),
            usage_interval: Duration::from_secs(10),
            autoscale_interval: Duration::from_secs(15),
            failure_threshold: 3,
            success_threshold: 1,
            agent_store: String::new(),
            agent_secret: String::new(),
            backoff_first: Duration::from_secs(10),
            backoff_longest: Duration::from_secs(300),
            events_most: 2 << 30,
        }
    }
}

/// Shared by every task of one engine.
#[derive(Debug)]
pub struct Context {
    pub store: Arc<dyn Store>,
    pub runtime: Arc<dyn Runtime>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub journal: Journal,
    /// What is recorded: all that the engine decides on. Written by the mirror alone.
    pub views: watch::Sender<Arc<FleetView>>,
    /// The same for people: with rows for workloads that run without a record. Written by the mirror alone.
    pub shown: watch::Sender<Arc<FleetView>>,
    /// Fed by the mirror with every journal entry it meets.
    pub events: broadcast::Sender<Arc<Event>>,
    /// Wakes the reconcile loop: something is wanted that is not yet so.
    pub wanted: Notify,
    /// Wakes whoever waits for messages inside this process.
    pub sent: Notify,
    pub loops: LoopBoard,
    /// Documents that somebody else may have changed; told by the mirror, cleared up by the leader.
    pub suspects: Suspects,
    /// The fence of this process's own term while it leads; written by leadership alone.
    pub leading: watch::Sender<Option<Fence>>,
    /// Every supervised task of this engine and how it is doing.
    pub tasks: watch::Sender<Board>,
    /// Why restarts and scale-downs are held back; set by the health loop, carried to other processes by the lease.
    pub brake: watch::Sender<Option<Safe>>,
    /// Which agents turned bad lately, for the brake.
    pub blast: Blast,
    pub settings: EngineSettings,
}

impl Context {
    pub fn new(
        store: Arc<dyn Store>,
        runtime: Arc<dyn Runtime>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        settings: EngineSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            journal: Journal::new(store.clone(), clock.clone()),
            store,
            runtime,
            clock,
            ids,
            views: watch::Sender::new(Arc::default()),
            shown: watch::Sender::new(Arc::default()),
            events: broadcast::Sender::new(4_096),
            wanted: Notify::new(),
            sent: Notify::new(),
            loops: LoopBoard::default(),
            suspects: Suspects::default(),
            leading: watch::Sender::new(None),
            tasks: watch::Sender::new(Board::new()),
            brake: watch::Sender::new(None),
            blast: Blast::default(),
            settings,
        })
    }

    pub fn view(&self) -> Arc<FleetView> {
        self.views.borrow().clone()
    }
}

/// When each loop last ran, how long it took, and what went wrong.
#[derive(Debug, Default)]
pub struct LoopBoard(Mutex<BTreeMap<&'static str, LoopStatus>>);

impl LoopBoard {
    /// Notes one run of the loop `name`; `error` is `None` when it went well.
    pub fn ran(&self, name: &'static str, at: Time, duration: Duration, error: Option<&str>) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = board.get(name).map_or(0, |status| status.runs) + 1;
        board.insert(
            name,
            LoopStatus {
                name: Safe::new(name),
                last_run: Some(at),
                duration,
                error: Safe::new(error.unwrap_or_default()),
                runs,
            },
        );
    }

    pub fn list(&self) -> Vec<LoopStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
