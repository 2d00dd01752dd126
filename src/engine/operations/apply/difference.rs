//! What a document's change looks like, as the lines of a unified diff over its YAML.

use serde_json::Value;
use similar::TextDiff;

use crate::ports::store::Body;

/// Fields that the engine keeps: no manifest names them, so no difference shows them.
const OURS: [&str; 20] = [
    "journal_sum",
    "created_at",
    "updated_at",
    "created_by",
    "generation",
    "status",
    "phase",
    "phase_since",
    "reason",
    "health",
    "deployment",
    "incarnation",
    "wanted_incarnation",
    "live_name",
    "referenced_at",
    "failures",
    "running_since",
    "drain_deadline",
    "version",
    "deleting",
];

/// A document as an operator reads it; an id is shown only where it is what differs from `other`.
fn yaml(body: &Body, other: Option<&Body>) -> String {
    let same_id = |name: &str, value: &Value| {
        name.ends_with("_id")
            && other.and_then(|other| other.get(name)).is_none_or(|it| it == value)
    };
    let shown: Body = body
        .iter()
        .filter(|(name, value)| !OURS.contains(&name.as_str()) && !same_id(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let text = serde_saphyr::to_string(&Value::Object(shown));
    text.map_or_else(|error| error.to_string(), |text| lists_in_a_line(&text))
}

/// `tags:` with `- demo` and `- work` below it as `tags: [demo, work]`: an element alone would say nothing in a difference.
fn lists_in_a_line(text: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_plain = |line: &str| {
        let element = line.trim_start().strip_prefix("- ");
        element.is_some_and(|it| !it.contains(": ") && !it.ends_with([':', '|', '>', '-']))
    };
    let lines: Vec<&str> = text.lines().collect();
    let (mut out, mut at) = (String::new(), 0);
    while let Some(line) = lines.get(at) {
        at += 1;
        out.push_str(line);
        let of_list =
            |below: &&str| below.trim_start().starts_with("- ") && indent(below) >= indent(line);
        let all = lines[at..].iter().copied().take_while(|below| of_list(below)).count();
        let (below, after) = (&lines[at..at + all], lines.get(at + all));
        // what goes on deeper is no list of plain words
        let ends = after.is_none_or(|after| indent(after) <= indent(line));
        let named = line.ends_with(':') && !line.trim_start().starts_with("- ");
        if named && all > 0 && ends && below.iter().all(|below| is_plain(below)) {
            let elements: Vec<&str> =
                below.iter().map(|below| below.trim_start()[2..].trim()).collect();
            out.push_str(&format!(" [{}]", elements.join(", ")));
            at += all;
        }
        out.push('\n');
    }
    out
}

/// A step's note: `words` on the first line, then the difference, a line each beginning with `+`, `-` or a space.
pub(in crate::engine::operations) fn note(
    words: &str,
    before: Option<&Body>,
    after: &Body,
) -> String {
    let old = before.map(|before| yaml(before, Some(after))).unwrap_or_default();
    let new = yaml(after, before);
    let lines = TextDiff::from_lines(&old, &new);
    let diff = lines.unified_diff().context_radius(2).to_string();
    format!("{words}\n{}", diff.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_only_the_engine_reads_is_left_out_and_a_list_is_one_line() {
        let body = |value: Value| match value {
            Value::Object(body) => body,
            _ => unreachable!("a document is an object"),
        };
        let before = json!({"args": ["--slow", "x"], "env": [{"name": "A", "value": "1"}], "tags": ["demo", "work"]});
        let after = json!({"args": ["--fast", "x"], "env": [{"name": "A", "value": "1"}], "tags": ["demo", "work"],
            "journal_sum": "0b40", "template_id": "template-1"});
        let said = note("changed", Some(&body(before)), &body(after));
        assert!(
            said.contains("-args: [--slow, x]") && said.contains("+args: [--fast, x]"),
            "{said}"
        );
        assert!(!said.contains("journal_sum") && !said.contains("template_id"), "{said}");
        assert!(!said.contains("- demo"), "{said}");
        let pool = |id: &str| body(json!({"template_id": id, "max": 3}));
        let said = note("changed", Some(&pool("a")), &pool("b"));
        assert!(said.contains("-template_id: a") && said.contains("+template_id: b"), "{said}");
    }

    #[test]
    fn a_change_shows_as_lines_and_what_the_engine_keeps_is_left_out() {
        let body = |desired: u32, phase: &str| match json!({"name": "a", "desired": desired, "phase": phase})
        {
            Value::Object(body) => body,
            _ => unreachable!(),
        };
        let note = note("changed", Some(&body(3, "running")), &body(5, "failed"));
        let lines: Vec<&str> = note.lines().collect();
        assert_eq!(lines[0], "changed");
        assert!(lines.contains(&"-desired: 3") && lines.contains(&"+desired: 5"), "{note}");
        assert!(!note.contains("phase"), "{note}");
    }
}
