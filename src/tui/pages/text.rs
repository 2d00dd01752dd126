//! A page of text: help, notices, and what is known of one thing. It remembers where the reader is; the lines are made
//! once, when their source comes.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::logs::{Dropped, LogText};
use super::{steps, words};
use crate::engine::handle::{Description, Listing};
use crate::engine::view::FleetView;
use crate::model::filter::{Field, Filter};
use crate::model::plan::TargetRef;
use crate::model::schema::Collection;
use crate::model::text::{Align, Safe};
use crate::model::time::Time;
use crate::ports::runtime::LogLine;
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
    /// The same document, as JSON at first.
    Json,
    /// What an operation did, step by step.
    Steps,
    /// The journal entry with this number.
    Event(u64),
    Logs,
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
            Self::Yaml | Self::Json | Self::Event(_) => {
                vec![Scope::Yaml, Scope::Text, Scope::Global]
            }
            Self::Steps => vec![Scope::Operations, Scope::Describe, Scope::Text, Scope::Global],
            Self::Logs => vec![Scope::Logs, Scope::Text, Scope::Global],
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
    Log(Box<LogText>),
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
    /// What the view said of it when it was read.
    pub sign: Option<u64>,
    /// Was read not long ago: waits before it is read again.
    pub resting: bool,
}

impl TextPage {
    pub fn new(kind: TextKind, about: Option<TargetRef>) -> Self {
        Self {
            kind,
            about,
            state: TextState { follow: kind == TextKind::Logs, ..TextState::default() },
            content: Content::empty(kind),
            filter: None,
            shown: None,
            asked: None,
            full: false,
            sign: None,
            resting: false,
        }
    }

    /// Everything but the text, which is read again.
    #[must_use]
    pub fn memo(&self) -> Self {
        let content = match &self.content {
            Content::Log(log) => Content::Log(Box::new(log.memo())),
            Content::Waiting | Content::Failed(_) | Content::Plain(_) | Content::Document(_) => {
                Content::empty(self.kind)
            }
        };
        Self { content, shown: None, asked: None, sign: None, ..self.clone() }
    }

    /// What it is made of, if that has to be read.
    pub fn fetch(&self) -> Option<Fetch> {
        let about = self.about.as_ref();
        match self.kind {
            TextKind::Help | TextKind::Notices | TextKind::Aliases | TextKind::Logs => None,
            TextKind::Describe => about.map(|it| Fetch::Describe(it.noun, it.id.clone())),
            TextKind::Yaml | TextKind::Json | TextKind::Steps => {
                about.map(|it| Fetch::Document(it.noun, it.id.clone()))
            }
            TextKind::Event(seq) => Some(Fetch::List(Listing {
                collection: Collection::Events,
                filter: Filter::eq(Field::of("seq"), seq),
                limit: 1,
                after: None,
            })),
        }
    }

    /// What was read has come, or has not.
    pub fn answered(
        &mut self,
        answer: Result<Reply, Fault>,
        view: &FleetView,
        now: Time,
        look: Look<'_>,
    ) {
        self.content = match answer {
            Ok(Reply::Described(description)) => Content::Plain(described(&description)),
            Ok(Reply::Document(document)) => match self.kind {
                TextKind::Steps => match steps::lines(&document, view, now, look.glyphs) {
                    Some(lines) => Content::Plain(lines),
                    None => self.document(*document),
                },
                _ => self.document(*document),
            },
            Ok(Reply::Listed(documents, _)) => match documents.into_iter().next() {
                Some(document) => self.document(document),
                None => Content::Failed(Safe::new("it is no longer in the store")),
            },
            Ok(Reply::LogEnded) => return self.log_ended(None),
            Ok(Reply::Plan(_) | Reply::Confirmed(_) | Reply::Cancelled | Reply::Dumped(_)) => {
                return;
            }
            Err(fault) if self.kind == TextKind::Logs => {
                return self.log_ended(Some(&Safe::new(&chain(&fault))));
            }
            Err(fault) => Content::Failed(Safe::new(&chain(&fault))),
        };
        self.refilter(look);
    }

    /// The document laid out as the one before it was.
    fn document(&self, document: Document) -> Content {
        let (format, folded) = match &self.content {
            Content::Document(before) => (before.format, before.folded.clone()),
            Content::Waiting | Content::Failed(_) | Content::Plain(_) | Content::Log(_) => {
                let is_json = matches!(self.kind, TextKind::Json | TextKind::Event(_));
                (if is_json { Format::Json } else { Format::Yaml }, BTreeSet::new())
            }
        };
        Content::Document(Box::new(DocumentText::new(whole(document), format, folded)))
    }

    fn log_ended(&mut self, error: Option<&Safe>) {
        if let Content::Log(log) = &mut self.content {
            log.end(error);
        }
    }

    /// More lines of the log that it follows.
    pub fn log(&mut self, lines: Vec<LogLine>, look: Look<'_>) {
        let Content::Log(log) = &mut self.content else { return };
        let before = if log.is_empty() { 0 } else { log.count() };
        let Dropped(dropped) = log.push(lines);
        self.let_go(dropped);
        self.refilter_from(before.saturating_sub(dropped), look);
    }

    /// The first `count` lines are gone: what was in sight stays in sight.
    fn let_go(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let of_shown = match &mut self.shown {
            Some(shown) => {
                let gone = shown.partition_point(|line| (*line as usize) < count);
                shown.drain(..gone);
                let by = u32::try_from(count).unwrap_or(u32::MAX);
                shown.iter_mut().for_each(|line| *line -= by);
                gone
            }
            None => count,
        };
        self.state.top = self.state.top.saturating_sub(of_shown);
        self.state.hit = self.state.hit.and_then(|hit| hit.checked_sub(of_shown));
    }

    /// Filters the lines from `first` on; those before are known.
    fn refilter_from(&mut self, first: usize, look: Look<'_>) {
        let (Some(filter), Some(shown)) = (&self.filter, &mut self.shown) else { return };
        let mut pieces = Pieces::default();
        for index in first..self.content.count() {
            pieces.clear();
            self.content.line(index, look, &mut pieces);
            if filter.is_match(pieces.as_str()) {
                shown.push(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
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
        if let Content::Log(log) = &self.content {
            note.push(log.note(self.state.follow));
        }
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

impl Content {
    fn empty(kind: TextKind) -> Self {
        if kind == TextKind::Logs {
            Self::Log(Box::new(LogText::new(false)))
        } else {
            Self::Waiting
        }
    }
}

impl Lines for Content {
    fn count(&self) -> usize {
        match self {
            Self::Waiting | Self::Failed(_) => 1,
            Self::Plain(lines) => lines.len(),
            Self::Document(document) => document.lines.count(),
            Self::Log(log) => log.count(),
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
            Self::Log(log) => log.line(index, look, out),
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
