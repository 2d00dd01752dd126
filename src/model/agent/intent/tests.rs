use proptest::prelude::*;
use strum::IntoEnumIterator;

use super::*;

fn agent(phase: Phase, desired: Desired) -> Agent {
    Agent {
        name: "a".into(),
        phase,
        desired,
        incarnation: 3,
        wanted_incarnation: 3,
        generation: 7,
        ..Agent::default()
    }
}

fn wish(intent: Intent, phase: Phase, desired: Desired) -> Result<Option<Agent>, Refusal> {
    intent.apply(&agent(phase, desired), None, Time::from_millis(1_000))
}

#[test]
fn pausing_a_stopped_agent_is_refused_and_says_what_to_do() {
    let refused = wish(Intent::Pause, Phase::Stopped, Desired::Stopped).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a is stopped, and only a running agent can be paused: start it first"
    );
}

#[test]
fn asking_twice_changes_nothing_the_second_time() {
    let once = wish(Intent::Pause, Phase::Running, Desired::Running).unwrap().unwrap();
    assert_eq!(once.desired, Desired::Paused);
    assert_eq!(once.generation, 8);
    assert_eq!(Intent::Pause.apply(&once, None, Time::from_millis(2_000)), Ok(None));
}

#[test]
fn a_restart_wants_the_next_run_and_forgives_earlier_failures() {
    let mut before = agent(Phase::Failed, Desired::Running);
    before.failures = 4;
    before.retry_at = Some(Time::from_millis(99_000));
    let after = Intent::Restart.apply(&before, None, Time::from_millis(1_000)).unwrap().unwrap();
    assert_eq!((after.wanted_incarnation, after.failures, after.retry_at), (4, 0, None));
    assert_eq!(
        Intent::Restart.goal(&before),
        Goal::Agent { phase: Phase::Running, incarnation: 4 }
    );
}

#[test]
fn draining_gives_the_work_in_hand_until_the_deadline() {
    let before = agent(Phase::Running, Desired::Running);
    let after = Intent::Drain
        .apply(&before, Some(Duration::from_secs(60)), Time::from_millis(1_000))
        .unwrap()
        .unwrap();
    assert_eq!(after.drain_deadline, Some(Time::from_millis(61_000)));
    assert_eq!(after.desired, Desired::Stopped);
}

#[test]
fn a_tombstone_comes_back_under_its_id_with_its_name() {
    let mut tombstone = agent(Phase::Deleted, Desired::Deleted);
    tombstone.purge_at = Some(Time::from_millis(5));
    let back = restore(&tombstone, Desired::Running, Time::from_millis(1_000)).unwrap();
    assert_eq!(back.phase, Phase::Pending);
    assert_eq!(back.live_name.as_deref(), Some("a"));
    assert_eq!((back.incarnation, back.wanted_incarnation), (3, 4));
    assert_eq!(back.purge_at, None);
    let stopped = restore(&tombstone, Desired::Stopped, Time::from_millis(1_000)).unwrap();
    assert_eq!(stopped.phase, Phase::Stopped);
    let alive = agent(Phase::Running, Desired::Running);
    assert!(restore(&alive, Desired::Running, Time::EPOCH).is_err());
}

proptest! {
    #[test]
    fn a_wish_moves_no_phase_and_counts_one_generation(
        intent in 0usize..7, phase in 0usize..8, desired in 0usize..4
    ) {
        let intent = Intent::iter().nth(intent).unwrap();
        let before = agent(Phase::iter().nth(phase).unwrap(), Desired::iter().nth(desired).unwrap());
        match intent.apply(&before, None, Time::from_millis(1_000)) {
            Ok(Some(after)) => {
                prop_assert_eq!(after.phase, before.phase);
                prop_assert_eq!(after.generation, before.generation + 1);
                prop_assert_eq!(after.incarnation, before.incarnation);
                // wishing again has nothing left to change
                let again = intent.apply(&after, None, Time::from_millis(2_000)).unwrap();
                prop_assert_eq!(again, None);
            }
            Ok(None) => {}
            Err(refusal) => prop_assert!(refusal.to_string().starts_with("a ")),
        }
    }

    #[test]
    fn whoever_is_deleted_only_accepts_being_deleted(intent in 0usize..7, phase in 0usize..8) {
        let intent = Intent::iter().nth(intent).unwrap();
        let phase = Phase::iter().nth(phase).unwrap();
        let answer = wish(intent, phase, Desired::Deleted);
        prop_assert_eq!(answer.is_ok(), intent == Intent::Delete);
    }
}
