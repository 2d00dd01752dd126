//! The clipboard of whoever sits at the terminal, by OSC 52, so that it works over SSH. Only safe text ever gets in.

use crate::model::text::Safe;

/// Terminals take no more; longer texts are cut at a line.
const LONGEST: usize = 74_994;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What stands between the console and the terminal, and would swallow the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Through {
    #[default]
    Nothing,
    Tmux,
    Screen,
}

impl Through {
    /// Reads the environment: `TMUX`, `STY`, `TERM`.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Self {
        let is_screen =
            || var("STY").is_some() || var("TERM").is_some_and(|it| it.starts_with("screen"));
        if var("TMUX").is_some() {
            Self::Tmux
        } else if is_screen() {
            Self::Screen
        } else {
            Self::Nothing
        }
    }
}

/// GNU screen passes no longer string through at once.
const SCREEN: usize = 252;

/// What still fits into one clipboard.
#[derive(Debug, Default)]
pub struct Room {
    bytes: usize,
}

impl Room {
    /// Takes `line` in, unless it is too much.
    pub fn take(&mut self, line: &Safe) -> bool {
        let bytes = self.bytes + line.as_str().len() + 1;
        let fits = bytes.div_ceil(3) * 4 <= LONGEST;
        if fits {
            self.bytes = bytes;
        }
        fits
    }
}

/// The sequence that puts `lines` into the clipboard. Inside tmux a second, wrapped one passes it through; screen wants it
/// in pieces.
pub fn sequence(lines: &[Safe], through: Through) -> Vec<u8> {
    let (mut text, mut room) = (String::new(), Room::default());
    for line in lines {
        if !room.take(line) {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line.as_str());
    }
    let coded = base64(text.as_bytes());
    let plain = format!("\x1b]52;c;{coded}\x07");
    match through {
        Through::Nothing => plain.into_bytes(),
        Through::Tmux => format!("{plain}\x1bPtmux;\x1b{plain}\x1b\\").into_bytes(),
        Through::Screen => {
            let pieces = plain.as_bytes().chunks(SCREEN);
            pieces.flat_map(|piece| [b"\x1bP", piece, b"\x1b\\"].concat()).collect()
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0_u8; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let value = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for position in 0..4_usize {
            let index = (value >> (18 - 6 * position)) & 63;
            let digit = DIGITS[usize::try_from(index).unwrap_or(0)];
            out.push(if position <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), coded, "{text}");
        }
    }

    #[test]
    fn nothing_hostile_and_nothing_too_long_is_copied() {
        let lines = [Safe::new("a\u{1b}]52;c;x\u{7}b"), Safe::new("two")];
        let sequence = sequence(&lines, Through::Nothing);
        assert_eq!(sequence.iter().filter(|byte| **byte == 0x1b).count(), 1);
        assert!(sequence.starts_with(b"\x1b]52;c;") && sequence.ends_with(b"\x07"));
        let long: Vec<Safe> = (0..9000).map(|n| Safe::new(&format!("line number {n}"))).collect();
        let cut = super::sequence(&long, Through::Nothing);
        assert!(cut.len() < LONGEST + 20 && cut.len() > LONGEST - 100, "{}", cut.len());
        assert!(super::sequence(&lines, Through::Tmux).starts_with(b"\x1b]52;c;"));
    }

    #[test]
    fn screen_gets_the_sequence_in_pieces_that_add_up_to_it() {
        let lines: Vec<Safe> = (0..40).map(|n| Safe::new(&format!("line number {n}"))).collect();
        let plain = sequence(&lines, Through::Nothing);
        let wrapped = String::from_utf8(sequence(&lines, Through::Screen)).unwrap();
        let pieces: Vec<&str> = wrapped
            .split_terminator("\x1b\\")
            .map(|it| it.strip_prefix("\x1bP").unwrap())
            .collect();
        assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.len() <= SCREEN));
        assert_eq!(pieces.concat().into_bytes(), plain);
    }

    #[test]
    fn the_environment_says_what_stands_between() {
        let of = |set: &[(&str, &str)]| {
            Through::from_env(|name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("TERM", "xterm")]), Through::Nothing);
        assert_eq!(of(&[("TERM", "screen-256color"), ("TMUX", "x")]), Through::Tmux);
        assert_eq!(of(&[("TERM", "screen-256color")]), Through::Screen);
        assert_eq!(of(&[("TERM", "xterm"), ("STY", "1")]), Through::Screen);
    }
}
