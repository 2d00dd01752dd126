//! How the tree grows: from the rows of a view, what is folded and what is looked for, to lines in order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::engine::view::{AgentRow, FleetView, PoolRow};
use crate::model::agent::Phase;
use crate::model::id::PoolId;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::tui::pages::{agents, pools, queues};

/// What stands at the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::IntoStaticStr)]
pub enum Root {
    #[default]
    #[strum(serialize = "pools", to_string = "pool")]
    Pool,
    #[strum(serialize = "agents", to_string = "agent")]
    Agent,
    #[strum(serialize = "queues", serialize = "mq", to_string = "queue")]
    Queue,
}

impl Root {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What the operator opened (`true`) or folded, by the id of the line.
pub type Folds = BTreeMap<Arc<str>, bool>;

/// The lines as they stand.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    pub(super) lines: Vec<Line>,
    /// The name of lines that have none.
    pub(super) nameless: Safe,
}

#[derive(Debug, Clone)]
pub(super) struct Line {
    pub id: Arc<str>,
    pub depth: u8,
    /// Whether it is open; `None` when nothing stands below it.
    pub open: Option<bool>,
    pub what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Pool(Arc<PoolRow>),
    /// Over the agents of no pool.
    Loose,
    Agent(Arc<AgentRow>),
    /// So many of which nothing need be said, and the word for them.
    Well(u64, &'static str),
    Process(Arc<AgentRow>),
    Queue(Arc<AgentRow>),
    Health(Arc<AgentRow>),
}

/// What a tree is grown from.
#[derive(Debug, Clone, Copy)]
pub struct Seed<'a> {
    pub root: Root,
    /// Only this pool, template or agent.
    pub owner: Option<&'a TargetRef>,
    /// Only what belongs to this tenant.
    pub scope: Option<&'a str>,
    pub folds: &'a Folds,
    /// Nothing is folded: something is looked for.
    pub unfolded: bool,
}

impl Tree {
    pub fn grow(view: &FleetView, seed: &Seed<'_>) -> Self {
        let mut growing = Growing { seed, lines: Vec::new() };
        match seed.root {
            Root::Pool if seed.owner.is_none_or(|owner| owner.noun != Noun::Agent) => {
                growing.pools(view);
            }
            Root::Pool | Root::Agent => growing.agents(view, |row| row.phase != Phase::Deleted),
            Root::Queue => growing.agents(view, |row| queues::is_used(row.queue)),
        }
        Self { lines: growing.lines, nameless: Safe::new("…") }
    }

    /// The id of a line.
    pub fn id(&self, row: usize) -> Option<Arc<str>> {
        self.lines.get(row).map(|line| line.id.clone())
    }

    /// Whether the line with this id is open, and on which line it hangs.
    pub fn open(&self, id: &str) -> (Option<bool>, Option<Arc<str>>) {
        let Some(at) = self.lines.iter().position(|line| &*line.id == id) else {
            return (None, None);
        };
        let line = &self.lines[at];
        let parent = self.lines[..at].iter().rev().find(|above| above.depth < line.depth);
        (line.open, parent.map(|parent| parent.id.clone()))
    }
}

struct Growing<'a> {
    seed: &'a Seed<'a>,
    lines: Vec<Line>,
}

impl Growing<'_> {
    fn is_open(&self, id: &str, by_default: bool) -> bool {
        self.seed.unfolded || self.seed.folds.get(id).copied().unwrap_or(by_default)
    }

    fn add(&mut self, depth: u8, id: &str, open: Option<bool>, what: What) {
        self.lines.push(Line { id: Arc::from(id), depth, open, what });
    }

    fn is_wanted_pool(&self, row: &PoolRow) -> bool {
        let in_scope = self.seed.scope.is_none_or(|scope| row.tenant == *scope);
        let within = self.seed.owner.is_none_or(|owner| match owner.noun {
            Noun::Pool => row.id.as_str() == owner.id,
            Noun::Template => row.template.as_ref().is_some_and(|it| it.as_str() == owner.id),
            Noun::Agent
            | Noun::Message
            | Noun::Subscription
            | Noun::Publication
            | Noun::Operation => false,
        });
        in_scope && within && row.purge_at.is_none()
    }

    fn is_wanted_agent(&self, row: &AgentRow) -> bool {
        let in_scope = self.seed.scope.is_none_or(|scope| row.tenant == *scope);
        let within = self.seed.owner.is_none_or(|owner| match owner.noun {
            Noun::Agent => row.id.as_str() == owner.id,
            Noun::Pool => row.pool.as_ref().is_some_and(|it| it.as_str() == owner.id),
            Noun::Template => row.template.as_ref().is_some_and(|it| it.as_str() == owner.id),
            Noun::Message | Noun::Subscription | Noun::Publication | Noun::Operation => false,
        });
        in_scope && within
    }

    fn pools(&mut self, view: &FleetView) {
        let mut members: HashMap<Option<&PoolId>, Vec<&Arc<AgentRow>>> = HashMap::new();
        for row in view.agents.iter().filter(|row| row.phase != Phase::Deleted) {
            members.entry(row.pool.as_ref()).or_default().push(row);
        }
        let mut wanted: Vec<&Arc<PoolRow>> =
            view.pools.iter().filter(|row| self.is_wanted_pool(row)).collect();
        // The most pressing first; of equals, by name.
        wanted.sort_by_key(|row| (pools::standing(row), &row.name, &row.id));
        let single = wanted.len() == 1 && self.seed.owner.is_some();
        for pool in wanted {
            let agents = members.remove(&Some(&pool.id)).unwrap_or_default();
            let sick = agents.iter().any(|row| agents::is_fault(row));
            let open = self.is_open(pool.id.as_str(), sick || single);
            let sign = (!agents.is_empty()).then_some(open);
            self.add(0, pool.id.as_str(), sign, What::Pool(pool.clone()));
            if open {
                self.members(1, pool.id.as_str(), agents, single && !sick);
            }
        }
        let loose: Vec<&Arc<AgentRow>> = members.remove(&None).unwrap_or_default();
        let loose: Vec<_> = loose.into_iter().filter(|row| self.is_wanted_agent(row)).collect();
        if !loose.is_empty() && self.seed.owner.is_none() {
            let sick = loose.iter().any(|row| agents::is_fault(row));
            let open = self.is_open("loose", sick);
            self.add(0, "loose", Some(open), What::Loose);
            if open {
                self.members(1, "loose", loose, false);
            }
        }
    }

    /// The sick one by one, the well as a count that can be opened.
    fn members(&mut self, depth: u8, above: &str, agents: Vec<&Arc<AgentRow>>, all: bool) {
        let (mut sick, mut well): (Vec<_>, Vec<_>) =
            agents.into_iter().partition(|row| agents::is_fault(row));
        sick.sort_by_key(|row| (agents::urgency(row), &row.name, &row.id));
        for row in sick {
            self.agent(depth, row, true);
        }
        if well.is_empty() {
            return;
        }
        well.sort_by_key(|row| (&row.name, &row.id));
        let id = format!("{above}/well");
        let open = self.is_open(&id, all);
        let count = u64::try_from(well.len()).unwrap_or(u64::MAX);
        let word = if open { "well" } else { "well, folded" };
        self.add(depth, &id, Some(open), What::Well(count, word));
        if open {
            for row in well {
                self.agent(depth + 1, row, false);
            }
        }
    }

    fn agents(&mut self, view: &FleetView, is_listed: impl Fn(&AgentRow) -> bool) {
        let mut rows: Vec<&Arc<AgentRow>> =
            view.agents.iter().filter(|row| is_listed(row) && self.is_wanted_agent(row)).collect();
        if self.seed.root == Root::Queue {
            rows.sort_by_key(|row| (std::cmp::Reverse(row.queue.pending), &row.name, &row.id));
            for row in rows {
                self.agent(0, row, agents::is_fault(row));
            }
        } else if self.seed.owner.is_some_and(|owner| owner.noun == Noun::Agent) {
            for row in rows {
                self.agent(0, row, true);
            }
        } else {
            self.members(0, "agents", rows, false);
        }
    }

    fn agent(&mut self, depth: u8, row: &Arc<AgentRow>, by_default: bool) {
        let id = row.id.as_str();
        let open = self.is_open(id, by_default);
        self.add(depth, id, Some(open), What::Agent(row.clone()));
        if !open {
            return;
        }
        let leaves = [
            ("process", What::Process(row.clone())),
            ("health", What::Health(row.clone())),
            ("queue", What::Queue(row.clone())),
        ];
        for (name, what) in leaves {
            self.add(depth + 1, &format!("{id}/{name}"), None, what);
        }
    }
}
