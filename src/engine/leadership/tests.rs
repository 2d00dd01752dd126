//! Several engines on one store, under the paused clock: at most one leads, and one that died is succeeded.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::engine::context::EngineSettings;
use crate::engine::journal::{Cause, Change};
use crate::engine::testing::World;
use crate::model::event::Event;
use crate::model::filter::Filter;
use crate::model::schema::Collection;
use crate::ports::store::{Key, Query, Store};

const TTL: Duration = Duration::from_secs(15);

fn settings(actor: &str) -> EngineSettings {
    EngineSettings { actor: actor.into(), lease_ttl: TTL, ..EngineSettings::default() }
}

/// How many terms are running anywhere; a second one at once is the fault all this is about.
#[derive(Debug, Default, Clone)]
struct Terms {
    now: Arc<AtomicU32>,
    overlaps: Arc<AtomicU32>,
}

struct Running(Arc<AtomicU32>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Terms {
    fn begin(&self) -> Running {
        if self.now.fetch_add(1, SeqCst) > 0 {
            self.overlaps.fetch_add(1, SeqCst);
        }
        Running(self.now.clone())
    }
}

/// An engine that only contends; its one loop notes that it runs.
struct Contender {
    world: World,
    tasks: Supervisor,
    leading: watch::Receiver<Option<Fence>>,
    terms: Terms,
}

impl Contender {
    fn start(world: World, terms: &Terms) -> Self {
        let (terms, kept) = (terms.clone(), terms.clone());
        let spec = LoopSpec::new("noter", move |_, _, stop| {
            let terms = terms.clone();
            async move {
                let _running = terms.begin();
                stop.cancelled().await;
                Ok(())
            }
        });
        let mut tasks = Supervisor::new(CancellationToken::new());
        let (_, grace) = watch::channel(STEP_GRACE);
        let ctx = world.ctx.clone();
        tasks.spawn("leadership", Role::Vital, move |stop| {
            run(ctx.clone(), vec![spec.clone()], grace.clone(), stop)
        });
        let leading = world.ctx.leading.subscribe();
        Self { world, tasks, leading, terms: kept }
    }

    async fn leads_within(&mut self, limit: Duration) -> Fence {
        let leads = self.leading.wait_for(Option::is_some);
        let fence =
            timeout(limit, leads).await.expect("it leads in time").unwrap().clone().unwrap();
        self.no_overlap();
        fence
    }

    async fn yields_within(&mut self, limit: Duration) {
        let over = self.leading.wait_for(Option::is_none);
        timeout(limit, over).await.expect("it lets go in time").unwrap();
    }

    fn no_overlap(&self) {
        assert_eq!(self.terms.overlaps.load(SeqCst), 0, "two engines ran their loops at once");
    }

    fn leads(&self) -> bool {
        self.no_overlap();
        self.leading.borrow().is_some()
    }
}

async fn lease(world: &World) -> Lease {
    Lease::read(&world.body(Collection::Leases, lease::LEASE_KEY).await.unwrap())
}

/// Somebody's fenced change, as a loop would write it.
async fn fenced_write(world: &World, fence: &Fence, key: &str) -> Result<Vec<Event>, StoreError> {
    let cause = Cause { fence: Some(fence.clone()), ..Cause::new("loop:test", "because") };
    let serde_json::Value::Object(body) = json!({"name": key}) else { unreachable!() };
    let change = Change {
        collection: Collection::Configs,
        key: Key::new(key).unwrap(),
        before: None,
        after: Some(body),
        kind: "config.changed",
        subject: key.into(),
        evidence: json!(null),
    };
    world.ctx.journal.commit(&cause, &[change], &[]).await
}

#[tokio::test(start_paused = true)]
async fn exactly_one_of_two_contenders_leads() {
    let terms = Terms::default();
    let world = World::with(settings("a"));
    let mut a = Contender::start(world.clone(), &terms);
    let mut b = Contender::start(world.beside(settings("b")), &terms);
    tokio::select! {
        _ = a.leads_within(TTL) => {}
        _ = b.leads_within(TTL) => {}
    }
    for _ in 0..100 {
        sleep(TTL / 7).await;
        assert!(a.leads() != b.leads(), "exactly one leads");
    }
    let lease = lease(&a.world).await;
    assert_eq!((lease.epoch, lease.ttl_ms), (1, 15_000), "renewed all along, never taken over");
    assert!(lease.renewed_at > lease.acquired_at);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_died_is_succeeded_after_the_lease_ran_out_and_its_writes_are_fenced() {
    let terms = Terms::default();
    let world = World::with(settings("a"));
    let mut a = Contender::start(world.clone(), &terms);
    let old = a.leads_within(TTL).await;
    assert!(fenced_write(&world, &old, "first").await.is_ok());
    let mut b = Contender::start(world.beside(settings("b")), &terms);
    sleep(TTL * 3).await;
    assert!(!b.leads());
    drop(a.tasks); // as kill -9 would: nothing is released
    let died = b.world.ctx.clock.instant();
    let new = b.leads_within(TTL * 2).await;
    let waited = b.world.ctx.clock.instant() - died;
    assert!(waited >= TTL * 2 / 3 && waited <= TTL * 4 / 3, "{waited:?}");
    assert_eq!(new.epoch, old.epoch + 1);
    let late = fenced_write(&world, &old, "late").await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    assert_eq!(world.body(Collection::Configs, "late").await, None);
    assert!(fenced_write(&b.world, &new, "second").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn after_a_clean_stop_the_next_leads_within_a_second() {
    let terms = Terms::default();
    let world = World::with(settings("a"));
    let mut a = Contender::start(world.clone(), &terms);
    a.leads_within(TTL).await;
    let mut b = Contender::start(world.beside(settings("b")), &terms);
    sleep(TTL).await;
    let stop = tokio::time::Instant::now();
    assert!(a.tasks.stop(TTL).await.is_empty());
    let fence = b.leads_within(Duration::from_secs(1)).await;
    assert!(stop.elapsed() < Duration::from_secs(1));
    assert_eq!(fence.epoch, 2);
    let page = world.store.query(Query::new(Collection::Events, Filter::All)).await.unwrap();
    let told: Vec<_> = page.documents.iter().map(|d| d.body["subject"].as_str().unwrap()).collect();
    assert_eq!(told, ["a", "nobody", "b"]);
    assert!(page.documents.iter().all(|document| document.body["type"] == "leader.changed"));
}

#[tokio::test(start_paused = true)]
async fn jumps_of_the_wall_clock_change_nothing() {
    let terms = Terms::default();
    let world = World::with(settings("a"));
    let mut a = Contender::start(world.clone(), &terms);
    a.leads_within(TTL).await;
    let b = Contender::start(world.beside(settings("b")), &terms);
    for jump in [86_400_000, -172_800_000, 3_600_000, -1] {
        b.world.clock.jump(jump);
        sleep(TTL * 2).await;
        a.world.clock.jump(-jump);
        sleep(TTL * 2).await;
        assert!(a.leads() && !b.leads());
    }
    assert_eq!(lease(&world).await.epoch, 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_its_store_lets_go_before_the_lease_runs_out_and_leads_again_later() {
    let terms = Terms::default();
    let world = World::with(settings("a"));
    let mut a = Contender::start(world.clone(), &terms);
    let first = a.leads_within(TTL).await;
    sleep(TTL * 2).await;
    for hang in [false, true] {
        if hang {
            world.store.set_hanging(true);
        } else {
            world.store.set_lost(true);
        }
        a.yields_within(TTL * 2 / 3 + Duration::from_millis(10)).await;
        sleep(TTL * 5).await;
        assert!(!a.leads());
        if hang {
            world.store.set_hanging(false);
        } else {
            world.store.set_lost(false);
        }
        let again = a.leads_within(TTL).await;
        assert!(again.epoch > first.epoch);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_from_the_store_has_let_go_when_the_next_begins() {
    let terms = Terms::default();
    let world = World::with(settings("a"));
    let mut a = Contender::start(world.clone(), &terms);
    a.leads_within(TTL).await;
    let mut b = Contender::start(world.beside(settings("b")), &terms);
    for _ in 0..5 {
        sleep(TTL).await;
        a.world.store.set_cut(true);
        b.leads_within(TTL * 2).await;
        assert!(!a.leads());
        a.world.store.set_cut(false);
        sleep(TTL).await;
        b.world.store.set_cut(true);
        a.leads_within(TTL * 2).await;
        b.world.store.set_cut(false);
    }
    assert_eq!(lease(&world).await.epoch, 11);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_with_priority_takes_over_from_a_console_and_keeps_the_lease() {
    let terms = Terms::default();
    let world = World::with(settings("console"));
    let mut console = Contender::start(world.clone(), &terms);
    console.leads_within(TTL).await;
    let wish = EngineSettings { priority: true, ..settings("daemon") };
    let mut daemon = Contender::start(world.beside(wish), &terms);
    let fence = daemon.leads_within(Duration::from_secs(2)).await;
    assert_eq!(fence.epoch, 2);
    sleep(TTL * 4).await;
    assert!(daemon.leads() && !console.leads());
    // another one with priority has to wait for its turn
    let wish = EngineSettings { priority: true, ..settings("second") };
    let second = Contender::start(world.beside(wish), &terms);
    sleep(TTL * 4).await;
    assert!(daemon.leads() && !second.leads());
    assert_eq!(lease(&world).await.wanted_by, None);
}

#[tokio::test(start_paused = true)]
async fn an_observer_never_leads() {
    let terms = Terms::default();
    let world = World::with(EngineSettings { contend: false, ..settings("observer") });
    let observer = Contender::start(world.clone(), &terms);
    sleep(TTL * 10).await;
    assert!(!observer.leads());
    assert_eq!(world.body(Collection::Leases, lease::LEASE_KEY).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_read_is_taken_once_it_ran_out() {
    let world = World::with(settings("a"));
    world.put(Collection::Leases, lease::LEASE_KEY, json!({"holder": 7, "epoch": "x"})).await;
    let mut a = Contender::start(world, &Terms::default());
    a.leads_within(TTL * 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_lease_ends_the_term_and_the_epoch_still_grows() {
    let terms = Terms::default();
    let world = World::with(settings("a"));
    let mut a = Contender::start(world.clone(), &terms);
    a.leads_within(TTL).await;
    world.remove(Collection::Leases, lease::LEASE_KEY).await;
    a.yields_within(Duration::from_secs(1)).await;
    let fence = a.leads_within(TTL).await;
    assert_eq!(fence.epoch, 2);
}

fn body(value: serde_json::Value) -> crate::ports::store::Body {
    match value {
        serde_json::Value::Object(body) => body,
        other => panic!("{other} is no document"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_read_is_not_taken_from_who_renews_it_at_its_usual_pace() {
    let (world, terms) = (World::with(settings("a")), Terms::default());
    let renew = async {
        for n in 0..20 {
            let newer = json!({"holder": {"name": "b"}, "instance": n});
            world.put(Collection::Leases, lease::LEASE_KEY, newer).await;
            sleep(Duration::from_secs(5)).await;
        }
    };
    let mut contender = Contender::start(world.beside(settings("a")), &terms);
    renew.await;
    assert!(!contender.leads());
    contender.leads_within(TTL * 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_leaves_every_renewal_open_is_asked_with_pauses() {
    let (world, terms) = (World::with(settings("a")), Terms::default());
    let mut leader = Contender::start(world.clone(), &terms);
    leader.leads_within(TTL).await;
    world.store.set_unsure(true);
    let before = world.store.calls();
    leader.yields_within(TTL).await;
    let asked = world.store.calls() - before;
    assert!(asked < 50, "{asked} calls");
    world.store.set_unsure(false);
    leader.leads_within(TTL * 2).await;
}

#[test]
fn the_lease_is_judged_by_how_long_it_was_seen_unchanged() {
    let secs = Duration::from_secs;
    let held =
        Lease { holder: "a@h".into(), instance: "a".into(), ttl_ms: 15_000, ..Lease::default() };
    let free = Lease { holder: String::new(), instance: String::new(), ..held.clone() };
    let takes = |lease: Option<&Lease>, priority, unchanged| {
        matches!(judge(lease, "me", priority, unchanged), Verdict::Take(_))
    };
    assert!(takes(None, false, secs(0)));
    assert!(takes(Some(&free), false, secs(0)));
    assert!(takes(Some(&held), false, secs(15)));
    assert!(matches!(judge(Some(&held), "a", false, secs(0)), Verdict::Take(_)));
    assert_eq!(judge(Some(&held), "me", false, secs(4)), Verdict::Wait(secs(11)));
    assert_eq!(judge(Some(&held), "me", true, secs(4)), Verdict::Ask);
    let asked = Lease { wanted_by: Some("other".into()), ..held.clone() };
    assert_eq!(judge(Some(&asked), "me", true, secs(4)), Verdict::Wait(secs(11)));
    let kept = Lease { wanted_by: Some("other".into()), ..free.clone() };
    assert_eq!(judge(Some(&kept), "me", false, secs(1)), Verdict::Wait(secs(4)));
    assert!(takes(Some(&kept), false, secs(5)));
    let mine = Lease { wanted_by: Some("me".into()), ..free };
    assert!(takes(Some(&mine), false, secs(0)));
    let strange = Lease::read(&body(json!({"holder": 7, "ttl_ms": 20_000})));
    assert_eq!(judge(Some(&strange), "me", true, secs(4)), Verdict::Wait(secs(16)));
    let hostile = Lease { ttl_ms: 0, ..held };
    assert_eq!(judge(Some(&hostile), "me", false, secs(0)), Verdict::Wait(secs(1)));
}
