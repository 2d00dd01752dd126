//! What may be typed for the console: how it takes part, what it shows first, how it looks, and ways to look without a
//! screen.

use clap::Args;

#[derive(Debug, Clone, Default, Args)]
pub struct ConsoleArgs {
    /// Never lead; only watch and record what is wanted
    #[arg(long)]
    pub observe: bool,
    /// Refuse every change; implies --observe
    #[arg(short, long)]
    pub readonly: bool,
    /// Allow changes, whatever the context says
    #[arg(long, conflicts_with = "readonly")]
    pub write: bool,
    /// The first view: what one would type after `:`
    #[arg(short = 'c', long = "command", value_name = "LINE")]
    pub command: Option<String>,
    /// Only what belongs to this tenant
    #[arg(short = 'n', long = "scope", value_name = "NAME")]
    pub scope: Option<String>,
    /// Every tenant's things
    #[arg(short = 'A', long = "all-scopes", conflicts_with = "scope")]
    pub all_scopes: bool,
    /// Line by line instead of a screen: for screen readers and pipes
    #[arg(long)]
    pub plain: bool,
    /// Print this view as text and leave: what one would type after `:`
    #[arg(long, value_name = "VIEW")]
    pub snapshot: Option<String>,
    /// Say what is not well and leave: 0 all well, 1 something is not, 3 the store cannot be reached
    #[arg(long)]
    pub check: bool,
    /// Theme: a name from themes/ or a user's own
    #[arg(long, value_name = "NAME")]
    pub theme: Option<String>,
    /// Keymap: default, vim or a user's own
    #[arg(long, value_name = "NAME")]
    pub keymap: Option<String>,
    /// Only ASCII characters
    #[arg(long)]
    pub ascii: bool,
    /// For a slow link: no spark lines, no clock, at most ten frames a second
    #[arg(long)]
    pub low_bandwidth: bool,
}

impl ConsoleArgs {
    /// Whether it is to be looked at without a screen.
    pub fn looks(&self) -> bool {
        self.plain || self.check || self.snapshot.is_some()
    }
}
