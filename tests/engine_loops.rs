//! The leader's loops over a real file, a simulated runtime and the front door: what operators ask for comes about, ends as
//! it should, and survives a change of leader.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise and may print"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cvxc::adapters::simulated::{SimOptions, SimulatedRuntime};
use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::engine::context::{Context, EngineSettings};
use cvxc::engine::core::Core;
use cvxc::engine::handle::{Consent, Handle, Listing};
use cvxc::engine::run::{self, Running};
use cvxc::engine::view::FleetView;
use cvxc::model::access::Actor;
use cvxc::model::agent::Phase;
use cvxc::model::filter::Filter;
use cvxc::model::id::OperationId;
use cvxc::model::operation::{Operation, OperationStatus};
use cvxc::model::plan::{Command, Manifest, Noun, Targets};
use cvxc::model::schema::Collection;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::ids::RandomIds;
use cvxc::ports::runtime::{Runtime, State};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

const TTL: Duration = Duration::from_secs(2);
/// Generous, because other tests share the machine; every wait is for a state.
const LIMIT: Duration = Duration::from_secs(60);

struct Engine {
    ctx: Arc<Context>,
    handle: Handle,
    running: Running,
}

fn simulated(updates_per_second: u32) -> SimulatedRuntime {
    let clock = SystemClock::shared();
    SimulatedRuntime::new(SimOptions { agents: 100, updates_per_second, seed: 7, clock })
}

/// A template `worker` and a pool `web` of it.
fn web(desired: u32, env: &str) -> Command {
    let manifest = |noun, name: &str, fields: Value| {
        let Value::Object(fields) = fields else { unreachable!() };
        Manifest { noun, name: name.into(), fields, source: String::new() }
    };
    let template = json!({
        "type": "worker",
        "configuration": {"command": ["worker"], "env": {"RELEASE": env},
                          "resources": {"requests": {"cpu": "50m"}}},
    });
    let pool = json!({"template": "worker", "desired": desired, "min": 0, "max": 200,
                      "update": {"max_surge": 5, "max_unavailable": 2}});
    let manifests =
        vec![manifest(Noun::Template, "worker", template), manifest(Noun::Pool, "web", pool)];
    Command::Apply { manifests }
}

impl Engine {
    fn start(folder: &Path, runtime: &SimulatedRuntime, actor: &str) -> Self {
        let options = SqliteOptions::new(folder.join("fleet.db"));
        let store = SqliteStore::open(options, SystemClock::shared()).unwrap();
        let settings = EngineSettings {
            actor: actor.into(),
            lease_ttl: TTL,
            usage_interval: Duration::from_secs(1),
            ..EngineSettings::default()
        };
        let (clock, ids) = (SystemClock::shared(), RandomIds::shared());
        let ctx = Context::new(store, Arc::new(runtime.clone()), clock, ids, settings);
        Self { handle: Core::handle(ctx.clone()), running: run::start(ctx.clone()), ctx }
    }

    async fn view(&self, what: &str, wanted: impl Fn(&FleetView) -> bool) -> Arc<FleetView> {
        let mut views = self.ctx.views.subscribe();
        match timeout(LIMIT, views.wait_for(|view| wanted(view))).await {
            Ok(view) => view.unwrap().clone(),
            Err(_) => {
                let view = self.ctx.view();
                panic!(
                    "never {what}: {:?} {:?} {:?}",
                    view.totals.phases,
                    view.pools,
                    self.ctx.loops.list()
                );
            }
        }
    }

    async fn ask(&self, command: Command) -> OperationId {
        let actor = Actor::local("me@here");
        let plan = self.handle.plan(&actor, command).await.unwrap();
        let consent = Consent { typed: plan.confirm_word.clone(), reason: "a test".into() };
        self.handle.confirm(&actor, &plan, consent).await.unwrap()
    }

    async fn carry_out(&self, command: Command) -> Operation {
        let id = self.ask(command).await;
        self.handle.follow(&id, LIMIT).await.unwrap()
    }

    async fn apply(&self, desired: u32, env: &str) -> Operation {
        self.carry_out(web(desired, env)).await
    }

    async fn ready(&self, count: usize) -> Arc<FleetView> {
        self.view("ready", |view| {
            let live = view.agents.iter().filter(|row| row.phase != Phase::Deleted);
            live.clone().count() == count
                && live.clone().all(|row| row.phase == Phase::Running)
                && view.pools.iter().all(|row| row.ready as usize == count)
        })
        .await
    }

    async fn kinds(&self) -> BTreeMap<String, usize> {
        let listing = Listing {
            collection: Collection::Events,
            filter: Filter::All,
            limit: 10_000,
            after: None,
        };
        let (events, _) = self.handle.list(&Actor::local("me"), listing).await.unwrap();
        let mut kinds = BTreeMap::new();
        for event in events {
            *kinds.entry(event.body["type"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        kinds
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_ask_for_comes_about_from_apply_to_delete() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), simulated(0));
    let engine = Engine::start(folder.path(), &runtime, "a");
    engine.view("leads", |view| view.loaded && view.system.leader.me).await;
    let applied = engine.apply(12, "one").await;
    assert_eq!(applied.status, OperationStatus::Succeeded, "{}", applied.message);
    engine.ready(12).await;

    let scaled = engine.carry_out(Command::Scale { pool: "web".into(), to: 4, hold: true }).await;
    assert_eq!(scaled.status, OperationStatus::Succeeded, "{}", scaled.message);
    let view = engine.ready(4).await;

    let restart = Command::Restart {
        targets: Targets::agents([view
            .agents
            .iter()
            .find(|row| row.phase == Phase::Running)
            .unwrap()
            .name
            .as_str()]),
    };
    let restarted = engine.carry_out(restart).await;
    assert_eq!(restarted.status, OperationStatus::Succeeded, "{}", restarted.message);
    let view = engine.ready(4).await;
    assert_eq!(view.agents.iter().filter(|row| row.incarnation == 2).count(), 1);

    let paused = engine.carry_out(Command::Pause { targets: Targets::pool("web") }).await;
    assert_eq!(paused.status, OperationStatus::Succeeded, "{}", paused.message);
    let resumed = engine.carry_out(Command::Resume { targets: Targets::pool("web") }).await;
    assert_eq!(resumed.status, OperationStatus::Succeeded, "{}", resumed.message);
    engine.ready(4).await;

    engine.apply(4, "two").await;
    let updated =
        engine.carry_out(Command::SetTemplate { pool: "web".into(), version: None }).await;
    assert_eq!(updated.status, OperationStatus::Succeeded, "{}", updated.message);
    let view = engine.ready(4).await;
    let live = view.agents.iter().filter(|row| row.phase != Phase::Deleted);
    assert!(live.clone().all(|row| row.template_version.as_str() != "1.0.0"));

    let deleted = engine.carry_out(Command::Delete { targets: Targets::pool("web") }).await;
    assert_eq!(deleted.status, OperationStatus::Succeeded, "{}", deleted.message);
    let left = runtime.list().await.unwrap();
    assert!(left.iter().all(|seen| seen.state == State::Exited), "{left:?}");
    let told = engine.kinds().await;
    assert!(told["agent.deleted"] >= 16, "{told:?}");
    assert!(engine.running.stop(Duration::from_secs(5)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_succeeded_and_nothing_is_started_twice() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), simulated(0));
    let first = Engine::start(folder.path(), &runtime, "a");
    first.view("leads", |view| view.loaded && view.system.leader.me).await;
    first.apply(60, "one").await;
    let second = Engine::start(folder.path(), &runtime, "b");
    first.ready(60).await;
    drop(first.running);
    second.view("leads", |view| view.system.leader.me).await;
    let scaled = second.carry_out(Command::Scale { pool: "web".into(), to: 70, hold: false }).await;
    assert_eq!(scaled.status, OperationStatus::Succeeded, "{}", scaled.message);
    second.ready(70).await;
    let seen = runtime.list().await.unwrap();
    assert_eq!(seen.len(), 70);
    assert!(seen.iter().all(|seen| seen.incarnation == 1 && seen.restarts == 0));
    let told = second.kinds().await;
    assert_eq!((told["agent.deploying"], told["agent.running"]), (70, 70), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_in_the_middle_of_a_rollout_leaves_it_to_the_next() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), simulated(0));
    let first = Engine::start(folder.path(), &runtime, "a");
    first.view("leads", |view| view.loaded && view.system.leader.me).await;
    first.apply(30, "one").await;
    first.ready(30).await;
    let second = Engine::start(folder.path(), &runtime, "b");
    first.apply(30, "two").await;
    let actor = Actor::local("me");
    let command = Command::SetTemplate { pool: "web".into(), version: None };
    let plan = first.handle.plan(&actor, command).await.unwrap();
    let consent = Consent { typed: plan.confirm_word.clone(), reason: String::new() };
    let operation = first.handle.confirm(&actor, &plan, consent).await.unwrap();
    first
        .view("under way", |view| {
            view.agents.iter().any(|row| row.desired == cvxc::model::agent::Desired::Deleted)
        })
        .await;
    drop(first.running);
    let done = second.handle.follow(&operation, LIMIT).await.unwrap();
    assert_eq!(done.status, OperationStatus::Succeeded, "{}", done.message);
    let view = second.ready(30).await;
    let live = view.agents.iter().filter(|row| row.phase != Phase::Deleted);
    assert!(live.clone().all(|row| row.template_version.as_str() != "1.0.0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_reaches_the_view_and_what_crashes_comes_back() {
    // five blows a second
    let (folder, runtime) = (tempfile::tempdir().unwrap(), simulated(500));
    let engine = Engine::start(folder.path(), &runtime, "a");
    engine.view("leads", |view| view.loaded && view.system.leader.me).await;
    // with so many blows the pool may never be whole, so nobody waits for that
    engine.ask(web(40, "one")).await;
    let began = Instant::now();
    engine
        .view("sampled", |view| {
            let running = view.agents.iter().filter(|row| row.phase == Phase::Running);
            running.clone().count() >= 20
                && running.clone().filter(|row| row.usage.is_some()).count() >= 20
        })
        .await;
    engine.view("a recovery", |view| view.agents.iter().any(|row| row.incarnation > 1)).await;
    let told = engine.kinds().await;
    assert!(told.contains_key("health.changed"), "{told:?} after {:?}", began.elapsed());
    assert!(told.contains_key("agent.failed"), "{told:?}");
}
