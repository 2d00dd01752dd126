//! Verbs about the cluster that agents run in: its hosts, and what runs there without a record.

use clap::Subcommand;

use super::ActArgs;
use crate::model::plan::Command;

#[derive(Debug, Subcommand)]
pub enum ClusterVerb {
    /// Close a host to new agents
    Cordon {
        host: String,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Let new agents onto a host again
    Uncordon {
        host: String,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Close a host and evict its agents, as disruption budgets allow
    DrainHost {
        host: String,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Take workloads without a record into the registry, or end them (all, if none is named)
    Adopt {
        workloads: Vec<String>,
        /// End them instead
        #[arg(long)]
        end: bool,
        #[command(flatten)]
        act: ActArgs,
    },
}

impl ClusterVerb {
    pub fn act(&self) -> &ActArgs {
        match self {
            Self::Cordon { act, .. }
            | Self::Uncordon { act, .. }
            | Self::DrainHost { act, .. }
            | Self::Adopt { act, .. } => act,
        }
    }

    pub fn command(self) -> (Command, ActArgs) {
        match self {
            Self::Cordon { host, act } => (Command::Cordon { host, closed: true }, act),
            Self::Uncordon { host, act } => (Command::Cordon { host, closed: false }, act),
            Self::DrainHost { host, act } => (Command::DrainHost { host }, act),
            Self::Adopt { workloads, end, act } => (Command::Adopt { workloads, end }, act),
        }
    }
}
