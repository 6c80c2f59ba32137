//! Whether the host lives, and whether it can work.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::Api;
use crate::problem::Problem;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// It lives.
#[utoipa::path(get, path = "/healthz", tag = "host", operation_id = "live", responses(
    (status = 200, description = "It lives", body = String, content_type = "text/plain; charset=utf-8"),
))]
pub async fn live() -> &'static str {
    "ok\n"
}

/// It can work: the store answers, and it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "host", operation_id = "ready", responses(
    (status = 200, description = "It can work", body = String, content_type = "text/plain; charset=utf-8"),
    (status = 503, description = "It cannot", body = crate::http::ProblemDocument),
))]
pub async fn ready(State(api): State<Api>) -> Result<&'static str, Problem> {
    api.service.store().newest().await?;
    if api.service.tasks().stopping().is_cancelled() {
        return Err(crate::service::tasks::Closed.into());
    }
    Ok("ok\n")
}

/// What is counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "host", operation_id = "metrics", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = OPEN_METRICS),
))]
pub async fn metrics(State(api): State<Api>) -> Result<impl IntoResponse, Problem> {
    let gauges = api.service.gauges().await?;
    let text = api.service.metrics().text(&gauges);
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}
