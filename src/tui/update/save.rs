//! What a view shows, as a file: a table as CSV of every row that the filter leaves, a text line by line.

use super::Turn;
use crate::tui::effect::Effect;
use crate::tui::pages::row::{self, Rows};
use crate::tui::pages::table::{TablePage, place};
use crate::tui::pages::{Page, pulse};
use crate::tui::widgets::Look;
use crate::tui::widgets::table::CellText;

impl Turn<'_> {
    /// `ctrl-s`.
    pub(super) fn save(&mut self) {
        let (theme, glyphs) = (self.ui.theme.clone(), self.ui.glyphs);
        let look = Look { theme: &theme, glyphs: &glyphs };
        let (view, now) = (self.view, self.ui.now);
        if matches!(self.ui.page(), Page::Text(page) if page.is_empty()) {
            return self.refuse("there is nothing to save");
        }
        let line = self.ui.page().line();
        let stem = self.ui.page().crumb();
        let stem: String = stem
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(40)
            .collect();
        let (ending, body) = match self.ui.page() {
            Page::Table(_) => {
                let body = self.with_rows(|page, rows| table(page, rows, look));
                ("csv", body.unwrap_or_default())
            }
            Page::Text(page) => ("txt", page.read(look).map(|line| format!("{line}\n")).collect()),
            Page::Pulse(page) => ("txt", pulse::told(page, view, now, look).join("\n") + "\n"),
        };
        // The line that leads here again stands first.
        let text = format!("# :{line}\n{body}");
        self.effects.push(Effect::Save { stem, ending, text });
    }
}

fn table(page: &TablePage, rows: &dyn Rows, look: Look<'_>) -> String {
    let columns = page.columns();
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let mut out = titles.join(",");
    let mut cell = CellText::default();
    for at in &page.listing.rows {
        for (index, column) in columns.iter().enumerate() {
            out.push(if index == 0 { '\n' } else { ',' });
            cell.clear();
            row::cell(rows, place(*at), column, look, &mut cell);
            quote(&mut out, cell.as_str().trim());
        }
    }
    out.push('\n');
    out
}

/// As RFC 4180 wants it; a cell never begins a formula of whoever opens the file.
fn quote(out: &mut String, cell: &str) {
    let formula = cell.starts_with(['=', '@', '+']) || (cell.starts_with('-') && cell.len() > 1);
    let lead = if formula { "'" } else { "" };
    if formula || cell.contains([',', '"']) {
        out.push('"');
        out.push_str(lead);
        out.push_str(&cell.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(cell);
    }
}

#[cfg(test)]
mod tests {
    use crate::tui::effect::Effect;
    use crate::tui::testing::{draw, fleet, open, press, symbols, ui};

    #[test]
    fn a_table_is_saved_as_csv_with_the_line_that_leads_to_it() {
        let (mut ui, view) = (ui(), fleet());
        open(&mut ui, &view, "agents /triage sort:queue:desc");
        let effects = press(&mut ui, &view, "ctrl-s");
        let [Effect::Save { stem, ending, text }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!((stem.as_str(), *ending), ("agents", "csv"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# :agents /triage sort:queue:desc");
        assert!(lines[1].starts_with("NAME,POOL,STATE,"), "{text}");
        assert!(lines[2].starts_with("triage-2,triage,✖ failed,"), "{text}");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn a_log_that_says_nothing_is_no_file_and_a_text_has_no_side_pane() {
        let (mut ui, view) = (ui(), fleet());
        open(&mut ui, &view, "logs ocr-1");
        let effects = press(&mut ui, &view, "ctrl-s");
        assert!(!effects.iter().any(|it| matches!(it, Effect::Save { .. })), "{effects:?}");
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(shown.contains("there is nothing to save"), "{shown}");
        press(&mut ui, &view, "|");
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(!ui.detail && shown.contains("the side pane is for tables"), "{shown}");
        press(&mut ui, &view, "m");
        let shown = symbols(&draw(&mut ui, &view, 120, 30));
        assert!(shown.contains("marked below the last line"), "{shown}");
    }

    #[test]
    fn a_cell_is_quoted_where_it_must_be_and_never_a_formula() {
        let quoted = |cell: &str| {
            let mut out = String::new();
            super::quote(&mut out, cell);
            out
        };
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(quoted("=cmd()"), "\"'=cmd()\"");
        assert_eq!((quoted("-"), quoted("plain")), ("-".into(), "plain".into()));
    }
}
