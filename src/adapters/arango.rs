//! The shared store: an ArangoDB database that every process of the fleet, on whatever machine, and agents in other
//! languages meet in. It never decides anything: it keeps the promises of `ports::store` and nothing more.
//!
//! `http` speaks to the servers, `aql` holds every statement, `commit` does the writes, `feed` follows the changes.

mod aql;
mod commit;
mod desk;
mod fault;
mod feed;
mod guard;
mod http;
mod lock;
mod log;
mod login;
mod notes;
mod odd;
pub mod options;
mod poll;
mod read;
mod reader;
mod schema;
mod sends;
mod tail;
mod tls;
mod tree;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use strum::IntoEnumIterator;
use tokio_util::task::TaskTracker;

use crate::model::filter::{Field, Filter};
use crate::model::schema::{Collection, IndexKind};
use crate::model::time::Time;
use crate::ports::clock::Clock;
use crate::ports::store::{
    Cursor, Document, Durability, Feed, Hop, Key, Page, Query, RawDocument, Rev, Store, StoreError,
    StoreInfo, Tally, Traversal, UpdateWhere, Watch, Write,
};

use self::commit::{Row, key_of};
use self::fault::{Failure, closed};
use self::feed::{Hub, Own, Source};
use self::guard::Guard;
use self::http::{Ask, Http};
use self::notes::Notes;
use self::options::ArangoOptions;
pub use self::schema::{Part, Standing};
use self::sends::Sends;

/// How many expired documents one statement removes, and how many such statements one call makes for a collection.
const SWEEP: usize = 1_000;
const SWEEPS: usize = 120;

/// A store in a database. Cheap to share; its tasks end with [`Store::close`] or with the last owner.
#[derive(Debug)]
pub struct ArangoStore {
    desk: Arc<Desk>,
    tasks: TaskTracker,
}

/// What the tasks share.
#[derive(Debug)]
struct Desk {
    http: Http,
    hub: Arc<Hub>,
    guard: Arc<Guard>,
    sends: Sends,
    version: String,
    role: String,
}

impl ArangoStore {
    /// Connects, and makes or completes what is not there.
    ///
    /// # Errors
    /// - `Unavailable`: no server answers; later may work.
    /// - `Denied`: user, password or rights.
    /// - `Corrupt`: the database is of a newer program, or cannot keep what is promised.
    /// - `Invalid`: certificates that cannot be read.
    pub async fn open(
        options: ArangoOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, StoreError> {
        let http = Http::new(&options, &clock)?;
        let role = schema::database(&http).await?.unwrap_or_else(|| "unknown".to_owned());
        let about = async { version(&http).await.map_err(Failure::nothing_written) };
        let ((), version) = tokio::try_join!(schema::complete(&http), about)?;
        let guard = Arc::<Guard>::default();
        // the schema's document names the server to the feed
        let named = async { Hub::open(&http).await.map_err(Failure::nothing_written) };
        // what is damaged is known before the first write
        let (hub, ()) = tokio::try_join!(named, guard.look(&http))?;
        http.note(Notes::settled);
        let tasks = TaskTracker::new();
        tasks.spawn(hub.clone().follow());
        tasks.spawn(guard.clone().watch(http.clone(), hub.stop.clone()));
        let desk = Arc::new(Desk { http, hub, guard, sends: Sends::default(), version, role });
        Ok(Arc::new(Self { desk, tasks }))
    }

    /// What of the schema is there, missing, different.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn inspect(
        options: &ArangoOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<Part>, StoreError> {
        schema::inspect(&Http::new(options, clock)?).await
    }

    fn http(&self) -> Result<&Http, StoreError> {
        if self.desk.hub.stop.is_cancelled() { Err(closed()) } else { Ok(&self.desk.http) }
    }

    /// Runs a write to its end, whether or not the caller waits for it.
    async fn write<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.tasks.spawn(work).await {
            Ok(end) => end,
            Err(error) => Err(StoreError::OutcomeUnknown(error.into())),
        }
    }
}

impl Drop for ArangoStore {
    fn drop(&mut self) {
        self.desk.hub.stop.cancel();
    }
}

async fn version(http: &Http) -> Result<String, Failure> {
    let answer: Value = http.send(&Ask::get("/_api/version")).await?.json()?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    match (text("server"), text("version")) {
        (Some("arango"), Some(version)) => Ok(crate::model::text::Safe::new(version).to_string()),
        _ => Err(Failure::Strange("what answers there is no ArangoDB".to_owned())),
    }
}

impl Desk {
    async fn transact(
        &self,
        steps: Vec<write::Step>,
        durability: Durability,
    ) -> Result<Vec<Option<Rev>>, StoreError> {
        self.guard.check(&steps)?;
        let since = self.hub.since();
        let steps: Arc<[write::Step]> = steps.into();
        let rows = self.sends.commit(&self.http, steps.clone(), durability).await?;
        let written = steps.iter().zip(&rows).filter(|(step, _)| step.kind != aql::Kind::Check);
        self.hub
            .own(since, written.map(|(step, row)| told(step.collection, &step.key, row)).collect());
        Ok(commit::revisions(&rows))
    }

    async fn update_where(&self, update: UpdateWhere) -> Result<Vec<Document>, StoreError> {
        let since = self.hub.since();
        let sync = update.durability == Durability::Durable;
        let statement = aql::update(&update, sync);
        let rows: Vec<Map<String, Value>> = match commit::statement(&self.http, &statement).await {
            Ok(rows) => rows,
            Err(failure) => {
                let Some(what) = failure.taken() else { return Err(failure.of_write()) };
                let key = Key::new("unknown")?;
                return Err(StoreError::Exists { collection: update.collection, key, what });
            }
        };
        let documents = desk::documents(update.collection, rows)?;
        let topic = update.collection.topic_field();
        let told = |document: &Document| {
            let topic = topic.and_then(|field| document.body.get(field)).and_then(Value::as_str);
            let put = (document.rev.clone(), topic.map(str::to_owned));
            (update.collection, document.key.clone(), Some(put))
        };
        self.hub.own(since, documents.iter().map(told).collect());
        Ok(documents)
    }

    async fn maintain(&self, now: Time) -> Result<(), StoreError> {
        for collection in Collection::iter() {
            for index in collection.indexes().iter().filter(|i| i.kind == IndexKind::Expiry) {
                let Some(field) = index.fields.first() else { continue };
                let statement = aql::expire(collection, field, &now.to_string(), SWEEP);
                for _ in 0..SWEEPS {
                    let since = self.hub.since();
                    let gone: Vec<String> = commit::statement(&self.http, &statement)
                        .await
                        .map_err(Failure::of_write)?;
                    let keys = gone.iter().filter_map(|key| Key::new(key).ok());
                    self.hub.own(since, keys.map(|key| (collection, key, None)).collect());
                    if gone.len() < SWEEP {
                        break;
                    }
                }
            }
        }
        self.hub.forget(now).await
    }
}

/// A row as the feed is told of it.
fn told(collection: Collection, key: &Key, row: &Row) -> Own {
    let (_, rev, topic) = row;
    let topic = topic.as_ref().and_then(Value::as_str).map(str::to_owned);
    let put = rev.as_deref().map(|rev| (Rev(rev.into()), topic));
    (collection, key_of(row).unwrap_or_else(|| key.clone()), put)
}

#[async_trait]
impl Store for ArangoStore {
    async fn get(&self, collection: Collection, key: &Key) -> Result<Document, StoreError> {
        desk::get(self.http()?, collection, key).await
    }

    async fn get_many(
        &self,
        collection: Collection,
        keys: &[Key],
    ) -> Result<Vec<Document>, StoreError> {
        read::get_many(self.http()?, collection, keys).await
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        read::query(self.http()?, query).await
    }

    async fn count(&self, collection: Collection, filter: Filter) -> Result<u64, StoreError> {
        read::count(self.http()?, collection, filter).await
    }

    async fn tally(
        &self,
        collection: Collection,
        filter: Filter,
        by: &[Field],
        least: Option<&Field>,
    ) -> Result<Vec<Tally>, StoreError> {
        read::tally(self.http()?, collection, filter, by, least).await
    }

    async fn revisions(
        &self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Rev)>, StoreError> {
        read::revisions(self.http()?, collection, after, limit).await
    }

    async fn scan(
        &self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<RawDocument>, StoreError> {
        read::scan(self.http()?, collection, after, limit).await
    }

    async fn transact(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<Vec<Option<Rev>>, StoreError> {
        self.http()?;
        let steps = write::steps(writes)?;
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let desk = self.desk.clone();
        self.write(async move { desk.transact(steps, durability).await }).await
    }

    async fn update_where(&self, update: UpdateWhere) -> Result<Vec<Document>, StoreError> {
        self.http()?;
        write::check_update(&update)?;
        let desk = self.desk.clone();
        self.write(async move { desk.update_where(update).await }).await
    }

    async fn traverse(&self, traversal: Traversal) -> Result<Vec<Hop>, StoreError> {
        read::traverse(self.http()?, &traversal).await
    }

    async fn cursor(&self) -> Result<Cursor, StoreError> {
        self.http()?;
        self.desk.hub.cursor().await
    }

    async fn changes(&self, since: Cursor, watch: Watch) -> Result<Feed, StoreError> {
        self.http()?;
        self.desk.hub.changes(since, watch).await
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let http = self.http()?;
        let start = http.clock().instant();
        version(http).await.map_err(Failure::nothing_written)?;
        let latency = http.clock().instant().saturating_duration_since(start);
        let notes = http.notes();
        let feed = match &self.desk.hub.source {
            Source::Tail => "write-ahead log".to_owned(),
            Source::Poll(why) => format!("compared every second: {why}"),
        };
        let mut details = vec![
            ("role".to_owned(), self.desk.role.to_lowercase()),
            ("feed".to_owned(), feed),
            ("schema_version".to_owned(), schema::VERSION.to_string()),
            ("repeated_requests".to_owned(), notes.repeated.to_string()),
        ];
        if http.options().exposed {
            let text = "not encrypted: others on the way can read everything, the password too";
            details.push(("danger".to_owned(), text.to_owned()));
        }
        if http.options().tls.skip_verify {
            let text = "the server's certificate is not checked: anybody can pretend to be it";
            details.push(("danger".to_owned(), text.to_owned()));
        }
        let endpoint = notes.endpoint.and_then(|at| http.options().endpoints.get(at));
        details.extend(endpoint.map(|url| ("endpoint".to_owned(), url.to_string())));
        let broken = self.desk.guard.lines().into_iter();
        details.extend(broken.map(|line| ("broken".to_owned(), line)));
        let faults = notes.lines(http.clock().instant()).into_iter();
        details.extend(faults.map(|line| ("fault".to_owned(), line)));
        let feed = self.desk.hub.trouble().map(|error| format!("no changes are heard of: {error}"));
        details.extend(feed.map(|line| ("fault".to_owned(), line)));
        Ok(StoreInfo {
            kind: "arangodb",
            version: self.desk.version.clone(),
            place: http.options().place(),
            latency,
            details,
        })
    }

    async fn maintain(&self, now: Time) -> Result<(), StoreError> {
        self.http()?;
        let desk = self.desk.clone();
        self.write(async move { desk.maintain(now).await }).await
    }

    async fn close(&self) {
        self.desk.hub.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
