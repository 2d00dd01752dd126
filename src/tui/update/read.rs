//! Reading what no view carries: rows, documents and logs. A page is read again when the view says that what it shows
//! has changed, never because time passed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::Turn;
use crate::engine::view::AgentRow;
use crate::model::access::Right;
use crate::model::agent::Phase;
use crate::model::id::AgentId;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::tui::action::Action;
use crate::tui::effect::{Effect, Fetch, FollowLog, LineFilter};
use crate::tui::event::Alarm;
use crate::tui::pages::Page;
use crate::tui::pages::fetched::Need;
use crate::tui::pages::logs::{LogText, SOURCES, Since};
use crate::tui::pages::text::{Content, TextKind, TextPage};
use crate::tui::ui::Layer;
use crate::tui::widgets::toast::Weight;

/// Between two reads of the same rows, however often the view changes.
const REST: Duration = Duration::from_millis(500);
/// Between two looks at hosts and the like, while they are in sight.
const SOON: Duration = Duration::from_secs(1);
const SITE: Duration = Duration::from_secs(5);

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
        let rest = match fetch {
            Fetch::Site(_) => SITE,
            Fetch::Forwards => SOON,
            _ => REST,
        };
        self.effects.push(Effect::Fetch(id, fetch));
        self.effects.push(Effect::Wake(Alarm::Reread, rest));
    }

    /// Pages may read again.
    pub(super) fn rested(&mut self) {
        for page in self.ui.pages_mut() {
            match page {
                Page::Table(page) => page.age(),
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
        if let (TextKind::Yaml, Some(about)) = (page.kind, &page.about) {
            self.hash_thing(about, &mut hasher);
        }
        hasher.finish()
    }

    /// What a document would show of a thing, as far as the view carries it.
    fn hash_thing(&self, about: &TargetRef, hasher: &mut DefaultHasher) {
        match about.noun {
            Noun::Agent => {
                let id = AgentId::new(&about.id).ok();
                if let Some(row) = id.and_then(|id| self.view.agent(&id)) {
                    (row.phase, row.phase_since, row.incarnation, row.generation).hash(hasher);
                    (row.failures, &row.reason, &row.health_message, &row.labels).hash(hasher);
                }
            }
            Noun::Pool => {
                let row = self.view.pools.iter().find(|row| row.id.as_str() == about.id);
                if let Some(row) = row {
                    (row.desired, row.ready, row.total, row.updated, row.generation).hash(hasher);
                    (row.paused, row.halted, &row.reason, &row.last_decision).hash(hasher);
                }
            }
            Noun::Template => {
                let row = self.view.templates.iter().find(|row| row.id.as_str() == about.id);
                row.map(|row| (&row.version, row.updated_at)).hash(hasher);
            }
            Noun::Operation => {
                let row = self.view.operations.iter().find(|row| row.id.as_str() == about.id);
                row.map(|row| (row.status, row.done, row.failed)).hash(hasher);
            }
            Noun::Message | Noun::Subscription | Noun::Publication => {}
        }
    }

    /// Reads the document or the description that the text in sight shows.
    pub(super) fn read_document(&mut self) {
        let Page::Text(page) = self.ui.page() else { return };
        let Some(fetch) = page.fetch() else { return };
        let sign = self.sign_of(page);
        let id = self.ui.next_effect();
        let Page::Text(page) = self.ui.page_mut() else { return };
        // What an operation does and a document as YAML are followed; the rest is read again on demand. What is revealed
        // is not: each reading is written into the audit log.
        let followed =
            page.kind == TextKind::Steps || (page.kind == TextKind::Yaml && !page.revealed);
        page.compares = page.sign.is_some();
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
        if !matches!(target.noun, Noun::Agent | Noun::Pool) {
            return self.refuse("only agents and pools have logs");
        }
        if let Some(missing) = self.ui.missing(Action::Logs) {
            return self
                .refuse(&format!("the cluster does not let us read logs: {missing}  (:can-i)"));
        }
        let mut page = TextPage::new(TextKind::Logs, Some(target));
        page.content = Content::Log(Box::new(LogText::new(previous)));
        self.go(Page::Text(Box::new(page)));
    }

    /// Whose lines the log in sight shows: the agent's, or those of the whole pool.
    fn sources(&self, about: &TargetRef, all: bool) -> Vec<(AgentId, Safe)> {
        let agents = &self.view.agents;
        let named = |row: &Arc<AgentRow>| (row.id.clone(), row.name.clone());
        let of_pool = |pool: &str| {
            let rows = agents.iter().filter(|row| {
                row.phase != Phase::Deleted
                    && row.pool.as_ref().is_some_and(|it| it.as_str() == pool)
            });
            rows.take(SOURCES).map(named).collect::<Vec<_>>()
        };
        if about.noun == Noun::Pool {
            return of_pool(&about.id);
        }
        let Ok(id) = AgentId::new(&about.id) else { return Vec::new() };
        let pool = self.view.agent(&id).and_then(|row| row.pool.clone());
        match pool.filter(|_| all) {
            Some(pool) => of_pool(pool.as_str()),
            None => vec![(id, Safe::new(&about.name))],
        }
    }

    /// Follows the log in sight from the start of what is asked for.
    pub(super) fn follow_log(&mut self) {
        let now = self.ui.now;
        let Page::Text(page) = self.ui.page() else { return };
        let sources = match (&page.about, &page.content) {
            (Some(about), Content::Log(log)) => self.sources(about, log.all),
            _ => Vec::new(),
        };
        let Page::Text(page) = self.ui.page_mut() else { return };
        if sources.is_empty() {
            page.content = Content::Failed(Safe::new("it has no logs"));
            return;
        }
        let Content::Log(log) = &mut page.content else { return };
        log.restart();
        log.sources = sources;
        let filter = page.filter.clone().map(LineFilter);
        let wanted = FollowLog {
            sources: log.sources.iter().map(|(id, _)| id.clone()).collect(),
            options: log.options(now, filter.is_some()),
            filter,
        };
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
        self.effects.push(Effect::Follow(id, wanted));
    }

    /// Carries out what only a log knows; returns whether `action` is such.
    pub(super) fn log_action(&mut self, action: Action) -> bool {
        let now = self.ui.now;
        let (theme, glyphs) = (self.ui.theme.clone(), self.ui.glyphs);
        let look = crate::tui::widgets::Look { theme: &theme, glyphs: &glyphs };
        let top = self.ui.hits.text.top;
        let Page::Text(page) = self.ui.page_mut() else { return false };
        let Content::Log(log) = &mut page.content else { return false };
        let (mut again, mut anew) = (false, true);
        match action {
            // it stops where it is
            Action::ToggleFollow => {
                (page.state.follow, page.state.top) = (!page.state.follow, top);
            }
            Action::ToggleTime => log.time = !log.time,
            Action::PrettyJson => log.toggle_pretty(),
            Action::ClearText => log.clear(),
            Action::MarkLine => {
                log.mark(now);
                page.refilter(look);
                let at = crate::tui::pages::words::clock(now);
                self.refuse(&format!("marked below the last line, at {at}"));
                return true;
            }
            Action::LockColumns => page.state.locked = !page.state.locked,
            Action::StopLog if log.stopped => {
                log.resume();
                (again, anew) = (true, false);
            }
            Action::StopLog => {
                log.stop();
                let asked = page.asked.take();
                if let Some(asked) = asked {
                    self.forget(asked);
                }
                return true;
            }
            Action::AllSources => {
                log.all = !log.all;
                again = true;
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
        if again && anew {
            log.anew();
        }
        if again {
            self.follow_log();
        } else {
            page.refilter(look);
        }
        true
    }

    /// `x` on a document: shows the secrets in it, or hides them again.
    pub(super) fn reveal(&mut self) {
        let role = self.ui.actor.role;
        if !role.may(Right::Manage) {
            return self
                .refuse(&format!("{role} may not reveal: it takes the right to manage  (:can-i)"));
        }
        let Page::Text(page) = self.ui.page_mut() else { return };
        page.revealed = !page.revealed;
        page.sign = None;
        if page.revealed {
            self.refuse("secrets are shown; the audit log says who asked");
        }
        self.read_document();
    }

    /// The line filter has changed: a log is read anew through it, since matches may lie before what was kept.
    pub(super) fn refilter_log(&mut self, before: Option<&str>) {
        let Page::Text(page) = self.ui.page_mut() else { return };
        let now = page.filter.as_ref().map(regex::Regex::as_str);
        let Content::Log(log) = &mut page.content else { return };
        if now != before {
            log.anew();
            self.follow_log();
        }
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
