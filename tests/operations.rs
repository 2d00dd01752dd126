//! Operations from one end to the other: the embedded store, the leader's loops, a runtime that plays the agents, and an
//! operator at the front door.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise and may print"
)]

use std::sync::Arc;
use std::time::Duration;

use cvxc::adapters::simulated::{SimOptions, SimulatedRuntime};
use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::engine::context::{Context, EngineSettings};
use cvxc::engine::core::Core;
use cvxc::engine::handle::{CommandError, Consent, Handle, Listing};
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
use serde_json::{Value, json};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

struct Fleet {
    handle: Handle,
    me: Actor,
    running: Running,
    _dir: tempfile::TempDir,
}

impl Fleet {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let store =
            SqliteStore::open(SqliteOptions::new(dir.path().join("fleet.db")), clock.clone());
        let options =
            SimOptions { agents: 50, updates_per_second: 0, seed: 7, clock: clock.clone() };
        let runtime = Arc::new(SimulatedRuntime::new(options));
        let settings = EngineSettings { lease_ttl: Duration::from_secs(2), ..Default::default() };
        let ctx = Context::new(store.unwrap(), runtime, clock, RandomIds::shared(), settings);
        let handle = Core::handle(ctx.clone());
        Self { handle, me: Actor::local("ann@desk"), running: run::start(ctx), _dir: dir }
    }

    async fn begin(&self, command: Command) -> Result<OperationId, CommandError> {
        let mut plan = self.handle.plan(&self.me, command).await?;
        loop {
            let consent = Consent { typed: plan.confirm_word.clone(), reason: "test".into() };
            match self.handle.confirm(&self.me, &plan, consent).await {
                // the fleet moves by itself while it comes up: look again, as an operator would
                Err(CommandError::PlanChanged { plan: fresh }) => plan = *fresh,
                answer => return answer,
            }
        }
    }

    async fn run(&self, command: Command) -> (OperationId, Operation) {
        let id = self.begin(command).await.unwrap();
        let operation = self.handle.follow(&id, LIMIT).await.unwrap();
        assert_eq!(operation.status, OperationStatus::Succeeded, "{operation:#?}");
        (id, operation)
    }

    async fn until(&self, what: &str, wanted: impl Fn(&FleetView) -> bool) -> Arc<FleetView> {
        let mut views = self.handle.views();
        let found = timeout(LIMIT, views.wait_for(|view| wanted(view))).await;
        found.unwrap_or_else(|_| panic!("never {what}")).unwrap().clone()
    }

    async fn stop(self) {
        assert_eq!(self.running.stop(Duration::from_secs(5)).await, Vec::<&str>::new());
    }
}

fn manifest(noun: Noun, name: &str, fields: Value) -> Manifest {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    Manifest { noun, name: name.into(), fields, source: "test.yaml:1".into() }
}

fn manifests() -> Vec<Manifest> {
    vec![
        manifest(
            Noun::Pool,
            "triage",
            json!({"template": "worker", "desired": 4, "max": 20,
            "update": {"max_surge": 2, "max_unavailable": 2}}),
        ),
        manifest(
            Noun::Template,
            "worker",
            json!({"configuration": {"command": ["cvxc", "agent", "run"],
                   "resources": {"requests": {"cpu": "10m"}}}}),
        ),
        manifest(Noun::Agent, "router", json!({"template": "worker"})),
    ]
}

fn up(view: &FleetView) -> usize {
    let running = cvxc::model::agent::Phase::Running;
    view.agents.iter().filter(|row| row.phase == running).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_is_applied_scaled_restarted_updated_deleted_and_brought_back() {
    let fleet = Fleet::start();
    let (_, applied) = fleet.run(Command::Apply { manifests: manifests() }).await;
    assert_eq!((applied.done, applied.failed), (3, 0));
    fleet.until("five up", |view| up(view) == 5).await;

    let (scaled, _) = fleet.run(Command::Scale { pool: "triage".into(), to: 6, hold: true }).await;
    fleet.until("seven up", |view| up(view) == 7).await;
    fleet.run(Command::Undo { operation: scaled.to_string() }).await;
    fleet.until("five up again", |view| up(view) == 5).await;

    let (_, restarted) = fleet.run(Command::Restart { targets: Targets::pool("triage") }).await;
    assert_eq!(restarted.steps.iter().map(|step| step.batch).max(), Some(1));

    let (paused, _) = fleet.run(Command::Pause { targets: Targets::agents(["router"]) }).await;
    fleet.run(Command::Undo { operation: paused.to_string() }).await;
    fleet.run(Command::Stop { targets: Targets::agents(["router"]) }).await;
    fleet.run(Command::Start { targets: Targets::agents(["router"]) }).await;

    let mut changed = manifests().remove(1);
    changed.fields["configuration"]["resources"] = json!({"requests": {"cpu": "20m"}});
    fleet.run(Command::Apply { manifests: vec![changed] }).await;
    fleet.run(Command::SetTemplate { pool: "triage".into(), version: None }).await;
    let view = fleet.handle.views().borrow().clone();
    let pool = view.pools.first().cloned().unwrap();
    assert_eq!((pool.template_version.as_str(), pool.updated), ("2.0.0", 4));
    fleet.run(Command::Rollback { pool: "triage".into() }).await;

    let (deleted, _) = fleet.run(Command::Delete { targets: Targets::agents(["router"]) }).await;
    fleet.until("four up", |view| up(view) == 4).await;
    fleet.run(Command::Undo { operation: deleted.to_string() }).await;
    fleet.until("the router is back", |view| up(view) == 5).await;

    let (gone, _) = fleet.run(Command::Delete { targets: Targets::pool("triage") }).await;
    fleet.until("only the router", |view| up(view) == 1).await;
    fleet.run(Command::Undo { operation: gone.to_string() }).await;
    fleet.until("the pool is back", |view| up(view) == 5).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_its_pool_has_replaced_comes_back_and_the_replacement_goes() {
    let fleet = Fleet::start();
    fleet.run(Command::Apply { manifests: manifests() }).await;
    let view = fleet.until("all are up", |view| up(view) == 5).await;
    let member = view.agents.iter().find(|row| row.pool.is_some()).unwrap().id.clone();
    let phase = |view: &FleetView| view.agent(&member).map(|row| row.phase);
    let targets = Targets::agents([member.as_str()]);
    let (deleted, _) = fleet.run(Command::Delete { targets }).await;
    let replaced = |view: &FleetView| up(view) == 5 && phase(view) == Some(Phase::Deleted);
    fleet.until("it is replaced", replaced).await;
    let undo = Command::Undo { operation: deleted.to_string() };
    let plan = fleet.handle.plan(&fleet.me, undo.clone()).await.unwrap();
    assert!(plan.warnings.iter().any(|it| it.contains("has a replacement")), "{plan:#?}");
    let (_, undone) = fleet.run(undo).await;
    assert_eq!(undone.steps.len(), 2, "{undone:#?}");
    let back = |view: &FleetView| up(view) == 5 && phase(view) == Some(Phase::Running);
    fleet.until("it is back, and none too many", back).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_at_once_lose_nothing_and_leave_no_gap_in_the_journal() {
    let fleet = Arc::new(Fleet::start());
    fleet.run(Command::Apply { manifests: manifests() }).await;
    let mut both = tokio::task::JoinSet::new();
    for operator in 0..2_u32 {
        let fleet = fleet.clone();
        both.spawn(async move {
            for round in 0..8_u32 {
                let name = format!("extra-{operator}-{round}");
                let deploy = Command::Deploy {
                    template: "worker".into(),
                    version: None,
                    name,
                    pool: None,
                    labels: Default::default(),
                    overrides: Default::default(),
                };
                fleet.begin(deploy).await.unwrap();
            }
        });
    }
    while let Some(done) = both.join_next().await {
        done.unwrap();
    }
    fleet.until("all up", |view| up(view) == 21).await;
    // a name is given once, however many ask for it at the same time
    let deploy = |name: &str| Command::Deploy {
        template: "worker".into(),
        version: None,
        name: name.into(),
        pool: None,
        labels: Default::default(),
        overrides: Default::default(),
    };
    let (a, b) = tokio::join!(fleet.begin(deploy("only")), fleet.begin(deploy("only")));
    assert_eq!(u8::from(a.is_ok()) + u8::from(b.is_ok()), 1, "{a:?} {b:?}");
    let listing =
        |collection| Listing { collection, filter: Filter::All, limit: 10_000, after: None };
    let (events, _) = fleet.handle.list(&fleet.me, listing(Collection::Events)).await.unwrap();
    let mut seqs: Vec<u64> = events.iter().filter_map(|event| event.body["seq"].as_u64()).collect();
    seqs.reverse();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let Ok(fleet) = Arc::try_unwrap(fleet) else { panic!("somebody still holds the fleet") };
    fleet.stop().await;
}

/// What there is of the pool: its version, and how many agents it wants and has.
fn pool_of(view: &FleetView) -> (String, u32, u32) {
    let row = view.pools.first().cloned().unwrap();
    (row.template_version.as_str().to_owned(), row.desired, row.ready)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_act_after_another_is_taken_back_and_nobody_elses_is_overwritten() {
    let fleet = Fleet::start();
    fleet.run(Command::Apply { manifests: manifests() }).await;
    fleet.until("five up", |view| up(view) == 5).await;
    let mut changed = manifests().remove(1);
    changed.fields["configuration"]["env"] = json!({"LOG_LEVEL": "debug"});
    fleet.run(Command::Apply { manifests: vec![changed] }).await;

    // three acts of the same operator, the last one in two batches
    fleet.run(Command::SetTemplate { pool: "triage".into(), version: None }).await;
    fleet.run(Command::Scale { pool: "triage".into(), to: 18, hold: true }).await;
    let (_, fewer) = fleet.run(Command::Scale { pool: "triage".into(), to: 3, hold: true }).await;
    assert_eq!(fewer.steps.iter().map(|step| step.batch).max(), Some(1));
    assert_eq!(fewer.steps.len(), 15 + 2, "every agent that goes, and the pool's number twice");
    assert_eq!(pool_of(&fleet.handle.views().borrow()), ("1.0.1".into(), 3, 3));

    // as U does it: the newest first, never the undo itself
    for wanted in [("1.0.1", 18), ("1.0.1", 4), ("1.0.0", 4)] {
        let view = fleet.handle.views().borrow().clone();
        let last = view.undoable(&fleet.me.name, view.at).next().unwrap().id.to_string();
        fleet.run(Command::Undo { operation: last }).await;
        let is = |view: &FleetView| pool_of(view) == (wanted.0.to_owned(), wanted.1, wanted.1);
        fleet.until("as it was before", is).await;
    }

    let (mine, _) = fleet.run(Command::Scale { pool: "triage".into(), to: 6, hold: true }).await;
    let theirs = Actor::local("bob@desk");
    let command = Command::Scale { pool: "triage".into(), to: 7, hold: true };
    let plan = fleet.handle.plan(&theirs, command).await.unwrap();
    let id = fleet.handle.confirm(&theirs, &plan, Consent::default()).await.unwrap();
    fleet.handle.follow(&id, LIMIT).await.unwrap();
    let refused = fleet.begin(Command::Undo { operation: mine.to_string() }).await.unwrap_err();
    assert!(refused.to_string().contains("wants 7 agents, no longer 6"), "{refused}");
    let view = fleet.until("seven", |view| pool_of(view).2 == 7).await;
    assert!(view.undoable("bob@desk", view.at).all(|row| row.actor == *"bob@desk"));
    fleet.stop().await;
}
