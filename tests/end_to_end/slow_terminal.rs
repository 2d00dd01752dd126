//! The console on a bad line: keys work, what is shown is the newest, the engine is held up by nothing, and a terminal that
//! goes away takes the console with it but no agent.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Fleet, SMALL, agents, apply, eventually, json, running};
use super::terminal::{Console, FAST};

const SOON: Duration = Duration::from_secs(20);

/// Seconds since each loop of the leader last ran, as another process sees it.
fn ages(dir: &std::path::Path) -> Vec<(String, f64)> {
    let status = json(dir, &["status", "-o", "json"]);
    let now = jiff::Timestamp::now();
    let age = |it: &Value| {
        let ran: jiff::Timestamp = it["last_run"].as_str()?.parse().ok()?;
        Some((it["name"].as_str()?.to_owned(), now.duration_since(ran).as_secs_f64()))
    };
    status["loops"].as_array().unwrap().iter().filter_map(age).collect()
}

fn nobody_is_held_up(dir: &std::path::Path) {
    // health looks every five seconds, and the lease that tells of it is renewed every five
    eventually(SOON, "a run of the health loop not long ago", || {
        let ages = ages(dir);
        let recent = ages.iter().any(|(name, age)| name == "health" && *age < 15.0);
        if recent { Ok(()) } else { Err(format!("{ages:?}")) }
    });
}

/// A console that leads a played fleet in which a hundred things happen a second.
fn busy(fleet: &Fleet, rate: usize) -> Console {
    let args = ["demo", "--simulated", "200", "--updates", "100"];
    let console = Console::on_a_line(&fleet.dir, &args, &[], (30, 110), rate);
    console.wait_for("fleet-0-", SOON * 3);
    console
}

#[test]
fn on_a_line_of_4_kilobytes_a_second_keys_work_and_the_newest_picture_comes() {
    let fleet = Fleet::new();
    let console = busy(&fleet, 4_096);
    // a key held down, faster than the line takes pictures of it
    for _ in 0..40 {
        console.keys("j");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let pressed = Instant::now();
    console.keys(":pools\r");
    console.wait_for("pools(all)", SOON);
    let took = pressed.elapsed();
    assert!(took < Duration::from_secs(8), "the page came after {took:?}");
    nobody_is_held_up(&fleet.dir);
    console.keys(":q\r");
    console.ended(SOON);
}

#[test]
fn a_terminal_that_stops_holds_up_nobody_and_shows_the_newest_picture_when_it_goes_on() {
    let fleet = Fleet::new();
    let console = busy(&fleet, FAST);
    console.line(0);
    let stopped = Instant::now();
    console.keys(":pools\r");
    while stopped.elapsed() < Duration::from_secs(30) {
        std::thread::park_timeout(Duration::from_secs(1));
    }
    nobody_is_held_up(&fleet.dir);
    assert!(!console.text().contains("pools(all)"), "nothing was taken meanwhile");
    console.keys(":templates\r");
    console.line(FAST);
    let went_on = Instant::now();
    console.wait_for("templates(all)", SOON);
    assert!(went_on.elapsed() < Duration::from_secs(4), "{:?}", went_on.elapsed());
    console.keys(":q\r");
    console.ended(SOON);
}

#[test]
fn a_terminal_that_is_closed_ends_the_console_within_a_second_and_no_agent() {
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    let console = Console::open(&fleet.dir, &[], &[], (24, 80));
    console.wait_for("alpha", SOON);
    eventually(SOON * 2, "six agents", || {
        let found = agents(&fleet.dir);
        if found.len() == 6 { Ok(()) } else { Err(format!("{found:?}")) }
    });
    let before = agents(&fleet.dir);
    let (pid, _ending) = console.hang_up();
    let closed = Instant::now();
    let path = format!("/proc/{pid}/stat");
    eventually(Duration::from_secs(15), "the end of the console", || {
        let state = std::fs::read_to_string(&path).unwrap_or_default();
        let over = state.is_empty() || state.contains(") Z ");
        if over { Ok(()) } else { Err(state) }
    });
    assert!(closed.elapsed() < Duration::from_secs(2), "{:?}", closed.elapsed());
    assert_eq!(agents(&fleet.dir), before, "they run on, each once");
    let _daemon = super::support::daemon(&fleet.dir, "2s");
    running(&fleet.dir, 6, SOON);
}
