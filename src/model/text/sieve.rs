//! The filter behind [`super::Safe`]: one pass over the characters, each kept or turned into a mark.
//! It stops as soon as the output is full, so its time grows with the smaller of both. It knows
//! nothing of terminals beyond what a character may do to one.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

use super::MAX_BYTES;

/// Room for `…(+18446744073709551615 bytes)`.
const RESERVE: usize = 32;
/// Combining marks, selectors and skin tones that one letter may carry.
const MARKS: usize = 4;
/// Joiners inside one emoji; the longest in use (families, kisses) have three.
const JOINS: usize = 5;
/// Columns between two tab stops.
const TAB: usize = 8;

const JOINER: char = '\u{200D}';

/// What a tab becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tabs {
    OneSpace,
    Stops,
}

/// Whether nothing in `text` needs a second look: printable ASCII only.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x20..=0x7E))
}

/// Whether `c` never appears in a safe text, whatever stands around it.
pub fn is_hostile(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}'
        // Invisible or steering: soft hyphen, joiners, fillers, direction marks and overrides,
        // line and paragraph separators, invisible operators, annotations, shorthand and
        // musical format controls.
        | '\u{AD}' | '\u{34F}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}'
        | '\u{890}' | '\u{891}' | '\u{8E2}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}' | '\u{200C}' | '\u{200E}' | '\u{200F}'
        | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FEFF}'
        | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{110BD}' | '\u{110CD}'
        | '\u{13430}'..='\u{1343F}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
        // Private use: nobody knows what a font shows there.
        | '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}'
        // No characters at all, and the planes of which none is assigned.
        | '\u{FDD0}'..='\u{FDEF}' | '\u{FFFE}' | '\u{FFFF}' | '\u{1FFFE}' | '\u{1FFFF}'
        | '\u{2FFFE}' | '\u{2FFFF}' | '\u{3FFFE}'..='\u{DFFFF}'
        // Tags: a hidden copy of ASCII. (The selectors E0100 to E01EF are judged in context.)
        | '\u{E0000}'..='\u{E00FF}' | '\u{E01F0}'..='\u{EFFFF}')
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}')
}

fn is_skin_tone(c: char) -> bool {
    matches!(c, '\u{1F3FB}'..='\u{1F3FF}')
}

/// Characters that emoji sequences are made of, in the blocks where Unicode keeps them.
fn is_pictograph(c: char) -> bool {
    matches!(c,
        '\u{A9}' | '\u{AE}' | '\u{203C}' | '\u{2049}' | '\u{2122}' | '\u{2139}'
        | '\u{2194}'..='\u{21AA}' | '\u{231A}'..='\u{23FF}' | '\u{25AA}'..='\u{25FE}'
        | '\u{2600}'..='\u{27BF}' | '\u{2934}' | '\u{2935}' | '\u{2B05}'..='\u{2B55}'
        | '\u{3030}' | '\u{303D}' | '\u{3297}' | '\u{3299}'
        | '\u{1F000}'..='\u{1F1E5}' | '\u{1F200}'..='\u{1F3FA}' | '\u{1F400}'..='\u{1FAFF}')
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFD}')
}

/// Filters one line. The result is at most [`MAX_BYTES`] long and a fixed point of this function.
pub(super) fn filter(text: &str, tabs: Tabs) -> String {
    let mut sieve = Sieve { out: String::with_capacity(text.len().min(MAX_BYTES)), ..Sieve::EMPTY };
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        sieve.take(at, c, next, tabs);
        if sieve.out.len() > MAX_BYTES {
            return sieve.cut_short(text.len());
        }
    }
    sieve.flush();
    if sieve.out.len() > MAX_BYTES { sieve.cut_short(text.len()) } else { sieve.out }
}

struct Sieve {
    out: String,
    /// The last character written; a cluster begins where there is none.
    last: Option<char>,
    /// Whether the cluster under way is a picture that a joiner may extend.
    picture: bool,
    marks: usize,
    joins: usize,
    /// Marks left out of the cluster under way, still to be told.
    dropped: usize,
    /// Where output and input may be cut: before the last cluster that began within the limit.
    cut: (usize, usize),
    column: usize,
}

impl Sieve {
    const EMPTY: Self = Self {
        out: String::new(),
        last: None,
        picture: false,
        marks: 0,
        joins: 0,
        dropped: 0,
        cut: (0, 0),
        column: 0,
    };

    fn take(&mut self, at: usize, c: char, next: Option<char>, tabs: Tabs) {
        if c == '\t' {
            let spaces = if tabs == Tabs::Stops { TAB - self.column % TAB } else { 1 };
            (0..spaces).for_each(|_| self.base(at, ' '));
        } else if is_hostile(c) {
            self.mark(at, c);
        } else if c == JOINER {
            self.joiner(at, next);
        } else if is_selector(c) {
            self.selector(at, c);
        } else if c.width() == Some(0) || (is_skin_tone(c) && self.last.is_some()) {
            self.extend(at, c);
        } else {
            self.base(at, c);
        }
    }

    /// A character that begins a cluster, or goes on in one after a joiner.
    fn base(&mut self, at: usize, c: char) {
        if self.last != Some(JOINER) {
            self.begin(at);
        }
        self.picture = is_pictograph(c);
        self.marks = 0;
        self.push(c);
    }

    fn begin(&mut self, at: usize) {
        self.flush();
        if self.out.len() <= MAX_BYTES - RESERVE {
            self.cut = (self.out.len(), at);
        }
        self.joins = 0;
        self.marks = 0;
        self.picture = false;
    }

    fn push(&mut self, c: char) {
        self.column += c.width().unwrap_or(0);
        self.out.push(c);
        self.last = Some(c);
    }

    /// Writes what may not be shown as something that can be read.
    fn mark(&mut self, at: usize, c: char) {
        self.begin(at);
        match u32::from(c) {
            code @ 0..=0x1F => self.push(char::from_u32(0x2400 + code).unwrap_or('\u{FFFD}')),
            0x7F => self.push('␡'),
            code => self.note(format_args!("‹{code:02X}›")),
        }
    }

    fn note(&mut self, note: std::fmt::Arguments<'_>) {
        let from = self.out.len();
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(note);
        self.column += self.out[from..].chars().count();
        self.last = Some('›');
    }

    fn joiner(&mut self, at: usize, next: Option<char>) {
        let open = self.picture
            && self.dropped == 0
            && self.joins < JOINS
            && self.last.is_some_and(|c| is_pictograph(c) || c == '\u{FE0F}' || is_skin_tone(c));
        if open && next.is_some_and(is_pictograph) {
            self.joins += 1;
            self.push(JOINER);
        } else {
            self.mark(at, JOINER);
        }
    }

    /// One selector may follow the character that it selects a form of.
    fn selector(&mut self, at: usize, c: char) {
        let fits = self.last.is_some_and(|base| match c {
            '\u{FE0E}' | '\u{FE0F}' => is_pictograph(base) || matches!(base, '#' | '*' | '0'..='9'),
            '\u{E0100}'..='\u{E01EF}' => is_ideograph(base),
            _ => !base.is_ascii(),
        });
        if fits && self.marks == 0 {
            self.marks = 1;
            self.push(c);
        } else {
            self.mark(at, c);
        }
    }

    /// A mark on the letter before it. The first few stay; of the rest only the number is told.
    fn extend(&mut self, at: usize, c: char) {
        if self.last.is_none() || self.last == Some(JOINER) {
            self.mark(at, c);
        } else if self.marks < MARKS {
            self.marks += 1;
            self.push(c);
        } else {
            self.dropped += 1;
        }
    }

    fn flush(&mut self) {
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            self.note(format_args!("‹+{dropped}›"));
        }
    }

    fn cut_short(mut self, input: usize) -> String {
        let (kept, read) = self.cut;
        self.out.truncate(kept);
        self.note(format_args!("…(+{} bytes)", input - read));
        self.out
    }
}
