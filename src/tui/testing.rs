//! For tests: pictures with their styles, since a snapshot of symbols alone would not notice a colour.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use serde_json::json;

pub mod site;

use super::effect::{Effect, Fetch};
use super::event::{Event, Reply};
use super::keys;
use super::render::render;
use super::theme::Glyphs;
use super::ui::Ui;
use super::update::{prepare, update};
use super::widgets::Look;
use crate::engine::supervise;
use crate::engine::view::{
    AgentRow, Doing, FleetView, Leader, LoopStatus, OperationRow, PartStatus, PoolRow, Queue,
    SubscriptionRow, System, TemplateRow, Totals, UsageNote,
};
use crate::model::access::Actor;
use crate::model::agent::{Desired, Phase};
use crate::model::event::Event as Entry;
use crate::model::health::HealthStatus;
use crate::model::id::{AgentId, OperationId, PoolId, SubscriptionId, TemplateId};
use crate::model::message::MessageStatus;
use crate::model::operation::OperationStatus;
use crate::model::plan::Tier;
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::store::{Document, Key, Rev};

/// A look without any style, for tests that are about text.
pub fn plain_look() -> Look<'static> {
    use std::sync::LazyLock;

    static THEME: LazyLock<super::theme::Theme> = LazyLock::new(Default::default);
    Look { theme: &THEME, glyphs: &Glyphs::UNICODE }
}

/// The symbols of a buffer, one line a row, without blanks at the end.
pub fn symbols(buf: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buf.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buf.area.width {
            let symbol = buf[(x, y)].symbol();
            line.push_str(symbol);
            x += ratatui::buffer::CellWidth::cell_width(symbol).max(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The symbols, then every run of cells that has a style: `y x..x fg/bg modifiers`.
pub fn styled(buf: &Buffer) -> String {
    let mut out = symbols(buf);
    out.push_str("---\n");
    for y in 0..buf.area.height {
        let mut x = 0;
        while x < buf.area.width {
            let style = |x: u16| {
                let cell = &buf[(x, y)];
                (cell.fg, cell.bg, cell.modifier)
            };
            let (fg, bg, modifier) = style(x);
            let begin = x;
            while x < buf.area.width && style(x) == (fg, bg, modifier) {
                x += 1;
            }
            if (fg, bg, modifier) != (Color::Reset, Color::Reset, Modifier::empty()) {
                writeln!(out, "{y} {begin}..{x} {fg}/{bg} {modifier:?}").unwrap();
            }
        }
    }
    out
}

fn ago(now: Time, minutes: u64) -> Time {
    now.minus(Duration::from_secs(60 * minutes))
}

/// 2026-11-21T14:02:07Z.
pub fn now() -> Time {
    "2026-11-21T14:02:07Z".parse().unwrap()
}

pub fn agent(name: &str, pool: &str, phase: Phase, health: HealthStatus) -> AgentRow {
    let now = now();
    AgentRow {
        id: AgentId::new(&format!("agent-{name}")).unwrap(),
        name: Safe::new(name),
        kind: Safe::new("worker"),
        tenant: Safe::new("default"),
        pool: Some(PoolId::new(&format!("pool-{pool}")).unwrap()),
        pool_name: Safe::new(pool),
        template: Some(TemplateId::new("template-worker").unwrap()),
        template_name: Safe::new("worker"),
        template_version: Safe::new("1.2.0"),
        labels: Arc::new([("tier".to_owned(), "gold".to_owned())].into()),
        desired: Desired::Running,
        phase,
        phase_since: ago(now, 2),
        reason: Safe::default(),
        health,
        health_since: ago(now, 3_600),
        health_message: Safe::default(),
        incarnation: 1,
        wanted_incarnation: 1,
        generation: 1,
        failures: 0,
        restarts_in_place: 0,
        retry_at: None,
        drain_deadline: None,
        purge_at: None,
        pinned: false,
        node: Safe::new("host-1"),
        pid: Some(4711),
        created_at: ago(now, 180),
        heartbeat: Some(ago(now, 1)),
        heartbeat_interval: Duration::from_secs(10),
        heartbeat_required: false,
        usage: Some(UsageNote { at: now, cpu_millis: 120, memory_bytes: 64 << 20 }),
        cpu_request: Some(100),
        cpu_limit: Some(500),
        memory_limit: Some(512 << 20),
        queue: Queue { pending: 5, leased: 1, dead: 0, delivered: 40, oldest: Some(ago(now, 1)) },
        recorded: true,
    }
}

pub fn pool(name: &str, desired: u32, ready: u32) -> PoolRow {
    let now = now();
    PoolRow {
        id: PoolId::new(&format!("pool-{name}")).unwrap(),
        name: Safe::new(name),
        description: Safe::new("first answers to incoming requests"),
        tenant: Safe::new("default"),
        labels: Arc::default(),
        template: Some(TemplateId::new("template-worker").unwrap()),
        template_name: Safe::new("worker"),
        template_version: Safe::new("1.2.0"),
        previous_version: Safe::new("1.1.0"),
        desired,
        min: 1,
        max: 10,
        max_surge: 1,
        max_unavailable: 1,
        ready,
        updated: desired,
        unhealthy: desired - ready,
        pending: 0,
        total: desired,
        reason: Safe::default(),
        halted: false,
        paused: false,
        deleting: false,
        purge_at: None,
        scaling: Arc::default(),
        last_decision: Safe::new("keep 3: queue 5 of 100 an agent"),
        generation: 1,
        created_at: ago(now, 300),
        queue: Queue {
            pending: 318,
            leased: 4,
            dead: 2,
            delivered: 900,
            oldest: Some(ago(now, 3)),
        },
        usage: Some(UsageNote { at: now, cpu_millis: 340, memory_bytes: 200 << 20 }),
    }
}

pub fn template(name: &str) -> TemplateRow {
    let now = now();
    TemplateRow {
        id: TemplateId::new(&format!("template-{name}")).unwrap(),
        name: Safe::new(name),
        version: Safe::new("1.2.0"),
        kind: Safe::new("worker"),
        description: Safe::new("works off requests"),
        image: Safe::new("cvxc"),
        command: Safe::new("cvxc agent run"),
        tags: vec![Safe::new("demo")],
        created_by: Safe::new("ops@host"),
        created_at: ago(now, 3000),
        updated_at: ago(now, 600),
        agents: 4,
        pools: 1,
    }
}

/// A small fleet in which something is wrong.
pub fn fleet() -> FleetView {
    let mut failed = agent("triage-2", "triage", Phase::Failed, HealthStatus::Unhealthy);
    failed.reason = Safe::new("exit 137 (memory limit 512Mi)");
    failed.queue.pending = 318;
    failed.incarnation = 8;
    failed.failures = 4;
    failed.retry_at = Some(now().plus(Duration::from_secs(74)));
    let mut sick = agent("triage-3", "triage", Phase::Running, HealthStatus::Degraded);
    sick.health_message = Safe::new("cpu at 97 % of its limit");
    sick.usage = Some(UsageNote { at: now(), cpu_millis: 485, memory_bytes: 500 << 20 });
    with_agents(vec![
        agent("ocr-1", "ocr", Phase::Running, HealthStatus::Healthy),
        agent("ocr-2", "ocr", Phase::Paused, HealthStatus::Healthy),
        agent("triage-1", "triage", Phase::Running, HealthStatus::Healthy),
        failed,
        sick,
    ])
}

/// A fleet of many agents, `agent-00000` and so on, all well but every tenth.
pub fn many(count: usize) -> FleetView {
    let rows = (0..count).map(|n| {
        let (phase, health) = match n % 10 {
            9 => (Phase::Failed, HealthStatus::Unhealthy),
            _ => (Phase::Running, HealthStatus::Healthy),
        };
        let mut row = agent(&format!("{n:06}"), "triage", phase, health);
        row.queue.pending = u64::try_from(n % 97).unwrap();
        row
    });
    with_agents(rows.collect())
}

fn with_agents(agents: Vec<AgentRow>) -> FleetView {
    let mut totals = Totals {
        sent_rate: 4.2,
        delivered_rate: 3.9,
        sent_history: vec![1, 3, 5, 4, 6, 2],
        delivered_history: vec![1, 2, 5, 4, 5, 3],
        oldest: Some(ago(now(), 3)),
        ..Totals::default()
    };
    for row in &agents {
        totals.strained += u64::from(row.is_strained());
        *totals.phases.entry(row.phase).or_default() += 1;
        *totals.health.entry(row.health).or_default() += 1;
    }
    let system = System {
        store: PartStatus {
            kind: Safe::new("sqlite"),
            ok: true,
            latency: Some(Duration::from_micros(400)),
            ..PartStatus::default()
        },
        runtime: PartStatus { kind: Safe::new("local"), ok: true, ..PartStatus::default() },
        leader: Leader { me: true, epoch: 3, contends: true, ..Leader::default() },
        ..System::default()
    };
    FleetView {
        version: 1,
        at: now(),
        agents: agents.into_iter().map(Arc::new).collect(),
        pools: [pool("ocr", 2, 2), pool("triage", 3, 1)].map(Arc::new).into(),
        templates: [template("worker")].map(Arc::new).into(),
        totals,
        system: Arc::new(system),
        loaded: true,
        sighted: true,
        ..FleetView::default()
    }
}

fn document(key: &str, body: serde_json::Value) -> Document {
    let serde_json::Value::Object(body) = body else { panic!("a document is an object") };
    Document { key: Key::new(key).unwrap(), rev: Rev("1".into()), body }
}

/// The same fleet with work going on: operations, subscriptions, loops, and counted messages.
pub fn busy() -> FleetView {
    let mut view = fleet();
    let operation = |id: &str, title: &str, status, total, done, failed| OperationRow {
        id: OperationId::new(id).unwrap(),
        kind: Safe::new("restart"),
        title: Safe::new(title),
        tier: Tier::Two,
        status,
        actor: Safe::new("ops@host"),
        reason: Safe::new("new key"),
        message: Safe::new(if failed > 0 { "triage-2 did not come back" } else { "" }),
        total,
        done,
        failed,
        can_undo: failed == 0,
        doing: match status {
            OperationStatus::Running => Doing {
                batch: 2,
                batches: 4,
                words: Safe::new("restart triage-5, triage-6 and 1 more"),
                pool: None,
            },
            _ => Doing::default(),
        },
        created_at: ago(now(), 4),
        finished_at: (status != OperationStatus::Running).then(|| ago(now(), 3)),
    };
    view.operations = [
        operation("op-3", "Restart pool triage", OperationStatus::Running, 12, 5, 0),
        operation("op-2", "Restart agent triage-2", OperationStatus::Failed, 1, 0, 1),
        operation("op-1", "Scale pool ocr 1 → 2", OperationStatus::Succeeded, 1, 1, 0),
    ]
    .map(Arc::new)
    .into();
    let subscription = |id: &str, pattern: &str, matched: u64| SubscriptionRow {
        id: SubscriptionId::new(id).unwrap(),
        subscriber: Safe::new("ocr-1"),
        pattern: Safe::new(pattern),
        active: true,
        cursor: matched,
        matched,
        created_at: ago(now(), 90),
        last_matched_at: (matched > 0).then(|| ago(now(), 1)),
    };
    view.subscriptions =
        [subscription("sub-1", "task.*", 42), subscription("sub-2", "tsak.done", 0)]
            .map(Arc::new)
            .into();
    let counts = [
        (MessageStatus::Pending, 338),
        (MessageStatus::Leased, 5),
        (MessageStatus::Delivered, 1_204),
        (MessageStatus::Dead, 2),
    ];
    view.totals.messages = counts.into();
    (view.totals.publications, view.totals.events) = (77, 431);
    let mut system = view.system.as_ref().clone();
    for part in [&mut system.store, &mut system.runtime] {
        part.checked_at = ago(now(), 0);
        part.place = Safe::new("/var/lib/fleet");
    }
    let a_loop = |name: &str, error: &str| LoopStatus {
        name: Safe::new(name),
        last_run: Some(ago(now(), 0)),
        duration: Duration::from_millis(3),
        error: Safe::new(error),
        runs: 99,
    };
    system.loops = vec![a_loop("health", ""), a_loop("autoscale", "the store was busy")];
    system.tasks = [
        ("mirror", supervise::Health::Running),
        ("gateway", supervise::Health::Waiting { fault: "address in use".into() }),
    ]
    .into();
    view.system = Arc::new(system);
    view
}

/// Messages, newest first, as the store has them.
pub fn messages() -> Vec<Document> {
    let message = |n: u64, status: &str, error: serde_json::Value| {
        let at = ago(now(), n);
        document(
            &format!("msg-{n}"),
            json!({"from_agent_id": "agent-ocr-1", "to_agent_id": "agent-triage-2", "message_type": "task_request",
                "payload": {"order": {"id": format!("A{n}"), "items": [1, 2]}}, "priority": 5, "status": status,
                "attempts": n, "max_attempts": 5, "created_at": at, "last_error": error}),
        )
    };
    vec![
        message(1, "pending", json!(null)),
        message(2, "delivered", json!(null)),
        message(5, "dead", json!("no room left")),
    ]
}

/// Publications, newest first.
pub fn publications() -> Vec<Document> {
    vec![document(
        "pub-1",
        json!({"publisher_agent_id": "agent-ocr-1", "publisher_agent_type": "worker", "publication_type": "event",
            "event_name": "task.completed", "payload": {"ms": 12}, "published_at": ago(now(), 1), "seq": 77}),
    )]
}

/// A journal entry as the store has it.
pub fn journal_entry(seq: u64) -> Entry {
    Entry {
        seq,
        at: ago(now(), 500 - seq),
        kind: if seq.is_multiple_of(2) { "pool.scaled".into() } else { "agent.failed".into() },
        aggregate: if seq.is_multiple_of(2) { "agent_pools".into() } else { "agents".into() },
        aggregate_id: if seq.is_multiple_of(2) {
            "pool-triage".into()
        } else {
            "agent-triage-2".into()
        },
        subject: if seq.is_multiple_of(2) { "triage".into() } else { "triage-2".into() },
        actor: "loop:autoscale".into(),
        patch: json!([{"op": "replace", "path": "/desired", "value": 3}]),
        reason: "queue 318 of 100 an agent".into(),
        ..Entry::default()
    }
}

/// Journal entries, newest first.
pub fn journal() -> Vec<Document> {
    let entry = |seq: u64| {
        let body = serde_json::to_value(journal_entry(seq)).unwrap();
        document(&Entry::key(seq), body)
    };
    vec![entry(431), entry(430), entry(429)]
}

/// Goes to what `line` names, and answers what it asks the store for.
pub fn open(ui: &mut Ui, view: &FleetView, line: &str) {
    let mut effects = press(ui, view, ":");
    effects.extend(type_text(ui, view, line));
    effects.extend(press(ui, view, "enter"));
    for effect in effects {
        if let Effect::Fetch(id, Fetch::Site(ask)) = &effect {
            let reply = Reply::Site(Box::new(site::answer(ask)));
            update(ui, view, Event::Done(*id, Ok(reply)));
        }
        if let Effect::Fetch(id, Fetch::Forwards) = &effect {
            update(ui, view, Event::Done(*id, Ok(Reply::Forwards(site::forwards()))));
        }
        let Effect::Fetch(id, Fetch::List(listing)) = effect else { continue };
        let documents = match listing.collection {
            Collection::AgentMessages => messages(),
            Collection::AgentPublications => publications(),
            Collection::Events => journal(),
            other => panic!("no page lists {other}"),
        };
        let some = documents.into_iter().filter(|it| listing.filter.matches(&it.body)).collect();
        update(ui, view, Event::Done(id, Ok(Reply::Listed(some, None))));
    }
    draw(ui, view, 120, 30);
}

/// A console with the shipped dark theme and default keys.
pub fn ui() -> Ui {
    let theme = super::theme::load::load("dark", None).0;
    let keymap = super::keymap::load::load("default", None).0;
    Ui::new(Actor::local("ops@host"), theme, keymap, now())
}

/// Draws one frame as the console does.
pub fn draw(ui: &mut Ui, view: &FleetView, width: u16, height: u16) -> Buffer {
    prepare(ui, view);
    let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
    let (hits, _) = render(ui, view, &mut buf);
    ui.seen(hits);
    buf
}

/// Presses keys with blanks between, drawing a frame after each; returns what was asked for in the end.
pub fn press(ui: &mut Ui, view: &FleetView, typed: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for key in typed.split(' ').filter(|key| !key.is_empty()) {
        let key = keys::parse(key).unwrap_or_else(|| panic!("{key} is no key"));
        effects.extend(update(ui, view, Event::Key(key)));
        draw(ui, view, 120, 30);
    }
    effects
}

/// Types a text, character by character.
pub fn type_text(ui: &mut Ui, view: &FleetView, text: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for c in text.chars() {
        let key = keys::normal(KeyCode::Char(c), KeyModifiers::NONE);
        effects.extend(update(ui, view, Event::Key(key)));
        draw(ui, view, 120, 30);
    }
    effects
}
