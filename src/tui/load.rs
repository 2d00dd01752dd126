//! What is wrong with a keymap or a theme file, said so that its owner can mend it: file, line, key, what, hint.
//! Never stops the console: whoever loads keeps the default and shows the error.

use std::fmt;
use std::ops::Range;
use std::path::Path;

/// One thing wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The path of the user's file, or the name of a shipped one.
    pub file: String,
    /// Counted from 1; 0 when the whole file is meant.
    pub line: usize,
    /// The key in the file, such as `agents.ctrl-d`; empty when the file does not parse.
    pub key: String,
    pub what: String,
    /// What would have been accepted; empty when there is nothing to say.
    pub hint: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

impl std::error::Error for LoadError {}

/// One TOML file on its way in: its name and text, so that an error can point at a line.
#[derive(Debug, Clone)]
pub struct Source {
    pub file: String,
    pub text: String,
}

impl Source {
    pub fn shipped(folder: &str, name: &str, text: &str) -> Self {
        Self { file: format!("{folder}/{name}.toml"), text: text.to_owned() }
    }

    /// Reads `FOLDER/NAME.toml` below the user's configuration.
    ///
    /// `Ok(None)` when there is no such file.
    ///
    /// # Errors
    /// [`LoadError`] when it is there and cannot be read.
    pub fn user(config: &Path, folder: &str, name: &str) -> Result<Option<Self>, LoadError> {
        Self::read(&config.join(folder).join(format!("{name}.toml")))
    }

    /// Reads a file; `Ok(None)` when there is none.
    ///
    /// # Errors
    /// [`LoadError`] when it is there and cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, LoadError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(Self { file: path.display().to_string(), text })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LoadError {
                file: path.display().to_string(),
                line: 0,
                key: String::new(),
                what: format!("cannot be read: {error}"),
                hint: String::new(),
            }),
        }
    }

    /// An error at the byte `span` of this file.
    pub fn error(&self, span: &Range<usize>, key: &str, what: String, hint: String) -> LoadError {
        let upto = span.start.min(self.text.len());
        let line = 1 + self.text.as_bytes()[..upto].iter().filter(|byte| **byte == b'\n').count();
        LoadError { file: self.file.clone(), line, key: key.to_owned(), what, hint }
    }

    /// The error for a text that is no TOML at all.
    pub fn not_toml(&self, error: &toml::de::Error) -> LoadError {
        let span = error.span().unwrap_or(0..0);
        let what = error.message().lines().next().unwrap_or("is not TOML").to_owned();
        self.error(&span, "", what, String::new())
    }
}

/// Returns the candidate most like `word`, when one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // of a short word one letter is most of it
    let limit = match word.chars().count() {
        0..=2 => 0,
        3 => 1,
        long => long / 3 + 1,
    };
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(far, _)| *far <= limit)
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_file_line_and_key() {
        let source = Source::shipped("themes", "x", "a = 1\nb = 2\nc = 3\n");
        let error = source.error(&(6..7), "b", "is no colour".into(), "try red".into());
        assert_eq!(error.to_string(), "themes/x.toml:2: b: is no colour (try red)");
    }

    #[test]
    fn only_a_near_word_is_offered() {
        let words = ["describe", "delete", "restart"];
        assert_eq!(nearest("descirbe", words.into_iter()), Some("describe"));
        assert_eq!(nearest("quux", words.into_iter()), None);
    }
}
