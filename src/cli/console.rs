//! Opens the console on a running engine: on this thread, with a runtime of its own.

use super::args::ConsoleArgs;
use super::fail::Fail;
use crate::boot::{Ground, Opened};
use crate::tui;

/// Shows the console until the operator leaves, the terminal goes away or a signal comes.
///
/// # Errors
/// When the terminal cannot be used; the screen has been given back.
pub fn show(
    opened: &Opened,
    ground: &Ground,
    args: &ConsoleArgs,
    parting: tui::Parting,
    engine: &tokio::runtime::Runtime,
) -> Result<(), Fail> {
    let options = tui::Options {
        config: ground.places.config.clone(),
        dumps: ground.places.dumps(),
        settings: ground.loaded.settings.console.clone(),
        readonly: args.readonly,
        parting,
        clock: ground.clock.clone(),
    };
    let _inside = engine.enter();
    tui::run(opened.handle.clone(), opened.actor.clone(), options)
        .map_err(|error| Fail::failed(error.to_string()))
}
