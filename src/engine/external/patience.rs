//! A program that writes a document all the time gets an event now and then and not for each write: between two events of
//! one document is a pause, twice as long each time until it is left alone for a while. What the document came to be
//! meanwhile is in the next event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::schema::Collection;
use crate::ports::store::Key;

/// A document.
pub type Name = (Collection, Key);

const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// Documents that had an event lately.
#[derive(Debug, Default)]
pub struct Patience {
    /// Until when the next event has to wait, and how long that pause is.
    pauses: BTreeMap<Name, (Instant, Duration)>,
    /// When the first of those that wait is due.
    next: Option<Instant>,
}

impl Patience {
    /// Takes those out of `names` whose pause is not over, and gives them back.
    pub fn not_yet(&mut self, names: &mut BTreeSet<Name>, now: Instant) -> BTreeSet<Name> {
        // forgotten once it was left alone for as long as its pause was
        self.pauses.retain(|_, (until, pause)| *until + *pause > now);
        let waits = |name: &Name| self.pauses.get(name).filter(|(until, _)| *until > now);
        self.next = names.iter().filter_map(waits).map(|(until, _)| *until).min();
        let (later, due) =
            std::mem::take(names).into_iter().partition(|name| waits(name).is_some());
        *names = due;
        later
    }

    /// These had an event now.
    pub fn told(&mut self, names: Vec<Name>, now: Instant) {
        for name in names {
            let last = self.pauses.get(&name).map(|(_, pause)| *pause);
            let pause = last.map_or(SHORTEST, |last| (last * 2).min(LONGEST));
            self.pauses.insert(name, (now + pause, pause));
        }
    }

    /// How long until the first of those that wait is due; none when none waits.
    pub fn next(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now))
    }
}
