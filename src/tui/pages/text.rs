//! A page of text: help, notices, and what is known of one thing. It remembers where the reader is; the lines are made
//! once, when their source comes.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::words;
use crate::engine::handle::Description;
use crate::model::plan::TargetRef;
use crate::model::text::{Align, Safe};
use crate::ports::store::{Document, chain};
use crate::tui::action::Action;
use crate::tui::effect::{EffectId, Fetch};
use crate::tui::event::{Fault, Reply};
use crate::tui::keymap::Scope;
use crate::tui::theme::Theme;
use crate::tui::widgets::Look;
use crate::tui::widgets::json::{Format, JsonLines};
use crate::tui::widgets::text::{self, Lines, Pieces, TextHits, TextState};

/// Columns that one key scrolls sideways.
const SIDEWAYS: usize = 8;

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum TextKind {
    Help,
    Notices,
    Aliases,
    Describe,
    Yaml,
}

impl TextKind {
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub fn scopes(self) -> Vec<Scope> {
        match self {
            Self::Help | Self::Notices | Self::Aliases => {
                vec![Scope::Help, Scope::Text, Scope::Global]
            }
            Self::Describe => vec![Scope::Describe, Scope::Text, Scope::Global],
            Self::Yaml => vec![Scope::Yaml, Scope::Text, Scope::Global],
        }
    }
}

/// What there is to read.
#[derive(Debug, Clone, Default)]
pub enum Content {
    /// It is on its way.
    #[default]
    Waiting,
    Failed(Safe),
    Plain(Vec<PlainLine>),
    Document(Box<DocumentText>),
}

/// A stored document, laid out anew when it is folded or the format changes.
#[derive(Debug, Clone)]
pub struct DocumentText {
    value: Value,
    format: Format,
    folded: BTreeSet<String>,
    lines: JsonLines,
}

impl DocumentText {
    fn new(value: Value, format: Format, folded: BTreeSet<String>) -> Self {
        let lines = JsonLines::new(&value, format, &folded);
        Self { value, format, folded, lines }
    }

    fn lay_out(&mut self) {
        self.lines = JsonLines::new(&self.value, self.format, &self.folded);
    }
}

/// A line of words in styles that do not depend on the theme of the moment.
pub type PlainLine = Vec<(Safe, Ink)>;

/// A meaning that a word in a text may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    Text,
    Muted,
    Title,
    Key,
    Ok,
    Warn,
    Alarm,
}

impl Ink {
    fn style(self, theme: &Theme) -> ratatui::style::Style {
        match self {
            Self::Text => theme.text,
            Self::Muted => theme.muted,
            Self::Title => theme.title,
            Self::Key => theme.hint_key,
            Self::Ok => theme.ok,
            Self::Warn => theme.warn,
            Self::Alarm => theme.alarm,
        }
    }
}

#[derive(Debug, Clone)]
pub struct TextPage {
    pub kind: TextKind,
    pub about: Option<TargetRef>,
    pub state: TextState,
    pub content: Content,
    /// The line filter (`&`) as typed, and what it found.
    pub filter: Option<Regex>,
    pub shown: Option<Vec<u32>>,
    /// The read or the stream that feeds it.
    pub asked: Option<EffectId>,
    /// Uses the whole screen.
    pub full: bool,
}

impl TextPage {
    pub fn new(kind: TextKind, about: Option<TargetRef>) -> Self {
        Self {
            kind,
            about,
            state: TextState::default(),
            content: Content::Waiting,
            filter: None,
            shown: None,
            asked: None,
            full: false,
        }
    }

    /// Everything but the text, which is read again.
    #[must_use]
    pub fn memo(&self) -> Self {
        Self { content: Content::Waiting, shown: None, asked: None, ..self.clone() }
    }

    /// What it is made of, if that has to be read.
    pub fn fetch(&self) -> Option<Fetch> {
        let about = self.about.as_ref()?;
        match self.kind {
            TextKind::Help | TextKind::Notices | TextKind::Aliases => None,
            TextKind::Describe => Some(Fetch::Describe(about.noun, about.id.clone())),
            TextKind::Yaml => Some(Fetch::Document(about.noun, about.id.clone())),
        }
    }

    /// What was read has come, or has not.
    pub fn answered(&mut self, answer: Result<Reply, Fault>) {
        self.content = match answer {
            Ok(Reply::Described(description)) => Content::Plain(described(&description)),
            Ok(Reply::Document(document)) => {
                let (format, folded) = match &self.content {
                    Content::Document(before) => (before.format, before.folded.clone()),
                    Content::Waiting | Content::Failed(_) | Content::Plain(_) => Default::default(),
                };
                Content::Document(Box::new(DocumentText::new(whole(*document), format, folded)))
            }
            Ok(
                Reply::Plan(_)
                | Reply::Confirmed(_)
                | Reply::Cancelled
                | Reply::Listed(..)
                | Reply::LogEnded,
            ) => {
                return;
            }
            Err(fault) => Content::Failed(Safe::new(&chain(&fault))),
        };
    }

    /// Carries out what moves or changes the text; returns whether `action` does so.
    pub fn action(&mut self, action: Action, hits: TextHits, look: Look<'_>) -> bool {
        let page = usize::from(hits.height.max(1));
        let state = &mut self.state;
        match action {
            Action::SelectNext => self.scroll(hits, 1),
            Action::SelectPrevious => self.scroll(hits, -1),
            Action::SelectFirst => self.scroll(hits, isize::MIN),
            Action::SelectLast => self.scroll(hits, isize::MAX),
            Action::PageDown => self.scroll(hits, isize::try_from(page).unwrap_or(1)),
            Action::PageUp => self.scroll(hits, -isize::try_from(page).unwrap_or(1)),
            Action::HalfPageDown => self.scroll(hits, isize::try_from(page / 2).unwrap_or(1)),
            Action::HalfPageUp => self.scroll(hits, -isize::try_from(page / 2).unwrap_or(1)),
            Action::ScrollLeft => state.left = state.left.saturating_sub(SIDEWAYS),
            Action::ScrollRight => state.left = state.left.saturating_add(SIDEWAYS),
            Action::ToggleWrap => (state.wrap, state.left) = (!state.wrap, 0),
            Action::FullScreen => self.full = !self.full,
            Action::FindNext => self.find(true, look),
            Action::FindPrevious => self.find(false, look),
            Action::ToggleFormat => return self.toggle_format(look),
            _ => return false,
        }
        true
    }

    fn scroll(&mut self, hits: TextHits, by: isize) {
        // From where the last frame stood: `top` may lie behind the end of a text that has become shorter.
        self.state.top = hits.top.saturating_add_signed(by).min(self.count().saturating_sub(1));
        self.state.follow = false;
    }

    /// How many lines there are to see.
    fn count(&self) -> usize {
        self.shown.as_ref().map_or_else(|| self.content.count(), Vec::len)
    }

    fn toggle_format(&mut self, look: Look<'_>) -> bool {
        let Content::Document(document) = &mut self.content else { return false };
        document.format = match document.format {
            Format::Yaml => Format::Json,
            Format::Json => Format::Yaml,
        };
        document.lay_out();
        self.refilter(look);
        true
    }

    /// Searches from the line `top` on while it is typed; nothing to search for ends it.
    pub fn search(&mut self, search: Option<Regex>, top: usize, look: Look<'_>) {
        self.state.hit = search.as_ref().and_then(|search| {
            let from = top.checked_sub(1);
            text::find(&self.content, self.shown.as_deref(), search, from, true, look)
        });
        self.state.search = search;
        self.show_hit();
    }

    fn find(&mut self, forward: bool, look: Look<'_>) {
        let Some(search) = &self.state.search else { return };
        let shown = self.shown.as_deref();
        let hit = text::find(&self.content, shown, search, self.state.hit, forward, look);
        self.state.hit = hit;
        self.show_hit();
    }

    fn show_hit(&mut self) {
        if let Some(hit) = self.state.hit {
            // Two lines before it, for the context.
            (self.state.top, self.state.follow) = (hit.saturating_sub(2), false);
        }
    }

    /// Every line shown, for the clipboard.
    pub fn copy(&self, look: Look<'_>) -> Vec<Safe> {
        let mut pieces = Pieces::default();
        (0..self.count())
            .map(|position| {
                pieces.clear();
                let line = self.shown.as_ref().map_or(position, |shown| shown[position] as usize);
                self.content.line(line, look, &mut pieces);
                Safe::new(pieces.as_str())
            })
            .collect()
    }

    pub fn title(&self) -> String {
        match &self.about {
            Some(about) => {
                format!("{} {} {}", self.kind.name(), about.noun, words::plain(&about.name))
            }
            None => self.kind.name().to_owned(),
        }
    }

    /// How it is looked at, for the corner of its frame.
    pub fn note(&self) -> String {
        let mut note = Vec::new();
        if let Some(filter) = &self.filter {
            note.push(format!("&{}", words::plain(filter.as_str())));
        }
        if let Some(search) = &self.state.search {
            let found = if self.state.hit.is_some() { "" } else { " (nowhere)" };
            note.push(format!("/{}{found}", words::plain(search.as_str())));
        }
        if self.state.wrap {
            note.push("wrap".to_owned());
        }
        note.join("  ")
    }

    pub fn line(&self) -> String {
        self.title()
    }

    pub fn crumb(&self) -> String {
        self.kind.name().to_owned()
    }

    /// Finds again what the line filter shows.
    pub fn refilter(&mut self, look: Look<'_>) {
        let Some(filter) = &self.filter else {
            self.shown = None;
            return;
        };
        let mut pieces = Pieces::default();
        let mut found = Vec::new();
        for index in 0..self.content.count() {
            pieces.clear();
            self.content.line(index, look, &mut pieces);
            if filter.is_match(pieces.as_str()) {
                found.push(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
        self.shown = Some(found);
    }
}

impl Lines for Content {
    fn count(&self) -> usize {
        match self {
            Self::Waiting | Self::Failed(_) => 1,
            Self::Plain(lines) => lines.len(),
            Self::Document(document) => document.lines.count(),
        }
    }

    fn line(&self, index: usize, look: Look<'_>, out: &mut Pieces) {
        match self {
            Self::Waiting => {
                out.word("reading", look.theme.muted).word(look.glyphs.ellipsis, look.theme.muted);
            }
            Self::Failed(why) => {
                out.word(look.glyphs.failed, look.theme.alarm).word(" ", look.theme.alarm);
                out.safe(why, look.theme.alarm);
            }
            Self::Plain(lines) => {
                for (text, ink) in lines.get(index).into_iter().flatten() {
                    out.safe(text, ink.style(look.theme));
                }
            }
            Self::Document(document) => document.lines.line(index, look, out),
        }
    }
}

/// The document with its key and revision, as the store has it.
fn whole(document: Document) -> Value {
    let mut fields = serde_json::Map::new();
    fields.insert("_key".into(), Value::from(document.key.as_str()));
    fields.insert("_rev".into(), Value::from(document.rev.to_string()));
    fields.extend(document.body);
    Value::Object(fields)
}

/// Titled sections of `name: value`, the values in one column.
fn described(description: &Description) -> Vec<PlainLine> {
    let mut lines = vec![vec![(Safe::new(&description.title), Ink::Title)]];
    for section in &description.sections {
        lines.push(Vec::new());
        lines.push(vec![(Safe::new(&section.title), Ink::Title)]);
        let names: Vec<Safe> = section.lines.iter().map(|(name, _)| Safe::new(name)).collect();
        let width = names.iter().map(Safe::width).max().unwrap_or(0).min(24);
        for (name, (_, value)) in names.iter().zip(&section.lines) {
            let mut rest = Safe::lines(value).into_iter();
            let head = Safe::new(&format!("  {}  ", name.fit(width, Align::Left)));
            lines.push(vec![(head, Ink::Muted), (rest.next().unwrap_or_default(), Ink::Text)]);
            let indent = Safe::new(&" ".repeat(width + 4));
            lines.extend(rest.map(|line| vec![(indent.clone(), Ink::Text), (line, Ink::Text)]));
        }
    }
    lines
}
