use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::engine::context::EngineSettings;
use crate::engine::journal::seal::FIELD;
use crate::engine::journal::{Cause, Change};
use crate::engine::leadership::STEP_GRACE;
use crate::engine::run::{self, Running};
use crate::engine::testing::{World, agent};
use crate::model::event::Event;
use crate::model::filter::Filter;
use crate::ports::store::{Query, Store};
use Collection::Agents;

const SECOND: Duration = Duration::from_secs(1);

/// An agent that no loop has a reason to touch, written by the journal.
async fn ours(world: &World, key: &str) {
    change(world, key, |_| agent_at_rest(key)).await;
}

fn agent_at_rest(name: &str) -> Body {
    let Value::Object(mut body) = agent(name, "stopped") else { unreachable!() };
    body.insert("desired".into(), "stopped".into());
    body
}

async fn change(world: &World, key: &str, after: impl FnOnce(Body) -> Body) {
    let key = Key::new(key).unwrap();
    let before = world.store.get(Agents, &key).await.ok();
    let body = before.as_ref().map(|document| document.body.clone()).unwrap_or_default();
    let change = Change {
        collection: Agents,
        before,
        after: Some(after(body)),
        kind: "agent.changed",
        subject: key.to_string(),
        evidence: Value::Null,
        key,
    };
    let cause = Cause::new("me", "because");
    world.ctx.journal.commit(&cause, vec![change], Vec::new()).await.unwrap();
}

/// Somebody else's change of a few fields.
async fn theirs(world: &World, key: &str, fields: Value) {
    let mut body = world.body(Agents, key).await.unwrap_or_default();
    body.extend(fields.as_object().unwrap().clone());
    world.put_foreign(Agents, key, body).await;
}

async fn events(world: &World) -> Vec<Event> {
    let query = Query { limit: 1_000, ..Query::new(Collection::Events, Filter::All) };
    let page = world.store.query(query).await.unwrap();
    page.documents
        .into_iter()
        .map(|document| serde_json::from_value(Value::Object(document.body)).unwrap())
        .collect()
}

async fn external(world: &World) -> Vec<Event> {
    let mut events = events(world).await;
    events.retain(|event| event.kind == "external.changed");
    events
}

async fn leader(world: &World) -> Running {
    let running = run::start(world.ctx.clone());
    let mut leading = world.ctx.leading.subscribe();
    leading.wait_for(Option::is_some).await.unwrap();
    world.view(|view| view.loaded).await;
    running
}

#[tokio::test(start_paused = true)]
async fn a_change_behind_our_back_is_one_event_with_before_and_after() {
    let world = World::new();
    ours(&world, "a").await;
    let running = leader(&world).await;
    sleep(SECOND * 3).await;
    assert_eq!(external(&world).await, [], "our own writes are nobody else's");
    theirs(&world, "a", json!({"labels": {"team": "red"}})).await;
    sleep(SECOND * 3).await;
    let found = external(&world).await;
    let [event] = &found[..] else { panic!("one event: {found:#?}") };
    assert_eq!((event.actor.as_str(), event.aggregate_id.as_str()), ("external", "a"));
    assert_eq!(event.evidence["what"], "changed");
    assert_eq!(event.evidence["fields"], json!(["labels"]));
    assert!(event.evidence["revision"].is_string());
    assert_eq!(event.patch, json!([{"op": "add", "path": "/labels", "value": {"team": "red"}}]));
    assert_eq!(event.inverse, json!([{"op": "remove", "path": "/labels"}]));
    assert!(running.stop(STEP_GRACE).await.is_empty());
    // another leader looks through everything and finds it told
    let next = world.beside(EngineSettings::default());
    let running = leader(&next).await;
    sleep(SECOND * 3).await;
    assert_eq!(external(&next).await.len(), 1);
    assert!(running.stop(STEP_GRACE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_came_and_went_while_nobody_led_is_told_by_the_next_leader() {
    let world = World::new();
    ours(&world, "a").await;
    theirs(&world, "a", json!({"labels": {"team": "red"}})).await;
    world.put_foreign(Agents, "b", agent_at_rest("b")).await;
    let running = leader(&world).await;
    sleep(SECOND * 3).await;
    world.remove(Agents, "b").await;
    sleep(SECOND * 3).await;
    let told = external(&world).await;
    let told: Vec<(&str, &str)> = told
        .iter()
        .map(|event| (event.aggregate_id.as_str(), event.evidence["what"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("a", "changed"), ("b", "inserted"), ("b", "removed")]);
    assert!(running.stop(STEP_GRACE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_that_we_write_over_at_once_is_told_before_ours() {
    let world = World::new();
    ours(&world, "a").await;
    theirs(&world, "a", json!({"labels": {"team": "red"}})).await;
    change(&world, "a", |mut body| {
        body.insert("reason".into(), "ours".into());
        body
    })
    .await;
    let told = events(&world).await;
    let kinds: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["agent.changed", "external.changed", "agent.changed"]);
    assert_eq!(told[2].prev_hash, told[1].hash);
    assert_eq!(told[2].patch, json!([{"op": "add", "path": "/reason", "value": "ours"}]));
    let body = world.body(Agents, "a").await.unwrap();
    assert!(seal::is_intact(&body) && body["labels"]["team"] == "red", "{body:?}");
    let running = leader(&world).await;
    sleep(SECOND * 3).await;
    assert_eq!(external(&world).await.len(), 1);
    assert!(running.stop(STEP_GRACE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_programs_pulse_is_no_event_and_taking_a_change_back_is_one() {
    let world = World::new();
    ours(&world, "a").await;
    let running = leader(&world).await;
    for beat in 0..5 {
        theirs(&world, "a", json!({"last_heartbeat": beat, "updatedAt": beat})).await;
        sleep(SECOND).await;
    }
    assert_eq!(external(&world).await, []);
    theirs(&world, "a", json!({"pinned": true})).await;
    sleep(SECOND).await;
    let mut back = world.body(Agents, "a").await.unwrap();
    back.shift_remove("pinned");
    back.shift_remove(FIELD);
    world.put_foreign(Agents, "a", back).await;
    sleep(SECOND).await;
    let told = external(&world).await;
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[1].patch, json!([{"op": "remove", "path": "/pinned"}]));
    assert!(running.stop(STEP_GRACE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_document_older_than_the_journal_is_told_without_its_before() {
    let world = World::new();
    ours(&world, "a").await;
    change(&world, "a", |mut body| {
        body.insert("reason".into(), "ours".into());
        body
    })
    .await;
    world.remove(Collection::Events, &Event::key(1)).await;
    theirs(&world, "a", json!({"labels": {"team": "red"}})).await;
    let running = leader(&world).await;
    sleep(SECOND * 3).await;
    theirs(&world, "a", json!({"labels": {"team": "blue"}})).await;
    sleep(SECOND * 3).await;
    let told = external(&world).await;
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].evidence["before"].is_string() && told[0].inverse.is_null());
    let patch = json!([{"op": "replace", "path": "/labels/team", "value": "blue"}]);
    assert_eq!(told[1].patch, patch);
    assert!(running.stop(STEP_GRACE).await.is_empty());
}
