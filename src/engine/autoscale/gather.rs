//! What the scaling algorithm is told of a pool: its agents from the view, and what only the store knows.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;

use crate::engine::context::Context;
use crate::engine::documents::read;
use crate::engine::messaging;
use crate::engine::view::AgentRow;
use crate::model::agent::{Desired, Phase};
use crate::model::filter::{Field, Filter};
use crate::model::health::{AgentHealth, HealthStatus};
use crate::model::id::{AgentId, PoolId};
use crate::model::message::MessageStatus;
use crate::model::pool::Pool;
use crate::model::quantity::Cpu;
use crate::model::scaling::{CpuUse, Inputs, Metric, QueueSample, Sample, SampleState};
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{Direction, Key, Query, StoreError};

/// Arrivals are counted over this long.
const ARRIVALS: Duration = Duration::from_secs(60);
/// Time of work is the mean over the latest finished messages of this long, this many at most.
const FINISHED: Duration = Duration::from_secs(600);
const SAMPLE: usize = 200;
/// A usage sample is too old after so many intervals.
const STALE: u32 = 3;

pub async fn inputs(ctx: &Context, id: &PoolId, pool: &Pool) -> Result<Inputs, StoreError> {
    let (view, now) = (ctx.view(), ctx.clock.now());
    let members: Vec<&AgentRow> = view
        .agents
        .iter()
        .map(AsRef::as_ref)
        .filter(|row| row.pool.as_ref() == Some(id) && row.phase != Phase::Deleted)
        .collect();
    let asks = |wanted: fn(&Metric) -> bool| pool.scaling.metrics.iter().any(wanted);
    let reports = if asks(|metric| matches!(metric, Metric::Custom { .. })) {
        reports(ctx, &members).await?
    } else {
        HashMap::new()
    };
    let mut queue = QueueSample::default();
    for row in &members {
        queue.waiting += row.queue.pending;
        queue.in_flight += row.queue.leased;
    }
    if asks(|metric| matches!(metric, Metric::BacklogDrain { .. })) {
        queue.arrivals = arrivals(ctx, &members, now).await?;
        queue.service = service(ctx, &members, now).await?;
    }
    let window = ctx.settings.usage_interval;
    let agents = members
        .iter()
        .map(|row| sample(row, window, now, reports.get(&row.id).cloned().unwrap_or_default()))
        .collect();
    let (current, min, max) = (pool.desired, pool.min, pool.max);
    // what was not counted yet is not nothing
    let queue = view.totals.counted.then_some(queue);
    Ok(Inputs { now, current, min, max, agents, queue })
}

fn sample(row: &AgentRow, window: Duration, now: Time, custom: BTreeMap<String, f64>) -> Sample {
    let state = match row.phase {
        _ if row.desired == Desired::Deleted => SampleState::Leaving,
        Phase::Pending | Phase::Deploying => SampleState::Pending,
        Phase::Running | Phase::Paused => SampleState::Running,
        Phase::Draining | Phase::Stopped | Phase::Failed | Phase::Deleted => SampleState::Leaving,
    };
    let fresh = row.usage.filter(|usage| now.since(usage.at) <= window * STALE);
    Sample {
        state,
        ready: row.phase == Phase::Running && row.health != HealthStatus::Unhealthy,
        started: Some(row.phase_since),
        // one that is not ready now ceased to be so when its health turned; before that it has run well
        ready_changed: Some(match row.health {
            HealthStatus::Unhealthy => row.health_since.max(row.phase_since),
            HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded => {
                row.phase_since
            }
        }),
        cpu_requested: row.cpu_request.map(Cpu),
        cpu: fresh.map(|usage| CpuUse { at: usage.at, window, used: Cpu(usage.cpu_millis) }),
        custom,
    }
}

/// The numbers that agents report with their heartbeats.
async fn reports(
    ctx: &Context,
    members: &[&AgentRow],
) -> Result<HashMap<AgentId, BTreeMap<String, f64>>, StoreError> {
    let keys: Vec<Key> =
        members.iter().map(|row| Key::new(row.id.as_str())).collect::<Result<_, _>>()?;
    let mut found = HashMap::new();
    for keys in keys.chunks(1_000) {
        for document in ctx.store.get_many(Collection::AgentHealth, keys).await? {
            let Ok(health) = read::<AgentHealth>(&document) else { continue };
            let numbers =
                health.report.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
            if let Ok(id) = AgentId::new(document.key.as_str()) {
                found.insert(id, numbers.collect());
            }
        }
    }
    Ok(found)
}

fn field(name: &str) -> Result<Field, StoreError> {
    Field::new(name).map_err(|error| StoreError::Invalid { message: error.to_string() })
}

fn receivers(members: &[&AgentRow]) -> Result<Filter, StoreError> {
    let ids = members.iter().map(|row| Value::from(row.id.as_str())).collect();
    Ok(Filter::In(field("to_agent_id")?, ids))
}

/// Messages a second that came for the pool lately.
async fn arrivals(ctx: &Context, members: &[&AgentRow], now: Time) -> Result<f64, StoreError> {
    let since = now.minus(ARRIVALS).to_string().into();
    let lately = Filter::Gte(field("created_at")?, since);
    let filter = Filter::And(vec![lately, receivers(members)?]);
    let count = ctx.store.count(Collection::AgentMessages, filter).await?;
    Ok(count as f64 / ARRIVALS.as_secs_f64())
}

/// Mean seconds of work on one message; `None` until one was finished.
async fn service(
    ctx: &Context,
    members: &[&AgentRow],
    now: Time,
) -> Result<Option<f64>, StoreError> {
    let created = field("created_at")?;
    let filter = Filter::And(vec![
        Filter::Gte(created.clone(), now.minus(FINISHED).to_string().into()),
        Filter::Eq(field("status")?, MessageStatus::Delivered.name().into()),
        receivers(members)?,
    ]);
    let query = Query {
        sort: vec![(created, Direction::Descending)],
        limit: SAMPLE,
        ..Query::new(Collection::AgentMessages, filter)
    };
    let documents = ctx.store.query(query).await?.documents;
    let spans: Vec<f64> = documents
        .iter()
        .filter_map(|document| messaging::read(document).ok())
        .filter_map(|message| Some(message.acked_at?.since(message.delivered_at?).as_secs_f64()))
        .collect();
    Ok((!spans.is_empty()).then(|| spans.iter().sum::<f64>() / spans.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::loops::look;
    use crate::engine::testing::{World, agent};
    use serde_json::json;
    use std::sync::Arc;

    async fn gathered(world: &World) -> Inputs {
        let id = PoolId::new("web").unwrap();
        inputs(&world.ctx, &id, &Pool::default()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_counted_is_not_an_empty_queue() {
        let world = World::new();
        let mut view = look(&world).await;
        view.totals.counted = false;
        world.ctx.views.send_replace(Arc::new(view));
        assert_eq!(gathered(&world).await.queue, None);
        world.ctx.views.send_replace(Arc::new(look(&world).await));
        assert_eq!(gathered(&world).await.queue, Some(QueueSample::default()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_ran_well_for_an_hour_was_ready_once() {
        let world = World::new();
        let hour = Duration::from_secs(3_600);
        let (began, turned) = (world.ctx.clock.now(), world.ctx.clock.now().plus(hour));
        for (name, status) in [("ailing", "unhealthy"), ("well", "healthy")] {
            let mut member = agent(name, "running");
            member["pool_id"] = json!("web");
            member["phase_since"] = json!(began);
            member["health"] = json!({"status": status, "since": turned});
            world.put(Collection::Agents, name, member).await;
        }
        world.ctx.views.send_replace(Arc::new(look(&world).await));
        let agents = gathered(&world).await.agents;
        let seen: Vec<_> = agents.iter().map(|it| (it.ready, it.ready_changed)).collect();
        assert_eq!(seen, [(false, Some(turned)), (true, Some(began))]);
    }
}
