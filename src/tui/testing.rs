//! For tests: pictures with their styles, since a snapshot of symbols alone would not notice a colour.

use std::fmt::Write as _;

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::theme::Glyphs;
use super::widgets::Look;

/// A look without any style, for tests that are about text.
pub fn plain_look() -> Look<'static> {
    use std::sync::LazyLock;

    static THEME: LazyLock<super::theme::Theme> = LazyLock::new(Default::default);
    Look { theme: &THEME, glyphs: &Glyphs::UNICODE }
}

/// The symbols of a buffer, one line a row, without blanks at the end.
pub fn symbols(buf: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buf.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buf.area.width {
            let symbol = buf[(x, y)].symbol();
            line.push_str(symbol);
            x += ratatui::buffer::CellWidth::cell_width(symbol).max(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The symbols, then every run of cells that has a style: `y x..x fg/bg modifiers`.
pub fn styled(buf: &Buffer) -> String {
    let mut out = symbols(buf);
    out.push_str("---\n");
    for y in 0..buf.area.height {
        let mut x = 0;
        while x < buf.area.width {
            let style = |x: u16| {
                let cell = &buf[(x, y)];
                (cell.fg, cell.bg, cell.modifier)
            };
            let (fg, bg, modifier) = style(x);
            let begin = x;
            while x < buf.area.width && style(x) == (fg, bg, modifier) {
                x += 1;
            }
            if (fg, bg, modifier) != (Color::Reset, Color::Reset, Modifier::empty()) {
                writeln!(out, "{y} {begin}..{x} {fg}/{bg} {modifier:?}").unwrap();
            }
        }
    }
    out
}
