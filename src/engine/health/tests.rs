//! Silence, strain and crashes in; statuses, restarts and the brake out. Over a store and a runtime in memory.

use std::collections::BTreeMap;

use futures::FutureExt;

use super::*;
use crate::engine::context::EngineSettings;
use crate::engine::testing::loops::{Loop, beside, events, kinds, look, set, until, world};
use crate::engine::testing::{World, agent};
use crate::model::agent::AgentConfig;
use crate::ports::runtime::{Runtime, Workload};
use crate::ports::store::Store;

fn start(world: &World, fence: Fence) -> impl FnOnce(CancellationToken) -> Loop + use<> {
    let ctx = world.ctx.clone();
    move |stop| run(ctx, fence, stop).boxed()
}

/// Health and reconcile beside each other, as a leader runs them.
fn start_both(world: &World, fence: Fence) -> impl FnOnce(CancellationToken) -> Loop + use<> {
    let ctx = world.ctx.clone();
    move |stop| {
        let health = run(ctx.clone(), fence.clone(), stop.clone());
        let reconcile = crate::engine::reconcile::run(ctx, fence, stop);
        async { tokio::try_join!(health, reconcile).map(|_| ()) }.boxed()
    }
}

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn healthy(of: &'static str, status: HealthStatus) -> impl Fn(&FleetView) -> bool {
    move |view| view.agent(&id(of)).is_some_and(|row| row.health == status)
}

async fn running(world: &World, name: &str) {
    let mut new = agent(name, "running");
    new["phase_since"] = json!(world.ctx.clock.now());
    world.put(Collection::Agents, name, new).await;
}

async fn beat(world: &World, name: &str) {
    let heartbeat =
        json!({"agent_id": name, "last_heartbeat": world.ctx.clock.now(), "incarnation": 1});
    world.put(Collection::AgentHealth, name, heartbeat).await;
}

/// A workload of this agent that the runtime is still starting.
async fn starting(world: &World, name: &str) {
    world.runtime.set_slow(true);
    let workload = Workload {
        agent: id(name),
        name: name.into(),
        kind: String::new(),
        pool: None,
        labels: BTreeMap::new(),
        incarnation: 1,
        config: AgentConfig::default(),
        env: BTreeMap::new(),
        notes: BTreeMap::new(),
    };
    world.runtime.apply(workload).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn silence_degrades_then_fails_and_a_heartbeat_mends_at_once() {
    let (world, fence) = world(EngineSettings::default()).await;
    running(&world, "a").await;
    beat(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let began = tokio::time::Instant::now();
        let view = until(&world, "late", healthy("a", HealthStatus::Degraded)).await;
        let said = view.agent(&id("a")).unwrap().health_message.as_str().to_owned();
        assert!(said.starts_with("late: no heartbeat for"), "{said}");
        assert!((45..60).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        beat(&world, "a").await;
        let began = tokio::time::Instant::now();
        until(&world, "well", healthy("a", HealthStatus::Healthy)).await;
        assert!(began.elapsed() < Duration::from_secs(1));
    })
    .await;
    end.unwrap();
    let told = events(&world).await;
    assert_eq!(
        told.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(),
        ["health.changed"; 2]
    );
    assert_eq!(told[0].evidence["from"], "healthy");
    assert_eq!(told[0].evidence["to"], "degraded");
    assert_eq!(told[0].evidence["checks"], 3);
    let health = world.body(Collection::AgentHealth, "a").await.unwrap();
    assert_eq!((&health["status"], &health["message"]), (&json!("healthy"), &json!("healthy")));
}

#[tokio::test(start_paused = true)]
async fn what_runs_and_does_not_answer_is_restarted_with_that_reason() {
    let (world, fence) = world(EngineSettings::default()).await;
    let mut new = agent("a", "pending");
    new["incarnation"] = json!(0);
    world.put(Collection::Agents, "a", new).await;
    let ((), end) = beside(&world, start_both(&world, fence), async {
        until(&world, "running", |view| {
            view.agent(&id("a")).is_some_and(|row| row.phase == Phase::Running)
        })
        .await;
        beat(&world, "a").await;
        until(&world, "restarted", |view| {
            view.agent(&id("a")).is_some_and(|row| row.incarnation == 2)
        })
        .await;
        assert_eq!(world.runtime.removed(), [id("a")]);
        until(&world, "back", |view| {
            view.agent(&id("a")).is_some_and(|row| row.phase == Phase::Running)
        })
        .await;
    })
    .await;
    end.unwrap();
    let told = kinds(&world, "a").await;
    assert!(told.contains(&"agent.recovered".to_owned()), "{told:?}");
    let failed =
        events(&world).await.into_iter().find(|event| event.kind == "agent.failed").unwrap();
    assert!(failed.reason.starts_with("unhealthy: no heartbeat for 1m"), "{}", failed.reason);
}

#[tokio::test(start_paused = true)]
async fn a_calm_fleet_is_judged_once_and_nothing_more_is_written() {
    let (world, fence) = world(EngineSettings::default()).await;
    for name in ["a", "b"] {
        running(&world, name).await;
        set(&world, Collection::Agents, name, "health", json!({"status": "unknown"})).await;
    }
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "well", healthy("b", HealthStatus::Healthy)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (calls, cursor) = (world.store.calls(), world.store.cursor().await.unwrap());
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(world.store.cursor().await.unwrap(), cursor);
        assert_eq!(world.store.calls(), calls + 2, "our own two looks alone");
    })
    .await;
    end.unwrap();
    assert_eq!(kinds(&world, "a").await, ["health.changed"]);
}

#[tokio::test(start_paused = true)]
async fn usage_is_sampled_every_interval_and_strain_is_seen() {
    let (world, fence) = world(EngineSettings::default()).await;
    running(&world, "a").await;
    set(
        &world,
        Collection::Agents,
        "a",
        "config",
        json!({"resources": {"limits": {"memory": "1000"}}}),
    )
    .await;
    let workload = crate::ports::runtime::Workload {
        agent: id("a"),
        name: "a".into(),
        kind: String::new(),
        pool: None,
        labels: std::collections::BTreeMap::new(),
        incarnation: 1,
        config: crate::model::agent::AgentConfig::default(),
        env: std::collections::BTreeMap::new(),
        notes: std::collections::BTreeMap::new(),
    };
    crate::ports::runtime::Runtime::apply(&world.runtime, workload).await.unwrap();
    let ((), end) = beside(&world, start(&world, fence), async {
        let mut seen = BTreeSet::new();
        for _ in 0..400 {
            let at = world.ctx.clock.now();
            world.runtime.set_usage(&id("a"), Usage { at, cpu_millis: 5, memory_bytes: 900 });
            tokio::time::sleep(Duration::from_millis(100)).await;
            let view = world.ctx.view();
            seen.extend(view.agent(&id("a")).and_then(|row| row.usage).map(|usage| usage.at));
        }
        assert!((4..=5).contains(&seen.len()), "one in ten seconds: {}", seen.len());
        let view = until(&world, "strained", healthy("a", HealthStatus::Degraded)).await;
        let row = view.agent(&id("a")).unwrap();
        assert_eq!(row.health_message.as_str(), "high memory: 90% of its limit");
    })
    .await;
    end.unwrap();
    assert_eq!(kinds(&world, "a").await, ["health.changed"], "samples are not journalled");
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_nobody_is_blamed_for_silence() {
    let (world, fence) = world(EngineSettings::default()).await;
    running(&world, "a").await;
    beat(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let stale = |since| {
            let view = world.ctx.view();
            let stale =
                FleetView { stale_since: since, version: view.version + 1, ..(*view).clone() };
            world.ctx.views.send_replace(Arc::new(stale));
        };
        stale(Some(world.ctx.clock.now()));
        tokio::time::sleep(Duration::from_secs(300)).await;
        stale(None);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(healthy("a", HealthStatus::Healthy)(&world.ctx.view()));
        until(&world, "late at last", healthy("a", HealthStatus::Degraded)).await;
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_brake_is_shown_while_it_holds() {
    let (world, fence) = world(EngineSettings::default()).await;
    for n in 0..10 {
        running(&world, &format!("a{n}")).await;
    }
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        for n in 0..6 {
            set(&world, Collection::Agents, &format!("a{n}"), "phase", json!("failed")).await;
        }
        let mut brake = world.ctx.brake.subscribe();
        let why = brake.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert!(why.as_str().starts_with("6 of 10 agents turned bad"), "{why:?}");
        let began = tokio::time::Instant::now();
        brake.wait_for(Option::is_none).await.unwrap();
        assert!((55..65).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_is_told_as_flapping_and_its_end_too() {
    let (world, fence) = world(EngineSettings::default()).await;
    running(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        for n in 0..12 {
            let phase = if n % 2 == 0 { "failed" } else { "running" };
            set(&world, Collection::Agents, "a", "phase", json!(phase)).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        let flapping = || async {
            world.body(Collection::Agents, "a").await.unwrap()["health"].get("flapping").cloned()
        };
        assert_eq!(flapping().await, Some(json!(true)));
        tokio::time::sleep(Duration::from_secs(240)).await;
        assert_eq!(flapping().await, None);
    })
    .await;
    end.unwrap();
    let told = kinds(&world, "a").await;
    assert!(told.contains(&"health.flapping".to_owned()), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("health.steady"));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_started_again_in_place_is_not_well_until_it_is_up() {
    let (world, fence) = world(EngineSettings::default()).await;
    running(&world, "a").await;
    starting(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let view = until(&world, "restarting", healthy("a", HealthStatus::Degraded)).await;
        assert_eq!(view.agent(&id("a")).unwrap().health_message.as_str(), "restarting");
        until(&world, "given up", healthy("a", HealthStatus::Unhealthy)).await;
        world.runtime.come_up(&id("a"));
        until(&world, "well", healthy("a", HealthStatus::Healthy)).await;
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn agents_that_have_come_up_are_not_judged_by_older_sights_of_their_start() {
    let (world, fence) = world(EngineSettings::default()).await;
    // more than a task may take from a channel in one go
    let names: Vec<String> = (0..500).map(|n| format!("a{n}")).collect();
    for name in &names {
        starting(&world, name).await;
    }
    let mut monitor = Monitor::new(world.ctx.clone(), fence);
    world.ctx.views.send_replace(Arc::new(look(&world).await));
    monitor.turn().await.unwrap();
    // reconcile has seen them up and the view tells so, before this loop read its own sights
    for name in &names {
        world.runtime.come_up(&id(name));
        running(&world, name).await;
    }
    world.ctx.views.send_replace(Arc::new(look(&world).await));
    monitor.turn().await.unwrap();
    let well = monitor.watched.values().filter(|watched| watched.status == HealthStatus::Healthy);
    assert_eq!(well.count(), names.len());
}
