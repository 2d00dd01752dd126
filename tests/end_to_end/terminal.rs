//! The console in a pseudo-terminal: keys in, screen out, a clean end however it comes.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::support::{Fleet, SMALL, apply, daemon, eventually, program, running, signal};

/// A console on a screen that the test can read.
pub struct Console {
    child: Ending,
    input: Mutex<Box<dyn Write + Send>>,
    screen: Arc<Mutex<vt100::Parser>>,
    raw: Arc<Mutex<Vec<u8>>>,
    /// Bytes a second that the terminal takes: 0 is one that has stopped.
    rate: Arc<AtomicUsize>,
    pid: u32,
    _master: Box<dyn MasterPty + Send>,
}

/// As fast as it can.
pub const FAST: usize = usize::MAX;
/// It goes away.
pub const GONE: usize = usize::MAX - 1;

/// Waits as long as a terminal of this rate needs for `count` bytes; false when it has gone away.
fn takes(rate: &AtomicUsize, count: usize) -> bool {
    let mut left = count as f64;
    loop {
        let step = match rate.load(Ordering::SeqCst) {
            FAST => return true,
            GONE => return false,
            rate => rate as f64 / 100.0,
        };
        if left <= 0.0 {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(10));
        left -= step;
    }
}

impl Console {
    /// Opens the console with more arguments and environment; `size` is rows and columns.
    pub fn open(dir: &Path, args: &[&str], environment: &[(&str, &str)], size: (u16, u16)) -> Self {
        Self::on_a_line(dir, args, environment, size, FAST)
    }

    /// The same on a terminal that takes `rate` bytes a second.
    pub fn on_a_line(
        dir: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
        size: (u16, u16),
        rate: usize,
    ) -> Self {
        let (rows, cols) = size;
        let rate = Arc::new(AtomicUsize::new(rate));
        let pair = native_pty_system()
            .openpty(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 })
            .unwrap();
        let mut command = CommandBuilder::new(program());
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("CVXC_") || name == "NO_COLOR")
        {
            command.env_remove(name);
        }
        command.env("CVXC_DATA_DIR", dir);
        command.env("TERM", "xterm-256color");
        command.env("USER", "tester");
        for (name, value) in environment {
            command.env(name, value);
        }
        command.args(args);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().unwrap();
        let input = pair.master.take_writer().unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            rows.try_into().unwrap(),
            cols.try_into().unwrap(),
            0,
        )));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let (shown, kept, line) = (screen.clone(), raw.clone(), rate.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            loop {
                let room = if line.load(Ordering::SeqCst) == FAST { buffer.len() } else { 256 };
                let Ok(count) = output.read(&mut buffer[..room]) else { break };
                if count == 0 || !takes(&line, count) {
                    break;
                }
                shown.lock().unwrap().process(&buffer[..count]);
                kept.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        let pid = child.process_id().unwrap();
        Self {
            child: Ending(Mutex::new(child)),
            input: Mutex::new(input),
            screen,
            raw,
            rate,
            pid,
            _master: pair.master,
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Makes the terminal slower or faster.
    pub fn line(&self, rate: usize) {
        self.rate.store(rate, Ordering::SeqCst);
    }

    /// Takes the terminal away: no signal of ours, only what the system does then.
    pub fn hang_up(self) -> (u32, Ending) {
        self.line(GONE);
        self.keys("j"); // the reader wakes, and goes
        let Self { child, input, _master, pid, .. } = self;
        drop((input, _master));
        (pid, child)
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// The row that the selection mark stands in, as soon as it is the one that is meant, looked for all the time; else
    /// where it stands after `limit`.
    pub fn marked_row(&self, limit: Duration, meant: impl Fn(u16) -> bool) -> u16 {
        let deadline = Instant::now() + limit;
        loop {
            let row = {
                let parser = self.screen.lock().unwrap();
                let screen = parser.screen();
                let is_marked = |row: &u16| {
                    (0..4).any(|column| {
                        screen.cell(*row, column).is_some_and(|cell| cell.contents() == "▌")
                    })
                };
                (0..screen.size().0.get()).find(is_marked)
            };
            match row {
                Some(row) if meant(row) || Instant::now() >= deadline => return row,
                None if Instant::now() >= deadline => panic!("no mark:\n{}", self.text()),
                Some(_) | None => std::thread::park_timeout(Duration::from_micros(100)),
            }
        }
    }

    pub fn raw(&self) -> Vec<u8> {
        self.raw.lock().unwrap().clone()
    }

    pub fn keys(&self, keys: &str) {
        let mut input = self.input.lock().unwrap();
        input.write_all(keys.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    pub fn wait_for(&self, word: &str, limit: Duration) -> String {
        eventually(limit, &format!("{word:?} on the screen"), || {
            let text = self.text();
            if text.contains(word) { Ok(text) } else { Err(format!("\n{text}")) }
        })
    }

    /// Waits for the end; true when the program said that all was well.
    pub fn ended(&self, limit: Duration) -> bool {
        eventually(limit, "the end of the console", || {
            let over = self.child.0.lock().unwrap().try_wait().unwrap();
            over.map(|status| status.success()).ok_or_else(|| format!("\n{}", self.text()))
        })
    }

    /// Whether the terminal has its own screen, its cursor and its wrapping back.
    pub fn restored(&self) -> Result<(), String> {
        let raw = self.raw();
        let last = |code: &[u8]| raw.windows(code.len()).rposition(|window| window == code);
        if last(b"\x1b[?1049l") <= last(b"\x1b[?1049h") {
            return Err("the alternate screen was not left".into());
        }
        if last(b"\x1b[?25h") < last(b"\x1b[?25l") {
            return Err("the cursor is hidden".into());
        }
        Ok(())
    }
}

/// Ends the program with the test.
pub struct Ending(Mutex<Box<dyn Child + Send + Sync>>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap();
        child.kill().ok();
        child.wait().ok();
    }
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn every_page_is_reached_by_its_name_at_both_sizes() {
    let fleet = Fleet::new();
    let _daemon = daemon(&fleet.dir, "2s");
    apply(&fleet.dir, SMALL);
    running(&fleet.dir, 6, Duration::from_secs(40));
    for size in [(50, 200), (24, 80)] {
        let console = Console::open(&fleet.dir, &[], &[], size);
        console.wait_for("alpha", SOON);
        for page in ["pools", "templates", "messages", "health", "events", "operations", "agents"] {
            console.keys(&format!(":{page}\r"));
            console.wait_for(&format!("{page}("), SOON);
        }
        console.keys("?");
        console.wait_for("Open the command bar", SOON);
        console.keys("\x1b"); // apart from what follows, or it would be alt-:
        console.wait_for("agents(all)", SOON);
        console.keys(":q\r");
        assert!(console.ended(SOON));
        console.restored().unwrap();
    }
}

#[test]
fn the_terminal_is_given_back_after_sigterm_and_after_a_panic() {
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    let console = Console::open(&fleet.dir, &["--observe"], &[], (24, 80));
    console.wait_for("agents", SOON);
    signal(console.pid(), rustix::process::Signal::TERM);
    console.ended(SOON);
    console.restored().unwrap();

    let console = Console::open(&fleet.dir, &["--observe"], &[("CVXC_TEST_PANIC", "1")], (24, 80));
    console.wait_for("agents", SOON);
    console.keys("!");
    assert!(!console.ended(SOON), "a panic is no success");
    console.restored().unwrap();
    assert!(console.text().contains("panic") || !console.raw().is_empty());
}

#[test]
fn a_terminal_that_goes_away_ends_the_console_within_a_second() {
    let fleet = Fleet::new();
    apply(&fleet.dir, SMALL);
    let console = Console::open(&fleet.dir, &["--observe"], &[], (24, 80));
    console.wait_for("agents", SOON);
    signal(console.pid(), rustix::process::Signal::HUP);
    console.ended(Duration::from_secs(1));
}

#[test]
fn a_pool_is_edited_in_the_operators_editor_and_the_screen_comes_back() {
    let fleet = Fleet::new();
    let _daemon = daemon(&fleet.dir, "2s");
    apply(&fleet.dir, SMALL);
    running(&fleet.dir, 6, Duration::from_secs(40));
    let editor = [("EDITOR", "sed -i /desired/s/3/4/")];
    let console = Console::open(&fleet.dir, &["--observe"], &editor, (30, 120));
    console.wait_for("alpha", SOON);
    console.keys(":pools alpha\r");
    console.wait_for("pools(", SOON);
    console.keys("e");
    let shown = console.wait_for("Edit pool alpha", SOON);
    assert!(shown.contains("-desired: 3") && shown.contains("+desired: 4"), "{shown}");
    console.keys("y");
    running(&fleet.dir, 7, Duration::from_secs(20));
}

#[test]
fn a_shell_beside_an_agent_has_the_terminal_until_it_ends_and_the_console_comes_back() {
    let fleet = Fleet::new();
    let _daemon = daemon(&fleet.dir, "2s");
    apply(&fleet.dir, SMALL);
    running(&fleet.dir, 6, Duration::from_secs(40));
    let console = Console::open(&fleet.dir, &["--observe"], &[], (30, 120));
    console.wait_for("alpha", SOON);
    console.keys("s");
    console.wait_for("Shell beside", SOON);
    console.keys("y");
    console.wait_for("exit leads back to the console", SOON);
    // its environment is the agent's, and what is typed (^C, too) is the shell's
    console.keys("echo it-is-$CVXC_AGENT_ID; stty size\r");
    console.wait_for("it-is-agent-", 4 * SOON); // two programs begin before it answers
    console.wait_for("30 120", SOON);
    console.keys("echo begun-$((4+4)); sleep 600\r");
    console.wait_for("begun-8", SOON);
    console.keys("\x03");
    console.keys("echo still-$((1+1))\r");
    console.wait_for("still-2", SOON);
    console.keys("exit 5\r");
    console.wait_for("ended with 5", SOON);
    console.wait_for("agents(", SOON);
    console.keys(":q\r");
    assert!(console.ended(SOON));
    console.restored().unwrap();
}

#[test]
fn a_console_that_is_ended_while_a_shell_has_the_terminal_leaves_it_as_it_was() {
    let fleet = Fleet::new();
    let _daemon = daemon(&fleet.dir, "2s");
    apply(&fleet.dir, SMALL);
    running(&fleet.dir, 6, Duration::from_secs(40));
    let console = Console::open(&fleet.dir, &["--observe"], &[], (24, 80));
    console.wait_for("alpha", SOON);
    console.keys("s");
    console.wait_for("Shell beside", SOON);
    console.keys("y");
    console.wait_for("exit leads back", SOON);
    signal(console.pid(), rustix::process::Signal::TERM);
    console.ended(SOON);
    console.restored().unwrap();
}

#[test]
fn a_command_and_a_terminal_beside_an_agent_are_verbs_too() {
    let fleet = Fleet::new();
    let _daemon = daemon(&fleet.dir, "2s");
    apply(&fleet.dir, SMALL);
    running(&fleet.dir, 6, Duration::from_secs(40));
    let list = super::support::json(&fleet.dir, &["get", "agents", "-o", "json"]);
    let name = list[0]["name"].as_str().unwrap();
    let said =
        super::support::good(&fleet.dir, &["exec", name, "--", "sh", "-c", "echo $CVXC_AGENT_ID"]);
    assert!(said.starts_with("agent-"), "{said}");
    let run = |args: &[&str]| super::support::run(&fleet.dir, args);
    assert_eq!(run(&["exec", name, "--", "sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_eq!(run(&["exec", "-it", name, "--", "sh"]).status.code(), Some(2), "no terminal");
    assert_eq!(run(&["--readonly", "exec", name, "--", "true"]).status.code(), Some(4));
    let refused = run(&["port-forward", name, "8080"]);
    let why = super::support::text(&refused.stderr);
    assert!(!refused.status.success() && why.contains("127.0.0.1 already"), "{why}");
    let shell = Console::open(&fleet.dir, &["exec", "-it", name, "--", "sh"], &[], (24, 80));
    shell.keys("test -t 0 && echo tty-$((20+2)); exit 0\r");
    shell.wait_for("tty-22", SOON);
    assert!(shell.ended(SOON));
}
