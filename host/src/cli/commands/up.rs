//! `orghost up` and `orghost down`.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::plan::{self, JudgedTemplate};
use crate::cli::args::{DownCommand, UpCommand};
use crate::cli::exit::Exit;
use crate::cli::render::progress::{Progress, failure_details};
use crate::cli::render::report;
use crate::cli::render::text::{count, note, print_line, printable};
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::event::{Event, Operation};
use crate::model::ids::OrgId;
use crate::planning::planner::PlanRequest;
use crate::problem::{Class, Problem};
use crate::provision::concurrency::FairSemaphore;
use crate::provision::engine::error::EngineError;
use crate::provision::run::Run;
use crate::provision::{self, Options, Outcome, Prune, Removal, Summary};
use crate::service::ImportOptions;
use crate::service::admission::{Admitted, Placement, Site, admit};
use crate::service::agent_tokens::AgentTokens;
use crate::state::encryption::Keyring;
use crate::state::snapshots::{SnapshotError, Snapshots};
use crate::state::store::{Label, OrgRow, SourceRow, Store};
use crate::template::directory::TemplateDir;

/// `orghost up`.
pub async fn up(host: &Host, command: &UpCommand) -> Result<Exit, Problem> {
    let judged = plan::judge(host, &command.plan, command.engine.engine).await?;
    if !host.json {
        plan::note_plugin(&judged);
    }
    let JudgedTemplate {
        template,
        verdict,
        target,
        wanted,
        ..
    } = judged;
    let approved = match verdict {
        Ok(approved) => approved,
        Err(rejected) => {
            plan::print_refusal(host, &rejected, &target, &command.plan)?;
            return Ok(Exit::Refused);
        }
    };
    if host.json {
        for warning in &approved.plan().warnings {
            print_json(&json!({"event": "warning", "warning": warning}))?;
        }
    } else {
        plan::print_warnings(&approved.plan().warnings, &command.plan.template);
    }
    let store = host.store()?;
    let _lock = store.lock()?;
    let path = std::path::absolute(&command.plan.template);
    let path = path.unwrap_or_else(|_| command.plan.template.clone());
    let label = path.display().to_string();
    warn_of_former_name(&store.orgs().await?, &approved.plan().org.name, &label);
    let engines = host.engines()?;
    let keyring = host.keyring(&store).await?;
    let site = Site {
        store: &store,
        config: &host.config,
        engines: &engines,
        tokens: &AgentTokens::of(&store, &keyring).await?,
    };
    let placement = Placement {
        template: label,
        take_over: command.take_over,
    };
    let admitted = admit(approved, &template, placement, &site).await?;
    let org = &admitted.org;
    let options = Options {
        concurrency: command
            .concurrency
            .map_or(host.config.concurrency(), usize::from),
        wait: command.wait.then(|| Duration::from_secs(command.timeout)),
        prune: Prune::new(command.prune, command.yes),
        max_failures: command.max_failures,
    };
    let engine = engines.get(admitted.row.engine).await?;
    provision::check_prune(&*engine, &admitted.org, &admitted.jobs, options.prune).await?;
    keep_source(
        host,
        command,
        (&store, &keyring),
        &template,
        wanted,
        &admitted,
    )
    .await?;
    let keys: Vec<_> = admitted.jobs.iter().map(|job| job.key.clone()).collect();
    let progress = Progress::new(host.json, &keys);
    let observer = |event: &Event| progress.show(event);
    let cancel = CancellationToken::new();
    let run = Run {
        engine: &*engine,
        store: &store,
        operation: store.begin(org.slug(), Operation::Up).await?,
        cancel: cancel.clone(),
        observer: &observer,
        permits: &FairSemaphore::new(options.concurrency),
        keep_failed: command.no_rollback,
    };
    host.interrupts.cancel(
        &cancel,
        "stopping: workspaces under way are taken back (again to stop at once)",
    );
    let summary = provision::apply(&run, org, &admitted.jobs, &options).await?;
    drop(progress);
    print_summary(host.json, org.slug(), admitted.row.engine, &summary)?;
    Ok(ended(host, summary.failed() == 0))
}

/// `orghost down`.
pub async fn down(host: &Host, command: &DownCommand) -> Result<Exit, Problem> {
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
    let concurrency = host.config.concurrency();
    let run = Run {
        engine: &*engine,
        store: &store,
        operation: store.begin(org.slug(), Operation::Down).await?,
        cancel: cancel.clone(),
        observer: &observer,
        permits: &FairSemaphore::new(concurrency),
        keep_failed: false,
    };
    let work = provision::destroy(&run, &org, command.volumes, concurrency);
    host.interrupts.cancel(
        &cancel,
        "stopping after the workspaces under way (again to stop at once)",
    );
    let removal = work.await?;
    print_removal(host, &org, &removal)?;
    Ok(ended(host, removal.failed.is_empty()))
}

/// Keeps what the org is made from, so that a server that is started later on this state folder can make it again.
async fn keep_source(
    host: &Host,
    command: &UpCommand,
    (store, keyring): (&Store, &Keyring),
    template: &TemplateDir,
    wanted: PlanRequest,
    admitted: &Admitted,
) -> Result<(), Problem> {
    let org = admitted.org.slug();
    let rows = provision::rows(&admitted.approved, &admitted.identities);
    store.put_org(admitted.row.clone(), rows).await?;
    let snapshots = Snapshots::of(&host.folders.state);
    let snapshot = match template
        .bundle()
        .map_err(SnapshotError::from)
        .and_then(|b| snapshots.put(&b, keyring))
    {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let message = format!("what this org is made from is not kept: {error}");
            let help =
                "it comes up; but a server on this state folder cannot seed its workspaces anew";
            let warning = Diagnostic::new("source-not-kept", message).help(help);
            if host.json {
                print_json(&json!({"event": "warning", "warning": warning}))?;
            } else {
                report::print(&warning, miette::Severity::Warning, None);
            }
            return Ok(store.drop_source(org).await?);
        }
    };
    let request = ImportOptions {
        template: admitted.row.template.clone(),
        plugin: wanted.plugin,
        grant: wanted.grant,
        giver: wanted.giver,
        skip_external: wanted.skip_external,
        engine: Some(admitted.row.engine),
        prune: command.prune,
        yes: command.yes,
        max_failures: command.max_failures,
        keep_failed: command.no_rollback,
        ready_seconds: command.wait.then_some(command.timeout),
        take_over: command.take_over,
    };
    let source = SourceRow {
        snapshot,
        request: json!(request),
    };
    let vars = serde_json::to_vec(&wanted.vars).unwrap_or_default();
    let sealed = keyring.encrypt(Label::vars(org).as_str(), &vars)?;
    Ok(store.put_source(org, source, sealed).await?)
}

/// An org that this state folder does not know.
pub async fn unknown_org(store: &Store, wanted: &str) -> Result<Problem, Problem> {
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

/// How an operation of this machine ended.
fn ended(host: &Host, is_whole: bool) -> Exit {
    match (host.interrupts.taken(), is_whole) {
        (Some(interrupt), _) => Exit::Interrupted(interrupt),
        (None, true) => Exit::Done,
        (None, false) => Exit::Partly,
    }
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
        let help = format!("`orghost down {}` takes that one down", other.slug);
        let warning = Diagnostic::new("org-renamed", message).help(help);
        report::print(&warning, miette::Severity::Warning, None);
    }
}

/// How an `up` ended.
pub fn print_summary(
    json: bool,
    org: &str,
    engine: EngineKind,
    summary: &Summary,
) -> Result<(), Problem> {
    let tally = |wanted: fn(&Outcome) -> bool| {
        summary
            .outcomes
            .iter()
            .filter(|(_, outcome)| wanted(outcome))
            .count()
    };
    let came_up = tally(|o| matches!(o, Outcome::Up(_)));
    let unchanged = tally(|o| matches!(o, Outcome::Unchanged(_)));
    let external = tally(|o| matches!(o, Outcome::External(_)));
    let failed = tally(|o| matches!(o, Outcome::Failed(_) | Outcome::Cancelled(Some(_))));
    let skipped = tally(|o| matches!(o, Outcome::Skipped(_) | Outcome::Cancelled(None)));
    if json {
        let workspaces: Vec<_> = summary
            .outcomes
            .iter()
            .map(|(key, outcome)| outcome_json(key.as_str(), outcome))
            .collect();
        return print_json(&serde_json::json!({
            "event": "summary", "org": org, "engine": engine,
            "up": came_up, "unchanged": unchanged, "external": external, "failed": failed, "skipped": skipped,
            "removed": summary.removed, "orphans": summary.orphans, "not_removed": not_removed(&summary.not_removed),
            "workspaces": workspaces,
        }));
    }
    for (key, outcome) in &summary.outcomes {
        if let Outcome::Failed(failure) | Outcome::Cancelled(Some(failure)) = outcome {
            note(&format!(
                "\n{key} failed at {}: {}",
                failure.step.as_str(),
                printable(&failure.reason)
            ));
            for line in failure_details(failure) {
                note(&format!("  {line}"));
            }
        }
    }
    note_not_removed(&summary.not_removed);
    let mut parts = vec![format!("{came_up} started")];
    let others = [
        (unchanged, "unchanged"),
        (external, "external"),
        (failed, "failed"),
        (skipped, "skipped"),
    ];
    parts.extend(
        others
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}")),
    );
    let all = count(summary.outcomes.len(), "workspace");
    let removed = match summary.removed.len() {
        0 => String::new(),
        removed => format!("; {removed} no longer in the template, and removed"),
    };
    print_line(&format!("{org}: {all}: {}{removed}", parts.join(", ")));
    if !summary.orphans.is_empty() {
        let orphans = summary.orphans.join(", ");
        print_line(&format!(
            "no longer in the template: {}; --prune removes them",
            printable(&orphans)
        ));
    }
    Ok(())
}

fn outcome_json(key: &str, outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Unchanged(url) => json!({"key": key, "outcome": "unchanged", "url": url}),
        Outcome::External(url) => json!({"key": key, "outcome": "external", "url": url}),
        Outcome::Up(url) => json!({"key": key, "outcome": "up", "url": url}),
        Outcome::Failed(failure) | Outcome::Cancelled(Some(failure)) => {
            json!({"key": key, "outcome": "failed", "failure": failure})
        }
        Outcome::Cancelled(None) => {
            json!({"key": key, "outcome": "skipped", "reason": "cancelled"})
        }
        Outcome::Skipped(reason) => json!({"key": key, "outcome": "skipped", "reason": reason}),
    }
}

fn not_removed(failed: &[(String, EngineError)]) -> Vec<serde_json::Value> {
    let told = failed.iter().map(|(what, error)| {
        json!({"what": what, "code": error.code(), "message": error.to_string(), "help": error.help()})
    });
    told.collect()
}

fn note_not_removed(failed: &[(String, EngineError)]) {
    for (what, error) in failed {
        let what = printable(what);
        note(&format!(
            "{what} was not removed: {error}\n  help: {}",
            error.help()
        ));
    }
}

fn print_removal(host: &Host, org: &OrgId, removal: &Removal) -> Result<(), Problem> {
    if host.json {
        return print_json(&json!({
            "event": "summary", "org": org.slug(), "removed": removal.removed,
            "failed": not_removed(&removal.failed), "kept": removal.kept,
        }));
    }
    note_not_removed(&removal.failed);
    print_line(&format!(
        "{}: {} removed",
        org.slug(),
        count(removal.removed.len(), "workspace")
    ));
    if !removal.kept.is_empty() {
        let kept = count(removal.kept.len(), "volume");
        let again = format!("orghost down {} --volumes", org.slug());
        print_line(&format!(
            "kept {kept} with the agents' own work; to remove them too: {again}"
        ));
    }
    Ok(())
}
