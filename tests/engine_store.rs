//! Engines over real files: who leads, who follows, and whether everybody sees the same fleet.

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
use std::time::{Duration, Instant};

use cvxc::adapters::faulty::{Call, Fault, Faults, Faulty};
use cvxc::adapters::simulated::{SimOptions, SimulatedRuntime};
use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::engine::context::{Context, EngineSettings};
use cvxc::engine::journal::{Cause, Change, Fence};
use cvxc::engine::run::{self, Running};
use cvxc::engine::view::FleetView;
use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::ids::RandomIds;
use cvxc::ports::store::{Durability, Key, Store, StoreError, Write};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

const TTL: Duration = Duration::from_secs(2);

struct Engine {
    ctx: Arc<Context>,
    running: Running,
}

fn open(folder: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(SqliteOptions::new(folder.join("fleet.db")), SystemClock::shared()).unwrap()
}

fn context(store: Arc<dyn Store>, actor: &str, contend: bool) -> Arc<Context> {
    let settings = EngineSettings {
        actor: actor.into(),
        contend,
        lease_ttl: TTL,
        ..EngineSettings::default()
    };
    let clock = SystemClock::shared();
    let sim = SimOptions { agents: 0, updates_per_second: 0, seed: 1, clock };
    let runtime = Arc::new(SimulatedRuntime::new(sim));
    Context::new(store, runtime, SystemClock::shared(), RandomIds::shared(), settings)
}

impl Engine {
    fn start(folder: &Path, actor: &str) -> Self {
        Self::over(open(folder), actor, true)
    }

    fn over(store: Arc<dyn Store>, actor: &str, contend: bool) -> Self {
        let ctx = context(store, actor, contend);
        Self { running: run::start(ctx.clone()), ctx }
    }

    async fn leads(&self, limit: Duration) -> Fence {
        let mut leading = self.ctx.leading.subscribe();
        let fence = timeout(limit, leading.wait_for(Option::is_some)).await;
        fence.expect("it leads in time").unwrap().clone().unwrap()
    }

    fn is_leader(&self) -> bool {
        self.ctx.leading.borrow().is_some()
    }

    async fn view(&self, wanted: impl Fn(&FleetView) -> bool) -> Arc<FleetView> {
        let mut views = self.ctx.views.subscribe();
        let found = timeout(Duration::from_secs(20), views.wait_for(|view| wanted(view))).await;
        found.expect("the view comes to that").unwrap().clone()
    }

    /// One change that names the fence of this term, as a loop would make it.
    async fn write(&self, fence: &Fence, key: &str) -> Result<(), StoreError> {
        let cause = Cause { fence: Some(fence.clone()), ..Cause::new("loop:test", "because") };
        let Value::Object(body) = json!({"name": key}) else { unreachable!() };
        let change = Change {
            collection: Collection::Configs,
            key: Key::new(key).unwrap(),
            before: None,
            after: Some(body),
            kind: "config.changed",
            subject: key.into(),
            evidence: Value::Null,
        };
        self.ctx.journal.commit(&cause, &[change], &[]).await.map(drop)
    }
}

async fn put(store: &dyn Store, collection: Collection, key: &str, document: Value) {
    let Value::Object(body) = document else { panic!("a document is an object") };
    let write = Write::Put { collection, key: Key::new(key).unwrap(), body };
    store.transact(vec![write], Durability::Relaxed).await.unwrap();
}

/// An agent that no loop has a reason to touch.
fn agent(n: u64) -> Value {
    json!({
        "name": format!("agent {n}"), "type": "worker", "tenant": "default", "desired": "stopped",
        "phase": "stopped", "reason": format!("round {n}"), "incarnation": 1, "generation": 1,
        "created_at": "2026-11-21T00:00:00.000Z", "labels": {"n": n.to_string()},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_engines_leads_and_a_killed_leader_is_succeeded_with_its_writes_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let a = Engine::start(folder.path(), "a");
    let first = a.leads(TTL).await;
    let b = Engine::start(folder.path(), "b");
    b.view(|view| view.system.leader.holder == "a").await;
    for _ in 0..20 {
        sleep(TTL / 10).await;
        assert!(a.is_leader() && !b.is_leader());
    }
    a.write(&first, "early").await.unwrap();
    let survivor = a.ctx.clone(); // what a write that was on its way would still hold
    let killed = Instant::now();
    drop(a.running);
    let second = b.leads(TTL * 3).await;
    assert!(killed.elapsed() >= TTL / 2, "not before the lease can have run out");
    assert_eq!(second.epoch, first.epoch + 1);
    let late = Engine { ctx: survivor, running: b.running }.write(&first, "late").await;
    assert!(
        matches!(&late, Err(StoreError::Conflict { collection: Collection::Leases, .. })),
        "{late:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_clean_stop_the_other_engine_leads_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let a = Engine::start(folder.path(), "a");
    a.leads(TTL).await;
    let b = Engine::start(folder.path(), "b");
    b.view(|view| view.loaded && view.system.leader.holder == "a").await;
    assert_eq!(a.running.stop(Duration::from_secs(5)).await, Vec::<&str>::new());
    b.leads(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_by_one_process_is_in_the_view_of_another_in_a_quarter_of_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let (watcher, writer) = (Engine::over(open(folder.path()), "w", false), open(folder.path()));
    watcher.view(|view| view.loaded).await;
    let mut late = Vec::new();
    for n in 0..20 {
        sleep(Duration::from_millis(120)).await;
        put(&*writer, Collection::Agents, "a", agent(n)).await;
        let written = Instant::now();
        watcher
            .view(|view| view.agents.first().is_some_and(|row| row.name == *format!("agent {n}")))
            .await;
        late.push(written.elapsed());
    }
    late.sort();
    assert!(late[18] < Duration::from_millis(250), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_program_wrote_into_the_file_is_one_event_whoever_leads() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = open(folder.path());
    let a = Engine::start(folder.path(), "a");
    a.leads(TTL).await;
    let b = Engine::start(folder.path(), "b");
    b.view(|view| view.loaded && view.system.leader.holder == "a").await;
    let mut told = b.ctx.events.subscribe();
    put(&*stranger, Collection::Agents, "a", agent(1)).await;
    let external = async || {
        let kind = Filter::eq("type", "external.changed");
        stranger.count(Collection::Events, kind).await.unwrap()
    };
    let first = async { while told.recv().await.unwrap().kind != "external.changed" {} };
    timeout(Duration::from_secs(5), first).await.expect("it is journalled");
    a.running.stop(Duration::from_secs(5)).await;
    b.leads(TTL).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(external().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_engine_makes_no_views() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..100 {
        put(&*store, Collection::Agents, &format!("a{n}"), agent(n)).await;
    }
    let engine = Engine::over(store, "quiet", false);
    engine.view(|view| view.loaded && view.system.store.ok && view.system.runtime.ok).await;
    sleep(Duration::from_secs(1)).await;
    let before = engine.ctx.view().version;
    sleep(Duration::from_secs(12)).await;
    let made = engine.ctx.view().version - before;
    assert!(made <= 1, "{made} views while nothing happened"); // one is forgiven: the machine may really have been slow
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_makes_the_view_stale_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = (open(folder.path()), Arc::new(Faults::default()));
    put(&*store, Collection::Agents, "a", agent(1)).await;
    let engine = Engine::over(Faulty::new(store.clone(), faults.clone()), "a", false);
    engine.view(|view| view.loaded && view.agents.len() == 1).await;
    for call in [Call::Read, Call::Write, Call::Feed] {
        faults.every(1, call, Fault::Fail);
    }
    faults.cut_feeds();
    let stale = engine.view(|view| view.stale_since.is_some()).await;
    assert_eq!(stale.agents.len(), 1);
    assert!(!stale.system.store.ok);
    put(&*store, Collection::Agents, "b", agent(2)).await;
    faults.clear();
    let back = engine.view(|view| view.stale_since.is_none()).await;
    assert_eq!(back.agents.len(), 2);
}

/// Small and repeatable: the same seed gives the same writes.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_random_writes_of_several_processes_the_view_is_what_a_fresh_list_gives() {
    let folder = tempfile::tempdir().unwrap();
    let watcher = Engine::over(open(folder.path()), "w", false);
    watcher.view(|view| view.loaded).await;
    let writers: Vec<_> = (0..3).map(|_| open(folder.path())).collect();
    let collections = [
        Collection::Agents,
        Collection::AgentHealth,
        Collection::AgentPools,
        Collection::AgentSubscriptions,
        Collection::AgentMessages,
    ];
    let mut dice = Dice(7);
    for n in 0..600 {
        let writer = &writers[dice.throw(3) as usize];
        let collection = collections[dice.throw(5) as usize];
        let key = format!("k{}", dice.throw(20));
        let mut document = agent(n);
        document["name"] = json!(format!("{n}"));
        document["pool_id"] = json!(format!("k{}", dice.throw(20)));
        document["to_agent_id"] = json!(format!("k{}", dice.throw(20)));
        document["status"] = json!(["pending", "leased", "delivered"][dice.throw(3) as usize]);
        document["last_heartbeat"] = json!("2026-11-21T00:00:01.000Z");
        if dice.throw(5) == 0 {
            let key = Key::new(&key).unwrap();
            let write = Write::Remove { collection, key, rev: None };
            let removed = writer.transact(vec![write], Durability::Relaxed).await;
            assert!(matches!(removed, Ok(_) | Err(StoreError::NotFound { .. })), "{removed:?}");
        } else {
            put(&**writer, collection, &key, document).await;
        }
    }
    let fresh = Engine::over(open(folder.path()), "f", false);
    let picture = |view: &FleetView| {
        let messages: BTreeMap<_, _> = view.totals.messages.clone();
        let rows = (view.agents.clone(), view.pools.clone(), view.subscriptions.clone());
        (rows, view.totals.phases.clone(), messages)
    };
    let listed = fresh.view(|view| view.loaded && !view.totals.messages.is_empty()).await;
    sleep(Duration::from_secs(3)).await; // the last count of messages
    let listed_now = picture(&fresh.ctx.view());
    assert_eq!(picture(&listed).0.0.len(), listed_now.0.0.len());
    assert_eq!(picture(&watcher.ctx.view()), listed_now);
}
