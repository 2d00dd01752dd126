//! The source: makes work for others at a rate that swings like a wave, so that backlogs build up and go down again. As
//! customers do, it does not wait for what it sent before: a slow store or a busy machine does not make it send less.

use std::f64::consts::TAU;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Worker;
use super::options::Role;
use crate::engine::messaging::MessagingError;
use crate::model::message::NewMessage;
use crate::ports::store::chain;

const TASKS: [&str; 5] = ["classify", "summarise", "translate", "extract", "review"];
/// Between two tries when nobody can be sent to.
const PAUSE: Duration = Duration::from_secs(1);
/// The rate is looked at anew this often, however seldom messages are due.
const STEP: Duration = Duration::from_millis(500);
/// At most so many are being sent at once.
const AT_ONCE: usize = 16;
/// At most so much lost time is made up for.
const BEHIND: Duration = Duration::from_secs(5);

/// Sends until `stop` fires; returns at once for agents of other roles.
pub(super) async fn run(worker: &Worker, stop: &CancellationToken) {
    let options = &worker.options;
    let (Role::Source, Some(rate)) = (options.role, options.rate) else { return };
    if worker.targets.is_empty() {
        tracing::error!("a source needs --targets to send to");
        return;
    }
    let mut own = worker.client.own();
    let began = Instant::now();
    let (mut due, mut count, mut quiet) = (began, 0u64, false);
    let mut under_way = FuturesUnordered::new();
    while !stop.is_cancelled() {
        if !worker.client.is_running() {
            // paused or not yet running: until its document says otherwise; what is on its way is finished
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = own.changed() => due = Instant::now(),
                Some(sent) = under_way.next() => quiet = is_told(sent, quiet),
            }
            continue;
        }
        let now = swing(rate.0, options.wave, options.wave_period, began.elapsed());
        // exponential gaps have no memory: waiting a step and drawing anew keeps the rate, and follows the wave
        let wait = gap(now, worker.roll()).filter(|wait| *wait <= STEP);
        let earliest = Instant::now().checked_sub(BEHIND).unwrap_or(due);
        due = due.max(earliest) + wait.unwrap_or(STEP);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(sent) = under_way.next() => {
                    quiet = is_told(sent, quiet);
                    if quiet {
                        due = Instant::now() + PAUSE;
                    }
                }
                () = sleep_until(due), if under_way.len() < AT_ONCE => break,
            }
        }
        if wait.is_some() {
            count += 1;
            under_way.push(send(worker, count));
        }
    }
}

/// Says a fault once until it works again; whether there is one.
fn is_told(sent: Result<(), MessagingError>, before: bool) -> bool {
    if let Err(error) = &sent
        && !before
    {
        tracing::warn!(error = chain(error), "work could not be sent");
    }
    sent.is_err()
}

/// The rate at `age`: about `average`, by `share` of it up and down once each `period`.
fn swing(average: f64, share: f64, period: Duration, age: Duration) -> f64 {
    if period.is_zero() {
        return average;
    }
    let turn = age.as_secs_f64() / period.as_secs_f64();
    average * (1.0 + share * (TAU * turn).sin())
}

/// The time to the next message at this rate: exponential, as independent customers arrive.
fn gap(rate: f64, roll: f64) -> Option<Duration> {
    let seconds = -(1.0 - roll).ln() / rate;
    Duration::try_from_secs_f64(seconds).ok()
}

async fn send(worker: &Worker, count: u64) -> Result<(), MessagingError> {
    let to = worker.targets.choose().await?;
    let task = TASKS[(count as usize - 1) % TASKS.len()];
    let mut new = NewMessage::new(worker.agent().clone(), to, "task_request");
    new.priority = match (worker.roll() * 10.0) as u32 {
        0 => 9,
        1 => 2,
        _ => 5,
    };
    let size = (worker.roll() * 4_000.0) as u64 + 100;
    let payload =
        json!({ "task": task, "n": count, "customer": format!("c-{}", count % 97), "words": size });
    new.payload = payload.as_object().cloned().unwrap_or_default();
    new.correlation_id = Some(format!("{}-{}-{count}", worker.agent(), worker.incarnation));
    let id = worker.client.send(&new).await?;
    if let Some(event) = &worker.options.publish {
        let made = json!({ "message": id, "to": new.to, "task": task });
        worker.client.publish(event, made.as_object().cloned().unwrap_or_default()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_swings_about_its_average_and_never_below_nothing() {
        let period = Duration::from_secs(60);
        let at = |second| swing(5.0, 0.8, period, Duration::from_secs(second));
        assert!((at(0) - 5.0).abs() < 1e-9);
        assert!((at(15) - 9.0).abs() < 1e-9);
        assert!((at(45) - 1.0).abs() < 1e-9);
        assert!(swing(5.0, 1.0, period, Duration::from_secs(45)).abs() < 1e-9);
    }

    #[test]
    fn gaps_are_right_on_average() {
        let rolls = (0..10_000).map(|n| (f64::from(n) + 0.5) / 10_000.0);
        let mean = rolls.map(|roll| gap(5.0, roll).unwrap().as_secs_f64()).sum::<f64>() / 1e4;
        assert!((mean - 0.2).abs() < 0.002, "{mean}");
        assert_eq!(gap(0.0, 0.5), None);
    }
}
