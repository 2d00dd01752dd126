//! `views.toml`: which columns a table shows, in which order and sorted how, for all scopes or for some. A column is one of
//! the table's own, a label, a field of the filter language, or a place in the stored document. What is wrong is told with
//! its line, and the table keeps the columns it has.
//!
//! ```toml
//! [agents]
//! columns = ["NAME", "STATE", "TIER:label.tier", "QUEUE|S", "HOST:field.node|W"]
//! sort = "queue:desc"
//! ["messages@acme|widgets"]
//! columns = ["TYPE", "ORDER:/payload/order/id", "AGE"]
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use regex::Regex;
use toml::de::{DeTable, DeValue};

use super::load::{LoadError, Source, nearest};
use super::pages::TableKind;
use super::pages::row::is_custom;
use super::widgets::table::{Column, Width};
use crate::model::text::{Align, Safe};

const FILE: &str = "views.toml";
/// Columns of a custom column that says nothing of its width.
const WIDTH: u16 = 12;

/// What a table shows instead of its own columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub columns: Vec<&'static Column>,
    pub sort: Option<(&'static str, bool)>,
}

/// Every layout of the file.
#[derive(Debug, Clone, Default)]
pub struct Views {
    all: Vec<(TableKind, Option<Regex>, Arc<Layout>)>,
}

impl Views {
    /// The layout of a table in a scope: one for just this scope comes before one for all.
    pub fn layout(&self, kind: TableKind, scope: Option<&Safe>) -> Option<&Arc<Layout>> {
        let of_kind = || self.all.iter().filter(|(of, ..)| *of == kind);
        let fits = |regex: &Regex| scope.is_some_and(|scope| regex.is_match(scope.as_str()));
        let own = of_kind().find(|(_, regex, _)| regex.as_ref().is_some_and(fits));
        let any = || of_kind().find(|(_, regex, _)| regex.is_none());
        own.or_else(any).map(|(_, _, layout)| layout)
    }

    /// Whether every table shows its own columns.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Reads the file below `config`; none is no fault.
    pub fn load(config: &Path) -> (Self, Vec<LoadError>) {
        match Source::read(&config.join(FILE)) {
            Ok(Some(source)) => read(&source),
            Ok(None) => (Self::default(), Vec::new()),
            Err(error) => (Self::default(), vec![error]),
        }
    }
}

fn read(source: &Source) -> (Views, Vec<LoadError>) {
    let (mut views, mut errors) = (Views::default(), Vec::new());
    let table = match DeTable::parse(&source.text) {
        Ok(table) => table,
        Err(error) => return (views, vec![source.not_toml(&error)]),
    };
    for (name, value) in table.get_ref() {
        let key = name.get_ref().as_ref();
        let mut wrong = |what: String, hint: String| {
            errors.push(source.error(&name.span(), key, what, hint));
        };
        let (kind_name, scope) = match key.split_once('@') {
            Some((kind, scope)) => (kind, Some(scope)),
            None => (key, None),
        };
        let Some(kind) = TableKind::named(kind_name) else {
            let near = nearest(kind_name, kinds());
            let hint = near.map(|near| format!("did you mean {near}?")).unwrap_or_default();
            wrong("is no table".into(), hint);
            continue;
        };
        let scope = match scope.map(|scope| Regex::new(&format!("^(?:{scope})$"))) {
            Some(Ok(regex)) => Some(regex),
            None => None,
            Some(Err(_)) => {
                wrong("the scope behind @ is no regex".into(), String::new());
                continue;
            }
        };
        let DeValue::Table(entries) = value.get_ref() else {
            wrong("expected a table with columns and sort".into(), String::new());
            continue;
        };
        if let Some(layout) = layout(kind, key, entries, source, &mut errors) {
            views.all.push((kind, scope, Arc::new(layout)));
        }
    }
    errors.sort_by_key(|error| error.line);
    (views, errors)
}

fn kinds() -> impl Iterator<Item = &'static str> {
    <TableKind as strum::IntoEnumIterator>::iter().map(TableKind::name)
}

/// The layout that `entries` describe; `None` when nothing of it can be used.
fn layout(
    kind: TableKind,
    key: &str,
    entries: &DeTable<'_>,
    source: &Source,
    errors: &mut Vec<LoadError>,
) -> Option<Layout> {
    let mut columns: Vec<&'static Column> = Vec::new();
    let mut sort = None;
    for (name, value) in entries {
        let path = format!("{key}.{}", name.get_ref());
        let mut wrong = |span: &std::ops::Range<usize>, what: String, hint: String| {
            errors.push(source.error(span, &path, what, hint));
        };
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("columns", DeValue::Array(items)) => {
                for item in items {
                    let DeValue::String(text) = item.get_ref() else {
                        wrong(
                            &item.span(),
                            "expected \"TITLE[:SOURCE][|ATTRS]\"".into(),
                            String::new(),
                        );
                        continue;
                    };
                    match column(kind, text) {
                        Ok(Some(column)) => columns.push(column),
                        Ok(None) => {}
                        Err((what, hint)) => wrong(&item.span(), what, hint),
                    }
                }
            }
            ("sort", DeValue::String(text)) => sort = Some((text.to_string(), value.span(), path)),
            ("columns", _) => {
                wrong(&value.span(), "expected a list of columns".into(), String::new());
            }
            ("sort", _) => wrong(&value.span(), "expected \"COLUMN[:desc]\"".into(), String::new()),
            _ => wrong(
                &name.span(),
                "is no setting of a view".into(),
                "there are columns and sort".into(),
            ),
        }
    }
    let own: Vec<&'static Column> = kind.spec().columns.iter().collect();
    let columns = if columns.is_empty() { own } else { columns };
    let sort = sort.and_then(|(text, span, path)| {
        let (column, way) = text.split_once(':').unwrap_or((&text, "asc"));
        let found = columns.iter().find(|known| is_called(known, column));
        let fault = match (found, way) {
            (Some(found), _) if found.key.starts_with('/') && kind.stored().is_some() => {
                format!("{column:?} is read for the rows in sight alone and cannot be sorted by")
            }
            (Some(found), "asc" | "desc") => return Some((found.key, way == "desc")),
            (Some(_), _) => "expected asc or desc behind the column".to_owned(),
            (None, _) => format!("{column:?} is none of the columns shown"),
        };
        errors.push(source.error(&span, &path, fault, String::new()));
        None
    });
    Some(Layout { columns, sort })
}

fn is_called(column: &Column, name: &str) -> bool {
    column.key == name || column.title.eq_ignore_ascii_case(name)
}

/// One column; `None` for one that is hidden (`|H`).
fn column(kind: TableKind, text: &str) -> Result<Option<&'static Column>, (String, String)> {
    let (text, attributes) = text.split_once('|').unwrap_or((text, ""));
    let mut column = match text.split_once(':') {
        Some((title, place)) => custom(kind, title, place)?,
        None => {
            let own = kind.spec().columns;
            *own.iter().find(|known| is_called(known, text)).ok_or_else(|| {
                let near = nearest(text, own.iter().map(|column| column.title));
                let hint = near.map_or_else(
                    || "write TITLE:label.NAME, TITLE:field.NAME or TITLE:/place".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
                (format!("{text:?} is no column of {}", kind.name()), hint)
            })?
        }
    };
    for attribute in attributes.chars() {
        match attribute {
            'W' => column.wide = true,
            'S' => column.wide = false,
            'L' => column.align = Align::Left,
            // times and numbers stand on the right; what they mean, their source knows
            'R' | 'N' | 'T' => column.align = Align::Right,
            'H' => return Ok(None),
            other => {
                let what = format!("{other:?} is no attribute of a column");
                return Err((what, "there are T N W S H L R".into()));
            }
        }
    }
    Ok(Some(keep(column)))
}

fn custom(kind: TableKind, title: &str, place: &str) -> Result<Column, (String, String)> {
    if !is_custom(place) {
        let what = format!("{place:?} is no place to take a value from");
        return Err((what, "expected label.NAME, field.NAME or /place/in/the/document".into()));
    }
    if place.starts_with('/') && kind.papers().is_none() && kind.stored().is_none() {
        let what = format!("{} are shown without their documents", kind.name());
        return Err((what, "take label.NAME or field.NAME".into()));
    }
    if let Some(field) = place.strip_prefix("field.") {
        let fields = || kind.spec().fields.iter().map(|field| field.name);
        if !fields().any(|known| known == field) {
            let near = nearest(field, fields());
            let hint = near.map(|near| format!("did you mean field.{near}?")).unwrap_or_default();
            return Err((format!("{} have no field {field:?}", kind.name()), hint));
        }
    }
    let title = Safe::new(title);
    let wide = u16::try_from(title.width() + 1).unwrap_or(WIDTH);
    Ok(Column {
        key: word(place),
        title: word(title.as_str()),
        width: Width::Fixed(wide.max(WIDTH)),
        align: Align::Left,
        wide: false,
    })
}

/// Columns and their words live as long as the program, as the shipped ones do. Each is kept once however often the file
/// is read, so what is kept is no more than what was ever written into it.
fn keep(column: Column) -> &'static Column {
    static KEPT: Mutex<Vec<&'static Column>> = Mutex::new(Vec::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.iter().find(|known| ***known == column) {
        return known;
    }
    let column: &'static Column = Box::leak(Box::new(column));
    kept.push(column);
    column
}

fn word(text: &str) -> &'static str {
    static KEPT: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.iter().find(|known| **known == text) {
        return known;
    }
    let word: &'static str = Box::leak(Box::from(text));
    kept.push(word);
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::{draw, fleet, open, press, symbols, ui};

    fn loaded(text: &str) -> (Views, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let (views, errors) = Views::load(folder.path());
        let name = folder.path().join(FILE).display().to_string();
        let said = errors.iter().map(|error| error.to_string().replace(&name, FILE));
        (views, said.collect())
    }

    #[test]
    fn a_table_shows_the_columns_of_the_file_in_their_order_sorted_as_it_says() {
        let (views, errors) = loaded(
            "[agents]\ncolumns = [\"NAME\", \"TIER:label.tier\", \"queue|S\", \"HOST:field.node|W\", \"LOAD:field.cpu|N\"]\nsort = \"queue:desc\"\n",
        );
        assert_eq!(errors, Vec::<String>::new());
        let (mut ui, view) = (ui(), fleet());
        ui.views = Arc::new(views);
        let shown = symbols(&draw(&mut ui, &view, 100, 16));
        let head = shown.lines().find(|line| line.contains("NAME")).unwrap();
        let titles: Vec<&str> = head.trim_matches(['│', ' ']).split_whitespace().collect();
        assert_eq!(titles, ["NAME", "TIER", "QUEUE▼", "LOAD"], "{shown}");
        let first = shown.lines().find(|line| line.contains('▌')).unwrap();
        assert!(
            first.contains("triage-2") && first.contains("gold") && first.contains("120m"),
            "{shown}"
        );
        press(&mut ui, &view, "ctrl-w");
        assert!(symbols(&draw(&mut ui, &view, 100, 16)).contains("host-1"));
    }

    #[test]
    fn a_custom_column_is_sorted_by_and_copied_like_any_other() {
        let (views, _) = loaded("[messages]\ncolumns = [\"TYPE\", \"ORDER:/payload/order/id\"]\n");
        let (mut ui, view) = (ui(), crate::tui::testing::busy());
        ui.views = Arc::new(views);
        open(&mut ui, &view, "messages");
        press(&mut ui, &view, "shift-right O O");
        let shown = symbols(&draw(&mut ui, &view, 100, 16));
        let orders: Vec<usize> = ["A5", "A2", "A1"].map(|id| shown.find(id).unwrap()).into();
        assert!(orders.is_sorted(), "{shown}");
        let effects = press(&mut ui, &view, "Y");
        let copied = effects.iter().any(
            |effect| matches!(effect, crate::tui::effect::Effect::Copy(lines) if lines[0] == "A5"),
        );
        assert!(copied, "{effects:?}");
    }

    #[test]
    fn one_scope_may_have_other_columns_than_the_rest() {
        let (views, errors) = loaded(
            "[agents]\ncolumns = [\"NAME\"]\n[\"agents@ac.*\"]\ncolumns = [\"NAME\", \"AGE\"]\n",
        );
        assert_eq!(errors, Vec::<String>::new());
        let count = |scope: Option<&str>| {
            let scope = scope.map(Safe::new);
            views.layout(TableKind::Agents, scope.as_ref()).unwrap().columns.len()
        };
        assert_eq!((count(None), count(Some("acme")), count(Some("other"))), (1, 2, 1));
        assert!(views.layout(TableKind::Pools, None).is_none());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_the_rest_holds() {
        let (views, errors) = loaded(
            "[agetns]\ncolumns = []\n[agents]\ncolumns = [\n  \"NAME\",\n  \"STTAE\",\n  \"X:wrong\",\n  \"Y:field.nodde\",\n  \"Z:/a\",\n  \"AGE|Q\",\n]\nsort = \"queue\"\ncolour = 1\n",
        );
        assert_eq!(
            errors,
            [
                "views.toml:1: agetns: is no table (did you mean agents?)",
                "views.toml:6: agents.columns: \"STTAE\" is no column of agents (did you mean STATE?)",
                "views.toml:7: agents.columns: \"wrong\" is no place to take a value from (expected label.NAME, field.NAME or /place/in/the/document)",
                "views.toml:8: agents.columns: agents have no field \"nodde\" (did you mean field.node?)",
                "views.toml:10: agents.columns: 'Q' is no attribute of a column (there are T N W S H L R)",
                "views.toml:12: agents.sort: \"queue\" is none of the columns shown",
                "views.toml:13: agents.colour: is no setting of a view (there are columns and sort)",
            ]
        );
        assert_eq!(views.layout(TableKind::Agents, None).unwrap().columns.len(), 2);
        let (_, errors) = loaded(
            "[agents]\ncolumns = [\"NAME\", \"Z:/a\"]\nsort = \"z\"\n[operations]\ncolumns = [\"Z:/a\"]\n",
        );
        assert_eq!(
            errors,
            [
                "views.toml:3: agents.sort: \"z\" is read for the rows in sight alone and cannot be sorted by",
                "views.toml:5: operations.columns: operations are shown without their documents (take label.NAME or field.NAME)",
            ]
        );
    }
}
