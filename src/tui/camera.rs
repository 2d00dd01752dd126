//! A console without a terminal: takes keys, asks the real engine, and gives what the screen would show. Draws the
//! project's pictures; never touches standard output.

use std::sync::Arc;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use tokio::time::{Instant, timeout_at};

use super::effect::Effect;
use super::event::Event;
use super::keymap;
use super::keys::Key;
use super::run::Effects;
use super::theme::{self, Depth, Glyphs};
use super::ui::Ui;
use super::update::{prepare, update};
use super::{picture, render};
use crate::engine::handle::Handle;
use crate::model::access::Actor;
use crate::ports::clock::Clock;

/// Answers that come later than this are not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// After the last answer: more may follow at once, such as the rest of a log.
const QUIET: Duration = Duration::from_millis(300);

/// Sees one console at one size.
pub struct Camera {
    ui: Ui,
    handle: Handle,
    clock: Arc<dyn Clock>,
    effects: Effects,
    size: Size,
    light: bool,
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
        Self { ui, handle, clock, effects, size: Size::new(size.0, size.1), light }
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
        self.ui.hits = hits;
        buffer
    }

    /// The same as an SVG picture.
    pub fn shoot(&mut self) -> String {
        picture::svg(&self.draw(), self.light)
    }
}
