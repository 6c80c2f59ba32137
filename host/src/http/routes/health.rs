//! The routes for liveness, readiness and metrics.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::Api;
use crate::problem::Problem;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Check liveness: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "host", operation_id = "live", responses(
    (status = 200, description = "The process answers", body = String, content_type = "text/plain; charset=utf-8"),
))]
pub async fn live() -> &'static str {
    "ok\n"
}

/// Check readiness: the store answers, and the host is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "host", operation_id = "ready", responses(
    (status = 200, description = "The host is ready", body = String, content_type = "text/plain; charset=utf-8"),
    (status = 503, description = "The host is not ready", body = crate::http::ProblemDocument),
))]
pub async fn ready(State(api): State<Api>) -> Result<&'static str, Problem> {
    api.service.store().newest().await?;
    if api.service.tasks().stopping().is_cancelled() {
        return Err(crate::service::tasks::Closed.into());
    }
    Ok("ok\n")
}

/// Show the metrics in the OpenMetrics format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "host", operation_id = "metrics", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = OPEN_METRICS),
))]
pub async fn metrics(State(api): State<Api>) -> Result<impl IntoResponse, Problem> {
    let gauges = api.service.gauges().await?;
    let text = api.service.metrics().text(&gauges);
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}
