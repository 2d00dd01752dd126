//! What the cluster shows of the fleet: two watches and our own requests' answers fill one table, and whoever reads it sees
//! agents, not objects. Only what is looked at is kept of an object, some hundred bytes of a pod's ten thousand.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use super::crew::Crewed;
use super::judge;
use super::objects::{Deployed, Host, Podded};
use crate::model::id::AgentId;
use crate::model::time::Time;
use crate::ports::runtime::{Exit, Glimpsed, Node, Observed, Sight};

/// Changes a reader may lag behind before it must list again.
const QUEUE: usize = 4_096;

/// All that is known of one agent.
#[derive(Debug, Default)]
pub struct Entry {
    pub deployed: Option<Deployed>,
    /// By name; the one that counts is the newest.
    pub pods: BTreeMap<String, Podded>,
    /// The Deployment that was deleted from here: late news of it are old news.
    pub(super) buried: Option<String>,
    /// How the last pod that went had ended, and of which incarnation it was.
    pub last: Option<(u64, Exit)>,
    pub(super) told: Option<Observed>,
    pub(super) touched: [u64; 2],
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.deployed.is_none() && self.pods.is_empty() && self.buried.is_none()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Deployments = 0,
    Pods = 1,
    Nodes = 2,
}

/// Whether a watch has told everything, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub whole: bool,
    pub trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<AgentId, Entry>,
    hosts: BTreeMap<String, Host>,
    /// Pools' own workloads, by pool, with the list that held each last.
    crews: BTreeMap<String, (u64, Crewed)>,
    /// Counts the lists of each source, so that what a list does not hold any more can be told from what is newer than it.
    rounds: [u64; 2],
    /// All Deployments have been told of once: a pod without one has none.
    all_deployed: bool,
}

#[derive(Debug)]
pub struct Table {
    inner: Mutex<Inner>,
    changes: broadcast::Sender<Sight>,
    /// Touched whenever a pod changes.
    pods: watch::Sender<()>,
    standing: [watch::Sender<Standing>; 3],
}

impl Default for Table {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changes: broadcast::Sender::new(QUEUE),
            pods: watch::Sender::default(),
            standing: Default::default(),
        }
    }
}

/// When the pod that counts was made.
fn made(entry: &Entry) -> Option<Time> {
    judge::newest(entry).map(|pod| pod.created)
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // what it guards is rebuilt by the next list, so a panic elsewhere leaves nothing wrong behind for long
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn standing(&self, source: Source) -> &watch::Sender<Standing> {
        &self.standing[source as usize]
    }

    /// What the engine sees of one agent.
    pub fn observed(&self, agent: &AgentId) -> Option<Observed> {
        self.lock().entries.get(agent)?.told.clone()
    }

    pub fn rooms(&self) -> Vec<Node> {
        self.lock().hosts.values().map(|host| host.room.clone()).collect()
    }

    pub fn replace_hosts(&self, hosts: BTreeMap<String, Host>) {
        let mut inner = self.lock();
        inner.hosts = hosts;
        let all: Vec<AgentId> = inner.entries.keys().cloned().collect();
        for agent in all {
            self.tell(&mut inner, &agent);
        }
        drop(inner);
        self.stands(Source::Nodes);
    }

    pub fn host(&self, new: Host) {
        let mut inner = self.lock();
        let name = new.room.name.clone();
        let before = inner.hosts.insert(name.clone(), new.clone());
        if before.is_none_or(|before| before.trouble != new.trouble) {
            self.tell_of(&mut inner, &name);
        }
    }

    pub fn unhost(&self, name: &str) {
        let mut inner = self.lock();
        if inner.hosts.remove(name).is_some() {
            self.tell_of(&mut inner, name);
        }
    }

    fn tell_of(&self, inner: &mut Inner, node: &str) {
        let on = |(agent, entry): (&AgentId, &Entry)| {
            entry.pods.values().any(|pod| pod.node == node).then(|| agent.clone())
        };
        let there: Vec<AgentId> = inner.entries.iter().filter_map(on).collect();
        for agent in there {
            self.tell(inner, &agent);
        }
    }

    /// Looks at one agent's entry.
    pub fn look<T>(&self, agent: &AgentId, at: impl FnOnce(Option<&Entry>) -> T) -> T {
        at(self.lock().entries.get(agent))
    }

    /// Waits until the agent's pods are as `like` wants them.
    pub async fn pods_like(&self, agent: &AgentId, like: impl Fn(&Podded) -> bool) {
        let mut changes = self.pods.subscribe();
        let all = |_: &()| {
            self.look(agent, |entry| entry.is_none_or(|entry| entry.pods.values().all(&like)))
        };
        // the sender lives as long as this does
        drop(changes.wait_for(all).await);
    }

    /// Everyone as they are, and what changes from here on.
    pub fn survey(&self) -> (Vec<Observed>, broadcast::Receiver<Sight>) {
        let inner = self.lock();
        let seen = inner.entries.values().filter_map(|entry| entry.told.clone()).collect();
        (seen, self.changes.subscribe())
    }

    /// Everyone as they are by now, with when what counts of each was made, and what changes from here on.
    pub fn glimpse(&self) -> (Vec<Glimpsed>, broadcast::Receiver<Sight>) {
        let inner = self.lock();
        let glimpsed =
            |entry: &Entry| Some(Glimpsed { seen: entry.told.clone()?, since: made(entry) });
        (inner.entries.values().filter_map(glimpsed).collect(), self.changes.subscribe())
    }

    /// When what counts of the agent was made.
    pub fn since(&self, agent: &AgentId) -> Option<Time> {
        made(self.lock().entries.get(agent)?)
    }

    fn tell(&self, inner: &mut Inner, agent: &AgentId) {
        let Some(entry) = inner.entries.get_mut(agent) else { return };
        let host = judge::newest(entry).and_then(|pod| inner.hosts.get(&pod.node));
        let early = entry.deployed.is_none() && !agent.is_of_crew() && !inner.all_deployed;
        let now = if early { None } else { judge::observe(agent, entry, host) };
        if now != entry.told {
            let sight = match &now {
                Some(seen) => Sight::Changed(seen.clone()),
                None => Sight::Gone(agent.clone()),
            };
            entry.told = now;
            drop(self.changes.send(sight)); // nobody listening is fine
        }
        if entry.is_empty() {
            inner.entries.remove(agent);
        }
    }

    pub fn deployed(&self, agent: &AgentId, new: Deployed) {
        let mut inner = self.lock();
        let round = inner.rounds[Source::Deployments as usize];
        let entry = inner.entries.entry(agent.clone()).or_default();
        entry.touched[Source::Deployments as usize] = round;
        if entry.buried.as_ref() == Some(&new.uid) {
            return;
        }
        let older = |old: &Deployed| old.uid == new.uid && old.version > new.version;
        if !entry.deployed.as_ref().is_some_and(older) {
            (entry.deployed, entry.buried) = (Some(new), None);
        }
        self.tell(&mut inner, agent);
    }

    pub fn undeployed(&self, agent: &AgentId, uid: &str) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(agent) else { return };
        entry.deployed.take_if(|old| old.uid == uid);
        entry.buried.take_if(|buried| buried == uid);
        self.tell(&mut inner, agent);
    }

    pub fn crew(&self, pool: &str) -> Option<Crewed> {
        self.lock().crews.get(pool).map(|(_, crew)| crew.clone())
    }

    pub fn crews(&self) -> Vec<(String, Crewed)> {
        let crews = &self.lock().crews;
        crews.iter().map(|(pool, (_, crew))| (pool.clone(), crew.clone())).collect()
    }

    /// The newest copy of the pool's workload that says why it does not run, and why.
    pub fn ailing(&self, pool: &str) -> Option<(String, String)> {
        let inner = self.lock();
        let copies = inner.entries.values().flat_map(|entry| entry.pods.values());
        let ours = |pod: &&Podded| pod.copy_of.as_ref().is_some_and(|copy| copy.pool == pool);
        let ailing = copies.filter(ours).filter(|pod| !pod.ending && !pod.why.is_empty());
        let newest = ailing.max_by_key(|pod| (pod.created, &pod.name))?;
        Some((newest.name.clone(), newest.why.clone()))
    }

    pub fn crewed(&self, pool: &str, new: Crewed) {
        let mut inner = self.lock();
        let round = inner.rounds[Source::Deployments as usize];
        let known = inner.crews.entry(pool.to_owned()).or_insert_with(|| (round, new.clone()));
        known.0 = round;
        if known.1.uid != new.uid || known.1.version <= new.version {
            known.1 = new;
        }
    }

    pub fn uncrewed(&self, pool: &str, uid: &str) {
        let crews = &mut self.lock().crews;
        if crews.get(pool).is_some_and(|(_, crew)| crew.uid == uid) {
            crews.remove(pool);
        }
    }

    /// Deleted by ourselves: gone from now on, whatever is still told of it.
    pub fn buried(&self, agent: &AgentId, uid: &str) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(agent) else { return };
        if entry.deployed.take_if(|old| old.uid == uid).is_some() {
            entry.buried = Some(uid.to_owned());
        }
        self.tell(&mut inner, agent);
    }

    pub fn podded(&self, agent: &AgentId, new: Podded) {
        let mut inner = self.lock();
        let entry = inner.entries.entry(agent.clone()).or_default();
        let older = |old: &Podded| old.uid == new.uid && old.version > new.version;
        if !entry.pods.get(&new.name).is_some_and(older) {
            entry.pods.insert(new.name.clone(), new);
        }
        self.tell(&mut inner, agent);
        drop(inner);
        self.pods.send_replace(());
    }

    pub fn unpodded(&self, agent: &AgentId, name: &str) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(agent) else { return };
        if let Some(Podded { incarnation, exit: Some(exit), .. }) = entry.pods.remove(name) {
            entry.last = Some((incarnation, exit));
        }
        self.tell(&mut inner, agent);
        drop(inner);
        self.pods.send_replace(());
    }

    /// A list of Deployments begins: what it does not hold, and nothing newer speaks of, is gone when it ends.
    pub fn begin_deployments(&self) {
        self.lock().rounds[Source::Deployments as usize] += 1;
    }

    pub fn end_deployments(&self) {
        let mut inner = self.lock();
        let round = inner.rounds[Source::Deployments as usize];
        inner.crews.retain(|_, (listed, _)| *listed >= round);
        if !std::mem::replace(&mut inner.all_deployed, true) {
            let alone = inner.entries.iter().filter(|(_, entry)| entry.deployed.is_none());
            let alone: Vec<AgentId> = alone.map(|(agent, _)| agent.clone()).collect();
            for agent in alone {
                self.tell(&mut inner, &agent);
            }
        }
        let gone: Vec<AgentId> = inner
            .entries
            .iter()
            .filter(|(_, entry)| entry.touched[Source::Deployments as usize] < round)
            .filter(|(_, entry)| entry.deployed.is_some() || entry.buried.is_some())
            .map(|(agent, _)| agent.clone())
            .collect();
        for agent in gone {
            if let Some(entry) = inner.entries.get_mut(&agent) {
                (entry.deployed, entry.buried) = (None, None);
            }
            self.tell(&mut inner, &agent);
        }
        drop(inner);
        self.stands(Source::Deployments);
    }

    /// All pods at once: nobody but the watch puts pods into the table.
    pub fn replace_pods(&self, mut pods: HashMap<AgentId, BTreeMap<String, Podded>>) {
        let mut inner = self.lock();
        let known: Vec<AgentId> = inner.entries.keys().cloned().collect();
        for agent in known {
            let now = pods.remove(&agent).unwrap_or_default();
            if let Some(entry) = inner.entries.get_mut(&agent)
                && entry.pods != now
            {
                entry.pods = now;
                self.tell(&mut inner, &agent);
            }
        }
        for (agent, pods) in pods {
            inner.entries.entry(agent.clone()).or_default().pods = pods;
            self.tell(&mut inner, &agent);
        }
        drop(inner);
        self.pods.send_replace(());
        self.stands(Source::Pods);
    }

    /// The watch of `source` has told everything and nothing is wrong with it.
    pub fn stands(&self, source: Source) {
        self.standing(source).send_if_modified(|standing| {
            let well = Standing { whole: true, trouble: None };
            std::mem::replace(standing, well.clone()) != well
        });
    }

    pub fn broke(&self, source: Source, trouble: String) {
        self.standing(source).send_if_modified(|standing| {
            let news = standing.trouble.as_ref() != Some(&trouble);
            standing.trouble = Some(trouble);
            news
        });
    }
}
