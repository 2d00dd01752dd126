//! The console over one fleet after another: each context is opened, shown and closed before the next, and a fleet that
//! cannot be opened leaves the operator where they were. Also `cvxc info`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use super::args::{ActOutput, Cli, ConsoleArgs};
use super::fail::Fail;
use super::{console, look, output, places, threads};
use crate::boot::{self, Ground, Part, Request};
use crate::model::text::Safe;
use crate::settings::RuntimeKind;
use crate::settings::contexts::{self, ContextSettings, DEFAULT};
use crate::settings::places::Places;
use crate::telemetry;
use crate::tui::{self, Ending};

/// Takes `--context` out of the arguments where it names a fleet of contexts.toml; else it is the kubeconfig's.
///
/// # Errors
/// Exit code 2 when the file is wrong, or when there is neither such a fleet nor a cluster to look for it.
pub fn take(cli: &mut Cli) -> Result<Option<String>, Fail> {
    let Some(name) = cli.global.context.take() else { return Ok(None) };
    let request = super::request(&cli.global, &cli.serve, &cli.console);
    let all = contexts::load(&config(&request)?).map_err(|error| Fail::usage(error.to_string()))?;
    match contexts::named(&all, &name) {
        Ok(_) => Ok(Some(name)),
        Err(why) => {
            let settings = boot::ground(&request)?.loaded.settings;
            if settings.runtime.kind == RuntimeKind::Local {
                return Err(Fail::usage(why));
            }
            cli.global.context = Some(name);
            Ok(None)
        }
    }
}

/// The request with what a context sets; flags that were given stand above it.
///
/// # Errors
/// Exit code 2 when there is no such context, or its file is wrong.
pub fn enter(request: &Request, name: &str) -> Result<(Request, ContextSettings), Fail> {
    let config = config(request)?;
    if let Some(place) = places::named(request, name)? {
        let request = Request { config: Some(config), ..place };
        return Ok((request, ContextSettings::default()));
    }
    let all = contexts::load(&config).map_err(|error| Fail::usage(error.to_string()))?;
    let context = contexts::named(&all, name).map_err(Fail::usage)?;
    let mut request = request.clone();
    let settings = [
        ("store.url", &context.store),
        ("runtime.kind", &context.runtime),
        ("kubernetes.kubeconfig", &context.kubeconfig),
        ("kubernetes.context", &context.kube_context),
        ("kubernetes.namespace", &context.namespace),
        ("console.theme", &context.theme),
    ];
    let settings = settings.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
    let limits = context.thresholds.settings().map(|(key, limit)| (key, limit.to_string()));
    for (key, value) in settings.chain(limits) {
        if request.flags.iter().all(|(known, ..)| *known != key) {
            request.flags.push((key, value, "contexts.toml"));
        }
    }
    request.role = request.role.or(context.role.map(|role| role.0));
    request.data_dir = context.data_dir.clone().or(request.data_dir);
    request.config = Some(config);
    Ok((request, context))
}

fn config(request: &Request) -> Result<std::path::PathBuf, Fail> {
    if let Some(config) = &request.config {
        return Ok(config.clone());
    }
    let environment: BTreeMap<String, String> = boot::utf8_environment();
    let places = Places::find(request.data_dir.as_deref(), &environment);
    places
        .map(|places| places.config)
        .ok_or_else(|| Fail::usage("there is no home directory: name a folder with --data-dir"))
}

/// Shows the console, in one context after another, until the operator leaves.
///
/// # Errors
/// When the first fleet cannot be opened, or the terminal cannot be used.
pub fn open_console(request: &Request, cli: &Cli, given: Option<&str>) -> Result<(), Fail> {
    let args = &cli.console;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !terminal && !args.plain {
        return Err(Fail::usage(
            "the console needs a terminal; without one use `cvxc --plain`, `cvxc --daemon`, `cvxc get …` or `cvxc status`",
        ));
    }
    if !args.plain && std::env::var("TERM").is_ok_and(|term| term == "dumb") {
        return Err(Fail::usage(
            "TERM=dumb: the console needs a terminal that moves its cursor; use `cvxc --plain`, `cvxc get …` or `cvxc status`",
        ));
    }
    let ground = boot::ground(request)?;
    let _logs = telemetry::start(&ground.loaded.settings.log, Some(&ground.places.logs), false)
        .map_err(Fail::usage)?;
    let runtime = threads()?;
    if args.plain {
        return look::plain(&runtime, &ground, args);
    }
    // what was given on the command line without a context is the base of every context
    let base = super::request(&cli.global, &cli.serve, &cli.console);
    let all = contexts::load(&ground.places.config).unwrap_or_default();
    let known = crate::boot::cluster::known(&ground.loaded.settings);
    let mut name = given.unwrap_or(DEFAULT).to_owned();
    let mut started = Start { line: first_line(args), ..Start::default() };
    let mut histories: BTreeMap<String, tui::history::History> = BTreeMap::new();
    let mut before: Option<String> = None;
    // the context that a place of a cluster is seen from: its kubeconfig, its rights and its protection hold there too
    let mut home = (base.clone(), ContextSettings::default());
    loop {
        let is_place = name.starts_with(tui::CLUSTER);
        let going_over = before.is_some();
        let mut open = || -> Result<_, Fail> {
            let (request, context) = match is_place {
                true => (enter(&home.0, &name)?.0, home.1.clone()),
                false => enter(&base, &name)?,
            };
            let reads = (args.observe || args.readonly || context.read_only) && !args.write;
            let ground = boot::ground(&request)?;
            // a mistyped place is told, not filled; a namespace has a fleet of its own from the first look on
            if (reads || going_over) && !is_place {
                super::there_is_a_fleet(&ground)?;
            }
            let played = super::demo::is_played(&ground.places.data);
            let part = if reads || played { Part::Look } else { Part::Contend };
            if played && !reads {
                started.notice.get_or_insert_with(|| ONLY_PLAYED.to_owned());
            }
            let opened = runtime.block_on(console::open(&ground, part, None))?;
            Ok((opened, ground, request, context))
        };
        let (opened, ground, again, context) = match (open(), before.take()) {
            (Ok(opened), _) => opened,
            (Err(error), None) => return Err(error),
            (Err(error), Some(back)) => {
                started.notice = Some(format!("{name} cannot be opened: {}", error.message));
                (name, started.line) = (back, None);
                continue;
            }
        };
        if !is_place {
            home = (again.clone(), context.clone());
        }
        let mut options = console::options(&ground, &again, args, tui::Parting::GoOn);
        options.context = tui::ui::Context {
            name: if all.is_empty() && name == DEFAULT {
                Safe::default()
            } else {
                Safe::new(&name)
            },
            protected: context.protected,
            cluster: places::here(&ground.loaded.settings),
        };
        options.contexts = listed(&all, &known);
        options.readonly = (args.readonly || context.read_only) && !args.write;
        options.first_line = started.line.take();
        options.notice = started.notice.take();
        options.history = histories.remove(&name).unwrap_or_default();
        let shown = console::show(&opened, options, &runtime);
        let view = opened.handle.views().borrow().clone();
        runtime.block_on(opened.running.stop(Duration::from_secs(10)));
        match shown? {
            (Ending::Switch { context, line }, history) => {
                histories.insert(name.clone(), history);
                before = Some(std::mem::replace(&mut name, context));
                started.line = line;
            }
            (Ending::Quit, _) => {
                if view.system.leader.me {
                    let agents = view.totals.phase(crate::model::agent::Phase::Running);
                    output::line(&format!(
                        "{agents} agents go on; nobody leads until `cvxc` or `cvxc --daemon` runs"
                    ))?;
                }
                return Ok(());
            }
        }
    }
}

/// Why this console does not lead a demo's fleet of played agents.
const ONLY_PLAYED: &str = "the agents of this fleet are played: this console watches, `cvxc demo --simulated N` with the same folder runs them";

/// How the next console begins.
#[derive(Default)]
struct Start {
    line: Option<String>,
    notice: Option<String>,
}

/// The first view: `-c` in the scope of `-n`.
pub fn first_line(args: &ConsoleArgs) -> Option<String> {
    let scope = args.scope.as_ref().map(|scope| format!("ns:{scope}"));
    let scope = scope.or_else(|| args.all_scopes.then(|| "all".to_owned()));
    match (&args.command, scope) {
        (Some(line), Some(scope)) => Some(format!("{line} {scope}")),
        (Some(line), None) => Some(line.clone()),
        (None, Some(scope)) => Some(format!("agents {scope}")),
        (None, None) => None,
    }
}

/// Every context with a word about it, for the command bar.
fn listed(
    all: &BTreeMap<String, ContextSettings>,
    known: &crate::boot::cluster::Known,
) -> Vec<(String, String)> {
    if all.is_empty() && known.contexts.is_empty() {
        return Vec::new();
    }
    let note = |context: &ContextSettings| {
        let mut note = vec![context.store.clone().unwrap_or_else(|| "embedded store".to_owned())];
        note.extend(context.protected.then(|| "protected".to_owned()));
        note.extend(context.read_only.then(|| "read-only".to_owned()));
        note.join(", ")
    };
    let default = (!all.contains_key(DEFAULT))
        .then(|| (DEFAULT.to_owned(), note(&ContextSettings::default())));
    let own = default.into_iter().chain(all.iter().map(|(name, it)| (name.clone(), note(it))));
    own.chain(places::listed(known)).collect()
}

/// `cvxc info`: where everything is kept.
///
/// # Errors
/// When standard output is closed.
pub fn info(ground: &Ground, context: Option<&str>, format: ActOutput) -> Result<(), Fail> {
    let places = &ground.places;
    let show = |path: std::path::PathBuf| path.display().to_string();
    let store = &ground.loaded.settings.store.url;
    let rows = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("context", context.unwrap_or(DEFAULT).to_owned()),
        ("settings", show(places.settings_file())),
        ("contexts", show(places.config.join("contexts.toml"))),
        ("views", show(places.config.join("views.toml"))),
        ("bookmarks", show(places.config.join("bookmarks.toml"))),
        ("themes", show(places.config.join("themes"))),
        ("keymaps", show(places.config.join("keymaps"))),
        ("store", if store.is_empty() { show(places.store_file()) } else { store.clone() }),
        ("agents", show(places.agents())),
        ("logs", show(places.logs.clone())),
        ("dumps", show(places.dumps())),
    ];
    if format == ActOutput::Json {
        let rows: serde_json::Map<String, serde_json::Value> =
            rows.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return output::json(&rows);
    }
    for (name, value) in rows {
        output::line(Safe::new(&format!("{name:<10} {value}")).as_str())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_gives_what_no_flag_gave() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[prod]\nstore = \"/srv/a.db\"\ntheme = \"high-contrast\"\nas = \"observer\"\n\
                    [prod.thresholds]\nqueue = \"5/9\"\noldest = \"1m/2m\"\n";
        std::fs::write(folder.path().join("contexts.toml"), text).unwrap();
        let base = Request {
            config: Some(folder.path().to_owned()),
            flags: vec![("store.url", "/other.db".into(), "--store")],
            ..Request::default()
        };
        let (request, context) = enter(&base, "prod").unwrap();
        let flag = |key: &str| {
            let found = request.flags.iter().find(|(known, ..)| *known == key);
            found.map(|(_, value, _)| value.as_str())
        };
        assert_eq!(flag("store.url"), Some("/other.db"), "a flag stands above the file");
        assert_eq!(flag("console.theme"), Some("high-contrast"));
        assert_eq!(flag("thresholds.queue"), Some("5/9"));
        assert_eq!(flag("thresholds.oldest"), Some("60/120"), "a span counts seconds");
        assert_eq!(flag("thresholds.cpu"), None);
        assert_eq!(request.role, Some(crate::model::access::Role::Observer));
        assert!(!context.protected);
        assert!(enter(&base, "prd").unwrap_err().message.contains("did you mean prod?"));
    }

    #[test]
    fn the_first_view_is_in_the_scope_that_was_asked_for() {
        let args = |command: Option<&str>, scope: Option<&str>| ConsoleArgs {
            command: command.map(str::to_owned),
            scope: scope.map(str::to_owned),
            ..ConsoleArgs::default()
        };
        assert_eq!(first_line(&args(None, None)), None);
        assert_eq!(first_line(&args(Some("pools"), None)).as_deref(), Some("pools"));
        assert_eq!(first_line(&args(None, Some("acme"))).as_deref(), Some("agents ns:acme"));
        assert_eq!(first_line(&args(Some("mq"), Some("acme"))).as_deref(), Some("mq ns:acme"));
    }
}
