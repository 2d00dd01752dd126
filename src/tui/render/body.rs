//! The parts of a page's body: its frame, the side pane, and what stands there when there is nothing to show.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::engine::view::FleetView;
use crate::model::time::Time;
use crate::tui::pages::deltas::Deltas;
use crate::tui::pages::row::{self, Rows, Spec};
use crate::tui::pages::table::TablePage;
use crate::tui::pages::words;
use crate::tui::ui::Side;
use crate::tui::widgets::table::{CellText, Cells, Column};
use crate::tui::widgets::text::{Lines, Pieces, TextHits, TextState, TextView};
use crate::tui::widgets::{Look, dialog, paint};

/// From this width on the side pane stands beside the table, below it under it.
const WIDE: u16 = 110;
/// A frame is drawn only where it leaves enough lines.
const FRAMED: u16 = 8;
/// A table has at least so many lines before anything stands above it.
const LEAST: u16 = 6;

/// The rows of a page as a table's cells.
pub(super) struct RowCells<'a> {
    pub rows: &'a dyn Rows,
    pub deltas: &'a Deltas,
    pub now: Time,
    pub look: Look<'a>,
}

impl Cells for RowCells<'_> {
    fn id(&self, row: usize) -> &str {
        self.rows.id(row)
    }

    fn cell(&self, row: usize, column: &Column, out: &mut CellText) {
        row::cell(self.rows, row, column, self.look, out);
    }

    fn row_style(&self, row: usize) -> Option<Style> {
        self.rows.style(row, self.look)
    }

    fn delta(&self, row: usize, column: &Column) -> Option<bool> {
        if self.deltas.is_empty() {
            return None;
        }
        self.deltas.of(self.rows.id(row), column.key, self.now)
    }
}

/// Where the table and, if wanted, the side pane stand.
pub(super) fn split(area: Rect, detail: bool) -> (Rect, Option<Rect>) {
    if !detail {
        return (area, None);
    }
    if area.width >= WIDE {
        let side = (area.width * 2 / 5).min(60);
        let main = Rect { width: area.width - side, ..area };
        return (main, Some(Rect { x: area.x + main.width, width: side, ..area }));
    }
    let side = area.height / 2;
    if side < 4 {
        return (area, None);
    }
    let main = Rect { height: area.height - side, ..area };
    (main, Some(Rect { y: area.y + main.height, height: side, ..area }))
}

/// Draws a frame where there is room for one; returns what is inside.
pub(super) fn frame(
    area: Rect,
    title: &str,
    note: &str,
    focused: bool,
    look: Look<'_>,
    buf: &mut Buffer,
) -> Rect {
    if area.height < FRAMED {
        return area;
    }
    let style = if focused { look.theme.border_focused } else { look.theme.border };
    dialog::frame(buf, area, title, note, style, look);
    Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 }
}

pub(super) fn table_title(page: &TablePage) -> String {
    let scope = match (&page.owner, &page.scope) {
        (Some(owner), None) => words::plain(&owner.name),
        (Some(owner), Some(scope)) => format!("{scope}/{}", words::plain(&owner.name)),
        (None, Some(scope)) => scope.to_string(),
        (None, None) => "all".to_owned(),
    };
    let faults = if page.faults { ", faults" } else { "" };
    let old = page.kind.asks().is_some() && page.fetched.error.is_some();
    let old = if old && !page.fetched.entries.is_empty() { ", old" } else { "" };
    format!("{}({scope}{faults}{old})", page.kind.name())
}

/// A filter that leaves no row, with what of it may not mean what it looks like.
fn why_none(line: &str, spec: &Spec) -> String {
    /// Nobody has more cores than that in one agent: thousandths were meant.
    const CORES: f64 = 64.0;
    let mut said = "the filter leaves no row; esc clears it".to_owned();
    let mut labels = false;
    for word in line.split_whitespace() {
        let end = word.find(['=', '!', '<', '>', '~']).unwrap_or(word.len());
        let name = &word[..end];
        let is_field = spec.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        let value = word[end..].trim_start_matches(['=', '<', '>']);
        let cores: Option<f64> = value.parse().ok();
        if word == "-l" {
            labels = true;
        } else if labels && is_field {
            said.push_str(&format!(". {name} is a field, no label: write {word} without -l"));
        } else if name.eq_ignore_ascii_case("cpu") && cores.is_some_and(|cores| cores > CORES) {
            said.push_str(&format!(". cpu counts cores: {value}m are thousandths of one"));
        } else if !word.starts_with('-') && word.chars().any(char::is_uppercase) {
            said.push_str(". A capital letter makes case count");
        }
        labels &= word == "-l" || word.ends_with(',');
    }
    said
}

/// Why there are no rows.
pub(super) fn nothing(
    page: &TablePage,
    view: &FleetView,
    area: Rect,
    look: Look<'_>,
    buf: &mut Buffer,
) {
    let why;
    let text = if let Some(error) = &page.fetched.error {
        error.as_str()
    } else if page.listing.total > 0 && page.fetched.goes_on() && !page.fetched.frozen {
        "the filter leaves none of the newest; older ones are being read"
    } else if !view.loaded || page.fetched.asked.is_some() {
        "reading the fleet"
    } else if page.listing.total > 0 && page.filter.query.is_empty() {
        "nothing is wrong here"
    } else if page.listing.total > 0 {
        why = why_none(&page.filter.line, page.kind.spec());
        why.as_str()
    } else if page.owner.is_some() {
        "nothing belongs to it"
    } else {
        page.kind.spec().empty
    };
    let lines = dialog::wrap(text, usize::from(area.width.saturating_sub(4)));
    let middle = area.y + 1 + area.height.saturating_sub(2) / 3;
    for (line, y) in lines.iter().zip(middle..area.bottom()) {
        let wide = u16::try_from(crate::model::text::columns(line)).unwrap_or(area.width);
        let x = area.x + area.width.saturating_sub(wide) / 2;
        paint::text(buf, (x, y), area.width, line, look.theme.muted, look.glyphs.ellipsis);
    }
}

/// Draws the lines above a table, where they leave room for rows; returns what is left.
pub(super) fn above(lines: Vec<Pieces>, area: Rect, look: Look<'_>, buf: &mut Buffer) -> Rect {
    let room = usize::from(area.height.saturating_sub(LEAST) / 4);
    let count = u16::try_from(lines.len().min(room)).unwrap_or(0);
    let state = TextState::default();
    let place = Rect { x: area.x + 1, width: area.width.saturating_sub(2), height: count, ..area };
    TextView { lines: &Detail(lines), shown: None, state: &state, look }.draw(place, buf);
    Rect { y: area.y + count, height: area.height - count, ..area }
}

/// The lines of the side pane.
struct Detail(Vec<Pieces>);

impl Lines for Detail {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn line(&self, index: usize, _: Look<'_>, out: &mut Pieces) {
        if let Some(line) = self.0.get(index) {
            out.take(line);
        }
    }
}

pub(super) fn detail(
    rows: &dyn Rows,
    row: Option<usize>,
    side: Side,
    area: Rect,
    look: Look<'_>,
    buf: &mut Buffer,
) -> TextHits {
    let title = row.map(|row| rows.name(row).as_str().to_owned()).unwrap_or_default();
    let inner = frame(area, &title, "", side.focused, look, buf);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let Some(row) = row else { return TextHits::default() };
    let lines = Detail(rows.detail(row, look));
    let state = TextState { wrap: true, top: side.top, ..TextState::default() };
    TextView { lines: &lines, shown: None, state: &state, look }.draw(inner, buf)
}
