//! The lock under which the schema is made: a document that one process holds and keeps fresh. One that is not kept fresh
//! belongs to a process that died; it is taken over by whoever saw it unchanged for its life.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::ports::store::StoreError;

use super::aql::{self, META};
use super::desk;
use super::fault::{Failure, number, unavailable};
use super::http::{Again, Ask, Http};

const KEY: &str = "schema-lock";
/// How long is waited for who makes the schema.
const LONGEST: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Lock {
    http: Http,
    token: String,
    life: Duration,
}

impl Lock {
    /// Waits until it is ours. The collection must be there.
    ///
    /// # Errors
    /// Those of the store; `Unavailable` when its holder goes on and on.
    pub(super) async fn take(http: &Http) -> Result<Self, StoreError> {
        let life = http.options().patience * 2;
        let lock = Self {
            http: http.clone(),
            token: format!("{:032x}", rand::random::<u128>()),
            life: life.max(Duration::from_secs(2)),
        };
        let begin = http.clock().instant();
        let mut seen: Option<(Value, Instant)> = None;
        loop {
            let found = lock.place().await.map_err(Failure::nothing_written)?;
            let text = |name: &str| found.get(name).and_then(Value::as_str);
            if text("token") == Some(&lock.token) {
                return Ok(lock);
            }
            let now = http.clock().instant();
            let since = match &seen {
                Some((last, since)) if last.get("_rev") == found.get("_rev") => *since,
                _ => now,
            };
            let life = found.get("life_ms").and_then(Value::as_u64).map(Duration::from_millis);
            if now.duration_since(since) >= life.unwrap_or(lock.life) {
                let rev = text("_rev").unwrap_or_default();
                let aql = aql::take_over(KEY, rev, lock.body());
                let _: Vec<Value> = desk::run(http, &aql, None, Again::Harmless)
                    .await
                    .map_err(Failure::nothing_written)?;
            } else if now.duration_since(begin) >= LONGEST {
                return Err(unavailable("another process has been making the schema for minutes"));
            }
            seen = Some((found, since));
            tokio::time::sleep(LOOK).await;
        }
    }

    fn body(&self) -> Value {
        let life = u64::try_from(self.life.as_millis()).unwrap_or(u64::MAX);
        json!({"_key": KEY, "token": self.token, "life_ms": life, "beat": 0})
    }

    /// Puts the lock there unless one is, and gives the one that is there.
    async fn place(&self) -> Result<Value, Failure> {
        let path = format!("/_api/document/{META}?returnNew=true");
        let ask = Ask::new(Method::POST, path, Again::Harmless).with(&self.body());
        match self.http.send(&ask).await {
            Ok(answer) => {
                let made: Value = answer.json()?;
                Ok(made.get("new").cloned().unwrap_or_default())
            }
            Err(failure) if failure.is(number::UNIQUE) || failure.is_conflict() => {
                match self.http.send(&Ask::get(format!("/_api/document/{META}/{KEY}"))).await {
                    Ok(answer) => answer.json(),
                    // released this very moment
                    Err(failure) if failure.is(number::DOCUMENT_NOT_FOUND) => Ok(Value::Null),
                    Err(failure) => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Does `work` while the lock is kept fresh, and lets go of it.
    ///
    /// # Errors
    /// Those of `work`.
    pub(super) async fn held<T>(
        self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let done = tokio::select! {
            done = work => done,
            never = self.keep_fresh() => match never {},
        };
        let gone: Result<Vec<Value>, Failure> =
            desk::run(&self.http, &aql::let_go(KEY, &self.token), None, Again::Harmless).await;
        if let Err(failure) = gone {
            tracing::warn!(%failure, "the lock of the schema was not released: it ends by itself");
        }
        done
    }

    async fn keep_fresh(&self) -> Infallible {
        loop {
            tokio::time::sleep(self.life / 4).await;
            let aql = aql::beat(KEY, &self.token);
            let beat: Result<Vec<Value>, Failure> =
                desk::run(&self.http, &aql, None, Again::Harmless).await;
            drop(beat); // the next one may get through
        }
    }
}
