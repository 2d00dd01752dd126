//! The line prompts: commands with suggestions, filters that act while they are typed, searches in texts.

use regex::{Regex, RegexBuilder};

use super::Turn;
use crate::model::text::Safe;
use crate::tui::action::Action;
use crate::tui::command::suggest::{Known, ghost, suggest};
use crate::tui::keys::{Key, typed};
use crate::tui::pages::Page;
use crate::tui::ui::{Layer, PromptKind, PromptLayer};
use crate::tui::widgets::edit::LineEdit;

impl Turn<'_> {
    pub(super) fn open_prompt(&mut self, kind: PromptKind) {
        let before = match (kind, self.ui.page()) {
            (PromptKind::Filter, Page::Table(page)) => page.filter.line.clone(),
            (PromptKind::LineFilter, Page::Text(page)) => {
                page.filter.as_ref().map(|filter| filter.as_str().to_owned()).unwrap_or_default()
            }
            _ => String::new(),
        };
        let edit = LineEdit::new(&before);
        let prompt =
            PromptLayer { kind, edit, before, suggestions: Vec::new(), chosen: None, error: None };
        self.ui.layers.push(Layer::Prompt(Box::new(prompt)));
        self.prompt_changed();
    }

    /// Opens the command bar with `line` typed already.
    pub(super) fn open_command(&mut self, line: &str) {
        self.open_prompt(PromptKind::Command);
        if let Some(prompt) = self.ui.prompt_mut() {
            prompt.edit.set(line);
        }
        self.prompt_changed();
    }

    /// Gives `key` to the line; every key that edits is taken.
    pub(super) fn edit_prompt(&mut self, key: Key) -> bool {
        // A second `:` behind a line that was refused begins anew, as the first one did.
        if typed(key) == Some(':')
            && let Some(prompt) = self.ui.prompt_mut()
            && prompt.kind == PromptKind::Command
            && prompt.error.is_some()
        {
            prompt.edit.set("");
            self.prompt_changed();
            return true;
        }
        let taken = self.ui.prompt_mut().is_some_and(|prompt| prompt.edit.key(key));
        if taken {
            self.prompt_changed();
        }
        taken
    }

    /// The line was edited: suggestions, filter and errors follow.
    pub(super) fn prompt_changed(&mut self) {
        let Some(prompt) = self.ui.prompt_mut() else { return };
        let line = prompt.edit.text().to_owned();
        match prompt.kind {
            PromptKind::Command => {
                let known = Known {
                    view: self.view,
                    bookmarks: &self.ui.bookmarks,
                    contexts: &self.ui.contexts,
                };
                let suggestions = suggest(&line, known);
                if let Some(prompt) = self.ui.prompt_mut() {
                    prompt.suggestions = suggestions;
                    prompt.chosen = None;
                    prompt.error = None;
                }
            }
            PromptKind::Filter => {
                let Page::Table(page) = self.ui.page_mut() else { return };
                page.set_filter(&line);
                let error = page.filter.error.clone();
                if let Some(prompt) = self.ui.prompt_mut() {
                    prompt.error = error;
                }
            }
            PromptKind::Search => self.search(&line),
            PromptKind::LineFilter => self.filter_lines(&line),
        }
    }

    fn search(&mut self, line: &str) {
        let error = if line.is_empty() { None } else { smart_regex(line).err() };
        if error.is_none() {
            let search = smart_regex(line).ok().filter(|_| !line.is_empty());
            let (theme, glyphs) = (self.ui.theme.clone(), self.ui.glyphs);
            let look = crate::tui::widgets::Look { theme: &theme, glyphs: &glyphs };
            let hits = self.ui.hits.text;
            if let Page::Text(page) = self.ui.page_mut() {
                page.search(search, hits, look);
            }
        }
        if let Some(prompt) = self.ui.prompt_mut() {
            prompt.error = error.map(|error| Safe::new(&error));
        }
    }

    fn filter_lines(&mut self, line: &str) {
        let parsed = if line.is_empty() { Ok(None) } else { smart_regex(line).map(Some) };
        let (theme, glyphs) = (self.ui.theme.clone(), self.ui.glyphs);
        let look = crate::tui::widgets::Look { theme: &theme, glyphs: &glyphs };
        let error = match parsed {
            Ok(filter) => {
                if let Page::Text(page) = self.ui.page_mut() {
                    page.filter = filter;
                    page.refilter(look);
                }
                None
            }
            Err(error) => Some(Safe::new(&error)),
        };
        if let Some(prompt) = self.ui.prompt_mut() {
            prompt.error = error;
        }
    }

    pub(super) fn prompt_action(&mut self, action: Action, key: Option<Key>) {
        match action {
            Action::Submit => self.submit(),
            Action::Cancel => self.leave_prompt(),
            Action::Complete => self.complete(key),
            Action::NextSuggestion => self.choose(1),
            Action::PreviousSuggestion => self.choose(-1),
            // Bound to a prompt by a user's keymap, but of no use here.
            _ => {
                if let Some(key) = key {
                    self.edit_prompt(key);
                }
            }
        }
    }

    fn submit(&mut self) {
        let Some(prompt) = self.ui.prompt_mut() else { return };
        if prompt.kind != PromptKind::Command {
            if prompt.error.is_none() {
                let (kind, before) = (prompt.kind, prompt.before.clone());
                self.ui.layers.pop();
                if kind == PromptKind::LineFilter {
                    let before = Some(before.as_str()).filter(|before| !before.is_empty());
                    self.refilter_log(before);
                }
            }
            return;
        }
        let chosen = prompt.chosen.and_then(|at| prompt.suggestions.get(at));
        let line = chosen.map_or_else(|| prompt.edit.text().to_owned(), |it| it.line.clone());
        self.ui.layers.pop();
        if line.trim().is_empty() {
            return;
        }
        if let Err(error) = self.run_line(&line) {
            // The line comes back with what is wrong beside it.
            let edit = LineEdit::new(&line);
            let prompt = PromptLayer {
                kind: PromptKind::Command,
                edit,
                before: String::new(),
                suggestions: Vec::new(),
                chosen: None,
                error: Some(error),
            };
            self.ui.layers.push(Layer::Prompt(Box::new(prompt)));
        }
    }

    /// Closes the prompt; what it changed while it was typed is as it was before.
    fn leave_prompt(&mut self) {
        let Some(prompt) = self.ui.prompt_mut() else { return };
        let (kind, before) = (prompt.kind, prompt.before.clone());
        self.ui.layers.pop();
        match kind {
            PromptKind::Command => {}
            PromptKind::Filter => {
                if let Page::Table(page) = self.ui.page_mut() {
                    page.set_filter(&before);
                }
            }
            PromptKind::Search => self.search(""),
            PromptKind::LineFilter => self.filter_lines(&before),
        }
    }

    fn complete(&mut self, key: Option<Key>) {
        let Some(prompt) = self.ui.prompt_mut() else { return };
        let chosen = prompt.suggestions.get(prompt.chosen.unwrap_or(0));
        let goes_on = !ghost(prompt.edit.text(), chosen).is_empty();
        let is_move = key.is_some_and(|key| {
            key == crate::tui::keys::normal(
                crossterm::event::KeyCode::Right,
                crossterm::event::KeyModifiers::NONE,
            )
        });
        // → takes the ghost when there is one in front of the cursor, else it moves the cursor.
        if is_move && !(goes_on && prompt.edit.at_end()) {
            if let Some(key) = key {
                prompt.edit.key(key);
            }
            return;
        }
        if let Some(line) = chosen.map(|it| it.line.clone()) {
            prompt.edit.set(&line);
            self.prompt_changed();
        }
    }

    fn choose(&mut self, by: isize) {
        let Some(prompt) = self.ui.prompt_mut() else { return };
        let count = prompt.suggestions.len();
        if count == 0 {
            return;
        }
        prompt.chosen = match (prompt.chosen, by) {
            (None, 1) => Some(0),
            (None, _) => Some(count - 1),
            (Some(at), 1) if at + 1 == count => None,
            (Some(0), -1) => None,
            (Some(at), by) => Some(at.saturating_add_signed(by)),
        };
    }
}

/// Heeds case only when an upper-case letter was typed; what is no regex says why, in one line.
fn smart_regex(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .case_insensitive(!text.chars().any(char::is_uppercase))
        .size_limit(1 << 20)
        .build();
    built.map_err(|error| {
        let said = error.to_string();
        let why = said.lines().rev().find_map(|line| line.strip_prefix("error: "));
        format!("no regex: {}", why.unwrap_or(said.lines().next().unwrap_or_default()))
    })
}
