//! Verbs that change something: each becomes a command, is planned, confirmed as its tier asks, and followed if wanted.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::args::{
    ActArgs, ActOutput, DeployArgs, PublishArgs, SendArgs, SubscribeArgs, Verb, noun,
};
use super::fail::Fail;
use super::output;
use crate::engine::handle::{CommandError, Consent, Handle};
use crate::model::access::Actor;
use crate::model::filter::Field;
use crate::model::id::AgentId;
use crate::model::message::{DEFAULT_ATTEMPTS, NewMessage};
use crate::model::operation::{Operation, OperationStatus};
use crate::model::plan::{Command, Noun, Plan, Targets, Tier};
use crate::model::time::Time;

/// How often a plan that changed between its making and its writing is made again.
const TRIES: u32 = 20;

/// Plans `command` and, unless it is a dry run, carries it out. In a protected context, `guard`, a plan that asks for no
/// word of its own asks for the context's name, as it does in the console.
///
/// # Errors
/// By exit code: 1 the operation failed or did not end in time, 2 invalid, 3 store unreachable, 4 refused, not confirmed or changed meanwhile.
pub async fn run(
    handle: &Handle,
    actor: &Actor,
    command: Command,
    args: &ActArgs,
    guard: Option<&str>,
) -> Result<(), Fail> {
    let mut plan = handle.plan(actor, command).await?;
    if args.dry_run {
        return show(&plan, args.output);
    }
    let mut tries = 0;
    let id = loop {
        if plan.steps.is_empty() {
            return unchanged(&plan, args.output);
        }
        let typed = consent(&plan, args, guard)?;
        let consent = Consent { typed, reason: args.reason.clone() };
        match handle.confirm(actor, &plan, consent).await {
            Ok(id) => break id,
            // nobody was shown the plan, so what was asked for still is; what takes a word is asked for again by hand
            Err(CommandError::PlanChanged { plan: fresh })
                if tries < TRIES && fresh.tier.max(plan.tier) < Tier::Three =>
            {
                tries += 1;
                plan = *fresh;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let Some(limit) = args.wait else {
        let operation = handle.operation(&id).await?;
        return begun(handle, id.as_str(), &operation, args.output);
    };
    match handle.follow(&id, limit).await {
        Ok(operation) => ended(id.as_str(), &operation, args.output),
        Err(CommandError::Timeout(_)) => Err(Fail::failed(not_in_time(handle, id.as_str(), limit))),
        Err(error) => Err(error.into()),
    }
}

/// Says that everything is as wanted, and why where the plan knows.
fn unchanged(plan: &Plan, format: ActOutput) -> Result<(), Fail> {
    match format {
        ActOutput::Json => output::json(&json!({
            "operation": null, "changed": false, "title": plan.title, "facts": plan.facts,
        })),
        ActOutput::Text => {
            let known = plan.facts.iter().find(|fact| fact.name == "sent already");
            let known =
                known.map_or(String::new(), |fact| format!(" ({}: {})", fact.name, fact.value));
            output::safe_lines(&format!("{}: nothing to change{known}", plan.title))
        }
    }
}

impl Verb {
    /// How it is carried out, for a verb that changes something.
    pub fn act(&self) -> Option<&ActArgs> {
        match self {
            Self::Apply(args) => Some(&args.act),
            Self::Deploy(args) => Some(&args.act),
            Self::Scale(args) => Some(&args.act),
            Self::Restart(args)
            | Self::Pause(args)
            | Self::Resume(args)
            | Self::Stop(args)
            | Self::Start(args)
            | Self::Delete(args) => Some(&args.act),
            Self::Drain(args) => Some(&args.act),
            Self::SetTemplate(args) => Some(&args.act),
            Self::Rollback { act, .. }
            | Self::CloneTemplate { act, .. }
            | Self::Undo { act, .. }
            | Self::Migrate(act) => Some(act),
            Self::Cluster(verb) => Some(verb.act()),
            Self::Send(args) => Some(&args.act),
            Self::Publish(args) => Some(&args.act),
            Self::Subscribe(args) => Some(&args.act),
            Self::Requeue(args) | Self::Replay(args) | Self::Purge(args) => Some(&args.act),
            Self::Get(_)
            | Self::Describe(_)
            | Self::Diff { .. }
            | Self::Logs(_)
            | Self::Exec(_)
            | Self::PortForward(_)
            | Self::Status { .. }
            | Self::Doctor { .. }
            | Self::Info { .. }
            | Self::Config { .. }
            | Self::Backup { .. }
            | Self::Daemon(_)
            | Self::Demo(_)
            | Self::Shot(_)
            | Self::Completion { .. }
            | Self::Version
            | Self::Agent { .. } => None,
        }
    }
}

fn not_in_time(handle: &Handle, id: &str, limit: Duration) -> String {
    let leads = !handle.views().borrow().system.leader.holder.as_str().is_empty();
    let why = if leads { "it goes on" } else { "nobody leads: start `cvxc` or `cvxc --daemon`" };
    format!(
        "operation {id} is recorded but not done after {}: {why}",
        crate::model::time::span::format(limit)
    )
}

/// Tier 3 needs its word, and so does every plan in a protected context: from `--confirm`, or asked for on a terminal.
fn consent(plan: &Plan, args: &ActArgs, guard: Option<&str>) -> Result<Option<String>, Fail> {
    let own = plan.confirm_word.as_deref().filter(|_| plan.tier >= Tier::Three);
    let (word, why) = match (own, guard) {
        (Some(word), _) => (word, "tier 3".to_owned()),
        (None, Some(context)) => (context, format!("context {context} is protected")),
        (None, None) => return Ok(args.confirm.clone()),
    };
    let wanted = Word { title: &plan.title, word, why: &why };
    let typed = match &args.confirm {
        Some(typed) => typed.clone(),
        None => wanted.ask(&text_of(plan))?,
    };
    // the engine knows its own words; of the context only we know
    if own.is_none() && typed.trim() != word {
        return Err(wanted.missing());
    }
    Ok(Some(typed))
}

/// What is no plan and reaches into an agent all the same takes the context's name where that is protected, as a plan does.
///
/// # Errors
/// Exit code 4 without it.
pub fn allow(title: &str, confirm: Option<&str>, guard: Option<&str>) -> Result<(), Fail> {
    let Some(context) = guard else { return Ok(()) };
    let why = format!("context {context} is protected");
    let wanted = Word { title, word: context, why: &why };
    let typed = match confirm {
        Some(typed) => typed.to_owned(),
        None => wanted.ask(title)?,
    };
    if typed.trim() == context { Ok(()) } else { Err(wanted.missing()) }
}

/// A word that is asked for, and why.
struct Word<'a> {
    title: &'a str,
    word: &'a str,
    why: &'a str,
}

impl Word<'_> {
    fn missing(&self) -> Fail {
        let Self { title, word, why } = self;
        Fail::with(4, format!("{title} ({why}): confirm with --confirm {word:?}"))
    }

    /// Shows what is to be done on a terminal and reads the word.
    fn ask(&self, shown: &str) -> Result<String, Fail> {
        let mut terminal = std::io::stderr();
        if !(std::io::stdin().is_terminal() && terminal.is_terminal()) {
            return Err(self.missing());
        }
        for safe in crate::model::text::Safe::lines(shown) {
            writeln!(terminal, "{}", safe.as_str())?;
        }
        write!(terminal, "Type {} to go on: ", crate::model::text::Safe::new(self.word).as_str())?;
        terminal.flush()?;
        let mut typed = String::new();
        std::io::stdin().lock().read_line(&mut typed)?;
        Ok(typed.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// A plan as lines: title, facts, warnings, steps, undo.
pub fn text_of(plan: &Plan) -> String {
    let mut lines = vec![format!("{}  (tier {})", plan.title, u8::from(plan.tier))];
    lines.extend(plan.facts.iter().map(|fact| format!("  {:<12} {}", fact.name, fact.value)));
    lines.extend(plan.warnings.iter().map(|warning| format!("  warning      {warning}")));
    for step in &plan.steps {
        let note = if step.note.is_empty() {
            String::new()
        } else {
            format!("  {}", step.note.replace('\n', "\n      "))
        };
        lines.push(format!(
            "  {}. {} {} {}{note}",
            step.batch + 1,
            step.action,
            step.target.noun,
            step.target.name
        ));
    }
    if plan.steps.is_empty() {
        lines.push("  nothing to change".to_owned());
    }
    lines.push(match &plan.undo {
        Ok(how) => format!("  undo         {how}"),
        Err(why) => format!("  no undo      {why}"),
    });
    lines.join("\n")
}

fn show(plan: &Plan, format: ActOutput) -> Result<(), Fail> {
    match format {
        ActOutput::Json => output::json(plan),
        ActOutput::Text => output::safe_lines(&text_of(plan)),
    }
}

fn begun(handle: &Handle, id: &str, operation: &Operation, format: ActOutput) -> Result<(), Fail> {
    let leads = !handle.views().borrow().system.leader.holder.as_str().is_empty();
    match format {
        ActOutput::Json => output::json(&with_id(id, operation)),
        ActOutput::Text if operation.status.is_over() => ended(id, operation, format),
        ActOutput::Text => {
            output::safe_lines(&format!("{}: recorded as operation {id}", operation.title))?;
            if leads {
                Ok(())
            } else {
                output::line("nobody leads: start `cvxc` or `cvxc --daemon`")
            }
        }
    }
}

fn ended(id: &str, operation: &Operation, format: ActOutput) -> Result<(), Fail> {
    let said = format!("{}: {}", operation.title, operation.status);
    let message =
        if operation.message.is_empty() { said } else { format!("{said}: {}", operation.message) };
    let good = matches!(operation.status, OperationStatus::Succeeded | OperationStatus::Running);
    match format {
        ActOutput::Json => output::json(&with_id(id, operation))?,
        ActOutput::Text if good => output::safe_lines(&format!("{message} (operation {id})"))?,
        ActOutput::Text => {}
    }
    if good { Ok(()) } else { Err(Fail::failed(format!("{message} (operation {id})"))) }
}

fn with_id(id: &str, operation: &Operation) -> Value {
    let mut value = serde_json::to_value(operation).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("id".into(), id.into());
    }
    value
}

/// Targets as typed: a kind first, or just agents' names; `kind/name` works too.
///
/// # Errors
/// Exit code 2 when kinds are mixed or names are missing.
pub fn targets(words: &[String]) -> Result<Targets, Fail> {
    let (first, rest) =
        words.split_first().ok_or_else(|| Fail::usage("expected at least one name"))?;
    if let Ok(noun) = noun(first)
        && !rest.is_empty()
    {
        return Ok(Targets { noun, names: rest.to_vec() });
    }
    let mut found: Option<Noun> = None;
    let mut names = Vec::new();
    for word in words {
        let (kind, name) = match word.split_once('/') {
            Some((kind, name)) => (noun(kind).map_err(Fail::usage)?, name),
            None => (Noun::Agent, word.as_str()),
        };
        if found.is_some_and(|noun| noun != kind) {
            return Err(Fail::usage(
                "expected targets of one kind; run the verb once for each kind",
            ));
        }
        found = Some(kind);
        names.push(name.to_owned());
    }
    Ok(Targets { noun: found.unwrap_or(Noun::Agent), names })
}

/// One pool, or several with the same number; `pool/NAME` works too.
///
/// # Errors
/// Exit code 2 for what is no pool.
pub fn scale(pools: &[String], to: u32, hold: bool) -> Result<Command, Fail> {
    let bare = |word: &String| match word.split_once('/') {
        None => Ok(word.clone()),
        Some((kind, name)) if noun(kind) == Ok(Noun::Pool) => Ok(name.to_owned()),
        Some(_) => Err(Fail::usage(format!("{word}: expected a pool: only pools are scaled"))),
    };
    let mut pools: Vec<String> = pools.iter().map(bare).collect::<Result<_, _>>()?;
    Ok(match pools.len() {
        1 => Command::Scale { pool: pools.remove(0), to, hold },
        _ => Command::ScalePools { pools, to, hold },
    })
}

/// The operation that is named, else the actor's last one that can be taken back; an undo is only taken back by its id.
///
/// # Errors
/// Exit code 4 when there is none.
pub fn undo(
    handle: &Handle,
    actor: &Actor,
    operation: Option<String>,
    now: Time,
) -> Result<Command, Fail> {
    let last = || {
        let view = handle.views().borrow().clone();
        view.undoable(&actor.name, now).next().map(|row| row.id.to_string())
    };
    match operation.or_else(last) {
        Some(operation) => Ok(Command::Undo { operation }),
        None => {
            let why = format!("{} has done nothing in 24 h that can be taken back", actor.name);
            Err(Fail::with(4, why))
        }
    }
}

/// # Errors
/// Exit code 2 when an override or a label cannot be read.
pub fn deploy(args: &DeployArgs) -> Result<Command, Fail> {
    let mut overrides = Map::new();
    for set in &args.set {
        let (path, text) = set
            .split_once('=')
            .ok_or_else(|| Fail::usage(format!("--set: expected PATH=VALUE, got {set:?}")))?;
        Field::new(path).map_err(|error| Fail::usage(format!("--set {path}: {error}")))?;
        // an env value is text even when it looks like a number
        let value = match serde_json::from_str(text) {
            Ok(value) if !path.starts_with("env.") => value,
            _ => Value::from(text),
        };
        put(&mut overrides, path, value);
    }
    let labels = args.labels.as_deref().unwrap_or_default();
    let labels = labels.split(',').filter(|pair| !pair.trim().is_empty());
    let labels = labels.map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Fail::usage(format!("--labels: expected k=v, got {pair:?}")))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    });
    Ok(Command::Deploy {
        template: args.template.clone(),
        version: args.template_version.clone(),
        name: args.name.clone(),
        pool: args.pool.clone(),
        labels: labels.collect::<Result<_, Fail>>()?,
        overrides,
    })
}

fn put(fields: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            fields.insert(path.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = fields.entry(head).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn object(flag: &str, text: &str) -> Result<Map<String, Value>, Fail> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(Fail::usage(format!("{flag}: expected a JSON object, got {other}"))),
        Err(error) => Err(Fail::usage(format!("{flag}: not valid JSON: {error}"))),
    }
}

/// Names are looked up among the agents that are not deleted; ids are taken as they are.
async fn agent(handle: &Handle, actor: &Actor, flag: &str, name: &str) -> Result<AgentId, Fail> {
    let found = handle.document(actor, Noun::Agent, name).await.map_err(|error| match error {
        error @ CommandError::NotFound { .. } => Fail::usage(format!("{flag}: {error}")),
        error => error.into(),
    })?;
    AgentId::new(found.key.as_str()).map_err(|error| Fail::usage(format!("{flag}: {error}")))
}

/// # Errors
/// Exit code 2 when the payload is no JSON object or an agent is unknown.
pub async fn send(handle: &Handle, actor: &Actor, args: &SendArgs) -> Result<Command, Fail> {
    let message = NewMessage {
        payload: object("--payload", &args.payload)?,
        from: agent(handle, actor, "--from", &args.from).await?,
        to: agent(handle, actor, "--to", &args.to).await?,
        message_type: args.kind.clone(),
        priority: args.priority,
        ttl: args.ttl,
        correlation_id: args.correlation_id.clone(),
        reply_to: None,
        idempotency_key: args.idempotency_key.clone(),
        max_attempts: DEFAULT_ATTEMPTS,
    };
    Ok(Command::Send { message })
}

/// # Errors
/// Exit code 2 when the payload is no JSON object.
pub fn publish(args: &PublishArgs) -> Result<Command, Fail> {
    Ok(Command::Publish {
        publisher: args.from.clone(),
        event: args.event.clone(),
        kind: args.kind.clone(),
        payload: object("--payload", &args.payload)?,
        ttl: args.ttl,
    })
}

/// # Errors
/// Exit code 2 when the conditions are no JSON object.
pub fn subscribe(args: &SubscribeArgs) -> Result<Command, Fail> {
    Ok(Command::Subscribe {
        subscriber: args.subscriber.clone(),
        pattern: args.pattern.clone(),
        publisher: args.publisher.clone(),
        conditions: object("--conditions", &args.conditions)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn targets_are_read_with_and_without_their_kind() {
        let read = |text: &str| targets(&words(text)).unwrap();
        assert_eq!(read("a b"), Targets::agents(["a", "b"]));
        assert_eq!(read("pool triage"), Targets::pool("triage"));
        assert_eq!(read("pools a b").names, ["a", "b"]);
        assert_eq!(read("pool/triage"), Targets::pool("triage"));
        assert_eq!(read("pool"), Targets::agents(["pool"]), "an agent may be called so");
        assert_eq!(targets(&words("a pool/b")).unwrap_err().code, 2);
    }

    #[test]
    fn overrides_reach_inside() {
        let mut fields = Map::new();
        put(&mut fields, "env.LOG", Value::from("x"));
        put(&mut fields, "env.N", Value::from("1"));
        put(&mut fields, "image", Value::from("i"));
        assert_eq!(Value::Object(fields), json!({"env": {"LOG": "x", "N": "1"}, "image": "i"}));
    }
}
