//! Follows the logs of one or more agents: lines are filtered here, where they come from, so that no match is lost to
//! what the console keeps; those of several agents go out in the order of their times.

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::effects::DEADLINE;
use crate::engine::handle::{CommandError, Handle};
use crate::model::access::Actor;
use crate::ports::runtime::{LogLine, RuntimeError};
use crate::ports::store::chain;
use crate::tui::effect::{EffectId, FollowLog};
use crate::tui::event::{Event, Fault, LogBatch, Reply};

/// Lines that go to the console at once.
const BATCH: usize = 512;
/// So many lines left out are told even when no line came through.
const QUIET: u64 = 10_000;

type Source = BoxStream<'static, (u16, Result<LogLine, RuntimeError>)>;

/// Sends the lines until there are no more; of several sources, one that fails says so and leaves the others alone.
pub(super) async fn lines(
    handle: Handle,
    actor: Actor,
    wanted: FollowLog,
    id: EffectId,
    events: &mpsc::Sender<Event>,
) -> Result<Reply, Fault> {
    let FollowLog { sources, options, filter } = wanted;
    let several = sources.len() > 1;
    let mut streams: SelectAll<Source> = SelectAll::new();
    let mut batch = LogBatch::default();
    for (at, agent) in (0_u16..).zip(&sources) {
        let asked = timeout(DEADLINE, handle.logs(&actor, agent, options.clone())).await;
        match asked {
            Ok(Ok(stream)) => streams.push(stream.map(move |line| (at, line)).boxed()),
            Ok(Err(error)) if several => batch.lines.push((at, told(&chain(&error)))),
            Err(_) if several => batch.lines.push((at, told("no answer in time"))),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(Fault::Timeout(DEADLINE)),
        }
    }
    let mut chunks = streams.ready_chunks(BATCH);
    while let Some(chunk) = chunks.next().await {
        let mut failed = None;
        for (at, line) in chunk {
            match line {
                Ok(line) => {
                    let left_out = filter.as_ref().is_some_and(|it| !it.0.is_match(&line.text));
                    if left_out {
                        batch.left_out += 1;
                    } else {
                        batch.lines.push((at, line));
                    }
                }
                Err(error) if several => batch.lines.push((at, told(&chain(&error)))),
                Err(error) => failed = Some(error),
            }
        }
        if several {
            batch.lines.sort_by_key(|(_, line)| line.at);
        }
        let worth_telling = !batch.lines.is_empty() || batch.left_out >= QUIET;
        if worth_telling && send(events, id, &mut batch).await.is_break() {
            return Ok(Reply::LogEnded);
        }
        if let Some(error) = failed {
            return Err(CommandError::from(error).into());
        }
    }
    let _ = send(events, id, &mut batch).await;
    Ok(Reply::LogEnded)
}

async fn send(
    events: &mpsc::Sender<Event>,
    id: EffectId,
    batch: &mut LogBatch,
) -> std::ops::ControlFlow<()> {
    match events.send(Event::Lines(id, std::mem::take(batch))).await {
        Ok(()) => std::ops::ControlFlow::Continue(()),
        Err(_) => std::ops::ControlFlow::Break(()), // the console is gone
    }
}

/// A line of ours among those of a source.
fn told(what: &str) -> LogLine {
    LogLine {
        at: crate::model::time::Time::EPOCH,
        stderr: true,
        text: format!("its log cannot be read: {what}"),
        skipped: 0,
    }
}
