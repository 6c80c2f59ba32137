//! `orghost logs`: shows what a workspace printed. A file or a pipe gets the exact bytes; a terminal gets them without
//! control sequences, because a workspace must not control a terminal.

use console::Term;
use futures_util::StreamExt;

use super::workspace::find;
use crate::cli::address::Candidate;
use crate::cli::args::LogsCommand;
use crate::cli::exit::Exit;
use crate::cli::render::terminal::ControlFilter;
use crate::cli::render::text;
use crate::cli::server::Server;
use crate::cli::{Host, print_json};
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::provision::engine::Engine as _;
use crate::provision::generation::Generation;
use crate::provision::generations::Generations;

/// `orghost logs`.
///
/// # Errors
/// No workspace or several workspaces fit, the workspace is external, or its log cannot be read.
pub async fn logs(
    host: &Host,
    server: Option<&Server>,
    command: &LogsCommand,
) -> Result<Exit, Problem> {
    match server {
        Some(server) => on_server(server, command).await,
        None => on_this_machine(host, command).await,
    }
}

async fn on_this_machine(host: &Host, command: &LogsCommand) -> Result<Exit, Problem> {
    let store = host.store()?;
    let found = find(&store, &command.at).await?;
    let invalid =
        |code, message: String| Problem::one(Class::Invalid, Diagnostic::new(code, message));
    let Candidate { org, workspace } = found;
    if workspace.external {
        let message = format!(
            "{} is external: this host does not run it and has no log of it",
            workspace.key
        );
        return Err(invalid("external-workspace", message));
    }
    let orgs = store.orgs().await?;
    let row = orgs.into_iter().find(|row| row.slug == org);
    let row = row.ok_or_else(|| invalid("unknown-org", format!("{org} is gone")))?;
    let engine = host.engines()?.get(row.engine).await?;
    let found = Generations::of(engine.find(&workspace.id).await?);
    let generation = found.shown().map(|found| found.generation.clone());
    // If no generation exists, the engine reports the error.
    let generation = generation.unwrap_or_else(|| Generation::first(&workspace.id));
    let mut bytes = std::pin::pin!(engine.logs(&generation, command.tail, command.follow));
    let mut output = Output::new(host.json, command.raw, workspace.key.as_str());
    while let Some(chunk) = bytes.next().await {
        if !output.write(&chunk?)? {
            break;
        }
    }
    output.end()?;
    Ok(Exit::Done)
}

async fn on_server(server: &Server, command: &LogsCommand) -> Result<Exit, Problem> {
    let Candidate { workspace, .. } = server.workspace(&command.at).await?;
    let logs = server
        .client
        .logs(workspace.id.as_str(), command.tail, command.follow)
        .await?;
    let mut logs = std::pin::pin!(logs);
    let mut output = Output::new(server.json, command.raw, workspace.key.as_str());
    while let Some(chunk) = logs.next().await {
        if !output.write(&chunk?)? {
            break;
        }
    }
    output.end()?;
    Ok(Exit::Done)
}

/// A workspace's output on its way to standard output.
struct Output<'a> {
    workspace: &'a str,
    form: Form,
}

enum Form {
    /// The exact bytes.
    Raw,
    /// Text without control sequences.
    Terminal(Box<ControlFilter>),
    /// A JSON object for each line. Holds the bytes of a line that has no end yet.
    Json(Vec<u8>),
}

impl<'a> Output<'a> {
    /// Chooses the form. Without `json` or `raw` it is the terminal's if standard output is a terminal.
    fn new(json: bool, raw: bool, workspace: &'a str) -> Self {
        let form = match json {
            true => Form::Json(Vec::new()),
            false if raw || !Term::stdout().is_term() => Form::Raw,
            false => Form::Terminal(Box::default()),
        };
        Self { workspace, form }
    }

    /// Writes the next bytes. False if standard output cannot be written any more.
    fn write(&mut self, bytes: &[u8]) -> Result<bool, Problem> {
        let rest = match &mut self.form {
            Form::Raw => return Ok(text::write(bytes)),
            Form::Terminal(filter) => {
                return Ok(text::write(filter.filter(bytes).as_bytes()));
            }
            Form::Json(rest) => rest,
        };
        rest.extend_from_slice(bytes);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(true);
        };
        let unfinished = rest.split_off(end + 1);
        let lines = std::mem::replace(rest, unfinished);
        for line in String::from_utf8_lossy(&lines).lines() {
            print_json(
                &serde_json::json!({"event": "log", "workspace": self.workspace, "line": line}),
            )?;
        }
        Ok(!text::is_lost())
    }

    /// Writes the last line, which may have no line feed.
    fn end(&mut self) -> Result<(), Problem> {
        if matches!(&self.form, Form::Json(rest) if !rest.is_empty()) {
            self.write(b"\n")?;
        }
        Ok(())
    }
}
