//! What the console is given when it begins, and why it ended.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ports::clock::Clock;
use crate::settings::thresholds::Thresholds;
use crate::settings::{ConsoleSettings, Settings};
use crate::tui::history::History;
use crate::tui::ui::Context;

/// Reads the settings; a fault in words, as the file's owner needs it.
pub struct Reread(pub Box<dyn Fn() -> Result<Settings, String>>);

impl std::fmt::Debug for Reread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reread")
    }
}

/// How the console is to look and behave.
#[derive(Debug)]
pub struct Options {
    /// Holds the user's `themes/` and `keymaps/`.
    pub config: PathBuf,
    pub settings: ConsoleSettings,
    /// Reads the settings again, once their file has changed.
    pub reread: Reread,
    pub limits: Thresholds,
    pub readonly: bool,
    pub parting: Parting,
    /// Where screens are saved and recordings written.
    pub dumps: PathBuf,
    pub context: Context,
    pub contexts: Vec<(String, String)>,
    /// What to open once the fleet is read.
    pub first_line: Option<String>,
    /// What to say at the beginning.
    pub notice: Option<String>,
    /// Views of this context that were looked at before.
    pub history: History,
    pub clock: Arc<dyn Clock>,
}

/// Why the console has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Quit,
    /// The operator goes over to another fleet, to this line there.
    Switch {
        context: String,
        line: Option<String>,
    },
}

/// What becomes of the agents when the operator leaves; asked about before it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Parting {
    #[default]
    GoOn,
    /// They were started for a demonstration only.
    End,
}
