//! A transaction that was begun, and whose id was lost with the answer, holds its locks until the server ends it, a minute
//! later. So after a lost answer, transactions that stay idle for longer than any of ours lives are ended here. Whoever
//! was at work in one all the same is told so by the server, and begins again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::Method;
use serde::Deserialize;

use super::super::http::{Again, Ask, Http, segment};

/// Ours are over in a few milliseconds.
const LONG: Duration = Duration::from_secs(3);

/// Transactions met since an answer was lost, and when each was met first.
#[derive(Debug, Default)]
pub(super) struct Lost {
    met: Option<HashMap<String, Instant>>,
}

#[derive(Deserialize)]
struct Listed {
    transactions: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    id: String,
    state: String,
}

impl Lost {
    /// The answer to a begin was lost.
    pub(super) async fn begin(&mut self, http: &Http) {
        self.met.get_or_insert_default();
        self.end(http).await;
    }

    /// How long to wait for locks: not long where one that nobody knows may hold them.
    pub(super) fn bound(&self, patience: Duration) -> Duration {
        if self.met.is_some() { patience.min(LONG) } else { patience }
    }

    /// Ends what has been there for too long; nothing where no answer was lost.
    pub(super) async fn end(&mut self, http: &Http) {
        let Some(met) = &mut self.met else { return };
        let Ok(answer) = http.send(&Ask::get("/_api/transaction")).await else { return };
        let Ok(listed) = answer.json::<Listed>() else { return };
        let now = http.clock().instant();
        let running = listed.transactions.into_iter().filter(|one| one.state == "running");
        let running: Vec<String> = running.map(|one| one.id).collect();
        met.retain(|id, _| running.contains(id));
        for id in running {
            let since = *met.entry(id.clone()).or_insert(now);
            if now.duration_since(since) >= LONG {
                tracing::warn!(id, "a transaction that nobody knows is ended");
                let path = format!("/_api/transaction/{}", segment(&id));
                drop(http.send(&Ask::new(Method::DELETE, path, Again::Harmless)).await);
            }
        }
    }
}
