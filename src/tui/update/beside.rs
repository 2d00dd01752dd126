//! Work beside an agent that no plan is made of: a shell on the console's terminal, and ports of agents on this machine.
//! Both are asked about first, refused while nothing may be changed, and written into the audit log by the engine.

use super::Turn;
use crate::engine::forward::Forwarded;
use crate::model::id::AgentId;
use crate::model::plan::{Command, Noun, TargetRef};
use crate::model::text::Safe;
use crate::ports::site::{Answer, Ask as Question, Use};
use crate::tui::action::Action;
use crate::tui::effect::{Effect, Fetch, ShellOrder};
use crate::tui::event::{Fault, Reply};
use crate::tui::pages::Page;
use crate::tui::pages::listed::{Mood, Value};
use crate::tui::ui::{Ask, Layer, Ui};
use crate::tui::widgets::plan::{PlanFocus, PlanState, PlanText};
use crate::tui::widgets::toast::Weight;

/// The shell that there is: bash where an image has it.
const SHELL: [&str; 3] =
    ["sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi"];

impl Ui {
    /// What the runtime does not let us do that `action` needs; nothing while it is not known.
    pub fn missing(&self, action: Action) -> Option<String> {
        let need = match action {
            Action::Shell => Use::Shell,
            Action::PortForward => Use::PortForward,
            Action::Logs | Action::PreviousLogs => Use::Logs,
            _ => return None,
        };
        let denied =
            |it: &&crate::ports::site::Allowance| it.need == need && it.allowed == Some(false);
        let all: Vec<String> = self
            .allowances
            .iter()
            .filter(denied)
            .map(|it| format!("{} {}", it.verb, it.resource))
            .collect();
        (!all.is_empty()).then(|| format!("no right to {}", all.join(", ")))
    }
}

impl Turn<'_> {
    /// Asks once what the runtime lets us do, where it is one that says no to some.
    pub(super) fn ask_rights(&mut self) {
        if self.ui.asked_rights.is_some() || self.view.system.runtime.kind != "kubernetes" {
            return;
        }
        let id = self.ui.next_effect();
        self.ui.asked_rights = Some(id);
        self.effects.push(Effect::Fetch(id, Fetch::Site(Question::Allowances)));
    }

    /// What the runtime lets us do; while it does not say, nothing is greyed.
    pub(super) fn rights_told(&mut self, answer: Result<Reply, Fault>) {
        if let Ok(Reply::Site(answer)) = answer
            && let Answer::Allowances(all) = *answer
        {
            self.ui.allowances = all;
        }
    }

    /// `z` closes the host under the cursor, or opens it again; `D` empties it.
    pub(super) fn manage_host(&mut self, action: Action) {
        let Page::Table(page) = self.ui.page() else { return };
        let found = page.selected_row().and_then(|row| page.fetched.entries.get(row));
        let Some(entry) = found else { return self.refuse("there is no host selected") };
        let host = entry.id.clone();
        let closed = matches!(entry.value("state"), Some(Value::State(Mood::Wary, _)));
        let command = match action {
            Action::Pause => Command::Cordon { host, closed: !closed },
            _ => Command::DrainHost { host },
        };
        self.open_plan(Ask::Command(command));
    }

    /// `s` and `F` on an agent.
    pub(super) fn ask_beside(&mut self, action: Action, targets: &[TargetRef]) {
        let [agent] = targets else {
            return self.refuse(&format!("{} takes one agent at a time", action.name()));
        };
        if agent.noun != Noun::Agent {
            return self.refuse(&format!("{} needs an agent", action.name()));
        }
        let agent = agent.clone();
        let name = Safe::new(&agent.name);
        let runtime = &self.view.system.runtime;
        let place = Safe::new(&format!("{}, {}", runtime.kind, runtime.place));
        let audited = Safe::new("that it is done, by whom and when, is kept in the audit log");
        let (ask, title, what) = match action {
            Action::Shell => (
                Ask::Shell { agent },
                format!("Shell beside {name}"),
                "a shell with the agent's environment, on this terminal; exit leads back",
            ),
            _ => (
                Ask::Forward { agent },
                format!("Forward a port of {name}"),
                "on 127.0.0.1, until it is ended in :pf or the console is left",
            ),
        };
        let text = PlanText {
            title: Safe::new(&title),
            facts: vec![
                (Safe::new("what"), Safe::new(what)),
                (Safe::new("where"), place),
                (Safe::new("kept"), audited),
            ],
            ..PlanText::default()
        };
        let state = PlanState { fields: self.fields(&ask), ..PlanState::default() };
        self.push_plan(ask, text, state);
        self.guard();
    }

    /// The dialog was agreed to.
    pub(super) fn begin_beside(&mut self) {
        let Some(Layer::Plan(layer)) = self.ui.layers.last_mut() else { return };
        if !layer.state.may_apply(&layer.text) {
            if layer.text.word.is_some() {
                layer.state.focus = PlanFocus::Word;
            }
            return;
        }
        let (ask, fields) = (layer.ask.clone(), layer.state.fields.clone());
        let begun = match &ask {
            Ask::Shell { agent } => AgentId::new(&agent.id).ok().map(|id| {
                let command = SHELL.map(str::to_owned).to_vec();
                let name = Safe::new(&agent.name);
                Ok(Effect::Shell(Box::new(ShellOrder { agent: id, name, command })))
            }),
            Ask::Forward { agent } => AgentId::new(&agent.id).ok().map(|id| {
                let port = |at: usize| fields.get(at).map(|it| it.edit.text().trim().to_owned());
                let (theirs, ours) = (port(0).unwrap_or_default(), port(1).unwrap_or_default());
                let wrong = |text: &str| format!("{text:?} is no port: 1 to 65535 are");
                let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
                let theirs = number(&theirs).ok_or_else(|| wrong(&theirs))?;
                let ours = match ours.as_str() {
                    "" => None,
                    text => Some(number(text).ok_or_else(|| wrong(text))?),
                };
                Ok::<_, String>(Effect::Forward(self.ui.next_effect(), id, ours, theirs))
            }),
            _ => None,
        };
        match begun {
            Some(Ok(effect)) => {
                self.pop();
                self.effects.push(effect);
            }
            Some(Err(why)) => self.refuse(&why),
            None => self.refuse("this is no agent"),
        }
    }

    /// The shell has ended; the console has its terminal back.
    pub(super) fn shelled(&mut self, order: &ShellOrder, outcome: Result<i32, Safe>) {
        match outcome {
            Ok(0) => self.say(Weight::Info, &format!("the shell beside {} has ended", order.name)),
            Ok(code) => {
                self.say(
                    Weight::Info,
                    &format!("the shell beside {} ended with {code}", order.name),
                );
            }
            Err(why) => self.say(Weight::Warn, &format!("shell beside {}: {why}", order.name)),
        }
    }

    /// A port is reachable, or no longer is.
    pub(super) fn forwarded(&mut self, port: &Forwarded, ended: bool) {
        let said = if ended {
            format!("{} no longer leads to {}", port.local, port.name)
        } else if port.trouble.is_empty() {
            format!("{} leads to {}:{}  (:pf)", port.local, port.name, port.port)
        } else {
            format!("{} will lead to {}:{}: {}", port.local, port.name, port.port, port.trouble)
        };
        self.say(Weight::Info, &said);
        if matches!(self.ui.page(), Page::Table(page) if page.kind == crate::tui::pages::TableKind::Forwards)
        {
            self.read_again();
        }
    }

    /// `ctrl-d` on a forwarded port: nothing is lost by it, so nothing is asked.
    pub(super) fn end_forward(&mut self) {
        let id =
            self.with_rows(|page, rows| page.selected_row().map(|row| rows.id(row).to_owned()));
        let Some(number) = id.flatten().and_then(|id| id.parse().ok()) else {
            return self.refuse("there is no port to end");
        };
        let id = self.ui.next_effect();
        self.effects.push(Effect::Unforward(id, number));
    }
}

#[cfg(test)]
mod tests;
