//! The command line: reads arguments, opens what a verb needs, and turns failures into messages and exit codes.

mod act;
mod args;
mod beside;
mod console;
mod contexts;
mod daemon;
mod demo;
mod demo_report;
mod fail;
mod get;
mod logs;
mod look;
mod manifests;
mod output;
mod places;
mod rows;
mod shot;
mod signals;
mod status;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use crate::boot::{self, BootError, Ground, Opened, Part, Request};
use crate::model::plan::Command;
use crate::ports::clock::SystemClock;
use crate::ports::ids::RandomIds;
use crate::ports::store::chain;
use crate::settings::contexts::ContextSettings;
use crate::telemetry;
use args::{ActArgs, AgentVerb, Cli, ConfigVerb, ConsoleArgs, Global, ServeArgs, Verb};
use fail::Fail;

/// How long a verb waits for the fleet to be read.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a list of agents waits for what the runtime knows beyond the records.
const SIGHTED: Duration = Duration::from_secs(2);

/// Runs the program: 0 ok, 1 failed, 2 usage or validation, 3 store unreachable, 4 conflict or precondition.
pub fn main() -> ExitCode {
    // before anything else: a shim must stay small, so it never builds a parser or a runtime
    if std::env::args_os().nth(1).is_some_and(|verb| verb == boot::SHIM_VERB) {
        return boot::shim(std::env::args_os().skip(2));
    }
    color_eyre::config::HookBuilder::default().display_env_section(false).install().ok();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // help and version are no errors and go to standard output
            if error.use_stderr() {
                refuse(&error)
            } else {
                error.print().ok()
            };
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fail { code, message }) => {
            if !message.is_empty() {
                writeln!(std::io::stderr(), "cvxc: {message}").ok();
            }
            ExitCode::from(code)
        }
    }
}

/// Says what is wrong with the arguments; in colour only where they hold nothing that a terminal obeys.
fn refuse(error: &clap::Error) -> Option<()> {
    let plain = error.render().to_string();
    let safe = Fail::usage(plain.trim_end()).message;
    if safe == plain.trim_end() {
        error.print().ok()
    } else {
        writeln!(std::io::stderr(), "{safe}").ok()
    }
}

fn run(mut cli: Cli) -> Result<(), Fail> {
    unfit(&cli)?;
    // an agent has its own place in the world, whatever its environment was handed down from
    let alone =
        matches!(cli.verb, Some(Verb::Agent { .. } | Verb::Completion { .. } | Verb::Version));
    let given = if alone { None } else { contexts::take(&mut cli)? };
    let given = given.as_deref();
    let request = request(&cli.global, &cli.serve, &cli.console);
    let (request, context) = match given {
        Some(name) => contexts::enter(&request, name)?,
        None => (request, ContextSettings::default()),
    };
    let guard = given.filter(|_| context.protected).map(str::to_owned);
    if context.read_only && !cli.console.write && cli.verb.as_ref().is_some_and(changes) {
        return Err(Fail::with(
            4,
            format!(
                "context {} is read-only (contexts.toml): nothing was done; --write allows changes",
                given.unwrap_or_default()
            ),
        ));
    }
    match cli.verb {
        // these need neither settings nor store
        Some(Verb::Completion { shell }) => completion(shell),
        Some(Verb::Version) => output::line(concat!("cvxc ", env!("CARGO_PKG_VERSION"))),
        Some(Verb::Agent { verb: AgentVerb::Run(options) }) => agent(options),
        Some(Verb::Demo(args)) if args.console.looks() => Err(Fail::usage(
            "--plain, --snapshot and --check look at a fleet of yours, not at a demo's",
        )),
        Some(Verb::Demo(args)) => {
            demo::run(&threads()?, &with_console(&request, &args.console), &args)
        }

        Some(Verb::Shot(args)) => shot::run(&threads()?, &request, &args),
        Some(Verb::Daemon(serve)) => serve_forever(&with_serve(request, &serve)),
        None if cli.daemon => serve_forever(&request),
        Some(Verb::Info { output }) => contexts::info(&boot::ground(&request)?, given, output),
        None if cli.console.check => look::check(&request),
        None if cli.console.snapshot.is_some() => look::snapshot(&request, &cli.console),
        None => contexts::open_console(&request, &cli, given),
        Some(Verb::Doctor { output, schema: true }) => {
            threads()?.block_on(status::schema(&request, output))
        }
        Some(Verb::Doctor { output, schema: false }) => {
            threads()?.block_on(status::doctor(&request, output))
        }
        Some(verb) => {
            let ground = boot::ground(&request)?;
            let level = cli.global.log_level.is_some();
            let _logs =
                telemetry::start(&ground.loaded.settings.log, None, level).map_err(Fail::usage)?;
            threads()?.block_on(short(verb, &ground, guard.as_deref()))
        }
    }
}

/// Flags of the console or the daemon beside a verb that they do not belong to.
fn unfit(cli: &Cli) -> Result<(), Fail> {
    let Some(verb) = &cli.verb else { return Ok(()) };
    if cli.daemon && !matches!(verb, Verb::Daemon(_)) {
        return Err(Fail::usage("--daemon: runs without a verb; leave one of them out"));
    }
    if cli.console.readonly && changes(verb) {
        return Err(Fail::with(4, "--readonly: refuses every change; nothing was done"));
    }
    Ok(())
}

/// Whether it would change the fleet.
fn changes(verb: &Verb) -> bool {
    let beside = matches!(verb, Verb::Exec(_) | Verb::PortForward(_));
    beside || verb.act().is_some_and(|act| !act.dry_run)
}

/// Verbs that open the fleet, do one thing and leave. They never lead. `guard` is the name of a protected context.
async fn short(verb: Verb, ground: &Ground, guard: Option<&str>) -> Result<(), Fail> {
    match verb {
        Verb::Config { verb: ConfigVerb::Show { output } } => config_show(ground, output),
        Verb::Backup { file } => return backup(ground, &file).await,
        verb => {
            // before anything is opened: what is wrong with the words themselves
            let manifests = match &verb {
                Verb::Apply(args) => manifests::read(&args.files)?,
                Verb::Diff { files } => manifests::read(files)?,
                _ => Vec::new(),
            };
            if verb.act().is_none() {
                there_is_a_fleet(ground)?;
            }
            let opened = boot::open(ground, Part::Observe, None).await?;
            let outcome = match opened.loaded(PATIENCE).await {
                Ok(()) => one(verb, manifests, &opened, ground, guard).await,
                Err(error) => Err(Fail::with(3, chain(&error))),
            };
            opened.running.stop(Duration::from_secs(2)).await;
            outcome
        }
    }
}

/// Reading makes no store: a mistyped place is told, not filled.
fn there_is_a_fleet(ground: &Ground) -> Result<(), Fail> {
    let Some(path) = boot::missing_store(ground)? else { return Ok(()) };
    let place = path.display();
    Err(Fail::with(
        3,
        format!("there is no fleet at {place} yet: try `cvxc demo`, or `cvxc apply -f FILE`"),
    ))
}

async fn one(
    verb: Verb,
    manifests: Vec<crate::model::plan::Manifest>,
    opened: &Opened,
    ground: &Ground,
    guard: Option<&str>,
) -> Result<(), Fail> {
    let (handle, actor) = (&opened.handle, &opened.actor);
    let (command, args) = match verb {
        Verb::Get(args) => {
            if args.kind == args::GetKind::Agents {
                opened.sighted(SIGHTED).await;
            }
            return get::run(handle, actor, &args).await;
        }
        Verb::Describe(args) => return get::describe(handle, actor, &args).await,
        Verb::Exec(args) => return beside::exec(handle, actor, &args, guard).await,
        Verb::PortForward(args) => return beside::port_forward(handle, actor, &args, guard).await,
        Verb::Logs(args) => return logs::run(handle, actor, &args, ground.clock.now()).await,
        Verb::Status { output } => {
            opened.probed(PATIENCE).await;
            return status::run(opened, ground, output);
        }
        Verb::Diff { .. } => (Command::Apply { manifests }, dry()),
        Verb::Apply(args) => (Command::Apply { manifests }, args.act),
        Verb::Deploy(args) => (act::deploy(&args)?, args.act),
        Verb::Scale(args) => (act::scale(&args.pools, args.to, !args.no_hold)?, args.act),
        Verb::Restart(args) => {
            (Command::Restart { targets: act::targets(&args.targets)? }, args.act)
        }
        Verb::Pause(args) => (Command::Pause { targets: act::targets(&args.targets)? }, args.act),
        Verb::Resume(args) => (Command::Resume { targets: act::targets(&args.targets)? }, args.act),
        Verb::Stop(args) => (Command::Stop { targets: act::targets(&args.targets)? }, args.act),
        Verb::Start(args) => (Command::Start { targets: act::targets(&args.targets)? }, args.act),
        Verb::Delete(args) => (Command::Delete { targets: act::targets(&args.targets)? }, args.act),
        Verb::Drain(args) => (
            Command::Drain { targets: act::targets(&args.targets)?, deadline: args.deadline },
            args.act,
        ),
        Verb::SetTemplate(args) => {
            (Command::SetTemplate { pool: args.pool, version: args.version }, args.act)
        }
        Verb::Rollback { pool, act } => (Command::Rollback { pool }, act),
        Verb::Cluster(verb) => verb.command(),
        Verb::CloneTemplate { template, name, act } => {
            (Command::CloneTemplate { template, name }, act)
        }
        Verb::Migrate(act) => (Command::Migrate, act),
        Verb::Undo { operation, act } => {
            (act::undo(handle, actor, operation, ground.clock.now())?, act)
        }
        Verb::Send(args) => (act::send(handle, actor, &args).await?, args.act),
        Verb::Publish(args) => (act::publish(&args)?, args.act),
        Verb::Subscribe(args) => (act::subscribe(&args)?, args.act),
        Verb::Requeue(args) => (Command::Requeue { messages: args.messages }, args.act),
        Verb::Replay(args) => (Command::Replay { messages: args.messages }, args.act),
        Verb::Purge(args) => (Command::Purge { messages: args.messages }, args.act),
        Verb::Doctor { .. }
        | Verb::Info { .. }
        | Verb::Config { .. }
        | Verb::Backup { .. }
        | Verb::Daemon(_)
        | Verb::Demo(_)
        | Verb::Shot(_)
        | Verb::Completion { .. }
        | Verb::Version
        | Verb::Agent { .. } => return Err(Fail::failed("this verb is carried out elsewhere")),
    };
    act::run(handle, actor, command, &args, guard).await
}

fn dry() -> ActArgs {
    let output = args::ActOutput::Text;
    ActArgs { dry_run: true, wait: None, confirm: None, reason: String::new(), output }
}

fn request(global: &Global, serve: &ServeArgs, console: &ConsoleArgs) -> Request {
    let mut flags = Vec::new();
    if let Some(url) = &global.store {
        flags.push(("store.url", url.clone(), "--store"));
    }
    if let Some(kind) = &global.runtime {
        flags.push(("runtime.kind", kind.to_string(), "--runtime"));
    }
    let cluster = [
        (&global.kubeconfig, "kubernetes.kubeconfig", "--kubeconfig"),
        (&global.context, "kubernetes.context", "--context"),
        (&global.namespace, "kubernetes.namespace", "--namespace"),
    ];
    for (value, key, flag) in cluster {
        flags.extend(value.clone().map(|value| (key, value, flag)));
    }
    if let Some(level) = &global.log_level {
        flags.push(("log.level", level.clone(), "--log-level"));
    }
    let request =
        Request { data_dir: global.data_dir.clone(), config: None, role: global.role, flags };
    with_console(&with_serve(request, serve), console)
}

fn with_serve(mut request: Request, serve: &ServeArgs) -> Request {
    if let Some(listen) = &serve.listen {
        request.flags.push(("daemon.listen", listen.clone(), "--listen"));
    }
    if let Some(format) = serve.log_format {
        let text = if format == crate::settings::LogFormat::Json { "json" } else { "text" };
        request.flags.push(("log.format", text.to_owned(), "--log-format"));
    }
    request
}

fn with_console(request: &Request, console: &ConsoleArgs) -> Request {
    let mut request = request.clone();
    if let Some(theme) = &console.theme {
        request.flags.push(("console.theme", theme.clone(), "--theme"));
    }
    if let Some(keymap) = &console.keymap {
        request.flags.push(("console.keymap", keymap.clone(), "--keymap"));
    }
    if console.low_bandwidth {
        request.flags.push(("console.low-bandwidth", "true".to_owned(), "--low-bandwidth"));
    }
    if console.ascii {
        request.flags.push(("console.ascii", "true".to_owned(), "--ascii"));
    }
    request
}

/// The engine's threads. The console has its own, so that a stalled terminal stalls only the screen.
fn threads() -> Result<tokio::runtime::Runtime, Fail> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("engine")
        .enable_all()
        .build()
        .map_err(|error| Fail::failed(format!("threads cannot be started: {error}")))
}

fn serve_forever(request: &Request) -> Result<(), Fail> {
    let ground = boot::ground(request)?;
    let stderr = !std::io::stderr().is_terminal() || std::io::stdout().is_terminal();
    let _logs = telemetry::start(&ground.loaded.settings.log, Some(&ground.places.logs), stderr)
        .map_err(Fail::usage)?;
    threads()?.block_on(daemon::run(request, ground))
}

/// Runs the reference agent in this process; its exit code tells a stop from a crash.
fn agent(options: crate::agent::reference::Options) -> Result<(), Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fail::failed(format!("threads cannot be started: {error}")))?;
    let clock = SystemClock::shared();
    let open = {
        let clock = clock.clone();
        move |url: String| async move { boot::agent_store(&url, &clock).await }
    };
    let ended = runtime
        .block_on(crate::agent::reference::main(open, clock, RandomIds::shared(), options))
        .map_err(|error| Fail::failed(chain(&error)))?;
    match ended.exit_code() {
        0 => Ok(()),
        code => Err(Fail { code, message: String::new() }),
    }
}

fn completion(shell: clap_complete::Shell) -> Result<(), Fail> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cvxc", &mut text);
    output::raw(&text)
}

fn config_show(ground: &Ground, format: args::ActOutput) -> Result<(), Fail> {
    let leaves = &ground.loaded.leaves;
    if format == args::ActOutput::Json {
        let rows: Vec<_> = leaves
            .iter()
            .map(|(key, (value, origin))| serde_json::json!({"key": key, "value": value, "origin": origin.to_string()}))
            .collect();
        return output::json(&rows);
    }
    let safe = crate::model::text::Safe::new;
    let rows: Vec<_> = leaves
        .iter()
        .map(|(key, (value, origin))| {
            vec![safe(key), safe(&value.to_string()), safe(&origin.to_string())]
        })
        .collect();
    output::table(&["KEY", "VALUE", "FROM"], &rows)
}

async fn backup(ground: &Ground, file: &std::path::Path) -> Result<(), Fail> {
    if file.exists() {
        return Err(Fail::usage(format!("{}: already exists; name a new file", file.display())));
    }
    there_is_a_fleet(ground)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(Fail::usage(format!("{}: there is no such folder", folder.display())));
    }
    let path = boot::store_path(ground)?;
    let beside = ["-wal", "-shm", "-journal", ".gate", ".turn"].map(|end| {
        let mut name = path.clone().into_os_string();
        name.push(end);
        std::path::PathBuf::from(name)
    });
    if beside.iter().any(|side| same_place(side, file)) {
        return Err(Fail::usage(format!(
            "{}: belongs to the store itself; name another file",
            file.display()
        )));
    }
    let store = boot::open_store(&path, &ground.clock)?;
    store.backup(file).await?;
    output::line(&format!("copied to {}", file.display()))
}

fn same_place(a: &std::path::Path, b: &std::path::Path) -> bool {
    let whole = |path: &std::path::Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(std::path::Path::new(".")).canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    whole(a).is_some() && whole(a) == whole(b)
}

impl From<BootError> for Fail {
    fn from(error: BootError) -> Self {
        match &error {
            BootError::Settings(_) | BootError::Usage(_) => Self::usage(error.to_string()),
            BootError::Store(store) => Self::from_store(store),
            BootError::Runtime(_) => Self::failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_agree_with_each_other_and_with_those_of_every_verb() {
        Cli::command().debug_assert();
        let lines = [
            "cvxc agent run --role flaky --targets pool=a --rate 6/s",
            "cvxc demo --simulated 10 --updates 5 --ascii",
            "cvxc get agents -o wide --filter -f",
            "cvxc send --to a --from b --type x --ttl 5s",
            "cvxc logs a -f --tail 5 --since 5m",
            "cvxc exec -it a -- sh -c id",
            "cvxc port-forward a 8080 :9090 1:2",
        ];
        for line in lines {
            let read = Cli::try_parse_from(line.split(' '));
            assert!(read.is_ok(), "{line}: {:?}", read.err().map(|error| error.to_string()));
            if line.contains(" -- ") {
                continue; // what follows is the command's
            }
            // what every verb takes is read beside what only this one takes
            let with = format!("{line} --data-dir d --as observer --log-level debug");
            assert!(Cli::try_parse_from(with.split(' ')).is_ok(), "{with}");
        }
    }
}
