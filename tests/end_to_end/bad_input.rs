//! Bad input for every verb: a message that names the field and what was expected, exit code 2, nothing written.

use super::support::{Fleet, SMALL, apply, good, run, text};

/// Runs a verb that must be refused with `code`; returns what it said.
fn refused(fleet: &Fleet, args: &[&str], code: i32) -> String {
    let output = run(&fleet.dir, args);
    let said = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?} said {said:?} and printed {:?}",
        text(&output.stdout)
    );
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn state(fleet: &Fleet) -> String {
    ["agents", "pools", "templates", "operations", "events"]
        .iter()
        .map(|kind| good(&fleet.dir, &["get", kind, "-o", "json"]))
        .collect()
}

#[test]
fn every_verb_refuses_nonsense_in_words_and_writes_nothing() {
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    let before = state(&fleet);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["get", "robots"], 2, "robots"),
        (&["get", "agents", "--filter", "queeue>1"], 2, "queue"),
        (&["get", "agents", "--filter", "("], 2, "--filter"),
        (&["get", "agents", "-l", "=="], 2, "--selector"),
        (&["get", "pools", "nosuch"], 2, "nosuch"),
        (&["get", "agents", "-o", "xml"], 2, "xml"),
        (&["describe", "pool", "alhpa"], 2, "alpha"),
        (&["describe", "thing", "x"], 2, "expected agent, pool, template"),
        (&["scale", "alpha", "--to", "many"], 2, "many"),
        (&["scale", "alpha", "--to", "11"], 4, "max"),
        (&["scale", "nosuch", "--to", "1"], 2, "nosuch"),
        (&["scale", "alpha"], 2, "--to"),
        (&["restart", "agent"], 2, "agent"),
        (&["restart", "pool/alpha", "agent/x"], 2, "one kind"),
        (&["drain", "pool", "alpha", "--deadline", "soon"], 2, "span of time"),
        (&["delete", "template", "worker"], 4, "alpha"),
        (&["deploy", "x", "--template", "nosuch"], 2, "nosuch"),
        (&["deploy", "x", "--template", "worker", "--set", "image"], 2, "PATH=VALUE"),
        (&["deploy", "Bad_Name!", "--template", "worker"], 2, "name"),
        (&["deploy", "x", "--template", "worker", "-l", "tier"], 2, "k=v"),
        (&["send", "--from", "nosuch", "--to", "nosuch", "--type", "x"], 2, "nosuch"),
        (&["publish", "--from", "x", "a.b", "--payload", "[]"], 2, "JSON object"),
        (&["publish", "--from", "x", "a.b", "--payload", "{"], 2, "not valid JSON"),
        (&["subscribe", "nosuch", "["], 2, "nosuch"),
        (&["undo", "op-nosuch"], 2, "op-nosuch"),
        (&["logs", "nosuch"], 2, "nosuch"),
        (&["rollback", "alpha"], 4, "alpha"),
        (&["apply", "-f", "/nonexistent.yaml"], 2, "/nonexistent.yaml"),
        (&["--store", "mongo://x", "get", "agents"], 2, "mongo"),
        (&["--runtime", "moon", "get", "agents"], 2, "expected local or kubernetes"),
        (&["frobnicate"], 2, "frobnicate"),
    ];
    for (args, code, word) in cases {
        let said = refused(&fleet, args, *code);
        assert!(said.contains(word), "{args:?} should name {word:?} but said {said:?}");
    }
    assert_eq!(state(&fleet), before, "a refused verb wrote something");
}

#[test]
fn a_bad_manifest_lists_every_fault_with_its_place() {
    let fleet = Fleet::new();
    let file = fleet.dir.join("bad.yaml");
    let manifest = "kind: Template\nname: t\nconfiguration:\n  command: []\n  resources: {limits: {cpu: lots, memory: -1Gi}}\n---\nkind: Pool\nname: p\ntemplate: nosuch\nmin: 5\nmax: 2\ndesired: 9\ncolour: red\n";
    std::fs::write(&file, manifest).unwrap();
    let said = refused(&fleet, &["apply", "-f", file.to_str().unwrap()], 2);
    for word in ["cpu", "memory", "min", "max", "colour"] {
        assert!(said.contains(word), "{word} is not named in {said}");
    }
    assert_eq!(good(&fleet.dir, &["get", "templates", "-o", "json"]).trim(), "[]");
    assert_eq!(good(&fleet.dir, &["get", "pools", "-o", "json"]).trim(), "[]");
}

#[test]
fn settings_faults_name_file_line_and_key() {
    let fleet = Fleet::new();
    std::fs::write(fleet.dir.join("config.toml"), "[leader]\nttl = \"1s\"\n").unwrap();
    let said = refused(&fleet, &["get", "agents"], 2);
    assert!(said.contains("config.toml:2: leader.ttl: expected at least 2s"), "{said}");
}

#[test]
fn a_store_that_cannot_be_used_is_left_as_it_was() {
    let fleet = Fleet::new();
    let file = fleet.dir.join("fleet.db");
    std::fs::write(&file, b"this is no database, but somebody's precious notes".repeat(100))
        .unwrap();
    let before = std::fs::read(&file).unwrap();
    let said = refused(&fleet, &["get", "agents"], 3);
    assert!(said.contains("fleet.db"), "{said}");
    let output = run(&fleet.dir, &["daemon"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}
