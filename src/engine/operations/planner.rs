//! Makes the plan of a command from what is stored now. Reads only; the same facts give the same plan.

use super::draft::Draft;
use super::resolve::{Resolver, refused};
use crate::engine::context::Context;
use crate::engine::handle::CommandError;
use crate::model::access::{Actor, Right};
use crate::model::agent::AgentConfig;
use crate::model::agent::intent::Intent;
use crate::model::plan::{Command, Noun, Plan, Targets};
use crate::model::template::FieldError;
use crate::model::time::Time;

/// Plans for one actor at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planner<'a> {
    pub ctx: &'a Context,
    pub resolver: Resolver<'a>,
    pub actor: &'a Actor,
    pub now: Time,
    /// The plan that is being confirmed: where a choice is free, this plan's choice is kept.
    pub prefer: Option<&'a Plan>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(ctx: &'a Context, actor: &'a Actor, prefer: Option<&'a Plan>) -> Self {
        Self { ctx, resolver: Resolver { ctx, actor }, actor, now: ctx.clock.now(), prefer }
    }

    pub(crate) async fn draft(&self, command: &Command) -> Result<Draft, CommandError> {
        let wish = |intent, targets| self.wish(intent, targets, None);
        match command {
            Command::Apply { manifests } => self.apply(manifests).await,
            Command::Edit { noun, name, base, fields } => {
                self.edit(*noun, name, base, fields).await
            }
            Command::Deploy { template, version, name, pool, labels, overrides } => {
                let wanted =
                    super::apply::Wanted { template, version, name, pool, labels, overrides };
                self.deploy(wanted).await
            }
            Command::Scale { pool, to, hold } => self.scale(pool, *to, *hold).await,
            Command::ScalePools { pools, to, hold } => self.scale_pools(pools, *to, *hold).await,
            Command::Restart { targets } => wish(Intent::Restart, targets).await,
            Command::Pause { targets } => wish(Intent::Pause, targets).await,
            Command::Resume { targets } => wish(Intent::Resume, targets).await,
            Command::Drain { targets, deadline } => {
                self.wish(Intent::Drain, targets, *deadline).await
            }
            Command::Stop { targets } => wish(Intent::Stop, targets).await,
            Command::Start { targets } => wish(Intent::Start, targets).await,
            Command::Delete { targets } => self.delete(targets).await,
            Command::CloneTemplate { template, name } => self.clone_template(template, name).await,
            Command::SetTemplate { pool, version } => {
                self.set_template(pool, version.as_deref()).await
            }
            Command::Rollback { pool } => self.rollback(pool).await,
            Command::Send { message } => self.send(message).await,
            Command::Publish { publisher, event, kind, payload, ttl } => {
                self.publish(super::messages::Announced {
                    publisher,
                    event,
                    kind,
                    payload,
                    ttl: *ttl,
                })
                .await
            }
            Command::Subscribe { subscriber, pattern, publisher, conditions } => {
                self.subscribe(subscriber, pattern, publisher.as_deref(), conditions).await
            }
            Command::Unsubscribe { subscription } => self.unsubscribe(subscription).await,
            Command::Requeue { messages } => self.requeue(messages).await,
            Command::Replay { messages } => self.replay(messages).await,
            Command::Purge { messages } => self.purge(messages).await,
            Command::Migrate => self.migrate().await,
            Command::Cordon { host, closed } => self.cordon(host, *closed).await,
            Command::DrainHost { host } => self.drain_host(host).await,
            Command::Adopt { workloads, end } => self.adopt(workloads, *end).await,
            Command::Undo { operation } => self.undo(operation).await,
        }
    }

    async fn delete(&self, targets: &Targets) -> Result<Draft, CommandError> {
        match targets.noun {
            Noun::Agent => self.wish(Intent::Delete, targets, None).await,
            Noun::Pool => self.delete_pools(targets).await,
            Noun::Template => self.delete_templates(&targets.names).await,
            Noun::Message => {
                Err(refused("messages are not deleted but purged, which can be undone"))
            }
            Noun::Subscription => {
                Err(refused("subscriptions are not deleted: end them with unsubscribe"))
            }
            Noun::Publication | Noun::Operation => {
                Err(refused(format!("a {} is history and cannot be deleted", targets.noun)))
            }
        }
    }

    /// What only a platform administrator may grant is refused to others, and pointed out to one.
    pub(crate) fn judge_privileges(
        &self,
        config: &AgentConfig,
        at: &str,
        draft: &mut Draft,
        faults: &mut Vec<FieldError>,
    ) {
        let found = config.privileges(at);
        if self.actor.role.may(Right::Administer) {
            draft.warnings.extend(found.iter().map(ToString::to_string));
        } else {
            faults.extend(found);
        }
        draft.warnings.extend(config.doubts());
    }
}
