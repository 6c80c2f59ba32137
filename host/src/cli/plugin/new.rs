//! `orghost plugin new`.

use crate::cli::Host;
use crate::cli::args::NewArgs;
use crate::cli::report::{Exit, Failure};
use crate::diagnostic::Diagnostic;

/// `orghost plugin new`.
pub fn new(_host: &Host, _args: &NewArgs) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}
