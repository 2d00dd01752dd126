//! Pictures of the screen: a buffer as SVG, for screenshots drawn by the program itself. Every run of cells has a place and a
//! length of its own, so that whatever font draws it, columns stay columns.

use std::fmt::{self, Write};

use ratatui::buffer::{Buffer, CellWidth};
use ratatui::style::{Color, Modifier};

use super::theme::colour;

type Rgb = (u8, u8, u8);

/// What the terminal has where a style names no colour: letters, then ground.
const DARK: (Rgb, Rgb) = ((201, 209, 217), (13, 17, 23));
const LIGHT: (Rgb, Rgb) = ((36, 41, 46), (255, 255, 255));
/// A cell in pixels, and the margin.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;
const MARGIN: f64 = 10.0;
/// From the top of a line to the foot of its letters.
const FOOT: f64 = 13.5;

const MODIFIERS: [(Modifier, &str); 5] = [
    (Modifier::BOLD, r#" font-weight="bold""#),
    (Modifier::DIM, r#" opacity="0.6""#),
    (Modifier::ITALIC, r#" font-style="italic""#),
    (Modifier::UNDERLINED, r#" text-decoration="underline""#),
    (Modifier::CROSSED_OUT, r#" text-decoration="line-through""#),
];

/// Cells of one line beside each other that are styled alike.
struct Run {
    x: u16,
    y: u16,
    columns: u16,
    text: String,
    letters: Rgb,
    ground: Option<Rgb>,
    modifier: Modifier,
}

/// The buffer as an SVG picture on a background that suits the theme.
pub fn svg(buf: &Buffer, light: bool) -> String {
    let mut out = String::new();
    write(&mut out, buf, if light { LIGHT } else { DARK })
        .expect("writing to a String cannot fail");
    out
}

fn write(out: &mut String, buf: &Buffer, plain: (Rgb, Rgb)) -> fmt::Result {
    let width = f64::from(buf.area.width) * WIDTH + 2.0 * MARGIN;
    let height = f64::from(buf.area.height) * HEIGHT + 2.0 * MARGIN;
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}">"#
    )?;
    let family =
        "SFMono-Regular, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', Menlo, monospace";
    writeln!(out, "<style>text {{ font: 14px {family}; white-space: pre }}</style>")?;
    writeln!(out, r#"<rect width="100%" height="100%" rx="4.5" fill="{}"/>"#, hex(plain.1))?;
    let runs = runs(buf, plain);
    for run in &runs {
        let Some(ground) = run.ground else { continue };
        let (x, y) = (MARGIN + f64::from(run.x) * WIDTH, MARGIN + f64::from(run.y) * HEIGHT);
        let width = f64::from(run.columns) * WIDTH;
        writeln!(
            out,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{HEIGHT}" fill="{}"/>"#,
            hex(ground)
        )?;
    }
    for run in runs.iter().filter(|run| !run.text.trim().is_empty()) {
        let (x, y) = (MARGIN + f64::from(run.x) * WIDTH, MARGIN + f64::from(run.y) * HEIGHT + FOOT);
        let long = f64::from(run.columns) * WIDTH;
        write!(
            out,
            r#"<text x="{x:.1}" y="{y:.1}" textLength="{long:.1}" lengthAdjust="spacingAndGlyphs" fill="{}""#,
            hex(run.letters)
        )?;
        for (flag, attribute) in MODIFIERS {
            if run.modifier.contains(flag) {
                out.push_str(attribute);
            }
        }
        writeln!(out, r#" xml:space="preserve">{}</text>"#, escaped(&run.text))?;
    }
    out.push_str("</svg>\n");
    Ok(())
}

/// What is drawn at once: cells of one style, parted where several blanks follow each other, so that a word begins where it
/// should even when its font is a little narrower.
fn runs(buf: &Buffer, plain: (Rgb, Rgb)) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for y in 0..buf.area.height {
        let mut x = 0;
        let mut last = None;
        while x < buf.area.width {
            let cell = &buf[(buf.area.x + x, buf.area.y + y)];
            let style = (cell.fg, cell.bg, cell.modifier);
            let columns = cell.symbol().cell_width().max(1).min(buf.area.width - x);
            match runs.last_mut() {
                Some(run) if last == Some(style) => {
                    run.text.push_str(cell.symbol());
                    run.columns += columns;
                }
                _ => {
                    let (letters, ground) = colours(cell.fg, cell.bg, cell.modifier, plain);
                    let text = cell.symbol().to_owned();
                    runs.push(Run {
                        x,
                        y,
                        columns,
                        text,
                        letters,
                        ground,
                        modifier: cell.modifier,
                    });
                }
            }
            last = Some(style);
            x += columns;
        }
    }
    runs.into_iter().flat_map(parted).collect()
}

/// A run as pieces, each a ground or a text without many blanks in it.
fn parted(run: Run) -> Vec<Run> {
    const GAP: &str = "  ";
    if !run.text.contains(GAP) {
        return vec![run];
    }
    let mut pieces = Vec::new();
    if run.ground.is_some() {
        pieces.push(Run { text: String::new(), ..run });
    }
    let mut x = run.x;
    for piece in run.text.split(GAP) {
        let word = piece.trim_start_matches(' ');
        let blanks = piece.cell_width() - word.cell_width();
        if !word.is_empty() {
            let (text, columns) = (word.to_owned(), word.cell_width());
            pieces.push(Run { x: x + blanks, columns, text, ground: None, ..run });
        }
        x += piece.cell_width() + GAP.cell_width();
    }
    pieces
}

/// Letters and ground of a cell; reverse video swaps them.
fn colours(fg: Color, bg: Color, modifier: Modifier, plain: (Rgb, Rgb)) -> (Rgb, Option<Rgb>) {
    let (letters, ground) = (colour::rgb(fg), colour::rgb(bg));
    if modifier.contains(Modifier::REVERSED) {
        (ground.unwrap_or(plain.1), Some(letters.unwrap_or(plain.0)))
    } else {
        (letters.unwrap_or(plain.0), ground)
    }
}

fn hex((r, g, b): Rgb) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    fn drawn(style: Style, text: &str) -> String {
        let mut buf = Buffer::empty(Rect::new(0, 0, 20, 1));
        buf.set_string(0, 0, text, style);
        svg(&buf, false)
    }

    #[test]
    fn the_picture_holds_the_text() {
        let picture = drawn(Style::new().fg(Color::Green), "agents <1>");
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"), "{picture}");
        assert!(picture.contains(">agents &lt;1&gt;<") && picture.contains("#00CD00"), "{picture}");
    }

    #[test]
    fn the_picture_shows_both_colours_of_a_cell_and_the_ground_is_as_wide_as_the_text() {
        let style = Style::new().fg(Color::Indexed(252)).bg(Color::Indexed(238));
        let picture = drawn(style, "<agents>");
        assert!(picture.contains(r##"fill="#D0D0D0""##), "the letters: {picture}");
        let ground = r##"width="67.2" height="18" fill="#444444""##;
        assert!(picture.contains(ground), "eight cells of ground: {picture}");
        let turned = drawn(Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD), "x");
        assert!(turned.contains(r##"fill="#0D1117" font-weight="bold""##), "{turned}");
        assert!(turned.contains(r##"width="8.4" height="18" fill="#C9D1D9""##), "{turned}");
    }

    #[test]
    fn columns_stay_columns_after_wide_letters_and_blanks() {
        let picture = drawn(Style::new(), "世界   right");
        let place = r#"x="68.8" y="23.5" textLength="42.0""#;
        assert!(picture.contains(place), "the word begins in the seventh column: {picture}");
    }
}
