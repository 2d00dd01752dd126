//! The line at the bottom: crumbs on the left, the keys of the page, what was just said on the right.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::action::Action;
use crate::tui::pages::text::TextKind;
use crate::tui::pages::{Page, pulse};
use crate::tui::ui::{Ask, Layer, Ui};
use crate::tui::widgets::hints::{self, Hint};
use crate::tui::widgets::{paint, toast};

/// What keys do in texts, in a word.
const TEXT_HINTS: &[(Action, &str)] = &[
    (Action::Back, "back"),
    (Action::Filter, "search"),
    (Action::FindNext, "next"),
    (Action::FilterLines, "filter"),
    (Action::ToggleWrap, "wrap"),
    (Action::FullScreen, "full"),
    (Action::CopyName, "copy"),
    (Action::Help, "help"),
];

/// The same for logs, where following comes first.
const LOG_HINTS: &[(Action, &str)] = &[
    (Action::ToggleFollow, "follow"),
    (Action::Filter, "search"),
    (Action::FilterLines, "filter"),
    (Action::ToggleTime, "time"),
    (Action::ToggleWrap, "wrap"),
    (Action::PrettyJson, "JSON"),
    (Action::Since5m, "5 min"),
    (Action::PreviousLogs, "previous"),
    (Action::FullScreen, "full"),
    (Action::Help, "help"),
];

/// What keys do beside the steps of an operation.
const STEPS_HINTS: &[(Action, &str)] = &[
    (Action::Back, "back"),
    (Action::Undo, "undo"),
    (Action::CancelOrQuit, "cancel"),
    (Action::Filter, "search"),
    (Action::ToggleWrap, "wrap"),
    (Action::CopyName, "copy"),
    (Action::Help, "help"),
];

const PROMPT_HINTS: &[(Action, &str)] = &[
    (Action::Submit, "run"),
    (Action::Complete, "complete"),
    (Action::NextSuggestion, "choose"),
    (Action::Cancel, "cancel"),
];

const DIALOG_HINTS: &[(Action, &str)] = &[
    (Action::AcceptPlan, "apply"),
    (Action::NextField, "next"),
    (Action::Press, "press"),
    (Action::Cancel, "cancel"),
];

/// While a text is being written every letter is part of it.
const WRITING_HINTS: &[(Action, &str)] =
    &[(Action::NextField, "next"), (Action::Press, "next"), (Action::Cancel, "cancel")];

/// While the word that is asked for is not there yet: the dialog says what to type.
const WORD_HINTS: &[(Action, &str)] =
    &[(Action::NextField, "next"), (Action::Press, "press"), (Action::Cancel, "cancel")];

/// While the engine is asked.
const ASKING_HINTS: &[(Action, &str)] = &[(Action::Cancel, "leave")];

/// What is refused can only be left.
const REFUSED_HINTS: &[(Action, &str)] = &[(Action::Cancel, "close")];

const QUIT_HINTS: &[(Action, &str)] = &[
    (Action::AcceptPlan, "quit"),
    (Action::NextField, "next"),
    (Action::Press, "press"),
    (Action::Cancel, "stay"),
];

pub(super) fn draw(ui: &Ui, area: Rect, buf: &mut Buffer) {
    let look = ui.look();
    if area.is_empty() {
        return;
    }
    let on_page = matches!(ui.layers.last(), None | Some(Layer::Page(_)));
    // what a dialog takes must stay in sight beside whatever else is told
    let half = if on_page { 0 } else { area.width / 2 };
    let told = Rect { x: area.x + half, width: area.width - half, ..area };
    let left = match ui.notices.toast() {
        Some(notice) => half + toast::draw(buf, told, notice.weight, &notice.text, look),
        None => area.width,
    };
    let end = area.x + left.saturating_sub(2);
    let mut x = area.x;
    if ui.crumbs {
        let pages: Vec<&Page> = ui.pages().collect();
        for (index, page) in pages.iter().enumerate() {
            let active = index + 1 == pages.len();
            let style = if active { look.theme.crumb_active } else { look.theme.crumb };
            let crumb = format!("<{}>", page.crumb());
            x += paint::text(
                buf,
                (x, area.y),
                end.saturating_sub(x),
                &crumb,
                style,
                look.glyphs.ellipsis,
            );
            x += 1;
        }
        x += 1;
    }
    let room = Rect { x: x.min(end), width: end.saturating_sub(x), ..area };
    hints::draw(buf, room, &shown_hints(ui), look);
}

fn shown_hints(ui: &Ui) -> Vec<Hint> {
    let (writing, typing) = match ui.layers.last() {
        Some(Layer::Plan(plan)) => {
            let writing = plan.state.is_writing();
            let refused = plan.text.refused.is_some();
            (writing, writing || (!refused && !plan.state.may_apply(&plan.text)))
        }
        _ => (false, false),
    };
    let wanted = match ui.layers.last() {
        Some(Layer::Prompt(_)) => PROMPT_HINTS,
        Some(Layer::Plan(plan)) if plan.confirming => ASKING_HINTS,
        Some(Layer::Plan(_)) if writing => WRITING_HINTS,
        Some(Layer::Plan(plan)) if plan.text.refused.is_some() => REFUSED_HINTS,
        Some(Layer::Plan(plan)) if plan.ask == Ask::Quit => QUIT_HINTS,
        Some(Layer::Plan(plan)) if !plan.state.may_apply(&plan.text) => WORD_HINTS,
        Some(Layer::Plan(_)) => DIALOG_HINTS,
        Some(Layer::Page(Page::Table(page))) => page.kind.spec().hints,
        Some(Layer::Page(Page::Text(page))) if page.kind == TextKind::Logs => LOG_HINTS,
        Some(Layer::Page(Page::Text(page))) if page.kind == TextKind::Steps => STEPS_HINTS,
        Some(Layer::Page(Page::Text(_))) | None => TEXT_HINTS,
        Some(Layer::Page(Page::Pulse(_))) => pulse::HINTS,
    };
    let wanted: Vec<(Action, &str)> = wanted
        .iter()
        .filter(|(action, _)| !(ui.readonly && action.changes_fleet()))
        .copied()
        .collect();
    let (scopes, actions) = (ui.scopes(), wanted.iter().map(|(action, _)| *action));
    let bound = if typing {
        ui.keymap.keys_beside_text(&scopes, actions)
    } else {
        ui.keymap.keys_for(&scopes, actions)
    };
    wanted
        .into_iter()
        .zip(bound)
        .filter_map(|((action, words), key)| {
            let denied = action.right().is_some_and(|right| !ui.actor.role.may(right))
                || ui.missing(action).is_some();
            Some(Hint { denied, ..Hint::new(key?, words) })
        })
        .collect()
}
