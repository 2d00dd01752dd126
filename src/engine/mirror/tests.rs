//! A mirror over the store in memory, under the paused clock: whatever happens to documents, feed and store, the view
//! comes to show what a fresh list shows, and nothing happens while nothing changes.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::context::EngineSettings;
use crate::engine::journal::{Cause, Change as Written};
use crate::engine::supervise::{Role, Supervisor};
use crate::engine::testing::{World, agent};
use crate::engine::view::Queue;
use crate::model::agent::Phase;
use crate::model::id::{AgentId, PoolId, TemplateId};
use crate::model::message::MessageStatus;
use crate::model::text::Safe;

/// A mirror at work, ended when dropped.
fn start(world: &World) -> Supervisor {
    let mut tasks = Supervisor::new(CancellationToken::new());
    let ctx = world.ctx.clone();
    tasks.spawn("mirror", Role::Vital, move |stop| run(ctx.clone(), stop));
    tasks
}

async fn started() -> (World, Supervisor) {
    let world = World::new();
    let tasks = start(&world);
    world.view(|view| view.loaded).await;
    (world, tasks)
}

fn member(name: &str, phase: &str, pool: &str) -> Value {
    let mut value = agent(name, phase);
    value["pool_id"] = json!(pool);
    value["template_id"] = json!("t");
    value
}

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_there_at_the_start_is_listed_in_order_of_ids() {
    let world = World::new();
    for n in (0..1_234).rev() {
        world
            .put(Collection::Agents, &format!("agent-{n:05}"), agent(&format!("w{n}"), "running"))
            .await;
    }
    world.put(Collection::AgentPools, "p", json!({"name": "triage", "desired": 3})).await;
    let _tasks = start(&world);
    let first = world.view(|view| !view.agents.is_empty()).await;
    assert!(!first.loaded && first.agents.len() < 1_234, "the first rows do not wait for the last");
    let view = world.view(|view| view.loaded).await;
    assert_eq!(view.agents.len(), 1_234);
    assert!(view.agents.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert_eq!(view.agent(&id("agent-00077")).unwrap().name, "w77");
    assert_eq!(view.totals.phase(Phase::Running), 1_234);
    assert_eq!(view.pool(&PoolId::new("p").unwrap()).unwrap().desired, 3);
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_gives_a_loaded_and_empty_view() {
    let (world, _tasks) = started().await;
    let view = world.ctx.view();
    assert!(view.agents.is_empty() && view.stale_since.is_none());
    let view = world.view(|view| view.system.store.ok && view.system.runtime.ok).await;
    assert_eq!(view.system.store.kind, "memory");
}

#[tokio::test(start_paused = true)]
async fn rows_show_names_counts_and_sums_of_other_documents() {
    let (world, _tasks) = started().await;
    world.put(Collection::Agents, "a", member("a", "running", "p")).await;
    world.put(Collection::Agents, "b", member("b", "running", "p")).await;
    world.put(Collection::AgentPools, "p", json!({"name": "ocr", "template_id": "t"})).await;
    world.put(Collection::AgentTemplates, "t", json!({"name": "reader", "version": "1.0.0"})).await;
    let sample = json!({"at": "2026-11-21T00:00:05.000Z", "cpu_millis": 40, "memory_bytes": 1000});
    for name in ["a", "b"] {
        let heartbeat = "2026-11-21T00:00:04.000Z";
        let health = json!({"agent_id": name, "usage": sample, "last_heartbeat": heartbeat});
        world.put(Collection::AgentHealth, name, health).await;
    }
    let (pool, template) = (PoolId::new("p").unwrap(), TemplateId::new("t").unwrap());
    let view = world
        .view(|view| {
            view.pool(&pool).and_then(|pool| pool.usage).is_some_and(|u| u.cpu_millis == 80)
        })
        .await;
    let row = view.agent(&id("a")).unwrap();
    assert_eq!((row.pool_name.as_str(), row.template_name.as_str()), ("ocr", "reader"));
    assert_eq!(row.usage.unwrap().memory_bytes, 1000);
    assert_eq!(row.heartbeat, Some("2026-11-21T00:00:04.000Z".parse().unwrap()));
    let used = view.template(&template).unwrap();
    assert_eq!((used.agents, used.pools), (2, 1));
    // a pool renamed, one agent stopped, the other a tombstone
    world.put(Collection::AgentPools, "p", json!({"name": "ocr2", "template_id": "t"})).await;
    world.put(Collection::Agents, "a", member("a", "stopped", "p")).await;
    world.put(Collection::Agents, "b", member("b", "deleted", "p")).await;
    let view = world.view(|view| view.agent(&id("b")).unwrap().phase == Phase::Deleted).await;
    assert_eq!(view.agent(&id("a")).unwrap().pool_name, "ocr2");
    assert_eq!(view.agent(&id("a")).unwrap().usage, None);
    assert_eq!(view.pool(&pool).unwrap().usage, None);
    assert_eq!(view.template(&template).unwrap().agents, 1);
    world.remove(Collection::Agents, "a").await;
    world.remove(Collection::AgentTemplates, "t").await;
    let view = world.view(|view| view.agents.len() == 1 && view.templates.is_empty()).await;
    assert_eq!(view.agents[0].template_name, Safe::default());
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_did_not_change_keeps_its_slice() {
    let (world, _tasks) = started().await;
    world.put(Collection::AgentTemplates, "t", json!({"name": "t"})).await;
    world.put(Collection::Agents, "a", agent("a", "pending")).await;
    let before = world.view(|view| view.agents.len() == 1 && view.templates.len() == 1).await;
    world.put(Collection::Agents, "a", agent("a", "deploying")).await;
    let after = world.view(|view| view.agents[0].phase == Phase::Deploying).await;
    assert!(Arc::ptr_eq(&before.templates, &after.templates));
    assert!(!Arc::ptr_eq(&before.agents, &after.agents));
}

#[tokio::test(start_paused = true)]
async fn while_nothing_changes_no_view_is_made() {
    let (world, _tasks) = started().await;
    world.put(Collection::Agents, "a", agent("a", "running")).await;
    sleep(Duration::from_secs(2)).await;
    let version = world.ctx.view().version;
    let calls = world.store.calls();
    for _ in 0..600 {
        // what stays the same for a reader: a renewed lease, a document written as it was
        sleep(Duration::from_secs(1)).await;
        world.put(Collection::Agents, "a", agent("a", "running")).await;
        let renewed = world.ctx.clock.now();
        let lease =
            json!({"holder": "x", "instance": "i", "ttl_ms": 15_000, "renewed_at": renewed});
        world.put(Collection::Leases, LEASE_KEY, lease).await;
    }
    assert_eq!(world.ctx.view().version, version + 1, "one view: that somebody leads");
    let asked = (world.store.calls() - calls - 1_200) as f64 / 600.0;
    assert!(asked < 1.0, "an idle mirror asks the store {asked} times a second");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_changes_makes_thirty_views_a_second_at_most() {
    let (world, _tasks) = started().await;
    sleep(Duration::from_secs(1)).await;
    let before = world.ctx.view().version;
    for n in 0..1_000 {
        let (name, phase) = (format!("a{}", n % 10), ["paused", "running"][n / 10 % 2]);
        world.put(Collection::Agents, &name, agent(&name, phase)).await;
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(50)).await;
    let views = world.ctx.view().version - before;
    assert!((20..=34).contains(&views), "{views} views in a second");
    let began = tokio::time::Instant::now();
    sleep(Duration::from_secs(1)).await;
    world.put(Collection::Agents, "late", agent("late", "running")).await;
    world.view(|view| view.agent(&id("late")).is_some()).await;
    assert!(began.elapsed() < Duration::from_millis(1_005), "after a quiet time at once");
}

#[tokio::test(start_paused = true)]
async fn a_lost_store_leaves_the_last_picture_and_is_caught_up_with() {
    for hang in [false, true] {
        let (world, _tasks) = started().await;
        world.put(Collection::Agents, "a", agent("a", "running")).await;
        world.view(|view| view.agents.len() == 1).await;
        sleep(Duration::from_secs(3)).await;
        let lost_at = world.ctx.clock.now();
        if hang {
            world.store.set_hanging(true);
        } else {
            world.store.set_lost(true);
        }
        let stale = world.view(|view| view.stale_since.is_some()).await;
        assert_eq!(stale.agents.len(), 1, "the last picture stays");
        assert!(!stale.system.store.ok && !stale.system.store.error.as_str().is_empty());
        let since = stale.stale_since.unwrap();
        assert!(since <= lost_at && lost_at.since(since) < Duration::from_secs(6), "{since}");
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.ctx.view().stale_since, Some(since), "it does not grow younger");
        if hang {
            world.store.set_hanging(false);
        } else {
            world.store.set_lost(false);
        }
        world.put(Collection::Agents, "b", agent("b", "running")).await;
        let back = world.view(|view| view.stale_since.is_none() && view.system.store.ok).await;
        assert_eq!(back.agents.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_gap_in_the_feed_only_what_differs_is_read() {
    let (world, _tasks) = started().await;
    for n in 0..2_500 {
        let name = format!("a{n:05}");
        world.put(Collection::Agents, &name, agent(&name, "running")).await;
    }
    world.view(|view| view.agents.len() == 2_500).await;
    world.store.set_mute(true);
    world.remove(Collection::Agents, "a00003").await;
    world.remove(Collection::Agents, "a02499").await;
    world.put(Collection::Agents, "a00004", agent("a00004", "failed")).await;
    world.put(Collection::Agents, "a99999", agent("z", "running")).await;
    world.store.set_mute(false);
    let calls = world.store.calls();
    world.store.make_gap();
    let view =
        world.view(|view| view.agents.len() == 2_499 && view.agent(&id("a99999")).is_some()).await;
    assert_eq!(view.agent(&id("a00004")).unwrap().phase, Phase::Failed);
    assert!(view.agent(&id("a00003")).is_none() && view.agent(&id("a02499")).is_none());
    assert!(world.store.calls() - calls < 20, "bodies of what did not change are not read");
}

#[tokio::test(start_paused = true)]
async fn what_no_feed_told_of_is_found_within_a_minute() {
    let (world, _tasks) = started().await;
    sleep(Duration::from_secs(5)).await;
    world.store.set_mute(true);
    world.put(Collection::AgentPools, "p", json!({"name": "quiet"})).await;
    world.put(Collection::Operations, "op-1", json!({"type": "scale", "title": "quiet too"})).await;
    let began = tokio::time::Instant::now();
    let view = world.view(|view| view.pools.len() == 1 && view.operations.len() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(61));
    assert_eq!(view.operations[0].title, "quiet too");
}

#[tokio::test(start_paused = true)]
async fn waiting_messages_are_counted_by_receiver_and_pool_and_flow_by_the_second() {
    let (world, _tasks) = started().await;
    world.put(Collection::AgentPools, "p", json!({"name": "p"})).await;
    for name in ["a", "b"] {
        world.put(Collection::Agents, name, member(name, "running", "p")).await;
    }
    world.view(|view| view.agents.len() == 2).await;
    let message = |to: &str, status: &str, second: u32| {
        let at = format!("2026-11-21T00:00:{second:02}.000Z");
        json!({"from_agent_id": "x", "to_agent_id": to, "status": status, "created_at": at})
    };
    for n in 0..30 {
        let to = if n % 3 == 0 { "a" } else { "b" };
        world.put(Collection::AgentMessages, &format!("m{n}"), message(to, "pending", n)).await;
    }
    let view = world.view(|view| view.totals.messages(MessageStatus::Pending) == 30).await;
    let oldest = Some("2026-11-21T00:00:00.000Z".parse().unwrap());
    assert_eq!(
        view.agent(&id("a")).unwrap().queue,
        Queue { pending: 10, oldest, ..Queue::default() }
    );
    let pool = view.pool(&PoolId::new("p").unwrap()).unwrap();
    assert_eq!((pool.queue.pending, pool.queue.oldest), (30, oldest));
    assert_eq!(view.totals.oldest, oldest);
    world.view(|view| view.totals.sent_history.iter().sum::<u32>() == 30).await;
    assert!((view.totals.sent_rate - 3.0).abs() < 1e-9);
    for n in 0..30 {
        let to = if n % 3 == 0 { "a" } else { "b" };
        world.put(Collection::AgentMessages, &format!("m{n}"), message(to, "delivered", n)).await;
    }
    let view = world.view(|view| view.totals.delivered_history.iter().sum::<u32>() == 30).await;
    assert_eq!(view.agent(&id("b")).unwrap().queue, Queue { delivered: 20, ..Queue::default() });
    assert_eq!(view.totals.oldest, None);
    // a minute later nothing flows, and then nothing moves
    sleep(Duration::from_secs(75)).await;
    let quiet = world.ctx.view();
    assert_eq!(
        quiet.totals.sent_history.iter().chain(&quiet.totals.delivered_history).sum::<u32>(),
        0
    );
    sleep(Duration::from_secs(100)).await;
    assert_eq!(world.ctx.view().version, quiet.version);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_counts_slowly_is_not_lost_and_what_waits_is_known_soon() {
    let world = World::new();
    world.store.set_counting(Duration::from_secs(45));
    world.put(Collection::Agents, "a", agent("a", "running")).await;
    let _tasks = start(&world);
    assert!(!world.view(|view| view.loaded).await.totals.counted);
    let message = json!({"to_agent_id": "a", "status": "pending"});
    for n in 0..3 {
        world.put(Collection::AgentMessages, &format!("m{n}"), message.clone()).await;
        sleep(Duration::from_secs(2)).await;
        let view = world.ctx.view();
        assert_eq!(view.agent(&id("a")).unwrap().queue.pending, n + 1);
        assert!(view.totals.counted);
    }
    for _ in 0..100 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.ctx.view().stale_since, None);
    }
    assert_eq!(world.ctx.view().agent(&id("a")).unwrap().queue.pending, 3);
}

#[tokio::test(start_paused = true)]
async fn what_the_feed_told_while_a_list_was_read_is_newer_than_the_list() {
    let world = World::new();
    let body = |phase: &str| match agent("a", phase) {
        Value::Object(body) => body,
        _ => unreachable!(),
    };
    let key = |text: &str| Key::new(text).unwrap();
    let rev = |text: &str| crate::ports::store::Rev(text.into());
    let (mut mirror, mut jobs) = (Mirror::new(world.ctx.clone()), Jobs::new(world.ctx.clone()));
    mirror.begin_listing(&mut jobs);
    let told = vec![
        Change::Put {
            collection: Collection::Agents,
            key: key("a"),
            rev: rev("2"),
            body: Some(Arc::new(body("failed"))),
            topic: None,
            cursor: Cursor("1".into()),
        },
        Change::Removed {
            collection: Collection::Agents,
            key: key("b"),
            cursor: Cursor("2".into()),
        },
    ];
    mirror.rows_changed(told, &mut jobs);
    let old = |text| crate::ports::store::RawDocument {
        key: key(text),
        rev: rev("1"),
        json: Value::Object(body("running")).to_string(),
    };
    let (collection, page) = (Collection::Agents, vec![old("a"), old("b"), old("c")]);
    mirror.answered(Answer::Scanned { collection, page, last: true }, &mut jobs);
    let phases: Vec<_> =
        mirror.fleet.agents.rows().map(|row| (row.id.as_str(), row.phase)).collect();
    assert_eq!(phases, [("a", Phase::Failed), ("c", Phase::Running)]);
}

/// Journals one change and so one event.
async fn happen(world: &World, name: &str) {
    let Value::Object(body) = json!({"name": name}) else { unreachable!() };
    let change = Written {
        collection: Collection::Configs,
        key: Key::new(name).unwrap(),
        before: None,
        after: Some(body),
        kind: "config.changed",
        subject: name.into(),
        evidence: Value::Null,
    };
    let cause = Cause::new("tester", "because");
    world.ctx.journal.commit(&cause, &[change], &[]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_journal_entry_is_passed_on_once_gap_or_not() {
    let world = World::new();
    happen(&world, "before").await;
    let mut events = world.ctx.events.subscribe();
    let _tasks = start(&world);
    world.view(|view| view.loaded).await;
    happen(&world, "one").await;
    world.view(|view| view.totals.events == 2).await;
    world.store.set_mute(true);
    happen(&world, "two").await;
    happen(&world, "three").await;
    world.store.set_mute(false);
    world.store.make_gap();
    happen(&world, "four").await;
    world.view(|view| view.totals.events == 5).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let event = tokio::time::timeout(Duration::from_secs(70), events.recv()).await;
        told.push(event.unwrap().unwrap().subject.clone());
    }
    assert_eq!(told, ["one", "two", "three", "four"]);
    assert!(events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn who_leads_is_shown_and_when_the_lease_is_late() {
    let (world, _tasks) = started().await;
    let lease = json!({"holder": "ann@host", "instance": "i", "host": "host", "pid": 7, "epoch": 3,
        "ttl_ms": 15_000, "loops": [{"name": "health", "runs": 2, "error": "no \u{1b}[2J"}]});
    world.put(Collection::Leases, LEASE_KEY, &lease).await;
    let view = world.view(|view| view.system.leader.epoch == 3).await;
    let leader = &view.system.leader;
    assert_eq!(
        (leader.holder.as_str(), leader.pid, leader.late, leader.me),
        ("ann@host", 7, false, false)
    );
    assert_eq!(view.system.loops[0].name, "health");
    assert!(!view.system.loops[0].error.as_str().contains('\u{1b}'));
    let began = tokio::time::Instant::now();
    world.view(|view| view.system.leader.late).await;
    assert!(began.elapsed() >= Duration::from_secs(14), "{:?}", began.elapsed());
    world
        .put(Collection::Leases, LEASE_KEY, json!({"holder": "", "epoch": 3, "ttl_ms": 15_000}))
        .await;
    world.view(|view| view.system.leader.holder == "" && !view.system.leader.late).await;
    let fence =
        crate::engine::journal::Fence { epoch: 4, rev: crate::ports::store::Rev("1".into()) };
    world.ctx.leading.send_replace(Some(fence));
    world.view(|view| view.system.leader.me).await;
}

#[tokio::test(start_paused = true)]
async fn documents_that_are_wrong_are_shown_as_far_as_they_go() {
    let (world, _tasks) = started().await;
    let broken =
        json!({"name": 7, "phase": "on fire", "labels": "x", "config": [], "created_at": "soon"});
    world.put(Collection::Agents, "broken", broken).await;
    world.put(Collection::Agents, "not_an_id", agent("hidden", "running")).await;
    let wrong = json!({"name": "bad\u{1b}[31m", "desired": "many"});
    world.put(Collection::AgentPools, "wrong", wrong).await;
    let view = world.view(|view| view.agents.len() == 1 && view.pools.len() == 1).await;
    assert_eq!(view.agents[0].phase, Phase::Pending);
    assert!(
        view.pools[0].name.as_str().starts_with("bad")
            && !view.pools[0].name.as_str().contains('\u{1b}')
    );
    assert!(view.pools[0].reason.as_str().contains("cannot be read"), "{}", view.pools[0].reason);
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_wakes_the_reconcile_loop_and_samples_do_not() {
    let (world, _tasks) = started().await;
    world.put(Collection::Agents, "a", agent("a", "running")).await;
    world.view(|view| view.agents.len() == 1).await;
    world.ctx.wanted.notified().await; // the agent is new
    let woken = world.ctx.wanted.notified();
    tokio::pin!(woken);
    let health = json!({"usage": {"cpu_millis": 1}, "last_heartbeat": "2026-11-21T00:00:04.000Z"});
    world.put(Collection::AgentHealth, "a", health).await;
    world.view(|view| view.agents[0].usage.is_some()).await;
    assert!(futures::poll!(woken.as_mut()).is_pending());
    world
        .put(Collection::Agents, "a", {
            let mut a = agent("a", "running");
            a["desired"] = json!("stopped");
            a
        })
        .await;
    tokio::time::timeout(Duration::from_secs(5), woken).await.expect("the loop is woken");
}

#[derive(Debug, Clone)]
enum Step {
    Put(Collection, u8, Value),
    Remove(Collection, u8),
    Mute(bool),
    Gap,
    Lose(bool),
    Pause(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let collection = prop::sample::select(ROWS.to_vec());
    let phase = prop::sample::select(vec!["pending", "running", "failed", "deleted"]);
    let document = (phase, 0u8..4, 0u8..3, 0u64..50).prop_map(|(phase, pool, template, n)| {
        json!({
            "name": format!("name-{n}"), "phase": phase, "type": "worker", "status": "running",
            "pool_id": format!("k{pool}"), "template_id": format!("k{template}"),
            "health": {"status": if n % 2 == 0 { "healthy" } else { "unhealthy" }},
            "usage": {"at": "2026-11-21T00:00:00.000Z", "cpu_millis": n, "memory_bytes": n},
            "to_agent_id": format!("k{pool}"), "created_at": format!("2026-11-21T00:00:{:02}.000Z", n),
            "labels": {"n": n.to_string()},
        })
    });
    let step = prop_oneof![
        12 => (collection.clone(), 0u8..8, document).prop_map(|(c, k, d)| Step::Put(c, k, d)),
        4 => (collection, 0u8..8).prop_map(|(c, k)| Step::Remove(c, k)),
        1 => any::<bool>().prop_map(Step::Mute),
        1 => Just(Step::Gap),
        1 => any::<bool>().prop_map(Step::Lose),
        6 => (0u16..1500).prop_map(Step::Pause),
    ];
    prop::collection::vec(step, 0..60)
}

/// What a view shows, but for its version, times and rates.
fn picture(view: &FleetView) -> impl PartialEq + std::fmt::Debug + use<> {
    let pools: Vec<_> = view
        .pools
        .iter()
        .map(|row| {
            let mut row = (**row).clone();
            // a sum is as young as the youngest sample ever seen
            row.usage =
                row.usage.map(|usage| crate::engine::view::UsageNote { at: Time::EPOCH, ..usage });
            row
        })
        .collect();
    (
        (view.agents.clone(), pools, view.templates.clone()),
        (view.subscriptions.clone(), view.operations.clone()),
        (view.totals.phases.clone(), view.totals.health.clone()),
        (view.stale_since, view.loaded),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn after_any_history_the_view_is_what_a_fresh_list_gives(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = World::new();
            let _tasks = start(&world);
            let hand = world.beside(EngineSettings::default()); // writes while the mirror's wire is cut
            for step in steps {
                match step {
                    Step::Put(collection, key, mut document) => {
                        document["name"] = json!(format!("{} of k{key}", document["name"]));
                        hand.put(collection, &format!("k{key}"), document).await;
                    }
                    Step::Remove(collection, key) => {
                        let key = format!("k{key}");
                        if hand.body(collection, &key).await.is_some() {
                            hand.remove(collection, &key).await;
                        }
                    }
                    Step::Mute(mute) => world.store.set_mute(mute),
                    Step::Gap => world.store.make_gap(),
                    Step::Lose(cut) => world.store.set_cut(cut),
                    Step::Pause(millis) => sleep(Duration::from_millis(millis.into())).await,
                }
            }
            world.store.set_mute(false);
            world.store.set_cut(false);
            sleep(Duration::from_secs(100)).await; // the longest pause after a loss, and a comparison
            let fresh = world.beside(EngineSettings::default());
            let _others = start(&fresh);
            fresh.view(|view| view.loaded).await;
            sleep(Duration::from_secs(1)).await;
            let (kept, listed) = (picture(&world.ctx.view()), picture(&fresh.ctx.view()));
            assert_eq!(kept, listed);
        });
    }
}

#[test]
fn pauses_between_tries_grow_to_half_a_minute_and_never_end() {
    let tries: BTreeMap<usize, Duration> =
        pauses().take(50).map(|pause| pause.min(LONGEST_PAUSE)).enumerate().collect();
    assert_eq!(tries.len(), 50);
    assert!(tries[&0] >= FIRST_PAUSE && tries[&0] <= FIRST_PAUSE * 2);
    assert_eq!(tries[&49], LONGEST_PAUSE);
}

#[test]
fn what_waits_is_summed_by_pool_whichever_of_counts_and_agents_is_read_first() {
    let body = |value: Value| match value {
        Value::Object(body) => body,
        other => panic!("{other} is no document"),
    };
    let mut member = crate::engine::testing::agent("a", "running");
    member["pool_id"] = json!("p");
    let pool = json!({"name": "p", "desired": 1, "min": 0, "max": 1});
    let (agent, pool_id) = (AgentId::new("a").unwrap(), PoolId::new("p").unwrap());
    let waiting = || HashMap::from([(agent.clone(), Queue { pending: 3, ..Queue::default() })]);
    let mut fleet = super::fleet::Fleet::default();
    fleet.put_queues(waiting());
    fleet.settle();
    fleet.put(Collection::AgentPools, &Key::new("p").unwrap(), 1, &body(pool));
    fleet.settle();
    let key = Key::new("a").unwrap();
    fleet.put(Collection::Agents, &key, 1, &body(member.clone()));
    fleet.settle();
    let sum = |fleet: &super::fleet::Fleet| fleet.pools.get(&pool_id).unwrap().queue.pending;
    assert_eq!(sum(&fleet), 3);
    member["pool_id"] = Value::Null;
    fleet.put(Collection::Agents, &key, 2, &body(member));
    fleet.settle();
    assert_eq!(sum(&fleet), 0, "it left the pool");
}
