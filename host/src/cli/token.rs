//! `orghost token`: who may ask a server.

use super::Host;
use super::args::TokenCommand;
use super::report::Exit;
use crate::problem::Problem;

/// `orghost token …`.
pub async fn token(_host: &Host, _command: &TokenCommand) -> Result<Exit, Problem> {
    Err(super::not_yet())
}
