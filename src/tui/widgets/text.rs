//! Text to be read: descriptions, documents, logs. Only the lines in sight are asked for; long ones are cut or wrapped,
//! hits of a search shown. Where the lines come from is the page's business.

use std::fmt;
use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use regex::Regex;
use unicode_segmentation::UnicodeSegmentation;

use super::{Look, paint};
use crate::model::text::{Safe, columns};

/// One line in pieces of different style; used again for every line.
#[derive(Debug, Default)]
pub struct Pieces {
    text: String,
    /// Where each piece ends, and its style.
    runs: Vec<(usize, Style)>,
}

impl Pieces {
    pub fn safe(&mut self, text: &Safe, style: Style) -> &mut Self {
        self.push(text.as_str(), style)
    }

    pub fn word(&mut self, text: &'static str, style: Style) -> &mut Self {
        self.push(text, style)
    }

    /// For numbers and times of ours.
    pub fn put(&mut self, arguments: fmt::Arguments<'_>, style: Style) -> &mut Self {
        self.push(Safe::new(&arguments.to_string()).as_str(), style)
    }

    fn push(&mut self, text: &str, style: Style) -> &mut Self {
        self.text.push_str(text);
        self.runs.push((self.text.len(), style));
        self
    }

    /// Becomes a copy of `other`.
    pub fn take(&mut self, other: &Self) {
        self.text.clone_from(&other.text);
        self.runs.clone_from(&other.runs);
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.runs.clear();
    }
}

/// Where the lines come from.
pub trait Lines {
    fn count(&self) -> usize;
    fn line(&self, index: usize, look: Look<'_>, out: &mut Pieces);
    /// How many bytes at the beginning of a line stay where they are while the rest is scrolled sideways.
    fn anchor(&self, _index: usize) -> usize {
        0
    }
}

/// What a text view remembers between frames.
#[derive(Debug, Clone, Default)]
pub struct TextState {
    /// The first line in sight, counted among those shown.
    pub top: usize,
    /// Columns scrolled out on the left, while lines are cut.
    pub left: usize,
    pub wrap: bool,
    /// The beginnings of lines stay in sight while the rest is scrolled sideways.
    pub locked: bool,
    /// Keeps the last line in sight.
    pub follow: bool,
    /// The line that keys act on, where lines can be folded.
    pub cursor: Option<usize>,
    pub search: Option<Regex>,
    /// The line of the current hit.
    pub hit: Option<usize>,
}

impl TextState {
    /// Scrolls sideways until the first match in this line is in sight.
    pub fn reveal(&mut self, lines: &dyn Lines, line: usize, width: u16, look: Look<'_>) {
        let Some(search) = self.search.as_ref().filter(|_| !self.wrap && width > 0) else { return };
        let mut pieces = Pieces::default();
        lines.line(line, look, &mut pieces);
        let Some(found) = search.find(&pieces.text) else { return };
        let (begin, end) =
            (columns(&pieces.text[..found.start()]), columns(&pieces.text[..found.end()]));
        let width = usize::from(width);
        if begin < self.left || end > self.left + width {
            self.left = if end <= width { 0 } else { begin.saturating_sub(width / 3) };
        }
    }
}

/// What a text view looked like, for the next key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextHits {
    pub top: usize,
    /// Lines (not rows) wholly or partly in sight.
    pub lines: usize,
    pub height: u16,
    pub width: u16,
}

pub struct TextView<'a> {
    pub lines: &'a dyn Lines,
    /// The lines that a filter left, in order; all when `None`.
    pub shown: Option<&'a [u32]>,
    pub state: &'a TextState,
    pub look: Look<'a>,
}

impl TextView<'_> {
    fn count(&self) -> usize {
        self.shown.map_or_else(|| self.lines.count(), <[u32]>::len)
    }

    fn index(&self, position: usize) -> usize {
        match self.shown {
            None => position,
            Some(shown) => shown.get(position).map_or(usize::MAX, |line| *line as usize),
        }
    }

    pub fn draw(&self, area: Rect, buf: &mut Buffer) -> TextHits {
        let area = area.intersection(buf.area);
        if area.is_empty() {
            return TextHits::default();
        }
        let mut pieces = Pieces::default();
        let top = self.top(area, &mut pieces);
        let mut y = area.top();
        let mut position = top;
        while position < self.count() && y < area.bottom() {
            self.read(position, &mut pieces);
            y = self.line(position, &pieces, Rect { y, height: area.bottom() - y, ..area }, buf);
            position += 1;
        }
        TextHits { top, lines: position - top, height: area.height, width: area.width }
    }

    fn read(&self, position: usize, pieces: &mut Pieces) {
        pieces.clear();
        self.lines.line(self.index(position), self.look, pieces);
    }

    fn top(&self, area: Rect, pieces: &mut Pieces) -> usize {
        let last = self.last_top(area, pieces);
        if self.state.follow { last } else { self.state.top.min(last) }
    }

    /// The first line in sight when the last one is at the bottom.
    fn last_top(&self, area: Rect, pieces: &mut Pieces) -> usize {
        let count = self.count();
        if !self.state.wrap {
            return count.saturating_sub(usize::from(area.height));
        }
        let mut rows = 0;
        let mut top = count;
        while top > 0 {
            self.read(top - 1, pieces);
            rows += pieces_rows(&pieces.text, usize::from(area.width));
            if rows > usize::from(area.height) && top < count {
                break;
            }
            top -= 1;
        }
        top
    }

    /// Draws one line; returns the row after it.
    fn line(&self, position: usize, pieces: &Pieces, area: Rect, buf: &mut Buffer) -> u16 {
        let hits = match &self.state.search {
            Some(search) => search.find_iter(&pieces.text).map(|hit| hit.range()).collect(),
            None => Vec::new(),
        };
        let is_cursor = self.state.cursor == Some(position);
        let is_hit = self.state.hit == Some(position);
        let mut y = area.y;
        if self.state.locked && self.state.left > 0 && !self.state.wrap {
            return self.locked_line(position, pieces, &hits, area, buf);
        }
        let rows = if self.state.wrap {
            wrapped(&pieces.text, usize::from(area.width))
        } else {
            Vec::from([window(&pieces.text, self.state.left)..pieces.text.len()])
        };
        for row in rows {
            if y >= area.bottom() {
                break;
            }
            self.row(pieces, row.clone(), (area.x, y), area.width, buf);
            for hit in &hits {
                let part = hit.start.max(row.start)..hit.end.min(row.end);
                if part.start < part.end {
                    let part = part.start - row.start..part.end - row.start;
                    let text = &pieces.text[row.clone()];
                    let style = self.look.theme.hit;
                    paint::emphasize(buf, (area.x, y), area.width, text, &[part], style);
                }
            }
            if is_cursor || (is_hit && hits.is_empty()) {
                let style = self.look.theme.row_selected;
                buf.set_style(Rect::new(area.x, y, area.width, 1), style);
            }
            y += 1;
        }
        y
    }

    /// A line whose beginning stays where it is.
    fn locked_line(
        &self,
        position: usize,
        pieces: &Pieces,
        hits: &[Range<usize>],
        area: Rect,
        buf: &mut Buffer,
    ) -> u16 {
        let anchor = self.lines.anchor(self.index(position)).min(pieces.text.len());
        let rest = anchor + window(&pieces.text[anchor..], self.state.left);
        let kept = u16::try_from(columns(&pieces.text[..anchor])).unwrap_or(u16::MAX);
        let kept = kept.min(area.width);
        self.row(pieces, 0..anchor, (area.x, area.y), kept, buf);
        let (x, width) = (area.x + kept, area.width - kept);
        self.row(pieces, rest..pieces.text.len(), (x, area.y), width, buf);
        for hit in hits.iter().filter(|hit| hit.end > rest) {
            let part = hit.start.max(rest) - rest..hit.end - rest;
            let text = &pieces.text[rest..];
            paint::emphasize(buf, (x, area.y), width, text, &[part], self.look.theme.hit);
        }
        area.y + 1
    }

    fn row(
        &self,
        pieces: &Pieces,
        row: Range<usize>,
        (x, y): (u16, u16),
        width: u16,
        buf: &mut Buffer,
    ) {
        let mut begin = 0;
        let mut at = x;
        let ellipsis = if self.state.wrap { "" } else { self.look.glyphs.ellipsis };
        for (end, style) in &pieces.runs {
            let part = begin.max(row.start)..(*end).min(row.end);
            begin = *end;
            if part.start < part.end {
                let room = (x + width).saturating_sub(at);
                at += paint::text(buf, (at, y), room, &pieces.text[part], *style, ellipsis);
            }
        }
    }
}

/// How many rows of `width` a line takes.
fn pieces_rows(text: &str, width: usize) -> usize {
    if text.is_ascii() {
        text.len().div_ceil(width.max(1)).max(1)
    } else {
        wrapped(text, width).len()
    }
}

/// The parts of a line that fit into rows of `width`; at least one.
fn wrapped(text: &str, width: usize) -> Vec<Range<usize>> {
    let mut rows = Vec::new();
    let (mut begin, mut used) = (0, 0);
    for (at, cluster) in text.grapheme_indices(true) {
        let wide = columns(cluster);
        if used + wide > width && at > begin {
            rows.push(begin..at);
            (begin, used) = (at, 0);
        }
        used += wide;
    }
    rows.push(begin..text.len());
    rows
}

/// Where the text begins when `left` columns are scrolled out.
fn window(text: &str, left: usize) -> usize {
    if left == 0 {
        return 0;
    }
    let mut passed = 0;
    for (at, cluster) in text.grapheme_indices(true) {
        if passed >= left {
            return at;
        }
        passed += columns(cluster);
    }
    text.len()
}

/// The next line after `from` that `search` finds, going around the end; `None` when there is none.
pub fn find(
    lines: &dyn Lines,
    shown: Option<&[u32]>,
    search: &Regex,
    from: Option<usize>,
    forward: bool,
    look: Look<'_>,
) -> Option<usize> {
    let count = shown.map_or_else(|| lines.count(), <[u32]>::len);
    let mut pieces = Pieces::default();
    let mut found = |position: usize| {
        pieces.clear();
        let index = shown.map_or(position, |shown| shown[position] as usize);
        lines.line(index, look, &mut pieces);
        search.is_match(&pieces.text)
    };
    let start = match (from, forward) {
        (None, true) => 0,
        (None, false) => count.saturating_sub(1),
        (Some(from), true) => from + 1,
        (Some(from), false) => (from + count).saturating_sub(1),
    };
    (0..count)
        .map(|step| if forward { (start + step) % count } else { (start + count - step) % count })
        .find(|position| found(*position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::{plain_look, symbols};

    struct Poem(Vec<Safe>);

    impl Lines for Poem {
        fn count(&self) -> usize {
            self.0.len()
        }
        fn line(&self, index: usize, look: Look<'_>, out: &mut Pieces) {
            out.put(format_args!("{index} "), look.theme.muted);
            out.safe(&self.0[index], look.theme.text);
        }
    }

    fn poem() -> Poem {
        Poem(["alpha beta", "世界世界世界", "gamma", "delta alpha", "omega"].map(Safe::new).into())
    }

    fn drawn(
        state: &TextState,
        shown: Option<&[u32]>,
        width: u16,
        height: u16,
    ) -> (String, TextHits) {
        let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
        let poem = poem();
        let view = TextView { lines: &poem, shown, state, look: plain_look() };
        let hits = view.draw(buf.area, &mut buf);
        (symbols(&buf), hits)
    }

    #[test]
    fn long_lines_are_cut_scrolled_or_wrapped() {
        assert_eq!(drawn(&TextState::default(), None, 8, 2).0, "0 alpha…\n1 世界…\n");
        let state = TextState { left: 4, ..TextState::default() };
        assert_eq!(drawn(&state, None, 8, 2).0, "pha beta\n界世界…\n");
        let state = TextState { wrap: true, ..TextState::default() };
        assert_eq!(drawn(&state, None, 8, 4).0, "0 alpha\nbeta\n1 世界世\n界世界\n");
    }

    #[test]
    fn a_locked_beginning_stays_while_the_rest_is_scrolled() {
        struct Log(Poem);
        impl Lines for Log {
            fn count(&self) -> usize {
                self.0.count()
            }
            fn line(&self, index: usize, look: Look<'_>, out: &mut Pieces) {
                self.0.line(index, look, out);
            }
            fn anchor(&self, _: usize) -> usize {
                2
            }
        }
        let state = TextState { left: 3, locked: true, ..TextState::default() };
        let mut buf = Buffer::empty(Rect::new(0, 0, 20, 2));
        let lines = Log(poem());
        TextView { lines: &lines, shown: None, state: &state, look: plain_look() }
            .draw(buf.area, &mut buf);
        assert_eq!(symbols(&buf), "0 ha beta\n1 世界世界\n");
    }

    #[test]
    fn following_keeps_the_last_line_in_sight() {
        let state = TextState { follow: true, ..TextState::default() };
        let (shown, hits) = drawn(&state, None, 20, 2);
        assert_eq!((shown.as_str(), hits.top), ("3 delta alpha\n4 omega\n", 3));
        let state = TextState { follow: true, wrap: true, ..TextState::default() };
        let (shown, hits) = drawn(&state, None, 8, 3);
        assert_eq!((shown.as_str(), hits.top), ("3 delta\nalpha\n4 omega\n", 3));
    }

    #[test]
    fn a_filter_leaves_its_lines_and_the_view_never_runs_past_the_end() {
        let state = TextState { top: 99, ..TextState::default() };
        let (shown, hits) = drawn(&state, Some(&[0, 3]), 20, 1);
        assert_eq!((shown.as_str(), hits.top, hits.lines), ("3 delta alpha\n", 1, 1));
    }

    #[test]
    fn a_search_goes_around_the_end() {
        let (poem, look) = (poem(), plain_look());
        let search = Regex::new("alpha").unwrap();
        let next = |from, forward| find(&poem, None, &search, from, forward, look);
        assert_eq!(next(None, true), Some(0));
        assert_eq!(next(Some(0), true), Some(3));
        assert_eq!(next(Some(3), true), Some(0));
        assert_eq!(next(Some(0), false), Some(3));
        assert_eq!(find(&poem, Some(&[2, 4]), &search, None, true, look), None);
        assert_eq!(find(&Poem(Vec::new()), None, &search, Some(3), true, look), None);
    }
}
