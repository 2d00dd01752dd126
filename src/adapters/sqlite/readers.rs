//! A few threads with a connection each, which answer questions from one bounded queue.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::ports::store::StoreError;

use super::fault::{closed, unavailable};
use super::read::Lane;

/// How many questions may wait; who asks more waits for a place.
const QUEUE: usize = 512;

type Question = Box<dyn FnOnce(&Lane) + Send>;

#[derive(Default)]
struct Waiting {
    questions: VecDeque<Question>,
    closed: bool,
}

/// The readers' queue.
#[derive(Clone)]
pub(super) struct Readers {
    waiting: Arc<(Mutex<Waiting>, Condvar)>,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    /// Starts a thread for each lane.
    pub(super) fn start(
        lanes: Vec<Lane>,
    ) -> Result<(Self, Vec<oneshot::Receiver<()>>), StoreError> {
        let waiting = Arc::<(Mutex<Waiting>, Condvar)>::default();
        let mut ends = Vec::new();
        for (place, lane) in lanes.into_iter().enumerate() {
            let (ended, end) = oneshot::channel();
            ends.push(end);
            let waiting = waiting.clone();
            std::thread::Builder::new()
                .name(format!("store-reader-{place}"))
                .spawn(move || {
                    work(&lane, &waiting);
                    drop(lane);
                    drop(ended); // which is what tells the closer
                })
                .map_err(|error| unavailable(format!("no thread for a store reader: {error}")))?;
        }
        Ok((Self { waiting, places: Arc::new(Semaphore::new(QUEUE)) }, ends))
    }

    /// Asks on one of the threads.
    pub(super) async fn ask<T, F>(&self, question: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Lane) -> Result<T, StoreError> + Send + 'static,
    {
        let place = self.places.clone().acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |lane| {
            if !answer.is_closed() {
                drop(answer.send(question(lane)));
            }
            drop(place);
        });
        {
            let mut waiting = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.closed {
                return Err(closed());
            }
            waiting.questions.push_back(question);
        }
        self.waiting.1.notify_one();
        answered.await.unwrap_or_else(|_| Err(unavailable("a store reader ended early")))
    }

    /// Takes no more questions; the threads end after those that wait.
    pub(super) fn stop(&self) {
        self.places.close();
        self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.waiting.1.notify_all();
    }
}

fn work(lane: &Lane, waiting: &(Mutex<Waiting>, Condvar)) {
    loop {
        let guard = waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |waiting: &mut Waiting| waiting.questions.is_empty() && !waiting.closed;
        let mut guard = waiting.1.wait_while(guard, idle).unwrap_or_else(PoisonError::into_inner);
        let Some(question) = guard.questions.pop_front() else { return };
        drop(guard);
        question(lane);
    }
}
