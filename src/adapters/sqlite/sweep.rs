//! Clearing away: documents whose time has passed, changes that no feed needs any more. A little at a time, so that
//! senders wait for none long.

use rusqlite::params;

use crate::model::schema::{Collection, Index};
use crate::model::time::Time;
use crate::ports::store::StoreError;

use super::fault;
use super::read::known_key;
use super::sql::{self, Sql};
use super::write::Tx;

/// Removes up to `limit` documents whose expiry index has passed; returns how many there were.
pub(super) fn expire(
    tx: &Tx<'_>,
    collection: Collection,
    index: &Index,
    now: Time,
    limit: usize,
) -> Result<usize, StoreError> {
    let Some(field) = index.fields.first() else { return Ok(0) };
    let expr = sql::compared(field);
    let mut sql = Sql::new(format!(
        "SELECT key FROM {} WHERE {expr} IS NOT NULL AND {expr}>='' AND {expr}<=",
        collection.name()
    ));
    sql.bind(now.to_string().into());
    sql.push(&format!(" ORDER BY {expr},key LIMIT {limit}"));
    let keys = tx.lane.rows(&sql, |row| row.get::<_, String>(0).map_err(fault::of))?;
    for key in &keys {
        tx.remove(collection, known_key(key)?.as_str())?;
    }
    Ok(keys.len())
}

/// Removes up to `limit` of the oldest changes made before `before`; the last one always stays, as the counter.
pub(super) fn trim(tx: &Tx<'_>, before: Time, limit: usize) -> Result<usize, StoreError> {
    const EDGE: &str = "SELECT max(seq) FROM (SELECT seq,at FROM changes ORDER BY seq LIMIT ?1) \
                        WHERE at<?2 AND seq<(SELECT max(seq) FROM changes)";
    let connection = &tx.lane.connection;
    let edge: Option<i64> = connection
        .prepare_cached(EDGE)
        .and_then(|mut statement| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement.query_row(params![limit, before.millis()], |row| row.get(0))
        })
        .map_err(fault::of)?;
    let Some(edge) = edge else { return Ok(0) };
    let gone = tx.execute("DELETE FROM changes WHERE seq<=?1", params![edge]);
    let gone = gone.map_err(fault::of)?;
    tx.execute("UPDATE meta SET value=?1 WHERE name='feed_floor'", params![edge.to_string()])
        .map_err(fault::of)?;
    Ok(gone)
}
