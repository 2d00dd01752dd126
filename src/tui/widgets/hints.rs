//! The line of keys at the bottom, and the box that says how a half-typed chord goes on.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Look, paint};
use crate::model::text::columns;

/// A key and what it does, in a word or two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub key: String,
    pub words: &'static str,
    /// It may not be done: shown all the same, so that nobody looks for it, but greyed and crossed out.
    pub denied: bool,
}

impl Hint {
    pub fn new(key: impl Into<String>, words: &'static str) -> Self {
        Self { key: key.into(), words, denied: false }
    }
}

/// Draws as many hints as fit whole into one line; returns how many.
pub fn draw(buf: &mut Buffer, line: Rect, hints: &[Hint], look: Look<'_>) -> usize {
    let Look { theme, glyphs } = look;
    let line = line.intersection(buf.area);
    let mut x = line.x;
    for (count, Hint { key, words, denied }) in hints.iter().enumerate() {
        let wide = u16::try_from(columns(key) + 1 + columns(words)).unwrap_or(u16::MAX);
        if line.is_empty() || x.saturating_add(wide) > line.right() {
            return count;
        }
        let gone = theme.row_gone;
        let (of_key, of_words) =
            if *denied { (gone, gone) } else { (theme.hint_key, theme.hint_text) };
        let parts = [(key.as_str(), of_key), (" ", theme.hint_text), (*words, of_words)];
        x = paint::pieces(buf, (x, line.y), line.right() - x, &parts, glyphs.ellipsis) + 2;
    }
    hints.len()
}

/// Draws how a half-typed chord goes on, in a box at the lower right of `area`.
pub fn draw_chord(buf: &mut Buffer, area: Rect, typed: &str, hints: &[Hint], look: Look<'_>) {
    let area = area.intersection(buf.area);
    let widest = hints.iter().map(|it| columns(&it.key) + columns(it.words) + 2).max().unwrap_or(0);
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(hints.len() + 2).unwrap_or(u16::MAX).min(area.height);
    if width < 6 || height < 3 {
        return;
    }
    let place = Rect::new(area.right() - width, area.bottom() - height, width, height);
    paint::fill(buf, place, look.theme.dialog);
    super::dialog::frame(buf, place, typed, "", look.theme.dialog_border, look);
    for (hint, y) in hints.iter().zip(place.top() + 1..place.bottom() - 1) {
        draw(buf, Rect::new(place.x + 2, y, width - 4, 1), std::slice::from_ref(hint), look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::{plain_look, symbols};

    #[test]
    fn a_hint_is_shown_whole_or_not_at_all() {
        let hints: Vec<Hint> = [("r", "restart"), ("^d", "delete"), ("?", "help")]
            .map(|(key, words)| Hint::new(key, words))
            .into();
        let mut buf = Buffer::empty(Rect::new(0, 0, 22, 1));
        let line = buf.area;
        assert_eq!(draw(&mut buf, line, &hints, plain_look()), 2);
        assert_eq!(symbols(&buf), "r restart  ^d delete\n");
    }

    #[test]
    fn a_half_typed_chord_lists_how_it_goes_on() {
        let hints = [Hint::new("g", "first row"), Hint::new("e", "last row")];
        let mut buf = Buffer::empty(Rect::new(0, 0, 30, 6));
        let area = buf.area;
        draw_chord(&mut buf, area, "g", &hints, plain_look());
        insta::assert_snapshot!(symbols(&buf));
    }
}
