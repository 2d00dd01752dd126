//! Which figures of the rows in sight have just gone up or down. Only what is in sight is compared, so a fleet of a
//! hundred thousand costs no more than a screen.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::row::{Rows, SortKey};
use crate::model::time::Time;
use crate::tui::widgets::table::Column;

/// How long a change is shown.
pub const SHOWN: Duration = Duration::from_secs(5);

/// Columns whose figures tell something when they change. Ages change by themselves.
const TOLD: [&str; 13] = [
    "queue",
    "inflight",
    "dead",
    "restarts",
    "ready",
    "desired",
    "unhealthy",
    "updated",
    "matched",
    "agents",
    "pools",
    "failed",
    "cpu",
];
/// Usage wavers: a change of less than a tenth is none.
const WAVERING: [&str; 2] = ["cpu", "mem"];

/// What was seen of the rows in sight.
#[derive(Debug, Clone, Default)]
pub struct Deltas {
    seen: HashMap<Arc<str>, Vec<(&'static str, i64)>>,
    marks: HashMap<Arc<str>, Vec<Mark>>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    column: &'static str,
    up: bool,
    until: Time,
}

impl Deltas {
    /// Compares the rows in sight with what they were; returns whether anything changed.
    pub fn compare(
        &mut self,
        rows: &dyn Rows,
        in_sight: impl Iterator<Item = usize>,
        columns: &[&'static Column],
        now: Time,
    ) -> bool {
        let before = std::mem::take(&mut self.seen);
        self.marks.retain(|_, marks| {
            marks.retain(|mark| mark.until > now);
            !marks.is_empty()
        });
        let told: Vec<&'static str> =
            columns.iter().map(|column| column.key).filter(|key| TOLD.contains(key)).collect();
        let mut changed = false;
        for row in in_sight.filter(|row| *row < rows.len()) {
            let id: Arc<str> = Arc::from(rows.id(row));
            let figures: Vec<(&'static str, i64)> = told
                .iter()
                .filter_map(|key| match rows.sort_key(row, key) {
                    SortKey::Number(figure) => Some((*key, figure)),
                    SortKey::Nothing | SortKey::Text(_) => None,
                })
                .collect();
            let old = before.get(&id);
            for (column, figure) in &figures {
                let was = old.and_then(|old| old.iter().find(|(key, _)| key == column));
                let Some((_, was)) = was.filter(|(key, was)| differs(key, *was, *figure)) else {
                    continue;
                };
                let mark = Mark { column, up: figure > was, until: now.plus(SHOWN) };
                let marks = self.marks.entry(id.clone()).or_default();
                marks.retain(|mark| mark.column != *column);
                marks.push(mark);
                changed = true;
            }
            self.seen.insert(id, figures);
        }
        changed
    }

    /// Whether no figure in sight has changed lately: then no row need be asked about.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Whether a figure has just gone up (`true`) or down.
    pub fn of(&self, id: &str, column: &str, now: Time) -> Option<bool> {
        let marks = self.marks.get(id)?;
        let mark = marks.iter().find(|mark| mark.column == column && mark.until > now)?;
        Some(mark.up)
    }
}

fn differs(column: &str, was: i64, is: i64) -> bool {
    if WAVERING.contains(&column) {
        return was.abs_diff(is) > was.unsigned_abs() / 10;
    }
    was != is
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::tui::testing::{draw, fleet, now, symbols, ui};

    #[test]
    fn a_figure_that_went_up_or_down_says_so_for_five_seconds() {
        let (mut ui, mut view) = (ui(), fleet());
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(!shown.contains('↑') && !shown.contains('↓'), "{shown}");
        let rows = view.agents.iter().enumerate().map(|(at, row)| {
            let mut row = row.as_ref().clone();
            match at {
                0 => row.queue.pending += 1,
                1 => row.queue.pending -= 1,
                _ => {}
            }
            Arc::new(row)
        });
        view.agents = rows.collect();
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        let line = |name: &str| shown.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(line("ocr-1").contains("6↑"), "{shown}");
        assert!(line("ocr-2").contains("4↓"), "{shown}");
        assert!(!line("triage-1").contains('↑'), "{shown}");
        ui.now = now().plus(super::SHOWN);
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(!shown.contains('↑') && !shown.contains('↓'), "{shown}");
    }

    #[test]
    fn usage_that_wavers_is_no_change() {
        assert!(!super::differs("cpu", 100, 109) && super::differs("cpu", 100, 112));
        assert!(super::differs("queue", 100, 101));
    }
}
