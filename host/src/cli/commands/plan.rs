//! `orghost plan`: shows what a template would become. It writes only to the folder of `--render`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::args::{PlanArgs, PlanCommand};
use crate::cli::exit::Exit;
use crate::cli::render::plan::{
    diagnostics, note_plugin, print_changes, print_plan, print_plan_json, print_target,
    print_violations, print_warnings, shown as shown_part,
};
use crate::cli::request::judge;
use crate::cli::server::{self, Server};
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::model::plan::Plan;
use crate::planning::policy::{Approved, SeedContent, Violation};
use crate::problem::{Class, Problem};
use crate::provision::seed::{Programs, Seed};
use crate::service::admission::changes;
use crate::template::directory::TemplateDir;

/// `orghost plan`: shows what a template would become.
///
/// # Errors
/// No plan could be made, or the server does not answer. A plan that the policy refuses is not an error: the exit code
/// is 3.
pub async fn plan(
    host: &Host,
    server: Option<&Server>,
    command: &PlanCommand,
) -> Result<Exit, Problem> {
    match server {
        Some(server) => on_server(server, command).await,
        None => on_this_machine(host, command).await,
    }
}

async fn on_this_machine(host: &Host, command: &PlanCommand) -> Result<Exit, Problem> {
    let judged = judge(host, &command.plan, command.engine.engine).await?;
    let judgement = judged.judgement;
    let (plan, violations): (&Plan, &[Violation]) = match &judgement.verdict {
        Ok(approved) => (approved.plan(), &[]),
        Err(rejected) => (&rejected.plan, &rejected.violations),
    };
    let revealed;
    let shown = if command.plan.show_secrets {
        revealed = plan.revealed();
        &revealed
    } else {
        plan
    };
    if let (Ok(approved), Some(out)) = (&judgement.verdict, &command.render) {
        render(host, approved, &judged.template, out, &command.plan)?;
    }
    let changes = match (&judgement.verdict, &judged.store) {
        (Ok(approved), Some(store)) => changes(approved, store).await?,
        _ => Vec::new(),
    };
    if host.json {
        print_plan_json(shown, &judgement.target, violations, &changes)?;
    } else {
        print_plan(&shown_part(serde_json::json!(shown))?);
        print_target(&judgement.target);
        print_changes(&changes);
        note_plugin(judgement.planned_by.as_deref());
        print_warnings(&plan.warnings, &command.plan.template);
        print_violations(&diagnostics(violations));
    }
    match judgement.verdict {
        Ok(_) => Ok(Exit::Done),
        Err(_) => Ok(Exit::Refused),
    }
}

async fn on_server(server: &Server, command: &PlanCommand) -> Result<Exit, Problem> {
    if command.render.is_some() {
        return Err(server::not_from_here(
            "--render",
            "it needs the values of secrets, which a server never returns",
        ));
    }
    let options = json!({"engine": command.engine.engine});
    let answer = server
        .client
        .plan(&server::upload(&command.plan, options)?)
        .await?;
    let shown = shown_part(answer.clone())?;
    if server.json {
        print_json(&answer)?;
    } else {
        print_plan(&shown);
        // An older server does not send the engine and its isolation.
        if let Ok(target) = serde_json::from_value(answer.clone()) {
            print_target(&target);
        }
        print_changes(&shown.changes);
        note_plugin(answer.get("planned_by").and_then(Value::as_str));
        print_warnings(&shown.warnings, &command.plan.template);
        print_violations(&shown.violations);
    }
    Ok(match shown.violations.is_empty() {
        true => Exit::Done,
        false => Exit::Refused,
    })
}

/// Writes the files that each workspace would get under `/configs`.
fn render(
    host: &Host,
    approved: &Approved,
    template: &TemplateDir,
    out: &Path,
    args: &PlanArgs,
) -> Result<(), Problem> {
    let failed = |path: &Path, reason: String| {
        let message = format!("{} cannot be rendered: {reason}", path.display());
        Problem::one(
            Class::Failed,
            Diagnostic::new("render", message).file(path.display().to_string()),
        )
    };
    if std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failed(
            out,
            "the folder is not empty; give another one".to_owned(),
        ));
    }
    for workspace in approved.workspaces() {
        let Some(runtime) = &workspace.runtime else {
            continue;
        };
        let runtime = host.config.runtimes.get(runtime.as_str());
        let programs = Programs::of(approved.engine(), &runtime.cloned().unwrap_or_default());
        let folder = out.join(workspace.key.as_str());
        let mut files = workspace.files.clone();
        if !args.show_secrets {
            for source in files.values_mut().filter(|source| source.secret) {
                source.content =
                    SeedContent::Inline(b"# redacted: --show-secrets shows it\n".to_vec());
            }
        }
        let seed =
            Seed::read(&files, template, programs).map_err(|e| failed(&folder, e.to_string()))?;
        for file in seed.files() {
            let (path, bytes, mode) = file.map_err(|e| failed(&folder, e.to_string()))?;
            let path = folder.join(path);
            write_new(&path, &bytes, mode).map_err(|e| failed(&path, e.to_string()))?;
        }
    }
    Ok(())
}

fn write_new(path: &PathBuf, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = std::fs::OpenOptions::new();
    // The folder of a child workspace may have the name of a file in its parent's seed. That must fail, not overwrite.
    options.write(true).create_new(true).mode(mode);
    options.open(path)?.write_all(bytes)
}
