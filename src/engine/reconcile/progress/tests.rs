//! Operations over a store and a runtime in memory, brought about by the other parts.

use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::engine::context::EngineSettings;
use crate::engine::testing::loops::{Loop, beside, events, set, until, world};
use crate::engine::testing::{World, agent};
use crate::model::agent::Phase;
use crate::ports::runtime::Exit;
use crate::ports::store::Store;

fn start(world: &World, fence: Fence) -> impl FnOnce(CancellationToken) -> Loop + use<> {
    let ctx = world.ctx.clone();
    move |stop| super::super::run(ctx, fence, stop).boxed()
}

async fn agents(world: &World, count: u64) {
    for n in 0..count {
        let name = format!("a{n}");
        let mut new = agent(&name, "pending");
        new["incarnation"] = json!(0);
        world.put(Collection::Agents, &name, new).await;
    }
}

/// A restart of `count` agents, one a batch, as confirming leaves it: nothing released yet.
async fn restart(world: &World, count: u64) {
    let steps: Vec<Value> = (0..count)
        .map(|n| {
            json!({
                "batch": n, "action": "restart",
                "target": {"noun": "agent", "id": format!("a{n}"), "name": format!("a{n}")},
                "goal": {"until": "agent", "phase": "running", "incarnation": 2},
            })
        })
        .collect();
    let operation = json!({
        "type": "restart", "title": "Restart", "command": {}, "tier": 2, "fingerprint": "", "actor": "me",
        "status": "running", "steps": steps, "undo": {"never": {"why": "no"}},
        "created_at": world.ctx.clock.now().to_string(),
    });
    world.put(Collection::Operations, "op-1", operation).await;
}

async fn outcome(world: &World) -> Operation {
    outcome_of(world, "op-1").await
}

async fn outcome_of(world: &World, id: &str) -> Operation {
    let key = Key::new(id).unwrap();
    for _ in 0..200 {
        let document = world.store.get(Collection::Operations, &key).await.unwrap();
        let operation: Operation = read(&document).unwrap();
        if operation.status.is_over() {
            return operation;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("it never ended: {:?}", world.body(Collection::Operations, id).await);
}

async fn all_run(world: &World, count: usize) {
    until(world, "all running", move |view| {
        view.agents.len() == count && view.agents.iter().all(|row| row.phase == Phase::Running)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn batches_follow_one_another_to_the_end() {
    let (world, fence) = world(EngineSettings::default()).await;
    agents(&world, 3).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        all_run(&world, 3).await;
        restart(&world, 3).await;
        let mut most = 0;
        let watch = async {
            let mut views = world.ctx.views.subscribe();
            loop {
                views.changed().await.unwrap();
                let view = views.borrow_and_update().clone();
                let down = view.agents.iter().filter(|row| row.phase != Phase::Running).count();
                most = most.max(down);
            }
        };
        let operation = tokio::select! { () = watch => unreachable!(), it = outcome(&world) => it };
        assert_eq!((operation.status, operation.done), (OperationStatus::Succeeded, 3));
        assert_eq!(most, 1, "one batch at a time");
    })
    .await;
    end.unwrap();
    let told = events(&world).await;
    let asked = told.iter().filter(|event| event.kind == "agent.restart_requested");
    assert!(asked.clone().all(|event| event.operation_id.as_deref() == Some("op-1")));
    assert_eq!(asked.count(), 3);
    assert_eq!(told.last().unwrap().kind, "op.succeeded");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_stops_those_after_it() {
    let (world, fence) = world(EngineSettings::default()).await;
    agents(&world, 3).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        all_run(&world, 3).await;
        world.runtime.refuse(Some("no room"));
        restart(&world, 3).await;
        let operation = outcome(&world).await;
        assert_eq!((operation.status, operation.failed), (OperationStatus::Failed, 1));
        assert_eq!(operation.message, "a0: no room");
    })
    .await;
    end.unwrap();
    let view = world.ctx.view();
    let untouched = view.agents.iter().filter(|row| row.incarnation == 1).count();
    assert_eq!(untouched, 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_operation_stops_after_its_batch() {
    let (world, fence) = world(EngineSettings::default()).await;
    agents(&world, 3).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        all_run(&world, 3).await;
        world.runtime.set_slow(true);
        restart(&world, 3).await;
        until(&world, "the first batch under way", |view| {
            view.agents.iter().any(|row| row.phase == Phase::Deploying)
        })
        .await;
        set(&world, Collection::Operations, "op-1", "cancel_requested", json!(true)).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.runtime.come_up(&crate::model::id::AgentId::new("a0").unwrap());
        let operation = outcome(&world).await;
        assert_eq!(operation.status, OperationStatus::Cancelled);
        assert_eq!(operation.message, "cancelled after 1 of 3 steps");
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_target_is_gone_fails_in_words() {
    let (world, fence) = world(EngineSettings::default()).await;
    agents(&world, 1).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        all_run(&world, 1).await;
        restart(&world, 2).await;
        let operation = outcome(&world).await;
        assert_eq!((operation.status, operation.done), (OperationStatus::Failed, 1));
        assert_eq!(operation.message, "a1: it is gone");
        world.runtime.exit(&crate::model::id::AgentId::new("a0").unwrap(), Exit::Code(0));
    })
    .await;
    end.unwrap();
}

/// An operation that wants agents back, all at once.
async fn restore(world: &World, id: &str, agents: &[&str]) {
    let step = |agent: &&str| {
        json!({
            "batch": 0, "action": "restore", "target": {"noun": "agent", "id": agent, "name": agent},
            "goal": {"until": "agent", "phase": "running", "incarnation": 2},
        })
    };
    let operation = json!({
        "type": "undo", "title": "Undo", "command": {}, "tier": 2, "fingerprint": "", "actor": "me",
        "status": "running", "steps": agents.iter().map(step).collect::<Vec<_>>(),
        "undo": {"never": {"why": "no"}}, "created_at": world.ctx.clock.now().to_string(),
    });
    world.put(Collection::Operations, id, operation).await;
}

#[tokio::test(start_paused = true)]
async fn a_document_that_cannot_be_read_fails_its_step_and_no_other_operation() {
    let (world, fence) = world(EngineSettings::default()).await;
    agents(&world, 1).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        all_run(&world, 1).await;
        let mut strange = agent("strange", "stopped");
        (strange["desired"], strange["labels"]) = (json!("stopped"), json!(null));
        world.put(Collection::Agents, "strange", strange).await;
        restore(&world, "op-0", &["strange"]).await;
        restart(&world, 1).await;
        assert_eq!(outcome(&world).await.status, OperationStatus::Succeeded);
        let failed = outcome_of(&world, "op-0").await;
        assert_eq!(failed.status, OperationStatus::Failed);
        assert!(failed.message.contains("strange cannot be read"), "{}", failed.message);
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_tombstones_with_one_name_only_one_comes_back() {
    let (world, fence) = world(EngineSettings::default()).await;
    for id in ["old", "older"] {
        let mut tombstone = agent("twin", "deleted");
        tombstone["desired"] = json!("deleted");
        tombstone.as_object_mut().unwrap().remove("live_name");
        world.put(Collection::Agents, id, tombstone).await;
    }
    restore(&world, "op-0", &["old", "older"]).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let operation = outcome_of(&world, "op-0").await;
        assert_eq!((operation.done, operation.failed), (1, 1));
        assert_eq!(operation.message, "older: another that comes back has its name");
    })
    .await;
    end.unwrap();
}
