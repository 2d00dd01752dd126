//! From an event to what is remembered and what is to be done: sync, total, no I/O. A key is looked up in the keymap of
//! what lies on top; what it asks for is carried out by the modules below, one for each kind of layer.

use std::sync::Arc;
use std::time::Duration;

use super::action::Action;
use super::effect::{Effect, EffectId};
use super::event::{Alarm, Event, Fault, Reply};
use super::keymap::{Match, Scope};
use super::keys::{Key, typed};
use super::pages::Page;
use super::pages::deltas::SHOWN;
use super::pages::table::Prepared;
use super::ui::{Layer, Ui, Watched};
use super::widgets::toast::Weight;
use crate::engine::view::FleetView;
use crate::model::text::Safe;

mod act;
mod beside;
mod edit;
mod habit;
mod into;
mod jump;
mod open;
mod page;
mod plan;
mod prompt;
mod read;
mod save;
mod say;
mod watch;

/// How often the age of an old picture is shown anew.
const STALE_TICK: Duration = Duration::from_secs(1);

/// Carries `event` out on `ui`; `view` is the picture that the operator has before them.
pub fn update(ui: &mut Ui, view: &FleetView, event: Event) -> Vec<Effect> {
    let mut turn = Turn { ui, view, effects: Vec::new() };
    turn.event(event);
    turn.effects
}

/// Brings what is derived from the view up to date, right before a frame. The one place where a newer view comes in.
pub fn prepare(ui: &mut Ui, view: &FleetView) -> Vec<Effect> {
    let mut turn = Turn { ui, view, effects: Vec::new() };
    turn.refresh();
    turn.effects
}

/// One event being carried out.
struct Turn<'a> {
    ui: &'a mut Ui,
    view: &'a FleetView,
    effects: Vec<Effect>,
}

impl Turn<'_> {
    fn event(&mut self, event: Event) {
        match event {
            Event::Key(key) => self.key(key),
            Event::Paste(text) => self.paste(&text),
            // Both only ask for a frame.
            Event::Resize | Event::View => {}
            Event::Background(background) => {
                if let Some(name) = self.ui.wants_theme(background) {
                    self.effects.push(Effect::LoadTheme(name.to_owned()));
                }
            }
            Event::Journal(entry) => self.journal(&entry),
            Event::JournalGap => self.journal_gap(),
            Event::Lines(id, lines) => self.lines(id, lines),
            Event::Done(id, answer) => self.done(id, answer),
            Event::Trouble(what) => self.say_safe(Weight::Warn, what),
            Event::Shelled(order, outcome) => self.shelled(&order, outcome),
            Event::Edited(order, outcome) => self.edited(*order, outcome),
            Event::Alarm(Alarm::Toast(number)) => self.ui.notices.fade(number),
            // It asks only for a frame: what has faded is no longer drawn.
            Event::Alarm(Alarm::Fade | Alarm::Files) => {}
            Event::Alarm(Alarm::Reread) => self.rested(),
            Event::Alarm(Alarm::Minute) => {
                self.effects.push(Effect::Wake(Alarm::Minute, Duration::from_secs(60)));
            }
        }
    }

    fn key(&mut self, key: Key) {
        // Nobody acts on what nobody sees: only the way out is open.
        if self.ui.is_blind() {
            let leaves = self.ui.keymap.look_up(&[Scope::Global], &[key]);
            if leaves == Match::Action(Action::CancelOrQuit) {
                self.effects.push(Effect::Quit);
            }
            return;
        }
        let answered = self.ui.notices.answered();
        if self.take_key(key)
            && let Some(number) = answered
        {
            self.ui.notices.fade(number);
        }
    }

    /// Whether the key meant anything.
    fn take_key(&mut self, key: Key) -> bool {
        // What types a character belongs to the field that has the focus; chords begin elsewhere.
        if typed(key).is_some() && self.ui.typed.is_empty() && self.edit(key) {
            return true;
        }
        self.ui.typed.push(key);
        let scopes = self.ui.scopes();
        match self.ui.keymap.look_up(&scopes, &self.ui.typed) {
            Match::Action(action) => {
                self.ui.typed.clear();
                self.act(action, Some(key));
                true
            }
            Match::More(_) => false,
            Match::None => {
                let chord = self.ui.typed.len() > 1;
                self.ui.typed.clear();
                let taken = !chord && self.edit(key);
                match self.ui.layers.last() {
                    Some(Layer::Page(_)) if !taken => self.unbound(key),
                    Some(Layer::Plan(_)) if !taken => self.means_nothing_to_plan(),
                    _ => {}
                }
                taken
            }
        }
    }

    /// Gives `key` to the field that has the focus; returns whether there is one that took it.
    fn edit(&mut self, key: Key) -> bool {
        match self.ui.layers.last() {
            Some(Layer::Prompt(_)) => self.edit_prompt(key),
            Some(Layer::Plan(_)) => self.edit_plan(key),
            Some(Layer::Page(_)) | None => false,
        }
    }

    fn paste(&mut self, text: &str) {
        match self.ui.layers.last_mut() {
            Some(Layer::Prompt(prompt)) => {
                prompt.edit.insert(text);
                self.prompt_changed();
            }
            Some(Layer::Plan(plan)) => {
                if let Some(field) = plan.state.field() {
                    field.insert(text);
                    self.form_changed();
                }
            }
            // Pasted text is no key: `rm y` in the clipboard must not restart and confirm.
            Some(Layer::Page(_)) | None => {}
        }
    }

    /// Carries out `action`; `key` asked for it, unless it came from the command bar.
    fn act(&mut self, action: Action, key: Option<Key>) {
        match self.ui.layers.last() {
            Some(Layer::Prompt(_)) => self.prompt_action(action, key),
            Some(Layer::Plan(_)) => self.plan_action(action),
            Some(Layer::Page(_)) | None => self.page_action(action),
        }
    }

    fn done(&mut self, id: EffectId, answer: Result<Reply, Fault>) {
        if !self.ui.waiting.remove(&id) {
            return; // nobody waits for it any more
        }
        if self.ui.editing.as_ref().is_some_and(|(asked, _)| *asked == id) {
            return self.open_editor(answer);
        }
        if let Ok(Reply::Site(told)) = &answer
            && let crate::ports::site::Answer::Allowances(all) = told.as_ref()
        {
            self.ui.allowances.clone_from(all);
        }
        if self.ui.asked_rights == Some(id) {
            return self.rights_told(answer);
        }
        if self.ui.asked_namespace.as_ref().is_some_and(|(asked, _)| *asked == id) {
            return self.namespace_told(answer);
        }
        let for_plan = self.ui.plan_mut().is_some_and(|plan| plan.asked == Some(id));
        if for_plan {
            return self.plan_answered(answer);
        }
        if self.ui.pages().any(|page| is_asked(page, id)) {
            return self.page_answered(id, answer);
        }
        match answer {
            // The dialog was closed before the answer came.
            Ok(Reply::Confirmed(operation)) => {
                self.say(Weight::Info, &format!("begun: {operation}"));
                let title = Safe::new(operation.as_str());
                self.ui.watched.push(Watched { operation, title });
            }
            Ok(Reply::Forwarded(port)) => self.forwarded(&port, false),
            Ok(Reply::Unforwarded(port)) => self.forwarded(&port, true),
            Ok(Reply::Dumped(path)) => self.say(Weight::Info, &format!("written: {path}.*")),
            Ok(Reply::Cancelled) => self.say(Weight::Info, "the operation stops after its batch"),
            Ok(_) => {}
            Err(fault) => self.say_fault(&fault),
        }
    }

    /// Lists the rows anew where they changed, and tells what became of the operations begun here.
    fn refresh(&mut self) {
        let (view, now) = (self.view, self.ui.now);
        // before the rows are listed: a fleet at rest may have no other picture for a while
        if view.loaded
            && let Some(line) = self.ui.first_line.take()
            && let Err(why) = self.run_line(&line)
        {
            self.say_safe(Weight::Warn, why);
        }
        let height = self.ui.hits.table.height;
        let mut prepared = Prepared::default();
        let views = self.ui.views.clone();
        if let Page::Table(page) = self.ui.page_mut() {
            page.dress(views.layout(page.kind, page.scope.as_ref()));
            prepared = page.prepare(view, height, now);
        }
        let Prepared { gone, changed } = prepared;
        if changed {
            self.effects.push(Effect::Wake(Alarm::Fade, SHOWN));
        }
        if view.stale_since.is_some() || view.system.runtime.lost_since.is_some() {
            // nothing comes from there, and its age goes on
            self.effects.push(Effect::Wake(Alarm::Fade, STALE_TICK));
        }
        if gone > 0 {
            let word = if gone == 1 { "marked row is" } else { "marked rows are" };
            self.say(Weight::Warn, &format!("{gone} {word} gone"));
        }
        self.ask_rights();
        self.keep_up();
        self.tell_ends();
    }

    fn forget(&mut self, id: EffectId) {
        self.ui.waiting.remove(&id);
        self.effects.push(Effect::Forget(id));
    }

    /// A copy of what the keys are bound to, for texts made of it.
    fn keymap(&self) -> Arc<super::keymap::Keymap> {
        self.ui.keymap.clone()
    }

    /// Says to who has just pressed a key why it did not do what it could.
    fn refuse(&mut self, text: &str) {
        let said = self.ui.notices.answer(self.ui.now, Weight::Warn, Safe::new(text));
        self.fades(said);
    }

    fn say_safe(&mut self, weight: Weight, text: Safe) {
        let said = self.ui.notices.say(self.ui.now, weight, text);
        self.fades(said);
    }

    /// A toast goes when it has stayed for its time.
    fn fades(&mut self, (number, stay): (u64, Duration)) {
        self.effects.push(Effect::Wake(Alarm::Toast(number), stay));
    }

    fn say(&mut self, weight: Weight, text: &str) {
        self.say_safe(weight, Safe::new(text));
    }
}

/// Whether `page` waits for the answer to `id`.
fn is_asked(page: &Page, id: EffectId) -> bool {
    match page {
        Page::Table(page) => page.fetched.asked == Some(id),
        Page::Text(page) => page.asked == Some(id),
        Page::Pulse(_) => false,
    }
}

#[cfg(test)]
mod habits_of_k9s;
#[cfg(test)]
mod tests;
