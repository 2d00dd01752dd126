//! Messages and publications on their way: inserts and nothing else, into one collection whose documents are numbered.
//!
//! Such a statement holds the lock on the numbers until it is on disk. So those that come while one is under way wait for
//! it, and go together as the next: all or none of them. What cannot go that way goes by itself, as any other write.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strum::IntoEnumIterator;
use tokio::sync::oneshot;

use crate::model::schema::Collection;
use crate::ports::store::{Durability, StoreError};

use super::aql::Kind;
use super::aql::sends::Numbered;
use super::commit::{self, Row};
use super::desk;
use super::fault::Failure;
use super::http::{Again, Http};
use super::write::Step;

/// How many documents, and bytes of them, go together at most.
const MOST: usize = 2_000;
const MOST_BYTES: usize = 4 << 20;
/// How long one waits for those before it; a server that is as slow as this is not faster for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of one; or that it must go by itself, and why it may have been done already.
type End = Result<Vec<Row>, Option<Failure>>;

#[derive(Debug)]
struct Waiting {
    steps: Arc<[Step]>,
    end: oneshot::Sender<End>,
}

/// The way into one collection.
#[derive(Debug, Default)]
struct Lane {
    /// The last number given, as far as is known: another process may have given more.
    turn: tokio::sync::Mutex<u64>,
    waiting: Mutex<VecDeque<Waiting>>,
}

#[derive(Debug)]
pub(super) struct Sends {
    lanes: BTreeMap<Collection, Lane>,
}

impl Default for Sends {
    fn default() -> Self {
        let numbered = Collection::iter().filter(|collection| collection.is_sequenced());
        Self { lanes: numbered.map(|collection| (collection, Lane::default())).collect() }
    }
}

impl Sends {
    /// Does all steps or none; what became of each, in order.
    pub(super) async fn commit(
        &self,
        http: &Http,
        steps: Arc<[Step]>,
        durability: Durability,
    ) -> Result<Vec<Row>, StoreError> {
        let pause = http.pause();
        let mut unknown = None;
        if let Some(lane) = self.lane(&steps) {
            match lane.go(http, &steps).await {
                Ok(rows) => return Ok(rows),
                Err(why) => unknown = why,
            }
        }
        commit::commit(http, &steps, durability, pause, unknown).await
    }

    fn lane(&self, steps: &[Step]) -> Option<&Lane> {
        let first = steps.first()?.collection;
        let alike = |step: &Step| step.kind == Kind::Insert && step.collection == first;
        self.lanes.get(&first).filter(|_| steps.iter().all(alike))
    }
}

impl Lane {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn go(&self, http: &Http, steps: &Arc<[Step]>) -> End {
        let (end, mut ended) = oneshot::channel();
        self.waiting().push_back(Waiting { steps: steps.clone(), end });
        let mut last = tokio::select! {
            biased;
            end = &mut ended => return end.unwrap_or_else(|_| given_up()),
            last = self.turn.lock() => last,
            () = tokio::time::sleep(PATIENCE) => {
                // who still waits is taken out in the same look: who was taken along is under way
                if self.withdraw(steps) {
                    return Err(None);
                }
                return ended.await.unwrap_or_else(|_| given_up()); // it is under way
            }
        };
        // whoever has the turn takes along those who wait
        loop {
            match ended.try_recv() {
                Ok(end) => return end,
                Err(oneshot::error::TryRecvError::Closed) => return given_up(),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let load = self.load();
            match together(http, &load, &mut last).await {
                Ok(rows) => {
                    for (one, rows) in load.into_iter().zip(rows) {
                        drop(one.end.send(Ok(rows)));
                    }
                }
                Err(why) => {
                    for one in load {
                        drop(one.end.send(Err(why.clone())));
                    }
                }
            }
        }
    }

    /// Takes these steps out again; false if somebody has taken them along.
    fn withdraw(&self, steps: &Arc<[Step]>) -> bool {
        let mut waiting = self.waiting();
        let at = waiting.iter().position(|one| Arc::ptr_eq(&one.steps, steps));
        at.and_then(|at| waiting.remove(at)).is_some()
    }

    /// The first of those who wait, as many as go together.
    fn load(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let (mut count, mut bytes) = (0, 0);
        let fitting = waiting.iter().take_while(|one| {
            let first = count == 0;
            count += one.steps.len();
            bytes += one.steps.iter().map(|step| step.bytes).sum::<usize>();
            first || (count <= MOST && bytes <= MOST_BYTES)
        });
        let fitting = fitting.count();
        waiting.drain(..fitting).collect()
    }
}

/// The task that had taken it along is gone.
fn given_up() -> End {
    Err(Some(Failure::Silent("it was given up on its way to the server".to_owned())))
}

/// Writes all of them or none, after the number `last`, which is put right; the rows of each.
async fn together(
    http: &Http,
    load: &[Waiting],
    last: &mut u64,
) -> Result<Vec<Vec<Row>>, Option<Failure>> {
    let steps: Vec<&Step> = load.iter().flat_map(|one| one.steps.iter()).collect();
    let Some(first) = steps.first() else { return Ok(Vec::new()) };
    let asked = Numbered { collection: first.collection, last: *last, steps: &steps };
    let answer: Result<Vec<(u64, Vec<String>)>, Failure> =
        desk::ask(http, &asked.statement(), None, Again::Unbegun).await;
    let answer = answer.and_then(|rows| match rows.into_iter().next() {
        Some((before, revs)) if revs.len() == steps.len() => Ok((before, revs)),
        _ => Err(Failure::Strange("ArangoDB left out documents of a statement".to_owned())),
    });
    let (before, revs) = answer.map_err(commit::maybe_done)?;
    *last = before + steps.len() as u64;
    let mut revs = revs.into_iter();
    let topic = first.collection.topic_field();
    let row = |(step, rev): (&Step, String)| {
        let topic = topic.and_then(|field| step.value.get(field)).cloned();
        (step.key.to_string(), Some(rev), topic)
    };
    Ok(load.iter().map(|one| one.steps.iter().zip(revs.by_ref()).map(row).collect()).collect())
}
