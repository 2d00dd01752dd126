//! Going from page to page: by command, into a row, back, and through the history of views.

use super::Turn;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::tui::action::Action;
use crate::tui::command::{self, Line, Locator, ScopeName, Setting};
use crate::tui::effect::Effect;
use crate::tui::pages::fetched::Need;
use crate::tui::pages::pulse::PulsePage;
use crate::tui::pages::site;
use crate::tui::pages::table::TablePage;
use crate::tui::pages::text::{TextKind, TextPage};
use crate::tui::pages::xray::Root;
use crate::tui::pages::{Page, TableKind};
use crate::tui::run::Parting;
use crate::tui::theme::Glyphs;
use crate::tui::ui::{Ask, Layer};

impl Turn<'_> {
    /// Carries out what was typed after `:`.
    ///
    /// # Errors
    /// Says what is wrong with the line; nothing was done.
    pub(super) fn run_line(&mut self, line: &str) -> Result<(), Safe> {
        match command::parse(line)? {
            Line::Open(to) => return self.open_table(to),
            Line::Text(kind) => self.open_text(kind, None),
            Line::Pulse => self.go(Page::Pulse(PulsePage::default())),
            Line::About(action, noun, name) => {
                let target = self.resolve(noun, &name)?;
                self.about(action, target);
            }
            Line::Act(verb, words) => return self.act_by_name(verb, &words),
            Line::Action(action) => self.act(action, None),
            Line::Scope(name) => return self.scope_or_namespace(&name),
            Line::Context(name, line) => return self.switch(&name, line),
            Line::Unlock(name) => return self.unlock(&name),
            Line::Bookmark(name) => self.bookmark(name),
            Line::Go(name) => return self.go_to_bookmark(&name),
            Line::Unmark(name) => self.unmark(&name)?,
            Line::Theme(name) => {
                self.ui.theme_chosen = true;
                self.effects.push(Effect::LoadTheme(name));
            }
            Line::Keymap(name) => self.effects.push(Effect::LoadKeymap(name)),
            Line::Set(setting) => self.set(setting),
            Line::Quit => self.quit(),
        }
        Ok(())
    }

    fn set(&mut self, setting: Setting) {
        match setting {
            Setting::LocalTime(on) => self.ui.local_time = on,
            Setting::Header(full) => self.ui.compact = !full,
            Setting::Crumbs(on) => self.ui.crumbs = on,
            Setting::Detail(on) => self.ui.detail = on,
            Setting::Ascii(on) => {
                self.ui.glyphs = if on { Glyphs::ASCII } else { Glyphs::UNICODE };
            }
        }
    }

    pub(super) fn quit(&mut self) {
        self.effects.push(Effect::Quit);
    }

    fn open_table(&mut self, to: Locator) -> Result<(), Safe> {
        let mut page = TablePage::new(to.kind);
        page.root = to.root;
        if let Some((noun, name)) = to.owner {
            page.owner = Some(self.resolve(Some(noun), &name)?);
        }
        page.set_filter(&to.filter);
        if let Some(error) = page.filter.error.take() {
            return Err(error);
        }
        if let Some((column, descending)) = to.sort {
            page.sort_by(&column);
            page.sort.descending = descending;
        }
        (page.faults, page.wide) = (to.faults, to.wide);
        if let Some(name) = &to.scope {
            self.ui.scope = self.scope_named(name)?;
        }
        if let Some(name) = to.name {
            self.aim(&mut page, &name);
        }
        self.go_anew(Page::Table(Box::new(page)));
        Ok(())
    }

    /// `:pools triage` goes to the row; `:agents triage` to the pool's agents; `:agents default` to a scope; anything else
    /// filters.
    fn aim(&mut self, page: &mut TablePage, name: &str) {
        let rows = page.kind.rows(self.view, &page.fetched, self.ui.now);
        let is_row =
            (0..rows.len()).any(|row| rows.name(row).as_str() == name || rows.id(row) == name);
        drop(rows);
        let pool = self.view.pools.iter().find(|pool| pool.name.as_str() == name);
        if page.kind == TableKind::Xray
            && let Ok(target) = self.resolve(None, name)
        {
            if target.noun == Noun::Agent {
                page.root = Root::Agent;
            }
            page.owner = Some(target);
        } else if is_row {
            page.goal = Some(name.to_owned());
        } else if let (TableKind::Agents, Some(pool)) = (page.kind, pool) {
            let (id, name) = (pool.id.to_string(), name.to_owned());
            page.owner = Some(TargetRef { noun: Noun::Pool, id, name });
        } else if let (TableKind::Agents | TableKind::Pools | TableKind::Health, Ok(scope)) =
            (page.kind, self.scope_named(&ScopeName::named(name)))
        {
            self.ui.scope = scope; // `:pods NAMESPACE`
        } else {
            page.set_filter(name);
        }
    }

    /// The thing that goes by `name`: an id or a name, of a kind or of any.
    ///
    /// # Errors
    /// Says that there is none.
    pub(super) fn resolve(&self, noun: Option<Noun>, name: &str) -> Result<TargetRef, Safe> {
        let target = |noun: Noun, id: &str, name: &Safe| TargetRef {
            noun,
            id: id.to_owned(),
            name: name.as_str().to_owned(),
        };
        let is = |wanted: Noun| noun.is_none_or(|noun| noun == wanted);
        let view = self.view;
        let pool = view.pools.iter().find(|row| row.name == *name || row.id.as_str() == name);
        if let Some(row) = pool.filter(|_| is(Noun::Pool)) {
            return Ok(target(Noun::Pool, row.id.as_str(), &row.name));
        }
        let agent = view.agents.iter().find(|row| row.name == *name || row.id.as_str() == name);
        if let Some(row) = agent.filter(|_| is(Noun::Agent)) {
            return Ok(target(Noun::Agent, row.id.as_str(), &row.name));
        }
        let template =
            view.templates.iter().find(|row| row.name == *name || row.id.as_str() == name);
        if let Some(row) = template.filter(|_| is(Noun::Template)) {
            return Ok(target(Noun::Template, row.id.as_str(), &row.name));
        }
        match noun {
            // What the view does not carry is known by its id alone.
            Some(
                noun @ (Noun::Message | Noun::Operation | Noun::Subscription | Noun::Publication),
            ) => Ok(target(noun, name, &Safe::new(name))),
            Some(noun @ (Noun::Agent | Noun::Pool | Noun::Template)) => {
                Err(Safe::new(&format!("no {noun} is called {name:?}")))
            }
            None => Err(Safe::new(&format!("nothing is called {name:?}"))),
        }
    }

    /// Goes to `page`; the one left is remembered. A page of the same kind and owner below is gone back to instead.
    pub(super) fn go(&mut self, mut page: Page) {
        self.keep_scope(&mut page);
        let left = self.ui.page().memo();
        self.ui.history.leave(&left);
        let same = self.ui.layers.iter().position(|layer| match (layer, &page) {
            (Layer::Page(Page::Table(a)), Page::Table(b)) => {
                (a.kind, a.root) == (b.kind, b.root) && a.owner == b.owner
            }
            (Layer::Page(Page::Text(a)), Page::Text(b)) => {
                (a.kind, &a.about, &a.host) == (b.kind, &b.about, &b.host)
            }
            (Layer::Page(Page::Pulse(_)), Page::Pulse(_)) => true,
            _ => false,
        });
        if let Some(at) = same {
            self.cut(at);
        }
        self.ui.layers.push(Layer::Page(page));
        self.ask_for_page();
    }

    /// Goes to `page` as the first of a new way: what the command bar opens has no page below it. Esc goes back in the
    /// history from there.
    fn go_anew(&mut self, mut page: Page) {
        self.keep_scope(&mut page);
        let left = self.ui.page().memo();
        self.ui.history.leave(&left);
        self.cut(0);
        self.ui.layers.push(Layer::Page(page));
        self.ask_for_page();
    }

    pub(super) fn open_text(&mut self, kind: TextKind, about: Option<TargetRef>) {
        self.go(Page::Text(Box::new(TextPage::new(kind, about))));
    }

    /// Describe, YAML or logs of `target`.
    pub(super) fn about(&mut self, action: Action, target: TargetRef) {
        match action {
            // without a record there is nothing stored to show
            Action::Yaml if self.is_stray(&target) => self.open_text(TextKind::Live, Some(target)),
            Action::Yaml => self.open_text(TextKind::Yaml, Some(target)),
            Action::Live => self.open_text(TextKind::Live, Some(target)),
            Action::Logs | Action::PreviousLogs => {
                self.open_logs(target, action == Action::PreviousLogs);
            }
            Action::Events => self.open_events(target),
            _ => self.open_text(TextKind::Describe, Some(target)),
        }
    }

    /// Takes every layer from `at` on away; what they waited for is forgotten.
    fn cut(&mut self, at: usize) {
        let gone: Vec<Layer> = self.ui.layers.drain(at..).collect();
        for layer in gone {
            let asked = match layer {
                Layer::Page(Page::Table(page)) => page.fetched.asked,
                Layer::Page(Page::Text(page)) => page.asked,
                // A plan already agreed to is carried out all the same: its answer is still waited for.
                Layer::Plan(plan) => plan.asked.filter(|_| !plan.confirming),
                Layer::Page(Page::Pulse(_)) | Layer::Prompt(_) => None,
            };
            if let Some(id) = asked {
                self.forget(id);
            }
        }
    }

    /// Takes the layer on top away, unless it is the last page. Returns whether it did.
    pub(super) fn pop(&mut self) -> bool {
        let top = self.ui.layers.len() - 1;
        let is_last_page = top == 0;
        if is_last_page {
            return false;
        }
        let left = matches!(self.ui.layers[top], Layer::Page(_)).then(|| self.ui.page().memo());
        self.cut(top);
        if let Some(left) = left {
            let line = self.ui.page().line();
            self.ui.history.retreat(&left, &line);
            self.take_scope();
            // a log goes on below what covers it: where it was read to is kept
            if !matches!(self.ui.page(), Page::Text(page) if page.goes_on()) {
                self.ask_for_page();
            }
        }
        true
    }

    /// Shows `page` in place of the one in sight, as the history has it.
    pub(super) fn swap(&mut self, page: Page) {
        let top = self.ui.layers.len() - 1;
        self.cut(top);
        self.ui.layers.push(Layer::Page(page));
        self.take_scope();
        self.ask_for_page();
    }

    /// One view back in the history, if there is one.
    pub(super) fn step_back(&mut self) {
        let here = self.ui.page().memo();
        if let Some(page) = self.ui.history.back(&here) {
            self.swap(page);
        }
    }

    pub(super) fn travel(&mut self, forward: bool) {
        let here = self.ui.page().memo();
        let history = &mut self.ui.history;
        let to = if forward { history.forward(&here) } else { history.back(&here) };
        match to {
            Some(page) => self.swap(page),
            None => self.refuse(if forward { "no view lies ahead" } else { "no view lies behind" }),
        }
    }

    /// `-`: the view before this one, and with the next `-` this one again.
    pub(super) fn last_view(&mut self) {
        let here = self.ui.page().memo();
        match self.ui.history.back(&here) {
            Some(page) => {
                self.ui.history.leave(&here);
                self.swap(page);
            }
            None => self.refuse("no view lies behind"),
        }
    }

    /// Asks for what the page in sight cannot take from the view.
    pub(super) fn ask_for_page(&mut self) {
        let (contexts, here) = (self.ui.contexts.clone(), self.ui.context.name.clone());
        let cluster = self.ui.context.cluster.clone();
        match self.ui.page_mut() {
            Page::Table(page) => {
                page.touch();
                if page.kind == TableKind::Contexts {
                    page.show(site::contexts(&contexts, &here, cluster.as_ref()));
                }
                self.read_rows(Need::Newest);
            }
            Page::Text(_) => self.read_text(),
            Page::Pulse(_) => {}
        }
    }

    fn read_text(&mut self) {
        let (keymap, readonly, role) = (self.keymap(), self.ui.readonly, self.ui.actor.role);
        let pages: Vec<&Page> = self.ui.pages().collect();
        let below = pages.iter().rev().nth(1).map(|page| page.scopes()).unwrap_or_default();
        let notices: Vec<_> = self.ui.notices.all().cloned().collect();
        if matches!(self.ui.page(), Page::Text(page) if page.kind == TextKind::Notices) {
            self.ui.notices.seen();
        }
        let now = self.ui.now;
        let missing: Vec<(Action, String)> = <Action as strum::IntoEnumIterator>::iter()
            .filter_map(|action| Some((action, self.ui.missing(action)?)))
            .collect();
        let Page::Text(page) = self.ui.page_mut() else { return };
        match page.kind {
            TextKind::Help => {
                let missing = |action| {
                    missing.iter().find(|(it, _)| *it == action).map(|(_, why)| why.clone())
                };
                page.content =
                    crate::tui::pages::help::help(&keymap, &below, readonly, role, &missing);
            }
            TextKind::Rights => {
                page.content = crate::tui::pages::help::rights(role);
                self.read_document();
            }
            TextKind::Aliases => page.content = crate::tui::pages::help::aliases(),
            TextKind::Notices => page.content = crate::tui::pages::help::notices(&notices, now),
            TextKind::Describe
            | TextKind::Yaml
            | TextKind::Json
            | TextKind::Steps
            | TextKind::Host
            | TextKind::Live
            | TextKind::Event(_) => self.read_document(),
            TextKind::Logs => self.follow_log(),
        }
    }

    pub(super) fn ask_to_quit(&mut self) {
        let agents = self.view.agents.len();
        let leads = self.view.system.leader.me;
        let goes_on = match (agents, leads) {
            _ if self.ui.parting == Parting::End => "they end with this demonstration".to_owned(),
            (0, _) => "there are no agents".to_owned(),
            (1, false) => "1 agent goes on".to_owned(),
            (n, false) => format!("{n} agents go on"),
            (1, true) => "1 agent goes on, and nobody leads".to_owned(),
            (n, true) => format!("{n} agents go on, and nobody leads"),
        };
        self.open_question(Ask::Quit, "Quit", &goes_on);
    }
}
