//! Colours as numbers: reading them, fitting them to fewer, and how well one stands out from another.

use ratatui::style::Color;

use super::Depth;

/// The levels of one channel in the 6×6×6 cube of the 256 colours.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The sixteen colours as xterm shows them.
const ANSI: [(u8, u8, u8); 16] = [
    (0, 0, 0),
    (205, 0, 0),
    (0, 205, 0),
    (205, 205, 0),
    (0, 0, 238),
    (205, 0, 205),
    (0, 205, 205),
    (229, 229, 229),
    (127, 127, 127),
    (255, 0, 0),
    (0, 255, 0),
    (255, 255, 0),
    (92, 92, 255),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
];

const NAMED: [(&str, Color); 18] = [
    ("default", Color::Reset),
    ("black", Color::Black),
    ("red", Color::Red),
    ("green", Color::Green),
    ("yellow", Color::Yellow),
    ("blue", Color::Blue),
    ("magenta", Color::Magenta),
    ("cyan", Color::Cyan),
    ("gray", Color::Gray),
    ("grey", Color::Gray),
    ("dark-gray", Color::DarkGray),
    ("light-red", Color::LightRed),
    ("light-green", Color::LightGreen),
    ("light-yellow", Color::LightYellow),
    ("light-blue", Color::LightBlue),
    ("light-magenta", Color::LightMagenta),
    ("light-cyan", Color::LightCyan),
    ("white", Color::White),
];

/// Reads `default`, a name, `#rrggbb`, or a number from 0 to 255.
pub fn parse(text: &str) -> Option<Color> {
    if let Some((_, color)) = NAMED.iter().find(|(name, _)| *name == text) {
        return Some(*color);
    }
    if let Some(hex) = text.strip_prefix('#') {
        let digits = hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u32::from_str_radix(hex, 16).ok().filter(|_| digits)?;
        let [_, r, g, b] = value.to_be_bytes();
        return Some(Color::Rgb(r, g, b));
    }
    text.parse().ok().map(Color::Indexed)
}

/// The names that [`parse`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMED.iter().map(|(name, _)| *name)
}

/// Red, green and blue; `None` for the terminal's own colour.
pub fn rgb(color: Color) -> Option<(u8, u8, u8)> {
    match color {
        Color::Reset => None,
        Color::Rgb(r, g, b) => Some((r, g, b)),
        Color::Indexed(n @ 0..=15) => Some(ANSI[usize::from(n)]),
        Color::Indexed(n @ 16..=231) => {
            let n = usize::from(n) - 16;
            Some((LEVELS[n / 36], LEVELS[n / 6 % 6], LEVELS[n % 6]))
        }
        Color::Indexed(n) => {
            let level = 8 + 10 * (n - 232);
            Some((level, level, level))
        }
        named => crate::tui::writer::sgr::ansi(named).map(|n| ANSI[usize::from(n)]),
    }
}

/// The nearest colour among those that the terminal has.
pub fn fit(color: Color, depth: Depth) -> Color {
    match (depth, color) {
        (Depth::None, _) => Color::Reset,
        (Depth::True, _) | (Depth::Ansi256, Color::Indexed(_)) => color,
        (Depth::Ansi256, Color::Rgb(..)) => nearest(color, 16..=255),
        (Depth::Ansi16, Color::Rgb(..) | Color::Indexed(16..)) => nearest(color, 0..=15),
        (Depth::Ansi256 | Depth::Ansi16, _) => color,
    }
}

fn nearest(color: Color, among: std::ops::RangeInclusive<u8>) -> Color {
    let Some((r, g, b)) = rgb(color) else { return color };
    let distance = |n: &u8| {
        let (x, y, z) = rgb(Color::Indexed(*n)).unwrap_or_default();
        [(r, x), (g, y), (b, z)].iter().map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum::<u32>()
    };
    among.min_by_key(distance).map_or(color, Color::Indexed)
}

/// The relative luminance of WCAG 2, from 0 to 1.
pub fn luminance((r, g, b): (u8, u8, u8)) -> f64 {
    let channel = |value: u8| {
        let value = f64::from(value) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b)
}

/// The contrast ratio of WCAG 2, from 1 to 21.
pub fn contrast(a: (u8, u8, u8), b: (u8, u8, u8)) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_by_name_number_and_hex() {
        assert_eq!(parse("light-red"), Some(Color::LightRed));
        assert_eq!(parse("#0a0B0c"), Some(Color::Rgb(10, 11, 12)));
        assert_eq!(parse("208"), Some(Color::Indexed(208)));
        for bad in ["#12345", "#12345g", "256", "-1", "rouge", "", "#+12345"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_colour_is_fitted_to_the_nearest_one_there_is() {
        assert_eq!(fit(Color::Rgb(255, 135, 0), Depth::Ansi256), Color::Indexed(208));
        assert_eq!(fit(Color::Rgb(250, 5, 5), Depth::Ansi16), Color::Indexed(9));
        assert_eq!(fit(Color::Indexed(231), Depth::Ansi16), Color::Indexed(15));
        assert_eq!(fit(Color::Red, Depth::None), Color::Reset);
        assert_eq!(fit(Color::Red, Depth::Ansi16), Color::Red);
    }

    #[test]
    fn black_on_white_has_the_greatest_contrast() {
        assert!((contrast((0, 0, 0), (255, 255, 255)) - 21.0).abs() < 1e-9);
    }
}
