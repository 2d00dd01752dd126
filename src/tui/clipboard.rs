//! The clipboard of whoever sits at the terminal, by OSC 52, so that it works over SSH. Only safe text ever gets in.

use crate::model::text::Safe;

/// Terminals take no more; longer texts are cut at a line.
const LONGEST: usize = 74_994;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The sequence that puts `lines` into the clipboard. Inside tmux a second, wrapped one passes it through.
pub fn sequence(lines: &[Safe], tmux: bool) -> Vec<u8> {
    let mut text = String::new();
    for line in lines {
        if (text.len() + line.as_str().len() + 1).div_ceil(3) * 4 > LONGEST {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line.as_str());
    }
    let coded = base64(text.as_bytes());
    let plain = format!("\x1b]52;c;{coded}\x07");
    if tmux {
        format!("{plain}\x1bPtmux;\x1b{plain}\x1b\\").into_bytes()
    } else {
        plain.into_bytes()
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
        let sequence = sequence(&lines, false);
        assert_eq!(sequence.iter().filter(|byte| **byte == 0x1b).count(), 1);
        assert!(sequence.starts_with(b"\x1b]52;c;") && sequence.ends_with(b"\x07"));
        let long: Vec<Safe> = (0..9000).map(|n| Safe::new(&format!("line number {n}"))).collect();
        let cut = super::sequence(&long, false);
        assert!(cut.len() < LONGEST + 20 && cut.len() > LONGEST - 100, "{}", cut.len());
        assert!(super::sequence(&lines, true).starts_with(b"\x1b]52;c;"));
    }
}
