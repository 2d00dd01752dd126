//! An agent's log on its way back from disk: the last lines, those since a time, and those to come. Survives the removal
//! of segments under its feet and says how many lines that cost.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::log_write::{HEADER, LINE_MAX, Segment};
use super::record::Home;
use crate::model::time::Time;
use crate::ports::runtime::{LogLine, LogOptions, RuntimeError};

/// Between two looks for new lines.
const LOOK: Duration = Duration::from_millis(100);
/// Lines and bytes read at one go.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// `TIME m ` before the text; the time always has 24 bytes.
const TIME: usize = 24;
const PREFIX: usize = TIME + 3;

/// The lines of `home`'s log, as asked for. A followed log goes on over restarts of the agent and ends when the agent is
/// forgotten.
pub fn lines(
    home: Home,
    reader: Reader,
    follow: bool,
) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
    struct Reading {
        home: Home,
        reader: Option<Reader>,
        ready: VecDeque<LogLine>,
    }
    let state = Reading { home, reader: Some(reader), ready: VecDeque::new() };
    stream::unfold(state, move |mut state| async move {
        loop {
            if let Some(line) = state.ready.pop_front() {
                return Some((Ok(line), state));
            }
            let mut reader = state.reader.take()?;
            let home = state.home.clone();
            let read = tokio::task::spawn_blocking(move || {
                let over = home.forgotten().is_some() || !home.path().is_dir();
                let batch = reader.batch(follow);
                (reader, batch, over)
            });
            let (reader, batch, over) = match read.await {
                Ok((reader, Ok(batch), over)) => (reader, batch, over),
                Ok((_, Err(error), _)) => {
                    return Some((Err(RuntimeError::Unavailable(Box::new(error))), state));
                }
                Err(error) => {
                    return Some((Err(RuntimeError::Unavailable(Box::new(error))), state));
                }
            };
            if batch.is_empty() && (!follow || over) {
                return None;
            }
            state.reader = Some(reader);
            if batch.is_empty() {
                tokio::time::sleep(LOOK).await; // files are polled: a few readers, and no watch to run out of
            }
            state.ready = batch;
        }
    })
    .boxed()
}

/// Where one reader stands.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    since: Option<Time>,
    at: Segment,
    file: Option<BufReader<File>>,
    /// The line read so far.
    held: Vec<u8>,
    /// The number of the next line; unknown until a segment's header was read.
    next: Option<u64>,
    /// Lines lost before the next one that is given out.
    skipped: u64,
}

impl Reader {
    /// # Errors
    /// - `Rejected` when the log before the current one is asked for and there is none.
    /// - `Unavailable` when the files cannot be read.
    pub fn open(home: &Home, options: &LogOptions) -> Result<Self, RuntimeError> {
        let dir = home.logs();
        let all = Segment::all(&dir);
        let current = all.last().map_or(0, |segment| segment.incarnation);
        let incarnation = if options.previous {
            let before = all.iter().rev().find(|segment| segment.incarnation < current);
            let before = before.ok_or_else(|| RuntimeError::Rejected {
                message: "it has run once only: there is no log of a run before this one"
                    .to_owned(),
            })?;
            before.incarnation
        } else {
            current
        };
        let segments: Vec<Segment> =
            all.into_iter().filter(|segment| segment.incarnation == incarnation).collect();
        let mut reader = Self {
            dir,
            since: options.since,
            at: Segment { incarnation, number: 0 },
            file: None,
            held: Vec::new(),
            next: (options.tail.is_none() && options.since.is_none()).then_some(0),
            skipped: 0,
        };
        if let Some(tail) = options.tail {
            let sought = reader.seek_tail(&segments, tail);
            sought.map_err(|error| RuntimeError::Unavailable(Box::new(error)))?;
        }
        Ok(reader)
    }

    /// Goes to where the last `tail` lines begin.
    fn seek_tail(&mut self, segments: &[Segment], tail: usize) -> io::Result<()> {
        let mut wanted = tail;
        for segment in segments.iter().rev() {
            let mut file = match File::open(segment.path(&self.dir)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break, // its turn to go came
                Err(error) => return Err(error),
            };
            let (offset, lines) = from_end(&mut file, wanted)?;
            wanted -= lines.min(wanted);
            if wanted == 0 || *segment == segments[0] {
                file.rewind()?;
                let mut file = BufReader::new(file);
                self.next = Some(count_before(&mut file, offset)?);
                file.seek(SeekFrom::Start(offset))?;
                (self.at, self.file) = (*segment, Some(file));
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next lines there are; none at the end. `onward`: to go on with a newer incarnation.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn batch(&mut self, onward: bool) -> io::Result<VecDeque<LogLine>> {
        let (mut lines, mut bytes) = (VecDeque::new(), 0);
        while lines.len() < BATCH && bytes < BATCH_BYTES {
            if self.read_line()? {
                let line = std::mem::take(&mut self.held);
                if let Some(line) = self.understand(&line) {
                    bytes += line.text.len();
                    lines.push_back(line);
                }
                continue;
            }
            // only once a later segment is there is the end of this one its last word: look again before leaving it
            let Some(next) = self.later(onward) else { break };
            if self.read_more()? {
                continue;
            }
            if !std::mem::take(&mut self.held).is_empty() {
                self.lose(1);
            }
            match File::open(next.path(&self.dir)) {
                Ok(file) => {
                    if next.incarnation != self.at.incarnation {
                        self.next = Some(0);
                    }
                    (self.at, self.file) = (next, Some(BufReader::new(file)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(lines)
    }

    fn later(&self, onward: bool) -> Option<Segment> {
        let wanted = |segment: &Segment| {
            *segment > self.at && (onward || segment.incarnation == self.at.incarnation)
        };
        Segment::all(&self.dir).into_iter().find(wanted)
    }

    /// Reads to the end of a line; false when the line is not there in full.
    fn read_line(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        file.read_until(b'\n', &mut self.held)?;
        if self.held.last() != Some(&b'\n') {
            return Ok(false);
        }
        self.held.pop();
        Ok(true)
    }

    /// Whether the file has grown since its end was met.
    fn read_more(&mut self) -> io::Result<bool> {
        Ok(self
            .file
            .as_mut()
            .map(BufReader::fill_buf)
            .transpose()?
            .is_some_and(|more| !more.is_empty()))
    }

    fn lose(&mut self, lines: u64) {
        self.skipped += lines;
        self.next = self.next.map(|next| next + lines);
    }

    fn understand(&mut self, line: &[u8]) -> Option<LogLine> {
        if let Some(first) = line.strip_prefix(HEADER.as_bytes()) {
            let first = std::str::from_utf8(first).ok()?.parse::<u64>().ok()?;
            self.skipped += self.next.map_or(0, |next| first.saturating_sub(next));
            self.next = Some(first);
            return None;
        }
        let Some((at, mark, text)) = record(line) else {
            self.lose(1);
            return None;
        };
        if mark == b'x' {
            self.lose(lost(text));
            return None;
        }
        self.next = self.next.map(|next| next + 1);
        if self.since.is_some_and(|since| at < since) {
            self.skipped = 0; // what was lost before the time asked for is not missed
            return None;
        }
        let skipped = std::mem::take(&mut self.skipped);
        Some(LogLine { at, stderr: mark == b'e', text: clean(text), skipped })
    }
}

/// Time, mark and text of a record.
fn record(line: &[u8]) -> Option<(Time, u8, &[u8])> {
    let (prefix, text) = line.split_at_checked(PREFIX)?;
    let at = std::str::from_utf8(&prefix[..TIME]).ok()?.parse().ok()?;
    let mark = prefix[TIME + 1];
    let shaped = prefix[TIME] == b' ' && prefix[TIME + 2] == b' ';
    (shaped && matches!(mark, b'o' | b'e' | b'x')).then_some((at, mark, text))
}

fn lost(text: &[u8]) -> u64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// As text, whatever it was: what is no UTF-8 becomes U+FFFD, and that must not make the line longer than promised.
fn clean(text: &[u8]) -> String {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let mut text = String::from_utf8_lossy(text).into_owned();
    if text.len() > LINE_MAX {
        let mark = " … (cut)";
        text.truncate(text.floor_char_boundary(LINE_MAX - mark.len()));
        text.push_str(mark);
    }
    text
}

/// Where the last `wanted` lines of a segment begin, and how many there are from there on.
fn from_end(file: &mut File, wanted: usize) -> io::Result<(u64, usize)> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut ends = 0; // of lines, met so far
    let mut block = vec![0; 64 * 1024];
    while end > 0 {
        let begin = end.saturating_sub(block.len() as u64);
        let block = &mut block[..usize::try_from(end - begin).unwrap_or(0)];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(block)?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if ends == wanted {
                return Ok((begin + index as u64 + 1, wanted));
            }
            ends += 1;
        }
        end = begin;
    }
    Ok((0, ends.saturating_sub(1))) // the header is no line
}

/// The number of the line that begins at `offset`.
fn count_before(file: &mut BufReader<File>, offset: u64) -> io::Result<u64> {
    let (mut number, mut line) = (0, Vec::new());
    let mut file = file.take(offset);
    while file.read_until(b'\n', &mut line)? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        number = match (text.strip_prefix(HEADER.as_bytes()), record(text)) {
            (Some(first), _) => lost(first),
            (None, Some((_, b'x', text))) => number + lost(text),
            (None, _) => number + 1,
        };
        line.clear();
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::super::log_write::{Lines, Log, Stream};
    use super::*;

    struct Desk {
        home: Home,
        log: Log,
        out: Lines,
        _dir: tempfile::TempDir,
    }

    const AT: Time = Time::EPOCH;

    impl Desk {
        fn new(limit: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let home = Home::new(dir.path());
            home.create().unwrap();
            let log = Log::with_limit(&home.logs(), 1, limit);
            Self { home, log, out: Lines::new(Stream::Out), _dir: dir }
        }

        fn write(&mut self, text: &str) {
            self.out.feed(text.as_bytes(), AT, &mut self.log);
        }

        fn reader(&self, tail: Option<usize>) -> Reader {
            Reader::open(&self.home, &LogOptions { tail, ..LogOptions::default() }).unwrap()
        }
    }

    fn texts(reader: &mut Reader) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let batch = reader.batch(true).unwrap();
            if batch.is_empty() {
                return all;
            }
            all.extend(batch.into_iter().map(|line| match line.skipped {
                0 => line.text,
                n => format!("[{n} lost] {}", line.text),
            }));
        }
    }

    #[test]
    fn lines_are_read_as_they_are_completed() {
        let mut desk = Desk::new(1 << 20);
        let mut reader = desk.reader(None);
        desk.write("one\ntw");
        assert_eq!(texts(&mut reader), ["one"]);
        desk.write("o\r\n\nfour");
        assert_eq!(texts(&mut reader), ["two", ""]);
        desk.out.finish(AT, &mut desk.log);
        assert_eq!(texts(&mut reader), ["four"]);
    }

    #[test]
    fn a_reader_goes_on_over_segments_and_counts_those_it_missed() {
        let mut desk = Desk::new(100); // a segment holds about three lines
        let mut reader = desk.reader(None);
        desk.write("0\n");
        assert_eq!(texts(&mut reader), ["0"]);
        (1..5).for_each(|n| desk.write(&format!("{n}\n")));
        assert_eq!(texts(&mut reader), ["1", "2", "3", "4"]);
        (5..100).for_each(|n| desk.write(&format!("{n}\n")));
        assert_eq!(Segment::all(&desk.home.logs()).len(), 4);
        let got = texts(&mut reader);
        assert_eq!(got.last().unwrap(), "99");
        let lost: u64 = got
            .iter()
            .filter_map(|line| line.strip_prefix('[')?.split_once(' ')?.0.parse::<u64>().ok())
            .sum();
        assert_eq!(lost as usize + got.len(), 95, "{got:?}");
        assert!(lost > 0);
        let whole = texts(&mut desk.reader(None));
        assert!(whole[0].starts_with('[') && whole[0].contains(" lost] "), "{whole:?}");
    }

    #[test]
    fn the_tail_is_the_last_lines_wherever_segments_begin() {
        let mut desk = Desk::new(100);
        (0..10).for_each(|n| desk.write(&format!("{n}\n")));
        let all = texts(&mut desk.reader(None)).len();
        for tail in 0..all + 3 {
            let got = texts(&mut desk.reader(Some(tail)));
            let want: Vec<String> = (10 - tail.min(all)..10).map(|n| n.to_string()).collect();
            assert_eq!(got.len(), want.len(), "{tail}: {got:?}");
            assert!(got.iter().zip(&want).all(|(got, want)| got.ends_with(want)), "{got:?}");
        }
        let mut reader = desk.reader(Some(0));
        assert!(texts(&mut reader).is_empty());
        desk.write("next\n");
        assert_eq!(texts(&mut reader), ["next"]);
    }

    #[test]
    fn a_huge_line_is_cut_and_says_so_and_its_neighbours_are_whole() {
        let mut desk = Desk::new(1 << 20);
        desk.write(&format!("before\n{}\nafter\n", "x".repeat(1 << 20)));
        let got = texts(&mut desk.reader(None));
        assert_eq!((got.len(), &*got[0], &*got[2]), (3, "before", "after"));
        assert!(got[1].len() <= LINE_MAX);
        assert!(got[1].ends_with("… (cut; the line had 1048576 bytes)"), "{}", &got[1][65_000..]);
    }

    #[test]
    fn bytes_that_are_no_text_stay_within_the_length_promised() {
        let mut desk = Desk::new(1 << 20);
        desk.out.feed(&[0xff; 40_000], AT, &mut desk.log);
        desk.out.feed(b"\n\0\x1b]52;c;x\x07\n", AT, &mut desk.log);
        let got = texts(&mut desk.reader(None));
        assert!(got[0].len() <= LINE_MAX && got[0].ends_with("(cut)"));
        assert_eq!(got[1], "\0\x1b]52;c;x\x07", "the reader's text is as hostile as the agent's");
    }

    #[test]
    fn what_is_no_record_is_counted_as_lost() {
        let mut desk = Desk::new(1 << 20);
        desk.write("one\n");
        let path = Segment { incarnation: 1, number: 1 }.path(&desk.home.logs());
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"garbage\n1970-01-01T00:00:00.000Z x 7\n");
        std::fs::write(&path, text).unwrap();
        let mut reader = desk.reader(None);
        assert_eq!(texts(&mut reader), ["one"]);
        desk.write("two\n");
        assert_eq!(texts(&mut reader), ["[8 lost] two"]);
    }

    #[test]
    fn a_new_incarnation_keeps_the_log_of_the_one_before_and_no_older() {
        let mut desk = Desk::new(1 << 20);
        desk.write("first\n");
        let mut reader = desk.reader(None);
        for incarnation in [2, 5] {
            desk.log = Log::begin(&desk.home.logs(), incarnation);
            desk.write(&format!("of {incarnation}\n"));
        }
        assert_eq!(texts(&mut reader), ["of 2", "of 5"], "the first is gone, the reader goes on");
        let previous = LogOptions { previous: true, ..LogOptions::default() };
        let mut reader = Reader::open(&desk.home, &previous).unwrap();
        let text = |line: &LogLine| line.text.clone();
        assert_eq!(reader.batch(false).unwrap().iter().map(text).collect::<Vec<_>>(), ["of 2"]);
    }
}
