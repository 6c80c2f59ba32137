//! The server that a command uses (`--server`, ORGHOST_SERVER): its client, and the messages while the server works.

use super::Host;
use super::address::{self, Candidate};
use super::args::{PlanArgs, WorkspaceArgs};
use super::interrupt::Interrupts;
use super::render::text::note;
use super::request::{open_template, plan_request};
use crate::model::diagnostic::Diagnostic;
use crate::model::event::Event;
use crate::model::status::OperationState;
use crate::problem::{Class, Problem};
use crate::state::snapshots::SnapshotError;
use bytes::Bytes;
use orghost_client::{
    AddressError, Backoff, Client, ClientError, Operation, Pause, Rejection, RetryReason, Upload,
};
use serde_json::{Value, json};

/// A server (`orghost serve`) that commands use.
pub struct Server {
    pub client: Client,
    /// Whether `--json` was given.
    pub json: bool,
    interrupts: Interrupts,
}

impl Server {
    /// Follows an operation to its end and passes its events to `show`. An interrupt ends this program, not the operation.
    ///
    /// # Errors
    /// The server does not answer, or refuses the request.
    pub async fn follow(
        &self,
        operation: Operation,
        show: impl FnMut(&Event),
    ) -> Result<Operation, Problem> {
        let message = format!(
            "interrupted: the server continues this `{}`; `orghost status {}` shows its progress",
            operation.operation.as_str(),
            operation.org,
        );
        self.interrupts.say(message);
        Ok(self.client.follow(operation, show).await?)
    }

    /// Prepares for a request that changes something: from now on, the message of an interrupt says that the server may
    /// have accepted the request.
    pub fn will_change(&self) {
        self.interrupts.say(
            "interrupted: if the server has accepted the request, it continues the operation; `orghost status` shows it",
        );
    }

    /// Finds the one workspace that the arguments name. Without an org, the workspaces of all orgs are searched.
    ///
    /// # Errors
    /// The server does not answer, there is no such org, or no workspace or several workspaces fit.
    pub async fn workspace(&self, at: &WorkspaceArgs) -> Result<Candidate, Problem> {
        let orgs = match &at.org {
            Some(org) => vec![org.clone()],
            None => self.client.orgs().await?,
        };
        let mut all = Vec::new();
        for name in orgs {
            let org = match self.client.org(&name).await.map_err(Problem::from) {
                // The org was removed after the list was made.
                Err(problem) if problem.class == Class::NotFound && at.org.is_none() => continue,
                org => org?,
            };
            let rows = org.workspaces.into_iter().map(|workspace| workspace.row);
            all.extend(Candidate::of(&org.org, rows));
        }
        address::one(&at.workspace, all)
    }
}

/// Prints why a request is repeated, and when.
fn note_pause(pause: &Pause) {
    let reason = match pause.reason {
        RetryReason::Busy => "the server is busy",
        RetryReason::Away => "the connection to the server was lost",
        RetryReason::EventsRefused => "the server refused the stream of events",
    };
    let seconds = pause.wait.as_millis().div_ceil(1000);
    note(&format!("{reason}; trying again in {seconds} s"));
}

impl Host {
    /// The server to use: that of `--server`, else of `ORGHOST_SERVER`, else none.
    ///
    /// # Errors
    /// `server-url`: the address is not a valid URL of a server.
    pub fn server(&self) -> Result<Option<Server>, Problem> {
        let url = self
            .server
            .as_deref()
            .or(self.environment.text("ORGHOST_SERVER"));
        let token = self.environment.text("ORGHOST_TOKEN");
        let connect = |url| {
            let client = Client::new(url, token, Backoff::default(), note_pause);
            Ok(Server {
                client: client.map_err(|error| not_a_server(url, &error))?,
                json: self.json,
                interrupts: self.interrupts.clone(),
            })
        };
        url.map(connect).transpose()
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let Rejection { class, errors } = error.into();
        Self {
            class,
            errors,
            template: None,
        }
    }
}

fn not_a_server(url: &str, error: &AddressError) -> Problem {
    let diagnostic = Diagnostic::new("server-url", format!("--server {url:?}: {error}"))
        .help("give a URL such as https://orghost.example or http://127.0.0.1:7420");
    Problem::one(Class::Invalid, diagnostic)
}

/// Makes the error for a flag that cannot be used with a server.
pub fn not_from_here(flag: &str, why: &str) -> Problem {
    let message = format!("{flag} cannot be used with a server: {why}");
    Problem::one(Class::Invalid, Diagnostic::new("not-with-server", message))
}

/// Turns an operation that failed as a whole into an error.
///
/// # Errors
/// The errors of the operation, when it has any.
pub fn failed_as_a_whole(operation: &Operation) -> Result<(), Problem> {
    if operation.errors.is_empty() {
        return Ok(());
    }
    Err(Problem {
        class: Class::Failed,
        errors: operation.errors.clone(),
        template: None,
    })
}

/// Turns a cancelled or superseded operation into an error.
///
/// # Errors
/// `operation-cancelled`: the operation was cancelled or superseded.
pub fn cancelled(operation: &Operation) -> Result<(), Problem> {
    if !matches!(
        operation.state,
        OperationState::Cancelled | OperationState::Superseded
    ) {
        return Ok(());
    }
    let message = format!("the operation was {}", operation.state.as_str());
    Err(Problem::one(
        Class::Failed,
        Diagnostic::new("operation-cancelled", message),
    ))
}

/// Makes the upload for a server: the template as an archive, and the request.
///
/// # Errors
/// `not-with-server`: a flag that only the server's operator can decide was given. Or the template cannot be read.
pub fn upload(args: &PlanArgs, mut request: Value) -> Result<Upload, Problem> {
    refuse_plugin_file(args.plugin.plugin.as_deref())?;
    if args.timings.is_some() {
        let why = "it measures this machine; a server sends traces to the collector that `otlp` under [server] names";
        return Err(not_from_here("--timings", why));
    }
    let policy = &args.policy;
    let operator_decides = [
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
    if let Some((flag, _)) = operator_decides.iter().find(|(_, given)| *given) {
        return Err(not_from_here(flag, "the server's operator decides this"));
    }
    let planned = plan_request(&args.env)?;
    if let Some(fields) = request.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        fields.insert("env".to_owned(), json!(planned.vars));
        fields.insert("grant".to_owned(), json!(planned.grant));
        fields.insert("skip_external".to_owned(), json!(policy.skip_external));
        let folder = std::path::absolute(&args.template);
        let folder = folder.unwrap_or_else(|_| args.template.clone());
        fields.insert("source".to_owned(), json!(folder.display().to_string()));
        if let Some(plugin) = &args.plugin.plugin {
            fields.insert("plugin".to_owned(), json!(plugin));
        }
    }
    let template = open_template(&args.template)?;
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
            "a server runs only installed plugins; `orghost plugin add` installs one on it",
        )),
        false => Ok(()),
    }
}
