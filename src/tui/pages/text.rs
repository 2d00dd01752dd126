//! A page of text: help, notices, and what is known of one thing. It remembers where the reader is; the lines are made
//! once, when their source comes.

use regex::Regex;

use super::words;
use crate::model::plan::TargetRef;
use crate::model::text::Safe;
use crate::tui::effect::EffectId;
use crate::tui::keymap::Scope;
use crate::tui::theme::Theme;
use crate::tui::widgets::Look;
use crate::tui::widgets::text::{Lines, Pieces, TextState};

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum TextKind {
    Help,
    Notices,
    Aliases,
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

    pub fn title(&self) -> String {
        match &self.about {
            Some(about) => {
                format!("{} {} {}", self.kind.name(), about.noun, words::plain(&about.name))
            }
            None => self.kind.name().to_owned(),
        }
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
        }
    }
}
