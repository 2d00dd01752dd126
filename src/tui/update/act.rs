//! From a key or a verb to the command that the engine is asked to plan. Names of things become ids here, from what is on
//! the screen, and stay those ids whatever moves meanwhile.

use std::time::Duration;

use super::Turn;
use super::plan::DRY_RUN;
use crate::engine::view::PoolRow;
use crate::model::id::AgentId;
use crate::model::message::{DEFAULT_ATTEMPTS, DEFAULT_PRIORITY, DEFAULT_TTL, NewMessage};
use crate::model::plan::{Command, Noun, TargetRef, Targets};
use crate::model::scaling::Mode;
use crate::model::text::Safe;
use crate::model::time::span;
use crate::tui::action::Action;
use crate::tui::command::{Verb, noun};
use crate::tui::pages::TableKind;
use crate::tui::ui::Ask;
use crate::tui::widgets::plan::{FormField, PlanText};

impl Turn<'_> {
    /// An act on the marked or selected rows.
    pub(super) fn fleet_action(&mut self, action: Action) {
        if let Some(why) = self.forbids().or_else(|| self.denies(action)) {
            return self.refuse(&why);
        }
        if action == Action::Undo {
            return self.undo();
        }
        let targets = self.targets();
        if action == Action::Edit {
            return self.begin_edit(&targets);
        }
        if matches!(action, Action::Pause | Action::Drain) && self.is_at(TableKind::Hosts) {
            return self.manage_host(action);
        }
        if matches!(action, Action::Shell | Action::PortForward) {
            return self.ask_beside(action, &targets);
        }
        if action == Action::Delete && self.is_at(TableKind::Forwards) {
            return self.end_forward();
        }
        match self.ask(action, &targets) {
            Ok(ask) => self.open_plan(ask),
            Err(why) => self.say_safe(crate::tui::widgets::toast::Weight::Warn, why),
        }
    }

    /// Why nothing may be changed now.
    pub(super) fn forbids(&self) -> Option<String> {
        if self.ui.readonly {
            let key = self.ui.key_for(Action::ToggleReadOnly);
            let hint = key.map(|key| format!(" ({key} allows changes)")).unwrap_or_default();
            return Some(format!("read-only{hint}"));
        }
        if self.view.stale_since.is_some() {
            return Some("the store cannot be reached: nothing is changed until it is back".into());
        }
        None
    }

    /// Why this actor may not do it. The engine asks again, and its word counts.
    fn denies(&self, action: Action) -> Option<String> {
        let right = action.right()?;
        let role = self.ui.actor.role;
        let name = action.name();
        if !role.may(right) {
            return Some(format!("{role} may not {name}: it takes the right to {right}  (:can-i)"));
        }
        let missing = self.ui.missing(action)?;
        Some(format!("the cluster does not let us {name}: {missing}  (:can-i)"))
    }

    fn ask(&self, action: Action, targets: &[TargetRef]) -> Result<Ask, Safe> {
        let first = targets.first().ok_or_else(|| Safe::new("there is nothing selected"))?;
        let nouns = |allowed: &[Noun]| -> Result<Targets, Safe> {
            match targets.iter().find(|target| !allowed.contains(&target.noun)) {
                Some(other) => {
                    Err(Safe::new(&format!("{} does not go with a {}", action.name(), other.noun)))
                }
                None => {
                    let names = targets.iter().map(|target| target.id.clone()).collect();
                    Ok(Targets { noun: first.noun, names })
                }
            }
        };
        let one = |wanted: Noun| -> Result<TargetRef, Safe> {
            match targets {
                [target] if target.noun == wanted => Ok(target.clone()),
                [_] => Err(Safe::new(&format!("{} needs a {wanted}", action.name()))),
                _ => Err(Safe::new(&format!("{} takes one {wanted} at a time", action.name()))),
            }
        };
        let running = [Noun::Agent, Noun::Pool];
        let ids = || targets.iter().map(|target| target.id.clone()).collect::<Vec<_>>();
        let command = match action {
            Action::Restart => Command::Restart { targets: nouns(&running)? },
            Action::Pause => {
                let targets = nouns(&running)?;
                if self.all_paused(&targets) {
                    Command::Resume { targets }
                } else {
                    Command::Pause { targets }
                }
            }
            Action::Drain => return Ok(Ask::Drain { targets: nouns(&running)? }),
            Action::Stop => Command::Stop { targets: nouns(&running)? },
            Action::Start => Command::Start { targets: nouns(&running)? },
            Action::Delete if first.noun == Noun::Subscription => {
                Command::Unsubscribe { subscription: one(Noun::Subscription)?.id }
            }
            Action::Adopt | Action::Delete if targets.iter().all(|it| self.is_stray(it)) => {
                Command::Adopt { workloads: ids(), end: action == Action::Delete }
            }
            Action::Adopt => return Err(Safe::new("it has a record already")),
            Action::Delete => {
                Command::Delete { targets: nouns(&[Noun::Agent, Noun::Pool, Noun::Template])? }
            }
            Action::Rollback => Command::Rollback { pool: one(Noun::Pool)?.id },
            Action::Requeue => {
                nouns(&[Noun::Message])?;
                Command::Requeue { messages: ids() }
            }
            Action::Replay => {
                nouns(&[Noun::Message])?;
                Command::Replay { messages: ids() }
            }
            Action::Purge => {
                nouns(&[Noun::Message])?;
                Command::Purge { messages: ids() }
            }
            Action::Scale => {
                nouns(&[Noun::Pool])?;
                return Ok(match targets {
                    [pool] => Ask::Scale { pool: pool.clone() },
                    pools => Ask::ScalePools { pools: pools.to_vec() },
                });
            }
            Action::SetTemplate => return Ok(Ask::SetTemplate { pool: one(Noun::Pool)? }),
            Action::Deploy => return Ok(Ask::Deploy { template: one(Noun::Template)? }),
            Action::SendMessage => return Ok(Ask::Send { to: one(Noun::Agent)? }),
            _ => return Err(Safe::new("that does nothing here")),
        };
        Ok(Ask::Command(command))
    }

    /// Whether it runs without a record.
    pub(super) fn is_stray(&self, target: &TargetRef) -> bool {
        let id = AgentId::new(&target.id).ok().filter(|_| target.noun == Noun::Agent);
        id.and_then(|id| self.view.agent(&id)).is_some_and(|row| !row.recorded)
    }

    /// Whether every one of them is paused, so that the same key resumes them.
    fn all_paused(&self, targets: &Targets) -> bool {
        use crate::model::agent::{Desired, Phase};

        targets.names.iter().all(|id| match targets.noun {
            Noun::Agent => self.view.agents.iter().any(|row| {
                row.id.as_str() == id
                    && (row.phase == Phase::Paused || row.desired == Desired::Paused)
            }),
            Noun::Pool => self.view.pools.iter().any(|row| row.id.as_str() == id && row.paused),
            Noun::Template
            | Noun::Message
            | Noun::Subscription
            | Noun::Publication
            | Noun::Operation => false,
        })
    }

    /// `U`: the selected operation, else the last one of this operator that can be taken back.
    fn undo(&mut self) {
        let selected = self.operation_in_sight();
        let last = self.view.undoable(&self.ui.actor.name, self.ui.now).next();
        let operation = selected.map(|it| it.id).or_else(|| last.map(|row| row.id.to_string()));
        match operation {
            Some(operation) => self.open_plan(Ask::Command(Command::Undo { operation })),
            None => self.refuse("there is nothing that can be taken back"),
        }
    }

    /// A verb with the names of what it is about, from the command bar.
    ///
    /// # Errors
    /// Says what is missing or unknown.
    pub(super) fn act_by_name(&mut self, verb: Verb, words: &[String]) -> Result<(), Safe> {
        if let Some(why) = self.forbids() {
            return Err(Safe::new(&why));
        }
        let usage = || Safe::new(&format!("usage: {}", verb.usage()));
        if verb == Verb::Undo {
            match words {
                [] => self.undo(),
                [operation] => {
                    self.open_plan(Ask::Command(Command::Undo { operation: operation.clone() }));
                }
                _ => return Err(usage()),
            }
            return Ok(());
        }
        let action = action_of(verb);
        if let Some(why) = self.denies(action) {
            return Err(Safe::new(&why));
        }
        let (ask, value) = match (verb, words) {
            (Verb::Adopt, []) => {
                (Ask::Command(Command::Adopt { workloads: Vec::new(), end: false }), None)
            }
            (Verb::Scale | Verb::SetTemplate, [pool, value]) => {
                (self.ask(action, &[self.resolve(Some(Noun::Pool), pool)?])?, Some(value))
            }
            (Verb::Scale | Verb::SetTemplate | Verb::Rollback, [pool]) => {
                (self.ask(action, &[self.resolve(Some(Noun::Pool), pool)?])?, None)
            }
            (Verb::Deploy, [template, rest @ ..]) if rest.len() < 2 => {
                (self.ask(action, &[self.resolve(Some(Noun::Template), template)?])?, rest.first())
            }
            (Verb::Send, [agent]) => {
                (self.ask(action, &[self.resolve(Some(Noun::Agent), agent)?])?, None)
            }
            (Verb::Scale | Verb::SetTemplate | Verb::Rollback | Verb::Deploy | Verb::Send, _)
            | (_, []) => {
                return Err(usage());
            }
            (_, [kind, names @ ..]) => {
                // A word that is a kind of thing says what the rest are; without one, each is looked for.
                let kind_of = noun(kind).filter(|_| !names.is_empty());
                let names = if kind_of.is_some() { names } else { words };
                let targets: Result<Vec<TargetRef>, Safe> =
                    names.iter().map(|name| self.resolve(kind_of, name)).collect();
                (self.ask(action, &targets?)?, None)
            }
        };
        let ask = match (verb, ask) {
            (Verb::Resume, Ask::Command(Command::Pause { targets })) => {
                Ask::Command(Command::Resume { targets })
            }
            (Verb::Pause, Ask::Command(Command::Resume { targets })) => {
                Ask::Command(Command::Pause { targets })
            }
            (_, ask) => ask,
        };
        self.open_plan(ask);
        if let (Some(value), Some(plan)) = (value, self.ui.plan_mut()) {
            if let Some(field) = plan.state.fields.first_mut() {
                field.edit.set(value);
            }
            self.form_changed();
        }
        Ok(())
    }

    /// What an ask has to be filled in with.
    pub(super) fn fields(&self, ask: &Ask) -> Vec<FormField> {
        match ask {
            Ask::Command(_) | Ask::Edit { .. } | Ask::Shell { .. } | Ask::Quit => Vec::new(),
            Ask::Forward { .. } => vec![
                FormField::number("the agent's port", "8080"),
                FormField::number("port here (empty: any that is free)", "8080"),
            ],
            Ask::Scale { pool } => {
                let row = self.pool_row(pool);
                let desired = row.map(|row| row.desired.to_string()).unwrap_or_default();
                let scaled = row.is_some_and(|row| row.scaling.mode == Mode::Engine);
                let mut fields = vec![FormField::number("desired", &desired)];
                fields.extend(scaled.then(|| FormField::check(HOLD, true)));
                fields.push(FormField::check(DRY_RUN, false));
                fields
            }
            // One number for several is never proposed: what is right for one is wrong for another.
            Ask::ScalePools { .. } => {
                vec![
                    FormField::number("desired, each", ""),
                    FormField::check(HOLD, true),
                    FormField::check(DRY_RUN, false),
                ]
            }
            Ask::Drain { .. } => vec![FormField::text("deadline (empty: as configured)", "")],
            Ask::Deploy { template } => {
                let taken = |name: &str| self.view.agents.iter().any(|row| row.name == *name);
                let free =
                    (1..).map(|n| format!("{}-{n}", template.name)).find(|name| !taken(name));
                vec![FormField::text("name", &free.unwrap_or_default())]
            }
            Ask::SetTemplate { .. } => vec![FormField::text("version (empty: newest)", "")],
            Ask::Send { to } => {
                let other = self.view.agents.iter().find(|row| row.id.as_str() != to.id);
                let from = other.map(|row| row.name.as_str().to_owned()).unwrap_or_default();
                vec![
                    FormField::text("from", &from),
                    FormField::text("type", "task_request"),
                    FormField::text("payload (JSON)", "{}"),
                    FormField::number("priority 1-10", &DEFAULT_PRIORITY.to_string()),
                ]
            }
        }
    }

    /// What the dialog shows while a field that must be filled in is empty.
    pub(super) fn wanting(&self, ask: &Ask, fields: &[FormField]) -> Option<PlanText> {
        let empty = fields.first().is_some_and(|field| field.edit.text().trim().is_empty());
        let pools = match ask {
            Ask::Scale { pool } => std::slice::from_ref(pool),
            Ask::ScalePools { pools } => pools,
            Ask::Command(_)
            | Ask::Edit { .. }
            | Ask::Drain { .. }
            | Ask::Deploy { .. }
            | Ask::SetTemplate { .. }
            | Ask::Send { .. }
            | Ask::Shell { .. }
            | Ask::Forward { .. }
            | Ask::Quit => return None,
        };
        let line = |pool: &TargetRef| {
            let row = self.pool_row(pool)?;
            let (now, ready, min, max) = (row.desired, row.ready, row.min, row.max);
            let said = format!("{now} ({ready} ready), min {min} max {max}");
            Some((Safe::new(&pool.name), Safe::new(&said)))
        };
        empty.then(|| PlanText {
            title: super::plan::title(ask),
            facts: pools.iter().filter_map(line).collect(),
            hint: Some(Safe::new("type how many agents there shall be")),
            ..PlanText::default()
        })
    }

    fn pool_row(&self, pool: &TargetRef) -> Option<&PoolRow> {
        self.view.pools.iter().find(|row| row.id.as_str() == pool.id).map(AsRef::as_ref)
    }

    /// The command that an ask and what was filled in make.
    ///
    /// # Errors
    /// Says which field is wrong.
    pub(super) fn command(&self, ask: &Ask, fields: &[FormField]) -> Result<Command, Safe> {
        let value =
            |at: usize| fields.get(at).map(|field| field.edit.text().trim()).unwrap_or_default();
        match ask {
            Ask::Command(command) | Ask::Edit { command, .. } => Ok(command.clone()),
            Ask::Quit | Ask::Shell { .. } | Ask::Forward { .. } => Err(Safe::default()),
            Ask::Scale { pool } => {
                let (to, hold) = (number(value(0))?, holds(fields));
                Ok(Command::Scale { pool: pool.id.clone(), to, hold })
            }
            Ask::ScalePools { pools } => {
                let (to, hold) = (number(value(0))?, holds(fields));
                let pools = pools.iter().map(|pool| pool.id.clone()).collect();
                Ok(Command::ScalePools { pools, to, hold })
            }
            Ask::Drain { targets } => {
                let deadline = Some(value(0)).filter(|text| !text.is_empty());
                let deadline = deadline
                    .map(span::parse)
                    .transpose()
                    .map_err(|error| Safe::new(&format!("deadline: {error}")))?;
                Ok(Command::Drain { targets: targets.clone(), deadline })
            }
            Ask::Deploy { template } => Ok(Command::Deploy {
                template: template.id.clone(),
                version: None,
                name: value(0).to_owned(),
                pool: None,
                labels: Default::default(),
                overrides: Default::default(),
            }),
            Ask::SetTemplate { pool } => {
                let version = Some(value(0).to_owned()).filter(|version| !version.is_empty());
                Ok(Command::SetTemplate { pool: pool.id.clone(), version })
            }
            Ask::Send { to } => {
                let id = |id: &str| AgentId::new(id).map_err(|error| Safe::new(&error.to_string()));
                let from = self.resolve(Some(Noun::Agent), value(0))?;
                let payload = serde_json::from_str(value(2)).map_err(|error| {
                    Safe::new(&format!("payload: expected a JSON object: {error}"))
                })?;
                let priority = value(3)
                    .parse()
                    .map_err(|_| Safe::new("priority: expected a number from 1 to 10"))?;
                Ok(Command::Send {
                    message: NewMessage {
                        from: id(&from.id)?,
                        to: id(&to.id)?,
                        message_type: value(1).to_owned(),
                        payload,
                        priority,
                        ttl: Duration::from_secs(DEFAULT_TTL.as_secs()),
                        correlation_id: None,
                        reply_to: None,
                        idempotency_key: None,
                        max_attempts: DEFAULT_ATTEMPTS,
                    },
                })
            }
        }
    }
}

/// The box that keeps the autoscaler away for a while.
const HOLD: &str = "hold the autoscaler 10 min";

/// A pool that nobody scales but operators has no such box.
fn holds(fields: &[FormField]) -> bool {
    fields.iter().find(|field| field.label == HOLD).is_none_or(FormField::is_ticked)
}

fn number(text: &str) -> Result<u32, Safe> {
    text.parse().map_err(|_| Safe::new("desired: expected a whole number"))
}

fn action_of(verb: Verb) -> Action {
    match verb {
        Verb::Deploy => Action::Deploy,
        Verb::Scale => Action::Scale,
        Verb::Restart => Action::Restart,
        Verb::Pause | Verb::Resume => Action::Pause,
        Verb::Drain => Action::Drain,
        Verb::Stop => Action::Stop,
        Verb::Start => Action::Start,
        Verb::Delete => Action::Delete,
        Verb::Adopt => Action::Adopt,
        Verb::SetTemplate => Action::SetTemplate,
        Verb::Rollback => Action::Rollback,
        Verb::Send => Action::SendMessage,
        Verb::Undo => Action::Undo,
    }
}

#[cfg(test)]
mod tests;
