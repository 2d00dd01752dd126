//! Usage: every agent that runs is sampled once an interval, in even batches, so that ten thousand cost a thousand samples a
//! second and never all at once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::engine::context::Context;
use crate::engine::documents::body;
use crate::engine::fenced::{Fault, Fenced, Pace};
use crate::engine::journal::Fence;
use crate::engine::view::FleetView;
use crate::model::health::Usage;
use crate::model::id::AgentId;
use crate::model::schema::Collection;
use crate::ports::runtime::RuntimeError;
use crate::ports::store::{BoxError, Key, Write};

const NAME: &str = "usage";
/// Agents in one batch, as long as an interval has room for so many batches.
const BATCH: usize = 500;
const BATCHES: usize = 100;
/// Writes in one transaction.
const WRITES: usize = 500;
const LIMIT: Duration = Duration::from_secs(10);

pub async fn run(ctx: Arc<Context>, fence: Fence, stop: CancellationToken) -> Result<(), BoxError> {
    let pen = Fenced::new(ctx.clone(), fence, "loop:usage");
    // time runs in hundredths of the interval; a batch is due at each, at every second or tenth one
    let tick = (ctx.settings.usage_interval / BATCHES as u32).max(Duration::from_millis(1));
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut pace, mut round) = (Pace::default(), Round::default());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let view = ctx.view();
        if !view.loaded || view.stale_since.is_some() {
            continue;
        }
        let batch = round.next(&view);
        // a small fleet has few batches: nobody wakes for the ticks between them
        if let Ok(idle) = u32::try_from(std::mem::take(&mut round.wait))
            && idle > 0
        {
            ticks.reset_after(tick * (idle + 1));
        }
        if batch.is_empty() {
            continue;
        }
        let began = ctx.clock.instant();
        let outcome = sample(&pen, &batch).await;
        if let Some(pause) = pace.turned(&ctx, NAME, began, outcome)? {
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }
    Ok(())
}

async fn sample(pen: &Fenced, batch: &[AgentId]) -> Result<(), Fault> {
    let silent = |_| Err(RuntimeError::OutcomeUnknown("no usage in time".into()));
    let samples = timeout(LIMIT, pen.ctx.runtime.usage(batch)).await.unwrap_or_else(silent)?;
    let now = pen.ctx.clock.now();
    let note = |(agent, usage): &(AgentId, Usage)| -> Result<Write, Fault> {
        let fields = body(&json!({"agent_id": agent.as_str(), "usage": usage, "checked_at": now}))?;
        let key = Key::new(agent.as_str())?;
        Ok(Write::Merge { collection: Collection::AgentHealth, key, fields, create: true })
    };
    let writes: Vec<Write> = samples.iter().map(note).collect::<Result<_, _>>()?;
    for writes in writes.chunks(WRITES) {
        pen.sample(writes.to_vec()).await?;
    }
    Ok(())
}

/// Where the round through the fleet stands.
#[derive(Debug, Default)]
struct Round {
    /// The last that was sampled.
    last: Option<AgentId>,
    /// Ticks until the next batch.
    wait: usize,
}

impl Round {
    /// Called a hundred times an interval: whom to sample now, so that each has its turn once an interval.
    fn next(&mut self, view: &FleetView) -> Vec<AgentId> {
        if self.wait > 0 {
            self.wait -= 1;
            return Vec::new();
        }
        let count = view.agents.iter().filter(|row| row.phase.has_workload()).count();
        let needed = count.div_ceil(BATCH);
        // so many batches that the interval has room for exactly those
        let even = |batches: &usize| *batches >= needed && BATCHES.is_multiple_of(*batches);
        let batches = (1..=BATCHES).find(even).unwrap_or(BATCHES);
        self.wait = BATCHES / batches - 1;
        let size = count.div_ceil(batches);
        let last = self.last.as_ref();
        let after = last.map_or(0, |last| view.agents.partition_point(|row| row.id <= *last));
        let (before, rest) = view.agents.split_at(after);
        let batch: Vec<AgentId> = rest
            .iter()
            .chain(before)
            .filter(|row| row.phase.has_workload())
            .take(size)
            .map(|row| row.id.clone())
            .collect();
        self.last = batch.last().cloned();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::loops::fleet;
    use crate::model::agent::Phase;
    use std::collections::BTreeMap;

    #[test]
    fn everyone_has_a_turn_once_an_interval_and_batches_are_even() {
        for count in [0, 1, 15, 100, 101, 250, 999, 10_000, 10_001] {
            let view = fleet(count, Phase::Running);
            let mut round = Round::default();
            for interval in 0..3 {
                let mut turns: BTreeMap<AgentId, u32> = BTreeMap::new();
                let mut sizes = Vec::new();
                for _ in 0..BATCHES {
                    let batch = round.next(&view);
                    sizes.push(batch.len());
                    for agent in batch {
                        *turns.entry(agent).or_default() += 1;
                    }
                }
                assert_eq!(turns.len(), count, "interval {interval} of {count}");
                let most = sizes.into_iter().max().unwrap();
                assert!(most <= BATCH.max(count.div_ceil(BATCHES)), "{most} of {count} at once");
                let twice = turns.values().filter(|turns| **turns > 1).count();
                assert!(twice <= most, "{twice} of {count} twice in one interval");
            }
        }
    }

    #[test]
    fn only_what_has_a_workload_is_sampled() {
        assert!(Round::default().next(&fleet(10, Phase::Stopped)).is_empty());
    }
}
