//! Rows that a page reads from the store because no view carries them: what it asks for, what came, and whether that is
//! still up to date. What comes is taken in right before a frame, so that a key always means the rows on the screen.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::TableKind;
use super::events::aggregate;
use super::listed::{Beside, Entry};
use super::papers::{self, KEPT, PaperRow, Papers, READ};
use super::site;
use super::stored::Stored;
use super::table::TablePage;
use super::xray::Tree;
use crate::engine::fields::PaperKind;
use crate::engine::handle::Listing;
use crate::engine::view::{AgentRow, FleetView};
use crate::model::event::Event;
use crate::model::filter::{Field, Filter};
use crate::model::id::AgentId;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::ports::site::Answer;
use crate::ports::store::{Bookmark, Document, chain};
use crate::tui::effect::{EffectId, Fetch};
use crate::tui::event::{Fault, Reply};

/// Rows read from the store for a page.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// The read that is on its way.
    pub asked: Option<EffectId>,
    pub error: Option<Safe>,
    pub papers: Papers,
    /// Rows of a site, held as they came.
    pub entries: Vec<Entry>,
    /// How many agents are on each of them.
    pub beside: Beside,
    /// Documents behind rows that the view carries.
    pub stored: Stored,
    /// The lines of a tree, as they stood when they were listed.
    pub tree: Tree,
    /// Nothing newer is shown until it thaws.
    pub frozen: bool,
    /// Has read not long ago: waits before it reads again.
    pub resting: bool,
    /// The read on its way is of older rows.
    older: bool,
    /// The last read was of older rows: the newest are next, where both are due.
    went_back: bool,
    /// The read on its way is of another filter: nothing of what is here stays.
    anew: bool,
    /// Where the rows read so far end, if there are older ones.
    more: Option<Bookmark>,
    /// What the store was asked for.
    filter: Option<Filter>,
    /// What the view said of these rows when they were asked for: while it says the same, they are up to date.
    sign: Option<u64>,
    /// How many the view counted when the page was frozen.
    counted: u64,
    incoming: Vec<Incoming>,
}

/// What came and is not yet shown.
#[derive(Debug, Clone)]
enum Incoming {
    Newest { rows: Vec<PaperRow>, more: Option<Bookmark>, all: bool },
    Older { rows: Vec<PaperRow>, more: Option<Bookmark> },
    One(Box<PaperRow>),
    Entries(Vec<Entry>),
    Stored(Vec<Document>),
    Thaw,
}

impl Fetched {
    /// Counts the agents by where they are: once a view, not once a key.
    pub fn count_beside(&mut self, view: &FleetView) {
        self.beside.clear();
        let placed =
            |row: &&Arc<AgentRow>| !row.node.as_str().is_empty() && row.phase.has_workload();
        for row in view.agents.iter().filter(placed) {
            match self.beside.get_mut(row.node.as_str()) {
                Some(count) => *count += 1,
                None => drop(self.beside.insert(row.node.as_str().to_owned(), 1)),
            }
        }
    }

    /// Takes in what came; `false` when nothing did.
    pub fn take_in(&mut self) -> bool {
        let incoming = std::mem::take(&mut self.incoming);
        let some = !incoming.is_empty();
        for change in incoming {
            match change {
                Incoming::Newest { rows, more, all: true } => {
                    self.papers.replace(rows);
                    self.more = more;
                }
                Incoming::Newest { rows, more, all: false } => {
                    // Older rows that were read before stay; where they end is known already.
                    if !self.papers.renew(rows) {
                        self.more = more;
                    }
                }
                Incoming::Older { rows, more } => {
                    self.papers.append(rows);
                    self.more = more;
                }
                Incoming::Entries(entries) => self.entries = entries,
                Incoming::Stored(documents) => self.stored.take(documents),
                Incoming::One(row) => self.papers.push(*row, self.frozen),
                Incoming::Thaw => {
                    if !self.papers.thaw() {
                        self.sign = None;
                    }
                }
            }
        }
        some
    }

    /// Whether there are older rows than those read, and room for them.
    pub fn goes_on(&self) -> bool {
        self.more.is_some() && self.papers.rows.len() < KEPT
    }

    /// How many came since the page was frozen.
    pub fn newer(&self, kind: PaperKind, view: &FleetView) -> u64 {
        match kind {
            PaperKind::Event => self.papers.waiting(),
            PaperKind::Message | PaperKind::Publication => {
                count(kind, view).saturating_sub(self.counted)
            }
        }
    }
}

/// How many there are, as far as the view counts them.
pub fn count(kind: PaperKind, view: &FleetView) -> u64 {
    match kind {
        PaperKind::Message => {
            view.totals.messages.values().fold(0, |sum, count| sum.saturating_add(*count))
        }
        PaperKind::Publication => view.totals.publications,
        PaperKind::Event => view.totals.events,
    }
}

/// What the view says of such rows, in one number.
fn sign(kind: PaperKind, view: &FleetView) -> u64 {
    let mut hasher = DefaultHasher::new();
    match kind {
        PaperKind::Message => view.totals.messages.hash(&mut hasher),
        PaperKind::Publication => view.totals.publications.hash(&mut hasher),
        // Journal entries come by themselves.
        PaperKind::Event => {}
    }
    hasher.finish()
}

/// What a page asks its rows for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Nothing,
    Newest,
    Older,
}

impl TablePage {
    /// The documents of the page's owner that the store can tell from the others, and its filter's part of them.
    fn wanted(&self) -> Filter {
        let (filter, _) = self.filter.query.to_store();
        match (&self.owner, self.kind) {
            (Some(owner), TableKind::Messages) => concerns_message(owner).and(filter),
            (Some(owner), TableKind::Publications) if owner.noun == Noun::Agent => {
                eq("publisher_agent_id", &owner.id).and(filter)
            }
            (Some(owner), TableKind::Events) => concerns_event(owner).and(filter),
            _ => filter,
        }
    }

    /// What should be read now, if anything: the rows may be old, or the cursor at the end of what was read.
    pub fn needs(&self, view: &FleetView) -> Need {
        if self.kind.asks().is_some() {
            let fetched = &self.fetched;
            let due = fetched.sign.is_none() && fetched.asked.is_none() && !fetched.resting;
            return if due { Need::Newest } else { Need::Nothing };
        }
        let (Some(kind), fetched) = (self.kind.papers(), &self.fetched) else {
            let free = self.fetched.asked.is_none() && !self.fetched.resting;
            let due = free && self.lacks_documents(view);
            return if due { Need::Newest } else { Need::Nothing };
        };
        if fetched.filter.as_ref() != Some(&self.wanted()) {
            return Need::Newest;
        }
        if fetched.asked.is_some() || fetched.resting || fetched.frozen {
            return Need::Nothing;
        }
        let newest = fetched.sign != Some(sign(kind, view));
        let at_end = self.state.position + 1 >= self.listing.rows.len();
        // where new ones come all the time, the older ones have their turn too
        match (newest, at_end && fetched.goes_on()) {
            (true, older) if !older || fetched.went_back => Need::Newest,
            (_, true) => Need::Older,
            (_, false) => Need::Nothing,
        }
    }

    /// What to read for `need`. A page without such rows reads nothing.
    pub fn fetch(&mut self, need: Need, view: &FleetView) -> Option<Fetch> {
        if let Some(asks) = self.kind.asks() {
            self.fetched.sign = Some(0);
            return Some(asks);
        }
        let Some(kind) = self.kind.papers() else { return self.read_documents(view) };
        let filter = self.wanted();
        let fetched = &mut self.fetched;
        fetched.older = need == Need::Older;
        if fetched.filter.as_ref() != Some(&filter) {
            // Rows of another filter are of no use, and their end is no end of these.
            (fetched.anew, fetched.older, fetched.more) = (true, false, None);
            fetched.filter = Some(filter.clone());
        }
        fetched.went_back = fetched.older;
        if !fetched.older {
            fetched.sign = Some(sign(kind, view));
        }
        let after = if fetched.older { fetched.more.clone() } else { None };
        Some(Fetch::List(Listing { collection: kind.collection(), filter, limit: READ, after }))
    }

    /// What was read has come; the fault is given back for telling.
    pub fn answered(&mut self, answer: Result<Reply, Fault>, view: &FleetView) -> Option<Fault> {
        if self.kind.asks().is_some() {
            return self.told(answer, view);
        }
        let Some(kind) = self.kind.papers() else {
            return match answer {
                Ok(Reply::Listed(documents, _)) => {
                    self.fetched.incoming.push(Incoming::Stored(documents));
                    None
                }
                Ok(_) => None,
                Err(fault) => Some(fault),
            };
        };
        let older = std::mem::take(&mut self.fetched.older);
        match answer {
            Ok(Reply::Listed(documents, more)) => {
                self.fetched.error = None;
                let rows =
                    documents.into_iter().map(|document| row(kind, document, view)).collect();
                self.fetched.incoming.push(if older {
                    Incoming::Older { rows, more }
                } else {
                    let all = std::mem::take(&mut self.fetched.anew);
                    Incoming::Newest { rows, more, all }
                });
                None
            }
            Ok(_) => None,
            Err(fault) => {
                self.fetched.error = Some(Safe::new(&chain(&fault)));
                self.touch();
                Some(fault)
            }
        }
    }

    /// What the runtime said of its site.
    fn told(&mut self, answer: Result<Reply, Fault>, view: &FleetView) -> Option<Fault> {
        let answer = match answer {
            Ok(Reply::Site(answer)) => *answer,
            Ok(Reply::Forwards(ports)) => {
                self.fetched.error = None;
                self.show(ports.iter().map(site::forward).collect());
                return None;
            }
            Ok(_) => return None,
            Err(fault) => {
                let first = self.fetched.error.is_none();
                self.fetched.error = Some(Safe::new(&chain(&fault)));
                if fault.is_refusal() {
                    // the page says why there is nothing to see
                    self.fetched.incoming.push(Incoming::Entries(Vec::new()));
                }
                self.touch();
                return first.then_some(fault);
            }
        };
        let entries = match answer {
            Answer::Hosts(hosts) => hosts.iter().map(site::host).collect(),
            Answer::Namespaces(found) => site::namespaces(view, self.scope.as_ref(), &found),
            Answer::Host(_) | Answer::Allowances(_) | Answer::Live(_) => return None,
        };
        self.fetched.error = None;
        self.show(entries);
        None
    }

    /// Takes rows that were made elsewhere.
    pub fn show(&mut self, entries: Vec<Entry>) {
        self.fetched.incoming.push(Incoming::Entries(entries));
    }

    /// Rows of a site are read again from time to time.
    pub fn age(&mut self) {
        self.fetched.resting = false;
        if self.kind.asks().is_some() {
            self.fetched.sign = None;
        }
    }

    /// Something was written into the journal.
    pub fn journal(&mut self, entry: &Arc<Event>) {
        if self.kind != TableKind::Events {
            return;
        }
        let Some(document) = papers::of_event(entry) else { return };
        if self.wanted().matches(&document.body) {
            let row = papers::row(PaperKind::Event, document, |_| None);
            self.fetched.incoming.push(Incoming::One(Box::new(row)));
        }
    }

    /// Freezes the rows, or lets them go; `None` when there is nothing to freeze.
    pub fn toggle_follow(&mut self, view: &FleetView) -> Option<bool> {
        let kind = self.kind.papers()?;
        let fetched = &mut self.fetched;
        fetched.frozen = !fetched.frozen;
        if fetched.frozen {
            fetched.counted = count(kind, view);
        } else {
            fetched.incoming.push(Incoming::Thaw);
        }
        Some(fetched.frozen)
    }

    /// Whether the newest row should stay under the cursor as rows come: only where nothing else was chosen.
    pub fn follows(&self) -> bool {
        self.kind.papers().is_some() && self.state.position == 0 && self.state.marks.is_empty()
    }
}

fn row(kind: PaperKind, document: Document, view: &FleetView) -> PaperRow {
    papers::row(kind, document, |id| {
        AgentId::new(id).ok().and_then(|id| view.agent(&id)).map(|row| row.name.clone())
    })
}

fn eq(field: &'static str, value: &str) -> Filter {
    Filter::eq(Field::of(field), value)
}

/// Messages to or from an agent, or about a message.
fn concerns_message(owner: &TargetRef) -> Filter {
    let id = &owner.id;
    match owner.noun {
        Noun::Agent => Filter::Or(vec![eq("to_agent_id", id), eq("from_agent_id", id)]),
        Noun::Message => Filter::Or(vec![eq("_key", id), eq("reply_to", id), eq("replay_of", id)]),
        Noun::Pool | Noun::Template | Noun::Subscription | Noun::Publication | Noun::Operation => {
            Filter::All
        }
    }
}

/// Journal entries about a thing; an operation's are those that it caused, too.
fn concerns_event(owner: &TargetRef) -> Filter {
    let its = eq("aggregate", aggregate(owner.noun).name()).and(eq("aggregate_id", &owner.id));
    match owner.noun {
        Noun::Operation => Filter::Or(vec![its, eq("operation_id", &owner.id)]),
        Noun::Agent => {
            let health = eq("aggregate", "agent_health").and(eq("aggregate_id", &owner.id));
            Filter::Or(vec![its, health])
        }
        Noun::Pool | Noun::Template | Noun::Message | Noun::Subscription | Noun::Publication => its,
    }
}
