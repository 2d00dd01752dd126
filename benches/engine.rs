//! What the leader's pure decisions cost: `cargo bench --bench engine`.
//!
//! The goal (`engine.md` §5): a full health pass over 10,000 agents takes less than 100 ms of CPU.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use cvxc::model::agent::lifecycle::{Facts, RestartPolicy, Tried, next};
use cvxc::model::agent::{Agent, Phase};
use cvxc::model::health::verdict::{Inputs, Thresholds, Watched};
use cvxc::model::health::{HealthStatus, Usage};
use cvxc::model::id::AgentId;
use cvxc::model::time::Time;
use cvxc::model::workload::{Observed, State};

const FLEET: usize = 10_000;

fn at(millis: u64) -> Time {
    Time::from_millis(1_795_219_200_000).plus(Duration::from_millis(millis))
}

/// A fleet in which one of a hundred is silent, one of fifty over its limit, one of a thousand failed.
fn inputs(n: u64) -> Inputs<'static> {
    Inputs {
        phase: if n.is_multiple_of(1_000) { Phase::Failed } else { Phase::Running },
        phase_since: at(0),
        reason: "exited with code 1",
        failures: 0,
        restarting: None,
        lost: None,
        beside: None,
        parked: false,
        usage: Some(Usage {
            at: at(595_000 + n % 5_000),
            cpu_millis: 100 + n % 400,
            memory_bytes: if n.is_multiple_of(50) { 950 } else { 300 },
        }),
        cpu_limit: Some(1_000),
        memory_limit: Some(1_000),
        heartbeat: Some(if n.is_multiple_of(100) { at(1) } else { at(591_000 + n % 9_000) }),
        interval: Duration::from_secs(10),
        required: false,
        oldest: n.is_multiple_of(7).then(|| at(580_000)),
        listening_since: at(0),
        now: at(600_000),
    }
}

fn health(criterion: &mut Criterion) {
    let fleet: Vec<Inputs<'static>> = (0..FLEET as u64).map(inputs).collect();
    let watched = vec![Watched::new(HealthStatus::Healthy); FLEET];
    criterion.bench_function("health: full pass over 10,000 agents", |bencher| {
        bencher.iter_batched_ref(
            || watched.clone(),
            |watched| {
                let mut changed = 0;
                for (watched, inputs) in watched.iter_mut().zip(&fleet) {
                    let check = watched.check(black_box(inputs), Thresholds::default());
                    changed += usize::from(check.changed);
                }
                changed
            },
            BatchSize::LargeInput,
        );
    });
}

fn lifecycle(criterion: &mut Criterion) {
    let agent =
        Agent { phase: Phase::Running, incarnation: 1, wanted_incarnation: 1, ..Agent::default() };
    let seen = Observed {
        agent: AgentId::new("a").unwrap(),
        incarnation: 1,
        state: State::Running,
        pid: None,
        node: String::new(),
        workload: String::new(),
        restarts: 0,
        message: String::new(),
        exit: None,
        started_at: None,
        copy_of: None,
    };
    let tried = Tried::default();
    criterion.bench_function("reconcile: decide on 10,000 unchanged agents", |bencher| {
        bencher.iter(|| {
            for _ in 0..FLEET {
                black_box(next(&Facts {
                    id: "a",
                    agent: black_box(&agent),
                    seen: Some(&seen),
                    heartbeat: None,
                    vouched: None,
                    in_flight: 0,
                    tried: &tried,
                    leading_since: at(0),
                    braked: false,
                    parks: false,
                    policy: RestartPolicy::default(),
                    now: at(1),
                }));
            }
        });
    });
}

criterion_group!(benches, health, lifecycle);
criterion_main!(benches);
