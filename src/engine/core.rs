//! The engine behind the front door: what every surface asks is answered here, for one actor at a time. Changes go through
//! `operations`, reads through `queries`; nothing here touches a document itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::{broadcast, watch};

use crate::engine::authorize;
use crate::engine::context::Context;
use crate::engine::forward::{Forwarded, Forwards};
use crate::engine::handle::{CommandError, Consent, Description, Engine, Handle, Listing};
use crate::engine::operations::confirm;
use crate::engine::operations::resolve::stray;
use crate::engine::queries::{self, Asker};
use crate::engine::view::FleetView;
use crate::model::access::{Actor, Right};
use crate::model::event::Event;
use crate::model::id::{AgentId, OperationId};
use crate::model::operation::Operation;
use crate::model::plan::{Command, Noun, Plan};
use crate::ports::runtime::{ExecResult, LogLine, LogOptions, RuntimeError};
use crate::ports::site::{self, Shell, TerminalSize};
use crate::ports::store::{Bookmark, Document};

/// One process's engine, as surfaces hold it.
#[derive(Debug, Clone)]
pub struct Core {
    ctx: Arc<Context>,
    forwards: Arc<Forwards>,
}

impl Core {
    pub fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, forwards: Arc::default() }
    }

    /// The front door over this context.
    pub fn handle(ctx: Arc<Context>) -> Handle {
        Arc::new(Self::new(ctx))
    }

    /// An agent of theirs, or a workload without a record.
    async fn may_see(&self, actor: &Actor, agent: &AgentId) -> Result<(), CommandError> {
        match Asker::new(&self.ctx, actor).document(Noun::Agent, agent.as_str()).await {
            Ok(_) => Ok(()),
            Err(_) if stray(&self.ctx, actor, agent.as_str()).is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Engine for Core {
    fn views(&self) -> watch::Receiver<Arc<FleetView>> {
        self.ctx.shown.subscribe()
    }

    fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.ctx.events.subscribe()
    }

    async fn plan(&self, actor: &Actor, command: Command) -> Result<Plan, CommandError> {
        confirm::plan(&self.ctx, actor, command).await
    }

    async fn confirm(
        &self,
        actor: &Actor,
        plan: &Plan,
        consent: Consent,
    ) -> Result<OperationId, CommandError> {
        confirm::confirm(&self.ctx, actor, plan, &consent).await
    }

    async fn cancel(&self, actor: &Actor, operation: &OperationId) -> Result<(), CommandError> {
        confirm::cancel(&self.ctx, actor, operation).await
    }

    async fn operation(&self, operation: &OperationId) -> Result<Operation, CommandError> {
        queries::operation(&self.ctx, operation).await
    }

    async fn follow(
        &self,
        operation: &OperationId,
        timeout: Duration,
    ) -> Result<Operation, CommandError> {
        queries::follow(&self.ctx, operation, timeout).await
    }

    async fn document(
        &self,
        actor: &Actor,
        noun: Noun,
        name: &str,
    ) -> Result<Document, CommandError> {
        Asker::new(&self.ctx, actor).document(noun, name).await
    }

    async fn reveal(
        &self,
        actor: &Actor,
        noun: Noun,
        name: &str,
    ) -> Result<Document, CommandError> {
        authorize::allow(&self.ctx, actor, "reveal", Right::Manage).await?;
        let document = Asker::new(&self.ctx, actor).with_secrets(noun, name).await?;
        authorize::noted(&self.ctx, actor, "reveal", &document, &[]).await?;
        Ok(document)
    }

    async fn describe(
        &self,
        actor: &Actor,
        noun: Noun,
        name: &str,
    ) -> Result<Description, CommandError> {
        Asker::new(&self.ctx, actor).describe(noun, name).await
    }

    async fn list(
        &self,
        actor: &Actor,
        listing: Listing,
    ) -> Result<(Vec<Document>, Option<Bookmark>), CommandError> {
        Asker::new(&self.ctx, actor).list(listing).await
    }

    async fn logs(
        &self,
        actor: &Actor,
        agent: &AgentId,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, CommandError> {
        self.may_see(actor, agent).await?;
        Ok(self.ctx.runtime.logs(agent, options).await?)
    }

    async fn exec(
        &self,
        actor: &Actor,
        agent: &AgentId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, CommandError> {
        authorize::allow(&self.ctx, actor, "exec", Right::Operate).await?;
        let document = Asker::new(&self.ctx, actor).document(Noun::Agent, agent.as_str()).await?;
        authorize::noted(&self.ctx, actor, "exec", &document, command).await?;
        Ok(self.ctx.runtime.exec(agent, command, timeout).await?)
    }

    async fn site(&self, actor: &Actor, ask: site::Ask) -> Result<site::Answer, CommandError> {
        match &ask {
            site::Ask::Live(agent) => {
                self.may_see(actor, agent).await?;
            }
            site::Ask::Hosts | site::Ask::Host(_) | site::Ask::Namespaces => {
                authorize::beyond_tenants(actor, "look at hosts and namespaces")?;
            }
            // what we may do ourselves
            site::Ask::Allowances => {}
        }
        Ok(self.ctx.runtime.site(ask).await?)
    }

    async fn shell(
        &self,
        actor: &Actor,
        agent: &AgentId,
        command: &[String],
        size: TerminalSize,
    ) -> Result<Shell, CommandError> {
        authorize::allow(&self.ctx, actor, "shell", Right::Operate).await?;
        let document = Asker::new(&self.ctx, actor).document(Noun::Agent, agent.as_str()).await?;
        authorize::noted(&self.ctx, actor, "shell", &document, command).await?;
        Ok(self.ctx.runtime.shell(agent, command, size).await?)
    }

    async fn forward(
        &self,
        actor: &Actor,
        agent: &AgentId,
        local: Option<u16>,
        port: u16,
    ) -> Result<Forwarded, CommandError> {
        authorize::allow(&self.ctx, actor, "port-forward", Right::Operate).await?;
        let document = Asker::new(&self.ctx, actor).document(Noun::Agent, agent.as_str()).await?;
        authorize::noted(&self.ctx, actor, "port-forward", &document, &[port.to_string()]).await?;
        let name = document.body.get("name").and_then(serde_json::Value::as_str);
        let who = (agent.clone(), name.unwrap_or(agent.as_str()).to_owned());
        let (runtime, clock) = (self.ctx.runtime.clone(), &*self.ctx.clock);
        self.forwards.begin(runtime, clock, who, local, port).await
    }

    async fn unforward(&self, actor: &Actor, number: u64) -> Result<Forwarded, CommandError> {
        authorize::allow(&self.ctx, actor, "port-forward", Right::Operate).await?;
        let gone =
            || CommandError::Refused { message: format!("there is no forwarded port {number}") };
        self.forwards.end(number).ok_or_else(gone)
    }

    fn forwards(&self) -> Vec<Forwarded> {
        self.forwards.list()
    }
}

#[cfg(test)]
mod tests;
