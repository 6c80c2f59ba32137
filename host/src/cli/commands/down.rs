//! `orghost down`: stops and removes an org's workspaces, on this machine or by a server.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{ended, serve, unknown_org};
use crate::cli::args::DownCommand;
use crate::cli::exit::Exit;
use crate::cli::render::progress::Progress;
use crate::cli::render::summary::print_removal;
use crate::cli::render::text::{count, note, print_line};
use crate::cli::server::{self, Server};
use crate::cli::{Host, print_json};
use crate::model::event::What;
use crate::problem::Problem;
use crate::provision::Removal;
use crate::service::follow::{Report, follow};

/// `orghost down`.
///
/// # Errors
/// There is no such org, or the operation failed as a whole.
pub async fn down(
    host: &Host,
    server: Option<&Server>,
    command: &DownCommand,
) -> Result<Exit, Problem> {
    match server {
        Some(server) => on_server(server, command).await,
        None => on_this_machine(host, command).await,
    }
}

async fn on_this_machine(host: &Host, command: &DownCommand) -> Result<Exit, Problem> {
    let service = serve::service_for_one(host, (*host.config).clone()).await?;
    let store = service.store();
    let orgs = store.orgs().await?;
    let Some(row) = orgs.iter().find(|row| row.is_called(&command.org)) else {
        return Err(unknown_org(store, &command.org).await?);
    };
    // A person waits at the terminal: an engine that does not answer is an error at once, and nothing is stored.
    service.engines().get(row.engine).await?;
    let cancel = CancellationToken::new();
    let (follower, following) = follow(cancel.clone());
    host.interrupts.cancel(
        &cancel,
        "stopping after the workspaces in progress (interrupt again to stop at once)",
    );
    let accepted = service.take_down(&row.slug, command.volumes, Some(follower));
    let org = accepted.await?.org;
    let progress = Progress::new(host.json, &[]);
    let report = following.end(|event| progress.show(event)).await?;
    let removal = match report {
        Report::Destroyed(removal) => removal,
        Report::Applied(_) | Report::Nothing => Removal::default(),
    };
    print_removal(host.json, &org, &removal)?;
    Ok(ended(host, removal.failed.is_empty()))
}

async fn on_server(server: &Server, command: &DownCommand) -> Result<Exit, Problem> {
    server.will_change();
    let accepted = server
        .client
        .take_down(&command.org, command.volumes)
        .await?;
    let progress = Progress::new(server.json, &[]);
    let mut removed = Vec::new();
    let ended = server
        .follow(accepted, |event| {
            progress.show(event);
            if let (What::Removed, Some(key)) = (&event.what, &event.workspace) {
                removed.push(key.to_string());
            }
        })
        .await?;
    server::failed_as_a_whole(&ended)?;
    server::cancelled(&ended)?;
    if server.json {
        print_json(
            &json!({"event": "summary", "org": ended.org, "removed": removed, "not_removed": ended.failed}),
        )?;
    } else {
        print_line(&format!(
            "{}: {} removed",
            ended.org,
            count(removed.len(), "workspace")
        ));
        if ended.failed > 0 {
            note(&format!(
                "{} could not be removed; the server's log says why",
                ended.failed
            ));
        }
    }
    Ok(match ended.failed {
        0 => Exit::Done,
        _ => Exit::Partly,
    })
}
