//! Documents of other programs: shown as they are, left alone, rewritten on request, and put back.

use super::*;
use crate::engine::leadership::STEP_GRACE;
use crate::engine::run;
use crate::model::agent::Phase;

fn camel() -> Value {
    json!({
        "name": "ocr-1", "type": "ocr", "status": "running",
        "configuration": {"resourceLimits": {"cpu": "500m"}, "environmentVariables": {"A": "b"}},
        "createdAt": "2025-11-11T10:00:00Z",
    })
}

async fn theirs(desk: &Desk) {
    let put = async |collection, key, value| {
        desk.world.put_foreign(collection, key, object(value)).await;
    };
    put(Collection::Agents, "a1", camel()).await;
    put(Collection::Agents, "a2", json!({"name": "b", "type": "x", "state": "levitating"})).await;
    put(Collection::WorkflowExecutions, "w1", json!({"workflowId": "w", "startTime": "now"})).await;
}

#[tokio::test(start_paused = true)]
async fn each_rewrite_is_in_the_plan_and_all_of_them_can_be_taken_back() {
    let desk = Desk::new();
    theirs(&desk).await;
    let before = desk.body(Collection::Agents, "a1").await;
    let plan = desk.plan(Command::Migrate).await.unwrap();
    assert_eq!(plan.steps.len(), 2, "{plan:#?}");
    let note = &plan.steps[0].note;
    assert!(note.contains("status: \"running\" → phase: \"running\""), "{note}");
    assert!(note.contains("configuration.resourceLimits → config.resources.limits"), "{note}");
    assert!(plan.warnings.iter().any(|it| it.contains("levitating")), "{:?}", plan.warnings);
    assert_eq!(desk.body(Collection::Agents, "a1").await, before, "a plan writes nothing");
    let (id, operation) = desk.run(Command::Migrate).await.unwrap();
    assert_eq!(operation.done, 2);
    let after = desk.body(Collection::Agents, "a1").await;
    assert_eq!((&after["phase"], &after["desired"]), (&json!("running"), &json!("stopped")));
    assert_eq!(after["config"]["env"]["A"], "b");
    assert_eq!(desk.body(Collection::WorkflowExecutions, "w1").await["workflow_id"], "w");
    assert!(desk.plan(Command::Migrate).await.unwrap().steps.is_empty(), "nothing is left to do");
    let (undone, _) = desk.undo(&id).await.unwrap();
    let mut back = desk.body(Collection::Agents, "a1").await;
    back.shift_remove(crate::engine::journal::seal::FIELD);
    assert_eq!(back, before);
    assert_eq!(desk.body(Collection::WorkflowExecutions, "w1").await["workflowId"], "w");
    assert!(desk.undo(&undone).await.is_err(), "migrate again instead");
}

#[tokio::test(start_paused = true)]
async fn what_was_put_to_use_since_is_not_taken_back_and_only_administrators_migrate() {
    let desk = Desk::new();
    theirs(&desk).await;
    let denied = desk.as_role(Role::Developer).plan(Command::Migrate).await;
    assert!(matches!(denied, Err(CommandError::Denied { .. })), "{denied:?}");
    let (id, _) = desk.run(Command::Migrate).await.unwrap();
    let mut used = desk.body(Collection::Agents, "a1").await;
    used.insert("generation".into(), json!(3));
    desk.world.put(Collection::Agents, "a1", used).await;
    let refused = desk.undo(&id).await.unwrap_err().to_string();
    assert!(refused.contains("ocr-1 was changed"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_another_program_is_shown_and_left_alone() {
    let desk = Desk::new();
    theirs(&desk).await;
    let before = desk.body(Collection::Agents, "a1").await;
    let running = run::start(desk.world.ctx.clone());
    let view = desk.world.view(|view| view.loaded && view.agents.len() == 2).await;
    let row = view.agents.iter().find(|row| row.id.as_str() == "a1").unwrap();
    assert_eq!((row.name.as_str(), row.phase), ("ocr-1", Phase::Running));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(desk.body(Collection::Agents, "a1").await, before, "no loop touched it");
    let targets = Targets { noun: Noun::Agent, names: vec!["a1".into()] };
    let refused = desk.plan(Command::Restart { targets }).await.unwrap_err().to_string();
    assert!(refused.contains("cvxc migrate"), "{refused}");
    let told = desk.core.describe(&desk.me, Noun::Agent, "a1").await.unwrap();
    assert!(format!("{told:?}").contains("ocr"), "{told:?}");
    assert!(running.stop(STEP_GRACE).await.is_empty());
}
