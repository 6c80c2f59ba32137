//! `orghost down`: stops and removes an org's workspaces, on this machine or by a server.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{ended, unknown_org};
use crate::cli::args::DownCommand;
use crate::cli::exit::Exit;
use crate::cli::render::progress::Progress;
use crate::cli::render::summary::print_removal;
use crate::cli::render::text::{count, note, print_line};
use crate::cli::server::{self, Server};
use crate::cli::{Host, print_json};
use crate::model::event::{Event, Operation, What};
use crate::model::ids::OrgId;
use crate::problem::Problem;
use crate::provision;
use crate::provision::concurrency::FairSemaphore;
use crate::provision::run::Run;

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
    let store = host.store()?;
    let _lock = store.lock()?;
    let orgs = store.orgs().await?;
    let Some(row) = orgs.iter().find(|row| row.is_called(&command.org)) else {
        return Err(unknown_org(&store, &command.org).await?);
    };
    let org = OrgId::known(store.instance().clone(), &row.slug);
    let engine = host.engines()?.get(row.engine).await?;
    let progress = Progress::new(host.json, &[]);
    let observer = |event: &Event| progress.show(event);
    let cancel = CancellationToken::new();
    let run = Run {
        engine: &*engine,
        store: &store,
        operation: store.begin(org.slug(), Operation::Down).await?,
        cancel: cancel.clone(),
        observer: &observer,
        permits: &FairSemaphore::new(host.config.concurrency()),
        keep_failed: false,
    };
    let work = provision::destroy(&run, &org, command.volumes);
    host.interrupts.cancel(
        &cancel,
        "stopping after the workspaces in progress (interrupt again to stop at once)",
    );
    let removal = work.await?;
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
