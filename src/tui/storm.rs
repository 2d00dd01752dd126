//! Whatever is typed, however large the screen, whatever the fleet: nothing breaks at `update`, in a frame, or on the way to
//! the terminal.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyModifiers};
use proptest::prelude::*;

use super::effect::{Effect, EffectId, Fetch};
use super::event::{Alarm, Event, Fault, Reply};
use super::keys::{self, Key};
use super::testing::{
    agent, busy, draw, fleet, journal, journal_entry, many, messages, pool, publications, ui,
};
use super::theme::Background;
use super::update::update;
use super::writer::Frame;
use super::writer::encode::Encoder;
use crate::engine::handle::{Description, Section};
use crate::engine::view::{AgentRow, FleetView, PoolRow, Queue, UsageNote};
use crate::model::agent::Phase;
use crate::model::health::HealthStatus;
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::runtime::LogLine;

#[derive(Debug, Clone)]
enum Step {
    Key(Key),
    /// A line of the command bar.
    Command(&'static str),
    Paste(String),
    Size(u16, u16),
    View(Box<FleetView>),
    /// What was asked for comes.
    Answer,
    Refuse,
    Lines(Vec<String>),
    Entry(u64),
    Alarm(Alarm),
    Background(bool),
}

/// Every key that a terminal can send.
fn any_key() -> impl Strategy<Value = Key> {
    let code = prop_oneof![
        12 => prop::char::range(' ', '~').prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
        6 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::BackTab, KeyCode::Backspace, KeyCode::Delete,
            KeyCode::Insert, KeyCode::Home, KeyCode::End, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Up,
            KeyCode::Down, KeyCode::Left, KeyCode::Right, KeyCode::F(1), KeyCode::F(12), KeyCode::Null,
        ]),
    ];
    (code, 0_u8..16).prop_map(|(code, modifiers)| {
        // mostly none: a modified key seldom means anything
        let modifiers = KeyModifiers::from_bits_truncate(if modifiers < 8 { modifiers } else { 0 });
        keys::normal(code, modifiers)
    })
}

/// A number of the kind that breaks sums: nothing, little, all there is.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..500, 1 => Just(u64::MAX), 1 => Just(u64::MAX / 2), 1 => any::<u64>()]
}

fn time() -> impl Strategy<Value = Time> {
    let now = super::testing::now().millis();
    prop_oneof![
        6 => (-100_000_000_i64..100_000_000).prop_map(move |by| Time::from_millis(now + by)),
        1 => Just(Time::EPOCH),
        1 => Just(Time::from_millis(i64::MAX)),
        1 => Just(Time::from_millis(i64::MIN)),
    ]
}

fn words() -> impl Strategy<Value = Safe> {
    prop_oneof![
        4 => "[a-z0-9-]{0,20}",
        1 => "\\PC{0,40}",
        1 => any::<String>(),
        1 => Just("世界".repeat(60)),
        1 => Just("\u{1b}[2J\u{202e}e\u{301}\u{301}\u{301}".to_owned()),
    ]
    .prop_map(|text| Safe::new(&text))
}

fn any_agent() -> impl Strategy<Value = AgentRow> {
    let phases = [
        Phase::Pending,
        Phase::Deploying,
        Phase::Running,
        Phase::Paused,
        Phase::Draining,
        Phase::Stopped,
        Phase::Failed,
        Phase::Deleted,
    ];
    let health = [
        HealthStatus::Healthy,
        HealthStatus::Degraded,
        HealthStatus::Unhealthy,
        HealthStatus::Unknown,
    ];
    let state = (prop::sample::select(phases.to_vec()), prop::sample::select(health.to_vec()));
    let texts = proptest::collection::vec(words(), 6);
    let numbers = proptest::collection::vec(number(), 10);
    let times = proptest::collection::vec(time(), 7);
    (0_u32..40, state, texts, numbers, times, any::<bool>()).prop_map(
        |(n, (phase, health), texts, numbers, times, some)| {
            let mut row = agent(&format!("{n:03}"), "triage", phase, health);
            [row.name, row.kind, row.pool_name, row.reason, row.health_message, row.node] =
                texts.try_into().expect("as many as were asked for");
            let queue = Queue {
                pending: numbers[0],
                leased: numbers[1],
                dead: numbers[2],
                delivered: numbers[3],
                oldest: some.then_some(times[0]),
            };
            row.queue = queue;
            (row.incarnation, row.wanted_incarnation) = (numbers[4], numbers[5]);
            row.usage =
                Some(UsageNote { at: times[1], cpu_millis: numbers[6], memory_bytes: numbers[7] });
            (row.cpu_limit, row.memory_limit) = (some.then_some(numbers[8]), Some(numbers[9]));
            (row.created_at, row.phase_since) = (times[2], times[3]);
            (row.heartbeat, row.retry_at) = (Some(times[4]), some.then_some(times[5]));
            row.heartbeat_interval = Duration::from_millis(numbers[8]);
            row.purge_at = Some(times[6]);
            row
        },
    )
}

fn any_pool() -> impl Strategy<Value = PoolRow> {
    let counts = proptest::collection::vec(prop_oneof![3 => 0_u32..50, 1 => Just(u32::MAX)], 9);
    (0_u32..6, counts, words(), number(), time()).prop_map(|(n, counts, text, number, time)| {
        let mut row = pool(&format!("p{n}"), 0, 0);
        [
            row.desired,
            row.min,
            row.max,
            row.ready,
            row.updated,
            row.unhealthy,
            row.pending,
            row.total,
            row.max_surge,
        ] = counts.try_into().expect("as many as were asked for");
        (row.name, row.description, row.last_decision) = (text.clone(), text.clone(), text);
        row.queue.pending = number;
        (row.queue.oldest, row.created_at) = (Some(time), time);
        row
    })
}

fn any_view() -> impl Strategy<Value = FleetView> {
    let rows = (
        proptest::collection::vec(any_agent(), 0..30),
        proptest::collection::vec(any_pool(), 0..6),
        proptest::collection::vec(number(), 4),
        time(),
        any::<bool>(),
    );
    let wild = rows.prop_map(|(mut agents, mut pools, numbers, time, stale)| {
        // as the mirror gives them: by id, each once
        agents.sort_by(|a, b| a.id.cmp(&b.id));
        agents.dedup_by(|a, b| a.id == b.id);
        pools.sort_by(|a, b| a.id.cmp(&b.id));
        pools.dedup_by(|a, b| a.id == b.id);
        let mut view = busy();
        view.agents = agents.into_iter().map(Arc::new).collect();
        view.pools = pools.into_iter().map(Arc::new).collect();
        for (count, value) in view.totals.phases.values_mut().zip(&numbers) {
            *count = *value;
        }
        for (count, value) in view.totals.messages.values_mut().zip(&numbers) {
            *count = *value;
        }
        view.totals.oldest = Some(time);
        (view.totals.sent_rate, view.totals.delivered_rate) = (f64::NAN, f64::INFINITY);
        view.totals.sent_history = vec![u32::MAX; 100];
        view.stale_since = stale.then_some(time);
        view
    });
    prop_oneof![
        1 => Just(FleetView::default()),
        1 => Just(fleet()),
        1 => Just(busy()),
        1 => (0_usize..300).prop_map(many),
        4 => wild,
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let lines = vec![
        "agents",
        "pools",
        "templates",
        "messages",
        "mq",
        "subscriptions",
        "publications",
        "health",
        "events",
        "operations",
        "pulse",
        "help",
        "notices",
        "aliases",
        "perf",
        "logs agent triage-1",
        "describe agent triage-1",
        "yaml pool triage",
        "agents /queue>1 sort:queue:desc faults wide",
        "agents /(",
        "scale triage 3",
        "restart agent triage-1",
        "send triage-1",
        "set header off",
        "set ascii on",
        "theme light",
        "deploy worker",
        "q",
    ];
    prop_oneof![
        12 => any_key().prop_map(Step::Key),
        4 => prop::sample::select(lines).prop_map(Step::Command),
        1 => any::<String>().prop_map(Step::Paste),
        2 => (0_u16..=500, 0_u16..=200).prop_map(|(width, height)| Step::Size(width, height)),
        2 => (1_u16..=12, 1_u16..=12).prop_map(|(width, height)| Step::Size(width, height)),
        3 => any_view().prop_map(|view| Step::View(Box::new(view))),
        4 => Just(Step::Answer),
        1 => Just(Step::Refuse),
        1 => proptest::collection::vec(any::<String>(), 0..30).prop_map(Step::Lines),
        1 => (0_u64..500).prop_map(Step::Entry),
        1 => prop_oneof![Just(Alarm::Minute), Just(Alarm::Reread), (0_u64..9).prop_map(Alarm::Toast)]
            .prop_map(Step::Alarm),
        1 => any::<bool>().prop_map(Step::Background),
    ]
}

/// What would come for `effect`.
fn answer(effect: &Effect) -> Option<Event> {
    let done = |id: &EffectId, reply| Some(Event::Done(*id, Ok(reply)));
    match effect {
        Effect::Fetch(id, Fetch::List(listing)) => {
            let documents = match listing.collection {
                Collection::AgentMessages => messages(),
                Collection::AgentPublications => publications(),
                _ => journal(),
            };
            done(id, Reply::Listed(documents, None))
        }
        Effect::Fetch(id, Fetch::Document(..)) => {
            done(id, Reply::Document(Box::new(messages().remove(0))))
        }
        Effect::Fetch(id, Fetch::Describe(..)) => {
            let lines = vec![("name".to_owned(), "x\u{1b}[2J".repeat(400)), Default::default()];
            let sections = vec![Section { title: "facts".into(), lines }];
            done(id, Reply::Described(Description { title: "triage-1".into(), sections }))
        }
        Effect::Dump(id) => done(id, Reply::Dumped("/tmp/x".into())),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_key_screen_or_view_breaks_the_console(steps in proptest::collection::vec(steps(), 1..40)) {
        let (mut ui, mut view) = (ui(), busy());
        let mut size = (120, 30);
        let mut asked: Vec<Effect> = Vec::new();
        let mut encoder = Encoder::default();
        for step in steps {
            let events = match step {
                Step::Key(key) => vec![Event::Key(key)],
                Step::Command(line) => {
                    let typed = format!(":{line}");
                    let chars = typed.chars().map(|c| keys::normal(KeyCode::Char(c), KeyModifiers::NONE));
                    let enter = keys::normal(KeyCode::Enter, KeyModifiers::NONE);
                    chars.chain([enter]).map(Event::Key).collect()
                }
                Step::Paste(text) => vec![Event::Paste(text)],
                Step::Size(width, height) => {
                    size = (width, height);
                    vec![Event::Resize]
                }
                Step::View(next) => {
                    view = FleetView { version: view.version + 1, ..*next };
                    vec![Event::View]
                }
                Step::Answer => asked.drain(..).filter_map(|effect| answer(&effect)).collect(),
                Step::Refuse => {
                    let waiting = ui.waiting.iter().next().copied();
                    waiting.map(|id| Event::Done(id, Err(Fault::Panicked))).into_iter().collect()
                }
                Step::Lines(lines) => {
                    let at = ui.now;
                    let line = |text| LogLine { at, stderr: false, text, skipped: 1 };
                    let lines: Vec<LogLine> = lines.into_iter().map(line).collect();
                    let follow = asked.iter().find_map(|effect| match effect {
                        Effect::Follow(id, ..) => Some(*id),
                        _ => None,
                    });
                    follow.map(|id| Event::Lines(id, lines.into())).into_iter().collect()
                }
                Step::Entry(seq) => vec![Event::Journal(Arc::new(journal_entry(seq)))],
                Step::Alarm(alarm) => vec![Event::Alarm(alarm)],
                Step::Background(light) => {
                    vec![Event::Background(if light { Background::Light } else { Background::Dark })]
                }
            };
            for event in events {
                asked.extend(update(&mut ui, &view, event));
            }
            let (width, height) = size;
            let picture = draw(&mut ui, &view, width, height);
            let mut bytes = Vec::new();
            encoder.frame(Frame { buffer: picture, cursor: None }, &mut bytes);
        }
    }
}
