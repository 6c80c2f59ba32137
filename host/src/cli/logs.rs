//! `orghost logs`: what a workspace printed, byte for byte.

use std::io::Write as _;

use futures_util::StreamExt;

use super::Host;
use super::args::LogsCommand;
use super::report::{Exit, Failure};
use crate::config::EngineKind;
use crate::diagnostic::Diagnostic;
use crate::plan::WorkspaceKey;
use crate::provision::engine::Engine;
use crate::provision::spec::{OrgId, WorkspaceId, slug};

/// `orghost logs`.
pub async fn logs(host: &Host, command: &LogsCommand) -> Result<Exit, Failure> {
    let store = host.store()?;
    let wanted_org = command.org.as_deref().map(slug);
    let mut found = Vec::new();
    for org in store.orgs().await? {
        if wanted_org.as_ref().is_some_and(|wanted| *wanted != org.slug) {
            continue;
        }
        let workspaces = store.workspaces(&org.slug).await?;
        if workspaces.iter().any(|w| w.key == command.workspace && !w.external) {
            found.push(org);
        }
    }
    let error = |code, message: String, help: String| {
        Err(Failure::one(Exit::Invalid, Diagnostic::new(code, message).help(help)))
    };
    let (org, key) = match (found.as_slice(), WorkspaceKey::new(&command.workspace)) {
        ([org], Ok(key)) => (org, key),
        ([_, _, ..], _) => {
            let orgs: Vec<&str> = found.iter().map(|org| org.slug.as_str()).collect();
            let message = format!("several orgs have a workspace {:?}", command.workspace);
            return error("ambiguous-workspace", message, format!("add --org with one of {}", orgs.join(", ")));
        }
        _ => {
            let message = format!("there is no workspace {:?}", command.workspace);
            return error("unknown-workspace", message, "`orghost status` lists them".to_owned());
        }
    };
    let id = OrgId::new(store.instance().clone(), &org.name).workspace(&key);
    match org.engine {
        EngineKind::Docker => copy(&host.docker().await?, &id, command).await,
        EngineKind::Local => copy(&host.local()?, &id, command).await,
    }
}

async fn copy<E: Engine>(engine: &E, id: &WorkspaceId, command: &LogsCommand) -> Result<Exit, Failure> {
    let mut output = std::pin::pin!(engine.logs(id, command.tail, command.follow));
    let mut stdout = std::io::stdout();
    while let Some(bytes) = output.next().await {
        // Whoever reads may stop reading: that is no failure.
        if stdout.write_all(&bytes?).and_then(|()| stdout.flush()).is_err() {
            break;
        }
    }
    Ok(Exit::Done)
}
