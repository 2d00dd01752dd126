//! `logs`: what an agent wrote, made safe line by line.

use futures::StreamExt;

use super::args::LogsArgs;
use super::fail::Fail;
use super::output;
use crate::engine::handle::Handle;
use crate::model::access::Actor;
use crate::model::id::AgentId;
use crate::model::plan::Noun;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::runtime::LogOptions;
use crate::ports::store::chain;

/// Prints lines until their end or, following, until interrupted.
///
/// # Errors
/// Exit code 2 when there is no such agent, 1 when its log cannot be read.
pub async fn run(handle: &Handle, actor: &Actor, args: &LogsArgs, now: Time) -> Result<(), Fail> {
    let found = handle.document(actor, Noun::Agent, &args.agent).await?;
    let agent =
        AgentId::new(found.key.as_str()).map_err(|error| Fail::failed(error.to_string()))?;
    let options = LogOptions {
        follow: args.follow,
        tail: args.tail,
        since: args.since.map(|span| now.minus(span)),
        previous: args.previous,
    };
    let mut lines = handle.logs(actor, &agent, options).await?;
    while let Some(next) = lines.next().await {
        let log = next.map_err(|error| Fail::failed(chain(&error)))?;
        if log.skipped > 0 {
            output::line(&format!("({} lines skipped)", log.skipped))?;
        }
        let text = Safe::log_line(&log.text);
        if args.timestamps {
            output::line(&format!("{} {}", log.at, text))?;
        } else {
            output::line(text.as_str())?;
        }
    }
    Ok(())
}
