//! Plans about workloads without a record: taken into the registry as they run, or ended.

use serde_json::{Value, json};

use super::draft::{Draft, count, target};
use super::planner::Planner;
use super::resolve::{Found, crew_without_record, refused};
use crate::engine::documents::body;
use crate::engine::handle::CommandError;
use crate::engine::journal::Change;
use crate::model::agent::{Agent, Desired, Phase};
use crate::model::id::{PoolId, TemplateId};
use crate::model::operation::UndoInfo;
use crate::model::plan::{Goal, Noun, Tier};
use crate::model::pool::Pool;
use crate::model::schema::Collection;
use crate::model::template::Template;
use crate::ports::runtime::{Observed, Relic};
use crate::ports::store::Key;

impl Planner<'_> {
    /// Everything that runs without a record, or those of it that are named.
    pub(super) async fn adopt(&self, names: &[String], end: bool) -> Result<Draft, CommandError> {
        let (orphans, copies) = self.orphans(names).await?;
        let verb = if end { "End" } else { "Adopt" };
        let title = format!("{verb} {} without a record", count(orphans.len(), "workload"));
        let mut draft = Draft::new(title, if end { Tier::Three } else { Tier::Two });
        if copies > 0 {
            let copies = if copies == 1 { "1 copy".to_owned() } else { format!("{copies} copies") };
            draft.warnings.push(format!(
                "left out: {copies} of pools' own workloads: bring back the pools' records, or delete their Deployments"
            ));
        }
        if end {
            draft.confirm_word = Some(format!("end {}", orphans.len()));
        }
        for seen in &orphans {
            let id = &seen.agent;
            let Some(relic) = self.ctx.runtime.recall(id).await? else {
                draft.warnings.push(format!("left out: {id} cannot be read back"));
                continue;
            };
            let agent = match self.record(seen, &relic, end).await? {
                Ok(agent) => agent,
                Err(why) => {
                    draft.warnings.push(format!("left out: {}: {why}", relic.name));
                    continue;
                }
            };
            draft.rely(json!({ "orphan": id.as_str(), "incarnation": seen.incarnation }));
            let what = target(Noun::Agent, id.as_str(), agent.name.clone());
            let goal = match end {
                true => Goal::AgentGone,
                false => Goal::Agent { phase: Phase::Running, incarnation: agent.incarnation },
            };
            let note = format!("{}, {}", seen.workload, of(&agent));
            draft.step(0, if end { "delete" } else { "adopt" }, what, goal, note);
            draft.changes.push(Change {
                collection: Collection::Agents,
                key: Key::new(id.as_str())?,
                before: None,
                after: Some(body(&agent)?),
                kind: "agent.adopted",
                subject: agent.name.clone(),
                evidence: Value::Null,
            });
        }
        draft.undo = UndoInfo::Never {
            why: match end {
                true => "what had no record cannot be made again".to_owned(),
                false => "delete those that are not wanted".to_owned(),
            },
        };
        Ok(draft)
    }

    /// What runs without a record, and how many copies of pools' own workloads do, which nobody can take in by themselves.
    async fn orphans(&self, names: &[String]) -> Result<(Vec<Observed>, usize), CommandError> {
        let (copies, mut seen): (Vec<Observed>, Vec<Observed>) =
            self.ctx.runtime.list().await?.into_iter().partition(|it| it.agent.is_of_crew());
        let view = self.ctx.view();
        let copies: Vec<Observed> =
            copies.into_iter().filter(|it| view.agent(&it.agent).is_none()).collect();
        for name in names {
            if let Some(copy) = copies.iter().find(|it| is_called(it, name)) {
                let pool = copy.copy_of.as_ref().map_or("?", |copy| copy.pool.as_str());
                return Err(refused(crew_without_record(name, pool)));
            }
        }
        seen.sort_by(|a, b| a.agent.cmp(&b.agent));
        let mut orphans = Vec::new();
        for chunk in seen.chunks(1_000) {
            let keys: Vec<Key> =
                chunk.iter().map(|it| Key::new(it.agent.as_str())).collect::<Result<_, _>>()?;
            let known = self.ctx.store.get_many(Collection::Agents, &keys).await?;
            let known: std::collections::HashSet<&str> =
                known.iter().map(|document| document.key.as_str()).collect();
            orphans.extend(chunk.iter().filter(|it| !known.contains(it.agent.as_str())).cloned());
        }
        if names.is_empty() {
            return Ok((orphans, copies.len()));
        }
        for name in names {
            if !orphans.iter().any(|it| is_called(it, name)) {
                return Err(refused(format!("no workload {name:?} runs without a record")));
            }
        }
        orphans.retain(|it| names.iter().any(|name| is_called(it, name)));
        Ok((orphans, 0))
    }

    /// The record that it would have; or why it can have none.
    async fn record(
        &self,
        seen: &Observed,
        relic: &Relic,
        end: bool,
    ) -> Result<Result<Agent, String>, CommandError> {
        let tenant = self.tenant(None);
        let mut agent = Agent {
            // an agent that is to end needs no name to itself
            live_name: (!end).then(|| relic.name.clone()),
            name: relic.name.clone(),
            kind: relic.kind.clone(),
            tenant,
            desired: if end { Desired::Deleted } else { Desired::Running },
            phase: if end { Phase::Draining } else { Phase::Deploying },
            phase_since: self.now,
            reason: "found without a record".to_owned(),
            incarnation: seen.incarnation,
            wanted_incarnation: seen.incarnation,
            generation: 1,
            created_at: seen.started_at.unwrap_or(self.now),
            updated_at: self.now,
            created_by: self.actor.name.clone(),
            ..Agent::default()
        };
        if end {
            return Ok(Ok(agent));
        }
        let Some((template, version)) = relic.template.split_once('@') else {
            return Ok(Err("nothing says which template it was made of".to_owned()));
        };
        let found: Found<Template> = match self.resolver.one(Noun::Template, template).await {
            Ok(found) => found,
            Err(CommandError::NotFound { .. }) => {
                return Ok(Err(format!("its template {template} is not in this fleet")));
            }
            Err(error) => return Err(error),
        };
        let made = match self.template_version(&found, version).await {
            Ok(made) => made,
            Err(CommandError::Refused { message }) => return Ok(Err(message)),
            Err(error) => return Err(error),
        };
        agent.template_id = TemplateId::new(found.id()).ok();
        version.clone_into(&mut agent.template_version);
        (agent.labels, agent.config) = (made.labels, made.configuration);
        if let Some(pool) = &relic.pool {
            match self.resolver.one::<Pool>(Noun::Pool, pool).await {
                Ok(found) => {
                    agent.pool_id = PoolId::new(found.id()).ok();
                    agent.tenant = found.value.tenant;
                }
                // its pool has gone: it stays as one of its own
                Err(CommandError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if self.resolver.named(Noun::Agent, &agent.name, &agent.tenant).await?.is_some() {
            return Ok(Err("another agent has its name".to_owned()));
        }
        Ok(Ok(agent))
    }
}

fn is_called(seen: &Observed, name: &str) -> bool {
    seen.agent.as_str() == name || seen.workload == name
}

fn of(agent: &Agent) -> String {
    match (&agent.pool_id, agent.desired) {
        (_, Desired::Deleted) => format!("run {}", agent.incarnation),
        (Some(pool), _) => format!("of pool {pool}, run {}", agent.incarnation),
        (None, _) => format!("of no pool, run {}", agent.incarnation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::AgentId;

    #[test]
    fn an_orphan_is_named_by_its_id_or_by_its_workload() {
        let seen = Observed {
            agent: AgentId::new("a-1").unwrap(),
            incarnation: 1,
            state: crate::ports::runtime::State::Running,
            pid: None,
            node: String::new(),
            workload: "agent-a-1".to_owned(),
            restarts: 0,
            message: String::new(),
            exit: None,
            started_at: None,
            copy_of: None,
        };
        assert!(is_called(&seen, "a-1") && is_called(&seen, "agent-a-1"));
        assert!(!is_called(&seen, "a"));
    }
}
