use super::*;
use crate::model::filter::Filter;
use crate::model::operation::OperationStatus;
use crate::model::plan::{Goal, Tier};

fn pool(fields: Value) -> Manifest {
    manifest(Noun::Pool, "triage", fields)
}

#[tokio::test(start_paused = true)]
async fn templates_pools_and_agents_are_made_together_whatever_their_order() {
    let desk = Desk::new();
    let manifests = vec![
        manifest(
            Noun::Agent,
            "router",
            json!({"template": "worker", "config": {"env": {"ROLE": "router"}}}),
        ),
        pool(json!({"template": "worker", "desired": 3, "min": 1, "max": 9})),
        worker(),
    ];
    let plan = desk.plan(Command::Apply { manifests }).await.unwrap();
    assert_eq!((plan.tier, plan.title.as_str()), (Tier::One, "Apply 3 documents"));
    assert!(plan.steps.iter().all(|step| step.action == "create" && step.target.id.is_empty()));
    assert!(plan.steps[0].note.starts_with("version 1.0.0\n"), "{}", plan.steps[0].note);
    assert!(plan.steps[0].note.contains("+type: worker"), "{}", plan.steps[0].note);
    let (_, operation) = desk.confirm(&plan).await.unwrap();
    assert_eq!(operation.status, OperationStatus::Running);
    assert_eq!(operation.steps[1].goal, Goal::PoolReady { ready: 3 });
    assert_eq!(
        operation.steps[2].goal,
        Goal::Agent { phase: crate::model::agent::Phase::Running, incarnation: 1 }
    );
    assert!(operation.steps.iter().all(|step| !step.target.id.is_empty()));
    let router = desk.body(Collection::Agents, &desk.id(Noun::Agent, "router").await).await;
    assert_eq!(router["phase"], "pending");
    assert_eq!(router["type"], "worker");
    assert_eq!(router["labels"]["tier"], "gold");
    assert_eq!(router["config"]["env"], json!({"ROLE": "router"}));
    assert_eq!(router["config"]["command"], json!(["cvxc", "agent", "run"]));
    assert_eq!(router["created_by"], "ann@desk");
    let template = desk.id(Noun::Template, "worker").await;
    let version = desk.body(Collection::TemplateVersions, &format!("{template}-v1-0-0")).await;
    assert_eq!(version["template_id"], template.as_str());
    let pool = desk.body(Collection::AgentPools, &desk.id(Noun::Pool, "triage").await).await;
    assert_eq!(
        (&pool["template_id"], &pool["template_version"]),
        (&json!(template), &json!("1.0.0"))
    );
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_every_manifest_is_listed_and_nothing_is_written() {
    let desk = Desk::new();
    let mut nameless = manifest(Noun::Template, "", json!({"type": "x"}));
    nameless.source = "a.yaml:1".into();
    let mut pool = pool(json!({"template": "wroker", "desired": 3}));
    pool.source = "a.yaml:9".into();
    let small =
        manifest(Noun::Pool, "small", json!({"template": "worker", "desired": 3, "max": 2}));
    let agent =
        manifest(Noun::Agent, "a b", json!({"config": {"env": {"API_KEY": "x"}}, "zone": 1}));
    let odd = manifest(Noun::Template, "odd", json!({"odd": 1}));
    let of_odd = manifest(Noun::Pool, "of-odd", json!({"template": "odd"}));
    let both = manifest(Noun::Pool, "both", json!({"template": "nope", "min": "two"}));
    let manifests = vec![worker(), nameless, pool, small, agent, worker(), odd, of_odd, both];
    let Err(CommandError::Invalid { errors }) = desk.plan(Command::Apply { manifests }).await
    else {
        panic!("faulty manifests were planned");
    };
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "/zone: unknown field: expected one of tenant, template, version, type, labels, pinned, desired, config",
            "/name: template worker is described twice",
            "/odd: unknown field: expected one of description, type, labels, tags, configuration",
            "/min: expected a number of agents such as 3, got \"two\"",
            "a.yaml:1#/name: template name is required",
            "a.yaml:1#/configuration: template configuration is required: a command, an image, or both",
            "a.yaml:1#/configuration/resources: resource requirements are required: requests, limits, or both",
            "a.yaml:9#/template: no template is called \"wroker\"",
            "/desired: expected 0 to 2, got 3",
            "/template: no template is called \"nope\"",
        ]
    );
    assert_eq!(desk.picture().await, []);
}

#[tokio::test(start_paused = true)]
async fn applying_again_changes_nothing_and_a_change_is_one_version() {
    let desk = Desk::new();
    desk.apply(vec![worker(), pool(json!({"template": "worker", "desired": 3}))]).await;
    let again = vec![worker(), pool(json!({"template": "worker", "desired": 3}))];
    let plan = desk.plan(Command::Apply { manifests: again }).await.unwrap();
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    assert!(plan.facts.iter().any(|it| it.name == "unchanged" && it.value == "2"));
    let mut changed = worker();
    changed.fields["configuration"]["resources"]["limits"] = json!({"cpu": "1"});
    let plan = desk.plan(Command::Apply { manifests: vec![changed] }).await.unwrap();
    assert_eq!(plan.tier, Tier::Two);
    assert!(plan.steps[0].note.starts_with("version 1.0.0 → 2.0.0\n"), "{}", plan.steps[0].note);
    assert!(plan.warnings[0].contains("pool triage"), "{:?}", plan.warnings);
    let (_, operation) = desk.confirm(&plan).await.unwrap();
    assert_eq!(operation.status, OperationStatus::Succeeded);
    // the pool stays where it is until it is brought along
    let id = desk.id(Noun::Pool, "triage").await;
    assert_eq!(desk.field(Collection::AgentPools, &id, "/template_version").await, "1.0.0");
    let update = Command::SetTemplate { pool: "triage".into(), version: None };
    let plan = desk.plan(update.clone()).await.unwrap();
    let note = &plan.steps[0].note;
    assert!(note.starts_with("1.0.0 → 2.0.0\n"), "{note}");
    assert!(note.lines().any(|line| line.starts_with('+') && line.contains("limits:")), "{note}");
    let versions = plan.facts.iter().find(|it| it.name == "versions").unwrap();
    assert_eq!(versions.value, "2.0.0, 1.0.0");
    let (_, operation) = desk.confirm(&plan).await.unwrap();
    assert_eq!(
        said(desk.plan(update).await),
        "pool triage is on version 2.0.0 of worker already; there are also 1.0.0"
    );
    assert_eq!(operation.steps[0].goal, Goal::PoolUpdated { version: "2.0.0".into() });
    assert_eq!(desk.field(Collection::AgentPools, &id, "/previous_version").await, "1.0.0");
    desk.run(Command::Rollback { pool: "triage".into() }).await.unwrap();
    assert_eq!(desk.field(Collection::AgentPools, &id, "/template_version").await, "1.0.0");
    assert_eq!(desk.field(Collection::AgentPools, &id, "/previous_version").await, "2.0.0");
    let unknown = Command::SetTemplate { pool: "triage".into(), version: Some("7.0.0".into()) };
    assert_eq!(
        said(desk.plan(unknown).await),
        "template worker has no version 7.0.0; the newest is 2.0.0"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_never_had_another_version_cannot_be_rolled_back() {
    let desk = Desk::new();
    desk.with_pool(1).await;
    assert_eq!(
        said(desk.plan(Command::Rollback { pool: "triage".into() }).await),
        "pool triage has had no version before 1.0.0: there is nothing to go back to"
    );
}

#[tokio::test(start_paused = true)]
async fn fields_that_others_put_there_stay_and_only_named_ones_change() {
    let desk = Desk::new();
    desk.apply(vec![
        worker(),
        pool(json!({"template": "worker", "desired": 3, "description": "d"})),
    ])
    .await;
    let id = desk.id(Noun::Pool, "triage").await;
    let mut theirs = Value::Object(desk.body(Collection::AgentPools, &id).await);
    theirs["owner"] = json!({"team": "x"});
    desk.world.put(Collection::AgentPools, &id, theirs).await;
    desk.apply(vec![pool(json!({"max": 50}))]).await;
    let after = desk.body(Collection::AgentPools, &id).await;
    assert_eq!(after["owner"], json!({"team": "x"}));
    assert_eq!(
        (&after["max"], &after["desired"], &after["description"]),
        (&json!(50), &json!(3), &json!("d"))
    );
    assert_eq!(after["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_template_in_use_is_not_deleted_even_if_the_use_begins_in_between() {
    let desk = Desk::new();
    desk.apply(vec![worker()]).await;
    let delete =
        Command::Delete { targets: Targets { noun: Noun::Template, names: vec!["worker".into()] } };
    let plan = desk.plan(delete.clone()).await.unwrap();
    // somebody reads "no users", then the pool is made, then the deletion is written
    let template = desk.core.document(&desk.me, Noun::Template, "worker").await.unwrap();
    desk.apply(vec![pool(json!({"template": "worker"}))]).await;
    let removal = crate::ports::store::Write::Remove {
        collection: Collection::AgentTemplates,
        key: template.key.clone(),
        rev: Some(template.rev),
    };
    let late = desk.world.ctx.store.transact(vec![removal], Default::default()).await;
    assert!(matches!(late, Err(crate::ports::store::StoreError::Conflict { .. })), "{late:?}");
    assert_eq!(said(desk.confirm(&plan).await), "template worker is in use by pool triage");
    assert_eq!(said(desk.plan(delete).await), "template worker is in use by pool triage");
}

#[tokio::test(start_paused = true)]
async fn deploying_a_template_that_was_just_deleted_fails_as_a_whole() {
    let desk = Desk::new();
    desk.apply(vec![worker()]).await;
    let deploy = Command::Deploy {
        template: "worker".into(),
        version: None,
        name: "one".into(),
        pool: None,
        labels: [("zone".to_owned(), "b".to_owned())].into(),
        overrides: object(
            json!({"poll_class": "high", "resources": {"limits": {"memory": "1Gi"}}}),
        ),
    };
    let plan = desk.plan(deploy.clone()).await.unwrap();
    assert_eq!(plan.tier, Tier::One);
    let id = desk.id(Noun::Template, "worker").await;
    let body = desk.body(Collection::AgentTemplates, &id).await;
    desk.world.remove(Collection::AgentTemplates, &id).await;
    assert!(matches!(desk.confirm(&plan).await, Err(CommandError::NotFound { .. })));
    assert_eq!(desk.picture().await, []);
    desk.world.put(Collection::AgentTemplates, &id, body).await;
    desk.confirm(&plan).await.unwrap();
    let agent = desk.body(Collection::Agents, &desk.id(Noun::Agent, "one").await).await;
    assert_eq!(agent["labels"], json!({"tier": "gold", "zone": "b"}));
    assert_eq!(agent["config"]["poll_class"], "high");
    assert_eq!(agent["config"]["resources"]["limits"]["memory"], "1Gi");
    let taken = said(desk.plan(deploy).await);
    assert!(taken.starts_with("the name one is taken by agent agent-"), "{taken}");
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_may_override_is_checked_like_a_manifest() {
    let desk = Desk::new();
    desk.apply(vec![worker()]).await;
    let deploy = Command::Deploy {
        template: "worker".into(),
        version: None,
        name: "bad name".into(),
        pool: None,
        labels: Default::default(),
        overrides: object(json!({"poll_clas": "high", "grace": "-1s"})),
    };
    let Err(CommandError::Invalid { errors }) = desk.plan(deploy).await else {
        panic!("faulty overrides were planned");
    };
    let paths: Vec<&str> = errors.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["/overrides/grace", "/overrides/poll_clas", "/name"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_deployed_into_a_pool_makes_room_for_itself() {
    let desk = Desk::new();
    desk.with_pool(2).await;
    let deploy = Command::Deploy {
        template: "worker".into(),
        version: None,
        name: "third".into(),
        pool: Some("triage".into()),
        labels: Default::default(),
        overrides: Default::default(),
    };
    let before = desk.picture().await;
    let (id, _) = desk.run(deploy).await.unwrap();
    let pool = desk.id(Noun::Pool, "triage").await;
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/desired").await, 3);
    desk.undo(&id).await.unwrap();
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/desired").await, 2);
    let third = desk.id(Noun::Agent, "third").await;
    assert_eq!(desk.field(Collection::Agents, &third, "/desired").await, "deleted");
    desk.world.remove(Collection::Agents, &third).await;
    assert_eq!(desk.picture().await, before);
}

#[tokio::test(start_paused = true)]
async fn only_an_administrator_may_grant_root() {
    let desk = Desk::new();
    let mut root = worker();
    root.fields["configuration"]["security"] = json!({"run_as_user": 0});
    let apply = Command::Apply { manifests: vec![root] };
    let plan = desk.plan(apply.clone()).await.unwrap();
    assert!(plan.warnings[0].contains("running as root"), "{:?}", plan.warnings);
    let refused = said(desk.as_role(Role::Developer).plan(apply).await);
    assert_eq!(
        refused,
        "/configuration/security/run_as_user: validation failed for security_settings: running as root needs the role platform-admin"
    );
}

#[tokio::test(start_paused = true)]
async fn an_applied_agent_runs_anew_only_when_what_it_runs_changes() {
    let desk = Desk::new();
    let router = |fields: Value| manifest(Noun::Agent, "router", fields);
    desk.apply(vec![worker(), router(json!({"template": "worker"}))]).await;
    let id = desk.id(Noun::Agent, "router").await;
    let mut up = Value::Object(desk.body(Collection::Agents, &id).await);
    up["phase"] = json!("running");
    up["incarnation"] = json!(1);
    desk.world.put(Collection::Agents, &id, up).await;
    let (_, labelled) = desk.apply(vec![router(json!({"labels": {"a": "b"}}))]).await;
    assert_eq!(labelled.status, OperationStatus::Succeeded);
    assert_eq!(desk.field(Collection::Agents, &id, "/wanted_incarnation").await, 1);
    let (_, changed) = desk.apply(vec![router(json!({"config": {"args": ["-v"]}}))]).await;
    assert_eq!(changed.status, OperationStatus::Running);
    assert_eq!(desk.field(Collection::Agents, &id, "/wanted_incarnation").await, 2);
    let (_, paused) = desk.apply(vec![router(json!({"desired": "paused"}))]).await;
    assert_eq!(paused.steps[0].action, "update");
    assert_eq!(desk.field(Collection::Agents, &id, "/desired").await, "paused");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_ends_many_agents_takes_the_typed_word() {
    let desk = Desk::new();
    desk.with_pool(20).await;
    let plan =
        desk.plan(Command::Apply { manifests: vec![pool(json!({"desired": 5}))] }).await.unwrap();
    assert_eq!((plan.tier, plan.confirm_word.as_deref()), (Tier::Three, Some("triage")));
}

#[tokio::test(start_paused = true)]
async fn a_clone_has_its_own_versions() {
    let desk = Desk::new();
    desk.apply(vec![worker()]).await;
    let clone = Command::CloneTemplate { template: "worker".into(), name: "copy".into() };
    let (id, _) = desk.run(clone.clone()).await.unwrap();
    let copy = desk.id(Noun::Template, "copy").await;
    let body = desk.body(Collection::AgentTemplates, &copy).await;
    assert_eq!((&body["tags"], &body["version"]), (&json!(["cloned"]), &json!("1.0.0")));
    assert!(
        desk.world.body(Collection::TemplateVersions, &format!("{copy}-v1-0-0")).await.is_some()
    );
    assert!(said(desk.plan(clone).await).starts_with("the name copy is taken"));
    desk.undo(&id).await.unwrap();
    assert!(desk.world.body(Collection::AgentTemplates, &copy).await.is_none());
    let versions =
        desk.world.ctx.store.count(Collection::TemplateVersions, Filter::All).await.unwrap();
    assert_eq!(versions, 2, "versions are kept for ever");
}

/// What the editor would be given of a thing, and the same with one leaf changed.
async fn edited(desk: &Desk, noun: Noun, name: &str, path: &str, to: Value) -> Command {
    let document = desk.core.document(&desk.me, noun, name).await.unwrap();
    let base = crate::model::manifest::editable(noun, &document.body).unwrap();
    let mut fields = Value::Object(base.clone());
    let (parent, leaf) = path.rsplit_once('/').unwrap();
    let place = fields.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
    match to {
        Value::Null => drop(place.shift_remove(leaf)),
        to => drop(place.insert(leaf.to_owned(), to)),
    }
    let Value::Object(fields) = fields else { unreachable!("it was an object before") };
    Command::Edit { noun, name: name.to_owned(), base, fields }
}

#[tokio::test(start_paused = true)]
async fn an_edit_writes_only_what_was_changed_and_only_where_nobody_else_did() {
    let desk = Desk::new();
    let (pool, _) = desk.with_pool(3).await;
    let before = desk.picture().await;
    let command = edited(&desk, Noun::Pool, "triage", "/max", json!(50)).await;
    let plan = desk.plan(command.clone()).await.unwrap();
    assert_eq!((plan.title.as_str(), plan.tier), ("Edit pool triage", Tier::Two));
    assert!(plan.steps[0].note.contains("-max: 200\n+max: 50"), "{}", plan.steps[0].note);
    // meanwhile somebody changes another field, and the status moves
    let other = edited(&desk, Noun::Pool, "triage", "/description", json!("new")).await;
    let theirs = edited(&desk, Noun::Pool, "triage", "/max", json!(70)).await;
    desk.run(other).await.unwrap();
    let (id, _) = desk.run(command.clone()).await.unwrap();
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/max").await, 50);
    assert_eq!(desk.field(Collection::AgentPools, &pool, "/description").await, "new");
    assert_eq!(
        said(desk.plan(theirs).await),
        "somebody changed pool triage since: /max is 50, no longer 200"
    );
    let wrong = edited(&desk, Noun::Pool, "triage", "/min", json!(90)).await;
    assert!(said(desk.plan(wrong).await).contains("edit#/min: expected at most max 50, got 90"));
    let unknown = edited(&desk, Noun::Pool, "triage", "/mix", json!(1)).await;
    assert!(said(desk.plan(unknown).await).contains("unknown field: did you mean min?"));
    let nothing = edited(&desk, Noun::Pool, "triage", "/max", json!(50)).await;
    assert_eq!(said(desk.plan(nothing).await), "nothing of pool triage was changed");
    let back = edited(&desk, Noun::Pool, "triage", "/description", json!("")).await;
    desk.run(back).await.unwrap();
    desk.undo(&id).await.unwrap();
    assert_eq!(desk.picture().await, before);
}

#[tokio::test(start_paused = true)]
async fn an_edit_takes_out_what_was_taken_out_and_never_writes_what_the_editor_hid() {
    let desk = Desk::new();
    let mut template = worker();
    template.fields["configuration"]["env"] = json!({"LOG_LEVEL": "info", "OLD": "1"});
    template.fields["configuration"]["image"] = json!("worker:1");
    desk.apply(vec![template]).await;
    let key = desk.id(Noun::Template, "worker").await;
    let level = "/configuration/env/LOG_LEVEL";
    let command = edited(&desk, Noun::Template, "worker", level, json!("debug")).await;
    desk.run(command).await.unwrap();
    for gone in ["/configuration/env/OLD", "/configuration/image"] {
        let command = edited(&desk, Noun::Template, "worker", gone, Value::Null).await;
        desk.run(command).await.unwrap();
    }
    let written = desk.field(Collection::AgentTemplates, &key, "/configuration").await;
    assert_eq!(written["env"], json!({"LOG_LEVEL": "debug"}));
    assert!(written.get("image").is_none_or(|image| image == ""), "{written}");
    // somebody else wrote a secret out: it is hidden from the editor, and stays what it is
    let mut stored = Value::Object(desk.body(Collection::AgentTemplates, &key).await);
    stored["configuration"]["env"]["API_KEY"] = json!("k-123");
    desk.world.put(Collection::AgentTemplates, &key, stored).await;
    let command = edited(&desk, Noun::Template, "worker", level, json!("warn")).await;
    let Command::Edit { base, .. } = &command else { unreachable!("it is an edit") };
    assert_eq!(base["configuration"]["env"]["API_KEY"], "(masked)");
    let refused = said(desk.plan(command).await);
    assert!(refused.contains("API_KEY looks like a secret"), "{refused}");
    assert!(!refused.contains("k-123") && !refused.contains("(masked)"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_or_is_history_cannot_be_edited() {
    let desk = Desk::new();
    desk.with_pool(1).await;
    let command = edited(&desk, Noun::Pool, "triage", "/max", json!(50)).await;
    let pool = desk.id(Noun::Pool, "triage").await;
    desk.run(Command::Delete { targets: Targets::pool("triage") }).await.unwrap();
    let mut gone = Value::Object(desk.body(Collection::AgentPools, &pool).await);
    gone.as_object_mut().unwrap().shift_remove("live_name");
    desk.world.put(Collection::AgentPools, &pool, gone).await;
    let Command::Edit { noun, base, fields, .. } = command else { unreachable!("it is an edit") };
    let by_id = Command::Edit { noun, name: pool, base, fields };
    assert_eq!(said(desk.plan(by_id).await), "pool triage is deleted: undo the deletion first");
}
