//! The pulse: the whole fleet in tiles, each a figure with its shape over the last minute and the way into what is
//! behind it.

use std::fmt::Write as _;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::table::TablePage;
use super::{TableKind, agents, health, words};
use crate::engine::fields::reason;
use crate::engine::view::{AgentRow, FleetView};
use crate::model::agent::Phase;
use crate::model::health::HealthStatus;
use crate::model::message::MessageStatus;
use crate::model::operation::OperationStatus;
use crate::model::quantity::human_age;
use crate::model::text::Align;
use crate::model::time::Time;
use crate::tui::action::Action;
use crate::tui::widgets::{Look, dialog, paint, spark};

/// The most tiles that stand beside each other.
const ACROSS: u16 = 4;
/// Columns at the least, and lines, of a tile, its frame included.
const WIDTH: u16 = 26;
const HEIGHT: u16 = 6;

/// What its keys do.
pub const HINTS: &[(Action, &str)] = &[
    (Action::Open, "look into"),
    (Action::SelectNext, "next"),
    (Action::CommandBar, "command"),
    (Action::Help, "help"),
];

#[derive(Debug, Clone, Default)]
pub struct PulsePage {
    /// The tile that Enter goes into.
    pub selected: usize,
}

/// One figure of the fleet.
#[derive(Debug)]
pub struct Tile {
    title: &'static str,
    figure: String,
    /// What is said below it, with how much it matters.
    facts: Vec<(String, Style)>,
    history: Option<Vec<u32>>,
    to: Way,
}

/// The view behind a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    kind: TableKind,
    filter: &'static str,
    faults: bool,
}

impl Way {
    fn plain(kind: TableKind) -> Self {
        Self { kind, filter: "", faults: false }
    }
}

impl PulsePage {
    /// Moves to another tile; how many stand in a row depends on the screen and does not matter here.
    pub fn step(&mut self, by: isize) {
        self.selected = self.selected.saturating_add_signed(by).min(TILES - 1);
    }

    /// The page behind the selected tile.
    pub fn drill(&self, view: &FleetView, now: Time, look: Look<'_>) -> Option<TablePage> {
        let tile = tiles(view, now, look).into_iter().nth(self.selected)?;
        let mut page = TablePage::new(tile.to.kind);
        page.set_filter(tile.to.filter);
        page.faults = tile.to.faults;
        Some(page)
    }
}

const TILES: usize = 8;
/// Seconds of a rate's shape.
const SHAPE: usize = 60;
/// Agents that are named below the tiles.
const SICK: usize = 40;

/// Every tile as it is now.
fn tiles(view: &FleetView, now: Time, look: Look<'_>) -> [Tile; TILES] {
    [
        agents(view, look),
        pools(view, look),
        waiting(view, now, look),
        dead(view, look),
        delivered(view, look),
        operations(view, look),
        published(view, look),
        system(view, look),
    ]
}

fn agents(view: &FleetView, look: Look<'_>) -> Tile {
    let Look { theme, glyphs } = look;
    let totals = &view.totals;
    let health = |status: HealthStatus| totals.health.get(&status).copied().unwrap_or(0);
    let failed = totals.in_sight(Phase::Failed);
    // A failed agent is unhealthy too: it is counted once.
    let unwell = health(HealthStatus::Unhealthy) + health(HealthStatus::Degraded);
    let unwell = unwell.saturating_sub(totals.phase(Phase::Failed)) + totals.strays_unwell;
    let mut facts = vec![(
        format!("{} {} running", glyphs.ok, words::grouped(totals.in_sight(Phase::Running))),
        theme.ok,
    )];
    facts.push(if failed + unwell > 0 {
        let text =
            format!("{} {failed} failed  {} {} unwell", glyphs.failed, glyphs.degraded, unwell);
        (text, if failed > 0 { theme.alarm } else { theme.warn })
    } else {
        (format!("{} all well", glyphs.done), theme.muted)
    });
    let alive =
        view.agents.len() as u64 - totals.phase(Phase::Deleted).min(view.agents.len() as u64);
    let to = Way { kind: TableKind::Agents, filter: "", faults: failed + unwell > 0 };
    Tile { title: "Agents", figure: words::grouped(alive), facts, history: None, to }
}

fn pools(view: &FleetView, look: Look<'_>) -> Tile {
    let Look { theme, glyphs } = look;
    let (mut short, mut full, mut halted) = (0_u64, 0_u64, 0_u64);
    for pool in view.pools.iter().filter(|pool| pool.purge_at.is_none()) {
        short += u64::from(pool.ready < pool.desired);
        full += u64::from(pool.max > 0 && pool.desired >= pool.max);
        halted += u64::from(pool.halted);
    }
    let mut facts = Vec::new();
    if halted > 0 {
        facts.push((format!("{} {halted} halted", glyphs.failed), theme.alarm));
    }
    if short > 0 {
        facts.push((format!("{} {short} not ready", glyphs.busy), theme.warn));
    }
    if full > 0 {
        facts.push((format!("{} {full} at the maximum", glyphs.up), theme.warn));
    }
    if facts.is_empty() {
        facts.push((format!("{} all ready", glyphs.done), theme.muted));
    }
    let to = Way { kind: TableKind::Pools, filter: "", faults: halted + short > 0 };
    Tile {
        title: "Pools",
        figure: words::grouped(view.pools.len() as u64),
        facts,
        history: None,
        to,
    }
}

fn waiting(view: &FleetView, now: Time, look: Look<'_>) -> Tile {
    let totals = &view.totals;
    let mut facts = Vec::new();
    if let Some(oldest) = totals.oldest {
        let wait = now.since(oldest);
        facts.push((format!("oldest {}", human_age(wait)), words::waiting_style(wait, look)));
    }
    facts.push((format!("{} in flight", totals.messages(MessageStatus::Leased)), look.theme.muted));
    Tile {
        title: "Waiting",
        figure: words::grouped(totals.messages(MessageStatus::Pending)),
        facts,
        history: Some(totals.sent_history.clone()),
        to: Way::plain(TableKind::Queues),
    }
}

fn dead(view: &FleetView, look: Look<'_>) -> Tile {
    let totals = &view.totals;
    let dead = totals.messages(MessageStatus::Dead) + totals.messages(MessageStatus::Failed);
    let expired = totals.messages(MessageStatus::Expired);
    let style = if dead > 0 { look.theme.alarm } else { look.theme.muted };
    let sign = if dead > 0 { look.glyphs.failed } else { look.glyphs.done };
    let facts = vec![
        (format!("{sign} {}", if dead > 0 { "want a look" } else { "none" }), style),
        (format!("{expired} expired"), look.theme.muted),
    ];
    let to = Way { kind: TableKind::Messages, filter: "status in (dead,failed)", faults: false };
    Tile { title: "Dead letters", figure: words::grouped(dead), facts, history: None, to }
}

fn delivered(view: &FleetView, look: Look<'_>) -> Tile {
    let totals = &view.totals;
    let style = if totals.sent_rate > totals.delivered_rate * 1.5 + 1.0 {
        look.theme.warn
    } else {
        look.theme.muted
    };
    let facts = vec![(format!("in {}", words::rate(totals.sent_rate)), style)];
    Tile {
        title: "Delivered",
        figure: words::rate(totals.delivered_rate),
        facts,
        history: Some(totals.delivered_history.clone()),
        to: Way::plain(TableKind::Messages),
    }
}

fn operations(view: &FleetView, look: Look<'_>) -> Tile {
    let count = |is: fn(OperationStatus) -> bool| {
        view.operations.iter().filter(|row| is(row.status)).count()
    };
    let running = count(|status| status == OperationStatus::Running);
    let failed =
        count(|status| matches!(status, OperationStatus::Failed | OperationStatus::RolledBack));
    let mut facts = vec![(
        format!("{} {running} running", look.glyphs.busy),
        if running > 0 { look.theme.busy } else { look.theme.muted },
    )];
    if failed > 0 {
        facts.push((format!("{} {failed} failed", look.glyphs.failed), look.theme.alarm));
    }
    let figure = words::grouped(view.operations.len() as u64);
    Tile {
        title: "Operations",
        figure,
        facts,
        history: None,
        to: Way::plain(TableKind::Operations),
    }
}

fn published(view: &FleetView, look: Look<'_>) -> Tile {
    let facts = vec![(format!("{} subscriptions", view.subscriptions.len()), look.theme.muted)];
    Tile {
        title: "Published",
        figure: words::grouped(view.totals.publications),
        facts,
        history: None,
        to: Way::plain(TableKind::Publications),
    }
}

fn system(view: &FleetView, look: Look<'_>) -> Tile {
    let verdict = health::verdict(view);
    let (sign, style) = words::health(verdict, look);
    let word: &'static str = verdict.into();
    let leader = &view.system.leader;
    let who = if leader.me {
        "this console leads".to_owned()
    } else if leader.holder.as_str().is_empty() {
        "nobody leads".to_owned()
    } else {
        format!("{} leads", leader.holder)
    };
    let mut facts = vec![(who, look.theme.muted)];
    if view.system.brake.is_some() {
        facts.push((format!("{} brake on", look.glyphs.paused), look.theme.warn));
    }
    facts.push((format!("{} events", words::grouped(view.totals.events)), look.theme.muted));
    let figure = format!("{sign} {word}");
    let mut tile =
        Tile { title: "System", figure, facts, history: None, to: Way::plain(TableKind::Health) };
    if verdict != HealthStatus::Healthy {
        tile.facts.insert(0, ("see what is wrong".into(), style));
    }
    tile
}

/// The tiles in words.
pub fn told(page: &PulsePage, view: &FleetView, now: Time, look: Look<'_>) -> Vec<String> {
    let tiles = tiles(view, now, look).into_iter().enumerate();
    let line = |(index, tile): (usize, Tile)| {
        let facts: Vec<&str> = tile.facts.iter().map(|(fact, _)| fact.as_str()).collect();
        let selected = if index == page.selected { " (selected)" } else { "" };
        format!("{}{selected}: {}; {}", tile.title, tile.figure, facts.join("; "))
    };
    tiles.map(line).collect()
}

/// Draws as many tiles as there is room for, the selected one always.
pub fn draw(
    page: &PulsePage,
    view: &FleetView,
    now: Time,
    look: Look<'_>,
    area: Rect,
    buf: &mut Buffer,
) {
    let area = area.intersection(buf.area);
    let across = (area.width / WIDTH).clamp(1, ACROSS);
    let width = area.width / across;
    let down = (area.height / HEIGHT).max(1);
    let selected = u16::try_from(page.selected).unwrap_or(0);
    let first_row = (selected / across).saturating_sub(down - 1);
    for (index, tile) in (0_u16..).zip(&tiles(view, now, look)) {
        let (row, column) = (index / across, index % across);
        let Some(row) = row.checked_sub(first_row).filter(|row| *row < down) else { continue };
        let place = Rect {
            x: area.x + column * width,
            y: area.y + row * HEIGHT,
            width: width.saturating_sub(1),
            height: HEIGHT.min(area.height),
        };
        tile.draw(place, index == selected, look, buf);
    }
    let shown = u16::try_from(TILES).unwrap_or(u16::MAX).div_ceil(across).min(down);
    let below = area.y.saturating_add(shown * HEIGHT + 1);
    let room = Rect { y: below, height: area.bottom().saturating_sub(below), ..area };
    for (line, y) in
        rates(view, now, look).iter().chain(&sick(view, now, look)).zip(room.top()..room.bottom())
    {
        let pieces: Vec<(&str, Style)> =
            line.iter().map(|(text, style)| (text.as_str(), *style)).collect();
        let width = area.width.saturating_sub(2);
        paint::pieces(buf, (area.x + 1, y), width, &pieces, look.glyphs.ellipsis);
    }
}

/// A line in pieces of different style.
type Line = Vec<(String, Style)>;

/// What flows, and whether anything is held back.
fn rates(view: &FleetView, now: Time, look: Look<'_>) -> [Line; 1] {
    let (totals, theme) = (&view.totals, look.theme);
    let mut line = Line::new();
    for (name, rate, history) in [
        ("in ", totals.sent_rate, &totals.sent_history),
        ("out ", totals.delivered_rate, &totals.delivered_history),
    ] {
        line.push((name.into(), theme.header_label));
        line.push((spark::bars(history, SHAPE, look), theme.spark));
        line.push((format!(" {}   ", words::rate(rate)), theme.header_value));
    }
    if let Some(oldest) = totals.oldest {
        let wait = now.since(oldest);
        line.push(("oldest ".into(), theme.header_label));
        line.push((format!("{}   ", human_age(wait)), words::waiting_style(wait, look)));
    }
    line.push(("brake ".into(), theme.header_label));
    line.push(match &view.system.brake {
        Some(why) => (format!("{} on: {why}", look.glyphs.paused), theme.warn),
        None => ("off".into(), theme.muted),
    });
    [line]
}

/// The agents that want a look, the most pressing first.
fn sick(view: &FleetView, now: Time, look: Look<'_>) -> Vec<Line> {
    let mut rows: Vec<&Arc<AgentRow>> =
        view.agents.iter().filter(|row| health::is_sick(row)).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    rows.sort_by_key(|row| (agents::urgency(row), std::cmp::Reverse(row.phase_since), &row.id));
    let line = |row: &Arc<AgentRow>| {
        let (sign, word, style) = agents::state(row, look);
        vec![
            (format!("{sign} {word:<10} "), style),
            (format!("{}  ", row.name.fit(28, Align::Left)), look.theme.text),
            (format!("{:<8} ", words::exact(now.since(row.phase_since))), look.theme.muted),
            (reason(row).as_str().to_owned(), look.theme.muted),
        ]
    };
    std::iter::once(Line::new()).chain(rows.into_iter().take(SICK).map(line)).collect()
}

impl Tile {
    fn draw(&self, area: Rect, selected: bool, look: Look<'_>, buf: &mut Buffer) {
        let Look { theme, glyphs } = look;
        let style = if selected { theme.border_focused } else { theme.border };
        let mut title = String::new();
        // The selected tile is told by a sign, not by its colour alone.
        let mark = if selected { glyphs.selected } else { "" };
        write!(title, "{mark}{} {}", self.title, self.figure).ok();
        dialog::frame(buf, area, &title, "", style, look);
        let inner = Rect {
            x: area.x + 2,
            y: area.y + 1,
            width: area.width.saturating_sub(4),
            height: area.height.saturating_sub(2),
        };
        let spark_line = self.history.is_some();
        let room = inner.height.saturating_sub(u16::from(spark_line));
        for ((text, style), y) in self.facts.iter().zip(inner.top()..inner.top() + room) {
            let text = words::plain(text);
            paint::text(buf, (inner.x, y), inner.width, &text, *style, glyphs.ellipsis);
        }
        if let Some(history) = &self.history
            && inner.height > 0
        {
            let bars = spark::bars(history, usize::from(inner.width), look);
            let place = (inner.x, inner.bottom() - 1);
            paint::text(buf, place, inner.width, &bars, theme.spark, glyphs.ellipsis);
        }
    }
}
