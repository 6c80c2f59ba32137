//! `orghost plugin bench`.

use crate::cli::Host;
use crate::cli::args::BenchArgs;
use crate::cli::report::{Exit, Failure};
use crate::diagnostic::Diagnostic;

/// `orghost plugin bench`.
pub fn bench(_host: &Host, _args: &BenchArgs) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}
