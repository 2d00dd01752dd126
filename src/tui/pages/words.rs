//! Small words that several pages show alike: signs for states, ages, shares of a limit.

use std::time::Duration;

use ratatui::style::Style;

use crate::model::agent::Phase;
use crate::model::health::HealthStatus;
use crate::model::quantity::human_age;
use crate::model::text::{Safe, columns};
use crate::model::time::Time;
use crate::settings::thresholds::Level;
use crate::tui::theme::{Glyphs, Theme};
use crate::tui::widgets::Look;
use crate::tui::widgets::json::{Format, JsonLines};
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::{Lines as TextLines, Pieces};

/// Names of things come from others: safe before they are part of a line of ours.
pub fn plain(text: &str) -> String {
    Safe::new(text).as_str().to_owned()
}

/// The sign and the style of a phase.
pub fn phase(phase: Phase, look: Look<'_>) -> (&'static str, Style) {
    let Look { theme, glyphs } = look;
    match phase {
        Phase::Pending | Phase::Deploying => (glyphs.busy, theme.busy),
        Phase::Running => (glyphs.ok, theme.ok),
        Phase::Paused => (glyphs.paused, theme.warn),
        Phase::Draining => (glyphs.down, theme.warn),
        Phase::Stopped => (glyphs.stopped, theme.muted),
        Phase::Failed => (glyphs.failed, theme.alarm),
        Phase::Deleted => (glyphs.stopped, theme.row_gone),
    }
}

/// The sign and the style of a verdict on health.
pub fn health(status: HealthStatus, look: Look<'_>) -> (&'static str, Style) {
    let Look { theme, glyphs } = look;
    match status {
        HealthStatus::Healthy => (glyphs.ok, theme.ok),
        HealthStatus::Degraded => (glyphs.degraded, theme.warn),
        HealthStatus::Unhealthy => (glyphs.failed, theme.alarm),
        HealthStatus::Unknown => (glyphs.unknown, theme.unknown),
    }
}

/// An age as tables show it, changing once a minute at most.
pub fn age(out: &mut CellText, since: Time, now: Time) {
    out.put(format_args!("{}", human_age(now.since(since))));
}

/// How long ago, for one line about one thing: `41s`, `2m 5s`, `3h 10m`, `2d 4h`.
pub fn exact(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Per cent of a limit; `None` without one.
pub fn share(used: u64, limit: Option<u64>) -> Option<u64> {
    let limit = limit.filter(|limit| *limit > 0)?;
    Some(used.saturating_mul(100) / limit)
}

/// The style and the sign of a figure that has gone so far; nothing for one that is fine.
pub fn level(level: Level, look: Look<'_>) -> Option<(&'static str, Style)> {
    match level {
        Level::Fine => None,
        Level::Warn => Some(("!", look.theme.warn)),
        Level::Critical => Some((look.glyphs.failed, look.theme.alarm)),
    }
}

/// Colours a figure by how far it has gone, with a sign before it where the column has room for one.
pub fn judge(out: &mut CellText, how: Level, column: &Column, look: Look<'_>) {
    let Some((sign, style)) = level(how, look) else { return };
    let room = match column.width {
        Width::Fixed(width) | Width::Flex { min: width, .. } => usize::from(width),
    };
    if columns(out.as_str()) < room {
        out.sign(sign);
    }
    out.style(style);
}

/// How worrying a wait in a queue is.
pub fn waiting(wait: Duration, look: Look<'_>) -> Level {
    look.theme.limits.oldest.judge(wait.as_secs())
}

/// The same as a style.
pub fn waiting_style(wait: Duration, look: Look<'_>) -> Style {
    level(waiting(wait, look), look).map_or(look.theme.text, |(_, style)| style)
}

/// The time of day in UTC, to the second.
pub fn clock(at: Time) -> String {
    at.to_jiff().strftime("%H:%M:%S").to_string()
}

/// At most `most` lines of a value as YAML-like text, for a glance beside the table.
pub fn json_lines(value: &serde_json::Value, most: usize) -> Vec<Safe> {
    let folded = std::collections::BTreeSet::new();
    let lines = JsonLines::new(value, Format::Yaml, &folded);
    let look = Look { theme: &Theme::default(), glyphs: &Glyphs::UNICODE };
    let mut pieces = Pieces::default();
    let mut line = |index: usize| {
        pieces.clear();
        TextLines::line(&lines, index, look, &mut pieces);
        Safe::new(pieces.as_str())
    };
    let count = TextLines::count(&lines);
    let mut out: Vec<Safe> = (0..count.min(most)).map(&mut line).collect();
    if count > most {
        out.push(Safe::new(&format!("… {} more lines", count - most)));
    }
    out
}

/// How much of a whole is done, in `width` cells.
pub fn bar(out: &mut CellText, part: u32, whole: u32, width: u32, look: Look<'_>) {
    // not the whole cell: in the selected row that would look like something blacked out
    let [empty, _, _, _, full, ..] = look.glyphs.spark;
    let filled = u64::from(part.min(whole)) * u64::from(width);
    // What has begun shows at least one cell, what is not all done leaves one.
    let filled = filled.div_ceil(u64::from(whole.max(1)));
    let filled = if part < whole { filled.min(u64::from(width) - 1) } else { filled };
    for cell in 0..u64::from(width) {
        out.word(if cell < filled { full } else { empty });
    }
}

/// How long ago something was, as a key to sort by: upwards, the youngest comes first.
pub fn age_key(now: Time, since: Time) -> u64 {
    u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)
}

/// Worst highest.
pub fn severity(status: HealthStatus) -> u32 {
    match status {
        HealthStatus::Healthy => 0,
        HealthStatus::Unknown => 1,
        HealthStatus::Degraded => 2,
        HealthStatus::Unhealthy => 3,
    }
}

/// Collects the lines of the side pane: a name on the left, what it is beside it.
pub struct Lines<'a> {
    look: Look<'a>,
    lines: Vec<Pieces>,
}

impl<'a> Lines<'a> {
    pub fn new(look: Look<'a>) -> Self {
        Self { look, lines: Vec::new() }
    }

    /// A line of its own.
    pub fn add(&mut self) -> &mut Pieces {
        self.lines.push(Pieces::default());
        let last = self.lines.len() - 1;
        &mut self.lines[last]
    }

    /// A line that begins with `name`.
    pub fn label(&mut self, name: &'static str) -> &mut Pieces {
        let style = self.look.theme.header_label;
        let line = self.add();
        line.put(format_args!("{name:<10}"), style)
    }

    pub fn named(&mut self, name: &'static str, value: std::fmt::Arguments<'_>) {
        let style = self.look.theme.text;
        self.label(name).put(value, style);
    }

    /// The same, unless there is nothing to say.
    pub fn text(&mut self, name: &'static str, value: &Safe) {
        if !value.as_str().is_empty() {
            let style = self.look.theme.text;
            self.label(name).safe(value, style);
        }
    }

    pub fn done(self) -> Vec<Pieces> {
        self.lines
    }
}

/// A number with blanks between the thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A rate: one decimal below ten.
pub fn rate(per_second: f64) -> String {
    if per_second < 0.05 {
        "0/s".to_owned()
    } else if per_second < 10.0 {
        format!("{per_second:.1}/s")
    } else {
        format!("{per_second:.0}/s")
    }
}

/// A delay in steps coarse enough that a quiet system shows a quiet number.
pub fn latency(span: Duration) -> String {
    let millis = span.as_millis();
    let step = [1, 2, 5, 10, 20, 50, 100, 200, 500].into_iter().find(|step| millis < *step);
    match step {
        Some(step) => format!("<{step}ms"),
        None => format!("{:.1}s", span.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_only_when_all_is_done_and_empty_only_when_nothing_is() {
        let bar = |part, whole| {
            let mut out = CellText::default();
            bar(&mut out, part, whole, 4, crate::tui::testing::plain_look());
            out.as_str().to_owned()
        };
        assert_eq!(bar(0, 10), "▁▁▁▁");
        assert_eq!(bar(1, 1_000), "▅▁▁▁");
        assert_eq!(bar(999, 1_000), "▅▅▅▁");
        assert_eq!(bar(10, 10), "▅▅▅▅");
        assert_eq!(bar(0, 0), "▁▁▁▁");
        assert_eq!(bar(u32::MAX, u32::MAX), "▅▅▅▅");
    }

    #[test]
    fn numbers_are_short_and_steady() {
        assert_eq!(grouped(1_204), "1 204");
        assert_eq!(grouped(12), "12");
        assert_eq!(grouped(1_000_000), "1 000 000");
        assert_eq!(rate(0.0), "0/s");
        assert_eq!(rate(1.25), "1.2/s");
        assert_eq!(rate(412.4), "412/s");
        assert_eq!(latency(Duration::from_micros(300)), "<1ms");
        assert_eq!(latency(Duration::from_millis(37)), "<50ms");
        assert_eq!(latency(Duration::from_millis(1_640)), "1.6s");
        assert_eq!(exact(Duration::from_secs(125)), "2m 5s");
        assert_eq!(exact(Duration::from_secs(90_000)), "1d 1h");
    }
}
