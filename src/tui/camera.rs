//! A console without a terminal: takes keys, asks the real engine, and gives what the screen would show. Draws the
//! project's pictures; never touches standard output.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use tokio::time::{Instant, sleep, timeout_at};

use super::effect::Effect;
use super::event::Event;
use super::keymap;
use super::keys::{self, Key};
use super::run::Effects;
use super::theme::{self, Depth, Glyphs};
use super::ui::Ui;
use super::update::{prepare, update};
use super::widgets::toast::Weight;
use super::writer::Frame;
use super::writer::encode::Encoder;
use super::writer::tape::Tape;
use super::{bookmarks, picture, plain, render, views};
use crate::engine::handle::Handle;
use crate::model::access::Actor;
use crate::model::text::Safe;
use crate::ports::clock::Clock;

/// Answers that come later than this are not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// After the last answer: more may follow at once, such as the rest of a log.
const QUIET: Duration = Duration::from_millis(300);
/// Between the pictures of a film.
const FRAME: Duration = Duration::from_millis(100);
/// Between two letters of somebody who types well.
const TYPING: Duration = Duration::from_millis(90);

/// Sees one console at one size.
pub struct Camera {
    ui: Ui,
    handle: Handle,
    clock: Arc<dyn Clock>,
    effects: Effects,
    size: Size,
    light: bool,
    /// It was asked to leave.
    left: bool,
}

impl Camera {
    /// To be made inside the engine's runtime. `theme` is a shipped one.
    pub fn new(
        handle: Handle,
        actor: Actor,
        clock: Arc<dyn Clock>,
        theme: &str,
        size: (u16, u16),
    ) -> Self {
        let (theme, _) = theme::load::load(theme, None);
        let (keymap, _) = keymap::load::load("default", None);
        let mut ui = Ui::new(actor.clone(), theme.clone(), keymap, clock.now());
        ui.depth = Depth::True;
        ui.wear(theme.clone());
        ui.theme_chosen = true;
        ui.glyphs = Glyphs::UNICODE;
        let effects = Effects::new(tokio::runtime::Handle::current(), handle.clone(), actor);
        let light = theme.background == theme::Background::Light;
        let size = Size::new(size.0, size.1);
        Self { ui, handle, clock, effects, size, light, left: false }
    }

    /// Takes the operator's own files, as the console on a screen does.
    pub fn settle_in(&mut self, config: &Path, ascii: bool, readonly: bool) {
        let (views, mut faults) = views::Views::load(config);
        let (kept, more) = bookmarks::load(config);
        faults.extend(more);
        (self.ui.views, self.ui.bookmarks, self.ui.readonly) = (Arc::new(views), kept, readonly);
        if ascii {
            self.ui.glyphs = Glyphs::ASCII;
        }
        for fault in faults {
            let text = Safe::new(&fault.to_string());
            self.ui.notices.say(self.ui.now, Weight::Warn, text);
        }
    }

    /// Carries out one line: a command (`:pools`), a filter (`/failed`), else keys with blanks between, or text where a
    /// field is open. Breaks off when the line asks to leave.
    pub async fn line(&mut self, line: &str) -> ControlFlow<()> {
        let typed = |text: &str| -> Vec<Key> {
            text.chars().map(|c| keys::normal(KeyCode::Char(c), KeyModifiers::NONE)).collect()
        };
        let enter = keys::normal(KeyCode::Enter, KeyModifiers::NONE);
        let begins = line.starts_with(':') || line.starts_with('/') || line.starts_with('&');
        let named: Option<Vec<Key>> = line.split_whitespace().map(keys::parse).collect();
        let in_field = self.ui.plan_mut().is_some_and(|plan| plan.state.field().is_some());
        let is_command = || named.is_none() && !in_field && super::command::parse(line).is_ok();
        let pressed = match named {
            _ if begins => typed(line).into_iter().chain([enter]).collect(),
            // a word that is a command, not keys
            _ if is_command() => typed(&format!(":{line}")).into_iter().chain([enter]).collect(),
            Some(named) if !in_field || named.len() == 1 && line.len() > 1 => named,
            Some(_) | None => typed(line),
        };
        self.press(pressed).await;
        if self.left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// What is to be seen, as text.
    pub fn text(&mut self) -> String {
        plain::text(&self.draw())
    }

    /// What is to be seen, told line by line instead of laid out.
    pub fn linear(&mut self) -> Vec<String> {
        self.draw();
        let view = self.handle.views().borrow().clone();
        plain::lines(&mut self.ui, &view)
    }

    /// Presses keys one after another.
    pub async fn press(&mut self, keys: impl IntoIterator<Item = Key>) {
        // the cursor finds its row when a frame is made
        self.draw();
        for key in keys {
            self.happen(Event::Key(key));
            self.draw();
        }
        self.settle().await;
    }

    /// Presses keys as somebody would who reads what comes, each after its pause, and keeps what a terminal would be sent.
    pub async fn film(&mut self, script: &[(Duration, Vec<Key>)]) -> Tape {
        let (mut tape, mut encoder) = (Tape::default(), Encoder::default());
        self.roll(&mut tape, &mut encoder);
        for (pause, keys) in script {
            let until = Instant::now() + *pause;
            while Instant::now() < until {
                let frame = until.min(Instant::now() + FRAME);
                if let Ok(event) = timeout_at(frame, self.effects.next()).await {
                    self.happen(event);
                }
                self.roll(&mut tape, &mut encoder);
            }
            for key in keys {
                self.happen(Event::Key(*key));
                self.roll(&mut tape, &mut encoder);
                sleep(TYPING).await;
            }
        }
        tape
    }

    /// Takes one frame onto `tape`, if it differs from the one before.
    fn roll(&mut self, tape: &mut Tape, encoder: &mut Encoder) {
        let buffer = self.draw();
        let mut bytes = Vec::new();
        encoder.frame(Frame { buffer: buffer.clone(), cursor: None }, &mut bytes);
        if !bytes.is_empty() {
            tape.wrote(std::time::Instant::now(), &bytes, &buffer);
        }
    }

    /// Takes in answers until none is on its way.
    async fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.draw();
            let until = deadline.min(Instant::now() + QUIET);
            match timeout_at(until, self.effects.next()).await {
                Ok(event) => self.happen(event),
                Err(_) if self.effects.idle() || Instant::now() >= deadline => break,
                Err(_) => {}
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let view = self.handle.views().borrow().clone();
        let effects = update(&mut self.ui, &view, event);
        self.start(effects);
    }

    fn start(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.left |= effect == Effect::Quit;
            self.effects.start(effect);
        }
    }

    /// What the screen shows now.
    pub fn draw(&mut self) -> Buffer {
        let view = self.handle.views().borrow().clone();
        self.ui.now = self.clock.now();
        let effects = prepare(&mut self.ui, &view);
        self.start(effects);
        let mut buffer = Buffer::empty(Rect::new(0, 0, self.size.width, self.size.height));
        let (hits, _) = render::render(&self.ui, &view, &mut buffer);
        self.ui.seen(hits);
        buffer
    }

    /// The same as an SVG picture.
    pub fn shoot(&mut self) -> String {
        picture::svg(&self.draw(), self.light)
    }
}
