//! The fleet in memory: listed at the start, kept by the change feed, compared with the store every minute, and shown as
//! an immutable [`FleetView`] whenever something that can be seen has changed: to the engine what is recorded, to people
//! also what runs without a record. Never writes to the store.

mod fleet;
mod flow;
mod intern;
mod jobs;
mod listing;
mod paper;
mod recent;
mod rows;
mod status;
mod strays;
mod table;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use serde::Deserialize;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::fleet::{Fleet, ROWS};
use self::flow::{Flow, Pace};
use self::jobs::{Answer, Counted, Jobs};
use self::listing::Listing;
use self::status::Status;
use self::strays::Strays;
use self::table::mark;
use crate::engine::context::Context;
use crate::engine::leadership::lease::LEASE_KEY;
use crate::engine::view::{FleetView, System, Totals};
use crate::model::event::Event;
use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{
    Body, BoxError, Change, Cursor, Feed, Key, Store, StoreError, Watch, chain,
};

/// Between two comparisons with the store: those of a file on this machine lose nothing on the way, so that they only
/// guard against a program that writes past the feed.
const RELIST: Duration = Duration::from_secs(60);
const RELIST_EMBEDDED: Duration = Duration::from_secs(300);
/// Between two looks at how store and runtime are doing.
const PROBE: Duration = Duration::from_secs(5);
/// Between two views while much changes: 30 a second, fewer where making one takes long.
const GAP: Duration = Duration::from_millis(33);
const LONGEST_GAP: Duration = Duration::from_millis(500);
/// Making views takes at most this part of one core.
const SHARE: u32 = 20;
/// Between two counts of messages while they flow.
const COUNT: Duration = Duration::from_millis(500);
/// Between two tries to reach a store that is gone, at first and at last: a try is one small request, and a store that is
/// back is to be seen within two seconds (`console.md` §6).
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(1_500);

/// Keeps `ctx.views`, `ctx.shown` and `ctx.events` until `stop`. A store that is gone is tried again for ever.
///
/// # Errors
/// None at present.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) -> Result<(), BoxError> {
    let mut mirror = Mirror::new(ctx);
    let mut pauses = pauses();
    while let Some(Err(error)) = stop.run_until_cancelled(mirror.follow()).await {
        if std::mem::take(&mut mirror.caught_up) {
            pauses = self::pauses();
        }
        mirror.lose(&error);
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            break;
        }
    }
    Ok(())
}

fn pauses() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

#[derive(Debug)]
struct Mirror {
    ctx: Arc<Context>,
    fleet: Fleet,
    flow: Flow,
    strays: Strays,
    status: Status,
    listing: Listing,
    /// Where the feed of rows stands; `None` before the first list.
    cursor: Option<Cursor>,
    last_event: Option<u64>,
    loaded: bool,
    stale_since: Option<Time>,
    /// When the store last said anything.
    heard: Time,
    /// A list was completed since the store was last lost.
    caught_up: bool,
    /// Something outside the tables is worth a view.
    news: bool,
    /// The reconcile loop may have something to do.
    wanted: bool,
    messages: Pace,
    /// Counts of what is open, beside those of all messages while these are slow.
    open: Pace,
    publications: Pace,
    relist_at: Instant,
    probe_at: Instant,
    tick_at: Instant,
    totals: Totals,
    system: Arc<System>,
    published: Option<Instant>,
    gap: Duration,
}

impl Mirror {
    fn new(ctx: Arc<Context>) -> Self {
        let (now, contends) = (ctx.clock.instant(), ctx.settings.contend);
        let heard = ctx.clock.now();
        Self {
            fleet: Fleet::default(),
            flow: Flow::default(),
            strays: Strays::default(),
            status: Status::new(contends, ctx.settings.protected),
            listing: Listing::default(),
            cursor: None,
            last_event: None,
            loaded: false,
            stale_since: None,
            heard,
            caught_up: false,
            news: false,
            wanted: false,
            messages: Pace::new(COUNT),
            open: Pace::new(COUNT),
            publications: Pace::new(COUNT * 4),
            relist_at: now + RELIST,
            probe_at: now,
            tick_at: now,
            totals: Totals::default(),
            system: Arc::default(),
            published: None,
            gap: GAP,
            ctx,
        }
    }

    /// Follows the store until it is lost.
    async fn follow(&mut self) -> Result<Infallible, StoreError> {
        let ctx = self.ctx.clone();
        let from = match self.cursor.clone() {
            Some(cursor) => cursor,
            None => ctx.store.cursor().await?,
        };
        let feeds = (rows_feed(&*ctx.store, from.clone()), flow_feed(&*ctx.store));
        let (mut of_rows, mut of_flow) = tokio::try_join!(feeds.0, feeds.1)?;
        let (mut leading, mut tasks) = (ctx.leading.subscribe(), ctx.tasks.subscribe());
        let mut jobs = Jobs::new(ctx.clone());
        self.cursor = Some(from);
        self.listing = Listing::default();
        self.begin_listing(&mut jobs);
        (self.messages, self.publications) = (Pace::new(COUNT), Pace::new(COUNT * 4));
        self.open = Pace::new(COUNT);
        self.flow.forget();
        self.probe_at = ctx.clock.instant();
        self.status.leading(leading.borrow_and_update().is_some());
        self.status.tasks(&tasks.borrow_and_update());
        loop {
            let wake = self.on_time(&mut jobs);
            tokio::select! {
                batch = of_rows.next() => self.rows_changed(batch.unwrap_or_else(ended)?, &mut jobs),
                batch = of_flow.next() => self.flow_changed(&batch.unwrap_or_else(ended)?),
                answer = jobs.next() => self.answered(answer?, &mut jobs),
                sights = self.strays.next() => self.glimpsed(sights),
                Ok(()) = leading.changed() => {
                    self.status.leading(leading.borrow_and_update().is_some());
                }
                Ok(()) = tasks.changed() => self.status.tasks(&tasks.borrow_and_update()),
                () = sleep_until(wake.into()) => {}
            }
            if std::mem::take(&mut self.wanted) {
                ctx.wanted.notify_one();
            }
        }
    }

    /// Does what is due, and says when the next thing will be.
    fn on_time(&mut self, jobs: &mut Jobs) -> Instant {
        let now = self.ctx.clock.instant();
        if now >= self.probe_at {
            self.probe_at = now + PROBE;
            jobs.store_info();
            jobs.runtime_info();
        }
        if now >= self.relist_at && !self.listing.is_open() {
            self.begin_listing(jobs);
        }
        if self.messages.due(now).is_some_and(|due| due <= now) {
            self.messages.begin(now);
            jobs.count_messages();
        }
        if self.open_due(now).is_some_and(|due| due <= now) {
            self.open.begin(now);
            jobs.count_open_messages();
        }
        if self.publications.due(now).is_some_and(|due| due <= now) {
            self.publications.begin(now);
            jobs.count_publications();
        }
        if now >= self.tick_at {
            self.tick_at = now + Duration::from_secs(1);
            self.news |= self.flow.tick(now);
        }
        self.status.tick(now);
        self.strays.tick(now, &*self.ctx.runtime);
        if self.publish_at(now).is_some_and(|at| at <= now) {
            self.publish();
        }
        let due = [
            Some(self.probe_at),
            (!self.listing.is_open()).then_some(self.relist_at),
            self.messages.due(now),
            self.open_due(now),
            self.publications.due(now),
            (!self.flow.is_quiet()).then_some(self.tick_at),
            self.status.late_at(),
            self.status.times_due(now),
            self.strays.due(),
            self.publish_at(now),
        ];
        due.into_iter().flatten().min().unwrap_or(self.probe_at)
    }

    fn open_due(&self, now: Instant) -> Option<Instant> {
        Some(self.messages.slow_from(now)?.max(self.open.due(now)?))
    }

    fn rows_changed(&mut self, batch: Vec<Change>, jobs: &mut Jobs) {
        self.heard = self.ctx.clock.now();
        for change in batch {
            match change {
                Change::Put { collection, key, rev, body, cursor, .. } => {
                    self.cursor = Some(cursor);
                    self.listing.touch(collection, &key);
                    let Some(body) = body else { continue };
                    self.ctx.suspects.saw(collection, &key, Some(&body));
                    match collection {
                        Collection::Events => self.event_told(&key, &body, jobs),
                        Collection::Leases if key.as_str() == LEASE_KEY => {
                            self.status.lease(Some(&body), self.ctx.clock.instant());
                        }
                        Collection::Leases => {}
                        _ => self.put(collection, &key, mark(&rev), &body),
                    }
                }
                Change::Removed { collection, key, cursor } => {
                    self.cursor = Some(cursor);
                    self.listing.touch(collection, &key);
                    self.ctx.suspects.saw(collection, &key, None);
                    if collection == Collection::Leases && key.as_str() == LEASE_KEY {
                        self.status.lease(None, self.ctx.clock.instant());
                    }
                    self.remove(collection, key.as_str());
                }
                Change::Resync { cursor } => {
                    tracing::info!("the feed has a gap: comparing with the store");
                    self.ctx.suspects.missed();
                    self.cursor = Some(cursor);
                    self.begin_listing(jobs);
                }
            }
        }
    }

    fn flow_changed(&mut self, batch: &[Change]) {
        self.heard = self.ctx.clock.now();
        let mut sent = false;
        for change in batch {
            match change {
                Change::Put { collection: Collection::AgentMessages, .. } => {
                    self.messages.want();
                    self.open.want();
                    sent = true;
                }
                Change::Removed { collection: Collection::AgentMessages, .. } => {
                    self.flow.note_removed(1);
                    self.messages.want();
                    self.open.want();
                }
                Change::Put { .. } | Change::Removed { .. } => self.publications.want(),
                Change::Resync { .. } => {
                    self.messages.want();
                    self.open.want();
                    self.publications.want();
                    sent = true;
                }
            }
        }
        if sent {
            self.ctx.sent.notify_waiters();
        }
    }

    fn answered(&mut self, answer: Answer, jobs: &mut Jobs) {
        let (now, wall) = (self.ctx.clock.instant(), self.ctx.clock.now());
        match answer {
            Answer::Runtime(info) => self.status.runtime(info, wall),
            Answer::Store(info) => {
                self.heard = wall;
                self.status.store(&info, wall);
            }
            Answer::Counted { counted, began, tallies } => {
                self.counted(counted, began, now);
                let queues = match counted {
                    Counted::Open => self.flow.count_open(&tallies),
                    Counted::Messages | Counted::Publications => self.flow.count(&tallies, now),
                };
                self.fleet.put_queues(queues);
                self.news = true; // `publish` finds out whether anything is to be seen
            }
            Answer::Publications { began, count } => {
                self.counted(Counted::Publications, began, now);
                self.news |= self.flow.set_publications(count);
            }
            Answer::Uncounted(counted, began) => {
                tracing::warn!(?counted, "the store did not finish counting");
                self.counted(counted, began, now);
            }
            Answer::Listed(..)
            | Answer::Scanned { .. }
            | Answer::Newest(_)
            | Answer::Revisions { .. }
            | Answer::Bodies { .. }
            | Answer::Lease(_)
            | Answer::Events(..) => {
                self.heard = wall;
                self.listed(answer, jobs);
                self.caught_up |= self.loaded && !self.listing.is_open();
            }
        }
    }

    /// A count has ended.
    fn counted(&mut self, counted: Counted, began: Instant, now: Instant) {
        match counted {
            Counted::Messages => {
                self.messages.done(began, now);
                // what is open was counted at its begin: where that is long ago, it is counted once more
                self.open.want();
            }
            Counted::Open => self.open.done(began, now),
            Counted::Publications => self.publications.done(began, now),
        }
    }

    /// An entry that the feed told of. The journal's numbers have no gaps: before one that leaves any out, what lies
    /// between is read.
    fn event_told(&mut self, key: &Key, body: &Body, jobs: &mut Jobs) {
        let seq = key.as_str().parse::<u64>().ok();
        match (seq, self.last_event) {
            (Some(seq), Some(last)) if seq > last + 1 => self.read_events(jobs),
            _ => self.take_event(key, body, true),
        }
    }

    /// Takes in a journal entry, and passes it on if `tell`.
    fn take_event(&mut self, key: &Key, body: &Body, tell: bool) {
        let Ok(seq) = key.as_str().parse::<u64>() else { return };
        if self.last_event.is_some_and(|last| seq <= last) {
            return;
        }
        self.last_event = Some(seq);
        self.news = true;
        if tell && self.ctx.events.receiver_count() > 0 {
            match Event::deserialize(body) {
                Ok(event) => drop(self.ctx.events.send(Arc::new(event))),
                Err(error) => tracing::warn!(seq, %error, "a journal entry cannot be read"),
            }
        }
    }

    /// The store is lost: the last picture stays, with its age.
    fn lose(&mut self, error: &StoreError) {
        if self.stale_since.is_none() {
            tracing::warn!(error = chain(error), "the store cannot be reached");
            self.stale_since = Some(self.heard);
        }
        self.status.store_failed(error, self.ctx.clock.now());
        self.news = true;
        self.publish();
    }

    /// Whether the store is a file on this machine.
    fn is_embedded(&self) -> bool {
        self.system.store.kind == "sqlite"
    }

    /// When the next view is due: at once after a quiet time, after the gap in a busy one.
    fn publish_at(&self, now: Instant) -> Option<Instant> {
        let dirty =
            self.news || self.fleet.is_dirty() || self.status.is_dirty() || self.strays.is_dirty();
        let first = !self.loaded && self.listing.is_first();
        (dirty && !first).then(|| self.published.map_or(now, |last| last + self.gap))
    }

    fn publish(&mut self) {
        let now = self.ctx.clock.instant();
        self.fleet.settle();
        let mut totals = Totals::default();
        self.fleet.count_into(&mut totals);
        self.flow.show(&mut totals);
        totals.events = self.last_event.unwrap_or(0);
        self.news = false;
        let last = self.ctx.views.borrow().clone();
        let (strayed, sighted) = (self.strays.is_dirty(), self.loaded && self.strays.is_whole());
        let seen = self.fleet.is_dirty()
            || self.status.is_dirty()
            || strayed
            || totals != self.totals
            || (self.loaded, sighted, self.stale_since)
                != (last.loaded, last.sighted, last.stale_since);
        if !seen {
            return;
        }
        if let Some(system) = self.status.take(now) {
            self.system = Arc::new(system);
        }
        self.totals.clone_from(&totals);
        let view = FleetView {
            version: last.version + 1,
            at: self.ctx.clock.now(),
            agents: self.fleet.agents.slice(),
            pools: self.fleet.pools.slice(),
            templates: self.fleet.templates.slice(),
            subscriptions: self.fleet.subscriptions.slice(),
            operations: self.fleet.operations.slice(),
            totals,
            system: self.system.clone(),
            stale_since: self.stale_since,
            loaded: self.loaded,
            sighted,
        };
        drop(last); // so that its slices can be used again
        let view = Arc::new(view);
        let shown = self.strays.beside(&view);
        self.ctx.views.send_replace(view);
        self.ctx.shown.send_replace(shown);
        let cost = self.ctx.clock.instant().saturating_duration_since(now);
        self.gap = (cost * SHARE).clamp(GAP, LONGEST_GAP);
        self.published = Some(now);
    }
}

fn ended() -> Result<Vec<Change>, StoreError> {
    Err(StoreError::Unavailable("the feed ended".into()))
}

async fn rows_feed(store: &dyn Store, from: Cursor) -> Result<Feed, StoreError> {
    let collections = ROWS.into_iter().chain([Collection::Events, Collection::Leases]).collect();
    store.changes(from, Watch { collections, topic: None, bodies: true }).await
}

async fn flow_feed(store: &dyn Store) -> Result<Feed, StoreError> {
    let collections = vec![Collection::AgentMessages, Collection::AgentPublications];
    let from = store.cursor().await?;
    store.changes(from, Watch { collections, topic: None, bodies: false }).await
}

#[cfg(test)]
mod tests;
