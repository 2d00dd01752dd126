//! Who goes when a pool shrinks: those not up first, then the idle, then the newest; the pinned never.

use std::cmp::Reverse;

use crate::model::agent::Phase;
use crate::model::health::HealthStatus;
use crate::model::id::AgentId;
use crate::model::time::Time;

/// What the choice looks at. Only agents that nobody yet wants deleted are candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: AgentId,
    pub pinned: bool,
    pub phase: Phase,
    pub health: HealthStatus,
    /// Messages that wait for it or that it holds.
    pub busy: u64,
    pub created_at: Time,
}

/// At most `count` of `candidates`, those to go first at the front. Fewer when the rest is pinned.
///
/// The order is total (ids break ties), so the same candidates give the same answer in any order.
pub fn choose_victims(candidates: &[Candidate], count: usize) -> Vec<AgentId> {
    if count == 0 {
        return Vec::new(); // the common case, and the fleet may be large
    }
    let mut free: Vec<&Candidate> = candidates.iter().filter(|it| !it.pinned).collect();
    free.sort_by_key(|it| {
        (
            up(it.phase),
            it.health != HealthStatus::Unhealthy,
            it.busy,
            Reverse(it.created_at),
            &it.id,
        )
    });
    free.into_iter().take(count).map(|it| it.id.clone()).collect()
}

/// How much an agent in this phase would be missed; least first.
fn up(phase: Phase) -> u8 {
    match phase {
        Phase::Deleted => 0,
        Phase::Failed | Phase::Stopped => 1,
        Phase::Draining => 2,
        Phase::Pending => 3,
        Phase::Deploying => 4,
        Phase::Paused => 5,
        Phase::Running => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strum::IntoEnumIterator;

    fn candidate(id: &str, busy: u64, created: i64) -> Candidate {
        Candidate {
            id: AgentId::new(id).unwrap(),
            pinned: false,
            phase: Phase::Running,
            health: HealthStatus::Healthy,
            busy,
            created_at: Time::from_millis(created),
        }
    }

    fn names(ids: &[AgentId]) -> Vec<&str> {
        ids.iter().map(AgentId::as_str).collect()
    }

    #[test]
    fn the_idle_go_first_and_then_the_newest() {
        let all = [
            candidate("busy-new", 4, 30),
            candidate("idle-old", 0, 10),
            candidate("idle-new", 0, 20),
        ];
        assert_eq!(names(&choose_victims(&all, 2)), ["idle-new", "idle-old"]);
    }

    #[test]
    fn who_is_not_up_goes_before_who_works() {
        let failed = Candidate { phase: Phase::Failed, ..candidate("failed", 9, 1) };
        assert_eq!(names(&choose_victims(&[candidate("a", 0, 9), failed], 1)), ["failed"]);
    }

    proptest! {
        #[test]
        fn the_pinned_never_go_and_order_does_not_matter(
            drawn in proptest::collection::vec((any::<bool>(), 0u64..3, 0i64..3, 0usize..8), 0..12),
            count in 0usize..14,
        ) {
            let phases: Vec<Phase> = Phase::iter().collect();
            let mut all: Vec<Candidate> = drawn.iter().enumerate().map(|(i, it)| Candidate {
                pinned: it.0,
                phase: phases[it.3],
                ..candidate(&format!("a{i}"), it.1, it.2)
            }).collect();
            let chosen = choose_victims(&all, count);
            let free = all.iter().filter(|it| !it.pinned).count();
            prop_assert_eq!(chosen.len(), free.min(count));
            prop_assert!(chosen.iter().all(|id| all.iter().any(|it| &it.id == id && !it.pinned)));
            all.reverse();
            prop_assert_eq!(choose_victims(&all, count), chosen);
        }
    }
}
