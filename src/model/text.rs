//! Text that may be shown. [`Safe`] is the one way by which words that agents, servers, files or
//! other people wrote reach a screen, a log or a clipboard: what could steer a terminal, reorder a
//! line or hide in it becomes a visible mark. It never decides colours and never drops anything
//! without saying so.

mod ascii;
mod sieve;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

pub use ascii::ascii_columns;
pub use sieve::is_hostile;

/// The longest a [`Safe`] text gets, in bytes, its `…(+N bytes)` included.
pub const MAX_BYTES: usize = 16 * 1024;

/// One line of text without control characters, escape sequences, direction overrides, invisible or
/// private characters and piles of combining marks. Cheap to clone.
///
/// What was replaced can be read: control characters as control pictures (`␛[2J`), others as their
/// code point (`‹202E›`), marks beyond the fourth on one letter as `‹+96›`, and what is longer than
/// [`MAX_BYTES`] ends with `…(+N bytes)`. Filtering a text twice changes nothing more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Safe(Arc<str>);

/// On which side [`Safe::fit`] puts what is left of the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Align {
    #[default]
    Left,
    Right,
}

impl Safe {
    /// Filters `text` into one line: a line feed shows as `␊`, a tab becomes a space.
    pub fn new(text: &str) -> Self {
        if sieve::is_plain(text) && text.len() <= MAX_BYTES {
            return Self(text.into());
        }
        Self(sieve::filter(text, sieve::Tabs::OneSpace).into())
    }

    /// A line of a log: as [`Self::new`], without the codes that colour it, which loggers write by habit.
    pub fn log_line(text: &str) -> Self {
        if !text.contains("\x1b[") {
            return Self::new(text);
        }
        let mut plain = String::with_capacity(text.len());
        let mut pieces = text.split("\x1b[");
        plain.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let colour = piece.find(|c: char| !matches!(c, '0'..='9' | ';' | ':'));
            match colour {
                Some(end) if piece[end..].starts_with('m') => plain.push_str(&piece[end + 1..]),
                // whatever else it does to a terminal is shown, not done
                Some(_) | None => plain.extend(["\x1b[", piece]),
            }
        }
        Self::new(&plain)
    }

    /// Filters each line of `text` (ended by LF or CR LF; the last may lack its end). Tabs become
    /// spaces up to the next column that 8 divides. An empty text has no lines.
    pub fn lines(text: &str) -> Vec<Self> {
        let line = |line: &str| {
            if sieve::is_plain(line) && line.len() <= MAX_BYTES {
                return Self(line.into());
            }
            Self(sieve::filter(line, sieve::Tabs::Stops).into())
        };
        text.lines().map(line).collect()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Columns that the text takes on a terminal.
    pub fn width(&self) -> usize {
        columns(&self.0)
    }

    /// The text in exactly `width` columns: padded with spaces, or cut between grapheme clusters and
    /// ended with `…`.
    pub fn fit(&self, width: usize, align: Align) -> String {
        let mut out = String::with_capacity(width + 8);
        self.fit_into(&mut out, width, align);
        out
    }

    /// Appends what [`Safe::fit`] gives to `out`: for a caller that builds a whole row.
    pub fn fit_into(&self, out: &mut String, width: usize, align: Align) {
        let shown = cut(&self.0, width);
        let spare = width - columns(&shown);
        let (before, after) = match align {
            Align::Left => (0, spare),
            Align::Right => (spare, 0),
        };
        out.extend(std::iter::repeat_n(' ', before));
        out.push_str(&shown);
        out.extend(std::iter::repeat_n(' ', after));
    }

    /// The text in at most `width` columns, ended with `…` if some of it had to go.
    pub fn cut(&self, width: usize) -> Cow<'_, str> {
        cut(&self.0, width)
    }

    /// The text in ASCII for `--ascii`: marks keep their sense (`␛` is `^[`, `‹202E›` is `<202E>`),
    /// punctuation its look, and any other character becomes one `?` for each of its columns.
    #[must_use]
    pub fn ascii(&self) -> Self {
        if self.0.is_ascii() { self.clone() } else { Self(ascii::legible(&self.0).into()) }
    }
}

impl Serialize for Safe {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

/// What is read may have been written by anybody: it is filtered like any other text.
impl<'de> Deserialize<'de> for Safe {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(from).map(|text| Self::new(&text))
    }
}

impl Default for Safe {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

impl fmt::Display for Safe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Safe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl AsRef<str> for Safe {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Safe {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Safe {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

/// `word` with a capital in front.
pub fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
        .unwrap_or_default()
}

/// Columns of a text that is already safe, counted by grapheme cluster as the screen does.
pub fn columns(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

fn cut(text: &str, width: usize) -> Cow<'_, str> {
    // A cluster may take no column (never alone in a safe text), so bytes alone prove nothing here.
    if text.is_ascii() {
        return match (text.len() <= width, width) {
            (true, _) => Cow::Borrowed(text),
            (false, 0) => Cow::Borrowed(""),
            (false, _) => Cow::Owned(format!("{}…", &text[..width - 1])),
        };
    }
    let (mut used, mut kept) = (0, 0);
    for (at, cluster) in text.grapheme_indices(true) {
        used += cluster.width();
        if used > width {
            return if width == 0 {
                Cow::Borrowed("")
            } else {
                Cow::Owned(format!("{}…", &text[..kept]))
            };
        }
        if used < width {
            kept = at + cluster.len();
        }
    }
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests;
