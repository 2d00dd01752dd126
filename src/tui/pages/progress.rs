//! How far a running operation has come: a part of a whole, in words, and when it may be over. The same on the line that
//! stays in sight, among the operations, and over its steps.

use std::time::Duration;

use super::words::exact;
use crate::engine::view::{FleetView, OperationRow, PoolAim, PoolRow};
use crate::model::time::Time;

/// What has been reached of what there is to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub part: u32,
    pub whole: u32,
    /// `5/12`, `14/19 ready`.
    pub words: String,
    /// From the pace so far; `None` while there is none.
    pub left: Option<Duration>,
}

/// An estimate that is further off than this says nothing.
const FAR: Duration = Duration::from_secs(24 * 3_600);

pub fn of(row: &OperationRow, view: &FleetView, now: Time) -> Progress {
    let elapsed = now.since(row.created_at);
    let pool = row.doing.pool.as_ref().and_then(|(id, aim)| Some((view.pool(id)?, aim)));
    // where every step is about a pool, its agents tell more than the steps
    if let Some((pool, aim)) = pool.filter(|_| row.total == row.doing.batches) {
        return of_pool(pool, aim, elapsed);
    }
    let part = row.done.saturating_add(row.failed);
    let words = format!("{part}/{}", row.total);
    Progress { part, whole: row.total, words, left: left(part, row.total, elapsed) }
}

fn of_pool(pool: &PoolRow, aim: &PoolAim, elapsed: Duration) -> Progress {
    match aim {
        // how many there were before is not known here, so the pace is not either
        PoolAim::Ready(ready) => Progress {
            part: pool.ready.min(*ready),
            whole: *ready,
            words: format!("{}/{ready} ready", pool.ready),
            left: None,
        },
        PoolAim::Version(_) => Progress {
            part: pool.updated.min(pool.desired),
            whole: pool.desired,
            words: format!("{}/{} updated", pool.updated, pool.desired),
            left: left(pool.updated, pool.desired, elapsed),
        },
    }
}

/// How long the rest takes at the pace so far.
fn left(part: u32, whole: u32, elapsed: Duration) -> Option<Duration> {
    if part == 0 || part >= whole {
        return None;
    }
    let rest = elapsed.mul_f64(f64::from(whole - part) / f64::from(part));
    (rest < FAR).then_some(rest)
}

/// `1m 10s, about 40s left`.
pub fn time(row: &OperationRow, progress: &Progress, now: Time) -> String {
    let passed = exact(now.since(row.created_at));
    match progress.left {
        Some(left) => format!("{passed}, about {} left", exact(left)),
        None => passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::view::Doing;
    use crate::tui::testing::{busy, now};

    #[test]
    fn what_is_left_follows_from_the_pace_and_is_not_guessed_without_one() {
        assert_eq!(left(0, 12, Duration::from_secs(60)), None);
        assert_eq!(left(3, 12, Duration::from_secs(60)), Some(Duration::from_secs(180)));
        assert_eq!(left(12, 12, Duration::from_secs(60)), None);
        assert_eq!(left(1, u32::MAX, Duration::from_secs(60)), None, "too far off");
    }

    #[test]
    fn a_pools_agents_tell_how_far_a_step_about_it_has_come() {
        let view = busy();
        let mut row = view.operations[0].as_ref().clone();
        let steps = of(&row, &view, now());
        assert_eq!((steps.part, steps.whole, steps.words.as_str()), (5, 12, "5/12"));
        let id = view.pools[1].id.clone();
        let aim = PoolAim::Ready(3);
        (row.total, row.done) = (1, 0);
        row.doing = Doing { batch: 1, batches: 1, pool: Some((id, aim)), ..Doing::default() };
        let ready = of(&row, &view, now());
        assert_eq!((ready.part, ready.whole, ready.words.as_str()), (1, 3, "1/3 ready"));
        assert_eq!(ready.left, None);
    }
}
