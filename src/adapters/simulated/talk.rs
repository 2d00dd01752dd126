//! What simulated agents say: log lines made from the seed, and answers to a few commands.

use std::time::Duration;

use super::dice::Dice;
use crate::model::time::Time;
use crate::ports::runtime::{ExecResult, LogLine, LogOptions, RuntimeError};

/// Lines of one incarnation that can still be read; earlier ones count as lost.
const KEPT: u64 = 2_000;

/// The log of one incarnation up to a time. Line `n` is the same whenever it is read.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    dice: Dice,
    incarnation: u64,
    from: Time,
    until: Time,
}

impl Story {
    pub fn new(dice: Dice, incarnation: u64, from: Time, until: Time) -> Self {
        Self { dice, incarnation, from, until }
    }

    /// The incarnation before, which told for some minutes.
    pub fn before(self) -> Option<Self> {
        let incarnation = self.incarnation.checked_sub(1).filter(|n| *n > 0)?;
        let from = self.from.minus(Duration::from_secs(300));
        Some(Self { incarnation, from, until: self.from, ..self })
    }

    fn own(self) -> Dice {
        self.dice.about(self.incarnation)
    }

    fn period(self) -> Duration {
        self.dice.about(20).span(Duration::from_millis(400), Duration::from_secs(3))
    }

    /// How many lines there are by now.
    fn count(self) -> u64 {
        let elapsed = self.until.since(self.from).as_millis();
        u64::try_from(elapsed / self.period().as_millis().max(1)).unwrap_or(u64::MAX - 1) + 1
    }

    fn time(self, line: u64) -> Time {
        let millis = u64::try_from(self.period().as_millis()).unwrap_or(u64::MAX);
        self.from.plus(Duration::from_millis(millis.saturating_mul(line)))
    }

    pub fn lines(self, options: &LogOptions) -> Vec<LogLine> {
        let count = self.count();
        let tail = options.tail.map_or(u64::MAX, |tail| tail as u64);
        let first = count - count.min(KEPT).min(tail);
        let since = options.since.unwrap_or(Time::EPOCH);
        let all = options.tail.is_none() && options.since.is_none();
        let mut lines: Vec<LogLine> =
            (first..count).map(|n| self.line(n)).filter(|line| line.at >= since).collect();
        if let Some(line) = lines.first_mut().filter(|_| all) {
            line.skipped = first;
        }
        lines
    }

    /// The lines that have come since the story was `before`.
    pub fn lines_after(self, before: &Self) -> Vec<LogLine> {
        let told = if before.incarnation == self.incarnation { before.count() } else { 0 };
        let count = self.count();
        let first = told.max(count.saturating_sub(KEPT));
        let mut lines: Vec<LogLine> = (first..count).map(|n| self.line(n)).collect();
        if let Some(line) = lines.first_mut() {
            line.skipped = first - told;
        }
        lines
    }

    fn line(self, number: u64) -> LogLine {
        let throw = self.own().about(number);
        let id = throw.about(1).range(1000, 10_000);
        let millis = throw.about(2).range(3, 900);
        let (text, stderr) = if number == 0 {
            (format!("started, incarnation {}", self.incarnation), false)
        } else if throw.one_in(33) {
            let what =
                ["upstream timed out", "payload refused", "connection reset", "try again later"];
            let what = throw.about(3).pick(&what).unwrap_or_default();
            (format!("error task={id} took={millis}ms: {what}"), true)
        } else {
            let what = ["classified", "routed", "summarised", "answered", "stored", "acknowledged"];
            let what = throw.about(3).pick(&what).unwrap_or_default();
            (format!("{what} task={id} took={millis}ms"), false)
        };
        LogLine { at: self.time(number), stderr, text, skipped: 0 }
    }
}

/// Answers `echo`, `true`, `false` and `sleep SECONDS` as a shell would; anything else is not found.
pub async fn exec(command: &[String], timeout: Duration) -> Result<ExecResult, RuntimeError> {
    let (program, args) = command
        .split_first()
        .ok_or_else(|| RuntimeError::Rejected { message: "command: is empty".to_owned() })?;
    let done = |code, out: String, err: String| {
        Ok(ExecResult { code, stdout: out.into_bytes(), stderr: err.into_bytes() })
    };
    match program.as_str() {
        "echo" => done(0, format!("{}\n", args.join(" ")), String::new()),
        "true" => done(0, String::new(), String::new()),
        "false" => done(1, String::new(), String::new()),
        "sleep" => {
            let seconds = args.first().and_then(|text| text.parse().ok()).unwrap_or(0);
            let span = Duration::from_secs(seconds);
            tokio::time::sleep(span.min(timeout)).await; // this is what was asked for
            if span <= timeout {
                return done(0, String::new(), String::new());
            }
            let why = format!("the command did not end within {timeout:?} and was ended");
            Err(RuntimeError::OutcomeUnknown(why.into()))
        }
        _ => Err(RuntimeError::Rejected {
            message: format!(
                "command[0]: a simulated agent has no program {program:?}, only echo, true, false and sleep"
            ),
        }),
    }
}
