//! Key combinations as text: how they are written in `keymaps/*.toml`, and how hints and help show them.

use crokey::KeyCombination;
use crokey::OneToThree;
use crossterm::event::{KeyCode, KeyModifiers};

/// One key press with its modifiers; upper-case letters carry SHIFT, other characters never do.
pub type Key = KeyCombination;

/// The one form in which a key is compared: terminals differ in whether `?` or `G` comes with SHIFT.
pub fn normal(code: KeyCode, modifiers: KeyModifiers) -> Key {
    let mut modifiers = modifiers;
    let mut code = code;
    match code {
        KeyCode::Char(c) if c.is_alphabetic() => {
            if c.is_uppercase() {
                modifiers |= KeyModifiers::SHIFT;
            } else if modifiers.contains(KeyModifiers::SHIFT)
                && let Some(upper) = single(c.to_uppercase())
            {
                code = KeyCode::Char(upper);
            }
        }
        KeyCode::Char(_) => modifiers -= KeyModifiers::SHIFT,
        KeyCode::BackTab => modifiers |= KeyModifiers::SHIFT,
        KeyCode::Tab if modifiers.contains(KeyModifiers::SHIFT) => code = KeyCode::BackTab,
        _ => {}
    }
    KeyCombination::one_key(code, modifiers)
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

/// The character that `key` types, when it types one.
pub fn typed(key: Key) -> Option<char> {
    let OneToThree::One(KeyCode::Char(c)) = key.codes else { return None };
    let plain = KeyModifiers::SHIFT;
    (key.modifiers - plain).is_empty().then_some(c)
}

/// Reads one key: `g`, `G`, `ctrl-d`, `shift-left`, `alt-x`, `space`, `esc`, `f5`, `?`, `ctrl-\`.
///
/// `None` when the text names no key that a terminal can send.
pub fn parse(text: &str) -> Option<Key> {
    let mut modifiers = KeyModifiers::empty();
    let mut rest = text;
    loop {
        let lower = rest.to_ascii_lowercase();
        let (modifier, length) = if lower.starts_with("ctrl-") {
            (KeyModifiers::CONTROL, 5)
        } else if lower.starts_with("alt-") {
            (KeyModifiers::ALT, 4)
        } else if lower.starts_with("shift-") {
            (KeyModifiers::SHIFT, 6)
        } else {
            break;
        };
        if rest.len() == length {
            break; // `ctrl-` alone: the key is missing
        }
        modifiers |= modifier;
        rest = &rest[length..];
    }
    let mut chars = rest.chars();
    let code = match (chars.next(), chars.next()) {
        // Nobody who writes `ctrl-D` means the shifted key: most terminals cannot send it.
        (Some(one), None) if modifiers == KeyModifiers::CONTROL => {
            KeyCode::Char(one.to_ascii_lowercase())
        }
        (Some(one), None) if !one.is_control() => KeyCode::Char(one),
        _ => match crokey::parse(rest).ok()?.codes {
            OneToThree::One(code) => code,
            OneToThree::Two(..) | OneToThree::Three(..) => return None,
        },
    };
    Some(normal(code, modifiers))
}

/// Reads a chord: keys with blanks between, such as `g g`.
pub fn parse_chord(text: &str) -> Option<Vec<Key>> {
    let keys: Option<Vec<Key>> = text.split_ascii_whitespace().map(parse).collect();
    keys.filter(|keys| !keys.is_empty())
}

/// Writes a key as short as hints need it: `^d`, `G`, `S-←`, `esc`, `space`.
pub fn show(key: Key) -> String {
    let mut out = String::new();
    let OneToThree::One(code) = key.codes else { return key.to_string() };
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        out.push('^');
    }
    if key.modifiers.contains(KeyModifiers::ALT) {
        out.push_str("M-");
    }
    let shown = match code {
        KeyCode::Char(' ') => "space".into(),
        KeyCode::Char(c) => c.to_string(),
        KeyCode::Enter => "enter".into(),
        KeyCode::Esc => "esc".into(),
        KeyCode::Tab | KeyCode::BackTab => "tab".into(),
        KeyCode::Backspace => "bs".into(),
        KeyCode::Delete => "del".into(),
        KeyCode::Insert => "ins".into(),
        KeyCode::Left => "←".into(),
        KeyCode::Right => "→".into(),
        KeyCode::Up => "↑".into(),
        KeyCode::Down => "↓".into(),
        KeyCode::Home => "home".into(),
        KeyCode::End => "end".into(),
        KeyCode::PageUp => "pgup".into(),
        KeyCode::PageDown => "pgdn".into(),
        KeyCode::F(n) => format!("f{n}"),
        _ => key.to_string(),
    };
    let letter = matches!(code, KeyCode::Char(c) if c.is_alphabetic());
    if key.modifiers.contains(KeyModifiers::SHIFT) && !letter {
        out.push_str("S-");
    }
    out.push_str(&shown);
    out
}

/// Writes a chord with nothing but its keys: `gg`, `^d`, `space f`.
pub fn show_chord(keys: &[Key]) -> String {
    let shown: Vec<String> = keys.iter().copied().map(show).collect();
    let short = shown.iter().all(|key| key.chars().count() == 1);
    shown.join(if short { "" } else { " " })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_a_terminal_sends_them() {
        let none = KeyModifiers::empty();
        let cases = [
            ("g", normal(KeyCode::Char('g'), none)),
            ("G", normal(KeyCode::Char('G'), KeyModifiers::SHIFT)),
            ("shift-g", normal(KeyCode::Char('G'), none)),
            ("ctrl-D", normal(KeyCode::Char('d'), KeyModifiers::CONTROL)),
            ("?", normal(KeyCode::Char('?'), KeyModifiers::SHIFT)),
            ("-", normal(KeyCode::Char('-'), none)),
            ("ctrl-\\", normal(KeyCode::Char('\\'), KeyModifiers::CONTROL)),
            ("ctrl-space", normal(KeyCode::Char(' '), KeyModifiers::CONTROL)),
            ("shift-tab", normal(KeyCode::BackTab, none)),
            ("backtab", normal(KeyCode::BackTab, KeyModifiers::SHIFT)),
            ("shift-left", normal(KeyCode::Left, KeyModifiers::SHIFT)),
            ("|", normal(KeyCode::Char('|'), none)),
        ];
        for (text, key) in cases {
            assert_eq!(parse(text), Some(key), "{text}");
        }
    }

    #[test]
    fn what_no_terminal_sends_is_no_key() {
        for bad in ["", "ctrl-", "hyper-x", "a-b", "qq", "f99"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn hints_are_short() {
        let shown = |text: &str| show_chord(&parse_chord(text).unwrap());
        assert_eq!(shown("ctrl-d"), "^d");
        assert_eq!(shown("g g"), "gg");
        assert_eq!(shown("shift-left"), "S-←");
        assert_eq!(shown("shift-tab"), "S-tab");
        assert_eq!(shown("G"), "G");
    }
}
