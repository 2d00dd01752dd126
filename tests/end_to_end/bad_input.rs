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
        (
            &["deploy", "agent-01a1fdfda29374b78bd8bae1d0defe88", "--template", "worker"],
            2,
            "look like an id",
        ),
        (&["demo", "--simulated", "18446744073709551615"], 2, "1 to 1000000"),
        (&["--readonly", "scale", "alpha", "--to", "2"], 4, "--readonly"),
        (&["--daemon", "get", "agents"], 2, "--daemon"),
        (&["get", "messages", "nosuch"], 2, "nosuch"),
        (&["scale", "alpha", "--to", "-1"], 2, "--to"),
        (&["drain", "pool", "alpha", "--deadline", "-1s"], 2, "--deadline"),
        (&["scale", "agent/alpha", "--to", "1"], 2, "expected a pool"),
        (&["--log-level", "nope", "get", "agents"], 2, "log.level"),
        (&["--store", ":memory:", "get", "agents"], 2, "expected a path"),
        (&["--store", "/nonexistent/fleet.db", "get", "agents"], 3, "/nonexistent/fleet.db"),
        (&["--data-dir", "/dev/null", "get", "agents"], 2, "--data-dir"),
        (&["\u{1b}]52;c;aGk=\u{7}\u{202e}"], 2, "unrecognized"),
    ];
    for (args, code, word) in cases {
        let said = refused(&fleet, args, *code);
        assert!(said.contains(word), "{args:?} should name {word:?} but said {said:?}");
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{args:?} said {said:?}");
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
    assert!(said.contains("config.toml:2: leader.ttl: expected 2s to 1h"), "{said}");
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

#[test]
fn a_count_left_empty_scales_nothing_to_nothing() {
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    let before = state(&fleet);
    let file = fleet.dir.join("empty.yaml");
    std::fs::write(&file, "kind: Pool\nname: alpha\ntemplate: worker\ndesired: ~\n").unwrap();
    let said = refused(&fleet, &["apply", "-f", file.to_str().unwrap()], 2);
    assert!(said.contains("/desired") && said.contains("got nothing"), "{said}");
    assert_eq!(state(&fleet), before);
}

#[test]
fn an_environment_that_is_no_text_stops_nothing() {
    use std::os::unix::ffi::OsStringExt;
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    let odd = std::ffi::OsString::from_vec(vec![0xff]);
    let output =
        super::support::cvxc(&fleet.dir).env("ODD", odd).args(["get", "pools"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_copy_never_lands_on_the_stores_own_files() {
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    for side in ["fleet.db-journal", "fleet.db-wal", "fleet.db"] {
        let file = fleet.dir.join(side);
        refused(&fleet, &["backup", file.to_str().unwrap()], 2);
    }
    refused(&fleet, &["backup", "/nonexistent/copy.db"], 2);
    good(&fleet.dir, &["get", "pools"]);
}

#[test]
fn a_store_that_is_a_pipe_is_refused_at_once() {
    let fleet = Fleet::new();
    let pipe = fleet.dir.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let said = refused(&fleet, &["--store", pipe.to_str().unwrap(), "get", "agents"], 3);
    assert!(said.contains("is no file"), "{said}");
}

#[test]
fn sending_again_under_the_same_key_answers_with_the_first_message() {
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    good(&fleet.dir, &["deploy", "solo", "--template", "worker"]);
    let send = || {
        let args = ["send", "--from", "solo", "--to", "solo", "--type", "x"];
        good(&fleet.dir, &[&args[..], &["--idempotency-key", "k"]].concat())
    };
    send();
    let messages = super::support::json(&fleet.dir, &["get", "messages", "-o", "json"]);
    let id = messages[0]["_key"].as_str().unwrap().to_owned();
    let said = send();
    assert!(said.contains(&id), "{said}");
    let messages = super::support::json(&fleet.dir, &["get", "messages", "-o", "json"]);
    assert_eq!(messages.as_array().unwrap().len(), 1);
}

#[test]
fn many_who_scale_at_once_all_get_their_say() {
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    let scales: Vec<_> = (0..8)
        .map(|n| {
            let to = (n % 2 + 1).to_string();
            let mut command = super::support::cvxc(&fleet.dir);
            command.args(["scale", "alpha", "--to", &to]).stdout(std::process::Stdio::piped());
            command.stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for scale in scales {
        let output = scale.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}
