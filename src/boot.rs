//! The composition root: the one place where adapters meet engine and surfaces.

pub mod cluster;
mod store;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::adapters::kubernetes::KubernetesRuntime;
use crate::adapters::local::{self, LocalOptions, LocalRuntime};
use crate::adapters::simulated::{SimOptions, SimulatedRuntime};
use crate::adapters::sqlite::{SqliteOptions, SqliteStore};
use crate::engine::context::{Context, EngineSettings};
use crate::engine::core::Core;
use crate::engine::handle::Handle;
use crate::engine::run::{self, Running};
use crate::model::access::{Actor, Role};
use crate::model::agent::Phase;
use crate::model::id::AgentId;
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::ids::RandomIds;
use crate::ports::runtime::Runtime;
use crate::ports::store::{Store, StoreError};
use crate::settings::places::Places;
use crate::settings::{self, LoadError, Loaded, RuntimeKind};

/// Documents read at once to learn which agents are up.
const CENSUS: usize = 1_000;

/// What was asked for on the command line, over the settings files.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub data_dir: Option<PathBuf>,
    /// Where settings are, whatever folder the data is in.
    pub config: Option<PathBuf>,
    /// Acts as less than one is.
    pub role: Option<Role>,
    /// Dotted setting, value, flag that gave it.
    pub flags: Vec<(&'static str, String, &'static str)>,
}

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Settings(#[from] LoadError),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Runtime(String),
}

/// Settings, places and clock: what every verb needs, before anything is opened.
#[derive(Debug, Clone)]
pub struct Ground {
    pub loaded: Loaded,
    pub places: Places,
    /// Acts as less than one is.
    pub role: Option<Role>,
    pub clock: Arc<dyn Clock>,
}

/// How the engine takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Leads when nobody else does.
    Contend,
    /// Leads, and asks a console that leads to hand over.
    Priority,
    /// Watches and records what is wanted. A store that does not exist is made, one that is damaged is left as it is.
    Observe,
    /// Watches alone: of a shared database it makes nothing, and a file that is not there is made empty.
    Look,
}

/// Agents that are played instead of started.
#[derive(Debug, Clone, Copy)]
pub struct Simulation {
    pub agents: usize,
    pub updates: u32,
    pub seed: u64,
}

/// An engine at work over its adapters.
#[derive(Debug)]
pub struct Opened {
    pub handle: Handle,
    pub actor: Actor,
    pub running: Running,
    pub local: Option<Arc<LocalRuntime>>,
    pub kubernetes: Option<KubernetesRuntime>,
    pub context: Arc<Context>,
}

/// Reads the settings.
///
/// # Errors
/// [`BootError::Settings`] naming file, line and key; [`BootError::Usage`] without any place for data.
pub fn ground(request: &Request) -> Result<Ground, BootError> {
    let environment: BTreeMap<String, String> = utf8_environment();
    if let Some(dir) = request.data_dir.as_deref().filter(|dir| dir.exists() && !dir.is_dir()) {
        return Err(BootError::Usage(format!("--data-dir {}: is no folder", dir.display())));
    }
    let mut places = Places::find(request.data_dir.as_deref(), &environment).ok_or_else(|| {
        BootError::Usage("there is no home directory: name a folder with --data-dir".into())
    })?;
    if let Some(config) = &request.config {
        config.clone_into(&mut places.config);
    }
    let flags: Vec<(&str, String, &str)> = request.flags.clone();
    let loaded = settings::load(Some(&places.settings_file()), &environment, &flags)?;
    Ok(Ground { loaded, places, role: request.role, clock: SystemClock::shared() })
}

/// The variables that are text; others cannot be settings of ours.
pub fn utf8_environment() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// The embedded store's file.
///
/// # Errors
/// [`BootError::Usage`] when the fleet is kept in a database.
pub fn store_path(ground: &Ground) -> Result<PathBuf, BootError> {
    match store::place(ground)? {
        store::Place::File(path) => Ok(path),
        store::Place::Database(place) => Err(BootError::Usage(format!(
            "the fleet is kept in {}, not in a file: save it with arangodump",
            place.options.place()
        ))),
    }
}

/// The embedded store's file where there is none yet; databases are made where they are.
///
/// # Errors
/// As [`store_path`] for settings that lead nowhere.
pub fn missing_store(ground: &Ground) -> Result<Option<PathBuf>, BootError> {
    Ok(match store::place(ground)? {
        store::Place::File(path) => Some(path).filter(|path| !path.exists()),
        store::Place::Database(_) => None,
    })
}

pub use store::{agent_store, schema, whereabouts};

/// The hidden verb under which this program is an agent's shim.
pub const SHIM_VERB: &str = local::shim::VERB;

/// Runs the shim of one agent; `args` are those after the verb.
pub fn shim(args: impl Iterator<Item = OsString>) -> ExitCode {
    local::shim::main(args)
}

/// Opens the store alone: for agents and for `backup`.
///
/// # Errors
/// Those of the adapter.
pub fn open_store(path: &Path, clock: &Arc<dyn Clock>) -> Result<Arc<SqliteStore>, BootError> {
    Ok(SqliteStore::open(SqliteOptions::new(path), clock.clone())?)
}

/// Opens store and runtime and starts the engine.
///
/// # Errors
/// When settings, store or runtime cannot be used; nothing is left running.
pub async fn open(
    ground: &Ground,
    part: Part,
    simulation: Option<Simulation>,
) -> Result<Opened, BootError> {
    let settings = &ground.loaded.settings;
    let place = store::place(ground)?;
    let store = store::open(&place, &ground.clock, part).await?;
    let agent_store = store::for_agents(&place, ground)?;
    let exe = std::env::current_exe()
        .map_err(|error| BootError::Runtime(format!("this program's path: {error}")))?;
    let (mut local, mut kubernetes) = (None, None);
    let runtime: Arc<dyn Runtime> = match (simulation, settings.runtime.kind) {
        (Some(simulation), _) => {
            let Simulation { agents, updates, seed } = simulation;
            let options = SimOptions {
                agents,
                updates_per_second: updates,
                seed,
                clock: ground.clock.clone(),
            };
            let known = store.clone();
            let census = move || -> BoxFuture<'static, _> {
                let store = known.clone();
                Box::pin(async move { Ok(up(&*store).await?) })
            };
            Arc::new(SimulatedRuntime::peopled_by(options, Box::new(census)))
        }
        (None, RuntimeKind::Local) => {
            let runtime = LocalRuntime::new(LocalOptions::new(
                ground.places.agents(),
                exe,
                ground.clock.clone(),
            ))
            .map_err(|error| BootError::Runtime(crate::ports::store::chain(&error)))?;
            let runtime = Arc::new(runtime);
            local = Some(runtime.clone());
            runtime
        }
        (None, RuntimeKind::Kubernetes) => {
            let runtime = cluster::open(&ground.loaded, ground.clock.clone()).await?;
            kubernetes = Some(runtime.clone());
            Arc::new(runtime)
        }
    };
    let mut actor = Actor::local(who());
    actor.role = ground.role.unwrap_or(actor.role);
    let engine = engine_settings(&ground.loaded, part, &actor, agent_store);
    let context = Context::new(store, runtime, ground.clock.clone(), RandomIds::shared(), engine);
    let running = run::start(context.clone());
    Ok(Opened { handle: Core::handle(context.clone()), actor, running, local, kubernetes, context })
}

/// What is read of an agent's document to know whether it is up.
#[derive(serde::Deserialize)]
struct Sketch {
    phase: Phase,
    incarnation: u64,
}

/// The agents that a reopened store says are up, at their incarnation: played ones have no process to be found by.
async fn up(store: &dyn Store) -> Result<Vec<(AgentId, u64)>, StoreError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.scan(Collection::Agents, after.as_ref(), CENSUS).await?;
        for raw in &page {
            let Ok(sketch) = serde_json::from_str::<Sketch>(&raw.json) else { continue };
            if let Ok(id) = AgentId::new(raw.key.as_str())
                && sketch.phase.has_workload()
            {
                found.push((id, sketch.incarnation));
            }
        }
        if page.len() < CENSUS {
            return Ok(found);
        }
        after = page.into_iter().next_back().map(|raw| raw.key);
    }
}

fn engine_settings(
    loaded: &Loaded,
    part: Part,
    actor: &Actor,
    own_store: String,
) -> EngineSettings {
    let settings = &loaded.settings;
    let agent_store = match settings.runtime.kind {
        RuntimeKind::Kubernetes => cluster::agent_store(loaded),
        RuntimeKind::Local if !settings.agents.store_url.is_empty() => {
            settings.agents.store_url.clone()
        }
        RuntimeKind::Local => own_store,
    };
    EngineSettings {
        actor: actor.name.clone(),
        host: host(),
        contend: matches!(part, Part::Contend | Part::Priority),
        priority: part == Part::Priority,
        protected: settings.fleet.protected,
        lease_ttl: settings.leader.ttl,
        health_interval: settings.health.interval,
        usage_interval: settings.health.usage_interval,
        autoscale_interval: settings.autoscale.interval,
        failure_threshold: settings.health.failure_threshold,
        success_threshold: settings.health.success_threshold,
        agent_store,
        agent_secret: settings.agents.store_secret.clone(),
        backoff_first: settings.recovery.backoff_first,
        backoff_longest: settings.recovery.backoff_longest,
        ..EngineSettings::default()
    }
}

impl Opened {
    /// Waits until store and runtime have been asked how they are, at most `limit`; then goes on with what is known.
    pub async fn probed(&self, limit: Duration) {
        let mut views = self.handle.views();
        let known = views.wait_for(|view| {
            [&view.system.store, &view.system.runtime]
                .iter()
                .all(|part| part.checked_at != Time::EPOCH)
        });
        // a part that does not answer shows as not ok, which is what was asked for
        drop(tokio::time::timeout(limit, known).await);
    }

    /// Waits until the runtime has told of everything that runs, at most `limit`; then goes on with what is known.
    pub async fn sighted(&self, limit: Duration) {
        let mut views = self.handle.views();
        let known = views.wait_for(|view| {
            let runtime = &view.system.runtime;
            view.sighted || (!runtime.ok && runtime.checked_at != Time::EPOCH)
        });
        drop(tokio::time::timeout(limit, known).await);
    }

    /// What is known to be wrong with the store.
    fn trouble(&self) -> Option<String> {
        let view = self.handle.views().borrow().clone();
        let store = &view.system.store;
        let mut said = std::iter::once(&store.error).chain(store.told("broken"));
        said.find(|why| !why.as_str().is_empty()).map(ToString::to_string)
    }

    /// Waits until the mirror holds the whole fleet, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable` when the store did not answer in time.
    pub async fn loaded(&self, limit: Duration) -> Result<(), StoreError> {
        let mut views = self.handle.views();
        let ready = views.wait_for(|view| view.loaded);
        match tokio::time::timeout(limit, ready).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Unavailable("the engine stopped".into())),
            Err(_) => Err(StoreError::Unavailable(match self.trouble() {
                Some(why) => why.into(),
                None => format!("no answer within {limit:?}").into(),
            })),
        }
    }
}

/// `user@host`, as the journal names the person at this terminal.
fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| match rustix::process::getuid().as_raw() {
        0 => "root".to_owned(),
        uid => format!("uid-{uid}"),
    });
    format!("{}@{}", Safe::new(&user), host())
}

fn host() -> String {
    Safe::new(&rustix::system::uname().nodename().to_string_lossy()).to_string()
}
