//! How the mirror comes to know everything: a list at the start, and later a comparison of keys and revisions that reads
//! bodies only where they differ. The feed runs meanwhile, and what it told since a question was asked is newer than the
//! answer.

use std::collections::HashSet;

use super::Mirror;
use super::fleet::ROWS;
use super::jobs::{Answer, Jobs};
use super::table::mark;
use crate::model::schema::Collection;
use crate::ports::store::{Document, Key, Rev};

/// A list or comparison under way.
#[derive(Debug, Default)]
pub struct Listing {
    /// Questions not yet answered; 0 when nothing is under way.
    open: u32,
    /// What the feed told of meanwhile.
    touched: HashSet<(Collection, Key)>,
    /// A gap was met meanwhile: compare once more.
    again: bool,
    /// The rest of the first list is to be asked for once the first rows are there.
    rest: bool,
    /// Journal entries are being read.
    events: bool,
}

impl Listing {
    pub fn is_open(&self) -> bool {
        self.open > 0
    }

    pub fn touch(&mut self, collection: Collection, key: &Key) {
        if self.open > 0 {
            self.touched.insert((collection, key.clone()));
        }
    }

    /// The first rows are not there yet.
    pub fn is_first(&self) -> bool {
        self.rest
    }

    fn is_touched(&self, collection: Collection, key: &Key) -> bool {
        !self.touched.is_empty() && self.touched.contains(&(collection, key.clone()))
    }
}

impl Mirror {
    /// Lists everything, or compares with what is known.
    pub(super) fn begin_listing(&mut self, jobs: &mut Jobs) {
        if self.listing.is_open() {
            self.listing.again = true;
            return;
        }
        self.listing = Listing::default();
        jobs.lease();
        self.listing.open += 1;
        self.read_events(jobs);
        if self.loaded {
            self.list_rest(jobs);
            return;
        }
        for collection in [Collection::AgentPools, Collection::AgentTemplates] {
            jobs.list(collection, None);
        }
        jobs.scan(Collection::Agents, None);
        self.listing.open += 3;
        self.listing.rest = true;
    }

    /// Reads the journal's entries after the last one known, or the last one if none is.
    pub(super) fn read_events(&mut self, jobs: &mut Jobs) {
        if !std::mem::replace(&mut self.listing.events, true) {
            jobs.events(self.last_event);
            self.listing.open += 1;
        }
    }

    fn list_rest(&mut self, jobs: &mut Jobs) {
        jobs.newest_operations();
        self.listing.open += 1;
        let all = ROWS.into_iter().filter(|collection| *collection != Collection::Operations);
        for collection in all {
            if self.loaded {
                jobs.revisions(collection, None);
            } else if matches!(collection, Collection::AgentHealth | Collection::AgentSubscriptions)
            {
                jobs.list(collection, None);
            } else {
                continue;
            }
            self.listing.open += 1;
        }
    }

    /// Takes in an answer to one of the questions above.
    pub(super) fn listed(&mut self, answer: Answer, jobs: &mut Jobs) {
        self.listing.open = self.listing.open.saturating_sub(1);
        match answer {
            Answer::Listed(collection, page) => {
                for document in &page.documents {
                    self.take_in(collection, document);
                }
                if let Some(next) = page.next {
                    jobs.list(collection, Some(next));
                    self.listing.open += 1;
                }
            }
            Answer::Scanned { collection, page, last } => {
                if !last {
                    jobs.scan(collection, page.last().map(|raw| raw.key.clone()));
                    self.listing.open += 1;
                }
                for raw in page.iter().filter(|raw| !self.listing.is_touched(collection, &raw.key))
                {
                    self.wanted |= self.fleet.put_raw(collection, raw);
                }
                if collection == Collection::Agents && std::mem::take(&mut self.listing.rest) {
                    self.published = None; // the first rows wait for nothing
                    self.list_rest(jobs);
                }
            }
            Answer::Newest(documents) => {
                let listed: HashSet<&str> =
                    documents.iter().map(|document| document.key.as_str()).collect();
                let touched = &self.listing.touched;
                self.fleet.operations.retain(|id| {
                    listed.contains(id.as_str())
                        || touched.iter().any(|(_, key)| key.as_str() == id.as_str())
                });
                for document in &documents {
                    self.take_in(Collection::Operations, document);
                }
            }
            Answer::Revisions { collection, after, page, last } => {
                let ask = self.differing(collection, after.as_ref(), &page, last);
                for keys in ask.chunks(1_000) {
                    jobs.bodies(collection, keys.to_vec());
                    self.listing.open += 1;
                }
                if !last {
                    jobs.revisions(collection, page.last().map(|(key, _)| key.clone()));
                    self.listing.open += 1;
                }
            }
            Answer::Bodies { collection, asked, found } => {
                let found_keys: HashSet<&Key> =
                    found.iter().map(|document| &document.key).collect();
                for key in asked.iter().filter(|key| !found_keys.contains(key)) {
                    if !self.listing.is_touched(collection, key) {
                        self.remove(collection, key.as_str());
                    }
                }
                for document in &found {
                    self.take_in(collection, document);
                }
            }
            Answer::Lease(document) => {
                let key = document.as_ref().map(|document| document.key.clone());
                if !key.is_some_and(|key| self.listing.is_touched(Collection::Leases, &key)) {
                    let now = self.ctx.clock.instant();
                    self.status.lease(document.as_ref().map(|document| &document.body), now);
                }
            }
            Answer::Events(documents, tell) => {
                for document in &documents {
                    self.take_event(&document.key, &document.body, tell);
                }
                if self.last_event.is_none() {
                    self.last_event = Some(0);
                }
                self.listing.events = false;
                if tell && !documents.is_empty() {
                    self.read_events(jobs);
                }
            }
            Answer::Counted { .. }
            | Answer::Publications { .. }
            | Answer::Uncounted(..)
            | Answer::Store(_)
            | Answer::Runtime(_) => {}
        }
        if self.listing.open == 0 {
            self.end_listing(jobs);
        }
    }

    fn end_listing(&mut self, jobs: &mut Jobs) {
        self.listing.touched = HashSet::new();
        if !self.loaded || self.stale_since.is_some() {
            (self.news, self.published) = (true, None);
        }
        (self.loaded, self.stale_since) = (true, None);
        self.strays.open(&*self.ctx.runtime);
        let pause = if self.is_embedded() { super::RELIST_EMBEDDED } else { super::RELIST };
        self.relist_at = self.ctx.clock.instant() + pause;
        if std::mem::take(&mut self.listing.again) {
            self.begin_listing(jobs);
        }
    }

    fn take_in(&mut self, collection: Collection, document: &Document) {
        if !self.listing.is_touched(collection, &document.key) {
            let mark = mark(&document.rev);
            self.put(collection, &document.key, mark, &document.body);
        }
    }

    /// Keys of the page that are not held at that revision, and keys held that the page should have had.
    fn differing(
        &self,
        collection: Collection,
        after: Option<&Key>,
        page: &[(Key, Rev)],
        last: bool,
    ) -> Vec<Key> {
        let end = page.last().filter(|_| !last).map(|(key, _)| key.as_str());
        let there: HashSet<&str> = page.iter().map(|(key, _)| key.as_str()).collect();
        let held = self.fleet.keys(collection, after.map(Key::as_str), end);
        let gone = held.into_iter().filter(|key| !there.contains(key.as_str()));
        let other = page
            .iter()
            .filter(|(key, rev)| !self.fleet.has(collection, key.as_str(), mark(rev)))
            .map(|(key, _)| key.clone());
        other.chain(gone).collect()
    }
}
