//! The lines at the top: where one is and who leads, how the fleet fares, and how the page is looked at. Numbers are as
//! coarse as a quiet fleet needs to keep a quiet screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::engine::view::{FleetView, System};
use crate::model::agent::Phase;
use crate::model::quantity::human_age;
use crate::model::text::columns;
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::pages::{Page, words};
use crate::tui::ui::Ui;
use crate::tui::widgets::{Look, paint, spark};

/// Pieces of one line.
type Parts = Vec<(String, Style)>;

/// How many lines the header takes.
pub(super) fn rows(ui: &Ui, screen: Rect) -> u16 {
    if ui.compact || screen.height < 16 { 1 } else { 2 }
}

pub(super) fn draw(ui: &Ui, view: &FleetView, area: Rect, buf: &mut Buffer) {
    let look = ui.look();
    if area.height >= 2 {
        put(&place(ui, view, look), &clock(ui, look), Rect { height: 1, ..area }, look, buf);
        put(&fleet(ui, view, look), &[], Rect { y: area.y + 1, height: 1, ..area }, look, buf);
    } else if area.height == 1 {
        put(&brief(ui, view, look), &clock(ui, look), area, look, buf);
    }
}

/// The view line: what `:` would take to come here again, and how much of it is in sight.
pub(super) fn view_line(ui: &Ui, area: Rect, buf: &mut Buffer) {
    let look = ui.look();
    let theme = look.theme;
    let page = ui.page();
    let left = vec![(format!(" :{}", page.line()), theme.accent)];
    let right = match page {
        Page::Table(page) => {
            let (shown, total) = (page.listing.rows.len(), page.listing.total);
            let mut text = if shown == total {
                words::grouped(as_u64(total))
            } else {
                format!("{} of {}", words::grouped(as_u64(shown)), words::grouped(as_u64(total)))
            };
            if !page.state.marks.is_empty() {
                let marks = words::grouped(as_u64(page.state.marks.len()));
                text.push_str(&format!(" {} {marks} marked", look.glyphs.separator));
            }
            if page.is_frozen() {
                text.push_str(&format!(" {} order frozen", look.glyphs.separator));
            }
            text.push(' ');
            let mut parts = vec![(text, theme.muted)];
            if let Some(error) = &page.filter.error {
                parts.insert(0, (format!("{}  ", error.as_str()), theme.prompt_error));
            }
            parts
        }
        Page::Text(_) | Page::Pulse(_) => Vec::new(),
    };
    put(&left, &right, area, look, buf);
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Writes `left` from the left and `right` from the right; the left gives way.
fn put(
    left: &[(String, Style)],
    right: &[(String, Style)],
    area: Rect,
    look: Look<'_>,
    buf: &mut Buffer,
) {
    let wide: usize = right.iter().map(|(text, _)| columns(text)).sum();
    let wide = u16::try_from(wide).unwrap_or(u16::MAX).min(area.width);
    let parts: Vec<(&str, Style)> =
        left.iter().map(|(text, style)| (text.as_str(), *style)).collect();
    paint::pieces(buf, (area.x, area.y), area.width - wide, &parts, look.glyphs.ellipsis);
    let parts: Vec<(&str, Style)> =
        right.iter().map(|(text, style)| (text.as_str(), *style)).collect();
    paint::pieces(buf, (area.right() - wide, area.y), wide, &parts, look.glyphs.ellipsis);
}

/// Where one is: mode, store, runtime, leader, role.
fn place(ui: &Ui, view: &FleetView, look: Look<'_>) -> Parts {
    let theme = look.theme;
    let mut parts = Parts::new();
    mode(ui, look, &mut parts);
    stale(ui, view, look, &mut parts);
    context(ui, look, &mut parts);
    let system = view.system.as_ref();
    part(&mut parts, look, "store", &system.store);
    part(&mut parts, look, "runtime", &system.runtime);
    parts.push(("leader ".into(), theme.header_label));
    parts.push(match view.stale_since {
        // whoever it was, this process cannot know it now
        Some(_) => ("unknown".into(), theme.warn),
        None => leader(ui, system, look),
    });
    parts.push(("  role ".into(), theme.header_label));
    parts.push((ui.actor.role.to_string(), theme.header_value));
    parts
}

fn mode(ui: &Ui, look: Look<'_>, parts: &mut Parts) {
    parts.push((" ".into(), look.theme.text));
    if ui.readonly {
        parts.push((" READ-ONLY ".into(), look.theme.header_alert));
        parts.push(("  ".into(), look.theme.text));
    }
}

/// Which fleet it is, and how careful one has to be with it.
fn context(ui: &Ui, look: Look<'_>, parts: &mut Parts) {
    let theme = look.theme;
    let name = &ui.context.name;
    if name.as_str().is_empty() {
        return;
    }
    parts.push(("ctx ".into(), theme.header_label));
    parts.push((name.to_string(), theme.header_value));
    if ui.context.protected {
        parts.push((" ".into(), theme.text));
        parts.push((" PROTECTED ".into(), theme.header_alert));
    }
    parts.push(("  ".into(), theme.text));
}

fn stale(ui: &Ui, view: &FleetView, look: Look<'_>, parts: &mut Parts) {
    if let Some(since) = view.stale_since {
        let age = words::exact(ui.now.since(since));
        parts.push((format!(" STALE {age} "), look.theme.header_alert));
        parts.push(("  ".into(), look.theme.text));
    }
    if let Some(since) = view.system.runtime.lost_since {
        let age = words::exact(ui.now.since(since));
        parts.push((format!(" RUNTIME STALE {age} "), look.theme.header_alert));
        parts.push(("  ".into(), look.theme.text));
    }
    if view.system.protected {
        parts.push((" PROTECTED ".into(), look.theme.header_alert));
        parts.push(("  ".into(), look.theme.text));
    }
    if let Some(brake) = &view.system.brake {
        parts.push((format!(" BRAKE {} ", brake.as_str()), look.theme.header_alert));
        parts.push(("  ".into(), look.theme.text));
    }
}

fn part(parts: &mut Parts, look: Look<'_>, name: &str, status: &crate::engine::view::PartStatus) {
    let Look { theme, glyphs } = look;
    if status.kind.as_str().is_empty() {
        return; // not looked at yet
    }
    parts.push((format!("{name} "), theme.header_label));
    parts.push((status.kind.as_str().to_owned(), theme.header_value));
    match (status.ok, status.latency) {
        (true, latency) => {
            if let Some(latency) = latency {
                parts.push((format!(" {}", words::latency(latency)), theme.header_value));
            }
            // a runtime's details are named after its nodes
            let told = |what| status.told(what).next().filter(|_| name == "store");
            if let Some(line) = told("broken") {
                parts.push((format!(" {} {}", glyphs.failed, line.as_str()), theme.alarm));
            } else if told("fault").is_some() {
                parts.push((format!(" {} faults, see :health", glyphs.degraded), theme.warn));
            }
        }
        (false, _) => {
            parts.push((format!(" {} {}", glyphs.failed, status.error.as_str()), theme.alarm));
        }
    }
    parts.push(("  ".into(), theme.text));
}

fn leader(ui: &Ui, system: &System, look: Look<'_>) -> (String, Style) {
    let leader = &system.leader;
    let theme = look.theme;
    if leader.me {
        return (format!("this console, epoch {}", leader.epoch), theme.header_value);
    }
    if leader.holder.as_str().is_empty() {
        let word = if leader.contends { "nobody yet" } else { "nobody" };
        return (word.to_owned(), theme.warn);
    }
    let mut text = format!("{} pid {}", leader.holder.as_str(), leader.pid);
    // The lease's age matters only once it is late.
    let late = leader.renewed_at.map(|at| ui.now.since(at)).filter(|age| age.as_secs() > 10);
    if let Some(age) = late {
        text.push_str(&format!(", silent for {}", words::exact(age)));
    }
    (text, if late.is_some() { theme.warn } else { theme.header_value })
}

/// How the fleet fares: counts by state, rates, the oldest message.
fn fleet(ui: &Ui, view: &FleetView, look: Look<'_>) -> Parts {
    let theme = look.theme;
    let mut parts = counts(view, look);
    let totals = &view.totals;
    parts.push(("  in ".into(), theme.header_label));
    parts.push((format!("{} ", words::rate(totals.sent_rate)), theme.header_value));
    if !ui.lean {
        parts.push((spark::bars(&totals.sent_history, 12, look), theme.spark));
    }
    parts.push((" out ".into(), theme.header_label));
    parts.push((format!("{} ", words::rate(totals.delivered_rate)), theme.header_value));
    if !ui.lean {
        parts.push((spark::bars(&totals.delivered_history, 12, look), theme.spark));
    }
    if let Some(oldest) = totals.oldest {
        parts.push(("  oldest ".into(), theme.header_label));
        parts.push((human_age(ui.now.since(oldest)), theme.header_value));
    }
    let dead = totals.messages(crate::model::message::MessageStatus::Dead);
    if dead > 0 {
        parts.push(("  dead ".into(), theme.header_label));
        parts.push((words::grouped(dead), theme.warn));
    }
    parts
}

fn counts(view: &FleetView, look: Look<'_>) -> Parts {
    let Look { theme, glyphs } = look;
    let totals = &view.totals;
    let alive = view
        .agents
        .len()
        .saturating_sub(usize::try_from(totals.phase(Phase::Deleted)).unwrap_or(0));
    let mut parts = vec![
        (" agents ".to_owned(), theme.header_label),
        (format!("{} ", words::grouped(as_u64(alive))), theme.header_value),
    ];
    if !view.loaded && view.agents.is_empty() {
        return vec![(" the fleet is being read".to_owned(), theme.header_label)];
    }
    // who is degraded runs all the same, and is counted once
    let well = totals.in_sight(Phase::Running).saturating_sub(totals.strained);
    let busy = totals.in_sight(Phase::Pending) + totals.in_sight(Phase::Deploying);
    for (sign, count, style) in [
        (glyphs.ok, well, theme.ok),
        (glyphs.busy, busy, theme.busy),
        (glyphs.degraded, totals.strained, theme.warn),
        (glyphs.failed, totals.in_sight(Phase::Failed), theme.alarm),
        (glyphs.paused, totals.in_sight(Phase::Paused), theme.warn),
        (glyphs.down, totals.in_sight(Phase::Draining), theme.warn),
    ] {
        if count > 0 || sign == glyphs.ok {
            parts.push((format!(" {sign}{}", words::grouped(count)), style));
        }
    }
    let strays = totals.unrecorded();
    if strays > 0 {
        parts.push(("  no record ".into(), theme.header_label));
        parts.push((words::grouped(strays), theme.warn));
    }
    parts
}

/// Both in one line, for small screens and `toggle-header`.
fn brief(ui: &Ui, view: &FleetView, look: Look<'_>) -> Parts {
    let mut parts = Parts::new();
    mode(ui, look, &mut parts);
    stale(ui, view, look, &mut parts);
    context(ui, look, &mut parts);
    parts.extend(counts(view, look));
    parts.push(("  leader ".into(), look.theme.header_label));
    parts.push(leader(ui, view.system.as_ref(), look));
    parts
}

/// The time in minutes; none where every byte counts.
fn clock(ui: &Ui, look: Look<'_>) -> Parts {
    if ui.lean {
        return Parts::new();
    }
    let at = ui.now.to_jiff();
    let text = if ui.local_time {
        at.to_zoned(jiff::tz::TimeZone::system()).strftime(" %H:%M %Z ").to_string()
    } else {
        at.strftime(" %H:%MZ ").to_string()
    };
    let unseen = ui.notices.unseen();
    if unseen == 0 {
        return vec![(text, look.theme.muted)];
    }
    let key = ui.keymap.key_for(&[Scope::Global], Action::Notifications).unwrap_or_default();
    vec![(format!(" {unseen} ({key}) "), look.theme.warn), (text, look.theme.muted)]
}
