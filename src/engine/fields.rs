//! Rows as the filter language sees them: which fields each kind has, and the values behind its cells. One table for the
//! console's `/` and the command line's `--filter`, so that both mean the same.

use std::time::Duration;

mod papers;

use crate::engine::view::{
    AgentRow, OperationRow, PoolRow, Queue, SubscriptionRow, TemplateRow, UsageNote,
};
use crate::model::agent::Phase;
use crate::model::filter::query::{FieldKind, FieldSpec, FieldValue, Row};
use crate::model::health::HealthStatus;
use crate::model::quantity::{Bytes, Cpu};
use crate::model::text::Safe;
use crate::model::time::Time;

pub use papers::{EVENT_FIELDS, MESSAGE_FIELDS, PUBLICATION_FIELDS, Paper, PaperKind};

/// A row at a moment: ages and waiting times are counted up to `now`.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a, R> {
    pub row: &'a R,
    pub now: Time,
}

impl<'a, R> Seen<'a, R> {
    pub fn new(row: &'a R, now: Time) -> Self {
        Self { row, now }
    }

    fn age(&self, since: Time) -> FieldValue<'static> {
        FieldValue::Duration(self.now.since(since))
    }

    fn waiting(&self, queue: &Queue) -> Option<Duration> {
        queue.oldest.map(|oldest| self.now.since(oldest))
    }
}

const TEXT: FieldKind = FieldKind::Text;
const NUMBER: FieldKind = FieldKind::Number;
const SPAN: FieldKind = FieldKind::Duration;

pub const AGENT_FIELDS: &[FieldSpec] = &[
    FieldSpec::new("name", TEXT),
    FieldSpec::new("id", TEXT),
    FieldSpec::new("type", TEXT),
    FieldSpec::new("pool", TEXT),
    FieldSpec::new("template", TEXT),
    FieldSpec::new("version", TEXT),
    FieldSpec::new("tenant", TEXT),
    FieldSpec::new("state", TEXT),
    FieldSpec::new("phase", TEXT),
    FieldSpec::new("desired", TEXT),
    FieldSpec::new("health", TEXT),
    FieldSpec::new("reason", TEXT),
    FieldSpec::new("node", TEXT),
    FieldSpec::new("pid", NUMBER),
    FieldSpec::new("restarts", NUMBER),
    FieldSpec::new("rst", NUMBER),
    FieldSpec::new("failures", NUMBER),
    FieldSpec::new("queue", NUMBER),
    FieldSpec::new("inflight", NUMBER),
    FieldSpec::new("dead", NUMBER),
    FieldSpec::new("err%", FieldKind::Percent),
    FieldSpec::new("oldest", SPAN),
    FieldSpec::new("cpu", FieldKind::Cpu),
    FieldSpec::new("cpu%", FieldKind::Percent),
    FieldSpec::new("mem", FieldKind::Size),
    FieldSpec::new("mem%", FieldKind::Percent),
    FieldSpec::new("heartbeat", SPAN),
    FieldSpec::new("age", SPAN),
    FieldSpec::new("since", SPAN),
];

/// The word under STATE: a running agent is as it fares.
pub fn state(row: &AgentRow) -> &'static str {
    match (row.phase, row.health) {
        (Phase::Running, health) if health != HealthStatus::Healthy => health.into(),
        (phase, _) => phase.name(),
    }
}

/// Why it is as it is: its own reason, or what health says of it.
pub fn reason(row: &AgentRow) -> &Safe {
    if row.reason.as_str().is_empty() && row.health != HealthStatus::Healthy {
        &row.health_message
    } else {
        &row.reason
    }
}

impl Row for Seen<'_, AgentRow> {
    fn text(&self, out: &mut String) {
        let row = self.row;
        let cells = [
            &row.name,
            &row.kind,
            &row.pool_name,
            &row.template_name,
            &row.reason,
            &row.health_message,
            &row.node,
        ];
        join(
            out,
            cells.iter().map(|cell| cell.as_str()).chain([
                row.phase.name(),
                row.health.into(),
                row.id.as_str(),
            ]),
        );
    }

    fn name(&self) -> Option<&str> {
        Some(self.row.name.as_str())
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.row.labels.get(key).map(String::as_str)
    }

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let row = self.row;
        Some(match name {
            "name" => text(&row.name),
            "id" => FieldValue::Text(row.id.as_str()),
            "type" => text(&row.kind),
            "pool" => text(&row.pool_name),
            "template" => text(&row.template_name),
            "version" => text(&row.template_version),
            "tenant" => text(&row.tenant),
            "state" => FieldValue::Text(state(row)),
            "phase" => FieldValue::Text(row.phase.name()),
            "desired" => FieldValue::Text(row.desired.into()),
            "health" => FieldValue::Text(row.health.into()),
            "reason" => text(reason(row)),
            "node" => text(&row.node),
            "pid" => FieldValue::Number(f64::from(row.pid?)),
            "restarts" | "rst" => number(row.restarts()),
            "failures" => FieldValue::Number(f64::from(row.failures)),
            "queue" => number(row.queue.pending),
            "inflight" => number(row.queue.leased),
            "dead" => number(row.queue.dead),
            "err%" => share(row.queue.dead, row.queue.dead.saturating_add(row.queue.delivered)),
            "oldest" => FieldValue::Duration(self.waiting(&row.queue)?),
            "cpu" => FieldValue::Cpu(Cpu(row.usage?.cpu_millis)),
            "cpu%" => share(row.usage?.cpu_millis, row.cpu_limit?),
            "mem" => FieldValue::Size(Bytes(row.usage?.memory_bytes)),
            "mem%" => share(row.usage?.memory_bytes, row.memory_limit?),
            "heartbeat" => self.age(row.heartbeat?),
            "age" => self.age(row.created_at),
            "since" => self.age(row.phase_since),
            _ => return None,
        })
    }
}

pub const POOL_FIELDS: &[FieldSpec] = &[
    FieldSpec::new("name", TEXT),
    FieldSpec::new("id", TEXT),
    FieldSpec::new("template", TEXT),
    FieldSpec::new("version", TEXT),
    FieldSpec::new("tenant", TEXT),
    FieldSpec::new("reason", TEXT),
    FieldSpec::new("desired", NUMBER),
    FieldSpec::new("ready", NUMBER),
    FieldSpec::new("updated", NUMBER),
    FieldSpec::new("unhealthy", NUMBER),
    FieldSpec::new("pending", NUMBER),
    FieldSpec::new("total", NUMBER),
    FieldSpec::new("min", NUMBER),
    FieldSpec::new("max", NUMBER),
    FieldSpec::new("queue", NUMBER),
    FieldSpec::new("inflight", NUMBER),
    FieldSpec::new("dead", NUMBER),
    FieldSpec::new("err%", FieldKind::Percent),
    FieldSpec::new("oldest", SPAN),
    FieldSpec::new("cpu", FieldKind::Cpu),
    FieldSpec::new("mem", FieldKind::Size),
    FieldSpec::new("age", SPAN),
];

impl Row for Seen<'_, PoolRow> {
    fn text(&self, out: &mut String) {
        let row = self.row;
        let cells = [
            &row.name,
            &row.description,
            &row.template_name,
            &row.template_version,
            &row.reason,
            &row.last_decision,
        ];
        join(out, cells.iter().map(|cell| cell.as_str()).chain([row.id.as_str()]));
    }

    fn name(&self) -> Option<&str> {
        Some(self.row.name.as_str())
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.row.labels.get(key).map(String::as_str)
    }

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let row = self.row;
        let count = |count: u32| FieldValue::Number(f64::from(count));
        Some(match name {
            "name" => text(&row.name),
            "id" => FieldValue::Text(row.id.as_str()),
            "template" => text(&row.template_name),
            "version" => text(&row.template_version),
            "tenant" => text(&row.tenant),
            "reason" => text(&row.reason),
            "desired" => count(row.desired),
            "ready" => count(row.ready),
            "updated" => count(row.updated),
            "unhealthy" => count(row.unhealthy),
            "pending" => count(row.pending),
            "total" => count(row.total),
            "min" => count(row.min),
            "max" => count(row.max),
            "queue" => number(row.queue.pending),
            "inflight" => number(row.queue.leased),
            "dead" => number(row.queue.dead),
            "err%" => share(row.queue.dead, row.queue.dead.saturating_add(row.queue.delivered)),
            "oldest" => FieldValue::Duration(self.waiting(&row.queue)?),
            "cpu" => usage_cpu(row.usage?),
            "mem" => FieldValue::Size(Bytes(row.usage?.memory_bytes)),
            "age" => self.age(row.created_at),
            _ => return None,
        })
    }
}

pub const TEMPLATE_FIELDS: &[FieldSpec] = &[
    FieldSpec::new("name", TEXT),
    FieldSpec::new("id", TEXT),
    FieldSpec::new("type", TEXT),
    FieldSpec::new("version", TEXT),
    FieldSpec::new("image", TEXT),
    FieldSpec::new("command", TEXT),
    FieldSpec::new("author", TEXT),
    FieldSpec::new("agents", NUMBER),
    FieldSpec::new("pools", NUMBER),
    FieldSpec::new("age", SPAN),
    FieldSpec::new("changed", SPAN),
];

impl Row for Seen<'_, TemplateRow> {
    fn text(&self, out: &mut String) {
        let row = self.row;
        let cells = [
            &row.name,
            &row.kind,
            &row.version,
            &row.description,
            &row.image,
            &row.command,
            &row.created_by,
        ];
        join(
            out,
            cells
                .into_iter()
                .chain(&row.tags)
                .map(super::super::model::text::Safe::as_str)
                .chain([row.id.as_str()]),
        );
    }

    fn name(&self) -> Option<&str> {
        Some(self.row.name.as_str())
    }

    /// A tag counts as a label without a value.
    fn label(&self, key: &str) -> Option<&str> {
        self.row.tags.iter().any(|tag| tag.as_str() == key).then_some("")
    }

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let row = self.row;
        Some(match name {
            "name" => text(&row.name),
            "id" => FieldValue::Text(row.id.as_str()),
            "type" => text(&row.kind),
            "version" => text(&row.version),
            "image" => text(&row.image),
            "command" => text(&row.command),
            "author" => text(&row.created_by),
            "agents" => FieldValue::Number(f64::from(row.agents)),
            "pools" => FieldValue::Number(f64::from(row.pools)),
            "age" => self.age(row.created_at),
            "changed" => self.age(row.updated_at),
            _ => return None,
        })
    }
}

pub const OPERATION_FIELDS: &[FieldSpec] = &[
    FieldSpec::new("id", TEXT),
    FieldSpec::new("type", TEXT),
    FieldSpec::new("title", TEXT),
    FieldSpec::new("status", TEXT),
    FieldSpec::new("actor", TEXT),
    FieldSpec::new("reason", TEXT),
    FieldSpec::new("message", TEXT),
    FieldSpec::new("tier", NUMBER),
    FieldSpec::new("total", NUMBER),
    FieldSpec::new("done", NUMBER),
    FieldSpec::new("failed", NUMBER),
    FieldSpec::new("age", SPAN),
    FieldSpec::new("took", SPAN),
];

impl Row for Seen<'_, OperationRow> {
    fn text(&self, out: &mut String) {
        let row = self.row;
        let cells = [&row.title, &row.kind, &row.actor, &row.reason, &row.message];
        join(
            out,
            cells.iter().map(|cell| cell.as_str()).chain([row.status.name(), row.id.as_str()]),
        );
    }

    fn name(&self) -> Option<&str> {
        Some(self.row.title.as_str())
    }

    fn label(&self, _key: &str) -> Option<&str> {
        None
    }

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let row = self.row;
        Some(match name {
            "id" => FieldValue::Text(row.id.as_str()),
            "type" => text(&row.kind),
            "title" => text(&row.title),
            "status" => FieldValue::Text(row.status.name()),
            "actor" => text(&row.actor),
            "reason" => text(&row.reason),
            "message" => text(&row.message),
            "tier" => FieldValue::Number(f64::from(u8::from(row.tier))),
            "total" => FieldValue::Number(f64::from(row.total)),
            "done" => FieldValue::Number(f64::from(row.done)),
            "failed" => FieldValue::Number(f64::from(row.failed)),
            "age" => self.age(row.created_at),
            "took" => {
                FieldValue::Duration(row.finished_at.unwrap_or(self.now).since(row.created_at))
            }
            _ => return None,
        })
    }
}

pub const SUBSCRIPTION_FIELDS: &[FieldSpec] = &[
    FieldSpec::new("id", TEXT),
    FieldSpec::new("subscriber", TEXT),
    FieldSpec::new("pattern", TEXT),
    FieldSpec::new("active", TEXT),
    FieldSpec::new("cursor", NUMBER),
    FieldSpec::new("matched", NUMBER),
    FieldSpec::new("age", SPAN),
    FieldSpec::new("idle", SPAN),
];

impl Row for Seen<'_, SubscriptionRow> {
    fn text(&self, out: &mut String) {
        let row = self.row;
        join(out, [row.pattern.as_str(), row.subscriber.as_str(), row.id.as_str()].into_iter());
    }

    fn name(&self) -> Option<&str> {
        Some(self.row.pattern.as_str())
    }

    fn label(&self, _key: &str) -> Option<&str> {
        None
    }

    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        let row = self.row;
        Some(match name {
            "id" => FieldValue::Text(row.id.as_str()),
            "subscriber" => text(&row.subscriber),
            "pattern" => text(&row.pattern),
            "active" => FieldValue::Text(if row.active { "yes" } else { "no" }),
            "cursor" => number(row.cursor),
            "matched" => number(row.matched),
            "age" => self.age(row.created_at),
            "idle" => self.age(row.last_matched_at.unwrap_or(row.created_at)),
            _ => return None,
        })
    }
}

fn join<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>) {
    for cell in cells.filter(|cell| !cell.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(cell);
    }
}

fn text(safe: &crate::model::text::Safe) -> FieldValue<'_> {
    FieldValue::Text(safe.as_str())
}

fn usage_cpu(usage: UsageNote) -> FieldValue<'static> {
    FieldValue::Cpu(Cpu(usage.cpu_millis))
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn number(count: u64) -> FieldValue<'static> {
    FieldValue::Number(count as f64)
}

#[expect(clippy::cast_precision_loss, reason = "a percentage needs few digits")]
fn share(used: u64, limit: u64) -> FieldValue<'static> {
    FieldValue::Percent(if limit == 0 { 0.0 } else { used as f64 * 100.0 / limit as f64 })
}
