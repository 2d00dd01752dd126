//! From two pictures to the fewest bytes that turn one into the other. Pure: no I/O, no clock.
//!
//! It is also the last barrier before the terminal: a cell that holds anything but printable text is shown as `?`,
//! whatever the widgets above let through.

use ratatui::buffer::{Buffer, Cell, CellWidth};
use ratatui::layout::Position;
use ratatui::style::{Color, Modifier};

use super::Frame;
use super::scroll::{self, Shift};
use super::sgr::Sgr;

/// A run of blanks at the end of a line is erased rather than written from this length on.
const ERASE_FROM: usize = 4;
/// Cells that did not change are written again rather than jumped over, up to this many.
const BRIDGE: usize = 3;

/// Knows what the terminal shows, as far as its own bytes made it so.
#[derive(Debug, Default)]
pub struct Encoder {
    /// Wraps each frame in `CSI ?2026h` … `l`.
    pub synchronized: bool,
    shown: Option<Buffer>,
    /// `None`: unknown, so the next move is an absolute one.
    at: Option<Position>,
    pen: Sgr,
    /// Whether the cursor shows and where it was left; `None`: unknown.
    cursor: Option<Option<Position>>,
    dirty: Vec<bool>,
}

impl Encoder {
    /// Forgets what the terminal shows: the next frame clears it first.
    pub fn forget(&mut self) {
        self.shown = None;
    }

    /// What the terminal shows, once it was drawn on.
    pub fn shown(&self) -> Option<&Buffer> {
        self.shown.as_ref()
    }

    /// Appends to `out` what turns the last frame into `frame`; nothing when they are alike.
    ///
    /// Returns the buffer of the frame before, to be drawn into again.
    pub fn frame(&mut self, frame: Frame, out: &mut Vec<u8>) -> Option<Buffer> {
        let begin = out.len();
        if self.synchronized {
            out.extend_from_slice(b"\x1b[?2026h");
        }
        let opened = out.len();
        let Frame { buffer, cursor } = frame;
        let before = match self.shown.take() {
            Some(before) if before.area == buffer.area => before,
            _ => self.clear(&buffer, out),
        };
        let mut before = before;
        let mut changed = changed_lines(&before, &buffer);
        if let Some(shift) = scroll::find(&before, &buffer, &changed) {
            self.scroll(shift, &mut before, out);
            changed = changed_lines(&before, &buffer);
        }
        for y in changed {
            self.line(&before, &buffer, y, out);
        }
        self.place_cursor(cursor, out);
        if out.len() == opened {
            out.truncate(begin);
        } else if self.synchronized {
            out.extend_from_slice(b"\x1b[?2026l");
        }
        self.shown = Some(buffer);
        Some(before)
    }

    fn clear(&mut self, like: &Buffer, out: &mut Vec<u8>) -> Buffer {
        out.extend_from_slice(b"\x1b[0m\x1b[2J");
        self.pen = Sgr::default();
        self.at = None;
        self.cursor = None;
        Buffer::empty(like.area)
    }

    /// Lets the terminal move a band of lines, and does the same to `before`.
    fn scroll(&mut self, shift: Shift, before: &mut Buffer, out: &mut Vec<u8>) {
        // What comes in takes the colours of the pen.
        self.pen.set(&Cell::EMPTY, out);
        out.extend_from_slice(b"\x1b[");
        number(out, shift.top + 1);
        out.push(b';');
        number(out, shift.bottom);
        out.push(b'r');
        csi(out, shift.by, if shift.up { b'S' } else { b'T' });
        out.extend_from_slice(b"\x1b[r");
        self.at = None;
        shift.apply(before);
    }

    fn line(&mut self, before: &Buffer, after: &Buffer, y: u16, out: &mut Vec<u8>) {
        let width = usize::from(after.area.width);
        let row = usize::from(y) * width;
        let (old, new) = (&before.content[row..row + width], &after.content[row..row + width]);
        let mut dirty = std::mem::take(&mut self.dirty);
        mark(old, new, &mut dirty);
        let blank_from =
            new.len() - new.iter().rev().take_while(|cell| is_plain_blank(cell)).count();
        let mut x = 0;
        while x < width {
            if !dirty[x] {
                x += 1;
                continue;
            }
            let rest_dirty = dirty[x..].iter().filter(|dirty| **dirty).count();
            if x >= blank_from && rest_dirty >= ERASE_FROM {
                self.go(x, y, new, out);
                self.pen.set(&Cell::EMPTY, out);
                out.extend_from_slice(b"\x1b[K");
                break;
            }
            self.go(x, y, new, out);
            x += self.put(&new[x], x, y, width, out);
        }
        self.dirty = dirty;
    }

    /// Writes one cell; returns how many columns it took.
    fn put(&mut self, cell: &Cell, x: usize, y: u16, width: usize, out: &mut Vec<u8>) -> usize {
        self.pen.set(cell, out);
        let (symbol, wide) = printable(cell, width - x);
        out.extend_from_slice(symbol.as_bytes());
        let next = x + wide;
        // Terminals disagree on how wide a composed or pictorial character is, and on where the
        // cursor rests after the last column: believe neither.
        let certain = next < width && symbol.chars().nth(1).is_none() && !pictorial(symbol);
        self.at = certain.then(|| Position::new(narrow(next), y));
        wide
    }

    /// Moves the cursor to (`x`, `y`) by the shortest way known.
    fn go(&mut self, x: usize, y: u16, line: &[Cell], out: &mut Vec<u8>) {
        let to = Position::new(narrow(x), y);
        let from = self.at.replace(to);
        if from == Some(to) {
            return;
        }
        match from {
            Some(at) if at.y == y && at.x < to.x => {
                let skipped = &line[usize::from(at.x)..x];
                // The cursor may have been left on the second half of a wide character.
                let whole = at.x == 0 || line[usize::from(at.x) - 1].symbol().len() == 1;
                if whole
                    && skipped.len() <= BRIDGE
                    && skipped.iter().all(|cell| self.pen.bridges(cell))
                {
                    skipped.iter().for_each(|cell| out.extend_from_slice(cell.symbol().as_bytes()));
                } else {
                    csi(out, to.x - at.x, b'C');
                }
            }
            // One or two lines down: a carriage return and line feeds beat naming the place.
            Some(at) if at.y < y && y - at.y <= 3 && to.x == 0 => {
                out.push(b'\r');
                out.extend((at.y..y).map(|_| b'\n'));
            }
            Some(at) if at.y == y && to.x == 0 => out.push(b'\r'),
            Some(at) if at.y < y && at.x == to.x => csi(out, y - at.y, b'B'),
            _ if to.x == 0 => csi(out, y + 1, b'H'),
            _ => {
                out.extend_from_slice(b"\x1b[");
                number(out, y + 1);
                out.push(b';');
                number(out, to.x + 1);
                out.push(b'H');
            }
        }
    }

    fn place_cursor(&mut self, cursor: Option<Position>, out: &mut Vec<u8>) {
        match cursor {
            None => {
                if self.cursor != Some(None) {
                    out.extend_from_slice(b"\x1b[?25l");
                }
            }
            Some(to) => {
                if self.at != Some(to) {
                    self.at = None;
                    self.go(usize::from(to.x), to.y, &[], out);
                }
                if !matches!(self.cursor, Some(Some(_))) {
                    out.extend_from_slice(b"\x1b[?25h");
                }
            }
        }
        self.cursor = Some(cursor);
    }
}

/// The lines that are not as they were. The whole screen is gone through but once a frame: that is most of what a frame
/// in which little changes costs here.
fn changed_lines(before: &Buffer, after: &Buffer) -> Vec<u16> {
    let width = usize::from(after.area.width).max(1);
    let lines = before.content.chunks_exact(width).zip(after.content.chunks_exact(width));
    let differs = |(old, new): (&[Cell], &[Cell])| !old.iter().zip(new).all(|(o, n)| alike(o, n));
    (0..).zip(lines).filter(|(_, lines)| differs(*lines)).map(|(y, _)| y).collect()
}

/// Whether two cells look alike. Nearly all hold one byte or none, which is compared here rather than by a call.
fn alike(one: &Cell, other: &Cell) -> bool {
    let symbols = match (one.symbol().as_bytes(), other.symbol().as_bytes()) {
        ([one], [other]) => one == other,
        (one, other) => one == other,
    };
    symbols && one.fg == other.fg && one.bg == other.bg && one.modifier == other.modifier
}

/// Marks the columns of a line that must be written again.
///
/// Overwriting one half of a wide character makes a terminal blank the other half, so both halves of a wide character
/// that came or went are dirty.
fn mark(old: &[Cell], new: &[Cell], dirty: &mut Vec<bool>) {
    dirty.clear();
    dirty.extend(old.iter().zip(new).map(|(old, new)| !alike(old, new)));
    if old.iter().chain(new).all(|cell| cell.symbol().len() == 1) {
        return;
    }
    // Dirt spreads from an old wide character into a new one that overlaps it, and on: until it comes to rest.
    let mut spread = true;
    while spread {
        spread = false;
        for cells in [old, new] {
            let mut x = 0;
            while x < cells.len() {
                let wide = printable(&cells[x], cells.len() - x).1;
                let both = &mut dirty[x..x + wide];
                if both.contains(&true) && both.contains(&false) {
                    both.fill(true);
                    spread = true;
                }
                x += wide;
            }
        }
    }
}

/// What of a cell may reach the terminal, and how many columns it takes (1 or 2).
fn printable(cell: &Cell, room: usize) -> (&str, usize) {
    let symbol = cell.symbol();
    if let [byte] = symbol.as_bytes() {
        return if (b' '..0x7f).contains(byte) { (symbol, 1) } else { ("?", 1) };
    }
    if symbol.is_empty() {
        return (" ", 1);
    }
    if symbol.chars().any(forbidden) {
        return ("?", 1);
    }
    match usize::from(symbol.cell_width()) {
        1 => (symbol, 1),
        2 if room >= 2 => (symbol, 2),
        _ => ("?", 1),
    }
}

/// Characters that steer a terminal or the reading direction instead of showing something.
pub fn forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

fn pictorial(symbol: &str) -> bool {
    symbol.chars().next().is_some_and(|c| matches!(c, '\u{2600}'..='\u{27bf}' | '\u{1f000}'..))
}

fn is_plain_blank(cell: &Cell) -> bool {
    cell.symbol() == " "
        && cell.bg == Color::Reset
        && !cell
            .modifier
            .intersects(Modifier::REVERSED | Modifier::UNDERLINED | Modifier::CROSSED_OUT)
}

fn narrow(x: usize) -> u16 {
    u16::try_from(x).unwrap_or(u16::MAX)
}

fn csi(out: &mut Vec<u8>, n: u16, end: u8) {
    out.extend_from_slice(b"\x1b[");
    if n != 1 {
        number(out, n);
    }
    out.push(end);
}

/// Appends `n` in decimal.
pub(super) fn number(out: &mut Vec<u8>, n: u16) {
    let mut digits = [0; 5];
    let mut begin = digits.len();
    let mut rest = n;
    loop {
        begin -= 1;
        digits[begin] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    fn terminal(width: u16, height: u16) -> vt100::Parser {
        vt100::Parser::new(height.try_into().unwrap(), width.try_into().unwrap(), 0)
    }

    fn colour(color: Color) -> vt100::Color {
        match color {
            Color::Reset => vt100::Color::Default,
            Color::Indexed(n) => vt100::Color::Idx(n),
            Color::Rgb(r, g, b) => vt100::Color::Rgb(r, g, b),
            named => vt100::Color::Idx(crate::tui::writer::sgr::ansi(named).unwrap()),
        }
    }

    /// Fails unless the terminal shows exactly what the buffer holds.
    fn shows(parser: &vt100::Parser, buffer: &Buffer) {
        let screen = parser.screen();
        for y in 0..buffer.area.height {
            let mut x = 0;
            while x < buffer.area.width {
                let cell = &buffer[(x, y)];
                let on_screen = screen.cell(y, x).unwrap();
                let (symbol, wide) = printable(cell, usize::from(buffer.area.width - x));
                let contents = match on_screen.contents() {
                    "" => " ",
                    contents => contents,
                };
                assert_eq!(contents, symbol, "at {x},{y}");
                let plain_blank = is_plain_blank(cell);
                assert_eq!(on_screen.bgcolor(), colour(cell.bg), "background at {x},{y}");
                if !plain_blank {
                    assert_eq!(on_screen.fgcolor(), colour(cell.fg), "colour at {x},{y}");
                    assert_eq!(on_screen.bold(), cell.modifier.contains(Modifier::BOLD));
                    assert_eq!(on_screen.italic(), cell.modifier.contains(Modifier::ITALIC));
                    assert_eq!(on_screen.inverse(), cell.modifier.contains(Modifier::REVERSED));
                    assert_eq!(on_screen.underline(), cell.modifier.contains(Modifier::UNDERLINED));
                }
                x += u16::try_from(wide).unwrap();
            }
        }
    }

    fn symbols() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            8 => Just(" "),
            8 => prop::sample::select(vec!["a", "b", "Z", "0", "~", "│", "é", "▁"]),
            3 => prop::sample::select(vec!["世", "界", "ア", "한"]),
            1 => prop::sample::select(vec!["\u{1b}", "\u{202e}", "e\u{301}", "\u{9b}", ""]),
        ]
    }

    fn colours() -> impl Strategy<Value = Color> {
        prop_oneof![
            4 => Just(Color::Reset),
            1 => prop::sample::select(vec![Color::Red, Color::LightBlue, Color::White, Color::Gray]),
            1 => any::<u8>().prop_map(Color::Indexed),
            1 => any::<(u8, u8, u8)>().prop_map(|(r, g, b)| Color::Rgb(r, g, b)),
        ]
    }

    fn cells() -> impl Strategy<Value = (&'static str, Color, Color, u16)> {
        (symbols(), colours(), colours(), 0_u16..512)
    }

    fn buffers() -> impl Strategy<Value = Vec<Buffer>> {
        (1_u16..14, 1_u16..6).prop_flat_map(|(width, height)| {
            let size = usize::from(width * height);
            // Each frame changes a part of the one before, as real ones do.
            let change = proptest::collection::vec((0..size, cells()), 0..size + 1);
            proptest::collection::vec(change, 1..6).prop_map(move |changes| {
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                let mut frames = Vec::new();
                for change in changes {
                    for (at, (symbol, fg, bg, modifier)) in change {
                        let cell = &mut buffer.content[at];
                        cell.set_symbol(symbol);
                        (cell.fg, cell.bg) = (fg, bg);
                        cell.modifier = Modifier::from_bits_truncate(modifier)
                            & (Modifier::BOLD
                                | Modifier::ITALIC
                                | Modifier::REVERSED
                                | Modifier::UNDERLINED);
                    }
                    frames.push(buffer.clone());
                }
                frames
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_terminal_shows_what_the_buffer_holds_after_every_frame(frames in buffers()) {
            let area = frames[0].area;
            let mut parser = terminal(area.width, area.height);
            let mut encoder = Encoder::default();
            for frame in frames {
                let mut bytes = Vec::new();
                let cursor = Some(Position::new(area.width / 2, area.height / 2));
                encoder.frame(Frame { buffer: frame.clone(), cursor }, &mut bytes);
                parser.process(&bytes);
                shows(&parser, &frame);
                prop_assert_eq!(parser.screen().cursor_position(), (area.height / 2, area.width / 2));
            }
        }
    }

    /// Frames as a list shows them that is scrolled by some lines each time, between a head and a foot that stay.
    fn lists() -> impl Strategy<Value = Vec<Buffer>> {
        (12_u16..50, 8_u16..24, proptest::collection::vec(-12_i32..12, 1..6)).prop_map(
            |(width, height, steps)| {
                let mut at = 100;
                let draw = |at: i32| {
                    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                    buffer.set_string(0, 0, "head of the list", Style::new().fg(Color::Green));
                    for y in 1..height - 1 {
                        let number = at + i32::from(y);
                        let style = match number % 5 {
                            0 => Style::new().bg(Color::Blue),
                            1 => Style::new().add_modifier(Modifier::BOLD),
                            _ => Style::new(),
                        };
                        buffer.set_string(
                            0,
                            y,
                            format!("│ 世 agent-{number:06} and more of it │"),
                            style,
                        );
                    }
                    buffer.set_string(0, height - 1, format!("foot at {at}"), Style::new());
                    buffer
                };
                steps
                    .into_iter()
                    .map(|step| {
                        at += step;
                        draw(at)
                    })
                    .collect()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn a_scrolled_list_is_shown_as_it_is(frames in lists()) {
            let area = frames[0].area;
            let mut parser = terminal(area.width, area.height);
            let mut encoder = Encoder::default();
            for frame in frames {
                let mut bytes = Vec::new();
                encoder.frame(Frame { buffer: frame.clone(), cursor: None }, &mut bytes);
                parser.process(&bytes);
                shows(&parser, &frame);
            }
        }
    }

    #[test]
    fn a_list_scrolled_by_one_line_costs_about_one_line() {
        let list = |first: usize| {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 200, 50));
            for y in 0..46 {
                let row = format!(
                    "│ agent-{:06}   triage   running   {} │",
                    first + usize::from(y),
                    "x".repeat(140)
                );
                buffer.set_string(0, y + 3, row, Style::new());
            }
            buffer
        };
        let mut encoder = Encoder::default();
        bytes(&mut encoder, list(0));
        for first in [1, 2, 1] {
            let shown = bytes(&mut encoder, list(first));
            let cost = shown.len();
            assert!(cost < 300, "{cost}: {shown:?}");
        }
    }

    fn text(lines: [&str; 3]) -> Buffer {
        Buffer::with_lines(lines)
    }

    fn bytes(encoder: &mut Encoder, buffer: Buffer) -> String {
        let mut out = Vec::new();
        encoder.frame(Frame { buffer, cursor: None }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_frame_like_the_last_one_costs_no_byte() {
        let mut encoder = Encoder { synchronized: true, ..Encoder::default() };
        let lines = ["one", "two", "six"];
        assert!(bytes(&mut encoder, text(lines)).starts_with("\x1b[?2026h"));
        assert_eq!(bytes(&mut encoder, text(lines)), "");
    }

    #[test]
    fn a_cursor_left_on_half_a_wide_character_harms_it_not() {
        let mut encoder = Encoder::default();
        let mut parser = terminal(3, 1);
        for text in ["世a", "世 "] {
            let mut out = Vec::new();
            let buffer = Buffer::with_lines([text]);
            encoder.frame(
                Frame { buffer: buffer.clone(), cursor: Some(Position::new(1, 0)) },
                &mut out,
            );
            parser.process(&out);
            shows(&parser, &buffer);
        }
    }

    #[test]
    fn a_small_change_costs_few_bytes() {
        let mut encoder = Encoder::default();
        bytes(&mut encoder, text(["name   state   ", "a      running ", "b      running "]));
        let cost =
            bytes(&mut encoder, text(["name   state   ", "a      failed  ", "b      running "]));
        assert_eq!(cost, "\x1b[2;8Hfailed ");
        let cost =
            bytes(&mut encoder, text(["name   state   ", "a              ", "b      running "]));
        assert_eq!(cost, "\x1b[2;8H\x1b[K");
    }

    #[test]
    fn nothing_but_printable_text_gets_past() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 4, 1));
        for (x, evil) in
            ["\x1b]52;c;eA==\x07", "\u{202e}x", "\u{9b}31m", "\u{feff}"].iter().enumerate()
        {
            buffer.content[x].set_symbol(evil);
        }
        let out = bytes(&mut Encoder::default(), buffer);
        assert_eq!(out, "\x1b[0m\x1b[2J\x1b[H????\x1b[?25l");
    }

    #[test]
    fn the_pen_is_only_told_what_changes() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 6, 1));
        buffer.set_string(0, 0, "ab", Style::new().fg(Color::Red));
        buffer.set_string(2, 0, "cd", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        buffer.set_string(4, 0, "ef", Style::new());
        let out = bytes(&mut Encoder::default(), buffer);
        assert_eq!(out, "\x1b[0m\x1b[2J\x1b[H\x1b[31mab\x1b[1mcd\x1b[mef\x1b[?25l");
    }
}
