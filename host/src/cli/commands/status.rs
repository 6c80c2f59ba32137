//! `orghost status`: shows the state of orgs and their workspaces. It changes nothing.

use comfy_table::{ContentArrangement, Table};

use crate::cli::exit::Exit;
use crate::cli::render::text::{count, in_line, note, print_line};
use crate::cli::server::Server;
use crate::cli::{Host, print_json};
use crate::model::isolation::Isolation;
use crate::model::status::{OrgStatus, WorkspaceStatus};
use crate::problem::{Class, Problem};
use crate::service::status;

/// `orghost status`.
///
/// # Errors
/// There is no such org, or the store, an engine or the server does not answer.
pub async fn status(
    host: &Host,
    server: Option<&Server>,
    org_name: Option<&str>,
) -> Result<Exit, Problem> {
    let statuses = match server {
        Some(server) => on_server(server, org_name).await?,
        None => on_this_machine(host, org_name).await?,
    };
    if host.json {
        print_json(&serde_json::json!({ "orgs": statuses }))?;
    } else {
        print(&statuses);
    }
    Ok(Exit::Done)
}

async fn on_this_machine(host: &Host, org_name: Option<&str>) -> Result<Vec<OrgStatus>, Problem> {
    let store = host.store()?;
    let engines = host.engines()?;
    let mut statuses = Vec::new();
    for org in store.orgs().await? {
        if org_name.is_none_or(|org_name| org.is_called(org_name)) {
            statuses.push(status::org(&store, &engines, org).await?);
        }
    }
    if let Some(org_name) = org_name
        && statuses.is_empty()
    {
        return Err(super::unknown_org(&store, org_name).await?);
    }
    Ok(statuses)
}

async fn on_server(server: &Server, org_name: Option<&str>) -> Result<Vec<OrgStatus>, Problem> {
    let names = match org_name {
        Some(name) => vec![name.to_owned()],
        None => server.client.orgs().await?,
    };
    let mut statuses = Vec::new();
    for name in names {
        match server.client.org(&name).await.map_err(Problem::from) {
            // The org was removed after the list was made.
            Err(problem) if problem.class == Class::NotFound && org_name.is_none() => {}
            status => statuses.push(status?),
        }
    }
    Ok(statuses)
}

/// Prints orgs as tables.
fn print(statuses: &[OrgStatus]) {
    if statuses.is_empty() {
        print_line("no orgs; `orghost up DIR` creates one");
    }
    for org in statuses {
        let running = org
            .workspaces
            .iter()
            .filter(|w| w.state == "running")
            .count();
        let all = count(org.workspaces.len(), "workspace");
        let engine = org.engine.as_str();
        print_line(&format!(
            "{} ({engine}, {}): {running} of {all} running",
            org.org, org.template
        ));
        if let Some(isolation) = org
            .isolation
            .as_ref()
            .filter(|i| **i != Isolation::Container)
        {
            print_line(&isolation.to_string());
        }
        for operation in &org.under_way {
            print_line(&format!("the operation `{operation}` is running"));
        }
        for operation in &org.cut_off {
            print_line(&format!(
                "the operation `{operation}` was interrupted: run `orghost up` or `orghost down` again"
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
            table.add_row([
                workspace.row.key.to_string(),
                workspace.state.clone().into_owned(),
                in_line(&workspace.row.runtime),
                workspace.row.tier.to_string(),
                in_line(workspace.row.url.as_deref().unwrap_or("-")),
            ]);
        }
        // Every row is one line, because no cell contains a line feed.
        let mut lines = table.lines();
        if let Some(header) = lines.next() {
            print_line(header.trim_end());
        }
        for (line, workspace) in lines.zip(&org.workspaces) {
            print_line(line.trim_end());
            if let Some(reason) = reason(workspace) {
                print_line(&format!("  {reason}"));
            }
        }
    }
}

/// The reason why a workspace does not run, if it is known.
fn reason(workspace: &WorkspaceStatus) -> Option<String> {
    if workspace.state == "running" {
        return None;
    }
    let code = workspace.exit_code.map(|code| format!("exit code {code}"));
    let why = workspace.row.reason.as_deref().map(in_line);
    let reasons: Vec<_> = [code, why].into_iter().flatten().collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
