//! Backlogs in, scaled pools out, each with the reason that an operator can check.

use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::engine::context::EngineSettings;
use crate::engine::testing::loops::{Loop, beside, events, set, until, world};
use crate::engine::testing::{World, agent};
use crate::model::text::Safe;
use crate::ports::store::{Durability, Store, Write};

fn start(world: &World, fence: Fence) -> impl FnOnce(CancellationToken) -> Loop + use<> {
    let ctx = world.ctx.clone();
    move |stop| run(ctx, fence, stop).boxed()
}

fn web() -> PoolId {
    PoolId::new("web").unwrap()
}

/// A pool of two running agents that is meant to have ten waiting messages for each.
async fn pool(world: &World, scaling: Value) {
    let pool = json!({
        "name": "web", "live_name": "web", "tenant": "default", "desired": 2, "min": 1, "max": 6,
        "template_id": "worker", "template_version": "1.0.0", "scaling": scaling,
    });
    world.put(Collection::AgentPools, "web", pool).await;
    for name in ["a0", "a1"] {
        let mut member = agent(name, "running");
        member["pool_id"] = json!("web");
        world.put(Collection::Agents, name, member).await;
    }
}

fn by_queue() -> Value {
    json!({"mode": "engine", "metrics": [{"type": "queue_per_agent", "target": 10}]})
}

/// So many messages for a0, all at once.
async fn backlog(world: &World, count: usize) {
    let now = world.ctx.clock.now().to_string();
    let writes = (0..count)
        .map(|n| Write::Put {
            collection: Collection::AgentMessages,
            key: Key::new(&format!("m{n}")).unwrap(),
            body: body(&json!({"to_agent_id": "a0", "status": "pending", "created_at": now}))
                .unwrap(),
        })
        .collect();
    world.store.transact(writes, Durability::Durable).await.unwrap();
}

fn desired(count: u32) -> impl Fn(&FleetView) -> bool {
    move |view| view.pool(&web()).is_some_and(|row| row.desired == count)
}

#[tokio::test(start_paused = true)]
async fn a_backlog_grows_the_pool_and_the_event_says_why() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, by_queue()).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        backlog(&world, 35).await;
        until(&world, "four", desired(4)).await;
    })
    .await;
    end.unwrap();
    let all = events(&world).await;
    let scaled = all.iter().find(|event| event.kind == "pool.scaled").unwrap();
    assert_eq!(scaled.actor, "loop:autoscale");
    assert_eq!(scaled.reason, "2 → 4: queue 35/10 per agent → 4");
    assert_eq!(scaled.evidence["queue"]["waiting"], 35);
    let operation = world.body(Collection::Operations, scaled.operation_id.as_ref().unwrap()).await;
    let operation = operation.unwrap();
    assert_eq!(operation["title"], "Scale pool web 2 → 4");
    assert_eq!(operation["status"], "succeeded");
    let status = &world.body(Collection::AgentPools, "web").await.unwrap()["status"];
    assert_eq!(status["last_decision"]["summary"], "2 → 4: queue 35/10 per agent → 4");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_outgrows_its_pool_is_answered_before_the_next_round() {
    let settings = EngineSettings {
        autoscale_interval: Duration::from_secs(600),
        ..EngineSettings::default()
    };
    let (world, fence) = world(settings).await;
    pool(&world, by_queue()).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let began = tokio::time::Instant::now();
        backlog(&world, 35).await;
        until(&world, "four", desired(4)).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hold_by_hand_is_respected_and_said_once() {
    let (world, fence) = world(EngineSettings::default()).await;
    let mut scaling = by_queue();
    let until_then = world.ctx.clock.now().plus(Duration::from_secs(600)).to_string();
    scaling["hold_until"] = json!(until_then);
    pool(&world, scaling).await;
    backlog(&world, 50).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(desired(2)(&world.ctx.view()));
        tokio::time::sleep(Duration::from_secs(350)).await;
        assert!(desired(5)(&world.ctx.view()));
    })
    .await;
    end.unwrap();
    let told: Vec<String> = events(&world).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(told, ["pool.scale.held", "op.succeeded", "pool.scaled"]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_pool_shrinks_to_its_least_after_five_minutes_but_not_under_the_brake() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, by_queue()).await;
    world.ctx.brake.send_replace(Some(Safe::new("6 of 10 agents turned bad")));
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert!(desired(2)(&world.ctx.view()), "braked");
        world.ctx.brake.send_replace(None);
        until(&world, "one", desired(1)).await;
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn cpu_that_nobody_measured_never_shrinks_a_pool() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, json!({"mode": "engine", "metrics": [{"type": "cpu", "target": 70}]})).await;
    for name in ["a0", "a1"] {
        set(
            &world,
            Collection::Agents,
            name,
            "config",
            json!({"resources": {"requests": {"cpu": "100m"}}}),
        )
        .await;
    }
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(900)).await;
        assert!(desired(2)(&world.ctx.view()));
        for name in ["a0", "a1"] {
            let at = world.ctx.clock.now().to_string();
            let usage = json!({"at": at, "cpu_millis": 140, "memory_bytes": 1});
            world
                .put(Collection::AgentHealth, name, json!({"agent_id": name, "usage": usage}))
                .await;
        }
        until(&world, "four", desired(4)).await;
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_arrives_and_how_long_it_takes_are_measured_for_the_drain() {
    let (world, fence) = world(EngineSettings::default()).await;
    let metric = json!({"type": "backlog_drain", "within": "120s", "concurrency": 1});
    pool(&world, json!({"mode": "engine", "metrics": [metric]})).await;
    let now = world.ctx.clock.now();
    for n in 0..60 {
        let message = json!({
            "to_agent_id": "a1", "status": "delivered", "created_at": now.to_string(),
            "delivered_at": now.to_string(), "acked_at": now.plus(Duration::from_secs(4)).to_string(),
        });
        world.put(Collection::AgentMessages, &format!("done{n}"), message).await;
    }
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "four", desired(4)).await; // 1 a second, each 4 s of work
    })
    .await;
    end.unwrap();
    let document =
        world.store.get(Collection::AgentPools, &Key::new("web").unwrap()).await.unwrap();
    let pool: Pool = read(&document).unwrap();
    assert_eq!(remembered(&pool).changes.len(), 1, "the next leader knows what was done");
}

#[tokio::test(start_paused = true)]
async fn a_forecast_says_what_would_be_chosen_though_the_pool_is_held() {
    let (world, fence) = world(EngineSettings::default()).await;
    let mut scaling = by_queue();
    scaling["hold_until"] = json!(world.ctx.clock.now().plus(Duration::from_secs(600)).to_string());
    pool(&world, scaling).await;
    backlog(&world, 35).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "the queue", |view| {
            view.pool(&web()).is_some_and(|row| row.queue.pending == 35)
        })
        .await;
        let key = Key::new("web").unwrap();
        let document = world.store.get(Collection::AgentPools, &key).await.unwrap();
        let pool: Pool = read(&document).unwrap();
        let told = forecast(&world.ctx, &web(), &pool).await.unwrap().unwrap();
        assert_eq!(told.decision.target, 4);
        assert_eq!(told.decision.why, ["queue 35/10 per agent → 4"]);
        assert_eq!(told.up.words, "≤ max(2+4, 2+100%) = 6 in 15s");
        let by_hand = Pool { scaling: Default::default(), ..pool };
        assert_eq!(forecast(&world.ctx, &web(), &by_hand).await.unwrap(), None);
        assert!(desired(2)(&world.ctx.view()), "asking changes nothing");
    })
    .await;
    end.unwrap();
}
