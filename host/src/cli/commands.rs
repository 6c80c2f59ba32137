//! The commands, one module for each or for each group. A command that a server can do has both ways side by side.

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

/// The exit code of an operation on this machine.
fn ended(host: &Host, is_whole: bool) -> Exit {
    match (host.interrupts.taken(), is_whole) {
        (Some(interrupt), _) => Exit::Interrupted(interrupt),
        (None, true) => Exit::Done,
        (None, false) => Exit::Partly,
    }
}

/// The error for an org that this state folder does not know.
async fn unknown_org(store: &Store, wanted: &str) -> Result<Problem, Problem> {
    let known: Vec<String> = store
        .orgs()
        .await?
        .into_iter()
        .map(|row| row.slug)
        .collect();
    let help = if known.is_empty() {
        "there is none; `orghost up DIR` brings one up".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    };
    let message = format!("there is no org {wanted:?} in this state folder");
    Ok(Problem::one(
        Class::Invalid,
        Diagnostic::new("unknown-org", message).help(help),
    ))
}
