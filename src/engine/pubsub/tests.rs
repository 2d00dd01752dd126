//! Publish and subscribe over the store in memory.

use super::*;
use crate::engine::testing::World;
use crate::model::id::AgentId;
use crate::ports::ids::RandomIds;

const LEASE: Duration = Duration::from_secs(10);

fn desk(world: &World) -> PubSub {
    PubSub::new(world.ctx.store.clone(), world.ctx.clock.clone(), RandomIds::shared())
}

async fn publish(desk: &PubSub, event: &str) {
    let new = NewPublication::new(AgentId::new("p").unwrap(), event);
    desk.publish(&new).await.unwrap();
}

async fn listen(desk: &PubSub, pattern: &str) -> SubscriptionId {
    desk.subscribe(&NewSubscription::new(AgentId::new("s").unwrap(), pattern)).await.unwrap()
}

fn names(batch: &Batch) -> Vec<&str> {
    batch.publications.iter().map(|(_, one)| one.event_name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_was_down_misses_nothing() {
    let world = World::new();
    let desk = desk(&world);
    publish(&desk, "task.before").await;
    let id = listen(&desk, "task.*").await;
    publish(&desk, "task.one").await;
    publish(&desk, "state.other").await;
    let batch = desk.fetch(&id, "first", 0, 10, LEASE).await.unwrap();
    assert_eq!(names(&batch), ["task.one"]);
    // it died without acknowledging; another process of it comes when the lease is over
    let busy = desk.fetch(&id, "second", 0, 10, LEASE).await;
    assert!(matches!(busy, Err(PubSubError::Busy { .. })), "{busy:?}");
    world.clock.jump(10_000);
    publish(&desk, "task.two").await;
    let batch = desk.fetch(&id, "second", 0, 10, LEASE).await.unwrap();
    assert_eq!(names(&batch), ["task.one", "task.two"]);
    desk.ack(&id, "second", batch.upto, 2).await.unwrap();
    let late = desk.ack(&id, "first", batch.upto, 2).await;
    assert!(matches!(late, Err(PubSubError::Busy { .. })), "{late:?}");
    assert!(desk.fetch(&id, "second", 0, 10, LEASE).await.unwrap().publications.is_empty());
    let body = world.body(Collection::AgentSubscriptions, id.as_str()).await.unwrap();
    assert_eq!(body["matched"], 2);
    assert!(body.contains_key("last_matched_at"));
}

#[tokio::test(start_paused = true)]
async fn the_cursor_moves_only_forward_and_never_past_what_exists() {
    let world = World::new();
    let desk = desk(&world);
    let id = listen(&desk, "*").await;
    for event in ["a", "b", "c"] {
        publish(&desk, event).await;
    }
    let batch = desk.fetch(&id, "r", 0, 10, LEASE).await.unwrap();
    let ahead = desk.ack(&id, "r", batch.upto + 1, 0).await;
    assert!(matches!(ahead, Err(PubSubError::Ahead { .. })), "{ahead:?}");
    desk.ack(&id, "r", batch.upto, 3).await.unwrap();
    desk.ack(&id, "r", 1, 0).await.unwrap();
    let body = world.body(Collection::AgentSubscriptions, id.as_str()).await.unwrap();
    assert_eq!(body["cursor"], batch.upto);
}

#[tokio::test(start_paused = true)]
async fn small_batches_read_on_in_order_before_anything_is_acknowledged() {
    let world = World::new();
    let desk = desk(&world);
    let id = listen(&desk, "n.*").await;
    for n in 0..7 {
        publish(&desk, &format!("n.{n}")).await;
        publish(&desk, "noise").await;
    }
    let (mut from, mut met) = (0, Vec::new());
    loop {
        let batch = desk.fetch(&id, "r", from, 3, LEASE).await.unwrap();
        met.extend(names(&batch).into_iter().map(str::to_owned));
        from = batch.upto;
        if !batch.more {
            break;
        }
    }
    assert_eq!(met, ["n.0", "n.1", "n.2", "n.3", "n.4", "n.5", "n.6"]);
}

#[tokio::test(start_paused = true)]
async fn duplicates_merge_and_an_ended_subscription_begins_anew() {
    let world = World::new();
    let desk = desk(&world);
    let id = listen(&desk, "x").await;
    publish(&desk, "x").await;
    assert_eq!(listen(&desk, "x").await, id);
    let batch = desk.fetch(&id, "r", 0, 10, LEASE).await.unwrap();
    assert_eq!(names(&batch), ["x"], "asking again keeps the cursor");
    desk.unsubscribe(&id).await.unwrap();
    desk.unsubscribe(&id).await.unwrap();
    let ended = desk.fetch(&id, "r", 0, 10, LEASE).await;
    assert!(matches!(ended, Err(PubSubError::Inactive(_))), "{ended:?}");
    publish(&desk, "x").await;
    assert_eq!(listen(&desk, "x").await, id);
    publish(&desk, "x").await;
    let batch = desk.fetch(&id, "r", 0, 10, LEASE).await.unwrap();
    assert_eq!(batch.publications.len(), 1, "what came while it was ended was not asked for");
}

#[tokio::test(start_paused = true)]
async fn what_has_passed_its_time_is_not_handed_out() {
    let world = World::new();
    let desk = desk(&world);
    let id = listen(&desk, "*").await;
    let mut new = NewPublication::new(AgentId::new("p").unwrap(), "brief");
    new.ttl = Duration::from_secs(1);
    desk.publish(&new).await.unwrap();
    world.clock.jump(1_000);
    assert!(desk.fetch(&id, "r", 0, 10, LEASE).await.unwrap().publications.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_pattern_is_refused_when_subscribing_and_named_when_met() {
    let world = World::new();
    let desk = desk(&world);
    let new = NewSubscription::new(AgentId::new("s").unwrap(), "a.[");
    let refused = desk.subscribe(&new).await;
    let Err(MessagingError::Invalid { errors }) = refused else { panic!("{refused:?}") };
    assert_eq!(errors[0].path, "/pattern");
    let theirs = json!({"subscriber_agent_id": "s", "event_pattern": "a.[", "active": true});
    world.put(Collection::AgentSubscriptions, "sub-theirs", theirs).await;
    let id = SubscriptionId::new("sub-theirs").unwrap();
    let bad = desk.fetch(&id, "r", 0, 10, LEASE).await;
    assert!(matches!(bad, Err(PubSubError::Bad { .. })), "{bad:?}");
    let nobody = SubscriptionId::new("sub-nobody").unwrap();
    assert!(matches!(desk.unsubscribe(&nobody).await, Err(PubSubError::Unknown(_))));
}
