//! What the embedded store does on a real disk: `cargo bench --bench store`.
//!
//! Prints plain figures first (throughput, waits, latencies, several processes), then criterion's for single calls. It says
//! which file system lies under the store and refuses one that lives in memory, where a flush costs nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection;
use cvxc::model::time::Time;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::{
    Direction, Durability, Guard, Key, Query, Store, UpdateWhere, Watch, Write,
};
use futures::StreamExt;
use serde_json::{Value, json};

const PLACE: &str = "CVXC_BENCH_STORE";
const TASK: &str = "CVXC_BENCH_TASK";

fn main() {
    if let (Some(path), Ok(task)) = (std::env::var_os(PLACE), std::env::var(TASK)) {
        return runtime().block_on(child(Path::new(&path), &task));
    }
    let only_checked = std::env::args().any(|argument| argument == "--test");
    if !only_checked {
        let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        runtime().block_on(figures(filter.as_deref().unwrap_or_default()));
    }
    let mut criterion = Criterion::default().configure_from_args();
    single_calls(&mut criterion);
    criterion.final_summary();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// A folder on the disk that the project is built on, removed at the end.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let name = file_system(folder.path());
    assert!(
        !["tmpfs", "ramfs"].contains(&&*name),
        "{} is on {name}: a store that lives in memory proves nothing; set CARGO_TARGET_DIR to a disk",
        folder.path().display()
    );
    folder
}

/// The type of the file system under a folder, from the mount table.
fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let entries = mounts.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        Some((words.get(1)?.replace("\\040", " "), (*words.get(2)?).to_owned()))
    });
    let under = entries.filter(|(place, _)| folder.starts_with(place));
    under.max_by_key(|(place, _)| place.len()).map_or_else(|| "unknown".into(), |(_, kind)| kind)
}

fn open(path: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(SqliteOptions::new(path), SystemClock::shared()).unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn insert(collection: Collection, at: &str, value: Value) -> Write {
    let Value::Object(body) = value else { panic!("a body is an object") };
    Write::Insert { collection, key: key(at), body }
}

/// A message as the engine sends it, with 200 bytes of payload.
fn message(at: &str, to: &str, n: u64) -> Write {
    let now = Time::from_millis(1_795_000_000_000 + i64::try_from(n).unwrap());
    let value = json!({
        "from_agent_id": format!("agent-{:04}", n % 97), "to_agent_id": to, "message_type": "task_request",
        "payload": {"n": n, "text": "x".repeat(200)}, "priority": 5, "rank": 5, "status": "pending", "attempts": 0,
        "max_attempts": 5, "available_at": now, "created_at": now, "expires_at": now.plus(Duration::from_secs(3_600)),
    });
    insert(Collection::AgentMessages, at, value)
}

async fn send(store: &SqliteStore, at: &str, n: u64) {
    let one = vec![message(at, &format!("agent-{:04}", n % 101), n)];
    store.transact(one, Durability::Durable).await.unwrap();
}

/// Sorted times, and what they say.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    fn at(&self, share: f64) -> Duration {
        let last = self.0.len() - 1;
        self.0[((last as f64 * share).round() as usize).min(last)]
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (p50, p99, worst) = (self.at(0.5), self.at(0.99), self.at(1.0));
        write!(f, "p50 {p50:.0?}, p99 {p99:.0?}, worst {worst:.1?}")
    }
}

async fn figures(filter: &str) {
    let wanted = |name: &str| name.contains(filter);
    let folder = folder();
    println!("store on {} ({})", file_system(folder.path()), folder.path().display());
    let place = |name: &str| folder.path().join(name).join("fleet.db");
    if wanted("flush") {
        bare_flushes(folder.path());
    }
    for senders in [1, 50] {
        if wanted("sends") {
            sends(&place(&format!("sends-{senders}")), senders).await;
        }
    }
    if wanted("processes") {
        processes(&place("processes"), 12).await;
    }
    if wanted("feed") {
        feed_in_process(&place("feed")).await;
        feed_across(&place("feed-across")).await;
    }
    if wanted("opening") {
        opening(&place("opening")).await;
    }
    if wanted("claims") {
        let small = claims(&place("claims-1k"), 1_000).await;
        let large = claims(&place("claims-1m"), 1_000_000).await;
        println!(
            "  1 M costs {:.2} times what 1 k does",
            large.as_secs_f64() / small.as_secs_f64()
        );
    }
}

/// What the disk itself takes for one small append and flush: the floor under every durable send.
fn bare_flushes(folder: &Path) {
    let mut file = std::fs::File::create(folder.join("flush")).unwrap();
    let times = (0..300).map(|_| {
        let start = Instant::now();
        file.write_all(&[1; 8_192]).unwrap();
        file.sync_data().unwrap();
        start.elapsed()
    });
    println!("bare append of 8 KiB and flush: {}", Times::of(times.collect()));
}

async fn sends(path: &Path, senders: u64) {
    let store = open(path);
    let span = Duration::from_secs(5);
    let start = Instant::now();
    let tasks = (0..senders).map(|sender| {
        let store = store.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "senders are tasks of their own, as agents are"
        )]
        tokio::spawn(async move {
            let mut times = Vec::new();
            for n in 0_u64.. {
                let begin = Instant::now();
                if begin.duration_since(start) > span {
                    break;
                }
                send(&store, &format!("m-{sender}-{n}"), n).await;
                times.push(begin.elapsed());
            }
            times
        })
    });
    let times = futures::future::join_all(tasks).await.into_iter().flat_map(Result::unwrap);
    let times = Times::of(times.collect());
    let rate = times.0.len() as f64 / start.elapsed().as_secs_f64();
    let info = store.info().await.unwrap();
    let commits = info.details.iter().find(|(name, _)| name == "commits").unwrap();
    println!("durable sends, {senders} senders: {rate:.0}/s in {} commits; {times}", commits.1);
    store.close().await;
}

fn start_child(path: &Path, task: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(PLACE, path)
        .env(TASK, task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn processes(path: &Path, count: u64) {
    let store = open(path);
    let start = Instant::now();
    let mut children: Vec<_> =
        (0..count).map(|n| start_child(path, &format!("send {n}"))).collect();
    let (mut sent, mut worst, mut fewest, mut most) = (0, Duration::ZERO, u64::MAX, 0);
    for child in &mut children {
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let mut words = line.split(' ').map(|word| word.parse::<u64>().unwrap());
        let (own, wait) = (words.next().unwrap(), words.next().unwrap());
        (sent, worst) = (sent + own, worst.max(Duration::from_micros(wait)));
        (fewest, most) = (fewest.min(own), most.max(own));
        assert!(child.wait().unwrap().success());
    }
    let rate = sent as f64 / start.elapsed().as_secs_f64();
    assert_eq!(store.count(Collection::AgentMessages, Filter::All).await.unwrap(), sent);
    println!(
        "durable sends, {count} processes of one sender: {rate:.0}/s; worst wait {worst:.0?}; the unluckiest sent {fewest}, the luckiest {most}"
    );
    store.close().await;
}

async fn feed(store: &SqliteStore) -> cvxc::ports::store::Feed {
    let watch = Watch { collections: vec![Collection::AgentMessages], topic: None, bodies: false };
    store.changes(store.cursor().await.unwrap(), watch).await.unwrap()
}

/// From the moment at which the write is acknowledged until the feed has it.
async fn feed_in_process(path: &Path) {
    let store = open(path);
    let mut feed = feed(&store).await;
    let (mut whole, mut after) = (Vec::new(), Vec::new());
    for n in 0..2_000 {
        let begin = Instant::now();
        send(&store, &format!("m{n}"), n).await;
        let acknowledged = Instant::now();
        feed.next().await.unwrap().unwrap();
        whole.push(begin.elapsed());
        after.push(acknowledged.elapsed());
    }
    println!("feed in process, after the acknowledgement: {}", Times::of(after));
    println!("feed in process, from the call of send on: {}", Times::of(whole));
    store.close().await;
}

/// The child answers each line with a durable send; its acknowledgement comes back over the pipe.
async fn feed_across(path: &Path) {
    let store = open(path);
    let mut feed = feed(&store).await;
    let mut child = start_child(path, "answer");
    let mut orders = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    answers.next().unwrap().unwrap(); // it has opened the store
    let mut whole = Vec::new();
    for n in 0..1_000 {
        let begin = Instant::now();
        writeln!(orders, "{n}").unwrap();
        feed.next().await.unwrap().unwrap();
        whole.push(begin.elapsed());
        answers.next().unwrap().unwrap();
    }
    drop(orders);
    assert!(child.wait().unwrap().success());
    println!("feed across two processes, from the order to send on: {}", Times::of(whole));
    store.close().await;
}

async fn opening(path: &Path) {
    let store = open(path);
    let agent = |n| {
        insert(
            Collection::Agents,
            &format!("agent-{n}"),
            json!({"name": format!("a{n}"), "type": "worker", "phase": "running", "text": "x".repeat(800)}),
        )
    };
    store.transact((0..10_000).map(agent).collect(), Durability::Durable).await.unwrap();
    let start = Instant::now();
    let mut after = None;
    for _ in 0..10 {
        let page =
            store.query(Query { after, ..Query::new(Collection::Agents, Filter::All) }).await;
        after = page.unwrap().next;
    }
    println!("listing 10,000 agents in pages of 1,000: {:.1?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(store.revisions(Collection::Agents, None, 10_000).await.unwrap().len(), 10_000);
    println!("revisions of 10,000 agents: {:.1?}", start.elapsed());
    store.close().await;
    let times = (0..20).map(|_| {
        let start = Instant::now();
        let store = open(path);
        let time = start.elapsed();
        runtime_free_close(&store);
        time
    });
    println!("opening a store of 10,000 agents: {}", Times::of(times.collect()));
}

/// Closes from inside the runtime without blocking it for others.
fn runtime_free_close(store: &Arc<SqliteStore>) {
    tokio::task::block_in_place(|| futures::executor::block_on(store.close()));
}

fn claim() -> UpdateWhere {
    let ascending = |field: &'static str| (field.into(), Direction::Ascending);
    UpdateWhere {
        collection: Collection::AgentMessages,
        filter: Filter::eq("to_agent_id", "receiver").and(Filter::eq("status", "pending")),
        sort: vec![ascending("rank"), ascending("created_at")],
        limit: 100,
        set: vec![
            ("status".into(), json!("leased")),
            ("lease_owner".into(), json!("me")),
            ("lease_until".into(), json!("2027-01-01T00:00:00.000Z")),
        ],
        add: vec![("attempts".into(), 1)],
        guard: Some(Guard {
            collection: Collection::Agents,
            key: key("receiver"),
            filter: Filter::eq("phase", "running"),
        }),
        durability: Durability::Relaxed,
    }
}

/// Claims of 100 while `backlog` messages wait for the same receiver; each batch is replaced by new ones.
async fn claims(path: &Path, backlog: u64) -> Duration {
    let store = open(path);
    let agent = insert(Collection::Agents, "receiver", json!({"phase": "running"}));
    store.transact(vec![agent], Durability::Durable).await.unwrap();
    let start = Instant::now();
    let send = |n: u64| message(&format!("m{n}"), "receiver", n);
    let mut next = 0;
    while next < backlog {
        let until = (next + 5_000).min(backlog);
        store.transact((next..until).map(send).collect(), Durability::Relaxed).await.unwrap();
        next = until;
    }
    let filled = start.elapsed();
    let mut times = Vec::new();
    for _ in 0..60 {
        let start = Instant::now();
        let claimed = store.update_where(claim()).await.unwrap();
        times.push(start.elapsed());
        assert_eq!(claimed.len(), 100);
        store.transact((next..next + 100).map(send).collect(), Durability::Relaxed).await.unwrap();
        next += 100;
    }
    let times = Times::of(times);
    println!("claim of 100, {backlog} waiting: {times} (filled in {filled:.1?})");
    store.close().await;
    times.at(0.5)
}

async fn child(path: &Path, task: &str) {
    let store = open(path);
    let out = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    };
    if task == "answer" {
        out("ready".to_owned());
        for line in std::io::stdin().lines() {
            let line = line.unwrap();
            send(&store, &format!("m{line}"), line.parse().unwrap()).await;
            out(line);
        }
    } else {
        let name = task.replace(' ', "-");
        let (start, mut sent, mut worst) = (Instant::now(), 0, Duration::ZERO);
        while start.elapsed() < Duration::from_secs(6) {
            let begin = Instant::now();
            send(&store, &format!("{name}-{sent}"), sent).await;
            worst = worst.max(begin.elapsed());
            sent += 1;
        }
        out(format!("{sent} {}", worst.as_micros()));
    }
    store.close().await;
}

fn single_calls(criterion: &mut Criterion) {
    let (runtime, folder) = (runtime(), folder());
    let path: PathBuf = folder.path().join("fleet.db");
    let store = open(&path);
    let filled = runtime.block_on(
        store.transact(
            (0..5_000)
                .map(|n| message(&format!("m{n}"), &format!("agent-{:04}", n % 101), n))
                .collect(),
            Durability::Durable,
        ),
    );
    filled.unwrap();
    let mut group = criterion.benchmark_group("store");
    group.sample_size(30).measurement_time(Duration::from_secs(3));
    let mut n = 1_000_000_u64;
    group.bench_function("durable send, one sender", |bencher| {
        bencher.to_async(&runtime).iter(|| {
            n += 1;
            let (store, at) = (store.clone(), format!("n{n}"));
            async move { send(&store, &at, 7).await }
        });
    });
    group.bench_function("get", |bencher| {
        let at = key("m77");
        bencher.to_async(&runtime).iter(|| store.get(Collection::AgentMessages, &at));
    });
    group.bench_function("page of 50 by receiver and status", |bencher| {
        bencher.to_async(&runtime).iter(|| {
            let filter =
                Filter::eq("to_agent_id", "agent-0007").and(Filter::eq("status", "pending"));
            let query = Query { limit: 50, ..Query::new(Collection::AgentMessages, filter) };
            store.query(query)
        });
    });
    group.finish();
    runtime.block_on(store.close());
}
