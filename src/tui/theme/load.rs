//! Reads `themes/*.toml`: `inherits`, `background`, and dotted keys such as `table.row.selected = "black on 117 bold"`.
//! A user's file of the same name overrides the shipped one key by key. A wrong line is reported and skipped.

use std::path::Path;

use ratatui::style::{Color, Modifier, Style};
use toml::de::{DeTable, DeValue};

use super::{Background, Theme, colour};
use crate::tui::load::{LoadError, Source, nearest};

/// The themes that come with the program; the first is the default.
pub const SHIPPED: [(&str, &str); 5] = [
    ("dark", include_str!("../../../themes/dark.toml")),
    ("light", include_str!("../../../themes/light.toml")),
    ("high-contrast", include_str!("../../../themes/high-contrast.toml")),
    ("colour-blind", include_str!("../../../themes/colour-blind.toml")),
    ("mono", include_str!("../../../themes/mono.toml")),
];

/// No chain of `inherits` needs to be longer.
const DEEPEST: usize = 8;

const MODIFIERS: [(&str, Modifier); 6] = [
    ("bold", Modifier::BOLD),
    ("dim", Modifier::DIM),
    ("italic", Modifier::ITALIC),
    ("underlined", Modifier::UNDERLINED),
    ("reversed", Modifier::REVERSED),
    ("crossed-out", Modifier::CROSSED_OUT),
];

/// Loads the theme `name`: what it inherits, the shipped file, then the user's below `config`.
///
/// Errors are for showing: the theme that comes with them works without the lines they name.
pub fn load(name: &str, config: Option<&Path>) -> (Theme, Vec<LoadError>) {
    let (mut theme, mut errors) = (Theme::default(), Vec::new());
    if !build(&mut theme, name, config, DEEPEST, &mut errors) {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        errors.push(LoadError {
            file: format!("themes/{name}.toml"),
            line: 0,
            key: String::new(),
            what: "there is no such theme; the default one is used".into(),
            hint: format!("shipped are {}", names.join(", ")),
        });
        build(&mut theme, SHIPPED[0].0, None, DEEPEST, &mut errors);
    }
    (theme, errors)
}

/// Applies `name` with all it inherits; returns whether there is such a theme.
fn build(
    theme: &mut Theme,
    name: &str,
    config: Option<&Path>,
    depth: usize,
    errors: &mut Vec<LoadError>,
) -> bool {
    let shipped = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
    let shipped = shipped.map(|(name, text)| Source::shipped("themes", name, text));
    let user = match config.map(|config| Source::user(config, "themes", name)) {
        Some(Ok(user)) => user,
        Some(Err(error)) => {
            errors.push(error);
            None
        }
        None => None,
    };
    let mut known = false;
    for source in [shipped, user].into_iter().flatten() {
        // A user's file that overrides a shipped one builds on it; a new one on what it inherits.
        let base = (!known).then_some(SHIPPED[0].0).filter(|base| *base != name);
        apply(theme, &source, base, config, depth, errors);
        known = true;
    }
    name.clone_into(&mut theme.name);
    known
}

fn apply(
    theme: &mut Theme,
    source: &Source,
    base: Option<&str>,
    config: Option<&Path>,
    depth: usize,
    errors: &mut Vec<LoadError>,
) {
    let table = match DeTable::parse(&source.text) {
        Ok(table) => table,
        Err(error) => return errors.push(source.not_toml(&error)),
    };
    let table = table.get_ref();
    let inherits = table.get("inherits");
    let parent = inherits.and_then(|value| value.get_ref().as_str());
    if let Some(parent) = parent.or(base) {
        let found = depth > 0 && build(theme, parent, config, depth - 1, errors);
        if let (false, Some(value)) = (found, inherits) {
            let what = if depth == 0 { "inherits in a circle" } else { "is no theme" };
            errors.push(source.error(&value.span(), "inherits", what.into(), String::new()));
        }
    }
    if let Some(value) = table.get("background") {
        match value.get_ref().as_str() {
            Some("dark") => theme.background = Background::Dark,
            Some("light") => theme.background = Background::Light,
            _ => errors.push(source.error(
                &value.span(),
                "background",
                "expected \"dark\" or \"light\"".into(),
                String::new(),
            )),
        }
    }
    set_all(theme, source, table, "", errors);
}

/// Sets every key below `path`.
fn set_all(
    theme: &mut Theme,
    source: &Source,
    table: &DeTable<'_>,
    path: &str,
    errors: &mut Vec<LoadError>,
) {
    for (name, value) in table {
        let name_text = name.get_ref();
        if path.is_empty() && matches!(name_text.as_ref(), "inherits" | "background") {
            continue;
        }
        let key =
            if path.is_empty() { name_text.to_string() } else { format!("{path}.{name_text}") };
        let text = match value.get_ref() {
            DeValue::Table(deeper) => {
                set_all(theme, source, deeper, &key, errors);
                continue;
            }
            DeValue::String(text) => text,
            other => {
                let what =
                    format!("expected a style such as \"red bold\", got {}", other.type_str());
                errors.push(source.error(&value.span(), &key, what, String::new()));
                continue;
            }
        };
        let Some(style) = theme.get_mut(&key) else {
            let near = nearest(&key, Theme::KEYS.iter().copied());
            let hint = near.map(|near| format!("did you mean {near}?")).unwrap_or_default();
            errors.push(source.error(&name.span(), &key, "is no key of a theme".into(), hint));
            continue;
        };
        match parse_style(text) {
            Ok(parsed) => *style = parsed,
            Err((what, hint)) => errors.push(source.error(&value.span(), &key, what, hint)),
        }
    }
}

/// Reads `FG`, `FG on BG`, `bold`, `FG on BG bold underlined`.
fn parse_style(text: &str) -> Result<Style, (String, String)> {
    let mut style = Style::new();
    let mut background = false;
    for word in text.split_ascii_whitespace() {
        if word == "on" && !background {
            background = true;
        } else if let Some((_, modifier)) = MODIFIERS.iter().find(|(name, _)| *name == word) {
            style = style.add_modifier(*modifier);
        } else if let Some(color) = colour::parse(word) {
            let place = if background { &mut style.bg } else { &mut style.fg };
            if place.replace(color).is_some_and(|before| before != Color::Reset) {
                return Err((format!("{word:?} is one colour too many"), "write FG on BG".into()));
            }
        } else {
            let words = colour::names().chain(MODIFIERS.iter().map(|(name, _)| *name));
            let hint = nearest(word, words).map_or_else(
                || "colours are names, 0-255, #rrggbb or default".into(),
                |near| format!("did you mean {near}?"),
            );
            return Err((format!("{word:?} is neither a colour nor a modifier"), hint));
        }
    }
    Ok(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::Depth;

    fn errors(text: &str) -> Vec<String> {
        let (mut theme, mut errors) = (Theme::default(), Vec::new());
        apply(&mut theme, &Source::shipped("themes", "x", text), None, None, 1, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_shipped_theme_loads_and_sets_what_it_must() {
        for (name, _) in SHIPPED {
            let (theme, errors) = load(name, None);
            assert_eq!(errors, [], "{name}");
            assert_eq!(theme.name, name);
            for (key, style) in theme.styles() {
                // These three may look like plain text, the rest must differ from it somehow.
                let plain =
                    ["text", "header.value", "prompt.text", "dialog.text", "prompt.suggestion"];
                if name == "dark" && !plain.contains(&key) {
                    assert_ne!(style, Style::new(), "{name}: {key}");
                }
            }
        }
    }

    /// The colours that a style ends up with on a terminal of the theme's kind.
    fn shown(theme: &Theme, style: Style) -> ((u8, u8, u8), (u8, u8, u8)) {
        let (text, ground) = match theme.background {
            Background::Dark => ((229, 229, 229), (0, 0, 0)),
            Background::Light => ((0, 0, 0), (255, 255, 255)),
        };
        let of = |color: Option<Color>, own| color.and_then(colour::rgb).unwrap_or(own);
        let (fg, bg) =
            (of(style.fg.or(theme.text.fg), text), of(style.bg.or(theme.text.bg), ground));
        if style.add_modifier.contains(Modifier::REVERSED) { (bg, fg) } else { (fg, bg) }
    }

    #[test]
    fn every_text_of_every_theme_can_be_read() {
        for (name, _) in SHIPPED {
            let theme = load(name, None).0;
            for (key, style) in theme.styles() {
                if key.starts_with("border.") || key == "dialog.border" {
                    continue; // lines, no text
                }
                let (fg, bg) = shown(&theme, style);
                let contrast = colour::contrast(fg, bg);
                assert!(contrast >= 4.5, "{name}: {key} has {contrast:.2}");
            }
        }
    }

    #[test]
    fn a_selection_is_seen_without_colours() {
        for (name, _) in SHIPPED {
            let theme = load(name, None).0.fit(Depth::None);
            for (key, style) in theme.styles() {
                assert!(matches!(style.fg, None | Some(Color::Reset)), "{name}: {key}");
                assert!(matches!(style.bg, None | Some(Color::Reset)), "{name}: {key}");
            }
            for style in [theme.row_selected, theme.button_focused] {
                assert!(style.add_modifier.contains(Modifier::REVERSED), "{name}");
            }
        }
    }

    #[test]
    fn a_wrong_line_is_named_with_file_line_and_key() {
        for (text, expected) in [
            (
                "ok = \"green\"\nalram = \"red\"\n",
                "themes/x.toml:2: alram: is no key of a theme (did you mean alarm?)",
            ),
            (
                "[table]\nrow.selected = \"blak on white\"\n",
                "themes/x.toml:2: table.row.selected: \"blak\" is neither a colour nor a modifier (did you mean black?)",
            ),
            (
                "ok = \"red green\"\n",
                "themes/x.toml:1: ok: \"green\" is one colour too many (write FG on BG)",
            ),
            ("ok = 3\n", "themes/x.toml:1: ok: expected a style such as \"red bold\", got integer"),
            (
                "background = \"grey\"\n",
                "themes/x.toml:1: background: expected \"dark\" or \"light\"",
            ),
            ("inherits = \"nobody\"\n", "themes/x.toml:1: inherits: is no theme"),
        ] {
            assert_eq!(errors(text), [expected]);
        }
    }

    #[test]
    fn a_users_theme_overrides_or_inherits() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("themes")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(format!("themes/{name}.toml")), text).unwrap();
        };
        write("dark", "alarm = \"white on red\"\n");
        write("mine", "inherits = \"light\"\nok = \"22 bold\"\n");
        write("a", "inherits = \"b\"\n");
        write("b", "inherits = \"a\"\n");
        let (dark, errors) = load("dark", Some(folder.path()));
        assert_eq!(errors, []);
        assert_eq!(dark.alarm, Style::new().fg(Color::White).bg(Color::Red));
        assert_eq!(dark.ok, load("dark", None).0.ok, "the rest stays");
        let (mine, errors) = load("mine", Some(folder.path()));
        assert_eq!(errors, []);
        assert_eq!(mine.background, Background::Light);
        assert_eq!(mine.alarm, load("light", None).0.alarm);
        let (_, errors) = load("a", Some(folder.path()));
        assert!(errors.iter().any(|error| error.what == "inherits in a circle"), "{errors:?}");
    }

    #[test]
    fn an_unknown_theme_falls_back_and_says_so() {
        let (theme, errors) = load("solarised", None);
        assert_eq!(theme.ok, load("dark", None).0.ok);
        assert!(errors[0].to_string().contains("there is no such theme"), "{errors:?}");
    }
}
