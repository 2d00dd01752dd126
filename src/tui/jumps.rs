//! `jumps.toml`: keys of the operator's own that lead from a row to another view. What stands in braces is taken from the
//! row: `name`, `id`, or a field of the page's filter. A key that is bound already is reported, and stays what it is.
//!
//! ```toml
//! [agents]
//! "alt-m" = "messages /receiver={name} status=dead"
//! "alt-p" = "pools {pool}"
//! ```

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::command::{self, Line};
use super::keymap::{Keymap, Match};
use super::keys::{self, Key};
use super::load::{LoadError, Source, nearest};
use super::pages::TableKind;
use super::pages::row::Spec;

const FILE: &str = "jumps.toml";

/// One key on one page, and the line of the command bar that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    pub on: TableKind,
    pub key: Key,
    /// With its braces.
    pub line: String,
}

/// Reads the file below `config`; none is no fault.
pub fn load(config: &Path, keymap: &Keymap) -> (Vec<Jump>, Vec<LoadError>) {
    match Source::read(&config.join(FILE)) {
        Ok(Some(source)) => read(&source, keymap),
        Ok(None) => (Vec::new(), Vec::new()),
        Err(error) => (Vec::new(), vec![error]),
    }
}

fn read(source: &Source, keymap: &Keymap) -> (Vec<Jump>, Vec<LoadError>) {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    let table = match DeTable::parse(&source.text) {
        Ok(table) => table,
        Err(error) => return (found, vec![source.not_toml(&error)]),
    };
    for (page, jumps) in table.get_ref() {
        let name = page.get_ref().as_ref();
        let Some(on) = TableKind::named(name) else {
            let hint = "take the name of a page, as in :agents".to_owned();
            errors.push(source.error(&page.span(), name, "is no table".to_owned(), hint));
            continue;
        };
        let DeValue::Table(jumps) = jumps.get_ref() else {
            let hint = "write [agents] and below it \"alt-m\" = \"messages …\"".to_owned();
            errors.push(source.error(&page.span(), name, "expected keys and lines".into(), hint));
            continue;
        };
        for (key, line) in jumps {
            let place = format!("{name}.{}", key.get_ref());
            match jump(on, key.get_ref(), line.get_ref(), keymap) {
                Ok(jump) => found.push(jump),
                Err((what, hint)) => errors.push(source.error(&key.span(), &place, what, hint)),
            }
        }
    }
    (found, errors)
}

/// What is wrong with an entry, and what to write.
type Wrong = (String, String);

fn jump(on: TableKind, key: &str, line: &DeValue<'_>, keymap: &Keymap) -> Result<Jump, Wrong> {
    let DeValue::String(line) = line else {
        return Err((
            format!("expected the line of a view, got {}", line.type_str()),
            String::new(),
        ));
    };
    let pressed = keys::parse(key)
        .ok_or_else(|| ("is no key".to_owned(), "such as alt-m, ctrl-y or M".to_owned()))?;
    let spec = on.spec();
    if keymap.look_up(&on.scopes(), &[pressed]) != Match::None {
        let hint = "free it in a keymap first, or take another".to_owned();
        return Err(("is bound already".to_owned(), hint));
    }
    let line = line.trim().trim_start_matches(':').to_owned();
    let filled = fill(&line, |field| known(spec, field).then(|| "x".to_owned()))?;
    match command::parse(&filled) {
        Ok(Line::Open(_) | Line::About(..)) => Ok(Jump { on, key: pressed, line }),
        Ok(_) => Err(("leads to no view".to_owned(), "a jump changes nothing".to_owned())),
        Err(why) => Err((why.to_string(), String::new())),
    }
}

fn known(spec: &Spec, field: &str) -> bool {
    matches!(field, "name" | "id") || spec.fields.iter().any(|it| it.name == field)
}

/// The line with each `{field}` replaced.
///
/// # Errors
/// Names the first field that `value` does not know.
pub fn fill(line: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, Wrong> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((field, behind)) = after.split_once('}') else { break };
        let found = value(field);
        let near =
            || nearest(field, ["name", "id"].into_iter()).map(|it| format!("did you mean {it}?"));
        let found = found
            .ok_or_else(|| (format!("the row has no {field:?}"), near().unwrap_or_default()))?;
        out.extend([before, &found]);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> (Vec<Jump>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let keymap = crate::tui::keymap::load::load("default", None).0;
        let (jumps, errors) = load(folder.path(), &keymap);
        let said = errors.iter().map(|it| it.to_string().split_once(FILE).unwrap().1.to_owned());
        (jumps, said.collect())
    }

    #[test]
    fn a_jump_is_a_free_key_and_the_line_of_a_view() {
        let (jumps, errors) = loaded("[agents]\n\"alt-m\" = \":messages /receiver={name}\"\n");
        assert_eq!(errors, Vec::<String>::new());
        let key = keys::parse("alt-m").unwrap();
        let line = "messages /receiver={name}".to_owned();
        assert_eq!(jumps, [Jump { on: TableKind::Agents, key, line }]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_the_rest_holds() {
        let (jumps, errors) = loaded(
            "[agetns]\n[agents]\nr = \"pools\"\n\"alt-a\" = \"delete {name}\"\n\"alt-b\" = \"poools\"\n\
             \"alt-c\" = \"pools {poool}\"\n\"alt-d\" = 3\nnokey = \"pools\"\n\"alt-e\" = \"pools {pool}\"\n",
        );
        assert_eq!(jumps.len(), 1, "{jumps:?}");
        let said = errors.join("\n");
        for part in [
            ":1: agetns: is no table",
            ":3: agents.r: is bound already",
            ":4: agents.alt-a: leads to no view",
            ":5: agents.alt-b: there is no command \"poools\"; did you mean pools?",
            ":6: agents.alt-c: the row has no \"poool\"",
            ":7: agents.alt-d: expected the line of a view, got integer",
            ":8: agents.nokey: is no key",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
