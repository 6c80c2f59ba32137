//! Every request in the log and in the metrics: which route, how it ended, how long it took. Never its query, headers or body.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderName;
use axum::middleware::Next;
use axum::response::Response;
use tower_http::request_id::{MakeRequestId as _, MakeRequestUuid, RequestId};
use tracing::Instrument as _;

use crate::metrics::Metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Counts and logs a request, and gives it an identity: the caller's, when it has a plain one.
pub async fn request(State(metrics): State<Metrics>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let given = request.headers().get(REQUEST_ID).filter(|id| {
        let may = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(may)
    });
    let id = given.cloned().map(RequestId::new);
    let id = id.or_else(|| MakeRequestUuid.make_request_id(&request));
    let text = id.as_ref().and_then(|id| id.header_value().to_str().ok());
    let span = tracing::info_span!("request", id = text);
    if let Some(id) = id.clone() {
        request.extensions_mut().insert(id);
    }
    let mut response = next.run(request).instrument(span.clone()).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status().as_u16();
    let took = began.elapsed();
    metrics.request(route, method.as_str(), status, took);
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(method = %method, route, status, ms, "answered"));
    if let Some(id) = id {
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id.into_header_value());
    }
    response
}
