//! The fleet in memory: a row for each thing, and what rows show of one another (names, counts, sums), kept true by
//! each change of a document. Knows neither the store nor time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::intern::Interner;
use super::paper::{Paper, Sheet};
use super::recent::Recent;
use super::rows::{self, Beside, Vital};
use super::table::{Keyed, Table, mark};
use crate::engine::view::{
    AgentRow, PoolRow, Queue, SubscriptionRow, TemplateRow, Totals, UsageNote,
};
use crate::model::agent::{Phase, shapes};
use crate::model::health::HealthStatus;
use crate::model::id::{AgentId, OperationId, PoolId, SubscriptionId, TemplateId};
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::store::{Body, Key, RawDocument};

macro_rules! keyed {
    ($($row:ty = $id:ty),*) => {$(
        impl Keyed for $row {
            type Id = $id;
            fn id(&self) -> &$id { &self.id }
        }
    )*};
}
keyed!(
    AgentRow = AgentId,
    PoolRow = PoolId,
    TemplateRow = TemplateId,
    SubscriptionRow = SubscriptionId
);

/// The collections whose documents the fleet is made of.
pub const ROWS: [Collection; 6] = [
    Collection::AgentPools,
    Collection::AgentTemplates,
    Collection::Agents,
    Collection::AgentHealth,
    Collection::AgentSubscriptions,
    Collection::Operations,
];

/// What the agents of one pool use together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    samples: u64,
    cpu_millis: u64,
    memory_bytes: u64,
    latest: Time,
}

#[derive(Debug, Default)]
pub struct Fleet {
    pub agents: Table<AgentRow>,
    pub pools: Table<PoolRow>,
    pub templates: Table<TemplateRow>,
    pub subscriptions: Table<SubscriptionRow>,
    pub operations: Recent,
    vitals: BTreeMap<AgentId, (u64, Vital)>,
    queues: HashMap<AgentId, Queue>,
    pool_queues: HashMap<PoolId, Queue>,
    sums: HashMap<PoolId, Sum>,
    /// How many living agents and pools use each template.
    uses: HashMap<TemplateId, (u32, u32)>,
    phases: BTreeMap<Phase, u64>,
    health: BTreeMap<HealthStatus, u64>,
    strained: u64,
    touched_pools: BTreeSet<PoolId>,
    /// Agents that messages wait for came, went or changed their pool since what waits was summed by pool.
    regroup: bool,
    touched_templates: BTreeSet<TemplateId>,
    known: Interner,
}

impl Fleet {
    /// Takes in a document as it now is. True when this may change what the reconcile loop has to do.
    pub fn put(&mut self, collection: Collection, key: &Key, mark: u64, body: &Body) -> bool {
        let known = &mut self.known;
        match collection {
            Collection::Agents => {
                let Ok(id) = AgentId::new(key.as_str()) else { return strange(collection, key) };
                match shapes::ours(key.as_str(), body) {
                    Ok(Some(done)) => self.put_agent(id, mark, &done.body),
                    Ok(None) | Err(_) => self.put_agent(id, mark, body),
                }
            }
            Collection::AgentHealth => {
                let Ok(id) = AgentId::new(key.as_str()) else { return strange(collection, key) };
                self.put_vital(id, mark, rows::vital(body));
                false
            }
            Collection::AgentPools => {
                let Ok(id) = PoolId::new(key.as_str()) else { return strange(collection, key) };
                let row = rows::pool(id, body, known);
                self.put_pool(mark, row)
            }
            Collection::AgentTemplates => {
                let Ok(id) = TemplateId::new(key.as_str()) else { return strange(collection, key) };
                let row = rows::template(id, body, known);
                self.put_template(mark, row);
                false
            }
            Collection::AgentSubscriptions => {
                let Ok(id) = SubscriptionId::new(key.as_str()) else {
                    return strange(collection, key);
                };
                self.subscriptions.put(mark, rows::subscription(id, body, known));
                false
            }
            Collection::Operations => {
                let Ok(id) = OperationId::new(key.as_str()) else {
                    return strange(collection, key);
                };
                self.operations.put(rows::operation(id, body, known))
            }
            _ => false,
        }
    }

    /// The same for an agent or its health whose document is still text.
    pub fn put_raw(&mut self, collection: Collection, raw: &RawDocument) -> bool {
        let (mark, key) = (mark(&raw.rev), &raw.key);
        let Ok(id) = AgentId::new(key.as_str()) else { return strange(collection, key) };
        match Sheet::read(&raw.json) {
            // another program's shape, perhaps
            Ok(sheet) if collection == Collection::Agents && sheet.word("phase").is_none() => {
                let body: Body = serde_json::from_str(&raw.json).unwrap_or_default();
                self.put(collection, key, mark, &body)
            }
            Ok(sheet) if collection == Collection::Agents => self.put_agent(id, mark, &sheet),
            Ok(sheet) => {
                self.put_vital(id, mark, rows::vital(&sheet));
                false
            }
            Err(error) => {
                tracing::warn!(%collection, %key, %error, "a document that cannot be read is not shown");
                false
            }
        }
    }

    /// Forgets a document that is gone. True as for [`Fleet::put`].
    pub fn remove(&mut self, collection: Collection, key: &str) -> bool {
        match collection {
            Collection::Agents => {
                let gone = AgentId::new(key).ok().and_then(|id| self.agents.remove(&id));
                gone.is_some_and(|row| {
                    self.count(Some(&row), None);
                    true
                })
            }
            Collection::AgentHealth => {
                if let Ok(id) = AgentId::new(key) {
                    self.vitals.remove(&id);
                    self.show_vital(&id, Vital::default());
                }
                false
            }
            Collection::AgentPools => {
                let gone = PoolId::new(key).ok().and_then(|id| self.pools.remove(&id));
                gone.is_some_and(|row| {
                    self.use_template(row.template.as_ref(), (0, -1));
                    self.rename_pool(&row.id, &Safe::default());
                    true
                })
            }
            Collection::AgentTemplates => {
                let gone = TemplateId::new(key).ok().and_then(|id| self.templates.remove(&id));
                if let Some(row) = gone {
                    self.rename_template(&row.id, &Safe::default());
                }
                false
            }
            Collection::AgentSubscriptions => {
                if let Ok(id) = SubscriptionId::new(key) {
                    self.subscriptions.remove(&id);
                }
                false
            }
            Collection::Operations => {
                OperationId::new(key).is_ok_and(|id| self.operations.remove(&id))
            }
            _ => false,
        }
    }

    /// Whether the document is held at this very revision.
    pub fn has(&self, collection: Collection, key: &str, mark: u64) -> bool {
        match collection {
            Collection::Agents => self.agents.has(key, mark),
            Collection::AgentHealth => self.vitals.get(key).is_some_and(|kept| kept.0 == mark),
            Collection::AgentPools => self.pools.has(key, mark),
            Collection::AgentTemplates => self.templates.has(key, mark),
            Collection::AgentSubscriptions => self.subscriptions.has(key, mark),
            _ => false,
        }
    }

    /// The keys held of a collection after `after` and up to `to` (without bounds where there is none), in order.
    pub fn keys(&self, collection: Collection, after: Option<&str>, to: Option<&str>) -> Vec<Key> {
        let range = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            to.map_or(Bound::Unbounded, Bound::Included),
        );
        let keys =
            |ids: &mut dyn Iterator<Item = &str>| ids.filter_map(|id| Key::new(id).ok()).collect();
        match collection {
            Collection::Agents => keys(&mut self.agents.ids(range)),
            Collection::AgentHealth => {
                keys(&mut self.vitals.range::<str, _>(range).map(|(id, _)| id.as_str()))
            }
            Collection::AgentPools => keys(&mut self.pools.ids(range)),
            Collection::AgentTemplates => keys(&mut self.templates.ids(range)),
            Collection::AgentSubscriptions => keys(&mut self.subscriptions.ids(range)),
            _ => Vec::new(),
        }
    }

    fn put_agent(&mut self, id: AgentId, mark: u64, paper: &impl Paper) -> bool {
        let beside = Beside {
            vital: self.vitals.get(&id).map(|(_, vital)| *vital).unwrap_or_default(),
            queue: self.queues.get(&id).copied().unwrap_or_default(),
            ..Beside::default()
        };
        let mut row = rows::agent(id.clone(), paper, &mut self.known, beside);
        if let Some(pool) = row.pool.as_ref().and_then(|id| self.pools.get(id)) {
            row.pool_name = pool.name.clone();
        }
        if let Some(template) = row.template.as_ref().and_then(|id| self.templates.get(id)) {
            row.template_name = template.name.clone();
        }
        let Some(before) = self.agents.put(mark, row) else { return false };
        let Some(now) = self.agents.get(&id).cloned() else { return false };
        self.count(before.as_deref(), Some(&now));
        before.is_none_or(|before| {
            let wish = |row: &AgentRow| {
                (row.desired, row.phase, row.generation, row.wanted_incarnation, row.pool.clone())
            };
            wish(&before) != wish(&now)
        })
    }

    fn put_vital(&mut self, id: AgentId, mark: u64, vital: Vital) {
        self.vitals.insert(id.clone(), (mark, vital));
        self.show_vital(&id, vital);
    }

    fn show_vital(&mut self, id: &AgentId, vital: Vital) {
        let Some(row) = self.agents.get(id) else { return };
        let usage = vital.usage.filter(|_| row.phase.has_workload());
        if (row.heartbeat, row.usage) == (vital.heartbeat, usage) {
            return;
        }
        let (pool, before) = (row.pool.clone(), row.usage);
        self.agents.edit(id, |row| (row.heartbeat, row.usage) = (vital.heartbeat, usage));
        self.sum(pool.as_ref(), before, usage);
    }

    fn put_pool(&mut self, mark: u64, mut row: PoolRow) -> bool {
        let id = row.id.clone();
        if let Some(template) = row.template.as_ref().and_then(|id| self.templates.get(id)) {
            row.template_name = template.name.clone();
        }
        row.queue = self.pool_queues.get(&id).copied().unwrap_or_default();
        row.usage = self.sums.get(&id).and_then(usage_of);
        let Some(before) = self.pools.put(mark, row) else { return false };
        let Some(now) = self.pools.get(&id).cloned() else { return false };
        self.use_template(before.as_ref().and_then(|row| row.template.as_ref()), (0, -1));
        self.use_template(now.template.as_ref(), (0, 1));
        if before.as_ref().is_none_or(|before| before.name != now.name) {
            self.rename_pool(&id, &now.name);
        }
        before.is_none_or(|before| {
            let wish = |row: &PoolRow| {
                let counts = (row.desired, row.min, row.max, row.generation);
                (counts, row.template_version.clone(), row.paused, row.deleting, row.halted)
            };
            wish(&before) != wish(&now)
        })
    }

    fn put_template(&mut self, mark: u64, mut row: TemplateRow) {
        let id = row.id.clone();
        (row.agents, row.pools) = self.uses.get(&id).copied().unwrap_or_default();
        let name = row.name.clone();
        if let Some(before) = self.templates.put(mark, row)
            && before.is_none_or(|before| before.name != name)
        {
            self.rename_template(&id, &name);
        }
    }

    fn rename_pool(&mut self, id: &PoolId, name: &Safe) {
        let member = |row: &&Arc<AgentRow>| row.pool.as_ref() == Some(id) && row.pool_name != *name;
        let members: Vec<AgentId> =
            self.agents.rows().filter(member).map(|row| row.id.clone()).collect();
        for agent in members {
            self.agents.edit(&agent, |row| row.pool_name = name.clone());
        }
    }

    fn rename_template(&mut self, id: &TemplateId, name: &Safe) {
        let agents: Vec<AgentId> = self
            .agents
            .rows()
            .filter(|row| row.template.as_ref() == Some(id) && row.template_name != *name)
            .map(|row| row.id.clone())
            .collect();
        for agent in agents {
            self.agents.edit(&agent, |row| row.template_name = name.clone());
        }
        let pools: Vec<PoolId> = self
            .pools
            .rows()
            .filter(|row| row.template.as_ref() == Some(id) && row.template_name != *name)
            .map(|row| row.id.clone())
            .collect();
        for pool in pools {
            self.pools.edit(&pool, |row| row.template_name = name.clone());
        }
    }

    /// Keeps the counts by phase, health and template, and the pools' sums.
    fn count(&mut self, before: Option<&AgentRow>, now: Option<&AgentRow>) {
        for (row, by) in before.map(|row| (row, -1)).into_iter().chain(now.map(|row| (row, 1))) {
            step(&mut self.phases, row.phase, by);
            if row.is_strained() {
                self.strained = self.strained.saturating_add_signed(by.into());
            }
            if row.phase != Phase::Deleted {
                step(&mut self.health, row.health, by);
                self.use_template(row.template.as_ref(), (by, 0));
            }
        }
        let same = |was: &AgentRow, is: &AgentRow| (&was.pool, was.queue) == (&is.pool, is.queue);
        self.regroup |= !before.zip(now).is_some_and(|(was, is)| same(was, is));
        let of = |row: Option<&AgentRow>| row.map(|row| (row.pool.clone(), row.usage));
        let ((old, was), (new, is)) = (of(before).unwrap_or_default(), of(now).unwrap_or_default());
        if old == new {
            self.sum(new.as_ref(), was, is);
        } else {
            self.sum(old.as_ref(), was, None);
            self.sum(new.as_ref(), None, is);
        }
    }

    fn use_template(&mut self, template: Option<&TemplateId>, by: (i32, i32)) {
        let Some(id) = template else { return };
        let uses = self.uses.entry(id.clone()).or_default();
        *uses = (uses.0.saturating_add_signed(by.0), uses.1.saturating_add_signed(by.1));
        self.touched_templates.insert(id.clone());
    }

    fn sum(&mut self, pool: Option<&PoolId>, was: Option<UsageNote>, is: Option<UsageNote>) {
        let Some(id) = pool.filter(|_| was != is) else { return };
        let sum = self.sums.entry(id.clone()).or_default();
        if let Some(was) = was {
            sum.samples = sum.samples.saturating_sub(1);
            sum.cpu_millis = sum.cpu_millis.saturating_sub(was.cpu_millis);
            sum.memory_bytes = sum.memory_bytes.saturating_sub(was.memory_bytes);
        }
        if let Some(is) = is {
            sum.samples += 1;
            sum.cpu_millis = sum.cpu_millis.saturating_add(is.cpu_millis);
            sum.memory_bytes = sum.memory_bytes.saturating_add(is.memory_bytes);
            sum.latest = sum.latest.max(is.at);
        }
        self.touched_pools.insert(id.clone());
    }

    /// Takes in what waits for each receiver; receivers that are not named have nothing.
    pub fn put_queues(&mut self, queues: HashMap<AgentId, Queue>) {
        for (id, queue) in &queues {
            if self.agents.get(id).is_some_and(|row| row.queue != *queue) {
                self.agents.edit(id, |row| row.queue = *queue);
            }
        }
        for id in self.queues.keys().filter(|id| !queues.contains_key(*id)) {
            if self.agents.get(id).is_some_and(|row| row.queue != Queue::default()) {
                self.agents.edit(id, |row| row.queue = Queue::default());
            }
        }
        self.queues = queues;
        self.regroup = true;
    }

    /// Sums what waits by pool.
    fn group_queues(&mut self) {
        let mut by_pool: HashMap<PoolId, Queue> = HashMap::new();
        for (id, queue) in &self.queues {
            if let Some(pool) = self.agents.get(id).and_then(|row| row.pool.clone()) {
                add(by_pool.entry(pool).or_default(), queue);
            }
        }
        let old = std::mem::replace(&mut self.pool_queues, by_pool);
        self.touched_pools.extend(self.pool_queues.keys().chain(old.keys()).cloned());
    }

    /// Brings rows that sum up others up to date; to be called before slices are taken.
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.regroup) {
            self.group_queues();
        }
        for id in std::mem::take(&mut self.touched_pools) {
            let usage = self.sums.get(&id).and_then(usage_of);
            let queue = self.pool_queues.get(&id).copied().unwrap_or_default();
            if self.pools.get(&id).is_some_and(|row| (row.usage, row.queue) != (usage, queue)) {
                self.pools.edit(&id, |row| (row.usage, row.queue) = (usage, queue));
            }
        }
        for id in std::mem::take(&mut self.touched_templates) {
            let uses = self.uses.get(&id).copied().unwrap_or_default();
            if self.templates.get(&id).is_some_and(|row| (row.agents, row.pools) != uses) {
                self.templates.edit(&id, |row| (row.agents, row.pools) = uses);
            }
        }
    }

    pub fn is_dirty(&self) -> bool {
        self.agents.is_dirty()
            || self.pools.is_dirty()
            || self.templates.is_dirty()
            || self.subscriptions.is_dirty()
            || self.operations.is_dirty()
    }

    pub fn count_into(&self, totals: &mut Totals) {
        totals.phases.clone_from(&self.phases);
        totals.health.clone_from(&self.health);
        totals.strained = self.strained;
    }
}

fn strange(collection: Collection, key: &Key) -> bool {
    tracing::debug!(%collection, %key, "a document whose key is no id is not shown");
    false
}

fn step<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, by: i32) {
    let count = counts.get(&key).copied().unwrap_or(0).saturating_add_signed(i64::from(by));
    if count == 0 {
        counts.remove(&key);
    } else {
        counts.insert(key, count);
    }
}

fn usage_of(sum: &Sum) -> Option<UsageNote> {
    (sum.samples > 0).then_some(UsageNote {
        at: sum.latest,
        cpu_millis: sum.cpu_millis,
        memory_bytes: sum.memory_bytes,
    })
}

fn add(sum: &mut Queue, one: &Queue) {
    sum.pending += one.pending;
    sum.leased += one.leased;
    sum.dead += one.dead;
    sum.delivered += one.delivered;
    sum.oldest = [sum.oldest, one.oldest].into_iter().flatten().min();
}
