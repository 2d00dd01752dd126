//! Looks at the fleet without a screen: one view as text, what is not well, or a console line by line.

use std::time::Duration;

use super::args::ConsoleArgs;
use super::fail::Fail;
use super::{output, threads};
use crate::boot::{self, Ground, Opened, Part, Request};
use crate::engine::view::FleetView;
use crate::model::agent::Phase;
use crate::model::health::HealthStatus;
use crate::model::text::Safe;
use crate::ports::store::chain;
use crate::telemetry;
use crate::tui::camera::Camera;
use crate::tui::pages::health::{is_sick, parts, verdict};

/// How long the fleet may take to be read.
const PATIENCE: Duration = Duration::from_secs(10);

/// The size of a picture in text where no terminal says another.
const SIZE: (u16, u16) = (120, 40);

async fn observe(ground: &Ground) -> Result<Opened, Fail> {
    let opened = boot::open(ground, Part::Look, None).await?;
    match opened.loaded(PATIENCE).await {
        Ok(()) => Ok(opened),
        Err(error) => {
            opened.running.stop(Duration::from_secs(2)).await;
            Err(Fail::with(3, chain(&error)))
        }
    }
}

/// `--snapshot VIEW`: the screen that the line would lead to, as text.
///
/// # Errors
/// Exit code 2 for a line that means nothing, 3 when the store cannot be reached.
pub fn snapshot(request: &Request, args: &ConsoleArgs) -> Result<(), Fail> {
    let line = args.snapshot.clone().unwrap_or_default();
    crate::tui::command::parse(&line).map_err(|why| Fail::usage(&why))?;
    let ground = boot::ground(request)?;
    let _logs = telemetry::start(&ground.loaded.settings.log, None, false).map_err(Fail::usage)?;
    threads()?.block_on(async {
        let opened = observe(&ground).await?;
        let number = |name: &str| std::env::var(name).ok()?.parse::<u16>().ok();
        let size = (number("COLUMNS").unwrap_or(SIZE.0), number("LINES").unwrap_or(SIZE.1));
        let mut camera = camera(&opened, &ground, args, size);
        // a view that asks to leave is as good as any other: it is drawn and left
        let _ = camera.line(&format!(":{line}")).await;
        let text = camera.text();
        opened.running.stop(Duration::from_secs(2)).await;
        for line in text.lines() {
            output::line(line)?;
        }
        Ok(())
    })
}

fn camera(opened: &Opened, ground: &Ground, args: &ConsoleArgs, size: (u16, u16)) -> Camera {
    let (handle, actor) = (opened.handle.clone(), opened.actor.clone());
    let mut camera = Camera::new(handle, actor, ground.clock.clone(), "mono", size);
    camera.settle_in(&ground.places.config, args.ascii, args.readonly);
    camera
}

/// `--check`: what is not well, a line each.
///
/// # Errors
/// Exit code 1 when something is not well, 3 when the store cannot be reached.
pub fn check(request: &Request) -> Result<(), Fail> {
    let ground = boot::ground(request)?;
    let _logs = telemetry::start(&ground.loaded.settings.log, None, false).map_err(Fail::usage)?;
    let mut faults = crate::tui::check_files(&ground.places.config);
    let view = threads()?.block_on(async {
        let opened = observe(&ground).await?;
        opened.probed(PATIENCE).await;
        let view = opened.handle.views().borrow().clone();
        opened.running.stop(Duration::from_secs(2)).await;
        Ok::<_, Fail>(view)
    })?;
    faults.extend(not_well(&view));
    for fault in &faults {
        output::line(Safe::new(fault).as_str())?;
    }
    let running = view.totals.phase(Phase::Running);
    if faults.is_empty() {
        return output::line(&format!("all well: {running} agents running"));
    }
    Err(Fail::failed(format!("{} not well, {running} agents running", faults.len())))
}

/// A line for each part and each agent that is not well.
fn not_well(view: &FleetView) -> Vec<String> {
    let bad =
        |health: HealthStatus| matches!(health, HealthStatus::Unhealthy | HealthStatus::Degraded);
    let mut lines = Vec::new();
    if bad(verdict(view)) {
        let parts = parts(view).into_iter().filter(|part| bad(part.health));
        lines.extend(parts.map(|part| format!("{}: {}: {}", part.name, part.word, part.evidence)));
    }
    let sick = view.agents.iter().filter(|row| is_sick(row));
    lines.extend(sick.map(|row| {
        let why = if row.reason.as_str().is_empty() { &row.health_message } else { &row.reason };
        format!("agent {}: {}: {why}", row.name, row.phase.name())
    }));
    lines
}

/// `--plain`: reads commands line by line and answers in lines, nothing else: no cursor, no colour, no redrawing.
///
/// # Errors
/// When the fleet cannot be opened, or standard output is closed.
pub fn plain(
    runtime: &tokio::runtime::Runtime,
    ground: &Ground,
    args: &ConsoleArgs,
) -> Result<(), Fail> {
    let watches = args.observe || args.readonly || super::demo::is_played(&ground.places.data);
    let part = if watches { Part::Look } else { Part::Contend };
    let opened = runtime.block_on(boot::open(ground, part, None))?;
    let outcome = converse(runtime, &opened, ground, args);
    runtime.block_on(opened.running.stop(Duration::from_secs(10)));
    outcome
}

/// Reads with the thread that has nothing else to do; the engine goes on in its own.
fn converse(
    runtime: &tokio::runtime::Runtime,
    opened: &Opened,
    ground: &Ground,
    args: &ConsoleArgs,
) -> Result<(), Fail> {
    let loaded = runtime.block_on(opened.loaded(PATIENCE));
    loaded.map_err(|error| Fail::with(3, chain(&error)))?;
    let _inside = runtime.enter();
    let mut camera = camera(opened, ground, args, SIZE);
    output::line(
        "cvxc, line by line. Type a command such as :pools or /failed, or keys such as j, d, esc. ? lists keys, :q leaves.",
    )?;
    let mut line = super::contexts::first_line(args).map(|line| format!(":{line}"));
    let mut input = std::io::stdin().lines();
    loop {
        if let Some(line) = &line
            && runtime.block_on(camera.line(line.trim())).is_break()
        {
            return Ok(());
        }
        for line in camera.linear() {
            output::line(&line)?;
        }
        match input.next() {
            Some(Ok(next)) => line = Some(next),
            Some(Err(_)) | None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_that_was_never_looked_at_has_nothing_to_report() {
        let faults = not_well(&FleetView::default());
        assert_eq!(faults.len(), 1, "only that nobody leads: {faults:?}");
    }
}
