//! Commands in, documents out: every verb planned, confirmed and undone over a store in memory, with nobody leading.

mod applying;
mod asking;
mod confirming;
mod migrating;
mod undoing;

use serde_json::{Map, Value, json};

use super::*;
use crate::engine::testing::World;
use crate::model::access::Role;
use crate::model::plan::{Manifest, Targets};
use crate::model::schema::Collection;
use crate::ports::store::Body;

/// One engine, one operator, and shorthands for what they do.
struct Desk {
    world: World,
    core: Core,
    me: Actor,
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}

fn manifest(noun: Noun, name: &str, fields: Value) -> Manifest {
    Manifest { noun, name: name.into(), fields: object(fields), source: String::new() }
}

fn worker() -> Manifest {
    manifest(
        Noun::Template,
        "worker",
        json!({"type": "worker", "labels": {"tier": "gold"}, "configuration": {
            "command": ["cvxc", "agent", "run"], "env": {"LOG_LEVEL": "info"},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}}),
    )
}

impl Desk {
    fn new() -> Self {
        let world = World::new();
        let core = Core::new(world.ctx.clone());
        Self { world, core, me: Actor::local("ann@desk") }
    }

    fn as_role(&self, role: Role) -> Self {
        let me = Actor { name: "bob@desk".into(), role, tenant: None };
        Self { world: self.world.clone(), core: self.core.clone(), me }
    }

    async fn plan(&self, command: Command) -> Result<Plan, CommandError> {
        self.core.plan(&self.me, command).await
    }

    /// Plans and confirms, with the word that the plan asks for.
    async fn run(&self, command: Command) -> Result<(OperationId, Operation), CommandError> {
        let plan = self.plan(command).await?;
        self.confirm(&plan).await
    }

    async fn confirm(&self, plan: &Plan) -> Result<(OperationId, Operation), CommandError> {
        let consent = Consent { typed: plan.confirm_word.clone(), reason: "because".into() };
        let id = self.core.confirm(&self.me, plan, consent).await?;
        let operation = self.core.operation(&id).await?;
        Ok((id, operation))
    }

    async fn undo(&self, id: &OperationId) -> Result<(OperationId, Operation), CommandError> {
        self.run(Command::Undo { operation: id.to_string() }).await
    }

    async fn apply(&self, manifests: Vec<Manifest>) -> (OperationId, Operation) {
        self.run(Command::Apply { manifests }).await.unwrap()
    }

    /// A template and a pool of it with members that run, as the leader would have made them.
    async fn with_pool(&self, members: usize) -> (String, Vec<String>) {
        let pool = manifest(
            Noun::Pool,
            "triage",
            json!({"template": "worker", "desired": members, "min": 0, "max": 200,
                   "update": {"max_unavailable": 3}}),
        );
        self.apply(vec![worker(), pool]).await;
        let pool = self.id(Noun::Pool, "triage").await;
        let template = self.id(Noun::Template, "worker").await;
        let mut ids = Vec::new();
        for i in 0..members {
            let id = format!("a{i:03}");
            self.member(&id, &pool, &template, "running").await;
            ids.push(id);
        }
        (pool, ids)
    }

    async fn member(&self, id: &str, pool: &str, template: &str, phase: &str) {
        let mut agent = crate::engine::testing::agent(id, phase);
        agent["pool_id"] = json!(pool);
        agent["template_id"] = json!(template);
        agent["template_version"] = json!("1.0.0");
        self.world.put(Collection::Agents, id, agent).await;
    }

    async fn agent(&self, id: &str, phase: &str, desired: &str) {
        let mut agent = crate::engine::testing::agent(id, phase);
        agent["desired"] = json!(desired);
        self.world.put(Collection::Agents, id, agent).await;
    }

    async fn id(&self, noun: Noun, name: &str) -> String {
        self.core.document(&self.me, noun, name).await.unwrap().key.to_string()
    }

    async fn body(&self, collection: Collection, key: &str) -> Body {
        self.world.body(collection, key).await.unwrap()
    }

    async fn field(&self, collection: Collection, key: &str, pointer: &str) -> Value {
        let body = Value::Object(self.body(collection, key).await);
        body.pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    /// Every document of the collections that operators change, without what changes with every write.
    async fn picture(&self) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        for collection in [
            Collection::Agents,
            Collection::AgentPools,
            Collection::AgentTemplates,
            Collection::AgentMessages,
            Collection::AgentSubscriptions,
        ] {
            let listing = Listing {
                collection,
                filter: crate::model::filter::Filter::All,
                limit: 10_000,
                after: None,
            };
            let (documents, _) = self.core.list(&self.me, listing).await.unwrap();
            for document in documents {
                let mut body = document.body;
                for passing in [
                    "generation",
                    "updated_at",
                    crate::engine::journal::seal::FIELD,
                    "referenced_at",
                    "version",
                    "wanted_incarnation",
                    "previous_version",
                    "purge_at",
                    "dead_at",
                    "seq",
                ] {
                    body.shift_remove(passing);
                }
                if let Some(scaling) = body.get_mut("scaling").and_then(Value::as_object_mut) {
                    scaling.shift_remove("hold_until");
                }
                found.push((document.key.to_string(), Value::Object(body)));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

fn said<T: std::fmt::Debug>(answer: Result<T, CommandError>) -> String {
    answer.unwrap_err().to_string()
}

fn pause(id: &str) -> Command {
    Command::Pause { targets: Targets::agents([id]) }
}

fn scale(to: u32) -> Command {
    Command::Scale { pool: "triage".into(), to, hold: true }
}
