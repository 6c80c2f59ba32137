//! `orghost plugin add`, `list`, `remove` and `verify`.

use crate::cli::Host;
use crate::cli::args::{AddArgs, VerifyArgs};
use crate::cli::report::{Exit, Failure};
use crate::diagnostic::Diagnostic;

/// `orghost plugin add`.
pub fn add(_host: &Host, _args: &AddArgs) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}

/// `orghost plugin list`.
pub fn list(_host: &Host) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}

/// `orghost plugin remove`.
pub fn remove(_host: &Host, _name: &str) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}

/// `orghost plugin verify`.
pub fn verify(_host: &Host, _args: &VerifyArgs) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}
