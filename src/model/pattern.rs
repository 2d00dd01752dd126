//! What a subscription asks for: a glob over event names and conditions over the payload. Both are
//! checked when they are made and bounded when they are matched; neither ever panics or takes more
//! than (length of pattern × length of text) steps.

mod conditions;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use conditions::{BadCondition, Conditions};

/// The longest pattern that is accepted, in bytes.
pub const MAX_BYTES: usize = 4096;

/// A glob: `*` is any run of characters (dots too, none too), `?` one character, `[a-z]` one of a
/// class, `[^a-z]` or `[!a-z]` one outside it, `\` makes the next character an ordinary one. It
/// matches whole texts and minds the case; the class syntax is that of Go's `filepath.Match`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Token {
    Run,
    One,
    Char(char),
    Class { outside: bool, ranges: Vec<(char, char)> },
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern is wrong at character {at}: {what}")]
pub struct BadPattern {
    /// Counted in characters from 1.
    pub at: usize,
    pub what: &'static str,
}

impl Pattern {
    /// # Errors
    /// [`BadPattern`] for an empty or over-long text, an unclosed or empty class, a range that runs
    /// backwards, and a `\` at the end.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        if text.is_empty() {
            return Err(BadPattern { at: 1, what: "it is empty; \"*\" matches everything" });
        }
        if text.len() > MAX_BYTES {
            return Err(BadPattern { at: 1, what: "it is longer than 4096 bytes" });
        }
        let mut parser = Parser { chars: text.chars().collect(), at: 0 };
        let mut tokens = Vec::with_capacity(parser.chars.len());
        while let Some(token) = parser.token()? {
            // Two runs side by side are one: this is what keeps matching bounded.
            if token != Token::Run || tokens.last() != Some(&Token::Run) {
                tokens.push(token);
            }
        }
        Ok(Self { text: text.to_owned(), tokens })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What every matching text begins with: the bound for a search over an index.
    pub fn prefix(&self) -> String {
        let fixed = self.tokens.iter().map_while(|token| match token {
            Token::Char(c) => Some(*c),
            Token::Run | Token::One | Token::Class { .. } => None,
        });
        fixed.collect()
    }

    /// Whether only one text matches, namely [`Pattern::prefix`].
    pub fn is_exact(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Char(_)))
    }

    /// Whether all of `text` matches. A failed run is retried from the last `*` alone, one character
    /// on: an earlier `*` taking more could only leave less for the rest.
    pub fn matches(&self, text: &str) -> bool {
        let (mut rest, mut at) = (text, 0);
        let mut retry: Option<(usize, &str)> = None;
        loop {
            match (self.tokens.get(at), rest.chars().next()) {
                (Some(Token::Run), _) => {
                    at += 1;
                    if at == self.tokens.len() {
                        return true;
                    }
                    retry = Some((at, rest));
                    continue;
                }
                (None, None) => return true,
                (Some(token), Some(c)) if token.takes(c) => {
                    (rest, at) = (&rest[c.len_utf8()..], at + 1);
                    continue;
                }
                (_, None) => return false,
                (_, Some(_)) => {}
            }
            let Some((after, from)) = retry else { return false };
            let Some(skipped) = from.chars().next() else { return false };
            rest = &from[skipped.len_utf8()..];
            (at, retry) = (after, Some((after, rest)));
        }
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Run | Self::One => true,
            Self::Char(own) => *own == c,
            Self::Class { outside, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *outside
            }
        }
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn token(&mut self) -> Result<Option<Token>, BadPattern> {
        let Some(c) = self.next() else { return Ok(None) };
        Ok(Some(match c {
            '*' => Token::Run,
            '?' => Token::One,
            '[' => self.class()?,
            '\\' => Token::Char(self.escaped()?),
            c => Token::Char(c),
        }))
    }

    fn class(&mut self) -> Result<Token, BadPattern> {
        let opened = self.at;
        let outside = matches!(self.peek(), Some('^' | '!'));
        self.at += usize::from(outside);
        let mut ranges = Vec::new();
        loop {
            match self.peek() {
                None => return Err(BadPattern { at: opened, what: "this \"[\" is never closed" }),
                Some(']') if ranges.is_empty() => {
                    return Err(self.bad("the class is empty (write \"\\]\" for a bracket)"));
                }
                Some(']') => break self.at += 1,
                Some(_) => ranges.push(self.range()?),
            }
        }
        Ok(Token::Class { outside, ranges })
    }

    fn range(&mut self) -> Result<(char, char), BadPattern> {
        let low = self.bound()?;
        if self.peek() != Some('-') {
            return Ok((low, low));
        }
        self.at += 1;
        let high = self.bound()?;
        if low > high {
            return Err(BadPattern { at: self.at, what: "the range runs backwards" });
        }
        Ok((low, high))
    }

    fn bound(&mut self) -> Result<char, BadPattern> {
        match self.next() {
            Some('\\') => self.escaped(),
            Some('-' | ']') => Err(BadPattern {
                at: self.at,
                what: "a range lacks one of its ends (write \"\\-\" for a minus sign)",
            }),
            Some(c) => Ok(c),
            None => Err(self.bad("the class is never closed")),
        }
    }

    fn escaped(&mut self) -> Result<char, BadPattern> {
        self.next().ok_or(BadPattern { at: self.at, what: "nothing follows the last \"\\\"" })
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn bad(&self, what: &'static str) -> BadPattern {
        BadPattern { at: self.at + 1, what }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = BadPattern;
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        Self::new(text)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::new(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
