//! What engine tests are built on: a store and a runtime in memory, clocks that a test moves, and an engine's context
//! over them. Compiled for tests only.

pub mod loops;
pub mod memory;
pub mod runtime;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

pub use self::memory::MemoryStore;
pub use self::runtime::FakeRuntime;
use crate::engine::context::{Context, EngineSettings};
use crate::engine::journal::seal;
use crate::engine::view::FleetView;
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::clock::Clock;
use crate::ports::ids::Ids;
use crate::ports::store::{Body, Durability, Key, Store, Write};

/// Follows tokio's clock, paused or not, from 2026-11-21T00:00:00Z on; its wall time can be made to jump.
#[derive(Debug)]
pub struct TestClock {
    began: Instant,
    jump: AtomicI64,
}

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { began: tokio::time::Instant::now().into_std(), jump: AtomicI64::new(0) })
    }

    /// Moves the wall clock by so many milliseconds, forth or back; the steady one goes on.
    pub fn jump(&self, millis: i64) {
        self.jump.fetch_add(millis, SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Time {
        let passed = i64::try_from((self.instant() - self.began).as_millis()).unwrap();
        Time::from_millis(1_795_219_200_000 + passed + self.jump.load(SeqCst))
    }

    fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Ids that count up, so that a test's output is the same each time. Clones count on together.
#[derive(Debug, Default, Clone)]
pub struct CountedIds(Arc<AtomicU64>);

impl Ids for CountedIds {
    fn draw(&self) -> uuid::Uuid {
        let n = self.0.fetch_add(1, SeqCst);
        let millis = 1_795_219_200_000 + n;
        uuid::Builder::from_unix_timestamp_millis(millis, &[n as u8; 10]).into_uuid()
    }
}

/// One engine's surroundings. Several worlds over one store are several processes on it.
#[derive(Debug, Clone)]
pub struct World {
    pub ctx: Arc<Context>,
    pub store: MemoryStore,
    pub runtime: FakeRuntime,
    pub clock: Arc<TestClock>,
    ids: CountedIds,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(EngineSettings::default())
    }

    pub fn with(settings: EngineSettings) -> Self {
        Self::on(MemoryStore::new(), FakeRuntime::new(), CountedIds::default(), settings)
    }

    /// Another process on the same store and runtime.
    pub fn beside(&self, settings: EngineSettings) -> Self {
        Self::on(self.store.apart(), self.runtime.clone(), self.ids.clone(), settings)
    }

    fn on(
        store: MemoryStore,
        runtime: FakeRuntime,
        ids: CountedIds,
        settings: EngineSettings,
    ) -> Self {
        let clock = TestClock::new();
        let ctx = Context::new(
            Arc::new(store.clone()),
            Arc::new(runtime.clone()),
            clock.clone(),
            Arc::new(ids.clone()),
            settings,
        );
        Self { ctx, store, runtime, clock, ids }
    }

    /// Writes a document past the journal as if it had written it, whatever is there.
    pub async fn put(&self, collection: Collection, key: &str, document: impl Serialize) {
        let Value::Object(mut body) = serde_json::to_value(document).unwrap() else {
            panic!("a document is an object");
        };
        if seal::covers(collection) {
            seal::seal(&mut body);
        }
        self.put_foreign(collection, key, body).await;
    }

    /// Writes a document as somebody else would, whatever is there.
    pub async fn put_foreign(&self, collection: Collection, key: &str, body: Body) {
        let key = Key::new(key).unwrap();
        let write = Write::Put { collection, key, body };
        self.store.transact(vec![write], Durability::Durable).await.unwrap();
    }

    pub async fn remove(&self, collection: Collection, key: &str) {
        let key = Key::new(key).unwrap();
        let write = Write::Remove { collection, key, rev: None };
        self.store.transact(vec![write], Durability::Durable).await.unwrap();
    }

    /// The document's body, or `None` when there is none.
    pub async fn body(&self, collection: Collection, key: &str) -> Option<Body> {
        let found = self.store.get(collection, &Key::new(key).unwrap()).await;
        found.ok().map(|document| document.body)
    }

    /// Waits until the view is as `wanted` says, at most a minute (of the paused clock, if it is).
    pub async fn view(&self, wanted: impl FnMut(&FleetView) -> bool) -> Arc<FleetView> {
        let mut wanted = wanted;
        let mut views = self.ctx.views.subscribe();
        let found = views.wait_for(|view| wanted(view));
        let found = tokio::time::timeout(Duration::from_secs(60), found).await;
        let last = self.ctx.view();
        found
            .unwrap_or_else(|_| panic!("the view never came to that; last: {last:#?}"))
            .unwrap()
            .clone()
    }
}

/// An agent's document as a pool's member would have it, in `phase`.
pub fn agent(name: &str, phase: &str) -> Value {
    json!({
        "name": name, "live_name": name, "type": "worker", "tenant": "default", "desired": "running",
        "phase": phase, "incarnation": 1, "wanted_incarnation": 1, "generation": 1,
        "health": {"status": "healthy", "message": ""},
        "config": {"command": ["cvxc", "agent", "run"]},
        "created_at": "2026-11-21T00:00:00.000Z", "updated_at": "2026-11-21T00:00:00.000Z",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::{Change, StoreError, Watch};
    use futures::StreamExt;

    #[tokio::test(start_paused = true)]
    async fn the_store_in_memory_takes_all_writes_or_none() {
        let world = World::new();
        let (a, b) = (Key::new("a").unwrap(), Key::new("b").unwrap());
        let insert = |key: &Key| Write::Insert {
            collection: Collection::Configs,
            key: key.clone(),
            body: Body::new(),
        };
        world.store.transact(vec![insert(&a)], Durability::Durable).await.unwrap();
        let both = world.store.transact(vec![insert(&b), insert(&a)], Durability::Durable).await;
        assert!(matches!(both, Err(StoreError::Exists { .. })), "{both:?}");
        assert_eq!(world.body(Collection::Configs, "b").await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_feed_in_memory_gives_changes_then_a_gap_then_the_loss() {
        let world = World::new();
        let watch = Watch { collections: vec![Collection::Configs], topic: None, bodies: false };
        let start = world.store.cursor().await.unwrap();
        let mut feed = world.store.changes(start, watch).await.unwrap();
        world.put(Collection::Agents, "not-ours", json!({})).await;
        world.put(Collection::Configs, "ours", json!({})).await;
        let batch = feed.next().await.unwrap().unwrap();
        assert!(matches!(&batch[..], [Change::Put { key, .. }] if key.as_str() == "ours"));
        world.store.make_gap();
        let batch = feed.next().await.unwrap().unwrap();
        assert!(matches!(&batch[..], [Change::Resync { .. }]), "{batch:?}");
        world.store.set_lost(true);
        assert!(feed.next().await.unwrap().is_err());
    }
}
