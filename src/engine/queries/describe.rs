//! Everything worth knowing of one thing, in words. What others wrote is made safe here already.

mod groups;

use std::time::Duration;

use serde_json::Value;

use super::Asker;
use crate::engine::documents::{self, read};
use crate::engine::handle::{CommandError, Description, Section};
use crate::engine::operations::resolve::{no_record, stray};
use crate::engine::view::AgentRow;
use crate::model::agent::{Agent, AgentConfig};
use crate::model::event::Event;
use crate::model::filter::Filter;
use crate::model::health::AgentHealth;
use crate::model::id::{AgentId, PoolId};
use crate::model::message::MessageStatus;
use crate::model::operation::Operation;
use crate::model::plan::Noun;
use crate::model::quantity::{Bytes, Cpu};
use crate::model::schema::Collection;
use crate::model::template::Template;
use crate::model::text::Safe;
use crate::model::time::{Time, span};
use crate::ports::store::{Direction, Document, Key, Query, StoreError, chain};

/// Whoever describes an agent waits for its runtime no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
const EVENTS: usize = 20;
const OPERATIONS: usize = 5;
const DEPENDANTS: usize = 50;
/// Longest value of a line that shows raw JSON, in characters.
const LONGEST_VALUE: usize = 400;

/// A section as it is filled: empty values are left out.
struct Lines(Section);

impl Lines {
    fn new(title: &str) -> Self {
        Self(Section { title: title.to_owned(), lines: Vec::new() })
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read like the lines they make")]
    fn add(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        if !value.is_empty() {
            let (name, value) = (Safe::new(name).to_string(), Safe::new(&value).to_string());
            self.0.lines.push((name, value));
        }
    }

    fn maybe(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

impl Asker<'_> {
    pub(crate) async fn describe(
        &self,
        noun: Noun,
        name: &str,
    ) -> Result<Description, CommandError> {
        let now = self.ctx.clock.now();
        let document = match self.document(noun, name).await {
            Ok(document) => document,
            Err(error) if noun == Noun::Agent => {
                return match stray(self.ctx, self.actor, name) {
                    Some(row) => Ok(self.stray(&row, now).await),
                    None => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        let mut sections = match noun {
            Noun::Agent => self.agent(&document, now).await?,
            Noun::Pool => self.pool(&document, now).await?,
            Noun::Template => self.template(&document, now).await?,
            Noun::Operation => groups::operation(&document, now)?,
            Noun::Message | Noun::Subscription | Noun::Publication => vec![fields(&document)],
        };
        if noun != Noun::Operation {
            sections.push(self.operations(&document, now).await?);
        }
        sections.push(self.events(noun, &document, now).await?);
        sections.retain(|section| !section.lines.is_empty());
        let called = document.body.get("name").and_then(Value::as_str).unwrap_or(name);
        Ok(Description { title: format!("{noun} {}", Safe::new(called)), sections })
    }

    /// What runs without a record, as its runtime knows it.
    async fn stray(&self, row: &AgentRow, now: Time) -> Description {
        let mut state = Lines::new("State");
        state.add("id", &row.id);
        state.add("phase", format!("{}, for {}", row.phase, ago(now, row.phase_since)));
        state.add("reason", &row.reason);
        state.add("run", row.incarnation);
        state.add("restarts", row.restarts());
        state.add("node", &row.node);
        state.add("pool", &row.pool_name);
        state.add("template", &row.template_name);
        let mut record = Lines::new("Record");
        record.add("none", no_record(row));
        let mut sections = vec![state.0, record.0, self.runtime(row.id.as_str()).await];
        sections.retain(|section| !section.lines.is_empty());
        Description { title: format!("{} {}", Noun::Agent, row.name), sections }
    }

    async fn agent(&self, document: &Document, now: Time) -> Result<Vec<Section>, CommandError> {
        let agent = documents::agent(document)?;
        let mut spec = Lines::new("Spec");
        spec.add("id", &document.key);
        spec.add("type", &agent.kind);
        spec.add("tenant", &agent.tenant);
        let pool = agent.pool_id.as_ref().map(PoolId::as_str);
        spec.maybe("pool", self.name_of(Collection::AgentPools, pool).await?);
        if let Some(id) = &agent.template_id {
            let template = self.get::<Template>(Collection::AgentTemplates, id.as_str()).await?;
            spec.add("template", drift(template.as_ref(), id.as_str(), &agent.template_version));
        }
        spec.add("labels", pairs(agent.labels.iter()));
        spec.add("desired", agent.desired);
        if agent.pinned {
            spec.add("pinned", "yes: never ended when its pool shrinks");
        }
        config(&mut spec, &agent.config);
        let mut state = Lines::new("State");
        state.add("phase", format!("{}, for {}", agent.phase, ago(now, agent.phase_since)));
        state.add("reason", &agent.reason);
        let wanted = agent.wanted_incarnation;
        state.add(
            "run",
            match agent.incarnation {
                run if run < wanted => format!("{run}, {wanted} is wanted"),
                run => run.to_string(),
            },
        );
        state.add("generation", agent.generation);
        state.maybe("up for", agent.running_since.map(|at| ago(now, at)));
        if agent.failures > 0 {
            state.add("failures", format!("{} since its last clean run", agent.failures));
        }
        state.maybe("next try", agent.retry_at.filter(|at| *at > now).map(|at| in_(now, at)));
        state.maybe("drain ends", agent.drain_deadline.map(|at| at.to_string()));
        state.maybe("removed for good", agent.purge_at.map(|at| at.to_string()));
        let it = &agent.deployment;
        state.add("runtime", &it.runtime);
        state.add("workload", &it.workload);
        state.add("node", &it.node);
        state.maybe("pid", it.pid);
        state.add("pod", &it.pod_name);
        state.add("created", format!("{} by {}", agent.created_at, agent.created_by));
        let mut sections = vec![spec.0, state.0, self.health(document, &agent, now).await?];
        sections.push(self.runtime(document.key.as_str()).await);
        sections.push(self.queue(document.key.as_str(), now).await?);
        sections.push(self.subscriptions(document.key.as_str()).await?);
        sections.push(self.dependants(document.key.as_str()).await?);
        Ok(sections)
    }

    async fn health(
        &self,
        document: &Document,
        agent: &Agent,
        now: Time,
    ) -> Result<Section, CommandError> {
        let mut lines = Lines::new("Health");
        lines.add(
            "status",
            format!("{}, for {}", agent.health.status, ago(now, agent.health.since)),
        );
        lines.add("message", &agent.health.message);
        let Some(health) =
            self.get::<AgentHealth>(Collection::AgentHealth, document.key.as_str()).await?
        else {
            lines.add("heartbeat", "never");
            return Ok(lines.0);
        };
        lines.add(
            "heartbeat",
            match health.last_heartbeat {
                Some(at) => format!(
                    "{} ago, every {} expected",
                    ago(now, at),
                    span::format(agent.config.heartbeat.interval)
                ),
                None => "never".to_owned(),
            },
        );
        if let Some(usage) = health.usage {
            let of =
                |limit: Option<String>| limit.map(|it| format!(" of {it}")).unwrap_or_default();
            let limits = &agent.config.resources.limits;
            let cpu = of(limits.cpu.map(|it| it.to_string()));
            let memory = of(limits.memory.map(|it| it.to_string()));
            lines.add("cpu", format!("{}{cpu}", Cpu(usage.cpu_millis)));
            lines.add("memory", format!("{}{memory}", Bytes(usage.memory_bytes)));
            lines.add("sampled", format!("{} ago", ago(now, usage.at)));
        }
        for (name, value) in &health.report {
            lines.add(&format!("reports {name}"), short(value));
        }
        if health.checked_at > Time::EPOCH {
            lines.add("checked", format!("{} ago", ago(now, health.checked_at)));
        }
        if health.streak > 0 {
            lines.add("contrary checks", format!("{} in a row", health.streak));
        }
        Ok(lines.0)
    }

    /// What the runtime knows besides, as of now.
    async fn runtime(&self, agent: &str) -> Section {
        let mut lines = Lines::new("Runtime");
        let Ok(id) = AgentId::new(agent) else { return lines.0 };
        match tokio::time::timeout(PATIENCE, self.ctx.runtime.explain(&id)).await {
            Ok(Ok(told)) => told.into_iter().for_each(|(name, value)| lines.add(&name, value)),
            Ok(Err(error)) => lines.add("not told", chain(&error)),
            Err(_) => lines.add("not told", "no answer in time"),
        }
        lines.0
    }

    async fn queue(&self, agent: &str, now: Time) -> Result<Section, CommandError> {
        let mut lines = Lines::new("Queue");
        let tallies = self
            .ctx
            .store
            .tally(
                Collection::AgentMessages,
                Filter::eq("to_agent_id", agent),
                &["status".into()],
                Some(&"created_at".into()),
            )
            .await?;
        for tally in tallies {
            let status = tally.values.first().and_then(Value::as_str).unwrap_or("unknown");
            let oldest = tally.least.as_str().and_then(|text| text.parse::<Time>().ok());
            let waits = status == MessageStatus::Pending.name();
            let oldest = oldest.filter(|_| waits).map(|at| format!(", oldest {}", ago(now, at)));
            lines.add(status, format!("{}{}", tally.count, oldest.unwrap_or_default()));
        }
        Ok(lines.0)
    }

    async fn subscriptions(&self, agent: &str) -> Result<Section, CommandError> {
        let mut lines = Lines::new("Subscriptions");
        let filter =
            Filter::And(vec![Filter::eq("subscriber_agent_id", agent), Filter::eq("active", true)]);
        let query = Query { limit: 20, ..Query::new(Collection::AgentSubscriptions, filter) };
        for document in self.ctx.store.query(query).await?.documents {
            let text = |name: &str| document.body.get(name).map(short).unwrap_or_default();
            lines.add(
                &text("event_pattern"),
                format!("{} matched, {}", text("matched"), document.key),
            );
        }
        Ok(lines.0)
    }

    async fn dependants(&self, agent: &str) -> Result<Section, CommandError> {
        let mut lines = Lines::new("Dependencies");
        let me = format!("agents/{agent}");
        for (mine, theirs, word) in [("_from", "_to", "needs"), ("_to", "_from", "needed by")] {
            let filter = Filter::eq(mine, me.as_str());
            let query = Query { limit: DEPENDANTS, ..Query::new(Collection::Dependencies, filter) };
            for edge in self.ctx.store.query(query).await?.documents {
                let text = |name: &str| edge.body.get(name).map(short).unwrap_or_default();
                let id = text(theirs);
                let id = id.trim_start_matches("agents/");
                let name = self.name_of(Collection::Agents, Some(id)).await?;
                let kind = text("dependency_type");
                lines.add(word, format!("{} ({kind})", name.unwrap_or_else(|| id.to_owned())));
            }
        }
        Ok(lines.0)
    }

    async fn operations(&self, document: &Document, now: Time) -> Result<Section, CommandError> {
        let mut lines = Lines::new("Operations");
        let query = Query {
            sort: vec![("created_at".into(), Direction::Descending)],
            limit: OPERATIONS,
            ..Query::new(Collection::Operations, Filter::eq("target", document.key.as_str()))
        };
        for document in self.ctx.store.query(query).await?.documents {
            let it: Operation = read(&document)?;
            let when = ago(now, it.created_at);
            lines.add(&it.title, format!("{}, {when} ago, by {}", it.status, it.actor));
        }
        Ok(lines.0)
    }

    async fn events(
        &self,
        noun: Noun,
        document: &Document,
        now: Time,
    ) -> Result<Section, CommandError> {
        let mut lines = Lines::new("Events");
        let collection = crate::engine::operations::resolve::collection(noun);
        let query = Query {
            sort: vec![("seq".into(), Direction::Descending)],
            limit: EVENTS,
            ..Query::new(
                Collection::Events,
                Filter::And(vec![
                    Filter::eq("aggregate", collection.name()),
                    Filter::eq("aggregate_id", document.key.as_str()),
                ]),
            )
        };
        for document in self.ctx.store.query(query).await?.documents {
            let event: Event = read(&document)?;
            let when = ago(now, event.at);
            let reason =
                if event.reason.is_empty() { String::new() } else { format!(": {}", event.reason) };
            lines.add(&event.kind, format!("{when} ago, by {}{reason}", event.actor));
        }
        Ok(lines.0)
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        collection: Collection,
        id: &str,
    ) -> Result<Option<T>, CommandError> {
        match self.ctx.store.get(collection, &Key::new(id)?).await {
            Ok(document) => Ok(Some(read(&document)?)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The name of what has this id, or the id when it is gone.
    async fn name_of(
        &self,
        collection: Collection,
        id: Option<&str>,
    ) -> Result<Option<String>, CommandError> {
        let Some(id) = id else { return Ok(None) };
        let Ok(key) = Key::new(id) else { return Ok(Some(id.to_owned())) };
        match self.ctx.store.get(collection, &key).await {
            Ok(document) => {
                let name = document.body.get("name").and_then(Value::as_str).unwrap_or(id);
                Ok(Some(name.to_owned()))
            }
            Err(StoreError::NotFound { .. }) => Ok(Some(format!("{id} (gone)"))),
            Err(error) => Err(error.into()),
        }
    }
}

/// Any other document, field by field.
fn fields(document: &Document) -> Section {
    let mut lines = Lines::new("Fields");
    lines.add("id", &document.key);
    for (name, value) in &document.body {
        lines.add(name, short(value));
    }
    lines.0
}

fn config(lines: &mut Lines, config: &AgentConfig) {
    lines.add("image", &config.image);
    lines.add("command", config.command.join(" "));
    lines.add("args", config.args.join(" "));
    lines.add("env", pairs(config.env.iter()));
    for (name, list) in
        [("requests", &config.resources.requests), ("limits", &config.resources.limits)]
    {
        let cpu = list.cpu.map(|it| format!("cpu {it}"));
        let memory = list.memory.map(|it| format!("memory {it}"));
        lines.add(name, [cpu, memory].into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    let security = &config.security;
    lines.maybe("runs as user", security.run_as_user);
    lines.maybe("runs as group", security.run_as_group);
    if security.privileged {
        lines.add("privileged", "yes");
    }
    lines.add("poll class", config.poll_class);
    lines.add("grace", span::format(config.grace));
}

fn drift(template: Option<&Template>, id: &str, version: &str) -> String {
    match template {
        None => format!("{id} {version} (gone)"),
        Some(it) if it.version == version => format!("{} {version}", it.name),
        Some(it) => format!("{} {version} (drift: the newest is {})", it.name, it.version),
    }
}

fn pairs<'p>(pairs: impl Iterator<Item = (&'p String, &'p String)>) -> String {
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().take(LONGEST_VALUE).collect(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string().chars().take(LONGEST_VALUE).collect()
        }
    }
}

/// How long ago, in whole seconds.
fn ago(now: Time, at: Time) -> String {
    span::format(Duration::from_secs(now.since(at).as_secs()))
}

fn in_(now: Time, at: Time) -> String {
    format!("in {}", ago(at, now))
}
