//! Keys that mean nothing here: said, never swallowed. Those that hands know from k9s say what does the same.

use super::Turn;
use crate::model::filter::FieldValue;
use crate::model::text::Safe;
use crate::tui::action::Action;
use crate::tui::jumps;
use crate::tui::keys::{Key, parse, show};
use crate::tui::pages::{Page, TableKind};

/// A key of k9s, on which pages, and what to do here instead.
const HABITS: &[(&str, &[TableKind], &str)] = &[
    ("s", &[TableKind::Health], "a shell beside an agent is opened on the page of agents"),
    (
        "a",
        &[TableKind::Agents, TableKind::Health],
        "there is nothing to attach to: l follows the log",
    ),
    ("F", &[TableKind::Health], "ports are forwarded on the page of agents"),
    (
        "t",
        &[TableKind::Agents],
        "nothing to transfer: agents take their work as messages, m sends one",
    ),
    (
        "ctrl-k",
        &[TableKind::Agents, TableKind::Pools, TableKind::Xray],
        "kill is left to tmux and vim: ctrl-d plans a delete, r a restart",
    ),
    ("ctrl-k", &[], "ctrl-k is left to tmux and vim"),
    (
        "ctrl-t",
        &[],
        "there are no tabs: - goes to the view before this one, [ and ] through the history",
    ),
    ("ctrl-x", &[], "ctrl-x is left to tmux and screen"),
];

impl Turn<'_> {
    /// A key that is bound to nothing on the page in sight.
    pub(super) fn unbound(&mut self, key: Key) {
        let kind = match self.ui.page() {
            Page::Table(page) => Some(page.kind),
            Page::Text(_) | Page::Pulse(_) => None,
        };
        let habit = HABITS.iter().find(|(known, kinds, _)| {
            let here = kinds.is_empty() || kind.is_some_and(|kind| kinds.contains(&kind));
            here && parse(known) == Some(key)
        });
        let jump = self.ui.jumps.iter().find(|jump| kind == Some(jump.on) && jump.key == key);
        if let Some(line) = jump.map(|jump| jump.line.clone()) {
            return self.jump(&line);
        }
        if let Some((_, _, instead)) = habit {
            return self.refuse(instead);
        }
        let help = self.ui.key_for(Action::Help);
        let help = help.map(|help| format!("; {help} lists the keys")).unwrap_or_default();
        self.refuse(&format!("{} does nothing here{help}", show(key)));
    }
}

impl Turn<'_> {
    /// Follows a jump of the operator's own from the row under the cursor.
    fn jump(&mut self, line: &str) {
        let filled = self.with_rows(|page, rows| {
            let at = page.selected_row()?;
            let (name, id) = (rows.name(at).as_str().to_owned(), rows.id(at).to_owned());
            Some(jumps::fill(line, |field| match field {
                "name" => written(FieldValue::Text(&name)),
                "id" => written(FieldValue::Text(&id)),
                _ => {
                    let mut found = None;
                    rows.seen(at, &mut |row| found = row.field(field).and_then(written));
                    found
                }
            }))
        });
        let went = match filled.flatten() {
            None => Err(Safe::new("there is no row to jump from")),
            Some(Err((what, _))) => Err(Safe::new(&what)),
            Some(Ok(line)) => self.run_line(&line),
        };
        if let Err(why) = went {
            self.refuse(why.as_str());
        }
    }
}

/// A value as one word of a line; what would be several words, or mean something there, is none.
fn written(value: FieldValue<'_>) -> Option<String> {
    match value {
        FieldValue::Text(text) => {
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
            (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
        }
        FieldValue::Number(number) => Some(number.to_string()),
        FieldValue::Cpu(_)
        | FieldValue::Size(_)
        | FieldValue::Duration(_)
        | FieldValue::Percent(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::jumps::Jump;
    use crate::tui::keymap::Match;
    use crate::tui::testing::{draw, fleet, open, press, symbols, ui};

    #[test]
    fn a_key_that_means_nothing_says_so_and_one_from_k9s_what_does_the_same() {
        let (mut ui, view) = (ui(), fleet());
        draw(&mut ui, &view, 120, 30);
        for (key, said) in [
            ("a", "l follows the log"),
            ("ctrl-k", "ctrl-d plans a delete"),
            ("%", "% does nothing here; ? lists the keys"),
        ] {
            press(&mut ui, &view, key);
            let shown = symbols(&draw(&mut ui, &view, 160, 30));
            assert!(shown.contains(said), "{key}: {shown}");
        }
        open(&mut ui, &view, "help");
        press(&mut ui, &view, "F");
        assert!(symbols(&draw(&mut ui, &view, 160, 30)).contains("F does nothing here"));
    }

    #[test]
    fn a_key_of_the_operators_own_leads_from_the_row_to_a_view() {
        let (mut ui, view) = (ui(), fleet());
        draw(&mut ui, &view, 120, 30);
        let on = TableKind::Agents;
        let jump = |key: &str, line: &str| Jump { on, key: parse(key).unwrap(), line: line.into() };
        ui.jumps = vec![
            jump("alt-p", "pools {pool}"),
            jump("alt-q", "xray agent {name}"),
            jump("alt-x", "pools {cpu}"),
        ];
        press(&mut ui, &view, "alt-x");
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(shown.contains("the row has no \"cpu\""), "{shown}");
        press(&mut ui, &view, "alt-p");
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(shown.contains(" pools(") && shown.contains("▌ ocr "), "{shown}");
        press(&mut ui, &view, "alt-p");
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(shown.contains("does nothing here"), "only on its own page: {shown}");
    }

    #[test]
    fn no_habit_is_told_for_a_key_that_is_bound() {
        let ui = ui();
        for (key, kinds, _) in HABITS {
            let key = [parse(key).unwrap()];
            let all: Vec<TableKind> = <TableKind as strum::IntoEnumIterator>::iter().collect();
            for kind in if kinds.is_empty() { &all[..] } else { kinds } {
                let scopes = kind.scopes();
                assert_eq!(
                    ui.keymap.look_up(&scopes, &key),
                    Match::None,
                    "{key:?} on {}",
                    kind.name()
                );
            }
        }
    }
}
