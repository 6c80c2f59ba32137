//! `orghost plugin dev`.

use crate::cli::Host;
use crate::cli::args::DevArgs;
use crate::cli::report::{Exit, Failure};
use crate::diagnostic::Diagnostic;

/// `orghost plugin dev`.
pub fn dev(_host: &Host, _args: &DevArgs) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}
