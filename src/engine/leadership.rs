//! Who leads: contends for the lease, runs the loops while it is held, and lets go of them before anybody else can hold
//! it. Never compares two machines' clocks: a lease has expired when *this* observer saw one revision of it for its life.

pub mod lease;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::lease::{Lease, Seen};
use self::watch::LeaseWatch;
use crate::engine::context::Context;
use crate::engine::journal::Fence;
use crate::engine::supervise::{Name, Role, Supervisor};
use crate::ports::store::{BoxError, Document, Rev, StoreError, chain};

/// How long the loops may take to finish their step when leadership is given up in peace.
pub const STEP_GRACE: Duration = Duration::from_secs(10);
/// How long giving the lease back may take after that.
pub const RELEASE_GRACE: Duration = Duration::from_secs(3);
/// First pause before a loop that failed runs again.
const LOOP_PAUSE: Duration = Duration::from_secs(1);

pub type LoopFuture = BoxFuture<'static, Result<(), BoxError>>;
type MakeLoop = dyn Fn(Arc<Context>, Fence, CancellationToken) -> LoopFuture + Send + Sync;

/// A loop that only the leader runs. It names the fence in every write and ends soon after its token fires.
#[derive(Clone)]
pub struct LoopSpec {
    pub name: Name,
    make: Arc<MakeLoop>,
}

impl LoopSpec {
    pub fn new<M, F>(name: Name, make: M) -> Self
    where
        M: Fn(Arc<Context>, Fence, CancellationToken) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self { name, make: Arc::new(move |ctx, fence, stop| Box::pin(make(ctx, fence, stop))) }
    }
}

impl fmt::Debug for LoopSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoopSpec").field(&self.name).finish()
    }
}

/// Contends until `stop`, then lets the loops finish their step for up to `grace`, releases the lease and ends. Where the
/// settings say not to contend, only waits.
///
/// # Errors
/// None at present; a store that is gone is waited for.
pub async fn run(
    ctx: Arc<Context>,
    loops: Vec<LoopSpec>,
    grace: Receiver<Duration>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    if !ctx.settings.contend {
        stop.cancelled().await;
        return Ok(());
    }
    let mut watch = LeaseWatch::new(ctx.clone());
    let mut candidate = Candidate::new(ctx, grace);
    while let Some(term) = candidate.win(&mut watch, &stop).await {
        candidate.lead(term, &loops, &mut watch, &stop).await;
    }
    Ok(())
}

/// What to do about the lease as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Take(&'static str),
    Ask,
    /// Look again after so long, or when it changes.
    Wait(Duration),
}

/// Judges `lease`, seen unchanged for `unchanged`, for the engine `me`.
fn judge(lease: Option<&Lease>, me: &str, priority: bool, unchanged: Duration) -> Verdict {
    let Some(lease) = lease else { return Verdict::Take("nobody has led before") };
    if !lease.is_held() {
        // whoever asked for it politely goes first, for a while
        let courtesy = (lease.ttl() / 2).min(Duration::from_secs(5));
        let mine = lease.wanted_by.as_deref().is_none_or(|wanted| wanted == me);
        return if mine || unchanged >= courtesy {
            Verdict::Take("the lease was free")
        } else {
            Verdict::Wait(courtesy - unchanged)
        };
    }
    if lease.instance == me {
        return Verdict::Take("the lease was still in our name");
    }
    if unchanged >= lease.ttl() {
        return Verdict::Take("the holder did not renew in time");
    }
    // asking writes the lease anew, which must not cost what could not be read of it
    let asks = lease.is_readable() && !lease.priority && lease.wanted_by.is_none();
    if priority && asks {
        return Verdict::Ask;
    }
    Verdict::Wait(lease.ttl() - unchanged)
}

/// A term of leadership: its fence, the lease as we last wrote it, and when we began the write that renewed it last.
#[derive(Debug)]
struct Term {
    fence: Fence,
    held: Document,
    renewed: Instant,
}

/// Why a term ends.
#[derive(Debug)]
enum End {
    Stopped,
    Asked,
    /// Somebody else leads, or may: nothing may be written any more.
    Lost(String),
}

/// Whether a holder gives way to who asks, or keeps the lease until its loops are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Polite,
    ToTheEnd,
}

#[derive(Debug)]
struct Candidate {
    ctx: Arc<Context>,
    instance: String,
    ttl: Duration,
    grace: Receiver<Duration>,
    /// The revision last seen and since when.
    seen: Option<(Rev, Instant)>,
}

impl Candidate {
    fn new(ctx: Arc<Context>, grace: Receiver<Duration>) -> Self {
        let instance = ctx.ids.draw().simple().to_string();
        let ttl = ctx.settings.lease_ttl;
        Self { ctx, instance, ttl, grace, seen: None }
    }

    /// Waits for the lease and takes it; `None` when `stop` fired first.
    async fn win(&mut self, watch: &mut LeaseWatch, stop: &CancellationToken) -> Option<Term> {
        let mut news: Option<Document> = None;
        while !stop.is_cancelled() {
            let look = match news.take() {
                Some(document) => Ok(lease::seen(document, self.ttl)),
                None => self.bounded(lease::read(&self.ctx)).await,
            };
            let pause = match look {
                Ok(found) => match self.consider(&found) {
                    Verdict::Take(why) => match self.take(&found, why).await {
                        Ok(term) => return Some(term),
                        Err(error) => self.setback("taking the lease failed", &error),
                    },
                    Verdict::Ask => self.ask(&found).await,
                    Verdict::Wait(span) => span,
                },
                Err(error) => self.setback("the lease cannot be read", &error),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                document = watch.next() => news = document,
                () = sleep(pause) => {}
            }
        }
        None
    }

    fn consider(&mut self, found: &Seen) -> Verdict {
        let now = self.ctx.clock.instant();
        let unchanged = match (&self.seen, found) {
            (Some((rev, since)), Some((_, document))) if *rev == document.rev => {
                now.saturating_duration_since(*since)
            }
            (_, Some((_, document))) => {
                self.seen = Some((document.rev.clone(), now));
                Duration::ZERO
            }
            (_, None) => {
                self.seen = None;
                Duration::ZERO
            }
        };
        let lease = found.as_ref().map(|(lease, _)| lease);
        judge(lease, &self.instance, self.ctx.settings.priority, unchanged)
    }

    async fn take(&mut self, found: &Seen, why: &'static str) -> Result<Term, StoreError> {
        let renewed = self.ctx.clock.instant();
        let taken = lease::take(&self.ctx, &self.instance, found, why);
        let (fence, held) = self.bounded(taken).await?;
        tracing::info!(epoch = fence.epoch, why, "this engine leads");
        Ok(Term { fence, held, renewed })
    }

    async fn ask(&mut self, found: &Seen) -> Duration {
        let Some((lease, document)) = found else { return Duration::ZERO };
        match self.bounded(lease::ask(&self.ctx, &self.instance, lease, document)).await {
            Ok(document) => {
                tracing::info!(holder = %lease.holder, "asked the leader to hand over");
                self.seen = Some((document.rev, self.ctx.clock.instant()));
                lease.ttl()
            }
            Err(error) => self.setback("asking for the lease failed", &error),
        }
    }

    /// How long to wait after an error: hardly at all when somebody was faster, else a tenth of the lease's life or so.
    fn setback(&self, what: &'static str, error: &StoreError) -> Duration {
        if matches!(error, StoreError::Conflict { .. } | StoreError::Exists { .. }) {
            tracing::debug!(error = chain(error), what);
            return Duration::from_millis(rand::random_range(5..50));
        }
        tracing::warn!(error = chain(error), what);
        (self.ttl / 10).mul_f64(rand::random_range(0.5..1.5))
    }

    /// A call that does not return in two thirds of the lease's life has come too late to be of use.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let silent = |_| Err(StoreError::OutcomeUnknown("no answer in time".into()));
        timeout(self.ttl * 2 / 3, call).await.unwrap_or_else(silent)
    }

    /// Runs the loops until the term ends, and gives the lease back if it is still ours.
    async fn lead(
        &self,
        mut term: Term,
        loops: &[LoopSpec],
        watch: &mut LeaseWatch,
        stop: &CancellationToken,
    ) {
        let token = CancellationToken::new();
        let mut tasks = Supervisor::on(self.ctx.tasks.clone(), token.clone());
        for spec in loops {
            let (ctx, fence, make) = (self.ctx.clone(), term.fence.clone(), spec.make.clone());
            let role = Role::Helper { pause: LOOP_PAUSE };
            tasks.spawn(spec.name, role, move |stop| make(ctx.clone(), fence.clone(), stop));
        }
        self.ctx.leading.send_replace(Some(term.fence.clone()));
        let mut end = self.hold(&mut term, watch, stop, Manner::Polite).await;
        self.ctx.leading.send_replace(None);
        token.cancel();
        if matches!(end, End::Lost(_)) {
            tasks.stop(self.left(&term)).await;
        } else {
            // the lease is kept alive while the loops finish their step; were it lost, dropping `finish` aborts them
            let grace = *self.grace.borrow();
            let (finish, never) = (tasks.stop(grace), CancellationToken::new());
            tokio::select! {
                _ = finish => {}
                lost = self.hold(&mut term, watch, &never, Manner::ToTheEnd) => end = lost,
            }
        }
        let why = match end {
            End::Stopped => "the engine stopped",
            End::Asked => "another engine asked for it",
            End::Lost(why) => {
                return tracing::warn!(epoch = term.fence.epoch, why, "leadership lost");
            }
        };
        match timeout(RELEASE_GRACE, self.give_back(term.held, why)).await {
            Ok(Ok(())) => tracing::info!(epoch = term.fence.epoch, why, "lease released"),
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "the lease was not released"),
            Err(_) => tracing::warn!("the lease was not released in time"),
        }
    }

    async fn give_back(&self, held: Document, why: &str) -> Result<(), StoreError> {
        let mut held = held;
        loop {
            match lease::release(&self.ctx, held, why).await {
                // a renewal that was cut off may have been written, or somebody asked meanwhile
                Err(StoreError::Conflict { .. }) => match lease::read(&self.ctx).await? {
                    Some((lease, now)) if lease.instance == self.instance => held = now,
                    Some(_) | None => return Ok(()),
                },
                other => return other,
            }
        }
    }

    /// Renews the lease every third of its life until something ends the term.
    async fn hold(
        &self,
        term: &mut Term,
        watch: &mut LeaseWatch,
        stop: &CancellationToken,
        manner: Manner,
    ) -> End {
        let mut due = term.renewed + self.ttl / 3;
        loop {
            let news = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                () = sleep_until(due.into()) => None,
                news = watch.next() => Some(news),
            };
            let ended = match news {
                None => match self.renew(term).await {
                    Ok(next) => {
                        due = next;
                        self.asked(&term.held).then_some(End::Asked)
                    }
                    Err(why) => return End::Lost(why),
                },
                Some(Some(told)) if self.is_no_news(term, &told) => None,
                Some(_) => self.look(term).await,
            };
            match ended {
                Some(End::Asked) if manner == Manner::ToTheEnd => {}
                Some(end) => return end,
                None => {}
            }
        }
    }

    /// The feed tells of our own renewals too.
    fn is_no_news(&self, term: &Term, told: &Document) -> bool {
        let lease = Lease::read(&told.body);
        told.rev == term.held.rev || (lease.instance == self.instance && lease.wanted_by.is_none())
    }

    /// Reads the lease: still ours, asked for, or lost. A store that cannot answer is no answer.
    async fn look(&self, term: &mut Term) -> Option<End> {
        match self.bounded(lease::read(&self.ctx)).await {
            Ok(Some((lease, document))) if self.is_ours(&lease, term) => {
                term.held = document;
                self.asked(&term.held).then_some(End::Asked)
            }
            Ok(Some((lease, _))) => Some(End::Lost(format!("{:?} leads", lease.holder))),
            Ok(None) => Some(End::Lost("the lease was removed".into())),
            Err(_) => None,
        }
    }

    fn asked(&self, held: &Document) -> bool {
        held.body.get("wanted_by").is_some() && !self.ctx.settings.priority
    }

    fn is_ours(&self, lease: &Lease, term: &Term) -> bool {
        lease.instance == self.instance && lease.epoch == term.fence.epoch
    }

    /// Renews, or says when to try again; `Err` says why the term is over.
    async fn renew(&self, term: &mut Term) -> Result<Instant, String> {
        let begun = self.ctx.clock.instant();
        let deadline = term.renewed + self.ttl * 2 / 3;
        if begun >= deadline {
            return Err("the lease could not be renewed".into());
        }
        let renewal = lease::renew(&self.ctx, &term.held);
        let error = match timeout_at(deadline.into(), renewal).await {
            Ok(Ok(document)) => {
                (term.held, term.renewed) = (document, begun);
                return Ok(begun + self.ttl / 3);
            }
            Ok(Err(error)) => error,
            Err(_) => return Err("the store did not answer in time".into()),
        };
        tracing::warn!(error = chain(&error), "renewing the lease failed");
        match error {
            StoreError::Conflict { .. }
            | StoreError::NotFound { .. }
            | StoreError::OutcomeUnknown(_) => {
                let look = timeout_at(deadline.into(), self.look(term)).await;
                if let Ok(Some(End::Lost(why))) = look {
                    return Err(why);
                }
            }
            StoreError::Exists { .. }
            | StoreError::Invalid { .. }
            | StoreError::Denied { .. }
            | StoreError::Unavailable(_)
            | StoreError::Corrupt { .. } => {}
        }
        // still ours, or nobody can say: a store that fails each time is not asked without a pause
        Ok(deadline.min(self.ctx.clock.instant() + self.ttl / 10))
    }

    /// What is left of the time in which nobody else can hold the lease.
    fn left(&self, term: &Term) -> Duration {
        (term.renewed + self.ttl).saturating_duration_since(self.ctx.clock.instant())
    }
}

#[cfg(test)]
mod tests;
