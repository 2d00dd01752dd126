//! Agents that the runtime would run if it let us: nothing is wrong with them, so they do not fail. They say which right is
//! missing and are asked for again soon, since rights are given by people who look at the screen.

use std::time::Duration;

use super::{Act, Facts};

/// How the reason of one that waits for a right begins.
pub const FORBIDS: &str = "the runtime forbids it";
/// How long it takes to see that a right has been given.
const ASK_AGAIN: Duration = Duration::from_secs(3);

impl Facts<'_> {
    /// What to do for one that may not be brought about, or may at last.
    pub(super) fn unlet(&self) -> Option<Act> {
        let agent = self.agent;
        let ours = self.tried.forbidden.as_ref().filter(|(of, ..)| *of == agent.incarnation);
        let (reason, kind) = match ours {
            Some((_, why, at)) if agent.reason == *why => {
                let again = at.plus(ASK_AGAIN);
                let due = self.now >= again;
                return Some(if due { Act::Apply } else { Act::Wait(Some(again)) });
            }
            Some((_, why, _)) => (why.clone(), "agent.waiting"),
            None if agent.reason.starts_with(FORBIDS)
                && self.tried.applied.is_some_and(|(of, ..)| of == agent.incarnation) =>
            {
                (String::new(), "agent.allowed")
            }
            None => return None,
        };
        let mut after = agent.clone();
        (after.reason, after.updated_at) = (reason, self.now);
        Some(Act::Write { agent: Box::new(after), kind })
    }
}
