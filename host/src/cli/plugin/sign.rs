//! `orghost plugin keygen` and `orghost plugin sign`.

use std::path::Path;

use crate::cli::Host;
use crate::cli::args::SignArgs;
use crate::cli::report::{Exit, Failure};
use crate::diagnostic::Diagnostic;

/// `orghost plugin keygen`.
pub fn keygen(_host: &Host, _secret: &Path) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}

/// `orghost plugin sign`.
pub fn sign(_host: &Host, _args: &SignArgs) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}
