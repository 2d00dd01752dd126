//! The selection mark while much changes: each key moves it to the next row and no further, whatever else is drawn meanwhile.
//! How long that takes is printed (`--nocapture`). `CVXC_TEST_PROGRAM` measures another build of the program,
//! `CVXC_TEST_AGENTS` with more agents.

use std::time::{Duration, Instant};

use super::support::{Fleet, eventually};
use super::terminal::Console;

const LIMIT: Duration = Duration::from_secs(10);
/// Enough that the 99th percentile is not the worst single key.
const KEYS: usize = 300;

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// How many run, as the header says it.
fn up(text: &str) -> u64 {
    let rest = text.split('●').nth(1).unwrap_or_default();
    let count = rest.chars().take_while(|c| c.is_ascii_digit() || c.is_whitespace());
    count.filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}

#[test]
fn while_a_thousand_things_happen_a_second_each_key_moves_the_mark_by_one_row() {
    let fleet = Fleet::new();
    let agents = std::env::var("CVXC_TEST_AGENTS").unwrap_or_else(|_| "300".into());
    let args = ["demo", "--simulated", &agents, "--updates", "1000"];
    let console = Console::open(&fleet.dir, &args, &[], (50, 200));
    console.wait_for("fleet-0-", LIMIT * 6);
    // until nearly all are up, so that what is measured is their updates
    let wanted = agents.parse::<u64>().unwrap() * 9 / 10;
    eventually(LIMIT * 12, "a fleet that is up", || {
        let text = console.text();
        if up(&text) >= wanted { Ok(()) } else { Err(format!("\n{text}")) }
    });
    let before = console.raw().len();
    let first = console.marked_row(LIMIT, |_| true);
    let mut took = Vec::new();
    let mut expected = first;
    for n in 0..KEYS {
        let down = (n / 20) % 2 == 0;
        expected = if down { expected + 1 } else { expected - 1 };
        // apart from the key before, and at no fixed distance from whatever beats in the program
        std::thread::park_timeout(Duration::from_millis(30 + (n as u64 * 7) % 23));
        let pressed = Instant::now();
        console.keys(if down { "j" } else { "k" });
        let row = console.marked_row(LIMIT, |row| row == expected);
        took.push(pressed.elapsed());
        assert_eq!(row, expected, "after key {n}");
    }
    assert!(console.raw().len() > before + 20 * KEYS, "nothing else was drawn meanwhile");
    took.sort();
    println!(
        "key to selection mark on the next row, {agents} agents, 1000 updates/s: p50 {:?}, p99 {:?}, worst {:?}",
        percentile(&took, 50),
        percentile(&took, 99),
        took[took.len() - 1]
    );
    console.keys(":q\r");
}
