//! Brings the fleet to what is wanted of it: agents, pools, rolling updates, and the progress of operations. Level-triggered:
//! each part looks at the whole state and does the next thing; what wakes it carries no meaning, and each turn is safe to
//! repeat, by the next leader too.

mod agents;
mod crews;
pub(crate) mod diff;
mod hosts;
pub(crate) mod pools;
mod progress;
mod sights;
pub(crate) mod workload;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::journal::Fence;
use crate::ports::store::BoxError;

/// Runs all parts until `stop` fires, each as a task of its own, so that one that works long holds up none; the step under
/// way is finished first.
///
/// # Errors
/// When another leader has begun. Nothing else ends it: a store or runtime that is away is waited for.
pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    // dropping it ends those that still run, at their next step
    let mut parts = JoinSet::new();
    parts.spawn(agents::run(ctx.clone(), fence.clone(), stop.clone()));
    parts.spawn(pools::run(ctx.clone(), fence.clone(), stop.clone()));
    parts.spawn(crews::run(ctx.clone(), fence.clone(), stop.clone()));
    parts.spawn(hosts::run(ctx.clone(), fence.clone(), stop.clone()));
    parts.spawn(progress::run(ctx, fence, stop));
    while let Some(ended) = parts.join_next().await {
        match ended {
            Ok(end) => end?,
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic); // the supervisor's to tell
                }
            }
        }
    }
    Ok(())
}
