//! Kubernetes' own cases for the autoscaler, then what must hold for any input.

use super::*;
use crate::model::quantity::Cpu;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

const NOW: Time = Time::EPOCH;

fn at(seconds: u64) -> Time {
    NOW.plus(Duration::from_secs(100_000 + seconds))
}

fn spec(metrics: Vec<Metric>) -> ScalingSpec {
    ScalingSpec { mode: Mode::Engine, metrics, ..ScalingSpec::default() }
}

fn cpu(target: f64) -> Metric {
    Metric::Cpu { target }
}

fn queue(target: f64) -> Metric {
    Metric::QueuePerAgent { target, activation: 0.0 }
}

fn drain() -> Metric {
    Metric::BacklogDrain { within: two_minutes(), concurrency: 1 }
}

fn waiting(waiting: u64) -> QueueSample {
    QueueSample { waiting, in_flight: 0, arrivals: 0.0, service: Some(0.5) }
}

/// An agent that requests one core, has long been ready and uses this many thousandths of it.
fn busy(millis: u64) -> Sample {
    Sample {
        state: SampleState::Running,
        ready: true,
        started: Some(at(0).minus(HOUR)),
        ready_changed: Some(at(0).minus(HOUR).plus(Duration::from_secs(60))),
        cpu_requested: Some(Cpu(1000)),
        cpu: Some(CpuUse { at: at(0), window: Duration::from_secs(60), used: Cpu(millis) }),
        custom: [("load".to_owned(), millis as f64)].into(),
    }
}

fn unmeasured() -> Sample {
    Sample { cpu: None, custom: [].into(), ..busy(0) }
}

/// Running and measured, but never ready since its start.
fn never_ready(millis: u64) -> Sample {
    let ready_changed = busy(0).started;
    Sample { ready: false, ready_changed, ..busy(millis) }
}

/// Ready, but so short after its start that its sample covers the start.
fn hot(millis: u64) -> Sample {
    let started = Some(at(0).minus(Duration::from_secs(20)));
    Sample { started, ready_changed: started, ..busy(millis) }
}

fn pending() -> Sample {
    Sample { state: SampleState::Pending, cpu: None, ready: false, ..busy(0) }
}

fn failed() -> Sample {
    Sample { state: SampleState::Leaving, ..busy(1000) }
}

fn inputs(current: u32, agents: Vec<Sample>, queue: Option<QueueSample>) -> Inputs {
    Inputs { now: at(0), current, min: 1, max: 100, agents, queue }
}

fn of_each(levels: &[u64]) -> Vec<Sample> {
    levels.iter().map(|level| busy(*level)).collect()
}

// The cases of Kubernetes' own replica_calculator_test.go, by their names there.
#[rstest]
#[case::scale_up(3, of_each(&[300, 500, 700]), 30.0, Some(5))]
#[case::scale_up_unready_less_scale(3, vec![never_ready(300), busy(500), busy(700)], 30.0, Some(4))]
#[case::scale_up_hot_cpu_less_scale(3, vec![busy(500), busy(700), hot(300)], 30.0, Some(4))]
#[case::scale_up_unready_no_scale(3, vec![busy(400), never_ready(500), never_ready(700)], 30.0, Some(3))]
#[case::scale_up_ignores_failed_pods(2, vec![busy(500), busy(700), failed(), failed()], 30.0, Some(4))]
#[case::scale_up_pending(2, vec![busy(900), pending()], 50.0, Some(2))]
#[case::scale_down(5, of_each(&[100, 300, 500, 250, 250]), 50.0, Some(3))]
#[case::scale_down_ignores_unready(5, vec![busy(100), busy(300), busy(500), busy(250), busy(250), never_ready(900)], 50.0, Some(3))]
#[case::tolerance(3, of_each(&[1010, 1030, 1020]), 100.0, Some(3))]
#[case::at_the_edge_of_tolerance(10, of_each(&[550; 10]), 50.0, Some(10))]
#[case::missing_metrics(4, vec![busy(400), busy(95), unmeasured(), unmeasured()], 100.0, Some(3))]
#[case::empty_metrics(4, vec![unmeasured(); 4], 100.0, None)]
#[case::missing_metrics_no_change_eq(2, vec![busy(1000), unmeasured()], 100.0, Some(2))]
#[case::missing_metrics_no_change_gt(2, vec![busy(1900), unmeasured()], 100.0, Some(2))]
#[case::missing_metrics_no_change_lt(2, vec![busy(600), unmeasured()], 100.0, Some(2))]
#[case::missing_metrics_unready_change(3, vec![never_ready(100), busy(450), unmeasured()], 50.0, Some(3))]
#[case::missing_metrics_unready_scale_up(3, vec![never_ready(100), busy(2000), unmeasured()], 50.0, Some(4))]
#[case::missing_metrics_unready_scale_down(4, vec![never_ready(100), busy(100), busy(100), unmeasured()], 50.0, Some(3))]
#[case::target_above_all_that_is_requested(4, vec![busy(1000), busy(1000), unmeasured(), unmeasured()], 200.0, Some(3))]
#[case::failed_ones_do_not_turn_the_direction(10, of_each(&[750; 5]), 50.0, Some(10))]
fn cpu_asks_for_what_kubernetes_would(
    #[case] current: u32,
    #[case] agents: Vec<Sample>,
    #[case] target: f64,
    #[case] want: Option<u32>,
) {
    let result = metric::evaluate(&cpu(target), &inputs(current, agents, None));
    assert_eq!(result.want, want, "{result:?}");
}

#[test]
fn a_sample_taken_before_the_agent_was_ready_for_a_whole_window_is_cold() {
    let started = Some(at(0).minus(Duration::from_secs(200)));
    let since = |seconds| Some(at(0).minus(Duration::from_secs(seconds)));
    let want = |agent: Sample| {
        let agents = vec![busy(900), agent];
        metric::evaluate(&cpu(50.0), &inputs(2, agents, None)).unready
    };
    assert_eq!(want(Sample { started, ready_changed: since(30), ..busy(900) }), 1);
    assert_eq!(want(Sample { started, ready_changed: since(60), ..busy(900) }), 0);
    assert_eq!(want(Sample { ready: false, started, ready_changed: since(100), ..busy(900) }), 1);
    // It was ready once and is so no longer: after the first five minutes its use counts.
    assert_eq!(want(Sample { ready: false, ready_changed: since(100), ..busy(900) }), 0);
    assert_eq!(want(Sample { ready_changed: None, ..busy(900) }), 1);
}

#[test]
fn an_agent_without_a_request_makes_cpu_unknown() {
    let agents = vec![busy(900), Sample { cpu_requested: None, ..busy(900) }];
    let result = metric::evaluate(&cpu(50.0), &inputs(2, agents, None));
    assert!(result.want.is_none() && result.why.contains("requests no cpu"), "{result:?}");
}

#[rstest]
#[case::scale_up(3, of_each(&[20, 10, 30]), 15.0, Some(4))]
#[case::readiness_does_not_matter(3, vec![hot(50), never_ready(10), busy(30)], 15.0, Some(6))]
#[case::scale_down(5, of_each(&[12, 12, 12, 12, 12]), 20.0, Some(3))]
#[case::missing_counts_as_on_target(3, vec![busy(5), busy(5), unmeasured()], 10.0, Some(2))]
#[case::missing_counts_as_idle(2, vec![busy(40), unmeasured()], 10.0, Some(4))]
#[case::nobody_reports(2, vec![unmeasured(), unmeasured()], 10.0, None)]
fn a_custom_metric_asks_for_what_kubernetes_would(
    #[case] current: u32,
    #[case] agents: Vec<Sample>,
    #[case] target: f64,
    #[case] want: Option<u32>,
) {
    let metric = Metric::Custom { name: "load".to_owned(), target };
    assert_eq!(metric::evaluate(&metric, &inputs(current, agents, None)).want, want);
}

#[test]
fn a_custom_value_that_is_no_number_counts_as_missing() {
    let metric = Metric::Custom { name: "load".to_owned(), target: 10.0 };
    for odd in [f64::NAN, f64::INFINITY, -5.0] {
        let odd = Sample { custom: [("load".to_owned(), odd)].into(), ..busy(0) };
        let result = metric::evaluate(&metric, &inputs(2, vec![busy(20), odd], None));
        assert_eq!((result.want, result.missing), (Some(2), 1));
    }
}

#[rstest]
#[case::up(3, 8600, 2150.0, 4)]
#[case::down(5, 8600, 2867.0, 3)]
#[case::tolerance(10, 1080, 100.0, 10)]
#[case::beyond_tolerance(10, 1110, 100.0, 12)]
#[case::from_zero(0, 1840, 100.0, 19)]
#[case::empty(5, 0, 100.0, 0)]
fn a_queue_asks_for_its_share(
    #[case] current: u32,
    #[case] length: u64,
    #[case] target: f64,
    #[case] want: u32,
) {
    let inputs = inputs(current, vec![], Some(waiting(length)));
    assert_eq!(metric::evaluate(&queue(target), &inputs).want, Some(want));
}

#[test]
fn the_sketch_of_the_scale_dialog_holds() {
    let sample = QueueSample { waiting: 1840, in_flight: 0, arrivals: 22.0, service: Some(0.5) };
    let inputs = inputs(12, of_each(&[630; 12]), Some(sample));
    let decision =
        decide(&spec(vec![queue(100.0), drain(), cpu(70.0)]), &inputs, &History::default());
    assert_eq!((decision.want, decision.target), (19, 19));
    assert_eq!(
        decision.why,
        [
            "queue 1840/100 per agent → 19",
            "drain (22/s+1840/120s)·0.5s/1 → 19",
            "cpu 63/70% → keep 12",
            "max wins → 19",
        ]
    );
    assert_eq!(decision.reason, ReasonCode::DesiredWithinRange);
}

/// Runs one decision a step and lets the pool follow at once.
struct Sim {
    spec: ScalingSpec,
    history: History,
    current: u32,
    min: u32,
    max: u32,
    now: Time,
}

impl Sim {
    fn new(spec: ScalingSpec, current: u32, min: u32, max: u32) -> Self {
        Self { spec, history: History::default(), current, min, max, now: at(0) }
    }

    fn step(&mut self, seconds: u64, queue: Option<QueueSample>) -> Decision {
        self.now = self.now.plus(Duration::from_secs(seconds));
        let Self { current, min, max, now, .. } = *self;
        let inputs = Inputs { now, current, min, max, agents: vec![], queue };
        let decision = decide(&self.spec, &inputs, &self.history);
        self.history.record(&decision);
        self.current = decision.target;
        decision
    }
}

#[test]
fn a_pool_grows_by_the_default_policies() {
    let mut pool = Sim::new(spec(vec![queue(1.0)]), 3, 1, 60);
    let steps: Vec<_> = (0..5)
        .map(|_| {
            let decision = pool.step(15, Some(waiting(100)));
            (decision.target, decision.reason)
        })
        .collect();
    use ReasonCode::{ScaleUpLimit, TooManyReplicas};
    // Four pods or double, whichever is more, in 15 s; then the bound.
    assert_eq!(
        steps[..4],
        [(7, ScaleUpLimit), (14, ScaleUpLimit), (28, ScaleUpLimit), (56, ScaleUpLimit)]
    );
    assert_eq!(steps[4], (60, TooManyReplicas));
}

#[test]
fn changes_of_the_period_count_against_the_rate() {
    let pods = Policy { kind: PolicyKind::Pods, value: 4, period: Duration::from_secs(60) };
    let mut spec = spec(vec![queue(1.0)]);
    spec.up.policies = vec![pods];
    spec.down =
        Rules { stabilisation: Some(Duration::ZERO), policies: vec![pods], ..Rules::default() };
    let mut pool = Sim::new(spec, 10, 1, 100);
    assert_eq!(pool.step(15, Some(waiting(100))).target, 14);
    assert_eq!(pool.step(15, Some(waiting(100))).target, 14);
    assert_eq!(pool.step(46, Some(waiting(100))).target, 18);
    // Four were added in this minute, so it may fall by eight: to four below where it was.
    let down = pool.step(15, Some(waiting(0)));
    assert_eq!((down.target, down.reason), (10, ReasonCode::ScaleDownLimit));
}

#[rstest]
#[case(Select::Max, 20, 5)]
#[case(Select::Min, 14, 6)]
#[case(Select::Disabled, 10, 10)]
fn select_says_which_policy_holds(#[case] select: Select, #[case] up: u32, #[case] down: u32) {
    let policy = |kind, value| Policy { kind, value, period: SYNC };
    let policies = vec![policy(PolicyKind::Pods, 4), policy(PolicyKind::Percent, 100)];
    let mut spec = spec(vec![queue(1.0)]);
    spec.up = Rules { policies, select, ..Rules::default() };
    let policies = vec![policy(PolicyKind::Pods, 4), policy(PolicyKind::Percent, 51)];
    spec.down = Rules { policies, select, stabilisation: Some(Duration::ZERO) };
    let target = |waiting_now| {
        let inputs = inputs(10, vec![], Some(waiting(waiting_now)));
        decide(&spec, &inputs, &History::default()).target
    };
    // 51 percent of 10 leaves 4.9, cut to 4, which is more change than 4 pods leave.
    let down = if select == Select::Max { down - 1 } else { down };
    assert_eq!((target(100), target(0)), (up, down));
}

#[test]
fn a_drop_waits_for_five_quiet_minutes() {
    let mut pool = Sim::new(spec(vec![queue(10.0)]), 10, 1, 100);
    assert_eq!(pool.step(15, Some(waiting(100))).target, 10);
    for _ in 0..19 {
        let decision = pool.step(15, Some(waiting(20)));
        assert_eq!((decision.target, decision.reason), (10, ReasonCode::ScaleDownStabilized));
    }
    let decision = pool.step(15, Some(waiting(20)));
    assert_eq!((decision.target, decision.reason), (2, ReasonCode::DesiredWithinRange));
}

#[test]
fn a_new_leader_without_memory_does_not_drop_at_once() {
    let decision = decide(
        &spec(vec![queue(10.0)]),
        &inputs(10, vec![], Some(waiting(5))),
        &History::default(),
    );
    assert_eq!((decision.target, decision.reason), (10, ReasonCode::ScaleDownStabilized));
}

#[test]
fn up_may_be_stabilised_too() {
    let mut spec = spec(vec![queue(10.0)]);
    spec.up.stabilisation = Some(Duration::from_secs(60));
    let mut pool = Sim::new(spec, 2, 1, 100);
    assert_eq!(pool.step(15, Some(waiting(20))).target, 2);
    assert_eq!(pool.step(15, Some(waiting(40))).reason, ReasonCode::ScaleUpStabilized);
    assert_eq!(pool.step(59, Some(waiting(50))).target, 4);
}

#[test]
fn many_metrics_and_missing_ones() {
    let sim = |metrics, current, agents, queue| {
        let decision = decide(&spec(metrics), &inputs(current, agents, queue), &History::default());
        (decision.target, decision.reason)
    };
    let both = || vec![cpu(50.0), queue(10.0)];
    // Cpu is unknown; the queue asks for more, which is safe, or for fewer, which is not.
    assert_eq!(sim(both(), 4, vec![], Some(waiting(60))).0, 6);
    assert_eq!(sim(both(), 4, vec![], Some(waiting(10))), (4, ReasonCode::SomeMetricsUnavailable));
    assert_eq!(sim(both(), 4, vec![], None), (4, ReasonCode::MetricsUnavailable));
    assert_eq!(sim(vec![], 4, vec![], None), (4, ReasonCode::NoMetrics));
    assert_eq!(sim(both(), 3, of_each(&[900; 3]), Some(waiting(0))).0, 6);
    assert_eq!(
        sim(vec![drain()], 3, vec![], Some(QueueSample { service: None, ..waiting(5) })).0,
        3
    );
}

#[test]
fn bounds_come_before_metrics() {
    let mut pool = Sim::new(spec(vec![queue(10.0)]), 50, 2, 20);
    let decision = pool.step(15, None);
    assert_eq!((decision.target, decision.reason), (20, ReasonCode::TooManyReplicas));
    pool.current = 1;
    let decision = pool.step(15, None);
    assert_eq!((decision.target, decision.reason), (2, ReasonCode::TooFewReplicas));
    pool.spec.down.stabilisation = Some(Duration::ZERO);
    pool.current = 5;
    let decision = pool.step(3601, Some(waiting(0)));
    assert_eq!((decision.target, decision.reason), (2, ReasonCode::TooFewReplicas));
}

#[test]
fn a_pool_wakes_from_zero_and_goes_back_after_the_cooldown() {
    let mut pool = Sim::new(spec(vec![queue(10.0)]), 0, 0, 20);
    assert_eq!(pool.step(15, Some(waiting(0))).target, 0);
    let decision = pool.step(15, Some(waiting(35)));
    assert_eq!((decision.target, decision.reason), (1, ReasonCode::Activated));
    assert_eq!(pool.step(15, Some(waiting(35))).target, 4);
    let working = QueueSample { in_flight: 1, ..waiting(0) };
    assert_eq!(pool.step(15, Some(working)).target, 4);
    // Idle: down to one by the usual rule, to zero only after 300 s, and never on missing data.
    let decision = pool.step(299, Some(waiting(0)));
    assert_eq!((decision.target, decision.reason), (1, ReasonCode::TooFewReplicas));
    assert_eq!(decision.why.last().unwrap(), "one stays until nothing waited for 5m → 1");
    assert_eq!(pool.step(1, None).target, 1);
    let decision = pool.step(1, Some(waiting(0)));
    assert_eq!((decision.target, decision.reason), (0, ReasonCode::Deactivated));
    let activation = vec![Metric::QueuePerAgent { target: 10.0, activation: 5.0 }];
    let mut lazy = Sim::new(spec(activation), 0, 0, 20);
    assert_eq!(
        (lazy.step(15, Some(waiting(5))).target, lazy.step(15, Some(waiting(6))).target),
        (0, 1)
    );
}

#[test]
fn cpu_alone_never_ends_the_last_agent() {
    let spec = spec(vec![cpu(50.0)]);
    let mut history = History { last_active: Some(at(0).minus(HOUR)), ..History::default() };
    history.wishes.push((at(0).minus(HOUR), 1));
    let inputs = Inputs { min: 0, ..inputs(2, of_each(&[0, 0]), None) };
    assert_eq!(decide(&spec, &inputs, &history).target, 1);
}

#[test]
fn a_held_pool_and_other_modes_are_left_alone() {
    let mut spec = spec(vec![queue(10.0)]);
    spec.hold_until = Some(at(1));
    let busy_now = inputs(2, vec![], Some(waiting(100)));
    let decision = decide(&spec, &busy_now, &History::default());
    assert_eq!((decision.want, decision.target), (10, 2));
    assert_eq!(decision.reason, ReasonCode::Held);
    spec.hold_until = Some(at(0));
    assert_eq!(decide(&spec, &busy_now, &History::default()).target, 6);
    spec.mode = Mode::Manual;
    let decision = decide(&spec, &busy_now, &History::default());
    assert_eq!((decision.target, decision.reason), (2, ReasonCode::Disabled));
}

#[test]
fn a_spec_reads_as_it_is_documented_and_keeps_what_it_does_not_know() {
    let document = json!({
        "mode": "engine",
        "metrics": [
            {"type": "cpu", "target": 70.0},
            {"type": "queue_per_agent", "target": 100.0},
            {"type": "backlog_drain", "within": "2m", "concurrency": 2},
            {"type": "custom", "name": "tokens", "target": 5.5},
        ],
        "up": {"select": "max"},
        "down": {
            "stabilisation": "1m", "select": "min",
            "policies": [{"type": "percent", "value": 50, "period": "15s"}],
        },
        "hold_until": "2026-11-21T00:00:00.000Z",
        "burst": {"x": 1},
    });
    let spec: ScalingSpec = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(spec.validate(), []);
    assert_eq!(serde_json::to_value(&spec).unwrap(), document);
    let short: ScalingSpec =
        serde_json::from_value(json!({"metrics": [{"type": "backlog_drain"}]})).unwrap();
    assert_eq!(short.metrics, [drain()]);
    assert!(serde_json::from_value::<ScalingSpec>(json!({"metrics": [{"type": "x"}]})).is_err());
}

#[test]
fn every_fault_of_a_spec_is_listed() {
    let spec: ScalingSpec = serde_json::from_value(json!({
        "mode": "engine",
        "metrics": [
            {"type": "cpu", "target": 0},
            {"type": "cpu", "target": 5000},
            {"type": "queue_per_agent", "target": -1, "activation": -1},
            {"type": "backlog_drain", "within": "0s", "concurrency": 0},
            {"type": "custom", "name": "a b", "target": 1},
        ],
        "up": {"stabilisation": "2h", "policies": [{"type": "pods", "value": 0, "period": "1h"}]},
        "cooldown": "2h",
    }))
    .unwrap();
    let paths: Vec<String> = spec.validate().into_iter().map(|fault| fault.path).collect();
    assert_eq!(
        paths,
        [
            "/metrics/0/target",
            "/metrics/1/target",
            "/metrics/1",
            "/metrics/2/target",
            "/metrics/2/activation",
            "/metrics/3/within",
            "/metrics/3/concurrency",
            "/metrics/4/name",
            "/up/stabilisation",
            "/up/policies/0/value",
            "/up/policies/0/period",
            "/cooldown",
        ]
    );
    let empty = ScalingSpec { mode: Mode::Hpa, ..ScalingSpec::default() };
    assert_eq!(empty.validate()[0].path, "/metrics");
    assert_eq!(ScalingSpec::default().validate(), []);
}

#[test]
fn a_decision_and_its_history_read_back() {
    let mut pool = Sim::new(spec(vec![queue(10.0), cpu(50.0)]), 2, 1, 9);
    let decision = pool.step(15, Some(waiting(50)));
    let text = serde_json::to_string(&(&decision, &pool.history)).unwrap();
    assert!(text.contains("\"reason\":\"DesiredWithinRange\""), "{text}");
    let read: (Decision, History) = serde_json::from_str(&text).unwrap();
    assert_eq!(read, (decision, pool.history));
}

fn any_agent() -> impl Strategy<Value = Sample> {
    let kinds: [fn(u64) -> Sample; 6] =
        [busy, never_ready, hot, |_| unmeasured(), |_| pending(), |_| failed()];
    (prop::sample::select(kinds.to_vec()), 0u64..3000).prop_map(|(make, level)| make(level))
}

fn any_history() -> impl Strategy<Value = History> {
    let wishes = prop::collection::vec((0u64..900, 0u32..60), 0..8);
    let changes = prop::collection::vec((0u64..900, -20i64..20), 0..8);
    (wishes, changes).prop_map(|(wishes, changes)| {
        let ago = |seconds| at(0).minus(Duration::from_secs(seconds));
        History {
            wishes: wishes.into_iter().map(|(seconds, want)| (ago(seconds), want)).collect(),
            changes: changes.into_iter().map(|(seconds, by)| (ago(seconds), by)).collect(),
            last_active: None,
        }
    })
}

fn any_queue() -> impl Strategy<Value = Option<QueueSample>> {
    prop::option::of((0u64..5000, 0u64..3, 0.0..100.0, prop::option::of(0.0..10.0)).prop_map(
        |(waiting, in_flight, arrivals, service)| QueueSample {
            waiting,
            in_flight,
            arrivals,
            service,
        },
    ))
}

proptest! {
    #[test]
    fn the_result_lies_within_the_bounds(
        agents in prop::collection::vec(any_agent(), 0..12),
        sample in any_queue(),
        history in any_history(),
        current in 0u32..60,
        min in 0u32..20,
        more in 0u32..40,
        target in 1.0f64..200.0,
    ) {
        let spec = spec(vec![cpu(target), queue(target), drain()]);
        let inputs = Inputs { min, max: min + more, ..inputs(current, agents, sample) };
        let decision = decide(&spec, &inputs, &history);
        prop_assert!((min..=min + more).contains(&decision.target), "{decision:?}");
        prop_assert_eq!(decision.limits.last().copied().unwrap_or(ReasonCode::DesiredWithinRange), decision.reason);
    }

    #[test]
    fn missing_data_never_scales_down(
        agents in prop::collection::vec(any_agent(), 1..12),
        gap in 0usize..12,
        sample in any_queue(),
        history in any_history(),
        current in 1u32..60,
        target in 1.0f64..100.0,
    ) {
        // A metric that cannot be judged holds the number.
        let blind = inputs(current, vec![unmeasured(); 3], sample);
        let decision = decide(&spec(vec![cpu(target), queue(50.0)]), &blind, &history);
        prop_assert!(decision.target >= current, "{decision:?}");
        // An agent that is not measured counts for no less than one that uses all it asked for.
        let mut known = agents;
        let gap = gap % known.len();
        known[gap] = busy(1000);
        let mut unknown = known.clone();
        unknown[gap] = unmeasured();
        let want = |agents| metric::evaluate(&cpu(target), &inputs(current, agents, None));
        let (known, unknown) = (want(known), want(unknown));
        if unknown.want.is_some_and(|want| want < current) {
            prop_assert!(known.want <= unknown.want, "{known:?} {unknown:?}");
        }
    }

    #[test]
    fn the_number_never_moves_against_the_load(
        agents in prop::collection::vec(any_agent(), 0..12),
        waiting_now in 0u64..5000,
        history in any_history(),
        current in 1u32..60,
        target in 1.0f64..200.0,
    ) {
        for metric in [cpu(target), queue(target), Metric::Custom { name: "load".to_owned(), target }] {
            let inputs = inputs(current, agents.clone(), Some(waiting(waiting_now)));
            let result = metric::evaluate(&metric, &inputs);
            let decision = decide(&spec(vec![metric]), &inputs, &history);
            if let Some(ratio) = result.ratio {
                prop_assert!(ratio < 1.0 || decision.want >= current, "{result:?}");
                prop_assert!(ratio > 1.0 || decision.want <= current, "{result:?}");
            }
            // What holds the wish back never pushes beyond it.
            let (low, high) = (decision.want.min(current), decision.want.max(current));
            prop_assert!((low.max(1).min(high)..=high.max(1)).contains(&decision.target), "{decision:?}");
        }
    }

    #[test]
    fn no_drop_below_a_wish_of_the_last_five_minutes(
        sample in any_queue(),
        history in any_history(),
        current in 1u32..60,
    ) {
        let decision = decide(&spec(vec![queue(50.0)]), &inputs(current, vec![], sample), &history);
        let recent = history.wishes.iter().filter(|(time, _)| *time > at(0).minus(FIVE_MINUTES));
        let highest = recent.map(|(_, want)| *want).max().unwrap_or(0);
        prop_assert!(decision.target >= highest.min(current), "{decision:?}");
    }
}

#[test]
fn how_far_the_rules_reach_counts_what_was_changed_lately() {
    let mut history = History::default();
    history.changes.push((at(0), 4));
    let (up, down) = reach(&spec(vec![]), &history, 12, at(5));
    assert_eq!((up.to, up.words.as_str()), (16, "≤ max(8+4, 8+100%) = 16 in 15s"));
    assert_eq!((down.to, down.words.as_str()), (0, "≥ 8-100% = 0 in 15s"));
    let rules = Rules { select: Select::Disabled, ..Rules::default() };
    let fixed = ScalingSpec { down: rules, ..spec(vec![]) };
    let (_, down) = reach(&fixed, &history, 12, at(5));
    assert_eq!((down.to, down.words.as_str()), (12, "never"));
}
