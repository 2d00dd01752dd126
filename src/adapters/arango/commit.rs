//! Transactions: all writes or none. What fits into one statement is one; the rest is a stream transaction.
//!
//! One statement can change each collection once. It takes its locks as it begins and leaves nothing behind when its
//! answer is lost, which a stream transaction does until the server ends it.

mod diagnosis;
mod lost;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use http::Method;
use serde_json::{Value, json};

use crate::model::schema::Collection;
use crate::ports::store::{Durability, Key, Rev, StoreError};

use super::aql::{self, Aql, Kind, META, Mode};
use super::desk::{self, Transaction};
use super::fault::{Failure, number};
use super::http::{Again, Ask, Http, Pause, segment};
use super::write::{Step, groups};
use lost::Lost;

/// Key, revision (none where nothing is left), topic.
pub(super) type Row = (String, Option<String>, Option<Value>);

/// Why a try did not work.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another writer was first; the same again may work.
    Met(Failure),
    /// Some write cannot be done, and it is not known which; or the fields of the unique index that refused it.
    Unmet(Option<String>),
    /// The definite answer.
    Wrong(StoreError),
    /// Nothing came back.
    Unknown(Failure),
}

/// Does all steps or none; what became of each, in order. `unknown`: an earlier try may have done it.
pub(super) async fn commit(
    http: &Http,
    steps: &[Step],
    durability: Durability,
    mut pause: Pause,
    mut unknown: Option<Failure>,
) -> Result<Vec<Row>, StoreError> {
    let sync = durability == Durability::Durable;
    let plan = groups(steps);
    let fits = fits_one(steps, &plan);
    let mut lost = Lost::default();
    loop {
        let tried = if fits {
            one(http, steps, &plan, sync).await
        } else {
            stream(http, steps, &plan, sync, &mut lost).await
        };
        let trouble = match tried {
            Ok(rows) => return Ok(rows),
            Err(Trouble::Unmet(taken)) => diagnosis::of(http, steps, taken.as_deref()).await,
            Err(trouble) => trouble,
        };
        let failure = match trouble {
            Trouble::Wrong(error) => {
                let Some(failure) = unknown else { return Err(error) };
                // an earlier try may have done it all; then this one found its own traces
                return match proof(http, steps).await {
                    Some(rows) => Ok(rows),
                    None => Err(StoreError::OutcomeUnknown(Box::new(failure))),
                };
            }
            Trouble::Unmet(_) => Failure::Strange(aql::UNMET.to_owned()),
            Trouble::Met(failure) => failure,
            Trouble::Unknown(failure) => {
                unknown = Some(failure.clone());
                failure
            }
        };
        if !pause.wait().await {
            return Err(match unknown {
                Some(failure) => StoreError::OutcomeUnknown(Box::new(failure)),
                None => StoreError::Unavailable(Box::new(failure)),
            });
        }
    }
}

/// Whether one statement can do it: each collection is changed by one group, and looked at only before.
fn fits_one(steps: &[Step], plan: &[Range<usize>]) -> bool {
    let mut changed: HashSet<Collection> = HashSet::new();
    let mut counters = 0;
    plan.iter().filter_map(|group| steps.get(group.start)).all(|first| {
        if changed.contains(&first.collection) {
            return false;
        }
        if first.kind != Kind::Check {
            changed.insert(first.collection);
            let makes = matches!(first.kind, Kind::Insert | Kind::Put | Kind::MergeOrMake);
            counters += usize::from(makes && first.collection.is_sequenced());
        }
        counters < 2
    })
}

fn values(steps: &[Step]) -> Vec<Value> {
    steps.iter().map(|step| step.value.clone()).collect()
}

async fn one(
    http: &Http,
    steps: &[Step],
    plan: &[Range<usize>],
    sync: bool,
) -> Result<Vec<Row>, Trouble> {
    let checked: HashSet<Collection> =
        steps.iter().filter(|step| step.kind == Kind::Check).map(|step| step.collection).collect();
    let mut changed = HashSet::new();
    let mut parts = Vec::new();
    for group in plan {
        let steps = &steps[group.clone()];
        let Some(first) = steps.first() else { continue };
        let checks = first.kind == Kind::Check;
        if !checks {
            changed.insert(first.collection);
        }
        let exclusive = !checks && checked.contains(&first.collection);
        let mode = Mode { sync, exclusive, inside: false };
        let aql = aql::write(first.kind, first.collection, values(steps), mode);
        parts.push((aql, if checks { 0 } else { steps.len() }));
    }
    let mut locked: Vec<Collection> = checked.difference(&changed).copied().collect();
    locked.sort_unstable();
    let answer: Result<Vec<Vec<Vec<Row>>>, Failure> = match parts.as_slice() {
        // a statement that leaves nothing out unless it fails as a whole
        [(aql, count)] if *count == 1 || (leaves_nothing_out(steps) && *count <= desk::BATCH) => {
            desk::run(http, aql, None, Again::Unbegun).await.map(|rows| vec![vec![rows]])
        }
        _ => desk::run(http, &aql::whole(parts, &locked), None, Again::Unbegun).await,
    };
    let rows = match answer {
        Ok(answer) => answer.into_iter().next().unwrap_or_default(),
        Err(failure) => return Err(refused(failure, false)),
    };
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    ordered(steps, rows).ok_or(Trouble::Unmet(None))
}

/// Whether each step does something in any case.
fn leaves_nothing_out(steps: &[Step]) -> bool {
    let makes = |step: &Step| matches!(step.kind, Kind::Insert | Kind::Put | Kind::MergeOrMake);
    steps.iter().all(makes)
}

/// The rows in the order of the steps; none when a step has no row.
fn ordered(steps: &[Step], rows: Vec<Row>) -> Option<Vec<Row>> {
    let mut left = rows.into_iter();
    // groups keep their order, and so do the rows of each; only checks have none
    let mut by_key: HashMap<String, Vec<Row>> = HashMap::new();
    for row in left.by_ref() {
        by_key.entry(row.0.clone()).or_default().push(row);
    }
    for rows in by_key.values_mut() {
        rows.reverse();
    }
    steps
        .iter()
        .map(|step| match step.kind {
            Kind::Check => Some((step.key.to_string(), None, None)),
            _ => by_key.get_mut(step.key.as_str()).and_then(Vec::pop),
        })
        .collect()
}

/// What the failure of a statement means.
fn refused(failure: Failure, inside: bool) -> Trouble {
    let ended =
        failure.is(number::TRANSACTION_ABORTED) || failure.is(number::TRANSACTION_NOT_FOUND);
    if failure.is_conflict() || (inside && ended) {
        return Trouble::Met(failure);
    }
    if let Some(what) = failure.taken() {
        return Trouble::Unmet(Some(what));
    }
    match &failure {
        Failure::Answered { number: number::ASSERT, message, .. }
            if message.contains(aql::UNMET) =>
        {
            Trouble::Unmet(None)
        }
        Failure::Answered { .. } if failure.is_busy() => Trouble::Met(failure),
        // nothing of a transaction counts before its commit
        Failure::Silent(_) | Failure::Strange(_) if inside => Trouble::Met(failure),
        Failure::Silent(_) | Failure::Strange(_) => Trouble::Unknown(failure),
        Failure::Answered { status: 500.., .. } if !inside => Trouble::Unknown(failure),
        Failure::Refused(_) | Failure::Closed | Failure::Answered { .. } => {
            Trouble::Wrong(failure.nothing_written())
        }
    }
}

/// The failure of a statement, if it may have been done for all that.
pub(super) fn maybe_done(failure: Failure) -> Option<Failure> {
    match refused(failure, false) {
        Trouble::Unknown(failure) => Some(failure),
        Trouble::Met(_) | Trouble::Unmet(_) | Trouble::Wrong(_) => None,
    }
}

async fn revision(http: &Http, step: &Step) -> Result<Option<String>, Failure> {
    let aql = aql::many_revisions(step.collection, &[step.key.as_str()]);
    let rows: Vec<(String, String)> = desk::read(http, &aql).await?;
    Ok(rows.into_iter().next().map(|(_, rev)| rev))
}

async fn stream(
    http: &Http,
    steps: &[Step],
    plan: &[Range<usize>],
    sync: bool,
    lost: &mut Lost,
) -> Result<Vec<Row>, Trouble> {
    let transaction = begin(http, steps, sync, lost).await?;
    let mut rows = Vec::with_capacity(steps.len());
    for group in plan {
        match group_of(http, &steps[group.clone()], &transaction).await {
            Ok(more) => rows.extend(more),
            Err(trouble) => {
                abort(http, &transaction).await;
                return Err(trouble);
            }
        }
    }
    end(http, &transaction, steps, &rows).await?;
    Ok(rows)
}

async fn group_of(
    http: &Http,
    steps: &[Step],
    transaction: &Transaction,
) -> Result<Vec<Row>, Trouble> {
    let Some(first) = steps.first() else { return Ok(Vec::new()) };
    let mode = Mode { sync: false, exclusive: false, inside: true };
    let aql = aql::write(first.kind, first.collection, values(steps), mode);
    let again = if first.kind == Kind::Check { Again::Harmless } else { Again::Unbegun };
    let rows: Vec<Row> = match desk::run(http, &aql, Some(transaction), again).await {
        Ok(rows) => rows,
        Err(failure) => return Err(refused(failure, true)),
    };
    let met = if first.kind == Kind::Check { rows.is_empty() } else { rows.len() == steps.len() };
    ordered(steps, rows).filter(|_| met).ok_or(Trouble::Unmet(None))
}

async fn begin(
    http: &Http,
    steps: &[Step],
    sync: bool,
    lost: &mut Lost,
) -> Result<Transaction, Trouble> {
    let mut write: Vec<&str> = Vec::new();
    let mut exclusive: Vec<&str> = Vec::new();
    for step in steps {
        let into = if step.kind == Kind::Check { &mut exclusive } else { &mut write };
        into.push(step.collection.name());
        if step.collection.is_sequenced() {
            exclusive.push(META);
        }
    }
    write.retain(|name| !exclusive.contains(name));
    for names in [&mut write, &mut exclusive] {
        names.sort_unstable();
        names.dedup();
    }
    lost.end(http).await;
    let patience = lost.bound(http.options().patience).as_secs().max(1);
    let body = json!({
        "collections": {"write": write, "exclusive": exclusive},
        "waitForSync": sync, "lockTimeout": patience,
    });
    let ask = Ask::new(Method::POST, "/_api/transaction/begin", Again::Unbegun).with(&body);
    let begun = match http.send(&ask).await {
        Ok(answer) => answer.json::<Value>().map(|body| (body, answer.endpoint)),
        Err(failure) => Err(failure),
    };
    let (body, endpoint) = match begun {
        Ok(begun) => begun,
        Err(Failure::Silent(text)) => {
            lost.begin(http).await;
            return Err(Trouble::Met(Failure::Silent(text)));
        }
        Err(failure) if failure.is_conflict() || failure.is_busy() => {
            return Err(Trouble::Met(failure));
        }
        Err(failure) => return Err(Trouble::Wrong(failure.nothing_written())),
    };
    let id = body.pointer("/result/id").and_then(Value::as_str).map(str::to_owned);
    let odd = || Failure::Strange("ArangoDB began a transaction without an id".to_owned());
    let id = id.ok_or_else(|| Trouble::Wrong(odd().nothing_written()))?;
    Ok(Transaction { id, endpoint })
}

fn of(transaction: &Transaction, method: Method, again: Again) -> Ask {
    let path = format!("/_api/transaction/{}", segment(&transaction.id));
    Ask { pin: Some(transaction.endpoint), ..Ask::new(method, path, again) }
}

async fn abort(http: &Http, transaction: &Transaction) {
    // if this does not arrive either, the server ends it by itself
    drop(http.send(&of(transaction, Method::DELETE, Again::Harmless)).await);
}

/// Commits. A commit whose answer is lost is asked after until the transaction's state is known.
async fn end(
    http: &Http,
    transaction: &Transaction,
    steps: &[Step],
    rows: &[Row],
) -> Result<(), Trouble> {
    let Err(failure) = http.send(&of(transaction, Method::PUT, Again::Harmless)).await else {
        return Ok(());
    };
    if failure.is_conflict() || failure.is(number::TRANSACTION_ABORTED) {
        return Err(Trouble::Met(failure)); // aborted: by a conflict, or before the commit came
    }
    let mut pause = http.pause();
    loop {
        let status = http.send(&of(transaction, Method::GET, Again::Harmless)).await;
        let status = status.and_then(|answer| answer.json::<Value>());
        match status {
            Ok(body) => match body.pointer("/result/status").and_then(Value::as_str) {
                Some("committed") => return Ok(()),
                Some("aborted") => return Err(Trouble::Met(failure)),
                _ => drop(http.send(&of(transaction, Method::PUT, Again::Harmless)).await),
            },
            Err(gone) if gone.is(number::TRANSACTION_NOT_FOUND) => {
                return after_restart(http, steps, rows, failure).await;
            }
            Err(_) => {}
        }
        if !pause.wait().await {
            return Err(Trouble::Wrong(StoreError::OutcomeUnknown(Box::new(failure))));
        }
    }
}

/// The server forgot the transaction, so nothing of it can come any more: what it wrote is there, or was never.
async fn after_restart(
    http: &Http,
    steps: &[Step],
    rows: &[Row],
    failure: Failure,
) -> Result<(), Trouble> {
    let last = steps.iter().zip(rows).rev().find(|(_, (_, rev, _))| rev.is_some());
    let Some((step, (_, rev, _))) = last else {
        return Err(Trouble::Wrong(StoreError::OutcomeUnknown(Box::new(failure))));
    };
    match revision(http, step).await {
        Ok(found) if found == *rev => Ok(()),
        Ok(None) if step.kind == Kind::Insert => Err(Trouble::Met(failure)),
        _ => Err(Trouble::Wrong(StoreError::OutcomeUnknown(Box::new(failure)))),
    }
}

/// What became of steps that a lost try may have done: their rows if every document is as they leave it.
async fn proof(http: &Http, steps: &[Step]) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    let mut shown = false;
    for step in steps {
        let found = desk::get(http, step.collection, &step.key).await;
        let row = match (step.body(), found) {
            (Some(body), Ok(mut document)) => {
                if step.collection.is_sequenced() {
                    document.body.shift_remove("seq");
                }
                if document.body != body {
                    return None;
                }
                shown = true;
                (step.key.to_string(), Some(document.rev.0.to_string()), None)
            }
            (None, Err(StoreError::NotFound { .. })) if step.kind == Kind::Remove => {
                shown |= steps.len() == 1;
                (step.key.to_string(), None, None)
            }
            (None, Ok(document)) if matches!(step.kind, Kind::Merge | Kind::MergeOrMake) => {
                (step.key.to_string(), Some(document.rev.0.to_string()), None)
            }
            (None, _) if step.kind == Kind::Check => (step.key.to_string(), None, None),
            _ => return None,
        };
        rows.push(row);
    }
    shown.then_some(rows)
}

/// The revisions as the port gives them.
pub(super) fn revisions(rows: &[Row]) -> Vec<Option<Rev>> {
    rows.iter().map(|(_, rev, _)| rev.as_deref().map(|rev| Rev(rev.into()))).collect()
}

/// A statement that writes, repeated while other writers come first.
pub(super) async fn statement<T: serde::de::DeserializeOwned>(
    http: &Http,
    aql: &Aql,
) -> Result<Vec<T>, Failure> {
    let mut pause = http.pause();
    loop {
        match desk::run(http, aql, None, Again::Unbegun).await {
            Err(failure) if failure.is_conflict() => {
                if !pause.wait().await {
                    return Err(failure);
                }
            }
            other => return other,
        }
    }
}

/// The key out of a row.
pub(super) fn key_of(row: &Row) -> Option<Key> {
    Key::new(&row.0).ok()
}
