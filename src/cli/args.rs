//! What may be typed after `cvxc`: verbs, their arguments, and the options that every verb takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::access::Role;
use crate::model::plan::Noun;
use crate::model::time::span;
use crate::settings::{LogFormat, RuntimeKind};

mod cluster;
mod console;
mod messages;

pub use cluster::ClusterVerb;
pub use console::ConsoleArgs;
pub use messages::{MessagesArgs, PublishArgs, SendArgs, SubscribeArgs};

#[derive(Debug, Parser)]
#[command(name = "cvxc", version, about = "Console and coordination engine for fleets of AI agents", long_about = None)]
#[command(after_help = "Without a verb the console opens. Start with `cvxc demo`.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    /// Run the engine without a screen (the same as `cvxc daemon`)
    #[arg(long)]
    pub daemon: bool,
    #[command(flatten)]
    pub console: ConsoleArgs,
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Keep everything (settings, store, agents, logs) under this folder
    #[arg(long, global = true, env = "CVXC_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the fleet is kept: a file, sqlite:PATH, or arangodb://user@host:port/database
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,
    /// Where agents run
    #[arg(long, global = true, value_name = "local|kubernetes", value_parser = runtime_kind)]
    pub runtime: Option<RuntimeKind>,
    /// Act as less than you are: platform-admin, tenant-admin, developer, observer
    #[arg(id = "as", long = "as", global = true, value_name = "ROLE")]
    pub role: Option<Role>,
    /// The kubeconfig of the cluster that agents run in
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// One of the fleets in contexts.toml, else the kubeconfig's context
    #[arg(long, global = true, env = "CVXC_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace that agents run in
    #[arg(long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Log level or filter
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Address of /health and /metrics
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How a verb that changes something is carried out.
#[derive(Debug, Clone, Args)]
pub struct ActArgs {
    /// Show the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until it is done, at most TIMEOUT (default 60s)
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = "60s", value_parser = span::parse)]
    pub wait: Option<Duration>,
    /// Confirms a plan of tier 3: the word it asks for
    #[arg(long, value_name = "WORD")]
    pub confirm: Option<String>,
    /// Why, for the journal
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
    /// text or json
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    pub output: ActOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActOutput {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GetOutput {
    Table,
    Wide,
    Json,
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GetKind {
    #[value(alias = "agent", alias = "ag")]
    Agents,
    #[value(alias = "pool", alias = "po")]
    Pools,
    #[value(alias = "template", alias = "tpl", alias = "tp")]
    Templates,
    #[value(alias = "message", alias = "mq", alias = "msg")]
    Messages,
    #[value(alias = "event", alias = "ev")]
    Events,
    #[value(alias = "operation", alias = "ops", alias = "op")]
    Operations,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List agents, pools, templates, messages, events or operations
    Get(GetArgs),
    /// Everything about one thing
    Describe(DescribeArgs),
    /// Create or change what manifests say
    Apply(ApplyArgs),
    /// Show what `apply` would change
    Diff {
        #[arg(short, long = "file", required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Create one agent of a template
    Deploy(DeployArgs),
    /// Set a pool's wanted count
    Scale(ScaleArgs),
    /// End and start again, in batches
    Restart(TargetArgs),
    /// Keep alive, but claim no messages
    Pause(TargetArgs),
    /// End a pause
    Resume(TargetArgs),
    /// Take no new work, finish what is held, then stop
    Drain(DrainArgs),
    /// End and keep
    Stop(TargetArgs),
    /// Start what was stopped
    Start(TargetArgs),
    /// End and remove, with a tombstone for 24 hours
    Delete(TargetArgs),
    /// Bring a pool to a template version
    SetTemplate(SetTemplateArgs),
    /// Bring a pool back to its version before the last update
    Rollback {
        pool: String,
        #[command(flatten)]
        act: ActArgs,
    },
    #[command(flatten)]
    Cluster(ClusterVerb),
    /// Copy a template under a new name
    CloneTemplate {
        template: String,
        name: String,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Reverse an operation as far as that is possible
    Undo {
        /// Its id; without one, the last of your own that can be taken back
        operation: Option<String>,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Rewrite what programs with other shapes of documents have written
    Migrate(ActArgs),
    /// Send a direct message
    Send(SendArgs),
    /// Publish an event
    Publish(PublishArgs),
    /// Subscribe an agent to events
    Subscribe(SubscribeArgs),
    /// Make dead messages pending again
    Requeue(MessagesArgs),
    /// Send copies of messages
    Replay(MessagesArgs),
    /// Put messages away
    Purge(MessagesArgs),
    /// Run a command beside an agent, with its environment
    Exec(ExecArgs),
    /// Make ports of an agent reachable on this machine, until interrupted
    PortForward(PortForwardArgs),
    /// What an agent wrote
    Logs(LogsArgs),
    /// Store, runtime, leader, loops, agents and messages at a glance
    Status {
        #[arg(short, long, default_value = "text")]
        output: ActOutput,
    },
    /// Look for what is wrong with this installation
    Doctor {
        #[arg(short, long, default_value = "text")]
        output: ActOutput,
        /// Print each collection, index and graph of a shared database: there, missing or different
        #[arg(long)]
        schema: bool,
    },
    /// Where everything is kept
    Info {
        #[arg(short, long, default_value = "text")]
        output: ActOutput,
    },
    /// Settings
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Copy the embedded store to FILE while it is in use
    Backup { file: PathBuf },
    /// Run the engine without a screen
    Daemon(ServeArgs),
    /// Show everything working on a throw-away fleet
    Demo(DemoArgs),
    /// Draw pictures of every page from a real demo run
    Shot(ShotArgs),
    /// Print a completion script
    Completion { shell: clap_complete::Shell },
    /// Print the version
    Version,
    /// Run an agent
    Agent {
        #[command(subcommand)]
        verb: AgentVerb,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Every value and where it came from
    Show {
        #[arg(short, long, default_value = "text")]
        output: ActOutput,
    },
}

#[derive(Debug, Subcommand)]
pub enum AgentVerb {
    /// The reference agent: registers, beats, claims, works, replies, publishes
    Run(crate::agent::reference::Options),
}

#[derive(Debug, Args)]
pub struct GetArgs {
    pub kind: GetKind,
    /// Only these, by id or name
    pub names: Vec<String>,
    #[arg(short, long, default_value = "table")]
    pub output: GetOutput,
    /// Label selector: tier=gold,env!=dev
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// The console's filter: a regex, !regex, -f fuzzy, or terms such as queue>100 state=failed (state: as the console's
    /// STATE column has it, degraded among others; phase: as PHASE has it)
    #[arg(long, value_name = "FILTER", allow_hyphen_values = true)]
    pub filter: Option<String>,
    /// Also what was deleted and can still be brought back
    #[arg(short, long)]
    pub all: bool,
    /// At most so many, newest first for messages, events and operations
    #[arg(long, default_value_t = 500, allow_hyphen_values = true)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// agent, pool, template, message, operation, …
    #[arg(value_parser = noun)]
    pub noun: Noun,
    pub name: String,
    #[arg(short, long, default_value = "text")]
    pub output: ActOutput,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Manifest files, `-` for standard input
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The new agent's name
    pub name: String,
    /// Template by id or name
    #[arg(long)]
    pub template: String,
    /// Template version; the newest if not given
    #[arg(long = "template-version")]
    pub template_version: Option<String>,
    /// Pool to join
    #[arg(long)]
    pub pool: Option<String>,
    /// Labels: k=v,k=v
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub labels: Option<String>,
    /// Override a field of the configuration: env.LOG_LEVEL=debug
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct ScaleArgs {
    #[arg(required = true, value_name = "POOL")]
    pub pools: Vec<String>,
    /// How many agents each shall have
    #[arg(long, alias = "replicas", allow_hyphen_values = true)]
    pub to: u32,
    /// Do not keep the autoscaler away for 10 minutes
    #[arg(long)]
    pub no_hold: bool,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct TargetArgs {
    /// `agent NAME…`, `pool NAME…`, `template NAME…`, or just agents' names
    #[arg(required = true, value_name = "[KIND] NAME")]
    pub targets: Vec<String>,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct DrainArgs {
    /// `agent NAME…`, `pool NAME…`, or just agents' names
    #[arg(required = true, value_name = "[KIND] NAME")]
    pub targets: Vec<String>,
    /// Stop after this long even if work is still held
    #[arg(long, value_parser = span::parse, allow_hyphen_values = true)]
    pub deadline: Option<Duration>,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct SetTemplateArgs {
    pub pool: String,
    /// Template version; the newest if not given
    #[arg(long = "to")]
    pub version: Option<String>,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct ExecArgs {
    pub agent: String,
    /// With a terminal of its own
    #[arg(short, long)]
    pub tty: bool,
    /// With what is typed here; the same as -t
    #[arg(short, long)]
    pub interactive: bool,
    /// Without a terminal: end it after this long
    #[arg(long, default_value = "60s", value_parser = span::parse, value_name = "TIME")]
    pub timeout: Duration,
    /// In a protected context: its name
    #[arg(long, value_name = "WORD")]
    pub confirm: Option<String>,
    /// The command and its words, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PortForwardArgs {
    pub agent: String,
    /// The port here and the agent's; with one number the same for both, `:PORT` takes any that is free
    #[arg(required = true, value_name = "[LOCAL:]PORT", value_parser = ports)]
    pub ports: Vec<(Option<u16>, u16)>,
    /// In a protected context: its name
    #[arg(long, value_name = "WORD")]
    pub confirm: Option<String>,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    pub agent: String,
    /// Go on as lines come
    #[arg(short, long)]
    pub follow: bool,
    /// The last so many lines
    #[arg(long, allow_hyphen_values = true)]
    pub tail: Option<usize>,
    /// Lines of the last so long: 5m
    #[arg(long, value_parser = span::parse, allow_hyphen_values = true)]
    pub since: Option<Duration>,
    /// Of the run before this one
    #[arg(short, long)]
    pub previous: bool,
    /// Show the time of each line
    #[arg(long)]
    pub timestamps: bool,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the data directory
    #[arg(long)]
    pub keep: bool,
    /// Without a terminal: run for just this long
    #[arg(long = "for", value_parser = span::parse, value_name = "TIME")]
    pub span: Option<Duration>,
    /// Do not open the console even on a terminal
    #[arg(long)]
    pub headless: bool,
    /// Agents that are played instead of started
    #[arg(long, value_name = "N", value_parser = played, allow_hyphen_values = true)]
    pub simulated: Option<usize>,
    /// Usage samples a second of simulated agents
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub updates: u32,
    /// Same seed, same play
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(short, long, default_value = "text")]
    pub output: ActOutput,
    #[command(flatten)]
    pub console: ConsoleArgs,
}

#[derive(Debug, Args)]
pub struct ShotArgs {
    /// Folder for the pictures
    #[arg(long, default_value = "screenshots")]
    pub dir: PathBuf,
    /// Only these pages
    pub pages: Vec<String>,
}

fn played(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=1_000_000).contains(count));
    count.ok_or_else(|| format!("expected a number of agents from 1 to 1000000, got {text:?}"))
}

fn ports(text: &str) -> Result<(Option<u16>, u16), String> {
    let port = |text: &str| {
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        port.ok_or_else(|| format!("{text:?} is no port: expected a number from 1 to 65535"))
    };
    match text.split_once(':') {
        None => port(text).map(|it| (Some(it), it)),
        Some(("", theirs)) => Ok((None, port(theirs)?)),
        Some((ours, theirs)) => Ok((Some(port(ours)?), port(theirs)?)),
    }
}

fn runtime_kind(text: &str) -> Result<RuntimeKind, String> {
    text.parse().map_err(|_| format!("expected local or kubernetes, got {text:?}"))
}

/// Reads a kind of thing, singular or plural.
///
/// # Errors
/// Lists the kinds.
pub fn noun(text: &str) -> Result<Noun, String> {
    let one = text.strip_suffix('s').unwrap_or(text).to_lowercase();
    one.parse().map_err(|_| {
        format!("expected agent, pool, template, message, subscription, publication or operation, got {text:?}")
    })
}
