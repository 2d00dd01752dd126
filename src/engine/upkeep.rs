//! The leader's broom: once a minute the store removes what has passed its expiry and what no feed needs any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::journal::Fence;
use crate::ports::store::{BoxError, chain};

const NAME: &str = "upkeep";
const PERIOD: Duration = Duration::from_secs(60);

/// Sweeps until `stop`. Removing twice what has expired does no harm, so no fence is needed.
///
/// # Errors
/// None at present; what a sweep left undone the next one does.
pub async fn run(
    ctx: Arc<Context>,
    _fence: Fence,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    while stop.run_until_cancelled(sleep(PERIOD)).await.is_some() {
        let began = ctx.clock.instant();
        let outcome = ctx.store.maintain(ctx.clock.now()).await;
        let fault = outcome.as_ref().err().map(|error| chain(error));
        if let Some(error) = &fault {
            tracing::warn!(error, "the store's upkeep failed");
        }
        let took = ctx.clock.instant().saturating_duration_since(began);
        ctx.loops.ran(NAME, ctx.clock.now(), took, fault.as_deref());
    }
    Ok(())
}
