//! Opens the console on a running engine: on this thread, with a runtime of its own.

use super::args::ConsoleArgs;
use super::fail::Fail;
use crate::boot::{self, Ground, Opened, Request};
use crate::tui::{self, Ending, history::History};

/// How the console is to look and behave, as settings and arguments say.
pub fn options(
    ground: &Ground,
    request: &Request,
    args: &ConsoleArgs,
    parting: tui::Parting,
) -> tui::Options {
    let request = request.clone();
    let reread = move || {
        let read = boot::ground(&request).map_err(|error| error.to_string());
        read.map(|ground| ground.loaded.settings)
    };
    tui::Options {
        reread: tui::Reread(Box::new(reread)),
        config: ground.places.config.clone(),
        dumps: ground.places.dumps(),
        settings: ground.loaded.settings.console.clone(),
        limits: ground.loaded.settings.thresholds,
        readonly: args.readonly,
        parting,
        context: tui::ui::Context::default(),
        contexts: Vec::new(),
        first_line: super::contexts::first_line(args),
        notice: None,
        history: History::default(),
        clock: ground.clock.clone(),
    }
}

/// Shows the console until the operator leaves or goes over to another context, the terminal goes away or a signal comes.
///
/// # Errors
/// When the terminal cannot be used; the screen has been given back.
pub fn show(
    opened: &Opened,
    options: tui::Options,
    engine: &tokio::runtime::Runtime,
) -> Result<(Ending, History), Fail> {
    let _inside = engine.enter();
    tui::run(opened.handle.clone(), opened.actor.clone(), options)
        .map_err(|error| Fail::failed(error.to_string()))
}
