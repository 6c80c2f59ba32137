//! `orghost restart`, `stop` and `start`: one workspace, on this machine or by a server.

use std::time::Duration;

use super::serve;
use crate::cli::address::{self, Candidate};
use crate::cli::args::WorkspaceArgs;
use crate::cli::exit::Exit;
use crate::cli::render::progress::{Progress, last_lines};
use crate::cli::render::text::{note, print_line, printable};
use crate::cli::server::{self, Server};
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::model::event::Operation;
use crate::problem::{Class, Problem};
use crate::state::store::{OperationState, Store};

/// `orghost restart`, `stop` and `start`. On this machine it starts the service of `orghost serve` for one operation,
/// because seeding a workspace again needs what its org was made from.
///
/// # Errors
/// There is no such workspace, or the operation failed.
pub async fn act(
    host: &Host,
    server: Option<&Server>,
    at: &WorkspaceArgs,
    operation: Operation,
) -> Result<Exit, Problem> {
    match server {
        Some(server) => on_server(server, operation, at).await,
        None => on_this_machine(host, at, operation).await,
    }
}

async fn on_this_machine(
    host: &Host,
    at: &WorkspaceArgs,
    operation: Operation,
) -> Result<Exit, Problem> {
    let service = serve::service_for_one(host, (*host.config).clone()).await?;
    let Candidate { org, workspace } = find(service.store(), at).await?;
    host.interrupts
        .say("interrupted: run the same command again to resume the operation");
    // An engine that is away is an error at once: a person waits at the terminal.
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
                    Diagnostic::new("store", "the operation is no longer in the store");
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

async fn on_server(
    server: &Server,
    action: Operation,
    at: &WorkspaceArgs,
) -> Result<Exit, Problem> {
    let Candidate { workspace, .. } = server.workspace(at).await?;
    server.will_change();
    let accepted = server.client.act(workspace.id.as_str(), action).await?;
    let progress = Progress::new(server.json, std::slice::from_ref(&workspace.key));
    let ended = server
        .follow(accepted, |event| progress.show(event))
        .await?;
    drop(progress);
    server::failed_as_a_whole(&ended)?;
    let printed = ended.last_lines.get(&workspace.key);
    let printed = printed.map_or(&[][..], Vec::as_slice);
    if server.json {
        print_json(&serde_json::json!({
            "event": "summary", "org": ended.org, "workspace": workspace.key, "operation": action,
            "state": ended.state.as_str(), "last_lines": printed,
        }))?;
    } else {
        for line in last_lines(printed, false) {
            note(&line);
        }
    }
    server::cancelled(&ended)?;
    Ok(match ended.failed {
        0 => Exit::Done,
        _ => Exit::Partly,
    })
}

/// The one workspace of this state folder that the arguments name.
///
/// # Errors
/// None fits, or several do.
pub async fn find(store: &Store, at: &WorkspaceArgs) -> Result<Candidate, Problem> {
    let mut all = Vec::new();
    for org in store.orgs().await? {
        if at.org.as_deref().is_none_or(|name| org.is_called(name)) {
            all.extend(Candidate::of(&org.slug, store.workspaces(&org.slug).await?));
        }
    }
    address::one(&at.workspace, all)
}
