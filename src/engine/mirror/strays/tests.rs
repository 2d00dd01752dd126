//! A mirror beside a runtime that others use too, under the paused clock: what runs without a record becomes a row for
//! people, and for people only.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::mirror::run;
use crate::engine::supervise::{Role, Supervisor};
use crate::engine::testing::{World, agent};
use crate::ports::runtime::CopyOf;

/// A mirror at work beside a shared runtime, ended when dropped.
fn start(world: &World) -> Supervisor {
    world.runtime.share();
    let mut tasks = Supervisor::new(CancellationToken::new());
    let ctx = world.ctx.clone();
    tasks.spawn("mirror", Role::Vital, move |stop| run(ctx.clone(), stop));
    tasks
}

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

/// A copy of pool `p`'s own workload that has run since a minute before the test began.
fn copy(name: &str) -> Observed {
    Observed {
        agent: id(name),
        incarnation: 1,
        state: State::Running,
        pid: None,
        node: "node-1".to_owned(),
        workload: name.to_owned(),
        restarts: 2,
        message: String::new(),
        exit: None,
        started_at: Some("2026-11-20T23:59:00.000Z".parse().unwrap()),
        copy_of: Some(CopyOf { pool: "p".to_owned(), template: "t@1.0.0".to_owned() }.into()),
    }
}

const A: &str = "agent-pool-p-a";

/// The view as people get it, once it is as wanted.
async fn shown(world: &World, wanted: impl Fn(&FleetView) -> bool) -> Arc<FleetView> {
    let mut views = world.ctx.shown.subscribe();
    let found = views.wait_for(|view| wanted(view));
    let found = tokio::time::timeout(Duration::from_secs(60), found).await;
    found.expect("the view comes to that").unwrap().clone()
}

fn has(view: &FleetView, name: &str) -> bool {
    view.agent(&id(name)).is_some()
}

/// Nothing is shown of it for so long.
async fn never(world: &World, name: &str, span: Duration) {
    let mut views = world.ctx.shown.subscribe();
    let met = views.wait_for(|view| view.agent(&id(name)).is_some_and(|row| !row.recorded));
    assert!(tokio::time::timeout(span, met).await.is_err(), "{name} was shown as a stray");
}

#[tokio::test(start_paused = true)]
async fn what_runs_without_a_record_is_a_row_for_people_and_not_for_the_engine() {
    let world = World::new();
    world.put(Collection::Agents, "b", agent("b", "running")).await;
    world.runtime.show(copy(A));
    let pulled = Observed {
        state: State::Starting,
        message: "ImagePullBackOff".to_owned(),
        ..copy("agent-pool-p-c")
    };
    world.runtime.show(pulled);
    let _tasks = start(&world);
    let view = shown(&world, |view| view.agents.len() == 3).await;
    assert!(view.agents.windows(2).all(|pair| pair[0].id < pair[1].id) && view.sighted);
    let row = view.agent(&id(A)).unwrap();
    assert!(!row.recorded);
    assert_eq!((row.phase, row.health), (Phase::Running, HealthStatus::Healthy));
    assert_eq!((row.reason.as_str(), row.node.as_str()), (REASON, "node-1"));
    assert_eq!((row.pool_name.as_str(), row.template_version.as_str()), ("p", "1.0.0"));
    assert_eq!((row.restarts(), row.name.as_str()), (2, A));
    let pulling = view.agent(&id("agent-pool-p-c")).unwrap();
    assert_eq!(pulling.phase, Phase::Deploying);
    assert!(pulling.reason.as_str().starts_with("ImagePullBackOff"), "{:?}", pulling.reason);
    assert_eq!(view.totals.phase(Phase::Running), 1);
    assert_eq!((view.totals.in_sight(Phase::Running), view.totals.strays.len()), (2, 2));
    let recorded = world.ctx.view();
    assert!(recorded.agents.len() == 1 && recorded.totals.strays.is_empty());
    // and live: it ends, and goes
    world.runtime.show(Observed { state: State::Ending, ..copy(A) });
    shown(&world, |view| view.agent(&id(A)).is_some_and(|row| row.phase == Phase::Draining)).await;
    world.runtime.forget(&id(A)).await.unwrap();
    let view = shown(&world, |view| !has(view, A)).await;
    assert_eq!(view.agents.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_new_waits_for_its_record_and_a_record_takes_the_strays_place() {
    let world = World::new();
    let _tasks = start(&world);
    shown(&world, |view| view.loaded).await;
    let young = Observed { started_at: None, ..copy(A) };
    world.runtime.show(young.clone());
    never(&world, A, GRACE - Duration::from_millis(500)).await;
    world.put(Collection::Agents, A, agent(A, "running")).await;
    never(&world, A, GRACE * 4).await;
    assert!(world.ctx.view().agent(&id(A)).unwrap().recorded);
    // without one it is shown after the grace, until it gets one
    world.runtime.show(Observed { agent: id("agent-pool-p-b"), ..young });
    shown(&world, |view| has(view, "agent-pool-p-b")).await;
    world.put(Collection::Agents, "agent-pool-p-b", agent("b", "running")).await;
    let view = shown(&world, |view| view.totals.strays.is_empty()).await;
    assert!(view.agent(&id("agent-pool-p-b")).unwrap().recorded && view.agents.len() == 2);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_pool_that_is_known_waits_for_its_record_however_old_it_is() {
    let world = World::new();
    world.put(Collection::AgentPools, "p", json!({"name": "ocr"})).await;
    world.runtime.show(copy(A));
    let _tasks = start(&world);
    shown(&world, |view| view.loaded).await;
    never(&world, A, GRACE - Duration::from_millis(500)).await;
    let view = shown(&world, |view| has(view, A)).await;
    assert_eq!(view.agent(&id(A)).unwrap().pool_name, "ocr");
}

#[tokio::test(start_paused = true)]
async fn what_ends_after_its_record_is_no_stray_and_what_stays_becomes_one() {
    let world = World::new();
    for name in ["a", "b"] {
        world.put(Collection::Agents, name, agent(name, "running")).await;
        world.runtime.show(Observed { agent: id(name), copy_of: None, ..copy(name) });
    }
    let _tasks = start(&world);
    shown(&world, |view| view.agents.len() == 2 && view.sighted).await;
    world.remove(Collection::Agents, "a").await;
    world.remove(Collection::Agents, "b").await;
    shown(&world, |view| view.agents.is_empty()).await;
    let ending = Observed { agent: id("a"), state: State::Ending, copy_of: None, ..copy("a") };
    world.runtime.show(ending.clone());
    never(&world, "a", LEAVING - Duration::from_secs(1)).await;
    let view = shown(&world, |view| has(view, "b")).await;
    assert!(!has(&view, "a"), "it goes as its record did");
    never(&world, "a", LEAVING * 3).await;
    world.runtime.show(Observed { state: State::Exited, ..ending });
    never(&world, "a", LEAVING * 3).await;
    world.runtime.forget(&id("a")).await.unwrap();
    sleep(LEAVING).await;
    assert_eq!(world.ctx.shown.borrow().agents.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_that_records_went_looks_at_everything_again() {
    let world = World::new();
    world.runtime.share();
    world.runtime.show(copy(A));
    let mut strays = Strays::default();
    strays.open(&world.runtime);
    strays.next().await;
    let now = world.ctx.clock.instant();
    strays.unrecorded("b", now);
    assert!(strays.next().now_or_never().is_none(), "there is no news yet");
    strays.tick(now + LEAVING, &world.runtime);
    let again = strays.next().now_or_never().expect("all is told anew");
    assert!(matches!(&again[..], [Glimpse::All { .. }]), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_runtime_of_our_own_has_no_strays_and_one_at_rest_makes_no_views() {
    let world = World::new();
    world.runtime.show(copy(A));
    let mut tasks = Supervisor::new(CancellationToken::new());
    let ctx = world.ctx.clone();
    tasks.spawn("mirror", Role::Vital, move |stop| run(ctx.clone(), stop));
    let view = shown(&world, |view| view.sighted).await;
    assert!(view.agents.is_empty());
    drop(tasks);
    let shared = World::new();
    shared.runtime.show(copy(A));
    let _tasks = start(&shared);
    shown(&shared, |view| has(view, A) && view.system.runtime.ok && view.system.store.ok).await;
    sleep(Duration::from_secs(30)).await;
    let version = shared.ctx.shown.borrow().version;
    shared.runtime.show(copy(A));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(shared.ctx.shown.borrow().version, version, "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn a_stray_is_described_and_what_it_cannot_do_is_refused_with_what_it_can() {
    use crate::engine::core::Core;
    use crate::engine::handle::CommandError;
    use crate::model::access::Actor;
    use crate::model::plan::{Command, Noun, Targets};

    let world = World::new();
    world.runtime.show(copy(A));
    world.runtime.show(Observed { agent: id("x"), copy_of: None, ..copy("agent-x") });
    let _tasks = start(&world);
    shown(&world, |view| view.agents.len() == 2).await;
    let (handle, actor) = (Core::handle(world.ctx.clone()), Actor::local("me".to_owned()));
    let said = handle.describe(&actor, Noun::Agent, "agent-x").await.unwrap();
    assert!(format!("{said:?}").contains(":adopt"), "{said:?}");
    let restart = |name: &str| Command::Restart {
        targets: Targets { noun: Noun::Agent, names: vec![name.to_owned()] },
    };
    for (command, told) in [
        (restart("x"), "runs without a record: adopt it"),
        (restart(A), "copy of pool p's own workload"),
        (Command::Adopt { workloads: vec![A.to_owned()], end: false }, "copy of pool p's own"),
    ] {
        match handle.plan(&actor, command).await {
            Err(CommandError::Refused { message }) => assert!(message.contains(told), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(handle.document(&actor, Noun::Agent, "x").await.is_err());
    // those of one tenant know nothing of it
    let theirs = Actor { tenant: Some("blue".to_owned()), ..actor };
    let error = handle.describe(&theirs, Noun::Agent, "agent-x").await.unwrap_err();
    assert!(matches!(error, CommandError::NotFound { .. }), "{error:?}");
}
