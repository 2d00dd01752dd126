//! A table of single decisions, and a model of the world in which no order of events breaks a rule.

use proptest::prelude::*;

use super::*;
use crate::model::id::AgentId;
use crate::model::workload::Exit;

fn at(seconds: i64) -> Time {
    Time::from_millis(1_795_219_200_000 + seconds * 1_000)
}

fn seen(incarnation: u64, state: State) -> Observed {
    Observed {
        agent: AgentId::new("a-1").unwrap(),
        incarnation,
        state,
        pid: None,
        node: String::new(),
        workload: String::new(),
        restarts: 0,
        message: String::new(),
        exit: (state == State::Exited).then_some(Exit::Code(3)),
        started_at: None,
        copy_of: None,
    }
}

fn agent(phase: Phase, desired: Desired) -> Agent {
    Agent {
        phase,
        desired,
        phase_since: at(0),
        incarnation: u64::from(phase != Phase::Pending),
        wanted_incarnation: 1,
        live_name: Some("a".into()),
        ..Agent::default()
    }
}

fn facts<'a>(
    agent: &'a Agent,
    seen: Option<&'a Observed>,
    tried: &'a Tried,
    now: Time,
) -> Facts<'a> {
    Facts {
        id: "a-1",
        agent,
        seen,
        heartbeat: None,
        vouched: None,
        in_flight: 0,
        tried,
        leading_since: at(0),
        braked: false,
        parks: false,
        policy: RestartPolicy::default(),
        now,
    }
}

#[test]
fn what_runs_elsewhere_is_left_alone_for_as_long_as_its_heartbeats_speak_for_it() {
    let running = agent(Phase::Running, Desired::Running);
    let deploying = agent(Phase::Deploying, Desired::Running);
    let tried = Tried::default();
    let unseen = |agent, now| Facts { vouched: Some(at(60)), ..facts(agent, None, &tried, now) };
    assert_eq!(next(&unseen(&running, at(59))), Act::Wait(Some(at(60))));
    assert_eq!(written(next(&unseen(&running, at(60)))).1, "agent.failed");
    let (taken, kind) = written(next(&unseen(&deploying, at(5))));
    assert_eq!((taken.phase, kind, taken.incarnation), (Phase::Running, "agent.running", 1));
    assert_eq!(next(&unseen(&deploying, at(60))), Act::Apply, "nobody speaks for it any more");
    let ours = Tried { applied: Some((1, at(4), at(4))), ..Tried::default() };
    let asked = Facts { tried: &ours, ..unseen(&deploying, at(5)) };
    assert!(
        matches!(next(&asked), Act::Wait(Some(_))),
        "what was asked for here is waited for here"
    );
}

#[track_caller]
fn written(act: Act) -> (Agent, &'static str) {
    match act {
        Act::Write { agent, kind } => (*agent, kind),
        other => panic!("expected a write, got {other:?}"),
    }
}

#[test]
fn a_new_agent_is_recorded_as_deploying_before_the_runtime_is_asked() {
    let (tried, pending) = (Tried::default(), agent(Phase::Pending, Desired::Running));
    let (deploying, kind) = written(next(&facts(&pending, None, &tried, at(1))));
    assert_eq!(
        (deploying.phase, deploying.incarnation, kind),
        (Phase::Deploying, 1, "agent.deploying")
    );
    assert_eq!(next(&facts(&deploying, None, &tried, at(1))), Act::Apply);
    let applied = Tried { applied: Some((1, at(1), at(1))), ..Tried::default() };
    assert_eq!(next(&facts(&deploying, None, &applied, at(2))), Act::Wait(Some(at(6))));
    assert_eq!(next(&facts(&deploying, None, &applied, at(6))), Act::Apply, "asked again");
    let (failed, _) = written(next(&facts(&deploying, None, &applied, at(61))));
    assert_eq!(failed.phase, Phase::Failed);
}

#[test]
fn what_the_runtime_refuses_fails_with_its_own_words_and_is_not_retried_at_once() {
    let deploying = agent(Phase::Deploying, Desired::Running);
    let tried = Tried { refused: Some((1, "no such program: ocr".into())), ..Tried::default() };
    let (failed, kind) = written(next(&facts(&deploying, None, &tried, at(1))));
    assert_eq!((failed.phase, kind), (Phase::Failed, "agent.failed"));
    assert_eq!(failed.reason, "no such program: ocr");
    assert!(failed.retry_at >= Some(at(9)), "{:?}", failed.retry_at);
}

#[test]
fn it_runs_once_the_workload_does_unless_a_heartbeat_is_required() {
    let (tried, running) = (Tried::default(), seen(1, State::Running));
    let mut deploying = agent(Phase::Deploying, Desired::Running);
    let first = facts(&deploying, Some(&running), &tried, at(2));
    assert_eq!(written(next(&first)).1, "agent.running");
    // an earlier run sent heartbeats: one interval for the first of this one
    let earlier = Facts { heartbeat: Some((at(0), 0)), ..first.clone() };
    assert_eq!(next(&earlier), Act::Wait(Some(at(10))));
    assert_eq!(written(next(&Facts { now: at(10), ..earlier })).1, "agent.running");
    let own = Facts { heartbeat: Some((at(2), 1)), ..first };
    assert_eq!(written(next(&own)).1, "agent.running");
    deploying.config.heartbeat.required = true;
    let required = facts(&deploying, Some(&running), &tried, at(2));
    assert_eq!(next(&required), Act::Wait(Some(at(60))));
    let late = written(next(&Facts { now: at(60), ..required })).0;
    assert_eq!(late.reason, "ran, but sent no heartbeat within 1m");
}

#[test]
fn an_unexpected_end_fails_with_its_exit_and_the_first_restart_is_immediate() {
    let (tried, over) = (Tried::default(), seen(1, State::Exited));
    let running = Agent { running_since: Some(at(1)), ..agent(Phase::Running, Desired::Running) };
    let (failed, _) = written(next(&facts(&running, Some(&over), &tried, at(5))));
    assert_eq!(failed.reason, "exited with code 3");
    assert_eq!((failed.failures, failed.retry_at), (1, Some(at(5))));
    let (again, _) = written(next(&facts(&failed, Some(&over), &tried, at(5))));
    assert_eq!((again.phase, again.incarnation, again.failures), (Phase::Deploying, 2, 1));
    let up = seen(2, State::Running);
    let (back, kind) = written(next(&facts(&again, Some(&up), &tried, at(6))));
    assert_eq!((back.phase, kind), (Phase::Running, "agent.recovered"));
    assert_eq!(back.reason, "started again after: exited with code 3");
    // a clean run of ten minutes forgets
    let much_later = facts(&back, None, &tried, at(606));
    assert_eq!(written(next(&much_later)).0.failures, 1);
    assert_eq!(written(next(&Facts { now: at(605), ..much_later })).0.failures, 2);
}

#[test]
fn a_brake_holds_automatic_restarts_but_not_one_that_the_operator_asked_for() {
    let tried = Tried::default();
    let mut failed = Agent { retry_at: Some(at(0)), ..agent(Phase::Failed, Desired::Running) };
    let held = Facts { braked: true, ..facts(&failed, None, &tried, at(5)) };
    assert!(matches!(next(&held), Act::Wait(Some(_))));
    failed.wanted_incarnation = 2;
    let asked = Facts { braked: true, ..facts(&failed, None, &tried, at(5)) };
    assert_eq!(written(next(&asked)).0.phase, Phase::Deploying);
}

#[test]
fn a_paused_agent_is_parked_where_that_can_be_and_resumes_once_it_runs_again() {
    let tried = Tried::default();
    let (up, parked) = (seen(1, State::Running), seen(1, State::Parked));
    let paused = agent(Phase::Paused, Desired::Paused);
    let parking = |seen| Facts { parks: true, ..facts(&paused, Some(seen), &tried, at(1)) };
    assert_eq!(next(&parking(&up)), Act::Park { parked: true });
    assert_eq!(next(&parking(&parked)), Act::Wait(None));
    assert_eq!(next(&facts(&paused, Some(&up), &tried, at(1))), Act::Wait(None), "it goes on");
    let resumed = Agent { updated_at: at(2), ..agent(Phase::Paused, Desired::Running) };
    let starting = seen(1, State::Starting);
    let of = |seen, now| next(&Facts { parks: true, ..facts(&resumed, Some(seen), &tried, now) });
    assert_eq!(of(&parked, at(2)), Act::Park { parked: false });
    assert_eq!(of(&starting, at(3)), Act::Wait(Some(at(62))));
    assert_eq!(written(of(&up, at(3))).1, "agent.resumed");
    let late = written(of(&starting, at(62))).0;
    assert_eq!((late.phase, late.reason.as_str()), (Phase::Failed, "did not start within 1m"));
    // what is kept can be ended like what runs
    let deleted = agent(Phase::Draining, Desired::Deleted);
    let act = next(&Facts { parks: true, ..facts(&deleted, Some(&parked), &tried, at(1)) });
    assert!(matches!(act, Act::Remove { .. }), "{act:?}");
}

#[test]
fn draining_waits_for_held_messages_until_its_deadline() {
    let (tried, alive) = (Tried::default(), seen(1, State::Running));
    let running = agent(Phase::Running, Desired::Stopped);
    let (draining, _) = written(next(&facts(&running, Some(&alive), &tried, at(1))));
    assert_eq!((draining.phase, draining.drain_deadline), (Phase::Draining, Some(at(11))));
    let held = Facts { in_flight: 2, ..facts(&draining, Some(&alive), &tried, at(2)) };
    assert!(matches!(next(&held), Act::Wait(Some(_))));
    let remove = Act::Remove { incarnation: 1, grace: Duration::from_secs(10) };
    assert_eq!(next(&Facts { in_flight: 0, ..held.clone() }), remove);
    assert_eq!(next(&Facts { now: at(11), ..held.clone() }), remove);
    let removed = Tried { removed: Some((1, at(11))), ..Tried::default() };
    assert_eq!(
        next(&Facts { now: at(12), tried: &removed, ..held.clone() }),
        Act::Wait(Some(at(23))),
        "asked once, not at every look"
    );
    let over = seen(1, State::Exited);
    let (stopped, kind) = written(next(&Facts { seen: Some(&over), now: at(12), ..held }));
    assert_eq!((stopped.phase, kind), (Phase::Stopped, "agent.stopped"));
    assert_eq!(stopped.reason, "ended while it held 2 messages; they will be redelivered");
}

#[test]
fn a_tombstone_gives_its_name_back_and_is_kept_a_day() {
    let tried = Tried::default();
    let stopped = agent(Phase::Stopped, Desired::Deleted);
    let (deleted, kind) = written(next(&facts(&stopped, None, &tried, at(1))));
    assert_eq!((deleted.live_name.as_deref(), kind), (None, "agent.deleted"));
    assert_eq!(deleted.purge_at, Some(at(86_401)));
    let over = seen(1, State::Exited);
    assert_eq!(next(&facts(&deleted, Some(&over), &tried, at(2))), Act::Forget);
}

#[test]
fn what_is_there_in_an_older_incarnation_ends_before_the_wanted_one_begins() {
    let (tried, old) = (Tried::default(), seen(1, State::Running));
    let deploying = Agent { incarnation: 2, ..agent(Phase::Deploying, Desired::Running) };
    assert!(matches!(
        next(&facts(&deploying, Some(&old), &tried, at(1))),
        Act::Remove { incarnation: 1, .. }
    ));
}

#[test]
fn pauses_double_to_their_cap_and_spread_by_a_tenth() {
    let policy = RestartPolicy::default();
    assert_eq!(policy.pause(1, "x"), Duration::ZERO);
    for (failures, plain) in [(2, 10.0), (3, 20.0), (6, 160.0), (7, 300.0), (90, 300.0)] {
        let pauses: Vec<f64> =
            (0..200).map(|n| policy.pause(failures, &n.to_string()).as_secs_f64()).collect();
        assert!(pauses.iter().all(|pause| (pause - plain).abs() <= plain / 10.0 + 0.001));
        let (least, most) = (
            pauses.iter().copied().fold(f64::MAX, f64::min),
            pauses.iter().copied().fold(0.0, f64::max),
        );
        assert!(most - least > plain / 10.0, "the same pause for all is no spread");
    }
}

#[test]
fn what_was_asked_to_end_and_stays_says_so_once_its_grace_is_over() {
    let mut agent = Agent { incarnation: 1, ..agent(Phase::Draining, Desired::Stopped) };
    agent.config.grace = Duration::from_secs(5);
    let mut stuck = seen(1, State::Ending);
    stuck.message = "its node is away".to_owned();
    let tried = Tried { removed: Some((1, at(10))), ..Tried::default() };
    assert_eq!(next(&facts(&agent, Some(&stuck), &tried, at(11))), Act::Wait(Some(at(17))));
    let Act::Write { agent: told, kind } = next(&facts(&agent, Some(&stuck), &tried, at(17)))
    else {
        panic!("it says so")
    };
    assert_eq!(
        (kind, told.reason.as_str()),
        ("agent.waiting", "asked to end and still there: its node is away")
    );
    assert_eq!(next(&facts(&told, Some(&stuck), &tried, at(17))), Act::Wait(Some(at(25))), "once");
    let again = next(&facts(&told, Some(&stuck), &tried, at(25)));
    assert!(matches!(again, Act::Remove { grace: Duration::ZERO, .. }), "{again:?}");
}

/// One agent's document, its workload and its leader, to be stirred in any order.
#[derive(Debug, Clone)]
struct Sandbox {
    agent: Agent,
    workload: Option<Observed>,
    tried: Tried,
    now: Time,
    leading_since: Time,
    in_flight: u64,
    braked: bool,
    parks: bool,
    /// The highest incarnation ever applied: a lower one must never start again.
    highest: u64,
}

#[derive(Debug, Clone)]
enum Stir {
    Turn,
    /// The leader dies in the middle of a turn: the act was done, but nobody remembers.
    TurnThenNewLeader,
    Want(Desired),
    Restart,
    Pass(u16),
    Start,
    Exit,
    Vanish,
    Heartbeatless,
    Hold(u64),
    Brake(bool),
    Refuse,
}

fn stir() -> impl Strategy<Value = Stir> {
    let wanted = prop_oneof![
        4 => Just(Desired::Running),
        1 => Just(Desired::Paused),
        2 => Just(Desired::Stopped),
        1 => Just(Desired::Deleted),
    ];
    prop_oneof![
        10 => Just(Stir::Turn),
        2 => Just(Stir::TurnThenNewLeader),
        3 => wanted.prop_map(Stir::Want),
        1 => Just(Stir::Restart),
        3 => (0u16..400).prop_map(Stir::Pass),
        4 => Just(Stir::Start),
        2 => Just(Stir::Exit),
        1 => Just(Stir::Vanish),
        1 => Just(Stir::Heartbeatless),
        1 => (0u64..3).prop_map(Stir::Hold),
        1 => any::<bool>().prop_map(Stir::Brake),
        1 => Just(Stir::Refuse),
    ]
}

impl Sandbox {
    fn new(parks: bool) -> Self {
        Self {
            agent: agent(Phase::Pending, Desired::Running),
            workload: None,
            tried: Tried::default(),
            now: at(0),
            leading_since: at(0),
            in_flight: 0,
            braked: false,
            parks,
            highest: 0,
        }
    }

    /// One look and one act, as the loop does them. Returns whether anything was done.
    fn turn(&mut self) -> bool {
        let act = next(&Facts {
            id: "a-1",
            agent: &self.agent,
            seen: self.workload.as_ref(),
            heartbeat: None,
            vouched: None,
            in_flight: self.in_flight,
            tried: &self.tried,
            leading_since: self.leading_since,
            braked: self.braked,
            parks: self.parks,
            policy: RestartPolicy::default(),
            now: self.now,
        });
        match act {
            Act::Write { agent, .. } => {
                if agent.phase != self.agent.phase {
                    self.agent.phase.go(agent.phase).expect("a legal move");
                }
                assert!(agent.incarnation >= self.agent.incarnation, "incarnations only grow");
                assert_ne!(*agent, self.agent, "a write that changes nothing would go on for ever");
                self.agent = *agent;
            }
            Act::Apply => {
                let incarnation = self.agent.incarnation;
                assert_eq!(self.agent.phase, Phase::Deploying);
                assert!(incarnation >= self.highest, "an old incarnation was started again");
                let other = self.workload.as_ref().filter(|seen| seen.is_alive());
                assert!(other.is_none_or(|seen| seen.incarnation == incarnation), "two at once");
                self.highest = incarnation;
                let first = match self.tried.applied {
                    Some((of, first, _)) if of == incarnation => first,
                    Some(_) | None => self.now,
                };
                self.tried.applied = Some((incarnation, first, self.now));
                if self.workload.as_ref().is_none_or(|seen| seen.incarnation != incarnation) {
                    self.workload = Some(seen(incarnation, State::Starting));
                }
            }
            Act::Remove { incarnation, .. } => {
                self.tried.removed = Some((incarnation, self.now));
                if let Some(workload) = &mut self.workload
                    && workload.is_alive()
                {
                    *workload = seen(workload.incarnation, State::Ending);
                }
            }
            Act::Park { parked } => {
                assert!(self.parks && self.agent.phase.has_workload());
                let incarnation = self.agent.incarnation;
                let mine = self.workload.as_ref().filter(|it| it.incarnation == incarnation);
                assert!(mine.is_some_and(Observed::is_alive), "only its own is parked");
                let state = if parked { State::Parked } else { State::Starting };
                self.workload = Some(seen(incarnation, state));
            }
            Act::Forget => {
                assert_eq!(self.agent.phase, Phase::Deleted);
                self.tried.forgotten = true;
                self.workload = None;
            }
            Act::Wait(until) => {
                assert!(
                    until.is_none_or(|at| at > self.now),
                    "waiting for the past is a busy loop"
                );
                return false;
            }
        }
        true
    }

    fn stir(&mut self, stir: &Stir) {
        match stir {
            Stir::Turn => drop(self.turn()),
            Stir::TurnThenNewLeader => {
                self.turn();
                self.tried = Tried::default();
                self.leading_since = self.now;
            }
            Stir::Want(desired) => {
                if self.agent.desired != Desired::Deleted {
                    self.agent.desired = *desired;
                }
            }
            Stir::Restart => self.agent.wanted_incarnation = self.agent.incarnation + 1,
            Stir::Pass(seconds) => self.now = self.now.plus(Duration::from_secs((*seconds).into())),
            Stir::Start => self.become_state(State::Running),
            Stir::Exit => self.become_state(State::Exited),
            Stir::Vanish => self.workload = None,
            Stir::Heartbeatless => {
                let agent = failed(
                    "a-1",
                    &self.agent,
                    "no heartbeat",
                    false,
                    RestartPolicy::default(),
                    self.now,
                );
                if let Some(agent) = agent {
                    self.agent = agent;
                }
            }
            Stir::Hold(messages) => self.in_flight = *messages,
            Stir::Brake(on) => self.braked = *on,
            Stir::Refuse => {
                if self.agent.phase == Phase::Deploying && self.workload.is_none() {
                    self.tried.refused = Some((self.agent.incarnation, "no".into()));
                }
            }
        }
    }

    /// A workload never comes back to life.
    fn become_state(&mut self, state: State) {
        if let Some(workload) = self.workload.as_ref().filter(|seen| seen.is_alive())
            && !(workload.state == State::Ending && state == State::Running)
        {
            self.workload = Some(seen(workload.incarnation, state));
        }
    }

    fn is_settled(&self) -> bool {
        let alive = self.workload.as_ref().filter(|seen| seen.is_alive());
        let up = alive.is_some_and(|seen| seen.incarnation == self.agent.incarnation)
            && self.agent.incarnation >= self.agent.wanted_incarnation;
        let parked = alive.is_some_and(|seen| seen.state == State::Parked);
        match self.agent.desired {
            Desired::Running => self.agent.phase == Phase::Running && up && !parked,
            Desired::Paused => self.agent.phase == Phase::Paused && up && parked == self.parks,
            Desired::Stopped => self.agent.phase == Phase::Stopped && alive.is_none(),
            Desired::Deleted => self.agent.phase == Phase::Deleted && self.workload.is_none(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_order_of_events_breaks_a_rule_and_once_all_is_calm_it_becomes_what_is_wanted(
        stirs in prop::collection::vec(stir(), 0..80), parks in any::<bool>(),
    ) {
        let mut sandbox = Sandbox::new(parks);
        for stir in &stirs {
            sandbox.stir(stir);
        }
        sandbox.braked = false;
        for _ in 0..60 {
            if sandbox.is_settled() && !sandbox.turn() {
                break;
            }
            while sandbox.turn() {}
            match sandbox.workload.as_ref().map(|seen| seen.state) {
                Some(State::Starting | State::Lost) => sandbox.become_state(State::Running),
                Some(State::Ending) => sandbox.become_state(State::Exited),
                Some(State::Running | State::Parked | State::Exited) | None => {}
            }
            sandbox.now = sandbox.now.plus(Duration::from_secs(20));
        }
        prop_assert!(sandbox.is_settled(), "{sandbox:#?}");
    }
}
