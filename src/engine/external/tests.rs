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
    world.ctx.journal.commit(&cause, &[change], &[]).await.unwrap();
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

/// Every change of `times` gets its event at once, without the loop.
async fn stamped(world: &World, fence: &Fence, times: std::ops::Range<u64>) {
    for beat in times {
        theirs(world, "a", json!({"last_seen": beat})).await;
        let key = Key::new("a").unwrap();
        let found = Some(world.store.get(Agents, &key).await.unwrap());
        let (journal, reached) = (&world.ctx.journal, world.ctx.journal.reached().await.unwrap());
        let told = journal.note_strangers(fence, reached, &[(Agents, key, found)], false).await;
        assert_eq!(told.unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_four_hundredth_change_of_a_stranger_is_not_told_from_all_before_it() {
    let (world, fence) = crate::engine::testing::loops::world(EngineSettings::default()).await;
    ours(&world, "a").await;
    stamped(&world, &fence, 0..400).await;
    let before = world.store.rows();
    stamped(&world, &fence, 400..420).await;
    let each = (world.store.rows() - before) / 20;
    assert!(each < 250, "{each} events are read for each change");
    // the events still tell what became of the document
    let told = external(&world).await;
    let last = told.last().unwrap();
    let patch = json!([{"op": "replace", "path": "/last_seen", "value": 419}]);
    assert_eq!((&last.patch, &last.evidence["fields"]), (&patch, &json!(["last_seen"])));
}

#[tokio::test(start_paused = true)]
async fn who_writes_all_the_time_gets_an_event_now_and_then_and_the_last_word() {
    let world = World::new();
    ours(&world, "a").await;
    let running = leader(&world).await;
    sleep(SECOND * 3).await;
    for beat in 0..600 {
        theirs(&world, "a", json!({"last_seen": beat})).await;
        sleep(SECOND / 10).await;
    }
    sleep(SECOND * 15).await;
    let told = external(&world).await;
    assert!((5..20).contains(&told.len()), "{} events in a minute", told.len());
    assert_eq!(told.last().unwrap().patch[0]["value"], 599);
    // left alone for a while, the next change is told at once
    sleep(SECOND * 60).await;
    theirs(&world, "a", json!({"last_seen": "again"})).await;
    sleep(SECOND).await;
    assert_eq!(external(&world).await.len(), told.len() + 1);
    assert!(running.stop(STEP_GRACE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_that_tell_of_one_change_at_once_one_does() {
    let (world, fence) = crate::engine::testing::loops::world(EngineSettings::default()).await;
    ours(&world, "a").await;
    let other = world.beside(EngineSettings::default());
    for beat in 0..20 {
        let reached = world.ctx.journal.reached().await.unwrap();
        theirs(&world, "a", json!({"last_seen": beat})).await;
        let key = Key::new("a").unwrap();
        let found = Some(world.store.get(Agents, &key).await.unwrap());
        let suspects = [(Agents, key, found)];
        let (one, two) = futures::join!(
            world.ctx.journal.note_strangers(&fence, reached, &suspects, false),
            other.ctx.journal.note_strangers(&fence, reached, &suspects, false),
        );
        let ends = [one, two].map(|end| match end {
            Ok(told) => told.len(),
            Err(StoreError::Conflict { .. }) => 0,
            Err(other) => panic!("{other}"),
        });
        assert_eq!(ends.iter().sum::<usize>(), 1, "{ends:?}");
        assert_eq!(external(&world).await.len(), beat + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_there_were_marks_is_looked_into_once() {
    let world = World::new();
    for n in 0..40 {
        let at = format!("a{n}");
        ours(&world, &at).await;
        // as the journal left it when it wrote no marks, and one change of somebody that is told already
        let mut body = world.body(Agents, &at).await.unwrap();
        body.shift_remove(FIELD);
        if n == 0 {
            body.insert("labels".into(), json!({"team": "red"}));
        }
        world.put_foreign(Agents, &at, body).await;
    }
    for leader_of in 0..3 {
        let next = world.beside(EngineSettings::default());
        let running = leader(&next).await;
        sleep(SECOND * 3).await;
        assert!(running.stop(STEP_GRACE).await.is_empty());
        let told = external(&world).await;
        assert_eq!(told.len(), 1, "{told:#?}");
        for n in 0..40 {
            let body = world.body(Agents, &format!("a{n}")).await.unwrap();
            // the one that was told of is marked by the next one who looks through everything
            let marked = seal::is_intact(&body) || (n == 0 && leader_of == 0);
            assert!(marked, "a{n} under leader {leader_of}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_somebody_removed_while_nobody_led_is_told_of_once() {
    let world = World::new();
    for key in ["a", "b"] {
        ours(&world, key).await;
        world.put_foreign(Collection::AgentHealth, key, Body::new()).await;
    }
    world.remove(Agents, "a").await;
    // ours went with its event, and left what others wrote about it
    let key = Key::new("b").unwrap();
    let removal = Change {
        collection: Agents,
        before: world.store.get(Agents, &key).await.ok(),
        after: None,
        kind: "agent.removed",
        subject: "b".into(),
        evidence: Value::Null,
        key,
    };
    world.ctx.journal.commit(&Cause::new("me", "because"), &[removal], &[]).await.unwrap();
    for _ in 0..2 {
        let next = world.beside(EngineSettings::default());
        let running = leader(&next).await;
        sleep(SECOND * 3).await;
        let told = external(&next).await;
        let [event] = &told[..] else { panic!("one event: {told:#?}") };
        assert_eq!(
            (event.aggregate_id.as_str(), &event.evidence["what"]),
            ("a", &json!("removed"))
        );
        assert!(running.stop(STEP_GRACE).await.is_empty());
    }
}
