//! An agent's figures against the thresholds: how far each has gone, and the worst of them in words.

use crate::engine::view::AgentRow;
use crate::settings::thresholds::Level;
use crate::tui::pages::words;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::CellText;

pub fn restarts(row: &AgentRow, look: Look<'_>) -> Level {
    let limit = look.theme.limits.restarts.or_label(&row.labels, "threshold.restarts");
    let how = limit.judge(row.restarts());
    // One that fails right now is worth a look however seldom it did before.
    if row.failures > 0 { how.max(Level::Warn) } else { how }
}

pub fn queue(row: &AgentRow, look: Look<'_>) -> Level {
    let limit = look.theme.limits.queue.or_label(&row.labels, "threshold.queue");
    limit.judge(row.queue.pending)
}

pub fn dead(row: &AgentRow, look: Look<'_>) -> Level {
    look.theme.limits.dead.or_label(&row.labels, "threshold.dead").judge(row.queue.dead)
}

pub fn errors(row: &AgentRow, look: Look<'_>) -> Level {
    let limit = look.theme.limits.errors.or_label(&row.labels, "threshold.errors");
    limit.judge(row.queue.error_percent().unwrap_or(0))
}

pub fn cpu(row: &AgentRow, look: Look<'_>) -> Level {
    let limit = look.theme.limits.cpu.or_label(&row.labels, "threshold.cpu");
    let used = row.usage.and_then(|usage| words::share(usage.cpu_millis, row.cpu_limit));
    limit.judge(used.unwrap_or(0))
}

pub fn mem(row: &AgentRow, look: Look<'_>) -> Level {
    let limit = look.theme.limits.mem.or_label(&row.labels, "threshold.mem");
    let used = row.usage.and_then(|usage| words::share(usage.memory_bytes, row.memory_limit));
    limit.judge(used.unwrap_or(0))
}

/// Says which figure has gone farthest, where nothing else is to be said of the agent.
pub fn worst(row: &AgentRow, look: Look<'_>, out: &mut CellText) {
    let percent = |used: u64, limit: Option<u64>| words::share(used, limit).unwrap_or(0);
    let usage = row.usage;
    let cpu_share = usage.map_or(0, |usage| percent(usage.cpu_millis, row.cpu_limit));
    let mem_share = usage.map_or(0, |usage| percent(usage.memory_bytes, row.memory_limit));
    let errors_share = row.queue.error_percent().unwrap_or(0);
    let figures = [
        (mem(row, look), "memory at ", mem_share, " % of its limit"),
        (cpu(row, look), "cpu at ", cpu_share, " % of its limit"),
        (queue(row, look), "", row.queue.pending, " messages wait"),
        (dead(row, look), "", row.queue.dead, " dead letters"),
        (errors(row, look), "", errors_share, " % of its messages died"),
        (restarts(row, look), "", row.restarts(), " restarts"),
    ];
    // Of equals, the first named.
    let worst = figures.into_iter().rev().max_by_key(|(how, ..)| *how);
    let Some((how, before, figure, after)) = worst else { return };
    let Some((sign, style)) = words::level(how, look) else { return };
    let word = if how == Level::Critical { " critical: " } else { " warning: " };
    out.word(sign).word(word).word(before);
    out.put(format_args!("{figure}")).word(after).style(style);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::agent::Phase;
    use crate::model::health::HealthStatus;
    use crate::tui::testing::{agent, plain_look};

    fn said(row: &AgentRow) -> String {
        let mut out = CellText::default();
        worst(row, plain_look(), &mut out);
        out.as_str().to_owned()
    }

    #[test]
    fn the_figure_that_has_gone_farthest_is_named_with_a_sign_and_a_word() {
        let mut row = agent("a", "p", Phase::Running, HealthStatus::Healthy);
        assert_eq!(said(&row), "");
        row.queue.pending = 318;
        assert_eq!(said(&row), "! warning: 318 messages wait");
        row.cpu_limit = Some(125);
        assert_eq!(said(&row), "✖ critical: cpu at 96 % of its limit");
        row.cpu_limit = None;
        row.labels = Arc::new([("threshold.queue".to_owned(), "10/50".to_owned())].into());
        assert_eq!(said(&row), "✖ critical: 318 messages wait");
    }
}
