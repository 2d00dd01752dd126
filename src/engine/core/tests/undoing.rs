use super::*;
use crate::model::operation::{OperationStatus, UndoInfo};
use crate::model::plan::Goal;
use proptest::prelude::*;

#[tokio::test(start_paused = true)]
async fn an_undo_is_an_operation_and_can_be_undone_but_not_twice() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let before = desk.picture().await;
    let (id, _) = desk.run(pause("a")).await.unwrap();
    let (undo, operation) = desk.undo(&id).await.unwrap();
    assert_eq!(operation.title, "Undo: Pause agent a");
    assert_eq!(desk.picture().await, before);
    let first = desk.core.operation(&id).await.unwrap();
    assert_eq!(first.undone_by.as_deref(), Some(undo.as_str()));
    assert!(first.cancel_requested, "what it still had to do is called off");
    assert_eq!(
        said(desk.undo(&id).await),
        format!("\"Pause agent a\" is undone already, by {undo}")
    );
    desk.undo(&undo).await.unwrap();
    assert_eq!(desk.field(Collection::Agents, "a", "/desired").await, "paused");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_undone_says_why() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let (id, _) = desk.run(Command::Restart { targets: Targets::agents(["a"]) }).await.unwrap();
    assert_eq!(
        said(desk.undo(&id).await),
        "\"Restart agent a\" cannot be undone: a run that has ended cannot be continued"
    );
    let (id, _) = desk.run(pause("a")).await.unwrap();
    desk.world.clock.jump(25 * 3_600_000);
    assert_eq!(
        said(desk.undo(&id).await),
        "\"Pause agent a\" is too long ago: undo works for 24 h"
    );
}

#[tokio::test(start_paused = true)]
async fn a_number_that_somebody_set_anew_is_not_taken_back() {
    let desk = Desk::new();
    let (pool, _) = desk.with_pool(4).await;
    let (id, _) = desk.run(scale(6)).await.unwrap();
    let (other, _) = desk.as_role(Role::PlatformAdmin).run(scale(8)).await.unwrap();
    assert_eq!(
        said(desk.undo(&id).await),
        "somebody changed it since: pool triage wants 8 agents, no longer 6: scale it instead"
    );
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/desired").await, 8);
    desk.undo(&other).await.unwrap();
    desk.undo(&id).await.unwrap();
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/desired").await, 4);
}

#[tokio::test(start_paused = true)]
async fn what_was_scaled_half_way_goes_back_from_where_it_is() {
    let desk = Desk::new();
    let (pool, _) = desk.with_pool(35).await;
    let (id, operation) = desk.run(scale(5)).await.unwrap();
    assert_eq!(
        operation.undo,
        UndoInfo::By {
            commands: vec![json!({"verb": "scale", "pool": pool, "to": 35, "hold": false})],
            note: "back to 35".into(),
        }
    );
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/desired").await, 25);
    desk.undo(&id).await.unwrap();
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/desired").await, 35);
    assert!(desk.core.operation(&id).await.unwrap().cancel_requested);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_agent_comes_back_from_its_tombstone_unless_its_name_is_taken() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let (id, operation) =
        desk.run(Command::Delete { targets: Targets::agents(["a"]) }).await.unwrap();
    assert_eq!(operation.steps[0].goal, Goal::AgentGone);
    let mut tombstone = Value::Object(desk.body(Collection::Agents, "a").await);
    tombstone["phase"] = json!("deleted");
    tombstone["purge_at"] = json!("2026-11-22T00:00:00.000Z");
    tombstone.as_object_mut().unwrap().shift_remove("live_name");
    desk.world.put(Collection::Agents, "a", tombstone).await;
    let mut taker = crate::engine::testing::agent("a", "running");
    desk.world.put(Collection::Agents, "b", taker.clone()).await;
    assert_eq!(said(desk.undo(&id).await), "the name a is taken by agent b by now");
    taker["live_name"] = json!("c");
    desk.world.put(Collection::Agents, "b", taker).await;
    let (_, operation) = desk.undo(&id).await.unwrap();
    assert_eq!(
        operation.steps[0].goal,
        Goal::Agent { phase: crate::model::agent::Phase::Running, incarnation: 2 }
    );
    let back = desk.body(Collection::Agents, "a").await;
    assert_eq!((&back["phase"], &back["desired"]), (&json!("pending"), &json!("running")));
    assert_eq!((&back["live_name"], back.get("purge_at")), (&json!("a"), None));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pool_comes_back_with_its_agents() {
    let desk = Desk::new();
    let (pool, ids) = desk.with_pool(3).await;
    let before = desk.picture().await;
    let (id, operation) =
        desk.run(Command::Delete { targets: Targets::pool("triage") }).await.unwrap();
    assert_eq!(operation.title, "Delete pool triage and its 3 agents");
    assert_eq!(operation.steps[0].goal, Goal::PoolGone);
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/deleting").await, true);
    for id in &ids {
        assert_eq!(desk.field(Collection::Agents, id, "/desired").await, "deleted");
    }
    assert_eq!(said(desk.plan(scale(4)).await), "pool triage is deleted: undo the deletion first");
    desk.undo(&id).await.unwrap();
    assert_eq!(desk.picture().await, before);
}

#[tokio::test(start_paused = true)]
async fn an_apply_is_taken_back_field_by_field_unless_somebody_changed_it_since() {
    let desk = Desk::new();
    desk.with_pool(2).await;
    let pool = |fields| vec![manifest(Noun::Pool, "triage", fields)];
    let before = desk.picture().await;
    let (id, _) = desk.apply(pool(json!({"max": 50, "labels": {"a": "b"}}))).await;
    let (other, _) = desk.apply(pool(json!({"description": "new"}))).await;
    desk.undo(&id).await.unwrap();
    let key = desk.id(Noun::Pool, "triage").await;
    assert_eq!(desk.field(Collection::AgentPools, &key, "/max").await, 200);
    assert_eq!(desk.field(Collection::AgentPools, &key, "/description").await, "new");
    desk.undo(&other).await.unwrap();
    assert_eq!(desk.picture().await, before);
    let (id, _) = desk.apply(pool(json!({"max": 60}))).await;
    desk.apply(pool(json!({"max": 70}))).await;
    assert_eq!(
        said(desk.undo(&id).await),
        "somebody changed it since: triage: /max is 70, no longer 60"
    );
}

#[tokio::test(start_paused = true)]
async fn a_template_goes_back_under_a_version_of_its_own() {
    let desk = Desk::new();
    desk.apply(vec![worker()]).await;
    let before = desk.picture().await;
    let mut changed = worker();
    changed.fields["configuration"]["env"] = json!({"LOG_LEVEL": "debug"});
    let (id, _) = desk.apply(vec![changed]).await;
    let key = desk.id(Noun::Template, "worker").await;
    assert_eq!(desk.field(Collection::AgentTemplates, &key, "/version").await, "1.0.1");
    desk.undo(&id).await.unwrap();
    assert_eq!(desk.field(Collection::AgentTemplates, &key, "/version").await, "1.0.2");
    assert_eq!(desk.picture().await, before);
    let gone =
        Command::Delete { targets: Targets { noun: Noun::Template, names: vec!["worker".into()] } };
    let (id, operation) = desk.run(gone).await.unwrap();
    assert_eq!(operation.status, OperationStatus::Succeeded);
    desk.undo(&id).await.unwrap();
    assert_eq!(desk.picture().await, before);
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_created_things_takes_them_away_again() {
    let desk = Desk::new();
    let pool = manifest(Noun::Pool, "triage", json!({"template": "worker", "desired": 1}));
    let router = manifest(Noun::Agent, "router", json!({"template": "worker"}));
    let (id, _) = desk.apply(vec![worker(), pool, router]).await;
    let plan = desk.plan(Command::Undo { operation: id.to_string() }).await.unwrap();
    // the template is needed until its users are gone
    assert!(
        plan.warnings.iter().any(|it| it.contains("template worker is still used by")),
        "{:?}",
        plan.warnings
    );
    assert_eq!(plan.confirm_word.as_deref(), Some("triage"));
    desk.confirm(&plan).await.unwrap();
    let router = desk.id(Noun::Agent, "router").await;
    assert_eq!(desk.field(Collection::Agents, &router, "/desired").await, "deleted");
}

#[tokio::test(start_paused = true)]
async fn nobody_undoes_or_cancels_what_another_tenant_did() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let (id, _) = desk.run(pause("a")).await.unwrap();
    let mut theirs = desk.as_role(Role::TenantAdmin);
    theirs.me.tenant = Some("other".into());
    assert!(matches!(theirs.undo(&id).await, Err(CommandError::NotFound { .. })));
    let cancelled = theirs.core.cancel(&theirs.me, &id).await;
    assert!(matches!(cancelled, Err(CommandError::NotFound { .. })), "{cancelled:?}");
    let mut own = desk.as_role(Role::TenantAdmin);
    own.me.tenant = Some("default".into());
    let (id, _) = own.run(Command::Resume { targets: Targets::agents(["a"]) }).await.unwrap();
    own.undo(&id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_paused_by_its_manifest_pauses_its_members() {
    let desk = Desk::new();
    desk.with_pool(2).await;
    let before = desk.picture().await;
    let paused = manifest(Noun::Pool, "triage", json!({"paused": true}));
    let (id, operation) = desk.apply(vec![paused]).await;
    assert_eq!(operation.steps.len(), 3);
    assert_eq!(desk.field(Collection::Agents, "a001", "/desired").await, "paused");
    desk.undo(&id).await.unwrap();
    assert_eq!(desk.picture().await, before);
    let plan = desk.plan(Command::Delete { targets: Targets::agents(["a000"]) }).await.unwrap();
    assert_eq!(plan.warnings, ["pool triage replaces the 1 agent: scale it to have fewer"]);
}

#[tokio::test(start_paused = true)]
async fn messages_go_back_to_what_they_were() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    desk.agent("b", "running", "running").await;
    let message = |kind: &str| {
        let id = |text| AgentId::new(text).unwrap();
        crate::model::message::NewMessage::new(id("a"), id("b"), kind)
    };
    let (sent, operation) =
        desk.run(Command::Send { message: message("task_request") }).await.unwrap();
    assert_eq!(operation.status, OperationStatus::Succeeded);
    let id = operation.steps[0].target.id.clone();
    assert_eq!(desk.field(Collection::AgentMessages, &id, "/status").await, "pending");
    let before = desk.picture().await;
    let (purged, operation) =
        desk.run(Command::Purge { messages: vec![id.clone()] }).await.unwrap();
    assert_eq!((operation.status, u8::from(operation.tier)), (OperationStatus::Succeeded, 3));
    assert_eq!(desk.field(Collection::AgentMessages, &id, "/status").await, "purged");
    desk.undo(&purged).await.unwrap();
    assert_eq!(desk.picture().await, before);
    desk.undo(&sent).await.unwrap();
    assert_eq!(desk.field(Collection::AgentMessages, &id, "/status").await, "cancelled");
    let (requeued, _) = desk.run(Command::Requeue { messages: vec![id.clone()] }).await.unwrap();
    assert_eq!(desk.field(Collection::AgentMessages, &id, "/status").await, "pending");
    desk.undo(&requeued).await.unwrap();
    assert_eq!(desk.field(Collection::AgentMessages, &id, "/status").await, "cancelled");
    let (_, replayed) = desk.run(Command::Replay { messages: vec![id.clone()] }).await.unwrap();
    let copy = &replayed.steps[0].target.id;
    assert_eq!(desk.field(Collection::AgentMessages, copy, "/replay_of").await, id.as_str());
    let mut bad = message("Bad Type");
    bad.to = AgentId::new("nobody").unwrap();
    let faults = said(desk.plan(Command::Send { message: bad }).await);
    assert!(
        faults.contains("/to: no agent is called \"nobody\"") && faults.contains("/message_type"),
        "{faults}"
    );
}

#[tokio::test(start_paused = true)]
async fn subscriptions_end_and_go_on_where_they_were() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let subscribe = Command::Subscribe {
        subscriber: "a".into(),
        pattern: "state.*".into(),
        publisher: None,
        conditions: Map::new(),
    };
    let (_, operation) = desk.run(subscribe.clone()).await.unwrap();
    let id = operation.steps[0].target.id.clone();
    let before = desk.picture().await;
    assert!(desk.plan(subscribe).await.unwrap().steps.is_empty());
    let (ended, _) = desk.run(Command::Unsubscribe { subscription: id.clone() }).await.unwrap();
    assert_eq!(desk.field(Collection::AgentSubscriptions, &id, "/active").await, false);
    desk.undo(&ended).await.unwrap();
    assert_eq!(desk.picture().await, before);
    let publish = Command::Publish {
        publisher: "a".into(),
        event: "state.changed".into(),
        kind: "event".into(),
        payload: Map::new(),
        ttl: Duration::from_secs(60),
    };
    let (id, operation) = desk.run(publish).await.unwrap();
    assert_eq!(operation.status, OperationStatus::Succeeded);
    assert!(said(desk.undo(&id).await).contains("may have read it already"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_done_and_undone_leaves_the_documents_as_they_were(
        verb in 0usize..7, phase in 0usize..8, desired in 0usize..4, of_pool in any::<bool>()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let outcome: Result<(), TestCaseError> = runtime.block_on(async {
            let desk = Desk::new();
            desk.with_pool(3).await;
            let phase = ["pending", "deploying", "running", "paused", "draining", "stopped", "failed", "deleted"][phase];
            let desired = ["running", "paused", "stopped", "deleted"][desired];
            let mut one = Value::Object(desk.body(Collection::Agents, "a001").await);
            one["phase"] = json!(phase);
            one["desired"] = json!(desired);
            desk.world.put(Collection::Agents, "a001", one).await;
            let targets = if of_pool { Targets::pool("triage") } else { Targets::agents(["a001", "a002"]) };
            let command = match verb {
                0 => Command::Pause { targets },
                1 => Command::Resume { targets },
                2 => Command::Stop { targets },
                3 => Command::Start { targets },
                4 => Command::Delete { targets },
                5 => scale(7),
                _ => Command::Apply { manifests: vec![
                    manifest(Noun::Pool, "triage", json!({"labels": {"x": "y"}, "min": 1, "paused": true})),
                ] },
            };
            let before = desk.picture().await;
            let plan = match desk.plan(command).await {
                Ok(plan) => plan,
                Err(CommandError::Refused { .. }) => return Ok(()),
                Err(other) => panic!("{other:?}"),
            };
            let (id, _) = desk.confirm(&plan).await.unwrap();
            match (plan.undo, desk.undo(&id).await) {
                (Ok(_), Ok(_)) => prop_assert_eq!(desk.picture().await, before),
                (Err(_), Err(CommandError::Refused { .. })) => {}
                (promised, came) => prop_assert!(false, "promised {:?}, came {:?}", promised, came),
            }
            Ok(())
        });
        outcome?;
    }
}

#[tokio::test(start_paused = true)]
async fn later_batches_of_an_undo_take_back_what_is_there_then() {
    let desk = Desk::new();
    desk.agent("wanted", "running", "paused").await;
    desk.agent("gone", "deleted", "deleted").await;
    desk.agent("so-already", "running", "running").await;
    let mut taken = crate::engine::testing::agent("taken", "deleted");
    taken["desired"] = json!("deleted");
    taken.as_object_mut().unwrap().shift_remove("live_name");
    desk.world.put(Collection::Agents, "taken", taken).await;
    desk.world
        .put(Collection::Agents, "b", crate::engine::testing::agent("taken", "running"))
        .await;
    let mut tombstone = Value::Object(desk.body(Collection::Agents, "gone").await);
    tombstone.as_object_mut().unwrap().shift_remove("live_name");
    desk.world.put(Collection::Agents, "gone", tombstone).await;
    let (id, _) = desk.run(pause("so-already")).await.unwrap();
    let mut operation = Value::Object(desk.body(Collection::Operations, id.as_str()).await);
    let step = |id: &str| {
        json!({"batch": 1, "action": "restore",
               "target": {"noun": "agent", "id": id, "name": id},
               "goal": {"until": "agent", "phase": "running", "incarnation": 1}})
    };
    operation["steps"] = json!([step("wanted"), step("gone"), step("taken"), step("nobody")]);
    let operation: Operation = serde_json::from_value(operation).unwrap();
    let released =
        crate::engine::operations::release(&desk.world.ctx, &operation, 1).await.unwrap();
    let kinds: Vec<&str> = released.changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, ["agent.wanted_back", "agent.restored"]);
    let back = released.changes[1].after.as_ref().unwrap();
    assert_eq!((&back["phase"], &back["live_name"]), (&json!("pending"), &json!("gone")));
    let why: Vec<(usize, &str)> =
        released.refused.iter().map(|(at, why)| (*at, why.as_str())).collect();
    assert_eq!(why, [(2, "the name taken is taken by now"), (3, "it is gone")]);
}
