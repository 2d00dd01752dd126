//! Rolling updates played to their end, whatever the limits: never too many, never too few, and halted by a bad version.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn member(n: u64, version: &str, phase: Phase) -> Member {
    Member {
        id: AgentId::new(&format!("m{n:03}")).unwrap(),
        name: format!("web-{n:03}"),
        version: version.into(),
        desired: Desired::Running,
        phase,
        health: HealthStatus::Healthy,
        busy: 0,
        pinned: false,
        created_at: Time::from_millis(i64::try_from(n).unwrap()),
        failures: 0,
        ran: phase == Phase::Running,
        reason: String::new(),
    }
}

fn pool(desired: u32) -> Pool {
    Pool { name: "web".into(), desired, template_version: "2".into(), ..Pool::default() }
}

fn all(count: u64, version: &str) -> Vec<Member> {
    (0..count).map(|n| member(n, version, Phase::Running)).collect()
}

#[test]
fn what_is_missing_is_created_and_the_newest_idle_surplus_goes() {
    assert_eq!(next(&pool(5), &all(3, "2")).create, 2);
    let mut three = all(3, "2");
    three[2].busy = 4;
    let steps = next(&pool(2), &three);
    assert_eq!(steps.delete, [three[1].id.clone()]);
    assert_eq!(steps.reason, "pool web wants 2 and has 3");
    three.iter_mut().for_each(|it| it.pinned = true);
    assert!(next(&pool(0), &three).is_none(), "the pinned stay");
}

#[test]
fn a_stopped_member_is_still_a_member() {
    let mut two = all(2, "2");
    two[0].desired = Desired::Stopped;
    two[0].phase = Phase::Stopped;
    assert!(next(&pool(2), &two).is_none());
}

#[test]
fn a_pool_that_is_being_deleted_goes_once_its_members_have() {
    let going = Pool { deleting: true, ..pool(3) };
    assert_eq!(next(&going, &all(3, "1")).delete.len(), 3);
    let draining = [Member { desired: Desired::Deleted, ..member(0, "2", Phase::Draining) }];
    assert!(next(&going, &draining).is_none());
    assert!(next(&going, &[]).finished);
    let gone = Pool { purge_at: Some(Time::from_millis(1)), ..going };
    assert!(next(&gone, &[]).is_none());
}

#[test]
fn an_update_halts_on_the_first_replacement_that_does_not_come_up() {
    let mut members = all(3, "1");
    let mut bad = member(9, "2", Phase::Failed);
    bad.reason = "exited with code 1".into();
    members.push(bad);
    let mut pool = pool(3);
    let steps = next(&pool, &members);
    assert_eq!(steps.halt.as_deref(), Some("web-009 on version 2: exited with code 1"));
    assert_eq!((steps.create, steps.delete.len()), (0, 0));
    pool.status = status(&pool, &members, &steps, None);
    assert!(pool.status.halted);
    assert!(next(&pool, &members).is_none(), "nothing more until the operator acts");
    let later = status(&pool, &members, &Steps::default(), None);
    assert_eq!(later.reason, "update halted: web-009 on version 2: exited with code 1");
    // a rollback makes the old version the wanted one, and the bad one the old
    pool.template_version = "1".into();
    let back = next(&pool, &members);
    assert_eq!(back.delete, [members[3].id.clone()]);
    assert!(!status(&pool, &members, &back, None).halted);
}

#[test]
fn one_crash_of_a_replacement_that_had_come_up_is_no_reason_to_halt() {
    let mut members = all(2, "1");
    members.push(Member { ran: true, failures: 1, ..member(9, "2", Phase::Failed) });
    assert_eq!(next(&pool(3), &members).halt, None);
    members[2].failures = 3;
    assert!(next(&pool(3), &members).halt.is_some());
}

#[test]
fn the_status_counts_and_says_what_is_wrong() {
    let mut members = all(4, "2");
    members[0].phase = Phase::Deploying;
    members[1].health = HealthStatus::Unhealthy;
    members[2].desired = Desired::Deleted;
    let said = status(&pool(3), &members, &Steps::default(), None);
    assert_eq!(
        (said.ready, said.pending, said.unhealthy, said.updated, said.total),
        (1, 1, 1, 3, 4)
    );
    assert_eq!(said.reason, "1 of 3 ready");
    assert_eq!(status(&pool(4), &all(4, "2"), &Steps::default(), None).reason, "");
    let mut strange = pool(4);
    strange.status.extra.insert("theirs".into(), json!(1));
    assert_eq!(status(&strange, &[], &Steps::default(), None).extra["theirs"], 1);
}

proptest! {
    #[test]
    fn an_update_ends_with_all_on_the_new_version_and_keeps_its_limits(
        want in 0u32..9, have in 0u64..9, surge in 0u32..4, unavailable in 0u32..4, sick in 0u64..3,
    ) {
        let mut pool = pool(want);
        pool.update.max_surge = surge;
        pool.update.max_unavailable = unavailable;
        let mut members = all(have, "1");
        for member in members.iter_mut().take(usize::try_from(sick).unwrap()) {
            member.phase = Phase::Failed;
        }
        let began_up = members.iter().filter(|it| it.is_available()).count();
        let floor = want.saturating_sub(unavailable.max(u32::from(surge == 0))) as usize;
        let mut born = 100;
        for _ in 0..60 {
            let steps = next(&pool, &members);
            if steps.is_none() && members.iter().all(|it| it.phase == Phase::Running) {
                break;
            }
            for _ in 0..steps.create {
                born += 1;
                members.push(member(born, "2", Phase::Pending));
            }
            members.retain(|it| !steps.delete.contains(&it.id));
            let up = members.iter().filter(|it| it.is_available()).count();
            prop_assert!(up >= floor.min(began_up), "{up} up, {floor} wanted");
            let most = (want + surge).max(u32::try_from(have).unwrap()) as usize;
            prop_assert!(members.len() <= most, "{} at once", members.len());
            // one of those that start comes up at a time
            if let Some(starting) = members.iter_mut().find(|it| it.phase == Phase::Pending) {
                starting.phase = Phase::Running;
            }
        }
        prop_assert_eq!(members.len(), want as usize);
        prop_assert!(members.iter().all(|it| it.version == "2"));
    }
}

#[test]
fn times_are_only_compared() {
    // the newest goes first whatever the distance
    let mut two = all(2, "2");
    two[0].created_at = two[1].created_at.plus(Duration::from_millis(1));
    assert_eq!(next(&pool(1), &two).delete, [two[0].id.clone()]);
}
