//! While the runtime cannot be looked at, nothing is begun on a guess; those that wait for it say why.

use std::time::Duration;

use super::change;
use crate::engine::documents;
use crate::engine::fenced::{Fault, Fenced};
use crate::engine::view::FleetView;
use crate::model::agent::{Desired, Phase};
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::runtime::RuntimeError;
use crate::ports::store::{Key, StoreError, chain};

/// So many are told at a time: whoever waits is to be told before the words change.
const AT_ONCE: usize = 300;
/// For how long the same words stand: how it cannot be reached differs from try to try.
const STANDS: Duration = Duration::from_secs(60);

/// What was said last of why the runtime cannot be looked at, and since when.
#[derive(Debug, Default)]
pub struct Blind(Option<(String, Time)>);

impl Blind {
    /// Tells each pending agent why it waits; hands back the fault that the turn ends with.
    pub async fn tell(&mut self, pen: &Fenced, view: &FleetView, error: RuntimeError) -> Fault {
        let now = pen.ctx.clock.now();
        let why = match self.0.take() {
            Some((said, at)) if now.since(at) < STANDS => (said, at),
            Some(_) | None => (chain(&error), now),
        };
        let (why, _) = self.0.insert(why);
        match write(pen, view, why).await {
            Ok(()) => error.into(),
            Err(fault) => fault,
        }
    }
}

async fn write(pen: &Fenced, view: &FleetView, why: &str) -> Result<(), Fault> {
    let shown = Safe::new(why); // as the rows have it
    let waiting = view.agents.iter().filter(|row| {
        (row.phase, row.desired) == (Phase::Pending, Desired::Running) && row.reason != shown
    });
    let keys: Result<Vec<Key>, StoreError> =
        waiting.take(AT_ONCE).map(|row| Key::new(row.id.as_str())).collect();
    let keys = keys?;
    if keys.is_empty() {
        return Ok(());
    }
    let mut agents = documents::Agents::default();
    agents.extend(pen.ctx.store.get_many(Collection::Agents, &keys).await?);
    // the row may be older than the document
    let still = agents.found.values().filter(|(_, agent)| {
        (agent.phase, agent.desired) == (Phase::Pending, Desired::Running) && agent.reason != why
    });
    let changes = still.map(|(document, agent)| {
        let mut after = agent.clone();
        (after.reason, after.updated_at) = (why.to_owned(), pen.ctx.clock.now());
        change(document, agent, &after, "agent.waiting", None)
    });
    let changes = changes.collect();
    // who was changed meanwhile is looked at again with its new row
    pen.commit_each(why, changes).await?;
    Ok(())
}
