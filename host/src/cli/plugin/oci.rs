//! `orghost plugin push and pull`.

use crate::cli::Host;
use crate::cli::args::{PullArgs, PushArgs};
use crate::cli::report::{Exit, Failure};
use crate::diagnostic::Diagnostic;

/// `orghost plugin push`.
pub fn push(_host: &Host, _args: &PushArgs) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}

/// `orghost plugin pull`.
pub fn pull(_host: &Host, _args: &PullArgs) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}
