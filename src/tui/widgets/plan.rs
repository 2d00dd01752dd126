//! The plan dialog: what would happen, to whom, in which batches, how it is taken back, and what it takes to agree.
//! The focus starts on Cancel; a single `y` agrees to what needs no typed word. It carries nothing out.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect, Size};
use ratatui::style::Style;

use self::body::Body;
use super::edit::LineEdit;
use super::{Look, dialog, paint};
use crate::model::text::Safe;

mod body;

/// A plan in words, ready to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanText {
    pub title: Safe,
    /// Beside the title: `tier 2`.
    pub note: String,
    /// Named facts in the order shown.
    pub facts: Vec<(Safe, Safe)>,
    /// Every step, and below it what changes, a line each.
    pub steps: Vec<PlanLine>,
    pub warnings: Vec<Safe>,
    /// What undo would do, or why it cannot.
    pub undo: Safe,
    /// What must be typed to agree.
    pub word: Option<Safe>,
    /// Why it will not be done at all; then there is nothing to agree to.
    pub refused: Option<Safe>,
    /// What is still to be filled in before there is a plan.
    pub hint: Option<Safe>,
    /// Room for the operator's reason.
    pub asks_reason: bool,
}

/// One line about a step, with its batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanLine {
    pub batch: u32,
    pub text: Safe,
    pub ink: LineInk,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineInk {
    /// The step itself.
    #[default]
    Step,
    /// What stays as it is, around a change.
    Note,
    Added,
    Removed,
}

/// What a field takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldKind {
    #[default]
    Text,
    /// Digits go here even while a button has the focus.
    Number,
    /// A box that the space bar ticks.
    Check(bool),
}

/// Something that the operator fills in, and from which the plan is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormField {
    pub label: &'static str,
    pub edit: LineEdit,
    pub kind: FieldKind,
}

impl FormField {
    pub fn text(label: &'static str, text: &str) -> Self {
        Self { label, edit: LineEdit::new(text), kind: FieldKind::Text }
    }

    pub fn number(label: &'static str, text: &str) -> Self {
        Self { label, edit: LineEdit::new(text), kind: FieldKind::Number }
    }

    pub fn check(label: &'static str, ticked: bool) -> Self {
        Self { label, edit: LineEdit::default(), kind: FieldKind::Check(ticked) }
    }

    pub fn is_number(&self) -> bool {
        self.kind == FieldKind::Number
    }

    pub fn is_check(&self) -> bool {
        matches!(self.kind, FieldKind::Check(_))
    }

    pub fn is_ticked(&self) -> bool {
        self.kind == FieldKind::Check(true)
    }

    /// Ticks the box or clears it; returns whether it is one.
    pub fn toggle(&mut self) -> bool {
        match &mut self.kind {
            FieldKind::Check(ticked) => {
                *ticked = !*ticked;
                true
            }
            FieldKind::Text | FieldKind::Number => false,
        }
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
        let is_check = |at: &usize| self.fields[*at].is_check();
        let (checks, lines): (Vec<usize>, Vec<usize>) =
            (0..self.fields.len()).partition(|at| is_check(at));
        let mut stops: Vec<PlanFocus> = lines.into_iter().map(PlanFocus::Field).collect();
        if text.refused.is_none() {
            if text.word.is_some() {
                stops.push(PlanFocus::Word);
            }
            if text.asks_reason {
                stops.push(PlanFocus::Reason);
            }
        }
        stops.extend(checks.into_iter().map(PlanFocus::Field));
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

    /// Where Enter leads from a field: to the next one that has to be filled in, then to the buttons. Never into the
    /// reason, which would swallow the key that agrees.
    pub fn enter(&mut self, text: &PlanText) {
        let wants_word = text.word.is_some() && text.refused.is_none() && !self.may_apply(text);
        let last = if wants_word { PlanFocus::Word } else { PlanFocus::Cancel };
        self.focus = match self.focus {
            PlanFocus::Field(at) => {
                let mut later = (at + 1)..self.fields.len();
                let next = later.find(|at| !self.fields[*at].is_check());
                next.map_or(last, PlanFocus::Field)
            }
            PlanFocus::Word if !wants_word => PlanFocus::Apply,
            PlanFocus::Word | PlanFocus::Reason => last,
            button @ (PlanFocus::Cancel | PlanFocus::Apply) => button,
        };
    }

    /// Whether `c`, typed while no text has the focus, begins the word that is asked for.
    pub fn begins_word(&self, text: &PlanText, c: char) -> bool {
        let word = text.word.as_ref().filter(|_| text.refused.is_none() && !self.is_writing());
        word.is_some_and(|word| self.word.is_empty() && word.as_str().starts_with(c))
    }

    /// The field that takes what is typed.
    pub fn field(&mut self) -> Option<&mut LineEdit> {
        match self.focus {
            PlanFocus::Field(index) => {
                let field = self.fields.get_mut(index).filter(|field| !field.is_check());
                field.map(|field| &mut field.edit)
            }
            PlanFocus::Word => Some(&mut self.word),
            PlanFocus::Reason => Some(&mut self.reason),
            PlanFocus::Cancel | PlanFocus::Apply => None,
        }
    }

    /// A text has the focus: every letter is part of it.
    pub fn is_writing(&self) -> bool {
        match self.focus {
            PlanFocus::Field(at) => {
                self.fields.get(at).is_some_and(|field| !field.is_check() && !field.is_number())
            }
            PlanFocus::Word | PlanFocus::Reason => true,
            PlanFocus::Cancel | PlanFocus::Apply => false,
        }
    }

    /// The box that has the focus.
    pub fn check(&mut self) -> Option<&mut FormField> {
        match self.focus {
            PlanFocus::Field(at) => self.fields.get_mut(at).filter(|field| field.is_check()),
            PlanFocus::Cancel | PlanFocus::Apply | PlanFocus::Word | PlanFocus::Reason => None,
        }
    }

    /// Where digits go while a button has the focus.
    pub fn number_field(&self) -> Option<usize> {
        self.fields.iter().position(FormField::is_number)
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
    /// What agreeing is called.
    pub apply: &'a str,
    /// Something on its way, said instead of the buttons.
    pub busy: Option<&'a str>,
    /// The keys that scroll what does not fit.
    pub scroll_keys: &'a str,
    pub look: Look<'a>,
}

/// The widest a plan is shown.
const WIDEST: u16 = 104;

impl PlanDialog<'_> {
    /// Draws the dialog into the middle of `screen`; returns the cursor's place and how far the body can scroll.
    pub fn draw(&self, screen: Rect, buf: &mut Buffer) -> (Option<Position>, usize) {
        let width = screen.width.saturating_sub(4).min(WIDEST);
        let body = Body::new(self.text, usize::from(width.saturating_sub(4)), self.look);
        let asks = self.text.refused.is_none();
        let above = count(self.state.fields.iter().filter(|field| !field.is_check()).count());
        let checks = u16::from(self.state.fields.iter().any(FormField::is_check));
        let word = u16::from(self.text.word.is_some() && asks);
        let below = 1 + checks + word + u16::from(self.text.asks_reason && asks);
        let rows = count(body.len()).saturating_add(1 + above + below);
        // the line of keys below the page stays in sight
        let rows = rows.min(screen.height.saturating_sub(3));
        let size = Size::new(width.saturating_sub(4), rows);
        let inner = dialog::open(buf, screen, size, &self.text.title, &self.text.note, self.look);
        if inner.is_empty() {
            return (None, 0);
        }
        // the buttons come first, then the fields, then what there is to read
        let below = below.min(inner.height);
        let above = above.min(inner.height - below);
        let place = Rect { height: above, ..inner };
        let mut cursor = self.lines(place, buf);
        let room = inner.height - below - above;
        let shown = room.min(count(body.len()));
        let most = body.len() - usize::from(shown);
        let scroll = self.state.scroll.min(most);
        let top = inner.y + above;
        for (index, y) in (scroll..body.len()).zip(top..top + shown) {
            let line = body.line(index);
            let parts: Vec<(&str, Style)> =
                line.iter().map(|(text, style)| (text.as_str(), *style)).collect();
            paint::pieces(buf, (inner.x, y), inner.width, &parts, self.look.glyphs.ellipsis);
        }
        if most > 0 {
            let last = (scroll + usize::from(shown)).min(body.len());
            let more = if last < body.len() { self.look.glyphs.down } else { "" };
            let keys = self.scroll_keys;
            let seen = format!(" {keys} scrolls: {}-{last} of {} {more} ", scroll + 1, body.len());
            let (style, place) = (self.look.theme.title, (inner.x, inner.bottom()));
            paint::text(buf, place, inner.width, &seen, style, self.look.glyphs.ellipsis);
        }
        let foot = Rect { y: inner.bottom() - below, height: below, ..inner };
        cursor = cursor.or(self.footer(foot, buf));
        (cursor.filter(|_| self.busy.is_none() || self.is_typing()), most)
    }

    /// Whether a field takes what is typed, so that the cursor stays in sight while the engine is asked.
    fn is_typing(&self) -> bool {
        matches!(self.state.focus, PlanFocus::Field(_))
    }

    /// The fields above the body, one a line.
    fn lines(&self, area: Rect, buf: &mut Buffer) -> Option<Position> {
        let fields = self.state.fields.iter().enumerate().filter(|(_, field)| !field.is_check());
        let mut cursor = None;
        for ((index, field), y) in fields.zip(area.top()..area.bottom()) {
            let focused = self.state.focus == PlanFocus::Field(index);
            let place = Rect { y, height: 1, ..area };
            let placed = dialog::field(buf, place, field.label, &field.edit, focused, self.look);
            cursor = cursor.or(placed);
        }
        cursor
    }

    fn footer(&self, area: Rect, buf: &mut Buffer) -> Option<Position> {
        let mut cursor = None;
        let last = area.bottom().saturating_sub(1);
        let mut rows = (area.top()..last).map(|y| Rect { y, height: 1, ..area });
        if self.text.refused.is_none() {
            if let Some(word) = &self.text.word
                && let Some(place) = rows.next()
            {
                let label = format!("type {} to confirm", word.as_str());
                let focused = self.state.focus == PlanFocus::Word;
                let placed =
                    dialog::field(buf, place, &label, &self.state.word, focused, self.look);
                cursor = cursor.or(placed);
            }
            if self.text.asks_reason
                && let Some(place) = rows.next()
            {
                let focused = self.state.focus == PlanFocus::Reason;
                let reason = &self.state.reason;
                let placed = dialog::field(buf, place, "reason", reason, focused, self.look);
                cursor = cursor.or(placed);
            }
        }
        if self.state.fields.iter().any(FormField::is_check)
            && let Some(place) = rows.next()
        {
            self.checks(place, buf);
        }
        let line = Rect { y: last, height: 1, ..area };
        if let Some(busy) = self.busy {
            let (style, ellipsis) = (self.look.theme.busy, self.look.glyphs.ellipsis);
            paint::text(buf, (line.x, line.y), line.width, busy, style, ellipsis);
            return cursor;
        }
        let apply = format!("{} {}", self.apply_key, self.apply);
        let focused = match self.state.focus {
            PlanFocus::Cancel => Some(0),
            PlanFocus::Apply => Some(1),
            PlanFocus::Field(_) | PlanFocus::Word | PlanFocus::Reason => None,
        };
        let labels = ["Cancel", apply.trim_start()];
        let shown = if self.text.refused.is_some() { &labels[..1] } else { &labels[..] };
        dialog::buttons(buf, line, shown, focused, self.look);
        cursor
    }

    /// The boxes, beside each other.
    fn checks(&self, line: Rect, buf: &mut Buffer) {
        let theme = self.look.theme;
        let mut x = line.x;
        for (index, field) in self.state.fields.iter().enumerate().filter(|(_, it)| it.is_check()) {
            let focused = self.state.focus == PlanFocus::Field(index);
            let style = if focused { theme.button_focused } else { theme.dialog };
            let sign = if field.is_ticked() { "[x] " } else { "[ ] " };
            let parts = [(sign, style), (field.label, style)];
            let room = line.right().saturating_sub(x);
            x = paint::pieces(buf, (x, line.y), room, &parts, self.look.glyphs.ellipsis) + 3;
        }
    }
}

fn count(of: usize) -> u16 {
    u16::try_from(of).unwrap_or(u16::MAX)
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
            steps: (0..7).map(step).collect(),
            warnings: vec![safe("holds the autoscaler for 10 minutes")],
            undo: safe("back to 12"),
            word: None,
            refused: None,
            hint: None,
            asks_reason: true,
        }
    }

    fn step(n: u32) -> PlanLine {
        let text = Safe::new(&format!("create triage-{n}"));
        PlanLine { batch: n / 4, text, ink: LineInk::Step }
    }

    fn drawn(text: &PlanText, state: &PlanState, width: u16, height: u16) -> String {
        let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
        let dialog = PlanDialog {
            text,
            state,
            apply_key: "y",
            apply: "Apply",
            busy: None,
            scroll_keys: "PgDn",
            look: plain_look(),
        };
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
    fn every_target_is_reached_by_scrolling_and_the_way_back_is_seen_first() {
        let text = PlanText { steps: (0..500).map(step).collect(), ..plan() };
        let mut buf = Buffer::empty(Rect::new(0, 0, 80, 24));
        let mut draw = |scroll: usize| {
            let state = PlanState { scroll, ..PlanState::default() };
            let (text, look) = (&text, plain_look());
            buf.reset();
            let dialog = PlanDialog {
                text,
                state: &state,
                apply_key: "y",
                apply: "Apply",
                busy: None,
                scroll_keys: "PgDn",
                look,
            };
            let (_, most) = dialog.draw(buf.area, &mut buf);
            (symbols(&buf), most)
        };
        let (first, most) = draw(0);
        assert!(first.contains("undo       back to 12") && first.contains("1-19 of"), "{first}");
        let mut seen = std::collections::BTreeSet::new();
        for scroll in 0..=most {
            let (shown, _) = draw(scroll);
            seen.extend((0..500).filter(|n| shown.contains(&format!("create triage-{n} "))));
        }
        assert_eq!(seen.len(), 500);
        assert!(first.contains("PgDn scrolls: 1-"), "{first}");
        assert_eq!(first.lines().nth(23).unwrap().trim(), "", "the line of keys stays in sight");
    }

    #[test]
    fn boxes_are_ticked_by_their_own_focus_and_take_no_text() {
        let fields = vec![FormField::number("desired", "19"), FormField::check("hold", true)];
        let mut state = PlanState { fields, ..PlanState::default() };
        let text = plan();
        state.focus = PlanFocus::Field(1);
        assert!(state.field().is_none());
        assert!(state.check().unwrap().toggle());
        assert!(!state.fields[1].is_ticked());
        let stops = state.stops(&text);
        assert_eq!(stops[..3], [PlanFocus::Field(0), PlanFocus::Reason, PlanFocus::Field(1)]);
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
