//! Writing text into cells: one line, cut to its room, wide characters kept whole. The quick way for ASCII is what keeps
//! a frame of a large table below half a millisecond.

use std::ops::Range;

use ratatui::buffer::{Buffer, CellWidth};
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_segmentation::UnicodeSegmentation;

use crate::model::text::{Align, columns};

/// Writes `text` at (`x`, `y`) into at most `width` columns; returns how many it took.
///
/// What does not fit ends with `ellipsis`, one column wide.
pub fn text(
    buf: &mut Buffer,
    (x, y): (u16, u16),
    width: u16,
    text: &str,
    style: Style,
    ellipsis: &str,
) -> u16 {
    let width = width.min(buf.area.right().saturating_sub(x));
    if width == 0 || y >= buf.area.bottom() {
        return 0;
    }
    let room = usize::from(width);
    if text.is_ascii() {
        let fits = text.len() <= room;
        let shown = if fits { text } else { &text[..room - 1] };
        let mut at = x;
        for index in 0..shown.len() {
            buf[(at, y)].set_symbol(&shown[index..=index]).set_style(style);
            at += 1;
        }
        if !fits {
            buf[(at, y)].set_symbol(ellipsis).set_style(style);
            at += 1;
        }
        return at - x;
    }
    let fits = columns(text) <= room;
    let mut left = if fits { width } else { width - 1 };
    let mut at = x;
    for cluster in text.graphemes(true) {
        let wide = cluster.cell_width();
        if wide == 0 || cluster.contains(char::is_control) {
            continue;
        }
        if wide > left {
            break;
        }
        buf[(at, y)].set_symbol(cluster).set_style(style);
        for hidden in at + 1..at + wide {
            buf[(hidden, y)].reset();
            buf[(hidden, y)].set_style(style);
        }
        at += wide;
        left -= wide;
    }
    if !fits {
        buf[(at, y)].set_symbol(ellipsis).set_style(style);
        at += 1;
    }
    at - x
}

/// How much of a name's end is kept: as much as a cluster hangs on to the names of what it makes.
const TAIL: usize = 6;

/// Leaves out the middle of a name that is wider than `width`: names of one family differ at their ends. `hits` are bytes of
/// it; those in what is left out go.
pub fn shorten(name: &mut String, hits: &mut Vec<Range<usize>>, width: u16, ellipsis: &str) {
    let width = usize::from(width);
    if columns(name) <= width || width < 2 * TAIL {
        return; // the little there is room for is its beginning
    }
    let part = |text: &mut dyn Iterator<Item = &str>, room: usize| -> usize {
        let (mut taken, mut bytes) = (0, 0);
        for cluster in text {
            taken += usize::from(cluster.cell_width());
            if taken > room {
                break;
            }
            bytes += cluster.len();
        }
        bytes
    };
    let head = part(&mut name.graphemes(true), width - TAIL - 1);
    let tail = part(&mut name.graphemes(true).rev(), TAIL);
    let out = head..name.len() - tail;
    hits.retain(|hit| hit.end <= out.start || hit.start >= out.end);
    for hit in hits.iter_mut().filter(|hit| hit.start >= out.end) {
        let moved = |at: usize| at - out.end + out.start + ellipsis.len();
        *hit = moved(hit.start)..moved(hit.end);
    }
    name.replace_range(out, ellipsis);
}

/// Writes `text` into exactly `width` columns; returns where it begins.
pub fn aligned(
    buf: &mut Buffer,
    (x, y): (u16, u16),
    width: u16,
    content: &str,
    align: Align,
    style: Style,
    ellipsis: &str,
) -> u16 {
    let begin = match align {
        Align::Left => x,
        Align::Right => {
            let used = u16::try_from(columns(content)).unwrap_or(u16::MAX).min(width);
            x + (width - used)
        }
    };
    text(buf, (begin, y), width - (begin - x), content, style, ellipsis);
    begin
}

/// Gives the parts of a text already written at (`x`, `y`) another style. `ranges` are bytes of `text`.
pub fn emphasize(
    buf: &mut Buffer,
    (x, y): (u16, u16),
    width: u16,
    text: &str,
    ranges: &[Range<usize>],
    style: Style,
) {
    for range in ranges {
        let (Some(before), Some(part)) = (text.get(..range.start), text.get(range.clone())) else {
            continue;
        };
        let begin = u16::try_from(columns(before)).unwrap_or(u16::MAX);
        let long = u16::try_from(columns(part)).unwrap_or(u16::MAX);
        if begin >= width {
            continue;
        }
        let area = Rect::new(x + begin, y, long.min(width - begin), 1);
        buf.set_style(area.intersection(buf.area), style);
    }
}

/// Fills a line's part with blanks of a style.
pub fn fill(buf: &mut Buffer, area: Rect, style: Style) {
    let area = area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            let cell = &mut buf[(x, y)];
            cell.reset();
            cell.set_style(style);
        }
    }
}

/// Writes several pieces one after the other; returns the column after the last.
pub fn pieces(
    buf: &mut Buffer,
    (x, y): (u16, u16),
    width: u16,
    parts: &[(&str, Style)],
    ellipsis: &str,
) -> u16 {
    let mut at = x;
    let end = x.saturating_add(width);
    for (part, style) in parts {
        at += text(buf, (at, y), end.saturating_sub(at), part, *style, ellipsis);
    }
    at
}

#[cfg(test)]
mod tests {
    use ratatui::style::Color;

    use super::*;

    fn line(width: u16, content: &str, align: Align) -> String {
        let mut buf = Buffer::empty(Rect::new(0, 0, width, 1));
        aligned(&mut buf, (0, 0), width, content, align, Style::new(), "…");
        buf.content.iter().map(ratatui::buffer::Cell::symbol).collect()
    }

    #[test]
    fn a_text_is_cut_where_its_room_ends_and_wide_characters_stay_whole() {
        assert_eq!(line(6, "abc", Align::Left), "abc   ");
        assert_eq!(line(6, "abc", Align::Right), "   abc");
        assert_eq!(line(6, "abcdefg", Align::Left), "abcde…");
        assert_eq!(line(6, "世界世界", Align::Left), "世 界 … ");
        assert_eq!(line(6, "世界世", Align::Left), "世 界 世 ");
        assert_eq!(line(1, "abc", Align::Right), "…");
        assert_eq!(line(0, "abc", Align::Left), "");
    }

    #[test]
    fn names_of_one_family_keep_what_tells_them_apart() {
        let short = |name: &str, width: u16| {
            let mut name = name.to_owned();
            shorten(&mut name, &mut Vec::new(), width, "…");
            name
        };
        let mut name = "agent-pool-01a2-7f6d9-x7k2p".to_owned();
        let mut hits = vec![0..5, 8..14, 22..27];
        shorten(&mut name, &mut hits, 16, "…");
        let hit: Vec<&str> = hits.iter().map(|hit| &name[hit.clone()]).collect();
        assert_eq!(hit, ["agent", "x7k2p"]);
        assert_eq!(short("agent-pool-01a2-7f6d9-x7k2p", 16), "agent-poo…-x7k2p");
        assert_eq!(short("fits", 16), "fits");
        assert_eq!(short("agent-pool-x7k2p", 11), "agent-pool-x7k2p", "cut where it is drawn");
        assert_eq!(short("世界世界世界世界世界", 14), "世界世…界世界");
    }

    #[test]
    fn emphasis_counts_columns_not_bytes() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 8, 1));
        text(&mut buf, (0, 0), 8, "é世ab", Style::new(), "…");
        emphasize(&mut buf, (0, 0), 8, "é世ab", &[5..6], Style::new().fg(Color::Red));
        let red: Vec<usize> = (0..8).filter(|x| buf.content[*x].fg == Color::Red).collect();
        assert_eq!(red, [3]);
    }

    #[test]
    fn nothing_is_written_outside_the_screen() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 4, 1));
        assert_eq!(text(&mut buf, (3, 0), 10, "abc", Style::new(), "…"), 1);
        assert_eq!(text(&mut buf, (9, 0), 10, "abc", Style::new(), "…"), 0);
        assert_eq!(text(&mut buf, (0, 5), 10, "abc", Style::new(), "…"), 0);
        fill(&mut buf, Rect::new(2, 0, 50, 50), Style::new());
    }
}
