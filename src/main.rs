//! Starts the program: arguments, error reports, exit code; everything else lives in the library.

fn main() -> std::process::ExitCode {
    cvxc::cli::main()
}
