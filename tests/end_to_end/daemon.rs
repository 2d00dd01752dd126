//! The daemon: leads, answers over HTTP, reloads, stops in order, and its agents go on without it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::support::{Fleet, SMALL, agents, apply, daemon, eventually, good, json, running, text};

/// The address that the daemon says it listens on.
fn address(fleet: &Fleet) -> String {
    eventually(Duration::from_secs(10), "the gateway's address", || {
        let log = std::fs::read_to_string(fleet.dir.join("daemon.err")).unwrap_or_default();
        let line =
            log.lines().rfind(|line| line.contains("gateway listens")).ok_or("no such line")?;
        let at = line.split("address=").nth(1).ok_or("no address")?;
        Ok(at.split_whitespace().next().unwrap_or_default().to_owned())
    })
}

fn http(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    text(&answer)
}

#[test]
fn it_leads_answers_and_leaves_its_agents_running() {
    let fleet = Fleet::new();
    let mut daemon = daemon(&fleet.dir, "2s");
    apply(&fleet.dir, SMALL);
    let status = running(&fleet.dir, 6, Duration::from_secs(30));
    assert_eq!(status["leader"]["pid"], daemon.pid(), "{status}");
    assert_eq!(status["store"]["ok"], true);
    // followers learn of the leader's loops from its lease, at the next renewal
    eventually(Duration::from_secs(10), "the loops", || {
        let status = json(&fleet.dir, &["status", "-o", "json"]);
        if status["loops"].as_array().unwrap().len() >= 3 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    let at = address(&fleet);
    let health = eventually(Duration::from_secs(10), "healthy", || {
        let answer = http(&at, "/health");
        if answer.contains("\"healthy\"") { Ok(answer) } else { Err(answer) }
    });
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let metrics = http(&at, "/metrics");
    assert!(metrics.contains("codevaldcortex_agents_running 6"), "{metrics}");
    assert!(http(&at, "/nosuch").starts_with("HTTP/1.1 404"));

    let before = agents(&fleet.dir);
    assert_eq!(before.len(), 6);
    let ended = daemon.terminate(Duration::from_secs(15));
    assert!(ended.success(), "{ended}");
    assert_eq!(agents(&fleet.dir), before, "agents did not go on as they were");
    let status = json(&fleet.dir, &["status", "-o", "json"]);
    assert_eq!(status["leader"]["holder"], "", "the lease was not released: {status}");
}

#[test]
fn verbs_never_lead_and_say_so() {
    let fleet = Fleet::new();
    let said = apply(&fleet.dir, SMALL);
    assert!(!said.is_empty());
    let said = good(&fleet.dir, &["scale", "alpha", "--to", "4"]);
    assert!(said.contains("nobody leads"), "{said}");
    assert!(agents(&fleet.dir).is_empty());
    let output = super::support::run(&fleet.dir, &["scale", "alpha", "--to", "5", "--wait=1s"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("nobody leads"), "{}", text(&output.stderr));
    // and the next leader brings about what was only recorded
    let _daemon = daemon(&fleet.dir, "2s");
    running(&fleet.dir, 8, Duration::from_secs(30));
}

#[test]
fn a_reload_takes_the_new_level_and_refuses_a_bad_file() {
    let fleet = Fleet::new();
    let daemon = daemon(&fleet.dir, "2s");
    address(&fleet);
    let log = || std::fs::read_to_string(fleet.dir.join("daemon.err")).unwrap();
    std::fs::write(fleet.dir.join("config.toml"), "[log]\nlevel = 7\n").unwrap();
    super::support::signal(daemon.pid(), rustix::process::Signal::HUP);
    eventually(Duration::from_secs(5), "the refusal", || {
        if log().contains("config.toml:2: log.level") { Ok(()) } else { Err(log()) }
    });
    std::fs::write(fleet.dir.join("config.toml"), "[log]\nlevel = \"debug\"\n").unwrap();
    super::support::signal(daemon.pid(), rustix::process::Signal::HUP);
    eventually(Duration::from_secs(5), "the reload", || {
        if log().contains("settings read again") { Ok(()) } else { Err(log()) }
    });
}
