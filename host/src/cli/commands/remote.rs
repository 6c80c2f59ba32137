//! The same commands, done by a server (`--server`): asks it, and shows what it says as if it were here. What the server's
//! operator decides cannot be decided from here.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{plan, up};
use crate::cli::address::{self, Candidate};
use crate::cli::args::{
    DownCommand, ExpandCommand, LogsCommand, PlanArgs, PlanCommand, UpCommand, WorkspaceArgs,
};
use crate::cli::exit::Exit;
use crate::cli::interrupt::Interrupts;
use crate::cli::render::progress::{Progress, last_lines};
use crate::cli::render::text::{count, in_line, note, print_line};
use crate::cli::{Host, print_json};
use crate::client::{AddressError, Client, Operation, Patience, Pause, State, Upload, Why};
use crate::model::diagnostic::Diagnostic;
use crate::model::event::{self, Event, What};
use crate::plugin::catalog::Fetched;
use crate::problem::{Class, Problem};
use crate::provision::{Outcome, Summary};
use crate::state::snapshots::SnapshotError;

/// A server that does what this command asks.
pub struct Server {
    client: Client,
    json: bool,
    interrupts: Interrupts,
}

impl Server {
    /// Shows what happens until an operation has ended. From then on an interrupt ends this program, not the operation.
    async fn follow(
        &self,
        operation: Operation,
        show: impl FnMut(&Event),
    ) -> Result<Operation, Problem> {
        let goes_on = format!(
            "interrupted: the server goes on with this `{}`; `orghost status {}` shows how far it is",
            operation.operation.as_str(),
            operation.org,
        );
        self.interrupts.say(goes_on);
        Ok(self.client.follow(operation, show).await?)
    }

    /// Before it is asked to change anything.
    fn will_change(&self) {
        self.interrupts.say(
            "interrupted: if the server has accepted it, it goes on there; `orghost status` shows it",
        );
    }

    /// The one workspace that a person means. Without its org, all are looked through.
    async fn workspace(&self, at: &WorkspaceArgs) -> Result<Candidate, Problem> {
        let orgs = match &at.org {
            Some(org) => vec![org.clone()],
            None => self.client.orgs().await?,
        };
        let mut all = Vec::new();
        for name in orgs {
            let org = match self.client.org(&name).await.map_err(Problem::from) {
                // It was taken down since the list was made.
                Err(problem) if problem.class == Class::NotFound && at.org.is_none() => continue,
                org => org?,
            };
            let rows = org.workspaces.into_iter().map(|workspace| workspace.row);
            all.extend(Candidate::of(&org.org, rows));
        }
        address::one(&at.workspace, all)
    }
}

/// What a person is told of a pause.
fn tell(pause: &Pause) {
    let trouble = match pause.why {
        Why::Busy => "the server is busy",
        Why::Away => "the connection to the server was lost",
        Why::Refused => "the server does not tell what happens",
    };
    let seconds = pause.wait.as_millis().div_ceil(1000);
    note(&format!("{trouble}; trying again in {seconds} s"));
}

/// `orghost plan --server`.
pub async fn plan(server: &Server, command: &PlanCommand) -> Result<Exit, Problem> {
    if command.render.is_some() {
        return Err(not_from_here(
            "--render",
            "it needs the values of secrets, which a server does not give away",
        ));
    }
    let wishes = json!({"engine": command.engine.engine});
    let answer = server.client.plan(&upload(&command.plan, wishes)?).await?;
    let shown = plan::shown(answer.clone())?;
    if server.json {
        print_json(&answer)?;
    } else {
        plan::print_plan(&shown);
        // A server of an earlier version does not say it.
        if let Ok(target) = serde_json::from_value(answer.clone()) {
            plan::print_target(&target);
        }
        plan::print_changes(&shown.changes);
        if let Some(plugin) = answer.get("planned_by").and_then(Value::as_str) {
            note(&format!("planned by {}", in_line(plugin)));
        }
        plan::print_warnings(&shown.warnings, &command.plan.template);
        plan::print_violations(&shown.violations);
    }
    Ok(match shown.violations.is_empty() {
        true => Exit::Done,
        false => Exit::Refused,
    })
}

/// `orghost up --server`.
pub async fn up(server: &Server, command: &UpCommand) -> Result<Exit, Problem> {
    if command.concurrency.is_some() {
        return Err(not_from_here(
            "--concurrency",
            "orghost serve --concurrency sets it for all orgs",
        ));
    }
    let wishes = json!({
        "engine": command.engine.engine, "prune": command.prune, "yes": command.yes,
        "max_failures": command.max_failures, "keep_failed": command.no_rollback,
        "ready_seconds": command.wait.then_some(command.timeout), "take_over": command.take_over,
    });
    let upload = upload(&command.plan, wishes)?;
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
    failed_as_a_whole(&ended)?;
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
    up::print_summary(server.json, &status.org, status.engine, &summary)?;
    cancelled(&ended)?;
    Ok(match ended.failed {
        0 => Exit::Done,
        _ => Exit::Partly,
    })
}

/// `orghost down --server`.
pub async fn down(server: &Server, command: &DownCommand) -> Result<Exit, Problem> {
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
    failed_as_a_whole(&ended)?;
    cancelled(&ended)?;
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

/// `orghost status --server`.
pub async fn status(server: &Server, wanted: Option<&str>) -> Result<Exit, Problem> {
    let names = match wanted {
        Some(name) => vec![name.to_owned()],
        None => server.client.orgs().await?,
    };
    let mut statuses = Vec::new();
    for name in names {
        match server.client.org(&name).await.map_err(Problem::from) {
            // It was taken down since the list was made.
            Err(problem) if problem.class == Class::NotFound && wanted.is_none() => {}
            status => statuses.push(status?),
        }
    }
    if server.json {
        print_json(&json!({ "orgs": statuses }))?;
    } else {
        super::status::print(&statuses);
    }
    Ok(Exit::Done)
}

/// `orghost logs --server`.
pub async fn logs(server: &Server, command: &LogsCommand) -> Result<Exit, Problem> {
    let Candidate { workspace, .. } = server.workspace(&command.at).await?;
    let logs = server
        .client
        .logs(workspace.id.as_str(), command.tail, command.follow)
        .await?;
    let mut logs = std::pin::pin!(logs);
    let mut output = super::logs::Output::new(server.json, command.raw, workspace.key.as_str());
    while let Some(chunk) = logs.next().await {
        if !output.write(&chunk?)? {
            break;
        }
    }
    output.end()?;
    Ok(Exit::Done)
}

/// `orghost restart`, `stop` and `start` with `--server`.
pub async fn act(
    server: &Server,
    action: event::Operation,
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
    failed_as_a_whole(&ended)?;
    let printed = ended.last_lines.get(&workspace.key);
    let printed = printed.map_or(&[][..], Vec::as_slice);
    if server.json {
        print_json(&json!({
            "event": "summary", "org": ended.org, "workspace": workspace.key, "operation": action,
            "state": ended.state.as_str(), "last_lines": printed,
        }))?;
    } else {
        for line in last_lines(printed, false) {
            note(&line);
        }
    }
    cancelled(&ended)?;
    Ok(match ended.failed {
        0 => Exit::Done,
        _ => Exit::Partly,
    })
}

/// `orghost expand --server`.
pub async fn expand(server: &Server, command: &ExpandCommand) -> Result<Exit, Problem> {
    if command.plugin.plugin.is_some() {
        return Err(not_from_here(
            "--plugin",
            "a server expands with the built-in one",
        ));
    }
    let wanted = plan::wanted(&command.env)?;
    let expansion = server
        .client
        .expand(&command.text, &wanted.vars, &wanted.grant)
        .await?;
    plan::print_expansion(server.json, &expansion)?;
    Ok(Exit::Done)
}

/// `orghost plugin add --server`: fetched here, examined there.
pub async fn add_plugin(
    server: &Server,
    fetched: Fetched,
    name: Option<&str>,
) -> Result<Exit, Problem> {
    server.will_change();
    let (component, signature) = (Bytes::from(fetched.bytes), fetched.signature);
    let added = server
        .client
        .add_plugin(component, name, signature.as_deref())
        .await?;
    if server.json {
        print_json(&added)?;
        return Ok(Exit::Done);
    }
    let text = |field| word(added.get("plugin"), field);
    let what = match added.get("changed") {
        Some(Value::Bool(false)) => "installed already",
        _ => "installed",
    };
    print_line(&format!(
        "{} {}: {what}, {}",
        text("name"),
        text("version"),
        text("digest")
    ));
    Ok(Exit::Done)
}

/// `orghost plugin list --server`.
pub async fn list_plugins(server: &Server) -> Result<Exit, Problem> {
    let plugins = server.client.plugins().await?;
    if server.json {
        print_json(&plugins)?;
        return Ok(Exit::Done);
    }
    let list = |name: &str| plugins.get(name).and_then(Value::as_array).cloned();
    let installed = list("plugins").unwrap_or_default();
    if installed.is_empty() {
        note("no plugin is installed there but the built-in org-import");
    }
    for plugin in installed {
        let text = |field| word(Some(&plugin), field);
        print_line(&format!(
            "{} {} {} {}",
            text("name"),
            text("version"),
            text("digest"),
            text("source")
        ));
    }
    for refused in list("quarantine").unwrap_or_default() {
        let text = |field| word(Some(&refused), field);
        print_line(&format!(
            "quarantined: {} {}: {}",
            text("name"),
            text("digest"),
            text("reason")
        ));
    }
    Ok(Exit::Done)
}

/// `orghost plugin remove --server`.
pub async fn remove_plugin(server: &Server, name: &str) -> Result<Exit, Problem> {
    server.will_change();
    server.client.remove_plugin(name).await?;
    if server.json {
        print_json(&json!({ "removed": name }))?;
    } else {
        print_line(&format!("{name}: removed"));
    }
    Ok(Exit::Done)
}

/// A text of an answer, for a line of a person's.
fn word(object: Option<&Value>, field: &str) -> String {
    let text = object.and_then(|object| object.get(field)?.as_str());
    in_line(text.unwrap_or("-"))
}

impl Host {
    /// The server that commands are for: `--server`, else `ORGHOST_SERVER`.
    pub fn server(&self) -> Result<Option<Server>, Problem> {
        let url = self
            .server
            .as_deref()
            .or(self.environment.text("ORGHOST_SERVER"));
        let token = self.environment.text("ORGHOST_TOKEN");
        let connect = |url| {
            let client = Client::new(url, token, Patience::default(), tell);
            Ok(Server {
                client: client.map_err(|error| not_a_server(url, &error))?,
                json: self.json,
                interrupts: self.interrupts.clone(),
            })
        };
        url.map(connect).transpose()
    }
}

fn not_a_server(url: &str, error: &AddressError) -> Problem {
    let diagnostic = Diagnostic::new("server-url", format!("--server {url:?}: {error}"))
        .help("such as https://orghost.example, or http://127.0.0.1:7420");
    Problem::one(Class::Invalid, diagnostic)
}

/// The template as an archive, and what is wanted of it.
fn upload(args: &PlanArgs, mut request: Value) -> Result<Upload, Problem> {
    refuse_plugin_file(args.plugin.plugin.as_deref())?;
    let policy = &args.policy;
    let decided = [
        ("--max-tier", policy.max_tier.is_some()),
        ("--allow-mount", !policy.allow_mount.is_empty()),
        ("--ignore-missing-env", policy.ignore_missing_env),
        ("--demo", policy.demo),
        ("--require-isolation", policy.require_isolation),
        ("--show-secrets", args.show_secrets),
        (
            "--wasi",
            args.plugin.wasi.wasi != crate::model::plugin::Wasi::None,
        ),
    ];
    if let Some((flag, _)) = decided.iter().find(|(_, given)| *given) {
        return Err(not_from_here(flag, "the server's operator decides it"));
    }
    let wanted = plan::wanted(&args.env)?;
    if let Some(fields) = request.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        fields.insert("env".to_owned(), json!(wanted.vars));
        fields.insert("grant".to_owned(), json!(wanted.grant));
        fields.insert("skip_external".to_owned(), json!(policy.skip_external));
        let folder = std::path::absolute(&args.template);
        let folder = folder.unwrap_or_else(|_| args.template.clone());
        fields.insert("source".to_owned(), json!(folder.display().to_string()));
        if let Some(plugin) = &args.plugin.plugin {
            fields.insert("plugin".to_owned(), json!(plugin));
        }
    }
    let template = plan::open_template(&args.template)?;
    let archive = template
        .bundle()
        .map_err(SnapshotError::from)?
        .to_tar()
        .map_err(|error| {
            let message = format!("the template cannot be packed: {error}");
            Problem::one(Class::Invalid, Diagnostic::new("template-file", message))
        })?;
    let name = args.template.file_name().and_then(|name| name.to_str());
    Ok(Upload {
        request,
        archive: Bytes::from(archive),
        name: format!("{}.tar", name.unwrap_or("template")),
    })
}

fn refuse_plugin_file(plugin: Option<&str>) -> Result<(), Problem> {
    match plugin.is_some_and(crate::planning::planner::is_file) {
        true => Err(not_from_here(
            "--plugin FILE",
            "a server runs installed plugins: orghost plugin add installs one there",
        )),
        false => Ok(()),
    }
}

fn not_from_here(flag: &str, why: &str) -> Problem {
    let message = format!("{flag} cannot be used with a server: {why}");
    Problem::one(Class::Invalid, Diagnostic::new("not-with-server", message))
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

/// An operation that could not be done at all says why.
fn failed_as_a_whole(operation: &Operation) -> Result<(), Problem> {
    if operation.errors.is_empty() {
        return Ok(());
    }
    Err(Problem {
        class: Class::Failed,
        errors: operation.errors.clone(),
        template: None,
    })
}

fn cancelled(operation: &Operation) -> Result<(), Problem> {
    if !matches!(operation.state, State::Cancelled | State::Superseded) {
        return Ok(());
    }
    let message = format!("the operation was {}", operation.state.as_str());
    Err(Problem::one(
        Class::Failed,
        Diagnostic::new("operation-cancelled", message),
    ))
}
