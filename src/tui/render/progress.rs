//! The lines above the bottom one: what this operator's running operations are at, while they go on working elsewhere.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::engine::view::{FleetView, OperationRow};
use crate::model::text::{Align, columns};
use crate::tui::pages::progress::{self, Progress};
use crate::tui::pages::words;
use crate::tui::ui::Ui;
use crate::tui::widgets::paint;
use crate::tui::widgets::table::CellText;

/// What is over sooner than this is told by its toast alone.
const BRIEF: std::time::Duration = std::time::Duration::from_millis(800);
/// Cells of the bar.
const BAR: u32 = 12;
/// Columns of a title, at most a third of the screen.
const TITLE: usize = 44;

/// The operations that this operator has running, the newest first.
fn running<'a>(ui: &'a Ui, view: &'a FleetView) -> impl Iterator<Item = &'a OperationRow> {
    let mine = |row: &&OperationRow| {
        !row.status.is_over()
            && row.actor == *ui.actor.name
            && ui.now.since(row.created_at) >= BRIEF
    };
    view.operations.iter().map(AsRef::as_ref).filter(mine)
}

/// How many lines there are to draw on a screen of this height.
pub(super) fn rows(ui: &Ui, view: &FleetView, height: u16) -> u16 {
    let most = if height < 30 { 1 } else { 3 };
    u16::try_from(running(ui, view).take(most).count()).unwrap_or(0)
}

pub(super) fn draw(ui: &Ui, view: &FleetView, area: Rect, buf: &mut Buffer) {
    let more = running(ui, view).count().saturating_sub(usize::from(area.height));
    for (row, y) in running(ui, view).zip(area.top()..area.bottom()) {
        let more = if y + 1 == area.bottom() { more } else { 0 };
        line(ui, view, row, more, Rect { y, height: 1, ..area }, buf);
    }
}

fn line(ui: &Ui, view: &FleetView, row: &OperationRow, more: usize, place: Rect, buf: &mut Buffer) {
    let look = ui.look();
    let theme = look.theme;
    let progress = progress::of(row, view, ui.now);
    let wide = TITLE.min(usize::from(place.width) / 3);
    let title = row.title.fit(columns(row.title.as_str()).min(wide), Align::Left);
    let Progress { part, whole, words: reached, .. } = &progress;
    let mut bar = CellText::default();
    words::bar(&mut bar, *part, *whole, BAR, look);
    let mut tail = format!(" {reached}  {}", progress::time(row, &progress, ui.now));
    if row.doing.batches > 1 {
        tail.push_str(&format!("  batch {}/{}", row.doing.batch, row.doing.batches));
    }
    let failed = if row.failed > 0 { format!("  {} failed", row.failed) } else { String::new() };
    let doing = format!("  {}", row.doing.words.as_str());
    let others = if more > 0 { format!("  +{more} more in :operations") } else { String::new() };
    let parts: [(&str, Style); 8] = [
        (" ", theme.text),
        (look.glyphs.busy, theme.busy),
        (" ", theme.text),
        (&title, theme.title),
        ("  ", theme.text),
        (bar.as_str(), theme.busy),
        (&tail, theme.text),
        (&failed, theme.alarm),
    ];
    let end = paint::pieces(buf, (place.x, place.y), place.width, &parts, look.glyphs.ellipsis);
    let room = place.right().saturating_sub(end);
    let rest = [(others.as_str(), theme.warn), (doing.as_str(), theme.muted)];
    paint::pieces(buf, (end, place.y), room, &rest, look.glyphs.ellipsis);
}
