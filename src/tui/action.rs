//! What a key or a command-bar line can ask of the console: one closed list, from which keymaps, hints and help are made.
//! It says nothing of how an action is carried out; that is `update`.

use strum::{EnumIter, EnumMessage, EnumString, IntoStaticStr};

use crate::model::access::Right;

/// What a key or a command-bar line can ask for. The doc line is the help text.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    EnumString,
    IntoStaticStr,
    EnumIter,
    EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Action {
    /// Open the command bar
    CommandBar,
    /// Filter the rows, or search the text
    Filter,
    /// Show every key that works here
    Help,
    /// Clear filter or marks, else go back
    Back,
    /// Go back; at the first page, quit
    Leave,
    /// Cancel what runs; with nothing running, quit
    CancelOrQuit,
    /// Go to the view before this one
    LastView,
    /// Go back in the history of views
    HistoryBack,
    /// Go forward in the history of views
    HistoryForward,
    /// Show the last notifications in full
    Notifications,
    /// Paint the whole screen anew
    Redraw,
    /// Read again what this page shows
    Refresh,
    /// Show the header in full or as one line
    ToggleHeader,
    /// Show or hide the line of crumbs
    ToggleCrumbs,
    /// Allow or forbid changes for this session
    ToggleReadOnly,
    /// Show or hide the side pane with details
    ToggleDetail,
    /// Move the focus to the next pane
    NextPane,
    /// Move the focus to the pane before
    PreviousPane,
    /// Keep this view under a name
    Bookmark,
    /// Save what this view shows as a file
    SaveView,
    /// Show or hide what frames, bytes and queues come to
    TogglePerf,
    /// Write what was shown and typed lately to files
    Dump,
    /// List the commands and their short names
    Aliases,

    /// Move the selection one row down
    SelectNext,
    /// Move the selection one row up
    SelectPrevious,
    /// Go to the first row
    SelectFirst,
    /// Go to the last row
    SelectLast,
    /// Move one page down
    PageDown,
    /// Move one page up
    PageUp,
    /// Move half a page down
    HalfPageDown,
    /// Move half a page up
    HalfPageUp,
    /// Scroll to the columns on the left
    ScrollLeft,
    /// Scroll to the columns on the right
    ScrollRight,
    /// Pick the column on the right
    NextColumn,
    /// Choose a scope: one tenant, or all
    Scopes,
    /// Show every scope
    ScopeAll,
    /// Show the first scope only
    Scope1,
    /// Show the second scope only
    Scope2,
    /// Show the third scope only
    Scope3,
    /// Show the fourth scope only
    Scope4,
    /// Show the fifth scope only
    Scope5,
    /// Show the sixth scope only
    Scope6,
    /// Show the seventh scope only
    Scope7,
    /// Show the eighth scope only
    Scope8,
    /// Show the ninth scope only
    Scope9,
    /// Show the scope of the selected row only
    Warp,
    /// Pick the column on the left
    PreviousColumn,

    /// Go into the selected row
    Open,
    /// Describe the selected row
    Describe,
    /// Show the stored document as YAML
    Yaml,
    /// Show the agent's objects as its runtime has them
    Live,
    /// Follow the logs of the selected agent
    Logs,
    /// Show the logs before the last restart
    PreviousLogs,
    /// Show the events of the selected row
    Events,
    /// Go to the owner: agent, pool, template
    Owner,
    /// Show every agent of the selected row's host
    Host,
    /// Show what uses the selected thing
    UsedBy,
    /// Show the messages of the selected row
    Flow,
    /// See what the row is made of, and what of it is sick
    Xray,
    /// Copy the name of the selected row; in texts, the lines
    CopyName,
    /// Copy the picked cell
    CopyCell,

    /// Change the selected thing in $EDITOR
    Edit,
    /// Restart the selected agents, or a pool's
    Restart,
    /// Set how many agents a pool has
    Scale,
    /// Pause the selected agents, or resume them
    Pause,
    /// Take no new work, finish what is held, stop
    Drain,
    /// Stop the selected agents
    Stop,
    /// Start the selected agents that are stopped
    Start,
    /// Delete the selected things
    Delete,
    /// Take in selected workloads that have no record
    Adopt,
    /// Deploy one agent of the selected template
    Deploy,
    /// Bring a pool to another template version
    SetTemplate,
    /// Bring a pool back to its version before
    Rollback,
    /// Send a message to the selected agent
    SendMessage,
    /// Open a shell beside the selected agent
    Shell,
    /// Make a port of the selected agent reachable here
    PortForward,
    /// Make the selected dead messages pending again
    Requeue,
    /// Send copies of the selected messages
    Replay,
    /// Put the selected messages away
    Purge,
    /// Take back the selected or the last operation
    Undo,

    /// Show more columns, or fewer
    ToggleWide,
    /// Show only what is not well
    ToggleFaults,
    /// Keep the order of the rows as it is
    FreezeOrder,
    /// Sort by name
    SortName,
    /// Sort by age
    SortAge,
    /// Sort by state
    SortState,
    /// Sort by pool
    SortPool,
    /// Sort by the length of the queue
    SortQueue,
    /// Sort by health
    SortHealth,
    /// Sort by CPU
    SortCpu,
    /// Sort by memory
    SortMemory,
    /// Sort by restarts
    SortRestarts,
    /// Sort by the picked column
    SortColumn,
    /// Sort the other way round
    InvertSort,
    /// Mark the selected row, or unmark it
    ToggleMark,
    /// Mark from the last mark to here
    MarkRange,
    /// Mark every row that the filter shows
    MarkAll,
    /// Forget all marks
    ClearMarks,

    /// Go to the next hit of the search
    FindNext,
    /// Go to the hit before
    FindPrevious,
    /// Show only lines that match
    FilterLines,
    /// Keep the newest line in sight, or stop
    ToggleFollow,
    /// Wrap long lines, or cut them
    ToggleWrap,
    /// Show or hide the time of each line
    ToggleTime,
    /// Use the whole screen for the text
    FullScreen,
    /// Draw a line under what is there now
    MarkLine,
    /// Forget the lines shown so far
    ClearText,
    /// Show JSON spread over several lines
    PrettyJson,
    /// Change between YAML and JSON
    ToggleFormat,
    /// Show the last lines only
    SinceTail,
    /// Show everything from the first line kept
    SinceHead,
    /// Show the last minute
    Since1m,
    /// Show the last 5 minutes
    Since5m,
    /// Show the last 15 minutes
    Since15m,
    /// Show the last 30 minutes
    Since30m,
    /// Show the last hour
    Since1h,
    /// Stop reading the log, or go on where it stopped
    StopLog,
    /// Show the logs of all agents of the pool, or of one
    AllSources,
    /// Keep time and source in sight while scrolling sideways
    LockColumns,
    /// Show secrets in this document, or hide them; it is audited
    Reveal,
    /// Fold what is open
    Fold,
    /// Unfold what is folded
    Unfold,

    /// Move to the next field or button
    NextField,
    /// Move to the field or button before
    PreviousField,
    /// Press the focused button
    Press,
    /// Carry out the plan shown
    AcceptPlan,
    /// Close the dialog and change nothing
    Cancel,
    /// Take the suggestion
    Complete,
    /// Choose the next suggestion
    NextSuggestion,
    /// Choose the suggestion before
    PreviousSuggestion,
    /// Run the line as typed
    Submit,
    /// Quit the console; the agents go on
    Quit,
}

/// Under which heading help lists an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum Group {
    General,
    Move,
    Inspect,
    Act,
    View,
    Text,
    Dialog,
}

impl Action {
    /// The name that keymaps and the command bar use.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// One line of help, without a full stop.
    pub fn help(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }

    pub fn group(self) -> Group {
        match self {
            a if a <= Self::Aliases || a == Self::Quit => Group::General,
            a if a <= Self::PreviousColumn => Group::Move,
            a if a <= Self::CopyCell => Group::Inspect,
            a if a <= Self::Undo => Group::Act,
            a if a <= Self::ClearMarks => Group::View,
            a if a <= Self::Unfold => Group::Text,
            _ => Group::Dialog,
        }
    }

    /// The right that it takes, where it leads to a change.
    pub fn right(self) -> Option<Right> {
        if !self.changes_fleet() {
            return None;
        }
        Some(match self {
            Self::Scale
            | Self::Delete
            | Self::Adopt
            | Self::Requeue
            | Self::Replay
            | Self::Purge => Right::Manage,
            _ => Right::Operate,
        })
    }

    /// Whether it leads to a change of the fleet, and is hidden while the console is read-only.
    pub fn changes_fleet(self) -> bool {
        self.group() == Group::Act
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn every_action_has_a_name_that_parses_back_and_a_short_line_of_help() {
        for action in Action::iter() {
            assert_eq!(Action::from_str(action.name()), Ok(action));
            let help = action.help();
            assert!(!help.is_empty() && help.chars().count() <= 60, "{action:?}: {help:?}");
            assert!(!help.ends_with('.'), "{action:?}: {help:?}");
        }
    }

    #[test]
    fn every_action_stands_under_the_heading_it_is_listed_with() {
        for (action, group) in [
            (Action::CommandBar, Group::General),
            (Action::Quit, Group::General),
            (Action::SelectNext, Group::Move),
            (Action::PreviousColumn, Group::Move),
            (Action::Open, Group::Inspect),
            (Action::Restart, Group::Act),
            (Action::Undo, Group::Act),
            (Action::ToggleWide, Group::View),
            (Action::FindNext, Group::Text),
            (Action::NextField, Group::Dialog),
        ] {
            assert_eq!(action.group(), group, "{action:?}");
        }
    }
}
