//! The console in lines, for screen readers and pipes: what a screen lays out is told in words, in reading order, each
//! thing once. It draws nothing.

use ratatui::buffer::{Buffer, CellWidth};

use super::pages::row::{self, Rows};
use super::pages::table::{TablePage, place};
use super::pages::{Page, pulse};
use super::ui::{Layer, PlanLayer, Ui};
use super::widgets::Look;
use super::widgets::table::CellText;
use super::widgets::text::{Lines, Pieces};
use crate::engine::view::FleetView;
use crate::model::agent::Phase;
use crate::model::text::Safe;
use crate::model::time::Time;

/// Rows of a table told at once; the keys that move tell others.
const ROWS: usize = 20;
/// Lines of a text told at once.
const LINES: usize = 60;

/// The symbols of a picture, without blanks at the ends of lines.
pub fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += symbol.cell_width().max(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// What there is to tell now.
pub fn lines(ui: &mut Ui, view: &FleetView) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(notice) = ui.notices.toast() {
        lines.push(format!("Said: {}.", notice.text));
        let number = notice.number;
        ui.notices.fade(number);
    }
    match ui.layers.last() {
        Some(Layer::Plan(plan)) => tell_plan(plan, &mut lines),
        Some(Layer::Prompt(prompt)) => {
            let why = prompt.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            lines.push(format!(
                "Typing {:?}{why}. enter carries it out, esc leaves it.",
                prompt.edit.text()
            ));
        }
        Some(Layer::Page(_)) | None => {
            lines.push(fleet(view, ui.now));
            page(ui, view, &mut lines);
        }
    }
    lines.iter().map(|line| Safe::new(line).to_string()).collect()
}

fn fleet(view: &FleetView, now: Time) -> String {
    let totals = &view.totals;
    let strays = totals.unrecorded();
    let recorded = view.agents.iter().filter(|row| row.recorded).count();
    let mut line = format!("{recorded} agents, {} running", totals.phase(Phase::Running));
    if strays > 0 {
        line.push_str(&format!(", {strays} without a record"));
    }
    let failed = totals.phase(Phase::Failed);
    if failed > 0 {
        line.push_str(&format!(", {failed} failed"));
    }
    if let Some(since) = view.stale_since {
        let age = super::pages::words::exact(now.since(since));
        line.push_str(&format!(". The picture is {age} old: the store cannot be reached"));
    }
    if let Some(since) = view.system.runtime.lost_since {
        let age = super::pages::words::exact(now.since(since));
        line.push_str(&format!(". What the runtime told is {age} old: it cannot be asked"));
    }
    line.push('.');
    line
}

fn page(ui: &Ui, view: &FleetView, lines: &mut Vec<String>) {
    let look = ui.look();
    match ui.page() {
        Page::Table(page) => table(page, view, ui.now, look, lines),
        Page::Text(page) => {
            lines.push(format!("{}. {}", page.title(), page.note()));
            let mut pieces = Pieces::default();
            let count = page.count();
            let first =
                if page.state.follow { count.saturating_sub(LINES) } else { page.state.top };
            for position in first..count.min(first + LINES) {
                pieces.clear();
                page.content.line(page.line_at(position), look, &mut pieces);
                lines.push(pieces.as_str().to_owned());
            }
            if count > first + LINES {
                lines.push(format!("{} more lines; pagedown goes on.", count - first - LINES));
            }
        }
        Page::Pulse(page) => lines.extend(pulse::told(page, view, ui.now, look)),
    }
}

fn table(page: &TablePage, view: &FleetView, now: Time, look: Look<'_>, lines: &mut Vec<String>) {
    let rows = page.kind.rows(view, &page.fetched, now);
    let all = &page.listing.rows;
    lines.push(format!("{}: {} of {} rows.", page.line(), all.len(), page.listing.total));
    if let Some(error) = &page.filter.error {
        lines.push(format!("The filter is wrong: {error}."));
    }
    let first = page.state.position.saturating_sub(ROWS / 2).min(all.len().saturating_sub(ROWS));
    for (position, row) in all.iter().enumerate().skip(first).take(ROWS) {
        lines.push(told(page, rows.as_ref(), place(*row), position, look));
    }
    if all.len() > first + ROWS {
        lines.push(format!("{} more rows; pagedown goes on.", all.len() - first - ROWS));
    }
}

/// A row in words: its columns by name, empty ones left out.
fn told(page: &TablePage, rows: &dyn Rows, at: usize, position: usize, look: Look<'_>) -> String {
    let mut line = format!("{}", position + 1);
    if position == page.state.position {
        line.push_str(" selected");
    }
    if page.state.marks.contains(rows.id(at)) {
        line.push_str(" marked");
    }
    line.push(':');
    let mut cell = CellText::default();
    let mut comma = "";
    for column in page.columns() {
        cell.clear();
        row::cell(rows, at, column, look, &mut cell);
        let text = cell.as_str().trim();
        if !text.is_empty() {
            line.push_str(&format!("{comma} {} {text}", column.title.to_lowercase()));
            comma = ",";
        }
    }
    line
}

fn tell_plan(plan: &PlanLayer, lines: &mut Vec<String>) {
    let text = &plan.text;
    lines.push(format!("Plan: {}. {}", text.title, text.note));
    for field in &plan.state.fields {
        lines.push(format!("Field {}: {}", field.label, field.edit.text()));
    }
    lines.extend(text.facts.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.extend(
        text.steps
            .iter()
            .map(|step| format!("Batch {}: {}", step.batch + 1, step.text.as_str().trim())),
    );
    lines.extend(text.warnings.iter().map(|warning| format!("Warning: {warning}")));
    if !text.undo.as_str().is_empty() {
        lines.push(format!("Undo: {}", text.undo));
    }
    match (&text.refused, &text.word) {
        (Some(why), _) => lines.push(format!("Refused: {why}. esc closes it.")),
        (None, Some(word)) => {
            lines.push(format!(
                "Type {word} and then shift-tab enter to carry it out, esc to leave it."
            ));
        }
        (None, None) if plan.asked.is_some() => lines.push("The plan is being made.".to_owned()),
        (None, None) => lines.push("y carries it out, esc leaves it.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::{busy, draw, open, press, ui};

    fn told(line: &str) -> String {
        let (mut ui, view) = (ui(), busy());
        draw(&mut ui, &view, 120, 40);
        if !line.is_empty() {
            open(&mut ui, &view, line);
        }
        lines(&mut ui, &view).join("\n")
    }

    #[test]
    fn a_table_is_told_row_by_row_with_the_names_of_its_columns() {
        insta::assert_snapshot!(told(""));
    }

    #[test]
    fn every_page_has_something_to_tell_and_nothing_to_draw() {
        use strum::IntoEnumIterator;

        let kinds = crate::tui::pages::TableKind::iter().map(crate::tui::pages::TableKind::name);
        for name in kinds.chain(["pulse", "help", "aliases", "can-i"]) {
            let told = told(name);
            assert!(told.lines().count() > 1, "{name}: {told}");
            let drawn = told.chars().find(|c| matches!(c, '│' | '┌' | '─' | '▌'));
            assert_eq!(drawn, None, "{name}: {told}");
        }
    }

    #[test]
    fn a_plan_is_told_with_how_to_agree() {
        let (mut ui, view) = (ui(), busy());
        draw(&mut ui, &view, 120, 40);
        press(&mut ui, &view, "r");
        assert!(lines(&mut ui, &view).join("\n").contains("Plan: Restart"));
    }
}
