//! `orghost sweep`: finds and removes orphans, the resources of this host that belong to no org in the store.

use std::time::Duration;

use super::serve;
use crate::cli::exit::Exit;
use crate::cli::render::text::{print_line, printable};
use crate::cli::{Host, print_json};
use crate::problem::Problem;
use crate::service::sweep::{Orphan, Seen};

/// `orghost sweep`: shows orphans. With `remove`, it searches a second time and removes those that it finds again.
///
/// # Errors
/// The store or an engine does not answer.
pub async fn sweep(host: &Host, remove: bool) -> Result<Exit, Problem> {
    /// The pause between the two searches. It gives an operation that has just begun the time to store its org.
    const PAUSE: Duration = Duration::from_secs(1);
    let service = serve::service_for_one(host, (*host.config).clone()).await?;
    let mut seen = Seen::default();
    let mut found = service.sweep(&mut seen, false).await?;
    if remove && found.iter().any(|orphan| orphan.removable) {
        tokio::time::sleep(PAUSE).await;
        found = service.sweep(&mut seen, true).await?;
    }
    let is_left = |orphan: &&Orphan| remove && orphan.removable && !orphan.removed;
    let is_failed = found.iter().any(|orphan| is_left(&orphan));
    if host.json {
        print_json(&serde_json::json!({ "orphans": found }))?;
    } else if found.is_empty() {
        print_line("no orphans: every resource of this host belongs to an org");
    }
    for orphan in found.iter().filter(|_| !host.json) {
        let outcome = match orphan {
            Orphan { removed: true, .. } => "removed",
            Orphan {
                removable: false, ..
            } => "an agent's own work, which a sweep never removes",
            _ if remove => "not removed",
            _ => "`--remove` removes it",
        };
        let (name, org) = (printable(&orphan.name), printable(&orphan.org));
        print_line(&format!("{} {name} of {org}: {outcome}", orphan.thing));
    }
    Ok(if is_failed { Exit::Partly } else { Exit::Done })
}
