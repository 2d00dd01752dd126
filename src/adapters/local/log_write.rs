//! The agent's output on its way to disk: lines with time and stream, in numbered segments of which the oldest go.
//! Written by the shim only. Never blocks the agent: what the disk does not take is counted and said.
//!
//! A segment is `log/INCARNATION.SEGMENT`. Its first line is `# cvxc log 1 N`, where N is how many lines of this incarnation
//! came before; then a record a line: `TIME o TEXT` from stdout, `TIME e TEXT` from stderr, `TIME x N` for N lines lost.
//! Text is kept as the agent wrote it, so it is hostile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::model::time::Time;

/// A line's longest text in bytes, the mark of a cut included.
pub const LINE_MAX: usize = 64 * 1024;
/// Room for the mark at the end of a cut line.
const MARK: usize = 64;
pub const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
pub const SEGMENTS: u64 = 4;
pub const HEADER: &str = "# cvxc log 1 ";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    pub incarnation: u64,
    pub number: u64,
}

impl Segment {
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.{}", self.incarnation, self.number))
    }

    /// All segments in `dir`, oldest first.
    pub fn all(dir: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
        let mut found: Vec<Self> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let (incarnation, number) = name.to_str()?.split_once('.')?;
                Some(Self { incarnation: incarnation.parse().ok()?, number: number.parse().ok()? })
            })
            .collect();
        found.sort_unstable();
        found
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

impl Stream {
    pub fn mark(self) -> u8 {
        match self {
            Self::Out => b'o',
            Self::Err => b'e',
        }
    }
}

/// Cuts one stream of bytes into lines, none longer than [`LINE_MAX`].
#[derive(Debug)]
pub struct Lines {
    stream: Stream,
    held: Vec<u8>,
    /// Bytes of the current line that did not fit.
    dropped: u64,
}

impl Lines {
    pub fn new(stream: Stream) -> Self {
        Self { stream, held: Vec::new(), dropped: 0 }
    }

    /// Takes the next bytes and writes the lines they complete.
    pub fn feed(&mut self, mut bytes: &[u8], at: Time, log: &mut Log) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            self.hold(line);
            self.end_line(at, log);
            bytes = rest;
        }
        self.hold(bytes);
        log.flush(at);
    }

    /// The stream is over: what has no line end is a line too.
    pub fn finish(&mut self, at: Time, log: &mut Log) {
        if !self.held.is_empty() {
            self.end_line(at, log);
        }
        log.flush(at);
    }

    fn hold(&mut self, bytes: &[u8]) {
        let fits = bytes.len().min((LINE_MAX - MARK).saturating_sub(self.held.len()));
        self.held.extend_from_slice(&bytes[..fits]);
        self.dropped += (bytes.len() - fits) as u64;
    }

    fn end_line(&mut self, at: Time, log: &mut Log) {
        if self.dropped > 0 {
            let all = self.held.len() as u64 + self.dropped;
            self.held.extend_from_slice(format!(" … (cut; the line had {all} bytes)").as_bytes());
        }
        log.record(at, self.stream.mark(), &self.held);
        self.dropped = 0;
        self.held.clear();
        self.held.shrink_to(4096); // one long line must not make every shim big
    }
}

/// The open segment. Records gather in memory until `flush`.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    segment: Segment,
    file: Option<File>,
    size: u64,
    /// Lines of this incarnation so far, those lost included.
    lines: u64,
    waiting: Vec<u8>,
    waiting_lines: u64,
    lost: u64,
    /// The last write ended in the middle of a line.
    torn: bool,
    limit: u64,
    /// The last time written, and its text.
    stamp: (Time, String),
}

impl Log {
    /// Begins the log of `incarnation` and drops those older than the one before it.
    pub fn begin(dir: &Path, incarnation: u64) -> Self {
        Self::with_limit(dir, incarnation, SEGMENT_BYTES)
    }

    pub(super) fn with_limit(dir: &Path, incarnation: u64, limit: u64) -> Self {
        let old: Vec<Segment> =
            Segment::all(dir).into_iter().filter(|seg| seg.incarnation < incarnation).collect();
        let before = old.last().map_or(0, |seg| seg.incarnation);
        for seg in old.iter().filter(|seg| seg.incarnation < before) {
            drop(fs::remove_file(seg.path(dir))); // it may be gone already; nothing depends on it
        }
        let mut log = Self {
            dir: dir.to_owned(),
            segment: Segment { incarnation, number: 0 },
            file: None,
            size: 0,
            lines: 0,
            waiting: Vec::new(),
            waiting_lines: 0,
            lost: 0,
            torn: false,
            limit,
            stamp: (Time::EPOCH, String::new()),
        };
        log.turn();
        log
    }

    fn record(&mut self, at: Time, mark: u8, text: &[u8]) {
        if self.waiting.len() + text.len() > LINE_MAX * 2 {
            self.flush(at);
        }
        if self.stamp.0 != at || self.stamp.1.is_empty() {
            self.stamp = (at, at.to_string()); // many lines come in the same millisecond
        }
        self.waiting.extend_from_slice(self.stamp.1.as_bytes());
        self.waiting.extend_from_slice(&[b' ', mark, b' ']);
        self.waiting.extend_from_slice(text);
        self.waiting.push(b'\n');
        self.waiting_lines += 1;
    }

    /// Hands what has gathered to the kernel.
    pub fn flush(&mut self, at: Time) {
        if self.waiting_lines == 0 {
            return;
        }
        if self.size >= self.limit || self.file.is_none() {
            self.turn();
        }
        let mut bytes = Vec::new();
        let mut heading = 0;
        if self.torn {
            bytes.push(b'\n');
            heading += 1;
        }
        if self.lost > 0 {
            bytes.extend_from_slice(format!("{at} x {}\n", self.lost).as_bytes());
            heading += 1;
        }
        bytes.append(&mut self.waiting);
        let lines = std::mem::take(&mut self.waiting_lines);
        self.waiting.shrink_to(4096);
        let written = self.file.as_mut().map_or(0, |file| put(file, &bytes));
        let ends = bytes[..written].iter().filter(|byte| **byte == b'\n').count();
        if ends >= heading {
            self.lines += std::mem::take(&mut self.lost);
        }
        let whole = ends.saturating_sub(heading) as u64;
        self.size += written as u64;
        self.lines += whole;
        self.lost += lines - whole;
        self.torn = written < bytes.len() && (written > 0 || self.torn);
    }

    /// Opens the next segment and removes the one that is too many.
    fn turn(&mut self) {
        let next = Segment { number: self.segment.number + 1, ..self.segment };
        let made = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(next.path(&self.dir))
            .and_then(|mut file| {
                file.write_all(format!("{HEADER}{}\n", self.lines).as_bytes())?;
                Ok(file)
            });
        let Ok(file) = made else {
            drop(fs::remove_file(next.path(&self.dir))); // half made; the next flush tries again
            return; // the old segment goes on, larger than it should be
        };
        (self.segment, self.file, self.size, self.torn) = (next, Some(file), 0, false);
        if let Some(number) = next.number.checked_sub(SEGMENTS) {
            drop(fs::remove_file(Segment { number, ..next }.path(&self.dir)));
        }
    }
}

/// Writes what the disk takes of `bytes`; returns how many that were.
fn put(file: &mut File, bytes: &[u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_the_disk_does_not_take_are_counted_and_the_next_ones_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::begin(dir.path(), 1);
        let mut out = Lines::new(Stream::Out);
        out.feed(b"one\n", Time::EPOCH, &mut log);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let disk = log.file.replace(full);
        out.feed(b"two\nthree\n", Time::EPOCH, &mut log);
        log.file = disk;
        out.feed(b"four\n", Time::EPOCH, &mut log);
        let text = fs::read_to_string(log.segment.path(dir.path())).unwrap();
        let at = Time::EPOCH;
        assert_eq!(text, format!("{HEADER}0\n{at} o one\n{at} x 2\n{at} o four\n"));
        assert_eq!(log.lines, 4);
    }
}
