//! Whether the host lives, and whether it can work.

use axum::extract::State;

use super::Api;
use crate::problem::Problem;

/// It lives.
#[utoipa::path(get, path = "/healthz", tag = "host", responses((status = 200, description = "It lives")))]
pub async fn live() -> &'static str {
    "ok\n"
}

/// It can work: the store answers, and it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "host", responses(
    (status = 200, description = "It can work"),
    (status = 503, description = "It cannot", body = super::ProblemDocument),
))]
pub async fn ready(State(api): State<Api>) -> Result<&'static str, Problem> {
    api.daemon.store().newest().await?;
    if api.daemon.tasks().stopping().is_cancelled() {
        return Err(crate::daemon::tasks::Closed.into());
    }
    Ok("ok\n")
}
