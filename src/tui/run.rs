//! The console's loop: an event, what `update` makes of it, what that asks for, a frame. It runs on the thread that called
//! it, in a runtime of its own, so that nothing the engine does can hold a key up, and no terminal the engine.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::sync::{broadcast, watch};

use self::alarms::Alarms;
pub(super) use self::effects::Effects;
pub use self::options::{Ending, Options, Parting, Reread};
use self::signals::{Heard, Signals};
use super::effect::{EditOrder, Effect, EffectId, ShellOrder};
use super::event::{Alarm, Event};
use super::frame::FrameClock;
use super::history::History;
use super::input::parse::{Answer, Input};
use super::load::LoadError;
use super::perf::{self, Meter, Queues};
use super::recorder::Recorder;
use super::terminal::Screen;
use super::theme::{Background, Depth, Glyphs, colour};
use super::ui::Ui;
use super::update::{prepare, update};
use super::views::Views;
use super::widgets::toast::Weight;
use super::writer::Frame;
use super::{bookmarks, clipboard, jumps, keymap, render, theme};
use crate::engine::handle::Handle;
use crate::engine::view::FleetView;
use crate::model::access::Actor;
use crate::model::text::Safe;
use crate::ports::clock::Clock;
use crate::settings::{ConsoleSettings, TimeZone};

mod alarms;
mod dump;
mod editor;
mod effects;
mod follow;
mod options;
mod reload;
mod shell;
mod signals;

/// How long the terminal may take to say what its background is.
const BACKGROUND: Duration = Duration::from_secs(2);

/// A theme that follows the terminal's background.
const AUTO: &str = "auto";

/// Shows the console until the operator leaves, a signal comes, or the terminal is gone.
///
/// To be called inside the engine's runtime (entered, not awaited): what the engine is asked runs there.
///
/// # Errors
/// When the terminal cannot be used; it has been given back.
pub fn run(handle: Handle, actor: Actor, options: Options) -> io::Result<(Ending, History)> {
    let engine = tokio::runtime::Handle::current();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let screen = Screen::enter()?;
        Console::new(screen, handle, actor, options, engine)?.run().await
    })
}

/// Checks every theme and keymap: the shipped ones and the user's below `config`. One line for each fault.
pub fn check_files(config: &std::path::Path) -> Vec<String> {
    let mut faults: Vec<LoadError> = Vec::new();
    let names = |folder: &str| -> Vec<String> {
        let files = std::fs::read_dir(config.join(folder)).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned))
            .collect()
    };
    let shipped = theme::load::SHIPPED.iter().map(|(name, _)| (*name).to_owned());
    for name in shipped.chain(names("themes")) {
        faults.extend(theme::load::load(&name, Some(config)).1);
    }
    let shipped = keymap::load::SHIPPED.iter().map(|(name, _)| (*name).to_owned());
    for name in shipped.chain(names("keymaps")) {
        faults.extend(keymap::load::load(&name, Some(config)).1);
    }
    faults.extend(Views::load(config).1);
    faults.extend(bookmarks::load(config).1);
    faults.extend(jumps::load(config, &keymap::load::load("default", Some(config)).0).1);
    let mut lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.sort();
    lines.dedup();
    lines
}

struct Console {
    ui: Ui,
    /// The picture that is on the screen; keys act on this one.
    view: Arc<FleetView>,
    views: watch::Receiver<Arc<FleetView>>,
    journal: Option<Journal>,
    frames: FrameClock,
    effects: Effects,
    /// What is to be edited next.
    editing: Option<Box<EditOrder>>,
    /// The shell that is to have the terminal next.
    shelling: Option<Box<ShellOrder>>,
    alarms: Alarms,
    clock: Arc<dyn Clock>,
    config: PathBuf,
    dumps: PathBuf,
    look: reload::Look,
    /// Reads the settings again.
    settings: Reread,
    /// As they were read last.
    set: ConsoleSettings,
    /// The profile in force.
    keymap: String,
    ending: Ending,
    through: clipboard::Through,
    began: tokio::time::Instant,
    recorder: Recorder,
    meter: Meter,
    /// From the moment the view was made to the moment it was drawn first.
    lag: Duration,
    /// Break at the next key: what shows that the terminal is given back even then (`CVXC_TEST_PANIC`).
    brittle: bool,
    buffer: Buffer,
    signals: Signals,
    screen: Screen,
}

/// The next journal entry; never again once the journal is closed.
async fn next_entry(journal: &mut Option<Journal>) -> Event {
    let entry = match journal {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    };
    match entry {
        Ok(entry) => Event::Journal(entry),
        Err(broadcast::error::RecvError::Lagged(_)) => Event::JournalGap,
        Err(broadcast::error::RecvError::Closed) => {
            *journal = None;
            Event::JournalGap
        }
    }
}

type Journal = broadcast::Receiver<Arc<crate::model::event::Event>>;

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Console {
    fn new(
        screen: Screen,
        handle: Handle,
        actor: Actor,
        options: Options,
        engine: tokio::runtime::Handle,
    ) -> io::Result<Self> {
        let Options { config, settings, limits, readonly, parting, dumps, clock, .. } = options;
        let chosen = settings.theme != AUTO;
        let light = Background::from_env(environment) == Some(Background::Light);
        let by_default = if light { "light" } else { theme::load::SHIPPED[0].0 };
        let name = if chosen { settings.theme.as_str() } else { by_default };
        let depth = Depth::from_env(environment);
        let name = if depth == Depth::None { "mono" } else { name };
        let (theme, mut faults) = theme::load::load(name, Some(&config));
        let (keymap, more) = keymap::load::load(&settings.keymap, Some(&config));
        faults.extend(more);
        let (bookmarks, more) = bookmarks::load(&config);
        faults.extend(more);
        let mut ui = Ui::new(actor.clone(), theme.clone(), keymap, clock.now());
        (ui.depth, ui.limits) = (depth, limits);
        ui.wear(theme);
        ui.theme_chosen = chosen || depth == Depth::None;
        ui.glyphs = Glyphs::from_env(settings.ascii, environment);
        (ui.readonly, ui.parting) = (readonly, parting);
        (ui.context, ui.contexts) = (options.context, options.contexts);
        (ui.first_line, ui.history) = (options.first_line, options.history);
        if let Some(notice) = options.notice {
            ui.notices.say(ui.now, Weight::Alarm, Safe::new(&notice));
        }
        ui.local_time = settings.time_zone == TimeZone::Local;
        ui.lean = settings.low_bandwidth;
        let (views, more) = Views::load(&config);
        faults.extend(more);
        let (jumps, more) = jumps::load(&config, &ui.keymap);
        faults.extend(more);
        (ui.faults, ui.bookmarks, ui.views) = (faults, bookmarks, Arc::new(views));
        ui.jumps = jumps;
        let look = reload::Look::new(&config);
        let recorder = Recorder::new(&ui, &settings.keymap);
        let views = handle.views();
        let remote =
            ["SSH_TTY", "SSH_CONNECTION"].into_iter().any(|name| environment(name).is_some());
        Ok(Self {
            ui,
            view: Arc::default(),
            views,
            journal: Some(handle.events()),
            frames: FrameClock::new(remote || settings.low_bandwidth),
            effects: Effects::new(engine, handle, actor),
            editing: None,
            shelling: None,
            alarms: Alarms::default(),
            clock,
            config,
            dumps,
            look,
            settings: options.reread,
            keymap: settings.keymap.clone(),
            set: settings,
            ending: Ending::Quit,
            through: clipboard::Through::from_env(environment),
            began: tokio::time::Instant::now(),
            recorder,
            meter: Meter::default(),
            lag: Duration::ZERO,
            brittle: environment("CVXC_TEST_PANIC").is_some(),
            buffer: Buffer::default(),
            signals: Signals::new()?,
            screen,
        })
    }

    /// Runs to the end; gives the views that were looked at.
    async fn run(mut self) -> io::Result<(Ending, History)> {
        self.rounds().await?;
        let here = self.ui.page().memo();
        self.ui.history.leave(&here);
        Ok((self.ending, self.ui.history))
    }

    async fn rounds(&mut self) -> io::Result<()> {
        self.alarms.add(Alarm::Minute, Duration::from_secs(60));
        self.alarms.add(Alarm::Files, reload::EVERY);
        self.tell_faults();
        loop {
            if let Some(order) = self.editing.take() {
                let Some(event) = self.let_edit(order).await? else { return Ok(()) };
                self.recorder.event(self.clock.now(), &event);
                let effects = update(&mut self.ui, &self.view, event);
                if self.carry_out(effects).is_break() {
                    return Ok(());
                }
                self.frames.want_quick();
            }
            if let Some(order) = self.shelling.take() {
                let Some(event) = self.let_work(order).await? else { return Ok(()) };
                self.recorder.event(self.clock.now(), &event);
                let effects = update(&mut self.ui, &self.view, event);
                if self.carry_out(effects).is_break() {
                    return Ok(());
                }
                self.frames.want_quick();
            }
            let pace = self.screen.writer().pace().clone();
            let event = tokio::select! {
                biased; // the way out first; then a frame, so that a flood of keys cannot starve the screen
                heard = self.signals.next() => match heard {
                    Heard::Stop => return Ok(()),
                    Heard::Resize => Event::Resize,
                    Heard::Resume => {
                        self.screen.resume();
                        Event::Resize
                    }
                },
                () = pace.lost() => return Ok(()),
                () = self.frames.due() => {
                    self.draw();
                    continue;
                }
                input = self.screen.next_input() => match input {
                    Some(Input::Key(key)) => {
                        assert!(!self.brittle, "a key came and CVXC_TEST_PANIC is set");
                        Event::Key(key)
                    }
                    Some(Input::Paste(text)) => Event::Paste(text),
                    Some(Input::Answer(answer)) => match self.answered(answer) {
                        Some(event) => event,
                        None => continue,
                    },
                    None => return Ok(()),
                },
                event = self.effects.next() => event,
                alarm = self.alarms.next() => match alarm {
                    Alarm::Files if !self.files_changed() => continue,
                    alarm => Event::Alarm(alarm),
                },
                changed = self.views.changed() => {
                    if changed.is_err() {
                        return Ok(()); // the engine is gone
                    }
                    self.frames.want_data();
                    continue;
                }
                event = next_entry(&mut self.journal) => event,
            };
            self.recorder.event(self.clock.now(), &event);
            let from_data = matches!(event, Event::Journal(_) | Event::Lines(..));
            let effects = update(&mut self.ui, &self.view, event);
            if self.carry_out(effects).is_break() {
                return Ok(());
            }
            if from_data {
                self.frames.want_data();
            } else {
                self.frames.want_quick();
            }
        }
    }

    /// Lends the terminal to the operator's editor. `None` when the console is to end.
    async fn let_edit(&mut self, order: Box<EditOrder>) -> io::Result<Option<Event>> {
        if !self.screen.lend() {
            let why = Safe::new("the terminal takes nothing, so no editor was started");
            return Ok(Some(Event::Edited(order, Err(why))));
        }
        let outcome = tokio::select! {
            biased;
            _ = self.signals.terminate.recv() => return Ok(None),
            _ = self.signals.hang_up.recv() => return Ok(None),
            outcome = editor::edit(&order.text) => outcome,
        };
        self.screen.take_back()?;
        // what was typed into the editor (^C, ^Z) was meant for the editor
        self.signals = Signals::new()?;
        Ok(Some(Event::Edited(order, outcome)))
    }

    /// Lends the terminal to a shell beside an agent. `None` when the console is to end.
    async fn let_work(&mut self, order: Box<ShellOrder>) -> io::Result<Option<Event>> {
        if !self.screen.lend() {
            let why = Safe::new("the terminal takes nothing, so no shell was begun");
            return Ok(Some(Event::Shelled(order, Err(why))));
        }
        let outcome = tokio::select! {
            biased;
            _ = self.signals.terminate.recv() => return Ok(None),
            _ = self.signals.hang_up.recv() => return Ok(None),
            outcome = shell::shell(&self.effects, &order) => outcome,
        };
        let Some(outcome) = outcome else { return Ok(None) };
        self.screen.take_back()?;
        // the window may have another size by now, and nobody here has heard of it
        self.signals = Signals::new()?;
        Ok(Some(Event::Shelled(order, outcome)))
    }

    /// What the terminal says of itself.
    fn answered(&mut self, answer: Answer) -> Option<Event> {
        match answer {
            Answer::Synchronized(known) => self.screen.writer().synchronize(known),
            Answer::Kitty => self.screen.use_kitty_keys(),
            // A theme that changed under the operator's eyes would be worse than the wrong one.
            Answer::Background(..) if self.began.elapsed() > BACKGROUND => {}
            Answer::Background(r, g, b) => {
                let light = colour::luminance((r, g, b)) > 0.4;
                return Some(Event::Background(if light {
                    Background::Light
                } else {
                    Background::Dark
                }));
            }
            Answer::Done => {}
        }
        None
    }

    fn draw(&mut self) {
        let began = self.clock.instant();
        let view = self.views.borrow_and_update().clone();
        self.ui.now = self.clock.now();
        if view.version != self.view.version {
            self.lag = self.ui.now.since(view.at);
        }
        self.view = view;
        self.recorder.view(self.ui.now, &self.view);
        if self.ui.perf.is_some() {
            self.ui.perf = Some(self.figures());
        }
        let effects = prepare(&mut self.ui, &self.view);
        // A frame asks for wake-ups at most; whether it would quit is of no account here.
        let _ = self.carry_out(effects);
        let size = self.screen.size();
        let area = Rect::new(0, 0, size.width, size.height);
        if self.buffer.area != area {
            self.buffer = Buffer::empty(area);
        }
        let (hits, cursor) = render::render(&self.ui, &self.view, &mut self.buffer);
        self.ui.seen(hits);
        self.recorder.frame(self.ui.now, &self.buffer);
        self.meter.note(self.clock.instant().saturating_duration_since(began));
        let writer = self.screen.writer();
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer = writer.post(Frame { buffer, cursor });
        self.frames.pace(writer.pace().halvings());
        // for the next picture, whose key then does not wait for it
        self.buffer.reset();
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> std::ops::ControlFlow<()> {
        for effect in effects {
            match effect {
                Effect::Switch(context, line) => {
                    self.ending = Ending::Switch { context, line };
                    return std::ops::ControlFlow::Break(());
                }
                Effect::Quit => return std::ops::ControlFlow::Break(()),
                Effect::Wake(alarm, delay) => self.alarms.add(alarm, delay),
                Effect::Copy(lines) => {
                    self.screen.writer().order(&clipboard::sequence(&lines, self.through));
                }
                Effect::Dump(id) => self.dump(id),
                Effect::Repaint => self.screen.writer().repaint(),
                Effect::Edit(order) => self.editing = Some(order),
                Effect::Shell(order) => self.shelling = Some(order),
                Effect::LoadTheme(name) => {
                    let (theme, faults) = theme::load::load(&name, Some(&self.config));
                    self.ui.wear(theme);
                    self.ui.faults = faults;
                    self.tell_faults();
                }
                Effect::LoadKeymap(name) => {
                    let (keymap, faults) = keymap::load::load(&name, Some(&self.config));
                    (self.ui.keymap, self.keymap) = (Arc::new(keymap), name);
                    self.ui.faults = faults;
                    self.tell_faults();
                }
                Effect::KeepBookmarks(bookmarks) => {
                    let file = bookmarks::file(&self.config);
                    self.effects.write(file, bookmarks::text(&bookmarks));
                }
                Effect::Save { stem, ending, text } => {
                    let at = self.ui.now.to_jiff().strftime("%Y%m%dT%H%M%SZ");
                    let file = self.dumps.join(format!("{stem}-{at}.{ending}"));
                    self.notice(Weight::Info, &format!("saved: {}", file.display()));
                    self.effects.write(file, text);
                }
                Effect::Plan(..)
                | Effect::Confirm(..)
                | Effect::Cancel(..)
                | Effect::Fetch(..)
                | Effect::Follow(..)
                | Effect::Forward(..)
                | Effect::Unforward(..)
                | Effect::Discard(_)
                | Effect::Forget(_) => self.effects.start(effect),
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn notice(&mut self, weight: Weight, text: &str) {
        let (number, stay) = self.ui.notices.say(self.ui.now, weight, Safe::new(text));
        self.alarms.add(Alarm::Toast(number), stay);
    }

    /// What the console costs just now.
    fn figures(&self) -> perf::Figures {
        let pace = self.screen.writer().pace();
        let (answers, questions) = self.effects.waiting();
        let queues = Queues {
            keys: self.screen.waiting(),
            answers,
            questions,
            journal: self.journal.as_ref().map_or(0, broadcast::Receiver::len),
            lag: self.lag,
            view: self.view.version,
        };
        self.meter.figures(pace.figures(), pace.halvings(), queues)
    }

    /// Writes the recording down, elsewhere than on this thread.
    fn dump(&mut self, id: EffectId) {
        let (tape, session) = (self.screen.writer().tape(), self.recorder.session());
        let (now, folder) = (self.clock.now(), self.dumps.clone());
        let length = tape.length(self.clock.instant());
        self.effects.aside(id, move || dump::write(&folder, now, length, &tape, &session));
    }

    /// What was wrong with theme and keymap; the defaults are in force.
    fn tell_faults(&mut self) {
        for fault in std::mem::take(&mut self.ui.faults) {
            let text = Safe::new(&fault.to_string());
            let (number, stay) = self.ui.notices.say(self.ui.now, Weight::Warn, text);
            self.alarms.add(Alarm::Toast(number), stay * 2);
        }
    }
}
