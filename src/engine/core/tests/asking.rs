use super::*;
use crate::model::filter::Filter;
use crate::model::operation::OperationStatus;
use crate::ports::site::TerminalSize;
use crate::ports::store::Query;

fn lines(description: &Description, section: &str) -> Vec<String> {
    let found = description.sections.iter().find(|it| it.title == section);
    let lines = found.map(|it| it.lines.clone()).unwrap_or_default();
    lines.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_description_tells_spec_state_health_queue_operations_and_events() {
    let desk = Desk::new();
    desk.with_pool(1).await;
    let mut changed = worker();
    changed.fields.insert("description".into(), json!("\u{1b}]52;c;evil\u{7}"));
    desk.apply(vec![changed]).await;
    desk.agent("b", "running", "running").await;
    let message = crate::model::message::NewMessage::new(
        AgentId::new("b").unwrap(),
        AgentId::new("a000").unwrap(),
        "task_request",
    );
    desk.run(Command::Send { message }).await.unwrap();
    desk.world
        .put(
            Collection::AgentHealth,
            "a000",
            json!({"agent_id": "a000", "last_heartbeat": "2026-11-21T00:00:00.000Z",
                   "report": {"in flight": 3, "note": "\u{202e}olleh"},
                   "usage": {"at": "2026-11-21T00:00:00.000Z", "cpu_millis": 250, "memory_bytes": 1048576}}),
        )
        .await;
    desk.run(pause("a000")).await.unwrap();
    let it = desk.core.describe(&desk.me, Noun::Agent, "a000").await.unwrap();
    assert_eq!(it.title, "agent a000");
    assert!(
        lines(&it, "Spec")
            .contains(&"template: worker 1.0.0 (drift: the newest is 1.0.1)".to_owned()),
        "{it:#?}"
    );
    assert!(lines(&it, "Spec").contains(&"pool: triage".to_owned()));
    assert!(lines(&it, "Health").contains(&"cpu: 250m".to_owned()), "{it:#?}");
    assert!(lines(&it, "Queue").iter().any(|line| line.starts_with("pending: 1, oldest")));
    assert!(lines(&it, "Operations")[0].starts_with("Pause agent a000: running"));
    assert!(lines(&it, "Events")[0].starts_with("agent.pause_requested: "));
    let all = format!(
        "{it:?}{:?}",
        desk.core.describe(&desk.me, Noun::Template, "worker").await.unwrap()
    );
    assert!(
        !all.contains('\u{1b}') && !all.contains('\u{202e}') && !all.contains("\\u{202e}"),
        "{all}"
    );
    let pool = desk.core.describe(&desk.me, Noun::Pool, "triage").await.unwrap();
    assert!(lines(&pool, "Agents")[0].starts_with("a000: running"), "{pool:#?}");
    let template = desk.core.describe(&desk.me, Noun::Template, "worker").await.unwrap();
    assert_eq!(lines(&template, "Used by"), ["pool: triage", "agent: a000"]);
    assert_eq!(lines(&template, "Versions").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn following_ends_with_the_operation_and_not_before() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let (id, _) = desk.run(pause("a")).await.unwrap();
    let soon = desk.core.follow(&id, Duration::from_secs(5)).await;
    assert!(matches!(soon, Err(CommandError::Timeout(_))));
    let finish = async {
        tokio::task::yield_now().await;
        let mut body = Value::Object(desk.body(Collection::Operations, id.as_str()).await);
        body["done"] = json!(1);
        desk.world.put(Collection::Operations, id.as_str(), body.clone()).await;
        tokio::task::yield_now().await;
        body["status"] = json!("succeeded");
        desk.world.put(Collection::Operations, id.as_str(), body).await;
    };
    let (followed, ()) = tokio::join!(desk.core.follow(&id, Duration::from_secs(60)), finish);
    assert_eq!(followed.unwrap().status, OperationStatus::Succeeded);
    let unknown = OperationId::new("op-0").unwrap();
    assert!(matches!(
        desk.core.follow(&unknown, Duration::from_secs(1)).await,
        Err(CommandError::NotFound { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_newest_first_and_show_only_what_one_may_see() {
    let desk = Desk::new();
    for i in 0..5 {
        let mut agent = crate::engine::testing::agent(&format!("a{i}"), "running");
        agent["created_at"] = json!(format!("2026-11-21T00:00:0{i}.000Z"));
        agent["tenant"] = json!(if i == 0 { "other" } else { "default" });
        agent["config"]["env"] = json!({"API_KEY": "leaked", "LOG_LEVEL": "info"});
        desk.world.put(Collection::Agents, &format!("a{i}"), agent).await;
    }
    let mut listing =
        Listing { collection: Collection::Agents, filter: Filter::All, limit: 2, after: None };
    let mut met = Vec::new();
    loop {
        let (page, next) = desk.core.list(&desk.me, listing.clone()).await.unwrap();
        met.extend(page.into_iter().map(|it| it.key.to_string()));
        match next {
            Some(next) => listing.after = Some(next),
            None => break,
        }
    }
    assert_eq!(met, ["a4", "a3", "a2", "a1", "a0"]);
    let mut observer = desk.as_role(Role::Observer);
    observer.me.tenant = Some("other".into());
    let all =
        Listing { collection: Collection::Agents, filter: Filter::All, limit: 9, after: None };
    let (theirs, _) = observer.core.list(&observer.me, all).await.unwrap();
    assert_eq!(theirs.len(), 1);
    assert_eq!(
        theirs[0].body["config"]["env"],
        json!({"API_KEY": "(masked)", "LOG_LEVEL": "info"})
    );
    desk.world
        .put(Collection::AgentMessages, "m", json!({"payload": {"secret": 1}, "to_agent_id": "a1"}))
        .await;
    let hidden = observer.core.document(&observer.me, Noun::Message, "m").await;
    assert!(matches!(hidden, Err(CommandError::NotFound { .. })), "{hidden:?}");
    let all = |collection| Listing { collection, filter: Filter::All, limit: 9, after: None };
    let messages = observer.core.list(&observer.me, all(Collection::AgentMessages)).await.unwrap();
    assert_eq!(messages.0, []);
    let events = observer.core.list(&observer.me, all(Collection::Events)).await;
    assert!(matches!(events, Err(CommandError::Denied { .. })), "{events:?}");
    desk.world
        .put(Collection::AgentMessages, "n", json!({"payload": {"secret": 1}, "to_agent_id": "a0"}))
        .await;
    let seen = observer.core.document(&observer.me, Noun::Message, "n").await.unwrap();
    assert_eq!(seen.body["payload"], json!({"masked": "observer may not see payloads"}));
}

#[tokio::test(start_paused = true)]
async fn secrets_are_shown_only_to_those_who_manage_and_the_audit_log_says_to_whom() {
    let desk = Desk::new();
    let mut agent = crate::engine::testing::agent("a", "running");
    agent["config"]["env"] = json!({"API_KEY": "leaked"});
    desk.world.put(Collection::Agents, "a", agent).await;
    let masked = desk.core.document(&desk.me, Noun::Agent, "a").await.unwrap();
    assert_eq!(masked.body["config"]["env"], json!({"API_KEY": "(masked)"}));
    let developer = desk.as_role(Role::Developer);
    let refused = developer.core.reveal(&developer.me, Noun::Agent, "a").await;
    assert!(matches!(refused, Err(CommandError::Denied { .. })), "{refused:?}");
    let shown = desk.core.reveal(&desk.me, Noun::Agent, "a").await.unwrap();
    assert_eq!(shown.body["config"]["env"], json!({"API_KEY": "leaked"}));
    let query = Query::new(Collection::AuditLog, Filter::eq("action", "reveal"));
    let entries = desk.world.ctx.store.query(query).await.unwrap().documents;
    let told: Vec<(&str, bool)> = entries
        .iter()
        .map(|it| (it.body["actor"].as_str().unwrap(), it.body["allowed"].as_bool().unwrap()))
        .collect();
    assert!(told.contains(&("ann@desk", true)) && told.contains(&("bob@desk", false)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn commands_beside_an_agent_are_permitted_and_written_down_first() {
    let desk = Desk::new();
    desk.agent("a", "running", "running").await;
    let agent = AgentId::new("a").unwrap();
    let command = ["ls".to_owned()];
    let observer = desk.as_role(Role::Observer);
    let denied = observer.core.exec(&observer.me, &agent, &command, Duration::from_secs(1)).await;
    assert!(matches!(denied, Err(CommandError::Denied { .. })));
    let size = TerminalSize { columns: 80, rows: 24 };
    let denied = observer.core.shell(&observer.me, &agent, &command, size).await.err();
    assert!(matches!(denied, Some(CommandError::Denied { .. })), "{denied:?}");
    let denied = observer.core.forward(&observer.me, &agent, None, 80).await;
    assert!(matches!(denied, Err(CommandError::Denied { .. })), "{denied:?}");
    // whatever the runtime makes of it, the log has it
    assert!(desk.core.shell(&desk.me, &agent, &command, size).await.is_err());
    assert!(desk.core.forward(&desk.me, &agent, None, 80).await.is_err());
    for action in ["shell", "port-forward"] {
        let listing = Listing {
            collection: Collection::AuditLog,
            filter: Filter::eq("action", action),
            limit: 10,
            after: None,
        };
        let (entries, _) = desk.core.list(&desk.me, listing).await.unwrap();
        let allowed = entries.iter().filter(|it| it.body["allowed"] == json!(true)).count();
        assert_eq!((entries.len(), allowed), (2, 1), "{action}");
    }
    let _ = desk.core.exec(&desk.me, &agent, &command, Duration::from_secs(1)).await;
    let listing = Listing {
        collection: Collection::AuditLog,
        filter: Filter::eq("action", "exec"),
        limit: 10,
        after: None,
    };
    let (entries, _) = desk.core.list(&desk.me, listing).await.unwrap();
    let allowed: Vec<&Value> = entries.iter().map(|it| &it.body["allowed"]).collect();
    assert_eq!(allowed.len(), 2);
    assert!(allowed.contains(&&json!(true)) && allowed.contains(&&json!(false)));
}

#[tokio::test(start_paused = true)]
async fn hosts_and_namespaces_are_for_those_who_belong_to_no_tenant() {
    use crate::ports::site::Ask;

    let desk = Desk::new();
    let mut theirs = desk.as_role(Role::TenantAdmin);
    theirs.me.tenant = Some("acme".into());
    for ask in [Ask::Hosts, Ask::Host("h".into()), Ask::Namespaces] {
        let told = theirs.core.site(&theirs.me, ask.clone()).await;
        assert!(matches!(told, Err(CommandError::Denied { .. })), "{ask:?}: {told:?}");
    }
    assert!(theirs.core.site(&theirs.me, Ask::Allowances).await.is_ok());
    assert!(desk.core.site(&desk.me, Ask::Hosts).await.is_ok());
}
