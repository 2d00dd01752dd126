//! Starts an engine over its context and stops it in order: loops finish their step, the lease is released, the store is
//! closed last.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::core::Core;
use crate::engine::handle::Handle;
use crate::engine::leadership::{self, LoopSpec};
use crate::engine::supervise::{Name, Role, Supervisor};
use crate::engine::{autoscale, messaging, mirror, reconcile};

/// First pause before a task that failed runs again.
const PAUSE: Duration = Duration::from_secs(1);
/// The mirror goes after the loops, because the loops read it.
const MIRROR_GRACE: Duration = Duration::from_secs(2);

/// An engine at work.
#[derive(Debug)]
pub struct Running {
    pub handle: Handle,
    ctx: Arc<Context>,
    acting: Supervisor,
    watching: Supervisor,
}

/// The loops that the leader runs.
fn loops() -> Vec<LoopSpec> {
    vec![
        LoopSpec::new("reconcile", reconcile::run),
        LoopSpec::new("autoscale", autoscale::run),
        LoopSpec::new("messages", messaging::sweep::run),
    ]
}

/// Starts mirror and leadership; call it inside a tokio runtime.
pub fn start(ctx: Arc<Context>) -> Running {
    let mut watching = Supervisor::new(CancellationToken::new());
    let mut acting = Supervisor::new(CancellationToken::new());
    let mirrored = ctx.clone();
    watching.spawn("mirror", Role::Helper { pause: PAUSE }, move |stop| {
        mirror::run(mirrored.clone(), stop)
    });
    let contending = ctx.clone();
    acting.spawn("leadership", Role::Helper { pause: PAUSE }, move |stop| {
        leadership::run(contending.clone(), loops(), stop)
    });
    Running { handle: Core::handle(ctx.clone()), ctx, acting, watching }
}

impl Running {
    /// Stops in stages: the loops within `grace` and the lease with them, then the mirror, then the store. Returns the
    /// names of tasks that did not end in time and were aborted.
    pub async fn stop(self, grace: Duration) -> Vec<Name> {
        let mut deaf = self.acting.stop(grace).await;
        deaf.extend(self.watching.stop(MIRROR_GRACE).await);
        self.ctx.store.close().await;
        deaf
    }
}
