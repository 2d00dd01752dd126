//! The feed of changes. One task follows the server while anybody listens, by its write-ahead log where it may, else by
//! comparing; readers read what it has seen. Own writes wake it, or are known at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::model::schema::Collection;
use crate::model::time::Time;
use crate::ports::store::{Cursor, Feed, Key, Rev, StoreError, Watch};

use super::fault::{Failure, invalid};
use super::http::Http;
use super::log::{Log, Put, Row};
use super::poll::{self, Picture};
use super::reader::Reader;
use super::tail::{Stand, Tail};

/// How often the log is read without being woken: the latency of other processes' writes.
const TAILED: Duration = Duration::from_millis(100);
const POLLED: Duration = Duration::from_millis(900);
/// After so many failures in a row the readers are told.
const FAILURES: u32 = 3;
/// Between failures.
const PAUSE: Duration = Duration::from_millis(500);
/// How long changes are kept for readers that were away.
const KEPT: Duration = Duration::from_secs(3_600);

/// How many writes of this process are kept for a reader that is slow to ask for them.
const EARLY: usize = 1_024;

/// Where the feed stood, for those who write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since {
    epoch: u64,
    head: u64,
}

/// A write of this process that comes in the server's log after `head`.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) head: u64,
    pub(super) own: Own,
}

/// A write of this process: the revision and topic that it left, none for a removal.
pub(super) type Own = (Collection, Key, Option<(Rev, Option<String>)>);

/// Where changes come from.
#[derive(Debug)]
pub(super) enum Source {
    Tail,
    /// The log cannot be read, because of this.
    Poll(String),
}

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) http: Http,
    pub(super) source: Source,
    pub(super) tail: Tail,
    /// Names whose places the cursors are.
    name: Mutex<String>,
    pub(super) log: Mutex<Log>,
    picture: Mutex<Picture>,
    /// One look at everything at a time.
    looking: tokio::sync::Mutex<()>,
    bell: Notify,
    news: watch::Sender<()>,
    /// What this process has written, for those who wait for a topic: before the server's log tells of it.
    pub(super) early: broadcast::Sender<Arc<Early>>,
    /// How many readers each collection has.
    watched: Mutex<HashMap<Collection, usize>>,
    pub(super) stop: CancellationToken,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Finds out where changes can be had.
    pub(super) async fn open(http: &Http) -> Result<Arc<Self>, Failure> {
        let tail = Tail::new(http);
        let mut log = Log::default();
        let (source, name) = match tail.stand().await {
            Ok(Stand { server, tick }) => {
                log.reset(tick);
                (Source::Tail, format!("t{server}"))
            }
            Err(failure) if matches!(failure.status(), Some(401 | 403 | 404 | 501)) => {
                let why = match failure.status() {
                    Some(501) => "the server is part of a cluster".to_owned(),
                    _ => "the user has no rights on _system".to_owned(),
                };
                (Source::Poll(why), format!("p{:016x}", rand::random::<u64>()))
            }
            Err(failure) => return Err(failure),
        };
        Ok(Arc::new(Self {
            http: http.clone(),
            source,
            tail,
            name: Mutex::new(name),
            log: Mutex::new(log),
            picture: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            bell: Notify::new(),
            news: watch::Sender::new(()),
            early: broadcast::Sender::new(EARLY),
            watched: Mutex::default(),
            stop: CancellationToken::new(),
        }))
    }

    /// To be asked for before a write.
    pub(super) fn since(&self) -> Since {
        let log = locked(&self.log);
        Since { epoch: log.epoch, head: log.head() }
    }

    /// Tells of what this process has written since.
    pub(super) fn own(&self, since: Since, written: Vec<Own>) {
        if let Source::Poll(_) = self.source {
            let (mut picture, mut log) = (locked(&self.picture), locked(&self.log));
            for (collection, key, put) in written {
                if !picture.own(collection, &key, put.as_ref().map(|(rev, _)| rev)) {
                    continue;
                }
                let put = put.map(|(rev, topic)| Put { rev, topic, body: None, bytes: 0 });
                append(&mut log, collection, key, put);
            }
            drop((picture, log));
            self.news.send_replace(());
        } else {
            if self.early.receiver_count() > 0 {
                self.tell_early(since, written);
            }
            self.bell.notify_one();
        }
    }

    /// Tells of what the log does not have yet.
    fn tell_early(&self, since: Since, written: Vec<Own>) {
        let log = locked(&self.log);
        if log.epoch != since.epoch {
            return;
        }
        let Some(read) = log.revisions_after(since.head) else { return };
        let head = log.head();
        for own in written {
            let (collection, key, put) = &own;
            if !read.contains(&(*collection, key, put.as_ref().map(|(rev, _)| rev))) {
                drop(self.early.send(Arc::new(Early { head, own }))); // nobody need listen
            }
        }
    }

    pub(super) fn written(&self, base: u64, place: u64) -> Cursor {
        Cursor(format!("{}:{base}:{place}", locked(&self.name)))
    }

    /// Where the feed stands.
    pub(super) async fn cursor(&self) -> Result<Cursor, StoreError> {
        let place = self.head().await.map_err(Failure::nothing_written)?;
        Ok(self.written(place, place))
    }

    pub(super) async fn head(&self) -> Result<u64, Failure> {
        match self.source {
            Source::Tail => Ok(self.stand().await?.tick),
            Source::Poll(_) => {
                self.look(true).await?;
                Ok(locked(&self.log).head())
            }
        }
    }

    /// Asks where the server's log stands, and notices that the server is another, or was put back to an earlier state.
    async fn stand(&self) -> Result<Stand, Failure> {
        // the log may be read on while the answer is on its way: only what was read before tells that it went back
        let (epoch, head) = {
            let log = locked(&self.log);
            (log.epoch, log.head())
        };
        let stand = self.tail.stand().await?;
        let name = format!("t{}", stand.server);
        let mut known = locked(&self.name);
        let mut log = locked(&self.log);
        if *known != name || (log.epoch == epoch && stand.tick < head) {
            *known = name;
            log.lost(stand.tick);
            drop((known, log));
            self.tail.forget();
            self.news.send_replace(());
        }
        Ok(stand)
    }

    /// Forgets what no reader can still want.
    pub(super) async fn forget(&self, now: Time) -> Result<(), StoreError> {
        let head = self.head().await.map_err(Failure::nothing_written)?;
        let clock = self.http.clock().now();
        locked(&self.log).mark(clock, head, now.minus(KEPT));
        Ok(())
    }

    /// Why no changes come, where none do.
    pub(super) fn trouble(&self) -> Option<String> {
        locked(&self.log).trouble.clone()
    }

    /// Follows the server until the store is closed.
    pub(super) async fn follow(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.following()).await;
        self.news.send_replace(());
    }

    async fn following(&self) {
        let mut failures = 0;
        loop {
            if locked(&self.watched).is_empty() {
                self.bell.notified().await;
                continue;
            }
            let step = match self.source {
                Source::Tail => self.tail_on(failures > 0).await,
                Source::Poll(_) => self.look(false).await.map(|()| false),
            };
            match step {
                Ok(more) => {
                    failures = 0;
                    locked(&self.log).trouble = None;
                    if more {
                        continue;
                    }
                    let pause = match self.source {
                        Source::Tail => TAILED,
                        Source::Poll(_) => POLLED,
                    };
                    drop(tokio::time::timeout(pause, self.bell.notified()).await);
                }
                Err(failure) => {
                    failures += 1;
                    if failures >= FAILURES {
                        locked(&self.log).trouble = Some(failure.to_string());
                        self.news.send_replace(());
                        failures = 1;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Reads on in the server's log; true when more is waiting.
    async fn tail_on(&self, doubtful: bool) -> Result<bool, Failure> {
        if doubtful {
            self.stand().await?;
        }
        let (epoch, at) = {
            let log = locked(&self.log);
            (log.epoch, log.head())
        };
        let slice = self.tail.read(at).await?;
        if slice.gap {
            let stand = self.stand().await?;
            let mut log = locked(&self.log);
            if log.epoch == epoch {
                log.lost(stand.tick);
            }
            drop(log);
            self.news.send_replace(());
            return Ok(true);
        }
        let any = !slice.rows.is_empty();
        {
            let mut log = locked(&self.log);
            if log.epoch != epoch {
                // it may have come from a server that is gone
                self.tail.forget();
                return Ok(true);
            }
            for row in slice.rows {
                log.append(row);
            }
            log.advance(slice.next);
        }
        if any {
            self.news.send_replace(());
        }
        Ok(slice.more)
    }

    /// Compares what stands in the collections with what was known; `once`: only if nobody has yet.
    async fn look(&self, once: bool) -> Result<(), Failure> {
        let _turn = self.looking.lock().await;
        if once && locked(&self.picture).is_complete() {
            return Ok(());
        }
        let now = self.http.clock().instant();
        let watched: HashMap<Collection, usize> = locked(&self.watched).clone();
        let due =
            locked(&self.picture).due(now, |collection| once || watched.contains_key(&collection));
        let listings = poll::list(&self.http, due).await?;
        let (mut picture, mut log) = (locked(&self.picture), locked(&self.log));
        let seen = picture.compare(listings, now);
        let any = !seen.is_empty();
        for (collection, key, put) in seen {
            append(&mut log, collection, key, put);
        }
        drop((picture, log));
        if any {
            self.news.send_replace(());
        }
        Ok(())
    }

    /// A reader has gone.
    pub(super) fn left(&self, watch: &Watch) {
        let mut watched = locked(&self.watched);
        for collection in &watch.collections {
            if let Some(count) = watched.get_mut(collection) {
                *count -= 1;
            }
        }
        watched.retain(|_, count| *count > 0);
    }

    /// Opens a feed after `since`.
    pub(super) async fn changes(
        self: &Arc<Self>,
        since: Cursor,
        watch: Watch,
    ) -> Result<Feed, StoreError> {
        let wrong = || invalid(format!("{:?} is no place in a feed", since.0));
        let mut parts = since.0.split(':');
        let (Some(name), Some(base), Some(place), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let base: u64 = base.parse().map_err(|_| wrong())?;
        let place: u64 = place.parse().map_err(|_| wrong())?;
        let head = self.head().await.map_err(Failure::nothing_written)?;
        let foreign = name != *locked(&self.name) || place > head;
        let epoch = locked(&self.log).epoch;
        let epoch = if foreign { u64::MAX } else { epoch };
        {
            let mut watched = locked(&self.watched);
            if watched.is_empty() && matches!(self.source, Source::Tail) {
                // nobody has read on since the last reader went; begun any later, the log would already lack what this
                // one waits for, and what it has read beyond is there
                let mut log = locked(&self.log);
                if head > log.head() {
                    log.reset(head);
                }
            }
            for collection in &watch.collections {
                *watched.entry(*collection).or_default() += 1;
            }
        }
        let reader = Reader::new(self.clone(), self.news.subscribe(), watch, (base, place), epoch);
        self.bell.notify_one();
        Ok(reader.stream())
    }
}

fn append(log: &mut Log, collection: Collection, key: Key, put: Option<Put>) {
    let place = log.head() + 1;
    log.append(Row { place, base: place, collection, key, put });
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{Receiver, Sender};

    use futures::StreamExt;

    use super::*;
    use crate::adapters::arango::options::{ArangoOptions, Secret};
    use crate::ports::clock::SystemClock;
    use crate::ports::store::Change;

    /// Answers one request after the other with where a log stands, and that nothing follows in it: what is asked goes to
    /// `asked`, and waits for the server's name and tick in `ticks`.
    async fn stands(
        listener: TcpListener,
        asked: Sender<String>,
        mut ticks: Receiver<(&'static str, u64)>,
    ) {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                text.push(socket.read_u8().await.unwrap());
            }
            let request = String::from_utf8(text).unwrap();
            let tail = request.contains("/wal/tail?");
            if request.contains("/_api/document/") {
                // our database, made once
                let body = "{\"_rev\": \"_a\"}";
                let head = format!("content-length: {}\r\nconnection: close", body.len());
                let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
                socket.write_all(answer.as_bytes()).await.unwrap();
                continue;
            }
            asked.send(request).await.unwrap();
            let Some((server, tick)) = ticks.recv().await else { return };
            let (head, body) = if tail {
                let name = "x-arango-replication";
                let said = format!("{name}-lasttick: {tick}\r\n{name}-frompresent: true\r\n");
                (format!("204 No Content\r\n{said}"), String::new())
            } else {
                let server = format!("{{\"serverId\": \"{server}\"}}");
                let body = format!("{{\"tick\": \"{tick}\", \"server\": {server}}}");
                (format!("200 OK\r\ncontent-length: {}\r\n", body.len()), body)
            };
            let answer = format!("HTTP/1.1 {head}connection: close\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    /// Runs `talk` with a way to a server that answers as it is told, one request at a time.
    async fn beside<T>(
        talk: impl AsyncFnOnce(Http, Receiver<String>, Sender<(&'static str, u64)>) -> T,
    ) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (asked, was_asked) = tokio::sync::mpsc::channel(1);
        let (answer, ticks) = tokio::sync::mpsc::channel(1);
        let options = ArangoOptions::new(vec![url], "fleet", "root", Secret::default()).unwrap();
        let http = Http::new(&options, &SystemClock::shared()).unwrap();
        tokio::select! {
            end = talk(http, was_asked, answer) => end,
            () = stands(listener, asked, ticks) => unreachable!("it serves for ever"),
        }
    }

    #[tokio::test]
    async fn an_answer_that_the_log_has_outrun_is_no_gap_and_a_log_that_went_back_is_one() {
        beside(async |http, mut was_asked, answer| {
            answer.send(("a", 10)).await.unwrap();
            let hub = Hub::open(&http).await.unwrap();
            was_asked.recv().await.unwrap();
            for (server, tick, gaps) in [("a", 12, 0), ("a", 20, 0), ("a", 19, 1), ("b", 30, 2)] {
                let read_on = async {
                    was_asked.recv().await.unwrap();
                    if tick == 12 {
                        locked(&hub.log).advance(20);
                    }
                    answer.send((server, tick)).await.unwrap();
                };
                let (head, ()) = futures::join!(hub.head(), read_on);
                assert_eq!(head.unwrap(), tick);
                assert_eq!(locked(&hub.log).epoch, gaps, "at {tick}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_server_that_was_found_to_be_another_is_followed_from_where_it_was_found() {
        beside(async |http, mut was_asked, answer| {
            answer.send(("a", 20)).await.unwrap();
            let hub = Hub::open(&http).await.unwrap();
            was_asked.recv().await.unwrap();
            // a reader notices first, and by the time the log is read on it is longer than the old one was
            answer.send(("b", 18)).await.unwrap();
            assert_eq!(hub.head().await.unwrap(), 18);
            was_asked.recv().await.unwrap();
            answer.send(("b", 25)).await.unwrap();
            hub.tail_on(false).await.unwrap();
            let request = was_asked.recv().await.unwrap();
            assert!(request.contains("/wal/tail?from=18&"), "{request}");
            let log = locked(&hub.log);
            assert_eq!((log.epoch, log.head()), (1, 18));
        })
        .await;
    }

    #[tokio::test]
    async fn the_first_reader_is_followed_from_where_the_server_stood_when_it_came() {
        beside(async |http, mut was_asked, answer| {
            answer.send(("a", 10)).await.unwrap();
            let hub = Hub::open(&http).await.unwrap();
            was_asked.recv().await.unwrap();
            answer.send(("a", 20)).await.unwrap();
            let topic = Some("b".to_owned());
            let watch =
                Watch { collections: vec![Collection::AgentMessages], topic, bodies: false };
            let mut feed = hub.changes(hub.written(20, 20), watch).await.unwrap();
            was_asked.recv().await.unwrap();
            let tasks = tokio_util::task::TaskTracker::new();
            tasks.spawn(hub.clone().follow());
            // it is asked for what follows at once, and what this process writes is told while no answer comes
            let request = was_asked.recv().await.unwrap();
            assert!(request.contains("/wal/tail?from=20&"), "{request}");
            let put = Some((Rev("_a".into()), Some("b".to_owned())));
            let own = (Collection::AgentMessages, Key::new("m").unwrap(), put);
            hub.own(hub.since(), vec![own]);
            let told = feed.next().await.unwrap().unwrap();
            assert!(matches!(&told[..], [Change::Put { .. }]), "{told:?}");
            hub.stop.cancel();
        })
        .await;
    }
}
