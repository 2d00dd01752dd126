//! Messages over the store in memory, under a clock that the tests move.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::engine::journal::{FENCE_KEY, Fence};
use crate::engine::testing::{World, agent};
use crate::model::message::KEEP_KEY;
use crate::model::message::moves;
use crate::ports::ids::RandomIds;
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_secs(10);

struct Post {
    world: World,
    messaging: Messaging,
}

impl Post {
    async fn new() -> Self {
        let world = World::new();
        world.put(Collection::Agents, "b", agent("b", "running")).await;
        let ctx = &world.ctx;
        let messaging = Messaging::new(ctx.store.clone(), ctx.clock.clone(), RandomIds::shared());
        Self { world, messaging }
    }

    fn receiver(&self) -> Receiver {
        Receiver::new(AgentId::new("b").unwrap(), &RandomIds)
    }

    fn new_message(&self) -> NewMessage {
        NewMessage::new(AgentId::new("a").unwrap(), AgentId::new("b").unwrap(), "task_request")
    }

    async fn send(&self) -> MessageId {
        self.messaging.send(&self.new_message()).await.unwrap()
    }

    async fn claim(&self, receiver: &Receiver, limit: usize) -> Vec<Claimed> {
        self.messaging.claim(receiver, limit, LEASE).await.unwrap()
    }

    fn pass(&self, span: Duration) {
        self.world.clock.jump(i64::try_from(span.as_millis()).unwrap());
    }

    async fn sweep(&self) -> sweep::Swept {
        self.messaging.sweep(self.world.ctx.clock.now()).await.unwrap()
    }

    async fn look(&self, id: &MessageId) -> Message {
        let key = Key::new(id.as_str()).unwrap();
        let document = self.world.ctx.store.get(Collection::AgentMessages, &key).await.unwrap();
        read(&document).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_claimed_and_acknowledged() {
    let post = Post::new().await;
    let id = post.send().await;
    let receiver = post.receiver();
    let claimed = post.claim(&receiver, 10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].key.as_str(), id.as_str());
    let held = post.look(&id).await;
    assert_eq!((held.status, held.attempts), (MessageStatus::Leased, 1));
    assert!(held.delivered_at.is_some() && held.lease_until.is_some());
    post.messaging.ack(&receiver, &claimed[0]).await.unwrap();
    post.messaging.ack(&receiver, &claimed[0]).await.unwrap(); // twice is no error
    let done = post.look(&id).await;
    assert_eq!((done.status, done.lease_owner), (MessageStatus::Delivered, None));
    assert!(done.acked_at.is_some() && done.purge_at.is_some());
    assert!(post.claim(&receiver, 10).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_or_deleted_receiver_is_a_fault_beside_all_others() {
    let post = Post::new().await;
    post.world.put(Collection::Agents, "gone", agent("gone", "deleted")).await;
    for (to, says) in [("nobody", "there is no agent nobody"), ("gone", "deleted")] {
        let mut new = post.new_message();
        new.to = AgentId::new(to).unwrap();
        new.priority = 0;
        let Err(MessagingError::Invalid { errors }) = post.messaging.send(&new).await else {
            panic!("it was sent");
        };
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["/to", "/priority"]);
        assert!(errors[0].message.contains(says), "{}", errors[0]);
    }
    let all = Filter::All;
    assert_eq!(post.world.ctx.store.count(Collection::AgentMessages, all).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_deleted_is_refused_within_a_second_however_busy_the_sender() {
    let post = Post::new().await;
    post.send().await;
    post.world.put(Collection::Agents, "b", agent("b", "deleted")).await;
    let mut refused = None;
    for tenth in 1..=11 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Err(error) = post.messaging.send(&post.new_message()).await {
            refused = Some((tenth, error));
            break;
        }
    }
    assert!(matches!(refused, Some((10, MessagingError::Invalid { .. }))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_idempotency_key_gives_the_first_id_for_a_day() {
    let post = Post::new().await;
    let mut new = post.new_message();
    new.idempotency_key = Some("order-7".into());
    new.ttl = Duration::from_secs(7 * 24 * 3_600);
    let first = post.messaging.send(&new).await.unwrap();
    assert_eq!(post.messaging.send(&new).await.unwrap(), first);
    let mut other = new.clone();
    other.from = AgentId::new("c").unwrap();
    let theirs = post.messaging.send(&other).await.unwrap();
    assert_ne!(theirs, first, "keys are per sender");
    // within one call, mixed with new ones
    let plain = post.new_message();
    let many = [new.clone(), plain, new.clone()];
    let sent = post.messaging.send_many(&many).await.unwrap();
    assert_eq!((&sent[0], &sent[2]), (&first, &first));
    assert_ne!(sent[1], first);
    post.pass(KEEP_KEY);
    let second = post.messaging.send(&new).await.unwrap();
    assert_ne!(second, first, "a day later the key is free, swept or not");
    assert_eq!(post.messaging.send(&new).await.unwrap(), second);
}

#[tokio::test(start_paused = true)]
async fn one_wrong_message_keeps_a_whole_batch_from_being_sent() {
    let post = Post::new().await;
    let mut bad = post.new_message();
    bad.message_type = "NO".into();
    let many = [post.new_message(), bad];
    let Err(MessagingError::Invalid { errors }) = post.messaging.send_many(&many).await else {
        panic!("it was sent");
    };
    assert_eq!(errors[0].path, "/1/message_type");
    assert!(post.claim(&post.receiver(), 10).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn urgent_messages_come_first_and_equals_in_order_of_time() {
    let post = Post::new().await;
    let mut sent = Vec::new();
    for priority in [5, 1, 10, 5, 10] {
        let mut new = post.new_message();
        new.priority = priority;
        sent.push(post.messaging.send(&new).await.unwrap().to_string());
        post.pass(Duration::from_millis(1));
    }
    let claimed = post.claim(&post.receiver(), 10).await;
    let order: Vec<usize> = claimed
        .iter()
        .map(|one| sent.iter().position(|id| id == one.key.as_str()).unwrap())
        .collect();
    assert_eq!(order, [2, 4, 0, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn only_a_running_receiver_claims() {
    let post = Post::new().await;
    post.send().await;
    let receiver = post.receiver();
    for phase in ["pending", "deploying", "paused", "draining", "stopped", "failed", "deleted"] {
        post.world.put(Collection::Agents, "b", agent("b", phase)).await;
        assert!(post.claim(&receiver, 10).await.is_empty(), "{phase}");
    }
    post.world.remove(Collection::Agents, "b").await;
    assert!(post.claim(&receiver, 10).await.is_empty());
    post.world.put(Collection::Agents, "b", agent("b", "running")).await;
    assert_eq!(post.claim(&receiver, 10).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ack_by_anyone_but_the_holder_is_refused() {
    let post = Post::new().await;
    let id = post.send().await;
    let (mine, other) = (post.receiver(), post.receiver());
    let claimed = post.claim(&mine, 1).await.remove(0);
    let refused = post.messaging.ack(&other, &claimed).await;
    assert!(matches!(refused, Err(MessagingError::NotHeld { .. })), "{refused:?}");
    let mut forged = claimed.clone();
    forged.owner = other.owner.clone();
    forged.rev = Rev("0".into());
    let refused = post.messaging.ack(&other, &forged).await;
    assert!(matches!(refused, Err(MessagingError::NotHeld { .. })), "{refused:?}");
    assert_eq!(post.look(&id).await.status, MessageStatus::Leased);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_does_not_settle_the_next_attempt_of_the_same_owner() {
    let post = Post::new().await;
    let id = post.send().await;
    let receiver = post.receiver();
    let old = post.claim(&receiver, 1).await.remove(0);
    post.pass(LEASE);
    assert_eq!(post.sweep().await.returned, 1);
    post.pass(Duration::from_secs(2));
    let new = post.claim(&receiver, 1).await.remove(0);
    let refused = post.messaging.ack(&receiver, &old).await;
    assert!(matches!(refused, Err(MessagingError::NotHeld { .. })), "{refused:?}");
    post.messaging.ack(&receiver, &new).await.unwrap();
    let refused = post.messaging.nack(&receiver, &old, "late").await;
    assert!(matches!(refused, Err(MessagingError::NotHeld { .. })), "{refused:?}");
    assert_eq!(post.look(&id).await.status, MessageStatus::Delivered);
}

#[tokio::test(start_paused = true)]
async fn an_extended_lease_outlives_its_first_end_and_still_acknowledges() {
    let post = Post::new().await;
    post.send().await;
    let receiver = post.receiver();
    let claimed = post.claim(&receiver, 1).await.remove(0);
    post.pass(LEASE / 2);
    assert_eq!(post.messaging.extend(&receiver, LEASE).await.unwrap(), 1);
    assert_eq!(post.messaging.extend(&post.receiver(), LEASE).await.unwrap(), 0);
    post.pass(LEASE / 2 + Duration::from_secs(1));
    assert_eq!(post.sweep().await.returned, 0);
    post.messaging.ack(&receiver, &claimed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn poison_is_dead_after_five_attempts_and_can_be_requeued() {
    let post = Post::new().await;
    let id = post.send().await;
    let receiver = post.receiver();
    for attempt in 1..=5 {
        let claimed = post.claim(&receiver, 1).await.remove(0);
        assert_eq!(claimed.message.attempts, attempt);
        let due = post.messaging.nack(&receiver, &claimed, "indigestible").await.unwrap();
        assert_eq!(due.is_none(), attempt == 5);
        assert!(post.claim(&receiver, 1).await.is_empty(), "it waits for its pause");
        post.pass(Duration::from_secs(61));
    }
    let dead = post.look(&id).await;
    assert_eq!(dead.status, MessageStatus::Dead);
    assert_eq!(dead.last_error.as_deref(), Some("indigestible"));
    assert!(dead.dead_at.is_some() && dead.purge_at.is_some());

    let store = &post.world.ctx.store;
    let key = Key::new(id.as_str()).unwrap();
    let document = store.get(Collection::AgentMessages, &key).await.unwrap();
    let body = requeue(&document, post.world.ctx.clock.now()).unwrap();
    post.world.put(Collection::AgentMessages, id.as_str(), body).await;
    let again = post.claim(&receiver, 1).await.remove(0);
    assert_eq!(again.message.attempts, 1);
    let document = store.get(Collection::AgentMessages, &key).await.unwrap();
    let refused = purge(&document, post.world.ctx.clock.now());
    assert!(matches!(refused, Err(MessagingError::Refused(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_past_its_time_is_neither_claimed_nor_left_pending() {
    let post = Post::new().await;
    let id = post.send().await;
    post.pass(Duration::from_secs(3_600));
    assert!(post.claim(&post.receiver(), 1).await.is_empty(), "claims judge by the clock");
    assert_eq!(post.sweep().await.expired, 1);
    let gone = post.look(&id).await;
    assert_eq!(gone.status, MessageStatus::Expired);
    assert!(gone.purge_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_released_message_is_due_at_once_and_keeps_its_attempts() {
    let post = Post::new().await;
    post.send().await;
    let receiver = post.receiver();
    let claimed = post.claim(&receiver, 1).await.remove(0);
    post.messaging.release(&receiver, &claimed).await.unwrap();
    let again = post.claim(&post.receiver(), 1).await.remove(0);
    assert_eq!(again.message.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn agents_that_know_only_the_seed_fields_take_part() {
    let post = Post::new().await;
    let seed = json!({
        "from_agent_id": "old", "to_agent_id": "b", "message_type": "command",
        "payload": {"x": 1}, "status": "pending", "priority": 5,
        "created_at": "2026-11-21T00:00:00Z",
    });
    post.world.put(Collection::AgentMessages, "msg-seed", seed.clone()).await;
    let receiver = post.receiver();
    let claimed = post.claim(&receiver, 10).await.remove(0);
    let due = post.messaging.nack(&receiver, &claimed, "not yet").await.unwrap();
    assert!(due.is_some(), "it has the default number of attempts");
    post.pass(Duration::from_secs(2));
    let claimed = post.claim(&receiver, 10).await.remove(0);
    post.messaging.ack(&receiver, &claimed).await.unwrap();

    // and one that such an agent takes: a plain update of the status
    let mut taken = seed;
    taken["status"] = json!("delivered");
    taken["expires_at"] = json!(post.world.ctx.clock.now().plus(Duration::from_secs(10)));
    post.world.put(Collection::AgentMessages, "msg-taken", taken).await;
    let (since, now) = (Time::EPOCH, post.world.ctx.clock.now());
    assert_eq!(post.messaging.sweep_seldom(since, now).await.unwrap().dated, 0);
    let later = now.plus(Duration::from_secs(11));
    assert_eq!(post.messaging.sweep_seldom(now, later).await.unwrap().dated, 1);
    let id = MessageId::new("msg-taken").unwrap();
    assert!(post.look(&id).await.purge_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_no_message_goes_to_the_dead_letters_with_the_reason() {
    let post = Post::new().await;
    let odd = json!({"to_agent_id": "b", "status": "pending", "payload": "not an object"});
    post.world.put(Collection::AgentMessages, "odd", odd).await;
    assert!(post.claim(&post.receiver(), 10).await.is_empty());
    let body = post.world.body(Collection::AgentMessages, "odd").await.unwrap();
    assert_eq!(body["status"], "dead");
    assert!(body["last_error"].as_str().unwrap().contains("is no message"), "{body:?}");
}

#[tokio::test(start_paused = true)]
async fn keys_are_forgotten_after_a_day() {
    let post = Post::new().await;
    let mut new = post.new_message();
    new.idempotency_key = Some("x".into());
    let id = post.messaging.send(&new).await.unwrap();
    let now = post.world.ctx.clock.now();
    assert_eq!(post.messaging.sweep_seldom(now, now).await.unwrap().forgotten, 0);
    let later = now.plus(KEEP_KEY);
    assert_eq!(post.messaging.sweep_seldom(now, later).await.unwrap().forgotten, 1);
    assert_eq!(post.look(&id).await.idempotency_key, None);
}

/// Messages in a status, the later by name the earlier out of time.
async fn many(post: &Post, count: u64, status: &str, more: serde_json::Value) {
    let now = post.world.ctx.clock.now();
    let mut writes = Vec::new();
    for n in 0..count {
        let at = now.minus(Duration::from_secs(n + 1));
        let mut message = json!({"status": status, "expires_at": at, "created_at": at});
        let fields = message.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        if let Some(key) = fields.get_mut("idempotency_key") {
            *key = json!(format!("k{n}"));
        }
        let (collection, key) = (Collection::AgentMessages, Key::new(&format!("m{n:05}")).unwrap());
        let serde_json::Value::Object(body) = message else { unreachable!() };
        writes.push(Write::Put { collection, key, body });
    }
    post.world.ctx.store.transact(writes, Durability::Durable).await.unwrap();
}

/// Takes away the date of some of those.
async fn undate(post: &Post, names: &[&str]) {
    for name in names {
        let mut message = post.world.body(Collection::AgentMessages, name).await.unwrap();
        message.remove("purge_at");
        post.world.put(Collection::AgentMessages, name, message).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_ran_out_of_time_first_expires_first() {
    let post = Post::new().await;
    many(&post, 600, "pending", json!({})).await;
    post.world.store.lose_after(2); // the leases, and one batch
    post.messaging.sweep(post.world.ctx.clock.now()).await.unwrap_err();
    post.world.store.find_again();
    let first = post.world.body(Collection::AgentMessages, "m00000").await.unwrap();
    let last = post.world.body(Collection::AgentMessages, "m00599").await.unwrap();
    assert_eq!((&first["status"], &last["status"]), (&json!("pending"), &json!("expired")));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_keys_are_forgotten_first() {
    let post = Post::new().await;
    many(&post, 600, "delivered", json!({"purge_at": "2027-01-01", "idempotency_key": ""})).await;
    let later = post.world.ctx.clock.now().plus(KEEP_KEY);
    post.world.store.lose_after(1);
    post.messaging.sweep_seldom(later, later).await.unwrap_err();
    post.world.store.find_again();
    let first = post.world.body(Collection::AgentMessages, "m00000").await.unwrap();
    let last = post.world.body(Collection::AgentMessages, "m00599").await.unwrap();
    assert!(first.contains_key("idempotency_key") && !last.contains_key("idempotency_key"));
}

#[tokio::test(start_paused = true)]
async fn what_is_dated_already_is_read_and_never_written() {
    let post = Post::new().await;
    many(&post, 1_200, "delivered", json!({"purge_at": "2027-01-01T00:00:00.000Z"})).await;
    undate(&post, &["m00007", "m01100"]).await;
    let (now, cursor) = (post.world.ctx.clock.now(), post.world.ctx.store.cursor().await.unwrap());
    let swept = post.messaging.sweep_seldom(Time::EPOCH, now).await.unwrap();
    assert_eq!((swept.dated, swept.dated_to), (2, now));
    for name in ["m00007", "m01100"] {
        let message = post.world.body(Collection::AgentMessages, name).await.unwrap();
        assert!(message.contains_key("purge_at"), "{name}");
    }
    let written = |cursor: crate::ports::store::Cursor| cursor.0.parse::<u64>().unwrap();
    let after = post.world.ctx.store.cursor().await.unwrap();
    assert_eq!(written(after) - written(cursor), 2);
    assert_eq!(post.world.store.bulk_updates(), 1, "only the keys'");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_looks_through_what_the_last_one_has_not() {
    let post = Post::new().await;
    post.world.put(Collection::Leases, FENCE_KEY, json!({"epoch": 1})).await;
    let key = Key::new(FENCE_KEY).unwrap();
    let rev = post.world.ctx.store.get(Collection::Leases, &key).await.unwrap().rev;
    many(&post, 10_600, "delivered", json!({"purge_at": "2027-01-01T00:00:00.000Z"})).await;
    undate(&post, &["m00000", "m10599"]).await; // of the last page, and of the first
    let lead = |seconds| {
        let stop = CancellationToken::new();
        let looping =
            run(post.world.ctx.clone(), Fence { epoch: 1, rev: rev.clone() }, stop.clone());
        async move {
            let end = async {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                stop.cancel();
            };
            tokio::join!(looping, end).0.unwrap();
        }
    };
    lead(8).await;
    let undated = Filter::Not(Box::new(Filter::Exists(Field::of("purge_at"))));
    let left = post.world.ctx.store.count(Collection::AgentMessages, undated).await.unwrap();
    assert_eq!(left, 0, "two looks");
    let before = post.world.store.calls();
    lead(1).await;
    let asked = post.world.store.calls() - before;
    assert!(asked < 12, "the next leader need not look at all of them: {asked} calls");
}

#[tokio::test(start_paused = true)]
async fn the_loop_returns_what_ran_out_and_ends_when_another_leader_begins() {
    let post = Post::new().await;
    post.world.put(Collection::Leases, FENCE_KEY, json!({"epoch": 1})).await;
    let key = Key::new(FENCE_KEY).unwrap();
    let rev = post.world.ctx.store.get(Collection::Leases, &key).await.unwrap().rev;
    let id = post.send().await;
    post.claim(&post.receiver(), 1).await;
    let stop = CancellationToken::new();
    let sweeping = run(post.world.ctx.clone(), Fence { epoch: 1, rev }, stop);
    tokio::pin!(sweeping);
    let swept = async {
        while post.look(&id).await.status == MessageStatus::Leased {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let began = tokio::time::Instant::now();
    tokio::select! {
        end = &mut sweeping => panic!("the loop ended: {end:?}"),
        () = swept => {}
    }
    let late = began.elapsed().saturating_sub(LEASE);
    assert!(late <= Duration::from_millis(500), "swept at its deadline, not {late:?} after");
    assert_eq!(post.look(&id).await.status, MessageStatus::Pending);
    post.world.put(Collection::Leases, FENCE_KEY, json!({"epoch": 2})).await;
    let end = tokio::time::timeout(Duration::from_secs(20), sweeping).await.unwrap();
    assert!(end.is_err(), "a loop that finds another leader stops");
}

/// What several processes may do to one agent's messages, in any order.
#[derive(Debug, Clone)]
enum Act {
    Send { priority: i64, ttl: u64 },
    Claim { owner: usize, limit: usize },
    Settle { owner: usize, which: usize, well: bool },
    Extend { owner: usize },
    Pass { millis: u64 },
    Sweep,
    Pause(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (1i64..=10, 1u64..400).prop_map(|(priority, ttl)| Act::Send { priority, ttl }),
        3 => (0usize..3, 1usize..4).prop_map(|(owner, limit)| Act::Claim { owner, limit }),
        4 => (0usize..3, 0usize..4, any::<bool>())
            .prop_map(|(owner, which, well)| Act::Settle { owner, which, well }),
        1 => (0usize..3).prop_map(|owner| Act::Extend { owner }),
        2 => (1u64..30_000).prop_map(|millis| Act::Pass { millis }),
        2 => Just(Act::Sweep),
        1 => any::<bool>().prop_map(Act::Pause),
    ];
    prop::collection::vec(act, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn no_order_of_events_loses_a_message_or_gives_it_to_two(acts in acts()) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let post = Post::new().await;
            let owners = [post.receiver(), post.receiver(), post.receiver()];
            let mut hands: [Vec<Claimed>; 3] = Default::default();
            let mut sent: Vec<MessageId> = Vec::new();
            let mut acked: BTreeMap<Key, u32> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Send { priority, ttl } => {
                        let mut new = post.new_message();
                        new.priority = priority;
                        new.ttl = Duration::from_secs(ttl);
                        sent.push(post.messaging.send(&new).await.unwrap());
                    }
                    Act::Claim { owner, limit } => {
                        for claimed in post.claim(&owners[owner], limit).await {
                            prop_assert!(claimed.message.attempts <= 5);
                            prop_assert!(!acked.contains_key(&claimed.key));
                            hands[owner].push(claimed);
                        }
                    }
                    Act::Settle { owner, which, well } if which < hands[owner].len() => {
                        let claimed = hands[owner].remove(which);
                        let id = MessageId::new(claimed.key.as_str()).unwrap();
                        let found = post.look(&id).await;
                        let held = found.status == MessageStatus::Leased
                            && found.lease_owner.as_deref() == Some(&*owners[owner].owner)
                            && found.attempts == claimed.message.attempts;
                        let answer = if well {
                            post.messaging.ack(&owners[owner], &claimed).await
                        } else {
                            post.messaging.nack(&owners[owner], &claimed, "no").await.map(drop)
                        };
                        prop_assert_eq!(answer.is_ok(), held);
                        if held && well {
                            *acked.entry(claimed.key).or_default() += 1;
                        }
                    }
                    Act::Settle { .. } => {}
                    Act::Extend { owner } => {
                        post.messaging.extend(&owners[owner], LEASE).await.unwrap();
                    }
                    Act::Pass { millis } => post.pass(Duration::from_millis(millis)),
                    Act::Sweep => drop(post.sweep().await),
                    Act::Pause(paused) => {
                        let phase = if paused { "paused" } else { "running" };
                        post.world.put(Collection::Agents, "b", agent("b", phase)).await;
                    }
                }
                // what several hands believe to hold, at most one holds
                let mut holders: BTreeMap<&Key, u32> = BTreeMap::new();
                for (owner, hand) in hands.iter().enumerate() {
                    for claimed in hand {
                        let id = MessageId::new(claimed.key.as_str()).unwrap();
                        let found = post.look(&id).await;
                        let holds = found.lease_owner.as_deref() == Some(&*owners[owner].owner)
                            && found.attempts == claimed.message.attempts;
                        *holders.entry(&claimed.key).or_default() += u32::from(holds);
                    }
                }
                prop_assert!(holders.values().all(|count| *count <= 1));
            }
            // time passes: every message comes to one end, and none is gone
            post.pass(Duration::from_secs(1_000));
            post.sweep().await;
            post.sweep().await;
            for id in &sent {
                let end = post.look(id).await;
                let key = Key::new(id.as_str()).unwrap();
                prop_assert!(end.status.is_final(), "{:?}", end);
                prop_assert_eq!(end.status == MessageStatus::Delivered, acked.contains_key(&key));
            }
            prop_assert!(acked.values().all(|count| *count == 1));
            Ok(())
        })?;
    }
}

#[test]
fn a_pause_before_the_next_attempt_is_what_the_contract_says() {
    let middle = |attempts| moves::backoff(attempts, 0.5).as_secs_f64();
    assert_eq!([1, 2, 3, 4, 7, 20].map(middle), [1.0, 2.0, 4.0, 8.0, 60.0, 60.0]);
}
