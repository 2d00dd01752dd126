//! `status` and `doctor`: what state the system is in, and what is wrong with the installation.

use serde_json::{Map, Value, json};
use strum::IntoEnumIterator;

use super::args::ActOutput;
use super::fail::Fail;
use super::output;
use crate::boot::{self, Ground, Opened};
use crate::engine::view::{FleetView, PartStatus};
use crate::model::agent::Phase;
use crate::model::message::MessageStatus;
use crate::model::quantity::human_age;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::runtime::RuntimeError;
use crate::ports::site::{Allowance, Answer, Ask};

/// The whole state as one object, in the shape that scripts rely on.
pub fn object(view: &FleetView, now: Time) -> Value {
    let part = |part: &PartStatus| {
        let mut fields = Map::new();
        fields.insert("kind".into(), part.kind.as_str().into());
        fields.insert("ok".into(), part.ok.into());
        fields.insert(
            "latency_ms".into(),
            part.latency.map(|span| span.as_secs_f64() * 1_000.0).into(),
        );
        fields.insert("version".into(), part.version.as_str().into());
        fields.insert("place".into(), part.place.as_str().into());
        if !part.error.as_str().is_empty() {
            fields.insert("error".into(), part.error.as_str().into());
        }
        for (name, value) in &part.details {
            fields.entry(name.as_str()).or_insert_with(|| value.as_str().into());
        }
        Value::Object(fields)
    };
    let leader = &view.system.leader;
    let millis = |at: Time| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
    let agents: Map<String, Value> =
        Phase::iter().map(|phase| (phase.to_string(), view.totals.phase(phase).into())).collect();
    let messages: Map<String, Value> = MessageStatus::iter()
        .map(|status| (status.to_string(), view.totals.messages(status).into()))
        .collect();
    let loops: Vec<Value> = view
        .system
        .loops
        .iter()
        .map(|status| {
            json!({
                "name": status.name.as_str(),
                "last_run": status.last_run,
                "duration_ms": status.duration.as_secs_f64() * 1_000.0,
                "error": error_or_null(&status.error),
            })
        })
        .collect();
    json!({
        "store": part(&view.system.store),
        "runtime": part(&view.system.runtime),
        "leader": {
            "holder": leader.holder.as_str(),
            "host": leader.host.as_str(),
            "pid": leader.pid,
            "epoch": leader.epoch,
            "age_ms": leader.renewed_at.map(millis),
        },
        "loops": loops,
        "agents": agents,
        "messages": messages,
        "stale_since": view.stale_since,
    })
}

fn error_or_null(text: &Safe) -> Value {
    if text.as_str().is_empty() { Value::Null } else { text.as_str().into() }
}

/// # Errors
/// When standard output is closed.
pub fn run(opened: &Opened, ground: &Ground, format: ActOutput) -> Result<(), Fail> {
    let view = opened.handle.views().borrow().clone();
    let now = ground.clock.now();
    if format == ActOutput::Json {
        return output::json(&object(&view, now));
    }
    for text in lines(&view, now) {
        output::line(Safe::new(&text).as_str())?;
    }
    Ok(())
}

fn lines(view: &FleetView, now: Time) -> Vec<String> {
    let part = |name: &str, part: &PartStatus| {
        let how = if part.ok { "ok".to_owned() } else { format!("not ok: {}", part.error) };
        let latency = part
            .latency
            .map(|span| format!(", {:.1} ms", span.as_secs_f64() * 1_000.0))
            .unwrap_or_default();
        format!("{name:<9} {} {} at {}: {how}{latency}", part.kind, part.version, part.place)
    };
    let leader = &view.system.leader;
    let leads = if leader.holder.as_str().is_empty() {
        "nobody leads: start `cvxc` or `cvxc --daemon`".to_owned()
    } else {
        let age = leader
            .renewed_at
            .map(|at| format!(", renewed {:.0} s ago", now.since(at).as_secs_f64()));
        format!(
            "{} (pid {} on {}), epoch {}{}",
            leader.holder,
            leader.pid,
            leader.host,
            leader.epoch,
            age.unwrap_or_default()
        )
    };
    let mut lines = vec![part("store", &view.system.store), part("runtime", &view.system.runtime)];
    lines.push(format!("leader    {leads}"));
    let counts: Vec<String> = Phase::iter()
        .filter(|phase| view.totals.phase(*phase) > 0)
        .map(|phase| format!("{} {phase}", view.totals.phase(phase)))
        .collect();
    lines.push(format!(
        "agents    {}",
        if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
    ));
    let counts: Vec<String> = MessageStatus::iter()
        .filter(|status| view.totals.messages(*status) > 0)
        .map(|status| format!("{} {status}", view.totals.messages(status)))
        .collect();
    let oldest = view
        .totals
        .oldest
        .map(|at| format!("; oldest waits {}", human_age(now.since(at))))
        .unwrap_or_default();
    lines.push(format!(
        "messages  {}{oldest}",
        if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
    ));
    for status in &view.system.loops {
        let ago = status
            .last_run
            .map_or("never".to_owned(), |at| format!("{:.0} s ago", now.since(at).as_secs_f64()));
        let error = if status.error.as_str().is_empty() {
            String::new()
        } else {
            format!(": {}", status.error)
        };
        lines.push(format!(
            "loop      {:<12} {ago}, {:.1} ms{error}",
            status.name,
            status.duration.as_secs_f64() * 1_000.0
        ));
    }
    lines
}

/// Checks the installation step by step; goes on after a fault so that all are seen.
///
/// # Errors
/// Exit code 1 when a check failed.
pub async fn doctor(request: &boot::Request, format: ActOutput) -> Result<(), Fail> {
    let mut checks: Vec<(&str, Result<String, String>)> = Vec::new();
    let ground = boot::ground(request);
    match &ground {
        Ok(ground) => {
            let file = ground.places.settings_file();
            let found = if file.exists() { "read" } else { "not there, defaults in force" };
            checks.push(("settings", Ok(format!("{} ({found})", file.display()))));
        }
        Err(error) => checks.push(("settings", Err(error.to_string()))),
    }
    if let Ok(ground) = &ground {
        let files = crate::tui::check_files(&ground.places.config);
        checks.push((
            "themes and keymaps",
            if files.is_empty() { Ok("all load".into()) } else { Err(files.join("; ")) },
        ));
        match boot::open(ground, boot::Part::Look, None).await {
            Ok(opened) => {
                parts(&opened, &mut checks).await;
                opened.running.stop(std::time::Duration::from_secs(2)).await;
            }
            Err(error) => checks.push(("store", Err(crate::ports::store::chain(&error)))),
        }
    }
    let bad = checks.iter().filter(|(_, result)| result.is_err()).count();
    if format == ActOutput::Json {
        let rows: Vec<Value> = checks
            .iter()
            .map(|(name, result)| json!({"check": name, "ok": result.is_ok(), "says": result.as_ref().unwrap_or_else(|e| e)}))
            .collect();
        output::json(&rows)?;
    } else {
        for (name, result) in &checks {
            let (mark, says) =
                result.as_ref().map_or_else(|error| ("FAIL", error), |good| ("ok  ", good));
            output::line(&format!("{mark}  {name}: {}", Safe::new(says)))?;
        }
    }
    if bad == 0 {
        Ok(())
    } else {
        Err(Fail::failed(format!("{bad} of {} checks failed", checks.len())))
    }
}

async fn parts(opened: &Opened, checks: &mut Vec<(&'static str, Result<String, String>)>) {
    if let Err(error) = opened.loaded(std::time::Duration::from_secs(10)).await {
        checks.push(("store", Err(crate::ports::store::chain(&error))));
        return;
    }
    match opened.context.store.info().await {
        Ok(info) => {
            checks.push(("store", Ok(format!("{} {} at {}", info.kind, info.version, info.place))));
        }
        Err(error) => checks.push(("store", Err(crate::ports::store::chain(&error)))),
    }
    match opened.context.runtime.info().await {
        Ok(info) => checks.push(("runtime", Ok(format!("{} at {}", info.kind, info.place)))),
        Err(error) => checks.push(("runtime", Err(crate::ports::store::chain(&error)))),
    }
    checks.extend(rights(opened.context.runtime.site(Ask::Allowances).await));
    let view = opened.handle.views().borrow().clone();
    let leader = &view.system.leader;
    checks.push((
        "leader",
        if leader.holder.as_str().is_empty() {
            Ok("nobody leads; `cvxc` or `cvxc --daemon` would".into())
        } else {
            Ok(format!("{} (pid {})", leader.holder, leader.pid))
        },
    ));
}

/// What the runtime does not let us do, a line for each verb with what it is needed for.
fn rights(answer: Result<Answer, RuntimeError>) -> Vec<(&'static str, Result<String, String>)> {
    let all = match answer {
        Ok(Answer::Allowances(all)) if all.is_empty() => return Vec::new(),
        Ok(Answer::Allowances(all)) => all,
        Ok(_) => return Vec::new(),
        Err(error) => return vec![("rights", Err(crate::ports::store::chain(&error)))],
    };
    let line = |it: &Allowance| {
        let reason = if it.reason.is_empty() { String::new() } else { format!(" ({})", it.reason) };
        format!("{} {}: {}{reason}", it.verb, it.resource, it.purpose)
    };
    let missing = all.iter().filter(|it| it.allowed != Some(true));
    let mut checks: Vec<_> = missing
        .map(|it| match (it.allowed, it.optional) {
            (None, _) => ("rights", Err(format!("not told: {}", line(it)))),
            (_, true) => ("rights", Ok(format!("not granted, optional: {}", line(it)))),
            (_, false) => ("rights", Err(format!("missing: {}", line(it)))),
        })
        .collect();
    if checks.is_empty() {
        checks.push(("rights", Ok(format!("all {} verbs are granted", all.len()))));
    }
    checks
}

/// Prints what of the store's schema is there, and fails if anything is not as it should be.
///
/// # Errors
/// Exit code 1 when something is missing or different, 2 for the embedded store, 3 when the store is unreachable.
pub async fn schema(request: &boot::Request, format: ActOutput) -> Result<(), Fail> {
    let ground = boot::ground(request)?;
    let parts = boot::schema(&ground).await?;
    let bad = parts.iter().filter(|(_, standing)| standing != "there").count();
    if format == ActOutput::Json {
        let row = |(name, standing): &(String, String)| json!({"part": name, "standing": standing});
        output::json(&parts.iter().map(row).collect::<Vec<_>>())?;
    } else {
        let row = |(name, standing): &(String, String)| vec![Safe::new(name), Safe::new(standing)];
        output::table(&["PART", "STANDING"], &parts.iter().map(row).collect::<Vec<_>>())?;
    }
    if bad == 0 {
        return Ok(());
    }
    Err(Fail::failed(format!(
        "{bad} of {} parts are not as they should be: what is missing is made when the store is opened",
        parts.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::site::Use;

    #[test]
    fn every_missing_verb_is_a_line_of_its_own_with_what_it_is_for() {
        let may = |verb: &str, optional, allowed| Allowance {
            verb: verb.into(),
            resource: "pods/exec".into(),
            need: Use::Shell,
            purpose: "exec and shell".into(),
            optional,
            allowed,
            reason: String::new(),
        };
        let told = rights(Ok(Answer::Allowances(vec![
            may("get", false, Some(true)),
            may("create", false, Some(false)),
            may("list", true, Some(false)),
            may("watch", false, None),
        ])));
        let said: Vec<_> = told.into_iter().map(|(_, said)| said).collect();
        assert_eq!(
            said,
            [
                Err("missing: create pods/exec: exec and shell".to_owned()),
                Ok("not granted, optional: list pods/exec: exec and shell".to_owned()),
                Err("not told: watch pods/exec: exec and shell".to_owned()),
            ]
        );
        let all = rights(Ok(Answer::Allowances(vec![may("get", false, Some(true))])));
        assert_eq!(all, [("rights", Ok("all 1 verbs are granted".to_owned()))]);
        assert!(rights(Ok(Answer::Allowances(Vec::new()))).is_empty(), "nobody is asked");
    }
}
