//! Logs to rolling files and, for programs without a screen, to stderr. Nothing is printed while a console owns the screen.

use std::path::Path;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{Builder, Rotation};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::settings::{LogFormat, LogSettings};

/// Flushes what is still queued when dropped.
#[derive(Debug)]
pub struct LogGuard {
    _file: Option<WorkerGuard>,
}

/// Lines that may wait for the file: room for each is taken at the start, so the crate's own 128,000 cost 5 MB.
const WAITING: usize = 4_096;

type Reload = reload::Handle<EnvFilter, Registry>;

static FILTER: OnceLock<Reload> = OnceLock::new();

/// Starts logging to `dir` (files `cvxc.log.DATE`, `keep` of them) and, if `stderr`, there too. Once a process; later calls do nothing.
///
/// # Errors
/// In words, when the folder cannot be made or the level is no filter.
pub fn start(settings: &LogSettings, dir: Option<&Path>, stderr: bool) -> Result<LogGuard, String> {
    let (filter, handle) = reload::Layer::new(parse(&settings.level)?);
    let mut layers: Vec<Box<dyn Layer<_> + Send + Sync>> = Vec::new();
    let mut guard = None;
    if let Some(dir) = dir {
        private_dir(dir)
            .map_err(|error| format!("the log folder {} cannot be made: {error}", dir.display()))?;
        let files = Builder::new()
            .rotation(Rotation::DAILY)
            .filename_prefix("cvxc.log")
            .max_log_files(settings.keep.max(1) as usize)
            .build(dir)
            .map_err(|error| format!("logging to {} failed: {error}", dir.display()))?;
        // lossy: a full disk or a slow one must not stall the engine; what is dropped is counted by the appender
        let (writer, worker) =
            NonBlockingBuilder::default().buffered_lines_limit(WAITING).finish(files);
        guard = Some(worker);
        layers.push(format_layer(settings.format, writer));
    }
    if stderr {
        layers.push(format_layer(settings.format, std::io::stderr));
    }
    if tracing_subscriber::registry().with(filter).with(layers).try_init().is_ok() {
        FILTER.set(handle).ok();
    }
    Ok(LogGuard { _file: guard })
}

/// Changes the level of a running program.
///
/// # Errors
/// In words, when `level` is no filter.
pub fn set_level(level: &str) -> Result<(), String> {
    let filter = parse(level)?;
    match FILTER.get() {
        Some(handle) => handle.reload(filter).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn parse(level: &str) -> Result<EnvFilter, String> {
    // one word that is no level would be taken for a module's name, and log nothing
    let word = level.trim();
    let is_level = word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let is_directive = word.contains(['=', ',', '[', ':']);
    Some(word)
        .filter(|_| is_level || is_directive)
        .and_then(|word| EnvFilter::try_new(word).ok())
        .ok_or_else(|| format!("log.level: expected error, warn, info, debug, trace or a filter such as cvxc=debug, got {level:?}"))
}

fn format_layer<W, S>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
    S: tracing::Subscriber + for<'s> tracing_subscriber::registry::LookupSpan<'s>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    match format {
        LogFormat::Json => layer.json().boxed(),
        LogFormat::Text => layer.boxed(),
    }
}

/// Makes a folder that only its owner may enter.
fn private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
