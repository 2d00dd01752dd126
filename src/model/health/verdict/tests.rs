use proptest::prelude::*;
use rstest::rstest;

use super::*;

use HealthStatus::{Degraded, Healthy, Unhealthy, Unknown};

fn at(seconds: u64) -> Time {
    Time::from_millis(1_795_219_200_000).plus(Duration::from_secs(seconds))
}

fn inputs(now: u64) -> Inputs<'static> {
    Inputs {
        phase: Phase::Running,
        phase_since: at(0),
        reason: "",
        failures: 0,
        restarting: None,
        parked: false,
        lost: None,
        beside: None,
        usage: None,
        cpu_limit: None,
        memory_limit: None,
        heartbeat: None,
        interval: Duration::from_secs(10),
        required: false,
        oldest: None,
        listening_since: at(0),
        now: at(now),
    }
}

#[rstest]
#[case::failed(Phase::Failed, 1, Unhealthy, "not running: exited with code 1")]
#[case::coming_back(Phase::Deploying, 1, Unhealthy, "exited with code 1")]
#[case::first_start(Phase::Deploying, 0, Unknown, "starting")]
#[case::stopped(Phase::Stopped, 0, Unknown, "stopped")]
#[case::running(Phase::Running, 0, Healthy, "healthy")]
#[case::paused(Phase::Paused, 0, Healthy, "healthy")]
fn a_phase_alone_gives_a_verdict(
    #[case] phase: Phase,
    #[case] failures: u32,
    #[case] status: HealthStatus,
    #[case] message: &str,
) {
    let inputs = Inputs { phase, failures, reason: "exited with code 1", ..inputs(5) };
    let verdict = judge(&inputs, &Over::default());
    assert_eq!((verdict.status, verdict.message.as_str()), (status, message));
}

#[rstest]
#[case::fresh(29, Healthy, "healthy", Some(30))]
#[case::late(30, Degraded, "late: no heartbeat for 30s", Some(60))]
#[case::dead(60, Unhealthy, "no heartbeat for 1m", None)]
fn silence_is_late_after_three_intervals_and_dead_after_six(
    #[case] now: u64,
    #[case] status: HealthStatus,
    #[case] message: &str,
    #[case] due: Option<u64>,
) {
    let verdict = judge(&Inputs { heartbeat: Some(at(0)), ..inputs(now) }, &Over::default());
    assert_eq!((verdict.status, verdict.message.as_str()), (status, message));
    assert_eq!(verdict.due, due.map(at));
    assert_eq!(verdict.silent, status == Unhealthy);
}

#[test]
fn what_runs_and_is_spoken_against_is_degraded_but_never_given_up_for_it() {
    let beside = Inputs { beside: Some("an earlier pod is still ending: x"), ..inputs(9_000) };
    let verdict = judge(&beside, &Over::default());
    assert_eq!(verdict.status, Degraded);
    assert_eq!(verdict.message, "an earlier pod is still ending: x");
    let silent = Inputs { heartbeat: Some(at(0)), ..beside };
    assert_eq!(judge(&silent, &Over::default()).status, Unhealthy);
}

#[test]
fn another_cause_of_the_same_status_is_told_once() {
    let mut watched = Watched::new(HealthStatus::Healthy);
    let mut check = |said: &'static str| {
        let inputs = Inputs { restarting: Some(said), ..inputs(0) };
        let check = watched.check(&inputs, Thresholds::default());
        (check.changed, check.reworded)
    };
    assert_eq!(check("ImagePullBackOff"), (true, false));
    assert_eq!(check("ImagePullBackOff"), (false, false));
    assert_eq!(check("CrashLoopBackOff"), (false, true));
    assert_eq!(check("CrashLoopBackOff"), (false, false));
    // silence is counted in its words, and told only when the status changes
    let mut silent = Watched::new(HealthStatus::Unhealthy);
    let dead = |now| Inputs { heartbeat: Some(at(0)), ..inputs(now) };
    for now in [100, 200] {
        assert!(!silent.check(&dead(now), Thresholds::default()).reworded);
    }
}

#[test]
fn that_a_start_takes_its_time_is_no_news_and_what_is_in_its_way_is() {
    let mut watched = Watched::new(HealthStatus::Unknown);
    let mut check = |said: Option<&'static str>| {
        let inputs = Inputs { phase: Phase::Deploying, restarting: said, ..inputs(0) };
        let check = watched.check(&inputs, Thresholds::default());
        (check.changed, check.reworded)
    };
    assert_eq!(check(None), (false, false));
    assert_eq!(check(Some("")), (false, false));
    assert_eq!(check(Some("ImagePullBackOff")), (true, false));
    assert_eq!(check(Some("")), (true, false), "it is out of the way");
    let mut watched = Watched::new(HealthStatus::Unknown);
    let said = Some("an earlier pod is still ending: x");
    let begins = Inputs { phase: Phase::Deploying, beside: said, lost: said, ..inputs(0) };
    let check = watched.check(&begins, Thresholds::default());
    assert!(!check.changed && !check.reworded, "what counts only once it runs");
}

#[test]
fn a_paused_agent_of_which_nothing_runs_is_not_silent() {
    let paused = Inputs { phase: Phase::Paused, heartbeat: Some(at(0)), ..inputs(900) };
    assert!(judge(&paused, &Over::default()).silent);
    let parked = judge(&Inputs { parked: true, ..paused }, &Over::default());
    assert_eq!((parked.status, parked.silent), (HealthStatus::Unknown, false));
}

#[test]
fn who_never_sent_a_heartbeat_is_judged_by_its_workload_unless_they_are_required() {
    assert_eq!(judge(&inputs(900), &Over::default()).status, Healthy);
    let required = Inputs { required: true, ..inputs(900) };
    assert_eq!(judge(&required, &Over::default()).status, Unhealthy);
}

#[test]
fn silence_from_before_somebody_listened_does_not_count() {
    let old = Inputs { heartbeat: Some(at(0)), listening_since: at(890), ..inputs(900) };
    assert_eq!(judge(&old, &Over::default()).status, Healthy);
    let restarted = Inputs { heartbeat: Some(at(0)), phase_since: at(890), ..inputs(900) };
    assert_eq!(judge(&restarted, &Over::default()).status, Healthy);
}

#[test]
fn three_samples_over_the_limit_degrade_and_one_below_mends() {
    let mut watched = Watched::new(Healthy);
    let usage =
        |seconds, memory_bytes| Some(Usage { at: at(seconds), cpu_millis: 10, memory_bytes });
    let sample = |seconds, memory| Inputs {
        usage: usage(seconds, memory),
        cpu_limit: Some(1_000),
        memory_limit: Some(1_000),
        ..inputs(seconds)
    };
    assert!(!watched.check(&sample(10, 900), Thresholds::default()).changed);
    assert!(
        !watched.check(&sample(10, 900), Thresholds::default()).changed,
        "the same sample again"
    );
    assert!(!watched.check(&sample(20, 900), Thresholds::default()).changed);
    let third = watched.check(&sample(30, 851), Thresholds::default());
    assert!(third.changed);
    assert_eq!(third.verdict.message, "high memory: 85% of its limit");
    assert_eq!(watched.status, Degraded);
    watched.check(&sample(40, 850), Thresholds::default());
    assert_eq!(watched.status, Healthy);
}

#[test]
fn a_start_in_place_degrades_at_once_and_is_given_up_after_half_a_minute() {
    let mut watched = Watched::new(Healthy);
    let down = |now| Inputs { restarting: Some("back-off 5s"), ..inputs(now) };
    let check = watched.check(&down(10), Thresholds::default());
    assert_eq!(
        (watched.status, check.verdict.message.as_str()),
        (Degraded, "restarting: back-off 5s")
    );
    assert_eq!(watched.due, Some(at(40)));
    assert!(!watched.check(&down(39), Thresholds::default()).changed);
    watched.check(&down(40), Thresholds::default());
    assert_eq!(watched.status, Unhealthy);
    watched.check(&inputs(41), Thresholds::default());
    assert_eq!(watched.status, Healthy);
    watched.check(&down(50), Thresholds::default());
    assert_eq!((watched.status, watched.due), (Degraded, Some(at(80))), "counted anew");
}

#[test]
fn a_message_that_waits_too_long_shows_that_its_receiver_does_not_keep_up() {
    let waiting = Inputs { oldest: Some(at(0)), ..inputs(299) };
    let verdict = judge(&waiting, &Over::default());
    assert_eq!((verdict.status, verdict.due), (Healthy, Some(at(300))));
    let late = judge(&Inputs { now: at(300), ..waiting }, &Over::default());
    assert_eq!((late.status, late.message.as_str()), (Degraded, "a message has waited for 5m"));
}

#[test]
fn a_soft_verdict_needs_three_checks_an_interval_apart_to_worsen_and_one_to_mend() {
    let mut watched = Watched::new(Healthy);
    let silent = |now| Inputs { heartbeat: Some(at(0)), ..inputs(now) };
    for (now, streak) in [(30, 1), (31, 1), (39, 1), (40, 2)] {
        assert!(!watched.check(&silent(now), Thresholds::default()).changed);
        assert_eq!(watched.streak, streak, "at {now}");
    }
    assert_eq!(watched.due, Some(at(50)));
    assert!(watched.check(&silent(50), Thresholds::default()).changed);
    assert_eq!(watched.status, Degraded);
    let back = Inputs { heartbeat: Some(at(51)), ..inputs(52) };
    assert!(watched.check(&back, Thresholds::default()).changed);
    assert_eq!(watched.status, Healthy);
}

#[test]
fn a_crash_loop_flaps_and_calm_ends_it() {
    let mut watched = Watched::new(Healthy);
    let mut began = None;
    for n in 1..=20 {
        let phase = if n % 2 == 0 { Phase::Running } else { Phase::Failed };
        let check =
            watched.check(&Inputs { phase, failures: 1, ..inputs(n * 10) }, Thresholds::default());
        if check.flapping == Some(true) {
            began = Some(n);
        }
    }
    assert!(began.is_some_and(|n| (5..=8).contains(&n)), "{began:?}");
    assert!(watched.due.is_some(), "watched until it is over");
    let calm = watched.check(&inputs(20 * 10 + 210), Thresholds::default());
    assert_eq!(calm.flapping, Some(false));
}

proptest! {
    #[test]
    fn a_status_is_only_ever_what_some_verdict_said_and_never_changes_on_agreement(
        steps in prop::collection::vec((0usize..8, 0u64..60, any::<bool>(), 0u64..2_000), 1..60)
    ) {
        use strum::IntoEnumIterator;
        let phases: Vec<Phase> = Phase::iter().collect();
        let mut watched = Watched::new(Unknown);
        let (mut now, mut said, mut beat) = (0, vec![Unknown], None);
        for (phase, passed, beats, memory) in steps {
            now += passed;
            if beats {
                beat = Some(at(now));
            }
            let inputs = Inputs {
                phase: phases[phase],
                heartbeat: beat,
                usage: Some(Usage { at: at(now), cpu_millis: 0, memory_bytes: memory }),
                memory_limit: Some(1_000),
                ..inputs(now)
            };
            let before = watched.status;
            let check = watched.check(&inputs, Thresholds::default());
            said.push(check.verdict.status);
            prop_assert!(said.contains(&watched.status));
            prop_assert_eq!(check.changed, before != watched.status);
            prop_assert!(watched.due.is_none_or(|due| due > inputs.now), "never due in the past");
            if check.verdict.hard {
                prop_assert_eq!(watched.status, check.verdict.status);
            }
        }
    }
}

#[test]
fn a_start_in_trouble_says_why_before_its_time_is_up() {
    let starting = |said| Inputs { phase: Phase::Deploying, restarting: said, ..inputs(0) };
    let said = |inputs: &Inputs<'_>| {
        let verdict = judge(inputs, &Over::default());
        (verdict.status, verdict.message)
    };
    assert_eq!(said(&starting(Some(""))), (HealthStatus::Unknown, "starting".to_owned()));
    let image = "ImagePullBackOff: Back-off pulling image";
    assert_eq!(
        said(&starting(Some(image))),
        (HealthStatus::Degraded, format!("starting: {image}"))
    );
}

#[test]
fn whose_host_does_not_answer_is_unknown_whatever_else_speaks_against_it() {
    let lost = Inputs { lost: Some("node-1 does not answer"), restarting: None, ..inputs(0) };
    let verdict = judge(&lost, &Over::default());
    assert_eq!((verdict.status, verdict.hard), (HealthStatus::Unknown, true));
    assert_eq!(verdict.message, "node-1 does not answer");
    assert!(!verdict.silent, "a restart would not mend it");
}
