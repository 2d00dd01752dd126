//! Faults in words: what the engine's refusals and failures read like in one line.

use super::Turn;
use crate::engine::handle::CommandError;
use crate::model::text::Safe;
use crate::ports::store::chain;
use crate::tui::event::Fault;
use crate::tui::widgets::toast::Weight;

/// One line about a fault. What of it came from elsewhere is made safe.
pub fn words(fault: &Fault) -> Safe {
    Safe::new(&chain(fault))
}

/// A refusal is the operator's to heed, the rest is something failing.
pub fn weight(fault: &Fault) -> Weight {
    match fault {
        Fault::Command(
            CommandError::Refused { .. }
            | CommandError::Invalid { .. }
            | CommandError::NotFound { .. }
            | CommandError::Denied { .. }
            | CommandError::PlanChanged { .. }
            | CommandError::NotConfirmed { .. },
        ) => Weight::Warn,
        Fault::Command(
            CommandError::Stale
            | CommandError::Store(_)
            | CommandError::Runtime(_)
            | CommandError::Timeout(_),
        )
        | Fault::Timeout(_)
        | Fault::Dump(_)
        | Fault::Panicked => Weight::Alarm,
    }
}

impl Turn<'_> {
    pub(super) fn say_fault(&mut self, fault: &Fault) {
        self.say_safe(weight(fault), words(fault));
    }
}
