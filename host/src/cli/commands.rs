//! The commands: one module for each command or group. A module holds both ways to run a command: on this machine and on a
//! server.

pub mod down;
pub mod expand;
pub mod key;
pub mod logs;
pub mod plan;
pub mod plugin;
pub mod serve;
pub mod state;
pub mod status;
pub mod sweep;
pub mod token;
pub mod up;
pub mod workspace;

use super::Host;
use super::exit::Exit;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::state::store::Store;

/// Gives the exit code of an operation that ran on this machine.
fn ended(host: &Host, all_succeeded: bool) -> Exit {
    match (host.interrupts.cancelled_by(), all_succeeded) {
        (Some(interrupt), _) => Exit::Interrupted(interrupt),
        (None, true) => Exit::Done,
        (None, false) => Exit::Partly,
    }
}

/// Makes the error for an org that is not in this state folder; its help lists the orgs that are.
///
/// # Errors
/// The store cannot be read.
async fn unknown_org(store: &Store, name: &str) -> Result<Problem, Problem> {
    let known: Vec<String> = store
        .orgs()
        .await?
        .into_iter()
        .map(|row| row.slug)
        .collect();
    let help = if known.is_empty() {
        "there are no orgs; `orghost up DIR` creates one".to_owned()
    } else {
        format!("the orgs here: {}", known.join(", "))
    };
    let message = format!("there is no org {name:?} in this state folder");
    Ok(Problem::one(
        Class::Invalid,
        Diagnostic::new("unknown-org", message).help(help),
    ))
}
