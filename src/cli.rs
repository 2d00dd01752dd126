//! The command line.

use std::process::ExitCode;

/// Runs the program; returns its exit code.
pub fn main() -> ExitCode {
    // before anything else: a shim must stay small, so it never builds a parser or a runtime
    #[cfg(target_os = "linux")]
    if std::env::args_os().nth(1).is_some_and(|verb| verb == crate::adapters::local::shim::VERB) {
        return crate::adapters::local::shim::main(std::env::args_os().skip(2));
    }
    ExitCode::SUCCESS
}
