//! What is known of a pool and its members: from the view's rows, and from the store.

use crate::engine::context::Context;
use crate::engine::documents::Agents;
use crate::engine::view::{AgentRow, PoolRow};
use crate::model::agent::{Desired, Phase};
use crate::model::filter::{Field, Filter};
use crate::model::health::HealthStatus;
use crate::model::id::{AgentId, PoolId};
use crate::model::pool::members::Member;
use crate::model::pool::{Pool, PoolStatus, UpdatePolicy};
use crate::model::scaling::ScalingSpec;
use crate::model::schema::Collection;
use crate::ports::store::{Query, StoreError};

/// The pool's agents but its tombstones, as they are in the store.
pub async fn agents_of(ctx: &Context, pool: &PoolId) -> Result<Agents, StoreError> {
    let filter = Filter::And(vec![
        Filter::eq("pool_id", pool.as_str()),
        Filter::Ne(Field::of("phase"), Phase::Deleted.name().into()),
    ]);
    let mut query = Query::new(Collection::Agents, filter);
    let mut found = Agents::default();
    loop {
        let page = ctx.store.query(query.clone()).await?;
        found.extend(page.documents);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(found),
        }
    }
}

/// A member whose document cannot be read: it counts, and nothing is done about it.
pub fn unreadable(ctx: &Context, id: &AgentId, pool: &Pool) -> Member {
    let told = ctx.view().agent(id).map(|row| glimpse(row));
    let member = told.unwrap_or_else(|| Member::of(id.clone(), Default::default(), 0));
    Member { version: pool.template_version.clone(), pinned: true, ..member }
}

/// What the row tells of a member. Whether it ever ran is not in it: a failed one is looked up.
pub fn glimpse(row: &AgentRow) -> Member {
    Member {
        id: row.id.clone(),
        name: row.name.as_str().to_owned(),
        version: row.template_version.as_str().to_owned(),
        desired: row.desired,
        phase: row.phase,
        health: row.health,
        busy: 0,
        pinned: row.pinned,
        created_at: row.created_at,
        failures: row.failures,
        ran: row.phase != Phase::Failed,
        reason: row.reason.as_str().to_owned(),
    }
}

/// What the row tells of a pool.
pub fn sketch(row: &PoolRow) -> Pool {
    Pool {
        name: row.name.as_str().to_owned(),
        desired: row.desired,
        template_version: row.template_version.as_str().to_owned(),
        update: UpdatePolicy { max_surge: row.max_surge, max_unavailable: row.max_unavailable },
        scaling: ScalingSpec { mode: row.scaling.mode, ..ScalingSpec::default() },
        paused: row.paused,
        deleting: row.deleting,
        purge_at: row.purge_at,
        status: PoolStatus {
            ready: row.ready,
            updated: row.updated,
            unhealthy: row.unhealthy,
            pending: row.pending,
            total: row.total,
            reason: row.reason.as_str().to_owned(),
            halted: row.halted,
            ..PoolStatus::default()
        },
        ..Pool::default()
    }
}

/// What of an agent's row matters to its pool.
pub fn essence(row: &AgentRow) -> impl PartialEq + use<'_> {
    let is: (Desired, Phase, HealthStatus, u32) =
        (row.desired, row.phase, row.health, row.failures);
    (row.pool.as_ref(), is, &row.template_version, row.pinned, &row.reason)
}
