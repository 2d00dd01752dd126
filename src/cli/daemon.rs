//! `cvxc --daemon`: the engine without a screen. SIGTERM ends it in stages, SIGHUP reads the settings again.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;

use super::fail::Fail;
use super::signals::on;
use crate::boot::{self, Ground, Part, Request};
use crate::engine::supervise::{Role, Supervisor};
use crate::gateway::{self, metrics::Meters};
use crate::telemetry;

/// How long the loops may take to finish their current step.
const GRACE: Duration = Duration::from_secs(10);
const EDGE_GRACE: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT; agents go on without it.
///
/// # Errors
/// Exit code 2 for settings, 3 when the store's file is corrupt or newer than this program.
pub async fn run(request: &Request, ground: Ground) -> Result<(), Fail> {
    let (mut term, mut int, mut hup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    if super::demo::is_played(&ground.places.data) {
        return Err(Fail::usage(format!(
            "--data-dir {}: the agents of this fleet are played and only `cvxc demo --simulated N` runs them",
            ground.places.data.display()
        )));
    }
    let part = if ground.loaded.settings.daemon.priority { Part::Priority } else { Part::Contend };
    let opened = boot::open(&ground, part, None).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data = %ground.places.data.display(), "daemon started");

    let stop = CancellationToken::new();
    let mut edge = Supervisor::new(stop.clone());
    let meters = Arc::new(Meters::default());
    let (handle, counting) = (opened.handle.clone(), meters.clone());
    edge.spawn("metrics", Role::Helper { pause: Duration::from_secs(1) }, move |stop| {
        counting.clone().follow(handle.clone(), stop)
    });
    let (handle, listen) = (opened.handle.clone(), ground.loaded.settings.daemon.listen);
    // a taken port is a warning and a later try, never an exit
    edge.spawn("gateway", Role::Helper { pause: Duration::from_secs(5) }, move |stop| {
        gateway::serve(handle.clone(), meters.clone(), listen, stop)
    });

    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => reload(request),
        }
    }
    tracing::info!("stopping: the current step is finished, agents go on");
    let second = async {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    };
    let stages = async {
        edge.stop(EDGE_GRACE).await;
        opened.running.stop(GRACE).await;
    };
    tokio::select! {
        () = stages => tracing::info!("stopped"),
        () = second => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(())
}

/// Takes over what can change in a running program; a bad file changes nothing and says why.
fn reload(request: &Request) {
    match boot::ground(request) {
        Ok(ground) => match telemetry::set_level(&ground.loaded.settings.log.level) {
            Ok(()) => tracing::info!(
                "settings read again; what is opened at start (store, runtime, address, lease) keeps its value"
            ),
            Err(error) => tracing::error!(error, "the settings were not taken over"),
        },
        Err(error) => tracing::error!(error = %error, "the settings were not taken over"),
    }
}
