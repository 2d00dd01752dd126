//! What a page does with an action: moving, sorting, marking, searching, opening, copying.

use std::sync::Arc;

use super::Turn;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::tui::action::Action;
use crate::tui::effect::Effect;
use crate::tui::effect::EffectId;
use crate::tui::event::{Fault, Reply};
use crate::tui::pages::table::{TablePage, place};
use crate::tui::pages::text::TextKind;
use crate::tui::pages::{Page, TableKind, row, words};
use crate::tui::ui::{PromptKind, Side};
use crate::tui::widgets::Look;
use crate::tui::widgets::table::CellText;
use crate::tui::widgets::toast::Weight;

impl Turn<'_> {
    pub(super) fn page_action(&mut self, action: Action) {
        if action.changes_fleet() {
            return self.fleet_action(action);
        }
        match action {
            Action::CommandBar => self.open_prompt(PromptKind::Command),
            Action::Filter if matches!(self.ui.page(), Page::Pulse(_)) => {
                self.refuse("there is nothing to filter here");
            }
            Action::Filter => {
                let text = matches!(self.ui.page(), Page::Text(_));
                self.open_prompt(if text { PromptKind::Search } else { PromptKind::Filter });
            }
            Action::FilterLines => self.open_prompt(PromptKind::LineFilter),
            // as in k9s, the key that opened help closes it
            Action::Help if matches!(self.ui.page(), Page::Text(page) if page.kind == TextKind::Help) =>
            {
                self.pop();
            }
            Action::Help => self.open_text(TextKind::Help, None),
            Action::Notifications => self.open_text(TextKind::Notices, None),
            Action::Aliases => self.open_text(TextKind::Aliases, None),
            Action::Back | Action::Cancel => self.back(),
            Action::Leave => {
                if !self.pop() {
                    self.ask_to_quit();
                }
            }
            Action::CancelOrQuit => self.cancel_or_quit(),
            Action::Quit => self.quit(),
            Action::LastView => self.last_view(),
            Action::HistoryBack => self.travel(false),
            Action::HistoryForward => self.travel(true),
            Action::SaveView => self.save(),
            Action::Redraw => self.effects.push(Effect::Repaint),
            Action::Refresh => self.refresh_now(),
            Action::ToggleHeader => self.ui.compact = !self.ui.compact,
            Action::ToggleCrumbs => self.ui.crumbs = !self.ui.crumbs,
            Action::ToggleDetail if !matches!(self.ui.page(), Page::Table(_)) => {
                self.refuse("the side pane is for tables");
            }
            Action::ToggleDetail => {
                self.ui.detail = !self.ui.detail;
                self.ui.side = Side::default();
            }
            Action::NextPane => self.turn_pane(true),
            Action::PreviousPane => self.turn_pane(false),
            Action::ToggleReadOnly => self.toggle_readonly(),
            Action::TogglePerf => {
                self.ui.perf = if self.ui.perf.is_some() { None } else { Some(Default::default()) };
            }
            Action::Dump => {
                let id = self.ui.next_effect();
                self.effects.push(Effect::Dump(id));
            }
            _ => match self.ui.page() {
                Page::Table(_) => self.table_action(action),
                Page::Text(_) => self.text_action(action),
                Page::Pulse(_) => self.pulse_action(action),
            },
        }
    }

    fn toggle_readonly(&mut self) {
        if self.ui.readonly && self.ui.context.protected {
            return self.open_command("unlock ");
        }
        self.ui.readonly = !self.ui.readonly;
        let said = if self.ui.readonly {
            "read-only: nothing is changed from here"
        } else {
            "changes are allowed again"
        };
        self.say(Weight::Info, said);
    }

    /// Esc: the filter first, then the marks, then the page.
    fn back(&mut self) {
        match self.ui.page_mut() {
            Page::Table(page) if !page.filter.line.is_empty() => page.set_filter(""),
            Page::Table(page) if !page.state.marks.is_empty() => page.state.marks.clear(),
            Page::Text(page) if page.state.search.is_some() => {
                page.state.search = None;
                page.state.hit = None;
            }
            Page::Text(page) if page.filter.is_some() => {
                let before = page.filter.take();
                page.shown = None;
                self.refilter_log(before.as_ref().map(regex::Regex::as_str));
            }
            Page::Table(_) | Page::Text(_) | Page::Pulse(_) => {
                if !self.pop() {
                    self.step_back();
                }
            }
        }
    }

    fn cancel_or_quit(&mut self) {
        if let Some(operation) = self.running_operation() {
            let id = self.ui.next_effect();
            self.effects.push(Effect::Cancel(id, operation));
            return;
        }
        match self.ui.watched.last().cloned() {
            Some(watched) => {
                let id = self.ui.next_effect();
                self.effects.push(Effect::Cancel(id, watched.operation));
                self.ui.watched.pop();
            }
            None => self.quit(),
        }
    }

    /// `ctrl-r`: reads anew, and says how old the picture is.
    fn refresh_now(&mut self) {
        self.read_again();
        let age = self.ui.now.since(self.view.at);
        let how = match self.view.stale_since {
            Some(since) => format!(
                "the store is away: this is as of {} ago",
                words::exact(self.ui.now.since(since))
            ),
            None => format!("up to date: the fleet last changed {} ago", words::exact(age)),
        };
        self.say(Weight::Info, &how);
    }

    /// Reads anew what the page in sight does not take from the view.
    pub(super) fn read_again(&mut self) {
        self.ask_for_page();
    }

    /// Gives the rows of the table in sight to `act`.
    pub(super) fn with_rows<T>(
        &mut self,
        act: impl FnOnce(&mut TablePage, &dyn crate::tui::pages::row::Rows) -> T,
    ) -> Option<T> {
        let (view, now) = (self.view, self.ui.now);
        let Page::Table(page) = self.ui.page_mut() else { return None };
        // Lent for the while: the rows read must not be copied for each key.
        let fetched = std::mem::take(&mut page.fetched);
        let acted = act(page, page.kind.rows(view, &fetched, now).as_ref());
        page.fetched = fetched;
        Some(acted)
    }

    pub(super) fn move_by(&mut self, by: isize) {
        self.ui.side.top = 0; // it will be about another row
        self.with_rows(|page, rows| {
            page.state.step(by, page.listing.rows.len());
            page.hold(rows);
        });
    }

    /// The keys go to the side pane, or back to the table.
    fn turn_pane(&mut self, forward: bool) {
        if self.ui.detail && matches!(self.ui.page(), Page::Table(_)) {
            self.ui.side.focused = !self.ui.side.focused;
        } else {
            self.next_pane(forward);
        }
    }

    /// Scrolls the side pane if it has the keys; returns whether it did.
    fn side_action(&mut self, action: Action) -> bool {
        let hits = self.ui.hits.side;
        if !self.ui.side.focused || !self.ui.detail {
            return false;
        }
        let page = isize::try_from(hits.height.max(1)).unwrap_or(1);
        let by = match action {
            Action::SelectNext => 1,
            Action::SelectPrevious => -1,
            Action::PageDown => page,
            Action::PageUp => -page,
            Action::SelectFirst => isize::MIN,
            Action::SelectLast => isize::MAX,
            _ => return false,
        };
        self.ui.side.top = hits.top.saturating_add_signed(by);
        true
    }

    fn table_action(&mut self, action: Action) {
        if self.side_action(action) || self.jump_action(action) {
            return;
        }
        let height = isize::try_from(self.ui.hits.table.height.max(1)).unwrap_or(1);
        match action {
            Action::SelectNext => self.move_by(1),
            Action::SelectPrevious => self.move_by(-1),
            Action::SelectFirst => self.move_by(isize::MIN),
            Action::SelectLast => self.move_by(isize::MAX),
            Action::PageDown => self.move_by(height),
            Action::PageUp => self.move_by(-height),
            Action::HalfPageDown => self.move_by(height / 2),
            Action::HalfPageUp => self.move_by(-(height / 2)),
            Action::ScrollLeft
            | Action::ScrollRight
            | Action::NextColumn
            | Action::PreviousColumn => {
                self.column_action(action);
            }
            Action::SortName => self.sort("name"),
            Action::SortAge => self.sort("age"),
            Action::SortState => self.sort("state"),
            Action::SortPool => self.sort("pool"),
            Action::SortQueue => self.sort("queue"),
            Action::SortHealth => self.sort("health"),
            Action::SortCpu => self.sort("cpu"),
            Action::SortMemory => self.sort("mem"),
            Action::SortRestarts => self.sort("restarts"),
            Action::SortColumn => {
                let picked = match self.ui.page() {
                    Page::Table(page) => {
                        page.columns().get(page.state.picked).map(|column| column.key)
                    }
                    Page::Text(_) | Page::Pulse(_) => None,
                };
                if let Some(column) = picked {
                    self.sort(column);
                }
            }
            Action::InvertSort => self.with_page(|page| {
                page.sort.descending = !page.sort.descending;
                page.touch();
            }),
            Action::ToggleWide => self.with_page(|page| {
                page.wide = !page.wide;
                (page.state.scrolled, page.state.picked) = (0, 0);
            }),
            Action::ToggleFaults => self.with_page(|page| {
                page.faults = !page.faults;
                page.touch();
            }),
            Action::FreezeOrder => {
                self.with_rows(TablePage::toggle_freeze);
            }
            Action::ToggleMark | Action::MarkRange | Action::MarkAll | Action::ClearMarks => {
                self.mark(action);
            }
            Action::CopyName | Action::CopyCell => self.copy(action),
            Action::Open => self.open_row(),
            Action::Describe
            | Action::Yaml
            | Action::Live
            | Action::Logs
            | Action::PreviousLogs
            | Action::Events => match self.selected() {
                None if action == Action::Describe && self.is_at(TableKind::Hosts) => {
                    self.describe_host();
                }
                Some(target) => self.about(action, target),
                None if self.is_at(TableKind::Hosts) => {
                    self.refuse(
                        "a host has no document of ours: d tells what the cluster says of it",
                    );
                }
                None if self.on_a_row() => {
                    self.refuse("all there is to say of this row is beside it: | or enter");
                }
                None => self.refuse("there is no row to look at"),
            },
            Action::Owner => self.owner(),
            Action::ToggleFollow => self.toggle_follow(),
            _ => self.refuse("that does nothing here"),
        }
    }

    /// Whether a row is chosen, though nothing of the fleet stands behind it: the store, a loop.
    fn on_a_row(&self) -> bool {
        matches!(self.ui.page(), Page::Table(page) if page.state.selected.is_some())
    }

    pub(super) fn is_at(&self, kind: TableKind) -> bool {
        matches!(self.ui.page(), Page::Table(page) if page.kind == kind)
    }

    fn with_page(&mut self, act: impl FnOnce(&mut TablePage)) {
        if let Page::Table(page) = self.ui.page_mut() {
            act(page);
        }
    }

    fn sort(&mut self, column: &str) {
        if self.is_at(TableKind::Xray) {
            return self.refuse("a tree has its own order, what is not well first; :agents and :pools can be sorted");
        }
        let mut known = true;
        self.with_page(|page| {
            // A pool's health is part of its state.
            known = page.sort_by(column) || (column == "health" && page.sort_by("state"));
        });
        if !known {
            self.refuse("there is no such column here");
        }
    }

    fn column_action(&mut self, action: Action) {
        let hidden = self.ui.hits.table.hidden;
        self.with_page(|page| {
            let count = page.columns().len();
            let state = &mut page.state;
            match action {
                Action::ScrollLeft => state.scrolled = state.scrolled.saturating_sub(1),
                Action::ScrollRight if hidden > 0 => state.scrolled += 1,
                Action::NextColumn => state.picked = (state.picked + 1) % count.max(1),
                Action::PreviousColumn => {
                    state.picked = (state.picked + count.max(1) - 1) % count.max(1);
                }
                _ => {}
            }
        });
    }

    fn mark(&mut self, action: Action) {
        self.with_rows(|page, rows| {
            let selected = page.selected_row().map(|row| Arc::<str>::from(rows.id(row)));
            match (action, selected) {
                (Action::ToggleMark, Some(id)) => {
                    if !page.state.marks.remove(&id) {
                        page.state.marks.insert(id.clone());
                    }
                    page.state.anchor = Some(id);
                    page.state.step(1, page.listing.rows.len());
                    page.hold(rows);
                }
                (Action::MarkRange, Some(_)) => {
                    let anchor = page.state.anchor.clone();
                    let begin = anchor.and_then(|anchor| {
                        page.listing
                            .rows
                            .iter()
                            .position(|row| rows.id(place(*row)) == anchor.as_ref())
                    });
                    let here = page.state.position;
                    let begin = begin.unwrap_or(here);
                    for row in &page.listing.rows[begin.min(here)..=begin.max(here)] {
                        page.state.marks.insert(Arc::from(rows.id(place(*row))));
                    }
                }
                (Action::MarkAll, _) => {
                    for row in &page.listing.rows {
                        page.state.marks.insert(Arc::from(rows.id(place(*row))));
                    }
                }
                (Action::ClearMarks, _) => page.state.marks.clear(),
                _ => {}
            }
        });
    }

    fn copy(&mut self, action: Action) {
        let (theme, glyphs) = (self.ui.theme.clone(), self.ui.glyphs);
        let look = Look { theme: &theme, glyphs: &glyphs };
        let text = self.with_rows(|page, rows| {
            let at = page.selected_row()?;
            if action == Action::CopyName {
                return Some(rows.name(at).clone());
            }
            let columns = page.columns();
            let column = columns.get(page.state.picked)?;
            let mut cell = CellText::default();
            row::cell(rows, at, column, look, &mut cell);
            Some(Safe::new(cell.as_str()))
        });
        if let Some(text) = text.flatten() {
            self.say(Weight::Info, &format!("copied {}", text.as_str()));
            self.effects.push(Effect::Copy(vec![text]));
        }
    }

    /// The thing under the cursor.
    pub(super) fn selected(&mut self) -> Option<TargetRef> {
        self.with_rows(|page, rows| page.selected_row().and_then(|row| rows.target(row))).flatten()
    }

    /// The things that an act is about: marked, or under the cursor.
    pub(super) fn targets(&mut self) -> Vec<TargetRef> {
        self.with_rows(|page, rows| page.targets(rows)).unwrap_or_default()
    }

    fn text_action(&mut self, action: Action) {
        if self.log_action(action) {
            return;
        }
        if action == Action::Reveal {
            return self.reveal();
        }
        if action == Action::Live {
            let about = match self.ui.page() {
                Page::Text(page) => page.about.clone(),
                Page::Table(_) | Page::Pulse(_) => None,
            };
            return match about.filter(|about| about.noun == Noun::Agent) {
                Some(agent) => self.about(Action::Live, agent),
                None => self.refuse("only an agent has objects in its runtime"),
            };
        }
        let (theme, glyphs) = (self.ui.theme.clone(), self.ui.glyphs);
        let look = Look { theme: &theme, glyphs: &glyphs };
        let hits = self.ui.hits.text;
        let mut copied = None;
        let mut refused = false;
        if let Page::Text(page) = self.ui.page_mut() {
            if action == Action::CopyName {
                let lines = page.copy(look);
                let said = copied_words(lines.len(), page.count(), page.kind);
                copied = Some((lines, said));
            } else {
                refused = !page.action(action, hits, look);
            }
        }
        if refused {
            self.refuse("that does nothing here");
        }
        if let Some((lines, said)) = copied {
            self.say(Weight::Info, &said);
            self.effects.push(Effect::Copy(lines));
        }
    }

    /// What the page asked for has come.
    pub(super) fn page_answered(&mut self, id: EffectId, answer: Result<Reply, Fault>) {
        let (view, now) = (self.view, self.ui.now);
        let (theme, glyphs) = (self.ui.theme.clone(), self.ui.glyphs);
        let look = Look { theme: &theme, glyphs: &glyphs };
        let failed = match self.ui.pages_mut().find(|page| super::is_asked(page, id)) {
            Some(Page::Table(page)) => {
                page.fetched.asked = None;
                page.answered(answer, view)
            }
            Some(Page::Text(page)) => {
                page.asked = None;
                page.answered(answer, view, now, look);
                None
            }
            Some(Page::Pulse(_)) | None => None,
        };
        if let Some(fault) = failed {
            self.say_fault(&fault);
        }
    }
}

/// What is said of a copy of a text; a terminal takes only so much at once.
fn copied_words(copied: usize, all: usize, kind: TextKind) -> String {
    let which = if kind == TextKind::Logs { "last" } else { "first" };
    let lines = if all == 1 { "line" } else { "lines" };
    if copied == all {
        format!("copied {all} {lines}")
    } else {
        format!(
            "copied the {which} {copied} of {all} lines: a terminal takes no more; ctrl-s saves all of them"
        )
    }
}
