//! What is done to one workspace, and what belongs to none.

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

/// What is removed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Remove {
    /// Remove its descendants too; without it a workspace with children is refused.
    #[serde(default)]
    #[param(required = false)]
    cascade: bool,
    /// Remove the agents' own work too.
    #[serde(default)]
    #[param(required = false)]
    volumes: bool,
    /// Wait at most so many seconds for the operation to end.
    #[param(value_type = u64, minimum = 0, maximum = 3600, required = false)]
    wait: Option<Seconds>,
}

/// What carries this host's labels and belongs to nobody.
#[derive(Debug, Serialize, ToSchema)]
pub struct Orphans {
    /// As the newest sweep saw them.
    orphans: Vec<Orphan>,
}

/// Restart a workspace: tell it, stop it, seed it anew, start it. Requests during a restart become one.
#[utoipa::path(post, path = "/v1/workspaces/{id}/restart", tag = "workspaces", params(("id" = String, Path, description = "Its identity"), Wait), responses(
    (status = 202, description = "Accepted; `Location` follows it", body = OperationView),
    (status = 200, description = "It ended while the caller waited", body = OperationView),
    (status = 404, body = ProblemDocument),
    (status = 409, description = "It runs elsewhere, or was removed", body = ProblemDocument),
    (status = 429, description = "Too much is waiting; `Retry-After` says when to come back", body = ProblemDocument),
))]
pub async fn restart(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let row = api.service.restart(&id).await?;
    followed(&api, row, wait.wait.map(Bounded::get)).await
}

/// Stop a workspace, and leave it stopped until somebody starts it or imports its org.
#[utoipa::path(post, path = "/v1/workspaces/{id}/stop", tag = "workspaces", params(("id" = String, Path, description = "Its identity"), Wait), responses(
    (status = 202, description = "Accepted; `Location` follows it", body = OperationView),
    (status = 200, description = "It ended while the caller waited", body = OperationView),
    (status = 404, body = ProblemDocument),
    (status = 409, description = "It runs elsewhere, or was removed", body = ProblemDocument),
    (status = 429, description = "Too much is waiting; `Retry-After` says when to come back", body = ProblemDocument),
))]
pub async fn stop(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let row = api.service.stop(&id).await?;
    followed(&api, row, wait.wait.map(Bounded::get)).await
}

/// Start a stopped or removed workspace, seeded anew.
#[utoipa::path(post, path = "/v1/workspaces/{id}/start", tag = "workspaces", params(("id" = String, Path, description = "Its identity"), Wait), responses(
    (status = 202, description = "Accepted; `Location` follows it", body = OperationView),
    (status = 200, description = "It ended while the caller waited", body = OperationView),
    (status = 404, body = ProblemDocument),
    (status = 409, description = "It runs elsewhere", body = ProblemDocument),
    (status = 429, description = "Too much is waiting; `Retry-After` says when to come back", body = ProblemDocument),
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
#[utoipa::path(delete, path = "/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path, description = "Its identity"), Remove), responses(
    (status = 202, description = "Accepted; `Location` follows it", body = OperationView),
    (status = 200, description = "It ended while the caller waited", body = OperationView),
    (status = 404, body = ProblemDocument),
    (status = 409, description = "It has children, or runs elsewhere", body = ProblemDocument),
    (status = 429, description = "Too much is waiting; `Retry-After` says when to come back", body = ProblemDocument),
))]
pub async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(how): Query<Remove>,
) -> Result<Response, Problem> {
    let removal = Removal {
        cascade: how.cascade,
        volumes: how.volumes,
    };
    let row = api.service.remove(&id, removal).await?;
    followed(&api, row, how.wait.map(Bounded::get)).await
}

/// List what carries this host's labels and belongs to no org, as the newest sweep saw it.
#[utoipa::path(get, path = "/v1/orphans", tag = "host", responses((status = 200, body = Orphans)))]
pub async fn orphans(State(api): State<Api>) -> axum::Json<Orphans> {
    let orphans = api.service.orphans();
    axum::Json(Orphans { orphans })
}
