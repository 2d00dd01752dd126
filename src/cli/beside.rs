//! `exec` and `port-forward`: a command or a terminal beside an agent, and its ports on this machine.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::act;
use super::args::{ExecArgs, PortForwardArgs};
use super::fail::Fail;
use super::output;
use crate::engine::handle::Handle;
use crate::model::access::Actor;
use crate::model::id::AgentId;
use crate::model::plan::Noun;
use crate::model::text::Safe;
use crate::ports::store::chain;
use crate::tui::bridge::{self, Ended};

/// How often a forwarded port is looked at, to say when its agent cannot be reached.
const LOOK: Duration = Duration::from_secs(1);

async fn agent(handle: &Handle, actor: &Actor, name: &str) -> Result<AgentId, Fail> {
    let found = handle.document(actor, Noun::Agent, name).await?;
    AgentId::new(found.key.as_str()).map_err(|error| Fail::failed(error.to_string()))
}

/// Runs a command beside an agent; its exit code becomes ours.
///
/// # Errors
/// Exit code 2 for an agent or a terminal that is not there, 1 when the command cannot be run, 4 when a protected context
/// was not confirmed.
pub async fn exec(
    handle: &Handle,
    actor: &Actor,
    args: &ExecArgs,
    guard: Option<&str>,
) -> Result<(), Fail> {
    let agent = agent(handle, actor, &args.agent).await?;
    let title = format!("Run {} beside {}", args.command.join(" "), args.agent);
    act::allow(&title, args.confirm.as_deref(), guard)?;
    let code = if args.tty || args.interactive {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Err(Fail::usage("-it: needs a terminal on standard input and output"));
        }
        let shell = handle.shell(actor, &agent, &args.command, bridge::size()).await?;
        match bridge::run(shell).await? {
            Ended::Program(Ok(code)) => code,
            Ended::Program(Err(error)) => return Err(Fail::failed(chain(&error))),
            Ended::HungUp => return Err(Fail { code: 1, message: String::new() }),
        }
    } else {
        let done = handle.exec(actor, &agent, &args.command, args.timeout).await?;
        let terminal = std::io::stdout().is_terminal();
        say(&mut std::io::stdout(), &done.stdout, terminal)?;
        say(&mut std::io::stderr(), &done.stderr, std::io::stderr().is_terminal())?;
        done.code
    };
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Fail { code, message: String::new() }),
        Err(_) => Err(Fail::failed(format!("it ended with {code}"))),
    }
}

/// What a command wrote: as it is for a program, made safe for a terminal.
fn say(out: &mut impl Write, bytes: &[u8], terminal: bool) -> Result<(), Fail> {
    if !terminal {
        out.write_all(bytes)?;
        return Ok(());
    }
    for line in String::from_utf8_lossy(bytes).lines() {
        writeln!(out, "{}", Safe::new(line))?;
    }
    Ok(())
}

/// Forwards ports until it is interrupted.
///
/// # Errors
/// Exit code 2 for an agent that is not there, 4 for a port that is taken or a protected context that was not confirmed.
pub async fn port_forward(
    handle: &Handle,
    actor: &Actor,
    args: &PortForwardArgs,
    guard: Option<&str>,
) -> Result<(), Fail> {
    let agent = agent(handle, actor, &args.agent).await?;
    let title = format!("Forward ports of {}", args.agent);
    act::allow(&title, args.confirm.as_deref(), guard)?;
    for (local, port) in &args.ports {
        let made = handle.forward(actor, &agent, *local, *port).await?;
        output::line(&format!("{} -> {}:{}", made.local, Safe::new(&made.name), made.port))?;
    }
    let mut said: Vec<String> = vec![String::new(); args.ports.len()];
    let mut look = tokio::time::interval(LOOK);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
            _ = terminate.recv() => return Ok(()),
            _ = look.tick() => {}
        }
        for (port, said) in handle.forwards().into_iter().zip(&mut said) {
            if port.trouble != *said {
                let now = if port.trouble.is_empty() { "reached again" } else { &port.trouble };
                let line = format!("{}: {}", port.local, Safe::new(now));
                writeln!(std::io::stderr(), "{line}")?;
                said.clone_from(&port.trouble);
            }
        }
    }
}
