//! The plan dialog: asks the engine for a plan, shows it, and carries it out once it was agreed to. A changed field asks
//! for a new plan; the answer to the old one is dropped.

use super::{Turn, say};
use crate::engine::handle::{CommandError, Consent};
use crate::model::plan::{Command, Plan, PlannedStep, Tier};
use crate::model::text::{Safe, capital};
use crate::tui::action::Action;
use crate::tui::effect::Effect;
use crate::tui::event::{Fault, Reply};
use crate::tui::keys::{Key, typed};
use crate::tui::ui::{Ask, Layer, PlanLayer, Watched};
use crate::tui::widgets::plan::{FormField, LineInk, PlanFocus, PlanLine, PlanState, PlanText};
use crate::tui::widgets::toast::Weight;

/// The box that asks for the plan once more instead of carrying it out.
pub(super) const DRY_RUN: &str = "dry run first";

impl Turn<'_> {
    /// Opens the dialog for `ask` and asks for its plan.
    pub(super) fn open_plan(&mut self, ask: Ask) {
        let fields = self.fields(&ask);
        // What has to be written comes first; a name that is proposed can be agreed to at once.
        let asks_text = match &ask {
            Ask::SetTemplate { .. } | Ask::Send { .. } => true,
            Ask::Command(_)
            | Ask::Edit { .. }
            | Ask::Deploy { .. }
            | Ask::Scale { .. }
            | Ask::ScalePools { .. }
            | Ask::Drain { .. }
            | Ask::Shell { .. }
            | Ask::Forward { .. }
            | Ask::Quit => false,
        };
        let focus = if asks_text { PlanFocus::Field(0) } else { PlanFocus::Cancel };
        let text = PlanText { title: title(&ask), ..PlanText::default() };
        let state = PlanState { focus, fields, ..PlanState::default() };
        self.push_plan(ask, text, state);
        self.form_changed();
    }

    /// A question that the engine is not asked.
    pub(super) fn open_question(&mut self, ask: Ask, title: &str, fact: &str) {
        let text = PlanText {
            title: Safe::new(title),
            facts: vec![(Safe::new("agents"), Safe::new(fact))],
            ..PlanText::default()
        };
        self.push_plan(ask, text, PlanState::default());
    }

    pub(super) fn push_plan(&mut self, ask: Ask, text: PlanText, state: PlanState) {
        let (plan, asked, confirming, dry) = (None, None, false, false);
        let layer = PlanLayer { ask, plan, text, state, asked, confirming, dry };
        self.ui.layers.push(Layer::Plan(Box::new(layer)));
    }

    /// The fields have changed: the plan is made anew.
    pub(super) fn form_changed(&mut self) {
        let Some(layer) = self.ui.plan_mut() else { return };
        if layer.confirming || layer.ask.is_our_own() {
            return;
        }
        let (ask, fields, before) =
            (layer.ask.clone(), layer.state.fields.clone(), layer.asked.take());
        layer.plan = None;
        if let Some(before) = before {
            self.forget(before);
        }
        if let Some(text) = self.wanting(&ask, &fields) {
            if let Some(layer) = self.ui.plan_mut() {
                layer.text = text;
            }
            return;
        }
        match self.command(&ask, &fields) {
            Ok(command) => {
                let id = self.ui.next_effect();
                self.effects.push(Effect::Plan(id, command));
                if let Some(layer) = self.ui.plan_mut() {
                    layer.asked = Some(id);
                }
            }
            Err(why) => self.no_plan(why, "refused"),
        }
    }

    /// There is nothing to apply: `outcome` says in a word or two what became of it, `why` the rest.
    fn no_plan(&mut self, why: Safe, outcome: &str) {
        if let Some(layer) = self.ui.plan_mut() {
            let title = Safe::new(&format!("{}: {outcome}", title(&layer.ask).as_str()));
            let kept = match &layer.ask {
                Ask::Edit { file, .. } => {
                    vec![Safe::new(&format!("your edit is kept in {}", file.display()))]
                }
                _ => Vec::new(),
            };
            layer.text =
                PlanText { title, refused: Some(why), warnings: kept, ..PlanText::default() };
            if matches!(layer.state.focus, PlanFocus::Apply | PlanFocus::Word | PlanFocus::Reason) {
                layer.state.focus = PlanFocus::Cancel;
            }
        }
    }

    /// Gives `key` to the focused field; digits find the number field by themselves.
    pub(super) fn edit_plan(&mut self, key: Key) -> bool {
        let Some(layer) = self.ui.plan_mut() else { return false };
        if layer.confirming {
            return false;
        }
        if typed(key) == Some(' ')
            && let Some(check) = layer.state.check()
        {
            check.toggle();
            self.form_changed();
            return true;
        }
        let is_digit = typed(key).is_some_and(|c| c.is_ascii_digit());
        let has_number = layer.state.number_field().is_some();
        // The word that is asked for is typed straight away, whatever its first letter does elsewhere in a dialog.
        if let Some(c) = typed(key).filter(|_| !(is_digit && has_number))
            && layer.state.begins_word(&layer.text, c)
        {
            layer.state.focus = PlanFocus::Word;
        }
        let on_check = layer.state.check().is_some();
        let on_button =
            on_check || matches!(layer.state.focus, PlanFocus::Cancel | PlanFocus::Apply);
        if let Some(field) = layer.state.number_field().filter(|_| is_digit && on_button) {
            // The first digit replaces the number that was proposed.
            layer.state.focus = PlanFocus::Field(field);
            layer.state.fields[field].edit.set("");
        }
        let is_form = matches!(layer.state.focus, PlanFocus::Field(_));
        // No letter belongs into a number, so `y` agrees right behind the digits.
        let in_number = match layer.state.focus {
            PlanFocus::Field(at) => layer.state.fields.get(at).is_some_and(FormField::is_number),
            PlanFocus::Cancel | PlanFocus::Apply | PlanFocus::Word | PlanFocus::Reason => false,
        };
        if in_number && typed(key).is_some() && !is_digit {
            return false;
        }
        let Some(field) = layer.state.field() else { return false };
        let before = field.text().to_owned();
        let taken = field.key(key);
        let changed = before != field.text();
        if is_form && changed {
            self.form_changed();
        }
        taken
    }

    pub(super) fn plan_action(&mut self, action: Action) {
        let most = self.ui.hits.plan;
        let Some(layer) = self.ui.plan_mut() else { return };
        let state = &mut layer.state;
        match action {
            Action::NextField => state.turn(&layer.text, true),
            Action::PreviousField => state.turn(&layer.text, false),
            Action::SelectNext => state.scroll = (state.scroll + 1).min(most),
            Action::SelectPrevious => state.scroll = state.scroll.saturating_sub(1),
            Action::PageDown => state.scroll = (state.scroll + 8).min(most),
            Action::PageUp => state.scroll = state.scroll.saturating_sub(8),
            Action::Press => match state.focus {
                PlanFocus::Cancel => self.leave_plan(),
                PlanFocus::Apply => self.apply(),
                // Enter never agrees by itself: from a field it goes on.
                PlanFocus::Field(_) | PlanFocus::Word | PlanFocus::Reason => {
                    state.enter(&layer.text);
                }
            },
            Action::AcceptPlan => self.apply(),
            Action::Cancel | Action::Back | Action::Leave => self.leave_plan(),
            _ => {}
        }
    }

    /// A key that does nothing in the dialog in sight says so, and what does.
    pub(super) fn means_nothing_to_plan(&mut self) {
        let leave = self.ui.key_to_leave_text(Action::Cancel).unwrap_or_default();
        let Some(layer) = self.ui.plan_mut() else { return };
        let said = if layer.text.refused.is_some() {
            format!("nothing can be applied: {leave} closes")
        } else {
            format!("that does nothing here: {leave} cancels")
        };
        self.refuse(&said);
    }

    /// Closes the dialog without carrying anything out.
    fn leave_plan(&mut self) {
        let edit = self.ui.plan_mut().filter(|layer| !layer.confirming);
        let file = edit.and_then(|layer| match &layer.ask {
            Ask::Edit { file, .. } => Some(file.clone()),
            _ => None,
        });
        self.pop();
        if let Some(file) = file {
            self.keep("", file);
        }
    }

    fn apply(&mut self) {
        if let Some(Layer::Plan(layer)) = self.ui.layers.last()
            && layer.ask == Ask::Quit
        {
            return self.quit();
        }
        if let Some(why) = self.forbids() {
            return self.refuse(&why);
        }
        if let Some(Layer::Plan(layer)) = self.ui.layers.last()
            && layer.ask.is_our_own()
        {
            return self.begin_beside();
        }
        let Some(layer) = self.ui.plan_mut() else { return };
        if layer.confirming {
            return;
        }
        if layer.text.refused.is_some() {
            return self.means_nothing_to_plan();
        }
        if !layer.state.may_apply(&layer.text) {
            layer.state.focus = PlanFocus::Word;
            return;
        }
        if layer.state.fields.iter().any(|field| field.label == DRY_RUN && field.is_ticked()) {
            layer.dry = true;
            return self.form_changed();
        }
        let Some(plan) = layer.plan.clone() else {
            if layer.asked.is_some() {
                self.refuse("the plan is still being made");
            }
            return;
        };
        let typed = layer.text.word.is_some().then(|| layer.state.word.text().to_owned());
        let consent = Consent { typed, reason: layer.state.reason.text().trim().to_owned() };
        layer.confirming = true;
        let id = self.ui.next_effect();
        if let Some(layer) = self.ui.plan_mut() {
            layer.asked = Some(id);
        }
        self.effects.push(Effect::Confirm(id, plan, consent));
    }

    /// The plan, or the word that it is being carried out, has come.
    pub(super) fn plan_answered(&mut self, answer: Result<Reply, Fault>) {
        let Some(layer) = self.ui.plan_mut() else { return };
        layer.asked = None;
        layer.dry &= matches!(answer, Ok(Reply::Plan(_)));
        let confirming = std::mem::take(&mut layer.confirming);
        match answer {
            Ok(Reply::Plan(plan)) if idle(&plan).is_some() => {
                let said = format!("nothing to do: {}", idle(&plan).unwrap_or_default());
                self.pop();
                self.say(Weight::Info, &said);
            }
            Ok(Reply::Plan(plan)) => {
                let dry = std::mem::take(&mut layer.dry);
                let title = Safe::new(&format!("dry run: {}: nothing was changed", plan.title));
                show(layer, plan, None);
                if dry {
                    let boxes = layer.state.fields.iter_mut();
                    boxes.filter(|field| field.label == DRY_RUN).for_each(|field| {
                        field.toggle();
                    });
                    layer.text.note = format!("dry run ok, {}", layer.text.note);
                    self.say_safe(Weight::Info, title);
                }
            }
            Ok(Reply::Confirmed(operation)) => {
                let title = layer.text.title.clone();
                if let Ask::Edit { file, .. } = &layer.ask {
                    self.effects.push(Effect::Discard(file.clone()));
                }
                self.pop();
                if let crate::tui::pages::Page::Table(page) = self.ui.page_mut() {
                    page.state.marks.clear();
                }
                self.say_safe(Weight::Info, Safe::new(&format!("begun: {}", title.as_str())));
                self.ui.watched.push(Watched { operation, title });
            }
            Ok(
                Reply::Cancelled
                | Reply::Document(_)
                | Reply::Revealed(_)
                | Reply::Described(_)
                | Reply::Listed(..)
                | Reply::Site(_)
                | Reply::Forwards(_)
                | Reply::Forwarded(_)
                | Reply::Unforwarded(_)
                | Reply::LogEnded
                | Reply::Dumped(_),
            ) => {}
            Err(Fault::Command(CommandError::PlanChanged { plan })) => {
                show(layer, plan, Some("the fleet has moved since: this is the plan as it is now"));
            }
            Err(fault) => {
                let said = say::words(&fault);
                if confirming {
                    self.say_safe(say::weight(&fault), said.clone());
                }
                self.no_plan(said, outcome(&fault, confirming));
            }
        }
        self.guard();
    }

    /// In a protected context every change wants the context's name, whatever its tier.
    pub(super) fn guard(&mut self) {
        let context = self.ui.context.clone();
        let Some(layer) = self.ui.plan_mut().filter(|_| context.protected) else { return };
        let planned = layer.plan.is_some() || layer.ask.is_our_own();
        if planned && layer.text.refused.is_none() && layer.text.word.is_none() {
            layer.text.note = format!("{}, protected", layer.text.note);
            layer.text.word = Some(context.name);
        }
    }
}

pub(super) fn title(ask: &Ask) -> Safe {
    Safe::new(&match ask {
        Ask::Command(command) | Ask::Edit { command, .. } => {
            capital(&command.verb().replace('_', " "))
        }
        Ask::Scale { pool } => format!("Scale pool {}", pool.name),
        Ask::ScalePools { pools } => format!("Scale {} pools", pools.len()),
        Ask::Drain { .. } => "Drain".to_owned(),
        Ask::Deploy { template } => format!("Deploy template {}", template.name),
        Ask::SetTemplate { pool } => format!("Set the template version of pool {}", pool.name),
        Ask::Send { to } => format!("Send to {}", to.name),
        Ask::Shell { agent } => format!("Shell beside {}", agent.name),
        Ask::Forward { agent } => format!("Forward a port of {}", agent.name),
        Ask::Quit => "Quit".to_owned(),
    })
}

/// What a plan says that would change nothing: everything it is about is as it is wanted.
fn idle(plan: &Plan) -> Option<&str> {
    let unchanged = plan.facts.iter().find(|fact| fact.name == "unchanged");
    unchanged
        .filter(|_| plan.steps.is_empty() && plan.warnings.is_empty())
        .map(|fact| fact.value.as_str())
}

/// What became of a plan that brought `fault` instead of an answer.
fn outcome(fault: &Fault, confirming: bool) -> &'static str {
    match confirming {
        _ if fault.is_refusal() => "refused",
        false => "no plan",
        true if fault.leaves_open() => "may be done, see :operations",
        true => "not done",
    }
}

/// Puts `plan` into the dialog; what was typed stays.
fn show(layer: &mut PlanLayer, plan: Box<Plan>, note: Option<&str>) {
    layer.text = text(&plan, note);
    // what a field shows needs no line of its own
    let fields = &layer.state.fields;
    layer
        .text
        .facts
        .retain(|(name, _)| !fields.iter().any(|field| field.label.starts_with(name.as_str())));
    layer.plan = Some(plan);
    layer.state.scroll = 0;
    // What was agreed to is no longer what is shown: agree again.
    if note.is_some() {
        layer.state.word.set("");
        layer.state.focus = PlanFocus::Cancel;
    }
}

/// A plan in words that are safe to show.
pub fn text(plan: &Plan, note: Option<&str>) -> PlanText {
    let mut warnings: Vec<Safe> = note.map(Safe::new).into_iter().collect();
    let mut refused = None;
    if plan.tier == Tier::Four {
        let why = if plan.warnings.is_empty() {
            "it is not allowed".to_owned()
        } else {
            plan.warnings.join("; ")
        };
        refused = Some(Safe::new(&why));
    } else {
        warnings.extend(plan.warnings.iter().map(|warning| Safe::new(warning)));
    }
    let undo = match &plan.undo {
        Ok(undo) => Safe::new(undo),
        Err(why) => Safe::new(&format!("cannot be taken back: {why}")),
    };
    PlanText {
        title: Safe::new(&plan.title),
        note: format!("tier {}", u8::from(plan.tier)),
        facts: plan
            .facts
            .iter()
            .map(|fact| (Safe::new(&fact.name), Safe::new(&fact.value)))
            .collect(),
        steps: plan.steps.iter().flat_map(lines).collect(),
        warnings,
        undo,
        word: plan.confirm_word.as_deref().map(Safe::new),
        refused,
        hint: None,
        asks_reason: plan.tier >= Tier::Two || matches!(plan.command, Command::Scale { .. }),
    }
}

/// A step as a line, and what changes below it.
fn lines(step: &PlannedStep) -> Vec<PlanLine> {
    let batch = step.batch;
    let mut notes = step.note.lines();
    let first = notes.next().map(|note| format!(" ({note})")).unwrap_or_default();
    let text = Safe::new(&format!("{} {}{first}", step.action, step.target.name));
    let mut lines = vec![PlanLine { batch, text, ink: LineInk::Step }];
    lines.extend(notes.map(|note| {
        let ink = match note.as_bytes().first() {
            Some(b'+') => LineInk::Added,
            Some(b'-') => LineInk::Removed,
            Some(_) | None => LineInk::Note,
        };
        PlanLine { batch, text: Safe::new(&format!("  {note}")), ink }
    }));
    lines
}
