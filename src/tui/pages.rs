//! The pages: tables of one kind of row, and texts about one thing. A page remembers how it is looked at (filter, sort,
//! marks, cursor by id); what it shows comes from the view of the moment.

pub mod agents;
pub mod help;
pub mod pools;
pub mod row;
pub mod table;
pub mod text;
pub mod words;

use strum::IntoEnumIterator;

use self::row::{Rows, Spec};
use self::table::{Fetched, TablePage};
use self::text::TextPage;
use super::keymap::Scope;
use crate::engine::view::FleetView;
use crate::model::time::Time;

/// What a table is of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::EnumIter, strum::IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum TableKind {
    Agents,
    Pools,
}

impl TableKind {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The names that the command bar takes, the full one first.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Agents => &["agents", "agent", "ag"],
            Self::Pools => &["pools", "pool", "po"],
        }
    }

    pub fn spec(self) -> &'static Spec {
        match self {
            Self::Agents => &agents::SPEC,
            Self::Pools => &pools::SPEC,
        }
    }

    /// The rows of this kind; `fetched` are those that the view does not carry.
    pub fn rows<'a>(
        self,
        view: &'a FleetView,
        _fetched: &'a Fetched,
        now: Time,
    ) -> Box<dyn Rows + 'a> {
        match self {
            Self::Agents => Box::new(agents::Agents::new(view, now)),
            Self::Pools => Box::new(pools::Pools::new(view, now)),
        }
    }

    /// The kind that goes by `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::iter().find(|kind| kind.names().contains(&name))
    }
}

/// One page.
#[derive(Debug, Clone)]
pub enum Page {
    Table(Box<TablePage>),
    Text(Box<TextPage>),
}

impl Page {
    /// Where its keys are looked up, nearest first.
    pub fn scopes(&self) -> Vec<Scope> {
        match self {
            Self::Table(page) => vec![page.kind.spec().scope, Scope::Table, Scope::Global],
            Self::Text(page) => page.kind.scopes(),
        }
    }

    /// The page without its rows: what is worth remembering of it.
    #[must_use]
    pub fn memo(&self) -> Self {
        match self {
            Self::Table(page) => Self::Table(Box::new(page.memo())),
            Self::Text(page) => Self::Text(Box::new(page.memo())),
        }
    }

    /// The line that opens it again: `:agents /failed sort:queue:desc`.
    pub fn line(&self) -> String {
        match self {
            Self::Table(page) => page.line(),
            Self::Text(page) => page.line(),
        }
    }

    /// Its name among the crumbs.
    pub fn crumb(&self) -> String {
        match self {
            Self::Table(page) => page.crumb(),
            Self::Text(page) => page.crumb(),
        }
    }

    /// Something was written into the journal: what shows such things takes it in.
    pub fn journal(&mut self, _entry: &std::sync::Arc<crate::model::event::Event>) {}

    /// More lines of the log that it follows.
    pub fn log(
        &mut self,
        _lines: Vec<crate::ports::runtime::LogLine>,
        _look: super::widgets::Look<'_>,
    ) {
    }
}
