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
    Ok(Inputs { now, current, min, max, agents, queue: Some(queue) })
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
        ready_changed: Some(row.phase_since),
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
