//! What the console costs: a frame at 1,000, 10,000 and 100,000 agents (only the rows in sight are drawn), a filter
//! applied and cleared, a sort, and the bytes that a moved cursor and a scrolled line put on the wire.
#![expect(clippy::print_stdout, reason = "a benchmark tells its figures")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use cvxc::engine::view::{AgentRow, FleetView, Queue, Totals, UsageNote};
use cvxc::model::access::Actor;
use cvxc::model::agent::{Desired, Phase};
use cvxc::model::health::HealthStatus;
use cvxc::model::id::{AgentId, PoolId, TemplateId};
use cvxc::model::text::Safe;
use cvxc::model::time::Time;
use cvxc::tui::action::Action;
use cvxc::tui::event::Event;
use cvxc::tui::pages::Page;
use cvxc::tui::pages::table::TablePage;
use cvxc::tui::render::render;
use cvxc::tui::ui::Ui;
use cvxc::tui::update::{prepare, update};
use cvxc::tui::writer::Frame;
use cvxc::tui::writer::encode::Encoder;
use cvxc::tui::{keymap, theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

const SCREEN: Rect = Rect::new(0, 0, 200, 50);
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// 2026-11-21T14:02:07Z.
const NOW: i64 = 1_795_269_727_000;

/// The same numbers on every run: a linear congruential generator is all the variety needed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

fn agent(n: usize, dice: &mut Dice) -> AgentRow {
    let now = Time::from_millis(NOW);
    let ago = |seconds: u64| now.minus(Duration::from_secs(seconds));
    let (phase, health) = match dice.below(100) {
        0 => (Phase::Failed, HealthStatus::Unhealthy),
        1..4 => (Phase::Running, HealthStatus::Degraded),
        4..6 => (Phase::Paused, HealthStatus::Healthy),
        _ => (Phase::Running, HealthStatus::Healthy),
    };
    let pool = ["triage", "ocr", "router", "summary", "embed"][n % 5];
    let waiting = dice.below(400);
    AgentRow {
        id: AgentId::new(&format!("agent-{n:06}")).expect("digits and a prefix are an id"),
        name: Safe::new(&format!("{pool}-worker-{n:06}")),
        kind: Safe::new(pool),
        tenant: Safe::new("default"),
        pool: Some(PoolId::new(&format!("pool-{pool}")).expect("a word and a prefix are an id")),
        pool_name: Safe::new(pool),
        template: Some(TemplateId::new("template-worker").expect("a constant id")),
        template_name: Safe::new("worker"),
        template_version: Safe::new("1.2.0"),
        labels: Arc::default(),
        desired: Desired::Running,
        phase,
        phase_since: ago(dice.below(9_000)),
        reason: Safe::new(if phase == Phase::Failed {
            "exit 137 (memory limit 512Mi)"
        } else {
            ""
        }),
        health,
        health_since: Time::EPOCH,
        health_message: Safe::default(),
        incarnation: 1 + dice.below(4),
        wanted_incarnation: 1,
        generation: 1,
        failures: 0,
        restarts_in_place: 0,
        retry_at: None,
        drain_deadline: None,
        purge_at: None,
        pinned: false,
        node: Safe::new("host-1"),
        pid: u32::try_from(dice.below(60_000)).ok(),
        created_at: ago(dice.below(200_000)),
        heartbeat: Some(ago(dice.below(10))),
        heartbeat_interval: Duration::from_secs(10),
        heartbeat_required: false,
        usage: Some(UsageNote {
            at: now,
            cpu_millis: dice.below(500),
            memory_bytes: dice.below(512) << 20,
        }),
        cpu_request: Some(100),
        cpu_limit: Some(500),
        memory_limit: Some(512 << 20),
        recorded: true,
        queue: Queue {
            pending: waiting,
            leased: dice.below(3),
            dead: u64::from(waiting > 395),
            delivered: dice.below(9_000),
            oldest: Some(ago(waiting)),
        },
    }
}

fn fleet(count: usize) -> FleetView {
    let mut dice = Dice(7);
    let agents: Vec<Arc<AgentRow>> = (0..count).map(|n| Arc::new(agent(n, &mut dice))).collect();
    let mut totals = Totals { sent_rate: 412.0, delivered_rate: 405.0, ..Totals::default() };
    for row in &agents {
        *totals.phases.entry(row.phase).or_default() += 1;
        *totals.health.entry(row.health).or_default() += 1;
    }
    FleetView {
        version: 1,
        at: Time::from_millis(NOW),
        agents: agents.into(),
        totals,
        loaded: true,
        ..FleetView::default()
    }
}

fn console() -> Ui {
    let (theme, keymap) =
        (theme::load::load("dark", None).0, keymap::load::load("default", None).0);
    Ui::new(Actor::local("ops@host"), theme, keymap, Time::from_millis(NOW))
}

fn table(ui: &mut Ui) -> &mut TablePage {
    match ui.page_mut() {
        Page::Table(page) => page,
        Page::Text(_) | Page::Pulse(_) => unreachable!("the console opens on a table"),
    }
}

/// One frame as the console draws it.
fn frame(ui: &mut Ui, view: &FleetView, buffer: &mut Buffer) {
    prepare(ui, view);
    buffer.reset();
    let hits = render(ui, view, buffer).0;
    ui.seen(hits);
}

/// Presses the key that is bound to `action`.
fn press(ui: &mut Ui, view: &FleetView, action: Action) {
    let chords = ui.scopes().into_iter().flat_map(|scope| ui.keymap.chords(scope));
    let mut bound = chords.filter(|(chord, bound)| *bound == action && chord.len() == 1);
    let (chord, _) = bound.next().expect("the default keymap binds it");
    black_box(update(ui, view, Event::Key(chord[0])));
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame at 200x50");
    for size in SIZES {
        let (mut view, mut ui, mut buffer) = (fleet(size), console(), Buffer::empty(SCREEN));
        frame(&mut ui, &view, &mut buffer);
        group.bench_with_input(BenchmarkId::new("cursor moved", size), &size, |b, _| {
            b.iter(|| {
                press(&mut ui, &view, Action::SelectNext);
                frame(&mut ui, &view, &mut buffer);
            });
        });
        group.bench_with_input(BenchmarkId::new("newer view", size), &size, |b, _| {
            b.iter(|| {
                view.version += 1;
                frame(&mut ui, &view, &mut buffer);
            });
        });
    }
    group.finish();
}

fn lists(c: &mut Criterion) {
    let mut group = c.benchmark_group("list");
    for size in &SIZES[1..] {
        let (view, mut ui, mut buffer) = (fleet(*size), console(), Buffer::empty(SCREEN));
        frame(&mut ui, &view, &mut buffer);
        for (name, line) in
            [("filter word", "triage-worker-0042"), ("filter terms", "queue>300 state=failed")]
        {
            group.bench_with_input(BenchmarkId::new(name, size), size, |b, _| {
                b.iter(|| {
                    table(&mut ui).set_filter(line);
                    frame(&mut ui, &view, &mut buffer);
                });
            });
            table(&mut ui).set_filter("");
        }
        for column in ["name", "queue"] {
            group.bench_with_input(
                BenchmarkId::new(format!("sort {column}"), size),
                size,
                |b, _| {
                    b.iter(|| {
                        table(&mut ui).sort_by(column);
                        frame(&mut ui, &view, &mut buffer);
                    });
                },
            );
        }
    }
    group.finish();
}

/// Goals of the console that are percentiles or bytes, which no mean tells.
fn goals(_: &mut Criterion) {
    println!(
        "filter applied or cleared, key to picture (goal: p95 16 ms at 10,000, 50 ms at 100,000)"
    );
    for size in &SIZES[1..] {
        let (view, mut ui, mut buffer) = (fleet(*size), console(), Buffer::empty(SCREEN));
        frame(&mut ui, &view, &mut buffer);
        let mut took = Vec::new();
        for round in 0..200 {
            let began = Instant::now();
            table(&mut ui)
                .set_filter(["", "triage", "queue>300", "!ocr", "", "-f trg42"][round % 6]);
            frame(&mut ui, &view, &mut buffer);
            took.push(began.elapsed());
        }
        took.sort();
        println!(
            "  {size:>7} agents: p50 {:?}  p95 {:?}  worst {:?}",
            took[100], took[190], took[199]
        );
    }
    bytes();
}

fn bytes() {
    let (view, mut ui, mut encoder) = (fleet(10_000), console(), Encoder::default());
    let mut paint = |ui: &mut Ui| {
        let (mut buffer, mut out) = (Buffer::empty(SCREEN), Vec::new());
        frame(ui, &view, &mut buffer);
        encoder.frame(Frame { buffer, cursor: None }, &mut out);
        out.len()
    };
    println!("bytes at 10,000 agents, 200x50");
    println!("  first frame     {:>6}", paint(&mut ui));
    println!("  nothing changed {:>6}", paint(&mut ui));
    press(&mut ui, &view, Action::SelectNext);
    println!("  cursor moved    {:>6}  (goal: 500)", paint(&mut ui));
    // To the last row in sight; the next one scrolls.
    while usize::from(ui.hits.table.height) > table(&mut ui).state.position + 1 {
        press(&mut ui, &view, Action::SelectNext);
    }
    paint(&mut ui);
    press(&mut ui, &view, Action::SelectNext);
    println!("  line scrolled   {:>6}  (goal: 1,000)", paint(&mut ui));
    press(&mut ui, &view, Action::PageDown);
    println!("  page down       {:>6}", paint(&mut ui));
}

criterion_group!(benches, frames, lists, goals);
criterion_main!(benches);
