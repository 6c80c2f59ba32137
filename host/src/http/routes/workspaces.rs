//! The routes for the status and the logs of workspaces.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::orgs::Page;
use crate::http::wire::parameters::{Bounded, Path, Query};
use crate::http::{Api, ProblemDocument};
use crate::model::diagnostic::Diagnostic;
use crate::model::status::WorkspaceStatus;
use crate::problem::{Class, Problem};
use crate::provision::engine::Engine as _;
use crate::provision::generations::Generations;
use crate::service::status;

/// A page of an org's workspaces.
#[derive(Debug, Serialize, ToSchema)]
pub struct Workspaces {
    /// The workspaces, parents before children.
    pub workspaces: Vec<WorkspaceStatus>,
    /// Why the engine did not give the states; absent when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_error: Option<String>,
    /// The `after` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A workspace and its org.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkspaceView {
    /// The slug of its org.
    pub org: String,
    /// Why the engine did not give the states; absent when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_error: Option<String>,
    /// The workspace.
    #[serde(flatten)]
    pub workspace: WorkspaceStatus,
}

/// Which lines of a log to send.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Lines {
    /// How many of the last lines to send. Default: all that are kept.
    #[param(value_type = u64, minimum = 0, maximum = 100_000, required = false)]
    tail: Option<Bounded<0, 100_000>>,
    /// Send new output too, until the workspace ends or the caller disconnects. Default: false.
    #[serde(default)]
    follow: bool,
}

/// List the workspaces of an org, parents before children. `after` is the key of a workspace.
#[utoipa::path(get, path = "/v1/orgs/{org}/workspaces", tag = "workspaces", operation_id = "list_workspaces",
    params(("org" = String, Path, description = "The slug or the name of the org"), Page), responses(
    (status = 200, description = "A page of the workspaces", body = Workspaces),
    (status = 404, description = "There is no such org, or no workspace `after`", body = ProblemDocument),
))]
pub async fn list(
    State(api): State<Api>,
    Path(org): Path<String>,
    Query(page): Query<Page>,
) -> Result<axum::Json<Workspaces>, Problem> {
    let store = api.service.store();
    let org = api.service.org(&org).await?;
    // One row more than the page shows whether there is a next page.
    let limit = page.limit();
    let after = page.after.as_deref();
    let rows = store.list_workspaces(&org.slug, after, limit + 1).await?;
    let mut rows = rows.ok_or_else(|| unknown(after.unwrap_or_default()))?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|row| row.key.to_string());
    let (workspaces, engine_error) =
        status::workspaces(store, api.service.engines(), &org, rows).await;
    Ok(axum::Json(Workspaces {
        workspaces,
        engine_error,
        next: last.filter(|_| has_more),
    }))
}

/// Show a workspace.
#[utoipa::path(get, path = "/v1/workspaces/{id}", tag = "workspaces", operation_id = "show_workspace",
    params(("id" = String, Path, description = "The id of the workspace")), responses(
    (status = 200, description = "The workspace", body = WorkspaceView),
    (status = 404, description = "There is no such workspace", body = ProblemDocument),
))]
pub async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<axum::Json<WorkspaceView>, Problem> {
    let store = api.service.store();
    let (slug, row) = store.workspace(&id).await?.ok_or_else(|| unknown(&id))?;
    let org = api.service.org(&slug).await?;
    let engines = api.service.engines();
    let (workspaces, engine_error) = status::workspaces(store, engines, &org, vec![row]).await;
    let workspace = workspaces.into_iter().next();
    Ok(axum::Json(WorkspaceView {
        org: slug,
        engine_error,
        workspace: workspace.ok_or_else(|| unknown(&id))?,
    }))
}

/// Show the output of a workspace, byte for byte.
#[utoipa::path(get, path = "/v1/workspaces/{id}/logs", tag = "workspaces", operation_id = "workspace_logs",
    params(("id" = String, Path, description = "The id of the workspace"), Lines), responses(
    (status = 200, description = "The output; with `follow` also new output until the workspace ends", body = String, content_type = "text/plain; charset=utf-8"),
    (status = 404, description = "There is no such workspace, or its engine has no resource of it", body = ProblemDocument),
    (status = 409, description = "The workspace is external", body = ProblemDocument),
))]
pub async fn logs(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(lines): Query<Lines>,
) -> Result<Response, Problem> {
    let found = api.service.store().workspace(&id).await?;
    let (slug, row) = found.ok_or_else(|| unknown(&id))?;
    if row.external {
        let message = "this workspace is external: this host has no log of it";
        let diagnostic = Diagnostic::new("external-workspace", message);
        return Err(Problem::one(Class::Conflict, diagnostic));
    }
    let org = api.service.org(&slug).await?;
    let engine = api.service.engines().get(org.engine).await?;
    // Before the answer begins, because afterwards an error can only cut the stream.
    let found = Generations::of(engine.find(&row.id).await?);
    let Some(found) = found.shown() else {
        let message = format!("the engine has no resource of {}", row.key);
        let diagnostic = Diagnostic::new("workspace-absent", message);
        return Err(Problem::one(Class::NotFound, diagnostic));
    };
    let tail = lines
        .tail
        .map(|tail| usize::try_from(tail.get()).unwrap_or(usize::MAX));
    let output = engine.logs(&found.generation, tail, lines.follow);
    let stopping = api.service.tasks().stopping().clone();
    let output = output
        .take_until(stopping.cancelled_owned())
        .inspect_err(|error| tracing::warn!(%error, "a log was cut off"));
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        // A browser must not take the output of a workspace for a page.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Body::from_stream(output)).into_response())
}

fn unknown(id: &str) -> Problem {
    let message = format!("there is no workspace {id:?} on this host");
    Problem::one(
        Class::NotFound,
        Diagnostic::new("unknown-workspace", message),
    )
}
