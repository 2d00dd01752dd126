//! What the mirror costs on a real file: time to the first rows and to all of them, memory for each agent, processor time
//! while nothing happens and while a thousand samples a second arrive from another process.
//!
//! `cargo bench --bench mirror [-- AGENTS…]`. The store lies in the target directory; put that on a real disk.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cvxc::adapters::simulated::{SimOptions, SimulatedRuntime};
use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::engine::context::{Context, EngineSettings};
use cvxc::engine::run::{self, Running};
use cvxc::model::filter::{Field, Filter};
use cvxc::model::schema::Collection;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::ids::RandomIds;
use cvxc::ports::store::{Durability, Key, Store, Write};
use serde_json::{Value, json};
use tokio::time::{interval, sleep};

/// How often the start is measured.
const STARTS: usize = 5;
const WATCHED: Duration = Duration::from_secs(10);

fn key(n: usize) -> Key {
    Key::new(&format!("agent-0197{n:028x}")).expect("a key")
}

/// About what an agent of a pool looks like.
fn agent(n: usize) -> Value {
    json!({
        "name": format!("support-triage-{n:06}"), "live_name": format!("support-triage-{n:06}"), "type": "worker",
        "tenant": "default", "pool_id": format!("pool-{}", n % 20), "template_id": format!("template-{}", n % 5),
        "template_version": "1.4.2", "labels": {"tier": (["gold", "silver"][n % 2]), "team": format!("team-{}", n % 7)},
        "pinned": false, "desired": "running", "phase": "running", "reason": "",
        "phase_since": "2026-11-21T00:00:01.234Z",
        "health": {"status": "healthy", "message": "", "since": "2026-11-21T00:00:02.345Z"},
        "config": {"command": ["cvxc", "agent", "run"], "args": ["--work", "50ms"], "env": {"MODE": "normal", "REGION": "eu"},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}},
            "poll_class": "normal", "heartbeat": {"interval": "10s", "required": true}, "grace": "10s", "start_timeout": "1m"},
        "deployment": {"runtime": "local", "workload": format!("agent-{n}"), "node": "host-1", "pid": 1000 + n, "restarts": 0},
        "incarnation": 1, "wanted_incarnation": 1, "generation": 1, "failures": 0,
        "created_at": "2026-11-21T00:00:00.000Z", "updated_at": "2026-11-21T00:00:03.456Z", "created_by": "ann@host",
    })
}

fn health(n: usize, round: u64) -> Value {
    json!({
        "agent_id": key(n).as_str(), "status": "healthy", "message": "", "last_heartbeat": "2026-11-21T00:10:00.000Z",
        "incarnation": 1, "pid": 1000 + n, "report": {"handled": round, "failed": 0, "in_flight": 1},
        "usage": {"at": "2026-11-21T00:10:00.000Z", "cpu_millis": 20 + round % 50, "memory_bytes": 33_554_432 + n},
        "checked_at": "2026-11-21T00:10:00.000Z", "streak": 0,
    })
}

fn put(collection: Collection, key: Key, document: Value) -> Write {
    let Value::Object(body) = document else { unreachable!("a document is an object") };
    Write::Put { collection, key, body }
}

fn open(path: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(SqliteOptions::new(path), SystemClock::shared()).expect("the store opens")
}

async fn fill(path: &Path, agents: usize) {
    let store = open(path);
    let pools = (0..20).map(|n| {
        let id = Key::new(&format!("pool-{n}")).expect("a key");
        put(
            Collection::AgentPools,
            id,
            json!({"name": format!("triage-{n}"), "desired": agents / 20}),
        )
    });
    store.transact(pools.collect(), Durability::Relaxed).await.expect("pools");
    for from in (0..agents).step_by(500) {
        let some = from..(from + 500).min(agents);
        let writes = some.flat_map(|n| {
            [
                put(Collection::Agents, key(n), agent(n)),
                put(Collection::AgentHealth, key(n), health(n, 0)),
            ]
        });
        store.transact(writes.collect(), Durability::Relaxed).await.expect("agents");
    }
    store.close().await;
}

/// What one count of so many messages, a tenth of them waiting, takes.
async fn count(path: &Path, messages: usize) {
    let store = open(path);
    for from in (0..messages).step_by(500) {
        let writes = (from..(from + 500).min(messages)).map(|n| {
            let status = if n % 10 == 0 { "pending" } else { "delivered" };
            let document = json!({
                "from_agent_id": "router", "to_agent_id": format!("agent-{}", n % 500), "message_type": "task_request",
                "payload": {"n": n, "text": "something to do, and how"}, "priority": 5, "rank": 5, "status": status,
                "attempts": 1, "max_attempts": 5, "created_at": "2026-11-21T00:00:00.000Z",
                "available_at": "2026-11-21T00:00:00.000Z", "expires_at": "2036-11-21T00:00:00.000Z",
            });
            put(Collection::AgentMessages, Key::new(&format!("msg-{n:032x}")).expect("a key"), document)
        });
        store.transact(writes.collect(), Durability::Relaxed).await.expect("messages");
    }
    for _ in 0..STARTS {
        let began = Instant::now();
        let by: [Field; 2] = ["to_agent_id".into(), "status".into()];
        let least = Field::of("created_at");
        let counts = store.tally(Collection::AgentMessages, Filter::All, &by, Some(&least)).await;
        let groups = counts.expect("counts").len();
        say(&format!("{messages} messages counted in {:.1?}, {groups} groups", began.elapsed()));
    }
    store.close().await;
}

/// A thousand samples a second in batches, one in a hundred a change of an agent's status, from a process of its own.
async fn write(path: &Path, agents: usize) {
    let store = open(path);
    let mut tick = interval(Duration::from_millis(100));
    for round in 0.. {
        tick.tick().await;
        let samples = (0..100).map(|n| {
            let n = (round as usize * 100 + n) % agents;
            put(Collection::AgentHealth, key(n), health(n, round))
        });
        let mut changed = agent(round as usize % agents);
        changed["reason"] = json!(format!("round {}", round % 2));
        let status = put(Collection::Agents, key(round as usize % agents), changed);
        let writes = samples.chain([status]).collect();
        store.transact(writes, Durability::Relaxed).await.expect("samples");
    }
}

/// Processor time of this process so far, and its resident memory in bytes.
fn spent() -> (Duration, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let ticks = fields.get(10).unwrap_or(&0) + fields.get(11).unwrap_or(&0);
    let pages = fields.get(20).copied().unwrap_or(0);
    (Duration::from_millis(ticks * 10), pages * 4096)
}

async fn share(what: &str, views: impl Fn() -> u64) {
    let (before, seen) = (spent().0, views());
    sleep(WATCHED).await;
    let used = (spent().0 - before).as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
    let made = (views() - seen) as f64 / WATCHED.as_secs_f64();
    say(&format!("  {what}: {used:.1} % of a core, {made:.1} views a second"));
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn say(line: &str) {
    println!("{line}");
}

fn context(path: &Path) -> Arc<Context> {
    let sim =
        SimOptions { agents: 0, updates_per_second: 0, seed: 1, clock: SystemClock::shared() };
    let settings = EngineSettings { contend: false, ..EngineSettings::default() };
    let runtime = Arc::new(SimulatedRuntime::new(sim));
    Context::new(open(path), runtime, SystemClock::shared(), RandomIds::shared(), settings)
}

/// This program again, as another process on the same store.
fn another(task: &str, path: &Path, agents: usize) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .env("CVXC_BENCH_TASK", task)
        .env("CVXC_BENCH_PATH", path)
        .env("CVXC_BENCH_AGENTS", agents.to_string())
        .stdin(Stdio::null())
        .spawn()
        .expect("another process")
}

async fn measure(path: &Path, agents: usize) {
    let (_, empty) = spent();
    let ctx = start(path, agents).await;
    sleep(Duration::from_secs(3)).await;
    let (_, full) = spent();
    say(&format!("  memory {} MiB, {} bytes an agent", full >> 20, (full - empty) / agents as u64));
    share("idle", || ctx.0.view().version).await;
    let mut writer = another("write", path, agents);
    sleep(Duration::from_secs(2)).await;
    share("1,000 samples a second", || ctx.0.view().version).await;
    drop(writer.kill());
    drop(writer.wait());
    let (_, after) = spent();
    say(&format!("  memory after that {} MiB", after >> 20));
    ctx.1.stop(Duration::from_secs(5)).await;
    for _ in 1..STARTS {
        start(path, agents).await.1.stop(Duration::from_secs(5)).await;
    }
}

/// Starts an engine and says how long that took.
async fn start(path: &Path, agents: usize) -> (Arc<Context>, Running) {
    let (began, cpu) = (Instant::now(), spent().0);
    let ctx = context(path);
    let opened = began.elapsed();
    let mut views = ctx.views.subscribe();
    let running = run::start(ctx.clone());
    views.wait_for(|view| !view.agents.is_empty()).await.expect("views");
    let first = began.elapsed();
    views.wait_for(|view| view.agents.len() == agents).await.expect("views");
    let rows = began.elapsed();
    views.wait_for(|view| view.loaded).await.expect("views");
    let (all, cpu) = (began.elapsed(), spent().0 - cpu);
    say(&format!(
        "{agents} agents: opened {opened:.1?}, first rows {first:.1?}, all rows {rows:.1?}, loaded {all:.1?}, \
         {cpu:.1?} of processor time"
    ));
    (ctx, running)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    if let Ok(task) = std::env::var("CVXC_BENCH_TASK") {
        let path = PathBuf::from(std::env::var_os("CVXC_BENCH_PATH").expect("a path"));
        let agents = std::env::var("CVXC_BENCH_AGENTS").expect("a count").parse().expect("a count");
        return runtime.block_on(async {
            match &*task {
                "fill" => fill(&path, agents).await,
                "count" => count(&path, agents).await,
                // for a profiler: nothing but starts
                "start" => {
                    for _ in 0..STARTS {
                        start(&path, agents).await.1.stop(Duration::from_secs(5)).await;
                    }
                }
                _ => write(&path, agents).await,
            }
        });
    }
    let asked: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![10_000, 100_000] } else { asked };
    for agents in sizes {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let path = folder.path().join("fleet.db");
        drop(another("fill", &path, agents).wait());
        runtime.block_on(measure(&path, agents));
    }
}
