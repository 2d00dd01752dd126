//! For tests of a leader's end: the process kills itself, as `kill -9` would, when it comes to the point that
//! `CVXC_TEST_CRASH_AT` names (`before apply`, `after agent.deploying`). Without that variable a point costs one look at
//! a constant.

use std::sync::OnceLock;

const AT: &str = "CVXC_TEST_CRASH_AT";

/// A place between two steps: before or after an event of this kind is written, or this is asked of the runtime.
pub fn point(when: &str, step: &str) {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    let Some(chosen) = CHOSEN.get_or_init(|| std::env::var(AT).ok()) else { return };
    if chosen.split_once(' ') == Some((when, step)) {
        tracing::warn!(when, step, "the process ends here, as a test wants it to");
        // nothing after this line runs; if the signal could not be sent, the test would say so
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
