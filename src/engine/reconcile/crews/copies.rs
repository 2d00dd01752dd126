//! The records of a workload's copies: made when one is seen, kept to what is seen of it, gone with it without a tombstone.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{BATCH, Crews, Keeper};
use crate::engine::documents::{self, body, overlay};
use crate::engine::fenced::Fault;
use crate::engine::journal::Change;
use crate::engine::reconcile::pools::Mould;
use crate::engine::retention;
use crate::engine::view::{AgentRow, FleetView};
use crate::model::agent::lifecycle::{has_moved, place};
use crate::model::agent::{Agent, Phase};
use crate::model::id::{AgentId, PoolId, TemplateId};
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::runtime::{Observed, State};
use crate::ports::store::{Document, Key};

impl Crews {
    /// Brings due records to what is seen, a batch at a time; the rest stays due.
    pub(super) async fn compare(&mut self, view: &FleetView) -> Result<(), Fault> {
        let mut moulds: BTreeMap<PoolId, Option<Mould>> = BTreeMap::new();
        while !self.due.is_empty() {
            let batch: Vec<AgentId> = self.due.iter().take(BATCH).cloned().collect();
            let seen: Vec<(AgentId, Option<Observed>)> =
                batch.iter().map(|id| (id.clone(), self.sights.of(id).cloned())).collect();
            let changes = self.keeper.changes(&seen, view, &mut moulds).await?;
            let mut by_reason: BTreeMap<String, Vec<Change>> = BTreeMap::new();
            for (reason, change) in changes {
                by_reason.entry(reason).or_default().push(change);
            }
            for (reason, changes) in by_reason {
                let gone = changes.iter().filter(|change| change.after.is_none());
                let gone: Vec<Key> = gone.map(|change| change.key.clone()).collect();
                // who was faster is met again at the next full look
                let stayed = self.keeper.pen.commit_each(&reason, changes).await?;
                let gone: Vec<Key> = gone.into_iter().filter(|it| !stayed.contains(it)).collect();
                if !gone.is_empty() {
                    retention::tidy(&self.keeper.pen, &gone).await?;
                }
            }
            for id in &batch {
                self.due.remove(id);
            }
        }
        Ok(())
    }
}

impl Keeper {
    async fn changes(
        &self,
        batch: &[(AgentId, Option<Observed>)],
        view: &FleetView,
        moulds: &mut BTreeMap<PoolId, Option<Mould>>,
    ) -> Result<Vec<(String, Change)>, Fault> {
        let ctx = &self.pen.ctx;
        let keys: Vec<Key> =
            batch.iter().map(|(id, _)| Key::new(id.as_str())).collect::<Result<_, _>>()?;
        let mut agents = documents::Agents::default();
        agents.extend(ctx.store.get_many(Collection::Agents, &keys).await?);
        let now = ctx.clock.now();
        let mut changes = Vec::new();
        for (id, seen) in batch {
            match (agents.found.get(id), seen) {
                (None, Some(_)) if agents.unreadable.contains(id) => {}
                (None, Some(seen)) => {
                    let Some(pool) = pool_of(seen, view) else { continue };
                    if !moulds.contains_key(&pool) {
                        let mould = self.mould(&pool).await?;
                        moulds.insert(pool.clone(), mould);
                    }
                    if let Some(Some(mould)) = moulds.get(&pool)
                        && let Some(agent) = first(id, seen, mould.sample(now), now)
                    {
                        changes.push((
                            String::new(),
                            change(id, None, Some(&agent), "agent.registered")?,
                        ));
                    }
                }
                (Some((document, agent)), None) => {
                    let gone = change(id, Some((document, agent)), None, "agent.deleted")?;
                    changes.push(("its pod is gone".to_owned(), gone));
                }
                (Some((document, agent)), Some(seen)) => {
                    if let Some((after, kind)) = follow(agent, seen, now) {
                        let reason = after.reason.clone();
                        let change = change(id, Some((document, agent)), Some(&after), kind)?;
                        changes.push((reason, change));
                    }
                }
                (None, None) => {}
            }
        }
        Ok(changes)
    }

    async fn mould(&self, pool: &PoolId) -> Result<Option<Mould>, Fault> {
        let Some((_, it)) = self.pool(pool).await? else { return Ok(None) };
        // what cannot be made any more is not recorded either; the pool says why
        Ok(Mould::of(&self.pen.ctx, pool, &it).await?.ok())
    }
}

/// The pool that it is a copy of, if there is such a pool. Its name does not tell: of a long one only the beginning is in it.
fn pool_of(seen: &Observed, view: &FleetView) -> Option<PoolId> {
    let pool = PoolId::new(&seen.copy_of.as_ref()?.pool).ok()?;
    view.pool(&pool).map(|row| row.id.clone())
}

/// The template that a copy was made of; while an update is on its way that need not be the pool's.
fn made_of(agent: &mut Agent, seen: &Observed) {
    let copy = seen.copy_of.as_ref();
    if let Some((template, version)) = copy.and_then(|it| it.template.split_once('@'))
        && let Ok(template) = TemplateId::new(template)
    {
        agent.template_id = Some(template);
        agent.template_version = version.to_owned();
    }
}

fn change(
    id: &AgentId,
    before: Option<(&Document, &Agent)>,
    after: Option<&Agent>,
    kind: &'static str,
) -> Result<Change, Fault> {
    let written = match (before, after) {
        (Some((document, agent)), Some(after)) => Some(overlay(&document.body, agent, after)),
        (None, Some(after)) => Some(body(after)?),
        (_, None) => None,
    };
    Ok(Change {
        collection: Collection::Agents,
        key: Key::new(id.as_str())?,
        before: before.map(|(document, _)| document.clone()),
        after: written,
        kind,
        subject: id.to_string(),
        evidence: Value::Null,
    })
}

/// The record of a copy that is seen for the first time; none for one that is on its way out already.
fn first(id: &AgentId, seen: &Observed, like: Agent, now: Time) -> Option<Agent> {
    let phase = match seen.state {
        State::Starting | State::Lost | State::Parked => Phase::Deploying,
        State::Running => Phase::Running,
        State::Ending => return None,
        State::Exited => Phase::Failed,
    };
    let mut agent = Agent {
        name: id.to_string(),
        live_name: Some(id.to_string()),
        phase,
        incarnation: seen.incarnation,
        wanted_incarnation: seen.incarnation,
        running_since: (phase == Phase::Running).then_some(now),
        reason: if phase == Phase::Failed { seen.end() } else { String::new() },
        ..like
    };
    made_of(&mut agent, seen);
    place(&mut agent, seen);
    Some(agent)
}

/// Whether the row says what is seen, so that [`follow`] would leave its record as it is.
pub fn is_as_seen(row: &AgentRow, seen: &Observed) -> bool {
    let at = row.node.as_str() == seen.node || row.node == Safe::new(&seen.node);
    (row.phase, seen.state) == (Phase::Running, State::Running)
        && (at || seen.node.is_empty())
        && (row.pid, row.restarts_in_place) == (seen.pid, seen.restarts)
}

/// The record as it is to be, if it is to be another; the kind is the event's.
fn follow(agent: &Agent, seen: &Observed, now: Time) -> Option<(Agent, &'static str)> {
    let to = match (seen.state, agent.phase) {
        (State::Running, Phase::Pending | Phase::Deploying) => {
            Some((Phase::Running, "agent.running"))
        }
        (State::Ending, Phase::Deploying | Phase::Running | Phase::Paused) => {
            Some((Phase::Draining, "agent.draining"))
        }
        (State::Exited, Phase::Deploying | Phase::Running | Phase::Paused | Phase::Draining) => {
            Some((Phase::Failed, "agent.failed"))
        }
        _ => None,
    };
    let mut after = agent.clone();
    if let Some((phase, kind)) = to {
        after.phase = agent.phase.go(phase).ok()?;
        after.phase_since = now;
        after.updated_at = now;
        after.reason = if phase == Phase::Failed { seen.end() } else { String::new() };
        if phase == Phase::Running {
            after.running_since = Some(now);
        }
        place(&mut after, seen);
        return Some((after, kind));
    }
    if has_moved(agent, seen) {
        place(&mut after, seen);
        after.updated_at = now;
        return Some((after, "agent.placed"));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ports::runtime::CopyOf;

    fn seen(state: State) -> Observed {
        Observed {
            agent: AgentId::new("agent-pool-p-7d-x").unwrap(),
            incarnation: 1,
            state,
            pid: None,
            node: "node-1".to_owned(),
            workload: "agent-pool-p-7d-x".to_owned(),
            restarts: 0,
            message: "Evicted".to_owned(),
            exit: None,
            started_at: None,
            copy_of: None,
        }
    }

    #[test]
    fn a_row_that_says_what_is_seen_needs_no_look_and_any_other_does() {
        let view = crate::engine::testing::loops::fleet(1, Phase::Running);
        let seen = Observed { node: "here".to_owned(), restarts: 2, ..seen(State::Running) };
        let row = AgentRow {
            node: Safe::new("here"),
            pid: seen.pid,
            restarts_in_place: 2,
            ..(*view.agents[0]).clone()
        };
        assert!(is_as_seen(&row, &seen));
        assert!(is_as_seen(&row, &Observed { node: String::new(), ..seen.clone() }));
        for other in [
            Observed { state: State::Ending, ..seen.clone() },
            Observed { node: "there".to_owned(), ..seen.clone() },
            Observed { restarts: 3, ..seen.clone() },
            Observed { pid: Some(7), ..seen.clone() },
        ] {
            assert!(!is_as_seen(&row, &other), "{other:?}");
        }
        let starting = AgentRow { phase: Phase::Deploying, ..row };
        assert!(!is_as_seen(&starting, &seen));
    }

    #[test]
    fn a_copy_is_recorded_as_it_is_seen_and_moves_only_as_agents_may() {
        let (id, now) = (AgentId::new("agent-pool-p-7d-x").unwrap(), Time::from_millis(1));
        let like = Agent::default();
        assert_eq!(first(&id, &seen(State::Ending), like.clone(), now), None);
        let starting = first(&id, &seen(State::Starting), like.clone(), now).unwrap();
        // one of an update that is on its way says what it was made of; the pool is at another version already
        let old = CopyOf { pool: "p".to_owned(), template: "worker@1.0.0".to_owned() };
        let old = Observed { copy_of: Some(Arc::new(old)), ..seen(State::Running) };
        let new = Agent { template_version: "2.0.0".to_owned(), ..Agent::default() };
        assert_eq!(first(&id, &old, new, now).unwrap().template_version, "1.0.0");
        assert_eq!(
            (starting.phase, starting.deployment.node.as_str()),
            (Phase::Deploying, "node-1")
        );
        assert_eq!(follow(&starting, &seen(State::Starting), now), None);
        let (running, kind) = follow(&starting, &seen(State::Running), now).unwrap();
        assert_eq!((running.phase, kind), (Phase::Running, "agent.running"));
        assert_eq!(follow(&running, &seen(State::Running), now), None);
        assert_eq!(follow(&running, &seen(State::Lost), now), None, "nobody knows");
        let (failed, _) = follow(&running, &seen(State::Exited), now).unwrap();
        assert!(failed.reason.contains("Evicted"), "{}", failed.reason);
        let (ending, _) = follow(&running, &seen(State::Ending), now).unwrap();
        assert_eq!(ending.phase, Phase::Draining);
        assert_eq!(follow(&ending, &seen(State::Ending), now), None);
    }
}
