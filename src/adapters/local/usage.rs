//! What agents use, from /proc: processor time between two samples and resident memory, of the agent's process and of
//! everything that it started.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use super::process::{self, Process, TICKS_PER_SECOND};
use crate::model::health::Usage;
use crate::model::id::AgentId;
use crate::model::time::Time;

/// Below this, processor ticks of 10 ms are too coarse and the sample before is given again.
const LEAST: Duration = Duration::from_millis(200);
/// Up to this age, the average over a process's life is a fresh sample.
const YOUNG: Duration = Duration::from_secs(15);
/// Between the two readings of an older process that was never read before.
pub const APART: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Reading {
    process: Process,
    ticks: u64,
    at: Instant,
    /// None while this is the first of two readings.
    usage: Option<Usage>,
}

/// Remembers the last reading of each agent.
#[derive(Debug, Default)]
pub struct Sampler(HashMap<AgentId, Reading>);

impl Sampler {
    /// Reads every agent once. Returns the samples and the agents that need a second reading, [`APART`] later.
    pub fn sample(
        &mut self,
        agents: &[(AgentId, Process)],
        instant: Instant,
        now: Time,
    ) -> (Vec<(AgentId, Usage)>, Vec<AgentId>) {
        let all = process::scan();
        let roots: Vec<Process> = agents.iter().map(|(_, process)| *process).collect();
        let families = process::families(&all, &roots);
        let uptime = uptime_ticks();
        let (mut samples, mut again) = (Vec::with_capacity(agents.len()), Vec::new());
        for (agent, process) in agents {
            let Some(family) = families.get(&process.pid) else {
                self.0.remove(agent);
                continue;
            };
            let ticks = family.iter().map(|stat| stat.ticks).sum();
            let memory = family.iter().filter_map(|stat| process::resident(stat.pid)).sum();
            let before = self.0.get(agent).filter(|before| before.process == *process);
            let cpu = match before {
                Some(Reading { usage: Some(usage), at, .. }) if instant - *at < LEAST => {
                    samples.push((agent.clone(), *usage));
                    continue;
                }
                Some(before) if instant - before.at >= LEAST => {
                    Some(millis(ticks, before.ticks, instant - before.at))
                }
                Some(_) => {
                    again.push(agent.clone()); // another caller took the first reading just now
                    continue;
                }
                None => {
                    let age =
                        uptime.map(|uptime| span(uptime.saturating_sub(process.start).max(1)));
                    age.filter(|age| *age <= YOUNG).map(|age| millis(ticks, 0, age))
                }
            };
            let usage = cpu.map(|cpu_millis| Usage { at: now, cpu_millis, memory_bytes: memory });
            match usage {
                Some(usage) => samples.push((agent.clone(), usage)),
                None => again.push(agent.clone()),
            }
            let reading = Reading { process: *process, ticks, at: instant, usage };
            self.0.insert(agent.clone(), reading);
        }
        (samples, again)
    }

    pub fn forget(&mut self, agent: &AgentId) {
        self.0.remove(agent);
    }
}

fn span(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Thousandths of a processor over `span`.
fn millis(after: u64, before: u64, span: Duration) -> u64 {
    // a child that ended without being collected takes its time along, so the sum may shrink
    let used = after.saturating_sub(before) as f64 / TICKS_PER_SECOND as f64;
    (used * 1000.0 / span.as_secs_f64()).round() as u64
}

/// Ticks since the machine started, on the clock that start times are given in.
fn uptime_ticks() -> Option<u64> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let (whole, part) = text.split_whitespace().next()?.split_once('.')?;
    Some(whole.parse::<u64>().ok()? * TICKS_PER_SECOND + part.parse::<u64>().ok()?)
}
