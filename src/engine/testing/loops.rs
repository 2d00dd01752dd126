//! What the leader's loops' tests share: a fence, a view made from the store, and a way to run a loop beside a test's steps.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::engine::context::EngineSettings;
use crate::engine::documents::read;
use crate::engine::journal::{FENCE_KEY, Fence};
use crate::engine::testing::World;
use crate::engine::view::{AgentRow, FleetView, PoolRow, Queue, Totals, UsageNote};
use crate::model::agent::Agent;
use crate::model::event::Event;
use crate::model::filter::{Field, Filter};
use crate::model::health::AgentHealth;
use crate::model::id::{AgentId, PoolId};
use crate::model::pool::Pool;
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::ports::store::{BoxError, Direction, Document, Key, Query, Store, Watch};

pub type Loop = BoxFuture<'static, Result<(), BoxError>>;

/// A world with a leader's fence in its store.
pub async fn world(settings: EngineSettings) -> (World, Fence) {
    let world = World::with(settings);
    let fence = term(&world, 1).await;
    (world, fence)
}

/// A new term of leadership: fences from before it no longer hold.
pub async fn term(world: &World, epoch: u64) -> Fence {
    world.put(Collection::Leases, FENCE_KEY, json!({"epoch": epoch})).await;
    let key = Key::new(FENCE_KEY).unwrap();
    let rev = world.store.get(Collection::Leases, &key).await.unwrap().rev;
    Fence { epoch, rev }
}

/// Runs `start`'s loop and the mirror while `steps` goes on, then stops the loop and returns how it ended.
pub async fn beside<T>(
    world: &World,
    start: impl FnOnce(CancellationToken) -> Loop,
    steps: impl Future<Output = T>,
) -> (T, Result<(), BoxError>) {
    let stop = CancellationToken::new();
    let looped = start(stop.clone()).shared_end();
    let both = async {
        let done = steps.await;
        stop.cancel();
        done
    };
    tokio::select! {
        () = mirror(world) => unreachable!("the mirror does not end"),
        (done, end) = async { tokio::join!(both, looped) } => (done, end),
    }
}

trait SharedEnd: Sized {
    fn shared_end(self) -> Self;
}

impl SharedEnd for Loop {
    fn shared_end(self) -> Self {
        self.fuse().boxed()
    }
}

/// Makes a view of the store whenever it changed.
async fn mirror(world: &World) {
    let since = world.store.cursor().await.unwrap();
    let collections = vec![
        Collection::Agents,
        Collection::AgentPools,
        Collection::AgentHealth,
        Collection::AgentMessages,
    ];
    let watch = Watch { collections, topic: None, bodies: false };
    let mut feed = world.store.changes(since, watch).await.unwrap();
    loop {
        world.ctx.views.send_replace(Arc::new(look(world).await));
        feed.next().await.unwrap().unwrap();
    }
}

/// The view of what is stored now, with its statuses as they are written there.
pub async fn look(world: &World) -> FleetView {
    let all = |collection| Query { limit: 10_000, ..Query::new(collection, Filter::All) };
    let page =
        |collection| async move { world.store.query(all(collection)).await.unwrap().documents };
    let health: std::collections::HashMap<String, AgentHealth> = page(Collection::AgentHealth)
        .await
        .iter()
        .filter_map(|document| Some((document.key.to_string(), read(document).ok()?)))
        .collect();
    let messages = page(Collection::AgentMessages).await;
    let queue = |id: &str| {
        let mine = messages.iter().filter(|m| m.body["to_agent_id"] == id);
        let count =
            |status: &str| mine.clone().filter(|m| m.body["status"] == status).count() as u64;
        let oldest = mine.clone().filter(|m| m.body["status"] == "pending");
        let oldest = oldest.filter_map(|m| m.body["created_at"].as_str()?.parse().ok()).min();
        Queue { pending: count("pending"), leased: count("leased"), oldest, ..Queue::default() }
    };
    let agents = page(Collection::Agents).await;
    let agents: Vec<Arc<AgentRow>> = agents
        .iter()
        .map(|document| {
            let id = document.key.as_str();
            Arc::new(row(id, lenient(document), health.get(id), queue(id)))
        })
        .collect();
    let pools = page(Collection::AgentPools).await;
    let pools: Vec<Arc<PoolRow>> = pools
        .iter()
        .map(|document| {
            let mut row = pool_row(document.key.as_str(), read(document).unwrap());
            for member in agents.iter().filter(|member| member.pool.as_ref() == Some(&row.id)) {
                row.queue.pending += member.queue.pending;
                row.queue.leased += member.queue.leased;
            }
            Arc::new(row)
        })
        .collect();
    FleetView {
        version: world.ctx.view().version + 1,
        at: world.ctx.clock.now(),
        agents: agents.into(),
        pools: pools.into(),
        loaded: true,
        totals: Totals { counted: true, ..Totals::default() },
        ..FleetView::default()
    }
}

/// The document without whichever field keeps it from being read: rows take what is there.
fn lenient(document: &Document) -> Agent {
    let without = |name: &String| {
        let mut document = document.clone();
        document.body.remove(name);
        read(&document).ok()
    };
    read(document).ok().or_else(|| document.body.keys().find_map(without)).unwrap()
}

fn row(id: &str, agent: Agent, health: Option<&AgentHealth>, queue: Queue) -> AgentRow {
    let usage = health.and_then(|health| health.usage);
    AgentRow {
        id: AgentId::new(id).unwrap(),
        name: Safe::new(&agent.name),
        kind: Safe::new(&agent.kind),
        tenant: Safe::new(&agent.tenant),
        pool: agent.pool_id,
        pool_name: Safe::default(),
        template: agent.template_id,
        template_name: Safe::default(),
        template_version: Safe::new(&agent.template_version),
        labels: Arc::new(agent.labels),
        desired: agent.desired,
        phase: agent.phase,
        phase_since: agent.phase_since,
        reason: Safe::new(&agent.reason),
        health: agent.health.status,
        health_since: agent.health.since,
        health_message: Safe::new(&agent.health.message),
        incarnation: agent.incarnation,
        wanted_incarnation: agent.wanted_incarnation,
        generation: agent.generation,
        failures: agent.failures,
        restarts_in_place: agent.deployment.restarts,
        retry_at: agent.retry_at,
        drain_deadline: agent.drain_deadline,
        purge_at: agent.purge_at,
        pinned: agent.pinned,
        node: Safe::new(&agent.deployment.node),
        pid: agent.deployment.pid,
        created_at: agent.created_at,
        heartbeat: health.and_then(|health| health.last_heartbeat),
        heartbeat_interval: agent.config.heartbeat.interval,
        heartbeat_required: agent.config.heartbeat.required,
        usage: usage.map(|usage| UsageNote {
            at: usage.at,
            cpu_millis: usage.cpu_millis,
            memory_bytes: usage.memory_bytes,
        }),
        cpu_request: agent.config.resources.requests.cpu.map(|cpu| cpu.0),
        cpu_limit: agent.config.resources.limits.cpu.map(|cpu| cpu.0),
        memory_limit: agent.config.resources.limits.memory.map(|memory| memory.0),
        queue,
        recorded: true,
    }
}

fn pool_row(id: &str, pool: Pool) -> PoolRow {
    PoolRow {
        id: PoolId::new(id).unwrap(),
        name: Safe::new(&pool.name),
        description: Safe::default(),
        tenant: Safe::new(&pool.tenant),
        labels: Arc::new(pool.labels),
        template: pool.template_id,
        template_name: Safe::default(),
        template_version: Safe::new(&pool.template_version),
        previous_version: Safe::new(&pool.previous_version),
        desired: pool.desired,
        min: pool.min,
        max: pool.max,
        max_surge: pool.update.max_surge,
        max_unavailable: pool.update.max_unavailable,
        ready: pool.status.ready,
        updated: pool.status.updated,
        unhealthy: pool.status.unhealthy,
        pending: pool.status.pending,
        total: pool.status.total,
        reason: Safe::new(&pool.status.reason),
        halted: pool.status.halted,
        paused: pool.paused,
        deleting: pool.deleting,
        purge_at: pool.purge_at,
        scaling: Arc::new(pool.scaling),
        last_decision: Safe::default(),
        generation: pool.generation,
        created_at: pool.created_at,
        queue: Queue::default(),
        usage: None,
    }
}

/// The view once it is as `wanted` says, within two minutes of the paused clock.
pub async fn until(
    world: &World,
    what: &str,
    wanted: impl Fn(&FleetView) -> bool,
) -> Arc<FleetView> {
    let mut views = world.ctx.views.subscribe();
    let found = tokio::time::timeout(Duration::from_secs(120), views.wait_for(|view| wanted(view)));
    match found.await {
        Ok(view) => view.unwrap().clone(),
        Err(_) => {
            let lines: Vec<String> = world.ctx.view().agents.iter().map(|row| line(row)).collect();
            panic!("never {what}:\n{}\n{:?}", lines.join("\n"), world.ctx.loops.list());
        }
    }
}

fn line(row: &AgentRow) -> String {
    format!(
        "{} wanted {} is {} #{} {:?}",
        row.id, row.desired, row.phase, row.incarnation, row.reason
    )
}

/// Every journal entry so far, oldest first.
pub async fn events(world: &World) -> Vec<Event> {
    let query = Query {
        sort: vec![(Field::new("seq").unwrap(), Direction::Ascending)],
        limit: 10_000,
        ..Query::new(Collection::Events, Filter::All)
    };
    let page = world.store.query(query).await.unwrap();
    page.documents.iter().map(|document| read(document).unwrap()).collect()
}

/// The events' types of one thing, in order.
pub async fn kinds(world: &World, id: &str) -> Vec<String> {
    let all = events(world).await;
    all.into_iter().filter(|event| event.aggregate_id == id).map(|event| event.kind).collect()
}

/// Changes one field of an agent's document, as somebody else would.
pub async fn set(world: &World, collection: Collection, id: &str, field: &str, value: Value) {
    let mut body = world.body(collection, id).await.unwrap();
    body.insert(field.into(), value);
    world.put(collection, id, body).await;
}

/// A view of so many agents, all in `phase`.
pub fn fleet(count: usize, phase: crate::model::agent::Phase) -> FleetView {
    let agent = |n: usize| {
        let id = format!("a{n:05}");
        Arc::new(row(&id, Agent { phase, ..Agent::default() }, None, Queue::default()))
    };
    FleetView { agents: (0..count).map(agent).collect(), loaded: true, ..FleetView::default() }
}
