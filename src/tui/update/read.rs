//! Reading what no view carries: rows, documents and logs. A page is read again when the view says that what it shows
//! has changed, never because time passed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::Turn;
use crate::model::id::AgentId;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::tui::action::Action;
use crate::tui::effect::Effect;
use crate::tui::event::Alarm;
use crate::tui::pages::Page;
use crate::tui::pages::fetched::Need;
use crate::tui::pages::logs::{LogText, Since};
use crate::tui::pages::text::{Content, TextKind, TextPage};
use crate::tui::ui::Layer;
use crate::tui::widgets::toast::Weight;

/// Between two reads of the same rows, however often the view changes.
const REST: Duration = Duration::from_millis(500);

impl Turn<'_> {
    /// Reads rows for the table in sight, if it has any that are not in the view.
    pub(super) fn read_rows(&mut self, need: Need) {
        let view = self.view;
        let Page::Table(page) = self.ui.page_mut() else { return };
        let Some(fetch) = page.fetch(need, view) else { return };
        page.fetched.resting = true;
        let before = page.fetched.asked.take();
        if let Some(before) = before {
            self.forget(before);
        }
        let id = self.ui.next_effect();
        if let Page::Table(page) = self.ui.page_mut() {
            page.fetched.asked = Some(id);
        }
        self.effects.push(Effect::Fetch(id, fetch));
        self.effects.push(Effect::Wake(Alarm::Reread, REST));
    }

    /// Pages may read again.
    pub(super) fn rested(&mut self) {
        for page in self.ui.pages_mut() {
            match page {
                Page::Table(page) => page.fetched.resting = false,
                Page::Text(page) => page.resting = false,
                Page::Pulse(_) => {}
            }
        }
    }

    /// Brings what is in sight up to date with the view.
    pub(super) fn keep_up(&mut self) {
        let view = self.view;
        match self.ui.page() {
            Page::Table(page) => match page.needs(view) {
                Need::Nothing => {}
                need @ (Need::Newest | Need::Older) => self.read_rows(need),
            },
            Page::Text(page) => {
                let due = page.asked.is_none() && !page.resting;
                if due && page.sign.is_some_and(|sign| sign != self.sign_of(page)) {
                    self.read_document();
                }
            }
            Page::Pulse(_) => {}
        }
    }

    /// What the view says of the thing that a text is about, in one number.
    fn sign_of(&self, page: &TextPage) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let (TextKind::Steps, Some(about)) = (page.kind, &page.about) {
            let row = self.view.operations.iter().find(|row| row.id.as_str() == about.id);
            row.map(|row| (row.status, row.done, row.failed)).hash(&mut hasher);
            // while it runs, what its targets are at is followed too
            row.filter(|row| !row.status.is_over()).map(|_| self.view.version).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Reads the document or the description that the text in sight shows.
    pub(super) fn read_document(&mut self) {
        let Page::Text(page) = self.ui.page() else { return };
        let Some(fetch) = page.fetch() else { return };
        let sign = self.sign_of(page);
        let id = self.ui.next_effect();
        let Page::Text(page) = self.ui.page_mut() else { return };
        // Only what an operation does is followed; the rest is read again on demand.
        let followed = page.kind == TextKind::Steps;
        (page.sign, page.resting) = (followed.then_some(sign), followed);
        let before = page.asked.replace(id);
        if let Some(before) = before {
            self.forget(before);
        }
        self.effects.push(Effect::Fetch(id, fetch));
        if followed {
            self.effects.push(Effect::Wake(Alarm::Reread, REST));
        }
    }

    pub(super) fn open_logs(&mut self, target: TargetRef, previous: bool) {
        if target.noun != Noun::Agent {
            return self.refuse("only agents have logs");
        }
        let mut page = TextPage::new(TextKind::Logs, Some(target));
        page.content = Content::Log(Box::new(LogText::new(previous)));
        self.go(Page::Text(Box::new(page)));
    }

    /// Follows the log in sight from the start of what is asked for.
    pub(super) fn follow_log(&mut self) {
        let now = self.ui.now;
        let Page::Text(page) = self.ui.page_mut() else { return };
        let agent = page.about.as_ref().map(|about| AgentId::new(&about.id));
        let Some(Ok(agent)) = agent else {
            page.content = Content::Failed(Safe::new("it has no logs"));
            return;
        };
        let Content::Log(log) = &mut page.content else { return };
        log.restart();
        let options = log.options(now);
        (page.state.follow, page.state.hit) = (true, None);
        page.shown = page.filter.is_some().then(Vec::new);
        let before = page.asked.take();
        if let Some(before) = before {
            self.forget(before);
        }
        let id = self.ui.next_effect();
        if let Page::Text(page) = self.ui.page_mut() {
            page.asked = Some(id);
        }
        self.effects.push(Effect::Follow(id, agent, options));
    }

    /// Carries out what only a log knows; returns whether `action` is such.
    pub(super) fn log_action(&mut self, action: Action) -> bool {
        let now = self.ui.now;
        let (theme, glyphs) = (self.ui.theme.clone(), self.ui.glyphs);
        let look = crate::tui::widgets::Look { theme: &theme, glyphs: &glyphs };
        let Page::Text(page) = self.ui.page_mut() else { return false };
        let Content::Log(log) = &mut page.content else { return false };
        let mut again = false;
        match action {
            Action::ToggleFollow => page.state.follow = !page.state.follow,
            Action::ToggleTime => log.time = !log.time,
            Action::PrettyJson => log.toggle_pretty(),
            Action::ClearText => log.clear(),
            Action::MarkLine => {
                log.mark(now);
            }
            Action::PreviousLogs => {
                log.previous = !log.previous;
                again = true;
            }
            _ => match Since::of(action) {
                Some(since) => {
                    log.since = since;
                    again = true;
                }
                None => return false,
            },
        }
        if again {
            self.follow_log();
        } else {
            page.refilter(look);
        }
        true
    }

    /// `s` in a table of things as they come: freezes them, or lets them come again.
    pub(super) fn toggle_follow(&mut self) {
        let view = self.view;
        let Page::Table(page) = self.ui.page_mut() else { return };
        match page.toggle_follow(view) {
            Some(true) => self.say(Weight::Info, "frozen: what comes is counted, not shown"),
            Some(false) => self.say(Weight::Info, "following again"),
            None => self.refuse("nothing comes in here by itself"),
        }
    }

    /// Whether a dialog or a prompt has the keys.
    pub(super) fn is_covered(&self) -> bool {
        !matches!(self.ui.layers.last(), Some(Layer::Page(_)))
    }
}
