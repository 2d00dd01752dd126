//! Pools over a store and a runtime in memory, with the agents' part beside them.

use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::engine::context::EngineSettings;
use crate::engine::testing::World;
use crate::engine::testing::loops::{Loop, beside, events, set, until, world};
use crate::ports::runtime::Exit;
use crate::ports::store::Store;

fn start(world: &World, fence: Fence) -> impl FnOnce(CancellationToken) -> Loop + use<> {
    let ctx = world.ctx.clone();
    move |stop| super::super::run(ctx, fence, stop).boxed()
}

fn web() -> PoolId {
    PoolId::new("web").unwrap()
}

async fn version(world: &World, version: &str, command: &str) {
    let template = json!({
        "name": "worker", "template_id": "worker", "version": version, "type": "worker",
        "configuration": {"command": [command]}, "labels": {"tier": "gold"},
    });
    let key = crate::model::template::version_key("worker", version);
    world.put(Collection::TemplateVersions, &key, template).await;
}

async fn pool(world: &World, desired: u32) {
    version(world, "1.0.0", "old").await;
    let pool = json!({
        "name": "web", "live_name": "web", "tenant": "default", "desired": desired, "max": 20,
        "template_id": "worker", "template_version": "1.0.0", "labels": {"team": "a"},
    });
    world.put(Collection::AgentPools, "web", pool).await;
}

fn ready(count: usize) -> impl Fn(&FleetView) -> bool {
    move |view| {
        let members = view.agents.iter().filter(|row| row.phase != Phase::Deleted);
        let row = view.pool(&web());
        members.clone().count() == count
            && members.clone().all(|row| row.phase == Phase::Running)
            && row.is_some_and(|row| {
                (row.ready as usize, row.total as usize) == (count, count)
                    && row.reason.as_str().is_empty()
            })
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_the_runtime_of_its_copies_leaves_a_pools_own_agents_alone() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 2).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "two", ready(2)).await;
        for copy in ["agent-pool-web-1", "agent-pool-web-2"] {
            let mut seen = crate::engine::testing::agent(copy, "running");
            seen["pool_id"] = json!("web");
            world.put(Collection::Agents, copy, seen).await;
        }
        set(&world, Collection::AgentPools, "web", "scaling", json!({"mode": "hpa"})).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    end.unwrap();
    let all = events(&world).await;
    assert!(all.iter().all(|event| event.kind != "agent.delete_requested"), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pool_gets_its_members_and_lets_the_surplus_go() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 5).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let view = until(&world, "five", ready(5)).await;
        let row = &view.agents[0];
        assert!(
            row.name.as_str().starts_with("web-") && row.name.as_str().len() == 8,
            "{:?}",
            row.name
        );
        assert_eq!(row.labels.get("tier").map(String::as_str), Some("gold"));
        assert_eq!(row.labels.get("team").map(String::as_str), Some("a"));
        set(&world, Collection::AgentPools, "web", "desired", json!(2)).await;
        until(&world, "two", ready(2)).await;
    })
    .await;
    end.unwrap();
    let all = events(&world).await;
    let registered = all.iter().filter(|event| event.kind == "agent.registered").count();
    assert_eq!(registered, 5, "none too many, however old the view");
    let deleted: Vec<_> =
        all.iter().filter(|event| event.kind == "agent.delete_requested").collect();
    assert_eq!(deleted.len(), 3);
    assert_eq!(deleted[0].reason, "pool web wants 2 and has 5");
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_replaces_everyone_within_its_limits() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 4).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "four", ready(4)).await;
        version(&world, "1.1.0", "new").await;
        let update = json!({"max_surge": 2, "max_unavailable": 0});
        set(&world, Collection::AgentPools, "web", "update", update).await;
        let mut views = world.ctx.views.subscribe();
        let watched = async {
            loop {
                views.changed().await.unwrap();
                let view = views.borrow_and_update().clone();
                let up = view.agents.iter().filter(|row| row.phase == Phase::Running).count();
                assert!(up >= 4, "never fewer up than wanted");
            }
        };
        set(&world, Collection::AgentPools, "web", "template_version", json!("1.1.0")).await;
        let done = until(&world, "updated", |view| {
            ready(4)(view)
                && view.agents.iter().all(|row| {
                    row.phase == Phase::Deleted || row.template_version.as_str() == "1.1.0"
                })
        });
        tokio::select! { () = watched => {}, _ = done => {} }
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_update_to_a_version_that_does_not_start_halts_and_can_be_rolled_back() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 3).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "three", ready(3)).await;
        version(&world, "2.0.0", "bad").await;
        world.runtime.refuse(Some("no such program: bad"));
        set(&world, Collection::AgentPools, "web", "template_version", json!("2.0.0")).await;
        let view =
            until(&world, "halted", |view| view.pool(&web()).is_some_and(|row| row.halted)).await;
        let said = view.pool(&web()).unwrap().reason.as_str().to_owned();
        assert!(said.ends_with("no such program: bad"), "{said}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let old = world
            .ctx
            .view()
            .agents
            .iter()
            .filter(|row| row.phase == Phase::Running && row.template_version.as_str() == "1.0.0")
            .count();
        assert!(old >= 2, "what was fine goes on: {old}");
        world.runtime.refuse(None);
        set(&world, Collection::AgentPools, "web", "template_version", json!("1.0.0")).await;
        let view = until(&world, "rolled back", ready(3)).await;
        assert!(!view.pool(&web()).unwrap().halted);
    })
    .await;
    end.unwrap();
    assert!(events(&world).await.iter().any(|event| event.kind == "pool.update_halted"));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pool_takes_its_members_along_and_becomes_a_tombstone() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 3).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "three", ready(3)).await;
        set(&world, Collection::AgentPools, "web", "deleting", json!(true)).await;
        until(&world, "gone", |view| view.pool(&web()).is_some_and(|row| row.purge_at.is_some()))
            .await;
        let view = world.ctx.view();
        assert!(view.agents.iter().all(|row| row.phase == Phase::Deleted));
    })
    .await;
    end.unwrap();
    assert_eq!(world.body(Collection::AgentPools, "web").await.unwrap().get("live_name"), None);
}

#[tokio::test(start_paused = true)]
async fn a_template_version_that_does_not_exist_is_the_pools_reason() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 1).await;
    set(&world, Collection::AgentPools, "web", "template_version", json!("9.9.9")).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "said", |view| {
            view.pool(&web()).is_some_and(|row| {
                row.reason.as_str() == "template worker has no version \"9.9.9\""
            })
        })
        .await;
        version(&world, "9.9.9", "new").await;
        until(&world, "one", ready(1)).await;
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_member_that_crashes_is_counted_and_comes_back_and_then_nothing_is_written() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 3).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let view = until(&world, "three", ready(3)).await;
        world.runtime.exit(&view.agents[0].id, Exit::Code(1));
        until(&world, "noticed", |view| view.agents.iter().any(|row| row.incarnation == 2)).await;
        until(&world, "back", ready(3)).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let (written, cursor) = (events(&world).await.len(), world.store.cursor().await.unwrap());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(events(&world).await.len(), written);
        assert_eq!(world.store.cursor().await.unwrap(), cursor, "a calm fleet writes nothing");
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_thousand_members_come_without_a_name_twice() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 1_000).await;
    set(&world, Collection::AgentPools, "web", "max", json!(1_000)).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "a thousand", ready(1_000)).await;
    })
    .await;
    end.unwrap();
    assert_eq!(world.runtime.applied().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_cannot_be_read_still_counts() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 3).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let view = until(&world, "three", ready(3)).await;
        let first = view.agents[0].id.clone();
        set(&world, Collection::Agents, first.as_str(), "labels", json!(null)).await;
        set(&world, Collection::AgentPools, "web", "desired", json!(4)).await;
        until(&world, "four", ready(4)).await;
        set(&world, Collection::AgentPools, "web", "desired", json!(1)).await;
        let view = until(&world, "one", ready(1)).await;
        assert_eq!(view.agent(&first).unwrap().phase, Phase::Running, "nobody lets it go");
    })
    .await;
    end.unwrap();
    let all = events(&world).await;
    assert_eq!(all.iter().filter(|event| event.kind == "agent.registered").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_cannot_go_on_says_why_and_keeps_nobody_waiting() {
    let (world, fence) = world(EngineSettings::default()).await;
    pool(&world, 2).await;
    let newer = json!({"name": "worker", "template_id": "worker", "version": "8.0.0", "labels": 8});
    let key = crate::model::template::version_key("worker", "8.0.0");
    world.put(Collection::TemplateVersions, &key, newer).await;
    let api = json!({
        "name": "api", "live_name": "api", "tenant": "default", "desired": 1, "max": 20,
        "template_id": "worker", "template_version": "8.0.0",
    });
    world.put(Collection::AgentPools, "api", api).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "two of the other pool", ready(2)).await;
        until(&world, "why", |view| {
            let row = view.pool(&PoolId::new("api").unwrap());
            row.is_some_and(|row| row.reason.as_str().contains("cannot be read"))
        })
        .await;
    })
    .await;
    end.unwrap();
}
