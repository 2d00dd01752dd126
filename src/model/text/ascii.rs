//! Stand-ins in ASCII for terminals without Unicode. Two ways: [`legible`] for lines of text, which
//! may grow, and [`ascii_columns`] for what has its place on the screen, which may not.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// The same text in ASCII, each grapheme cluster in exactly the columns it had: for cells of a screen
/// that are already laid out, frames and symbols included.
pub fn ascii_columns(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for cluster in text.graphemes(true) {
        match (cluster.is_ascii(), look_alike(cluster)) {
            (true, _) => out.push_str(cluster),
            (false, Some(c)) => out.push(c),
            (false, None) => out.extend(std::iter::repeat_n('?', cluster.width())),
        }
    }
    Cow::Owned(out)
}

/// The same text in ASCII with marks spelled out.
pub(super) fn legible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for cluster in text.graphemes(true) {
        let first = cluster.chars().next().unwrap_or_default();
        match (first, look_alike(cluster)) {
            ('…', _) => out.push_str("..."),
            ('␡', _) => out.push_str("^?"),
            ('␀'..='␟', _) => {
                out.push('^');
                out.extend(char::from_u32(u32::from(first) - 0x2400 + 0x40));
            }
            (_, Some(c)) => out.push(c),
            (_, None) if cluster.is_ascii() => out.push_str(cluster),
            (_, None) => out.extend(std::iter::repeat_n('?', cluster.width())),
        }
    }
    out
}

/// An ASCII character of one column that reads the same. None if there is none.
fn look_alike(cluster: &str) -> Option<char> {
    let mut chars = cluster.chars();
    let (Some(c), None) = (chars.next(), chars.next()) else { return None };
    Some(match c {
        '…' => '~',
        '‹' | '←' | '◀' | '◂' | '«' => '<',
        '›' | '→' | '▶' | '▸' | '»' => '>',
        '↑' | '▲' | '▴' | '␀'..='␡' => '^',
        '↓' | '▼' | '▾' => 'v',
        '\u{A0}' | '\u{2000}'..='\u{200A}' => ' ',
        '‐'..='―' | '−' | '─' | '━' | '═' | '╌' | '┄' => '-',
        '│' | '┃' | '║' | '╎' | '┆' => '|',
        '┌'..='╋' | '╒'..='╬' | '╭'..='╰' => '+',
        '‘' | '’' | '‚' | '′' => '\'',
        '“' | '”' | '„' | '″' => '"',
        '•' | '·' | '∙' => '.',
        '●' | '◉' => 'o',
        '○' | '◐' | '◌' => 'O',
        '✖' | '✗' | '✘' | '×' | '⊘' => 'x',
        '✓' | '✔' => 'v',
        '▌' | '▐' | '█' | '▓' => '#',
        '▒' | '░' => ':',
        '▁'..='▇' => ['_', '.', '.', '-', '-', '=', '='][(u32::from(c) - 0x2581) as usize],
        _ => return None,
    })
}
