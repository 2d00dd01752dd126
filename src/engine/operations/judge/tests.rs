use serde_json::{Value, json};

use super::*;
use crate::engine::testing::loops::look;
use crate::engine::testing::{World, agent as document};
use crate::model::plan::Noun;
use crate::model::schema::Collection;

const MINUTE: i64 = 60_000;

fn target(noun: Noun, id: &str) -> TargetRef {
    TargetRef { noun, id: id.into(), name: id.into() }
}

/// The view of one world, some time after `Scene::since`.
struct Scene {
    world: World,
    since: Time,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let since = world.ctx.clock.now();
        Self { world, since }
    }

    async fn agent(&self, id: &str, change: Value) {
        let mut agent = document(id, "running");
        agent["phase_since"] = json!(self.since);
        if let (Some(agent), Value::Object(change)) = (agent.as_object_mut(), change) {
            agent.extend(change);
        }
        self.world.put(Collection::Agents, id, agent).await;
    }

    async fn pool(&self, change: Value) {
        let mut pool = json!({
            "name": "p", "desired": 2, "max": 9, "template_version": "1.0.0",
            "status": {"ready": 2, "total": 2, "updated": 2},
        });
        if let (Some(pool), Value::Object(change)) = (pool.as_object_mut(), change) {
            pool.extend(change);
        }
        self.world.put(Collection::AgentPools, "p", pool).await;
    }

    async fn judged(&self, goal: Goal, what: &TargetRef, after_millis: i64) -> StepVerdict {
        let mut view = look(&self.world).await;
        view.at = Time::from_millis(self.since.millis() + after_millis);
        judge(&goal, what, self.since, &view)
    }

    async fn of_agent(&self, phase: Phase, incarnation: u64, after_millis: i64) -> StepVerdict {
        let what = target(Noun::Agent, "a");
        self.judged(Goal::Agent { phase, incarnation }, &what, after_millis).await
    }

    async fn of_pool(&self, goal: Goal, after_millis: i64) -> StepVerdict {
        self.judged(goal, &target(Noun::Pool, "p"), after_millis).await
    }
}

fn failed(why: &str) -> StepVerdict {
    StepVerdict::Failed(why.to_owned())
}

#[tokio::test(start_paused = true)]
async fn an_old_picture_proves_nothing_and_what_is_written_is_done() {
    let what = target(Noun::Agent, "a");
    let view = FleetView::default();
    assert_eq!(judge(&Goal::AgentGone, &what, Time::EPOCH, &view), StepVerdict::Pending);
    assert_eq!(judge(&Goal::Written, &what, Time::EPOCH, &view), StepVerdict::Done);
    let stale = FleetView { loaded: true, stale_since: Some(Time::EPOCH), ..view };
    assert_eq!(judge(&Goal::AgentGone, &what, Time::EPOCH, &stale), StepVerdict::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_done_by_its_next_run_alone() {
    let scene = Scene::new();
    scene.agent("a", json!({"incarnation": 1})).await;
    assert_eq!(scene.of_agent(Phase::Running, 2, 1_000).await, StepVerdict::Pending);
    scene.agent("a", json!({"incarnation": 2})).await;
    assert_eq!(scene.of_agent(Phase::Running, 2, 1_000).await, StepVerdict::Done);
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_only_if_it_is_this_runs_own() {
    let scene = Scene::new();
    let reason = "exit code 3";
    scene.agent("a", json!({"phase": "failed", "incarnation": 1, "reason": reason})).await;
    assert_eq!(scene.of_agent(Phase::Running, 2, 1_000).await, StepVerdict::Pending);
    scene.agent("a", json!({"phase": "failed", "incarnation": 2, "reason": reason})).await;
    assert_eq!(scene.of_agent(Phase::Running, 2, 1_000).await, failed(reason));
    // on the way to a stop it is passed through
    scene.agent("a", json!({"phase": "failed", "desired": "stopped"})).await;
    assert_eq!(scene.of_agent(Phase::Stopped, 1, 1_000).await, StepVerdict::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_contrary_wish_counts_once_the_view_must_have_seen_ours() {
    let scene = Scene::new();
    scene.agent("a", json!({"desired": "stopped"})).await;
    assert_eq!(scene.of_agent(Phase::Paused, 1, 9_000).await, StepVerdict::Pending);
    assert_eq!(
        scene.of_agent(Phase::Paused, 1, 11_000).await,
        failed("overtaken: it is now wanted stopped")
    );
    scene.agent("a", json!({"phase": "deleted", "desired": "deleted"})).await;
    assert_eq!(scene.of_agent(Phase::Paused, 1, 1_000).await, failed("it was deleted meanwhile"));
    // the tombstone that a restoration began with may still be in the view
    let earlier = Time::from_millis(scene.since.millis() - 1);
    let tombstone = json!({"phase": "deleted", "desired": "deleted", "phase_since": earlier});
    scene.agent("a", tombstone).await;
    assert_eq!(scene.of_agent(Phase::Running, 2, 1_000).await, StepVerdict::Pending);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_move_for_ten_minutes_has_failed() {
    let scene = Scene::new();
    scene.agent("a", json!({"phase": "deploying", "reason": "image pull"})).await;
    assert_eq!(scene.of_agent(Phase::Running, 1, 9 * MINUTE).await, StepVerdict::Pending);
    assert_eq!(
        scene.of_agent(Phase::Running, 1, 11 * MINUTE).await,
        failed("no progress for 10 minutes: image pull")
    );
    // a long drain is no standstill
    let deadline = Time::from_millis(scene.since.millis() + 5 * MINUTE);
    scene
        .agent("a", json!({"phase": "draining", "desired": "stopped", "drain_deadline": deadline}))
        .await;
    assert_eq!(scene.of_agent(Phase::Stopped, 1, 14 * MINUTE).await, StepVerdict::Pending);
}

#[tokio::test(start_paused = true)]
async fn gone_is_a_tombstone_or_nothing_at_all() {
    let scene = Scene::new();
    let what = target(Noun::Agent, "a");
    assert_eq!(scene.judged(Goal::AgentGone, &what, 0).await, StepVerdict::Done);
    scene.agent("a", json!({"desired": "deleted"})).await;
    assert_eq!(scene.judged(Goal::AgentGone, &what, 0).await, StepVerdict::Pending);
    scene.agent("a", json!({"desired": "deleted", "phase": "deleted"})).await;
    assert_eq!(scene.judged(Goal::AgentGone, &what, 0).await, StepVerdict::Done);
    scene.agent("a", json!({})).await;
    assert_eq!(
        scene.judged(Goal::AgentGone, &what, 11_000).await,
        failed("it was restored meanwhile")
    );
    // one that should run and is not yet in the view may still come
    let other = target(Noun::Agent, "b");
    let runs = Goal::Agent { phase: Phase::Running, incarnation: 1 };
    assert_eq!(scene.judged(runs.clone(), &other, 1_000).await, StepVerdict::Pending);
    assert_eq!(scene.judged(runs, &other, 11_000).await, failed("it is gone"));
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_ready_with_as_many_as_wanted_and_no_more() {
    let scene = Scene::new();
    let ready = |ready| Goal::PoolReady { ready };
    scene.pool(json!({})).await;
    assert_eq!(scene.of_pool(ready(2), 1_000).await, StepVerdict::Done);
    scene.pool(json!({"status": {"ready": 2, "total": 3}})).await;
    assert_eq!(scene.of_pool(ready(2), 1_000).await, StepVerdict::Pending);
    assert_eq!(scene.of_pool(ready(3), 1_000).await, StepVerdict::Pending);
    assert_eq!(scene.of_pool(ready(3), 11_000).await, failed("overtaken: 2 agents are wanted now"));
    scene.pool(json!({"status": {"ready": 1, "total": 2, "reason": "no room"}})).await;
    assert_eq!(
        scene.of_pool(ready(2), 11 * MINUTE).await,
        failed("no progress for 10 minutes: no room")
    );
    // as long as a member moves, it goes on
    let moved = Time::from_millis(scene.since.millis() + 5 * MINUTE);
    scene.agent("a", json!({"pool_id": "p", "phase": "deploying", "phase_since": moved})).await;
    assert_eq!(scene.of_pool(ready(2), 11 * MINUTE).await, StepVerdict::Pending);
}

#[tokio::test(start_paused = true)]
async fn an_update_is_done_when_every_member_is_on_its_version_and_up() {
    let scene = Scene::new();
    let updated = || Goal::PoolUpdated { version: "2.0.0".into() };
    let member = |version: &str| json!({"pool_id": "p", "template_version": version});
    scene.pool(json!({"template_version": "2.0.0"})).await;
    scene.agent("a", member("2.0.0")).await;
    scene.agent("b", member("1.0.0")).await;
    assert_eq!(scene.of_pool(updated(), 1_000).await, StepVerdict::Pending);
    scene.agent("b", member("2.0.0")).await;
    assert_eq!(scene.of_pool(updated(), 1_000).await, StepVerdict::Done);
    let halted =
        json!({"template_version": "2.0.0", "status": {"halted": true, "reason": "exit 1"}});
    scene.pool(halted).await;
    assert_eq!(scene.of_pool(updated(), 11_000).await, failed("the update was halted: exit 1"));
    scene.pool(json!({"template_version": "3.0.0"})).await;
    assert_eq!(
        scene.of_pool(updated(), 11_000).await,
        failed("overtaken: version 3.0.0 is wanted now")
    );
    scene.pool(json!({"purge_at": "2026-11-22T00:00:00.000Z", "deleting": true})).await;
    assert_eq!(scene.of_pool(Goal::PoolGone, 0).await, StepVerdict::Done);
}
