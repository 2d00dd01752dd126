//! `cvxc demo`: a throw-away fleet that shows everything working. What happens comes from the agents' behaviour; nothing is staged.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::args::{ActOutput, DemoArgs};
use super::demo_report::{self, Report, Tally};
use super::fail::Fail;
use super::signals::Ending;
use super::{console, manifests, output};
use crate::boot::{self, Ground, Opened, Part, Request, Simulation};
use crate::engine::handle::Consent;
use crate::model::agent::Phase;
use crate::model::event::Event;
use crate::model::filter::Filter;
use crate::model::message::MessageStatus;
use crate::model::plan::Command;
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::ports::store::chain;
use crate::settings::RuntimeKind;
use crate::telemetry;
use crate::tui::Parting;

const FLEET: &str = include_str!("../../config/demo.yaml");

/// A headless run that has not shown everything by then has failed.
const LONGEST: Duration = Duration::from_secs(120);
const ENOUGH_AGENTS: u64 = 12;
/// Where a demo in a cluster lives unless it is told otherwise.
const NAMESPACE: &str = "cvxc-demo";
/// How long a demo waits for its pods to end.
const PODS_END: Duration = Duration::from_secs(60);
/// The file by which a demo knows its own folder.
const MARK: &str = "demo";
/// How that file begins where agents are played.
const PLAYED: &str = "played agents: ";
/// How long a new folder's store may take to be read.
const PATIENCE: Duration = Duration::from_secs(20);

/// A demo looks more often and retries sooner than production would; what the loops decide is theirs.
const PACE: &[(&str, &str)] = &[
    ("health.interval", "2s"),
    ("health.usage-interval", "2s"),
    ("autoscale.interval", "5s"),
    ("recovery.backoff-first", "1s"),
];

/// The folder of a demo; removed when dropped unless it is to be kept.
enum Folder {
    Kept(PathBuf),
    ThrowAway(tempfile::TempDir),
}

impl Folder {
    fn keep(self) -> Self {
        match self {
            Self::Kept(path) => Self::Kept(path),
            Self::ThrowAway(dir) => Self::Kept(dir.keep()),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Kept(path) => path.clone(),
            Self::ThrowAway(dir) => dir.path().to_owned(),
        }
    }
}

/// A demo at work: its folder, its settings and its engine.
pub struct Demo {
    folder: Folder,
    pub ground: Ground,
    pub opened: Opened,
    /// Once its place in a cluster is known to be its own: whether the namespace was made for it, and goes with it.
    settled: Option<bool>,
    _logs: Option<telemetry::LogGuard>,
}

impl Demo {
    /// Starts the fleet of the shipped manifests in a folder of its own.
    ///
    /// # Errors
    /// When the folder, the store or the fleet cannot be made; nothing is left running.
    pub fn start(runtime: &tokio::runtime::Runtime, request: &Request) -> Result<Self, Fail> {
        Self::begin(runtime, request, None)
    }

    fn begin(
        runtime: &tokio::runtime::Runtime,
        request: &Request,
        simulation: Option<Simulation>,
    ) -> Result<Self, Fail> {
        let folder = folder(request, simulation.is_some())?;
        let mut flags: Vec<_> =
            PACE.iter().map(|(key, value)| (*key, (*value).to_owned(), "demo")).collect();
        if let Some(simulation) = simulation {
            flags.retain(|(key, _, _)| *key != "health.usage-interval");
            flags.push(("health.usage-interval", sampling(simulation), "demo"));
        }
        flags.extend(request.flags.iter().cloned());
        let data_dir = Some(folder.path());
        let mut ground = boot::ground(&Request { data_dir, flags, ..request.clone() })?;
        let settings = &mut ground.loaded.settings;
        if settings.runtime.kind == RuntimeKind::Kubernetes
            && settings.kubernetes.namespace.is_empty()
        {
            NAMESPACE.clone_into(&mut settings.kubernetes.namespace);
        }
        let logs =
            telemetry::start(&ground.loaded.settings.log, Some(&ground.places.logs), false).ok();
        let opened = runtime.block_on(console::open(&ground, Part::Contend, simulation))?;
        let mut demo = Self { folder, ground, opened, settled: None, _logs: logs };
        let seeded = runtime.block_on(async {
            if let Some(cluster) = &demo.opened.kubernetes {
                let settled = cluster.settle().await;
                demo.settled = Some(settled.map_err(|error| Fail::failed(chain(&error)))?);
            }
            seed(&demo.opened, simulation).await
        });
        if let Err(error) = seeded {
            demo.end(runtime)?;
            return Err(error);
        }
        Ok(demo)
    }

    /// Waits until everything that a tour shows has happened, or for `limit`.
    ///
    /// # Errors
    /// When the engine stopped.
    pub async fn settled(&self, limit: Duration) -> Result<(), Fail> {
        let mut tally = Tally::default();
        let deadline = Instant::now() + limit;
        follow(&self.opened, &mut tally, deadline, true, &mut |_| Ok(())).await
    }

    /// Ends the loops first, so that nothing is started again, then every process that the demo started; removes the
    /// folder unless it was given. Returns how many processes could not be ended.
    ///
    /// # Errors
    /// When the folder cannot be removed.
    pub fn end(self, runtime: &tokio::runtime::Runtime) -> Result<usize, Fail> {
        let Opened { running, local, kubernetes, .. } = self.opened;
        // what is in a namespace that was never ours is not ours to end
        let cluster = kubernetes.zip(self.settled);
        let left = runtime.block_on(async {
            running.stop(Duration::from_secs(2)).await;
            match (local, cluster) {
                (Some(local), _) => local.end_all(Duration::from_secs(2)).await,
                (None, Some((cluster, made))) => cluster.end_all(made, PODS_END).await,
                (None, None) => Ok(0),
            }
        });
        let left = left.map_err(|error| Fail::failed(chain(&error)))?;
        if let Folder::ThrowAway(dir) = self.folder {
            dir.close().map_err(|error| {
                Fail::failed(format!("the demo's folder could not be removed: {error}"))
            })?;
        }
        Ok(left)
    }
}

/// # Errors
/// Exit code 1, naming what was not seen, when a headless run did not show everything in time.
pub fn run(
    runtime: &tokio::runtime::Runtime,
    request: &Request,
    args: &DemoArgs,
) -> Result<(), Fail> {
    let simulation =
        args.simulated.map(|agents| Simulation { agents, updates: args.updates, seed: args.seed });
    // from here on a signal is one more way to leave: nothing may outlive the demo
    let mut ending = runtime.block_on(async { Ending::listen() })?;
    let mut demo = Demo::begin(runtime, request, simulation)?;
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let outcome = if terminal && !args.headless && args.span.is_none() {
        let data_dir = Some(demo.ground.places.data.clone());
        let again = Request { data_dir, ..request.clone() };
        let options = console::options(&demo.ground, &again, &args.console, Parting::End);
        console::show(&demo.opened, options, runtime).map(|_| None)
    } else {
        runtime.block_on(async {
            tokio::select! {
                report = headless(&demo.opened, args) => report.map(Some),
                signal = ending.asked() => Err(Fail::failed(format!("{signal}: the demo was ended early"))),
            }
        })
    };
    let kept = args.keep.then(|| demo.folder.path().clone());
    if args.keep {
        demo.folder = demo.folder.keep();
    }
    // before anything is said: the terminal may have gone away, and nothing may outlive the demo
    let left = demo.end(runtime)?;
    if let Some(kept) = kept {
        output::line(&format!("kept: {}", Safe::new(&kept.display().to_string())))?;
    }
    match outcome? {
        Some(mut report) => {
            report.leftover_processes = left;
            finish(&report, args)
        }
        None if left > 0 => {
            Err(Fail::failed(format!("{left} processes of the demo could not be ended")))
        }
        None => Ok(()),
    }
}

/// Played agents are sampled evenly over one usage interval: agents ÷ interval = samples a second.
fn sampling(simulation: Simulation) -> String {
    let agents = simulation.agents.max(1) as u64;
    let millis = (agents * 1_000).checked_div(u64::from(simulation.updates)).unwrap_or(u64::MAX);
    format!("{}ms", millis.clamp(100, 86_400_000))
}

/// A folder that is given is empty, or an earlier demo's: leaving a demo ends every process of its fleet, so it must never
/// be anybody's real one.
fn folder(request: &Request, played: bool) -> Result<Folder, Fail> {
    let Some(dir) = &request.data_dir else {
        let dir = tempfile::Builder::new().prefix("cvxc-demo-").tempdir()?;
        mark(dir.path(), played)?;
        return Ok(Folder::ThrowAway(dir));
    };
    if !played && is_played(dir) {
        return Err(Fail::usage(format!(
            "--data-dir {}: its agents are played, not run: add `--simulated N`, or name another folder",
            dir.display()
        )));
    }
    if played && dir.join(MARK).exists() && !is_played(dir) {
        return Err(Fail::usage(format!(
            "--data-dir {}: its agents are real processes: leave out `--simulated`, or name another folder",
            dir.display()
        )));
    }
    let used = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if used && !dir.join(MARK).exists() {
        return Err(Fail::usage(format!(
            "--data-dir {}: is not empty and no demo made it; name another folder",
            dir.display()
        )));
    }
    std::fs::create_dir_all(dir)
        .and_then(|()| mark(dir, played))
        .map_err(|error| Fail::usage(format!("--data-dir {}: {error}", dir.display())))?;
    Ok(Folder::Kept(dir.clone()))
}

fn mark(dir: &Path, played: bool) -> std::io::Result<()> {
    let fleet = if played { PLAYED } else { "" };
    let text =
        format!("{fleet}a fleet of `cvxc demo`: leaving the demo ends every process of it\n");
    std::fs::write(dir.join(MARK), text)
}

/// Whether the fleet in this folder was made for played agents: nothing but a demo may run them, or each of thousands would
/// become a process.
pub fn is_played(dir: &Path) -> bool {
    std::fs::read(dir.join(MARK)).is_ok_and(|mark| mark.starts_with(PLAYED.as_bytes()))
}

/// Applies the fleet's manifests as any operator would; a folder that holds a fleet already keeps it.
async fn seed(opened: &Opened, simulation: Option<Simulation>) -> Result<(), Fail> {
    // asked of the store itself: the console need not wait until all of a large fleet is read
    if opened.context.store.count(Collection::AgentPools, Filter::All).await? > 0 {
        return Ok(());
    }
    opened.loaded(PATIENCE).await?;
    let text = match (simulation, &opened.kubernetes) {
        (Some(simulation), _) => simulated_fleet(simulation.agents),
        (None, Some(_)) => in_a_cluster(FLEET),
        (None, None) => FLEET.to_owned(),
    };
    let manifests = manifests::parse("config/demo.yaml", &text)?;
    let plan = opened.handle.plan(&opened.actor, Command::Apply { manifests }).await?;
    let consent = Consent { typed: plan.confirm_word.clone(), reason: "demo".into() };
    opened.handle.confirm(&opened.actor, &plan, consent).await?;
    Ok(())
}

/// The same fleet for a cluster: its images are this program's own, and its agents cannot be heard from there, since the
/// demo's store is a file of this machine.
fn in_a_cluster(fleet: &str) -> String {
    let lines = fleet.lines().filter(|line| !line.trim_start().starts_with("image:"));
    lines.map(|line| line.replace(", required: true", "") + "\n").collect()
}

/// One template and up to ten pools that share `agents` between them.
fn simulated_fleet(agents: usize) -> String {
    use std::fmt::Write;
    let mut text = String::from(
        "kind: Template\nname: played\ntype: worker\nconfiguration:\n  image: registry.example/agents/worker:1.0\n  command: [cvxc, agent, run]\n  resources:\n    requests: {cpu: 250m, memory: 128Mi}\n    limits: {cpu: 500m, memory: 256Mi}\n",
    );
    let pools = agents.div_ceil(1_000).clamp(1, 10);
    for at in 0..pools {
        let count = agents / pools + usize::from(at < agents % pools);
        write!(text, "---\nkind: Pool\nname: fleet-{at}\ntemplate: played\ndesired: {count}\nmin: 0\nmax: {}\n", count * 2)
            .expect("writing to a String cannot fail");
    }
    text
}

async fn headless(opened: &Opened, args: &DemoArgs) -> Result<Report, Fail> {
    let talk = args.output == ActOutput::Text;
    let began = Instant::now();
    let deadline = began + args.span.unwrap_or(LONGEST);
    let mut tally = Tally::default();
    if talk {
        output::line("the demo's fleet is starting; what follows happened, newest last")?;
    }
    let mut tell = |event: &Arc<Event>| match told(event) {
        Some(said) if talk => {
            output::line(&format!("{:>6.1}s  {}", began.elapsed().as_secs_f64(), Safe::new(&said)))
        }
        _ => Ok(()),
    };
    follow(opened, &mut tally, deadline, args.span.is_none(), &mut tell).await?;
    let missing = if args.span.is_some() { Vec::new() } else { missing(opened, &tally) };
    let mut report = demo_report::make(opened).await?;
    report.missing = missing;
    Ok(report)
}

/// Follows the journal until `deadline`, or until nothing is missing any more if `enough` says so.
async fn follow(
    opened: &Opened,
    tally: &mut Tally,
    deadline: Instant,
    enough: bool,
    tell: &mut dyn FnMut(&Arc<Event>) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let (mut events, mut views) = (opened.handle.events(), opened.handle.views());
    // what happened before the journal was listened to counts too
    *tally = demo_report::recount(opened).await?;
    while !(enough && missing(opened, tally).is_empty()) {
        tokio::select! {
            event = timeout_at(deadline, events.recv()) => match event {
                Err(_) => break,
                Ok(Err(RecvError::Closed)) => return Err(Fail::failed("the engine stopped")),
                Ok(Err(RecvError::Lagged(_))) => *tally = demo_report::recount(opened).await?,
                Ok(Ok(event)) => {
                    tally.note(&event);
                    tell(&event)?;
                }
            },
            _ = views.changed() => {
                views.borrow_and_update();
            }
        }
    }
    Ok(())
}

/// What a full tour has not shown yet.
fn missing(opened: &Opened, tally: &Tally) -> Vec<String> {
    let view = opened.handle.views().borrow().clone();
    let running = view.totals.phase(Phase::Running);
    let mut missing = Vec::new();
    if running < ENOUGH_AGENTS {
        missing.push(format!("{ENOUGH_AGENTS} agents running (there are {running})"));
    }
    if opened.kubernetes.is_some() {
        let starting = view.totals.phase(Phase::Pending) + view.totals.phase(Phase::Deploying);
        if starting > 0 {
            missing.push(format!("all agents up ({starting} still start)"));
        }
        return missing; // agents that cannot reach the store send nothing
    }
    if view.totals.messages(MessageStatus::Delivered) == 0 {
        missing.push("a delivered message".into());
    }
    if tally.recoveries == 0 {
        missing.push("a recovery".into());
    }
    if tally.scalings.is_empty() {
        missing.push("an autoscaling".into());
    }
    missing
}

/// One line for events worth telling a newcomer; the rest is on the events page.
fn told(event: &Arc<Event>) -> Option<String> {
    let because =
        if event.reason.is_empty() { String::new() } else { format!(": {}", event.reason) };
    let subject = &event.subject;
    match event.kind.as_str() {
        "leader.changed" => {
            Some(format!("this process leads (epoch {})", event.epoch.unwrap_or_default()))
        }
        "agent.running" => Some(format!("{subject} runs")),
        "agent.failed" => Some(format!("{subject} failed{because}")),
        "agent.recovered" => Some(format!("{subject} was brought back{because}")),
        "pool.scaled" => Some(format!("pool {subject} scaled{because}")),
        "health.changed" => Some(format!("{subject}: health changed{because}")),
        "op.ended" => Some(format!("operation ended: {subject}")),
        _ => None,
    }
}

fn finish(report: &Report, args: &DemoArgs) -> Result<(), Fail> {
    match args.output {
        ActOutput::Json => output::json(report)?,
        ActOutput::Text => {
            for text in report.lines() {
                output::line(Safe::new(&text).as_str())?;
            }
        }
    }
    if report.leftover_processes > 0 {
        return Err(Fail::failed(format!(
            "{} processes were left over",
            report.leftover_processes
        )));
    }
    if report.missing.is_empty() {
        return Ok(());
    }
    Err(Fail::failed(format!(
        "not seen within {} s: {}",
        LONGEST.as_secs(),
        report.missing.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn played_agents_are_never_run_by_a_demo_of_real_ones() {
        let dir = tempfile::tempdir().unwrap();
        let request = Request { data_dir: Some(dir.path().to_owned()), ..Request::default() };
        folder(&request, true).unwrap();
        assert!(is_played(dir.path()));
        let refused = folder(&request, false).err().unwrap();
        assert!(refused.message.contains("add `--simulated N`"), "{}", refused.message);
        folder(&request, true).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let request = Request { data_dir: Some(dir.path().to_owned()), ..Request::default() };
        folder(&request, false).unwrap();
        let refused = folder(&request, true).err().unwrap();
        assert!(refused.message.contains("leave out `--simulated`"), "{}", refused.message);
        folder(&request, false).unwrap();
        assert!(!is_played(dir.path()));
    }
}
