//! What happened to this console since it began: every event, every view that was drawn, and a mark of every picture. `:dump`
//! writes it down, so that whoever gets the file can play the session again and see the same pictures (`replay`).
//!
//! Bounded: of a long session only the last part is kept, for reading; of a large fleet no views are. Either says so, and
//! neither can be played. It never touches a file itself.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ratatui::buffer::Buffer;
use serde::{Deserialize, Serialize};

use super::event::{Alarm, Event, LogBatch, Reply};
use super::keys::Key;
use super::run::Parting;
use super::theme::{Background, Depth};
use super::ui::Ui;
use crate::engine::forward::Forwarded;
use crate::engine::view::{
    AgentRow, FleetView, OperationRow, PoolRow, SubscriptionRow, System, TemplateRow, Totals,
};
use crate::model::event::Event as Entry;
use crate::model::id::OperationId;
use crate::model::plan::Plan;
use crate::model::time::Time;
use crate::ports::site;
use crate::ports::store::Body;
use crate::settings::thresholds::Thresholds;

pub mod replay;

/// Moments kept.
const KEPT: usize = 2_000;
/// About how many bytes of lines, documents and rows.
const BYTES: usize = 4 << 20;
/// The views of a fleet with more agents are not kept: they would hold every row twice.
const ROWS: usize = 1_000;
/// About what one row weighs.
const ROW: usize = 600;

/// How the console was set up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    pub at: Time,
    pub actor: String,
    pub theme: String,
    /// The theme was chosen; the terminal's background changes nothing.
    pub chosen: bool,
    pub keymap: String,
    pub depth: Depth,
    pub ascii: bool,
    pub readonly: bool,
    pub local_time: bool,
    pub low_bandwidth: bool,
    pub parting: Parting,
    #[serde(default)]
    pub limits: Thresholds,
    #[serde(default)]
    pub context: String,
    #[serde(default)]
    pub protected: bool,
    #[serde(default)]
    pub cluster: Option<(String, String)>,
    #[serde(default)]
    pub contexts: Vec<(String, String)>,
    #[serde(default)]
    pub bookmarks: BTreeMap<String, String>,
    #[serde(default)]
    pub first_line: Option<String>,
    /// Nothing is missing: the session can be played.
    pub whole: bool,
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Moment {
    pub at: Time,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    Key {
        key: Key,
    },
    Paste {
        text: String,
    },
    Resize,
    Background {
        light: bool,
    },
    Entry {
        entry: Arc<Entry>,
    },
    Gap,
    Lines {
        id: u64,
        lines: Vec<Line>,
        #[serde(default)]
        left_out: u64,
    },
    Answer {
        id: u64,
        answer: Box<Answer>,
    },
    Alarm {
        alarm: Alarm,
    },
    Trouble {
        text: String,
    },
    View {
        view: Box<Step>,
    },
    /// A picture was drawn; `mark` tells it from others.
    Frame {
        width: u16,
        height: u16,
        mark: u64,
    },
    /// Something that no file can hold: the session cannot be played beyond it.
    Lost {
        name: String,
    },
}

/// A line of a log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    #[serde(default)]
    pub source: u16,
    pub at: Time,
    pub stderr: bool,
    pub text: String,
    pub skipped: u64,
}

/// A document with its key and revision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Paper {
    pub key: String,
    pub rev: String,
    pub body: Body,
}

/// What an effect brought.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Answer {
    Plan {
        plan: Box<Plan>,
    },
    Confirmed {
        operation: OperationId,
    },
    Cancelled,
    Document {
        paper: Paper,
    },
    Described {
        title: String,
        sections: Vec<(String, Vec<(String, String)>)>,
    },
    /// With the values and the key that a next page begins after.
    Listed {
        papers: Vec<Paper>,
        more: Option<(Vec<serde_json::Value>, String)>,
    },
    Forwards {
        ports: Vec<Forwarded>,
    },
    Forwarded {
        port: Box<Forwarded>,
        ended: bool,
    },
    Site {
        answer: Box<site::Answer>,
    },
    LogEnded,
    Dumped {
        path: String,
    },
}

/// How a slice of rows differs from the one before.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows<R> {
    Same,
    /// These, at their places.
    Changed(Vec<(usize, Arc<R>)>),
    All(Vec<Arc<R>>),
}

/// What a view has over the one before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    pub version: u64,
    pub at: Time,
    pub agents: Rows<AgentRow>,
    pub pools: Rows<PoolRow>,
    pub templates: Rows<TemplateRow>,
    pub subscriptions: Rows<SubscriptionRow>,
    pub operations: Rows<OperationRow>,
    pub totals: Box<Totals>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Arc<System>>,
    pub stale_since: Option<Time>,
    pub loaded: bool,
}

#[derive(Debug)]
pub struct Recorder {
    start: Start,
    moments: VecDeque<(Moment, usize)>,
    weight: usize,
    /// The view recorded last.
    seen: Arc<FleetView>,
}

impl Recorder {
    /// `ui` as it begins; `keymap` by its name.
    pub fn new(ui: &Ui, keymap: &str) -> Self {
        let start = Start {
            at: ui.now,
            actor: ui.actor.name.clone(),
            theme: ui.theme.name.clone(),
            chosen: ui.theme_chosen,
            keymap: keymap.to_owned(),
            depth: ui.depth,
            ascii: ui.glyphs.frame.iter().all(|sign| sign.is_ascii()),
            readonly: ui.readonly,
            local_time: ui.local_time,
            low_bandwidth: ui.lean,
            parting: ui.parting,
            limits: ui.limits,
            context: ui.context.name.to_string(),
            protected: ui.context.protected,
            cluster: ui.context.cluster.clone(),
            contexts: ui.contexts.clone(),
            bookmarks: ui.bookmarks.clone(),
            first_line: ui.first_line.clone(),
            // A user's columns, jumps and the views of another time are in no recording.
            whole: ui.views.is_empty() && ui.history.is_empty() && ui.jumps.is_empty(),
        };
        Self { start, moments: VecDeque::new(), weight: 0, seen: Arc::default() }
    }

    /// Whether the session can be played so far.
    pub fn is_whole(&self) -> bool {
        self.start.whole
    }

    /// Something has changed that no recording holds.
    pub fn lose(&mut self, at: Time, name: &str) {
        self.start.whole = false;
        self.add(at, What::Lost { name: name.to_owned() }, 64);
    }

    /// Notes what is about to be carried out.
    pub fn event(&mut self, at: Time, event: &Event) {
        let (what, weight) = note(event);
        if matches!(what, What::Lost { .. }) {
            self.start.whole = false;
        }
        self.add(at, what, weight);
    }

    /// Notes the view that the next picture is drawn of, if it is another one.
    pub fn view(&mut self, at: Time, view: &Arc<FleetView>) {
        if !self.start.whole || Arc::ptr_eq(view, &self.seen) {
            return;
        }
        if view.agents.len() > ROWS {
            (self.start.whole, self.seen) = (false, Arc::default());
            return;
        }
        let (step, rows) = step(&self.seen, view);
        self.seen = view.clone();
        self.add(at, What::View { view: Box::new(step) }, rows * ROW + ROW);
    }

    /// Notes the picture that was drawn.
    pub fn frame(&mut self, at: Time, picture: &Buffer) {
        if self.start.whole {
            let (width, height) = (picture.area.width, picture.area.height);
            self.add(at, What::Frame { width, height, mark: mark(picture) }, 64);
        }
    }

    fn add(&mut self, at: Time, what: What, weight: usize) {
        self.weight += weight;
        self.moments.push_back((Moment { at, what }, weight));
        while self.moments.len() > KEPT || self.weight > BYTES {
            let Some((_, weight)) = self.moments.pop_front() else { break };
            self.weight -= weight;
            // what came before is gone, so views and pictures are of no more use
            (self.start.whole, self.seen) = (false, Arc::default());
        }
    }

    /// Everything that is kept, to be written elsewhere.
    pub fn session(&self) -> Session {
        let moments = self.moments.iter().map(|(moment, _)| moment.clone()).collect();
        Session { start: self.start.clone(), moments }
    }
}

/// A recording by itself.
#[derive(Debug, Clone)]
pub struct Session {
    pub start: Start,
    pub moments: Vec<Moment>,
}

impl Session {
    /// One JSON object a line, the first of them how the console was set up.
    ///
    /// # Errors
    /// When something cannot be written as JSON.
    pub fn lines(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string(&self.start)?;
        for moment in &self.moments {
            text.push('\n');
            text.push_str(&serde_json::to_string(moment)?);
        }
        text.push('\n');
        Ok(text)
    }
}

/// What is kept of an event, and about what it weighs.
fn note(event: &Event) -> (What, usize) {
    match event {
        Event::Key(key) => (What::Key { key: *key }, 48),
        Event::Paste(text) => (What::Paste { text: text.clone() }, text.len() + 48),
        Event::Resize | Event::View => (What::Resize, 48),
        Event::Background(background) => {
            (What::Background { light: *background == Background::Light }, 48)
        }
        Event::Journal(entry) => (What::Entry { entry: entry.clone() }, 2_000),
        Event::JournalGap => (What::Gap, 48),
        Event::Lines(id, LogBatch { lines, left_out }) => {
            let line = |(source, line): &(u16, crate::ports::runtime::LogLine)| Line {
                source: *source,
                at: line.at,
                stderr: line.stderr,
                text: line.text.clone(),
                skipped: line.skipped,
            };
            let weight = lines.iter().map(|(_, line)| line.text.len() + 64).sum();
            let (lines, left_out) = (lines.iter().map(line).collect(), *left_out);
            (What::Lines { id: id.0, lines, left_out }, weight)
        }
        // Secrets go into no file.
        Event::Done(_, Ok(Reply::Revealed(_))) => {
            (What::Lost { name: "a document with its secrets".into() }, 64)
        }
        Event::Trouble(what) => {
            (What::Trouble { text: what.to_string() }, what.as_str().len() + 48)
        }
        Event::Done(id, Ok(reply)) => {
            let (answer, weight) = answer(reply);
            (What::Answer { id: id.0, answer: Box::new(answer) }, weight)
        }
        Event::Done(_, Err(fault)) => (What::Lost { name: format!("fault: {fault}") }, 128),
        Event::Alarm(alarm) => (What::Alarm { alarm: *alarm }, 48),
        // what was typed there may be nobody else's business
        Event::Shelled(..) => (What::Lost { name: "a shell".to_owned() }, 64),
        Event::Edited(..) => (What::Lost { name: "what an editor left".to_owned() }, 64),
    }
}

fn paper(document: &crate::ports::store::Document) -> Paper {
    Paper {
        key: document.key.as_str().to_owned(),
        rev: document.rev.0.to_string(),
        body: document.body.clone(),
    }
}

fn answer(reply: &Reply) -> (Answer, usize) {
    const DOCUMENT: usize = 3_000;
    match reply {
        Reply::Plan(plan) => (Answer::Plan { plan: plan.clone() }, DOCUMENT),
        Reply::Confirmed(operation) => (Answer::Confirmed { operation: operation.clone() }, 64),
        Reply::Cancelled => (Answer::Cancelled, 64),
        // One with its secrets never comes here: it is noted as lost.
        Reply::Document(document) | Reply::Revealed(document) => {
            (Answer::Document { paper: paper(document) }, DOCUMENT)
        }
        Reply::Described(described) => {
            let section =
                |it: &crate::engine::handle::Section| (it.title.clone(), it.lines.clone());
            let sections = described.sections.iter().map(section).collect();
            (Answer::Described { title: described.title.clone(), sections }, DOCUMENT)
        }
        Reply::Listed(documents, more) => {
            let more = more.as_ref().map(|at| (at.values.clone(), at.key.as_str().to_owned()));
            let papers = documents.iter().map(paper).collect();
            (Answer::Listed { papers, more }, documents.len() * DOCUMENT)
        }
        Reply::Forwards(ports) => (Answer::Forwards { ports: ports.clone() }, DOCUMENT),
        Reply::Forwarded(port) => (Answer::Forwarded { port: port.clone(), ended: false }, 256),
        Reply::Unforwarded(port) => (Answer::Forwarded { port: port.clone(), ended: true }, 256),
        Reply::Site(answer) => (Answer::Site { answer: answer.clone() }, answer.weight()),
        Reply::LogEnded => (Answer::LogEnded, 64),
        Reply::Dumped(path) => (Answer::Dumped { path: path.clone() }, 128),
    }
}

/// What `after` has over `before`, and how many rows that are.
fn step(before: &FleetView, after: &FleetView) -> (Step, usize) {
    let mut count = 0;
    let step = Step {
        version: after.version,
        at: after.at,
        agents: rows(&before.agents, &after.agents, &mut count),
        pools: rows(&before.pools, &after.pools, &mut count),
        templates: rows(&before.templates, &after.templates, &mut count),
        subscriptions: rows(&before.subscriptions, &after.subscriptions, &mut count),
        operations: rows(&before.operations, &after.operations, &mut count),
        totals: Box::new(after.totals.clone()),
        system: (!Arc::ptr_eq(&before.system, &after.system)).then(|| after.system.clone()),
        stale_since: after.stale_since,
        loaded: after.loaded,
    };
    (step, count)
}

fn rows<R>(before: &Arc<[Arc<R>]>, after: &Arc<[Arc<R>]>, count: &mut usize) -> Rows<R> {
    if Arc::ptr_eq(before, after) {
        return Rows::Same;
    }
    if before.len() != after.len() {
        *count += after.len();
        return Rows::All(after.to_vec());
    }
    let pairs = before.iter().zip(after.iter()).enumerate();
    let changed: Vec<_> = pairs
        .filter(|(_, (before, after))| !Arc::ptr_eq(before, after))
        .map(|(place, (_, after))| (place, after.clone()))
        .collect();
    *count += changed.len();
    Rows::Changed(changed)
}

/// A number that tells pictures apart, the same in every process.
pub fn mark(picture: &Buffer) -> u64 {
    let mut hasher = Quick(0);
    picture.area.hash(&mut hasher);
    picture.content.hash(&mut hasher);
    hasher.finish()
}

/// Quick to compute, since it is for every picture; not for anything that somebody might forge. As in Firefox.
struct Quick(u64);

impl Quick {
    fn take(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.take(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.take(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.take(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.take(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.take(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
