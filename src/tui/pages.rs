//! The pages: tables of one kind of row, and texts about one thing. A page remembers how it is looked at (filter, sort,
//! marks, cursor by id); what it shows comes from the view of the moment.

pub mod agents;
pub mod deltas;
pub mod events;
pub mod fetched;
pub mod health;
pub mod help;
pub mod listed;
pub mod logs;
pub mod messages;
pub mod operations;
pub mod papers;
pub mod pools;
pub mod progress;
pub mod publications;
pub mod pulse;
pub mod queues;
pub mod row;
pub mod site;
pub mod steps;
pub mod stored;
pub mod strip;
pub mod subscriptions;
pub mod table;
pub mod templates;
pub mod text;
pub mod words;
pub mod xray;

use strum::IntoEnumIterator;

use self::fetched::Fetched;
use self::pulse::PulsePage;
use self::row::{Rows, Spec};
use self::table::TablePage;
use self::text::TextPage;
use super::effect::Fetch;
use super::keymap::Scope;
use crate::engine::fields::PaperKind;
use crate::engine::view::FleetView;
use crate::model::time::Time;
use crate::ports::site::Ask;

/// What a table is of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::EnumIter, strum::IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum TableKind {
    Agents,
    Pools,
    Templates,
    Messages,
    /// Its name may not begin as `quit` does.
    #[strum(serialize = "mq")]
    Queues,
    Subscriptions,
    Publications,
    Health,
    Events,
    Operations,
    Xray,
    Hosts,
    Namespaces,
    Contexts,
    #[strum(serialize = "pf")]
    Forwards,
}

impl TableKind {
    /// Where its keys are looked for, the nearest first.
    pub fn scopes(self) -> Vec<Scope> {
        vec![self.spec().scope, Scope::Table, Scope::Global]
    }

    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The names that the command bar takes, the full one first.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Agents => &["agents", "agent", "ag"],
            Self::Pools => &["pools", "pool", "po"],
            Self::Templates => &["templates", "template", "tpl"],
            Self::Messages => &["messages", "message", "msg"],
            Self::Queues => &["mq", "inbox"],
            Self::Subscriptions => &["subscriptions", "subscription", "subs", "sub"],
            Self::Publications => &["publications", "publication", "pubs", "topics"],
            Self::Health => &["health", "he"],
            Self::Events => &["events", "event", "ev"],
            Self::Operations => &["operations", "operation", "op", "ops"],
            Self::Xray => &["xray", "xr"],
            Self::Hosts => &["hosts", "host", "nodes", "node", "no"],
            Self::Namespaces => &["namespaces"],
            Self::Contexts => &["contexts"],
            Self::Forwards => &["pf", "port-forwards", "forwards"],
        }
    }

    pub fn spec(self) -> &'static Spec {
        match self {
            Self::Agents => &agents::SPEC,
            Self::Pools => &pools::SPEC,
            Self::Templates => &templates::SPEC,
            Self::Messages => &messages::SPEC,
            Self::Queues => &queues::SPEC,
            Self::Subscriptions => &subscriptions::SPEC,
            Self::Publications => &publications::SPEC,
            Self::Health => &health::SPEC,
            Self::Events => &events::SPEC,
            Self::Operations => &operations::SPEC,
            Self::Xray => &xray::SPEC,
            Self::Hosts => &site::HOSTS,
            Self::Namespaces => &site::NAMESPACES,
            Self::Contexts => &site::CONTEXTS,
            Self::Forwards => &site::FORWARDS,
        }
    }

    /// The rows of this kind; `fetched` are those that the view does not carry.
    pub fn rows<'a>(
        self,
        view: &'a FleetView,
        fetched: &'a Fetched,
        now: Time,
    ) -> Box<dyn Rows + 'a> {
        match self {
            Self::Agents => Box::new(agents::Agents::new(view, now).over(&fetched.stored)),
            Self::Pools => Box::new(pools::Pools::new(view, now).over(&fetched.stored)),
            Self::Templates => Box::new(templates::Templates::new(view, now).over(&fetched.stored)),
            Self::Messages => Box::new(messages::Messages::new(&fetched.papers.rows, now)),
            Self::Queues => Box::new(queues::Queues::new(view, now)),
            Self::Subscriptions => Box::new(subscriptions::Subscriptions::new(view, now)),
            Self::Publications => {
                Box::new(publications::Publications::new(&fetched.papers.rows, now))
            }
            Self::Health => Box::new(health::Health::new(view, now)),
            Self::Events => Box::new(events::Events::new(&fetched.papers.rows, now)),
            Self::Operations => Box::new(operations::Operations::new(view, now)),
            Self::Xray => Box::new(xray::Xray::new(&fetched.tree, now)),
            Self::Hosts => {
                Box::new(listed::Listed::new(&fetched.entries, now).beside(&fetched.beside))
            }
            Self::Namespaces | Self::Contexts | Self::Forwards => {
                Box::new(listed::Listed::new(&fetched.entries, now))
            }
        }
    }

    /// What the rows are documents of, where the view does not carry them.
    pub fn papers(self) -> Option<PaperKind> {
        match self {
            Self::Messages => Some(PaperKind::Message),
            Self::Publications => Some(PaperKind::Publication),
            Self::Events => Some(PaperKind::Event),
            Self::Agents
            | Self::Pools
            | Self::Templates
            | Self::Queues
            | Self::Subscriptions
            | Self::Health
            | Self::Operations
            | Self::Xray
            | Self::Hosts
            | Self::Namespaces
            | Self::Contexts
            | Self::Forwards => None,
        }
    }

    /// What the runtime is asked for its rows, again and again while they are in sight.
    pub fn asks(self) -> Option<Fetch> {
        match self {
            Self::Hosts => Some(Fetch::Site(Ask::Hosts)),
            Self::Namespaces => Some(Fetch::Site(Ask::Namespaces)),
            Self::Forwards => Some(Fetch::Forwards),
            _ => None,
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
    Pulse(PulsePage),
}

impl Page {
    /// Where its keys are looked up, nearest first.
    pub fn scopes(&self) -> Vec<Scope> {
        match self {
            Self::Table(page) => page.kind.scopes(),
            Self::Text(page) => page.kind.scopes(),
            Self::Pulse(_) => vec![Scope::Pulse, Scope::Global],
        }
    }

    /// The page without its rows: what is worth remembering of it.
    #[must_use]
    pub fn memo(&self) -> Self {
        match self {
            Self::Table(page) => Self::Table(Box::new(page.memo())),
            Self::Text(page) => Self::Text(Box::new(page.memo())),
            Self::Pulse(page) => Self::Pulse(page.clone()),
        }
    }

    /// The line that opens it again: `:agents /failed sort:queue:desc`.
    pub fn line(&self) -> String {
        match self {
            Self::Table(page) => page.line(),
            Self::Text(page) => page.line(),
            Self::Pulse(_) => "pulse".to_owned(),
        }
    }

    /// Its name among the crumbs.
    pub fn crumb(&self) -> String {
        match self {
            Self::Table(page) => page.crumb(),
            Self::Text(page) => page.crumb(),
            Self::Pulse(_) => "pulse".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
