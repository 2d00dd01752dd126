//! The schema of the file: made from the table in `model::schema`, versioned in `PRAGMA user_version`, brought forward
//! step by step, never backward.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use strum::IntoEnumIterator;

use crate::model::schema::{Collection, Index, IndexKind};
use crate::ports::store::StoreError;

use super::fault;
use super::sql::compared;
use super::turn::beside;
use super::write::index_name;

/// Marks our files: "cvxc".
pub(super) const APPLICATION: i64 = 0x6376_7863;

/// One step from the version before to `version`.
pub(super) struct Step {
    pub(super) version: i64,
    pub(super) run: fn(&Connection) -> rusqlite::Result<()>,
}

/// Every step since the first version. A new collection or index of `model::schema` needs none: [`complete`] adds it.
pub(super) const STEPS: &[Step] = &[Step { version: 1, run: first }];

/// The version that this program writes.
pub(super) const VERSION: i64 = STEPS[STEPS.len() - 1].version;

fn first(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE changes(seq INTEGER PRIMARY KEY, collection TEXT NOT NULL, key TEXT NOT NULL,
                              op INTEGER NOT NULL, topic TEXT, at INTEGER NOT NULL);
         INSERT INTO meta VALUES('feed_floor','0');",
    )?;
    name_store(connection)
}

/// Gives the store a new identity, so that cursors into another copy of it are known as foreign.
pub(super) fn name_store(connection: &Connection) -> rusqlite::Result<()> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    connection.execute("INSERT OR REPLACE INTO meta VALUES('store_id',?1)", params![id]).map(drop)
}

pub(super) fn user_version(connection: &Connection) -> Result<i64, StoreError> {
    let mut statement = connection.prepare_cached("PRAGMA user_version").map_err(fault::of)?;
    statement.query_row([], |row| row.get(0)).map_err(fault::of)
}

/// Whether the file still has the version this program writes. Asked inside every transaction.
pub(super) fn still_ours(connection: &Connection) -> Result<bool, StoreError> {
    user_version(connection).map(|found| found == VERSION)
}

/// The answer to writes after a newer program brought the file forward under us.
pub(super) fn outdated() -> StoreError {
    StoreError::Denied {
        message: "a newer cvxc has brought the store's schema forward while this process ran: it can only read now; restart it with the newer version".to_owned(),
    }
}

/// The refusal of a file from a newer program.
pub(super) fn newer(path: &Path, found: i64) -> StoreError {
    StoreError::Corrupt {
        message: format!(
            "{} was written by a newer cvxc (schema {found}, this one knows up to {VERSION}); it was left as it is: use the newer version",
            path.display()
        ),
    }
}

/// Makes the schema, or brings it forward through `steps` after copying the file to `<file>.before-v<N>`; returns the
/// copy's place. The caller holds the turn.
pub(super) fn forward(
    connection: &Connection,
    path: &Path,
    steps: &[Step],
) -> Result<Option<PathBuf>, StoreError> {
    let target = steps.last().map_or(0, |step| step.version);
    let found = user_version(connection)?;
    if found > target {
        return Err(newer(path, found));
    }
    let mut copy = None;
    if found > 0 && found < target {
        let place = beside(path, &format!("before-v{target}"));
        copy_into(connection, &place)?;
        copy = Some(place);
    }
    if found < target {
        let run = || -> rusqlite::Result<()> {
            let tx = connection.unchecked_transaction()?;
            for step in steps.iter().filter(|step| step.version > found) {
                (step.run)(&tx)?;
            }
            tx.pragma_update(None, "application_id", APPLICATION)?;
            tx.pragma_update(None, "user_version", target)?;
            tx.commit()
        };
        run().map_err(fault::of)?;
    }
    Ok(copy)
}

/// Writes a consistent copy of the whole store to `place`, readable by its owner alone, replacing what is there only
/// when the copy is complete and on disk.
pub(super) fn copy_into(connection: &Connection, place: &Path) -> Result<(), StoreError> {
    let failed = |error: &dyn std::error::Error| {
        fault::unavailable(format!("no copy could be written to {}: {error}", place.display()))
    };
    let fresh = beside(place, "new");
    if fresh.exists() {
        std::fs::remove_file(&fresh).map_err(|error| failed(&error))?;
    }
    super::open::private_file(&fresh).map_err(|error| failed(&error))?;
    let text = fresh
        .to_str()
        .ok_or_else(|| fault::invalid(format!("{} is no UTF-8 path", place.display())))?;
    connection.execute("VACUUM INTO ?1", [text]).map_err(|error| failed(&error))?;
    let file = std::fs::File::open(&fresh).map_err(|error| failed(&error))?;
    file.sync_all().map_err(|error| failed(&error))?;
    std::fs::rename(&fresh, place).map_err(|error| failed(&error))
}

/// Adds the tables and indexes of `model::schema` that the file lacks; true when something was missing.
pub(super) fn complete(connection: &Connection) -> Result<bool, StoreError> {
    let missing = missing(connection)?;
    if missing.is_empty() {
        return Ok(false);
    }
    let run = || -> rusqlite::Result<()> {
        let tx = connection.unchecked_transaction()?;
        for statement in &missing {
            tx.execute_batch(statement)?;
        }
        tx.commit()
    };
    run().map_err(fault::of)?;
    Ok(true)
}

/// The statements that make what `model::schema` names and the file does not have.
pub(super) fn missing(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let names = || -> rusqlite::Result<std::collections::HashSet<String>> {
        let mut statement = connection.prepare("SELECT name FROM sqlite_schema")?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    let there = names().map_err(fault::of)?;
    let mut statements = Vec::new();
    for collection in Collection::iter() {
        let name = collection.name();
        if !there.contains(name) {
            statements.push(format!(
                "CREATE TABLE {name}(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, rev INTEGER NOT NULL, body TEXT NOT NULL)"
            ));
        }
        for index in collection.indexes() {
            let name = index_name(collection, index);
            if !there.contains(&name) {
                statements.extend(create_index(collection, index, &name));
            }
        }
    }
    Ok(statements)
}

/// A list's elements are found by looking through it, and places on a map by their fields: neither has an index here.
fn create_index(collection: Collection, index: &Index, name: &str) -> Option<String> {
    match index.kind {
        IndexKind::Elements | IndexKind::Geo => return None,
        IndexKind::Sorted | IndexKind::Expiry => {}
    }
    let fields: Vec<String> = index.fields.iter().map(|field| compared(field)).collect();
    // the key breaks ties, so that a page in index order needs no sorting
    let (unique, tie) = if index.unique { ("UNIQUE ", "") } else { ("", ",key") };
    let held: Vec<String> = fields.iter().map(|field| format!("{field} IS NOT NULL")).collect();
    let only = if index.sparse { format!(" WHERE {}", held.join(" AND ")) } else { String::new() };
    let table = collection.name();
    Some(format!("CREATE {unique}INDEX {name} ON {table}({}{tie}){only}", fields.join(",")))
}
