//! Whether an agent needs a look at its document, from its row and the runtime's sight alone: a thousand that are as they
//! should be cost a comparison each.

use crate::engine::view::AgentRow;
use crate::model::agent::{Desired, Phase};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::runtime::{Observed, State};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glance {
    /// As it should be, until something changes.
    Quiet,
    /// As it should be until then.
    Until(Time),
    Look,
}

/// The row may be older than the document, so it is never acted on; `None`: the view has no such agent. Of one that is
/// on its way the book may know more ([`super::book::Book::starts_until`]).
pub fn at(row: Option<&AgentRow>, seen: Option<&Observed>, parks: bool, now: Time) -> Glance {
    let Some(row) = row else {
        return if seen.is_some() { Glance::Look } else { Glance::Quiet };
    };
    let alive = seen.filter(|seen| seen.is_alive());
    let look = |needed| if needed { Glance::Look } else { Glance::Quiet };
    match row.phase {
        Phase::Pending | Phase::Deploying | Phase::Draining => Glance::Look,
        Phase::Running => look(!is_fine(row, alive, Desired::Running) || is_parked(alive)),
        Phase::Paused => {
            look(!is_fine(row, alive, Desired::Paused) || (parks && !is_parked(alive)))
        }
        Phase::Stopped => look(alive.is_some() || row.desired != Desired::Stopped),
        Phase::Failed if alive.is_some() => Glance::Look,
        Phase::Failed => match (row.desired, row.retry_at) {
            (Desired::Running | Desired::Paused, Some(at))
                if at > now && row.wanted_incarnation <= row.incarnation =>
            {
                Glance::Until(at)
            }
            (Desired::Running | Desired::Paused | Desired::Stopped | Desired::Deleted, _) => {
                Glance::Look
            }
        },
        Phase::Deleted => look(seen.is_some()),
    }
}

fn is_parked(seen: Option<&Observed>) -> bool {
    seen.is_some_and(|seen| seen.state == State::Parked)
}

fn is_fine(row: &AgentRow, alive: Option<&Observed>, desired: Desired) -> bool {
    let mine = alive.is_some_and(|seen| {
        seen.incarnation == row.incarnation
            && (seen.state != State::Running || (seen.pid == row.pid && is_there(row, &seen.node)))
    });
    mine && row.desired == desired && row.wanted_incarnation <= row.incarnation
}

/// A runtime that cannot say where it is for a moment has moved nothing.
fn is_there(row: &AgentRow, node: &str) -> bool {
    node.is_empty() || row.node.as_str() == node || row.node == Safe::new(node)
}
