//! To whom messages go: the running agents of a pool or type, and which of them is next.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::options::{Balance, Target};
use crate::agent::Client;
use crate::engine::messaging::MessagingError;
use crate::model::agent::Phase;
use crate::model::filter::{Field, Filter};
use crate::model::id::AgentId;
use crate::model::message::MessageStatus;
use crate::model::schema::Collection;
use crate::model::template::FieldError;
use crate::ports::store::{Query, StoreError};

/// How old the picture of who is there, and how busy, may be.
const FRESH: Duration = Duration::from_secs(1);
const MOST: usize = 1_000;

pub struct Targets {
    client: Arc<Client>,
    wanted: Vec<Target>,
    balance: Balance,
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    read: Option<Instant>,
    /// Agents and what waits for them, as far as known: read a moment ago, plus what was sent since.
    agents: Vec<(AgentId, u64)>,
    next: usize,
}

impl Known {
    fn choose(&mut self, balance: Balance) -> Option<AgentId> {
        let at = match balance {
            Balance::RoundRobin => self.next % self.agents.len().max(1),
            Balance::LeastLoaded => {
                // equals take turns, so that not everybody finds the same one idle
                let count = self.agents.len();
                let turn = |at: &usize| (at + count - self.next % count.max(1)) % count.max(1);
                let least = self.agents.iter().map(|(_, load)| *load).min()?;
                let idle = (0..count).filter(|at| self.agents[*at].1 == least);
                idle.min_by_key(turn)?
            }
        };
        let (id, load) = self.agents.get_mut(at)?;
        *load += 1;
        self.next = at + 1;
        Some(id.clone())
    }
}

impl Targets {
    pub fn new(client: Arc<Client>, wanted: Vec<Target>, balance: Balance) -> Self {
        Self { client, wanted, balance, known: RefCell::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whose turn it is.
    ///
    /// # Errors
    /// `Invalid` when nobody who was asked for runs; `Store`.
    pub async fn choose(&self) -> Result<AgentId, MessagingError> {
        let stale = self.known.borrow().read.is_none_or(|read| read.elapsed() > FRESH);
        if stale {
            let agents = self.look().await?;
            let mut known = self.known.borrow_mut();
            (known.agents, known.read) = (agents, Some(Instant::now()));
        }
        let chosen = self.known.borrow_mut().choose(self.balance);
        chosen.ok_or_else(|| {
            let wanted: Vec<String> = self.wanted.iter().map(ToString::to_string).collect();
            let why = match wanted.is_empty() {
                true => "no targets were named (--targets)".to_owned(),
                false => format!("no running agent is {}", wanted.join(" or ")),
            };
            MessagingError::Invalid { errors: vec![FieldError::new("/to", why)] }
        })
    }

    async fn look(&self) -> Result<Vec<(AgentId, u64)>, StoreError> {
        let found = try_join_all(self.wanted.iter().map(|target| self.find(target))).await?;
        let mut agents: Vec<AgentId> = found.into_iter().flatten().collect();
        agents.sort();
        agents.dedup();
        agents.retain(|id| id != self.client.id());
        let mut loads: Vec<(AgentId, u64)> = agents.into_iter().map(|id| (id, 0)).collect();
        if self.balance == Balance::RoundRobin || loads.is_empty() {
            return Ok(loads);
        }
        let waiting = Filter::And(vec![
            Filter::any_of("to_agent_id", loads.iter().map(|(id, _)| id.as_str())),
            Filter::any_of("status", [MessageStatus::Pending.name(), MessageStatus::Leased.name()]),
        ]);
        let by = [Field::of("to_agent_id")];
        let store = self.client.store();
        for tally in store.tally(Collection::AgentMessages, waiting, &by, None).await? {
            let id = tally.values.first().and_then(|id| id.as_str());
            if let Some((_, load)) = loads.iter_mut().find(|(known, _)| Some(known.as_str()) == id)
            {
                *load = tally.count;
            }
        }
        Ok(loads)
    }

    async fn find(&self, target: &Target) -> Result<Vec<AgentId>, StoreError> {
        let running = Filter::eq("phase", Phase::Running.name());
        let named =
            |name: &str| Filter::Or(vec![Filter::eq("live_name", name), Filter::eq("_key", name)]);
        let filter = match target {
            Target::Type(kind) => Filter::And(vec![Filter::eq("type", kind.as_str()), running]),
            Target::Agent(name) => Filter::And(vec![named(name), running]),
            Target::Pool(name) => {
                let query = Query::new(Collection::AgentPools, named(name));
                let pools = self.client.store().query(query).await?.documents;
                let ids = pools.iter().map(|pool| pool.key.as_str());
                Filter::And(vec![Filter::any_of("pool_id", ids), running])
            }
        };
        let query = Query { limit: MOST, ..Query::new(Collection::Agents, filter) };
        let page = self.client.store().query(query).await?;
        Ok(page.documents.iter().filter_map(|one| AgentId::new(one.key.as_str()).ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(loads: &[u64]) -> Known {
        let agents = loads
            .iter()
            .enumerate()
            .map(|(at, load)| (AgentId::new(&format!("a{at}")).unwrap(), *load));
        Known { agents: agents.collect(), ..Known::default() }
    }

    fn choose(known: &mut Known, balance: Balance, times: usize) -> String {
        let chosen = (0..times).map(|_| known.choose(balance).unwrap().to_string());
        chosen.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_least_loaded_is_chosen_and_equals_take_turns() {
        assert_eq!(choose(&mut known(&[3, 0, 1]), Balance::LeastLoaded, 4), "a1 a2 a1 a2");
        assert_eq!(choose(&mut known(&[0, 0, 0]), Balance::LeastLoaded, 5), "a0 a1 a2 a0 a1");
        assert_eq!(choose(&mut known(&[9, 0]), Balance::RoundRobin, 3), "a0 a1 a0");
        assert_eq!(known(&[]).choose(Balance::LeastLoaded), None);
        assert_eq!(known(&[]).choose(Balance::RoundRobin), None);
    }
}
