//! The simulated fleet itself: what each agent is doing, and what happens next. Pure but for its size: time comes in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use super::SimOptions;
use super::dice::Dice;
use super::talk::Story;
use crate::model::health::Usage;
use crate::model::id::AgentId;
use crate::model::time::Time;
use crate::ports::runtime::{Exit, Observed, RuntimeError, Sight, State, Workload};

/// Agents to a simulated host.
const CROWD: usize = 100;
/// How many hosts there may be.
const MOST_NODES: usize = 2_000;
/// Of so many updates one is a change of status.
const CHANGE: u64 = 100;
/// Slots looked at for an agent that runs, from the one that the dice named.
const PROBES: usize = 64;
/// After a stall (a suspended machine) no more than this is caught up with.
const CATCH_UP: Duration = Duration::from_secs(10);

pub fn node_name(number: u64) -> String {
    format!("sim-{number:04}")
}

/// Why an agent is as it is; its words are made when they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Nothing,
    Starting,
    BackOff,
    Asked,
    Crashed,
    OutOfMemory,
    Done,
}

impl Why {
    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Starting => "pulling its image",
            Self::BackOff => "its container ended and is started again",
            Self::Asked => "asked to end",
            Self::Crashed => "simulated failure",
            Self::OutOfMemory => "out of memory",
            Self::Done => "asked to end",
        }
    }

    fn exit(self) -> Exit {
        match self {
            Self::Crashed => Exit::Code(1),
            Self::OutOfMemory => Exit::Signal(9),
            Self::Nothing | Self::Starting | Self::BackOff | Self::Asked | Self::Done => {
                Exit::Code(0)
            }
        }
    }
}

/// One agent, kept small: there may be a hundred thousand.
#[derive(Debug, Clone)]
struct Sim {
    id: AgentId,
    incarnation: u64,
    state: State,
    why: Why,
    restarts: u32,
    started_at: Time,
    ended_at: Time,
    sampled_at: Time,
    cpu_millis: u32,
    memory_mib: u32,
    /// Drawn anew at each change, so that a timer set before it means nothing any more.
    turn: u64,
}

/// At that instant, if the agent in that slot is still in that turn, what it is doing comes to its end.
type Timer = Reverse<(Instant, usize, u64)>;

#[derive(Debug)]
pub struct World {
    dice: Dice,
    rate: u64,
    nodes: u64,
    /// The two clocks at the same moment: all stamps are counted from it.
    began: Instant,
    began_at: Time,
    /// How far this world has come.
    at: Instant,
    /// Updates so far.
    done: u64,
    /// A slot keeps its number for ever, so that the same throw means the same agent.
    slots: Vec<Option<Sim>>,
    free: Vec<usize>,
    index: HashMap<AgentId, usize>,
    timers: BinaryHeap<Timer>,
    turns: u64,
    sights: Vec<Sight>,
}

impl World {
    pub fn new(options: &SimOptions) -> Self {
        let began = options.clock.instant();
        Self {
            dice: Dice::new(options.seed),
            rate: u64::from(options.updates_per_second),
            nodes: options.agents.div_ceil(CROWD).clamp(1, MOST_NODES) as u64,
            began,
            at: began,
            began_at: options.clock.now(),
            done: 0,
            slots: Vec::with_capacity(options.agents),
            free: Vec::new(),
            index: HashMap::with_capacity(options.agents),
            timers: BinaryHeap::new(),
            turns: 0,
            sights: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    pub fn take_sights(&mut self) -> Vec<Sight> {
        std::mem::take(&mut self.sights)
    }

    /// Up to `count` agents from slot `from` on, and the slot to go on from if there are more.
    pub fn some(&self, from: usize, count: usize) -> (Vec<Observed>, Option<usize>) {
        let end = from.saturating_add(count).min(self.slots.len());
        let slots = self.slots.get(from..end).unwrap_or_default().iter();
        let seen = slots.filter_map(|sim| Some(see(self.nodes, sim.as_ref()?))).collect();
        (seen, (end < self.slots.len()).then_some(end))
    }

    pub fn state(&self, agent: &AgentId) -> Option<State> {
        self.slots[*self.index.get(agent)?].as_ref().map(|sim| sim.state)
    }

    pub fn usage(&self, agents: &[AgentId]) -> Vec<(AgentId, Usage)> {
        let sample = |agent: &AgentId| {
            let sim = self.slots[*self.index.get(agent)?].as_ref()?;
            (sim.state == State::Running).then(|| {
                let usage = Usage {
                    at: sim.sampled_at,
                    cpu_millis: sim.cpu_millis.into(),
                    memory_bytes: u64::from(sim.memory_mib) << 20,
                };
                (sim.id.clone(), usage)
            })
        };
        agents.iter().filter_map(sample).collect()
    }

    /// What the agent has been telling in its log until now.
    pub fn story(&self, agent: &AgentId) -> Option<Story> {
        let sim = self.slots[*self.index.get(agent)?].as_ref()?;
        let until = match sim.state {
            State::Exited => sim.ended_at,
            State::Starting | State::Running | State::Lost | State::Parked | State::Ending => {
                self.now()
            }
        };
        let dice = self.dice.about_text(agent.as_str());
        Some(Story::new(dice, sim.incarnation, sim.started_at, until))
    }

    fn now(&self) -> Time {
        self.stamp(self.at)
    }

    fn stamp(&self, at: Instant) -> Time {
        self.began_at.plus(at.saturating_duration_since(self.began))
    }

    /// Nanoseconds from the beginning to an update.
    fn nanos(&self, update: u64) -> u64 {
        let nanos = u128::from(update) * 1_000_000_000 / u128::from(self.rate.max(1));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// When something will happen by itself; `None` while everything stays as it is.
    pub fn next_due(&self) -> Option<Instant> {
        let update = (self.rate > 0 && !self.index.is_empty())
            .then(|| self.began + Duration::from_nanos(self.nanos(self.done + 1)));
        let timer = self.timers.peek().map(|Reverse((at, _, _))| *at);
        update.into_iter().chain(timer).min()
    }

    /// Lets everything happen that was due by `now`, in the order of time.
    pub fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began);
        let due = u128::from(self.rate) * elapsed.as_nanos() / 1_000_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        self.done = self.done.max(due.saturating_sub(self.rate * CATCH_UP.as_secs()));
        while self.done < due {
            self.done += 1;
            let at = self.began + Duration::from_nanos(self.nanos(self.done));
            self.fire(at);
            self.update(self.done, at);
        }
        self.fire(now);
        self.at = self.at.max(now);
    }

    /// Update number `number`: a new sample for an agent that runs, or now and then a blow to it.
    fn update(&mut self, number: u64, at: Instant) {
        let throw = self.dice.about(number);
        let len = self.slots.len();
        let first = usize::try_from(throw.range(0, len as u64)).unwrap_or(0);
        let runs = |slot: &usize| {
            self.slots[*slot].as_ref().is_some_and(|sim| sim.state == State::Running)
        };
        let Some(slot) = (first..first + PROBES.min(len)).map(|slot| slot % len).find(runs) else {
            return;
        };
        if number.is_multiple_of(CHANGE) {
            return self.strike(slot, throw, at);
        }
        let stamp = self.stamp(at);
        if let Some(sim) = &mut self.slots[slot] {
            sim.sample(self.dice, throw, stamp);
        }
    }

    /// A change of status: mostly the container is started again in place, else the workload is over.
    fn strike(&mut self, slot: usize, throw: Dice, at: Instant) {
        match throw.about(1).range(0, 10) {
            0..6 => {
                self.change(slot, at, State::Starting, Why::BackOff);
                let pause = throw.about(2).span(Duration::from_secs(1), Duration::from_secs(5));
                self.after(slot, at, pause);
            }
            6..9 => self.change(slot, at, State::Exited, Why::Crashed),
            _ => self.change(slot, at, State::Exited, Why::OutOfMemory),
        }
    }

    fn fire(&mut self, now: Instant) {
        while let Some(Reverse((at, slot, turn))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(sim) = self.slots[slot].as_ref().filter(|sim| sim.turn == turn) else {
                continue;
            };
            match sim.state {
                State::Starting => self.change(slot, at, State::Running, Why::Nothing),
                State::Ending => self.change(slot, at, State::Exited, Why::Done),
                State::Running | State::Lost | State::Parked | State::Exited => {}
            }
        }
    }

    fn after(&mut self, slot: usize, at: Instant, span: Duration) {
        if let Some(sim) = &self.slots[slot] {
            self.timers.push(Reverse((at + span, slot, sim.turn)));
        }
    }

    fn change(&mut self, slot: usize, at: Instant, state: State, why: Why) {
        let stamp = self.stamp(at);
        let Some(sim) = &mut self.slots[slot] else { return };
        self.turns += 1;
        sim.turn = self.turns;
        (sim.state, sim.why) = (state, why);
        match state {
            State::Starting if why == Why::BackOff => sim.restarts += 1,
            State::Starting => sim.started_at = stamp,
            State::Running => sim.sample(self.dice, self.dice.about(sim.turn), stamp),
            State::Lost | State::Parked | State::Ending => {}
            State::Exited => sim.ended_at = stamp,
        }
        self.sights.push(Sight::Changed(see(self.nodes, sim)));
    }

    pub fn apply(&mut self, workload: &Workload) -> Result<(), RuntimeError> {
        if workload.config.command.is_empty() && workload.config.image.is_empty() {
            return Err(RuntimeError::Rejected {
                message: "config.command: is empty, and there is no config.image either".to_owned(),
            });
        }
        let slot = self.slot(&workload.agent);
        let known = self.slots[slot].as_ref().map_or(0, |sim| sim.incarnation);
        if known > workload.incarnation {
            return Err(RuntimeError::Rejected {
                message: format!(
                    "incarnation {} is older than {known}, which was already started",
                    workload.incarnation
                ),
            });
        }
        if known == workload.incarnation && known > 0 {
            return Ok(());
        }
        let at = self.at;
        self.begin(slot, &workload.agent, workload.incarnation, at);
        self.change(slot, at, State::Starting, Why::Starting);
        let throw = self.dice.about_text(workload.agent.as_str()).about(workload.incarnation);
        let delay = throw.span(Duration::from_millis(100), Duration::from_millis(800));
        self.after(slot, at, delay);
        Ok(())
    }

    pub fn adopt(&mut self, agent: &AgentId, incarnation: u64) {
        if self.index.contains_key(agent) {
            return;
        }
        let slot = self.slot(agent);
        let at = self.at;
        self.begin(slot, agent, incarnation, at);
        self.change(slot, at, State::Running, Why::Nothing);
    }

    fn slot(&mut self, agent: &AgentId) -> usize {
        if let Some(slot) = self.index.get(agent) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.index.insert(agent.clone(), slot);
        slot
    }

    fn begin(&mut self, slot: usize, agent: &AgentId, incarnation: u64, at: Instant) {
        let stamp = self.stamp(at);
        self.slots[slot] = Some(Sim {
            id: agent.clone(),
            incarnation,
            state: State::Starting,
            why: Why::Starting,
            restarts: 0,
            started_at: stamp,
            ended_at: stamp,
            sampled_at: stamp,
            cpu_millis: 0,
            memory_mib: 0,
            turn: 0,
        });
    }

    pub fn remove(&mut self, agent: &AgentId, grace: Duration) {
        let Some(slot) = self.index.get(agent).copied() else { return };
        let at = self.at;
        match self.state(agent) {
            Some(State::Starting | State::Running | State::Lost | State::Parked) => {
                self.change(slot, at, State::Ending, Why::Asked);
                let throw = self.dice.about_text(agent.as_str()).about(2);
                let span = throw.span(Duration::from_millis(50), Duration::from_millis(500));
                self.after(slot, at, span.min(grace));
            }
            Some(State::Ending) => self.after(slot, at, grace),
            Some(State::Exited) | None => {}
        }
    }

    pub fn forget(&mut self, agent: &AgentId) -> Result<(), RuntimeError> {
        match self.state(agent) {
            None => Ok(()),
            Some(State::Exited) => {
                let slot = self.index.remove(agent);
                self.free.extend(slot);
                if let Some(slot) = slot {
                    self.slots[slot] = None;
                }
                self.sights.push(Sight::Gone(agent.clone()));
                Ok(())
            }
            Some(
                State::Starting | State::Running | State::Lost | State::Parked | State::Ending,
            ) => Err(RuntimeError::Rejected {
                message: format!("agent {agent} still runs; remove it before it is forgotten"),
            }),
        }
    }
}

impl Sim {
    /// Wanders around what is usual for this agent.
    fn sample(&mut self, dice: Dice, throw: Dice, at: Time) {
        let own = dice.about_text(self.id.as_str());
        let (cpu, memory) = (own.about(10).range(20, 400), own.about(11).range(48, 512));
        let now = |usual: u64, throw: Dice| {
            u32::try_from(usual * throw.range(50, 150) / 100).unwrap_or(u32::MAX)
        };
        self.cpu_millis = now(cpu, throw.about(12));
        self.memory_mib = now(memory, throw.about(13));
        self.sampled_at = at;
    }
}

fn see(nodes: u64, sim: &Sim) -> Observed {
    // by its id alone: a fleet that is played again finds every agent where its document says that it is
    let node = Dice::new(0).about_text(sim.id.as_str()).range(0, nodes);
    Observed {
        agent: sim.id.clone(),
        incarnation: sim.incarnation,
        state: sim.state,
        pid: None,
        node: node_name(node),
        workload: sim.id.to_string(),
        restarts: sim.restarts,
        message: sim.why.words().to_owned(),
        exit: (sim.state == State::Exited).then(|| sim.why.exit()),
        started_at: Some(sim.started_at),
        copy_of: None,
    }
}
