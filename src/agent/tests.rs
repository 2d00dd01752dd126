//! The kit over the store in memory, under the paused clock: what a real agent would see of its fleet.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::engine::messaging::read;
use crate::engine::testing::{World, agent};
use crate::model::filter::Filter;
use crate::model::message::{Message, MessageStatus};
use crate::model::pubsub::Publication;
use crate::ports::ids::RandomIds;
use crate::ports::store::Query;

const SOON: Duration = Duration::from_secs(60);

fn identity(id: &str) -> Identity {
    Identity { agent: AgentId::new(id).unwrap(), incarnation: 3, store: "memory".into() }
}

async fn connect(world: &World, id: &str) -> Arc<Client> {
    let ctx = &world.ctx;
    let ids = RandomIds::shared();
    Client::connect(identity(id), ctx.store.clone(), ctx.clock.clone(), ids).await.unwrap()
}

async fn fleet() -> World {
    let world = World::new();
    world.put(Collection::Agents, "b", agent("b", "running")).await;
    world
}

fn sender(world: &World) -> Messaging {
    let ctx = &world.ctx;
    Messaging::new(ctx.store.clone(), ctx.clock.clone(), RandomIds::shared())
}

fn task(to: &str) -> NewMessage {
    let id = |text| AgentId::new(text).unwrap();
    NewMessage::new(id("a"), id(to), "task_request")
}

async fn look(world: &World, id: &MessageId) -> Message {
    let key = Key::new(id.as_str()).unwrap();
    read(&world.ctx.store.get(Collection::AgentMessages, &key).await.unwrap()).unwrap()
}

/// Waits until the message is in `status`, at most a minute of the paused clock.
async fn until(world: &World, id: &MessageId, status: MessageStatus) -> Message {
    let there = async {
        loop {
            let message = look(world, id).await;
            if message.status == status {
                return message;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    match tokio::time::timeout(SOON * 5, there).await {
        Ok(message) => message,
        Err(_) => panic!("never {status}: {:#?}", look(world, id).await),
    }
}

/// Runs `script` beside a serving agent, then stops the agent.
async fn beside<H, F, T>(
    client: &Client,
    serving: Serving,
    handle: H,
    script: impl Future<Output = T>,
) -> T
where
    H: Fn(Delivery) -> F,
    F: Future<Output = Result<(), String>>,
{
    let stop = CancellationToken::new();
    let script = async {
        let answer = script.await;
        stop.cancel();
        answer
    };
    let run = client.run(serving, handle, stop.clone());
    let ((), answer) = tokio::time::timeout(SOON * 20, async { tokio::join!(run, script) })
        .await
        .expect("the agent stops when asked to");
    answer
}

#[tokio::test(start_paused = true)]
async fn a_waiting_agent_is_woken_at_once_by_a_message() {
    let world = fleet().await;
    let client = connect(&world, "b").await;
    let script = async {
        tokio::time::sleep(Duration::from_millis(300)).await; // all polls of the start are over
        let began = Instant::now();
        let id = sender(&world).send(&task("b")).await.unwrap();
        until(&world, &id, MessageStatus::Delivered).await;
        began.elapsed()
    };
    let took = beside(&client, Serving::default(), |_| async { Ok(()) }, script).await;
    assert!(took < Duration::from_millis(20), "{took:?}: it was not woken, it polled");
    assert_eq!(client.handled(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_paused_agent_takes_nothing_until_it_is_resumed() {
    let world = fleet().await;
    world.put(Collection::Agents, "b", agent("b", "paused")).await;
    let client = connect(&world, "b").await;
    let script = async {
        let id = sender(&world).send(&task("b")).await.unwrap();
        tokio::time::sleep(SOON).await;
        assert_eq!(look(&world, &id).await.status, MessageStatus::Pending);
        world.put(Collection::Agents, "b", agent("b", "running")).await;
        let began = Instant::now();
        until(&world, &id, MessageStatus::Delivered).await;
        assert!(began.elapsed() < Duration::from_millis(20), "it heard of its resumption");
    };
    beside(&client, Serving::default(), |_| async { Ok(()) }, script).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_its_concurrency_is_in_hand_at_once() {
    let world = fleet().await;
    let client = connect(&world, "b").await;
    let (now, most) = (RefCell::new(0usize), RefCell::new(0usize));
    let handle = |_| async {
        *now.borrow_mut() += 1;
        let high = (*most.borrow()).max(*now.borrow());
        *most.borrow_mut() = high;
        tokio::time::sleep(Duration::from_millis(50)).await;
        *now.borrow_mut() -= 1;
        Ok(())
    };
    let script = async {
        let news: Vec<NewMessage> = (0..20).map(|_| task("b")).collect();
        let began = Instant::now();
        for id in sender(&world).send_many(&news).await.unwrap() {
            until(&world, &id, MessageStatus::Delivered).await;
        }
        began.elapsed()
    };
    let serving = Serving { concurrency: 4, ..Serving::default() };
    let took = beside(&client, serving, handle, script).await;
    assert_eq!(*most.borrow(), 4);
    assert!(took < Duration::from_millis(400), "{took:?}: the next is claimed as a place is free");
}

#[tokio::test(start_paused = true)]
async fn what_fails_comes_back_after_its_pause_and_ends_dead() {
    let world = fleet().await;
    let client = connect(&world, "b").await;
    let times = Rc::new(RefCell::new(Vec::new()));
    let seen = times.clone();
    let handle = move |_| {
        seen.borrow_mut().push(Instant::now());
        async { Err("no".to_owned()) }
    };
    let script = async {
        let id = sender(&world).send(&task("b")).await.unwrap();
        until(&world, &id, MessageStatus::Dead).await
    };
    let dead = beside(&client, Serving::default(), handle, script).await;
    assert_eq!((dead.attempts, dead.last_error.as_deref()), (5, Some("no")));
    let pauses: Vec<f64> =
        times.borrow().windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    for (pause, wanted) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0]) {
        assert!((wanted * 0.79..wanted * 1.21).contains(pause), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_task_keeps_its_lease() {
    let world = fleet().await;
    let client = connect(&world, "b").await;
    let handle = |_| async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        Ok(())
    };
    let messaging = sender(&world);
    let script = async {
        let id = messaging.send(&task("b")).await.unwrap();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            messaging.sweep(world.ctx.clock.now()).await.unwrap();
        }
        until(&world, &id, MessageStatus::Delivered).await
    };
    let done = beside(&client, Serving::default(), handle, script).await;
    assert_eq!(done.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_what_can_be_finished_and_gives_back_the_rest() {
    let world = fleet().await;
    let mut document = agent("b", "running");
    document["config"]["grace"] = json!("10s");
    world.put(Collection::Agents, "b", document).await;
    let client = connect(&world, "b").await;
    let handle = |delivery: Delivery| async move {
        let long = delivery.message.payload.contains_key("long");
        tokio::time::sleep(Duration::from_secs(if long { 3_600 } else { 5 })).await;
        Ok(())
    };
    let messaging = sender(&world);
    let script = async {
        let mut long = task("b");
        long.payload.insert("long".into(), true.into());
        let short = messaging.send(&task("b")).await.unwrap();
        let long = messaging.send(&long).await.unwrap();
        until(&world, &short, MessageStatus::Leased).await;
        until(&world, &long, MessageStatus::Leased).await;
        (short, long)
    };
    let began = Instant::now();
    let serving = Serving { concurrency: 4, ..Serving::default() };
    let (short, long) = beside(&client, serving, handle, script).await;
    assert!(began.elapsed() < Duration::from_secs(10), "it ends within its grace");
    assert_eq!(look(&world, &short).await.status, MessageStatus::Delivered);
    let back = look(&world, &long).await;
    assert_eq!((back.status, back.lease_owner), (MessageStatus::Pending, None));
    assert!(back.last_error.unwrap().contains("stopped"));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_say_who_it_is_and_what_it_does() {
    let world = fleet().await;
    let client = connect(&world, "b").await;
    let first = world.body(Collection::AgentHealth, "b").await.unwrap();
    assert_eq!((&first["incarnation"], &first["agent_id"]), (&json!(3), &json!("b")));
    assert_eq!(first["pid"], json!(std::process::id()));
    let script = async {
        let id = sender(&world).send(&task("b")).await.unwrap();
        until(&world, &id, MessageStatus::Delivered).await;
        tokio::time::sleep(Duration::from_secs(11)).await;
        world.body(Collection::AgentHealth, "b").await.unwrap()
    };
    let later = beside(&client, Serving::default(), |_| async { Ok(()) }, script).await;
    assert_ne!(later["last_heartbeat"], first["last_heartbeat"]);
    assert_eq!(later["report"]["handled"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_and_comes_back_is_served_again() {
    let world = fleet().await;
    let client = connect(&world, "b").await;
    let script = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.store.set_lost(true);
        tokio::time::sleep(Duration::from_secs(300)).await;
        world.store.set_lost(false);
        let id = sender(&world).send(&task("b")).await.unwrap();
        until(&world, &id, MessageStatus::Delivered).await;
    };
    beside(&client, Serving::default(), |_| async { Ok(()) }, script).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_given_twice_is_sent_once() {
    let world = fleet().await;
    world.put(Collection::Agents, "a", agent("a", "running")).await;
    let client = connect(&world, "b").await;
    let id = sender(&world).send(&task("b")).await.unwrap();
    let key = Key::new(id.as_str()).unwrap();
    let delivery = Delivery { key, message: look(&world, &id).await };
    let first = client.reply(&delivery, "task_result", Map::new()).await.unwrap();
    let second = client.reply(&delivery, "task_result", Map::new()).await.unwrap();
    assert_eq!(first, second);
    let reply = look(&world, &first).await;
    assert_eq!(reply.reply_to.as_deref(), Some(id.as_str()));
    assert_eq!(reply.correlation_id.as_deref(), Some(id.as_str()));
    assert_eq!(reply.to_agent_id, "a");
}

#[tokio::test(start_paused = true)]
async fn a_listener_hears_what_was_published_while_it_was_away_and_what_comes() {
    let world = fleet().await;
    world.put(Collection::Agents, "a", agent("a", "running")).await;
    let (listener, speaker) = (connect(&world, "b").await, connect(&world, "a").await);
    let id = listener.subscribe("task.*").await.unwrap();
    speaker.publish("task.before", Map::new()).await.unwrap();
    let heard = RefCell::new(Vec::new());
    let handle = |publication: Publication| {
        heard.borrow_mut().push(publication.event_name);
        std::future::ready(())
    };
    let stop = CancellationToken::new();
    let script = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for n in 0..3 {
            speaker.publish(&format!("task.{n}"), Map::new()).await.unwrap();
            speaker.publish("noise", Map::new()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
    };
    let (end, ()) = tokio::join!(listener.listen(&id, "task.*", handle, &stop), script);
    end.unwrap();
    assert_eq!(*heard.borrow(), ["task.before", "task.0", "task.1", "task.2"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_the_store_does_not_know_is_refused() {
    let world = World::new();
    let ctx = &world.ctx;
    let answer =
        Client::connect(identity("b"), ctx.store.clone(), ctx.clock.clone(), RandomIds::shared());
    assert!(matches!(answer.await, Err(KitError::Unknown(id)) if id.as_str() == "b"));
}

#[test]
fn a_wrong_environment_names_the_variable() {
    let read = |vars: &[(&str, &str)]| {
        let vars: Vec<(String, String)> =
            vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Identity::from_env(|name| {
            vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
    };
    let fine = [("CVXC_AGENT_ID", "b"), ("CVXC_STORE", "/x.db")];
    assert_eq!(read(&fine).unwrap().incarnation, 1);
    let says = |vars: &[(&str, &str)]| read(vars).unwrap_err().to_string();
    assert!(says(&[]).starts_with("CVXC_AGENT_ID is not set"));
    assert!(says(&[("CVXC_AGENT_ID", "B!"), fine[1]]).contains("not a valid id"));
    assert!(says(&[fine[0]]).starts_with("CVXC_STORE is not set"));
    assert!(says(&[fine[0], fine[1], ("CVXC_INCARNATION", "x")]).contains("whole number"));
}

#[tokio::test(start_paused = true)]
async fn a_listener_whose_publications_are_gone_before_it_is_done_goes_on_listening() {
    let world = fleet().await;
    world.put(Collection::Agents, "a", agent("a", "running")).await;
    let (listener, speaker) = (connect(&world, "b").await, connect(&world, "a").await);
    let id = listener.subscribe("task.*").await.unwrap();
    for name in ["task.old", "task.new"] {
        speaker.publish(name, Map::new()).await.unwrap();
    }
    let heard = RefCell::new(Vec::new());
    let (world, said) = (&world, &heard);
    let handle = move |publication: Publication| async move {
        if publication.event_name == "task.new" {
            // the newest passes its time while it is handled; an older one is kept
            let all = Query::new(Collection::AgentPublications, Filter::All);
            for found in world.ctx.store.query(all).await.unwrap().documents {
                if found.body["event_name"] == "task.new" {
                    world.remove(Collection::AgentPublications, found.key.as_str()).await;
                }
            }
        }
        said.borrow_mut().push(publication.event_name);
    };
    let stop = CancellationToken::new();
    let script = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        speaker.publish("task.later", Map::new()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        stop.cancel();
    };
    let (end, ()) = tokio::join!(listener.listen(&id, "task.*", handle, &stop), script);
    end.unwrap();
    assert_eq!(*heard.borrow(), ["task.old", "task.new", "task.later"]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_stops_leaves_its_subscription_to_the_next_at_once() {
    let world = fleet().await;
    world.put(Collection::Agents, "a", agent("a", "running")).await;
    let speaker = connect(&world, "a").await;
    let mut id = None;
    for round in 0..2 {
        let listener = connect(&world, "b").await;
        let id = id.insert(listener.subscribe("task.*").await.unwrap());
        speaker.publish("task.one", Map::new()).await.unwrap();
        let heard = RefCell::new(0);
        let handle = |_| {
            *heard.borrow_mut() += 1;
            std::future::ready(())
        };
        let stop = CancellationToken::new();
        let script = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            stop.cancel();
        };
        let (end, ()) = tokio::join!(listener.listen(id, "task.*", handle, &stop), script);
        end.unwrap();
        assert_eq!(*heard.borrow(), 1, "process {round}");
    }
}
