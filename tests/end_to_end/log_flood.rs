//! An agent that writes thousands of lines a second, followed in the console: every line arrives, in order of their numbers,
//! and one that the console no longer keeps is found on disk. `CVXC_TEST_FLOOD` sets how many seconds it lasts, at about
//! 5,000 lines each; memory and time on a core are printed (`--nocapture`).

use std::time::{Duration, Instant};

use super::support::{Fleet, apply, eventually};
use super::terminal::Console;

const SOON: Duration = Duration::from_secs(30);
/// Lines at once, ten times a second.
const AT_ONCE: usize = 500;
/// What the console keeps for reading.
const KEPT: usize = 50_000;

fn manifest(rounds: usize) -> String {
    format!(
        "\
kind: Template
name: talker
type: worker
configuration:
  resources: {{limits: {{cpu: 500m, memory: 256Mi}}}}
  command:
    - sh
    - -c
    - >-
      n=0; while [ $n -lt {rounds} ]; do
      seq -f 'request %.0f was served in 3 ms' $((n * {AT_ONCE} + 1)) $((n * {AT_ONCE} + {AT_ONCE}));
      n=$((n + 1)); sleep 0.098; done; echo flood is over; exec sleep 3600
---
kind: Pool
name: flood
template: talker
desired: 1
min: 0
max: 1
"
    )
}

/// Seconds on a core, and megabytes of memory, of a process.
fn cost(pid: u32) -> (f64, u64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum();
    let status = read("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().split(' ').next().unwrap().parse().unwrap();
    (ticks / 100.0, kilobytes / 1024) // Linux counts in hundredths of a second everywhere
}

/// A count as the console writes it.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[test]
fn of_an_agent_that_writes_5000_lines_a_second_none_is_lost_and_each_is_found() {
    let seconds =
        std::env::var("CVXC_TEST_FLOOD").ok().and_then(|it| it.parse().ok()).unwrap_or(12);
    let rounds = seconds * 10;
    let lines = rounds * AT_ONCE;
    let fleet = Fleet::new();
    let console = Console::open(&fleet.dir, &[], &[], (50, 200));
    console.wait_for("agents(all)", SOON);
    apply(&fleet.dir, &manifest(rounds));
    console.wait_for("flood-", SOON);
    console.keys("l");
    console.wait_for("LIVE", SOON);
    console.keys("1"); // from the first
    console.wait_for("from the first", SOON);
    let (began, before) = (Instant::now(), cost(console.pid()));
    let mut most = 0;
    eventually(SOON + Duration::from_secs(seconds as u64 * 3), "the end of the flood", || {
        most = most.max(cost(console.pid()).1);
        let text = console.text();
        if text.contains("flood is over") { Ok(()) } else { Err(format!("\n{text}")) }
    });
    let (took, after) = (began.elapsed(), cost(console.pid()));
    println!(
        "{lines} lines in {took:?}: {:.1} % of a core, at most {most} MB ({} MB before)",
        (after.0 - before.0) / took.as_secs_f64() * 100.0,
        before.1
    );
    // the last one says that it is over
    let all = lines + 1;
    let kept = all.min(KEPT);
    let text = console.wait_for(&format!("{} lines", grouped(kept)), SOON);
    assert!(!text.contains(" lost"), "lines were lost:\n{text}");
    let out = format!("{} scrolled out", grouped(all - kept));
    assert_eq!(all > kept, text.contains(&out), "{out}:\n{text}");

    // an early one, which is looked for where the lines come from
    console.keys("&request 77 was\r");
    let text = console.wait_for("left out", SOON);
    assert!(text.contains("request 77 was served"), "{text}");
    assert!(!text.contains("request 78 was"), "{text}");
    console.keys("\x1b");
    console.wait_for(&format!("{} lines", grouped(kept)), SOON);
    // and a late one, among those that are kept
    console.keys(&format!("/request {} was\r", lines - 100));
    console.wait_for(&format!("request {} was", lines - 100), SOON);
    assert!(most < 250, "{most} MB");
    console.keys(":q\r");
}
