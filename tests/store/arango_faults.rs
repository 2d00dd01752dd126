//! ArangoDB when things go wrong: each test has a server of its own, started from the folder that
//! `CVXC_TEST_ARANGO_RUN` names, and makes it fail on purpose.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cvxc::adapters::arango::options::{ArangoOptions, Login, Secret, TlsOptions};
use cvxc::adapters::arango::{ArangoStore, Standing};
use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::{AgentMessages, Agents, Alerts, Configs};
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::{Change, Durability, Store, StoreError, UpdateWhere, chain};
use futures::StreamExt;
use serde_json::{Value, json};
use url::Url;

use super::arango_server::{Server, folder};
use super::fixture::*;

async fn open(options: ArangoOptions) -> Result<Arc<ArangoStore>, StoreError> {
    ArangoStore::open(options, SystemClock::shared()).await
}

async fn refused(options: ArangoOptions) -> String {
    let error = open(options).await.expect_err("it must not open");
    chain(&error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn hostile_texts_never_reach_another_path_or_host() {
    let server = Server::start(&[]);
    let store = server.store().await;
    let hostile = ["//host:1/x", "../../_api/user/root", "a?x", "a#b", "%2F", "", &"k".repeat(255)];
    for text in hostile {
        assert!(cvxc::ports::store::Key::new(text).is_err());
        let walk = cvxc::ports::store::Traversal {
            edges: cvxc::model::schema::Collection::Dependencies,
            start: format!("agents/{text}"),
            way: cvxc::ports::store::Way::Any,
            depth: 1,
            limit: 1,
        };
        drop(store.traverse(walk).await);
        let found = store.count(Agents, Filter::eq("_key", text)).await.unwrap();
        assert_eq!(found, 0);
        let one = insert(Configs, "k", json!({text: text}));
        drop(store.transact(vec![one], Durability::Relaxed).await);
    }
    let log = server.control(reqwest::Method::GET, "/_sim/log?count=0", Value::Null).await;
    let log = log["entries"].as_array().expect("a list of requests").clone();
    assert!(log.len() > 20);
    for request in log {
        let path = request["path"].as_str().unwrap();
        let ours = path.starts_with("/_db/fleet/_api/")
            || path.starts_with("/_db/fleet/_admin/server/role");
        let made = path == "/_db/_system/_api/database" || path.starts_with("/_sim/");
        assert!(ours || made, "{path}");
        assert!(!path.contains("host") && !path.contains("user"), "{path}");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn what_was_acknowledged_is_there_whatever_failed_and_nothing_is_there_twice() {
    let server = Server::start(&[]);
    let store = server.store().await;
    written(&*store, insert(Configs, "counter", json!({"n": 0}))).await;
    server
        .faults(json!({"p503": 0.1, "pDropBefore": 0.05, "pDropAfter": 0.05, "pConflict": 0.3, "seed": 7}))
        .await;
    let writers = (0..6).map(|w| {
        let store = store.clone();
        async move {
            let (mut there, mut added, mut unknown) = (Vec::new(), 0, 0);
            for n in 0..25 {
                let at = format!("a{w}-{n}");
                let one = insert(Agents, &at, json!({"n": n}));
                let message = insert(AgentMessages, &at, json!({"to_agent_id": "b"}));
                match store.transact(vec![one, message], Durability::Durable).await {
                    Ok(_) => there.push(at),
                    Err(StoreError::OutcomeUnknown(_) | StoreError::Unavailable(_)) => {}
                    Err(other) => panic!("{other:?}"),
                }
                let add = vec![("n".into(), 1)];
                let add = UpdateWhere { add, ..update(Configs, Filter::eq("_key", "counter")) };
                match store.update_where(add).await {
                    Ok(done) => added += done.len(),
                    Err(StoreError::OutcomeUnknown(_)) => unknown += 1,
                    Err(StoreError::Unavailable(_)) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            (there, added, unknown)
        }
    });
    let ends = futures::future::join_all(writers).await;
    server.faults(json!({})).await;
    let (mut added, mut unknown, mut acknowledged) = (0, 0, 0);
    for (there, a, u) in ends {
        (added, unknown) = (added + a, unknown + u);
        acknowledged += there.len();
        for at in there {
            assert!(is_there(&*store, Agents, &at).await, "{at}");
            assert!(is_there(&*store, AgentMessages, &at).await, "{at}");
        }
    }
    let count = get(&*store, Configs, "counter").await.body["n"].as_u64().unwrap() as usize;
    assert!(
        (added..=added + unknown).contains(&count),
        "{added} added, {unknown} unknown: {count}"
    );
    assert!(acknowledged > 140, "only {acknowledged} of 150 transactions got through");
    let messages = store.count(AgentMessages, Filter::All).await.unwrap();
    assert_eq!(messages, store.count(Agents, Filter::All).await.unwrap(), "both or none");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_user_who_may_not_see_one_collection_sees_the_others() {
    use reqwest::Method;

    let server = Server::start(&[]);
    let store = server.store().await;
    written(&*store, put(Agents, "a", json!({"n": 1}))).await;
    store.close().await;
    let options = server.options();
    let rights = format!("/_api/user/ro/database/{}", options.database);
    server.control(Method::POST, "/_api/user", json!({"user": "ro", "passwd": "p"})).await;
    server.control(Method::PUT, &rights, json!({"grant": "ro"})).await;
    for hidden in ["tasks", "alerts"] {
        let path = format!("{rights}/{hidden}");
        server.control(Method::PUT, &path, json!({"grant": "none"})).await;
    }
    let theirs =
        ArangoOptions::new(options.endpoints.clone(), &options.database, "ro", Secret::new("p"));
    let store = open(theirs.unwrap()).await.expect("it opens with what it may see");
    assert!(is_there(&*store, Agents, "a").await);
    let hidden = store.count(Alerts, Filter::All).await.expect_err("it is hidden");
    assert!(chain(&hidden).contains("alerts"), "{hidden:?}");
    let denied = write(&*store, put(Agents, "b", json!({}))).await.expect_err("it may only read");
    assert!(matches!(denied, StoreError::Denied { .. }), "{denied:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_commit_that_conflicts_or_loses_its_answer_is_settled() {
    let server = Server::start(&[]);
    let store = server.store().await;
    let pair = |n: usize| {
        // two groups on one collection need a stream transaction
        vec![
            insert(Alerts, &format!("a{n}"), json!({})),
            insert(Configs, &format!("c{n}"), json!({})),
            insert(Alerts, &format!("b{n}"), json!({})),
        ]
    };
    let commits = json!({"methods": ["PUT"], "pathRegex": "/_api/transaction/"});
    for (n, kind) in ["conflict", "dropBefore", "dropAfter", "503"].into_iter().enumerate() {
        server.faults(json!({"next": [{"kind": kind, "count": 1, "match": commits}]})).await;
        let revs = store.transact(pair(n), Durability::Durable).await;
        assert_eq!(revs.unwrap_or_else(|error| panic!("{kind}: {error:?}")).len(), 3);
        for at in [format!("a{n}"), format!("b{n}")] {
            assert!(is_there(&*store, Alerts, &at).await, "{kind}");
        }
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_server_that_stalls_is_given_up_in_time_and_used_again() {
    let server = Server::start(&[]);
    let mut options = server.options();
    options.request_timeout = Duration::from_millis(300);
    options.patience = Duration::from_secs(1);
    let store = open(options).await.unwrap();
    server.faults(json!({"latencyMs": 600, "only": {"pathRegex": "/_db/"}})).await;
    let start = Instant::now();
    let write = write(&*store, insert(Agents, "a", json!({}))).await;
    assert!(matches!(write, Err(StoreError::OutcomeUnknown(_))), "{write:?}");
    let read = store.get(Agents, &key("a")).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    server.faults(json!({})).await;
    written(&*store, put(Agents, "a", json!({"n": 1}))).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_killed_server_comes_back_with_all_that_was_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let data_path = data.path().to_str().unwrap().to_owned();
    let server = Server::start(&["--data", &data_path]);
    let port = server.port().to_string();
    let store = server.store().await;
    let cursor = store.cursor().await.unwrap();
    for n in 0..50 {
        written(&*store, insert(Agents, &format!("a{n}"), json!({}))).await;
    }
    drop(server); // SIGKILL
    let gone = store.get(Agents, &key("a0")).await;
    assert!(matches!(gone, Err(StoreError::Unavailable(_))), "{gone:?}");
    let _server = Server::start(&["--data", &data_path, "--port", &port]);
    for n in 0..50 {
        assert!(is_there(&*store, Agents, &format!("a{n}")).await);
    }
    // the feed goes on from where it was, or says that it cannot
    let mut feed = store.changes(cursor, watch(&[Agents])).await.unwrap();
    let batch = feed.next().await.unwrap().unwrap();
    let told = matches!(batch[..], [Change::Resync { .. }]) || about(&batch[0]).0 == "a0";
    assert!(told, "{batch:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_log_that_was_cut_is_a_gap_and_not_silence() {
    let server = Server::start(&["--wal-entries", "100"]);
    let store = server.store().await;
    let cursor = store.cursor().await.unwrap();
    // the log keeps some thousand more than it promises
    for batch in 0..6 {
        let all = (0..1_000).map(|n| put(Agents, &format!("a{n}"), json!({"b": batch})));
        write_all(&*store, all.collect()).await;
    }
    let mut feed = store.changes(cursor, watch(&[Agents])).await.unwrap();
    let batch = feed.next().await.unwrap().unwrap();
    assert!(matches!(batch[..], [Change::Resync { .. }]), "{} changes", batch.len());
    written(&*store, insert(Agents, "new", json!({}))).await;
    let read = read_until(&mut feed, |read| !read.is_empty()).await;
    assert_eq!(about(&read[0]).0, "new");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn tokens_are_renewed_before_they_expire() {
    let server = Server::start(&["--jwt-ttl", "2"]);
    let options = ArangoOptions { login: Login::Token, ..server.options() };
    let store = open(options).await.unwrap();
    let start = Instant::now();
    let mut n = 0;
    while start.elapsed() < Duration::from_secs(5) {
        written(&*store, insert(Agents, &format!("a{n}"), json!({}))).await;
        n += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let path = "/_sim/log?count=0&path=_open";
    let log = server.control(reqwest::Method::GET, path, Value::Null).await.to_string();
    let logins = log.matches("/_open/auth").count();
    assert!((3..=6).contains(&logins), "{logins} logins in 5 s");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_wrong_password_read_only_and_a_missing_collection_each_say_so() {
    let server = Server::start(&["--password", "right"]);
    let with = |password: &str| {
        let secret = Secret::new(password);
        ArangoOptions::new(vec![server.url.clone()], "fleet", "root", secret).unwrap()
    };
    let said = refused(with("wrong")).await;
    assert!(said.contains("user and password") && !said.contains("wrong"), "{said}");
    let store = open(with("right")).await.unwrap();
    server.faults(json!({"readOnly": true})).await;
    let denied = write(&*store, insert(Agents, "a", json!({}))).await.unwrap_err();
    assert!(
        matches!(&denied, StoreError::Denied { message } if message.contains("read-only")),
        "{denied:?}"
    );
    server.faults(json!({})).await;
    drop_collection(&server, "right", "alerts").await;
    let missing = write(&*store, insert(Alerts, "a", json!({}))).await.unwrap_err();
    assert!(
        matches!(&missing, StoreError::Corrupt { message } if message.contains("missing")),
        "{missing:?}"
    );
    let parts = ArangoStore::inspect(&with("right"), &SystemClock::shared()).await.unwrap();
    let gone: Vec<_> = parts.iter().filter(|part| part.standing == Standing::Missing).collect();
    assert!(gone.iter().any(|part| part.name == "alerts"), "{gone:?}");
    let again = open(with("right")).await.unwrap();
    written(&*again, insert(Alerts, "a", json!({}))).await;
    again.close().await;
    store.close().await;
}

async fn drop_collection(server: &Server, password: &str, name: &str) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = server.url.join(&format!("/_db/fleet/_api/collection/{name}")).unwrap();
    let answer = client.delete(url).basic_auth("root", Some(password)).send().await.unwrap();
    assert!(answer.status().is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn a_second_endpoint_answers_when_the_first_stops_and_the_first_is_used_again() {
    let spare = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(&["--sim-port", &spare.to_string()]);
    let second: Url = format!("http://127.0.0.1:{spare}").parse().unwrap();
    let mut options = server.options();
    options.endpoints.push(second);
    let store = open(options).await.unwrap();
    let used = async || {
        let details = store.info().await.unwrap().details;
        let found = details.into_iter().find(|(name, _)| name == "endpoint").unwrap().1;
        found.parse::<Url>().unwrap().port().unwrap()
    };
    assert_eq!(used().await, server.port());
    server.faults(json!({"shutdownSeconds": 2})).await;
    let start = Instant::now();
    let mut at = 0;
    while used().await != spare {
        at += 1;
        assert!(start.elapsed() < Duration::from_secs(3), "asked {at} times");
    }
    let took = Instant::now();
    written(&*store, insert(Agents, "a", json!({}))).await;
    assert!(took.elapsed() < Duration::from_secs(1));
    while used().await != server.port() {
        assert!(start.elapsed() < Duration::from_secs(20), "the first is not used again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    store.close().await;
}

fn certificates() -> tempfile::TempDir {
    let made = tempfile::tempdir().unwrap();
    let done =
        Command::new(folder().join("make-certs")).arg(made.path()).stdout(Stdio::null()).status();
    assert!(done.unwrap().success());
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn each_fault_of_a_certificate_is_refused_in_its_own_words() {
    let made = certificates();
    let path = |name: &str| made.path().join(name);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let serve = |name: &str, more: &[&str]| {
        let (cert, key) = (path(&format!("{name}.pem")), path(&format!("{name}.key")));
        let (cert, key) = (text(&cert), text(&key));
        let mut args = vec!["--tls-cert", &cert, "--tls-key", &key];
        args.extend(more);
        Server::start(&args)
    };
    let with = |server: &Server, tls: TlsOptions| {
        let mut url = Url::parse("https://localhost").unwrap();
        url.set_port(Some(server.port())).unwrap();
        let mut options = ArangoOptions::new(vec![url], "fleet", "root", Secret::new("")).unwrap();
        options.tls = tls;
        options
    };
    let ca = |name: &str| TlsOptions { ca_file: Some(path(name)), ..TlsOptions::default() };
    let good = serve("server", &[]);
    open(with(&good, ca("ca.pem"))).await.unwrap().close().await;
    let believing = TlsOptions { skip_verify: true, ..TlsOptions::default() };
    open(with(&good, believing)).await.unwrap().close().await;
    let said = refused(with(&good, ca("stranger-ca.pem"))).await;
    assert!(said.contains("signed by nobody we trust"), "{said}");
    let said = refused(with(&serve("othername", &[]), ca("ca.pem"))).await;
    assert!(said.contains("for another name"), "{said}");
    let said = refused(with(&serve("expired", &[]), ca("ca.pem"))).await;
    assert!(said.contains("has expired"), "{said}");
    let asking = serve("server", &["--tls-client-ca", &text(&path("ca.pem"))]);
    let said = refused(with(&asking, ca("ca.pem"))).await;
    assert!(said.contains("client certificate"), "{said}");
    let known = TlsOptions {
        client_cert: Some(path("client.pem")),
        client_key: Some(path("client.key")),
        ..ca("ca.pem")
    };
    open(with(&asking, known)).await.unwrap().close().await;
}

/// What the server says of how it would run a statement: the indexes, and the nodes that show that none was good enough.
async fn plan(server: &Server, asked: &Value) -> (Vec<String>, Vec<String>) {
    let body: Value = serde_json::from_str(asked["body"].as_str().unwrap()).unwrap();
    let explain = json!({"query": body["query"], "bindVars": body["bindVars"]});
    let plan = server.control(reqwest::Method::POST, "/_db/fleet/_api/explain", explain).await;
    let nodes = plan["plan"]["nodes"].as_array().unwrap_or_else(|| panic!("{plan}")).clone();
    let (mut indexes, mut slow) = (Vec::new(), Vec::new());
    for node in nodes {
        for index in node["indexes"].as_array().into_iter().flatten() {
            indexes.push(index["name"].as_str().unwrap().to_owned());
        }
        let kind = node["type"].as_str().unwrap();
        if ["EnumerateCollectionNode", "SortNode"].contains(&kind) {
            slow.push(kind.to_owned());
        }
    }
    (indexes, slow)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CVXC_TEST_ARANGO_RUN"]
async fn hot_questions_are_answered_by_their_index_alone() {
    use cvxc::model::schema::Collection::Events;
    use cvxc::ports::store::{Bookmark, Query};
    let server = Server::start(&[]);
    let store = server.store().await;
    let now = "2026-01-01T00:00:00.000Z";
    let to_b = || Filter::eq("to_agent_id", "b").and(Filter::eq("status", "pending"));
    let page = |query: Query| async { drop(store.query(query).await.unwrap()) };
    let claim = UpdateWhere {
        sort: up(&["rank", "created_at"]),
        set: vec![("status".into(), json!("leased"))],
        ..update(AgentMessages, to_b())
    };
    let after = Bookmark { values: vec![json!(now)], key: key("a") };
    let leased = Filter::eq("status", "leased").and(Filter::Lte("expires_at".into(), json!(now)));
    let mut wanted = Vec::new();
    store.update_where(claim).await.unwrap();
    wanted.push("by_to_agent_id_status_rank_created_at");
    page(Query::new(Agents, Filter::eq("phase", "running"))).await;
    wanted.push("by_phase");
    page(Query { sort: up(&["expires_at"]), ..Query::new(AgentMessages, leased) }).await;
    wanted.push("by_status_expires_at");
    page(Query { sort: down("seq"), limit: 1, ..Query::new(Events, Filter::All) }).await;
    wanted.push("unique_seq");
    page(Query {
        sort: up(&["created_at"]),
        after: Some(after),
        ..Query::new(Agents, Filter::All)
    })
    .await;
    wanted.push("by_created_at");
    let log = server
        .control(reqwest::Method::GET, "/_sim/log?count=0&body=true&path=_api/cursor", Value::Null)
        .await;
    let asked = log["entries"].as_array().unwrap().iter();
    let ours = asked.filter(|entry| !entry["body"].to_string().contains("cvxc_meta"));
    let asked: Vec<&Value> = ours.collect();
    assert_eq!(asked.len(), wanted.len());
    for (asked, wanted) in asked.iter().zip(wanted) {
        let (indexes, slow) = plan(&server, asked).await;
        assert!(indexes.iter().any(|index| index == wanted), "{wanted}: {indexes:?}");
        assert_eq!(slow, Vec::<String>::new(), "{wanted}");
    }
    store.close().await;
}
