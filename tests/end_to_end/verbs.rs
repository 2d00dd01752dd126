//! Verbs on a live fleet: what a script relies on.

use std::time::Duration;

use super::support::{
    Fleet, SMALL, agents, apply, daemon, eventually, good, json, run, running, text,
};

#[test]
fn a_fleet_is_applied_scaled_restarted_drained_and_deleted_by_verbs() {
    let fleet = Fleet::new();
    let _daemon = daemon(&fleet.dir, "2s");
    apply(&fleet.dir, SMALL);
    running(&fleet.dir, 6, Duration::from_secs(40));

    // applying again changes nothing
    let said = apply(&fleet.dir, SMALL);
    assert!(said.contains("nothing to change"), "{said}");

    // a dry run changes nothing either
    let plan = json(&fleet.dir, &["scale", "alpha", "--to", "5", "--dry-run", "-o", "json"]);
    assert_eq!(plan["command"]["to"], 5, "{plan}");
    assert_eq!(json(&fleet.dir, &["get", "pools", "alpha", "-o", "json"])[0]["desired"], 3);

    // one of the first three: of the idle the newest go when the pool shrinks, so that this one stays
    let name =
        json(&fleet.dir, &["get", "agents", "-o", "json", "--filter", "pool=alpha"])[0]["name"]
            .as_str()
            .unwrap()
            .to_owned();
    good(&fleet.dir, &["scale", "alpha", "--to", "5", "--wait=30s"]);
    running(&fleet.dir, 8, Duration::from_secs(5));

    let wide = good(&fleet.dir, &["get", "agents", "-o", "wide", "--filter", "pool=alpha"]);
    assert_eq!(wide.lines().count(), 6, "{wide}");
    let before =
        json(&fleet.dir, &["get", "agents", &name, "-o", "json"])[0]["deployment"]["pid"].clone();
    good(&fleet.dir, &["restart", &name, "--wait=30s"]);
    let after = json(&fleet.dir, &["get", "agents", &name, "-o", "json"])[0].clone();
    assert_eq!(after["incarnation"], 2, "{after}");
    assert_ne!(after["deployment"]["pid"], before);

    good(&fleet.dir, &["pause", &name, "--wait=30s"]);
    assert_eq!(json(&fleet.dir, &["get", "agents", &name, "-o", "json"])[0]["phase"], "paused");
    good(&fleet.dir, &["resume", &name, "--wait=30s"]);
    good(&fleet.dir, &["drain", &name, "--deadline", "5s", "--wait=30s"]);
    assert_eq!(json(&fleet.dir, &["get", "agents", &name, "-o", "json"])[0]["phase"], "stopped");
    good(&fleet.dir, &["start", &name, "--wait=30s"]);

    // without an id it is the last act that goes back, and the act before that next
    good(&fleet.dir, &["scale", "alpha", "--to", "4", "--wait=30s"]);
    let back = good(&fleet.dir, &["undo", "--wait=30s"]);
    assert!(back.contains("Undo: Scale pool alpha 5 → 4"), "{back}");
    running(&fleet.dir, 8, Duration::from_secs(5));
    let plan = good(&fleet.dir, &["undo", "--dry-run"]);
    assert!(plan.contains(&format!("Undo: Start agent {name}")), "{plan}");

    // ending a whole pool needs its word
    let refused = run(&fleet.dir, &["delete", "pool", "beta"]);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("--confirm"), "{}", text(&refused.stderr));
    good(&fleet.dir, &["delete", "pool", "beta", "--confirm", "beta", "--wait=40s"]);
    eventually(Duration::from_secs(10), "five processes", || {
        let count = agents(&fleet.dir).len();
        if count == 5 { Ok(()) } else { Err(count.to_string()) }
    });
}

#[test]
fn messages_are_sent_and_delivered_and_the_journal_tells_who_did_what() {
    let fleet = Fleet::new();
    let _daemon = daemon(&fleet.dir, "2s");
    apply(&fleet.dir, SMALL);
    running(&fleet.dir, 6, Duration::from_secs(40));
    let list = json(&fleet.dir, &["get", "agents", "-o", "json"]);
    let name = |at: usize| list[at]["name"].as_str().unwrap().to_owned();
    good(
        &fleet.dir,
        &[
            "send",
            "--from",
            &name(0),
            "--to",
            &name(1),
            "--type",
            "task_request",
            "--payload",
            "{\"n\": 1}",
        ],
    );
    eventually(Duration::from_secs(10), "a delivery", || {
        let all =
            json(&fleet.dir, &["get", "messages", "-o", "json", "--filter", "type=task_request"]);
        if all[0]["status"] == "delivered" { Ok(()) } else { Err(all.to_string()) }
    });
    let events = json(&fleet.dir, &["get", "events", "-o", "json", "--limit", "5000"]);
    let mut seqs: Vec<u64> =
        events.as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "the journal has gaps");
    assert!(
        events
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["actor"].as_str().unwrap().starts_with("tester@"))
    );
    let log = eventually(Duration::from_secs(10), "a log line", || {
        let log = good(&fleet.dir, &["logs", &name(1), "--tail", "50"]);
        if log.trim().is_empty() { Err("nothing yet".to_owned()) } else { Ok(log) }
    });
    assert!(!log.contains('\u{1b}'));
    let described = good(&fleet.dir, &["describe", "agent", &name(1)]);
    assert!(described.contains("running"), "{described}");
}

#[test]
fn settings_completion_and_backup_work_without_a_fleet() {
    let fleet = Fleet::new();
    let shown = good(&fleet.dir, &["config", "show"]);
    assert!(shown.contains("leader.ttl") && shown.contains("default"), "{shown}");
    assert!(good(&fleet.dir, &["completion", "bash"]).contains("_cvxc"));
    apply(&fleet.dir, SMALL);
    let copy = fleet.dir.join("copy.db");
    good(&fleet.dir, &["backup", copy.to_str().unwrap()]);
    let there =
        json(&fleet.dir, &["--store", copy.to_str().unwrap(), "get", "pools", "-o", "json"]);
    assert_eq!(there.as_array().unwrap().len(), 2);
    let again = run(&fleet.dir, &["backup", copy.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2));
}

#[test]
fn a_protected_context_takes_its_name_for_every_change_and_a_read_only_one_takes_none() {
    let fleet = Fleet::new();
    let contexts = "[prod]\nprotected = true\n[look]\nread-only = true\n";
    std::fs::write(fleet.dir.join("contexts.toml"), contexts).unwrap();
    apply(&fleet.dir, SMALL);
    let desired =
        || json(&fleet.dir, &["get", "pools", "alpha", "-o", "json"])[0]["desired"].clone();
    let scaled = |context: &str, more: &[&str]| {
        let mut args = vec!["--context", context, "scale", "alpha", "--to", "4"];
        args.extend(more);
        run(&fleet.dir, &args)
    };
    for (context, more, said) in [
        ("prod", &[][..], "--confirm \"prod\""),
        ("prod", &["--confirm", "yes"], "--confirm \"prod\""),
        ("look", &[], "read-only"),
    ] {
        let refused = scaled(context, more);
        let stderr = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(4), "{context} {more:?}: {stderr}");
        assert!(stderr.contains(said), "{context} {more:?}: {stderr}");
        assert_eq!(desired(), 3, "{context} {more:?}");
    }
    // a plan is only looked at
    assert!(scaled("prod", &["--dry-run"]).status.success());
    assert!(scaled("look", &["--dry-run"]).status.success());
    assert!(scaled("prod", &["--confirm", "prod"]).status.success());
    assert_eq!(desired(), 4);

    // what reaches into an agent takes it too; with it, this fleet has nobody to reach
    let deploy =
        ["--context", "prod", "deploy", "solo", "--template", "worker", "--confirm", "prod"];
    good(&fleet.dir, &deploy);
    for (verb, rest) in [("exec", &["--", "true"][..]), ("port-forward", &["8080"])] {
        let asked = |confirm: &[&str]| {
            let mut args = vec!["--context", "prod", verb, "solo"];
            args.extend(confirm);
            args.extend(rest);
            text(&run(&fleet.dir, &args).stderr)
        };
        let refused = asked(&[]);
        assert!(refused.contains("--confirm \"prod\""), "{verb}: {refused}");
        if verb == "exec" {
            let told = asked(&["--confirm", "prod"]);
            assert!(!told.contains("--confirm"), "{told}");
        }
    }
}
