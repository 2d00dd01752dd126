//! A shell beside an agent on the console's own terminal, which must have been given back before.

use std::io::Write as _;
use std::time::Duration;

use tokio::time::timeout;

use super::effects::Effects;
use crate::model::text::Safe;
use crate::ports::store::chain;
use crate::tui::bridge::{self, Ended};
use crate::tui::effect::ShellOrder;
use crate::tui::event::Fault;

/// How long the runtime may take to give a terminal.
const BEGIN: Duration = Duration::from_secs(20);

/// Runs the shell to its end. `None`: this process is to end.
pub(super) async fn shell(effects: &Effects, order: &ShellOrder) -> Option<Result<i32, Safe>> {
    let said = |text: &str| Safe::new(text);
    let opened = effects.shell(order.agent.clone(), order.command.clone(), bridge::size());
    let shell = match timeout(BEGIN, opened).await {
        Ok(Ok(shell)) => shell,
        Ok(Err(fault)) => return Some(Err(said(&chain(&fault)))),
        Err(_) => return Some(Err(said(&chain(&Fault::Timeout(BEGIN))))),
    };
    let banner = format!("\r\n── shell in {}; exit leads back to the console ──\r\n", order.name);
    // a terminal that does not take it takes nothing else either: the bridge will say so
    drop(std::io::stdout().write_all(banner.as_bytes()).and_then(|()| std::io::stdout().flush()));
    match bridge::run(shell).await {
        Ok(Ended::Program(Ok(code))) => Some(Ok(code)),
        Ok(Ended::Program(Err(error))) => Some(Err(said(&chain(&error)))),
        Ok(Ended::HungUp) => None,
        Err(error) => Some(Err(said(&format!("the terminal: {error}")))),
    }
}
