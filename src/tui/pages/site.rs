//! Hosts, namespaces and contexts: where agents run, and where else one can go.

use std::collections::BTreeMap;

use super::listed::{Entry, Mood, Value, field};
use super::row::{LEFT, RIGHT, Spec, column, flex, wide};
use super::text::{Ink, PlainLine};
use crate::engine::forward::Forwarded;
use crate::engine::view::FleetView;
use crate::model::agent::Phase;
use crate::model::filter::query::FieldKind;
use crate::model::quantity::{Cpu, human_bytes};
use crate::model::text::Safe;
use crate::ports::site::{Allowance, Host, Namespaces};
use crate::tui::action::Action;
use crate::tui::keymap::Scope;
use crate::tui::widgets::table::Width;

pub const HOSTS: Spec = Spec {
    scope: Scope::Hosts,
    columns: &[
        column("name", "NAME", flex(12, 1), LEFT),
        column("state", "STATE", Width::Fixed(11), LEFT),
        column("agents", "AGENTS", Width::Fixed(6), RIGHT),
        column("cpu", "CPU", Width::Fixed(7), RIGHT),
        column("cpu%", "CPU%", Width::Fixed(5), RIGHT),
        column("cpu_of", "OF", Width::Fixed(6), RIGHT),
        column("mem", "MEM", Width::Fixed(7), RIGHT),
        column("mem%", "MEM%", Width::Fixed(5), RIGHT),
        column("mem_of", "OF", Width::Fixed(7), RIGHT),
        wide("slots", "SLOTS", 6, RIGHT),
        wide("cpu_all", "ALL CPU", 7, RIGHT),
        wide("mem_all", "ALL MEM", 8, RIGHT),
        column("zone", "ZONE", flex(6, 1), LEFT),
        wide("roles", "ROLES", 16, LEFT),
        wide("version", "VERSION", 14, LEFT),
        column("age", "AGE", Width::Fixed(5), RIGHT),
        column("reason", "REASON", flex(10, 3), LEFT),
    ],
    fields: &[
        field("name", FieldKind::Text),
        field("state", FieldKind::Text),
        field("agents", FieldKind::Number),
        field("cpu", FieldKind::Cpu),
        field("cpu%", FieldKind::Percent),
        field("mem", FieldKind::Size),
        field("mem%", FieldKind::Percent),
        field("zone", FieldKind::Text),
        field("roles", FieldKind::Text),
        field("version", FieldKind::Text),
        field("age", FieldKind::Duration),
        field("reason", FieldKind::Text),
    ],
    sort: ("name", false),
    hints: &[
        (Action::Open, "agents"),
        (Action::Describe, "describe"),
        (Action::Pause, "cordon"),
        (Action::Drain, "drain"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "the runtime names no hosts",
};

pub const NAMESPACES: Spec = Spec {
    scope: Scope::Namespaces,
    columns: &[
        column("name", "NAME", flex(16, 2), LEFT),
        column("active", "ACTIVE", Width::Fixed(8), LEFT),
        column("kind", "KIND", Width::Fixed(10), LEFT),
        column("count", "AGENTS", Width::Fixed(6), RIGHT),
        column("phase", "PHASE", flex(10, 2), LEFT),
        column("age", "AGE", Width::Fixed(5), RIGHT),
    ],
    fields: &[
        field("name", FieldKind::Text),
        field("active", FieldKind::Text),
        field("kind", FieldKind::Text),
        field("count", FieldKind::Number),
        field("phase", FieldKind::Text),
        field("age", FieldKind::Duration),
    ],
    sort: ("kind", true),
    hints: &[
        (Action::Open, "use"),
        (Action::ScopeAll, "all"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "there are no scopes yet: agents and pools name their tenants",
};

pub const CONTEXTS: Spec = Spec {
    scope: Scope::Contexts,
    columns: &[
        column("name", "NAME", flex(20, 2), LEFT),
        column("active", "ACTIVE", Width::Fixed(8), LEFT),
        column("kind", "KIND", Width::Fixed(10), LEFT),
        column("about", "ABOUT", flex(20, 4), LEFT),
    ],
    fields: &[
        field("name", FieldKind::Text),
        field("active", FieldKind::Text),
        field("kind", FieldKind::Text),
        field("about", FieldKind::Text),
    ],
    sort: ("kind", true),
    hints: &[(Action::Open, "go there"), (Action::Filter, "filter"), (Action::Help, "help")],
    empty: "there is one context only: contexts.toml names others, and so does a kubeconfig",
};

pub const FORWARDS: Spec = Spec {
    scope: Scope::Forwards,
    columns: &[
        column("name", "AGENT", flex(14, 1), LEFT),
        column("state", "STATE", Width::Fixed(11), LEFT),
        column("local", "HERE", Width::Fixed(16), LEFT),
        column("port", "PORT", Width::Fixed(5), RIGHT),
        column("open", "OPEN", Width::Fixed(5), RIGHT),
        column("all", "ALL", Width::Fixed(6), RIGHT),
        column("age", "AGE", Width::Fixed(5), RIGHT),
        column("reason", "REASON", flex(10, 3), LEFT),
    ],
    fields: &[
        field("name", FieldKind::Text),
        field("state", FieldKind::Text),
        field("local", FieldKind::Text),
        field("port", FieldKind::Number),
        field("open", FieldKind::Number),
        field("all", FieldKind::Number),
        field("age", FieldKind::Duration),
        field("reason", FieldKind::Text),
    ],
    sort: ("local", false),
    hints: &[
        (Action::Delete, "end"),
        (Action::CopyCell, "copy cell"),
        (Action::Filter, "filter"),
        (Action::Help, "help"),
    ],
    empty: "no port is forwarded: F on an agent of a cluster forwards one",
};

/// A forwarded port.
pub fn forward(port: &Forwarded) -> Entry {
    let (mood, word) = match (port.trouble.is_empty(), port.open) {
        (false, _) => (Mood::Wary, "waiting"),
        (true, 0) => (Mood::Well, "ready"),
        (true, _) => (Mood::Well, "in use"),
    };
    let entry = Entry { name: Safe::new(&port.name), ..Entry::new(&port.number.to_string()) };
    let mut entry = entry
        .with("state", Value::State(mood, Safe::new(word)))
        .text("local", &port.local.to_string())
        .with("port", Value::Count(u64::from(port.port)))
        .with("open", Value::Count(u64::from(port.open)))
        .with("all", Value::Count(port.all))
        .with("age", Value::Since(port.since))
        .text("reason", &port.trouble);
    entry.fault = !port.trouble.is_empty();
    entry.note("agent", &port.name);
    entry.note("here", &port.local.to_string());
    entry.note("there", &port.port.to_string());
    entry.note("trouble", &port.trouble);
    entry
}

/// A context of a kubeconfig is called so, and perhaps a namespace of it after another `/`.
pub const CLUSTER: &str = "kube/";

fn share(used: u64, of: u64) -> Option<Value> {
    (of > 0).then(|| Value::Share(used.saturating_mul(100) / of))
}

pub fn host(host: &Host) -> Entry {
    let mut entry = Entry::new(&host.name);
    let (mood, word) = match (host.trouble.is_empty(), host.cordoned) {
        (false, _) => (Mood::Sick, "not ready"),
        (true, true) => (Mood::Wary, "cordoned"),
        (true, false) => (Mood::Well, "ready"),
    };
    entry = entry.with("state", Value::State(mood, Safe::new(word)));
    let (all, may) = (host.capacity, host.allocatable);
    if let Some(used) = host.used {
        entry = entry
            .with("cpu", Value::Cpu(used.cpu_millis))
            .with("mem", Value::Size(used.memory_bytes));
        let shares = [
            ("cpu%", share(used.cpu_millis, may.cpu_millis)),
            ("mem%", share(used.memory_bytes, may.memory_bytes)),
        ];
        for (key, share) in shares {
            entry.cells.extend(share.map(|share| (key, share)));
        }
    }
    entry = entry
        .with("cpu_of", Value::Cpu(may.cpu_millis))
        .with("mem_of", Value::Size(may.memory_bytes))
        .with("cpu_all", Value::Cpu(all.cpu_millis))
        .with("mem_all", Value::Size(all.memory_bytes))
        .text("zone", &host.zone)
        .text("roles", &host.roles.join(","))
        .text("version", &host.version);
    entry.cells.extend(may.slots.map(|slots| ("slots", Value::Count(slots))));
    entry.cells.extend(host.since.map(|at| ("age", Value::Since(at))));
    let reason = if host.trouble.is_empty() { bad_conditions(host) } else { host.trouble.clone() };
    entry.fault = !host.trouble.is_empty() || host.cordoned || !reason.is_empty();
    entry = entry.text("reason", &reason);
    for (name, value) in facts(host) {
        entry.note(&name, &value);
    }
    entry
}

/// What a host that is ready says against itself.
fn bad_conditions(host: &Host) -> String {
    let bad = host.conditions.iter().filter(|(name, value)| {
        let ready = name == "Ready";
        !ready && value.starts_with("True")
    });
    bad.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn facts(host: &Host) -> Vec<(String, String)> {
    let room = |room: crate::ports::site::Room| {
        let slots = room.slots.map(|slots| format!(", {slots} pods")).unwrap_or_default();
        format!("cpu {}, memory {}{slots}", Cpu(room.cpu_millis), human_bytes(room.memory_bytes))
    };
    let mut facts = vec![
        ("capacity".to_owned(), room(host.capacity)),
        ("for agents".to_owned(), room(host.allocatable)),
        ("in use".to_owned(), host.used.map_or_else(|| "not measured".to_owned(), room)),
        ("zone".to_owned(), host.zone.clone()),
        ("roles".to_owned(), host.roles.join(", ")),
        ("version".to_owned(), host.version.clone()),
        ("trouble".to_owned(), host.trouble.clone()),
    ];
    if host.cordoned {
        facts.push(("cordoned".to_owned(), "takes no new agents".to_owned()));
    }
    facts.extend(host.conditions.iter().cloned());
    facts
}

/// Everything about a host in words, with the agents on it.
pub fn described(
    name: &str,
    known: Option<&Entry>,
    more: &[(String, String)],
    view: &FleetView,
) -> Vec<PlainLine> {
    let line = |name: &Safe, value: &Safe| {
        let name = Safe::new(&format!("  {:<22}", name.as_str()));
        vec![(name, Ink::Muted), (value.clone(), Ink::Text)]
    };
    let title = |text: &str| vec![(Safe::new(text), Ink::Title)];
    let mut lines = vec![title(&format!("host {name}"))];
    if let Some(entry) = known {
        lines.extend([Vec::new(), title("State")]);
        lines.extend(entry.notes.iter().map(|(name, value)| line(name, value)));
    }
    if !more.is_empty() {
        lines.extend([Vec::new(), title("Host")]);
        let said = more.iter().map(|(name, value)| line(&Safe::new(name), &Safe::new(value)));
        lines.extend(said);
    }
    let agents: Vec<_> = view.agents.iter().filter(|row| row.is_on(name)).collect();
    lines.extend([Vec::new(), title(&format!("Agents ({})", agents.len()))]);
    for row in agents.iter().take(200) {
        let state = Safe::new(&format!("{}  {}", row.phase, row.pool_name));
        lines.push(line(&row.name, &state));
    }
    if agents.len() > 200 {
        let more = format!("  and {} more: enter on the host lists them", agents.len() - 200);
        lines.push(vec![(Safe::new(&more), Ink::Muted)]);
    }
    lines
}

/// Tenants of the fleet, then namespaces of the cluster. `scope` is the tenant in force.
pub fn namespaces(view: &FleetView, scope: Option<&Safe>, found: &Namespaces) -> Vec<Entry> {
    let mut counts: BTreeMap<&Safe, u64> = BTreeMap::new();
    for row in view.agents.iter().filter(|row| row.phase != Phase::Deleted) {
        *counts.entry(&row.tenant).or_default() += 1;
    }
    for row in view.pools.iter() {
        counts.entry(&row.tenant).or_default();
    }
    let active = |yes: bool| {
        Value::State(
            if yes { Mood::Well } else { Mood::Plain },
            Safe::new(if yes { "active" } else { "" }),
        )
    };
    let mut entries = vec![
        Entry { name: Safe::new("all"), ..Entry::new("tenant/*") }
            .with("active", active(scope.is_none()))
            .text("kind", "tenants")
            .with("count", Value::Count(counts.values().sum())),
    ];
    for (tenant, count) in counts.into_iter().filter(|(tenant, _)| !tenant.as_str().is_empty()) {
        let entry = Entry { name: tenant.clone(), ..Entry::new(&format!("tenant/{tenant}")) };
        entries.push(
            entry
                .with("active", active(scope == Some(tenant)))
                .text("kind", "tenant")
                .with("count", Value::Count(count)),
        );
    }
    for found_one in &found.known {
        let mut entry = Entry {
            name: Safe::new(&found_one.name),
            ..Entry::new(&format!("namespace/{}", found_one.name))
        }
        .with("active", active(found_one.active))
        .text("kind", "namespace")
        .text("phase", &found_one.phase);
        entry.fault = !matches!(found_one.phase.as_str(), "" | "Active");
        entry.cells.extend(found_one.since.map(|at| ("age", Value::Since(at))));
        entries.push(entry);
    }
    if let Some(denied) = &found.denied
        && let Some(last) = entries.last_mut()
    {
        let said = format!("others are not told: {denied}");
        last.cells.push(("phase", Value::Text(Safe::new(&said))));
        last.note("others", denied);
    }
    entries
}

/// Every fleet and every cluster one can go over to.
///
/// The fleet in sight is active, and so is the cluster that its agents run in.
pub fn contexts(
    known: &[(String, String)],
    here: &Safe,
    cluster: Option<&(String, String)>,
) -> Vec<Entry> {
    let here = if here.as_str().is_empty() { "default" } else { here.as_str() };
    let entry = |(name, about): &(String, String)| {
        let kind = if name.starts_with(CLUSTER) { "cluster" } else { "fleet" };
        let of_ours =
            cluster.is_some_and(|(context, _)| name.strip_prefix(CLUSTER) == Some(context));
        let is_here = of_ours || here == Safe::new(name).as_str();
        let (mood, word) = if is_here { (Mood::Well, "active") } else { (Mood::Plain, "") };
        let mut entry = Entry::new(name)
            .with("active", Value::State(mood, Safe::new(word)))
            .text("kind", kind)
            .text("about", about);
        entry.note("about", about);
        entry
    };
    known.iter().map(entry).collect()
}

/// What the runtime lets us do, missing first.
pub fn allowances(all: &[Allowance]) -> Vec<PlainLine> {
    let mut lines =
        vec![Vec::new(), vec![(Safe::new("what the runtime lets this console do"), Ink::Title)]];
    if all.is_empty() {
        let said = "  everything: it has no rights of its own that could be missing";
        lines.push(vec![(Safe::new(said), Ink::Text)]);
        return lines;
    }
    lines.push(Vec::new());
    let mut sorted: Vec<&Allowance> = all.iter().collect();
    sorted.sort_by_key(|it| (it.allowed == Some(true), it.optional));
    for it in sorted {
        let (word, ink) = match (it.allowed, it.optional) {
            (Some(true), _) => ("yes", Ink::Ok),
            (Some(false), true) => ("no", Ink::Muted),
            (Some(false), false) => ("no", Ink::Warn),
            (None, _) => ("?", Ink::Warn),
        };
        let reason =
            if it.reason.is_empty() { String::new() } else { format!("  ({})", it.reason) };
        let optional = if it.optional { ", optional" } else { "" };
        lines.push(vec![
            (Safe::new(&format!("  {word:<4}")), ink),
            (Safe::new(&format!("{:<7}{:<38}", it.verb, it.resource)), Ink::Key),
            (Safe::new(&format!("{}{optional}{reason}", it.purpose)), Ink::Text),
        ]);
    }
    lines
}

/// The name of what a row stands for, after its kind.
pub fn meant(id: &str) -> (&str, &str) {
    id.split_once('/').unwrap_or(("", id))
}

#[cfg(test)]
mod tests;
