//! What was written to the terminal lately, to be played again as an asciicast (version 2, as asciinema plays it). Bounded:
//! it is kept in stretches, each of which begins with a whole picture, and the oldest goes first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use serde_json::json;

use super::Frame;
use super::encode::Encoder;

/// Bytes after which a new stretch begins.
const STRETCH: usize = 64 * 1024;
/// Stretches kept.
const KEPT: usize = 6;

/// The bytes of the last frames.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    stretches: VecDeque<Stretch>,
}

#[derive(Debug, Clone)]
struct Stretch {
    began: Instant,
    size: (u16, u16),
    /// Everything that was on the screen then.
    picture: Vec<u8>,
    bytes: Vec<u8>,
    /// When each write ended after the beginning, and where in `bytes`.
    ends: Vec<(Duration, usize)>,
}

impl Tape {
    /// Takes in a write after which the terminal shows `shown`.
    pub(in crate::tui) fn wrote(&mut self, at: Instant, bytes: &[u8], shown: &Buffer) {
        let size = (shown.area.width, shown.area.height);
        if let Some(last) = self.stretches.back_mut()
            && last.size == size
            && last.bytes.len() + bytes.len() <= STRETCH
        {
            last.bytes.extend_from_slice(bytes);
            last.ends.push((at.saturating_duration_since(last.began), last.bytes.len()));
            return;
        }
        let mut picture = Vec::new();
        Encoder::default().frame(Frame { buffer: shown.clone(), cursor: None }, &mut picture);
        if self.stretches.len() == KEPT {
            self.stretches.pop_front();
        }
        let (bytes, ends) = (Vec::new(), Vec::new());
        self.stretches.push_back(Stretch { began: at, size, picture, bytes, ends });
    }

    /// The recording as an asciicast; `None` while nothing was drawn. `stamp`: seconds of Unix time of its beginning.
    pub fn asciicast(&self, stamp: i64, title: &str) -> Option<String> {
        let first = self.stretches.front()?;
        let (width, height) = first.size;
        let head = json!({"version": 2, "width": width, "height": height, "timestamp": stamp, "title": title,
            "env": {"TERM": "xterm-256color"}});
        let mut text = head.to_string();
        let mut size = first.size;
        for stretch in &self.stretches {
            let at = stretch.began.saturating_duration_since(first.began);
            if stretch.size != size {
                size = stretch.size;
                line(&mut text, at, "r", &format!("{}x{}", size.0, size.1));
            }
            line(&mut text, at, "o", &String::from_utf8_lossy(&stretch.picture));
            let mut from = 0;
            for (after, end) in &stretch.ends {
                let bytes = stretch.bytes.get(from..*end).unwrap_or_default();
                line(&mut text, at + *after, "o", &String::from_utf8_lossy(bytes));
                from = *end;
            }
        }
        text.push('\n');
        Some(text)
    }

    /// How long ago it begins.
    pub fn length(&self, now: Instant) -> Duration {
        let first = self.stretches.front();
        first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first.began))
    }
}

fn line(text: &mut String, at: Duration, code: &str, data: &str) {
    let seconds = (at.as_secs_f64() * 1e6).round() / 1e6;
    text.push('\n');
    text.push_str(&json!([seconds, code, data]).to_string());
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    fn picture(width: u16, text: &str) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, 2));
        buffer.set_string(0, 0, text, Style::new());
        buffer
    }

    /// What a player shows at the end of a cast.
    fn played(cast: &str) -> (usize, String) {
        let mut lines = cast.lines();
        let head: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(head["version"], 2);
        let size = |name: &str| -> std::num::NonZero<u16> {
            u16::try_from(head[name].as_u64().unwrap()).unwrap().try_into().unwrap()
        };
        let mut screen = vt100::Parser::new(size("height"), size("width"), 0);
        let (mut at, mut count) = (0.0, 0);
        for event in lines {
            let (time, code, data): (f64, String, String) = serde_json::from_str(event).unwrap();
            assert!(time >= at, "{time} after {at}");
            at = time;
            match code.as_str() {
                "o" => screen.process(data.as_bytes()),
                "r" => {
                    let (width, height) = data.split_once('x').unwrap();
                    screen.screen_mut().set_size(height.parse().unwrap(), width.parse().unwrap());
                }
                other => panic!("{other} is no event of a cast"),
            }
            count += 1;
        }
        (count, screen.screen().contents())
    }

    #[test]
    fn a_cast_shows_in_the_end_what_the_terminal_showed_however_much_was_forgotten() {
        let (mut tape, mut encoder, begin) = (Tape::default(), Encoder::default(), Instant::now());
        assert_eq!(tape.asciicast(0, "x"), None);
        for n in 0..6_000_u32 {
            let width = if n < 3_000 { 60 } else { 40 };
            let text = format!("{n:05} {}", "abcdefgh".repeat(if n % 2 == 0 { 4 } else { 1 }));
            let mut bytes = Vec::new();
            let shown = picture(width, &text);
            encoder.frame(Frame { buffer: shown.clone(), cursor: None }, &mut bytes);
            tape.wrote(begin + Duration::from_millis(u64::from(n)), &bytes, &shown);
        }
        let cast = tape.asciicast(1_795_269_727, "x").unwrap();
        assert!(cast.len() < 2_000_000, "{}", cast.len());
        let (count, shown) = played(&cast);
        assert!(count > 1_000, "{count}");
        assert!(shown.starts_with("05999 abcdefgh"), "{shown}");
    }

    #[test]
    fn a_size_that_changed_is_told() {
        let (mut tape, now) = (Tape::default(), Instant::now());
        tape.wrote(now, b"", &picture(60, "one"));
        tape.wrote(now + Duration::from_secs(1), b"", &picture(40, "two"));
        let cast = tape.asciicast(0, "x").unwrap();
        assert!(cast.contains(r#"[1.0,"r","40x2"]"#), "{cast}");
        assert!(played(&cast).1.starts_with("two"));
        assert_eq!(tape.length(now + Duration::from_secs(3)), Duration::from_secs(3));
    }
}
