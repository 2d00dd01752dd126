//! What the reference agent can be told on its command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use strum::IntoStaticStr;

use crate::model::quantity::Bytes;
use crate::model::time::span;

/// What kind of agent to be; each role is a set of defaults that the other options override.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Role {
    /// Works on each message for a while
    #[default]
    Worker,
    /// Hands messages on to other agents
    Router,
    /// Makes work for others, in waves
    Source,
    /// Fails now and then, and crashes now and then
    Flaky,
    /// Takes its time, so that a backlog builds up
    Slow,
    /// Sends each payload back
    Echo,
}

/// How a target is chosen among several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Balance {
    /// The one with the fewest waiting messages
    #[default]
    LeastLoaded,
    /// One after the other
    RoundRobin,
}

/// What log lines look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Lines {
    /// One JSON object a line
    #[default]
    Json,
    /// Plain text
    Text,
}

impl Lines {
    /// Sends this process's log lines to standard output; `RUST_LOG` chooses which (default `info`). The first call counts.
    pub fn install(self) {
        use tracing_subscriber::EnvFilter;
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
        let set = match self {
            Self::Json => log.json().flatten_event(true).try_init(),
            Self::Text => log.with_ansi(false).try_init(),
        };
        drop(set); // somebody else's subscriber is as good
    }
}

/// A span of time, or a choice between two: `50ms`, `50ms..200ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanRange {
    pub from: Duration,
    pub to: Duration,
}

impl SpanRange {
    const fn millis(from: u64, to: u64) -> Self {
        Self { from: Duration::from_millis(from), to: Duration::from_millis(to) }
    }

    /// The span at `roll`, from 0 (the shortest) to 1 (the longest).
    pub fn at(self, roll: f64) -> Duration {
        self.from + self.to.saturating_sub(self.from).mul_f64(roll.clamp(0.0, 1.0))
    }
}

impl FromStr for SpanRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let (from, to) = (span::parse(from)?, span::parse(to)?);
        if from > to {
            return Err(format!("expected the shorter span first, got {text:?}"));
        }
        Ok(Self { from, to })
    }
}

/// A number a second: `5`, `5/s`, `30/m`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a rate such as \"5/s\" or \"30/m\", got {text:?}");
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            _ => return Err(wrong()),
        };
        let fine = number.is_finite() && number > 0.0 && number <= 100_000.0;
        if fine { Ok(Self(number / seconds)) } else { Err(wrong()) }
    }
}

/// Which agents are meant: `type=worker`, `pool=triage`, `agent=agent-7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Type(String),
    /// By name or id.
    Pool(String),
    /// By name or id.
    Agent(String),
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected type=NAME, pool=NAME or agent=NAME, got {text:?}");
        let (what, name) = text.split_once('=').ok_or_else(wrong)?;
        if name.is_empty() {
            return Err(wrong());
        }
        match what {
            "type" => Ok(Self::Type(name.to_owned())),
            "pool" => Ok(Self::Pool(name.to_owned())),
            "agent" => Ok(Self::Agent(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(name) => write!(f, "type={name}"),
            Self::Pool(name) => write!(f, "pool={name}"),
            Self::Agent(name) => write!(f, "agent={name}"),
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected a share from 0 to 1, got {text:?}");
    let share: f64 = text.parse().map_err(|_| wrong())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(wrong()) }
}

/// Options of `cvxc agent run`. What is not given comes from the role.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Options {
    /// What kind of agent to be
    #[arg(long, value_enum, default_value_t = Role::Worker)]
    pub role: Role,
    /// How long one message takes: 50ms, or anything between two such as 50ms..200ms
    #[arg(long, value_name = "SPAN")]
    pub work: Option<SpanRange>,
    /// Share of messages that fail and are tried again: 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0")]
    pub fail_rate: f64,
    /// Share of messages over which the process crashes: 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0")]
    pub crash_rate: f64,
    /// Crash over the message after this many
    #[arg(long, value_name = "N")]
    pub crash_every: Option<u64>,
    /// Share of one core that is kept busy while working: 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0")]
    pub cpu: f64,
    /// Memory to hold, such as 64Mi
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<Bytes>,
    /// Whom a router or a source sends to: type=NAME, pool=NAME or agent=NAME
    #[arg(long, value_name = "WHO")]
    pub targets: Vec<Target>,
    /// How one of several targets is chosen
    #[arg(long, value_enum, default_value_t = Balance::LeastLoaded)]
    pub balance: Balance,
    /// How many messages a source makes, on average
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// How far a source's rate swings about its average: 0 (steady) to 1 (down to nothing)
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.8")]
    pub wave: f64,
    /// How long one swing takes
    #[arg(long, value_name = "SPAN", value_parser = span::parse, default_value = "60s")]
    pub wave_period: Duration,
    /// How many messages are worked on at once: 1 to 100
    #[arg(long, value_name = "N", value_parser = concurrency, default_value = "1")]
    pub concurrency: usize,
    /// Makes chance repeatable
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Event published for each message done (by a source: made), such as task.completed
    #[arg(long, value_name = "EVENT")]
    pub publish: Option<String>,
    /// Subscribe to events by pattern, such as 'task.*', and log them
    #[arg(long, value_name = "PATTERN")]
    pub subscribe: Vec<String>,
    /// Send a task_result to the sender of each message done
    #[arg(long)]
    pub reply: bool,
    /// What log lines look like
    #[arg(long = "log-format", value_enum, default_value_t = Lines::Json)]
    pub lines: Lines,
}

fn concurrency(text: &str) -> Result<usize, String> {
    let wrong = || format!("expected 1 to 100, got {text:?}");
    let number = text.parse().map_err(|_| wrong())?;
    if (1..=100).contains(&number) { Ok(number) } else { Err(wrong()) }
}

impl Options {
    /// With the role's defaults for what was not given.
    #[must_use]
    pub fn settled(mut self) -> Self {
        let work = match self.role {
            Role::Worker | Role::Flaky => SpanRange::millis(50, 200),
            Role::Slow => SpanRange::millis(800, 1_500),
            Role::Router => SpanRange::millis(1, 5),
            Role::Source | Role::Echo => SpanRange::millis(0, 0),
        };
        self.work.get_or_insert(work);
        if self.role == Role::Flaky {
            if self.fail_rate == 0.0 {
                self.fail_rate = 0.1;
            }
            if self.crash_rate == 0.0 {
                self.crash_every.get_or_insert(25);
            }
        }
        if self.role == Role::Source {
            self.rate.get_or_insert(Rate(5.0));
        }
        self.concurrency = self.concurrency.clamp(1, 100);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options).map_err(|error| error.to_string())
    }

    #[test]
    fn a_role_fills_in_only_what_was_not_given() {
        let plain = parse("--role flaky").unwrap().settled();
        assert_eq!((plain.fail_rate, plain.crash_every), (0.1, Some(25)));
        let own =
            parse("--role flaky --fail-rate 0.5 --crash-every 3 --work 1s").unwrap().settled();
        assert_eq!((own.fail_rate, own.crash_every), (0.5, Some(3)));
        assert_eq!(own.work, Some(SpanRange::millis(1_000, 1_000)));
        assert_eq!(parse("--role source").unwrap().settled().rate, Some(Rate(5.0)));
    }

    #[test]
    fn everything_that_the_command_line_names_is_read() {
        let all = parse(
            "--role router --work 50ms..200ms --cpu 0.5 --memory 64Mi --targets pool=triage \
             --targets type=worker --balance round-robin --rate 30/m --wave 0.2 --wave-period 2m \
             --concurrency 4 --seed 7 --publish task.completed --subscribe task.* --reply \
             --crash-rate 0.01 --log-format text",
        )
        .unwrap();
        assert_eq!(all.memory, Some(Bytes(64 << 20)));
        assert_eq!(all.targets, [Target::Pool("triage".into()), Target::Type("worker".into())]);
        assert_eq!(all.rate, Some(Rate(0.5)));
        assert_eq!(all.work.unwrap().at(0.5), Duration::from_millis(125));
    }

    #[test]
    fn a_wrong_value_says_what_was_expected() {
        for (line, says) in [
            ("--work 5..3", "span of time"),
            ("--work 5s..3s", "shorter span first"),
            ("--fail-rate 1.5", "0 to 1"),
            ("--rate 0/s", "5/s"),
            ("--rate 5/y", "5/s"),
            ("--targets workers", "type=NAME"),
            ("--concurrency 0", "1 to 100"),
            ("--memory -1Mi", ""),
        ] {
            let said = parse(line).unwrap_err();
            assert!(said.contains(says), "{line}: {said}");
        }
    }
}
