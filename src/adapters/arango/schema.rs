//! The database with its collections, indexes and graph, made by whoever comes first and completed by whoever finds
//! something missing. Every step may be done twice; the version says whose hands the data has been through.

use std::collections::BTreeMap;

use arangors::connection::GenericConnection;
use arangors::graph::{EdgeDefinition, Graph};
use arangors::index::{Index as ArangoIndex, IndexSettings};
use arangors::{ClientError, Database};
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;
use serde_json::{Value, json};
use strum::IntoEnumIterator;

use crate::model::schema::{Collection, Index, IndexKind};
use crate::ports::store::StoreError;

use super::aql::{META, counter};
use super::fault::{Failure, number, unavailable};
use super::http::{Again, Ask, Http, segment, through};
use super::lock::Lock;
use super::options::Makes;

/// The version of what is made here.
pub(super) const VERSION: u64 = 1;
/// Where the version stands.
pub(super) const VERSION_KEY: &str = "schema";
/// The named graph over the edges.
const GRAPH: &str = "fleet";
/// How many things are made at a time.
const AT_ONCE: usize = 6;
/// How many are looked at at a time: on a slow link the start is as many round trips as this makes of it.
const LOOKS: usize = 16;

/// Something that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `agents`, `agents(type, phase)`, `graph fleet`.
    pub name: String,
    pub standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    There,
    Missing,
    /// It is there, and not as it should be.
    Differs(String),
}

/// Brings the database, which is there, to what this program needs.
///
/// # Errors
/// `Corrupt` for a schema of a newer program; `Denied` without the rights to make what is missing.
pub(super) async fn complete(http: &Http) -> Result<(), StoreError> {
    let makes = http.options().makes;
    let (found, whole) = match makes {
        // what another process works with is never made anew, empty, by one that only passes by
        Makes::Nothing | Makes::NewFleets => {
            let found = version(http).await?;
            (found, found.is_some())
        }
        Makes::WhatIsMissing => {
            let (found, missing) = tokio::join!(version(http), missing(http));
            let found = found?;
            (found, found.is_some() && missing?.is_empty())
        }
    };
    if found.is_some_and(|found| found > VERSION) {
        return Err(StoreError::Corrupt {
            message: format!(
                "{} has the schema {} of a newer program (this one knows {VERSION}); it was left as it is",
                http.options().place(),
                found.unwrap_or_default()
            ),
        });
    }
    if whole {
        return Ok(());
    }
    if makes == Makes::Nothing {
        return Err(unavailable(format!(
            "{} holds no fleet, and reading only makes none",
            http.options().place()
        )));
    }
    // two that start at once: one makes, the other waits and finds it made
    let made = async {
        Make::Collection(META, false).go(http).await?;
        Lock::take(http).await?.held(make(http)).await
    };
    match made.await {
        // a user who may not see all of a fleet sees the rest of it; what needs that part says so
        Err(StoreError::Denied { message }) if found.is_some() => {
            tracing::warn!(
                message,
                "the user may not complete the schema; going on with what is there"
            );
            Ok(())
        }
        other => other,
    }
}

async fn missing(http: &Http) -> Result<Vec<(Part, Make)>, StoreError> {
    let mut parts = look(http).await?;
    parts.retain(|(part, _)| part.standing == Standing::Missing);
    Ok(parts)
}

async fn make(http: &Http) -> Result<(), StoreError> {
    let missing = missing(http).await?;
    let again = version(http).await?.is_some();
    for (part, _) in missing.iter().filter(|_| again) {
        tracing::warn!(
            part = part.name,
            "was missing in a store that had it, and is made again, empty"
        );
    }
    // collections first: indexes and the graph stand on them
    for stage in [0, 1, 2] {
        let due = missing.iter().map(|(_, make)| make).filter(|make| make.stage() == stage);
        stream::iter(due.map(Ok))
            .try_for_each_concurrent(AT_ONCE, |make: &Make| async move { make.go(http).await })
            .await?;
    }
    documents(http).await
}

/// Which of `watched` cannot keep what is promised: collections or unique indexes that are gone.
///
/// # Errors
/// Those of reading.
pub(super) async fn broken(
    http: &Http,
    watched: &[Collection],
) -> Result<BTreeMap<Collection, String>, StoreError> {
    let place = &http.options().place();
    let looks = watched.iter().copied().map(|collection| async move {
        let why = match indexes(http, collection, true).await {
            Ok(parts) => {
                let unique = |make: &Make| matches!(make, Make::Index(_, index) if index.unique);
                parts.into_iter().filter(|(_, make)| unique(make)).find_map(|(part, _)| {
                    let (what, mend) = match part.standing {
                        Standing::There => return None,
                        Standing::Missing => ("is missing".to_owned(), ", start cvxc anew to have it made"),
                        Standing::Differs(how) => (format!("is not as it should be ({how})"), ""),
                    };
                    Some(format!(
                        "{place}: the unique index {} {what}: nothing is written to {collection} until it is there again; see cvxc doctor --schema{mend}",
                        part.name
                    ))
                })
            }
            // a user who may not see it is not let write to it by the server either
            Err(StoreError::Denied { .. }) => None,
            Err(StoreError::Corrupt { .. }) => Some(format!(
                "{place}: the collection {collection} is missing on the server: nothing is written to it; restore a backup, or start cvxc anew to have it made, empty"
            )),
            Err(error) => return Err(error),
        };
        Ok(why.map(|why| (collection, why)))
    });
    let looked: Vec<_> = stream::iter(looks).buffered(LOOKS).try_collect().await?;
    Ok(looked.into_iter().flatten().collect())
}

/// What is there, missing, different; for `doctor`.
///
/// # Errors
/// Those of reading.
pub(super) async fn inspect(http: &Http) -> Result<Vec<Part>, StoreError> {
    Ok(look(http).await?.into_iter().map(|(part, _)| part).collect())
}

/// Finds the database, or makes it. Returns the server's role: `SINGLE`, `COORDINATOR`; none when it does not say.
///
/// # Errors
/// `Corrupt` for a cluster's database that cannot keep our promises; `Denied` without the right to make one.
pub(super) async fn database(http: &Http) -> Result<Option<String>, StoreError> {
    let current = Ask::get("/_api/database/current");
    let (current, role) = tokio::join!(http.send(&current), role(http));
    let failure = match current {
        Ok(answer) => {
            let current = answer.json().map_err(Failure::nothing_written)?;
            promises(http, role.as_deref(), &current)?;
            return Ok(role);
        }
        Err(failure) => failure,
    };
    let missing = failure.is(number::DATABASE_NOT_FOUND);
    if !missing || http.options().makes == Makes::Nothing {
        return Err(failure.nothing_written());
    }
    // transactions and unique indexes keep their promises in a cluster only if all data lies on one server
    let body = json!({"name": http.options().database, "options": {"sharding": "single"}});
    let make = Ask::new(Method::POST, "/_api/database", Again::Unbegun).system().with(&body);
    match http.send(&make).await {
        Ok(_) => Ok(self::role(http).await),
        Err(failure) if failure.is(number::DUPLICATE_NAME) => Ok(self::role(http).await),
        Err(failure) => match failure.nothing_written() {
            StoreError::Denied { message } => Err(StoreError::Denied {
                message: format!(
                    "the database {} does not exist and this user may not make it ({message})",
                    http.options().database
                ),
            }),
            other => Err(other),
        },
    }
}

fn promises(http: &Http, role: Option<&str>, current: &Value) -> Result<(), StoreError> {
    let sharding = current.pointer("/result/sharding").and_then(Value::as_str);
    if role == Some("COORDINATOR") && sharding != Some("single") {
        return Err(StoreError::Corrupt {
            message: format!(
                "the database {} is spread over the servers of the cluster, where transactions are not all-or-nothing: make it with the option sharding: \"single\"",
                http.options().database
            ),
        });
    }
    Ok(())
}

async fn role(http: &Http) -> Option<String> {
    let answer = http.send(&Ask::get("/_admin/server/role")).await.ok()?;
    answer.json::<Value>().ok()?.get("role").and_then(Value::as_str).map(str::to_owned)
}

async fn version(http: &Http) -> Result<Option<u64>, StoreError> {
    let path = format!("/_api/document/{META}/{VERSION_KEY}");
    match http.send(&Ask::get(path)).await {
        Ok(answer) => {
            let document: Value = answer.json().map_err(Failure::nothing_written)?;
            let version = document.get("version").and_then(Value::as_u64);
            version.map(Some).ok_or_else(|| StoreError::Corrupt {
                message: "the store's schema version is no number".to_owned(),
            })
        }
        Err(failure)
            if failure.is(number::COLLECTION_NOT_FOUND)
                || failure.is(number::DOCUMENT_NOT_FOUND) =>
        {
            Ok(None)
        }
        Err(failure) => Err(failure.nothing_written()),
    }
}

/// How a part is made.
#[derive(Debug, Clone)]
enum Make {
    Collection(&'static str, bool),
    Index(Collection, &'static Index),
    Graph,
}

impl Make {
    fn stage(&self) -> u8 {
        match self {
            Self::Collection(..) => 0,
            Self::Index(..) => 1,
            Self::Graph => 2,
        }
    }

    async fn go(&self, http: &Http) -> Result<(), StoreError> {
        match self {
            Self::Collection(name, edges) => {
                let body = json!({"name": name, "type": if *edges { 3 } else { 2 }});
                let ask = Ask::new(Method::POST, "/_api/collection", Again::Harmless).with(&body);
                match http.send(&ask).await {
                    Ok(_) => Ok(()),
                    Err(failure) if failure.is(number::DUPLICATE_NAME) => Ok(()),
                    Err(failure) => Err(match failure.nothing_written() {
                        StoreError::Denied { message } => StoreError::Denied {
                            message: format!(
                                "the collection {name} is not there or hidden: {message}"
                            ),
                        },
                        other => other,
                    }),
                }
            }
            Self::Index(collection, index) => {
                let made = arangors(http, async |database| {
                    database.create_index(collection.name(), &wanted(index)).await.map(drop)
                });
                made.await
            }
            Self::Graph => match arangors(http, async |database| {
                database.create_graph(graph(), true).await.map(drop)
            })
            .await
            {
                Err(StoreError::Unavailable(error))
                    if error.to_string().contains(&number::GRAPH_DUPLICATE.to_string()) =>
                {
                    Ok(())
                }
                other => other,
            },
        }
    }
}

/// Runs `work` on the database as `arangors` has it.
async fn arangors<T>(
    http: &Http,
    work: impl AsyncFnOnce(Database<Http>) -> Result<T, ClientError>,
) -> Result<T, StoreError> {
    let base = http.options().endpoints.first().map(ToString::to_string).unwrap_or_default();
    let name = http.options().database.clone();
    let done = through(http.clone(), async {
        let connection = GenericConnection::<Http>::establish_without_auth(base).await?;
        work(connection.db(&name).await?).await
    });
    done.await.map_err(of_arangors)
}

fn of_arangors(error: ClientError) -> StoreError {
    match error {
        ClientError::Arango(error) if u64::from(error.error_num()) == number::UNIQUE => {
            StoreError::Corrupt {
                message: format!(
                    "a unique index cannot be made, since two documents hold what only one may: {}; change or remove one of them",
                    crate::model::text::Safe::new(error.message())
                ),
            }
        }
        ClientError::Arango(error) => Failure::Answered {
            status: error.code(),
            number: error.error_num().into(),
            message: crate::model::text::Safe::new(error.message()).to_string(),
        }
        .nothing_written(),
        ClientError::HttpClient(text) => Failure::Refused(text).nothing_written(),
        other => Failure::Strange(other.to_string()).nothing_written(),
    }
}

fn name(index: &Index) -> String {
    let kind = match index.kind {
        IndexKind::Sorted if index.unique => "unique",
        IndexKind::Sorted => "by",
        IndexKind::Elements => "elements",
        IndexKind::Expiry => "expiry",
        IndexKind::Geo => "geo",
    };
    format!("{kind}_{}", index.fields.join("_").replace('.', "_"))
}

fn wanted(index: &Index) -> ArangoIndex {
    let (unique, sparse) = (index.unique, index.sparse);
    let fields = index.fields.iter().map(|field| match index.kind {
        IndexKind::Elements => format!("{field}[*]"),
        IndexKind::Sorted | IndexKind::Expiry | IndexKind::Geo => (*field).to_owned(),
    });
    // ties are broken by the key, and so need no sorting
    let tied = index.kind == IndexKind::Sorted && !unique && !sparse;
    let fields = fields.chain(tied.then(|| "_key".to_owned()));
    let settings = match index.kind {
        IndexKind::Sorted => IndexSettings::Persistent { unique, sparse, deduplicate: false },
        IndexKind::Elements => IndexSettings::Persistent { unique, sparse, deduplicate: true },
        IndexKind::Expiry => IndexSettings::Ttl { expire_after: 0 },
        IndexKind::Geo => IndexSettings::Geo { geo_json: true },
    };
    ArangoIndex::builder().name(name(index)).fields(fields.collect()).settings(settings).build()
}

fn graph() -> Graph {
    let agents = || vec![Collection::Agents.name().to_owned()];
    let edge = |collection: Collection| EdgeDefinition {
        collection: collection.name().to_owned(),
        from: agents(),
        to: agents(),
    };
    let edges = Collection::iter().filter(|collection| collection.is_edge()).map(edge).collect();
    Graph::builder().name(GRAPH.to_owned()).edge_definitions(edges).build()
}

async fn look(http: &Http) -> Result<Vec<(Part, Make)>, StoreError> {
    let collections = Ask::get("/_api/collection?excludeSystem=true");
    let graph = Ask::get(format!("/_api/gharial/{}", segment(GRAPH)));
    let (listed, graph) = tokio::join!(http.send(&collections), http.send(&graph));
    let listed: Value =
        listed.and_then(|answer| answer.json()).map_err(Failure::nothing_written)?;
    let kind = |name: &str| {
        let all = listed.get("result").and_then(Value::as_array)?;
        let found = all.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(name))?;
        found.get("type").and_then(Value::as_u64)
    };
    let part = |name: &'static str, edges: bool| {
        let standing = match kind(name) {
            None => Standing::Missing,
            Some(kind) if (kind == 3) == edges => Standing::There,
            Some(_) if edges => Standing::Differs("it holds documents, not edges".to_owned()),
            Some(_) => Standing::Differs("it holds edges, not documents".to_owned()),
        };
        (Part { name: name.to_owned(), standing }, Make::Collection(name, edges))
    };
    let mut parts = vec![part(META, false)];
    let all: Vec<Collection> = Collection::iter().collect();
    parts.extend(all.iter().map(|collection| part(collection.name(), collection.is_edge())));
    let there = parts.iter().map(|(part, _)| part.standing != Standing::Missing).skip(1);
    let asked = all.iter().copied().zip(there.collect::<Vec<_>>());
    let indexes: Vec<Vec<(Part, Make)>> = stream::iter(asked)
        .map(|(collection, there)| indexes(http, collection, there))
        .buffered(LOOKS)
        .try_collect()
        .await?;
    parts.extend(indexes.into_iter().flatten());
    let graph = match graph {
        Ok(_) => Standing::There,
        Err(failure) if failure.status() == Some(404) => Standing::Missing,
        Err(failure) => return Err(failure.nothing_written()),
    };
    parts.push((Part { name: format!("graph {GRAPH}"), standing: graph }, Make::Graph));
    Ok(parts)
}

async fn indexes(
    http: &Http,
    collection: Collection,
    there: bool,
) -> Result<Vec<(Part, Make)>, StoreError> {
    let listed: Value = if there && !collection.indexes().is_empty() {
        let path = format!("/_api/index?collection={}", collection.name());
        let answer = http.send(&Ask::get(path)).await;
        answer.and_then(|answer| answer.json()).map_err(Failure::nothing_written)?
    } else {
        Value::Null
    };
    let found = listed.get("indexes").and_then(Value::as_array);
    let found = found.map(Vec::as_slice).unwrap_or_default();
    let part = |index: &'static Index| {
        let wanted = serde_json::to_value(wanted(index)).unwrap_or_default();
        let same = |one: &&Value, names: &[&str]| names.iter().all(|n| one.get(n) == wanted.get(n));
        let like = |one: &&Value| same(one, &["type", "fields"]);
        let exact = |one: &&Value| match index.kind {
            IndexKind::Sorted => same(one, &["type", "fields", "unique", "sparse"]),
            IndexKind::Elements | IndexKind::Expiry | IndexKind::Geo => like(one),
        };
        let standing = match found.iter().find(exact).or_else(|| found.iter().find(like)) {
            Some(one) if exact(&one) => Standing::There,
            Some(_) => Standing::Differs("another one stands over the same fields".to_owned()),
            None => Standing::Missing,
        };
        let name = format!("{}({})", collection.name(), index.fields.join(", "));
        (Part { name, standing }, Make::Index(collection, index))
    };
    Ok(collection.indexes().iter().map(part).collect())
}

/// The version and the counters; those that are there stay as they are.
async fn documents(http: &Http) -> Result<(), StoreError> {
    let counters = Collection::iter().filter(|collection| collection.is_sequenced());
    let mut all: Vec<Value> =
        counters.map(|collection| json!({"_key": counter(collection), "last": 0})).collect();
    all.push(json!({"_key": VERSION_KEY, "version": VERSION}));
    let path = format!("/_api/document/{META}?overwriteMode=ignore&waitForSync=true");
    let ask = Ask::new(Method::POST, path, Again::Harmless).with(&Value::Array(all));
    http.send(&ask).await.map(drop).map_err(Failure::nothing_written)
}
