//! What stands above single agents: pools, templates, operations.

use super::{DEPENDANTS, EVENTS, Lines, ago, config, drift, in_, pairs, short};
use crate::engine::documents::read;
use crate::engine::handle::{CommandError, Section};
use crate::engine::queries::Asker;
use crate::model::agent::Agent;
use crate::model::filter::Filter;
use crate::model::operation::{Operation, UndoInfo};
use crate::model::pool::Pool;
use crate::model::scaling::ScalingSpec;
use crate::model::schema::Collection;
use crate::model::template::Template;
use crate::model::time::Time;
use crate::ports::store::{Direction, Document, Query};

impl Asker<'_> {
    pub(super) async fn pool(
        &self,
        document: &Document,
        now: Time,
    ) -> Result<Vec<Section>, CommandError> {
        let pool: Pool = read(document)?;
        let mut spec = Lines::new("Spec");
        spec.add("id", &document.key);
        spec.add("description", &pool.description);
        spec.add("tenant", &pool.tenant);
        spec.add("labels", pairs(pool.labels.iter()));
        if let Some(id) = &pool.template_id {
            let template = self.get::<Template>(Collection::AgentTemplates, id.as_str()).await?;
            spec.add("template", drift(template.as_ref(), id.as_str(), &pool.template_version));
        }
        spec.add("version before", &pool.previous_version);
        spec.add("desired", format!("{} ({} to {})", pool.desired, pool.min, pool.max));
        let update = &pool.update;
        spec.add(
            "update",
            format!("at most {} more and {} away", update.max_surge, update.max_unavailable),
        );
        if pool.paused {
            spec.add("paused", "yes: members claim no messages");
        }
        let mut scaling = Lines::new("Scaling");
        let plain = serde_json::to_value(ScalingSpec::default()).unwrap_or_default();
        let rules = serde_json::to_value(&pool.scaling).unwrap_or_default();
        for (name, value) in rules.as_object().into_iter().flatten() {
            if name == "mode" || plain.get(name) != Some(value) {
                scaling.add(name, short(value));
            }
        }
        if let Some(until) = pool.scaling.hold_until.filter(|at| *at > now) {
            scaling.add("held", format!("the autoscaler waits {}", in_(now, until)));
        }
        for (name, value) in pool.status.last_decision.as_object().into_iter().flatten() {
            scaling.add(&format!("last decision {name}"), short(value));
        }
        let mut state = Lines::new("State");
        let status = &pool.status;
        state.add("ready", format!("{} of {}", status.ready, pool.desired));
        state.add("on this version", format!("{} of {}", status.updated, status.total));
        state.add("unhealthy", status.unhealthy);
        state.add("pending", status.pending);
        state.add("reason", &status.reason);
        if status.halted {
            state.add("update", "halted after a failed batch");
        }
        if pool.deleting {
            state.add("deletion", "under way: its agents are drained first");
        }
        state.maybe("removed for good", pool.purge_at.map(|at| at.to_string()));
        state.add("created", format!("{} by {}", pool.created_at, pool.created_by));
        let mut members = Lines::new("Agents");
        let filter = Filter::And(vec![
            Filter::eq("pool_id", document.key.as_str()),
            Filter::ne("phase", "deleted"),
        ]);
        let query = Query { limit: DEPENDANTS, ..Query::new(Collection::Agents, filter) };
        for document in self.ctx.store.query(query).await?.documents {
            let agent: Agent = read(&document)?;
            let (phase, health) = (agent.phase, agent.health.status);
            members.add(&agent.name, format!("{phase}, {health}, {}", agent.template_version));
        }
        Ok(vec![spec.0, scaling.0, state.0, members.0])
    }

    pub(super) async fn template(
        &self,
        document: &Document,
        now: Time,
    ) -> Result<Vec<Section>, CommandError> {
        let template: Template = read(document)?;
        let mut spec = Lines::new("Spec");
        spec.add("id", &document.key);
        spec.add("version", &template.version);
        spec.add("type", &template.kind);
        spec.add("description", &template.description);
        spec.add("labels", pairs(template.labels.iter()));
        spec.add("tags", template.tags.join(", "));
        config(&mut spec, &template.configuration);
        spec.add("created", format!("{} by {}", template.created_at, template.created_by));
        spec.add("updated", format!("{} ago", ago(now, template.updated_at)));
        let mut versions = Lines::new("Versions");
        let query = Query {
            sort: vec![("updated_at".into(), Direction::Descending)],
            limit: EVENTS,
            ..Query::new(
                Collection::TemplateVersions,
                Filter::eq("template_id", document.key.as_str()),
            )
        };
        for row in self.ctx.store.query(query).await?.documents {
            let text = |name: &str| row.body.get(name).map(short).unwrap_or_default();
            versions.add(&text("version"), text("updated_at"));
        }
        let mut users = Lines::new("Used by");
        let (named, all) = self.resolver.template_users(document.key.as_str()).await?;
        for user in &named {
            if let Some((noun, name)) = user.split_once(' ') {
                users.add(noun, name);
            }
        }
        if all > named.len() as u64 {
            users.add("and", format!("{} more", all - named.len() as u64));
        }
        Ok(vec![spec.0, versions.0, users.0])
    }
}

pub(super) fn operation(document: &Document, now: Time) -> Result<Vec<Section>, CommandError> {
    let it: Operation = read(document)?;
    let mut lines = Lines::new("Operation");
    lines.add("id", &document.key);
    lines.add("what", &it.title);
    lines.add("status", it.status);
    lines.add("message", &it.message);
    lines.add("by", &it.actor);
    lines.add("reason", &it.reason);
    lines.add("tier", u8::from(it.tier));
    lines.add("begun", format!("{} ago", ago(now, it.created_at)));
    lines.maybe("took", it.finished_at.map(|at| ago(at, it.created_at)));
    lines.add("steps", format!("{} done, {} failed, of {}", it.done, it.failed, it.steps.len()));
    lines.add(
        "undo",
        match (&it.undone_by, &it.undo) {
            (Some(by), _) => format!("undone by {by}"),
            (None, UndoInfo::Never { why }) => {
                format!("not possible: {why}")
            }
            (None, UndoInfo::By { note, .. } | UndoInfo::Restore { note, .. }) => note.clone(),
        },
    );
    let mut steps = Lines::new("Steps");
    for step in it.steps.iter().take(100) {
        let said =
            if step.message.is_empty() { String::new() } else { format!(": {}", step.message) };
        steps.add(
            &format!("{} {}", step.action, step.target.name),
            format!("{}{said}", step.status),
        );
    }
    Ok(vec![lines.0, steps.0])
}
