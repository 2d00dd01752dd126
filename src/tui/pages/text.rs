//! A page of text: help, notices, and what is known of one thing. It remembers where the reader is; the lines are made
//! once, when their source comes.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::listed::Entry;
use super::logs::Dropped;
use super::{site, steps, words};
use crate::engine::handle::Listing;
use crate::engine::view::FleetView;
use crate::model::filter::{Field, Filter};
use crate::model::id::AgentId;
use crate::model::plan::TargetRef;
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::site::{Answer, Ask};
use crate::ports::store::{Document, chain};
use crate::tui::action::Action;
use crate::tui::effect::{EffectId, Fetch};
use crate::tui::event::{Fault, LogBatch, Reply};
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::json::Format;
use crate::tui::widgets::text::{self, Lines, Pieces, TextHits, TextState};

mod content;
mod lines;

pub use self::content::{Content, DocumentText, Ink, PlainLine};
use self::content::{described, whole};

/// Columns that one key scrolls sideways.
const SIDEWAYS: usize = 8;
/// Hits are counted in texts of so many lines at most.
const COUNTED: usize = 20_000;

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum TextKind {
    Help,
    Notices,
    Aliases,
    /// What the actor's role may do.
    #[strum(serialize = "can-i")]
    Rights,
    /// What is known of one host.
    Host,
    /// The objects behind an agent as its runtime has them.
    Live,
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
            Self::Help | Self::Notices | Self::Aliases | Self::Rights => {
                vec![Scope::Help, Scope::Text, Scope::Global]
            }
            Self::Describe | Self::Host => vec![Scope::Describe, Scope::Text, Scope::Global],
            Self::Yaml | Self::Json | Self::Event(_) | Self::Live => {
                vec![Scope::Yaml, Scope::Text, Scope::Global]
            }
            Self::Steps => vec![Scope::Operations, Scope::Describe, Scope::Text, Scope::Global],
            Self::Logs => vec![Scope::Logs, Scope::Text, Scope::Global],
        }
    }
}

#[derive(Debug, Clone)]
pub struct TextPage {
    pub kind: TextKind,
    pub about: Option<TargetRef>,
    /// The host that it is about.
    pub host: Option<Box<Entry>>,
    pub state: TextState,
    pub content: Content,
    /// The line filter (`&`) as typed, and what it found.
    pub filter: Option<Regex>,
    pub shown: Option<Vec<u32>>,
    /// The read or the stream that feeds it.
    pub asked: Option<EffectId>,
    /// Uses the whole screen.
    pub full: bool,
    /// The next document is the same one, later: what differs is marked.
    pub compares: bool,
    /// Secrets are shown.
    pub revealed: bool,
    /// Which of how many hits of the search is in sight, where they could be counted.
    pub hits: Option<(u64, u64)>,
    /// What the view said of it when it was read.
    pub sign: Option<u64>,
    /// Was read not long ago: waits before it is read again.
    pub resting: bool,
}

impl TextPage {
    /// There is nothing to read yet, or only why there is nothing.
    pub fn is_empty(&self) -> bool {
        match &self.content {
            Content::Waiting | Content::Failed(_) => true,
            Content::Log(log) => log.is_unwritten(),
            Content::Plain(_) | Content::Document(_) => false,
        }
    }

    pub fn new(kind: TextKind, about: Option<TargetRef>) -> Self {
        Self {
            kind,
            about,
            host: None,
            state: TextState { follow: kind == TextKind::Logs, ..TextState::default() },
            content: Content::empty(kind),
            filter: None,
            shown: None,
            asked: None,
            full: false,
            compares: false,
            revealed: false,
            hits: None,
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
        // What was revealed is asked for again, and audited again.
        Self { content, shown: None, asked: None, sign: None, revealed: false, ..self.clone() }
    }

    /// What it is made of, if that has to be read.
    pub fn fetch(&self) -> Option<Fetch> {
        let about = self.about.as_ref();
        match self.kind {
            TextKind::Help | TextKind::Notices | TextKind::Aliases | TextKind::Logs => None,
            TextKind::Rights => Some(Fetch::Site(Ask::Allowances)),
            TextKind::Host => self.host.as_ref().map(|it| Fetch::Site(Ask::Host(it.id.clone()))),
            TextKind::Live => {
                let id = about.and_then(|it| AgentId::new(&it.id).ok());
                id.map(|id| Fetch::Site(Ask::Live(id)))
            }
            TextKind::Describe => about.map(|it| Fetch::Describe(it.noun, it.id.clone())),
            TextKind::Yaml | TextKind::Json if self.revealed => {
                about.map(|it| Fetch::Reveal(it.noun, it.id.clone()))
            }
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
            Ok(Reply::Revealed(document)) => self.document(*document),
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
            Ok(Reply::Site(answer)) => match self.of_site(*answer, view) {
                Some(content) => content,
                None => return,
            },
            Ok(Reply::LogEnded) => return self.log_ended(None),
            Ok(
                Reply::Plan(_)
                | Reply::Confirmed(_)
                | Reply::Cancelled
                | Reply::Forwards(_)
                | Reply::Forwarded(_)
                | Reply::Unforwarded(_)
                | Reply::Dumped(_),
            ) => return,
            Err(fault) if self.kind == TextKind::Logs => {
                return self.log_ended(Some(&Safe::new(&chain(&fault))));
            }
            // what the role may do is known all the same
            Err(fault) if self.kind == TextKind::Rights => {
                let why = Safe::new(&format!("  the runtime does not say: {}", chain(&fault)));
                self.with_more(vec![Vec::new(), vec![(why, Ink::Warn)]])
            }
            Err(fault) => Content::Failed(Safe::new(&chain(&fault))),
        };
        self.refilter(look);
    }

    /// What the runtime said of its site, as a text.
    fn of_site(&mut self, answer: Answer, view: &FleetView) -> Option<Content> {
        match answer {
            Answer::Host(more) => {
                let known = self.host.as_deref();
                let name = known.map(|it| it.name.as_str().to_owned()).unwrap_or_default();
                Some(Content::Plain(site::described(&name, known, &more, view)))
            }
            Answer::Allowances(all) => Some(self.with_more(site::allowances(&all))),
            Answer::Live(objects) if objects.is_empty() => {
                let said = "this runtime keeps no object of an agent: describe says what runs";
                Some(Content::Failed(Safe::new(said)))
            }
            Answer::Live(objects) => {
                let value = Value::Object(objects.into_iter().collect());
                let format = match &self.content {
                    Content::Document(before) => before.format,
                    _ => Format::Yaml,
                };
                Some(Content::Document(Box::new(DocumentText::new(value, format, BTreeSet::new()))))
            }
            Answer::Hosts(_) | Answer::Namespaces(_) => None,
        }
    }

    /// The lines that are there, and these below them.
    fn with_more(&mut self, more: Vec<PlainLine>) -> Content {
        let mut lines = match std::mem::take(&mut self.content) {
            Content::Plain(lines) => lines,
            _ => Vec::new(),
        };
        lines.extend(more);
        Content::Plain(lines)
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
        let mut laid_out = DocumentText::new(whole(document), format, folded);
        if let Content::Document(before) = &self.content
            && self.kind == TextKind::Yaml
            && self.compares
        {
            laid_out.compare(&before.value);
        }
        Content::Document(Box::new(laid_out))
    }

    fn log_ended(&mut self, error: Option<&Safe>) {
        if let Content::Log(log) = &mut self.content {
            log.end(error);
        }
    }

    /// More lines of the log that it follows.
    pub fn log(&mut self, batch: LogBatch, look: Look<'_>) {
        let Content::Log(log) = &mut self.content else { return };
        let before = if log.is_empty() { 0 } else { log.count() };
        let Dropped(dropped) = log.push(batch);
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
            if self.content.passes(index, filter, look, &mut pieces) {
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
            Action::SelectLast => {
                self.scroll(hits, isize::MAX);
                // who goes to the end of a log wants to see it go on
                self.state.follow = matches!(self.content, Content::Log(_));
            }
            Action::PageDown => self.scroll(hits, isize::try_from(page).unwrap_or(1)),
            Action::PageUp => self.scroll(hits, -isize::try_from(page).unwrap_or(1)),
            Action::HalfPageDown => self.scroll(hits, isize::try_from(page / 2).unwrap_or(1)),
            Action::HalfPageUp => self.scroll(hits, -isize::try_from(page / 2).unwrap_or(1)),
            Action::ScrollLeft => state.left = state.left.saturating_sub(SIDEWAYS),
            Action::ScrollRight => state.left = state.left.saturating_add(SIDEWAYS),
            Action::ToggleWrap => (state.wrap, state.left) = (!state.wrap, 0),
            Action::FullScreen => self.full = !self.full,
            Action::FindNext => self.find(true, hits.width, look),
            Action::FindPrevious => self.find(false, hits.width, look),
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

    /// Whether it is a log that goes on by itself, or was stopped where it is.
    pub fn goes_on(&self) -> bool {
        match &self.content {
            Content::Log(log) => log.count() > 0 && (self.asked.is_some() || log.stopped),
            _ => false,
        }
    }

    /// How many lines there are to see.
    pub fn count(&self) -> usize {
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
    pub fn search(&mut self, search: Option<Regex>, hits: TextHits, look: Look<'_>) {
        self.state.hit = search.as_ref().and_then(|search| {
            let from = hits.top.checked_sub(1);
            text::find(&self.content, self.shown.as_deref(), search, from, true, look)
        });
        self.state.search = search;
        self.show_hit(hits.width, look);
    }

    fn find(&mut self, forward: bool, width: u16, look: Look<'_>) {
        let Some(search) = &self.state.search else { return };
        let shown = self.shown.as_deref();
        let hit = text::find(&self.content, shown, search, self.state.hit, forward, look);
        self.state.hit = hit;
        self.show_hit(width, look);
    }

    fn show_hit(&mut self, width: u16, look: Look<'_>) {
        self.hits = None;
        if let Some(hit) = self.state.hit {
            // Two lines before it, for the context.
            (self.state.top, self.state.follow) = (hit.saturating_sub(2), false);
            let line = self.line_at(hit);
            self.state.reveal(&self.content, line, width, look);
            self.hits = self.count_hits(hit, look);
        }
    }

    pub fn title(&self) -> String {
        match &self.about {
            Some(about) => {
                format!("{} {} {}", self.kind.name(), about.noun, words::plain(&about.name))
            }
            None => match &self.host {
                Some(host) => format!("{} {}", self.kind.name(), host.name),
                None => self.kind.name().to_owned(),
            },
        }
    }

    /// How it is looked at, for the corner of its frame.
    pub fn note(&self) -> String {
        let mut note = Vec::new();
        if let Content::Log(log) = &self.content {
            note.push(log.note(self.state.follow));
        }
        if self.revealed {
            note.push("SECRETS SHOWN".to_owned());
        }
        if let Some(filter) = &self.filter {
            note.push(format!("&{}", words::plain(filter.as_str())));
        }
        if let Some(search) = &self.state.search {
            let found = match (self.state.hit, self.hits) {
                (None, _) => "nowhere".to_owned(),
                (Some(_), Some((at, all))) => format!("{at}/{}", words::grouped(all)),
                (Some(_), None) => "found".to_owned(),
            };
            note.push(format!("/{} ({found})", words::plain(search.as_str())));
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
            if self.content.passes(index, filter, look, &mut pieces) {
                found.push(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
        self.shown = Some(found);
    }
}
