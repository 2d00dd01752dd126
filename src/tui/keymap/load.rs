//! Reads `keymaps/*.toml`: `[scope]` tables of `"chord" = "action"`; `"none"` frees a key. A user's file of the same name
//! overrides the shipped one binding by binding. A wrong line is reported and skipped; the rest holds.

use std::path::Path;
use std::str::FromStr;

use strum::{IntoEnumIterator, VariantNames};
use toml::de::{DeTable, DeValue};

use super::{Keymap, Scope};
use crate::tui::action::Action;
use crate::tui::keys::{Key, parse_chord, show_chord};
use crate::tui::load::{LoadError, Source, nearest};

/// The profiles that come with the program; the first is the default, and what the others build on.
pub const SHIPPED: [(&str, &str); 2] = [
    ("default", include_str!("../../../keymaps/default.toml")),
    ("vim", include_str!("../../../keymaps/vim.toml")),
];

/// What frees a key.
const NOTHING: &str = "none";

/// Loads the profile `name`: the shipped one, then the user's file below `config`.
///
/// Errors are for showing: the keymap that comes with them works without the lines they name.
pub fn load(name: &str, config: Option<&Path>) -> (Keymap, Vec<LoadError>) {
    let (mut keymap, mut errors) = (Keymap::default(), Vec::new());
    let mut known = false;
    for (shipped, text) in SHIPPED {
        if shipped == SHIPPED[0].0 || shipped == name {
            apply(&mut keymap, &Source::shipped("keymaps", shipped, text), &mut errors);
            known |= shipped == name;
        }
    }
    match config.map(|config| Source::user(config, "keymaps", name)) {
        Some(Ok(Some(source))) => {
            known = true;
            apply(&mut keymap, &source, &mut errors);
        }
        Some(Err(error)) => errors.push(error),
        Some(Ok(None)) | None => {}
    }
    if !known {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        errors.push(LoadError {
            file: format!("keymaps/{name}.toml"),
            line: 0,
            key: String::new(),
            what: "there is no such keymap; the default one is used".into(),
            hint: format!("shipped are {}", names.join(", ")),
        });
    }
    (keymap, errors)
}

/// Applies one file to `keymap`.
pub fn apply(keymap: &mut Keymap, source: &Source, errors: &mut Vec<LoadError>) {
    let table = match DeTable::parse(&source.text) {
        Ok(table) => table,
        Err(error) => return errors.push(source.not_toml(&error)),
    };
    for (name, value) in table.get_ref() {
        let Ok(scope) = Scope::from_str(name.get_ref()) else {
            let hint = format!("scopes are {}", Scope::VARIANTS.join(", "));
            errors.push(source.error(&name.span(), name.get_ref(), "is no scope".into(), hint));
            continue;
        };
        match value.get_ref() {
            DeValue::Table(bindings) => bind_all(keymap, source, scope, bindings, errors),
            other => errors.push(source.error(
                &value.span(),
                scope.name(),
                format!("expected a table of bindings, got {}", other.type_str()),
                String::new(),
            )),
        }
    }
}

fn bind_all(
    keymap: &mut Keymap,
    source: &Source,
    scope: Scope,
    bindings: &DeTable<'_>,
    errors: &mut Vec<LoadError>,
) {
    // In the order of the file, so that of two doubled chords the second is the one reported.
    let mut bindings: Vec<_> = bindings.iter().collect();
    bindings.sort_by_key(|(name, _)| name.span().start);
    let mut seen: Vec<Vec<Key>> = Vec::new();
    for (name, value) in bindings {
        let at = format!("{}.{}", scope.name(), name.get_ref());
        let Some(chord) = parse_chord(name.get_ref()) else {
            let hint =
                "write keys as g, G, ctrl-d, shift-left, space, f5; chords with blanks: \"g g\"";
            errors.push(source.error(&name.span(), &at, "is no key".into(), hint.into()));
            continue;
        };
        if let Some(other) = seen.iter().find(|seen| hides(seen, &chord)) {
            let what = if *other == chord {
                "is bound twice".to_owned()
            } else {
                format!("cannot be typed beside {}", show_chord(other))
            };
            errors.push(source.error(&name.span(), &at, what, "remove one of them".into()));
            continue;
        }
        match value.get_ref().as_str().map(|action| (action, Action::from_str(action))) {
            Some((NOTHING, _)) => keymap.unbind(scope, &chord),
            Some((_, Ok(action))) => keymap.bind(scope, &chord, action),
            Some((unknown, Err(_))) => {
                let near = nearest(unknown, Action::iter().map(Action::name));
                let hint = near.map_or_else(
                    || "the shipped keymaps/default.toml and the help page (?) show them".into(),
                    |near| format!("did you mean {near}?"),
                );
                errors.push(source.error(
                    &value.span(),
                    &at,
                    format!("{unknown:?} is no action"),
                    hint,
                ));
                continue;
            }
            None => {
                let what = format!("expected an action's name, got {}", value.get_ref().type_str());
                errors.push(source.error(&value.span(), &at, what, String::new()));
                continue;
            }
        }
        seen.push(chord);
    }
}

/// Whether one chord begins with the other: both cannot be typed.
fn hides(a: &[Key], b: &[Key]) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::keymap::Match;

    fn errors(text: &str) -> Vec<String> {
        let (mut keymap, mut errors) = (Keymap::default(), Vec::new());
        apply(&mut keymap, &Source::shipped("keymaps", "x", text), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_shipped_keymap_loads_without_a_word() {
        for (name, _) in SHIPPED {
            let (_, errors) = load(name, None);
            assert_eq!(errors, [], "{name}");
        }
    }

    #[test]
    fn a_wrong_line_is_named_with_file_line_and_key() {
        for (text, expected) in [
            (
                "[global]\n\"q\" = \"leaf\"\n",
                "keymaps/x.toml:2: global.q: \"leaf\" is no action (did you mean leave?)",
            ),
            (
                "[table]\nj = \"select-next\"\n\nhyper-j = \"select-next\"\n",
                "keymaps/x.toml:4: table.hyper-j: is no key (write keys as g, G, ctrl-d, shift-left, space, f5; \
                 chords with blanks: \"g g\")",
            ),
            (
                "[table]\nG = \"select-last\"\nshift-g = \"select-first\"\n",
                "keymaps/x.toml:3: table.shift-g: is bound twice (remove one of them)",
            ),
            (
                "[table]\n\"g g\" = \"select-first\"\ng = \"select-last\"\n",
                "keymaps/x.toml:3: table.g: cannot be typed beside gg (remove one of them)",
            ),
            (
                "[global]\nq = 3\n",
                "keymaps/x.toml:2: global.q: expected an action's name, got integer",
            ),
            ("global = 3\n", "keymaps/x.toml:1: global: expected a table of bindings, got integer"),
        ] {
            assert_eq!(errors(text), [expected]);
        }
        assert!(
            errors("[nowhere]\n")[0]
                .starts_with("keymaps/x.toml:1: nowhere: is no scope (scopes are ")
        );
        assert!(
            errors("[global]\nq = \n")[0].starts_with("keymaps/x.toml:2: "),
            "{:?}",
            errors("[global]\nq = \n")
        );
    }

    #[test]
    fn a_users_file_overrides_the_shipped_one_key_by_key() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("keymaps")).unwrap();
        let text = "[agents]\nctrl-y = \"restart\"\nr = \"none\"\nbroken = \"restart\"\n";
        std::fs::write(folder.path().join("keymaps/default.toml"), text).unwrap();
        let (keymap, errors) = load("default", Some(folder.path()));
        assert_eq!(errors.len(), 1, "{errors:?}");
        let scopes = [Scope::Agents];
        let found = |keys: &str| keymap.look_up(&scopes, &parse_chord(keys).unwrap());
        assert_eq!(found("ctrl-y"), Match::Action(Action::Restart));
        assert_eq!(found("r"), Match::None);
        assert_eq!(found("ctrl-d"), Match::Action(Action::Delete), "the rest stays");
    }

    #[test]
    fn an_unknown_profile_falls_back_and_says_so() {
        let (keymap, errors) = load("emacs", None);
        assert_eq!(keymap, load("default", None).0);
        assert!(errors[0].to_string().contains("shipped are default, vim"), "{errors:?}");
    }

    #[test]
    fn movers_and_flow_control_stay_free() {
        for (name, _) in SHIPPED {
            let (keymap, _) = load(name, None);
            for scope in Scope::iter() {
                for key in ["ctrl-h", "ctrl-j", "ctrl-k", "ctrl-q", "ctrl-x"] {
                    let found = keymap.look_up(&[scope], &parse_chord(key).unwrap());
                    assert_eq!(found, Match::None, "{name}: {key} in {}", scope.name());
                }
            }
        }
    }

    #[test]
    fn the_default_profile_needs_no_key_twice_below_the_global_scope() {
        let (keymap, _) = load("default", None);
        let global: Vec<_> = keymap.chords(Scope::Global);
        for scope in Scope::iter().filter(|scope| *scope != Scope::Global) {
            // Text views and prompts read some global keys their own way, as the design's table does.
            if matches!(
                scope,
                Scope::Text | Scope::Prompt | Scope::Dialog | Scope::Logs | Scope::Tree
            ) {
                continue;
            }
            for (chord, action) in keymap.chords(scope) {
                assert!(
                    !global.iter().any(|(known, _)| *known == chord),
                    "{}: {} hides a global key for {}",
                    scope.name(),
                    show_chord(&chord),
                    action.name(),
                );
            }
        }
    }
}
