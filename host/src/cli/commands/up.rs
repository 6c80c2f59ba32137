//! `orghost up`: brings an org up, on this machine or by a server.

use std::collections::BTreeMap;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ended;
use crate::cli::args::UpCommand;
use crate::cli::exit::Exit;
use crate::cli::render::plan::{note_plugin, print_refusal, print_warnings};
use crate::cli::render::progress::Progress;
use crate::cli::render::report;
use crate::cli::render::summary::print_summary;
use crate::cli::request::{JudgedTemplate, judge};
use crate::cli::server::{self, Server};
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::event::{Event, What};
use crate::problem::Problem;
use crate::provision::concurrency::FairSemaphore;
use crate::provision::run::Run;
use crate::provision::{self, Outcome, Summary};
use crate::service::admission::{AdmissionContext, TemplateOrigin, admit};
use crate::service::agent_tokens::AgentTokens;
use crate::service::{ImportOptions, source};
use crate::state::encryption::Keyring;
use crate::state::snapshots::{SnapshotError, Snapshots};
use crate::state::store::{KeptSource, OrgRow, Start};
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
    if !host.json {
        note_plugin(judged.planned_by.as_deref());
    }
    let JudgedTemplate {
        template,
        verdict,
        target,
        request,
        store,
        ..
    } = judged;
    let approved = match verdict {
        Ok(approved) => approved,
        Err(rejected) => {
            print_refusal(host.json, &rejected, &target, command.plan.show_secrets)?;
            return Ok(Exit::Refused);
        }
    };
    if host.json {
        for warning in &approved.plan().warnings {
            print_json(&json!({"event": "warning", "warning": warning}))?;
        }
    } else {
        print_warnings(&approved.plan().warnings, &command.plan.template);
    }
    let store = store.map_or_else(|| host.store(), Ok)?;
    let _lock = store.lock()?;
    let path = std::path::absolute(&command.plan.template);
    let path = path.unwrap_or_else(|_| command.plan.template.clone());
    let label = path.display().to_string();
    warn_of_former_name(&store.orgs().await?, &approved.plan().org.name, &label);
    let engines = host.engines()?;
    let keyring = host.keyring(&store).await?;
    let context = AdmissionContext {
        store: &store,
        config: &host.config,
        engines: &engines,
        tokens: &AgentTokens::of(&store, &keyring).await?,
    };
    let origin = TemplateOrigin {
        template: label,
        take_over: command.take_over,
    };
    let admitted = admit(approved, &template, origin, &context).await?;
    let org = &admitted.org;
    let options = ImportOptions {
        template: admitted.row.template.clone(),
        plugin: request.plugin,
        grant: request.grant,
        giver: request.giver,
        skip_external: request.skip_external,
        engine: Some(admitted.row.engine),
        prune: command.prune,
        yes: command.yes,
        max_failures: command.max_failures,
        keep_failed: command.no_rollback,
        ready_seconds: command.wait.then_some(command.timeout),
        take_over: command.take_over,
    };
    let concurrency = command
        .concurrency
        .map_or(host.config.concurrency(), usize::from);
    let provisioning = options.provisioning();
    let engine = engines.get(admitted.row.engine).await?;
    provision::check_prune(&*engine, org, &admitted.jobs, provisioning.prune).await?;
    let given = (&request.vars, &options);
    let kept = keep_source(host, org.slug(), &template, given, &keyring)?;
    let rows = provision::rows(&admitted.approved, &admitted.identities);
    let row = admitted.row.clone();
    let operation = store.accept(row, rows, kept, Start::AtOnce).await?;
    let keys: Vec<_> = admitted.jobs.iter().map(|job| job.key.clone()).collect();
    let progress = Progress::new(host.json, &keys);
    let observer = |event: &Event| progress.show(event);
    let cancel = CancellationToken::new();
    let run = Run {
        engine: &*engine,
        store: &store,
        operation,
        cancel: cancel.clone(),
        observer: &observer,
        permits: &FairSemaphore::new(concurrency),
        keep_failed: options.keep_failed,
    };
    host.interrupts.cancel(
        &cancel,
        "stopping: unfinished workspaces are undone (interrupt again to stop at once)",
    );
    let summary = provision::apply(&run, org, &admitted.jobs, &provisioning).await?;
    drop(progress);
    print_summary(host.json, org.slug(), admitted.row.engine, &summary)?;
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

/// What the org is made from, so that a server that is started later on this state folder can make it again. The org comes
/// up without it, too: a template may have more than a snapshot can hold.
fn keep_source(
    host: &Host,
    org: &str,
    template: &TemplateDir,
    (vars, options): (&EnvMap, &ImportOptions),
    keyring: &Keyring,
) -> Result<Option<KeptSource>, Problem> {
    let snapshots = Snapshots::of(&host.folders.state);
    let bundle = template.bundle().map_err(SnapshotError::from);
    let kept = bundle
        .map_err(Problem::from)
        .and_then(|bundle| source::keep(org, &bundle, vars, options, (&snapshots, keyring)));
    let problem = match kept {
        Ok(kept) => return Ok(Some(kept)),
        Err(problem) => problem,
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
