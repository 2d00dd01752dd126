//! The fleet seen through: pools, their agents, and what each agent stands on (its process, its queue, its health), as
//! one tree. What is sick is open and stands first; what is well is folded to a count, so that a fault of ten thousand
//! agents is in sight without a key.

use ratatui::style::Style;

use super::row::{LEFT, RIGHT, Rows, SortKey, Spec, column, wide};
use super::{agents, pools, words};
use crate::engine::fields::{AGENT_FIELDS, Seen, reason};
use crate::engine::view::{AgentRow, PoolRow};
use crate::model::filter::query::RowQuery;
use crate::model::plan::{Noun, TargetRef};
use crate::model::quantity::human_bytes;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::Look;
use crate::tui::widgets::table::{CellText, Column, Width};
use crate::tui::widgets::text::Pieces;

mod tree;

pub use self::tree::{Folds, Root, Seed, Tree};
use self::tree::{Line, What};

pub const SPEC: Spec = Spec {
    scope: Scope::Xray,
    columns: &[
        column("name", "NAME", Width::Flex { min: 24, weight: 2 }, LEFT),
        column("state", "STATE", Width::Fixed(12), LEFT),
        column("ready", "READY", Width::Fixed(7), RIGHT),
        column("queue", "QUEUE", Width::Fixed(6), RIGHT),
        wide("restarts", "RST", 4, RIGHT),
        wide("cpu", "CPU", 6, RIGHT),
        wide("mem", "MEM", 6, RIGHT),
        wide("age", "AGE", 4, RIGHT),
        column("reason", "EVIDENCE", Width::Flex { min: 16, weight: 4 }, LEFT),
    ],
    fields: AGENT_FIELDS,
    sort: ("", false),
    hints: &[
        (Action::Fold, "fold"),
        (Action::Unfold, "unfold"),
        (Action::Open, "go to"),
        (Action::Describe, "describe"),
        (Action::Restart, "restart"),
        (Action::Scale, "scale"),
        (Action::Drain, "drain"),
        (Action::ToggleFaults, "faults only"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "there is nothing to look through: no pools and no agents",
};

pub struct Xray<'a> {
    tree: &'a Tree,
    now: Time,
}

impl<'a> Xray<'a> {
    pub fn new(tree: &'a Tree, now: Time) -> Self {
        Self { tree, now }
    }

    fn line(&self, row: usize) -> &Line {
        &self.tree.lines[row]
    }

    /// The line, and those that stand below it in the tree.
    fn with_descendants(&self, row: usize) -> impl Iterator<Item = &Line> {
        let depth = self.line(row).depth;
        let below = self.tree.lines[row + 1..].iter().take_while(move |line| line.depth > depth);
        std::iter::once(self.line(row)).chain(below)
    }
}

/// An agent as the filter sees it.
fn holds(line: &Line, query: &RowQuery, now: Time) -> bool {
    match &line.what {
        What::Pool(pool) => query.matches(&Seen::new(pool.as_ref(), now)),
        What::Agent(agent) | What::Process(agent) | What::Queue(agent) | What::Health(agent) => {
            query.matches(&Seen::new(agent.as_ref(), now))
        }
        What::Loose | What::Well(..) => false,
    }
}

impl Rows for Xray<'_> {
    fn len(&self) -> usize {
        self.tree.lines.len()
    }

    fn id(&self, row: usize) -> &str {
        &self.line(row).id
    }

    fn name(&self, row: usize) -> &Safe {
        match &self.line(row).what {
            What::Pool(pool) => &pool.name,
            What::Agent(agent)
            | What::Process(agent)
            | What::Queue(agent)
            | What::Health(agent) => &agent.name,
            What::Loose | What::Well(..) => &self.tree.nameless,
        }
    }

    fn target(&self, row: usize) -> Option<TargetRef> {
        match &self.line(row).what {
            What::Pool(pool) => Some(TargetRef {
                noun: Noun::Pool,
                id: pool.id.to_string(),
                name: pool.name.as_str().to_owned(),
            }),
            What::Agent(agent)
            | What::Process(agent)
            | What::Queue(agent)
            | What::Health(agent) => Some(TargetRef {
                noun: Noun::Agent,
                id: agent.id.to_string(),
                name: agent.name.as_str().to_owned(),
            }),
            What::Loose | What::Well(..) => None,
        }
    }

    fn cell(&self, row: usize, column: &Column, look: Look<'_>, out: &mut CellText) {
        let line = self.line(row);
        if column.key == "name" {
            return name(line, look, out);
        }
        match &line.what {
            What::Pool(pool) => pool_cell(pool, column, self.now, look, out),
            What::Agent(agent) => agent_cell(agent, column, self.now, look, out),
            What::Process(agent) => process_cell(agent, column, look, out),
            What::Queue(agent) => queue_cell(agent, column, self.now, look, out),
            What::Health(agent) => health_cell(agent, column, self.now, look, out),
            What::Loose | What::Well(..) => {}
        }
    }

    /// A tree has its own order, whatever the column.
    fn sort_key(&self, row: usize, _column: &str) -> SortKey<'_> {
        SortKey::from(u64::try_from(row).unwrap_or(u64::MAX))
    }

    fn is_fault(&self, row: usize) -> bool {
        self.with_descendants(row).any(|line| match &line.what {
            What::Pool(pool) => pools::is_fault(pool),
            What::Agent(agent)
            | What::Process(agent)
            | What::Queue(agent)
            | What::Health(agent) => agents::is_fault(agent),
            What::Loose | What::Well(..) => false,
        })
    }

    /// What stands above or below a hit stands beside it.
    fn matches(&self, row: usize, query: &RowQuery) -> bool {
        self.with_descendants(row).any(|line| holds(line, query, self.now))
    }

    fn is_within(&self, _row: usize, _owner: &TargetRef) -> bool {
        true // the tree is grown for its owner
    }

    fn style(&self, row: usize, look: Look<'_>) -> Option<Style> {
        match &self.line(row).what {
            What::Loose | What::Well(..) => Some(look.theme.muted),
            What::Pool(_)
            | What::Agent(_)
            | What::Process(_)
            | What::Queue(_)
            | What::Health(_) => None,
        }
    }

    fn detail(&self, row: usize, look: Look<'_>) -> Vec<Pieces> {
        match &self.line(row).what {
            What::Pool(pool) => pools::details(pool, self.now, look),
            What::Agent(agent)
            | What::Process(agent)
            | What::Queue(agent)
            | What::Health(agent) => agents::details(agent, self.now, look),
            What::Loose | What::Well(..) => Vec::new(),
        }
    }
}

/// Depth, fold sign, what it is, and its name.
fn name(line: &Line, look: Look<'_>, out: &mut CellText) {
    for _ in 0..line.depth {
        out.word("  ");
    }
    out.word(match line.open {
        Some(true) => look.glyphs.open,
        Some(false) => look.glyphs.folded,
        None => look.glyphs.separator,
    });
    out.word(" ");
    match &line.what {
        What::Pool(pool) => drop(out.word("pool ").safe(&pool.name)),
        What::Agent(agent) => drop(out.safe(&agent.name)),
        What::Loose => drop(out.word("agents of no pool")),
        What::Well(count, word) => {
            out.put(format_args!("{} {word}", words::grouped(*count)));
        }
        What::Process(agent) => match agent.pid {
            Some(pid) => drop(out.put(format_args!("process {pid}"))),
            None => drop(out.word("no process")),
        },
        What::Queue(_) => drop(out.word("queue")),
        What::Health(_) => drop(out.word("health")),
    }
}

fn pool_cell(pool: &PoolRow, column: &Column, now: Time, look: Look<'_>, out: &mut CellText) {
    match column.key {
        "state" => {
            let (sign, word, style) = pools::state(pool, look);
            out.word(sign).word(" ").word(word).style(style);
        }
        "ready" => {
            out.put(format_args!("{}/{}", pool.ready, pool.total));
            if pool.ready < pool.desired {
                out.style(look.theme.warn);
            }
        }
        "queue" => drop(out.put(format_args!("{}", pool.queue.pending))),
        "cpu" => {
            if let Some(usage) = pool.usage {
                out.put(format_args!("{}m", usage.cpu_millis));
            }
        }
        "mem" => {
            if let Some(usage) = pool.usage {
                out.put(format_args!("{}", human_bytes(usage.memory_bytes)));
            }
        }
        "age" => words::age(out, pool.created_at, now),
        "reason" => drop(out.safe(pools::reason(pool)).style(look.theme.muted)),
        _ => {}
    }
}

fn agent_cell(agent: &AgentRow, column: &Column, now: Time, look: Look<'_>, out: &mut CellText) {
    match column.key {
        "state" => {
            let (sign, word, style) = agents::state(agent, look);
            out.word(sign).word(" ").word(word).style(style);
        }
        "queue" => {
            out.put(format_args!("{}", agent.queue.pending));
            words::judge(out, agents::figures::queue(agent, look), column, look);
        }
        "restarts" => {
            out.put(format_args!("{}", agent.restarts()));
            words::judge(out, agents::figures::restarts(agent, look), column, look);
        }
        "age" => words::age(out, agent.created_at, now),
        "cpu" | "mem" => process_cell(agent, column, look, out),
        "reason" => drop(out.safe(reason(agent)).style(look.theme.muted)),
        _ => {}
    }
}

fn process_cell(agent: &AgentRow, column: &Column, look: Look<'_>, out: &mut CellText) {
    match column.key {
        "state" => {
            let (sign, style) = words::phase(agent.phase, look);
            out.word(sign).word(" ").word(agent.phase.name()).style(style);
        }
        "cpu" => {
            if let Some(usage) = agent.usage {
                out.put(format_args!("{}m", usage.cpu_millis));
                words::judge(out, agents::figures::cpu(agent, look), column, look);
            }
        }
        "mem" => {
            if let Some(usage) = agent.usage {
                out.put(format_args!("{}", human_bytes(usage.memory_bytes)));
                words::judge(out, agents::figures::mem(agent, look), column, look);
            }
        }
        "reason" => {
            if !agent.node.as_str().is_empty() {
                out.word("on ").safe(&agent.node);
            }
            out.style(look.theme.muted);
        }
        _ => {}
    }
}

fn queue_cell(agent: &AgentRow, column: &Column, now: Time, look: Look<'_>, out: &mut CellText) {
    let queue = agent.queue;
    match column.key {
        "state" if queue.dead > 0 => {
            out.word(look.glyphs.failed).word(" dead").style(look.theme.warn);
        }
        "state" => drop(out.word(if queue.pending > 0 { "waiting" } else { "empty" })),
        "queue" => drop(out.put(format_args!("{}", queue.pending))),
        "reason" => {
            out.put(format_args!(
                "{} in flight, {} dead, {} done",
                queue.leased, queue.dead, queue.delivered
            ));
            if let Some(oldest) = queue.oldest {
                out.put(format_args!(", oldest {}", words::exact(now.since(oldest))));
                out.style(words::waiting_style(now.since(oldest), look));
            } else {
                out.style(look.theme.muted);
            }
        }
        _ => {}
    }
}

fn health_cell(agent: &AgentRow, column: &Column, now: Time, look: Look<'_>, out: &mut CellText) {
    match column.key {
        "state" => {
            let (sign, style) = words::health(agent.health, look);
            out.word(sign).word(" ").word(agent.health.into()).style(style);
        }
        "reason" => {
            out.safe(&agent.health_message);
            if let Some(beat) = agent.heartbeat {
                let comma = if agent.health_message.as_str().is_empty() { "" } else { ", " };
                out.word(comma);
                out.put(format_args!("beat {} ago", words::exact(now.since(beat))));
            }
            out.style(look.theme.muted);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
