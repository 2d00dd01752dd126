//! What every agent of this data folder is doing, kept current: the kernel tells when a status file is replaced and when
//! a shim ends, and a slow look over everything catches what it did not tell.

use std::collections::HashMap;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use process_wrap::std::ChildWrapper;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use tokio::sync::broadcast;

use super::process::Process;
use super::record::{Home, Stage, Status};
use crate::model::id::AgentId;
use crate::model::time::Time;
use crate::ports::clock::Clock;
use crate::ports::runtime::{Exit, Observed, Sight, State};

/// Changes a reader may lag behind before it must list again.
const QUEUE: usize = 4096;
/// The slow look, and the one while the kernel could not be asked to tell us everything.
const SLOW: Duration = Duration::from_secs(5);
const HURRIED: Duration = Duration::from_millis(150);

const WAKE: u64 = u64::MAX;
const FILES: u64 = u64::MAX - 1;

/// A shim that this process started and that has not written its status yet.
#[derive(Debug)]
pub struct Start {
    pub incarnation: u64,
    pub child: Box<dyn ChildWrapper>,
    pub at: Time,
}

#[derive(Debug, Default)]
struct Entry {
    observed: Option<Observed>,
    start: Option<Start>,
    /// Why the last start of ours came to nothing, and which incarnation it was.
    failed: Option<(u64, String)>,
    /// The living shim, or the agent that outlived its shim for a moment, and what tells us of its end.
    followed: Option<(Process, Option<OwnedFd>)>,
    watch: Option<i32>,
    token: u64,
}

impl Entry {
    /// Whether something may happen to it that the kernel does not tell us.
    fn is_unseen(&self) -> bool {
        self.watch.is_none() || self.start.is_some() || matches!(self.followed, Some((_, None)))
    }
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<AgentId, Entry>,
    by_token: HashMap<u64, AgentId>,
    by_watch: HashMap<i32, AgentId>,
    drawn: u64,
    /// Shims of ours that have ended or will: collected, so that none stays a zombie.
    children: Vec<Box<dyn ChildWrapper>>,
    root: Option<i32>,
}

/// Shared by the runtime and its watching thread.
#[derive(Debug)]
pub struct Observatory {
    dir: std::path::PathBuf,
    node: String,
    table: Mutex<Table>,
    changes: broadcast::Sender<Sight>,
    poll: OwnedFd,
    /// None when the kernel gives none (each user may have only so many): then everything is looked at often.
    files: Option<OwnedFd>,
    wake: OwnedFd,
}

impl Drop for Observatory {
    fn drop(&mut self) {
        self.ring(); // the thread finds nobody and ends
    }
}

impl Observatory {
    /// # Errors
    /// When the kernel gives no descriptors or no thread.
    pub fn open(dir: &Path, node: String, clock: Arc<dyn Clock>) -> std::io::Result<Arc<Self>> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let files = inotify::init(flags).ok();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        if let Some(files) = &files {
            epoll::add(&poll, files, EventData::new_u64(FILES), EventFlags::IN)?;
        }
        epoll::add(&poll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let waker = wake.try_clone()?;
        let poller = poll.try_clone()?;
        let this = Arc::new(Self {
            dir: dir.to_owned(),
            node,
            table: Mutex::new(Table::default()),
            changes: broadcast::Sender::new(QUEUE),
            poll,
            files,
            wake: waker,
        });
        let weak = Arc::downgrade(&this);
        // the thread keeps its own end of the waker, so that the last owner can still ring
        std::thread::Builder::new()
            .name("local-watch".to_owned())
            .spawn(move || keep_watching(&weak, &poller, &wake, &*clock))?;
        Ok(this)
    }

    pub fn home(&self, agent: &AgentId) -> Home {
        Home::new(self.dir.join(agent.as_str()))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // what it guards is rebuilt from disk at every look, so a panic elsewhere leaves nothing wrong behind
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every agent whose folder is here, forgotten ones included.
    pub fn agents(&self) -> Vec<AgentId> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        entries.filter_map(|entry| AgentId::new(entry.ok()?.file_name().to_str()?).ok()).collect()
    }

    /// Looks at everything afresh; returns what there is, and a reader of all changes after it.
    pub fn survey(&self) -> (Vec<Observed>, broadcast::Receiver<Sight>) {
        self.look_at_all();
        let table = self.lock();
        let seen = table.entries.values().filter_map(|entry| entry.observed.clone()).collect();
        (seen, self.changes.subscribe())
    }

    fn look_at_all(&self) {
        self.watch_root();
        let here = self.agents();
        for agent in &here {
            self.look(agent);
        }
        let here: std::collections::HashSet<AgentId> = here.into_iter().collect();
        let gone: Vec<AgentId> =
            self.lock().entries.keys().filter(|agent| !here.contains(*agent)).cloned().collect();
        for agent in &gone {
            self.look(agent);
        }
    }

    fn watch_root(&self) {
        let mut table = self.lock();
        if table.root.is_none() {
            let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            table.root = self.watch_path(&self.dir, flags);
        }
    }

    fn watch_path(&self, path: &Path, flags: WatchFlags) -> Option<i32> {
        inotify::add_watch(self.files.as_ref()?, path, flags).ok()
    }

    /// Notes a shim that was just started, so that its agent is seen before the shim has written anything.
    pub fn started(&self, agent: &AgentId, start: Start) {
        {
            let mut table = self.lock();
            let entry = table.entries.entry(agent.clone()).or_default();
            entry.failed = None;
            let before = entry.start.replace(start);
            table.children.extend(before.map(|before| before.child));
        }
        self.look(agent);
    }

    /// The incarnation this process has asked for and whose shim is on its way.
    pub fn starting(&self, agent: &AgentId) -> Option<u64> {
        self.look(agent);
        self.lock().entries.get(agent)?.start.as_ref().map(|start| start.incarnation)
    }

    /// Looks at one agent and tells the readers if anything changed. The lock is held over the look, so that a slower
    /// look never overwrites a later one.
    pub fn look(&self, agent: &AgentId) -> Option<Observed> {
        let home = self.home(agent);
        let mut table = self.lock();
        let Table { entries, by_token, by_watch, drawn, children, .. } = &mut *table;
        let here = home.path().is_dir();
        if !here {
            let entry = entries.remove(agent)?;
            by_token.remove(&entry.token);
            by_watch.retain(|_, watched| watched != agent);
            children.extend(entry.start.map(|start| start.child));
            if entry.observed.is_some() {
                self.tell(Sight::Gone(agent.clone()));
            }
            return None;
        }
        let entry = entries.entry(agent.clone()).or_default();
        if entry.watch.is_none() {
            let flags = WatchFlags::MOVED_TO | WatchFlags::DELETE | WatchFlags::DELETE_SELF;
            entry.watch = self.watch_path(home.path(), flags);
            by_watch.extend(entry.watch.map(|watch| (watch, agent.clone())));
        }
        // the watch stands before we read, so a later change is told
        let mut status = home.status();
        let mut lives = status.as_ref().is_some_and(Status::shim_lives);
        if !lives {
            // it may have written its last word between our reading and its end
            let last = home.status();
            if last != status {
                lives = last.as_ref().is_some_and(Status::shim_lives);
                status = last;
            }
        }
        settle_start(entry, status.as_ref(), &home, children);
        let left = status.as_ref().filter(|_| !lives).and_then(Status::living_agent);
        let shim = status.as_ref().filter(|_| lives).map(|status| status.shim);
        if entry.followed.as_ref().map(|(process, _)| *process) != shim.or(left) {
            by_token.remove(&entry.token);
            *drawn += 1;
            entry.token = *drawn;
            by_token.insert(entry.token, agent.clone());
            entry.followed = shim.or(left).map(|process| (process, self.follow(process, *drawn)));
        }
        if entry.is_unseen() {
            self.ring(); // the thread shall look at it more often
        }
        let observed = if home.forgotten().is_some() {
            None
        } else {
            observe(agent, &self.node, status.as_ref(), lives, entry)
        };
        if entry.observed != observed {
            entry.observed.clone_from(&observed);
            self.tell(observed.clone().map_or_else(|| Sight::Gone(agent.clone()), Sight::Changed));
        }
        observed
    }

    fn tell(&self, sight: Sight) {
        drop(self.changes.send(sight)); // nobody listening is fine
    }

    fn ring(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes()); // full means rung already
    }

    /// Asks the kernel to tell us of the end of `process`.
    fn follow(&self, process: Process, token: u64) -> Option<OwnedFd> {
        let fd = process.open()?;
        epoll::add(&self.poll, &fd, EventData::new_u64(token), EventFlags::IN).ok()?;
        Some(fd)
    }

    fn collect_children(&self) {
        self.lock().children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Agents of which the kernel cannot tell us everything.
    fn blind(&self) -> Vec<AgentId> {
        let table = self.lock();
        let entries = table.entries.iter();
        entries.filter(|(_, entry)| entry.is_unseen()).map(|(agent, _)| agent.clone()).collect()
    }

    fn hear_files(&self) {
        let Some(files) = &self.files else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(files, &mut buffer);
        let (mut changed, mut all) = (Vec::new(), false);
        while let Ok(event) = events.next() {
            all |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().and_then(|name| name.to_str().ok());
            let mut table = self.lock();
            if event.events().contains(ReadFlags::IGNORED) {
                if let Some(agent) = table.by_watch.remove(&event.wd()) {
                    table.entries.entry(agent.clone()).or_default().watch = None;
                    changed.push(agent);
                }
            } else if table.root == Some(event.wd()) {
                changed.extend(name.and_then(|name| AgentId::new(name).ok()));
            } else if name.is_none_or(|name| !name.starts_with('.')) {
                changed.extend(table.by_watch.get(&event.wd()).cloned());
            }
        }
        changed.sort_unstable();
        changed.dedup();
        for agent in changed {
            self.look(&agent);
        }
        if all {
            self.look_at_all();
        }
    }
}

/// A start of ours is settled once the shim has written that it holds the lock, or has ended without.
fn settle_start(
    entry: &mut Entry,
    status: Option<&Status>,
    home: &Home,
    children: &mut Vec<Box<dyn ChildWrapper>>,
) {
    let Some(start) = &mut entry.start else { return };
    let arrived = |status: Option<&Status>, incarnation| {
        status.is_some_and(|status| status.incarnation >= incarnation)
    };
    let over = !matches!(start.child.try_wait(), Ok(None));
    if !over && !arrived(status, start.incarnation) {
        return;
    }
    // its last word may have come after our first look
    if over && !arrived(home.status().as_ref(), start.incarnation) {
        let said = fs::read_to_string(home.complaint()).unwrap_or_default();
        let why = if said.is_empty() { "it gave no reason" } else { said.trim() };
        entry.failed = Some((start.incarnation, format!("its shim could not start it: {why}")));
    }
    children.extend(entry.start.take().map(|start| start.child));
}

/// What the records mean, given whether the shim that wrote them still runs.
fn observe(
    agent: &AgentId,
    node: &str,
    status: Option<&Status>,
    lives: bool,
    entry: &Entry,
) -> Option<Observed> {
    let blank = |incarnation, state| Observed {
        agent: agent.clone(),
        incarnation,
        state,
        pid: None,
        node: node.to_owned(),
        workload: agent.to_string(),
        restarts: 0,
        message: String::new(),
        exit: None,
        started_at: None,
        copy_of: None,
    };
    let recorded = status.map(|status| {
        let mut seen = blank(status.incarnation, State::Exited);
        seen.message.clone_from(&status.message);
        seen.started_at = status.started_at;
        seen.pid = status.agent.map(|agent| agent.pid);
        match status.stage {
            Stage::Exited => {
                seen.pid = None;
                seen.exit = Some(status.end.map_or(Exit::Unknown, Exit::from));
            }
            Stage::Starting | Stage::Running | Stage::Ending if !lives => {
                let left = status.living_agent();
                seen.pid = left.map(|agent| agent.pid);
                if left.is_some() {
                    seen.state = State::Running;
                    "runs on without its shim, which was killed".clone_into(&mut seen.message);
                } else {
                    seen.exit = Some(Exit::Unknown);
                    "ended with its shim, which was killed".clone_into(&mut seen.message);
                }
            }
            Stage::Starting => seen.state = State::Starting,
            Stage::Running => seen.state = State::Running,
            Stage::Ending => seen.state = State::Ending,
        }
        seen
    });
    if recorded.as_ref().is_some_and(|seen| seen.state != State::Exited) {
        return recorded;
    }
    if let Some(start) = &entry.start {
        let mut seen = blank(start.incarnation, State::Starting);
        seen.started_at = Some(start.at);
        return Some(seen);
    }
    match &entry.failed {
        Some((incarnation, why))
            if recorded.as_ref().is_none_or(|r| r.incarnation < *incarnation) =>
        {
            let mut seen = blank(*incarnation, State::Exited);
            (seen.exit, seen.message) = (Some(Exit::Unknown), why.clone());
            Some(seen)
        }
        Some(_) | None => recorded,
    }
}

/// The watching thread: ends with the last owner of the observatory.
fn keep_watching(weak: &Weak<Observatory>, poll: &OwnedFd, wake: &OwnedFd, clock: &dyn Clock) {
    let mut events = Vec::with_capacity(256);
    let mut looked = clock.instant();
    let mut hurried = looked;
    loop {
        let Some(blind) = weak.upgrade().map(|this| this.blind()) else { return };
        let patience = if blind.is_empty() { SLOW } else { HURRIED };
        events.clear();
        let limit = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        let _ = epoll::wait(poll, spare_capacity(&mut events), Some(&limit));
        let Some(this) = weak.upgrade() else { return };
        let _ = rustix::io::read(wake, &mut [0; 8]);
        for event in &events {
            match event.data.u64() {
                WAKE => {}
                FILES => this.hear_files(),
                token => {
                    let agent = this.lock().by_token.get(&token).cloned();
                    agent.and_then(|agent| this.look(&agent));
                    this.collect_children();
                }
            }
        }
        let now = clock.instant();
        if now.saturating_duration_since(hurried) >= HURRIED {
            for agent in &blind {
                this.look(agent);
            }
            this.collect_children();
            hurried = now;
        }
        if now.saturating_duration_since(looked) >= SLOW {
            this.look_at_all();
            looked = now;
        }
    }
}
