//! `contexts.toml`: the fleets of an operator by name, each with the store and the runtime that `--store` and `--runtime`
//! would give, and how careful the console is with it. Nothing here opens anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::thresholds::SomeThresholds;
use super::{LoadError, distance, line_of};
use crate::model::access::Role;

/// The context of whoever names none: what the settings say.
pub const DEFAULT: &str = "default";

const FILE: &str = "contexts.toml";

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ContextSettings {
    /// Everything of it is kept under this folder.
    pub data_dir: Option<PathBuf>,
    pub store: Option<String>,
    pub runtime: Option<String>,
    pub kubeconfig: Option<String>,
    /// The kubeconfig's context.
    pub kube_context: Option<String>,
    /// The cluster's namespace.
    pub namespace: Option<String>,
    pub theme: Option<String>,
    pub thresholds: SomeThresholds,
    /// Every change wants the context's name; `ctrl-o` does too.
    pub protected: bool,
    /// Changes are refused until `ctrl-o`.
    pub read_only: bool,
    /// Acts as less than one is.
    #[serde(rename = "as")]
    pub role: Option<RoleName>,
}

/// A role by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RoleName(pub Role);

/// The contexts of the file below `config`, by name; none is no fault.
///
/// # Errors
/// [`LoadError`] for the first fault, with file, line and key.
pub fn load(config: &Path) -> Result<BTreeMap<String, ContextSettings>, LoadError> {
    let path = config.join(FILE);
    let file = path.display().to_string();
    let wrong = |line: usize, key: &str, what: String| LoadError {
        file: file.clone(),
        line,
        key: key.to_owned(),
        what,
        hint: String::new(),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(wrong(0, "", format!("cannot be read: {error}"))),
    };
    let table = text.parse::<Table>().map_err(|error| {
        let upto = error.span().map_or(0, |span| span.start.min(text.len()));
        wrong(text[..upto].matches('\n').count() + 1, "", error.message().to_owned())
    })?;
    let mut found = BTreeMap::new();
    for (name, value) in table {
        let Value::Table(fields) = value else {
            let what = "expected a table with store, runtime, data-dir, theme, thresholds, protected, read-only or as";
            return Err(wrong(line_of(&text, &name), &name, what.to_owned()));
        };
        for key in fields.keys() {
            let alone: Table = [(key.clone(), fields[key].clone())].into_iter().collect();
            if let Err(error) = Value::Table(alone).try_into::<ContextSettings>() {
                let path = format!("{name}.{key}");
                return Err(wrong(line_of(&text, &path), &path, error.message().to_owned()));
            }
        }
        let context = Value::Table(fields).try_into().map_err(|error: toml::de::Error| {
            wrong(line_of(&text, &name), &name, error.message().to_owned())
        })?;
        found.insert(name, context);
    }
    Ok(found)
}

/// The context of this name; the default one needs no entry.
///
/// # Errors
/// Says that there is none, and which there are.
pub fn named(
    all: &BTreeMap<String, ContextSettings>,
    name: &str,
) -> Result<ContextSettings, String> {
    if let Some(context) = all.get(name) {
        return Ok(context.clone());
    }
    if name == DEFAULT {
        return Ok(ContextSettings::default());
    }
    let known: Vec<&str> = std::iter::once(DEFAULT).chain(all.keys().map(String::as_str)).collect();
    let near = known
        .iter()
        .min_by_key(|known| distance(name, known))
        .filter(|known| distance(name, known) < 3);
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Err(format!("there is no context {name:?}: there are {}{hint}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Result<BTreeMap<String, ContextSettings>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let path = folder.path().join(FILE).display().to_string();
        load(folder.path()).map_err(|error| error.to_string().replace(&path, FILE))
    }

    #[test]
    fn contexts_are_read_by_name_and_the_default_one_is_always_there() {
        let all =
            loaded("[prod-eu]\nstore = \"/srv/fleet.db\"\nprotected = true\nas = \"developer\"\n")
                .unwrap();
        let prod = named(&all, "prod-eu").unwrap();
        assert_eq!(prod.store.as_deref(), Some("/srv/fleet.db"));
        assert_eq!((prod.protected, prod.role), (true, Some(RoleName(Role::Developer))));
        assert_eq!(named(&all, DEFAULT), Ok(ContextSettings::default()));
        assert_eq!(
            named(&all, "prod-eo").unwrap_err(),
            "there is no context \"prod-eo\": there are default, prod-eu; did you mean prod-eu?"
        );
        assert!(load(Path::new("/nowhere/at/all")).unwrap().is_empty());
    }

    #[test]
    fn a_fault_is_told_with_file_line_and_key() {
        for (text, said) in [
            (
                "[a]\nstore = 3\n",
                "contexts.toml:2: a.store: invalid type: integer `3`, expected a string",
            ),
            ("[a]\n\nstroe = \"x\"\n", "contexts.toml:3: a.stroe: unknown field `stroe`"),
            ("a = 1\n", "contexts.toml:1: a: expected a table"),
            ("[a\n", "contexts.toml:1: "),
        ] {
            let error = loaded(text).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
