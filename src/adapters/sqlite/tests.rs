//! What only the inside can show: which index answers, how values are written down, what stands in the file.

use serde_json::json;

use super::*;
use crate::ports::clock::SystemClock;
use crate::ports::store::{Body, Bookmark, Direction, Guard};

fn body(value: serde_json::Value) -> Body {
    let serde_json::Value::Object(body) = value else { panic!("a body is an object") };
    body
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn insert(collection: Collection, at: &str, value: serde_json::Value) -> Write {
    Write::Insert { collection, key: key(at), body: body(value) }
}

fn open(folder: &tempfile::TempDir) -> Arc<SqliteStore> {
    let options = SqliteOptions::new(folder.path().join("fleet.db"));
    SqliteStore::open(options, SystemClock::shared()).unwrap()
}

/// How SQLite would run a statement, one line a step.
fn plan(store: &SqliteStore, statement: &sql::Sql) -> String {
    let lane = open::reader(&store.options).unwrap();
    let explained = sql::Sql {
        text: format!("EXPLAIN QUERY PLAN {}", statement.text),
        bound: statement.bound.clone(),
        judged: Vec::new(),
    };
    lane.rows(&explained, |row| Ok(row.get::<_, String>(3).unwrap())).unwrap().join("\n")
}

fn plans(store: &SqliteStore, query: &Query) -> Vec<String> {
    read::page_statements(query).unwrap().iter().map(|sql| plan(store, sql)).collect()
}

fn ascending(fields: &[&'static str]) -> Vec<(Field, Direction)> {
    fields.iter().map(|field| (Field::from(*field), Direction::Ascending)).collect()
}

fn claim() -> UpdateWhere {
    UpdateWhere {
        collection: Collection::AgentMessages,
        filter: Filter::eq("to_agent_id", "b").and(Filter::eq("status", "pending")),
        sort: ascending(&["rank", "created_at"]),
        limit: 100,
        set: vec![("status".into(), json!("leased")), ("lease.owner".into(), json!("me"))],
        add: vec![("attempts".into(), 1)],
        guard: Some(Guard {
            collection: Collection::Agents,
            key: key("b"),
            filter: Filter::eq("phase", "running"),
        }),
        durability: Durability::Relaxed,
    }
}

#[tokio::test]
async fn a_claim_goes_through_its_index_in_order_without_sorting() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let update = claim();
    let statement = read::select(
        "key,rev,body",
        update.collection,
        &update.filter,
        &sql::Sql::new("1"),
        &update.sort,
        100,
    );
    let plan = plan(&store, &statement.unwrap());
    assert!(plan.contains("agent_messages_by_to_agent_id_status_rank_created_at"), "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn hot_questions_use_their_index_without_sorting() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mark = |values: Vec<serde_json::Value>| Some(Bookmark { values, key: key("k") });
    let cases = [
        (
            Query {
                after: mark(vec![]),
                ..Query::new(Collection::Agents, Filter::eq("phase", "running"))
            },
            "agents_by_phase",
        ),
        (
            Query {
                sort: ascending(&["seq"]),
                ..Query::new(Collection::Events, Filter::Gt("seq".into(), json!(17)))
            },
            "events_unique_seq",
        ),
        (
            Query {
                sort: vec![("seq".into(), Direction::Descending)],
                ..Query::new(Collection::Events, Filter::Exists("seq".into()))
            },
            "events_unique_seq",
        ),
        (
            Query {
                sort: ascending(&["seq"]),
                after: mark(vec![json!(9)]),
                ..Query::new(
                    Collection::Events,
                    Filter::eq("aggregate", "agent").and(Filter::eq("aggregate_id", "a")),
                )
            },
            "events_by_aggregate_aggregate_id_seq",
        ),
        (
            Query {
                sort: ascending(&["seq"]),
                ..Query::new(
                    Collection::AgentPublications,
                    Filter::eq("event_name", "x").and(Filter::Gt("seq".into(), json!(3))),
                )
            },
            "agent_publications_by_event_name_seq",
        ),
        (
            Query {
                sort: ascending(&["created_at"]),
                after: mark(vec![json!("2026")]),
                ..Query::new(Collection::AgentMessages, Filter::All)
            },
            "agent_messages_by_created_at",
        ),
        (
            Query::new(Collection::AgentMessages, Filter::eq("correlation_id", "c")),
            "agent_messages_sparse_correlation_id",
        ),
        (
            Query::new(
                Collection::AgentMessages,
                Filter::eq("from_agent_id", "a").and(Filter::eq("idempotency_key", "i")),
            ),
            "agent_messages_unique_sparse_from_agent_id_idempotency_key",
        ),
        (
            Query {
                sort: ascending(&["lease_until"]),
                ..Query::new(
                    Collection::AgentMessages,
                    Filter::Lt("lease_until".into(), json!("2026")),
                )
            },
            "agent_messages_sparse_lease_until",
        ),
    ];
    for (query, index) in cases {
        for plan in plans(&store, &query) {
            assert!(
                plan.contains(&format!("{index} ")) || plan.ends_with(index),
                "{query:?}\n{plan}"
            );
            assert!(!plan.contains("TEMP B-TREE"), "{query:?}\n{plan}");
        }
    }
}

#[tokio::test]
async fn a_page_by_key_walks_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let after = Some(Bookmark { values: vec![], key: key("k") });
    let query = Query { after, ..Query::new(Collection::Agents, Filter::All) };
    let plan = plans(&store, &query).join("\n");
    assert!(
        plan.starts_with("SEARCH agents USING INDEX sqlite_autoindex_agents_1 (key>?)"),
        "{plan}"
    );
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn a_claim_is_guarded_bounded_and_returns_what_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let send = |at: &str, rank: u64| {
        insert(
            Collection::AgentMessages,
            at,
            json!({"to_agent_id": "b", "status": "pending", "rank": rank, "created_at": "2026", "odd": [1]}),
        )
    };
    store
        .transact(vec![send("m1", 5), send("m2", 1), send("m3", 5)], Durability::Durable)
        .await
        .unwrap();
    assert_eq!(store.update_where(claim()).await.unwrap(), vec![], "nobody of that name runs");
    let agent = insert(Collection::Agents, "b", json!({"phase": "running"}));
    store.transact(vec![agent], Durability::Durable).await.unwrap();
    let claimed = store.update_where(UpdateWhere { limit: 2, ..claim() }).await.unwrap();
    let keys: Vec<_> = claimed.iter().map(|document| document.key.as_str()).collect();
    assert_eq!(keys, ["m2", "m1"]);
    let stored = store.get(Collection::AgentMessages, &key("m2")).await.unwrap();
    assert_eq!(stored, claimed[0]);
    assert_eq!(stored.body["lease"], json!({"owner": "me"}));
    assert_eq!(stored.body["attempts"], 1);
    assert_eq!(stored.body["odd"], json!([1]));
    assert_eq!(store.update_where(claim()).await.unwrap().len(), 1);
    assert_eq!(store.update_where(claim()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn values_of_every_type_are_written_down_in_one_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let values = [
        json!(null),
        json!(false),
        json!(true),
        json!(-1.5e300),
        json!(i64::MIN),
        json!(-1),
        json!(0),
        json!(0.5),
        json!(1),
        json!(""),
        json!("1"),
        json!("ä\u{0}ö"),
        json!([1]),
        json!({"a": 1}),
    ];
    let writes = values.iter().enumerate().map(|(place, value)| {
        // keys in the opposite order, so that they cannot be what sorts
        insert(Collection::Configs, &format!("k{}", 99 - place), json!({"v": value}))
    });
    store.transact(writes.collect(), Durability::Relaxed).await.unwrap();
    for (direction, limit) in [
        (Direction::Ascending, 100),
        (Direction::Ascending, 1),
        (Direction::Descending, 100),
        (Direction::Descending, 3),
    ] {
        let mut query = Query {
            sort: vec![("v".into(), direction)],
            limit,
            ..Query::new(Collection::Configs, Filter::All)
        };
        let mut found = Vec::new();
        loop {
            let page = store.query(query.clone()).await.unwrap();
            found.extend(page.documents.into_iter().map(|mut d| d.body.remove("v").unwrap()));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        if direction == Direction::Descending {
            found.reverse();
        }
        assert_eq!(found, values, "{direction:?} by {limit}");
    }
    let field = Field::from("v");
    let tally = store.tally(Collection::Configs, Filter::All, std::slice::from_ref(&field), None);
    let tallied: Vec<_> =
        tally.await.unwrap().into_iter().map(|tally| tally.values[0].clone()).collect();
    assert_eq!(tallied, values);
}

#[tokio::test]
async fn after_a_newer_program_came_by_this_one_only_reads() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let lease = || insert(Collection::Leases, "engine", json!({"holder": "me"}));
    store.transact(vec![lease()], Durability::Durable).await.unwrap();
    let other = rusqlite::Connection::open(folder.path().join("fleet.db")).unwrap();
    other.pragma_update(None, "user_version", migrate::VERSION + 1).unwrap();
    let refused = store.transact(vec![lease()], Durability::Durable).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Denied { message } if message.contains("restart")));
    assert_eq!(store.get(Collection::Leases, &key("engine")).await.unwrap().body["holder"], "me");
}

#[test]
fn an_older_file_is_copied_and_brought_forward_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    drop(open(&folder));
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute("INSERT INTO agents(key,rev,body) VALUES('a',1,'{\"phase\":\"running\"}')", [])
        .unwrap();
    let second = migrate::Step {
        version: migrate::VERSION + 1,
        run: |connection| {
            connection.execute_batch("UPDATE agents SET body=json_set(body,'$.phase','paused')")
        },
    };
    let first =
        migrate::Step { version: migrate::VERSION, run: |_| panic!("has been run long ago") };
    let steps = [first, second];
    let copy = migrate::forward(&connection, &path, &steps).unwrap().unwrap();
    assert_eq!(copy, folder.path().join(format!("fleet.db.before-v{}", migrate::VERSION + 1)));
    let phase = |connection: &rusqlite::Connection| -> String {
        let sql = "SELECT json_extract(body,'$.phase') FROM agents";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(phase(&connection), "paused");
    assert_eq!(migrate::user_version(&connection).unwrap(), migrate::VERSION + 1);
    let before = rusqlite::Connection::open(&copy).unwrap();
    assert_eq!(phase(&before), "running");
    assert_eq!(migrate::user_version(&before).unwrap(), migrate::VERSION);
    // and an older program now refuses the file
    assert!(migrate::forward(&connection, &path, &steps[..1]).is_err());
}

#[tokio::test]
async fn a_new_index_of_the_schema_needs_no_step() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let connection = rusqlite::Connection::open(folder.path().join("fleet.db")).unwrap();
    connection.execute_batch("DROP INDEX agents_by_phase; DROP TABLE alerts").unwrap();
    let store = open(&folder);
    assert_eq!(migrate::missing(&connection).unwrap(), Vec::<String>::new());
    assert_eq!(store.count(Collection::Alerts, Filter::All).await.unwrap(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn network_file_systems_are_known_by_their_number_and_fuse_by_its_mount() {
    let known = [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x0102_1997].map(open::network);
    assert_eq!(known, [Some("NFS"), Some("SMB"), Some("CIFS"), Some("SMB2"), Some("9P")]);
    // ext4, xfs, btrfs, tmpfs, overlay, zfs
    let local = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x2FC1_2FC1];
    assert_eq!(local.map(open::network), [None; 6]);
    let mounts = "/dev/vda / ext4 rw 0 0\n\
                  me@far:/x /mnt/far\\040away fuse.sshfs rw 0 0\n\
                  disk /mnt/near fuseblk rw 0 0\n\
                  /dev/vdb /mnt/far\\040away/back ext4 rw 0 0\n";
    let remote = |place: &str| open::is_remote_fuse(Path::new(place), mounts);
    assert!(remote("/mnt/far away/fleet"));
    assert!(!remote("/mnt/far away/back/fleet"), "a nearer mount is what counts");
    assert!(!remote("/mnt/near/fleet"));
    assert!(!remote("/home"));
}

#[tokio::test]
async fn a_statement_is_planned_once_whatever_is_bound_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let lane = open::reader(&store.options).unwrap();
    let due = |at: String| {
        let filter = claim().filter.and(Filter::Or(vec![
            Filter::Lte("available_at".into(), at.clone().into()),
            Filter::Not(Box::new(Filter::Exists("available_at".into()))),
        ]));
        let (sort, from) = (ascending(&["rank", "created_at"]), sql::Sql::new("1"));
        read::select("key,rev,body", Collection::AgentMessages, &filter, &from, &sort, 1).unwrap()
    };
    for day in 10..30 {
        lane.rows(&due(format!("2026-11-{day}")), |_| Ok(())).unwrap();
    }
    let text = due(String::new()).text;
    let statement = lane.connection.prepare_cached(&text).unwrap();
    assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
}

#[tokio::test]
async fn a_file_that_was_removed_or_replaced_takes_no_more_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let store = open(&folder);
    let put = |at: &str| {
        store.transact(vec![insert(Collection::Configs, at, json!({}))], Durability::Durable)
    };
    put("a").await.unwrap();
    let aside = folder.path().join("aside.db");
    std::fs::rename(&path, &aside).unwrap();
    let said = put("b").await.unwrap_err().to_string();
    let told = crate::ports::store::chain(&put("b").await.unwrap_err());
    assert!(told.contains("was removed while it was in use"), "{said}: {told}");
    assert!(store.info().await.is_err());
    std::fs::write(&path, "").unwrap();
    assert!(crate::ports::store::chain(&put("b").await.unwrap_err()).contains("was replaced"));
    std::fs::rename(&aside, &path).unwrap();
    put("b").await.unwrap();
    store.info().await.unwrap();
}
