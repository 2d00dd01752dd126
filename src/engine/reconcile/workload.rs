//! What the runtime is asked to run for one agent.

use std::collections::BTreeMap;

use crate::engine::context::Context;
use crate::model::agent::Agent;
use crate::model::agent::rules::SECRET_PREFIX;
use crate::model::id::AgentId;
use crate::ports::runtime::Workload;

/// The workload of the document's incarnation, with what the agent needs to find itself and the store.
pub fn of(ctx: &Context, id: &AgentId, agent: &Agent) -> Workload {
    let mut env = BTreeMap::from([
        ("CVXC_AGENT_ID".to_owned(), id.to_string()),
        ("CVXC_AGENT_NAME".to_owned(), agent.name.clone()),
        ("CVXC_INCARNATION".to_owned(), agent.incarnation.to_string()),
    ]);
    if !ctx.settings.agent_store.is_empty() {
        env.insert("CVXC_STORE".to_owned(), ctx.settings.agent_store.clone());
    }
    if !ctx.settings.agent_secret.is_empty() {
        let secret = format!("{SECRET_PREFIX}{}", ctx.settings.agent_secret);
        env.insert("CVXC_DATABASE_PASSWORD".to_owned(), secret);
    }
    Workload {
        agent: id.clone(),
        name: agent.name.clone(),
        kind: agent.kind.clone(),
        pool: agent.pool_id.as_ref().map(ToString::to_string),
        labels: agent.labels.clone(),
        incarnation: agent.incarnation,
        config: agent.config.clone(),
        env,
        notes: notes(agent),
    }
}

fn notes(agent: &Agent) -> BTreeMap<String, String> {
    let template = agent
        .template_id
        .as_ref()
        .map(|template| ("template".to_owned(), format!("{template}@{}", agent.template_version)));
    template.into_iter().collect()
}
