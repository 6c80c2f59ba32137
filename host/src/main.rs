//! The `orghost` program. It passes the process environment to the library and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    orghost::cli::main(orghost::config::Environment::of_process())
}
