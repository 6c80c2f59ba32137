//! `orghost logs`: what a workspace printed, byte for byte.

use futures_util::StreamExt;

use super::args::LogsCommand;
use super::report::Exit;
use super::{Host, print_json, text};
use crate::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::provision::engine::Engine as _;
use crate::provision::generations::{Generation, Generations};

/// `orghost logs`.
pub async fn logs(host: &Host, command: &LogsCommand) -> Result<Exit, Problem> {
    let store = host.store()?;
    let wanted_org = command.org.as_deref();
    let mut found = Vec::new();
    for org in store.orgs().await? {
        if wanted_org.is_some_and(|wanted| !org.is_called(wanted)) {
            continue;
        }
        let workspaces = store.workspaces(&org.slug).await?;
        let meant = workspaces
            .into_iter()
            .find(|w| w.key.as_str() == command.workspace && !w.external);
        found.extend(meant.map(|workspace| (org, workspace.id)));
    }
    let error = |code, message: String, help: String| {
        Err(Problem::one(
            Class::Invalid,
            Diagnostic::new(code, message).help(help),
        ))
    };
    let (org, id) = match found.as_slice() {
        [(org, id)] => (org, id),
        [_, _, ..] => {
            let orgs: Vec<&str> = found.iter().map(|(org, _)| org.slug.as_str()).collect();
            let message = format!("several orgs have a workspace {:?}", command.workspace);
            return error(
                "ambiguous-workspace",
                message,
                format!("add --org with one of {}", orgs.join(", ")),
            );
        }
        _ => {
            let message = format!("there is no workspace {:?}", command.workspace);
            return error(
                "unknown-workspace",
                message,
                "`orghost status` lists them".to_owned(),
            );
        }
    };
    let engine = host.engines()?.get(org.engine).await?;
    let found = Generations::of(engine.find(id).await?);
    let generation = found.shown().map(|found| found.generation.clone());
    // Of what is not there its engine says so.
    let generation = generation.unwrap_or_else(|| Generation::first(id));
    let mut bytes = std::pin::pin!(engine.logs(&generation, command.tail, command.follow));
    let mut output = Output::new(host.json, &command.workspace);
    while let Some(chunk) = bytes.next().await {
        if !output.write(&chunk?)? {
            break;
        }
    }
    output.end()?;
    Ok(Exit::Done)
}

/// A workspace's output on its way to standard output: as it is, or a JSON object for each line.
pub struct Output<'a> {
    json: bool,
    workspace: &'a str,
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl<'a> Output<'a> {
    pub fn new(json: bool, workspace: &'a str) -> Self {
        Self {
            json,
            workspace,
            rest: Vec::new(),
        }
    }

    /// Whether somebody still reads.
    pub fn write(&mut self, bytes: &[u8]) -> Result<bool, Problem> {
        if !self.json {
            return Ok(text::write(bytes));
        }
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(true);
        };
        let begun = self.rest.split_off(end + 1);
        for line in String::from_utf8_lossy(&self.rest).lines() {
            print_json(
                &serde_json::json!({"event": "log", "workspace": self.workspace, "line": line}),
            )?;
        }
        self.rest = begun;
        Ok(!text::is_lost())
    }

    /// The last line may have no end.
    pub fn end(&mut self) -> Result<(), Problem> {
        if self.json && !self.rest.is_empty() {
            self.write(b"\n")?;
        }
        Ok(())
    }
}
