//! What things look like, by meaning: every colour on the screen is a field of [`Theme`], every sign one of [`Glyphs`].
//! It knows no page and no colour that its file does not name.

use ratatui::style::{Color, Modifier, Style};
use serde::{Deserialize, Serialize};

use crate::settings::thresholds::Thresholds;

pub mod colour;
pub mod load;

/// Which side the terminal's own background is on; only contrast is judged by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Background {
    #[default]
    Dark,
    Light,
}

impl Background {
    /// Reads `COLORFGBG` (`15;0`, `0;default;15`), which some terminals set and which holds until the terminal itself answers.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let text = var("COLORFGBG")?;
        match text.rsplit(';').next()?.parse::<u8>().ok()? {
            7 | 9..=15 => Some(Self::Light),
            0..=6 | 8 => Some(Self::Dark),
            _ => None,
        }
    }
}

macro_rules! styles {
    ($($field:ident = $key:literal),* $(,)?) => {
        /// A style for every meaning. Meaning is never in the colour alone: a glyph and a word go with it.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Theme {
            pub name: String,
            pub background: Background,
            /// From when on a figure looks like a warning, and like an alarm.
            pub limits: Thresholds,
            $(pub $field: Style,)*
        }

        impl Theme {
            /// The keys that a theme file may set.
            pub const KEYS: &[&str] = &[$($key),*];

            /// The style behind a dotted key.
            pub fn get_mut(&mut self, key: &str) -> Option<&mut Style> {
                match key {
                    $($key => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            /// Every key with its style.
            pub fn styles(&self) -> impl Iterator<Item = (&'static str, Style)> {
                [$(($key, self.$field)),*].into_iter()
            }
        }
    };
}

styles! {
    text = "text",
    muted = "muted",
    accent = "accent",
    title = "title",
    ok = "ok",
    busy = "busy",
    warn = "warn",
    alarm = "alarm",
    unknown = "unknown",
    border = "border.normal",
    border_focused = "border.focused",
    header_label = "header.label",
    header_value = "header.value",
    header_alert = "header.alert",
    crumb = "crumb.normal",
    crumb_active = "crumb.active",
    table_head = "table.head",
    table_sorted = "table.sorted",
    row_selected = "table.row.selected",
    row_marked = "table.row.marked",
    row_gone = "table.row.gone",
    cell_picked = "table.cell.picked",
    hit = "table.match",
    hint_key = "hint.key",
    hint_text = "hint.text",
    prompt_text = "prompt.text",
    prompt_sign = "prompt.sign",
    prompt_ghost = "prompt.ghost",
    prompt_error = "prompt.error",
    suggestion = "prompt.suggestion",
    suggestion_chosen = "prompt.chosen",
    dialog = "dialog.text",
    dialog_label = "dialog.label",
    dialog_border = "dialog.border",
    field = "dialog.field",
    button = "dialog.button",
    button_focused = "dialog.focused",
    toast_info = "toast.info",
    toast_warn = "toast.warn",
    toast_alarm = "toast.alarm",
    json_key = "json.key",
    json_string = "json.string",
    json_number = "json.number",
    json_word = "json.word",
    changed = "changed",
    spark = "spark",
}

/// How many colours the terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Depth {
    None,
    Ansi16,
    Ansi256,
    True,
}

impl Depth {
    /// Reads the environment: `NO_COLOR`, `COLORTERM`, `TERM`.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        if set("NO_COLOR").is_some() || term == "dumb" {
            Self::None
        } else if set("COLORTERM").is_some_and(|value| value == "truecolor" || value == "24bit") {
            Self::True
        } else if term.contains("256color") || term.contains("direct") || term.contains("kitty") {
            Self::Ansi256
        } else {
            Self::Ansi16
        }
    }
}

impl Theme {
    /// The same theme in the colours that the terminal has.
    ///
    /// Without colours a filled background becomes reverse video, so that a selection stays a selection.
    #[must_use]
    pub fn fit(mut self, depth: Depth) -> Self {
        for key in Self::KEYS {
            let Some(style) = self.get_mut(key) else { continue };
            if depth == Depth::None && style.bg.is_some_and(|bg| bg != Color::Reset) {
                *style = style.add_modifier(Modifier::REVERSED);
            }
            style.fg = style.fg.map(|color| colour::fit(color, depth));
            style.bg = style.bg.map(|color| colour::fit(color, depth));
        }
        self
    }
}

/// The signs beside the words: one column each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glyphs {
    pub ok: &'static str,
    pub degraded: &'static str,
    pub failed: &'static str,
    pub unknown: &'static str,
    pub busy: &'static str,
    pub paused: &'static str,
    pub stopped: &'static str,
    pub selected: &'static str,
    pub marked: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub unsorted: &'static str,
    pub left: &'static str,
    pub right: &'static str,
    pub ellipsis: &'static str,
    pub open: &'static str,
    pub folded: &'static str,
    pub done: &'static str,
    pub separator: &'static str,
    pub arrow: &'static str,
    /// A figure has just gone up, or down.
    pub more: &'static str,
    pub less: &'static str,
    /// From nothing to full, eight steps.
    pub spark: [&'static str; 8],
    /// Corners (from top left, clockwise), then the horizontal and the vertical line.
    pub frame: [&'static str; 6],
}

impl Glyphs {
    pub const UNICODE: Self = Self {
        ok: "●",
        degraded: "◐",
        failed: "✖",
        unknown: "?",
        busy: "◌",
        paused: "‖",
        stopped: "○",
        selected: "▌",
        marked: "•",
        up: "▲",
        down: "▼",
        unsorted: "↕",
        left: "←",
        right: "→",
        ellipsis: "…",
        open: "▾",
        folded: "▸",
        done: "✔",
        separator: "·",
        arrow: "→",
        more: "↑",
        less: "↓",
        spark: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
        frame: ["┌", "┐", "┘", "└", "─", "│"],
    };

    pub const ASCII: Self = Self {
        ok: "+",
        degraded: "~",
        failed: "x",
        unknown: "?",
        busy: "o",
        paused: "=",
        stopped: "-",
        selected: ">",
        marked: "*",
        up: "^",
        down: "v",
        unsorted: ":",
        left: "<",
        right: ">",
        ellipsis: ".",
        open: "v",
        folded: ">",
        done: "+",
        separator: "|",
        arrow: ">",
        more: "+",
        less: "-",
        spark: ["_", ".", ",", "-", "=", "+", "*", "#"],
        frame: ["+", "+", "+", "+", "-", "|"],
    };

    /// ASCII when asked for, or when the locale is one that shows no more: `C`, `POSIX`, or with another charset than UTF-8.
    /// Where none is set, as often over SSH, the terminal is trusted.
    pub fn from_env(ascii: bool, var: impl Fn(&str) -> Option<String>) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| var(name).filter(|value| !value.is_empty()))
            .unwrap_or_default()
            .to_ascii_lowercase();
        let charset =
            locale.split_once('.').map(|(_, rest)| rest.split('@').next().unwrap_or(rest));
        let other = charset.is_some_and(|charset| !matches!(charset, "utf-8" | "utf8"));
        let bare = locale == "c" || locale == "posix" || other;
        if ascii || bare { Self::ASCII } else { Self::UNICODE }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::CellWidth;

    use super::*;

    #[test]
    fn the_environment_tells_the_background_and_what_can_be_shown() {
        for (text, found) in [
            ("15;0", Some(Background::Dark)),
            ("0;15", Some(Background::Light)),
            ("0;default;7", Some(Background::Light)),
            ("12;8", Some(Background::Dark)),
            ("default;default", None),
            ("", None),
        ] {
            let read = Background::from_env(|name| (name == "COLORFGBG").then(|| text.to_owned()));
            assert_eq!(read, found, "{text:?}");
        }
        for (locale, ascii) in [
            ("C", true),
            ("POSIX", true),
            ("en_US.ISO-8859-1", true),
            ("de_DE.ISO-8859-15@euro", true),
            ("C.UTF-8", false),
            ("en_US.utf8", false),
            ("", false),
        ] {
            let read = Glyphs::from_env(false, |name| (name == "LANG").then(|| locale.to_owned()));
            assert_eq!(read == Glyphs::ASCII, ascii, "{locale:?}");
        }
    }

    #[test]
    fn every_glyph_takes_one_column_and_the_ascii_ones_are_ascii() {
        for (glyphs, ascii) in [(Glyphs::UNICODE, false), (Glyphs::ASCII, true)] {
            let signs = [
                glyphs.ok,
                glyphs.degraded,
                glyphs.failed,
                glyphs.unknown,
                glyphs.busy,
                glyphs.paused,
                glyphs.stopped,
                glyphs.selected,
                glyphs.marked,
                glyphs.up,
                glyphs.down,
                glyphs.unsorted,
                glyphs.left,
                glyphs.right,
                glyphs.ellipsis,
                glyphs.open,
                glyphs.folded,
                glyphs.done,
                glyphs.separator,
                glyphs.arrow,
                glyphs.more,
                glyphs.less,
            ];
            for sign in signs.iter().chain(&glyphs.spark).chain(&glyphs.frame) {
                assert_eq!(sign.cell_width(), 1, "{sign}");
                assert!(!ascii || sign.is_ascii(), "{sign}");
            }
        }
    }

    #[test]
    fn the_environment_says_how_many_colours_there_are() {
        let depth = |set: &[(&str, &str)]| {
            Depth::from_env(|name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]), Depth::True);
        assert_eq!(depth(&[("TERM", "tmux-256color")]), Depth::Ansi256);
        assert_eq!(depth(&[("TERM", "linux")]), Depth::Ansi16);
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")]), Depth::None);
        assert_eq!(depth(&[("NO_COLOR", ""), ("TERM", "xterm-256color")]), Depth::Ansi256);
    }
}
