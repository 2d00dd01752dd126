//! What the runtime would say to a plan, before anything happens.

use std::time::Duration;

use tokio::time::timeout;

use super::planner::Planner;
use super::resolve::Found;
use crate::engine::reconcile::pools::Mould;
use crate::engine::reconcile::workload;
use crate::model::agent::Agent;
use crate::model::id::{AgentId, PoolId};
use crate::model::pool::Pool;
use crate::ports::runtime::RuntimeError;
use crate::ports::store::{StoreError, chain};

/// A plan is not kept waiting for longer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The agent that is never made.
const NOBODY: &str = "rehearsal";

impl Planner<'_> {
    /// What the runtime says of `count` new members of `pool`, for the plan's warnings.
    pub(super) async fn rehearse_pool(
        &self,
        pool: &Found<Pool>,
        count: u32,
    ) -> Result<Vec<String>, StoreError> {
        let Ok(id) = PoolId::new(pool.id()) else { return Ok(Vec::new()) };
        if count == 0 {
            return Ok(Vec::new());
        }
        match Mould::of(self.ctx, &id, &pool.value).await? {
            Ok(mould) => Ok(self.rehearse(&mould.sample(self.now), count).await),
            // why there is none, the pool says itself
            Err(_) => Ok(Vec::new()),
        }
    }

    /// What the runtime says of `count` agents like this one.
    pub(super) async fn rehearse(&self, agent: &Agent, count: u32) -> Vec<String> {
        // a plan that is being confirmed has been rehearsed
        let Ok(nobody) = AgentId::new(NOBODY) else { return Vec::new() };
        if self.prefer.is_some() {
            return Vec::new();
        }
        let workload = workload::of(self.ctx, &nobody, agent);
        let asked = timeout(PATIENCE, self.ctx.runtime.rehearse(&workload, count)).await;
        match asked {
            Ok(Ok(told)) => told,
            Ok(Err(RuntimeError::Rejected { message } | RuntimeError::Forbidden { message })) => {
                vec![format!("the runtime would refuse it: {message}")]
            }
            Ok(Err(error)) => vec![format!("not checked with the runtime: {}", chain(&error))],
            Err(_) => vec!["not checked with the runtime: it did not answer in time".to_owned()],
        }
    }
}
