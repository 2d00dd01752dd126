//! What operators type, and which rows remain.

use proptest::prelude::*;

use super::*;
use crate::model::time::Time;

const FIELDS: &[FieldSpec] = &[
    FieldSpec { name: "name", aliases: &[], kind: FieldKind::Text },
    FieldSpec { name: "state", aliases: &["phase"], kind: FieldKind::Text },
    FieldSpec { name: "queue", aliases: &[], kind: FieldKind::Number },
    FieldSpec { name: "memory", aliases: &["mem"], kind: FieldKind::Bytes },
    FieldSpec { name: "cpu", aliases: &[], kind: FieldKind::Cpu },
    FieldSpec { name: "age", aliases: &[], kind: FieldKind::Age },
    FieldSpec { name: "err%", aliases: &[], kind: FieldKind::Number },
];

const NOW: i64 = 1_000_000_000;

struct Agent {
    name: &'static str,
    state: &'static str,
    queue: u64,
    hours: i64,
    labels: BTreeMap<String, String>,
}

impl Row for Agent {
    fn text(&self, out: &mut String) {
        out.push_str(self.name);
        out.push(' ');
        out.push_str(self.state);
    }
    fn field(&self, name: &str) -> Found<'_> {
        match name {
            "name" => self.name.into(),
            "state" => self.state.into(),
            "queue" => self.queue.into(),
            "memory" => (512_u64 << 20).into(),
            "age" => Time::from_millis(NOW - self.hours * 3_600_000).into(),
            _ => Found::Absent,
        }
    }
    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.labels)
    }
}

fn fleet() -> Vec<Agent> {
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    vec![
        Agent {
            name: "triage-1",
            state: "running",
            queue: 5,
            hours: 1,
            labels: labels(&[("tier", "gold")]),
        },
        Agent {
            name: "triage-2",
            state: "failed",
            queue: 318,
            hours: 3,
            labels: labels(&[("tier", "iron"), ("env", "dev")]),
        },
        Agent { name: "OCR-1", state: "running", queue: 40, hours: 30, labels: labels(&[]) },
    ]
}

fn left(line: &str) -> Vec<&'static str> {
    let query = Query::parse(line, FIELDS).unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut scratch = String::new();
    let now = Time::from_millis(NOW);
    fleet()
        .into_iter()
        .filter(|agent| query.matches(agent, now, &mut scratch))
        .map(|agent| agent.name)
        .collect()
}

#[test]
fn every_kind_of_line_leaves_the_rows_it_means() {
    for (line, names) in [
        ("", &["triage-1", "triage-2", "OCR-1"][..]),
        ("triage", &["triage-1", "triage-2"]),
        ("ocr", &["OCR-1"]),
        ("OCR", &["OCR-1"]),
        ("Triage", &[]),
        ("^triage.*failed$", &["triage-2"]),
        ("triage-1 running", &["triage-1"]),
        ("!running", &["triage-2"]),
        ("-f trg2", &["triage-2"]),
        ("-f OC1", &["OCR-1"]),
        ("-l tier=gold", &["triage-1"]),
        ("-l tier!=gold", &["triage-2", "OCR-1"]),
        ("-l tier", &["triage-1", "triage-2"]),
        ("-l !tier", &["OCR-1"]),
        ("-l tier in (gold, iron),env!=dev", &["triage-1"]),
        ("-l tier notin (gold)", &["triage-2", "OCR-1"]),
        ("queue>30", &["triage-2", "OCR-1"]),
        ("queue>=40 age<4h", &["triage-2"]),
        ("age>1d", &["OCR-1"]),
        ("state=failed", &["triage-2"]),
        ("phase=FAILED,paused", &["triage-2"]),
        ("state!=failed", &["triage-1", "OCR-1"]),
        ("name~^ocr", &["OCR-1"]),
        ("mem=512Mi queue<10", &["triage-1"]),
        ("cpu>100m", &[]),
        ("triage queue>100", &["triage-2"]),
        ("queue>3 -l tier -f tri1", &["triage-1"]),
        ("timeout=30", &[]),
    ] {
        assert_eq!(left(line), names, "{line}");
    }
}

#[test]
fn a_wrong_line_says_what_is_wrong_and_where() {
    for (line, said, at) in [
        ("a(", "no regex: unclosed group", 0..2),
        ("x age<soon", "age: expected a span such as 90s, 5m, 2h or 1d, got \"soon\"", 2..10),
        ("queue>lots", "queue: expected a number, got \"lots\"", 0..10),
        ("memory>1Q", "memory: expected a size such as 512Mi, got \"1Q\"", 0..9),
        ("state>a", "state is text: use =, != or ~", 0..7),
        ("sate=failed", "there is no field \"sate\" (did you mean state?)", 0..4),
        ("queue>", "queue needs a value", 0..6),
        ("-l a b", "\"a b\" is no label (write tier=gold,env!=dev,!old,zone in (a,b))", 3..6),
        ("-l a,", "a label is missing (write tier=gold,env!=dev,!old,zone in (a,b))", 3..5),
    ] {
        let error = Query::parse(line, FIELDS).expect_err(line);
        assert_eq!((error.to_string().as_str(), error.at), (said, at), "{line}");
    }
}

#[test]
fn hits_are_the_parts_that_the_regex_found() {
    let query = Query::parse("ia. queue>3", FIELDS).unwrap();
    assert_eq!(query.hits("triage"), [2..5]);
    assert!(Query::parse("!tri", FIELDS).unwrap().hits("triage").is_empty());
    assert!(Query::parse("x*", FIELDS).unwrap().hits("triage").is_empty(), "an empty hit is none");
}

#[test]
fn ages_are_read_as_tables_show_them() {
    let seconds = |text: &str| parse_age(text).map(|age| age.as_secs_f64());
    assert_eq!(seconds("90s"), Some(90.0));
    assert_eq!(seconds("1h30m"), Some(5400.0));
    assert_eq!(seconds("500ms"), Some(0.5));
    assert_eq!(seconds("2d"), Some(172_800.0));
    for bad in ["", "5", "h", "5y", "-1s", "1h-", "99999999999999999999w"] {
        assert_eq!(seconds(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn no_line_breaks_it(line in ".{0,60}") {
        if let Ok(query) = Query::parse(&line, FIELDS) {
            let mut scratch = String::new();
            for agent in fleet() {
                query.matches(&agent, Time::from_millis(NOW), &mut scratch);
                query.hits(agent.name);
            }
        }
    }

    #[test]
    fn a_line_of_typical_parts_either_works_or_says_where(parts in proptest::collection::vec(
        prop::sample::select(vec!["-l", "-f", "queue>1", "a=b", "!x", "\"", "state=", "in (", ")", "age<1h", "[", "é"]), 0..8)) {
        let line = parts.join(" ");
        if let Err(error) = Query::parse(&line, FIELDS) {
            prop_assert!(error.at.end <= line.len() && line.get(error.at.clone()).is_some());
        }
    }
}
