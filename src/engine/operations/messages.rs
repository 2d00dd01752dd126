//! Plans about messages, publications and subscriptions. What they do is what `messaging` and `pubsub` do; here it becomes
//! part of an operation: with a tier, a fingerprint, a trace and a way back.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::draft::{Draft, count, target};
use super::planner::Planner;
use super::resolve::{Found, refused, typed};
use super::reversal::Reversal;
use crate::engine::handle::CommandError;
use crate::engine::messaging::{self, MessagingError};
use crate::engine::pubsub::{draft_publication, draft_subscription, ended};
use crate::engine::templates::created;
use crate::model::agent::Agent;
use crate::model::id::AgentId;
use crate::model::message::moves::apply;
use crate::model::message::{Message, NewMessage};
use crate::model::operation::UndoInfo;
use crate::model::plan::{Goal, Noun, Tier};
use crate::model::pubsub::{NewPublication, NewSubscription, Subscription};
use crate::model::schema::Collection;
use crate::model::template::FieldError;
use crate::model::text::capital;
use crate::model::time::{Time, span};
use crate::ports::store::{Body, Write};

/// Beyond this many messages a requeue or replay takes a typed word.
const MANY: usize = 100;

/// The most messages of one command: they change in one transaction.
const MOST: usize = 5_000;

/// What `publish` was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced<'a> {
    pub publisher: &'a str,
    pub event: &'a str,
    pub kind: &'a str,
    pub payload: &'a Map<String, Value>,
    pub ttl: Duration,
}

fn mistaken(error: MessagingError) -> CommandError {
    match error {
        MessagingError::Invalid { errors } => CommandError::Invalid { errors },
        MessagingError::Store(error) => CommandError::Store(error),
        MessagingError::Refused(refusal) => refused(refusal.to_string()),
        MessagingError::NotHeld { .. } => refused(error.to_string()),
    }
}

/// What each of several messages becomes.
type Move = fn(&crate::ports::store::Document, Time) -> Result<Body, MessagingError>;

impl Planner<'_> {
    async fn agent_called(&self, name: &str) -> Result<(AgentId, Found<Agent>), CommandError> {
        let found: Found<Agent> = self.resolver.one(Noun::Agent, name).await?;
        let id = AgentId::new(found.id());
        Ok((id.map_err(|error| refused(error.to_string()))?, found))
    }

    pub(super) async fn send(&self, message: &NewMessage) -> Result<Draft, CommandError> {
        let (to, receiver) = match self.agent_called(message.to.as_str()).await {
            Ok(found) => found,
            Err(CommandError::NotFound { name, hint, .. }) => {
                let mut errors = message.check().err().unwrap_or_default();
                let what = format!("no agent is called {name:?}{hint}");
                errors.insert(0, FieldError::new("/to", what));
                return Err(CommandError::Invalid { errors });
            }
            Err(error) => return Err(error),
        };
        // a sender need not be an agent of ours: an operator sends in their own name
        let from = match self.agent_called(message.from.as_str()).await {
            Ok((id, _)) => id,
            Err(CommandError::NotFound { .. }) => message.from.clone(),
            Err(error) => return Err(error),
        };
        let message = NewMessage { to, from, ..message.clone() };
        let prepared =
            messaging::prepare(&*self.ctx.store, &*self.ctx.ids, self.now, &message).await;
        let prepared = prepared.map_err(mistaken)?;
        let title = format!("Send {} to {}", message.message_type, receiver.value.name);
        let mut draft = Draft::new(title, Tier::One);
        draft.rely(json!({ "receiver": receiver.id(), "desired": receiver.value.desired }));
        draft.fact("receiver", format!("{} ({})", receiver.value.name, receiver.value.phase));
        draft.fact("priority", message.priority);
        let before = messaging::sent_before(&*self.ctx.store, self.now, &message).await?;
        if let Some(before) = before {
            draft.fact("sent already", format!("{before}, with this idempotency key"));
            draft.undo = UndoInfo::Never { why: "nothing is done".to_owned() };
            return Ok(draft);
        }
        draft.fact("expires in", span::format(message.ttl));
        draft.extra.push(prepared.write());
        let what = target(Noun::Message, prepared.id.as_str(), &*message.message_type);
        draft.creates(what, Goal::Written, format!("to {}", receiver.value.name));
        draft.undo = UndoInfo::Restore {
            documents: vec![created(Noun::Message, prepared.id.as_str(), &message.message_type)],
            note: "cancel the message, unless it has been taken".to_owned(),
        };
        Ok(draft)
    }

    pub(super) async fn publish(&self, announced: Announced<'_>) -> Result<Draft, CommandError> {
        let (publisher, kind) = match self.agent_called(announced.publisher).await {
            Ok((id, found)) => (id, found.value.kind),
            Err(CommandError::NotFound { .. }) => {
                let id = AgentId::new(announced.publisher).map_err(|error| {
                    let errors = vec![FieldError::new("/publisher", error.to_string())];
                    CommandError::Invalid { errors }
                })?;
                (id, String::new())
            }
            Err(error) => return Err(error),
        };
        let mut new = NewPublication::new(publisher, announced.event);
        new.publisher_type = kind;
        new.kind = announced.kind.to_owned();
        new.payload = announced.payload.clone();
        new.ttl = announced.ttl;
        let drafted = draft_publication(&*self.ctx.ids, self.now, &new).map_err(mistaken)?;
        let mut draft = Draft::new(format!("Publish {}", announced.event), Tier::One);
        draft.fact("expires in", span::format(announced.ttl));
        draft.extra.push(drafted.write);
        let what = target(Noun::Publication, drafted.id.as_str(), announced.event);
        draft.creates(what, Goal::Written, "to every subscription that matches");
        let why = "whoever listens may have read it already".to_owned();
        draft.undo = UndoInfo::Never { why };
        Ok(draft)
    }

    pub(super) async fn subscribe(
        &self,
        subscriber: &str,
        pattern: &str,
        publisher: Option<&str>,
        conditions: &Map<String, Value>,
    ) -> Result<Draft, CommandError> {
        let (id, found) = self.agent_called(subscriber).await?;
        let mut new = NewSubscription::new(id, pattern);
        new.publisher = match publisher {
            Some(name) => Some(self.agent_called(name).await?.0.to_string()),
            None => None,
        };
        new.conditions = conditions.clone();
        let (id, writes) =
            draft_subscription(&*self.ctx.store, self.now, &new).await.map_err(mistaken)?;
        let title = format!("Subscribe {} to {pattern}", found.value.name);
        let mut draft = Draft::new(title, Tier::One);
        draft.rely(json!({ "subscription": id, "new": !writes.is_empty() }));
        if writes.is_empty() {
            draft.warnings.push(format!("{} listens to this already: {id}", found.value.name));
            return Ok(draft);
        }
        draft.extra.extend(writes);
        let what = target(Noun::Subscription, id.as_str(), pattern);
        draft.step(0, "create", what, Goal::Written, "from now on");
        draft.undo = UndoInfo::Restore {
            documents: vec![created(Noun::Subscription, id.as_str(), pattern)],
            note: "end the subscription".to_owned(),
        };
        Ok(draft)
    }

    pub(super) async fn unsubscribe(&self, subscription: &str) -> Result<Draft, CommandError> {
        let found: Found<Subscription> =
            self.resolver.one(Noun::Subscription, subscription).await?;
        let pattern = &found.value.event_pattern;
        let mut draft = Draft::new(format!("End subscription to {pattern}"), Tier::One);
        draft.rely(json!({ "subscription": found.id(), "active": found.value.active }));
        let what = target(Noun::Subscription, found.id(), &**pattern);
        if !found.value.active {
            draft.warnings.push("it has ended already".to_owned());
            return Ok(draft);
        }
        let mut after = found.document.body.clone();
        apply(&mut after, ended());
        draft.undo = UndoInfo::Restore {
            documents: vec![Reversal::of(
                Collection::AgentSubscriptions,
                &found.document,
                &after,
                pattern,
            )],
            note: "go on with it where it was".to_owned(),
        };
        draft.extra.push(replace(Collection::AgentSubscriptions, &found.document, after));
        draft.step(
            0,
            "end",
            what,
            Goal::Written,
            "what is published from now on is not kept for it",
        );
        Ok(draft)
    }

    pub(super) async fn requeue(&self, messages: &[String]) -> Result<Draft, CommandError> {
        let mut draft = self.move_messages(messages, "requeue", messaging::requeue).await?;
        draft.fact("attempts", "begin anew, with the ids kept");
        Ok(draft)
    }

    pub(super) async fn purge(&self, messages: &[String]) -> Result<Draft, CommandError> {
        let mut draft = self.move_messages(messages, "purge", messaging::purge).await?;
        draft.at_least(Tier::Three);
        draft.confirm_word = Some(format!("purge {}", draft.steps.len()));
        draft.fact("kept", "24 h, then removed");
        Ok(draft)
    }

    pub(super) async fn replay(&self, messages: &[String]) -> Result<Draft, CommandError> {
        let found = self.messages(messages).await?;
        let mut draft = Draft::new(format!("Replay {}", count(found.len(), "message")), Tier::One);
        let mut copies = Vec::new();
        for message in &found {
            draft.rely(json!({ "message": message.id(), "status": message.value.status }));
            let copy = messaging::replay(&message.document, &*self.ctx.ids, self.now);
            let copy = copy.map_err(mistaken)?;
            draft.extra.push(copy.write());
            let name = format!("{} of {}", message.value.message_type, message.id());
            draft.creates(
                target(Noun::Message, copy.id.as_str(), name),
                Goal::Written,
                format!("to {}", message.value.to_agent_id),
            );
            copies.push(created(Noun::Message, copy.id.as_str(), &message.value.message_type));
        }
        self.weigh(&mut draft, "replay", found.len());
        span_of(&mut draft, &found);
        draft.undo = UndoInfo::Restore {
            documents: copies,
            note: "cancel the copies that have not been taken".to_owned(),
        };
        Ok(draft)
    }

    async fn messages(&self, ids: &[String]) -> Result<Vec<Found<Message>>, CommandError> {
        if ids.is_empty() {
            let errors = vec![FieldError::new("/messages", "expected at least one message")];
            return Err(CommandError::Invalid { errors });
        }
        if ids.len() > MOST {
            return Err(refused(format!("at most {MOST} messages at once, not {}", ids.len())));
        }
        let found: Vec<Found<Message>> = typed(self.resolver.documents(Noun::Message, ids).await?)?;
        if self.actor.tenant.is_some() {
            // a message is its receiver's: who may not see the one does not see the other
            let receivers: std::collections::BTreeSet<String> =
                found.iter().map(|it| it.value.to_agent_id.clone()).collect();
            let receivers: Vec<String> = receivers.into_iter().collect();
            self.resolver.documents(Noun::Agent, &receivers).await?;
        }
        Ok(found)
    }

    async fn move_messages(
        &self,
        ids: &[String],
        verb: &'static str,
        to: Move,
    ) -> Result<Draft, CommandError> {
        let found = self.messages(ids).await?;
        let mut draft = Draft::new(String::new(), Tier::One);
        let (mut documents, mut refusals) = (Vec::new(), Vec::new());
        for message in &found {
            draft.rely(json!({ "message": message.id(), "status": message.value.status }));
            let body = match to(&message.document, self.now) {
                Ok(body) => body,
                Err(MessagingError::Refused(refusal)) => {
                    refusals.push(format!("{}: {refusal}", message.id()));
                    continue;
                }
                Err(error) => return Err(mistaken(error)),
            };
            draft.extra.push(replace(Collection::AgentMessages, &message.document, body));
            let what = target(Noun::Message, message.id(), &*message.value.message_type);
            let note = format!("{}, for {}", message.value.status, message.value.to_agent_id);
            draft.step(0, verb, what, Goal::Written, note);
            documents.push(Reversal::Message { id: message.id().to_owned() }.written());
        }
        if documents.is_empty() {
            return Err(refused(refusals.join("; ")));
        }
        let n = documents.len();
        draft.title = format!("{} {}", capital(verb), count(n, "message"));
        draft.warnings.extend(refusals.into_iter().map(|it| format!("left out: {it}")));
        self.weigh(&mut draft, verb, n);
        span_of(&mut draft, &found);
        let note = "back to the status before, unless a receiver has taken it".to_owned();
        draft.undo = UndoInfo::Restore { documents, note };
        Ok(draft)
    }

    /// One needs a word, many a look, very many a typed word.
    fn weigh(&self, draft: &mut Draft, verb: &str, n: usize) {
        if n > MANY {
            draft.at_least(Tier::Three);
            draft.confirm_word = Some(format!("{verb} {n}"));
        } else if n > 1 {
            draft.at_least(Tier::Two);
        }
    }
}

/// How many, from when to when.
fn span_of(draft: &mut Draft, found: &[Found<Message>]) {
    draft.fact("messages", found.len());
    let times = || found.iter().map(|it| it.value.created_at);
    if let (Some(oldest), Some(newest)) = (times().min(), times().max()) {
        draft.fact("oldest", oldest.in_words());
        draft.fact("newest", newest.in_words());
    }
}

/// Writes a message or subscription, which have no events of their own, at the revision that was read.
pub(super) fn replace(
    collection: Collection,
    document: &crate::ports::store::Document,
    body: Body,
) -> Write {
    Write::Replace { collection, key: document.key.clone(), rev: document.rev.clone(), body }
}
