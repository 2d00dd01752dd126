//! The rules. Each is about one sentence of the port's promise.

use std::time::Duration;

use cvxc::ports::runtime::{Exit, RuntimeError, Sight, State};
use futures::StreamExt;

use crate::fixture::{Does, Fixture, LIMIT, exited, listed, seen};

const MOMENT: Duration = Duration::from_secs(1);

pub async fn a_workload_starts_and_is_seen_running(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    let seen = fixture.running(&workload).await;
    assert_eq!((&seen.agent, seen.incarnation, seen.exit), (&workload.agent, 1, None));
    assert!(!seen.node.is_empty() && !seen.workload.is_empty() && seen.started_at.is_some());
    let listed = listed(&*fixture.runtime(), &workload.agent).await;
    assert_eq!(listed, Some(seen), "the list and the watch say the same");
}

pub async fn applying_twice_starts_it_once(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    let first = fixture.running(&workload).await;
    fixture.runtime().apply(workload.clone()).await.unwrap();
    assert_eq!(listed(&*fixture.runtime(), &workload.agent).await, Some(first));
}

pub async fn engines_that_race_start_it_once(fixture: &impl Fixture) {
    let (a, b) = (fixture.runtime(), fixture.another());
    for _ in 0..5 {
        let workload = fixture.workload(Does::Run);
        let (one, two, three) = tokio::join!(
            a.apply(workload.clone()),
            b.apply(workload.clone()),
            a.apply(workload.clone())
        );
        (one.unwrap(), two.unwrap(), three.unwrap());
        let running = |s: &cvxc::ports::runtime::Observed| s.state == State::Running;
        let by_a = seen(&*a, &workload.agent, running).await;
        let by_b = seen(&*b, &workload.agent, running).await;
        assert_eq!((by_a.pid, by_a.incarnation), (by_b.pid, 1));
    }
}

pub async fn another_engine_sees_what_the_first_started(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    let first = fixture.running(&workload).await;
    let other = fixture.another();
    assert_eq!(listed(&*other, &workload.agent).await, Some(first.clone()));
    other.apply(workload.clone()).await.unwrap();
    assert_eq!(listed(&*other, &workload.agent).await, Some(first), "adopted, not started again");
    other.remove(&workload.agent, MOMENT).await.unwrap();
    exited(&*fixture.runtime(), &workload.agent).await;
}

pub async fn the_watch_tells_everything_once_and_then_changes(fixture: &impl Fixture) {
    let (one, two) = (fixture.workload(Does::Run), fixture.workload(Does::Run));
    fixture.running(&one).await;
    fixture.running(&two).await;
    let mut watch = fixture.runtime().watch().await.unwrap();
    let mut first = Vec::new();
    for _ in 0..2 {
        match tokio::time::timeout(LIMIT, watch.next()).await.unwrap() {
            Some(Sight::Changed(seen)) => first.push(seen.agent),
            other => panic!("expected what is there, got {other:?}"),
        }
    }
    first.sort();
    let mut both = vec![one.agent.clone(), two.agent.clone()];
    both.sort();
    assert_eq!(first, both);
    fixture.runtime().remove(&two.agent, MOMENT).await.unwrap();
    let until_exited = async {
        loop {
            match watch.next().await {
                Some(Sight::Changed(seen)) => {
                    assert_eq!(seen.agent, two.agent, "the other one did not change");
                    if seen.state == State::Exited {
                        return;
                    }
                }
                other => panic!("expected a change, got {other:?}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, until_exited).await.unwrap();
}

pub async fn a_removed_workload_ends_and_is_listed_until_it_is_forgotten(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    fixture.running(&workload).await;
    let runtime = fixture.runtime();
    let mut watch = runtime.watch().await.unwrap();
    runtime.remove(&workload.agent, MOMENT).await.unwrap();
    let ended = exited(&*runtime, &workload.agent).await;
    assert!(ended.exit.is_some() && ended.pid.is_none(), "{ended:?}");
    assert_eq!(listed(&*runtime, &workload.agent).await, Some(ended));
    runtime.forget(&workload.agent).await.unwrap();
    assert_eq!(listed(&*runtime, &workload.agent).await, None);
    let gone = async { while watch.next().await != Some(Sight::Gone(workload.agent.clone())) {} };
    tokio::time::timeout(LIMIT, gone).await.unwrap();
}

pub async fn removing_and_forgetting_what_is_not_there_is_no_error(fixture: &impl Fixture) {
    let runtime = fixture.runtime();
    let workload = fixture.workload(Does::Run);
    runtime.remove(&workload.agent, MOMENT).await.unwrap();
    runtime.forget(&workload.agent).await.unwrap();
    fixture.running(&workload).await;
    for _ in 0..2 {
        runtime.remove(&workload.agent, MOMENT).await.unwrap();
        exited(&*runtime, &workload.agent).await;
    }
    for _ in 0..2 {
        runtime.forget(&workload.agent).await.unwrap();
    }
}

pub async fn a_running_workload_is_not_forgotten(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    let running = fixture.running(&workload).await;
    let refused = fixture.runtime().forget(&workload.agent).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::Rejected { .. }), "{refused:?}");
    assert_eq!(listed(&*fixture.runtime(), &workload.agent).await, Some(running));
}

pub async fn a_newer_incarnation_takes_the_place_of_the_older(fixture: &impl Fixture) {
    let mut workload = fixture.workload(Does::Run);
    let first = fixture.running(&workload).await;
    workload.incarnation = 2;
    let second = fixture.running(&workload).await; // without a remove in between
    assert!(first.pid.is_none() || first.pid != second.pid);
    fixture.runtime().remove(&workload.agent, MOMENT).await.unwrap();
    exited(&*fixture.runtime(), &workload.agent).await;
    workload.incarnation = 3;
    fixture.running(&workload).await;
}

pub async fn an_older_incarnation_is_refused(fixture: &impl Fixture) {
    let mut workload = fixture.workload(Does::Run);
    workload.incarnation = 7;
    let running = fixture.running(&workload).await;
    workload.incarnation = 6;
    let refused = fixture.runtime().apply(workload.clone()).await.unwrap_err();
    assert!(refused.to_string().contains('6') && refused.to_string().contains('7'), "{refused}");
    assert_eq!(listed(&*fixture.runtime(), &workload.agent).await, Some(running));
}

pub async fn an_incarnation_that_has_ended_is_not_begun_again(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    fixture.running(&workload).await;
    fixture.runtime().remove(&workload.agent, MOMENT).await.unwrap();
    let ended = exited(&*fixture.runtime(), &workload.agent).await;
    fixture.runtime().apply(workload.clone()).await.unwrap();
    fixture.another().apply(workload.clone()).await.unwrap();
    assert_eq!(listed(&*fixture.another(), &workload.agent).await, Some(ended));
}

pub async fn an_empty_command_is_refused_by_name(fixture: &impl Fixture) {
    let mut workload = fixture.workload(Does::Run);
    workload.config.command.clear();
    workload.config.image.clear();
    let refused = fixture.runtime().apply(workload.clone()).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::Rejected { .. }), "{refused:?}");
    assert!(refused.to_string().contains("command"), "{refused}");
    assert_eq!(listed(&*fixture.runtime(), &workload.agent).await, None, "nothing was begun");
}

pub async fn info_names_the_kind_and_a_node_with_room(fixture: &impl Fixture) {
    let info = fixture.runtime().info().await.unwrap();
    assert!(!info.kind.is_empty() && !info.place.is_empty());
    assert!(info.nodes.iter().any(|node| node.cpu_millis > 0 && node.memory_bytes > 0), "{info:?}");
}

pub async fn an_exit_code_is_seen(fixture: &impl Fixture) {
    let ended = fixture.ended(&fixture.script("exit 3")).await;
    assert_eq!(ended.exit, Some(Exit::Code(3)));
    assert!(ended.message.contains("code 3"), "{}", ended.message);
    let ended = fixture.ended(&fixture.script("kill -SEGV $$")).await;
    assert_eq!(ended.exit, Some(Exit::Signal(11)));
    assert!(ended.message.contains("SIGSEGV"), "{}", ended.message);
}

pub async fn a_workload_asked_to_end_may_end_its_own_way(fixture: &impl Fixture) {
    let workload = fixture.script("trap 'exit 5' TERM; while :; do sleep 0.05; done");
    fixture.running(&workload).await;
    fixture.runtime().remove(&workload.agent, LIMIT).await.unwrap();
    let ended = exited(&*fixture.runtime(), &workload.agent).await;
    assert_eq!(ended.exit, Some(Exit::Code(5)));
}

pub async fn a_workload_that_hangs_is_killed_after_its_grace(fixture: &impl Fixture) {
    let workload = fixture.script("trap '' TERM; while :; do sleep 0.05; done");
    fixture.running(&workload).await;
    let began = std::time::Instant::now();
    fixture.runtime().remove(&workload.agent, MOMENT).await.unwrap();
    seen(&*fixture.runtime(), &workload.agent, |seen| seen.state == State::Ending).await;
    let ended = exited(&*fixture.runtime(), &workload.agent).await;
    assert_eq!(ended.exit, Some(Exit::Signal(9)));
    assert!(ended.message.contains("grace"), "{}", ended.message);
    assert!(began.elapsed() >= MOMENT, "not before its grace was over");
}
