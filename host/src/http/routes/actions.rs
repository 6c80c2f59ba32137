//! The routes that restart, stop, start and remove a workspace, and the list of orphans.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::orgs::{Seconds, Wait, followed};
use crate::http::wire::parameters::{Bounded, Path, Query};
use crate::http::{Api, OperationView, ProblemDocument};
use crate::problem::Problem;
use crate::service::sweep::Orphan;
use crate::service::workspaces::Removal;

/// What is removed with a workspace.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Remove {
    /// Remove its descendants too. Otherwise a workspace with children is refused with 409. Default: false.
    #[serde(default)]
    #[param(required = false)]
    cascade: bool,
    /// Remove the volumes with the agents' own work too. Default: false.
    #[serde(default)]
    #[param(required = false)]
    volumes: bool,
    /// How many seconds to wait for the end of the operation. Default: the answer comes at once.
    #[param(value_type = u64, minimum = 0, maximum = 3600, required = false)]
    wait: Option<Seconds>,
}

/// The orphans: resources with this host's labels that belong to no org.
#[derive(Debug, Serialize, ToSchema)]
pub struct Orphans {
    /// What the newest sweep found.
    orphans: Vec<Orphan>,
}

/// Restart a workspace: notify it, stop it, seed it again and start it. All requests that arrive during a restart lead to one
/// more restart.
#[utoipa::path(post, path = "/v1/workspaces/{id}/restart", tag = "workspaces", params(("id" = String, Path, description = "The id of the workspace"), Wait), responses(
    (status = 202, description = "Accepted; `Location` is the operation", body = OperationView),
    (status = 200, description = "The operation ended within `wait` seconds", body = OperationView),
    (status = 404, description = "There is no such workspace", body = ProblemDocument),
    (status = 409, description = "The workspace is external or was removed", body = ProblemDocument),
    (status = 429, description = "Too many operations or plans are waiting; `Retry-After` says when to try again", body = ProblemDocument),
))]
pub async fn restart(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let row = api.service.restart(&id).await?;
    followed(&api, row, wait.wait.map(Bounded::get)).await
}

/// Stop a workspace. It stays stopped until it is started or its org is imported.
#[utoipa::path(post, path = "/v1/workspaces/{id}/stop", tag = "workspaces", params(("id" = String, Path, description = "The id of the workspace"), Wait), responses(
    (status = 202, description = "Accepted; `Location` is the operation", body = OperationView),
    (status = 200, description = "The operation ended within `wait` seconds", body = OperationView),
    (status = 404, description = "There is no such workspace", body = ProblemDocument),
    (status = 409, description = "The workspace is external or was removed", body = ProblemDocument),
    (status = 429, description = "Too many operations or plans are waiting; `Retry-After` says when to try again", body = ProblemDocument),
))]
pub async fn stop(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let row = api.service.stop(&id).await?;
    followed(&api, row, wait.wait.map(Bounded::get)).await
}

/// Seed a stopped or removed workspace again and start it.
#[utoipa::path(post, path = "/v1/workspaces/{id}/start", tag = "workspaces", params(("id" = String, Path, description = "The id of the workspace"), Wait), responses(
    (status = 202, description = "Accepted; `Location` is the operation", body = OperationView),
    (status = 200, description = "The operation ended within `wait` seconds", body = OperationView),
    (status = 404, description = "There is no such workspace", body = ProblemDocument),
    (status = 409, description = "The workspace is external", body = ProblemDocument),
    (status = 429, description = "Too many operations or plans are waiting; `Retry-After` says when to try again", body = ProblemDocument),
))]
pub async fn start(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let row = api.service.start(&id).await?;
    followed(&api, row, wait.wait.map(Bounded::get)).await
}

/// Stop and remove a workspace.
#[utoipa::path(delete, path = "/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path, description = "The id of the workspace"), Remove), responses(
    (status = 202, description = "Accepted; `Location` is the operation", body = OperationView),
    (status = 200, description = "The operation ended within `wait` seconds", body = OperationView),
    (status = 404, description = "There is no such workspace", body = ProblemDocument),
    (status = 409, description = "The workspace has children or is external", body = ProblemDocument),
    (status = 429, description = "Too many operations or plans are waiting; `Retry-After` says when to try again", body = ProblemDocument),
))]
pub async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(options): Query<Remove>,
) -> Result<Response, Problem> {
    let removal = Removal {
        cascade: options.cascade,
        volumes: options.volumes,
    };
    let row = api.service.remove(&id, removal).await?;
    followed(&api, row, options.wait.map(Bounded::get)).await
}

/// List the orphans that the newest sweep found: resources with this host's labels that belong to no org.
#[utoipa::path(get, path = "/v1/orphans", tag = "host", responses(
    (status = 200, description = "All orphans", body = Orphans),
))]
pub async fn orphans(State(api): State<Api>) -> axum::Json<Orphans> {
    let orphans = api.service.orphans();
    axum::Json(Orphans { orphans })
}
