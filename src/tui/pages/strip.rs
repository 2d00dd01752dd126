//! The lines above a table: the figures behind its rows, and whether what comes is shown or only counted.

use super::row::Rows as _;
use super::table::TablePage;
use super::{TableKind, fetched, health, papers, words};
use crate::engine::fields::PaperKind;
use crate::engine::view::{AgentRow, FleetView};
use crate::model::health::HealthStatus;
use crate::model::message::MessageStatus;
use crate::model::quantity::human_age;
use crate::model::time::Time;
use crate::tui::widgets::text::Pieces;
use crate::tui::widgets::{Look, spark};

/// Receivers named in the line of the deepest queues.
const DEEPEST: usize = 5;
/// Seconds of a sparkline.
const SHAPE: usize = 20;

/// The lines above the rows of `page`; most important first, for the last ones go where there is no room.
pub fn lines(page: &TablePage, view: &FleetView, now: Time, look: Look<'_>) -> Vec<Pieces> {
    match page.kind {
        TableKind::Messages => {
            vec![
                queue_figures(view, now, look),
                flow(page, PaperKind::Message, view, look),
                deepest(view, look),
            ]
        }
        TableKind::Queues => vec![queue_figures(view, now, look)],
        TableKind::Publications => vec![flow(page, PaperKind::Publication, view, look)],
        TableKind::Events => vec![flow(page, PaperKind::Event, view, look)],
        TableKind::Health => vec![verdict(view, now, look)],
        TableKind::Agents
        | TableKind::Pools
        | TableKind::Templates
        | TableKind::Subscriptions
        | TableKind::Operations
        | TableKind::Hosts
        | TableKind::Namespaces
        | TableKind::Contexts
        | TableKind::Forwards
        | TableKind::Xray => Vec::new(),
    }
}

/// Collects a line of `name value` pairs.
struct Figures<'a> {
    look: Look<'a>,
    line: Pieces,
}

impl<'a> Figures<'a> {
    fn new(look: Look<'a>) -> Self {
        Self { look, line: Pieces::default() }
    }

    fn count(&mut self, name: &'static str, count: u64, bad: bool) {
        let theme = self.look.theme;
        let style = if bad && count > 0 { theme.warn } else { theme.header_value };
        self.line.word(name, theme.header_label).word(" ", theme.header_label);
        self.line.put(format_args!("{}", words::grouped(count)), style).word("   ", theme.text);
    }

    fn rate(&mut self, name: &'static str, rate: f64, history: &[u32]) {
        let theme = self.look.theme;
        self.line.word(name, theme.header_label).word(" ", theme.header_label);
        self.line.put(format_args!("{} ", words::rate(rate)), theme.header_value);
        let bars = spark::bars(history, SHAPE, self.look);
        self.line.put(format_args!("{bars}"), theme.spark).word("   ", theme.text);
    }
}

fn queue_figures(view: &FleetView, now: Time, look: Look<'_>) -> Pieces {
    let totals = &view.totals;
    let mut figures = Figures::new(look);
    figures.count("ready", totals.messages(MessageStatus::Pending), false);
    figures.count("in flight", totals.messages(MessageStatus::Leased), false);
    let dead = totals.messages(MessageStatus::Dead) + totals.messages(MessageStatus::Failed);
    figures.count("dead", dead, true);
    if let Some(oldest) = totals.oldest {
        let wait = now.since(oldest);
        let style = words::waiting_style(wait, look);
        figures.line.word("oldest ", look.theme.header_label);
        figures.line.put(format_args!("{}", human_age(wait)), style).word("   ", look.theme.text);
    }
    figures.rate("in", totals.sent_rate, &totals.sent_history);
    figures.rate("out", totals.delivered_rate, &totals.delivered_history);
    figures.count("delivered", totals.messages(MessageStatus::Delivered), false);
    figures.count("expired", totals.messages(MessageStatus::Expired), false);
    figures.line
}

/// Whether the rows follow what comes, and how far back they reach.
fn flow(page: &TablePage, kind: PaperKind, view: &FleetView, look: Look<'_>) -> Pieces {
    let theme = look.theme;
    let fetched = &page.fetched;
    let mut line = Pieces::default();
    if fetched.frozen {
        let newer = fetched.newer(kind, view);
        line.word("FROZEN", theme.header_alert);
        line.put(format_args!("  +{} new", words::grouped(newer)), theme.warn);
    } else {
        line.word(look.glyphs.ok, theme.ok).word(" FOLLOW", theme.ok);
    }
    let read = u64::try_from(fetched.papers.rows.len()).unwrap_or(u64::MAX);
    let all = fetched::count(kind, view).max(read);
    if page.owner.is_none() && page.filter.query.is_empty() && all > read {
        line.put(
            format_args!("   the newest {} of {}", words::grouped(read), words::grouped(all)),
            theme.muted,
        );
    } else {
        line.put(format_args!("   {} read", words::grouped(read)), theme.muted);
        if fetched.goes_on() {
            line.word(", older ones at the end of the list", theme.muted);
        }
    }
    if read >= u64::try_from(papers::KEPT).unwrap_or(u64::MAX) {
        line.word("   a filter reaches further back", theme.muted);
    }
    if kind == PaperKind::Message {
        line.word("   peek: looking takes nothing", theme.muted);
    }
    line
}

/// The receivers that most waits for.
fn deepest(view: &FleetView, look: Look<'_>) -> Pieces {
    let mut most: Vec<&AgentRow> = Vec::with_capacity(DEEPEST + 1);
    for row in view.agents.iter().filter(|row| row.queue.pending > 0) {
        let place = most.partition_point(|other| other.queue.pending >= row.queue.pending);
        if place < DEEPEST {
            most.insert(place, row.as_ref());
            most.truncate(DEEPEST);
        }
    }
    let theme = look.theme;
    let mut line = Pieces::default();
    line.word("deepest  ", theme.header_label);
    if most.is_empty() {
        line.word("nothing waits", theme.muted);
    }
    for row in most {
        line.safe(&row.name, theme.text);
        line.put(format_args!(" {}", words::grouped(row.queue.pending)), theme.header_value);
        line.word("   ", theme.text);
    }
    line
}

fn verdict(view: &FleetView, now: Time, look: Look<'_>) -> Pieces {
    let theme = look.theme;
    let verdict = health::verdict(view);
    let (sign, style) = words::health(verdict, look);
    let mut line = Pieces::default();
    line.word("system ", theme.header_label).word(sign, style).word(" ", style);
    line.word(verdict.into(), style);
    let rows = health::Health::new(view, now);
    let (mut parts, mut agents) = (0_usize, 0_usize);
    for row in 0..rows.len() {
        if rows.is_listed(row) && rows.is_fault(row) {
            if rows.target(row).is_some() { agents += 1 } else { parts += 1 }
        }
    }
    let style = |count: usize| if count > 0 { theme.warn } else { theme.muted };
    line.put(format_args!("   {parts} parts not well"), style(parts));
    line.put(format_args!("   {agents} agents not well"), style(agents));
    let known = view.totals.health.get(&HealthStatus::Unknown).copied().unwrap_or(0);
    if known > 0 {
        line.put(format_args!("   {known} not judged yet"), theme.muted);
    }
    line
}
