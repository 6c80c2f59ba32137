//! The same commands, done by a server (`--server`): asks its API, follows its events, and shows them as if it were here.
//! What the server's operator decides cannot be decided from here.

use std::collections::BTreeMap;
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use futures_util::StreamExt as _;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::args::{
    DownCommand, ExpandCommand, LogsCommand, PlanArgs, PlanCommand, UpCommand, WorkspaceArgs,
};
use super::progress::Progress;
use super::report::Exit;
use super::text::{count, note, print_line};
use super::{Host, plan, print_json, up};
use crate::catalog::Fetched;
use crate::diagnostic::Diagnostic;
use crate::event::{Event, What};
use crate::limits;
use crate::plan::WorkspaceKey;
use crate::plugin::Expansion;
use crate::problem::{Class, Problem};
use crate::provision::{Outcome, Summary};
use crate::snapshot::Bundle;
use crate::status::OrgStatus;

/// A server that does what this command asks.
pub struct Server {
    url: Url,
    token: Option<String>,
    client: reqwest::Client,
    json: bool,
}

/// As much of an operation as a command looks at.
#[derive(Debug, Clone, Deserialize)]
struct Operation {
    id: String,
    org: String,
    operation: String,
    state: String,
    failed: u32,
    #[serde(default)]
    errors: Vec<Diagnostic>,
}

#[derive(Deserialize)]
struct Orgs {
    orgs: Vec<OrgName>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct OrgName {
    org: String,
}

/// A problem document, as far as it is told on.
#[derive(Deserialize)]
struct Document {
    status: u16,
    errors: Vec<Diagnostic>,
}

impl Server {
    /// A server by its address; nothing is asked yet.
    pub fn new(url: &str, token: Option<&str>, json: bool) -> Result<Self, Problem> {
        let invalid = |why: String| {
            let diagnostic = Diagnostic::new("server-url", format!("--server {url:?}: {why}"))
                .help("such as https://orghost.example, or http://127.0.0.1:7420");
            Problem::one(Class::Invalid, diagnostic)
        };
        let parsed = Url::parse(url).map_err(|error| invalid(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(invalid("it is no address of a web server".to_owned()));
        }
        let host = parsed.host_str().unwrap_or_default();
        let is_loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        // A token that is sent in the clear is everybody's.
        if parsed.scheme() == "http" && token.is_some() && !is_loopback {
            return Err(invalid("a token does not travel without TLS".to_owned()));
        }
        // Another part of the program may have chosen it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .connect_timeout(limits::SERVER_CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("orghost/", env!("CARGO_PKG_VERSION")));
        if is_loopback {
            client = client.no_proxy();
        }
        Ok(Self {
            client: client.build().map_err(|error| invalid(words(&error)))?,
            url: parsed,
            token: token.map(str::to_owned),
            json,
        })
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// An answer that is no problem.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Problem> {
        let answer = request.send().await.map_err(|error| self.lost(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.lost(&error))?;
        let Ok(document) = serde_json::from_str::<Document>(&text) else {
            let message = format!("the server answered {status}, and not as orghost does");
            let diagnostic = Diagnostic::new("server", message)
                .help("is this the address of `orghost serve`, and of the same version?");
            return Err(Problem::one(Class::Failed, diagnostic));
        };
        Err(Problem {
            class: match document.status {
                401 | 403 => Class::Refused,
                404 => Class::Unknown,
                409 => Class::Conflict,
                412 => Class::MissingEnv,
                429 => Class::Busy,
                400..500 => Class::Invalid,
                _ => Class::Failed,
            },
            errors: document.errors,
            template: None,
        })
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Problem> {
        let answer = self.send(request).await?;
        answer.json().await.map_err(|error| self.lost(&error))
    }

    fn lost(&self, error: &reqwest::Error) -> Problem {
        let message = format!(
            "the server at {} does not answer: {}",
            self.url,
            words(error)
        );
        let diagnostic = Diagnostic::new("server-away", message)
            .help("start it with `orghost serve`, or correct --server or ORGHOST_SERVER");
        Problem::one(Class::Failed, diagnostic)
    }

    /// Shows what happens until an operation has ended. When the connection is lost, it is taken up where it was.
    async fn follow(
        &self,
        mut operation: Operation,
        mut show: impl FnMut(&Event),
    ) -> Result<Operation, Problem> {
        /// In a row, before the server counts as gone.
        const ATTEMPTS: u32 = 5;
        let (mut last, mut lost, mut wait) = (0, 0, 0);
        loop {
            let path = ["v1", "operations", &operation.id];
            let request = self.request(Method::GET, &path).query(&[("wait", wait)]);
            let now: Result<Operation, _> = self.ask(request).await;
            let is_over = match &now {
                Ok(now) => {
                    lost = 0;
                    !matches!(now.state.as_str(), "queued" | "running")
                }
                Err(problem) if lost >= ATTEMPTS || problem.class != Class::Failed => return now,
                Err(_) => {
                    lost += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            // Events that were stored come at once; only what is still to come has to be waited for.
            let patience = Duration::from_millis(if is_over { 300 } else { 5_000 });
            let after = last.to_string();
            let query = [("operation", operation.id.as_str()), ("after", &after)];
            let request = self.request(Method::GET, &["v1", "events"]).query(&query);
            if let Ok(answer) = self.send(request).await {
                let mut events = answer.bytes_stream().eventsource();
                while let Ok(Some(Ok(event))) = tokio::time::timeout(patience, events.next()).await
                {
                    last = event.id.parse().unwrap_or(last);
                    let Ok(event) = serde_json::from_str::<Event>(&event.data) else {
                        continue;
                    };
                    show(&event);
                    if matches!(event.what, What::Ended { .. } | What::Broke { .. }) {
                        // The operation itself ends a moment later.
                        wait = 10;
                        break;
                    }
                }
            }
            if is_over {
                let now = now?;
                match self.successor(&now).await? {
                    Some(next) => (operation, last, wait) = (next, 0, 0),
                    None => return Ok(now),
                }
            }
        }
    }

    /// What does now what a superseded operation would have done: the newest of its kind.
    async fn successor(&self, ended: &Operation) -> Result<Option<Operation>, Problem> {
        #[derive(Deserialize)]
        struct Page {
            operations: Vec<Operation>,
        }
        if ended.state != "superseded" {
            return Ok(None);
        }
        let request = self.request(Method::GET, &["v1", "orgs", &ended.org, "operations"]);
        let page: Page = self.ask(request).await?;
        let mut newest = page.operations.into_iter();
        Ok(newest.find(|next| next.operation == ended.operation && next.id != ended.id))
    }

    async fn orgs(&self) -> Result<Vec<String>, Problem> {
        let mut names = Vec::new();
        let mut after = String::new();
        loop {
            let request = self
                .request(Method::GET, &["v1", "orgs"])
                .query(&[("after", &after)]);
            let page: Orgs = self.ask(request).await?;
            names.extend(page.orgs.into_iter().map(|org| org.org));
            match page.next {
                Some(next) => after = next,
                None => return Ok(names),
            }
        }
    }

    async fn org(&self, name: &str) -> Result<OrgStatus, Problem> {
        self.ask(self.request(Method::GET, &["v1", "orgs", name]))
            .await
    }

    /// The identity of a workspace, which may be named without its org when only one org has it.
    async fn workspace(&self, key: &str, org: Option<&str>) -> Result<String, Problem> {
        let orgs = match org {
            Some(org) => vec![org.to_owned()],
            None => self.orgs().await?,
        };
        let mut found = Vec::new();
        for name in orgs {
            let org = self.org(&name).await?;
            let same = org
                .workspaces
                .into_iter()
                .filter(|w| w.row.key.as_str() == key);
            found.extend(same.map(|workspace| (name.clone(), workspace.row.id.to_string())));
        }
        let invalid = |code, message: String, help: String| {
            Err(Problem::one(
                Class::Invalid,
                Diagnostic::new(code, message).help(help),
            ))
        };
        match found.as_slice() {
            [(_, id)] => Ok(id.clone()),
            [] => invalid(
                "unknown-workspace",
                format!("there is no workspace {key:?}"),
                "`orghost status` lists them".to_owned(),
            ),
            several => {
                let orgs: Vec<_> = several.iter().map(|(org, _)| org.as_str()).collect();
                invalid(
                    "ambiguous-workspace",
                    format!("several orgs have a workspace {key:?}"),
                    format!("add --org with one of {}", orgs.join(", ")),
                )
            }
        }
    }
}

/// `orghost plan --server`.
pub async fn plan(server: &Server, command: &PlanCommand) -> Result<Exit, Problem> {
    if command.render.is_some() {
        return Err(not_from_here(
            "--render",
            "it needs the values of secrets, which a server does not give away",
        ));
    }
    let form = form(&command.plan, json!({"engine": command.engine.engine}))?;
    let request = server
        .request(Method::POST, &["v1", "plans"])
        .multipart(form);
    let answer: Value = server.ask(request).await?;
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
            note(&format!("planned by {}", super::text::in_line(plugin)));
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
    let form = form(&command.plan, wishes)?;
    let request = server
        .request(Method::POST, &["v1", "orgs"])
        .header("idempotency-key", unique()?)
        .multipart(form);
    let accepted: Operation = server.ask(request).await?;
    let status = server.org(&accepted.org).await?;
    let planned = status.workspaces.iter().filter(|w| w.row.planned);
    let keys: Vec<_> = planned.map(|w| w.row.key.clone()).collect();
    let progress = Progress::new(server.json, &keys);
    let mut outcomes = BTreeMap::new();
    let ended = server
        .follow(accepted, |event| {
            progress.show(event);
            if let (Some(key), Some(outcome)) = (&event.workspace, outcome(&event.what)) {
                outcomes.insert(key.clone(), outcome);
            }
        })
        .await?;
    failed_as_a_whole(&ended)?;
    let settled = keys
        .iter()
        .filter_map(|key| Some((key.clone(), outcomes.remove(key)?)));
    let summary = Summary {
        outcomes: settled.collect(),
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
    let request = server
        .request(Method::DELETE, &["v1", "orgs", &command.org])
        .query(&[("volumes", command.volumes)]);
    let accepted: Operation = server.ask(request).await?;
    let progress = Progress::new(server.json, &[]);
    let mut removed = Vec::new();
    let ended = server
        .follow(accepted, |event| {
            if server.json {
                progress.show(event);
            }
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
        None => server.orgs().await?,
    };
    let mut statuses = Vec::new();
    for name in names {
        match server.org(&name).await {
            // It was taken down since the list was made.
            Err(problem) if problem.class == Class::Unknown && wanted.is_none() => {}
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
    let id = server
        .workspace(&command.workspace, command.org.as_deref())
        .await?;
    let mut query = vec![("follow", command.follow.to_string())];
    query.extend(command.tail.map(|lines| ("tail", lines.to_string())));
    let request = server
        .request(Method::GET, &["v1", "workspaces", &id, "logs"])
        .query(&query);
    let answer = server.send(request).await?;
    let mut output = super::logs::Output::new(server.json, &command.workspace);
    let mut bytes = answer.bytes_stream();
    while let Some(chunk) = bytes.next().await {
        if !output.write(&chunk.map_err(|error| server.lost(&error))?)? {
            break;
        }
    }
    output.end()?;
    Ok(Exit::Done)
}

/// `orghost restart`, `stop` and `start` with `--server`.
pub async fn act(server: &Server, action: &str, args: &WorkspaceArgs) -> Result<Exit, Problem> {
    let id = server
        .workspace(&args.workspace, args.org.as_deref())
        .await?;
    let request = server
        .request(Method::POST, &["v1", "workspaces", &id, action])
        .header("idempotency-key", unique()?);
    let accepted: Operation = server.ask(request).await?;
    let key = WorkspaceKey::new(&args.workspace).ok();
    let progress = Progress::new(server.json, key.as_slice());
    let ended = server
        .follow(accepted, |event| progress.show(event))
        .await?;
    failed_as_a_whole(&ended)?;
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
    let body = json!({
        "text": command.text, "env": wanted.vars, "grant": wanted.grant,
    });
    let request = server.request(Method::POST, &["v1", "expand"]).json(&body);
    let expansion: Expansion = server.ask(request).await?;
    plan::print_expansion(server.json, &expansion)?;
    Ok(Exit::Done)
}

/// `orghost plugin add --server`: fetched here, examined there.
pub async fn add_plugin(
    server: &Server,
    fetched: Fetched,
    name: Option<&str>,
) -> Result<Exit, Problem> {
    let mut query: Vec<_> = name.map(|name| ("name", name)).into_iter().collect();
    query.extend(fetched.signature.as_deref().map(|text| ("signature", text)));
    let request = server
        .request(Method::POST, &["v1", "plugins"])
        .header("idempotency-key", unique()?)
        .header("content-type", "application/wasm")
        .query(&query)
        .body(fetched.bytes);
    let added: Value = server.ask(request).await?;
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
    let plugins: Value = server
        .ask(server.request(Method::GET, &["v1", "plugins"]))
        .await?;
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
    let path = ["v1", "plugins", name];
    server.send(server.request(Method::DELETE, &path)).await?;
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
    super::text::in_line(text.unwrap_or("-"))
}

impl Host {
    /// The server that commands are for: `--server`, else `ORGHOST_SERVER`.
    pub fn server(&self) -> Result<Option<Server>, Problem> {
        let url = self
            .server
            .as_deref()
            .or(self.environment.text("ORGHOST_SERVER"));
        let token = self.environment.text("ORGHOST_TOKEN");
        url.map(|url| Server::new(url, token, self.json))
            .transpose()
    }
}

/// The template as an archive, and what is wanted of it.
fn form(args: &PlanArgs, mut request: Value) -> Result<Form, Problem> {
    refuse_plugin_file(args.plugin.plugin.as_deref())?;
    let policy = &args.policy;
    let decided = [
        ("--max-tier", policy.max_tier.is_some()),
        ("--allow-mount", !policy.allow_mount.is_empty()),
        ("--ignore-missing-env", policy.ignore_missing_env),
        ("--demo", policy.demo),
        ("--require-isolation", policy.require_isolation),
        ("--show-secrets", args.show_secrets),
        ("--wasi", args.plugin.wasi.wasi != crate::plugin::Wasi::None),
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
    let archive = Bundle::of_template(&template)?.to_tar().map_err(|error| {
        let message = format!("the template cannot be packed: {error}");
        Problem::one(Class::Invalid, Diagnostic::new("template-file", message))
    })?;
    let name = args.template.file_name().and_then(|name| name.to_str());
    let archive = Part::bytes(archive).file_name(format!("{}.tar", name.unwrap_or("template")));
    Ok(Form::new()
        .text("request", request.to_string())
        .part("archive", archive))
}

fn refuse_plugin_file(plugin: Option<&str>) -> Result<(), Problem> {
    match plugin.is_some_and(crate::planner::is_file) {
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
    if !matches!(operation.state.as_str(), "cancelled" | "superseded") {
        return Ok(());
    }
    let message = format!("the operation was {}", operation.state);
    Err(Problem::one(
        Class::Failed,
        Diagnostic::new("operation-cancelled", message),
    ))
}

fn unique() -> Result<String, Problem> {
    Ok(crate::vault::random::<16>().map(|bytes| crate::digest::hex(&bytes))?)
}

/// An error with its causes: the first one alone says "error sending request".
fn words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = error.to_string();
        cause = error.source();
    }
    words
}
