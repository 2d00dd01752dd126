//! Operations begun here, until their end has been told; and what the journal says while a page shows it.

use std::sync::Arc;

use super::Turn;
use crate::model::event::Event;
use crate::model::operation::OperationStatus;
use crate::model::text::Safe;
use crate::tui::action::Action;
use crate::tui::effect::EffectId;
use crate::tui::event::LogBatch;
use crate::tui::pages::Page;
use crate::tui::widgets::toast::Weight;

impl Turn<'_> {
    /// Tells the end of each operation begun here, once.
    pub(super) fn tell_ends(&mut self) {
        let view = self.view;
        let mut ended = Vec::new();
        self.ui.watched.retain(|watched| {
            let row = view.operations.iter().find(|row| row.id == watched.operation);
            match row.filter(|row| row.status.is_over()) {
                Some(row) => {
                    ended.push(row.clone());
                    false
                }
                None => true,
            }
        });
        for row in ended {
            let undo = match self.ui.key_for(Action::Undo) {
                Some(key) if row.can_undo => format!("  ({key} undo)"),
                _ => String::new(),
            };
            let said = row.message.as_str();
            let colon = if said.is_empty() { "" } else { ": " };
            let (weight, text) = match row.status {
                OperationStatus::Succeeded => {
                    (Weight::Info, format!("{}{undo}", row.title.as_str()))
                }
                OperationStatus::Cancelled => {
                    (Weight::Warn, format!("cancelled: {}", row.title.as_str()))
                }
                OperationStatus::Failed => {
                    (Weight::Alarm, format!("failed: {}{colon}{said}", row.title.as_str()))
                }
                OperationStatus::RolledBack => {
                    (Weight::Alarm, format!("rolled back: {}{colon}{said}", row.title.as_str()))
                }
                OperationStatus::Running => continue,
            };
            self.say_safe(weight, Safe::new(&text));
        }
    }

    pub(super) fn journal(&mut self, entry: &Arc<Event>) {
        // Pages below read again when they come into sight.
        if let Page::Table(page) = self.ui.page_mut() {
            page.journal(entry);
        }
    }

    /// Entries were missed: what shows them reads again.
    pub(super) fn journal_gap(&mut self) {
        self.read_again();
    }

    pub(super) fn lines(&mut self, id: EffectId, lines: LogBatch) {
        if !self.ui.waiting.contains(&id) {
            return;
        }
        let look = self.ui.theme.clone();
        let glyphs = self.ui.glyphs;
        let look = crate::tui::widgets::Look { theme: &look, glyphs: &glyphs };
        for page in self.ui.pages_mut() {
            match page {
                Page::Text(page) if page.asked == Some(id) => return page.log(lines, look),
                Page::Text(_) | Page::Table(_) | Page::Pulse(_) => {}
            }
        }
    }
}
