//! Pictures of the screen: a buffer as ANSI text and as SVG, for screenshots drawn by the program itself.

use std::fmt::Write;

use anstyle_svg::Term;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

/// The buffer as lines of text with SGR codes; each line ends with a reset.
pub fn ansi(buf: &Buffer) -> String {
    let mut out = String::new();
    for y in buf.area.top()..buf.area.bottom() {
        let mut last = None;
        let mut covered = 0u16;
        for x in buf.area.left()..buf.area.right() {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            let cell = &buf[(x, y)];
            let style = (cell.fg, cell.bg, cell.modifier);
            if last != Some(style) {
                // one sequence for each, since the renderer of pictures takes the last colour of one for the foreground
                out.push_str("\x1b[0m");
                modifiers(cell.modifier, &mut out);
                colour(cell.fg, 38, &mut out);
                colour(cell.bg, 48, &mut out);
                last = Some(style);
            }
            out.push_str(cell.symbol());
            let width = unicode_width::UnicodeWidthStr::width(cell.symbol());
            covered = u16::try_from(width.saturating_sub(1)).unwrap_or(0);
        }
        out.push_str("\x1b[0m\n");
    }
    out
}

fn modifiers(modifier: Modifier, out: &mut String) {
    const CODES: [(Modifier, &str); 6] = [
        (Modifier::BOLD, "\x1b[1m"),
        (Modifier::DIM, "\x1b[2m"),
        (Modifier::ITALIC, "\x1b[3m"),
        (Modifier::UNDERLINED, "\x1b[4m"),
        (Modifier::REVERSED, "\x1b[7m"),
        (Modifier::CROSSED_OUT, "\x1b[9m"),
    ];
    for (flag, code) in CODES {
        if modifier.contains(flag) {
            out.push_str(code);
        }
    }
}

/// `base` is 38 for the foreground, 48 for the background.
fn colour(colour: Color, base: u8, out: &mut String) {
    let named = |at: u8, out: &mut String| {
        let code = if at < 8 { base - 8 + at } else { base + 52 + at - 8 };
        write!(out, "\x1b[{code}m").expect("writing to a String cannot fail");
    };
    match colour {
        Color::Reset => {}
        Color::Black => named(0, out),
        Color::Red => named(1, out),
        Color::Green => named(2, out),
        Color::Yellow => named(3, out),
        Color::Blue => named(4, out),
        Color::Magenta => named(5, out),
        Color::Cyan => named(6, out),
        Color::Gray => named(7, out),
        Color::DarkGray => named(8, out),
        Color::LightRed => named(9, out),
        Color::LightGreen => named(10, out),
        Color::LightYellow => named(11, out),
        Color::LightBlue => named(12, out),
        Color::LightMagenta => named(13, out),
        Color::LightCyan => named(14, out),
        Color::White => named(15, out),
        Color::Indexed(at) => {
            write!(out, "\x1b[{base};5;{at}m").expect("writing to a String cannot fail");
        }
        Color::Rgb(r, g, b) => {
            write!(out, "\x1b[{base};2;{r};{g};{b}m").expect("writing to a String cannot fail");
        }
    }
}

/// The buffer as an SVG picture on a background that suits the theme.
pub fn svg(buf: &Buffer, light: bool) -> String {
    let (fg, bg) =
        if light { ((36, 41, 46), (255, 255, 255)) } else { ((201, 209, 217), (13, 17, 23)) };
    let rgb = |(r, g, b)| anstyle::Color::Rgb(anstyle::RgbColor(r, g, b));
    Term::new().fg_color(rgb(fg)).bg_color(rgb(bg)).render_svg(&ansi(buf))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    #[test]
    fn a_terminal_that_reads_the_ansi_shows_the_buffer() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 12, 3));
        buf.set_string(0, 0, "plain", Style::new());
        buf.set_string(6, 0, "red", Style::new().fg(Color::Red).bg(Color::LightBlue));
        buf.set_string(
            0,
            1,
            "宽x",
            Style::new().fg(Color::Rgb(1, 2, 3)).add_modifier(Modifier::BOLD),
        );
        buf.set_string(
            0,
            2,
            "i",
            Style::new().fg(Color::Indexed(200)).add_modifier(Modifier::REVERSED),
        );
        let mut screen = vt100::Parser::new(4.try_into().unwrap(), 12.try_into().unwrap(), 0);
        screen.process(ansi(&buf).replace('\n', "\r\n").as_bytes());
        let screen = screen.screen();
        let lines: Vec<String> =
            screen.rows(0, 12).map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(lines, ["plain red", "宽x", "i", ""]);
        let cell = |y, x| screen.cell(y, x).unwrap();
        assert_eq!(
            (cell(0, 6).fgcolor(), cell(0, 6).bgcolor()),
            (vt100::Color::Idx(1), vt100::Color::Idx(12))
        );
        assert_eq!((cell(1, 0).fgcolor(), cell(1, 0).bold()), (vt100::Color::Rgb(1, 2, 3), true));
        assert_eq!((cell(2, 0).fgcolor(), cell(2, 0).inverse()), (vt100::Color::Idx(200), true));
    }

    #[test]
    fn the_picture_holds_the_text() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 20, 1));
        buf.set_string(0, 0, "agents <1>", Style::new().fg(Color::Green));
        let picture = svg(&buf, false);
        assert!(picture.starts_with("<svg") && picture.contains("agents &lt;1&gt;"), "{picture}");
    }

    #[test]
    fn the_picture_shows_both_colours_of_a_cell() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 20, 1));
        let style = Style::new().fg(Color::Indexed(252)).bg(Color::Indexed(238));
        buf.set_string(0, 0, "agents", style);
        let picture = svg(&buf, false);
        assert!(picture.contains("fill: #D0D0D0"), "the foreground: {picture}");
        assert!(picture.contains("fill: #444444"), "the background: {picture}");
    }
}
