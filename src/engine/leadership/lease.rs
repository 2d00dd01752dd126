//! The lease document: who leads, since when, and what becomes of it when somebody takes, renews, asks for or gives it
//! back. Each is one compare-and-swap; nothing here waits.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::engine::context::Context;
use crate::engine::journal::{Cause, Change, FENCE_KEY, Fence};
use crate::engine::view::LoopStatus;
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::store::{Body, Document, Durability, Key, Rev, StoreError, Write};

/// Key of the lease in `leases`.
pub const LEASE_KEY: &str = "engine";

/// Holder and instance of a lease that cannot be read: nobody's that is known.
const UNREADABLE: &str = "unreadable";

/// Document `leases/engine`. Who holds it renews it every third of its life; whoever sees one revision of it for
/// longer than its life may take it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// `user@host`; empty after a clean release.
    pub holder: String,
    /// Which engine holds it: new at each start, so that two engines of one person are two.
    pub instance: String,
    pub host: String,
    pub pid: u32,
    pub version: String,
    /// Grows by one at each change of holder.
    pub epoch: u64,
    pub acquired_at: Time,
    pub renewed_at: Time,
    pub ttl_ms: u64,
    /// The holder gives way to nobody who asks.
    pub priority: bool,
    /// The instance that asks the holder to hand over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_by: Option<String>,
    /// The holder's loops, as of the last renewal, for everybody to see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loops: Vec<LoopNote>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brake: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One loop in the lease document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoopNote {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Time>,
    pub duration_ms: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    pub runs: u64,
}

impl From<&LoopStatus> for LoopNote {
    fn from(status: &LoopStatus) -> Self {
        Self {
            name: status.name.as_str().to_owned(),
            last_run: status.last_run,
            duration_ms: u64::try_from(status.duration.as_millis()).unwrap_or(u64::MAX),
            error: status.error.as_str().to_owned(),
            runs: status.runs,
        }
    }
}

impl From<&LoopNote> for LoopStatus {
    fn from(note: &LoopNote) -> Self {
        Self {
            name: Safe::new(&note.name),
            last_run: note.last_run,
            duration: Duration::from_millis(note.duration_ms),
            error: Safe::new(&note.error),
            runs: note.runs,
        }
    }
}

impl Lease {
    /// Reads a lease as leniently as can be: one that cannot be read counts as held by a stranger until it expires.
    pub fn read(body: &Body) -> Self {
        let unreadable = |error: serde_json::Error| {
            tracing::warn!(error = %Safe::new(&error.to_string()).as_str(), "the lease cannot be read");
            let ttl_ms = body.get("ttl_ms").and_then(Value::as_u64).unwrap_or_default();
            let (holder, instance) = (UNREADABLE.into(), UNREADABLE.into());
            Self { holder, instance, ttl_ms, ..Self::default() }
        };
        serde_json::from_value(Value::Object(body.clone())).unwrap_or_else(unreadable)
    }

    /// How long it lives without renewal, held inside bounds that no document can break.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms).clamp(Duration::from_secs(1), Duration::from_secs(600))
    }

    pub fn is_readable(&self) -> bool {
        self.instance != UNREADABLE
    }

    pub fn is_held(&self) -> bool {
        !self.holder.is_empty()
    }
}

/// The lease as it was last read: `None` when there is no document.
pub type Seen = Option<(Lease, Document)>;

/// Where the document does not say how long it lives, it is taken to be as long as ours does.
pub fn seen(document: Document, ours: Duration) -> Seen {
    let mut lease = Lease::read(&document.body);
    if lease.ttl_ms == 0 {
        lease.ttl_ms = u64::try_from(ours.as_millis()).unwrap_or(u64::MAX);
    }
    Some((lease, document))
}

pub async fn read(ctx: &Context) -> Result<Seen, StoreError> {
    match ctx.store.get(Collection::Leases, &Key::new(LEASE_KEY)?).await {
        Ok(document) => Ok(seen(document, ctx.settings.lease_ttl)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the lease as it was seen for `instance`, with its event and the fence in one transaction, and reads back what
/// every write of this term must name.
///
/// # Errors
/// `Conflict` or `Exists`: somebody was faster. Others as the store says; the lease may be ours nevertheless, and then
/// taking it again raises the epoch once more.
pub async fn take(
    ctx: &Arc<Context>,
    instance: &str,
    found: &Seen,
    why: &str,
) -> Result<(Fence, Document), StoreError> {
    let fence_key = Key::new(FENCE_KEY)?;
    let fenced = match ctx.store.get(Collection::Leases, &fence_key).await {
        Ok(document) => document.body.get("epoch").and_then(Value::as_u64).unwrap_or(0),
        Err(StoreError::NotFound { .. }) => 0,
        Err(error) => return Err(error),
    };
    let before = found.as_ref().map(|(lease, _)| lease.clone()).unwrap_or_default();
    let epoch = before.epoch.max(fenced) + 1;
    let (settings, now) = (&ctx.settings, ctx.clock.now());
    let lease = Lease {
        holder: settings.actor.clone(),
        instance: instance.to_owned(),
        host: settings.host.clone(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch,
        acquired_at: now,
        renewed_at: now,
        ttl_ms: u64::try_from(settings.lease_ttl.as_millis()).unwrap_or(u64::MAX),
        priority: settings.priority,
        wanted_by: None,
        loops: Vec::new(),
        brake: None,
        extra: before.extra.clone(),
    };
    let evidence = json!({"from": before.holder, "to": lease.holder, "epoch": epoch});
    let fence = json!({"epoch": epoch, "holder": lease.holder, "instance": instance});
    let put =
        Write::Put { collection: Collection::Leases, key: fence_key.clone(), body: body(&fence)? };
    let change = changed(found, &lease, evidence)?;
    let cause = Cause::new(settings.actor.clone(), why);
    let written = ctx.journal.commit(&cause, &[change], &[put]).await;
    if let Err(error) = written
        && !matches!(error, StoreError::OutcomeUnknown(_))
    {
        return Err(error);
    }
    let lost = |key: Key| StoreError::Conflict { collection: Collection::Leases, key };
    let fence = ctx.store.get(Collection::Leases, &fence_key).await?;
    let ours = ctx.store.get(Collection::Leases, &Key::new(LEASE_KEY)?).await?;
    let read = Lease::read(&ours.body);
    let same = fence.body.get("epoch").and_then(Value::as_u64) == Some(epoch);
    if read.instance != instance || read.epoch != epoch || !same {
        return Err(lost(ours.key));
    }
    Ok((Fence { epoch, rev: fence.rev }, ours))
}

/// Renews the lease that we hold at `held`; returns it at its new revision.
pub async fn renew(ctx: &Context, held: &Document) -> Result<Document, StoreError> {
    let mut lease = Lease::read(&held.body);
    lease.renewed_at = ctx.clock.now();
    lease.loops = ctx.loops.list().iter().map(LoopNote::from).collect();
    lease.brake = ctx.brake.borrow().as_ref().map(|why| why.as_str().to_owned());
    replace(ctx, held, &lease).await
}

/// Asks the holder to hand over, once: the request stays until the holder changes.
pub async fn ask(
    ctx: &Context,
    instance: &str,
    lease: &Lease,
    at: &Document,
) -> Result<Document, StoreError> {
    let wanted = Lease { wanted_by: Some(instance.to_owned()), ..lease.clone() };
    replace(ctx, at, &wanted).await
}

/// Gives the lease back, so that the next takes it at once.
pub async fn release(ctx: &Arc<Context>, held: Document, why: &str) -> Result<(), StoreError> {
    let before = Lease::read(&held.body);
    let free = Lease {
        holder: String::new(),
        instance: String::new(),
        loops: Vec::new(),
        brake: None,
        ..before.clone()
    };
    let evidence = json!({"from": before.holder, "to": "", "epoch": before.epoch});
    let change = changed(&Some((before, held)), &free, evidence)?;
    let cause = Cause::new(ctx.settings.actor.clone(), why);
    ctx.journal.commit(&cause, &[change], &[]).await.map(drop)
}

async fn replace(ctx: &Context, at: &Document, lease: &Lease) -> Result<Document, StoreError> {
    let body = body(lease)?;
    let write = Write::Replace {
        collection: Collection::Leases,
        key: at.key.clone(),
        rev: at.rev.clone(),
        body: body.clone(),
    };
    // a renewal lost in a power cut is no loss: its holder is gone as well
    let revs = ctx.store.transact(vec![write], Durability::Relaxed).await?;
    let rev: Option<Rev> = revs.into_iter().next().flatten();
    let rev = rev.ok_or_else(|| StoreError::OutcomeUnknown("no revision came back".into()))?;
    Ok(Document { key: at.key.clone(), rev, body })
}

fn changed(before: &Seen, after: &Lease, evidence: Value) -> Result<Change, StoreError> {
    let subject = if after.is_held() { &after.holder } else { "nobody" };
    Ok(Change {
        collection: Collection::Leases,
        key: Key::new(LEASE_KEY)?,
        before: before.as_ref().map(|(_, document)| document.clone()),
        after: Some(body(after)?),
        kind: "leader.changed",
        subject: subject.to_owned(),
        evidence,
    })
}

fn body(document: &impl Serialize) -> Result<Body, StoreError> {
    match serde_json::to_value(document) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) | Err(_) => {
            Err(StoreError::Invalid { message: "a lease could not be written as JSON".into() })
        }
    }
}
