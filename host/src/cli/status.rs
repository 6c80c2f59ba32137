//! `orghost status`: what the store remembers beside what the engine sees now. Changes nothing.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::report::Exit;
use super::text::{count, in_line, note, print_line};
use super::{Host, print_json};
use crate::config::EngineKind;
use crate::plan::WorkspaceKey;
use crate::problem::Problem;
use crate::provision::engine::{Engine, EngineError, Observed, State};
use crate::provision::spec::OrgId;
use crate::store::{OrgRow, Store, WorkspaceRow};

#[derive(Serialize)]
struct OrgStatus {
    org: String,
    name: String,
    engine: EngineKind,
    template: String,
    /// Why the engine could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_error: Option<String>,
    /// Operations that another process is working on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    under_way: Vec<String>,
    /// Operations that were cut off; the next `up` or `down` goes on from there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cut_off: Vec<String>,
    workspaces: Vec<WorkspaceStatus>,
}

#[derive(Serialize)]
struct WorkspaceStatus {
    #[serde(flatten)]
    row: WorkspaceRow,
    /// `running`, `restarting`, `exited`, `created`, `absent`, `external`, `unknown`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

/// `orghost status`.
pub async fn status(host: &Host, wanted: Option<&str>) -> Result<Exit, Problem> {
    let store = host.store()?;
    let mut statuses = Vec::new();
    for org in store.orgs().await? {
        if wanted.is_none_or(|wanted| org.is_called(wanted)) {
            statuses.push(org_status(host, &store, org).await?);
        }
    }
    if let Some(wanted) = wanted
        && statuses.is_empty()
    {
        return Err(super::up::unknown_org(&store, wanted).await?);
    }
    if host.json {
        print_json(&serde_json::json!({ "orgs": statuses }))?;
    } else {
        print(&statuses);
    }
    Ok(Exit::Done)
}

async fn org_status(host: &Host, store: &Store, org: OrgRow) -> Result<OrgStatus, Problem> {
    let id = OrgId::new(store.instance().clone(), &org.name);
    let seen = observe(host, &org, &id).await;
    let (mut seen, engine_error) = match seen {
        Ok(seen) => (Some(seen), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut workspaces = Vec::new();
    for mut row in store.workspaces(&org.slug).await? {
        let found = match (&mut seen, WorkspaceKey::new(&row.key)) {
            (Some(seen), Ok(key)) => Some(seen.remove(&id.workspace(&key).to_string())),
            _ => None,
        };
        let (state, exit_code) = match &found {
            _ if row.external => ("external", None),
            None => ("unknown", None),
            Some(None) => ("absent", None),
            Some(Some(found)) => word(found.state),
        };
        if let Some(Some(found)) = found {
            row.url = found.url;
        }
        workspaces.push(WorkspaceStatus {
            row,
            state,
            exit_code,
        });
    }
    let open = store.cut_off(&org.slug).await?;
    let open: Vec<_> = open
        .iter()
        .map(|c| c.operation.as_str().to_owned())
        .collect();
    // Whoever works on it holds the lock; without one, nobody does.
    let is_free = open.is_empty() || store.lock().is_ok();
    let (under_way, cut_off) = if is_free {
        (Vec::new(), open)
    } else {
        (open, Vec::new())
    };
    Ok(OrgStatus {
        engine: org.engine,
        template: org.template,
        name: org.name,
        org: org.slug,
        engine_error,
        under_way,
        cut_off,
        workspaces,
    })
}

async fn observe(
    host: &Host,
    org: &OrgRow,
    id: &OrgId,
) -> Result<BTreeMap<String, Observed>, EngineError> {
    let seen = match org.engine {
        EngineKind::Docker => host.docker().await?.observe(id).await?,
        EngineKind::Local => match host.local() {
            Ok(local) => local.observe(id).await?,
            Err(_) => Vec::new(),
        },
    };
    Ok(seen
        .into_iter()
        .map(|found| (found.id.to_string(), found))
        .collect())
}

fn word(state: State) -> (&'static str, Option<i32>) {
    match state {
        State::Created => ("created", None),
        State::Running => ("running", None),
        State::Restarting { exit_code, .. } => ("restarting", exit_code),
        State::Exited { exit_code } => ("exited", exit_code),
    }
}

fn print(statuses: &[OrgStatus]) {
    if statuses.is_empty() {
        print_line("no orgs; `orghost up DIR` brings one up");
    }
    for org in statuses {
        let running = org
            .workspaces
            .iter()
            .filter(|w| w.state == "running")
            .count();
        let all = count(org.workspaces.len(), "workspace");
        let engine = match org.engine {
            EngineKind::Local => "local",
            EngineKind::Docker => "docker",
        };
        print_line(&format!(
            "{} ({engine}, {}): {running} of {all} running",
            org.org, org.template
        ));
        for operation in &org.under_way {
            print_line(&format!("an `{operation}` is under way"));
        }
        for operation in &org.cut_off {
            print_line(&format!(
                "an `{operation}` was cut off: run `orghost up` or `orghost down` again"
            ));
        }
        if let Some(error) = &org.engine_error {
            note(&format!("warning: {}", in_line(error)));
        }
        let mut table = Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(["WORKSPACE", "STATE", "RUNTIME", "TIER", "URL"]);
        for workspace in &org.workspaces {
            let mut state = workspace.state.to_owned();
            if let Some(code) = workspace.exit_code {
                state.push_str(&format!(" ({code})"));
            }
            if let Some(reason) = workspace
                .row
                .reason
                .as_ref()
                .filter(|_| workspace.state != "running")
            {
                state.push_str(&format!(": {}", in_line(reason)));
            }
            table.add_row([
                workspace.row.key.clone(),
                state,
                in_line(&workspace.row.runtime),
                workspace.row.tier.to_string(),
                in_line(workspace.row.url.as_deref().unwrap_or("-")),
            ]);
        }
        for line in table.lines() {
            print_line(line.trim_end());
        }
    }
}
