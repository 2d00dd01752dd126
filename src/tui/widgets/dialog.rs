//! The frame of a dialog, its buttons and its fields. What they mean is the page's business.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect, Size};
use ratatui::style::Style;

use super::edit::LineEdit;
use super::{Look, paint};
use crate::model::text::{Safe, columns};

/// A note in fewer columns would say nothing.
const SHORTEST_NOTE: u16 = 8;

/// Draws a line around `area`, with `title` in its upper and `note` at the right of it.
pub fn frame(buf: &mut Buffer, area: Rect, title: &str, note: &str, style: Style, look: Look<'_>) {
    let area = area.intersection(buf.area);
    if area.width < 2 || area.height < 2 {
        return;
    }
    let [upper_left, upper_right, lower_right, lower_left, flat, upright] = look.glyphs.frame;
    let (right, bottom) = (area.right() - 1, area.bottom() - 1);
    for x in area.left() + 1..right {
        buf[(x, area.top())].set_symbol(flat).set_style(style);
        buf[(x, bottom)].set_symbol(flat).set_style(style);
    }
    for y in area.top() + 1..bottom {
        buf[(area.left(), y)].set_symbol(upright).set_style(style);
        buf[(right, y)].set_symbol(upright).set_style(style);
    }
    for (x, y, sign) in [
        (area.left(), area.top(), upper_left),
        (right, area.top(), upper_right),
        (right, bottom, lower_right),
        (area.left(), bottom, lower_left),
    ] {
        buf[(x, y)].set_symbol(sign).set_style(style);
    }
    let room = area.width.saturating_sub(4);
    let titled = |buf: &mut Buffer, x: u16, room: u16, text: &str| {
        let ellipsis = look.glyphs.ellipsis;
        paint::pieces(
            buf,
            (x, area.top()),
            room,
            &[(" ", style), (text, look.theme.title), (" ", style)],
            ellipsis,
        )
    };
    let mut used = area.left() + 1;
    if !title.is_empty() {
        used = titled(buf, used, room, title);
    }
    let wide = u16::try_from(columns(note) + 2).unwrap_or(u16::MAX);
    if !note.is_empty() {
        // what does not fit is cut at its end: how a text is looked at stands first
        let wide = wide.min(right.saturating_sub(used + 1));
        if wide > SHORTEST_NOTE {
            titled(buf, right - wide, wide, note);
        }
    }
}

/// A dialog's place: in the middle of `screen`, at most as large as it. Clears what is below.
pub fn open(
    buf: &mut Buffer,
    screen: Rect,
    wanted: Size,
    title: &Safe,
    note: &str,
    look: Look<'_>,
) -> Rect {
    let width = wanted.width.saturating_add(4).min(screen.width);
    let height = wanted.height.saturating_add(2).min(screen.height);
    let area = Rect::new(
        screen.x + (screen.width - width) / 2,
        screen.y + (screen.height - height) / 2,
        width,
        height,
    )
    .intersection(buf.area);
    paint::fill(buf, area, look.theme.dialog);
    frame(buf, area, title.as_str(), note, look.theme.dialog_border, look);
    Rect::new(area.x + 2, area.y + 1, area.width.saturating_sub(4), area.height.saturating_sub(2))
}

/// Draws buttons at the right end of a line, the first leftmost.
pub fn buttons(
    buf: &mut Buffer,
    line: Rect,
    labels: &[&str],
    focused: Option<usize>,
    look: Look<'_>,
) {
    let Look { theme, glyphs } = look;
    let wide = |label: &str| u16::try_from(columns(label) + 4).unwrap_or(u16::MAX);
    let total: u16 = labels.iter().map(|label| wide(label) + 2).sum();
    let mut x = line.right().saturating_sub(total).max(line.left()) + 1;
    for (index, label) in labels.iter().enumerate() {
        let has_focus = focused == Some(index);
        let style = if has_focus { theme.button_focused } else { theme.button };
        let sign = if has_focus { glyphs.selected } else { " " };
        let room = line.right().saturating_sub(x);
        let end = paint::pieces(
            buf,
            (x, line.y),
            room,
            &[("[", style), (sign, style), (label, style), (" ]", style)],
            glyphs.ellipsis,
        );
        x = end + 2;
    }
}

/// Draws `label [value…]`; returns where the cursor belongs when the field has the focus.
pub fn field(
    buf: &mut Buffer,
    line: Rect,
    label: &str,
    edit: &LineEdit,
    focused: bool,
    look: Look<'_>,
) -> Option<Position> {
    let Look { theme, glyphs } = look;
    let line = line.intersection(buf.area);
    if line.is_empty() {
        return None;
    }
    let style = if focused { theme.title } else { theme.dialog_label };
    let used = paint::text(buf, (line.x, line.y), line.width, label, style, glyphs.ellipsis);
    let begin = (line.x + used + 1).min(line.right());
    let room = line.right() - begin;
    paint::fill(buf, Rect::new(begin, line.y, room, 1), theme.field);
    // As much of the end as fits, for the cursor stands there most of the time.
    let skipped = edit.column().saturating_sub(usize::from(room.saturating_sub(1)));
    let mut passed = 0;
    let shown = edit.text().char_indices().find_map(|(at, c)| {
        if passed >= skipped {
            return Some(&edit.text()[at..]);
        }
        passed += columns(c.encode_utf8(&mut [0; 4]));
        None
    });
    paint::text(
        buf,
        (begin, line.y),
        room,
        shown.unwrap_or_default(),
        theme.field,
        glyphs.ellipsis,
    );
    let x = begin + u16::try_from(edit.column() - skipped.min(edit.column())).unwrap_or(0);
    (focused && room > 0).then(|| Position::new(x.min(line.right() - 1), line.y))
}

/// Breaks a text into lines of at most `width` columns, between words where it can.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let last = lines.len() - 1;
        let used = columns(&lines[last]);
        if used > 0 && used + 1 + columns(word) <= width {
            lines[last].push(' ');
            lines[last].push_str(word);
            continue;
        }
        if used > 0 {
            lines.push(String::new());
        }
        for c in word.chars() {
            let last = lines.len() - 1;
            let wide = columns(c.encode_utf8(&mut [0; 4]));
            if columns(&lines[last]) + wide > width && !lines[last].is_empty() {
                lines.push(c.to_string());
            } else {
                lines[last].push(c);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::{plain_look, symbols};

    #[test]
    fn a_dialog_is_framed_and_its_focus_is_seen_without_colour() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 44, 7));
        let look = plain_look();
        let (title, screen) = (Safe::new("Scale pool triage"), buf.area);
        let inner = open(&mut buf, screen, Size::new(40, 3), &title, "tier 2", look);
        let edit = LineEdit::new("19");
        let cursor = field(&mut buf, Rect { height: 1, ..inner }, "to", &edit, true, look);
        buttons(
            &mut buf,
            Rect::new(inner.x, inner.y + 2, inner.width, 1),
            &["Cancel", "y Apply"],
            Some(0),
            look,
        );
        insta::assert_snapshot!(symbols(&buf));
        assert_eq!(cursor, Some(Position::new(7, 2)));
    }

    #[test]
    fn no_size_is_too_small_for_a_dialog() {
        for width in 0..12 {
            for height in 0..6 {
                let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
                let screen = buf.area;
                let inner = open(
                    &mut buf,
                    screen,
                    Size::new(40, 3),
                    &Safe::new("title"),
                    "note",
                    plain_look(),
                );
                field(&mut buf, inner, "label", &LineEdit::new("text"), true, plain_look());
                buttons(&mut buf, inner, &["Cancel", "OK"], Some(1), plain_look());
            }
        }
    }

    #[test]
    fn text_is_wrapped_between_words_and_inside_those_too_long() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a abcdefghij b", 4), ["a", "abcd", "efgh", "ij b"]);
        assert_eq!(wrap("世界世界", 4), ["世界", "世界"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
