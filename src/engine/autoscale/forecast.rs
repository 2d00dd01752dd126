//! What the autoscaler would choose for a pool at this moment, for plans that scale it by hand. Nothing is kept or changed.

use super::{gather, remembered};
use crate::engine::context::Context;
use crate::model::id::PoolId;
use crate::model::pool::Pool;
use crate::model::scaling::{Decision, Mode, Reach, ScalingSpec, decide, reach};
use crate::ports::store::StoreError;

/// The autoscaler's choice if it were asked now, whether or not it may act.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    pub decision: Decision,
    /// How far its rules let it go for now.
    pub up: Reach,
    pub down: Reach,
}

/// The forecast for `pool`; `None` for one that has nothing to be measured by.
///
/// # Errors
/// Those of the store.
pub async fn forecast(
    ctx: &Context,
    id: &PoolId,
    pool: &Pool,
) -> Result<Option<Forecast>, StoreError> {
    if pool.scaling.metrics.is_empty() || pool.scaling.mode == Mode::Hpa {
        return Ok(None);
    }
    // a hold and the mode say who may act, not what the numbers ask for
    let spec = ScalingSpec { mode: Mode::Engine, hold_until: None, ..pool.scaling.clone() };
    let inputs = gather::inputs(ctx, id, pool).await?;
    let history = remembered(pool);
    let (up, down) = reach(&spec, &history, pool.desired, inputs.now);
    Ok(Some(Forecast { decision: decide(&spec, &inputs, &history), up, down }))
}
