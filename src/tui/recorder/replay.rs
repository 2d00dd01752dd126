//! Plays a recording again: the same events on a console set up alike must give the same pictures. Needs no engine, no
//! terminal and no clock.

use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Answer, Line, Moment, Paper, Rows, Start, Step, What, mark};
use crate::engine::handle::{Description, Section};
use crate::engine::view::FleetView;
use crate::model::access::Actor;
use crate::model::text::Safe;
use crate::ports::runtime::LogLine;
use crate::ports::store::{Bookmark, Document, Key, Rev};
use crate::tui::effect::{Effect, EffectId};
use crate::tui::event::{Event, LogBatch, Reply};
use crate::tui::render::render;
use crate::tui::theme::{Background, Glyphs};
use crate::tui::ui::{Context, Ui};
use crate::tui::update::{prepare, update};
use crate::tui::{keymap, theme};

/// What playing a recording came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub events: usize,
    pub pictures: usize,
    /// The numbers of the pictures that came out otherwise.
    pub differ: Vec<usize>,
}

/// Plays the text of a recording.
///
/// # Errors
/// In words: a line that is no part of a recording, or a recording that lacks something.
pub fn replay(text: &str) -> Result<Outcome, String> {
    let mut lines = text.lines();
    let first = lines.next().ok_or("the recording is empty")?;
    let start: Start = serde_json::from_str(first).map_err(|error| format!("line 1: {error}"))?;
    if !start.whole {
        return Err(
            "the recording lacks its beginning, its views or an answer: it can be read, not played"
                .into(),
        );
    }
    let mut player = Player::new(start);
    for (number, line) in lines.enumerate() {
        let moment = serde_json::from_str::<Moment>(line);
        let played = moment.map_err(|error| error.to_string()).and_then(|it| player.play(it));
        played.map_err(|error| format!("line {}: {error}", number + 2))?;
    }
    Ok(player.outcome)
}

struct Player {
    ui: Ui,
    view: Arc<FleetView>,
    /// The view that the next picture is of.
    next: Arc<FleetView>,
    outcome: Outcome,
}

impl Player {
    fn new(start: Start) -> Self {
        let (theme, _) = theme::load::load(&start.theme, None);
        let (keymap, _) = keymap::load::load(&start.keymap, None);
        let mut ui = Ui::new(Actor::local(start.actor.as_str()), theme.clone(), keymap, start.at);
        (ui.depth, ui.limits) = (start.depth, start.limits);
        ui.context = Context {
            name: Safe::new(&start.context),
            protected: start.protected,
            cluster: start.cluster,
        };
        (ui.contexts, ui.bookmarks) = (start.contexts, start.bookmarks);
        ui.first_line = start.first_line;
        ui.wear(theme);
        ui.theme_chosen = start.chosen;
        ui.glyphs = if start.ascii { Glyphs::ASCII } else { Glyphs::UNICODE };
        (ui.readonly, ui.parting) = (start.readonly, start.parting);
        (ui.local_time, ui.lean) = (start.local_time, start.low_bandwidth);
        Self { ui, view: Arc::default(), next: Arc::default(), outcome: Outcome::default() }
    }

    fn play(&mut self, moment: Moment) -> Result<(), String> {
        let event = match moment.what {
            What::View { view } => {
                self.next = Arc::new(stepped(&self.next, *view)?);
                return Ok(());
            }
            What::Frame { width, height, mark } => {
                self.draw(moment.at, width, height, mark);
                return Ok(());
            }
            What::Key { key } => Event::Key(key),
            What::Paste { text } => Event::Paste(text),
            What::Resize => Event::Resize,
            What::Background { light: true } => Event::Background(Background::Light),
            What::Background { light: false } => Event::Background(Background::Dark),
            What::Entry { entry } => Event::Journal(entry),
            What::Gap => Event::JournalGap,
            What::Lines { id, lines, left_out } => {
                let lines = lines.into_iter().map(line).collect();
                Event::Lines(EffectId(id), LogBatch { lines, left_out })
            }
            What::Trouble { text } => Event::Trouble(Safe::new(&text)),
            What::Answer { id, answer } => Event::Done(EffectId(id), Ok(reply(*answer)?)),
            What::Alarm { alarm } => Event::Alarm(alarm),
            What::Lost { name } => return Err(format!("{name}: this was not recorded")),
        };
        self.outcome.events += 1;
        let effects = update(&mut self.ui, &self.view, event);
        self.dress(effects);
        Ok(())
    }

    fn draw(&mut self, at: crate::model::time::Time, width: u16, height: u16, wanted: u64) {
        self.view = self.next.clone();
        self.ui.now = at;
        let effects = prepare(&mut self.ui, &self.view);
        self.dress(effects);
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let (hits, _) = render(&self.ui, &self.view, &mut buffer);
        self.ui.seen(hits);
        if mark(&buffer) != wanted {
            self.outcome.differ.push(self.outcome.pictures);
        }
        self.outcome.pictures += 1;
    }

    /// Carries out what changes the look; the rest was answered in the recording.
    fn dress(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::LoadTheme(name) => self.ui.wear(theme::load::load(&name, None).0),
                Effect::LoadKeymap(name) => {
                    self.ui.keymap = Arc::new(keymap::load::load(&name, None).0);
                }
                Effect::Plan(..)
                | Effect::Confirm(..)
                | Effect::Cancel(..)
                | Effect::Fetch(..)
                | Effect::Follow(..)
                | Effect::Forget(_)
                | Effect::Wake(..)
                | Effect::Copy(_)
                | Effect::Edit(_)
                | Effect::Shell(_)
                | Effect::Forward(..)
                | Effect::Unforward(..)
                | Effect::Discard(_)
                | Effect::Dump(_)
                | Effect::Repaint
                | Effect::KeepBookmarks(_)
                | Effect::Save { .. }
                | Effect::Switch(..)
                | Effect::Quit => {}
            }
        }
    }
}

fn line(line: Line) -> (u16, LogLine) {
    let Line { source, at, stderr, text, skipped } = line;
    (source, LogLine { at, stderr, text, skipped })
}

fn key(text: &str) -> Result<Key, String> {
    Key::new(text).map_err(|error| error.to_string())
}

fn document(paper: Paper) -> Result<Document, String> {
    Ok(Document { key: key(&paper.key)?, rev: Rev(paper.rev.into()), body: paper.body })
}

fn reply(answer: Answer) -> Result<Reply, String> {
    Ok(match answer {
        Answer::Plan { plan } => Reply::Plan(plan),
        Answer::Confirmed { operation } => Reply::Confirmed(operation),
        Answer::Cancelled => Reply::Cancelled,
        Answer::Document { paper } => Reply::Document(Box::new(document(paper)?)),
        Answer::Described { title, sections } => {
            let section = |(title, lines)| Section { title, lines };
            let sections = sections.into_iter().map(section).collect();
            Reply::Described(Description { title, sections })
        }
        Answer::Listed { papers, more } => {
            let documents = papers.into_iter().map(document).collect::<Result<_, _>>()?;
            let more = more
                .map(|(values, after)| Ok::<_, String>(Bookmark { values, key: key(&after)? }))
                .transpose()?;
            Reply::Listed(documents, more)
        }
        Answer::Forwards { ports } => Reply::Forwards(ports),
        Answer::Forwarded { port, ended: false } => Reply::Forwarded(port),
        Answer::Forwarded { port, ended: true } => Reply::Unforwarded(port),
        Answer::Site { answer } => Reply::Site(answer),
        Answer::LogEnded => Reply::LogEnded,
        Answer::Dumped { path } => Reply::Dumped(path),
    })
}

fn stepped(before: &FleetView, step: Step) -> Result<FleetView, String> {
    Ok(FleetView {
        version: step.version,
        at: step.at,
        agents: rows(&before.agents, step.agents)?,
        pools: rows(&before.pools, step.pools)?,
        templates: rows(&before.templates, step.templates)?,
        subscriptions: rows(&before.subscriptions, step.subscriptions)?,
        operations: rows(&before.operations, step.operations)?,
        totals: *step.totals,
        system: step.system.unwrap_or_else(|| before.system.clone()),
        stale_since: step.stale_since,
        loaded: step.loaded,
        sighted: step.loaded,
    })
}

fn rows<R>(before: &Arc<[Arc<R>]>, step: Rows<R>) -> Result<Arc<[Arc<R>]>, String> {
    match step {
        Rows::Same => Ok(before.clone()),
        Rows::All(rows) => Ok(rows.into()),
        Rows::Changed(changed) => {
            let mut rows = before.to_vec();
            for (place, row) in changed {
                *rows.get_mut(place).ok_or("a row that is not there changed")? = row;
            }
            Ok(rows.into())
        }
    }
}
