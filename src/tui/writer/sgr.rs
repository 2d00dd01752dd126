//! Colours and modifiers as the terminal is told them: only what changes, in the shorter of two ways.

use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};

use super::encode::number;

/// What the terminal's pen is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sgr {
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

/// Each modifier with the code that sets it and the one that takes it back.
const MODIFIERS: [(Modifier, u16, u16); 8] = [
    (Modifier::BOLD, 1, 22),
    (Modifier::DIM, 2, 22),
    (Modifier::ITALIC, 3, 23),
    (Modifier::UNDERLINED, 4, 24),
    (Modifier::SLOW_BLINK, 5, 25),
    (Modifier::REVERSED, 7, 27),
    (Modifier::HIDDEN, 8, 28),
    (Modifier::CROSSED_OUT, 9, 29),
];

impl Sgr {
    fn of(cell: &Cell) -> Self {
        Self { fg: cell.fg, bg: cell.bg, modifier: cell.modifier }
    }

    /// Whether writing `cell` again needs no change of the pen and moves the cursor by exactly one.
    pub(super) fn bridges(&self, cell: &Cell) -> bool {
        *self == Self::of(cell) && matches!(cell.symbol().as_bytes(), [b' '..=b'~'])
    }

    /// Sets the pen for `cell`.
    pub(super) fn set(&mut self, cell: &Cell, out: &mut Vec<u8>) {
        let to = Self::of(cell);
        if *self == to {
            return;
        }
        let begin = out.len();
        let mut codes = Codes::new(out);
        self.step(to, &mut codes);
        codes.close();
        let stepwise = out.len() - begin;
        // From scratch: `CSI m` alone, or `CSI 0;…m`.
        let mut codes = Codes::new(out);
        codes.reset();
        Self::default().step(to, &mut codes);
        codes.close();
        let from_scratch = out.len() - begin - stepwise;
        if from_scratch < stepwise {
            out.drain(begin..begin + stepwise);
        } else {
            out.truncate(begin + stepwise);
        }
        *self = to;
    }

    fn step(self, to: Self, codes: &mut Codes<'_>) {
        let gone = self.modifier - to.modifier;
        let mut kept = self.modifier & to.modifier;
        for (modifier, _, off) in MODIFIERS {
            if gone.contains(modifier) {
                codes.code(off);
                if off == 22 {
                    kept -= Modifier::BOLD | Modifier::DIM; // one code takes both back
                }
            }
        }
        for (modifier, on, _) in MODIFIERS {
            if (to.modifier - kept).contains(modifier) {
                codes.code(on);
            }
        }
        if self.fg != to.fg {
            codes.colour(to.fg, 30);
        }
        if self.bg != to.bg {
            codes.colour(to.bg, 40);
        }
    }
}

/// Collects the numbers of one `CSI … m`.
struct Codes<'a> {
    out: &'a mut Vec<u8>,
    any: bool,
    implied_reset: bool,
}

impl<'a> Codes<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, any: false, implied_reset: false }
    }

    fn reset(&mut self) {
        self.implied_reset = true;
    }

    fn code(&mut self, n: u16) {
        if self.any {
            self.out.push(b';');
        } else {
            self.out.extend_from_slice(b"\x1b[");
            if self.implied_reset {
                self.out.extend_from_slice(b"0;");
            }
        }
        self.any = true;
        number(self.out, n);
    }

    /// `base` is 30 for the text, 40 for what is behind it.
    fn colour(&mut self, color: Color, base: u16) {
        match color {
            Color::Reset => self.code(base + 9),
            Color::Indexed(n) => {
                self.code(base + 8);
                self.code(5);
                self.code(u16::from(n));
            }
            Color::Rgb(r, g, b) => {
                self.code(base + 8);
                self.code(2);
                [r, g, b].into_iter().for_each(|part| self.code(u16::from(part)));
            }
            named => {
                let n = u16::from(ansi(named).unwrap_or(7));
                self.code(if n < 8 { base + n } else { base + 60 + n - 8 });
            }
        }
    }

    fn close(self) {
        if self.any {
            self.out.push(b'm');
        } else if self.implied_reset {
            self.out.extend_from_slice(b"\x1b[m");
        }
    }
}

/// The number (0–15) of one of the sixteen named colours.
pub(crate) fn ansi(color: Color) -> Option<u8> {
    Some(match color {
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 8,
        Color::LightRed => 9,
        Color::LightGreen => 10,
        Color::LightYellow => 11,
        Color::LightBlue => 12,
        Color::LightMagenta => 13,
        Color::LightCyan => 14,
        Color::White => 15,
        Color::Reset | Color::Rgb(..) | Color::Indexed(_) => return None,
    })
}
