//! `bookmarks.toml`: views kept under a name, each as the line that opens it. A wrong entry is reported and left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::command;
use super::load::{LoadError, Source};

const NAME: &str = "bookmarks";

/// Where they are kept.
pub fn file(config: &Path) -> PathBuf {
    config.join(NAME).with_extension("toml")
}

/// The file's text, for hand and eye.
pub fn text(bookmarks: &BTreeMap<String, String>) -> String {
    let mut out =
        String::from("# Views of the console by name: `b` keeps one, `:go NAME` opens it.\n");
    for (name, line) in bookmarks {
        out.push_str(&format!(
            "{} = {}\n",
            toml::Value::from(name.as_str()),
            toml::Value::from(line.as_str())
        ));
    }
    out
}

/// Reads the file below `config`; none is no fault.
pub fn load(config: &Path) -> (BTreeMap<String, String>, Vec<LoadError>) {
    match Source::read(&file(config)) {
        Ok(Some(source)) => read(&source),
        Ok(None) => (BTreeMap::new(), Vec::new()),
        Err(error) => (BTreeMap::new(), vec![error]),
    }
}

fn read(source: &Source) -> (BTreeMap<String, String>, Vec<LoadError>) {
    let (mut found, mut errors) = (BTreeMap::new(), Vec::new());
    let table = match DeTable::parse(&source.text) {
        Ok(table) => table,
        Err(error) => return (found, vec![source.not_toml(&error)]),
    };
    for (name, value) in table.get_ref() {
        let key = name.get_ref();
        let DeValue::String(line) = value.get_ref() else {
            let what = format!("expected the line of a view, got {}", value.get_ref().type_str());
            errors.push(source.error(&value.span(), key, what, String::new()));
            continue;
        };
        match command::parse(line) {
            Ok(_) => {
                found.insert(key.to_string(), line.to_string());
            }
            Err(why) => {
                errors.push(source.error(&value.span(), key, why.to_string(), String::new()));
            }
        }
    }
    (found, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), (BTreeMap::new(), Vec::new()));
        let kept: BTreeMap<String, String> = [
            ("trouble".to_owned(), "agents /state in (failed, paused) \"a b\"".to_owned()),
            ("with \"quotes\"".to_owned(), "pools".to_owned()),
        ]
        .into();
        std::fs::write(file(folder.path()), text(&kept)).unwrap();
        assert_eq!(load(folder.path()), (kept, Vec::new()));
        std::fs::write(file(folder.path()), "a = \"agetns\"\nb = \"pools\"\nc = 3\n").unwrap();
        let (found, errors) = load(folder.path());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["b"]);
        let said: Vec<String> = errors.iter().map(|error| error.to_string()).collect();
        assert!(
            said[0].ends_with(
                "bookmarks.toml:1: a: there is no command \"agetns\"; did you mean agents?"
            ),
            "{said:?}"
        );
        assert!(said[1].ends_with(":3: c: expected the line of a view, got integer"), "{said:?}");
    }
}
