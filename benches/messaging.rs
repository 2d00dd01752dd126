//! Measures messages on the embedded store: durable sends a second, the way from send to delivery, claims from long queues.
//!
//! `cargo bench --bench messaging` runs all; words after `--` choose (`senders`, `processes`, `parts`, `delivery`, `claims`), and
//! `--quick` measures less. The store lies under `target/`, because a file system in memory would flatter every figure.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "benches stop at the first surprise and may print"
)]

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::agent::{Client, Delivery, Identity, Serving};
use cvxc::engine::messaging::{Messaging, Receiver, prepare};
use cvxc::model::id::AgentId;
use cvxc::model::message::NewMessage;
use cvxc::model::schema::Collection;
use cvxc::ports::clock::{Clock, SystemClock};
use cvxc::ports::ids::{Ids, RandomIds};
use cvxc::ports::store::{Durability, Key, Store, Watch, Write};
use futures::StreamExt;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Set for the processes that this program starts beside itself.
const ROLE: &str = "CVXC_BENCH_ROLE";

fn main() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match std::env::var(ROLE).as_deref() {
        Ok("send") => return runtime.block_on(send_role()),
        Ok("serve") => return runtime.block_on(serve_role()),
        _ => {}
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let quick = words.iter().any(|word| word == "--quick");
    let chosen: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let wants = |name: &str| chosen.is_empty() || chosen.iter().any(|word| *word == name);
    let scale = Scale { quick };
    let place = place()?;
    runtime.block_on(async {
        if wants("senders") {
            for senders in [1, 50] {
                senders_of_one_process(&place, senders, scale).await?;
            }
        }
        if wants("processes") {
            senders_of_twelve_processes(&place, scale).await?;
        }
        if wants("parts") {
            parts_of_the_way(&place, scale).await?;
        }
        if wants("delivery") {
            delivery_in_process(&place, scale, false).await?;
            delivery_in_process(&place, scale, true).await?;
            delivery_to_another_process(&place, scale).await?;
        }
        if wants("claims") {
            claims(&place, scale).await?;
        }
        Ok(())
    })
}

#[derive(Debug, Clone, Copy)]
struct Scale {
    quick: bool,
}

impl Scale {
    fn pick<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    fn span(self) -> Duration {
        Duration::from_secs(self.pick(5, 1))
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}"));
    drop(out.flush());
}

/// A folder under `target/`; says which file system it is on, and refuses one that lives in memory.
fn place() -> Outcome<PathBuf> {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-messaging");
    std::fs::create_dir_all(&place)?;
    let real = std::fs::canonicalize(&place)?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let kind = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?))
        })
        .filter(|(at, _)| real.starts_with(at))
        .max_by_key(|(at, _)| at.len())
        .map_or("unknown", |(_, kind)| kind);
    say(&format!("the store is on {kind}"));
    if matches!(kind, "tmpfs" | "ramfs" | "devtmpfs") {
        return Err(format!(
            "{kind} keeps files in memory: nothing measured there is true of a disk"
        )
        .into());
    }
    Ok(place)
}

struct Bench {
    path: PathBuf,
    store: Arc<SqliteStore>,
    messaging: Messaging,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl Bench {
    /// A store in a folder of its own, with agents `a` and `b` running.
    async fn new(place: &Path, name: &str) -> Outcome<Self> {
        let dir = place.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        let bench = Self::open(dir.join("fleet.db"))?;
        for key in ["a", "b"] {
            let body = json!({
                "name": key, "type": "worker", "tenant": "default", "phase": "running",
                "desired": "running", "config": {"poll_class": "background"},
            });
            let write = Write::Put {
                collection: Collection::Agents,
                key: Key::new(key)?,
                body: body.as_object().cloned().unwrap_or_default(),
            };
            bench.store.transact(vec![write], Durability::Durable).await?;
        }
        Ok(bench)
    }

    fn open(path: PathBuf) -> Outcome<Self> {
        let (clock, ids) = (SystemClock::shared(), RandomIds::shared());
        let store = SqliteStore::open(SqliteOptions::new(&path), clock.clone())?;
        let messaging = Messaging::new(store.clone(), clock.clone(), ids.clone());
        Ok(Self { path, store, messaging, clock, ids })
    }

    async fn client(&self) -> Outcome<Arc<Client>> {
        let identity = Identity { agent: AgentId::new("b")?, incarnation: 1, store: String::new() };
        let (clock, ids) = (self.clock.clone(), self.ids.clone());
        Ok(Client::connect(identity, self.store.clone(), clock, ids).await?)
    }

    /// Another process of this program, on the same store.
    fn beside(&self, role: &str) -> Outcome<Beside> {
        let child = Command::new(std::env::current_exe()?)
            .args(std::env::args().skip(1))
            .env(ROLE, role)
            .env("CVXC_BENCH_STORE", &self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Beside(child))
    }

    async fn end(self) {
        self.store.close().await;
        if let Some(dir) = self.path.parent() {
            drop(std::fs::remove_dir_all(dir));
        }
    }
}

/// Ends with its owner.
struct Beside(Child);

impl Beside {
    /// Closes its input, which asks it to end, and returns its lines.
    fn lines(&mut self) -> Outcome<Vec<String>> {
        drop(self.0.stdin.take());
        let out = self.0.stdout.take().ok_or("the other process has no output")?;
        Ok(BufReader::new(out).lines().collect::<Result<_, _>>()?)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn other_store() -> Outcome<PathBuf> {
    Ok(std::env::var_os("CVXC_BENCH_STORE").ok_or("CVXC_BENCH_STORE is not set")?.into())
}

/// Returns when this process's input is closed.
async fn input_closed() {
    drop(tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().count()).await);
}

fn task() -> Outcome<NewMessage> {
    let mut new = NewMessage::new(AgentId::new("a")?, AgentId::new("b")?, "task_request");
    let payload = json!({ "task": "summarise", "customer": "c-17", "text": "x".repeat(200) });
    new.payload = payload.as_object().cloned().unwrap_or_default();
    Ok(new)
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn waits(mut all: Vec<Duration>) -> String {
    all.sort();
    let micros = |share| at(&all, share).as_micros();
    let worst = all.last().copied().unwrap_or_default().as_micros();
    format!(
        "p50 {} µs, p99 {} µs, worst {worst} µs ({} times)",
        micros(0.5),
        micros(0.99),
        all.len()
    )
}

/// Sends one after the other until `until`; what each took.
async fn send_until(messaging: &Messaging, until: Instant) -> Outcome<Vec<Duration>> {
    let new = task()?;
    let mut took = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        messaging.send(&new).await?;
        took.push(began.elapsed());
    }
    Ok(took)
}

async fn senders_of_one_process(place: &Path, senders: usize, scale: Scale) -> Outcome {
    let bench = Bench::new(place, "senders").await?;
    let began = Instant::now();
    let until = began + scale.span();
    let mut tasks = JoinSet::new();
    for _ in 0..senders {
        let messaging = bench.messaging.clone();
        tasks.spawn(async move { send_until(&messaging, until).await });
    }
    let took: Vec<Duration> =
        tasks.join_all().await.into_iter().collect::<Outcome<Vec<_>>>()?.concat();
    let rate = took.len() as f64 / began.elapsed().as_secs_f64();
    say(&format!("{senders} senders, one process: {rate:.0} durable sends/s; {}", waits(took)));
    bench.end().await;
    Ok(())
}

async fn senders_of_twelve_processes(place: &Path, scale: Scale) -> Outcome {
    let bench = Bench::new(place, "processes").await?;
    let mut others: Vec<Beside> = (0..12).map(|_| bench.beside("send")).collect::<Outcome<_>>()?;
    tokio::time::sleep(scale.span() + Duration::from_secs(1)).await; // all have begun and measure
    let mut took = Vec::new();
    for other in &mut others {
        for line in other.lines()? {
            took.push(Duration::from_micros(line.parse()?));
        }
    }
    // what one process measures ends with its own span, so the rate is the sum of theirs
    let span = scale.span().as_secs_f64();
    let rate = took.len() as f64 / span;
    say(&format!("12 processes, one sender each: {rate:.0} durable sends/s; {}", waits(took)));
    bench.end().await;
    Ok(())
}

async fn send_role() -> Outcome {
    let bench = Bench::open(other_store()?)?;
    // the others need their time to begin as well
    tokio::time::sleep(Duration::from_millis(500)).await;
    let quick = std::env::args().any(|word| word == "--quick");
    let took = send_until(&bench.messaging, Instant::now() + Scale { quick }.span()).await?;
    for one in took {
        say(&one.as_micros().to_string());
    }
    Ok(())
}

fn now_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// When the next message is sent.
enum Beat<'a> {
    /// After a pause in which every thread falls asleep; off the beat of every timer.
    Pauses,
    /// As soon as the one before has arrived.
    Arrivals(&'a mut mpsc::Receiver<()>),
}

/// Sends one message after the other, each stamped with the time just before the call.
async fn send_stamped(bench: &Bench, count: usize, mut beat: Beat<'_>) -> Outcome<Vec<Duration>> {
    let mut sends = Vec::new();
    for n in 0..count {
        match &mut beat {
            Beat::Pauses => {
                tokio::time::sleep(Duration::from_micros(3_000 + (n as u64 * 997) % 4_000)).await;
            }
            Beat::Arrivals(arrivals) if n > 0 => drop(arrivals.recv().await),
            Beat::Arrivals(_) => {}
        }
        let mut new = task()?;
        new.payload.insert("sent".into(), now_micros().into());
        let began = Instant::now();
        bench.messaging.send(&new).await?;
        sends.push(began.elapsed());
    }
    Ok(sends)
}

/// Where the time from send to delivery goes: one step at a time, with pauses, so that every thread sleeps in between.
async fn parts_of_the_way(place: &Path, scale: Scale) -> Outcome {
    let bench = Bench::new(place, "parts").await?;
    let receiver = Receiver::new(AgentId::new("b")?, &*bench.ids);
    let key = Key::new("b")?;
    let watch = Watch {
        collections: vec![Collection::AgentMessages],
        topic: Some("b".to_owned()),
        bodies: false,
    };
    let mut feed = bench.store.changes(bench.store.cursor().await?, watch).await?;
    let mut steps: [Vec<Duration>; 5] = Default::default();
    let pause = || tokio::time::sleep(Duration::from_millis(3));
    for _ in 0..scale.pick(1_000, 100) {
        pause().await;
        let began = Instant::now();
        bench.store.get(Collection::Agents, &key).await?;
        steps[0].push(began.elapsed());
        pause().await;
        let began = Instant::now();
        bench.messaging.send(&task()?).await?;
        steps[1].push(began.elapsed());
        feed.next().await.ok_or("the feed ended")??;
        steps[2].push(began.elapsed());
        pause().await;
        let began = Instant::now();
        let claimed = bench.messaging.claim(&receiver, 1, Duration::from_secs(60)).await?;
        steps[3].push(began.elapsed());
        feed.next().await.ok_or("the feed ended")??;
        pause().await;
        let began = Instant::now();
        for one in &claimed {
            bench.messaging.ack(&receiver, one).await?;
        }
        steps[4].push(began.elapsed());
        feed.next().await.ok_or("the feed ended")??;
    }
    let names =
        ["read one document", "send", "send until the feed says so", "claim one", "acknowledge"];
    for (name, step) in names.into_iter().zip(steps) {
        say(&format!("{name}: {}", waits(step)));
    }
    bench.end().await;
    Ok(())
}

fn way(delivery: &Delivery) -> Duration {
    let sent = delivery.message.payload.get("sent").and_then(serde_json::Value::as_u64);
    Duration::from_micros(sent.map_or(0, |sent| now_micros().saturating_sub(sent)))
}

async fn delivery_in_process(place: &Path, scale: Scale, closed: bool) -> Outcome {
    let bench = Bench::new(place, "delivery").await?;
    let client = bench.client().await?;
    let ways: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let count = scale.pick(2_000, 200);
    let (arrived, mut arrivals) = mpsc::channel(count); // never full: nobody takes from it while it is measured
    let stop = CancellationToken::new();
    let handle = async |delivery: Delivery| {
        ways.lock().map_err(|error| error.to_string())?.push(way(&delivery));
        arrived.send(()).await.map_err(|error| error.to_string())
    };
    let script = async {
        let sends = if closed {
            send_stamped(&bench, count, Beat::Arrivals(&mut arrivals)).await
        } else {
            send_stamped(&bench, count, Beat::Pauses).await
        };
        for _ in 0..if closed { 1 } else { count } {
            arrivals.recv().await;
        }
        stop.cancel();
        sends
    };
    let ((), sends) = tokio::join!(client.run(Serving::default(), handle, stop.clone()), script);
    let ways = ways.lock().map_err(|error| error.to_string())?.clone();
    let beat = if closed { "the next as one arrives" } else { "with pauses" };
    say(&format!("send alone, in process, {beat}: {}", waits(sends?)));
    say(&format!("send → deliver, in process, {beat}: {}", waits(ways)));
    bench.end().await;
    Ok(())
}

async fn delivery_to_another_process(place: &Path, scale: Scale) -> Outcome {
    let bench = Bench::new(place, "delivery").await?;
    let mut other = bench.beside("serve")?;
    let health = Key::new("b")?;
    while bench.store.get(Collection::AgentHealth, &health).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await; // it has registered
    }
    let count = scale.pick(2_000, 200);
    send_stamped(&bench, count, Beat::Pauses).await?;
    let open = cvxc::model::filter::Filter::any_of("status", ["pending", "leased"]);
    while bench.store.count(Collection::AgentMessages, open.clone()).await? > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut ways = Vec::new();
    for line in other.lines()? {
        ways.push(Duration::from_micros(line.parse()?));
    }
    say(&format!("send → deliver, to another process, with pauses: {}", waits(ways)));
    bench.end().await;
    Ok(())
}

async fn serve_role() -> Outcome {
    let bench = Bench::open(other_store()?)?;
    let client = bench.client().await?;
    let ways: Mutex<Vec<Duration>> = Mutex::default();
    let stop = CancellationToken::new();
    let handle = async |delivery: Delivery| {
        ways.lock().map_err(|error| error.to_string())?.push(way(&delivery));
        Ok(())
    };
    let asked = async {
        input_closed().await;
        stop.cancel();
    };
    tokio::join!(client.run(Serving::default(), handle, stop.clone()), asked);
    for one in ways.lock().map_err(|error| error.to_string())?.iter() {
        say(&one.as_micros().to_string());
    }
    Ok(())
}

/// Adds so many messages to the backlog, without waiting for the disk.
async fn fill(bench: &Bench, count: usize) -> Outcome {
    let model = prepare(&*bench.store, &*bench.ids, bench.clock.now(), &task()?).await?;
    let write = |_| -> Outcome<Write> {
        let id = format!("msg-{}", bench.ids.draw().simple());
        Ok(Write::Insert {
            collection: Collection::AgentMessages,
            key: Key::new(&id)?,
            body: model.body.clone(),
        })
    };
    let mut left = count;
    while left > 0 {
        let some = left.min(1_000);
        let writes = (0..some).map(write).collect::<Outcome<Vec<_>>>()?;
        bench.store.transact(writes, Durability::Relaxed).await?;
        left -= some;
    }
    Ok(())
}

async fn claims(place: &Path, scale: Scale) -> Outcome {
    for backlog in [1_000, scale.pick(1_000_000, 50_000)] {
        let bench = Bench::new(place, "claims").await?;
        let began = Instant::now();
        fill(&bench, backlog).await?;
        let filled = began.elapsed();
        let receiver = Receiver::new(AgentId::new("b")?, &*bench.ids);
        let mut took = Vec::new();
        for _ in 0..scale.pick(100, 10) {
            let began = Instant::now();
            let claimed = bench.messaging.claim(&receiver, 100, Duration::from_secs(600)).await?;
            took.push(began.elapsed());
            if claimed.len() != 100 {
                return Err(format!("claimed {} of 100", claimed.len()).into());
            }
            fill(&bench, 100).await?; // the backlog stays as long as it was
        }
        say(&format!(
            "claim of 100 from a backlog of {backlog}: {} (filled in {:.1} s)",
            waits(took),
            filled.as_secs_f64()
        ));
        bench.end().await;
    }
    Ok(())
}
