//! Rows that the view does not carry: messages, publications and journal entries, as they were read from the store. Each
//! is made safe to show once, when it comes; what is too much is dropped at the old end.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use crate::engine::fields::PaperKind;
use crate::model::event::Event;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::store::{Document, Key, Rev};

/// How many are read at once.
pub const READ: usize = 500;
/// How many a page keeps; older ones are read again when they are asked for.
pub const KEPT: usize = 5_000;

/// One document with its cells.
#[derive(Debug, Clone, PartialEq)]
pub struct PaperRow {
    pub document: Document,
    pub at: Option<Time>,
    /// `seq` of an event, the time of others: what newest first means.
    pub order: i64,
    /// What it is called, for people: an event's type, a message's id.
    pub name: Safe,
    /// Sender and receiver by name; the subject of an event.
    pub from: Safe,
    pub to: Safe,
    pub kind: Safe,
    /// A message's last error, an event's reason.
    pub note: Safe,
    /// The actor of an event; the status of a message.
    pub by: Safe,
}

/// The newest documents of one kind, newest first.
#[derive(Debug, Clone, Default)]
pub struct Papers {
    pub rows: Vec<Arc<PaperRow>>,
    /// Came while the page was frozen; newest last.
    held: VecDeque<Arc<PaperRow>>,
    /// How many more came than `held` keeps.
    lost: u64,
}

impl Papers {
    /// Takes what was read, newest first, in place of everything.
    pub fn replace(&mut self, rows: Vec<PaperRow>) {
        self.rows = rows.into_iter().map(Arc::new).collect();
        self.held.clear();
        self.lost = 0;
        self.tidy();
    }

    /// Takes the newest as they were read again; what was read below them stays. Returns whether anything did.
    pub fn renew(&mut self, rows: Vec<PaperRow>) -> bool {
        let Some(oldest) = rows.last().map(|row| row.order).filter(|_| rows.len() >= READ) else {
            self.replace(rows);
            return false;
        };
        let older = self.rows.iter().filter(|row| row.order < oldest).cloned().collect::<Vec<_>>();
        let some = !older.is_empty();
        self.replace(rows);
        self.rows.extend(older);
        self.tidy();
        some
    }

    /// Adds what was read below the oldest.
    pub fn append(&mut self, rows: Vec<PaperRow>) {
        self.rows.extend(rows.into_iter().map(Arc::new));
        self.tidy();
    }

    /// Adds what just came; kept back while `frozen`.
    pub fn push(&mut self, row: PaperRow, frozen: bool) {
        let row = Arc::new(row);
        if frozen {
            self.held.push_back(row);
            if self.held.len() > KEPT {
                self.held.pop_front();
                self.lost += 1;
            }
            return;
        }
        self.rows.insert(0, row);
        self.tidy();
    }

    /// How many came while the page was frozen.
    pub fn waiting(&self) -> u64 {
        self.held.len() as u64 + self.lost
    }

    /// Shows what was kept back; `false` when some of it is lost and everything should be read again.
    pub fn thaw(&mut self) -> bool {
        let whole = self.lost == 0;
        let held = std::mem::take(&mut self.held);
        self.rows.splice(0..0, held.into_iter().rev());
        self.lost = 0;
        self.tidy();
        whole
    }

    /// Newest first, each once, and no more than are kept.
    fn tidy(&mut self) {
        let sorted = self.rows.windows(2).all(|pair| pair[0].order > pair[1].order);
        if !sorted {
            self.rows
                .sort_by(|a, b| b.order.cmp(&a.order).then(b.document.key.cmp(&a.document.key)));
            self.rows.dedup_by(|a, b| a.document.key == b.document.key);
        }
        self.rows.truncate(KEPT);
    }
}

/// A document as a row; ids of agents become the names that `name_of` knows.
pub fn row(
    kind: PaperKind,
    document: Document,
    name_of: impl Fn(&str) -> Option<Safe>,
) -> PaperRow {
    let text = |field: &str| match document.body.get(field) {
        Some(Value::String(text)) => text.as_str(),
        _ => "",
    };
    let agent = |field: &str| name_of(text(field)).unwrap_or_else(|| Safe::new(text(field)));
    let safe = |field: &str| Safe::new(text(field));
    let at = |field: &str| text(field).parse::<Time>().ok();
    let key = || Safe::new(document.key.as_str());
    let millis = |at: Option<Time>| at.map_or(0, Time::millis);
    let (at, order, cells) = match kind {
        PaperKind::Message => {
            let at = at("created_at");
            (
                at,
                millis(at),
                [
                    key(),
                    agent("from_agent_id"),
                    agent("to_agent_id"),
                    safe("message_type"),
                    safe("last_error"),
                    safe("status"),
                ],
            )
        }
        PaperKind::Publication => {
            let at = at("published_at");
            let seq = document.body.get("seq").and_then(Value::as_i64);
            (
                at,
                seq.unwrap_or_else(|| millis(at)),
                [
                    safe("event_name"),
                    agent("publisher_agent_id"),
                    Safe::default(),
                    safe("publication_type"),
                    Safe::default(),
                    safe("publisher_agent_type"),
                ],
            )
        }
        PaperKind::Event => {
            let seq = document.body.get("seq").and_then(Value::as_i64).unwrap_or(0);
            (
                at("at"),
                seq,
                [
                    safe("type"),
                    safe("subject"),
                    safe("aggregate_id"),
                    safe("aggregate"),
                    safe("reason"),
                    safe("actor"),
                ],
            )
        }
    };
    let [name, from, to, kind, note, by] = cells;
    PaperRow { document, at, order, name, from, to, kind, note, by }
}

/// A journal entry as it came, as the document that the store keeps of it.
pub fn of_event(event: &Arc<Event>) -> Option<Document> {
    let Ok(Value::Object(body)) = serde_json::to_value(event.as_ref()) else { return None };
    let key = Key::new(&Event::key(event.seq)).ok()?;
    Some(Document { key, rev: Rev(Arc::from("")), body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> PaperRow {
        let event = Arc::new(Event { seq, kind: "pool.scaled".into(), ..Event::default() });
        row(PaperKind::Event, of_event(&event).unwrap(), |_| None)
    }

    fn seqs(papers: &Papers) -> Vec<i64> {
        papers.rows.iter().map(|row| row.order).collect()
    }

    #[test]
    fn what_comes_twice_or_out_of_order_is_shown_once_and_in_order() {
        let mut papers = Papers::default();
        papers.replace([5, 4, 3].map(event).into());
        papers.push(event(7), false);
        papers.push(event(6), false);
        papers.push(event(7), false);
        papers.append([3, 2, 1].map(event).into());
        assert_eq!(seqs(&papers), [7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn reading_the_newest_again_keeps_what_was_read_below_them() {
        let mut papers = Papers::default();
        let newest = |from: u64| (from..from + READ as u64).rev().map(event).collect::<Vec<_>>();
        papers.replace(newest(1_000));
        papers.append(vec![event(999), event(998)]);
        assert!(papers.renew(newest(1_003)));
        assert_eq!(papers.rows.len(), READ + 5);
        assert_eq!(papers.rows.last().map(|row| row.order), Some(998));
        assert!(!papers.renew(vec![event(5)]), "a short list is all there is");
        assert_eq!(seqs(&papers), [5]);
    }

    #[test]
    fn a_frozen_page_counts_what_comes_and_shows_it_when_it_thaws() {
        let mut papers = Papers::default();
        papers.replace(vec![event(1)]);
        papers.push(event(2), true);
        papers.push(event(3), true);
        assert_eq!((seqs(&papers), papers.waiting()), (vec![1], 2));
        assert!(papers.thaw());
        assert_eq!((seqs(&papers), papers.waiting()), (vec![3, 2, 1], 0));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut papers = Papers::default();
        for seq in 0..KEPT as u64 + 10 {
            papers.push(event(seq), true);
        }
        assert_eq!(papers.waiting(), KEPT as u64 + 10);
        assert!(!papers.thaw(), "some are lost: read again");
        assert_eq!(papers.rows.len(), KEPT);
        assert_eq!(papers.rows[0].order, KEPT as i64 + 9);
    }
}
