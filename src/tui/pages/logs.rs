//! The lines of an agent's log as they come: each made safe once, a bounded ring of them kept, what was dropped or lost
//! on the way counted and said. JSON lines can be spread out.

use std::collections::VecDeque;
use std::time::Duration;

use super::words;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::runtime::{LogLine, LogOptions};
use crate::tui::action::Action;
use crate::tui::widgets::Look;
use crate::tui::widgets::text::{Lines, Pieces};

/// Lines kept for reading.
const KEPT: usize = 20_000;
/// Bytes kept for reading, whatever the number of lines.
const BYTES: usize = 16 << 20;
/// Lines asked for at first.
const TAIL: usize = 500;
/// More lines than this are not made of one JSON line.
const SPREAD: usize = 200;

/// What of a log is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The last lines.
    Tail,
    /// Everything that is kept.
    Head,
    Last(Duration),
}

impl Since {
    /// What a key asks for.
    pub fn of(action: Action) -> Option<Self> {
        let minutes = |minutes: u64| Some(Self::Last(Duration::from_secs(minutes * 60)));
        match action {
            Action::SinceTail => Some(Self::Tail),
            Action::SinceHead => Some(Self::Head),
            Action::Since1m => minutes(1),
            Action::Since5m => minutes(5),
            Action::Since15m => minutes(15),
            Action::Since30m => minutes(30),
            Action::Since1h => minutes(60),
            _ => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Tail => format!("last {TAIL}"),
            Self::Head => "from the first".to_owned(),
            Self::Last(span) => format!("since {}m", span.as_secs() / 60),
        }
    }
}

/// One line as it is shown.
#[derive(Debug, Clone)]
struct Entry {
    at: Option<Time>,
    stderr: bool,
    text: Safe,
    /// The whole line, where it is spread over several.
    raw: Option<Safe>,
    kind: Kind,
}

impl Entry {
    /// A line of our own.
    fn said(text: Safe, kind: Kind) -> Self {
        Self { at: None, stderr: false, text, raw: None, kind }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Line,
    /// A line that belongs to the one before it.
    Spread,
    /// Drawn by the operator.
    Mark,
    /// Said by the console: lines lost.
    Gap,
}

/// What changed at the old end, for whoever counts lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped(pub usize);

#[derive(Debug, Clone)]
pub struct LogText {
    pub since: Since,
    /// Of the incarnation before.
    pub previous: bool,
    pub time: bool,
    pub pretty: bool,
    lines: VecDeque<Entry>,
    bytes: usize,
    /// Lines that the ring let go, and lines that the agent's own log had lost.
    dropped: u64,
    skipped: u64,
    /// No more will come.
    ended: bool,
}

impl LogText {
    pub fn new(previous: bool) -> Self {
        Self {
            since: Since::Tail,
            previous,
            time: true,
            pretty: false,
            lines: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            skipped: 0,
            ended: false,
        }
    }

    /// What to ask the runtime for.
    pub fn options(&self, now: Time) -> LogOptions {
        let (tail, since) = match self.since {
            Since::Tail => (Some(TAIL), None),
            Since::Head => (None, None),
            Since::Last(span) => (None, Some(now.minus(span))),
        };
        LogOptions { follow: !self.previous, tail, since, previous: self.previous }
    }

    /// Begins anew, with the same settings.
    pub fn restart(&mut self) {
        self.lines.clear();
        (self.bytes, self.dropped, self.skipped, self.ended) = (0, 0, 0, false);
    }

    /// Forgets the lines shown so far; those that come go on.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.bytes = 0;
    }

    /// The same way of looking, without the lines.
    #[must_use]
    pub fn memo(&self) -> Self {
        let Self { since, time, pretty, .. } = *self;
        Self { since, time, pretty, ..Self::new(self.previous) }
    }

    /// No more lines come; `error` says why, if that was not to be expected.
    pub fn end(&mut self, error: Option<&Safe>) {
        self.ended = true;
        if let Some(error) = error {
            self.add(Entry::said(error.clone(), Kind::Gap));
        }
    }

    /// Spreads lines of JSON out, or brings them back together.
    pub fn toggle_pretty(&mut self) {
        self.pretty = !self.pretty;
        let lines = std::mem::take(&mut self.lines);
        self.bytes = 0;
        for entry in lines {
            match entry.kind {
                Kind::Spread => {}
                Kind::Line => {
                    let text = entry.raw.clone().unwrap_or_else(|| entry.text.clone());
                    self.add(Entry { text, raw: None, ..entry });
                }
                Kind::Mark | Kind::Gap => self.add(entry),
            }
        }
    }

    /// Draws a line under what is there now.
    pub fn mark(&mut self, now: Time) -> Dropped {
        let text = Safe::new(&format!("marked at {}", words::clock(now)));
        self.add(Entry::said(text, Kind::Mark));
        self.trim()
    }

    /// Adds what came.
    pub fn push(&mut self, lines: Vec<LogLine>) -> Dropped {
        for line in lines {
            if line.skipped > 0 {
                self.skipped += line.skipped;
                let text = Safe::new(&format!("{} lines were lost here", line.skipped));
                self.add(Entry::said(text, Kind::Gap));
            }
            let text = Safe::new(&line.text);
            let (at, stderr) = (Some(line.at), line.stderr);
            self.add(Entry { at, stderr, text, raw: None, kind: Kind::Line });
        }
        self.trim()
    }

    fn add(&mut self, entry: Entry) {
        if self.pretty
            && entry.kind == Kind::Line
            && let Some(spread) = spread(&entry)
        {
            for entry in spread {
                self.bytes += entry.text.as_str().len();
                self.lines.push_back(entry);
            }
            return;
        }
        self.bytes += entry.text.as_str().len();
        self.lines.push_back(entry);
    }

    fn trim(&mut self) -> Dropped {
        let mut dropped = 0;
        while self.lines.len() > KEPT || (self.bytes > BYTES && self.lines.len() > 1) {
            let Some(entry) = self.lines.pop_front() else { break };
            self.bytes -= entry.text.as_str().len();
            dropped += 1;
            self.dropped += 1;
        }
        Dropped(dropped)
    }

    /// How it is looked at and what is missing, for the corner of its frame.
    pub fn note(&self, follow: bool) -> String {
        let state = match (self.ended, follow) {
            (true, _) => "ended",
            (false, true) => "LIVE",
            (false, false) => "stopped",
        };
        let mut note = vec![state.to_owned(), self.since.words()];
        if self.previous {
            note.push("before the last restart".into());
        }
        if self.skipped > 0 {
            note.push(format!("{} lost", words::grouped(self.skipped)));
        }
        if self.dropped > 0 {
            note.push(format!("{} scrolled out", words::grouped(self.dropped)));
        }
        let count = u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        note.push(format!("{} lines", words::grouped(count)));
        note.join("  ")
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn ended(&self) -> bool {
        self.ended
    }
}

/// A line of JSON as several; `None` for any other line.
fn spread(entry: &Entry) -> Option<Vec<Entry>> {
    let text = entry.text.as_str();
    if !text.starts_with('{') {
        return None;
    }
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let mut lines = words::json_lines(&value, SPREAD).into_iter();
    let raw = Some(entry.text.clone());
    let first = Entry { text: lines.next()?, raw, ..entry.clone() };
    let rest = lines.map(|text| Entry { stderr: entry.stderr, ..Entry::said(text, Kind::Spread) });
    Some(std::iter::once(first).chain(rest).collect())
}

impl Lines for LogText {
    fn count(&self) -> usize {
        self.lines.len().max(1)
    }

    fn line(&self, index: usize, look: Look<'_>, out: &mut Pieces) {
        let theme = look.theme;
        let Some(entry) = self.lines.get(index) else {
            let said = if self.ended { "no lines" } else { "no lines yet" };
            out.word(said, theme.muted);
            return;
        };
        match entry.kind {
            Kind::Mark => {
                out.word("──── ", theme.accent)
                    .safe(&entry.text, theme.accent)
                    .word(" ────", theme.accent);
            }
            Kind::Gap => {
                out.word(look.glyphs.failed, theme.warn).word(" ", theme.warn);
                out.safe(&entry.text, theme.warn);
            }
            Kind::Spread => {
                if self.time {
                    out.word("             ", theme.muted);
                }
                out.word("  ", theme.muted).safe(&entry.text, theme.text);
            }
            Kind::Line => {
                if let Some(at) = entry.at.filter(|_| self.time) {
                    let time = at.to_jiff().strftime("%H:%M:%S%.3f ");
                    out.put(format_args!("{time}"), theme.muted);
                }
                let (sign, style) =
                    if entry.stderr { ("! ", theme.warn) } else { ("  ", theme.text) };
                out.word(sign, style).safe(&entry.text, style);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::plain_look;

    fn line(text: &str) -> LogLine {
        LogLine { at: Time::from_millis(1_234), stderr: false, text: text.to_owned(), skipped: 0 }
    }

    fn text(log: &LogText) -> Vec<String> {
        let mut pieces = Pieces::default();
        (0..log.count())
            .map(|index| {
                pieces.clear();
                log.line(index, plain_look(), &mut pieces);
                pieces.as_str().to_owned()
            })
            .collect()
    }

    #[test]
    fn lines_carry_their_time_and_what_came_from_standard_error_a_sign() {
        let mut log = LogText::new(false);
        log.push(vec![line("hello"), LogLine { stderr: true, ..line("ouch") }]);
        assert_eq!(text(&log), ["00:00:01.234   hello", "00:00:01.234 ! ouch"]);
        log.time = false;
        assert_eq!(text(&log), ["  hello", "! ouch"]);
    }

    #[test]
    fn what_is_lost_is_said_where_it_is_missing_and_counted() {
        let mut log = LogText::new(false);
        log.push(vec![line("a"), LogLine { skipped: 7, ..line("b") }]);
        assert_eq!(text(&log)[1], "✖ 7 lines were lost here");
        assert!(log.note(true).contains("7 lost"), "{}", log.note(true));
    }

    #[test]
    fn the_ring_is_bounded_by_lines_and_by_bytes_and_counts_what_it_lets_go() {
        let mut log = LogText::new(false);
        let Dropped(dropped) = log.push((0..KEPT + 30).map(|n| line(&n.to_string())).collect());
        assert_eq!((dropped, log.count()), (30, KEPT));
        assert!(text(&log)[0].ends_with("  30"), "{}", text(&log)[0]);
        let mut log = LogText::new(false);
        let long = "x".repeat(16 << 10);
        log.push((0..2_000).map(|_| line(&long)).collect());
        assert!(log.bytes <= BYTES && log.count() < 1_100, "{} lines", log.count());
    }

    #[test]
    fn a_line_of_json_is_spread_out_and_any_other_left_alone() {
        let mut log = LogText::new(false);
        (log.pretty, log.time) = (true, false);
        log.push(vec![line(r#"{"level":"error","n":1}"#), line("{ not json"), line("plain")]);
        assert_eq!(text(&log), ["  level: error", "  n: 1", "  { not json", "  plain"]);
        log.toggle_pretty();
        assert_eq!(text(&log)[0], r#"  {"level":"error","n":1}"#);
        log.toggle_pretty();
        assert_eq!(text(&log).len(), 4);
    }

    #[test]
    fn a_span_asks_only_for_lines_since_then() {
        let mut log = LogText::new(false);
        log.since = Since::of(Action::Since5m).unwrap();
        let options = log.options(Time::from_millis(600_000));
        assert_eq!(options.since, Some(Time::from_millis(300_000)));
        assert_eq!((options.tail, options.follow), (None, true));
        assert!(!LogText::new(true).options(Time::EPOCH).follow, "what is over is not followed");
    }
}
