//! Plans about hosts: closing one to new agents, and emptying one. The leader asks the runtime for what they say.

use serde_json::json;

use super::draft::{Draft, count, target};
use super::planner::Planner;
use super::resolve::refused;
use crate::engine::handle::CommandError;
use crate::engine::view::AgentRow;
use crate::model::operation::UndoInfo;
use crate::model::plan::{Command, Goal, Noun, Tier};
use crate::ports::runtime::RuntimeError;
use crate::ports::store::chain;

pub(crate) const CORDON: &str = "cordon";
pub(crate) const UNCORDON: &str = "uncordon";
pub(crate) const EVICT: &str = "evict";
/// Emptying a host of more agents than this takes its name.
const FEW: usize = 10;
/// Evictions that a plan rehearses.
const REHEARSED: usize = 20;

impl Planner<'_> {
    pub(super) async fn cordon(&self, host: &str, closed: bool) -> Result<Draft, CommandError> {
        self.host(host).await?;
        let (verb, title, note) = match closed {
            true => (CORDON, "Cordon", "no new agents come here"),
            false => (UNCORDON, "Uncordon", "new agents may come here again"),
        };
        let mut draft = Draft::new(format!("{title} host {host}"), Tier::Two);
        draft.fact("agents there", self.agents_on(host).len());
        draft.rely(json!({ "host": host }));
        // a host is no document: its name is all there is of it
        draft.step(0, verb, target(Noun::Operation, host, host), Goal::Asked, note);
        draft.undo = back(Command::Cordon { host: host.to_owned(), closed: !closed });
        Ok(draft)
    }

    pub(super) async fn drain_host(&self, host: &str) -> Result<Draft, CommandError> {
        let mut draft = self.cordon(host, true).await?;
        draft.title = format!("Drain host {host}");
        let there = self.agents_on(host);
        if there.len() > FEW {
            draft.at_least(Tier::Three);
            draft.confirm_word = Some(host.to_owned());
        }
        draft.fact(
            "evicts",
            format!("{}, as disruption budgets allow", count(there.len(), "agent")),
        );
        for row in &there {
            draft.rely(json!({ "agent": row.id.as_str(), "host": host }));
            let what = target(Noun::Agent, row.id.as_str(), row.name.as_str());
            draft.step(0, EVICT, what, Goal::Asked, "comes up on another host");
        }
        if self.prefer.is_none() {
            for row in there.iter().take(REHEARSED) {
                match self.ctx.runtime.evict(&row.id, host, true).await {
                    Ok(()) | Err(RuntimeError::Gone { .. }) => {}
                    Err(error) => {
                        let name = row.name.as_str();
                        draft.warnings.push(format!("{name} would not go now: {}", chain(&error)));
                    }
                }
            }
        }
        Ok(draft)
    }

    fn agents_on(&self, host: &str) -> Vec<std::sync::Arc<AgentRow>> {
        let view = self.ctx.view();
        view.agents.iter().filter(|row| row.is_on(host)).cloned().collect()
    }

    async fn host(&self, host: &str) -> Result<(), CommandError> {
        if !self.ctx.runtime.has_hosts() {
            return Err(refused("this runtime has no hosts that could be closed or emptied"));
        }
        let info = self.ctx.runtime.info().await?;
        if info.nodes.iter().any(|node| node.name == host) {
            return Ok(());
        }
        let names: Vec<&str> = info.nodes.iter().take(8).map(|node| node.name.as_str()).collect();
        Err(refused(format!("there is no host {host:?}; there are {}", names.join(", "))))
    }
}

fn back(command: Command) -> UndoInfo {
    let note = format!("{} it again", command.verb());
    match serde_json::to_value(command) {
        Ok(command) => UndoInfo::By { commands: vec![command], note },
        Err(error) => UndoInfo::Never { why: error.to_string() },
    }
}
