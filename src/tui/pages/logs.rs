//! The lines of an agent's log as they come: each made safe once, a bounded ring of them kept, what was dropped or lost
//! on the way counted and said. JSON lines can be spread out.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::style::Style;
use regex::Regex;

use super::words;
use crate::model::id::AgentId;
use crate::model::text::{Align, Safe};
use crate::model::time::Time;
use crate::ports::runtime::LogOptions;
use crate::tui::action::Action;
use crate::tui::event::LogBatch;
use crate::tui::theme::{Glyphs, Theme};
use crate::tui::widgets::Look;
use crate::tui::widgets::text::{Lines, Pieces};

/// Lines kept for reading. The runtime keeps more of them on disk, and a filter looks through those.
const KEPT: usize = 50_000;
/// Bytes kept for reading, whatever the number of lines.
const BYTES: usize = 16 << 20;
/// Lines asked for at first.
const TAIL: usize = 500;
/// Columns of a source's name.
const NAME: usize = 18;
/// Of how many agents of a pool the lines are followed at once.
pub const SOURCES: usize = 64;
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
    source: u16,
    stderr: bool,
    level: Level,
    text: Safe,
    /// The whole line, where it is spread over several.
    raw: Option<Safe>,
    kind: Kind,
}

impl Entry {
    /// A line of our own.
    fn said(text: Safe, kind: Kind) -> Self {
        Self { at: None, source: 0, stderr: false, level: Level::Plain, text, raw: None, kind }
    }
}

/// How loud a line is, by its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Plain,
    Warn,
    Error,
}

impl Level {
    /// Looks for the usual words where loggers put them: near the beginning, in capitals or as a field.
    fn of(text: &str) -> Self {
        let mut end = text.len().min(160);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let head = &text[..end];
        let has = |words: &[&str]| words.iter().any(|word| head.contains(word));
        if has(&[
            "ERROR",
            "FATAL",
            "PANIC",
            "level=error",
            "\"level\":\"error",
            "\"level\": \"error",
        ]) {
            Self::Error
        } else if has(&["WARN", "level=warn", "\"level\":\"warn", "\"level\": \"warn"]) {
            Self::Warn
        } else {
            Self::Plain
        }
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
    /// The agents followed, with what they are called.
    pub sources: Vec<(AgentId, Safe)>,
    /// Every agent of the pool, not only the one that was asked for.
    pub all: bool,
    /// No more is read until it is let go on.
    pub stopped: bool,
    /// Where it was stopped: the last time, and how many lines had it.
    resumed: Option<(Time, usize)>,
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
    /// Lines that the filter left out where they came from.
    left_out: u64,
    /// No more will come.
    ended: bool,
}

impl LogText {
    pub fn new(previous: bool) -> Self {
        Self {
            sources: Vec::new(),
            all: false,
            stopped: false,
            resumed: None,
            since: Since::Tail,
            previous,
            time: true,
            pretty: false,
            lines: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            skipped: 0,
            left_out: 0,
            ended: false,
        }
    }

    /// What to ask the runtime for. Under a filter everything kept is looked through: the last lines alone would hide
    /// what matched before them.
    pub fn options(&self, now: Time, filtered: bool) -> LogOptions {
        let (tail, since) = match self.since {
            _ if self.resumed.is_some() => (None, self.resumed.map(|(at, _)| at)),
            Since::Tail if filtered => (None, None),
            Since::Tail => (Some(TAIL), None),
            Since::Head => (None, None),
            Since::Last(span) => (None, Some(now.minus(span))),
        };
        LogOptions { follow: !self.previous, tail, since, previous: self.previous }
    }

    /// Begins anew, with the same settings.
    pub fn restart(&mut self) {
        (self.stopped, self.ended) = (false, false);
        if self.resumed.is_some() {
            return; // it goes on below what is there
        }
        self.lines.clear();
        (self.bytes, self.dropped, self.skipped, self.left_out) = (0, 0, 0, 0);
    }

    /// Reads no more from now on; what is there stays.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// The next read goes on where the last one stopped.
    pub fn resume(&mut self) {
        let last = self.lines.iter().rev().find_map(|entry| entry.at);
        self.resumed = last.map(|last| {
            let same = self.lines.iter().rev().filter(|entry| entry.at.is_some());
            (last, same.take_while(|entry| entry.at == Some(last)).count())
        });
    }

    /// The next read begins anew.
    pub fn anew(&mut self) {
        self.resumed = None;
    }

    /// Forgets the lines shown so far; those that come go on.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.bytes = 0;
    }

    /// The same way of looking, without the lines.
    #[must_use]
    pub fn memo(&self) -> Self {
        let Self { since, time, pretty, all, .. } = *self;
        Self { since, time, pretty, all, ..Self::new(self.previous) }
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

    /// Whether no agent has written anything yet: what the console says of it does not count.
    pub fn is_unwritten(&self) -> bool {
        !self.lines.iter().any(|entry| matches!(entry.kind, Kind::Line | Kind::Spread))
    }

    /// Draws a line under what is there now.
    pub fn mark(&mut self, now: Time) -> Dropped {
        let text = Safe::new(&format!("marked at {}", words::clock(now)));
        self.add(Entry::said(text, Kind::Mark));
        self.trim()
    }

    /// Adds what came.
    pub fn push(&mut self, batch: LogBatch) -> Dropped {
        self.left_out += batch.left_out;
        for (source, line) in batch.lines {
            if let Some((at, same)) = self.resumed {
                // Those that were there when it was stopped come again.
                if line.at < at || (line.at == at && same > 0) {
                    self.resumed = Some((at, same - usize::from(line.at == at)));
                    continue;
                }
                self.resumed = Some((at, 0));
            }
            if line.skipped > 0 {
                self.skipped += line.skipped;
                let text = Safe::new(&format!("{} lines were lost here", line.skipped));
                self.add(Entry::said(text, Kind::Gap));
            }
            let text = Safe::log_line(&line.text);
            let (at, stderr, level) = (Some(line.at), line.stderr, Level::of(&line.text));
            self.add(Entry { at, source, stderr, level, text, raw: None, kind: Kind::Line });
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
        let state = match (self.stopped, self.ended, follow) {
            (true, ..) => "STOPPED",
            (_, true, _) => "ended",
            (_, false, true) => "LIVE",
            (_, false, false) => "scrolled",
        };
        let mut note = vec![state.to_owned(), self.since.words()];
        if self.previous {
            note.push("before the last restart".into());
        }
        if self.sources.len() > 1 {
            note.push(format!("{} sources", self.sources.len()));
        }
        if self.left_out > 0 {
            note.push(format!("{} left out", words::grouped(self.left_out)));
        }
        if self.skipped > 0 {
            note.push(format!("{} lost", words::grouped(self.skipped)));
        }
        if self.dropped > 0 {
            note.push(format!("{} scrolled out", words::grouped(self.dropped)));
        }
        let count = u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        note.push(format!(
            "{} {}",
            words::grouped(count),
            if count == 1 { "line" } else { "lines" }
        ));
        note.join("  ")
    }

    /// Whether a line filter shows the line at `index`: by what the agent wrote. What the console says of the log always
    /// stands.
    pub fn passes(&self, index: usize, filter: &Regex) -> bool {
        let Some(entry) = self.lines.get(index) else { return true };
        match entry.kind {
            Kind::Mark | Kind::Gap => true,
            Kind::Line => {
                let raw = entry.raw.as_ref().unwrap_or(&entry.text);
                filter.is_match(raw.as_str())
            }
            Kind::Spread => filter.is_match(entry.text.as_str()),
        }
    }

    /// Columns of a source's name; none when there is one source only.
    fn name_width(&self) -> usize {
        if self.sources.len() < 2 {
            return 0;
        }
        self.sources.iter().map(|(_, name)| name.width()).max().unwrap_or(0).min(NAME)
    }

    fn style(entry: &Entry, look: Look<'_>) -> Style {
        match (entry.level, entry.stderr) {
            (Level::Error, _) => look.theme.alarm,
            (Level::Warn, _) | (Level::Plain, true) => look.theme.warn,
            (Level::Plain, false) => look.theme.text,
        }
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
                let width = self.name_width();
                if width > 0
                    && let Some((_, name)) = self.sources.get(usize::from(entry.source))
                {
                    out.put(format_args!("{} ", name.fit(width, Align::Left)), theme.accent);
                }
                let style = Self::style(entry, look);
                out.word(if entry.stderr { "! " } else { "  " }, style).safe(&entry.text, style);
            }
        }
    }

    /// Time, source and sign, in bytes: what stays while the text is scrolled sideways.
    fn anchor(&self, index: usize) -> usize {
        let Some(entry) = self.lines.get(index).filter(|entry| entry.kind == Kind::Line) else {
            return 0;
        };
        let mut pieces = Pieces::default();
        self.line(index, Look { theme: &Theme::default(), glyphs: &Glyphs::UNICODE }, &mut pieces);
        pieces.as_str().len() - entry.text.as_str().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::plain_look;

    use crate::ports::runtime::LogLine;

    fn line(text: &str) -> LogLine {
        LogLine { at: Time::from_millis(1_234), stderr: false, text: text.to_owned(), skipped: 0 }
    }

    fn many(lines: impl Iterator<Item = LogLine>) -> LogBatch {
        lines.collect::<Vec<_>>().into()
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
        log.push(vec![line("hello"), LogLine { stderr: true, ..line("ouch") }].into());
        assert_eq!(text(&log), ["00:00:01.234   hello", "00:00:01.234 ! ouch"]);
        log.time = false;
        assert_eq!(text(&log), ["  hello", "! ouch"]);
    }

    #[test]
    fn what_is_lost_is_said_where_it_is_missing_and_counted() {
        let mut log = LogText::new(false);
        log.push(vec![line("a"), LogLine { skipped: 7, ..line("b") }].into());
        assert_eq!(text(&log)[1], "✖ 7 lines were lost here");
        assert!(log.note(true).contains("7 lost"), "{}", log.note(true));
    }

    #[test]
    fn the_ring_is_bounded_by_lines_and_by_bytes_and_counts_what_it_lets_go() {
        let mut log = LogText::new(false);
        let Dropped(dropped) = log.push(many((0..KEPT + 30).map(|n| line(&n.to_string()))));
        assert_eq!((dropped, log.count()), (30, KEPT));
        assert!(text(&log)[0].ends_with("  30"), "{}", text(&log)[0]);
        let mut log = LogText::new(false);
        let long = "x".repeat(16 << 10);
        log.push(many((0..2_000).map(|_| line(&long))));
        assert!(log.bytes <= BYTES && log.count() < 1_100, "{} lines", log.count());
    }

    #[test]
    fn a_line_of_json_is_spread_out_and_any_other_left_alone() {
        let mut log = LogText::new(false);
        (log.pretty, log.time) = (true, false);
        log.push(
            vec![line(r#"{"level":"error","n":1}"#), line("{ not json"), line("plain")].into(),
        );
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
        let options = log.options(Time::from_millis(600_000), false);
        assert_eq!(options.since, Some(Time::from_millis(300_000)));
        assert_eq!((options.tail, options.follow), (None, true));
        let over = LogText::new(true).options(Time::EPOCH, false);
        assert!(!over.follow, "what is over is not followed");
        let tail = LogText::new(false);
        assert_eq!(tail.options(Time::EPOCH, false).tail, Some(TAIL));
        assert_eq!(tail.options(Time::EPOCH, true).tail, None, "a filter looks through everything");
    }

    #[test]
    fn lines_of_several_agents_carry_their_names_and_what_was_left_out_is_counted() {
        let mut log = LogText::new(false);
        let id = |id: &str| AgentId::new(id).unwrap();
        log.sources =
            vec![(id("agent-a"), Safe::new("ocr-1")), (id("agent-b"), Safe::new("triage-22"))];
        let lines = vec![(0, line("hello")), (1, line("there"))];
        log.push(LogBatch { lines, left_out: 7 });
        log.time = false;
        assert_eq!(text(&log), ["ocr-1       hello", "triage-22   there"]);
        assert_eq!(log.anchor(0), "ocr-1       ".len());
        assert!(log.note(true).contains("2 sources  7 left out"), "{}", log.note(true));
    }

    #[test]
    fn a_stopped_log_goes_on_without_a_gap_or_a_line_twice() {
        let mut log = LogText::new(false);
        let at = |n: i64, text: &str| LogLine { at: Time::from_millis(n), ..line(text) };
        log.push(vec![at(1, "a"), at(2, "b"), at(2, "c")].into());
        log.stop();
        assert!(log.note(true).starts_with("STOPPED"));
        log.resume();
        assert_eq!(log.options(Time::EPOCH, false).since, Some(Time::from_millis(2)));
        log.restart();
        log.time = false;
        log.push(vec![at(2, "b"), at(2, "c"), at(2, "d"), at(3, "e")].into());
        assert_eq!(text(&log), ["  a", "  b", "  c", "  d", "  e"]);
    }

    #[test]
    fn loud_lines_are_told_by_their_own_words() {
        for (text, level) in [
            ("2026 ERROR llm call", Level::Error),
            (r#"{"level":"warn","n":1}"#, Level::Warn),
            ("no errors at all", Level::Plain),
        ] {
            assert_eq!(Level::of(text), level, "{text}");
        }
    }
}
