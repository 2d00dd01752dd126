use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::engine::context::EngineSettings;
use crate::engine::journal::Cause;
use crate::engine::testing::loops::{Loop, beside, events, world};
use crate::engine::testing::{World, agent};

fn start(world: &World, fence: Fence) -> impl FnOnce(CancellationToken) -> Loop + use<> {
    let ctx = world.ctx.clone();
    move |stop| run(ctx, fence, stop).boxed()
}

fn days(world: &World, days: u64) -> String {
    world.ctx.clock.now().minus(Duration::from_secs(days * 24 * 3_600)).to_string()
}

async fn a_while(world: &World, fence: Fence) {
    let steps = sleep(Duration::from_secs(61));
    let ((), end) = beside(world, start(world, fence), steps).await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_goes_once_its_day_is_over_and_what_lives_stays() {
    let (world, fence) = world(EngineSettings::default()).await;
    for (name, phase, purge) in
        [("old", "deleted", Some(1)), ("young", "deleted", None), ("alive", "running", None)]
    {
        let mut tombstone = agent(name, phase);
        let later = world.ctx.clock.now().plus(Duration::from_secs(3_600)).to_string();
        tombstone["purge_at"] = json!(purge.map_or(later, |ago| days(&world, ago)));
        world.put(Collection::Agents, name, tombstone).await;
        world.put(Collection::AgentHealth, name, json!({"agent_id": name})).await;
    }
    let gone = json!({"name": "web", "deleting": true, "purge_at": days(&world, 0)});
    world.put(Collection::AgentPools, "web", gone).await;
    world.put(Collection::AgentPools, "live", json!({"name": "live"})).await;
    a_while(&world, fence).await;
    assert_eq!(world.body(Collection::Agents, "old").await, None);
    assert_eq!(world.body(Collection::AgentHealth, "old").await, None);
    assert!(world.body(Collection::Agents, "young").await.is_some());
    assert!(world.body(Collection::Agents, "alive").await.is_some());
    assert_eq!(world.body(Collection::AgentPools, "web").await, None);
    assert!(world.body(Collection::AgentPools, "live").await.is_some());
    let told: Vec<String> = events(&world).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(told, ["agent.purged", "pool.purged"]);
}

#[tokio::test(start_paused = true)]
async fn old_operations_go_but_not_one_that_still_runs() {
    let (world, fence) = world(EngineSettings::default()).await;
    for (name, status, age) in
        [("old", "succeeded", 31), ("stuck", "running", 31), ("young", "failed", 29)]
    {
        let operation = json!({"status": status, "created_at": days(&world, age)});
        world.put(Collection::Operations, name, operation).await;
    }
    a_while(&world, fence).await;
    assert_eq!(world.body(Collection::Operations, "old").await, None);
    assert!(world.body(Collection::Operations, "stuck").await.is_some());
    assert!(world.body(Collection::Operations, "young").await.is_some());
}

fn change(name: &str) -> Change {
    Change {
        collection: Collection::Configs,
        key: Key::new(name).unwrap(),
        before: None,
        after: Some(crate::engine::documents::body(&json!({"name": name})).unwrap()),
        kind: "config.changed",
        subject: String::new(),
        evidence: Value::Null,
    }
}

#[tokio::test(start_paused = true)]
async fn the_journal_keeps_its_newest_events_when_it_outgrows_its_room() {
    let settings = EngineSettings { events_most: 100_000, ..EngineSettings::default() };
    let (world, fence) = world(settings).await;
    let cause = Cause::new("me", "");
    for n in 0..1_200 {
        world.ctx.journal.commit(&cause, &[change(&format!("c{n}"))], &[]).await.unwrap();
    }
    a_while(&world, fence).await;
    let left = events(&world).await;
    let size: usize = left.iter().map(|event| serde_json::to_vec(event).unwrap().len()).sum();
    assert!((80_000..120_000).contains(&size), "{size} bytes in {} events", left.len());
    assert_eq!(left.last().unwrap().seq, 1_200);
    assert_eq!(left[0].seq, 1_201 - left.len() as u64, "the oldest go");
}

#[tokio::test(start_paused = true)]
async fn old_events_go_but_the_newest_keeps_the_numbers_growing() {
    let (world, fence) = world(EngineSettings::default()).await;
    let cause = Cause::new("me", "");
    world.clock.jump(-40 * 24 * 3_600 * 1_000);
    for n in 0..1_200 {
        world.ctx.journal.commit(&cause, &[change(&format!("c{n}"))], &[]).await.unwrap();
    }
    world.clock.jump(40 * 24 * 3_600 * 1_000);
    a_while(&world, fence).await;
    let left: Vec<u64> = events(&world).await.iter().map(|event| event.seq).collect();
    assert_eq!(left, [1_200]);
    // another process, which knows the head only from the store
    let other = world.beside(EngineSettings::default());
    let written = other.ctx.journal.commit(&cause, &[change("next")], &[]).await.unwrap();
    assert_eq!(written[0].seq, 1_201);
    assert_eq!(written[0].prev_hash, events(&world).await[0].hash);
}

#[tokio::test(start_paused = true)]
async fn another_leader_ends_it() {
    let (world, fence) = world(EngineSettings::default()).await;
    world
        .put(Collection::AgentPools, "web", json!({"name": "web", "purge_at": days(&world, 1)}))
        .await;
    crate::engine::testing::loops::term(&world, 2).await;
    let ((), end) = beside(&world, start(&world, fence), sleep(Duration::from_secs(61))).await;
    assert_eq!(end.unwrap_err().to_string(), "another leader has begun");
    assert!(world.body(Collection::AgentPools, "web").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_a_purged_agent_listened_for_goes_with_it() {
    let (world, fence) = world(EngineSettings::default()).await;
    let mut tombstone = agent("old", "deleted");
    tombstone["purge_at"] = json!(days(&world, 1));
    world.put(Collection::Agents, "old", tombstone).await;
    for (id, who) in [("s1", "old"), ("s2", "old"), ("s3", "alive")] {
        let subscription = json!({"subscriber_agent_id": who, "active": true});
        world.put(Collection::AgentSubscriptions, id, subscription).await;
    }
    a_while(&world, fence).await;
    assert_eq!(world.body(Collection::AgentSubscriptions, "s1").await, None);
    assert_eq!(world.body(Collection::AgentSubscriptions, "s2").await, None);
    assert!(world.body(Collection::AgentSubscriptions, "s3").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn old_lines_of_the_audit_log_go_and_young_ones_stay() {
    let (world, fence) = world(EngineSettings::default()).await;
    for (name, age) in [("old", 31), ("young", 29)] {
        let line = json!({"at": days(&world, age), "actor": "me", "action": "stop"});
        world.put(Collection::AuditLog, name, line).await;
    }
    a_while(&world, fence).await;
    assert_eq!(world.body(Collection::AuditLog, "old").await, None);
    assert!(world.body(Collection::AuditLog, "young").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn one_document_that_is_gone_already_keeps_none_of_its_batch() {
    let (world, fence) = world(EngineSettings::default()).await;
    world.put(Collection::Operations, "a", json!({"status": "succeeded"})).await;
    world.put(Collection::Operations, "c", json!({"status": "succeeded"})).await;
    let remove = |name: &str| {
        let (collection, key) = (Collection::Operations, Key::new(name).unwrap());
        Write::Remove { collection, key, rev: None }
    };
    let broom = Broom { pen: Fenced::new(world.ctx.clone(), fence, "loop:retention") };
    broom.sweep(vec![remove("a"), remove("b"), remove("c")]).await.unwrap();
    assert_eq!(world.body(Collection::Operations, "a").await, None);
    assert_eq!(world.body(Collection::Operations, "c").await, None);
}

#[tokio::test(start_paused = true)]
async fn events_that_are_too_old_go_in_the_order_of_their_time() {
    let (world, fence) = world(EngineSettings::default()).await;
    // the later its number, the earlier its time: a clock was put back
    for n in 0..600_u64 {
        let event = json!({"seq": n + 1, "at": days(&world, 40 + n), "type": "config.changed"});
        world.put(Collection::Events, &format!("{n:020}"), event).await;
    }
    world
        .put(Collection::Events, "z", json!({"seq": 601, "at": days(&world, 0), "type": "x"}))
        .await;
    let broom = Broom { pen: Fenced::new(world.ctx.clone(), fence, "loop:retention") };
    let old = world.ctx.clock.now().minus(KEEP);
    // the newest, one page, one removal
    world.store.lose_after(3);
    broom.events(old, &CancellationToken::new()).await.unwrap_err();
    world.store.find_again();
    assert!(world.body(Collection::Events, &format!("{:020}", 0)).await.is_some());
    assert_eq!(world.body(Collection::Events, &format!("{:020}", 599)).await, None);
}
