//! The documents behind the rows in sight, for columns that a user's file takes from them (`/place/in/the/document`). They
//! are read around the cursor alone, and only where such a column is shown: ten thousand documents are never held for one.

use std::collections::HashMap;
use std::ops::Range;

use super::TableKind;
use super::row::Rows;
use super::table::{Slice, TablePage};
use crate::engine::handle::Listing;
use crate::engine::view::FleetView;
use crate::model::filter::Filter;
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{Body, Document};
use crate::tui::effect::Fetch;
use crate::tui::widgets::table::Column;

/// Rows before and behind the cursor that can be in sight: more than any terminal is high.
const NEAR: usize = 120;
/// The same for what is read, so that not each step reads again.
const FAR: usize = 240;

/// What was read of the rows in sight.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    bodies: HashMap<String, Body>,
    /// The rows that they were read for: of other rows they may be old.
    of: Option<Slice>,
    asked: Vec<String>,
}

impl Stored {
    pub fn body(&self, id: &str) -> Option<&Body> {
        self.bodies.get(id)
    }

    /// Takes what came in place of what there was; of what did not come there is no document.
    pub fn take(&mut self, documents: Vec<Document>) {
        let none = std::mem::take(&mut self.asked).into_iter().map(|id| (id, Body::new()));
        self.bodies = none.collect();
        self.bodies.extend(documents.into_iter().map(|it| (it.key.to_string(), it.body)));
    }
}

impl TableKind {
    /// Where the documents behind its rows are, when the rows themselves carry none.
    pub fn stored(self) -> Option<Collection> {
        match self {
            Self::Agents => Some(Collection::Agents),
            Self::Pools => Some(Collection::AgentPools),
            Self::Templates => Some(Collection::AgentTemplates),
            Self::Messages
            | Self::Queues
            | Self::Subscriptions
            | Self::Publications
            | Self::Health
            | Self::Events
            | Self::Operations
            | Self::Xray
            | Self::Hosts
            | Self::Namespaces
            | Self::Contexts
            | Self::Forwards => None,
        }
    }
}

impl TablePage {
    fn shows_documents(&self) -> bool {
        let from_one = |column: &&Column| column.key.starts_with('/');
        self.kind.stored().is_some() && self.columns().iter().any(from_one)
    }

    /// Whether documents are to be read for what is in sight.
    pub(super) fn lacks_documents(&self, view: &FleetView) -> bool {
        if !self.shows_documents() {
            return false;
        }
        let stored = &self.fetched.stored;
        if !stored.of.as_ref().is_some_and(|of| of.is(&Slice::of(self.kind, view))) {
            return true;
        }
        let rows = self.kind.rows(view, &self.fetched, Time::EPOCH);
        self.ids(rows.as_ref(), NEAR).any(|id| !stored.bodies.contains_key(id))
    }

    /// The read of them.
    pub(super) fn read_documents(&mut self, view: &FleetView) -> Option<Fetch> {
        let collection = self.kind.stored().filter(|_| self.shows_documents())?;
        let rows = self.kind.rows(view, &self.fetched, Time::EPOCH);
        let asked: Vec<String> = self.ids(rows.as_ref(), FAR).map(str::to_owned).collect();
        drop(rows);
        let filter = Filter::any_of("_key", asked.iter().map(String::as_str));
        let listing = Listing { collection, filter, limit: asked.len(), after: None };
        let stored = &mut self.fetched.stored;
        (stored.asked, stored.of) = (asked, Some(Slice::of(self.kind, view)));
        Some(Fetch::List(listing))
    }

    fn ids<'a>(&self, rows: &'a dyn Rows, reach: usize) -> impl Iterator<Item = &'a str> {
        let at = self.state.position;
        let around: Range<usize> =
            at.saturating_sub(reach)..self.listing.rows.len().min(at + reach + 1);
        let listed = self.listing.rows.get(around).unwrap_or_default().to_vec();
        let places = listed.into_iter().map(|row| row as usize);
        places.filter(|row| *row < rows.len()).map(|row| rows.id(row))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::ports::store::{Key, Rev};
    use crate::tui::effect::{Effect, EffectId, Fetch};
    use crate::tui::event::{Alarm, Event, Reply};
    use crate::tui::testing::{draw, fleet, press, symbols, ui};
    use crate::tui::update::{prepare, update};
    use crate::tui::views::Views;

    use super::*;

    fn reads(effects: &[Effect]) -> Vec<(EffectId, Listing)> {
        let listed = effects.iter().filter_map(|effect| match effect {
            Effect::Fetch(id, Fetch::List(listing)) => Some((*id, listing.clone())),
            _ => None,
        });
        listed.collect()
    }

    #[test]
    fn a_column_from_the_stored_document_is_read_for_the_rows_in_sight_once() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[agents]\ncolumns = [\"NAME\", \"OWNER:/metadata/owner\"]\n";
        std::fs::write(folder.path().join("views.toml"), text).unwrap();
        let (views, faults) = Views::load(folder.path());
        assert!(faults.is_empty(), "{faults:?}");
        let (mut ui, view) = (ui(), fleet());
        assert_eq!(reads(&prepare(&mut ui, &view)), [], "nobody shows a document");
        ui.views = Arc::new(views);
        let asked = reads(&prepare(&mut ui, &view));
        let [(id, listing)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(listing.collection, Collection::Agents);
        let first = view.agents[0].as_ref();
        let Value::Object(body) = json!({ "metadata": { "owner": "a \u{1b}[1mb" } }) else {
            unreachable!()
        };
        let key = Key::new(first.id.as_str()).unwrap();
        let document = Document { key, rev: Rev("1".into()), body };
        let reply = Ok(Reply::Listed(vec![document], None));
        update(&mut ui, &view, Event::Done(*id, reply));
        let shown = symbols(&draw(&mut ui, &view, 100, 16));
        let line = shown.lines().find(|line| line.contains(first.name.as_str())).unwrap();
        assert!(line.contains("a ␛[1mb"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "what is in a document is hostile text");
        update(&mut ui, &view, Event::Alarm(Alarm::Reread));
        assert_eq!(reads(&prepare(&mut ui, &view)), [], "it has what is in sight");
        let before = symbols(&draw(&mut ui, &view, 100, 16));
        press(&mut ui, &view, "shift-right O");
        let after = symbols(&draw(&mut ui, &view, 100, 16));
        assert!(!after.contains("OWNER▲") && !after.contains("OWNER▼"), "{before}\n{after}");
    }
}
