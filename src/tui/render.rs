//! From what is remembered and the view to a picture. It reads a snapshot and nothing else: no lock, no clock, no state.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::pages::table::TablePage;
use super::pages::text::TextPage;
use super::pages::{Page, pulse, strip};
use super::perf;
use super::ui::{Ask, Hits, Layer, PlanLayer, PromptKind, PromptLayer, SMALLEST, Ui, is_too_small};
use super::widgets::plan::PlanDialog;
use super::widgets::prompt::{self, Prompt};
use super::widgets::table::Table;
use super::widgets::text::TextView;
use super::widgets::{Look, dialog, hints, paint};
use crate::engine::view::FleetView;
use crate::model::text::Safe;
use crate::tui::action::Action;
use crate::tui::command::suggest::ghost;
use crate::tui::keymap::{Continuation, Match};
use crate::tui::keys;
use crate::tui::theme::Glyphs;

mod body;
mod bottom;
mod header;
mod progress;

/// Draws everything; says what the next key must know of it, and where the cursor is.
pub fn render(ui: &Ui, view: &FleetView, buf: &mut Buffer) -> (Hits, Option<Position>) {
    let screen = buf.area;
    let look = ui.look();
    let mut hits = Hits { screen: screen.as_size(), ..Hits::default() };
    if look.theme.text != ratatui::style::Style::default() {
        buf.set_style(screen, look.theme.text);
    }
    if is_too_small(screen.as_size()) {
        too_small(screen, look, buf);
        return (hits, None);
    }
    let full = matches!(ui.page(), Page::Text(page) if page.full);
    let rows = if full { 0 } else { header::rows(ui, screen) };
    let under = if full { 0 } else { progress::rows(ui, view, screen.height) };
    let [head, line, body, foot] = cut(screen, [rows, 1, 0, under + u16::from(!full)]);
    let bottom = Rect {
        y: foot.y + under.min(foot.height),
        height: foot.height.saturating_sub(under),
        ..foot
    };
    header::draw(ui, view, head, buf);
    let cursor = line_above(ui, line, buf);
    match ui.page() {
        Page::Table(page) => table(ui, view, page, body, &mut hits, buf),
        Page::Text(page) => hits.text = text(ui, page, body, buf),
        Page::Pulse(page) => {
            let inner = body::frame(body, "pulse", "", true, look, buf);
            pulse::draw(page, view, ui.now, look, inner, buf);
        }
    }
    progress::draw(ui, view, Rect { height: under.min(foot.height), ..foot }, buf);
    bottom::draw(ui, bottom, buf);
    let above = layers(ui, screen, line, body, buf, &mut hits);
    chord(ui, body, buf);
    if let Some(figures) = &ui.perf {
        perf::draw(figures, body, look, buf);
    }
    if ui.glyphs == Glyphs::ASCII {
        ascii(buf);
    }
    (hits, above.or(cursor))
}

/// Whatever others named in other characters is told in ASCII, column for column.
fn ascii(buf: &mut Buffer) {
    let cells = buf.content.len();
    for index in 0..cells {
        let symbol = buf.content[index].symbol();
        if symbol.is_ascii() {
            continue;
        }
        let wide = usize::from(ratatui::buffer::CellWidth::cell_width(symbol)).max(1);
        let legible = Safe::new(symbol).ascii();
        let mut signs = legible.as_str().chars();
        for place in index..(index + wide).min(cells) {
            buf.content[place].set_char(signs.next().unwrap_or('?'));
        }
    }
}

/// Cuts an area into four from top to bottom; the third takes what is left.
fn cut(area: Rect, heights: [u16; 4]) -> [Rect; 4] {
    let fixed: u16 = heights.iter().sum();
    let mut y = area.y;
    let mut index = 0;
    heights.map(|height| {
        let height = if index == 2 { area.height.saturating_sub(fixed) } else { height };
        index += 1;
        let part = Rect { y, height, ..area }.intersection(area);
        y = y.saturating_add(height);
        part
    })
}

fn too_small(screen: Rect, look: Look<'_>, buf: &mut Buffer) {
    let by = if *look.glyphs == Glyphs::ASCII { "x" } else { "×" };
    let text = format!(
        "{}{by}{} is too small: cvxc needs {}{by}{}; ^c quits",
        screen.width, screen.height, SMALLEST.width, SMALLEST.height
    );
    for (line, y) in dialog::wrap(&text, usize::from(screen.width)).iter().zip(screen.top()..) {
        paint::text(buf, (screen.x, y), screen.width, line, look.theme.warn, "");
    }
}

/// The line under the header: the prompt if one is open, else how the page is looked at.
fn line_above(ui: &Ui, area: Rect, buf: &mut Buffer) -> Option<Position> {
    match ui.layers.last() {
        Some(Layer::Prompt(prompt)) => draw_prompt(ui, prompt, area, buf),
        Some(Layer::Page(_) | Layer::Plan(_)) | None => {
            header::view_line(ui, area, buf);
            None
        }
    }
}

fn draw_prompt(ui: &Ui, prompt: &PromptLayer, area: Rect, buf: &mut Buffer) -> Option<Position> {
    let sign = match prompt.kind {
        PromptKind::Command => " :",
        PromptKind::Filter | PromptKind::Search => " /",
        PromptKind::LineFilter => " &",
    };
    let chosen = prompt.suggestions.get(prompt.chosen.unwrap_or(0));
    let ghost = if prompt.edit.at_end() { ghost(prompt.edit.text(), chosen) } else { "" };
    let error = prompt.error.as_ref();
    Prompt { sign, edit: &prompt.edit, ghost, error, look: ui.look() }.draw(area, buf)
}

fn table(
    ui: &Ui,
    view: &FleetView,
    page: &TablePage,
    area: Rect,
    hits: &mut Hits,
    buf: &mut Buffer,
) {
    let look = ui.look();
    let rows = page.kind.rows(view, &page.fetched, ui.now);
    let focused = !matches!(ui.layers.last(), Some(Layer::Plan(_)));
    let (main, side) = body::split(area, ui.detail);
    let title = body::table_title(page);
    let in_table = focused && !(ui.side.focused && side.is_some());
    let inner = body::frame(main, &title, "", in_table, look, buf);
    let lines = strip::lines(page, view, ui.now, look);
    let inner = body::above(lines, inner, look, buf);
    let columns = page.columns();
    let cells = body::RowCells { rows: rows.as_ref(), deltas: &page.deltas, now: ui.now, look };
    hits.table = Table {
        cells: &cells,
        rows: &page.listing.rows,
        columns: &columns,
        state: &page.state,
        sorted: Some((page.sort.column, page.sort.descending)),
        hits: &|text| page.filter.query.highlight(text),
        focused,
        look,
    }
    .draw(inner, buf);
    if page.listing.rows.is_empty() {
        body::nothing(page, view, inner, look, buf);
    }
    if let Some(side) = side {
        let row = page.selected_row();
        hits.side = body::detail(rows.as_ref(), row, ui.side, side, look, buf);
    }
}

fn text(ui: &Ui, page: &TextPage, area: Rect, buf: &mut Buffer) -> super::widgets::text::TextHits {
    let look = ui.look();
    let inner = if page.full {
        area
    } else {
        body::frame(area, &page.title(), &page.note(), true, look, buf)
    };
    TextView { lines: &page.content, shown: page.shown.as_deref(), state: &page.state, look }
        .draw(inner, buf)
}

/// What lies above the page: suggestions and dialogs.
fn layers(
    ui: &Ui,
    screen: Rect,
    line: Rect,
    body: Rect,
    buf: &mut Buffer,
    hits: &mut Hits,
) -> Option<Position> {
    match ui.layers.last() {
        Some(Layer::Prompt(prompt)) if !prompt.suggestions.is_empty() => {
            let area = Rect { x: line.x + 2, width: line.width.saturating_sub(4), ..body };
            prompt::draw_suggestions(&prompt.suggestions, prompt.chosen, area, ui.look(), buf);
            None
        }
        Some(Layer::Plan(plan)) => draw_plan(ui, plan, screen, buf, hits),
        Some(Layer::Prompt(_) | Layer::Page(_)) | None => None,
    }
}

fn draw_plan(
    ui: &Ui,
    plan: &PlanLayer,
    screen: Rect,
    buf: &mut Buffer,
    hits: &mut Hits,
) -> Option<Position> {
    let key = ui.key_for(Action::AcceptPlan).unwrap_or_default();
    let leave = ui.key_to_leave_text(Action::Cancel).unwrap_or_default();
    let scrolls = ui.keymap.keys_beside_text(&ui.scopes(), [Action::PageDown, Action::SelectNext]);
    let scrolls: Vec<String> = scrolls.into_iter().flatten().collect();
    let busy = if plan.confirming {
        format!("agreed: waiting for the store ({leave} leaves, what was agreed to goes on)")
    } else {
        format!("asking the engine ({leave} leaves)")
    };
    let dialog = PlanDialog {
        text: &plan.text,
        state: &plan.state,
        apply_key: &key,
        apply: if plan.ask == Ask::Quit { "Quit" } else { "Apply" },
        busy: plan.asked.is_some().then_some(busy.as_str()),
        scroll_keys: &scrolls.join("/"),
        look: ui.look(),
    };
    let (cursor, most) = dialog.draw(screen, buf);
    hits.plan = most;
    cursor
}

/// How a half-typed chord goes on.
fn chord(ui: &Ui, body: Rect, buf: &mut Buffer) {
    if ui.typed.is_empty() {
        return;
    }
    let Match::More(more) = ui.keymap.look_up(&ui.scopes(), &ui.typed) else { return };
    let list: Vec<hints::Hint> = more
        .into_iter()
        .map(|(key, next)| {
            let words = match next {
                Continuation::Action(action) => action.help(),
                Continuation::Deeper => "more keys",
            };
            hints::Hint::new(keys::show(key), words)
        })
        .collect();
    hints::draw_chord(buf, body, &keys::show_chord(&ui.typed), &list, ui.look());
}

#[cfg(test)]
mod tests;
