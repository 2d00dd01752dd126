//! Starts an engine over its context, and stops it in stages: the loops finish their step and the lease is released, then
//! the mirror ends, then the store is closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::core::Core;
use crate::engine::handle::Handle;
use crate::engine::leadership::{self, LoopSpec, RELEASE_GRACE, STEP_GRACE};
use crate::engine::supervise::{Name, Role, Supervisor};
use crate::engine::{autoscale, external, health, messaging, mirror, reconcile, retention};

/// First pause before a task that failed runs again.
const PAUSE: Duration = Duration::from_secs(1);
/// The mirror only reads: it has nothing to finish.
const MIRROR_GRACE: Duration = Duration::from_secs(1);
/// What the store may take to finish what is under way.
const STORE_GRACE: Duration = Duration::from_secs(5);

/// The loops that the leader runs.
pub fn loops() -> Vec<LoopSpec> {
    vec![
        LoopSpec::new("reconcile", reconcile::run),
        LoopSpec::new("health", health::run),
        LoopSpec::new("autoscale", autoscale::run),
        LoopSpec::new("messages", messaging::run),
        LoopSpec::new("retention", retention::run),
        LoopSpec::new("external", external::run),
    ]
}

/// An engine at work. Dropping it ends every task at once and releases nothing, as a crash would.
#[derive(Debug)]
pub struct Running {
    pub handle: Handle,
    ctx: Arc<Context>,
    grace: watch::Sender<Duration>,
    acting: Supervisor,
    watching: Supervisor,
}

/// Starts mirror and leadership. To be called inside a tokio runtime.
pub fn start(ctx: Arc<Context>) -> Running {
    start_with(ctx, loops())
}

fn start_with(ctx: Arc<Context>, loops: Vec<LoopSpec>) -> Running {
    let board = ctx.tasks.clone();
    let mut watching = Supervisor::on(board.clone(), CancellationToken::new());
    let mirrored = ctx.clone();
    watching.spawn("mirror", Role::Helper { pause: PAUSE }, move |stop| {
        mirror::run(mirrored.clone(), stop)
    });
    let mut acting = Supervisor::on(board, CancellationToken::new());
    let grace = watch::Sender::new(STEP_GRACE);
    let (contending, patience) = (ctx.clone(), grace.subscribe());
    acting.spawn("leadership", Role::Helper { pause: PAUSE }, move |stop| {
        leadership::run(contending.clone(), loops.clone(), patience.clone(), stop)
    });
    Running { handle: Core::handle(ctx.clone()), ctx, grace, acting, watching }
}

impl Running {
    pub fn context(&self) -> &Arc<Context> {
        &self.ctx
    }

    /// Stops in stages; the loops have up to `grace` to finish their step. Returns the names of tasks that did not end in
    /// time and were aborted (loops that did not are named in the log).
    pub async fn stop(self, grace: Duration) -> Vec<Name> {
        self.grace.send_replace(grace);
        let mut deaf = self.acting.stop(grace + RELEASE_GRACE + PAUSE).await;
        deaf.extend(self.watching.stop(MIRROR_GRACE).await);
        if tokio::time::timeout(STORE_GRACE, self.ctx.store.close()).await.is_err() {
            tracing::warn!("the store did not close in time");
        }
        deaf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::context::EngineSettings;
    use crate::engine::leadership::lease::LEASE_KEY;
    use crate::engine::testing::World;
    use crate::model::schema::Collection;
    use crate::ports::store::StoreError;
    use tokio::time::{Instant, sleep, timeout};

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(actor: &str) -> EngineSettings {
        EngineSettings { actor: actor.into(), ..EngineSettings::default() }
    }

    async fn leads(world: &World, limit: Duration) {
        let mut leading = world.ctx.leading.subscribe();
        timeout(limit, leading.wait_for(Option::is_some)).await.expect("it leads").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_engines_one_leads_and_both_show_it() {
        let one = World::with(settings("one"));
        let two = one.beside(settings("two"));
        let first = start(one.ctx.clone());
        leads(&one, SECOND).await;
        let second = start(two.ctx.clone());
        for world in [&one, &two] {
            let me = world.ctx.settings.actor == "one";
            world
                .view(|view| view.system.leader.holder == "one" && view.system.leader.me == me)
                .await;
            world.view(|view| view.system.tasks.contains_key("leadership")).await;
        }
        // what the leader's loops do is seen by both
        two.view(|view| view.system.loops.iter().any(|status| status.name == "messages")).await;
        assert!(first.stop(STEP_GRACE).await.is_empty());
        leads(&two, SECOND).await;
        two.view(|view| view.system.leader.me && view.system.leader.epoch == 2).await;
        assert!(second.stop(STEP_GRACE).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_lets_the_step_finish_then_releases_then_closes_the_store() {
        let world = World::with(settings("one"));
        let (other, kept) = (world.beside(settings("other")), world.ctx.clone());
        let steps = Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = steps.clone();
        let slow = LoopSpec::new("slow", move |ctx: Arc<Context>, _, stop: CancellationToken| {
            let noted = noted.clone();
            async move {
                stop.cancelled().await;
                sleep(SECOND * 7).await;
                // the store and the lease are still there for the rest of the step
                let lease = ctx.store.get(Collection::Leases, &key()).await.unwrap();
                noted.lock().unwrap().push(lease.body["holder"].clone());
                Ok(())
            }
        });
        let running = start_with(world.ctx.clone(), vec![slow]);
        leads(&world, SECOND).await;
        world.view(|view| view.loaded).await;
        assert!(running.stop(SECOND * 10).await.is_empty());
        assert_eq!(*steps.lock().unwrap(), ["one"]);
        let lease = other.body(Collection::Leases, LEASE_KEY).await.unwrap();
        assert_eq!(lease["holder"], "");
        let closed = kept.store.info().await;
        assert!(matches!(closed, Err(StoreError::Unavailable(_))), "{closed:?}");
    }

    fn key() -> crate::ports::store::Key {
        crate::ports::store::Key::new(LEASE_KEY).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_does_not_end_is_aborted_and_the_lease_released_all_the_same() {
        let world = World::with(settings("one"));
        let other = world.beside(settings("other"));
        let deaf = LoopSpec::new("deaf", |_, _, _| std::future::pending());
        let running = start_with(world.ctx.clone(), vec![deaf]);
        leads(&world, SECOND).await;
        let began = Instant::now();
        running.stop(SECOND * 2).await;
        assert!(began.elapsed() < SECOND * 4, "{:?}", began.elapsed());
        let lease = other.body(Collection::Leases, LEASE_KEY).await.unwrap();
        assert_eq!(lease["holder"], "");
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_cannot_reach_its_store_still_stops_in_time() {
        let world = World::with(settings("one"));
        let running = start(world.ctx.clone());
        leads(&world, SECOND).await;
        world.store.set_hanging(true);
        sleep(SECOND).await;
        let began = Instant::now();
        running.stop(SECOND * 5).await;
        assert!(began.elapsed() < SECOND * 20, "{:?}", began.elapsed());
    }
}
