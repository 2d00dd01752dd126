//! Speaking HTTP to one of the servers: one pool of connections, time limits, fail-over and return, logins that renew
//! themselves, and errors kept apart by what they say about the request: never begun, perhaps done, refused.
//!
//! `arangors` speaks through this too ([`ClientExt`]). It joins names into URLs, sets no time limit and follows any
//! host; so the host of its requests is ignored here, and only paths of our own database are sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arangors::ClientError;
use arangors::client::ClientExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, SERVER};
use http::{Method, Request, Response};
use rand::Rng;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::model::text::Safe;
use crate::ports::clock::Clock;
use crate::ports::store::{StoreError, chain};

use super::fault::Failure;
use super::login::Session;
use super::notes::Notes;
use super::options::ArangoOptions;
use super::tls;

const TRANSACTION: &str = "x-arango-trx-id";
/// How long an endpoint that refused, was busy or said nothing is left alone at first; doubles up to the longest.
const LEFT_ALONE: Duration = Duration::from_secs(1);
const LEFT_ALONE_LONGEST: Duration = Duration::from_secs(30);
/// How long an endpoint that is tried again may take to answer.
const TRIED: Duration = Duration::from_secs(2);
/// How often a request that may be repeated is, when nothing came back.
const SILENCES: u32 = 3;

/// The longest wait between two tries, unless the first is longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// When a request may be sent a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// When it surely did not begin.
    Unbegun,
    /// Also when nothing came back: it reads, or doing it twice is doing it once.
    Harmless,
}

/// A request. `path` is encoded, and begins below the database.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: String,
    pub(super) transaction: Option<String>,
    /// The endpoint that holds the transaction or cursor.
    pub(super) pin: Option<usize>,
    pub(super) again: Again,
    /// Not our database but `_system`'s API: making the database.
    pub(super) system: bool,
}

impl Ask {
    pub(super) fn new(method: Method, path: impl Into<String>, again: Again) -> Self {
        Self {
            method,
            path: path.into(),
            body: String::new(),
            transaction: None,
            pin: None,
            again,
            system: false,
        }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, Again::Harmless)
    }

    pub(super) fn with(mut self, body: &serde_json::Value) -> Self {
        self.body = body.to_string();
        self
    }

    pub(super) fn system(mut self) -> Self {
        self.system = true;
        self
    }
}

/// An answer below 400.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) endpoint: usize,
}

impl Answer {
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::Strange(format!(
                "ArangoDB answered {} with what is no such JSON: {error}",
                self.status
            ))
        })
    }

    /// A number in a header.
    pub(super) fn header(&self, name: &str) -> Option<u64> {
        self.headers.get(name)?.to_str().ok()?.parse().ok()
    }

    pub(super) fn says(&self, name: &str) -> bool {
        self.headers.get(name).is_some_and(|value| value == "true")
    }
}

/// An endpoint that failed.
#[derive(Debug, Clone, Copy)]
struct Down {
    /// Until then it is left alone where another is well.
    until: Instant,
    span: Duration,
    /// It is being asked whether it is well again.
    tried: bool,
}

#[derive(Debug)]
struct Pool {
    client: reqwest::Client,
    options: ArangoOptions,
    clock: Arc<dyn Clock>,
    session: Session,
    /// As many requests at a time as connections are allowed.
    slots: Semaphore,
    down: Mutex<Vec<Option<Down>>>,
    tasks: TaskTracker,
    notes: Mutex<Notes>,
}

/// The way to the servers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pool: Arc<Pool>,
    headers: HeaderMap,
}

/// A bounded wait between tries, longer each time, with jitter.
#[derive(Debug)]
pub(super) struct Pause {
    clock: Arc<dyn Clock>,
    deadline: Instant,
    next: Duration,
    left: u32,
}

impl Pause {
    pub(super) fn new(clock: &Arc<dyn Clock>, options: &ArangoOptions) -> Self {
        let deadline = clock.instant() + options.patience;
        let left = options.attempts.unwrap_or(u32::MAX);
        Self { clock: clock.clone(), deadline, next: options.first_pause, left }
    }

    /// Waits; false when patience is at its end.
    pub(super) async fn wait(&mut self) -> bool {
        if self.clock.instant() >= self.deadline || self.left == 0 {
            return false;
        }
        self.left -= 1;
        let factor = rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(self.next.mul_f64(factor)).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE.max(self.next));
        true
    }
}

/// One segment of a path: everything but letters, digits, `-`, `_` and `.` is encoded. Segments of dots alone lead up even
/// when encoded once; so they are encoded twice, which names nothing.
pub(super) fn segment(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    let dots = text.chars().all(|c| c == '.');
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            b'.' if dots => out.push_str("%252E"),
            b'.' => out.push('.'),
            _ => drop(write!(out, "%{byte:02X}")), // writing to a String cannot fail
        }
    }
    out
}

impl Http {
    pub(super) fn new(options: &ArangoOptions, clock: &Arc<dyn Clock>) -> Result<Self, StoreError> {
        let pool = Pool {
            client: tls::client(options)?,
            session: Session::new(options),
            slots: Semaphore::new(options.max_connections.max(1)),
            down: Mutex::new(vec![None; options.endpoints.len()]),
            tasks: TaskTracker::new(),
            options: options.clone(),
            clock: clock.clone(),
            notes: Mutex::default(),
        };
        Ok(Self { pool: Arc::new(pool), headers: HeaderMap::new() })
    }

    pub(super) fn options(&self) -> &ArangoOptions {
        &self.pool.options
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.pool.clock
    }

    pub(super) fn pause(&self) -> Pause {
        Pause::new(&self.pool.clock, &self.pool.options)
    }

    pub(super) fn notes(&self) -> Notes {
        self.pool.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request, again as often as is sure to do no harm, and gives the answer if it is a good one.
    pub(super) async fn send(&self, ask: &Ask) -> Result<Answer, Failure> {
        let mut pause = self.pause();
        let mut silences = 0;
        loop {
            let failure = match self.to_any(ask).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let now = self.pool.clock.instant();
            self.note(|notes| notes.failed(&failure, now));
            let silent = matches!(failure, Failure::Silent(_)) && ask.again == Again::Harmless;
            silences += u32::from(silent);
            let worth = failure.is_busy() || (silent && silences < SILENCES);
            // a silence may have taken all patience, and another endpoint none of it
            let others = self.pool.options.endpoints.len() > 1 && ask.pin.is_none();
            let elsewhere = silent && silences == 1 && others;
            if !worth || !(elsewhere || pause.wait().await) {
                return Err(failure);
            }
            self.note(|notes| notes.repeated += 1);
        }
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Notes)) {
        change(&mut self.pool.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Asks the endpoints in turn until one takes the request.
    async fn to_any(&self, ask: &Ask) -> Result<Answer, Failure> {
        let (mut refused, mut busy) = (Vec::new(), None);
        for endpoint in self.order(ask) {
            match self.logged_in(ask, endpoint).await {
                Err(Failure::Refused(text)) => {
                    self.mark(endpoint, false);
                    refused.push(text);
                }
                // nothing was done, and another may have time
                Err(failure) if failure.is_busy() => {
                    self.mark(endpoint, false);
                    busy = Some(failure);
                }
                // what was asked may be done; whoever asks again asks another
                Err(failure @ Failure::Silent(_)) => {
                    self.mark(endpoint, false);
                    return Err(failure);
                }
                other => {
                    self.mark(endpoint, true);
                    let failed = busy.into_iter().chain(refused.into_iter().map(Failure::Refused));
                    let now = self.pool.clock.instant();
                    failed.for_each(|failure| self.note(|notes| notes.failed(&failure, now)));
                    return other;
                }
            }
        }
        Err(busy.unwrap_or_else(|| Failure::Refused(refused.join("; "))))
    }

    /// Those that did not fail first, in the order of the settings; then those that have been left alone for longest. One that
    /// has been for long enough is tried beside the work, which does not wait for that.
    fn order(&self, ask: &Ask) -> Vec<usize> {
        if let Some(pin) = ask.pin {
            return vec![pin];
        }
        let now = self.pool.clock.instant();
        let mut down = self.pool.down.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<usize> = (0..down.len()).collect();
        order.sort_by_key(|at| down.get(*at).copied().flatten().map(|down| down.until));
        if order.len() > 1 {
            for (endpoint, slot) in down.iter_mut().enumerate() {
                if let Some(slot) = slot.as_mut().filter(|it| it.until <= now && !it.tried) {
                    slot.tried = true;
                    self.pool.tasks.spawn(self.clone().try_again(endpoint));
                }
            }
        }
        order
    }

    /// Asks an endpoint that failed whether it is well again.
    async fn try_again(self, endpoint: usize) {
        let ask = Ask::get("/_api/version");
        let limit = TRIED.min(self.pool.options.request_timeout);
        let answer = tokio::time::timeout(limit, self.logged_in(&ask, endpoint)).await;
        let well = answer.is_ok_and(|answer| match answer {
            Ok(_) => true,
            Err(Failure::Refused(_) | Failure::Silent(_)) => false,
            Err(failure) => !failure.is_busy(),
        });
        self.mark(endpoint, well);
    }

    fn mark(&self, endpoint: usize, well: bool) {
        let now = self.pool.clock.instant();
        let mut down = self.pool.down.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = down.get_mut(endpoint) else { return };
        *slot = match (well, &*slot) {
            (true, _) => None,
            // of requests that failed together one counts
            (false, Some(known)) if known.until > now && !known.tried => Some(*known),
            (false, Some(known)) => {
                let span = (known.span * 2).min(LEFT_ALONE_LONGEST);
                Some(Down { until: now + span, span, tried: false })
            }
            (false, None) => Some(Down { until: now + LEFT_ALONE, span: LEFT_ALONE, tried: false }),
        };
        drop(down);
        if well {
            self.note(|notes| notes.endpoint = Some(endpoint));
        }
    }

    async fn logged_in(&self, ask: &Ask, endpoint: usize) -> Result<Answer, Failure> {
        let base = &self.pool.options.endpoints[endpoint];
        let now = self.pool.clock.now();
        let login = self.pool.session.header(&self.pool.client, base, now).await?;
        let first = self.to_one(ask, endpoint, login.clone()).await;
        if matches!(&first, Err(failure) if failure.status() == Some(401))
            && self.pool.session.forget(&login).await
        {
            // the token was refused, so nothing was done
            let login = self.pool.session.header(&self.pool.client, base, now).await?;
            return self.to_one(ask, endpoint, login).await;
        }
        first
    }

    async fn to_one(
        &self,
        ask: &Ask,
        endpoint: usize,
        login: Option<HeaderValue>,
    ) -> Result<Answer, Failure> {
        let options = &self.pool.options;
        let database = if ask.system { "_system" } else { &options.database };
        let (path, query) = ask.path.split_once('?').unwrap_or((&ask.path, ""));
        let mut url: Url = options.endpoints[endpoint].clone();
        url.set_path(&format!("/_db/{database}{path}"));
        url.set_query((!query.is_empty()).then_some(query));
        let mut request = self
            .pool
            .client
            .request(ask.method.clone(), url)
            .timeout(options.request_timeout)
            .headers(self.headers.clone());
        if let Some(login) = login {
            request = request.header(AUTHORIZATION, login);
        }
        if let Some(transaction) = &ask.transaction {
            request = request.header(TRANSACTION, transaction);
        }
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").body(ask.body.clone());
        }
        // never closed
        let _slot = self.pool.slots.acquire().await;
        let response = request.send().await.map_err(|error| self.lost(endpoint, error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| self.lost(endpoint, error))?.to_vec();
        if status >= 400 {
            return Err(Failure::answered(status, &body));
        }
        Ok(Answer { status, headers, body, endpoint })
    }

    fn lost(&self, endpoint: usize, error: reqwest::Error) -> Failure {
        let base = &self.pool.options.endpoints[endpoint];
        lost(base, error)
    }
}

/// What a request without an answer means.
pub(super) fn lost(base: &Url, error: reqwest::Error) -> Failure {
    let (connect, timeout) = (error.is_connect(), error.is_timeout());
    let cause = chain(&error.without_url());
    let place = format!(
        "{}:{}",
        base.host_str().unwrap_or_default(),
        base.port_or_known_default().unwrap_or_default()
    );
    let text = Safe::new(&format!("{place}: {}", in_words(&cause, timeout))).to_string();
    // a server that wants another certificate says so after the handshake, and has read nothing by then
    if connect || cause.contains("fatal alert") {
        Failure::Refused(text)
    } else {
        Failure::Silent(text)
    }
}

/// The usual causes in words that say what to change.
fn in_words(cause: &str, timeout: bool) -> String {
    let known: &[(&str, &str)] = &[
        (
            "UnknownIssuer",
            "its certificate is signed by nobody we trust: name its CA with tls-ca-file",
        ),
        ("not valid for name", "its certificate is for another name"),
        ("NotValidForName", "its certificate is for another name"),
        ("certificate expired", "its certificate has expired"),
        ("Expired", "its certificate has expired"),
        ("CertificateRequired", "it wants a client certificate: name one with tls-cert-file"),
        ("UnknownCA", "it does not trust our client certificate"),
        ("Connection refused", "connection refused"),
    ];
    let found = known.iter().find(|(sign, _)| cause.contains(sign));
    match found {
        Some((_, words)) => (*words).to_owned(),
        None if timeout => format!("no answer in time ({cause})"),
        None => cause.to_owned(),
    }
}

tokio::task_local! {
    /// The client that `arangors` shall take when it makes one.
    static POOLED: Http;
}

/// Runs `work`, in which `arangors` speaks through `http`.
pub(super) async fn through<T>(http: Http, work: impl Future<Output = T>) -> T {
    POOLED.scope(http, work).await
}

#[async_trait::async_trait]
impl ClientExt for Http {
    fn new<U: Into<Option<HeaderMap>>>(headers: U) -> Result<Self, ClientError> {
        let mut http = POOLED
            .try_with(Clone::clone)
            .map_err(|_| ClientError::HttpClient("no connection was opened".to_owned()))?;
        http.headers = headers.into().unwrap_or_default();
        Ok(http)
    }

    fn headers(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    async fn request(&self, request: Request<String>) -> Result<Response<String>, ClientError> {
        let refused = |text: String| Err(ClientError::HttpClient(text));
        let (parts, body) = request.into_parts();
        let asked = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        if asked == "/" {
            // who the server is has been asked before; servers may keep this header to themselves
            let answer = Response::builder().header(SERVER, "ArangoDB").body(String::new());
            return answer.or_else(|error| refused(error.to_string()));
        }
        let ours = format!("/_db/{}/_api/", self.pool.options.database);
        let Some(path) = asked.strip_prefix(&ours).filter(|path| !path.contains("..")) else {
            return refused("a request to another place was held back".to_owned());
        };
        let again = if parts.method == Method::GET { Again::Harmless } else { Again::Unbegun };
        let ask = Ask { body, ..Ask::new(parts.method, format!("/_api/{path}"), again) };
        let built = |status: u16, text: String| Response::builder().status(status).body(text);
        let answer = match self.send(&ask).await {
            Ok(answer) => built(answer.status, String::from_utf8_lossy(&answer.body).into_owned()),
            Err(Failure::Answered { status, number, message }) => {
                let (code, number) = (status, number.min(u64::from(u16::MAX)));
                let body = serde_json::json!({"error": true, "code": code, "errorNum": number, "errorMessage": message});
                built(status, body.to_string())
            }
            Err(other) => return refused(other.to_string()),
        };
        answer.or_else(|error| refused(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::arango::options::Secret;
    use crate::ports::clock::SystemClock;

    #[test]
    fn no_text_in_a_segment_leads_to_another_path_or_host() {
        let base = Url::parse("http://db:8529").unwrap();
        let hostile = [
            "//host:1/x",
            "../../_api/user/root",
            "a?x",
            "a#b",
            "%2F",
            "..",
            ".",
            "a\\b",
            "ä",
            "\0",
        ];
        for text in hostile {
            let mut url = base.clone();
            url.set_path(&format!("/_db/fleet/_api/document/agents/{}", segment(text)));
            assert_eq!(url.host_str(), Some("db"), "{text:?}");
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            assert_eq!(segments.len(), 6, "{text:?} became {url}");
            assert_eq!(segments[..5], ["_db", "fleet", "_api", "document", "agents"], "{url}");
            assert_eq!((url.query(), url.fragment()), (None, None), "{text:?}");
        }
        assert_eq!(segment("agent-1_a.b"), "agent-1_a.b");
    }

    #[tokio::test]
    async fn what_arangors_sends_elsewhere_is_held_back() {
        let endpoint = Url::parse("http://127.0.0.1:9").unwrap();
        let options =
            ArangoOptions::new(vec![endpoint], "fleet", "root", Secret::default()).unwrap();
        let http = Http::new(&options, &SystemClock::shared()).unwrap();
        for elsewhere in [
            "http://other:1/_db/fleet2/_api/version",
            "http://db/_api/user/root",
            "http://db/_db/fleet/_api/../../x",
        ] {
            let request = Request::get(elsewhere).body(String::new()).unwrap();
            let error = http.request(request).await.unwrap_err().to_string();
            assert!(error.contains("held back"), "{elsewhere}: {error}");
        }
    }

    /// A server that answers every request with `answer`, or never; the number of requests it took.
    async fn serve(answer: Option<&'static str>) -> (Url, Arc<std::sync::atomic::AtomicUsize>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = taken.clone();
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut bytes = [0; 4096];
                drop(socket.read(&mut bytes).await);
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                if let Some(answer) = answer {
                    drop(socket.write_all(answer.as_bytes()).await);
                } else {
                    open.push(socket);
                }
            }
        });
        (url, taken)
    }

    #[tokio::test]
    async fn an_endpoint_that_is_busy_or_silent_leaves_the_work_to_the_next() {
        let busy =
            "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        let well = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        for first in [Some(busy), None] {
            let ((bad, asked), (good, _)) = (serve(first).await, serve(Some(well)).await);
            let mut options =
                ArangoOptions::new(vec![bad, good], "fleet", "root", Secret::default()).unwrap();
            options.request_timeout = Duration::from_secs(2);
            options.patience = Duration::from_secs(1); // as shipped, less than one silence
            let http = Http::new(&options, &SystemClock::shared()).unwrap();
            for _ in 0..5 {
                let answer = http.send(&Ask::get("/_api/version")).await.unwrap();
                assert_eq!((answer.status, answer.endpoint), (200, 1));
            }
            let asked = asked.load(std::sync::atomic::Ordering::SeqCst);
            assert!(asked < 5, "it is left alone for a while, and was asked {asked} times");
            assert!(!http.notes().lines(Instant::now()).is_empty(), "the fault is told");
        }
    }

    #[tokio::test]
    async fn an_endpoint_is_tried_beside_the_work_and_has_it_again_once_it_is_well() {
        let well = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        let (first, asked) = serve(Some(well)).await;
        let second = Url::parse("http://127.0.0.1:2").unwrap();
        let options =
            ArangoOptions::new(vec![first, second], "fleet", "root", Secret::default()).unwrap();
        let http = Http::new(&options, &SystemClock::shared()).unwrap();
        let ask = Ask::new(Method::POST, "/_api/cursor", Again::Unbegun);
        assert_eq!(http.order(&ask), [0, 1]);
        for _ in 0..5 {
            http.mark(0, false);
        }
        let down = || http.pool.down.lock().unwrap()[0];
        assert_eq!(down().unwrap().span, LEFT_ALONE, "they failed together");
        http.pool.down.lock().unwrap()[0].as_mut().unwrap().until = Instant::now();
        assert_eq!(http.order(&ask), [1, 0], "nothing is done there before it has answered");
        assert_eq!(http.order(&ask), [1, 0]);
        while down().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(http.order(&ask), [0, 1]);
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1, "one question is enough");
        for at in [0, 1] {
            http.mark(at, false);
        }
        http.pool.down.lock().unwrap()[1].as_mut().unwrap().until = Instant::now();
        assert_eq!(http.order(&ask), [1, 0], "where none is well, who failed longest ago");
    }
}
