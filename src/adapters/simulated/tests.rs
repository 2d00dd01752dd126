//! The simulation under a clock that the test moves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::*;
use crate::model::agent::AgentConfig;
use crate::model::time::Time;
use crate::ports::runtime::Exit;

#[derive(Debug)]
struct Hand {
    began: Instant,
    moved: Mutex<Duration>,
}

impl Hand {
    fn new() -> Arc<Self> {
        let began = crate::ports::clock::SystemClock.instant();
        Arc::new(Self { began, moved: Mutex::default() })
    }

    fn pass(&self, span: Duration) {
        *self.moved.lock().unwrap() += span;
    }
}

impl Clock for Hand {
    fn now(&self) -> Time {
        Time::from_millis(1_800_000_000_000).plus(*self.moved.lock().unwrap())
    }

    fn instant(&self) -> Instant {
        self.began + *self.moved.lock().unwrap()
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn open(seed: u64, agents: usize, updates_per_second: u32) -> (Arc<Hand>, SimulatedRuntime) {
    let clock = Hand::new();
    let options = SimOptions { agents, updates_per_second, seed, clock: clock.clone() };
    (clock, SimulatedRuntime::new(options))
}

fn id(number: usize) -> AgentId {
    AgentId::new(&format!("agent-{number}")).unwrap()
}

fn workload(number: usize, incarnation: u64) -> Workload {
    Workload {
        agent: id(number),
        name: format!("agent-{number}"),
        kind: "worker".to_owned(),
        pool: None,
        labels: BTreeMap::new(),
        incarnation,
        config: AgentConfig { command: vec!["play".to_owned()], ..AgentConfig::default() },
        env: BTreeMap::new(),
        notes: BTreeMap::new(),
    }
}

/// Runs a fleet for some seconds, bringing back what fails, and writes down all that happened.
async fn history(seed: u64) -> Vec<String> {
    let (clock, runtime) = open(seed, 50, 500);
    for number in 0..50 {
        runtime.apply(workload(number, 1)).await.unwrap();
    }
    let ids: Vec<AgentId> = (0..50).map(id).collect();
    let mut told = runtime.0.changes.subscribe();
    let mut history = Vec::new();
    for _ in 0..200 {
        clock.pass(Duration::from_millis(50));
        history.push(format!("{:?}", runtime.usage(&ids).await.unwrap()));
        while let Ok(sight) = told.try_recv() {
            history.push(format!("{sight:?}"));
            if let Sight::Changed(seen) = sight
                && seen.state == State::Exited
            {
                let number = seen.agent.as_str().trim_start_matches("agent-").parse().unwrap();
                runtime.apply(workload(number, seen.incarnation + 1)).await.unwrap();
            }
        }
    }
    history
}

#[tokio::test]
async fn the_same_seed_gives_the_same_history_and_another_does_not() {
    let (one, again, other) = (history(7).await, history(7).await, history(8).await);
    assert_eq!(one, again);
    assert_ne!(one, other);
}

#[tokio::test]
async fn samples_come_at_the_rate_asked_for_and_a_hundredth_of_them_are_changes() {
    let (clock, runtime) = open(1, 1000, 1000);
    runtime.adopt((0..1000).map(|number| (id(number), 3)));
    let ids: Vec<AgentId> = (0..1000).map(id).collect();
    let mut told = runtime.0.changes.subscribe();
    let (mut samples, mut blows) = (0, 0);
    let mut before: Vec<_> = runtime.usage(&ids).await.unwrap();
    for _ in 0..1000 {
        clock.pass(Duration::from_millis(10));
        let now = runtime.usage(&ids).await.unwrap();
        let old: std::collections::HashMap<_, _> = before.drain(..).collect();
        samples +=
            now.iter().filter(|(id, usage)| old.get(id).is_some_and(|o| o.at != usage.at)).count();
        while let Ok(sight) = told.try_recv() {
            let Sight::Changed(seen) = sight else { continue };
            blows += usize::from(seen.state != State::Running);
        }
        before = now;
    }
    assert_eq!(blows, 100, "10 s at 1000 a second, one of a hundred");
    assert!(
        (9_000..=9_900).contains(&samples),
        "{samples}: all but those that fell on one agent twice"
    );
}

#[tokio::test]
async fn an_adopted_fleet_runs_at_once_at_its_incarnations() {
    let (_clock, runtime) = open(1, 10, 0);
    runtime.adopt((0..10).map(|number| (id(number), 4)));
    let seen = runtime.list().await.unwrap();
    assert!(seen.iter().all(|seen| seen.state == State::Running && seen.incarnation == 4));
    runtime.apply(workload(3, 4)).await.unwrap();
    runtime.adopt([(id(3), 9)]);
    assert_eq!(runtime.list().await.unwrap(), seen, "known already");
}

#[tokio::test]
async fn a_slot_that_is_used_again_has_no_memory_of_the_one_before() {
    let (clock, runtime) = open(1, 2, 0);
    for round in 0..20 {
        runtime.apply(workload(round, 1)).await.unwrap();
        runtime.remove(&id(round), SECOND).await.unwrap();
        clock.pass(SECOND);
        runtime.forget(&id(round)).await.unwrap();
        runtime.apply(workload(100 + round, 1)).await.unwrap();
        clock.pass(Duration::from_millis(1));
        let seen = runtime.list().await.unwrap();
        assert!(seen.iter().all(|seen| seen.agent != id(round)));
        let new = seen.iter().find(|seen| seen.agent == id(100 + round)).unwrap();
        assert_eq!(new.state, State::Starting, "no timer of the other ends its start early");
        clock.pass(SECOND * 2);
    }
}

#[tokio::test]
async fn failures_come_with_their_reasons() {
    let (clock, runtime) = open(2, 100, 1000);
    runtime.adopt((0..100).map(|number| (id(number), 1)));
    let mut told = runtime.0.changes.subscribe();
    let mut reasons = std::collections::BTreeSet::new();
    for _ in 0..300 {
        clock.pass(Duration::from_millis(100));
        runtime.0.advance();
        while let Ok(Sight::Changed(seen)) = told.try_recv() {
            match seen.exit {
                Some(exit) => {
                    assert!(seen.state == State::Exited && !seen.message.is_empty());
                    reasons.insert(format!("{exit:?}"));
                    let number = seen.agent.as_str().trim_start_matches("agent-").parse().unwrap();
                    runtime.apply(workload(number, seen.incarnation + 1)).await.unwrap();
                }
                None if seen.restarts > 0 => drop(reasons.insert("in place".to_owned())),
                None => {}
            }
        }
    }
    let all =
        [format!("{:?}", Exit::Code(1)), format!("{:?}", Exit::Signal(9)), "in place".to_owned()];
    assert!(all.iter().all(|reason| reasons.contains(reason)), "{reasons:?}");
}

#[tokio::test]
async fn a_log_line_reads_the_same_whenever_it_is_read() {
    let (clock, runtime) = open(1, 1, 0);
    runtime.adopt([(id(0), 2)]);
    clock.pass(SECOND * 600);
    let read = async |options: LogOptions| -> Vec<LogLine> {
        let lines = runtime.logs(&id(0), options).await.unwrap();
        lines.map(Result::unwrap).collect().await
    };
    let all = read(LogOptions::default()).await;
    assert!(all.len() > 100 && all[0].text.contains("incarnation 2"));
    clock.pass(SECOND * 600);
    assert_eq!(read(LogOptions::default()).await[..all.len()], all);
    let tail = read(LogOptions { tail: Some(5), ..LogOptions::default() }).await;
    let since = LogOptions { since: Some(tail[2].at), ..LogOptions::default() };
    assert_eq!(read(since).await, tail[2..]);
    let before = read(LogOptions { previous: true, ..LogOptions::default() }).await;
    assert!(before[0].text.contains("incarnation 1"));
}

#[tokio::test]
async fn a_hundred_thousand_agents_are_started_and_stepped_in_little_time() {
    let (clock, runtime) = open(1, 100_000, 10_000);
    runtime.adopt((0..100_000).map(|number| (id(number), 1)));
    let began = crate::ports::clock::SystemClock.instant();
    clock.pass(SECOND);
    runtime.0.advance();
    let took = crate::ports::clock::SystemClock.instant() - began;
    // 10,000 updates; measured well under 50 ms without optimisation
    assert!(took < SECOND, "{took:?}");
    assert_eq!(runtime.list().await.unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_fleet_that_is_played_again_finds_each_agent_on_the_host_where_it_was() {
    let hosts = async |runtime: &SimulatedRuntime| -> BTreeMap<AgentId, String> {
        let seen = runtime.list().await.unwrap();
        seen.into_iter().map(|seen| (seen.agent, seen.node)).collect()
    };
    let (_clock, first) = open(1, 1_000, 0);
    first.adopt((0..1_000).map(|number| (id(number), 1)));
    let (_clock, again) = open(2, 1_000, 0);
    again.adopt((0..1_000).rev().map(|number| (id(number), 1)));
    let before = hosts(&first).await;
    assert_eq!(before, hosts(&again).await);
    let known: BTreeSet<String> =
        first.info().await.unwrap().nodes.into_iter().map(|node| node.name).collect();
    assert_eq!(known.len(), 10);
    assert_eq!(before.into_values().collect::<BTreeSet<_>>(), known, "none is empty or unknown");
}

#[tokio::test]
async fn a_census_is_taken_when_the_agents_are_first_needed_and_again_after_it_failed() {
    use std::sync::atomic::{AtomicU32, Ordering};

    let (clock, asked) = (Hand::new(), Arc::new(AtomicU32::new(0)));
    let options = SimOptions { agents: 0, updates_per_second: 0, seed: 1, clock };
    let count = asked.clone();
    let census = move || -> BoxFuture<'static, Result<Vec<(AgentId, u64)>, BoxError>> {
        let time = count.fetch_add(1, Ordering::SeqCst);
        let agents = (0..1_200).map(|number| (id(number), 4)).collect();
        Box::pin(async move { if time == 0 { Err("not now".into()) } else { Ok(agents) } })
    };
    let runtime = SimulatedRuntime::peopled_by(options, Box::new(census));
    assert_eq!(runtime.info().await.unwrap().kind, "simulated");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "how it is doing needs no agents");
    assert!(matches!(runtime.list().await, Err(RuntimeError::Unavailable(_))));
    assert_eq!(runtime.list().await.unwrap().len(), 1_200);
    let first: Vec<Sight> = runtime.watch().await.unwrap().take(1_200).collect().await;
    let up = |sight: &Sight| matches!(sight, Sight::Changed(seen) if seen.incarnation == 4);
    assert!(first.iter().all(up));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn while_nothing_can_happen_nobody_wakes_and_an_act_is_told_at_once() {
    let (_clock, runtime) = open(1, 10, 0);
    runtime.adopt((0..10).map(|number| (id(number), 1)));
    let mut watch = runtime.watch().await.unwrap();
    for _ in 0..10 {
        watch.next().await.unwrap();
    }
    assert_eq!(runtime.0.rest(), None, "all run, and no updates are asked for");
    let began = tokio::time::Instant::now();
    let told = async {
        let sight = watch.next().await;
        (sight, began.elapsed())
    };
    let act = async {
        tokio::time::sleep(SECOND * 3_600).await;
        runtime.remove(&id(3), SECOND).await.unwrap();
    };
    let ((sight, after), ()) = tokio::join!(told, act);
    assert!(matches!(sight, Some(Sight::Changed(seen)) if seen.state == State::Ending));
    assert_eq!(after, SECOND * 3_600);
    assert!(runtime.0.rest().is_some(), "its end is due");
}
