//! From the bytes of a terminal to keys, pastes and answers. Pure: fed bytes, it never waits.
//!
//! A sequence that it does not know is dropped as a whole, so that a late answer of the terminal or a mouse report is
//! never mistaken for keys: the `y` at the end of `CSI ? 2026 ; 2 $ y` must not confirm a plan.

use crossterm::event::{KeyCode, KeyModifiers};

use crate::tui::keys::{Key, normal};

/// A pasted text longer than this is cut: no prompt takes more.
const LONGEST_PASTE: usize = 64 * 1024;
/// A control string longer than this is no answer to anything we asked.
const LONGEST_STRING: usize = 4096;

const PASTE_END: &[u8] = b"\x1b[201~";

/// What the terminal sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Key(Key),
    Paste(String),
    Answer(Answer),
}

/// What the terminal says of itself when asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Whether it knows synchronized updates (mode 2026).
    Synchronized(bool),
    /// It knows the kitty keyboard protocol.
    Kitty,
    /// Its background colour, eight bits a channel.
    Background(u8, u8, u8),
    /// It answered the last question (DA1): nothing more will come.
    Done,
}

/// Holds the bytes of a sequence not yet complete.
#[derive(Debug, Default)]
pub struct Parser {
    bytes: Vec<u8>,
    /// The text of a bracketed paste so far.
    paste: Option<Vec<u8>>,
}

/// What the front of the buffer is.
enum Front {
    /// So many bytes make nothing, or this.
    Taken(usize, Option<Input>),
    PasteBegins(usize),
    More,
}

impl Parser {
    /// Whether bytes are held that only time can tell apart: a lone ESC, or a sequence cut in two.
    pub fn is_waiting(&self) -> bool {
        !self.bytes.is_empty() && self.paste.is_none()
    }

    /// Takes `bytes` and appends what they make to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Input>) {
        self.bytes.extend_from_slice(bytes);
        loop {
            if self.paste.is_some() {
                if !self.pasted(out) {
                    return;
                }
                continue;
            }
            match front(&self.bytes) {
                Front::Taken(count, input) => {
                    self.bytes.drain(..count);
                    out.extend(input);
                }
                Front::PasteBegins(count) => {
                    self.bytes.drain(..count);
                    self.paste = Some(Vec::new());
                }
                Front::More => return,
            }
        }
    }

    /// Nothing more came for a while: what is held was typed as it stands.
    pub fn flush(&mut self, out: &mut Vec<Input>) {
        let held = std::mem::take(&mut self.bytes);
        match held.as_slice() {
            [0x1b] => out.push(Input::Key(normal(KeyCode::Esc, KeyModifiers::NONE))),
            // alt and a character that also begins a sequence
            [0x1b, byte] if byte.is_ascii_graphic() => {
                out.push(Input::Key(normal(KeyCode::Char(char::from(*byte)), KeyModifiers::ALT)));
            }
            _ => {} // a sequence that never ended
        }
    }

    /// Moves bytes of a paste; returns whether it has ended.
    fn pasted(&mut self, out: &mut Vec<Input>) -> bool {
        let Some(paste) = &mut self.paste else { return true };
        let end = self.bytes.windows(PASTE_END.len()).position(|window| window == PASTE_END);
        // A mark cut in two may stand at the end: keep as much back.
        let ready = end.unwrap_or_else(|| self.bytes.len().saturating_sub(PASTE_END.len() - 1));
        let room = LONGEST_PASTE.saturating_sub(paste.len());
        paste.extend_from_slice(&self.bytes[..ready.min(room)]);
        if end.is_none() {
            self.bytes.drain(..ready);
            return false;
        }
        self.bytes.drain(..ready + PASTE_END.len());
        let text = String::from_utf8_lossy(paste).into_owned();
        self.paste = None;
        out.push(Input::Paste(text));
        true
    }
}

fn front(bytes: &[u8]) -> Front {
    match bytes {
        [] => Front::More,
        [0x1b, rest @ ..] => match rest {
            [] => Front::More,
            [b'[', ..] => csi(bytes),
            [b'O', end, ..] => Front::Taken(3, named(*end, KeyModifiers::NONE).map(Input::Key)),
            [b'O'] => Front::More,
            [b']' | b'P' | b'_' | b'^' | b'X', ..] => control_string(bytes),
            [0x1b, ..] => {
                Front::Taken(1, Some(Input::Key(normal(KeyCode::Esc, KeyModifiers::NONE))))
            }
            _ => match plain(rest) {
                Plain::Taken(count, key) => Front::Taken(
                    1 + count,
                    key.map(|(code, modifiers)| {
                        Input::Key(normal(code, modifiers | KeyModifiers::ALT))
                    }),
                ),
                Plain::More => Front::More,
            },
        },
        _ => match plain(bytes) {
            Plain::Taken(count, key) => Front::Taken(
                count,
                key.map(|(code, modifiers)| Input::Key(normal(code, modifiers))),
            ),
            Plain::More => Front::More,
        },
    }
}

enum Plain {
    Taken(usize, Option<(KeyCode, KeyModifiers)>),
    More,
}

/// One character or control byte.
fn plain(bytes: &[u8]) -> Plain {
    let control = |c: u8| (KeyCode::Char(char::from(c)), KeyModifiers::CONTROL);
    let key = match bytes[0] {
        b'\r' => (KeyCode::Enter, KeyModifiers::NONE),
        b'\t' => (KeyCode::Tab, KeyModifiers::NONE),
        0x7f => (KeyCode::Backspace, KeyModifiers::NONE),
        0 => control(b' '),
        byte @ 1..=26 => control(byte - 1 + b'a'),
        byte @ 28..=31 => control(byte - 28 + b'\\'),
        byte @ b' '..=b'~' => (KeyCode::Char(char::from(byte)), KeyModifiers::NONE),
        lead => {
            let length = match lead {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => return Plain::Taken(1, None),
            };
            if bytes.len() < length && bytes[1..].iter().all(|byte| byte & 0xc0 == 0x80) {
                return Plain::More;
            }
            let typed = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let Some(c) = typed.and_then(|text| text.chars().next()) else {
                return Plain::Taken(1, None);
            };
            let key = (!c.is_control()).then_some((KeyCode::Char(c), KeyModifiers::NONE));
            return Plain::Taken(length, key);
        }
    };
    Plain::Taken(1, Some(key))
}

/// `CSI` parameters, intermediates, final byte.
fn csi(bytes: &[u8]) -> Front {
    let body = &bytes[2..];
    let Some(length) = body.iter().position(|byte| !(0x20..0x40).contains(byte)) else {
        return if body.len() > LONGEST_STRING {
            Front::Taken(bytes.len(), None)
        } else {
            Front::More
        };
    };
    let (parameters, end) = (&body[..length], body[length]);
    let taken = 2 + length + 1;
    if !(0x40..0x7f).contains(&end) {
        // Broken off by something else: drop what came, keep what broke it.
        return Front::Taken(2 + length, None);
    }
    if end == b'M' && parameters.is_empty() {
        // An old mouse report: three more bytes.
        return if bytes.len() < taken + 3 { Front::More } else { Front::Taken(taken + 3, None) };
    }
    let text = std::str::from_utf8(parameters).unwrap_or_default();
    let input = match (end, text) {
        (b'~', "200") => return Front::PasteBegins(taken),
        (b'y', _) => text
            .strip_prefix("?2026;")
            .and_then(|rest| rest.strip_suffix('$'))
            .map(|state| Input::Answer(Answer::Synchronized(matches!(state, "1" | "2")))),
        (b'u', _) if text.starts_with('?') => Some(Input::Answer(Answer::Kitty)),
        (b'c', _) if text.starts_with('?') => Some(Input::Answer(Answer::Done)),
        _ if text.starts_with(['?', '<', '>', '=']) => None,
        _ => csi_key(text, end).map(Input::Key),
    };
    Front::Taken(taken, input)
}

fn csi_key(text: &str, end: u8) -> Option<Key> {
    let mut parts = text.split(';');
    let first = parts.next().unwrap_or_default();
    let mut second = parts.next().unwrap_or_default().split(':');
    let modifiers = modifiers(second.next().unwrap_or_default())?;
    if second.next() == Some("3") {
        return None; // a key let go
    }
    match end {
        b'u' => {
            let code: u32 = first.split(':').next()?.parse().ok()?;
            Some(normal(kitty(code)?, modifiers))
        }
        b'~' => Some(normal(numbered(first.parse().ok()?)?, modifiers)),
        b'Z' => Some(normal(KeyCode::BackTab, modifiers)),
        _ => named(end, modifiers),
    }
}

/// Reads `1 + shift + 2·alt + 4·ctrl`; keys with modifiers that we do not bind are no keys.
fn modifiers(text: &str) -> Option<KeyModifiers> {
    let bits = if text.is_empty() { 0 } else { text.parse::<u16>().ok()?.checked_sub(1)? };
    let mut modifiers = KeyModifiers::NONE;
    modifiers.set(KeyModifiers::SHIFT, bits & 1 != 0);
    modifiers.set(KeyModifiers::ALT, bits & 2 != 0);
    modifiers.set(KeyModifiers::CONTROL, bits & 4 != 0);
    (bits & 0b11_1000 == 0).then_some(modifiers) // 64 and 128 are the locks
}

fn kitty(code: u32) -> Option<KeyCode> {
    Some(match code {
        13 | 57414 => KeyCode::Enter,
        27 => KeyCode::Esc,
        9 => KeyCode::Tab,
        127 => KeyCode::Backspace,
        57344..=63743 => return None, // keys of their own kind: media, modifiers alone
        _ => KeyCode::Char(char::from_u32(code).filter(|c| !c.is_control())?),
    })
}

fn named(end: u8, modifiers: KeyModifiers) -> Option<Key> {
    let code = match end {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        b'M' => KeyCode::Enter, // the keypad's
        b'P'..=b'S' => KeyCode::F(end - b'P' + 1),
        _ => return None,
    };
    Some(normal(code, modifiers))
}

fn numbered(number: u8) -> Option<KeyCode> {
    Some(match number {
        1 | 7 => KeyCode::Home,
        2 => KeyCode::Insert,
        3 => KeyCode::Delete,
        4 | 8 => KeyCode::End,
        5 => KeyCode::PageUp,
        6 => KeyCode::PageDown,
        11..=15 => KeyCode::F(number - 10),
        17..=21 => KeyCode::F(number - 11),
        23 | 24 => KeyCode::F(number - 12),
        _ => return None,
    })
}

/// OSC, DCS, APC, PM and SOS: everything up to BEL or ST, and none of it keys.
fn control_string(bytes: &[u8]) -> Front {
    for (at, byte) in bytes.iter().enumerate().skip(2) {
        let end = match byte {
            0x07 => at + 1,
            0x1b if bytes.get(at + 1) == Some(&b'\\') => at + 2,
            0x1b if bytes.len() == at + 1 => return Front::More,
            // Whatever broke it off stands for itself.
            0x1b | 0x18 | 0x1a => return Front::Taken(at, None),
            _ => continue,
        };
        let answer = std::str::from_utf8(&bytes[2..at])
            .ok()
            .filter(|_| bytes[1] == b']')
            .and_then(|text| background(text.strip_prefix("11;rgb:")?));
        return Front::Taken(end, answer.map(Input::Answer));
    }
    if bytes.len() > LONGEST_STRING { Front::Taken(bytes.len(), None) } else { Front::More }
}

/// Reads `1a1a/1b1b/2626`, with one to four digits a channel.
fn background(text: &str) -> Option<Answer> {
    let mut channels = text.split('/').map(|digits| {
        let value = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 4)?;
        let most = (1_u32 << (4 * digits.len())) - 1;
        u8::try_from(value * 255 / most.max(1)).ok()
    });
    let (r, g, b) = (channels.next()??, channels.next()??, channels.next()??);
    channels.next().is_none().then_some(Answer::Background(r, g, b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tui::keys;

    fn all(bytes: &[u8]) -> Vec<Input> {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        parser.feed(bytes, &mut out);
        parser.flush(&mut out);
        out
    }

    fn names(bytes: &[u8]) -> String {
        let shown = |input: Input| match input {
            Input::Key(key) => keys::show(key),
            Input::Paste(text) => format!("paste({text})"),
            Input::Answer(answer) => format!("{answer:?}"),
        };
        all(bytes).into_iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keys_are_told_apart() {
        for (bytes, expected) in [
            (&b"jG?"[..], "j G ?"),
            (b"\x04\x1c\x00\r\t\x7f", "^d ^\\ ^space enter tab bs"),
            (b"\x1b[A\x1bOB\x1b[1;2D\x1b[1;5C", "↑ ↓ S-← ^→"),
            (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~\x1b[3~", "pgup pgdn home end del"),
            (b"\x1b[Z\x1bOP\x1b[24~", "S-tab f1 f12"),
            (b"\x1bx\x1b", "M-x esc"),
            (b"\x1b\x1b[A", "esc ↑"),
            (b"\x1b[27u\x1b[100;5u\x1b[103;2u\x1b[97;1:3u", "esc ^d G"),
            ("é世".as_bytes(), "é 世"),
            (b"\xff\xc3a", "a"),
            (b"\x1b[", "M-["),
        ] {
            assert_eq!(names(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn answers_and_mouse_reports_are_never_keys() {
        for (bytes, expected) in [
            (&b"\x1b[?2026;2$yq"[..], "Synchronized(true) q"),
            (b"\x1b[?2026;0$y", "Synchronized(false)"),
            (b"\x1b[?2027;2$y", ""),
            (b"\x1b]11;rgb:1a1a/1b1b/ffff\x1b\\x", "Background(26, 27, 255) x"),
            (b"\x1b]11;rgb:ff/0/ff\x07", "Background(255, 0, 255)"),
            (b"\x1b]52;c;eXk=\x07y", "y"),
            (b"\x1b[?0u\x1b[?62;22c", "Kitty Done"),
            (b"\x1b[<0;10;10M\x1b[<35;1;1m\x1b[M !!d", "d"),
            (b"\x1bPdel y\x1b\\k", "k"),
            (b"\x1b[I\x1b[O", ""),
        ] {
            assert_eq!(names(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_paste_is_one_text_whatever_is_in_it() {
        assert_eq!(names(b"\x1b[200~ab\x1b[Ay\r\x1b[201~z"), "paste(ab\x1b[Ay\r) z");
        let long = [b"\x1b[200~".as_slice(), &[b'x'; 100_000], b"\x1b[201~k"].concat();
        let [Input::Paste(text), Input::Key(_)] = &all(&long)[..] else { panic!("no paste") };
        assert_eq!(text.len(), LONGEST_PASTE);
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let known: Vec<&[u8]> = vec![
            b"a",
            b"\x1b[A",
            b"\x1b[200~pasted\x1b[201~",
            b"\x1b[?2026;2$y",
            b"\x1bOP",
            b"\xc3\xa9",
            b"\x1b]11;rgb:0/0/0\x07",
            b"\x1b[1;5D",
            b"\r",
        ];
        let parts = proptest::collection::vec(prop::sample::select(known), 0..12);
        parts.prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn bytes_mean_the_same_however_they_are_cut(bytes in pieces(), cuts in proptest::collection::vec(1_usize..5, 1..40)) {
            let whole = all(&bytes);
            let (mut parser, mut out, mut rest) = (Parser::default(), Vec::new(), &bytes[..]);
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                parser.feed(now, &mut out);
                rest = later;
            }
            parser.feed(rest, &mut out);
            parser.flush(&mut out);
            prop_assert_eq!(out, whole);
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            all(&bytes);
        }
    }
}
