//! The middle of a plan dialog: facts packed into lines, warnings, the way back, then every step. Steps are made into
//! lines only where they are in sight, since there may be thousands.

use ratatui::style::Style;

use super::{LineInk, PlanText};
use crate::model::text::{Align, Safe, columns};
use crate::tui::widgets::{Look, dialog};

/// A line as parts with their styles.
pub(super) type Line = Vec<(String, Style)>;

/// Columns of the names on the left.
const LABELS: usize = 10;
/// Values up to this wide share a line with others.
const SHORT: usize = 24;

pub(super) struct Body<'a> {
    head: Vec<Line>,
    text: &'a PlanText,
    batches: bool,
    look: Look<'a>,
}

impl<'a> Body<'a> {
    pub(super) fn new(text: &'a PlanText, width: usize, look: Look<'a>) -> Self {
        let theme = look.theme;
        let mut head = Vec::new();
        if let Some(refused) = &text.refused {
            push(&mut head, "refused", refused.as_str(), theme.alarm, theme.alarm, width);
        }
        if let Some(hint) = &text.hint {
            push(&mut head, "next", hint.as_str(), theme.dialog_label, theme.warn, width);
        }
        pack(&mut head, text, width, look);
        for warning in &text.warnings {
            push(&mut head, "note", warning.as_str(), theme.warn, theme.warn, width);
        }
        if !text.undo.as_str().is_empty() {
            let undo = text.undo.as_str();
            push(&mut head, "undo", undo, theme.dialog_label, theme.dialog, width);
        }
        let batches = text.steps.iter().any(|step| step.batch > 0);
        Self { head, text, batches, look }
    }

    pub(super) fn len(&self) -> usize {
        self.head.len() + self.text.steps.len()
    }

    /// The line at `index`; each batch is named where it begins.
    pub(super) fn line(&self, index: usize) -> Line {
        let Some(at) = index.checked_sub(self.head.len()) else {
            return self.head[index].clone();
        };
        let theme = self.look.theme;
        let Some(step) = self.text.steps.get(at) else { return Line::new() };
        let begins = at.checked_sub(1).is_none_or(|last| self.text.steps[last].batch != step.batch);
        let name = match (begins, self.batches) {
            (true, true) => format!("batch {}", step.batch + 1),
            (true, false) => "steps".to_owned(),
            (false, _) => String::new(),
        };
        let style = match step.ink {
            LineInk::Step => theme.dialog,
            LineInk::Note => theme.dialog_label,
            LineInk::Added => theme.ok,
            LineInk::Removed => theme.alarm,
        };
        let head = Safe::new(&name).fit(LABELS, Align::Left);
        vec![(format!("{head} "), theme.dialog_label), (step.text.as_str().to_owned(), style)]
    }
}

/// Facts in their order; short ones stand beside each other.
fn pack(lines: &mut Vec<Line>, text: &PlanText, width: usize, look: Look<'_>) {
    let (label, style) = (look.theme.dialog_label, look.theme.dialog);
    let (mut used, mut open) = (0, false);
    for (name, value) in &text.facts {
        let (name, value) = (name.as_str(), value.as_str());
        let short = columns(value) <= SHORT;
        let more = 3 + columns(name) + 1 + columns(value);
        if open
            && short
            && used + more <= width
            && let Some(line) = lines.last_mut()
        {
            line.push((format!("   {name} "), label));
            line.push((value.to_owned(), style));
            used += more;
            continue;
        }
        push(lines, name, value, label, style, width);
        open = short;
        used = LABELS.max(columns(name)) + 1 + columns(value);
    }
}

fn push(lines: &mut Vec<Line>, name: &str, value: &str, label: Style, style: Style, width: usize) {
    let head = Safe::new(name).fit(LABELS.max(columns(name)), Align::Left);
    let indent = columns(&head) + 1;
    for (index, part) in dialog::wrap(value, width.saturating_sub(indent)).into_iter().enumerate() {
        let left = if index == 0 { format!("{head} ") } else { " ".repeat(indent) };
        lines.push(vec![(left, label), (part, style)]);
    }
}
