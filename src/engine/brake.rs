//! The blast-radius brake: when too much of the fleet turns bad at once, the cause is rarely in the agents, and restarting
//! or shrinking makes it worse. While it holds, automatic restarts and scale-downs wait; what operators ask for does not.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::id::AgentId;

/// How long a turn for the worse counts.
const WINDOW: Duration = Duration::from_secs(60);
/// The brake holds above this share of the fleet …
const SHARE: f64 = 0.3;
/// … but not for fewer agents than this.
const LEAST: usize = 5;

/// Which agents turned bad lately.
#[derive(Debug, Default)]
pub struct Blast(Mutex<BTreeMap<AgentId, Instant>>);

impl Blast {
    /// Notes that `agent` failed, or that its health turned for the worse, at `at`. One agent counts once.
    pub fn note(&self, agent: &AgentId, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(agent.clone(), at);
    }

    /// Why the brake holds now; `None` when it does not. `fleet` counts the agents, and is asked only when enough turned
    /// bad for their number to matter.
    pub fn holds(&self, now: Instant, fleet: impl FnOnce() -> usize) -> Option<String> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|_, at| now.saturating_duration_since(*at) < WINDOW);
        let bad = noted.len();
        if bad < LEAST {
            return None;
        }
        let fleet = fleet();
        (bad as f64 > SHARE * fleet as f64).then(|| {
            format!(
                "{bad} of {fleet} agents turned bad within a minute: restarts and scale-downs wait"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_above_a_third_or_so_and_lets_go_a_minute_after() {
        let (blast, start) = (Blast::default(), Instant::now());
        let id = |n: usize| AgentId::new(&format!("a{n}")).unwrap();
        for n in 0..4 {
            blast.note(&id(n), start);
            blast.note(&id(n), start); // the same one twice is one
        }
        assert_eq!(blast.holds(start, || 4), None, "four are too few, whatever the fleet");
        blast.note(&id(4), start + Duration::from_secs(10));
        assert!(blast.holds(start + Duration::from_secs(10), || 16).is_some());
        assert_eq!(
            blast.holds(start + Duration::from_secs(10), || 17),
            None,
            "5 of 17 are under 30 %"
        );
        assert_eq!(blast.holds(start + Duration::from_secs(60), || 16), None);
    }
}
