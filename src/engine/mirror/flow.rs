//! How messages flow: what waits for whom, totals by status, and how many were sent and delivered each second. Fed with
//! counts that the store makes; between two counts the difference is spread evenly over the seconds that passed.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::engine::view::{Queue, Totals};
use crate::model::id::AgentId;
use crate::model::message::MessageStatus;
use crate::model::time::Time;
use crate::ports::store::Tally;

/// Length of the histories, in seconds.
const SECONDS: usize = 60;
/// Rates are means over so many seconds.
const RATE_SPAN: usize = 10;

/// Events a second for the last minute; the last value is of the second that is under way.
#[derive(Debug)]
struct History([u32; SECONDS]);

impl Default for History {
    fn default() -> Self {
        Self([0; SECONDS])
    }
}

impl History {
    fn pass(&mut self, seconds: usize) {
        let seconds = seconds.min(SECONDS);
        self.0.rotate_left(seconds);
        self.0[SECONDS - seconds..].fill(0);
    }

    /// Spreads `count` over the last `seconds`, the odd ones over the latest.
    fn add(&mut self, count: u64, seconds: usize) {
        let seconds = seconds.clamp(1, SECONDS);
        let (each, odd) = (count / seconds as u64, count % seconds as u64);
        for (age, slot) in self.0.iter_mut().rev().take(seconds).enumerate() {
            let share = each + u64::from((age as u64) < odd);
            *slot = slot.saturating_add(u32::try_from(share).unwrap_or(u32::MAX));
        }
    }

    fn is_quiet(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    fn rate(&self) -> f64 {
        let sum: f64 = self.0.iter().rev().take(RATE_SPAN).map(|count| f64::from(*count)).sum();
        sum / RATE_SPAN as f64
    }
}

#[derive(Debug, Default)]
pub struct Flow {
    sent: History,
    delivered: History,
    /// The second that the histories end with, counted from the first.
    began: Option<Instant>,
    second: u64,
    last: Option<Counts>,
    statuses: BTreeMap<MessageStatus, u64>,
    queues: HashMap<AgentId, Queue>,
    oldest: Option<Time>,
    /// What waits is known: it was counted since the store was last found.
    counted: bool,
    publications: u64,
    /// Messages that the feed saw removed since the last count.
    removed: u64,
    /// Removals that a count saw before the feed told of them: they must not hide new messages later.
    owed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    at: Instant,
    all: u64,
    delivered: u64,
}

impl Flow {
    pub fn note_removed(&mut self, messages: u64) {
        self.removed += messages;
    }

    pub fn set_publications(&mut self, count: u64) -> bool {
        std::mem::replace(&mut self.publications, count) != count
    }

    /// Takes in counts by receiver and status with the oldest of each; returns what waits for each receiver.
    pub fn count(&mut self, tallies: &[Tally], at: Instant) -> HashMap<AgentId, Queue> {
        self.queues.clear();
        self.statuses.clear();
        self.add(tallies);
        let delivered = self.statuses.get(&MessageStatus::Delivered).copied().unwrap_or(0);
        self.rate(Counts { at, all: self.statuses.values().sum(), delivered });
        self.queues.clone()
    }

    /// Takes in a count of what waits or is under way; the rest stays as it was counted last.
    pub fn count_open(&mut self, tallies: &[Tally]) -> HashMap<AgentId, Queue> {
        for queue in self.queues.values_mut() {
            (queue.pending, queue.leased, queue.oldest) = (0, 0, None);
        }
        for status in [MessageStatus::Pending, MessageStatus::Leased] {
            self.statuses.remove(&status);
        }
        self.add(tallies);
        self.queues.clone()
    }

    /// The store was lost: what waits is to be counted anew.
    pub fn forget(&mut self) {
        self.counted = false;
    }

    fn add(&mut self, tallies: &[Tally]) {
        (self.counted, self.oldest) = (true, None);
        for tally in tallies {
            let [receiver, status] = &tally.values[..] else { continue };
            let Some(Ok(status)) = status.as_str().map(str::parse::<MessageStatus>) else {
                continue;
            };
            *self.statuses.entry(status).or_default() += tally.count;
            let least = tally.least.as_str().and_then(|text| text.parse().ok());
            let Some(Ok(receiver)) = receiver.as_str().map(AgentId::new) else { continue };
            let queue = self.queues.entry(receiver).or_default();
            match status {
                MessageStatus::Pending => {
                    queue.pending += tally.count;
                    queue.oldest = least;
                    self.oldest = [self.oldest, least].into_iter().flatten().min();
                }
                MessageStatus::Leased => queue.leased += tally.count,
                MessageStatus::Delivered => queue.delivered += tally.count,
                MessageStatus::Dead | MessageStatus::Failed => queue.dead += tally.count,
                MessageStatus::Expired | MessageStatus::Cancelled | MessageStatus::Purged => {}
            }
        }
    }

    fn rate(&mut self, now: Counts) {
        self.tick(now.at);
        let removed = std::mem::take(&mut self.removed);
        let Some(before) = self.last.replace(now) else { return };
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().round() as usize;
        let (up, down) = (now.all + removed, before.all + self.owed);
        self.owed = down.saturating_sub(up);
        self.sent.add(up.saturating_sub(down), seconds);
        self.delivered.add(now.delivered.saturating_sub(before.delivered), seconds);
    }

    /// Moves the histories to the second of `now`; true when that changed what they show.
    pub fn tick(&mut self, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        let second = now.saturating_duration_since(began).as_secs();
        let passed = usize::try_from(second.saturating_sub(self.second)).unwrap_or(SECONDS);
        self.second = second;
        if passed == 0 || self.is_quiet() {
            return false;
        }
        self.sent.pass(passed);
        self.delivered.pass(passed);
        true
    }

    /// Nothing was sent or delivered within the last minute.
    pub fn is_quiet(&self) -> bool {
        self.sent.is_quiet() && self.delivered.is_quiet()
    }

    pub fn show(&self, totals: &mut Totals) {
        totals.messages.clone_from(&self.statuses);
        totals.oldest = self.oldest;
        totals.counted = self.counted;
        totals.publications = self.publications;
        (totals.sent_rate, totals.delivered_rate) = (self.sent.rate(), self.delivered.rate());
        // the second under way would look like a fall at the end of every row of bars
        totals.sent_history = self.sent.0[..SECONDS - 1].to_vec();
        totals.delivered_history = self.delivered.0[..SECONDS - 1].to_vec();
    }
}

/// A count that takes longer is slow: what matters most is counted beside it.
const SLOW: Duration = Duration::from_millis(250);

/// When to count anew: at once after a quiet time, and never so often that counting takes more than a tenth of a core.
#[derive(Debug)]
pub struct Pace {
    wanted: bool,
    /// Since when a count is under way.
    since: Option<Instant>,
    cost: Duration,
    not_before: Option<Instant>,
    shortest: Duration,
}

impl Pace {
    pub fn new(shortest: Duration) -> Self {
        Self { wanted: true, since: None, cost: Duration::ZERO, not_before: None, shortest }
    }

    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// When the next count is due, if one is wanted.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        (self.wanted && self.since.is_none()).then(|| self.not_before.unwrap_or(now).max(now))
    }

    pub fn begin(&mut self, now: Instant) {
        (self.wanted, self.since) = (false, Some(now));
    }

    /// From when on counting is slow, if it was the last time or is now.
    pub fn slow_from(&self, now: Instant) -> Option<Instant> {
        if self.cost > SLOW { Some(now) } else { self.since.map(|since| (since + SLOW).max(now)) }
    }

    pub fn done(&mut self, began: Instant, ended: Instant) {
        self.since = None;
        self.cost = ended.saturating_duration_since(began);
        self.not_before = Some(began + (self.cost * 10).max(self.shortest));
    }
}

/// The fields by which messages are counted.
pub fn by_receiver_and_status() -> [crate::model::filter::Field; 2] {
    ["to_agent_id".into(), "status".into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tally(to: &str, status: &str, count: u64, least: &str) -> Tally {
        Tally { values: vec![json!(to), json!(status)], count, least: json!(least) }
    }

    fn rates(flow: &Flow) -> (u32, u32) {
        (flow.sent.0.iter().sum(), flow.delivered.0.iter().sum())
    }

    #[test]
    fn what_waits_is_summed_by_receiver() {
        let mut flow = Flow::default();
        let (early, late) = ("2026-11-21T00:00:01.000Z", "2026-11-21T00:00:02.000Z");
        let queues = flow.count(
            &[
                tally("a", "pending", 3, late),
                tally("a", "leased", 1, early),
                tally("a", "failed", 1, early),
                tally("b", "dead", 2, early),
                tally("b", "delivered", 9, early),
                tally("NOT AN ID", "pending", 5, early),
                tally("b", "no such status", 5, early),
            ],
            Instant::now(),
        );
        let a = queues[&AgentId::new("a").unwrap()];
        assert_eq!((a.pending, a.leased, a.dead), (3, 1, 1));
        assert_eq!(a.oldest, Some(late.parse().unwrap()), "only what is pending waits");
        let b = queues[&AgentId::new("b").unwrap()];
        assert_eq!((b.pending, b.dead, b.delivered, b.oldest), (0, 2, 9, None));
        let mut totals = Totals::default();
        flow.show(&mut totals);
        assert_eq!(totals.messages(MessageStatus::Pending), 8);
    }

    #[test]
    fn rates_are_differences_and_what_was_there_before_counts_for_nothing() {
        let (mut flow, start) = (Flow::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        flow.count(&[tally("a", "pending", 1_000, "")], at(0));
        assert!(flow.is_quiet());
        flow.count(&[tally("a", "pending", 990, ""), tally("a", "delivered", 30, "")], at(4));
        assert_eq!(rates(&flow), (20, 30));
        let mut totals = Totals::default();
        flow.show(&mut totals);
        assert_eq!(
            totals.sent_history[SECONDS - 5..],
            [0, 5, 5, 5],
            "what has not ended yet is left out"
        );
        assert!(
            (totals.sent_rate - 2.0).abs() < 1e-9 && (totals.delivered_rate - 3.0).abs() < 1e-9
        );
        assert!(flow.tick(at(34)) && !flow.is_quiet());
        assert_eq!(rates(&flow), (20, 30), "half a minute later they are still shown");
        flow.tick(at(64));
        assert!(flow.is_quiet() && !flow.tick(at(65)), "after a minute there is nothing left");
    }

    #[test]
    fn messages_put_away_hide_no_new_ones() {
        let (mut flow, start) = (Flow::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        flow.count(&[tally("a", "delivered", 100, "")], at(0));
        // 50 went, told by the feed; 10 came
        flow.note_removed(50);
        flow.count(&[tally("a", "delivered", 50, ""), tally("a", "pending", 10, "")], at(1));
        assert_eq!(rates(&flow), (10, 0));
        // 20 went, which the feed tells only after the count
        flow.count(&[tally("a", "delivered", 30, ""), tally("a", "pending", 10, "")], at(2));
        flow.note_removed(20);
        flow.count(&[tally("a", "delivered", 30, ""), tally("a", "pending", 15, "")], at(3));
        assert_eq!(rates(&flow), (15, 0));
    }

    #[test]
    fn counting_is_paced_by_its_cost() {
        let mut pace = Pace::new(Duration::from_millis(500));
        let start = Instant::now();
        assert_eq!(pace.due(start), Some(start), "the first count is due at once");
        pace.begin(start);
        assert_eq!(pace.due(start), None);
        pace.done(start, start + Duration::from_millis(200));
        pace.want();
        assert_eq!(pace.due(start), Some(start + Duration::from_secs(2)));
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.due(later), Some(later), "after a quiet time at once");
    }
    #[test]
    fn a_count_that_is_slow_has_a_quick_one_beside_it_until_it_is_quick_again() {
        let mut pace = Pace::new(Duration::from_millis(500));
        let start = Instant::now();
        assert_eq!(pace.slow_from(start), None);
        pace.begin(start);
        pace.want();
        assert_eq!(pace.due(start), None, "one at a time");
        assert_eq!(pace.slow_from(start), Some(start + SLOW));
        pace.done(start, start + SLOW * 2);
        assert_eq!(pace.slow_from(start), Some(start));
        pace.begin(start);
        pace.done(start, start + SLOW / 2);
        assert_eq!(pace.slow_from(start), None);
    }

    #[test]
    fn a_count_of_what_is_open_leaves_the_rest_as_it_was() {
        let mut flow = Flow::default();
        let (early, late) = ("2026-11-21T00:00:01.000Z", "2026-11-21T00:00:02.000Z");
        let all = [tally("a", "pending", 3, early), tally("a", "delivered", 9, early)];
        flow.count(&all, Instant::now());
        let queues = flow.count_open(&[tally("b", "pending", 2, late)]);
        let (a, b) = (queues[&AgentId::new("a").unwrap()], queues[&AgentId::new("b").unwrap()]);
        assert_eq!((a.pending, a.delivered, a.oldest), (0, 9, None));
        assert_eq!((b.pending, b.oldest), (2, Some(late.parse().unwrap())));
        let mut totals = Totals::default();
        flow.show(&mut totals);
        assert_eq!(totals.messages(MessageStatus::Pending), 2);
        assert_eq!(totals.messages(MessageStatus::Delivered), 9);
        assert!(totals.counted);
        flow.forget();
        flow.show(&mut totals);
        assert!(!totals.counted);
    }
}
