//! What a headless demo prints: counted from the journal and the store at its end, never from a script.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use strum::IntoEnumIterator;

use super::fail::Fail;
use crate::boot::Opened;
use crate::engine::handle::Listing;
use crate::engine::journal::stranger;
use crate::model::agent::Phase;
use crate::model::event::Event;
use crate::model::filter::{Field, Filter};
use crate::model::message::{Message, MessageStatus};
use crate::model::schema::Collection;
use crate::ports::store::Document;

/// The object of `demo -o json`.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub agents: BTreeMap<String, u64>,
    pub messages: Messages,
    pub publications: Publications,
    pub recoveries: u64,
    pub scalings: Vec<Scaling>,
    pub operations: BTreeMap<String, u64>,
    pub leader: Leader,
    pub events: u64,
    /// Changes that no program of this fleet made.
    pub external: u64,
    pub leftover_processes: usize,
    /// What a full tour should have shown and did not.
    pub missing: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct Messages {
    pub sent: u64,
    pub delivered: u64,
    pub dead: u64,
    /// From being sent to being handed to a receiver, over the newest 5,000 delivered; waiting in a backlog counts.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

#[derive(Debug, Default, Serialize)]
pub struct Publications {
    pub published: u64,
    pub matched: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Scaling {
    pub pool: String,
    pub from: u64,
    pub to: u64,
    pub reason: String,
}

#[derive(Debug, Default, Serialize)]
pub struct Leader {
    pub holder: String,
    pub epoch: u64,
    pub me: bool,
}

/// What the journal has told so far.
#[derive(Debug, Default)]
pub struct Tally {
    pub recoveries: u64,
    pub scalings: Vec<Scaling>,
    pub external: u64,
}

impl Tally {
    pub fn note(&mut self, event: &Event) {
        match event.kind.as_str() {
            "agent.recovered" => self.recoveries += 1,
            stranger::KIND => self.external += 1,
            "pool.scaled" if event.actor == "loop:autoscale" => self.scalings.push(Scaling {
                pool: event.subject.clone(),
                from: desired(&event.inverse),
                to: desired(&event.patch),
                reason: event.reason.clone(),
            }),
            _ => {}
        }
    }
}

/// The value that a patch gives to `desired`.
fn desired(patch: &Value) -> u64 {
    let ops = patch.as_array().map(Vec::as_slice).unwrap_or_default();
    ops.iter()
        .find(|op| op["path"] == "/desired")
        .and_then(|op| op["value"].as_u64())
        .unwrap_or_default()
}

/// Counts from the whole journal.
///
/// # Errors
/// When the store cannot be read.
pub async fn recount(opened: &Opened) -> Result<Tally, Fail> {
    let mut events: Vec<Event> = Vec::new();
    for document in all(opened, Collection::Events, Filter::All, usize::MAX).await? {
        events.extend(serde_json::from_value(Value::Object(document.body)));
    }
    events.sort_by_key(|event| event.seq);
    let mut tally = Tally::default();
    for event in &events {
        tally.note(event);
    }
    Ok(tally)
}

async fn all(
    opened: &Opened,
    collection: Collection,
    filter: Filter,
    most: usize,
) -> Result<Vec<Document>, Fail> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let listing = Listing {
            collection,
            filter: filter.clone(),
            limit: 1_000.min(most - found.len()),
            after,
        };
        let (page, next) = opened.handle.list(&opened.actor, listing).await?;
        found.extend(page);
        after = next;
        if after.is_none() || found.len() >= most {
            return Ok(found);
        }
    }
}

/// # Errors
/// When the store cannot be read.
pub async fn make(opened: &Opened) -> Result<Report, Fail> {
    let tally = recount(opened).await?;
    let store = &opened.context.store;
    let view = opened.handle.views().borrow().clone();
    let status = |status: MessageStatus| {
        Field::new("status")
            .map(|field| Filter::Eq(field, status.name().into()))
            .map_err(|e| Fail::failed(e.to_string()))
    };
    let delivered = status(MessageStatus::Delivered)?;
    let mut waits: Vec<f64> = all(opened, Collection::AgentMessages, delivered.clone(), 5_000)
        .await?
        .into_iter()
        .filter_map(|document| serde_json::from_value::<Message>(Value::Object(document.body)).ok())
        .filter_map(|message| {
            Some(message.delivered_at?.since(message.created_at).as_secs_f64() * 1_000.0)
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    let mut operations: BTreeMap<String, u64> = BTreeMap::new();
    for row in view.operations.iter() {
        *operations.entry(row.status.to_string()).or_default() += 1;
    }
    Ok(Report {
        agents: Phase::iter().map(|phase| (phase.to_string(), view.totals.phase(phase))).collect(),
        messages: Messages {
            sent: store.count(Collection::AgentMessages, Filter::All).await?,
            delivered: store.count(Collection::AgentMessages, delivered).await?,
            dead: store.count(Collection::AgentMessages, status(MessageStatus::Dead)?).await?,
            p50_ms: quantile(&waits, 0.50),
            p99_ms: quantile(&waits, 0.99),
        },
        publications: Publications {
            published: store.count(Collection::AgentPublications, Filter::All).await?,
            matched: view.subscriptions.iter().map(|row| row.matched).sum(),
        },
        recoveries: tally.recoveries,
        scalings: tally.scalings,
        operations,
        leader: Leader {
            holder: view.system.leader.holder.to_string(),
            epoch: view.system.leader.epoch,
            me: view.system.leader.me,
        },
        events: store.count(Collection::Events, Filter::All).await?,
        external: tally.external,
        leftover_processes: 0,
        missing: Vec::new(),
    })
}

/// The value below which a share `q` of `sorted` lies.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map(|value| (value * 100.0).round() / 100.0)
}

impl Report {
    /// The tour in words.
    pub fn lines(&self) -> Vec<String> {
        let counts = |map: &BTreeMap<String, u64>| {
            let parts: Vec<String> = map
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(name, n)| format!("{n} {name}"))
                .collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        let millis =
            |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value} ms"));
        let mut lines = vec![
            String::new(),
            format!("agents        {}", counts(&self.agents)),
            format!(
                "messages      {} sent, {} delivered, {} dead; waited p50 {}, p99 {} (backlog included)",
                self.messages.sent,
                self.messages.delivered,
                self.messages.dead,
                millis(self.messages.p50_ms),
                millis(self.messages.p99_ms)
            ),
            format!(
                "publications  {} published, {} matched",
                self.publications.published, self.publications.matched
            ),
            format!("recoveries    {}", self.recoveries),
        ];
        for scaling in &self.scalings {
            let step = format!("{} → {}", scaling.from, scaling.to);
            // the autoscaler's reason begins with the same step
            let reason = scaling.reason.strip_prefix(&step).unwrap_or(&scaling.reason);
            let reason = reason.trim_start_matches(": ");
            lines.push(format!("scaling       {} {step}: {reason}", scaling.pool));
        }
        lines.push(format!("operations    {}", counts(&self.operations)));
        lines.push(format!("leader        {} (epoch {})", self.leader.holder, self.leader.epoch));
        lines.push(format!("events        {}", self.events));
        lines.push(format!("left over     {} processes", self.leftover_processes));
        for missing in &self.missing {
            lines.push(format!("not seen      {missing}"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_scaling_is_read_from_its_event() {
        let event = Event {
            kind: "pool.scaled".into(),
            subject: "triage".into(),
            actor: "loop:autoscale".into(),
            patch: json!([{"op": "replace", "path": "/desired", "value": 5}]),
            inverse: json!([{"op": "replace", "path": "/desired", "value": 2}]),
            reason: "queue".into(),
            ..Event::default()
        };
        let mut tally = Tally::default();
        tally.note(&event);
        tally.note(&Event { actor: "somebody".into(), ..event });
        assert_eq!(
            tally.scalings,
            [Scaling { pool: "triage".into(), from: 2, to: 5, reason: "queue".into() }]
        );
    }

    #[test]
    fn a_scaling_is_told_with_its_step_once() {
        let scaling = Scaling {
            pool: "triage".into(),
            from: 2,
            to: 3,
            reason: "2 → 3: queue 30/10 per agent → 3".into(),
        };
        let report = Report { scalings: vec![scaling], ..Report::default() };
        let line = report.lines().into_iter().find(|line| line.starts_with("scaling")).unwrap();
        assert_eq!(line, "scaling       triage 2 → 3: queue 30/10 per agent → 3");
    }

    #[test]
    fn quantiles_of_few_values_are_among_them() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0], 0.99), Some(1.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), Some(3.0));
    }
}
