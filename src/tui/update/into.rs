//! From a row into what it holds, to what owns it, to what happened to it, and from pane to pane.

use super::Turn;
use crate::model::id::{AgentId, OperationId};
use crate::model::plan::{Noun, TargetRef};
use crate::tui::action::Action;
use crate::tui::pages::table::TablePage;
use crate::tui::pages::text::TextKind;
use crate::tui::pages::{Page, TableKind};
use crate::tui::widgets::Look;

/// Pages about messages, in the order in which the next pane is gone to.
const PANES: [TableKind; 4] =
    [TableKind::Messages, TableKind::Queues, TableKind::Publications, TableKind::Subscriptions];

impl Turn<'_> {
    fn kind(&self) -> Option<TableKind> {
        match self.ui.page() {
            Page::Table(page) => Some(page.kind),
            Page::Text(_) | Page::Pulse(_) => None,
        }
    }

    /// Enter: into what the row holds; where it holds nothing, what is known of it.
    pub(super) fn open_row(&mut self) {
        let Some(kind) = self.kind() else { return };
        if kind == TableKind::Events {
            return self.open_event();
        }
        if kind == TableKind::Xray {
            return self.open_line();
        }
        if matches!(kind, TableKind::Hosts | TableKind::Namespaces | TableKind::Contexts) {
            return self.open_place(kind);
        }
        if kind == TableKind::Forwards {
            return;
        }
        let Some(target) = self.selected() else {
            // A part of the system: the side pane has all there is to know.
            self.ui.detail = true;
            return;
        };
        match kind {
            TableKind::Pools | TableKind::Templates => self.open_within(TableKind::Agents, target),
            TableKind::Queues => self.open_within(TableKind::Messages, target),
            TableKind::Messages | TableKind::Publications => {
                self.open_text(TextKind::Json, Some(target));
            }
            TableKind::Subscriptions => self.about(Action::Yaml, target),
            TableKind::Operations => self.open_text(TextKind::Steps, Some(target)),
            TableKind::Agents
            | TableKind::Health
            | TableKind::Events
            | TableKind::Xray
            | TableKind::Hosts
            | TableKind::Namespaces
            | TableKind::Contexts
            | TableKind::Forwards => self.about(Action::Describe, target),
        }
    }

    /// Moves over the tiles, and into what is behind one.
    pub(super) fn pulse_action(&mut self, action: Action) {
        let (view, now) = (self.view, self.ui.now);
        let (theme, glyphs) = (self.ui.theme.clone(), self.ui.glyphs);
        let look = Look { theme: &theme, glyphs: &glyphs };
        let Page::Pulse(page) = self.ui.page_mut() else { return };
        match action {
            Action::SelectNext => page.step(1),
            Action::SelectPrevious => page.step(-1),
            Action::SelectFirst => page.step(isize::MIN),
            Action::SelectLast => page.step(isize::MAX),
            Action::Open => {
                let Some(page) = page.drill(view, now, look) else { return };
                self.go(Page::Table(Box::new(page)));
            }
            _ => self.refuse("that does nothing here"),
        }
    }

    /// The journal entry under the cursor, with its patch.
    fn open_event(&mut self) {
        let seq = self.with_rows(|page, rows| {
            page.selected_row().and_then(|row| rows.id(row).parse::<u64>().ok())
        });
        if let Some(seq) = seq.flatten() {
            let about = self.selected();
            self.open_text(TextKind::Event(seq), about);
        }
    }

    pub(super) fn open_events(&mut self, target: TargetRef) {
        self.open_within(TableKind::Events, target);
    }

    /// `J`: from an agent to its pool, from a pool to its template, from a message to its receiver, from an event to
    /// what it is about.
    pub(super) fn owner(&mut self) {
        let Some(target) = self.selected() else { return };
        match self.owner_of(&target) {
            Some((kind, id)) => {
                let mut page = TablePage::new(kind);
                page.goal = Some(id);
                self.go(Page::Table(Box::new(page)));
            }
            None => self.refuse("nothing owns this"),
        }
    }

    fn owner_of(&mut self, target: &TargetRef) -> Option<(TableKind, String)> {
        let view = self.view;
        match (self.kind()?, target.noun) {
            (TableKind::Events, noun) => {
                let kind = match noun {
                    Noun::Agent => TableKind::Agents,
                    Noun::Pool => TableKind::Pools,
                    Noun::Template => TableKind::Templates,
                    Noun::Message => TableKind::Messages,
                    Noun::Subscription => TableKind::Subscriptions,
                    Noun::Publication => TableKind::Publications,
                    Noun::Operation => TableKind::Operations,
                };
                Some((kind, target.id.clone()))
            }
            (TableKind::Queues, Noun::Agent) => Some((TableKind::Agents, target.id.clone())),
            (_, Noun::Agent) => {
                let row = AgentId::new(&target.id).ok().and_then(|id| view.agent(&id))?;
                row.pool.as_ref().map(|pool| (TableKind::Pools, pool.as_str().to_owned()))
            }
            (_, Noun::Pool) => {
                let row = view.pools.iter().find(|row| row.id.as_str() == target.id)?;
                let template = row.template.as_ref()?;
                Some((TableKind::Templates, template.as_str().to_owned()))
            }
            (_, Noun::Message) => self.agent_in("to_agent_id"),
            (_, Noun::Publication) => self.agent_in("publisher_agent_id"),
            (_, Noun::Subscription) => {
                let row = view.subscriptions.iter().find(|row| row.id.as_str() == target.id)?;
                Some((TableKind::Agents, row.subscriber.as_str().to_owned()))
            }
            (_, Noun::Template | Noun::Operation) => None,
        }
    }

    /// The agent that the selected document names in `field`.
    fn agent_in(&self, field: &str) -> Option<(TableKind, String)> {
        let Page::Table(page) = self.ui.page() else { return None };
        let row = page.fetched.papers.rows.get(page.selected_row()?)?;
        let id = row.document.body.get(field)?.as_str()?;
        Some((TableKind::Agents, id.to_owned()))
    }

    /// Tab: the next of the pages about messages.
    pub(super) fn next_pane(&mut self, forward: bool) {
        let here = self.kind().and_then(|kind| PANES.iter().position(|pane| *pane == kind));
        let Some(here) = here else {
            return self.refuse("there is one pane only");
        };
        let step = if forward { 1 } else { PANES.len() - 1 };
        let mut page = TablePage::new(PANES[(here + step) % PANES.len()]);
        // What belongs to one agent stays with it.
        if let Page::Table(before) = self.ui.page() {
            page.owner = before.owner.clone().filter(|owner| owner.noun == Noun::Agent);
        }
        let left = self.ui.page().memo();
        self.ui.history.leave(&left);
        self.swap(Page::Table(Box::new(page)));
    }

    /// The operation that is selected, or that the text in sight is about.
    pub(super) fn operation_in_sight(&mut self) -> Option<TargetRef> {
        let target = match self.ui.page() {
            Page::Table(_) => self.selected(),
            Page::Text(page) => page.about.clone(),
            Page::Pulse(_) => None,
        };
        target.filter(|target| target.noun == Noun::Operation)
    }

    /// The same, if it still runs: what ctrl-c would cancel.
    pub(super) fn running_operation(&mut self) -> Option<OperationId> {
        if self.is_covered() {
            return None;
        }
        let target = self.operation_in_sight()?;
        let row = self.view.operations.iter().find(|row| row.id.as_str() == target.id)?;
        (!row.status.is_over()).then(|| row.id.clone())
    }
}
