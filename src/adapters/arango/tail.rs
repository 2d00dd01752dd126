//! The write-ahead log of a single server, read from a tick on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Map, Value};
use strum::IntoEnumIterator;

use crate::model::schema::Collection;
use crate::ports::store::{Key, Rev};

use super::aql::META;
use super::fault::Failure;
use super::http::{Ask, Http};
use super::log::{Put, Row};
use super::odd;
use super::schema::VERSION_KEY;

/// About how many bytes come with one answer.
const CHUNK: usize = 1 << 20;

/// Where the log of the server stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stand {
    /// Another one where the server is another, or the database was made anew.
    pub(super) server: String,
    pub(super) tick: u64,
}

#[derive(Debug)]
pub(super) struct Slice {
    pub(super) rows: Vec<Row>,
    /// Where to go on.
    pub(super) next: u64,
    pub(super) more: bool,
    /// Changes after the tick are missing, or the log is another's.
    pub(super) gap: bool,
}

/// Reads the log; knows the collections by the names that the log gives them.
#[derive(Debug)]
pub(super) struct Tail {
    http: Http,
    /// None for collections that are not ours.
    names: Mutex<HashMap<String, Option<Collection>>>,
}

#[derive(Debug, Deserialize)]
struct Marker {
    tick: String,
    #[serde(rename = "type")]
    kind: u32,
    cuid: Option<String>,
    data: Option<Map<String, Value>>,
}

impl Tail {
    pub(super) fn new(http: &Http) -> Self {
        Self { http: http.clone(), names: Mutex::default() }
    }

    pub(super) async fn stand(&self) -> Result<Stand, Failure> {
        let ours = format!("/_api/document/{META}/{VERSION_KEY}");
        let (last, ours) = (Ask::get("/_api/wal/lastTick"), Ask::get(ours));
        let (last, ours) = futures::join!(self.http.send(&last), self.http.send(&ours));
        let (last, ours): (Value, Value) = (last?.json()?, ours?.json()?);
        let tick = last.get("tick").and_then(Value::as_str).and_then(|tick| tick.parse().ok());
        let server = last.pointer("/server/serverId").and_then(Value::as_str);
        // servers that were copied have one name, and a database may be dropped and made again; this document is written
        // when it is made, and its revision is a stamp of that moment
        let made = ours.get("_rev").and_then(Value::as_str);
        match (tick, server, made) {
            (Some(tick), Some(server), Some(made)) => {
                let made = made.replace(':', "");
                Ok(Stand { server: format!("{server}-{made}"), tick })
            }
            _ => Err(Failure::Strange("ArangoDB does not say where its log stands".to_owned())),
        }
    }

    /// The server is another: what it calls its collections is to be learned anew.
    pub(super) fn forget(&self) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The changes after `from`.
    pub(super) async fn read(&self, from: u64) -> Result<Slice, Failure> {
        let path = format!("/_api/wal/tail?from={from}&chunkSize={CHUNK}&includeSystem=false");
        let answer = self.http.send(&Ask::get(path)).await?;
        let header = |name: &str| answer.header(&format!("x-arango-replication-{name}"));
        let last = header("lasttick").unwrap_or(from);
        let included = header("lastincluded").unwrap_or(0);
        let present = answer.says("x-arango-replication-frompresent") || from == 0;
        let gap = last < from || (!present && (included > 0 || answer.status != 204));
        let mut markers = Vec::new();
        for line in answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let marker: Marker = serde_json::from_slice(line).map_err(|error| {
                Failure::Strange(format!("a line of ArangoDB's log cannot be read: {error}"))
            })?;
            markers.push((marker, line.len()));
        }
        self.learn(&markers).await?;
        let rows = self.rows(markers, from);
        let next = included.max(header("lastscanned").unwrap_or(0)).max(from);
        let more = answer.says("x-arango-replication-checkmore");
        Ok(Slice { rows, next, more: more && next > from, gap })
    }

    /// Asks for the names of collections that were not met before.
    async fn learn(&self, markers: &[(Marker, usize)]) -> Result<(), Failure> {
        let names = || self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let met = markers.iter().filter_map(|(marker, _)| marker.cuid.clone());
        let unknown: Vec<String> = {
            let names = names();
            met.filter(|cuid| !names.contains_key(cuid)).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let answer = self.http.send(&Ask::get("/_api/collection?excludeSystem=true")).await?;
        let listed: Value = answer.json()?;
        let mut names = names();
        names.extend(unknown.into_iter().map(|cuid| (cuid, None)));
        for one in listed.get("result").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| one.get(name).and_then(Value::as_str);
            let (Some(cuid), Some(name)) = (text("globallyUniqueId"), text("name")) else {
                continue;
            };
            let ours = Collection::iter().find(|collection| collection.name() == name);
            names.insert(cuid.to_owned(), ours);
        }
        Ok(())
    }

    fn rows(&self, markers: Vec<(Marker, usize)>, from: u64) -> Vec<Row> {
        const BEGIN: u32 = 2200;
        const COMMIT: u32 = 2201;
        const ABORT: u32 = 2202;
        const PUT: u32 = 2300;
        const REMOVE: u32 = 2302;
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        // a transaction is read as a whole or not at all, so one goes on from before it
        let (mut base, mut open) = (from, false);
        for (marker, bytes) in markers {
            let Ok(place) = marker.tick.parse() else { continue };
            match marker.kind {
                BEGIN => open = true,
                COMMIT | ABORT => open = false,
                _ => {}
            }
            if !open {
                base = place;
            }
            if !matches!(marker.kind, PUT | REMOVE) {
                continue;
            }
            let collection = marker.cuid.and_then(|cuid| names.get(&cuid).copied().flatten());
            let (Some(collection), Some(data)) = (collection, marker.data) else { continue };
            rows.extend(row(collection, data, bytes, marker.kind == PUT, place, base));
        }
        rows
    }
}

/// None for documents under keys that ours never have.
fn row(
    collection: Collection,
    mut data: Map<String, Value>,
    bytes: usize,
    put: bool,
    place: u64,
    base: u64,
) -> Option<Row> {
    let text = |data: &Map<String, Value>, name: &str| {
        data.get(name).and_then(Value::as_str).map(str::to_owned)
    };
    let key = Key::new(&text(&data, "_key")?).ok()?;
    let put = if put {
        let rev = Rev(text(&data, "_rev")?.into());
        for name in ["_key", "_rev", "_id"] {
            data.shift_remove(name);
        }
        odd::show(&mut data);
        let topic = collection.topic_field().and_then(|field| text(&data, field));
        Some(Put { rev, topic, body: Some(Arc::new(data)), bytes })
    } else {
        None
    };
    Some(Row { place, base, collection, key, put })
}
