//! Work that `update` wants done. Plain data, so that a test compares it with `assert_eq!`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::event::Alarm;
use crate::engine::handle::{Consent, Listing};
use crate::model::id::{AgentId, OperationId};
use crate::model::plan::{Command, Noun, Plan, TargetRef};
use crate::model::text::Safe;
use crate::ports::runtime::LogOptions;

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
    /// Lines of a log, as they come.
    Follow(EffectId, AgentId, LogOptions),
    /// Nobody waits for this any more.
    Forget(EffectId),
    Wake(Alarm, Duration),
    /// Open the operator's editor on the console's terminal.
    Edit(Box<EditOrder>),
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
    Quit,
}

/// Something to be edited: what it is, what it was when it was read, and that as text.
#[derive(Debug, Clone, PartialEq)]
pub struct EditOrder {
    pub target: TargetRef,
    pub base: Map<String, Value>,
    pub text: String,
}

/// What is read from the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Fetch {
    Document(Noun, String),
    Describe(Noun, String),
    List(Listing),
}
