//! The embedded store's file: its rights, and every state in which it may be found. What cannot be used is refused with
//! words that help, and left as it was. Nothing here needs to be root, or not to be, and nothing is mounted.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::model::filter::Filter;
use cvxc::model::schema::Collection::{Agents, Configs};
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::{Change, Durability, Store, StoreError, chain};
use futures::StreamExt;
use serde_json::json;

use super::fixture::*;

fn open(options: SqliteOptions) -> Result<Arc<SqliteStore>, StoreError> {
    SqliteStore::open(options, SystemClock::shared())
}

fn impatient(path: &Path) -> SqliteOptions {
    SqliteOptions { patience: Duration::from_millis(200), ..SqliteOptions::new(path) }
}

fn rights(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A store with a few documents, closed.
async fn some(folder: &Path) -> PathBuf {
    let path = folder.join("fleet.db");
    let store = open(SqliteOptions::new(&path)).unwrap();
    let one =
        |n| insert(Agents, &format!("a{n}"), json!({"phase": "running", "text": "x".repeat(500)}));
    write_all(&*store, (0..200).map(one).collect()).await;
    store.close().await;
    path
}

/// Opening must fail so, and leave the file byte for byte as it was.
fn refuses(path: &Path) -> StoreError {
    let before = fs::read(path).unwrap();
    let read_only = SqliteOptions { read_only: true, ..SqliteOptions::new(path) };
    let refused = open(SqliteOptions::new(path)).unwrap_err();
    assert!(open(read_only).is_err(), "not for reading either");
    assert!(fs::read(path).unwrap() == before, "the file was touched");
    let text = refused.to_string();
    assert!(text.contains(path.to_str().unwrap()), "names the file: {text}");
    assert!(text.contains("left as it is"), "says that nothing was lost: {text}");
    refused
}

#[tokio::test]
async fn files_belong_to_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("not/there/yet");
    let path = home.join("fleet.db");
    let store = open(SqliteOptions::new(&path)).unwrap();
    written(&*store, insert(Agents, "a", json!({}))).await;
    assert_eq!(rights(&home), 0o700);
    assert_eq!(rights(&folder.path().join("not")), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&home).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(rights(&entry.path()), 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(
        names,
        ["fleet.db", "fleet.db-shm", "fleet.db-wal", "fleet.db.gate", "fleet.db.turn"]
    );
    store.close().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(SqliteOptions::new(&path)).unwrap();
    assert_eq!(rights(&path), 0o600, "what others could read is closed");
    store.close().await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    for content in ["x", "a shopping list\n", &"SQLite format 2\0".repeat(100), &"\0".repeat(9_000)]
    {
        fs::write(&path, content).unwrap();
        let refused = refuses(&path);
        assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
        assert!(refused.to_string().contains("not a database"), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was put beside it");
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE songs(name); INSERT INTO songs VALUES('x')").unwrap();
    drop(other);
    let refused = refuses(&path);
    assert!(refused.to_string().contains("another program"), "{refused}");
}

#[tokio::test]
async fn a_newer_file_is_refused_and_names_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let path = some(folder.path()).await;
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    // while the other still has it open the new version stands in its log only
    let refused = open(SqliteOptions::new(&path)).unwrap_err();
    assert!(refused.to_string().contains("schema 99"), "{refused}");
    drop(newer);
    let refused = refuses(&path);
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("newer cvxc") && text.contains("schema 99"), "{text}");
}

#[tokio::test]
async fn a_file_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = some(folder.path()).await;
    let whole = fs::metadata(&path).unwrap().len();
    for length in [whole - 1, whole / 2, 4_096, 100, 50] {
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(length).unwrap();
        let refused = refuses(&path);
        assert!(matches!(refused, StoreError::Corrupt { .. }), "{length}: {refused:?}");
    }
}

#[tokio::test]
async fn a_file_with_damaged_pages_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = some(folder.path()).await;
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / 4_096;
    for page in [0, 1, pages / 2, pages - 1] {
        fs::write(&path, &whole).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        // page 0 begins with the header, which other tests are about
        file.write_all_at(&[0x5A; 3_000], page as u64 * 4_096 + 100).unwrap();
        file.write_all_at(&[0xFF; 8], page as u64 * 4_096 + if page == 0 { 100 } else { 0 })
            .unwrap();
        let refused = refuses(&path);
        assert!(matches!(refused, StoreError::Corrupt { .. }), "page {page}: {refused:?}");
        assert!(refused.to_string().contains("damaged"), "{refused}");
    }
}

#[tokio::test]
async fn damage_that_shows_later_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let store = open(SqliteOptions::new(&path)).unwrap();
    let one = |n| insert(Configs, &format!("c{n:05}"), json!({"text": "x".repeat(3_000)}));
    write_all(&*store, (0..2_000).map(one).collect()).await;
    store.close().await;
    let file = File::options().write(true).open(&path).unwrap();
    let pages = file.metadata().unwrap().len() / 4_096;
    for page in pages / 4..pages / 2 {
        file.write_all_at(&[0xA5; 4_096], page * 4_096).unwrap();
    }
    drop(file);
    let store = open(SqliteOptions::new(&path)).unwrap(); // too large to be checked as a whole
    let mut errors = 0;
    for n in 0..2_000 {
        match store.get(Configs, &key(&format!("c{n:05}"))).await {
            Ok(document) => assert_eq!(document.body["text"], "x".repeat(3_000)),
            Err(error) => {
                assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
                errors += 1;
            }
        }
    }
    assert!(errors > 100, "{errors}");
    store.close().await;
}

#[tokio::test]
async fn a_folder_in_the_files_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = open(SqliteOptions::new(folder.path())).unwrap_err();
    assert!(matches!(refused, StoreError::Denied { .. }), "{refused:?}");
    let below_a_file = folder.path().join("file/fleet.db");
    fs::write(folder.path().join("file"), "x").unwrap();
    let refused = open(SqliteOptions::new(below_a_file)).unwrap_err();
    assert!(matches!(refused, StoreError::Denied { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_file_that_may_not_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = some(folder.path()).await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let opened = open(SqliteOptions::new(&path));
    if rustix::process::geteuid().is_root() {
        opened.unwrap().close().await; // rights do not bind root
    } else {
        let refused = opened.unwrap_err();
        assert!(matches!(refused, StoreError::Denied { .. }), "{refused:?}");
        assert!(refused.to_string().contains("cannot be written"), "{refused}");
    }
    let read_only = SqliteOptions { read_only: true, ..SqliteOptions::new(&path) };
    let reader = open(read_only).unwrap();
    assert_eq!(reader.count(Agents, Filter::All).await.unwrap(), 200);
    reader.close().await;
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    fs::write(&path, "").unwrap();
    let store = open(SqliteOptions::new(&path)).unwrap();
    written(&*store, insert(Agents, "a", json!({}))).await;
    store.close().await;
}

#[tokio::test]
async fn reading_only_reads_and_refuses_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let read_only = || SqliteOptions { read_only: true, ..SqliteOptions::new(&path) };
    let missing = open(read_only()).unwrap_err();
    assert!(matches!(missing, StoreError::Unavailable(_)), "{missing:?}");
    assert!(chain(&missing).contains("there is no store at"), "{}", chain(&missing));
    assert!(!path.exists(), "nothing was made");
    some(folder.path()).await;
    let reader = open(read_only()).unwrap();
    assert_eq!(reader.count(Agents, Filter::All).await.unwrap(), 200);
    let one = vec![insert(Agents, "b", json!({}))];
    let refused = reader.transact(one, Durability::Durable).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Denied { message } if message.contains("reading only")));
    assert!(matches!(
        reader.update_where(update(Agents, Filter::All)).await,
        Err(StoreError::Denied { .. })
    ));
    assert!(matches!(reader.maintain(Default::default()).await, Err(StoreError::Denied { .. })));
    // it follows what others write
    let cursor = reader.cursor().await.unwrap();
    let mut feed = reader.changes(cursor, watch(&[Agents])).await.unwrap();
    let writer = open(SqliteOptions::new(&path)).unwrap();
    written(&*writer, insert(Agents, "b", json!({}))).await;
    let read = read_until(&mut feed, |read| !read.is_empty()).await;
    assert_eq!(about(&read[0]).0, "b");
    writer.close().await;
    reader.close().await;
}

#[tokio::test]
async fn a_file_locked_by_another_program_says_so_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = some(folder.path()).await;
    let store = open(impatient(&path)).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = write(&*store, insert(Agents, "b", json!({}))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    assert!(chain(&refused).contains("another program holds"), "{}", chain(&refused));
    assert_eq!(store.count(Agents, Filter::All).await.unwrap(), 200, "reading goes on");
    other.execute_batch("COMMIT").unwrap();
    written(&*store, insert(Agents, "b", json!({}))).await;
    store.close().await;
    other
        .execute_batch(
            "PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM changes WHERE 0",
        )
        .unwrap();
    let refused = open(impatient(&path)).unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    drop(other);
    open(impatient(&path)).unwrap().close().await;
}

#[tokio::test]
async fn a_process_that_sits_on_the_turn_delays_writers_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = some(folder.path()).await;
    let store = open(impatient(&path)).unwrap();
    let turn = File::options().write(true).open(folder.path().join("fleet.db.turn")).unwrap();
    turn.lock().unwrap();
    for n in 0..3 {
        let refused =
            write(&*store, insert(Agents, &format!("no{n}"), json!({}))).await.unwrap_err();
        assert!(chain(&refused).contains("another process has held"), "{}", chain(&refused));
    }
    turn.unlock().unwrap();
    // whoever waited in vain must not sit on the turn when it comes at last
    let other = open(SqliteOptions::new(&path)).unwrap();
    for n in 0..10 {
        written(&*other, insert(Agents, &format!("other{n}"), json!({}))).await;
        written(&*store, insert(Agents, &format!("own{n}"), json!({}))).await;
    }
    assert!(!is_there(&*store, Agents, "no0").await);
    other.close().await;
    store.close().await;
    turn.lock().unwrap();
    // opening what needs no change does not queue behind writers
    let store = open(impatient(&path)).unwrap();
    assert_eq!(store.count(Agents, Filter::All).await.unwrap(), 220);
    turn.unlock().unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_full_store_says_so_and_holds_nothing_by_halves() {
    let folder = tempfile::tempdir().unwrap();
    let path = some(folder.path()).await;
    let pages = u32::try_from(fs::metadata(&path).unwrap().len() / 4_096).unwrap();
    let small = SqliteOptions { max_page_count: Some(pages + 60), ..SqliteOptions::new(&path) };
    let store = open(small).unwrap();
    let cursor = store.cursor().await.unwrap();
    // many at once share a commit, of which some fit and some do not
    let tries = (0..60).map(|n| {
        let store = store.clone();
        async move {
            let body = json!({"text": "x".repeat(10_000), "n": n});
            let two = vec![
                insert(Configs, &format!("c{n}"), body.clone()),
                insert(Configs, &format!("d{n}"), body),
            ];
            let writes = if n % 2 == 0 { two } else { two[..1].to_vec() };
            (n, store.transact(writes, Durability::Durable).await)
        }
    });
    let mut full = 0;
    let mut kept = Vec::new();
    for (n, end) in futures::future::join_all(tries).await {
        let there = is_there(&*store, Configs, &format!("c{n}")).await;
        let second = is_there(&*store, Configs, &format!("d{n}")).await;
        assert_eq!(there, end.is_ok(), "c{n}: {end:?}");
        assert_eq!(second, end.is_ok() && n % 2 == 0, "d{n}");
        match end {
            Ok(_) => kept.extend([format!("c{n}"), format!("d{n}")].into_iter().take(2 - n % 2)),
            Err(error) => {
                full += 1;
                assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
                assert!(chain(&error).contains("full"), "{}", chain(&error));
            }
        }
    }
    assert!(full > 10 && !kept.is_empty(), "{full} refused, {} kept", kept.len());
    // the feed tells of what was kept and of nothing else
    let mut feed = store.changes(cursor, watch(&[Configs])).await.unwrap();
    let read = read_until(&mut feed, |read| read.len() >= kept.len()).await;
    let mut fed: Vec<String> = read.iter().map(|change| about(change).0).collect();
    fed.sort();
    kept.sort();
    assert_eq!(fed, kept);
    store.close().await;
    let store = open(SqliteOptions::new(&path)).unwrap();
    written(&*store, insert(Configs, "room", json!({"text": "x".repeat(100_000)}))).await;
    store.close().await;
}

#[tokio::test]
async fn a_backup_is_a_whole_store_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = some(folder.path()).await;
    let store = open(SqliteOptions::new(&path)).unwrap();
    let copy = folder.path().join("copy.db");
    fs::write(&copy, "an older backup").unwrap();
    let cursor = store.cursor().await.unwrap();
    let writing = async {
        for n in 0..50 {
            written(&*store, insert(Agents, &format!("b{n}"), json!({}))).await;
        }
    };
    let (saved, ()) = futures::join!(store.backup(&copy), writing);
    saved.unwrap();
    assert_eq!(rights(&copy), 0o600);
    let restored = open(SqliteOptions::new(&copy)).unwrap();
    assert_eq!(get(&*restored, Agents, "a7").await, get(&*store, Agents, "a7").await);
    let mut feed = restored.changes(cursor, watch(&[Agents])).await.unwrap();
    let first = feed.next().await.unwrap().unwrap();
    assert!(matches!(first[..], [Change::Resync { .. }]), "its feed is another: {first:?}");
    written(&*restored, insert(Agents, "only-there", json!({}))).await;
    assert!(!is_there(&*store, Agents, "only-there").await);
    let nowhere = folder.path().join("no/such/folder/copy.db");
    let failed = store.backup(&nowhere).await.unwrap_err();
    assert!(chain(&failed).contains("no/such/folder"), "{}", chain(&failed));
    restored.close().await;
    store.close().await;
}

#[tokio::test]
async fn a_large_store_opens_in_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let store = open(SqliteOptions::new(&path)).unwrap();
    let one = |n| {
        insert(
            Agents,
            &format!("a{n}"),
            json!({"phase": "running", "type": "w", "text": "x".repeat(700)}),
        )
    };
    write_all(&*store, (0..10_000).map(one).collect()).await;
    store.close().await;
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let store = open(SqliteOptions::new(&path)).unwrap();
        times.push(start.elapsed());
        store.close().await;
    }
    times.sort();
    // a store that read itself through would need far longer
    assert!(times[0] < Duration::from_millis(60), "{times:?}");
}
