//! A plan in the making: what is shown, and what confirming it would write. Two drafts of the same command over the same
//! facts are equal but for freshly minted ids.

use std::time::Duration;

use serde_json::{Value, json};

use super::release::{RESTORE, restored, wished};
use super::resolve::Found;
use crate::engine::journal::Change;
use crate::model::agent::Agent;
use crate::model::agent::intent::{Intent, restored_goal};
use crate::model::event::digest;
use crate::model::operation::{Step, StepStatus, UndoInfo};
use crate::model::plan::{Command, Fact, Goal, Noun, Plan, PlannedStep, TargetRef, Tier};
use crate::model::pool::Pool;
use crate::model::time::Time;
use crate::ports::store::Write;

/// The most agents that one transaction changes: each takes two writes, and stores take some ten thousand.
pub(crate) const AT_ONCE: usize = 4_000;

/// What a command comes to.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub title: String,
    pub tier: Tier,
    pub confirm_word: Option<String>,
    pub facts: Vec<Fact>,
    pub steps: Vec<DraftStep>,
    pub warnings: Vec<String>,
    pub undo: UndoInfo,
    /// Everything the plan relied on, for the fingerprint.
    relied: Vec<Value>,
    /// Documents written when it is confirmed, each with its event.
    pub changes: Vec<Change>,
    /// Written in the same transaction without an event: messages, and marks that hold a reference.
    pub extra: Vec<Write>,
}

#[derive(Debug, Clone)]
pub(crate) struct DraftStep {
    pub step: PlannedStep,
    /// Its target does not exist yet: the id is minted when the plan is confirmed, so plans do not show it.
    pub new: bool,
}

impl Draft {
    pub(crate) fn new(title: impl Into<String>, tier: Tier) -> Self {
        Self {
            title: title.into(),
            tier,
            confirm_word: None,
            facts: Vec::new(),
            steps: Vec::new(),
            warnings: Vec::new(),
            undo: UndoInfo::Never { why: "nothing changes".to_owned() },
            relied: Vec::new(),
            changes: Vec::new(),
            extra: Vec::new(),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read like the lines they make")]
    pub(crate) fn fact(&mut self, name: &str, value: impl ToString) {
        self.facts.push(Fact { name: name.to_owned(), value: value.to_string() });
    }

    /// A step about something that exists.
    pub(crate) fn step(
        &mut self,
        batch: u32,
        action: &str,
        target: TargetRef,
        goal: Goal,
        note: impl Into<String>,
    ) {
        let step =
            PlannedStep { batch, action: action.to_owned(), target, goal, note: note.into() };
        self.steps.push(DraftStep { step, new: false });
    }

    /// A step that makes its target.
    pub(crate) fn creates(&mut self, target: TargetRef, goal: Goal, note: impl Into<String>) {
        let action = "create".to_owned();
        let step = PlannedStep { batch: 0, action, target, goal, note: note.into() };
        self.steps.push(DraftStep { step, new: true });
    }

    /// At least this much consent.
    pub(crate) fn at_least(&mut self, tier: Tier) {
        self.tier = self.tier.max(tier);
    }

    /// Takes a typed word, whatever it is about.
    pub(crate) fn protect(&mut self, verb: &str) {
        if self.steps.is_empty() {
            return;
        }
        self.at_least(Tier::Three);
        let mut names: Vec<&str> =
            self.steps.iter().map(|it| it.step.target.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let word = match &names[..] {
            [one] if !one.is_empty() => (*one).to_owned(),
            several => format!("{verb} {}", several.len()),
        };
        self.confirm_word.get_or_insert(word);
        self.warnings.push(
            "this fleet is protected ([fleet] protected): each change is confirmed by a typed word"
                .to_owned(),
        );
    }

    /// The plan relies on this part of the world being as it is.
    pub(crate) fn rely(&mut self, fact: Value) {
        self.relied.push(fact);
    }

    pub(crate) fn rely_on_agent(&mut self, id: &str, agent: &Agent) {
        self.relied.push(json!({
            "agent": id, "phase": agent.phase, "desired": agent.desired,
            "generation": agent.generation, "incarnation": agent.incarnation,
        }));
    }

    pub(crate) fn rely_on_pool(&mut self, id: &str, pool: &Pool) {
        self.rely(json!({
            "pool": id, "desired": pool.desired, "generation": pool.generation, "min": pool.min,
            "max": pool.max, "template_version": pool.template_version, "paused": pool.paused,
            "deleting": pool.deleting,
        }));
    }

    /// A step that wishes something of an agent. The wishes of batch 0 are written when the plan is confirmed, by the
    /// document that the plan was made of; later ones by the leader, by what is there then.
    pub(crate) fn wishes(
        &mut self,
        batch: u32,
        intent: Intent,
        found: &Found<Agent>,
        deadline: Option<Duration>,
        now: Time,
        note: impl Into<String>,
    ) {
        if batch == 0
            && let Ok(Some(after)) = intent.apply(&found.value, deadline, now)
        {
            self.changes.push(wished(&found.document, intent, &found.value, after));
        }
        let what = target(Noun::Agent, found.id(), found.value.name.clone());
        self.step(batch, intent.name(), what, intent.goal(&found.value), note);
    }

    /// A step that wants of an agent what was wanted before; written like a wish.
    pub(crate) fn restores(
        &mut self,
        batch: u32,
        found: &Found<Agent>,
        after: Agent,
        note: impl Into<String>,
    ) {
        let goal = restored_goal(&after);
        if batch == 0 {
            self.changes.push(restored(&found.document, &found.value, after));
        }
        let what = target(Noun::Agent, found.id(), found.value.name.clone());
        self.step(batch, RESTORE, what, goal, note);
    }

    /// Takes in another draft, side by side with this one.
    pub(crate) fn absorb(&mut self, other: Draft) {
        self.at_least(other.tier);
        self.confirm_word = self.confirm_word.take().or(other.confirm_word);
        self.facts.extend(other.facts);
        self.warnings.extend(other.warnings);
        self.relied.extend(other.relied);
        self.changes.extend(other.changes);
        self.extra.extend(other.extra);
        self.steps.extend(other.steps);
    }

    /// Hash over the command, what the plan relied on, and what it would do to whom.
    fn fingerprint(&self, command: &Command) -> String {
        let mut relied: Vec<(String, &Value)> =
            self.relied.iter().map(|fact| (fact.to_string(), fact)).collect();
        relied.sort_by(|a, b| a.0.cmp(&b.0));
        relied.dedup_by(|a, b| a.0 == b.0);
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|it| {
                let step = &it.step;
                let target = if it.new { &step.target.name } else { &step.target.id };
                json!([step.batch, step.action, step.target.noun, target])
            })
            .collect();
        let relied: Vec<&Value> = relied.into_iter().map(|(_, fact)| fact).collect();
        digest(&json!({ "command": command, "relied": relied, "steps": steps }))
    }

    /// What is shown of it.
    pub(crate) fn plan(&self, command: Command) -> Plan {
        let steps = self.steps.iter().map(|it| {
            let mut step = it.step.clone();
            if it.new {
                step.target.id.clear();
            }
            step
        });
        let undo = match &self.undo {
            UndoInfo::By { note, .. } | UndoInfo::Restore { note, .. } => Ok(note.clone()),
            UndoInfo::Never { why } => Err(why.clone()),
        };
        Plan {
            title: self.title.clone(),
            tier: self.tier,
            facts: self.facts.clone(),
            steps: steps.collect(),
            warnings: self.warnings.clone(),
            undo,
            confirm_word: self.confirm_word.clone(),
            fingerprint: self.fingerprint(&command),
            command,
        }
    }

    /// The steps as an operation keeps them; batch 0 begins at `now`.
    pub(crate) fn begin(&self, now: Time) -> Vec<Step> {
        let begin = |it: &DraftStep| {
            let PlannedStep { batch, action, target, goal, .. } = it.step.clone();
            let (began_at, finished_at, status) = match (&goal, batch) {
                (Goal::Written, 0) => (Some(now), Some(now), StepStatus::Done),
                (_, 0) => (Some(now), None, StepStatus::Running),
                (_, _) => (None, None, StepStatus::Waiting),
            };
            let message = String::new();
            Step { batch, action, target, goal, status, message, began_at, finished_at }
        };
        self.steps.iter().map(begin).collect()
    }
}

pub(crate) fn target(noun: Noun, id: impl Into<String>, name: impl Into<String>) -> TargetRef {
    TargetRef { noun, id: id.into(), name: name.into() }
}

/// `3 agents`, `1 agent`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
