//! Settings: the shipped file is the default; the user's file, the environment and flags come over it, in that order.
//! Every value knows where it came from, every fault names file, line and key. Never opens a store or a terminal.

pub mod contexts;
pub mod database;
mod limits;
pub mod places;
pub mod thresholds;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use crate::model::time::span;

/// The shipped defaults, comments and all.
pub const DEFAULT: &str = include_str!("../config/default.toml");

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    pub store: StoreSettings,
    pub database: database::DatabaseSettings,
    pub runtime: RuntimeSettings,
    pub kubernetes: KubernetesSettings,
    pub agents: AgentsSettings,
    pub leader: LeaderSettings,
    pub fleet: FleetSettings,
    pub health: HealthSettings,
    pub autoscale: AutoscaleSettings,
    pub recovery: RecoverySettings,
    pub console: ConsoleSettings,
    pub thresholds: thresholds::Thresholds,
    pub daemon: DaemonSettings,
    pub log: LogSettings,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreSettings {
    /// Empty, a path, `sqlite:PATH` or `arangodb://user@host:port/database`.
    pub url: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuntimeSettings {
    pub kind: RuntimeKind,
}

/// Empty is the usual place, the current context and the context's own namespace.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KubernetesSettings {
    pub kubeconfig: String,
    pub context: String,
    pub namespace: String,
    pub image: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgentsSettings {
    pub store_url: String,
    pub store_secret: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, strum::EnumString, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum RuntimeKind {
    Local,
    Kubernetes,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LeaderSettings {
    #[serde(with = "span")]
    pub ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FleetSettings {
    /// Every change asks for a typed word.
    pub protected: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HealthSettings {
    #[serde(with = "span")]
    pub interval: Duration,
    #[serde(with = "span")]
    pub usage_interval: Duration,
    pub failure_threshold: u32,
    pub success_threshold: u32,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AutoscaleSettings {
    #[serde(with = "span")]
    pub interval: Duration,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecoverySettings {
    #[serde(with = "span")]
    pub backoff_first: Duration,
    #[serde(with = "span")]
    pub backoff_longest: Duration,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConsoleSettings {
    pub theme: String,
    pub keymap: String,
    pub time_zone: TimeZone,
    pub ascii: bool,
    /// For a link where every byte counts: nothing that moves by itself is drawn, and ten frames a second at most.
    pub low_bandwidth: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeZone {
    Utc,
    Local,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DaemonSettings {
    pub listen: std::net::SocketAddr,
    pub priority: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogSettings {
    pub format: LogFormat,
    pub level: String,
    pub keep: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    Text,
    Json,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A fault in a file that somebody wrote: settings, keymap or theme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{at}: {key}{what}{hint}", at = if *line == 0 { String::new() } else { format!(":{line}") }, key = if key.is_empty() { String::new() } else { format!("{key}: ") },
    hint = if hint.is_empty() { String::new() } else { format!(" ({hint})") })]
pub struct LoadError {
    pub file: String,
    /// 1 for the first; 0 when the fault is in no line (the environment, a flag).
    pub line: usize,
    pub key: String,
    pub what: String,
    pub hint: String,
}

/// The settings in force and the origin of each leaf, by dotted key.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    pub leaves: BTreeMap<String, (Value, Origin)>,
}

impl Loaded {
    /// Whether the fleet is kept in a shared database as far as the settings go; a store's URL comes first.
    pub fn wants_database(&self) -> bool {
        use database::DatabaseKind;
        match self.settings.database.kind {
            DatabaseKind::Sqlite => false,
            DatabaseKind::Arangodb => true,
            DatabaseKind::Auto => self.leaves.iter().any(|(key, (_, origin))| {
                key.starts_with("database.") && *origin != Origin::Default
            }),
        }
    }
}

/// Layers the shipped file, `file` (if it exists), `environment` and `flags` (dotted key → text).
///
/// # Errors
/// [`LoadError`] for the first fault: unknown key, wrong type, value out of range.
pub fn load(
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
    flags: &[(&str, String, &str)],
) -> Result<Loaded, LoadError> {
    let mut leaves = BTreeMap::new();
    let base = parse("config/default.toml", DEFAULT)?;
    collect(&base, "", &Origin::Default, &mut leaves);
    if let Some(path) = file {
        match limits::read(path) {
            Ok(text) => {
                let name = path.display().to_string();
                let table = parse(&name, &text)?;
                let mut theirs = BTreeMap::new();
                collect(&table, "", &Origin::File(path.to_owned()), &mut theirs);
                for (key, (value, origin)) in theirs {
                    let (key, value) = database::known(key, value);
                    let line = line_of(&text, &key);
                    let known = leaves.get(&key).map(|(value, _)| value.clone());
                    check(&name, line, &key, known.as_ref(), &value, leaves.keys())?;
                    leaves.insert(key, (value, origin));
                }
                whole(&leaves, &name, |key| line_of(&text, key))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("cannot be read: {error}");
                return Err(LoadError {
                    file: path.display().to_string(),
                    line: 0,
                    key: String::new(),
                    what,
                    hint: String::new(),
                });
            }
        }
    }
    let keys: Vec<String> = leaves.keys().cloned().collect();
    for key in keys {
        let name = format!("CVXC_{}", key.replace(['.', '-'], "_").to_uppercase());
        if let Some(text) = environment.get(&name) {
            lay(&mut leaves, &key, text, Origin::Environment(name.clone()), &name)?;
        }
    }
    for (alias, key) in
        [("CVXC_DATABASE_NAME", "database.database"), ("CVXC_DATABASE_SSL_MODE", "database.tls")]
    {
        if let Some(text) = environment.get(alias) {
            lay(&mut leaves, key, text, Origin::Environment(alias.to_owned()), alias)?;
        }
    }
    for (key, text, flag) in flags {
        lay(&mut leaves, key, text, Origin::Flag((*flag).to_owned()), flag)?;
    }
    let settings = whole(&leaves, "settings", |_| 0)?;
    // what the leaves are for is to be shown
    if let Some((Value::String(password), _)) = leaves.get_mut("database.password")
        && !password.is_empty()
    {
        "(secret)".clone_into(password);
    }
    Ok(Loaded { settings, leaves })
}

fn lay(
    leaves: &mut BTreeMap<String, (Value, Origin)>,
    key: &str,
    text: &str,
    origin: Origin,
    from: &str,
) -> Result<(), LoadError> {
    let wrong = |what: String| LoadError {
        file: from.to_owned(),
        line: 0,
        key: key.to_owned(),
        what,
        hint: String::new(),
    };
    let value = match leaves.get(key).map(|(value, _)| value) {
        Some(Value::Integer(_)) => Value::Integer(
            text.parse().map_err(|_| wrong(format!("expected a whole number, got {text:?}")))?,
        ),
        Some(Value::Boolean(_)) => Value::Boolean(
            text.parse().map_err(|_| wrong(format!("expected true or false, got {text:?}")))?,
        ),
        Some(Value::Array(_)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        _ => database::known(key.to_owned(), Value::String(text.to_owned())).1,
    };
    leaves.insert(key.to_owned(), (value, origin));
    whole(leaves, from, |_| 0).map(drop)
}

fn parse(file: &str, text: &str) -> Result<Table, LoadError> {
    text.parse::<Table>().map_err(|error| LoadError {
        file: file.to_owned(),
        line: error
            .span()
            .map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1),
        key: String::new(),
        what: error.message().to_owned(),
        hint: String::new(),
    })
}

fn collect(
    table: &Table,
    path: &str,
    origin: &Origin,
    into: &mut BTreeMap<String, (Value, Origin)>,
) {
    for (name, value) in table {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Table(inner) => collect(inner, &key, origin, into),
            leaf => {
                into.insert(key, (leaf.clone(), origin.clone()));
            }
        }
    }
}

fn check<'a>(
    file: &str,
    line: usize,
    key: &str,
    known: Option<&Value>,
    value: &Value,
    keys: impl Iterator<Item = &'a String>,
) -> Result<(), LoadError> {
    let wrong = |what: String, hint: String| LoadError {
        file: file.to_owned(),
        line,
        key: key.to_owned(),
        what,
        hint,
    };
    let Some(known) = known else {
        let near = keys.min_by_key(|other| distance(key, other)).cloned().unwrap_or_default();
        return Err(wrong("unknown setting".to_owned(), format!("did you mean {near}?")));
    };
    if known.same_type(value) {
        return Ok(());
    }
    let what = format!("expected a {}, got a {}", known.type_str(), value.type_str());
    Err(wrong(what, format!("the default is {known}")))
}

/// Builds the whole from its leaves; a fault is traced to its key by trying each leaf's section.
fn whole(
    leaves: &BTreeMap<String, (Value, Origin)>,
    file: &str,
    line: impl Fn(&str) -> usize,
) -> Result<Settings, LoadError> {
    let mut root = Table::new();
    for (key, (value, _)) in leaves {
        let Some((section, name)) = key.split_once('.') else { continue };
        let section = root.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(table) = section {
            table.insert(name.to_owned(), value.clone());
        }
    }
    let wrong = |key: &str, what: String| LoadError {
        file: file.to_owned(),
        line: line(key),
        key: key.to_owned(),
        what,
        hint: String::new(),
    };
    let settings: Settings = match root.clone().try_into() {
        Ok(settings) => settings,
        Err(error) => {
            let key = culprit(leaves).unwrap_or_default();
            return Err(wrong(&key, error.message().to_owned()));
        }
    };
    if let Some((key, what)) = limits::fault(&settings) {
        return Err(wrong(key, what));
    }
    Ok(settings)
}

/// The leaf that the defaults cannot take: each is tried alone over the shipped file.
fn culprit(leaves: &BTreeMap<String, (Value, Origin)>) -> Option<String> {
    let base: Table = DEFAULT.parse().ok()?;
    for (key, (value, _)) in leaves {
        let mut root = base.clone();
        let (section, name) = key.split_once('.')?;
        if let Some(Value::Table(table)) = root.get_mut(section) {
            table.insert(name.to_owned(), value.clone());
        }
        if root.try_into::<Settings>().is_err() {
            return Some(key.clone());
        }
    }
    None
}

/// The line where `key` (dotted) is set in `text`; 0 when it cannot be told.
pub fn line_of(text: &str, key: &str) -> usize {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut here = String::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            header.trim().clone_into(&mut here);
        } else if let Some((left, _)) = line.split_once('=') {
            let left = left.trim().trim_matches('"');
            if (here == section && left == name) || (here.is_empty() && left == key) {
                return at + 1;
            }
        }
    }
    0
}

/// How many single-character edits lie between two words; for "did you mean".
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> Result<Loaded, LoadError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        load(Some(&path), &BTreeMap::new(), &[])
            .map_err(|error| LoadError { file: "config.toml".into(), ..error })
    }

    #[test]
    fn the_shipped_file_loads_and_every_value_is_a_default() {
        let loaded = load(None, &BTreeMap::new(), &[]).unwrap();
        assert_eq!(loaded.settings.leader.ttl, Duration::from_secs(15));
        assert!(loaded.leaves.values().all(|(_, origin)| *origin == Origin::Default));
    }

    #[test]
    fn later_layers_win_and_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "[leader]\nttl = \"20s\"\n[health]\nfailure-threshold = 5\n")
            .unwrap();
        let environment = BTreeMap::from([("CVXC_LEADER_TTL".to_owned(), "30s".to_owned())]);
        let loaded =
            load(Some(&path), &environment, &[("log.level", "debug".into(), "--log-level")])
                .unwrap();
        assert_eq!(loaded.settings.leader.ttl, Duration::from_secs(30));
        assert_eq!(loaded.leaves["leader.ttl"].1.to_string(), "environment CVXC_LEADER_TTL");
        assert_eq!(loaded.leaves["health.failure-threshold"].1, Origin::File(path));
        assert_eq!(loaded.leaves["log.level"].1.to_string(), "flag --log-level");
    }

    #[test]
    fn faults_name_file_line_and_key() {
        let said = |text: &str| with_file(text).unwrap_err().to_string();
        assert_eq!(
            said("[leader]\n\ntlt = \"3s\"\n"),
            "config.toml:3: leader.tlt: unknown setting (did you mean leader.ttl?)"
        );
        assert_eq!(
            said("[health]\nfailure-threshold = \"many\"\n"),
            "config.toml:2: health.failure-threshold: expected a integer, got a string (the default is 3)"
        );
        assert_eq!(
            said("[leader]\nttl = \"1s\"\n"),
            "config.toml:2: leader.ttl: expected 2s to 1h, got 1s"
        );
        assert!(
            said("[log]\nformat = \"xml\"\n")
                .starts_with("config.toml:2: log.format: unknown variant `xml`")
        );
        assert!(said("[leader\n").starts_with("config.toml:1: "));
        assert!(said("[leader]\nttl = \"soon\"").contains("expected a span of time"));
    }

    #[test]
    fn a_bad_environment_names_its_variable() {
        let environment = BTreeMap::from([("CVXC_LOG_KEEP".to_owned(), "ever".to_owned())]);
        let said = load(None, &environment, &[]).unwrap_err().to_string();
        assert_eq!(said, "CVXC_LOG_KEEP: log.keep: expected a whole number, got \"ever\"");
    }
}
