//! The real binary, as a user meets it: verbs and their exit codes, the demo, the daemon, the console in a pseudo-terminal,
//! and what survives a SIGKILL.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise and may print"
)]

#[path = "end_to_end/support.rs"]
mod support;

#[path = "end_to_end/bad_input.rs"]
mod bad_input;
#[path = "end_to_end/daemon.rs"]
mod daemon;
#[path = "end_to_end/demo.rs"]
mod demo;
#[path = "end_to_end/failover.rs"]
mod failover;
#[path = "end_to_end/hostile.rs"]
mod hostile;
#[path = "end_to_end/kubernetes.rs"]
mod kubernetes;
#[path = "end_to_end/kubernetes_faults.rs"]
mod kubernetes_faults;
#[path = "end_to_end/log_flood.rs"]
mod log_flood;
#[path = "end_to_end/selection.rs"]
mod selection;
#[path = "end_to_end/slow_terminal.rs"]
mod slow_terminal;
#[path = "end_to_end/terminal.rs"]
mod terminal;
#[path = "end_to_end/verbs.rs"]
mod verbs;
