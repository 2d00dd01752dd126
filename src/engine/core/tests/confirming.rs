use super::*;
use crate::model::operation::{OperationStatus, StepStatus};
use crate::model::plan::{Goal, Tier};
use proptest::prelude::*;

#[tokio::test(start_paused = true)]
async fn confirming_writes_the_operation_the_intent_and_the_trace_at_once() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let (id, operation) = desk.run(pause("a")).await.unwrap();
    assert_eq!(operation.status, OperationStatus::Running);
    assert_eq!((operation.kind.as_str(), operation.reason.as_str()), ("pause", "because"));
    assert_eq!(operation.steps[0].status, StepStatus::Running);
    assert_eq!(
        operation.steps[0].goal,
        Goal::Agent { phase: crate::model::agent::Phase::Paused, incarnation: 1 }
    );
    assert_eq!(desk.field(Collection::Agents, "a", "/desired").await, "paused");
    assert_eq!(desk.field(Collection::Agents, "a", "/phase").await, "running");
    let mut events = Vec::new();
    for seq in 1..=2 {
        events.push(desk.body(Collection::Events, &Event::key(seq)).await);
    }
    assert_eq!(events[0]["type"], "op.confirmed");
    assert_eq!(events[1]["type"], "agent.pause_requested");
    assert!(events.iter().all(|it| it["operation_id"] == id.as_str() && it["actor"] == "ann@desk"));
    let audit = desk.core.list(
        &desk.me,
        Listing {
            collection: Collection::AuditLog,
            filter: crate::model::filter::Filter::All,
            limit: 10,
            after: None,
        },
    );
    let audit = audit.await.unwrap().0;
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0].body["action"], "pause");
    assert_eq!(audit[0].body["allowed"], true);
    assert_eq!(audit[0].body["fingerprint"], operation.fingerprint);
}

#[tokio::test(start_paused = true)]
async fn a_plan_whose_target_moved_is_not_carried_out_and_the_new_one_is_shown() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let plan = desk.plan(Command::Restart { targets: Targets::agents(["a"]) }).await.unwrap();
    desk.agent("a", "failed", "running").await;
    let Err(CommandError::PlanChanged { plan: fresh }) = desk.confirm(&plan).await else {
        panic!("the plan was carried out although its target had failed");
    };
    assert_ne!(fresh.fingerprint, plan.fingerprint);
    assert_eq!(desk.field(Collection::Agents, "a", "/generation").await, 1);
    desk.confirm(&fresh).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_plan_does_not_rely_on_may_change() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let plan = desk.plan(pause("a")).await.unwrap();
    let mut moved = crate::engine::testing::agent("a", "running");
    moved["health"] = json!({"status": "degraded", "message": "cpu"});
    moved["deployment"] = json!({"pid": 7});
    desk.world.put(Collection::Agents, "a", moved).await;
    desk.confirm(&plan).await.unwrap();
    assert_eq!(desk.field(Collection::Agents, "a", "/deployment/pid").await, 7);
}

#[tokio::test(start_paused = true)]
async fn meaningless_wishes_are_refused_with_the_reason() {
    let desk = Desk::new();
    desk.agent("a", "stopped", "stopped").await;
    desk.agent("b", "running", "running").await;
    assert_eq!(
        said(desk.plan(pause("a")).await),
        "a is stopped, and only a running agent can be paused: start it first"
    );
    // among several, the others go on and the plan says who was left out
    let both = Command::Pause { targets: Targets::agents(["a", "b"]) };
    let plan = desk.plan(both).await.unwrap();
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(
        plan.warnings,
        ["left out: a is stopped, and only a running agent can be paused: start it first"]
    );
    let (_, operation) = desk.run(pause("b")).await.unwrap();
    assert_eq!(operation.steps.len(), 1);
    let again = desk.plan(pause("b")).await.unwrap();
    assert!(again.steps.is_empty(), "{again:?}");
    let (_, operation) = desk.confirm(&again).await.unwrap();
    assert_eq!(operation.status, OperationStatus::Succeeded);
    assert_eq!(operation.message, "there was nothing to do");
}

#[tokio::test(start_paused = true)]
async fn names_are_found_by_id_and_by_name_and_near_misses_are_named() {
    let desk = Desk::new();
    let mut one = crate::engine::testing::agent("router", "running");
    desk.world.put(Collection::Agents, "agent-1", one.clone()).await;
    assert_eq!(desk.plan(pause("router")).await.unwrap().steps[0].target.id, "agent-1");
    assert_eq!(desk.plan(pause("agent-1")).await.unwrap().steps[0].target.name, "router");
    assert_eq!(
        said(desk.plan(pause("ruoter")).await),
        "no agent is called \"ruoter\" (did you mean \"router\"?)"
    );
    one["tenant"] = json!("other");
    desk.world.put(Collection::Agents, "agent-2", one).await;
    assert_eq!(
        said(desk.plan(pause("router")).await),
        "\"router\" names more than one agent: agent-1 in tenant default and agent-2 in tenant other; give the id"
    );
    let mut theirs = desk.as_role(Role::TenantAdmin);
    theirs.me.tenant = Some("other".into());
    assert_eq!(theirs.plan(pause("router")).await.unwrap().steps[0].target.id, "agent-2");
    assert!(matches!(theirs.plan(pause("agent-1")).await, Err(CommandError::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn ending_many_takes_the_typed_word_and_goes_in_batches() {
    let desk = Desk::new();
    let (_, ids) = desk.with_pool(30).await;
    let few =
        desk.plan(Command::Stop { targets: Targets::agents(ids[..10].to_vec()) }).await.unwrap();
    assert_eq!((few.tier, &few.confirm_word), (Tier::Two, &None));
    let all = desk.plan(Command::Stop { targets: Targets::agents(ids.clone()) }).await.unwrap();
    assert_eq!((all.tier, all.confirm_word.as_deref()), (Tier::Three, Some("stop 30")));
    assert_eq!(all.steps.iter().map(|step| step.batch).max(), Some(2));
    let wrong = Consent { typed: Some("stop 3".into()), reason: String::new() };
    assert_eq!(said(desk.core.confirm(&desk.me, &all, wrong).await), "type \"stop 30\" to confirm");
    assert_eq!(desk.field(Collection::Agents, "a000", "/desired").await, "running");
    let (id, operation) = desk.confirm(&all).await.unwrap();
    // only the first batch is wished for; the leader releases the others
    assert_eq!(desk.field(Collection::Agents, "a009", "/desired").await, "stopped");
    assert_eq!(desk.field(Collection::Agents, "a010", "/desired").await, "running");
    assert_eq!(operation.steps[10].status, StepStatus::Waiting);
    let released =
        crate::engine::operations::release(&desk.world.ctx, &operation, 1).await.unwrap();
    assert_eq!((released.changes.len(), released.refused.len()), (10, 0));
    assert_eq!(released.changes[0].kind, "agent.stop_requested");
    desk.core.cancel(&desk.me, &id).await.unwrap();
    desk.core.cancel(&desk.me, &id).await.unwrap();
    assert!(desk.core.operation(&id).await.unwrap().cancel_requested);
    let pool = Targets::pool("triage");
    let whole = desk.plan(Command::Drain { targets: pool, deadline: None }).await.unwrap();
    assert_eq!(whole.confirm_word.as_deref(), Some("triage"));
}

#[tokio::test(start_paused = true)]
async fn a_pool_restarts_by_what_may_be_away() {
    let desk = Desk::new();
    desk.with_pool(7).await;
    let plan = desk.plan(Command::Restart { targets: Targets::pool("triage") }).await.unwrap();
    assert_eq!(plan.tier, Tier::Two);
    let batches: Vec<u32> = plan.steps.iter().map(|step| step.batch).collect();
    assert_eq!(batches, [0, 0, 0, 1, 1, 1, 2]);
    assert_eq!(plan.undo, Err("a run that has ended cannot be continued".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn scaling_shows_who_goes_and_does_just_that() {
    let desk = Desk::new();
    let (pool, _) = desk.with_pool(8).await;
    let mut pinned = Value::Object(desk.body(Collection::Agents, "a007").await);
    pinned["pinned"] = json!(true);
    desk.world.put(Collection::Agents, "a007", pinned).await;
    let up = desk.plan(scale(10)).await.unwrap();
    assert_eq!((up.tier, up.title.as_str()), (Tier::One, "Scale pool triage 8 → 10"));
    assert!(up.facts.iter().any(|it| it.name == "creates" && it.value == "2 agents"));
    assert_eq!(desk.plan(scale(11)).await.unwrap().tier, Tier::Two);
    assert_eq!(
        said(desk.plan(scale(201)).await),
        "pool triage takes 0 to 200 agents, not 201: apply the pool with another min or max first"
    );
    assert_eq!(
        said(desk.plan(scale(0)).await),
        "1 agent of the pool cannot be ended, being pinned: unpin some or scale to 1"
    );
    let down = desk.plan(scale(5)).await.unwrap();
    assert_eq!((down.tier, down.steps.len()), (Tier::Two, 4));
    assert_eq!(down.undo, Ok("back to 8".to_owned()));
    let (_, operation) = desk.confirm(&down).await.unwrap();
    assert_eq!(operation.steps[0].goal, Goal::PoolReady { ready: 5 });
    let row = desk.body(Collection::AgentPools, &pool).await;
    assert_eq!(row["desired"], 5);
    assert_eq!(row["scaling"]["hold_until"], "2026-11-21T00:10:00.000Z");
    for (i, step) in operation.steps.iter().skip(1).enumerate() {
        assert_eq!(step.target.id, down.steps[i + 1].target.id);
        assert_ne!(step.target.id, "a007");
        assert_eq!(desk.field(Collection::Agents, &step.target.id, "/desired").await, "deleted");
    }
}

#[tokio::test(start_paused = true)]
async fn the_victims_of_a_plan_stay_its_victims_when_others_fall_idle() {
    let desk = Desk::new();
    desk.with_pool(4).await;
    let plan = desk.plan(scale(3)).await.unwrap();
    let shown = plan.steps[1].target.id.clone();
    // another agent is younger now, and would be chosen by a plan made anew
    let other = if shown == "a001" { "a002" } else { "a001" };
    let mut younger = Value::Object(desk.body(Collection::Agents, other).await);
    younger["created_at"] = json!("2026-11-22T00:00:00.000Z");
    desk.world.put(Collection::Agents, other, younger).await;
    assert_eq!(desk.plan(scale(3)).await.unwrap().steps[1].target.id, other);
    let (_, operation) = desk.confirm(&plan).await.unwrap();
    assert_eq!(operation.steps[1].target.id, shown);
}

#[tokio::test(start_paused = true)]
async fn rights_are_checked_before_planning_and_refusals_are_kept() {
    let desk = Desk::new();
    desk.with_pool(3).await;
    let developer = desk.as_role(Role::Developer);
    assert_eq!(
        said(developer.plan(scale(2)).await),
        "bob@desk (developer) may not scale: it takes the right to manage"
    );
    developer.plan(pause("a000")).await.unwrap();
    let observer = desk.as_role(Role::Observer);
    assert!(matches!(observer.plan(pause("a000")).await, Err(CommandError::Denied { .. })));
    let plan = desk.plan(scale(2)).await.unwrap();
    assert!(matches!(developer.confirm(&plan).await, Err(CommandError::Denied { .. })));
    let listing = Listing {
        collection: Collection::AuditLog,
        filter: crate::model::filter::Filter::eq("allowed", false),
        limit: 10,
        after: None,
    };
    let (refusals, _) = desk.core.list(&desk.me, listing).await.unwrap();
    assert_eq!(refusals.len(), 3);
    assert!(refusals.iter().all(|it| it.body["actor"] == "bob@desk"));
    // taking back takes what doing took
    let (id, _) = desk.confirm(&plan).await.unwrap();
    let undo = Command::Undo { operation: id.to_string() };
    assert!(matches!(developer.plan(undo).await, Err(CommandError::Denied { .. })));
    assert!(matches!(
        developer.core.cancel(&developer.me, &id).await,
        Err(CommandError::Denied { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_confirmed_on_an_old_picture() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let plan = desk.plan(pause("a")).await.unwrap();
    desk.world.ctx.views.send_modify(|view| {
        let mut stale = FleetView::clone(view);
        stale.stale_since = Some(crate::model::time::Time::EPOCH);
        *view = Arc::new(stale);
    });
    assert!(matches!(desk.confirm(&plan).await, Err(CommandError::Stale)));
}

#[tokio::test(start_paused = true)]
async fn two_confirmations_of_one_plan_act_once() {
    let desk = Desk::new();
    desk.with_pool(4).await;
    let plan = desk.plan(scale(5)).await.unwrap();
    let (one, two) = tokio::join!(desk.confirm(&plan), desk.confirm(&plan));
    let changed =
        |answer: &Result<_, CommandError>| matches!(answer, Err(CommandError::PlanChanged { .. }));
    assert!(one.is_ok() && changed(&two) || two.is_ok() && changed(&one), "{one:?} {two:?}");
}

/// What an operator may change of an agent, and whether a plan about it relies on that.
const FIELDS: [(&str, bool); 8] = [
    ("phase", true),
    ("desired", true),
    ("generation", true),
    ("incarnation", true),
    ("reason", false),
    ("phase_since", false),
    ("failures", false),
    ("theirs", false),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_fingerprint_changes_just_when_a_relied_on_fact_does(which in 0usize..8, verb in 0usize..3) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let outcome: Result<(), TestCaseError> = runtime.block_on(async {
            let desk = Desk::new();
            desk.agent("a", "running", "running").await;
            let targets = Targets::agents(["a"]);
            let command = [
                Command::Restart { targets: targets.clone() },
                Command::Delete { targets: targets.clone() },
                Command::Drain { targets, deadline: None },
            ][verb].clone();
            let before = desk.plan(command.clone()).await.unwrap();
            // planning changes nothing and gives the same again
            prop_assert_eq!(&desk.plan(command.clone()).await.unwrap(), &before);
            let (field, relied) = FIELDS[which];
            let mut moved = Value::Object(desk.body(Collection::Agents, "a").await);
            moved[field] = match field {
                "phase" => json!("failed"),
                "desired" => json!("paused"),
                "phase_since" => json!("2026-11-21T00:00:05.000Z"),
                "generation" | "incarnation" | "failures" => json!(9),
                _ => json!("other"),
            };
            desk.world.put(Collection::Agents, "a", moved).await;
            let after = desk.plan(command).await.unwrap();
            prop_assert_eq!(after.fingerprint != before.fingerprint, relied, "{}", field);
            Ok(())
        });
        outcome?;
    }
}

#[tokio::test(start_paused = true)]
async fn ending_many_by_scaling_goes_in_batches_that_nobody_overtakes() {
    let desk = Desk::new();
    let (pool, _) = desk.with_pool(35).await;
    let plan = desk.plan(scale(5)).await.unwrap();
    assert_eq!((plan.tier, plan.confirm_word.as_deref()), (Tier::Three, Some("triage")));
    let goals: Vec<&Goal> =
        plan.steps.iter().filter(|step| step.action == "scale").map(|step| &step.goal).collect();
    let ready = |ready| Goal::PoolReady { ready };
    assert_eq!(goals, [&ready(25), &ready(15), &ready(5)]);
    assert_eq!(plan.steps.iter().filter(|step| step.batch == 2).count(), 11, "ten and the pool");
    let (_, operation) = desk.confirm(&plan).await.unwrap();
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/desired").await, 25);
    let release = |batch| crate::engine::operations::release(&desk.world.ctx, &operation, batch);
    let next = release(1).await.unwrap();
    assert_eq!((next.changes.len(), next.refused.len()), (11, 0));
    let written = next.changes[0].after.clone().unwrap();
    assert_eq!((&written["desired"], next.changes[0].kind), (&json!(15), "pool.scaled"));
    // somebody scales the pool between two batches: nothing of the next one is released
    desk.run(Command::Scale { pool: "triage".into(), to: 30, hold: false }).await.unwrap();
    let next = release(1).await.unwrap();
    assert_eq!((next.changes.len(), next.refused.len()), (0, 11));
    assert_eq!(next.refused[0].1, "overtaken: 30 agents are wanted now");
}

#[tokio::test(start_paused = true)]
async fn several_pools_take_one_number_each_with_its_own_targets_and_go_back_together() {
    let desk = Desk::new();
    let (first, _) = desk.with_pool(4).await;
    let other = manifest(
        Noun::Pool,
        "ocr",
        json!({"template": "worker", "desired": 2, "min": 1, "max": 9}),
    );
    desk.apply(vec![other]).await;
    let second = desk.id(Noun::Pool, "ocr").await;
    let both =
        |to| Command::ScalePools { pools: vec![first.clone(), second.clone()], to, hold: true };
    let plan = desk.plan(both(3)).await.unwrap();
    assert_eq!((plan.title.as_str(), plan.tier), ("Scale 2 pools to 3", Tier::Two));
    let fact = |name: &str| plan.facts.iter().find(|it| it.name == name).map(|it| &*it.value);
    assert_eq!(fact("triage"), Some("4 → 3, min 0 max 200"));
    assert_eq!(fact("ocr"), Some("2 → 3, min 1 max 9"));
    assert_eq!(fact("ends"), Some("1 agent, the idle and the newest first"));
    assert_eq!(plan.steps.len(), 3);
    let refused = said(desk.plan(both(50)).await);
    assert!(refused.contains("pool ocr takes 1 to 9 agents, not 50"), "{refused}");
    let none = desk.plan(both(0)).await;
    assert!(none.is_err(), "the other's least is 1");
    let (id, _) = desk.confirm(&plan).await.unwrap();
    let desired = async |pool: &str| desk.field(Collection::AgentPools, pool, "/desired").await;
    assert_eq!((desired(&first).await, desired(&second).await), (json!(3), json!(3)));
    desk.undo(&id).await.unwrap();
    assert_eq!((desired(&first).await, desired(&second).await), (json!(4), json!(2)));
}

#[tokio::test(start_paused = true)]
async fn a_protected_fleet_takes_a_typed_word_for_the_smallest_change() {
    let settings = crate::engine::context::EngineSettings {
        protected: true,
        ..crate::engine::context::EngineSettings::default()
    };
    let world = World::with(settings);
    let core = Core::new(world.ctx.clone());
    let desk = Desk { world, core, me: Actor::local("ann@desk") };
    desk.agent("a", "running", "running").await;
    desk.agent("b", "running", "running").await;
    let plan = desk.plan(pause("a")).await.unwrap();
    assert_eq!((plan.tier, plan.confirm_word.as_deref()), (Tier::Three, Some("a")));
    assert!(plan.warnings[0].contains("protected"), "{:?}", plan.warnings);
    let refused = desk.core.confirm(&desk.me, &plan, Consent::default()).await;
    assert_eq!(said(refused), "type \"a\" to confirm");
    assert_eq!(desk.field(Collection::Agents, "a", "/desired").await, "running");
    let both = Command::Pause { targets: Targets::agents(["a", "b"]) };
    assert_eq!(desk.plan(both).await.unwrap().confirm_word.as_deref(), Some("pause 2"));
    let (id, _) = desk.confirm(&plan).await.unwrap();
    let back = desk.plan(Command::Undo { operation: id.to_string() }).await.unwrap();
    assert_eq!(back.tier, Tier::Three, "the way back is a change too");
}
