//! Opens the console on a running engine: on this thread, with a runtime of its own.

use std::io::Write;
use std::time::Duration;

use super::args::ConsoleArgs;
use super::fail::Fail;
use crate::boot::{self, Ground, Opened, Part, Request, Simulation};
use crate::model::text::Safe;
use crate::tui::{self, Ending, history::History};

/// What opening may take without a word.
const SILENT: Duration = Duration::from_millis(500);

/// Opens what the console is to show. Until it is open there is no screen: on a slow link a line on stderr says what is
/// waited for.
///
/// # Errors
/// Those of [`boot::open`].
pub async fn open(
    ground: &Ground,
    part: Part,
    simulation: Option<Simulation>,
) -> Result<Opened, Fail> {
    let place = Safe::new(&boot::whereabouts(ground)?);
    let opening = std::pin::pin!(boot::open(ground, part, simulation));
    Ok(said_while_slow(opening, &place, &mut std::io::stderr()).await?)
}

async fn said_while_slow<T>(
    mut opening: std::pin::Pin<&mut impl Future<Output = T>>,
    place: &Safe,
    to: &mut impl Write,
) -> T {
    if let Ok(done) = tokio::time::timeout(SILENT, opening.as_mut()).await {
        return done;
    }
    drop(writeln!(to, "opening the fleet in {place} …")); // who does not hear it waits all the same
    opening.await
}

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

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(takes: Duration) -> String {
        let mut to = Vec::new();
        let opening = std::pin::pin!(tokio::time::sleep(takes));
        said_while_slow(opening, &Safe::new("db:8529/fleet"), &mut to).await;
        String::from_utf8(to).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_is_named_while_it_is_waited_for_and_a_quick_one_is_not() {
        assert_eq!(said(SILENT / 2).await, "");
        assert_eq!(said(SILENT * 2).await, "opening the fleet in db:8529/fleet …\n");
    }
}
