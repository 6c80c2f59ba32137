//! `orghost restart`, `stop`, `start` and `sweep`, on the state folder of this machine.

use std::time::Duration;

use super::serve;
use crate::cli::address::{self, Candidate};
use crate::cli::args::WorkspaceArgs;
use crate::cli::exit::Exit;
use crate::cli::render::progress::last_lines;
use crate::cli::render::text::{note, print_line, printable};
use crate::cli::{Host, print_json};
use crate::config::PolicyKeys;
use crate::model::diagnostic::Diagnostic;
use crate::model::event::Operation;
use crate::problem::{Class, Problem};
use crate::service::sweep::{Orphan, Seen};
use crate::state::store::{OperationState, Store};

/// `orghost restart`, `stop` and `start`: what a server would do, and waits for its end. What makes a workspace anew needs
/// what its org was made from, which only a server keeps.
pub async fn act(host: &Host, at: &WorkspaceArgs, operation: Operation) -> Result<Exit, Problem> {
    let service = serve::service(host, (*host.config).clone(), &PolicyKeys::default()).await?;
    let Candidate { org, workspace } = find(service.store(), at).await?;
    host.interrupts
        .say("interrupted half-way: run the same command again to go on");
    // Whoever waits at a terminal learns at once that there is no engine.
    let engine = service.org(&org).await?.engine;
    service.engines().get(engine).await?;
    let accepted = match operation {
        Operation::Stop => service.stop(workspace.id.as_str()).await?,
        Operation::Start => service.start(workspace.id.as_str()).await?,
        _ => service.restart(workspace.id.as_str()).await?,
    };
    let row = loop {
        let row = service.store().operation(accepted.id.as_str()).await?;
        match row {
            Some(row) if row.state.is_final() => break row,
            Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            None => {
                let diagnostic =
                    Diagnostic::new("store", "the operation is in the store no longer");
                return Err(Problem::one(Class::Failed, diagnostic));
            }
        }
    };
    service.drain(crate::limits::CLEANUP).await;
    if !row.errors.is_empty() {
        let class = match row.errors.iter().any(|error| error.code == "no-source") {
            true => Class::Conflict,
            false => Class::Failed,
        };
        return Err(Problem {
            class,
            errors: row.errors,
            template: None,
        });
    }
    let workspaces = service.store().workspaces(&org).await?;
    let now = workspaces.iter().find(|now| now.id == workspace.id);
    let outcome = now.map_or("unknown", |now| now.outcome.as_str());
    let reason = now.and_then(|now| now.reason.clone());
    let mut printed = service.last_lines().of(&row.id);
    let printed = printed.remove(workspace.key.as_str()).unwrap_or_default();
    if host.json {
        print_json(&serde_json::json!({
            "event": "summary", "org": org, "workspace": workspace.key, "operation": operation,
            "state": row.state.as_str(), "outcome": outcome, "reason": reason, "last_lines": printed,
        }))?;
    } else {
        if let Some(reason) = reason {
            note(&printable(&reason));
        }
        for line in last_lines(&printed, false) {
            note(&line);
        }
        print_line(&format!("{org}: {} is {outcome}", workspace.key));
    }
    Ok(match row.state {
        OperationState::Done => Exit::Done,
        _ => Exit::Partly,
    })
}

/// `orghost sweep`: shows what belongs to nobody; with `remove`, looks a second time and removes what is still there.
pub async fn sweep(host: &Host, remove: bool) -> Result<Exit, Problem> {
    /// Between the two looks.
    const PAUSE: Duration = Duration::from_secs(1);
    let service = serve::service(host, (*host.config).clone(), &PolicyKeys::default()).await?;
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
        print_line("nothing here belongs to nobody");
    }
    for orphan in found.iter().filter(|_| !host.json) {
        let outcome = match orphan {
            Orphan { removed: true, .. } => "removed",
            Orphan {
                removable: false, ..
            } => "an agent's own work: left to you",
            _ if remove => "not removed",
            _ => "--remove removes it",
        };
        let (name, org) = (printable(&orphan.name), printable(&orphan.org));
        print_line(&format!("{} {name} of {org}: {outcome}", orphan.thing));
    }
    Ok(if is_failed { Exit::Partly } else { Exit::Done })
}

/// The one workspace of this state folder that a person means.
pub async fn find(store: &Store, at: &WorkspaceArgs) -> Result<Candidate, Problem> {
    let mut all = Vec::new();
    for org in store.orgs().await? {
        if at.org.as_deref().is_none_or(|name| org.is_called(name)) {
            all.extend(Candidate::of(&org.slug, store.workspaces(&org.slug).await?));
        }
    }
    address::one(&at.workspace, all)
}
