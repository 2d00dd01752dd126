//! Editing a thing in the operator's editor: read, written out as a manifest, and what comes back made into a plan. What
//! was typed is never lost: it stays in its file until it has been written.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::Turn;
use crate::model::manifest::editable;
use crate::model::plan::{Command, Noun, TargetRef};
use crate::model::text::Safe;
use crate::tui::effect::{EditOrder, Effect, Fetch};
use crate::tui::event::{Edited, Fault, Reply};
use crate::tui::ui::Ask;
use crate::tui::widgets::toast::Weight;

impl Turn<'_> {
    /// Reads the one selected thing for the editor.
    pub(super) fn begin_edit(&mut self, targets: &[TargetRef]) {
        let [target] = targets else {
            return self.refuse("edit takes one thing at a time");
        };
        if !matches!(target.noun, Noun::Agent | Noun::Pool | Noun::Template) {
            return self.refuse(&format!("a {} cannot be edited", target.noun));
        }
        let id = self.ui.next_effect();
        self.ui.editing = Some((id, target.clone()));
        self.effects.push(Effect::Fetch(id, Fetch::Document(target.noun, target.id.clone())));
    }

    /// What was read has come: it goes to the editor as a manifest.
    pub(super) fn open_editor(&mut self, answer: Result<Reply, Fault>) {
        let Some((_, target)) = self.ui.editing.take() else { return };
        let document = match answer {
            Ok(Reply::Document(document)) => document,
            Ok(_) => return,
            Err(fault) => return self.say_fault(&fault),
        };
        let Some(base) = editable(target.noun, &document.body) else { return };
        match text(&target, &base) {
            Ok(text) => self.effects.push(Effect::Edit(Box::new(EditOrder { target, base, text }))),
            Err(why) => self.say_safe(Weight::Alarm, Safe::new(&why)),
        }
    }

    /// The editor has ended.
    pub(super) fn edited(&mut self, order: EditOrder, outcome: Result<Edited, Safe>) {
        let Edited { text, file } = match outcome {
            Ok(edited) => edited,
            Err(why) => return self.say_safe(Weight::Warn, why),
        };
        let fields: Map<String, Value> = match serde_saphyr::from_str(&text) {
            Ok(Value::Object(fields)) => fields,
            // everything was taken out: nothing is meant
            Ok(Value::Null) => order.base.clone(),
            Ok(_) => return self.keep("it is no mapping of names to values", file),
            Err(error) => {
                let said = error.to_string();
                let first = said.lines().find(|line| !line.trim().is_empty());
                let why = format!("it is not valid YAML: {}", first.unwrap_or_default());
                return self.keep(&why, file);
            }
        };
        let EditOrder { target, base, .. } = order;
        if fields == base {
            self.effects.push(Effect::Discard(file));
            return self.say(Weight::Info, &format!("{}: nothing was changed", target.name));
        }
        let command = Command::Edit { noun: target.noun, name: target.id, base, fields };
        self.open_plan(Ask::Edit { command, file });
    }

    /// Says where an edit is that was not written.
    pub(super) fn keep(&mut self, why: &str, file: PathBuf) {
        let colon = if why.is_empty() { "" } else { ": " };
        let said = format!("{why}{colon}your edit is kept in {}", file.display());
        self.say_safe(Weight::Warn, Safe::new(&said));
    }
}

fn text(target: &TargetRef, base: &Map<String, Value>) -> Result<String, String> {
    let yaml = serde_saphyr::to_string(&Value::Object(base.clone()))
        .map_err(|error| format!("{} has no text form: {error}", target.name))?;
    let name = Safe::new(&target.name);
    Ok(format!(
        "# {} {}: save and leave to see what would change; unchanged, nothing happens.\n{yaml}",
        target.noun,
        name.as_str()
    ))
}

#[cfg(test)]
mod tests;
