//! Wishes in, processes out: the agents' part over a store and a runtime in memory, under the paused clock.

use std::time::Duration;

use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::engine::context::EngineSettings;
use crate::engine::testing::loops::{Loop, beside, events, kinds, set, term, until, world};
use crate::engine::testing::{World, agent};
use crate::engine::view::FleetView;
use crate::model::agent::Desired;
use crate::ports::runtime::{Exit, Runtime, State};
use crate::ports::store::{Durability, Store, Write};

fn start(world: &World, fence: Fence) -> impl FnOnce(CancellationToken) -> Loop + use<> {
    let ctx = world.ctx.clone();
    move |stop| run(ctx, fence, stop).boxed()
}

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

fn in_phase(of: &'static str, phase: Phase) -> impl Fn(&FleetView) -> bool {
    move |view| view.agent(&id(of)).is_some_and(|row| row.phase == phase)
}

async fn pending(world: &World, name: &str) {
    let mut new = agent(name, "pending");
    new["incarnation"] = json!(0);
    world.put(Collection::Agents, name, new).await;
}

#[tokio::test(start_paused = true)]
async fn a_pending_agent_is_deployed_once_and_runs() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "running", in_phase("a", Phase::Running)).await;
        tokio::time::sleep(Duration::from_secs(60)).await; // full looks in between change nothing
    })
    .await;
    end.unwrap();
    assert_eq!(kinds(&world, "a").await, ["agent.deploying", "agent.running"]);
    let applied = world.runtime.applied();
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0].env["CVXC_AGENT_ID"], "a");
    let row = world.ctx.view().agent(&id("a")).unwrap().clone();
    assert_eq!((row.pid, row.incarnation), (Some(1), 1));
    assert!(events(&world).await.iter().all(|event| event.epoch == Some(1)));
}

#[tokio::test(start_paused = true)]
async fn what_crashes_is_brought_back_at_once_and_then_with_growing_pauses() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let mut pauses = Vec::new();
        for run in 1..=4 {
            until(&world, "running", |view| {
                view.agent(&id("a"))
                    .is_some_and(|it| it.phase == Phase::Running && it.incarnation == run)
            })
            .await;
            let died = tokio::time::Instant::now();
            world.runtime.exit(&id("a"), Exit::Signal(9));
            until(&world, "again", |view| {
                view.agent(&id("a")).is_some_and(|it| it.incarnation > run)
            })
            .await;
            pauses.push(died.elapsed().as_secs());
        }
        assert_eq!(pauses[0], 0, "{pauses:?}");
        assert!((9..=11).contains(&pauses[1]), "{pauses:?}");
        assert!((18..=22).contains(&pauses[2]), "{pauses:?}");
        assert!((36..=44).contains(&pauses[3]), "{pauses:?}");
    })
    .await;
    end.unwrap();
    let told = kinds(&world, "a").await;
    assert_eq!(told.iter().filter(|kind| *kind == "agent.recovered").count(), 3);
    let failed =
        events(&world).await.into_iter().find(|event| event.kind == "agent.failed").unwrap();
    assert!(failed.reason.starts_with("killed by signal 9 (SIGKILL)"), "{}", failed.reason);
    assert_eq!(failed.evidence["exit"], "killed by signal 9 (SIGKILL)");
}

#[tokio::test(start_paused = true)]
async fn a_refused_workload_fails_with_the_runtimes_words() {
    let (world, fence) = world(EngineSettings::default()).await;
    world.runtime.refuse(Some("no such program: ocr"));
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let view = until(&world, "failed", in_phase("a", Phase::Failed)).await;
        assert_eq!(view.agent(&id("a")).unwrap().reason.as_str(), "no such program: ocr");
        world.runtime.refuse(None);
        until(&world, "running once it may", in_phase("a", Phase::Running)).await;
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_brought_about_says_so_and_goes_on_soon_after_it_may() {
    let (world, fence) = world(EngineSettings::default()).await;
    world.runtime.forbid(Some("cannot create deployments"));
    world.runtime.set_slow(true);
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let says = |text: &'static str| {
            move |view: &FleetView| {
                view.agent(&id("a"))
                    .is_some_and(|row| row.phase == Phase::Deploying && row.reason.as_str() == text)
            }
        };
        let told = "the runtime forbids it: cannot create deployments";
        until(&world, "told", says(told)).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        until(&world, "still told, and not failed", says(told)).await;
        world.runtime.forbid(None);
        let allowed = tokio::time::Instant::now();
        until(&world, "told no more", says("")).await;
        assert!(allowed.elapsed() < Duration::from_secs(5), "{:?}", allowed.elapsed());
        world.runtime.come_up(&id("a"));
        until(&world, "running", in_phase("a", Phase::Running)).await;
    })
    .await;
    end.unwrap();
    let told = kinds(&world, "a").await;
    assert_eq!(told, ["agent.deploying", "agent.waiting", "agent.allowed", "agent.running"]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_runtime_that_cannot_be_looked_at_says_why_and_goes_on_soon_after() {
    let (world, fence) = world(EngineSettings::default()).await;
    world.runtime.set_lost(true);
    let ((), end) = beside(&world, start(&world, fence), async {
        // the loop has met it for long when the agent comes
        tokio::time::sleep(Duration::from_secs(300)).await;
        pending(&world, "a").await;
        let came = tokio::time::Instant::now();
        let why = "the runtime is not available: lost on purpose";
        let says =
            |view: &FleetView| view.agent(&id("a")).is_some_and(|row| row.reason.as_str() == why);
        until(&world, "told", says).await;
        assert!(came.elapsed() < Duration::from_secs(5), "{:?}", came.elapsed());
        tokio::time::sleep(Duration::from_secs(120)).await;
        world.runtime.set_lost(false);
        let back = tokio::time::Instant::now();
        let view = until(&world, "running", in_phase("a", Phase::Running)).await;
        assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
        assert_eq!(view.agent(&id("a")).unwrap().reason.as_str(), "");
    })
    .await;
    end.unwrap();
    // once, however long it took
    assert_eq!(kinds(&world, "a").await, ["agent.waiting", "agent.deploying", "agent.running"]);
}

#[tokio::test(start_paused = true)]
async fn stop_drains_first_and_a_tombstone_forgets_its_workload() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "running", in_phase("a", Phase::Running)).await;
        let lease = world.ctx.clock.now().plus(Duration::from_secs(30)).to_string();
        let held = json!({"to_agent_id": "a", "status": "leased", "lease_until": lease});
        world.put(Collection::AgentMessages, "m", held).await;
        set(&world, Collection::Agents, "a", "desired", json!("stopped")).await;
        until(&world, "draining", in_phase("a", Phase::Draining)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(world.runtime.removed(), [], "it still holds a message");
        set(&world, Collection::AgentMessages, "m", "status", json!("delivered")).await;
        until(&world, "stopped", in_phase("a", Phase::Stopped)).await;
        assert_eq!(world.runtime.removed(), [id("a")]);
        set(&world, Collection::Agents, "a", "desired", json!("deleted")).await;
        let view = until(&world, "deleted", in_phase("a", Phase::Deleted)).await;
        assert!(view.agent(&id("a")).unwrap().purge_at.is_some());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.runtime.seen(&id("a")), None);
    })
    .await;
    end.unwrap();
    assert_eq!(world.body(Collection::Agents, "a").await.unwrap().get("live_name"), None);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_the_next_incarnation_and_pausing_leaves_the_process_alone() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "running", in_phase("a", Phase::Running)).await;
        set(&world, Collection::Agents, "a", "desired", json!("paused")).await;
        until(&world, "paused", in_phase("a", Phase::Paused)).await;
        set(&world, Collection::Agents, "a", "desired", json!("running")).await;
        until(&world, "resumed", in_phase("a", Phase::Running)).await;
        assert_eq!(world.runtime.applied().len(), 1);
        set(&world, Collection::Agents, "a", "wanted_incarnation", json!(2)).await;
        until(&world, "restarted", |view| {
            view.agent(&id("a")).is_some_and(|it| it.phase == Phase::Running && it.incarnation == 2)
        })
        .await;
    })
    .await;
    end.unwrap();
    let told = kinds(&world, "a").await;
    let last = ["agent.draining", "agent.stopped", "agent.deploying", "agent.running"];
    assert_eq!(told[told.len() - 4..], last);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_adopts_what_runs_and_ends_what_nobody_recorded() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    let (_, end) = beside(&world, start(&world, fence), async {
        until(&world, "running", in_phase("a", Phase::Running)).await;
    })
    .await;
    end.unwrap();
    let stray = Agent { incarnation: 4, ..Agent::default() };
    world.runtime.apply(workload::of(&world.ctx, &id("stray"), &stray)).await.unwrap();
    // b's last leader died between the document and the runtime
    world.put(Collection::Agents, "b", agent("b", "deploying")).await;
    let next = world.beside(EngineSettings::default());
    let fence = term(&next, 2).await;
    let ((), end) = beside(&next, start(&next, fence), async {
        until(&next, "b running", in_phase("b", Phase::Running)).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
    })
    .await;
    end.unwrap();
    let applied: Vec<String> = next
        .runtime
        .applied()
        .iter()
        .map(|it| format!("{} #{}", it.agent, it.incarnation))
        .collect();
    assert_eq!(applied, ["a #1", "stray #4", "b #1"], "nothing was started twice");
    assert_eq!(next.runtime.seen(&id("stray")), None, "ended and forgotten");
    assert_eq!(kinds(&next, "a").await, ["agent.deploying", "agent.running"]);
}

#[tokio::test(start_paused = true)]
async fn another_leader_ends_the_loop_before_it_writes_anything_more() {
    let (world, fence) = world(EngineSettings::default()).await;
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        term(&world, 2).await;
        pending(&world, "late").await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    assert_eq!(end.unwrap_err().to_string(), "another leader has begun");
    assert_eq!(kinds(&world, "late").await, [""; 0]);
    assert!(world.runtime.applied().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_away_fails_nobody_and_is_waited_for() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    world.runtime.set_lost(true);
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(300)).await;
        let said = world.ctx.loops.list();
        assert!(said[0].error.as_str().contains("not available"), "{said:?}");
        world.runtime.set_lost(false);
        until(&world, "running", in_phase("a", Phase::Running)).await;
    })
    .await;
    end.unwrap();
    // told once, however long it took
    assert_eq!(kinds(&world, "a").await, ["agent.waiting", "agent.deploying", "agent.running"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_waited_for_too() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "running", in_phase("a", Phase::Running)).await;
        world.store.set_hanging(true);
        world.runtime.exit(&id("a"), Exit::Code(1));
        tokio::time::sleep(Duration::from_secs(100)).await;
        world.store.set_hanging(false);
        until(&world, "back", |view| view.agent(&id("a")).is_some_and(|it| it.incarnation == 2))
            .await;
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_much_of_the_fleet_falls_at_once_restarts_wait() {
    let (world, fence) = world(EngineSettings::default()).await;
    let names: Vec<String> = (0..10).map(|n| format!("a{n}")).collect();
    for name in &names {
        pending(&world, name).await;
    }
    let all_run = |view: &FleetView| view.agents.iter().all(|row| row.phase == Phase::Running);
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "all running", |view| view.agents.len() == 10 && all_run(view)).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        for name in &names[..6] {
            world.runtime.exit(&id(name), Exit::Signal(9));
        }
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(world.runtime.applied().len(), 10, "held");
        assert!(!all_run(&world.ctx.view()));
        until(&world, "all back once it let go", all_run).await;
        assert_eq!(world.runtime.applied().len(), 16);
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_thousand_agents_as_they_should_be_cost_no_call() {
    let (world, fence) = world(EngineSettings::default()).await;
    let mut writes = Vec::new();
    for n in 0..1_000 {
        let serde_json::Value::Object(body) = agent(&format!("a{n}"), "pending") else {
            unreachable!()
        };
        let key = Key::new(&format!("a{n}")).unwrap();
        writes.push(Write::Put { collection: Collection::Agents, key, body });
    }
    world.store.transact(writes, Durability::Durable).await.unwrap();
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "all running", |view| {
            view.agents.len() == 1_000 && view.agents.iter().all(|row| row.phase == Phase::Running)
        })
        .await;
        tokio::time::sleep(Duration::from_secs(12)).await;
        let (before, applied) = (world.store.calls(), world.runtime.applied().len());
        assert_eq!(applied, 1_000);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.store.calls(), before, "unchanged agents are not read again");
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_on_its_way_is_not_read_again_until_it_is_late() {
    let (world, fence) = world(EngineSettings::default()).await;
    world.runtime.set_slow(true);
    for n in 0..10 {
        pending(&world, &format!("a{n}")).await;
    }
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "all deploying", |view| {
            view.agents.iter().filter(|row| row.phase == Phase::Deploying).count() == 10
        })
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = world.store.calls();
        // a full look falls in between, and their start may take a minute
        tokio::time::sleep(Duration::from_secs(45)).await;
        assert_eq!(world.store.calls(), before);
        assert_eq!(world.runtime.applied().len(), 10);
        let later = world.ctx.clock.now();
        // one whose workload somebody else ended is started again
        world.runtime.remove(&id("a2"), Duration::ZERO).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.runtime.applied().len(), 11);
        set(&world, Collection::Agents, "a3", "desired", "stopped".into()).await;
        until(&world, "stopped", in_phase("a3", Phase::Stopped)).await;
        world.runtime.come_up(&id("a4"));
        until(&world, "running", in_phase("a4", Phase::Running)).await;
        until(&world, "failed", in_phase("a5", Phase::Failed)).await;
        let waited = world.ctx.clock.now().since(later);
        assert!(waited < Duration::from_secs(15), "a minute after its start: {waited:?}");
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_given_less_time_while_it_goes_on_fails_at_that() {
    let (world, fence) = world(EngineSettings::default()).await;
    world.runtime.set_slow(true);
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "deploying", in_phase("a", Phase::Deploying)).await;
        tokio::time::sleep(Duration::from_secs(12)).await;
        let mut body = world.body(Collection::Agents, "a").await.unwrap();
        body["config"]["start_timeout"] = json!("15s");
        body["generation"] = json!(7);
        world.put(Collection::Agents, "a", body).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let row = world.ctx.view().agent(&id("a")).unwrap().clone();
        assert!(row.reason.as_str().contains("did not start within 15s"), "{row:?}");
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_fails_after_its_time_and_is_taken_back() {
    let (world, fence) = world(EngineSettings::default()).await;
    world.runtime.set_slow(true);
    pending(&world, "slow").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        let view = until(&world, "failed", in_phase("slow", Phase::Failed)).await;
        let row = view.agent(&id("slow")).unwrap();
        assert_eq!(row.reason.as_str(), "did not start within 1m");
        assert_eq!(row.desired, Desired::Running);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(world.runtime.removed().first(), Some(&id("slow")));
        world.runtime.set_slow(false);
        if world.runtime.seen(&id("slow")).is_some_and(|seen| seen.state == State::Starting) {
            world.runtime.come_up(&id("slow"));
        }
        until(&world, "running", in_phase("slow", Phase::Running)).await;
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn starts_in_place_are_counted_on_the_agent() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "running", in_phase("a", Phase::Running)).await;
        for restarts in [1, 2] {
            world.runtime.restart_in_place(&id("a"));
            tokio::time::sleep(Duration::from_secs(1)).await;
            let body = world.body(Collection::Agents, "a").await.unwrap();
            assert_eq!(body["deployment"]["restarts"], restarts);
        }
    })
    .await;
    end.unwrap();
    let told = kinds(&world, "a").await;
    assert_eq!(told, ["agent.deploying", "agent.running", "agent.placed", "agent.placed"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_moved_to_another_node_is_found_there_and_an_unknown_node_moves_nothing() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "running", in_phase("a", Phase::Running)).await;
        world.runtime.move_to(&id("a"), "there");
        until(&world, "there", |view| view.agent(&id("a")).unwrap().node.as_str() == "there").await;
        tokio::time::sleep(Duration::from_secs(12)).await;
        let before = world.store.calls();
        world.runtime.move_to(&id("a"), "");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.store.calls(), before, "nothing is looked up while nobody knows where");
    })
    .await;
    end.unwrap();
    let told = kinds(&world, "a").await;
    assert_eq!(told, ["agent.deploying", "agent.running", "agent.placed"]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_cannot_be_read_holds_nobody_up() {
    let (world, fence) = world(EngineSettings::default()).await;
    let strange = json!({"incarnation": "3", "report": null, "status": "ok"});
    world.put(Collection::AgentHealth, "a", strange).await;
    for name in ["a", "b"] {
        pending(&world, name).await;
    }
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "both running", |view| {
            view.agents.iter().filter(|row| row.phase == Phase::Running).count() == 2
        })
        .await;
    })
    .await;
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_document_cannot_be_read_is_left_alone_until_it_can() {
    let (world, fence) = world(EngineSettings::default()).await;
    pending(&world, "a").await;
    let ((), end) = beside(&world, start(&world, fence), async {
        until(&world, "running", in_phase("a", Phase::Running)).await;
        let mut body = world.body(Collection::Agents, "a").await.unwrap();
        body.insert("labels".into(), json!(null));
        body.insert("desired".into(), json!("paused"));
        world.put(Collection::Agents, "a", body).await;
        tokio::time::sleep(Duration::from_secs(35)).await;
        assert_eq!(world.runtime.removed(), [], "it has a record");
        set(&world, Collection::Agents, "a", "labels", json!({})).await;
        until(&world, "paused", in_phase("a", Phase::Paused)).await;
    })
    .await;
    end.unwrap();
    assert_eq!(world.runtime.applied().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_workload_without_a_record_is_asked_to_end_once_and_told_again_after_its_grace() {
    let (world, fence) = world(EngineSettings::default()).await;
    let stray = Agent { incarnation: 4, ..Agent::default() };
    world.runtime.apply(workload::of(&world.ctx, &id("stray"), &stray)).await.unwrap();
    world.runtime.set_stubborn(true);
    let ((), end) = beside(&world, start(&world, fence), async {
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(world.runtime.removed().len(), 1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(world.runtime.removed().len(), 2);
        world.runtime.exit(&id("stray"), Exit::Signal(15));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.runtime.seen(&id("stray")), None, "forgotten");
    })
    .await;
    end.unwrap();
}
