//! The demo without a terminal: what a newcomer sees in a pipe.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Fleet, SMALL, agents, apply, cvxc, eventually, signal, text};

#[test]
fn the_headless_tour_shows_everything_and_leaves_nothing() {
    let fleet = Fleet::new();
    let tmp = fleet.dir.join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let output = cvxc(&fleet.dir)
        .env_remove("CVXC_DATA_DIR")
        .env("TMPDIR", &tmp)
        .args(["demo", "-o", "json"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", text(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["agents"]["running"].as_u64() >= Some(12), "{report}");
    assert!(report["messages"]["delivered"].as_u64() > Some(0), "{report}");
    assert!(report["messages"]["p50_ms"].as_f64().is_some(), "{report}");
    assert!(report["recoveries"].as_u64() >= Some(1), "{report}");
    let scaling = &report["scalings"][0];
    assert!(scaling["from"] != scaling["to"] && scaling["reason"] != "", "{report}");
    assert_eq!(report["leftover_processes"], 0, "{report}");
    assert_eq!(report["external"], 0, "nobody else wrote: {report}");
    assert!(agents(&tmp).is_empty(), "processes were left");
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0, "the folder was left");
}

#[test]
fn a_span_is_kept_and_teardown_is_quick() {
    let fleet = Fleet::new();
    let began = Instant::now();
    let output = cvxc(&fleet.dir)
        .env_remove("CVXC_DATA_DIR")
        .args(["demo", "--for", "5s"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(began.elapsed() >= Duration::from_secs(5));
    assert!(text(&output.stdout).contains("left over     0 processes"), "{}", text(&output.stdout));
}

#[test]
fn a_demo_whose_reader_goes_away_leaves_no_process_even_when_its_folder_is_kept() {
    let fleet = Fleet::new();
    let dir = fleet.dir.join("demo");
    let mut demo = cvxc(&dir)
        .args(["demo", "--keep", "--for", "60s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(demo.stdout.take().unwrap());
    eventually(Duration::from_secs(40), "agents that run", || {
        let count = agents(&dir).len();
        if count > 0 { Ok(()) } else { Err(String::new()) }
    });
    said.read_line(&mut String::new()).unwrap();
    drop(said);
    demo.wait().unwrap();
    assert!(agents(&dir).is_empty(), "processes were left");
    assert!(dir.join("fleet.db").exists(), "the folder was to be kept");
}

#[test]
fn a_demo_that_is_ended_by_a_signal_leaves_nothing() {
    let fleet = Fleet::new();
    let tmp = fleet.dir.join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let mut demo = cvxc(&fleet.dir)
        .env_remove("CVXC_DATA_DIR")
        .env("TMPDIR", &tmp)
        .args(["demo", "--for", "60s"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually(Duration::from_secs(40), "agents that run", || {
        if agents(&tmp).is_empty() { Err(String::new()) } else { Ok(()) }
    });
    signal(demo.id(), rustix::process::Signal::TERM);
    assert!(!demo.wait().unwrap().success());
    assert!(agents(&tmp).is_empty(), "processes were left");
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0, "the folder was left");
}

#[test]
fn a_demo_never_touches_a_fleet_that_no_demo_made() {
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    let output = cvxc(&fleet.dir).args(["demo", "--for", "1s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("--data-dir") && said.contains("no demo made it"), "{said}");
    // its own folder is opened again
    let own = fleet.dir.join("own");
    for _ in 0..2 {
        let args = ["demo", "--simulated", "3", "--for", "1s"];
        let output = cvxc(&own).args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}
