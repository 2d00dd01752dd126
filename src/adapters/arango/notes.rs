//! What was noticed on the way to the server, for the health page: each kind of fault with a line of its own for as long
//! as it is news, and how often requests were sent again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fault::{Failure, number};

/// How long a fault is news after it was last met.
const NEWS: Duration = Duration::from_secs(60);

/// What can be wrong with a server, or on the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Unreachable,
    Silent,
    Busy,
    Conflict,
    ReadOnly,
    Login,
    Rights,
    Missing,
    Server,
    Strange,
}

impl Kind {
    /// None for answers that are no fault of the server: a document that is not there, a key that is taken.
    fn of(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::Refused(_) => Some(Self::Unreachable),
            Failure::Silent(_) => Some(Self::Silent),
            Failure::Strange(_) => Some(Self::Strange),
            Failure::Closed => None,
            Failure::Answered { status, number, .. } => match (*status, *number) {
                (_, number::READ_ONLY) => Some(Self::ReadOnly),
                (401, _) => Some(Self::Login),
                (403, _) | (_, number::FORBIDDEN) => Some(Self::Rights),
                (_, number::COLLECTION_NOT_FOUND | number::DATABASE_NOT_FOUND) => {
                    Some(Self::Missing)
                }
                _ if failure.is_busy() => Some(Self::Busy),
                _ if failure.is_conflict() => Some(Self::Conflict),
                (500.., _) => Some(Self::Server),
                _ => None,
            },
        }
    }

    /// What it means, and what becomes of what was asked.
    fn words(self) -> &'static str {
        match self {
            Self::Unreachable => "connections were refused: reads and writes wait and fail over",
            Self::Silent => "requests got no answer: reads are asked again, writes looked up",
            Self::Busy => "answers of 503, the server is busy or starting: asked again",
            Self::Conflict => "writes met other writers: tried again",
            Self::ReadOnly => {
                "writes were refused: the server is in read-only mode, or the user may only read"
            }
            Self::Login => "requests were refused: the server does not know this user and password",
            Self::Rights => "requests were refused: the user has no right to them",
            Self::Missing => {
                "requests were refused: a collection or the database is missing on the server"
            }
            Self::Server => "errors inside the server",
            Self::Strange => "answers that no ArangoDB gives",
        }
    }

    /// Whether it is worth a line at all when it was met this often lately. Writers meet in peace too.
    fn tells(self, count: u64) -> bool {
        self != Self::Conflict || count >= 20
    }
}

#[derive(Debug, Clone)]
struct Met {
    count: u64,
    last: Instant,
    text: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    pub(super) repeated: u64,
    /// The endpoint that answered last.
    pub(super) endpoint: Option<usize>,
    met: BTreeMap<Kind, Met>,
}

impl Notes {
    pub(super) fn failed(&mut self, failure: &Failure, now: Instant) {
        let Some(kind) = Kind::of(failure) else { return };
        let old = self.met.get(&kind).filter(|met| now.duration_since(met.last) < NEWS);
        let count = old.map_or(0, |met| met.count) + 1;
        self.met.insert(kind, Met { count, last: now, text: failure.to_string() });
    }

    /// What was met on the way to an open store is no news.
    pub(super) fn settled(&mut self) {
        self.met.clear();
    }

    /// A line for each kind of fault met lately, the gravest first.
    pub(super) fn lines(&self, now: Instant) -> Vec<String> {
        let news = self
            .met
            .iter()
            .filter(|(kind, met)| now.duration_since(met.last) < NEWS && kind.tells(met.count));
        news.map(|(kind, met)| {
            let ago = now.duration_since(met.last).as_secs();
            format!("{} {}; the last {ago} s ago: {}", met.count, kind.words(), met.text)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, number: u64) -> Failure {
        Failure::Answered { status, number, message: "it says so".into() }
    }

    #[test]
    fn each_fault_has_a_line_of_its_own_until_it_is_no_news() {
        let start = Instant::now();
        let mut notes = Notes::default();
        let faults = [
            Failure::Refused("db:1: connection refused".into()),
            Failure::Silent("db:1: no answer in time".into()),
            answered(503, 503),
            answered(403, 1004),
            answered(401, 11),
            answered(403, 11),
            answered(404, 1203),
            answered(500, 4),
            Failure::Strange("what is no JSON".into()),
        ];
        for fault in &faults {
            notes.failed(fault, start);
        }
        notes.failed(&answered(503, 503), start);
        let lines = notes.lines(start + Duration::from_secs(3));
        assert_eq!(lines.len(), faults.len(), "{lines:#?}");
        let distinct: std::collections::BTreeSet<&str> =
            lines.iter().map(|line| line.split(';').next().unwrap()).collect();
        assert_eq!(distinct.len(), faults.len());
        assert!(lines[2].starts_with("2 answers of 503") && lines[2].contains("3 s ago"));
        assert_eq!(notes.lines(start + NEWS), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_fault_of_the_server_has_no_line() {
        let (start, mut notes) = (Instant::now(), Notes::default());
        for fine in [answered(404, 1202), answered(409, 1210), answered(412, 1200), Failure::Closed]
        {
            notes.failed(&fine, start);
        }
        assert_eq!(notes.lines(start), Vec::<String>::new(), "a few conflicts are everyday life");
        for _ in 0..30 {
            notes.failed(&answered(409, 1200), start);
        }
        assert_eq!(notes.lines(start).len(), 1);
    }
}
