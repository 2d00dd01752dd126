//! Reads the filter language. One pass from left to right; every error knows its place, so that the
//! prompt can underline it while the last good result stays on the screen.

use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern as Fuzzy};
use regex::{Regex, RegexBuilder};

use super::term::{Compare, Term, Test, Wanted};
use super::{FieldKind, FieldSpec, FilterError, RowQuery, Selector, Word, closest};
use crate::model::filter::Field;

/// Longest text of a fuzzy search, in bytes.
const LONGEST_FUZZY: usize = 256;

/// Bounds on what a regular expression may compile to, in bytes.
const REGEX_LIMIT: usize = 1 << 20;

const OPERATORS: [(&str, Operator); 10] = [
    ("!=", Operator::Equal { inverse: true }),
    ("!~", Operator::Match { inverse: true }),
    (">=", Operator::Order(Compare::GreaterOrEqual)),
    ("<=", Operator::Order(Compare::LessOrEqual)),
    ("==", Operator::Equal { inverse: false }),
    ("=~", Operator::Match { inverse: false }),
    ("=", Operator::Equal { inverse: false }),
    (">", Operator::Order(Compare::Greater)),
    ("<", Operator::Order(Compare::Less)),
    ("~", Operator::Match { inverse: false }),
];

#[derive(Clone, Copy)]
enum Operator {
    Equal { inverse: bool },
    Match { inverse: bool },
    Order(Compare),
}

pub(super) fn query(text: &str, fields: &[FieldSpec]) -> Result<RowQuery, FilterError> {
    let mut parser = Parser { text, at: 0, fields, query: RowQuery::default() };
    loop {
        parser.skip_spaces();
        if parser.rest().is_empty() {
            return Ok(parser.query);
        }
        parser.part()?;
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    fields: &'a [FieldSpec],
    query: RowQuery,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn part(&mut self) -> Result<(), FilterError> {
        if let Some(rest) = flag(self.rest(), "-f") {
            return self.fuzzy(rest);
        }
        if let Some(rest) = flag(self.rest(), "-l") {
            return self.labels(rest);
        }
        let inverse = self.take("!");
        let start = self.at;
        if self.take("\"") {
            let phrase = self.quoted(start)?;
            return self.word(start, &regex::escape(&phrase), inverse);
        }
        if self.term(inverse)? {
            return Ok(());
        }
        let word = self.regex_word();
        if word.is_empty() {
            return Err(FilterError::new(start, "expected something after \"!\"", ""));
        }
        self.word(start, word, inverse)
    }

    fn fuzzy(&mut self, rest: &'a str) -> Result<(), FilterError> {
        self.at = self.text.len();
        let wanted = rest.trim();
        if wanted.is_empty() {
            return Err(FilterError::new(self.at, "expected what to look for after -f", ""));
        }
        // The matcher's score has 16 bits, about 30 of it for each character found.
        if wanted.len() > LONGEST_FUZZY {
            let message = format!("a fuzzy search takes at most {LONGEST_FUZZY} bytes");
            let at = self.text.len() - rest.trim_start().len();
            return Err(FilterError::new(at, message, ""));
        }
        let (case, form) = (CaseMatching::Smart, Normalization::Smart);
        self.query.fuzzy = Some(Fuzzy::new(wanted, case, form, AtomKind::Fuzzy));
        Ok(())
    }

    fn labels(&mut self, rest: &'a str) -> Result<(), FilterError> {
        let from = self.text.len() - rest.len();
        let (selector, end) = Selector::parse_prefix(rest)
            .map_err(|error| FilterError { at: from + error.at, ..error })?;
        self.at = from + end;
        if !(self.rest().is_empty() || self.rest().starts_with(char::is_whitespace)) {
            return Err(FilterError::new(self.at, "expected \",\" or a space after a label", ""));
        }
        self.query.labels.join(selector);
        Ok(())
    }

    fn word(&mut self, at: usize, pattern: &str, inverse: bool) -> Result<(), FilterError> {
        let regex = smart_regex(pattern).map_err(|error| bad_regex(at, &error))?;
        self.query.words.push(Word { regex, inverse });
        Ok(())
    }

    /// A typed term, if one stands here.
    fn term(&mut self, inverse: bool) -> Result<bool, FilterError> {
        let start = self.at;
        let name = identifier(self.rest());
        if name.is_empty() {
            return Ok(false);
        }
        let after = &self.rest()[name.len()..];
        if let Some((list, excluded)) = list_word(after) {
            // "in (" may be two words to search for, unless the one before it is a field.
            if let Some(spec) = self.spec(name) {
                self.at = self.text.len() - list.len();
                let wanted = self.list(spec)?;
                self.push(spec, name, inverse != excluded, Test::AnyOf(wanted));
                return Ok(true);
            }
        }
        let Some((sign, operator)) = OPERATORS.iter().find(|(sign, _)| after.starts_with(sign))
        else {
            return Ok(false);
        };
        let spec = self.spec(name).ok_or_else(|| self.unknown(start, name))?;
        self.at += name.len() + sign.len();
        let (test, excluded) = self.test(start, spec, *operator)?;
        self.push(spec, name, inverse != excluded, test);
        Ok(true)
    }

    fn push(&mut self, spec: FieldSpec, name: &str, inverse: bool, test: Test) {
        let store = spec.store.and_then(|path| Field::new(path).ok());
        // The part behind a prefix such as `payload.` keeps its case: it is a key of others' making.
        let known = spec.name.trim_end_matches('*').len();
        let field = name[..known].to_ascii_lowercase() + &name[known..];
        self.query.terms.push(Term { field, inverse, test, store });
    }

    fn spec(&self, name: &str) -> Option<FieldSpec> {
        let found = self.fields.iter().find(|spec| match spec.name.strip_suffix('*') {
            Some(prefix) => {
                name.len() > prefix.len()
                    && name.get(..prefix.len()).is_some_and(|own| own.eq_ignore_ascii_case(prefix))
            }
            None => spec.name.eq_ignore_ascii_case(name),
        });
        found.copied()
    }

    fn unknown(&self, at: usize, name: &str) -> FilterError {
        let names: Vec<&str> = self.fields.iter().map(|spec| spec.name).collect();
        let guess = closest(&name.to_ascii_lowercase(), names.iter().copied());
        let guess = guess.map(|guess| format!("did you mean {guess}? ")).unwrap_or_default();
        let hint = format!(
            "{guess}a label: -l {name}=…; text: in \"quotes\"; fields: {}",
            if names.is_empty() { "none here".to_owned() } else { names.join(" ") }
        );
        FilterError::new(at, format!("unknown field {name}"), hint)
    }

    fn test(
        &mut self,
        start: usize,
        spec: FieldSpec,
        operator: Operator,
    ) -> Result<(Test, bool), FilterError> {
        let takes_text = matches!(spec.kind, FieldKind::Text | FieldKind::Any);
        match operator {
            Operator::Match { .. } if !takes_text => {
                let message = format!("{} is no text", spec.name);
                Err(FilterError::new(start, message, "compare it with = != > >= < <="))
            }
            Operator::Order(_) if spec.kind == FieldKind::Text => {
                let message = format!("{} is text and has no order", spec.name);
                Err(FilterError::new(start, message, "compare it with = != ~ !~ or in (a,b)"))
            }
            Operator::Match { inverse } => {
                let at = self.at;
                let pattern =
                    if self.take("\"") { self.quoted(at)? } else { self.regex_word().into() };
                let regex = smart_regex(&pattern).map_err(|error| bad_regex(at, &error))?;
                Ok((Test::Regex(regex), inverse))
            }
            Operator::Equal { inverse } => Ok((Test::AnyOf(vec![self.value(spec, " ")?]), inverse)),
            Operator::Order(compare) => Ok((Test::Order(compare, self.value(spec, " ")?), false)),
        }
    }

    /// One value, quoted or up to one of `ends` (a space stands for all white space).
    fn value(&mut self, spec: FieldSpec, ends: &str) -> Result<Wanted, FilterError> {
        let at = self.at;
        let text = if self.take("\"") {
            self.quoted(at)?
        } else {
            let ends = |c: char| ends.contains(if c.is_whitespace() { ' ' } else { c });
            let text = &self.rest()[..self.rest().find(ends).unwrap_or(self.rest().len())];
            self.at += text.len();
            text.to_owned()
        };
        Wanted::read(&text, spec.kind).map_err(|message| FilterError::new(at, message, ""))
    }

    fn list(&mut self, spec: FieldSpec) -> Result<Vec<Wanted>, FilterError> {
        let mut wanted = Vec::new();
        loop {
            self.skip_spaces();
            wanted.push(self.value(spec, " ,)")?);
            self.skip_spaces();
            if self.take(")") {
                return Ok(wanted);
            }
            if !self.take(",") {
                return Err(FilterError::new(self.at, "expected \",\" or \")\"", ""));
            }
        }
    }

    /// The rest of a text whose opening quote has been read. `\"` and `\\` stand for themselves.
    fn quoted(&mut self, opened: usize) -> Result<String, FilterError> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match (c, chars.peek()) {
                ('\\', Some((_, next @ ('"' | '\\')))) => {
                    text.push(*next);
                    chars.next();
                }
                ('"', _) => {
                    self.at += at + 1;
                    return Ok(text);
                }
                (c, _) => text.push(c),
            }
        }
        Err(FilterError::new(opened, "this quote is never closed", "end it with \""))
    }

    /// Up to a space that stands outside brackets and is not escaped.
    fn regex_word(&mut self) -> &'a str {
        let rest = self.rest();
        let (mut depth, mut class, mut escaped) = (0usize, false, false);
        let end = rest.find(|c: char| {
            let ends = c.is_whitespace() && depth == 0 && !class && !escaped;
            match (c, escaped, class) {
                (_, true, _) => escaped = false,
                ('\\', ..) => escaped = true,
                (']', _, true) => class = false,
                (_, _, true) => {}
                ('[', ..) => class = true,
                ('(', ..) => depth += 1,
                (')', ..) => depth = depth.saturating_sub(1),
                _ => {}
            }
            ends
        });
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }
}

/// What follows `name` if it stands at the beginning as a word of its own.
fn flag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(name)?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then_some(rest)
}

/// What follows the bracket of `in (` or `notin (`, and whether it was the latter.
fn list_word(text: &str) -> Option<(&str, bool)> {
    let word = text.trim_start();
    if word.len() == text.len() {
        return None;
    }
    let (rest, excluded) = match word.strip_prefix("notin") {
        Some(rest) => (rest, true),
        None => (word.strip_prefix("in")?, false),
    };
    rest.trim_start().strip_prefix('(').map(|list| (list, excluded))
}

/// A field's name at the beginning of `text`; empty if there is none.
fn identifier(text: &str) -> &str {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return "";
    }
    let inside = |c: char| c.is_ascii_alphanumeric() || "_.%/-".contains(c);
    &text[..text.find(|c: char| !inside(c)).unwrap_or(text.len())]
}

/// Minds the case only if the pattern has a capital letter that is meant as one.
fn smart_regex(pattern: &str) -> Result<Regex, regex::Error> {
    let mut chars = pattern.chars();
    let mut capital = false;
    while let Some(c) = chars.next() {
        if c != '\\' {
            capital |= c.is_uppercase();
        } else if let Some('p' | 'P') = chars.next() {
            // `\pL` or `\p{Lu}`: the name of a class.
            if chars.next() == Some('{') {
                chars.find(|c| *c == '}');
            }
        }
    }
    RegexBuilder::new(pattern)
        .case_insensitive(!capital)
        .size_limit(REGEX_LIMIT)
        .dfa_size_limit(4 * REGEX_LIMIT)
        .build()
}

/// The library draws the pattern with a caret under the fault; the prompt has its own underline.
fn bad_regex(start: usize, error: &regex::Error) -> FilterError {
    let regex::Error::Syntax(drawing) = error else {
        let message = "the regular expression is too large".to_owned();
        return FilterError::new(start, message, "");
    };
    let what = drawing.lines().rev().find_map(|line| line.strip_prefix("error: "));
    let lines: Vec<&str> = drawing.lines().collect();
    // Drawn as "    pattern" above "      ^".
    let caret = lines.iter().position(|line| line.trim_start().starts_with('^'));
    let column = caret.filter(|at| *at > 0).and_then(|at| {
        let (column, pattern) = (lines[at].find('^')?.checked_sub(4)?, lines[at - 1].get(4..)?);
        pattern.char_indices().nth(column).map(|(at, _)| at).or(Some(pattern.len()))
    });
    let what = what.unwrap_or("it cannot be read");
    let hint = "put plain text in \"quotes\"";
    FilterError::new(start + column.unwrap_or(0), format!("bad regular expression: {what}"), hint)
}
