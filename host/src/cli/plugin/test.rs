//! `orghost plugin test`.

use crate::cli::Host;
use crate::cli::args::TestArgs;
use crate::cli::report::{Exit, Failure};
use crate::diagnostic::Diagnostic;

/// `orghost plugin test`.
pub fn test(_host: &Host, _args: &TestArgs) -> Result<Exit, Failure> {
    Err(Failure::one(
        Exit::Failed,
        Diagnostic::new("not-there-yet", "this command is not there yet"),
    ))
}
