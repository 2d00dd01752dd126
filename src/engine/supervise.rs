//! Named tasks with an owner: each failure is seen, shown on the board and answered by a restart or by stopping the process.
//! The one place that may call `tokio::spawn`.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::ports::store::{BoxError, chain};

pub type Name = &'static str;

/// How a task is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Running,
    /// It failed and will run again after a pause.
    Waiting {
        fault: String,
    },
    Stopped,
    /// It failed for good.
    Dead {
        fault: String,
    },
}

/// Every task's health, by name.
pub type Board = BTreeMap<Name, Health>;

/// What a task's end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its death stops everything.
    Vital,
    /// Started again, after `pause` at first, twice as long each time up to a minute; reset by a minute of health.
    Helper { pause: Duration },
}

const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Owns tasks; stops them in one go. Dropping it aborts what still runs.
#[derive(Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    board: watch::Sender<Board>,
    names: Vec<Name>,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Tasks end when `stop` fires; a dead vital task fires it.
    pub fn new(stop: CancellationToken) -> Self {
        Self::on(watch::Sender::new(Board::new()), stop)
    }

    /// The same, showing its tasks on a board that it shares with other supervisors.
    pub fn on(board: watch::Sender<Board>, stop: CancellationToken) -> Self {
        Self { stop, board, names: Vec::new(), tasks: JoinSet::new() }
    }

    pub fn board(&self) -> watch::Receiver<Board> {
        self.board.subscribe()
    }

    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs what `make` builds, in a task of its own, again and again as `role` says. Ending with `Ok` before `stop` is a fault.
    pub fn spawn<M, F>(&mut self, name: Name, role: Role, make: M)
    where
        M: Fn(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let (stop, board) = (self.stop.clone(), self.board.clone());
        self.names.push(name);
        self.tasks.spawn(async move { keep(name, role, make, stop, board).await });
    }

    /// Fires `stop`, waits up to `grace` for every task, aborts the rest and returns their names.
    pub async fn stop(mut self, grace: Duration) -> Vec<Name> {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_ok() {
            return Vec::new();
        }
        let over = |health: &Health| matches!(health, Health::Stopped | Health::Dead { .. });
        let deaf: Vec<Name> = self
            .board
            .borrow()
            .iter()
            .filter(|(name, health)| self.names.contains(name) && !over(health))
            .map(|(name, _)| *name)
            .collect();
        tracing::warn!(tasks = ?deaf, "tasks did not stop in time and were aborted");
        self.tasks.shutdown().await;
        deaf
    }
}

async fn keep<M, F>(
    name: Name,
    role: Role,
    make: M,
    stop: CancellationToken,
    board: watch::Sender<Board>,
) where
    M: Fn(CancellationToken) -> F + Send + 'static,
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let show = move |health| {
        board.send_modify(|board| {
            board.insert(name, health);
        });
    };
    let mut pause = Duration::ZERO;
    loop {
        show(Health::Running);
        let began = Instant::now();
        #[expect(clippy::disallowed_methods, reason = "this is the supervisor")]
        let run = AbortOnDropHandle::new(tokio::spawn(make(stop.child_token()))).await;
        let fault = match run {
            Ok(_) | Err(_) if stop.is_cancelled() => return show(Health::Stopped),
            Ok(Ok(())) => "ended early".to_owned(),
            Ok(Err(error)) => chain(&*error),
            Err(join) => format!("panicked: {join}"),
        };
        tracing::error!(task = name, fault, "task ended");
        let Role::Helper { pause: first } = role else {
            show(Health::Dead { fault });
            return stop.cancel();
        };
        show(Health::Waiting { fault });
        let long = began.elapsed() >= HEALTHY_AFTER || pause.is_zero();
        pause = if long { first } else { (pause * 2).min(LONGEST_PAUSE) };
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return show(Health::Stopped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_panicking_helper_comes_back() {
        let mut tasks = Supervisor::new(CancellationToken::new());
        let runs = Arc::new(AtomicU32::new(0));
        let seen = runs.clone();
        tasks.spawn("shaky", Role::Helper { pause: Duration::from_millis(10) }, move |stop| {
            let run = seen.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(run > 1, "the first two runs panic");
                stop.cancelled().await;
                Ok(())
            }
        });
        let mut board = tasks.board();
        let back = board.wait_for(|board| {
            board.get("shaky") == Some(&Health::Running) && runs.load(Ordering::SeqCst) == 3
        });
        assert!(tokio::time::timeout(Duration::from_secs(5), back).await.is_ok());
        assert!(tasks.stop(Duration::from_secs(1)).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_vital_task_stops_everything() {
        let stop = CancellationToken::new();
        let mut tasks = Supervisor::new(stop.clone());
        tasks.spawn("heart", Role::Vital, |_| async { Err("gave out".into()) });
        tokio::time::timeout(Duration::from_secs(5), stop.cancelled()).await.unwrap();
        assert_eq!(
            tasks.board().borrow().get("heart"),
            Some(&Health::Dead { fault: "gave out".into() })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn deaf_tasks_are_named_at_the_deadline() {
        let mut tasks = Supervisor::new(CancellationToken::new());
        tasks.spawn("deaf", Role::Vital, |_| std::future::pending());
        tokio::task::yield_now().await;
        let mut board = tasks.board();
        board.wait_for(|board| board.contains_key("deaf")).await.unwrap();
        assert_eq!(tasks.stop(Duration::from_secs(1)).await, ["deaf"]);
    }
}
