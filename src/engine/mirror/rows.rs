//! From stored documents to rows. Reads only the fields that a row needs, straight from the document's map, and takes
//! whatever is there: a field that somebody wrote wrongly shows as its default and never hides the row.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::intern::Interner;
use super::paper::Paper;
use crate::engine::view::{
    AgentRow, Doing, OperationRow, PoolAim, PoolRow, Queue, SubscriptionRow, TemplateRow, UsageNote,
};
use crate::model::agent::{Heartbeat, Phase};
use crate::model::id::{AgentId, OperationId, PoolId, SubscriptionId, TemplateId};
use crate::model::plan::Tier;
use crate::model::pool::Pool;
use crate::model::pubsub::Subscription;
use crate::model::quantity::{Bytes, Cpu};
use crate::model::template::Template;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::store::Body;

/// What `agent_health` says of one agent, as far as rows show it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Vital {
    pub heartbeat: Option<Time>,
    pub usage: Option<UsageNote>,
}

/// What a row shows of other documents.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    pub pool_name: Safe,
    pub template_name: Safe,
    pub vital: Vital,
    pub queue: Queue,
}

fn text<'a>(paper: &'a impl Paper, field: &str) -> &'a str {
    paper.word(field).unwrap_or_default()
}

fn inside<'a, P: Paper>(part: Option<&'a P>, field: &str) -> &'a str {
    part.map_or("", |part| text(part, field))
}

fn whole(paper: &impl Paper, field: &str) -> u64 {
    paper.whole(field).unwrap_or_default()
}

fn small(paper: &impl Paper, field: &str) -> u32 {
    u32::try_from(whole(paper, field)).unwrap_or(u32::MAX)
}

fn time(paper: &impl Paper, field: &str) -> Option<Time> {
    paper.word(field)?.parse().ok()
}

fn amount<T: DeserializeOwned>(list: Option<&impl Paper>, field: &str) -> Option<T> {
    T::deserialize(list?.leaf(field)?).ok()
}

/// An enum by the name under which documents have it.
fn named<T: std::str::FromStr + Default>(text: &str) -> T {
    text.parse().unwrap_or_default()
}

pub fn agent<P: Paper>(id: AgentId, paper: &P, known: &mut Interner, beside: Beside) -> AgentRow {
    let (config, deployment) = (paper.part("config"), paper.part("deployment"));
    let (health, heartbeat) =
        (paper.part("health"), config.and_then(|part| part.part("heartbeat")));
    let resources = config.and_then(|part| part.part("resources"));
    let requests = resources.and_then(|part| part.part("requests"));
    let limits = resources.and_then(|part| part.part("limits"));
    let phase: Phase = named(text(paper, "phase"));
    AgentRow {
        name: Safe::new(text(paper, "name")),
        kind: known.text(text(paper, "type")),
        tenant: known.text(text(paper, "tenant")),
        pool: paper.word("pool_id").and_then(|id| known.pool(id)),
        pool_name: beside.pool_name,
        template: paper.word("template_id").and_then(|id| known.template(id)),
        template_name: beside.template_name,
        template_version: known.text(text(paper, "template_version")),
        labels: known.labels(paper.part("labels")),
        desired: named(text(paper, "desired")),
        phase,
        phase_since: time(paper, "phase_since").unwrap_or_default(),
        reason: known.text(text(paper, "reason")),
        health: named(inside(health, "status")),
        health_since: health.and_then(|part| time(part, "since")).unwrap_or_default(),
        health_message: known.text(inside(health, "message")),
        incarnation: whole(paper, "incarnation"),
        wanted_incarnation: whole(paper, "wanted_incarnation"),
        generation: whole(paper, "generation"),
        failures: small(paper, "failures"),
        restarts_in_place: deployment.map_or(0, |part| small(part, "restarts")),
        retry_at: time(paper, "retry_at"),
        drain_deadline: time(paper, "drain_deadline"),
        purge_at: time(paper, "purge_at"),
        pinned: paper.flag("pinned").unwrap_or_default(),
        node: known.text(inside(deployment, "node")),
        pid: deployment.and_then(|part| part.whole("pid")).and_then(|pid| u32::try_from(pid).ok()),
        created_at: time(paper, "created_at").unwrap_or_default(),
        heartbeat: beside.vital.heartbeat,
        heartbeat_interval: heartbeat
            .and_then(|part| part.word("interval"))
            .and_then(|text| known.span(text))
            .unwrap_or_else(|| Heartbeat::default().interval),
        heartbeat_required: heartbeat.and_then(|part| part.flag("required")).unwrap_or_default(),
        // a sample of what is over is no use of anything
        usage: beside.vital.usage.filter(|_| phase.has_workload()),
        cpu_request: amount::<Cpu>(requests, "cpu").map(|Cpu(millis)| millis),
        cpu_limit: amount::<Cpu>(limits, "cpu").map(|Cpu(millis)| millis),
        memory_limit: amount::<Bytes>(limits, "memory").map(|Bytes(bytes)| bytes),
        queue: beside.queue,
        recorded: true,
        id,
    }
}

pub fn vital<P: Paper>(paper: &P) -> Vital {
    let usage = paper.part("usage").map(|usage| UsageNote {
        at: time(usage, "at").unwrap_or_default(),
        cpu_millis: whole(usage, "cpu_millis"),
        memory_bytes: whole(usage, "memory_bytes"),
    });
    Vital { heartbeat: time(paper, "last_heartbeat"), usage }
}

/// The document as the model's type; when it cannot be read, its default and why.
fn read<T: DeserializeOwned + Default>(body: &Body) -> (T, Option<Safe>) {
    match T::deserialize(body) {
        Ok(read) => (read, None),
        Err(error) => {
            (T::default(), Some(Safe::new(&format!("the document cannot be read: {error}"))))
        }
    }
}

pub fn pool(id: PoolId, body: &Body, known: &mut Interner) -> PoolRow {
    let (pool, broken) = read::<Pool>(body);
    PoolRow {
        name: Safe::new(text(body, "name")),
        description: Safe::new(&pool.description),
        tenant: known.text(&pool.tenant),
        labels: known.labels(body.part("labels")),
        template: pool.template_id,
        template_name: Safe::default(),
        template_version: known.text(&pool.template_version),
        previous_version: known.text(&pool.previous_version),
        desired: pool.desired,
        min: pool.min,
        max: pool.max,
        max_surge: pool.update.max_surge,
        max_unavailable: pool.update.max_unavailable,
        ready: pool.status.ready,
        updated: pool.status.updated,
        unhealthy: pool.status.unhealthy,
        pending: pool.status.pending,
        total: pool.status.total,
        reason: broken.unwrap_or_else(|| Safe::new(&pool.status.reason)),
        halted: pool.status.halted,
        paused: pool.paused,
        deleting: pool.deleting,
        purge_at: pool.purge_at,
        scaling: Arc::new(pool.scaling),
        last_decision: decision(&pool.status.last_decision),
        generation: pool.generation,
        created_at: pool.created_at,
        queue: Queue::default(),
        usage: None,
        id,
    }
}

/// A decision in one line: its own summary or reason, else all of it.
fn decision(value: &Value) -> Safe {
    let words =
        ["summary", "message", "reason"].into_iter().find_map(|field| value.get(field)?.as_str());
    match (value, words) {
        (_, Some(words)) => Safe::new(words),
        (Value::Null, None) => Safe::default(),
        (Value::String(text), None) => Safe::new(text),
        (other, None) => Safe::new(&other.to_string()),
    }
}

pub fn template(id: TemplateId, body: &Body, known: &mut Interner) -> TemplateRow {
    let (template, broken) = read::<Template>(body);
    let config = template.configuration;
    let command: Vec<String> = config.command.into_iter().chain(config.args).collect();
    TemplateRow {
        name: Safe::new(text(body, "name")),
        version: known.text(&template.version),
        kind: known.text(&template.kind),
        description: broken.unwrap_or_else(|| Safe::new(&template.description)),
        image: Safe::new(&config.image),
        command: Safe::new(&command.join(" ")),
        tags: template.tags.iter().map(|tag| known.text(tag)).collect(),
        created_by: known.text(&template.created_by),
        created_at: template.created_at,
        updated_at: template.updated_at,
        agents: 0,
        pools: 0,
        id,
    }
}

pub fn subscription(id: SubscriptionId, body: &Body, known: &mut Interner) -> SubscriptionRow {
    let (subscription, broken) = read::<Subscription>(body);
    SubscriptionRow {
        subscriber: known.text(&subscription.subscriber_agent_id),
        pattern: broken.unwrap_or_else(|| known.text(&subscription.event_pattern)),
        active: subscription.active,
        cursor: subscription.cursor,
        matched: subscription.matched,
        created_at: subscription.created_at,
        last_matched_at: subscription.last_matched_at,
        id,
    }
}

pub fn operation(id: OperationId, body: &Body, known: &mut Interner) -> OperationRow {
    let tier = body.get("tier").and_then(Value::as_u64).and_then(|tier| u8::try_from(tier).ok());
    let status: crate::model::operation::OperationStatus = named(text(body, "status"));
    let undo = body.part("undo");
    let done_before = body.get("undone_by").is_some_and(|by| !by.is_null());
    OperationRow {
        kind: known.text(text(body, "type")),
        title: Safe::new(text(body, "title")),
        tier: tier.and_then(|tier| Tier::try_from(tier).ok()).unwrap_or(Tier::Zero),
        status,
        actor: known.text(text(body, "actor")),
        reason: Safe::new(text(body, "reason")),
        message: Safe::new(text(body, "message")),
        total: body
            .get("steps")
            .and_then(Value::as_array)
            .map_or(0, |steps| u32::try_from(steps.len()).unwrap_or(u32::MAX)),
        done: small(body, "done"),
        failed: small(body, "failed"),
        can_undo: !done_before && undo.is_some_and(|undo| !undo.contains_key("never")),
        doing: if status.is_over() { Doing::default() } else { doing(body) },
        created_at: time(body, "created_at").unwrap_or_default(),
        finished_at: time(body, "finished_at"),
        id,
    }
}

/// How many of the steps under way are named.
const NAMED: usize = 2;

/// What the operation's steps say of where it stands.
fn doing(body: &Body) -> Doing {
    let steps = body.get("steps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let number = |step: &Value| {
        let batch = step.get("batch").and_then(Value::as_u64).unwrap_or(0);
        u32::try_from(batch).unwrap_or(u32::MAX).saturating_add(1)
    };
    let at = |step: &Value, path: &str| -> String {
        step.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let running: Vec<&Value> =
        steps.iter().filter(|step| at(step, "/status") == "running").collect();
    let names: Vec<String> =
        running.iter().take(NAMED).map(|step| at(step, "/target/name")).collect();
    let mut words = running.first().map(|step| at(step, "/action")).unwrap_or_default();
    if !names.is_empty() {
        words.push_str(&format!(" {}", names.join(", ")));
    }
    if running.len() > NAMED {
        words.push_str(&format!(" and {} more", running.len() - NAMED));
    }
    let pool = running.iter().find_map(|step| {
        let id = PoolId::new(&at(step, "/target/id")).ok();
        let aim = match at(step, "/goal/until").as_str() {
            "pool_ready" => {
                let ready = step.pointer("/goal/ready").and_then(Value::as_u64)?;
                PoolAim::Ready(u32::try_from(ready).ok()?)
            }
            "pool_updated" => PoolAim::Version(Safe::new(&at(step, "/goal/version"))),
            _ => return None,
        };
        Some((id?, aim))
    });
    Doing {
        batch: running.iter().map(|step| number(step)).min().unwrap_or(0),
        batches: steps.iter().map(number).max().unwrap_or(0),
        words: Safe::new(&words),
        pool,
    }
}
