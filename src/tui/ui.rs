//! What the console remembers between events. It holds no domain data: that is the view of the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ratatui::layout::Size;

use super::action::Action;
use super::effect::EffectId;
use super::history::History;
use super::jumps::Jump;
use super::keymap::{Keymap, Scope};
use super::keys::Key;
use super::load::LoadError;
use super::notices::Notices;
use super::pages::Page;
use super::pages::table::TablePage;
use super::perf;
use super::run::Parting;
use super::theme::{Background, Depth, Glyphs, Theme};
use super::views::Views;
use super::widgets::Look;
use super::widgets::edit::LineEdit;
use super::widgets::plan::{PlanState, PlanText};
use super::widgets::prompt::Suggestion;
use super::widgets::table::TableHits;
use super::widgets::text::TextHits;
use crate::model::access::Actor;
use crate::model::id::OperationId;
use crate::model::plan::{Command, Plan, TargetRef, Targets};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::ports::site::Allowance;
use crate::settings::thresholds::Thresholds;

/// What lies on the screen: pages at the bottom, the last one in sight; prompts and dialogs above.
#[derive(Debug, Clone)]
pub enum Layer {
    Page(Page),
    Prompt(Box<PromptLayer>),
    Plan(Box<PlanLayer>),
}

/// What a line is typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptKind {
    Command,
    Filter,
    Search,
    /// Shows only lines that match (`&` in texts).
    LineFilter,
}

#[derive(Debug, Clone)]
pub struct PromptLayer {
    pub kind: PromptKind,
    pub edit: LineEdit,
    /// What was in force before, for leaving without a change.
    pub before: String,
    pub suggestions: Vec<Suggestion>,
    pub chosen: Option<usize>,
    pub error: Option<Safe>,
}

/// What a plan dialog is about: the command, or what it will be made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Command(Command),
    Scale {
        pool: TargetRef,
    },
    /// The same number for each.
    ScalePools {
        pools: Vec<TargetRef>,
    },
    Drain {
        targets: Targets,
    },
    Deploy {
        template: TargetRef,
    },
    SetTemplate {
        pool: TargetRef,
    },
    Send {
        to: TargetRef,
    },
    /// What an editor left, kept in a file until it is written.
    Edit {
        command: Command,
        file: PathBuf,
    },
    /// A shell beside an agent.
    Shell {
        agent: TargetRef,
    },
    /// A port of an agent on this machine.
    Forward {
        agent: TargetRef,
    },
    /// Leave the console.
    Quit,
}

impl Ask {
    /// Done by this console alone: the engine makes no plan of it.
    pub fn is_our_own(&self) -> bool {
        matches!(self, Self::Quit | Self::Shell { .. } | Self::Forward { .. })
    }
}

#[derive(Debug, Clone)]
pub struct PlanLayer {
    pub ask: Ask,
    /// The plan as the engine made it last.
    pub plan: Option<Box<Plan>>,
    pub text: PlanText,
    pub state: PlanState,
    /// The plan or its confirmation that is on its way.
    pub asked: Option<EffectId>,
    pub confirming: bool,
    /// The plan is made once more only to see whether it still holds.
    pub dry: bool,
}

/// Below this a table has no room.
pub const SMALLEST: Size = Size { width: 40, height: 10 };

/// Whether a screen shows nothing but that it is too small.
pub fn is_too_small(screen: Size) -> bool {
    screen.width < SMALLEST.width || screen.height < SMALLEST.height
}

/// What the last frame looked like, for the next key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    pub screen: Size,
    pub table: TableHits,
    pub text: TextHits,
    /// The side pane's text.
    pub side: TextHits,
    /// How far the body of a plan can scroll.
    pub plan: usize,
}

/// The side pane, while it is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Side {
    /// It has the keys that move.
    pub focused: bool,
    /// Its first line in sight.
    pub top: usize,
}

/// An operation that this console began, until its end was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub operation: OperationId,
    pub title: Safe,
}

/// Which fleet the console shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Empty where there is but one.
    pub name: Safe,
    /// Changes want its name.
    pub protected: bool,
    /// The kubeconfig's context and the namespace that agents run in, where they run in a cluster.
    pub cluster: Option<(String, String)>,
}

#[derive(Debug)]
pub struct Ui {
    pub layers: Vec<Layer>,
    /// A half-typed chord such as `g g`.
    pub typed: Vec<Key>,
    /// An answer whose id is not here is stale: it is dropped.
    pub waiting: BTreeSet<EffectId>,
    pub hits: Hits,
    pub history: History,
    pub notices: Notices,
    /// Lines of views, by the names they were kept under.
    pub bookmarks: BTreeMap<String, String>,
    /// Keys of the operator's own that lead elsewhere.
    pub jumps: Vec<Jump>,
    /// The fleet in sight.
    pub context: Context,
    /// The fleets one can go over to, each with a word about it.
    pub contexts: Vec<(String, String)>,
    /// What the runtime lets us do, once it has said so.
    pub allowances: Vec<Allowance>,
    /// The question about it that is on its way, or was answered.
    pub asked_rights: Option<EffectId>,
    /// The namespace to go to, once the cluster has said that there is one.
    pub asked_namespace: Option<(EffectId, String)>,
    /// A line to be carried out as soon as the fleet is read.
    pub first_line: Option<String>,
    /// Which columns tables show, where the user says so.
    pub views: Arc<Views>,
    /// Only this tenant's things are shown.
    pub scope: Option<Safe>,
    pub watched: Vec<Watched>,
    /// What is being read for the editor.
    pub editing: Option<(EffectId, TargetRef)>,
    pub actor: Actor,
    pub readonly: bool,
    pub parting: Parting,
    /// The header as one line.
    pub compact: bool,
    pub crumbs: bool,
    pub detail: bool,
    pub side: Side,
    /// Times in the machine's zone instead of UTC.
    pub local_time: bool,
    pub now: Time,
    pub theme: Arc<Theme>,
    /// Those of the settings; every theme heeds them.
    pub limits: Thresholds,
    pub depth: Depth,
    pub glyphs: Glyphs,
    /// The theme was chosen; what the terminal says of its background changes nothing.
    pub theme_chosen: bool,
    pub keymap: Arc<Keymap>,
    /// What the console costs, while that is shown.
    pub perf: Option<perf::Figures>,
    /// Few bytes: nothing that moves by itself is drawn.
    pub lean: bool,
    /// What was wrong with theme and keymap.
    pub faults: Vec<LoadError>,
    next: u64,
}

impl Ui {
    pub fn new(actor: Actor, theme: Theme, keymap: Keymap, now: Time) -> Self {
        Self {
            layers: vec![Layer::Page(Page::Table(Box::new(TablePage::new(
                super::pages::TableKind::Agents,
            ))))],
            typed: Vec::new(),
            waiting: BTreeSet::new(),
            hits: Hits::default(),
            history: History::default(),
            notices: Notices::default(),
            bookmarks: BTreeMap::new(),
            jumps: Vec::new(),
            context: Context::default(),
            contexts: Vec::new(),
            allowances: Vec::new(),
            asked_rights: None,
            asked_namespace: None,
            first_line: None,
            views: Arc::default(),
            scope: None,
            watched: Vec::new(),
            editing: None,
            actor,
            readonly: false,
            parting: Parting::default(),
            compact: false,
            crumbs: true,
            detail: false,
            side: Side::default(),
            local_time: false,
            now,
            theme: Arc::new(theme),
            limits: Thresholds::default(),
            depth: Depth::Ansi256,
            glyphs: Glyphs::UNICODE,
            theme_chosen: false,
            keymap: Arc::new(keymap),
            perf: None,
            lean: false,
            faults: Vec::new(),
            next: 0,
        }
    }

    /// A number for the next effect; its answer is waited for.
    pub fn next_effect(&mut self) -> EffectId {
        self.next += 1;
        let id = EffectId(self.next);
        self.waiting.insert(id);
        id
    }

    pub fn look(&self) -> Look<'_> {
        Look { theme: &self.theme, glyphs: &self.glyphs }
    }

    /// The page in sight.
    pub fn page(&self) -> &Page {
        let page = self.layers.iter().rev().find_map(|layer| match layer {
            Layer::Page(page) => Some(page),
            Layer::Prompt(_) | Layer::Plan(_) => None,
        });
        page.expect("the lowest layer is always a page")
    }

    pub fn page_mut(&mut self) -> &mut Page {
        let page = self.layers.iter_mut().rev().find_map(|layer| match layer {
            Layer::Page(page) => Some(page),
            Layer::Prompt(_) | Layer::Plan(_) => None,
        });
        page.expect("the lowest layer is always a page")
    }

    /// Every page, the one in sight last.
    pub fn pages(&self) -> impl Iterator<Item = &Page> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Page(page) => Some(page),
            Layer::Prompt(_) | Layer::Plan(_) => None,
        })
    }

    pub fn pages_mut(&mut self) -> impl Iterator<Item = &mut Page> {
        self.layers.iter_mut().filter_map(|layer| match layer {
            Layer::Page(page) => Some(page),
            Layer::Prompt(_) | Layer::Plan(_) => None,
        })
    }

    /// The dialog that has the keys, if one has.
    pub fn plan_mut(&mut self) -> Option<&mut PlanLayer> {
        match self.layers.last_mut() {
            Some(Layer::Plan(plan)) => Some(plan),
            Some(Layer::Page(_) | Layer::Prompt(_)) | None => None,
        }
    }

    pub fn prompt_mut(&mut self) -> Option<&mut PromptLayer> {
        match self.layers.last_mut() {
            Some(Layer::Prompt(prompt)) => Some(prompt),
            Some(Layer::Page(_) | Layer::Plan(_)) | None => None,
        }
    }

    /// Where keys are looked up now, nearest first.
    pub fn scopes(&self) -> Vec<Scope> {
        match self.layers.last() {
            Some(Layer::Prompt(_)) => vec![Scope::Prompt],
            Some(Layer::Plan(_)) => vec![Scope::Dialog],
            Some(Layer::Page(page)) => page.scopes(),
            None => vec![Scope::Global],
        }
    }

    /// The last frame showed only that the screen is too small.
    pub fn is_blind(&self) -> bool {
        self.hits.screen != Size::default() && is_too_small(self.hits.screen)
    }

    /// The key for an action where the keys are now, for hints.
    pub fn key_for(&self, action: Action) -> Option<String> {
        self.keymap.key_for(&self.scopes(), action)
    }

    /// The same for a key that types nothing, and so works while a text is being written.
    pub fn key_to_leave_text(&self, action: Action) -> Option<String> {
        self.keymap.keys_beside_text(&self.scopes(), [action]).pop().flatten()
    }

    /// What the last frame looked like. The table's first row stays where it was until the cursor leaves the sight.
    pub fn seen(&mut self, hits: Hits) {
        self.hits = hits;
        if let Page::Table(page) = self.page_mut() {
            page.state.offset = hits.table.first;
        }
    }

    /// Takes another theme, in the colours of this terminal.
    pub fn wear(&mut self, theme: Theme) {
        let mut theme = theme.fit(self.depth);
        theme.limits = self.limits;
        self.theme = Arc::new(theme);
    }

    /// Whether the terminal's background asks for the other of the two default themes.
    pub fn wants_theme(&self, background: Background) -> Option<&'static str> {
        let name = match background {
            Background::Dark => "dark",
            Background::Light => "light",
        };
        let by_default = matches!(self.theme.name.as_str(), "dark" | "light");
        (!self.theme_chosen && by_default && self.theme.name != name).then_some(name)
    }
}
