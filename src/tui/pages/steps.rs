//! What an operation does, as text: its outcome, every batch with the state of each step, and what undo would do.

use super::text::{Ink, PlainLine};
use super::{progress, words};
use crate::engine::view::{FleetView, OperationRow};
use crate::model::agent::Phase;
use crate::model::id::AgentId;
use crate::model::operation::{Operation, OperationStatus, Step, StepStatus, UndoInfo};
use crate::model::text::{Align, Safe};
use crate::model::time::Time;
use crate::ports::store::Document;
use crate::tui::theme::{Glyphs, Theme};
use crate::tui::widgets::Look;
use crate::tui::widgets::table::CellText;

/// The lines about an operation's document; `None` when it is none that we can read.
pub fn lines(
    document: &Document,
    view: &FleetView,
    now: Time,
    glyphs: &Glyphs,
) -> Option<Vec<PlainLine>> {
    let body = serde_json::Value::Object(document.body.clone());
    let operation: Operation = serde_json::from_value(body).ok()?;
    let mut lines = vec![vec![(Safe::new(&operation.title), Ink::Title)], Vec::new()];
    head(&operation, document, now, glyphs, &mut lines);
    let row = view.operations.iter().find(|row| row.id.as_str() == document.key.as_str());
    if let Some(row) = row.filter(|row| !row.status.is_over()) {
        lines.push(under_way(row, view, now, glyphs));
    }
    steps(&operation, view, now, glyphs, &mut lines);
    undo(&operation, &mut lines);
    Some(lines)
}

fn named(lines: &mut Vec<PlainLine>, name: &str, value: &str, ink: Ink) {
    let mut rest = Safe::lines(value).into_iter();
    let name = Safe::new(&format!("  {name:<12}"));
    lines.push(vec![(name, Ink::Muted), (rest.next().unwrap_or_default(), ink)]);
    let indent = Safe::new(&" ".repeat(14));
    lines.extend(rest.map(|line| vec![(indent.clone(), Ink::Muted), (line, ink)]));
}

fn status(status: OperationStatus, glyphs: &Glyphs) -> (&'static str, Ink) {
    match status {
        OperationStatus::Running => (glyphs.busy, Ink::Key),
        OperationStatus::Succeeded => (glyphs.done, Ink::Ok),
        OperationStatus::Failed => (glyphs.failed, Ink::Alarm),
        OperationStatus::RolledBack => (glyphs.degraded, Ink::Warn),
        OperationStatus::Cancelled => (glyphs.stopped, Ink::Warn),
    }
}

fn head(
    operation: &Operation,
    document: &Document,
    now: Time,
    glyphs: &Glyphs,
    lines: &mut Vec<PlainLine>,
) {
    let (sign, ink) = status(operation.status, glyphs);
    let stopping = if operation.cancel_requested && !operation.status.is_over() {
        ", stops after its batch"
    } else {
        ""
    };
    named(lines, "status", &format!("{sign} {}{stopping}", operation.status.name()), ink);
    if !operation.message.is_empty() {
        named(lines, "outcome", &operation.message, ink);
    }
    let total = operation.steps.len();
    let over = format!("{} of {total} done, {} failed", operation.done, operation.failed);
    named(lines, "steps", &over, if operation.failed > 0 { Ink::Warn } else { Ink::Text });
    named(lines, "by", &operation.actor, Ink::Text);
    if !operation.reason.is_empty() && operation.reason != operation.message {
        named(lines, "why", &operation.reason, Ink::Text);
    }
    named(
        lines,
        "verb",
        &format!("{}, tier {}", operation.kind, u8::from(operation.tier)),
        Ink::Text,
    );
    named(lines, "began", &operation.created_at.to_string(), Ink::Text);
    let took = operation.finished_at.unwrap_or(now).since(operation.created_at);
    let word = if operation.finished_at.is_some() { "took" } else { "running for" };
    named(lines, word, &words::exact(took), Ink::Text);
    named(lines, "id", document.key.as_str(), Ink::Text);
}

/// How far it has come, and when it may be over.
fn under_way(row: &OperationRow, view: &FleetView, now: Time, glyphs: &Glyphs) -> PlainLine {
    const BAR: u32 = 20;
    let progress = progress::of(row, view, now);
    let (theme, mut bar) = (Theme::default(), CellText::default());
    words::bar(&mut bar, progress.part, progress.whole, BAR, Look { theme: &theme, glyphs });
    let time = progress::time(row, &progress, now);
    let batch = match row.doing.batches {
        0 | 1 => String::new(),
        all => format!("  batch {}/{all}", row.doing.batch),
    };
    let said = format!("{} {}  {time}{batch}", bar.as_str(), progress.words);
    vec![(Safe::new(&format!("  {:<12}", "progress")), Ink::Muted), (Safe::new(&said), Ink::Key)]
}

/// What the target of a step under way is at, if there is more to say than that.
fn live(step: &Step, view: &FleetView, now: Time) -> Option<String> {
    if step.status != StepStatus::Running {
        return None;
    }
    let row = view.agent(&AgentId::new(&step.target.id).ok()?)?;
    let mut said = row.phase.to_string();
    if row.queue.leased > 0 {
        said.push_str(&format!(", {} in hand", row.queue.leased));
    }
    if let (Phase::Draining, Some(deadline)) = (row.phase, row.drain_deadline) {
        said.push_str(&format!(", at most {} more", words::exact(deadline.since(now))));
    }
    Some(said)
}

fn steps(
    operation: &Operation,
    view: &FleetView,
    now: Time,
    glyphs: &Glyphs,
    lines: &mut Vec<PlainLine>,
) {
    let mut batch = None;
    for step in &operation.steps {
        if batch != Some(step.batch) {
            batch = Some(step.batch);
            lines.push(Vec::new());
            lines.push(vec![(Safe::new(&format!("batch {}", step.batch + 1)), Ink::Title)]);
        }
        let mut line = line(step, glyphs);
        if let Some(live) = live(step, view, now) {
            line.push((Safe::new(&format!(" {live}")), Ink::Muted));
        }
        lines.push(line);
        if !step.message.is_empty() {
            let ink = if step.status == StepStatus::Failed { Ink::Alarm } else { Ink::Muted };
            for text in Safe::lines(&step.message) {
                lines.push(vec![(Safe::new("      "), Ink::Muted), (text, ink)]);
            }
        }
    }
}

fn line(step: &Step, glyphs: &Glyphs) -> PlainLine {
    let (sign, ink) = match step.status {
        StepStatus::Waiting => (glyphs.stopped, Ink::Muted),
        StepStatus::Running => (glyphs.busy, Ink::Key),
        StepStatus::Done => (glyphs.done, Ink::Ok),
        StepStatus::Failed => (glyphs.failed, Ink::Alarm),
        StepStatus::Skipped => (glyphs.paused, Ink::Warn),
    };
    let status = Safe::new(&format!("  {sign} {:<8}", step.status.to_string()));
    let what = format!("{} {} {}", step.action, step.target.noun, step.target.name);
    let mut line =
        vec![(status, ink), (Safe::new(&Safe::new(&what).fit(44, Align::Left)), Ink::Text)];
    if let (Some(began), Some(finished)) = (step.began_at, step.finished_at) {
        let took = words::exact(finished.since(began));
        line.push((Safe::new(&format!(" {took}")), Ink::Muted));
    }
    line
}

fn undo(operation: &Operation, lines: &mut Vec<PlainLine>) {
    lines.push(Vec::new());
    lines.push(vec![(Safe::new("undo"), Ink::Title)]);
    if let Some(by) = &operation.undone_by {
        return named(lines, "taken back", by, Ink::Text);
    }
    match &operation.undo {
        UndoInfo::By { note, .. } | UndoInfo::Restore { note, .. } => {
            named(lines, "possible", note, Ink::Text);
        }
        UndoInfo::Never { why } => named(lines, "impossible", why, Ink::Muted),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ports::store::{Key, Rev};

    fn document(body: Value) -> Document {
        let Value::Object(body) = body else { unreachable!("a document is an object") };
        Document { key: Key::new("op-1").unwrap(), rev: Rev("1".into()), body }
    }

    #[test]
    fn an_operation_is_told_batch_by_batch_with_the_state_of_each_step() {
        let step = |batch: u32, name: &str, status: &str, message: &str| {
            json!({"batch": batch, "action": "restart", "target": {"noun": "agent", "id": name, "name": name},
                "goal": {"until": "agent_gone"}, "status": status, "message": message,
                "began_at": "1970-01-01T00:00:01.000Z", "finished_at": "1970-01-01T00:00:04.000Z"})
        };
        let document = document(json!({
            "type": "restart", "title": "Restart pool triage", "command": {}, "tier": 2, "fingerprint": "",
            "status": "failed", "actor": "ops@host", "reason": "new key\u{1b}[2J", "done": 1, "failed": 1,
            "message": "triage-2 did not come back", "undo": {"never": {"why": "a restart cannot be undone"}},
            "steps": [step(0, "triage-1", "done", ""), step(0, "triage-2", "failed", "exit 1\nsecond line"),
                step(1, "triage-3", "skipped", "")],
            "created_at": "1970-01-01T00:00:00.000Z", "finished_at": "1970-01-01T00:00:05.000Z"
        }));
        let lines = super::lines(
            &document,
            &FleetView::default(),
            Time::from_millis(9_000),
            &Glyphs::UNICODE,
        )
        .unwrap();
        let text: Vec<String> = lines
            .iter()
            .map(|line| line.iter().map(|(text, _)| text.as_str()).collect::<String>())
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn what_is_no_operation_gives_no_lines() {
        assert!(
            lines(
                &document(json!({"type": 3})),
                &FleetView::default(),
                Time::EPOCH,
                &Glyphs::ASCII
            )
            .is_none()
        );
    }

    #[test]
    fn a_running_operation_shows_how_far_it_is_and_what_its_targets_are_at() {
        use crate::tui::testing::{busy, now};

        let mut view = busy();
        let mut agents: Vec<_> = view.agents.iter().cloned().collect();
        let mut row = agents[0].as_ref().clone();
        row.phase = Phase::Draining;
        row.drain_deadline = Some(now().plus(std::time::Duration::from_secs(41)));
        row.queue.leased = 3;
        let id = row.id.to_string();
        agents[0] = std::sync::Arc::new(row);
        view.agents = agents.into();
        let document = Document {
            key: Key::new("op-3").unwrap(),
            ..document(json!({
                "type": "drain", "title": "Drain", "command": {}, "tier": 2, "fingerprint": "",
                "status": "running", "actor": "ops@host", "undo": {"never": {"why": "no"}},
                "steps": [{"batch": 0, "action": "drain", "target": {"noun": "agent", "id": id, "name": "x"},
                    "goal": {"until": "agent_gone"}, "status": "running"}],
                "created_at": now().to_string()
            }))
        };
        let lines = lines(&document, &view, now(), &Glyphs::UNICODE).unwrap();
        let text: Vec<String> = lines
            .iter()
            .map(|line| line.iter().map(|(text, _)| text.as_str()).collect::<String>())
            .collect();
        let text = text.join("\n");
        assert!(text.contains("5/12  4m 0s, about 5m 36s left  batch 2/4"), "{text}");
        assert!(text.contains("draining, 3 in hand, at most 41s more"), "{text}");
    }
}
