//! While the runtime cannot be looked at, nothing is begun on a guess; those that wait for it say why.

use super::{BATCH, change};
use crate::engine::documents;
use crate::engine::fenced::{Fault, Fenced};
use crate::engine::view::FleetView;
use crate::model::agent::{Desired, Phase};
use crate::model::schema::Collection;
use crate::ports::runtime::RuntimeError;
use crate::ports::store::{Key, StoreError, chain};

/// Tells each pending agent why it waits; hands back the fault that the turn ends with.
pub async fn tell(pen: &Fenced, view: &FleetView, error: RuntimeError) -> Fault {
    match write(pen, view, &error).await {
        Ok(()) => error.into(),
        Err(fault) => fault,
    }
}

async fn write(pen: &Fenced, view: &FleetView, error: &RuntimeError) -> Result<(), Fault> {
    let (why, said) = (chain(error), error.to_string());
    // the words behind that differ from try to try: refused, reset, no answer in time
    let waits = |reason: &str| !reason.starts_with(&said);
    let waiting = view.agents.iter().filter(|row| {
        (row.phase, row.desired) == (Phase::Pending, Desired::Running) && waits(row.reason.as_str())
    });
    let keys: Result<Vec<Key>, StoreError> =
        waiting.take(BATCH).map(|row| Key::new(row.id.as_str())).collect();
    let keys = keys?;
    if keys.is_empty() {
        return Ok(());
    }
    let mut agents = documents::Agents::default();
    agents.extend(pen.ctx.store.get_many(Collection::Agents, &keys).await?);
    // the row may be older than the document
    let still = agents.found.values().filter(|(_, agent)| {
        (agent.phase, agent.desired) == (Phase::Pending, Desired::Running) && waits(&agent.reason)
    });
    let changes = still.map(|(document, agent)| {
        let mut after = agent.clone();
        (after.reason, after.updated_at) = (why.clone(), pen.ctx.clock.now());
        change(document, agent, &after, "agent.waiting", None)
    });
    let changes = changes.collect();
    // who was changed meanwhile is looked at again with its new row
    pen.commit_each(&why, changes).await?;
    Ok(())
}
