//! Tables of `get`: which rows are chosen by names, selector and filter, and what their cells say.

use std::sync::Arc;

use serde_json::Value;

use super::args::{GetArgs, GetKind};
use super::fail::Fail;
use crate::engine::fields::{
    AGENT_FIELDS, OPERATION_FIELDS, POOL_FIELDS, Paper, PaperKind, Seen, TEMPLATE_FIELDS, reason,
};
use crate::engine::handle::Handle;
use crate::engine::view::{AgentRow, FleetView, OperationRow, PoolRow, TemplateRow};
use crate::model::agent::Phase;
use crate::model::filter::Filter;
use crate::model::filter::query::{FieldSpec, Row, RowQuery};
use crate::model::filter::selector::Selector;
use crate::model::id::AgentId;
use crate::model::quantity::{human_age, human_bytes};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::store::Document;

/// Rows chosen from the view, or word that the kind is read from the store.
pub enum Chosen {
    Rows(Rows),
    Documents,
}

pub struct Rows {
    now: Time,
    kind: Kind,
}

enum Kind {
    Agents(Vec<Arc<AgentRow>>),
    Pools(Vec<Arc<PoolRow>>),
    Templates(Vec<Arc<TemplateRow>>),
    Operations(Vec<Arc<OperationRow>>),
}

/// Chooses rows as the arguments say.
///
/// # Errors
/// Exit code 2 for a bad filter or selector, and for a name that nothing has.
pub fn choose(handle: &Handle, args: &GetArgs) -> Result<Chosen, Fail> {
    let view = handle.views().borrow().clone();
    let now = view.at;
    let kind = match args.kind {
        GetKind::Agents => {
            let names = |row: &AgentRow| [row.id.to_string(), row.name.to_string()];
            let gone = |row: &AgentRow| row.phase == Phase::Deleted;
            Kind::Agents(pick(&view.agents, now, args, AGENT_FIELDS, names, gone)?)
        }
        GetKind::Pools => {
            let names = |row: &PoolRow| [row.id.to_string(), row.name.to_string()];
            let gone = |row: &PoolRow| row.deleting && row.total == 0;
            Kind::Pools(pick(&view.pools, now, args, POOL_FIELDS, names, gone)?)
        }
        GetKind::Templates => {
            let names = |row: &TemplateRow| [row.id.to_string(), row.name.to_string()];
            Kind::Templates(pick(&view.templates, now, args, TEMPLATE_FIELDS, names, |_| false)?)
        }
        GetKind::Operations => {
            let names = |row: &OperationRow| [row.id.to_string(), row.id.to_string()];
            let mut rows = pick(&view.operations, now, args, OPERATION_FIELDS, names, |_| false)?;
            rows.truncate(args.limit);
            Kind::Operations(rows)
        }
        GetKind::Messages | GetKind::Events => return Ok(Chosen::Documents),
    };
    Ok(Chosen::Rows(Rows { now, kind }))
}

fn query(args: &GetArgs, fields: &[FieldSpec]) -> Result<RowQuery, Fail> {
    RowQuery::parse(args.filter.as_deref().unwrap_or_default(), fields)
        .map_err(|error| Fail::usage(format!("--filter: at byte {}: {error}", error.at)))
}

fn selector(args: &GetArgs) -> Result<Selector, Fail> {
    Selector::parse(args.selector.as_deref().unwrap_or_default())
        .map_err(|error| Fail::usage(format!("--selector: {error}")))
}

/// A name that nothing of its kind has.
pub fn not_among(name: &str) -> Fail {
    Fail::usage(format!("{name:?} is not among them: `cvxc get` without a name lists all"))
}

fn pick<R>(
    all: &[Arc<R>],
    now: Time,
    args: &GetArgs,
    fields: &[FieldSpec],
    names: impl Fn(&R) -> [String; 2],
    gone: impl Fn(&R) -> bool,
) -> Result<Vec<Arc<R>>, Fail>
where
    for<'a> Seen<'a, R>: Row,
{
    let (query, selector) = (query(args, fields)?, selector(args)?);
    let named = |row: &R| args.names.iter().any(|name| names(row).contains(name));
    if let Some(missing) =
        args.names.iter().find(|name| !all.iter().any(|row| names(row).contains(*name)))
    {
        return Err(not_among(missing));
    }
    // a tombstone is shown to whoever asks for it by --all, by name or by a filter for deleted ones
    let asked = args.all || args.filter.as_deref().is_some_and(|text| text.contains("deleted"));
    let chosen = all.iter().filter(|row| {
        let seen = Seen::new(row.as_ref(), now);
        (if args.names.is_empty() { asked || !gone(row) } else { named(row) })
            && query.matches(&seen)
            && selector.matches_with(|key| seen_label(&seen, key))
    });
    let mut chosen: Vec<Arc<R>> = chosen.cloned().collect();
    // operations come newest first and stay so; a table of the rest is read by name
    if args.kind != GetKind::Operations {
        chosen.sort_by_cached_key(|row| names(row)[1].clone());
    }
    Ok(chosen)
}

/// The label as the row keeps it: borrowed from the row, not from the passing look at it.
fn seen_label<'a, R>(seen: &'a Seen<'_, R>, key: &str) -> Option<&'a str>
where
    for<'b> Seen<'b, R>: Row,
{
    seen.label(key)
}

impl Rows {
    pub fn ids(&self) -> Vec<String> {
        match &self.kind {
            Kind::Agents(rows) => rows.iter().map(|row| row.id.to_string()).collect(),
            Kind::Pools(rows) => rows.iter().map(|row| row.id.to_string()).collect(),
            Kind::Templates(rows) => rows.iter().map(|row| row.id.to_string()).collect(),
            Kind::Operations(rows) => rows.iter().map(|row| row.id.to_string()).collect(),
        }
    }

    /// Header and cells; more columns when `wide`.
    pub fn cells(&self, wide: bool) -> (Vec<&'static str>, Vec<Vec<Safe>>) {
        let now = self.now;
        let (mut header, rest): (Vec<&str>, &[&str]) = match &self.kind {
            Kind::Agents(_) => (
                vec!["NAME", "POOL", "PHASE", "HEALTH", "RST", "QUEUE", "CPU", "MEM", "AGE"],
                &["TYPE", "TEMPLATE", "VERSION", "NODE", "PID", "ID", "REASON"],
            ),
            Kind::Pools(_) => (
                vec![
                    "NAME", "TEMPLATE", "VERSION", "DESIRED", "READY", "MIN", "MAX", "QUEUE", "AGE",
                ],
                &["UPDATED", "UNHEALTHY", "PENDING", "MODE", "ID", "REASON"],
            ),
            Kind::Templates(_) => (
                vec!["NAME", "VERSION", "TYPE", "AGENTS", "POOLS", "CHANGED"],
                &["IMAGE", "TAGS", "AUTHOR", "ID"],
            ),
            Kind::Operations(_) => (
                vec!["ID", "STATUS", "TITLE", "DONE", "ACTOR", "AGE"],
                &["TIER", "FAILED", "TOOK", "REASON", "MESSAGE"],
            ),
        };
        if wide {
            header.extend(rest);
        }
        let fit = |mut cells: Vec<Safe>| {
            cells.truncate(header.len());
            cells
        };
        let rows = match &self.kind {
            Kind::Agents(rows) => rows.iter().map(|row| fit(agent(row, now))).collect(),
            Kind::Pools(rows) => rows.iter().map(|row| fit(pool(row, now))).collect(),
            Kind::Templates(rows) => rows.iter().map(|row| fit(template(row, now))).collect(),
            Kind::Operations(rows) => rows.iter().map(|row| fit(operation(row, now))).collect(),
        };
        (header, rows)
    }
}

fn safe(text: impl std::fmt::Display) -> Safe {
    Safe::new(&text.to_string())
}

fn or_dash(text: &Safe) -> Safe {
    if text.as_str().is_empty() { Safe::new("-") } else { text.clone() }
}

fn agent(row: &AgentRow, now: Time) -> Vec<Safe> {
    let usage = row.usage;
    vec![
        row.name.clone(),
        or_dash(&row.pool_name),
        safe(row.phase),
        safe(row.health),
        safe(row.restarts()),
        safe(row.queue.pending),
        usage.map_or(Safe::new("-"), |usage| safe(format!("{}m", usage.cpu_millis))),
        usage.map_or(Safe::new("-"), |usage| safe(human_bytes(usage.memory_bytes))),
        safe(human_age(now.since(row.created_at))),
        or_dash(&row.kind),
        or_dash(&row.template_name),
        or_dash(&row.template_version),
        or_dash(&row.node),
        row.pid.map_or(Safe::new("-"), safe),
        safe(&row.id),
        or_dash(reason(row)),
    ]
}

fn pool(row: &PoolRow, now: Time) -> Vec<Safe> {
    vec![
        row.name.clone(),
        or_dash(&row.template_name),
        or_dash(&row.template_version),
        safe(row.desired),
        safe(row.ready),
        safe(row.min),
        safe(row.max),
        safe(row.queue.pending),
        safe(human_age(now.since(row.created_at))),
        safe(row.updated),
        safe(row.unhealthy),
        safe(row.pending),
        safe(row.scaling.mode),
        safe(&row.id),
        or_dash(&row.reason),
    ]
}

fn template(row: &TemplateRow, now: Time) -> Vec<Safe> {
    let tags: Vec<&str> = row.tags.iter().map(Safe::as_str).collect();
    vec![
        row.name.clone(),
        or_dash(&row.version),
        or_dash(&row.kind),
        safe(row.agents),
        safe(row.pools),
        safe(human_age(now.since(row.updated_at))),
        or_dash(&row.image),
        or_dash(&safe(tags.join(","))),
        or_dash(&row.created_by),
        safe(&row.id),
    ]
}

fn operation(row: &OperationRow, now: Time) -> Vec<Safe> {
    vec![
        safe(&row.id),
        safe(row.status),
        row.title.clone(),
        safe(format!("{}/{}", row.done, row.total)),
        row.actor.clone(),
        safe(human_age(now.since(row.created_at))),
        safe(u8::from(row.tier)),
        safe(row.failed),
        safe(crate::model::time::span::format(
            row.finished_at.unwrap_or(now).since(row.created_at),
        )),
        or_dash(&row.reason),
        or_dash(&row.message),
    ]
}

/// What of the arguments' filter the store can answer; the documents found must still pass [`filter_documents`].
///
/// # Errors
/// Exit code 2 for a bad filter or selector.
pub fn store_filter(args: &GetArgs) -> Result<Filter, Fail> {
    Ok(query(args, paper_kind(args).fields())?.to_store().0)
}

fn paper_kind(args: &GetArgs) -> PaperKind {
    if args.kind == GetKind::Messages { PaperKind::Message } else { PaperKind::Event }
}

/// Keeps the documents that match names and filter.
///
/// # Errors
/// Exit code 2 for a bad filter.
pub fn filter_documents(
    documents: Vec<Document>,
    args: &GetArgs,
    now: Time,
) -> Result<Vec<Document>, Fail> {
    let kind = paper_kind(args);
    let (query, selector) = (query(args, kind.fields())?, selector(args)?);
    let keep = |document: &Document| {
        let paper = Paper::new(kind, document, now);
        (args.names.is_empty() || args.names.iter().any(|name| name == document.key.as_str()))
            && query.matches(&paper)
            && selector.matches_with(|key| document.body.get("labels")?.get(key)?.as_str())
    };
    Ok(documents.into_iter().filter(keep).collect())
}

/// Header and cells of messages or events.
pub fn document_cells(
    view: &FleetView,
    kind: GetKind,
    documents: &[Document],
    wide: bool,
) -> (Vec<&'static str>, Vec<Vec<Safe>>) {
    let (mut header, rest, fields): (Vec<&str>, &[&str], &[&str]) = if kind == GetKind::Messages {
        (
            vec!["ID", "FROM", "TO", "TYPE", "PRI", "STATUS", "TRY", "CREATED"],
            &["DELIVERED", "ERROR"],
            &[
                "_key",
                "from_agent_id",
                "to_agent_id",
                "message_type",
                "priority",
                "status",
                "attempts",
                "created_at",
                "delivered_at",
                "last_error",
            ],
        )
    } else {
        (
            vec!["SEQ", "AT", "TYPE", "SUBJECT", "ACTOR", "REASON"],
            &["ID", "OPERATION"],
            &["seq", "at", "type", "subject", "actor", "reason", "aggregate_id", "operation_id"],
        )
    };
    if wide {
        header.extend(rest);
    }
    // an agent is shown by its name as long as it is known
    let called = |id: &str| {
        let row = AgentId::new(id).ok().and_then(|id| view.agent(&id).cloned());
        row.map_or_else(|| or_dash(&Safe::new(id)), |row| row.name.clone())
    };
    let cell = |document: &Document, field: &str| match document.body.get(field) {
        _ if field == "_key" => safe(&document.key),
        Some(Value::String(id)) if field.ends_with("_agent_id") => called(id),
        Some(Value::String(text)) => or_dash(&Safe::new(text)),
        Some(Value::Null) | None => Safe::new("-"),
        Some(other) => safe(other),
    };
    let rows = documents
        .iter()
        .map(|document| {
            fields.iter().take(header.len()).map(|field| cell(document, field)).collect()
        })
        .collect();
    (header, rows)
}
