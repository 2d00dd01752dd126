//! What a document's change looks like, as the lines of a unified diff over its YAML.

use serde_json::Value;
use similar::TextDiff;

use crate::ports::store::Body;

/// Fields that the engine keeps: no manifest names them, so no difference shows them.
const OURS: [&str; 19] = [
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

fn yaml(body: &Body) -> String {
    let shown: Body = body
        .iter()
        .filter(|(name, _)| !OURS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    serde_saphyr::to_string(&Value::Object(shown)).unwrap_or_else(|error| error.to_string())
}

/// A step's note: `words` on the first line, then the difference, a line each beginning with `+`, `-` or a space.
pub(in crate::engine::operations) fn note(
    words: &str,
    before: Option<&Body>,
    after: &Body,
) -> String {
    let (old, new) = (before.map(yaml).unwrap_or_default(), yaml(after));
    let lines = TextDiff::from_lines(&old, &new);
    let diff = lines.unified_diff().context_radius(2).to_string();
    format!("{words}\n{}", diff.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
