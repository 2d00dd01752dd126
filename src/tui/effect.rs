//! Work that `update` wants done. Plain data, so that a test compares it with `assert_eq!`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde_json::{Map, Value};

use super::event::Alarm;
use crate::engine::handle::{Consent, Listing};
use crate::model::id::{AgentId, OperationId};
use crate::model::plan::{Command, Noun, Plan, TargetRef};
use crate::model::text::Safe;
use crate::ports::runtime::LogOptions;
use crate::ports::site::Ask;

/// Names one effect, so that its answer is known when it comes, or dropped when nobody waits any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub u64);

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Have a plan made.
    Plan(EffectId, Command),
    /// Carry a plan out.
    Confirm(EffectId, Box<Plan>, Consent),
    /// Stop an operation after its batch.
    Cancel(EffectId, OperationId),
    /// What the view does not carry.
    Fetch(EffectId, Fetch),
    /// Lines of logs, as they come.
    Follow(EffectId, FollowLog),
    /// Nobody waits for this any more.
    Forget(EffectId),
    Wake(Alarm, Duration),
    /// Open the operator's editor on the console's terminal.
    Edit(Box<EditOrder>),
    /// Hand the terminal to a shell beside an agent.
    Shell(Box<ShellOrder>),
    /// Make an agent's port reachable on this machine: the port here, if one is wanted, and the agent's.
    Forward(EffectId, AgentId, Option<u16>, u16),
    /// End a forwarded port.
    Unforward(EffectId, u64),
    /// Remove a file that an edit was kept in.
    Discard(PathBuf),
    /// Lines for the clipboard of whoever sits at the terminal.
    Copy(Vec<Safe>),
    /// Write down what was shown and typed lately.
    Dump(EffectId),
    /// Paint everything anew, whatever the terminal showed.
    Repaint,
    /// Load another theme or keymap.
    LoadTheme(String),
    LoadKeymap(String),
    /// Keep these views by name for the next time.
    KeepBookmarks(BTreeMap<String, String>),
    /// Write what a view shows into a file whose name begins and ends so.
    Save {
        stem: String,
        ending: &'static str,
        text: String,
    },
    /// Leave this fleet for another one, and open this line there.
    Switch(String, Option<String>),
    Quit,
}

/// Which lines are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowLog {
    /// The agents that write them; a line says which by its place here.
    pub sources: Vec<AgentId>,
    pub options: LogOptions,
    /// Applied where the lines come from, before anything is cut off.
    pub filter: Option<LineFilter>,
}

/// A regex that is the same when its text is.
#[derive(Debug, Clone)]
pub struct LineFilter(pub Regex);

impl PartialEq for LineFilter {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// Something to be edited: what it is, what it was when it was read, and that as text.
#[derive(Debug, Clone, PartialEq)]
pub struct EditOrder {
    pub target: TargetRef,
    pub base: Map<String, Value>,
    pub text: String,
}

/// A program beside an agent, on the console's terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellOrder {
    pub agent: AgentId,
    pub name: Safe,
    pub command: Vec<String>,
}

/// What is read from the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Fetch {
    Document(Noun, String),
    /// With its secrets; written into the audit log.
    Reveal(Noun, String),
    Describe(Noun, String),
    List(Listing),
    /// What the runtime says of its site.
    Site(Ask),
    /// The forwarded ports of this process.
    Forwards,
}
