//! A line of text being edited: cursor, words, paste. It draws nothing and runs nothing.

use crokey::OneToThree;
use crossterm::event::{KeyCode, KeyModifiers};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthChar;

use crate::model::text::{columns, is_hostile};
use crate::tui::keys::{Key, typed};
use crate::tui::writer::encode::forbidden;

/// Longer lines are not taken: every prompt and field is one line.
const LONGEST: usize = 4096;

/// More marks than this on one character are not taken: they would pile up over the lines above.
const HIGHEST: usize = 4;

/// Whether a character takes no column of its own.
fn is_mark(c: &char) -> bool {
    c.width() == Some(0)
}

/// One line and the place of the cursor in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineEdit {
    text: String,
    /// A byte offset between two grapheme clusters.
    cursor: usize,
}

impl LineEdit {
    pub fn new(text: &str) -> Self {
        let mut edit = Self::default();
        edit.insert(text);
        edit
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether the cursor is behind the last character.
    pub fn at_end(&self) -> bool {
        self.cursor == self.text.len()
    }

    /// Columns before the cursor.
    pub fn column(&self) -> usize {
        columns(&self.text[..self.cursor])
    }

    /// Replaces everything; the cursor goes to the end.
    pub fn set(&mut self, text: &str) {
        self.text.clear();
        self.cursor = 0;
        self.insert(text);
    }

    /// Inserts what of `text` is printable, line breaks as blanks.
    pub fn insert(&mut self, text: &str) {
        let mut pile = self.text[..self.cursor].chars().rev().take_while(is_mark).count();
        let mut fits = |c: &char| {
            pile = if is_mark(c) { pile + 1 } else { 0 };
            pile <= HIGHEST
        };
        let clean: String = text
            .chars()
            .map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c })
            .filter(|c| !is_hostile(*c) && !forbidden(*c) && fits(c))
            .take(LONGEST.saturating_sub(self.text.chars().count()))
            .collect();
        self.text.insert_str(self.cursor, &clean);
        self.cursor += clean.len();
    }

    /// Takes `key` if it edits the line; returns whether it did.
    pub fn key(&mut self, key: Key) -> bool {
        if let Some(c) = typed(key) {
            self.insert(c.encode_utf8(&mut [0; 4]));
            return true;
        }
        let OneToThree::One(code) = key.codes else { return false };
        let control = key.modifiers == KeyModifiers::CONTROL;
        match code {
            KeyCode::Backspace if key.modifiers.is_empty() => self.cut(self.before(), self.cursor),
            KeyCode::Delete => self.cut(self.cursor, self.after()),
            KeyCode::Left if key.modifiers.is_empty() => self.cursor = self.before(),
            KeyCode::Right if key.modifiers.is_empty() => self.cursor = self.after(),
            KeyCode::Left => self.cursor = self.word_before(),
            KeyCode::Right => self.cursor = self.word_after(),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            KeyCode::Char('a') if control => self.cursor = 0,
            KeyCode::Char('e') if control => self.cursor = self.text.len(),
            KeyCode::Char('h') if control => self.cut(self.before(), self.cursor),
            KeyCode::Char('d') if control => self.cut(self.cursor, self.after()),
            KeyCode::Char('u') if control => self.cut(0, self.cursor),
            KeyCode::Char('k') if control => self.cut(self.cursor, self.text.len()),
            KeyCode::Char('w') if control => self.cut(self.word_before(), self.cursor),
            KeyCode::Backspace => self.cut(self.word_before(), self.cursor),
            _ => return false,
        }
        true
    }

    fn cut(&mut self, begin: usize, end: usize) {
        self.text.replace_range(begin..end, "");
        self.cursor = begin;
    }

    fn before(&self) -> usize {
        let mut clusters = self.text[..self.cursor].grapheme_indices(true);
        clusters.next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        let cluster = self.text[self.cursor..].graphemes(true).next();
        self.cursor + cluster.map_or(0, str::len)
    }

    fn word_before(&self) -> usize {
        let trimmed = self.text[..self.cursor].trim_end();
        trimmed
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + trimmed[at..].chars().next().map_or(0, char::len_utf8))
    }

    fn word_after(&self) -> usize {
        let rest = &self.text[self.cursor..];
        let word = rest.len() - rest.trim_start().len();
        let end = rest[word..].find(char::is_whitespace);
        end.map_or(self.text.len(), |end| self.cursor + word + end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tui::keys::parse;

    fn press(edit: &mut LineEdit, keys: &str) {
        for key in keys.split(' ') {
            assert!(edit.key(parse(key).unwrap()), "{key}");
        }
    }

    #[test]
    fn a_line_is_edited_by_characters_words_and_as_a_whole() {
        let mut edit = LineEdit::new("agents all");
        press(&mut edit, "ctrl-w p backspace left");
        assert_eq!((edit.text(), edit.column()), ("agents ", 6));
        press(&mut edit, "home x end y ctrl-left");
        assert_eq!((edit.text(), edit.column()), ("xagents y", 8));
        press(&mut edit, "ctrl-u delete");
        assert_eq!(edit.text(), "");
        assert!(!edit.key(parse("ctrl-r").unwrap()) && !edit.key(parse("enter").unwrap()));
    }

    #[test]
    fn a_character_goes_as_a_whole_and_a_paste_stays_one_line() {
        let mut edit = LineEdit::new("e\u{301}世");
        press(&mut edit, "backspace backspace");
        assert_eq!(edit.text(), "");
        edit.insert("a\nb\u{1b}[31m\t\u{202e}c");
        assert_eq!(edit.text(), "a b[31m c");
        edit.insert(&"x".repeat(10_000));
        assert_eq!(edit.text().chars().count(), LONGEST);
    }

    proptest! {
        #[test]
        fn the_cursor_never_splits_a_character(start in ".{0,12}", keys in proptest::collection::vec(
            prop::sample::select(vec!["left", "right", "backspace", "delete", "ctrl-w", "ctrl-left", "ctrl-right",
                "x", "home", "end", "ctrl-k"]), 0..30)) {
            let mut edit = LineEdit::new(&start);
            for key in keys {
                edit.key(parse(key).unwrap());
                prop_assert!(edit.text().is_char_boundary(edit.cursor));
            }
        }
    }
}
