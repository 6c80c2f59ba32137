//! The `orghost` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    orghost::cli::main(orghost::config::Environment::of_process())
}
