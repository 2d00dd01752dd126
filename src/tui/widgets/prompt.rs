//! The line where commands, filters and searches are typed, with ghost text behind it and suggestions below.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::edit::LineEdit;
use super::{Look, paint};
use crate::model::text::{Safe, columns};

/// Suggestions in sight at once.
pub const SUGGESTIONS: usize = 8;

/// One line to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// What the line becomes when it is taken.
    pub line: String,
    pub shown: Safe,
    /// What kind of thing it is, on the right.
    pub note: Safe,
}

pub struct Prompt<'a> {
    /// What stands before the text: `:` or `/`.
    pub sign: &'static str,
    pub edit: &'a LineEdit,
    /// What the suggestion would add, behind the cursor.
    pub ghost: &'a str,
    /// What is wrong with the line.
    pub error: Option<&'a Safe>,
    pub look: Look<'a>,
}

impl Prompt<'_> {
    /// Draws one line; returns where the cursor belongs.
    pub fn draw(&self, area: Rect, buf: &mut Buffer) -> Option<Position> {
        let area = area.intersection(buf.area);
        if area.is_empty() {
            return None;
        }
        let Look { theme, glyphs } = self.look;
        let line = Rect { height: 1, ..area };
        paint::fill(buf, line, theme.prompt_text);
        let room = usize::from(area.width).saturating_sub(columns(self.sign) + 1);
        // A line longer than its room is shown around the cursor.
        let column = self.edit.column();
        let skipped = column.saturating_sub(room);
        let visible = from_column(self.edit.text(), skipped);
        let end = paint::pieces(
            buf,
            (area.x, area.y),
            area.width,
            &[
                (self.sign, theme.prompt_sign),
                (visible, theme.prompt_text),
                (self.ghost, theme.prompt_ghost),
            ],
            glyphs.ellipsis,
        );
        if let Some(error) = self.error {
            let from = end + 2;
            let room = area.right().saturating_sub(from);
            paint::text(
                buf,
                (from, area.y),
                room,
                error.as_str(),
                theme.prompt_error,
                glyphs.ellipsis,
            );
        }
        let cursor = columns(self.sign) + column - skipped;
        let x = area.x.saturating_add(u16::try_from(cursor).unwrap_or(u16::MAX));
        Some(Position::new(x.min(area.right() - 1), area.y))
    }
}

/// The rest of `text` after `skipped` columns.
fn from_column(text: &str, skipped: usize) -> &str {
    let mut passed = 0;
    for (at, c) in text.char_indices() {
        if passed >= skipped {
            return &text[at..];
        }
        passed += columns(c.encode_utf8(&mut [0; 4]));
    }
    ""
}

/// Draws the suggestions as a box whose upper left corner is at the upper left of `area`.
pub fn draw_suggestions(
    suggestions: &[Suggestion],
    chosen: Option<usize>,
    area: Rect,
    look: Look<'_>,
    buf: &mut Buffer,
) {
    let Look { theme, glyphs } = look;
    let count = u16::try_from(suggestions.len().min(SUGGESTIONS)).unwrap_or(0);
    let wide = suggestions.iter().map(|it| it.shown.width() + it.note.width() + 5).max();
    let width = u16::try_from(wide.unwrap_or(0)).unwrap_or(u16::MAX).clamp(24, area.width.max(24));
    let area = Rect { width, height: count, ..area }.intersection(buf.area).intersection(area);
    if area.is_empty() {
        return;
    }
    let first = chosen.map_or(0, |chosen| (chosen + 1).saturating_sub(SUGGESTIONS));
    for ((index, it), y) in
        suggestions.iter().enumerate().skip(first).zip(area.top()..area.bottom())
    {
        let is_chosen = chosen == Some(index);
        let style = if is_chosen { theme.suggestion_chosen } else { theme.crumb };
        paint::fill(buf, Rect::new(area.x, y, area.width, 1), style);
        let sign = if is_chosen { glyphs.selected } else { " " };
        paint::text(buf, (area.x, y), 1, sign, style, "");
        let note = u16::try_from(it.note.width()).unwrap_or(u16::MAX).min(area.width / 2);
        let room = area.width.saturating_sub(note + 4);
        paint::text(buf, (area.x + 2, y), room, it.shown.as_str(), style, glyphs.ellipsis);
        let at = area.right().saturating_sub(note + 1);
        paint::text(buf, (at, y), note, it.note.as_str(), style, glyphs.ellipsis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::{plain_look, symbols};

    fn drawn(
        text: &str,
        ghost: &str,
        error: Option<&Safe>,
        width: u16,
    ) -> (String, Option<Position>) {
        let mut buf = Buffer::empty(Rect::new(0, 0, width, 1));
        let edit = LineEdit::new(text);
        let prompt = Prompt { sign: ":", edit: &edit, ghost, error, look: plain_look() };
        let cursor = prompt.draw(buf.area, &mut buf);
        (symbols(&buf).trim_end().to_owned(), cursor)
    }

    #[test]
    fn the_ghost_stands_behind_what_was_typed() {
        assert_eq!(drawn("ag", "ents", None, 20), (":agents".into(), Some(Position::new(3, 0))));
    }

    #[test]
    fn an_error_stands_on_the_same_line() {
        let error = Safe::new("no regex");
        assert_eq!(drawn("a(", "", Some(&error), 20).0, ":a(  no regex");
    }

    #[test]
    fn a_long_line_is_shown_around_the_cursor() {
        let (shown, cursor) = drawn("abcdefghij", "", None, 6);
        assert_eq!((shown.as_str(), cursor), (":ghij", Some(Position::new(5, 0))));
    }

    #[test]
    fn the_chosen_suggestion_is_in_sight() {
        let all: Vec<Suggestion> = (0..20)
            .map(|n| Suggestion {
                line: String::new(),
                shown: Safe::new(&format!("item {n}")),
                note: Safe::new("view"),
            })
            .collect();
        let mut buf = Buffer::empty(Rect::new(0, 0, 30, 10));
        draw_suggestions(&all, Some(15), Rect::new(0, 1, 30, 9), plain_look(), &mut buf);
        let shown = symbols(&buf);
        assert!(
            shown.contains("▌ item 15") && !shown.contains("item 16") && shown.contains("view"),
            "{shown}"
        );
    }
}
