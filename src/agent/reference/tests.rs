//! Reference agents over the store in memory.

use super::*;
use crate::engine::messaging::{Messaging, read};
use crate::engine::testing::{World, agent};
use crate::model::filter::Filter;
use crate::model::message::{Message, MessageStatus};
use crate::model::schema::Collection;
use crate::ports::ids::RandomIds;
use crate::ports::store::Query;
use clap::Parser;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn options(line: &str) -> Options {
    Line::parse_from(std::iter::once("x").chain(line.split_whitespace())).options
}

async fn fleet(names: &[&str]) -> World {
    let world = World::new();
    for name in names {
        world.put(Collection::Agents, name, agent(name, "running")).await;
    }
    world
}

fn start(
    world: &World,
    id: &str,
    line: &str,
    stop: &CancellationToken,
) -> impl Future<Output = Result<Ended, KitError>> + use<> {
    let identity =
        Identity { agent: AgentId::new(id).unwrap(), incarnation: 1, store: String::new() };
    let ctx = &world.ctx;
    let (store, clock) = (ctx.store.clone(), ctx.clock.clone());
    run(identity, store, clock, RandomIds::shared(), options(line), stop.clone())
}

async fn send(world: &World, to: &str) -> MessageId {
    let ctx = &world.ctx;
    let messaging = Messaging::new(ctx.store.clone(), ctx.clock.clone(), RandomIds::shared());
    let id = |text| AgentId::new(text).unwrap();
    let mut new = NewMessage::new(id("a"), id(to), "task_request");
    new.payload.insert("x".into(), 1.into());
    messaging.send(&new).await.unwrap()
}

async fn all(world: &World) -> Vec<Message> {
    let query = Query { limit: 10_000, ..Query::new(Collection::AgentMessages, Filter::All) };
    let page = world.ctx.store.query(query).await.unwrap();
    page.documents.iter().map(|document| read(document).unwrap()).collect()
}

/// Waits until the messages are as wanted, at most ten minutes of the paused clock.
async fn until(world: &World, wanted: impl Fn(&[Message]) -> bool) -> Vec<Message> {
    let there = async {
        loop {
            let messages = all(world).await;
            if wanted(&messages) {
                return messages;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(600), there).await {
        Ok(messages) => messages,
        Err(_) => panic!("never so: {:#?}", all(world).await),
    }
}

fn delivered(messages: &[Message], to: &str) -> usize {
    let to = messages.iter().filter(|one| one.to_agent_id == to);
    to.filter(|one| one.status == MessageStatus::Delivered).count()
}

#[tokio::test(start_paused = true)]
async fn a_worker_works_replies_and_publishes() {
    let world = fleet(&["a", "b"]).await;
    let stop = CancellationToken::new();
    let agent = start(&world, "b", "--work 50ms --reply --publish task.completed", &stop);
    let script = async {
        send(&world, "b").await;
        let messages = until(&world, |all| delivered(all, "b") == 1).await;
        stop.cancel();
        messages
    };
    let (ended, messages) = tokio::join!(agent, script);
    assert_eq!(ended.unwrap(), Ended::Stopped);
    let reply = messages.iter().find(|one| one.to_agent_id == "a").unwrap();
    assert_eq!((reply.message_type.as_str(), &reply.payload["ms"]), ("task_result", &json!(50)));
    let published = world.ctx.store.count(Collection::AgentPublications, Filter::All).await;
    assert_eq!(published.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_echo_sends_the_payload_back() {
    let world = fleet(&["a", "b"]).await;
    let stop = CancellationToken::new();
    let agent = start(&world, "b", "--role echo", &stop);
    let script = async {
        send(&world, "b").await;
        let messages = until(&world, |all| delivered(all, "b") == 1).await;
        stop.cancel();
        messages
    };
    let (_, messages) = tokio::join!(agent, script);
    let reply = messages.iter().find(|one| one.to_agent_id == "a").unwrap();
    assert_eq!(reply.payload["x"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_router_spreads_over_the_running_agents_of_its_targets() {
    let world = fleet(&["b", "w1", "w2", "w3"]).await;
    world.put(Collection::Agents, "w3", crate::engine::testing::agent("w3", "paused")).await;
    let mut router = crate::engine::testing::agent("b", "running");
    router["type"] = json!("router");
    world.put(Collection::Agents, "b", router).await;
    let stop = CancellationToken::new();
    let agent = start(&world, "b", "--role router --targets type=worker", &stop);
    let script = async {
        for _ in 0..10 {
            send(&world, "b").await;
        }
        let messages = until(&world, |all| delivered(all, "b") == 10).await;
        stop.cancel();
        messages
    };
    let (_, messages) = tokio::join!(agent, script);
    let count = |to| messages.iter().filter(|one| one.to_agent_id == to).count();
    assert_eq!((count("w1"), count("w2"), count("w3")), (5, 5, 0));
    let forwarded = messages.iter().find(|one| one.to_agent_id == "w1").unwrap();
    assert_eq!(forwarded.from_agent_id, "b");
    assert!(forwarded.correlation_id.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_router_without_anybody_to_send_to_gives_the_message_back_with_the_reason() {
    let world = fleet(&["b"]).await;
    let stop = CancellationToken::new();
    let agent = start(&world, "b", "--role router --targets type=nobody", &stop);
    let script = async {
        send(&world, "b").await;
        let messages = until(&world, |all| all[0].status == MessageStatus::Dead).await;
        stop.cancel();
        messages
    };
    let (_, messages) = tokio::join!(agent, script);
    assert!(messages[0].last_error.as_ref().unwrap().contains("no running agent is type=nobody"));
}

#[tokio::test(start_paused = true)]
async fn a_crash_leaves_its_message_under_the_lease_and_exits_with_three() {
    let world = fleet(&["b"]).await;
    let stop = CancellationToken::new();
    let agent = start(&world, "b", "--crash-every 2 --work 10ms", &stop);
    let script = async {
        for _ in 0..3 {
            send(&world, "b").await;
        }
    };
    let (ended, ()) = tokio::join!(agent, script);
    let ended = ended.unwrap();
    assert_eq!((ended, ended.exit_code()), (Ended::Crashed, 3));
    let messages = all(&world).await;
    let count = |status| messages.iter().filter(|one| one.status == status).count();
    assert_eq!((count(MessageStatus::Delivered), count(MessageStatus::Leased)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_share_of_messages_fails_and_is_tried_again() {
    let world = fleet(&["b"]).await;
    let stop = CancellationToken::new();
    let agent = start(&world, "b", "--fail-rate 0.5 --work 1ms --seed 7", &stop);
    let script = async {
        for _ in 0..20 {
            send(&world, "b").await;
        }
        let ended = |one: &Message| one.status.is_final();
        let messages = until(&world, |all| all.iter().all(ended)).await;
        stop.cancel();
        messages
    };
    let (_, messages) = tokio::join!(agent, script);
    assert!(messages.iter().any(|one| one.attempts > 1));
    assert!(delivered(&messages, "b") >= 15);
}

#[tokio::test(start_paused = true)]
async fn a_source_keeps_its_rate_on_average_and_rests_while_paused() {
    let world = fleet(&["s", "w"]).await;
    let stop = CancellationToken::new();
    let line = "--role source --rate 4/s --wave 0.9 --wave-period 10s --targets agent=w --seed 1 \
                --publish work.created";
    let agent = start(&world, "s", line, &stop);
    let script = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        let sent = all(&world).await.len();
        world.put(Collection::Agents, "s", crate::engine::testing::agent("s", "paused")).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = all(&world).await.len();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(all(&world).await.len(), before, "a paused source makes nothing");
        stop.cancel();
        sent
    };
    let (_, sent) = tokio::join!(agent, script);
    assert!((300..=500).contains(&sent), "{sent} in 100 s at 4/s");
    let published = world.ctx.store.count(Collection::AgentPublications, Filter::All).await;
    assert_eq!(published.unwrap(), all(&world).await.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_source_keeps_its_rate_where_every_call_of_the_store_takes_long() {
    let world = fleet(&["s", "w"]).await;
    world.store.set_slow(Duration::from_millis(200));
    let stop = CancellationToken::new();
    let line = "--role source --rate 6/s --wave 0 --targets agent=w --seed 1 --publish x";
    let agent = start(&world, "s", line, &stop);
    let script = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.cancel();
    };
    drop(tokio::join!(agent, script));
    let sent = all(&world).await.len();
    assert!((270..=450).contains(&sent), "{sent} in a minute at 6/s");
}
