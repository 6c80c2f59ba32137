//! `orghost up`: brings an org up, on this machine or by a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{ended, serve};
use crate::cli::args::UpCommand;
use crate::cli::exit::Exit;
use crate::cli::render::plan::{note_plugin, print_refusal, print_warnings};
use crate::cli::render::progress::Progress;
use crate::cli::render::report;
use crate::cli::render::summary::print_summary;
use crate::cli::request::{JudgedTemplate, judge};
use crate::cli::server::{self, Server};
use crate::cli::{Host, print_json};
use crate::config::PolicyKeys;
use crate::model::diagnostic::Diagnostic;
use crate::model::event::What;
use crate::problem::Problem;
use crate::provision::{Outcome, Summary};
use crate::service::follow::{Report, follow};
use crate::service::{ImportOptions, JudgedImport};
use crate::state::snapshots::SnapshotError;
use crate::state::store::OrgRow;
use crate::template::bundle::Bundle;
use crate::template::directory::TemplateDir;

/// `orghost up`: brings an org up, or up to date.
///
/// # Errors
/// There is no plan, or the operation failed as a whole. A workspace that fails is no error: the exit code says so.
pub async fn up(
    host: &Host,
    server: Option<&Server>,
    command: &UpCommand,
) -> Result<Exit, Problem> {
    match server {
        Some(server) => on_server(server, command).await,
        None => on_this_machine(host, command).await,
    }
}

async fn on_this_machine(host: &Host, command: &UpCommand) -> Result<Exit, Problem> {
    let judged = judge(host, &command.plan, command.engine.engine).await?;
    let JudgedTemplate {
        template,
        judgement,
        request,
        loaded,
        store,
    } = judged;
    if !host.json {
        note_plugin(judgement.planned_by.as_deref());
    }
    let plan = match &judgement.verdict {
        Ok(approved) => approved.plan(),
        Err(rejected) => {
            let show_secrets = command.plan.show_secrets;
            print_refusal(host.json, rejected, &judgement.target, show_secrets)?;
            return Ok(Exit::Refused);
        }
    };
    if host.json {
        for warning in &plan.warnings {
            print_json(&json!({"event": "warning", "warning": warning}))?;
        }
    } else {
        print_warnings(&plan.warnings, &command.plan.template);
    }
    let mut config = (*host.config).clone();
    config.concurrency = command.concurrency.map(usize::from).or(config.concurrency);
    let policy = PolicyKeys::default();
    let store = store.map_or_else(|| host.store(), Ok)?;
    let service = serve::service(host, config, &policy, store, loaded).await?;
    let path = std::path::absolute(&command.plan.template);
    let path = path.unwrap_or_else(|_| command.plan.template.clone());
    let label = path.display().to_string();
    warn_of_former_name(&service.store().orgs().await?, &plan.org.name, &label);
    let keys: Vec<_> = plan.workspaces.iter().map(|w| w.key.clone()).collect();
    let judged = JudgedImport {
        bundle: bundle_to_keep(host, &template)?,
        template,
        vars: request.vars,
        request: ImportOptions {
            template: label,
            plugin: request.plugin,
            grant: request.grant,
            giver: request.giver,
            skip_external: request.skip_external,
            engine: Some(judgement.target.engine),
            prune: command.prune,
            yes: command.yes,
            max_failures: command.max_failures,
            keep_failed: command.no_rollback,
            ready_seconds: command.wait.then_some(command.timeout),
            take_over: command.take_over,
        },
        judgement,
    };
    let engine = judged.judgement.target.engine;
    let cancel = CancellationToken::new();
    let (follower, following) = follow(cancel.clone());
    // Before the operation begins, so that an interrupt always undoes what it did.
    host.interrupts.cancel(
        &cancel,
        "stopping: unfinished workspaces are undone (interrupt again to stop at once)",
    );
    let accepted = service.import_judged(judged, follower).await?;
    let progress = Progress::new(host.json, &keys);
    let report = following.end(|event| progress.show(event)).await?;
    drop(progress);
    let summary = match report {
        Report::Applied(summary) => summary,
        Report::Destroyed(_) | Report::Nothing => Summary::default(),
    };
    print_summary(host.json, &accepted.org, engine, &summary)?;
    Ok(ended(host, summary.failed() == 0))
}

async fn on_server(server: &Server, command: &UpCommand) -> Result<Exit, Problem> {
    if command.concurrency.is_some() {
        return Err(server::not_from_here(
            "--concurrency",
            "orghost serve --concurrency sets it for all orgs",
        ));
    }
    let options = json!({
        "engine": command.engine.engine, "prune": command.prune, "yes": command.yes,
        "max_failures": command.max_failures, "keep_failed": command.no_rollback,
        "ready_seconds": command.wait.then_some(command.timeout), "take_over": command.take_over,
    });
    let upload = server::upload(&command.plan, options)?;
    server.will_change();
    let accepted = server.client.import(&upload).await?;
    let status = server.client.org(&accepted.org).await?;
    let planned = status.workspaces.iter().filter(|w| w.row.planned);
    let keys: Vec<_> = planned.map(|w| w.row.key.clone()).collect();
    let progress = Progress::new(server.json, &keys);
    let mut outcomes = BTreeMap::new();
    let mut removed = Vec::new();
    let ended = server
        .follow(accepted, |event| {
            progress.show(event);
            let Some(key) = &event.workspace else { return };
            if let Some(outcome) = outcome(&event.what) {
                outcomes.insert(key.clone(), outcome);
            } else if event.what == What::Removed {
                removed.push(key.to_string());
            }
        })
        .await?;
    drop(progress);
    server::failed_as_a_whole(&ended)?;
    for (key, lines) in ended.last_lines.clone() {
        if let Some(Outcome::Failed(failure)) = outcomes.get_mut(&key) {
            failure.last_lines = lines;
        }
    }
    let settled = keys
        .iter()
        .filter_map(|key| Some((key.clone(), outcomes.remove(key)?)));
    let summary = Summary {
        outcomes: settled.collect(),
        removed,
        ..Summary::default()
    };
    print_summary(server.json, &status.org, status.engine, &summary)?;
    server::cancelled(&ended)?;
    Ok(match ended.failed {
        0 => Exit::Done,
        _ => Exit::Partly,
    })
}

fn outcome(what: &What) -> Option<Outcome> {
    match what.clone() {
        What::Unchanged { url } => Some(Outcome::Unchanged(url)),
        What::External { url } => Some(Outcome::External(url)),
        What::Up { url, .. } => Some(Outcome::Up(url)),
        What::Failed(failure) => Some(Outcome::Failed(failure)),
        What::Skipped { reason } => Some(Outcome::Skipped(reason)),
        _ => None,
    }
}

/// The template as the state folder keeps it, so that a server that is started later can make the org again. The org comes up
/// without it, too: a template may have more than a snapshot can hold.
fn bundle_to_keep(host: &Host, template: &TemplateDir) -> Result<Option<Arc<Bundle>>, Problem> {
    let problem = match template.bundle().map_err(SnapshotError::from) {
        Ok(bundle) => return Ok(Some(Arc::new(bundle))),
        Err(error) => Problem::from(error),
    };
    let reason = problem.errors.first().map_or("", |error| &error.message);
    let message = format!("what this org is made from is not kept: {reason}");
    let help =
        "the org comes up, but a server on this state folder cannot seed its workspaces again";
    let warning = Diagnostic::new("source-not-kept", message).help(help);
    if host.json {
        print_json(&json!({"event": "warning", "warning": warning}))?;
    } else {
        report::print(&warning, miette::Severity::Warning, None);
    }
    Ok(None)
}

fn warn_of_former_name(orgs: &[OrgRow], name: &str, template: &str) {
    if orgs.iter().any(|row| row.name == name) {
        return;
    }
    for other in orgs.iter().filter(|row| row.template == template) {
        let message = format!(
            "this template is also up under its former name, as {}",
            other.slug
        );
        let help = format!("`orghost down {}` removes that org", other.slug);
        let warning = Diagnostic::new("org-renamed", message).help(help);
        report::print(&warning, miette::Severity::Warning, None);
    }
}
