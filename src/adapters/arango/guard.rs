//! Whether the schema is still there while the store is used. A collection that lost a unique index takes no more
//! documents, since two could then have what only one may have; nothing that is missing is made again on the way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strum::IntoEnumIterator;
use tokio_util::sync::CancellationToken;

use crate::model::schema::Collection;
use crate::ports::store::StoreError;

use super::aql::Kind;
use super::http::Http;
use super::schema;
use super::write::Step;

/// How often it is looked: by consoles and daemons, and by agents, of whom there are many.
const OFTEN: Duration = Duration::from_secs(5);
const SELDOM: Duration = Duration::from_secs(15);

/// What was found to be missing, in words, by collection.
#[derive(Debug, Default)]
pub(super) struct Guard {
    broken: Mutex<BTreeMap<Collection, String>>,
}

impl Guard {
    fn broken(&self) -> MutexGuard<'_, BTreeMap<Collection, String>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// `Denied` when a step would write into a collection that cannot keep its promises.
    pub(super) fn check(&self, steps: &[Step]) -> Result<(), StoreError> {
        let broken = self.broken();
        if broken.is_empty() {
            return Ok(());
        }
        let writes = |step: &&Step| !matches!(step.kind, Kind::Check | Kind::Remove);
        let mut found = steps.iter().filter(writes).filter_map(|step| broken.get(&step.collection));
        match found.next() {
            Some(why) => Err(StoreError::Denied { message: why.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.broken().values().cloned().collect()
    }

    /// Looks now and then until `stop`.
    pub(super) async fn watch(self: Arc<Self>, http: Http, stop: CancellationToken) {
        let pause = if http.options().one_of_many { SELDOM } else { OFTEN };
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            // what cannot be looked at stays as it was seen last
            stop.run_until_cancelled(self.look(&http)).await;
        }
    }

    /// # Errors
    /// Those of reading; what was known stays.
    pub(super) async fn look(&self, http: &Http) -> Result<(), StoreError> {
        let agent = http.options().one_of_many;
        // agents write what they send and publish, and nothing else that is unique
        let theirs = |collection: &Collection| !agent || collection.is_sequenced();
        let watched: Vec<Collection> = Collection::iter()
            .filter(|it| it.indexes().iter().any(|index| index.unique))
            .filter(theirs)
            .collect();
        let found = schema::broken(http, &watched).await?;
        let mut broken = self.broken();
        for (collection, why) in &found {
            if !broken.contains_key(collection) {
                tracing::error!(%collection, why, "the store's schema is damaged");
            }
        }
        *broken = found;
        Ok(())
    }
}
