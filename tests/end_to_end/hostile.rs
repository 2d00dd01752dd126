//! Text that others wrote reaches no terminal raw, whichever verb prints it.

use std::time::Duration;

use super::support::{Fleet, apply, cvxc, daemon, eventually, good, json, running};

/// Clipboard write, screen clear, C1, bidi override, zero-width, a title, and a bell.
const EVIL: &str =
    "x\u{1b}]52;c;cHduZWQ=\u{7}\u{1b}[2J\u{9b}31m\u{202e}abc\u{200b}\u{85}\r\u{1b}]0;t\u{7}y";

/// What a terminal obeys or what changes how text looks.
fn obeyed(text: &str) -> Option<char> {
    text.chars().find(|c| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
    })
}

#[test]
fn no_verb_prints_what_a_terminal_would_obey() {
    let fleet = Fleet::new();
    let _daemon = daemon(&fleet.dir, "2s");
    // YAML takes no such character raw
    let evil: String = EVIL.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    let evil = format!("\"{evil}\"");
    apply(
        &fleet.dir,
        &format!(
            "kind: Template\nname: printer\ntype: worker\ndescription: {evil}\nconfiguration:\n  command: [/bin/sh, -c, 'printf \"\\033]52;c;cHduZWQ=\\007\\033[2J\\302\\233\\342\\200\\256z\\n\"; head -c 1000000 /dev/zero | tr \"\\\\0\" a; echo; sleep 600']\n  env: {{SAID: {evil}}}\n  resources: {{limits: {{cpu: 500m, memory: 256Mi}}}}\n---\nkind: Pool\nname: loud\ndescription: {evil}\ntemplate: printer\ndesired: 2\nmin: 0\nmax: 4\n"
        ),
    );
    running(&fleet.dir, 2, Duration::from_secs(40));
    let list = json(&fleet.dir, &["get", "agents", "-o", "json"]);
    let name = |at: usize| list[at]["name"].as_str().unwrap().to_owned();
    let payload = serde_json::json!({ "text": EVIL }).to_string();
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
            &payload,
            "--reason",
            EVIL,
        ],
    );
    let log = eventually(Duration::from_secs(10), "the log", || {
        let log = good(&fleet.dir, &["logs", &name(0)]);
        if log.lines().count() >= 2 { Ok(log) } else { Err(log) }
    });
    assert!(
        log.contains("52;c;") && log.len() < 200_000,
        "the line is shown, made safe and cut: {} bytes",
        log.len()
    );
    let mut printed = vec![log];
    for args in [
        &["get", "agents", "-o", "wide"][..],
        &["get", "agents", "-o", "json"],
        &["get", "agents", "-o", "yaml"],
        &["get", "pools", "-o", "wide"],
        &["get", "templates", "-o", "wide"],
        &["get", "templates", "-o", "json"],
        &["get", "templates", "-o", "yaml"],
        &["get", "messages", "-o", "wide"],
        &["get", "messages", "-o", "json"],
        &["get", "messages", "-o", "yaml"],
        &["get", "events", "-o", "wide"],
        &["get", "events", "-o", "json"],
        &["get", "operations", "-o", "wide"],
        &["get", "operations", "-o", "yaml"],
        &["describe", "template", "printer"],
        &["describe", "pool", "loud"],
        &["describe", "agent", &name(0)],
        &["status"],
    ] {
        printed.push(good(&fleet.dir, args));
    }
    let refused = cvxc(&fleet.dir).args(["get", "agents", "--filter", EVIL]).output().unwrap();
    printed.push(super::support::text(&refused.stderr));
    let refused = cvxc(&fleet.dir).args(["describe", "pool", EVIL]).output().unwrap();
    printed.push(super::support::text(&refused.stderr));
    for text in &printed {
        assert_eq!(obeyed(text), None, "{text:?}");
    }
}
