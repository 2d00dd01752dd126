//! The plan dialog: what would happen, to whom, in which batches, how it is taken back, and what it takes to agree.
//! The focus starts on Cancel; a single `y` agrees to what needs no typed word. It carries nothing out.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect, Size};
use ratatui::style::Style;

use super::edit::LineEdit;
use super::{Look, dialog, paint};
use crate::model::text::Safe;

/// A plan in words, ready to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanText {
    pub title: Safe,
    /// Beside the title: `tier 2`.
    pub note: String,
    /// Named facts in the order shown.
    pub facts: Vec<(Safe, Safe)>,
    /// One line a step, with its batch.
    pub steps: Vec<(u32, Safe)>,
    pub warnings: Vec<Safe>,
    /// What undo would do, or why it cannot.
    pub undo: Safe,
    /// What must be typed to agree.
    pub word: Option<Safe>,
    /// Why it will not be done at all; then there is nothing to agree to.
    pub refused: Option<Safe>,
    /// Room for the operator's reason.
    pub asks_reason: bool,
}

/// Something that the operator fills in, and from which the plan is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormField {
    pub label: &'static str,
    pub edit: LineEdit,
    /// Digits go here even while a button has the focus.
    pub number: bool,
}

impl FormField {
    pub fn text(label: &'static str, text: &str) -> Self {
        Self { label, edit: LineEdit::new(text), number: false }
    }

    pub fn number(label: &'static str, text: &str) -> Self {
        Self { label, edit: LineEdit::new(text), number: true }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlanFocus {
    #[default]
    Cancel,
    Apply,
    Field(usize),
    Word,
    Reason,
}

/// What a plan dialog remembers between frames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanState {
    pub focus: PlanFocus,
    pub fields: Vec<FormField>,
    pub word: LineEdit,
    pub reason: LineEdit,
    /// The first line of the body in sight.
    pub scroll: usize,
}

impl PlanState {
    /// The stops of the focus, in order.
    pub fn stops(&self, text: &PlanText) -> Vec<PlanFocus> {
        let mut stops: Vec<PlanFocus> = (0..self.fields.len()).map(PlanFocus::Field).collect();
        if text.refused.is_none() {
            if text.word.is_some() {
                stops.push(PlanFocus::Word);
            }
            if text.asks_reason {
                stops.push(PlanFocus::Reason);
            }
        }
        stops.push(PlanFocus::Cancel);
        if text.refused.is_none() {
            stops.push(PlanFocus::Apply);
        }
        stops
    }

    /// Moves the focus by one stop, around the end.
    pub fn turn(&mut self, text: &PlanText, forward: bool) {
        let stops = self.stops(text);
        let at = stops.iter().position(|stop| *stop == self.focus).unwrap_or(0);
        let step = if forward { 1 } else { stops.len() - 1 };
        self.focus = stops[(at + step) % stops.len()];
    }

    /// The field that takes what is typed.
    pub fn field(&mut self) -> Option<&mut LineEdit> {
        match self.focus {
            PlanFocus::Field(index) => self.fields.get_mut(index).map(|field| &mut field.edit),
            PlanFocus::Word => Some(&mut self.word),
            PlanFocus::Reason => Some(&mut self.reason),
            PlanFocus::Cancel | PlanFocus::Apply => None,
        }
    }

    /// Where digits go while a button has the focus.
    pub fn number_field(&self) -> Option<usize> {
        self.fields.iter().position(|field| field.number)
    }

    /// Whether everything needed to agree is there.
    pub fn may_apply(&self, text: &PlanText) -> bool {
        text.refused.is_none() && text.word.as_ref().is_none_or(|word| *word == *self.word.text())
    }
}

pub struct PlanDialog<'a> {
    pub text: &'a PlanText,
    pub state: &'a PlanState,
    /// The key that agrees, for the button: `y`.
    pub apply_key: &'a str,
    /// Something on its way, said instead of the buttons.
    pub busy: bool,
    pub look: Look<'a>,
}

/// The widest a plan is shown.
const WIDEST: u16 = 104;
/// Steps beyond this many are counted, not listed, until the body is scrolled.
const NAMES: usize = 12;

impl PlanDialog<'_> {
    /// Draws the dialog into the middle of `screen`; returns the cursor's place and how far the body can scroll.
    pub fn draw(&self, screen: Rect, buf: &mut Buffer) -> (Option<Position>, usize) {
        let width = screen.width.saturating_sub(4).min(WIDEST);
        let body = self.body(usize::from(width.saturating_sub(4)));
        let fields = u16::from(self.text.word.is_some() && self.text.refused.is_none())
            + u16::from(self.text.asks_reason && self.text.refused.is_none())
            + u16::try_from(self.state.fields.len()).unwrap_or(0);
        let rows = u16::try_from(body.len()).unwrap_or(u16::MAX).saturating_add(2 + fields);
        let size = Size::new(width.saturating_sub(4), rows);
        let inner = dialog::open(buf, screen, size, &self.text.title, &self.text.note, self.look);
        if inner.is_empty() {
            return (None, 0);
        }
        let below = (1 + fields).min(inner.height);
        let room = inner.height - below;
        let most = body.len().saturating_sub(usize::from(room.saturating_sub(u16::from(room > 1))));
        let scroll = self.state.scroll.min(most);
        for (line, y) in body.iter().skip(scroll).zip(inner.top()..inner.top() + room) {
            let parts: Vec<(&str, Style)> =
                line.iter().map(|(text, style)| (text.as_str(), *style)).collect();
            paint::pieces(buf, (inner.x, y), inner.width, &parts, self.look.glyphs.ellipsis);
        }
        let cursor = self.footer(Rect { y: inner.bottom() - below, height: below, ..inner }, buf);
        (cursor, most)
    }

    fn footer(&self, area: Rect, buf: &mut Buffer) -> Option<Position> {
        let line = |row: u16| Rect { y: area.y + row, height: 1, ..area };
        let (mut row, mut cursor) = (0, None);
        for (index, field) in self.state.fields.iter().enumerate() {
            if row >= area.height {
                return cursor;
            }
            let focused = self.state.focus == PlanFocus::Field(index);
            let place = line(row);
            let placed = dialog::field(buf, place, field.label, &field.edit, focused, self.look);
            cursor = cursor.or(placed);
            row += 1;
        }
        if self.text.refused.is_none() {
            if let Some(word) = self.text.word.as_ref().filter(|_| row < area.height) {
                let label = format!("type {} to confirm", word.as_str());
                let focused = self.state.focus == PlanFocus::Word;
                let place = line(row);
                let placed =
                    dialog::field(buf, place, &label, &self.state.word, focused, self.look);
                cursor = cursor.or(placed);
                row += 1;
            }
            if self.text.asks_reason && row < area.height {
                let focused = self.state.focus == PlanFocus::Reason;
                let place = line(row);
                let placed =
                    dialog::field(buf, place, "reason", &self.state.reason, focused, self.look);
                cursor = cursor.or(placed);
                row += 1;
            }
        }
        if row >= area.height {
            return cursor;
        }
        if self.busy {
            let style = self.look.theme.busy;
            paint::text(buf, (area.x, area.y + row), area.width, "asking the engine", style, "");
            return None;
        }
        let apply = format!("{} Apply", self.apply_key);
        let focused = match self.state.focus {
            PlanFocus::Cancel => Some(0),
            PlanFocus::Apply => Some(1),
            PlanFocus::Field(_) | PlanFocus::Word | PlanFocus::Reason => None,
        };
        let labels = ["Cancel", apply.trim_start()];
        let shown = if self.text.refused.is_some() { &labels[..1] } else { &labels[..] };
        dialog::buttons(buf, line(row), shown, focused, self.look);
        cursor
    }

    fn body(&self, width: usize) -> Vec<Vec<(String, Style)>> {
        let theme = self.look.theme;
        let mut lines = Vec::new();
        if let Some(refused) = &self.text.refused {
            push(&mut lines, "refused", refused.as_str(), theme.alarm, theme.alarm, width);
        }
        for (name, value) in &self.text.facts {
            push(
                &mut lines,
                name.as_str(),
                value.as_str(),
                theme.dialog_label,
                theme.dialog,
                width,
            );
        }
        let batches =
            self.text.steps.iter().map(|(batch, _)| batch).max().map_or(0, |last| last + 1);
        for batch in 0..batches {
            let steps: Vec<&str> = self
                .text
                .steps
                .iter()
                .filter(|(of, _)| *of == batch)
                .map(|(_, step)| step.as_str())
                .collect();
            let head =
                if batches > 1 { format!("batch {}", batch + 1) } else { "steps".to_owned() };
            let mut listed = steps[..steps.len().min(NAMES)].join(", ");
            if steps.len() > NAMES {
                listed.push_str(&format!(" and {} more", steps.len() - NAMES));
            }
            push(&mut lines, &head, &listed, theme.dialog_label, theme.dialog, width);
        }
        for warning in &self.text.warnings {
            push(&mut lines, "note", warning.as_str(), theme.warn, theme.warn, width);
        }
        if !self.text.undo.as_str().is_empty() {
            push(
                &mut lines,
                "undo",
                self.text.undo.as_str(),
                theme.dialog_label,
                theme.dialog,
                width,
            );
        }
        lines
    }
}

/// Columns of the names on the left.
const LABELS: usize = 10;

fn push(
    lines: &mut Vec<Vec<(String, Style)>>,
    name: &str,
    value: &str,
    label: Style,
    style: Style,
    width: usize,
) {
    let head =
        Safe::new(name).fit(LABELS.max(name.chars().count()), crate::model::text::Align::Left);
    let indent = crate::model::text::columns(&head) + 1;
    for (index, part) in dialog::wrap(value, width.saturating_sub(indent)).into_iter().enumerate() {
        let left = if index == 0 { format!("{head} ") } else { " ".repeat(indent) };
        lines.push(vec![(left, label), (part, style)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::{plain_look, symbols};

    fn plan() -> PlanText {
        let safe = |text: &str| Safe::new(text);
        PlanText {
            title: safe("Scale pool triage 12 → 19"),
            note: "tier 2".into(),
            facts: vec![
                (safe("current"), safe("12 (11 ready)   min 3  max 40")),
                (
                    safe("why"),
                    safe(
                        "queue 1840/100 per agent gives 19; the drain of 22/s and 1840 in 120 s gives 19 too",
                    ),
                ),
            ],
            steps: (0..7).map(|n| (n / 4, Safe::new(&format!("create triage-{n}")))).collect(),
            warnings: vec![safe("holds the autoscaler for 10 minutes")],
            undo: safe("back to 12"),
            word: None,
            refused: None,
            asks_reason: true,
        }
    }

    fn drawn(text: &PlanText, state: &PlanState, width: u16, height: u16) -> String {
        let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
        let dialog = PlanDialog { text, state, apply_key: "y", busy: false, look: plain_look() };
        dialog.draw(buf.area, &mut buf);
        symbols(&buf)
    }

    #[test]
    fn a_plan_shows_facts_batches_warnings_and_undo_with_cancel_focused() {
        insta::assert_snapshot!(drawn(&plan(), &PlanState::default(), 80, 16));
    }

    #[test]
    fn a_plan_of_tier_3_asks_for_the_word_and_takes_no_other() {
        let text = PlanText { word: Some(Safe::new("delete 137")), ..plan() };
        let mut state = PlanState::default();
        assert!(!state.may_apply(&text));
        state.focus = PlanFocus::Word;
        state.field().unwrap().insert("delete 13");
        assert!(!state.may_apply(&text));
        state.field().unwrap().insert("7");
        assert!(state.may_apply(&text));
        insta::assert_snapshot!(drawn(&text, &state, 80, 17));
    }

    #[test]
    fn a_refused_plan_offers_nothing_but_the_way_out() {
        let text = PlanText { refused: Some(Safe::new("the picture is old")), ..plan() };
        let mut state = PlanState::default();
        assert!(!state.may_apply(&text));
        state.turn(&text, true);
        assert_eq!(state.focus, PlanFocus::Cancel);
        let shown = drawn(&text, &state, 80, 17);
        assert!(
            shown.contains("refused    the picture is old") && !shown.contains("Apply"),
            "{shown}"
        );
    }

    #[test]
    fn the_focus_goes_around_every_stop() {
        let text = PlanText { word: Some(Safe::new("x")), ..plan() };
        let mut state = PlanState::default();
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(state.focus);
            state.turn(&text, true);
        }
        assert_eq!(seen, [PlanFocus::Cancel, PlanFocus::Apply, PlanFocus::Word, PlanFocus::Reason]);
        assert_eq!(state.focus, PlanFocus::Cancel);
        state.turn(&text, false);
        assert_eq!(state.focus, PlanFocus::Reason);
    }

    #[test]
    fn a_small_screen_still_shows_the_buttons() {
        for (width, height) in [(80, 24), (40, 10), (40, 6), (20, 4), (3, 3), (1, 1)] {
            let shown = drawn(&plan(), &PlanState::default(), width, height);
            assert!(width < 40 || shown.contains("Cancel"), "{width}×{height}\n{shown}");
        }
    }
}
